"""What measures one run: a meter for each unit and each edge, one for its turns, one for its consumer.

Above: `_engine` makes one where `metrics` is on, `_stats` reads it. Below: `_task_meter`, `_edge_meter`.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from ..channels import is_awaited, oversee
from ..observe import Tally
from ._chain import Part
from ._edge_meter import EdgeMeter
from ._feeding import PulledSource
from ._task_meter import BLOCKED, IDLE, UnitMeter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..channels import Pulse, ReceiveEnd, SendEnd
    from ._backend import Backend
    from ._jobs import Job
    from ._plan import Plan
    from ._stage_run import StageRun

__all__ = ["ConsumerMeter", "RunMeter", "TurnMeter"]

_TURNS = 1000
"""Most turns that are waited for at a time; older ones are forgotten."""


class TurnMeter:
    """Measures how long answers take: from the `TurnEnd` that enters to what leaves behind it."""

    def __init__(self, leaves: int) -> None:
        self.latency: Tally = Tally()
        """Until the first element of the answer."""
        self.duration: Tally = Tally()
        """Until the `TurnEnd` of the answer."""
        self._asked: deque[float] = deque(maxlen=_TURNS)
        self._ended = 0
        self._ended_here = [0] * leaves  # the same, by leaf
        self._first_s: float | None = None

    def on_input(self, is_end: bool, now: float) -> None:
        """Hear of an element that enters the run, or of several that end no turn."""
        if is_end:
            self._asked.append(now)

    def on_output(self, leaf: int, is_end: bool, now: float) -> None:
        """Hear of an element that leaves by a leaf, or of several that end no turn."""
        if not is_end and self._first_s is not None:
            return
        is_behind = self._ended_here[leaf] < self._ended
        self._ended_here[leaf] += is_end
        if is_behind:
            return
        if not is_end:
            self._first_s = now if self._first_s is None else self._first_s
            return
        self._ended += 1
        if self._asked:
            asked = self._asked.popleft()
            first = now if self._first_s is None else self._first_s
            self.latency.add(max(first - asked, 0.0))
            self.duration.add(max(now - asked, 0.0))
        self._first_s = None


class ConsumerMeter:
    """Measures how long the consumer has waited for an element, until there was one."""

    def __init__(self, began_s: float) -> None:
        self.waited_s: float = 0.0
        """How long, without the present wait."""
        self.since: float | None = None
        """Since when it waits; None while it does not."""
        self.began_s: float = began_s
        """When the run began."""

    def end(self, now: float) -> None:
        """Hear that there is something for it."""
        if self.since is not None:
            self.waited_s += now - self.since
            self.since = None

    def read(self, until: float) -> float:
        """Return how long it has waited up to that moment, in seconds."""
        return self.waited_s + (0.0 if self.since is None else until - self.since)


class _Looker:
    """Looks whether the consumer waits, whenever somebody waits at an end that it reads."""

    __slots__ = ("_consumer", "_edges", "_end", "_now")

    def __init__(self, meter: RunMeter, end: ReceiveEnd[Any], now: Callable[[], float]) -> None:
        self._consumer = meter.consumer
        self._edges = meter.leaves
        self._end = end
        self._now = now

    def look(self) -> None:
        if self._consumer.since is None and is_awaited(self._end):
            self._consumer.since = now = self._now()
            for edge in self._edges:
                edge.all_taken(now)


class RunMeter:
    """Measures one run.

    Args:
        plan: Its stages and edges.
        edges: Their reading ends.
        backend: The event loop.
        pulse: Knows of waits inside stages.
        began_s: When it began.
    """

    def __init__(
        self, plan: Plan, edges: Sequence[ReceiveEnd[Any]], backend: Backend, pulse: Pulse, began_s: float
    ) -> None:
        self.turns: TurnMeter = TurnMeter(len(plan.leaves))
        """Measures its turns."""
        self.consumer: ConsumerMeter = ConsumerMeter(began_s)
        """Measures its consumer."""
        self.units: dict[str, UnitMeter] = {}
        """What measures each stage, by name: the same one for those that share a task."""
        self.sources: dict[str, UnitMeter] = {}
        """What measures each source, by the head that it feeds."""
        self.before: dict[str, tuple[float, float, float]] = {}
        """What stages have done with their time before they left a chain."""
        self.chained: frozenset[int] = frozenset()
        """The edges inside chains, of which only counts are known."""
        self._plan = plan
        self._backend = backend
        self._pulse = pulse
        self._here: list[UnitMeter | None] = [None]
        self.began_s: float = began_s
        """When the run began."""
        hears: dict[int, Any] = dict.fromkeys(plan.heads.values(), self.turns.on_input)
        hears |= {edge: partial(self._hear_output, leaf) for leaf, edge in enumerate(plan.leaves.values())}
        self.edges: list[EdgeMeter] = [EdgeMeter(end, began_s, hears.get(number)) for number, end in enumerate(edges)]
        """What measures each edge, in the order of the plan."""
        self.leaves: list[EdgeMeter] = [self.edges[edge] for edge in plan.leaves.values()]
        """What measures those to the consumer."""
        for one in self.leaves:
            one.end_is_told = False

    def watch_consumer(self, ends: Iterable[ReceiveEnd[Any]]) -> None:
        """Measure who reads these ends."""
        for end in ends:
            oversee(end, _Looker(self, end, self._backend.clock()))

    def begin(self, feeders: Mapping[str, Job], stages: Sequence[StageRun]) -> None:
        """Make the meters of sources and stages, which are about to begin."""
        for head, job in feeders.items():
            job.meter = self.sources[head] = self._unit((), (), (self._plan.heads[head],), self.began_s)
            if isinstance(job, PulledSource):
                reader = self._plan.edges[self._plan.heads[head]].target
                assert reader is not None, "who pulls is a stage"
                job.meter.state = BLOCKED
                job.hears = partial(self._pulled, job.meter, self._name(reader))
        self.chained = frozenset(edge for places in self._plan.chains for edge in self._between(places))
        for places in self._plan.chains:
            job = stages[places[0]].job
            assert isinstance(job, Part)
            assert job.chain is not None
            first, last = self._plan.stages[places[0]], self._plan.stages[places[-1]]
            into = [edge for one in first.inputs for edge in one.edges]
            out = [edge for one in last.outputs for edge in one.edges]
            meter = job.chain.carrier.meter = self._unit(stages[places[0]].inputs, into, out, self.began_s)
            self.units |= dict.fromkeys((stages[one].name for one in places), meter)
        for stage in stages:
            if stage.name not in self.units:
                self._measure(stage, self.began_s)

    def take_over(self, stage: StageRun) -> None:
        """Measure a stage that has left its chain and gets a task of its own."""
        now = self._backend.now()
        self.before[stage.name] = self.units[stage.name].read(now)
        self._measure(stage, now)

    def user_wrote(self, inlet: SendEnd[Any]) -> None:
        """Know that the user has sent something."""
        now = self._backend.now()
        for edge in self._plan.heads.values():
            if self.edges[edge].end.name == inlet.name:
                self.edges[edge].was_written(now, now)

    def settle_here(self, now: float) -> None:
        """Note what the consumer has taken by now: it is no task of the run, so nobody tells. Does nothing in another thread."""
        if self._backend.is_here():
            for edge in self.leaves:
                edge.settle(now)

    def times(self, stage: str, until: float) -> tuple[float, float, float]:
        """Return for how long a stage was busy, blocked and idle, in seconds."""
        busy, blocked, idle = self.before.get(stage, (0.0, 0.0, 0.0))
        more = self.units[stage].read(until)
        return busy + more[0], blocked + more[1], idle + more[2]

    def writer(self, edge: int) -> UnitMeter | None:
        """Return what measures who writes an edge; None for the user."""
        source = self._plan.edges[edge].source
        if source is not None:
            return self.units[self._plan.stages[source].node.name]
        head = next(name for name, number in self._plan.heads.items() if number == edge)
        return self.sources.get(head)

    def blocked_s(self, edge: int, until: float) -> float:
        """Return how long senders have waited for room on an edge, in seconds."""
        writer = self.writer(edge)
        if writer is None or edge in self.chained:
            return 0.0
        if len(writer.outputs) > 1:
            return self.edges[edge].blocked_s + (until - writer.since if self.edges[edge] in writer.blocked_on else 0.0)
        source = self._plan.edges[edge].source
        return writer.read(until)[BLOCKED] if source is None else self.times(self._name(source), until)[BLOCKED]

    def idle_s(self, edge: int, until: float) -> float:
        """Return how long who reads an edge has waited for an element, in seconds."""
        target = self._plan.edges[edge].target
        if target is None:
            return self.consumer.read(until)
        return 0.0 if edge in self.chained else self.times(self._name(target), until)[IDLE]

    def waits_since(self, edge: int, end: str) -> float | None:
        """Return since when somebody waits at one end of an edge; None where nobody does, or nobody knows."""
        if edge in self.chained:
            return None
        if end == "send":
            writer = self.writer(edge)
            return writer.since if writer is not None and writer.state == BLOCKED else None
        target = self._plan.edges[edge].target
        if target is None:
            return self.consumer.since
        reader = self.units[self._name(target)]
        return reader.since if reader.state == IDLE else None

    def _name(self, stage: int) -> str:
        return self._plan.stages[stage].node.name

    def _between(self, places: Sequence[int]) -> list[int]:
        return [edge for place in places[1:] for one in self._plan.stages[place].inputs for edge in one.edges]

    def _measure(self, stage: StageRun, began_s: float) -> None:
        plan = self._plan.stages[stage.index]
        into = [edge for one in plan.inputs for edge in one.edges]
        letters = () if plan.letters is None else (plan.letters,)
        out = [edge for one in (*plan.outputs, *letters) for edge in one.edges]
        stage.job.meter = self.units[stage.name] = self._unit(stage.inputs, into, out, began_s)

    def _unit(
        self, reads: Sequence[ReceiveEnd[Any]], into: Sequence[int], out: Sequence[int], began_s: float
    ) -> UnitMeter:
        inputs, outputs = [self.edges[one] for one in into], [self.edges[one] for one in out]
        return UnitMeter(
            self._backend, began_s, reads=reads, inputs=inputs, outputs=outputs, pulse=self._pulse, here=self._here
        )

    def _pulled(self, source: UnitMeter, reader: str, since: float) -> None:
        source.gave(self.units[reader], since)

    def _hear_output(self, leaf: int, is_end: bool, now: float) -> None:
        if self.consumer.since is not None:
            self.consumer.end(now)
        self.turns.on_output(leaf, is_end, now)

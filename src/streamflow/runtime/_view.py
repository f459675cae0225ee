"""What there is to see of one run: its stages and edges, who is at work, what moved.

Above: `_engine`, which is one; `_deadlock` and others that look at it. Below: `_stats`, `_account`, `_wiring`, `_jobs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..channels import ForkEnd, MergeEnd
from ..errors import RunStateError
from ..stages import EVERYTHING, admission
from ._account import Account
from ._straight import ended_input
from ._swept_run import SweptRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..channels import HubEnd, Pulse, ReceiveEnd, SendEnd
    from ..elements import StreamElement
    from ._config import PipelineConfig
    from ._deadlock import DeadlockWatch
    from ._folded import Folded
    from ._jobs import Job, JobGroup
    from ._plan import Plan
    from ._run_meter import RunMeter
    from ._stage_run import StageRun
    from ._stats import RunStats
    from ._supervision import Tally
    from ._tracing import RunTracer
    from ._watchdog import RunClock

__all__ = ["RunView"]


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class RunView(SweptRun):
    """What there is to see of one run; the engine fills it."""

    config: PipelineConfig

    tracer: RunTracer | None = None
    """Follows its elements; None: it is not traced."""
    meter: RunMeter | None = None
    """Measures it; None: it is not measured."""
    source_length: int | None = None
    """How much comes, where that is known and it is measured."""

    jobs: JobGroup
    inlets: Mapping[str, SendEnd[StreamElement]] = _NOTHING
    outlet: ReceiveEnd[StreamElement]
    pulse: Pulse
    """Counts the tasks that can go on."""
    _deadlocks: DeadlockWatch | None = None  # made when it is asked for
    _edges: Sequence[ReceiveEnd[Any]] = ()
    _hubs: Mapping[str, HubEnd[StreamElement]] = _NOTHING
    _forks: Mapping[str, ForkEnd[StreamElement]] = _NOTHING
    _merges: Mapping[str, Sequence[MergeEnd[StreamElement]]] = _NOTHING
    _tallies: Mapping[str, Tally] = _NOTHING
    failed_stages: frozenset[str] = frozenset()
    """Those that have failed, the run with them or alone."""
    _account: Account | None = None
    _taken: frozenset[str] = frozenset()
    _watchdogs: Sequence[Job] = ()
    _subscribers: int = 0
    _clock: RunClock
    began_s: float
    """When it was started, by the event loop's clock."""
    _folded: Folded | None = None
    _ended_s: float | None = None

    def __init__(self, run_id: str, plan: Plan) -> None:
        self.run_id: str = run_id
        self.plan: Plan = plan
        self._stages: list[StageRun] = []
        self._feeders: dict[str, Job] = {}

    @property
    def stages(self) -> Sequence[StageRun]:
        """The stages; none before the start, and after the end."""
        if self._folded is not None:
            self._folded.unfold()
        return self._stages

    @property
    def edges(self) -> Sequence[ReceiveEnd[Any]]:
        """All edges, in the order of the plan."""
        if self._folded is not None:
            self._folded.unfold()
        return self._edges

    @property
    def leaves(self) -> Mapping[str, ReceiveEnd[StreamElement]]:
        """What reads the edge from each leaf, by its name; none before the start."""
        edges = self.edges
        return {name: edges[edge] for name, edge in self.plan.leaves.items()} if edges else _NOTHING

    def working_jobs(self) -> list[Job]:
        """Return the tasks that move elements, or may."""
        return [job for job in self.jobs.alive if job not in self._watchdogs]

    def is_taken(self, leaf: str) -> bool:
        """Say whether a leaf is read alone."""
        return leaf in self._taken

    def has_feeder(self, head: str) -> bool:
        """Say whether a source feeds a head, which has not ended."""
        return head in self._feeders

    def source_name(self, head: str) -> str:
        """Return what the source of a head is called in reports."""
        return "source" if len(self.inlets) == 1 else f"source of {head}"

    def stats(self) -> RunStats:
        """Return what the run has done so far."""
        from ._stats import stats_of  # noqa: PLC0415 - most runs are not asked

        until = self._clock.now() if self._ended_s is None else self._ended_s
        counts = [edge.statistics() for edge in self.edges]
        duration_s = until - self._clock.started
        return stats_of(
            self.run_id,
            duration_s,
            self.plan,
            counts,
            until=until,
            meter=self.meter,
            failed=self.failed_stages,
            forks=self._forks,
            merges=self._merges,
            tallies=self._tallies,
            interruptions=self.epoch,
            undelivered=self.undelivered(),
        )

    def _find_joints(self) -> None:
        """Know where elements fork and merge."""
        self._forks = {one.name: one.output for one in self._stages if isinstance(one.output, ForkEnd)}
        self._merges = {
            one.name: [end for end in one.inputs if isinstance(end, MergeEnd)] for one in self._stages if one.inputs
        }

    @property
    def account(self) -> Account:
        """The account of what does not arrive, made when it is asked for."""
        if self._account is None:
            self._account = Account()
        return self._account

    # No properties: each run asks at its end, and Python calls a method for half as much.

    def is_done(self) -> bool:
        """Say whether all has ended, and the listeners have been told and have heard it."""
        return self.reporter.is_over and not self.has_tasks()

    def has_tasks(self) -> bool:
        """Say whether a task has not ended, of the run, of a listener, or of the recording."""
        return bool(self.jobs.alive) or self.reporter.has_tasks()

    def has_output(self) -> bool:
        """Say whether something is there for the consumer."""
        for edge in self.plan.leaves.values() if self._edges else ():  # noqa: SIM110 - most runs have one, and any() costs a generator
            if self._edges[edge].backlog:
                return True
        return False

    def open_account(self, culprit: StageRun | str | None = None) -> None:
        """Begin to account for what does not arrive, if anything is left that might.

        What is behind the `culprit` of a failure goes on, and is not at work in vain.
        """
        if not self.jobs.alive and not self.has_output():
            return
        spared: frozenset[int] = frozenset()
        if isinstance(culprit, str):
            spared = self.plan.fed[culprit]
        elif culprit is not None:
            spared = culprit.downstream
        stages = [one for one in self.stages if one.failure is not None or one.job in self.jobs.alive]
        self.account.open(self._ends(), [one for one in stages if one.index not in spared])

    def undelivered(self) -> dict[str, int]:
        """Return how much did not arrive because the run was cut short, by edge and stage."""
        return {} if self._account is None else self._account.read(self._ends(), is_over=self._ended_s is not None)

    def _ends(self) -> Iterator[ReceiveEnd[Any]]:
        yield from self.edges
        for merges in self._merges.values():
            yield from merges
        if self.started and isinstance(self.outlet, MergeEnd):
            yield self.outlet

    def waits_since(self, edge: str, end: str) -> float | None:
        """Return since when somebody waits at one end of an edge; None where nobody does, and where it is not measured."""
        if self.meter is None:
            return None
        number = next((number for number, one in enumerate(self.edges) if one.name == edge), None)
        return None if number is None else self.meter.waits_since(number, end)

    def measure_sources(self, sources: Mapping[str, object]) -> None:
        """Note how much comes, where that is known."""
        if sources and all(isinstance(one, Sized) for one in sources.values()):
            self.source_length = sum(len(one) for one in sources.values() if isinstance(one, Sized))

    def measure(self) -> None:
        """Make what measures the run; to be called when all is made and nothing has begun."""
        from ._run_meter import RunMeter  # noqa: PLC0415 - most runs are not measured

        for edge in self._edges:
            edge.provide_buffer()  # which is looked at at the end of each turn
        its = RunMeter(self.plan, self._edges, self.jobs.backend, self.pulse, self.began_s)
        its.watch_consumer(dict.fromkeys((self.outlet, *self.leaves.values())))
        its.begin(self._feeders, self._stages)
        self.meter = its

    def take_leaf(self, name: str) -> ReceiveEnd[StreamElement]:
        """Return what reads one leaf, which is no part of the outlet from now on.

        Raises:
            RunStateError: If there is no such leaf, or it was taken before.
        """
        leaf = self.leaves.get(name)
        if leaf is None or name in self._taken:
            problem = f"the output {name!r} was taken before" if name in self._taken else f"there is no output {name!r}"
            names = ", ".join(map(repr, self.leaves)) or "no output"
            message = f"{problem}; {self.run_id} has {names}"
            raise RunStateError(message)
        self._taken |= {name}
        if isinstance(self.outlet, MergeEnd):
            self.outlet.detach(leaf)
            if self.tracer is not None:
                self.tracer.leaf(leaf)
        else:
            self.outlet = ended_input("consumer")
        return leaf

    def subscribe(self, name: str, capacity: int | None, *, waits: bool) -> ReceiveEnd[StreamElement]:
        """Return what reads one more branch of an output whose branches come and go.

        Raises:
            RunStateError: If there is no such output.
        """
        hub = self._hubs.get(name)
        if hub is None:
            names = ", ".join(map(repr, self._hubs)) or "no such output"
            message = f"the branches of {name!r} do not come and go: {self.run_id} has {names}"
            raise RunStateError(f"{message}; say branch({name!r}, dynamic=True) when the pipeline is built")
        self._subscribers += 1
        edge = f"{name} → subscriber {self._subscribers}"
        gate = admission(EVERYTHING, producer=name)
        return hub.attach(capacity or self.config.buffer_size, name=edge, admit=gate, waits=waits)

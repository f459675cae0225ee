"""The edges of one run: opened between its stages, watched where a limit, a measurement or a test asks for it.

Above: `_engine`. Below: `channels`, `_plan`, `_watchdog`.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import anyio

from ..channels import ControlJoin, ForkEnd, MergeEnd, SendEnd, open_channel
from ..errors import ChannelClosedError, ElementError, OutputClosedError
from ..stages import StageKind
from ._jobs import is_made_of, leaf_of
from ._metering import EdgeMeter, EdgeTracer, Watches
from ._watchdog import EdgeClock, Limit, StageClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ..channels import ChannelWatch, ReceiveEnd
    from ..elements import StreamElement
    from ..errors import CloseReason
    from ..graph import Node
    from ._config import PipelineConfig
    from ._jobs import Job
    from ._plan import InputPlan, OutputPlan, Plan, StagePlan
    from ._watchdog import RunClock

__all__ = ["StageRun", "Wiring", "ended_input", "wire"]

_End = TypeVar("_End")

Tell: TypeAlias = "Callable[[str, int, str, float], None]"
"""Called with an edge's name, an element's ordinal there, the name of its type, and the seconds that it was inside."""


class StageRun:
    """One stage in one run."""

    def __init__(self, plan: StagePlan, clock: StageClock | None) -> None:
        self.node: Node = plan.node
        """The stage in its graph."""
        self.name: str = plan.node.name
        """Name of the stage."""
        self.index: int = plan.index
        """Its number in the plan."""
        self.downstream: frozenset[int] = plan.downstream
        """The stages that its elements can reach."""
        self.inputs: tuple[ReceiveEnd[Any], ...] = ()
        """What it reads."""
        self.output: SendEnd[Any]
        """All that it writes, as one."""
        self.reads: ReceiveEnd[Any] | Mapping[str, ReceiveEnd[Any]]
        """What it is given as input: an end, or ends by port; one that has ended, for a stage that generates."""
        self.writes: SendEnd[Any] | Mapping[str, SendEnd[Any]]
        """What it is given as output: an end, or ends by port; for a sink one that refuses everything."""
        self.job: Job
        """Its task."""
        self.helpers: dict[Job, None] = {}
        """Its helper tasks that are alive."""
        self.helpers_ended: anyio.Event | None = None
        """Set when the last helper has ended, once somebody waits for it."""
        self.clock: StageClock | None = clock
        """Since when it is busy, if it has a limit."""
        self.has_begun: bool = False
        """Whether its work has begun; a stage may be cancelled before."""
        self.failure: BaseException | None = None
        """What it failed with, or was made to fail with when it took too long."""
        self.is_sink: bool = not plan.outputs
        """Whether it has no output."""

    def cancel(self) -> None:
        """Ask its tasks to end."""
        self.job.cancel()
        for helper in self.helpers:
            helper.cancel()

    def close_inputs(self, reason: CloseReason) -> None:
        """Tell all that feed it that it takes no more."""
        for one in self.inputs:
            one.close(reason)

    async def pass_rest(self) -> None:
        """Pass on what is left to pass it by. Cancellation: what was not passed on stays where it is."""
        for one in self.inputs:
            await (one.pass_rest() if one.end_was_told else one.pass_aside())

    def is_expected(self, job: Job, error: BaseException, cancelled: type[BaseException]) -> bool:
        """Say whether `error` is how this stage learned that its reader has gone, or that the run has stopped it."""
        if job.cancel_requested:
            return is_made_of(error, (cancelled, OutputClosedError, ChannelClosedError))
        if isinstance(error, anyio.EndOfStream) and any(one.end_was_told for one in self.inputs):
            return True  # it called receive() until there was nothing more
        leaf = leaf_of(error)
        return (
            is_made_of(error, OutputClosedError)
            and isinstance(leaf, OutputClosedError)
            and leaf.edge in self._own_edges()
        )

    def in_hand(self) -> int | None:
        """Return the ordinal of the element that it took last and is working on, None when there is none."""
        if len(self.inputs) != 1:
            return None
        one = self.inputs[0]
        return None if one.end_was_told or not one.position else one.position - 1

    def _own_edges(self) -> set[str]:
        ports = [] if isinstance(self.writes, SendEnd) else list(self.writes.values())
        return {one.name for one in (self.output, *ports)}


@dataclasses.dataclass(frozen=True, slots=True)
class Wiring:
    """What the engine needs of a run's edges."""

    inlets: dict[str, SendEnd[StreamElement]]
    """Writes the edge into each head, by its name."""
    outlet: ReceiveEnd[StreamElement]
    """Reads all leaves."""
    leaves: dict[str, ReceiveEnd[StreamElement]]
    """Reads the edge from each leaf, by its name."""
    edges: tuple[ReceiveEnd[Any], ...]
    """All edges, in the order of the plan."""
    meters: tuple[EdgeMeter | None, ...]
    """What measures each edge, if it is measured."""
    limits: list[Limit]
    """All limits of the run."""


class _Ends:
    """The two ends of each edge of one run."""

    def __init__(self) -> None:
        self.sends: list[SendEnd[Any]] = []
        self.receives: list[ReceiveEnd[Any]] = []
        self.joins: dict[int, list[tuple[ControlJoin, int]]] = {}  # by fork

    def read(self, plan: InputPlan, watch_for: Callable[[str], ChannelWatch | None]) -> ReceiveEnd[Any]:
        """Return what reads an input: its edge, or the merge of its edges."""
        inputs = [self.receives[one] for one in plan.edges]
        if len(inputs) == 1:
            return inputs[0]
        join = None
        if plan.reach:
            join = ControlJoin(len(inputs), plan.reach)
            for fork in plan.reach:
                self.joins.setdefault(fork, []).append((join, fork))
        return MergeEnd(plan.name, inputs, plan.gate, watch_for(plan.name), join)

    def write(self, plan: OutputPlan, stage: str) -> SendEnd[Any]:
        """Return what writes an output: its edge, or the fork of its edges."""
        if len(plan.edges) == 1:
            return self.sends[plan.edges[0]]
        otherwise = None if plan.otherwise is None else self.sends[plan.otherwise]
        return self.fork(f"{stage}:{plan.port}" if plan.port else stage, plan.edges, plan.fork, otherwise)

    def fork(
        self, source: str, edges: Sequence[int], number: int, otherwise: SendEnd[Any] | None = None
    ) -> ForkEnd[Any]:
        """Return what writes several edges as one."""
        branches = [self.sends[one] for one in edges]
        targets = ", ".join(branch.name.partition(" → ")[2] for branch in branches)
        joins = self.joins.get(number, ())
        return ForkEnd(f"{source} → ({targets})", branches, otherwise=otherwise, joins=joins)


def wire(
    plan: Plan, config: PipelineConfig, clock: RunClock, further: Callable[[str], ChannelWatch] | None, tell: Tell
) -> tuple[list[StageRun], Wiring]:
    """Open the edges of a run, and return its stages and its outer ends.

    Args:
        plan: The stages and edges.
        config: Which limits and measurements there are.
        clock: The run's.
        further: Makes one more watch for each edge, by its name.
        tell: Called with each element that leaves an edge, when the run is traced.
    """
    stages = [
        StageRun(one, None if one.node.stage.timeout_s is None else StageClock(clock.started)) for one in plan.stages
    ]
    watches = _Watches(config, clock, further, tell)
    ends = _Ends()
    for edge in plan.edges:
        writer = None if edge.source is None else stages[edge.source].clock
        reader = None if edge.target is None else stages[edge.target].clock
        watch = watches.of_edge(edge.name, writer, reader)
        send: SendEnd[Any]
        receive: ReceiveEnd[Any]
        send, receive = open_channel(edge.capacity, name=edge.name, admit=edge.gate, watch=watch)
        ends.sends.append(send)
        ends.receives.append(receive)
    # Readers first: a fork tells the merges below what it copies.
    for stage, its in zip(stages, plan.stages, strict=True):
        stage.inputs = tuple(ends.read(one, watches.of_merge(stage.clock)) for one in its.inputs)
        ports = {one.port: end for one, end in zip(its.inputs, stage.inputs, strict=True)}
        stage.reads = _for_body(ports, "") if ports else ended_input(stage.name)
    outlet = ends.read(plan.outlet, watches.of_merge(None)) if plan.leaves else ended_input("consumer")
    for stage, its in zip(stages, plan.stages, strict=True):
        _fit_outputs(stage, its, ends)
    wiring = Wiring(
        inlets={name: ends.sends[edge] for name, edge in plan.heads.items()},
        outlet=outlet,
        leaves={name: ends.receives[edge] for name, edge in plan.leaves.items()},
        edges=tuple(ends.receives),
        meters=tuple(watches.meters),
        limits=[],
    )
    wiring.limits.extend(_run_limits(config, clock, wiring.leaves.values()))
    wiring.limits.extend(_stage_limits(stages))
    if config.backpressure_timeout_s is not None:
        # A full edge is its reader's doing, and the reader is what fails: to drain through one that is stuck is to wait for ever.
        for one, edge in zip(watches.clocks, plan.edges, strict=True):
            since = partial(_full_since, one)
            limit = Limit("backpressure", config.backpressure_timeout_s, f"edge {edge.name}", since, edge.target)
            wiring.limits.append(limit)
    return stages, wiring


class _Watches:
    """Makes the watches of a run's edges, as many as its configuration asks for; mostly none."""

    def __init__(
        self,
        config: PipelineConfig,
        clock: RunClock,
        further: Callable[[str], ChannelWatch] | None,
        tell: Tell,
    ) -> None:
        self._config = config
        self._clock = clock
        self._is_limited = config.idle_timeout_s is not None or config.backpressure_timeout_s is not None
        self._further = further
        self._tell = tell
        self.clocks: list[EdgeClock] = []  # of all edges, where the run has a limit that is about them
        self.meters: list[EdgeMeter | None] = []

    def of_edge(self, name: str, writer: StageClock | None, reader: StageClock | None) -> ChannelWatch | None:
        """Return the watch of the next edge, if it has one."""
        watches: list[ChannelWatch] = []
        if self._is_limited or writer or reader:
            clock = EdgeClock(name, self._clock, writer=writer, reader=reader)
            self.clocks.append(clock)
            watches.append(clock)
        self.meters.append(EdgeMeter(self._clock.now) if self._config.metrics else None)
        if self.meters[-1] is not None:
            watches.append(self.meters[-1])
        if self._config.tracing:
            watches.append(EdgeTracer(self._clock.now, partial(self._tell, name)))
        if self._further is not None:
            watches.append(self._further(name))
        return watches[0] if len(watches) == 1 else Watches(*watches) if watches else None

    def of_merge(self, reader: StageClock | None) -> Callable[[str], ChannelWatch | None]:
        """Return what makes the watch of a merge, by its name: its edges are measured, not it itself."""

        def make(name: str) -> ChannelWatch | None:
            watches: list[ChannelWatch] = []
            if self._is_limited or reader:
                watches.append(EdgeClock(name, self._clock, writer=None, reader=reader))
            if self._further is not None:
                watches.append(self._further(name))
            return watches[0] if len(watches) == 1 else Watches(*watches) if watches else None

        return make


def _for_body(ports: dict[str, _End], only: str) -> _End | Mapping[str, _End]:
    """Return what a stage is given: its only end, or its ends by the names of its ports."""
    return ports[only] if only in ports else MappingProxyType(ports)


def ended_input(reader: str) -> ReceiveEnd[Any]:
    """Return an input that has ended, for who has none."""
    send: SendEnd[Any]
    receive: ReceiveEnd[Any]
    send, receive = open_channel(1, name=f"nothing → {reader}")
    send.close()
    return receive


def _fit_outputs(stage: StageRun, plan: StagePlan, ends: _Ends) -> None:
    """Give a stage its output, or one that refuses, and let elements that it does not accept pass it by."""
    if not plan.outputs:
        refusal = partial(_refuse, stage.name)
        stage.output = stage.writes = open_channel(1, name=f"{stage.name} → nothing", admit=refusal)[0]
        return
    ports = {one.port: ends.write(one, stage.name) for one in plan.outputs}
    stage.writes = _for_body(ports, "")
    if len(ports) == 1:
        stage.output = next(iter(ports.values()))
    else:
        stage.output = ends.fork(stage.name, [edge for one in plan.outputs for edge in one.edges], plan.fork)
    for one in stage.inputs:
        one.forward_to(stage.output)
        if plan.node.stage.kind is StageKind.ACCUMULATE and plan.node.stage.bypass == "late":
            one.keep_aside()


def _refuse(sink: str, _item: object) -> bool:
    message = f"stage {sink!r} is a sink and cannot send; make it a transform to send elements on"
    raise ElementError(message)


def _run_limits(
    config: PipelineConfig, clock: RunClock, leaves: Iterable[ReceiveEnd[StreamElement]]
) -> Iterator[Limit]:
    if config.timeout_s is not None:
        yield Limit("run", config.timeout_s, "the run", lambda: clock.started)
    if config.first_element_timeout_s is not None:

        def waiting_since() -> float | None:
            return None if any(one.statistics().sent for one in leaves) else clock.started

        yield Limit("first_element", config.first_element_timeout_s, "the run", waiting_since)
    if config.idle_timeout_s is not None:
        yield Limit("idle", config.idle_timeout_s, "the run", lambda: clock.moved)


def _stage_limits(stages: Iterable[StageRun]) -> Iterator[Limit]:
    for stage in stages:
        if stage.clock is not None and stage.node.stage.timeout_s is not None:
            since = partial(_busy_since, stage.clock)
            yield Limit("stage", stage.node.stage.timeout_s, f"stage {stage.name!r}", since, stage.index)


_full_since: Callable[[EdgeClock], float | None] = attrgetter("full_since")
_busy_since: Callable[[StageClock], float | None] = attrgetter("busy_since")

"""The edges of one run: opened between its stages, watched where a limit, a measurement or a test asks for it.

Above: `_engine`. Below: `_straight`, `channels`, `_plan`, `_watchdog`.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from ..channels import (
    ControlJoin,
    FeedbackMergeEnd,
    ForkEnd,
    HubEnd,
    Ordering,
    SendEnd,
    WholeEnd,
    join_ports,
    keep_markers_inside,
    keep_rounds_inside,
    open_chained,
    open_channel,
    open_feedback,
    open_fork,
    open_plain,
    tell_loop,
    tell_waits,
)
from ..errors import ElementError
from ..stages import StageKind
from ._fans import fork_name, open_fan
from ._merging import aligned_by, open_merge
from ._straight import Wiring, ended_input, wire_straight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..channels import Herald, MergeEnd, Pulse, ReceiveEnd
    from ..elements import ControlElement
    from ._edge_watches import EdgeWatches
    from ._orderings import JoinKey
    from ._plan import EdgePlan, InputPlan, OutputPlan, Plan, StagePlan
    from ._stage_run import StageRun
    from ._takers import Boundaries
    from ._watchdog import StageClock

__all__ = ["wire"]

_End = TypeVar("_End")


class _Ends:
    """The two ends of each edge of one run."""

    def __init__(
        self, plan: Plan, watches: EdgeWatches | None, herald: Callable[[], Herald | None], pulse: Pulse
    ) -> None:
        self._herald = herald
        self.sends: list[SendEnd[Any]] = []
        self.receives: list[ReceiveEnd[Any]] = []
        self.joins: dict[int, list[tuple[ControlJoin, int]]] = {}  # by fork
        self.hubs: dict[str, HubEnd[Any]] = {}
        self._controls: dict[JoinKey, ControlJoin] = {}
        self._orderings = plan.orderings
        self._remembered, self._above = plan.remembered, plan.above
        self._watches = watches
        self._tracer = None if watches is None else watches.tracer
        self._are_late = plan.is_chain and watches is None
        self._pulse = pulse
        self._entries: dict[int, str] = {}  # of the edges that lead back, where they lead to

    def open(self, edge: EdgePlan, opened: tuple[SendEnd[Any], ReceiveEnd[Any]] | None = None) -> None:
        """Open the next edge, unless it is `opened`."""
        watch, bound = None if self._watches is None else self._watches.of_edge(edge), edge.bound
        send: SendEnd[Any]
        receive: ReceiveEnd[Any]
        if opened is not None:
            send, receive = opened
        elif edge.is_plain:
            send, receive = open_plain(
                bound.capacity,
                edge.name,
                edge.gate,
                watch=watch,
                pulse=self._pulse,
                plain=edge.plain,
                is_late=self._are_late,
            )
        elif edge.rounds is not None:
            self._entries[len(self.sends)] = edge.rounds.entry
            send, receive = open_feedback(
                bound.capacity, edge.rounds, name=edge.name, admit=edge.gate, watch=watch, pulse=self._pulse
            )
        elif edge.is_chained:
            send, receive = open_chained(
                bound.capacity,
                name=edge.name,
                admit=edge.gate,
                watch=watch,
                pulse=self._pulse,
                plain=edge.plain,
                is_late=self._are_late,
            )
        else:
            send, receive = open_channel(
                bound.capacity,
                name=edge.name,
                admit=edge.gate,
                watch=watch,
                lanes=bound.lanes,
                pulse=self._pulse,
                overflow=bound.overflow,
                weight=bound.weight,
                plain=edge.plain,
            )
        receive.herald = self._herald
        if self._tracer is not None:
            self._tracer.edge(len(self.sends), edge, send, receive)
        self.sends.append(send)
        self.receives.append(receive)

    def read(self, plan: InputPlan, reader: StageClock | None) -> ReceiveEnd[Any]:
        """Return what reads an input: its edge, or the merge of its edges."""
        if len(plan.edges) == 1:
            return self.receives[plan.edges[0]]
        inputs = [self.receives[one] for one in plan.edges]
        aligned = aligned_by(plan.policy)
        join = self._join(plan.edges, len(inputs), plan.reach, aligned, plan.taken) if plan.reach else None
        watch = None if self._watches is None else self._watches.of_merge(plan.name, reader)
        entry = next((self._entries[one] for one in plan.edges if one in self._entries), None)
        merge: MergeEnd[Any]
        if entry is not None:
            merge = FeedbackMergeEnd(plan.name, inputs, plan.gate, watch, join, entry=entry)
        else:
            ending = [fork for fork, one in self._orderings.items() if plan.edges in one.ends]
            merge = open_merge(plan, inputs, watch, join, ending, is_followed=self._tracer is not None)
        if self._tracer is not None:
            self._tracer.merge(plan, merge)
        tell_waits(self._pulse, read=(merge,))
        return merge

    def join_ports(self, plan: StagePlan, inputs: Sequence[ReceiveEnd[Any]]) -> None:
        """Let control that a fork has copied to several inputs of a stage pass it by once."""
        join_ports(self._join(plan.join_key, len(inputs), plan.ports, ()), inputs)

    def _join(
        self,
        key: JoinKey,
        inputs: int,
        reach: Mapping[int, frozenset[int]],
        aligned: tuple[type[ControlElement], ...],
        taken: Mapping[int, Boundaries] = MappingProxyType({}),
    ) -> ControlJoin:
        join = ControlJoin(inputs, reach, self._remembered, aligned, above=self._above, taken=taken)
        self._controls[key] = join
        for fork in reach:
            self.joins.setdefault(fork, []).append((join, fork))
        return join

    def write(self, plan: OutputPlan, stage: str) -> SendEnd[Any]:
        """Return what writes an output: its edge, or the fork of its edges."""
        if len(plan.edges) == 1 and plan.fan is None:
            return self.sends[plan.edges[0]]
        otherwise = None if plan.otherwise is None else self.sends[plan.otherwise]
        source = f"{stage}:{plan.port}" if plan.port else stage
        if plan.fan is None:
            return self.fork(source, plan.edges, plan.fork, otherwise, is_shared=bool(plan.port))
        edges = [self.sends[one] for one in plan.edges]
        joins, marks = self.joins.get(plan.fork, ()), self._ordering(plan.fork)
        fan = open_fan(fork_name(source, edges), plan.fan, edges, otherwise=otherwise, joins=joins, ordering=marks)
        if isinstance(fan, HubEnd):
            self.hubs[source] = fan
        return fan

    def whole(self, stage: str, plan: StagePlan, writers: Sequence[SendEnd[Any]]) -> ForkEnd[Any]:
        """Return what writes all outputs of a stage as one."""
        edges = [edge for one in plan.outputs for edge in one.edges]
        if all(one.fan is None for one in plan.outputs):
            return self.fork(stage, edges, plan.fork, is_shared=True)
        branches = [self.sends[edge] for edge in edges]
        joins, marks = self.joins.get(plan.fork, ()), self._ordering(plan.fork)
        return WholeEnd(fork_name(stage, branches), writers, branches, joins=joins, ordering=marks)

    def fork(
        self,
        source: str,
        edges: Sequence[int],
        number: int,
        otherwise: SendEnd[Any] | None = None,
        *,
        is_shared: bool = False,
    ) -> ForkEnd[Any]:
        """Return what writes several edges as one."""
        branches = [self.sends[one] for one in edges]
        joins, marks = self.joins.get(number, ()), self._ordering(number)
        name = fork_name(source, branches)
        return open_fork(name, branches, otherwise=otherwise, joins=joins, ordering=marks, is_shared=is_shared)

    def _ordering(self, fork: int) -> Ordering | None:
        plan = self._orderings.get(fork)
        if plan is None:
            return None
        return Ordering(
            fork,
            {
                self.sends[edge]: [(self._controls[key], places) for key, places in reach if key in self._controls]
                for edge, reach in plan.reach.items()
            },
        )


def wire(
    plan: Plan,
    stages: Sequence[StageRun],
    watches: EdgeWatches | None,
    herald: Callable[[], Herald | None],
    pulse: Pulse,
    *,
    is_live: bool,
    is_late: bool = True,
    opened: Mapping[int, tuple[SendEnd[Any], ReceiveEnd[Any]]] = MappingProxyType({}),
) -> Wiring:
    """Open the edges of a run, give its stages what they read and write, and return its outer ends.

    Args:
        plan: The stages and edges.
        stages: The stages of the run.
        watches: Makes the watches of the edges; None: they are not watched.
        herald: Returns who hears of each `Interrupt` that is sent.
        pulse: Counts which tasks of the run can go on.
        is_live: Whether the user feeds the heads.
        is_late: Whether the edges may have to wait for their first element, and need no buffers until it comes.
        opened: The edges that were opened before, by number. If there are any, no end is told of the event loop.
    """
    if plan.ways and watches is None and not opened:
        return wire_straight(plan, stages, herald, pulse, is_live=is_live, is_late=is_late)
    ends = _Ends(plan, watches, herald, pulse)
    if watches is not None:
        watches.begin(plan, stages)
    for number, edge in enumerate(plan.edges):
        ends.open(edge, opened.get(number))
    for loop in plan.loops:
        for number in loop.leaving:
            keep_rounds_inside(ends.sends[number])
    if len(plan.leaves) == 1:
        keep_markers_inside(ends.sends[plan.outlet.edges[0]])
    # Readers first: a fork tells the merges below what it copies.
    for stage, its in zip(stages, plan.stages, strict=True):
        stage.inputs = tuple([ends.read(one, stage.clock) for one in its.inputs])
        if its.ports:
            ends.join_ports(its, stage.inputs)
        stage.reads = _for_body(its.inputs, stage.inputs) if its.inputs else ended_input(stage.name)
    outlet = ends.read(plan.outlet, None) if plan.leaves else ended_input("consumer")
    if not opened:
        tell_loop(ends.receives)
    for stage, its in zip(stages, plan.stages, strict=True):
        _fit_outputs(stage, its, ends, is_alone=plan.is_chain)
    # The user is no task of the run.
    tell_waits(None, written=[ends.receives[one] for one in plan.heads.values()] if is_live else (), read=(outlet,))
    return Wiring(
        inlets={name: ends.sends[edge] for name, edge in plan.heads.items()},
        outlet=outlet,
        edges=ends.receives,
        sends=ends.sends,
        hubs=ends.hubs,
    )


def _for_body(plans: Sequence[InputPlan | OutputPlan], ends: Sequence[_End]) -> _End | Mapping[str, _End]:
    """Return what a stage is given: its only end, or its ends by the names of its ports."""
    if not plans[0].port:
        return ends[0]
    return MappingProxyType({plan.port: end for plan, end in zip(plans, ends, strict=True)})


def _fit_outputs(stage: StageRun, plan: StagePlan, ends: _Ends, *, is_alone: bool) -> None:
    """Give a stage its output, or one that refuses, and let elements that it does not accept pass it by."""
    if plan.letters is not None:
        stage.letters = ends.write(plan.letters, stage.name)
    if not plan.outputs:
        refusal = partial(_refuse, stage.name)
        stage.output = stage.writes = open_channel(1, name=f"{stage.name} → nothing", admit=refusal)[0]
        return
    writers = [ends.write(one, stage.name) for one in plan.outputs]
    stage.writes = _for_body(plan.outputs, writers)
    stage.output = writers[0]
    if len(writers) > 1:
        stage.output = ends.whole(stage.name, plan, writers)
    for one in stage.inputs:
        one.forward_to(stage.output, is_alone=is_alone)
        if plan.keeps_aside:
            one.keep_aside()
        elif plan.node.stage.kind is StageKind.ACCUMULATE:
            one.owe_ends()


def _refuse(sink: str, _item: object) -> bool:
    message = f"stage {sink!r} is a sink and cannot send; make it a transform to send elements on"
    raise ElementError(message)

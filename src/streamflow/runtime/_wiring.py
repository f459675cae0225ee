"""The edges of one run: opened between its stages, watched where a limit, a measurement or a test asks for it.

Above: `_engine`. Below: `_straight`, `channels`, `_plan`, `_watchdog`.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio

from ..channels import (
    ControlJoin,
    FeedbackMergeEnd,
    ForkEnd,
    HubEnd,
    Ordering,
    SendEnd,
    WholeEnd,
    join_ports,
    keep_rounds_inside,
    open_chained,
    open_channel,
    open_feedback,
    open_fork,
    open_plain,
    tell_loop,
    tell_waits,
)
from ..errors import ChannelClosedError, ElementError, OutputClosedError, RunStateError
from ..stages import StageKind
from ._fans import open_fan
from ._jobs import is_made_of, leaf_of
from ._merging import aligned_by, open_merge
from ._straight import Wiring, ended_input, wire_straight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from ..channels import Fence, Herald, MergeEnd, Pulse, ReceiveEnd
    from ..elements import ControlElement
    from ..errors import CloseReason
    from ..graph import Node
    from ..stages import RunContext, StageBody
    from ._edge_watches import EdgeWatches
    from ._engine import Engine
    from ._interruption import Unwinding
    from ._jobs import Job
    from ._orderings import JoinKey
    from ._plan import EdgePlan, InputPlan, OutputPlan, Plan, StagePlan
    from ._supervision import Supervisor
    from ._watchdog import StageClock

__all__ = ["StageRun", "wire"]

_End = TypeVar("_End")

_NOBODY: dict[Job, None] = {}  # never changed: a stage that starts a helper has a dictionary of its own


class StageRun:
    """One stage in one run."""

    frame: anyio.CancelScope | None = None
    """Around its body, if it is supervised; None: while there is none, or it has its task for itself."""
    host: Engine | None = None
    """The run; None once the stage has ended: the run may know it then, and nothing is left waiting for the garbage collector."""
    waits_for_helpers: bool = False
    """Whether its own work is done, and it waits until that of its helpers is."""
    helpers_ended: anyio.Event | None = None
    """Set when the last helper has ended, once somebody waits for it."""

    def __init__(self, plan: StagePlan, pulse: Pulse) -> None:
        self.plan: StagePlan = plan
        """What is the same for all runs."""
        self.pulse: Pulse = pulse
        """Counts which tasks of the run can go on."""
        self.node: Node = plan.node
        """The stage in its graph."""
        self.name: str = plan.node.name
        """Name of the stage."""
        self.index: int = plan.index
        """Its number in the plan."""
        self.inputs: tuple[ReceiveEnd[Any], ...] = ()
        """What it reads."""
        # These are looked at in each run: what an object has itself is found faster than what its class tells.
        self.context: RunContext[Any] | None = None
        """What it may ask of the run; None before its work has begun, and after its end."""
        self.fence: Fence | None = None
        """Stands around it since an interruption; None: nothing is fenced."""
        self.unwinding: Unwinding | None = None
        """What interruptions have cancelled of it; None: none has cancelled anything yet."""
        self.helpers: dict[Job, None] = _NOBODY
        """Its helper tasks that are alive."""
        self.clock: StageClock | None = None
        """Since when it is busy, if it has a limit."""
        self.failure: BaseException | None = None
        """What it failed with, or was made to fail with when it took too long."""
        self.letters: SendEnd[Any] | None = None
        """Where its dead letters go."""
        self.supervisor: Supervisor | None = None
        """Keeps it going when it fails; None once it has ended."""
        self.has_begun: bool = False
        """Whether its work has begun; a stage may be cancelled before."""
        self.has_ended: bool = False
        """Whether its task has."""
        self.output: SendEnd[Any]
        """All that it writes, as one."""
        self.reads: ReceiveEnd[Any] | Mapping[str, ReceiveEnd[Any]]
        """What it is given as input: an end, or ends by port; one that has ended, for a stage that generates."""
        self.writes: SendEnd[Any] | Mapping[str, SendEnd[Any]]
        """What it is given as output: an end, or ends by port; for a sink one that refuses everything."""
        self.job: Job
        """Its task."""

    @property
    def downstream(self) -> frozenset[int]:
        """The stages that its elements can reach."""
        return self.plan.downstream

    @property
    def is_sink(self) -> bool:
        """Whether it has no output."""
        return not self.plan.outputs

    @property
    def is_isolated(self) -> bool:
        """Whether it may fail without failing the run."""
        return self.plan.is_isolated

    def call(self, body: StageBody, run: RunContext[Any]) -> Awaitable[None]:
        """Call what its stage has given as its body for this run."""
        return body(cast("Any", self.reads), cast("Any", self.writes), run)

    def start_helper(self, work: Callable[[], Awaitable[object]], name: str) -> Callable[[], None]:
        """Start a helper task, and return what cancels it; what `RunContext.start_soon()` calls.

        Raises:
            RunStateError: If the stage has ended, or is being cancelled.
        """
        if self.host is None or self.job not in self.host.jobs.alive or self.job.cancel_requested:
            message = f"stage {self.name!r} has ended and cannot start the helper {name!r}"
            raise RunStateError(message)
        return self.host.start_helper(self, work, name)

    async def helped(self) -> None:
        """Wait until its helpers have ended. Cancellation: leaves them alone."""
        while self.helpers:
            self.helpers_ended = anyio.Event()
            self.waits_for_helpers = True
            self.pulse.begin_wait()
            try:
                await self.helpers_ended.wait()
            finally:
                self.pulse.runnable += 1
                self.waits_for_helpers = False

    def has_rest(self) -> bool:
        """Say whether something may be left to pass it by."""
        for one in self.inputs:  # noqa: SIM110 - most stages have one input, and any() costs a generator
            if one.has_rest():
                return True
        return False

    def cancel(self) -> None:
        """Ask its tasks to end."""
        self.job.cancel()
        for helper in self.helpers:
            helper.cancel()

    @property
    def has_job(self) -> bool:
        """Whether it has its task already, or a part of one."""
        return hasattr(self, "job")

    @property
    def is_holding(self) -> bool:
        """Whether it is at work on something that it has taken, as far as that can be seen: it does not wait for more."""
        if self.failure is not None:
            return self.in_hand() is not None
        return self.job.is_at_work and self._has_taken() and (self.node.stage.max_held != 1 or not self._has_asked())

    @property
    def was_holding(self) -> bool:
        """Whether it is holding, or was when it ended: for a stage that holds one element at most."""
        has_met_end = any(one.end_was_told for one in self.inputs)
        return self.job.had_work and self._has_taken() and not self._has_asked() and not has_met_end

    def _has_taken(self) -> bool:
        return any(one.position for one in self.inputs)

    def _has_asked(self) -> bool:
        """Say whether it has asked for more since it took an element, and had to wait for it."""
        return any(one.asked_at == one.position for one in self.inputs)

    @property
    def moved(self) -> tuple[int, int]:
        """How many elements it has taken, and how many it has sent."""
        return sum(one.position for one in self.inputs), self.output.statistics().sent

    def close_outputs(self) -> None:
        """Tell all that read what it gives that nothing more comes."""
        self.output.close()
        if self.letters is not None:
            self.letters.close()

    def close_inputs(self, reason: CloseReason) -> None:
        """Tell all that feed it that it takes no more."""
        for one in self.inputs:
            if one.state == "open" or one.has_rest():  # most have ended, and been read to the end
                one.close(reason)

    def has_met_end(self) -> bool:
        """Say whether it has been told that an input has ended: `receive()` raises that, and a body may end by it."""
        return any(one.end_was_told for one in self.inputs)

    async def pass_rest(self) -> None:
        """Pass on what is left to pass it by. Cancellation: what was not passed on stays where it is."""
        for one in self.inputs:
            await (one.pass_rest() if one.end_was_told else one.pass_aside())

    def is_expected(self, job: Job, error: BaseException, cancelled: type[BaseException]) -> bool:
        """Say whether `error` is how this stage learned that its reader has gone, or that the run has stopped it."""
        if job.cancel_requested:
            # What starts a helper before it hears of its cancellation is refused: that is no failure of its own.
            return is_made_of(error, (cancelled, OutputClosedError, ChannelClosedError, RunStateError))
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
        join = self._join(plan.edges, len(inputs), plan.reach, aligned_by(plan.policy)) if plan.reach else None
        watch = None if self._watches is None else self._watches.of_merge(plan.name, reader)
        entry = next((self._entries[one] for one in plan.edges if one in self._entries), None)
        merge: MergeEnd[Any]
        if entry is not None:
            merge = FeedbackMergeEnd(plan.name, inputs, plan.gate, watch, join, entry=entry)
        else:
            ending = [fork for fork, one in self._orderings.items() if plan.edges in one.ends]
            merge = open_merge(plan, inputs, watch, join, ending)
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
    ) -> ControlJoin:
        join = self._controls[key] = ControlJoin(inputs, reach, self._remembered, aligned, above=self._above)
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
        fan = open_fan(_fork_name(source, edges), plan.fan, edges, otherwise=otherwise, joins=joins, ordering=marks)
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
        return WholeEnd(_fork_name(stage, branches), writers, branches, joins=joins, ordering=marks)

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
        name = _fork_name(source, branches)
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


def _fork_name(source: str, branches: Sequence[SendEnd[Any]]) -> str:
    return f"{source} → ({', '.join(branch.name.partition(' → ')[2] for branch in branches)})"


def wire(
    plan: Plan,
    watches: EdgeWatches | None,
    herald: Callable[[], Herald | None],
    pulse: Pulse,
    *,
    is_live: bool,
    is_late: bool = True,
    opened: Mapping[int, tuple[SendEnd[Any], ReceiveEnd[Any]]] = MappingProxyType({}),
) -> tuple[list[StageRun], Wiring]:
    """Open the edges of a run, and return its stages and its outer ends.

    Args:
        plan: The stages and edges.
        watches: Makes the watches of the edges; None: they are not watched.
        herald: Returns who hears of each `Interrupt` that is sent.
        pulse: Counts which tasks of the run can go on.
        is_live: Whether the user feeds the heads.
        is_late: Whether the edges may have to wait for their first element, and need no buffers until it comes.
        opened: The edges that were opened before, by number. If there are any, no end is told of the event loop.
    """
    stages = [StageRun(one, pulse) for one in plan.stages]
    if plan.ways and watches is None and not opened:
        return stages, wire_straight(plan, stages, herald, pulse, is_live=is_live, is_late=is_late)
    ends = _Ends(plan, watches, herald, pulse)
    if watches is not None:
        watches.begin(plan, stages)
    for number, edge in enumerate(plan.edges):
        ends.open(edge, opened.get(number))
    for loop in plan.loops:
        for number in loop.leaving:
            keep_rounds_inside(ends.sends[number])
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
    return stages, Wiring(
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

"""The edges of one run: opened between its stages, watched where a limit, a measurement or a test asks for it.

Above: `_engine`. Below: `channels`, `_plan`, `_watchdog`.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from ..channels import ControlJoin, ForkEnd, MergeEnd, SendEnd, open_channel
from ..errors import ChannelClosedError, ElementError, OutputClosedError
from ._jobs import is_made_of, leaf_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..channels import ReceiveEnd
    from ..elements import StreamElement
    from ..errors import CloseReason
    from ..graph import Node
    from ._edge_watches import EdgeWatches
    from ._jobs import Job
    from ._plan import EdgePlan, InputPlan, OutputPlan, Plan, StagePlan
    from ._watchdog import StageClock

__all__ = ["StageRun", "Wiring", "ended_input", "wire"]

_End = TypeVar("_End")


class StageRun:
    """One stage in one run."""

    def __init__(self, plan: StagePlan) -> None:
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
        self.clock: StageClock | None = None
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

    @property
    def is_holding(self) -> bool:
        """Whether it is at work on something that it has taken, as far as that can be seen: it does not wait for more."""
        if self.failure is not None:
            return self.in_hand() is not None
        if not self.job.is_at_work or not any(one.position for one in self.inputs):
            return False
        return self.node.stage.max_held != 1 or not any(one.statistics().waiting_receiver for one in self.inputs)

    @property
    def moved(self) -> tuple[int, int]:
        """How many elements it has taken, and how many it has sent."""
        return sum(one.position for one in self.inputs), self.output.statistics().sent

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
    edges: Sequence[ReceiveEnd[Any]]
    """All edges, in the order of the plan."""
    merges: Sequence[ReceiveEnd[Any]]
    """What reads several of them."""


class _Ends:
    """The two ends of each edge of one run."""

    def __init__(self, watches: EdgeWatches | None) -> None:
        self.sends: list[SendEnd[Any]] = []
        self.receives: list[ReceiveEnd[Any]] = []
        self.merges: list[ReceiveEnd[Any]] = []
        self.joins: dict[int, list[tuple[ControlJoin, int]]] = {}  # by fork
        self._watches = watches

    def open(self, edge: EdgePlan, *, lanes: bool) -> None:
        """Open the next edge."""
        watch = None if self._watches is None else self._watches.of_edge(edge)
        send: SendEnd[Any]
        receive: ReceiveEnd[Any]
        send, receive = open_channel(edge.capacity, name=edge.name, admit=edge.gate, watch=watch, lanes=lanes)
        self.sends.append(send)
        self.receives.append(receive)

    def read(self, plan: InputPlan, reader: StageClock | None) -> ReceiveEnd[Any]:
        """Return what reads an input: its edge, or the merge of its edges."""
        if len(plan.edges) == 1:
            return self.receives[plan.edges[0]]
        inputs = [self.receives[one] for one in plan.edges]
        join = None
        if plan.reach:
            join = ControlJoin(len(inputs), plan.reach)
            for fork in plan.reach:
                self.joins.setdefault(fork, []).append((join, fork))
        watch = None if self._watches is None else self._watches.of_merge(plan.name, reader)
        self.merges.append(MergeEnd(plan.name, inputs, plan.gate, watch, join))
        return self.merges[-1]

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


def wire(plan: Plan, watches: EdgeWatches | None) -> tuple[list[StageRun], Wiring]:
    """Open the edges of a run, and return its stages and its outer ends.

    Args:
        plan: The stages and edges.
        watches: Makes the watches of the edges; None: they are not watched.
    """
    stages = [StageRun(one) for one in plan.stages]
    ends = _Ends(watches)
    if watches is not None:
        watches.begin(stages)
    for edge in plan.edges:
        ends.open(edge, lanes=plan.has_lanes)
    # Readers first: a fork tells the merges below what it copies.
    for stage, its in zip(stages, plan.stages, strict=True):
        stage.inputs = tuple([ends.read(one, stage.clock) for one in its.inputs])
        stage.reads = _for_body(its.inputs, stage.inputs) if its.inputs else ended_input(stage.name)
    outlet = ends.read(plan.outlet, None) if plan.leaves else ended_input("consumer")
    for stage, its in zip(stages, plan.stages, strict=True):
        _fit_outputs(stage, its, ends)
    return stages, Wiring(
        inlets={name: ends.sends[edge] for name, edge in plan.heads.items()},
        outlet=outlet,
        leaves={name: ends.receives[edge] for name, edge in plan.leaves.items()},
        edges=ends.receives,
        merges=ends.merges,
    )


def _for_body(plans: Sequence[InputPlan | OutputPlan], ends: Sequence[_End]) -> _End | Mapping[str, _End]:
    """Return what a stage is given: its only end, or its ends by the names of its ports."""
    if not plans[0].port:
        return ends[0]
    return MappingProxyType({plan.port: end for plan, end in zip(plans, ends, strict=True)})


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
    writers = [ends.write(one, stage.name) for one in plan.outputs]
    stage.writes = _for_body(plan.outputs, writers)
    stage.output = writers[0]
    if len(writers) > 1:
        stage.output = ends.fork(stage.name, [edge for one in plan.outputs for edge in one.edges], plan.fork)
    for one in stage.inputs:
        one.forward_to(stage.output)
        if plan.keeps_aside:
            one.keep_aside()


def _refuse(sink: str, _item: object) -> bool:
    message = f"stage {sink!r} is a sink and cannot send; make it a transform to send elements on"
    raise ElementError(message)

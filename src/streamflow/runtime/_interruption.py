"""Interruption (barge-in): one sweep over a whole run, and what its stages do about it.

Above: `_engine`, `_run`. Below: `_wiring` (a run's stages), `channels` (edges, fences), `stages` (turn scopes).

A sweep is one step of the event loop:

1. The epoch goes up.
2. For each stage it is decided what becomes of its work in hand, see `_Sweep._decide()`.
3. Every edge drops what may be dropped, see `channels/_sweep.py`.

What is cancelled unwinds in the turns of the loop after that. A stage that is re-entered waits for its body and its helpers to end,
passes on what its body was passed by with, and the `TurnEnd` that its body had in hand; then its body is called again.

The stage in whose task the sweep is made, or that sends the `Interrupt`, is left alone: it knows what it does.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from ..channels import Fence, HubEnd, MergeEnd, sweep_edge
from ..elements import Interrupt, survives_interruption
from ..stages import StageKind, Turns, is_accepted, run_here, turns_of
from ._jobs import is_made_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from typing import Self

    from ..channels import ReceiveEnd, SendEnd
    from ..stages import RunContext, TurnScope
    from ._jobs import Job
    from ._plan import Plan
    from ._stage_run import StageRun

__all__ = [
    "Interruption",
    "Sweeper",
    "Unwinding",
    "call_supervised",
    "end_stage",
    "finish_body",
    "pass_rest",
    "reenter",
    "was_swept",
]

_REMEMBERED = 16
"""Most `Interrupt`s of which it is remembered that stages may still send them on."""

_KEEPING = frozenset({StageKind.ACCUMULATE, StageKind.BIDIRECTIONAL})
"""Kinds of stages that have work in hand also while they wait for an element."""


class Interruption:
    """What an interruption did, told at once; and who is still unwinding. Made by `Run.interrupt()`.

    What is cancelled unwinds in the next turn of the event loop, if it does not hold on to what it does.
    """

    def __init__(self, epoch: int, reason: str) -> None:
        self.epoch: int = epoch
        """How many interruptions the run had had with this one; the same as before, where there was nothing to interrupt."""
        self.reason: str = reason
        """Why, for a person to read."""
        self.dropped: Mapping[str, int] = MappingProxyType({})
        """How many elements each edge has dropped, by its name; edges that have dropped none are left out."""
        self.cancelled: tuple[str, ...] = ()
        """The stages whose work in hand was cancelled, all or part of it, in the order of the graph."""
        self._unwinding: dict[str, None] = {}
        self._settled: anyio.Event | None = None

    @property
    def unwinding(self) -> tuple[str, ...]:
        """The stages of which something that was cancelled has not ended yet, in the order of the graph."""
        return tuple(self._unwinding)

    async def settled(self) -> Self:
        """Wait until nothing is unwinding any more.

        Cancellation: changes nothing.
        """
        while self._unwinding:
            self._settled = self._settled or anyio.Event()
            await self._settled.wait()
        return self

    def begin(self, stage: str) -> None:
        """Know that something of a stage is cancelled. For the runtime."""
        self.cancelled += (stage,)
        self._unwinding[stage] = None

    def end(self, stage: str) -> None:
        """Know that all of it has ended. For the runtime."""
        self._unwinding.pop(stage, None)
        if not self._unwinding and self._settled is not None:
            self._settled.set()

    def __repr__(self) -> str:
        dropped = sum(self.dropped.values())
        return f"<Interruption {self.epoch}: {dropped} dropped, unwinding: {', '.join(self._unwinding) or 'none'}>"


class Unwinding:
    """What of one stage was cancelled by sweeps and has not ended yet."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._told: list[Interruption] = []
        self.body: bool = False
        """Whether its body was."""
        self.parts: set[Job | TurnScope] = set()
        """Helpers and turn scopes that were."""

    def tell(self, interruption: Interruption) -> None:
        """Let one more interruption know when all has ended."""
        interruption.begin(self._stage)
        self._told.append(interruption)

    def end_all(self) -> None:
        """Know that nothing of the stage is left."""
        self.parts.clear()
        self.end()

    def end(self, part: Job | TurnScope | None = None) -> None:
        """Know that a part has ended; None: the body."""
        if part is None:
            self.body = False
        else:
            self.parts.discard(part)
        if not self.body and not self.parts:
            told, self._told = self._told, []
            for one in told:
                one.end(self._stage)


@dataclasses.dataclass(slots=True)
class _Travelling:
    """An `Interrupt` that is on its way, and is no new one where a stage that takes it sends it on."""

    interrupt: Interrupt
    reach: Collection[int]
    """The stages that it can come to."""
    sent_on: set[int] = dataclasses.field(default_factory=set[int])
    """Those that have sent it on."""


class Sweeper:
    """Sweeps one run. Made when it is interrupted for the first time.

    Args:
        plan: The stages and edges.
        edges: The reading ends of all edges, in the order of the plan.
    """

    def __init__(self, plan: Plan, edges: Sequence[ReceiveEnd[Any]]) -> None:
        self._plan = plan
        self._edges = edges
        self._travelling: deque[_Travelling] = deque(maxlen=_REMEMBERED)
        self.epoch: int = 0
        """How many interruptions there were."""

    def is_new(self, edge: ReceiveEnd[Any], interrupt: Interrupt) -> bool:
        """Say whether an `Interrupt` that enters an edge is a new one, and not sent on by a stage to which it came."""
        number = next(number for number, one in enumerate(self._edges) if one is edge)
        writer = self._plan.edges[number].source
        if writer is None:
            head = next(name for name, first in self._plan.heads.items() if first == number)
            self._travelling.append(_Travelling(interrupt, self._plan.fed[head]))
            return True
        node = self._plan.stages[writer].node
        if is_accepted(type(interrupt), node.stage.accepts):
            for one in self._travelling:
                if one.interrupt == interrupt and writer in one.reach and writer not in one.sent_on:
                    one.sent_on.add(writer)
                    return False
        self._travelling.append(_Travelling(interrupt, self._plan.stages[writer].downstream))
        return True

    def writer_of(self, edge: ReceiveEnd[Any]) -> int | None:
        """Return the number of the stage that writes an edge; None for a source."""
        return next(plan.source for plan, one in zip(self._plan.edges, self._edges, strict=True) if one is edge)

    def sweep(
        self, stages: Sequence[StageRun], outlet: ReceiveEnd[Any], *, reason: str, run_id: str, sender: int | None
    ) -> Interruption:
        """Interrupt all that is on its way, and all work in hand but that of the stage which asks for it.

        Args:
            stages: The stages that have not ended.
            outlet: What the consumer reads.
            reason: Why.
            run_id: The run, by which it is known whether one of its own stages asks.
            sender: The stage that sends the `Interrupt`, if one does.
        """
        self.epoch += 1
        done = Interruption(self.epoch, reason)
        asking = run_here()
        asking_name = asking.stage if asking is not None and asking.run_id == run_id else None
        left_alone: set[int] = set()
        for stage in stages:
            if stage.has_begun:
                turns_of(stage.context).epoch = self.epoch
            if stage.index != sender and stage.name != asking_name and _interrupt(stage, done) == "left alone":
                left_alone.add(stage.index)
        dropped: dict[str, int] = {}
        for plan, edge in zip(self._plan.edges, self._edges, strict=True):
            _count(dropped, edge, sweep_edge(edge, spares_senders=plan.source in left_alone))
        for end in (*(one for stage in stages for one in stage.inputs), outlet):
            if isinstance(end, MergeEnd):
                _count(dropped, end, sweep_edge(end))
        for hub in (one for stage in stages for one in _writing_ends(stage) if isinstance(one, HubEnd)):
            for edge in hub.added():
                _count(dropped, edge, sweep_edge(edge))
        done.dropped = MappingProxyType(dropped)
        return done


def _count(dropped: dict[str, int], edge: ReceiveEnd[Any], count: int) -> None:
    if count:
        dropped[edge.name] = dropped.get(edge.name, 0) + count


def _interrupt(stage: StageRun, done: Interruption) -> str:
    """Do to one stage what its work in hand asks for, and say in a word what that is."""
    if not stage.has_begun or stage.job.cancel_requested or stage.host is None:
        return "idle"
    if stage.job.is_shared and not stage.job.is_at_work:
        return "idle"
    if stage.supervisor is not None and stage.supervisor.forgets_what_is_due(survives_interruption):
        return "idle"
    turns = turns_of(stage.context)
    if turns.swept is not None:
        turns.swept.sweep()
        return _await_helpers(stage, done)
    if turns.scopes:
        if all(scope.stays for scope in turns.scopes):
            return "left alone"
        _fence(stage, turns)
        return _cancel_scopes(stage, turns, done)
    return _interrupt_body(stage, turns, done)


def _interrupt_body(stage: StageRun, turns: Turns, done: Interruption) -> str:
    spec = stage.node.stage
    is_asking = any(one.is_asking for one in stage.inputs)
    if is_asking and spec.kind not in _KEEPING and not stage.helpers:
        return "idle"
    if spec.kind is StageKind.GENERATE and spec.on_interrupt == "fence":
        return "idle"
    is_call = spec.calls == "one"
    waits = _waits_to_send(stage)
    if is_call:
        hand = next((one.in_hand for one in stage.inputs), None)
        if hand is not None and survives_interruption(hand):
            return "left alone"
    fence = _fence(stage, turns)
    if spec.on_interrupt == "fence" or (is_call and (waits is not None or stage.job.is_shared)):
        return "fenced"
    unwinding = _unwinding(stage)
    if not unwinding.body:
        unwinding.body = True
        if waits == "with what stays" and not is_asking:
            fence.on_sent = _CancelOnceSent(stage, fence)
        else:
            _cancel_body(stage, fence)
    unwinding.tell(done)
    return "re-entered"


class _CancelOnceSent:
    """Cancels the body of a stage once it has sent what an interruption leaves, and its own with it."""

    def __init__(self, stage: StageRun, fence: Fence) -> None:
        self._stage = stage
        self._fence = fence

    def __call__(self) -> None:
        if _waits_to_send(self._stage) != "with what stays":
            self._fence.on_sent = None
            _cancel_body(self._stage, self._fence)


def _cancel_body(stage: StageRun, fence: Fence) -> None:
    fence.is_cancelled = True
    if stage.frame is None:
        stage.job.interrupt()
    else:
        stage.frame.cancel()
    unwinding = _unwinding(stage)
    for helper in stage.helpers:
        unwinding.parts.add(helper)
        helper.cancel()


def _await_helpers(stage: StageRun, done: Interruption) -> str:
    """Count the helpers that have been cancelled."""
    cancelled = [helper for helper in stage.helpers if helper.cancel_requested]
    if not cancelled:
        return "idle"
    unwinding = _unwinding(stage)
    unwinding.parts.update(cancelled)
    unwinding.tell(done)
    return "calls cancelled"


def _cancel_scopes(stage: StageRun, turns: Turns, done: Interruption) -> str:
    unwinding = _unwinding(stage)
    turns.on_left = unwinding.end
    for scope in [one for one in turns.scopes if not one.stays]:
        unwinding.parts.add(scope)
        scope.interrupt()
    unwinding.tell(done)
    return "scopes cancelled"


def _unwinding(stage: StageRun) -> Unwinding:
    if stage.unwinding is None:
        stage.unwinding = Unwinding(stage.name)
    return stage.unwinding


def _writing_ends(stage: StageRun) -> Iterable[SendEnd[Any]]:
    """Return all ends that a stage writes by; none for a sink."""
    ports = stage.writes.values() if isinstance(stage.writes, Mapping) else ()
    return () if stage.is_sink else dict.fromkeys((stage.output, *ports))


def _fence(stage: StageRun, turns: Turns) -> Fence:
    """Put a fence around a stage, unless it has one."""
    if stage.fence is None:
        stage.fence = Fence(stage.inputs, _writing_ends(stage))
        stage.fence.on_lifted = _Lifted(stage, turns)
        turns.fence = stage.fence
    return stage.fence


class _Lifted:
    """Makes a stage one that was never interrupted, once its fence is lifted."""

    def __init__(self, stage: StageRun, turns: Turns) -> None:
        self._stage = stage
        self._turns = turns

    def __call__(self) -> None:
        stage = self._stage
        stage.fence = self._turns.fence = None
        if stage.unwinding is not None and stage.unwinding.body:
            stage.unwinding.end()  # it has let its cancellation pass unheard, and begins something new


def _waits_to_send(stage: StageRun) -> str | None:
    """Say whether the stage waits for room, and if so with what: something that stays, or what is dropped."""
    items = stage.output.waiting_items()
    if not items:
        return None
    return "with what stays" if any(one is not None and survives_interruption(one) for one in items) else "to drop"


def was_swept(stage: StageRun, error: BaseException) -> bool:
    """Say whether the body of a stage has left with `error` because a sweep has cancelled it; then it is to be called again."""
    fence = stage.fence
    if fence is None or not fence.is_cancelled or stage.job.cancel_requested:
        return False
    return is_made_of(error, anyio.get_cancelled_exc_class()) and stage.job.uncancel()


async def reenter(stage: StageRun) -> None:
    """Do what is to be done between two calls of a stage's body: see the module."""
    await stage.helped()
    if stage.unwinding is not None:
        stage.unwinding.end()
    for one in stage.inputs:
        end = one.end_in_hand
        if end is not None:
            await stage.output.send(end)
        else:
            await one.pass_aside()
    if stage.fence is not None:
        stage.fence.is_cancelled = False
        stage.fence.lift()


async def call_supervised(stage: StageRun, run: RunContext[Any]) -> None:
    """Call the body of a supervised stage, and again each time that a sweep has cancelled it.

    In a cancel scope of its own, since its supervisor has one around it.
    """
    body = stage.node.stage.start(run)
    try:
        while True:
            with anyio.CancelScope() as stage.frame:
                await stage.call(body, run)
            if not stage.frame.cancelled_caught:
                break
            await reenter(stage)
    finally:
        stage.frame = None
    if stage.fence is not None:
        stage.fence.is_cancelled = False
        stage.fence.lift()


def end_stage(stage: StageRun) -> None:
    """Know that a stage has ended. It knows what knows it in turn: nothing of that is left for the garbage collector."""
    stage.forget()
    if stage.fence is not None:
        stage.fence.lift()
    if stage.unwinding is not None:
        stage.unwinding.end_all()


async def finish_body(stage: StageRun) -> None:
    """Wait for the helpers of a stage whose body has returned, and clear away what interruptions have left of it.

    A sweep that comes while it waits cancels the wait with the helpers: the body, which may have left all to them, is called again.
    """
    fence = stage.fence
    if fence is None:
        await stage.helped()
        return
    fence.on_sent = None
    if fence.is_cancelled:
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            if stage.job.cancel_requested:
                raise
        if not stage.job.cancel_requested:
            stage.job.uncancel()
    fence.is_cancelled = False
    fence.lift()
    await stage.helped()


async def pass_rest(stage: StageRun) -> None:
    """Pass on what the stage has left behind its last element; a sweep meanwhile cancels no more than the wait for room."""
    while True:
        try:
            await stage.pass_rest()
        except BaseException as error:
            if not was_swept(stage, error):
                raise
            await finish_body(stage)
        else:
            return

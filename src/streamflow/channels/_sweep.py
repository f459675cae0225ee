"""A sweep: what is on its way and may be dropped is dropped, in one step of the event loop, and what was begun before it is fenced.

Above: `runtime`, which sweeps all edges of a run when it is interrupted. Below: `_receive_end`, `_send_end`.

Rules, besides those of `_bounded`:

1. *What a sweep leaves keeps its order*: control, wholes, and what is not interruptible. What is dropped counts as `stale`.
2. *Who waits for room has its element on the way too*: it is dropped in the same step, and its sender let go.
3. *What a reader is passing on stays where it is*, though only to be dropped on the edge that it is passed to: its reader
   waits with it, and must find it.
4. *A fence* is put around a stage that has work in hand. What it sends is dropped and counted, each time with a checkpoint, until
   it takes its next element; what a sweep would leave passes. Both ends of the stage are told through the values that their fast
   paths look at, so that no fence costs nothing.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Never, Protocol

import anyio.lowlevel

from ..elements import survives_interruption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..elements import Interrupt
    from ._receive_end import ReceiveEnd
    from ._send_end import SendEnd

__all__ = ["Fence", "Herald", "sweep_edge"]


class Herald(Protocol):
    """Hears of an `Interrupt` that is sent, before it enters the edge."""

    def announce(self, edge: ReceiveEnd[object], interrupt: Interrupt) -> None:
        """Hear that whoever writes `edge` sends `interrupt`."""
        ...


def sweep_edge(
    edge: ReceiveEnd[object],
    does_stay: Callable[[object], bool] = survives_interruption,
    *,
    spares_senders: bool = False,
) -> int:
    """Drop what an interruption drops of all that is in an edge, and of what its senders wait with; return how many were in it.

    Args:
        edge: What is swept.
        does_stay: Says what is not dropped.
        spares_senders: Whether what senders wait with stays too: it was made of something that the interruption leaves alone.
    """
    edge._settle()
    dropped = _drop_stale(edge, does_stay) + edge._drop_kept(does_stay)
    for turn in edge._turns:
        if turn.item is not None and not spares_senders and not does_stay(turn.item):
            turn.item = None
    if edge._turns:
        edge._wake_senders()
    if dropped:
        for overseer in edge._overseers:
            overseer.look()
    return dropped


def _drop_stale(edge: ReceiveEnd[Any], does_stay: Callable[[object], bool]) -> int:
    """Drop what does not stay of what is in an edge, and kept aside for its reader."""
    stays = [does_stay(item) for item in edge._buffer]
    if edge.is_passing_on and stays:
        stays[0] = True
    dropped = [item for item, does in zip(edge._buffer, stays, strict=True) if not does]
    if dropped:
        edge._keep(stays)
    aside = edge._aside
    if aside:
        kept = [item for item in aside if does_stay(item)]
        dropped += [item for item in aside if not does_stay(item)]
        aside.clear()
        aside.extend(kept)
    if dropped:
        edge._end = None
        edge._count_discarded("stale", len(dropped))
        if edge._watch is not None:
            edge._watch.on_discarded(dropped, "stale")
    return len(dropped)


class Fence:
    """Stands around one stage that had work in hand when a sweep came.

    Args:
        inputs: What the stage reads; taking an element there lifts the fence.
        outputs: All ends that it writes by, those that its own are made of included.
    """

    def __init__(self, inputs: Sequence[ReceiveEnd[object]], outputs: Iterable[SendEnd[Never]]) -> None:
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self.on_sent: Callable[[], None] | None = None
        """Called when the stage has sent something that passes; None: nobody wants to know."""
        self.on_lifted: Callable[[], None] | None = None
        """Called when the fence is lifted; None: nobody wants to know."""
        self.is_cancelled: bool = False
        """Whether the stage is being cancelled, and is to take nothing before it has learned that."""
        for one in self._inputs:
            one._gate = self
            one.attention += 1
        for end in self._outputs:
            end._fence = self
            for edge in end._edges:
                edge._is_fenced = True
                if edge._level is not None:
                    edge._level.put()
                if edge._sender is not None:
                    edge._sender._limit = -1

    def lift(self) -> None:
        """Let everything pass again. Idempotent."""
        inputs, self._inputs = self._inputs, ()
        outputs, self._outputs = self._outputs, ()
        for one in inputs:
            one._gate = None
            one.attention -= 1
        for end in outputs:
            end._fence = None
            for edge in end._edges:
                edge._is_fenced = False
                if edge._sender is not None and edge._turns:
                    edge._sender._limit = 0
                edge._reopen_sender()
        on_lifted, self.on_lifted, self.on_sent = self.on_lifted, None, None
        if on_lifted is not None:
            on_lifted()

    async def open(self) -> None:
        """Let the stage take its next element.

        Cancellation: a stage that the sweep has cancelled learns it here, and takes nothing.
        """
        if self.is_cancelled:
            await anyio.lowlevel.checkpoint()
        self.lift()

    def open_nowait(self) -> bool:
        """Let the stage take its next element, and say whether it may."""
        if not self.is_cancelled:
            self.lift()
        return not self.is_cancelled

"""Edges inside a chain of stages that share one task.

Above: `runtime`, which runs the chains. Below: `_receive_end`, `_send_end`.

Rules, besides those of `_bounded`:

1. *An edge inside a chain is an ordinary edge*: what is on its way is in its buffer and nowhere else, it counts, and a sweep, a
   fence or a failure finds it as it finds any other. Only that no task waits at its ends: who would wait for room has the
   stages behind the edge go on instead.
2. What passes a stage by goes on through the stages behind it at once: no element comes behind it on which it could ride.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Never, TypeVar

from ._receive_end import ReceiveEnd
from ._send_end import SendEnd
from ._wide import WideReceiveEnd

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ._pulse import Pulse
    from ._watching import ChannelWatch

__all__ = [
    "ChainedSendEnd",
    "has_plain",
    "is_plain_edge",
    "open_chained",
    "pass_head",
]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class ChainedSendEnd(SendEnd[T_contra]):
    """The writing end of an edge inside a chain."""

    go_on: Callable[[], Awaitable[None]] | None = None
    """Has the stages behind the edge deal with all that is in it; None: they have tasks of their own."""

    async def _send_in_turn(
        self, item: T_contra | None, rest: Sequence[Any] | None = None, take: Callable[[], T_contra] | None = None
    ) -> None:
        if self.go_on is not None:
            await self.go_on()
        await super()._send_in_turn(item, rest, take)
        if take is not None and self.go_on is not None:
            await self.go_on()

    _send_usual_in_turn = _send_in_turn


def open_chained(
    capacity: int,
    *,
    name: str,
    admit: Callable[[object], bool],
    watch: ChannelWatch | None = None,
    pulse: Pulse | None = None,
    plain: set[type] | None = None,
    is_late: bool = False,
) -> tuple[SendEnd[T], ReceiveEnd[T]]:
    """Open an edge inside a chain and return its two ends; see `open_channel()` and `open_plain()`."""
    receive: ReceiveEnd[T] = ReceiveEnd(name, capacity, admit, watch, pulse, plain=plain, is_late=is_late)
    if receive._wide:
        # Both its ends are one task: the edges around the chain see to it that others have their turn.
        receive._wide = False
        receive.attention = int(watch is not None)
    send: ChainedSendEnd[T] = ChainedSendEnd(receive)
    receive._sender = send
    return send, receive


def is_plain_edge(end: ReceiveEnd[object] | SendEnd[Never]) -> bool:
    """Say whether an end is one that can be pumped: a plain edge, neither merged nor forked, without a policy or lanes."""
    return type(end) in {ReceiveEnd, WideReceiveEnd, SendEnd, ChainedSendEnd}


def has_plain(source: ReceiveEnd[object]) -> bool:
    """Say whether there is an element that can be taken without a second look; pull some, where nothing is there."""
    if not source._buffer and source._is_refilled and source.received < source._checkpoint_at:
        source._refill()
    return bool(source._buffer) and not source.attention


async def pass_head(source: ReceiveEnd[object]) -> bool:
    """Pass on the first element if its reader does not accept it, and say whether that was so.

    Cancellation: what was not passed on stays in the channel.

    Raises:
        OutputClosedError: If the reader of the output has gone.
        ChannelClosedError: If the edge was closed while it waited.
    """
    if source._accepts(source._buffer[0]):
        return False
    await source._pass_one()
    return True

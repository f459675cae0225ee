"""What a reader has in hand: so that it can be given to it again after a failure.

Above: `runtime` (supervision), `_receive_end`, which fills it. Below: nothing.

An element is in hand from when the reader takes it until the reader asks for the next one: to ask is to acknowledge. What is given
again does not enter the edge a second time, and leaves it no second time: the edge has counted it once, as received, and goes on as
if the reader had it all the while. An edge without a hand pays nothing.
"""

# ruff: noqa: SLF001 - an edge is one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ..elements import ControlElement

if TYPE_CHECKING:
    from ._receive_end import ReceiveEnd

__all__ = ["Hand", "drop_backlog"]

T = TypeVar("T")


class Hand:
    """What the reader of one edge has in hand."""

    __slots__ = ("is_due", "item", "times")

    def __init__(self) -> None:
        self.item: object = None
        """The element; None when there is none."""
        self.times: int = 0
        """How often it was given to the reader."""
        self.is_due: bool = False
        """Whether the reader gets it again, before anything else."""

    def hold(self, item: T) -> T:
        """Note that the reader takes an element, and return it."""
        self.item, self.times = item, 1
        return item

    def give(self) -> object:
        """Give the element to the reader again."""
        self.is_due = False
        self.times += 1
        return self.item

    def clear(self) -> None:
        """Know that the reader asks for more, or that the element is dealt with."""
        self.item, self.is_due = None, False


async def drop_backlog(edge: ReceiveEnd[object]) -> int:
    """Take the data that is in an edge now, for a reader that wants none of it, and pass on the control between.

    Returns:
        How much data that was. It counts as received.

    Cancellation: what was not taken stays in the channel.

    Raises:
        OutputClosedError: If the reader of the output has gone.
        ChannelClosedError: If the edge was closed while it waited.
    """
    edge._settle()
    left, dropped = len(edge._buffer) + edge._behind(), 0
    while left and (edge._buffer or (edge._is_refilled and edge._refill())):
        left -= 1
        if isinstance(edge._buffer[0], ControlElement):
            await edge._pass_one()
        else:
            edge._take()
            dropped += 1
    edge._reopen_sender()
    return dropped

"""The reading end of an edge that holds more than `WIDE` elements: it sees to it that other tasks have their turn.

Above: `_bounded`. Below: `_receive_end`. The writing end is that of any plain edge, whose limit such an edge moves on bit by bit.

Rules, besides those of `_bounded`:

1. *A reader that waits for an element has let others run*, so it is only one that always finds something which has to stop for them.
2. *A count says when*: no element is looked at twice for it, and bursts end where it is due.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ._receive_end import BUDGET, WIDE, ReceiveEnd
from ._send_end import SendEnd

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._pulse import Pulse
    from ._watching import ChannelWatch

__all__ = ["WideReceiveEnd"]

T_co = TypeVar("T_co", covariant=True)


class WideReceiveEnd(ReceiveEnd[T_co]):
    """The reading end of a wide edge: to its reader a `ReceiveEnd` like any other."""

    def __init__(
        self,
        name: str,
        capacity: int,
        admit: Callable[[object], bool],
        watch: ChannelWatch | None,
        pulse: Pulse | None = None,
        *,
        plain: set[type] | None = None,
        is_late: bool = False,
    ) -> None:
        super().__init__(name, capacity, admit, watch, pulse, plain=plain, is_late=is_late)
        self.attention = int(watch is not None)

    async def __anext__(self) -> T_co:
        if self._buffer and not self.attention:
            if self.received < self._checkpoint_at:
                self.received += 1
                item = self._buffer.popleft()
                if self._turns and len(self._buffer) <= self._low:
                    self._wake_sender()
                return item
            await self._take_checkpoint()
        elif not self._buffer:
            self._reopen_sender()
        item = await super().__anext__()
        if self.asked_at == self.position - 1:
            self._checkpoint_at = self.received - 1 + BUDGET
            self._reopen_output()
        return item

    async def _take_checkpoint(self) -> None:
        await super()._take_checkpoint()
        self._reopen_output()

    def _reopen_output(self) -> None:
        """Let the reader, which has let others run, send as much as it may send before it has to do so again."""
        output = self._forward
        if type(output) is SendEnd and output._peer.capacity > WIDE:
            output._peer._reopen_sender()

    def try_receive(self) -> T_co | None:
        """Take the next element if it is there and nothing has to be looked at; else None, also when others are to have a turn."""
        return None if self.received >= self._checkpoint_at else super().try_receive()

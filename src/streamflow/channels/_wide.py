"""The reading end of an edge that holds more than `WIDE` elements: it sees to it that other tasks have their turn.

Above: `_bounded`. Below: `_receive_end`, `_send_end`. The writing end is that of any plain edge; its limit is moved on bit by bit.

Rules, besides those of `_bounded`:

1. *Who waits has let others run*: only a reader that always finds something has to stop for them.
2. *A count says when*, so nothing is looked at twice for it; bursts end where it is due.
3. *A reader that has stopped may write as much again*, if what it writes is wide too: it need not stop at both its ends.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import Any, Final, TypeVar

from ._receive_end import BUDGET, WIDE, ReceiveEnd
from ._send_end import SendEnd

__all__ = ["NARROW_END", "WIDE_END", "WideReceiveEnd"]

T_co = TypeVar("T_co", covariant=True)


class WideReceiveEnd(ReceiveEnd[T_co]):
    """The reading end of a wide edge: to its reader a `ReceiveEnd` like any other."""

    _counts: bool = True

    async def __anext__(self) -> T_co:
        """Take the next element, as `ReceiveEnd` does; a checkpoint at least every `WIDE` elements, before the element moves."""
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


NARROW_END: Final[type[ReceiveEnd[Any]]] = ReceiveEnd
"""For edges up to `WIDE`."""
WIDE_END: Final[type[ReceiveEnd[Any]]] = WideReceiveEnd
"""For wider ones."""

"""The buffer of an edge through which nothing has gone yet: one for all, which takes nothing.

Above: `_receive_end`, `_send_end`, which replace it with the first element. Below: `_wakes`.

An empty deque is the largest thing that an edge has. Of a thousand pipelines that wait for their input each has one for every
edge; inside a fused chain, where elements go past the edges, none is ever needed. An edge without one has no fast path: its
`_limit` is 0, as while senders queue, so its first element goes the long way, which looks (`ReceiveEnd.provide_buffer()`).
"""

# ruff: noqa: SLF001 - the two ends are one object in two parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Never

from ._refilled import WIDE
from ._wakes import Wakes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ._send_end import SendEnd

__all__ = ["BUDGET", "NO_BUFFER", "LateEnd", "refuse"]

BUDGET: Final = WIDE // 2
"""Elements that each end of a wide edge may move between two checkpoints; half, because both ends may move in one turn."""


class _NoBuffer(deque[Any]):
    """A deque that is empty for ever. Whoever puts something in has not looked: better an error than an element that is lost."""

    def append(self, item: object, /) -> Never:
        refuse(item)

    def extend(self, items: Iterable[object], /) -> None:
        for one in items:
            refuse(one)


def refuse(_item: object, /) -> Never:
    """Take nothing."""
    message = "an element was put into an edge that has no buffer yet"
    raise AssertionError(message)


NO_BUFFER: Final[deque[Any]] = _NoBuffer()
"""Stands for the buffer that an edge does not have yet."""


class LateEnd(Wakes):
    """A reading end as its buffer and its room are seen."""

    __slots__ = ("backlog",)

    _sender: SendEnd[Any] | None
    _is_fenced: bool
    backlog: Sequence[Any]
    """What is in the edge, in the order in which it leaves; to be looked at only."""

    def provide_buffer(self) -> None:
        """Have a buffer, if there was none yet; see `_late`."""
        if self._buffer is NO_BUFFER:
            self.backlog = self._buffer = buffer = deque[Any]()
            if self._sender is not None:
                self._sender._buffer, self._sender._append = buffer, buffer.append
                self._reopen_sender()

    def _reopen_sender(self) -> None:
        if self._sender is not None and not self._turns and not self._is_fenced:
            self._sender._limit = self._open_limit()

    def _open_limit(self) -> int:
        if self._buffer is NO_BUFFER:
            return 0
        return self.capacity if self.capacity <= WIDE else min(self.capacity, len(self._buffer) + BUDGET)

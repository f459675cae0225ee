"""The buffer of an edge through which nothing has gone yet: one for all, which takes nothing.

Above: `_receive_end`, `_send_end`, which replace it with the first element. Below: nothing.

An empty deque is the largest thing that an edge has. Of a thousand pipelines that wait for their input each has one for every
edge; inside a fused chain, where elements go past the edges, none is ever needed. An edge without one has no fast path: its
`_limit` is 0, as while senders queue, so its first element goes the long way, which looks (`ReceiveEnd.provide_buffer()`).

Who keeps the buffer at hand while it waits for something to send asks `kept()` for it: what passes by meanwhile may be that first
element, and then there is a buffer, and room, but not in what was kept.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Never, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NO_BUFFER", "kept", "refuse"]


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

_FULL: Final = cast("deque[Any]", range(sys.maxsize))  # nothing is put into it, because it is as long as can be


def kept(buffer: deque[Any]) -> deque[Any]:
    """Return a buffer to be kept at hand; instead of one that is still to come, something that is never shorter than a limit."""
    return _FULL if buffer is NO_BUFFER else buffer

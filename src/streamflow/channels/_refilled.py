"""A reading end that is filled when its reader asks: from the edges that it merges, or from a source that needs no task.

Above: `_receive_end`, which is one. Below: nothing. `_merge` says what a merge takes from where.

A source that is not async never waits, so a task of its own would only be switched to and back. Who reads its edge pulls it:

1. *A burst at a time*, and only when the edge is empty: as much as there is room for, so the bound of the edge holds.
2. *What has been pulled is in the edge at once*, one by one: a source that interrupts or cancels its run meets it there.
3. *Nothing suspends who reads it*, so the reader takes a checkpoint at least every `WIDE` elements, before the element moves. Who
   has had to wait for room meanwhile, at the edge that the reader writes, has been suspended there: it counts from that on.
"""

# ruff: noqa: SLF001 - the two ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..elements import ControlElement
    from ._receive_end import ReceiveEnd
    from ._send_end import SendEnd
    from ._traced import TracedBuffer

__all__ = ["WIDE", "RefilledEnd", "drop", "one_of", "pull_into", "pull_when_asked"]

T = TypeVar("T")
U = TypeVar("U")

WIDE: Final = 64
"""Widest edge that needs no checkpoints of its own, in elements; gaps of other tasks stay below 0.1 ms at this width."""


class RefilledEnd:
    """A reading end as what fills it sees it. What differs where nothing does is told by the class."""

    _buffer: deque[Any]
    _checkpoint_at: int
    _wide: bool
    received: int
    capacity: int
    _merges: bool = False  # whether the elements come from other edges, see `_merge`
    _is_refilled: bool  # by those, or by a source
    _pull_source: Callable[[], None] | None = None

    def _merged(self) -> tuple[list[ReceiveEnd[Any]], dict[int, ControlElement]]:
        """Return the edges that this one merges and that it is ready to take from, and what the others are held back by."""
        return [], {}

    def _refill(self) -> bool:
        """Take what comes next from where this end is filled from, and say whether there was anything."""
        if self._pull_source is not None:
            self._pull_source()
        return bool(self._buffer)

    def _behind(self) -> int:
        """Return how many elements are in the edges that this one merges."""
        return 0


def one_of(plain: set[type]) -> type | None:
    """Return any of the types that are plain, None if there is none yet."""
    return next(iter(tuple(plain)), None)  # of a copy: runs of the same pipeline in other threads add to it meanwhile


def drop(buffer: deque[Any], count: int) -> None:
    """Take so many elements from the head of a buffer."""
    if type(buffer) is not deque:
        cast("TracedBuffer", buffer).drop_taken(count)
    elif count == len(buffer):
        buffer.clear()
    elif 2 * count > len(buffer):
        rest = [*islice(buffer, count, None)]
        buffer.clear()
        buffer.extend(rest)
    else:
        for _ in range(count):
            buffer.popleft()


def pull_when_asked(end: ReceiveEnd[object], pull: Callable[[], None] | None) -> None:
    """Have `pull` called whenever the reader of an empty edge asks for more; None: no more, the source has ended."""
    end._pull_source, end._is_refilled = pull, pull is not None
    if pull is not None:
        end._wide, end._checkpoint_at = True, end.received + WIDE
    if end._feeds is not None:
        end._feeds._pulled = None if pull is None else end


def pull_into(end: SendEnd[T], items: Iterator[U], convert: Callable[[U], T]) -> bool:
    """Take from `items` what there is room for, but no more than until the reader's next checkpoint; say whether more may come.

    Args:
        end: The writing end of the edge, which nobody else writes.
        items: What to take.
        convert: As for `SendEnd.send_all()`.

    Raises:
        ElementError: If an item is nothing that the edge carries.
        Exception: What `items` raises. What it has given before is in the edge.
    """
    plain, peer = end._plain, end._peer
    peer.provide_buffer()
    buffer = end._buffer
    room = peer.capacity - len(buffer)
    most = min(room, max(peer._checkpoint_at - peer.received, 1), WIDE)
    taken, last = 0, one_of(plain)
    append: Callable[[Any], None] = buffer.append
    for taken, item in enumerate(islice(items, most), 1):  # noqa: B007 - used behind the loop
        if end._limit < 0:
            return False  # the source itself has ended the run
        if type(item) is last or type(item) in plain:
            append(item)
        else:
            end.send_nowait(convert(item))
    return taken == most

"""Widening an edge while it is in use: what a drain does for the edges to the consumer.

Above: `runtime`. Below: `_receive_end`, `_lanes`, `_merge`.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TypeVar

from ._lanes import LaneReceiveEnd
from ._merge import MergeEnd
from ._receive_end import WIDE, ReceiveEnd

__all__ = ["widen"]

T = TypeVar("T")


def widen(end: ReceiveEnd[T], capacity: int) -> None:
    """Let an edge, or each edge of a merge, hold up to `capacity` elements from now on, if that is more than before.

    Wakes who waits for room; idempotent.
    """
    if isinstance(end, MergeEnd):
        end._wide = True  # the reader may find a lot, and lets others run meanwhile
        for one in end._inputs.values():
            widen(one, capacity)
    elif capacity > end.capacity:
        if capacity > WIDE and not end._wide:
            end._wide = True
            end._take_note()
            end._checkpoint_at = end.received + WIDE // 2
        end.capacity, end._half = capacity, capacity // 2
        if isinstance(end, LaneReceiveEnd):
            end.bound_lanes(capacity)
        end._end_turn()

"""Bursts over edges with priority lanes: through the functions of a chain, and out of a source that is pulled.

Above: `runtime`, whose chains and sources have them. Below: `_line`, `_lane_ends`.

Rules, besides those of `_line`:

1. *A line is for one lane*: it moves as long as all that waits at its first edge is of one priority, and at its last one too. Which
   two these are makes no difference. Else the chain's own task takes element after element, as they leave by their lanes.
2. *What is urgent wakes that task*: the moment that something enters the first edge that passes others, or is passed by them, the
   line waits for nothing any more. What a burst has in hand by then is not overtaken.
3. *What functions give enters as anything enters*: it finds its place in the last edge, and there is room for it, because a burst
   is no longer than what one lane may hold more.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from ._lane_ends import LaneReceiveEnd
from ._lanes import UNKNOWN
from ._line import Line
from ._refilled import WIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ._lane_ends import LaneSendEnd
    from ._line import LineCall

__all__ = ["LaneLine", "pull_into_lanes"]

T = TypeVar("T")
U = TypeVar("U")


class LaneLine(Line):
    """The functions of a chain between two edges, one of which, or both, have lanes.

    Args:
        calls: The functions, in the order in which elements pass them.
    """

    def __init__(self, calls: Sequence[LineCall]) -> None:
        super().__init__(calls)
        ends = (calls[0].source, calls[-1].target._peer)
        self._laned = tuple(one for one in ends if isinstance(one, LaneReceiveEnd))
        if isinstance(ends[1], LaneReceiveEnd):
            self._put: Callable[[list[Any]], None] = ends[1].enter_all

    def _is_sorted(self) -> bool:
        for edge in self._laned:
            lanes = edge._lanes
            lanes.count()
            if lanes.only is UNKNOWN and edge._buffer:
                return False
        self._is_mixed = False
        return True


def pull_into_lanes(end: LaneSendEnd[T], items: Iterator[U], convert: Callable[[U], T]) -> bool:
    """Do what `pull_into()` does, for an edge with lanes: it takes what fits of any lane, and the first item fits.

    Args:
        end: The writing end of the edge, which nobody else writes.
        items: What to take.
        convert: As for `SendEnd.send_all()`.

    Raises:
        ElementError: If an item is nothing that the edge carries.
        Exception: What `items` raises. What it has given before is in the edge.
    """
    peer, lanes, buffer = end._reader, end._order, end._reader._buffer
    plain, append = peer._plain, buffer.append
    room = min(peer.limit_of_one_lane - len(buffer), peer._checkpoint_at - peer.received, WIDE)
    most = max(room, 1)
    taken = 0
    for item in islice(items, most):
        if end._limit < 0:
            return False  # the source itself has ended the run
        taken += 1
        if type(item) in plain and item.priority is lanes.only:  # type: ignore[attr-defined]
            append(item)
        else:
            end.send_nowait(convert(item))
    return taken == most

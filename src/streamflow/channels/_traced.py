"""Where each element comes from, and when it entered and left an edge: buffers that note it, for runs that are traced.

Above: `runtime`, which puts such a buffer into each edge of a run and reads what was noted. Below: `_receive_end`, `_send_end`,
which use the buffer as they use any other: their fast paths stay as they are, and edges without it pay nothing.

Rules:

1. *Nothing is written into an element.* Beside the elements of an edge lie their records, place by place: what moves an element
   moves its record. So the same object may be in several places, and several times in one.
2. *A place* stands for who reads and writes: a stage, a merge, the source, the consumer. What it sends comes from what it has
   taken: the very element, if it is one that it has; else what it says itself (`derive()`); else the last one it took, if it
   is a stage of one element at a time; else, for a stage that collects, all that it took since it sent something new.
3. *A hop* is one way over one edge: what it comes from, the edge's number, when it entered and when it left. What an element comes
   from is a hop in turn, several of them, or the root: so an element's last hop is all that need be kept of its way.
4. *What a burst shares is noted once* (`_traced_line`): when it was taken, and when what came of it entered the next edge.
5. *Bounded*: a hop dies with the last element that comes from it; a place knows so many elements and no more; a way that leads
   back is cut off when it is too long.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections import deque
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, Never, SupportsIndex, cast

from ._lane_ends import LaneReceiveEnd
from ._limited import LimitedReceiveEnd
from ._places import BEGINNING, EndPlace, MergePlace, StagePlace, entry_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._merge import MergeEnd
    from ._places import Entry, Hop, Origin
    from ._receive_end import ReceiveEnd
    from ._send_end import SendEnd

__all__ = [
    "DepthBuffer",
    "TracedBuffer",
    "trace_edge",
    "trace_merge",
]


_append, _popleft = deque[object].append, deque[object].popleft
_insert, _delete = deque[object].insert, deque[object].__delitem__
_clear, _extend = deque[object].clear, deque[object].extend


class TracedBuffer(deque[object]):
    """The elements of one edge, and beside each what it comes from and when it entered.

    Args:
        edge: The edge's number.
        places: Who writes, and who reads.
        now: The event loop's clock.
        dropped: Told of each traced element that is thrown away, by what its last hop would have been.
        most: Longest way of an element, in hops, that is kept; None: nothing leads back here.
    """

    __slots__ = (
        "_dropped",
        "_keep",
        "_most",
        "_reader",
        "_source",
        "_took",
        "_writer",
        "edge",
        "now",
        "records",
        "taken_s",
        "way",
    )

    def __init__(
        self,
        edge: int,
        places: tuple[StagePlace, StagePlace | MergePlace],
        now: Callable[[], float],
        dropped: Callable[[object, Hop], None],
        most: int | None = None,
    ) -> None:
        super().__init__()
        self.edge: int = edge
        """The edge's number."""
        self.records: deque[Entry | None] = deque()
        """What is noted of each element; None: it is not followed."""
        self.taken_s: float = 0.0
        """When the burst was taken that is being moved out of it, see `_traced_line`."""
        self.way: list[Entry | None] = []
        """What was noted of each element of that."""
        self.now: Callable[[], float] = now
        self._dropped = dropped
        self._most = most
        self._source, target = places
        self._writer = self._source if type(self._source) is StagePlace and most is None else None
        self.read_by(target)

    def read_by(self, target: StagePlace | MergePlace) -> None:
        """Know who reads from now on."""
        self._reader = target
        self._keep = None  # takes what is noted of it, which nobody hears of
        self._took: Callable[[object, Hop | None], None] | None = None  # told of what it has; None: its `hop` is set
        if isinstance(target, MergePlace):
            self._took = partial(target.pulled, self.edge)
        elif type(target) is EndPlace:
            self._took = target.ended if target.is_final else target.took
            self._keep = target.keep
        elif type(target) is not StagePlace:
            self._took = target.took

    def append(self, item: object, /) -> None:
        place = self._writer
        if place is None:
            origin = self._origin(item)
        else:
            origin = place.hop
            if origin is BEGINNING:
                origin = place.begin()
        self.records.append(None if origin is None else (origin, self.edge, self.now()))
        _append(self, item)

    def popleft(self) -> object:
        item = _popleft(self)
        record = self.records.popleft()
        if self._keep is not None:
            if record is not None:
                self._keep((record, self.now(), type(item), "delivered"))
            return item
        hop = None if record is None else (record, self.now())
        if self._took is None:
            self._reader.hop = hop
        else:
            self._took(item, hop)
        return item

    def extend(self, items: Iterable[object], /) -> None:
        for item in items:
            self.append(item)

    @property
    def moves_bursts(self) -> bool:
        """Whether who reads it has one element at a time, so that many can be taken in one go."""
        return type(self) is TracedBuffer and type(self._reader) is StagePlace

    @property
    def takes_bursts(self) -> bool:
        """Whether what enters comes from what its writer has taken."""
        return type(self) is TracedBuffer and self._writer is not None

    def drop_taken(self, count: int) -> None:
        """Let go what a line has taken from the head, as of `taken_s`; its reader has the last one of that in hand."""
        records = self.records
        if count == len(self):
            self.way = [*records]
            records.clear()
            _clear(self)
        else:
            self.way = [records.popleft() for _ in range(count)]
            for _ in range(count):
                _popleft(self)
        last = self.way[-1] if count else None
        self._reader.hop = None if last is None else (last, self.taken_s)

    def enter_burst(self, items: list[object], way: list[Entry | None], taken_s: float, now: float) -> None:
        """Put in what a function has made of each of several elements that have come so far and were taken then."""
        stay = taken_s, self.edge, now
        if all(way):
            self.records.extend(zip(way, repeat(stay)))
        else:
            self.records.extend([None if one is None else (one, stay) for one in way])
        _extend(self, items)

    def insert(self, index: int, item: object, /) -> None:
        origin = self._origin(item)
        self.records.insert(index, None if origin is None else (origin, self.edge, self.now()))
        _insert(self, index, item)

    def __delitem__(self, index: SupportsIndex | slice, /) -> None:
        place = cast("SupportsIndex", index)
        self._drop(self.records[place], self[place])
        del self.records[place]
        _delete(self, place)

    def clear(self) -> None:
        for record, item in zip(self.records, self, strict=True):
            self._drop(record, item)
        self.records.clear()
        super().clear()

    def _origin(self, item: object) -> Origin | None:
        origin = self._source.origin(item)
        return origin if self._most is None or origin is None else _cut(origin, self._most)

    def _drop(self, record: Entry | None, item: object) -> None:
        if record is not None:
            self._dropped(item, (record, self.now()))


class DepthBuffer(TracedBuffer):
    """The same, and it tells how many elements there are whenever that changes."""

    __slots__ = ("tell",)

    tell: Callable[[int, int], None]
    """Called with the edge's number and how many there are."""

    def append(self, item: object, /) -> None:
        super().append(item)
        self.tell(self.edge, len(self))

    def popleft(self) -> object:
        item = super().popleft()
        self.tell(self.edge, len(self))
        return item


class _MergedBuffer(deque[object]):
    """The one place of a merge: an element there comes over the edge by which it came, until its reader takes it."""

    __slots__ = ("_now", "_target", "hops", "merge")

    def __init__(self, merge: MergePlace, target: StagePlace, now: Callable[[], float]) -> None:
        super().__init__()
        self.merge = merge
        self.hops: deque[Hop | None] = deque()
        self._target = target
        self._now = now

    def append(self, item: object, /) -> None:
        origin = self.merge.origin(item)
        if isinstance(origin, list):
            now = origin[0][1]
            origin = (origin if len(origin) > 1 else origin[0], self.merge.number, now), now
        self.hops.append(cast("Hop | None", origin))
        _append(self, item)

    def popleft(self) -> object:
        item = _popleft(self)
        hop = self.hops.popleft()
        # The wait for the other inputs counts as time in the queue.
        self._target.took(item, None if hop is None else (hop[0], self._now()))
        return item

    def __delitem__(self, index: SupportsIndex | slice, /) -> None:
        place = cast("SupportsIndex", index)
        del self.hops[place]
        _delete(self, place)

    def clear(self) -> None:
        self.hops.clear()
        super().clear()


def trace_edge(send: SendEnd[Never], receive: ReceiveEnd[object], buffer: TracedBuffer) -> None:
    """Put a buffer that notes into an edge that has just been opened."""
    _put_in(receive, buffer)
    cast("SendEnd[Any]", send)._buffer = buffer
    if isinstance(receive, LaneReceiveEnd):
        receive._lanes._buffer = buffer
    elif isinstance(receive, LimitedReceiveEnd):
        if receive.lanes is not None:
            receive.lanes._buffer = buffer
    else:
        send._append = buffer.append


def trace_merge(end: MergeEnd[object], merge: MergePlace, target: StagePlace, now: Callable[[], float]) -> None:
    """Put a buffer that notes into a merge that has just been opened."""
    _put_in(end, _MergedBuffer(merge, target, now))


def _put_in(receive: ReceiveEnd[object], buffer: deque[object]) -> None:
    assert not receive._buffer, "it has just been opened"
    receive._buffer = buffer


def _cut(origin: Origin, most: int) -> Origin:
    """Return an origin, or its root alone if it is too long."""
    length, one = 0, origin
    while not isinstance(one, int):
        before = entry_of(one[0] if isinstance(one, list) else one)[0]
        length, one = length + 1, before
    return origin if length < most else one if one < 0 else ~one

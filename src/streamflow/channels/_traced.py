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
4. *Bounded*: a hop dies with the last element that comes from it; a place knows so many elements and no more; a way that leads
   back is cut off when it is too long.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections import deque
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, Never, SupportsIndex, TypeAlias, cast

from ..elements import ControlElement
from ._lane_ends import LaneReceiveEnd
from ._limited import LimitedReceiveEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ._merge import MergeEnd
    from ._receive_end import ReceiveEnd
    from ._send_end import SendEnd

__all__ = [
    "CollectingPlace",
    "DepthBuffer",
    "EndPlace",
    "Hop",
    "MergePlace",
    "Origin",
    "Root",
    "SeveralPlace",
    "StagePlace",
    "TracedBuffer",
    "trace_edge",
    "trace_merge",
]


Root: TypeAlias = int
"""Where a trace begins: how many there were before it in its run; `~` of that where what came before was cut off."""

Entry: TypeAlias = "tuple[Any, int, float] | tuple[Any, tuple[float, int, float]]"
"""What is noted of an element in an edge: its `Origin`, the edge's number, when it entered, on the event loop's clock. Or what was
noted of it in the edge before, and when it left that with a burst, the edge's number, when the burst entered: see `entry_of()`."""

Hop: TypeAlias = "tuple[Entry, float]"
"""One way over one edge, or through a merge: the entry, and when it left. No class: one is made for each element and edge."""

Origin: TypeAlias = "Hop | Root | list[Hop]"
"""What an element comes from: one that had come so far, several, or nothing before it."""

_BEGINNING: Final[list[Hop]] = []
"""What a stage has in hand that has taken nothing yet: what it sends begins a trace."""

_KNOWN: Final = 256
"""Most elements that a place knows apart, and that came to it since it sent something new."""

_append, _popleft = deque[object].append, deque[object].popleft
_insert, _delete = deque[object].insert, deque[object].__delitem__
_clear, _extend = deque[object].clear, deque[object].extend


class StagePlace:
    """A stage of one element at a time, or the source: what it sends comes from what it took last.

    Args:
        begin: Returns the root of a new trace, or None.
    """

    def __init__(self, begin: Callable[[], Root | None]) -> None:
        self.hop: Origin | None = _BEGINNING
        self.begin: Callable[[], Root | None] = begin
        """Begins a trace."""

    def took(self, item: object, hop: Hop | None) -> None:
        """Know what it has in hand."""
        self.hop = hop

    def origin(self, item: object) -> Origin | None:
        """Return what it has in hand; begin a trace before it has taken anything, as the source never does."""
        return self.hop if self.hop is not _BEGINNING else self.begin()

    def taken(self) -> Origin | None:
        """Return what it has taken last, for `derive()`."""
        return None if self.hop is _BEGINNING else self.hop

    def known(self, item: object) -> Origin | None:
        """Return what an element has come from that it has, for `derive()`; None if it is not known, or not traced."""
        del item
        return self.taken()

    def derive(self, item: object, origins: Sequence[Origin | None]) -> None:
        """Know better: it has one in hand, so what it sends can come from nothing else."""

    def forget(self) -> None:
        """Know that it begins anew."""


class SeveralPlace(StagePlace):
    """A stage that may have several elements, and gives results for them one by one: known by identity, or told by `derive()`."""

    def __init__(self, begin: Callable[[], Root | None]) -> None:
        super().__init__(begin)
        self._held: dict[
            int, list[tuple[object, Origin | None]]
        ] = {}  # by identity; the element is kept, so it stays the same
        self._sent: tuple[object, Origin | None] = (None, None)

    def took(self, item: object, hop: Hop | None) -> None:
        """Know what it has."""
        self.hop: Origin | None = hop
        self._keep(item, hop)

    def origin(self, item: object) -> Origin | None:
        """Return what this very element came from; else what it took last."""
        held = self._held.get(id(item))
        if held:
            origin = held.pop(0)[1]
            if not held:
                del self._held[id(item)]
            self._sent = item, origin
            return origin
        if item is self._sent[0]:
            return self._sent[1]
        return self._of_new()

    def known(self, item: object) -> Origin | None:
        held = self._held.get(id(item))
        return held[0][1] if held else None

    def derive(self, item: object, origins: Sequence[Origin | None]) -> None:
        """Know what an element comes from that it is about to send."""
        origin = _as_one([one for one in origins if isinstance(one, tuple)])
        self._held.setdefault(id(item), []).insert(0, (item, origin))

    def forget(self) -> None:
        self._held.clear()
        self._sent = None, None

    def _of_new(self) -> Origin | None:
        return super().origin(None)

    def _keep(self, item: object, origin: Origin | None) -> None:
        held = self._held
        held.setdefault(id(item), []).append((item, origin))
        if len(held) > _KNOWN:
            del held[next(iter(held))]


class CollectingPlace(SeveralPlace):
    """A stage that collects: what is new of what it sends comes from all that it took since it sent something new before.

    Args:
        begin: Returns the root of a new trace, or None.
        accepts: Says of an element whether the stage takes it, so that it does not merely pass it by.
        most: Most elements that one is said to come from.
    """

    def __init__(self, begin: Callable[[], Root | None], accepts: Callable[[object], bool], most: int) -> None:
        super().__init__(begin)
        self._accepts = accepts
        self._most = most
        self._batch: list[Hop] = []
        self._is_untraced = False  # whether it has taken something that is not traced
        self._has_sent = False
        self._of_batch: Origin | None = None

    def took(self, item: object, hop: Hop | None) -> None:
        if self._accepts(item):
            if self._has_sent:
                self._batch, self._has_sent = [], False
            if hop is not None and len(self._batch) < self._most:
                self._batch.append(hop)
            self.hop: Origin | None = hop
        self._keep(item, hop)

    def forget(self) -> None:
        super().forget()
        self._batch = []

    def _of_new(self) -> Origin | None:
        if not self._has_sent:
            self._has_sent = True
            self._of_batch = _as_one(self._batch)
        return self.begin() if self.hop is _BEGINNING else self._of_batch


class MergePlace:
    """A merge: it gives what it has taken, or makes one element of the latest of each input.

    Args:
        number: The number that hops of what it makes have.
        now: The event loop's clock.
        known: Most elements that it holds at a time.
    """

    hop: Origin | None = None

    def __init__(self, number: int, now: Callable[[], float], known: int) -> None:
        self.number: int = number
        """Told apart from edges by this."""
        self._now = now
        self._known = known
        self._held: dict[int, list[tuple[object, Hop | None]]] = {}
        self._control: dict[
            int, tuple[object, Hop | None]
        ] = {}  # copies of a fork are the same object, and one of them leaves
        self._latest: dict[int, Hop | None] = {}

    def pulled(self, edge: int, item: object, hop: Hop | None) -> None:
        """Know an element that an input has given."""
        known: dict[int, Any]
        if isinstance(item, ControlElement):
            known = self._control
            known[id(item)] = item, hop
        else:
            known = self._held
            self._latest[edge] = hop
            known.setdefault(id(item), []).append((item, hop))
        if len(known) > self._known:
            del known[next(iter(known))]

    def origin(self, item: object) -> Origin | None:
        """Return the hop over the input by which an element came; of what is made, the latest of all inputs."""
        if isinstance(item, ControlElement):
            return self._control.pop(id(item), (None, None))[1]
        held = self._held.get(id(item))
        if held:
            hop = held.pop(0)[1]
            if not held:
                del self._held[id(item)]
            return hop
        self._held.clear()  # what it was made of does not leave by itself
        now = self._now()
        return [(one[0], now) for one in self._latest.values() if one is not None] or None


class EndPlace(StagePlace):
    """Where traces end: the consumer, or a sink.

    Args:
        begin: Returns the root of a new trace, or None.
        ended: Told of each element that is taken, and of its last hop if it is followed.
        is_final: Whether it sends nothing, not even a dead letter.
    """

    def __init__(
        self, begin: Callable[[], Root | None], ended: Callable[[object, Hop | None], None], *, is_final: bool
    ) -> None:
        super().__init__(begin)
        self.ended: Callable[[object, Hop | None], None] = ended
        """Told of each element."""
        self.is_final: bool = is_final
        """Whether it sends nothing."""

    def took(self, item: object, hop: Hop | None) -> None:
        """Tell it."""
        self.hop: Origin | None = hop
        self.ended(item, hop)


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
        self.now = now
        self._dropped = dropped
        self._most = most
        self._source, target = places
        self._writer = self._source if type(self._source) is StagePlace and most is None else None
        self.read_by(target)

    def read_by(self, target: StagePlace | MergePlace) -> None:
        """Know who reads from now on."""
        self._reader = target
        self._took: Callable[[object, Hop | None], None] | None = None  # told of what it has; None: its `hop` is set
        if isinstance(target, MergePlace):
            self._took = partial(target.pulled, self.edge)
        elif type(target) is EndPlace:
            self._took = target.ended if target.is_final else target.took
        elif type(target) is not StagePlace:
            self._took = target.took

    def append(self, item: object, /) -> None:
        place = self._writer
        if place is None:
            origin = self._origin(item)
        else:
            origin = place.hop
            if origin is _BEGINNING:
                origin = place.begin()
        self.records.append(None if origin is None else (origin, self.edge, self.now()))
        _append(self, item)

    def popleft(self) -> object:
        item = _popleft(self)
        record = self.records.popleft()
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
            self.records.extend(zip(way, repeat(stay)))  # type: ignore[arg-type]
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


def entry_of(hop: Hop) -> tuple[Origin, int, float]:
    """Return what an element comes from that came over an edge, the edge's number, and when it entered."""
    entry = hop[0]
    if len(entry) == 3:
        return entry
    before, (taken_s, edge, entered_s) = entry
    return (before, taken_s), edge, entered_s


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
    receive.backlog = buffer


def _as_one(hops: list[Hop]) -> Origin | None:
    """Return several hops as one origin."""
    return hops if len(hops) > 1 else hops[0] if hops else None


def _cut(origin: Origin, most: int) -> Origin:
    """Return an origin, or its root alone if it is too long."""
    length, one = 0, origin
    while not isinstance(one, int):
        before = entry_of(one[0] if isinstance(one, list) else one)[0]
        length, one = length + 1, before
    return origin if length < most else one if one < 0 else ~one

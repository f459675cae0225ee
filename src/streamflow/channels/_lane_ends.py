"""The two ends of an edge with priority lanes.

Above: `_bounded`, which opens such an edge. Below: `_lanes`, whose rules they keep, `_send_end`, `_receive_end`.
"""

# ruff: noqa: SLF001 - the two ends are one object in several parts
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..elements import Priority
from ._chained import is_plain_edge
from ._lanes import UNKNOWN, Lanes, LaneTurn, Queues, lane_of
from ._receive_end import WIDE, ReceiveEnd
from ._send_end import HeadOf, SendEnd, as_it_is

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable, Sequence

    from ._pulse import Pulse
    from ._wait import Turn
    from ._watching import ChannelWatch

__all__ = ["LaneReceiveEnd", "LaneSendEnd", "has_lanes", "is_quick_edge"]

T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


def has_lanes(end: object) -> bool:
    """Say whether an end is that of an edge with priority lanes, and nothing else."""
    return type(end) in {LaneReceiveEnd, LaneSendEnd}


def is_quick_edge(end: object) -> bool:
    """Say whether an end is one that can be moved along in bursts: a plain edge, or one with lanes and nothing else."""
    return has_lanes(end) or is_plain_edge(cast("Any", end))


class LaneReceiveEnd(ReceiveEnd[T_co]):
    """The reading end of an edge with priority lanes: to its reader a `ReceiveEnd` like any other."""

    def __init__(
        self,
        name: str,
        capacity: int,
        admit: Callable[[object], bool],
        watch: ChannelWatch | None,
        pulse: Pulse | None = None,
    ) -> None:
        super().__init__(name, capacity, admit, watch, pulse)
        self._lanes = Lanes(self._buffer, capacity)
        self._turns = []
        self._queues = Queues(self._turns)
        self.limit_of_one_lane: int = capacity - len(Priority) + 1
        """Below it, there is room for every lane."""

    def enter(self, item: Any) -> None:
        """Put `item` where its turn to leave is."""
        lanes = self._lanes
        if type(item) in self._plain and item.priority is lanes.only:
            self._buffer.append(item)
        elif type(item) in self._plain and item.priority is lanes.last and lanes.unseen < self.capacity:
            lanes.unseen += 1  # no more than an edge full of them: by then it may be that there are no others
            self._buffer.append(item)
        else:
            line = self._reader()
            if line is not None:
                line.settle()  # what it has in hand is in this edge no more, and not to be passed
            lanes.append(item)
            if lanes.only is UNKNOWN:
                self._tell_lines()
        if self._turns:
            self._low = self.capacity  # what `look_for()` found out holds no more

    def enter_all(self, items: list[Any]) -> None:
        """Put each of several where its turn to leave is; there is room for them in any lane."""
        only = self._lanes.only
        for item in items:
            if item.priority is not only:
                break
        else:
            self._buffer.extend(items)
            return
        for item in items:
            self.enter(item)

    def _tell_lines(self) -> None:
        """Have the lines at both ends know that one lane is no longer all that is in use."""
        for here in (self._line, self._line_before):
            line = None if here is None else here()
            if line is not None:
                line.mix()

    async def _pass_one(self) -> None:
        self._lanes.is_pinned = True
        try:
            await super()._pass_one()
        finally:
            self._lanes.is_pinned = False

    def _keep(self, stays: list[bool]) -> int:
        self._lanes.keep(stays)
        return super()._keep(stays)

    def is_sole(self, turn: Any) -> bool:
        """Say whether this sender waits alone, and for the only lane that is in use: then the edge is to it one without lanes."""
        lanes = self._lanes
        return lanes.only is not UNKNOWN and len(self._turns) == 1 and turn.lane == lanes.tail

    def _wake_sender(self) -> None:
        if self._give_more is not None and self._give_more():
            return
        size = len(self._buffer)
        if size <= self.capacity // 2 and size < self.limit_of_one_lane and self.is_sole(self._turns[0]):
            self._low = -1
            self._wake_turn(self._turns[0])
        else:
            self._wake_heads(at_once=False)

    def _end_turn(self) -> None:
        if self._turns:
            self._wake_heads(at_once=True)
        else:
            self._low = -1
        self._reopen_sender()

    def widen(self, capacity: int) -> None:
        """Have room for more elements from now on."""
        self._lanes.capacity = capacity
        self.limit_of_one_lane = capacity - len(Priority) + 1

    def _wake_heads(self, *, at_once: bool) -> None:
        """Let the first of each lane look again: at once, or when the edge or its lane has drained to half."""
        self._low = -1
        lanes, size = self._lanes, len(self._buffer)
        lanes.count()
        for turn in self._queues.heads():
            if turn.waiter is None or turn.waiter.done():
                continue
            is_low = size <= self.capacity // 2 or lanes.held[turn.lane] <= turn.mark
            if (at_once or is_low) and lanes.has_room(turn.lane):
                self._wake_turn(turn)
            else:
                self.look_for(turn)

    def look_for(self, turn: LaneTurn) -> None:
        """See to it that the waiting senders are woken no later than it may be the turn of this one."""
        to_leave = self._lanes.held[turn.lane] - turn.mark
        self._low = max(self._low, self.capacity // 2, len(self._buffer) - max(to_leave, 1))

    def _open_limit(self) -> int:
        limit = self.limit_of_one_lane
        return limit if self.capacity <= WIDE else min(super()._open_limit(), limit)


class LaneSendEnd(SendEnd[T_contra]):
    """The writing end of an edge with priority lanes: a `SendEnd` that lets one element in where another has to wait.

    Wider than `WIDE`, its `try_send()` is False while anybody waits, as whenever a checkpoint is due.
    """

    def __init__(self, peer: LaneReceiveEnd[Any]) -> None:
        super().__init__(peer)
        self._reader = peer
        self._lanes = self._order = peer._lanes
        self._queues = peer._queues
        self._append = peer.enter
        self._plain: set[type] = set()  # nothing is sent without a look at its priority

    # The fast paths are those of `SendEnd`, with the one comparison more.

    async def send(self, item: Any) -> None:
        peer = self._peer
        if type(item) in peer._plain and item.priority is self._order.only and len(self._buffer) < self._limit:
            self._buffer.append(item)
            if peer._waiter is not None:
                peer._wake()
        elif not self._try_send_unusual(item):
            await self._send_in_turn(item)

    async def send_all(
        self, items: AsyncIterable[Any], convert: Callable[[Any], Any] = as_it_is, *, closes: bool = False
    ) -> None:
        plain, peer, lanes = self._peer._plain, self._peer, self._order
        buffer: deque[Any] = self._buffer
        last: type[object] | None = None
        try:
            async for item in items:
                kind: type[object] = type(item)
                if (kind is last or kind in plain) and item.priority is lanes.only and len(buffer) < self._limit:
                    last = kind
                    buffer.append(item)
                    if peer._waiter is not None:
                        peer._wake()
                else:
                    converted = convert(item)
                    if not self._try_send_unusual(converted):
                        await self._send_in_turn(converted)
        finally:
            if closes:
                await cast("AsyncGenerator[Any, None]", items).aclose()

    async def send_each(self, items: Iterable[Any], convert: Callable[[Any], Any] = as_it_is) -> None:
        plain, peer, lanes = self._peer._plain, self._peer, self._order
        buffer: deque[Any] = self._buffer
        last: type[object] | None = None
        for item in items:
            kind: type[object] = type(item)
            if (kind is last or kind in plain) and item.priority is lanes.only and len(buffer) < self._limit:
                last = kind
                buffer.append(item)
                if peer._waiter is not None:
                    peer._wake()
            else:
                converted = convert(item)
                if not self._try_send_unusual(converted):
                    await self._send_in_turn(converted)

    def _try_send_unusual(self, item: Any) -> bool:
        peer = self._peer
        if type(item) not in peer._plain:
            return super()._try_send_unusual(item)
        size = len(self._buffer)
        if size >= self._limit and (
            (size >= self._reader.limit_of_one_lane and item.priority is self._order.only)
            or not self._fits_above_limit(item)
        ):
            return False
        self._append(item)
        if peer._waiter is not None:
            peer._wake()
        return True

    def try_send(self, item: Any) -> bool:
        peer = self._peer
        if type(item) in peer._plain and item.priority is self._order.only and len(self._buffer) < self._limit:
            self._buffer.append(item)
            if peer._waiter is not None:
                peer._wake()
            return True
        return self._try_send_unusual(item)

    def _is_usual(self, item: Any) -> bool:
        """Say whether an element is data of the only lane that is in use."""
        return type(item) in self._peer._plain and item.priority is self._order.only

    def _examine(self, item: T_contra) -> None:
        if self._is_usual(item):
            return
        super()._examine(item)  # what is no element is told so, and not that it has no priority
        lane_of(item)

    def fits_beside(self, item: T_contra) -> bool:
        """Say whether an element still has a place where no more of the only lane that was in use has one."""
        return not self._is_usual(item) and self._has_place(item)

    def _has_place(self, item: T_contra) -> bool:
        lane = lane_of(item)
        self._order.count()
        return self._order.has_room(lane) and self._queues.is_free(lane, is_fence=self._order.is_fence(item))

    def _fits_above_limit(self, item: T_contra) -> bool:
        reader = self._reader
        is_open = self._limit >= 0 if reader.capacity <= WIDE else self._limit == reader.limit_of_one_lane
        return self._has_place(item) and is_open  # what has no lane is refused in any state

    def _queue_up(self, item: object) -> Turn:
        lanes = self._order
        if item is None or self._is_usual(item):  # None: a line, which has nothing in hand
            turn = LaneTurn(item, lanes.tail, len(self._buffer) // 2, is_fence=False)
        else:
            lane = lane_of(item)
            lanes.count()
            turn = LaneTurn(item, lane, lanes.held[lane] // 2, is_fence=lanes.is_fence(item))
        self._queues.add(turn)
        self._limit = min(self._limit, 0)
        return turn

    def _must_wait(self, turn: Any) -> bool:
        its: LaneTurn = turn
        reader = self._reader
        if reader.is_sole(its):
            if reader.state != "open" or len(self._buffer) < reader.limit_of_one_lane:
                return False
            if reader._give_more is None:
                reader._low = max(reader._low, reader.capacity // 2)
            return True
        self._order.count()
        if reader.state != "open" or (self._queues.is_next(its) and self._order.has_room(its.lane)):
            return False
        reader.look_for(its)
        return True

    def _leave_queue(self, turn: Any) -> None:
        self._end_wait(turn)
        self._queues.remove(turn)
        self._reader._end_turn()

    def _send_in_turn(  # pyright: ignore[reportIncompatibleMethodOverride] - as calling a coroutine function does
        self, item: T_contra | None, rest: Sequence[Any] | None = None, take: Callable[[], T_contra] | None = None
    ) -> Coroutine[Any, Any, None]:
        # If another task moves the head of `rest`, this one has nothing to do: what comes behind may be of another lane.
        return super()._send_in_turn(item, None if rest is None else HeadOf(rest), take)

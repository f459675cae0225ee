"""Priority lanes: an edge on which an urgent element passes others, and no full lane shuts another one out.

Above: `_bounded`, which opens such an edge. Below: `_send_end`, `_receive_end`.

The buffer stays one deque, always in the order of leaving: an element finds its place when it enters, so the reader takes from the
head as on any edge. Rules, besides those of `_bounded`:

1. *An element passes only those of lower priority.* So the order inside a lane is kept.
2. *None is passed without end.* An element ages by being passed: one of `Priority` p passes it only while it has been passed fewer
   than `PASSES[p]` times, by whomever. So at most `PASSES[p]` elements up to priority p overtake it, and at most
   `PASSES[CRITICAL]` in all: what enters behind n others leaves behind at most n + 64. What is CRITICAL goes before everything
   else that is not so old.
3. *Control is a fence*, all but `Interrupt`: nothing passes it, and it passes nothing.
4. *Each lane keeps a place.* An element may enter when its lane is empty, or when elements and empty lanes together are fewer than
   the capacity. So one lane alone holds up to three less than the capacity. Control takes a place of its priority's lane.
5. *Senders queue by lane.* Who waits stops only those of its lane; but a fence waits behind all who came before it, and stops
   all who come after.
6. *What was looked at stays.* While the reader waits to pass the head on, nothing passes that.

While elements of one priority follow each other, each costs one comparison more than on an edge without lanes. Neighbours of one
lane that were passed equally often are counted together: passing costs as many steps as there are such groups.
"""

# ruff: noqa: SLF001 - the two ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from ..elements import ControlElement, Interrupt, Priority
from ..errors import ElementError
from ._receive_end import WIDE, ReceiveEnd
from ._send_end import HeadOf, SendEnd
from ._wait import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._pulse import Pulse
    from ._watching import ChannelWatch

__all__ = ["PASSES", "LaneReceiveEnd", "LaneSendEnd", "LaneTurn", "Lanes", "Queues", "lane_of"]

T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

PASSES = (0, 16, 32, 64)
"""By `Priority` of who wants to pass: an element that was passed so often, by whomever, is passed no more."""

_NEVER = max(PASSES)
_LANES = tuple(Priority)


def lane_of(item: Any) -> int:
    """Return the lane of an element: its priority. Raises `ElementError` if that is none."""
    try:
        return _LANES.index(item.priority)
    except (AttributeError, ValueError):
        priority = getattr(item, "priority", None)
        message = f"{item!r:.80} has the priority {priority!r:.80}; where edges have lanes it must be a Priority"
        raise ElementError(message) from None


class _Group:
    """Neighbours of one lane that were passed equally often."""

    __slots__ = ("lane", "length", "passed")

    def __init__(self, lane: int, passed: int, length: int = 1) -> None:
        self.lane = lane
        self.passed = passed
        self.length = length


class Lanes:
    """The order in which the elements of one edge leave, and how many of each lane there are.

    Args:
        buffer: The elements, in that order. The reader takes from its head without telling.
        capacity: The bound, in elements.
    """

    def __init__(self, buffer: deque[Any], capacity: int) -> None:
        self._buffer = buffer
        self._groups: deque[_Group] = deque()  # of all that `count()` has seen
        self._known = 0  # their lengths together
        self._tail = 0  # the lane of the last group
        self._fences: dict[type, bool] = {}
        self.capacity: int = capacity
        """The bound, in elements."""
        self.held: list[int] = [0] * len(_LANES)
        """How many elements each lane holds, as of the last `count()`."""
        self.last: Priority | None = None
        """Data of this priority may be put at the tail of the buffer, and counted as `unseen`; None: there is no such."""
        self.unseen: int = 0
        """Elements that were put there since the last `count()`."""
        self.is_pinned: bool = False
        """Whether the head must stay."""

    def append(self, item: Any) -> None:
        """Put `item` where its turn to leave is."""
        lane, is_fence = lane_of(item), self.is_fence(item)
        self.count()
        groups = self._groups
        place, behind = (len(groups), 0) if is_fence else self._pass_by(lane)
        self._buffer.insert(len(self._buffer) - behind, item)
        self._known += 1
        self.held[lane] += 1
        before = groups[place - 1] if place and not is_fence else None
        if before is not None and before.lane == lane and not before.passed:
            before.length += 1
        else:
            groups.insert(place, _Group(lane, _NEVER if is_fence else 0))
        last = groups[-1]
        self._tail, self.last = last.lane, None if last.passed else _LANES[last.lane]

    def _pass_by(self, lane: int) -> tuple[int, int]:
        """Pass what data of a lane passes; return how many groups are left before it, and how many elements are behind it."""
        groups, behind = self._groups, 0
        place = len(groups)
        while place:
            group = groups[place - 1]
            if group.lane >= lane or group.passed >= PASSES[lane]:
                break
            if place == 1 and self.is_pinned:
                if group.length == 1:
                    break
                groups.appendleft(_Group(group.lane, group.passed))
                group.length -= 1
                place += 1
            group.passed += 1
            behind += group.length
            place -= 1
        return place, behind

    def is_fence(self, item: object) -> bool:
        """Say whether an element neither passes others nor is passed."""
        kind = type(item)
        known = self._fences.get(kind)
        if known is None:
            known = self._fences[kind] = issubclass(kind, ControlElement) and not issubclass(kind, Interrupt)
        return known

    def has_room(self, lane: int) -> bool:
        """Say whether one more of a lane may enter, as of the last `count()`."""
        return not self.held[lane] or self._known + self.held.count(0) < self.capacity

    def keep(self, stays: list[bool]) -> None:
        """Forget what is about to be taken out of the buffer, wherever it stands."""
        self.count()
        place = 0
        for group in tuple(self._groups):
            left = sum(stays[place : place + group.length])
            place += group.length
            gone = group.length - left
            group.length = left
            self.held[group.lane] -= gone
            self._known -= gone
            if not left:
                self._groups.remove(group)
        if self._groups:
            last = self._groups[-1]
            self._tail, self.last = last.lane, None if last.passed else _LANES[last.lane]

    def take_out(self, place: int) -> None:
        """Take the element at a place of the buffer out of it."""
        self.count()
        first = 0
        for number, group in enumerate(self._groups):
            if place < first + group.length:
                group.length -= 1
                self._known -= 1
                self.held[group.lane] -= 1
                if not group.length:
                    del self._groups[number]
                break
            first += group.length
        self.last = None  # perhaps the last group has gone
        del self._buffer[place]

    def count(self) -> None:
        """Count what was added and what has left since it was counted last."""
        if self._known == len(self._buffer) and not self.unseen:
            return
        groups, held = self._groups, self.held
        if self.unseen:
            if not groups:
                groups.append(_Group(self._tail, passed=0, length=0))
            groups[-1].length += self.unseen
            held[groups[-1].lane] += self.unseen
            self._known += self.unseen
            self.unseen = 0
        gone = self._known - len(self._buffer)
        while gone:
            group = groups[0]
            here = min(gone, group.length)
            gone -= here
            self._known -= here
            held[group.lane] -= here
            group.length -= here
            if not group.length:
                groups.popleft()


class LaneTurn(Turn):
    """The place of one waiting sender in the queue of its lane."""

    __slots__ = ("is_fence", "lane", "mark", "number")

    def __init__(self, item: object, lane: int, mark: int, *, is_fence: bool) -> None:
        super().__init__(item)
        self.lane = lane
        self.is_fence = is_fence
        self.number = 0  # in the order of arrival
        self.mark = mark  # how much its lane may hold when it is woken before the edge has drained to half


class Queues:
    """Who waits for room, by lane.

    Args:
        turns: All who wait, in the order of their arrival.
    """

    def __init__(self, turns: list[Turn]) -> None:
        self._turns = turns
        self._of_lane: tuple[deque[LaneTurn], ...] = tuple(deque() for _ in _LANES)
        self._fences: deque[LaneTurn] = deque()
        self._count = 0

    def add(self, turn: LaneTurn) -> None:
        """Let a sender take the last place of its lane."""
        self._count += 1
        turn.number = self._count
        self._turns.append(turn)
        self._of_lane[turn.lane].append(turn)
        if turn.is_fence:
            self._fences.append(turn)

    def remove(self, turn: LaneTurn) -> None:
        """Let a sender go."""
        self._turns.remove(turn)
        self._of_lane[turn.lane].remove(turn)
        if turn.is_fence:
            self._fences.remove(turn)

    def is_free(self, lane: int, *, is_fence: bool) -> bool:
        """Say whether nobody waits who goes before one who comes now."""
        return not (self._turns if is_fence else self._of_lane[lane] or self._fences)

    def is_next(self, turn: LaneTurn) -> bool:
        """Say whether nobody waits who goes before this one."""
        if turn.is_fence:
            return self._turns[0] is turn
        return self._of_lane[turn.lane][0] is turn and not (self._fences and self._fences[0].number < turn.number)

    def heads(self) -> list[LaneTurn]:
        """Return those before whom nobody goes, the most urgent one first."""
        return [queue[0] for queue in reversed(self._of_lane) if queue and self.is_next(queue[0])]


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
        self.limit_of_one_lane: int = capacity - len(_LANES) + 1
        """Below it, there is room for every lane."""

    def enter(self, item: Any) -> None:
        """Put `item` where its turn to leave is."""
        lanes = self._lanes
        if type(item) in self._plain and item.priority is lanes.last:
            lanes.unseen += 1
            self._buffer.append(item)
        else:
            lanes.append(item)
        if self._turns:
            self._low = self.capacity  # what `look_for()` found out holds no more

    async def _pass_one(self) -> None:
        self._lanes.is_pinned = True
        try:
            await super()._pass_one()
        finally:
            self._lanes.is_pinned = False

    def _keep(self, stays: list[bool]) -> int:
        self._lanes.keep(stays)
        return super()._keep(stays)

    def _wake_sender(self) -> None:
        self._wake_heads(at_once=False)

    def _end_turn(self) -> None:
        self._wake_heads(at_once=True)
        self._reopen_sender()

    def widen(self, capacity: int) -> None:
        """Have room for more elements from now on."""
        self._lanes.capacity = capacity
        self.limit_of_one_lane = capacity - len(_LANES) + 1

    def _wake_heads(self, *, at_once: bool) -> None:
        """Let the first of each lane look again: at once, or when the edge or its lane has drained to half."""
        self._low = -1
        if not self._turns:
            return
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
        self._lanes = peer._lanes
        self._queues = peer._queues
        self._append = peer.enter
        self._plain: set[type] = set()  # nothing is sent without a look at its priority

    async def send(self, item: T_contra) -> None:
        if not self._try_send_unusual(item):
            await self._send_in_turn(item)

    def _try_send_unusual(self, item: Any) -> bool:
        peer, lanes = self._peer, self._lanes
        if type(item) not in peer._plain:
            return super()._try_send_unusual(item)
        if len(self._buffer) < self._limit and item.priority is lanes.last:
            lanes.unseen += 1
            self._buffer.append(item)
        elif len(self._buffer) < self._limit or self._fits_above_limit(item):
            self._append(item)
        else:
            return False
        if peer._waiter is not None:
            peer._wake()
        return True

    def _examine(self, item: T_contra) -> None:
        super()._examine(item)  # what is no element is told so, and not that it has no priority
        lane_of(item)

    def _has_place(self, item: T_contra) -> bool:
        lane = lane_of(item)
        self._lanes.count()
        return self._lanes.has_room(lane) and self._queues.is_free(lane, is_fence=self._lanes.is_fence(item))

    def _fits_above_limit(self, item: T_contra) -> bool:
        reader = self._reader
        is_open = self._limit >= 0 if reader.capacity <= WIDE else self._limit == reader.limit_of_one_lane
        return self._has_place(item) and is_open  # what has no lane is refused in any state

    def _queue_up(self, item: object) -> Turn:
        lane, lanes = lane_of(item), self._lanes
        lanes.count()
        turn = LaneTurn(item, lane, lanes.held[lane] // 2, is_fence=lanes.is_fence(item))
        self._queues.add(turn)
        self._limit = min(self._limit, 0)
        return turn

    def _must_wait(self, turn: Any) -> bool:
        its: LaneTurn = turn
        self._lanes.count()
        if self._reader.state != "open" or (self._queues.is_next(its) and self._lanes.has_room(its.lane)):
            return False
        self._reader.look_for(its)
        return True

    def _leave_queue(self, turn: Any) -> None:
        self._end_wait(turn)
        self._queues.remove(turn)
        self._reader._end_turn()

    async def _send_in_turn(
        self, item: T_contra | None, rest: Sequence[Any] | None = None, take: Callable[[], T_contra] | None = None
    ) -> None:
        # If another task moves the head of `rest`, this one has nothing to do: what comes behind may be of another lane.
        await super()._send_in_turn(item, None if rest is None else HeadOf(rest), take)

"""Priority lanes: an edge on which an urgent element passes others, and no full lane shuts another one out.

Above: `_lane_ends`, `_limited`. Below: `_wait`.

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

While all that waits is of one priority, what comes of that costs one comparison more than on an edge without lanes, and is not
even counted. Else neighbours of one lane that were passed equally often are counted together: passing costs as many steps as there
are such groups.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..elements import ControlElement, Interrupt, Priority
from ..errors import ElementError
from ._wait import Turn

if TYPE_CHECKING:
    from ._wait import Waiter

__all__ = [
    "PASSES",
    "UNKNOWN",
    "LaneTurn",
    "Lanes",
    "Queues",
    "lane_of",
]

T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

PASSES = (0, 16, 32, 64)
"""By `Priority` of who wants to pass: an element that was passed so often, by whomever, is passed no more."""

UNKNOWN: Final = object()
"""Stands for a priority that there is not: no element has it."""

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
        self._groups: deque[_Group] = deque()  # of all that `count()` has seen; one, while there is an `only`
        self._known = 0  # their lengths together
        self.tail: int = 0
        """The lane of what was put at the tail last."""
        self._fences: dict[type, bool] = {}
        self.capacity: int = capacity
        """The bound, in elements."""
        self.held: list[int] = [0] * len(_LANES)
        """How many elements each lane holds, as of the last `count()`."""
        self.only: object = UNKNOWN
        """All that the buffer holds is data of this priority, and none of it was passed: more of it may be put at the tail, and
        needs no counting. `UNKNOWN`: that is not so, or nobody knows."""
        self.last: object = UNKNOWN
        """Data of this priority may be put at the tail of the buffer, and counted as `unseen`; `UNKNOWN`: there is no such."""
        self.unseen: int = 0
        """Elements that were put there since the last `count()`."""
        self.is_pinned: bool = False
        """Whether the head must stay."""

    def append(self, item: Any) -> None:
        """Put `item` where its turn to leave is."""
        lane, is_fence = lane_of(item), self.is_fence(item)
        self.count()
        groups = self._groups
        if not self._known:
            groups.clear()  # there may be one that is empty
        place, behind = (len(groups), 0) if is_fence else self._pass_by(lane)
        self._buffer.insert(len(self._buffer) - behind, item)
        self._known += 1
        self.held[lane] += 1
        before = groups[place - 1] if place and not is_fence else None
        if before is not None and before.lane == lane and not before.passed:
            before.length += 1
        else:
            groups.insert(place, _Group(lane, _NEVER if is_fence else 0))
        self._judge()

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
        self._judge()

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
        self._judge()
        del self._buffer[place]

    def count(self) -> None:
        """Count what was added and what has left since it was counted last."""
        if self._known == len(self._buffer) and not self.unseen:
            return
        groups, held = self._groups, self.held
        if self.only is not UNKNOWN:
            held[self.tail] = self._known = groups[0].length = len(self._buffer)
            return
        if self.unseen:
            if not groups:
                groups.append(_Group(self.tail, passed=0, length=0))
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
        self._judge()

    def _judge(self) -> None:
        """Find out what may be put at the tail without a look at the others."""
        groups = self._groups
        if not groups:
            self.only = self.last = UNKNOWN
            return
        tail = groups[-1]
        self.tail, self.last = tail.lane, UNKNOWN if tail.passed else _LANES[tail.lane]
        self.only = self.last if len(groups) == 1 else UNKNOWN


class LaneTurn(Turn):
    """The place of one waiting sender in the queue of its lane."""

    __slots__ = ("is_fence", "lane", "mark", "number")

    def __init__(self, item: object, lane: int, mark: int, *, is_fence: bool) -> None:
        # As any turn: written out, one is made for each wait.
        self.item: object = item
        self.waiter: Waiter | None = None
        self.is_counted: bool = False
        self.lane: int = lane
        self.is_fence: bool = is_fence
        self.number: int = 0  # in the order of arrival
        self.mark: int = mark  # how much its lane may hold when it is woken before the edge has drained to half


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

"""An edge with an overflow policy or a bound by weight, with priority lanes or without.

Above: `_bounded`, which opens such an edge. Below: `_room` (what it holds), `_lanes` (the order of leaving), the ends.

Such an edge has no fast path: each element is counted when it enters and when it leaves. Rules, besides those of `_bounded`:

1. *Control is never dropped*, whatever the policy: it waits for room, of which it has its own where data can be dropped.
2. *Data never waits where it can be dropped, or be refused*: it is no one's turn that it needs, so it may come before control of
   another task that waits.
3. *The reader goes first*: where data would be dropped although the reader has been woken, or not begun, and did not have its turn
   yet, the sender lets it have that turn. So a reader that waits for more loses nothing to a sender that does not wait.
4. *A sender takes a checkpoint at least every `WIDE` elements*, because nothing else stops it.
5. *What is being looked at may go*: while the reader waits to pass the head on, that can be dropped, and then nothing is passed.
"""

# ruff: noqa: SLF001 - the two ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.lowlevel

from ..elements import Interrupt
from ..errors import EdgeOverflowError
from ._lanes import Lanes, LaneTurn, Queues
from ._receive_end import WIDE, ReceiveEnd
from ._room import Room
from ._send_end import HeadOf, SendEnd, is_let_go

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..errors import CloseReason
    from ._bounds import EdgeBound
    from ._pulse import Pulse
    from ._room import Load
    from ._watching import ChannelStatistics, ChannelWatch

__all__ = ["LimitedReceiveEnd", "LimitedSendEnd", "let_read"]

T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

_OVERFLOW = "overflow"
_BUDGET = WIDE // 2
"""Elements that may be sent between two checkpoints; half, as on any wide edge."""

_FURTHER_TURNS = 2
"""Checkpoints that a reader may need besides: trio runs the tasks of a batch in any order; who reads a wide edge takes one."""


class _Turn(LaneTurn):
    """The place of one waiting sender, with what its element takes up."""

    __slots__ = ("load",)

    def __init__(self, item: object, load: Load, mark: int, *, is_fence: bool) -> None:
        super().__init__(item, load.lane, mark, is_fence=is_fence)
        self.load = load


class LimitedReceiveEnd(ReceiveEnd[T_co]):
    """The reading end of such an edge: to its reader a `ReceiveEnd` like any other."""

    def __init__(
        self,
        name: str,
        bound: EdgeBound,
        admit: Callable[[object], bool],
        watch: ChannelWatch | None,
        pulse: Pulse | None = None,
    ) -> None:
        super().__init__(name, bound.capacity, admit, watch, pulse)
        self.attention += 1  # each element is counted when it leaves
        self.bound: EdgeBound = bound
        """All that bounds it."""
        self.room: Room = Room(bound)
        """What it holds."""
        self.lanes: Lanes | None = Lanes(self._buffer, bound.capacity) if bound.lanes else None
        """The order of leaving, if that is not the order of entering."""
        self._turns = []
        self.queues: Queues = Queues(self._turns)
        """Who waits for room."""
        self.is_awaking: bool = True
        """Whether the reader has not begun yet, was woken, or takes a checkpoint, and has not had its turn since."""

    def enter(self, item: Any) -> None:
        """Put `item` where its turn to leave is."""
        if self.lanes is None:
            self._buffer.append(item)
        else:
            self.lanes.append(item)

    def make_way(self, load: Load) -> bool:
        """Drop what has to go for data for which there is no room; say whether it may enter then."""
        places = self.room.victims(load, self._buffer)
        if places is None:
            return False
        items = [self._buffer[place] for place in places]
        for place in reversed(places):
            if self.lanes is None:
                del self._buffer[place]
            else:
                self.lanes.take_out(place)
        for item in items:
            self.attention -= type(item) not in self._plain
            self.room.leave(item)
        self._count_discarded(_OVERFLOW, len(items))
        if self._watch is not None:
            self._watch.on_discarded(items, _OVERFLOW)
        if self._receiving and self._forward is not None:
            self._forward._wake_waiting()  # the reader may wait there, to pass on what is gone now
        return True

    def refuse(self, item: object) -> None:
        """Drop data instead of letting it in."""
        self._count_discarded(_OVERFLOW)
        if self._watch is not None:
            self._watch.on_refused(item, _OVERFLOW)

    def widen(self, capacity: int) -> None:
        """Have room for more elements from now on, and for as much more weight."""
        weight = self.bound.weight
        if weight is not None:
            weight = dataclasses.replace(weight, limit=weight.limit * capacity / self.bound.capacity)
        self.bound = self.bound.replace(capacity=capacity, weight=weight)
        self.room.widen(self.bound)
        if self.lanes is not None:
            self.lanes.capacity = capacity

    def statistics(self) -> ChannelStatistics:
        weight = None if self.bound.weight is None else self.room.weight
        return dataclasses.replace(super().statistics(), overflow=self.bound.overflow, weight=weight)

    def _pop(self) -> T_co:
        item = self._buffer.popleft()
        self.attention -= type(item) not in self._plain
        self.room.leave(item)
        self.is_awaking = False
        if self._turns:
            self._wake_heads(at_once=False)
        return item

    def _discard(self, reason: CloseReason) -> None:
        super()._discard(reason)
        self.room.clear()

    def _keep(self, stays: list[bool]) -> int:
        for item, does_stay in zip(self._buffer, stays, strict=True):
            if not does_stay:
                self.room.leave(item)
        if self.lanes is not None:
            self.lanes.keep(stays)
        return super()._keep(stays)

    def _rest_to_pass(self) -> Sequence[Any]:
        return HeadOf(super()._rest_to_pass())

    async def _take_checkpoint(self) -> None:
        self.is_awaking = True
        await super()._take_checkpoint()

    async def _pass_one(self) -> None:
        if self.lanes is not None:
            self.lanes.is_pinned = True
        try:
            await super()._pass_one()
        finally:
            if self.lanes is not None:
                self.lanes.is_pinned = False

    def _wake(self, load: int = 0) -> None:
        self.is_awaking = True
        super()._wake(load)

    def _end_turn(self) -> None:
        self._wake_heads(at_once=True)

    def _wake_heads(self, *, at_once: bool) -> None:
        """Let the first of each queue look again, if there is room: at once, or when enough has left."""
        for one in self.queues.heads():
            if isinstance(one, _Turn) and one.waiter is not None and not one.waiter.done():
                is_worth_it = at_once or self.room.is_low(one.load, one.mark)
                if is_worth_it and self.room.has_room(one.load):
                    self._wake_turn(one)

    def _open_limit(self) -> int:
        return 0  # every sender looks at the room


class LimitedSendEnd(SendEnd[T_contra]):
    """The writing end of such an edge. Its `try_send()` is also False when a checkpoint is due."""

    def __init__(self, peer: LimitedReceiveEnd[Any]) -> None:
        super().__init__(peer)
        self._reader = peer
        self._room = peer.room
        self._queues = peer.queues
        self._append = peer.enter
        self._plain: set[type] = set()
        self._drops = peer.bound.overflow != "block"
        self._left = _BUDGET  # elements until a checkpoint

    async def send(self, item: T_contra) -> None:
        if not self._try_send_unusual(item):
            await self._send_in_turn(item)

    def send_nowait(self, item: T_contra) -> None:
        """As on any edge; where the policy drops, only control raises `WouldBlock`.

        Raises:
            EdgeOverflowError: If there is no room, and the policy is `error`.
        """
        self._examine(item)
        self._raise_if_closed()
        if not self._stops(item):
            self.refuse_overflow(item)
        super().send_nowait(item)

    def close_with(self, item: T_contra) -> None:
        if self._peer.state == "open":
            self._enter(item, self._room.load_of(item))
        self.close()

    def judge(self, item: object) -> None:
        """Raise `ElementError` for what has no lane or no weight."""
        self._room.load_of(item)

    def is_due(self, item: object) -> bool:
        """Say whether others must have a turn before `item` is sent."""
        return self._is_due(self._room.load_of(item))

    def refuse_overflow(self, item: object) -> None:
        """Raise if there is no room, and the policy is `error`.

        Raises:
            EdgeOverflowError: Says how full the edge is.
        """
        reader, load = self._reader, self._room.load_of(item)
        bound = reader.bound
        if bound.overflow != "error" or load.is_control or self._room.has_room(load):
            return
        told = "" if bound.weight is None else f"{self._room.weight:,.6g} of {bound.weight}".replace(",", "_")
        raise EdgeOverflowError(self.name, sum(self._room.held), reader.capacity, told)

    def renew(self) -> None:
        """Know that others have had a turn."""
        self._left = _BUDGET
        self._reader.is_awaking = False

    def _try_send_unusual(self, item: T_contra) -> bool:
        self._examine(item)
        if isinstance(item, Interrupt):
            self._announce(item)
        load = self._room.load_of(item)
        if self._limit < 0 or self._is_due(load) or not self._may_enter(item, load) or self._must_pay(item):
            return False
        self._put_load(item, load)
        return True

    def _fits_above_limit(self, item: T_contra) -> bool:
        load = self._room.load_of(item)
        return self._limit >= 0 and not self._is_due(load) and self._may_enter(item, load)

    def _has_place(self, item: T_contra) -> bool:
        return self._may_enter(item, self._room.load_of(item))

    def _may_enter(self, item: object, load: Load) -> bool:
        """Say whether an element need not wait, be it that something has to go for it."""
        if self._never_waits(load):
            return self._reader.bound.overflow != "error" or self._room.has_room(load)
        return self._room.has_room(load) and self._queues.is_free(load.lane, is_fence=self._is_fence(item))

    def _never_waits(self, load: Load) -> bool:
        return self._drops and not load.is_control

    def _is_fence(self, item: object) -> bool:
        """Say whether it waits for all who came before it; without lanes, each does."""
        lanes = self._reader.lanes
        return lanes is None or lanes.is_fence(item)

    def _is_due(self, load: Load) -> bool:
        if self._left <= 0 and (self._drops or self._reader.capacity > WIDE):
            return True
        return self._reader.is_awaking and self._never_waits(load) and not self._room.has_room(load)

    def _put(self, item: T_contra) -> None:
        self._put_load(item, self._room.load_of(item))

    def _put_load(self, item: T_contra, load: Load) -> None:
        self._left -= 1
        if self._never_waits(load) and not self._room.has_room(load) and not self._reader.make_way(load):
            self._reader.refuse(item)
        else:
            self._enter(item, load)

    def _enter(self, item: T_contra, load: Load) -> None:
        if self._shuts_out is None or not isinstance(item, self._shuts_out):  # what is not let in takes up nothing
            self._room.enter(item, load)
        super()._put(item)

    def _queue_up(self, item: object) -> _Turn:
        load = self._room.load_of(item)
        mark = 0 if load.is_control and self._drops else self._room.held[load.lane] // 2
        turn = _Turn(item, load, mark, is_fence=self._is_fence(item))
        self._queues.add(turn)
        return turn

    def _must_wait(self, turn: Any) -> bool:
        its: _Turn = turn
        if self._reader.state != "open" or self._never_waits(its.load):
            return False
        return not (self._queues.is_next(its) and self._room.has_room(its.load))

    def _leave_queue(self, turn: Any) -> None:
        self._end_wait(turn)
        self._queues.remove(turn)
        self._reader._end_turn()

    async def _send_in_turn(
        self, item: T_contra | None, rest: Sequence[Any] | None = None, take: Callable[[], T_contra] | None = None
    ) -> None:
        if self._debtor is not None and item is not None and self._must_pay(item):
            await self._debtor.pass_aside()
        if item is not None and self._stops(item):
            await self._drop_in_turn(item)
            return
        if rest is not None:
            if not rest:
                return
            # If another task moves it, this one has nothing to do: what comes behind may take up more.
            rest = HeadOf(rest)
        subject: Any = item if rest is None else rest[0]
        turn = self._queue_up(subject)
        try:
            if self._is_due(turn.load):
                await let_read([self])
            while self._must_wait(turn) and (rest is None or len(rest)) and not is_let_go(turn, item, rest):
                await self._turn_to_come(turn)
            self._raise_if_closed()
            if (rest is None or len(rest)) and not is_let_go(turn, item, rest):
                self.refuse_overflow(subject)
            if item is not None:
                self._move(item, turn)
            elif rest and take is not None:
                self._move(take(), turn)
        finally:
            self._leave_queue(turn)
        if self._fence is not None:
            self._tell_fence()


async def let_read(ends: Sequence[LimitedSendEnd[Any]]) -> None:
    """Take the checkpoint that is due before more is sent: who reads and was woken has a turn, and all others, too.

    Cancellation: as that of a checkpoint; nothing has been sent.
    """
    await anyio.lowlevel.checkpoint()
    for _ in range(_FURTHER_TURNS):
        if any(end._reader.is_awaking for end in ends):
            await anyio.lowlevel.checkpoint()
    for end in ends:
        end.renew()

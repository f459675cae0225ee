"""The common fork, with few looks: all its branches are plain edges that nobody else writes, and each element is copied.

Above: `runtime`, which opens one where a graph forks. Below: `_fork`, whose rules hold; `_level`.

1. *One look for each burst.* Where the writer runs `in_bursts()`, nothing else goes on until its step ends. So what the fullest
   branch has room for stays there, and who waits is woken at the first element and does not begin to wait again. Whatever is
   unusual and can come from inside the step ends the level (`Level.put`): a branch that ends or is fenced, a sender that queues
   for room, who looks at what is in a branch.
2. *Who waits alone waits at one edge.* A sender that finds no room, and nobody who waits, queues at one full edge after the other
   and not on all at once: nobody else can take the room that it has found. Who comes meanwhile has it queue on all of them first,
   so the order of waiting senders is that of `_fork`.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Never, TypeVar, cast

from ._fork import Claim, ForkEnd
from ._level import Level
from ._receive_end import WIDE
from ._send_end import SendEnd, as_it_is

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence

    from ._control import ControlJoin
    from ._ordering import Ordering
    from ._receive_end import ReceiveEnd
    from ._wait import Turn

__all__ = ["PlainForkEnd", "level_of", "open_fork"]

T_contra = TypeVar("T_contra", contravariant=True)
T = TypeVar("T")
U = TypeVar("U")

_Alone = tuple[SendEnd[Any], "Turn", object]  # where it waits, its place there, and what it wants to send
_Branches = list[tuple[SendEnd[Any], deque[Any], "ReceiveEnd[Any]"]]


def open_fork(
    name: str,
    branches: Sequence[SendEnd[T]],
    *,
    otherwise: SendEnd[T] | None = None,
    joins: Sequence[tuple[ControlJoin, int]] = (),
    ordering: Ordering | None = None,
    is_shared: bool = False,
) -> ForkEnd[T]:
    """Return what writes several edges as one, and copies each element to all whose readers accept it.

    Args:
        name: As for `ForkEnd`, like all others but the last.
        branches: The edges.
        otherwise: The one for the rest.
        joins: The merges below.
        ordering: Marks what is sent.
        is_shared: Whether somebody else writes some of the branches too.
    """
    if is_shared or ordering is not None or any(type(one) is not SendEnd for one in branches):
        return ForkEnd(name, branches, otherwise=otherwise, joins=joins, ordering=ordering)
    return PlainForkEnd(name, branches, otherwise=otherwise, joins=joins)


def level_of(output: SendEnd[Never]) -> Level | None:
    """Return what keeps the bursts of an output, for who writes it to run `in_bursts()`.

    None if it is no such fork, or something is noted at its branches of each element that enters.
    """
    if type(output) is not PlainForkEnd or any(type(end._buffer) is not deque for end in output._branches):
        return None
    return output._level


class PlainForkEnd(ForkEnd[T_contra]):
    """The writing end of such a fork. Made by `open_fork()`; its arguments are those of `ForkEnd`."""

    _alone: _Alone | None = None  # the only sender that waits
    _levelled: _Branches | None = None  # what the level is about

    def __init__(
        self,
        name: str,
        branches: Sequence[SendEnd[Any]],
        *,
        otherwise: SendEnd[Any] | None = None,
        joins: Sequence[tuple[ControlJoin, int]] = (),
    ) -> None:
        super().__init__(name, branches, otherwise=otherwise, joins=joins)
        self._level = Level()
        self._known: dict[type, _Branches] = {}  # where elements of a type go, once they are plain there
        self._claims: dict[Turn, Claim] = {}  # of those that waited alone, and do so no more

    async def send(self, item: T_contra) -> None:
        level = self._level
        if len(level.burst) < level.room and type(item) in level.kinds:
            level.burst.append(item)
        elif not self._try_send_unusual(item):
            await self._send_in_turn(item)

    async def send_all(
        self, items: AsyncIterable[U], convert: Callable[[U], T_contra] = as_it_is, *, closes: bool = False
    ) -> None:
        level, burst = self._level, self._level.burst
        try:
            async for item in items:
                if len(burst) < level.room and type(item) in level.kinds:
                    burst.append(item)
                else:
                    converted = convert(item)
                    if not self._try_send_unusual(converted):
                        await self._send_in_turn(converted)
        finally:
            if closes:
                await cast("AsyncGenerator[U, None]", items).aclose()

    async def send_each(self, items: Iterable[U], convert: Callable[[U], T_contra] = as_it_is) -> None:
        level, burst = self._level, self._level.burst
        for item in items:
            if len(burst) < level.room and type(item) in level.kinds:
                burst.append(item)
            else:
                converted = convert(item)
                if not self._try_send_unusual(converted):
                    await self._send_in_turn(converted)

    def try_send(self, item: T_contra) -> bool:
        level = self._level
        if len(level.burst) >= level.room or type(item) not in level.kinds:
            return self._try_send_unusual(item)
        level.burst.append(item)
        return True

    def send_nowait(self, item: T_contra) -> None:
        self._end_level()
        super().send_nowait(item)

    def close_with(self, item: T_contra) -> None:
        self._end_level()
        super().close_with(item)

    def _try_send_unusual(self, item: T_contra) -> bool:
        branches = self._known.get(type(item))
        if self._alone is not None:
            self._end_level()
        elif branches is not None:
            room = self._room_in(branches)
            if room > 0:
                self._put_level(item, branches, room)
            if room >= 0:
                return room > 0
        self._level.put()
        if not super()._try_send_unusual(item):
            return False
        self._learn(type(item))
        return True

    def _room_in(self, branches: _Branches) -> int:
        """Return for how many elements each of these edges has room; less than 0 if that takes a closer look at one of them."""
        self._level.put()
        room = WIDE
        for end, buffer, peer in branches:
            left = end._limit - len(buffer)
            if left < room:
                if left <= 0:  # -1: closed, fenced or queued at; or a merge has taken what is in it still
                    return 0 if end._limit > 0 and peer._relay is None else -1
                room = left
        return room

    def _put_level(self, item: T_contra, branches: _Branches, room: int) -> None:
        """Put `item` into these edges, which have room, and wake who waits there; begin a burst if that is the time for it."""
        level = self._level
        if self._levelled is not branches:
            self._levelled = branches
            level.kinds = [kind for kind, one in self._known.items() if one is branches]
            level.extends = [buffer.extend for _, buffer, _ in branches]
        if level.is_held:
            level.burst.append(item)
            level.room = room
        for _, buffer, peer in branches:
            if not level.is_held:
                buffer.append(item)
            if peer._waiter is not None:
                peer._wake()

    def _learn(self, kind: type) -> None:
        """Know where elements of a type go, if they are plain there; branches that have gone are left out."""
        ends = [end for end in self._routes[kind] if end.is_open]
        if not ends or not all(kind in end._plain for end in ends):
            return
        branches = [(end, end._buffer, end._peer) for end in ends]
        self._known[kind] = next((one for one in self._known.values() if one == branches), branches)
        self._levelled = None
        for _, _, peer in branches:
            peer._level, peer._is_joined = self._level, True

    def _end_level(self) -> None:
        """Put what was sent into the branches, and have who waits alone queue up on all its edges: it goes before who comes now."""
        self._level.put()
        alone, self._alone = self._alone, None
        if alone is not None:
            end, turn, item = alone
            claim = self._claims[turn] = Claim(item, self._routes[type(item)], is_shared=False)
            claim.turns.append((end, turn))
            claim.queue_up([one for one in claim.route if one is not end])

    def _leave_alone(self, alone: _Alone) -> Claim | None:
        """Leave the queue, or return the places that a sender has got meanwhile in all."""
        end, turn, _ = alone
        if self._alone is not alone:
            return self._claims.pop(turn)
        self._alone = None
        end._leave_first(turn)
        return None

    def _claim(self, item: object, *, is_shared: bool) -> Claim:
        self._end_level()
        return super()._claim(item, is_shared=is_shared)

    async def _send_in_turn(
        self, item: T_contra | None, rest: Sequence[Any] | None = None, take: Callable[[], T_contra] | None = None
    ) -> None:
        branches = None if item is None or self._alone is not None else self._known.get(type(item))
        end = None if branches is None else self._first_full(branches)
        if item is None or branches is None or end is None:
            await super()._send_in_turn(item, rest, take)
            return
        claim: Claim | None = None
        try:
            while end is not None:
                turn = end._queue_first(item)
                alone = self._alone = end, turn, item
                try:
                    await end._turn_to_come(turn)
                finally:
                    claim = self._leave_alone(alone)
                if self._pulled is not None:  # as in `SendEnd`
                    self._pulled._checkpoint_at = self._pulled.received + WIDE
                if claim is not None:
                    await self._send_claimed(item, claim)
                    break
                # Nobody waits behind it, so it may leave and look as if it had just come.
                if turn.item is None:
                    self._drop(item)
                    break
                if self._try_send_unusual(item):
                    return
                end = self._first_full(branches)
            else:
                await super()._send_in_turn(item)
                return
        finally:
            if claim is not None:
                claim.leave()
        self._tell_fence()

    async def _send_claimed(self, item: T_contra, claim: Claim) -> None:
        """Wait behind those that came before and for room, on all edges, then send `item`, unless it has been dropped."""
        while not self._lets_go(claim, item, None):
            wait = self._wait_of(claim)
            if wait is None:
                break
            await wait
        self._raise_if_closed()
        self._move_claimed(item, claim)

    @staticmethod
    def _first_full(branches: _Branches) -> SendEnd[Any] | None:
        """Return the first of these edges that has no room, if it takes no more than to wait there."""
        for end, buffer, peer in branches:
            if len(buffer) >= end._limit:
                return end if end._limit > 0 and peer.capacity <= WIDE else None
        return None

"""The common fork, with few looks: all its branches are plain edges that nobody else writes, and each element is copied.

Above: `runtime`, which opens one where a graph forks. Below: `_fork`, whose rules hold; `_level`.

1. *One look for many elements.* Readers only make more room, so what the fullest branch has room for stays there until something
   unusual happens. Whoever does that ends the level (`Level.left`): a reader that begins to wait and has to be woken by the next
   element, a branch that ends or is fenced, a sender that queues for room.
2. *Who waits alone waits at one edge.* A sender that finds no room, and nobody who waits, queues at one full edge after the other
   and not on all at once: nobody else can take the room that it has found. Who comes meanwhile has it queue on all of them first,
   so the order of waiting senders is that of `_fork`.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from ._fork import Claim, ForkEnd
from ._level import Level
from ._receive_end import WIDE
from ._send_end import SendEnd, as_it_is

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Sequence

    from ._control import ControlJoin
    from ._ordering import Ordering
    from ._receive_end import ReceiveEnd

__all__ = ["PlainForkEnd", "open_fork"]

T_contra = TypeVar("T_contra", contravariant=True)
T = TypeVar("T")
U = TypeVar("U")

_Branches = list[tuple[SendEnd[Any], "deque[Any]", "ReceiveEnd[Any]"]]


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


class PlainForkEnd(ForkEnd[T_contra]):
    """The writing end of such a fork. Made by `open_fork()`; its arguments are those of `ForkEnd`."""

    _alone: Claim | None = None  # of the only sender that waits
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

    async def send(self, item: T_contra) -> None:
        level = self._level
        if level.left and type(item) in level.kinds:
            level.left -= 1
            for put in level.puts:
                put(item)
        elif not self._try_send_unusual(item):
            await self._send_in_turn(item)

    async def send_all(
        self, items: AsyncIterable[U], convert: Callable[[U], T_contra] = as_it_is, *, closes: bool = False
    ) -> None:
        level = self._level
        try:
            async for item in items:
                if level.left and type(item) in level.kinds:
                    level.left -= 1
                    for put in level.puts:
                        put(item)
                else:
                    converted = convert(item)
                    if not self._try_send_unusual(converted):
                        await self._send_in_turn(converted)
        finally:
            if closes:
                await cast("AsyncGenerator[U, None]", items).aclose()

    async def send_each(self, items: Iterable[U], convert: Callable[[U], T_contra] = as_it_is) -> None:
        level = self._level
        for item in items:
            if level.left and type(item) in level.kinds:
                level.left -= 1
                for put in level.puts:
                    put(item)
            else:
                converted = convert(item)
                if not self._try_send_unusual(converted):
                    await self._send_in_turn(converted)

    def try_send(self, item: T_contra) -> bool:
        level = self._level
        if not level.left or type(item) not in level.kinds:
            return self._try_send_unusual(item)
        level.left -= 1
        for put in level.puts:
            put(item)
        return True

    def send_nowait(self, item: T_contra) -> None:
        self._end_level()
        super().send_nowait(item)

    def _try_send_unusual(self, item: T_contra) -> bool:
        branches = self._known.get(type(item))
        if self._alone is not None:
            self._end_level()
        elif branches is not None and self._put_level(item, branches):
            return True
        self._level.left = 0
        if not super()._try_send_unusual(item):
            return False
        self._learn(type(item))
        return True

    def _put_level(self, item: T_contra, branches: _Branches) -> bool:
        """Put `item` into these edges if all have room, and note how many more they take like that."""
        room = WIDE
        for end, buffer, _ in branches:
            left = end._limit - len(buffer)
            if left < room:
                if left <= 0:
                    return False
                room = left
        for _, buffer, peer in branches:
            buffer.append(item)
            if peer._waiter is not None:
                peer._wake()
            if peer._relay is not None:
                room = 1  # what merges it does not say when it begins to wait
        level = self._level
        if self._levelled is not branches:
            self._levelled = branches
            level.kinds = [kind for kind, one in self._known.items() if one is branches]
            level.puts = [buffer.append for _, buffer, _ in branches]
        level.left = room - 1
        return True

    def _learn(self, kind: type) -> None:
        """Know where elements of a type go, if they are plain there; branches that have gone are left out."""
        ends = [end for end in self._routes[kind] if end.is_open]
        if not ends or not all(kind in end._plain for end in ends):
            return
        branches = [(end, end._buffer, end._peer) for end in ends]
        self._known[kind] = next((one for one in self._known.values() if one == branches), branches)
        self._levelled = None
        for _, _, peer in branches:
            if peer._level is None:
                peer._level = self._level
                peer._overseers += (self._level,)

    def _end_level(self) -> None:
        """Have the next element looked at, and who waits alone queue up on all its edges: it goes before whoever comes now."""
        self._level.left = 0
        claim, self._alone = self._alone, None
        if claim is not None:
            places = {end for end, _ in claim.turns}
            claim.queue_up([end for end in claim.route if end not in places])

    def _claim(self, item: object, *, is_shared: bool) -> Claim:
        self._end_level()
        return super()._claim(item, is_shared=is_shared)

    async def _send_in_turn(
        self, item: T_contra | None, rest: Sequence[Any] | None = None, take: Callable[[], T_contra] | None = None
    ) -> None:
        branches = None if item is None or self._alone is not None else self._known.get(type(item))
        if (
            item is None
            or branches is None
            or not all(end._limit > 0 and peer.capacity <= WIDE for end, _, peer in branches)
        ):
            await super()._send_in_turn(item, rest, take)
            return
        claim = self._alone = Claim(item, tuple(end for end, _, _ in branches), is_shared=False)
        try:
            while not self._lets_go(claim, item, None):
                wait = self._wait_alone(claim, branches) if self._alone is claim else self._wait_of(claim)
                if wait is None:
                    break
                await wait
            self._raise_if_closed()
            self._move_claimed(item, claim)
        finally:
            if self._alone is claim:
                self._alone = None
            claim.leave()
        self._tell_fence()

    @staticmethod
    def _wait_alone(claim: Claim, branches: _Branches) -> Awaitable[None] | None:
        """Queue up at the first edge that has no room, and return what to wait for there; None when all have."""
        for end, buffer, peer in branches:
            if len(buffer) >= peer.capacity and peer.state == "open":
                if not claim.turns or claim.turns[0][0] is not end:
                    claim.leave()
                    claim.queue_up((end,))
                return end._turn_to_come(claim.turns[0][1])
        return None

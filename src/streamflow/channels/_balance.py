"""The writing end of a balance: each element goes to whichever branch is free.

Above: `runtime`. Below: `_fork`, of which it is a sibling.

Rules, besides those of `_fork`:

1. *Data goes to exactly one branch*, control to every one.
2. *The freest one gets it*: that with the fewest elements in its edge and in its reader's hand, among those that accept the type,
   have room, and have a reader. Where several are equally free, they take turns.
3. *A sender waits only while all are full*, in the queues of all of them, and takes whichever has room first. Whoever came before
   it goes first on each.
4. *A branch whose reader has gone is left out*: what was not sent goes to the others.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from ..elements import ControlElement
from ._fork import Claim, ForkEnd

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from ._send_end import SendEnd
    from ._wait import Waiter
    from ._watching import ChannelWatch

__all__ = ["BalanceEnd"]

T_contra = TypeVar("T_contra", contravariant=True)


class BalanceEnd(ForkEnd[T_contra]):
    """The writing end of a balance. Takes what `ForkEnd` takes. Several tasks may send; waiting ones queue in order."""

    _next = 0  # whose turn it is where several are equally free

    def _route_of(self, item: object) -> tuple[SendEnd[Any], ...]:
        takers = super()._route_of(item)
        if len(takers) < 2 or isinstance(item, ControlElement):
            return takers
        free = [end for end in takers if end.is_open]
        with_room = [end for end in free if end._has_place(item)]
        return (self._freest(with_room or free or takers),)

    def _freest(self, ends: Iterable[SendEnd[Any]]) -> SendEnd[Any]:
        own, count = self._branches, len(self._branches)
        return min(ends, key=lambda end: (_load(end), (own.index(end) - self._next) % count))

    def _commit(self, item: T_contra, route: tuple[SendEnd[Any], ...]) -> None:
        super()._commit(item, route)
        if len(route) == 1:
            self._next = self._branches.index(route[0]) + 1

    def _claim(self, item: object, *, is_shared: bool) -> Claim:
        claim = Claim(item, super()._route_of(item), is_shared=is_shared)
        claim.queue_up(claim.route)
        return claim

    def _wait_of(self, claim: Claim) -> Awaitable[None] | None:
        if isinstance(claim.item, ControlElement):
            return super()._wait_of(claim)
        alive = [(end, turn) for end, turn in claim.turns if end.is_open]
        with_room = [end for end, turn in alive if not end._must_wait(turn)]
        if with_room:
            claim.route = (self._freest(with_room),)
        if with_room or not alive:
            return None
        peer = alive[0][0]._peer
        waiter = (peer._make_waiter or peer._find_loop())()
        for _, turn in alive:
            turn.waiter = waiter
        first, turn = alive[0]
        first._count_wait(turn)  # one wait, whoever ends it
        watches = [end._peer._watch for end, _ in alive if end._peer._watch is not None]
        return _watched(waiter, watches) if watches else waiter


def _load(end: SendEnd[Any]) -> int:
    """Return how many elements are in an edge and in its reader's hand."""
    peer = end._peer
    merge = peer._relay.merge() if peer._relay is not None else None
    return len(peer._buffer) + (not (merge or peer)._receiving)


async def _watched(waiter: Waiter, watches: Iterable[ChannelWatch]) -> None:
    with ExitStack() as stack:
        for watch in watches:
            watch.on_blocked("send", blocked=True)
            stack.callback(watch.on_blocked, "send", blocked=False)
        await waiter

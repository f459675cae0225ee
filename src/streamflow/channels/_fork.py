"""The writing end of several edges at once: each element goes to every branch whose reader accepts its type.

Above: `runtime`, which opens one where a graph forks; `_route`, `_balance`, `_hub` and `_whole`, which choose otherwise. Below:
`_send_end`, `_control`, `_tap`.

Rules, besides those of `_bounded`:

1. *Reserve, then commit.* A sender queues on all edges that the element goes to, waits until it is first on each and each has room,
   and then puts the element into all of them in one step: whoever cancels it, no branch has what another lacks.
2. *Control goes to every branch*, and the merges below are told, so that it leaves them once.
3. *A branch whose reader has gone is left out*; the others go on. Sending fails when all have gone.
4. *Data that no branch accepts* goes to the branch that is there for it, else it is dropped and counted.
5. *A branch that drops is not waited for*, but for control; see `_limited`. One whose policy is `error` fails the sender before any
   branch has the element.
6. *A tap is no branch*: it gets what there is room for when an element is put into the branches, and is never waited for. Whether
   it is there changes nothing.
7. *With an essential branch the fork ends*: the others get what they have been sent, then their end.

What the siblings of this end choose differently is where an element goes (`_route_of`), and for what a sender waits that has
found no room (`_claim`, `_wait_of`); the rules above hold for all of them. `_plain_fork` does the same with fewer looks.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

import copy
import weakref
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio.lowlevel

from ..elements import ControlElement, Interrupt, TurnEnd
from ..errors import ChannelClosedError, OutputClosedError
from ._control import TURNS, TurnMarker
from ._lane_ends import LaneSendEnd
from ._lanes import lane_of
from ._limited import LimitedSendEnd, let_read
from ._receive_end import WIDE
from ._send_end import HeadOf, SendEnd, is_let_go
from ._tap import offer
from ._watching import ChannelStatistics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ..errors import CloseReason
    from ._control import ControlJoin
    from ._ordering import Ordering
    from ._receive_end import ReceiveEnd
    from ._wait import Turn
    from ._watching import ChannelState

__all__ = ["Claim", "ForkEnd"]

T_contra = TypeVar("T_contra", contravariant=True)

_Ends = tuple[SendEnd[Any], ...]


class Claim:
    """What one waiting sender wants to send, where to, and its places in the queues there."""

    __slots__ = ("choice", "is_done", "is_shared", "item", "route", "turns")

    def __init__(self, item: object, route: _Ends, *, is_shared: bool) -> None:
        self.item = item
        self.route = route
        self.turns: list[tuple[SendEnd[Any], Turn]] = []
        self.choice: tuple[object, int | None] | None = None  # see `_route`
        self.is_shared = is_shared  # whether other tasks may send this element in place of this one
        self.is_done = False

    def queue_up(self, ends: Sequence[SendEnd[Any]]) -> None:
        """Take the last place of the queue of each of these edges."""
        self.turns += [(end, end._queue_up(self.item)) for end in ends]

    def leave(self) -> None:
        """Leave all queues."""
        turns, self.turns = self.turns, []
        for end, turn in turns:
            end._leave_queue(turn)


class ForkEnd(SendEnd[T_contra]):
    """The writing end of a fork. Several tasks may send; waiting ones queue in order.

    Args:
        name: What errors and statistics call it, as `a → (b, c)`.
        branches: The writing ends of the edges that it copies to; at least one.
        otherwise: Among them, the one for data that no other accepts; None: such data is dropped and counted.
        joins: The merges below, each with the number by which it knows this fork.
        taps: The writing ends of further edges, which get what there is room for.
        essential: Those of the branches without which the fork ends.
        ordering: Marks what is sent, for merges below that restore its order.
    """

    def __init__(
        self,
        name: str,
        branches: Sequence[SendEnd[Any]],
        *,
        otherwise: SendEnd[Any] | None = None,
        joins: Sequence[tuple[ControlJoin, int]] = (),
        taps: Sequence[SendEnd[Any]] = (),
        essential: Sequence[SendEnd[Any]] = (),
        ordering: Ordering | None = None,
    ) -> None:
        super().__init__(branches[0]._peer)  # whose state is never looked at: nothing is plain here
        self._plain: set[type] = set()
        self.name: str = name
        self._branches: _Ends = tuple(branches)
        self._taps = tuple(taps)
        for end in essential:
            end._fork = weakref.ref(self)
        self._otherwise = otherwise
        self._joins = tuple(joins)
        self._ordering = ordering
        self._marking = [one for one in joins if one[1] in one[0].taken]  # behind its boundaries
        for join, number in joins:
            join.forks[number] = weakref.ref(self)
        self._has_lanes = any(isinstance(branch, LaneSendEnd) for branch in branches)
        self._limited = tuple(branch for branch in branches if isinstance(branch, LimitedSendEnd))
        self._routes: dict[type, _Ends] = {}
        self._drops_left = WIDE  # until a checkpoint: no edge stops who sends what nobody takes
        self.dropped: dict[str, int] = {}
        """Data that went nowhere, by reason: `unrouted` (no branch accepts it), `no_more_needed` (those that do have gone)."""

    def send_nowait(self, item: T_contra) -> None:
        route = self._route_of(item)
        self._raise_if_closed()
        if isinstance(item, Interrupt):
            self._announce(item)
        if self._stops(item):
            self._drop(item)
            return
        self._refuse_overflow(item, route)
        if self._must_pay(item) or any(end.is_open and not end._has_place(item) for end in route):
            raise anyio.WouldBlock
        self._commit(item, route)

    def close(self) -> None:
        self._end()
        for branch in (*self._branches, *self._taps):
            branch.close()

    def fail(self, cause: BaseException) -> None:
        self._end()
        for branch in (*self._branches, *self._taps):
            branch.fail(cause)

    def close_with(self, item: T_contra) -> None:
        if self.is_open:
            item = self._told(item)
        for branch in (*self._branches, *self._taps):
            branch.close_with(item)
        self.close()

    def lose_essential(self) -> None:
        """Know that the reader of an essential branch has gone: all others are completed."""
        for branch in (*self._branches, *self._taps):
            branch.close()

    @property
    def _edges(self) -> tuple[ReceiveEnd[Any], ...]:
        return tuple(branch._peer for branch in (*self._branches, *self._taps))

    @property
    def is_open(self) -> bool:
        return any(branch.is_open for branch in self._branches)

    def statistics(self) -> ChannelStatistics:
        """Return what its edges have done so far, summed."""
        each = [branch.statistics() for branch in (*self._branches, *self._taps)]
        states: list[ChannelState] = [one.state for one in each]
        discarded = dict(self.dropped)
        for one in each:
            for reason, count in one.discarded.items():
                discarded[reason] = discarded.get(reason, 0) + count
        return ChannelStatistics(
            name=self.name,
            state="open" if self.is_open else states[0],
            capacity=sum(one.capacity for one in each),
            sent=sum(one.sent for one in each) + sum(self.dropped.values()),
            received=sum(one.received for one in each),
            buffered=sum(one.buffered for one in each),
            discarded=discarded,
            waiting_senders=max(one.waiting_senders for one in each),
            waiting_receiver=all(one.waiting_receiver for one in each),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(branch._peer.describe() for branch in self._branches)}>"

    def _end(self) -> None:
        self._closed = True
        self._debtor = None  # which knows this end: nothing waits for the garbage collector

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise ChannelClosedError(self.name)
        if not self.is_open:
            reasons = {branch._peer.reason for branch in self._branches}
            reason: CloseReason = "failure" if "failure" in reasons else "no_more_needed"
            raise OutputClosedError(self.name, reason)

    def _route_of(self, item: object) -> _Ends:
        """Return where an element goes: here, what its type says. Raises `ElementError` for what is none."""
        kind = type(item)
        route = self._routes.get(kind)
        if route is None:
            # Each is asked, also when all get it: an edge refuses what is no element.
            takers = tuple(end for end in self._branches if end._peer._admit(item) and end is not self._otherwise)
            if issubclass(kind, ControlElement):
                takers = self._branches
            elif not takers and self._otherwise is not None:
                takers = (self._otherwise,)
            route = self._routes[kind] = takers
        if self._has_lanes:
            lane_of(item)  # refuses what has none, before the first branch gets it
        for end in self._limited:
            if end in route:
                end.judge(item)
        return route

    @staticmethod
    def _is_full(end: SendEnd[Any], item: object) -> bool:
        return len(end._buffer) >= end._limit and end.is_open and not end._fits_above_limit(item)

    def _try_send_unusual(self, item: T_contra) -> bool:
        route = self._route_of(item)
        if route is self._branches and isinstance(item, Interrupt):
            self._announce(item)
        for end in route:
            if len(end._buffer) >= end._limit and self._is_full(end, item):
                return False
        if self._must_pay(item) or self._closed or not self.is_open or self._must_pause(route):
            return False
        self._commit(item, route)
        return True

    def _refuse_overflow(self, item: object, route: _Ends) -> None:
        """Raise `EdgeOverflowError` if a branch has no room and its policy is `error`; then no branch gets the element."""
        for end in self._limited:
            if end in route and end.is_open:
                end.refuse_overflow(item)

    def _must_pause(self, route: _Ends) -> bool:
        """Say whether a checkpoint is due before one more element is dropped."""
        return not self._drops_left and not any(end.is_open for end in route)

    def _examine(self, item: T_contra) -> None:
        self._route_of(item)

    def _commit(self, item: T_contra, route: _Ends) -> None:
        """Put `item` into each edge that is open. One step: nothing else runs in between."""
        if self._debtor is not None and isinstance(item, TurnEnd):
            self._debtor._settle_turn()
        item = self._told(item)
        count = 0
        for end in route:
            if end._peer.state == "open":
                end._put(item)
                count += 1
        if self._ordering is not None and count and not isinstance(item, ControlElement):
            self._ordering.mark(end for end in route if end.is_open)
        if not count:
            reason = "no_more_needed" if route else "unrouted"
            self.dropped[reason] = self.dropped.get(reason, 0) + 1
            self._drops_left = max(self._drops_left - 1, 0)
        self._note_sent(item)
        if (
            self._marking
            and isinstance(item, TURNS)
            and any(join.needs_marker(item, fork) for join, fork in self._marking)
        ):
            self._commit(cast("T_contra", TurnMarker()), route)  # beyond the bound: it belongs to the boundary

    def _note_sent(self, item: T_contra) -> None:
        """Know that an element is in all its branches."""
        for tap in self._taps:
            offer(tap, item)

    def _told(self, item: Any) -> Any:
        """Tell the merges below what is sent, and return it: an equal element, if they could take it for one that is on its way."""
        if not isinstance(item, ControlElement):
            return item
        self._announced = None
        if self._joins:
            if any(join.is_on_its_way(item, number) for join, number in self._joins):
                item = copy.copy(item)
            for join, number in self._joins:
                join.expect(item, number)
        return item

    def _drop(self, item: object) -> None:
        self.dropped["stale"] = self.dropped.get("stale", 0) + 1

    @staticmethod
    def _lets_go(claim: Claim, item: object, rest: Sequence[Any] | None) -> bool:
        """Say whether an interruption has dropped what a sender waits with."""
        return any(is_let_go(turn, item, rest) for _, turn in claim.turns)

    def _move_claimed(self, item: T_contra, claim: Claim) -> None:
        """Put in what has waited, or drop it, if an interruption has in the meantime."""
        if self._lets_go(claim, item, None):
            self._drop(item)
        else:
            self._commit(item, claim.route)

    def _wake_waiting(self) -> None:
        for branch in self._branches:
            branch._wake_waiting()

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
            # If another task moves it, this one has nothing to do: what comes behind may have another route.
            rest = HeadOf(rest)
        subject = item if rest is None else rest[0]
        claim = self._claim(subject, is_shared=rest is not None)
        try:
            limited = [end for end in self._limited if end in claim.route]
            if any(end.is_open and end.is_due(subject) for end in limited):
                await let_read(limited)
                self._drops_left = WIDE
            elif self._must_pause(claim.route) or any(end._peer.capacity > WIDE for end in claim.route):
                await anyio.lowlevel.checkpoint()
                self._drops_left = WIDE
            while rest is None or len(rest):
                wait = None if self._lets_go(claim, item, rest) else self._wait_of(claim)
                if wait is None:
                    break
                await wait
            self._raise_if_closed()
            if limited and (rest is None or len(rest)) and not self._lets_go(claim, item, rest):
                self._refuse_overflow(subject, claim.route)
            if item is not None:
                self._move_claimed(item, claim)
            elif rest and take is not None:
                self._move_claimed(take(), claim)
            claim.is_done = True
        finally:
            self._release(claim)
        self._tell_fence()

    def _claim(self, item: object, *, is_shared: bool) -> Claim:
        """Queue up wherever an element goes."""
        claim = Claim(item, self._route_of(item), is_shared=is_shared)
        claim.queue_up(claim.route)
        return claim

    def _wait_of(self, claim: Claim) -> Awaitable[None] | None:
        """Return what a sender has to wait for next; None when it is its turn, and there is room."""
        return next((end._turn_to_come(turn) for end, turn in claim.turns if end._must_wait(turn)), None)

    def _release(self, claim: Claim) -> None:
        """Let a sender go, with or without sending."""
        claim.leave()

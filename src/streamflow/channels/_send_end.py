"""The writing end of a channel. The rules that it keeps are those of `_bounded`.

Above: `_bounded`. Below: `_receive_end`, which holds the state that both ends share.
"""

# ruff: noqa: SLF001 - the two ends are one object in two parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Never, TypeVar, cast

import anyio
import anyio.lowlevel
from anyio.abc import ObjectSendStream

from ..elements import ControlElement, Interrupt, Marker, TurnEnd, survives_interruption
from ..errors import ChannelClosedError, OutputClosedError
from ._late import NO_BUFFER, kept, refuse
from ._receive_end import WIDE
from ._refilled import one_of
from ._wait import Turn
from ._watching import watched

if TYPE_CHECKING:
    import weakref
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable

    from ._fork import ForkEnd
    from ._lanes import Lanes
    from ._receive_end import ReceiveEnd
    from ._sweep import Fence
    from ._watching import ChannelStatistics

__all__ = ["HeadOf", "SendEnd", "as_it_is", "is_let_go"]

T_contra = TypeVar("T_contra", contravariant=True)
U = TypeVar("U")


def as_it_is(item: Any) -> Any:
    """Return what is sent, for senders of nothing but elements."""
    return item


def is_let_go(turn: Turn, item: object, rest: Sequence[Any] | None) -> bool:
    """Say whether an interruption has dropped what a sender waits with, so that it need not wait."""
    return turn.item is None and not survives_interruption(item if rest is None else rest[0])


class HeadOf(Sequence[Any]):
    """What is at the head of `rest` now; empty once it has left, for whoever cannot send what comes behind it just as well."""

    def __init__(self, rest: Sequence[Any]) -> None:
        self._rest = rest
        self._head = rest[0]

    def __len__(self) -> int:
        return int(bool(self._rest) and self._rest[0] is self._head)

    def __getitem__(self, index: Any) -> Any:
        return self._rest[index]


class SendEnd(ObjectSendStream[T_contra]):
    """The writing end of an edge. Several tasks may send; waiting ones queue in order.

    Made by `open_channel()`. Leaving `async with end:` closes it.
    """

    __slots__ = ("_append", "_buffer", "_closed", "_debtor", "_limit", "_peer", "_plain", "name")  # as in `Wakes`

    _shuts_out: type[Marker] | None = None  # markers that are not let in
    _fork: weakref.ref[ForkEnd[Never]] | None = None  # that ends when the reader of this branch goes
    # Told by the class, as in `ReceiveEnd`.
    _fence: Fence | None = None  # around the stage that writes here
    _announced: Interrupt | None = None  # which has been announced, and waits for room
    _lanes: Lanes | None = None  # the order of leaving, where it is told by priority
    _pulled: ReceiveEnd[Any] | None = None  # what its writer reads, where that is pulled: see `_refilled`

    def __init__(self, peer: ReceiveEnd[Any]) -> None:
        self._peer = peer
        self._buffer: deque[T_contra] = peer._buffer
        self._append: Callable[[T_contra], None] = refuse
        self._plain = peer._plain
        self._limit = 0
        if peer._buffer is not NO_BUFFER:
            self._append = peer._buffer.append
            self._limit = peer._open_limit()
        self._closed = False
        self._debtor: ReceiveEnd[Any] | None = None  # keeps elements aside that are to leave before the next TurnEnd
        self.name: str = peer.name
        """The edge, as `a → b`."""

    async def send(self, item: T_contra) -> None:
        """Put `item` into the channel, waiting while the channel is full.

        Cancellation: suspends only when it has to wait, which is at least once per `min(capacity, 64)` elements. When it raises,
        the item was not sent; never twice, never half.

        Raises:
            ChannelClosedError: If *you* closed this end.
            OutputClosedError: If the reader has gone; stop, do not retry.
            ElementError: If `item` is nothing that this channel carries; None never is.
        """
        if type(item) in self._plain and len(self._buffer) < self._limit:
            self._buffer.append(item)
            if self._peer._waiter is not None:
                self._peer._wake()
        elif type(item) in self._plain or not self._try_send_unusual(item):
            await self._send_usual_in_turn(item)

    async def send_all(
        self, items: AsyncIterable[U], convert: Callable[[U], T_contra] = as_it_is, *, closes: bool = False
    ) -> None:
        """Send everything that `items` gives, as `send()` does: the loop of a stage that is a generator, and of a source.

        Args:
            items: What to send.
            convert: Given each item of a type that this channel does not know yet, returns what to send instead.
            closes: Whether `items`, an async generator then, is closed, by the task that iterates it, whichever way this ends.

        Cancellation: as `send()`.
        """
        plain, peer = self._plain, self._peer
        last = one_of(plain)  # told anew at each stop, not for each element
        buffer: deque[Any] = kept(self._buffer)
        try:
            async for item in items:
                # The fast path of send(), without the call; most streams are of one type.
                if (type(item) is last or type(item) in plain) and len(buffer) < self._limit:
                    buffer.append(item)
                    if peer._waiter is not None:
                        peer._wake()
                elif peer._is_driven and type(item) in plain:
                    last = type(item)
                    if peer._carry_on():
                        self._append(cast("Any", item))
                    else:
                        await self._send_in_turn(cast("Any", item))
                        buffer = self._buffer
                else:
                    kind, converted = type(item), convert(item)
                    # What is plain has met a full edge, or its end; an input of a merge may have more room than it seems.
                    if (kind in plain and peer._relay is None) or not self._try_send_unusual(converted):
                        await self._send_usual_in_turn(converted)
                    buffer, last = self._buffer, kind if kind in plain else None
        except BaseException:
            # Here: a coroutine around this one would be held, and passed through, for as long as the stage lives. What has been
            # iterated to its end has closed itself.
            if closes:
                await cast("AsyncGenerator[U, None]", items).aclose()
            raise

    async def send_each(self, items: Iterable[U], convert: Callable[[U], T_contra] = as_it_is) -> None:
        """Send everything that `items` gives, as `send_all()` does, from an iterable that is not async."""
        plain, peer = self._plain, self._peer
        last = one_of(plain)
        buffer: deque[Any] = kept(self._buffer)
        for item in items:
            if (type(item) is last or type(item) in plain) and len(buffer) < self._limit:
                buffer.append(item)
                if peer._waiter is not None:
                    peer._wake()
            else:
                kind, converted = type(item), convert(item)
                if not self._try_send_unusual(converted):
                    await self._send_usual_in_turn(converted)
                buffer, last = self._buffer, kind if kind in plain else None

    def try_send(self, item: T_contra) -> bool:
        """Put `item` into the channel if that needs no waiting.

        Returns:
            Whether it was sent. False also when the channel has ended: `send()` then says why.

        Raises:
            ElementError: If `item` is nothing that this channel carries; None never is.
        """
        if type(item) in self._plain and len(self._buffer) < self._limit:
            self._buffer.append(item)
            if self._peer._waiter is not None:
                self._peer._wake()
            return True
        return self._try_send_unusual(item)

    def send_nowait(self, item: T_contra) -> None:
        """Put `item` into the channel without waiting.

        Raises:
            anyio.WouldBlock: If the channel is full.
            ChannelClosedError: If *you* closed this end.
            OutputClosedError: If the reader has gone.
            ElementError: If `item` is nothing that this channel carries; None never is.
        """
        self._examine(item)
        self._raise_if_closed()
        if isinstance(item, Interrupt):
            self._announce(item)
        if self._stops(item):
            self._drop(item)
            return
        if not self._has_place(item) or self._must_pay(item):
            raise anyio.WouldBlock
        self._put(item)

    def close(self) -> None:
        """End the channel: the reader gets what is buffered, then its end. Idempotent, never raises, wakes who waits."""
        self._closed = True
        self._peer._finish("completed")

    def fail(self, cause: BaseException) -> None:
        """End the channel with a failure: the reader gets what is buffered, then `ChannelFailedError` from `cause`."""
        self._closed = True
        self._peer._finish("failed", cause=cause)

    def close_with(self, item: T_contra) -> None:
        """Put one last `item`, beyond the bound if need be, and end the channel. Does nothing once it has ended.

        For the one notice that must not be lost and cannot wait: the error that ends a run.
        """
        if self._peer.state == "open":
            self._put(item)
        self.close()

    async def aclose(self) -> None:
        """Close, as anyio's streams do. Cancellation: it is closed even when this raises."""
        self.close()
        await anyio.lowlevel.checkpoint()

    @property
    def _edges(self) -> tuple[ReceiveEnd[Any], ...]:
        """The edges that it writes, by their reading ends."""
        return (self._peer,)

    def waiting_items(self) -> list[object]:
        """Return what tasks wait with for room; None in the place of what an interruption has dropped."""
        return [turn.item for edge in self._edges for turn in edge._turns]

    @property
    def is_open(self) -> bool:
        """Whether sending may still succeed."""
        return self._peer.state == "open"

    def statistics(self) -> ChannelStatistics:
        """Return what this edge has done so far."""
        return self._peer.statistics()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._peer.describe()}>"

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise ChannelClosedError(self.name)
        if self._peer.state != "open":
            raise OutputClosedError(self.name, self._peer.reason)

    def _try_send_unusual(self, item: T_contra) -> bool:
        """Send what the fast path leaves: a type's first element, control, one to be passed by, any on a watched edge."""
        if self._buffer is NO_BUFFER:
            self._peer.provide_buffer()
            if type(item) in self._plain and len(self._buffer) < self._limit:  # most are known from other runs
                self._append(item)
                if self._peer._waiter is not None:
                    self._peer._wake()
                return True
        self._examine(item)
        if isinstance(item, Interrupt):
            self._announce(item)
        if (len(self._buffer) >= self._limit and not self._fits_above_limit(item)) or self._must_pay(item):
            return False
        self._put(item)
        return True

    def _has_place(self, _item: T_contra) -> bool:
        """Say whether there is room, and nobody waits who goes first."""
        self._peer._catch_up_with_merge()
        return not self._peer._turns and len(self._buffer) < self._peer.capacity

    def _fits_above_limit(self, _item: T_contra) -> bool:
        """Say whether an element may enter though `_limit` seems reached; see `_arrival`, and `_lanes`, for others."""
        if self._peer._is_driven:
            return self._peer._carry_on()
        self._peer._catch_up_with_merge()
        return len(self._buffer) < self._limit

    def _announce(self, interrupt: Interrupt) -> None:
        """Tell the run, once, of an `Interrupt` that is being sent: before it waits for room, if there is none."""
        find = self._edges[0].herald
        herald = None if find is None or self._announced is interrupt or not self.is_open else find()
        if herald is not None:
            self._announced = interrupt
            herald.announce(self._edges[0], interrupt)

    def _stops(self, item: object) -> bool:
        """Say whether a fence keeps an element from being sent."""
        return self._fence is not None and not survives_interruption(item)

    def _drop(self, item: object) -> None:
        """Count an element that an interruption drops when it is about to enter."""
        peer = self._peer
        peer._count_discarded("stale")
        if peer._watch is not None:
            peer._watch.on_refused(item, "stale")

    def _move(self, item: T_contra, turn: Turn) -> None:
        """Put in what has waited, or drop it, if an interruption has in the meantime."""
        if turn.item is None and not survives_interruption(item):
            self._drop(item)
        else:
            self._put(item)

    def _must_pay(self, item: T_contra) -> bool:
        """Say whether elements that were kept aside have to leave before `item`."""
        return self._debtor is not None and bool(self._debtor._aside) and isinstance(item, TurnEnd)

    def _examine(self, item: T_contra) -> None:
        """Refuse what is no element; remember the type of what needs no second look."""
        peer, kind = self._peer, type(item)
        if kind in peer._plain:
            return
        is_heard = peer._watch is not None and peer._watch.hears_sends
        if peer._admit(item) and not is_heard and not issubclass(kind, ControlElement):
            peer._plain.add(kind)

    def _put(self, item: T_contra) -> None:
        peer = self._peer
        if self._buffer is NO_BUFFER:
            peer.provide_buffer()
        self._examine(item)
        if self._debtor is not None and isinstance(item, TurnEnd):
            self._debtor._settle_turn()
        if type(item) not in peer._plain:
            if self._shuts_out is not None and isinstance(item, self._shuts_out):
                return
            peer.attention += 1
            self._announced = None
        self._append(item)
        if peer._watch is not None:
            peer._watch.on_sent(item)
        if peer._waiter is not None:
            peer._wake()

    def _wake_waiting(self) -> None:
        """Let tasks that wait for room look again."""
        self._peer._wake_senders()

    def _queue_up(self, item: object) -> Turn:
        """Take the last place in the queue of waiting senders, for an element; nobody overtakes it from now on."""
        turn = Turn(item)
        self._peer._add_turn(turn)
        self._limit = min(self._limit, 0)
        if self._peer._level is not None:
            self._peer._level.put()
        return turn

    def _queue_first(self, item: object) -> Turn:
        """Begin the queue of waiting senders: as `_queue_up()`, at an edge up to `WIDE` at which nobody waits."""
        turn = Turn(item)
        self._peer._turns = [turn]
        self._limit = 0
        return turn

    def _must_wait(self, turn: Turn) -> bool:
        """Say whether it is not this sender's turn yet, or there is no room; no more once the channel has ended."""
        peer = self._peer
        return peer.state == "open" and (peer._turns[0] is not turn or len(self._buffer) >= peer.capacity)

    def _turn_to_come(self, turn: Turn) -> Awaitable[None]:
        """Return what to await until it may be this sender's turn. The waiter itself, if nobody watches: no frame more."""
        peer = self._peer
        waiter = turn.waiter = (peer._make_waiter or peer._find_loop())()
        if peer._overseers:
            peer._tell_overseers()
        pulse = peer._senders_pulse
        if pulse is not None:
            turn.is_counted = True
            pulse.runnable -= 1
            if pulse.runnable <= 0:
                pulse.suspect()
        return waiter if peer._watch is None else watched(waiter, peer._watch)

    def _leave_queue(self, turn: Turn) -> None:
        self._end_wait(turn)
        self._peer._turns.remove(turn)
        self._peer._end_turn()

    def _leave_first(self, turn: Turn) -> None:
        """Leave the queue that began with `_queue_first()`."""
        peer = self._peer
        if turn.is_counted or self._limit < 0 or len(peer._turns) > 1:
            self._leave_queue(turn)
        else:  # all is as it was
            peer._turns.clear()
            peer._low = peer.capacity // 2
            self._limit = peer.capacity

    def _count_wait(self, turn: Turn) -> None:
        """Count a sender as waiting, unless it is counted."""
        pulse = self._peer._senders_pulse
        if pulse is not None and not turn.is_counted:
            turn.is_counted = True
            pulse.begin_wait()

    def _end_wait(self, turn: Turn) -> None:
        """Count a sender again whose wait was cancelled: nobody has woken it."""
        turn.waiter = None
        if turn.is_counted:
            self._peer._go_on(turn)

    async def _send_usual_in_turn(self, item: T_contra) -> None:
        """Wait for room, then send `item`: what `_send_in_turn()` does, with few calls where all is as usual.

        That is plain data that has met a full edge at which nobody waits. So this sender is the first until it has sent.
        """
        peer = self._peer
        is_usual = self._limit > 0 and type(item) in self._plain
        if not is_usual or peer.capacity > WIDE or peer._is_driven or peer._level is not None:
            await self._send_in_turn(item)
            return
        turn = self._queue_first(item)
        try:
            while len(self._buffer) >= peer.capacity and peer.state == "open" and turn.item is not None:
                await self._turn_to_come(turn)
                if self._pulled is not None:  # as in `_send_in_turn()`
                    self._pulled._checkpoint_at = self._pulled.received + WIDE
            if self._limit < 0:
                self._raise_if_closed()
            if turn.item is None:
                self._drop(item)
            else:
                self._buffer.append(item)
                if peer._waiter is not None:
                    peer._wake()
        finally:
            self._leave_first(turn)
        if self._fence is not None:
            self._tell_fence()

    async def _send_in_turn(
        self, item: T_contra | None, rest: Sequence[Any] | None = None, take: Callable[[], T_contra] | None = None
    ) -> None:
        """Wait for this task's turn and for room, then send `item`.

        Or move what `take()` gives then, in the same step. Once `rest`, which that comes from, is empty there is nothing to
        wait for: it was closed, or another task was here before.
        """
        if self._buffer is NO_BUFFER and item is not None and self._try_send_unusual(item):
            return
        if self._debtor is not None and item is not None and self._must_pay(item):
            await self._debtor.pass_aside()
        if item is not None and self._stops(item):
            await self._drop_in_turn(item)
            return
        turn = self._queue_up(item if rest is None else rest[0])
        try:
            if self._peer.capacity > WIDE:
                await anyio.lowlevel.checkpoint()
            while self._must_wait(turn) and (rest is None or len(rest)) and not is_let_go(turn, item, rest):
                await self._turn_to_come(turn)
                if self._pulled is not None:  # its reader was suspended, and needs no checkpoint for a while
                    self._pulled._checkpoint_at = self._pulled.received + WIDE
            self._raise_if_closed()
            if item is not None:
                self._move(item, turn)
            elif rest and take is not None:
                self._move(take(), turn)
        finally:
            self._leave_queue(turn)
        if self._fence is not None:
            self._tell_fence()

    def _tell_fence(self) -> None:
        """Tell whoever waits for it that something has been sent through a fence."""
        if self._fence is not None and self._fence.on_sent is not None:
            self._fence.on_sent()

    async def _drop_in_turn(self, item: T_contra) -> None:
        """Drop what a fence stops. A checkpoint: nothing else would stop who sends without end."""
        await anyio.lowlevel.checkpoint()
        self._raise_if_closed()
        self._drop(item)

    async def pass_on(self, item: T_contra) -> None:
        """Send what has come to the stage from elsewhere, as it is: an `Interrupt` is no new one, and a fence does not stop it.

        Cancellation and errors: as `send()`.
        """
        rest = deque((item,))
        await self._send_in_turn(None, rest=rest, take=rest.popleft)

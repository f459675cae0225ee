"""The reading end of a channel, and the state that both ends share. The rules that it keeps are those of `_bounded`.

Above: `_bounded`, `_send_end`. Below: `_wait` (how to wait on this loop).
"""

# ruff: noqa: SLF001 - the two ends are one object in two parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Never, TypeVar, cast

import anyio
import anyio.lowlevel
from anyio.abc import ObjectReceiveStream

from ..errors import ChannelBusyError, ChannelClosedError, ChannelFailedError, CloseReason
from ._late import NO_BUFFER
from ._refilled import WIDE, RefilledEnd
from ._swept_end import ASIDE, SweptEnd
from ._wait import give_way
from ._wakes import Wakes
from ._watching import ChannelState, ChannelStatistics, ChannelWatch, statistics_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from ._hand import Hand
    from ._ports import PortCopies
    from ._pulse import Pulse
    from ._send_end import SendEnd
    from ._wait import Overseer, Round, Turn, Waiter

__all__ = ["ASIDE", "BUDGET", "WIDE", "ReceiveEnd"]

T_co = TypeVar("T_co", covariant=True)

_NOBODY: list[Turn] = []  # never changed: an edge at which somebody waits for room has a list of its own

BUDGET = WIDE // 2
"""Elements that each end of a wide edge may move between two checkpoints; half, because both ends may move in one turn."""


class ReceiveEnd(SweptEnd, RefilledEnd, Wakes, ObjectReceiveStream[T_co]):
    """The reading end of an edge. One task reads; a second one that tries gets `ChannelBusyError` at once.

    `async for item in end` ends when the channel has ended and all that was buffered is read. Leaving `async with end:`
    closes it. It goes on after a cancelled wait: an iterator, not a generator.
    """

    # As in `Wakes`. What most edges never need, or need late, is told by the class, so that thousands of runs fit into memory.
    __slots__ = ("_admit", "_plain", "_receiving", "_sender", "asked_at", "attention", "name", "received")

    backlog: Sequence[T_co] = vars(Wakes)["_buffer"]  # another name of that slot
    """What is in the edge, in the order in which it leaves; to be looked at only."""
    _forward: SendEnd[Any] | None = None
    _feeds: SendEnd[Any] | None = None  # the first one of these, which its reader writes whatever is between
    _aside: deque[Any] | None = None
    _owes: bool = False  # the reader keeps something whose results have not been sent
    _closed: bool = False
    _end: int | None = None
    _checkpoint_at: int = BUDGET
    _watch: ChannelWatch | None = None
    _hand: Hand | None = None
    _wide: bool = False
    _counts: bool = False  # to its checkpoints by itself, see `_wide`
    _fed_by: tuple[weakref.ref[ReceiveEnd[Any]], ...] = ()  # what its writer, if it is a stage, reads
    _copies: PortCopies | None = None  # for an input of several
    _cause: BaseException | None = None
    is_passing_on: bool = False
    """Whether a task waits to pass on the head, and must find it there."""
    reason: CloseReason = "no_more_needed"
    """Why the reader closed, once `state` is `cancelled`."""
    end_was_told: bool = False
    """Whether the reader has been told that the channel has ended."""

    def __init__(  # noqa: PLR0917 - by position: one for each edge of each run
        self,
        name: str,
        capacity: int,
        admit: Callable[[object], bool],
        watch: ChannelWatch | None,
        pulse: Pulse | None = None,
        plain: set[type] | None = None,
        is_late: bool = False,
        make_waiter: Callable[[], Waiter] | None = None,
        together: Round | None = None,
    ) -> None:
        self._buffer: deque[T_co] = NO_BUFFER if is_late else deque()
        self._plain: set[type] = set() if plain is None or watch is not None else plain
        self._admit = admit
        self._turns: list[Turn] = _NOBODY
        self._sender: SendEnd[Any] | None = None
        self._is_refilled = False
        self.state: ChannelState = "open"
        """Open, or how the channel ended."""
        self._waiter: Waiter | None = None
        self._make_waiter = make_waiter
        self._together = together
        self._receiving = False
        self._overseers: tuple[Overseer, ...] = ()
        self._give_more: Callable[[], bool] | None = None
        self._pulse = self._senders_pulse = pulse  # counts the waits of the reader, unless that is a merge; of senders
        self.attention: int = 0
        """How many reasons there are for the next receive to go the unusual way: a watched edge, each element in the
        buffer that is not plain, a task that waits."""
        self.received: int = 0
        """Elements handed out or passed on so far."""
        self.asked_at: int = -1
        """The `position` at which the reader has waited last: while it is still there, the reader has nothing in hand."""
        self._low = capacity // 2
        self.name: str = name
        """The edge, as `a → b`."""
        self.capacity: int = capacity
        """The bound, in elements."""
        if capacity > WIDE:
            self._wide = True
            if not self._counts:
                self.attention = 1
        if watch is not None:
            self._watch = watch
            self.attention = 1

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:  # noqa: C901, PLR0912 - without calls, see below
        """Take the next element, waiting while there is none.

        Cancellation: suspends only when it has to wait. When it raises, nothing was taken.

        Raises:
            StopAsyncIteration: At the end.
            ChannelFailedError: At the end, if the writer failed.
            ChannelClosedError: If *you* closed this end.
            ChannelBusyError: If another task is waiting here.
            OutputClosedError: If an element had to be passed on, and the reader of the output has gone.
        """
        while True:
            if self._buffer and not self.attention:
                self.received += 1
                item = self._buffer.popleft()
                if self._turns and len(self._buffer) <= self._low:
                    self._wake_sender()
                return item
            if self._buffer or self.attention or self._is_refilled or self.state != "open":
                if self.state == "completed" and not (
                    self._buffer or self.attention or self._is_refilled or self._closed
                ):
                    self.end_was_told = True
                    raise StopAsyncIteration
                found = await self._receive_unusual()
                if found is not None:
                    return found
                if self._buffer:
                    continue
            # Waiting is written out here, without calls: the task comes by once per buffer, and is woken through each coroutine.
            waiter = self._waiter = (self._make_waiter or self._find_loop())()
            self._receiving = True
            unusual = self.attention
            self.asked_at = self.position if unusual else self.received
            self.attention = unusual + 1
            if unusual and self._watch is not None:
                self._watch.on_blocked("receive", blocked=True)
            if self._overseers:
                self._tell_overseers()
            pulse = self._pulse
            if pulse is not None:
                pulse.runnable -= 1
                if pulse.runnable <= 0:
                    pulse.suspect()
            try:
                await waiter
            finally:
                if pulse is not None and self._waiter is waiter:  # nobody has woken it
                    pulse.runnable += 1
                self._waiter = None
                self._receiving = False
                self.attention -= 1
                if unusual and self._watch is not None:
                    self._watch.on_blocked("receive", blocked=False)

    async def receive(self) -> T_co:
        """Take the next element, as `__anext__` does, for callers that do not iterate.

        Raises:
            anyio.EndOfStream: At the end.
            ChannelFailedError: At the end, if the writer failed.
            ChannelClosedError: If *you* closed this end.
            ChannelBusyError: If another task is waiting here.
        """
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    def try_receive(self) -> T_co | None:
        """Take the next element if it is there and nothing has to be looked at; else None, always on a watched edge.

        A shortcut before `receive()`, which has more come; whoever polls uses `receive_nowait()`.
        """
        return self._take() if self._buffer and not self.attention else None

    def receive_nowait(self) -> T_co:
        """Take the next element without waiting.

        Raises:
            anyio.WouldBlock: If there is none yet, or one must be passed on to the output first, which may have to wait.
            anyio.EndOfStream: At the end.
            ChannelFailedError: At the end, if the writer failed.
            ChannelClosedError: If *you* closed this end.
            ChannelBusyError: If another task is waiting here.
        """
        if self._receiving:
            raise ChannelBusyError(self.name)
        hand = self._hand
        if hand is not None:
            if hand.is_due:
                return cast("T_co", hand.give())
            hand.clear()
        while True:
            if self._is_refilled and not self._buffer:
                self._refill()
            if self._buffer and self._accepts(self._buffer[0]):
                if self._gate is not None and not self._gate.open_nowait():
                    raise anyio.WouldBlock
                self._note(self._buffer[0])
                item = self._take() if hand is None else hand.hold(self._take())
                if self.capacity > WIDE:
                    self._reopen_sender()  # else the room that is made here would be filled in one go
                return item
            if self.at_end:
                self.end_was_told = True
                self._raise_unless_completed()
                raise anyio.EndOfStream
            if not self._buffer or self._forward is not None:
                raise anyio.WouldBlock
            self._take()

    def forward_to(self, output: SendEnd[Never], *, is_alone: bool = False) -> None:
        """Pass elements that this reader does not accept on to `output`, in order, whenever the reader asks for more.

        Without it they are dropped, which is right for a reader that has no output. The last ones stay for `pass_rest()`.

        Args:
            output: What the reader writes.
            is_alone: Whether no merge is below, which would want to know what its edges are fed by.
        """
        self._forward = output
        self._feeds = self._feeds or output
        if not is_alone:
            here: weakref.ref[ReceiveEnd[Any]] = weakref.ref(self)
            for edge in output._edges:
                edge._fed_by += (here,)

    @property
    def at_end(self) -> bool:
        """Whether the writer has ended and nothing is left that this reader accepts."""
        if self._hand is not None and self._hand.is_due:
            return False
        if self.state == "open":
            return False
        if not self._buffer:
            return True
        if self._end is None:
            # Nothing enters any more, so one look is enough: a look per element would be quadratic in the capacity.
            behind = (number for number, item in enumerate(reversed(self._buffer)) if self._accepts(item))
            self._end = self.position + len(self._buffer) - next(behind, len(self._buffer))
        return self.position >= self._end

    @property
    def position(self) -> int:
        """Elements that have left the head of the edge, those kept aside included; the ordinal of the one in hand is one less."""
        return self.received + (len(self._aside) if self._aside is not None else 0)

    def has_rest(self) -> bool:
        """Say whether there may be something for `pass_rest()` or `pass_aside()`."""
        return bool(self._buffer or self._aside) or self._is_refilled

    async def pass_rest(self) -> None:
        """Pass on what was kept aside and what is left `at_end`: the reader has met the end and sent its last result.

        Cancellation: what was not passed on stays in the channel.

        Raises:
            OutputClosedError: If the reader of the output has gone.
            ChannelClosedError: If this end was closed while it waited.
            ChannelBusyError: If another task is waiting here.
        """
        if self._receiving:
            raise ChannelBusyError(self.name)
        await self.pass_aside()
        while self._buffer or (self._is_refilled and self._refill()):
            await self._pass_one()

    async def pass_aside(self) -> None:
        """Pass on what was kept aside, for a reader that has sent all results of what it took, before the end or another `TurnEnd`.

        Cancellation: what was not passed on stays aside.

        Raises:
            OutputClosedError: If the reader of the output has gone.
        """
        aside = self._aside
        while aside and self._forward is not None:
            if self._copies is not None and self._copies.have_left(aside[0]):
                self._count(aside.popleft())
                continue
            rest = aside if self._copies is None else self._copies.still(aside)
            await self._forward._send_in_turn(None, rest=rest, take=lambda: self._count(aside.popleft()))
        self._owes = False

    def close(self, reason: CloseReason | None = None) -> None:
        """End the channel from this side: what is buffered is discarded and counted, senders get `OutputClosedError(reason)`.

        Idempotent, never raises, wakes who waits. Who has met the end has nothing to close: what is left still passes it by.
        """
        if reason is not None or not self.end_was_told or self._forward is None:
            self._finish("cancelled", reason=reason or "no_more_needed")

    async def aclose(self) -> None:
        """Close, as anyio's streams do. Cancellation: it is closed even when this raises."""
        self.close()
        await anyio.lowlevel.checkpoint()

    def statistics(self) -> ChannelStatistics:
        """Return what this edge has done so far."""
        self._settle()
        return statistics_of(self)

    @property
    def awaited_edges(self) -> tuple[ReceiveEnd[object], ...]:
        """The edges from any of which the next element may come: this one, or those that it merges and need not wait."""
        return (self,)

    def describe(self) -> str:
        """Return the edge's name, state and fill in a few words."""
        return f"{self.name} {self.state} {len(self._buffer)}/{self.capacity}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe()}>"

    def _finish(
        self, state: ChannelState, *, reason: CloseReason = "no_more_needed", cause: BaseException | None = None
    ) -> None:
        """Enter a terminal state; the first one wins. The reader's own end also drops what a finished writer left behind."""
        if self._is_joined:
            self._leave_line()
        if state == "cancelled":
            self._closed = True
            if self._buffer or self._aside:
                self._discard(reason)
        if self.state != "open":
            return
        sender, self.state, self._sender = self._sender, state, None  # the ends no longer know each other: no garbage
        if sender is not None:
            sender._limit = -1
            sender._debtor = None
        if state != "completed":
            self.reason, self._cause = reason, cause
        if self._waiter is not None:
            self._wake()
        if self._turns:
            self._wake_senders()
        if state == "cancelled" and sender is not None and sender._fork is not None:
            essential_to = sender._fork()
            if essential_to is not None:
                essential_to.lose_essential()

    def _raise_unless_completed(self) -> None:
        # The end itself is raised by the callers, as a class: an exception in a local of the frame that raises it is a cycle.
        if self._closed:
            raise ChannelClosedError(self.name)
        if self.state == "failed":
            raise ChannelFailedError(self.name) from self._cause

    def _accepts(self, item: object) -> bool:
        return type(item) in self._plain or self._admit(item)

    def _take(self) -> T_co:
        item: T_co = self._count(self._pop())
        return item

    def _pop(self) -> T_co:
        item = self._buffer.popleft()
        if type(item) not in self._plain:
            self.attention -= 1
        if self._turns and len(self._buffer) <= self._low:
            self._wake_sender()
        return item

    def _count(self, item: Any) -> Any:
        self.received += 1
        if self._watch is not None:
            self._watch.on_received(item)
        if self._copies is not None:
            self._copies.take(item, is_accepted=self._accepts(item))
        return item

    async def _receive_unusual(self) -> T_co | None:  # noqa: C901, PLR0912 - one loop over all that there may be
        """Receive where the fast path does not: the end, one to pass by, a wide or watched edge; None: look again."""
        if self._receiving:
            raise ChannelBusyError(self.name)
        hand = self._hand
        if hand is not None:
            if hand.is_due:
                if self._gate is not None:
                    await self._gate.open()
                return cast("T_co", hand.give())
            hand.clear()
        while True:
            if self._wide and self.received >= self._checkpoint_at:
                await self._take_checkpoint()
            if self._is_refilled and not self._buffer:
                self._refill()
            if self._buffer and not self.attention:
                return None
            if not self._buffer and self.state == "open":
                if self.capacity > WIDE:
                    self._reopen_sender()
                return None
            if self._buffer and self._accepts(self._buffer[0]):
                if self._gate is not None:
                    await self._gate.open()
                    continue
                if type(self._buffer[0]) in self._plain:
                    self._owes = True
                else:
                    self._note(self._buffer[0])
                return self._take() if hand is None else hand.hold(self._take())
            if self.at_end:
                self.end_was_told = True
                self._raise_unless_completed()
                raise StopAsyncIteration
            if self._aside is not None and self._owes:
                self._refuse_more_aside(self._aside)
                self._aside.append(self._pop())
            else:
                await self._pass_one()

    async def _take_checkpoint(self) -> None:
        self._begin_waiting()
        try:
            await give_way()
        finally:
            self._end_waiting()
        # An edge that is not wide itself, but pulled, or merges several, is moved along by one end alone.
        self._checkpoint_at = self.received + (BUDGET if self.capacity > WIDE else WIDE)
        self._reopen_sender()

    async def _pass_one(self) -> None:
        if self._forward is None or (self._copies is not None and self._copies.have_left(self._buffer[0])):
            self._take()
            return
        self._forward._examine(self._buffer[0])  # before it is taken: what the output refuses is not lost
        self._begin_waiting()
        self.is_passing_on = True
        try:
            await self._forward._send_in_turn(None, rest=self._rest_to_pass(), take=self._take)
        finally:
            self.is_passing_on = False
            self._end_waiting()
        if self._closed:  # by another task, while this one waited
            raise ChannelClosedError(self.name)

    def _rest_to_pass(self) -> Sequence[Any]:
        return self._buffer if self._copies is None else self._copies.still(self._buffer)

    def _begin_waiting(self) -> None:
        """From now on no other task can receive: `attention` sends it where it is refused."""
        self._receiving = True
        self.asked_at = self.position
        self.attention += 1

    def _end_waiting(self) -> None:
        self._receiving = False
        self.attention -= 1

    def provide_buffer(self) -> None:
        """Have a buffer, if there was none yet; see `_late`."""
        if self._buffer is NO_BUFFER:
            buffer: deque[T_co] = deque()
            self._buffer = buffer
            sender = self._sender
            if sender is not None:
                sender._buffer, sender._append = buffer, buffer.append
                if not self._turns and not self._is_fenced:
                    sender._limit = self.capacity if self.capacity <= WIDE else self._open_limit()

    def _reopen_sender(self) -> None:
        if self._sender is not None and not self._turns and not self._is_fenced:
            self._sender._limit = self._open_limit()

    def _open_limit(self) -> int:
        if self._buffer is NO_BUFFER:
            return 0
        return self.capacity if self.capacity <= WIDE else min(self.capacity, len(self._buffer) + BUDGET)

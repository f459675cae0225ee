"""Elements on their way through all functions of a chain in one go: from its first edge to its last, past the edges between.

Above: `runtime`, whose chains have one. Below: `_burst`, `_chained`, `_receive_end`, `_send_end`.

Rules, besides those of `_pump`:

1. *A burst goes through one function after the other*, each in its own context, which is entered once for all of it. What is on its
   way between two functions is in a list, and belongs to the edge between them, which is empty.
2. *Who looks, sees the edges*: before anybody counts what is in an edge of the line, ends it or sweeps it, as a function may have
   done to its own run, the line puts everything where it belongs (`settle()`), and its burst ends with what is in hand.
3. *A line is for what is plain*: it stops where an edge has something that needs a second look, where a stage is fenced or has
   ended, and at an outcome that is not plain, which is then dealt with as without a line, as is all that comes behind it.
4. *Who waits for room has nothing in hand*, so it need not be woken to give more: the reader that has made room has the
   functions called, in its own task, while the line's own stays where it waits. Whatever is unusual, an error that a function
   raises included, is kept for that one, which is then woken.
5. *A source that is pulled has its say*: past the checkpoint that its edge has to take, it is the run's consumer that takes it,
   when it asks for more; where a stage is behind, and on trio, where turns come in any order, the line's own task.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

import inspect
import weakref
from itertools import islice, pairwise
from operator import length_hint
from typing import TYPE_CHECKING, Any, Protocol

import anyio.lowlevel

from .._records import Record
from ._burst import OUTCOME, burst_of
from ._receive_end import BUDGET
from ._refilled import WIDE, drop, pull_when_asked
from ._wait import load_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ._pump import Unusual
    from ._receive_end import ReceiveEnd
    from ._send_end import SendEnd
    from ._wait import Turn

__all__ = ["Line", "LineCall"]


class _Run(Protocol):
    def __call__(self, func: Callable[..., Unusual], /, *args: object) -> Unusual: ...


class LineCall(Record, frozen=True):
    """One function of a line."""

    place: int
    """What `Line.at` is while it is called."""
    run: _Run
    """Calls something in its stage's context."""
    func: Callable[[object], object]
    """The function, given the element."""
    sends: object
    """What it returns if the element goes on as it is; `OUTCOME` if it is what it returns that goes on."""
    source: ReceiveEnd[object]
    """What its stage reads."""
    target: SendEnd[Any]
    """What its stage writes."""


class Line:
    """The functions of a chain between two edges.

    Args:
        calls: The functions, in the order in which elements pass them.
    """

    measure: Callable[[Callable[[], Unusual]], Unusual] | None = None
    """Calls what moves elements for another task, and measures it; None: nobody does."""
    _is_mixed = False  # elements of several lanes wait at an edge, see `_lane_line`

    def __init__(self, calls: Sequence[LineCall]) -> None:
        self.source: ReceiveEnd[object] = calls[0].source
        """Where elements are taken."""
        self.at: int = calls[0].place
        """The function that is being called, or was called last."""
        self._target = calls[-1].target
        self._target._peer.provide_buffer()  # all that moves is put there without a look
        self._put: Callable[[list[Any]], None] = self._target._peer._buffer.extend
        self._full = 0  # how much fits behind while it waits for room
        self._calls = tuple(
            (one.place, one.run, burst_of(one.sends), one.func, one.sends, one.target._peer._plain, one.source)
            for one in calls
        )
        self._between = tuple((one.source, before.target) for before, one in pairwise(calls))
        most = WIDE if self.source.capacity <= WIDE else BUDGET  # which has a checkpoint no later than that
        self._most = min([most, *(one.capacity for one, _ in self._between)])
        self._burst: tuple[list[Any], Iterator[Any], list[Any]] | None = None  # while it is moving
        self._turn: Turn | None = None  # while it waits for room
        self._is_asking = False  # and for what comes into its first edge
        self._is_left = False  # though there is room: the reader is to ask first
        self._left: Unusual = None
        self._error: BaseException | None = None
        self.is_settled: bool = False
        """Whether a burst was put into the edges between, which are to be emptied before anything else moves."""
        here: weakref.ref[Line] = weakref.ref(self)
        for one in calls:
            one.source._line, one.source._is_joined = here, True
        calls[-1].target._peer._line_before, calls[-1].target._peer._is_joined = here, True

    @property
    def has_in_hand(self) -> bool:
        """Whether the stage at `at` has an element in hand."""
        return self._burst is not None or self._left is not None or self._error is not None

    def has_left(self) -> bool:
        """Say whether there is something that only the chain's own task can deal with."""
        return self.is_settled or self._left is not None or self._error is not None

    @property
    def is_held_up(self) -> bool:
        """Whether there is something to take, or about to come, and no room for it."""
        target, source = self._target, self.source
        return (
            len(target._buffer) >= target._limit >= 0
            and not self._is_mixed
            and bool(source._buffer or source._turns or source._is_refilled)
        )

    async def arrival(self) -> None:
        """Wait while there is nothing to take, and nothing else to learn. Takes nothing; cancellation: at any time."""
        source = self.source
        if source._is_refilled:
            if source.received >= source._checkpoint_at:
                await source._take_checkpoint()
            return
        while not source._buffer and not source.attention and source.state == "open":
            waiter = source._waiter = (source._make_waiter or source._find_loop())()
            source._receiving = True
            source.asked_at = source.received
            source.attention += 1
            for overseer in source._overseers:
                overseer.look()
            pulse = source._pulse
            if pulse is not None:
                pulse.runnable -= 1
                if pulse.runnable <= 0:
                    pulse.suspect()
            try:
                await waiter
            finally:
                if pulse is not None and source._waiter is waiter:  # nobody has woken it
                    pulse.runnable += 1
                source._waiter = None
                source._receiving = False
                source.attention -= 1

    def is_clear(self) -> bool:
        """Say whether there is something to take, and nothing unusual on the way; pull some, where nothing is there."""
        source = self.source
        if not source._buffer and source._is_refilled and source.received < source._checkpoint_at:
            source._refill()
        if not source._buffer or source.attention or self._target._limit < 0:
            return False
        if source.capacity > WIDE and source.received >= source._checkpoint_at:
            return False
        for edge, end in self._between:
            if edge.attention or edge._buffer or end._limit < 0:
                return False
        return not self._is_mixed or self._is_sorted()

    def move(self) -> Unusual:
        """Have what is there go through all functions, while there is room; to be called when the line `is_clear()`.

        Returns:
            The element and the outcome of the function at `at`, if that is unusual: to be dealt with before anything else moves.

        Raises:
            Exception: What the function at `at` raises. Its element is gone; what others have given before is where it belongs.
        """
        source, target = self.source, self._target
        taken, behind = source._buffer, target._peer
        ready = behind._buffer
        most = (target._limit if self._turn is None else self._full) - len(ready)
        most = min(most, self._most)
        batch: list[Any] = [*taken] if len(taken) <= most else [*islice(taken, max(most, 0))]
        source.asked_at = -1  # from now on it has something in hand
        try:
            for place, run, burst, func, sends, plain, edge in self._calls:
                given: list[Any] = []
                coming = iter(batch)
                self.at, self._burst = place, (batch, coming, given)
                unusual = run(burst, func, coming, given, plain)
                if unusual is not None or self.is_settled:
                    return self._stop(unusual, given, sends)
                edge.received += len(batch)
                if edge is source:
                    drop(taken, len(batch))
                batch = given
            self._put(batch)
        except BaseException:
            self.settle()
            raise
        finally:
            # Who waits at the other ends is told once for all that was moved.
            self._burst = None
            if source._turns and len(taken) <= source._low:
                source._wake_sender()
            if ready:
                line = None if behind._line is None else behind._line()
                if (line is None or not line.push()) and behind._waiter is not None:
                    behind._wake(load_of(len(ready)))
        return None

    def _stop(self, unusual: Unusual, given: list[Any], sends: object) -> Unusual:
        """End a burst; return what is still to be dealt with: what is unusual, or what was in hand when the burst was settled."""
        if unusual is None and given:
            unusual = given[0], given[0] if sends is OUTCOME else sends
        self.settle()
        return unusual

    def settle(self) -> None:
        """Put what is on its way where it belongs, and have the burst end with what is in hand. Idempotent, outside a burst too."""
        if self._is_left:
            self._take_back()
            self.wake()
        if self._burst is None or self.is_settled:
            return
        self.is_settled = True
        batch, coming, given = self._burst
        begun = len(batch) - length_hint(coming)
        place = self.at - self._calls[0][0]
        source = self._calls[place][-1]
        source.received += begun
        if source is self.source:
            drop(source._buffer, begun)
        else:
            source.provide_buffer()
            source._buffer.extend(batch[begun:])
        if place < len(self._between):
            behind = self._between[place][0]
            behind.provide_buffer()
            behind._buffer.extend(given)
        else:
            self._put(given)
        batch.clear()
        given.clear()

    async def room(self) -> None:
        """Wait until there is room, with nothing in hand; meanwhile, who reads may have elements move.

        What is unusual then is `kept()`.

        Cancellation: what is on its way stays where it is.

        Raises:
            OutputClosedError: If the reader has gone.
        """
        target, peer = self._target, self._target._peer
        self._turn = turn = target._queue_up(None)
        self._full = peer._open_limit()
        if peer.capacity <= WIDE:
            peer._give_more = self._lend
        try:
            if peer.capacity > WIDE:
                await anyio.lowlevel.checkpoint()
            while self._must_wait(turn):
                if peer._give_more is not None:
                    peer._low = 0  # as much as there can be in one go: nobody is woken for it
                try:
                    await target._turn_to_come(turn)
                finally:
                    self._ask_no_more(turn)
                if self.source._is_refilled:  # that was a turn of the event loop, for the line's task and for who reads
                    self.source._checkpoint_at = self.source.received + WIDE
            if not self.has_left():
                target._raise_if_closed()
        except BaseException:  # what is kept is in nobody's hands any more
            self._give_up()
            raise
        finally:
            self._take_back()
            peer._give_more = self._turn = None
            target._leave_queue(turn)

    def _must_wait(self, turn: Turn) -> bool:
        """Say whether there is no room yet, and nothing else to do."""
        return self._target._must_wait(turn) and not self.has_left() and not self._is_mixed

    def _lend(self) -> bool:
        """Move something for the reader that has made room; say whether it was done, else the line's task is to be woken."""
        if not self._move_for_another():
            return self._leave_to_reader()
        if self.source._is_driven and self._ask():
            self._target._peer._low = -1  # until there is something to move, which its writer tells
            return True
        return bool(self._target._buffer) or self._ask() or self._leave_to_reader()

    def _leave_to_reader(self) -> bool:
        """Have the consumer take the checkpoint that is due, and ask again: if it comes at once, no task need be woken."""
        source, behind, turn = self.source, self._target._peer, self._turn
        if turn is None or turn.waiter is None or turn.waiter.done() or self.has_left() or source._buffer:
            return False
        if not source._is_refilled or source.received < source._checkpoint_at:
            return False
        if behind._pulse is behind._senders_pulse or behind._relay is not None or behind._together is None:
            return False  # a stage, which may look without waiting, or a merge; or turns come in any order, as on trio
        pull_when_asked(behind, self._go_on)
        behind._checkpoint_at = behind.received
        self._is_left = True
        return True

    def _go_on(self) -> None:
        """Move something for the reader, which asks; if it has let nobody else run, the line's task does."""
        source, behind = self.source, self._target._peer
        others_had_their_turn = behind._checkpoint_at > behind.received
        self._take_back()
        if others_had_their_turn:
            source._checkpoint_at = source.received + WIDE
            behind._wake_sender()
        else:
            self.wake()

    def _take_back(self) -> None:
        """Leave nothing to the reader any more."""
        if self._is_left:
            self._is_left = self._target._peer._wide = False
            pull_when_asked(self._target._peer, None)

    def mix(self) -> None:
        """Know that elements of several lanes wait at one end: the chain's own task takes them, one by one."""
        self._is_mixed = True
        self.wake()

    def _is_sorted(self) -> bool:
        """Say whether all that waits at either end is of one lane again."""
        return True

    def push(self) -> bool:
        """Move what has been put into the first edge, for who has done that; say whether the line's task need not look itself."""
        behind = self._target._peer
        if behind._give_more is None:
            return False
        behind._low = 0
        is_done = self._move_for_another()
        if not is_done:
            self.wake()
        return is_done

    def hear_pause(self, *, may_call: bool) -> None:
        """Hear that who writes the first edge, which is driven, is about to wait, and not for room there.

        Args:
            may_call: Whether the functions may be called now.
        """
        if not (may_call and self.push()):
            self.wake()

    def wake(self) -> None:
        """Have the line's own task look again, if it waits for room."""
        if self._turn is not None:
            self._target._peer._wake_turn(self._turn)

    def _move_for_another(self) -> bool:
        """Move what is there for another task, while the line's own waits for room; say whether that one may go on waiting."""
        turn, behind = self._turn, self._target._peer
        if turn is None or turn.waiter is None or turn.waiter.done():
            return False
        if self.is_settled or self._left is not None or self._error is not None:  # `has_left()`, without the call
            return False
        if len(behind._buffer) >= self._full:
            return True
        if not self.is_clear():
            return self._ask()
        try:
            self._left = self.move() if self.measure is None else self.measure(self.move)
        except BaseException as error:  # noqa: BLE001 - kept for the task whose function it is
            self._error = error
        is_done = self._left is None and self._error is None and not self.is_settled
        if is_done and (behind._buffer or not self.source._buffer):
            return True
        self.wake()  # also where all that there was room for has been dropped: nobody reads there who would ask for the rest
        return False

    def _ask(self) -> bool:
        """Wait for what comes, too; say whether its writer is driven, or is a line, else nobody would have this one go on.

        Such a writer has this one go on (`push()`); what else comes into the edge of a line wakes the task, as it wakes any reader.
        """
        source, turn = self.source, self._turn
        if turn is None or source._buffer or source.attention or source.state != "open":
            return False
        if self._target._limit < 0:
            return False
        if source._is_driven:
            return True
        if source._line_before is None or source._line_before() is None:
            return False
        source._waiter, self._is_asking = turn.waiter, True
        return True

    def _ask_no_more(self, turn: Turn) -> None:
        """Know that the task has been woken, by one end or the other, or by both: it is to be counted as able to go on once."""
        source = self.source
        if self._is_asking and source._waiter is None:
            if turn.is_counted:
                turn.waiter, turn.is_counted = None, False
            elif source._pulse is not None:
                source._pulse.runnable -= 1
        elif self._is_asking:
            source._waiter = None
        self._is_asking = False

    def kept(self) -> Unusual:
        """Return what was kept when another task had elements move, or raise it: what `move()` would have."""
        left, self._left = self._left, None
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback holds this frame
        return left

    def _give_up(self) -> None:
        """Forget what was kept: nobody deals with it any more."""
        left, self._left, self._error = self._left, None, None
        if left is not None and inspect.iscoroutine(left[1]):
            left[1].close()

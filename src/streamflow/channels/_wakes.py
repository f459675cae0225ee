"""Who waits on an edge, and how they are woken: told to look again, and counted as able to go on.

Above: `_receive_end`, which is one. Below: `_wait`, `_pulse`. The rules that it keeps are those of `_bounded` and `_pulse`.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ._wait import load_of, waiter_factory

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from ._merge import Relay
    from ._pulse import Pulse
    from ._wait import Overseer, Round, Turn, Waiter

__all__ = ["Wakes"]


class Wakes(ABC):
    """The tasks that wait on one edge: its reader, and a queue of senders. The edge fills it."""

    # What the fast paths and every wait look at has a slot: without one Python finds an attribute fast only if few instances had
    # been made when its name was first set, which is not so in a large graph.
    __slots__ = (
        "_buffer",
        "_give_more",
        "_is_refilled",
        "_low",
        "_make_waiter",
        "_overseers",
        "_pulse",
        "_senders_pulse",
        "_together",
        "_turns",
        "_waiter",
        "capacity",
        "state",
    )

    _buffer: deque[Any]
    _turns: list[Turn]
    _waiter: Waiter | None
    _make_waiter: Callable[[], Waiter] | None
    _pulse: Pulse | None
    _senders_pulse: Pulse | None
    _low: int
    _overseers: tuple[Overseer, ...]  # merges below, and others: who wants to know that somebody waits here
    capacity: int
    _relay: Relay | None  # of the merge that reads this edge
    _together: Round | None  # wakes the tasks of a run; None: each is woken by itself
    _is_driven: bool
    _give_more: Callable[[], bool] | None  # does what the first sender would if it were woken, see `_line`

    def _find_loop(self) -> Callable[[], Waiter]:
        """Remember what makes waiters for the event loop that is running."""
        self._make_waiter = waiter_factory()
        return self._make_waiter

    def _add_turn(self, turn: Turn) -> None:
        if self._turns:
            self._turns.append(turn)
        else:
            self._turns = [turn]

    def _tell_overseers(self) -> None:
        """Tell who wants to know that somebody waits here."""
        for overseer in self._overseers:
            overseer.look()

    def _wake(self, load: int = 0) -> None:
        """Wake the reader; `load` as in `Round.wake()`."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            if self._pulse is not None:
                self._pulse.runnable += 1
            if self._together is not None and self._relay is None:  # a relay is no future
                self._together.wake(waiter, self._buffer, load)
            elif not waiter.done():
                waiter.set_result(None)

    def _wake_senders(self) -> None:
        for turn in self._turns:
            self._wake_turn(turn)

    def _wake_sender(self) -> None:
        if self._give_more is not None and self._give_more():
            return
        self._low = -1  # one call is enough until that sender has looked
        self._wake_turn(self._turns[0])

    def _wake_turn(self, turn: Turn) -> None:
        waiter, turn.waiter = turn.waiter, None
        if turn.is_counted:
            self._go_on(turn)
        if waiter is not None:
            if self._together is None:
                if not waiter.done():
                    waiter.set_result(None)
            elif self._give_more is not None:  # a line, which counts its wake-ups as turns of the event loop
                self._together.wake(waiter, (), -load_of(self.capacity))
            else:
                self._together.wake(waiter, (), load_of(self.capacity) if self._is_driven else self.capacity)

    def _go_on(self, turn: Turn) -> None:
        """Count a sender as able to go on."""
        turn.is_counted = False
        if self._senders_pulse is not None:
            self._senders_pulse.runnable += 1

    def _end_turn(self) -> None:
        """A sender has left the queue, with or without sending: let the next one look, or open the fast path again."""
        self._low = self.capacity // 2
        if self._turns and len(self._buffer) < self.capacity:
            self._wake_sender()
        self._reopen_sender()

    @abstractmethod
    def _reopen_sender(self) -> None:
        """Let senders have their fast path again, if nobody waits."""

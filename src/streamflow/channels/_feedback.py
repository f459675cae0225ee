"""The edge that leads back: how often each element has been around, and where the loop is entered.

Above: `_bounded` (opens it), `runtime` (decides when the loop has come to rest). Below: `_merge`, `_send_end`, `_receive_end`.

Rules, besides those of `_bounded` and `_merge`:

1. *What comes back goes first.* The merge at the entry takes from the feedback edge whenever there is something: a loop that
   takes new work first fills up.
2. *Rounds are known by position.* Where the round changes, the entry puts a marker in front: it passes every stage by behind the
   results of what came before it, so the feedback edge knows which round the elements have that are sent into it. What it
   carries is one round further. Markers do not leave the loop.
3. *Control is not fed back*, boundaries of turns included: it would circle for ever. It leaves by the other branches.
4. *An element that would go around too often* is an error where it is sent, or a counted drop.
5. *Once the loop has come to rest*, what stages still send into it (the last of what they kept) is dropped and counted.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Literal, Never, TypeVar

from .._records import Record
from ..elements import ControlElement, Marker, TurnEnd
from ..errors import RoundLimitError
from ._merge import MergeEnd
from ._receive_end import ReceiveEnd
from ._send_end import SendEnd
from ._wait import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..errors import CloseReason
    from ._control import ControlJoin
    from ._pulse import Pulse
    from ._watching import ChannelWatch

__all__ = ["FeedbackMergeEnd", "Rounds", "end_loop", "keep_markers_inside", "keep_rounds_inside", "open_feedback"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

_LIMIT = "max_rounds"


class Rounds(Record, frozen=True):
    """How often an element may go around."""

    entry: str
    """The input where the loop is entered; edges that lead back to the same one count together."""
    most: int | None
    """Most rounds; None: no limit."""
    on_limit: Literal["error", "drop"]
    """What to do with an element that would go around once more."""


class _RoundMarker(Marker, frozen=True, gc=False):
    """What is behind it, up to the next one, has come back so often."""

    entry: str
    rounds: int


class _FeedbackReceiveEnd(ReceiveEnd[T_co]):
    """The reading end; knows the round of each element."""

    def __init__(
        self, name: str, capacity: int, admit: Callable[[object], bool], watch: ChannelWatch | None, pulse: Pulse | None
    ) -> None:
        super().__init__(name, capacity, admit, watch, pulse)
        self.rounds: deque[int] = deque()

    def _pop(self) -> T_co:
        self.rounds.popleft()
        return super()._pop()

    def _discard(self, reason: CloseReason) -> None:
        super()._discard(reason)
        self.rounds.clear()

    def drop(self, item: object, reason: str) -> None:
        """Count an element that is not carried."""
        self._count_discarded(reason)
        if self._watch is not None:
            self._watch.on_refused(item, reason)


class _ControlTurn(Turn):
    """The place of what is not carried: it waits for those before it, never for room."""

    __slots__ = ()


class _FeedbackSendEnd(SendEnd[T_contra]):
    """The writing end: a `SendEnd` that takes control and drops it."""

    def __init__(self, peer: _FeedbackReceiveEnd[Any], rounds: Rounds) -> None:
        super().__init__(peer)
        self._reader = peer
        self._rounds = rounds
        self._round = 0  # of what is sent
        self._is_at_rest = False
        self._plain: set[type] = set()  # nothing is sent without a look at its round

    @property
    def _edges(self) -> tuple[ReceiveEnd[Any], ...]:
        return ()  # by which control could come somewhere

    def end_loop(self) -> None:
        """End the edge: the loop has come to rest."""
        self._is_at_rest = True
        self._reader._finish("completed")

    def _put(self, item: T_contra) -> None:
        if isinstance(item, ControlElement):
            if isinstance(item, _RoundMarker) and item.entry == self._rounds.entry:
                self._round = item.rounds
            elif isinstance(item, TurnEnd) and self._debtor is not None:
                self._debtor._owes = False
        elif self._is_at_rest:
            self._reader.drop(item, "no_more_needed")
        elif self._rounds.most is None or self._round < self._rounds.most:
            self._reader.rounds.append(self._round + 1)
            super()._put(item)
        elif self._rounds.on_limit == "drop":
            self._reader.drop(item, _LIMIT)
        else:
            raise RoundLimitError(self.name, self._rounds.most)

    def _raise_if_closed(self) -> None:
        if self._closed or not self._is_at_rest:
            super()._raise_if_closed()

    def _fits_above_limit(self, item: T_contra) -> bool:
        return self._is_at_rest or (isinstance(item, ControlElement) and self._limit >= 0 and not self._peer._turns)

    def _has_place(self, item: T_contra) -> bool:
        return super()._has_place(item) or self._fits_above_limit(item)

    def _queue_up(self, item: object) -> Turn:
        if not isinstance(item, ControlElement):
            return super()._queue_up(item)
        turn = _ControlTurn(item)
        self._peer._add_turn(turn)
        self._limit = min(self._limit, 0)
        return turn

    def _must_wait(self, turn: Turn) -> bool:
        if isinstance(turn, _ControlTurn) and self._peer._turns[0] is turn:
            return False
        return super()._must_wait(turn)


class FeedbackMergeEnd(MergeEnd[T_co]):
    """The reading end of the merge where a loop is entered.

    Args:
        name: What errors and statistics call it, as `merge → d`.
        inputs: The reading ends of the edges that it merges, those that lead back among them.
        admit: As in `open_channel()`.
        watch: Hears of every element that leaves the inputs.
        join: Joins the control elements that forks above have copied; None where there is no such fork.
        entry: The name of the input, by which edges that lead back know it.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[ReceiveEnd[T_co]],
        admit: Callable[[object], bool],
        watch: ChannelWatch | None = None,
        join: ControlJoin | None = None,
        *,
        entry: str,
    ) -> None:
        super().__init__(name, inputs, admit, watch, join)
        self._entry = entry
        self._round = 0

    def _next_ready(self) -> int | None:
        ready = super()._next_ready()
        waiting = self._join.held if self._join is not None else ()
        leading_back = (
            number
            for number, edge in self._inputs.items()
            if edge._buffer and number not in waiting and isinstance(edge, _FeedbackReceiveEnd)
        )
        return None if ready is None else next(leading_back, ready)

    def _take_from(self, number: int, edge: ReceiveEnd[Any]) -> None:
        rounds = edge.rounds[0] if isinstance(edge, _FeedbackReceiveEnd) else 0
        if rounds != self._round and not isinstance(edge._buffer[0], ControlElement):
            self._round = rounds
            self._fill(_RoundMarker(self._entry, rounds))  # the element itself comes next
        else:
            super()._take_from(number, edge)


def open_feedback(
    capacity: int,
    rounds: Rounds,
    *,
    name: str,
    admit: Callable[[object], bool],
    watch: ChannelWatch | None = None,
    pulse: Pulse | None = None,
) -> tuple[SendEnd[T], ReceiveEnd[T]]:
    """Open an edge that leads back, and return its two ends; the reading one is for a `FeedbackMergeEnd`.

    Args:
        capacity: The bound, in elements, from 1 up.
        rounds: How often an element may go around.
        name: What errors and statistics call it, as `a → b`.
        admit: As in `open_channel()`.
        watch: Hears of every element.
        pulse: Counts the waits on both ends.
    """
    reader: _FeedbackReceiveEnd[T] = _FeedbackReceiveEnd(name, capacity, admit, watch, pulse)
    writer: SendEnd[T] = _FeedbackSendEnd(reader, rounds)
    reader._sender = writer
    return writer, reader


def keep_rounds_inside(edge: SendEnd[Never]) -> None:
    """Let no marker out of a loop by this edge."""
    edge._shuts_out = _RoundMarker


def keep_markers_inside(edge: SendEnd[Never]) -> None:
    """Let no marker out to the consumer by this edge."""
    edge._shuts_out = Marker


def end_loop(edge: SendEnd[Never]) -> None:
    """End an edge that leads back, because nothing comes any more; what is sent into it from now on is dropped and counted."""
    assert isinstance(edge, _FeedbackSendEnd)
    edge.end_loop()

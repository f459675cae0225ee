"""A merge turn by turn: nothing of a turn leaves before every input has come to its end; then input by input.

Above: `runtime`, which opens one where a graph joins by this policy. Below: `_merge`, `_control`.

A turn ends at an input with a `TurnEnd`, whoever has sent it: the same one that a fork has copied to all, or one of a stage's own.
An input is not waited for where it has ended, where it has passed over a `TurnEnd` that others have still to give, and where
nothing is on the way any more (see `_ways`).
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from ..elements import ControlElement, TurnEnd
from ..errors import ElementError
from ._control import TurnMarker
from ._merge import ChoosingEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..errors import CloseReason
    from ._control import ControlJoin
    from ._receive_end import ReceiveEnd
    from ._watching import ChannelState, ChannelWatch

__all__ = ["BarrierEnd"]

T_co = TypeVar("T_co", covariant=True)


class BarrierEnd(ChoosingEnd[T_co]):
    """Gives a turn when all inputs have come to its end: all of the first input, of the second one, …, then the end, once.

    Args:
        name: As for `MergeEnd`.
        inputs: As for `MergeEnd`.
        admit: As for `MergeEnd`.
        watch: As for `MergeEnd`.
        join: Joins what forks above have copied, all of it at the first copy.
        max_held: Most elements of one turn; with more, who reads gets an `ElementError`.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[ReceiveEnd[Any]],
        admit: Callable[[object], bool],
        watch: ChannelWatch | None = None,
        join: ControlJoin | None = None,
        *,
        max_held: int,
    ) -> None:
        super().__init__(name, inputs, admit, watch, join)
        self._holds_back = True
        self._max_held = max_held
        self._held: dict[int, list[Any]] = {number: [] for number in self._inputs}
        self._ends: dict[int, TurnEnd] = {}  # of the turn that is waited for, by the input that has shown it
        self._leaving: deque[tuple[int, Any]] = deque()
        self._ended: set[int] = set()  # inputs of which the join has not been told

    def _choose(self, ready: list[int]) -> int | None:
        waiting = [number for number in ready if self._is_read(number)]
        return next((number for number in waiting if number >= self._turn), waiting[0]) if waiting else None

    def _is_over(self, number: int) -> bool:
        """Say whether the end of the turn is not to be waited for at an input that has not shown it."""
        return self._join is not None and self._join.is_ahead(number, TurnEnd)

    def _take_from(self, number: int, edge: ReceiveEnd[Any]) -> None:
        item, join = edge._buffer[0], self._join
        if self._is_over(number):
            return  # what it shows is of the next turn, as has just been announced
        if join is not None and isinstance(item, ControlElement) and join.has_left(number, item):
            join.arrive(number, self._pull(number, edge))
            return
        if isinstance(item, TurnMarker):
            super()._take_from(number, edge)  # the turn has left, and this stands behind its end
            return
        if isinstance(item, TurnEnd):
            self._ends[number] = self._pull(number, edge)
            return
        count = sum(map(len, self._held.values()))
        if count >= self._max_held:
            message = (
                f"{self.name}: {count} elements wait until every input has come to the end of the turn, which is max_held; "
                "end turns more often, or allow more: barrier(max_held=…)"
            )
            raise ElementError(message)
        self._held[number].append(self._pull(number, edge))

    def _let_go(self) -> bool:
        if not self._leaving:
            if not all(number in self._ends or self._is_over(number) for number in self._inputs):
                return False
            for number, items in self._held.items():
                self._leaving += [(number, one) for one in items]
                items.clear()
            self._leaving += self._ends.items()
            self._ends = {}
        has_any = bool(self._leaving)
        if has_any:
            number, item = self._leaving.popleft()
            join = self._join
            if join is None or not isinstance(item, ControlElement) or join.arrive(number, item) == "pass":
                self._fill(item)
        if not self._leaving:
            self._forget_ended()
        return has_any

    def _drop_input(self, number: int) -> None:
        # Copies that it has shown are still to leave, so the join learns of its end behind them.
        del self._inputs[number]
        self._ended.add(number)

    def _forget_ended(self) -> None:
        for number in self._ended:
            if self._join is not None:
                self._join.end(number)
        self._ended.clear()

    def _awaited(self, join: ControlJoin) -> Sequence[tuple[int, ControlElement]]:
        missing = [number for number in self._inputs if number not in self._ends]
        return [(number, one) for one in self._ends.values() for number in missing if join.is_awaited(number, one)]

    def _is_read(self, number: int) -> bool:
        return number not in self._ends and not self._is_over(number)

    def _merged(self) -> tuple[list[ReceiveEnd[Any]], dict[int, ControlElement]]:
        return super()._merged()[0], {**self._ends}

    def _drop_kept(self, does_stay: Callable[[object], bool]) -> int:
        stale = [one for one in self._waits() if not does_stay(one)]
        for one in stale:
            self._throw_away(one, "stale")
        for items in self._held.values():
            items[:] = [one for one in items if does_stay(one)]
        self._leaving = deque(one for one in self._leaving if does_stay(one[1]))
        return len(stale)

    def _waits(self) -> Iterator[Any]:
        yield from (item for _, item in self._leaving)
        for items in self._held.values():
            yield from items
        yield from self._ends.values()

    def _left(self) -> Iterator[Any]:
        yield from super()._left()
        yield from self._waits()

    def _finish(
        self, state: ChannelState, *, reason: CloseReason = "no_more_needed", cause: BaseException | None = None
    ) -> None:
        super()._finish(state, reason=reason, cause=cause)
        for item in tuple(self._waits()):
            self._throw_away(item, reason)
        self._leaving.clear()
        self._held, self._ends = {}, {}

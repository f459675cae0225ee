"""Merges that choose: which input gives next, where what leaves is what came in. One after the other, by preference, or the first.

Above: `runtime`, which opens one where a graph joins by such a policy. Below: `_merge`.

They keep all rules of a merge but its fairness. Control that a fork has copied leaves at its first copy where waiting for the other
inputs would be against the policy: a concatenation does not read them, a race does not wait for them.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ..elements import ControlElement
from ._merge import ChoosingEnd, MergeEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._control import ControlJoin
    from ._receive_end import ReceiveEnd
    from ._watching import ChannelWatch

__all__ = ["ConcatEnd", "PriorityEnd", "RaceEnd"]

T_co = TypeVar("T_co", covariant=True)


class ConcatEnd(ChoosingEnd[T_co]):
    """Gives all of the first input, then all of the second one, and so on. Those that wait are not read, so they fill up."""

    def _choose(self, ready: list[int]) -> int | None:
        first = next(iter(self._inputs))
        return first if first == ready[0] else None

    def _is_read(self, number: int) -> bool:
        return bool(number == next(iter(self._inputs)))


class RaceEnd(MergeEnd[T_co]):
    """Gives what the first input gives that has data; the others are closed at that moment. Control decides nothing."""

    def _take_from(self, number: int, edge: ReceiveEnd[Any]) -> None:
        if len(self._inputs) > 1 and not isinstance(edge._buffer[0], ControlElement):
            for other, loser in tuple(self._inputs.items()):
                if other != number:
                    self._drop_input(other)
                    loser.close("no_more_needed")
        super()._take_from(number, edge)


class PriorityEnd(ChoosingEnd[T_co]):
    """Gives what the first input has, in their order, that has something; with weights, each so often for each time of the others.

    With weights it goes in rounds: an input gives at most its weight in a round, the one that has the largest part of it left goes
    first, and a round is over when none that has something may give. So none waits for more than `weight + 1` elements of each
    other.

    Args:
        name: As for `MergeEnd`.
        inputs: As for `MergeEnd`, the preferred one first.
        admit: As for `MergeEnd`.
        watch: As for `MergeEnd`.
        join: As for `MergeEnd`.
        weights: One integer from 1 up for each input; none: strict preference.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[ReceiveEnd[Any]],
        admit: Callable[[object], bool],
        watch: ChannelWatch | None = None,
        join: ControlJoin | None = None,
        *,
        weights: Sequence[int] = (),
    ) -> None:
        super().__init__(name, inputs, admit, watch, join)
        self._weights = tuple(weights)
        self._credit = list(weights)

    def _choose(self, ready: list[int]) -> int | None:
        if not self._weights:
            return ready[0]
        if not any(self._credit[number] for number in ready):
            self._credit = list(self._weights)
        return max(ready, key=lambda number: (self._credit[number] / self._weights[number], -number))

    def _pull(self, number: int, edge: ReceiveEnd[Any]) -> Any:
        if self._weights:
            self._credit[number] -= 1
        return super()._pull(number, edge)

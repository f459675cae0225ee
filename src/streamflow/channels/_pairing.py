"""Merges that make one element of several: one of each input, or the latest of each.

Above: `runtime`, which opens one where a graph joins by such a policy. Below: `_merge`, `_control`.

Elements are made when the reader asks. What makes them is called before anything is taken: if it raises, nothing was.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..elements import ControlElement
from ..errors import ElementError
from ._merge import ChoosingEnd, MergeEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..elements import StreamElement
    from ..errors import CloseReason
    from ._control import ControlJoin
    from ._receive_end import ReceiveEnd
    from ._watching import ChannelState, ChannelWatch

__all__ = ["ZipEnd", "ZipLatestEnd"]

T_co = TypeVar("T_co", covariant=True)

_UNPAIRED: Final = "unpaired"
"""Why data is discarded that found no partner."""


class _Combining(MergeEnd[T_co]):
    """Makes one element of those of its inputs.

    Args:
        name: As for `MergeEnd`.
        inputs: As for `MergeEnd`.
        admit: As for `MergeEnd`; asked about what is made.
        watch: Hears of what is made, and of what is discarded.
        join: As for `MergeEnd`. It aligns the boundaries of turns.
        combine: Makes the element of one data element of each input, in their order.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[ReceiveEnd[Any]],
        admit: Callable[[object], bool],
        watch: ChannelWatch | None = None,
        join: ControlJoin | None = None,
        *,
        combine: Callable[..., StreamElement],
    ) -> None:
        super().__init__(name, inputs, admit, watch, join)
        self._combine = combine

    @property
    def at_end(self) -> bool:
        return super().at_end and (self.state != "open" or not self._may_make())

    @abstractmethod
    def _may_make(self) -> bool:
        """Say whether something can be made of what is there, once all inputs have ended."""

    def _left(self) -> Iterator[Any]:
        yield from self._buffer
        yield from (one for one in super()._left() if isinstance(one, ControlElement))

    def _made(self, elements: Sequence[Any]) -> StreamElement:
        made = self._combine(*elements)
        self._admit(made)  # refuses what is no element
        if isinstance(made, ControlElement):
            message = f"{self.name}: combine= returned {made!r:.80}, which is control; return data"
            raise ElementError(message)
        return made

    def _is_control(self, number: int) -> bool:
        return isinstance(self._inputs[number]._buffer[0], ControlElement)


class ZipEnd(_Combining[T_co], ChoosingEnd[T_co]):
    """Makes an element of the first of each input, one of the second ones, and so on; ends when one input has ended and has none.

    Pairs do not cross the boundary of a turn that the inputs have in common: what is left before it is discarded and counted.
    """

    def _choose(self, ready: list[int]) -> int | None:
        control = next((number for number in ready if self._is_control(number)), None)
        if control is not None or len(ready) == self._count_of_inputs:
            return ready[0] if control is None else control
        return next((number for number in ready if self._is_left_over(number)), None)

    def _take_from(self, number: int, edge: ReceiveEnd[Any]) -> None:
        if self._is_control(number):
            super()._take_from(number, edge)
        elif self._is_left_over(number):
            self._throw_away(self._pull(number, edge), _UNPAIRED)
        else:
            made = self._made([one._buffer[0] for one in self._inputs.values()])
            for each, one in tuple(self._inputs.items()):
                self._pull(each, one)
            self._fill(made)

    def _is_read(self, number: int) -> bool:
        return not self._inputs[number]._buffer or self._lacks_none()

    def _is_left_over(self, number: int) -> bool:
        """Say whether another input has come to a boundary that this one has still to show."""
        join = self._join
        return join is not None and any(join.is_awaited(number, one) for one in join.held.values())

    def _arm(self) -> None:
        has_ended = len(self._inputs) < self._count_of_inputs
        if has_ended and not (self._join is not None and self._join.held):
            self._complete()
        else:
            super()._arm()

    def _may_make(self) -> bool:
        of_each = (any(not isinstance(one, ControlElement) for one in edge._buffer) for edge in self._inputs.values())
        return len(self._inputs) == self._count_of_inputs and all(of_each)


class ZipLatestEnd(_Combining[T_co]):
    """Makes an element whenever an input gives one, of it and the latest of the others, as soon as there is one of each.

    What is replaced before that is discarded and counted. It ends when all inputs have ended, or when one has that gave nothing.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[ReceiveEnd[Any]],
        admit: Callable[[object], bool],
        watch: ChannelWatch | None = None,
        join: ControlJoin | None = None,
        *,
        combine: Callable[..., StreamElement],
    ) -> None:
        super().__init__(name, inputs, admit, watch, join, combine=combine)
        self._latest: dict[int, Any] = {}

    def _take_from(self, number: int, edge: ReceiveEnd[Any]) -> None:
        if self._is_control(number):
            super()._take_from(number, edge)
            return
        latest = {**self._latest, number: edge._buffer[0]}
        is_complete = len(latest) == self._count_of_inputs
        made = self._made([latest[one] for one in range(len(latest))]) if is_complete else None
        self._pull(number, edge)
        if number in self._latest and not is_complete:
            self._throw_away(self._latest[number], _UNPAIRED)
        self._latest = latest
        if made is not None:
            self._fill(made)

    def _drop_kept(self, does_stay: Callable[[object], bool]) -> int:
        # What an input has given that has ended stays: no other will come.
        stale = [one for one in self._latest if one in self._inputs and not does_stay(self._latest[one])]
        if len(self._latest) < self._count_of_inputs:
            for number in stale:
                self._throw_away(self._latest[number], "stale")
        self._latest = {number: one for number, one in self._latest.items() if number not in stale}
        return len(stale)

    def _arm(self) -> None:
        is_hopeless = any(one not in self._inputs and one not in self._latest for one in range(self._count_of_inputs))
        if is_hopeless and not (self._join is not None and self._join.held):
            self._complete()
        else:
            super()._arm()

    def _may_make(self) -> bool:
        giving = {
            number
            for number, edge in self._inputs.items()
            if any(not isinstance(one, ControlElement) for one in edge._buffer)
        }
        return bool(giving) and len(giving | self._latest.keys()) == self._count_of_inputs

    def _finish(
        self, state: ChannelState, *, reason: CloseReason = "no_more_needed", cause: BaseException | None = None
    ) -> None:
        super()._finish(state, reason=reason, cause=cause)
        if len(self._latest) < self._count_of_inputs:
            for one in self._latest.values():
                self._throw_away(one, _UNPAIRED)
        self._latest = {}

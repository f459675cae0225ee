"""Control that passes a stage of several named inputs by: once, however many of the inputs it comes by.

Above: `_receive_end`, each time that something passes a stage by; `runtime`. Below: `_control`.

A stage reads its inputs as it likes, so none can be made to wait for another: what a fork has copied leaves at its first copy, and
the later ones are dropped. A copy that the stage accepts is the stage's own matter, and counts for none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..elements import ControlElement

if TYPE_CHECKING:
    from ._control import ControlJoin

__all__ = ["PortCopies"]


class PortCopies:
    """What one named input knows of the control that comes by the others too.

    Args:
        join: Joins the control of all inputs of the stage.
        number: Which of them this is.
    """

    def __init__(self, join: ControlJoin, number: int) -> None:
        self._join = join
        self._number = number

    def have_left(self, item: object) -> bool:
        """Say whether the same element has passed the stage by at another input."""
        return isinstance(item, ControlElement) and self._join.has_left(self._number, item)

    def take(self, item: object, *, is_accepted: bool) -> None:
        """Know that an element has left the input: to the stage, which accepts it, or past it."""
        if isinstance(item, ControlElement):
            (self._join.take if is_accepted else self._join.arrive)(self._number, item)

    def still(self, rest: Sequence[object]) -> Sequence[object]:
        """Return the head of `rest` as long as it has not passed the stage by at another input, else nothing."""
        return _Still(self, rest)


class _Still(Sequence[object]):
    def __init__(self, copies: PortCopies, rest: Sequence[object]) -> None:
        self._copies = copies
        self._rest = rest

    def __len__(self) -> int:
        return int(bool(self._rest) and not self._copies.have_left(self._rest[0]))

    def __getitem__(self, index: Any) -> Any:
        return self._rest[index]

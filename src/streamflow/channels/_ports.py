"""Control that passes a stage of several named inputs by: once, however many of the inputs it comes by.

Above: `_receive_end`, each time that something leaves an input; `runtime`. Below: `_control`.

A stage reads its inputs as it likes, so none can be made to wait for another: what a fork has copied leaves at its first copy.
Later copies are dropped once they stand first on their edge, whether the stage asks or not: they would fill edges that it does
not read while it waits at another. A copy that the stage accepts is the stage's own matter, and counts for none.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..elements import ControlElement

if TYPE_CHECKING:
    from ._control import ControlJoin
    from ._receive_end import ReceiveEnd

__all__ = ["PortCopies", "join_ports"]


def join_ports(join: ControlJoin, ends: Sequence[ReceiveEnd[object]]) -> None:
    """Let what forks have copied to several inputs of a stage pass it by once.

    Args:
        join: Knows what was copied; it aligns nothing.
        ends: What reads the inputs.
    """
    several = [weakref.ref(one) for one in ends]  # nothing waits for the garbage collector
    for number, one in enumerate(ends):
        one._copies = PortCopies(join, number, several)


class PortCopies:
    """What one named input knows of the control that comes by the others too.

    Args:
        join: Joins the control of all inputs of the stage.
        number: Which of them this is.
        ends: What reads each of them.
    """

    def __init__(self, join: ControlJoin, number: int, ends: Sequence[weakref.ref[ReceiveEnd[object]]]) -> None:
        self._join = join
        self._number = number
        self._ends = ends

    def have_left(self, item: object) -> bool:
        """Say whether the same element has passed the stage by at another input."""
        return isinstance(item, ControlElement) and self._join.has_left(self._number, item)

    def take(self, item: object, *, is_accepted: bool) -> None:
        """Know that an element has left the input: to the stage, which accepts it, or past it."""
        if not isinstance(item, ControlElement):
            self._drop_late()
        elif is_accepted:
            self._join.take(self._number, item)
        elif self._join.arrive(self._number, item) == "pass":
            for one in self._ends:
                end = one()
                if end is not None and end._copies is not None:
                    end._copies._drop_late()

    def _drop_late(self) -> None:
        """Drop the copies that stand first and are of what has left."""
        end = self._ends[self._number]()
        while end is not None and end._buffer and self.have_left(end._buffer[0]) and not end._accepts(end._buffer[0]):
            end._take()

    def still(self, rest: Sequence[object]) -> Sequence[object]:
        """Return the head of `rest` as long as it is there and has not passed the stage by at another input, else nothing."""
        return _Still(self, rest)


class _Still(Sequence[object]):
    def __init__(self, copies: PortCopies, rest: Sequence[object]) -> None:
        self._copies = copies
        self._rest = rest
        self._head = rest[0]

    def __len__(self) -> int:
        return int(bool(self._rest) and self._rest[0] is self._head and not self._copies.have_left(self._head))

    def __getitem__(self, index: Any) -> Any:
        return self._rest[index]

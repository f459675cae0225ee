"""What interruptions have to do with one end: the places of who waits there, and what they change of a reading end.

Above: `_receive_end`, `_send_end`; `_sweep`, which changes it. Below: `_wait`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..elements import TurnEnd
    from ._sweep import Fence, Herald
    from ._wait import Waiter

__all__ = ["SweptEnd", "Turn"]


class Turn:
    """The place of one waiting sender in the queue; it keeps the place however often the sender looks again."""

    __slots__ = ("item", "waiter")

    def __init__(self, item: object) -> None:
        self.item = item  # None once an interruption has dropped it
        self.waiter: Waiter | None = None


class SweptEnd:
    """A reading end as interruptions see it. All is told by the class until one comes, so that it costs no edge anything."""

    _gate: Fence | None = None  # around the stage that reads here: to be lifted before the next element is taken
    _is_fenced: bool = False  # the stage that writes here is
    herald: Callable[[], Herald | None] | None = None
    """Returns who hears of each `Interrupt` that is sent, before it enters; None: nobody does."""
    end_in_hand: TurnEnd | None = None
    """The last one that a reader which accumulates has taken, until it sends one."""
    in_hand: object = None
    """What the reader's awaited call works on, if the reader says so: the last element for which it has awaited one."""
    is_passing_on: bool = False
    """Whether a task waits to pass on the head, and must find it there."""

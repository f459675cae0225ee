"""How many tasks of a run can go on: none means that all of them wait for each other, or for the run's consumer.

Above: `_receive_end`, `_send_end`, `_bell`, which tell it of every wait; `runtime`, which counts tasks and looks closer.
Below: nothing.

Rules:

1. A wait takes one off *before* it begins, and *whoever wakes it* puts it back: a task that was woken and has not run yet counts.
2. A wait that is cancelled puts itself back, when its task runs.
3. So the count may for a moment be too low, never too high: when it is 0 or less, somebody has to look; and whenever nothing can
   go on, somebody was told to.
4. Ends that the run's user holds have none, until it matters whether the user waits: then one that counts nobody, and tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    from ._receive_end import ReceiveEnd
    from ._wait import Waiter

__all__ = ["Pulse"]


class Pulse:
    """Counts tasks that can go on. One class for all, and no subclass: where waits are counted, the interpreter knows its layout.

    Args:
        runnable: How many there are.
        suspect: Called when there is none any more, inline. Must not raise and must not wait.
    """

    __slots__ = ("between", "inner", "runnable", "suspect")

    def __init__(self, runnable: int, suspect: Callable[[], None]) -> None:
        self.runnable: int = runnable
        """Tasks that do not wait for an edge, or have been woken."""
        self.suspect: Callable[[], None] = suspect
        """To be called when that is 0 or less."""
        self.inner: dict[Waiter, None] | None = None
        """Waits of tasks for other tasks of the same stage, once there was one; see `_bell`."""
        self.between: weakref.WeakSet[ReceiveEnd[Any]] | None = None
        """Channels between tasks of the same stage, once there was one; see `_bell`."""

    def begin_wait(self) -> None:
        """Know that one task more waits."""
        self.runnable -= 1
        if self.runnable <= 0:
            self.suspect()

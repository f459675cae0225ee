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

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    from ._receive_end import ReceiveEnd
    from ._wait import Waiter

__all__ = ["Pulse", "Watcher"]


class Watcher(Protocol):
    """Looks what is the matter when nothing can go on."""

    def suspect(self) -> None:
        """Hear that perhaps nothing can go on. Must not raise and must not wait."""
        ...


class Pulse:
    """Counts tasks that can go on. One class for all, and no subclass: where waits are counted, the interpreter knows its layout.

    Args:
        runnable: How many there are.
        watcher: Returns who is told, inline, when there is none any more; None: nobody is. A weak link, as a rule: who is told
            holds what is counted.
    """

    __slots__ = ("_watcher", "between", "inner", "runnable")

    def __init__(self, runnable: int, watcher: Callable[[], Watcher | None]) -> None:
        self.runnable: int = runnable
        """Tasks that do not wait for an edge, or have been woken."""
        self._watcher = watcher
        self.inner: dict[Waiter, None] | None = None
        """Waits of tasks for other tasks of the same stage, once there was one; see `_bell`."""
        self.between: weakref.WeakSet[ReceiveEnd[Any]] | None = None
        """Channels between tasks of the same stage, once there was one; see `_bell`."""

    def suspect(self) -> None:
        """Tell that perhaps nothing can go on; to be called when `runnable` is 0 or less."""
        watcher = self._watcher()
        if watcher is not None:
            watcher.suspect()

    def begin_wait(self) -> None:
        """Know that one task more waits."""
        self.runnable -= 1
        if self.runnable <= 0:
            self.suspect()

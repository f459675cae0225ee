"""Waiting, on the event loop that is running: the one thing of an edge that differs between asyncio and trio.

Above: `_bounded`. Below: the event loop. A `Waiter` says "look again" and carries no value, so a wake-up that races with a
cancellation loses nothing. trio is imported only when it is the loop that runs.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import RunStateError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType

    import trio

__all__ = ["Waiter", "running_trio", "waiter_factory"]


class Waiter(Protocol):
    """One wait of one task: awaited once, woken at most once. An `asyncio.Future` is one."""

    def done(self) -> bool:
        """Say whether it was woken, or its task cancelled."""
        ...

    def set_result(self, result: None, /) -> None:
        """Wake the task; only when not `done()`."""
        ...

    def __await__(self) -> Generator[Any, Any, None]:
        """Wait until woken. Cancellation leaves the waiter `done()`."""
        ...


class _TrioWaiter:
    """A `Waiter` on trio."""

    __slots__ = ("_done", "_task")

    def __init__(self) -> None:
        self._done = False
        self._task: trio.lowlevel.Task | None = None

    def done(self) -> bool:
        return self._done

    def set_result(self, result: None, /) -> None:
        self._done = True
        if self._task is not None:  # else a watch closed the edge between the making and the waiting
            _trio().lowlevel.reschedule(self._task)

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._done = True
        return _trio().lowlevel.Abort.SUCCEEDED

    def __await__(self) -> Iterator[Any]:
        if self._done:
            return iter(())
        lowlevel = _trio().lowlevel
        self._task = lowlevel.current_task()
        # Handed on, not yielded from: one frame less on the way of every wake-up.
        return lowlevel.wait_task_rescheduled(self._abort).__await__()


def _trio() -> ModuleType:
    return sys.modules["trio"]


def running_trio() -> bool:
    """Say whether the calling task runs on trio."""
    trio_module = sys.modules.get("trio")
    return trio_module is not None and bool(trio_module.lowlevel.in_trio_task())


def waiter_factory() -> Callable[[], Waiter]:
    """Return what makes waiters for the running event loop.

    Raises:
        RunStateError: If no event loop is running in this thread.
    """
    if running_trio():
        return _TrioWaiter
    try:
        return asyncio.get_running_loop().create_future
    except RuntimeError:
        message = "a channel was waited on without a running event loop; use it inside asyncio or trio"
        raise RunStateError(message) from None

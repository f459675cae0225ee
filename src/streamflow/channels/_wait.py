"""Waiting, on the event loop that is running: the one thing of an edge that differs between asyncio and trio.

Above: `_bounded`. Below: the event loop. A `Waiter` says "look again" and carries no value, so a wake-up that races with a
cancellation loses nothing. trio is imported only when it is the loop that runs.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..errors import RunStateError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import trio

__all__ = ["Overseer", "Turn", "Waiter", "key_of_wait", "running_clock", "running_trio", "waiter_factory"]


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


class Overseer(Protocol):
    """Wants to know when somebody waits."""

    def look(self) -> None:
        """Hear that it is so. Must not raise and must not wait."""
        ...


class Turn:
    """The place of one waiting sender in the queue; it keeps the place however often the sender looks again."""

    __slots__ = ("is_counted", "item", "waiter")

    def __init__(self, item: object) -> None:
        self.item = item  # None once an interruption has dropped it
        self.waiter: Waiter | None = None
        self.is_counted = False  # its wait, by a pulse


@functools.cache
def _trio_waiter() -> type[Waiter]:
    """Return the `Waiter` of trio. Made when trio runs for the first time, so that it need not look for trio at every wait."""
    lowlevel = sys.modules["trio"].lowlevel
    current_task, reschedule, wait = lowlevel.current_task, lowlevel.reschedule, lowlevel.wait_task_rescheduled
    succeeded: trio.lowlevel.Abort = lowlevel.Abort.SUCCEEDED

    class TrioWaiter:
        __slots__ = ("_done", "_task")

        def __init__(self) -> None:
            self._done = False
            self._task: trio.lowlevel.Task | None = None

        def done(self) -> bool:
            return self._done

        def set_result(self, result: None, /) -> None:
            self._done = True
            if self._task is not None:  # else a watch closed the edge between the making and the waiting
                reschedule(self._task)

        def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
            self._done = True
            return succeeded

        def __await__(self) -> Generator[Any, Any, None]:
            if self._done:
                return _nothing()
            self._task = current_task()
            # Handed on, not yielded from: one frame less on the way of every wake-up.
            return cast("Generator[Any, Any, None]", wait(self._abort).__await__())

    return TrioWaiter


def key_of_wait(waiter: Waiter) -> object:
    """Return what tells which task waits: on trio that task, on asyncio the future that the task waits for."""
    return getattr(waiter, "_task", waiter)


def _nothing() -> Generator[Any, Any, None]:
    """Wait for nothing."""
    yield from ()


def running_trio() -> bool:
    """Say whether the calling task runs on trio."""
    trio_module = sys.modules.get("trio")
    return trio_module is not None and bool(trio_module.lowlevel.in_trio_task())


def running_clock() -> Callable[[], float]:
    """Return the clock of the running event loop, in seconds, to be read often.

    Raises:
        RuntimeError: If no event loop is running in this thread.
    """
    if running_trio():
        now_s: Callable[[], float] = sys.modules["trio"].current_time
        return now_s
    return asyncio.get_running_loop().time


def waiter_factory() -> Callable[[], Waiter]:
    """Return what makes waiters for the running event loop.

    Raises:
        RunStateError: If no event loop is running in this thread.
    """
    if running_trio():
        return _trio_waiter()
    try:
        return asyncio.get_running_loop().create_future
    except RuntimeError:
        message = "a channel was waited on without a running event loop; use it inside asyncio or trio"
        raise RunStateError(message) from None

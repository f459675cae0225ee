"""Tasks, on the event loop that is running: the one thing of the runtime that differs between asyncio and trio.

Above: `_engine`. Below: the event loop. Two implementations of one protocol; trio is imported only when it is the loop that runs.

A run's tasks are children of the event loop, not of the caller's frame, because a run may outlive the frame that made it: a bare
`async for` has no exit that could wait for them. The run itself is the group that they belong to: it starts them, cancels
them, counts them and waits for them.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

from ..channels import running_trio
from ..errors import RunStateError
from ._swallowing import REASON, Redelivery, Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

    import trio

    from ._swallowing import Pressure

__all__ = ["Backend", "Task", "current_backend", "loop_is_running"]


class Task(Protocol):
    """A started task."""

    def cancel(self, swallowed: Callable[[str], None]) -> Pressure:
        """Ask it to end at its next await, and go on asking; to be called once, from the loop's own thread.

        Args:
            swallowed: Told, once, where the task is when it has swallowed its cancellation and gone on.
        """
        ...


class Backend(Protocol):
    """What the runtime needs from an event loop."""

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str, context: Context) -> Task:
        """Start a task that runs in `context`. The coroutine lets nothing out but its own cancellation."""
        ...

    def is_here(self) -> bool:
        """Say whether the calling code runs on this very loop."""
        ...

    def now(self) -> float:
        """Return the loop's time, in seconds; from any thread."""
        ...

    def call(self, func: Callable[[], None]) -> None:
        """Call `func` on the loop, at once if called there, else soon; from any thread. Does nothing once the loop has ended."""
        ...

    def call_soon(self, func: Callable[[], object]) -> None:
        """Call `func` on the loop in a turn of its own; from any thread, and from a signal handler. Nothing once it has ended."""
        ...


class _AsyncioTask:
    __slots__ = ("_loop", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
        self._loop = loop
        self._task = task

    def cancel(self, swallowed: Callable[[str], None]) -> Pressure:
        return Redelivery(self._task, self._loop.call_later, swallowed)


class _AsyncioBackend:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str, context: Context) -> Task:
        return _AsyncioTask(self._loop, self._loop.create_task(coroutine, name=name, context=context))

    def is_here(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def now(self) -> float:
        return self._loop.time()

    def call(self, func: Callable[[], None]) -> None:
        if threading.get_ident() == self._thread:
            if not self._loop.is_closed():
                func()
            return
        self.call_soon(func)

    def call_soon(self, func: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(func)
        except RuntimeError:  # the loop was closed, and its tasks with it
            return


class _TrioTask:
    """A system task with a cancel scope of its own."""

    __slots__ = ("_scope", "_task")

    def __init__(self, scope: trio.CancelScope, task: trio.lowlevel.Task) -> None:
        self._scope = scope
        self._task = task

    def cancel(self, swallowed: Callable[[str], None]) -> Pressure:
        throttle = Throttle(self._task.coro, swallowed)
        task: Any = self._task
        task.coro = throttle
        self._scope.cancel(reason=REASON)
        return throttle


class _TrioBackend:
    def __init__(self) -> None:
        self._trio = sys.modules["trio"]
        self._token = self._trio.lowlevel.current_trio_token()
        self._clock = self._trio.lowlevel.current_clock()
        self._thread = threading.get_ident()

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str, context: Context) -> Task:
        scope = self._trio.CancelScope()
        task = self._trio.lowlevel.spawn_system_task(_in_scope, scope, coroutine, name=name, context=context)
        return _TrioTask(scope, task)

    def is_here(self) -> bool:
        return running_trio() and self._trio.lowlevel.current_trio_token() is self._token

    def now(self) -> float:
        time: float = self._clock.current_time()
        return time

    def call(self, func: Callable[[], None]) -> None:
        if threading.get_ident() == self._thread:
            func()
            return
        self.call_soon(func)

    def call_soon(self, func: Callable[[], object]) -> None:
        try:
            self._token.run_sync_soon(func)
        except self._trio.RunFinishedError:
            return


async def _in_scope(scope: trio.CancelScope, coroutine: Coroutine[Any, Any, None]) -> None:
    with scope:
        await coroutine


def current_backend() -> Backend:
    """Return the backend of the running event loop.

    Raises:
        RunStateError: If none is running in this thread.
    """
    if running_trio():
        return _TrioBackend()
    try:
        return _AsyncioBackend()
    except RuntimeError:
        message = "a run needs an event loop; use execute_sync() or stream_sync() where there is none"
        raise RunStateError(message) from None


def loop_is_running() -> bool:
    """Say whether the calling code runs inside an event loop of asyncio or trio."""
    if running_trio():
        return True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

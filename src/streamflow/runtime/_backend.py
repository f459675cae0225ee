"""Tasks, on the event loop that is running: the one thing of the runtime that differs between asyncio and trio.

Above: `_engine`. Below: the event loop. Two implementations of one protocol; trio is imported only when it is the loop that runs.

A run's tasks are children of the event loop, not of the caller's frame, because a run may outlive the frame that made it: a bare
`async for` has no exit that could wait for them. The run itself is the group that they belong to: it starts them, cancels
them, counts them and waits for them.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import weakref
from contextlib import ExitStack
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import anyio

from .._records import Record
from ..channels import running_trio
from ..errors import RunStateError
from ._ctrl_c import CtrlC
from ._late_means import LateMeans
from ._swallowing import REASON, Mark, Redelivery, Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    import trio

    from ._swallowing import Pressure

__all__ = ["Backend", "KeptLoop", "Task", "TaskView", "current_backend", "keep_loop", "loop_is_running", "run_once"]

T = TypeVar("T")


class Task(Protocol):
    """A started task, for whoever cancels it."""

    def press(self, swallowed: Callable[[str], None]) -> Pressure:
        """Ask it to end at its next await, and go on asking; to be called once, from the loop's own thread.

        Args:
            swallowed: Told, once, where the task is when it has swallowed its cancellation and gone on.
        """
        ...

    def cancel(self) -> None:
        """Ask it to leave what it is doing at its next await. Idempotent; only from the loop's own thread."""
        ...

    def uncancel(self) -> int:
        """Take one `cancel()` back that has come out of what the task was doing, and return how many are left. Only in the task."""
        ...


class Backend(Protocol):
    """What the runtime needs from an event loop."""

    def spawn(
        self,
        coroutine: Coroutine[Any, Any, None],
        name: str,
        context: Context,
        struck: Callable[[object], None] | None = None,
    ) -> object:
        """Start a task that runs in `context`, and return it. The coroutine lets nothing out but its own cancellation.

        Where a task can end before its first step, `struck` is called when it has, with whatever; not once it `has_begun()`.
        """
        ...

    def has_begun(self, task: object, struck: Callable[[object], None]) -> None:
        """Know that the coroutine of a task has begun; to be called by that, first of all."""
        ...

    def hold(self, task: object) -> Task:
        """Return what cancels a task that this backend has started. Most are never cancelled."""
        ...

    def is_here(self) -> bool:
        """Say whether the calling code runs on this very loop."""
        ...

    def now(self) -> float:
        """Return the loop's time, in seconds; from any thread."""
        ...

    def clock(self) -> Callable[[], float]:
        """Return what tells the loop's time, in as few calls as can be; for what asks often."""
        ...

    def call(self, func: Callable[[], None]) -> None:
        """Call `func` on the loop, at once if called there, else soon; from any thread. Does nothing once the loop has ended."""
        ...

    def call_soon(self, func: Callable[[], object]) -> None:
        """Call `func` when no task is at work; from any thread, and from a signal handler. Does nothing once the loop has ended."""
        ...

    def look_at(self, task: object) -> TaskView:
        """Return what there is to see of a task that this backend has started."""
        ...

    def contexts(self) -> Iterator[tuple[object, Context]]:
        """Yield every task of the loop that has not ended, and its context."""
        ...


class TaskView(Record, frozen=True):
    """What there is to see of a task from outside."""

    task: object
    """The event loop's own."""
    key: object
    """Tells what it waits for, see `channels.waits_on()`."""
    coroutine: object
    """What it runs."""


class _AsyncioTask:
    __slots__ = ("_loop", "_mark", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
        self._loop = loop
        self._mark: weakref.ref[Mark] | None = None  # in the cancellation that is to be taken back
        self._task = task

    def press(self, swallowed: Callable[[str], None]) -> Pressure:
        return Redelivery(self._task, self._loop.call_later, swallowed, self._mark)

    def cancel(self) -> None:
        mark = Mark()
        self._mark = weakref.ref(mark)
        self._task.cancel(mark)

    def uncancel(self) -> int:
        self._mark = None
        return self._task.uncancel()


class _AsyncioBackend:
    __slots__ = ("_loop", "_thread")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def spawn(
        self,
        coroutine: Coroutine[Any, Any, None],
        name: str,
        context: Context,
        struck: Callable[[object], None] | None = None,
    ) -> object:
        task = self._loop.create_task(coroutine, name=name, context=context)
        if struck is not None:
            task.add_done_callback(struck, context=context)
        return task

    def has_begun(self, task: Any, struck: Callable[[object], None]) -> None:
        # Called back, the task would outlive its last step by a turn of the loop, and all that its context holds with it.
        task.remove_done_callback(struck)

    def hold(self, task: object) -> Task:
        return _AsyncioTask(self._loop, cast("asyncio.Task[None]", task))

    def is_here(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def now(self) -> float:
        return self._loop.time()

    def clock(self) -> Callable[[], float]:
        is_usual = getattr(type(self._loop), "time", None) is asyncio.BaseEventLoop.time
        return time.monotonic if is_usual else self._loop.time

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

    def look_at(self, task: object) -> TaskView:
        its = cast("asyncio.Task[None]", task)
        # The future that it waits for; a task of another make may not tell, and is then taken for one that runs.
        return TaskView(its, getattr(its, "_fut_waiter", None), its.get_coro())

    def contexts(self) -> Iterator[tuple[object, Context]]:
        for task in asyncio.all_tasks(self._loop):
            # Python 3.11 has no get_context().
            context = next((one for one in gc.get_referents(task) if isinstance(one, Context)), None)
            if context is not None:
                yield task, context


class _TrioTask:
    """A system task with a cancel scope of its own: always one, which is replaced once it was cancelled and that is taken back."""

    def __init__(self, make_scope: Callable[[], trio.CancelScope]) -> None:
        self._make_scope = make_scope
        self._scope = make_scope()
        self.task: trio.lowlevel.Task

    def press(self, swallowed: Callable[[str], None]) -> Pressure:
        throttle = Throttle(self.task.coro, swallowed)
        task: Any = self.task
        task.coro = throttle
        self.cancel()
        return throttle

    def cancel(self) -> None:
        self._scope.cancel(reason=REASON)  # the first reason stays, so an interruption that is pressed on has it too

    def uncancel(self) -> int:
        self._scope.__exit__(None, None, None)
        self._scope = self._make_scope()
        self._scope.__enter__()
        return 0

    async def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run the coroutine, which lets nothing out."""
        self._scope.__enter__()
        try:
            await coroutine
        finally:
            self._scope.__exit__(None, None, None)


class _TrioBackend:
    def __init__(self) -> None:
        self._trio = sys.modules["trio"]
        self._token = self._trio.lowlevel.current_trio_token()
        self._clock = self._trio.lowlevel.current_clock()
        self._thread = threading.get_ident()

    def spawn(
        self,
        coroutine: Coroutine[Any, Any, None],
        name: str,
        context: Context,
        struck: Callable[[object], None] | None = None,
    ) -> object:
        task = _TrioTask(self._trio.CancelScope)
        task.task = self._trio.lowlevel.spawn_system_task(task.run, coroutine, name=name, context=context)
        return task

    def has_begun(self, task: object, struck: Callable[[object], None]) -> None:
        """Do nothing: a task of trio takes its first step whatever comes."""

    def hold(self, task: object) -> Task:
        return cast("_TrioTask", task)

    def is_here(self) -> bool:
        return running_trio() and self._trio.lowlevel.current_trio_token() is self._token

    def now(self) -> float:
        seconds: float = self._clock.current_time()
        return seconds

    def clock(self) -> Callable[[], float]:
        current: Callable[[], float] = self._clock.current_time
        return current

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

    def look_at(self, task: object) -> TaskView:
        its = cast("_TrioTask", task).task
        coroutine: Any = its.coro
        return TaskView(its, its, coroutine.coroutine if isinstance(coroutine, Throttle) else coroutine)

    def contexts(self) -> Iterator[tuple[object, Context]]:
        root = self._trio.lowlevel.current_root_task()
        waiting = [] if root is None else [root]
        while waiting:
            task = waiting.pop()
            yield task, task.context
            waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


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


class KeptLoop(Protocol):
    """An event loop for blocking calls, one after the other, from the thread that opened it."""

    def run(self, work: Callable[[], Coroutine[Any, Any, T]], *, is_last: bool = False) -> T:
        """Run `work()` to its end, and return what it returns; if it is the last, the loop is tidied up in the same go."""
        ...

    def close(self) -> None:
        """End the loop, and whatever is still at work there. Idempotent."""
        ...


class _LateLoop(LateMeans, asyncio.SelectorEventLoop):
    """The usual event loop, without what it takes to wait until it does."""


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop that `asyncio.run()` would use."""
    if sys.version_info < (3, 14):  # in which there are policies, and whose loops we know
        known: Any = asyncio
        policy = known.get_event_loop_policy()
        if type(policy) is known.DefaultEventLoopPolicy and policy._loop_factory is asyncio.SelectorEventLoop:  # noqa: SLF001
            return _LateLoop()
    return asyncio.new_event_loop()


class _KeptAsyncio:
    """What `asyncio.Runner` does, in as few turns of the loop as can be: it costs as much as a short run."""

    def __init__(self) -> None:
        self._loop = _new_loop()
        self._is_tidy = False
        self._is_closing = False
        self._awaited: object = None  # tells the call that waits for its end from one that was left in the middle
        asyncio.set_event_loop(self._loop)

    def run(self, work: Callable[[], Coroutine[Any, Any, T]], *, is_last: bool = False) -> T:
        call = self._awaited = object()
        task = self._loop.create_task(self._run(work, call, is_last=is_last))
        task.add_done_callback(self._stop)  # of one that is cancelled before its first step no line runs

        def cancel() -> bool:
            if task.done():
                return False
            task.cancel()
            self._loop.call_soon_threadsafe(_wake_up)
            return True

        with CtrlC(cancel) as ctrl_c:
            try:
                self._loop.run_forever()
                if not task.done():
                    message = "the event loop of a blocking call was stopped by its own work"
                    raise RuntimeError(message)
                return task.result()
            except asyncio.CancelledError:
                if ctrl_c.was_heard and task.uncancel() == 0:
                    raise KeyboardInterrupt from None
                raise
            finally:
                self._awaited = None
                task.remove_done_callback(self._stop)

    async def _run(self, work: Callable[[], Coroutine[Any, Any, T]], call: object, *, is_last: bool) -> T:
        task = asyncio.current_task()
        assert task is not None, "it is run by one"
        task.remove_done_callback(self._stop)
        try:
            return await work()
        finally:
            if is_last and not self._is_closing:  # else it is what is tidied up
                await self._tidy_up()
            if self._awaited is call:
                self._loop.stop()  # with this step, and not by a callback in one more turn

    def _stop(self, _task: asyncio.Task[Any]) -> None:
        self._loop.stop()

    async def _tidy_up(self) -> None:
        """End all other tasks, then generators that were left in the middle, then threads. Waits only where there are any."""
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.gather(*left, return_exceptions=True)
        for task in left:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                message = "a task that was left at the end of a blocking call has failed"
                self._loop.call_exception_handler({"message": message, "exception": error, "task": task})
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()
        self._is_tidy = True

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._is_closing = True
        try:
            if not self._is_tidy:
                self._loop.run_until_complete(self._tidy_up())
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()


def _wake_up() -> None:
    """Let a loop that waits for the system look again."""


class _KeptTrio:
    """trio cannot be left and entered again, so it runs in a thread of its own."""

    def __init__(self) -> None:
        from anyio.from_thread import start_blocking_portal  # noqa: PLC0415 - most programs need no such thread

        self._stack = ExitStack()
        self._portal = self._stack.enter_context(start_blocking_portal("trio"))

    def run(self, work: Callable[[], Coroutine[Any, Any, T]], *, is_last: bool = False) -> T:
        future = self._portal.start_task_soon(work)
        try:
            result: T = future.result()
        except BaseException:
            future.cancel()  # Ctrl-C reaches the thread that waits, and not the one that works
            raise
        return result

    def close(self) -> None:
        self._stack.close()


def run_once(work: Callable[[], Coroutine[Any, Any, T]], backend: str) -> T:
    """Run `work()` to its end on an event loop of its own, and return what it returns."""
    if backend == "trio":
        result: T = anyio.run(work, backend="trio")
        return result
    loop = _KeptAsyncio()
    try:
        return loop.run(work, is_last=True)
    finally:
        loop.close()


def keep_loop(backend: str) -> KeptLoop:
    """Open an event loop that waits between blocking calls."""
    return _KeptTrio() if backend == "trio" else _KeptAsyncio()

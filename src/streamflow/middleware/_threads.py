"""Blocking legacy code: run in a worker thread, from which it can call the event loop back.

Above: `_context`, `_chain`. Below: anyio's worker threads. Its rules:

1. *Nothing stops a thread.* Who is cancelled waits until the call has returned, so the stage ends no sooner, and a run names it
   in `run.zombies` when that takes too long.
2. *What a thread waits for on the loop is cancelled with it.* The thread then meets `Stopped`, which no `except Exception` takes
   for a failure that could be tried again, and from then on all that it asks of the loop is refused in the same way.
3. *A call in a thread has a limit of its own.* It waits for the rest of the chain, which may be another call in a thread: under a
   shared limit, enough outer ones would wait for ever for inner ones that cannot begin.
"""

from __future__ import annotations

import functools
import inspect
import math
import threading
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, TypeVar, TypeVarTuple, cast

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Home", "Stopped", "invoke", "run_in_thread"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Stopped(BaseException):
    """Raised in a worker thread: what it waits for on the event loop has been cancelled."""


class _Work(Generic[T]):
    """One call in a worker thread."""

    def __init__(self, func: Callable[[], T]) -> None:
        self._func = func
        self.right_to_begin = [None]
        """Taken by the thread, or by whoever gives up before it has begun; `pop()` is one step."""
        self.ended = threading.Event()
        """Set when the call has returned, or will never begin."""
        self.stopped = False
        """Whether the event loop's side has been cancelled."""
        self.result: T | None = None
        """What it returned."""
        self.on_loop: anyio.Event | None = None
        """Set when what the thread waits for on the loop has ended; None while it waits for nothing there."""

    def __call__(self) -> None:
        try:
            self.right_to_begin.pop()
        except IndexError:
            return
        _WORK.set(self)
        try:
            self.result = self._func()
        finally:
            self.ended.set()


_WORK: ContextVar[_Work[Any] | None] = ContextVar("streamflow_middleware_work", default=None)


class Home:
    """The thread of the event loop on which it is made: says who is in another one, and how to get back."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on the event loop."""
        return threading.get_ident() == self._thread

    @property
    def is_stopped(self) -> bool:
        """Whether the caller is in a worker thread that nobody needs any more."""
        work = _WORK.get()
        if self.is_here or work is None:
            return False
        if not work.stopped:
            try:
                anyio.from_thread.check_cancelled()
            except BaseException:  # noqa: BLE001 - the cancellation of either loop, which here is an answer
                work.stopped = True
        return work.stopped

    def call(self, func: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call `func` on the event loop, from wherever the caller is."""
        return func(*args) if self.is_here else anyio.from_thread.run_sync(func, *args)

    def run(self, func: Callable[[], Awaitable[T]]) -> Awaitable[T] | T:
        """Return what to await, on the event loop; in a worker thread, wait for it and return the result.

        Cancellation: in a worker thread raises `Stopped`.
        """
        return func() if self.is_here else _blocking(func)


def _blocking(func: Callable[[], Awaitable[T]]) -> T:
    """Wait in a worker thread for what `func` does on the event loop."""
    work = _WORK.get()
    if work is not None and work.stopped:
        raise Stopped
    cancelled = False

    async def on_loop() -> T:
        nonlocal cancelled
        # Who begins in a scope that was cancelled before is never told of it.
        if (work is not None and work.stopped) or anyio.current_effective_deadline() == -math.inf:
            cancelled = True
            raise Stopped
        done = anyio.Event()
        if work is not None:
            work.on_loop = done
        try:
            return await func()
        except anyio.get_cancelled_exc_class():
            cancelled = True
            raise
        finally:
            done.set()
            if work is not None:
                work.on_loop = None

    try:
        return anyio.from_thread.run(on_loop)
    except BaseException:
        if not cancelled:
            raise
        if work is not None:
            work.stopped = True
        raise Stopped from None


async def run_in_thread(func: Callable[[], T]) -> T:
    """Call `func()` in a worker thread.

    Cancellation: cancels what the thread waits for on the loop, then waits until the call has returned, and drops its result.
    """
    work = _Work(func)
    cancelled = anyio.get_cancelled_exc_class()
    with anyio.CancelScope() as scope:  # holds what the thread runs on the loop
        try:
            await anyio.to_thread.run_sync(work, limiter=anyio.CapacityLimiter(1))
        except Stopped:
            await anyio.lowlevel.checkpoint()  # what stopped it has stopped this task as well
            raise
        except cancelled:
            # A run's tasks are cancelled natively on asyncio, which gets through the shield that anyio has around a thread.
            work.stopped = True
            scope.cancel()
            with suppress(IndexError):
                work.right_to_begin.pop()
                work.ended.set()
            while not work.ended.is_set():
                with suppress(cancelled), anyio.CancelScope(shield=True):
                    if work.on_loop is not None:
                        await work.on_loop.wait()
                    await anyio.to_thread.run_sync(work.ended.wait, limiter=anyio.CapacityLimiter(1))
            raise
    await anyio.lowlevel.checkpoint_if_cancelled()  # where the shield held, the cancellation is still to come
    return cast("T", work.result)


def _is_quick(func: Callable[..., object]) -> bool:
    """Say whether calling `func` does none of its work yet: a coroutine function, or a generator function of either kind."""
    while isinstance(func, functools.partial):
        func = func.func
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    called: object = getattr(func, "__call__", None)  # noqa: B004 - of an object, how it was written
    return any(is_kind(func) or is_kind(called) for is_kind in kinds)


async def invoke(func: Callable[..., object], *args: object) -> object:
    """Call legacy code and return what it gives: awaited where it is async, in a worker thread where it is not.

    Cancellation: as `run_in_thread()`.
    """
    given = func(*args) if _is_quick(func) else await run_in_thread(functools.partial(func, *args))
    if inspect.isawaitable(given):
        given = await given
    return given

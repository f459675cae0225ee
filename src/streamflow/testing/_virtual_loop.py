"""An asyncio event loop whose clock jumps to the next timer as soon as nothing else can happen.

Above: `_clock`, `_ticks`. Below: asyncio's selector loop and anyio's worker threads. Its rules:

- The clock starts at 0 and moves only by a jump, to exactly the time of the next timer.
- It stands still while a worker thread works (`anyio.to_thread`, `asyncio.to_thread`, `run_in_executor`), unless that
  thread waits for the loop itself (`anyio.from_thread.run(anyio.sleep, 5)`) or nobody waits for it (abandoned when
  cancelled).
- Sockets that are waited for, and threads started by hand, get a short real moment before every jump.
- Where nothing can ever happen again, the loop raises instead of hanging.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import selectors
import sys
import threading
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple, cast

from anyio._backends._asyncio import WorkerThread  # the only way to see anyio's threads

from ._tasks import describe_tasks

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Mapping
    from queue import Queue
    from types import CodeType, FrameType

    from _typeshed import FileDescriptorLike
    from typing_extensions import Unpack

    ReadyKeys = list[tuple[selectors.SelectorKey, int]]

__all__ = ["VirtualEventLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_POLL_S = 0.002
"""Real seconds between two looks at threads that work; the result of one ends the wait at once."""
_GRACE_S = 0.01
"""Real seconds that sockets and hand-started threads get before every jump."""
_DEADLOCK_GRACE_S = 1.0
"""Real seconds that hand-started threads get before the loop is declared dead."""

_FUTURE_RESULT = concurrent.futures.Future[object].result.__code__
_WORKER_RUN = WorkerThread.run.__code__


class VirtualEventLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time; see the module."""

    # asyncio's own, the same in every version since 3.4.
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _clock_resolution: float

    def __init__(self) -> None:
        self._now_s = 0.0
        self._next_turn: list[asyncio.Handle] = []
        self._jobs: dict[asyncio.Future[object], list[int]] = {}
        self._pool_threads: set[threading.Thread] = set()
        self._joins = 0
        self._threads_before = frozenset(threading.enumerate())
        super().__init__(_JumpingSelector(self))
        self._clock_resolution = math.ulp(0.0)

    def get_debug(self) -> bool:
        """Return False, though `set_debug()` has its effect: that asks whether each future, task and callback keeps its origin.

        That alone makes asyncio's debug mode several times slower than all it runs. What finds mistakes stays on: calls from
        other threads, callbacks that are coroutines, slow callbacks, where a coroutine came from that nobody awaited.
        """
        return False

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._now_s

    def is_quiet(self) -> bool:
        """Say, inside a callback, whether no other callback is due: only a timer, a socket or a thread can go on."""
        return not self._ready

    def call_next_turn(self, callback: Callable[[], object]) -> asyncio.Handle:
        """Call `callback` in the next turn that something else causes; unlike `call_soon`, causes no turn itself."""
        handle = asyncio.Handle(callback, (), self)
        self._next_turn.append(handle)
        return handle

    def begin_turn(self) -> None:
        """Queue what waits for the next turn. For the selector."""
        if self._next_turn:
            self._ready.extend(self._next_turn)
            self._next_turn.clear()

    def next_deadline_s(self) -> float | None:
        """Return when the next timer is due, None without one. For the selector: cancelled timers have been removed."""
        if not self._scheduled or math.isinf(self._scheduled[0].when()):
            return None
        return self._scheduled[0].when()

    def jump(self, deadline_s: float) -> None:
        """Set the clock. For the selector."""
        self._now_s = deadline_s
        # asyncio runs every timer before `time() + resolution`: with one ulp that is "due now", at any distance from 0.
        self._clock_resolution = math.ulp(deadline_s)

    def run_in_executor(
        self, executor: concurrent.futures.Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Do as asyncio does, and hold the clock until the job is done or nobody waits for it."""
        thread_ids: list[int] = []

        def job(*args: *Ts) -> T:
            self._pool_threads.add(threading.current_thread())
            thread_ids.append(threading.get_ident())
            return func(*args)

        in_thread = executor is None or isinstance(executor, concurrent.futures.ThreadPoolExecutor)
        future: asyncio.Future[T] = super().run_in_executor(executor, job if in_thread else func, *args)
        key = cast("asyncio.Future[object]", future)
        self._jobs[key] = thread_ids
        key.add_done_callback(self._forget_job)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Do as asyncio does, without a limit: five virtual minutes would be over at once."""
        self._joins += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self._joins -= 1

    def is_work_in_threads(self) -> bool:
        """Say whether a worker thread works on something that a task waits for. For the selector."""
        if self._joins:
            return True
        workers = self._busy_workers()
        if not workers and not self._jobs:
            return False
        frames = sys._current_frames()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - documented
        if any(_is_awaited(worker) or _is_working(frames.get(worker.ident or 0)) for worker in workers):
            return True
        return any(not ids or _is_working(frames.get(ids[0])) for ids in self._jobs.values())

    def foreign_threads(self) -> list[threading.Thread]:
        """Return the threads started since this loop was made that are no worker of it; any may call in at any time."""
        known = self._threads_before | self._pool_threads | {threading.current_thread()}
        return [
            thread for thread in threading.enumerate() if thread not in known and not isinstance(thread, WorkerThread)
        ]

    def _busy_workers(self) -> list[WorkerThread]:
        # `unfinished_tasks` falls after the thread delivered its result: who sees it at 0 finds the result in the loop.
        return [
            thread
            for thread in threading.enumerate()
            if isinstance(thread, WorkerThread) and thread.loop is self and thread.queue.unfinished_tasks  # pyright: ignore[reportUnknownMemberType]
        ]

    def _forget_job(self, future: asyncio.Future[object]) -> None:
        del self._jobs[future]


def _is_awaited(worker: WorkerThread) -> bool:
    """Say whether a job lies ready for this thread that a task still waits for; the thread may not have left the last one yet."""
    jobs = cast("Queue[tuple[object, object, object, asyncio.Future[object], object] | None]", worker.queue)
    with jobs.mutex:
        return any(job is not None and not job[3].cancelled() for job in jobs.queue)


def _is_working(frame: FrameType | None) -> bool:
    """Say whether the busy thread whose innermost frame is given can go on by itself, for a task that still waits."""
    while frame is not None:
        code: CodeType = frame.f_code
        if code is _FUTURE_RESULT:
            future = frame.f_locals.get("self")
            if future is not None and not future.done():  # it is None once the call returns
                return False
        if code is _WORKER_RUN and "future" in frame.f_locals and frame.f_locals["future"].cancelled():
            return False
        frame = frame.f_back
    return True


class _JumpingSelector(selectors.BaseSelector):
    """A selector that moves the clock of its loop instead of waiting for a timer."""

    def __init__(self, loop: VirtualEventLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def register(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> ReadyKeys:
        keys = self._real.select(0)
        if not keys and (timeout is None or timeout > 0):
            keys = self._wait_or_jump()
        self._loop.begin_turn()
        return keys

    def _wait_or_jump(self) -> ReadyKeys:
        loop = self._loop
        deadline_s = loop.next_deadline_s()
        while True:
            # The order matters: a thread delivers before it ends, so a poll after this look misses nothing.
            at_work = loop.is_work_in_threads()
            foreign = loop.foreign_threads()
            has_sockets = len(self._real.get_map()) > 1  # the loop's own wake-up socket is always there
            if at_work:
                wait_s: float | None = _POLL_S
            elif deadline_s is not None:
                wait_s = _GRACE_S if has_sockets or foreign else 0
            elif has_sockets or threading.current_thread() is not threading.main_thread():
                wait_s = None  # whoever started a loop in a thread may call into it at any time
            else:
                wait_s = _DEADLOCK_GRACE_S if foreign else 0
            keys = self._real.select(wait_s)
            if keys or wait_s is None:
                return keys
            if at_work:
                continue
            if deadline_s is None:
                raise AssertionError(_deadlock_message(loop, foreign))
            loop.jump(deadline_s)
            return keys


def _deadlock_message(loop: VirtualEventLoop, foreign: list[threading.Thread]) -> str:
    lines = ["deadlock: every task waits and no timer is set", describe_tasks(asyncio.all_tasks(loop))]
    if foreign:
        names = ", ".join(thread.name for thread in foreign)
        lines.append(f"threads still alive, silent for {_DEADLOCK_GRACE_S:g} s: {names}")
    return "\n".join(lines)

"""Who keeps the event loop for itself: a thread looks whether the loop still beats, and when it does not, at what it is doing.

Above: `_engine`, which runs a monitor as a task where `lag_warning_s` is set; users. Below: `_jobs`, `_stage_run` (names of tasks).

A task notes now and then that it had its turn. One thread for each event loop reads that; nothing else happens while the loop is
well. A block is told once, while it lasts: by then nothing else in the loop could tell it. Once for each that keeps the loop, for
a look may have found the one that was there before.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import dataclasses
import logging
import math
import os
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import anyio

from ..errors import ConfigError
from ._jobs import Job
from ._stage_run import StageRun

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Self

    from ._engine import Engine

__all__ = ["LoopLag", "LoopMonitor", "watch_lag"]

_log = logging.getLogger("streamflow.observe")

_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STANDARD: Final = os.path.dirname(os.__file__) + os.sep
_LOOKS: Final = 4  # within the time that is given
_SHORTEST_S: Final = 0.001
_IDLE: Final = frozenset({"select", "get_events"})
"""What asyncio and trio call to wait for events."""
_MOST_FRAMES: Final = 100
_TASKS: Final = frozenset({Job._run.__code__, StageRun._run.__code__})  # noqa: SLF001 - a task is known by that


@dataclasses.dataclass(frozen=True, slots=True)
class LoopLag:
    """What keeps an event loop for itself."""

    blocked_s: float
    """For how long so far, in seconds, at least."""
    stage: str | None
    """The stage, or other task of a run, that does it; None where it is none."""
    place: str
    """`file:line` of the innermost code that is neither this package's nor a library's; of a library's, if there is none."""
    stack: tuple[str, ...]
    """Where it is, outermost first, as `file:line in function`; nothing of what variables hold."""

    def __str__(self) -> str:
        who = "" if self.stage is None else f" by {self.stage!r}"
        return f"the event loop has been blocked for {self.blocked_s:.3g} s{who}, at {self.place}"


class LoopMonitor:
    """Tell what keeps the running event loop for itself, while the block of `async with` is inside.

    ```python
    async with LoopMonitor(0.1):
        await serve()
    ```

    Args:
        warn_after_s: What a step of a task may take, in seconds.
        report: Called once for each block, and stage that is found to make it, in another thread, while it lasts; must not wait.
            Default: a warning in the log.
        clock: Gives seconds, from any thread.

    Cancellation: ends it.

    Raises:
        ConfigError: If `warn_after_s` is no number of seconds above 0.
    """

    def __init__(
        self,
        warn_after_s: float = 0.1,
        *,
        report: Callable[[LoopLag], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        given = cast("object", warn_after_s)
        if not isinstance(given, (int, float)) or isinstance(given, bool) or not 0 < given < math.inf:
            raise ConfigError("warn_after_s", f"a positive number of seconds was expected, got {given!r:.80}")
        self.warn_after_s: float = warn_after_s
        """What a step of a task may take, in seconds."""
        self.beat_s: float = 0.0
        """When the loop was well for the last time."""
        self._told: dict[str | None, float] = {}  # for each stage, the beat behind which its block was told
        self._report = report
        self._clock = clock
        self._tasks = anyio.create_task_group()

    async def run(self) -> None:
        """Monitor the event loop until cancelled."""
        self.beat_s = self._clock()
        watcher = _watch(self)
        try:
            while True:
                await anyio.sleep(self.warn_after_s / 2)
                self.beat_s = self._clock()
        finally:
            watcher.forget(self)

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._tasks.start_soon(self.run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._tasks.cancel_scope.cancel()
        return await self._tasks.__aexit__(None, None, None)

    def look(self, thread: int) -> None:
        """Tell if the loop of that thread has not beaten for too long; from another thread."""
        beat = self.beat_s
        late = self._clock() - beat
        frame = sys._current_frames().get(thread)  # noqa: SLF001 - there is no other way
        if late < self.warn_after_s or frame is None or _is_idle(frame):
            return  # a loop that waits for events is well: then the machine had something else to do
        lag = _lag_of(frame, late)
        del frame
        if self._told.get(lag.stage) == beat:
            return
        self._told = {stage: told for stage, told in self._told.items() if told == beat} | {lag.stage: beat}
        if self._report is None:
            _log.warning("%s", lag)
        else:
            self._report(lag)


class _Watcher:
    """The thread that watches one event loop, as long as somebody wants it to."""

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.monitors: tuple[LoopMonitor, ...] = ()

    def start(self) -> None:
        threading.Thread(target=self._work, name="streamflow loop monitor", daemon=True).start()

    def forget(self, monitor: LoopMonitor) -> None:
        """Watch for this one no longer."""
        self.monitors = tuple(one for one in self.monitors if one is not monitor)

    def _work(self) -> None:
        while monitors := self.monitors:
            time.sleep(  # noqa: TID251 - a thread of its own, that blocks no loop
                max(min(one.warn_after_s for one in monitors) / _LOOKS, _SHORTEST_S)
            )
            for one in self.monitors:
                one.look(self.thread)


_watchers: dict[int, _Watcher] = {}
"""By thread. One that watches for nobody any more is replaced."""


def _watch(monitor: LoopMonitor) -> _Watcher:
    here = threading.get_ident()
    watcher = _watchers.get(here)
    if watcher is None or not watcher.monitors:
        for thread in [thread for thread, one in _watchers.items() if not one.monitors]:
            _watchers.pop(thread, None)
        watcher = _watchers[here] = _Watcher(here)
        watcher.monitors = (monitor,)
        watcher.start()
    else:
        watcher.monitors += (monitor,)
    return watcher


def _is_idle(frame: FrameType) -> bool:
    return frame.f_code.co_name in _IDLE and _is_library(frame.f_code.co_filename)


def _is_library(path: str) -> bool:
    return path.startswith((_PACKAGE, _STANDARD, "<")) or "site-packages" in path


def _lag_of(frame: FrameType, late: float) -> LoopLag:
    stage: str | None = None
    place: str | None = None
    library = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    stack: list[str] = []
    following: FrameType | None = frame
    while following is not None and len(stack) < _MOST_FRAMES:
        code = following.f_code
        where = f"{code.co_filename}:{following.f_lineno}"
        stack.append(f"{where} in {code.co_qualname}")
        if place is None and not _is_library(code.co_filename):
            place = where
        job = following.f_locals.get("self") if code in _TASKS else None
        if stage is None and isinstance(job, Job):
            stage = job.name
        following = following.f_back
    return LoopLag(late, stage, place or library, tuple(reversed(stack)))


async def watch_lag(engine: Engine, seconds: float) -> None:
    """Monitor the event loop of a run until cancelled, and tell the listeners of the run.

    Args:
        engine: The run.
        seconds: What a step of a task may take.
    """

    def report(lag: LoopLag) -> None:
        engine.jobs.backend.call_soon(partial(engine.reporter.loop_blocked, lag))
        _log.warning("%s: %s", engine.run_id, lag)

    await LoopMonitor(seconds, report=report).run()

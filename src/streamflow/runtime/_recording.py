"""Recording one run into a file: what is seen waits in memory, and a task of its own has it written by worker threads.

Above: `_pipeline` makes it, `_reporting` holds it. Below: `_record_points`, `_jobs`, `observe` (the file), `channels` (holding
edges).

Rules:

1. *Seeing never waits and never fails*: the element is put into a queue. What takes time (redaction, encoding, files) is done in
   a worker thread, a few elements at a time.
2. *The queue has a bound, and then the run waits*: the edges are held until half of it has been written. What cannot be held (an
   edge that drops
   instead of waiting, neighbours that share a task) may go on to four times that; then elements are not recorded, and are counted.
3. *The file is complete before the run's end is told.* A run that was left is written to its end by the same task, in the
   background.
4. *A recording that fails ends, and the run goes on*: it is logged, and `Run.recording` says why.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import threading
import time
from collections import deque
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from ..channels import hold_edges
from ..elements import AudioElement, ImageElement, TextElement, VideoElement
from ..errors import RecordingError
from ..observe import EndFrame, Entry, GapFrame, Noted, RunFrame, entry_of, frame_of, open_record_file
from ._jobs import Job, JobGroup
from ._record_points import PointWatcher, RecordingState

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..channels import ReceiveEnd
    from ..elements import EndReason, StreamElement
    from ..observe import RecordFile, Recording
    from ._engine import Engine
    from ._record_points import Points

__all__ = ["Recorder"]

_T = TypeVar("_T")

_log = logging.getLogger("streamflow.observe")

_AT_A_TIME = 256
"""Elements that one call in a worker thread deals with: about a millisecond, so that the event loop has its turns in between."""
_SMALLEST = 256
"""What an element takes up at least, in bytes, roughly."""
_HARD = 4
"""How many times its bound the queue holds at most, where nobody can be made to wait."""
_THREADS = 4
"""Worker threads that recordings of one event loop have at a time; they are not taken from those of blocking stages."""

_limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("streamflow_recording")


@dataclasses.dataclass(slots=True)
class _Gap:
    """Elements that were not recorded, one after the other at one point."""

    point: int
    order: int
    at_us: int
    count: int = 0


class Recorder(PointWatcher):
    """Records one run.

    Args:
        settings: Where and how.
        points: Where elements are seen.
        run_id: What the run is called.
        fingerprint: Tells the run's pipeline.
    """

    def __init__(self, settings: Recording, points: Points, *, run_id: str, fingerprint: Callable[[], str]) -> None:
        super().__init__(points)
        self._settings = settings
        self._run_id = run_id
        self._path = os.fspath(settings.path).replace("{run_id}", run_id)
        self._fingerprint = fingerprint
        self._key = int.from_bytes(os.urandom(8), "big") >> 1
        self._lock = threading.Lock()
        self._file: RecordFile | None = None
        self._error: RecordingError | None = None
        self._queue: deque[tuple[int, Noted | _Gap]] = deque()
        self._weight = 0
        self._gaps: dict[int, _Gap] = {}
        self._seen = [0] * len(points.names)
        self._order = 0
        self._lost = 0
        self._end: EndFrame | None = None
        self._engine: Engine | None = None
        self._holdable: tuple[ReceiveEnd[object], ...] = ()
        self._let_go: Callable[[], None] | None = None
        self._wake: anyio.Event | None = None
        self._is_urgent = False
        self._tasks: JobGroup | None = None
        self._now: Callable[[], float]
        self._started_s = 0.0
        self._began_unix_s = 0.0

    @property
    def state(self) -> RecordingState:
        """How far it has come."""
        return RecordingState(self._path, sum(self._seen), self._lost, self._error)

    @property
    def is_at_work(self) -> bool:
        """Whether its task has not ended."""
        return self._tasks is not None and bool(self._tasks.alive)

    def begin(self, engine: Engine) -> None:
        """Start the task that has everything written."""
        backend = engine.jobs.backend
        self._engine, self._now = engine, backend.now
        self._started_s, self._began_unix_s = engine.began_s, time.time()
        inside = {number for loop in engine.plan.loops for number in loop.inside}
        self._holdable = tuple(
            end
            for number, (end, edge) in enumerate(zip(engine.edges, engine.plan.edges, strict=True))
            if number not in inside and not edge.is_chained
        )
        self._tasks = JobGroup(backend)
        self._tasks.start(Job("recording", self._work, self._ended, copy_context()))

    def note(self, point: int, element: StreamElement) -> None:
        """Put an element into the queue."""
        ordinal = self._seen[point]
        self._seen[point] = ordinal + 1
        if self._error is not None:
            return
        weight = _weigh(element)
        at_us = int((self._now() - self._started_s) * 1e6)
        bound = self._settings.buffer_bytes
        if self._weight + weight > _HARD * bound and self._queue:
            self._miss(point, at_us)
            return
        self._gaps.pop(point, None)
        self._queue.append((weight, Noted(point, ordinal, self._order, at_us, element)))
        self._order += 1
        self._weight += weight
        if self._weight >= bound:
            self._hold()
        self._is_urgent = self._is_urgent or self._weight >= bound // 2
        if self._wake is not None and (self._is_urgent or len(self._queue) == 1):
            self._wake.set()

    def end(self, reason: EndReason, elements: int) -> None:
        """Have what is left written, and how the run has ended."""
        engine, self._engine = self._engine, None
        if engine is None or self._end is not None:
            return
        notice = engine.notice
        at_us = int((self._now() - self._started_s) * 1e6)
        code, stage = ("", "") if notice is None else (notice.code, notice.stage or "")
        self._end = EndFrame(self._key, reason, at_us, elements, self._lost, code, stage)
        if self._wake is not None:
            self._wake.set()

    async def finish(self, timeout_s: float, *, shield: bool) -> None:
        """Wait until everything has been written, or time is up. Cancellation: it is written in the background."""
        tasks = self._tasks
        if tasks is not None and not await tasks.wait(timeout_s, shield=shield):
            _log.warning("%s: its recording was not written within %g s: %s", self._run_id, timeout_s, self._path)

    def is_taken(self, leaf: str) -> bool:
        """Say whether a leaf is read alone."""
        return self._engine is not None and self._engine.is_taken(leaf)

    def _miss(self, point: int, at_us: int) -> None:
        self._lost += 1
        gap = self._gaps.get(point)
        if gap is None:
            gap = self._gaps[point] = _Gap(point, self._order, at_us)
            self._order += 1
            self._queue.append((0, gap))
        gap.count += 1

    # Holding the run

    def _hold(self) -> None:
        if self._let_go is None and self._engine is not None and self._engine.jobs.alive:
            self._let_go = hold_edges(self._holdable, self._engine.pulse)

    def _release(self) -> None:
        let_go, self._let_go = self._let_go, None
        if let_go is not None:
            let_go()

    # The task

    async def _work(self) -> None:
        try:
            await _in_thread(self._open)
            while self._end is None:
                await self._something_to_write()
                while self._queue:
                    await self._write_some()
        except RecordingError as error:
            self._fail(error)
        finally:
            # Also where the event loop ends, and cancels this: what is there is written.
            with anyio.CancelScope(shield=True):
                await self._close()

    async def _close(self) -> None:
        try:
            await _in_thread(self._write_rest)
        except RecordingError as error:
            self._fail(error)
        finally:
            self._release()
            self._queue.clear()
            self._holdable = ()

    async def _something_to_write(self) -> None:
        """Wait until there is something, and then for more to come with it, unless it is urgent."""
        if not self._queue:
            await self._woken()
        if not self._is_due():
            with anyio.move_on_after(self._settings.flush_s):
                while not self._is_due():
                    await self._woken()
        self._is_urgent = False

    async def _woken(self) -> None:
        if self._end is None:
            wake = self._wake = anyio.Event()
            try:
                await wake.wait()
            finally:
                self._wake = None

    def _is_due(self) -> bool:
        return self._is_urgent or self._end is not None

    async def _write_some(self) -> None:
        most = min(_AT_A_TIME, len(self._queue))
        self._gaps.clear()  # what is in the queue now does not grow any more
        written = await _in_thread(partial(self._write, most))
        self._weight -= written  # more has come in the meantime
        if self._weight <= self._settings.buffer_bytes // 2:
            self._release()

    def _fail(self, error: RecordingError) -> None:
        self._error = error
        _log.warning("%s: its recording has ended early, the run goes on: %s", self._run_id, error)

    def _ended(self, job: Job, error: BaseException | None) -> None:
        assert self._tasks is not None, "it has been begun"
        self._tasks.remove(job)
        if error is not None and not isinstance(error, anyio.get_cancelled_exc_class()):
            self._fail(RecordingError(self._path, f"cannot be written: {type(error).__name__}"))
            _log.error("%s: its recording failed", self._run_id, exc_info=error)
        if self._lost:
            _log.warning("%s: %d elements were not recorded: they came too fast", self._run_id, self._lost)

    # In worker threads, one at a time: a thread may still be at work when its task has been cancelled

    def _open(self) -> None:
        with self._lock:
            if self._file is None:
                file = open_record_file(self._path, self._settings)
                names = self.points.names
                try:
                    file.begin(
                        RunFrame(self._key, self._run_id, self._fingerprint(), _version(), self._began_unix_s, names)
                    )
                except BaseException:
                    file.leave(self._key)
                    raise
                self._file = file

    def _write(self, most: int) -> int:
        """Write so many of what is in the queue, and return what they took up."""
        with self._lock:
            taken = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
            if taken and self._file is not None:
                self._file.write([self._entry(one) for _, one in taken])
            return sum(weight for weight, _ in taken)

    def _write_rest(self) -> None:
        if self._error is None:
            self._open()
            self._write(len(self._queue))
        with self._lock:
            file, self._file = self._file, None
            if file is None:
                return
            try:
                if self._end is not None and self._error is None:
                    file.end(self._end)
            finally:
                file.leave(self._key)

    def _entry(self, one: Noted | _Gap) -> Entry:
        if isinstance(one, Noted):
            return entry_of(self._key, one, self._settings)
        return Entry(frame_of(GapFrame(self._key, one.point, one.order, one.at_us, one.count)))


def _version() -> str:
    """Return the version of this library, which only its root knows; that imports this room."""
    return str(vars(sys.modules[__name__.partition(".")[0]])["__version__"])


def _weigh(element: StreamElement) -> int:
    """Return what an element takes up, in bytes, roughly: what is long in it is text or media."""
    if isinstance(element, TextElement):
        return _SMALLEST + len(element.text)
    if isinstance(element, AudioElement | ImageElement | VideoElement):
        return _SMALLEST + len(element.data or b"")
    return _SMALLEST


async def _in_thread(func: Callable[[], _T]) -> _T:
    """Call a function in a worker thread. Cancellation: it is waited for."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(_THREADS)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(func, limiter=limiter)

"""The tasks of one run: started, counted, cancelled and waited for as one group.

Above: `_engine`. Below: `_backend`.
"""

from __future__ import annotations

import logging
import math
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import anyio.lowlevel

from ..channels import in_bursts
from ._task_meter import as_coroutine, metered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from ..channels import Level
    from ._backend import Backend, Task, TaskView
    from ._swallowing import Pressure
    from ._task_meter import UnitMeter

_log = logging.getLogger("streamflow.runtime")

__all__ = ["NO_CONTEXT", "Job", "JobGroup", "is_made_of", "leaf_of"]


NO_CONTEXT: Final = Context()
"""That of jobs in which nothing runs."""


def _nothing(*_: object) -> None:
    """Do nothing, where a job has ended."""


class Job:
    """One task of a run.

    Args:
        name: What it is called in reports.
        work: Called in the task, and awaited.
        ended: Told when it has ended, and with what.
        context: What it sees.
        about: What both are called with first, and `instead` too, `ended` with the first of it alone: one function can serve many
            tasks.
    """

    weight: int = 1
    """How many tasks there are less when it has ended."""
    is_shared: bool = False
    """Whether it is the task of other stages, too."""
    level: Level | None = None
    """Keeps the bursts of the fork that it writes; None: it writes none that has any."""
    # What changes late, or never, is told by the class: each run has several.
    cancel_requested: bool = False
    """Whether the run has asked it to end."""
    instead: Callable[..., Awaitable[object]] | None = None
    """What to do when it is cancelled before it has begun; None: nothing."""
    meter: UnitMeter | None = None
    """Measures what it does with its time; None: nothing does."""
    name: str
    """What it is called in reports."""
    _context: Context
    _backend: Backend | None = None  # that has started its task
    _task: object = None
    _held: Task | None = None  # that task, once it was cancelled
    _pressure: Pressure | None = None
    _begun: bool = False
    _is_struck: bool = False

    def __init__(
        self,
        name: str,
        work: Callable[..., object],
        ended: Callable[..., None],
        context: Context,
        about: tuple[Any, ...] = (),
    ) -> None:
        self.name = name
        self._work: Callable[..., Any] = work
        self._ended = ended
        self._about: tuple[Any, ...] = about
        self._context = context

    @property
    def is_at_work(self) -> bool:
        """Whether it has begun and not ended."""
        return self._begun and self._task is not None

    @property
    def had_work(self) -> bool:
        """Whether it is, or was when it ended, at work."""
        return self._begun

    def cancel(self) -> None:
        """Ask it to end at its next await; one that has not begun does not begin. Idempotent."""
        if not self.cancel_requested:
            self.cancel_requested = True
            if self._begun and self._task is not None:
                self._pressure = self._hold().press(self._tell_swallowed)

    def _hold(self) -> Task:
        if self._held is None:
            assert self._backend is not None, "it has been started"
            self._held = self._backend.hold(self._task)
        return self._held

    def _tell_swallowed(self, place: str) -> None:
        _log.warning(
            "%s has swallowed its cancellation and goes on, at %s; let cancellation pass, and shield what must be done first",
            self.name,
            place,
        )

    def interrupt(self) -> None:
        """Ask it to leave what it is doing at its next await, and not to end: what it does then is its own affair."""
        if self._begun and self._task is not None:
            self._hold().cancel()

    def uncancel(self) -> bool:
        """Take an `interrupt()` back once it has come out of what was interrupted; say whether nothing else has cancelled it.

        To be called by the job itself, with no cancel scope open that it has entered since it began.
        """
        return self._task is not None and self._hold().uncancel() == 0

    def look(self, backend: Backend) -> TaskView | None:
        """Return what there is to see of its task; None before it has been started, and after its end."""
        return None if self._task is None else backend.look_at(self._task)

    def start(self, backend: Backend) -> None:
        """Start it in a task of its own."""
        self._backend = backend
        self._task = backend.spawn(self._steps(), self.name, self._context, self._struck)

    def _struck(self, _: object) -> None:
        # Of a task that somebody else cancels before its first step no line runs: another one tells of its end.
        if not self._begun and self._backend is not None:
            self._is_struck = True
            self._task = self._backend.spawn(self._steps(), self.name, self._context)

    def _steps(self) -> Coroutine[Any, Any, Any]:
        return self._run_measured(self.meter) if self.meter is not None else self._run_in_bursts()

    def _run_in_bursts(self) -> Coroutine[Any, Any, Any]:
        work = self._run()
        return work if self.level is None else as_coroutine(in_bursts(work, self.level))

    async def _run(self) -> BaseException | None:
        """Do its work, and tell of its end; where it is measured, return what it has ended with, to be told when that is noted."""
        # Nothing may leave this coroutine: the event loop is its parent, and trio ends the program over what a system task raises.
        error: BaseException | None = None
        try:
            if self._begins():
                await self._work(*self._about)
            elif self.instead is not None:
                await self.instead(*self._about)
            if self._is_struck:
                raise anyio.get_cancelled_exc_class()
        except BaseException as caught:  # noqa: BLE001 - handed to the run, which decides who raises it
            error = caught
        try:
            if self.meter is not None:
                return error
            self._end(error)
        finally:
            del error  # its traceback holds this frame
        return None

    async def _run_measured(self, meter: UnitMeter) -> None:
        error: BaseException | None
        try:
            error = await metered(meter, self, self._run_in_bursts())
        except BaseException as caught:  # noqa: BLE001 - as above
            error = caught
        try:
            self._end(error)
        finally:
            del error

    def _begins(self) -> bool:
        """Know that its first step is being taken, and say whether it is to do its work."""
        # Asyncio would throw a cancellation into a task before its first step, and no line of it would run, so cancel() waits
        # until the task has begun.
        self._begun = True
        if self._task is not None and self._backend is not None:
            self._backend.has_begun(self._task, self._struck)
        return not (self.cancel_requested or self._is_struck)

    def _end(self, error: BaseException | None) -> None:
        """Know that its last step is being taken, and tell of its end."""
        ended, about = self._ended, self._about[:1]
        self._forget()
        try:
            ended(*about, self, error)
        finally:
            del error

    def _forget(self) -> None:
        """Forget all that it was made of, which knows it in turn: nothing of that may be left waiting for the garbage collector."""
        self._work, self._ended, self._about, self._context = _nothing, _nothing, (), NO_CONTEXT
        self._let_go()

    def _let_go(self) -> None:
        """Have nothing to do with its task any more, which is taking its last step."""
        self._task = self._backend = None
        if self.instead is not None:
            self.instead = None
        if self._held is not None:
            self._held = None
            if self._pressure is not None:
                self._pressure.end()
                self._pressure = None


class JobGroup:
    """All tasks of one run that are alive."""

    def __init__(self, backend: Backend) -> None:
        self.backend: Backend = backend
        """The event loop that they run on."""
        self.alive: dict[Job, None] = {}
        """The tasks, in the order in which they were started."""
        self._empty: anyio.Event | None = None

    def start(self, *jobs: Job) -> None:
        """Start tasks that belong to this group until `remove()`. All are known before the first one runs."""
        self.alive.update(dict.fromkeys(jobs))
        for job in jobs:
            job.start(self.backend)

    def remove(self, job: Job) -> None:
        """Forget a task that has ended."""
        self.alive.pop(job, None)
        if not self.alive and self._empty is not None:
            self._empty.set()

    def cancel(self) -> None:
        """Ask all of them to end. Idempotent."""
        for job in tuple(self.alive):
            job.cancel()

    async def unwind(self, *, shield: bool) -> None:
        """Give tasks that are not cancelled the turns of the event loop that they need to end by themselves."""
        with anyio.CancelScope(shield=shield):
            for _ in range(3 * len(self.alive)):
                if all(job.cancel_requested for job in self.alive):
                    return
                await anyio.lowlevel.checkpoint()

    async def wait(self, timeout_s: float = math.inf, *, shield: bool) -> bool:
        """Wait until all have ended.

        Returns:
            Whether they have, within `timeout_s`.
        """
        if not self.alive:
            return True
        if self._empty is None:
            self._empty = anyio.Event()
        with anyio.move_on_after(timeout_s, shield=shield):
            await self._empty.wait()
        return not self.alive


def is_made_of(error: BaseException, kinds: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """Say whether `error` is of `kinds`, or a group of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        leaves = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return all(is_made_of(one, kinds) for one in leaves)
    return isinstance(error, kinds)


def leaf_of(error: BaseException) -> BaseException:
    """Return `error`, or the first exception of a group, however deep."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error

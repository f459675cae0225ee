"""The tasks of one run: started, counted, cancelled and waited for as one group.

Above: `_engine`. Below: `_backend`.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, cast

import anyio
import anyio.lowlevel

from ..channels import in_bursts
from ._task_meter import as_coroutine, metered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextvars import Context

    from ..channels import Level
    from ._backend import Backend, Task, TaskView
    from ._swallowing import Pressure
    from ._task_meter import UnitMeter

_log = logging.getLogger("streamflow.runtime")

__all__ = ["Job", "JobGroup", "is_made_of", "leaf_of"]


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
    instead: Callable[..., Awaitable[object]] | None = None
    """What to do when it is cancelled before it has begun; None: nothing."""
    level: Level | None = None
    """Keeps the bursts of the fork that it writes; None: there is none that has any."""
    meter: UnitMeter | None = None
    """Measures what it does with its time; None: nothing does."""

    def __init__(
        self,
        name: str,
        work: Callable[..., Awaitable[object]],
        ended: Callable[..., None],
        context: Context,
        about: tuple[object, ...] = (),
    ) -> None:
        self.name: str = name
        """What it is called in reports."""
        self.cancel_requested: bool = False
        """Whether the run has asked it to end."""
        self._work = work
        self._ended = ended
        self._about = about
        self._context = context
        self._task: Task | None = None
        self._pressure: Pressure | None = None
        self._begun = False
        self._is_struck = False

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
                self._pressure = self._task.press(self._tell_swallowed)

    def _tell_swallowed(self, place: str) -> None:
        _log.warning(
            "%s has swallowed its cancellation and goes on, at %s; let cancellation pass, and shield what must be done first",
            self.name,
            place,
        )

    def interrupt(self) -> None:
        """Ask it to leave what it is doing at its next await, and not to end: what it does then is its own affair."""
        if self._begun and self._task is not None:
            self._task.cancel()

    def uncancel(self) -> bool:
        """Take an `interrupt()` back once it has come out of what was interrupted; say whether nothing else has cancelled it.

        To be called by the job itself, with no cancel scope open that it has entered since it began.
        """
        return self._task is not None and self._task.uncancel() == 0

    def look(self, backend: Backend) -> TaskView | None:
        """Return what there is to see of its task; None before it has been started, and after its end."""
        return None if self._task is None else backend.look_at(self._task)

    def start(self, backend: Backend) -> None:
        """Start it in a task of its own."""

        def struck(_: object) -> None:
            # Of a task that somebody else cancels before its first step no line runs: another one tells of its end.
            if not self._begun:
                self._is_struck = True
                self._task = backend.spawn(self._run(), self.name, self._context)

        self._task = backend.spawn(self._run(), self.name, self._context, struck)

    async def _run(self) -> None:
        # Nothing may leave this coroutine: the event loop is its parent, and trio ends the program over what a system task raises.
        # Asyncio would throw a cancellation into a task before its first step, and no line of it would run, so cancel() waits
        # until the task has begun.
        self._begun = True
        if self._task is not None:
            self._task.begin()
        error: BaseException | None = None
        try:
            if self.cancel_requested or self._is_struck:
                if self.instead is not None:
                    await self.instead(*self._about)
            else:
                work = self._work(*self._about)
                if self.level is not None:
                    work = in_bursts(as_coroutine(work), self.level)
                await (work if self.meter is None else metered(self.meter, self, as_coroutine(work)))
            if self._is_struck:
                raise anyio.get_cancelled_exc_class()()
        except BaseException as caught:  # noqa: BLE001 - handed to the run, which decides who raises it
            error = caught
        ended, about = self._ended, self._about[:1]
        # What it was made of knows it in turn: nothing of that may be left waiting for the garbage collector.
        del self._work, self._ended, self._about, self._context
        if self.instead is not None:
            self.instead = None
        self._task = None
        if self._pressure is not None:
            self._pressure.end()
            self._pressure = None
        try:
            ended(*about, self, error)
        finally:
            del error  # its traceback holds this frame


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

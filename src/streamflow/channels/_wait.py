"""Waiting, on the event loop that is running: the one thing of an edge that differs between asyncio and trio.

Above: `_bounded`. Below: the event loop. A `Waiter` says "look again" and carries no value, so a wake-up that races with a
cancellation loses nothing. trio is imported only when it is the loop that runs.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import types
import weakref
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

from ..errors import RunStateError
from ._refilled import WIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sized

    import trio

__all__ = [
    "LITTLE",
    "Overseer",
    "Round",
    "Turn",
    "Waiter",
    "give_way",
    "key_of_wait",
    "load_of",
    "means_of_waiting",
    "open_round",
    "running_clock",
    "running_trio",
    "waiter_factory",
]


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
        self.item: object = item  # None once an interruption has dropped it
        self.waiter: Waiter | None = None
        self.is_counted: bool = False  # its wait, by a pulse


class Round:
    """The tasks of an event loop that were woken, of all runs. One callback of asyncio's has all go on, one after the other.

    That is the order in which a callback for each would have them go on, for less. And tasks that are woken meanwhile go on in the
    same turn of the loop, as long as there is little to do: so an element that is alone is through all stages in one turn. Nobody
    else waits longer for that: the bound is what one task may do anyway before it has to wait, on an edge of the usual width. Where
    a turn has much to do, whoever has waited for room may make it an eighth longer: so what writes many branches shares theirs.
    """

    __slots__ = ("__weakref__", "_context", "_is_due", "_woken", "loop", "make_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        """The event loop."""
        self.make_waiter: Callable[[], Waiter] = loop.create_future
        """What `waiter_factory()` returns there: one for all."""
        self._woken: list[_Woken] = []
        self._is_due = False
        self._context = Context()  # an empty one: that of whoever wakes somebody would be held until all have gone on

    def wake(self, waiter: Any, backlog: Sized, load: int = 0) -> None:
        """Wake a task that waits for a future of this loop, unless it was cancelled.

        Args:
            waiter: The future. It is the task's alone.
            backlog: What a reader finds when it goes on: how much it has to do then.
            load: How much the task may have to do, where that cannot be seen by it; negative: in no turn that has begun.
        """
        callbacks = waiter._callbacks  # noqa: SLF001 - what the task would be called by, for which Python has no other way
        if callbacks:
            ((go_on, context),) = callbacks
            waiter.remove_done_callback(go_on)
            self._woken.append((go_on, context, waiter, backlog, load))
            if not self._is_due:
                self._is_due = True
                self.loop.call_soon(self._run, context=self._context)
        elif waiter.done():
            return
        waiter.set_result(None)  # also if the task has not come to wait yet

    def _run(self) -> None:
        woken, total, begun, most = self._woken, 0, 0, LITTLE
        first = len(woken)
        self._is_due = False  # whoever is woken from here on has its place in the loop now, before what is yet to come
        try:
            while begun < len(woken):
                go_on, context, waiter, backlog, load = woken[begun]
                if begun == first:
                    most = max(LITTLE, total + total // _SHARE)
                total += load if load > 0 else -load or len(backlog) or 1
                if begun >= first and (load < 0 or total > (most if load else LITTLE)):
                    break
                woken[begun] = _NOBODY  # what has ended meanwhile is not kept for a task that is still at work
                begun += 1
                context.run(go_on, waiter)
        finally:  # also when a task ends the program
            del woken[:begun]
            if woken and not self._is_due:
                self._is_due = True
                self.loop.call_soon(self._run, context=self._context)


LITTLE: Final = 16
"""Elements: what one task may move in one go, on an edge of the usual width."""

_SHARE: Final = 8
"""By which part of what a turn was to move those make it longer at most who have waited for room: they do no more than fill it."""


def load_of(count: int) -> int:
    """Return as how much elements of a line count: `WIDE` of them in a turn, because each is through all functions in one go."""
    return count * LITTLE // WIDE or 1


_Woken: TypeAlias = "tuple[Callable[[Waiter], object], Context, Waiter, Sized, int]"

_NOBODY: Final[Any] = None


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


async def give_way() -> None:
    """Let others have their turn: a checkpoint, without the look-ups that one of anyio's takes. Cancellation: may raise it."""
    if running_trio():
        await sys.modules["trio"].lowlevel.checkpoint()
    else:
        await _next_turn()


@types.coroutine
def _next_turn() -> Generator[None, None, None]:
    yield  # what asyncio's tasks take for: in the next turn of the loop


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


def open_round() -> Round | None:
    """Return what wakes the tasks of the running event loop; None where each is woken by itself: on trio, which does as much."""
    if running_trio() or not hasattr(asyncio.Future, "_callbacks"):
        return None  # Python does not promise that futures tell who waits
    loop = asyncio.get_running_loop()
    link = getattr(_here, "round", None)
    found: Round | None = None if link is None else link()
    if found is None or found.loop is not loop:
        found = Round(loop)
        _here.round = weakref.ref(found)  # channels hold it, and it holds the loop: neither may outlive its runs here
    return found


def means_of_waiting() -> tuple[Callable[[], Waiter], Round | None]:
    """Return what makes waiters for the running event loop, and what wakes its tasks."""
    together = open_round()
    return (waiter_factory() if together is None else together.make_waiter), together


_here = threading.local()  # a loop runs in one thread at a time

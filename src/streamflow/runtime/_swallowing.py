"""What becomes of a stage that swallows its cancellation and goes on: it is cancelled again, ever later, and told of once.

Above: `_backend`, `_jobs`. Below: `_await_chain`, anyio.

Nothing here exists before a task is cancelled. A cancellation counts as swallowed when its exception is gone, nobody holds it any
more, and the task is still there: an `except` that does not raise again. A task that is cleaning up is still raising it, so it is
left alone, shielded or not, as long as it takes.

- asyncio delivers a cancellation once. `Redelivery` looks after a pause whether it was swallowed, and then delivers another.
- trio raises at each await, which is a busy loop for a stage that swallows it. `Throttle` takes the place of the task's coroutine
  and lets the stage wait, shielded, before the next one.

The pauses double, from `FIRST_PAUSE_S` to `LONGEST_PAUSE_S`. Nothing ends such a task by force.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from ._await_chain import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["REASON", "CancellableTask", "Mark", "Pressure", "Redelivery", "Throttle"]

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0

LOOKS = 50
"""How often asyncio's task is looked after: three quarters of a minute, longer than a run waits for it."""

_NOWHERE = "an unknown place"

REASON = "by its run"
"""Tells the cancellations of a run, on trio, from those with which each wait that has a limit ends."""


class Pressure(Protocol):
    """What keeps cancelling a task."""

    def end(self) -> None:
        """Forget the task, which has ended."""
        ...


class CancellableTask(Protocol):
    """An asyncio task."""

    def cancel(self, msg: Any = None) -> bool:
        """Throw a cancellation into it."""
        ...

    def get_coro(self) -> Any:
        """Return what it runs."""
        ...


class _Timer(Protocol):
    def cancel(self) -> None: ...


class Mark:
    """Travels in a cancellation, as its message, and lives as long as that."""

    __slots__ = ("__weakref__",)

    def __repr__(self) -> str:
        return REASON


class Redelivery:
    """Cancels an asyncio task, and again whenever it has swallowed that.

    Args:
        task: The task.
        later: Calls a function after a number of seconds: `loop.call_later`.
        swallowed: Told, once, where the task is when it has swallowed a cancellation.
        earlier: In the cancellation before, from which the task may still be coming out; one that is ready to run gets only that.
    """

    def __init__(
        self,
        task: CancellableTask,
        later: Callable[[float, Callable[[], None]], _Timer],
        swallowed: Callable[[str], None],
        earlier: weakref.ref[Mark] | None = None,
    ) -> None:
        self._task = task
        self._earlier = earlier
        self._later = later
        self._swallowed: Callable[[str], None] | None = swallowed
        self._pause_s = FIRST_PAUSE_S
        self._looks_left = LOOKS
        self._mark: weakref.ref[Mark]
        self._timer: _Timer
        self._deliver()

    def end(self) -> None:
        """Forget the task, which has ended."""
        self._timer.cancel()
        self._looks_left = 0

    def _deliver(self) -> None:
        mark = Mark()
        self._mark = weakref.ref(mark)
        self._task.cancel(mark)
        self._timer = self._later(self._pause_s, self._look)

    def _look(self) -> None:
        if not self._looks_left:
            return
        self._looks_left -= 1
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        task: Any = self._task
        if not getattr(task, "_must_cancel", False):
            # A task that was ready to run when it was cancelled keeps the message after it was delivered.
            task._cancel_message = None  # noqa: SLF001 - there is no other way
        if self._mark() is not None or (self._earlier is not None and self._earlier() is not None):
            self._timer = self._later(self._pause_s, self._look)
            return
        if self._swallowed is not None:
            self._swallowed(place_of(task.get_coro()) or _NOWHERE)
            self._swallowed = None
        self._deliver()


class Throttle:
    """Stands for the coroutine of a trio task that is being cancelled: what it swallows comes again after a pause.

    Args:
        coroutine: What the task runs.
        swallowed: Told, once, where the task is when it has swallowed a cancellation.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], swallowed: Callable[[str], None]) -> None:
        self.coroutine: Coroutine[Any, Any, Any] = coroutine
        """What the task runs."""
        self._swallowed: Callable[[str], None] | None = swallowed
        self._cancelled = anyio.get_cancelled_exc_class()
        self._last: weakref.ref[BaseException] | None = None
        self._count = 0
        self._pause_s = FIRST_PAUSE_S
        self._pause: Coroutine[Any, Any, None] | None = None
        self._held: Any = None  # sent after the pause

    def __getattr__(self, name: str) -> Any:
        # `cr_running`, `cr_frame`, …: for whoever looks where the task is.
        return getattr(self.coroutine, name)

    def end(self) -> None:
        """Forget the task, which has ended."""
        self._swallowed = None

    def send(self, value: Any) -> Any:
        """Go on with the task, as a coroutine does; with a cancellation after a pause, if others were swallowed."""
        if self._pause is not None:
            return self._step(self._pause.send, value)
        # What a wait ends with is sent as an outcome; one that is an exception has it as `error`.
        error = getattr(value, "error", None)
        if not isinstance(error, self._cancelled) or getattr(error, "reason", None) != REASON:
            return self.coroutine.send(value)
        self._count += self._last is not None and self._last() is None
        self._last = weakref.ref(error)
        del error
        if not self._count:
            return self.coroutine.send(value)
        if self._swallowed is not None:
            self._swallowed(place_of(self.coroutine) or _NOWHERE)
            self._swallowed = None
        self._pause, self._held = _sleep(self._pause_s), value
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return self._step(self._pause.send, None)

    def throw(self, error: BaseException) -> Any:
        """Raise `error` in the task, as a coroutine does."""
        return self.coroutine.throw(error) if self._pause is None else self._step(self._pause.throw, error)

    def _step(self, step: Callable[[Any], Any], value: Any) -> Any:
        try:
            return step(value)
        except StopIteration:
            held, self._held, self._pause = self._held, None, None
        return self.coroutine.send(held)


async def _sleep(seconds: float) -> None:
    with anyio.CancelScope(shield=True):
        await anyio.sleep(seconds)

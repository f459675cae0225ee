"""All that the test kit knows of trio; imported only where trio is the backend.

Above: `_clock`, `_tasks`, `_sweep`, `_chaos`. Below: trio; `runtime`, which knows its own tasks.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
import threading
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

import trio.lowlevel
import trio.testing

from ..runtime._await_chain import chain_of

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from types import FrameType

__all__ = ["TrioInjector", "all_tasks", "call_soon", "same_schedule", "virtual_options"]

T = TypeVar("T")

_POLL_S: Final = 0.001
"""Real seconds between two looks at threads that work."""
_TO_THREAD: Final = "to_thread_run_sync"
"""trio's function in which a task waits for a worker thread."""
_FROM_THREAD: Final = "_send_message_to_trio"
"""trio's function in which a worker thread waits for the loop."""


def virtual_options() -> dict[str, object]:
    """Return `trio.run` options for a clock that starts at 0 in every run and jumps when every task waits, for no worker thread."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    jump: Callable[[], None] = clock._autojump  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - cannot be subclassed

    def jump_unless_threads_work() -> None:
        if _is_work_in_threads():
            threading.Event().wait(_POLL_S)  # then the loop looks for the result of a thread, and asks again
        else:
            jump()

    clock._autojump = jump_unless_threads_work  # type: ignore[method-assign]  # noqa: SLF001
    return {"clock": clock, "instruments": [_StartsAtZero(clock)]}


def all_tasks() -> set[trio.lowlevel.Task]:
    """Return every task of the running trio loop, its own system tasks too."""
    found: set[trio.lowlevel.Task] = set()
    root = trio.lowlevel.current_root_task()
    todo = [root] if root is not None else []
    while todo:
        task = todo.pop()
        found.add(task)
        for nursery in task.child_nurseries:
            todo.extend(nursery.child_tasks)
    return found


def call_soon(func: Callable[[], object]) -> None:
    """Call a function in the next turn of the loop that runs."""
    trio.lowlevel.current_trio_token().run_sync_soon(func)


def _is_work_in_threads() -> bool:
    """Say whether a worker thread works on something that a task waits for, and does not itself wait for the loop."""
    if not trio.testing.active_thread_count():
        return False
    waited_for = sum(_awaits(task, _TO_THREAD) for task in all_tasks())
    frames = sys._current_frames().values()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - documented
    return waited_for > sum(_is_inside(frame, _FROM_THREAD) for frame in frames)


def _awaits(task: trio.lowlevel.Task, function: str) -> bool:
    # Not trio's own walk: it ends where a coroutine is driven by hand, as that of a stage may be.
    return any(inspect.iscoroutine(one) and one.cr_code.co_name == function for one in chain_of(task.coro))


def _is_inside(frame: FrameType | None, function: str) -> bool:
    while frame is not None:
        if frame.f_code.co_name == function:
            return True
        frame = frame.f_back
    return False


class _StartsAtZero(trio.abc.Instrument):
    """Sets a mock clock back, so that options used for several runs give each run a fresh clock."""

    def __init__(self, clock: trio.testing.MockClock) -> None:
        self._clock = clock

    def before_run(self) -> None:
        self._clock._virtual_base = 0.0  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - `jump` only goes forward


class TrioInjector(trio.abc.Instrument):
    """Calls `fire` at the start of one round of the scheduler while it drives a scenario in the calling task.

    Args:
        tick: 0 fires before the scenario starts, n at the start of the n-th round in which any task runs.
        fire: Cancels the scenario.
    """

    def __init__(self, tick: int, fire: Callable[[], object]) -> None:
        self._tick = tick
        self._fire = fire
        self._rounds = 0
        self._is_new_round = True
        self.fired = False
        """Whether the scenario was cancelled before it ended."""
        self.delivered = False
        """Whether the scenario's own task was made to raise the cancellation."""

    async def drive(self, scenario: Callable[[], Awaitable[T]]) -> T:
        """Run the scenario. Cancellation: it is passed to the scenario."""
        with same_schedule():
            if self._tick == 0:
                self._fire_now()
            trio.lowlevel.add_instrument(self)
            try:
                return await _Watched(_run(scenario), self._host_resumed)
            finally:
                trio.lowlevel.remove_instrument(self)

    def after_io_wait(self, timeout: float) -> None:
        self._is_new_round = True

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_new_round:
            self._is_new_round = False
            self._rounds += 1
            if self._rounds == self._tick:
                self._fire_now()

    def _fire_now(self) -> None:
        self.fired = True
        self._fire()

    def _host_resumed(self, answer: object) -> None:
        # A scope inside the scenario that is cancelled in the same round leaves the exception to the outer one: to us.
        if self.fired and isinstance(getattr(answer, "error", None), trio.Cancelled):
            self.delivered = True


async def _run(scenario: Callable[[], Awaitable[T]]) -> T:
    return await scenario()


class _Watched(Generic[T]):
    """Awaits a coroutine and shows `on_resume` all that its task is resumed with."""

    def __init__(self, coroutine: Coroutine[object, object, T], on_resume: Callable[[object], None]) -> None:
        self._coroutine = coroutine
        self._on_resume = on_resume

    def __await__(self) -> Generator[object, object, T]:
        try:
            request = self._coroutine.send(None)
            while True:
                # trio resumes a task with values only: what it is to raise comes as an `outcome.Error`.
                answer = yield request
                self._on_resume(answer)
                request = self._coroutine.send(answer)
        except StopIteration as done:
            return cast("T", done.value)
        finally:
            self._coroutine.close()


@contextlib.contextmanager
def same_schedule(seed: int = 0) -> Generator[None]:
    """Make trio run tasks in the same order in every run of a scenario; it shuffles them on purpose.

    Args:
        seed: Which of the orders it is.
    """
    scheduler = importlib.import_module("trio._core._run")
    shuffler = cast("random.Random", scheduler._r)  # noqa: SLF001
    state = shuffler.getstate()
    flag = cast("bool", scheduler._ALLOW_DETERMINISTIC_SCHEDULING)  # noqa: SLF001
    shuffler.seed(seed)
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        yield
    finally:
        shuffler.setstate(state)
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = flag  # type: ignore[attr-defined]  # noqa: SLF001

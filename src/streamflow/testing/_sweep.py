"""Cancel a scenario at every point of its life, one point per run, and look at what is left.

Above: tests. Below: `_ticks` and `_trio`, which cancel at one tick; `_tasks`, which looks for tasks left behind;
`_edge_methods`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, assert_never, cast

import anyio

from ._edge_methods import one_wake_up_per_turn
from ._tasks import assert_no_tasks_left, is_on_trio, tasks_alive
from ._ticks import AsyncioInjector

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from ._ticks import Injector

__all__ = ["CancelMode", "Outcome", "SweepReport", "call_next_turn", "cancel_sweep", "injector"]

T = TypeVar("T")

CancelMode = Literal["scope", "native", "timeout"]
"""How to cancel: `anyio.CancelScope.cancel()`, `asyncio.Task.cancel()`, or an `asyncio.timeout()` that runs out."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """How one run of the scenario ended."""

    tick: int
    """The tick at which it was to be cancelled."""
    cancelled: bool
    """Whether the cancellation ended it; false also when it ended just before it would have noticed."""
    value: T | None
    """What it returned, None when it was cancelled."""
    error: BaseException | None
    """The cancellation as it left the scenario, None when it returned."""
    swallowed: bool
    """Whether it returned although the cancellation was raised in it."""


@dataclasses.dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep did."""

    ticks: int
    """Number of runs that were cancelled; the run after them ended undisturbed."""
    completed: bool
    """Whether the sweep was made; false only when it was skipped."""
    skipped: str | None
    """Why the sweep was not made, None when it was."""


async def cancel_sweep(
    scenario: Callable[[], Awaitable[T]],
    *,
    how: CancelMode = "scope",
    check: Callable[[Outcome[T]], Awaitable[object] | object] | None = None,
    max_ticks: int = 2000,
    allow_swallowed: bool = False,
) -> SweepReport:
    """Run `scenario` again and again, cancelled at tick 0, 1, 2, … until a run ends undisturbed.

    One tick is one round of the event loop in which something runs; tick 0 is before the first step. Each run must end
    with its own result or with the cancellation, and must leave no task behind. A scenario that waits for no thread and
    no socket meets the same ticks in every sweep: trio's shuffling is switched off inside it. Use `virtual_time`: on a
    real asyncio clock a scenario that waits for a timer never gets past it.

    Modes other than `scope` exist on asyncio only; on trio they are skipped, and the report says so.

    Cancellation: cancels the run in hand, waits for its end, and passes on.

    ```python
    async def scenario() -> None: ...

    def check(outcome: Outcome[None]) -> None:
        assert sent == received + buffered

    report = await cancel_sweep(scenario, how="native", check=check)
    assert report.ticks > 3
    ```

    Args:
        scenario: Called for each run; makes everything it uses afresh.
        how: How to cancel.
        check: Called, and awaited if need be, after each run, the undisturbed one too.
        max_ticks: Give up when the scenario still runs after so many ticks.
        allow_swallowed: Accept a run that returns although the cancellation was raised in it.

    Raises:
        AssertionError: A run left a task behind, swallowed the cancellation, or was not done after `max_ticks`.
        Exception: Whatever the scenario or the check raised, with a note that names the tick.
    """
    if how != "scope" and is_on_trio():
        return SweepReport(ticks=0, completed=False, skipped=f"how={how!r} exists on asyncio only")
    for tick in range(max_ticks + 1):
        fired = False
        try:
            before = tasks_alive()
            with one_wake_up_per_turn():
                outcome, fired = await _run_once(scenario, how, tick)
            await assert_no_tasks_left(before)
            if not allow_swallowed:
                _refuse_swallowed(outcome)
            if check is not None:
                checked = check(outcome)
                if inspect.isawaitable(checked):
                    await checked
        except BaseException as error:
            error.add_note(f"cancel_sweep(how={how!r}): in the run cancelled at tick {tick}")
            raise
        if not fired:
            return SweepReport(ticks=tick, completed=True, skipped=None)
    raise AssertionError(
        f"cancel_sweep(how={how!r}): the scenario still runs after {max_ticks} ticks; "
        "make it shorter, raise max_ticks, or use virtual_time if it waits for a timer"
    )


async def _run_once(scenario: Callable[[], Awaitable[T]], how: CancelMode, tick: int) -> tuple[Outcome[T], bool]:
    """Run the scenario once; return how it ended, and whether it was cancelled at all."""
    match how:
        case "scope":
            return await _run_in_scope(scenario, tick)
        case "native":
            return await _run_in_task(_cancelled_natively(scenario, tick))
        case "timeout":
            return await _run_in_task(_cancelled_by_timeout(scenario, tick))
        case _:
            assert_never(how)


async def _run_in_scope(scenario: Callable[[], Awaitable[T]], tick: int) -> tuple[Outcome[T], bool]:
    left: BaseException | None = None
    scope = anyio.CancelScope()
    one = injector(tick, scope.cancel)
    with scope:
        try:
            value = await one.drive(scenario)
        except BaseException as error:
            left = error
            raise
        return _returned(tick, value, one)
    return Outcome(tick, cancelled=True, value=None, error=left, swallowed=False), one.fired


async def _cancelled_natively(scenario: Callable[[], Awaitable[T]], tick: int) -> tuple[Outcome[T], bool]:
    injector = AsyncioInjector(tick, cast("asyncio.Task[object]", asyncio.current_task()).cancel)
    try:
        value = await injector.drive(scenario)
    except asyncio.CancelledError as error:
        if not injector.fired:
            raise
        return Outcome(tick, cancelled=True, value=None, error=error, swallowed=False), True
    return _returned(tick, value, injector)


async def _cancelled_by_timeout(scenario: Callable[[], Awaitable[T]], tick: int) -> tuple[Outcome[T], bool]:
    left: BaseException | None = None
    loop = asyncio.get_running_loop()
    limit = asyncio.timeout(None)
    injector = AsyncioInjector(tick, lambda: limit.reschedule(loop.time()))
    try:
        async with limit:
            try:
                value = await injector.drive(scenario)
            except BaseException as error:
                left = error
                raise
            return _returned(tick, value, injector)
    except TimeoutError as error:
        # The scenario's own `TimeoutError` is none of ours.
        if not isinstance(left, asyncio.CancelledError):
            raise
        return Outcome(tick, cancelled=True, value=None, error=error, swallowed=False), True


async def _run_in_task(
    run: Coroutine[object, object, tuple[Outcome[T], bool]],
) -> tuple[Outcome[T], bool]:
    """Await `run` in a task of its own, so that a native cancellation cannot hit the caller."""
    results: list[tuple[Outcome[T], bool]] = []

    async def body() -> None:
        # Not the task's own result: asyncio drops it when the task was cancelled and ends without noticing.
        results.append(await run)

    task = asyncio.create_task(body(), name="cancel_sweep scenario")
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])
        raise
    if not results and task.cancelled():
        raise AssertionError("the scenario raised CancelledError, and nobody had cancelled it")
    if not results:
        task.result()  # raises what the scenario raised
    return results[0]


def injector(tick: int, fire: Callable[[], object]) -> Injector:
    """Return what calls `fire` at one tick while it drives a scenario, on the loop that runs."""
    if not is_on_trio():
        return AsyncioInjector(tick, fire)
    from ._trio import TrioInjector  # noqa: PLC0415 - trio is imported only where it runs

    return TrioInjector(tick, fire)


def call_next_turn(func: Callable[[], object]) -> None:
    """Call a function in the next turn of the loop that runs."""
    if not is_on_trio():
        asyncio.get_running_loop().call_soon(func)
        return
    from ._trio import call_soon  # noqa: PLC0415 - trio is imported only where it runs

    call_soon(func)


def _refuse_swallowed(outcome: Outcome[T]) -> None:
    if outcome.swallowed:
        raise AssertionError("the scenario swallowed the cancellation: it was raised in it, and it returned")


def _returned(tick: int, value: T, injector: Injector) -> tuple[Outcome[T], bool]:
    swallowed = injector.fired and injector.delivered
    return Outcome(tick, cancelled=False, value=value, error=None, swallowed=swallowed), injector.fired

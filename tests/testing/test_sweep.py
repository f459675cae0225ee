"""`cancel_sweep`: it finds what goes wrong at one tick only, and says nothing where nothing is wrong."""

import asyncio
import contextlib
from collections import deque

import anyio
import pytest
from anyio.lowlevel import checkpoint

from streamflow.testing import Outcome, assert_no_tasks_left, cancel_sweep, tasks_alive

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
on_trio = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
MODES = ["scope", "native", "timeout"]
every_mode = pytest.mark.parametrize("how", MODES)


class Counter:
    """Steps that a scenario took, per run."""

    def __init__(self) -> None:
        self.runs: list[int] = []

    async def scenario(self) -> str:
        self.runs.append(0)
        for _ in range(5):
            await checkpoint()
            self.runs[-1] += 1
        return "finished"


@every_mode
async def test_every_step_is_cancelled_once_until_a_run_is_undisturbed(how: str, anyio_backend_name: str) -> None:
    """`cancel_sweep`: no step of the scenario escapes; the last run is the undisturbed one."""
    counter = Counter()
    outcomes: list[Outcome[str]] = []

    report = await cancel_sweep(counter.scenario, how=how, check=outcomes.append)

    if how != "scope" and anyio_backend_name == "trio":
        assert (report.completed, report.ticks, outcomes) == (False, 0, [])
        assert "asyncio only" in report.skipped
        return
    assert report.completed
    assert report.skipped is None
    assert set(counter.runs) == {0, 1, 2, 3, 4, 5}
    assert [outcome.tick for outcome in outcomes] == list(range(report.ticks + 1))
    assert [outcome.cancelled for outcome in outcomes] == [steps < 5 for steps in counter.runs]
    assert (outcomes[-1].value, outcomes[-1].error, outcomes[-1].swallowed) == ("finished", None, False)
    assert all(isinstance(outcome.error, BaseException) for outcome in outcomes if outcome.cancelled)


async def test_two_sweeps_of_one_scenario_are_the_same() -> None:
    """`cancel_sweep` is deterministic, on trio too, which shuffles its tasks."""

    async def sweep() -> list[tuple[int, tuple[str, ...]]]:
        order: list[str] = []
        seen: list[tuple[int, tuple[str, ...]]] = []

        async def worker(name: str) -> None:
            for _ in range(4):
                order.append(name)
                await checkpoint()

        async def scenario() -> None:
            order.clear()
            async with anyio.create_task_group() as tasks:
                for name in "abc":
                    tasks.start_soon(worker, name)

        await cancel_sweep(scenario, check=lambda outcome: seen.append((outcome.tick, tuple(order))))
        async with anyio.create_task_group() as shuffled:  # moves trio's dice on
            for _ in range(3):
                shuffled.start_soon(checkpoint)
        return seen

    first = await sweep()

    assert len(first) > 4
    assert [await sweep() for _ in range(5)] == [first] * 5


@every_mode
async def test_a_scenario_that_sleeps_is_cancelled_in_its_sleep_and_then_gets_past_it(how: str) -> None:
    """`cancel_sweep`: while every task waits no tick passes, so the clock may jump."""
    reached: list[float] = []

    async def scenario() -> None:
        start_s = anyio.current_time()
        reached.append(0.0)
        for _ in range(3):
            await anyio.sleep(3600)
            reached[-1] = anyio.current_time() - start_s

    report = await cancel_sweep(scenario, how=how, max_ticks=60)

    if report.completed:
        assert set(reached) == {0.0, 3600.0, 7200.0, 10800.0}


class LossyPipe:
    """The planted bug: between the two steps of `receive` the item is in nobody's hands."""

    def __init__(self, items: list[int]) -> None:
        self.items = deque(items)

    async def receive(self) -> int:
        await checkpoint()
        item = self.items.popleft()
        await checkpoint()
        return item


class SafePipe(LossyPipe):
    """The same without the bug: nothing is taken before the last point of cancellation."""

    async def receive(self) -> int:
        await checkpoint()
        await checkpoint()
        return self.items.popleft()


async def sweep_pipe(kind: type[LossyPipe], how: str) -> object:
    received: list[int] = []
    pipe = kind([])

    async def scenario() -> None:
        nonlocal pipe
        received.clear()
        pipe = kind([1, 2, 3])
        for _ in range(3):
            received.append(await pipe.receive())

    def nothing_is_lost(_: Outcome[None]) -> None:
        assert [*received, *pipe.items] == [1, 2, 3]

    return await cancel_sweep(scenario, how=how, check=nothing_is_lost)


@every_mode
async def test_an_item_lost_between_two_steps_is_found(how: str, anyio_backend_name: str) -> None:
    """`cancel_sweep` finds the planted loss in every mode, and the failure names its tick."""
    if how != "scope" and anyio_backend_name == "trio":
        assert not (await sweep_pipe(LossyPipe, how)).completed
        return

    with pytest.raises(AssertionError) as caught:
        await sweep_pipe(LossyPipe, how)

    # The loop delivers a timeout one turn after it ran out.
    tick = 1 if how == "timeout" else 2
    assert caught.value.__notes__ == [f"cancel_sweep(how={how!r}): in the run cancelled at tick {tick}"]


@every_mode
async def test_a_correct_receive_passes(how: str, anyio_backend_name: str) -> None:
    """`cancel_sweep` accuses nothing that is right."""
    report = await sweep_pipe(SafePipe, how)

    assert report.completed == (how == "scope" or anyio_backend_name == "asyncio")


async def sweep_memory_stream(how: str) -> tuple[list[int], list[int]]:
    """Sweep a receiver of anyio's memory stream while a task outside it sends; return the items per run, both ways."""
    sent: list[int] = []
    received: list[int] = []

    async with anyio.create_task_group() as outside:

        async def scenario() -> None:
            sent.append(0)
            received.append(0)
            sender, receiver = anyio.create_memory_object_stream[str](0)  # noqa: TID251 - the known-bad control

            async def send() -> None:
                await checkpoint()
                with contextlib.suppress(anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    sender.send_nowait("item")
                    sent[-1] += 1

            with sender, receiver:
                outside.start_soon(send)
                await receiver.receive()
                received[-1] += 1

        await cancel_sweep(scenario, how=how)
    return sent, received


@on_asyncio
@pytest.mark.parametrize("how", ["native", "timeout"])
async def test_the_loss_in_anyios_memory_stream_is_found(how: str) -> None:
    """The known-bad control: under native cancellation that stream loses the item handed to a waiting receiver."""
    sent, received = await sweep_memory_stream(how)

    assert (1, 0) in zip(sent, received, strict=True)


async def test_anyios_memory_stream_is_right_under_scopes() -> None:
    """The control's control: under scope cancellation the same scenario loses nothing."""
    sent, received = await sweep_memory_stream("scope")

    assert sent == received
    assert set(sent) == {0, 1}


@every_mode
async def test_a_swallowed_cancellation_is_an_error(how: str, anyio_backend_name: str) -> None:
    """`cancel_sweep`: a scenario that catches its cancellation and returns is reported, unless that is allowed."""
    swallowed: list[int] = []

    async def scenario() -> str:
        try:
            await checkpoint()
            await checkpoint()
        except anyio.get_cancelled_exc_class():
            pass
        return "as if nothing had happened"

    def check(outcome: Outcome[str]) -> None:
        assert outcome.value == "as if nothing had happened"
        if outcome.swallowed:
            swallowed.append(outcome.tick)

    if how != "scope" and anyio_backend_name == "trio":
        return
    with pytest.raises(AssertionError, match="swallowed the cancellation"):
        await cancel_sweep(scenario, how=how)
    report = await cancel_sweep(scenario, how=how, check=check, allow_swallowed=True)

    assert swallowed[:2] == [0, 1]
    assert len(swallowed) <= report.ticks


@every_mode
async def test_a_scenario_that_never_waits_is_not_accused(how: str) -> None:
    """`cancel_sweep`: what never suspends cannot be cancelled, in any mode."""
    outcomes: list[Outcome[int]] = []

    async def scenario() -> int:
        return 1

    report = await cancel_sweep(scenario, how=how, check=outcomes.append)

    assert report.skipped is not None or len(outcomes) == 2
    assert all((outcome.value, outcome.cancelled, outcome.swallowed) == (1, False, False) for outcome in outcomes)


async def test_a_run_that_ends_before_it_can_notice_has_swallowed_nothing() -> None:
    """`cancel_sweep`: a scenario that cannot be interrupted may return, and is not accused."""
    outcomes: list[Outcome[int]] = []

    async def scenario() -> int:
        with anyio.CancelScope() as inner:
            inner.cancel()
            await anyio.sleep_forever()
        with anyio.CancelScope(shield=True):
            await checkpoint()
            await checkpoint()
        return 1

    await cancel_sweep(scenario, check=outcomes.append)

    late = [outcome for outcome in outcomes if not outcome.cancelled]
    assert len(late) > 1
    assert all((outcome.value, outcome.swallowed) == (1, False) for outcome in late)


@every_mode
async def test_a_timeout_inside_the_scenario_is_told_apart_from_the_sweeps_own(how: str) -> None:
    """`cancel_sweep`: a scenario whose own timeout runs out in the same tick is not accused of swallowing."""
    outcomes: list[Outcome[bool]] = []

    async def scenario() -> bool:
        with anyio.move_on_after(5) as scope:
            await anyio.sleep_forever()
        return scope.cancelled_caught

    report = await cancel_sweep(scenario, how=how, check=outcomes.append)

    if report.completed:
        assert outcomes[-1].value is True
        assert {outcome.cancelled for outcome in outcomes} == {True, False}


@on_asyncio
@every_mode
async def test_an_asyncio_timeout_inside_the_scenario_is_told_apart(how: str) -> None:
    """`cancel_sweep` with Python's own `asyncio.timeout` and `uncancel` inside the scenario."""
    values: list[str | None] = []

    async def scenario() -> str:
        try:
            async with asyncio.timeout(5):
                await asyncio.sleep(10)
        except TimeoutError:
            return "timed out"
        return "slept"

    report = await cancel_sweep(scenario, how=how, check=lambda outcome: values.append(outcome.value))

    assert report.ticks >= 2
    assert values[-1] == "timed out"
    assert values[0] is None
    assert "slept" not in values


@every_mode
async def test_an_error_of_the_scenario_is_raised_with_its_tick(how: str, anyio_backend_name: str) -> None:
    """`cancel_sweep`: anything but the cancellation passes through, and its note names the tick."""

    async def scenario() -> None:
        try:
            await checkpoint()
            await checkpoint()
            await checkpoint()
        except BaseException:
            if len(steps) == 2:
                raise TimeoutError("clean-up failed") from None
            raise
        finally:
            steps.append(1)

    steps: list[int] = []
    if how != "scope" and anyio_backend_name == "trio":
        return
    with pytest.raises(TimeoutError, match="clean-up failed") as caught:
        await cancel_sweep(scenario, how=how)

    assert caught.value.__notes__ == [f"cancel_sweep(how={how!r}): in the run cancelled at tick 2"]


@on_asyncio
@pytest.mark.parametrize("how", ["native", "timeout"])
async def test_a_cancellation_that_nobody_asked_for_is_an_error(how: str) -> None:
    """`cancel_sweep`: a scenario that raises the cancellation by itself did not end undisturbed."""

    async def scenario() -> None:
        raise asyncio.CancelledError

    with pytest.raises(AssertionError, match="nobody had cancelled it"):
        await cancel_sweep(scenario, how=how)


async def test_an_endless_scenario_is_given_up() -> None:
    """`cancel_sweep`: a scenario that never ends by itself is an error, not an endless sweep."""

    async def scenario() -> None:
        while True:
            await checkpoint()

    with pytest.raises(AssertionError, match="still runs after 25 ticks"):
        await cancel_sweep(scenario, max_ticks=25)


@every_mode
async def test_a_sweep_can_be_cancelled_itself(how: str) -> None:
    """`cancel_sweep` — Cancellation: the run in hand ends before the sweep does."""
    running: list[str] = []
    was_skipped = False

    async def scenario() -> None:
        running.append("run")
        try:
            for _ in range(1000):
                await anyio.sleep(100)
        finally:
            running.pop()

    before = tasks_alive()
    with anyio.move_on_after(450):
        was_skipped = (await cancel_sweep(scenario, how=how)).skipped is not None

    assert running == []
    assert was_skipped or anyio.current_time() == 450.0
    await assert_no_tasks_left(before)


async def test_an_asynchronous_check_is_awaited() -> None:
    """`cancel_sweep`: the check may wait."""
    checked: list[int] = []

    async def check(outcome: Outcome[None]) -> None:
        await anyio.sleep(1)
        checked.append(outcome.tick)

    report = await cancel_sweep(checkpoint, check=check)

    assert checked == list(range(report.ticks + 1))


@on_asyncio
async def test_a_task_left_behind_on_asyncio_is_found() -> None:
    """`cancel_sweep`: a scenario that forgets a task fails, with the task's name and place."""
    forgotten: list[asyncio.Task[None]] = []

    async def scenario() -> None:
        forgotten.append(asyncio.create_task(asyncio.sleep(3600), name="forgotten"))
        await checkpoint()

    with pytest.raises(AssertionError, match=r"1 task left behind\n  task 'forgotten'\n(    .*\n)*    .* in sleep"):
        await cancel_sweep(scenario)

    assert len(forgotten) == 1
    forgotten[0].cancel()


@on_trio
async def test_a_task_left_behind_on_trio_is_found() -> None:
    """`cancel_sweep`: the same on trio, where a task can be forgotten in somebody else's nursery."""
    async with anyio.create_task_group() as elsewhere:

        async def scenario() -> None:
            elsewhere.start_soon(anyio.sleep, 3600, name="forgotten")
            await checkpoint()

        with pytest.raises(AssertionError, match=r"1 task left behind\n  task 'forgotten'\n(    .*\n)*    .* in sleep"):
            await cancel_sweep(scenario)
        elsewhere.cancel_scope.cancel()


async def test_a_task_that_is_just_ending_is_not_left_behind() -> None:
    """`assert_no_tasks_left`: a few turns of grace, and none when nothing is left."""
    before = tasks_alive()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(checkpoint)
        tasks.start_soon(checkpoint)

        await assert_no_tasks_left(before)

"""Time limits, each with the stage or edge named: semantics 5.9. All under virtual time, all exact."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest

from streamflow import (
    EndOfStream,
    ErrorElement,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    RunContext,
    RunTimeoutError,
    SendEnd,
    StageError,
    TextElement,
    stage,
)
from streamflow.testing import EdgeLedger, assert_all_stages_stopped


async def every(seconds: float, count: int = 1000) -> AsyncIterator[str]:
    for number in range(count):
        yield str(number)
        await anyio.sleep(seconds)


def sleeper(seconds: float, *, name: str = "sleeper", timeout_s: float | None = None):
    @stage(name=name, timeout_s=timeout_s)
    async def sleeps(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            await anyio.sleep(seconds)
            yield element

    return sleeps


def build(*stages, **settings):
    return PipelineBuilder(PipelineConfig(**settings)).chain(*stages).build()


async def consume(run) -> tuple[list, RunTimeoutError, float]:
    got = []
    with pytest.raises(RunTimeoutError) as caught:
        async for element in run:
            got.append(element)
    return got, caught.value, anyio.current_time()


async def test_the_whole_run_ends_at_its_limit_with_what_came_until_then():
    """5.6, 5.9: data, the error element, `EndOfStream(timeout)`, then `RunTimeoutError`, at the exact time."""
    began = anyio.current_time()
    async with build(PassthroughStage("p"), timeout_s=2.5).execute(every(1)) as run:
        got, error, now = await consume(run)

    assert now - began == pytest.approx(2.5)
    assert [one.text for one in got if isinstance(one, TextElement)] == ["0", "1", "2"]
    notice, end = got[-2:]
    assert isinstance(notice, ErrorElement)
    assert (notice.code, notice.fatal) == ("timeout", True)
    assert isinstance(end, EndOfStream)
    assert end.reason == "timeout"
    assert (error.kind, error.limit_s, error.where) == ("run", 2.5, "the run")
    assert isinstance(error, TimeoutError)
    await assert_all_stages_stopped()


async def test_the_first_element_must_come_in_time():
    """5.9: first element."""
    began = anyio.current_time()
    async with build(sleeper(10), first_element_timeout_s=3).execute("x") as run:
        _, error, now = await consume(run)
    assert error.kind == "first_element"
    assert now - began == pytest.approx(3)


async def test_once_the_first_element_has_come_its_limit_is_over():
    """5.9: only the first element is meant."""
    result = await build(PassthroughStage("p"), first_element_timeout_s=3).run(every(5, 3))
    assert result.text == "012"


async def test_an_idle_run_ends_when_nothing_has_moved_anywhere_for_the_limit():
    """5.9: any element that moves on any edge starts the time anew."""
    began = anyio.current_time()

    async def source() -> AsyncIterator[str]:
        for number in range(4):
            yield str(number)
            await anyio.sleep(4)
        await anyio.sleep(1000)

    async with build(sleeper(0.5), PassthroughStage("p"), idle_timeout_s=5).execute(source()) as run:
        got, error, now = await consume(run)
    assert sum(isinstance(one, TextElement) for one in got) == 4
    assert error.kind == "idle"
    # The last element entered at 12, moved on at 12.5, and then nothing moved for 5.
    assert now - began == pytest.approx(17.5)


async def test_an_idle_limit_does_not_end_a_run_that_moves():
    """The original's fault: a busy pipeline was killed at its idle limit."""
    result = await build(PassthroughStage("p"), idle_timeout_s=2).run(every(1, 60))
    assert len(result.elements) == 60


async def test_a_stage_that_takes_too_long_is_named():
    """5.9: per stage."""
    began = anyio.current_time()
    pipeline = build(PassthroughStage("p"), sleeper(9, name="slow", timeout_s=4), PassthroughStage("q"))
    async with pipeline.execute(["a", "b"]) as run:
        _, error, now = await consume(run)
    assert (error.kind, error.where) == ("stage", "stage 'slow'")
    assert now - began == pytest.approx(4)
    assert "neither sent nor asked" in str(error)


async def test_a_stage_that_waits_for_input_or_for_room_is_not_busy():
    """5.9: waiting on an edge is not the stage's own time."""
    quick = sleeper(1, name="quick", timeout_s=2)
    result = await build(quick, sleeper(5), buffer_size=1).run(every(7, 6))
    assert result.text == "012345"


async def test_a_stage_that_has_ended_is_not_busy():
    """5.9: its clock stops with it."""

    @stage(timeout_s=1)
    async def once(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        yield await anext(stream)

    result = await build(once, sleeper(5)).run("x")
    assert result.text == "x"


async def test_a_helper_that_waits_for_room_does_not_hide_another_sender():
    """5.9: several tasks of a stage may wait on one edge; its time is that of the first."""

    @stage
    async def wide(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[None]) -> None:
        async def send(delay: float) -> None:
            await anyio.sleep(delay)
            await output.send(TextElement(str(delay)))

        for delay in (0.0, 0.0, 1.0, 2.0):
            run.start_soon(send, delay)
        async for _ in stream:
            pass

    began = anyio.current_time()
    async with build(wide, sleeper(1000), buffer_size=1, backpressure_timeout_s=5).execute("x") as run:
        _, error, now = await consume(run)
    assert error.where == "edge wide → sleeper"
    assert now - began == pytest.approx(6)


@pytest.mark.parametrize("behind", [0, 1])
async def test_an_edge_that_stays_full_is_named_and_its_reader_is_not_waited_for(behind: int):
    """5.9: back-pressure. The reader is what is stuck, so the run does not drain through it."""
    stages = [sleeper(1000, name="stuck"), *[PassthroughStage(f"p{number}") for number in range(behind)]]
    began = anyio.current_time()
    async with build(*stages, buffer_size=1, backpressure_timeout_s=3).execute("abcdef") as run:
        await run.aclose()
    async with build(*stages, buffer_size=1, backpressure_timeout_s=3).execute(list("abcdef")) as run:
        got, error, now = await consume(run)
    assert (error.kind, error.limit_s, error.where) == ("backpressure", 3, "edge source → stuck")
    assert "stayed full for 3 s" in str(error)
    assert now - began == pytest.approx(3)
    assert [type(one) for one in got] == [ErrorElement, EndOfStream]


async def test_a_consumer_that_does_not_read_can_be_given_a_limit_too():
    """5.9: the last edge is an edge like the others; what is in it still arrives."""
    async with build(PassthroughStage("p"), buffer_size=2, backpressure_timeout_s=3).execute(list("abcdef")) as run:
        await anyio.sleep(10)
        got, error, _ = await consume(run)
    assert error.where == "edge p → consumer"
    assert [one.text for one in got if isinstance(one, TextElement)] == ["a", "b"]


async def test_a_run_within_its_limits_leaves_no_watchdog():
    """5.5: the task that watches the limits ends with the run."""
    async with build(PassthroughStage("p"), timeout_s=1000, idle_timeout_s=100).execute("x") as run:
        async for _ in run:
            pass
        await assert_all_stages_stopped()


async def test_stages_see_the_deadline_of_their_run():
    """3.4: `RunContext.deadline_s`, on the clock of the event loop."""
    seen: list[float | None] = []

    @stage
    async def asks(stream: AsyncIterator[TextElement], run: RunContext[None]) -> AsyncIterator[TextElement]:
        seen.append(None if run.deadline_s is None else run.deadline_s - run.clock())
        async for element in stream:
            yield element

    await build(asks, timeout_s=30).run("x")
    await build(asks).run("x")
    assert seen == [pytest.approx(30), None]


async def test_a_run_timeout_carries_what_failed_while_it_was_stopped():
    """5.6: later failures are in `.suppressed`."""

    @stage
    async def bad_cleanup(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        try:
            async for element in stream:
                yield element
        finally:
            raise KeyError("in clean-up")

    async with build(bad_cleanup, timeout_s=1).execute(every(10)) as run:
        _, error, _ = await consume(run)
    assert [one.stage for one in error.suppressed] == ["bad_cleanup"]


async def test_a_limit_and_a_ledger_watch_the_same_edges():
    """5.9, 2.5: who watches an edge does not hide it from the other."""

    @stage
    async def first(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        yield await anext(stream)
        await anyio.sleep(1)

    with EdgeLedger(capacity=2) as ledger:
        result = await build(PassthroughStage("p"), first, buffer_size=2, idle_timeout_s=5).run(every(0.0, 20))
    assert result.text == "0"
    ledger.check(ended=True)
    assert ledger.edges["p → first"].discarded
    assert ledger.edges["source → p"].blocked


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_watchdog_that_is_cancelled_from_outside_is_no_silent_end_of_the_limits():
    """5.9: a run whose limits are not watched any more fails instead of waiting without them."""
    async with build(PassthroughStage("p"), timeout_s=1000).execute(every(10)) as run:
        await anext(run)
        next(task for task in asyncio.all_tasks() if task.get_name() == "watchdog").cancel()
        with pytest.raises(StageError, match="watchdog"):
            async for _ in run:
                pass

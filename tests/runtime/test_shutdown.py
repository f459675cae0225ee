"""The end of a pipeline: no new runs, the old ones drain, then they are cancelled. And how many there may be at a time."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import anyio
import pytest

from streamflow import (
    EndOfStream,
    PassthroughStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    Resource,
    SendEnd,
    TextElement,
    current_run,
    stage,
)
from streamflow.errors import ConfigError, PipelineBusyError, RunStateError, ShutdownTimeoutError
from streamflow.testing import assert_all_stages_stopped, assert_no_tasks_left, tasks_alive


def pipeline_of(*stages, **settings) -> Pipeline:
    return PipelineBuilder(PipelineConfig(**settings)).chain(*stages).build()


@stage
async def slowly(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        await anyio.sleep(1)
        yield element


async def endless() -> AsyncIterator[TextElement]:
    number = 0
    while True:
        yield TextElement(str(number))
        number += 1
        await anyio.sleep(1)


async def test_a_shutdown_ends_the_input_and_lets_arrive_what_is_on_its_way() -> None:
    """semantics 5.8: refuses new runs, drains; the run ends as if its source had."""
    pipeline = pipeline_of(slowly)
    got: list[object] = []

    async def consume() -> None:
        async with pipeline.execute(endless()) as run:
            got.extend([element async for element in run])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consume)
        await anyio.sleep(3.5)
        await pipeline.shutdown(60)
        with pytest.raises(RunStateError, match="shut down"):
            await pipeline.run("x")

    assert [one.text for one in got if isinstance(one, TextElement)] == ["0", "1", "2", "3"]
    assert isinstance(got[-1], EndOfStream)
    assert got[-1].reason == "done"


async def test_when_time_is_up_runs_are_cancelled_and_their_consumers_are_told() -> None:
    """semantics 5.8: then cancels; what was on its way out still arrives."""
    pipeline = pipeline_of(slowly)
    got: list[object] = []

    async def consume() -> None:
        async with pipeline.execute(["a", "b", "c", "d", "e"]) as run:
            got.extend([element async for element in run])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consume)
        await anyio.sleep(1.5)
        await pipeline.shutdown(1)

    assert [one.text for one in got if isinstance(one, TextElement)] == ["a", "b"]
    assert isinstance(got[-1], EndOfStream)
    assert got[-1].reason == "cancelled"
    await assert_all_stages_stopped()


async def test_a_live_run_ends_when_its_pipeline_is_left() -> None:
    """semantics 5.8: leaving the block is a shutdown, with the deadline of the configuration."""
    pipeline = pipeline_of(slowly, shutdown_timeout_s=3, buffer_size=1)
    began = anyio.current_time()
    async with pipeline:
        run = pipeline.execute()
        await run.__aenter__()
        for word in ("x", "y", "z"):
            await run.send(word)

    assert anyio.current_time() - began == 3  # nobody took what came out, and nothing had to wait for that
    assert [one.text async for one in run if isinstance(one, TextElement)] == ["x", "y", "z"]
    await run.aclose()


async def test_a_shutdown_may_be_called_again_and_without_any_run() -> None:
    """semantics 5.8: idempotent."""
    pipeline = pipeline_of(PassthroughStage("a"))

    await pipeline.shutdown()
    await pipeline.shutdown(0)


async def test_a_stage_that_cannot_be_stopped_is_named() -> None:
    """semantics 5.8: every shutdown has a deadline, and says what it left behind."""
    before = tasks_alive()
    gate = anyio.Event()

    @stage
    async def stubborn(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        while not gate.is_set():
            try:
                with anyio.CancelScope(shield=True):
                    await gate.wait()
            except anyio.get_cancelled_exc_class():
                pass

    pipeline = pipeline_of(PassthroughStage("a"), stubborn, shutdown_timeout_s=2)
    run = pipeline.execute("x")
    await run.__aenter__()

    with pytest.raises(ShutdownTimeoutError, match="'stubborn'") as caught:
        await pipeline.shutdown(1)

    assert caught.value.stages == ("stubborn",)
    assert run.zombies == ("stubborn",)
    gate.set()
    await run.aclose()
    await assert_no_tasks_left(before)


async def test_a_shutdown_that_is_cancelled_cancels_the_runs_at_once() -> None:
    """rule of the code: clean-up is done all the same."""
    pipeline = pipeline_of(slowly)
    async with pipeline.execute(map(str, range(16))) as run:
        assert await anext(run) == TextElement("0")
        began = anyio.current_time()
        with anyio.move_on_after(2):
            await pipeline.shutdown(1000)

        assert anyio.current_time() - began == 2
        await assert_all_stages_stopped()


@pytest.mark.parametrize("given", [-1, True, float("nan"), "soon"])
async def test_a_deadline_that_is_none_is_refused(given) -> None:
    """how we work 5: names the argument; and nothing has been shut down."""
    pipeline = pipeline_of(PassthroughStage("a"))

    with pytest.raises(ConfigError, match="timeout_s"):
        await pipeline.shutdown(given)

    assert (await pipeline.run("x")).text == "x"


# max_concurrent_runs


async def test_one_run_more_than_there_may_be_is_refused_until_another_has_ended() -> None:
    """parity R5: the concurrency limit."""
    pipeline = pipeline_of(PassthroughStage("a"), max_concurrent_runs=2)

    async with pipeline.execute("x") as first, pipeline.execute("y"):
        third = pipeline.execute("z")
        with pytest.raises(
            PipelineBusyError, match="2 runs are going, the most that max_concurrent_runs allows"
        ) as caught:
            await third.__aenter__()
        assert caught.value.limit == 2
        with pytest.raises(PipelineBusyError):
            await pipeline.run("z")
        await first.result()
        assert (await pipeline.run("z")).text == "z"

    for _ in range(5):
        assert (await pipeline.run("z")).text == "z"


async def test_a_run_that_was_never_entered_counts_for_nothing() -> None:
    """parity R5: what counts is what has been started."""
    pipeline = pipeline_of(PassthroughStage("a"), max_concurrent_runs=1)
    for _ in range(3):
        pipeline.execute("x")

    assert (await pipeline.run("x")).text == "x"


async def test_a_run_that_was_refused_can_be_entered_later() -> None:
    """parity R5: a refusal changes nothing."""
    pipeline = pipeline_of(PassthroughStage("a"), max_concurrent_runs=1)
    waiting = pipeline.execute("y")
    async with pipeline.execute("x"):
        with pytest.raises(PipelineBusyError):
            await waiting.__aenter__()

    async with waiting:
        assert (await waiting.result()).text == "y"


async def test_failed_and_abandoned_runs_count_no_more() -> None:
    """semantics 5.5: however a run ends, its place is free."""
    pipeline = pipeline_of(slowly, max_concurrent_runs=1)
    for _ in range(3):
        async for _element in pipeline.execute(endless()):
            break
        await assert_all_stages_stopped()

    assert (await pipeline.run("x")).text == "x"


async def test_a_run_that_was_just_admitted_gets_what_it_needs_to_drain() -> None:
    """semantics 5.8, 3.4: resources are there until the last run has ended, also for a stage that had no turn yet."""

    @contextlib.asynccontextmanager
    async def open_it() -> AsyncIterator[str]:
        yield "it"

    shared = Resource(open_it)

    @stage(resources=(shared,))
    async def ask(element: TextElement) -> TextElement:
        return TextElement(await current_run().resource(shared))

    pipeline = pipeline_of(ask)
    async with pipeline, pipeline.execute() as run:
        await run.send("x")
        await pipeline.shutdown()
        assert [type(one) async for one in run] == [TextElement, EndOfStream]


async def test_a_pipeline_that_was_shut_down_cannot_be_entered() -> None:
    """semantics 5.8: also where it has nothing to open."""
    pipeline = pipeline_of(PassthroughStage("a"))
    await pipeline.shutdown()

    with pytest.raises(RunStateError, match="has been shut down"):
        await pipeline.__aenter__()

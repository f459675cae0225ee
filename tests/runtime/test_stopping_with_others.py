"""Drain and cancellation of runs that are interrupted meanwhile, go in circles, or come near to a deadlock."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping

import anyio
import pytest
from anyio.lowlevel import checkpoint

from streamflow import (
    EndOfStream,
    PassthroughStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    PipelineDeadlockError,
    ReceiveEnd,
    SendEnd,
    StreamElement,
    TextElement,
    stage,
)
from streamflow.testing import EdgeLedger, assert_all_stages_stopped


@stage(outputs={"again": TextElement, "done": TextElement})
async def decide(input: ReceiveEnd[TextElement], outputs: Mapping[str, SendEnd[TextElement]]) -> None:
    """Take one letter away; what has none left is done."""
    async for element in input:
        await anyio.sleep(0.1)
        if len(element.text) > 1:
            await outputs["again"].send(TextElement(element.text[1:]))
        else:
            await outputs["done"].send(element)


@stage
async def passing(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield element


@stage
async def slowly(element: TextElement) -> TextElement:
    await anyio.sleep(1)
    return element


async def endless() -> AsyncIterator[TextElement]:
    while True:
        yield TextElement("xyz")
        await checkpoint()


def texts(elements: list[StreamElement]) -> list[str]:
    return [one.text for one in elements if isinstance(one, TextElement)]


def ends_with(elements: list[StreamElement]) -> str:
    assert isinstance(elements[-1], EndOfStream)
    return elements[-1].reason


@pytest.mark.parametrize("is_live", [True, False])
async def test_a_loop_drains_its_rounds_are_finished(is_live: bool) -> None:
    """semantics 7.4: what is inside a loop goes round until it is done; then the loop ends, and the run with it."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=4)).chain(PassthroughStage("enter"), decide)
    pipeline = builder.feedback("decide:again", "enter", buffer=9, max_rounds=5).build()
    async with pipeline.execute(None if is_live else endless()) as run:
        if is_live:
            await run.send("abc")
            await run.send("de")
        else:
            await anyio.sleep(0.5)
        await run.drain(60)
        elements = [element async for element in run]
        assert ends_with(elements) == "done"
        if is_live:
            assert sorted(texts(elements)) == ["c", "e"]
            assert not run.undelivered
        assert len(texts(elements)) >= 1
    await assert_all_stages_stopped()


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("settings", [{}, {"on_deadlock": "grow"}, {"stall_report_s": 0.1}])
async def test_a_drain_is_no_deadlock(reads: bool, settings: dict[str, object]) -> None:
    """semantics 7.4: full edges, all stages waiting for room, a consumer that drains, or waits for an element meanwhile."""
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=1, **settings)).chain(passing, slowly).build()  # type: ignore[arg-type]
    elements: list[StreamElement] = []

    async with pipeline.execute(endless()) as run:

        async def read() -> None:
            elements.extend([element async for element in run])

        async with anyio.create_task_group() as tasks:
            if reads:
                tasks.start_soon(read)
            await anyio.sleep(10)
            await run.drain(60)
            if not reads:
                await read()
    assert ends_with(elements) == "done"
    assert len(texts(elements)) == pytest.approx(14 if reads else 5, abs=2)
    assert sum(run.undelivered.values()) <= 1  # what the source had in its hand
    await assert_all_stages_stopped()


async def test_a_deadlock_while_draining_is_told() -> None:
    """semantics 7.4: who waits for each other does so while the run drains, too."""

    @stage(outputs={"again": TextElement, "done": TextElement})
    async def multiply(input: ReceiveEnd[TextElement], outputs: Mapping[str, SendEnd[TextElement]]) -> None:
        async for element in input:
            await anyio.sleep(1)
            for _ in range(5):
                await outputs["again"].send(element)

    builder = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(PassthroughStage("enter"), multiply)
    pipeline = builder.feedback("multiply:again", "enter", max_rounds=99, buffer=1).build()
    with pytest.raises(PipelineDeadlockError):
        async with pipeline.execute() as run:
            await run.send("x")
            await run.drain(60)
            _ = [element async for element in run]
    await assert_all_stages_stopped()


async def test_an_interruption_while_draining_drops_what_it_drops_and_the_rest_arrives() -> None:
    """semantics 7.4, 5.11: `stale` is lost on purpose, so it is not told as undelivered; the drain goes on."""
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=8)).chain(passing, slowly).build()
    with EdgeLedger() as ledger:
        async with pipeline.execute() as run:
            for text in "abcd":
                await run.send(text)
            await run.send(TextElement("kept", interruptible=False))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run.drain, 60)
                await anyio.sleep(1.5)
                done = run.interrupt()
                assert done.cancelled
            elements = [element async for element in run]
        assert ends_with(elements) == "done"
        assert "kept" in texts(elements)
        assert "d" not in texts(elements)
        assert not run.undelivered
        assert run.stats().interruptions == 1
    ledger.check(ended=True)
    await assert_all_stages_stopped()


async def test_a_clean_up_is_left_alone_by_an_interruption_and_the_end_after_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """semantics 7.7: interrupted, and cancelled before it has run again: what cleans up has swallowed nothing."""
    cleaned: list[float] = []

    @stage
    async def careful(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            try:
                await anyio.sleep(60)
            finally:
                began = anyio.current_time()
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(2)
                cleaned.append(anyio.current_time() - began)
            yield element

    pipeline = PipelineBuilder().chain(careful).build()
    with caplog.at_level(logging.WARNING, logger="streamflow.runtime"):
        async with pipeline.execute("x") as run:
            with anyio.move_on_after(1):
                await anext(run)
            run.interrupt()
            run.cancel()
    assert cleaned == [pytest.approx(2)]
    assert not [record for record in caplog.records if "swallowed" in record.getMessage()]
    await assert_all_stages_stopped()


async def test_what_swallows_after_an_interruption_is_throttled_too(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 7.7: a stage that swallows is cancelled a few times a second, interrupted before or not."""
    swallowed = 0
    lets_pass = False

    @stage
    async def stubborn(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        nonlocal swallowed
        async for element in stream:
            yield element
            while True:
                try:
                    await anyio.sleep(10**6)
                except anyio.get_cancelled_exc_class():
                    swallowed += 1
                    if lets_pass:
                        raise

    pipeline = PipelineBuilder(PipelineConfig(shutdown_timeout_s=10)).chain(stubborn).build()
    with caplog.at_level(logging.WARNING, logger="streamflow.runtime"):
        async with pipeline.execute("x") as run:
            await anext(run)
            await anyio.sleep(1)
            run.interrupt()
            run.cancel()
        assert run.zombies == ("stubborn",)
    assert 4 <= swallowed <= 25
    lets_pass = True
    await anyio.sleep(2)
    await assert_all_stages_stopped()


async def test_an_interrupted_stage_goes_on_and_is_cancelled_later() -> None:
    """semantics 5.11, 7.7: an interruption is taken back; the cancellation after it ends the stage."""
    pipeline: Pipeline = PipelineBuilder().chain(slowly).build()
    async with pipeline.execute() as run:
        await run.send("a")
        await anyio.sleep(0.5)
        await run.interrupt().settled()
        await run.send("b")
        element = await anext(run)
        assert isinstance(element, TextElement)
        assert element.text == "b"
        await run.send("c")
        await anyio.sleep(0.5)
        began = anyio.current_time()
    assert anyio.current_time() == began
    assert not run.zombies
    await assert_all_stages_stopped()

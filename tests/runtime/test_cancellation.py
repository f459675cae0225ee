"""What is left after a cancellation: nothing. Semantics 2.3, 5.5, 5.6; on both backends and by every way to cancel."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Literal

import anyio
import pytest
from anyio.lowlevel import checkpoint

from streamflow import (
    BaseStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    RunContext,
    RunTimeoutError,
    SendEnd,
    StageError,
    StreamElement,
    TextElement,
    open_channel,
    stage,
)
from streamflow.errors import OutputClosedError
from streamflow.testing import (
    Outcome,
    assert_all_stages_stopped,
    assert_no_tasks_left,
    cancel_sweep,
    tasks_alive,
)

How = Literal["scope", "native", "timeout"]


class Traces:
    """What a scenario leaves behind: sources opened and closed, clean-ups begun and done."""

    def __init__(self) -> None:
        self.opened = self.closed = self.entered = self.left = 0

    async def source(self, count: int = 6) -> AsyncIterator[TextElement]:
        self.opened += 1
        try:
            for number in range(count):
                yield TextElement(str(number))
                await checkpoint()
        finally:
            self.closed += 1

    def pipeline(self, capacity: int):
        traces = self

        @stage
        async def generator(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
            traces.entered += 1
            try:
                async for element in stream:
                    await checkpoint()
                    yield element
            finally:
                traces.left += 1

        class Process(BaseStage):
            async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
                traces.entered += 1
                try:
                    async for element in input:
                        await output.send(element)
                finally:
                    traces.left += 1

        @stage
        async def helped(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[None]) -> None:
            traces.entered += 1
            try:
                run.start_soon(checkpoint)
                async for element in stream:
                    await output.send(element)
            finally:
                traces.left += 1

        config = PipelineConfig(buffer_size=capacity, timeout_s=1000)
        return PipelineBuilder(config).chain(generator, Process("process"), helped).build()

    def check(self) -> None:
        assert self.opened == self.closed
        assert self.entered == self.left


@pytest.mark.parametrize("how", ["scope", "native", "timeout"])
@pytest.mark.parametrize("capacity", [1, 16])
async def test_a_block_cancelled_at_every_tick_leaves_nothing(how: How, capacity: int):
    """SF-20, SF-21: whenever the caller is cancelled, every source is closed, every clean-up ran, no task is left."""
    traces = Traces()

    async def scenario() -> list[StreamElement]:
        async with traces.pipeline(capacity).execute(traces.source()) as run:
            return [element async for element in run]

    async def check(outcome: Outcome[list[StreamElement]]) -> None:
        await assert_all_stages_stopped()
        traces.check()
        if not outcome.cancelled:
            assert outcome.value is not None
            assert len(outcome.value) == 7

    report = await cancel_sweep(scenario, how=how, check=check)
    assert report.skipped or report.ticks > 10


@pytest.mark.parametrize("how", ["scope", "native", "timeout"])
async def test_a_bare_loop_cancelled_at_every_tick_leaves_nothing(how: How):
    """SF-20, SF-21 for the bare form: its run ends by itself a few turns later."""
    traces = Traces()

    async def scenario() -> int:
        count = 0
        async for _ in traces.pipeline(2).execute(traces.source()):
            count += 1
        return count

    async def check(_: Outcome[int]) -> None:
        await assert_all_stages_stopped()
        traces.check()

    report = await cancel_sweep(scenario, how=how, check=check)
    assert report.skipped or report.ticks > 10


@pytest.mark.parametrize("how", ["scope", "native"])
async def test_a_cancelled_pull_takes_nothing(how: How):
    """2.3: a pull of the consumer that is cancelled loses nothing: the next pull gets the element."""
    got: list[str] = []

    async def scenario() -> None:
        got.clear()
        async with PipelineBuilder(PipelineConfig(buffer_size=1)).chain(PassthroughStage("p")).build().execute() as run:

            async def feed() -> None:
                for number in range(8):
                    await run.send(str(number))
                run.close_input()

            async with anyio.create_task_group() as group:
                group.start_soon(feed)
                while len(got) < 8:
                    with anyio.move_on_after(0):
                        element = await anext(run)
                        assert isinstance(element, TextElement)
                        got.append(element.text)
                    await checkpoint()
        assert got == [str(number) for number in range(8)]

    await cancel_sweep(scenario, how=how)


async def test_cancelling_the_caller_cancels_the_stages_and_waits_for_their_shielded_clean_up():
    """5.5: clean-up that awaits under a shield finishes before the block is left."""
    log: list[str] = []

    @stage
    async def careful(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        try:
            async for element in stream:
                yield element
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3)
                log.append("cleaned up")

    with anyio.move_on_after(1):
        async with PipelineBuilder().chain(careful).build().execute() as run:
            await anext(run)
    assert log == ["cleaned up"]
    await assert_all_stages_stopped()


async def test_a_stage_that_does_not_end_is_named_and_left_behind(caplog: pytest.LogCaptureFixture):
    """5.5: what could not be stopped within the deadline is named, and the caller is released."""
    release = anyio.Event()

    @stage
    async def stubborn(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        try:
            async for element in stream:
                yield element
        finally:
            with anyio.CancelScope(shield=True):
                await release.wait()

    pipeline = PipelineBuilder(PipelineConfig(shutdown_timeout_s=2)).chain(stubborn).build()
    began = anyio.current_time()
    with caplog.at_level(logging.WARNING, logger="streamflow.runtime"):
        async with pipeline.execute() as run:
            await run.send("x")
            await anext(run)
    assert anyio.current_time() - began == pytest.approx(2)
    assert run.zombies == ("stubborn",)
    assert "stubborn did not end within 2 s" in caplog.text
    with pytest.raises(AssertionError, match=r"alive are stubborn"):
        await assert_all_stages_stopped()
    release.set()
    await assert_all_stages_stopped()


async def test_a_stubborn_stage_is_waited_for_once():
    """5.5: the consumer that goes on to the end waits for the deadline one time, not at each of the last pulls."""
    release = anyio.Event()

    @stage
    async def stubborn(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        try:
            async for element in stream:
                yield element
            await anyio.sleep(10**6)
        finally:
            with anyio.CancelScope(shield=True):
                await release.wait()

    @stage
    async def boom(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        yield await anext(stream)
        raise ValueError

    pipeline = PipelineBuilder(PipelineConfig(shutdown_timeout_s=2)).chain(stubborn, boom).build()
    began = anyio.current_time()
    with pytest.raises(StageError, match="boom"):
        async with pipeline.execute("x") as run:
            async for _ in run:
                pass
    assert anyio.current_time() - began == pytest.approx(2)
    assert run.zombies == ("stubborn",)
    release.set()
    await assert_all_stages_stopped()


async def test_a_stage_that_swallows_its_cancellation_once_does_not_hold_the_run():
    """SF-27: a stage that goes on after its cancellation meets closed edges and ends."""
    log: list[str] = []

    class Swallower(BaseStage):
        async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            try:
                await anyio.sleep(1000)
            except anyio.get_cancelled_exc_class():
                log.append("swallowed")
            async for element in input:
                await output.send(element)

    async with PipelineBuilder().chain(Swallower("swallower")).build().execute("x"):
        await anyio.sleep(1)
    assert log == ["swallowed"]
    await assert_all_stages_stopped()


@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("ending", ["break", "failure", "cancel", "timeout", "early return", "success"])
async def test_nothing_is_left_after_any_ending_without_the_garbage_collector(ending: str):
    """The promise of the issue: break, failure, cancel, timeout leave no task and no open source, with gc off."""
    before = tasks_alive()
    traces = Traces()

    @stage
    async def last(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            if ending == "failure" and element.text == "1":
                raise ValueError
            yield element
            if ending == "early return":
                return
            if ending in ("timeout", "cancel"):
                await anyio.sleep(100)

    config = PipelineConfig(buffer_size=1, timeout_s=5 if ending == "timeout" else None)
    pipeline = PipelineBuilder(config).chain(PassthroughStage("p"), last).build()
    failed = False
    try:
        async for _ in pipeline.execute(traces.source(3 if ending == "success" else 10**6)):
            if ending == "break":
                break
            if ending == "cancel":
                with anyio.CancelScope() as scope:
                    async for _ in pipeline.execute(traces.source(10**6)):
                        scope.cancel()
                        await checkpoint()
                break
    except (StageError, RunTimeoutError):
        failed = True
    assert failed == (ending in {"failure", "timeout"})
    await assert_all_stages_stopped()
    await assert_no_tasks_left(before)
    traces.check()


async def test_an_early_return_stops_the_source_soon_and_is_a_success():
    """3.1, SF-06: `take(3)` ends the run with success; the source stops within what the edges hold."""
    pulled = 0

    def source():
        nonlocal pulled
        while True:
            pulled += 1
            yield TextElement("x")

    @stage
    async def take_three(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        taken = 0
        async for element in stream:
            yield element
            taken += 1
            if taken == 3:
                return

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=2)).chain(PassthroughStage("p"), take_three).build()
    result = await pipeline.run(source())
    assert result.reason == "done"
    assert len(result.elements) == 3
    assert pipeline.max_in_flight is not None
    assert pulled <= 3 + pipeline.max_in_flight


async def test_an_early_return_cancels_a_source_that_waits():
    """5.5: a source that waits for something else is not waited for once nobody needs it."""
    closed: list[str] = []

    async def source() -> AsyncIterator[str]:
        try:
            yield "a"
            await anyio.sleep(10**6)
        finally:
            closed.append("closed")

    @stage
    async def first(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        yield await anext(stream)

    began = anyio.current_time()
    result = await PipelineBuilder().chain(PassthroughStage("p"), first).build().run(source())
    assert result.text == "a"
    assert anyio.current_time() == began
    assert closed == ["closed"]


async def test_upstream_of_an_early_return_meets_the_closed_output_not_a_cancellation():
    """3.1: whoever waits for room learns that the reader has gone; only who waits for something else is cancelled."""
    log: list[str] = []

    @stage
    async def sends(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        try:
            async for element in stream:
                await output.send(element)
        except OutputClosedError as error:
            log.append(error.reason)
            raise

    @stage
    async def sleeps(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        try:
            async for element in stream:
                yield element
                if element.text == "3":
                    await anyio.sleep(10**6)
        except anyio.get_cancelled_exc_class():
            log.append("cancelled")
            raise

    @stage
    async def first(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        yield await anext(stream)
        await anyio.sleep(1)

    config = PipelineConfig(buffer_size=1)
    source = [str(number) for number in range(100)]
    began = anyio.current_time()
    result = await PipelineBuilder(config).chain(sends, first).build().run(source)
    assert (result.reason, log) == ("done", ["no_more_needed"])

    result = await PipelineBuilder(PipelineConfig(buffer_size=16)).chain(sleeps, first).build().run(source)
    assert (result.reason, log) == ("done", ["no_more_needed", "cancelled"])
    assert anyio.current_time() == began + 2


async def test_a_channel_given_as_source_is_closed_also_when_the_run_ends_before_it_began():
    """5.5: no open source is left, however early the end comes."""
    send, receive = open_channel(4)
    await send.send(TextElement("x"))
    async with PipelineBuilder().chain(PassthroughStage("p")).build().execute(receive) as run:
        run.cancel()
    assert receive.statistics().state == "cancelled"

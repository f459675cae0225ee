"""One switch for many runs, from anywhere: complete them, or fail them. And cancelling in every state."""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
import weakref
from collections.abc import AsyncIterator

import anyio
import anyio.to_thread
import pytest

from streamflow import (
    EndOfStream,
    ErrorElement,
    KillSwitch,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    Resource,
    StageError,
    TextElement,
    current_run,
    stage,
)
from streamflow.errors import ConfigError, RunAbortedError, RunStateError
from streamflow.testing import assert_all_stages_stopped


@stage
async def slowly(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        await anyio.sleep(1)
        yield element


def pipeline_of(*stages, **settings) -> Pipeline:
    return PipelineBuilder(PipelineConfig(**settings)).chain(*stages).build()


async def endless() -> AsyncIterator[str]:
    while True:
        yield "x"
        await anyio.sleep(1)


def texts(elements: list[object]) -> list[str]:
    return [one.text for one in elements if isinstance(one, TextElement)]


def reason(elements: list[object]) -> str:
    assert isinstance(elements[-1], EndOfStream)
    return elements[-1].reason


async def test_a_shutdown_completes_all_runs_of_all_pipelines() -> None:
    """semantics 5.8 (7.6): input ends, what is inside arrives, the reason is `done`."""
    switch, ends = KillSwitch(), []

    async def consume(pipeline: Pipeline) -> None:
        async with pipeline.execute(endless(), kill_switch=switch) as run:
            ends.append([element async for element in run])

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(consume, pipeline_of(slowly))
        await anyio.sleep(2.5)
        switch.shutdown()

    assert [(texts(one), reason(one)) for one in ends] == [(["x", "x", "x"], "done")] * 3
    assert switch.state == "shutdown"


@pytest.mark.parametrize("error", [ValueError("disk full"), "disk full", None])
async def test_an_abort_fails_all_runs_with_one_error_each(error: Exception | str | None) -> None:
    """semantics 5.8 (7.6): what was given is the cause; the consumer gets what there was, the notice and the end."""
    switch, got, raised = KillSwitch(), [], []

    async def consume() -> None:
        mine: list[object] = []
        got.append(mine)
        try:
            async with pipeline_of(slowly).execute(endless(), kill_switch=switch) as run:
                async for element in run:
                    mine.append(element)
        except RunAbortedError as aborted:
            raised.append(aborted)

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(consume)
        await anyio.sleep(2.5)
        switch.abort(error)

    assert len({id(one) for one in raised}) == len(raised) == 2
    for elements, one in zip(got, raised, strict=True):
        assert texts(elements) == ["x", "x"]
        assert isinstance(elements[-2], ErrorElement)
        assert (elements[-2].code, elements[-2].fatal, reason(elements)) == ("aborted", True, "error")
        assert ("disk full" in str(one)) == (error is not None)
        assert "disk full" not in elements[-2].message
    await assert_all_stages_stopped()


async def test_the_first_call_wins() -> None:
    """semantics 5.8 (7.6): later calls are no-ops, of either kind."""
    first, second = KillSwitch(), KillSwitch()
    first.shutdown()
    first.abort("too late")
    second.abort("at once")
    second.shutdown()

    assert (first.state, second.state) == ("shutdown", "aborted")
    assert repr(first) == "<KillSwitch shutdown>"
    assert (await pipeline_of(slowly).run("x", kill_switch=first)).reason == "done"
    with pytest.raises(RunAbortedError, match="at once"):
        await pipeline_of(slowly).run("x", kill_switch=second)


async def test_a_run_that_is_started_after_it_was_used_ends_at_once() -> None:
    """semantics 5.8 (7.6): it takes nothing from its source."""
    switch, began = KillSwitch(), anyio.current_time()
    run = pipeline_of(slowly).execute(endless(), kill_switch=switch)
    switch.shutdown()
    async with run:
        got = [element async for element in run]

    assert (texts(got), reason(got)) == ([], "done")
    assert anyio.current_time() == began


@pytest.mark.real_clock
async def test_it_is_used_from_a_thread_and_from_a_signal_handler() -> None:
    """semantics 5.8 (7.6): a handler may strike between any two instructions, so the run hears of it in a turn of its own."""
    for use in ("thread", "handler", "stage"):
        switch = KillSwitch()

        @stage(name="stage")
        async def once(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
            async for element in stream:
                if use == "thread":  # noqa: B023 - used at once
                    await anyio.to_thread.run_sync(switch.shutdown)  # noqa: B023
                elif use == "handler":  # noqa: B023
                    signal.raise_signal(signal.SIGUSR1)
                else:
                    switch.shutdown()  # noqa: B023
                yield element

        before = signal.signal(signal.SIGUSR1, lambda *_: switch.shutdown())  # noqa: B023
        try:
            async with pipeline_of(once).execute(kill_switch=switch) as run:
                await run.send("x")
                got = [element async for element in run]
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert (texts(got), reason(got)) == (["x"], "done")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("form", ["execute_sync", "stream_sync"])
def test_a_blocking_call_is_ended_from_another_thread(form: str, backend: str) -> None:
    """semantics 5.8 (7.6): who blocks has no other way."""
    switch, first = KillSwitch(), threading.Event()

    async def source() -> AsyncIterator[str]:
        yield "x"
        first.set()
        await anyio.sleep(60)

    def end_it() -> None:
        assert first.wait(30)
        switch.shutdown()

    thread = threading.Thread(target=end_it)
    thread.start()
    pipeline = PipelineBuilder().chain(stage(name="passing")(lambda element: element)).build()
    if form == "execute_sync":
        assert pipeline.execute_sync(source(), kill_switch=switch, backend=backend).text == "x"
    else:
        assert texts(list(pipeline.stream_sync(source(), kill_switch=switch, backend=backend))) == ["x"]
    thread.join()


async def test_it_keeps_no_run_alive() -> None:
    """semantics 5.8 (7.6): a server may have one switch for all its life."""
    switch = KillSwitch()
    async with pipeline_of(slowly).execute("x", kill_switch=switch) as run:
        assert len([element async for element in run]) == 2
    gone = weakref.ref(run)
    del run
    gc.collect()

    assert gone() is None
    assert len(switch._runs) == 0
    switch.shutdown()


async def test_a_run_that_is_ending_already_is_left_alone() -> None:
    """semantics 5.8 (7.6): an abort changes nothing about a failure, a cancellation, or an end."""
    switch = KillSwitch()

    @stage
    async def fails(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for _element in stream:
            yield TextElement("y")
            raise ValueError("broken")

    pipeline = pipeline_of(fails)
    with pytest.raises(StageError, match="broken"):
        async with pipeline.execute("x", kill_switch=switch) as failed:
            await anyio.sleep(1)
            async with pipeline.execute("x", kill_switch=switch) as cancelled:
                cancelled.cancel()
                switch.abort("too late")
                await anyio.sleep(1)
                assert [element async for element in cancelled] == []
            assert texts([element async for element in failed]) == ["y"]


@pytest.mark.parametrize("given", ["off", True, 1])
async def test_what_is_no_switch_is_refused(given) -> None:
    """how we work 5: by name, before anything starts."""
    with pytest.raises(ConfigError, match="kill_switch"):
        pipeline_of(slowly).execute("x", kill_switch=given)


def test_an_abort_needs_an_exception_or_a_text() -> None:
    """how we work 5: and nothing has been stopped."""
    switch = KillSwitch()
    with pytest.raises(ConfigError, match="error"):
        switch.abort(42)  # type: ignore[arg-type]
    assert switch.state == "armed"


# Cancelling, in every state


async def test_a_run_is_cancelled_in_every_state() -> None:
    """semantics 5.5 (7.8): before the start, twice, during a drain, after the end; it never raises."""
    unstarted = pipeline_of(slowly).execute("x")
    unstarted.cancel()
    with pytest.raises(RunStateError, match="has ended"):
        await unstarted.__aenter__()
    async with pipeline_of(slowly).execute("x") as run:
        run.cancel()
        run.cancel()
        await run.aclose()
        run.cancel()
    run.cancel()
    await run.aclose()
    await assert_all_stages_stopped()


@pytest.mark.real_clock
async def test_a_run_is_cancelled_from_another_thread() -> None:
    """semantics 5.5 (7.8): it takes effect on the run's own event loop, soon."""
    async with pipeline_of(slowly).execute() as run:
        await run.send("x")
        await anyio.to_thread.run_sync(run.cancel)
        with anyio.fail_after(5):
            assert [element async for element in run] == []
    await assert_all_stages_stopped()


async def test_a_run_is_cancelled_while_a_stage_opens_a_resource() -> None:
    """semantics 5.5 (7.8): the run ends at once; the opening goes on, and the pipeline closes what it gave."""
    log: list[str] = []

    @contextlib.asynccontextmanager
    async def open_it() -> AsyncIterator[str]:
        await anyio.sleep(5)
        log.append("opened")
        yield "it"
        log.append("closed")

    shared = Resource(open_it)

    @stage
    async def asks(element: TextElement) -> TextElement:
        return TextElement(await current_run().resource(shared))

    pipeline = pipeline_of(asks)
    async with pipeline.execute("x") as run:
        await anyio.sleep(1)
        run.cancel()
        assert [element async for element in run] == []
    assert anyio.current_time() == 1
    await pipeline.shutdown()
    assert log == ["opened", "closed"]

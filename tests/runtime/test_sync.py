"""Runs without an event loop: `execute_sync()`, `stream_sync()`. Semantics 5.2."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import current_token

from streamflow import (
    DataElement,
    EndOfStream,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    Resource,
    RunContext,
    RunTimeoutError,
    SendEnd,
    StageError,
    TextElement,
    stage,
)
from streamflow.errors import ConfigError, MissingExtraError, RunStateError, SourceError, SyncInAsyncError

BACKENDS = ["asyncio", "trio"]


@stage
async def shout(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield TextElement(element.text.upper())


def fail(element: TextElement) -> TextElement:
    raise ValueError(element.text)


loud = PipelineBuilder().chain(shout, PassthroughStage("p")).build()
broken = PipelineBuilder().chain(PassthroughStage("p"), fail).build()


@pytest.mark.parametrize("backend", BACKENDS)
def test_execute_sync_gives_the_result_of_the_run(backend):
    """5.2: blocking, without an event loop, the same result."""
    result = loud.execute_sync(["a", "b"], backend=backend)
    assert result.text == "AB"
    assert result.reason == "done"


def test_a_blocking_call_does_not_make_text_of_its_result():
    """5.2: `asyncio` does that with what its main coroutine has returned, twice: of a long result, megabytes."""
    shown = 0

    class Shy:
        def __repr__(self) -> str:
            nonlocal shown
            shown += 1
            return "shy"

    pipeline = PipelineBuilder().chain(PassthroughStage("p")).build()
    with pipeline.sync_session() as session:
        session.execute(DataElement(Shy()))
    result = pipeline.execute_sync(DataElement(Shy()))

    assert shown == 0
    assert "shy" in repr(result)


def test_execute_sync_without_a_source_has_an_empty_input():
    """A blocking call has nobody who could feed it."""
    assert loud.execute_sync().elements == ()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stage_error_and_a_timeout_reach_the_caller(backend):
    """The promise of seed 001 that its original broke: failures are not swallowed."""

    @stage
    async def slow(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            await anyio.sleep_forever()
            yield element

    with pytest.raises(StageError, match="ValueError: x"):
        broken.execute_sync("x", backend=backend)
    with pytest.raises(RunTimeoutError):
        PipelineBuilder(PipelineConfig(timeout_s=0.01)).chain(slow).build().execute_sync("x", backend=backend)


async def test_blocking_calls_inside_a_running_loop_are_refused():
    """5.2: inside a running loop a clear error that says what to use."""
    with pytest.raises(SyncInAsyncError, match=r"execute_sync\(\).*await pipeline\.run"):
        loud.execute_sync("x")
    with pytest.raises(SyncInAsyncError, match="stream_sync"):
        loud.stream_sync("x")


async def test_execute_sync_works_in_a_worker_thread_of_a_running_loop():
    """SF-70: a thread without a loop of its own may block."""
    result = await anyio.to_thread.run_sync(loud.execute_sync, "x")
    assert result.text == "X"


@pytest.mark.parametrize("backend", BACKENDS)
def test_stream_sync_gives_each_element_before_the_next_is_made(backend):
    """5.2, 5.3: an iterator for a plain loop, really streaming."""
    log: list[str] = []
    go_on = threading.Semaphore(1)

    async def source() -> AsyncIterator[str]:
        for number in range(3):
            await anyio.to_thread.run_sync(go_on.acquire)
            log.append(f"made {number}")
            yield str(number)

    for element in loud.stream_sync(source(), backend=backend):
        if isinstance(element, TextElement):
            log.append(f"got {element.text}")
            go_on.release()
        else:
            assert isinstance(element, EndOfStream)

    assert log == ["made 0", "got 0", "made 1", "got 1", "made 2", "got 2"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ["with", "close", "drop"])
def test_leaving_a_sync_stream_ends_its_run_and_its_thread(how: str, backend):
    """5.5: nothing is left behind, no task, no source, no thread."""
    closed: list[str] = []

    async def source() -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
        finally:
            closed.append("closed")

    before = threading.active_count()
    stream = loud.stream_sync(source(), backend=backend)
    if how == "with":
        with stream:
            assert next(stream) == TextElement("X")
    else:
        for _ in stream:
            break
    if how == "close":
        stream.close()
        stream.close()
        assert list(stream) == []
    del stream
    assert closed == ["closed"]
    assert threading.active_count() <= before


@pytest.mark.parametrize("backend", BACKENDS)
def test_stream_sync_raises_what_the_run_raises_and_is_over_then(backend):
    """5.6 for the blocking form."""
    stream = broken.stream_sync("x", backend=backend)
    seen = []
    with pytest.raises(StageError):
        for element in stream:
            seen.append(type(element).__name__)
    assert seen == ["ErrorElement", "EndOfStream"]
    assert list(stream) == []


def test_a_sync_stream_cannot_be_pulled_inside_a_loop():
    """5.2: also where only the pull is inside a loop."""
    stream = loud.stream_sync("x")

    async def pull() -> None:
        next(stream)

    with pytest.raises(SyncInAsyncError):
        anyio.run(pull)
    stream.close()


def test_sync_calls_refuse_bad_sources_at_once():
    """Bad input: what is no source is told where it was given."""
    with pytest.raises(SourceError, match="cannot be iterated"):
        loud.execute_sync(5)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="cannot be iterated"):
        next(loud.stream_sync(5))  # type: ignore[arg-type]


def test_a_sync_source_may_be_a_generator_and_is_closed():
    """Sources of the blocking form are those of the others."""
    closed: list[str] = []

    def source() -> Iterator[str]:
        try:
            yield from "abc"
        finally:
            closed.append("closed")

    assert loud.execute_sync(source()).text == "ABC"
    assert closed == ["closed"]


def test_dependencies_and_context_reach_the_stages():
    """3.4, 5.1 for the blocking forms."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[object] = []

    @stage
    async def look(stream: AsyncIterator[TextElement], run) -> AsyncIterator[TextElement]:
        async for element in stream:
            seen.append((run.deps, variable.get()))
            yield element

    pipeline = PipelineBuilder().chain(look).build()
    variable.set("mine")
    pipeline.execute_sync("x", deps="a")
    list(pipeline.stream_sync("x", deps="b"))
    assert seen == [("a", "mine"), ("b", "mine")]


@pytest.mark.slow
def test_execute_sync_a_thousand_times_leaks_no_thread():
    """SF-70: repeated calls leave nothing behind."""
    pipeline = PipelineBuilder().chain(MapStage(lambda e: e, name="m")).build()
    before = set(threading.enumerate())
    for _ in range(1000):
        assert pipeline.execute_sync("x").text == "x"
    assert not set(threading.enumerate()) - before  # one of a pool, from before, may have ended meanwhile


def test_an_event_loop_that_does_not_exist_is_refused():
    """Bad input: the name of the backend."""
    with pytest.raises(ConfigError, match="backend: there are 'asyncio' and 'trio', got 'trip'"):
        loud.execute_sync("x", backend="trip")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="backend"):
        loud.stream_sync("x", backend="trip")  # type: ignore[arg-type]


def test_a_missing_trio_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch):
    """The absence of an optional dependency names the extra."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"streamflow-runtime\[trio\]"):
        loud.execute_sync("x", backend="trio")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_session_runs_one_after_the_other_on_one_loop(backend):
    """9.2: the loop is kept, and what runs share is opened once and closed with it."""
    log: list[str] = []
    loops: set[object] = set()

    @asynccontextmanager
    async def open_model() -> AsyncIterator[str]:
        log.append("opened")
        yield "model"
        log.append("closed")

    model = Resource(open_model)

    async def body(input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[None]) -> None:
        await run.resource(model)
        loops.add(current_token())
        async for element in input:
            await output.send(element)

    pipeline = PipelineBuilder().chain(stage(body)).build()
    with pipeline.sync_session(backend=backend) as session:
        assert [session.execute(text).text for text in "abc"] == ["a", "b", "c"]
        assert log == ["opened"]
    assert log == ["opened", "closed"]
    assert len(loops) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_session_goes_on_after_a_run_that_failed(backend):
    """9.2: each run is one of its own."""
    with broken.sync_session(backend=backend) as session:
        for _ in range(2):
            with pytest.raises(StageError, match="ValueError: x"):
                session.execute("x")


def test_a_session_that_is_over_or_belongs_to_another_thread_refuses_to_run():
    """9.2: it says so at once."""
    with loud.sync_session() as session:
        found: list[Exception] = []

        def elsewhere() -> None:
            try:
                session.execute("x")
            except RunStateError as error:
                found.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert "another" in str(found[0]) or "thread" in str(found[0])
    with pytest.raises(RunStateError, match="has been closed"):
        session.execute("x")


async def test_a_session_inside_a_running_loop_is_refused():
    """5.2: a blocking call would stop the loop."""
    with pytest.raises(SyncInAsyncError, match="sync_session"):
        loud.sync_session()

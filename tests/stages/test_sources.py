"""Sources: what a run can be fed with, how each is closed, and what is none."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator, Callable, Iterator

import anyio
import pytest
import trio

from streamflow import (
    AudioElement,
    EndOfStream,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    StageError,
    StreamElement,
    TextElement,
    TurnEnd,
    open_channel,
    stage,
)
from streamflow.errors import ElementError, RunTimeoutError, SourceError
from streamflow.providers import ProviderStage, ScriptedProvider
from streamflow.stages import Source, open_source
from streamflow.testing import assert_all_stages_stopped, run_stage

A, B, SOUND = TextElement("a"), TextElement("b"), AudioElement(b"")


def sync_generator() -> Iterator[StreamElement | str]:
    yield "a"
    yield B


async def async_generator() -> AsyncIterator[StreamElement | str]:
    yield "a"
    yield B


class Iterable:
    def __iter__(self) -> Iterator[StreamElement]:
        return iter([A, B])


class AsyncIterated:
    """An async iterator that is no generator, and cannot be closed."""

    def __init__(self) -> None:
        self.left: list[StreamElement] = [B, A]

    def __aiter__(self) -> AsyncIterator[StreamElement]:
        return self

    async def __anext__(self) -> StreamElement:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop()


class AsyncList:
    """An async iterable that makes an async generator."""

    def __init__(self, rounds: int = 1) -> None:
        self.rounds, self.closed = rounds, 0

    async def __aiter__(self) -> AsyncIterator[StreamElement]:
        try:
            for _ in range(self.rounds):
                yield A
                yield B
        finally:
            self.closed += 1


@pytest.mark.parametrize("capacity", [1, 2, 16, 100])
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (lambda: A, [A]),
        (lambda: SOUND, [SOUND]),
        (TurnEnd, [TurnEnd()]),
        (lambda: "hello", [TextElement("hello")]),
        (lambda: "", [TextElement("")]),
        (lambda: ["a", B], [A, B]),
        (lambda: ("a", SOUND, TurnEnd()), [A, SOUND, TurnEnd()]),
        (list, []),
        (lambda: collections.deque(["a"]), [A]),
        (sync_generator, [A, B]),
        (async_generator, [A, B]),
        (Iterable, [A, B]),
        (AsyncList, [A, B]),
        (AsyncIterated, [A, B]),
        (lambda: map(TextElement, "ab"), [A, B]),
        ({"x": A, "y": B}.values, [A, B]),
    ],
)
async def test_what_gives_elements_or_strings_is_a_source(
    source: Callable[[], Source], expected: list[StreamElement], capacity: int
) -> None:
    """semantics 5.2: an element, a string, an iterable or async iterable of either; a string is one element, not its letters."""
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(PassthroughStage()).build()

    assert list((await pipeline.run(source())).elements) == expected


# Closing


@stage
async def only_one(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
    yield await anext(stream)


@stage
async def failing(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
    yield await anext(stream)
    raise ZeroDivisionError


ENDINGS = ["its end", "early return", "failure", "break", "cancel", "timeout", "not started"]


async def run_to(ending: str, source: Source) -> None:
    """Run with `source` until it ends in this way."""
    last = {"early return": only_one, "failure": failing}.get(ending, PassthroughStage())
    config = PipelineConfig(buffer_size=2, timeout_s=5 if ending == "timeout" else None)
    pipeline = PipelineBuilder(config).chain(PassthroughStage("first"), last).build()
    with anyio.move_on_after(100):
        if ending == "not started":
            pipeline.execute(source)
            return
        async with pipeline.execute(source) as run:
            if ending in {"break", "cancel"}:
                await anext(run)
                if ending == "cancel":
                    run.cancel()
                return
            error = {"failure": StageError, "timeout": RunTimeoutError}.get(ending)
            if error is None:
                async for _ in run:
                    pass
                return
            with pytest.raises(error):
                async for _ in run:
                    if ending == "timeout":
                        await anyio.sleep(10)


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_async_generator_is_closed_once_by_the_task_that_iterates_it(
    ending: str, anyio_backend_name: str
) -> None:
    """semantics 5.1, 5.5: whichever way the run ends, and while it lives: a cancel scope in the generator stays lawful."""
    tasks: list[object] = []
    closings: list[object] = []

    def current() -> object:
        return trio.lowlevel.current_task() if anyio_backend_name == "trio" else asyncio.current_task()

    async def source() -> AsyncIterator[StreamElement]:
        try:
            for _ in range(3 if ending == "its end" else 1000):
                tasks.append(current())
                yield A
        finally:
            closings.append(current())

    await run_to(ending, source())
    await assert_all_stages_stopped()

    if ending == "not started":
        assert closings == tasks == []
    else:
        assert len(closings) == 1
        assert set(closings) == set(tasks)
        assert current() not in tasks


@pytest.mark.parametrize("ending", ENDINGS[:-1])
async def test_a_waiting_async_generator_is_closed_too(ending: str) -> None:
    """semantics 5.5: a source that waits when the run ends is cancelled where it waits, and its `finally` runs once."""
    closed: list[str] = []

    async def source() -> AsyncIterator[StreamElement]:
        try:
            yield A
            await anyio.sleep(0 if ending == "its end" else 1000)
        finally:
            closed.append("closed")

    await run_to(ending, source())
    await assert_all_stages_stopped()

    assert closed == ["closed"]


@pytest.mark.parametrize("ending", ENDINGS[:-1])
async def test_a_generator_is_closed(ending: str) -> None:
    """semantics 5.5: a plain generator too; nothing is left to the garbage collector."""
    closed: list[str] = []

    def source() -> Iterator[StreamElement]:
        try:
            for _ in range(3 if ending == "its end" else 1000):
                yield A
        finally:
            closed.append("closed")

    kept = source()  # kept alive: it must be closed, not collected
    await run_to(ending, kept)

    assert closed == ["closed"]


@pytest.mark.parametrize("ending", ENDINGS[:-1])
async def test_what_an_async_iterable_makes_is_closed(ending: str) -> None:
    """semantics 5.5: the iteration belongs to the run, the iterable to the caller, who may iterate it again."""
    source = AsyncList(1 if ending == "its end" else 20)

    await run_to(ending, source)
    await run_to("its end", source)

    assert source.closed == 2


@pytest.mark.parametrize("ending", ENDINGS[:-1])
async def test_a_channel_is_read_and_closed(ending: str) -> None:
    """semantics 2.1, 5.2: the receiving end of a channel of ours is a source; its sender learns that nobody reads."""
    send, receive = open_channel(1000)
    for _ in range(3 if ending == "its end" else 1000):
        await send.send(A)
    if ending == "its end":
        send.close()

    await run_to(ending, receive)

    assert receive.state == ("completed" if ending == "its end" else "cancelled")
    assert not send.is_open


@pytest.mark.parametrize("ending", ENDINGS[:-1])
async def test_an_anyio_stream_is_read_and_closed(ending: str) -> None:
    """semantics 2.1: anyio's streams are lawful sources."""
    send, receive = anyio.create_memory_object_stream[StreamElement](1000)  # noqa: TID251 - another's stream as a source
    for _ in range(3 if ending == "its end" else 1000):
        send.send_nowait(A)
    if ending == "its end":
        send.close()

    await run_to(ending, receive)

    with pytest.raises(anyio.ClosedResourceError):
        receive.receive_nowait()
    send.close()


async def test_a_list_can_be_run_again_and_an_iterator_goes_on() -> None:
    """semantics 5.2: what the caller holds stays the caller's: only generators and channels are closed."""
    elements, iterator = [A, B], iter([A, B, A, B])
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(only_one).build()

    assert (await pipeline.run(elements)).text == "a"
    assert (await pipeline.run(elements)).text == "a"
    assert (await pipeline.run(iterator)).text == "a"
    assert set(iterator) <= {A, B}


# What is no source


async def coroutine() -> TextElement:
    raise AssertionError


NO_SOURCES = [
    pytest.param(lambda: {A}, "the source is a set, which has no order; give a list", id="set"),
    pytest.param(lambda: frozenset({A}), "a frozenset, which has no order", id="frozenset"),
    pytest.param(lambda: {"a": A}, "the source is a dict, whose items are its keys; give a list", id="dict"),
    pytest.param(lambda: b"pcm", "the source is bytes; wrap it in AudioElement", id="bytes"),
    pytest.param(bytearray, "the source is bytearray; wrap it", id="bytearray"),
    pytest.param(lambda: memoryview(b""), "the source is memoryview; wrap it", id="memoryview"),
    pytest.param(lambda: 5, "the source 5 .int. cannot be iterated for elements; give an element", id="int"),
    pytest.param(object, ".object. cannot be iterated", id="object"),
    pytest.param(coroutine, "the source is a coroutine; await it first", id="coroutine"),
    pytest.param(
        lambda: async_generator, "the source is the function <function async_generator.*; call it", id="function"
    ),
    pytest.param(lambda: AsyncList, "the source is the function <class .*; call it", id="class"),
]


@pytest.mark.parametrize(("make", "said"), NO_SOURCES)
def test_what_is_no_source_is_refused_by_execute_itself(make: Callable[[], Source], said: str) -> None:
    """issue 2, bad input: at the earliest moment, before anything is started, with a way out."""
    pipeline = PipelineBuilder().chain(PassthroughStage()).build()

    with pytest.raises(SourceError, match=said):
        pipeline.execute(make())


def test_a_string_is_refused_where_no_stage_reads_text() -> None:
    """semantics 5.3: a question that would pass a model by, and come out as if it were the answer, is told at once."""
    model = PipelineBuilder().chain(ProviderStage(ScriptedProvider())).build()
    with pytest.raises(SourceError, match=r"they read MessageElement, TurnEnd; give MessageElement\(.*a PromptStage"):
        model.execute_sync("hi")
    assert model.execute_sync([TextElement("hi")]).text == "hi"  # who makes the element knows what it is

    ears = PipelineBuilder().chain(MapStage(lambda audio: audio, accepts=AudioElement, name="ears")).build()
    with pytest.raises(SourceError, match="they read AudioElement; give one of these"):
        ears.execute("hi")


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_future_is_to_be_awaited_first() -> None:
    """issue 2, bad input: an `asyncio.Future` has `__iter__`, and is no iterable all the same."""
    future: asyncio.Future[StreamElement] = asyncio.get_running_loop().create_future()

    with pytest.raises(SourceError, match="the source is a Future; await it first"):
        open_source(future)


@pytest.mark.parametrize("capacity", [1, 16])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("item", "said"),
    [
        (None, "'source' sent None"),
        (5, "'source' sent 5 .int., which is no StreamElement"),
        (b"a", "'source' sent b'a'"),
        (EndOfStream("done"), "'source' sent EndOfStream, which only the runtime makes"),
    ],
)
async def test_a_foreign_item_fails_the_source(item: object, said: str, is_async: bool, capacity: int) -> None:
    """semantics 1.2, issue 2, bad input: the run fails with the name `source`; what came before the item still comes out."""

    async def source() -> AsyncIterator[object]:
        yield "a"
        yield item

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(PassthroughStage()).build()
    seen: list[StreamElement] = []
    async with pipeline.execute(source() if is_async else ["a", item]) as run:
        with pytest.raises(StageError, match=said) as caught:
            async for element in run:
                seen.append(element)

    assert (caught.value.stage, caught.value.where) == ("source", None)
    assert isinstance(caught.value.__cause__, ElementError)
    assert [type(one).__name__ for one in seen] == ["TextElement", "ErrorElement", "EndOfStream"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_source_that_raises_fails_the_run(is_async: bool) -> None:
    """issue 2, bad input: the source's own exception is the cause of a `StageError` that names the source."""

    def broken() -> Iterator[str]:
        yield "a"
        raise ZeroDivisionError

    async def broken_async() -> AsyncIterator[str]:
        yield "a"
        raise ZeroDivisionError

    with pytest.raises(StageError, match="stage 'source' failed: ZeroDivisionError") as caught:
        await run_stage(PassthroughStage(), broken_async() if is_async else broken())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_channel_whose_writer_failed_fails_the_run() -> None:
    """semantics 2.2: what was buffered comes first, then the failure of the other side, under the name of the source."""
    send, receive = open_channel(4)
    await send.send(A)
    send.fail(ZeroDivisionError())

    pipeline = PipelineBuilder().chain(PassthroughStage()).build()
    async with pipeline.execute(receive) as run:
        assert await anext(run) == A
        with pytest.raises(StageError, match="'source' failed: ChannelFailedError"):
            async for _ in run:
                pass


@pytest.mark.parametrize("capacity", [1, 2, 16])
async def test_a_source_is_not_asked_for_more_than_fits(capacity: int) -> None:
    """semantics 5.4: a consumer that does not read stops the source."""
    taken = 0

    def source() -> Iterator[StreamElement]:
        nonlocal taken
        while True:
            taken += 1
            yield A

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(PassthroughStage()).build()
    async with pipeline.execute(source()):
        await anyio.wait_all_tasks_blocked()
        assert pipeline.max_in_flight is not None
        assert capacity <= taken <= pipeline.max_in_flight

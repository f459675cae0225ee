"""The lawful ways to hold a run: semantics 5.1, 5.2, 5.3."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import threading
import warnings
import weakref
from collections.abc import AsyncIterator

import anyio
import pytest
from anyio.lowlevel import checkpoint

from streamflow import (
    AudioElement,
    DataElement,
    EndOfStream,
    MapStage,
    Message,
    MessageElement,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    RunTimeoutError,
    StageError,
    StreamElement,
    TextElement,
    TurnEnd,
    TurnReset,
    Usage,
    UsageElement,
    stage,
)
from streamflow.errors import OutputClosedError, RunStateError
from streamflow.testing import assert_all_stages_stopped, assert_no_tasks_left, tasks_alive


@stage
async def shout(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield TextElement(element.text.upper())


three = PipelineBuilder().chain(PassthroughStage("a"), shout, PassthroughStage("b")).build()


def endless() -> AsyncIterator[TextElement]:
    async def numbers() -> AsyncIterator[TextElement]:
        number = 0
        while True:
            yield TextElement(str(number))
            number += 1

    return numbers()


async def test_async_with_and_async_for_give_the_data_and_one_end():
    """5.6: data, then `EndOfStream(done)`, then the end of the iteration."""
    async with three.execute(["a", "b"]) as run:
        got = [element async for element in run]

    assert got[:-1] == [TextElement("A"), TextElement("B")]
    assert isinstance(got[-1], EndOfStream)
    assert got[-1].reason == "done"
    assert got[-1].totals.elements == 2
    await assert_all_stages_stopped()


async def test_a_bare_loop_gives_the_same():
    """5.1: the bare form is as lawful."""
    got = [element async for element in three.execute("x")]

    assert [type(element) for element in got] == [TextElement, EndOfStream]


@pytest.mark.usefixtures("no_gc")
async def test_leaving_a_bare_loop_ends_the_run_at_once_without_a_warning():
    """5.1: a bare loop that is left ends its run without the garbage collector's help."""
    before = tasks_alive()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async for element in three.execute(endless()):
            assert element == TextElement("0")
            break

    await assert_all_stages_stopped()
    await assert_no_tasks_left(before)


@pytest.mark.usefixtures("no_gc")
async def test_an_exception_in_a_bare_loop_passes_unwrapped_and_ends_the_run():
    """5.6: the caller's own exception passes through unwrapped."""
    mine = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async for _ in three.execute(endless()):
            raise mine

    assert caught.value is mine
    await assert_all_stages_stopped()


async def test_leaving_the_block_ends_the_run_and_waits_for_it():
    """5.1: after `async with` no stage is left, without a single further turn of the loop."""
    before = tasks_alive()
    async with three.execute(endless()) as run:
        async for _ in run:
            break
        assert tasks_alive() > before

    assert tasks_alive() == before


async def test_an_exception_in_the_block_passes_unwrapped():
    """5.6: the same exception object, no group around it."""
    mine = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with three.execute(endless()) as run:
            async for _ in run:
                raise mine

    assert caught.value is mine
    await assert_all_stages_stopped()


async def test_a_run_that_is_never_iterated_starts_and_ends_with_its_block():
    """5.5: nothing is left behind by a run whose stages had no time to begin."""
    async with three.execute(endless()):
        pass
    await assert_all_stages_stopped()


async def test_a_run_that_is_never_entered_starts_nothing():
    """5.1: nothing starts before the block or the loop is entered, and dropping it is no matter."""
    before = tasks_alive()
    pulled: list[int] = []

    def source():
        pulled.append(1)
        yield TextElement("x")

    run = three.execute(source())
    await checkpoint()
    del run

    assert pulled == []
    assert tasks_alive() == before


@pytest.mark.usefixtures("no_gc")
async def test_a_stored_run_that_is_lost_ends_and_warns_with_the_line_of_its_call():
    """5.1: a stored run ends with its last reference, and then warns with the line of the `execute()` call."""
    run = three.execute(endless())
    async for _ in run:
        break
    with pytest.warns(ResourceWarning, match=r"test_run_forms\.py:\d+"):
        del run

    await assert_all_stages_stopped()


async def test_a_stored_run_may_be_iterated_on_after_a_break_and_closed():
    """5.1: a stored run goes on after a `break`; `aclose()` ends it, twice is no matter."""
    run = three.execute(["a", "b", "c"])
    async for element in run:
        assert element == TextElement("A")
        break
    rest = [element async for element in run]
    await run.aclose()
    await run.aclose()

    assert rest[:-1] == [TextElement("B"), TextElement("C")]
    await assert_all_stages_stopped()


async def test_anext_on_the_run_itself_works_and_ends_for_ever():
    """5.6: after the end, `StopAsyncIteration` for ever."""
    async with three.execute("x") as run:
        assert await anext(run) == TextElement("X")
        assert isinstance(await anext(run), EndOfStream)
        for _ in range(3):
            with pytest.raises(StopAsyncIteration):
                await anext(run)


async def test_iterating_a_finished_run_again_is_a_clear_error():
    """Bad input: a finished run iterated again."""
    run = three.execute("x")
    async for _ in run:
        pass
    with pytest.raises(RunStateError, match=r"has ended.*call execute\(\) again"):
        aiter(run)
    with pytest.raises(RunStateError, match=r"has ended.*call execute\(\) again"):
        await run.__aenter__()


async def test_a_run_left_by_its_block_cannot_be_iterated():
    """Bad input: a run used after its block."""
    async with three.execute(endless()) as run:
        pass
    with pytest.raises(RunStateError, match="has ended"):
        aiter(run)
    with pytest.raises(StopAsyncIteration):
        await anext(run)


async def test_cancel_gives_nothing_more_and_says_cancelled():
    """5.6: cancelled by the caller: nothing more."""
    async with three.execute(endless()) as run:
        await anext(run)
        run.cancel()
        run.cancel()
        rest = [element async for element in run]
        assert rest == []
    await assert_all_stages_stopped()


async def test_result_of_a_cancelled_run_says_so():
    """5.2: `Result.reason`."""
    async with three.execute(endless()) as run:
        run.cancel()
        result = await run.result()
    assert result.reason == "cancelled"
    assert result.elements == ()


async def test_result_behind_the_end_says_how_the_run_has_ended():
    """5.2, 5.6: who has taken the `EndOfStream` itself is not told that the run was cancelled."""
    async with three.execute("x") as run:
        async for element in run:
            if isinstance(element, EndOfStream):
                assert (await run.result()).reason == element.reason == "done"


async def test_a_run_that_is_cancelled_before_its_start_never_starts():
    """5.6: nothing more includes everything."""
    run = three.execute("x")
    run.cancel()
    with pytest.raises(RunStateError, match="has ended"):
        aiter(run)


async def test_text_gives_the_strings_alone_and_may_be_left():
    """5.2: `run.text()` yields the strings; also in the bare form, also when left early."""
    pipeline = PipelineBuilder().chain(PassthroughStage("p")).build()
    source = [TextElement("a"), AudioElement(b"\0\0"), TextElement("b")]
    async with pipeline.execute(source) as run:
        assert [text async for text in run.text()] == ["a", "b"]

    async for text in three.execute(endless()).text():
        assert text == "0"
        break
    await assert_all_stages_stopped()


async def test_run_collects_everything_into_a_result():
    """5.2: the fields of `Result`."""
    pipeline = PipelineBuilder().chain(PassthroughStage("p")).build()
    message = Message("assistant", "hello there")
    source: list[StreamElement] = [
        TextElement("hello "),
        TextElement("there"),
        MessageElement(message),
        MessageElement(Message("user", "not an answer")),
        UsageElement(Usage(input_tokens=3, output_tokens=2), final=True),
        UsageElement(Usage(input_tokens=99), final=False),
        UsageElement(Usage(input_tokens=1, output_tokens=1), final=True),
    ]

    result = await pipeline.run(source)

    assert result.elements == tuple(source)
    assert result.text == "hello there"
    assert result.response == "hello there"
    assert result.messages == (message, Message("user", "not an answer"))
    assert (result.usage.input_tokens, result.usage.output_tokens) == (4, 3)
    assert result.errors == ()
    assert result.reason == "done"
    assert result.run_id.startswith("run-")
    assert result.timings.total_s == 0
    assert result.timings.first_element_s == 0


async def test_a_result_without_messages_answers_with_its_text_and_without_elements_has_no_first_time():
    """5.2: `response` falls back to the text; nothing came, so nothing came first."""
    assert (await three.run("x")).response == "X"
    assert (await three.run()).timings.first_element_s is None


async def test_timings_are_those_of_the_loops_clock():
    """5.2: `Result.timings`, in virtual seconds."""

    async def slow() -> AsyncIterator[TextElement]:
        await anyio.sleep(2)
        yield TextElement("a")
        await anyio.sleep(3)

    timings = (await three.run(slow())).timings

    assert timings.first_element_s == pytest.approx(2)
    assert timings.total_s == pytest.approx(5)


async def test_the_first_output_leaves_before_the_input_closes():
    """5.3, the promise that seed 001's original broke: each element arrives before the next is produced."""
    log: list[str] = []

    async def source() -> AsyncIterator[TextElement]:
        for number in range(3):
            log.append(f"made {number}")
            yield TextElement(str(number))
            await anyio.sleep(1)
        log.append("closed")

    async for element in three.execute(source()):
        if isinstance(element, TextElement):
            log.append(f"got {element.text}")

    assert log == ["made 0", "got 0", "made 1", "got 1", "made 2", "got 2", "closed"]


async def test_a_live_run_is_fed_by_send_and_ended_by_close_input():
    """5.2: without a source, `run.send()` and `run.close_input()` feed a live session."""
    async with three.execute() as run:
        await run.send("hello")
        assert await anext(run) == TextElement("HELLO")
        await run.send(TextElement("again"))
        assert await anext(run) == TextElement("AGAIN")
        run.close_input()
        run.close_input()
        assert isinstance(await anext(run), EndOfStream)


async def test_send_waits_while_the_first_edge_is_full():
    """B1: back-pressure reaches who feeds a live run."""
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(PassthroughStage("p")).build()
    sent = 0
    async with pipeline.execute() as run:
        with anyio.move_on_after(1):
            while True:
                await run.send(str(sent))
                sent += 1
        assert pipeline.max_in_flight == 4
        assert sent <= 4
        run.close_input()
        got = [element async for element in run]
    assert len(got) - 1 == sent


async def test_send_tells_why_it_cannot():
    """Bad input: sending to a run with a source, before its start, after `close_input()`, and when it needs no more."""

    @stage
    async def first(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        yield await anext(stream)

    run = three.execute()
    with pytest.raises(RunStateError, match="has not been started"):
        await run.send("x")
    async with three.execute("x") as run:
        with pytest.raises(RunStateError, match="has a source"):
            await run.send("x")
        with pytest.raises(RunStateError, match="has a source"):
            run.close_input()
    async with PipelineBuilder().chain(first).build().execute() as run:
        await run.send("x")
        assert [type(element) async for element in run] == [TextElement, EndOfStream]
        with pytest.raises(OutputClosedError, match="has all it needs"):
            await run.send("y")


@pytest.mark.parametrize("how", ["failure", "cancel", "timeout"])
async def test_who_feeds_a_run_that_has_ended_learns_that_it_needs_no_more(how: str) -> None:
    """semantics 5.3: waiting or not, it is told of an end that is not its own doing, not that it has closed what it feeds."""

    async def slow(element: TextElement) -> TextElement:
        await anyio.sleep(1)
        if how == "failure":
            raise ValueError("x")
        return element

    told: list[str] = []
    limit_s = 3.0 if how == "timeout" else None
    builder = PipelineBuilder(PipelineConfig(buffer_size=1, timeout_s=limit_s))
    run = builder.chain(MapStage(slow, name="slow")).build().execute()

    async def feed() -> None:
        for _ in range(2):
            with pytest.raises(OutputClosedError) as caught:
                while True:
                    await run.send("a")
            told.append(caught.value.reason)

    async with run, anyio.create_task_group() as tasks:
        tasks.start_soon(feed)
        with contextlib.suppress(StageError, RunTimeoutError):
            async for _ in run:
                if how == "cancel":
                    run.cancel()
    assert told == ["no_more_needed" if how == "cancel" else "failure"] * 2


async def test_concurrent_runs_of_one_pipeline_do_not_share_anything():
    """K6, SF-09: fifty runs at once give each its own output."""
    results: dict[int, str] = {}

    async def one(number: int) -> None:
        results[number] = (await three.run([f"a{number}", f"b{number}"])).text

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(one, number)

    assert results == {number: f"A{number}B{number}" for number in range(50)}


async def test_stages_and_source_see_the_callers_context_and_keep_theirs_to_themselves():
    """5.1: context variables of the `execute()` call are seen everywhere; one set in a stage is invisible elsewhere."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    @stage
    async def first(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        seen.append(variable.get())
        variable.set("first's own")
        async for element in stream:
            yield element

    @stage
    async def second(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            seen.append(variable.get())
            yield element

    async def source() -> AsyncIterator[TextElement]:
        seen.append(variable.get())
        variable.set("the source's own")
        yield TextElement("x")

    variable.set("caller")
    run = PipelineBuilder().chain(first, second).build().execute(source())
    variable.set("set after the call")
    async for _ in run:
        pass

    assert seen == ["caller"] * 3
    assert variable.get() == "set after the call"


async def test_position_counts_what_the_consumer_has_taken():
    """1.1: the output's ordinal is `run.position`."""
    async with three.execute(["a", "b"]) as run:
        assert run.position == 0
        await anext(run)
        assert run.position == 1
        await anext(run)
        assert run.position == 2
    assert three.execute("x").position == 0


async def test_an_iteration_is_its_own_iterator():
    """5.1: `aiter()` of what `aiter()` gave is the same; so are two waits for the end of one run."""
    run = three.execute(endless())
    iteration = aiter(run)
    assert aiter(iteration) is iteration
    text = run.text()
    assert aiter(text) is text
    async with anyio.create_task_group() as group:
        group.start_soon(run.aclose)
        group.start_soon(run.aclose)
    await three.execute("never started").aclose()
    await assert_all_stages_stopped()


async def test_a_second_task_that_iterates_gets_an_error_at_once():
    """2.1: one task reads an edge; the first is not disturbed."""
    from streamflow.errors import ChannelBusyError

    async with three.execute() as run:
        got: list[StreamElement] = []

        async def reader() -> None:
            got.append(await anext(run))

        async with anyio.create_task_group() as group:
            group.start_soon(reader)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(ChannelBusyError, match="b → consumer"):
                await anext(aiter(run))
            await run.send("x")
    assert got == [TextElement("X")]


def test_a_run_is_bound_to_the_loop_that_started_it_and_says_so():
    """5.1: a run is iterated where it was started."""
    kept = []

    async def begin() -> None:
        run = three.execute()
        kept.append((run, aiter(run)))

    async def go_on() -> None:
        with pytest.raises(RunStateError, match="another event loop"):
            await anext(kept[0][1])

    anyio.run(begin)
    anyio.run(go_on)
    with pytest.warns(ResourceWarning, match="was lost"):
        kept.clear()


def test_a_run_needs_an_event_loop():
    """Bad input: a run started where no loop runs names the calls that need none."""
    with pytest.raises(RunStateError, match=r"execute_sync\(\)"):
        aiter(three.execute("x"))


async def test_a_run_dropped_in_another_thread_ends():
    """5.1: the last reference may go in any thread."""
    before = tasks_alive()
    held = [three.execute(endless())]
    held.append(aiter(held[0]))
    await anext(held[1])

    def drop() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            held.clear()
            gc.collect()

    thread = threading.Thread(target=drop)
    thread.start()
    await anyio.to_thread.run_sync(thread.join)
    await assert_all_stages_stopped()
    await assert_no_tasks_left(before)


def test_main_may_return_while_a_run_is_alive():
    """5.5: the end of the event loop ends its runs, silently."""
    kept = []

    async def main() -> None:
        iteration = aiter(three.execute(endless()))
        await anext(iteration)
        kept.append(iteration)

    for backend in ("asyncio", "trio"):
        anyio.run(main, backend=backend)
    kept.clear()


@pytest.mark.usefixtures("no_gc")
async def test_a_finished_run_is_freed_without_the_garbage_collector():
    """SF-31: after the end nothing keeps the run's elements and errors alive."""
    element = DataElement("x", {"a": 1})
    marker = weakref.ref(element.metadata.__class__)
    assert marker() is not None

    class Payload(StreamElement, frozen=True, tag="test.payload", weakref=True):
        value: int = 0

    payload = Payload(1)
    alive = weakref.ref(payload)
    pipeline = PipelineBuilder().chain(PassthroughStage("p")).build()
    async with pipeline.execute([payload]) as run:
        async for _ in run:
            pass
    engine = weakref.ref(run._engine)
    del payload, run, _

    await checkpoint()
    assert alive() is None
    assert engine() is None


async def test_a_run_shows_its_state():
    """The representation names the run and its state."""
    run = three.execute("x")
    assert "not started" in repr(run)
    async with run:
        assert "running" in repr(run)
    assert "over" in repr(run)
    assert repr(three) == "<Pipeline a → shout → b>"


async def test_text_that_a_turn_took_back_is_no_part_of_the_result():
    """1.4: a `TurnReset` says to forget the fragments of its turn, and of no other."""
    source = ["a", TurnEnd(), "wrong ", TurnReset("retry"), "b", TurnEnd(), "c"]

    result = await PipelineBuilder().chain(PassthroughStage("a")).build().run(source)

    assert result.text == "abc"

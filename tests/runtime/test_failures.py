"""How a run fails: semantics 5.6, and what the caller sees of it."""

from __future__ import annotations

import logging
import pickle
import traceback
import weakref
from collections.abc import AsyncIterator

import anyio
import pytest

from streamflow import (
    BaseStage,
    EndOfStream,
    ErrorElement,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    RunContext,
    SendEnd,
    SinkStage,
    StageError,
    StageKind,
    TextElement,
    stage,
)
from streamflow.errors import ElementError, MiddlewareError, ProviderError
from streamflow.testing import assert_all_stages_stopped


def fails_on(text: str, name: str = "boom", error: BaseException | None = None):
    @stage(name=name)
    async def boom(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            if element.text == text:
                raise error if error is not None else ValueError(f"cannot take {text}")
            yield element

    return boom


def build(*stages, capacity: int = 16):
    return PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(*stages).build()


async def drain(run) -> tuple[list, Exception | None]:
    """Return what came out, and what was raised at the end."""
    got: list = []
    try:
        async for element in run:
            got.append(element)
    except Exception as error:  # noqa: BLE001 - what is raised is what the tests look at
        return got, error
    return got, None


@pytest.mark.parametrize("capacity", [1, 2, 16])
@pytest.mark.parametrize("position", [0, 1, 2])
async def test_data_then_the_error_element_then_the_end_then_one_stage_error(position: int, capacity: int):
    """5.6: the consumer sees what was sent, one fatal error element, `EndOfStream(error)`, `StageError`, the end for ever."""
    stages: list = [PassthroughStage("a"), PassthroughStage("b"), PassthroughStage("c")]
    stages[position] = fails_on("3")
    async with build(*stages, capacity=capacity).execute(["0", "1", "2", "3", "4"]) as run:
        got, error = await drain(run)
        with pytest.raises(StopAsyncIteration):
            await anext(run)

    assert [one.text for one in got if isinstance(one, TextElement)] == ["0", "1", "2"]
    notice, end = got[-2:]
    assert isinstance(notice, ErrorElement)
    assert (notice.fatal, notice.stage, notice.code) == (True, "boom", "stage_failed")
    assert isinstance(end, EndOfStream)
    assert end.reason == "error"
    assert end.totals.errors == 1
    assert isinstance(error, StageError)
    assert (error.stage, error.index) == ("boom", 3)
    assert isinstance(error.__cause__, ValueError)
    await assert_all_stages_stopped()


async def test_the_error_names_where_the_stage_was_added_and_its_traceback_ends_in_the_users_code():
    """5.6 and the style guide: the traceback has no frame of ours between the stage's code and its end."""
    pipeline = PipelineBuilder().chain(PassthroughStage("p"), fails_on("x")).build()
    with pytest.raises(StageError) as caught:
        await pipeline.run("x")

    assert caught.value.where is not None
    assert "test_failures.py" in caught.value.where
    assert "stage 'boom' failed on element #0: ValueError: cannot take x" in str(caught.value)
    cause = caught.value.__cause__
    assert cause is not None
    frames = traceback.extract_tb(cause.__traceback__)
    assert [frame.name for frame in frames] == ["boom"]


async def test_the_traceback_of_a_refused_element_ends_at_the_line_that_sent_it():
    """SF-39: also when the exception was made inside our own channel, the user's line is the last one shown."""

    @stage
    async def sender(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for _ in stream:
            await output.send(None)

    with pytest.raises(StageError, match="sent None, which is no element") as caught:
        await build(sender).run("x")
    cause = caught.value.__cause__
    assert isinstance(cause, ElementError)
    assert traceback.extract_tb(cause.__traceback__)[-1].name == "sender"


def test_what_a_blocking_call_raises_shows_the_callers_line_and_not_the_way_through_the_runtime(
    monkeypatch: pytest.MonkeyPatch,
):
    """semantics 6.2: an error of ours says itself what is wrong; `STREAMFLOW_DEBUG` shows the rest."""

    def gives_a_string(element: TextElement) -> object:
        return element.text

    pipeline = build(gives_a_string)

    def told() -> list[list[str]]:
        frames: list[list[str]] = []
        with pipeline.sync_session() as session:
            for call in (pipeline.execute_sync, session.execute, lambda source: list(pipeline.stream_sync(source))):
                with pytest.raises(StageError, match=r"sent 'x' \(str\), which is no StreamElement") as caught:
                    call("x")
                cause = caught.value.__cause__
                assert isinstance(cause, ElementError)
                frames += [
                    [one.name for one in traceback.extract_tb(shown)] for shown in (caught.tb, cause.__traceback__)
                ]
        return frames

    assert [len(shown) for shown in told()] == [2, 0, 2, 0, 3, 0]  # the test, perhaps the lambda, and the call itself
    monkeypatch.setenv("STREAMFLOW_DEBUG", "1")
    assert min(len(shown) for shown in told()) > 3


async def test_tracebacks_stay_whole_for_debugging(monkeypatch: pytest.MonkeyPatch):
    """`STREAMFLOW_DEBUG` keeps our own frames."""
    monkeypatch.setenv("STREAMFLOW_DEBUG", "1")
    with pytest.raises(StageError) as caught:
        await build(fails_on("x")).run("x")
    assert caught.value.__cause__ is not None
    assert len(traceback.extract_tb(caught.value.__cause__.__traceback__)) > 1


async def test_the_error_element_repeats_no_text_of_the_exception():
    """Security: what may reach a client carries no text that a stage's exception may have taken from secrets."""
    pipeline = build(fails_on("x", error=RuntimeError("key sk-secret was refused")))
    async with pipeline.execute("x") as run:
        got, _ = await drain(run)
    notice = next(one for one in got if isinstance(one, ErrorElement))
    assert notice.message == "stage 'boom' failed: RuntimeError"


async def test_a_failure_of_middleware_keeps_its_code():
    """parity R6: it is made to be shown, as a provider's is."""
    got, _ = await drain(build(fails_on("a", error=MiddlewareError("refused", "not today"))).execute("a"))

    assert got[0] == ErrorElement("refused", "not today", "boom", fatal=True)


async def test_a_providers_failure_keeps_its_code_and_advice():
    """1.5: code and retryable are those of the provider's error, whose text is made to be shown."""
    pipeline = build(fails_on("x", error=ProviderError("rate_limited", "the model server is busy", retryable=True)))
    async with pipeline.execute("x") as run:
        got, error = await drain(run)
    notice = next(one for one in got if isinstance(one, ErrorElement))
    assert (notice.code, notice.message, notice.retryable) == ("rate_limited", "the model server is busy", True)
    assert isinstance(error, StageError)


@pytest.mark.parametrize("source_kind", ["sync", "async"])
async def test_a_source_that_raises_fails_the_run_after_its_data(source_kind: str):
    """Bad input: a source that raises is reported as stage 'source', and what it gave before arrives."""

    def sync_source():
        yield "a"
        raise OSError("disk gone")

    async def async_source() -> AsyncIterator[str]:
        yield "a"
        raise OSError("disk gone")

    async with build(PassthroughStage("p")).execute(sync_source() if source_kind == "sync" else async_source()) as run:
        got, error = await drain(run)

    assert got[0] == TextElement("a")
    assert isinstance(error, StageError)
    assert error.stage == "source"
    assert isinstance(error.__cause__, OSError)


async def test_everything_before_the_failed_stage_is_cancelled_and_everything_behind_it_drains():
    """5.6: upstream meets cancellation; downstream gets all that was sent, then its end, and flushes."""
    log: list[str] = []

    @stage
    async def upstream(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        try:
            async for element in stream:
                yield element
            await anyio.sleep(1000)
        except anyio.get_cancelled_exc_class():
            log.append("upstream cancelled")
            raise

    @stage
    async def downstream(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        seen = 0
        async for element in stream:
            seen += 1
            await anyio.sleep(1)
            yield element
        yield TextElement(f"flushed after {seen}")

    async with build(upstream, fails_on("2"), downstream).execute(["0", "1", "2"]) as run:
        got, error = await drain(run)

    assert [one.text for one in got[:-2] if isinstance(one, TextElement)] == ["0", "1", "flushed after 2"]
    assert isinstance(got[-2], ErrorElement)
    assert isinstance(error, StageError)
    assert log == ["upstream cancelled"]


async def test_a_stage_that_accepts_errors_gets_the_notice_in_band_and_it_is_told_once():
    """5.6: one fatal error element, also when a stage on the way takes it and passes it on."""
    seen: list[ErrorElement] = []

    @stage(accepts=(TextElement, ErrorElement))
    async def watcher(stream: AsyncIterator[TextElement | ErrorElement]) -> AsyncIterator[TextElement | ErrorElement]:
        async for element in stream:
            if isinstance(element, ErrorElement):
                seen.append(element)
            yield element

    async with build(fails_on("x"), watcher, PassthroughStage("p")).execute("x") as run:
        got, _ = await drain(run)

    assert [type(one) for one in got] == [ErrorElement, EndOfStream]
    assert seen == [got[0]]


async def test_a_stage_that_swallows_the_notice_cannot_hide_the_failure():
    """5.6: the consumer is told, whatever stages do with the notice."""

    @stage(accepts=(TextElement, ErrorElement))
    async def silencer(stream: AsyncIterator[TextElement | ErrorElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            if isinstance(element, TextElement):
                yield element

    async with build(fails_on("x"), silencer).execute("x") as run:
        got, error = await drain(run)
    assert [type(one) for one in got] == [ErrorElement, EndOfStream]
    assert isinstance(error, StageError)


async def test_a_nonfatal_error_element_stops_nothing_and_keeps_its_place():
    """1.5: an error element is control: in order, never dropped, stops nothing by itself."""
    trouble = ErrorElement("hiccup", "went on")
    result = await build(fails_on("never"), PassthroughStage("p")).run([TextElement("a"), trouble, TextElement("b")])
    assert result.elements == (TextElement("a"), trouble, TextElement("b"))
    assert result.errors == (trouble,)
    assert result.reason == "done"


async def test_later_failures_are_kept_beside_the_first():
    """5.6: the first failure is the error, others are in `.suppressed`."""

    @stage
    async def bad_cleanup(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        try:
            async for element in stream:
                yield element
        finally:
            raise KeyError("in clean-up")

    async def endless() -> AsyncIterator[str]:
        yield "0"
        yield "1"
        await anyio.sleep(1000)

    with pytest.raises(StageError) as caught:
        await build(bad_cleanup, fails_on("1")).run(endless())

    assert caught.value.stage == "boom"
    assert [one.stage for one in caught.value.suppressed] == ["bad_cleanup"]
    assert isinstance(caught.value.suppressed[0].__cause__, KeyError)


async def test_a_failure_in_the_flush_holds_no_element():
    """`StageError.index` is None when the stage had no element in hand."""

    @stage
    async def flusher(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element
        raise ValueError("in the flush")

    with pytest.raises(StageError) as caught:
        await build(flusher).run(["a", "b"])
    assert caught.value.index is None
    assert "on element" not in str(caught.value)


async def test_the_index_counts_the_elements_of_the_input_edge_that_passed_by_too():
    """1.1: the position belongs to the edge."""
    trouble = ErrorElement("hiccup", "passed by")
    with pytest.raises(StageError) as caught:
        await build(fails_on("b")).run([TextElement("a"), trouble, TextElement("b")])
    assert caught.value.index == 2


async def test_the_body_is_not_cancelled_by_a_failure_and_the_error_comes_at_the_next_pull():
    """5.6: the body of the caller's loop is never cancelled by a stage failure."""
    async with build(PassthroughStage("p"), fails_on("1")).execute(["0", "1"]) as run:
        assert await anext(run) == TextElement("0")
        await anyio.sleep(10)
        assert isinstance(await anext(run), ErrorElement)
        assert isinstance(await anext(run), EndOfStream)
        with pytest.raises(StageError):
            await anext(run)


async def test_a_failure_that_was_not_pulled_is_raised_when_the_block_is_left():
    """SF-36: the error surfaces at the next pull or at the exit; it is not lost."""
    with pytest.raises(StageError, match="boom"):
        async with build(fails_on("1")).execute(["0", "1"]) as run:
            await anext(run)
            await anyio.sleep(1)


async def test_the_callers_exception_wins_and_carries_a_note_of_the_failure():
    """SF-25: the caller's own exception passes, with the stage's failure noted on it."""
    with pytest.raises(KeyError) as caught:
        async with build(fails_on("1")).execute(["0", "1"]) as run:
            await anext(run)
            await anyio.sleep(1)
            raise KeyError("mine")
    assert any("stage 'boom' failed" in note for note in caught.value.__notes__)


async def test_a_failure_in_clean_up_after_a_break_is_raised_by_the_block():
    """SF-29: clean-up that raises is not swallowed."""

    @stage
    async def bad_cleanup(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        try:
            async for element in stream:
                yield element
        finally:
            raise KeyError("in clean-up")

    with pytest.raises(StageError, match="bad_cleanup"):
        async with build(bad_cleanup).execute(["a", "b"]) as run:
            async for _ in run:
                break


async def test_a_failure_nobody_could_be_told_is_logged(caplog: pytest.LogCaptureFixture):
    """5.1: a bare loop that is left has no place to raise in; the failure goes to the log."""
    with caplog.at_level(logging.ERROR, logger="streamflow.runtime"):
        async for _ in build(fails_on("1")).execute(["0", "1"]):
            await anyio.sleep(1)
            break
    assert "left before its failure was seen" in caplog.text


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_interrupts_reach_the_caller_as_they_are(kind: type[BaseException]):
    """SF-41: KeyboardInterrupt and SystemExit leave unwrapped, after the clean-up."""
    with pytest.raises(kind):
        await build(fails_on("x", error=kind())).run("x")
    await assert_all_stages_stopped()


async def test_a_stage_cancelled_from_outside_before_it_has_begun_is_a_failure():
    """5.6: of a task that asyncio cancels before its first step no line runs; the run is told of its end all the same."""
    import asyncio

    if not _on_asyncio():
        return
    async with build(fails_on("never")).execute("x") as run:
        for task in asyncio.all_tasks():
            if task.get_name() == "boom":
                task.cancel()
        with pytest.raises(StageError, match="'boom'") as caught:
            async for _ in run:
                pass
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    await assert_all_stages_stopped()


async def test_a_stage_cancelled_from_outside_is_a_failure():
    """5.6: a cancellation that the run did not ask for does not end it as a success."""
    import asyncio
    import sys

    if "asyncio" not in sys.modules or not _on_asyncio():
        return

    @stage
    async def suicidal(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await anyio.sleep(1)
            yield element

    with pytest.raises(StageError, match="suicidal") as caught:
        await build(suicidal).run("x")
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)


def _on_asyncio() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def test_an_exception_group_of_the_stage_is_kept_whole():
    """A stage's own task group fails with a group; it is the cause, as it is."""

    @stage
    async def grouped(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            async with anyio.create_task_group() as group:

                async def fail() -> None:
                    raise ValueError("inside")

                group.start_soon(fail)
            yield element

    with pytest.raises(StageError) as caught:
        await build(grouped).run("x")
    assert isinstance(caught.value.__cause__, ExceptionGroup)


async def test_a_stage_with_a_task_group_that_meets_the_closed_output_has_completed():
    """3.1: leaving with `OutputClosedError`, also inside a group, is completion."""

    @stage
    async def grouped(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async with anyio.create_task_group() as group:

            async def pump() -> None:
                async for element in stream:
                    await output.send(element)

            group.start_soon(pump)

    @stage
    async def first(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element
            return

    result = await build(grouped, first, capacity=1).run(str(number) for number in range(100))
    assert result.text == "0"
    assert result.reason == "done"


async def test_a_sink_that_fails_fails_the_run():
    """5.6 for a chain without output."""

    def save(element: TextElement) -> None:
        raise OSError("disk full")

    async with build(SinkStage(save)).execute(["a", "b"]) as run:
        got, error = await drain(run)
    assert [type(one) for one in got] == [ErrorElement, EndOfStream]
    assert isinstance(error, StageError)


async def test_a_sink_that_sends_is_told_so():
    """3.5: a sink has no output."""

    class Chatty(BaseStage):
        kind = StageKind.SINK

        async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            async for element in input:
                await output.send(element)

    with pytest.raises(StageError, match="is a sink and cannot send"):
        await build(Chatty()).run("x")


async def test_a_stage_that_sends_the_end_of_stream_gets_an_error():
    """1.6: `EndOfStream` is made by the runtime alone."""

    @stage
    async def ender(stream: AsyncIterator[TextElement]) -> AsyncIterator[EndOfStream]:
        async for _ in stream:
            yield EndOfStream()

    with pytest.raises(StageError, match="only the runtime makes"):
        await build(ender).run("x")


async def test_a_helper_that_fails_fails_its_stage():
    """3.4: helper tasks belong to their stage."""

    @stage
    async def helped(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[None]) -> None:
        async def helper() -> None:
            await anyio.sleep(1)
            raise ValueError("in the helper")

        run.start_soon(helper)
        async for element in stream:
            await output.send(element)
        await anyio.sleep(1000)

    with pytest.raises(StageError, match=r"helped.*in the helper"):
        await build(PassthroughStage("p"), helped).run("x")
    await assert_all_stages_stopped()


async def test_a_stage_error_survives_pickling():
    """Errors cross process borders."""
    with pytest.raises(StageError) as caught:
        await build(fails_on("x")).run("x")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.stage, copy.index, copy.where) == ("boom", 0, caught.value.where)


async def test_a_cause_without_text_leaves_no_empty_colon():
    """The message stays readable for exceptions that say nothing."""
    with pytest.raises(StageError) as caught:
        await build(fails_on("x", error=RuntimeError())).run("x")
    assert "failed on element #0: RuntimeError (stage added" in str(caught.value)


async def test_a_stage_that_receives_until_there_is_nothing_more_has_completed():
    """3.1: leaving with the end of its own input is completion; anyio's way to say it is an exception."""

    @stage
    async def receives(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        while True:
            await output.send(await stream.receive())

    result = await build(receives).run(["a", "b"])
    assert (result.text, result.reason) == ("ab", "done")


async def test_a_failure_before_a_cancel_is_raised_by_the_block():
    """5.6: nothing more comes out of a cancelled run, and yet no failure is lost."""
    with pytest.raises(StageError):
        async with build(fails_on("x")).execute("x") as run:
            await anyio.sleep(1)
            run.cancel()
            assert [element async for element in run] == []


@pytest.mark.parametrize("capacity", [1, 16])
async def test_a_source_that_is_stopped_is_no_second_failure(capacity: int):
    """5.6: what ends because of the first failure is no failure of its own, wherever the source was just then."""

    async def source() -> AsyncIterator[TextElement]:
        for number in range(50):
            await anyio.lowlevel.checkpoint()
            yield TextElement(str(number))

    for number in range(12):
        _, error = await drain(build(PassthroughStage("a"), fails_on(str(number)), capacity=capacity).execute(source()))

        assert isinstance(error, StageError)
        assert error.suppressed == ()


@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("ending", ["failure", "cancelled"])
async def test_the_end_of_a_task_leaves_nothing_for_the_garbage_collector(ending: str):
    """SF-31: neither what it raised nor the stage it ran is kept by a traceback that holds its own frame."""
    refs: list[weakref.ref[object]] = []

    class BoomError(Exception):
        pass

    class Fragile:
        async def process(self, stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
            refs.append(weakref.ref(self))
            async for element in stream:
                if ending == "failure":
                    raise BoomError
                yield element

    async def use() -> None:
        try:
            async with build(Fragile).execute() as run:
                await run.send("x")
                async for _ in run:
                    break
                await run.result() if ending == "failure" else None
        except StageError as error:
            refs.append(weakref.ref(error.__cause__))  # type: ignore[arg-type]

    await use()
    await anyio.lowlevel.checkpoint()

    assert len(refs) == (2 if ending == "failure" else 1)
    assert [ref() for ref in refs] == [None] * len(refs)

"""What a run tells of itself: every beginning and every end, once and in order, to listeners of all forms."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator

import anyio
import pytest

from streamflow import (
    Event,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    RunContext,
    RunTimeoutError,
    SendEnd,
    StageError,
    TextElement,
    ThreadStage,
    current_run,
    stage,
)
from streamflow.errors import RunStateError
from streamflow.observe import (
    ElementMoved,
    EventGap,
    PipelineCancelled,
    PipelineCompleted,
    PipelineFailed,
    PipelineStarted,
    StageCancelled,
    StageCompleted,
    StageEnded,
    StageFailed,
    StageStarted,
)
from streamflow.testing import assert_no_tasks_left, tasks_alive


def passing(name: str) -> PassthroughStage:
    return PassthroughStage(name)


def names_of(events: list[Event]) -> list[str]:
    return [f"{one.name} {one.stage}" if one.stage else one.name for one in events]


@stage
async def fragile(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        if element.text == "bad":
            raise ValueError(element.text)
        yield element


@stage
async def patient(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        await anyio.sleep(3)
        yield element


async def test_a_run_that_succeeds_tells_each_beginning_and_each_end_once_in_order() -> None:
    """semantics 5.12: causal order, ids, durations and counts."""
    events: list[Event] = []
    pipeline = PipelineBuilder().chain(passing("a"), patient, passing("end")).build()
    pipeline = PipelineBuilder().on_event(events.append).chain(pipeline.as_stage("it")).build()

    result = await pipeline.run(["1", "2"])

    assert names_of(events) == [
        "pipeline.started",
        "stage.started it/a",
        "stage.started it/patient",
        "stage.started it/end",
        "stage.completed it/a",
        "stage.completed it/patient",
        "stage.completed it/end",
        "pipeline.completed",
    ]
    assert {one.run_id for one in events} == {result.run_id}
    started, ended = events[0], events[-1]
    assert isinstance(started, PipelineStarted)
    assert started.stages == ("it/a", "it/patient", "it/end")
    assert isinstance(ended, PipelineCompleted)
    assert (ended.duration_s, ended.elements, ended.reason) == (6.0, 2, "done")
    done = {one.stage: one for one in events if isinstance(one, StageCompleted)}
    assert [(one.kind, one.duration_s, one.received, one.sent) for one in done.values()] == [
        ("transform", 0.0, 2, 2),
        ("transform", 6.0, 2, 2),
        ("transform", 6.0, 2, 2),
    ]


async def test_a_run_that_fails_tells_what_failed_and_what_was_stopped() -> None:
    """semantics 5.12: exactly one of completed, failed, cancelled for each stage."""
    events: list[Event] = []
    pipeline = PipelineBuilder().on_event(events.append).chain(patient, fragile, passing("end")).build()

    with pytest.raises(StageError) as caught:
        await pipeline.run(["good", "bad", "never"])

    ends = {one.stage: one for one in events if isinstance(one, StageEnded)}
    assert {name: type(one) for name, one in ends.items()} == {
        "patient": StageCancelled,
        "fragile": StageFailed,
        "end": StageCompleted,
    }
    assert isinstance(ends["fragile"], StageFailed)
    assert ends["fragile"].error is caught.value
    last = events[-1]
    assert isinstance(last, PipelineFailed)
    assert last.error is caught.value
    assert (last.reason, last.error_type) == ("error", "ValueError")
    assert len(events) == 8


async def test_a_stage_that_takes_too_long_has_failed() -> None:
    """semantics 5.9, 5.12: the one that a limit stopped is told as the failed one."""
    events: list[Event] = []

    @stage(timeout_s=1)
    async def stuck(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            await anyio.sleep_forever()
            yield element

    with pytest.raises(RunTimeoutError):
        await PipelineBuilder().on_event(events.append).chain(passing("a"), stuck).build().run("x")

    assert names_of(events)[3:] == ["stage.completed a", "stage.failed stuck", "pipeline.failed"]


async def test_a_run_that_is_left_is_told_as_cancelled() -> None:
    """semantics 5.12: `cancelled`, for the stages that were stopped and for the run."""
    events: list[Event] = []
    pipeline = PipelineBuilder().on_event(events.append).chain(passing("a"), passing("b")).build()

    async with pipeline.execute() as run:
        await run.send("x")
        assert await anext(run) == TextElement("x")

    assert sorted(names_of(events)[3:-1]) == ["stage.cancelled a", "stage.cancelled b"]
    assert isinstance(events[-1], PipelineCancelled)
    assert events[-1].zombies == ()


async def test_a_run_that_is_ended_before_its_tasks_begin_tells_all_the_same() -> None:
    """semantics 5.12: each stage that was started ends, also when it never had a turn."""
    events: list[Event] = []
    pipeline = PipelineBuilder().on_event(events.append).chain(passing("a")).build()

    async with pipeline.execute("x"):
        pass

    assert names_of(events) == ["pipeline.started", "stage.started a", "stage.cancelled a", "pipeline.cancelled"]


async def test_a_stage_that_cannot_be_stopped_is_told_once_and_named() -> None:
    """semantics 5.5, 5.12: the run tells its end when it gives up; a zombie that ends later is not told again."""
    events: list[Event] = []
    gate = anyio.Event()

    @stage
    async def stubborn(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        while not gate.is_set():
            with anyio.CancelScope(shield=True), contextlib.suppress(anyio.get_cancelled_exc_class()):
                await gate.wait()

    config = PipelineConfig(shutdown_timeout_s=2)
    async with PipelineBuilder(config).on_event(events.append).chain(stubborn).build().execute() as run:
        await anyio.sleep(1)
    gate.set()
    await anyio.sleep(1)

    assert run.zombies == ("stubborn",)
    assert names_of(events)[2:] == ["stage.cancelled stubborn", "pipeline.cancelled"]
    assert isinstance(events[-1], PipelineCancelled)
    assert events[-1].zombies == ("stubborn",)


async def test_what_stages_emit_comes_between_their_beginning_and_their_end() -> None:
    """semantics 5.12: one order for all events of a run, with the loop's time."""
    events: list[Event] = []

    @stage
    async def telling(stream: AsyncIterator[TextElement], run: RunContext[object]) -> AsyncIterator[TextElement]:
        async for element in stream:
            await anyio.sleep(1)
            run.emit("chat.token", {"text": element.text})
            yield element

    began = anyio.current_time()
    await PipelineBuilder().on_event(events.append).chain(telling).build().run(["a", "b"])

    assert [one.name for one in events][1:-1] == ["stage.started", "chat.token", "chat.token", "stage.completed"]
    assert [one.at_s - began for one in events] == [0, 0, 1, 2, 2, 2]


async def test_an_async_listener_hears_everything_before_the_run_is_over() -> None:
    """semantics 5.12: in a task of its own, one event at a time, and the run waits for it."""
    heard: list[str] = []

    async def listener(event: Event) -> None:
        await anyio.sleep(0.5)
        heard.append(event.name)

    await PipelineBuilder().on_event(listener).chain(passing("a")).build().run("x")

    assert heard == ["pipeline.started", "stage.started", "stage.completed", "pipeline.completed"]


async def test_an_async_listener_that_raises_or_never_returns_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 5.12: no listener changes the data flow; the run ends, and says in the log what did not."""

    async def broken(event: Event) -> None:
        raise ValueError(event.name)

    async def stuck(_event: Event) -> None:
        await anyio.sleep_forever()

    before = tasks_alive()
    builder = PipelineBuilder(PipelineConfig(shutdown_timeout_s=5)).on_event(broken).on_event(stuck)
    result = await builder.chain(passing("a")).build().run("x")

    assert result.text == "x"
    assert caplog.records[0].getMessage().endswith("failed on 'pipeline.started'; told once")
    assert "did not come to its end within 5 s" in caplog.records[-1].getMessage()
    await assert_no_tasks_left(before)


async def test_a_slow_async_listener_is_told_what_it_missed() -> None:
    """semantics 5.12: a bounded queue each, whose overflow is one counted gap event."""
    heard: list[Event] = []

    async def slow(event: Event) -> None:
        await anyio.sleep(1)
        heard.append(event)

    @stage
    async def chatty(stream: AsyncIterator[TextElement], run: RunContext[object]) -> AsyncIterator[TextElement]:
        async for element in stream:
            for number in range(50):
                run.emit("word", {"number": number})
            yield element

    builder = PipelineBuilder(PipelineConfig(event_buffer=5)).on_event(slow).chain(chatty)
    await builder.build().run("x")

    gaps = [one for one in heard if isinstance(one, EventGap)]
    assert len(gaps) == 1
    assert len(heard) - 1 + gaps[0].missed == 54
    assert [one.data["number"] for one in heard if one.name == "word"] == list(range(len(heard) - 4))
    assert heard[-1].name == "pipeline.completed"


async def test_events_are_iterated_beside_the_output_and_end_with_the_run() -> None:
    """semantics 5.12: `run.events()`."""
    heard: list[str] = []
    run = PipelineBuilder().chain(passing("a")).build().execute("x")
    events = run.events()

    async def listen() -> None:
        heard.extend([one.name async for one in events])

    async with anyio.create_task_group() as tasks, run:
        tasks.start_soon(listen)
        assert [type(one).__name__ async for one in run] == ["TextElement", "EndOfStream"]

    assert heard == ["pipeline.started", "stage.started", "stage.completed", "pipeline.completed"]


async def test_events_of_a_run_that_has_ended_are_refused() -> None:
    """semantics 5.12: there is nothing more to hear, and nothing to wait for."""
    async with PipelineBuilder().chain(passing("a")).build().execute("x") as run:
        await run.result()

    with pytest.raises(RunStateError, match="has ended"):
        run.events()


async def test_tracing_tells_of_every_element_on_every_edge_and_how_long_it_waited() -> None:
    """parity R5: `tracing` has an effect; nothing of the payload is told."""
    events: list[Event] = []
    config = PipelineConfig(tracing=True)

    await PipelineBuilder(config).on_event(events.append).chain(passing("a"), patient).build().run(["hello", "two"])

    moved = [one for one in events if isinstance(one, ElementMoved)]
    assert [(one.ordinal, one.element, one.waited_s) for one in moved if one.edge == "a → patient"] == [
        (0, "TextElement", 0),
        (1, "TextElement", 3),
    ]
    assert sorted({one.edge for one in moved}) == ["a → patient", "patient → consumer", "source → a"]
    assert "hello" not in repr(moved)


async def test_the_end_of_a_run_is_its_last_event_also_when_it_is_traced() -> None:
    """semantics 5.12: a run is over when its consumer has met the end, and not when its tasks have ended."""
    events: list[Event] = []

    await PipelineBuilder(PipelineConfig(tracing=True)).on_event(events.append).chain(passing("a")).build().run(["x"])

    assert [one.name for one in events].index("pipeline.completed") == len(events) - 1
    assert sum(one.name == "element.moved" for one in events) == 2


@pytest.mark.usefixtures("no_gc")
async def test_a_run_that_is_left_after_its_stages_have_ended_was_cancelled() -> None:
    """semantics 5.12: its consumer has not met the end. In a block, in a bare loop, and lost."""
    events: list[Event] = []
    pipeline = PipelineBuilder().on_event(events.append).chain(passing("a")).build()

    async with pipeline.execute(["x", "y"]) as run:
        await anext(run)
        await anyio.sleep(1)
    async for _ in pipeline.execute(["x", "y"]):
        await anyio.sleep(1)
        break

    assert [one.name for one in events if one.stage is None] == ["pipeline.started", "pipeline.cancelled"] * 2


async def test_a_stage_may_emit_from_a_thread() -> None:
    """semantics 3.4: `emit` never raises; listeners are called on the loop."""
    heard: list[int] = []

    def work(element: TextElement) -> TextElement:
        current_run().emit("working")
        return element

    builder = PipelineBuilder().on_event(lambda event: event.name == "working" and heard.append(threading.get_ident()))
    await builder.chain(ThreadStage(work)).build().run(["a", "b"])

    assert heard == [threading.get_ident()] * 2


async def test_without_tracing_no_event_is_made_for_an_element() -> None:
    """goal: free when off."""
    events: list[Event] = []

    await PipelineBuilder().on_event(events.append).chain(passing("a")).build().run(["one", "two"])

    assert [type(one) for one in events] == [PipelineStarted, StageStarted, StageCompleted, PipelineCompleted]

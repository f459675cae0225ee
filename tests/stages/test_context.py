"""`RunContext`: what a stage may ask of its run, and the helper tasks that it may start."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator
from contextvars import ContextVar

import anyio
import pytest

from streamflow import (
    BaseStage,
    Event,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    RunContext,
    SendEnd,
    StageError,
    TextElement,
    current_run,
    stage,
)
from streamflow.errors import RunStateError
from streamflow.testing import assert_all_stages_stopped, run_stage

Input, Output = ReceiveEnd[TextElement], SendEnd[TextElement]


@dataclasses.dataclass
class Deps:
    greeting: str


@stage
async def greet(stream: AsyncIterator[TextElement], run: RunContext[Deps]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield TextElement(f"{run.deps.greeting} {element.text} ({run.run_id}, {run.stage})")


async def test_a_stage_knows_its_run_its_name_and_what_the_caller_gave() -> None:
    """semantics 3.4: `run_id`, `stage` and typed `deps`, which are the caller's own object."""
    pipeline = PipelineBuilder().chain(greet, PassthroughStage()).build()

    async with (
        pipeline.execute(["you"], deps=Deps("hello")) as first,
        pipeline.execute(["you"], deps=Deps("hi")) as second,
    ):
        assert await anext(first) == TextElement(f"hello you ({first.run_id}, greet)")
        assert await anext(second) == TextElement(f"hi you ({second.run_id}, greet)")
    assert first.run_id != second.run_id


async def test_the_clock_is_the_event_loops_and_the_deadline_is_on_its_scale() -> None:
    """semantics 3.4: `deadline_s` is when the run will time out; None when it will not."""
    seen: list[tuple[float, float | None]] = []

    async def look(input: Input, output: Output, run: RunContext[object]) -> None:
        seen.append((run.clock(), run.deadline_s))
        await anyio.sleep(3)
        seen.append((run.clock(), run.deadline_s))

    await anyio.sleep(100)
    start = anyio.current_time()
    await run_stage(look, timeout_s=10)
    await run_stage(look, timeout_s=None)

    assert seen == [
        (start, pytest.approx(start + 10)),
        (start + 3, pytest.approx(start + 10)),
        (start + 3, None),
        (start + 6, None),
    ]


async def test_log_records_carry_the_run_and_the_stage(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 3.4: a line in the log can be traced to its run, beside what `extra=` of the call says."""

    @stage(name="talker")
    async def talk(stream: AsyncIterator[TextElement], run: RunContext[object]) -> AsyncIterator[TextElement]:
        async for element in stream:
            run.logger.info("got %s", element.text, extra={"length": len(element.text)})
            run.logger.warning("again")
            yield element

    pipeline = PipelineBuilder().chain(talk).build()
    with caplog.at_level(logging.INFO, "streamflow"):
        async with pipeline.execute(["abc"]) as run:
            async for _ in run:
                pass

    first, second = caplog.records
    assert (first.name, first.getMessage(), first.levelname) == ("streamflow.stage.talker", "got abc", "INFO")
    assert [(one.run_id, one.stage) for one in (first, second)] == [(run.run_id, "talker")] * 2
    assert first.length == 3
    assert not hasattr(second, "length")


async def test_events_reach_the_listeners_in_order_with_run_and_stage() -> None:
    """semantics 3.4, 5.12: `emit` tells whoever listens, inline."""
    events: list[Event] = []

    @stage
    async def telling(stream: AsyncIterator[TextElement], run: RunContext[object]) -> AsyncIterator[TextElement]:
        run.emit("started")
        async for element in stream:
            run.emit("chat.token", {"text": element.text})
            yield element

    pipeline = PipelineBuilder().on_event(events.append).chain(telling).build()
    result = await pipeline.run(["a", "b"])

    assert [one for one in events if type(one) is Event] == [
        Event(name="started", run_id=result.run_id, stage="telling"),
        Event(name="chat.token", run_id=result.run_id, stage="telling", data={"text": "a"}),
        Event(name="chat.token", run_id=result.run_id, stage="telling", data={"text": "b"}),
    ]


async def test_a_listener_that_raises_is_logged_once_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 5.12: no listener changes the data flow, and the others still hear everything."""
    heard: list[str] = []

    def broken(event: Event) -> None:
        raise ZeroDivisionError(event.name)

    @stage
    async def telling(stream: AsyncIterator[TextElement], run: RunContext[object]) -> AsyncIterator[TextElement]:
        async for element in stream:
            run.emit(element.text)
            yield element

    builder = PipelineBuilder().on_event(broken).on_event(lambda event: heard.append(event.name))
    result = await builder.chain(telling).build().run(["a", "b", "c"])

    assert result.text == "abc"
    assert heard[2:-2] == ["a", "b", "c"]
    (record,) = [one for one in caplog.records if one.name.startswith("streamflow")]
    assert "broken" in record.getMessage()
    assert "told once" in record.getMessage()
    assert record.exc_info is not None


# current_run


async def deep() -> str:
    await anyio.lowlevel.checkpoint()
    return f"{current_run().stage}/{current_run().deps}"


async def test_the_run_is_found_however_deep_in_the_calls_of_a_stage() -> None:
    """semantics 3.4: also in a helper task, in a task group of the stage, and in a worker thread."""
    found: list[str] = []

    async def look() -> None:
        found.append(await deep())

    async def outer(input: Input, output: Output, run: RunContext[str]) -> None:
        await look()
        run.start_soon(look)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)

    def per_element(element: TextElement) -> TextElement:
        return TextElement(current_run().stage)

    assert await run_stage(outer, deps="mine") == []
    assert found == ["outer/mine"] * 3
    assert await run_stage(per_element, ["x"]) == [TextElement("per_element")]


async def test_outside_a_stage_there_is_no_current_run() -> None:
    """semantics 3.4: a clear error, also for the consumer of a run, who is not inside it."""
    pipeline = PipelineBuilder().chain(PassthroughStage()).build()

    async with pipeline.execute(["x"]) as run:
        async for _ in run:
            with pytest.raises(RunStateError, match="outside a stage; pass what you need as an argument"):
                current_run()


# Context variables


VARIABLE: ContextVar[str] = ContextVar("variable", default="unset")


async def test_a_stage_sees_the_callers_variables_and_keeps_its_own() -> None:
    """semantics 5.1: those of the `execute()` call; one set in a stage is invisible to its siblings and the caller."""
    seen: list[str] = []

    def setter(name: str) -> MapStage:
        def change(element: TextElement) -> TextElement:
            seen.append(f"{name} saw {VARIABLE.get()}")
            VARIABLE.set(name)
            return element

        return MapStage(change, name=name)

    async def source() -> AsyncIterator[str]:
        seen.append(f"source saw {VARIABLE.get()}")
        VARIABLE.set("source")
        yield "a"
        yield "b"

    VARIABLE.set("caller")
    pipeline = PipelineBuilder().chain(setter("first"), setter("second")).build()
    run = pipeline.execute(source())
    VARIABLE.set("later")
    async with run:
        assert [await anext(run), await anext(run)] == [TextElement("a"), TextElement("b")]

    assert seen[0] == "source saw caller"
    assert sorted(seen[1:]) == ["first saw caller", "first saw first", "second saw caller", "second saw second"]
    assert VARIABLE.get() == "later"


async def test_a_helper_sees_what_its_stage_has_set() -> None:
    """`RunContext.start_soon`: a helper starts with the variables of its caller and changes only its own."""
    seen: list[str] = []

    async def helper() -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set("helper")

    async def outer(input: Input, output: Output, run: RunContext[object]) -> None:
        VARIABLE.set("stage")
        run.start_soon(helper)
        async for _ in input:
            pass
        await anyio.sleep(1)
        seen.append(VARIABLE.get())

    await run_stage(outer)

    assert seen == ["stage", "stage"]


# Helpers


async def test_a_stage_completes_when_its_helpers_have() -> None:
    """`RunContext.start_soon`: the output stays open for a helper, and a helper may start another."""

    async def second(output: Output) -> None:
        await anyio.sleep(5)
        await output.send(TextElement("second"))

    async def first(output: Output, run: RunContext[object]) -> None:
        await anyio.sleep(5)
        await output.send(TextElement("first"))
        run.start_soon(second, output)

    async def main(input: Input, output: Output, run: RunContext[object]) -> None:
        run.start_soon(first, output, run)
        run.start_soon(second, output, name="other")
        await output.send(TextElement("main"))

    for capacity in (1, 2, 16):
        got = await run_stage(main, capacity=capacity)
        assert [one.text for one in got] in (
            ["main", "first", "second", "second"],
            ["main", "second", "first", "second"],
        )
    await assert_all_stages_stopped()


@pytest.mark.parametrize("main_goes_on", [True, False])
async def test_a_helper_that_raises_fails_its_stage(main_goes_on: bool) -> None:
    """`RunContext.start_soon`: the failure has the stage's name, and ends the stage's own function too."""
    ended: list[str] = []

    async def broken() -> None:
        await anyio.sleep(1)
        raise ZeroDivisionError

    async def owner(input: Input, output: Output, run: RunContext[object]) -> None:
        run.start_soon(broken)
        try:
            await anyio.sleep(1000 if main_goes_on else 0)
        except BaseException as error:
            ended.append(type(error).__name__)
            raise

    with pytest.raises(StageError, match="stage 'owner' failed: ZeroDivisionError") as caught:
        await run_stage(owner)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.index is None
    assert len(ended) == main_goes_on
    await assert_all_stages_stopped()


@pytest.mark.parametrize(
    "how", ["the stage fails", "another stage fails", "the run is cancelled", "the last stage ends"]
)
async def test_helpers_end_with_their_stage(how: str) -> None:
    """`RunContext.start_soon`: cancelled with the stage, whichever way it ends, and none is left behind."""
    ended: list[str] = []

    async def forever() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("helper")

    async def owner(input: Input, output: Output, run: RunContext[object]) -> None:
        run.start_soon(forever)
        await anyio.sleep(1)  # a helper that has not begun never begins, and has nothing to clean up
        async for element in input:
            if how == "the stage fails":
                raise ZeroDivisionError
            await output.send(element)

    async def other(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element
            if how == "another stage fails":
                raise ZeroDivisionError
            if how == "the last stage ends":
                return

    pipeline = PipelineBuilder().chain(owner, other).build()
    async with pipeline.execute() as run:
        await run.send("a")
        if how == "the run is cancelled":
            assert await anext(run) == TextElement("a")
            run.cancel()
        elif how == "the last stage ends":
            assert [type(one).__name__ async for one in run] == ["TextElement", "EndOfStream"]
        else:
            with pytest.raises(StageError, match="owner" if how == "the stage fails" else "other"):
                async for _ in run:
                    pass
    await assert_all_stages_stopped()
    assert ended == ["helper"]


async def test_a_helper_cannot_be_started_once_its_stage_has_ended() -> None:
    """`RunContext.start_soon`: a clear error with the stage's name, not a task that nobody waits for."""
    kept: list[RunContext[object]] = []

    async def quick(input: Input, output: Output, run: RunContext[object]) -> None:
        kept.append(run)

    async def never() -> None:
        raise AssertionError

    await run_stage(quick)

    with pytest.raises(RunStateError, match=r"stage 'quick' has ended and cannot start the helper 'never'"):
        kept[0].start_soon(never)
    with pytest.raises(RunStateError, match="the helper 'mine'"):
        kept[0].start_soon(never, name="mine")


async def test_a_helper_cannot_be_started_while_its_stage_unwinds() -> None:
    """`RunContext.start_soon`: a stage that is being cancelled starts nothing new."""
    refused: list[RunStateError] = []

    async def never() -> None:
        raise AssertionError

    async def unwinding(input: Input, output: Output, run: RunContext[object]) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            try:
                run.start_soon(never)
            except RunStateError as error:
                refused.append(error)

    pipeline = PipelineBuilder().chain(unwinding).build()
    async with pipeline.execute():
        await anyio.wait_all_tasks_blocked()
    assert len(refused) == 1


async def test_several_helpers_may_send_at_once_and_none_is_lost() -> None:
    """semantics 2.1: several tasks of one stage may send on its output."""

    async def sender(output: Output, name: str) -> None:
        for number in range(20):
            await output.send(TextElement(f"{name}{number}"))

    async def main(input: Input, output: Output, run: RunContext[object]) -> None:
        for name in "abc":
            run.start_soon(sender, output, name)

    for capacity in (1, 2, 16):
        got = [one.text for one in await run_stage(main, capacity=capacity) if isinstance(one, TextElement)]
        assert len(got) == 60
        for name in "abc":
            assert [one for one in got if one.startswith(name)] == [f"{name}{number}" for number in range(20)]


class Anonymous:
    """A callable without a name."""

    async def __call__(self) -> None:
        await anyio.sleep(1)


async def test_a_context_and_its_helpers_can_be_told_apart_in_reports() -> None:
    """`RunContext`: its `repr` names run and stage; a helper has its function's name, or `helper`."""
    shown: list[str] = []

    class Owner(BaseStage):
        async def process(self, input: Input, output: Output, run: RunContext[object]) -> None:
            run.start_soon(Anonymous())
            shown.append(repr(run))

    pipeline = PipelineBuilder(PipelineConfig(timeout_s=0.5)).chain(Owner).build()
    async with pipeline.execute([]) as run:
        with pytest.raises(TimeoutError):
            async for _ in run:
                pass
    assert shown == [f"<RunContext run_id={run.run_id!r} stage='owner'>"]

"""Failures that are not the run's: of isolated inputs, and of optional branches."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from failing import RefusalError, counting

from streamflow import (
    BaseStage,
    CollectStage,
    EndOfStream,
    ErrorElement,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    RunContext,
    RunTimeoutError,
    SendEnd,
    SinkStage,
    StageError,
    StageKind,
    Supervision,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.testing import EdgeLedger, assert_all_stages_stopped, cancel_sweep

every_capacity = pytest.mark.parametrize("capacity", [1, 4, 65])


def joined(*, isolate: bool = True, capacity: int = 4, fails: dict[str, int] | None = None) -> PipelineBuilder:
    """Two inputs, of which the first one fails on `c`."""
    bad = counting({"c": 1} if fails is None else fails, "bad")
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity))
    return builder.merge(PassthroughStage("join"), bad, PassthroughStage("good"), isolate=isolate)


SOURCES = {"bad": ["a", "b", "c", "d"], "good": list("123456")}


@every_capacity
async def test_an_isolated_input_that_fails_ends_alone(capacity: int):
    """4.5: the others go on; an error element that is not fatal stands where its results end."""
    events: list[str] = []
    builder = joined(capacity=capacity).on_event(lambda event: events.append(f"{event.name} {event.stage}"))
    with EdgeLedger() as ledger:
        async with builder.build().execute(SOURCES) as run:
            got = [one async for one in run]
            (failure,) = run.failures
    ledger.check(ended=True)

    assert isinstance(got[-1], EndOfStream)
    assert got[-1].reason == "done"
    of_bad = [
        one.text if isinstance(one, TextElement) else one
        for one in got[:-1]
        if getattr(one, "text", "x") not in "123456"
    ]
    assert of_bad == ["a/1", "b/2", ErrorElement("stage_failed", "stage 'bad' failed: RefusalError", "bad")]
    assert [one.text for one in got[:-1] if isinstance(one, TextElement) and one.text in "123456"] == list("123456")
    assert (failure.stage, failure.index) == ("bad", 2)
    assert isinstance(failure.__cause__, RefusalError)
    assert "stage.failed bad" in events
    assert events[-1] == "pipeline.completed None"
    await assert_all_stages_stopped()


async def test_the_result_has_the_failures_that_the_run_has_survived():
    """4.5: in `Result.errors` as the elements that came out, in `Result.failures` as they were raised."""
    result = await joined().build().run(SOURCES)

    assert [one.stage for one in result.errors] == ["bad"]
    assert [one.stage for one in result.failures] == ["bad"]
    assert result.reason == "done"


async def test_without_isolation_the_run_fails():
    """4.5: an input that fails fails the merge unless told to isolate."""
    with pytest.raises(StageError):
        await joined(isolate=False).build().run(SOURCES)


@pytest.mark.parametrize("bad", [[], ["a"], ["c"], ["a", "b", "c"]], ids=str)
@pytest.mark.parametrize("good", [[], ["1", "2"]], ids=str)
async def test_inputs_of_every_length_may_fail_or_end(bad: list[str], good: list[str]):
    """4.5: empty, ending at once, failing at once, failing late; and both of them."""
    result = await joined().build().run({"bad": bad, "good": good})

    assert len(result.failures) == ("c" in bad)
    assert sorted(one.text for one in result.elements if isinstance(one, TextElement)) == sorted(
        [*good, *[f"{text}/{place + 1}" for place, text in enumerate(bad) if text != "c"]]
    )


async def test_when_every_input_has_failed_the_run_is_done():
    """4.5: nothing is left to wait for, and nothing is raised."""
    builder = PipelineBuilder().merge(
        PassthroughStage("join"), counting({"a": 1}, "one"), counting({"a": 1}, "two"), isolate=True
    )
    result = await builder.build().run({"one": ["a"], "two": ["a"]})

    assert sorted(one.stage for one in result.failures) == ["one", "two"]
    assert result.reason == "done"


async def test_a_source_of_an_isolated_input_may_fail():
    """4.5: it is a part of the input that it feeds alone."""

    async def source() -> AsyncIterator[str]:
        yield "a"
        raise OSError("the line is dead")

    result = await joined().build().run({"bad": source(), "good": ["1"]})

    assert [(one.stage, type(one.__cause__)) for one in result.failures] == [("source of bad", OSError)]
    assert [one.stage for one in result.errors] == ["source"]
    assert sorted(one.text for one in result.elements if isinstance(one, TextElement)) == ["1", "a/1"]


async def test_what_feeds_only_a_failed_input_ends_and_its_source_is_closed():
    """4.5: its inputs say that no more is needed; nobody works for nobody."""
    closed: list[str] = []

    async def source() -> AsyncIterator[str]:
        try:
            while True:
                await anyio.sleep(1)
                yield "c"
        finally:
            closed.append("source")

    async def good() -> AsyncIterator[str]:
        await anyio.sleep(100)
        assert closed == ["source"]
        yield "1"

    builder = joined().chain(PassthroughStage("before"), "bad")
    result = await builder.build().run({"before": source(), "good": good()})
    assert [one.text for one in result.elements if isinstance(one, TextElement)] == ["1"]


async def test_a_failure_above_several_isolated_inputs_is_told_once():
    """4.5 and 4.9: a copy of the error element on each way, and one of them leaves the merge."""
    builder = PipelineBuilder().branch(counting({"b": 1}), PassthroughStage("one"), PassthroughStage("two"))
    builder.merge(PassthroughStage("join"), "one", "two", PassthroughStage("good"), isolate=True)
    result = await builder.build().run({"count": ["a", "b"], "good": ["1"]})

    assert sorted(one.text for one in result.elements if isinstance(one, TextElement)) == ["1", "a/1", "a/1"]
    assert len(result.errors) == 1


@every_capacity
async def test_an_optional_branch_that_fails_ends_alone(capacity: int):
    """4.5: to its ends, sinks too; the other branches get everything."""
    kept: list[TextElement] = []

    def log(element: TextElement) -> None:
        if element.text == "c":
            raise RefusalError
        kept.append(element)

    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity))
    builder.branch(PassthroughStage("fork"), PassthroughStage("main"), optional=[SinkStage(log), counting({"b": 1})])
    with EdgeLedger() as ledger:
        result = await builder.build().run(["a", "b", "c", "d", "e"])
    ledger.check(ended=True)

    texts = [one.text for one in result.elements if isinstance(one, TextElement)]
    assert [text for text in texts if "/" not in text] == ["a", "b", "c", "d", "e"]
    assert [text for text in texts if "/" in text] == ["a/1"]
    assert [one.text for one in kept] == ["a", "b"]
    assert sorted(one.stage for one in result.failures) == ["count", "log"]
    assert [one.stage for one in result.errors] == ["count"], "a sink has no output to tell it on"


async def test_turns_stay_together_when_an_optional_branch_has_failed():
    """4.9: a boundary is not waited for where nothing comes any more."""
    builder = PipelineBuilder().branch(
        PassthroughStage("fork"), PassthroughStage("main"), optional=[counting({"b": 1})]
    )
    builder.merge(PassthroughStage("join"), "main", "count")
    result = await builder.build().run(
        [TextElement("a"), TurnEnd(), TextElement("b"), TurnEnd(index=1), TextElement("c")]
    )

    ends = [one.index for one in result.elements if isinstance(one, TurnEnd)]
    assert ends == [0, 1]
    first_end = result.elements.index(TurnEnd())
    assert sorted(one.text for one in result.elements[:first_end]) == ["a", "a/1"]


async def test_a_helper_that_fails_ends_its_isolated_stage_with_it():
    """3.4: a helper that raises fails the stage, here too."""

    class Helped(BaseStage):
        async def process(
            self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]
        ) -> None:
            run.start_soon(self.fail)
            run.start_soon(anyio.sleep_forever)
            async for element in input:
                await output.send(element)
            await anyio.sleep_forever()

        async def fail(self) -> None:
            await anyio.sleep(1)
            raise RefusalError

    builder = PipelineBuilder().merge(PassthroughStage("join"), Helped(), PassthroughStage("good"), isolate=True)
    result = await builder.build().run({"helped": ["a"], "good": ["1"]})

    assert [one.stage for one in result.failures] == ["helped"]
    assert sorted(one.text for one in result.elements if isinstance(one, TextElement)) == ["1", "a"]


async def test_an_isolated_stage_that_is_too_slow_ends_alone():
    """8.1 and 4.5: its limit is a failure like another; the limits of the others hold on."""

    def stuck(name: str, after_s: float):
        @stage(name=name, timeout_s=1)
        async def one(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
            async for element in stream:
                yield element
                await anyio.sleep(after_s)

        return one

    class Note(BaseStage):
        kind = StageKind.SINK
        timeout_s = 1

        async def process(self, input: ReceiveEnd[TextElement]) -> None:
            async for _ in input:
                await anyio.sleep(1000)

    builder = PipelineBuilder(PipelineConfig(backpressure_timeout_s=50, buffer_size=1))
    builder.branch(PassthroughStage("fork"), stuck("main", 0.5), optional=[stuck("log", 1000), Note()])
    result = await builder.build().run(["a", "b", "c"])

    assert sorted((one.stage, type(one.__cause__)) for one in result.failures) == [
        ("log", RunTimeoutError),
        ("note", RunTimeoutError),
    ]
    assert sorted(one.text for one in result.elements if isinstance(one, TextElement)) == ["a", "a", "b", "c"]
    assert result.timings.total_s == 1.5


async def test_a_stage_is_supervised_first_and_isolated_then():
    """5.7 and 4.5: what supervision gives up is the failure of the input, with its attempts."""
    builder = joined(fails={"c": 9}).supervise("bad", Supervision("restart", in_hand="redeliver", attempts=3))
    result = await builder.build().run(SOURCES)

    assert [(one.stage, one.attempts) for one in result.failures] == [("bad", 3)]


async def test_a_failure_elsewhere_still_fails_the_run():
    """4.5: only what is isolated is tolerated, and what was tolerated before changes nothing."""
    builder = joined().chain("join", counting({"5": 1}, "last"))
    async with builder.build().execute(SOURCES) as run:
        with pytest.raises(StageError) as caught:
            [_ async for _ in run]
        assert caught.value.stage == "last"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_interrupts_are_not_isolated(kind: type[BaseException]):
    """6.3: they reach the caller as they are."""

    @stage
    async def bad(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for _ in stream:
            raise kind
        yield TextElement("")

    builder = PipelineBuilder().branch(PassthroughStage("fork"), PassthroughStage("main"), optional=[bad])
    with pytest.raises(kind):
        await builder.build().run(["a"])


@pytest.mark.parametrize("how", ["scope", "native", "timeout"])
async def test_an_isolated_failure_can_be_cancelled_at_every_moment(how):
    """7.1: nothing is left behind."""

    async def scenario() -> None:
        builder = joined(capacity=1).branch("join", PassthroughStage("out"), optional=[CollectStage([])])
        await builder.build().run({"bad": ["a", "c"], "good": ["1"]})

    report = await cancel_sweep(scenario, how=how)
    assert report.skipped or report.ticks > 5

"""Elements followed over edges, and spans of runs and stages. How exact ways are is tried in `tests/properties/test_traces.py`."""

from __future__ import annotations

import gc
import logging
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator

import anyio
import pytest

from streamflow import (
    CollectStage,
    ConfigError,
    DataElement,
    MapStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    Priority,
    ReceiveEnd,
    RunContext,
    SendEnd,
    StageError,
    StageKind,
    StreamElement,
    Supervision,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.observe import (
    ElementTrace,
    Span,
    TraceContext,
    TraceList,
    TraceSink,
    Tracing,
    current_span,
    parent_based,
    ratio_based,
    start_span,
)
from streamflow.stages import BatchStage

PARENT = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", state="vendor=one")


def passing(name: str) -> MapStage:
    return MapStage(lambda element: element, name=name)


def traced(sink: TraceSink | None = None, **options: object) -> PipelineConfig:
    sinks = () if sink is None else (sink,)
    return PipelineConfig(buffer_size=4, tracing=Tracing(sinks=sinks, **options))


async def ways(pipeline: Pipeline, source: object, end: str = "delivered") -> list[ElementTrace]:
    async with pipeline.execute(source) as run:
        async for _ in run:
            pass
        return [one for one in run.traces() if one.end == end]


async def test_what_a_stage_collects_is_linked_to_all_that_went_into_it() -> None:
    """semantics 24.12: the way is that of the oldest, the others are links; control that passes by is none of them."""
    pipeline = PipelineBuilder(traced()).chain(passing("a"), BatchStage(3), passing("b")).build()

    found = await ways(pipeline, ["1", TextElement("2"), "3", "4", TurnEnd()])

    batches = [one for one in found if one.element == "BatchElement"]
    assert [len(one.links) for one in batches] == [2, 1]
    assert {one.name for one in batches[0].links} == {"batch"}
    assert len({batches[0].trace_id, *(one.trace_id for one in batches[0].links)}) == 3
    assert batches[0].path == ("a", "batch", "b")
    assert [one.links for one in found if one.element == "TurnEnd"] == [()]


async def test_what_passes_a_collecting_stage_by_is_no_link() -> None:
    """semantics 24.12: only what the stage has taken can have gone into what it makes."""

    async def joined(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        texts: list[str] = []
        async for element in input:
            if isinstance(element, TextElement):
                texts.append(element.text)
            else:
                await output.send(TextElement("".join(texts)))
                await output.send(element)

    collecting = stage(joined, name="joined", kind=StageKind.ACCUMULATE, accepts=(TextElement, TurnEnd))
    source = ["1", DataElement("n", 1), TextElement("2"), TurnEnd()]
    found = await ways(PipelineBuilder(traced()).chain(passing("a"), collecting).build(), source)

    (text,), (data,) = ([one for one in found if one.element == kind] for kind in ("TextElement", "DataElement"))
    assert len(text.links) == 2
    assert data.trace_id not in {text.trace_id, *(one.trace_id for one in text.links)}
    assert (data.path, data.links) == (("a", "joined"), ())


async def test_links_are_no_more_than_was_allowed() -> None:
    """semantics 24.13: bounded, whatever is collected."""
    found = await ways(PipelineBuilder(traced(max_links=4)).chain(BatchStage(50)).build(), map(str, range(100)))

    assert [len(one.links) for one in found if one.element == "BatchElement"] == [3, 3]


async def test_what_a_merge_makes_of_several_is_linked_to_each() -> None:
    """semantics 24.12: and the wait for the other input is time in the queue."""

    @stage
    async def slow(input: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in input:
            await anyio.sleep(2)
            yield element

    builder = PipelineBuilder(traced()).add(passing("in"), passing("quick"), slow, passing("out"))
    builder.branch("in", "quick", "slow").merge("out", "quick", "slow", policy="zip")

    (found,) = await ways(builder.build(), ["x"])

    assert found.path == ("in", "quick", "out")
    assert [(one.trace_id == found.trace_id, one.name.endswith("out")) for one in found.links] == [(True, True)]
    assert found.time_in("quick → out") == 2
    assert found.duration_s == sum(one.duration_s for one in found.visits) == 2


async def test_elements_of_several_sources_are_followed_through_their_merge() -> None:
    """semantics 24.10: whose inputs no fork feeds; many that are there at once, plain ones and control."""
    builder = PipelineBuilder(traced(keep=1000)).add(passing("a"), passing("b"), passing("out"))
    pipeline = builder.merge("out", "a", "b").build()
    source = [*(TextElement(str(number)) for number in range(9)), TurnEnd(), TextElement("x")]

    async with pipeline.execute({"a": source, "b": source}) as run:
        got = [element async for element in run]
        found = run.traces()

    assert len(got) == 2 * len(source) + 1
    assert sorted(one.path for one in found) == [("a", "out")] * len(source) + [("b", "out")] * len(source)


async def test_an_element_that_goes_around_has_been_there_more_than_once_and_a_long_way_is_cut() -> None:
    """semantics 24.10, 24.13: a loop's rounds are in the way; beyond `max_hops` the beginning is missing, and said to be."""

    def loop(**options: object) -> Pipeline:
        builder = PipelineBuilder(traced(**options)).chain(passing("in"), MapStage(lambda e: e, name="work"))
        builder.add(MapStage(lambda e: TextElement(e.text + "."), name="again"), passing("out"))
        builder.add(stage(done, name="done"), stage(more, name="more"))
        builder.branch("work", "done", "more").chain("done", "out").chain("more", "again")
        return builder.feedback("again", "work", buffer=4, max_rounds=10).build()

    async def done(input: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in input:
            if len(element.text) > 3:
                yield element

    async def more(input: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in input:
            if len(element.text) <= 3:
                yield element

    (found,) = await ways(loop(), ["x"])
    (cut,) = await ways(loop(max_hops=5), ["x"])

    assert found.path == ("in", "work", *("more", "again", "work") * 3, "done", "out")
    assert not found.is_cut
    assert cut.is_cut
    assert cut.path == found.path[-len(cut.path) :]


async def test_an_element_that_is_given_again_after_a_restart_is_the_same() -> None:
    """semantics 24.10: its way has the stage once, with the time that the restart took; the span tells of the restart."""
    sink = TraceList()
    failures = iter([ValueError("secret"), None, None])

    @stage
    async def fragile(input: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in input:
            if (failure := next(failures)) is not None:
                raise failure
            yield element

    builder = PipelineBuilder(traced(sink)).add(passing("a"), fragile).chain("a", "fragile")
    builder.supervise("fragile", Supervision("restart", in_hand="redeliver", min_backoff_s=3, jitter=0))
    found = await ways(builder.build(), ["x", "y"])

    assert [one.path for one in found] == [("a", "fragile")] * 2
    assert found[0].time_in("fragile") == 3
    (told,) = [one for one in sink.spans if one.name == "stage fragile"]
    assert [one.name for one in told.events] == ["stage.restarted"]
    assert told.events[0].attributes["error.type"] == "ValueError"
    assert "secret" not in repr(sink.spans)


async def test_what_is_thrown_away_is_told_and_sinks_end_a_way() -> None:
    """semantics 24.10: `discarded` on the last edge of its visits, `consumed` in a sink."""

    @stage
    async def slow(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        await anyio.sleep(1)
        async for element in input:
            await output.send(element)

    builder = PipelineBuilder(traced()).add(passing("a"), slow, CollectStage([], name="end"))
    builder.connect("a", "slow", buffer=2, overflow="drop_oldest").chain("slow", "end")
    async with builder.build().execute(["1", "2", "3", "4"]) as run:
        async for _ in run:
            pass
        found = run.traces()

    assert sorted((one.end, one.path) for one in found) == [
        ("consumed", ("a", "slow", "end")),
        ("consumed", ("a", "slow", "end")),
        ("discarded", ("a",)),
        ("discarded", ("a",)),
    ]
    assert {one.visits[-1].name for one in found if one.end == "discarded"} == {"a → slow"}


async def test_lanes_and_leaves_read_alone_lose_no_way() -> None:
    """semantics 24.10: elements that pass others, and an output that is read by its name."""
    config = traced().replace(priority=True)
    builder = (
        PipelineBuilder(config).add(passing("in"), passing("left"), passing("right")).branch("in", "left", "right")
    )
    source = [TextElement(str(one), priority=Priority(one % 4)) for one in range(12)]
    order: list[str] = []

    async with builder.build().execute(source) as run:
        left = run.output("left")

        async def read() -> None:
            order.extend([one.text async for one in left if isinstance(one, TextElement)])

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            async for _ in run:
                pass
        found = [one for one in run.traces() if one.element == "TextElement"]

    assert sorted(one.path for one in found) == [("in", "left")] * 12 + [("in", "right")] * 12
    assert len(order) == 12
    assert len({one.trace_id for one in found}) == 12


async def test_a_stage_that_knows_better_says_what_it_made_of_what() -> None:
    """semantics 24.12: `run.derived()`; without it what a collecting stage sends has links to all."""

    async def pairs(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]) -> None:
        kept = [element async for element in input]
        for element in reversed(kept):
            if isinstance(element, TextElement):
                made = TextElement(element.text * 2)
                run.derived(made, element)
                await output.send(made)

    pairs.__name__ = "pairs"
    config = traced()
    several = stage(pairs, name="pairs", kind=StageKind.ACCUMULATE, accepts=(TextElement, TurnEnd))
    async with PipelineBuilder(config).chain(several).build().execute(["1", "2", "3"]) as run:
        texts = [one.text async for one in run if isinstance(one, TextElement)]
        found = run.traces()

    entered = [one.began_s for one in found]
    assert texts == ["33", "22", "11"]
    assert [one.links for one in found] == [(), (), ()]
    assert len({one.trace_id for one in found}) == 3
    assert entered == [0, 0, 0]


@pytest.mark.parametrize(
    ("sample", "kept"),
    [
        ("never", 0),
        ("always", 50),
        (0.0, 0),
        (1.0, 50),
        (lambda trace_id, _parent: trace_id % 2 == 0, None),
        (0.5, None),
    ],
    ids=["never", "always", "none", "all", "function", "half"],
)
async def test_a_trace_is_kept_or_not_by_its_id(sample: object, kept: int | None) -> None:
    """semantics 24.14: each element is a trace of its own; what is kept says the sampler, and nothing else."""
    pipeline = PipelineBuilder(traced(elements=sample)).chain(passing("a"), passing("b")).build()

    found = await ways(pipeline, map(str, range(50)))

    keeps = (
        sample if callable(sample) else ratio_based(float(sample)) if not isinstance(sample, str) else lambda *_: True
    )
    assert all(keeps(int(one.trace_id, 16), None) for one in found)
    assert len(found) == kept if kept is not None else 5 < len(found) < 45


async def test_spans_can_be_had_alone_and_then_edges_stay_as_they_are() -> None:
    """semantics 24.14, 24.17: nothing is noted beside elements, and stages share a task as they would."""
    sink = TraceList()
    pipeline = PipelineBuilder(traced(sink, elements="never")).chain(passing("a"), passing("b")).build()
    before_ns = time.time_ns()

    async with pipeline.execute(["x"]) as run:
        async for _ in run:
            pass
        assert all(type(one.backlog) is deque for one in run._engine.edges)

    assert not sink.elements
    assert {one.name for one in sink.spans} == {"invoke_workflow pipeline", "stage a", "stage b"}
    assert all(before_ns <= one.began_ns <= one.ended_ns for one in sink.spans)
    assert (
        pipeline.explain()
        == PipelineBuilder(PipelineConfig(buffer_size=4)).chain(passing("a"), passing("b")).build().explain()
    )


async def test_a_run_goes_on_in_the_trace_of_its_caller_and_keeps_to_its_decision() -> None:
    """semantics 24.14, 24.15: `trace=` as a context or a header; the caller that does not record is followed."""
    sink = TraceList()
    pipeline = PipelineBuilder(traced(sink)).chain(passing("a")).build()

    for trace in (PARENT, PARENT.traceparent, TraceContext(PARENT.trace_id, PARENT.span_id, sampled=False)):
        async with pipeline.execute(["x"], trace=trace) as run:
            async for _ in run:
                pass
            assert run.trace_context is not None
            assert run.trace_context.trace_id == PARENT.trace_id

    runs = [one for one in sink.spans if one.name == "invoke_workflow pipeline"]
    assert [(one.parent_id, one.context.state) for one in runs] == [
        (PARENT.span_id, "vendor=one"),
        (PARENT.span_id, ""),
    ]
    with pytest.raises(ConfigError, match="trace: a TraceContext"):
        pipeline.execute(["x"], trace=3)  # type: ignore[arg-type]
    assert not parent_based("always")(1, TraceContext(PARENT.trace_id, PARENT.span_id, sampled=False))
    assert parent_based("never")(1, PARENT)
    assert not parent_based("never")(1, None)


async def test_spans_of_a_run_its_stages_and_what_they_do_stand_in_each_other() -> None:
    """semantics 24.16: and a run inside a stage goes on in the stage's span; times are those of the run."""
    sink = TraceList()
    inner = PipelineBuilder(traced(sink, name="inner")).chain(passing("deep")).build()

    @stage
    async def outer(input: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in input:
            with start_span("lookup", attributes={"rows": 3}):
                await anyio.sleep(2)
            await inner.run(element)
            yield element

    await PipelineBuilder(traced(sink, name="outer")).chain(outer).build().run(["x"])

    spans = {one.name: one for one in sink.spans}
    whole = spans["invoke_workflow outer"]
    assert (whole.parent_id, whole.status, whole.duration_s) == (None, "unset", 2)
    assert whole.attributes["gen_ai.operation.name"] == "invoke_workflow"
    assert whole.attributes["gen_ai.workflow.name"] == "outer"
    assert spans["stage outer"].parent_id == whole.context.span_id
    assert spans["stage outer"].attributes["streamflow.stage.sent"] == 1
    assert spans["lookup"].parent_id == spans["stage outer"].context.span_id
    assert (spans["lookup"].duration_s, spans["lookup"].attributes["rows"]) == (2, 3)
    assert spans["invoke_workflow inner"].parent_id == spans["stage outer"].context.span_id
    assert {one.context.trace_id for one in sink.spans} == {whole.context.trace_id}
    assert current_span() is None


async def test_a_failure_is_told_by_its_type_and_a_cancellation_is_none() -> None:
    """semantics 24.16: what an error says may be anybody's secret."""
    sink = TraceList()

    @stage
    async def broken(input: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in input:
            raise ValueError("my secret")
            yield element

    with pytest.raises(StageError):
        await PipelineBuilder(traced(sink)).chain(passing("a"), broken).build().run(["x"])
    spans = {one.name: one for one in sink.spans}
    assert (spans["stage broken"].status, spans["stage broken"].error) == ("error", "ValueError")
    assert spans["invoke_workflow pipeline"].status == "error"
    assert spans["stage a"].status == "unset"
    assert "secret" not in repr(sink.spans)

    sink.spans.clear()
    async with PipelineBuilder(traced(sink)).chain(passing("a")).build().execute() as run:
        await run.send("x")
        run.cancel()
    (whole,) = [one for one in sink.spans if one.name.startswith("invoke")]
    assert (whole.status, [one.name for one in whole.events]) == ("unset", ["cancelled"])


async def test_an_interruption_is_a_moment_of_the_run_and_what_it_drops_is_thrown_away() -> None:
    """semantics 24.16, 24.10: barge-in."""
    sink = TraceList()
    async with PipelineBuilder(traced(sink)).chain(passing("a"), passing("b")).build().execute() as run:
        for text in ("x", "y"):
            await run.send(text)
        await anyio.sleep(1)
        run.interrupt("user spoke")
        run.close_input()
        async for _ in run:
            pass

    (whole,) = [one for one in sink.spans if one.name.startswith("invoke")]
    assert [(one.name, one.attributes["streamflow.interrupt.dropped"]) for one in whole.events] == [("interrupt", 2)]
    assert [one.end for one in sink.elements if one.element == "TextElement"] == ["discarded"] * 2


class Broken(TraceSink):
    def span(self, span: Span) -> None:
        raise ValueError(span.name)

    def element(self, trace: ElementTrace) -> None:
        raise ValueError(trace.element)


async def test_a_sink_that_fails_is_logged_once_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 24.17: tracing never changes the data flow."""
    with caplog.at_level(logging.ERROR, logger="streamflow.observe"):
        result = await PipelineBuilder(traced(Broken())).chain(passing("a")).build().run(["x", "y"])

    assert result.text == "xy"
    assert [one.message.partition(" failed")[2] for one in caplog.records] == ["; told once"]


@pytest.mark.usefixtures("no_gc")
async def test_a_traced_run_leaves_nothing_to_the_garbage_collector() -> None:
    """semantics 24.13: what was noted of elements goes with the run."""
    pipeline = PipelineBuilder(traced()).chain(passing("a"), BatchStage(2), passing("b")).build()
    run = pipeline.execute(["x", "y", "z"])
    async with run:
        async for _ in run:
            pass
    engine = weakref.ref(run._engine)
    tracer = weakref.ref(run._engine.tracer)

    del run
    assert engine() is None
    assert tracer() is None
    assert not gc.isenabled()


async def test_without_tracing_nothing_is_noted() -> None:
    """semantics 24.17: off is off."""
    async with PipelineBuilder().chain(passing("a")).build().execute(["x"]) as run:
        async for _ in run:
            pass
        assert run.traces() == ()
        assert run.trace_context is None
        assert all(type(one.backlog) is deque for one in run._engine.edges)


async def test_a_run_that_is_left_in_the_middle_keeps_what_was_traced() -> None:
    """semantics 24.13: at capacity 1, with a consumer that leaves; the newest ways are kept."""
    pipeline = PipelineBuilder(traced(keep=2).replace(buffer_size=1)).chain(passing("a"), passing("b")).build()
    async with pipeline.execute(map(str, range(100))) as run:
        async for element in run:
            if isinstance(element, TextElement) and element.text == "5":
                break
        found = run.traces()

    assert [one.end for one in found] == ["delivered"] * 2
    assert await ways(pipeline, []) == []

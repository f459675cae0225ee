"""Loops: what goes around, how often, what goes first, and how they end."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    DataElement,
    EndOfStream,
    MapAsyncStage,
    PassthroughStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    PipelineDeadlockError,
    ReceiveEnd,
    RunContext,
    SendEnd,
    StageError,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.errors import BuildError, ConfigError, CycleError, RoundLimitError, StagePlacementError
from streamflow.stages import BatchStage, TakeStage
from streamflow.testing import EdgeLedger, cancel_sweep

if TYPE_CHECKING:
    from streamflow import Run

LONG_S = 3600.0
EDGE = "decide:again → enter"


def texts(*words: str) -> list[TextElement]:
    return [TextElement(word) for word in words]


@stage(outputs={"again": TextElement, "done": TextElement})
async def decide(input: ReceiveEnd[TextElement], outputs: Mapping[str, SendEnd[TextElement]]) -> None:
    """Take one letter away; what has none left is done."""
    async for element in input:
        if len(element.text) > 1:
            await outputs["again"].send(TextElement(element.text[1:]))
        else:
            await outputs["done"].send(element)


def loop(*between: object, capacity: int = 16, buffer: int = 16, **limits: object) -> PipelineBuilder:
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity))
    builder.chain(PassthroughStage("enter"), *between, decide)  # type: ignore[arg-type]
    return builder.feedback("decide:again", "enter", buffer=buffer, **limits)  # type: ignore[arg-type]


async def words_of(pipeline: Pipeline, source: object) -> list[str]:
    got: list[str] = []
    with anyio.fail_after(LONG_S):
        async with pipeline.execute(source) as run:  # type: ignore[arg-type]
            async for element in run:
                if isinstance(element, TextElement):
                    got.append(element.text)
    return got


# Around


@given(
    words=st.lists(st.text("abc", min_size=1, max_size=4), max_size=5),
    capacity=st.integers(1, 3),
    buffer=st.integers(6, 8),
    slow=st.booleans(),
)
async def test_everything_goes_around_until_it_is_done_and_then_the_run_ends(
    words: list[str], capacity: int, buffer: int, slow: bool
) -> None:
    """4.25, 4.27: nothing is lost, and the loop ends when nothing is inside it any more; not before, not later."""

    async def source() -> AsyncIterator[TextElement]:
        for word in words:
            if slow:
                await anyio.sleep(1)
            yield TextElement(word)

    got = await words_of(loop(capacity=capacity, buffer=buffer).build(), source())
    assert Counter(got) == Counter(word[-1] for word in words)


async def test_what_comes_back_goes_before_what_is_new() -> None:
    """4.25: the entry is a strict-priority merge; a loop that took new work first would fill up."""
    seen: list[str] = []

    @stage
    async def look(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            seen.append(element.text)
            yield element

    assert len(await words_of(loop(look, capacity=1, buffer=1).build(), texts("abc", "x", "y", "z", "w"))) == 5
    assert seen.index("c") < seen.index("w")


async def test_a_stage_may_feed_itself_and_a_branch_is_a_way_out_by_type() -> None:
    """4.25: a feedback edge is one more branch of its source, for data that its target accepts."""

    @stage(accepts=TextElement)
    async def count_down(stream: AsyncIterator[TextElement]) -> AsyncIterator[StreamElement]:
        async for element in stream:
            number = int(element.text)
            yield TextElement(str(number - 1)) if number else DataElement("done", number)

    @stage(accepts=DataElement)
    async def out(stream: AsyncIterator[DataElement]) -> AsyncIterator[DataElement]:
        async for element in stream:
            yield element

    builder = PipelineBuilder().chain(count_down, out)
    pipeline = builder.feedback("count_down", "count_down", buffer=4).build()
    result = await pipeline.run(texts("2", "5"))
    assert [one for one in result.elements if isinstance(one, DataElement)] == [DataElement("done", 0)] * 2


async def test_control_is_not_sent_back() -> None:
    """4.25: the end of a turn leaves the loop once, behind what it came behind; it would circle for ever."""
    async with loop().build().execute([*texts("ab"), TurnEnd(), *texts("c")]) as run:
        got = [one async for one in run]
    assert got.count(TurnEnd()) == 1
    assert [one.text for one in got if isinstance(one, TextElement)].count("c") == 1
    assert isinstance(got[-1], EndOfStream)
    assert got[-1].totals.elements == 3  # the markers of rounds are nobody's elements


# Rounds


@pytest.mark.parametrize("capacity", [1, 16])
async def test_a_round_too_many_is_an_error_that_names_the_edge(capacity: int) -> None:
    """4.26: the element that would go around once more fails the stage that sends it."""
    pipeline = loop(capacity=capacity, max_rounds=2).build()
    assert sorted(await words_of(pipeline, texts("abc", "ab"))) == ["b", "c"]
    with pytest.raises(StageError) as caught:
        await words_of(pipeline, texts("ab", "abcd"))
    assert caught.value.stage == "decide"
    cause = caught.value.__cause__
    assert isinstance(cause, RoundLimitError)
    assert (cause.edge, cause.max_rounds) == (EDGE, 2)


@given(lengths=st.lists(st.integers(1, 4), max_size=5), limit=st.integers(1, 3), capacity=st.integers(1, 3))
async def test_each_element_is_counted_for_itself(lengths: list[int], limit: int, capacity: int) -> None:
    """4.26: through stages between that work at their own pace, and with many elements in the loop at a time."""

    async def later(element: TextElement) -> TextElement:
        await anyio.sleep(len(element.text))
        return element

    pipeline = loop(
        MapAsyncStage(later, concurrency=2),
        PassthroughStage("more"),
        capacity=capacity,
        buffer=16,
        max_rounds=limit,
        on_limit="drop",
    ).build()
    async with pipeline.execute(texts(*("x" * length for length in lengths))) as run:
        with anyio.fail_after(LONG_S):
            got = [one async for one in run if isinstance(one, TextElement)]
        edge = run.stats().edges[EDGE].counts
    assert len(got) == sum(length - 1 <= limit for length in lengths)
    assert edge.discarded.get("max_rounds", 0) == sum(length - 1 > limit for length in lengths)
    assert edge.sent == edge.received + sum(edge.discarded.values())


# How it ends


async def test_work_that_is_not_on_an_edge_keeps_the_loop_open() -> None:
    """4.27: a call, a helper, a timer of a stage may still bring something."""

    async def later(element: TextElement) -> TextElement:
        await anyio.sleep(60)
        return element

    @stage
    async def helped(input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]) -> None:
        async def send(element: TextElement) -> None:
            await anyio.sleep(60)
            await output.send(element)

        async for element in input:
            run.start_soon(send, element)

    @stage
    async def own(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async def send(element: TextElement) -> None:
            await anyio.sleep(60)
            await output.send(element)

        async with anyio.create_task_group() as tasks:
            async for element in input:
                tasks.start_soon(send, element)

    for between in (MapAsyncStage(later, concurrency=3), helped, own):
        assert sorted(await words_of(loop(between).build(), texts("abc", "x"))) == ["c", "x"]


async def test_what_a_stage_keeps_leaves_when_the_loop_ends() -> None:
    """4.27: the loop drains in its order; what is still sent back then is dropped and counted."""

    @stage(kind=StageKind.ACCUMULATE, accepts=(TextElement, TurnEnd), emits=TextElement, max_held=100)
    async def keep(stream: AsyncIterator[TextElement | TurnEnd]) -> AsyncIterator[StreamElement]:
        held: list[TextElement] = []
        async for element in stream:
            if isinstance(element, TextElement):
                held.append(element)
        for element in held:
            yield element

    async with loop(keep).build().execute(texts("a", "bc")) as run:
        got = [one.text async for one in run if isinstance(one, TextElement)]
        edge = run.stats().edges[EDGE].counts
    assert got == ["a"]
    assert edge.discarded == {"no_more_needed": 1}


async def test_a_stage_that_waits_under_a_limit_of_time_is_waited_for() -> None:
    """4.27: a batch that is not full leaves when its time has come, and may go around."""

    @stage(emits=TextElement)
    async def unbatch(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
        async for element in stream:
            for one in getattr(element, "items", [element]):
                yield one

    pipeline = loop(BatchStage(size=9, max_wait_s=5), unbatch).build()
    assert sorted(await words_of(pipeline, texts("abc", "x"))) == ["c", "x"]


async def test_a_live_run_goes_around_until_its_input_is_closed() -> None:
    """4.27: it is at rest, and not at its end, while its user may send."""
    async with loop(capacity=1).build().execute() as run, anyio.create_task_group() as tasks:

        async def feed() -> None:
            for word in ("abc", "de"):
                await anyio.sleep(60)
                await run.send(word)
            await anyio.sleep(60)
            run.close_input()

        tasks.start_soon(feed)
        with anyio.fail_after(LONG_S):
            assert [one.text async for one in run if isinstance(one, TextElement)] == ["c", "e"]


async def test_a_loop_that_is_full_is_a_deadlock_or_grows() -> None:
    """4.25, 14.1: each element that goes in makes two, and there is no room."""

    @stage
    async def double(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element
            yield element

    with pytest.raises(PipelineDeadlockError) as caught:
        await words_of(loop(double, capacity=1, buffer=1).build(), texts("abcdefgh"))
    assert EDGE in {one.edge for one in caught.value.graph.on_cycle}
    builder = PipelineBuilder(PipelineConfig(buffer_size=1, on_deadlock="grow")).chain(
        PassthroughStage("enter"), double, decide
    )
    pipeline = builder.feedback("decide:again", "enter", buffer=1).build()
    assert len(await words_of(pipeline, texts("abcdefgh"))) == 2**8


async def test_a_consumer_that_leaves_and_a_stage_behind_that_has_enough_end_the_loop() -> None:
    """5.1, 4.7: whatever circles is cancelled with the rest."""

    @stage(outputs={"again": TextElement, "done": TextElement})
    async def forever(input: ReceiveEnd[TextElement], outputs: Mapping[str, SendEnd[TextElement]]) -> None:
        async for element in input:
            await outputs["done"].send(element)
            await outputs["again"].send(element)

    builder = PipelineBuilder().chain(PassthroughStage("enter"), forever).chain("forever:done", TakeStage(3))
    pipeline = builder.feedback("forever:again", "enter", buffer=4).build()
    assert await words_of(pipeline, texts("a")) == ["a", "a", "a"]
    builder = PipelineBuilder().chain(PassthroughStage("enter"), forever)
    async with builder.feedback("forever:again", "enter", buffer=4).build().execute(texts("a")) as run:
        assert await anext(run) == TextElement("a")
    assert run.zombies == ()


async def test_a_failure_inside_the_loop_ends_it() -> None:
    """6.1: what is behind the stage drains; what is before it, also by the way back, is cancelled."""

    @stage
    async def fragile(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            if element.text == "c":
                message = "c is too much"
                raise ValueError(message)
            yield element

    with pytest.raises(StageError, match="c is too much"):
        await words_of(loop(fragile).build(), texts("x", "abc"))


@pytest.mark.slow
async def test_a_loop_can_be_cancelled_at_any_moment() -> None:
    """7.1, 2.3: nothing is left behind, and the accounts of all edges agree."""
    pipeline = loop(capacity=1, buffer=2).build()

    async def consume() -> None:
        with EdgeLedger() as ledger:
            try:
                async with pipeline.execute(texts("abc", "d", "ef")) as run:
                    async for _ in run:
                        pass
            finally:
                ledger.check()

    await cancel_sweep(consume)


# As a graph


async def test_a_loop_can_be_nested_and_written_down() -> None:
    """4.12, 4.14: under its name, with its limit."""
    inner = loop(max_rounds=3).build()
    outer = (
        PipelineBuilder().chain(PassthroughStage("first"), inner.as_stage("agent"), PassthroughStage("last")).build()
    )
    assert sorted(await words_of(outer, texts("abc", "x"))) == ["c", "x"]
    told = outer.explain()
    assert "back     agent/decide:again (16, its own size), goes first, at most 3 rounds" in told
    assert "-.->" in outer.to_mermaid()
    assert "style=dashed" in outer.to_dot()
    stages = {node.name: node.stage for node in outer.graph.nodes}
    again = Pipeline.from_dict(outer.to_dict(), stages)
    assert again.to_dict() == outer.to_dict()
    assert again.max_in_flight == outer.max_in_flight
    assert sorted(await words_of(again, texts("abc", "x"))) == ["c", "x"]


def test_what_is_no_loop_is_told_with_a_way_out() -> None:
    """4.1: an edge that leads forward, a loop that nothing leaves, a cycle that was not said to be one."""
    builder = PipelineBuilder().chain(PassthroughStage("a"), PassthroughStage("b"))
    with pytest.raises(StagePlacementError, match=r"feedback\('a', 'b'\) leads forward"):
        builder.clone().feedback("a", "b", buffer=1).build()
    with pytest.raises(StagePlacementError, match=r"nothing leaves the loop that feedback\('b', 'a'\) closes"):
        builder.clone().feedback("b", "a", buffer=1).build()
    with pytest.raises(CycleError, match=r"or use feedback\(…, buffer=…\)"):
        builder.clone().connect("b", "a").build()
    with pytest.raises(BuildError, match="there is no stage 'c'"):
        builder.clone().feedback("c", "a", buffer=1).build()


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("buffer", {"buffer": 0}),
        ("buffer", {"buffer": None}),
        ("max_rounds", {"buffer": 1, "max_rounds": 0}),
        ("max_rounds", {"buffer": 1, "max_rounds": True}),
        ("on_limit", {"buffer": 1, "on_limit": "ignore"}),
    ],
)
def test_wrong_limits_are_refused_at_once(field: str, options: dict[str, object]) -> None:
    """Bad input: by name, where it is said."""
    builder = PipelineBuilder().chain(PassthroughStage("a"), decide)
    with pytest.raises(ConfigError) as caught:
        builder.feedback("decide:again", "a", **options)  # type: ignore[arg-type]
    assert caught.value.field == field


async def test_priorities_and_a_join_above_the_entry_go_together() -> None:
    """4.25: the way back has no lanes, the others have."""
    config = PipelineConfig(priority=True, buffer_size=4)
    builder = PipelineBuilder(config).chain(PassthroughStage("left"), PassthroughStage("enter"), decide)
    builder.merge("enter", "left", PassthroughStage("right")).feedback("decide:again", "enter", buffer=2)
    run: Run
    async with builder.build().execute({"left": texts("abc"), "right": texts("xy")}) as run:
        got = [one.text async for one in run if isinstance(one, TextElement)]
    assert sorted(got) == ["c", "y"]

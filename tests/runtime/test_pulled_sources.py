"""A source that is not async is pulled by who reads its edge, and no one can tell but by the clock. Semantics 5.14."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextvars import ContextVar

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    FilterStage,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    PipelineDeadlockError,
    ReceiveEnd,
    Run,
    SendEnd,
    StageError,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.testing import assert_all_stages_stopped

seen_by: ContextVar[str] = ContextVar("seen_by", default="nobody")


@stage
async def copy(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield element


def texts(elements: list[StreamElement]) -> list[str]:
    return [one.text for one in elements if isinstance(one, TextElement)]


@pytest.mark.slow
@given(
    count=st.integers(0, 40),
    capacity=st.integers(1, 70),
    kinds=st.lists(st.sampled_from(["generator", "map", "filter"]), min_size=1, max_size=3),
    fuse=st.booleans(),
)
async def test_it_gives_what_a_source_with_a_task_gives(
    count: int, capacity: int, kinds: list[str], fuse: bool
) -> None:
    """semantics 16.5: the same elements in the same order, at every capacity, whoever reads."""

    async def waiting() -> AsyncIterator[str]:
        for number in range(count):
            yield str(number)

    def stage_of(number: int, kind: str):
        name = f"s{number}"
        if kind == "generator":
            return stage(name=name)(copy.func)
        if kind == "map":
            return MapStage(lambda element: TextElement(element.text + "!"), name=name)
        return FilterStage(lambda element: not element.text.startswith("3"), name=name)

    stages = [stage_of(*one) for one in enumerate(kinds)]
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity, fuse=fuse)).chain(*stages).build()

    pulled = await pipeline.run(str(number) for number in range(count))
    fed = await pipeline.run(waiting())

    assert texts(pulled.elements) == texts(fed.elements)


async def test_it_sees_what_the_caller_had_set_and_keeps_what_it_sets_to_itself() -> None:
    """semantics 5.2: it runs in no stage's context."""
    found: list[str] = []

    def source() -> Iterator[str]:
        found.append(seen_by.get())
        seen_by.set("the source")
        yield "a"
        found.append(seen_by.get())

    def look(element: TextElement) -> TextElement:
        found.append(seen_by.get())
        return element

    seen_by.set("the caller")
    await PipelineBuilder().chain(MapStage(look, name="look")).build().run(source())

    assert sorted(found) == ["the caller", "the caller", "the source"]


@pytest.mark.parametrize("how", ["returns early", "is left", "is cancelled", "drains", "fails"])
async def test_it_is_closed_once_however_the_run_ends(how: str) -> None:
    """semantics 5.3, 7.3: its clean-up runs, and no one asks it for more."""
    log: list[str] = []
    run: Run

    def source() -> Iterator[str]:
        try:
            while True:
                log.append("more")
                yield "x"
        finally:
            log.append("closed")

    @stage
    async def reader(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element
            if how == "returns early":
                return
            if how == "fails":
                raise ValueError
            await checkpoint()

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=2)).chain(reader).build()
    try:
        async with pipeline.execute(source()) as run:
            async for element in run:
                if how == "is left" and isinstance(element, TextElement):
                    break
                if how == "is cancelled":
                    run.cancel()
                if how == "drains" and isinstance(element, TextElement):
                    await run.drain()
    except StageError:
        assert how == "fails"
    await assert_all_stages_stopped()

    assert log.count("closed") == 1
    assert log[-1] == "closed"


async def test_it_fails_as_the_stage_source_behind_what_it_has_given() -> None:
    """semantics 5.6: what it gave before arrives."""

    def source() -> Iterator[str]:
        yield from "abc"
        raise ValueError("no more")

    got: list[StreamElement] = []
    with pytest.raises(StageError, match="stage 'source' failed") as caught:
        async with PipelineBuilder().chain(copy).build().execute(source()) as run:
            async for element in run:
                got.append(element)

    assert isinstance(caught.value.__cause__, ValueError)
    assert texts(got) == ["a", "b", "c"]


async def test_it_may_end_its_own_run() -> None:
    """semantics 16.5: what it does to the run holds at once; the element that it gives then goes nowhere."""
    closed: list[bool] = []

    def source() -> Iterator[str]:
        try:
            yield "a"
            run.cancel()
            yield "b"
        finally:
            closed.append(True)

    async with PipelineBuilder().chain(copy).build().execute(source()) as run:
        assert [element async for element in run] == []

    assert closed == [True]


async def test_what_it_has_given_is_dropped_when_it_interrupts_its_run() -> None:
    """semantics 16.5, 15.1: it is on its way at once, not at the end of the burst."""

    def source() -> Iterator[str]:
        yield "a"
        yield "b"
        run.interrupt()
        yield "c"

    async with PipelineBuilder().chain(copy).build().execute(source()) as run:
        got = [element async for element in run]

    assert texts(got) == ["c"]


@pytest.mark.parametrize("kind", ["generator", "generator of few", "function", "functions"])
async def test_other_tasks_have_their_turn_at_least_every_64_elements(kind: str) -> None:
    """semantics 2.4: nothing else would suspend a stage that lets nothing through."""
    asked = 0
    gaps: list[int] = []

    def source() -> Iterator[TextElement]:
        nonlocal asked
        element = TextElement("x")
        for _ in range(1000):
            asked += 1
            yield element

    @stage
    async def nothing(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            if element.text == "never":
                yield element

    @stage
    async def few(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        left = 100
        async for element in stream:
            if left:  # and what it waits for at its output counts no more once it has
                left -= 1
                yield element

    async def watch() -> None:
        last = 0
        while last < 1000:
            gaps.append(asked - last)
            last = asked
            await checkpoint()

    drops = [FilterStage(lambda _: False, name=f"f{number}") for number in range(2)]
    stages = {"generator": [nothing], "generator of few": [few], "function": drops[:1], "functions": drops}[kind]
    arrived: list[StreamElement] = []
    async with anyio.create_task_group() as group, PipelineBuilder().chain(*stages).build().execute(source()) as run:
        group.start_soon(watch)
        async for element in run:
            arrived.append(element)

    assert len(texts(arrived)) == (100 if kind == "generator of few" else 0)
    # Asyncio may run the run's task twice in a turn of the other one.
    assert max(gaps) <= 2 * 64 + 1  # one is in hand
    assert len(gaps) > 5


@pytest.mark.parametrize("capacity", [1, 3])
async def test_it_is_asked_for_no_more_than_there_is_room_for_and_one_in_hand(capacity: int) -> None:
    """semantics 5.4: the bound of its edge holds."""
    asked = 0

    def source() -> Iterator[str]:
        nonlocal asked
        while True:
            asked += 1
            yield "x"

    @stage
    async def stuck(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            await anyio.sleep(1000)
            yield element

    async with PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(stuck).build().execute(source()):
        await anyio.wait_all_tasks_blocked()
        assert asked == capacity + 1


@stage(inputs={"title": TextElement, "text": TextElement})
async def title_first(inputs: Mapping[str, ReceiveEnd[TextElement]], output: SendEnd[TextElement]) -> None:
    for port in ("title", "text"):
        async for element in inputs[port]:
            await output.send(element)


@stage(kind=StageKind.ACCUMULATE, accepts=(TextElement, TurnEnd), max_held=1000)
async def count(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
    yield TextElement(f"{len([one async for one in stream])}")


@pytest.mark.filterwarnings("ignore::streamflow.errors.BuildWarning")
def test_it_ends_where_no_task_is_at_work() -> None:
    """semantics 13.1: a deadlock is found between two turns of the event loop, which then belongs to nobody."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(PassthroughStage("words"), count)
    builder.branch("words", "count", PassthroughStage("body")).add(title_first)
    pipeline = builder.connect("count", "title_first:title").connect("body", "title_first:text").build()

    with pipeline.sync_session() as session, pytest.raises(PipelineDeadlockError):
        session.execute(list("abcdef"))

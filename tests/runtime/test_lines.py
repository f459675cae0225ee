"""Elements that go through all functions of a chain in one go, also in the reader's task. Held: semantics 16.7."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    FilterStage,
    MapStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    SendEnd,
    StageError,
    TextElement,
    stage,
)
from streamflow.stages import TeeStage, current_run
from streamflow.testing import assert_all_stages_stopped

EARLY, LATE = 5, 37
"""Places in the stream that the task of the chain comes to, and that its reader does: the first burst fills the last edge."""


def texts(count: int) -> Iterator[TextElement]:
    return (TextElement(str(number)) for number in range(count))


async def slow_texts(count: int) -> AsyncIterator[TextElement]:
    for element in texts(count):
        yield element


def same(name: str) -> MapStage:
    return MapStage(lambda element: element, name=name)


def task_name() -> str:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return "trio"
    return "" if task is None else task.get_name()


def adds_up(run) -> bool:
    """Say whether all that was sent on each edge was received, or dropped for a reason. A ledger would watch the edges."""
    counts = [one.counts for one in run.stats().edges.values()]
    return all(one.sent == one.received + sum(one.discarded.values()) and not one.buffered for one in counts)


async def read(run) -> list[str]:
    return [one.text async for one in run if isinstance(one, TextElement)]


@pytest.mark.parametrize("source", [texts, slow_texts])
@pytest.mark.parametrize("place", [EARLY, LATE])
async def test_a_function_that_fails_leaves_what_the_edges_would_hold(source, place: int):
    """semantics 16.7: what came before arrives, the failure tells its stage and element, what came behind is in the edge before."""

    def fail(element: TextElement) -> TextElement:
        if element.text == str(place):
            raise ValueError(element.text)
        return element

    stages = [
        same("a"),
        FilterStage(lambda element: element.text != "3", name="b"),
        MapStage(fail, name="fail"),
        same("z"),
    ]
    pipeline = PipelineBuilder().chain(*stages).build()
    got: list[str] = []
    run = pipeline.execute(source(100))
    with pytest.raises(StageError) as caught:
        async for element in run:
            if isinstance(element, TextElement):
                got.append(element.text)
    await assert_all_stages_stopped()
    counts = {name: one.counts for name, one in run.stats().edges.items()}

    assert got == [str(number) for number in range(place) if number != 3]
    assert (caught.value.stage, caught.value.index, str(caught.value.__cause__)) == ("fail", place - 1, str(place))
    assert [counts[edge].received for edge in ("b → fail", "fail → z")] == [place, place]  # the last one is the error
    assert counts["b → fail"].discarded == {"failure": counts["a → b"].received - 1 - place}, "with 3 dropped before"
    assert adds_up(run)


async def test_functions_are_called_for_the_reader_that_made_room_and_know_nothing_of_it():
    """semantics 16.7: in their own stage's context, whoever's task it is."""
    tasks: set[str] = set()

    def look(element: TextElement) -> TextElement:
        tasks.add(task_name())
        return TextElement(f"{element.text} {current_run().stage}")

    pipeline = PipelineBuilder().chain(MapStage(look, name="a"), MapStage(look, name="b")).build()

    async with pipeline.execute(texts(100)) as run:
        got = await read(run)

    assert got == [f"{number} a b" for number in range(100)]
    assert tasks == {"trio"} or tasks == {"a + b", task_name()}


@pytest.mark.parametrize("source", [texts, slow_texts])
async def test_what_must_be_awaited_after_all_is_left_to_the_chains_own_task(source):
    """semantics 16.7: a coroutine that a function gives while the reader has it called is awaited, in order."""

    async def slowly(element: TextElement) -> TextElement:
        await checkpoint()
        return element

    def at_times(element: TextElement):
        return slowly(element) if element.text == str(LATE) else element

    pipeline = PipelineBuilder().chain(same("a"), MapStage(at_times, name="b", accepts=TextElement), same("c")).build()

    async with pipeline.execute(source(100)) as run:
        assert await read(run) == [str(number) for number in range(100)]


@pytest.mark.filterwarnings("error")
async def test_a_run_may_end_while_something_is_left_to_the_chains_own_task():
    """semantics 16.7: the coroutine is closed, the element accounted for, each stage ends."""

    async def never(element: TextElement) -> TextElement:
        await anyio.sleep(1000)
        return element

    def at_times(element: TextElement):
        return never(element) if element.text == str(LATE) else element

    pipeline = PipelineBuilder().chain(same("a"), MapStage(at_times, name="b", accepts=TextElement)).build()
    async with pipeline.execute(texts(100)) as run:
        async for element in run:
            assert isinstance(element, TextElement)
            if element.text == str(LATE - LATE % 16 - 1):  # in taking it, the reader has had the functions called
                run.cancel()
                break
    await assert_all_stages_stopped()
    assert adds_up(run)


@pytest.mark.slow
@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 60), st.sampled_from([1, 3, 16]))
async def test_who_looks_while_a_function_is_called_finds_every_element_in_an_edge(
    stages: int, looking: int, place: int, capacity: int
):
    """semantics 16.7: but for the one that the function has in hand; and everything arrives all the same."""
    runs, found = [], []
    names = ["source", *map(str, range(stages)), "consumer"]

    def look(element: TextElement) -> bool:
        if runs and element.text == str(place):
            edges = runs[0].stats().edges
            counts = [edges[f"{before} → {behind}"].counts for before, behind in pairwise(names)]
            found.append((counts[0].sent, counts[-1].received + sum(one.buffered for one in counts)))
            taken = [one.received for one in counts[:-1]]
            assert taken == sorted(taken, reverse=True)
            assert taken[looking % stages] == place + 1
        return True

    chained = [
        FilterStage(look, name=str(number)) if number == looking % stages else same(str(number))
        for number in range(stages)
    ]
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(*chained).build()
    await pipeline.run(texts(1))  # from now on the type is known
    async with pipeline.execute(texts(61)) as run:
        runs.append(run)
        got = [int(one) for one in await read(run)]

    assert got == list(range(61))
    [(pulled, accounted_for)] = found
    assert accounted_for == pulled - 1


@pytest.mark.parametrize("place", [EARLY, LATE])
async def test_a_function_that_interrupts_its_run_is_heard_at_once(place: int):
    """semantics 16.7: what is in the edges is dropped, and what it was called for goes on."""
    runs = []

    def interrupt(element: TextElement) -> None:
        if element.text == str(place):
            runs[0].interrupt()

    pipeline = PipelineBuilder().chain(same("a"), TeeStage(interrupt, name="b"), same("c")).build()
    async with pipeline.execute(texts(100)) as run:
        runs.append(run)
        got = [int(one) for one in await read(run)]

    assert adds_up(run)
    assert got == sorted(set(got))
    assert got[-1] == 99
    assert place in got
    assert len(got) < 100


@pytest.mark.parametrize("capacity", [1, 16, 64])
async def test_others_have_their_turn_while_a_reader_moves_a_chain(capacity: int):
    """semantics 16.7: at least every 64 elements, and the edge behind."""
    turns = 0
    seen: list[int] = []

    async def tick() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(same("a"), same("b")).build()
    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        async with pipeline.execute(texts(600)) as run:
            async for _element in run:
                seen.append(turns)
        group.cancel_scope.cancel()

    longest = max(seen.count(turn) for turn in set(seen))
    assert longest <= 64 + capacity + 1


async def test_a_reader_that_comes_at_once_has_no_other_task_woken_for_it():
    """semantics 16.7: it lets others run itself. On trio, where turns come in any order, the chain's own task does."""
    tasks: list[str] = []
    look = TeeStage(lambda _element: tasks.append(task_name()), name="look")
    pipeline = PipelineBuilder().chain(same("a"), look).build()

    async with pipeline.execute(texts(400)) as run:
        assert len(await read(run)) == 400

    if tasks[0] != "trio":
        assert tasks.count("a + look") < 64


@pytest.mark.slow
@given(st.sampled_from([1, 5, 16, 64]), st.sampled_from([63, 64, 65, 128]), st.integers(0, 3), st.booleans())
async def test_what_is_left_to_a_reader_that_does_not_come_is_done_for_whoever_looks(
    capacity: int, place: int, left: int, looks: bool
):
    """semantics 16.7: a drain lets it arrive, figures add up, and the source is asked for no more than there is room for."""
    pulled: list[int] = []
    source = (pulled.append(number) or TextElement(str(number)) for number in range(place + left * 20))
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(same("a"), same("b")).build()
    got: list[int] = []

    async with pipeline.execute(source) as run:
        async for element in run:
            if isinstance(element, TextElement):
                got.append(int(element.text))
            assert len(pulled) <= len(got) + 2 * capacity + 2
            if len(got) == place:
                break
        if looks:
            for _ in range(5):
                run.stats()
                await checkpoint()
            assert run.stats().edges["b → consumer"].counts.buffered or len(got) == len(pulled)
        await run.drain(5)
        got += [int(one) for one in await read(run)]

    assert got == list(range(len(got)))
    assert adds_up(run)
    assert 0 <= len(pulled) - len(got) <= 1, "what the source had in hand may not be admitted any more"


@pytest.mark.parametrize("chained", [1, 2])
async def test_a_stage_that_looks_without_waiting_finds_what_a_chain_gives(chained: int):
    """semantics 16.7: though it never comes to the checkpoint that a source that is pulled would have its reader take."""

    async def poll(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        for number in range(200):
            while (element := input.try_receive() if number % 2 else at_once(input)) is None:
                await checkpoint()
            await output.send(element)

    def at_once(input: ReceiveEnd[TextElement]) -> TextElement | None:
        with contextlib.suppress(anyio.WouldBlock):
            return input.receive_nowait()
        return None

    stages = [same(f"s{number}") for number in range(chained)]
    pipeline = PipelineBuilder().chain(*stages, stage(name="poll")(poll)).build()
    with anyio.fail_after(1):
        async with pipeline.execute(texts(300)) as run:
            assert await read(run) == [str(number) for number in range(200)]


@pytest.mark.parametrize("source", [texts, slow_texts])
@pytest.mark.parametrize("capacity", [1, 2, 16])
async def test_no_more_is_inside_than_the_edges_hold_when_the_reader_stops(source, capacity: int):
    """semantics 16.7: a reader that makes room has no more moved than it has made room for."""
    calls = 0

    def count(element: TextElement) -> TextElement:
        nonlocal calls
        calls += 1
        return element

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(MapStage(count, name="a"), same("b")).build()
    taken = 0
    async with pipeline.execute(source(200)) as run:
        async for _element in run:
            taken += 1
            assert calls - taken <= capacity
            if taken == 50:
                break
    await assert_all_stages_stopped()
    assert adds_up(run)
    assert set(run.undelivered) <= {"source → a", "a → b", "b → consumer"}, "no stage has anything in hand"


@pytest.mark.parametrize("capacity", [1, 16])
async def test_a_chain_that_drops_all_that_its_reader_asks_for_goes_on(capacity: int):
    """semantics 16.7: a reader that has emptied the edge, and got nothing for it, is not left to wait."""
    wanted = FilterStage(lambda element: int(element.text) % 50 < 20, name="wanted")
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(same("a"), wanted).build()

    async with pipeline.execute(texts(200)) as run:
        got = [int(one) for one in await read(run)]

    assert got == [number for number in range(200) if number % 50 < 20]


def calls_inside() -> int:
    frame, count = sys._getframe(), 0
    while frame is not None:
        frame, count = frame.f_back, count + 1
    return count


@pytest.mark.parametrize("capacity", [1, 16])
async def test_stages_that_are_not_fused_are_called_for_who_reads_too(capacity: int):
    """semantics 16.6: each has its edges, its context and its place; forty in a row are not forty calls inside each other."""
    tasks: set[str] = set()
    deepest = 0

    def look(element: TextElement) -> TextElement:
        nonlocal deepest
        deepest = max(deepest, calls_inside())
        tasks.add(task_name())
        return TextElement(f"{element.text} {current_run().stage}")

    stages = [same(f"s{number}") for number in range(40)]
    pipeline = (
        PipelineBuilder(PipelineConfig(buffer_size=capacity, fuse=False))
        .chain(MapStage(look, name="look"), *stages)
        .build()
    )
    depth = calls_inside()
    async with pipeline.execute(texts(200)) as run:
        got = await read(run)

    assert got == [f"{number} look" for number in range(200)]
    assert deepest - depth < 16 * 6 + 20
    assert tasks == {"trio"} or len(tasks) > 1
    assert adds_up(run)

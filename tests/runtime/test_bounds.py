"""What is in flight is bounded, and memory stays flat: semantics 5.4, B1."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncIterator, Iterator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    BaseStage,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    SendEnd,
    SinkStage,
    StageKind,
    TextElement,
    TurnEnd,
    stage,
)


def passthroughs(count: int, capacity: int = 16):
    stages = [PassthroughStage(f"p{number}") for number in range(count)]
    return PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(*stages).build()


class Counting:
    """A source that never ends and counts what was pulled."""

    def __init__(self) -> None:
        self.pulled = 0

    def __iter__(self) -> Iterator[TextElement]:
        while True:
            self.pulled += 1
            yield TextElement("x")


@given(stages=st.integers(1, 5), capacity=st.sampled_from([1, 2, 3, 16, 64, 100]), taken=st.integers(0, 40))
async def test_a_consumer_that_stops_reading_stops_the_source(stages: int, capacity: int, taken: int):
    """SF-11, SF-12: the source is never further ahead than the published bound, however long the consumer waits."""
    pipeline = passthroughs(stages, capacity)
    source = Counting()
    async with pipeline.execute(source) as run:
        for _ in range(taken):
            await anext(run)
        await anyio.sleep(1000)
        ahead = source.pulled - taken
        assert pipeline.max_in_flight is not None
        assert ahead <= pipeline.max_in_flight
        await anyio.sleep(1000)
        assert source.pulled - taken == ahead


def test_the_bound_is_the_sum_of_edges_stages_and_the_sources_hand():
    """5.4: sum of edge capacities, what stages declare to hold, and one."""
    assert passthroughs(3).max_in_flight == 4 * 16 + 3 + 1
    assert passthroughs(1, 1).max_in_flight == 2 + 1 + 1

    sink = PipelineBuilder(PipelineConfig(buffer_size=5)).chain(SinkStage(print, name="sink")).build()
    assert sink.max_in_flight == 5 + 1 + 1

    @stage(max_held=8)
    async def eight(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element

    assert PipelineBuilder().chain(eight).build().max_in_flight == 32 + 8 + 1

    @stage
    async def ticks() -> AsyncIterator[TextElement]:
        yield TextElement("x")

    assert PipelineBuilder().chain(ticks).build().max_in_flight == 16 + 1 + 1


def test_without_a_bound_the_culprit_is_named():
    """5.4: None, with the culprit named, when a stage cannot say."""

    class Hoarder(BaseStage):
        kind = StageKind.ACCUMULATE
        accepts = (TextElement, TurnEnd)

        async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            kept = [element async for element in input]
            for element in kept:
                await output.send(element)

    pipeline = PipelineBuilder().chain(PassthroughStage("p"), Hoarder()).build()
    assert pipeline.max_in_flight is None
    assert pipeline.unbounded_stages == ("hoarder",)


async def test_a_slow_consumer_gets_everything_in_order():
    """SF-13: slow readers slow the source and lose nothing."""
    got: list[str] = []
    async for text in passthroughs(3, 2).execute(str(number) for number in range(100)).text():
        await anyio.sleep(1)
        got.append(text)
    assert got == [str(number) for number in range(100)]


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
async def test_memory_stays_flat_over_a_long_stream():
    """The promise of the issue: memory does not grow with the length of the stream."""
    pipeline = PipelineBuilder().chain(*(MapStage(lambda e: e, name=f"m{number}") for number in range(3))).build()
    sizes: list[int] = []

    def source() -> Iterator[TextElement]:
        for number in range(4_001):
            if number % 2_000 == 0:
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
            yield TextElement("x")

    tracemalloc.start()
    try:
        async for _ in pipeline.execute(source()):
            pass
    finally:
        tracemalloc.stop()
    # The first sample is taken before the edges have filled; after that nothing may accumulate.
    assert sizes[2] - sizes[1] < 10_000


async def test_other_tasks_progress_beside_a_saturated_pipeline():
    """SF-18: each task gets its turn after at most 64 elements, also when an edge is wide."""
    moved = 0

    def source() -> Iterator[TextElement]:
        nonlocal moved
        for _ in range(1000):
            moved += 1
            yield TextElement("x")

    gaps: list[int] = []

    async def ticker() -> None:
        last = 0
        while True:
            gaps.append(moved - last)
            last = moved
            await anyio.lowlevel.checkpoint()

    for capacity in (1, 64, 65, 900):
        moved = 0
        gaps.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(ticker)
            async for _ in passthroughs(2, capacity).execute(source()):
                pass
            group.cancel_scope.cancel()
        # A task may run last in one round of the loop and first in the next.
        assert max(gaps) <= 2 * 65, capacity

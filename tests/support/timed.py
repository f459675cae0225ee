"""What the tests of stages over time share: a source that gives elements at their times, and a run that notes when they leave."""

from collections.abc import AsyncIterator, Iterable

import anyio

from streamflow import EndOfStream, PipelineBuilder, PipelineConfig, StreamElement, TextElement
from streamflow.stages import StageLike

Timed = list[tuple[float, StreamElement]]


async def at_their_times(schedule: Iterable[tuple[float, StreamElement | str]]) -> AsyncIterator[StreamElement]:
    """Give each element at its time, counted from the beginning."""
    begun = anyio.current_time()
    for at, item in schedule:
        await anyio.sleep_until(begun + at)
        yield TextElement(item) if isinstance(item, str) else item


async def timed(
    stage: StageLike,
    schedule: Iterable[tuple[float, StreamElement | str]],
    *,
    capacity: int = 16,
    slow_s: float = 0,
) -> Timed:
    """Run a stage on elements that come at their times, and return what leaves, and when. The consumer takes `slow_s` for each."""
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(stage).build()
    left: Timed = []
    begun = anyio.current_time()
    async with pipeline.execute(at_their_times(schedule) if pipeline.takes_source else None) as run:
        async for element in run:
            if not isinstance(element, EndOfStream):
                left.append((anyio.current_time() - begun, element))
                await anyio.sleep(slow_s)
    return left

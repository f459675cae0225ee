"""Flow stages: several calls at a time, batches and windows, pace, an early end. Order is kept, and what is dropped is chosen."""

import hashlib
from collections.abc import AsyncIterator

import anyio

from streamflow import BatchElement, MapAsyncStage, PipelineBuilder, StreamElement, TextElement, ThreadStage, stage
from streamflow.stages import (
    BatchStage,
    ChunkTextStage,
    DebounceStage,
    DedupeStage,
    IntervalSource,
    Source,
    StageLike,
    TakeStage,
    ThrottleStage,
    WindowStage,
)


async def look_up(element: TextElement) -> TextElement:
    """Stand in for a service that is slow to answer what came first."""
    await anyio.sleep(0.03 if element.text == "one" else 0.01)
    return TextElement(element.text.upper())


def digest(element: TextElement) -> TextElement:
    """Stand in for work that blocks: it runs in a worker thread."""
    return TextElement(hashlib.sha256(element.text.encode()).hexdigest()[:8])


@stage
async def typing() -> AsyncIterator[TextElement]:
    """Two bursts of a user's typing, with a rest between them."""
    for burst in (["s", "st", "str"], ["stre", "stream"]):
        for text in burst:
            yield TextElement(text)
        await anyio.sleep(0.3)


async def show(what: str, *stages: StageLike, source: Source | None = None) -> None:
    result = await PipelineBuilder().chain(*stages).build().run(source)
    print(f"{what}: {', '.join(told(element) for element in result.elements)}")


def told(element: StreamElement) -> str:
    match element:
        case BatchElement(items=items):
            return f"[{' '.join(map(told, items))}]"
        case TextElement(text=text):
            return text
        case _:
            return str(element)


async def main():
    numbers = ["one", "two", "three", "four", "five"]
    await show("three calls at a time", MapAsyncStage(look_up, concurrency=3), source=numbers)
    await show("in threads", ThreadStage(digest, concurrency=2), source=numbers)
    await show("batches", BatchStage(2, max_wait_s=5), source=numbers)
    await show("windows", WindowStage(3), source=numbers)
    await show("chunks", ChunkTextStage(10, by="words"), source=["What is typed in p", "ieces is read in lines."])
    await show("no repetitions", DedupeStage(), source=["a", "b", "a", "c", "b"])
    await show("the last of each burst", typing, DebounceStage(0.1))
    # Over the limit, elements are dropped and the run's listeners hear how many; with `mode="wait"` the source slows down.
    await show("at most two a minute", ThrottleStage(2, 60, mode="drop"), source=numbers)

    # A source without end, and a stage that has enough: whoever is before it is told to stop.
    await show("three ticks", IntervalSource(0.01, make=lambda _: TextElement("tick")), TakeStage(3))


if __name__ == "__main__":
    anyio.run(main)

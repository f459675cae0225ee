"""Flow stages: several calls at a time, batches, windows, pace, and an early end. None of them loses or reorders anything in silence."""

import anyio

from streamflow import BatchElement, DataElement, MapAsyncStage, PipelineBuilder, TextElement
from streamflow.stages import (
    BatchStage,
    ChunkTextStage,
    DebounceStage,
    IntervalSource,
    TakeStage,
    TeeStage,
    ThrottleStage,
    WindowStage,
)


async def look_up(element: TextElement) -> TextElement:
    """Stand in for a service: the first answer takes longest."""
    await anyio.sleep(0.03 if element.text == "one" else 0.01)
    return TextElement(element.text.upper())


async def main():
    # Three calls at a time; the answers keep the order of the questions. `MapUnorderedStage` sends each as it comes.
    pipeline = PipelineBuilder().chain(MapAsyncStage(look_up, concurrency=3)).build()
    print((await pipeline.run(["one ", "two ", "three"])).text)

    # Batches of two; the rest leaves at the end. `max_wait_s` bounds how long the first one of a batch waits.
    pipeline = PipelineBuilder().chain(BatchStage(2, max_wait_s=5)).build()
    show(await pipeline.run(["a", "b", "c"]))
    ...


if __name__ == "__main__":
    anyio.run(main)

"""Records a run that never ends, to be killed: `python recorded_run.py a.rec`; says how many elements have come out."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import anyio

from streamflow import PassthroughStage, PipelineBuilder, TextElement
from streamflow.observe import Recording


def numbers() -> Iterator[str]:
    number = 0
    while True:
        yield f"{number} " * 20
        number += 1


async def main(path: str) -> None:
    pipeline = PipelineBuilder().chain(PassthroughStage("a")).build()
    settings = Recording(path=path, flush_s=0, buffer_bytes=16_384, max_bytes=1_000_000)
    async with pipeline.execute(numbers(), record=settings) as run:
        async for element in run:
            if isinstance(element, TextElement) and run.position % 200 == 0:
                sys.stdout.write(f"{run.position}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])

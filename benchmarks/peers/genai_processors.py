"""Google's genai-processors: a chain of stream processors, which pull; one of part processors, a task per part and stage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from .._environment import PEERS_ENVIRONMENT
from . import Each, Peer, Program, Shape, Source, each_of

__all__ = ["PEERS"]


def _program(chain: Any, each: Each | None) -> Program:
    from genai_processors import content_api

    async def parts(source: Source) -> AsyncIterator[Any]:
        async for element in each_of(source):
            yield content_api.ProcessorPart(element.text)

    async def run(source: Source) -> int:
        count = 0
        async for _part in chain(parts(source)):
            count += 1
            if each is not None:
                await each()
        return count

    return run


def _prepare(shape: Shape, each: Each | None) -> Program:
    from genai_processors import processor

    class Stage(processor.Processor):  # type: ignore[misc, unused-ignore]
        async def call(self, content: Any) -> AsyncIterator[Any]:
            async for part in content:
                if shape.work is not None:
                    await shape.work()
                yield part

    return _program(processor.chain([Stage() for _ in range(shape.stages)]), each)


def _prepare_parts(shape: Shape, each: Each | None) -> Program:
    from genai_processors import processor

    class Stage(processor.PartProcessor):  # type: ignore[misc, unused-ignore]
        async def call(self, part: Any) -> AsyncIterator[Any]:
            yield part

    chain = Stage()
    for _ in range(shape.stages - 1):
        chain = chain + Stage()
    return _program(chain.to_processor(), each)


PEERS = [
    Peer(
        "genai Processor",
        _prepare,
        backends=("asyncio",),
        packages=("genai-processors",),
        environment=PEERS_ENVIRONMENT,
        share=0.2,
        works=True,
        pulls=True,
    ),
    Peer(
        "genai PartProcessor",
        _prepare_parts,
        backends=("asyncio",),
        packages=("genai-processors",),
        environment=PEERS_ENVIRONMENT,
        share=0.005,
    ),
]

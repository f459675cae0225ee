"""trio alone: a task per stage in a nursery, a memory channel per edge."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterable
from typing import Any

from . import Each, Peer, Program, Shape, Source

__all__ = ["PEERS"]


async def _source(elements: Source, output: Any) -> None:
    async with output:
        if isinstance(elements, AsyncIterable):
            async for element in elements:
                await output.send(element)
        else:
            for element in elements:
                await output.send(element)


async def _stage(input: Any, output: Any) -> None:
    async with input, output:
        async for element in input:
            await output.send(element)


def _prepare(shape: Shape, each: Each | None) -> Program:
    import trio

    async def run(source: Source) -> int:
        edges: list[Any] = [trio.open_memory_channel(shape.capacity) for _ in range(shape.stages + 1)]
        count = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_source, source, edges[0][0])
            for (_, input), (output, _) in itertools.pairwise(edges):
                nursery.start_soon(_stage, input, output)
            async with edges[-1][1] as stream:
                async for _element in stream:
                    count += 1
                    if each is not None:
                        await each()
        return count

    return run


PEERS = [Peer("trio channels", _prepare, backends=("trio",), packages=("trio",), share=0.1)]

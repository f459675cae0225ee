"""anyio as its manual shows it: a task per stage in a task group, a memory object stream per edge."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterable

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from streamflow import TextElement

from . import Each, Peer, Program, Shape, Source

__all__ = ["PEERS"]


async def _source(elements: Source, output: MemoryObjectSendStream[TextElement]) -> None:
    async with output:
        if isinstance(elements, AsyncIterable):
            async for element in elements:
                await output.send(element)
        else:
            for element in elements:
                await output.send(element)


async def _stage(input: MemoryObjectReceiveStream[TextElement], output: MemoryObjectSendStream[TextElement]) -> None:
    async with input, output:
        async for element in input:
            await output.send(element)


def _prepare(shape: Shape, each: Each | None) -> Program:
    async def run(source: Source) -> int:
        edges = [anyio.create_memory_object_stream[TextElement](shape.capacity) for _ in range(shape.stages + 1)]
        count = 0
        async with anyio.create_task_group() as group:
            group.start_soon(_source, source, edges[0][0])
            for (_, input), (output, _) in itertools.pairwise(edges):
                group.start_soon(_stage, input, output)
            async with edges[-1][1] as stream:
                if each is None:
                    async for _element in stream:
                        count += 1
                else:
                    async for _element in stream:
                        count += 1
                        await each()
        return count

    return run


PEERS = [Peer("anyio streams", _prepare, packages=("anyio",), quick=True, share=0.1)]

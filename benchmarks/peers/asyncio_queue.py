"""The standard library: a task per stage in a `TaskGroup`, an `asyncio.Queue` per edge, a sentinel for the end."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterable
from typing import Any

from . import Each, Peer, Program, Shape, Source, Work

__all__ = ["PEERS"]

_END = object()


async def _source(elements: Source, output: asyncio.Queue[Any]) -> None:
    if isinstance(elements, AsyncIterable):
        async for element in elements:
            await output.put(element)
    else:
        for element in elements:
            await output.put(element)
    await output.put(_END)


async def _stage(input: asyncio.Queue[Any], output: asyncio.Queue[Any]) -> None:
    while (element := await input.get()) is not _END:
        await output.put(element)
    await output.put(_END)


async def _working(input: asyncio.Queue[Any], output: asyncio.Queue[Any], work: Work) -> None:
    while (element := await input.get()) is not _END:
        await work()
        await output.put(element)
    await output.put(_END)


def _prepare(shape: Shape, each: Each | None) -> Program:
    async def run(source: Source) -> int:
        edges: list[asyncio.Queue[Any]] = [asyncio.Queue(shape.capacity) for _ in range(shape.stages + 1)]
        count = 0
        async with asyncio.TaskGroup() as group:
            group.create_task(_source(source, edges[0]))
            for before, behind in itertools.pairwise(edges):
                group.create_task(
                    _stage(before, behind) if shape.work is None else _working(before, behind, shape.work)
                )
            if each is None:
                while await edges[-1].get() is not _END:
                    count += 1
            else:
                while await edges[-1].get() is not _END:
                    count += 1
                    await each()
        return count

    return run


PEERS = [Peer("asyncio.Queue", _prepare, backends=("asyncio", "uvloop"), quick=True, works=True)]

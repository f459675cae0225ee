"""The standard library: a task per stage in a `TaskGroup`, an `asyncio.Queue` per edge, a sentinel for the end."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from typing import Any

from streamflow import TextElement

from . import Each, Peer, Program, Shape

__all__ = ["PEERS"]

_END = object()


async def _source(elements: Iterable[TextElement], output: asyncio.Queue[Any]) -> None:
    for element in elements:
        await output.put(element)
    await output.put(_END)


async def _stage(input: asyncio.Queue[Any], output: asyncio.Queue[Any]) -> None:
    while (element := await input.get()) is not _END:
        await output.put(element)
    await output.put(_END)


def _prepare(shape: Shape, each: Each | None) -> Program:
    async def run(source: Iterable[TextElement]) -> int:
        edges: list[asyncio.Queue[Any]] = [asyncio.Queue(shape.capacity) for _ in range(shape.stages + 1)]
        count = 0
        async with asyncio.TaskGroup() as group:
            group.create_task(_source(source, edges[0]))
            for before, behind in itertools.pairwise(edges):
                group.create_task(_stage(before, behind))
            if each is None:
                while await edges[-1].get() is not _END:
                    count += 1
            else:
                while await edges[-1].get() is not _END:
                    count += 1
                    await each()
        return count

    return run


PEERS = [Peer("asyncio.Queue", _prepare, backends=("asyncio", "uvloop"), quick=True)]

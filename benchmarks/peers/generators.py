"""The floor: bare async generators, one inside the other. One task, no buffer, no overlap, no way to stop a stage from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator

from streamflow import TextElement

from . import Each, Peer, Program, Shape, Source, Work, each_of

__all__ = ["PEERS"]


async def _stage(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield element


async def _working(stream: AsyncIterator[TextElement], work: Work) -> AsyncIterator[TextElement]:
    async for element in stream:
        await work()
        yield element


def _prepare(shape: Shape, each: Each | None) -> Program:
    async def run(source: Source) -> int:
        stream = each_of(source)
        for _ in range(shape.stages):
            stream = _stage(stream) if shape.work is None else _working(stream, shape.work)
        count = 0
        if each is None:
            async for _element in stream:
                count += 1
        else:
            async for _element in stream:
                count += 1
                await each()
        return count

    return run


PEERS = [Peer("bare generators", _prepare, quick=True, works=True, pulls=True)]

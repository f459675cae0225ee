"""The floor: bare async generators, one inside the other. One task, no buffer, no overlap, no way to stop a stage from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from streamflow import TextElement

from . import Each, Peer, Program, Shape

__all__ = ["PEERS"]


async def _source(elements: Iterable[TextElement]) -> AsyncIterator[TextElement]:
    for element in elements:
        yield element


async def _stage(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield element


def _prepare(shape: Shape, each: Each | None) -> Program:
    async def run(source: Iterable[TextElement]) -> int:
        stream = _source(source)
        for _ in range(shape.stages):
            stream = _stage(stream)
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


PEERS = [Peer("bare generators", _prepare, quick=True)]

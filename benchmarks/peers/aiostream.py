"""aiostream: `stream.iterate | pipe.map`, a chain that pulls. One task, no buffer."""

from __future__ import annotations

from typing import Any

from .._environment import PEERS_ENVIRONMENT
from . import Each, Peer, Program, Shape, Source

__all__ = ["PEERS"]


def _same(element: Any) -> Any:
    return element


def _prepare(shape: Shape, each: Each | None) -> Program:
    from aiostream import pipe, stream

    work = shape.work

    async def working(element: Any) -> Any:
        assert work is not None
        await work()
        return element

    async def run(source: Source) -> int:
        chain: Any = stream.iterate(source)
        for _ in range(shape.stages):
            chain = chain | (pipe.map(_same) if work is None else pipe.map(working, task_limit=1))
        count = 0
        async with chain.stream() as streamer:
            async for _element in streamer:
                count += 1
                if each is not None:
                    await each()
        return count

    return run


PEERS = [
    Peer(
        "aiostream",
        _prepare,
        packages=("aiostream",),
        backends=("asyncio",),
        environment=PEERS_ENVIRONMENT,
        works=True,
        pulls=True,
    )
]

"""LangChain's LCEL: a chain of `RunnableGenerator`s that pulls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from .._environment import PEERS_ENVIRONMENT
from . import Each, Peer, Program, Shape, Source, each_of

__all__ = ["PEERS"]


def _prepare(shape: Shape, each: Each | None) -> Program:
    from langchain_core.runnables import RunnableGenerator

    async def stage(stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for element in stream:
            if shape.work is not None:
                await shape.work()
            yield element

    chain: Any = RunnableGenerator(stage)
    for _ in range(shape.stages - 1):
        chain = chain | RunnableGenerator(stage)

    async def run(source: Source) -> int:
        count = 0
        async for _element in chain.atransform(each_of(source)):
            count += 1
            if each is not None:
                await each()
        return count

    return run


PEERS = [
    Peer(
        "LCEL",
        _prepare,
        backends=("asyncio",),
        packages=("langchain-core",),
        environment=PEERS_ENVIRONMENT,
        share=0.1,
        works=True,
        pulls=True,
    ),
]

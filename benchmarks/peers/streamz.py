"""streamz: a chain of `map`, which the source pushes through; and one with a bounded `buffer` in front of each `map`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .._environment import PEERS_ENVIRONMENT
from . import Each, Peer, Program, Shape, Source, each_of

__all__ = ["PEERS"]


def _same(element: Any) -> Any:
    return element


def _preparer(*, buffered: bool) -> Callable[[Shape, Each | None], Program]:
    def prepare(shape: Shape, each: Each | None) -> Program:
        from streamz import Stream

        async def run(source: Source) -> int:
            head: Any = Stream(asynchronous=True)
            chain = head
            for _ in range(shape.stages):
                chain = (chain.buffer(shape.capacity) if buffered else chain).map(_same)
            arrived, sent, changed = 0, None, asyncio.Event()

            async def slow(_element: object) -> None:
                nonlocal arrived
                arrived += 1
                assert each is not None
                await each()
                if arrived == sent:
                    changed.set()

            def fast(_element: object) -> None:
                nonlocal arrived
                arrived += 1
                if arrived == sent:
                    changed.set()

            chain.sink(fast if each is None else slow)
            number = 0
            async for element in each_of(source):
                await head.emit(element, asynchronous=True)
                number += 1
            sent = number
            if arrived != sent:
                await changed.wait()
            return arrived

        return run

    return prepare


PEERS = [
    Peer(
        "streamz buffer" if buffered else "streamz",
        _preparer(buffered=buffered),
        backends=("asyncio",),
        packages=("streamz", "tornado"),
        environment=PEERS_ENVIRONMENT,
        share=0.05 if buffered else 0.2,
    )
    for buffered in (False, True)
]

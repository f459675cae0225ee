"""ReactiveX: a subject that pushes through `ops.map`. Synchronous; what waits needs a queue of its own behind it, unbounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import Any

from .._environment import PEERS_ENVIRONMENT
from . import Each, Peer, Program, Shape, Source

__all__ = ["PEERS"]

_END = object()


def _same(element: Any) -> Any:
    return element


async def _push(source: Source, subject: Any) -> None:
    if isinstance(source, AsyncIterable):
        async for element in source:
            subject.on_next(element)
    else:
        for element in source:
            subject.on_next(element)
    subject.on_completed()


def _prepare(shape: Shape, each: Each | None) -> Program:
    from reactivex import operators
    from reactivex.subject import Subject

    def chain(subject: Any) -> Any:
        return subject.pipe(*[operators.map(_same) for _ in range(shape.stages)])

    async def run_fast(source: Source) -> int:
        count = 0

        def on_next(_element: object) -> None:
            nonlocal count
            count += 1

        subject: Any = Subject()
        chain(subject).subscribe(on_next)
        await _push(source, subject)
        return count

    async def run_slow(source: Source) -> int:
        assert each is not None
        arrived: asyncio.Queue[Any] = asyncio.Queue()
        subject: Any = Subject()
        chain(subject).subscribe(arrived.put_nowait, on_completed=lambda: arrived.put_nowait(_END))
        pushing = asyncio.create_task(_push(source, subject))
        count = 0
        while await arrived.get() is not _END:
            count += 1
            await each()
        await pushing
        return count

    return run_fast if each is None else run_slow


PEERS = [Peer("reactivex", _prepare, backends=("asyncio",), packages=("reactivex",), environment=PEERS_ENVIRONMENT)]

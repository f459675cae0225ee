"""Cancels a call of a store after some rounds of the event loop, however it waits: for a thread, a socket or nothing.

Above: the rules of stores. Below: the event loop.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["cancelled_at"]


async def cancelled_at(tick: int, call: Callable[[], Awaitable[object]], *, how: str) -> None:
    """Make a call, cancel it after `tick` rounds, and wait for its end.

    Args:
        tick: After how many rounds of the event loop.
        call: What to call.
        how: `scope`, or `native` for `asyncio.Task.cancel()`.
    """
    if how == "native":
        task = asyncio.ensure_future(call())
        for _ in range(tick):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        return
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                for _ in range(tick):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()

            group.start_soon(cancel)
            await call()

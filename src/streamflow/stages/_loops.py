"""The loops behind the shorter stage forms: what runs when the author wrote a generator, or a function of one element.

Above: `_forms`, `_functional`. Below: `channels`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..channels import ReceiveEnd, SendEnd
    from ..elements import StreamElement

__all__ = ["drive_generator", "filter_loop", "flat_map_loop", "is_async", "map_loop", "sink_loop"]


def is_async(func: Callable[..., object]) -> bool:
    """Say whether calling `func` gives something to await."""
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(getattr(func, "__call__", None))  # noqa: B004


async def drive_generator(stream: AsyncIterator[StreamElement], output: SendEnd[Any]) -> None:
    """Send everything that an async generator yields.

    Cancellation: the generator is closed by the task that iterates it, also when the reader has gone.
    """
    try:
        await output.send_all(stream)
    finally:
        if inspect.isasyncgen(stream):
            await stream.aclose()


async def map_loop(func: Callable[[Any], Any], input: ReceiveEnd[Any], output: SendEnd[Any]) -> None:
    """Send `func(element)` for each element; `func` may be async."""
    if is_async(func):
        async for element in input:
            await output.send(await func(element))
    else:
        async for element in input:
            result = func(element)
            if not output.try_send(result):
                await output.send(result)


async def filter_loop(func: Callable[[Any], Any], input: ReceiveEnd[Any], output: SendEnd[Any]) -> None:
    """Send each element for which `func(element)` is true; `func` may be async."""
    waits = is_async(func)
    async for element in input:
        verdict = func(element)
        if (await verdict if waits else verdict) and not output.try_send(element):
            await output.send(element)


async def flat_map_loop(func: Callable[[Any], Any], input: ReceiveEnd[Any], output: SendEnd[Any]) -> None:
    """Send each of the elements that `func(element)` gives: an iterable, an async iterable, or an awaited iterable."""
    async for element in input:
        results: Awaitable[Iterable[Any]] | AsyncIterable[Any] | Iterable[Any] = func(element)
        if inspect.isasyncgen(results):
            async with aclosing(results):
                async for result in results:
                    await output.send(result)
        elif isinstance(results, AsyncIterable):
            async for result in results:
                await output.send(result)
        else:
            for result in await results if isinstance(results, Awaitable) else results:
                if not output.try_send(result):
                    await output.send(result)


async def sink_loop(func: Callable[[Any], Any], input: ReceiveEnd[Any]) -> None:
    """Call `func(element)` for each element; `func` may be async."""
    waits = is_async(func)
    async for element in input:
        outcome = func(element)
        if waits:
            await outcome

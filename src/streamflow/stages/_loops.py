"""The loops behind the shorter stage forms: what runs when the author wrote a generator, or a function of one element.

Above: `_forms`, `_functional`. Below: `channels`.

What a function returns tells whether it must be awaited, not how it was written: a plain function may return a coroutine too.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, cast

from ..elements import StreamElement
from ..errors import ElementError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..channels import ReceiveEnd, SendEnd

__all__ = ["checked_results", "drive_generator", "filter_loop", "flat_map_loop", "map_loop", "sink_loop", "tee_loop"]


async def drive_generator(stream: AsyncGenerator[Any, Any], output: SendEnd[Any]) -> None:
    """Send everything that an async generator yields.

    Cancellation: the generator is closed by the task that iterates it, also when the reader has gone.
    """
    async with aclosing(stream):
        await output.send_all(stream)


async def map_loop(func: Callable[[Any], Any], input: ReceiveEnd[Any], output: SendEnd[Any]) -> None:
    """Send `func(element)`, awaited if need be, for each element."""
    async for element in input:
        result = func(element)
        if not isinstance(result, StreamElement) and inspect.isawaitable(result):
            input.in_hand = element
            result = await result
        if not output.try_send(result):
            await output.send(result)


async def filter_loop(func: Callable[[Any], Any], input: ReceiveEnd[Any], output: SendEnd[Any]) -> None:
    """Send each element for which `func(element)`, awaited if need be, is true."""
    async for element in input:
        verdict = func(element)
        if type(verdict) is not bool and inspect.isawaitable(verdict):
            input.in_hand = element
            verdict = await verdict
        if verdict and not output.try_send(element):
            await output.send(element)


async def flat_map_loop(func: Callable[[Any], Any], input: ReceiveEnd[Any], output: SendEnd[Any]) -> None:
    """Send each of the elements that `func(element)`, awaited if need be, gives: an iterable or an async iterable.

    Cancellation: a generator of either kind is closed by the task that iterates it, also when the reader has gone.
    """
    async for element in input:
        results = func(element)
        if inspect.isawaitable(results):
            input.in_hand = element
            results = await results
        if inspect.isasyncgen(results):
            input.in_hand = element
            await drive_generator(results, output)
        elif isinstance(results, AsyncIterable):
            input.in_hand = element
            await output.send_all(cast("AsyncIterable[StreamElement]", results))
        elif inspect.isgenerator(results):
            with closing(results):
                await _send_each(results, output)
        else:
            await _send_each(results, output)


async def _send_each(results: object, output: SendEnd[Any]) -> None:
    for result in checked_results(results):
        if not output.try_send(result):
            await output.send(result)


def checked_results(results: object) -> Iterable[StreamElement]:
    """Return what a function gave that gives several elements.

    Raises:
        ElementError: If it cannot be iterated.
    """
    if not isinstance(results, Iterable) or isinstance(results, str):
        message = f"a function that gives several elements gave {results!r:.80}, a {type(results).__name__}"
        raise ElementError(f"{message}; return a list of elements, or yield them")
    return cast("Iterable[StreamElement]", results)


async def tee_loop(func: Callable[[Any], Any], input: ReceiveEnd[Any], output: SendEnd[Any]) -> None:
    """Call `func(element)` for each element, await what it returns if need be, then send the element."""
    async for element in input:
        outcome = func(element)
        if outcome is not None and inspect.isawaitable(outcome):
            input.in_hand = element
            await outcome
        if not output.try_send(element):
            await output.send(element)


async def sink_loop(func: Callable[[Any], Any], input: ReceiveEnd[Any]) -> None:
    """Call `func(element)` for each element, and await what it returns if need be."""
    async for element in input:
        outcome = func(element)
        if outcome is not None and inspect.isawaitable(outcome):
            input.in_hand = element
            await outcome

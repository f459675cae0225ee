"""The loops behind the shorter stage forms: what runs when the author wrote a generator, or a function of one element.

Above: `_forms`, `_functional`. Below: `channels`.

What a function returns tells whether it must be awaited, not how it was written: a plain function may return a coroutine too.

A function that is not async is called for all that is there in one go, behind the first element of a burst; see `channels/_pump`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ..channels import can_pump, pump_filter, pump_flat_map, pump_map, pump_tee
from ..elements import StreamElement
from ..errors import ElementError

if TYPE_CHECKING:
    from ..channels import ReceiveEnd, SendEnd, Unusual

__all__ = ["checked_results", "filter_loop", "flat_map_loop", "map_loop", "sink_loop", "tee_loop"]

_Pump: TypeAlias = "Callable[[Callable[[Any], Any], ReceiveEnd[Any], SendEnd[Any]], Unusual]"


async def map_loop(func: Callable[[Any], Any], input: ReceiveEnd[Any], output: SendEnd[Any]) -> None:
    """Send `func(element)`, awaited if need be, for each element."""
    pump = _pump_between(pump_map, func, input, output)
    async for first in input:
        unusual: Unusual = first, func(first)
        while unusual is not None:
            element, result = unusual
            if not isinstance(result, StreamElement) and inspect.isawaitable(result):
                input.in_hand = element
                result = await result
            if not output.try_send(result):
                await output.send(result)
            unusual = pump(func, input, output) if pump is not None and input.backlog else None


async def filter_loop(func: Callable[[Any], Any], input: ReceiveEnd[Any], output: SendEnd[Any]) -> None:
    """Send each element for which `func(element)`, awaited if need be, is true."""
    pump = _pump_between(pump_filter, func, input, output)
    async for first in input:
        unusual: Unusual = first, func(first)
        while unusual is not None:
            element, verdict = unusual
            if type(verdict) is not bool and inspect.isawaitable(verdict):
                input.in_hand = element
                verdict = await verdict
            if verdict and not output.try_send(element):
                await output.send(element)
            unusual = pump(func, input, output) if pump is not None and input.backlog else None


async def flat_map_loop(func: Callable[[Any], Any], input: ReceiveEnd[Any], output: SendEnd[Any]) -> None:
    """Send each of the elements that `func(element)`, awaited if need be, gives: an iterable or an async iterable.

    Cancellation: a generator of either kind is closed by the task that iterates it, also when the reader has gone.
    """
    pump = _pump_between(pump_flat_map, func, input, output)
    async for first in input:
        unusual: Unusual = first, func(first)
        while unusual is not None:
            await _send_results(*unusual, input, output)
            unusual = pump(func, input, output) if pump is not None and input.backlog else None


async def _send_results(element: object, results: object, input: ReceiveEnd[Any], output: SendEnd[Any]) -> None:
    if inspect.isawaitable(results):
        input.in_hand = element
        results = await results
    if inspect.isasyncgen(results):
        input.in_hand = element
        await output.send_all(results, closes=True)
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
        message = f"a function that gives several elements gave {results!r:.80} ({type(results).__name__})"
        raise ElementError(f"{message}; return a list of elements, or yield them")
    return cast("Iterable[StreamElement]", results)


async def tee_loop(func: Callable[[Any], Any], input: ReceiveEnd[Any], output: SendEnd[Any]) -> None:
    """Call `func(element)` for each element, await what it returns if need be, then send the element."""
    pump = _pump_between(pump_tee, func, input, output)
    async for first in input:
        unusual: Unusual = first, func(first)
        while unusual is not None:
            element, outcome = unusual
            if outcome is not None and inspect.isawaitable(outcome):
                input.in_hand = element
                await outcome
            if not output.try_send(element):
                await output.send(element)
            unusual = pump(func, input, output) if pump is not None and input.backlog else None


async def sink_loop(func: Callable[[Any], Any], input: ReceiveEnd[Any]) -> None:
    """Call `func(element)` for each element, and await what it returns if need be."""
    async for element in input:
        outcome = func(element)
        if outcome is not None and inspect.isawaitable(outcome):
            input.in_hand = element
            await outcome


def _pump_between(pump: _Pump, func: Callable[[Any], Any], input: object, output: object) -> _Pump | None:
    """Return what moves all that is there at once; None for a function that has to be awaited, and where an end is not plain."""
    is_async = inspect.iscoroutinefunction(func) or inspect.isasyncgenfunction(func)
    return pump if not is_async and can_pump(input, output) else None

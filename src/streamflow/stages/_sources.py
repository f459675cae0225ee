"""Sources: all that `execute()` takes, and how it is fed into the first edge.

Above: `runtime`. Below: `elements`, `channels`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING

from anyio.abc import ObjectReceiveStream

from ..elements import StreamElement, TextElement
from ..errors import SourceError

if TYPE_CHECKING:
    from ..channels import SendEnd

__all__ = ["Source", "feed", "open_source"]

Source = StreamElement | str | Iterable[StreamElement | str] | AsyncIterable[StreamElement | str]
"""What a run can be fed with: an element, a string, an iterable or async iterable of them, or a channel's receiving end."""

_ALLOWED = "give an element, a string, an iterable or async iterable of elements, or nothing and use run.send()"


def open_source(source: Source) -> Iterable[StreamElement | str] | AsyncIterable[StreamElement | str]:
    """Check what was given as a source, and return what to iterate.

    Raises:
        SourceError: If it cannot be iterated for elements.
    """
    if isinstance(source, (StreamElement, str)):
        return (source,)
    if isinstance(source, (bytes, bytearray, memoryview)):
        message = f"a source of {type(source).__name__}: wrap it in AudioElement or DataElement; {_ALLOWED}"
        raise SourceError(message)
    if inspect.iscoroutine(source):
        source.close()
        message = f"the source is a coroutine; await it first, or make it an async generator; {_ALLOWED}"
        raise SourceError(message)
    if callable(source) and not isinstance(source, (Iterable, AsyncIterable)):
        message = f"the source is the function {source!r:.80}; call it, and give what it returns"
        raise SourceError(message)
    if isinstance(source, (AsyncIterable, Iterable)) and not isinstance(source, Mapping):
        return source
    message = f"the source {source!r:.80}, a {type(source).__name__}, cannot be iterated for elements; {_ALLOWED}"
    raise SourceError(message)


async def feed(
    source: Iterable[StreamElement | str] | AsyncIterable[StreamElement | str], output: SendEnd[StreamElement]
) -> None:
    """Send everything that `source` gives to `output`; strings become `TextElement`.

    Cancellation: the source is closed by the task that iterates it, exactly once, whichever way this ends. A source that blocks
    blocks the event loop.
    """
    if isinstance(source, AsyncIterable):
        await _feed_async(source, output)
    else:
        await _feed_sync(source, output)


async def _feed_sync(source: Iterable[StreamElement | str], output: SendEnd[StreamElement]) -> None:
    iterator = iter(source)
    try:
        for item in iterator:
            element = TextElement(item) if isinstance(item, str) else item
            if not output.try_send(element):
                await output.send(element)
    finally:
        if inspect.isgenerator(iterator):
            iterator.close()


async def _feed_async(source: AsyncIterable[StreamElement | str], output: SendEnd[StreamElement]) -> None:
    iterator: AsyncIterator[StreamElement | str] = aiter(source)
    try:
        async for item in iterator:
            element = TextElement(item) if isinstance(item, str) else item
            if not output.try_send(element):
                await output.send(element)
    finally:
        if isinstance(source, ObjectReceiveStream):
            await source.aclose()
        elif inspect.isasyncgen(iterator):
            await iterator.aclose()

"""Sources: all that `execute()` takes, and how it is fed into the first edge.

Above: `runtime`. Below: `elements`, `channels`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING

from anyio.abc import ObjectReceiveStream

from ..elements import Message, StreamElement, TextElement
from ..errors import SourceError

if TYPE_CHECKING:
    from ..channels import SendEnd

__all__ = ["Source", "close_source", "feed", "open_source"]

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
    refusal = _refusal(source)
    if refusal is not None:
        raise SourceError(refusal)
    return source


def _refusal(source: object) -> str | None:
    """Say why `source` is none, None when it is one."""
    what = type(source).__name__
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"the source is {what}; wrap it in AudioElement or DataElement"
    if isinstance(source, Mapping):
        return f"the source is a {what}, whose items are its keys; give a list of elements, or wrap it in DataElement"
    if isinstance(source, (set, frozenset)):
        return f"the source is a {what}, which has no order; give a list of elements"
    if inspect.isawaitable(source):
        if inspect.iscoroutine(source):
            source.close()  # else Python warns that it was never awaited, besides our own error
        return f"the source is a {what}; await it first and give what it returns, or make it an async generator"
    if isinstance(source, (AsyncIterable, Iterable)):
        return None
    if callable(source):
        return f"the source is the function {source!r:.80}; call it, and give what it returns"
    allowed = "wrap it: MessageElement(message)" if isinstance(source, Message) else _ALLOWED
    return f"the source {source!r:.80}, a {what}, cannot be iterated for elements; {allowed}"


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


async def close_source(source: Iterable[StreamElement | str] | AsyncIterable[StreamElement | str]) -> None:
    """Close a source that was not fed: a channel's receiving end. A generator that has not begun holds nothing."""
    if isinstance(source, ObjectReceiveStream):
        await source.aclose()


async def _feed_sync(source: Iterable[StreamElement | str], output: SendEnd[StreamElement]) -> None:
    iterator = iter(source)
    try:
        await output.send_each(iterator, _as_element)
    finally:
        if inspect.isgenerator(iterator):
            iterator.close()


async def _feed_async(source: AsyncIterable[StreamElement | str], output: SendEnd[StreamElement]) -> None:
    iterator: AsyncIterator[StreamElement | str] = aiter(source)
    try:
        await output.send_all(iterator, _as_element)
    finally:
        if isinstance(source, ObjectReceiveStream):
            await source.aclose()
        elif inspect.isasyncgen(iterator):
            await iterator.aclose()


def _as_element(item: StreamElement | str) -> StreamElement:
    return TextElement(item) if isinstance(item, str) else item

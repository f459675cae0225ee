"""Sources: all that `execute()` takes, and how it is fed into the first edge.

Above: `runtime`. Below: `elements`, `channels`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Mapping
from types import GeneratorType
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, cast

from anyio.abc import ObjectReceiveStream

from ..elements import Message, StreamElement, TextElement
from ..errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..channels import SendEnd

__all__ = ["Source", "as_element", "close_source", "feed", "is_async", "open_source", "open_sources"]

Source = StreamElement | str | Iterable[StreamElement | str] | AsyncIterable[StreamElement | str]
"""What a run can be fed with: an element, a string, an iterable or async iterable of them, or a channel's receiving end."""

_Opened: TypeAlias = Iterable[StreamElement | str] | AsyncIterable[StreamElement | str]

_ALLOWED = "give an element, a string, an iterable or async iterable of elements, or nothing and use run.send()"


def open_source(source: Source) -> Iterable[StreamElement | str] | AsyncIterable[StreamElement | str]:
    """Check what was given as a source, and return what to iterate.

    Raises:
        SourceError: If it cannot be iterated for elements.
    """
    if isinstance(source, (StreamElement, str)):
        return (source,)
    if not _is_iterable_kind(type(source)):
        refusal = _refusal(source)
        if refusal is not None:
            raise SourceError(refusal)
    return source


@functools.lru_cache(maxsize=256)
def _is_iterable_kind(kind: type) -> bool:
    """Say whether everything of a type is a source, which is asked for each run: there are few types, and looking is slow."""
    if issubclass(kind, (str, bytes, bytearray, memoryview, Mapping, set, frozenset, Awaitable, GeneratorType)):
        return False  # a generator may be a coroutine of the old kind
    return issubclass(kind, (AsyncIterable, Iterable))


def is_async(source: _Opened) -> TypeGuard[AsyncIterable[StreamElement | str]]:
    """Say whether what `open_source()` returned may have to be waited for."""
    return _is_async_kind(type(source))


@functools.lru_cache(maxsize=256)
def _is_async_kind(kind: type) -> bool:
    return issubclass(kind, AsyncIterable)


def open_sources(
    given: Source | Mapping[str, Source], heads: Sequence[str], generators: Sequence[str] = ()
) -> dict[str, Iterable[StreamElement | str] | AsyncIterable[StreamElement | str]]:
    """Check what was given to a graph, and return what to iterate for each of its heads.

    Args:
        given: A source, or one for each head, by name.
        heads: The names of what takes a source.
        generators: The names of the stages that generate, for the error.

    Raises:
        SourceError: If something cannot be iterated for elements, or if there is not one for each head.
    """
    if not heads:
        names = ", ".join(map(repr, generators))
        message = f"stage {names} generates and takes no source; call execute() without one"
        raise SourceError(message)
    if len(heads) == 1 and _is_iterable_kind(type(given)):
        return {heads[0]: cast("Iterable[StreamElement | str] | AsyncIterable[StreamElement | str]", given)}
    if not isinstance(given, Mapping) or (len(heads) == 1 and heads[0] not in given):
        if len(heads) == 1:
            return {heads[0]: open_source(cast("Source", given))}
        wanted = ", ".join(f"{name!r}: …" for name in heads)
        message = f"{len(heads)} stages take a source; give one for each, as {{{wanted}}}, or branch() from one stage"
        raise SourceError(message)
    by_name = cast("Mapping[str, Source]", given)
    unknown = ", ".join(repr(name) for name in by_name if name not in heads)
    missing = ", ".join(repr(name) for name in heads if name not in by_name)
    if unknown or missing:
        problem = f"there is no source for {missing}" if missing else f"{unknown} takes no source"
        message = f"{problem}; what takes one is {', '.join(map(repr, heads))}; give () for one without elements"
        raise SourceError(message)
    return {name: open_source(by_name[name]) for name in heads}


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
    return f"the source {source!r:.80} ({what}) cannot be iterated for elements; {allowed}"


def feed(
    source: Iterable[StreamElement | str] | AsyncIterable[StreamElement | str], output: SendEnd[StreamElement]
) -> Awaitable[None]:
    """Send everything that `source` gives to `output`; strings become `TextElement`.

    Cancellation: the source is closed by the task that iterates it, exactly once, whichever way this ends. A source that blocks
    blocks the event loop.
    """
    if not is_async(source):
        return _feed_sync(cast("Iterable[StreamElement | str]", source), output)
    if isinstance(source, ObjectReceiveStream):
        return _feed_stream(source, output)
    iterator: AsyncIterator[StreamElement | str] = aiter(source)
    # The coroutine itself: another one around it would be held, and passed through, for as long as the source goes on.
    return output.send_all(iterator, as_element, closes=inspect.isasyncgen(iterator))


async def close_source(source: Iterable[StreamElement | str] | AsyncIterable[StreamElement | str]) -> None:
    """Close a source that was not fed: a channel's receiving end. A generator that has not begun holds nothing."""
    if isinstance(source, ObjectReceiveStream):
        await source.aclose()


async def _feed_sync(source: Iterable[StreamElement | str], output: SendEnd[StreamElement]) -> None:
    iterator = iter(source)
    try:
        await output.send_each(iterator, as_element)
    finally:
        if inspect.isgenerator(iterator):
            iterator.close()


async def _feed_stream(source: ObjectReceiveStream[StreamElement | str], output: SendEnd[StreamElement]) -> None:
    try:
        await output.send_all(source, as_element)
    finally:
        await source.aclose()


def as_element(item: StreamElement | str) -> StreamElement:
    """Return what a source gave, as an element."""
    return TextElement(item) if isinstance(item, str) else item

"""What must not leave in an error: keys, and the texts of a request. Takes them out of what a server says.

Above: `_failures`. Below: `_protocol`.
Rule: servers quote, and not always the whole. A piece of a key of 8 characters and a piece of a text of 12 are already taken out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import msgspec

from ..elements import DataPart, TextPart, ThinkingPart, ToolCallPart, ToolResultPart, thaw

if TYPE_CHECKING:
    from ..elements import Message, Part
    from ._protocol import ModelRequest

__all__ = ["Secrets"]

_KEY_PIECE = 8  # a shorter text is a dummy key or small talk, and taking it out would garble other words
_TEXT_PIECE = 12
_MAX_TEXT = 600  # characters that are looked through; `Failures` shows fewer
_MASK = "***"


class Secrets:
    """What is taken out of a server's words.

    Args:
        keys: Returns API keys, and the values of headers.
        request: Its texts and addresses.
    """

    def __init__(self, keys: Callable[[], Iterable[str]], request: ModelRequest) -> None:
        self._keys = keys
        self._request = request

    def taken_out_of(self, text: str) -> str:
        """Return the beginning of a text without what is secret."""
        text = text[:_MAX_TEXT]
        for secret in self._keys():
            text = _without(text, secret, _KEY_PIECE)
        for secret in _texts_of(self._request):
            text = _without(text, secret, _TEXT_PIECE)
        return text

    def __repr__(self) -> str:
        return "<Secrets>"


def _without(text: str, secret: str, piece: int) -> str:
    if len(secret) < _KEY_PIECE:
        return text
    if len(secret) <= piece:
        return text.replace(secret, _MASK)
    shown: list[str] = []
    start = place = 0
    while place <= len(text) - piece:
        if text[place : place + piece] not in secret:
            place += 1
            continue
        end = place + piece
        while end < len(text) and text[place : end + 1] in secret:
            end += 1
        shown += [text[start:place], _MASK]
        start = place = end
    return "".join((*shown, text[start:]))


def _texts_of(request: ModelRequest) -> Iterator[str]:
    for message in request.messages:
        yield from _texts_of_message(message)
    for tool in request.tools:
        yield tool.description
    yield from _strings_of(request.extra)


def _texts_of_message(message: Message) -> Iterator[str]:
    if isinstance(message.content, str):
        yield message.content
        return
    yield message.text
    for part in message.parts:
        yield from _texts_of_part(part)


def _texts_of_part(part: Part) -> Iterator[str]:
    if isinstance(part, (TextPart, ThinkingPart)):
        yield part.text
    elif isinstance(part, ToolCallPart):
        yield part.raw or msgspec.json.encode(thaw(part.args)).decode()
        yield from _strings_of(part.args)
    elif isinstance(part, ToolResultPart):
        yield part.text
        if not isinstance(part.content, str):
            for one in part.content:
                yield from _texts_of_part(one)
    elif isinstance(part, DataPart):
        yield from _strings_of(part.value)
    elif part.url is not None:
        yield part.url


def _strings_of(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in cast("Mapping[object, object]", value).values():
            yield from _strings_of(one)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for one in cast("Sequence[object]", value):
            yield from _strings_of(one)

"""The format of elements as they are: each one as its JSON.

Above: users. Below: `_encoder`, `elements`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elements import EndOfStream, TextElement, ThinkingElement, encode
from ._encoder import EventEncoder, ServerEvent, delta_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..elements import StreamElement
    from ._encoder import StreamEnd

__all__ = ["RawEncoder"]

_MARK, _ESCAPED_MARK = "\x00", "\\u0000"


class RawEncoder(EventEncoder):
    """Each element as the JSON that `decode()` reads, as an event without a type; the last one is `EndOfStream`.

    For clients of one's own. Text and thoughts that differ in their text alone may be joined.
    """

    def __init__(self) -> None:
        self._like: TextElement | ThinkingElement | None = None
        self._around = ("", "")

    def encode(self, element: StreamElement) -> Sequence[ServerEvent]:
        """Return the element as one event.

        Raises:
            ElementError: If it is of a type that nobody registered, or cannot be JSON.
        """
        if isinstance(element, TextElement | ThinkingElement):
            before, after = self._parts_around(element)
            if before:
                return (delta_event(before, element.text, after),)
        return (ServerEvent(encode(element).decode()),)

    def finish(self, end: StreamEnd) -> Sequence[ServerEvent]:
        """Return what went wrong, if something did, and the end."""
        last = ServerEvent(encode(EndOfStream(end.reason, end.totals)).decode())
        return (last,) if end.error is None else (ServerEvent(encode(end.error).decode()), last)

    def _parts_around(self, element: TextElement | ThinkingElement) -> tuple[str, str]:
        """Return the JSON before and behind the text; twice nothing, if the text is not to be joined."""
        like = self._like
        if like is not None and type(like) is type(element) and _differ_in_text_alone(like, element):
            return self._around
        self._like = element
        data = encode(element.replace(text=_MARK)).decode()
        before, _, after = data.partition(_ESCAPED_MARK)  # the text comes first, so the first one is the text
        is_last = isinstance(element, ThinkingElement) and element.signature is not None
        self._around = ("", "") if is_last else (before, after)
        return self._around


def _differ_in_text_alone(one: TextElement | ThinkingElement, other: TextElement | ThinkingElement) -> bool:
    if one.id != other.id or one.metadata != other.metadata or one.priority != other.priority:
        return False
    if one.interruptible != other.interruptible or one.timestamp_s is not None or other.timestamp_s is not None:
        return False
    if isinstance(one, TextElement):
        return isinstance(other, TextElement) and one.path == other.path
    return isinstance(other, ThinkingElement) and one.signature == other.signature

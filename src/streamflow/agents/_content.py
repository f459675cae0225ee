"""What a tool returns, as a model is told it: text or parts, and not more than the limit.

Above: `_calls`. Below: `elements`. Pure functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

import msgspec

from ..elements import AudioPart, DataPart, FilePart, ImagePart, TextPart, VideoPart
from ..errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..elements import ContentPart

__all__ = ["Content", "capped", "content_of"]

Content: TypeAlias = "str | Sequence[ContentPart]"
"""What a result holds."""

NOTHING = "The tool has done its work and returned nothing."
"""What a model is told of a tool that returns None; servers refuse empty results."""

_PARTS = (TextPart, ImagePart, AudioPart, VideoPart, FilePart, DataPart)


def content_of(value: object) -> Content:
    """Return what a tool returned as the content of a result: text and parts as they are, all else as JSON.

    Raises:
        ToolError: If it is nothing that JSON can hold.
    """
    if value is None or value == "":
        return NOTHING
    if isinstance(value, str):
        return value
    if isinstance(value, _PARTS):
        return (value,)
    items = _items_of(value)
    if items and all(isinstance(one, _PARTS) for one in items):
        return tuple(cast("Sequence[ContentPart]", items))
    try:
        return msgspec.json.encode(value, enc_hook=_plain).decode()
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise ToolError(f"The tool returned a {type(value).__name__}, which cannot be told.") from error


def _items_of(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()


def capped(content: Content, max_bytes: int) -> Content:
    """Return at most `max_bytes` of a content, with a note where it was cut."""
    if isinstance(content, str):
        return _capped_text(content, max_bytes)
    left = max_bytes
    kept: list[ContentPart] = []
    for part in content:
        size = _size(part)
        if size <= left:
            kept.append(part)
        elif isinstance(part, TextPart):
            kept.append(TextPart(_capped_text(part.text, max(left, 0))))
        else:
            kept.append(TextPart(f"[a part of {size} bytes was left out: the result is limited to {max_bytes} bytes]"))
        left = max(left - size, 0)
    return tuple(kept)


def _capped_text(text: str, max_bytes: int) -> str:
    if len(text) * 4 <= max_bytes:
        return text
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= max_bytes:
        return text
    kept = encoded[:max_bytes].decode("utf-8", "ignore")
    return f"{kept}\n[cut: the first {max_bytes} of {len(encoded)} bytes]"


def _size(part: ContentPart) -> int:
    if isinstance(part, TextPart):
        return len(part.text.encode("utf-8", "replace"))
    if isinstance(part, DataPart):
        return len(msgspec.json.encode(part.value, enc_hook=_plain))
    return len(part.data or b"") + len(part.url or "")


def _plain(value: object) -> object:
    """Return a value that msgspec does not know as one that it knows: models of pydantic, mappings of any kind."""
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    items = getattr(value, "items", None)
    if callable(items):
        return dict(cast("dict[object, object]", value))
    raise TypeError

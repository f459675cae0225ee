"""What is in messages, results and media, as clients read it.

Above: `_ag_ui`, `_vercel`. Below: `elements`. Pure functions.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from ..elements import (
    AudioElement,
    AudioPart,
    DataPart,
    FilePart,
    ImageElement,
    ImagePart,
    TextPart,
    VideoElement,
    VideoPart,
    thaw,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..elements import ContentPart, JsonValue, Message

__all__ = [
    "content_for_client",
    "is_patch",
    "is_web_address",
    "media_for_client",
    "message_for_client",
    "output_for_client",
]

_OPERATIONS = {
    "add": ("path", "value"),
    "remove": ("path",),
    "replace": ("path", "value"),
    "move": ("path", "from"),
    "copy": ("path", "from"),
    "test": ("path", "value"),
}
"""The operations of a JSON patch (RFC 6902), and what each must have."""

_encode = msgspec.json.Encoder(enc_hook=thaw).encode


def content_for_client(content: str | Sequence[ContentPart]) -> str | list[Mapping[str, object]]:
    """Return a content as the client reads it: text where it is nothing but text and data, else its parts."""
    if isinstance(content, str):
        return content
    if all(isinstance(part, TextPart | DataPart) for part in content):
        return "".join(str(_part(part)["text"]) for part in content)
    return [_part(part) for part in content]


def output_for_client(content: str | Sequence[ContentPart]) -> object:
    """Return a result as a JSON value: one that is a single value is that value."""
    if not isinstance(content, str) and len(content) == 1 and isinstance(content[0], DataPart):
        return content[0].value
    return content_for_client(content)


def is_web_address(url: str) -> bool:
    """Say whether a client may follow an address: a browser also runs what others say, such as `javascript:`."""
    return url.partition(":")[0].lower() in {"http", "https"}


def message_for_client(message: Message, place: int) -> Iterator[Mapping[str, object]]:
    """Return the messages that stand for one of ours, which is at this place: each tool result is one of its own."""
    for result in message.tool_results:
        content = content_for_client(result.content)
        yield {"id": f"{result.call_id}-result", "role": "tool", "toolCallId": result.call_id, "content": content}
    if message.role == "tool":
        return
    told: dict[str, object] = {"id": message.id or f"message-{place}", "role": message.role}
    shown = [
        part for part in message.parts if isinstance(part, TextPart | ImagePart | AudioPart | VideoPart | FilePart)
    ]
    told["content"] = content_for_client(shown) if message.role == "user" else message.text
    calls = [
        {
            "id": call.call_id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.raw or _encode(call.args).decode()},
        }
        for call in message.tool_calls
    ]
    if calls:
        told["toolCalls"] = calls
    yield told


def media_for_client(element: ImageElement | AudioElement | VideoElement) -> tuple[str, Mapping[str, object]]:
    """Return name and value of the event that carries media, for which the protocol has none of its own."""
    told: dict[str, object]
    if isinstance(element, AudioElement):
        told = {"format": element.format, "sampleRate": element.sample_rate, "channels": element.channels}
        told |= {"text": element.text}
    else:
        told = {"mimeType": element.mime, "url": element.url, "width": element.width, "height": element.height}
    if element.data is not None:
        told["data"] = base64.b64encode(element.data).decode()
    name = {ImageElement: "image", AudioElement: "audio", VideoElement: "video"}[type(element)]
    return name, {key: value for key, value in told.items() if value is not None}


def is_patch(value: JsonValue) -> bool:
    """Say whether a value is a JSON patch."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return False
    return all(_is_operation(one) for one in value)


def _is_operation(value: JsonValue) -> bool:
    if not isinstance(value, Mapping):
        return False
    operation = value.get("op")
    needed = _OPERATIONS.get(operation) if isinstance(operation, str) else None
    if needed is None or not all(name in value for name in needed):
        return False
    return all(isinstance(value[name], str) for name in needed if name != "value")


def _part(part: ContentPart) -> Mapping[str, object]:
    match part:
        case TextPart(text):
            return {"type": "text", "text": text}
        case DataPart():
            return {"type": "text", "text": _encode(part.value).decode()}
        case ImagePart():
            return {"type": "image", "source": _source(part.data, part.url, part.mime)}
        case AudioPart():
            return {"type": "audio", "source": _source(part.data, part.url, f"audio/{part.format}")}
        case VideoPart():
            return {"type": "video", "source": _source(part.data, part.url, part.mime)}
        case FilePart():
            return {"type": "document", "source": _source(part.data, part.url, part.mime)}


def _source(data: bytes | None, url: str | None, mime: str | None) -> Mapping[str, object]:
    if data is not None:
        value = base64.b64encode(data).decode()
        return {"type": "data", "value": value, "mimeType": mime or "application/octet-stream"}
    return {"type": "url", "value": url, **({"mimeType": mime} if mime else {})}

"""What a client sends, read with limits: the part that the formats share.

Above: `_ag_ui_request`, `_vercel_request`. Below: `elements`, `providers`.
Rules: a body is refused as a whole, with the path of what is wrong, or read as a whole. Nothing that a client sends is opened or
fetched here; addresses that a model's server would fetch are web addresses, and no files.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn, TypeVar

import msgspec

from ..elements import AudioPart, FilePart, ImagePart, VideoPart, freeze
from ..errors import ConfigError, DecodeError
from ._content import is_web_address

if TYPE_CHECKING:
    from ..elements import AudioFormat, ContentPart, JsonValue

__all__ = ["RequestLimits", "arguments_of", "decode_body", "media_part", "refuse"]

_T = TypeVar("_T")

_AUDIO: dict[str, AudioFormat] = {
    "wav": "wav",
    "x-wav": "wav",
    "wave": "wav",
    "mpeg": "mp3",
    "mp3": "mp3",
    "aac": "aac",
    "flac": "flac",
    "ogg": "opus",
    "opus": "opus",
}
_DATA_URL = re.compile(r"data:(?P<mime>[^;,]{0,255})(?:;[^;,]{0,255})*;base64,", re.ASCII)


class RequestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a client may send at once.

    Raises:
        ConfigError: If one of them is not positive.
    """

    max_bytes: int = 4 * 1024 * 1024
    """Largest body, in bytes; media included, which comes as base64."""
    max_messages: int = 1000
    """Most messages."""
    max_parts: int = 1000
    """Most parts and tool calls of one message."""
    max_text_chars: int = 100_000
    """Longest text of one message, its parts together."""
    max_tools: int = 128
    """Most tools."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) < 1:
                raise ConfigError(name, f"{getattr(self, name)} is out of range; give 1 or more")


def decode_body(body: bytes, kind: type[_T], limits: RequestLimits) -> _T:
    """Return a body as the struct that it should be.

    Raises:
        DecodeError: If it is too large, no JSON, or of another shape; the path says where.
    """
    if len(body) > limits.max_bytes:
        refuse(f"the request is larger than {limits.max_bytes} bytes")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as bad:
        message, _, path = str(bad).partition(" - at `")
        raise DecodeError(message or "it is nested too deep", path.removesuffix("`") or "$") from None


def refuse(message: str, path: str = "$") -> NoReturn:
    """Refuse a request.

    Raises:
        DecodeError: Always.
    """
    raise DecodeError(message, path)


def arguments_of(raw: str) -> Mapping[str, JsonValue]:
    """Return the arguments of a call that stands in a history; none where they are no object, as the model's server will see."""
    try:
        value = freeze(msgspec.json.decode(raw or "{}"))
    except (msgspec.DecodeError, DecodeError, RecursionError):
        return {}
    return value if isinstance(value, Mapping) else {}


def media_part(
    data: str | None, url: str | None, mime: str | None, path: str, *, name: str | None = None
) -> ContentPart:
    """Return a part with media.

    Args:
        data: The bytes, as base64; None: there is an address.
        url: The address: of the web, or one that holds the data.
        mime: The media type, where it is known; it decides about the part.
        path: Where it stands, for errors.
        name: File name.

    Raises:
        DecodeError: If the data is no base64, or the address not one of the web.
    """
    if data is None and url is not None and (held := _DATA_URL.match(url)) is not None:
        data, url, mime = url[held.end() :], None, held["mime"] or mime
    if data is None and (url is None or not is_web_address(url)):
        refuse("the address is not one of the web (https, http), nor one that holds base64 data", path)
    kind, _, subtype = (mime or "").partition("/")
    content = None if data is None else _bytes_of(data, path)
    match kind:
        case "image":
            return ImagePart(content, mime, url)
        case "video":
            return VideoPart(content, mime, url)
        case "audio" if (format := _AUDIO.get(subtype)) is not None:
            return AudioPart(content, format, url)
        case _:
            return FilePart(content, mime, url, name)


def _bytes_of(text: str, path: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        refuse("the data is no base64", path)

"""Long pieces of bytes in an encoded element: taken out of it, and put back. Any type of element: it is done on its MessagePack.

Above: `_record_encoding` takes out, `_record_reading` puts back. Below: `msgspec`.
Rules: what stands in the place of a piece is an extension of MessagePack, which no element has of its own. The name of a file is
made of the digest of what is in it, and of nothing that was recorded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from ..errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_media_name", "put_back", "take_out"]

_OMITTED: Final = 1
_IN_FILE: Final = 2
_NAME: Final = re.compile(r"[0-9a-f]{64}\Z")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Any).decode


def is_media_name(name: str) -> bool:
    """Say whether a file of this name may hold a piece."""
    return _NAME.match(name) is not None


def take_out(data: bytes, longest: int, pieces: dict[str, bytes] | None) -> bytes | None:
    """Return an encoded element without its long pieces of bytes; None if it has none.

    Args:
        data: The element, in MessagePack.
        longest: Bytes of the longest piece that stays.
        pieces: Gets the pieces, by the names of their files; None: they are left out for good.
    """
    import hashlib  # noqa: PLC0415 - most recordings need it not

    found = False

    def outside(value: object) -> object:
        nonlocal found
        if isinstance(value, bytes):
            if len(value) <= longest:
                return value
            found = True
            if pieces is None:
                return msgspec.msgpack.Ext(_OMITTED, len(value).to_bytes(8, "big"))
            digest = hashlib.sha256(value)
            pieces[digest.hexdigest()] = value
            return msgspec.msgpack.Ext(_IN_FILE, digest.digest())
        if isinstance(value, dict):
            return {key: outside(item) for key, item in cast("dict[object, object]", value).items()}
        if isinstance(value, list):
            return [outside(item) for item in cast("list[object]", value)]
        return value

    changed = outside(_decode(data))
    return _encode(changed) if found else None


def put_back(data: bytes, fetch: Callable[[str], bytes]) -> bytes:
    """Return an encoded element with its pieces in their places; what was left out for good is empty.

    Raises:
        DecodeError: If the element is malformed, or a piece cannot be had.
    """
    import hashlib  # noqa: PLC0415 - as above

    def inside(code: int, content: memoryview) -> bytes:
        if code == _OMITTED:
            return b""
        if code == _IN_FILE and len(content) == 32:
            name = content.hex()
            piece = fetch(name)
            if hashlib.sha256(piece).hexdigest() != name:
                raise DecodeError(f"the media file {name} holds something else")
            return piece
        raise DecodeError("something in the place of media that is none")

    try:
        return _encode(msgspec.msgpack.decode(data, ext_hook=inside))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError, TypeError) as bad:
        raise DecodeError(f"no element: {bad!s:.200}") from bad

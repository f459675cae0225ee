"""Elements as bytes: JSON and MessagePack, versioned, open to types of users.

Above: transports, stores, recordings. Below: `_registry` and `msgspec`.
Rules: an encoded element is one object with its version first (`v`, absent means 1), its `type` next, and without the
fields that have their default. Fields that a type does not have are ignored, so a later release can add one without a
new version. Bytes are base64 in JSON. Numbers that are not finite do not exist in JSON and are refused there;
MessagePack carries them in number fields, never in metadata or values. Nothing is decoded that is larger than
`max_bytes`, and nothing nested so deeply that it would exhaust the stack.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeAlias, cast, overload

import msgspec

from ..errors import DecodeError, ElementError
from ._base import Priority, StreamElement, checked_metadata
from ._metadata import EMPTY_METADATA, Metadata, freeze
from ._registry import is_registered, registered_elements
from ._types import Format, OpaqueElement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Unknown = Literal["error", "skip", "opaque"]
"""What to do with an element whose type nobody registered."""

Encoded: TypeAlias = bytes | bytearray | memoryview | str
"""What can be decoded; text is taken as UTF-8."""

VERSION: Final = 1
"""Version of the encoding that this release writes, and the newest that it reads."""

MAX_BYTES: Final = 32 * 1024 * 1024
"""Largest input that is decoded by default: room for a large picture in base64."""


class _Header(msgspec.Struct, frozen=True):
    """What is read of an element before its type is known."""

    v: int = 1
    type: str = ""
    id: str = ""
    metadata: Metadata = EMPTY_METADATA
    priority: Priority = Priority.NORMAL
    interruptible: bool = True
    timestamp_s: float | None = None


class _Version(msgspec.Struct, frozen=True):
    v: int = 1


def _to_wire(value: object) -> object:
    if isinstance(value, Metadata):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is neither JSON nor a type that msgspec knows")


def _from_wire(kind: type[object], value: object) -> object:
    if kind is not Metadata:
        raise TypeError(f"{kind.__name__} is a field type that cannot be decoded")
    frozen = freeze(value)
    if not isinstance(frozen, Metadata):
        raise DecodeError(f"Expected `object`, got `{type(value).__name__}`")
    return frozen


def _json_with_version(body: bytes) -> bytes:
    return b'{"v":1,' + body[1:]


def _msgpack_with_version(body: bytes) -> bytes:
    # The head of a map is 0x80 + size up to 15 entries, then 0xde and two bytes of size.
    if body[0] < 0x8F:
        return bytes((body[0] + 1,)) + b"\xa1v\x01" + body[1:]
    size, rest = (15, body[1:]) if body[0] == 0x8F else (int.from_bytes(body[1:3], "big"), body[3:])
    return b"\xde" + (size + 1).to_bytes(2, "big") + b"\xa1v\x01" + rest


def _msgpack_list(items: list[bytes]) -> bytes:
    return b"\xdd" + len(items).to_bytes(4, "big") + b"".join(items)


def _json_list(items: list[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


_Decoder: TypeAlias = msgspec.json.Decoder[Any] | msgspec.msgpack.Decoder[Any]


class _Codec:
    """One format: its encoder, and decoders that are made anew after a registration."""

    def __init__(
        self,
        *,
        encoder: msgspec.json.Encoder | msgspec.msgpack.Encoder,
        make_decoder: Callable[[Any], _Decoder],
        prefix: bytes,
        prefix_at: int,
        with_version: Callable[[bytes], bytes],
        join: Callable[[list[bytes]], bytes],
    ) -> None:
        self.encode = encoder.encode
        self.prefix = prefix
        self.prefix_at = prefix_at
        self.with_version = with_version
        self.join = join
        self.version = make_decoder(_Version)
        self.header = make_decoder(_Header)
        self.plain = make_decoder(Any)
        self.pieces = make_decoder(list[msgspec.Raw])
        self._make_decoder = make_decoder
        self._made: tuple[Mapping[str, type[StreamElement]], _Decoder] | None = None

    def elements(self) -> _Decoder:
        """Return the decoder of all registered types."""
        known = registered_elements()
        made = self._made
        if made is None or made[0] is not known:
            made = self._made = (known, self._union_of(tuple(known.values())))
        return made[1]

    def _union_of(self, known: tuple[type[StreamElement], ...]) -> _Decoder:
        for cls in known:
            try:
                self._make_decoder(cls)
            except (NameError, TypeError, ValueError) as bad:
                raise ElementError(
                    f"{cls.__module__}.{cls.__qualname__} cannot be decoded: {bad}; its field types must be ones that "
                    "msgspec knows, imported where the class is defined"
                ) from bad
        union: Any = known[0]
        for cls in known[1:]:
            union |= cls
        return self._make_decoder(union)


_CODECS: Final[dict[Format, _Codec]] = {
    "json": _Codec(
        encoder=msgspec.json.Encoder(enc_hook=_to_wire),
        make_decoder=lambda kind: msgspec.json.Decoder(kind, dec_hook=_from_wire),
        prefix=b'{"v":1,"type":',
        prefix_at=0,
        with_version=_json_with_version,
        join=_json_list,
    ),
    "msgpack": _Codec(
        encoder=msgspec.msgpack.Encoder(enc_hook=_to_wire),
        make_decoder=lambda kind: msgspec.msgpack.Decoder(kind, dec_hook=_from_wire),
        prefix=b"\xa1v\x01\xa4type",
        prefix_at=1,  # behind the head of the map, which holds its size
        with_version=_msgpack_with_version,
        join=_msgpack_list,
    ),
}


def encode(element: StreamElement, *, format: Format = "json") -> bytes:  # noqa: A002 - the word that users look for
    """Return an element as bytes: one JSON object without line breaks, or one MessagePack map.

    Raises:
        ElementError: If it is no element, of a type that nobody registered, or holds what the format cannot carry: a
            number that is not finite or has more than 64 bits, text with half a surrogate pair, endless nesting.
    """
    codec = _codec_of(format)
    kind = type(element)
    if not is_registered(kind):
        if isinstance(element, OpaqueElement):
            return _encode_opaque(element, format)
        raise ElementError(_why_not(kind))
    checked_metadata(element)
    try:
        body = codec.encode(element)
    except (ValueError, TypeError, OverflowError, RecursionError) as bad:
        raise ElementError(f"{kind.__name__} cannot be encoded as {format}: {bad}") from bad
    # msgspec writes a number that is not finite as null, so without a null there was none.
    if format == "json" and b"null" in body:
        _check_finite(msgspec.to_builtins(element, enc_hook=_to_wire, builtin_types=(bytes,)), kind.__name__)
    return codec.with_version(body)


def encode_many(elements: Iterable[StreamElement], *, format: Format = "json") -> bytes:  # noqa: A002 - as in encode
    """Return elements as one array.

    Raises:
        ElementError: As `encode` does.
    """
    return _codec_of(format).join([encode(element, format=format) for element in elements])


@overload
def decode(
    data: Encoded, *, format: Format = ..., unknown: Literal["error", "opaque"] = ..., max_bytes: int = ...
) -> StreamElement: ...
@overload
def decode(
    data: Encoded, *, format: Format = ..., unknown: Unknown = ..., max_bytes: int = ...
) -> StreamElement | None: ...
def decode(
    data: Encoded,
    *,
    format: Format = "json",  # noqa: A002 - the word that users look for
    unknown: Unknown = "error",
    max_bytes: int = MAX_BYTES,
) -> StreamElement | None:
    """Return the element that `encode` made the bytes of.

    Args:
        data: One encoded element and nothing else.
        format: How it is encoded.
        unknown: What to do with a type that nobody registered: `error` raises, `skip` returns None, `opaque` returns
            an `OpaqueElement` that is encoded again byte for byte.
        max_bytes: Larger input is refused unread.

    Raises:
        DecodeError: If the input is malformed, too large, too deeply nested, of a newer version or of an unknown type;
            `path` says where.
    """
    if type(data) is not bytes or len(data) > max_bytes:
        data = _bytes_of(data, max_bytes)
    return _decode(data, format, unknown)


def decode_many(
    data: Encoded,
    *,
    format: Format = "json",  # noqa: A002 - the word that users look for
    unknown: Unknown = "error",
    max_bytes: int = MAX_BYTES,
) -> list[StreamElement]:
    """Return the elements of an array that `encode_many` made; with `unknown="skip"`, those of known types.

    Raises:
        DecodeError: As `decode` does, with the element's place in `path`.
    """
    try:
        pieces = _codec_of(format).pieces.decode(_bytes_of(data, max_bytes))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as bad:
        _fail(bad)
    found: list[StreamElement] = []
    for place, piece in enumerate(pieces):
        try:
            element = _decode(bytes(piece), format, unknown)
        except DecodeError as bad:
            raise DecodeError(bad.message, f"$[{place}]{bad.path[1:]}") from bad.__cause__
        if element is not None:
            found.append(element)
    return found


def _why_not(kind: type[object]) -> str:
    if issubclass(kind, StreamElement):
        return f"{kind.__name__} could not be decoded again; register_element({kind.__name__}) first"
    return f"{kind.__name__} is no element; encode() takes a StreamElement"


def _codec_of(format: Format) -> _Codec:  # noqa: A002 - as in encode
    try:
        return _CODECS[format]
    except KeyError:
        raise ElementError(f"{format!r} is no format of elements; give 'json' or 'msgpack'") from None


def _bytes_of(data: Encoded, max_bytes: int) -> bytes:
    if isinstance(data, str):
        try:
            data = data.encode()
        except UnicodeEncodeError as bad:
            raise DecodeError(f"not UTF-8: {bad}") from bad
    size = data.nbytes if isinstance(data, memoryview) else len(data)
    if size > max_bytes:
        raise DecodeError(f"{size} bytes are more than max_bytes={max_bytes}")
    return bytes(data)


def _decode(data: bytes, format: Format, unknown: Unknown) -> StreamElement | None:  # noqa: A002 - as in encode
    codec = _codec_of(format)
    decoder = codec.elements()
    try:
        # What this release wrote begins like this; anything else has its version read first.
        if not data.startswith(codec.prefix, codec.prefix_at):
            _check_version(codec.version.decode(data).v)
        return cast("StreamElement", decoder.decode(data))
    except msgspec.ValidationError as bad:
        header = _header_of(codec, data)
        if header is None or not header.type or header.type in registered_elements():
            _fail(bad)
        if unknown == "error":
            raise DecodeError(
                f"unknown element type {header.type!r}; register_element() its class, or decode with "
                "unknown='skip' or unknown='opaque'",
                "$.type",
            ) from None
        return _opaque(header, data, format) if unknown == "opaque" else None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as bad:
        _fail(bad)


def _check_version(version: int) -> None:
    if version > VERSION:
        raise DecodeError(f"version {version} of the encoding is newer than {VERSION}; update streamflow", "$.v")
    if version < 1:
        raise DecodeError(f"{version} is no version of the encoding", "$.v")


def _header_of(codec: _Codec, data: bytes) -> _Header | None:
    try:
        return cast("_Header", codec.header.decode(data))
    except (msgspec.DecodeError, RecursionError):
        return None


def _opaque(header: _Header, data: bytes, format: Format) -> OpaqueElement:  # noqa: A002 - as in encode
    return OpaqueElement(
        header.type,
        data,
        format,
        id=header.id,
        metadata=header.metadata,
        priority=header.priority,
        interruptible=header.interruptible,
        timestamp_s=header.timestamp_s,
    )


def _encode_opaque(element: OpaqueElement, format: Format) -> bytes:  # noqa: A002 - as in encode
    if element.format == format:
        return element.data
    try:
        return _codec_of(format).encode(_codec_of(element.format).plain.decode(element.data))
    except (ValueError, TypeError, OverflowError, RecursionError) as bad:
        raise ElementError(f"the opaque {element.tag!r} element cannot be encoded as {format}: {bad}") from bad


def _check_finite(value: object, path: str) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ElementError(f"{path} is {value}, which JSON does not have; use None, or format='msgpack'")
    elif isinstance(value, dict):
        for key, item in cast("dict[object, object]", value).items():
            _check_finite(item, f"{path}.{key}")
    elif isinstance(value, list):
        for place, item in enumerate(cast("list[object]", value)):
            _check_finite(item, f"{path}[{place}]")


_PLACE = re.compile(r"(?P<message>.*) - at `(?P<path>[^`]*)`(?: in `(?P<owner>[^`]*)`)?$", re.DOTALL)


def _fail(bad: Exception) -> NoReturn:
    """Raise what msgspec says as a `DecodeError` with its path."""
    if isinstance(bad, RecursionError):
        raise DecodeError("nested too deeply") from None
    found = _PLACE.match(str(bad))  # none where the whole value is meant
    message, path = (found["message"], found["owner"] or found["path"]) if found else (str(bad), "$")
    # Values and metadata are checked by `freeze`, which knows the place inside them.
    cause: BaseException | None = bad.__cause__
    while isinstance(cause, ElementError):
        if isinstance(cause, DecodeError):
            message, path = cause.message, path + cause.path[1:]
            break
        message, cause = cause.message, cause.__cause__
    raise DecodeError(message, path) from bad

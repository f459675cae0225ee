"""Elements as bytes: JSON and MessagePack, versioned, open to types of users.

Above: transports, stores, recordings. Below: `_formats` and `_registry`.
Rules: an encoded element is one object with its version first (`v`, absent means 1), its `type` next, and without the
fields that have their default. Fields that a type does not have are ignored, so a later release can add one without a
new version. Bytes are base64 in JSON. Numbers that are not finite do not exist in JSON and are refused there, in all
fields whose type allows them; MessagePack carries them in number fields, never in metadata or values. Nothing is decoded that is
larger than `max_bytes`, and nothing nested so deeply that it would exhaust the stack. An element inside another one is encoded and
decoded as it is alone (`_nesting`), and so meets the same rules.
`encode` and `decode` begin with a short way for what flows by the thousand, and give everything else, and whatever is wrong, to the
long one, which tells what it is.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final, Literal, NoReturn, TypeAlias, cast, overload

import msgspec

from ..errors import DecodeError, ElementError
from ._base import StreamElement, checked_metadata
from ._formats import CODECS, JSON_HEAD, FormatCodec, Header, to_wire
from ._metadata import EMPTY_METADATA, Metadata
from ._nesting import FORMS, MAX_NESTING, PLAIN, nesting_of
from ._registry import is_registered, quick_readers, quick_text_readers, registered_elements
from ._types import Format, OpaqueElement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ._nesting import Form, Nesting

Unknown = Literal["error", "skip", "opaque"]
"""What to do with an element whose type nobody registered."""

Encoded: TypeAlias = bytes | bytearray | memoryview | str
"""What can be decoded; text is taken as UTF-8."""

VERSION: Final = 1
"""Version of the encoding that this release writes, and the newest that it reads."""

_to_json: Final = CODECS["json"].encode

_CHECKED: Final[frozenset[type[object]]] = frozenset({Metadata})
"""What the metadata of an element should be, and its constructor, to stay cheap, does not look at."""

_REFUSALS: Final = (ValueError, TypeError, NameError, OverflowError, RecursionError)
"""What msgspec and types of users raise where something cannot be encoded."""

_MALFORMED: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What msgspec raises where no value can be read."""

_TEXT_HEAD: Final = JSON_HEAD + b'"type":"text",'
_BEHIND_JSON_HEAD, _BEHIND_TEXT_HEAD = (head[:-1] + bytes((head[-1] + 1,)) for head in (JSON_HEAD, _TEXT_HEAD))
"""The first bytes, in their order, behind all that begin with the one or the other."""

MAX_BYTES: Final = 32 * 1024 * 1024
"""Largest input that is decoded by default: room for a large picture in base64."""


def encode(element: StreamElement, *, format: Format = "json") -> bytes:
    """Return an element as bytes: one JSON object without line breaks, or one MessagePack map.

    Raises:
        ElementError: If it is no element, of a type that nobody registered, or holds what the format cannot carry: a
            number that is not finite or has more than 64 bits, text with half a surrogate pair, endless nesting.
    """
    try:
        # Most of what flows is of such a type, in which nothing but the header is to be checked.
        if (
            type(element) in PLAIN
            and format == "json"
            and (element.metadata is EMPTY_METADATA or type(element.metadata) in _CHECKED)
            and (element.timestamp_s is None or math.isfinite(element.timestamp_s))
        ):
            return _to_json(element).replace(b"{", JSON_HEAD, 1)
    except _REFUSALS:
        pass  # and told below
    return _encode(element, format, 0)


def encode_many(elements: Iterable[StreamElement], *, format: Format = "json") -> bytes:
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
def decode(  # the overloads say that options are given by name; here it would cost a tenth of the whole
    data: Encoded, format: Format = "json", unknown: Unknown = "error", max_bytes: int = MAX_BYTES
) -> StreamElement | None:
    """Return the element that `encode` made the bytes of.

    Args:
        data: One encoded element and nothing else. Bytes are read fastest; what is none is copied first.
        format: How it is encoded.
        unknown: What to do with a type that nobody registered: `error` raises, `skip` returns None, `opaque` returns
            an `OpaqueElement` that is encoded again byte for byte. The same inside another element: `skip` leaves it out there.
        max_bytes: Larger input is refused unread.

    Raises:
        DecodeError: If the input is malformed, too large, too deeply nested, of a newer version or of an unknown type;
            `path` says where.
    """
    try:
        # What begins like this has its version, so all else that can be wrong with it is for msgspec to find.
        if len(data) <= max_bytes:
            if _TEXT_HEAD <= data < _BEHIND_TEXT_HEAD:  # type: ignore[operator]
                return quick_text_readers[format](data)
            if JSON_HEAD <= data < _BEHIND_JSON_HEAD:  # type: ignore[operator]
                return quick_readers[format](data)
    except (KeyError, msgspec.ValidationError):
        pass  # another format or a rarer type, or a fault that is told below
    except _MALFORMED as bad:
        _fail(bad)
    except TypeError:
        pass  # neither text nor a view can be compared with bytes
    if type(data) is not bytes:
        return decode(_bytes_of(data, max_bytes), format=format, unknown=unknown, max_bytes=max_bytes)
    if len(data) > max_bytes:
        data = _bytes_of(data, max_bytes)
    return _decode(data, format, unknown, 0)


def decode_many(
    data: Encoded,
    *,
    format: Format = "json",
    unknown: Unknown = "error",
    max_bytes: int = MAX_BYTES,
) -> list[StreamElement]:
    """Return the elements of an array that `encode_many` made; with `unknown="skip"`, those of known types.

    Raises:
        DecodeError: As `decode` does, with the element's place in `path`.
    """
    try:
        pieces = _codec_of(format).pieces.decode(_bytes_of(data, max_bytes))
    except _MALFORMED as bad:
        _fail(bad)
    return _decode_pieces(pieces, "$", format, unknown, 0)


def _encode(element: StreamElement, format: Format, depth: int) -> bytes:
    """Encode an element that stands inside `depth` others."""
    codec = _codec_of(format)
    kind = type(element)
    if not is_registered(kind):
        if isinstance(element, OpaqueElement):
            return _encode_opaque(element, format)
        raise ElementError(_why_not(kind))
    checked_metadata(element, element.metadata)
    try:
        nesting = nesting_of(kind)
        body = codec.encode(element if nesting is None else _fold(element, nesting, format, depth))
    except ElementError:
        raise
    except _REFUSALS as bad:
        raise ElementError(f"{kind.__name__} cannot be encoded as {format}: {bad}") from bad
    # msgspec writes a number that is not finite as null, so without a null there was none.
    if format == "json" and body.find(b"null") >= 0:
        _check_finite(msgspec.to_builtins(element, enc_hook=to_wire, builtin_types=(bytes,)), kind.__name__)
    return codec.with_version(body)


def _fold(element: StreamElement, nesting: Nesting, format: Format, depth: int) -> Form:
    """Return what is encoded in the place of an element with elements inside."""
    if depth >= MAX_NESTING:
        raise ElementError(f"elements nested deeper than {MAX_NESTING} levels")
    pieces: dict[str, tuple[msgspec.Raw, ...]] = {}
    for field in nesting.fields:
        encoded: list[msgspec.Raw] = []
        for place, item in enumerate(getattr(element, field)):
            try:
                plain = type(item) in PLAIN  # which has nothing inside, so its depth does not matter
                encoded.append(msgspec.Raw(encode(item, format=format) if plain else _encode(item, format, depth + 1)))
            except ElementError as bad:
                raise ElementError(f"{type(element).__name__}.{field}[{place}]: {bad}") from bad.__cause__
        pieces[field] = tuple(encoded)
    return nesting.fold(element, pieces)


def _why_not(kind: type[object]) -> str:
    if issubclass(kind, StreamElement):
        return f"{kind.__name__} could not be decoded again; register_element({kind.__name__}) first"
    return f"{kind.__name__} is no element; encode() takes a StreamElement"


def _codec_of(format: Format) -> FormatCodec:
    try:
        return CODECS[format]
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


def _decode(data: bytes, format: Format, unknown: Unknown, depth: int) -> StreamElement | None:
    """Decode an element that stands inside `depth` others."""
    codec = _codec_of(format)
    decoder = codec.elements()
    try:
        # What this release wrote begins like this; anything else has its version read first.
        if not data.startswith(codec.prefix, codec.prefix_at):
            _check_version(codec.head.decode(data).v)
        decoded: StreamElement | Form = decoder.decode(data)
    except msgspec.ValidationError as bad:
        tag = _tag_of(codec, data)
        if not tag or tag in registered_elements():
            _fail(bad)
        if unknown == "error":
            raise DecodeError(
                f"unknown element type {tag!r}; register_element() its class, or decode with "
                "unknown='skip' or unknown='opaque'",
                "$.type",
            ) from None
        return _opaque(tag, data, format) if unknown == "opaque" else None
    except _MALFORMED as bad:
        _fail(bad)
    nesting = FORMS.get(type(decoded))
    if nesting is None:
        return cast("StreamElement", decoded)
    return _unfold(cast("Form", decoded), nesting, format, unknown, depth)


def _unfold(form: Form, nesting: Nesting, format: Format, unknown: Unknown, depth: int) -> StreamElement:
    """Return the element that a form stands for."""
    if depth >= MAX_NESTING:
        raise DecodeError(f"elements nested deeper than {MAX_NESTING} levels")
    inner = {
        field: tuple(_decode_pieces(getattr(form, field), f"$.{name}", format, unknown, depth + 1))
        for field, name in zip(nesting.fields, nesting.names, strict=True)
    }
    try:
        return nesting.unfold(form, inner)
    except (ValueError, TypeError) as bad:
        raise DecodeError(str(bad)) from bad


def _decode_pieces(
    pieces: Iterable[msgspec.Raw], where: str, format: Format, unknown: Unknown, depth: int
) -> list[StreamElement]:
    """Decode the elements of an array; `where` is its path."""
    found: list[StreamElement] = []
    for place, piece in enumerate(pieces):
        try:
            element = _decode_piece(bytes(piece), format, unknown, depth)
        except DecodeError as bad:
            raise DecodeError(bad.message, f"{where}[{place}]{bad.path[1:]}") from bad.__cause__
        if element is not None:
            found.append(element)
    return found


def _decode_piece(data: bytes, format: Format, unknown: Unknown, depth: int) -> StreamElement | None:
    """Decode an element of an array, in the way of `decode`."""
    try:
        if JSON_HEAD <= data < _BEHIND_JSON_HEAD:
            return quick_readers[format](data)
    except (KeyError, msgspec.ValidationError):
        pass
    except _MALFORMED as bad:
        _fail(bad)
    return _decode(data, format, unknown, depth)


def _check_version(version: int) -> None:
    if version > VERSION:
        raise DecodeError(f"version {version} of the encoding is newer than {VERSION}; update streamflow", "$.v")
    if version < 1:
        raise DecodeError(f"{version} is no version of the encoding", "$.v")


def _tag_of(codec: FormatCodec, data: bytes) -> str:
    try:
        return cast("str", codec.head.decode(data).type)
    except _MALFORMED:
        return ""  # a wrong field may come before a malformed rest


def _opaque(tag: str, data: bytes, format: Format) -> OpaqueElement:
    try:
        header: Header = _codec_of(format).header.decode(data)
    except (msgspec.DecodeError, RecursionError) as bad:
        _fail(bad)
    return OpaqueElement(
        tag,
        data,
        format,
        id=header.id,
        metadata=header.metadata,
        priority=header.priority,
        interruptible=header.interruptible,
        timestamp_s=header.timestamp_s,
    )


def _encode_opaque(element: OpaqueElement, format: Format) -> bytes:
    if element.format == format:
        return element.data
    try:
        value = _codec_of(element.format).plain.decode(element.data)
        if format == "json":
            _check_finite(value, element.tag)
        return _codec_of(format).encode(value)
    except (ValueError, TypeError, OverflowError, RecursionError) as bad:
        raise ElementError(f"the opaque {element.tag!r} element cannot be encoded as {format}: {bad}") from bad


def _check_finite(value: object, path: str) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ElementError(f"{path} is {value}, which JSON does not have; use None, or format='msgpack'")
    elif isinstance(value, dict):
        for key, item in cast("dict[object, object]", value).items():
            _check_finite(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for place, item in enumerate(cast("Sequence[object]", value)):
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

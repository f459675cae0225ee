"""The two formats: their encoders, and decoders that follow the registry.

Above: `_codec`. Below: `_registry`, `_nesting` and `msgspec`.
Rules: both formats carry the same object. The version is put in front of what msgspec made, which is cheaper than a
field of every element.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from ..errors import DecodeError, ElementError
from ._base import Priority, StreamElement
from ._metadata import EMPTY_METADATA, Metadata, freeze, items_of
from ._nesting import borrows, nesting_of
from ._registry import forget_quick_readers, quick_readers, quick_text_readers, registered_elements

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._types import Format


class Head(msgspec.Struct, frozen=True):
    """What decides how an element is read."""

    v: int = 1
    type: str = ""


class Header(msgspec.Struct, frozen=True):
    """What is read of an element whose type is unknown."""

    id: str = ""
    metadata: Metadata = EMPTY_METADATA
    priority: Priority = Priority.NORMAL
    interruptible: bool = True
    timestamp_s: float | None = None


def to_wire(value: object) -> object:
    if isinstance(value, Metadata):
        return items_of(value)
    raise TypeError(f"{type(value).__name__} is neither JSON nor a type that msgspec knows")


def _from_wire(kind: type[object], value: object) -> object:
    if kind is not Metadata:
        raise TypeError(f"{kind.__name__} is a field type that cannot be decoded")
    frozen = freeze(value)
    if not isinstance(frozen, Metadata):
        raise DecodeError(f"Expected `object`, got `{type(value).__name__}`")
    return frozen


JSON_HEAD: Final = b'{"v":1,'
"""How an encoded element begins in JSON."""

_MSGPACK_HEADS: Final = tuple(bytes((head + 1,)) + b"\xa1v\x01" for head in range(0x8F))


def _json_with_version(body: bytes) -> bytes:
    return body.replace(b"{", JSON_HEAD, 1)


def _msgpack_with_version(body: bytes) -> bytes:
    # The head of a map is 0x80 + size up to 15 entries, then 0xde and two bytes of size.
    if body[0] < 0x8F:
        return _MSGPACK_HEADS[body[0]] + body[1:]
    size, rest = (15, body[1:]) if body[0] == 0x8F else (int.from_bytes(body[1:3], "big"), body[3:])
    return b"\xde" + (size + 1).to_bytes(2, "big") + b"\xa1v\x01" + rest


def _msgpack_list(items: list[bytes]) -> bytes:
    return b"\xdd" + len(items).to_bytes(4, "big") + b"".join(items)


def _json_list(items: list[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


_Decoder: TypeAlias = msgspec.json.Decoder[Any] | msgspec.msgpack.Decoder[Any]


class FormatCodec:
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
        self.head = make_decoder(Head)
        self.header = make_decoder(Header)
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
            if self is CODECS["json"]:
                flat = {tag: cls for tag, cls in known.items() if nesting_of(cls) is None and not borrows(cls)}
                quick_readers["json"] = self._decoder_of([*flat.values()]).decode
                quick_text_readers["json"] = self._make_decoder(flat["text"]).decode
                if registered_elements() is not known:  # a registration in another thread has come in between
                    forget_quick_readers()
        return made[1]

    def _union_of(self, known: tuple[type[StreamElement], ...]) -> _Decoder:
        forms: list[Any] = []
        for cls in known:
            try:
                nesting = nesting_of(cls)
                forms.append(cls if nesting is None else nesting.form)
                self._make_decoder(forms[-1])
            except (NameError, TypeError, ValueError) as bad:
                raise ElementError(
                    f"{cls.__module__}.{cls.__qualname__} cannot be decoded: {bad}; its field types must be ones that "
                    "msgspec knows, imported where the class is defined"
                ) from bad
        return self._decoder_of(forms)

    def _decoder_of(self, kinds: list[Any]) -> _Decoder:
        union: Any = kinds[0]
        for kind in kinds[1:]:
            union |= kind
        return self._make_decoder(union)


CODECS: Final[dict[Format, FormatCodec]] = {
    "json": FormatCodec(
        encoder=msgspec.json.Encoder(enc_hook=to_wire),
        make_decoder=lambda kind: msgspec.json.Decoder(kind, dec_hook=_from_wire),
        prefix=b'{"v":1,"type":',
        prefix_at=0,
        with_version=_json_with_version,
        join=_json_list,
    ),
    "msgpack": FormatCodec(
        encoder=msgspec.msgpack.Encoder(enc_hook=to_wire),
        make_decoder=lambda kind: msgspec.msgpack.Decoder(kind, dec_hook=_from_wire),
        prefix=b"\xa1v\x01\xa4type",
        prefix_at=1,  # behind the head of the map, which holds its size
        with_version=_msgpack_with_version,
        join=_msgpack_list,
    ),
}

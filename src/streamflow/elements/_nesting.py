"""Elements that hold elements: how their fields look on the wire.

Above: `_formats` and `_codec`. Below: `_base` and `msgspec`.
Rules: a field whose type is `tuple[StreamElement, ...]` holds elements of any registered type. On the wire each of them is what
`encode` makes of it alone, so whatever holds for an element holds inside another one: its version, its type, the way unknown ones
are kept byte for byte. msgspec knows no union that grows, so it sees another struct in the place of such a type, its form, which
has undecoded pieces where the elements are.
"""

from __future__ import annotations

from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, Union, cast, get_args, get_origin

import msgspec

from ._base import Priority, StreamElement
from ._metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_NESTING: Final = 16
"""How deep elements may stand inside each other. Each level is scanned once more by all around it, so it costs the reader time."""

_HOLDS_ELEMENTS: Final = tuple[StreamElement, ...]


class Form(msgspec.Struct):
    """Base of the structs that stand for element types with elements inside."""


class Nesting(NamedTuple):
    """An element type with elements inside."""

    cls: type[StreamElement]
    """The type."""
    form: type[Form]
    """What msgspec encodes and decodes in its place."""
    fields: tuple[str, ...]
    """The fields that hold elements."""
    names: tuple[str, ...]
    """What these are called on the wire."""

    def fold(self, element: StreamElement, pieces: Mapping[str, tuple[msgspec.Raw, ...]]) -> Form:
        """Return the form of an element, given its encoded inner elements by field."""
        values: dict[str, Any] = {**_values(element), **pieces}
        return self.form(**values)

    def unfold(self, form: Form, elements: Mapping[str, tuple[StreamElement, ...]]) -> StreamElement:
        """Return the element of a form, given its inner elements by field.

        Raises:
            ValueError: If the type refuses them.
            TypeError: The same.
        """
        values: dict[str, Any] = {**_values(form), **elements}
        return self.cls(**values)


FORMS: Final[dict[type, Nesting]] = {}
"""The types behind the forms that were made so far."""

PLAIN: Final[set[type[object]]] = set()
"""The types, among those that were asked for, whose fields hold text, bytes, whole numbers and words alone.

Besides them there are metadata and the media time, so an element of such a type in which both are not given has nothing that JSON
could not carry. A type that is replaced leaves the set.
"""

_by_class: Final[dict[type, Nesting | None]] = {}

_SIMPLE: Final[frozenset[object]] = frozenset({str, int, bool, bytes, type(None), ..., Metadata, Priority})
_MADE_OF_OTHERS: Final[frozenset[object]] = frozenset({tuple, Union, UnionType})


def nesting_of(cls: type[StreamElement]) -> Nesting | None:
    """Return what is to be known of a type with elements inside, None for a type without.

    Raises:
        NameError: If the type of a field does not exist.
    """
    try:
        return _by_class[cls]
    except KeyError:
        nesting = _by_class[cls] = _nesting_from(cls)
        if nesting is not None:
            FORMS[nesting.form] = nesting
        elif all(_is_plain(field.type) for field in msgspec.structs.fields(cls) if field.name != "timestamp_s"):
            PLAIN.add(cls)
        return nesting


def _values(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _is_plain(kind: object) -> bool:
    origin = get_origin(kind)
    if origin in _MADE_OF_OTHERS:
        return all(map(_is_plain, get_args(kind)))
    return origin is Literal or kind in _SIMPLE


def borrows(cls: type[StreamElement]) -> bool:
    """Return whether something in an element may be a part of the input that it was decoded from, instead of a copy."""
    found: set[object] = set()
    left: list[object] = [cls]
    while left:
        kind = left.pop()
        origin = get_origin(kind)
        if origin is not None:
            left += () if origin is Literal else get_args(kind)[: 1 if origin is Annotated else None]
        elif kind not in found:
            found.add(kind)
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                left += [field.type for field in msgspec.structs.fields(kind)]
    return msgspec.Raw in found or memoryview in found


def _nesting_from(cls: type[StreamElement]) -> Nesting | None:
    fields = msgspec.structs.fields(cls)
    inner = {field.name: field.encode_name for field in fields if field.type == _HOLDS_ELEMENTS}
    if not inner:
        return None
    config = cls.__struct_config__
    field_like: Any = msgspec.field  # its overloads take a default or a factory, and here it is whatever the type has
    form = msgspec.defstruct(
        cls.__name__,
        [
            (
                field.name,
                tuple[msgspec.Raw, ...] if field.name in inner else field.type,
                field_like(default=field.default, default_factory=field.default_factory, name=field.encode_name),
            )
            for field in fields
        ],
        bases=(Form,),
        module=cls.__module__,
        kw_only=True,
        omit_defaults=config.omit_defaults,
        tag_field=config.tag_field,
        tag=config.tag,
    )
    return Nesting(cls, cast("type[Form]", form), tuple(inner), tuple(inner.values()))

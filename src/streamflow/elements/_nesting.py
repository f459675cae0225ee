"""Elements that hold elements: how their fields look on the wire.

Above: `_formats` and `_codec`. Below: `_base` and `msgspec`.
Rules: a field whose type is `tuple[StreamElement, ...]` holds elements of any registered type. On the wire each of them is what
`encode` makes of it alone, so whatever holds for an element holds inside another one: its version, its type, the way unknown ones
are kept byte for byte. msgspec knows no union that grows, so it sees another struct in the place of such a type, its form, which
has undecoded pieces where the elements are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import msgspec

from ._base import StreamElement

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

_by_class: Final[dict[type, Nesting | None]] = {}


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
        return nesting


def _values(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


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

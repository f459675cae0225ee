"""Which element types can be decoded, by their tag.

Above: `_formats`, `_codec`. Below: `_types`, `_nesting`.
Rules: a tag belongs to one class. Registering is rare and usually happens at import; decoders are made at the first use
after it.
"""

from __future__ import annotations

import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import ElementError
from ._base import ControlElement, StreamElement, WholeElement
from ._nesting import PLAIN
from ._types import (
    AudioElement,
    BatchElement,
    DataElement,
    DeadLetterElement,
    EndOfStream,
    ErrorElement,
    ImageElement,
    Interrupt,
    MessageElement,
    OpaqueElement,
    TextElement,
    ThinkingElement,
    ToolCallDelta,
    ToolCallElement,
    ToolResultElement,
    TurnEnd,
    TurnReset,
    TurnStart,
    UsageElement,
    VideoElement,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ElementT = TypeVar("ElementT", bound=StreamElement)

_NOT_FOR_THE_WIRE: Final = (StreamElement, ControlElement, WholeElement, OpaqueElement)
_RESERVED_FIELDS: Final = frozenset({"type", "v"})  # the tag and the version of the encoding

# Replaced whole and never changed in place, so a reader in another thread sees the old or the new state.
_by_tag: Mapping[str, type[StreamElement]] = MappingProxyType({})
_known: frozenset[type[StreamElement]] = frozenset()
_lock = threading.Lock()

quick_readers: Final[dict[str, Callable[[Any], StreamElement]]] = {}
"""What decodes, by format, the types that hold no elements and borrow nothing; made at the first use after a registration."""

quick_text_readers: Final[dict[str, Callable[[Any], StreamElement]]] = {}
"""The same of text alone, most of what flows: one type is read in one pass, of several the tag is looked for first."""


def register_element(cls: type[ElementT]) -> type[ElementT]:
    """Make an element type known to `encode` and `decode`; also a class decorator.

    The tag is what the class says with `tag=`, or its name in snake case without `Element`. Defining the same class
    again, in a notebook or by a reload, replaces it.

    Raises:
        ElementError: If `cls` is no element type, or if its tag belongs to another type.
    """
    global _by_tag, _known  # noqa: PLW0603 - the one registry of this process
    _check_type(cls)
    tag = str(cls.__struct_config__.tag)
    with _lock:
        holder = _by_tag.get(tag)
        if holder is not None and (holder.__module__, holder.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ElementError(
                f"the tag {tag!r} of {cls.__qualname__} belongs to {holder.__module__}.{holder.__qualname__}; "
                f"give the class its own: class {cls.__name__}(…, tag='…')"
            )
        _by_tag = MappingProxyType({**_by_tag, tag: cls})
        _known = frozenset(_by_tag.values())
        forget_quick_readers()
        if holder is not None:
            PLAIN.discard(holder)
    return cls


def forget_quick_readers() -> None:
    """Have the quick readers made anew."""
    quick_readers.clear()
    quick_text_readers.clear()


def registered_elements() -> Mapping[str, type[StreamElement]]:
    """Return all element types that can be decoded, by tag. Another registration makes another mapping."""
    return _by_tag


def is_registered(cls: type[StreamElement]) -> bool:
    """Return whether `cls` itself, and not just a base of it, can be decoded."""
    return cls in _known


def _check_type(cls: object) -> None:
    if not (isinstance(cls, type) and issubclass(cls, StreamElement)):
        shown = cls.__qualname__ if isinstance(cls, type) else repr(cls)
        raise ElementError(f"{shown} is no element type; derive it from StreamElement")
    if cls in _NOT_FOR_THE_WIRE:
        raise ElementError(f"{cls.__qualname__} is a base, or never on the wire; register a type derived from it")
    config = cls.__struct_config__
    if not config.frozen:
        raise ElementError(f"{cls.__qualname__} is not frozen; branches would change each other's elements")
    if config.array_like or config.tag_field != "type" or not isinstance(config.tag, str):
        raise ElementError(f"{cls.__qualname__} must be encoded as an object with a text in 'type'")
    for name in cls.__struct_encode_fields__:
        if name in _RESERVED_FIELDS:
            raise ElementError(f"{cls.__qualname__}: the field name {name!r} belongs to the encoding; rename it")


for _cls in (
    TextElement,
    ThinkingElement,
    AudioElement,
    ImageElement,
    VideoElement,
    MessageElement,
    ToolCallDelta,
    ToolCallElement,
    ToolResultElement,
    DataElement,
    BatchElement,
    DeadLetterElement,
    UsageElement,
    TurnStart,
    TurnEnd,
    TurnReset,
    Interrupt,
    ErrorElement,
    EndOfStream,
):
    register_element(_cls)

"""What every element has: the header, its defaults, and the two marker bases.

Above: `_types`, and the elements of users. Below: `_metadata`.
Rules: an element is frozen and carries only what its maker gave; the runtime writes nothing into it. The types that
flow by the thousand have no `__post_init__`, and are not tracked by the garbage collector (`gc=False`): their fields
hold text, bytes, numbers and frozen metadata, so they cannot be part of a cycle.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, Self, cast

import msgspec

from ..errors import DecodeError, ElementError
from ._metadata import EMPTY_METADATA, JsonValue, Metadata, freeze
from ._show import show

if TYPE_CHECKING:
    from collections.abc import Sequence


class Priority(enum.IntEnum):
    """How urgent an element is, where an edge has priority lanes. Elsewhere it changes nothing."""

    LOW = 0
    """Work that can wait: summaries, statistics."""
    NORMAL = 1
    """Text, messages, tools, images."""
    HIGH = 2
    """Media that is played as it comes: audio and video."""
    CRITICAL = 3
    """Control elements."""


def _tag_of(class_name: str) -> str:
    """Return the wire tag of a class that names none: `ToolCallElement` is `tool_call`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", class_name.removesuffix("Element")).lower()


class StreamElement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag=_tag_of):
    """Base of everything that flows: a frozen, typed value with a small header.

    The payload is given by position, the header by keyword. Equality is over all fields; an element is hashable when
    its payload is. Your own type is a frozen subclass; `register_element` makes it known to `decode`:

    ```python
    @register_element
    class SlideElement(StreamElement, frozen=True, tag="acme.slide"):
        number: int
    ```

    A subclass of a type with `gc=False` inherits that; give `gc=True` if its fields can hold a cycle.
    """

    id: str = ""
    """Shared by all fragments of one whole and by that whole; empty where it does not matter."""
    metadata: Metadata = EMPTY_METADATA
    """What travels with the element, read-only. Give `Metadata({...})`, or use `with_metadata()`."""
    priority: Priority = Priority.NORMAL
    """How urgent, on edges with priority lanes."""
    interruptible: bool = True
    """Whether an interruption (barge-in) may drop it."""
    timestamp_s: float | None = None
    """Media time in seconds, set by who makes the media; never a clock read by the runtime."""

    __repr__ = show

    if TYPE_CHECKING:

        def replace(self, **changes: object) -> Self:
            """Return a copy with the named fields changed; what the type checks is checked again.

            Raises:
                TypeError: If the type has no such field.
                ElementError: If the type refuses the new values.
            """
            ...
    else:
        # The method that `copy.replace` calls: without a function of ours around it, it costs a quarter.
        replace = msgspec.Struct.__replace__

    def with_metadata(self, **values: JsonValue) -> Self:
        """Return a copy whose metadata has `values` laid over it, key by key.

        Raises:
            ElementError: If a value is not JSON; the text names the key path.
        """
        return msgspec.structs.replace(self, metadata=checked_metadata(self, self.metadata).merged(values))


class WholeElement(StreamElement, frozen=True):
    """Marker base of wholes: sent once per producer, equal to their fragments, and kept by an interruption."""


class ControlElement(StreamElement, frozen=True, kw_only=True):
    """Marker base of control: keeps its place among the data, is never dropped, and is copied to every branch.

    Only stages that name a control type in what they accept receive it; others pass it on.
    """

    priority: Priority = Priority.CRITICAL
    """How urgent, on edges with priority lanes."""


def checked_metadata(owner: msgspec.Struct, given: object) -> Metadata:
    """Return the metadata of an element or a message.

    Raises:
        ElementError: If a plain dict was given, which the constructor of an element does not look at, to stay cheap.
    """
    if type(given) is Metadata:
        return given
    raise ElementError(f"{type(owner).__name__}.metadata is a {type(given).__name__}; give Metadata({{...}})")


def freeze_field(struct: msgspec.Struct, name: str) -> None:
    """Replace a JSON field of a struct under construction by its read-only form.

    Raises:
        ElementError: If it is not JSON; the text names the key path.
    """
    given = getattr(struct, name)
    try:
        frozen = freeze(given, f"$.{name}")
    except DecodeError as bad:
        raise ElementError(f"{type(struct).__name__}{bad.path[1:]}: {bad.message}") from bad
    if frozen is not given:
        msgspec.structs.force_setattr(struct, name, frozen)


def freeze_items(struct: msgspec.Struct, items: object) -> None:
    """Replace the items of a struct under construction by a tuple.

    Raises:
        ElementError: If they are no list or tuple of elements; the text names the place.
    """
    owner = type(struct).__name__
    if not isinstance(items, list | tuple):
        raise ElementError(f"{owner}.items is a {type(items).__name__}; give a list of elements")
    frozen = tuple(cast("Sequence[object]", items))
    for place, item in enumerate(frozen):
        if not isinstance(item, StreamElement):
            raise ElementError(
                f"{owner}.items[{place}] is a {type(item).__name__}, which is no element; wrap it in one"
            )
    if frozen is not items:
        msgspec.structs.force_setattr(struct, "items", frozen)


def require_one_source(struct: msgspec.Struct, data: bytes | None, url: str | None) -> None:
    """Check that media has its bytes or its address, and not both.

    Raises:
        ElementError: If it has both, or neither.
    """
    if (data is None) == (url is None):
        given = "neither" if data is None else "both"
        raise ElementError(f"{type(struct).__name__}: give either data or url, got {given}")

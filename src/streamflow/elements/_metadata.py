"""JSON values that cannot change: `Metadata`, and the freezing of what makers give.

Above: every element and message part. Below: `errors`.
Rules: a frozen value is made of None, bool, int, float, str, tuple and `Metadata` only, so it can be shared by every
branch of a graph, hashed, pickled and encoded in both formats. What cannot be encoded is refused here, with its path,
and not later in a transport: numbers that are not finite, integers beyond 64 bits, keys that are no text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, cast, final

from ..errors import DecodeError, ElementError

if TYPE_CHECKING:
    JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
    """A value that JSON can hold, read-only: numbers are finite, integers fit 64 bits, keys are text."""
else:
    # msgspec looks field types up at run time and has no recursive ones; what it lets through, `freeze` checks.
    JsonValue = Any

MAX_DEPTH = 100
"""Deepest nesting of a frozen value. A cycle ends here too, far below the interpreter's recursion limit."""

_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1  # what MessagePack can hold


@final
class Metadata(Mapping[str, JsonValue]):
    """A read-only mapping of JSON values; what is given is copied into read-only forms, all the way down.

    Dicts become `Metadata`, lists become tuples. It is hashable and picklable, keeps its order, and equals every
    mapping with the same content, plain dicts included. `Metadata()` is always the one `EMPTY_METADATA`.

    ```python
    tagged = TextElement("hi", metadata=Metadata({"lang": "en"}))
    ```

    Raises:
        ElementError: If a value is not JSON; the text names the key path.
    """

    __slots__ = ("_hash", "_items")
    _items: dict[str, JsonValue]
    _hash: int | None

    def __new__(cls, values: Mapping[str, JsonValue] | None = None, /) -> Metadata:
        if values is None:
            return EMPTY_METADATA
        if type(values) is Metadata:
            return values
        try:
            frozen = freeze(values)
        except DecodeError as bad:
            raise ElementError(f"metadata{bad.path[1:]}: {bad.message}") from bad
        if type(frozen) is not Metadata:
            raise ElementError(f"metadata: expected a mapping, got {type(values).__name__}")
        return frozen

    def __getitem__(self, key: str) -> JsonValue:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __eq__(self, other: object) -> bool:
        if type(other) is Metadata:
            return self is other or self._items == other._items
        if not isinstance(other, Mapping):
            return NotImplemented
        try:
            return self == freeze(cast("object", other))  # lists in `other` equal the tuples they would become
        except DecodeError:
            return False

    def __hash__(self) -> int:
        if self._hash is None:
            object.__setattr__(self, "_hash", hash(frozenset(self._items.items())))
        return self._hash or 0

    def __or__(self, other: Mapping[str, JsonValue]) -> Metadata:
        return self.merged(other)

    def __repr__(self) -> str:
        return f"Metadata({self.to_dict()!r})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Metadata is read-only; make a new one with merged({{{name!r}: …}})")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("Metadata is read-only")

    def __reduce__(self) -> tuple[type[Metadata], tuple[dict[str, JsonValue]]]:
        return Metadata, (self.to_dict(),)

    def __copy__(self) -> Metadata:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Metadata:
        return self

    def merged(self, values: Mapping[str, JsonValue]) -> Metadata:
        """Return a new mapping with `values` laid over this one, key by key; nested mappings are replaced whole.

        Raises:
            ElementError: If a value is not JSON; the text names the key path.
        """
        added = Metadata(values)
        return _wrap({**self._items, **added._items}) if added else self

    def to_dict(self) -> dict[str, JsonValue]:
        """Return a plain copy made of dicts and lists, yours to change."""
        return {key: thaw(value) for key, value in self._items.items()}


def _wrap(items: dict[str, JsonValue]) -> Metadata:
    """Return the mapping over `items`, which are frozen already."""
    if not items:
        return EMPTY_METADATA
    made = object.__new__(Metadata)
    object.__setattr__(made, "_items", items)
    object.__setattr__(made, "_hash", None)
    return made


EMPTY_METADATA: Metadata = object.__new__(Metadata)
"""The one empty `Metadata`: the default of every element, and what `Metadata()` returns."""
object.__setattr__(EMPTY_METADATA, "_items", {})
object.__setattr__(EMPTY_METADATA, "_hash", None)


def freeze(value: object, root: str = "$") -> JsonValue:
    """Return the read-only form of a JSON value: mappings as `Metadata`, lists and tuples as tuples.

    Args:
        value: What the maker gave.
        root: What the path in an error begins with.

    Raises:
        DecodeError: If something in it is not JSON; `path` says where.
    """
    return _freeze(value, root, ())


def thaw(value: JsonValue) -> JsonValue:
    """Return a plain copy of a frozen value, made of dicts and lists, for `json.dumps` and for tools."""
    if isinstance(value, Metadata):
        return value.to_dict()
    if isinstance(value, tuple):
        return [thaw(item) for item in value]
    return value


def _freeze(value: object, root: str, keys: tuple[str | int, ...]) -> JsonValue:
    if value is None or isinstance(value, bool | Metadata):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # the text itself, also of an enum member
    if isinstance(value, int | float):
        return _checked_number(value, root, keys)
    if len(keys) >= MAX_DEPTH:
        _refuse(f"nested deeper than {MAX_DEPTH} levels, or a cycle", root, keys[:3])
    if isinstance(value, Mapping):
        given = cast("Mapping[object, object]", value)
        named = ((_checked_key(key, root, keys), item) for key, item in given.items())
        return _wrap({key: _freeze(item, root, (*keys, key)) for key, item in named})
    if isinstance(value, list | tuple):
        listed = cast("Sequence[object]", value)
        return tuple(_freeze(item, root, (*keys, place)) for place, item in enumerate(listed))
    return _refuse(f"{type(value).__name__} is no JSON value; give text, numbers, lists, dicts or None", root, keys)


def _checked_number(value: float, root: str, keys: tuple[str | int, ...]) -> float:
    if isinstance(value, int):
        if not _MIN_INT <= value <= _MAX_INT:
            _refuse("an integer beyond 64 bits; give it as text", root, keys)
        return int(value)
    if not math.isfinite(value):
        _refuse(f"{value} is no JSON number; use None or text", root, keys)
    return float(value)


def _checked_key(key: object, root: str, keys: tuple[str | int, ...]) -> str:
    if not isinstance(key, str):
        _refuse(f"the key {key!r} is no text", root, keys)
    return str.__str__(key)


def _refuse(message: str, root: str, keys: tuple[str | int, ...]) -> NoReturn:
    path = "".join(
        f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{json.dumps(key, ensure_ascii=False)}]"
        for key in keys
    )
    raise DecodeError(message, root + path)

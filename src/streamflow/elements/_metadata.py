"""JSON values that cannot change: `Metadata`, and the freezing of what makers give.

Above: every element and message part. Below: `errors`.
Rules: a frozen value is made of None, bool, int, float, str, tuple and `Metadata` only, so it can be shared by every
branch of a graph, hashed, pickled and encoded in both formats. What cannot be encoded is refused here, with its path,
and not later in a transport: numbers that are not finite, integers beyond 64 bits, keys that are no text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, cast, final

from ..errors import DecodeError, ElementError

if TYPE_CHECKING:
    from collections.abc import Callable

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
            _set_hash(self, hash(frozenset(self._items.items())))
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


items_of: Final[Callable[[Metadata], dict[str, JsonValue]]] = vars(Metadata)["_items"].__get__
"""Return what a mapping is made of, to be read and not changed: for those who read it by the thousand."""

# How the two slots are filled, since the class forbids it in the plain way.
_set_items: Final[Callable[[Metadata, dict[str, JsonValue]], None]] = vars(Metadata)["_items"].__set__
_set_hash: Final[Callable[[Metadata, int | None], None]] = vars(Metadata)["_hash"].__set__


def _made_of(items: dict[str, JsonValue]) -> Metadata:
    made = object.__new__(Metadata)
    _set_items(made, items)
    _set_hash(made, None)
    return made


EMPTY_METADATA: Metadata = _made_of({})
"""The one empty `Metadata`: the default of every element, and what `Metadata()` returns."""


def _wrap(items: dict[str, JsonValue]) -> Metadata:
    """Return the mapping over `items`, which are frozen already."""
    return _made_of(items) if items else EMPTY_METADATA


def freeze(value: object, root: str = "$") -> JsonValue:
    """Return the read-only form of a JSON value: mappings as `Metadata`, lists and tuples as tuples.

    Args:
        value: What the maker gave.
        root: What the path in an error begins with.

    Raises:
        DecodeError: If something in it is not JSON; `path` says where.
    """
    try:
        return _frozen(value, 0)
    except _NotJsonError as bad:
        raise DecodeError(bad.message, root + "".join(map(_step, bad.keys[: -bad.shown - 1 : -1]))) from None


def thaw(value: JsonValue) -> JsonValue:
    """Return a plain copy of a frozen value, made of dicts and lists, for `json.dumps` and for tools."""
    if isinstance(value, Metadata):
        return value.to_dict()
    if isinstance(value, tuple):
        return [thaw(item) for item in value]
    return value


class _NotJsonError(Exception):
    """What is no JSON, and where. The keys are noted on the way out, so that a value which is JSON pays nothing for them."""

    def __init__(self, message: str, shown: int = MAX_DEPTH) -> None:
        super().__init__(message)
        self.message = message
        self.shown = shown
        """How many keys the path has at most, the outermost first."""
        self.keys: list[str | int] = []
        """The way to the place, the innermost key first."""


_AS_THEY_ARE: Final = frozenset({str, bool, type(None), Metadata})


def _frozen(value: object, depth: int) -> JsonValue:
    """Return the read-only form of a value that stands `depth` levels deep."""
    if type(value) in _AS_THEY_ARE:
        return cast("JsonValue", value)
    if isinstance(value, (int, float)):
        return _checked_number(value)
    if isinstance(value, str):
        return str.__str__(value)  # the text itself of an enum member
    if depth >= MAX_DEPTH:
        raise _NotJsonError(f"nested deeper than {MAX_DEPTH} levels, or a cycle", shown=3)
    if isinstance(value, (dict, Mapping)):
        return _frozen_mapping(cast("Mapping[object, object]", value), depth + 1)
    if isinstance(value, (list, tuple)):
        return _frozen_items(cast("Sequence[object]", value), depth + 1)
    raise _NotJsonError(f"{type(value).__name__} is no JSON value; give text, numbers, lists, dicts or None")


def _frozen_mapping(given: Mapping[object, object], depth: int) -> Metadata:
    made: dict[str, JsonValue] = {}
    for key, item in given.items():
        if not isinstance(key, str):
            raise _NotJsonError(f"the key {key!r} is no text")
        try:
            made[str.__str__(key)] = _frozen(item, depth)
        except _NotJsonError as bad:
            bad.keys.append(key)
            raise
    return _wrap(made)


def _frozen_items(given: Sequence[object], depth: int) -> tuple[JsonValue, ...]:
    made: list[JsonValue] = []
    try:
        for item in given:
            made.append(_frozen(item, depth))  # noqa: PERF401 - how many are made says which one failed
    except _NotJsonError as bad:
        bad.keys.append(len(made))
        raise
    return tuple(made)


def _checked_number(value: float) -> float:
    if isinstance(value, int):
        if not _MIN_INT <= value <= _MAX_INT:
            raise _NotJsonError("an integer beyond 64 bits; give it as text")
        return int(value)
    if not math.isfinite(value):
        raise _NotJsonError(f"{value} is no JSON number; use None or text")
    return float(value)


def _step(key: str | int) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f".{key}"
    import json  # noqa: PLC0415 - only for a message

    return f"[{json.dumps(key, ensure_ascii=False)}]"

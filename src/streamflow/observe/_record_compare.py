"""Comparing what was recorded with what has come now: where the first difference is, and what does not count as one. Pure.

Above: `runtime` (replay). Below: `msgspec`.

Rules, by name: what may be ignored.

- `ids`: what ids are called. They are numbered as they appear, so that what belongs together still must.
- `times`: media times and durations.
- `usage`: numbers of tokens, prices, names of models.
- `metadata`: what travels with elements.
- `signatures`: proofs of thoughts.
- `messages`: the texts of errors; their codes count.
- `order`: which element comes first; each must still come as often.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

import msgspec

from ..elements import encode
from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..elements import StreamElement

__all__ = ["DEFAULT_IGNORED", "RULES", "Difference", "Ignored", "checked_rules", "first_difference"]

Ignored: TypeAlias = Literal["ids", "times", "usage", "metadata", "signatures", "messages", "order"]
"""Something that may differ when a recording is played again."""

RULES: Final[tuple[Ignored, ...]] = ("ids", "times", "usage", "metadata", "signatures", "messages", "order")
"""All that may be ignored."""

DEFAULT_IGNORED: Final[tuple[Ignored, ...]] = ("ids", "times")
"""What is ignored unless you say otherwise."""

_FIELDS: Final[dict[str, frozenset[str]]] = {
    "times": frozenset({"timestamp_s", "duration_s"}),
    "usage": frozenset({"usage"}),
    "metadata": frozenset({"metadata"}),
    "signatures": frozenset({"signature", "encrypted"}),
}
_IDS: Final = frozenset({"id", "call_id", "pending"})
_CONTEXT: Final = 3
_SHOWN: Final = 500

_Value: TypeAlias = "dict[str, _Value] | list[_Value] | str | int | float | bytes | None"
_Element: TypeAlias = dict[str, _Value]

_decode: Callable[[bytes], _Element] = msgspec.msgpack.decode


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """Where a replay first differs from its recording."""

    point: str
    """Where: an edge, `output`, or `end`."""
    index: int
    """Number of the element there, from 0."""
    path: str
    """What of it differs, as in `$.text`; `$` for all of it."""
    expected: str | None
    """What the recording has, as JSON; None: nothing more."""
    got: str | None
    """What has come, as JSON; None: nothing more."""
    before: tuple[str, ...] = ()
    """What came just before it, and was the same."""

    def __str__(self) -> str:
        told = [f"first difference at {self.point}, element #{self.index}, {self.path}"]
        told += [f"      same: {one}" for one in self.before]
        told += [f"  expected: {self.expected or 'nothing more'}", f"       got: {self.got or 'nothing more'}"]
        return "\n".join(told)


def checked_rules(given: object) -> frozenset[str]:
    """Return the names of what is to be ignored.

    Raises:
        ConfigError: If one is none.
    """
    names = cast("Iterable[object]", (given,) if isinstance(given, str) or not hasattr(given, "__iter__") else given)
    found = tuple(names)
    wrong = next((one for one in found if one not in RULES), None)
    if wrong is not None:
        raise ConfigError("ignore", f"there are {', '.join(map(repr, RULES))}, got {wrong!r:.80}")
    return frozenset(cast("tuple[str, ...]", found))


def first_difference(
    point: str,
    expected: Sequence[StreamElement | None],
    got: Sequence[StreamElement | None],
    *,
    ignore: frozenset[str] = frozenset(DEFAULT_IGNORED),
    coalesce: bool = False,
    is_cut: bool = False,
) -> Difference | None:
    """Return where two sequences first differ; None if they do not.

    Args:
        point: Where they were seen.
        expected: What the recording has; None stands for an element that is not in it, and equals everything.
        got: What has come.
        ignore: Names of what does not count.
        coalesce: Whether fragments of one text are compared as one, however it was cut.
        is_cut: Whether the recording has only the beginning.
    """
    wanted, came = _normal(expected, ignore, coalesce=coalesce), _normal(got, ignore, coalesce=coalesce)
    if "order" in ignore:
        wanted, came = _paired(wanted, came)
    for index in range(len(wanted) if is_cut else max(len(wanted), len(came))):
        ours = wanted[index] if index < len(wanted) else None
        theirs = came[index] if index < len(came) else None
        path: str | None = "$"
        if ours is not None and theirs is not None:
            may_go_on = coalesce and is_cut and index == len(wanted) - 1
            path = _path_of_element(ours, theirs, may_go_on=may_go_on)
        if path is not None:
            before = tuple(_shown(one) for one in came[max(0, index - _CONTEXT) : index])
            shown = [None if one is None else _shown(one) for one in (ours, theirs)]
            return Difference(point, index, path, shown[0], shown[1], before)
    return None


_MISSING: Final[_Element] = {"type": "(not in the recording)"}


def _normal(elements: Sequence[StreamElement | None], ignore: frozenset[str], *, coalesce: bool) -> list[_Element]:
    """Return elements as values in which nothing is left that does not count."""
    ignored = frozenset(name for rule in ignore for name in _FIELDS.get(rule, ()))
    strip = _Strip(ignored, ignore)
    found = [_MISSING if one is None else strip.element(_decode(encode(one, format="msgpack"))) for one in elements]
    return list(_joined(found)) if coalesce else found


class _Strip:
    """Takes out of elements what does not count."""

    def __init__(self, ignored: frozenset[str], rules: frozenset[str]) -> None:
        self._ignored = ignored
        self._rules = rules
        self._numbers: dict[str, str] = {}

    def element(self, fields: _Element) -> _Element:
        """Return what is left of an element, or of anything in it that has fields."""
        left = {name: one for name, one in fields.items() if name not in self._ignored}
        if "messages" in self._rules and left.get("type") == "error":
            left.pop("message", None)
        for name, one in left.items():
            is_id = "ids" in self._rules and name in _IDS
            left[name] = self._numbered(one) if is_id else self._value(one)
        return left

    def _value(self, value: _Value) -> _Value:
        if isinstance(value, dict):
            return self.element(value)
        return [self._value(one) for one in value] if isinstance(value, list) else value

    def _numbered(self, value: _Value) -> _Value:
        """Return ids under numbers, in the order in which they appear."""
        if isinstance(value, list):
            return [self._numbered(one) for one in value]
        if not isinstance(value, str):
            return value
        return "id" if "order" in self._rules else self._numbers.setdefault(value, f"id {len(self._numbers)}")


_TEXTS: Final = {"text": "text", "thinking": "text", "tool_call_delta": "args"}


def _joined(elements: Iterable[_Element]) -> Iterator[_Element]:
    """Yield elements with neighbouring fragments of one whole as one."""
    last: _Element | None = None
    for one in elements:
        field = _text_field(one)
        if last is not None and field is not None and _without(last, field) == _without(one, field):
            last = {**last, **one, field: str(last.get(field, "")) + str(one.get(field, ""))}
            continue
        if last is not None:
            yield last
        last = one
    if last is not None:
        yield last


def _text_field(element: _Element) -> str | None:
    return _TEXTS.get(str(element.get("type")))


def _without(element: _Element, field: str) -> _Element:
    return {name: one for name, one in element.items() if name not in {field, "signature"}}


def _paired(wanted: Iterable[_Element], came: Iterable[_Element]) -> tuple[list[_Element], list[_Element]]:
    """Return both in an order in which what is in both comes first, and what is not in the recording last."""
    pool: dict[bytes, list[_Element]] = {}
    for one in came:
        pool.setdefault(_key(one), []).append(one)
    same: list[_Element] = []
    lacking: list[_Element] = []
    for one in wanted:
        found = pool.get(_key(one))
        if found:
            same.append(found.pop())
        else:
            lacking.append(one)
    lacking.sort(key=lambda one: one is _MISSING)
    return same + lacking, same + [one for several in pool.values() for one in several]


def _key(element: _Element) -> bytes:
    return msgspec.msgpack.encode(element, order="sorted")


def _path_of_element(expected: _Element, got: _Element, *, may_go_on: bool) -> str | None:
    """Return what of two elements differs first; None if nothing does. A text that may go on need only begin alike."""
    if expected is _MISSING or got is _MISSING:
        return None
    field = _text_field(expected) if may_go_on else None
    if field is not None and str(got.get(field, "")).startswith(str(expected.get(field, ""))):
        expected, got = _without(expected, field), _without(got, field)
    return _path_of_fields(expected, got, "$")


def _path_of_fields(expected: _Element, got: _Element, path: str) -> str | None:
    for name in dict.fromkeys((*expected, *got)):
        where = f"{path}.{name}"
        if name not in expected or name not in got:
            return where
        inner = _path_of_value(expected[name], got[name], where)
        if inner is not None:
            return inner
    return None


def _path_of_value(expected: _Value, got: _Value, path: str) -> str | None:
    if isinstance(expected, dict) and isinstance(got, dict):
        return _path_of_fields(expected, got, path)
    if isinstance(expected, list) and isinstance(got, list):
        for place, (ours, theirs) in enumerate(zip(expected, got, strict=False)):
            inner = _path_of_value(ours, theirs, f"{path}[{place}]")
            if inner is not None:
                return inner
        return None if len(expected) == len(got) else f"{path}[{min(len(expected), len(got))}]"
    is_nan = isinstance(expected, float) and isinstance(got, float) and math.isnan(expected) and math.isnan(got)
    return None if is_nan or (type(expected) is type(got) and expected == got) else path


def _shown(element: _Element) -> str:
    text = msgspec.json.encode({name: one for name, one in element.items() if name != "v"}).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

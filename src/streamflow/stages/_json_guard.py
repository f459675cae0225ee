"""The guard that holds a text to a JSON schema.

Above: users. Below: `_guardrails`.
It knows the part of JSON Schema in which forms of answers are written; what it does not know it refuses when it is made, because a
rule that is passed over in silence guards nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from ..errors import ConfigError
from ._guardrails import GuardDecision, checked_action

if TYPE_CHECKING:
    from ._guardrails import GuardAction, GuardView

__all__ = ["JsonSchemaGuard"]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_TOLD = {"title", "description", "default", "examples", "$schema", "format"}
_KNOWN = _TOLD | {
    "type", "enum", "const", "properties", "required", "additionalProperties", "items", "minItems", "maxItems",
    "minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "anyOf", "allOf",
}  # fmt: skip
_MAX_DEPTH = 50


class JsonSchemaGuard:
    """A guard that lets only a JSON document of one form through. It has to see the whole text.

    Args:
        schema: JSON schema, of types, enumerations, properties, items, lengths, limits, patterns, `anyOf` and `allOf`.
        action: `deny` or `abort`.
        text: What is said instead.
        max_chars: Longest document; a longer one is not looked at, and does not pass.
        name: What it is called in decisions.

    Raises:
        ConfigError: If an argument is wrong, or the schema says what this guard does not know.
    """

    reach: int | None = None

    def __init__(
        self,
        schema: Mapping[str, object],
        *,
        action: GuardAction = "deny",
        text: str = "",
        max_chars: int = 1_000_000,
        name: str = "json_schema",
    ) -> None:
        if checked_action(action) == "replace":
            raise ConfigError(
                "action", "a document of a wrong form cannot be replaced in parts; give 'deny' or 'abort'"
            )
        _check_schema(schema, "schema")
        self._schema = schema
        self._action: GuardAction = action
        self._text = text
        self._max_chars = max_chars
        self.name: str = name

    def check(self, view: GuardView) -> GuardDecision | None:
        """Return a decision if the text is no such document; the reason names the place, and repeats no value."""
        fault = f"longer than {self._max_chars} characters" if len(view.text) > self._max_chars else self._fault(view)
        return None if fault is None else GuardDecision(self._action, fault, self._text)

    def _fault(self, view: GuardView) -> str | None:
        try:
            value: object = json.loads(view.text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return "not a JSON document"
        return _fault(value, self._schema, "$")


def _fault(value: object, schema: Mapping[str, object], path: str) -> str | None:
    """Return what is wrong with a value, and where; None: nothing."""
    if "type" in schema and not any(_is(value, kind) for kind in _listed(schema["type"])):
        return f"{path} is not of the type {' or '.join(map(str, _listed(schema['type'])))}"
    if "const" in schema and not _equal(value, schema["const"]):
        return f"{path} is not the one value that is allowed"
    if "enum" in schema and not any(_equal(value, one) for one in cast("Sequence[object]", schema["enum"])):
        return f"{path} is none of the values that are allowed"
    nested = cast("Mapping[str, Sequence[Mapping[str, object]]]", schema)
    for one in nested.get("allOf", ()):
        if (fault := _fault(value, one, path)) is not None:
            return fault
    if "anyOf" in schema and all(_fault(value, one, path) is not None for one in nested["anyOf"]):
        return f"{path} has none of the forms that are allowed"
    if isinstance(value, str):
        return _string_fault(value, schema, path)
    if isinstance(value, dict):
        return _object_fault(cast("dict[str, object]", value), schema, path)
    if isinstance(value, list):
        return _array_fault(cast("list[object]", value), schema, path)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number_fault(value, cast("Mapping[str, float]", schema), path)
    return None


def _string_fault(value: str, schema: Mapping[str, object], path: str) -> str | None:
    if (fault := _size_fault(len(value), schema, path, "Length")) is not None:
        return fault
    pattern = schema.get("pattern")
    return f"{path} does not match its pattern" if isinstance(pattern, str) and not re.search(pattern, value) else None


def _size_fault(size: int, schema: Mapping[str, object], path: str, what: str) -> str | None:
    least, most = schema.get(f"min{what}"), schema.get(f"max{what}")
    if isinstance(least, int) and size < least:
        return f"{path} is shorter than {least}"
    return f"{path} is longer than {most}" if isinstance(most, int) and size > most else None


def _number_fault(value: float, schema: Mapping[str, float], path: str) -> str | None:
    is_right = (
        value >= schema.get("minimum", value)
        and value <= schema.get("maximum", value)
        and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
    )
    return None if is_right else f"{path} is out of its range"


def _array_fault(value: list[object], schema: Mapping[str, object], path: str) -> str | None:
    if (fault := _size_fault(len(value), schema, path, "Items")) is not None:
        return fault
    items = schema.get("items")
    if not isinstance(items, Mapping):
        return None
    faults = (_fault(one, cast("Mapping[str, object]", items), f"{path}[{at}]") for at, one in enumerate(value))
    return next((fault for fault in faults if fault is not None), None)


def _object_fault(value: dict[str, object], schema: Mapping[str, object], path: str) -> str | None:
    for key in cast("Sequence[str]", schema.get("required", ())):
        if key not in value:
            return f"{path} lacks {key!r}"
    known = cast("Mapping[str, Mapping[str, object]]", schema.get("properties", {}))
    rest = schema.get("additionalProperties", True)
    for key, item in value.items():
        if key in known:
            fault = _fault(item, known[key], f"{path}.{key}")
        elif isinstance(rest, Mapping):
            fault = _fault(item, cast("Mapping[str, object]", rest), f"{path}.*")
        else:
            fault = None if rest else f"{path} has a key that is not allowed"
        if fault is not None:
            return fault
    return None


def _check_schema(schema: object, path: str, depth: int = 0) -> None:
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        raise ConfigError(path, "give a JSON schema, a dict, not nested too deeply")
    given = cast("Mapping[str, object]", schema)
    for key, value in given.items():
        if key not in _KNOWN:
            raise ConfigError(f"{path}.{key}", "is not known here; check the text with a function of yours instead")
        if key == "type" and not all(kind in _TYPES for kind in _listed(value)):
            raise ConfigError(f"{path}.type", f"give some of {', '.join(_TYPES)}")
        if key == "pattern":
            try:
                re.compile(cast("str", value))
            except (re.error, TypeError) as error:
                raise ConfigError(f"{path}.pattern", f"give a regular expression: {error}") from error
        if key == "properties":
            for name, one in cast("Mapping[str, object]", value).items():
                _check_schema(one, f"{path}.properties.{name}", depth + 1)
        elif key in ("anyOf", "allOf"):
            for at, one in enumerate(cast("Sequence[object]", value)):
                _check_schema(one, f"{path}.{key}[{at}]", depth + 1)
        elif key == "items" or (key == "additionalProperties" and not isinstance(value, bool)):
            _check_schema(value, f"{path}.{key}", depth + 1)


def _listed(kinds: object) -> Sequence[str]:
    return [kinds] if isinstance(kinds, str) else list(cast("Sequence[str]", kinds))


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, float) and value.is_integer())


def _equal(value: object, other: object) -> bool:
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _no_constant(name: str) -> object:
    raise ValueError(name)

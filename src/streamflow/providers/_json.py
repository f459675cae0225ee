"""Reading JSON that a server has sent: nothing in it need be of the type that it should be of.

Above: the answers, `_failures`. Below: nothing.
"""

from __future__ import annotations

import re
from typing import TypeAlias, TypeVar, cast

import msgspec

__all__ = ["JsonObject", "count_of", "decoded", "object_decoder", "object_of", "objects_of", "scalar_of", "text_of"]

JsonObject: TypeAlias = dict[str, object]
"""An object, as it was decoded."""

_T = TypeVar("_T")

# A backslash, a pair of surrogates, or half of one, as JSON escapes them.
_ESCAPE = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)

object_decoder = msgspec.json.Decoder(JsonObject)
"""Decodes objects and nothing else."""


def decoded(decoder: msgspec.json.Decoder[_T], data: str) -> _T:
    """Return what a text says; half of a surrogate pair, which servers send that cut text anywhere, becomes U+FFFD.

    Raises:
        msgspec.DecodeError: If it is no JSON, or not of the decoder's type.
        RecursionError: If it is nested deeper than msgspec reads.
    """
    try:
        return decoder.decode(data)
    except msgspec.DecodeError:
        if "\\u" not in data:
            raise
        repaired = _ESCAPE.sub(lambda found: "\\ufffd" if found[1] else found[0], data)
        if repaired == data:
            raise
    return decoder.decode(repaired)


def object_of(value: object) -> JsonObject:
    """Return an object, an empty one for anything else."""
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def objects_of(value: object) -> list[JsonObject]:
    """Return the objects in a list, none for anything else."""
    if not isinstance(value, list):
        return []
    return [cast("JsonObject", one) for one in cast("list[object]", value) if isinstance(one, dict)]


def text_of(value: object) -> str:
    """Return a text, the empty one for anything else."""
    return value if isinstance(value, str) else ""


def count_of(told: JsonObject, name: str) -> int | None:
    """Return a count, None for anything else."""
    count = told.get(name)
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


def scalar_of(value: object) -> str | int | None:
    """Return what can name a place, None for anything else."""
    return value if isinstance(value, (str, int)) else None

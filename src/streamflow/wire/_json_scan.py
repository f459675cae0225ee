"""The lexical side of JSON: patterns for runs of characters, escapes, numbers and words.

Above: `_json_reader`, `_json_stream`. Below: nothing.
A run is found by one call of a compiled pattern, never character by character, and no pattern goes back over what it has taken.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Final, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "COLON_QUOTE",
    "COMMA_QUOTE",
    "CUT_ESCAPE",
    "CUT_WORD",
    "ESCAPED",
    "NUMBER",
    "PLAIN",
    "SHORT_ESCAPES",
    "SPACE",
    "SPACES",
    "SURROGATE",
    "WORD",
    "WORDS",
    "number",
    "unescaped",
    "what_is",
]

_AlwaysMatch: TypeAlias = "Callable[[str, int], re.Match[str]]"

PLAIN = cast("_AlwaysMatch", re.compile(r'[^"\\\x00-\x1f]*+').match)
# A surrogate pair is one piece; a first half alone is one only if what follows cannot be its second half.
ESCAPED = cast(
    "_AlwaysMatch",
    re.compile(
        r'(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u(?![dD][89abAB])[0-9a-fA-F]{4}'
        r"|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\u[dD][c-fC-F][0-9a-fA-F]{2}"
        r"|(?=[^\\]|\\[^u]|\\u[^dD]|\\u[dD][^c-fC-F])))*+",
        re.DOTALL,
    ).match,
)
CUT_ESCAPE = re.compile(
    r"\\(?:u[0-9a-fA-F]{0,3})?|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?"
).fullmatch
SHORT_ESCAPES: Final = {
    "\\n": "\n",
    '\\"': '"',
    "\\\\": "\\",
    "\\/": "/",
    "\\t": "\t",
    "\\r": "\r",
    "\\b": "\b",
    "\\f": "\f",
}
SURROGATE = re.compile("[\ud800-\udfff]")

SPACE = cast("_AlwaysMatch", re.compile(r"[ \t\n\r]*+").match)
COMMA_QUOTE = re.compile(r'[ \t\n\r]*+,[ \t\n\r]*+"').match
COLON_QUOTE = re.compile(r'[ \t\n\r]*+:[ \t\n\r]*+"').match
WORD = cast("_AlwaysMatch", re.compile(r"[-+.0-9A-Za-z]*+").match)
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(\.[0-9]++)?([eE][-+]?[0-9]++)?").fullmatch
CUT_WORD = re.compile(
    r"t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?|-?(?:(?:0|[1-9][0-9]*)(?:\.(?:[0-9]+)?)?)?"
    r"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?[eE][-+]?[0-9]*"
).fullmatch
WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}
SPACES: Final = " \t\n\r"


def unescaped(raw: str) -> str:
    text: str = json.loads(f'"{raw}"')
    return text if text.isascii() else SURROGATE.sub("\ufffd", text)


def number(word: str) -> int | float | None:
    """Return the number that a word is, None if it is none, or one that no element can hold."""
    match = NUMBER(word)
    if match is None:
        return None
    if match[1] is None and match[2] is None:
        try:
            return int(word)
        except ValueError:  # more digits than Python converts
            return None
    number = float(word)
    return number if math.isfinite(number) else None


def what_is(word: str) -> str:
    """Return what is wrong with a word, without repeating much of it."""
    if NUMBER(word) is not None:
        return "a number that is too large"
    return f"{word[:20]!r} is no JSON value"

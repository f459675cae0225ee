"""JSON texts cut into pieces, as a network or a model cuts them: anywhere, inside escapes and inside UTF-8 too.

Above: your tests, through `_on_demand`. Below: `_strategies`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from ._strategies import json_values

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from ..elements import JsonValue

__all__ = ["json_byte_cuts", "json_cuts"]

# Between them they have every escape, a surrogate pair, and characters of two, three and four bytes.
_WORST: Final = ('"\\/\b\f\n\r\t', "é", "€", "😀", "\u2028", "\x00", "")


def json_cuts(*, max_leaves: int = 8) -> SearchStrategy[tuple[JsonValue, list[str]]]:
    """Draw a value and the pieces of a JSON text of it; some pieces may be empty.

    Args:
        max_leaves: Most strings, numbers and so on in it.
    """
    return _text(max_leaves).flatmap(lambda drawn: st.tuples(st.just(drawn[0]), _cut(drawn[1])))


def json_byte_cuts(*, max_leaves: int = 8) -> SearchStrategy[tuple[JsonValue, list[bytes]]]:
    """Draw a value and the pieces of a JSON text of it in UTF-8, cut inside characters too.

    Args:
        max_leaves: Most strings, numbers and so on in it.
    """
    return _text(max_leaves).flatmap(lambda drawn: st.tuples(st.just(drawn[0]), _cut_bytes(drawn[1].encode())))


@st.composite
def _text(draw: st.DrawFn, max_leaves: int) -> tuple[JsonValue, str]:
    value: JsonValue = draw(json_values(max_leaves=max_leaves) | st.sampled_from(_WORST))
    escapes, indent = draw(st.booleans()), draw(st.sampled_from([None, 1]))
    return value, json.dumps(value, ensure_ascii=escapes, indent=indent)


def _places(size: int) -> SearchStrategy[list[int]]:
    return st.lists(st.integers(0, size), max_size=12).map(sorted)


def _cut(text: str) -> SearchStrategy[list[str]]:
    return _places(len(text)).map(
        lambda places: [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    )


def _cut_bytes(data: bytes) -> SearchStrategy[list[bytes]]:
    return _places(len(data)).map(
        lambda places: [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    )

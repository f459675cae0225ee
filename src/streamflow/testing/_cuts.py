"""All ways to cut a text or bytes into a few pieces.

Above: your tests. Below: nothing.
"""

from __future__ import annotations

from functools import partial
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["all_cuts"]

Cuttable = TypeVar("Cuttable", str, bytes)


def all_cuts(whole: Cuttable, pieces: int = 2) -> Iterator[list[Cuttable]]:
    """Return every way to cut a text or bytes into so many pieces, empty ones included: with two, one way for each place.

    Args:
        whole: What is cut; it should be short, the number of ways grows with the power of the pieces.
        pieces: How many pieces, from 1 up.
    """
    return map(partial(_cut, whole), _places(len(whole), pieces - 1))


def _cut(whole: Cuttable, places: tuple[int, ...]) -> list[Cuttable]:
    return [whole[begin:end] for begin, end in zip((0, *places), (*places, len(whole)), strict=True)]


def _places(size: int, count: int) -> Iterator[tuple[int, ...]]:
    return combinations_with_replacement(range(size + 1), count)

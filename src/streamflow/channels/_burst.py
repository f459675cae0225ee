"""A burst of elements through one function: the loops of a line, which takes what is plain through several functions.

Above: `_line`. Below: nothing.

Rules:

1. *Nothing but the lists is touched*: who has given them knows at any time how far the burst has come, by what is left of the one
   and what is in the other, and may end it by emptying the one. So the loops look at nothing but types.
2. A burst stops at an outcome that is not plain, which it returns with its element.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._pump import Unusual

__all__ = ["OUTCOME", "Burst", "burst_of"]

OUTCOME: Final = object()
"""Stands for whatever a function returns."""

Burst: TypeAlias = "Callable[[Callable[[Any], object], Iterator[Any], list[Any], set[type]], Unusual]"
"""Given a function, what comes, where to put what goes on, and the types that are plain."""


def burst_of(sends: object) -> Burst:
    """Return the loop for a function, by what it returns if the element goes on as it is; `OUTCOME` if that is what goes on."""
    return _map_burst if sends is OUTCOME else _filter_burst if sends is True else _tee_burst


def _map_burst(func: Callable[[Any], object], coming: Iterator[Any], given: list[Any], plain: set[type]) -> Unusual:
    last = None
    for element in coming:
        result = func(element)
        if type(result) is not last:
            if type(result) not in plain:
                return element, result
            last = type(result)
        given.append(result)
    return None


def _filter_burst(func: Callable[[Any], object], coming: Iterator[Any], given: list[Any], plain: set[type]) -> Unusual:
    for element in coming:
        verdict = func(element)
        if verdict is True and type(element) in plain:
            given.append(element)
        elif verdict is not False:
            return element, verdict
    return None


def _tee_burst(func: Callable[[Any], object], coming: Iterator[Any], given: list[Any], plain: set[type]) -> Unusual:
    for element in coming:
        outcome = func(element)
        if outcome is not None or type(element) not in plain:
            return element, outcome
        given.append(element)
    return None

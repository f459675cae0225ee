"""How names and types are written where people read them: in the explanation of a graph, and in pictures of it.

Above: `_explain`, `_drawing`. Below: `stages`.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from ..elements import ControlElement, StreamElement

if TYPE_CHECKING:
    from ..stages import ElementTypes, Supervision

__all__ = ["columns", "cut", "groups_of", "printable", "supervision_words", "type_names"]


def printable(text: str) -> str:
    """Return `text` on one line, with what cannot be seen, or steers a terminal, written as Python would escape it."""
    return text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def columns(text: str) -> int:
    """Return how many columns a terminal needs for printable text; never too few."""
    return len(text) if text.isascii() else sum(1 + (unicodedata.east_asian_width(one) in "WF") for one in text)


def cut(text: str, most: int) -> str:
    """Return `text`, without its middle where it is wider than `most` columns: names often differ only at the end."""
    if columns(text) <= most:
        return text
    left, right = _beginning(text, most // 2), _beginning(text[::-1], (most - 1) // 2)
    return f"{left}…{right[::-1]}"


def groups_of(name: str) -> tuple[str, ...]:
    """Return what a stage is inside of, outermost first: `a` and `a/b` for `a/b/c`."""
    *outer, _ = parts = name.split("/")
    if not all(parts):
        return ()  # `/`, or `a//b`: the slash is part of a name
    return tuple("/".join(outer[: depth + 1]) for depth in range(len(outer)))


def type_names(types: ElementTypes | None) -> list[str]:
    """Return how element types are called, the ones that stand for all others in words."""
    if types is None:
        return ["unknown"]
    words: dict[type, str] = {StreamElement: "any data", ControlElement: "any control"}
    return [words.get(one) or printable(one.__name__) for one in types] or ["nothing"]


def supervision_words(supervision: Supervision) -> str:
    """Return what is done when a stage fails, in a few words."""
    told = [
        f"{supervision.directive.replace('_', ' ')}{', unless decided otherwise' * (supervision.decide is not None)}"
    ]
    if supervision.on is not Exception:
        classes = supervision.on if isinstance(supervision.on, tuple) else (supervision.on,)
        told.append(f"for {', '.join(one.__name__ for one in classes)}")
    if supervision.directive == "restart":
        told.append(f"element in hand: {supervision.in_hand.replace('_', ' ')}")
        if supervision.max_restarts is not None:
            told.append(f"up to {supervision.max_restarts} within {supervision.window_s:g} s")
        if supervision.rest_for_one:
            told.append(f"with all stages behind it, {supervision.between} what is between")
    if supervision.directive == "retry" or supervision.in_hand == "redeliver":
        told.append(f"up to {supervision.attempts} attempts, then {supervision.then.replace('_', ' ')}")
    return "; ".join(told)


def _beginning(text: str, most: int) -> str:
    end = width = 0
    while end < len(text) and (width := width + columns(text[end])) <= most:
        end += 1
    return text[:end]

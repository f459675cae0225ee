"""The user's lines: where a call came from, and warnings that stand there.

Above: `_builder`, `_dict`, `runtime`. Below: `errors`.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING

from ..errors import BuildWarning

if TYPE_CHECKING:
    from types import CodeType

__all__ = ["caller_of_package", "describe_place", "place_of_caller", "warn_at"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

_warned: dict[str | tuple[str, type[Warning], int], int] = {}  # what Python's filters remember, as a module has it


def warn_at(message: str, where: str) -> None:
    """Warn at a line of the user's; a graph that was made by hand may say anything about where it was."""
    file, _, line = where.rpartition(":")
    place = (file, int(line)) if line.isdecimal() else (where, 0)
    warnings.warn_explicit(message, BuildWarning, *place, registry=_warned)


def caller_of_package() -> str:
    """Return `file:line` of the nearest frame outside this package."""
    return describe_place(place_of_caller())


def place_of_caller() -> tuple[CodeType, int]:
    """Return where the nearest frame outside this package is at, which nobody may ever ask for: its code, and how far it is."""
    # Not inspect.stack(), which reads every source file. A frame that is looked at is made an object, so it is not that of this
    # function, nor that of its caller.
    frame = sys._getframe(2)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - CPython and PyPy have it
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


def describe_place(place: tuple[CodeType, int]) -> str:
    """Return `file:line` of a place in the code."""
    code, reached = place
    lines = [line for begin, _, line in code.co_lines() if begin <= reached and line is not None]
    return f"{code.co_filename}:{lines[-1] if lines else code.co_firstlineno}"

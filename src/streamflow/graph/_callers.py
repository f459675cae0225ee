"""The user's lines: where a call came from, and warnings that stand there.

Above: `_builder`, `_dict`, `runtime`. Below: `errors`.
"""

from __future__ import annotations

import inspect
import os
import warnings

from ..errors import BuildWarning

__all__ = ["caller_of_package", "warn_at"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

_warned: dict[str | tuple[str, type[Warning], int], int] = {}  # what Python's filters remember, as a module has it


def warn_at(message: str, where: str) -> None:
    """Warn at a line of the user's; a graph that was made by hand may say anything about where it was."""
    file, _, line = where.rpartition(":")
    place = (file, int(line)) if line.isdecimal() else (where, 0)
    warnings.warn_explicit(message, BuildWarning, *place, registry=_warned)


def caller_of_package() -> str:
    """Return `file:line` of the nearest frame outside this package."""
    frame = inspect.currentframe()  # not inspect.stack(), which reads every source file
    assert frame is not None, "CPython and PyPy have frames"
    # The name comes first: a frame that is looked at stays as an object for as long as its function runs.
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"

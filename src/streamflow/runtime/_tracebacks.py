"""Tracebacks that show the user's code and not ours.

Above: `_engine`. Below: nothing.
"""

from __future__ import annotations

import os
from types import TracebackType

__all__ = ["DEBUG_VARIABLE", "trimmed"]

DEBUG_VARIABLE = "STREAMFLOW_DEBUG"
"""Environment variable that keeps tracebacks whole."""

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def trimmed(traceback: TracebackType | None) -> TracebackType | None:
    """Return `traceback` without the frames of this package; whole when nothing else is in it, or `STREAMFLOW_DEBUG` is set.

    So the last frame is the user's line, also where that line called one of our functions, which raised.
    """
    if os.environ.get(DEBUG_VARIABLE):
        return traceback
    kept: list[TracebackType] = []
    step = traceback
    while step is not None:
        if not step.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            kept.append(step)
        step = step.tb_next
    result: TracebackType | None = None
    for one in reversed(kept):
        result = TracebackType(result, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return result or traceback

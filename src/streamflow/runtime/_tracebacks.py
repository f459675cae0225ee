"""Tracebacks that show the user's code and not ours.

Above: `_failures`, and the calls that block. Below: `errors`.
"""

from __future__ import annotations

import os
from types import TracebackType

from ..errors import StreamflowError

__all__ = ["DEBUG_VARIABLE", "own_way_left_out", "trimmed"]

DEBUG_VARIABLE = "STREAMFLOW_DEBUG"
"""Environment variable that keeps tracebacks whole."""

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def trimmed(error: BaseException) -> TracebackType | None:
    """Return the traceback of `error` without the frames of this package; whole where `STREAMFLOW_DEBUG` is set.

    So the last frame is the user's line, also where that line called one of our functions, which raised. Where no frame is left,
    an error of ours has none, because its text says what was wrong; anything else has all, because the fault may be here.
    """
    traceback = error.__traceback__
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
    return result if result is not None or isinstance(error, StreamflowError) else traceback


def own_way_left_out(error: StreamflowError) -> StreamflowError:
    """Return `error` without the frames between its run and the blocking call that raises it, unless `STREAMFLOW_DEBUG` is set."""
    return error if os.environ.get(DEBUG_VARIABLE) else error.with_traceback(None)

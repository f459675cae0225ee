"""Time in a stage: what a span may be, and how to wait for an element no longer than it takes.

Above: `_batching`, `_timing`, `_origins`. Below: `channels`.
All times are those of the event loop's clock, which is virtual in tests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import anyio

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..channels import ReceiveEnd

__all__ = ["checked_seconds", "next_until"]

T = TypeVar("T")


def checked_seconds(value: object, field: str, stage: str) -> float:
    """Return `value`, if it is a positive number of seconds.

    Args:
        value: What was given.
        field: Name of the option.
        stage: Name of the stage that it is for.

    Raises:
        ConfigError: If it is anything else.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 and math.isfinite(value):
        return value
    raise ConfigError(field, f"stage {stage!r}: give a positive number of seconds, got {value!r:.80}")


async def next_until(input: ReceiveEnd[T], deadline_s: float | None) -> T | None:
    """Take the next element, or return None once it is too late.

    Args:
        input: What to read.
        deadline_s: When it is too late, on the event loop's clock, also for an element that is there; None: never.

    Cancellation: nothing was taken.

    Raises:
        anyio.EndOfStream: At the end.
    """
    if deadline_s is None:
        return await input.receive()
    # A wait that never begins is never cancelled: behind a source that is always ahead the clock must be read.
    if anyio.current_time() < deadline_s:
        with anyio.CancelScope(deadline=deadline_s):
            return await input.receive()
    return None

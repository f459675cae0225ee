"""A clock for what runs share: it goes on from one event loop to the next, whose own clocks need not agree.

Above: `_breaker`, `_fallback`, `_cache`, `_rate_limit`. Below: the event loop.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from anyio.lowlevel import EventLoopToken

__all__ = ["SharedClock"]


class SharedClock:
    """Seconds on the clock of the event loop that runs, which is virtual in tests; between two loops, real seconds."""

    def __init__(self) -> None:
        self._loop: EventLoopToken | None = None
        self._offset = 0.0
        self._last = 0.0
        self._last_real = 0.0

    def now(self) -> float:
        """Return the time, in seconds; only inside an event loop."""
        loop, real = anyio.lowlevel.current_token(), time.monotonic()
        if loop != self._loop:
            if self._loop is not None:
                self._offset = self._last + real - self._last_real - anyio.current_time()
            self._loop = loop
        self._last, self._last_real = anyio.current_time() + self._offset, real
        return self._last

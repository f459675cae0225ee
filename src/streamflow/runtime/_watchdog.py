"""Time limits: what is watched, and the one task per run that watches it. A run without limits has neither.

Above: `_engine`. Below: `channels` (an edge tells its watch what moves).

No timer per element: edges note when something moved, and the watchdog sleeps until the earliest moment at which a limit can be
passed. A wait that begins after it looked cannot end before `limit` from then, so it never looks too late.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import anyio

from .._records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..errors import TimeoutKind

__all__ = ["EdgeClock", "Limit", "RunClock", "StageClock", "watch_limits"]

_ROUNDING_S = 1e-9
"""A timer that fires at `since + limit` may find the difference one rounding step short of the limit."""


class Limit(Record, frozen=True):
    """One limit of one run."""

    kind: TimeoutKind
    """Which clock it is about."""
    seconds: float
    """How long is allowed."""
    where: str
    """The stage, edge or run that is waited for."""
    since: Callable[[], float | None]
    """When the wait began; None while nobody waits."""
    stage: int | None = None
    """Which stage fails when it is passed, with all that is not behind it; None: all of them."""


class RunClock:
    """When something last moved on any watched edge."""

    __slots__ = ("moved", "now", "pauses", "started")

    def __init__(self, now: Callable[[], float]) -> None:
        self.now: Callable[[], float] = now
        """The event loop's clock, in seconds."""
        self.started: float = now()
        """When the run was started."""
        self.moved: float = self.started
        """When an element last moved on a watched edge."""
        self.pauses: int = 0
        """How many stages wait to be tried again after a failure: meanwhile the run is not idle."""


class StageClock:
    """Since when a stage has been busy with its own code; None while it waits on an edge."""

    def __init__(self, now: float) -> None:
        self.busy_since: float | None = now


class EdgeClock:
    """Watch of one edge: notes the times that limits are about."""

    hears_sends: bool = True

    def __init__(
        self,
        name: str,
        run: RunClock,
        *,
        writer: StageClock | None,
        reader: StageClock | None,
    ) -> None:
        self.name: str = name
        """The edge, as `a → b`."""
        self._run = run
        self._writer = writer
        self._reader = reader
        self._senders_waiting = 0
        self.full_since: float | None = None
        """Since when a sender has waited for room; None while none does."""

    def on_sent(self, item: object) -> None:
        """Note that `item` entered the edge."""
        self._note(self._writer)

    def on_received(self, item: object) -> None:
        """Note that `item` left the edge."""
        self._note(self._reader)

    def on_discarded(self, items: Sequence[object], reason: str) -> None:
        """Leave it to others: nothing has moved."""

    def on_refused(self, item: object, reason: str) -> None:
        """Note that `item` was sent, though it did not enter the edge."""
        self._note(self._writer)

    def on_blocked(self, end: Literal["send", "receive"], *, blocked: bool) -> None:
        """Note that a task begins or ends to wait."""
        now = self._run.now()
        clock = self._writer if end == "send" else self._reader
        if clock is not None:
            clock.busy_since = None if blocked else now
        if end == "send":
            self._senders_waiting += 1 if blocked else -1
            if blocked and self._senders_waiting == 1:
                self.full_since = now
            elif not self._senders_waiting:
                self.full_since = None

    def _note(self, clock: StageClock | None) -> None:
        self._run.moved = now = self._run.now()
        if clock is not None:
            clock.busy_since = now


async def watch_limits(limits: list[Limit], now: Callable[[], float]) -> Limit:
    """Wait until one of `limits` is passed, and return it. Cancellation: leaves nothing behind."""
    while True:
        nearest = math.inf
        for limit in limits:
            since = limit.since()
            due = (now() if since is None else since) + limit.seconds
            if since is not None and due <= now() + _ROUNDING_S:
                return limit
            nearest = min(nearest, due)
        await anyio.sleep_until(nearest)

"""What `metrics` and `tracing` cost, and only they: watches of edges that measure, and that tell of each element.

Above: `_wiring` puts them on the edges of a run. Below: `channels`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..channels import ChannelWatch

__all__ = ["EdgeMeter", "EdgeTracer", "Watches"]


class Watches:
    """Several watches of one edge as one."""

    def __init__(self, *watches: ChannelWatch) -> None:
        self._watches = watches

    def on_sent(self, item: object) -> None:
        """Pass it on."""
        for one in self._watches:
            one.on_sent(item)

    def on_received(self, item: object) -> None:
        """Pass it on."""
        for one in self._watches:
            one.on_received(item)

    def on_discarded(self, items: Sequence[object], reason: str) -> None:
        """Pass it on."""
        for one in self._watches:
            one.on_discarded(items, reason)

    def on_refused(self, item: object, reason: str) -> None:
        """Pass it on."""
        for one in self._watches:
            one.on_refused(item, reason)

    def on_blocked(self, end: Literal["send", "receive"], *, blocked: bool) -> None:
        """Pass it on."""
        for one in self._watches:
            one.on_blocked(end, blocked=blocked)


class EdgeMeter:
    """Measures how full one edge was, and how long its ends waited."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._depth = 0
        self._waiting: dict[str, int] = {"send": 0, "receive": 0}
        self._since: dict[str, float] = {"send": 0.0, "receive": 0.0}
        self._blocked_s: dict[str, float] = {"send": 0.0, "receive": 0.0}
        self.peak: int = 0
        """Most elements that were in the edge at a time."""

    def blocked_s(self, end: Literal["send", "receive"]) -> float:
        """Return how long, in seconds, senders have waited for room, or the reader for an element; up to now."""
        waiting = self._now() - self._since[end] if self._waiting[end] else 0.0
        return self._blocked_s[end] + waiting

    def waits_since(self, end: str) -> float | None:
        """Return since when senders, or the reader, have been waiting; None while they do not."""
        return self._since[end] if self._waiting.get(end) else None

    def on_sent(self, item: object) -> None:
        """Count it."""
        self._depth += 1
        self.peak = max(self.peak, self._depth)

    def on_received(self, item: object) -> None:
        """Count it."""
        self._depth -= 1

    def on_discarded(self, items: Sequence[object], reason: str) -> None:
        """Count them."""
        self._depth -= len(items)

    def on_refused(self, item: object, reason: str) -> None:
        """Leave it to others: it was never inside."""

    def on_blocked(self, end: Literal["send", "receive"], *, blocked: bool) -> None:
        """Begin, or end, to measure; the time in which several senders wait counts once."""
        if blocked:
            if not self._waiting[end]:
                self._since[end] = self._now()
            self._waiting[end] += 1
            return
        self._waiting[end] -= 1
        if not self._waiting[end]:
            self._blocked_s[end] += self._now() - self._since[end]


class EdgeTracer:
    """Tells of each element that leaves one edge how long it was inside.

    Args:
        now: The event loop's clock.
        tell: Called with the element's ordinal on the edge, the name of its type, and the seconds that it was inside.
    """

    def __init__(self, now: Callable[[], float], tell: Callable[[int, str, float], None]) -> None:
        self._now = now
        self._tell = tell
        self._sent = 0
        self._dropped = 0  # of those inside
        self._inside: dict[
            int, deque[tuple[int, float]]
        ] = {}  # by identity: the same object may be inside several times

    def on_sent(self, item: object) -> None:
        """Note when it came."""
        self._inside.setdefault(id(item), deque()).append((self._sent, self._now()))
        self._sent += 1

    def on_received(self, item: object) -> None:
        """Tell how long it was inside."""
        ordinal, since = self._forget(item)
        self._tell(ordinal, type(item).__name__, self._now() - since)

    def on_discarded(self, items: Sequence[object], reason: str) -> None:
        """Forget them."""
        for item in items:
            self._forget(item)

    def on_refused(self, item: object, reason: str) -> None:
        """Count it: it was sent."""
        self._sent += 1

    def _forget(self, item: object) -> tuple[int, float]:
        entered = self._inside[id(item)]
        found = entered.popleft()
        if not entered:
            del self._inside[id(item)]
        return found

    def on_blocked(self, end: Literal["send", "receive"], *, blocked: bool) -> None:
        """Leave it to others."""

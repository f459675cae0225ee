"""What `tracing` costs, and only that: watches of edges that tell of each element.

Above: `_wiring` puts them on the edges of a run. Below: `channels`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..channels import ChannelWatch

__all__ = ["EdgeTracer", "Watches"]


class Watches:
    """Several watches of one edge as one."""

    def __init__(self, *watches: ChannelWatch) -> None:
        self._watches = watches
        self.hears_sends: bool = any(one.hears_sends for one in watches)
        """Whether one of them wants to hear of what enters."""

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


class EdgeTracer:
    """Tells of each element that leaves one edge how long it was inside.

    Args:
        now: The event loop's clock.
        tell: Called with the element's ordinal on the edge, the name of its type, and the seconds that it was inside.
    """

    hears_sends: bool = True

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

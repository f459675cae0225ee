"""How full one edge was, and how long elements were in it, seen from the tasks at its ends.

Above: `_task_meter`, which tells when a task at one of the ends has had its turn. Below: `channels`, `observe` (histograms).

While one task has its turn no other moves anything. So what it has put in is the growth of the edge during that turn, and the edge
is never fuller than at the end of such a turn: nothing has to be noted for each element.
"""

# ruff: noqa: SLF001 - the state of an edge, looked at where a call would be felt
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from ..elements import TurnEnd
from ..observe import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..channels import ReceiveEnd

__all__ = ["EdgeMeter"]

_MOMENT_S: Final = 1e-3
"""What is shorter is taken for one moment, in its middle; what is longer for spread evenly."""


class EdgeMeter:
    """Measures one edge.

    Args:
        end: Its reading end, before anything has happened to it.
        began_s: When the run began.
        hears: Called for what has entered: whether it is a `TurnEnd`, and when; once for several that are none. None: nobody wants
            to know.
    """

    __slots__ = (
        "_ages",
        "_hears",
        "_known",
        "_usual",
        "backlog",
        "blocked_s",
        "end",
        "first_s",
        "looked_s",
        "peak",
        "taken",
        "wait",
    )

    def __init__(
        self, end: ReceiveEnd[Any], began_s: float, hears: Callable[[bool, float], None] | None = None
    ) -> None:
        self.end: ReceiveEnd[Any] = end
        """Its reading end."""
        self.backlog: Sequence[Any] = end.backlog
        """What is in it."""
        self.peak: int = 0
        """Most elements that were in it at a time."""
        self.wait: Tally = Tally()
        """How long elements were in it."""
        self.blocked_s: float = 0.0
        """How long senders have waited for room here, where their stage writes several edges."""
        self.taken: int = 0
        """How many the reader had taken when it was looked last."""
        self.first_s: float | None = None
        """When the first element entered, by the event loop's clock."""
        self.looked_s: float = began_s
        """When it was looked last."""
        self._known = 0  # how many were inside
        self._ages: deque[tuple[int, float, float]] = deque()  # of those: how many came together, and from when to when
        self._hears = hears
        self._usual = end.attention

    def was_written(self, since: float, now: float) -> None:
        """Note what was put in by a task that had its turn since then."""
        if self.end.received != self.taken:  # the consumer, which is no task of the run, has taken something
            self.settle(since)
        depth = len(self.backlog)
        new = depth - self._known
        if new > 0:
            self.peak = max(self.peak, depth)
            if self.first_s is None:
                self.first_s = now
            self._known = depth
            self._ages.append((new, since, now))
            if self._hears is not None:
                if self.end.attention > self._usual + self.end._receiving:
                    for place in range(depth - new, depth):
                        self._hears(isinstance(self.backlog[place], TurnEnd), now)
                else:  # nothing but data
                    self._hears(False, now)
        elif new:
            self._forget(-new)
        self.looked_s = now

    def was_read(self, since: float, now: float) -> int:
        """Note what was taken by a task that had its turn since then, and return how much that is in all."""
        end = self.end
        count = end.received - self.taken
        if count:
            self.taken = end.received
            unseen = count + len(self.backlog) - self._known
            if unseen > 0:  # somebody else has written: the user
                self._known += unseen
                self._ages.append((unseen, self.looked_s, since))
            elif unseen:
                self._forget(-unseen)
            self._take(count, since, now)
        self.looked_s = now
        return end.received

    def settle(self, now: float) -> None:
        """Note that by now all has been taken that is not there any more: of an edge whose reader is no task of the run."""
        gone = self.end.received - self.taken
        if gone:
            self.taken += gone
            self._take(gone, self.looked_s, now)
        self.looked_s = now

    def _forget(self, count: int) -> None:
        """Know that so many were thrown away; which, nobody has said."""
        self._known -= count
        ages = self._ages
        while count > 0 and ages:
            held, begun, ended = ages.popleft()
            if held > count:
                ages.appendleft((held - count, begun, ended))
            count -= held

    def _take(self, count: int, since: float, now: float) -> None:
        """Note that the oldest were taken, spread evenly over that time."""
        self._known -= count
        if now - since > _MOMENT_S:
            self._take_slowly(count, since, (now - since) / count)
            return
        ages, wait, at = self._ages, self.wait, (since + now) / 2
        while count > 0 and ages:
            held, begun, ended = ages[0]
            if ended - begun > _MOMENT_S:
                self._take_slowly(count, at, 0.0)
                return
            waited = at - (begun + ended) / 2
            if held > count:
                ages[0] = held - count, begun, ended
                held = count
            else:
                ages.popleft()
            wait.add(waited if waited > 0 else 0.0, held)
            count -= held

    def _take_slowly(self, count: int, at: float, step: float) -> None:
        """Note one after the other, where they have entered or left at moments that differ."""
        ages = self._ages
        for _ in range(count):
            if not ages:
                return
            held, begun, ended = ages.popleft()
            at += step
            self.wait.add(max(at - begun, 0.0))
            if held > 1:
                ages.appendleft((held - 1, begun + (ended - begun) / held, ended))

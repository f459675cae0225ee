"""How full one edge was, and how long elements were in it, seen from the tasks at its ends.

Above: `_task_meter`, which tells when a task at one of the ends has had its turn. Below: `channels`, `observe` (histograms).

While one task has its turn no other moves anything. So what it has put in is the growth of the edge during that turn, and the edge
is never fuller than at the end of such a turn: nothing has to be noted for each element.
"""

# ruff: noqa: SLF001 - the state of an edge, looked at where a call would be felt
# pyright: reportPrivateUsage=false
from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from ..elements import TurnEnd
from ..observe import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..channels import ReceiveEnd

__all__ = ["MOMENT_S", "EdgeMeter"]

MOMENT_S: Final = 1e-3
"""What is shorter is taken for one moment, in its middle; what is longer for spread evenly."""
_PORTIONS: Final = 16
"""How many durations are told apart, at most, of what has moved since the last look."""


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
        "_emptied_s",
        "_known",
        "_total",
        "_touched_s",
        "backlog",
        "blocked_s",
        "end",
        "end_is_told",
        "first_s",
        "hears",
        "looked_s",
        "peak",
        "taken",
        "usual",
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
        self.end_is_told: bool = True
        """Whether who reads it is measured, too, and tells when it has had its turn."""
        self._known = 0  # how many were inside
        self._total = 0  # how many had entered when it was glanced at last, without those that were thrown away
        self._touched_s = began_s  # when that was
        self._emptied_s = -math.inf  # when its reader has begun to wait, if that is no task of the run
        self._ages: deque[tuple[int, float, float]] = deque()  # of those: how many came together, and from when to when
        self.hears: Callable[[bool, float], None] | None = hears
        """Called for what has entered."""
        self.usual: int = end.attention
        """How much attention it wants where nothing is unusual."""

    def glance(self, now: float) -> None:
        """Note, in passing, that who writes it has had its turn: what has moved is looked at soon."""
        depth = len(self.backlog)
        total = depth + self.end.received
        if total != self._total:
            if depth > self.peak:  # noqa: PLR1730 - after each turn: no call
                self.peak = depth
            self._touched_s = now
            if self.hears is not None and total > self._total:
                self.hears(False, now)
            self._total = total

    def all_taken(self, now: float) -> None:
        """Know that its reader, which is no task of the run, has taken all that there was, and waits."""
        self._emptied_s = now

    def was_written(self, since: float, now: float) -> None:
        """Note what was put in by a task that had its turn since then, and whatever else has moved since the last look."""
        self._catch_up(since)
        depth = len(self.backlog)
        new = depth - self._known
        if new > 0:
            self.peak = max(self.peak, depth)
            if self.first_s is None:
                self.first_s = now
            self._known = depth
            self._ages.append((new, since, now))
            if self.hears is not None:
                if self.end.attention > self.usual + self.end._receiving:
                    for place in range(depth - new, depth):
                        self.hears(isinstance(self.backlog[place], TurnEnd), now)
                else:  # nothing but data
                    self.hears(False, now)
        elif new:
            self._forget(-new)
        self._noted(now)

    def was_read(self, since: float, now: float) -> int:
        """Note what was taken by a task that had its turn since then, and return how much that is in all."""
        end = self.end
        count = end.received - self.taken
        if count:
            unseen = count + len(self.backlog) - self._known
            if unseen > 0:  # since the last look, or by the user
                self._known += unseen
                self._ages.append((unseen, self.looked_s, min(max(self._touched_s, self.looked_s), since)))
                if self.first_s is None:
                    self.first_s = since
            elif unseen:
                self._forget(-unseen)
            self.taken = end.received
            self._take(count, since, now)
        self._noted(now)
        return end.received

    def settle(self, now: float) -> None:
        """Note that by now all has been taken that is not there any more: of an edge whose reader is no task of the run."""
        self._catch_up(now)
        self._noted(now)

    def _catch_up(self, since: float) -> None:
        """Note what has moved since the last look, until then."""
        until = min(max(self._touched_s, self.looked_s), since)
        new = self._total - self._known - self.taken
        if new > 0:  # what was only glanced at
            self._known += new
            self._ages.append((new, self.looked_s, until))
            if self.first_s is None:
                self.first_s = until
        gone = self.end.received - self.taken
        if gone:
            self.taken += gone
            if not self.end_is_told:
                until = self._emptied_s if self._emptied_s >= self._touched_s else since
            self._take(gone, min(self.looked_s, until), until)

    def _noted(self, now: float) -> None:
        self.looked_s = self._touched_s = now
        self._total = len(self.backlog) + self.end.received

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
        if now - since > MOMENT_S:
            self._take_slowly(count, since, (now - since) / count)
            return
        ages, wait, at = self._ages, self.wait, (since + now) / 2
        while count > 0 and ages:
            held, begun, ended = ages[0]
            if ended - begun > MOMENT_S:
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
        """Note them in portions, where they have entered or left at moments that differ."""
        ages = self._ages
        most = -(-count // _PORTIONS)
        while count > 0 and ages:
            held, begun, ended = ages.popleft()
            some = min(held, count, most)
            at += step * some
            pace = (ended - begun) / held
            waited = at - begun - pace * (some - 1)
            self.wait.add(waited if waited > 0 else 0.0, some)
            if held > some:
                ages.appendleft((held - some, begun + pace * some, ended))
            count -= some

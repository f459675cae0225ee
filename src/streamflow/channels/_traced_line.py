"""Bursts in runs that are traced: through one function, with the way and the times of each element.

Above: `runtime`, whose chains have them. Below: `_line`, `_traced`.

Rules, besides those of both:

1. *A burst is taken at one moment, and enters the next edge at one moment*, and these are the times of its elements: they are
   noted once. That is what happens: no element of a burst is in either edge in between.
2. *No stay is long by that*: a burst of a function that takes its time is short, down to one element. It begins with one, has twice
   as many as the one before while those take next to nothing, and one again when they do not.
3. *Each element has its own way*, also where a function drops some: by its place in the burst, and not by what it looks like.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from ._lane_ends import LaneReceiveEnd
from ._lane_line import LaneLine
from ._line import Line
from ._refilled import WIDE
from ._traced import TracedBuffer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ._line import LineCall
    from ._pump import Unusual

__all__ = ["TracedLine", "line_of"]

_BRIEF_S: Final = 1e-4
"""How long a burst may take for the next one to be longer, in seconds."""


class TracedLine(Line):
    """One function between two edges that are traced.

    Args:
        call: The function.
    """

    def __init__(self, call: LineCall) -> None:
        super().__init__((call,))
        self._size = 1
        self._notes = notes = _Notes(cast("Any", self.source._buffer), cast("Any", self._target._peer._buffer))
        self._put: Callable[[list[Any]], None] = notes.enter
        if call.sends is True:
            notes.kept = []
            place, run, _, func, sends, plain, source = self._calls[0]
            self._calls = ((place, run, notes.filter_burst, func, sends, plain, source),)

    def move(self) -> Unusual:
        source, target, notes = self.source, self._target, self._notes
        while True:
            self._most = self._size
            began = notes.before.taken_s = notes.now()
            unusual = super().move()
            if notes.entered_s - began >= _BRIEF_S:
                self._size = 1
            elif self._size < WIDE:
                self._size *= 2
            if not source._buffer or unusual is not None or self.is_settled:
                return unusual
            # Who was given something may have gone on with it, and have ended what is behind.
            if not self.is_clear() or len(notes.behind) >= (target._limit if self._turn is None else self._full):
                return None


class _Notes:
    """What is noted of the bursts of one line. It does not know the line, so nothing is left to the garbage collector.

    Args:
        before: Where they are taken.
        behind: Where they enter.
    """

    def __init__(self, before: TracedBuffer, behind: TracedBuffer) -> None:
        self.before = before
        self.behind = behind
        self.now = before.now
        self.entered_s = 0.0
        self.kept: list[int] | None = None  # the places in the burst of what goes on; None: all of it does

    def enter(self, given: list[Any]) -> None:
        """Put in what has become of a burst, or of its first elements."""
        now = self.entered_s = self.now()
        way = self.before.way
        if self.kept is not None:
            way = [way[place] for place in self.kept]
        elif len(way) > len(given):
            way = way[: len(given)]
        self.behind.enter_burst(given, way, self.before.taken_s, now)

    def filter_burst(
        self, func: Callable[[Any], object], coming: Iterator[Any], given: list[Any], plain: set[type]
    ) -> Unusual:
        """Do what the burst of any filter does, and note what goes on."""
        kept = self.kept = []
        for place, element in enumerate(coming):
            verdict = func(element)
            if verdict is True and type(element) in plain:
                given.append(element)
                kept.append(place)
            elif verdict is not False:
                return element, verdict
        return None


def line_of(calls: Sequence[LineCall]) -> Line | None:
    """Return the line of some functions, which suits the edges around them; None: there is none."""
    source, target = calls[0].source, calls[-1].target
    has_lanes = isinstance(source, LaneReceiveEnd) or target._lanes is not None
    before, behind = source._buffer, target._buffer
    if not (isinstance(before, TracedBuffer) or isinstance(behind, TracedBuffer)):
        return LaneLine(calls) if has_lanes else Line(calls)
    if has_lanes or len(calls) > 1 or not isinstance(before, TracedBuffer) or not isinstance(behind, TracedBuffer):
        return None
    if not (before.moves_bursts and behind.takes_bursts):
        return None
    return TracedLine(calls[0])

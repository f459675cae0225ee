"""The text that a guard holds back, and what of it may be shown.

Above: `_guard_stages`. Below: `_guard_checks`.

Rules. A character is let through once `hold` characters are behind it: then every match that begins at it, and is no longer than
`hold`, has been seen whole, with what stands behind it. A match that begins there and goes on beyond is held whole. So what is
let through depends on the text alone, and not on how it was divided. What a guard says of later places is asked again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import deque
from typing import TYPE_CHECKING

from ..elements import StreamElement, TextElement, survives_interruption
from ._guardrails import GuardView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._guard_checks import Found, Guards

__all__ = ["Edit", "GuardedText", "without_overlaps"]

_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f]+[\"'”’)\]]*(?=\s)\s+|\n+")


@dataclasses.dataclass(frozen=True, slots=True)
class Edit:
    """A place in a text, in characters from its beginning, and what stands there instead."""

    start: int
    end: int
    text: str


class GuardedText:
    """The text of one answer, while it comes.

    Args:
        guards: Who is asked.
        hold: How many characters are held back.
        by_sentence: Whether only whole sentences are let through.
        max_held: Characters from which on a sentence, or a match, is divided.
        max_waiting: Most other elements that wait behind text.
    """

    def __init__(self, guards: Guards, hold: int, *, by_sentence: bool, max_held: int, max_waiting: int) -> None:
        self._guards = guards
        self._hold = hold
        self._by_sentence = by_sentence
        self._max_held = max_held
        self._max_waiting = max_waiting
        self.is_denied: bool = False
        """Whether something was denied since the last end of a turn."""
        self.clear()

    def clear(self) -> None:
        """Begin a new text."""
        self._entries: deque[StreamElement] = deque()
        self._waiting = 0
        self._text = ""
        self._start = 0
        self._offset = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self.length: int = 0
        """Characters that have come."""
        self.edits: list[Edit] = []
        """What was replaced so far."""
        self.found: list[Found] = []
        """What was decided and has not been told."""
        self.stopped: Found | None = None
        """Why the text has ended; None: it goes on."""
        self.stopped_at: int = 0
        """How many characters of it were let through or replaced when it ended."""

    def is_all_of(self, text: str) -> bool:
        """Say whether what has come is exactly `text`."""
        return (
            len(text) == self.length and hashlib.blake2b(_bytes(text), digest_size=16).digest() == self._digest.digest()
        )

    def forget_stale(self) -> None:
        """Drop what an interruption drops; what came before it is no context of what comes after."""
        kept = [one for one in self._entries if survives_interruption(one)]
        stopped, at = self.stopped, self.stopped_at
        self.clear()
        self.stopped, self.stopped_at = stopped, at
        self._entries.extend(kept)
        self._text = "".join(one.text for one in kept if isinstance(one, TextElement))
        self._waiting = sum(not isinstance(one, TextElement) or not one.text for one in kept)

    def add(self, element: StreamElement) -> Iterable[StreamElement]:
        """Take an element; return others that leave before the text they came behind, because too many wait."""
        if isinstance(element, TextElement):
            self._digest.update(_bytes(element.text))
            self.length += len(element.text)
            if self.stopped is not None:
                return ()
            self._text += element.text
        if self._entries or isinstance(element, TextElement):
            self._entries.append(element)
            if not isinstance(element, TextElement) or not element.text:
                self._waiting += 1
            return self._let_others_go() if self._waiting > self._max_waiting else ()
        return (element,)

    async def advance(self, *, final: bool = False) -> list[StreamElement]:
        """Return what may be shown now, edited.

        Args:
            final: Whether nothing comes behind.

        Cancellation: nothing was let through.
        """
        if self.stopped is not None:
            return []
        ready = self._ready(final=final)
        if ready <= self._start:
            return self._release(ready, [])
        view = GuardView(self._text, self._start, self._offset, final)
        found = await self._guards.check(view)
        ready = self._settled(ready, found, final=final)
        acting = [one for one in found if one.start < ready or one.is_all or (final and one.stops)]
        if any(one.is_all for one in acting):
            ready = len(self._text)
        stop = next((one for one in acting if one.stops), None)
        if stop is not None:
            acting = [one for one in acting if one.start < stop.start and not one.stops]
            ready = stop.start
        edits = without_overlaps(acting, self._start)
        shown = self._release(ready, edits)
        self.found.extend(acting)
        if stop is not None:
            self.found.append(stop)
            self.stopped, self.stopped_at = stop, self._offset + self._start
            self.is_denied = True
            self._entries.clear()
            self._waiting = 0
        return shown

    def _ready(self, *, final: bool) -> int:
        """Return up to where the text may be let through, if no guard says otherwise."""
        size = len(self._text)
        if final:
            return size
        ready = size - self._hold
        if self._by_sentence and size - self._start <= self._max_held:
            ends = (found.end() for found in _SENTENCE_END.finditer(self._text, self._start))
            ready = max((end for end in ends if end <= ready), default=0)
        return max(ready, self._start)

    def _settled(self, ready: int, found: Iterable[Found], *, final: bool) -> int:
        """Return the same without dividing a match, unless that is too long to be held."""
        if final:
            return ready
        too_long = len(self._text) - self._start > self._max_held + 2 * self._hold
        for one in sorted(found, key=lambda each: -each.start):
            if one.start < ready < one.end and not one.is_all:
                ready = one.end if too_long else one.start
        return max(ready, self._start)

    def _release(self, ready: int, edits: list[Edit]) -> list[StreamElement]:
        """Return the elements up to a place, each with its header; what is replaced stands where it began."""
        shown: list[StreamElement] = []
        at = self._start
        pending = deque(edits)
        while self._entries:
            head = self._entries[0]
            if not isinstance(head, TextElement) or not head.text:
                self._entries.popleft()  # all text before it has been shown
                self._waiting -= 1
                shown.append(head)
                continue
            if at >= ready:
                break
            taken = min(len(head.text), ready - at)
            said = self._edited(at, at + taken, pending)
            at += taken
            if said:
                shown.append(head if said == head.text else head.replace(text=said))
            if taken == len(head.text):
                self._entries.popleft()
            else:
                self._entries[0] = head.replace(text=head.text[taken:])
        self.edits.extend(Edit(one.start + self._offset, one.end + self._offset, one.text) for one in edits)
        cut = max(0, ready - max(self._hold, 1))
        self._text, self._start, self._offset = self._text[cut:], ready - cut, self._offset + cut
        return shown

    def _edited(self, start: int, end: int, pending: deque[Edit]) -> str:
        """Return the text from `start` to `end` with what is to be done to it."""
        said: list[str] = []
        while pending and pending[0].start < end:
            edit = pending[0]
            if edit.start >= start:
                said.append(self._text[start : edit.start])
                said.append(edit.text)
            start = min(edit.end, end)
            if edit.end > end:
                break
            pending.popleft()
        said.append(self._text[start:end])
        return "".join(said)

    def _let_others_go(self) -> list[StreamElement]:
        others = [one for one in self._entries if not isinstance(one, TextElement)]
        self._entries = deque(one for one in self._entries if isinstance(one, TextElement) and one.text)
        self._waiting = 0
        return others


def without_overlaps(found: Iterable[Found], start: int) -> list[Edit]:
    """Return what is to be replaced, from `start` on; of two that overlap, the first one is whole."""
    edits: list[Edit] = []
    for one in found:
        begin = max(one.start, edits[-1].end if edits else start)
        if begin < one.end:
            edits.append(Edit(begin, one.end, one.decision.text))
    return edits


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")

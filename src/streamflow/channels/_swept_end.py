"""What interruptions and failures have to do with one end: the places of who waits there, and what they change of a reading end.

Above: `_receive_end`, `_send_end`; `_sweep`, which changes it. Below: `_wait`.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections import deque
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from ..elements import ControlElement, TurnEnd
from ..errors import ElementError

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Mapping

    from ..errors import CloseReason
    from ._hand import Hand
    from ._level import Level
    from ._line import Line
    from ._merge import Relay
    from ._receive_end import ReceiveEnd
    from ._send_end import SendEnd
    from ._sweep import Fence, Herald
    from ._watching import ChannelWatch

__all__ = ["ASIDE", "SweptEnd"]

ASIDE = 1000
"""Most elements that are kept aside for a reader that accumulates, between two ends of a turn."""


class SweptEnd:
    """A reading end as interruptions and supervision see it. What interruptions change is told by the class until one comes."""

    name: str
    _forward: SendEnd[Any] | None
    _buffer: deque[Any]
    _plain: set[type]
    _sender: SendEnd[Any] | None
    _checkpoint_at: int
    received: int
    attention: int
    _receiving: bool
    _hand: Hand | None
    _owes: bool
    _is_joined: bool = False  # whether any of the next five was ever set
    _line: weakref.ref[Line] | None = None  # that takes bursts out of this edge
    _is_driven: bool = False  # see `_driven`
    _line_before: weakref.ref[Line] | None = None  # that puts bursts into it
    _relay: Relay | None = None  # of the merge that reads this edge
    _level: Level | None = None  # of the fork that writes this edge
    _gate: Fence | None = None  # around the stage that reads here: to be lifted before the next element is taken
    _aside: deque[Any] | None
    _watch: ChannelWatch | None
    _discarded: Mapping[str, int] = MappingProxyType({})  # by reason
    _is_fenced: bool = False  # the stage that writes here is
    herald: Callable[[], Herald | None] | None = None
    """Returns who hears of each `Interrupt` that is sent, before it enters; None: nobody does."""
    end_in_hand: TurnEnd | None = None
    """The last one that a reader which accumulates has taken, until it sends one."""
    in_hand: object = None
    """What the reader's awaited call works on, if the reader says so: the last element for which it has awaited one."""

    def keep_hand(self, hand: Hand) -> None:
        """From now on note in `hand` what the reader has in hand, and give it again when it is due. There is no fast path then."""
        self._hand = hand
        self.attention += 1

    def owe_ends(self) -> None:
        """Know that this reader accumulates: a `TurnEnd` that it takes is owed to its output until it sends one."""
        if self._forward is not None:
            self._forward._debtor = cast("ReceiveEnd[Any]", self)

    def keep_aside(self) -> None:
        """Keep what this reader does not accept until its results are out: it accumulates, and sends them with a `TurnEnd`.

        What would be passed on is kept aside from the first element that the reader takes until the output, which
        `forward_to()` has named, is about to send a `TurnEnd`, and leaves just before that; the rest is for `pass_rest()`. At
        most `ASIDE` elements; they count as buffered, beyond the capacity.
        """
        self._aside = deque()
        self.attention += 1
        self.owe_ends()

    def _refuse_more_aside(self, aside: deque[Any]) -> None:
        """Raise `ElementError` if as much is kept aside as may be."""
        if len(aside) >= ASIDE:
            message = (
                f"edge {self.name}: {ASIDE} elements wait until the reader, which accumulates, sends a TurnEnd behind its "
                "results; end turns more often, or declare bypass='early' so that they need not wait"
            )
            raise ElementError(message)

    @property
    def is_asking(self) -> bool:
        """Whether its reader waits for an element, or for room for one that passes it by; so it has none in hand."""
        return self._receiving

    def _settle(self) -> None:
        """Have what is on its way put into its edges, before anybody looks at them."""
        for here in (self._line, self._line_before):
            line = None if here is None else here()
            if line is not None:
                line.settle()
        merge = None if self._relay is None else self._relay.merge()
        if merge is not None:
            merge._settle()
        if self._level is not None:
            self._level.put()

    def _catch_up_with_merge(self) -> None:
        """Have what has left by a merge taken out of this edge: there may be more room than it seems."""
        merge = None if self._relay is None else self._relay.merge()
        if merge is not None:
            merge._catch_up()

    def _reader(self) -> Line | None:
        """Return the line that takes bursts out of this edge."""
        return None if self._line is None else self._line()

    def _carry_on(self) -> bool:
        """Have what is here go through the functions of the line that reads it, and say whether there is room then."""
        line = None if self._line is None else self._line()
        if line is None or self.received >= self._checkpoint_at:
            self._leave_line()  # others have their turn while the line's task moves it
            return False
        return line.push() and self._sender is not None and len(self._buffer) < self._sender._limit

    def _leave_line(self) -> None:
        """Be ended: what is on its way is put into its edges, and a line that waits for what is driven into this one is told."""
        self._settle()
        line = self._reader() if self._is_driven else None
        if line is not None:
            line.wake()

    def _note(self, item: object) -> None:
        """Know what the reader is about to take."""
        if not isinstance(item, ControlElement):
            self._owes = True
        elif isinstance(item, TurnEnd) and self._forward is not None and self._forward._debtor is self:
            self.end_in_hand = item

    def _settle_turn(self) -> None:
        """Know that the reader has sent the results of all that it took."""
        self._owes = False
        self.end_in_hand = None

    def _take_note(self) -> None:
        """Have one reason more for a second look: an element that is not plain has come."""
        self.attention += 1

    def _keep(self, stays: list[bool]) -> int:
        """Take out of the buffer what does not stay, and return how many there were; see `_sweep`."""
        buffer = self._buffer
        goes = [place for place, does_stay in enumerate(stays) if not does_stay]
        for place in reversed(goes):
            if type(buffer[place]) not in self._plain:
                self.attention -= 1
            del buffer[place]
        return len(goes)

    def _drop_kept(self, _does_stay: Callable[[object], bool]) -> int:
        """Drop what does not stay of what was taken out of the edges and is kept to leave later; return how much that was."""
        return 0

    def _discard(self, reason: CloseReason) -> None:
        """Throw away all that waits here, and count it."""
        items = [*(self._aside or ()), *self._buffer]
        self._count_discarded(reason, len(items))
        if self._watch is not None:
            self._watch.on_discarded(items, reason)
        self._buffer.clear()
        if self._aside is not None:
            self._aside.clear()
        if self._forward is not None:
            self._forward._wake_waiting()  # a task may wait there, for room for what is gone now

    def _count_discarded(self, reason: str, count: int = 1) -> None:
        """Count elements that were thrown away."""
        self._discarded = {**self._discarded, reason: self._discarded.get(reason, 0) + count}

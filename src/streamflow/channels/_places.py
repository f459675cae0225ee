"""Who reads and writes edges in a run that is traced, and what is noted of an element's way.

Above: `_traced`, whose buffers ask and tell places. Below: nothing. The rules are at the top of `_traced`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from ..elements import ControlElement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "BEGINNING",
    "CollectingPlace",
    "EndPlace",
    "Entry",
    "Hop",
    "MergePlace",
    "Origin",
    "Root",
    "SeveralPlace",
    "StagePlace",
    "entry_of",
]


Root: TypeAlias = int
"""Where a trace begins: how many there were before it in its run; `~` of that where what came before was cut off."""

Entry: TypeAlias = "tuple[Any, int, float] | tuple[Any, tuple[float, int, float]]"
"""What is noted of an element in an edge: its `Origin`, the edge's number, when it entered, on the event loop's clock. Or what was
noted of it in the edge before, and when it left that with a burst, the edge's number, when the burst entered: see `entry_of()`."""

Hop: TypeAlias = "tuple[Entry, float]"
"""One way over one edge, or through a merge: the entry, and when it left. No class: one is made for each element and edge."""

Origin: TypeAlias = "Hop | Root | list[Hop]"
"""What an element comes from: one that had come so far, several, or nothing before it."""

BEGINNING: Final[list[Hop]] = []
"""What a stage has in hand that has taken nothing yet: what it sends begins a trace."""

_KNOWN: Final = 256
"""Most elements that a place knows apart, and that came to it since it sent something new."""


class StagePlace:
    """A stage of one element at a time, or the source: what it sends comes from what it took last.

    Args:
        begin: Returns the root of a new trace, or None.
    """

    def __init__(self, begin: Callable[[], Root | None]) -> None:
        self.hop: Origin | None = BEGINNING
        self.begin: Callable[[], Root | None] = begin
        """Begins a trace."""

    def took(self, item: object, hop: Hop | None) -> None:
        """Know what it has in hand."""
        self.hop = hop

    def origin(self, item: object) -> Origin | None:
        """Return what it has in hand; begin a trace before it has taken anything, as the source never does."""
        return self.hop if self.hop is not BEGINNING else self.begin()

    def taken(self) -> Origin | None:
        """Return what it has taken last, for `derive()`."""
        return None if self.hop is BEGINNING else self.hop

    def known(self, item: object) -> Origin | None:
        """Return what an element has come from that it has, for `derive()`; None if it is not known, or not traced."""
        del item
        return self.taken()

    def derive(self, item: object, origins: Sequence[Origin | None]) -> None:
        """Know better: it has one in hand, so what it sends can come from nothing else."""

    def forget(self) -> None:
        """Know that it begins anew."""


class SeveralPlace(StagePlace):
    """A stage that may have several elements, and gives results for them one by one: known by identity, or told by `derive()`."""

    def __init__(self, begin: Callable[[], Root | None]) -> None:
        super().__init__(begin)
        self._held: dict[
            int, list[tuple[object, Origin | None]]
        ] = {}  # by identity; the element is kept, so it stays the same
        self._sent: tuple[object, Origin | None] = (None, None)

    def took(self, item: object, hop: Hop | None) -> None:
        """Know what it has."""
        self.hop: Origin | None = hop
        self._keep(item, hop)

    def origin(self, item: object) -> Origin | None:
        """Return what this very element came from; else what it took last."""
        held = self._held.get(id(item))
        if held:
            origin = held.pop(0)[1]
            if not held:
                del self._held[id(item)]
            self._sent = item, origin
            return origin
        if item is self._sent[0]:
            return self._sent[1]
        return self._of_new()

    def known(self, item: object) -> Origin | None:
        held = self._held.get(id(item))
        return held[0][1] if held else None

    def derive(self, item: object, origins: Sequence[Origin | None]) -> None:
        """Know what an element comes from that it is about to send."""
        origin = _as_one([one for one in origins if isinstance(one, tuple)])
        self._held.setdefault(id(item), []).insert(0, (item, origin))

    def forget(self) -> None:
        self._held.clear()
        self._sent = None, None

    def _of_new(self) -> Origin | None:
        return super().origin(None)

    def _keep(self, item: object, origin: Origin | None) -> None:
        held = self._held
        held.setdefault(id(item), []).append((item, origin))
        if len(held) > _KNOWN:
            del held[next(iter(held))]


class CollectingPlace(SeveralPlace):
    """A stage that collects: what is new of what it sends comes from all that it took since it sent something new before.

    Args:
        begin: Returns the root of a new trace, or None.
        accepts: Says of an element whether the stage takes it, so that it does not merely pass it by.
        most: Most elements that one is said to come from.
    """

    def __init__(self, begin: Callable[[], Root | None], accepts: Callable[[object], bool], most: int) -> None:
        super().__init__(begin)
        self._accepts = accepts
        self._most = most
        self._batch: list[Hop] = []
        self._is_untraced = False  # whether it has taken something that is not traced
        self._has_sent = False
        self._of_batch: Origin | None = None

    def took(self, item: object, hop: Hop | None) -> None:
        if self._accepts(item):
            if self._has_sent:
                self._batch, self._has_sent = [], False
            if hop is not None and len(self._batch) < self._most:
                self._batch.append(hop)
            self.hop: Origin | None = hop
        self._keep(item, hop)

    def forget(self) -> None:
        super().forget()
        self._batch = []

    def _of_new(self) -> Origin | None:
        if not self._has_sent:
            self._has_sent = True
            self._of_batch = _as_one(self._batch)
        return self.begin() if self.hop is BEGINNING else self._of_batch


class MergePlace:
    """A merge: it gives what it has taken, or makes one element of the latest of each input.

    Args:
        number: The number that hops of what it makes have.
        now: The event loop's clock.
        known: Most elements that it holds at a time.
    """

    hop: Origin | None = None

    def __init__(self, number: int, now: Callable[[], float], known: int) -> None:
        self.number: int = number
        """Told apart from edges by this."""
        self._now = now
        self._known = known
        self._held: dict[int, list[tuple[object, Hop | None]]] = {}
        self._control: dict[
            int, tuple[object, Hop | None]
        ] = {}  # copies of a fork are the same object, and one of them leaves
        self._latest: dict[int, Hop | None] = {}

    def pulled(self, edge: int, item: object, hop: Hop | None) -> None:
        """Know an element that an input has given."""
        known: dict[int, Any]
        if isinstance(item, ControlElement):
            known = self._control
            known[id(item)] = item, hop
        else:
            known = self._held
            self._latest[edge] = hop
            known.setdefault(id(item), []).append((item, hop))
        if len(known) > self._known:
            del known[next(iter(known))]

    def origin(self, item: object) -> Origin | None:
        """Return the hop over the input by which an element came; of what is made, the latest of all inputs."""
        if isinstance(item, ControlElement):
            return self._control.pop(id(item), (None, None))[1]
        held = self._held.get(id(item))
        if held:
            hop = held.pop(0)[1]
            if not held:
                del self._held[id(item)]
            return hop
        self._held.clear()  # what it was made of does not leave by itself
        now = self._now()
        return [(one[0], now) for one in self._latest.values() if one is not None] or None


class EndPlace(StagePlace):
    """Where traces end: the consumer, or a sink.

    Args:
        begin: Returns the root of a new trace, or None.
        ended: Told of each element that is taken, and of its last hop if it is followed.
        is_final: Whether it sends nothing, not even a dead letter.
        keep: Where it is final, and nobody hears of each element at once, takes what is noted of it, when it was taken, its type,
            and how it ended.
    """

    def __init__(
        self,
        begin: Callable[[], Root | None],
        ended: Callable[[object, Hop | None], None],
        *,
        is_final: bool,
        keep: Callable[[tuple[Entry, float, type, Literal["delivered"]]], None] | None = None,
    ) -> None:
        super().__init__(begin)
        self.ended: Callable[[object, Hop | None], None] = ended
        """Told of each element."""
        self.is_final: bool = is_final
        """Whether it sends nothing."""
        self.keep: Callable[[tuple[Entry, float, type, Literal["delivered"]]], None] | None = keep
        """Takes what is noted of each element, if nobody hears of it."""

    def took(self, item: object, hop: Hop | None) -> None:
        """Tell it."""
        self.hop: Origin | None = hop
        self.ended(item, hop)


def entry_of(hop: Hop) -> tuple[Origin, int, float]:
    """Return what an element comes from that came over an edge, the edge's number, and when it entered."""
    entry = hop[0]
    if len(entry) == 3:  # what was noted of it alone
        return entry
    before, (taken_s, edge, entered_s) = entry
    return (before, taken_s), edge, entered_s


def _as_one(hops: list[Hop]) -> Origin | None:
    """Return several hops as one origin."""
    return hops if len(hops) > 1 else hops[0] if hops else None

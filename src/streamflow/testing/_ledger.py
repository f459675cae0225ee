"""An independent account of what every edge did: nothing lost, nothing twice, order kept, the bound kept, control never dropped.

Above: tests. Below: `channels`, which tell a watch what moves. A watched edge has no fast path, and is otherwise the same.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, Literal

from ..channels import EDGE_WATCH
from ..elements import ControlElement, Interrupt, Marker, Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Token
    from types import TracebackType
    from typing import Self

    from ..channels import ChannelStatistics, ChannelWatch, EdgeBound, Overflow, ReceiveEnd, SendEnd

__all__ = ["EdgeLedger", "EdgeRecord"]

_MOST_PASSERS: Final = {Priority.LOW: 0, Priority.NORMAL: 16, Priority.HIGH: 32, Priority.CRITICAL: 64}
"""Most elements up to each priority that may overtake one, where there are lanes."""


class EdgeRecord:
    """The account of one edge; a `ChannelWatch`. Made by `EdgeLedger.watch()`.

    Elements are told apart by identity, and one that was sent twice is owed twice. All of them are kept alive. Where an edge has
    priority lanes, none may be sent again before it has left.

    Args:
        name: What the ledger calls the edge.
        capacity: The bound of the edge, None if unknown.
        bound: What else bounds it: with priority lanes, the order of leaving is checked by their rules.
    """

    hears_sends: bool = True

    def __init__(self, name: str, capacity: int | None, bound: EdgeBound | None = None) -> None:
        self.name = name
        """What the ledger calls the edge."""
        self.capacity = capacity
        """The bound of the edge, None if unknown."""
        self.overflow: Overflow = "block" if bound is None else bound.overflow
        """What becomes of data for which there is no room."""
        self.lanes: bool = bound is not None and bound.lanes
        """Whether there is a lane for each priority."""
        self.sent: list[object] = []
        """What entered the edge, or was refused, in order."""
        self.received: list[object] = []
        """What the reader took, passed on or dropped, in order."""
        self.dropped: list[object] = []
        """What was thrown away, in that order."""
        self.discarded: Counter[str] = Counter()
        """How many elements were thrown away, by reason."""
        self.peak: int = 0
        """Most elements that the edge held at one time, without the runtime's own markers."""
        self.blocked: Counter[str] = Counter()
        """How many times a task began to wait, by `send` and `receive`."""
        self.waiting: Counter[str] = Counter()
        """How many tasks wait now, by `send` and `receive`."""
        self._held: list[object] = []
        self._markers = 0  # among these
        self._passers: dict[int, list[Priority]] = {}  # of each that was overtaken, by identity
        self._over_bound_at: int | None = None
        self._wrong: list[str] = []
        self._end: ReceiveEnd[object] | SendEnd[object] | None = None

    @property
    def _bounded(self) -> int:
        """Those that the bound is about: a marker of the runtime belongs to the element before it."""
        return len(self._held) - self._markers

    @property
    def buffered(self) -> int:
        """Elements that the edge must hold now."""
        return len(self._held)

    def attach(self, end: ReceiveEnd[object] | SendEnd[object]) -> None:
        """Let `check` compare this account with what the edge itself says in `end.statistics()`."""
        self._end = end
        told = end.statistics()
        self.capacity, self.overflow = told.capacity, told.overflow

    def on_sent(self, item: object) -> None:
        """Note that `item` entered the edge."""
        self.sent.append(item)
        self._held.append(item)
        self._markers += isinstance(item, Marker)
        self.peak = max(self.peak, self._bounded)
        if self._is_over_bound() and self._over_bound_at is None:
            self._over_bound_at = len(self.sent)

    def on_received(self, item: object) -> None:
        """Note that `item` left the edge, and look whether it was its turn."""
        ordinal = len(self.received)
        self.received.append(item)
        place = self._place_of(item)
        if place is None:
            known = any(item is sent for sent in self.sent)
            self._wrong.append(
                f"received #{ordinal} {_brief(item)} {'a second time' if known else 'that was never sent'}"
            )
            return
        if self.lanes:
            for other in self._held[:place]:
                self._overtake(item, other)
        elif place:
            first = _brief(self._held[0])
            self._wrong.append(
                f"received #{ordinal} {_brief(item)} before {first}, which was sent earlier: lost or overtaken"
            )
        self._forget(place)

    def on_discarded(self, items: Sequence[object], reason: str) -> None:
        """Note that these were thrown away."""
        for item in items:
            self._drop(item, reason)
            place = self._place_of(item)
            if place is None:
                self._wrong.append(f"discarded {_brief(item)} ({reason}), which is not in the edge")
            else:
                self._forget(place)

    def on_refused(self, item: object, reason: str) -> None:
        """Note that this was thrown away instead of entering."""
        self.sent.append(item)
        self._drop(item, reason)

    def _drop(self, item: object, reason: str) -> None:
        self.dropped.append(item)
        self.discarded[reason] += 1
        if reason == "overflow" and isinstance(item, ControlElement):
            self._wrong.append(f"dropped {_brief(item)}: control is never dropped because of an overflow")

    def _place_of(self, item: object) -> int | None:
        return next((place for place, held in enumerate(self._held) if held is item), None)

    def _forget(self, place: int) -> None:
        item = self._held.pop(place)
        self._markers -= isinstance(item, Marker)
        self._passers.pop(id(item), None)

    def _is_over_bound(self) -> bool:
        if self.capacity is None:
            return False
        if self.overflow == "block":
            return self._bounded > self.capacity
        controls = sum(isinstance(item, ControlElement) for item in self._held)
        most = self.capacity if self.overflow != "latest" else len(Priority) if self.lanes else 1
        return controls > self.capacity or self.buffered - controls > most

    def _overtake(self, item: object, other: object) -> None:
        """Note that `item` left before `other`, which was sent earlier, and look whether lanes let it."""
        priority, its = (Priority(getattr(one, "priority", Priority.NORMAL)) for one in (item, other))
        passers = self._passers.setdefault(id(other), [])
        passers.append(priority)
        told = f"{_brief(item)} overtook {_brief(other)}"
        if _is_fence(item) or _is_fence(other):
            self._wrong.append(f"{told}: control is a fence")
        if priority <= its:
            self._wrong.append(f"{told}, which is no less urgent")
        for most_urgent, most in _MOST_PASSERS.items():
            if sum(one <= most_urgent for one in passers) > most:
                self._wrong.append(f"{told}, as the {len(passers)}th; up to {most_urgent.name} at most {most} may")

    def on_blocked(self, end: Literal["send", "receive"], *, blocked: bool) -> None:
        """Note that a task begins or ends to wait."""
        self.waiting[end] += 1 if blocked else -1
        if blocked:
            self.blocked[end] += 1
        if self.waiting[end] < 0 or (end == "receive" and self.waiting[end] > 1):
            self._wrong.append(f"{self.waiting[end]} tasks wait to {end}")

    def findings(self, *, ended: bool = False) -> list[str]:
        """Return what is wrong, one line each; see `EdgeLedger.check()`."""
        found = list(self._wrong)
        if ended and self.buffered:
            found.append(
                f"lost {self.buffered}: sent and neither received nor discarded, first {_brief(self._held[0])}"
            )
        found += [f"{count} tasks still wait to {end}" for end, count in self.waiting.items() if ended and count > 0]
        if self._over_bound_at is not None and self._over_bound_at < len(self.sent):
            # One last notice may go beyond the bound; nothing is sent after it.
            found.append(f"held {self.peak} with a capacity of {self.capacity}, and not because of a last notice")
        elif self.overflow == "block" and self.capacity is not None and self.peak > self.capacity + 1:
            found.append(f"held {self.peak} with a capacity of {self.capacity}")
        if self._end is not None:
            found += self._differences(self._end.statistics())
        return found

    def _differences(self, told: ChannelStatistics) -> list[str]:
        pairs = {
            "sent": (len(self.sent), told.sent),
            "received": (len(self.received), told.received),
            "discarded": (dict(self.discarded), told.discarded),
            "buffered": (self.buffered, told.buffered),
        }
        return [
            f"{key}: {mine} by this account, {its} by the edge's own"
            for key, (mine, its) in pairs.items()
            if mine != its
        ]

    def __str__(self) -> str:
        discarded = ", ".join(f"{count} {reason}" for reason, count in self.discarded.items()) or "0"
        bound = "" if self.capacity is None else f"/{self.capacity}"
        counts = (
            f"sent {len(self.sent)}, received {len(self.received)}, discarded {discarded}, buffered {self.buffered}"
        )
        return f"{self.name}: {counts}, peak {self.peak}{bound}"


class EdgeLedger:
    """Keeps an account of every edge of the runs that are started inside it.

    ```python
    with EdgeLedger() as ledger:
        await pipeline.run("hello")
    ledger.check(ended=True)
    assert ledger.edges["source → shout"].received == [...]
    ```

    For a channel of your own: `record = ledger.watch("mine")`, `send, receive = open_channel(watch=record)`, `record.attach(send)`.

    Args:
        capacity: The bound of edges to which no end is attached; their peak is checked against it.
    """

    def __init__(self, *, capacity: int | None = None) -> None:
        self.edges: dict[str, EdgeRecord] = {}
        """The accounts, by name of the edge (`a → b`); the second edge of one name is `a → b (2)`, and so on."""
        self._capacity = capacity
        self._names: Counter[str] = Counter()
        self._tokens: list[Token[Callable[[str, EdgeBound | None], ChannelWatch]]] = []

    def __enter__(self) -> Self:
        self._tokens.append(EDGE_WATCH.set(self.watch))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        EDGE_WATCH.reset(self._tokens.pop())

    def watch(self, name: str, bound: EdgeBound | None = None) -> EdgeRecord:
        """Open the account of one more edge, to be given to `open_channel(watch=)`; one with priority lanes needs its `bound`."""
        self._names[name] += 1
        number = self._names[name]
        key = name if number == 1 else f"{name} ({number})"
        record = self.edges[key] = EdgeRecord(key, self._capacity, bound)
        return record

    def check(self, *, ended: bool = False) -> None:
        """Check every edge: order kept, nothing twice, nothing lost, the bound kept, the edge's own statistics the same.

        Args:
            ended: The runs are over, so that nothing may be left in an edge and nobody may wait.

        Raises:
            AssertionError: Something is wrong; the message is the report.
        """
        if any(record.findings(ended=ended) for record in self.edges.values()):
            raise AssertionError(f"edges did not keep their rules\n{self.report(ended=ended)}")

    def report(self, *, ended: bool = False) -> str:
        """Return one line per edge, and below it what is wrong with it."""
        lines: list[str] = []
        for record in self.edges.values():
            lines.append(str(record))
            lines += [f"    ! {finding}" for finding in record.findings(ended=ended)]
        return "\n".join(lines)


def _is_fence(item: object) -> bool:
    """Say whether nothing overtakes it, and it overtakes nothing."""
    return isinstance(item, ControlElement) and not isinstance(item, Interrupt)


def _brief(item: object) -> str:
    return f"{item!r:.60}"

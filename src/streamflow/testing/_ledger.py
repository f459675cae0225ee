"""An independent account of what every edge did: nothing lost, nothing twice, order kept, the bound kept.

Above: tests. Below: `channels`, which tell a watch what moves. A watched edge has no fast path, and is otherwise the same.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Literal

from ..channels import EDGE_WATCH

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from types import TracebackType
    from typing import Self

    from ..channels import ChannelStatistics, ChannelWatch, ReceiveEnd, SendEnd

__all__ = ["EdgeLedger", "EdgeRecord"]


class EdgeRecord:
    """The account of one edge; a `ChannelWatch`. Made by `EdgeLedger.watch()`.

    Elements are told apart by identity, and one that was sent twice is owed twice. All of them are kept alive.

    Args:
        name: What the ledger calls the edge.
        capacity: The bound of the edge, None if unknown.
    """

    def __init__(self, name: str, capacity: int | None) -> None:
        self.name = name
        """What the ledger calls the edge."""
        self.capacity = capacity
        """The bound of the edge, None if unknown."""
        self.sent: list[object] = []
        """What entered the edge, in order."""
        self.received: list[object] = []
        """What the reader took, passed on or dropped, in order."""
        self.discarded: Counter[str] = Counter()
        """How many elements were thrown away, by reason."""
        self.peak: int = 0
        """Most elements that the edge held at one time."""
        self.blocked: Counter[str] = Counter()
        """How many times a task began to wait, by `send` and `receive`."""
        self.waiting: Counter[str] = Counter()
        """How many tasks wait now, by `send` and `receive`."""
        self._held: deque[object] = deque()
        self._unplaced = 0  # discards of which it is not yet known which elements they were
        self._over_bound_at: int | None = None
        self._wrong: list[str] = []
        self._end: ReceiveEnd[object] | SendEnd[object] | None = None

    @property
    def buffered(self) -> int:
        """Elements that the edge must hold now."""
        return len(self._held) - self._unplaced

    def attach(self, end: ReceiveEnd[object] | SendEnd[object]) -> None:
        """Let `check` compare this account with what the edge itself says in `end.statistics()`."""
        self._end = end
        self.capacity = end.statistics().capacity

    def on_sent(self, item: object) -> None:
        """Note that `item` entered the edge."""
        self.sent.append(item)
        self._held.append(item)
        self.peak = max(self.peak, self.buffered)
        if self.capacity is not None and self.buffered > self.capacity and self._over_bound_at is None:
            self._over_bound_at = len(self.sent)

    def on_received(self, item: object) -> None:
        """Note that `item` left the edge, and look whether it was its turn."""
        ordinal = len(self.received)
        self.received.append(item)
        place = next((place for place, held in enumerate(self._held) if held is item), None)
        if place is None:
            known = any(item is sent for sent in self.sent)
            self._wrong.append(
                f"received #{ordinal} {_brief(item)} {'a second time' if known else 'that was never sent'}"
            )
        elif place <= self._unplaced:
            # What stood before it is what was thrown away.
            for _ in range(place):
                self._held.popleft()
            self._unplaced -= place
            self._held.popleft()
        else:
            first = _brief(self._held[0])
            self._wrong.append(
                f"received #{ordinal} {_brief(item)} before {first}, which was sent earlier: lost or overtaken"
            )
            del self._held[place]

    def on_discarded(self, count: int, reason: str) -> None:
        """Note that `count` elements were thrown away."""
        self.discarded[reason] += count
        if count > self.buffered:
            self._wrong.append(f"discarded {count} ({reason}) with {self.buffered} in the edge")
        self._unplaced = min(self._unplaced + count, len(self._held))
        if self._unplaced == len(self._held):
            self._held.clear()
            self._unplaced = 0

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
        elif self.capacity is not None and self.peak > self.capacity + 1:
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
        self._tokens: list[Token[Callable[[str], ChannelWatch]]] = []

    def __enter__(self) -> Self:
        self._tokens.append(EDGE_WATCH.set(self.watch))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        EDGE_WATCH.reset(self._tokens.pop())

    def watch(self, name: str) -> EdgeRecord:
        """Open the account of one more edge, to be given to `open_channel(watch=)`."""
        self._names[name] += 1
        number = self._names[name]
        key = name if number == 1 else f"{name} ({number})"
        record = self.edges[key] = EdgeRecord(key, self._capacity)
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


def _brief(item: object) -> str:
    return f"{item!r:.60}"

"""What an edge tells about itself: its state, its counts, and a live report to whoever watches it.

Above: `_receive_end`, `runtime` (timeouts), `testing` (the ledger). Below: nothing.
"""

# ruff: noqa: SLF001 - it tells of an edge's inside
# pyright: reportPrivateUsage=false
from __future__ import annotations

import dataclasses
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._bounds import EdgeBound, Overflow
    from ._receive_end import ReceiveEnd
    from ._wait import Waiter

__all__ = ["EDGE_WATCH", "ChannelState", "ChannelStatistics", "ChannelWatch", "statistics_of", "watched"]

ChannelState = Literal["open", "completed", "failed", "cancelled"]
"""The life of an edge: open, then exactly one of the others for ever."""


class ChannelWatch(Protocol):
    """Hears of everything that happens on one edge, inline. Must not raise and must not wait. An edge without one pays nothing."""

    @property
    def hears_sends(self) -> bool:
        """Whether it wants to hear of what enters; if not, elements enter as they do where nobody watches, in bursts."""
        ...

    def on_sent(self, item: object) -> None:
        """Hear that `item` entered the edge."""
        ...

    def on_received(self, item: object) -> None:
        """Hear that `item` left the edge towards the reader."""
        ...

    def on_discarded(self, items: Sequence[object], reason: str) -> None:
        """Hear that these, which had entered, were thrown away: each the first in the edge that is that very object."""
        ...

    def on_refused(self, item: object, reason: str) -> None:
        """Hear that `item` was thrown away instead of entering; it counts as sent."""
        ...

    def on_blocked(self, end: Literal["send", "receive"], *, blocked: bool) -> None:
        """Hear that a sender or the receiver begins (True) or ends (False) to wait."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """What one edge has done so far: `sent == received + buffered + sum(discarded.values())`, always."""

    name: str
    """The edge, as `a → b`."""
    state: ChannelState
    """Open, or how it ended."""
    capacity: int
    """The bound, in elements."""
    sent: int
    """Elements that entered the edge."""
    received: int
    """Elements that the reader took."""
    buffered: int
    """Elements that wait in the edge now."""
    discarded: dict[str, int]
    """Elements that were thrown away, by reason; `overflow`: there was no room."""
    waiting_senders: int
    """Tasks that wait for room now."""
    waiting_receiver: bool
    """Whether the reader waits for an element now."""
    overflow: Overflow = "block"
    """What becomes of data for which there is no room."""
    weight: float | None = None
    """What it holds together weighs; None where nothing is weighed."""

    def __str__(self) -> str:
        waits = ["the reader waits"] * self.waiting_receiver + ["a sender waits"] * (self.waiting_senders > 0)
        return ", ".join([f"{self.name}: {self.state}, {self.buffered}/{self.capacity}", *waits])


async def watched(waiter: Waiter, watch: ChannelWatch) -> None:
    """Wait for room, and tell who watches that this is so."""
    watch.on_blocked("send", blocked=True)
    try:
        await waiter
    finally:
        watch.on_blocked("send", blocked=False)


def statistics_of(edge: ReceiveEnd[object]) -> ChannelStatistics:
    """Return what an edge has done so far, given its reading end."""
    return ChannelStatistics(
        name=edge.name,
        state=edge.state,
        capacity=edge.capacity,
        sent=edge.position + len(edge._buffer) + sum(edge._discarded.values()),
        received=edge.received,
        buffered=len(edge._buffer) + edge.position - edge.received,
        discarded=dict(edge._discarded),
        waiting_senders=len(edge._turns),
        waiting_receiver=edge._receiving,
    )


EDGE_WATCH: ContextVar[Callable[[str, EdgeBound | None], ChannelWatch]] = ContextVar("streamflow_edge_watch")
"""Makes a watch for each edge, by its name and bound, of the runs that are started where it is set; a merge is an edge without a
bound of its own. Unset: edges are not watched."""

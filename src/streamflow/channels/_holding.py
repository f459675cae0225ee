"""Holding an edge: whoever sends waits, until it is let go.

Above: `runtime` (recording). Below: `_send_end`, `_receive_end`.
Rule: an edge is held by a place in the queue of those who wait for room, which nobody overtakes. So nothing is looked at for
each element, and all that holds for senders who wait holds here. Who drops instead of waiting is not held.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Never

from ..elements import Marker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._pulse import Pulse
    from ._receive_end import ReceiveEnd
    from ._send_end import SendEnd
    from ._wait import Turn

__all__ = ["hold_edges"]


def hold_edges(edges: Iterable[ReceiveEnd[object]], pulse: Pulse) -> Callable[[], None]:
    """Let all who send into these edges wait, and return what lets them go on.

    Args:
        edges: The edges, by their reading ends: none that is part of a loop or of a chain. Those that have ended are left alone.
        pulse: Counts the tasks that can go on; whoever holds the edges is one more, so that nobody takes this for a deadlock.
    """
    held: list[tuple[SendEnd[Never], Turn]] = []
    for edge in edges:
        sender = edge._sender
        if sender is not None:
            turn = sender._queue_up(_MARKER)
            turn.item = None  # it is nothing that could be lost
            held.append((sender, turn))
    pulse.runnable += 1

    def let_go() -> None:
        while held:
            sender, turn = held.pop()
            sender._leave_queue(turn)
        pulse.begin_wait()

    return let_go


_MARKER = Marker()

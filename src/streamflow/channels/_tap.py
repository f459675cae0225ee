"""A tap: an edge that gets copies of what goes another way, as far as there is room, and that nobody waits for.

Above: `_fork`. Below: `_send_end`.

Data that does not fit is dropped and counted as `overflow`, the newest first. Control that does not fit may take as many places
beyond the capacity as there are in it; only what does not fit even there is dropped.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..elements import ControlElement

if TYPE_CHECKING:
    from ._send_end import SendEnd

__all__ = ["offer"]


def offer(tap: SendEnd[Any], item: object) -> None:
    """Put a copy of an element into the edge, if its reader accepts it and there is room. Never waits, never raises."""
    peer = tap._peer
    is_control = isinstance(item, ControlElement)
    if peer.state != "open" or not (is_control or peer._accepts(item)):
        return
    if tap._has_place(item) or (is_control and len(peer._buffer) < 2 * peer.capacity):
        tap._put(item)
    else:
        reason = "tap" if is_control else "overflow"
        peer._count_discarded(reason)
        if peer._watch is not None:
            peer._watch.on_refused(item, reason)

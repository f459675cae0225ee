"""Which tasks wait on edges, and for what: looked at when nothing else happens, kept by nobody. And more room for who waits.

Above: `runtime`. Below: `_receive_end`, `_lanes`, `_merge`, `_wait`.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Never, TypeVar

from .._records import Record
from ._lane_ends import LaneReceiveEnd
from ._limited import LimitedReceiveEnd
from ._merge import MergeEnd
from ._receive_end import WIDE
from ._wait import key_of_wait, means_of_waiting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ._pulse import Pulse
    from ._receive_end import ReceiveEnd
    from ._send_end import SendEnd
    from ._wait import Overseer, Waiter

__all__ = [
    "EdgeWait",
    "has_waiting_sender",
    "is_awaited",
    "oversee",
    "stand_in",
    "stands_at",
    "tell_loop",
    "tell_waits",
    "waits_on",
    "wake_reader",
    "widen",
    "written_edges",
]

T = TypeVar("T")


class EdgeWait(Record, frozen=True):
    """What one task waits for."""

    kind: Literal["send", "receive", "inside"]
    """For room, for an element, or for another task of its stage."""
    name: str = ""
    """What the end is called that it waits at."""
    end: ReceiveEnd[object] | None = None
    """The end that it waits at."""
    edges: tuple[ReceiveEnd[object], ...] = ()
    """The edge that it waits for, by the reading end; of a merge, those from any of which an element would do."""


def tell_waits(
    pulse: Pulse | None, *, written: Iterable[ReceiveEnd[object]] = (), read: Iterable[ReceiveEnd[object]] = ()
) -> None:
    """Have waits counted by another pulse than before, or by none.

    Args:
        pulse: What counts from now on.
        written: Edges whose senders it is about, by their reading ends.
        read: Ends whose readers it is about.
    """
    for edge in written:
        edge._senders_pulse = pulse
    for one in read:
        one._pulse = pulse


def tell_loop(ends: Iterable[ReceiveEnd[object]]) -> None:
    """Tell the ends of a run which event loop is running, so that none of them has to find out by itself."""
    factory, together = means_of_waiting()
    for one in ends:
        one._make_waiter, one._together = factory, together


def waits_on(ends: Collection[ReceiveEnd[object]], pulse: Pulse) -> dict[object, EdgeWait]:
    """Return what is waited for, by what tells which task waits; without tasks that were woken, or cancelled.

    Args:
        ends: The edges of a run, by their reading ends, and its merges.
        pulse: Knows of waits inside stages.
    """
    for end in ends:
        end._settle()  # who waits for room that there is goes on
    found: dict[object, EdgeWait] = {
        key_of_wait(waiter): EdgeWait("inside") for waiter in pulse.inner or () if not waiter.done()
    }
    for channel in pulse.between or ():
        waiting = [channel._waiter, *(turn.waiter for turn in channel._turns)]
        found |= {key_of_wait(one): EdgeWait("inside") for one in waiting if one is not None and not one.done()}
    for end in ends:
        waiter = end._waiter
        if waiter is not None and end._relay is None and not waiter.done():
            found[key_of_wait(waiter)] = EdgeWait("receive", end.name, end, end.awaited_edges)
        for turn in end._turns:
            if turn.waiter is not None and not turn.waiter.done():
                found[key_of_wait(turn.waiter)] = EdgeWait("send", end.name, end, (end,))
    return found


def oversee(end: ReceiveEnd[object], overseer: Overseer) -> None:
    """Have `overseer` told whenever the reader of an end begins to wait."""
    end._overseers += (overseer,)


def stand_in(end: ReceiveEnd[object], waiter: Waiter) -> None:
    """Have `waiter` told when something happens at an edge, as if a task waited there that reads it; no pulse has counted it."""
    end._waiter, end._together = waiter, None  # it is no future; `tell_loop()` is to be called when a task reads


def wake_reader(end: ReceiveEnd[object]) -> None:
    """Tell who waits for an element to look again."""
    end._wake()


def is_awaited(end: ReceiveEnd[object]) -> bool:
    """Say whether its reader waits for an element, and has not been woken."""
    relay = end._relay
    if relay is None:
        return end._waiter is not None and not end._waiter.done()
    merge = relay.merge()
    return merge is not None and is_awaited(merge) and end in merge.awaited_edges


def has_waiting_sender(edge: ReceiveEnd[object]) -> bool:
    """Say whether somebody queues for room; on this edge, or on all branches of a fork."""
    return bool(edge._turns)


def written_edges(end: SendEnd[Never]) -> tuple[ReceiveEnd[object], ...]:
    """Return the edges that an end writes, by their reading ends."""
    return end._edges


def widen(end: ReceiveEnd[T], capacity: int) -> None:
    """Give an edge, or each edge of a merge, more room, and let those look again who wait for it. It never shrinks; idempotent."""
    if isinstance(end, MergeEnd):
        for one in end._inputs.values():
            widen(one, capacity)
    elif capacity > end.capacity:
        end._settle()
        if isinstance(end, (LaneReceiveEnd, LimitedReceiveEnd)):
            end.widen(capacity)
        if capacity > WIDE and not end._wide:
            end._wide = True
            end._checkpoint_at = end.received
            end.attention += 1
        end.capacity, end._low = capacity, capacity // 2
        merge = None if end._relay is None else end._relay.merge()
        if merge is not None:
            merge._wide = merge._wide or end._wide
        end._reopen_sender()
        end._wake_senders()


def stands_at(
    reads: Iterable[ReceiveEnd[object]], writes: Iterable[ReceiveEnd[object]]
) -> Literal["send", "receive"] | None:
    """Say where a stage stands still now: its task, or one of them, waits for room, or its reader waits for an element.

    Args:
        reads: The ends that it reads.
        writes: The edges that it writes, by their reading ends. Who waits for room comes first.
    """
    for edge in writes:
        for turn in edge._turns:
            if turn.waiter is not None and not turn.waiter.done():
                return "send"
    for end in reads:
        if end._waiter is not None and not end._waiter.done():
            return "receive"
    return None

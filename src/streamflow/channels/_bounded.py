"""The bounded channel: what connects one producing stage with one consuming stage.

Above: `stages` (what a stage reads and writes) and `runtime` (one channel per edge). Below: `_send_end`, `_receive_end`, `_lanes`,
`_limited`.

Rules of the state machine, in the order of their importance:

1. *Nothing is ever handed to a waiting task.* A waker only says "look again"; the element stays in the buffer until the
   receiver really runs. So a `receive()` that raises took nothing and a `send()` that raises enqueued nothing, whoever cancels:
   a cancel scope, `Task.cancel()`, `asyncio.timeout()`.
2. *The fast path is one type look-up and one comparison.* Whatever is unusual (closed, broken, full, senders queueing, a type
   that the reader does not accept, a watched edge) is told to it through the values it looks at: when sending,
   `_limit` (0 while senders queue, -1 once closed) and `_plain` (types that need no second look); when receiving,
   `attention` (how many reasons there are for a second look). Control elements are never plain.
3. *Up to `WIDE` elements the bound itself makes tasks take turns*: neither end can move more than `capacity` elements
   before it must wait. A wider edge takes a checkpoint at least every `WIDE` elements, before the element moves: see `_wide`.
4. *Waiting senders queue.* While one waits, `_limit` is 0, so no other sender overtakes it on the fast path. Only the head
   is woken, and it wakes the next: trio runs the tasks of one batch in random order.
5. *A waiting sender is woken when the buffer has drained to half*, not at every element: that shares one task switch among many.
6. *Tasks that are woken go on together*, on asyncio: see `_wait.Round`. An element that is alone is so through all
   stages in one turn of the event loop; where there is much to do, each turn has as many tasks go on as were woken before it,
   and senders that make it no more than an eighth longer.

An edge with priority lanes has rules of its own besides, and ends of its own: see `_lanes`. So has one that drops, or is bounded by
weight: see `_limited`.
"""

# ruff: noqa: SLF001 - the two ends are one object in two parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..elements import Priority
from ..errors import ConfigError, ElementError
from ._bounds import EdgeBound, checked_overflow, checked_weight
from ._lane_ends import LaneReceiveEnd, LaneSendEnd
from ._limited import LimitedReceiveEnd, LimitedSendEnd
from ._receive_end import WIDE, ReceiveEnd
from ._send_end import SendEnd
from ._wait import means_of_waiting
from ._wide import NARROW_END, WIDE_END

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..elements import StreamElement
    from ._bounds import Overflow, Weight
    from ._pulse import Pulse
    from ._sweep import Herald
    from ._watching import ChannelWatch

__all__ = ["open_channel", "open_plain", "open_row"]

T = TypeVar("T")


def _admit_any(item: object) -> bool:
    if item is None:
        message = "None is no element; send an element, or close the channel to end it"
        raise ElementError(message)
    return True


def open_channel(
    capacity: int = 16,
    *,
    name: str = "channel",
    admit: Callable[[object], bool] | None = None,
    watch: ChannelWatch | None = None,
    lanes: bool = False,
    pulse: Pulse | None = None,
    overflow: Overflow = "block",
    weight: Weight | None = None,
    plain: set[type] | None = None,
) -> tuple[SendEnd[T], ReceiveEnd[T]]:
    """Open a bounded channel and return its two ends.

    Args:
        capacity: The bound, in elements, from 1 up. A wider one shares task switches among more elements and delays back-pressure.
        name: What errors and statistics call it, as `a → b`.
        admit: Asked about the first element of each type: True if the reader takes elements of this type, False if they are to
            pass it by (see `ReceiveEnd.forward_to`). Raises `ElementError` for what must not be sent. Default: all but None.
        watch: Hears of every element; such an edge has no fast path. One that `hears_sends` not leaves that of the writer.
        lanes: Whether what flows has a `priority`, and the urgent passes what can wait: an element passes only those of lower
            priority, never control (though `Interrupt` passes data), and none is passed more than 64 times. Each priority keeps
            a place of its own, so that no other can shut it out: alone, one fills the edge to three below the capacity.
        pulse: Counts the waits on both ends; see `_pulse`.
        overflow: What becomes of data for which there is no room: see `Overflow`. Control waits for room in any case; unless the
            policy is `block`, it has a room of its own, of `capacity` elements. With lanes, what is least urgent is dropped.
        weight: A bound by what elements weigh, beside the capacity.
        plain: The types that `admit` has accepted before, which need no second look; what is learned here is added. Channels with
            the same `admit` may share it.

    Raises:
        ConfigError: If `capacity` is no integer from 1 up, or below 4 with lanes, or `overflow` or `weight` is none.
    """
    given = cast("object", capacity)
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise ConfigError("capacity", f"an edge holds at least 1 element, got {capacity!r}; the default is 16")
    receive_end: ReceiveEnd[T]
    send_end: SendEnd[T]
    if lanes and capacity < len(Priority):
        message = (
            f"an edge with priority lanes keeps a place for each of the {len(Priority)} priorities, got {capacity}"
        )
        raise ConfigError("capacity", f"{message}; give it {len(Priority)} or more, or no lanes")
    if overflow != "block" or weight is not None:
        bound = EdgeBound(capacity, checked_overflow(overflow), checked_weight(weight), lanes)
        receive_end = limited = LimitedReceiveEnd[T](name, bound, admit or _admit_any, watch, pulse)
        send_end = LimitedSendEnd(limited)
    elif lanes:
        receive_end = reader = LaneReceiveEnd[T](name, capacity, admit or _admit_any, watch, pulse)
        send_end = LaneSendEnd(reader)
    else:
        return open_plain(capacity, name, admit or _admit_any, watch=watch, pulse=pulse, plain=plain)
    receive_end._sender = send_end
    return send_end, receive_end


def open_plain(
    capacity: int,
    name: str,
    admit: Callable[[object], bool],
    *,
    watch: ChannelWatch | None,
    pulse: Pulse | None,
    plain: set[type] | None,
    is_late: bool = False,
) -> tuple[SendEnd[T], ReceiveEnd[T]]:
    """Open a channel without lanes, policy and weight as `open_channel()` does, whose capacity has been looked at before.

    With `is_late` it has a buffer when its first element comes, so neither end may be part of a fork or a merge.
    """
    kind = NARROW_END if capacity <= WIDE else WIDE_END
    receive_end: ReceiveEnd[T] = kind(name, capacity, admit, watch, pulse, plain, is_late)
    send_end: SendEnd[T] = SendEnd(receive_end)
    receive_end._sender = send_end
    return send_end, receive_end


def open_row(
    edges: Sequence[tuple[str, int, Callable[[object], bool], set[type]]],
    ways: Sequence[tuple[int, int]],
    pulse: Pulse,
    herald: Callable[[], Herald | None],
    *,
    is_late: bool,
) -> tuple[list[SendEnd[StreamElement]], list[ReceiveEnd[StreamElement]]]:
    """Open the edges of a row of stages, on the event loop that is running, each as `open_plain()` opens one.

    Args:
        edges: Name, capacity, what is asked about the first element of each type, and the types that it has accepted.
        ways: For each stage the edge that it reads and the one that it writes, by their places; no merge is below.
        pulse: Counts the waits on all ends.
        herald: Returns who hears of each `Interrupt` that is sent.
        is_late: Whether each has a buffer when its first element comes.
    """
    make_waiter, together = means_of_waiting()
    sends: list[SendEnd[Any]] = []
    receives: list[ReceiveEnd[Any]] = []
    for name, capacity, admit, plain in edges:
        # By position, and in one go: that is a good part of what a short run costs.
        kind = NARROW_END if capacity <= WIDE else WIDE_END
        receive: ReceiveEnd[Any] = kind(name, capacity, admit, None, pulse, plain, is_late, make_waiter, together)
        send: SendEnd[Any] = SendEnd(receive)
        receive._sender = send
        receive.herald = herald
        sends.append(send)
        receives.append(receive)
    for before, behind in ways:
        reads = receives[before]
        reads._forward = reads._feeds = sends[behind]  # what `forward_to()` does
    return sends, receives

"""Edges inside a chain of stages that share one task, and moving elements over them without waiting.

Above: `runtime`, which runs the chains. Below: `_receive_end`, `_send_end`.

Rules, besides those of `_bounded`:

1. *An edge inside a chain is an ordinary edge*: what is on its way is in its buffer and nowhere else, it counts, and a sweep, a
   fence or a failure finds it as it finds any other. Only that no task waits at its ends: who would wait for room has the
   stages behind the edge go on instead.
2. *Pumping is the fast path of both ends in one loop*, with the function of a stage between. It stops at whatever is unusual for
   either end: a fence, an element that is not plain, no room; and at an outcome that is not plain for the writer, which it returns.
3. What passes a stage by goes on through the stages behind it at once: no element comes behind it on which it could ride.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Never, TypeAlias, TypeVar, cast

from ._receive_end import ReceiveEnd
from ._send_end import SendEnd

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Awaitable, Callable, Sequence

    from ._pulse import Pulse
    from ._watching import ChannelWatch

__all__ = [
    "NOTHING",
    "ChainedSendEnd",
    "Unusual",
    "has_plain",
    "is_plain_edge",
    "open_chained",
    "pass_head",
    "pump_each",
    "pump_filter",
    "pump_flat_map",
    "pump_map",
    "pump_pass",
    "pump_tee",
]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

NOTHING: Final = object()
"""Stands for a result that there is not."""

Unusual: TypeAlias = "tuple[object, object] | None"
"""An element that was taken, and what came of it that is still to be dealt with; None: all that was taken is dealt with."""


class ChainedSendEnd(SendEnd[T_contra]):
    """The writing end of an edge inside a chain."""

    go_on: Callable[[], Awaitable[None]] | None = None
    """Has the stages behind the edge deal with all that is in it; None: they have tasks of their own."""

    async def _send_in_turn(
        self, item: T_contra | None, rest: Sequence[Any] | None = None, take: Callable[[], T_contra] | None = None
    ) -> None:
        if self.go_on is not None:
            await self.go_on()
        await super()._send_in_turn(item, rest, take)
        if take is not None and self.go_on is not None:
            await self.go_on()


def open_chained(
    capacity: int,
    *,
    name: str,
    admit: Callable[[object], bool],
    watch: ChannelWatch | None = None,
    pulse: Pulse | None = None,
) -> tuple[SendEnd[T], ReceiveEnd[T]]:
    """Open an edge inside a chain and return its two ends; see `open_channel()`."""
    receive: ReceiveEnd[T] = ReceiveEnd(name, capacity, admit, watch, pulse)
    if receive._wide:
        # Both its ends are one task: the edges around the chain see to it that others have their turn.
        receive._wide = False
        receive.attention -= 1
    send: ChainedSendEnd[T] = ChainedSendEnd(receive)
    receive._sender = send
    return send, receive


def is_plain_edge(end: ReceiveEnd[object] | SendEnd[Never]) -> bool:
    """Say whether an end is one that can be pumped: a plain edge, neither merged nor forked, without a policy or lanes."""
    return type(end) in {ReceiveEnd, SendEnd, ChainedSendEnd}


def has_plain(source: ReceiveEnd[object]) -> bool:
    """Say whether there is an element that can be taken without a second look."""
    return bool(source._buffer) and not source.attention


async def pass_head(source: ReceiveEnd[object]) -> bool:
    """Pass on the first element if its reader does not accept it, and say whether that was so.

    Cancellation: what was not passed on stays in the channel.

    Raises:
        OutputClosedError: If the reader of the output has gone.
        ChannelClosedError: If the edge was closed while it waited.
    """
    if source._accepts(source._buffer[0]):
        return False
    await source._pass_one()
    return True


def pump_map(func: Callable[[T], object], source: ReceiveEnd[T], target: SendEnd[Never]) -> Unusual:
    """Send `func(element)` for each element that is there, while there is room."""
    taken, given, plain, limit = source._buffer, _buffer_of(target), target._plain, target._limit
    take, give = taken.popleft, given.append
    count, last = 0, None
    try:
        # What has to be looked at each time: whether a call has changed what is in the edges. It may interrupt the run, or end it.
        for _ in range(_room(source, given, limit)):
            if not taken:
                break
            element = take()
            count += 1
            result = func(element)
            kind = type(result)
            if (kind is not last and kind not in plain) or target._limit != limit:
                return element, result
            last = kind
            give(result)
    finally:
        _count(source, target, count)
    return None


def pump_filter(func: Callable[[T], object], source: ReceiveEnd[T], target: SendEnd[Never]) -> Unusual:
    """Send each element that is there and for which `func(element)` is True, while there is room."""
    taken, given, plain, limit = source._buffer, _buffer_of(target), target._plain, target._limit
    take, give = taken.popleft, given.append
    count = 0
    try:
        for _ in range(_room(source, given, limit)):
            if not taken:
                break
            element = take()
            count += 1
            verdict = func(element)
            if verdict is True and type(element) in plain and target._limit == limit:
                give(element)
            elif verdict is not False:
                return element, verdict
    finally:
        _count(source, target, count)
    return None


def pump_tee(func: Callable[[T], object], source: ReceiveEnd[T], target: SendEnd[Never]) -> Unusual:
    """Call `func(element)` for each element that is there and send it on, while there is room."""
    taken, given, plain, limit = source._buffer, _buffer_of(target), target._plain, target._limit
    take, give = taken.popleft, given.append
    count = 0
    try:
        for _ in range(_room(source, given, limit)):
            if not taken:
                break
            element = take()
            count += 1
            outcome = func(element)
            if outcome is not None or type(element) not in plain or target._limit != limit:
                return element, outcome
            give(element)
    finally:
        _count(source, target, count)
    return None


def pump_pass(_func: Callable[[T], object], source: ReceiveEnd[T], target: SendEnd[Never]) -> Unusual:
    """Send each element that is there, while there is room."""
    taken, given, plain = source._buffer, _buffer_of(target), target._plain
    count = 0
    try:
        for _ in range(_room(source, given, target._limit)):
            element = taken.popleft()
            count += 1
            if type(element) not in plain:
                return element, None
            given.append(element)
    finally:
        _count(source, target, count)
    return None


def pump_flat_map(func: Callable[[T], object], source: ReceiveEnd[T], target: SendEnd[Never]) -> Unusual:
    """Send each of the elements of `func(element)`, if it is a list or a tuple for which there is room, for each that is there."""
    taken, given, plain, limit = source._buffer, _buffer_of(target), target._plain, target._limit
    count = 0
    try:
        while _room(source, given, limit) > 0:
            element = taken.popleft()
            count += 1
            results = func(element)
            if type(results) is not list and type(results) is not tuple:
                return element, results
            several = cast("Sequence[object]", results)
            if len(given) + len(several) > target._limit or not plain.issuperset(map(type, several)):
                return element, several
            given.extend(several)
    finally:
        _count(source, target, count)
    return None


def pump_each(
    func: Callable[[T], object], pick: Callable[[object, T], object], source: ReceiveEnd[T], target: SendEnd[Never]
) -> Unusual:
    """Do what the others do where an end is not a plain edge, by the fast paths that those ends have.

    Args:
        func: Called with each element that can be taken without a second look.
        pick: Given what that returned, and the element, returns what to send; `NOTHING`, or None if it cannot tell.
        source: Where elements are taken.
        target: Where the results are sent.
    """
    while (element := source.try_receive()) is not None:
        outcome = func(element)
        result: Any = pick(outcome, element)
        if result is not NOTHING and (result is None or not target.try_send(result)):
            return element, outcome
    return None


def _buffer_of(target: SendEnd[Any]) -> deque[Any]:
    return target._buffer


def _room(source: ReceiveEnd[Any], given: deque[Any], limit: int) -> int:
    """Return how many elements can be taken and sent in one go."""
    return 0 if source.attention else min(len(source._buffer), limit - len(given))


def _count(source: ReceiveEnd[Any], target: SendEnd[Any], count: int) -> None:
    """Count what was taken, and wake who waits at the other ends, once for all that was moved."""
    source.received += count
    if source._turns and len(source._buffer) <= source._low:
        source._wake_sender()
    if target._buffer and target._peer._waiter is not None:
        target._peer._wake()

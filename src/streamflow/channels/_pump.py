"""Moving elements from one edge to the next without waiting: the fast paths of both ends in one loop, with a function between.

Above: `stages` (the loops of stages of one function), `runtime` (chains of such stages). Below: `_receive_end`, `_send_end`.

Rules, besides those of `_bounded`:

1. *Only functions that return at once are pumped*, so a burst delays nothing: no task could have had what it gives any sooner.
2. *The bound holds*: no more is taken than there is room for, and an element is in one edge or the other, or in the function's
   hands.
3. *A pump stops at whatever is unusual for either end*: a fence, an element that is not plain, no room; and at an outcome that is
   not plain for the writer, which it returns.
4. *What a function does to the run is seen at once*: it may interrupt it or end it, send to it, or ask what is in its edges.
   So elements are taken one by one, and what the ends say is looked at each time.
5. *With priority lanes, what goes on is of the one lane that is in use*: see `Lanes.only`.
6. Counts, and the waking of who waits at the other ends, are settled once for all that was moved; also when a function raises.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Never, TypeAlias, TypeVar, cast

from ._lane_ends import is_quick_edge
from ._receive_end import BUDGET, WIDE

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from ._receive_end import ReceiveEnd
    from ._send_end import SendEnd

__all__ = [
    "NOTHING",
    "Unusual",
    "can_pump",
    "pump_each",
    "pump_filter",
    "pump_flat_map",
    "pump_map",
    "pump_pass",
    "pump_tee",
]

T = TypeVar("T")

NOTHING: Final = object()
"""Stands for a result that there is not."""

Unusual: TypeAlias = "tuple[object, object] | None"
"""An element that was taken, and what came of it that is still to be dealt with; None: all that was taken is dealt with."""


def can_pump(source: object, target: object) -> bool:
    """Say whether it is worth while to pump between two ends: they are quick, and nobody looks at every element."""
    return is_quick_edge(source) and is_quick_edge(target) and not cast("ReceiveEnd[Any]", source).attention


def pump_map(func: Callable[[T], object], source: ReceiveEnd[T], target: SendEnd[Never]) -> Unusual:
    """Send `func(element)` for each element that is there, while there is room."""
    taken, given, plain, limit = source._buffer, _buffer_of(target), target._peer._plain, target._limit
    take, give, lanes = taken.popleft, given.append, target._lanes
    count = 0
    last: type[object] | None = None
    try:
        for number in range(1, _room(source, given, limit) + 1):
            try:
                element: Any = take()
            except IndexError:
                break
            count = number
            result: Any = func(element)
            kind: type[object] = type(result)
            if kind is not last:
                if kind not in plain:
                    return element, result
                last = kind
            if target._limit != limit or (lanes is not None and result.priority is not lanes.only):
                return element, result
            give(result)
    finally:
        _count(source, target, count)
    return None


def pump_filter(func: Callable[[T], object], source: ReceiveEnd[T], target: SendEnd[Never]) -> Unusual:
    """Send each element that is there and for which `func(element)` is True, while there is room."""
    taken, given, plain, limit = source._buffer, _buffer_of(target), target._peer._plain, target._limit
    take, give, lanes = taken.popleft, given.append, target._lanes
    count = 0
    try:
        for number in range(1, _room(source, given, limit) + 1):
            try:
                element: Any = take()
            except IndexError:
                break
            count = number
            verdict = func(element)
            if verdict is True and type(element) in plain and target._limit == limit:
                if lanes is not None and element.priority is not lanes.only:
                    return element, verdict
                give(element)
            elif verdict is not False:
                return element, verdict
    finally:
        _count(source, target, count)
    return None


def pump_tee(func: Callable[[T], object], source: ReceiveEnd[T], target: SendEnd[Never]) -> Unusual:
    """Call `func(element)` for each element that is there and send it on, while there is room."""
    taken, given, plain, limit = source._buffer, _buffer_of(target), target._peer._plain, target._limit
    take, give, lanes = taken.popleft, given.append, target._lanes
    count = 0
    try:
        for number in range(1, _room(source, given, limit) + 1):
            try:
                element: Any = take()
            except IndexError:
                break
            count = number
            outcome = func(element)
            if outcome is not None or type(element) not in plain or target._limit != limit:
                return element, outcome
            if lanes is not None and element.priority is not lanes.only:
                return element, outcome
            give(element)
    finally:
        _count(source, target, count)
    return None


def pump_pass(_func: Callable[[T], object], source: ReceiveEnd[T], target: SendEnd[Never]) -> Unusual:
    """Send each element that is there, while there is room."""
    taken, given, plain = source._buffer, _buffer_of(target), target._peer._plain
    count, lanes = 0, target._lanes
    try:
        for number in range(1, _room(source, given, target._limit) + 1):
            element: Any = taken.popleft()
            count = number
            if type(element) not in plain or (lanes is not None and element.priority is not lanes.only):
                return element, None
            given.append(element)
    finally:
        _count(source, target, count)
    return None


def pump_flat_map(func: Callable[[T], object], source: ReceiveEnd[T], target: SendEnd[Never]) -> Unusual:
    """Send each of the elements of `func(element)`, if it is a list or a tuple for which there is room, for each that is there."""
    taken, given, plain, limit = source._buffer, _buffer_of(target), target._peer._plain, target._limit
    count, lanes = 0, target._lanes
    most = WIDE if source.capacity <= WIDE else BUDGET  # nothing else stops a function that gives nothing
    try:
        while count < most and _room(source, given, limit) > 0:
            element = taken.popleft()
            count += 1
            results = func(element)
            if type(results) is not list and type(results) is not tuple:
                return element, results
            several = cast("Sequence[Any]", results)
            if len(given) + len(several) > target._limit or not plain.issuperset(map(type, several)):
                return element, several
            if lanes is not None and any(one.priority is not lanes.only for one in several):
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
    if source.attention:
        return 0
    room = min(len(source._buffer), limit - len(given))
    return room if source.capacity <= WIDE else min(room, source._checkpoint_at - source.received)


def _count(source: ReceiveEnd[Any], target: SendEnd[Any], count: int) -> None:
    """Count what was taken, and wake who waits at the other ends, once for all that was moved."""
    source.received += count
    if source._turns and len(source._buffer) <= source._low:
        source._wake_sender()
    if target._buffer and target._peer._waiter is not None:
        target._peer._wake()

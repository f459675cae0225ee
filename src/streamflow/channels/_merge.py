"""The reading end of several edges at once: whatever has arrived, in turns.

Above: `runtime`, which opens one where a graph joins; the other policies. Below: `_receive_end`, `_control`.

It is an edge with one place, which its reader fills when it asks: so all rules of a reading end (what passes by, what is kept
aside, how it ends) hold for it as they are.

Rules, besides those of `_bounded`:

1. *Fair*: inputs are asked in turns, beginning behind the one that gave the last element; none waits for more than one of each
   other.
2. *Order within an input is kept*, between inputs there is none.
3. *Control that a fork has copied leaves once*; see `_control`.
4. *It ends when all inputs have ended.* Closing it closes them.

Merges by another policy are subclasses, in `_choosing`, `_ordering`, `_pairing` and `_barrier`. They say which input gives next
(`ChoosingEnd`), what is made of what it gives (`_take_from`), and when it is over (`_arm`); all else is here.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

import weakref
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..elements import ControlElement, Marker
from ..errors import ChannelFailedError
from ._receive_end import WIDE, ReceiveEnd
from ._ways import Ways

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from ..errors import CloseReason
    from ._control import ControlJoin
    from ._watching import ChannelState, ChannelWatch

__all__ = ["ChoosingEnd", "MergeEnd", "Relay"]

T_co = TypeVar("T_co", covariant=True)


class Relay:
    """Stands where an input's reader would wait, and wakes the reader of the merge. A weak link: inputs know no merge."""

    __slots__ = ("merge",)

    def __init__(self, merge: MergeEnd[Any]) -> None:
        self.merge: weakref.ref[MergeEnd[Any]] = weakref.ref(merge)
        """Gives the merge, while it is there."""

    def look(self) -> None:
        """Hear that somebody on the way to the merge waits: perhaps nothing comes by it any more."""
        merge = self.merge()
        if merge is not None and merge._waiter is not None and merge._give_up():
            merge._wake()

    def done(self) -> bool:
        return False

    def set_result(self, result: None, /) -> None:
        merge = self.merge()
        if merge is not None and merge._waiter is not None:
            merge._wake()

    def __await__(self) -> Generator[Any, Any, None]:
        message = "a relay is woken, and never awaited: the reader of the merge waits for itself"
        raise AssertionError(message)


class MergeEnd(ReceiveEnd[T_co]):
    """The reading end of a merge. One task reads.

    Args:
        name: What errors and statistics call it, as `merge → d`.
        inputs: The reading ends of the edges that it merges. Nobody else reads them.
        admit: As in `open_channel()`.
        watch: Hears of every element that leaves the inputs.
        join: Joins the control elements that forks above have copied; None where there is no such fork.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[ReceiveEnd[Any]],
        admit: Callable[[object], bool],
        watch: ChannelWatch | None = None,
        join: ControlJoin | None = None,
    ) -> None:
        super().__init__(name, 1, admit, watch)
        self._merges = self._is_refilled = self._is_joined = True
        self._wide = sum(one.capacity for one in inputs) > WIDE
        self._inputs: dict[int, ReceiveEnd[Any]] = dict(enumerate(inputs))  # those that have not ended, in their order
        self._count_of_inputs = len(inputs)
        self._turn = 0
        self._join = join
        self._holds_back = join is not None  # whether there may be something to let go
        self._announced = -1, -1  # the input, and the position there, of the control element that was looked at last
        self._relay_here = Relay(self)
        for one in inputs:
            one._relay, one._is_joined = self._relay_here, True
            one._pulse = None  # it is the merge that is waited at
        self._failure: BaseException | None = None

    @property
    def at_end(self) -> bool:
        if self._hand is not None and self._hand.is_due:
            return False
        if self.state != "open":
            return not self._buffer or not any(self._accepts(item) for item in self._buffer)
        if any(one.state == "open" for one in self._inputs.values()):
            return False
        return not any(self._accepts(item) for item in self._left())

    def detach(self, edge: ReceiveEnd[object]) -> None:
        """Merge this input no longer: somebody else reads it from now on."""
        for number, one in tuple(self._inputs.items()):
            if one is edge:
                edge._waiter = edge._relay = None
                edge._pulse = self._pulse
                self._drop_input(number)
        if self._waiter is not None:
            self._wake()  # it may have been the last one

    def _catch_up(self) -> None:
        """Have what has left taken out of the inputs, where that is done later."""

    def _left(self) -> Iterator[Any]:
        """Yield what may still leave, once all inputs have ended."""
        yield from self._buffer
        if self._join is not None:
            yield from self._join.held.values()
        for edge in self._inputs.values():
            yield from edge._buffer

    def _refill(self) -> bool:
        join = self._join
        while not self._buffer:
            number = self._next_ready()
            if join is not None and number is not None:
                self._announce(join, number, self._inputs[number])
            if self._holds_back and self._let_go():
                continue
            if number is not None:
                self._take_from(number, self._inputs[number])
            elif not self._give_up():
                self._arm()
                return False
        return True

    def _behind(self) -> int:
        held = 0 if self._join is None else len(self._join.held)
        return held + sum(len(one._buffer) for one in self._inputs.values())

    def _let_go(self) -> bool:
        """Let go of what was held back and has to wait no longer, and say whether there was anything."""
        held = self._join.release() if self._join is not None and self._join.held else None
        if held is not None:
            self._fill(held)
        return held is not None

    def _announce(self, join: ControlJoin, number: int, edge: ReceiveEnd[Any]) -> None:
        """Let the join learn, once, of a control element that an input shows."""
        item = edge._buffer[0]
        if isinstance(item, ControlElement) and self._announced != (number, edge.received):
            self._announced = number, edge.received
            join.announce(number, item)

    def _give_up(self) -> bool:
        """Wait no more for what is on no way any more, and say whether there was any."""
        join, given_up = self._join, False
        if join is None:
            return False
        for number, element in self._awaited(join):
            if self._inputs[number]._buffer:
                continue  # by this policy what it shows has to wait, and the element may be behind that
            if not self._may_come(join, number, element):
                join.give_up(number, element)
                given_up = True
        return given_up

    def _awaited(self, join: ControlJoin) -> Sequence[tuple[int, ControlElement]]:
        """Return what is waited for: an input that may never show it, and the element."""
        return join.awaited() if join.held else ()

    def _may_come(self, join: ControlJoin, number: int, element: ControlElement) -> bool:
        """Say whether a copy of an element may still come by an input, if the merge goes on waiting for it."""
        ways = self._ways_of(join, element)
        if ways.lead_to(self._inputs[number]):
            return True
        hopeless = {one for one in ways.holding if one._is_hopeless()}
        return bool(hopeless) and self._ways_of(join, element, hopeless.__contains__).lead_to(self._inputs[number])

    def _is_hopeless(self) -> bool:
        """Say whether it is about to give up something, because that would not come whatever other merges let go of."""
        join = self._join
        if join is None or self._waiter is None:
            return False
        return any(
            not self._inputs[number]._buffer
            and not self._ways_of(join, element, lambda _: True).lead_to(self._inputs[number])
            for number, element in self._awaited(join)
        )

    def _ways_of(
        self, join: ControlJoin, element: ControlElement, lets_go: Callable[[MergeEnd[Any]], bool] = lambda _: False
    ) -> Ways:
        came_later = partial(join.came_later, element)
        return Ways(self, join.origins(element), came_later, self._relay_here, lets_go)

    def _merged(self) -> tuple[list[ReceiveEnd[Any]], dict[int, ControlElement]]:
        held = self._join.held if self._join is not None else {}
        return [one for number, one in self._inputs.items() if number not in held and self._is_read(number)], held

    @property
    def awaited_edges(self) -> tuple[ReceiveEnd[object], ...]:
        return tuple(self._merged()[0])

    def _is_read(self, number: int) -> bool:
        """Say whether what an input has or gives next may be taken before any other input gives something; it holds no boundary."""
        return number in self._inputs

    def _lacks_none(self) -> bool:
        """Say whether each input has something, or holds a boundary."""
        held = self._join.held if self._join is not None else ()
        return all(edge._buffer or number in held for number, edge in self._inputs.items())

    def _next_ready(self) -> int | None:
        """Return which of the inputs that have something gives next, if any; forget those that have ended."""
        waiting = self._join.held if self._join is not None else ()
        found: int | None = None
        for number, edge in tuple(self._inputs.items()):
            if edge._buffer:
                if number not in waiting and (found is None or found < self._turn <= number):
                    found = number
            elif edge.state != "open":
                self._failure = self._failure or (edge._cause if edge.state == "failed" else None)
                self._drop_input(number)
        return found

    def _take_from(self, number: int, edge: ReceiveEnd[Any]) -> None:
        """Take what input `number` has, and let it leave if that is its time."""
        item = self._pull(number, edge)
        join = self._join
        if join is None or not isinstance(item, ControlElement) or join.arrive(number, item) == "pass":
            self._fill(item)

    def _pull(self, number: int, edge: ReceiveEnd[Any]) -> Any:
        self._turn = number + 1
        item = edge._take()
        if edge.capacity > WIDE:
            edge._reopen_sender()
        return item

    def _throw_away(self, item: object, reason: str) -> None:
        """Count what was taken and will not leave."""
        self._count_discarded(reason)
        if self._watch is not None:
            self._watch.on_refused(item, reason)

    def _fill(self, item: Any) -> None:
        if not self._admit(item) or isinstance(item, ControlElement) or self._watch is not None:
            if self._forward is None and isinstance(item, Marker):
                return  # nobody is below who needs it
            self._take_note()
        else:
            self._plain.add(type(cast("object", item)))
        self._buffer.append(cast("T_co", item))
        if self._watch is not None:
            self._watch.on_sent(item)

    def _arm(self) -> None:
        """Be woken by whatever comes next; end, if nothing can."""
        waiting = self._join.held if self._join is not None else ()
        for number, edge in self._inputs.items():
            if number not in waiting and not edge._buffer and self._is_read(number):
                edge._waiter = self._relay_here
        if not self._inputs:
            self._complete()

    def _complete(self) -> None:
        """End, though inputs may have more: they are told that no more is needed."""
        for number, edge in tuple(self._inputs.items()):
            self._drop_input(number)
            edge.close("no_more_needed")
        self._finish("completed" if self._failure is None else "failed", cause=self._failure)

    def _raise_unless_completed(self) -> None:
        super()._raise_unless_completed()
        # What this reader does not accept may still be there, and the inputs have ended all the same.
        causes = (one._cause for one in self._inputs.values() if one.state == "failed")
        failure = self._failure or next(causes, None)
        if failure is not None:
            raise ChannelFailedError(self.name) from failure

    def _drop_input(self, number: int) -> None:
        del self._inputs[number]
        if self._join is not None:
            self._join.end(number)

    def _finish(
        self, state: ChannelState, *, reason: CloseReason = "no_more_needed", cause: BaseException | None = None
    ) -> None:
        super()._finish(state, reason=reason, cause=cause)
        if state == "cancelled":
            for edge in self._inputs.values():
                edge.close(reason)
            self._inputs.clear()


class ChoosingEnd(MergeEnd[T_co]):
    """Base of those merges that do not take turns."""

    def _next_ready(self) -> int | None:
        if super()._next_ready() is None:
            return None
        waiting = self._join.held if self._join is not None else ()
        return self._choose([number for number, edge in self._inputs.items() if edge._buffer and number not in waiting])

    @abstractmethod
    def _choose(self, ready: list[int]) -> int | None:
        """Return which of these inputs, which have something, gives next; None: something else has to come first."""

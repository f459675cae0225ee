"""The reading end of several edges at once: whatever has arrived, in turns.

Above: `runtime`, which opens one where a graph joins. Below: `_receive_end`, `_control`.

It is an edge with one place, which its reader fills when it asks: so all rules of a reading end (what passes by, what is kept
aside, how it ends) hold for it as they are.

Rules, besides those of `_bounded`:

1. *Fair*: inputs are asked in turns, beginning behind the one that gave the last element; none waits for more than one of each
   other.
2. *Order within an input is kept*, between inputs there is none.
3. *Control that a fork has copied leaves once*; see `_control`.
4. *It ends when all inputs have ended.* Closing it closes them.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..elements import ControlElement
from ..errors import ChannelFailedError
from ._receive_end import WIDE, ReceiveEnd
from ._ways import Ways, readers_between

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from ..errors import CloseReason
    from ._control import ControlJoin
    from ._watching import ChannelState, ChannelWatch

__all__ = ["MergeEnd", "Relay"]

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
        raise NotImplementedError


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
        self._merges = True
        self._wide = sum(one.capacity for one in inputs) > WIDE
        self._inputs: dict[int, ReceiveEnd[Any]] = dict(enumerate(inputs))  # those that have not ended
        self._turn = 0
        self._join = join
        self._announced = -1, -1  # the input, and the position there, of the control element that was looked at last
        self._relay_here = Relay(self)
        for one in inputs:
            one._relay = self._relay_here
        self._failure: BaseException | None = None

    @property
    def at_end(self) -> bool:
        if self.state != "open":
            return not self._buffer or not any(self._accepts(item) for item in self._buffer)
        if any(one.state == "open" for one in self._inputs.values()):
            return False
        held = self._join.held.values() if self._join is not None else ()
        left = (item for edge in (self._buffer, held, *(one._buffer for one in self._inputs.values())) for item in edge)
        return not any(self._accepts(item) for item in left)

    def detach(self, edge: ReceiveEnd[object]) -> None:
        """Merge this input no longer: somebody else reads it from now on."""
        for number, one in tuple(self._inputs.items()):
            if one is edge:
                edge._waiter = edge._relay = None
                self._drop_input(number)
        if self._waiter is not None:
            self._wake()  # it may have been the last one

    def widen(self, capacity: int) -> None:
        self._wide = True  # the reader may find a lot, and lets others run meanwhile
        for one in self._inputs.values():
            one.widen(capacity)

    def _refill(self) -> bool:
        join = self._join
        while not self._buffer:
            ready = self._next_ready()
            if join is not None and ready is not None:
                self._announce(join, *ready)
            held = join.release() if join is not None and join.held else None
            if held is not None:
                self._fill(held)
            elif ready is not None:
                self._take_from(*ready)
            elif not self._give_up():
                self._arm()
                return False
        return True

    def _announce(self, join: ControlJoin, number: int, edge: ReceiveEnd[Any]) -> None:
        """Let the join learn, once, of a control element that an input shows."""
        item = edge._buffer[0]
        if isinstance(item, ControlElement) and self._announced != (number, edge.received):
            self._announced = number, edge.received
            replaced = join.announce(number, item)
            if replaced is not None:
                readers = readers_between(join.origins(replaced), self._inputs[number])
                if readers is None or any(one._accepts(replaced) for one in readers):
                    join.give_up(number, replaced)

    def _give_up(self) -> bool:
        """Wait no more for what is on no way any more, and say whether there was any."""
        join, given_up = self._join, False
        if join is None or not join.held:
            return False
        for number, element in join.awaited():
            ways = Ways(self, join.origins(element), partial(join.came_later, element), self._relay_here)
            if not ways.lead_to(self._inputs[number]):
                join.give_up(number, element)
                given_up = True
        return given_up

    def _merged(self) -> tuple[list[ReceiveEnd[Any]], dict[int, ControlElement]]:
        held = self._join.held if self._join is not None else {}
        return [one for number, one in self._inputs.items() if number not in held], held

    def _next_ready(self) -> tuple[int, ReceiveEnd[Any]] | None:
        """Return the next input that has something and need not wait; forget those that have ended."""
        waiting = self._join.held if self._join is not None else ()
        found: tuple[int, ReceiveEnd[Any]] | None = None
        for number, edge in tuple(self._inputs.items()):
            if edge._buffer:
                if number not in waiting and (found is None or found[0] < self._turn <= number):
                    found = number, edge
            elif edge.state != "open":
                self._failure = self._failure or (edge._cause if edge.state == "failed" else None)
                self._drop_input(number)
        return found

    def _take_from(self, number: int, edge: ReceiveEnd[Any]) -> None:
        self._turn = number + 1
        item = edge._take()
        if edge.capacity > WIDE:
            edge._reopen_sender()
        join = self._join
        if join is None or not isinstance(item, ControlElement) or join.arrive(number, item) == "pass":
            self._fill(item)

    def _fill(self, item: Any) -> None:
        if not self._admit(item) or isinstance(item, ControlElement) or self._watch is not None:
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
            if number not in waiting:
                edge._waiter = self._relay_here
        if not self._inputs:
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

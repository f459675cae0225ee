"""The common merge, without a search: of inputs that no fork above them feeds, so that nothing has to be aligned.

Above: `runtime`, which opens one where a graph joins. Below: `_merge`, whose rules hold. Turns are taken in the order in which
inputs began to have something, so none waits for more than one of each other; which of two comes first is not by their numbers.

Each input is either in the list of those that are ready, or has an alarm where its reader would wait. The alarm puts it into the
list when something enters it, or it ends; whoever finds it empty at the head of the list sets the alarm again. So nobody looks at
an input that has nothing, and an element costs the same however many inputs there are.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

import weakref
from collections import deque
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ._merge import MergeEnd
from ._receive_end import WIDE, ReceiveEnd
from ._refilled import drop

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

__all__ = ["ArrivalEnd"]

T_co = TypeVar("T_co", covariant=True)

_LEAST: Final = 2
"""Elements for which a burst is worth the while; with fewer, senders could have gone on before all have left."""

_MOST: Final = 16 * WIDE
"""Elements of a burst, so that making one delays nobody for long."""


class _Alarm:
    """Stands where the reader of one input would wait, and tells the merge. A weak link: inputs know no merge."""

    __slots__ = ("_merge", "_number")

    def __init__(self, merge: weakref.ref[ArrivalEnd[Any]], number: int) -> None:
        self._merge = merge
        self._number = number

    def done(self) -> bool:
        return False

    def set_result(self, result: None, /) -> None:
        merge = self._merge()
        if merge is not None:
            merge._ready.append(self._number)
            if merge._waiter is not None:
                merge._wake()

    def __await__(self) -> Generator[Any, Any, None]:
        message = "an alarm is set off, and never awaited: the reader of the merge waits for itself"
        raise AssertionError(message)


class ArrivalEnd(MergeEnd[T_co]):
    """The reading end of such a merge. One task reads.

    Args:
        name: What errors and statistics call it, as `merge → d`.
        inputs: The reading ends of the edges that it merges. Nobody else reads them.
        admit: As in `open_channel()`.
    """

    received: int
    """How many elements its reader has taken."""

    def __init__(self, name: str, inputs: Sequence[ReceiveEnd[Any]], admit: Callable[[object], bool]) -> None:
        super().__init__(name, inputs, admit)
        self._ready: deque[int] = deque(self._inputs)
        self._gave = -1  # the input that has given the last element, and may have more
        here: weakref.ref[ArrivalEnd[Any]] = weakref.ref(self)
        self._alarms = [_Alarm(here, number) for number in self._inputs]
        self._burst: list[
            ReceiveEnd[Any]
        ] = []  # the inputs of the burst that is under way, in the order of their turns
        self._to_show: Iterator[Any] = iter(())
        self._hidden = 0  # how many elements these are
        self._shown = 0  # how many were put into the buffer, and are in their edges still

    @property
    def shows_plain(self) -> bool:
        """Whether the next element is there, and is plain data that its reader accepts."""
        if self._burst or not self._ready or self.attention or self._buffer:
            return False
        if self._wide and self.received >= self._checkpoint_at:
            return False
        edge = self._inputs.get(self._head())
        return edge is not None and bool(edge._buffer) and not edge.attention and type(edge._buffer[0]) in self._plain

    async def __anext__(self) -> T_co:
        if self._buffer:
            if not self.attention:
                self.received += 1
                return self._buffer.popleft()
        elif (
            (ready := self._ready)
            and not self.attention
            and not self._burst
            and not (self._wide and self.received >= self._checkpoint_at)
        ):
            number = ready[0] if ready[0] != self._gave else self._head()
            edge = self._inputs.get(number)
            if edge is not None and edge._buffer and not edge.attention and type(edge._buffer[0]) in self._plain:
                item: T_co = edge._buffer.popleft()
                edge.received += 1
                self.received += 1
                if edge._turns and len(edge._buffer) <= edge._low:
                    edge._wake_sender()
                if edge._buffer or edge.state != "open":  # one that has ended is dropped when its turn comes
                    self._gave = number
                else:
                    edge._waiter = self._alarms[number]
                    ready.popleft()
                return item
        return await super().__anext__()

    def _head(self) -> int:
        """Return whose turn it is. Who has given the last element is put behind those only now that have come in between."""
        ready = self._ready
        if ready[0] == self._gave:
            ready.rotate(-1)
            self._gave = -1
        return ready[0]

    def _refill(self) -> bool:
        if not self._buffer and ((self._burst and self._show()) or (self._begin_burst() and self._show())):
            return True
        return super()._refill()

    def _begin_burst(self) -> bool:
        """Find out whose turns come next, if that is certain and worth the while, and say whether it is."""
        ready, inputs = self._ready, self._inputs
        if len(ready) < len(inputs) or len(inputs) < 2 or self.attention:
            return False
        self._head()
        edges = [inputs[number] for number in ready if number in inputs]
        rounds = min((len(edge._buffer) for edge in edges), default=0)
        if len(edges) * rounds < _LEAST or len(edges) < len(ready):
            return False
        for edge in edges:
            if type(edge) is not ReceiveEnd or edge.attention or not edge._plain <= self._plain:
                return False  # something may come between, or has to be looked at
        rounds = min(rounds, max(_MOST // len(edges), 1))
        turns = [*chain.from_iterable(zip(*[islice(edge._buffer, rounds) for edge in edges], strict=True))]
        self._burst, self._to_show, self._hidden = edges, iter(turns), len(turns)
        return True

    def _show(self) -> bool:
        """Put what comes next of a burst into the buffer, which is empty, and say whether there was anything."""
        due = self._checkpoint_at - self.received if self._wide else WIDE
        count = min(max(due, 1), WIDE, self._hidden)
        if count == self._hidden:
            self._drop_taken()
        self._buffer.extend(islice(self._to_show, count))
        self._hidden -= count
        self._shown += count
        if not count:
            self._burst = []
        return count > 0

    def _drop_taken(self) -> None:
        """Drop what has left from its edges, and let those go on who wait for the room."""
        taken = self._shown - len(self._buffer)
        if not taken:
            return
        self._shown -= taken
        rounds, rest = divmod(taken, len(self._burst))
        for place, edge in enumerate(self._burst):
            count, buffer = rounds + (place < rest), edge._buffer
            edge.received += count
            drop(buffer, count)
            if edge._turns and len(buffer) <= edge._low:
                edge._wake_sender()
        self._burst = self._burst[rest:] + self._burst[:rest]
        self._ready.rotate(-rest)

    def _settle(self) -> None:
        super()._settle()
        if self._burst:
            self._drop_taken()
            self._buffer.clear()
            self._burst, self._to_show = [], iter(())
            self._hidden = self._shown = 0

    def _catch_up(self) -> None:
        if self._burst:
            self._drop_taken()

    def _left(self) -> Iterator[Any]:
        self._settle()
        return super()._left()

    def detach(self, edge: ReceiveEnd[object]) -> None:
        self._settle()
        super().detach(edge)

    def _next_ready(self) -> int | None:
        ready = self._ready
        while ready:
            number = self._head()
            edge = self._inputs.get(number)
            if edge is not None and edge._buffer:
                self._gave = number
                return number
            ready.popleft()
            if edge is not None and edge.state == "open":
                edge._waiter = self._alarms[number]
            elif edge is not None:
                self._failure = self._failure or (edge._cause if edge.state == "failed" else None)
                self._drop_input(number)
        return None

    def _arm(self) -> None:
        if not self._inputs:
            self._complete()

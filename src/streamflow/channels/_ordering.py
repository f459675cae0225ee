"""Merges that restore an order: that in which a fork above has sent, or that of a key by which each input is sorted.

Above: `_fork`, which marks what it sends; `runtime`, which opens one where a graph asks for it. Below: `_merge`, `_control`.

How the order of a fork is restored: behind each data element the fork puts a marker, on the branches that the element goes to, and
tells the merge on which inputs the marker will come. A marker passes every stage by behind the results of all that the stage took
before it. So what an input gives before a marker are the results of the element before it, or of those before that: whichever
stages lie between, that filter, map, or make many of one. The merge reads the inputs of the first marker that it waits for, one
after the other, each up to the marker; then those of the next.

- Markers are boundaries like those of turns: merges between fork and merge align them, those that have passed an input over are
  waited for no more, and neither are those that cannot come because their branch has ended.
- A marker enters an edge beyond its bound: it belongs to the element before it. It counts as buffered, so what follows waits.
- What comes when no marker is waited for, as what a stage sends when its input has ended, leaves at once.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Never, TypeVar, cast

from ..elements import ControlElement, Marker
from ._merge import ChoosingEnd
from ._ways import readers_between

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from ._control import ControlJoin
    from ._receive_end import ReceiveEnd
    from ._send_end import SendEnd
    from ._watching import ChannelWatch

__all__ = ["OrderedEnd", "Ordering", "SortedEnd"]

T_co = TypeVar("T_co", covariant=True)


class _OrderMarker(Marker, frozen=True, gc=False):
    """The end of the results of one element that a fork has sent."""

    fork: int
    """The number by which merges know the fork."""


class Ordering:
    """Marks what a fork sends, for the merges below that restore its order.

    Args:
        fork: The number by which merges know the fork.
        reach: For each branch that leads to such a merge, the inputs that a marker comes to, of it and of those between.
    """

    def __init__(self, fork: int, reach: Mapping[SendEnd[Never], Sequence[tuple[ControlJoin, frozenset[int]]]]) -> None:
        self._fork = fork
        self._reach = reach

    def mark(self, branches: Iterable[SendEnd[Never]]) -> None:
        """Put a marker behind the element that was just sent on these branches."""
        marked = [one for one in branches if one in self._reach]
        if not marked:
            return
        marker = _OrderMarker(fork=self._fork)
        expected: dict[ControlJoin, frozenset[int]] = {}
        for branch in marked:
            for join, inputs in self._reach[branch]:
                expected[join] = expected.get(join, frozenset()) | inputs
        for join, inputs in expected.items():
            join.expect(marker, self._fork, inputs)
        for branch in marked:
            cast("SendEnd[Marker]", branch)._put(marker)


class OrderedEnd(ChoosingEnd[T_co]):
    """Gives what comes of each element that a fork has sent before what comes of the next; of one, in the order of the inputs.

    Args:
        name: As for `MergeEnd`.
        inputs: As for `MergeEnd`.
        admit: As for `MergeEnd`.
        watch: As for `MergeEnd`.
        join: Joins the control elements that forks above have copied, and the markers.
        forks: The forks whose order is restored. Their markers end here, unless merges further below restore it too.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[ReceiveEnd[Any]],
        admit: Callable[[object], bool],
        watch: ChannelWatch | None = None,
        join: ControlJoin | None = None,
        *,
        forks: Collection[int] = (),
    ) -> None:
        super().__init__(name, inputs, admit, watch, join)
        self._ending = frozenset(forks)
        self._has_more_forks = join is not None and len(join.reach) > len(self._ending)
        self._ways: dict[tuple[int, ...], list[ReceiveEnd[Any]]] = {}  # to an input from forks, who reads there

    def _choose(self, ready: list[int]) -> int | None:
        due = self._join.next_awaited() if self._join is not None else None
        if due is None:
            return ready[0]
        return due[0] if due[0] in ready else None

    def _fill(self, item: Any) -> None:
        if not (isinstance(item, _OrderMarker) and item.fork in self._ending):
            super()._fill(item)

    def _awaited(self, join: ControlJoin) -> Sequence[tuple[int, ControlElement]]:
        held = super()._awaited(join)
        due = join.next_awaited()
        return [*held, due] if due is not None and due not in held else held

    def _is_read(self, number: int) -> bool:
        due = self._join.next_awaited() if self._join is not None else None
        return due is None or due[0] == number

    def _may_come(self, join: ControlJoin, number: int, element: ControlElement) -> bool:
        # This is asked for each element, so the short answer first: a marker passes everybody but a stage that has ended early, and
        # no fork of the marks' own stands still because of this wait.
        if isinstance(element, Marker) and not self._has_more_forks and not self._is_cut(join, number, element):
            return True
        return super()._may_come(join, number, element)

    def _is_cut(self, join: ControlJoin, number: int, element: ControlElement) -> bool:
        """Say whether a stage on the way to an input has ended."""
        way = number, *map(id, join.origins(element))
        if way not in self._ways:
            readers = self._ways[way] = readers_between(join.origins(element), self._inputs[number]) or []
            for one in readers:
                if self._relay_here not in one._overseers:
                    one._overseers += (self._relay_here,)
        return any(one.state == "cancelled" for one in self._ways[way])


class SortedEnd(ChoosingEnd[T_co]):
    """Gives the element with the smallest key among those that the inputs show; of equal ones, that of the first input.

    So it waits until every input shows data, has ended, or has come to a boundary that the others have still to show. If each input
    is sorted by the key, so is what leaves.

    Args:
        name: As for `MergeEnd`.
        inputs: As for `MergeEnd`.
        admit: As for `MergeEnd`.
        watch: As for `MergeEnd`.
        join: As for `MergeEnd`.
        key: Gives what an element is compared by.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[ReceiveEnd[Any]],
        admit: Callable[[object], bool],
        watch: ChannelWatch | None = None,
        join: ControlJoin | None = None,
        *,
        key: Callable[[Any], Any],
    ) -> None:
        super().__init__(name, inputs, admit, watch, join)
        self._key = key
        self._keys: dict[int, tuple[int, Any]] = {}  # of what each input shows, behind its position there

    def _choose(self, ready: list[int]) -> int | None:
        control = next((one for one in ready if isinstance(self._inputs[one]._buffer[0], ControlElement)), None)
        if control is not None:
            return control
        return min(ready, key=self._key_of) if self._lacks_none() else None

    def _is_read(self, number: int) -> bool:
        return not self._inputs[number]._buffer or self._lacks_none()

    def _drop_kept(self, _does_stay: Callable[[object], bool]) -> int:
        self._keys.clear()  # of what may be gone
        return 0

    def _key_of(self, number: int) -> Any:
        edge = self._inputs[number]
        known = self._keys.get(number)
        if known is None or known[0] != edge.received:
            known = self._keys[number] = edge.received, self._key(edge._buffer[0])
        return known[1]

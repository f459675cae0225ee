"""Where the markers of a fork go that merges below need to restore its order, and which forks are above it.

Found out once, with the plan.

Above: `_plan`. Below: nothing; edges, stages and merges are numbers here.

A merge is named by its edges, a stage of several inputs by those of all of them: both join the control that comes to them. A marker
is told only to those on the way to a merge that needs it. There it ends, unless another one further below needs it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from .._records import Record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ._plan import EdgePlan, StagePlan

__all__ = ["JoinKey", "OrderingPlan", "forks_above", "plan_orderings"]

JoinKey: TypeAlias = tuple[int, ...]
"""What joins control: the edges into it."""


class OrderingPlan(Record, frozen=True):
    """Where the markers of one fork go."""

    reach: Mapping[int, tuple[tuple[JoinKey, frozenset[int]], ...]]
    """For each branch, by its edge, that leads to a merge which restores the order: who aligns markers, and on which inputs."""
    ends: frozenset[JoinKey]
    """The merges behind which nobody needs the markers."""


def forks_above(forks: Sequence[tuple[int, ...]], reach: Mapping[int, frozenset[int]]) -> dict[int, frozenset[int]]:
    """Return, for each fork, those from which an element may come to it.

    Args:
        forks: The branches of each fork, by their edges.
        reach: For each fork of several branches, the edges that a copy made there can come to, the branches among them.
    """
    behind = {fork: edges.difference(forks[fork]) for fork, edges in reach.items()}
    return {
        number: frozenset(fork for fork, edges in behind.items() if not edges.isdisjoint(branches))
        for number, branches in enumerate(forks if reach else ())
    }


def plan_orderings(
    stages: Sequence[StagePlan],
    edges: Sequence[EdgePlan],
    forks: Mapping[int, Sequence[int]],
    needed: Mapping[JoinKey, Collection[int]],
) -> dict[int, OrderingPlan]:
    """Return for each fork that marks what it sends where the markers go.

    Args:
        stages: The stages, by number.
        edges: The edges, by number.
        forks: The branches of each fork that may have to, by number.
        needed: For each merge that restores an order, the forks whose order that is.
    """
    ways = _Ways(stages, edges)
    return {
        fork: ways.of_fork(branches, [key for key, several in needed.items() if fork in several])
        for fork, branches in forks.items()
        if any(fork in several for several in needed.values())
    }


class _Ways:
    """The ways through a plan."""

    def __init__(self, stages: Sequence[StagePlan], edges: Sequence[EdgePlan]) -> None:
        self._stages = stages
        self._edges = edges
        self._merge_of = {edge: one.edges for stage in stages for one in stage.inputs for edge in one.edges}

    def of_fork(self, branches: Sequence[int], merges: Sequence[JoinKey]) -> OrderingPlan:
        """Return where the markers go that a fork puts on its branches, for these merges."""
        ends = frozenset(one for one in merges if not any(self._leads(one, other) for other in merges))
        joins = {
            key: inputs
            for key, inputs in self._joins()
            if key in merges or any(self._leads(key, one) for one in merges)
        }
        reach: dict[int, tuple[tuple[JoinKey, frozenset[int]], ...]] = {}
        reached = {branch: self._reached(branch, ends) for branch in branches}
        for branch, found in reached.items():
            if any(not found.isdisjoint(merge) for merge in merges):
                at = {
                    key: frozenset(place for place, several in enumerate(inputs) if not found.isdisjoint(several))
                    for key, inputs in joins.items()
                }
                reach[branch] = tuple((key, places) for key, places in at.items() if places)
        return OrderingPlan(reach, ends)

    def _joins(self) -> Iterable[tuple[JoinKey, list[tuple[int, ...]]]]:
        """Yield all that joins control, each with the edges of each of its inputs."""
        for stage in self._stages:
            for one in stage.inputs:
                if len(one.edges) > 1:
                    yield one.edges, [(edge,) for edge in one.edges]
            if stage.ports:
                yield stage.join_key, [one.edges for one in stage.inputs]

    def _leads(self, key: JoinKey, other: JoinKey) -> bool:
        """Say whether what leaves one merge can come to another one."""
        begin, end = self._edges[key[0]].target, self._edges[other[0]].target
        return begin is not None and end is not None and end in self._stages[begin].downstream

    def _reached(self, branch: int, ends: Collection[JoinKey]) -> set[int]:
        found, waiting = {branch}, [branch]
        while waiting:
            edge = waiting.pop()
            stage = self._edges[edge].target
            if stage is None or self._merge_of[edge] in ends:
                continue
            new = {one for output in self._stages[stage].outputs for one in output.edges} - found
            found |= new
            waiting += new
        return found

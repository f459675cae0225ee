"""Where an order can be restored: which forks every input of a merge hangs on.

Above: `_validation`, which refuses an ordered merge without one; `runtime`, which lets them mark what they send. Below: `_spec`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ._policies import Ordered

if TYPE_CHECKING:
    from collections.abc import Collection

    from ._spec import EdgeSpec, Endpoint, Graph

__all__ = ["ordering_forks"]


def ordering_forks(graph: Graph) -> dict[Endpoint, tuple[Endpoint, ...]]:
    """Return for each merge in the order of a fork above those forks that lead to all its inputs, nearest ones only.

    A fork is left out whose elements all go through another one on their way.
    """
    ordered = [join.target for join in graph.joins if isinstance(join.policy, Ordered) and join.policy.key is None]
    if not ordered:
        return {}
    ways = _Ways(graph)
    return {target: ways.forks_of(target) for target in ordered}


class _Ways:
    """The ways through a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._of_stage: defaultdict[str, list[EdgeSpec]] = defaultdict(list)
        self._of_end: defaultdict[Endpoint, list[EdgeSpec]] = defaultdict(list)
        for edge in graph.forward_edges:
            self._of_stage[edge.source.stage].append(edge)
            self._of_end[edge.source].append(edge)

    def forks_of(self, target: Endpoint) -> tuple[Endpoint, ...]:
        """Return the forks that lead to all edges into `target`, without those whose elements pass another one."""
        inputs = set(self._graph.edges_into(target))
        common = {
            end: reached
            for end, edges in self._of_end.items()
            if len(edges) > 1 and inputs <= (reached := self._reached(end, ()))
        }
        found: list[Endpoint] = []
        for end, reached in common.items():
            below = {
                one.stage for one in common if one != end and any(edge.target.stage == one.stage for edge in reached)
            }
            if not below or inputs & self._reached(end, below - {end.stage}):
                found.append(end)
        return tuple(found)

    def _reached(self, end: Endpoint, closed: Collection[str]) -> set[EdgeSpec]:
        """Return the edges that lead on from an end, on ways that enter no stage of those that are `closed`."""
        found = set(self._of_end[end])
        waiting = list(found)
        while waiting:
            stage = waiting.pop().target.stage
            if stage not in closed:
                new = [edge for edge in self._of_stage[stage] if edge not in found]
                found.update(new)
                waiting += new
        return found

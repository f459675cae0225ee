"""Which neighbouring stages share one task, and why the others do not: pure data, found out from the graph and the settings.

Above: `_explain`, `runtime`. Below: `_spec`, `_feedback`.

Two stages are fused if nothing can tell, but by the time it takes: each is one synchronous function of one element; one edge and no
other leads from one to the other; and nothing was said of that edge, or of either stage, that needs a task at both its ends. What
lies between a fork and the place where its branches meet again is left alone: there it matters how much each branch can hold.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec

from .._records import Record
from ._feedback import loops

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._spec import EdgeSpec, Graph, Node

__all__ = ["Fusion", "fusion_of"]


class Fusion(Record, frozen=True):
    """Which stages of a graph share tasks."""

    chains: tuple[tuple[str, ...], ...] = ()
    """The stages of each task that several share, in the order in which elements pass them."""
    reasons: Mapping[tuple[str, str], str] = msgspec.field(default_factory=dict[tuple[str, str], str])
    """Why others do not, by the names of the stages at both ends of an edge."""


def fusion_of(graph: Graph, *, wanted: bool, priority: bool, is_watched: bool) -> Fusion:
    """Return which stages of a graph that validation has accepted are fused.

    Args:
        graph: The stages and edges.
        wanted: Whether any are to be.
        priority: Whether edges of which nothing else was said have priority lanes.
        is_watched: Whether each edge is measured, traced or timed.
    """
    judge = _Judge(graph, wanted=wanted, priority=priority, is_watched=is_watched)
    reasons: dict[tuple[str, str], str] = {}
    following: dict[str, str] = {}
    for edge in graph.edges:
        reason = judge.reason(edge)
        if reason is None:
            following[edge.source.stage] = edge.target.stage
        else:
            reasons[edge.source.stage, edge.target.stage] = reason
    fused = frozenset(following.values())
    begins = [node.name for node in graph.order() if node.name in following and node.name not in fused]
    return Fusion(tuple(tuple(_followed(name, following)) for name in begins), reasons)


def _followed(name: str, following: Mapping[str, str]) -> Iterator[str]:
    yield name
    while name in following:
        name = following[name]
        yield name


class _Judge:
    """Says of each edge of one graph why it is not fused."""

    def __init__(self, graph: Graph, *, wanted: bool, priority: bool, is_watched: bool) -> None:
        self._graph = graph
        self._wanted = wanted
        self._priority = priority
        self._is_watched = is_watched
        self._nodes = {node.name: node for node in graph.nodes}
        self._leaving = Counter(edge.source.stage for edge in graph.edges)
        self._entering = Counter(edge.target.stage for edge in graph.edges)
        self._forking = {fork.source.stage for fork in graph.forks}
        self._loops = loops(graph)
        self._restarted = self._restarted_with_others()
        forks = [name for name, count in self._leaving.items() if count > 1]
        self._below = {node.name: graph.downstream(node.name) for node in graph.nodes} if forks else {}
        self._last = {end.stage for end in graph.leaves}
        self._reached = {name: self._reached_from(name) for name in forks}

    def reason(self, edge: EdgeSpec) -> str | None:
        """Return why the stages at the ends of an edge do not share a task; None: they do."""
        if not self._wanted:
            return "fusion is off"
        source, target = self._nodes[edge.source.stage], self._nodes[edge.target.stage]
        return self._of_stages(source, target) or self._of_edge(edge) or self._of_place(edge)

    def _of_stages(self, *ends: Node) -> str | None:
        for node in ends:
            if node.stage.step is None:
                return f"{node.name!r} is not one synchronous function of one element"
            if node.supervision is not None:
                return f"{node.name!r} is supervised"
            if node.name in self._restarted:
                return f"{node.name!r} is restarted with others"
            if node.stage.timeout_s is not None:
                return f"{node.name!r} has a time limit"
        return None

    def _of_edge(self, edge: EdgeSpec) -> str | None:
        if edge.buffer is not None:
            return "it has its own size"
        if edge.overflow != "block" or edge.weight is not None:
            return "it has a policy"
        if self._priority if edge.priority is None else edge.priority:
            return "it has priority lanes"
        return "it is watched, as all edges are" if self._is_watched else None

    def _of_place(self, edge: EdgeSpec) -> str | None:
        source, target = edge.source.stage, edge.target.stage
        if any(source in loop or target in loop for loop in self._loops):
            return "it is part of a loop"
        if self._leaving[source] > 1 or source in self._forking:
            return f"{source!r} has several branches"
        for name in (source, target):
            # What several edges feed is taken one by one, so that there is nothing to gain.
            if self._entering[name] > 1:
                return f"{name!r} has several inputs"
        fork = next((name for name in self._reached if self._meet_behind(name, source, target)), None)
        return None if fork is None else f"branches of {fork!r} meet again behind it"

    def _meet_behind(self, fork: str, source: str, target: str) -> bool:
        """Say whether a branch that an edge is no part of comes to something that the edge leads to."""
        reached = self._reached[fork]
        own = reached.get(source)
        if own is None:
            return False
        behind: set[str | None] = {target, *self._below[target]}
        if not self._last.isdisjoint(behind):
            behind.add(None)
        return any(not reached[place] <= own for place in behind)

    def _restarted_with_others(self) -> frozenset[str]:
        supervised = ((node.name, node.supervision) for node in self._graph.nodes if node.supervision is not None)
        return self._graph.downstream(*(name for name, one in supervised if one.supervision.rest_for_one))

    def _reached_from(self, fork: str) -> dict[str | None, set[int]]:
        """Return by which of the edges out of a stage each stage behind it can be reached; None: the consumer."""
        reached: defaultdict[str | None, set[int]] = defaultdict(set)
        edges = (edge for edge in self._graph.forward_edges if edge.source.stage == fork)
        for number, first in enumerate(edge.target.stage for edge in edges):
            names = {first, *self._below[first]}
            for name in names:
                reached[name].add(number)
            if not self._last.isdisjoint(names):
                reached[None].add(number)
        return dict(reached)

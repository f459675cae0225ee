"""Paths that part and meet again where the meeting waits for one of them: what can stop such a graph for ever.

Above: `_builder`. Below: `_spec`, `stages`.

A join that waits for a particular input does not take from the others meanwhile; they fill up, and the fork above stops. If a
stage on the path that is waited for holds elements back until more come, none comes any more. No size of the edges mends that,
unless what is held back has a bound. Merges never wait for a particular input.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING

from ..errors import Finding
from ..stages import StageKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ._spec import EdgeSpec, Graph, Node

__all__ = ["reconvergent"]


def reconvergent(graph: Graph) -> Iterator[Finding]:
    """Yield a finding for each stage that waits for inputs in an order of its own, below a fork with a stage that holds back.

    Args:
        graph: One that validation has accepted.
    """
    order = {node.name: number for number, node in enumerate(graph.order())}
    nodes = {node.name: node for node in graph.nodes}
    above: dict[str, frozenset[str]] = {}
    before: defaultdict[str, set[str]] = defaultdict(set)
    for edge in graph.forward_edges:
        before[edge.target.stage].add(edge.source.stage)
    for name in order:  # in topological order
        above[name] = frozenset(before[name]).union(*(above[one] for one in before[name]))
    for join, arms in _waiting_joins(graph):
        reach = [_with_above(arm, above) for arm in arms]
        for one, other in combinations(range(len(arms)), 2):
            forks = [name for name in reach[one] & reach[other] if _parts(graph, name, above, arms[one], arms[other])]
            if not forks:
                continue
            fork = max(forks, key=lambda name: order[name])
            between = [name for name in reach[one] | reach[other] if fork in above[name] and _holds_back(nodes[name])]
            if between:
                yield _finding(fork, join, min(between, key=lambda name: order[name]))
                break


def _waiting_joins(graph: Graph) -> Iterator[tuple[Node, list[list[EdgeSpec]]]]:
    """Yield each stage that may wait for a particular input, with the edges into each of its inputs."""
    into: defaultdict[object, list[EdgeSpec]] = defaultdict(list)
    for edge in graph.forward_edges:
        into[edge.target].append(edge)
    waiting = {join.target for join in graph.joins if join.policy.waits_for_inputs}
    for node in graph.nodes:
        ends = [end for end in node.inputs if into[end]]
        arms = [into[end] for end in ends]
        for end in ends:
            if end in waiting:
                arms = [*(into[one] for one in ends if one != end), *([edge] for edge in into[end])]
        if len(arms) > 1:
            yield node, arms


def _with_above(edges: Iterable[EdgeSpec], above: dict[str, frozenset[str]]) -> frozenset[str]:
    sources = {edge.source.stage for edge in edges}
    return frozenset(sources).union(*(above[one] for one in sources))


def _parts(
    graph: Graph, fork: str, above: dict[str, frozenset[str]], one: list[EdgeSpec], other: list[EdgeSpec]
) -> bool:
    """Say whether one edge out of a stage leads to one arm, and another one to the other."""
    leading = [
        {edge for edge in graph.forward_edges if edge.source.stage == fork and _leads(edge, arm, above)}
        for arm in (one, other)
    ]
    return any(first is not second for first in leading[0] for second in leading[1])


def _leads(edge: EdgeSpec, arm: list[EdgeSpec], above: dict[str, frozenset[str]]) -> bool:
    name = edge.target.stage
    return any(edge is last or name == last.source.stage or name in above[last.source.stage] for last in arm)


def _holds_back(node: Node) -> bool:
    return node.stage.holds_back or node.stage.kind is StageKind.ACCUMULATE


def _finding(fork: str, join: Node, stage: str) -> Finding:
    message = (
        f"{join.name!r} may wait for one of its inputs while {fork!r} above cannot go on, because the other is full: "
        f"{stage!r} between them holds elements back"
    )
    hint = (
        "merge the inputs, if their order does not matter; give the other path a larger buffer=, if what "
        f"{stage!r} holds back has a bound; or let edges grow: PipelineConfig(on_deadlock='grow')"
    )
    return Finding("reconvergent-paths", join.name, message, hint, join.where)

"""Which stages of a graph may fail without failing the run.

Above: `runtime`. Below: `_spec`.

1. A stage is *optional* if all that is fed to it comes out of optional branches or taps, directly or through other optional stages.
2. A stage is *isolated* if it is optional, or if all its ways to an end of the graph (the consumer, a sink) lead into a merge that
   isolates its inputs, or to a stage that is isolated itself.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._spec import EdgeSpec, Graph

__all__ = ["isolated_stages"]


def isolated_stages(graph: Graph) -> frozenset[str]:
    """Return the names of the stages whose failure is not the run's.

    Args:
        graph: One that validation has accepted.
    """
    optional_edges = {(fork.source, target) for fork in graph.forks for target in fork.optional}
    optional_edges |= {(edge.source, edge.target) for edge in graph.edges if edge.is_tap}
    isolating = {join.target for join in graph.joins if join.isolates}
    if not optional_edges and not isolating:
        return frozenset()
    into: defaultdict[str, list[EdgeSpec]] = defaultdict(list)
    out_of: defaultdict[str, list[EdgeSpec]] = defaultdict(list)
    for edge in graph.edges:
        into[edge.target.stage].append(edge)
    for edge in graph.without_letters().edges:
        out_of[edge.source.stage].append(edge)
    order = graph.order()
    found: set[str] = set()
    heads, leaves = ({end.stage for end in ends} for ends in (graph.heads, graph.leaves))
    for node in order:
        feeding = [
            (edge.source, edge.target) in optional_edges or edge.source.stage in found for edge in into[node.name]
        ]
        if feeding and all(feeding) and node.name not in heads:
            found.add(node.name)
    for node in reversed(order):
        leading = [edge.target in isolating or edge.target.stage in found for edge in out_of[node.name]]
        if leading and all(leading) and node.name not in leaves:
            found.add(node.name)
    return frozenset(found)

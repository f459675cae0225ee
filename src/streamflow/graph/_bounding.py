"""What bounds each edge of a graph: what was said of the edge itself, else what the pipeline's configuration says.

Above: `_explain`, `runtime`. Below: `_spec`, `channels`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..channels import EdgeBound
from ..elements import Priority
from ._spec import OUTSIDE, EdgeSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._spec import Endpoint, Graph

__all__ = ["bound_of", "bounds_of", "most_held", "outer_edge", "told"]


def bounds_of(graph: Graph, *, buffer_size: int, priority: bool) -> Iterator[EdgeBound]:
    """Yield what bounds each edge: first those between stages, then those from the source and to the consumer, in order.

    Args:
        graph: The stages and edges.
        buffer_size: Capacity of edges that have none of their own.
        priority: Whether edges of which nothing else was said have priority lanes.
    """
    for edge in graph.edges:
        yield bound_of(edge, buffer_size=buffer_size, priority=priority)
    said = {(edge.source, edge.target): edge for edge in graph.outer}
    for ends in (*((OUTSIDE, head) for head in graph.heads), *((leaf, OUTSIDE) for leaf in graph.leaves)):
        yield bound_of(said.get(ends) or EdgeSpec(*ends, ""), buffer_size=buffer_size, priority=priority)


def bound_of(edge: EdgeSpec, *, buffer_size: int, priority: bool) -> EdgeBound:
    """Return what bounds one edge; see `bounds_of()`."""
    return EdgeBound(
        buffer_size if edge.buffer is None else edge.buffer,
        edge.overflow,
        edge.weight,
        priority if edge.priority is None else edge.priority,
    )


def most_held(bound: EdgeBound) -> int:
    """Return the most elements that an edge holds: where data can be dropped, control has a room of its own."""
    if bound.overflow == "block":
        return bound.capacity
    if bound.overflow == "latest":
        return bound.capacity + (len(Priority) if bound.lanes else 1)
    return 2 * bound.capacity


def outer_edge(graph: Graph, end: Endpoint, *, is_head: bool) -> EdgeSpec:
    """Return the edge from the source into a head, or from a leaf to the consumer."""
    ends = (OUTSIDE, end) if is_head else (end, OUTSIDE)
    return next((one for one in graph.outer if (one.source, one.target) == ends), EdgeSpec(*ends, ""))


def told(edge: EdgeSpec) -> list[str]:
    """Return what was said of an edge besides its capacity, in words."""
    lanes = {None: [], True: ["with priority lanes"], False: ["without priority lanes"]}[edge.priority]
    policy = [] if edge.overflow == "block" else [edge.overflow]
    return [*policy, *([f"at most {edge.weight}"] if edge.weight is not None else []), *lanes]

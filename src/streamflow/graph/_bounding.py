"""What bounds each edge of a graph: what was said of the edge itself, else what the pipeline's configuration says.

Above: `_explain`, `runtime`. Below: `_spec`, `channels`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..channels import EdgeBound
from ..elements import Priority

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._spec import EdgeSpec, Graph

__all__ = ["bound_of", "bounds_of", "most_held", "told"]


def bounds_of(graph: Graph, *, buffer_size: int, priority: bool) -> Iterator[EdgeBound]:
    """Yield what bounds each edge: first those between stages, then those from the source and to the consumer, in order.

    Args:
        graph: The stages and edges.
        buffer_size: Capacity of edges that have none of their own.
        priority: Whether edges of which nothing else was said have priority lanes.
    """
    for edge in graph.edges:
        yield bound_of(edge, buffer_size=buffer_size, priority=priority)
    for _ in (*graph.heads, *graph.leaves):
        yield EdgeBound(buffer_size, lanes=priority)


def bound_of(edge: EdgeSpec, *, buffer_size: int, priority: bool) -> EdgeBound:
    """Return what bounds one edge between stages; see `bounds_of()`."""
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


def told(edge: EdgeSpec) -> list[str]:
    """Return what was said of an edge besides its capacity, in words."""
    lanes = {None: [], True: ["with priority lanes"], False: ["without priority lanes"]}[edge.priority]
    policy = [] if edge.overflow == "block" else [edge.overflow]
    return [*policy, *([f"at most {edge.weight}"] if edge.weight is not None else []), *lanes]

"""The graph as data: stages and the edges between them. Immutable; nothing here runs.

Above: `_builder`, `_validation`, `runtime`. Below: `stages`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..stages import StageSpec

__all__ = ["EdgeSpec", "Graph", "Node"]


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """One stage in its graph."""

    stage: StageSpec
    """What it is."""
    where: str
    """`file:line` of the call that added it."""

    @property
    def name(self) -> str:
        """Name of the stage."""
        return self.stage.name


@dataclasses.dataclass(frozen=True, slots=True)
class EdgeSpec:
    """One edge between two stages."""

    source: str
    """Name of the stage that writes."""
    target: str
    """Name of the stage that reads."""
    where: str
    """`file:line` of the call that made it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Graph:
    """Stages and edges, in the order in which they were added."""

    nodes: tuple[Node, ...]
    """The stages."""
    edges: tuple[EdgeSpec, ...]
    """The edges; a stage without an edge into it is fed by the source, one without an edge out of it feeds the consumer."""

    def chain(self) -> tuple[Node, ...]:
        """Return the stages from head to tail. Only for a graph that validation has found to be one chain."""
        following = {edge.source: edge.target for edge in self.edges}
        named = {node.name: node for node in self.nodes}
        fed = set(following.values())
        name: str | None = next(node.name for node in self.nodes if node.name not in fed)
        ordered: list[Node] = []
        while name is not None:
            ordered.append(named[name])
            name = following.get(name)
        return tuple(ordered)

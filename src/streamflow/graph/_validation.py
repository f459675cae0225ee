"""What can be wrong with a graph: every finding at once, each with its stage, its place in the user's code and a way out.

Above: `_builder`. Below: `_edges`, `_types`, `_nesting`, `_spec`, `stages`.

One mistake makes one finding: what hangs on a name that is unknown, or that two stages have, is left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elements import TurnEnd
from ..errors import (
    BuildError,
    CycleError,
    DuplicateStageError,
    Finding,
    StagePlacementError,
    TypeMismatchError,
    UnknownStageError,
)
from ..stages import StageKind, is_accepted
from ._edges import connections, cycles
from ._names import Names
from ._spec import Graph
from ._supervised import unlawful
from ._types import mismatches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._spec import Endpoint, Node

__all__ = ["check", "findings"]

_CLASSES: dict[str, type[BuildError]] = {
    "cycle": CycleError,
    "duplicate-name": DuplicateStageError,
    "unknown-stage": UnknownStageError,
    "unknown-port": UnknownStageError,
    "sink-in-the-middle": StagePlacementError,
    "generator-behind-a-stage": StagePlacementError,
    "several-heads": StagePlacementError,
    "duplicate-edge": StagePlacementError,
    "fan-out": StagePlacementError,
    "fan-in": StagePlacementError,
    "two-otherwise": StagePlacementError,
    "two-ways-out": StagePlacementError,
    "missing-branch": StagePlacementError,
    "unused-branch": StagePlacementError,
    "two-policies": StagePlacementError,
    "merge-policy": StagePlacementError,
    "unconnected-stage": StagePlacementError,
    "feedback-forward": StagePlacementError,
    "feedback-without-way-out": StagePlacementError,
    "type-mismatch": TypeMismatchError,
}


def check(graph: Graph, named: Sequence[tuple[Endpoint, str]] = ()) -> None:
    """Raise one error with all findings, if there are any.

    Args:
        graph: The stages and edges.
        named: What was named besides, each with the line of the call.

    Raises:
        BuildError: With every finding; its subclass when all findings are of one class.
    """
    found = findings(graph, named)
    if found:
        classes = {_CLASSES.get(one.kind, BuildError) for one in found}
        raise (classes.pop() if len(classes) == 1 else BuildError)(found)


def findings(graph: Graph, named: Sequence[tuple[Endpoint, str]] = ()) -> list[Finding]:
    """Return everything that is wrong with `graph`: in the order of its stages, behind them what is about names that are none.

    Args:
        graph: The stages and edges.
        named: What was named besides, each with the line of the call.
    """
    found: list[Finding] = []
    if not graph.nodes:
        hint = "add stages: PipelineBuilder().chain(first, second)"
        found.append(Finding(kind="empty", stage=None, message="the graph has no stage", hint=hint))
    names = Names(graph)
    # Only what is known for sure: stages of one name each, and edges of which both ends are there.
    known = Graph(names.unique, tuple(edge for edge in graph.edges if names.has_both(edge)), graph.forks, graph.joins)
    circles, circling = cycles(known)
    closing = {edge for edge in known.edges if (edge.source.stage, edge.target.stage) in circles}
    unsound = circling.union(edge for edge in graph.edges if not names.has_both(edge))
    found += [one for node in graph.nodes for one in _accumulator(node)]
    found += names.doubles()
    found += names.misnamed(named)
    found += connections(graph, names, closing)
    found += circles.values()
    found += unlawful(known)
    found += mismatches(Graph(names.unique, graph.edges, graph.forks, graph.joins), unsound)
    order = {node.name: number for number, node in reversed(list(enumerate(graph.nodes)))}
    return sorted(found, key=lambda one: order.get(one.stage or "", len(order)))


def _accumulator(node: Node) -> list[Finding]:
    if node.stage.kind is not StageKind.ACCUMULATE or is_accepted(TurnEnd, node.stage.accepts):
        return []
    message = f"stage {node.name!r} accumulates but does not accept TurnEnd, so it cannot flush at the end of a turn"
    hint = "add TurnEnd to accepts=, flush when one comes, and send it on"
    return [Finding("accumulator-without-turn-end", node.name, message, hint, node.where)]

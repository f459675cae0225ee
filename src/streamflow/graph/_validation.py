"""What can be wrong with a graph: every finding at once, each with its stage, its place in the user's code and a way out.

Above: `_builder`. Below: `_spec`, `stages`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..elements import ControlElement, StreamElement, TurnEnd
from ..errors import BuildError, DuplicateStageError, Finding, StagePlacementError, TypeMismatchError
from ..stages import StageKind, is_accepted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._spec import Graph, Node

__all__ = ["check", "findings"]

_CLASSES: dict[str, type[BuildError]] = {
    "duplicate-name": DuplicateStageError,
    "sink-in-the-middle": StagePlacementError,
    "generator-behind-a-stage": StagePlacementError,
    "two-chains": StagePlacementError,
    "fan-out": StagePlacementError,
    "fan-in": StagePlacementError,
    "type-mismatch": TypeMismatchError,
}


def check(graph: Graph) -> None:
    """Raise one error with all findings, if there are any.

    Raises:
        BuildError: With every finding; its subclass when all findings are of one kind.
    """
    found = findings(graph)
    if found:
        classes = {_CLASSES.get(one.kind, BuildError) for one in found}
        raise (classes.pop() if len(classes) == 1 else BuildError)(found)


def findings(graph: Graph) -> list[Finding]:
    """Return everything that is wrong with `graph`, in the order of its stages."""
    if not graph.nodes:
        hint = "add stages: PipelineBuilder().chain(first, second)"
        return [Finding(kind="empty", stage=None, message="the graph has no stage", hint=hint)]
    found = _duplicates(graph)
    if found:
        return found  # edges are by name, so nothing else can be told before names are unique
    found += _joints(graph)
    for node in graph.nodes:
        found += _accumulator(node)
    if not found:
        found += _types(graph.chain())
    return found


def _duplicates(graph: Graph) -> list[Finding]:
    counts = Counter(node.name for node in graph.nodes)
    repeated = [node for number, node in enumerate(graph.nodes) if node.name in {one.name for one in graph.nodes[:number]}]
    return [
        Finding(
            kind="duplicate-name",
            stage=node.name,
            message=f"{counts[node.name]} stages are named {node.name!r}",
            hint="give each its own name, as in MapStage(fn, name='…')",
            where=node.where,
        )
        for node in repeated
    ]


def _joints(graph: Graph) -> list[Finding]:
    """What is wrong with where stages stand."""
    found: list[Finding] = []
    into, out_of = Counter(edge.target for edge in graph.edges), Counter(edge.source for edge in graph.edges)
    roots = [node for node in graph.nodes if not into[node.name]]
    for node in graph.nodes:
        kind = node.stage.kind
        if kind is StageKind.SINK and out_of[node.name]:
            found.append(
                _misplaced(node, "sink-in-the-middle", "is a sink and has a stage behind it", "put it last")
            )
        if kind is StageKind.GENERATE and into[node.name]:
            found.append(
                _misplaced(node, "generator-behind-a-stage", "generates and takes no input, but has a stage before it", "put it first")
            )
        if out_of[node.name] > 1:
            found.append(_misplaced(node, "fan-out", "feeds more than one stage", "chain each stage to one other"))
        if into[node.name] > 1:
            found.append(_misplaced(node, "fan-in", "is fed by more than one stage", "chain each stage to one other"))
    found += [
        _misplaced(node, "two-chains", f"is not connected to {roots[0].name!r}", "continue a chain by naming its last stage first: chain('last', …)")
        for node in roots[1:]
    ]
    if not roots:
        found.append(Finding(kind="no-head", stage=None, message="every stage has another before it", hint="chains end where they began; cut one"))
    return found


def _misplaced(node: Node, kind: str, what: str, hint: str) -> Finding:
    return Finding(kind=kind, stage=node.name, message=f"stage {node.name!r} {what}", hint=hint, where=node.where)


def _accumulator(node: Node) -> list[Finding]:
    if node.stage.kind is not StageKind.ACCUMULATE or is_accepted(TurnEnd, node.stage.accepts):
        return []
    return [
        Finding(
            kind="accumulator-without-turn-end",
            stage=node.name,
            message=f"stage {node.name!r} accumulates but does not accept TurnEnd, so it cannot flush at the end of a turn",
            hint="add TurnEnd to accepts=, flush when one comes, and send it on",
            where=node.where,
        )
    ]


def _types(chain: Iterable[Node]) -> list[Finding]:
    """Follow the data types along a chain: what a stage does not accept passes it by, what it emits replaces what it took."""
    found: list[Finding] = []
    everything = _data_types()
    arriving, before = everything, None
    for node in chain:
        stage = node.stage
        taken = {kind for kind in arriving if is_accepted(kind, stage.accepts)}
        wanted = [one for one in stage.accepts if not issubclass(one, ControlElement)]
        if wanted and not taken and before is not None:
            names = " or ".join(one.__name__ for one in wanted)
            found.append(
                Finding(
                    kind="type-mismatch",
                    stage=node.name,
                    message=f"stage {node.name!r} accepts {names}, but nothing like that arrives behind {before.name!r}",
                    hint=f"put a stage between them that makes {names}, or check emits= of {before.name!r}",
                    where=node.where,
                )
            )
        emitted = everything if stage.emits is None else {one for one in everything if issubclass(one, stage.emits)}
        arriving, before = (arriving - taken) | emitted, node
    return found


def _data_types() -> set[type[StreamElement]]:
    """Return all data types that exist, users' own among them."""
    found: set[type[StreamElement]] = set()
    waiting: list[type[StreamElement]] = [StreamElement]
    while waiting:
        kind = waiting.pop()
        if not issubclass(kind, ControlElement):
            found.add(kind)
        waiting += kind.__subclasses__()
    return found - {StreamElement}

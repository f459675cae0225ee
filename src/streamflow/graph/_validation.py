"""What can be wrong with a graph: every finding at once, each with its stage, its place in the user's code and a way out.

Above: `_builder`. Below: `_spec`, `stages`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..elements import ControlElement, StreamElement, TurnEnd
from ..errors import BuildError, CycleError, DuplicateStageError, Finding, StagePlacementError, TypeMismatchError
from ..stages import StageKind, is_accepted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._spec import Graph, Node

__all__ = ["check", "findings"]

_CLASSES: dict[str, type[BuildError]] = {
    "cycle": CycleError,
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
        BuildError: With every finding; its subclass when all findings are of one class.
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
    found = [one for node in graph.nodes for one in _accumulator(node)]
    repeated = _duplicates(graph.nodes)
    # Edges are by name, so where a stage stands can be told once names are unique, and what arrives there once it stands right.
    misplaced = [] if repeated else _misplacements(graph)
    found += repeated + misplaced
    if not repeated and not misplaced:
        found += _types(graph.chain())
    order = {node.name: number for number, node in reversed(list(enumerate(graph.nodes)))}
    return sorted(found, key=lambda one: order[one.stage or graph.nodes[0].name])


def _finding(node: Node, kind: str, message: str, hint: str) -> Finding:
    return Finding(kind=kind, stage=node.name, message=message, hint=hint, where=node.where)


def _duplicates(nodes: Iterable[Node]) -> list[Finding]:
    """Report each stage whose name another had before, with the place of that one."""
    first: dict[str, Node] = {}
    found: list[Finding] = []
    for node in nodes:
        before = first.setdefault(node.name, node)
        if before is not node:
            message = f"two stages are named {node.name!r}, the other was added at {before.where}"
            hint = (
                f"give each its own name, as in MapStage(fn, name='…'); to continue behind it, chain({node.name!r}, …)"
            )
            found.append(_finding(node, "duplicate-name", message, hint))
    return found


def _accumulator(node: Node) -> list[Finding]:
    if node.stage.kind is not StageKind.ACCUMULATE or is_accepted(TurnEnd, node.stage.accepts):
        return []
    message = f"stage {node.name!r} accumulates but does not accept TurnEnd, so it cannot flush at the end of a turn"
    hint = "add TurnEnd to accepts=, flush when one comes, and send it on"
    return [_finding(node, "accumulator-without-turn-end", message, hint)]


def _misplacements(graph: Graph) -> list[Finding]:
    """Report what is wrong with where stages stand."""
    into, out_of = Counter(edge.target.stage for edge in graph.edges), Counter(edge.source.stage for edge in graph.edges)
    heads = [node for node in graph.nodes if not into[node.name]]
    found: list[Finding] = []
    for node in graph.nodes:
        if node.stage.kind is StageKind.SINK and out_of[node.name]:
            found.append(_misplaced(node, "sink-in-the-middle", "is a sink and has a stage behind it", "put it last"))
        if node.stage.kind is StageKind.GENERATE and into[node.name]:
            what = "generates and takes no input, but has a stage before it"
            found.append(_misplaced(node, "generator-behind-a-stage", what, "put it first"))
        if out_of[node.name] > 1:
            found.append(_misplaced(node, "fan-out", "feeds more than one stage", "chain each stage to one other"))
        if into[node.name] > 1:
            found.append(_misplaced(node, "fan-in", "is fed by more than one stage", "chain each stage to one other"))
        if node in heads[1:]:
            what, hint = f"is not connected to {heads[0].name!r}", "name the last stage of a chain first to continue it"
            found.append(_misplaced(node, "two-chains", what, f"{hint}: chain('last', …)"))
    if max(out_of.values(), default=0) <= 1 >= max(into.values(), default=0):
        found += _cycles(graph, heads)
    return found


def _misplaced(node: Node, kind: str, what: str, hint: str) -> Finding:
    return _finding(node, kind, f"stage {node.name!r} {what}", hint)


def _cycles(graph: Graph, heads: Iterable[Node]) -> list[Finding]:
    """Report each cycle with its path, in a graph without forks and joins: what no head leads to."""
    following = {edge.source.stage: edge.target.stage for edge in graph.edges}
    left = {node.name: node for node in graph.nodes}
    for head in heads:
        _follow(head.name, following, left)
    found: list[Finding] = []
    while left:
        first = next(iter(left.values()))
        path = [*_follow(first.name, following, left), first.name]
        message = f"the stages {' → '.join(path)} form a cycle"
        found.append(_finding(first, "cycle", message, "take one of these connections away; a chain ends"))
    return found


def _follow(name: str | None, following: dict[str, str], left: dict[str, Node]) -> list[str]:
    """Return the names from `name` on, and take them out of `left`."""
    path: list[str] = []
    while name is not None and left.pop(name, None) is not None:
        path.append(name)
        name = following.get(name)
    return path


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
            message = f"stage {node.name!r} accepts {names}, but nothing like that arrives behind {before.name!r}"
            hint = f"put a stage between them that makes {names}, or check emits= of {before.name!r}"
            found.append(_finding(node, "type-mismatch", message, hint))
        emitted = everything if stage.emits is None else {one for one in everything if issubclass(one, stage.emits)}
        passing: set[type[StreamElement]] = set() if stage.kind is StageKind.GENERATE else arriving - taken
        arriving, before = passing | emitted, node
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

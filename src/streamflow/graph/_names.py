"""Which stages and ports of a graph are known, and what is wrong with names: repeated, unknown, on the wrong side.

Above: `_validation`, `_edges`. Below: `_nesting`, `_spec`, `stages`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..errors import Finding
from ._nesting import outer_ends, outer_names
from ._spec import OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..stages import ElementTypes
    from ._spec import EdgeSpec, Endpoint, Graph, Node

__all__ = ["Names"]


class Names:
    """The stages of a graph by name, without those of which a name says too little."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        stages = Counter(node.name for node in graph.nodes)
        nested = Counter(one.name for one in graph.nested)
        self._twice_nested = {name for name, count in nested.items() if count > 1}
        self._doubled = self._twice_nested | {name for name in nested if name in stages}
        self._doubled |= {name for name, count in stages.items() if count > 1 or self._is_in_twice_nested(name)}
        self.unique: tuple[Node, ...] = tuple(node for node in graph.nodes if node.name not in self._doubled)
        """The stages whose names no other has."""
        self.inputs: dict[Endpoint, ElementTypes] = {}
        """Their input endpoints, with the types that each accepts."""
        self.outputs: dict[Endpoint, ElementTypes | None] = {}
        """Their output endpoints, with the types that each emits."""
        for node in self.unique:
            self.inputs.update(node.inputs)
            self.outputs.update(node.outputs)
        self._nodes = {node.name: node for node in self.unique}
        self._outer = {outer for name in stages for outer in outer_names(name)}

    def has_both(self, edge: EdgeSpec) -> bool:
        """Say whether an edge goes from an output that is known to an input that is known."""
        return edge.source in self.outputs and edge.target in self.inputs

    def doubles(self) -> Iterator[Finding]:
        """Yield a finding for each stage and each nested pipeline whose name another had before."""
        first: dict[str, str] = {}
        for node in self._graph.nodes:
            if node.name in first and not self._is_in_twice_nested(node.name):
                message = f"two stages are named {node.name!r}, the other was added at {first[node.name]}"
                hint = f"give each its own name, as in MapStage(fn, name='…'); to continue behind it, chain({node.name!r}, …)"
                yield Finding("duplicate-name", node.name, message, hint, node.where)
            first.setdefault(node.name, node.where)
        for nest in self._graph.nested:
            if nest.name in first and not self._is_in_twice_nested(nest.name):
                message = f"two are named {nest.name!r}, a nested pipeline and what was added at {first[nest.name]}"
                hint = "give each its own name, as in pipeline.as_stage('…')"
                yield Finding("duplicate-name", nest.name, message, hint, nest.where)
            first.setdefault(nest.name, nest.where)

    def misnamed(self, named: Iterable[tuple[Endpoint, str]]) -> list[Finding]:
        """Return a finding for each name that is none, or that is used on a side which it does not have.

        Args:
            named: What is in no edge, each with the line of the call.
        """
        found: dict[object, Finding] = {}
        for end, where, is_source in self._mentions():
            one = self._fault(end, where, is_source=is_source)
            if one is not None:
                # A stage stands wrong once, a wrong name is to be mended at each line that has it.
                is_placement = one.kind in {"sink-in-the-middle", "generator-behind-a-stage"}
                found.setdefault((one.kind, one.stage) if is_placement else (end, where, one.message), one)
        for end, where in named:
            one = self._fault_alone(end, where)
            if one is not None:
                found.setdefault((end, where, one.message), one)
        return list(found.values())

    def _is_in_twice_nested(self, name: str) -> bool:
        return not self._twice_nested.isdisjoint(outer_names(name))

    def _mentions(self) -> Iterator[tuple[Endpoint, str, bool]]:
        """Yield each endpoint that something in the graph names, with the line, and whether it is one that writes."""
        for edge in self._graph.edges:
            yield edge.source, edge.where, True
            yield edge.target, edge.where, False
        for edge in self._graph.outer:
            is_source = edge.target == OUTSIDE
            yield edge.source if is_source else edge.target, edge.where, is_source
        for fork in self._graph.forks:
            yield fork.source, fork.where, True
            if fork.otherwise is not None:
                yield fork.otherwise, fork.where, False
        for join in self._graph.joins:
            yield join.target, join.where, False

    def _fault(self, end: Endpoint, where: str, *, is_source: bool) -> Finding | None:
        name = end.stage
        if name in self._doubled:
            return None
        node = self._nodes.get(name)
        if node is None and name in self._outer:
            return self._fault_of_outer(end, where, is_source=is_source)
        if node is None:
            return self._unknown(end, where)
        own = node.outputs if is_source else node.inputs
        if end in own:
            return None
        if not (node.stage.outputs if is_source else own):
            return _misplaced(f"stage {name!r}", name, where, is_source=is_source)
        side = "output" if is_source else "input"
        ends = " or ".join(repr(str(one)) for one in own)
        if end.port:
            message = f"stage {name!r} has no {side} {end.port!r}"
            return Finding("unknown-port", name, message, f"write {ends}", where)
        message = f"stage {name!r} has named {side}s, of which none is named"
        return Finding("unknown-port", name, message, f"write {ends}", where)

    def _fault_alone(self, end: Endpoint, where: str) -> Finding | None:
        """Return what is wrong with what is named as neither source nor target."""
        name = end.stage
        if end in self.inputs or end in self.outputs:
            return None
        node = self._nodes.get(name)
        if node is None:
            is_fault = end.port or name not in self._outer
            return self._fault(end, where, is_source=True) if is_fault else None
        if not end.port:
            return None
        ends = " or ".join(dict.fromkeys(repr(str(one)) for one in (*node.inputs, *node.outputs)))
        return Finding("unknown-port", name, f"stage {name!r} has no port {end.port!r}", f"write {ends}", where)

    def _fault_of_outer(self, end: Endpoint, where: str, *, is_source: bool) -> Finding:
        """Return what is wrong with an edge to or from all stages of a nested pipeline, or behind a prefix."""
        name = end.stage
        is_nested = any(one.name == name for one in self._graph.nested)
        what = f"the nested pipeline {name!r}" if is_nested else f"the prefix {name!r}"
        inside = {node.name: node for node in self._graph.nodes if name in outer_names(node.name)}
        own = [
            (None if one.is_tap else one.source, None if one.feedback else one.target)
            for one in self._graph.edges
            if {one.source.stage, one.target.stage} <= inside.keys()
        ]
        heads, leaves = outer_ends(inside.values(), own)
        ends = leaves if is_source else heads
        listed = " or ".join(repr(str(one)) for one in ends)
        if end.port:
            hint = f"name a stage of it, as in '{name}/…:{end.port}'"
            return Finding("unknown-port", name, f"{what} has no ports of its own, so no {end.port!r}", hint, where)
        if not ends:
            return _misplaced(what, name, where, is_source=is_source)
        if is_source or len(ends) == 1:
            return Finding("unknown-stage", name, f"{what} is no stage", f"name what is meant: {listed}", where)
        message = f"{what} has {len(ends)} inputs, so an edge to it does not say which is meant"
        return Finding("several-heads", name, message, f"connect to each that should be fed: {listed}", where)

    def _unknown(self, end: Endpoint, where: str) -> Finding:
        known = list(dict.fromkeys(node.name for node in self._graph.nodes))
        near = _nearest(end.stage, known)
        if near is not None:
            hint = f"did you mean {near!r}?"
        else:
            listed = ", ".join(map(repr, known[:10])) + (", …" if len(known) > 10 else "")
            hint = f"a string names a stage that was added ({listed or 'none yet'}); give the stage itself to add it"
        return Finding("unknown-stage", end.stage, f"there is no stage {end.stage!r}", hint, where)


def _misplaced(what: str, name: str, where: str, *, is_source: bool) -> Finding:
    if is_source:
        message = f"{what} is a sink and has a stage behind it"
        return Finding("sink-in-the-middle", name, message, "put it last", where)
    message = f"{what} generates and takes no input, but has a stage before it"
    return Finding("generator-behind-a-stage", name, message, "put it first", where)


def _nearest(text: str, known: Iterable[str]) -> str | None:
    """Return the known name that looks most like `text`, also one that does so behind its prefix."""
    names: dict[str, str] = {}
    for name in known:
        names.setdefault(name.casefold(), name)
    for name in known:
        names.setdefault(name.rpartition("/")[2].casefold(), name)
    import difflib  # noqa: PLC0415 - only for a message

    found = difflib.get_close_matches(text.casefold(), names, n=1)
    return names[found[0]] if found else None

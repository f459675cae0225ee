"""Which types of data can be where in a graph: what is emitted, passes by, and is let into branches, along all paths at once.

Above: `_validation`, `_builder`. Below: `_spec`, `stages`.

What arrives at an input is the union over its edges, or what its merge makes of it. What a stage does not accept passes it by, what
it emits comes in addition. A fork gives each branch what its first stage accepts, and the rest to `otherwise`; a route, what its
rule sends there (`_route_types`); a merge that makes elements takes any data. An edge that is wrong in itself (from or to nowhere,
inside a cycle) may carry anything: what is found beside it stays true however it is mended.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ..elements import ControlElement, StreamElement
from ..errors import Finding
from ..stages import ALL_DATA, is_accepted
from ._route_types import refused_by_branches, routed
from ._spec import EdgeSpec, Endpoint, ForkSpec, Graph

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from ..stages import ElementTypes

__all__ = ["mismatches", "unclaimed"]

_Kinds = frozenset[type[StreamElement]]
_NONE: _Kinds = frozenset()


def mismatches(graph: Graph, unsound: Collection[EdgeSpec]) -> list[Finding]:
    """Return a finding for each input at which nothing that arrives is accepted, and each branch that nothing can enter.

    Args:
        graph: The stages and edges; names are unique, and without the unsound edges there is no cycle.
        unsound: Edges that may carry anything.
    """
    everything = _data_types()
    flow = _Flow(graph, unsound, everything, lambda emits: _emitted(emits, everything))
    found = _refused(graph, unsound, flow)
    told = {(one.stage, one.where) for one in found}
    for node in graph.nodes:
        for end, accepts in node.inputs.items():
            wanted = [one for one in accepts if not issubclass(one, ControlElement)]
            edges = flow.into[end]
            if not wanted:
                continue
            names = " or ".join(one.__name__ for one in wanted)
            closed = [edge for edge in edges if edge.source in flow.forks and flow.carried.get(edge) == _NONE]
            found += [flow.of_branch(edge, names) for edge in closed if not flow.is_told(edge, told)]
            if not closed and not any(is_accepted(kind, accepts) for kind in flow.arriving[end]):
                found.append(flow.of_input(end, names))
    return found


def _refused(graph: Graph, unsound: Collection[EdgeSpec], flow: _Flow) -> list[Finding]:
    """Return a finding for each branch of a route that gets what it does not accept."""
    routes = [(fork, fork.route) for fork in flow.forks.values() if fork.route is not None]
    known = _Flow(graph, unsound, _NONE, _declared) if routes else flow
    found: list[Finding] = []
    for fork, route in routes:
        if fork.source in flow.leaving:
            kinds, declared = flow.leaving[fork.source], known.given[fork.source]
            found += refused_by_branches(fork, route, flow.accepts, kinds, declared)
    return found


def unclaimed(graph: Graph) -> list[Finding]:
    """Return a finding for each fork that loses data which is declared to come: no branch accepts it, nothing gets the rest.

    Args:
        graph: One that validation has accepted.
    """
    flow = _Flow(graph, (), _NONE, _declared)
    found: list[Finding] = []
    for fork in graph.forks:
        branches = [edge for edge in flow.out_of[fork.source] if not edge.is_tap]
        if fork.mode == "route" or not branches:
            continue
        accepted = [kind for edge in branches for kind in flow.enterable(edge.target)]
        # A branch for a subclass may be all that is needed: nobody knows whether plain ones come.
        lost = sorted(
            kind.__name__
            for kind in flow.given[fork.source]
            if not any(issubclass(kind, one) or issubclass(one, kind) for one in accepted)
        )
        if lost and fork.otherwise is None:
            source = str(fork.source)
            message = f"no branch of {source!r} accepts {' or '.join(lost)}, so that is dropped"
            hint = f"add a branch for it, or catch the rest: {fork.mode}({source!r}, …, otherwise=…)"
            found.append(Finding("unclaimed-data", fork.source.stage, message, hint, fork.where))
    return found


class _Flow:
    """The types that can be at each end and on each edge of a graph.

    Args:
        graph: The stages and edges.
        unsound: Edges that may carry anything.
        entering: What the source, or an unsound edge, may bring.
        emitted: Returns the types that come out of a stage that declares to emit these.
    """

    def __init__(
        self,
        graph: Graph,
        unsound: Collection[EdgeSpec],
        entering: _Kinds,
        emitted: Callable[[ElementTypes | None], _Kinds],
    ) -> None:
        self.into: defaultdict[Endpoint, list[EdgeSpec]] = defaultdict(list)
        self.out_of: defaultdict[Endpoint, list[EdgeSpec]] = defaultdict(list)
        self.accepts: dict[Endpoint, ElementTypes] = {}
        self.arriving: dict[Endpoint, _Kinds] = {}
        self.emitted: dict[Endpoint, _Kinds] = {}
        self.given: dict[Endpoint, _Kinds] = {}  # what its own fork divides
        self.leaving: dict[Endpoint, _Kinds] = {}
        self.carried: dict[EdgeSpec, _Kinds] = {}
        self.forks: dict[Endpoint, ForkSpec] = {}
        self._rests: dict[
            Endpoint, set[Endpoint]
        ] = {}  # to each fork what gets the rest: one, unless that is a finding
        for fork in graph.forks:
            self.forks.setdefault(fork.source, fork)
            self._rests.setdefault(fork.source, set()).update([] if fork.otherwise is None else [fork.otherwise])
        self._inputs = {node.name: tuple(node.inputs) for node in graph.nodes}
        self._entering = entering
        self._made = {end: emitted(one.emits) for end, one in graph.policies.items() if one.makes}
        left_out = set(unsound)
        sound = [edge for edge in graph.edges if edge not in left_out]
        for edge in sound:
            self.out_of[edge.source].append(edge)
        for edge in graph.forward_edges:  # what comes back is what was let in before, or made of it
            self.into[edge.target].append(edge)
        for node in graph.nodes:
            self.accepts.update(node.inputs)
        for node in Graph(graph.nodes, tuple(sound)).order():
            passing = _NONE
            for end, accepts in node.inputs.items():
                arriving = self._arriving(end)
                self.arriving[end] = arriving
                passing |= {kind for kind in arriving if not is_accepted(kind, accepts)}
            for end, emits in node.outputs.items():
                self.emitted[end] = emitted(emits)
                # Dead letters have an output for themselves, which nothing passes by through.
                is_own = end == node.letters
                self._leave(end, _NONE if is_own else passing, is_one=is_own or len(node.stage.outputs) == 1)

    def of_input(self, end: Endpoint, names: str) -> Finding:
        """Return the finding about an input that accepts nothing that arrives."""
        edges = self.into[end]
        behind = " or ".join(dict.fromkeys(repr(str(edge.source)) for edge in edges))
        message = f"stage {str(end)!r} accepts {names}, but nothing like that arrives behind {behind}"
        paths: dict[str, list[str]] = {}
        for kind in _widest(self.arriving[end]):
            paths.setdefault(" → ".join([*self._path(kind, end), str(end)]), []).append(kind.__name__)
        # What a stage emits tells more than what else the source may give.
        by_origin = sorted(paths.items(), key=lambda one: one[0].startswith("source →"))
        told = [f"{_listed(kinds)} by {path}" for path, kinds in by_origin]
        message += f", only {_listed(told, 3, '; ')}" if told else ", no data at all"
        hint = f"put a stage between them that makes {names}, or check emits= of {behind}"
        return Finding("type-mismatch", end.stage, message, hint, edges[0].where)

    def of_branch(self, edge: EdgeSpec, names: str) -> Finding:
        """Return the finding about a branch that nothing can enter."""
        source, target = str(edge.source), str(edge.target)
        if edge.target in self._rests[edge.source]:
            message = f"nothing is left for {target!r}: the other branches of {source!r} accept all that comes"
            hint = "leave otherwise= out, or let one of them accept less"
        else:
            comes = _listed([kind.__name__ for kind in _widest(self.leaving[edge.source])])
            what = f"only {comes} comes" if comes else "no data comes"
            message = (
                f"nothing enters the branch {source} → {target}: {target!r} accepts {names}, {what} out of {source!r}"
            )
            hint = f"leave this branch out, or check emits= of {source!r}"
        return Finding("type-mismatch", edge.target.stage, message, hint, edge.where)

    def is_told(self, edge: EdgeSpec, told: Collection[tuple[str | None, str | None]]) -> bool:
        """Say whether there is a finding about what a route sends along an edge, among stages and lines."""
        return (edge.target.stage, self.forks[edge.source].where) in told

    def _arriving(self, end: Endpoint) -> _Kinds:
        edges = self.into[end]
        if not edges:
            return self._entering  # from the source
        if end in self._made:
            return self._made[end]
        return _NONE.union(*(self.carried.get(edge, self._entering) for edge in edges))

    def _leave(self, end: Endpoint, passing: _Kinds, *, is_one: bool) -> None:
        """Note what comes out of an end of a stage, and what of it each of its edges carries."""
        # Past a stage of several outputs elements go to those edges whose stages accept them, whatever the port.
        through = self.emitted[end] | passing if is_one else self.emitted[end]
        self.given[end] = through
        self.leaving[end] = self.emitted[end] | passing
        edges = self.out_of[end]
        rest, fork = self._rests.get(end), self.forks.get(end)
        route = None if fork is None else fork.route
        accepted = {edge: frozenset(kind for kind in self.leaving[end] if self._enters(kind, edge)) for edge in edges}
        for edge in edges:
            if edge.is_tap:
                self.carried[edge] = accepted[edge]
            elif fork is not None and route is not None:
                self.carried[edge] = routed(fork, route, edge.target, accepted[edge])
            elif rest is None:
                self.carried[edge] = through | accepted[edge]
            elif edge.target not in rest:
                self.carried[edge] = accepted[edge]
            elif len(rest) > 1:
                self.carried[edge] = self._entering
            else:
                taken = _NONE.union(*(accepted[one] for one in edges if one.target not in rest and not one.is_tap))
                self.carried[edge] = (through - taken) | (_NONE if is_one else accepted[edge] & passing)

    def _enters(self, kind: type[StreamElement], edge: EdgeSpec) -> bool:
        return is_accepted(kind, self.enterable(edge.target))

    def enterable(self, end: Endpoint) -> ElementTypes:
        """Return the types that an edge into `end` takes: those that are accepted there, unless they are made there of others."""
        return ALL_DATA if end in self._made else self.accepts[end]

    def _path(self, kind: type[StreamElement], end: Endpoint) -> list[str]:
        """Return a way by which `kind` comes to `end`: from where it is emitted, or from the source."""
        path: list[str] = []
        while True:
            if end in self._made:
                return [f"merge of {' and '.join(str(edge.source) for edge in self.into[end])}", *path]
            edge = next((edge for edge in self.into[end] if kind in self.carried.get(edge, self._entering)), None)
            if edge is None:
                return ["source", *path]
            path.insert(0, str(edge.source))
            if edge not in self.carried or kind in self.emitted[edge.source]:
                return path
            end = next(
                one
                for one in self._inputs[edge.source.stage]
                if kind in self.arriving[one] and not is_accepted(kind, self.accepts[one])
            )


def _data_types() -> _Kinds:
    """Return all data types that exist, users' own among them."""
    found: set[type[StreamElement]] = set()
    waiting: list[type[StreamElement]] = [StreamElement]
    while waiting:
        kind = waiting.pop()
        if not issubclass(kind, ControlElement):
            found.add(kind)
        waiting += kind.__subclasses__()
    return frozenset(found - {StreamElement})


def _emitted(emits: ElementTypes | None, everything: _Kinds) -> _Kinds:
    return everything if emits is None else frozenset(one for one in everything if issubclass(one, emits))


def _declared(emits: ElementTypes | None) -> _Kinds:
    """Return the data types that are really known to come: those that are named, not all that they stand for."""
    return frozenset(one for one in emits or () if not issubclass(one, ControlElement))


def _widest(kinds: Iterable[type[StreamElement]]) -> list[type[StreamElement]]:
    """Return those that are no subclass of another one, by name; bases that users cannot name do not count."""
    several = [one for one in kinds if not one.__name__.startswith("_")]
    wide = [one for one in several if not any(issubclass(one, other) for other in several if other is not one)]
    return sorted(wide, key=lambda one: one.__name__)


def _listed(names: list[str], most: int = 4, between: str = ", ") -> str:
    more = len(names) - most
    return between.join(names[:most]) + (f"{between}and {more} more" if more > 0 else "")

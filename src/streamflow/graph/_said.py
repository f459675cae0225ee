"""What a builder was told, call by call, and what graph that makes.

Above: `_builder`. Below: `_nesting`, `_spec`.

Calls name stages that may be added later, so names are kept as they were given and resolved once, when the graph is made. Nothing
here finds fault: a name that cannot be resolved stands in the graph as it is, and validation says what is wrong with it.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from .._records import Record
from ..stages import definition_error
from ._fans import FanCall, fan_call_of, with_fans
from ._nesting import outer_ends, outer_names
from ._policies import Arrival
from ._spec import OUTSIDE, EdgeSpec, Endpoint, FeedbackSpec, ForkSpec, Graph, JoinSpec, NestSpec, Node
from ._supervised import SaidOfStage, letters_joined, supervised

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from ..channels import Overflow, Weight
    from ..stages import Supervision
    from ._nesting import SubGraph
    from ._policies import MergePolicy

__all__ = ["Link", "Merged", "Named", "Said"]


class Named(Record, frozen=True):
    """A stage, a port or a nested pipeline, as a call named it."""

    text: str
    """Its name, with a colon and a port behind it where one was named."""
    where: str
    """`file:line` of the call."""
    scope: str = ""
    """The prefix of the view that was called: the name is looked up behind it first, then outside."""
    is_between: bool = False
    """Whether it stands between two others of a chain, so that a port may be of either side."""


class Link(Record, frozen=True):
    """A connection, as a call made it."""

    source: Named
    """What writes."""
    target: Named
    """What reads."""
    buffer: int | None = None
    """Capacity of its edge."""
    overflow: Overflow = "block"
    """What becomes of data for which there is no room."""
    weight: Weight | None = None
    """A bound by weight."""
    priority: bool | None = None
    """Whether its edge has priority lanes."""
    restates: bool = False
    """Whether it stands for an edge that may be there already."""
    is_tap: bool = False
    """Whether its edge is a tap."""
    feedback: FeedbackSpec | None = None
    """How it leads back; None: it leads forward."""

    @property
    def options(self) -> tuple[int | None, Overflow, Weight | None, bool | None, bool]:
        """What was said of its edge, as `EdgeSpec` takes it."""
        return self.buffer, self.overflow, self.weight, self.priority, self.is_tap


class Merged(Record, frozen=True):
    """A merge, as a call told it."""

    target: Named
    """What reads."""
    policy: MergePolicy | None = None
    """How; None: what another call says, or in the order of arrival."""
    sources: tuple[Named, ...] = ()
    """What writes, in the order of the call."""


@dataclasses.dataclass(slots=True)
class Said:
    """All that was said. Lists that only grow, so a call that fails is taken back by their lengths."""

    nodes: list[Node] = dataclasses.field(default_factory=list[Node])
    """The stages, also those of nested pipelines."""
    nested: list[NestSpec] = dataclasses.field(default_factory=list[NestSpec])
    """The nested pipelines."""
    links: list[Link] = dataclasses.field(default_factory=list[Link])
    """The connections."""
    outer: list[Link] = dataclasses.field(default_factory=list[Link])
    """What was said of connections with the source and the consumer, which have no name."""
    forks: list[tuple[Named, Named | None]] = dataclasses.field(default_factory=list[tuple[Named, "Named | None"]])
    """What branches, and what gets the rest."""
    joins: list[Merged] = dataclasses.field(default_factory=list[Merged])
    """What merges."""
    optional: list[tuple[Named, Named]] = dataclasses.field(default_factory=list[tuple[Named, Named]])
    """What branches, and a branch of it that may fail."""
    isolating: list[Named] = dataclasses.field(default_factory=list[Named])
    """What merges inputs that may fail."""
    supervised: list[tuple[Named, Supervision, Named | None]] = dataclasses.field(
        default_factory=list[tuple[Named, "Supervision", "Named | None"]]
    )
    """What is to be done when a stage fails, and what takes its dead letters."""
    alone: list[Named] = dataclasses.field(default_factory=list[Named])
    """Names in calls that connect them with nothing."""
    given: list[tuple[object, str, str]] = dataclasses.field(default_factory=list[tuple[object, str, str]])
    """Each thing that was given as a stage, the scope that it was added in, and its name."""
    fans: list[FanCall] = dataclasses.field(default_factory=list[FanCall])
    """What routes, what balances, and which branches are essential or dynamic."""

    def copy(self) -> Said:
        """Return a copy that grows on its own."""
        return Said(
            list(self.nodes),
            list(self.nested),
            list(self.links),
            list(self.outer),
            list(self.forks),
            list(self.joins),
            list(self.optional),
            list(self.isolating),
            list(self.supervised),
            list(self.alone),
            list(self.given),
            list(self.fans),
        )

    def lengths(self) -> tuple[int, ...]:
        """Return how much was said."""
        return tuple(len(one) for one in self._lists())

    def forget_after(self, lengths: tuple[int, ...]) -> None:
        """Take back what was said since `lengths` were these."""
        for one, length in zip(self._lists(), lengths, strict=True):
            del one[length:]

    def name_of(self, thing: object, scope: str) -> str | None:
        """Return the name of what was given before, as seen from a scope: from there, from inside it, from outside.

        Raises:
            StageDefinitionError: If it was added more than once inside.
        """
        found = [(its_scope, name) for one, its_scope, name in self.given if _is_same(one, thing)]
        first = dict(reversed(found))
        inside = [name for its_scope, name in found if its_scope.startswith(scope)]
        if scope not in first and inside:
            if len(inside) > 1:
                message = f"{thing!r:.80} was added more than once, so it does not say which stage is meant"
                raise definition_error(None, message, f"give the name: {' or '.join(map(repr, inside))}")
            return inside[0]
        return next((first[level] for level in _levels(scope) if level in first), None)

    def splice(self, inner: SubGraph, scope: str, where: str) -> str:
        """Add what is nested, and return its name."""
        outer = scope + inner.name

        def named(end: Endpoint, where: str) -> Named:
            return Named(f"{outer}/{end}", where)

        self.nested.append(NestSpec(outer, where))
        self.nested += [one.replace(name=f"{outer}/{one.name}") for one in inner.graph.nested]
        self.nodes += [one.replace(name=f"{outer}/{one.name}") for one in inner.graph.nodes]
        for edge in inner.graph.edges:
            ends = named(edge.source, edge.where), named(edge.target, edge.where)
            buffer = inner.buffer if edge.buffer is None else edge.buffer
            priority = inner.priority if edge.priority is None else edge.priority
            link = Link(*ends, buffer, edge.overflow, edge.weight, priority, is_tap=edge.is_tap, feedback=edge.feedback)
            self.links.append(link)
        for fork in inner.graph.forks:
            fan = fan_call_of(fork, named)
            self.fans += [fan] if fan is not None else []
            if fork.mode != "branch":
                continue
            otherwise = None if fork.otherwise is None else named(fork.otherwise, fork.where)
            source = named(fork.source, fork.where)
            self.forks.append((source, otherwise))
            self.optional += [(source, named(one, fork.where)) for one in fork.optional]
        self.joins += [Merged(named(join.target, join.where), join.policy) for join in inner.graph.joins]
        self.isolating += [named(join.target, join.where) for join in inner.graph.joins if join.isolates]
        return outer

    def graph(self) -> tuple[Graph, list[tuple[Endpoint, str]]]:
        """Return the graph, and what was named besides, each with the line of the call."""
        lookup = _Lookup(self)
        edges, joins = _edges(self, lookup)
        nodes, letters = supervised(self.nodes, [_said_of_stage(one, lookup) for one in self.supervised])
        edges += letters
        joins += letters_joined(edges, joins)
        isolating = {lookup.target(one) for one in self.isolating}
        joins = [one.replace(isolates=True) if one.target in isolating else one for one in joins]
        forks = [*with_fans(_forks(self.forks, self.optional, lookup), self.fans, lookup.sources, lookup.target)]
        forks += _forks_of_loops(edges, {one.source for one in forks})
        outer = _outer(self.outer, lookup)
        graph = Graph(tuple(nodes), tuple(edges), tuple(forks), tuple(joins), tuple(self.nested), tuple(outer))
        named = [*self.alone, *(one for one, _, _ in self.supervised)]
        return graph, [(lookup.place(one), one.where) for one in named]

    def _lists(self) -> tuple[list[Any], ...]:
        branching = (self.forks, self.joins, self.optional, self.isolating, self.fans)
        return (self.nodes, self.nested, self.links, self.outer, *branching, self.supervised, self.alone, self.given)


class _Lookup:
    """Which endpoints a name stands for."""

    def __init__(self, said: Said) -> None:
        self._nodes = {node.name: node for node in reversed(said.nodes)}
        self._inside: defaultdict[str, list[Node]] = defaultdict(list)
        for node in said.nodes:
            for outer in outer_names(node.name):
                self._inside[outer].append(node)
        self._links: defaultdict[str, list[Link]] = defaultdict(list)  # with both ends inside
        for link in said.links:
            begins, ends = (outer_names(self.place(one).stage) for one in (link.source, link.target))
            for outer in set(begins).intersection(ends):
                self._links[outer].append(link)
        self._ends: dict[str, tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]] = {}

    def place(self, named: Named) -> Endpoint:
        """Return the stage or prefix that is meant, as it is called in the graph; what is unknown, as it was named."""
        name, _, port = named.text.partition(":")
        for level in _levels(named.scope):
            if level + name in self._nodes or level + name in self._inside:
                return Endpoint(level + name, port)
        return Endpoint(name, port)

    def sources(self, named: Named) -> tuple[Endpoint, ...]:
        """Return what an edge from `named` comes from."""
        place = self.place(named)
        node = self._nodes.get(place.stage)
        if node is not None:
            return (_on_side(place, node.outputs, node.inputs, is_between=named.is_between),)
        leaves = () if place.port else self._ends_of(place.stage)[1]
        return leaves or (place,)

    def target(self, named: Named) -> Endpoint:
        """Return what an edge to `named` goes to."""
        place = self.place(named)
        node = self._nodes.get(place.stage)
        if node is not None:
            return _on_side(place, node.inputs, node.outputs, is_between=named.is_between)
        heads = () if place.port else self._ends_of(place.stage)[0]
        return heads[0] if len(heads) == 1 else place

    def _ends_of(self, outer: str) -> tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]:
        # This ends: what is inside has a longer name than what it is inside of.
        if outer not in self._ends:
            links = self._links.get(outer, ())
            pairs = [(link, source) for link in links for source in self.sources(link.source)]
            own = [
                (None if link.is_tap else source, None if link.feedback else self.target(link.target))
                for link, source in pairs
            ]
            self._ends[outer] = outer_ends(self._inside.get(outer, ()), own)
        return self._ends[outer]


def _edges(said: Said, lookup: _Lookup) -> tuple[list[EdgeSpec], list[JoinSpec]]:
    """Return the edges, and where they join."""
    pairs = [[(source, lookup.target(link.target)) for source in lookup.sources(link.source)] for link in said.links]
    given = [(link, several) for link, several in zip(said.links, pairs, strict=True) if not link.restates]
    present = {pair for link, several in given if not link.is_tap for pair in several}
    joins, order = _joins(said.joins, lookup)
    edges: list[EdgeSpec] = []
    feeding: defaultdict[Endpoint, Counter[int]] = defaultdict(Counter)
    for number, (link, several) in enumerate(zip(said.links, pairs, strict=True)):
        for source, target in several:
            if link.restates and (source, target) in present:
                continue
            if link.restates:
                present.add((source, target))
            feeding[target][number] += link.feedback is None
            edges.append(EdgeSpec(source, target, link.target.where, *link.options, link.feedback))
    for target, links in feeding.items():
        if len(links) == 1 < links.total():
            # The outputs of one nested pipeline, and nothing else: saying its name once was to say that they are merged.
            joins.setdefault(target, [JoinSpec(target, said.links[next(iter(links))].target.where)])
    return _in_order(edges, order), [one for several in joins.values() for one in several]


def _joins(
    said: Iterable[Merged], lookup: _Lookup
) -> tuple[dict[Endpoint, list[JoinSpec]], dict[Endpoint, list[Endpoint]]]:
    """Return one join for each target, and another for each further policy that contradicts the first.

    Behind them, for each target where it matters which input is first, what was named as its inputs, in that order.
    """
    joins: dict[Endpoint, list[JoinSpec]] = {}
    told: set[Endpoint] = set()
    order: defaultdict[Endpoint, list[Endpoint]] = defaultdict(list)
    for one in said:
        target = lookup.target(one.target)
        known = joins.setdefault(target, [JoinSpec(target, one.target.where)])
        order[target] += [source for named in one.sources for source in lookup.sources(named)]
        if one.policy is None:
            continue
        if target not in told:
            known[0] = known[0].replace(policy=one.policy)
        elif all(one.policy != other.policy for other in known):
            known.append(JoinSpec(target, one.target.where, one.policy))
        told.add(target)
    plain = Arrival()
    return joins, {target: named for target, named in order.items() if joins[target][0].policy != plain}


def _in_order(edges: Sequence[EdgeSpec], order: Mapping[Endpoint, Sequence[Endpoint]]) -> list[EdgeSpec]:
    """Return the edges, those into one target in the order in which its inputs were named; others behind them."""
    places = {
        target: {source: place for place, source in reversed(list(enumerate(named)))} for target, named in order.items()
    }
    sorted_edges = {
        target: iter(
            sorted((edge for edge in edges if edge.target == target), key=lambda edge: rank.get(edge.source, len(rank)))
        )
        for target, rank in places.items()
    }
    return [next(sorted_edges[edge.target]) if edge.target in sorted_edges else edge for edge in edges]


def _outer(said: Iterable[Link], lookup: _Lookup) -> Iterator[EdgeSpec]:
    """Yield what was said of edges from the source and to the consumer."""
    for link in said:
        if not link.source.text:
            yield EdgeSpec(OUTSIDE, lookup.target(link.target), link.target.where, *link.options)
        else:
            for source in lookup.sources(link.source):
                yield EdgeSpec(source, OUTSIDE, link.source.where, *link.options)


def _said_of_stage(said: tuple[Named, Supervision, Named | None], lookup: _Lookup) -> SaidOfStage:
    named, supervision, letters = said
    target = None if letters is None else lookup.target(letters)
    return SaidOfStage(lookup.place(named).stage, supervision, named.where, target)


def _forks(
    said: Iterable[tuple[Named, Named | None]], optional: Iterable[tuple[Named, Named]], lookup: _Lookup
) -> list[ForkSpec]:
    """Return one fork for each source; another for each further `otherwise` that contradicts the first."""
    forks: dict[Endpoint, list[ForkSpec]] = {}
    may_fail: defaultdict[Endpoint, dict[Endpoint, None]] = defaultdict(dict)
    for named, branch in optional:
        for source in lookup.sources(named):
            may_fail[source][lookup.target(branch)] = None
    for named, rest in said:
        otherwise = None if rest is None else lookup.target(rest)
        for source in lookup.sources(named):
            known = forks.setdefault(source, [ForkSpec(source, named.where, otherwise)])
            if otherwise is None or otherwise in {one.otherwise for one in known}:
                continue
            if known[0].otherwise is None:
                known[0] = known[0].replace(otherwise=otherwise)
            else:
                known.append(ForkSpec(source, named.where, otherwise))
    every = [one for several in forks.values() for one in several]
    return [one.replace(optional=tuple(may_fail[one.source])) for one in every]


def _forks_of_loops(edges: Sequence[EdgeSpec], told: Collection[Endpoint]) -> Iterator[ForkSpec]:
    """Yield a fork for each source of an edge that leads back and of others: feedback() says that they are branches."""
    count = Counter(edge.source for edge in edges)
    back = {edge.source: edge.where for edge in edges if edge.feedback is not None}
    yield from (ForkSpec(source, where) for source, where in back.items() if count[source] > 1 and source not in told)


def _on_side(
    place: Endpoint, own: Mapping[Endpoint, object], other: Mapping[Endpoint, object], *, is_between: bool
) -> Endpoint:
    """Return the endpoint that is meant on one side of a stage: the one that is named, else the only one."""
    is_open = not place.port or (is_between and place in other)
    return next(iter(own)) if is_open and len(own) == 1 else place


def _is_same(one: object, other: object) -> bool:
    # Python makes a new object each time that a method is looked up.
    return one is other or (inspect.ismethod(one) and one == other)


def _levels(scope: str) -> Iterator[str]:
    """Yield a scope and those around it: `a/b/`, `a/`, and the empty one."""
    while scope:
        yield scope
        scope = scope[: scope.rfind("/", 0, -1) + 1]
    yield scope

"""Random graphs against a reference that walks every path with every type: accepted by both, or refused for the same reasons.

Held: semantics 4.1 (what the order of calls, a view, a clone and nesting change: nothing but names), 4.2 (all findings at once).
"""

from __future__ import annotations

import dataclasses
import graphlib
import itertools
import re
import warnings
from collections import Counter
from collections.abc import Mapping

from hypothesis import event, given
from hypothesis import strategies as st

from streamflow import (
    AudioElement,
    BaseStage,
    BuildError,
    BuildWarning,
    DataElement,
    ImageElement,
    SendEnd,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
)
from streamflow.errors import Finding
from streamflow.graph import Graph, GraphBuilder, SubGraph, findings


class LoudElement(TextElement, frozen=True):
    """A subclass, so that accepting and emitting are no equality."""


DATA = (TextElement, LoudElement, AudioElement, ImageElement, DataElement)
"""Stands for all data: `DataElement` is what nobody names."""

Kinds = tuple[type, ...]


@dataclasses.dataclass(frozen=True)
class Shape:
    """One stage, as it is drawn."""

    name: str
    kind: StageKind
    accepts: Kinds
    emits: Kinds | None
    ports: str
    """Which sides have two named ports: `in`, `out`, both or neither."""

    @property
    def inputs(self) -> dict[str, Kinds]:
        if self.kind is StageKind.GENERATE:
            return {}
        return {"l": self.accepts, "r": (AudioElement,)} if "in" in self.ports else {"": self.accepts}

    @property
    def outputs(self) -> dict[str, Kinds | None]:
        if self.kind is StageKind.SINK:
            return {}
        return {"x": self.emits, "y": (ImageElement,)} if "out" in self.ports else {"": self.emits}

    def make(self) -> BaseStage:
        class Made(BaseStage):
            async def process(self, first: object, second: SendEnd[StreamElement]) -> None:
                raise AssertionError

        made = Made(self.name)
        made.kind = self.kind
        if "" in self.inputs or not self.inputs:
            made.accepts = self.accepts
        else:
            made.inputs = self.inputs
        if "" in self.outputs or not self.outputs:
            made.emits = self.emits
        else:
            made.outputs = self.outputs
        return made


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of the builder, all by name."""

    method: str
    names: tuple[str, ...]
    otherwise: str | None = None

    def on(self, builder: GraphBuilder) -> None:
        options = {} if self.otherwise is None else {"otherwise": self.otherwise}
        getattr(builder, self.method)(*self.names, **options)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A graph, as it is said to a builder."""

    shapes: tuple[Shape, ...]
    calls: tuple[Call, ...]

    def say(self, builder: GraphBuilder) -> GraphBuilder:
        builder.add(*(one.make() for one in self.shapes))
        for one in self.calls:
            one.on(builder)
        return builder


# What is drawn

ACCEPTS = st.sampled_from(
    [
        (StreamElement,),
        (StreamElement,),
        (TextElement,),
        (LoudElement,),
        (AudioElement,),
        (TextElement, AudioElement),
        (ImageElement, AudioElement),
        (TurnEnd,),
    ]
)
EMITS = st.none() | st.sampled_from(
    [(TextElement,), (LoudElement,), (TextElement, AudioElement), (ImageElement,), (StreamElement,), (TurnEnd,)]
)
KINDS = st.sampled_from([StageKind.TRANSFORM] * 7 + [StageKind.SINK, StageKind.GENERATE, StageKind.ACCUMULATE])
NAMES = "abcdef"
MOSTLY = st.sampled_from([True] * 5 + [False])


@st.composite
def shapes(draw: st.DrawFn, name: str) -> Shape:
    kind = draw(KINDS)
    ports = "" if kind is not StageKind.TRANSFORM else draw(st.sampled_from(["", "", "", "", "in", "out", "in out"]))
    accepts = draw(ACCEPTS)
    if kind is StageKind.ACCUMULATE and draw(MOSTLY):
        accepts += (TurnEnd,)
    return Shape(name, kind, accepts, draw(EMITS), ports)


@st.composite
def drawn_graphs(draw: st.DrawFn) -> Drawn:
    """Draw mostly lawful graphs (edges that lead on, declared forks and joins), and some faults."""
    names = [*NAMES[: draw(st.integers(1, 6))]]
    stages = [draw(shapes(name)) for name in names]
    sources = [f"{one.name}:{port}".rstrip(":") for one in stages for port in one.outputs]
    targets = [f"{one.name}:{port}".rstrip(":") for one in stages for port in one.inputs]
    edges: list[tuple[str, str]] = []
    for target in targets:
        before = [one for one in sources if one[0] < target[0]]
        count = draw(st.sampled_from([0, 1, 1, 1, 1, 1, 2, 2])) if before else 0
        edges += [(source, target) for source in dict.fromkeys(draw(st.sampled_from(before)) for _ in range(count))]
    calls = [Call(draw(st.sampled_from(["connect", "chain"])), edge) for edge in edges]
    for end, count in Counter(source for source, _ in edges).items():
        if count > 1 and draw(MOSTLY):
            branches = tuple(target for source, target in edges if source == end)
            calls.append(Call("branch", (end, *branches), draw(st.sampled_from([None, None, branches[0]]))))
    for end, count in Counter(target for _, target in edges).items():
        if count > 1 and draw(MOSTLY):
            calls.append(Call("merge", (end, *(source for source, target in edges if target == end))))
    if not draw(MOSTLY):
        anything = st.sampled_from([*names, *sources, *targets, "g", "a:z"])
        several = st.lists(anything, min_size=1, max_size=3).map(tuple)
        again = st.sampled_from(edges or [("a", "a")])
        faults = st.one_of(
            st.builds(Call, st.just("connect"), st.tuples(anything, anything)),
            st.builds(Call, st.just("connect"), again),
            st.builds(Call, st.just("connect"), again.map(lambda edge: edge[::-1])),
            st.builds(Call, st.just("chain"), st.lists(anything, max_size=4).map(tuple)),
            st.builds(Call, st.just("branch"), several, st.none() | anything),
            st.builds(Call, st.just("branch"), again, anything),
            st.builds(Call, st.just("merge"), several),
        )
        calls += draw(st.lists(faults, min_size=1, max_size=3))
    if not draw(MOSTLY):
        stages.append(draw(shapes(draw(st.sampled_from(names)))))
    return Drawn(tuple(draw(st.permutations(stages))), tuple(draw(st.permutations(calls))))


# The reference

End = tuple[str, str]


class Reference:
    """What is wrong with a graph, by walking it with one element of each type after the other."""

    def __init__(self, drawn: Drawn, closing: set[tuple[str, str]]) -> None:
        self.shapes = {one.name: one for one in reversed(drawn.shapes)}
        counts = Counter(one.name for one in drawn.shapes)
        self.doubled = {name for name, count in counts.items() if count > 1}
        self.found: set[tuple[str, str | None]] = {("duplicate-name", name) for name in self.doubled}
        for one in drawn.shapes:
            if one.kind is StageKind.ACCUMULATE and TurnEnd not in one.accepts:
                self.found.add(("accumulator-without-turn-end", one.name))
        self.sound = {name: one for name, one in self.shapes.items() if name not in self.doubled}
        self.inputs = {(name, port): its for name, one in self.sound.items() for port, its in one.inputs.items()}
        self.outputs = {(name, port): its for name, one in self.sound.items() for port, its in one.outputs.items()}
        self.plain: list[tuple[End, End]] = []
        self.restated: list[tuple[End, End]] = []
        self.forks: dict[End, set[End]] = {}
        self.joins: set[End] = set()
        for call in drawn.calls:
            self.hear(call)
        self.edges = list(dict.fromkeys([*self.plain, *self.restated]))
        self.stage_edges = {(a[0], b[0]) for a, b in self.edges if a in self.outputs and b in self.inputs}
        self.check_counts(closing)
        self.check_connected(len(drawn.shapes))
        self.reached: set[tuple[End, End]] = set()
        self.accepted: set[End] = set()
        self.lost: set[tuple[End, str]] = set()
        self.walk()
        self.check_types()

    # Names

    def end(self, name: str, side: int, *, is_between: bool = False) -> End:
        """Return what `name` stands for as a source (side 0) or a target (side 1), and note what is wrong with it."""
        stage, _, port = name.partition(":")
        if stage not in self.shapes:
            self.found.add(("unknown-stage", stage))
            return stage, port
        shape = self.shapes[stage]
        own, other = (shape.outputs, shape.inputs) if side == 0 else (shape.inputs, shape.outputs)
        if port not in own and len(own) == 1 and (not port or (is_between and port in other)):
            port = next(iter(own))
        if stage not in self.doubled and port not in own:
            wrong = ("sink-in-the-middle", "generator-behind-a-stage")[side]
            self.found.add(("unknown-port" if own else wrong, stage))
        return stage, port

    def hear(self, call: Call) -> None:
        if call.method in {"chain", "connect"}:
            last = len(call.names) - 1
            ends = [[self.ends_of(name, 0 < place < last, place, last)] for place, name in enumerate(call.names)]
            self.plain += [(a[0][0], b[0][1]) for a, b in itertools.pairwise(ends)]
        elif call.method == "branch":
            source = self.end(call.names[0], 0)
            rest = set() if call.otherwise is None else {self.end(call.otherwise, 1)}
            self.forks.setdefault(source, set()).update(rest)
            self.restated += [(source, self.end(name, 1)) for name in call.names[1:]]
            self.restated += [(source, one) for one in rest]
        else:
            target = self.end(call.names[0], 1)
            self.joins.add(target)
            self.restated += [(self.end(name, 0), target) for name in call.names[1:]]

    def ends_of(self, name: str, is_between: bool, place: int, last: int) -> tuple[End, End]:
        if last == 0:  # alone: on either side, or nowhere
            stage, _, port = name.partition(":")
            shape = self.shapes.get(stage)
            if shape is None:
                self.found.add(("unknown-stage", stage))
            elif stage not in self.doubled and port and port not in {**shape.inputs, **shape.outputs}:
                self.found.add(("unknown-port", stage))
            return (stage, port), (stage, port)
        source = self.end(name, 0, is_between=is_between) if place < last else ("", "")
        target = self.end(name, 1, is_between=is_between) if place > 0 else ("", "")
        return source, target

    # Edges

    def check_counts(self, closing: set[tuple[str, str]]) -> None:
        for (source, target), count in Counter(self.plain).items():
            if count > 1 and source in self.outputs and target in self.inputs:
                self.found.add(("duplicate-edge", source[0]))
        for kind, side, ends, declared in (
            ("fan-out", 0, self.outputs, self.forks),
            ("fan-in", 1, self.inputs, self.joins),
        ):
            for end in ends:
                edges = [edge for edge in self.edges if edge[side] == end]
                sound = [(a[0], b[0]) for a, b in edges if not (self.is_known(a, b) and (a[0], b[0]) in closing)]
                if len(edges) < 2 if end in declared else len(sound) > 1:
                    self.found.add((kind, end[0]))
        for source, rest in self.forks.items():
            if len(rest) > 1 and source in self.outputs:
                self.found.add(("two-otherwise", source[0]))

    def is_known(self, source: End, target: End) -> bool:
        return source in self.outputs and target in self.inputs

    def check_connected(self, count: int) -> None:
        touched = {end[0] for edge in self.edges for end in edge}
        for name, shape in self.sound.items():
            if count > 1 and name not in touched and shape.kind is not StageKind.GENERATE:
                self.found.add(("unconnected-stage", name))

    # Types

    def walk(self) -> None:
        """Let elements of all types in wherever they may come from."""

        def leads(a: str, b: str, seen: frozenset[str] = frozenset()) -> bool:
            return a == b or any(
                leads(c, b, seen | {a}) for other, c in self.stage_edges if other == a and c not in seen
            )

        self.walked = [(a, b) for a, b in self.edges if self.is_known(a, b) and not leads(b[0], a[0])]
        for end in self.inputs:
            into = [edge for edge in self.edges if edge[1] == end]
            if not into or any(edge not in self.walked for edge in into):
                for kind in DATA:
                    self.arrive(kind, end)
        for end, emits in self.outputs.items():
            for kind in DATA:
                if emits is None or issubclass(kind, emits):
                    self.leave(kind, end)
        for edge in self.walked:
            if len(self.forks.get(edge[0], ())) > 1 and edge[1] in self.forks[edge[0]]:
                for kind in DATA:
                    self.cross(kind, edge)

    def check_types(self) -> None:
        for end, accepts in self.inputs.items():
            into = [edge for edge in self.edges if edge[1] == end]
            closed = [
                edge for edge in into if edge in self.walked and edge[0] in self.forks and edge not in self.reached
            ]
            if into and {*accepts} != {TurnEnd} and (closed or end not in self.accepted):
                self.found.add(("type-mismatch", end[0]))

    def takes(self, end: End, kind: type) -> bool:
        return issubclass(kind, tuple(one for one in self.inputs[end] if one is not TurnEnd))

    def arrive(self, kind: type, end: End) -> None:
        """Let one element arrive at an input: it is taken, or passes by and goes on."""
        if self.takes(end, kind):
            self.accepted.add(end)
            return
        shape = self.sound[end[0]]
        if len(shape.outputs) == 1:
            self.leave(kind, (shape.name, next(iter(shape.outputs))))
            return
        for edge in self.walked:
            if edge[0][0] == shape.name and self.takes(edge[1], kind):
                self.cross(kind, edge)

    def leave(self, kind: type, end: End) -> None:
        """Let one element leave by an output: to its branches, or to the rest."""
        edges = [edge for edge in self.walked if edge[0] == end]
        rest = self.forks.get(end)
        if rest is None:
            to = edges
        else:
            takers = [edge for edge in edges if edge[1] not in rest and self.takes(edge[1], kind)]
            to = takers or ([edge for edge in edges if edge[1] in rest] if len(rest) == 1 else [])
            if not rest and not any(issubclass(one, kind) for edge in edges for one in self.inputs[edge[1]]) and not to:
                self.lost.add((end, kind.__name__))
        for edge in to:
            self.cross(kind, edge)

    def cross(self, kind: type, edge: tuple[End, End]) -> None:
        self.reached.add(edge)
        self.arrive(kind, edge[1])

    def known_lost(self) -> set[tuple[End, str]]:
        """Return what is declared to be emitted, and taken by no branch of a fork."""
        self.lost.clear()
        for end, emits in self.outputs.items():
            for kind in emits or ():
                if kind not in {StreamElement, TurnEnd}:
                    self.leave(kind, end)
        return self.lost


# The properties


def built(builder: GraphBuilder) -> tuple[Graph | None, list[Finding], list[str]]:
    """Return the graph, or what is wrong with it, and what is warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            graph = builder.build_graph()
        except BuildError as error:
            assert not caught
            return None, list(error.findings), []
    assert all(one.category is BuildWarning for one in caught)
    return graph, [], [str(one.message) for one in caught]


def cycles_of(found: list[Finding]) -> list[list[str]]:
    """Return the paths of the cycles, each from a stage back to itself."""
    told = [re.fullmatch(r"the stages (.+) form a cycle", one.message) for one in found if one.kind == "cycle"]
    return [one[1].split(" → ") for one in told if one]


@given(drawn_graphs())
def test_a_graph_is_refused_for_exactly_what_is_wrong_with_it(drawn: Drawn) -> None:
    """semantics 4.2: every rule, on every path; what is accepted has nothing that any rule forbids."""
    graph, found, _ = built(drawn.say(GraphBuilder()))
    paths = cycles_of(found)
    closing = {(path[-2], path[-1]) for path in paths}
    reference = Reference(drawn, closing)
    event("refused" if found else "accepted")
    for one in found:
        event(one.kind)

    assert {(one.kind, one.stage) for one in found if one.kind != "cycle"} == reference.found
    # Each cycle is one, and without the connections that close them there is none.
    for path in paths:
        assert path[0] == path[-1]
        assert len(set(path)) == len(path) - 1
        assert reference.stage_edges.issuperset(itertools.pairwise(path))
    assert len(closing) == len(paths)
    into: dict[str, set[str]] = {}
    for source, target in reference.stage_edges - closing:
        into.setdefault(target, set()).add(source)
    graphlib.TopologicalSorter(into).prepare()
    assert (graph is None) == bool(reference.found or paths)
    assert all(one.hint and one.where and one.where.startswith(__file__) for one in found)


@given(drawn_graphs())
def test_known_data_that_is_lost_is_warned_about_and_nothing_else(drawn: Drawn) -> None:
    """semantics 4.4: what a stage declares to emit, and no branch below takes."""
    graph, _, warned = built(drawn.say(GraphBuilder()))
    if graph is None:
        return
    lost = [one for one in warned if "may wait for one of its inputs" not in one]
    told = [re.match(r"no branch of '(\w+):?(\w*)' accepts (.+), so that is dropped; add", one) for one in lost]
    event("warned" if told else "quiet")

    assert {((one[1], one[2]), kind) for one in told for kind in one[3].split(" or ")} == Reference(
        drawn, set()
    ).known_lost()


def parts(graph: Graph, prefix: str = "") -> Mapping[str, object]:
    """Return what a graph is, in no order, with a prefix before each name."""
    return {
        "stages": sorted(prefix + node.name for node in graph.nodes),
        "edges": sorted((f"{prefix}{edge.source}", f"{prefix}{edge.target}") for edge in graph.edges),
        "forks": sorted((f"{prefix}{one.source}", f"{prefix}{one.otherwise}") for one in graph.forks if one.otherwise),
        "forks without a rest": sorted(f"{prefix}{one.source}" for one in graph.forks if not one.otherwise),
        "joins": sorted(f"{prefix}{one.target}" for one in graph.joins),
    }


def reasons(found: list[Finding]) -> list[tuple[str, str | None]]:
    return sorted((one.kind, one.stage or "") for one in found)


@given(drawn_graphs(), st.randoms())
def test_the_order_of_calls_a_clone_and_a_view_change_nothing(drawn: Drawn, random: object) -> None:
    """semantics 4.1: the same graph, or the same findings, up to which of several cycles is told; with a prefix before names."""
    graph, found, _ = built(drawn.say(GraphBuilder()))
    calls = list(drawn.calls)
    random.shuffle(calls)
    other, other_found, _ = built(dataclasses.replace(drawn, calls=tuple(calls)).say(GraphBuilder()))
    clone, clone_found, _ = built(drawn.say(GraphBuilder()).clone())
    view, view_found, _ = built(drawn.say(GraphBuilder().prefixed("p")))

    assert reasons(clone_found) == reasons(found)
    assert len(view_found) == len(found)
    if not cycles_of(found):
        assert set(reasons(other_found)) == set(reasons(found))
    if graph is not None:
        assert other is not None
        assert clone is not None
        assert view is not None
        assert parts(other) == parts(clone) == parts(graph)
        assert parts(view) == parts(graph, "p/")


@given(drawn_graphs())
def test_a_nested_graph_is_the_same_graph_under_its_name(drawn: Drawn) -> None:
    """semantics 4.1: nested into an empty graph, or into one that is nested itself."""
    graph, _, _ = built(drawn.say(GraphBuilder()))
    if graph is None:
        return
    once, found, _ = built(GraphBuilder().add(SubGraph("p", graph)))
    assert found == []
    assert once is not None
    twice, _, _ = built(GraphBuilder().add(SubGraph("q", once)))
    assert twice is not None

    assert parts(once) == parts(graph, "p/")
    assert parts(twice) == parts(graph, "q/p/")
    assert findings(twice) == []

"""Random graphs against a reference that walks every path with every type: accepted by both, or refused for the same reasons.

Held: semantics 4.1 (what the order of calls, a view, a clone and nesting change: nothing but names), 4.2 (all findings at once).
"""

from __future__ import annotations

import dataclasses
import graphlib
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

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
from streamflow.stages import Accepts


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


@st.composite
def shapes(draw: st.DrawFn, name: str) -> Shape:
    kind = draw(KINDS)
    ports = "" if kind is not StageKind.TRANSFORM else draw(st.sampled_from(["", "", "", "", "in", "out", "in out"]))
    accepts = draw(ACCEPTS)
    if kind is StageKind.ACCUMULATE and draw(st.integers(0, 3)):
        accepts += (TurnEnd,)
    return Shape(name, kind, accepts, draw(EMITS), ports)


@st.composite
def drawn_graphs(draw: st.DrawFn) -> Drawn:
    """Draw mostly lawful graphs (edges that lead on, declared forks and joins), and some faults."""
    names = [*NAMES[: draw(st.integers(1, 6))]]
    stages = [draw(shapes(name)) for name in names]
    sources = [f"{one.name}:{port}".rstrip(":") for one in stages for port in one.outputs]
    targets = [f"{one.name}:{port}".rstrip(":") for one in stages for port in one.inputs]
    forward = [(a, b) for a in sources for b in targets if a[0] < b[0]]
    edges = draw(st.lists(st.sampled_from(forward), max_size=7, unique=True)) if forward else []
    calls = [Call(draw(st.sampled_from(["connect", "chain"])), edge) for edge in edges]
    for end, count in Counter(source for source, _ in edges).items():
        if count > 1 and draw(st.integers(0, 9)):
            branches = tuple(target for source, target in edges if source == end)
            rest = draw(st.sampled_from([None, None, branches[0]]))
            calls.append(Call("branch", (end, *branches), rest))
    for end, count in Counter(target for _, target in edges).items():
        if count > 1 and draw(st.integers(0, 9)):
            calls.append(Call("merge", (end, *(source for source, target in edges if target == end))))
    anything = st.sampled_from([*names, *sources, *targets, "g", "a:z"])
    faults = st.one_of(
        st.builds(Call, st.just("connect"), st.tuples(anything, anything)),
        st.builds(Call, st.just("chain"), st.lists(anything, max_size=4).map(tuple)),
        st.builds(Call, st.just("branch"), st.lists(anything, min_size=1, max_size=3).map(tuple), st.none() | anything),
        st.builds(Call, st.just("merge"), st.lists(anything, min_size=1, max_size=3).map(tuple)),
    )
    if draw(st.booleans()):
        calls += draw(st.lists(faults, max_size=3))
        stages += [draw(shapes(name)) for name in draw(st.lists(st.sampled_from(names), max_size=1))]
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
            self.plain += [(a[0][0], b[0][1]) for a, b in zip(ends, ends[1:], strict=False)]
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
                is_sink = not shape.outputs
                self.found.add(("sink-in-the-middle" if is_sink else "unknown-port", stage))
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

    def check_types(self) -> None:
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
        for end, accepts in self.inputs.items():
            into = [edge for edge in self.edges if edge[1] == end]
            closed = [
                edge for edge in into if edge in self.walked and edge[0] in self.forks and edge not in self.reached
            ]
            if into and accepts != (TurnEnd,) and (closed or end not in self.accepted):
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
            to = takers or [edge for edge in edges if edge[1] in rest]
        for edge in to:
            self.cross(kind, edge)
        if rest is not None and len(rest) > 1:
            for edge in edges:
                if edge[1] in rest:
                    for any_kind in DATA:
                        if edge not in self.reached:
                            self.cross(any_kind, edge)

    def cross(self, kind: type, edge: tuple[End, End]) -> None:
        self.reached.add(edge)
        self.arrive(kind, edge[1])

"""The builder: collects stages and edges, all or nothing per call, and knows the line that added each."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Callable, Mapping

import pytest

from streamflow import (
    AudioElement,
    BaseStage,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    ReceiveEnd,
    SendEnd,
    StreamElement,
    TextElement,
    stage,
)
from streamflow.errors import BuildError, ConfigError, RunStateError, StageDefinitionError, UnknownStageError
from streamflow.graph import Graph, GraphBuilder, caller_of_package
from streamflow.stages import Accepts, as_stage


def named(name: str) -> PassthroughStage:
    return PassthroughStage(name)


def typed(name: str, accepts: Accepts) -> MapStage:
    return MapStage(lambda element: element, name=name, accepts=accepts)


def here() -> str:
    """Return `file:line` of the call."""
    frame = sys._getframe(1)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def shape(graph: Graph) -> tuple[list[str], list[tuple[str, str]]]:
    return [node.name for node in graph.nodes], [(str(edge.source), str(edge.target)) for edge in graph.edges]


def test_a_chain_is_its_stages_and_the_edges_between_them() -> None:
    """semantics 4.1: `chain` adds stages and connects each to the next, in any form that a stage may have."""

    @stage
    def one(element):
        return element

    class TwoStage(BaseStage):
        async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
            raise AssertionError

    def three(element):
        return element

    graph = GraphBuilder().chain(one, TwoStage, three, named("four")).build_graph()

    assert shape(graph) == (["one", "two", "three", "four"], [("one", "two"), ("two", "three"), ("three", "four")])


def test_a_string_continues_a_chain_behind_a_stage_that_was_added() -> None:
    """semantics 4.1: names stand for their stages, in front, in the middle and at the end of a call."""
    builder = GraphBuilder().add(named("b"), named("d")).chain(named("a"), "b", named("c"), "d")
    builder.chain("d", named("e"))

    assert [node.name for node in builder.build_graph().order()] == ["a", "b", "c", "d", "e"]


def test_every_method_returns_the_builder_itself() -> None:
    """semantics 4.1: a mutable builder that returns itself, of its own class."""
    builder = PipelineBuilder()

    assert builder.add(named("a")) is builder
    assert builder.chain("a", named("b")) is builder
    assert builder.connect("b", named("c")) is builder
    assert builder.branch("a", "b") is builder
    assert builder.merge("c", "b") is builder
    assert type(builder.clone()) is PipelineBuilder
    assert type(builder.prefixed("p")) is PipelineBuilder


def test_a_graph_that_was_built_does_not_change_with_its_builder() -> None:
    """semantics 4.1: `build()` returns something immutable; the builder goes on and can build others."""
    builder = GraphBuilder().chain(named("a"), named("b"))
    first = builder.build_graph()
    second = builder.chain("b", named("c")).build_graph()

    assert shape(first) == (["a", "b"], [("a", "b")])
    assert shape(second) == (["a", "b", "c"], [("a", "b"), ("b", "c")])
    with pytest.raises(AttributeError):
        first.nodes = ()
    with pytest.raises(AttributeError):
        first.nodes[0].where = "elsewhere"
    with pytest.raises(AttributeError):
        first.edges[0].source = "elsewhere"


def test_stages_and_edges_know_the_line_that_added_them() -> None:
    """semantics 4.2: the place in the user's code, not in ours, also through a subclass of the builder."""
    first = here(), GraphBuilder().chain(named("a"), named("b"))
    second = here(), first[1].chain("b", named("c"))
    graph = first[1].build_graph()

    assert [node.where for node in graph.nodes] == [first[0], first[0], second[0]]
    assert [edge.where for edge in graph.edges] == [first[0], second[0]]
    assert second[0] == f"{__file__}:{int(first[0].rpartition(':')[2]) + 1}"


def test_the_caller_is_the_nearest_frame_outside_the_package() -> None:
    """`caller_of_package`: `file:line` of the code that called us."""
    assert caller_of_package() == here()


def test_without_a_frame_outside_the_package_the_outermost_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """`caller_of_package`: it ends where the stack does, as under `python -m streamflow`."""
    monkeypatch.setattr("streamflow.graph._callers._PACKAGE", "/")

    outermost = sys._getframe()
    while outermost.f_back is not None:
        outermost = outermost.f_back
    assert caller_of_package().startswith(f"{outermost.f_code.co_filename}:")


def test_building_freezes_the_stages() -> None:
    """semantics 3.4: a stage that is part of a pipeline does not change; a stage without `freeze` is left alone."""

    class Plain:
        name = "plain"

        async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
            raise AssertionError

    base, plain = named("a"), Plain()
    GraphBuilder().chain(base, plain).build_graph()
    plain.name = "other"

    with pytest.raises(RunStateError):
        base.name = "other"
    assert base.name == "a"


def test_what_is_no_stage_is_an_error_with_the_line_of_the_call() -> None:
    """issue 2, bad input: the finding has its place, and the error behind it is still the cause."""

    class Needy:
        def __init__(self, model: str) -> None:
            raise AssertionError

        async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
            raise AssertionError

    with pytest.raises(StageDefinitionError) as caught:
        GraphBuilder().add(Needy)
    assert caught.value.findings[0].where == f"{__file__}:{caught.traceback[0].lineno + 1}"
    assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(StageDefinitionError, match=r"got 'a' \(str\)"):
        as_stage("a")


CALLS = {
    "chain": lambda builder, wrong: builder.chain("a", named("b"), wrong, named("c")),
    "add": lambda builder, wrong: builder.add(named("b"), wrong),
    "connect to": lambda builder, wrong: builder.connect(named("b"), wrong),
    "connect from": lambda builder, wrong: builder.connect(wrong, named("b")),
    "branch to": lambda builder, wrong: builder.branch(named("b"), named("c"), wrong),
    "branch from": lambda builder, wrong: builder.branch(wrong, named("b"), named("c")),
    "otherwise": lambda builder, wrong: builder.branch(named("b"), named("c"), otherwise=5 if wrong is None else wrong),
    "merge from": lambda builder, wrong: builder.merge(named("b"), named("c"), wrong),
    "merge into": lambda builder, wrong: builder.merge(wrong, named("b"), named("c")),
}


@pytest.mark.parametrize("wrong", [None, 5, "", " ", "a:", "a: ", ":port", lambda element: element])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_that_raises_changes_nothing(call: Callable[[GraphBuilder, object], object], wrong: object) -> None:
    """semantics 4.1: all of it or nothing, so that a corrected call can follow; the error has the line of the call."""
    builder = GraphBuilder().chain(named("a"))

    with pytest.raises(StageDefinitionError) as caught:
        call(builder, wrong)

    assert caught.value.findings[0].where is not None
    assert caught.value.findings[0].where.startswith(f"{__file__}:")
    graph = builder.chain("a", named("b"), named("c")).build_graph()
    assert shape(graph) == (["a", "b", "c"], [("a", "b"), ("b", "c")])


def test_the_order_of_a_graph_is_that_of_its_edges() -> None:
    """`Graph.order`: each stage behind those that feed it, in whatever order they were added."""
    graph = GraphBuilder().add(*map(named, "cab")).chain("a", "b", "c").build_graph()

    assert [node.name for node in graph.order()] == ["a", "b", "c"]


def test_a_string_that_cannot_be_a_name_says_what_it_lacks() -> None:
    """Bad input: at the call."""
    with pytest.raises(StageDefinitionError, match=r"':port' names no stage .*; a stage is named as in 'name'"):
        GraphBuilder().chain(":port")
    with pytest.raises(StageDefinitionError, match="'a:' names no port of 'a'"):
        GraphBuilder().chain("a:")


# Names that are resolved when the graph is built


def test_a_name_may_be_used_before_its_stage_is_added() -> None:
    """semantics 4.1: the order of calls does not matter."""
    said = [
        lambda builder: builder.add(typed("b", TextElement)),
        lambda builder: builder.chain("a", "b", "d"),
        lambda builder: builder.add(named("d"), named("a"), named("c")),
        lambda builder: builder.branch("a", otherwise="c"),
        lambda builder: builder.merge("d", "c"),
    ]
    graphs = []
    for calls in itertools.permutations(said):
        builder = GraphBuilder()
        for call in calls:
            call(builder)
        graph = builder.build_graph()
        edges = {str(edge) for edge in graph.edges}
        rest = {(str(one.source), str(one.otherwise)) for one in graph.forks}
        graphs.append((edges, len(graph.edges), rest, {str(one.target) for one in graph.joins}))

    assert all(one == ({"a → b", "b → d", "a → c", "c → d"}, 4, {("a", "c")}, {"d"}) for one in graphs), graphs


def test_an_unknown_name_is_an_error_of_the_build() -> None:
    """semantics 4.2: at `build_graph()`, which reports it with all else, with the line of the call that has it."""
    builder = GraphBuilder().chain(named("a"), named("b"))
    where = here(), builder.chain("c", named("d"))

    with pytest.raises(UnknownStageError, match="there is no stage 'c'") as caught:
        builder.build_graph()

    (finding,) = caught.value.findings
    assert (finding.kind, finding.stage, finding.where) == ("unknown-stage", "c", where[0])
    assert "('a', 'b', 'd')" in finding.hint


# connect, branch, merge


def test_an_edge_may_have_its_own_buffer() -> None:
    """`connect`: its capacity, in elements; None leaves it to the configuration."""
    graph = GraphBuilder().connect(named("a"), named("b"), buffer=1).connect("b", named("c")).build_graph()

    assert [(str(edge), edge.buffer) for edge in graph.edges] == [("a → b", 1), ("b → c", None)]
    assert graph.edges[0].where.startswith(f"{__file__}:")


@pytest.mark.parametrize("buffer", [0, -1, 1.5, True, "16", [1]])
def test_a_buffer_that_is_no_size_names_its_field(buffer: object) -> None:
    """`connect`: at once, and nothing is added."""
    builder = GraphBuilder().add(named("a"))

    with pytest.raises(ConfigError, match="at least 1 element") as caught:
        builder.connect("a", named("b"), buffer=buffer)
    assert caught.value.field == "buffer"
    assert shape(builder.build_graph()) == (["a"], [])


def test_an_object_that_was_added_is_that_stage_to_connect_branch_and_merge() -> None:
    """semantics 4.1: by identity, in every form; the bound method of an object too, which Python makes anew at each look."""

    class Speaker:
        def speak(self, element: TextElement) -> TextElement:
            raise AssertionError

    def hear(element: TextElement) -> TextElement:
        raise AssertionError

    class Think(BaseStage):
        async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
            raise AssertionError

    last, speaker = named("last"), Speaker()
    spec = as_stage(named("spec"))
    builder = GraphBuilder().chain(hear, Think, last).add(spec, speaker.speak)
    builder.branch(hear, Think, spec).connect(spec, speaker.speak).merge(last, Think, speaker.speak)
    assert shape(builder.build_graph()) == (
        ["hear", "think", "last", "spec", "speak"],
        [("hear", "think"), ("think", "last"), ("hear", "spec"), ("spec", "speak"), ("speak", "last")],
    )
    with pytest.raises(BuildError, match="two stages are named 'speak'"):
        builder.connect(last, Speaker().speak).build_graph()  # of another object


def test_an_object_that_only_equals_one_that_was_added_is_another() -> None:
    """semantics 4.1: by identity; a stage may be a dataclass, which compares by value."""

    @dataclasses.dataclass(frozen=True)
    class Valued:
        name: str

        async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
            raise AssertionError

    with pytest.raises(BuildError, match="two stages are named 'x'") as caught:
        GraphBuilder().connect(Valued("x"), Valued("x")).build_graph()
    assert len(caught.value.findings) == 1


def test_an_object_that_was_not_added_is_added_by_connect_branch_and_merge() -> None:
    """semantics 4.1: once, even if a call has it twice."""
    twice = typed("b", TextElement)
    graph = (
        GraphBuilder()
        .branch(named("a"), twice, twice, otherwise=named("c"))
        .merge(named("d"), twice, "c")
        .build_graph()
    )

    assert shape(graph) == (["a", "b", "c", "d"], [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])


def test_branch_makes_the_edges_that_are_missing() -> None:
    """semantics 4.4: the chained one is one of the branches; several calls add up, and say the rest once."""
    graph = GraphBuilder().chain(named("a"), typed("b", TextElement)).branch("a", named("c")).build_graph()
    assert shape(graph)[1] == [("a", "b"), ("a", "c")]
    assert [(str(one.source), one.otherwise) for one in graph.forks] == [("a", None)]

    builder = (
        GraphBuilder().chain(named("x"), named("llm"), typed("tts", TextElement)).branch("llm", "tts", named("log"))
    )
    builder.branch("llm", named("more")).clone().build_graph()
    builder = GraphBuilder().chain(named("x"), named("llm"), typed("tts", TextElement))
    first = here(), builder.branch("llm", "tts", typed("ears", AudioElement))
    graph = (
        builder.branch("llm", otherwise=named("rest"))
        .branch("llm", "tts", otherwise="rest")
        .branch("llm")
        .build_graph()
    )

    assert shape(graph)[1] == [("x", "llm"), ("llm", "tts"), ("llm", "ears"), ("llm", "rest")]
    assert [(str(one.source), str(one.otherwise), one.where) for one in graph.forks] == [("llm", "rest", first[0])]


def test_a_chained_branch_may_be_the_one_for_the_rest() -> None:
    """semantics 4.4: `otherwise` names one that is there; it gets the rest, whatever else says that it is a branch."""
    graph = (
        GraphBuilder()
        .chain(named("a"), named("b"))
        .branch("a", "b", typed("c", TextElement), otherwise="b")
        .build_graph()
    )

    assert shape(graph)[1] == [("a", "b"), ("a", "c")]
    assert [str(one.otherwise) for one in graph.forks] == ["b"]


def test_merge_makes_the_edges_that_are_missing() -> None:
    """semantics 4.5: the chained one is one of the sources; several calls add up."""
    builder = GraphBuilder().chain(named("a"), named("d"))
    first = here(), builder.merge("d", named("b"))
    graph = builder.merge("d", "a", named("c")).build_graph()

    assert shape(graph)[1] == [("a", "d"), ("b", "d"), ("c", "d")]
    assert [(str(one.target), one.where) for one in graph.joins] == [("d", first[0])]


# clone


def test_a_clone_goes_its_own_way() -> None:
    """semantics 4.1: `clone()` forks a builder: what one adds, the other does not have; objects and names are known to both."""
    stage_object = named("b")
    builder = GraphBuilder().chain(named("a"), stage_object)
    clone = builder.clone()
    clone.branch("a", "b", named("c")).merge(named("d"), stage_object, "c")
    builder.connect(stage_object, named("x"))

    assert shape(builder.build_graph()) == (["a", "b", "x"], [("a", "b"), ("b", "x")])
    assert shape(clone.build_graph())[1] == [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]


# prefixed


def test_a_prefix_lets_a_function_add_the_same_stages_twice() -> None:
    """semantics 4.1: names inside are looked up behind the prefix first; objects are new ones there."""
    shared, strip = named("shared"), named("strip")

    def add_cleaning(builder: GraphBuilder) -> None:
        builder.connect(strip, "lower").add(named("lower")).connect("lower", "log").connect(strip.name, shared)

    builder = GraphBuilder().add(named("log"), shared)
    left, right = builder.prefixed("left"), builder.prefixed("right")
    add_cleaning(left)
    add_cleaning(right)
    builder.merge("log", "left/lower", "right/lower").merge(shared, "left/strip", "right/strip")
    builder.branch("left/strip").branch("right/strip")

    names, edges = shape(builder.build_graph())
    assert names == ["log", "shared", "left/strip", "left/lower", "right/strip", "right/lower"]
    assert edges == [
        (f"{side}/{source}", target.format(side=side))
        for side in ("left", "right")
        for source, target in (("strip", "{side}/lower"), ("lower", "log"), ("strip", "shared"))
    ]


def test_prefixes_nest_and_are_views_on_one_builder() -> None:
    """semantics 4.1: what a view adds, the builder has; names are looked up from the inside out; a view builds the whole graph."""
    builder = GraphBuilder()
    view = builder.prefixed("a").prefixed("b/c")
    view.chain(named("x"), "y", "z", "w")
    builder.prefixed("a/b").add(named("y"))
    builder.prefixed("a").add(named("z")).connect("w", "y")
    builder.add(named("w"), named("y"), named("z")).connect("y", "z")

    built = shape(view.build_graph())
    assert built == shape(builder.build_graph())
    assert built == (
        ["a/b/c/x", "a/b/y", "a/z", "w", "y", "z"],
        [("a/b/c/x", "a/b/y"), ("a/b/y", "a/z"), ("a/z", "w"), ("w", "y"), ("y", "z")],
    )


@pytest.mark.parametrize("prefix", ["", " ", " a", "a ", "a/", "/a", "a//b", "a/ b", "a:b", None, 5])
def test_a_prefix_that_is_none_names_its_field(prefix: object) -> None:
    """`prefixed`: at once; the slash comes by itself."""
    with pytest.raises(ConfigError, match=r"'left' makes 'left/stage'") as caught:
        GraphBuilder().prefixed(prefix)
    assert caught.value.field == "prefix"


def test_an_object_in_two_places_is_to_be_named() -> None:
    """semantics 4.1: which of the two is meant, nobody can tell; from inside it is the own one, from beside neither."""
    given = named("x")
    builder = GraphBuilder()
    left, right = builder.prefixed("left").add(given), builder.prefixed("right").add(given)

    with pytest.raises(StageDefinitionError, match="give the name: 'left/x' or 'right/x'") as caught:
        builder.connect(given, named("y"))
    assert caught.value.findings[0].where.startswith(f"{__file__}:")
    left.connect(given, named("y"))
    right.connect(given, named("y"))
    builder.prefixed("third").connect(given, named("y"))

    assert shape(builder.build_graph()) == (
        ["left/x", "right/x", "left/y", "right/y", "third/x", "third/y"],
        [("left/x", "left/y"), ("right/x", "right/y"), ("third/x", "third/y")],
    )
    mine = GraphBuilder().add(given)
    mine.prefixed("left").add(given)
    mine.prefixed("left").prefixed("deep").connect(given, named("y"))
    assert shape(mine.connect(given, "left/x").build_graph())[1] == [("left/x", "left/deep/y"), ("x", "left/x")]
    once = GraphBuilder()
    once.prefixed("left").prefixed("deep").add(given)
    assert shape(once.connect(given, named("y")).build_graph())[1] == [("left/deep/x", "y")]


def test_a_prefix_alone_stands_for_its_input_and_its_outputs() -> None:
    """semantics 4.1: as the name of a nested pipeline does, for whatever order of calls."""

    def add_cleaning(builder: GraphBuilder) -> None:
        builder.chain(named("strip"), named("lower"))

    builder = GraphBuilder().branch(named("a"), "left", "right").merge(named("z"), "left", "right")
    add_cleaning(builder.prefixed("left"))
    add_cleaning(builder.prefixed("right"))

    assert set(shape(builder.build_graph())[1]) == {
        ("a", "left/strip"),
        ("a", "right/strip"),
        ("left/strip", "left/lower"),
        ("right/strip", "right/lower"),
        ("left/lower", "z"),
        ("right/lower", "z"),
    }


# Ports


class Split(BaseStage):
    inputs: Mapping[str, Accepts] = {"in": StreamElement}
    outputs: Mapping[str, Accepts | None] = {"a": TextElement, "b": None}

    async def process(self, inputs: object, outputs: object) -> None:
        raise AssertionError


class Join(BaseStage):
    inputs: Mapping[str, Accepts] = {"left": StreamElement, "right": StreamElement}

    async def process(self, inputs: object, output: SendEnd[StreamElement]) -> None:
        raise AssertionError


def test_a_port_is_named_behind_a_colon() -> None:
    """semantics 3.5: the only port of a side needs no name; between two others a chain takes the port of the side that has it."""
    builder = GraphBuilder().chain(named("x"), Split).chain("split:a", named("y"), "join:left", named("z")).add(Join)
    graph = builder.connect("split:b", "join:right").build_graph()

    assert shape(graph)[1] == [
        ("x", "split:in"),
        ("split:a", "y"),
        ("y", "join:left"),
        ("join", "z"),
        ("split:b", "join:right"),
    ]
    assert [str(one) for one in graph.heads] == ["x"]
    assert [str(one) for one in graph.leaves] == ["z"]


def test_ports_without_an_edge_are_heads_and_leaves() -> None:
    """semantics 4.3, 3.5: the source feeds them, or they feed the consumer."""
    graph = GraphBuilder().chain(Split).chain("split:a", "join:left").add(Join).build_graph()

    assert [str(one) for one in graph.heads] == ["split:in", "join:right"]
    assert [str(one) for one in graph.leaves] == ["split:b", "join"]


WRONG_PORTS = [
    pytest.param(
        lambda builder: builder.chain("split", "y"), "'split' has named outputs", "write 'split:a' or 'split:b'"
    ),
    pytest.param(
        lambda builder: builder.chain("y", "join"), "'join' has named inputs", "write 'join:left' or 'join:right'"
    ),
    pytest.param(lambda builder: builder.chain("split:c", "y"), "'split' has no output 'c'", "write 'split:a' or"),
    pytest.param(lambda builder: builder.chain("y", "split:a"), "'split' has no input 'a'", "write 'split:in'"),
    pytest.param(lambda builder: builder.connect("join:left", "y"), "'join' has no output 'left'", "write 'join'"),
    pytest.param(lambda builder: builder.connect("x:left", "y"), "'x' has no output 'left'", "write 'x'"),
    pytest.param(lambda builder: builder.chain("y", "x:up", "split"), "'x' has no input 'up'", "write 'x'"),
    pytest.param(lambda builder: builder.connect("y", "x:left:right"), "'x' has no input 'left:right'", "write 'x'"),
    pytest.param(lambda builder: builder.branch("y", otherwise="x:left"), "'x' has no input 'left'", "write 'x'"),
    pytest.param(lambda builder: builder.merge("x:right"), "'x' has no input 'right'", "write 'x'"),
    pytest.param(lambda builder: builder.branch("split"), "'split' has named outputs", "write 'split:a' or"),
]


@pytest.mark.parametrize(("call", "said", "hint"), WRONG_PORTS)
def test_a_wrong_port_is_told_with_the_right_ones(call: Callable[[GraphBuilder], object], said: str, hint: str) -> None:
    """semantics 3.5, 4.2: at the line of the call that names it."""
    builder = GraphBuilder().add(Split, Join, named("x"), named("y"))
    call(builder)

    with pytest.raises(BuildError) as caught:
        builder.build_graph()
    finding = next(one for one in caught.value.findings if one.kind == "unknown-port")
    assert said in finding.message
    assert hint in finding.hint
    assert finding.where.startswith(f"{__file__}:")


def test_a_name_alone_may_be_a_port_of_either_side() -> None:
    """`chain`: of one name it says nothing, so that a list of one may be given; a wrong one is told all the same."""
    builder = GraphBuilder().chain(Split).chain("split:in").chain("split:a").chain("split").chain()
    builder.build_graph()

    with pytest.raises(UnknownStageError, match="'split' has no port 'c'") as caught:
        builder.chain("split:c").build_graph()
    assert caught.value.findings[0].hint == "write 'split:in' or 'split:a' or 'split:b'"


def test_a_stage_comes_before_a_prefix_of_the_same_name() -> None:
    """semantics 4.1: both may be there; the name means the stage."""
    builder = GraphBuilder().add(named("p"))
    builder.prefixed("p").chain(named("x"), named("y"))
    assert shape(builder.chain("p", "p/x").build_graph())[1] == [("p/x", "p/y"), ("p", "p/x")]

    with pytest.raises(UnknownStageError, match="stage 'p' has no output 'bad'"):
        builder.connect("p:bad", "p/x").merge("p/x", "p").build_graph()


@pytest.mark.parametrize("name", ["a:b", " a", "a ", ":", "\ta"])
def test_a_name_that_cannot_be_told_from_a_port_is_refused(name: str) -> None:
    """semantics 4.1: whatever form the stage has; a slash is lawful, as prefixes have it."""

    def other(element: TextElement) -> TextElement:
        raise AssertionError

    for make in (lambda: named(name), lambda: as_stage(named("x")).replace(name=name)):
        with pytest.raises(StageDefinitionError, match="without a colon and without spaces around it"):
            GraphBuilder().add(make())
    assert shape(GraphBuilder().chain(named("a/b"), named("a b")).connect("a b", other).build_graph())[0] == [
        "a/b",
        "a b",
        "other",
    ]

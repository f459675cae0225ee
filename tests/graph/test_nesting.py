"""A pipeline as a stage: dissolved into the outer graph, under its name."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from streamflow import BaseStage, CollectStage, MapStage, PassthroughStage, SendEnd, StreamElement, TextElement
from streamflow.errors import BuildError, ConfigError, StageDefinitionError
from streamflow.graph import EdgeSpec, Endpoint, Graph, GraphBuilder, NestSpec, SubGraph, findings
from streamflow.stages import Accepts


def named(name: str) -> PassthroughStage:
    return PassthroughStage(name)


def typed(name: str, accepts: Accepts) -> MapStage:
    return MapStage(lambda element: element, name=name, accepts=accepts)


async def generating() -> AsyncIterator[TextElement]:
    yield TextElement("x")


def here() -> str:
    """Return `file:line` of the call."""
    frame = sys._getframe(1)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def chained(*names: str) -> Graph:
    return GraphBuilder().chain(*map(named, names)).build_graph()


def edges(graph: Graph) -> list[str]:
    return [str(edge) for edge in graph.edges]


def names(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes]


def refused(builder: GraphBuilder) -> BuildError:
    """Return what `build_graph()` raises."""
    with pytest.raises(BuildError) as caught:
        builder.build_graph()
    return caught.value


class FakePipeline:
    """What the builder needs of a pipeline."""

    def __init__(self, graph: Graph, buffer: int | None = None) -> None:
        self.graph, self.buffer = graph, buffer

    def as_stage(self, name: str) -> SubGraph:
        return SubGraph(name, self.graph, self.buffer)


def test_a_nested_pipeline_stands_for_its_input_and_its_output() -> None:
    """semantics 4.1: its stages and edges are the graph's, under its name; it may come before or after the names that use it."""
    inner = here(), chained("a", "b")
    graph = GraphBuilder().chain(named("x"), "chat", named("y")).add(SubGraph("chat", inner[1])).build_graph()

    assert names(graph) == ["x", "y", "chat/a", "chat/b"]
    assert edges(graph) == ["x → chat/a", "chat/b → y", "chat/a → chat/b"]
    assert [node.name for node in graph.order()] == ["x", "chat/a", "chat/b", "y"]
    assert [one.name for one in graph.nested] == ["chat"]


def test_a_pipeline_is_nested_as_it_is() -> None:
    """semantics 4.1: given directly it is called `pipeline`; given again to `connect`, it is the one that was added."""
    pipeline = FakePipeline(chained("a", "b"))
    graph = GraphBuilder().chain(named("x"), pipeline).connect(pipeline, named("y")).build_graph()

    assert edges(graph) == ["pipeline/a → pipeline/b", "x → pipeline/a", "pipeline/b → y"]
    assert [one.name for one in graph.nested] == ["pipeline"]


def test_its_stages_keep_their_lines_and_it_has_its_own() -> None:
    """semantics 4.2: the place in the user's code where each was added."""
    inner = here(), chained("a", "b")
    outer = here(), GraphBuilder().chain(named("x"), SubGraph("chat", inner[1]))
    graph = outer[1].build_graph()

    line_of_chained = graph.nodes[1].where
    assert line_of_chained != outer[0]
    assert line_of_chained == inner[1].nodes[0].where
    assert graph.nested == (NestSpec("chat", outer[0]),)


def test_its_edges_keep_their_capacity() -> None:
    """semantics 4.1: that of the inner pipeline's configuration where they have none of their own; edges to it are the outer's."""
    inner = GraphBuilder().connect(named("a"), named("b"), buffer=2).chain("b", named("c")).build_graph()
    graph = GraphBuilder().chain(named("x"), FakePipeline(inner, buffer=7)).build_graph()

    assert [(str(one), one.buffer) for one in graph.edges] == [
        ("pipeline/a → pipeline/b", 2),
        ("pipeline/b → pipeline/c", 7),
        ("x → pipeline/a", None),
    ]


def test_its_forks_and_joins_come_along() -> None:
    """semantics 4.1: also what gets the rest."""
    inner = GraphBuilder().branch(named("a"), typed("b", TextElement), otherwise=named("c")).merge(named("d"), "b", "c")
    graph = GraphBuilder().chain(named("x"), SubGraph("in", inner.build_graph()), named("y")).build_graph()

    assert [(str(one.source), str(one.otherwise)) for one in graph.forks] == [("in/a", "in/c")]
    assert [str(one.target) for one in graph.joins] == ["in/d"]
    assert all(one.where.startswith(f"{__file__}:") for one in (*graph.forks, *graph.joins))


def test_nesting_nests() -> None:
    """semantics 4.1: names get longer; each level stands for its ends, and what is inside can be named."""
    inner = chained("a", "b")
    middle = GraphBuilder().chain(named("m"), SubGraph("in", inner), named("n")).build_graph()
    builder = GraphBuilder().chain(named("x"), SubGraph("out", middle))
    builder.branch("out/in", "out/n", named("log")).connect("log", "z").merge(named("z"), "out")
    graph = builder.build_graph()

    assert names(graph) == ["x", "out/m", "out/in/a", "out/in/b", "out/n", "log", "z"]
    assert set(edges(graph)) == {
        "x → out/m",
        "out/m → out/in/a",
        "out/in/a → out/in/b",
        "out/in/b → out/n",
        "out/in/b → log",
        "log → z",
        "out/n → z",
    }
    assert [str(one.source) for one in graph.forks] == ["out/in/b"]
    assert [one.name for one in graph.nested] == ["out", "out/in"]


def test_several_outputs_are_merged_by_naming_them_once() -> None:
    """semantics 4.5: the merge is implicit where there is nothing else; a second source makes it a finding."""
    inner = GraphBuilder().branch(named("a"), typed("b", TextElement), named("c")).build_graph()
    builder = GraphBuilder().chain(SubGraph("in", inner), named("y"))
    graph = builder.build_graph()
    assert edges(graph) == ["in/a → in/b", "in/a → in/c", "in/b → y", "in/c → y"]
    assert [str(one.target) for one in graph.joins] == ["y"]

    builder.chain(named("z"), "y")
    error = refused(builder)
    assert [(one.kind, one.stage, one.hint) for one in error.findings] == [
        ("fan-in", "y", "add merge('y', 'in/b', 'in/c', 'z'): it gets elements in the order of arrival")
    ]
    assert len(builder.merge("y", "in", "z").build_graph().joins) == 1
    merged = here(), GraphBuilder().chain(SubGraph("in", inner), named("y")).merge("y", "in")
    assert [one.where for one in merged[1].build_graph().joins] == [merged[0]]


def test_a_branch_out_of_several_outputs_branches_each() -> None:
    """semantics 4.4: each output is copied to each branch, where they are merged."""
    inner = GraphBuilder().branch(named("a"), typed("b", TextElement), typed("c", TextElement)).build_graph()
    graph = GraphBuilder().branch(SubGraph("in", inner), typed("y", TextElement), otherwise=named("z")).build_graph()

    assert edges(graph)[2:] == ["in/b → y", "in/c → y", "in/b → z", "in/c → z"]
    assert [(str(one.source), str(one.otherwise)) for one in graph.forks] == [
        ("in/a", "None"),
        ("in/b", "z"),
        ("in/c", "z"),
    ]
    assert [str(one.target) for one in graph.joins] == ["y", "z"]


def test_several_inputs_are_to_be_named() -> None:
    """semantics 4.2: an edge to its name says too little; the finding has the outer line, and the names to connect."""
    inner = GraphBuilder().merge(named("c"), named("a"), named("b")).build_graph()
    builder = GraphBuilder().add(SubGraph("in", inner))
    where = here(), builder.chain(named("x"), "in", named("y"))

    error = refused(builder)

    assert [(one.kind, one.stage, one.where) for one in error.findings] == [("several-heads", "in", where[0])]
    assert "the nested pipeline 'in' has 2 inputs" in str(error)
    assert "connect to each that should be fed: 'in/a' or 'in/b'" in str(error)
    assert "fed: 'in/a' or 'in/b'" in str(refused(builder.connect(named("z"), "in/a")))
    view = GraphBuilder().chain(named("x"), "left")
    view.prefixed("left").add(named("a"), named("b"))
    assert [one.kind for one in refused(view).findings] == ["several-heads"]
    assert "the prefix 'left' has 2 inputs" in str(refused(view))
    graph = GraphBuilder().chain(named("x"), "in/a").chain(SubGraph("in", inner), named("y")).build_graph()
    assert [str(one) for one in graph.heads] == ["x", "in/b"]


def test_what_has_no_input_or_no_output_cannot_stand_in_the_middle() -> None:
    """semantics 4.2: one that generates has nothing to feed, one that ends in sinks nothing to give."""
    source = GraphBuilder().chain(generating, named("a")).build_graph()
    drain = GraphBuilder().chain(named("a"), CollectStage([], name="sink")).build_graph()
    error = refused(GraphBuilder().chain(named("x"), SubGraph("s", source), SubGraph("d", drain), named("y")))

    assert [(one.kind, one.stage) for one in error.findings] == [
        ("generator-behind-a-stage", "s"),
        ("sink-in-the-middle", "d"),
    ]
    assert "the nested pipeline 's' generates" in str(error)
    assert edges(GraphBuilder().chain(SubGraph("s", source), SubGraph("d", drain)).build_graph())[-1] == "s/a → d/a"


def test_ports_are_those_of_its_stages() -> None:
    """semantics 3.5: `name/inner:port`; the name alone has none, and stands for the one that is left open."""

    class Join(BaseStage):
        inputs: Mapping[str, Accepts] = {"left": StreamElement, "right": StreamElement}

        async def process(self, inputs: object, output: SendEnd[StreamElement]) -> None:
            raise AssertionError

    inner = GraphBuilder().chain(named("a"), "join:left").add(Join, named("b")).chain("join", "b").build_graph()
    other = GraphBuilder().chain(generating, "join:left").add(Join).build_graph()
    graph = GraphBuilder().connect(named("x"), "in/join:right").chain(SubGraph("in", inner), "other")
    assert edges(graph.add(SubGraph("other", other)).build_graph())[-1] == "other/generating → other/join:left"
    assert "in/b → other/join:right" in edges(graph.build_graph())

    error = refused(graph.connect("in:right", named("y")))
    assert [one.kind for one in error.findings] == ["unknown-port"]
    assert "name a stage of it, as in 'in/…:right'" in str(error)


def test_each_further_one_of_a_name_is_one_finding() -> None:
    """semantics 4.2: with the lines that nested them, and not one finding for each of their stages and edges."""
    inner, other = chained("a", "b"), GraphBuilder().add(named("c")).build_graph()
    first = here(), GraphBuilder().chain(SubGraph("in", inner), named("x"))
    builder = first[1]
    second = here(), builder.chain(SubGraph("in", inner), SubGraph("in", other), named("y"))
    builder.connect("in:port", "in")

    error = refused(builder)

    assert [(one.kind, one.stage, one.where) for one in error.findings] == [
        ("duplicate-name", "in", second[0]),
        ("duplicate-name", "in", second[0]),
    ]
    assert f"two are named 'in', a nested pipeline and what was added at {first[0]}" in str(error)
    assert "pipeline.as_stage('…')" in str(error)


def test_what_is_nested_in_two_of_one_name_is_left_alone() -> None:
    """semantics 4.2: the outer ones are the mistake."""
    middle = GraphBuilder().chain(named("x"), SubGraph("deep", chained("a", "b"))).build_graph()
    error = refused(GraphBuilder().add(SubGraph("in", middle), SubGraph("in", middle)))

    assert [(one.kind, one.stage) for one in error.findings] == [("duplicate-name", "in")]


def test_a_graph_made_by_hand_names_stages_not_what_they_are_in() -> None:
    """`findings`: names are resolved by the builder; in a graph they stand for themselves."""
    graph = GraphBuilder().add(SubGraph("in", chained("a", "b")), named("x")).chain("in", "x").build_graph()
    for edge, meant in ((("in", "x"), "'in/b'"), (("x", "in"), "'in/a'")):
        wrong = EdgeSpec(Endpoint(edge[0]), Endpoint(edge[1]), "app.py:1")
        (finding,) = findings(graph.replace(edges=(graph.edges[0], wrong)))
        assert (finding.kind, finding.stage, finding.hint) == ("unknown-stage", "in", f"name what is meant: {meant}")


def test_a_pipeline_and_a_stage_of_one_name_are_a_finding() -> None:
    """semantics 4.2: an edge to that name could mean both."""
    builder = GraphBuilder().add(SubGraph("in", chained("a", "b"))).chain(named("in"), named("x"), "in")

    error = refused(builder)

    assert [(one.kind, one.stage) for one in error.findings] == [("duplicate-name", "in")]


def test_it_can_be_nested_behind_a_prefix() -> None:
    """semantics 4.1: prefixes stand in front of its name, and views find it by that."""
    builder = GraphBuilder()
    builder.prefixed("left").add(SubGraph("in", chained("a", "b")), named("x")).chain("in", "x").connect("in/a", "log")
    builder.branch("left/in/a").add(named("log"))

    assert edges(builder.build_graph()) == ["left/in/a → left/in/b", "left/in/b → left/x", "left/in/a → log"]


def test_a_call_that_raises_takes_a_nested_pipeline_back() -> None:
    """semantics 4.1: all or nothing."""
    builder = GraphBuilder().add(named("x"))
    with pytest.raises(StageDefinitionError):
        builder.chain(SubGraph("in", chained("a", "b")), 5)
    with pytest.raises(ConfigError, match="buffer: an edge holds"):
        builder.chain(SubGraph("in", chained("a", "b")), FakePipeline(chained("c"), buffer=0))
    with pytest.raises(BuildError, match="there is no stage 'in'"):
        builder.clone().chain("in").build_graph()

    assert names(builder.build_graph()) == ["x"]


class NoPipeline:
    def as_stage(self, name: str) -> object:
        return name


class StageWithMethod(BaseStage):
    """A stage that has a method of that name by chance."""

    def as_stage(self, name: str) -> object:
        raise AssertionError(name)

    async def process(self, input: object, output: object) -> None:
        raise AssertionError


def test_what_only_looks_like_a_pipeline_is_told() -> None:
    """Bad input: at the call; a class of the user's own may have a method of that name."""
    with pytest.raises(StageDefinitionError, match=r"as_stage\(\) of .* returned 'pipeline'"):
        GraphBuilder().chain(NoPipeline())
    with pytest.raises(StageDefinitionError, match=r"class NoPipeline has no process"):
        GraphBuilder().chain(NoPipeline)

    for given in (StageWithMethod, StageWithMethod()):
        assert names(GraphBuilder().add(given).build_graph()) == ["stage_with_method"]


WRONG = [
    pytest.param(
        lambda: SubGraph("", chained("a")), StageDefinitionError, "cannot be the name of a nested", id="empty"
    ),
    pytest.param(lambda: SubGraph("a:b", chained("a")), StageDefinitionError, "without a colon", id="colon"),
    pytest.param(lambda: SubGraph(5, chained("a")), StageDefinitionError, "5 cannot be the name", id="no string"),
    pytest.param(lambda: SubGraph("a", Graph(())), StageDefinitionError, "'a' has no stage", id="no stage"),
    pytest.param(lambda: SubGraph("a", chained("a"), buffer=0), ConfigError, "buffer: an edge holds", id="buffer"),
]


@pytest.mark.parametrize(("make", "error", "said"), WRONG)
def test_a_wrong_argument_is_told(make: Callable[[], SubGraph], error: type[Exception], said: str) -> None:
    """Bad input: in the constructor."""
    with pytest.raises(error, match=said):
        make()


def test_it_tells_what_it_is() -> None:
    """`SubGraph`: short, for error messages."""
    assert repr(SubGraph("in", chained("a", "b"))) == "<SubGraph 'in' of 2 stages>"

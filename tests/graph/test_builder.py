"""The builder: collects stages and edges, all or nothing per call, and knows the line that added each."""

from __future__ import annotations

import sys

import pytest

from streamflow import BaseStage, MapStage, PassthroughStage, PipelineBuilder, ReceiveEnd, SendEnd, StreamElement, stage
from streamflow.errors import RunStateError, StageDefinitionError, UnknownStageError
from streamflow.graph import EdgeSpec, Graph, GraphBuilder, Node, caller_of_package
from streamflow.stages import as_stage


def named(name: str) -> PassthroughStage:
    return PassthroughStage(name)


def here() -> str:
    """Return `file:line` of the call."""
    frame = sys._getframe(1)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def shape(graph: Graph) -> tuple[list[str], list[tuple[str, str]]]:
    return [node.name for node in graph.nodes], [(edge.source, edge.target) for edge in graph.edges]


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
    """semantics 4.1: names already added stand for their stages, in front, in the middle and at the end of a call."""
    builder = GraphBuilder().add(named("b"), named("d")).chain(named("a"), "b", named("c"), "d")
    builder.chain("d", named("e"))

    assert [node.name for node in builder.build_graph().chain()] == ["a", "b", "c", "d", "e"]


def test_every_method_returns_the_builder_itself() -> None:
    """semantics 4.1: a mutable builder that returns itself, of its own class."""
    builder = PipelineBuilder()

    assert builder.add(named("a")) is builder
    assert builder.chain("a", named("b")) is builder


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
    monkeypatch.setattr("streamflow.graph._builder._PACKAGE", "/")

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


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    """semantics 4.2: at the call that uses it, with the call's line and a way out."""
    builder = GraphBuilder().chain(named("a"), named("b"))

    where = here()
    with pytest.raises(UnknownStageError) as caught:
        builder.chain("c", named("d"))

    (finding,) = caught.value.findings
    assert (finding.kind, finding.stage) == ("unknown-stage", "c")
    assert finding.where == f"{__file__}:{int(where.rpartition(':')[2]) + 2}"
    assert "there is no stage 'c'" in str(caught.value)
    assert "('a', 'b')" in finding.hint
    with pytest.raises(UnknownStageError, match=r"\(none yet\); give the stage itself"):
        GraphBuilder().chain("a")


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
    with pytest.raises(StageDefinitionError, match="got 'a', a str"):
        as_stage("a")


@pytest.mark.parametrize("wrong", [None, "nowhere", 5, lambda element: element])
def test_a_call_that_raises_adds_nothing(wrong: object) -> None:
    """semantics 4.1: all of the stages or none, so that a corrected call can follow."""
    builder = GraphBuilder().chain(named("a"))

    with pytest.raises((StageDefinitionError, UnknownStageError)):
        builder.chain("a", named("b"), wrong, named("c"))
    if not isinstance(wrong, str):
        with pytest.raises(StageDefinitionError):
            builder.add(named("b"), wrong)

    graph = builder.chain("a", named("b"), named("c")).build_graph()
    assert shape(graph) == (["a", "b", "c"], [("a", "b"), ("b", "c")])


def test_the_order_of_a_chain_is_that_of_its_edges() -> None:
    """`Graph.chain`: from head to tail, in whatever order the stages were added."""
    stages = {name: as_stage(MapStage(lambda element: element, name=name)) for name in "cab"}
    nodes = tuple(Node(spec, "here:1") for spec in stages.values())
    graph = Graph(nodes, (EdgeSpec("b", "c", "here:2"), EdgeSpec("a", "b", "here:1")))

    assert [node.name for node in graph.chain()] == ["a", "b", "c"]
    assert [node.name for node in Graph(nodes[:1], ()).chain()] == ["c"]

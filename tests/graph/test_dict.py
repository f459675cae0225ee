"""A graph as JSON and back: what it joins comes back as it was, and what is wrong with data from outside is told with its place."""

from __future__ import annotations

import json
import sys

import pytest
from graphs import graph, graphs, node, spec
from hypothesis import given
from hypothesis import strategies as st

from streamflow import AudioElement, PassthroughStage, StageKind, StreamElement, TextElement, TurnEnd
from streamflow.errors import (
    BuildError,
    CycleError,
    DecodeError,
    RunStateError,
    StageDefinitionError,
    StagePlacementError,
    TypeMismatchError,
    UnknownStageError,
)
from streamflow.graph import Graph, GraphBuilder, SubGraph, graph_from_dict, graph_to_dict

DATA = {
    "v": 1,
    "stages": [
        {"name": "split", "kind": "transform"},
        {"name": "in/hear", "kind": "accumulate"},
        {"name": "sync", "kind": "transform", "inputs": ["left", "right"], "outputs": ["both", "late"]},
        {"name": "log", "kind": "sink"},
    ],
    "edges": [
        {"source": "split", "target": "in/hear"},
        {"source": "split", "target": "sync:right", "buffer": 4},
        {"source": "split", "target": "log"},
        {"source": "in/hear", "target": "sync:left"},
        {"source": "sync:late", "target": "log"},
    ],
    "branches": [{"source": "split", "otherwise": "log"}],
    "merges": ["log"],
    "nested": ["in"],
}


def everything() -> Graph:
    """Return the graph of `DATA`."""
    stages = [
        node("split"),
        node("in/hear", (TextElement, TurnEnd), kind=StageKind.ACCUMULATE),
        node(
            "sync",
            input_ports={"left": (StreamElement,), "right": (TextElement,)},
            output_ports={"both": None, "late": None},
        ),
        node("log", kind=StageKind.SINK),
    ]
    edges = ["split → in/hear", "split → sync:right (4)", "split → log", "in/hear → sync:left", "sync:late → log"]
    return graph(stages, edges, ["split else log"], ["log"], ["in"])


def stages_of(made: Graph) -> dict[str, object]:
    return {one.name: one.stage for one in made.nodes}


def shape(made: Graph) -> object:
    """Return all of a graph but the lines at which it was made."""
    return (
        [(one.name, one.stage) for one in made.nodes],
        [(one.source, one.target, one.buffer) for one in made.edges],
        [(one.source, one.otherwise) for one in made.forks],
        [one.target for one in made.joins],
        [one.name for one in made.nested],
    )


def changed(*path: str | int, to: object) -> dict[str, object]:
    """Return `DATA` with another value in one place."""
    data = json.loads(json.dumps(DATA))
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return data


def read(data: object) -> Graph:
    return graph_from_dict(data, stages_of(everything()))


def test_a_graph_is_told_in_json_values() -> None:
    """semantics 4.7: the version first, and nothing that has its default."""
    assert graph_to_dict(everything()) == DATA
    assert next(iter(graph_to_dict(everything()))) == "v"
    assert graph_to_dict(graph(["a", "b"], ["a → b"])) == {
        "v": 1,
        "stages": [{"name": "a", "kind": "transform"}, {"name": "b", "kind": "transform"}],
        "edges": [{"source": "a", "target": "b"}],
    }


def test_the_data_and_the_stages_make_the_graph() -> None:
    """semantics 4.7: also after a way through JSON."""
    assert shape(read(json.loads(json.dumps(DATA)))) == shape(everything())


@pytest.mark.slow
@given(graphs())
def test_a_graph_comes_back_as_it_was(made: Graph) -> None:
    """semantics 4.7: round trip of any graph, whatever its names are, also through the text of JSON."""
    data = graph_to_dict(made)
    through_text = json.loads(json.dumps(data))

    assert through_text == data
    assert shape(graph_from_dict(data, stages_of(made))) == shape(made)
    assert shape(graph_from_dict(through_text, stages_of(made))) == shape(made)


def test_what_a_builder_made_comes_back() -> None:
    """semantics 4.1, 4.7: nested pipelines are told by their stages, which are given by their names in the graph."""
    inner = GraphBuilder().chain(PassthroughStage("a"), PassthroughStage("b")).build_graph()
    made = (
        GraphBuilder()
        .chain(PassthroughStage("a"), SubGraph("in", inner, buffer=3), PassthroughStage("c"))
        .build_graph()
    )

    stages = {name: PassthroughStage("another name") for name in ("a", "in/a", "in/b", "c")}
    again = graph_from_dict(graph_to_dict(made), stages)

    assert graph_to_dict(again) == graph_to_dict(made)
    assert [one.buffer for one in again.edges] == [3, None, None]


def test_stages_are_given_in_any_form_and_are_frozen() -> None:
    """semantics 3.4: stages of a graph that was read are frozen; errors name the user's line."""

    async def first(stream):
        async for element in stream:
            yield element

    last = PassthroughStage("last")
    data = graph_to_dict(graph(["first", "last"], ["first → last"]))

    made = graph_from_dict(data, {"first": first, "last": last})
    line = sys._getframe().f_lineno - 1

    assert {one.where for one in (*made.nodes, *made.edges)} == {f"{__file__}:{line}"}
    with pytest.raises(RunStateError, match="is part of a pipeline"):
        last.timeout_s = 1.0


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        (None, "$", "an object was expected, got None"),
        ([DATA], "$", "an object was expected, got a list"),
        ({}, "$", "the field 'v' is missing"),
        (changed("v", to=2), "$.v", "version 2 of a graph is newer than 1; update streamflow"),
        (changed("v", to=0), "$.v", "0 is no version"),
        (changed("v", to="1"), "$.v", "'1' is no version"),
        (changed("v", to=True), "$.v", "True is no version"),
        (changed("extra", to=1), "$", "there is no field 'extra'; there are v, stages, edges, branches, merges, "),
        (changed("stages", to={}), "$.stages", "a list was expected, got a dict"),
        (changed("stages", to="abc"), "$.stages", "a list was expected, got 'abc'"),
        (changed("stages", to=[None] * 10_001), "$.stages", "a list of 10001 items; at most 10000 are read"),
        (changed("stages", 1, to=7), "$.stages[1]", "an object was expected, got 7"),
        (changed("stages", 1, "name", to=7), "$.stages[1].name", "a name was expected, got 7"),
        (changed("stages", 1, "name", to=" a"), "$.stages[1].name", "' a' cannot be the name"),
        (changed("stages", 1, "name", to="a:b"), "$.stages[1].name", "'a:b' cannot be the name"),
        (changed("stages", 1, "name", to="split"), "$.stages[1].name", "a second stage 'split'"),
        (changed("stages", 1, "kind", to="filter"), "$.stages[1].kind", "'filter' is no kind of stage; there are transform,"),
        (changed("stages", 1, "kind", to=[[]]), "$.stages[1].kind", "a list is no kind of stage"),
        (changed("stages", 1, "accepts", to=[]), "$.stages[1]", "there is no field 'accepts'"),
        (changed("stages", 2, "inputs", to="left"), "$.stages[2].inputs", "a list was expected"),
        (changed("stages", 2, "inputs", to=["left", 7]), "$.stages[2].inputs[1]", "a name was expected, got 7"),
        (changed("stages", 2, "outputs", to=["a", "a"]), "$.stages[2].outputs", "a port is there twice"),
        (changed("edges", to=None), "$.edges", "a list was expected, got None"),
        (changed("edges", 2, to={"source": "split"}), "$.edges[2]", "the field 'target' is missing"),
        (changed("edges", 2, "bufer", to=4), "$.edges[2]", "there is no field 'bufer'; there are source, target, buffer"),
        (changed("edges", 2, "target", to=None), "$.edges[2].target", "a name was expected, 'stage' or 'stage:port', got None"),
        (changed("edges", 2, "target", to="lug"), "$.edges[2].target", "'lug' is no input; there are 'split', 'in/hear',"),
        (changed("edges", 2, "target", to="sync"), "$.edges[2].target", "is no input; stage 'sync' has 'sync:left', 'sync:right'"),
        (changed("edges", 2, "target", to="log:"), "$.edges[2].target", "'log:' is no input; stage 'log' has 'log'"),
        (changed("edges", 2, "source", to="log"), "$.edges[2].source", "'log' is no output; there are 'split'"),
        (changed("edges", 1, "buffer", to=0), "$.edges[1].buffer", "an edge holds at least 1 element, got 0"),
        (changed("edges", 1, "buffer", to=True), "$.edges[1].buffer", "an edge holds at least 1 element, got True"),
        (changed("edges", 1, "buffer", to=2.0), "$.edges[1].buffer", "an edge holds at least 1 element, got 2.0"),
        (changed("branches", 0, to="split"), "$.branches[0]", "an object was expected, got 'split'"),
        (changed("branches", 0, "source", to="log"), "$.branches[0].source", "'log' is no output"),
        (changed("branches", 0, "otherwise", to="lug"), "$.branches[0].otherwise", "'lug' is no input"),
        (changed("merges", 0, to={}), "$.merges[0]", "the field 'target' is missing"),
        (changed("merges", 0, to=5), "$.merges[0]", "a name was expected, 'stage' or 'stage:port', got 5"),
        (changed("merges", 0, to="lug"), "$.merges[0]", "'lug' is no input"),
        (changed("nested", to=5), "$.nested", "a list was expected, got 5"),
        (changed("nested", 0, to=""), "$.nested[0]", "'' cannot be the name"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("$") else None,
)  # fmt: skip
def test_malformed_data_is_refused_with_its_place(data: object, path: str, message: str) -> None:
    """`DecodeError`: which value, in JSON's own terms, and what was expected; before any stage is looked at."""
    with pytest.raises(DecodeError) as raised:
        read(data)

    assert raised.value.path == path
    assert message in raised.value.message
    assert "\n" not in str(raised.value)


def test_data_may_be_nested_deeply_without_harm() -> None:
    """`DecodeError`: what comes from outside is not shown in full."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(DecodeError, match="an object was expected, got a list"):
        read(changed("stages", 0, to=deep))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@given(st.data(), json_values)
def test_whatever_is_put_in_one_place_is_an_error_of_ours_or_a_graph(data: st.DataObject, value: object) -> None:
    """`graph_from_dict()`: data from outside never ends in a `KeyError`."""
    path: list[str | int] = []
    place: object = DATA
    while isinstance(place, (dict, list)) and (not path or data.draw(st.booleans())):
        path.append(data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place)))))
        place = place[path[-1]]

    try:
        made = read(changed(*path, to=value))
    except (DecodeError, BuildError):
        return
    assert len(made.nodes) == 4


def test_a_stage_that_is_missing_and_one_too_many_are_told_together() -> None:
    """semantics 4.2: all findings at once; a name that is nearly right is recognised."""
    stages = stages_of(everything())
    stages["lug"] = stages.pop("log")
    stages["other"] = spec("other")

    with pytest.raises(UnknownStageError) as raised:
        graph_from_dict(DATA, stages)

    assert [(one.kind, one.stage) for one in raised.value.findings] == [
        ("missing-stage", "log"),
        ("extra-stage", "lug"),
        ("extra-stage", "other"),
    ]
    assert "did you mean 'log'?" in raised.value.findings[1].hint
    assert "the graph has 'split', 'in/hear', 'sync', 'log'" in raised.value.findings[2].hint


def test_a_stage_of_another_kind_or_with_other_ports_is_refused() -> None:
    """`graph_from_dict()`: the data was made with stages; others of the same names are a mistake."""
    stages = stages_of(everything())
    stages["log"] = spec("log")
    stages["sync"] = spec("sync", input_ports={"left": (StreamElement,)}, output_ports={"late": None, "both": None})

    with pytest.raises(StagePlacementError) as raised:
        graph_from_dict(DATA, stages)

    assert [one.message for one in raised.value.findings] == [
        "stage 'sync': inputs in the data: 'left', 'right'; of the stage: 'left'",
        "stage 'log': kind in the data: sink; of the stage: transform",
    ]


def test_what_is_no_stage_is_refused_beside_all_else() -> None:
    """semantics 4.2: errors of several classes are one `BuildError`."""
    stages = stages_of(everything())
    stages["log"] = 5
    del stages["split"]

    with pytest.raises(BuildError) as raised:
        graph_from_dict(DATA, stages)

    assert type(raised.value) is BuildError
    assert [one.kind for one in raised.value.findings] == ["missing-stage", "not-a-stage"]


@pytest.mark.parametrize("stages", [None, [spec("a")], "a"])
def test_stages_are_given_by_name(stages: object) -> None:
    """`graph_from_dict()`: a list of stages does not say which is which."""
    with pytest.raises(StageDefinitionError, match="a mapping of names to stages was expected"):
        graph_from_dict(graph_to_dict(graph(["a"])), stages)


def test_a_name_that_is_no_string_is_one_too_many() -> None:
    """`graph_from_dict()`: told as any other name that the graph does not have."""
    with pytest.raises(UnknownStageError, match="the graph has no stage 5"):
        graph_from_dict(graph_to_dict(graph(["a"])), {"a": spec("a"), 5: spec("b")})


@pytest.mark.parametrize(
    ("edges", "error"),
    [
        (["a → b", "b → c", "c → b"], CycleError),
        (["a → b", "a → c"], StagePlacementError),
        (["b → c"], StagePlacementError),
        (["a → c", "c → b"], TypeMismatchError),
    ],
    ids=["cycle", "undeclared-fork", "unconnected", "mismatch"],
)
def test_a_graph_that_was_read_is_checked_like_one_that_was_built(edges: list[str], error: type[BuildError]) -> None:
    """semantics 4.2: data can be well formed and join what cannot be joined."""
    made = graph(
        ["a", node("b", (TextElement,)), node("c", emits=(AudioElement,))], edges, joins=["b"] * (error is CycleError)
    )

    with pytest.raises(BuildError) as raised:
        graph_from_dict(graph_to_dict(made), stages_of(made))

    assert type(raised.value) is error


def test_a_graph_without_stages_is_refused() -> None:
    """semantics 4.2: as from a builder."""
    with pytest.raises(BuildError, match="the graph has no stage"):
        graph_from_dict({"v": 1, "stages": [], "edges": []}, {})

"""How merges are told, checked, explained, drawn and written down. Semantics 4.20-4.23."""

from __future__ import annotations

import itertools
import json
import sys
import warnings
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    AudioElement,
    BatchElement,
    BuildError,
    ConfigError,
    DataElement,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    StreamElement,
    TextElement,
)
from streamflow.errors import DecodeError, StagePlacementError, TypeMismatchError
from streamflow.graph import (
    Arrival,
    Barrier,
    Concat,
    Endpoint,
    GraphBuilder,
    JoinSpec,
    MergePolicy,
    Ordered,
    Prioritized,
    Race,
    Zip,
    ZipLatest,
    explain,
    graph_from_dict,
    graph_to_dict,
    in_flight,
    ordering_forks,
    to_dot,
    to_mermaid,
)
from streamflow.runtime import Pipeline


def named(name: str) -> PassthroughStage:
    return PassthroughStage(name)


def taking(name: str, *accepts: type[StreamElement]) -> MapStage:
    return MapStage(lambda one: one, name=name, accepts=accepts)


def line() -> int:
    return sys._getframe(1).f_lineno


def two(policy: object = None) -> GraphBuilder:
    """Return a fork, two branches, and a merge of them."""
    builder = GraphBuilder().branch(named("in"), named("a"), named("b"))
    return builder.merge(named("out"), "a", "b", policy=policy)  # type: ignore[arg-type]


def policy_of(builder: GraphBuilder) -> MergePolicy:
    (join,) = builder.build_graph().joins
    return join.policy


def inputs_of(builder: GraphBuilder, target: str = "out") -> list[str]:
    return [str(edge.source) for edge in builder.build_graph().edges_into(Endpoint(target))]


# Given


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        (None, Arrival()),
        ("arrival", Arrival()),
        ("ordered", Ordered()),
        ("concat", Concat()),
        ("zip", Zip()),
        ("zip_latest", ZipLatest()),
        ("barrier", Barrier(max_held=1000)),
        ("priority", Prioritized()),
        ("race", Race()),
        (Prioritized((2, 1)), Prioritized((2, 1))),
    ],
)
def test_a_policy_is_given_by_name_or_as_an_object(given: object, policy: MergePolicy) -> None:
    """semantics 4.20-4.23: the names of Pekko, Kotlin and Rx; arrival is the default."""
    assert policy_of(two(given)) == policy


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: two("zipp"), "policy"),
        (lambda: two(3), "policy"),
        (lambda: two(Zip), "policy"),
        (lambda: Zip("text"), "combine"),
        (lambda: ZipLatest(3), "combine"),
        (lambda: Ordered(key="name"), "key"),
        (lambda: Zip(anything), "combine"),
        (lambda: Barrier(0), "max_held"),
        (lambda: Barrier(True), "max_held"),
        (lambda: Barrier(2.5), "max_held"),
        (lambda: Prioritized((1, 0)), "weights"),
        (lambda: Prioritized(3), "weights"),
        (lambda: Prioritized((1, "x")), "weights"),
    ],
    ids=itertools.count(),
)
def test_a_wrong_policy_or_parameter_is_refused_at_once(make: Callable[[], object], field: str) -> None:
    """semantics 4.20-4.23: at construction, by the name of the parameter."""
    with pytest.raises(ConfigError) as raised:
        make()
    assert raised.value.field == field


async def anything(*_elements: StreamElement) -> TextElement:
    raise AssertionError


def test_a_name_that_is_nearly_one_is_suggested() -> None:
    """semantics 4.3: with a way out, and the call changes nothing."""
    builder = GraphBuilder().add(named("a"), named("b"), named("out"))
    with pytest.raises(ConfigError, match="did you mean 'zip_latest'"):
        builder.merge("out", "a", "b", policy="zip_lates")  # type: ignore[arg-type]
    with pytest.raises(BuildError):
        builder.build_graph()


def test_the_inputs_are_in_the_order_in_which_they_are_named() -> None:
    """semantics 4.20-4.23: whatever edges were there before; those that are named nowhere come last."""
    builder = GraphBuilder().add(named("a"), named("b"), named("c"), named("out"))
    builder.connect("a", "out").connect("c", "out").branch(named("in"), "a", "b", "c")
    assert inputs_of(builder.clone().merge("out", "b", "a", policy="concat")) == ["b", "a", "c"]
    assert inputs_of(builder.clone().merge("out", "b").merge("out", "c", "a", policy="race")) == ["b", "c", "a"]
    assert inputs_of(builder.clone().merge("out", "b", "a")) == ["a", "c", "b"]


def test_calls_add_up_and_may_not_contradict_each_other() -> None:
    """semantics 4.1: two policies for one merge are a finding with the line of the second one."""
    assert policy_of(two().merge("out", "b", policy="zip")) == Zip()
    builder = two("zip")
    builder.merge("out", "b", policy="race")
    where = line() - 1
    with pytest.raises(StagePlacementError) as raised:
        builder.build_graph()
    (finding,) = raised.value.findings
    assert (finding.kind, finding.stage) == ("two-policies", "out")
    assert "'zip' and 'race'" in finding.message
    assert finding.where.endswith(f":{where}")


# Checked


def text_of(left: StreamElement, right: StreamElement) -> TextElement:
    raise AssertionError((left, right))


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Prioritized((1, 2, 3)), "has 2 inputs, but 3 weights"),
        (Zip(lambda one: one), "is given one element of each of 2 inputs"),
        (ZipLatest(lambda one, two, three: one), "is given one element of each of 2 inputs"),
    ],
)
def test_a_policy_that_does_not_fit_its_inputs_is_found(policy: MergePolicy, words: str) -> None:
    """semantics 4.1, 4.22, 4.23: one finding with the line of the merge."""
    with pytest.raises(StagePlacementError) as raised:
        two(policy).build_graph()
    (finding,) = raised.value.findings
    assert words in finding.message
    assert finding.kind == "merge-policy"


def test_an_order_needs_a_fork_that_leads_to_all_inputs() -> None:
    """semantics 4.20: else a finding that shows the ways out."""
    builder = GraphBuilder().merge(named("out"), named("a"), named("b"), policy="ordered")
    with pytest.raises(StagePlacementError) as raised:
        builder.build_graph()
    (finding,) = raised.value.findings
    assert "no fork leads to all its inputs" in finding.message
    assert "Ordered(key=…)" in finding.hint
    assert policy_of(GraphBuilder().merge(named("o"), named("a"), named("b"), policy=Ordered(key=str))).is_code


def test_the_forks_of_an_order_are_the_nearest_ones() -> None:
    """semantics 4.20: a fork is left out whose elements all pass another one that leads to all inputs too."""
    builder = GraphBuilder().branch(named("far"), named("near"), named("side"))
    builder.branch("near", named("a"), named("b")).merge(named("out"), "a", "b", policy="ordered")
    assert ordering_forks(builder.clone().build_graph()) == {Endpoint("out"): (Endpoint("near"),)}
    builder.connect("side", "out")
    assert ordering_forks(builder.build_graph()) == {Endpoint("out"): (Endpoint("far"),)}


def test_what_arrives_behind_a_zip_is_what_it_makes() -> None:
    """semantics 4.1, 4.22: batches, or what the function is annotated with; any data can enter it."""
    branches = [taking("a", TextElement), taking("b", AudioElement)]
    for policy, accepts in [("zip", BatchElement), (Zip(text_of), TextElement), (ZipLatest(text_of), TextElement)]:
        builder = GraphBuilder().branch(named("in"), *branches).merge(taking("out", accepts), "a", "b", policy=policy)
        builder.build_graph()
    builder = GraphBuilder().branch(named("in"), *branches)
    with pytest.raises(TypeMismatchError) as raised:
        builder.merge(taking("out", DataElement), "a", "b", policy="zip").build_graph()
    assert "BatchElement by merge of a and b" in str(raised.value)
    with pytest.raises(TypeMismatchError):
        GraphBuilder().branch(named("i"), *branches).merge(
            taking("o", DataElement), "a", "b", policy=Zip(text_of)
        ).build_graph()


def test_no_data_is_lost_at_a_fork_straight_into_a_zip() -> None:
    """semantics 4.5, 4.22: its reader accepts batches, the merge takes everything."""
    source = MapStage(lambda one: one, name="in", emits=TextElement)
    builder = GraphBuilder().branch(source, named("a"), taking("out", BatchElement)).merge("out", "a", policy="zip")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        builder.build_graph()


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        ("arrival", False),
        ("priority", False),
        ("race", False),
        ("zip_latest", False),
        ("ordered", True),
        ("concat", True),
        ("zip", True),
        ("barrier", True),
    ],
)
def test_a_join_says_whether_it_may_wait_for_one_input(policy: str, waits: bool) -> None:
    """semantics 4.20-4.23: so that a graph can be looked at for joins that may lock up."""
    (join,) = two(policy).build_graph().joins
    assert isinstance(join, JoinSpec)
    assert join.waits_for_inputs is waits


# Told, drawn, written down


def test_a_policy_is_told_and_drawn() -> None:
    """semantics 4.14: by its name, with its parameters; what it holds is a part of the bound."""
    for policy, told in [
        ("zip", "policy   zip, one of each input becomes one element"),
        (Prioritized((3, 1)), "policy   priority, with weights 3, 1"),
        (
            Barrier(max_held=7),
            "policy   barrier, turn by turn, once every input has come to the end of it, of at most 7 elements",
        ),
        (Ordered(key=str), "policy   ordered, the smallest key first"),
    ]:
        graph = two(policy).build_graph()
        assert " ".join(told.split()) in " ".join(explain(graph, buffer_size=4).split())
        name = graph.joins[0].policy.name
        assert f"{name} 1" in to_dot(graph)
        assert f"{name} 2" in to_mermaid(graph)
    assert "policy" not in explain(two().build_graph(), buffer_size=4)
    held = [in_flight(two(one).build_graph(), buffer_size=4).merges for one in ("race", "zip_latest", Barrier(7))]
    assert held == [1, 3, 10]


def test_a_barrier_and_its_bound_in_a_run() -> None:
    """semantics 5.4, 4.23: `max_in_flight` counts what the merge may hold."""
    plain, barrier = (
        PipelineBuilder(PipelineConfig(buffer_size=2))
        .branch(named("in"), named("a"), named("b"))
        .merge(named("out"), "a", "b", policy=policy)
        .build()
        .max_in_flight
        for policy in ("arrival", Barrier(5))
    )
    assert barrier - plain == 5 + 2


POLICIES = st.one_of(
    st.sampled_from(["arrival", "ordered", "concat", "zip", "zip_latest", "barrier", "priority", "race"]),
    st.builds(Barrier, st.integers(1, 2000)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)).map(Prioritized),
)


@given(policy=POLICIES)
def test_a_policy_comes_back_as_it_was(policy: object) -> None:
    """semantics 4.14: through JSON, with its parameters and the order of its inputs."""
    graph = GraphBuilder().branch(named("in"), named("b"), named("a"))
    built = graph.merge(named("out"), "a", "b", policy=policy).build_graph()  # type: ignore[arg-type]
    data = json.loads(json.dumps(graph_to_dict(built)))
    back = graph_from_dict(data, {node.name: named(node.name) for node in built.nodes})
    assert [join.policy for join in back.joins] == [join.policy for join in built.joins]
    assert [str(edge) for edge in back.edges] == [str(edge) for edge in built.edges]
    assert graph_to_dict(back) == data


def test_a_policy_with_a_function_is_given_again() -> None:
    """semantics 4.14: code is not written down; what is missing, too much, or another one is refused by name."""
    policy = Zip(text_of)
    builder = PipelineBuilder().branch(named("in"), named("a"), named("b")).merge(named("out"), "a", "b", policy=policy)
    data = json.loads(json.dumps(builder.build().to_dict()))
    stages = {name: named(name) for name in ("in", "a", "b", "out")}
    assert data["graph"]["merges"] == [{"target": "out", "policy": "zip", "code": True}]
    assert Pipeline.from_dict(data, stages, policies={"out": policy}).graph.joins[0].policy == policy
    for wrong in ({}, {"out": Ordered(key=str)}, {"out": Zip()}, {"out": policy, "a": policy}):
        with pytest.raises(ConfigError, match="policies"):
            Pipeline.from_dict(data, stages, policies=wrong)


@pytest.mark.parametrize(
    ("merge", "path"),
    [
        ({"target": "out", "policy": "zipp"}, "$.merges[0].policy"),
        ({"target": "out", "policy": 5}, "$.merges[0].policy"),
        ({"target": "out", "policy": "zip", "weights": [1, 2]}, "$.merges[0].weights"),
        ({"target": "out", "policy": "priority", "weights": [1, 0]}, "$.merges[0].weights"),
        ({"target": "out", "policy": "priority", "weights": 5}, "$.merges[0].weights"),
        ({"target": "out", "policy": "barrier", "max_held": "x"}, "$.merges[0].max_held"),
        ({"target": "out", "policy": "barrier", "max_held": None}, "$.merges[0].max_held"),
        ({"target": "out", "policy": "zip", "code": "yes"}, "$.merges[0].code"),
        ({"target": "aut", "policy": "zip"}, "$.merges[0].target"),
        ({"target": "out"}, "$.merges[0]"),
        ({"target": "out", "policy": "zip", "more": 1}, "$.merges[0]"),
    ],
)
def test_a_malformed_policy_is_refused_with_its_place(merge: object, path: str) -> None:
    """semantics 4.14: `DecodeError`, before any stage is looked at."""
    data = graph_to_dict(two("zip").build_graph())
    with pytest.raises(DecodeError) as raised:
        graph_from_dict({**data, "merges": [merge]}, {})
    assert raised.value.path == path


def test_policies_of_a_nested_pipeline_come_along() -> None:
    """semantics 4.12: with the order of their inputs."""
    builder = PipelineBuilder().branch(named("in"), named("a"), named("b")).merge(named("out"), "b", "a", policy="zip")
    outer = PipelineBuilder().chain(builder.build().as_stage("inner"), named("end")).build()
    assert [(str(one.target), one.policy) for one in outer.graph.joins] == [("inner/out", Zip())]
    assert [str(one.source) for one in outer.graph.edges_into(Endpoint("inner/out"))] == ["inner/b", "inner/a"]

"""What is said of one edge (policy, weight, lanes): kept, told in words, pictures and data, refused where it is wrong."""

from __future__ import annotations

import json

import pytest

from streamflow import CONSUMER, SOURCE, PassthroughStage, Pipeline, PipelineBuilder, PipelineConfig, Weight
from streamflow.channels import EdgeBound
from streamflow.errors import BuildError, ConfigError, DecodeError, StageDefinitionError
from streamflow.graph import OUTSIDE, Endpoint, bounds_of


def words(element):
    return len(element.text.split())


A, B, C = (PassthroughStage(name) for name in "abc")
STAGES = {"a": A, "b": B, "c": C}


def builder(config=None):
    made = PipelineBuilder(config).connect(A, B, overflow="drop_oldest", priority=True)
    made.connect("b", C, buffer=5, weight=Weight(20, "words", words), priority=False)
    return made.connect(SOURCE, "a", overflow="latest").connect("c", CONSUMER, weight=Weight.bytes(1_000_000))


def test_each_edge_has_the_bound_that_was_said_and_the_rest_from_the_configuration() -> None:
    """semantics 2.7, 2.8, 2.9: edges between stages, from the source, to the consumer."""
    graph = builder().build().graph

    assert list(bounds_of(graph, buffer_size=16, priority=False)) == [
        EdgeBound(16, "drop_oldest", None, lanes=True),
        EdgeBound(5, "block", Weight(20, "words", words), lanes=False),
        EdgeBound(16, "latest", None, lanes=False),
        EdgeBound(16, "block", Weight.bytes(1_000_000), lanes=False),
    ]
    assert [one.lanes for one in bounds_of(graph, buffer_size=16, priority=True)] == [True, False, True, True]
    assert [(one.source, one.target) for one in graph.outer] == [(OUTSIDE, Endpoint("a")), (Endpoint("c"), OUTSIDE)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overflow": "drop"}, "overflow: there are block, drop_oldest, drop_newest, latest, error; got 'drop'"),
        ({"overflow": None}, "got None"),
        ({"weight": 1000}, "weight: a Weight was expected"),
        ({"priority": 1}, "priority: a switch is True or False, got 1"),
        (
            {"priority": True, "buffer": 3},
            "buffer: an edge with priority lanes has a place for each of 4 priorities, got 3",
        ),
    ],
)
def test_a_wrong_option_is_refused_at_once_and_the_call_changes_nothing(options, message) -> None:
    """semantics 4.3: named, with what would be right."""
    made = PipelineBuilder().add(A)
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        made.connect("a", B, **options)
    assert [node.name for node in made.build().graph.nodes] == ["a"]


@pytest.mark.parametrize("ends", [(CONSUMER, "a"), ("a", SOURCE), (SOURCE, CONSUMER), (CONSUMER, SOURCE)], ids=str)
def test_elements_do_not_go_to_the_source_or_come_from_the_consumer(ends) -> None:
    """semantics 4.3: refused by the call, with how it is written."""
    with pytest.raises(StageDefinitionError, match=r"write connect\(SOURCE, head, …\) or connect\(leaf, CONSUMER, …\)"):
        PipelineBuilder().add(A).connect(*ends)


def test_what_is_said_of_an_outer_edge_that_is_none_is_found() -> None:
    """semantics 4.1: an input that a stage feeds, an output that a stage takes, an unknown name, the same twice."""
    made = PipelineBuilder().connect(A, B).connect(SOURCE, "b").connect("a", CONSUMER)
    made.connect(SOURCE, "a").connect(SOURCE, "a").connect("x", CONSUMER)
    with pytest.raises(BuildError) as caught:
        made.build()

    found = [(one.kind, one.stage) for one in caught.value.findings]
    assert sorted(found) == [
        ("duplicate-edge", "a"),
        ("not-an-outer-edge", "a"),
        ("not-an-outer-edge", "b"),
        ("unknown-stage", "x"),
    ]
    assert all(one.where is not None and __file__ in one.where for one in caught.value.findings)
    told = next(one for one in caught.value.findings if one.stage == "b")
    assert told.message == "'b' is fed by 'a', and the source feeds only what no stage does"


def test_lanes_of_one_edge_need_their_places_too() -> None:
    """semantics 2.9: an edge whose capacity comes from the configuration, or that is opted out of it."""
    with pytest.raises(ConfigError, match="a → b has 2; give"):
        PipelineBuilder(PipelineConfig(buffer_size=2)).connect(A, B, priority=True).build()
    config = PipelineConfig(priority=True)
    with pytest.raises(ConfigError, match="or priority=False"):
        PipelineBuilder(config).connect(A, B, buffer=2).build()
    PipelineBuilder(config).connect(A, B, buffer=2, priority=False).build()


def test_the_explanation_tells_policy_weight_and_lanes() -> None:
    """semantics 4.14: beside the capacity, where the edge ends; and control has a room of its own where data can be dropped."""
    told = builder(PipelineConfig(priority=True)).build().explain()

    assert "    from     source (16, latest)\n" in told
    assert "    from     a (16, drop_oldest, with priority lanes)\n" in told
    assert "    from     b (5, its own size, at most 20 words, without priority lanes)\n" in told
    assert "    from     c (16, at most 1_000_000 bytes)\n" in told
    assert "Edges have a lane for each priority, unless something else is said there.\n" in told
    assert "in flight: at most 77 elements = 73 on 4 edges + 3 in stages + 1 at the source" in told  # 32 + 5 + 20 + 16
    assert builder().build().max_in_flight == 74  # without lanes the latest is one


def test_pictures_tell_them_on_the_arrows() -> None:
    """semantics 4.14: in both languages."""
    pipeline = builder().build()

    for picture in (pipeline.to_mermaid(), pipeline.to_dot()):
        for label in (
            "latest",
            "drop_oldest",
            "with priority lanes",
            "holds 5",
            "at most 20 words",
            "without priority lanes",
        ):
            assert label in picture
    assert 'source -->|"latest"| n0' in pipeline.to_mermaid()
    assert 'n2 -->|"at most 1_000_000 bytes"| consumer' in pipeline.to_mermaid()


def test_a_graph_as_data_has_them_and_functions_are_given_by_unit() -> None:
    """semantics 4.14: nothing in the data is imported; what is a function must be given again."""
    pipeline = builder().build()
    data = json.loads(json.dumps(pipeline.to_dict()))

    assert data["graph"]["edges"] == [
        {"source": "a", "target": "b", "overflow": "drop_oldest", "priority": True},
        {"source": "b", "target": "c", "buffer": 5, "weight": {"limit": 20, "unit": "words"}, "priority": False},
    ]
    assert data["graph"]["outer"] == [
        {"head": "a", "overflow": "latest"},
        {"leaf": "c", "weight": {"limit": 1_000_000, "unit": "bytes"}},
    ]
    again = Pipeline.from_dict(data, STAGES, weights={"words": words})
    assert [*bounds_of(again.graph, buffer_size=16, priority=False)] == [
        *bounds_of(pipeline.graph, buffer_size=16, priority=False)
    ]
    with pytest.raises(DecodeError, match=r"nobody knows how to weigh in 'words'.*at \$\.graph\.edges\[1\]\.weight"):
        Pipeline.from_dict(data, STAGES)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"edges": [{"source": "a", "target": "b", "overflow": "drop"}]}, "$.graph.edges[0].overflow"),
        ({"edges": [{"source": "a", "target": "b", "priority": "yes"}]}, "$.graph.edges[0].priority"),
        ({"edges": [{"source": "a", "target": "b", "weight": 3}]}, "$.graph.edges[0].weight"),
        (
            {"edges": [{"source": "a", "target": "b", "weight": {"limit": "3", "unit": "bytes"}}]},
            "$.graph.edges[0].weight.limit",
        ),
        (
            {"edges": [{"source": "a", "target": "b", "weight": {"limit": 3, "unit": 3}}]},
            "$.graph.edges[0].weight.unit",
        ),
        (
            {"edges": [{"source": "a", "target": "b", "weight": {"limit": -3, "unit": "bytes"}}]},
            "$.graph.edges[0].weight",
        ),
        ({"outer": [{"overflow": "latest"}]}, "$.graph.outer[0]"),
        ({"outer": [{"head": "a", "leaf": "b"}]}, "$.graph.outer[0]"),
        ({"outer": [{"head": "x"}]}, "$.graph.outer[0].head"),
        ({"outer": [{"leaf": "b", "overflow": 3}]}, "$.graph.outer[0].overflow"),
    ],
)
def test_malformed_options_are_refused_with_their_place(change, path) -> None:
    """semantics 4.14: `DecodeError` says where."""
    data = PipelineBuilder().connect(A, B).build().to_dict()
    graph = data["graph"]
    assert isinstance(graph, dict)
    with pytest.raises(DecodeError) as caught:
        Pipeline.from_dict({"graph": graph | change}, {"a": A, "b": B})
    assert caught.value.path == path


def test_a_nested_pipeline_keeps_what_was_said_of_its_edges() -> None:
    """semantics 4.12: but for those to its own source and consumer, which are not there any more."""
    inner = builder(PipelineConfig(buffer_size=7, priority=True)).build()
    graph = PipelineBuilder().chain(PassthroughStage("in"), inner.as_stage("deep")).build().graph

    assert graph.outer == ()
    assert [*bounds_of(graph, buffer_size=16, priority=False)] == [
        EdgeBound(7, "drop_oldest", None, lanes=True),
        EdgeBound(5, "block", Weight(20, "words", words), lanes=False),
        EdgeBound(16),
        EdgeBound(16),
        EdgeBound(16),
    ]
    plain = PipelineBuilder().chain(A, B).build()
    outer = PipelineBuilder().add(plain.as_stage("deep")).build().graph
    assert [one.lanes for one in bounds_of(outer, buffer_size=16, priority=True)] == [True, True, True]


def test_a_branch_or_merge_that_names_an_edge_leaves_what_was_said_of_it() -> None:
    """semantics 4.4: calls in any order; restating an edge takes nothing from it."""
    calls = [
        lambda made: made.connect("a", "b", overflow="latest"),
        lambda made: made.branch("a", "b", "c"),
        lambda made: made.connect(SOURCE, "a", buffer=3),
    ]
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        made = PipelineBuilder().add(A, B, C)
        for number in order:
            calls[number](made)
        edges = {str(one): one.overflow for one in made.build().graph.edges}
        assert edges == {"a → b": "latest", "a → c": "block"}


def test_a_branch_that_drops_cannot_be_put_in_order_again() -> None:
    """semantics 2.7, 4.1: the fork marks each element on each branch, and marks of what was dropped would pile up."""

    def made(**options):
        builder = PipelineBuilder().add(*(PassthroughStage(name) for name in ("fork", "left", "right", "join")))
        builder.connect("fork", "left", **options).branch("fork", "left", "right")
        return builder.merge("join", "left", "right", policy="ordered")

    with pytest.raises(BuildError) as caught:
        made(overflow="latest").build()
    (finding,) = caught.value.findings
    assert (finding.kind, finding.stage) == ("merge-policy", "join")
    assert finding.message == "'join' restores the order of 'fork', whose branch fork → left may drop"
    made(overflow="error").build()
    made(weight=Weight.bytes(100)).build()

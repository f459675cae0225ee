"""Routes, balances, taps, essential and dynamic branches in a graph: said, refused, told. Semantics 4.15 – 4.19."""

from __future__ import annotations

import json
import sys
import warnings

import pytest

from streamflow import (
    DROP,
    AudioElement,
    BuildError,
    ConfigError,
    DataElement,
    ImageElement,
    MapStage,
    PassthroughStage,
    Router,
    SinkStage,
    StreamElement,
    TextElement,
    TurnEnd,
)
from streamflow.elements import ControlElement
from streamflow.errors import DecodeError, StagePlacementError, TypeMismatchError
from streamflow.graph import (
    Endpoint,
    GraphBuilder,
    SubGraph,
    explain,
    graph_from_dict,
    graph_to_dict,
    in_flight,
    to_dot,
    to_mermaid,
)


def named(name, accepts=None, emits=None):
    if accepts is None and emits is None:
        return PassthroughStage(name)
    return MapStage(lambda element: element, name=name, accepts=accepts, emits=emits)


def line():
    return sys._getframe(1).f_lineno


def refused(builder):
    with pytest.raises(BuildError) as caught:
        builder.build_graph()
    return caught.value


def kinds(error):
    return [(one.kind, one.stage) for one in error.findings]


def yes(_element):
    return True


A, B, C, D = (named(name) for name in "abcd")
PAIR = (named("b"), named("c"))


def every_router():
    return [
        Router.by_rules((yes, "b"), (lambda _: True, "c"), (yes, "b")),
        Router.by_type({TextElement: "b", AudioElement: "c"}),
        Router.by_key(lambda element: element.id, "b", "c"),
        Router.round_robin("b", "c"),
        Router.by_weight({"b": 3, "c": 1}),
        Router.at_random({"b": 3, "c": 1}, seed=7),
        Router.by_function(lambda _: "b", "b", "c"),
    ]


def kind_of(router):
    return router.kind


def build(router, **options):
    default = DROP if router.may_miss else None
    return GraphBuilder().add(A, B, C).route("a", router, **{"default": default, **options}).build_graph()


# What calls say


@pytest.mark.parametrize("router", every_router(), ids=kind_of)
def test_a_route_has_an_edge_to_each_stage_that_it_can_choose(router) -> None:
    """semantics 4.15: one fork, with the rule; a stage of several rules has one edge."""
    graph = build(router)
    assert [str(edge) for edge in graph.edges] == ["a → b", "a → c"]
    (fork,) = graph.forks
    assert (fork.mode, fork.otherwise, fork.route.router) == ("route", None, router)
    assert [str(one) for one in fork.route.choices][:2] == ["b", "c"]
    assert fork.route.names == tuple(map(str, fork.route.choices))


def test_stages_are_added_and_edges_that_are_there_are_kept() -> None:
    """semantics 4.15, 4.4: as in branch(): objects or names, before or after; `buffer` is for the edges that the call makes."""
    builder = GraphBuilder().connect(A, B, buffer=9).route(A, Router.by_rules((yes, B), (yes, C)), default=D, buffer=2)
    graph = builder.build_graph()
    assert [(str(edge), edge.buffer) for edge in graph.edges] == [("a → b", 9), ("a → c", 2), ("a → d", 2)]
    assert graph.forks[0].otherwise == Endpoint("d")
    assert [one.name for one in GraphBuilder().route(A, Router.round_robin(*PAIR)).build_graph().nodes] == [
        "a",
        "b",
        "c",
    ]


def test_balances_and_essential_and_dynamic_branches_add_up() -> None:
    """semantics 4.16, 4.18, 4.19: several calls about one output are one fork."""
    builder = GraphBuilder().balance(A, named("b", TextElement)).balance("a", named("c", TextElement), otherwise=D)
    (fork,) = builder.build_graph().forks
    assert (fork.mode, fork.otherwise) == ("balance", Endpoint("d"))
    builder = GraphBuilder().branch(A, B, C).branch("a", essential=["b"]).branch("a", dynamic=True, essential="c")
    (fork,) = builder.build_graph().forks
    assert fork.essential == (Endpoint("b"), Endpoint("c"))
    assert fork.is_dynamic
    graph = GraphBuilder().branch(A, essential=[B, C]).build_graph()
    assert [str(edge) for edge in graph.edges] == ["a → b", "a → c"]


def test_a_tap_takes_nothing_away() -> None:
    """semantics 4.17: what it is put on stays a leaf; one more target needs no branch()."""
    graph = GraphBuilder().tap(A, B, C, buffer=3).build_graph()
    assert [(str(edge), edge.is_tap, edge.buffer) for edge in graph.edges] == [("a → b", True, 3), ("a → c", True, 3)]
    assert graph.leaves == (Endpoint("a"), Endpoint("b"), Endpoint("c"))
    graph = GraphBuilder().chain(A, B).tap("a", C).build_graph()
    assert graph.forks == ()
    assert graph.leaves == (Endpoint("b"), Endpoint("c"))


def test_one_stage_can_be_dynamic_without_a_branch() -> None:
    """semantics 4.19: who subscribes is the other branch."""
    for builder in (GraphBuilder().add(A), GraphBuilder().chain(A, B)):
        graph = builder.branch("a", dynamic=True).build_graph()
        assert graph.forks[0].is_dynamic
        assert len(graph.leaves) == 1


def test_prefix_clone_and_nesting_keep_what_was_said() -> None:
    """semantics 4.12, 4.4: a nested route calls its branches as it did alone, so that keys stay where they are."""
    router = Router.by_rules((yes, "b"), (yes, C))
    inner = (
        GraphBuilder()
        .add(A, B)
        .route("a", router, default=D, unroutable="default")
        .tap("a", SinkStage(print, name="t"))
    )
    plain = inner.clone().build_graph()
    inner.tap("b", SinkStage(print, name="late"))
    outer = GraphBuilder().chain(named("in"), SubGraph("n", plain)).branch("in", dynamic=True).build_graph()
    assert [str(edge) for edge in outer.edges] == ["n/a → n/b", "n/a → n/c", "n/a → n/d", "n/a → n/t", "in → n/a"]
    fork = next(one for one in outer.forks if one.route is not None)
    assert (fork.source, fork.otherwise, fork.mode) == (Endpoint("n/a"), Endpoint("n/d"), "route")
    assert fork.route.choices == (Endpoint("n/b"), Endpoint("n/c"))
    assert fork.route.names == ("b", "c")
    assert fork.route.unroutable == "default"
    assert [edge.is_tap for edge in outer.edges] == [False] * 3 + [True, False]
    view = GraphBuilder()
    view.prefixed("p").add(A, B).route("a", Router.round_robin("b", C))
    (fork,) = view.build_graph().forks
    assert (fork.route.choices, fork.route.names) == ((Endpoint("p/b"), Endpoint("p/c")), ("b", "c"))


def test_a_nested_pipeline_with_a_tap_shows_its_output() -> None:
    """semantics 4.12, 4.17: a tap inside changes nothing outside; a tap on the whole sees each of its outputs."""
    inner = GraphBuilder().chain(A, B).tap("b", SinkStage(print, name="t")).branch("a", essential=["b"], dynamic=True)
    nested = SubGraph("n", inner.build_graph())
    graph = GraphBuilder().chain(nested, named("out")).tap("n", SinkStage(print, name="u")).build_graph()
    assert [str(edge) for edge in graph.edges] == ["n/a → n/b", "n/b → n/t", "n/b → out", "n/b → u"]
    assert graph.forks[0].essential == (Endpoint("n/b"),)


# What is wrong


@pytest.mark.parametrize(
    "make",
    [
        Router.by_rules,
        lambda: Router.by_rules(yes),
        lambda: Router.by_rules(("yes", "b")),
        lambda: Router.by_type({}),
        lambda: Router.by_type([TextElement]),
        lambda: Router.by_type({TurnEnd: "b"}),
        lambda: Router.by_type({ControlElement: "b"}),
        lambda: Router.by_type({"text": "b"}),
        lambda: Router.by_key("id", "b"),
        lambda: Router.by_key(yes),
        Router.round_robin,
        lambda: Router.by_weight({}),
        lambda: Router.by_weight(["b"]),
        lambda: Router.by_weight({"b": 0}),
        lambda: Router.by_weight({"b": True}),
        lambda: Router.at_random({"b": float("nan")}),
        lambda: Router.at_random({"b": 1}, seed="x"),
        lambda: Router.by_function(yes),
        lambda: Router.by_function(None, "b"),
    ],
    ids=map(str, range(19)),
)
def test_a_router_that_cannot_work_is_refused_where_it_is_made(make) -> None:
    """semantics 4.15: at once, with what was expected."""
    with pytest.raises(ConfigError, match="router"):
        make()


def test_a_rule_that_would_have_to_be_waited_for_is_refused() -> None:
    """semantics 4.15: a coroutine is true, whatever it would return."""

    async def later(_):
        return True

    with pytest.raises(ConfigError, match="cannot wait"):
        Router.by_rules((later, "b"))


RULES, TURNS = Router.by_rules((yes, "b")), Router.round_robin("b", "c")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"router": "b"}, "router"),
        ({"router": RULES}, "default"),
        ({"router": TURNS, "default": "d"}, "default"),
        ({"router": TURNS, "default": DROP}, "default"),
        ({"router": RULES, "default": DROP, "unroutable": "default"}, "unroutable"),
        ({"router": RULES, "default": DROP, "unroutable": "skip"}, "unroutable"),
        ({"router": TURNS, "unroutable": "error"}, "unroutable"),
        ({"router": TURNS, "buffer": 0}, "buffer"),
    ],
)
def test_a_route_that_says_too_little_or_too_much_is_refused_at_once(options, field) -> None:
    """semantics 4.15: a default is required where an element may match nothing, and refused where none can get there."""
    builder = GraphBuilder().add(A, B, C)
    with pytest.raises(ConfigError) as caught:
        builder.route("a", **options)
    assert caught.value.field == field
    assert builder._said.links == []


def test_a_branch_that_nothing_is_sent_to_is_found() -> None:
    """semantics 4.1, 4.15: an edge out of a route that no rule names."""
    builder = GraphBuilder().add(A, B, C)
    builder.connect("a", D)
    at = line() - 1
    error = refused(builder.route("a", TURNS))
    assert type(error) is StagePlacementError
    assert kinds(error) == [("unused-branch", "d")]
    assert error.findings[0].where == f"{__file__}:{at}"


@pytest.mark.parametrize("second", ["branch", "balance", "route"])
def test_two_ways_out_of_one_output_are_found(second) -> None:
    """semantics 4.1, 4.15: one output is divided in one way."""
    builder = GraphBuilder().add(A, B, C).route("a", TURNS)
    if second == "route":
        builder.route("a", Router.round_robin("b", "c"))
    else:
        getattr(builder, second)("a", "b", "c")
    error = refused(builder)
    assert kinds(error) == [("two-ways-out", "a")]
    assert error.findings[0].where.startswith(f"{__file__}:")
    assert f"the other was made at {__file__}:" in str(error)
    assert f"by {second}()" in str(error) if second != "route" else "by route()" in str(error)


def test_other_faults_of_forks_are_found_with_their_calls() -> None:
    """semantics 4.1: names, numbers of branches, two places for the rest, an edge that is there twice."""
    assert kinds(refused(GraphBuilder().add(A).route("a", Router.round_robin("z", "y")))) == [
        ("unknown-stage", "z"),
        ("unknown-stage", "y"),
    ]
    error = refused(GraphBuilder().balance(A, B))
    assert kinds(error) == [("fan-out", "a")]
    assert "balance('a', …) has one branch" in str(error)
    error = refused(GraphBuilder().balance(A, B, C, otherwise=D).balance("a", otherwise="b"))
    assert kinds(error) == [("two-otherwise", "a")]
    assert kinds(refused(GraphBuilder().chain(A, B).tap("a", "b"))) == [("duplicate-edge", "a")]
    assert kinds(refused(GraphBuilder().add(A, B, C).connect("a", "b").connect("a", "c").tap("a", D))) == [
        ("fan-out", "a")
    ]
    assert kinds(refused(GraphBuilder().tap("z"))) == [("empty", None), ("unknown-stage", "z")]


@pytest.mark.parametrize(
    ("router", "emits", "wrong"),
    [
        (Router.by_type({TextElement: "b", AudioElement: "c"}), None, []),
        (Router.by_type({AudioElement: "b", TextElement: "c"}), None, ["b", "c"]),
        (Router.by_type({TextElement: "b", ImageElement: "b", AudioElement: "c"}), None, ["b"]),
        (Router.by_type({TextElement: "b", AudioElement: "c"}), TextElement, ["c"]),
        (Router.round_robin("b", "c"), None, []),
        (Router.round_robin("b", "c"), TextElement, ["c"]),
        (Router.by_key(lambda _: "", "b", "c"), (TextElement, AudioElement), ["b", "c"]),
        (Router.by_rules((yes, "b"), (yes, "c")), (TextElement, AudioElement), []),
        (Router.by_rules((yes, "b"), (yes, "c")), TextElement, ["c"]),
    ],
)
def test_a_branch_that_does_not_accept_what_is_sent_to_it_is_found(router, emits, wrong) -> None:
    """semantics 4.1, 4.15: where it is known: by the types that a rule names, by what the stage declares to emit."""
    builder = GraphBuilder().add(named("a", StreamElement, emits), named("b", TextElement), named("c", AudioElement))
    builder.route("a", router, default=DROP if router.may_miss else None)
    if not wrong:
        builder.build_graph()
        return
    error = refused(builder)
    assert type(error) is TypeMismatchError
    assert [one.stage for one in error.findings] == wrong


def test_what_a_route_or_a_tap_cannot_lose_is_not_warned_about() -> None:
    """semantics 4.5, 4.15: a route refuses or drops as it was told; a tap accepts nothing for others; a leaf loses nothing."""
    source = named("a", TextElement, (TextElement, DataElement))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GraphBuilder().route(source, Router.by_type({TextElement: B}), default=DROP).build_graph()
        GraphBuilder().tap(source, named("t", TextElement)).branch("a", dynamic=True).build_graph()
        with pytest.raises(Warning, match="no branch of 'a' accepts DataElement") as caught:
            tapped = GraphBuilder().tap(source, named("t", DataElement))
            tapped.balance("a", named("b", TextElement), named("c", TextElement)).build_graph()
    assert "balance('a', …, otherwise=…)" in str(caught.value)


# How it is told


def told_graph():
    builder = GraphBuilder().add(A, B, C, D, named("e"), named("f"))
    builder.route("a", Router.by_rules((yes, "b"), (lambda _: False, "c"), (lambda _: 0, "b")), default="d")
    builder.balance("b", "e", "f").tap("a", SinkStage(print, name="t"), buffer=5)
    return (
        builder.branch("c", dynamic=True)
        .merge(named("g"), "e", "f")
        .branch("d", named("h"), essential=[named("i")])
        .build_graph()
    )


def test_each_way_is_told_with_its_reason() -> None:
    """semantics 4.14: rules, workers, taps, essential branches and who may subscribe."""
    text = explain(told_graph(), buffer_size=16)
    for expected in (
        "    route    b, when yes, by rule 3\n    route    c, by rule 2\n    else     d, for data that no rule applies to",
        "    tap      t, for any data",
        "    from     a (5, its own size), a tap: what does not fit is dropped, and counted",
        "    balance  e, for any data\n    balance  f, for any data",
        "    hub      who subscribes during a run gets everything from then on",
        "    branch   i, for any data, essential",
    ):
        assert expected in text
    assert max(map(len, text.splitlines())) <= 100
    dropped = explain(build(Router.by_type({TextElement: "b", AudioElement: "c"})), buffer_size=1)
    assert (
        "    route    b, for TextElement\n    route    c, for AudioElement\n    else     data that no rule applies to is"
        in dropped
    )
    assert "else" not in explain(build(TURNS), buffer_size=1)
    assert "→ t →" not in explain(
        GraphBuilder().chain(A, B).tap("b", SinkStage(print, name="t")).build_graph(), buffer_size=1
    )


def test_pictures_show_each_way() -> None:
    """semantics 4.14: labels say when; a tap and the way of subscribers are dashed."""
    picture = to_mermaid(told_graph())
    for expected in (
        '-->|"when yes<br/>by rule 3"|',
        '-.->|"otherwise"|',
        '-.->|"tap<br/>any data<br/>holds 5"|',
        "balanced",
        "essential",
        '(["subscribers<br/>of a run"])',
    ):
        assert expected in picture
    assert 'label="tap\\nany data\\nholds 5", style=dashed' in to_dot(told_graph())
    many = Router.by_rules(*((lambda _: 0, "b") for _ in range(7)))
    assert "by rule 3 and 4 more" in to_mermaid(GraphBuilder().add(A, B).route("a", many, default=DROP).build_graph())


def test_a_tap_counts_twice_in_the_bound() -> None:
    """semantics 4.17, 5.5: as much control as its capacity may be in it besides."""
    graph = GraphBuilder().tap(A, SinkStage(print, name="t"), buffer=5).build_graph()
    assert in_flight(graph, buffer_size=16).edges == 16 + 16 + 2 * 5


# As data


def stages_of(graph):
    return {node.name: node.stage for node in graph.nodes}


def without_where(graph):
    forks = []
    for one in graph.forks:
        route = one.route
        its = None if route is None else (route.router.kind, route.choices, route.names, route.unroutable)
        forks.append((one.source, one.otherwise, one.mode, its, one.essential, one.is_dynamic))
    return [(edge.source, edge.target, edge.buffer, edge.is_tap) for edge in graph.edges], forks


@pytest.mark.parametrize("router", every_router(), ids=kind_of)
def test_a_route_comes_back_with_its_router_given_again(router) -> None:
    """semantics 4.14, 4.15: rules are code, as stages are; the data says what they choose among."""
    graph = build(router)
    data = json.loads(json.dumps(graph_to_dict(graph)))
    again = graph_from_dict(data, stages_of(graph), routers={"a": router})
    assert without_where(again) == without_where(graph)
    assert again.forks[0].route.router is router
    for routers in ({}, {"a": Router.by_key(str, "z")}, {"a": "b"}, {"a": router, "b": router}):
        with pytest.raises(StagePlacementError) as caught:
            graph_from_dict(data, stages_of(graph), routers=routers)
        assert {one.kind for one in caught.value.findings} == {"other-router"}


def test_everything_else_comes_back() -> None:
    """semantics 4.14: taps, balances, essential and dynamic branches, the default, names inside a nested pipeline."""
    inner = (
        GraphBuilder()
        .add(A, B, C)
        .route("a", Router.by_function(lambda _: "b", "b", "c"), default="b", unroutable="default")
    )
    graph = GraphBuilder().chain(SubGraph("n", inner.build_graph()), named("g")).build_graph()
    data = json.loads(json.dumps(graph_to_dict(graph)))
    routers = {"n/a": Router.by_function(lambda _: "b", "n/b", "c")}
    assert without_where(graph_from_dict(data, stages_of(graph), routers=routers)) == without_where(graph)
    graph = told_graph()
    data = json.loads(json.dumps(graph_to_dict(graph)))
    routers = {"a": Router.by_rules((yes, B), (yes, C), (yes, B))}
    assert without_where(graph_from_dict(data, stages_of(graph), routers=routers)) == without_where(graph)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"mode": "copy"}, "$.branches[0].mode"),
        ({"mode": "branch"}, "$.branches[0].by"),
        ({"choices": []}, "$.branches[0].choices"),
        ({"choices": ["z"]}, "$.branches[0].choices[0]"),
        ({"names": ["b"]}, "$.branches[0].choices"),
        ({"names": ["b", 1]}, "$.branches[0].names[1]"),
        ({"unroutable": "x"}, "$.branches[0].unroutable"),
        ({"unroutable": "default"}, "$.branches[0].unroutable"),
        ({"essential": "b"}, "$.branches[0].essential"),
        ({"dynamic": 1}, "$.branches[0].dynamic"),
    ],
)
def test_malformed_forks_are_told_with_their_path(change, path) -> None:
    """semantics 4.14: data from anywhere."""
    graph = build(TURNS)
    data = json.loads(json.dumps(graph_to_dict(graph)))
    data["branches"][0] |= change
    with pytest.raises(DecodeError) as caught:
        graph_from_dict(data, stages_of(graph), routers={"a": TURNS})
    assert caught.value.path == path
    data["edges"][0]["tap"] = "yes"
    with pytest.raises(DecodeError, match="true or false"):
        graph_from_dict(data, stages_of(graph), routers={"a": TURNS})


def test_a_branch_without_its_edge_is_found_in_data() -> None:
    """semantics 4.14: a route and an essential branch name what there is an edge to."""
    graph = build(TURNS)
    data = json.loads(json.dumps(graph_to_dict(graph)))
    del data["edges"][1]
    data["edges"].append({"source": "b", "target": "c"})
    with pytest.raises(StagePlacementError) as caught:
        graph_from_dict(data, stages_of(graph), routers={"a": TURNS})
    assert kinds(caught.value) == [("missing-branch", "a")]

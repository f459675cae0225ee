"""`build()` finds everything that is wrong with a graph at once, with the stage, the place and a way out."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from streamflow import (
    AudioElement,
    BaseStage,
    CollectStage,
    ControlElement,
    ImageElement,
    MapStage,
    PassthroughStage,
    ReceiveEnd,
    SendEnd,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
)
from streamflow.errors import (
    BuildError,
    CycleError,
    DuplicateStageError,
    StagePlacementError,
    TypeMismatchError,
    UnknownStageError,
)
from streamflow.graph import EdgeSpec, Endpoint, ForkSpec, Graph, GraphBuilder, JoinSpec, Node, check, findings
from streamflow.stages import Accepts, as_stage


def named(name: str) -> PassthroughStage:
    return PassthroughStage(name)


def sink(name: str) -> CollectStage:
    return CollectStage([], name=name)


async def generating() -> AsyncIterator[TextElement]:
    yield TextElement("x")


def accumulator(name: str, *accepts: type) -> BaseStage:
    class Accumulator(BaseStage):
        kind = StageKind.ACCUMULATE

        async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
            raise AssertionError

    made = Accumulator(name)
    made.accepts = accepts
    return made


def typed(name: str, accepts: type | tuple[type, ...], emits: type | tuple[type, ...] | None = None) -> MapStage:
    return MapStage(lambda element: element, name=name, accepts=accepts, emits=emits)


def line() -> int:
    return sys._getframe(1).f_lineno


def refused(builder: GraphBuilder) -> BuildError:
    """Return what `build()` raises."""
    with pytest.raises(BuildError) as caught:
        builder.build_graph()
    return caught.value


def kinds(error: BuildError) -> list[tuple[str, str | None]]:
    return [(one.kind, one.stage) for one in error.findings]


ONE_FINDING = [
    pytest.param(GraphBuilder, BuildError, ("empty", None), "the graph has no stage; add stages", id="empty graph"),
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), named("a")),
        DuplicateStageError,
        ("duplicate-name", "a"),
        "two stages are named 'a', the other was added at",
        id="duplicate name",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), sink("s"), named("b")),
        StagePlacementError,
        ("sink-in-the-middle", "s"),
        "stage 's' is a sink and has a stage behind it",
        id="sink in the middle",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), generating),
        StagePlacementError,
        ("generator-behind-a-stage", "generating"),
        "stage 'generating' generates and takes no input, but has a stage before it",
        id="generator behind a stage",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), named("b")).add(named("c")),
        StagePlacementError,
        ("unconnected-stage", "c"),
        "stage 'c' is connected to no other stage",
        id="stage without a connection",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), named("b")).chain("a", named("c")),
        StagePlacementError,
        ("fan-out", "a"),
        "'a' feeds 'b' and 'c', without saying that these are branches",
        id="fan-out",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), named("b")).branch("a"),
        StagePlacementError,
        ("fan-out", "a"),
        "branch('a', …) has one branch, it takes two",
        id="one branch",
    ),
    pytest.param(
        lambda: GraphBuilder().branch(named("a")),
        StagePlacementError,
        ("fan-out", "a"),
        "branch('a', …) has no branches, it takes two",
        id="no branch",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), named("c")).chain(named("b"), "c"),
        StagePlacementError,
        ("fan-in", "c"),
        "'c' is fed by 'a' and 'b', without saying that these are merged",
        id="fan-in",
    ),
    pytest.param(
        lambda: GraphBuilder().merge(named("a"), named("b")),
        StagePlacementError,
        ("fan-in", "a"),
        "merge('a', …) has one source, it takes two",
        id="merge of one",
    ),
    pytest.param(
        lambda: GraphBuilder().merge(named("a")),
        StagePlacementError,
        ("fan-in", "a"),
        "merge('a', …) has no sources, it takes two",
        id="merge of nothing",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), named("b")).connect("a", "b"),
        StagePlacementError,
        ("duplicate-edge", "a"),
        "'a' and 'b' are connected twice, the other edge was made at",
        id="duplicate edge",
    ),
    pytest.param(
        lambda: GraphBuilder().branch(named("a"), named("b"), otherwise=named("c")).branch("a", otherwise=named("d")),
        StagePlacementError,
        ("two-otherwise", "a"),
        "what no branch of 'a' accepts cannot go to both 'c' and 'd'",
        id="two otherwise",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), "b"),
        UnknownStageError,
        ("unknown-stage", "b"),
        "there is no stage 'b'",
        id="unknown name",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), named("b"), "a:left"),
        UnknownStageError,
        ("unknown-port", "a"),
        "stage 'a' has no input 'left'",
        id="unknown port",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), "a"),
        CycleError,
        ("cycle", "a"),
        "the stages a → a form a cycle",
        id="cycle of one",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), named("b"), named("c"), "a"),
        CycleError,
        ("cycle", "a"),
        "the stages a → b → c → a form a cycle",
        id="cycle",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), named("b")).chain(named("c"), named("d"), "c"),
        CycleError,
        ("cycle", "c"),
        "the stages c → d → c form a cycle",
        id="cycle beside a chain",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(accumulator("held", TextElement)),
        BuildError,
        ("accumulator-without-turn-end", "held"),
        "stage 'held' accumulates but does not accept TurnEnd",
        id="accumulator without TurnEnd",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(typed("hear", AudioElement, TextElement), typed("see", AudioElement)),
        TypeMismatchError,
        ("type-mismatch", "see"),
        "stage 'see' accepts AudioElement, but nothing like that arrives behind 'hear', only",
        id="type mismatch",
    ),
]


@pytest.mark.parametrize(("make", "error_type", "kind", "said"), ONE_FINDING)
def test_what_is_wrong_is_an_error_of_its_own_class(
    make: Callable[[], GraphBuilder], error_type: type[BuildError], kind: tuple[str, str | None], said: str
) -> None:
    """semantics 4.2: the finding has its kind, its stage, the line that added the stage, and a way out."""
    error = refused(make())

    assert type(error) is error_type
    assert kinds(error) == [kind]
    assert said in str(error)
    (finding,) = error.findings
    assert finding.hint
    if finding.stage is None:
        assert finding.where is None
    else:
        assert finding.where is not None
        assert finding.where.startswith(f"{__file__}:")
        assert finding.where in str(error)


def test_all_findings_come_in_one_report_each_with_its_line() -> None:
    """semantics 4.2: not one error per attempt; in the order of the stages, then unknown names; the class is the common one."""
    start = line()
    builder = GraphBuilder()
    builder.chain(sink("s"), accumulator("held", TextElement), generating)
    builder.chain("held", named("b"), "heldd")
    builder.add(accumulator("kept", TextElement))
    builder.chain("generating", "b").merge("b", "b:left")

    error = refused(builder)

    assert type(error) is BuildError
    assert [(kind, name, one.where) for (kind, name), one in zip(kinds(error), error.findings, strict=True)] == [
        ("sink-in-the-middle", "s", f"{__file__}:{start + 2}"),
        ("accumulator-without-turn-end", "held", f"{__file__}:{start + 2}"),
        ("fan-out", "held", f"{__file__}:{start + 3}"),
        ("generator-behind-a-stage", "generating", f"{__file__}:{start + 2}"),
        ("unknown-port", "b", f"{__file__}:{start + 5}"),
        ("accumulator-without-turn-end", "kept", f"{__file__}:{start + 4}"),
        ("unconnected-stage", "kept", f"{__file__}:{start + 4}"),
        ("unknown-stage", "heldd", f"{__file__}:{start + 3}"),
    ]
    text = str(error)
    assert text.startswith("8 findings:\n  1. stage 's' is a sink")
    assert text.count("\n") == 8


def test_several_findings_of_one_class_keep_that_class() -> None:
    """semantics 4.2: `except StagePlacementError` works also where two stages stand wrong."""
    error = refused(GraphBuilder().chain(sink("s"), named("a"), generating))

    assert type(error) is StagePlacementError
    assert kinds(error) == [("sink-in-the-middle", "s"), ("generator-behind-a-stage", "generating")]


def test_a_stage_that_stands_wrong_is_told_once() -> None:
    """semantics 4.2: not once for each of its edges."""
    builder = GraphBuilder().branch(sink("s"), named("a"), named("b")).merge(generating, named("c"), named("d"))

    assert kinds(refused(builder)) == [("sink-in-the-middle", "s"), ("generator-behind-a-stage", "generating")]


# Names


def test_every_repetition_of_a_name_is_found() -> None:
    """semantics 4.2: with the place of the first one; what else is known is told with it."""
    start = line()
    builder = GraphBuilder().chain(named("a"), named("b"))
    builder.add(named("a"))
    builder.add(named("b"), accumulator("a", TextElement))

    error = refused(builder)

    assert kinds(error) == [
        ("accumulator-without-turn-end", "a"),
        ("duplicate-name", "a"),
        ("duplicate-name", "a"),
        ("duplicate-name", "b"),
    ]
    assert error.findings[1].where == f"{__file__}:{start + 2}"
    assert f"the other was added at {__file__}:{start + 1}" in error.findings[2].message


def test_one_stage_object_twice_is_a_repeated_name() -> None:
    """semantics 4.2: an object may be in two graphs, not twice in one."""
    given = named("a")

    assert kinds(refused(GraphBuilder().chain(given, given))) == [("duplicate-name", "a")]


def test_what_hangs_on_a_repeated_name_is_left_alone() -> None:
    """semantics 4.2: nobody knows which of the two is meant, so no fork, cycle, port or type is found wrong because of it."""
    builder = GraphBuilder()
    builder.chain(typed("x", TextElement, TextElement), typed("a", AudioElement), typed("y", ImageElement), "x")
    builder.add(named("a")).chain("a", named("b")).chain("a:left", "b").branch("a").merge("a")
    builder.branch("a", otherwise="b").branch("a", otherwise="y").chain("a:right")
    # Beside it, all is found.
    builder.chain(typed("p", StreamElement, TextElement), typed("q", AudioElement))

    assert kinds(refused(builder)) == [("duplicate-name", "a"), ("fan-in", "b"), ("type-mismatch", "q")]


def test_all_unknown_names_are_found_each_where_it_stands() -> None:
    """semantics 4.2: in one report, whichever call has them; where one looks like a known name, that is the way out."""
    start = line()
    builder = GraphBuilder().chain(named("listen"), named("think"), "spek")
    builder.branch("Think", "listn", otherwise="nowhere").chain("alone").chain("think:port")
    builder.merge("spek", "think").add(named("speak"))

    error = refused(builder)

    found = [(one.kind, one.stage, one.where, one.hint) for one in error.findings]
    known = "a string names a stage that was added ('listen', 'think', 'speak'); give the stage itself to add it"
    assert found == [
        ("unknown-port", "think", f"{__file__}:{start + 2}", "write 'think'"),
        ("unconnected-stage", "speak", f"{__file__}:{start + 3}", error.findings[1].hint),
        ("unknown-stage", "spek", f"{__file__}:{start + 1}", "did you mean 'speak'?"),
        ("unknown-stage", "Think", f"{__file__}:{start + 2}", "did you mean 'think'?"),
        ("unknown-stage", "listn", f"{__file__}:{start + 2}", "did you mean 'listen'?"),
        ("unknown-stage", "nowhere", f"{__file__}:{start + 2}", known),
        ("unknown-stage", "spek", f"{__file__}:{start + 3}", "did you mean 'speak'?"),
        ("unknown-stage", "alone", f"{__file__}:{start + 2}", known),
    ]


def test_the_beginning_of_a_name_is_no_name() -> None:
    """semantics 4.1: only what stands before a slash is one."""
    error = refused(GraphBuilder().chain(named("think"), named("x"), "thin"))

    assert [(one.kind, one.hint) for one in error.findings] == [("unknown-stage", "did you mean 'think'?")]


def test_a_fork_or_join_of_too_few_says_what_to_do() -> None:
    """semantics 4.2: name another one, or, where there is one, leave the call out."""
    hints = [
        refused(builder).findings[0].hint
        for builder in (
            GraphBuilder().branch(named("a")),
            GraphBuilder().branch(named("a"), named("b")),
            GraphBuilder().merge(named("a")),
            GraphBuilder().merge(named("b"), named("a")),
        )
    ]

    assert hints == [
        "name what else it feeds",
        "name what else it feeds, or chain('a', 'b') without branch()",
        "name what else feeds it",
        "name what else feeds it, or chain('a', 'b') without merge()",
    ]


def test_an_unknown_name_in_an_empty_graph_is_told_with_it() -> None:
    """semantics 4.2: both are true."""
    error = refused(GraphBuilder().chain("a", "b"))

    assert kinds(error) == [("empty", None), ("unknown-stage", "a"), ("unknown-stage", "b")]
    assert error.findings[1].hint == "a string names a stage that was added (none yet); give the stage itself to add it"


def test_of_many_known_names_some_are_told() -> None:
    """semantics 4.2: a report is to be read."""
    error = refused(GraphBuilder().chain(*(named(f"stage-{number}") for number in range(30))).chain("x"))

    assert error.findings[0].hint.count("stage-") == 10
    assert "'stage-9', …)" in error.findings[0].hint


# Edges


def test_each_fork_and_join_that_is_not_declared_shows_the_call() -> None:
    """semantics 4.4, 4.5: fan-out and fan-in are explicit; the finding has the line that made it one."""
    start = line()
    builder = GraphBuilder().chain(named("a"), named("b"), named("d"))
    builder.chain("a", named("c"))
    builder.chain("c", "d")

    error = refused(builder)

    assert [(one.kind, one.stage, one.where, one.hint) for one in error.findings] == [
        ("fan-out", "a", f"{__file__}:{start + 2}", "add branch('a', 'b', 'c'): each gets what its stage accepts"),
        (
            "fan-in",
            "d",
            f"{__file__}:{start + 3}",
            "add merge('d', 'b', 'c'): it gets elements in the order of arrival",
        ),
    ]
    builder.branch("a", "b", "c").merge("d", "b", "c").build_graph()


def test_a_second_edge_between_two_stages_is_one_finding() -> None:
    """semantics 4.2: it is no fork and no join; `branch` and `merge` may name an edge that is there, in any order."""
    start = line()
    builder = GraphBuilder().branch(named("a"), named("b"), named("c")).merge(named("d"), "b", "c")
    builder.chain("a", "b", "d").connect("c", "d", buffer=2).branch("a", "b", "b").merge("d", "b")
    builder.build_graph()
    builder.chain("a", "b")

    error = refused(builder)

    assert kinds(error) == [("duplicate-edge", "a")]
    assert error.findings[0].where == f"{__file__}:{start + 4}"
    assert f"the other edge was made at {__file__}:{start + 2}" in str(error)


def test_two_cycles_are_two_findings() -> None:
    """semantics 4.2: each with its path; there is no head to begin with."""
    error = refused(GraphBuilder().chain(named("a"), named("b"), "a").chain(named("c"), named("d"), "c"))

    assert kinds(error) == [("cycle", "a"), ("cycle", "c")]


def test_cycles_that_share_stages_are_told_one_by_one() -> None:
    """semantics 4.2: with the whole path of each, at the line that closes it; and nothing that would go with it."""
    start = line()
    builder = GraphBuilder().chain(named("a"), named("b"), named("c"), named("d"))
    builder.chain("c", "b")
    builder.chain("d", "a")

    error = refused(builder)

    assert [(one.kind, one.message, one.where) for one in error.findings] == [
        ("cycle", "the stages a → b → c → d → a form a cycle", f"{__file__}:{start + 3}"),
        ("cycle", "the stages b → c → b form a cycle", f"{__file__}:{start + 2}"),
    ]
    assert "such as the last one, c → b" in error.findings[1].hint


@pytest.mark.slow
def test_many_cycles_and_long_ones_take_no_long_time() -> None:
    """semantics 4.2: at most one finding for an edge, though the cycles are more than atoms in the universe; no deep recursion."""
    names = [f"s{number}" for number in range(40)]
    builder = GraphBuilder().add(*map(named, names))
    for name in names:
        builder.branch(name, *names).merge(name, *names)
    found = [one for one in refused(builder).findings if one.kind == "cycle"]

    assert len(found) == 40 * 41 / 2
    long = GraphBuilder().chain(*(named(f"s{number}") for number in range(2000)), "s0")
    assert kinds(refused(long)) == [("cycle", "s0")]


def test_a_cycle_over_two_ports_of_a_stage_is_one_cycle() -> None:
    """semantics 4.2: what goes back to a stage goes back, whatever the port."""

    class Joined(BaseStage):
        inputs: Mapping[str, Accepts] = {"left": StreamElement, "right": StreamElement}

        async def process(self, inputs: object, output: SendEnd[StreamElement]) -> None:
            raise AssertionError

    builder = GraphBuilder().branch(Joined("a"), named("b"), named("c"))
    builder.connect("b", "a:left").connect("b", "a:right")

    assert kinds(refused(builder)) == [("cycle", "a")]


LAWFUL = [
    pytest.param(lambda: [named("a")], id="one stage"),
    pytest.param(lambda: [sink("a")], id="a sink alone"),
    pytest.param(lambda: [generating], id="a generator alone"),
    pytest.param(lambda: [generating, named("a"), sink("b")], id="generator to sink"),
    pytest.param(lambda: [accumulator("a", TextElement, TurnEnd)], id="accumulator with TurnEnd"),
    pytest.param(lambda: [accumulator("a", TextElement, ControlElement)], id="accumulator of all control"),
]

LAWFUL_GRAPHS = [
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), named("b")).chain(named("c"), named("d")),
        ["a", "c"],
        ["b", "d"],
        id="two chains",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), named("b")).add(generating),
        ["a"],
        ["b", "generating"],
        id="a generator",
    ),
    pytest.param(
        lambda: GraphBuilder().branch(named("a"), named("b"), sink("c")).merge(named("d"), "b", generating),
        ["a"],
        ["d"],
        id="diamond",
    ),
    pytest.param(
        lambda: GraphBuilder().merge(named("c"), named("a"), named("b")), ["a", "b"], ["c"], id="several roots"
    ),
    pytest.param(
        lambda: GraphBuilder().branch(named("a"), typed("b", TextElement), otherwise=named("c")),
        ["a"],
        ["b", "c"],
        id="several leaves",
    ),
    pytest.param(
        lambda: GraphBuilder().chain(named("a"), typed("b", TextElement)).branch("a", otherwise=named("c")),
        ["a"],
        ["b", "c"],
        id="a chain that gets a branch for the rest",
    ),
]


@pytest.mark.parametrize("make", LAWFUL)
def test_a_lawful_chain_has_no_findings(make: Callable[[], list[object]]) -> None:
    """semantics 4.2: nothing is refused that can run."""
    graph = GraphBuilder().chain(*make()).build_graph()

    assert findings(graph) == []
    check(graph)


@pytest.mark.parametrize(("make", "heads", "leaves"), LAWFUL_GRAPHS)
def test_a_lawful_graph_has_its_heads_and_leaves(
    make: Callable[[], GraphBuilder], heads: list[str], leaves: list[str]
) -> None:
    """semantics 4.3: what has no edge into it is fed by the source, what has none out of it feeds the consumer."""
    graph = make().build_graph()

    assert [str(one) for one in graph.heads] == heads
    assert [str(one) for one in graph.leaves] == leaves


def test_a_graph_can_be_checked_without_a_builder() -> None:
    """`findings`: pure data in, findings out."""
    assert [one.kind for one in findings(Graph(()))] == ["empty"]
    with pytest.raises(BuildError, match="the graph has no stage"):
        check(Graph(()))
    a, b = (Node(name, as_stage(named(name)), f"app.py:{number}") for number, name in enumerate("ab"))
    edges = (EdgeSpec(Endpoint("a"), Endpoint("b"), "app.py:2"), EdgeSpec(Endpoint("a"), Endpoint("c"), "app.py:3"))
    graph = Graph((a, b), edges, (ForkSpec(Endpoint("a", "x"), "app.py:4"),), (JoinSpec(Endpoint("d"), "app.py:5"),))

    rests = [
        ForkSpec(Endpoint("a"), f"app.py:{line}", None if rest is None else Endpoint(rest))
        for line, rest in enumerate([None, "b", "b", "c"])
    ]
    pure = Graph((a, b), edges, tuple(rests))
    lost = pure.replace(edges=edges[:1], forks=(ForkSpec(Endpoint("a"), "app.py:9", Endpoint("c")),))
    assert [(one.kind, one.where) for one in findings(lost)] == [("fan-out", "app.py:9"), ("unknown-stage", "app.py:9")]
    assert [(one.kind, one.where) for one in findings(pure)] == [
        ("two-otherwise", "app.py:3"),
        ("unknown-stage", "app.py:3"),
    ]

    assert [(one.kind, one.stage, one.where) for one in findings(graph)] == [
        ("unknown-port", "a", "app.py:4"),
        ("fan-out", "a", "app.py:3"),
        ("unknown-stage", "c", "app.py:3"),
        ("unknown-stage", "d", "app.py:5"),
    ]

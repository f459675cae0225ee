"""Supervision in a graph: what is said of which stage, what is lawful there, and how it is told, drawn and written down."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator

import pytest

from streamflow import (
    AudioElement,
    CollectStage,
    ConfigError,
    DeadLetterElement,
    MapAsyncStage,
    MapStage,
    Pipeline,
    PipelineBuilder,
    SinkStage,
    Supervision,
    TextElement,
    stage,
)
from streamflow.errors import (
    BuildError,
    CycleError,
    DecodeError,
    StageDefinitionError,
    StagePlacementError,
    TypeMismatchError,
    UnknownStageError,
)
from streamflow.graph import GraphBuilder, Node

RESTART = Supervision("restart")


def work(element: TextElement) -> TextElement:
    return element


async def call(element: TextElement) -> TextElement:
    return element


@stage
async def stream(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield element


def mapped(name: str) -> MapStage:
    return MapStage(work, name=name)


def letters(name: str = "letters") -> CollectStage:
    return CollectStage([], name=name)


def line() -> int:
    return sys._getframe(1).f_lineno


def refused(builder: GraphBuilder) -> BuildError:
    with pytest.raises(BuildError) as caught:
        builder.build_graph()
    return caught.value


def said_of(builder: GraphBuilder) -> dict[str, Supervision | None]:
    def of(node: Node) -> Supervision | None:
        return None if node.supervision is None else node.supervision.supervision

    return {node.name: of(node) for node in builder.build_graph().nodes}


# Whom it is said of


def test_a_stage_is_named_before_or_after_it_is_added_or_given_itself() -> None:
    """4.4: as with all other calls of the builder."""
    one = mapped("one")
    expected = {"one": RESTART, "two": None}

    assert said_of(GraphBuilder().chain(one, mapped("two")).supervise("one", RESTART)) == expected
    assert said_of(GraphBuilder().supervise("one", RESTART).chain(one, mapped("two"))) == expected
    assert said_of(GraphBuilder().chain(one, mapped("two")).supervise(one, RESTART)) == expected
    assert said_of(GraphBuilder().supervise(one, RESTART).connect("one", mapped("two"))) == expected


def test_a_pipeline_or_a_prefix_stands_for_its_stages_of_which_nothing_else_is_said() -> None:
    """4.12: the nearer word goes before the farther one, also where it was said inside."""
    inner = PipelineBuilder().chain(mapped("a"), mapped("b")).supervise("a", Supervision("resume")).build()
    builder = PipelineBuilder().chain(mapped("x"), inner.as_stage("in"))
    assert said_of(builder) == {"x": None, "in/a": Supervision("resume"), "in/b": None}

    builder.supervise("in", RESTART)
    assert said_of(builder) == {"x": None, "in/a": RESTART, "in/b": RESTART}

    builder.supervise("in/b", Supervision("retry"))
    assert said_of(builder)["in/b"] == Supervision("retry")

    view = PipelineBuilder()
    view.prefixed("left").chain(mapped("a"), mapped("b")).supervise("a", RESTART)
    assert said_of(view) == {"left/a": RESTART, "left/b": None}


def test_a_nested_pipeline_brings_its_dead_letters_along() -> None:
    """4.12: their edge is one like any other."""
    inner = PipelineBuilder().chain(mapped("a"), mapped("b"))
    inner.supervise("a", Supervision("dead_letter"), dead_letters=letters())
    outer = PipelineBuilder().chain(inner.build().as_stage("in"), mapped("z")).build()

    edges = [(one["source"], one["target"]) for one in outer.to_dict()["graph"]["edges"]]
    assert edges == [("in/a", "in/b"), ("in/a:dead_letters", "in/letters"), ("in/b", "z")]


def test_several_stages_may_have_the_same_letter_box() -> None:
    """`supervise(dead_letters=)`: that they meet there is what was said."""
    box = letters()
    builder = GraphBuilder().chain(mapped("a"), mapped("b"))
    for name in "ab":
        builder.supervise(name, Supervision("dead_letter"), dead_letters=box)
    assert [str(join.target) for join in builder.build_graph().joins] == ["letters"]

    builder.connect("b", "letters")
    assert [one.kind for one in refused(builder).findings] == ["fan-in"], "data beside the letters is said with merge()"


def test_a_call_that_raises_changes_nothing() -> None:
    """4.3: nothing was said, and no letter box is left behind."""
    builder = GraphBuilder().chain(mapped("a"))
    with pytest.raises(ConfigError, match="write Supervision"):
        builder.supervise("a", "restart")
    with pytest.raises(StageDefinitionError, match="'a:out' is a port"):
        builder.supervise("a:out", RESTART, dead_letters=letters())
    with pytest.raises(StageDefinitionError):
        builder.supervise("a", RESTART, dead_letters=3)
    assert said_of(builder) == {"a": None}

    clone = builder.clone().supervise("a", RESTART)
    assert said_of(builder) == {"a": None}
    assert said_of(clone) == {"a": RESTART}


# What is lawful


@pytest.mark.parametrize(
    ("make", "kind", "told"),
    [
        (lambda: GraphBuilder().chain(stream).supervise("stream", Supervision("resume")), "unlawful-directive", "'restart'"),
        (lambda: GraphBuilder().chain(stream).supervise("stream", Supervision("retry")), "unlawful-directive", "'dead_letter'"),
        (
            lambda: GraphBuilder().chain(MapAsyncStage(call, concurrency=2)).supervise("call", RESTART),
            "unlawful-directive",
            "'stop', 'resume', 'retry' and 'dead_letter'",
        ),
        (
            lambda: (
                GraphBuilder()
                .chain(stream, MapAsyncStage(call, concurrency=2))
                .supervise("stream", Supervision("restart", rest_for_one=True))
            ),
            "unlawful-directive",
            "concurrency=1",
        ),
        (lambda: GraphBuilder().chain(stream).supervise("stream", Supervision("dead_letter")), "no-dead-letters", "dead_letters="),
        (
            lambda: GraphBuilder().chain(stream).supervise("stream", RESTART, dead_letters=letters()),
            "no-dead-letters",
            "leave dead_letters= out",
        ),
        (
            lambda: GraphBuilder().chain(stream).supervise("stream", RESTART).supervise("stream", RESTART),
            "supervised-twice",
            "leave one of the calls out",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_with_what_can(make, kind: str, told: str) -> None:
    """4.1 and 5.7: a finding with the line of the call and a way out."""
    here = line()
    (finding,) = refused(make()).findings

    assert finding.kind == kind
    assert told in finding.hint
    file, _, number = (finding.where or "").rpartition(":")
    assert file == __file__
    assert int(number) < here


def test_names_that_are_none_and_letters_that_cannot_go_are_findings() -> None:
    """4.1: like any other name, edge and type."""
    error = refused(GraphBuilder().chain(stream).supervise("straem", RESTART))
    assert isinstance(error, UnknownStageError)
    assert "did you mean 'stream'?" in error.findings[0].hint

    builder = GraphBuilder().chain(mapped("a"), mapped("b"))
    error = refused(builder.clone().supervise("b", Supervision("dead_letter"), dead_letters="a"))
    assert "cycle" in [one.kind for one in error.findings]
    assert isinstance(error, CycleError | BuildError)
    error = refused(builder.clone().supervise("b", Supervision("dead_letter"), dead_letters=mapped("c")))
    assert isinstance(error, TypeMismatchError)
    error = refused(builder.clone().chain(letters("s"), mapped("x")).connect("b", "s"))
    assert isinstance(error, StagePlacementError)

    sink = GraphBuilder().chain(SinkStage(print, name="s"), mapped("x"))
    sink.supervise("s", Supervision("dead_letter"), dead_letters=letters())
    assert "sink-in-the-middle" in [one.kind for one in refused(sink).findings]


def test_an_output_of_the_stages_own_cannot_have_the_name_of_the_letters() -> None:
    """4.1: nobody could say which is meant."""

    @stage(outputs={"dead_letters": TextElement, "other": TextElement})
    async def split(input, outputs) -> None:
        raise AssertionError

    builder = GraphBuilder().chain(split).supervise("split", Supervision("dead_letter"), dead_letters=letters())
    assert "unlawful-directive" in [one.kind for one in refused(builder).findings]


def test_a_stage_with_one_named_output_can_have_letters() -> None:
    """4.13: the output is still the only one of its own."""

    @stage(outputs={"out": TextElement})
    async def split(input, outputs) -> None:
        raise AssertionError

    builder = GraphBuilder().chain(split, mapped("b"))
    graph = builder.supervise("split", Supervision("dead_letter"), dead_letters=letters()).build_graph()
    assert [str(edge) for edge in graph.edges] == ["split:out → b", "split:dead_letters → letters"]


def test_what_passes_a_stage_by_does_not_go_to_its_letters() -> None:
    """4.1: types are followed, and nothing but letters arrives in the box."""
    builder = (
        GraphBuilder()
        .chain(mapped("a"))
        .supervise("a", Supervision("dead_letter"), dead_letters=MapStage(work, name="c", accepts=AudioElement))
    )
    (finding,) = refused(builder).findings
    assert "only DeadLetterElement by a:dead_letters → c" in finding.message


# Told, drawn, written down


def everything() -> PipelineBuilder:
    """Return a graph with all that there is to say."""
    builder = PipelineBuilder().branch(mapped("fork"), mapped("main"), optional=[letters("log")])
    how = Supervision("restart", in_hand="redeliver", then="dead_letter", rest_for_one=True, between="drop")
    builder.merge(mapped("join"), "main", mapped("beside"), isolate=True)
    return builder.supervise("main", how, dead_letters=letters()).supervise("join", Supervision("retry"))


def test_an_explanation_says_what_happens_after_a_failure() -> None:
    """4.14: in the words of the calls."""
    told = everything().build().explain().splitlines()
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in told if line.startswith("    fails")}

    assert "source → fork → main" not in "\n".join(told)
    joined = " ".join(" ".join(told).split())
    assert lines
    assert (
        "fails restart; element in hand: redeliver; up to 5 within 60 s; with all stages behind it, drop what is between; "
        "up to 3 attempts, then dead letter" in joined
    )
    assert "fails retry; up to 3 attempts, then stop" in joined
    assert "letters letters, for elements that it failed on" in joined
    assert "branch log, for any data, may fail alone" in joined
    assert "merge main (16), may fail alone" in joined
    on = GraphBuilder().chain(mapped("a")).supervise("a", Supervision("resume", on=OSError, decide=lambda _: None))
    assert "fails resume, unless decided otherwise; for OSError" in " ".join(pipeline_of(on).explain().split())


def pipeline_of(builder: GraphBuilder) -> Pipeline:
    from streamflow import PipelineConfig

    return Pipeline(builder.build_graph(), PipelineConfig(), ())


def test_a_picture_marks_what_is_supervised_and_what_may_fail() -> None:
    """4.14: a mark on the stage, a dashed line for the letters, a word on the edge."""
    pipeline = everything().build()
    drawn = pipeline.to_mermaid()

    assert 'n1["main<br/>on failure restart"]' in drawn
    assert '-.->|"dead_letters #8594;"|' in drawn
    assert drawn.count("may fail alone") == 3
    assert 'label="main\\non failure restart"' in pipeline.to_dot()
    assert pipeline.to_dot().count("style=dashed") == 1


def test_it_comes_back_from_json_as_it_was() -> None:
    """4.14: `to_dict()` and `from_dict()` keep everything but code."""
    pipeline = everything().build()
    data = json.loads(json.dumps(pipeline.to_dict()))
    names = ("fork", "main", "join", "beside")
    again = Pipeline.from_dict(data, {**{one: mapped(one) for one in names}, "log": letters(), "letters": letters()})

    assert again.to_dict() == pipeline.to_dict()
    assert again.explain() == pipeline.explain()
    assert data["graph"]["supervised"] == [
        {
            "stage": "main",
            "directive": "restart",
            "in_hand": "redeliver",
            "then": "dead_letter",
            "rest_for_one": True,
            "between": "drop",
            "dead_letters": True,
        },
        {"stage": "join", "directive": "retry"},
    ]
    assert data["graph"]["isolating"] == ["join"]
    assert data["graph"]["branches"] == [{"source": "fork", "optional": ["log"]}]


def test_what_is_code_has_to_be_given_again() -> None:
    """4.14: nothing is imported or evaluated."""
    how = Supervision("resume", on=OSError)
    data = PipelineBuilder().chain(mapped("a")).supervise("a", how).build().to_dict()
    assert data["graph"]["supervised"] == [{"stage": "a", "directive": "resume", "code": True}]

    with pytest.raises(UnknownStageError, match="add it to supervisions="):
        Pipeline.from_dict(data, {"a": mapped("a")})
    with pytest.raises(UnknownStageError, match="says nothing of failures of 'b'"):
        Pipeline.from_dict(data, {"a": mapped("a")}, supervisions={"a": how, "b": how})
    assert Pipeline.from_dict(data, {"a": mapped("a")}, supervisions={"a": how}).to_dict() == data


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ({"stage": "x"}, "$.graph.supervised[0].stage"),
        ({"stage": 3}, "$.graph.supervised[0].stage"),
        ({}, "$.graph.supervised[0]"),
        ({"stage": "a", "decide": "os.system"}, "$.graph.supervised[0]"),
        ({"stage": "a", "directive": "explode"}, "$.graph.supervised[0].directive"),
        ({"stage": "a", "directive": {}}, "$.graph.supervised[0].directive"),
        ({"stage": "a", "attempts": 0}, "$.graph.supervised[0].attempts"),
        ({"stage": "a", "code": 1}, "$.graph.supervised[0].code"),
        ({"stage": "a", "dead_letters": "yes"}, "$.graph.supervised[0].dead_letters"),
    ],
)
def test_malformed_data_is_refused_with_its_place(item: object, path: str) -> None:
    """4.14: a `DecodeError` with the path of the fault."""
    data = PipelineBuilder().chain(mapped("a")).build().to_dict()
    data["graph"]["supervised"] = [item]
    with pytest.raises(DecodeError) as caught:
        Pipeline.from_dict(data, {"a": mapped("a")})
    assert caught.value.path == path


def test_a_stage_is_written_down_once() -> None:
    """4.14: twice is malformed, and so is a merge that isolates and is none."""
    data = PipelineBuilder().chain(mapped("a")).build().to_dict()
    data["graph"]["supervised"] = [{"stage": "a"}, {"stage": "a"}]
    with pytest.raises(DecodeError, match="supervised twice"):
        Pipeline.from_dict(data, {"a": mapped("a")})
    data["graph"].pop("supervised")
    data["graph"]["isolating"] = ["a"]
    with pytest.raises(DecodeError):
        Pipeline.from_dict(data, {"a": mapped("a")})


def test_dead_letters_are_elements_like_others() -> None:
    """`DeadLetterElement`: a stage that accepts them gets them."""

    def sort(letter: DeadLetterElement) -> TextElement:
        return TextElement(letter.stage)

    builder = PipelineBuilder().chain(mapped("a")).supervise("a", Supervision("dead_letter"), dead_letters=sort)
    assert [str(one) for one in builder.build_graph().leaves] == ["a", "sort"]

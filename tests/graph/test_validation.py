"""`build()` finds everything that is wrong with a graph at once, with the stage, the place and a way out."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable

import pytest

from streamflow import (
    AudioElement,
    BaseStage,
    CollectStage,
    ControlElement,
    FilterStage,
    ImageElement,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    ReceiveEnd,
    SendEnd,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.errors import BuildError, CycleError, DuplicateStageError, StagePlacementError, TypeMismatchError
from streamflow.graph import Graph, check, findings


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


def refused(builder: PipelineBuilder) -> BuildError:
    """Return what `build()` raises."""
    with pytest.raises(BuildError) as caught:
        builder.build()
    return caught.value


def kinds(error: BuildError) -> list[tuple[str, str | None]]:
    return [(one.kind, one.stage) for one in error.findings]


ONE_FINDING = [
    pytest.param(PipelineBuilder, BuildError, ("empty", None), "the graph has no stage; add stages", id="empty graph"),
    pytest.param(
        lambda: PipelineBuilder().chain(named("a"), named("a")),
        DuplicateStageError,
        ("duplicate-name", "a"),
        "two stages are named 'a', the other was added at",
        id="duplicate name",
    ),
    pytest.param(
        lambda: PipelineBuilder().chain(named("a"), sink("s"), named("b")),
        StagePlacementError,
        ("sink-in-the-middle", "s"),
        "stage 's' is a sink and has a stage behind it",
        id="sink in the middle",
    ),
    pytest.param(
        lambda: PipelineBuilder().chain(named("a"), generating),
        StagePlacementError,
        ("generator-behind-a-stage", "generating"),
        "stage 'generating' generates and takes no input, but has a stage before it",
        id="generator behind a stage",
    ),
    pytest.param(
        lambda: PipelineBuilder().chain(named("a"), named("b")).chain(named("c"), named("d")),
        StagePlacementError,
        ("two-chains", "c"),
        "stage 'c' is not connected to 'a'",
        id="two chains",
    ),
    pytest.param(
        lambda: PipelineBuilder().chain(named("a"), named("b")).add(named("c")),
        StagePlacementError,
        ("two-chains", "c"),
        "chain('last', …)",
        id="stage without a connection",
    ),
    pytest.param(
        lambda: PipelineBuilder().chain(named("a"), named("b")).chain("a", named("c")),
        StagePlacementError,
        ("fan-out", "a"),
        "stage 'a' feeds more than one stage",
        id="fan-out",
    ),
    pytest.param(
        lambda: PipelineBuilder().chain(named("a"), named("b"), "b"),
        StagePlacementError,
        ("fan-in", "b"),
        "stage 'b' is fed by more than one stage",
        id="fan-in",
    ),
    pytest.param(
        lambda: PipelineBuilder().chain(named("a"), "a"),
        CycleError,
        ("cycle", "a"),
        "the stages a → a form a cycle",
        id="cycle of one",
    ),
    pytest.param(
        lambda: PipelineBuilder().chain(named("a"), named("b"), named("c"), "a"),
        CycleError,
        ("cycle", "a"),
        "the stages a → b → c → a form a cycle",
        id="cycle",
    ),
    pytest.param(
        lambda: PipelineBuilder().chain(named("a"), named("b")).chain(named("c"), named("d"), "c"),
        CycleError,
        ("cycle", "c"),
        "the stages c → d → c form a cycle",
        id="cycle beside a chain",
    ),
    pytest.param(
        lambda: PipelineBuilder().chain(accumulator("held", TextElement)),
        BuildError,
        ("accumulator-without-turn-end", "held"),
        "stage 'held' accumulates but does not accept TurnEnd",
        id="accumulator without TurnEnd",
    ),
    pytest.param(
        lambda: PipelineBuilder().chain(typed("hear", AudioElement, TextElement), typed("see", AudioElement)),
        TypeMismatchError,
        ("type-mismatch", "see"),
        "stage 'see' accepts AudioElement, but nothing like that arrives behind 'hear'",
        id="type mismatch",
    ),
]


@pytest.mark.parametrize(("make", "error_type", "kind", "said"), ONE_FINDING)
def test_what_is_wrong_is_an_error_of_its_own_class(
    make: Callable[[], PipelineBuilder], error_type: type[BuildError], kind: tuple[str, str | None], said: str
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
    """semantics 4.2: not one error per attempt; in the order of the stages; the class is the common one."""
    start = line()
    builder = PipelineBuilder()
    builder.chain(sink("s"), accumulator("held", TextElement), generating)
    builder.chain("held", named("b"))
    builder.add(accumulator("kept", TextElement))

    error = refused(builder)

    assert type(error) is BuildError
    assert [(kind, name, one.where) for (kind, name), one in zip(kinds(error), error.findings, strict=True)] == [
        ("sink-in-the-middle", "s", f"{__file__}:{start + 2}"),
        ("accumulator-without-turn-end", "held", f"{__file__}:{start + 2}"),
        ("fan-out", "held", f"{__file__}:{start + 2}"),
        ("generator-behind-a-stage", "generating", f"{__file__}:{start + 2}"),
        ("accumulator-without-turn-end", "kept", f"{__file__}:{start + 4}"),
        ("two-chains", "kept", f"{__file__}:{start + 4}"),
    ]
    text = str(error)
    assert text.startswith("6 findings:\n  1. stage 's' is a sink")
    assert text.count("\n") == 6


def test_several_findings_of_one_class_keep_that_class() -> None:
    """semantics 4.2: `except StagePlacementError` works also where two stages stand wrong."""
    error = refused(PipelineBuilder().chain(sink("s"), named("a"), generating))

    assert type(error) is StagePlacementError
    assert kinds(error) == [("sink-in-the-middle", "s"), ("generator-behind-a-stage", "generating")]


def test_every_repetition_of_a_name_is_found() -> None:
    """semantics 4.2: with the place of the first one; what else is known is told with it."""
    start = line()
    builder = PipelineBuilder().chain(named("a"), named("b"))
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

    assert kinds(refused(PipelineBuilder().chain(given, given))) == [("duplicate-name", "a")]


def test_two_edges_between_two_stages_are_found() -> None:
    """semantics 4.2: a repeated connection is a fork and a join at once."""
    error = refused(PipelineBuilder().chain(named("a"), named("b")).chain("a", "b"))

    assert kinds(error) == [("fan-out", "a"), ("fan-in", "b")]


def test_two_cycles_are_two_findings() -> None:
    """semantics 4.2: each with its path; there is no head to begin with."""
    error = refused(PipelineBuilder().chain(named("a"), named("b"), "a").chain(named("c"), named("d"), "c"))

    assert kinds(error) == [("cycle", "a"), ("cycle", "c")]


LAWFUL = [
    pytest.param(lambda: [named("a")], id="one stage"),
    pytest.param(lambda: [sink("a")], id="a sink alone"),
    pytest.param(lambda: [generating], id="a generator alone"),
    pytest.param(lambda: [generating, named("a"), sink("b")], id="generator to sink"),
    pytest.param(lambda: [accumulator("a", TextElement, TurnEnd)], id="accumulator with TurnEnd"),
    pytest.param(lambda: [accumulator("a", TextElement, ControlElement)], id="accumulator of all control"),
]


@pytest.mark.parametrize("make", LAWFUL)
def test_a_lawful_chain_has_no_findings(make: Callable[[], list[object]]) -> None:
    """semantics 4.2: nothing is refused that can run."""
    graph = PipelineBuilder().chain(*make()).build_graph()

    assert findings(graph) == []
    check(graph)


class LoudElement(TextElement, frozen=True):
    """A subclass of the user's."""


TEXT, SOUND, PICTURE = TextElement, AudioElement, ImageElement

TYPES = [
    # The stages, as (accepts, emits), and the one that gets nothing.
    ([(TEXT, TEXT), (TEXT, TEXT)], None),
    ([(TEXT, SOUND), (SOUND, TEXT), (TEXT, TEXT)], None),
    ([(TEXT, SOUND), (TEXT, TEXT)], 1),
    ([(TEXT, LoudElement), (TEXT, TEXT)], None),
    ([(TEXT, TEXT), (LoudElement, TEXT)], None),  # a TextElement that arrives may be a LoudElement
    ([(LoudElement, SOUND), (TEXT, TEXT)], None),  # other TextElements pass the first by
    ([(TEXT, SOUND), (LoudElement, TEXT)], 1),
    ([(TEXT, None), (PICTURE, TEXT)], None),  # unknown: anything
    ([(TEXT, SOUND), (PICTURE, TEXT), (PICTURE, TEXT)], 2),  # pictures passed the first by, and the second took them
    ([(TEXT, SOUND), ((TEXT, PICTURE), TEXT)], None),  # one of its types arrives
    ([((TEXT, PICTURE), SOUND), ((TEXT, PICTURE), TEXT)], 1),
    ([(StreamElement, SOUND), (TEXT, TEXT)], 1),
    ([(TEXT, (SOUND, TurnEnd)), (SOUND, TEXT)], None),
    ([(StreamElement, TurnEnd), (StreamElement, TEXT)], 1),  # nothing but control comes out of the first
    ([(StreamElement, TurnEnd), (TurnEnd, TEXT)], None),  # one that asks for control alone is not checked
]


@pytest.mark.parametrize(("chain", "wrong"), TYPES)
def test_types_are_followed_along_the_chain(chain: list[tuple[object, object]], wrong: int | None) -> None:
    """semantics 4.2: a mismatch is where none of the types that can arrive is accepted; a stage that passes by is no wall."""
    stages = [typed(f"s{number}", accepts, emits) for number, (accepts, emits) in enumerate(chain)]
    builder = PipelineBuilder().chain(*stages)

    if wrong is None:
        builder.build()
    else:
        error = refused(builder)
        assert type(error) is TypeMismatchError
        assert kinds(error) == [("type-mismatch", f"s{wrong}")]
        assert f"behind 's{wrong - 1}'" in str(error)


def test_every_mismatch_of_a_chain_is_found() -> None:
    """semantics 4.2: one wrong joint does not hide the next."""
    error = refused(
        PipelineBuilder().chain(
            typed("a", StreamElement, TEXT),
            typed("b", SOUND, SOUND),
            typed("c", (PICTURE, LoudElement)),
            typed("d", PICTURE),
        )
    )

    assert kinds(error) == [("type-mismatch", "b")]
    error = refused(
        PipelineBuilder().chain(typed("a", StreamElement, TEXT), typed("b", SOUND, SOUND), typed("c", PICTURE, TEXT))
    )
    assert kinds(error) == [("type-mismatch", "b"), ("type-mismatch", "c")]
    assert "accepts AudioElement" in str(error)


def test_behind_a_generator_comes_only_what_it_emits() -> None:
    """semantics 4.2: nothing passes a stage by that has no input."""

    @stage(kind=StageKind.GENERATE, accepts=TextElement)
    async def talking() -> AsyncIterator[TextElement]:
        yield TextElement("x")

    assert kinds(refused(PipelineBuilder().chain(talking, typed("hear", SOUND)))) == [("type-mismatch", "hear")]


def test_annotations_are_enough_to_find_a_mismatch() -> None:
    """semantics 3.3, 4.2: both ends are named, with the line that added the stage."""

    @stage
    async def speak(stream: AsyncIterator[TextElement]) -> AsyncIterator[AudioElement]:
        async for element in stream:
            yield AudioElement(element.text.encode())

    def shout(element: TextElement) -> TextElement:
        raise AssertionError

    where = line() + 1
    builder = PipelineBuilder().chain(FilterStage(bool, name="all", accepts=StreamElement), speak, shout)
    error = refused(builder)

    assert str(error) == (
        "stage 'shout' accepts TextElement, but nothing like that arrives behind 'speak' "
        f"(added at {__file__}:{where}); "
        "put a stage between them that makes TextElement, or check emits= of 'speak'"
    )


def test_a_graph_can_be_checked_without_a_builder() -> None:
    """`findings`: pure data in, findings out."""
    assert [one.kind for one in findings(Graph((), ()))] == ["empty"]
    with pytest.raises(BuildError, match="the graph has no stage"):
        check(Graph((), ()))

"""Types across every path: what can arrive anywhere is accepted there, and what is lost is told."""

from __future__ import annotations

import sys
import warnings
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from streamflow import (
    AudioElement,
    BaseStage,
    BuildError,
    BuildWarning,
    DataElement,
    ImageElement,
    MapStage,
    MessageElement,
    PassthroughStage,
    StageKind,
    StreamElement,
    TextElement,
    ThinkingElement,
    TurnEnd,
    VideoElement,
    stage,
)
from streamflow.elements import WholeElement
from streamflow.errors import TypeMismatchError
from streamflow.graph import GraphBuilder, SubGraph
from streamflow.stages import Accepts


def named(name: str) -> PassthroughStage:
    return PassthroughStage(name)


def typed(name: str, accepts: Accepts, emits: Accepts | None = None) -> MapStage:
    return MapStage(lambda element: element, name=name, accepts=accepts, emits=emits)


def ported(name: str, inputs: Mapping[str, Accepts], outputs: Mapping[str, Accepts | None]) -> BaseStage:
    class Ported(BaseStage):
        async def process(self, inputs: object, outputs: object) -> None:
            raise AssertionError

    made = Ported(name)
    made.inputs, made.outputs = inputs, outputs
    return made


def line() -> int:
    return sys._getframe(1).f_lineno


def refused(builder: GraphBuilder) -> BuildError:
    """Return what `build_graph()` raises."""
    with pytest.raises(BuildError) as caught:
        builder.build_graph()
    return caught.value


def kinds(error: BuildError) -> list[tuple[str, str | None]]:
    return [(one.kind, one.stage) for one in error.findings]


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
    builder = GraphBuilder().chain(*stages)

    if wrong is None:
        builder.build_graph()
    else:
        error = refused(builder)
        assert type(error) is TypeMismatchError
        assert kinds(error) == [("type-mismatch", f"s{wrong}")]
        assert f"behind 's{wrong - 1}'" in str(error)


def test_every_mismatch_of_a_chain_is_found() -> None:
    """semantics 4.2: one wrong joint does not hide the next."""
    error = refused(
        GraphBuilder().chain(
            typed("a", StreamElement, TEXT),
            typed("b", SOUND, SOUND),
            typed("c", (PICTURE, LoudElement)),
            typed("d", PICTURE),
        )
    )

    assert kinds(error) == [("type-mismatch", "b")]
    error = refused(
        GraphBuilder().chain(typed("a", StreamElement, TEXT), typed("b", SOUND, SOUND), typed("c", PICTURE, TEXT))
    )
    assert kinds(error) == [("type-mismatch", "b"), ("type-mismatch", "c")]
    assert "accepts AudioElement" in str(error)


def test_behind_a_generator_comes_only_what_it_emits() -> None:
    """semantics 4.2: nothing passes a stage by that has no input."""

    @stage(kind=StageKind.GENERATE, accepts=TextElement)
    async def talking() -> AsyncIterator[TextElement]:
        yield TextElement("x")

    assert kinds(refused(GraphBuilder().chain(talking, typed("hear", SOUND)))) == [("type-mismatch", "hear")]


def test_annotations_are_enough_to_find_a_mismatch() -> None:
    """semantics 3.3, 4.2: both ends are named, with the line that added the stage."""

    @stage
    async def speak(stream: AsyncIterator[TextElement]) -> AsyncIterator[AudioElement]:
        async for element in stream:
            yield AudioElement(element.text.encode())

    def shout(element: TextElement) -> TextElement:
        raise AssertionError

    where = line() + 1
    builder = GraphBuilder().chain(typed("all", StreamElement, TEXT), speak, shout)
    error = refused(builder)

    assert str(error) == (
        "stage 'shout' accepts TextElement, but nothing like that arrives behind 'speak', "
        "only AudioElement by speak → shout "
        f"(added at {__file__}:{where}); "
        "put a stage between them that makes TextElement, or check emits= of 'speak'"
    )


# Over several paths


def test_what_arrives_at_a_merge_is_the_union_of_its_paths() -> None:
    """semantics 4.2: one path that brings what is accepted is enough; both ends of each other one are named."""

    def builder(third: Accepts) -> GraphBuilder:
        made = GraphBuilder().branch(named("a"), typed("b", StreamElement, TEXT), typed("c", StreamElement, SOUND))
        return made.chain("c", typed("d", TurnEnd, TEXT)).merge(typed("e", third), "b", "d")

    for lawful in (TEXT, SOUND, (PICTURE, SOUND), StreamElement):
        builder(lawful).build_graph()
    start = line()
    error = refused(builder(PICTURE))

    assert kinds(error) == [("type-mismatch", "e")]
    assert error.findings[0].message == (
        "stage 'e' accepts ImageElement, but nothing like that arrives behind 'b' or 'd', "
        "only AudioElement by c → d → e; TextElement by b → e"
    )
    assert error.findings[0].where == f"{__file__}:{start - 4}"


def test_the_path_begins_where_the_type_comes_from() -> None:
    """semantics 4.2: at the stage that emits it, past all that it passes by, or at the source."""
    mismatch = refused(
        GraphBuilder().chain(typed("a", StreamElement, (TEXT, SOUND)), typed("b", TEXT, TEXT), typed("c", PICTURE))
    )
    assert "only AudioElement by a → b → c; TextElement by b → c" in str(mismatch)

    many = (TEXT, SOUND, ThinkingElement, DataElement, MessageElement, VideoElement)
    some = refused(GraphBuilder().chain(typed("a", StreamElement, many), typed("b", PICTURE)))
    told = "AudioElement, DataElement, MessageElement, TextElement, and 2 more by a → b"
    assert f"behind 'a', only {told} (added" in str(some)
    exact = refused(GraphBuilder().chain(typed("a", StreamElement, many[:4]), typed("b", PICTURE)))
    assert "only AudioElement, DataElement, TextElement, ThinkingElement by a → b (added" in str(exact)

    nothing = refused(GraphBuilder().chain(typed("a", StreamElement, TurnEnd), typed("b", TEXT)))
    assert "arrives behind 'a', no data at all" in str(nothing)

    from_source = refused(GraphBuilder().chain(typed("a", TEXT, SOUND), typed("b", TEXT)))
    assert "by source → a → b" in str(from_source)


def test_the_path_goes_through_the_input_that_lets_the_type_pass() -> None:
    """semantics 3.5, 4.2: of a stage of several inputs; and the longest report tells three paths."""
    join = ported("join", {"left": TEXT, "right": SOUND}, {"out": SOUND})
    builder = GraphBuilder().connect(typed("t", StreamElement, TEXT), "join:left").add(join)
    builder.connect(typed("p", StreamElement, (TEXT, PICTURE)), "join:right").chain("join", typed("v", VideoElement))
    error = refused(builder)
    assert kinds(error) == [("type-mismatch", "join"), ("type-mismatch", "v")]
    assert "only AudioElement by join:out → v; ImageElement, TextElement by p → join:out → v" in str(error)

    emitting = [typed(kind.__name__[0], StreamElement, kind) for kind in (TEXT, SOUND, DataElement, MessageElement)]
    error = refused(GraphBuilder().merge(typed("see", PICTURE), *emitting))
    told = "AudioElement by A → see; DataElement by D → see; MessageElement by M → see; and 1 more"
    assert f"only {told} (added" in str(error)


def test_the_path_may_begin_at_what_is_unknown() -> None:
    """semantics 4.2: what is found beside another fault is told whole."""
    error = refused(GraphBuilder().chain("lost", typed("b", TEXT, SOUND), typed("c", TEXT)))

    assert kinds(error) == [("type-mismatch", "c"), ("unknown-stage", "lost")]
    assert "by lost → b → c" in str(error)


def test_a_branch_gets_only_what_its_first_stage_accepts() -> None:
    """semantics 4.4: so behind it nothing else passes by, as it would in a chain."""
    chained = GraphBuilder().chain(named("a"), typed("b", TEXT, TEXT), typed("c", SOUND))
    chained.build_graph()
    branched = GraphBuilder().branch(named("a"), typed("b", TEXT, TEXT), named("x")).chain("b", typed("c", SOUND))

    assert kinds(refused(branched)) == [("type-mismatch", "c")]


def test_the_rest_is_what_no_other_branch_accepts() -> None:
    """semantics 4.4: `otherwise` gets that, and no more."""

    def builder(rest: Accepts) -> GraphBuilder:
        made = GraphBuilder().branch(typed("a", StreamElement, (TEXT, SOUND, PICTURE)), typed("b", TEXT))
        return made.branch("a", typed("c", SOUND), otherwise=typed("rest", rest))

    builder(PICTURE).build_graph()
    builder(StreamElement).build_graph()
    error = refused(builder((TEXT, SOUND)))

    assert kinds(error) == [("type-mismatch", "rest")]
    assert "only ImageElement by a → rest" in str(error)


def test_a_branch_that_nothing_can_enter_is_a_mismatch() -> None:
    """semantics 4.2: even where another edge brings what its stage accepts; with the line of the branch."""
    start = line()
    builder = GraphBuilder().chain(typed("a", StreamElement, (TEXT, PICTURE)), typed("b", TEXT, TEXT))
    builder.branch("a", "b", typed("c", SOUND))
    builder.merge("c", "a", typed("speaker", StreamElement, SOUND))

    error = refused(builder)

    assert [(one.kind, one.stage, one.where, one.message) for one in error.findings] == [
        (
            "type-mismatch",
            "c",
            f"{__file__}:{start + 2}",
            "nothing enters the branch a → c: 'c' accepts AudioElement, only ImageElement, TextElement comes out of 'a'",
        )
    ]
    nothing = refused(GraphBuilder().branch(typed("a", StreamElement, TurnEnd), typed("b", TEXT), typed("c", TurnEnd)))
    assert kinds(nothing) == [("type-mismatch", "b")]
    assert "'b' accepts TextElement, no data comes out of 'a'" in str(nothing)


def test_a_rest_of_nothing_is_a_mismatch() -> None:
    """semantics 4.2: `otherwise` that no data can come to; a stage that asks for control alone may be it."""
    builder = GraphBuilder().branch(typed("a", StreamElement, TEXT), typed("b", TEXT), otherwise=named("rest"))
    error = refused(builder)

    assert kinds(error) == [("type-mismatch", "rest")]
    assert "nothing is left for 'rest': the other branches of 'a' accept all that comes" in str(error)
    GraphBuilder().branch(named("a"), named("b"), otherwise=typed("ends", TurnEnd)).build_graph()


def test_a_branch_may_accept_a_subclass_only() -> None:
    """semantics 4.2: what is emitted as a TextElement may be a LoudElement."""
    builder = GraphBuilder().branch(typed("a", TEXT, TEXT), typed("b", LoudElement), otherwise=typed("c", TEXT))

    builder.build_graph()


def test_what_hangs_on_a_cycle_is_not_typed_but_what_is_beside_it_is() -> None:
    """semantics 4.2: whatever edge is taken away, the mismatch stays true."""
    builder = GraphBuilder().chain(typed("a", TEXT, TEXT), typed("b", SOUND, TEXT), "a")
    builder.branch("b", "a", typed("c", PICTURE))  # pictures may come, if the edge from `a` to `b` goes
    assert kinds(refused(builder)) == [("cycle", "a")]

    builder = GraphBuilder().chain(typed("a", StreamElement, TEXT), typed("b", StreamElement, TEXT), "a")
    builder.branch("b", "a", typed("c", PICTURE))
    assert kinds(refused(builder)) == [("cycle", "a"), ("type-mismatch", "c")]


def test_what_hangs_on_an_unknown_name_is_not_typed() -> None:
    """semantics 4.2: anything may come from there."""
    builder = GraphBuilder().chain(typed("a", StreamElement, TEXT), "lost", typed("b", SOUND, SOUND), typed("c", TEXT))
    builder.chain("c:nowhere", typed("d", PICTURE))

    assert kinds(refused(builder)) == [("unknown-port", "c"), ("unknown-stage", "lost")]


def test_two_rests_are_not_typed() -> None:
    """semantics 4.2: nobody knows which of them will be it."""
    builder = GraphBuilder().branch(typed("a", StreamElement, TEXT), typed("b", TEXT), otherwise=named("c"))
    builder.branch("a", otherwise=named("d"))

    assert kinds(refused(builder)) == [("two-otherwise", "a")]


# Ports


def test_each_port_has_types_of_its_own() -> None:
    """semantics 3.5, 4.2: what comes out of one output does not come out of another, what one input accepts another does not."""

    def builder(left: str, right: str) -> GraphBuilder:
        made = GraphBuilder().add(ported("split", {"in": StreamElement}, {"text": TEXT, "sound": SOUND}))
        made.add(ported("join", {"text": TEXT, "sound": SOUND}, {"out": None}))
        return made.connect(f"split:{left}", "join:text").connect(f"split:{right}", "join:sound")

    builder("text", "sound").build_graph()
    error = refused(builder("sound", "text"))

    assert kinds(error) == [("type-mismatch", "join"), ("type-mismatch", "join")]
    assert "stage 'join:text' accepts TextElement, but nothing like that arrives behind 'split:sound'" in str(error)
    assert "only AudioElement by split:sound → join:text" in str(error)


def test_what_passes_a_stage_of_several_outputs_by_goes_where_it_is_accepted() -> None:
    """semantics 3.3, 3.5: whatever the port; so it does not go on past the stage behind it."""
    split = ported("split", {"in": TEXT}, {"a": TEXT, "b": TEXT})
    GraphBuilder().add(split, typed("x", SOUND, TEXT)).connect("split:a", "x").build_graph()
    error = refused(
        GraphBuilder().add(split, typed("x", SOUND, TEXT)).connect("split:a", "x").chain("x", typed("y", PICTURE))
    )

    assert kinds(error) == [("type-mismatch", "y")]


def test_what_passes_by_may_come_to_the_rest_of_a_port() -> None:
    """semantics 3.5, 4.4: past a stage of several outputs an element goes wherever it is accepted."""
    split = ported("split", {"in": TEXT}, {"a": TEXT, "b": TEXT})
    builder = GraphBuilder().branch("split:a", typed("t", TEXT), otherwise=typed("rest", SOUND)).add(split)

    builder.build_graph()


def test_a_port_can_branch() -> None:
    """semantics 3.5, 4.4: with a rest of its own."""
    split = ported("split", {"in": StreamElement}, {"a": (TEXT, SOUND), "b": PICTURE})
    builder = GraphBuilder().branch("split:a", typed("t", TEXT), otherwise=typed("rest", SOUND, TEXT)).add(split)
    builder.build_graph()
    mismatch = refused(builder.clone().chain("rest", typed("p", PICTURE)))

    assert kinds(mismatch) == [("type-mismatch", "p")]
    assert "behind 'rest', only TextElement by rest → p" in str(mismatch)
    closed = refused(GraphBuilder().branch("split:b", typed("t", TEXT), typed("u", PICTURE)).add(split))
    assert kinds(closed) == [("type-mismatch", "t")]


# Nesting


def test_types_go_through_a_nested_pipeline() -> None:
    """semantics 4.1, 4.2: its stages are stages of the graph; the finding has the line that feeds it."""
    inner = GraphBuilder().chain(typed("hear", SOUND, TEXT), typed("shout", TEXT, TEXT)).build_graph()
    start = line()
    builder = GraphBuilder().chain(typed("a", StreamElement, TEXT), SubGraph("inner", inner), typed("b", PICTURE))
    error = refused(builder)

    assert [(one.stage, one.where) for one in error.findings] == [
        ("inner/hear", f"{__file__}:{start + 1}"),
        ("b", f"{__file__}:{start + 1}"),
    ]
    assert "stage 'inner/hear' accepts AudioElement, but nothing like that arrives behind 'a'" in str(error)
    assert "only TextElement by inner/shout → b" in str(error)


# What is lost


def lost(builder: GraphBuilder) -> list[str]:
    """Return what `build_graph()` warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        builder.build_graph()
    assert all(one.category is BuildWarning and one.filename == __file__ for one in caught)
    return [f"{one.lineno}: {one.message}" for one in caught]


def test_known_data_that_no_branch_takes_is_warned_about() -> None:
    """semantics 4.4: at the line of the branch, with a way out; `otherwise` catches it."""
    start = line()
    builder = GraphBuilder().chain(typed("llm", TEXT, (TEXT, ThinkingElement, PICTURE, TurnEnd)))
    builder.branch("llm", typed("tts", TEXT), typed("ears", (SOUND, TEXT)))

    assert lost(builder) == [
        f"{start + 2}: no branch of 'llm' accepts ImageElement or ThinkingElement, so that is dropped; "
        "add a branch for it, or catch the rest: branch('llm', …, otherwise=…)"
    ]
    assert lost(builder.branch("llm", otherwise=typed("rest", PICTURE))) == []


def test_the_warning_is_shown_once_for_a_line() -> None:
    """`BuildWarning`: Python's own rules for warnings hold, also where pipelines are built again and again."""
    builder = GraphBuilder().branch(typed("once", TEXT, (TEXT, PICTURE)), typed("b", TEXT), typed("c", TEXT))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        builder.build_graph()
        builder.build_graph()

    assert len(caught) == 1
    with pytest.warns(BuildWarning, match="'once'"):
        builder.build_graph()
    with pytest.raises(BuildWarning):  # as the tests' own filter says
        builder.build_graph()


def test_a_graph_made_by_hand_may_say_anything_about_its_lines() -> None:
    """`BuildWarning`: shown there all the same."""
    inner = GraphBuilder().branch(typed("x", TEXT, (TEXT, PICTURE)), typed("b", TEXT), typed("c", TEXT))
    with pytest.warns(BuildWarning):
        graph = inner.build_graph()
    for where, shown in (("", ("", 0)), ("app.toml", ("app.toml", 0)), ("C:\\app.py:3", ("C:\\app.py", 3))):
        moved = graph.replace(forks=tuple(one.replace(where=where) for one in graph.forks))
        with pytest.warns(BuildWarning) as caught:
            GraphBuilder().add(SubGraph("in", moved)).build_graph()
        assert (caught[0].filename, caught[0].lineno) == shown


def test_known_data_is_followed_past_other_stages_and_through_ports() -> None:
    """semantics 4.4: what a stage declares to emit is known until another one takes it."""
    past = GraphBuilder().chain(typed("a", StreamElement, (TEXT, PICTURE)), typed("b", TEXT, TEXT))
    assert "accepts ImageElement" in "".join(lost(past.branch("b", typed("c", TEXT), typed("d", TEXT))))
    taken = GraphBuilder().chain(typed("a", StreamElement, (TEXT, PICTURE)), typed("b", (TEXT, PICTURE), TEXT))
    assert lost(taken.branch("b", typed("c", TEXT), typed("d", TEXT))) == []
    split = ported("s", {"in": StreamElement}, {"x": (TEXT, PICTURE), "y": SOUND})
    port = GraphBuilder().add(split).branch("s:x", typed("c", TEXT), typed("d", TEXT))
    assert "no branch of 's:x' accepts ImageElement" in "".join(lost(port))


UNKNOWN = [
    pytest.param(lambda: GraphBuilder().branch(named("a"), typed("b", TEXT), typed("c", TEXT)), id="all data"),
    pytest.param(
        lambda: GraphBuilder().branch(typed("a", TEXT, StreamElement), typed("b", TEXT), typed("c", TEXT)),
        id="declared so",
    ),
    pytest.param(
        lambda: GraphBuilder().branch(
            typed("a", TEXT, WholeElement), typed("b", MessageElement), typed("c", MessageElement)
        ),
        id="a base class",
    ),
    pytest.param(
        lambda: GraphBuilder().branch(typed("a", TEXT, (TEXT, TurnEnd)), typed("b", TEXT), typed("c", TEXT)),
        id="control",
    ),
    pytest.param(
        lambda: GraphBuilder().branch(typed("a", TEXT, LoudElement), typed("b", TEXT), typed("c", TEXT)),
        id="a subclass",
    ),
]


@pytest.mark.parametrize("make", UNKNOWN)
def test_only_what_is_known_to_come_is_warned_about(make: Callable[[], GraphBuilder]) -> None:
    """`BuildWarning`: a warning that may be wrong is worse than none."""
    assert lost(make()) == []

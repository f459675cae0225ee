"""A stage object is a blueprint: the state of a run lives elsewhere, and nothing changes it after `build()`."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest

from streamflow import (
    BaseStage,
    CollectStage,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    ReceiveEnd,
    RunContext,
    SendEnd,
    StageError,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.errors import DuplicateStageError, RunStateError
from streamflow.stages import FunctionStage, StageLike, as_stage
from streamflow.testing import run_stage


class Counter(BaseStage):
    """Keeps its state in the object: lawful only where there is one object per run."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for element in input:
            self.count += 1
            await output.send(TextElement(f"{element.text}{self.count}"))


class PlainCounter:
    def __init__(self) -> None:
        self.count = 0

    async def process(self, stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            self.count += 1
            yield TextElement(f"{element.text}{self.count}")


class OpenedCounter(BaseStage):
    def open(self, run: RunContext[object]) -> PlainCounter:
        return PlainCounter()

    async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        raise AssertionError("open(run) says what runs")


@stage
async def counter(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    count = 0
    async for element in stream:
        count += 1
        yield TextElement(f"{element.text}{count}")


@pytest.mark.parametrize("given", [Counter, PlainCounter, OpenedCounter, OpenedCounter(), counter])
async def test_runs_share_no_state_even_at_the_same_time(given: StageLike) -> None:
    """semantics 3.4: the state of a run lives in locals, in what `open(run)` returns, or in an instance made per run."""
    pipeline = PipelineBuilder().chain(given).build()

    async with pipeline.execute() as first, pipeline.execute() as second:
        for number in range(1, 4):
            for run, text in ((first, "a"), (second, "b")):
                await run.send(text)
                assert await anext(run) == TextElement(f"{text}{number}")
    assert (await pipeline.run(["c"])).text == "c1"


async def test_a_stage_object_is_frozen_once_it_is_part_of_a_pipeline() -> None:
    """semantics 3.4: a stage object is a blueprint: neither you nor its own `process` change it after `build()`."""
    given = Counter()
    given.count = 5
    builder = PipelineBuilder().chain(given)
    given.count = 0
    pipeline = builder.build()

    with pytest.raises(
        RunStateError, match=r"'counter' is part of a pipeline and cannot change 'count'.*give the class"
    ):
        given.count = 1
    with pytest.raises(RunStateError, match="cannot change 'count'"):
        del given.count
    with pytest.raises(StageError, match="'counter' failed on element #0: RunStateError") as caught:
        await pipeline.run("x")
    assert isinstance(caught.value.__cause__, RunStateError)
    assert given.count == 0


async def test_a_stage_that_is_not_yet_part_of_a_pipeline_can_be_changed() -> None:
    """semantics 3.4: only `build()` freezes, and a build that fails does not."""
    given = Counter()
    given.spare = 1
    del given.spare
    builder = PipelineBuilder().chain(given, given)
    with pytest.raises(DuplicateStageError, match="two stages are named"):
        builder.build()
    given.count = 3

    assert not hasattr(given, "spare")
    assert given.count == 3


async def test_one_stage_object_works_in_two_pipelines() -> None:
    """semantics 3.4: a blueprint can be built into any number of graphs, and run in all of them at once."""
    given = MapStage(lambda element: TextElement(element.text * 2), name="twice")
    one = PipelineBuilder().chain(given).build()
    two = PipelineBuilder().chain(PassthroughStage(), given).build()

    async with one.execute(["a", "b"]) as first, two.execute(["c"]) as second:
        assert [element.text for element in [await anext(first), await anext(second), await anext(first)]] == [
            "aa",
            "cc",
            "bb",
        ]


def test_one_pipeline_runs_on_one_event_loop_after_the_other() -> None:
    """semantics 3.4: a blueprint is bound to no event loop."""
    pipeline = PipelineBuilder().chain(counter, PlainCounter, PassthroughStage()).build()

    for backend in ("asyncio", "trio", "asyncio"):
        assert pipeline.execute_sync(["x", "y"], backend=backend).text == "x11y22"


# What a form says about itself


def test_a_decorated_function_can_still_be_called() -> None:
    """`FunctionStage`: calling it calls the function, so that it can be tested alone; it keeps its docstring."""

    @stage
    def shout(element: TextElement) -> TextElement:
        """Shout."""
        return TextElement(element.text.upper())

    assert shout(TextElement("x")) == TextElement("X")
    assert isinstance(shout, FunctionStage)
    assert shout.__doc__ == "Shout."
    assert repr(shout) == "<FunctionStage 'shout'>"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (Counter, "counter"),
        (Counter(), "counter"),
        (PlainCounter, "plain_counter"),
        (BaseStage("mine"), "mine"),
        (type("HTTPServerStage", (BaseStage,), {})(), "http_server"),
        (type("Stage", (BaseStage,), {})(), "stage"),
        (CollectStage([]), "collect"),
        (PassthroughStage("other"), "other"),
    ],
)
def test_a_class_gives_its_stage_a_name(given: StageLike, name: str) -> None:
    """`BaseStage`: the default name is the class's in snake case, without `Stage`."""
    assert (given.name if isinstance(given, BaseStage) else as_stage(given).name) == name


def test_a_class_may_have_no_name_of_its_own_and_slots() -> None:
    """`as_stage`: nothing is written into an object of the user's."""

    @dataclasses.dataclass(frozen=True, slots=True)
    class Frozen:
        async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            raise AssertionError

    assert as_stage(Frozen).name == "frozen"


async def unread(stream):
    """Have no annotations."""
    return
    yield stream


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        (StageKind.TRANSFORM, 1),
        (StageKind.SINK, 1),
        (StageKind.GENERATE, 1),
        (StageKind.ACCUMULATE, None),
        (StageKind.BIDIRECTIONAL, None),
    ],
)
def test_a_stage_that_keeps_elements_must_say_how_many(kind: StageKind, held: int | None) -> None:
    """semantics 5.4: one element by default; unknown for the kinds that keep elements between pulls, unless declared."""

    class Plain:
        def __init__(self) -> None:
            self.name, self.kind = "plain", kind

        async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
            raise AssertionError

    class Based(BaseStage):
        process = Plain.process

        def __init__(self) -> None:
            super().__init__()
            self.kind = kind

    class Declared(Based):
        max_held = 7

    assert as_stage(Plain()).max_held == held
    assert as_stage(Based()).max_held == held
    assert as_stage(Declared()).max_held == 7
    assert as_stage(stage(kind=StageKind.ACCUMULATE, max_held=3)(unread)).max_held == 3
    assert as_stage(stage(kind=StageKind.ACCUMULATE)(unread)).max_held is None


def test_what_an_accumulator_accepts_by_default_includes_the_ends_of_turns() -> None:
    """semantics 3.3: a stage of the kind `accumulate` accepts turn ends."""
    assert as_stage(stage(kind=StageKind.ACCUMULATE)(unread)).accepts == (StreamElement, TurnEnd)


def texts(elements: list[StreamElement]) -> list[str]:
    return [one.text for one in elements if isinstance(one, TextElement)]


async def test_parameters_with_a_default_keep_it() -> None:
    """`as_stage`: only what a function needs decides on its form; what has a default is the author's own business."""

    def louder(element: TextElement, mark: str = "!") -> TextElement:
        return TextElement(element.text + mark)

    async def twice(stream: AsyncIterator[TextElement], times: int = 2) -> AsyncIterator[TextElement]:
        async for element in stream:
            for _ in range(times):
                yield element

    assert texts(await run_stage(louder, ["a"])) == ["a!"]
    assert texts(await run_stage(MapStage(louder), ["a"])) == ["a!"]
    assert texts(await run_stage(twice, ["a"])) == ["a", "a"]

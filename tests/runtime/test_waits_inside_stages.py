"""Stages with tasks and channels of their own: a run that waits for itself through them is found, and a loop with them ends."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Mapping

import anyio
import pytest

from streamflow import (
    FilterStage,
    MapAsyncStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    PipelineDeadlockError,
    ReceiveEnd,
    SendEnd,
    StreamElement,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.channels import Weight
from streamflow.stages import BufferStage, FallbackStage, RetryStage, StageLike

LONG_S = 1000.0


async def echo(element: TextElement) -> TextElement:
    return element


INSIDE = {
    "a buffer": lambda: BufferStage(2, name="mid"),
    "several calls": lambda: MapAsyncStage(echo, concurrency=2, name="mid"),
    "a fallback": lambda: FallbackStage(PassthroughStage("one"), PassthroughStage("other"), name="mid"),
    "tries": lambda: RetryStage(PassthroughStage("one"), name="mid"),
    "a stage inside a stage inside a stage": lambda: RetryStage(
        RetryStage(PassthroughStage("one"), name="two"), name="mid"
    ),
}
every_stage = pytest.mark.parametrize("what", INSIDE)


@stage(outputs={"again": TextElement, "done": TextElement})
async def decide(input: ReceiveEnd[TextElement], outputs: Mapping[str, SendEnd[TextElement]]) -> None:
    async for element in input:
        if len(element.text) > 1:
            await outputs["again"].send(TextElement(element.text[1:]))
        else:
            await outputs["done"].send(element)


def diamond(mid: StageLike, **settings: object) -> PipelineBuilder:
    """Return a concatenation that waits for a branch which drops all, beside one with the stage."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=1).replace(**settings))
    builder.add(PassthroughStage("in"), FilterStage(lambda _: False, name="none"), mid)
    return builder.branch("in", "none", "mid").merge(PassthroughStage("out"), "none", "mid", policy="concat")


async def words(builder: PipelineBuilder, source: list[StreamElement]) -> list[str]:
    with warnings.catch_warnings(), anyio.fail_after(LONG_S):
        warnings.simplefilter("ignore")
        result = await builder.build().run(source)
    return [one.text for one in result.elements if isinstance(one, TextElement)]


def texts(count: int) -> list[StreamElement]:
    return [TextElement(str(number)) for number in range(count)]


@every_stage
async def test_a_run_that_waits_for_itself_through_a_stage_with_tasks_is_found(what: str) -> None:
    """semantics 14.1: the waits between its own tasks are seen; the report draws the circle over the edges."""
    with pytest.raises(PipelineDeadlockError) as caught:
        await words(diamond(INSIDE[what]()), texts(40))
    assert {"in", "out"} <= set(caught.value.graph.cycle)


@every_stage
async def test_edges_grow_on_both_sides_of_a_stage_with_tasks(what: str) -> None:
    """semantics 14.4: the circle that is grown is the one with a full edge in it."""
    assert len(await words(diamond(INSIDE[what](), on_deadlock="grow"), texts(40))) == 40


async def test_control_that_waits_for_a_place_among_the_calls_is_seen() -> None:
    """semantics 14.1: what passes by waits in a channel of the stage's own."""
    source = [one for number in range(20) for one in (TextElement(str(number)), TurnEnd(index=number))]
    with pytest.raises(PipelineDeadlockError):
        await words(diamond(INSIDE["several calls"]()), source)


@every_stage
async def test_a_loop_with_tasks_inside_its_stages_ends(what: str) -> None:
    """semantics 4.27: a task that waits for another one of its stage keeps no loop open."""
    builder = PipelineBuilder().chain(PassthroughStage("enter"), INSIDE[what](), decide)
    builder.feedback("decide:again", "enter", buffer=20)
    assert sorted(await words(builder, [TextElement("abc"), TextElement("de")])) == ["c", "e"]


async def test_a_call_that_takes_its_time_keeps_the_loop_open() -> None:
    """semantics 4.27: what a stage with tasks is at work on may still come back."""

    async def later(element: TextElement) -> TextElement:
        await anyio.sleep(10)
        return element

    builder = PipelineBuilder().chain(PassthroughStage("enter"), MapAsyncStage(later, concurrency=2), decide)
    builder.feedback("decide:again", "enter", buffer=20)
    assert sorted(await words(builder, [TextElement("abc"), TextElement("de")])) == ["c", "e"]


async def test_a_source_that_sleeps_beside_a_stage_with_tasks_is_no_deadlock() -> None:
    """semantics 14.2: all other tasks wait, and the run goes on when the source does."""

    async def slowly() -> AsyncIterator[TextElement]:
        for number in range(3):
            await anyio.sleep(60)
            yield TextElement(str(number))

    for what in INSIDE.values():
        with anyio.fail_after(LONG_S):
            result = await PipelineBuilder().chain(what()).build().run(slowly())
        assert sum(isinstance(one, TextElement) for one in result.elements) == 3


async def test_a_marker_takes_no_room_of_an_edge_out_of_a_loop() -> None:
    """semantics 2.8, 4.26: what tells the rounds apart does not leave the loop, and is not counted where it would."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(PassthroughStage("enter"), decide)
    builder.feedback("decide:again", "enter", buffer=20).add(PassthroughStage("out"))
    builder.connect("decide:done", "out", weight=Weight(2, "letters", lambda _: 1))
    given: list[StreamElement] = [TextElement(one) for one in ("abc", "de", "f", "ghi", "jk")]
    assert sorted(await words(builder, given)) == ["c", "e", "f", "i", "k"]


async def test_edges_grow_behind_a_fork_that_is_fused_with_what_is_before_it() -> None:
    """semantics 14.4: of the branches that the task could wait for, the one that is full is in the circle."""
    builder = diamond(PassthroughStage("mid"), on_deadlock="grow").chain(PassthroughStage("first"), "in")
    assert len(await words(builder, texts(40))) == 40

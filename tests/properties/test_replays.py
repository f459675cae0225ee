"""What was recorded of any deterministic pipeline comes again, byte for byte, however it is played."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow import (
    FilterStage,
    FlatMapStage,
    MapStage,
    Message,
    MessageElement,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.elements import StreamElement, encode
from streamflow.observe import Recording, read_recording
from streamflow.providers import ProviderStage, ScriptedProvider, ScriptTurn, TextStep, ThinkingStep, ToolCallStep
from streamflow.runtime import replay
from streamflow.stages import StageLike
from streamflow.testing import DrawnGraph, DrawnStage, graphs, recorded_provider

KINDS = ("map", "wait", "twice", "odd")


def without_joins(drawn: DrawnGraph) -> DrawnGraph:
    """Return the graph with one input for each stage: who comes first where several meet is no part of a recording."""
    stages = tuple(dataclasses.replace(one, inputs=one.inputs[:1]) for one in drawn.stages)
    edges = {(source, one.name) for one in stages for source in one.inputs}
    return dataclasses.replace(drawn, stages=stages, buffers=tuple(one for one in drawn.buffers if one[:2] in edges))


GRAPHS = graphs(kinds=KINDS, sinks=(), max_stages=6, fans=("copy", "route"), taps=False).map(without_joins)
FEWER = settings(max_examples=settings.default.max_examples // 4)  # each plays three runs
INPUTS = st.lists(st.integers(0, 9).map(lambda n: TextElement(str(n))) | st.just(TurnEnd()), max_size=12)


def made(one: DrawnStage) -> StageLike:
    """Return a stage that does the same each time."""
    match one.kind:
        case "map":
            return MapStage(lambda element: TextElement(f"{element.text}{one.name}"), name=one.name)
        case "twice":
            return FlatMapStage(lambda element: [element, element], name=one.name)
        case "odd":
            return FilterStage(lambda element: sum(map(ord, element.text)) % 2 == 1, name=one.name)
        case _:

            @stage(name=one.name)
            async def wait(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
                async for element in stream:
                    await anyio.sleep(0.01)
                    yield element

            return wait


def pipeline_of(drawn: DrawnGraph, *, fuse: bool) -> Pipeline:
    config = PipelineConfig(buffer_size=drawn.capacity, fuse=fuse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return drawn.builder(made, config=config).build()


@FEWER
@given(drawn=GRAPHS, source=INPUTS, fused=st.booleans(), buffer_bytes=st.sampled_from([4096, 4 * 1024 * 1024]))
async def test_what_was_recorded_comes_again_byte_for_byte(
    drawn: DrawnGraph, source: list[StreamElement], fused: bool, buffer_bytes: int
) -> None:
    """semantics 24.26: at every edge of random graphs, recorded fused and played unfused, and the other way about."""
    first, second = pipeline_of(drawn, fuse=fused), pipeline_of(drawn, fuse=not fused)
    edges = [*dict.fromkeys(one.name for one in first._plan.edges if one.source is not None)]
    async with anyio.TemporaryDirectory() as folder:
        at = ["input", *edges] if len(drawn.leaves) > 1 else ["edges"]
        await first.run(source, record=Recording(path=Path(folder) / "a", at=at, buffer_bytes=buffer_bytes))
        played = await replay(Path(folder) / "a", second, ignore=())
        await second.run(source, record=Recording(path=Path(folder) / "b", at=at))
        one, other = await anyio.to_thread.run_sync(
            lambda: [
                {point: [encode(seen.element) for seen in run.seen_at(point)] for point in run.points}
                for run in (read_recording(Path(folder) / name).run() for name in "ab")
            ]
        )

    assert played, str(played)
    assert set(played.compared) >= set(edges) - {"output"} - ({edges[-1]} if at == ["edges"] else set())
    assert one == other


async def test_a_join_that_restores_the_order_comes_again_byte_for_byte(tmp_path: Path) -> None:
    """semantics 24.26: below a fork of a fast and a slow way."""

    def pipeline(*, fuse: bool) -> Pipeline:
        several = [made(DrawnStage(name, kind)) for name, kind in (("a", "map"), ("b", "wait"), ("c", "twice"))]
        builder = PipelineBuilder(PipelineConfig(fuse=fuse)).add(*several, made(DrawnStage("d", "map")))
        return builder.branch("a", "b", "c").merge("d", "b", "c", policy="ordered").build()

    source = [TextElement("1"), TurnEnd(), TextElement("2"), TextElement("3")]
    await pipeline(fuse=True).run(source, record=Recording(path=tmp_path / "a", at=["edges"]))
    played = await replay(tmp_path / "a", pipeline(fuse=False), ignore=())

    assert played, str(played)
    assert played.compared["output"] == 10


STEPS = st.lists(
    st.sampled_from(
        [TextStep("one two three"), ThinkingStep("let me see"), ToolCallStep("look", {"x": 1}), TextStep("ü … 😀")]
    ),
    min_size=1,
    max_size=4,
)


def chat(provider: object) -> Pipeline:
    return PipelineBuilder().chain(ProviderStage(provider, name="model", history=4)).build()


@FEWER
@given(answers=st.lists(STEPS, min_size=1, max_size=3))
async def test_a_recorded_model_says_the_same_bytes(answers: list[list[object]]) -> None:
    """semantics 24.27: a model that is not deterministic is played from the recording, ids and all."""
    turns = [ScriptTurn(steps) for steps in answers]
    source = [one for number in range(len(turns)) for one in (MessageElement(Message("user", str(number))), TurnEnd())]
    async with anyio.TemporaryDirectory() as folder:
        path = Path(folder) / "a.rec"
        await chat(ScriptedProvider(turns=turns)).run(source, record=path)
        provider = await anyio.to_thread.run_sync(partial(recorded_provider, path, "model"))
        played = await replay(path, chat(provider), ignore=())

    assert played, str(played)
    provider.assert_consumed()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_stage_makes_something(kind: str) -> None:
    """A property of graphs that let nothing through would hold for any."""
    pipeline = PipelineBuilder().chain(made(DrawnStage("s", kind))).build()
    assert pipeline.execute_sync(["1", "2", "3"]).elements

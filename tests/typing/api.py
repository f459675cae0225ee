"""What type checkers say about the public face. Never run: mypy and basedpyright read it, `assert_type` is the test."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from streamflow import (
    AudioElement,
    BaseStage,
    FilterStage,
    MapStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    Resource,
    Result,
    RunTimeoutError,
    SendEnd,
    StageError,
    StreamElement,
    TextElement,
    stage,
)
from streamflow.errors import BuildError, Finding, TimeoutKind
from streamflow.graph import Graph, GraphBuilder, SubGraph

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from streamflow.stages import Accepts


@stage
async def shout(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    """Turn each text into capitals."""
    async for element in stream:
        yield TextElement(element.text.upper())


@stage(name="long-enough")
def trim(element: TextElement) -> TextElement:
    """Cut white space off."""
    return TextElement(element.text.strip())


def long_enough(element: TextElement) -> bool:
    """Say whether there is any text."""
    return bool(element.text)


class Join(BaseStage):
    """Two named inputs, one output."""

    inputs: Mapping[str, Accepts] = {"left": TextElement, "right": (TextElement, AudioElement)}

    async def process(self, inputs: Mapping[str, ReceiveEnd[TextElement]], output: SendEnd[TextElement]) -> None:
        """Pass the left one on."""
        async for element in inputs["left"]:
            await output.send(element)


def use_builder(shared: Resource[object]) -> None:
    """Build graphs in each way."""
    sharing = stage(resources=(shared,), outputs={"x": TextElement, "y": None})
    graph = GraphBuilder().chain(shout, trim).build_graph()
    assert_type(graph, Graph)
    nested = SubGraph("inner", graph, buffer=4)
    builder = PipelineBuilder().add(Join, nested).chain(nested, "join:left").connect(shout, trim, buffer=2)
    assert_type(builder, PipelineBuilder)
    assert_type(builder.branch("shout", trim, "join:right", otherwise=nested), PipelineBuilder)
    assert_type(builder.merge("trim", nested, shout).clone().prefixed("left"), PipelineBuilder)
    del sharing


pipeline = PipelineBuilder(PipelineConfig(buffer_size=4)).chain(shout, trim, FilterStage(long_enough)).build()
assert_type(pipeline, Pipeline)
assert_type(trim(TextElement(" a ")), TextElement)
MapStage(trim.func, name="again")


async def use() -> None:
    """Run a pipeline in each way."""
    async with pipeline.execute("hello") as run:
        async for element in run:
            assert_type(element, StreamElement)
        assert_type(run.position, int)
        assert_type(run.run_id, str)
    async for text in pipeline.execute([TextElement("a"), "b"]).text():
        assert_type(text, str)
    result = await pipeline.run("hello")
    assert_type(result, Result)
    assert_type(result.text, str)
    assert_type(result.elements, tuple[StreamElement, ...])


def use_errors(failed: StageError, late: RunTimeoutError, refused: BuildError) -> None:
    """Read what an error tells."""
    assert_type(failed.stage, str)
    assert_type(failed.index, int | None)
    assert_type(failed.suppressed, tuple[StageError, ...])
    assert_type(late.kind, TimeoutKind)
    assert_type(late.limit_s, float)
    assert_type(refused.findings, tuple[Finding, ...])

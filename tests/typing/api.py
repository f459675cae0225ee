"""What type checkers say about the public face. Never run: mypy and basedpyright read it, `assert_type` is the test."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from streamflow import (
    FilterStage,
    MapStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    Result,
    RunTimeoutError,
    StageError,
    StreamElement,
    TextElement,
    stage,
)
from streamflow.errors import BuildError, Finding, TimeoutKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


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

"""Mistakes that a type checker must find. `tests/typing/test_rejected.py` compares each `# rejected:` with what mypy says."""

from __future__ import annotations

from streamflow import MapStage, PipelineBuilder, PipelineConfig, Run, StreamElement, TextElement


def size(element: TextElement) -> int:
    """Return no element."""
    return len(element.text)


pipeline = PipelineBuilder().chain(MapStage(size)).build()  # rejected: arg-type
PipelineBuilder().chain(42)  # rejected: arg-type
PipelineBuilder().connect("a")  # rejected: call-arg
PipelineBuilder().connect("a", "b", 4)  # rejected: call-arg
PipelineBuilder().connect("a", "b", buffer="4")  # rejected: arg-type
PipelineBuilder().branch("a", 42)  # rejected: arg-type
PipelineBuilder().branch("a", "b", otherwise=42)  # rejected: arg-type
PipelineBuilder().merge("a", 42)  # rejected: arg-type
PipelineBuilder().prefixed(42)  # rejected: arg-type
PipelineBuilder("16")  # rejected: arg-type
PipelineConfig(16)  # rejected: call-arg
PipelineConfig(buffer_size="16")  # rejected: arg-type
pipeline.execute(42)  # rejected: arg-type


async def iterate(run: Run) -> str:
    """Take an element for a text."""
    await run.send(42)  # rejected: arg-type
    pipeline.run("hello")  # rejected: unused-coroutine
    async for element in run:
        return element  # rejected: return-value
    element_of_nothing: StreamElement = None  # rejected: assignment
    return str(element_of_nothing)

"""Markers: what the runtime sends to itself among the elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamflow import PassthroughStage, PipelineBuilder, StreamElement, TextElement, stage
from streamflow.elements import Marker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@stage(accepts=(StreamElement, Marker))
async def curious(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
    """Ask for markers, in vain; show what comes."""
    async for element in stream:
        yield TextElement(f"saw {type(element).__name__}")


async def test_no_stage_and_no_consumer_sees_a_marker_even_if_it_names_the_type() -> None:
    """semantics 1.4: a marker is the runtime's own; it passes every stage by and does not leave the run."""
    pipeline = PipelineBuilder().chain(curious, PassthroughStage()).build()
    result = await pipeline.run([Marker(), TextElement("a"), Marker()])
    assert [element.text for element in result.elements if isinstance(element, TextElement)] == ["saw TextElement"]
    assert not any(isinstance(element, Marker) for element in result.elements)

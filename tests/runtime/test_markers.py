"""Markers: what the runtime sends to itself among the elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamflow import (
    EndOfStream,
    PassthroughStage,
    PipelineBuilder,
    StreamElement,
    TextElement,
    TurnEnd,
    TurnStart,
    stage,
)
from streamflow.elements import Marker
from streamflow.testing import EdgeLedger

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


def taking(name: str) -> object:
    """Return a stage that takes boundaries in, and passes them on."""

    @stage(name=name, accepts=(TextElement, TurnEnd))
    async def work(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
        async for element in stream:
            yield element

    return work


@pytest.mark.parametrize(("kind", "markers"), [(PassthroughStage, 0), (taking, 2)])
async def test_a_marker_follows_each_boundary_that_a_stage_before_a_join_may_take_in(kind, markers) -> None:
    """semantics 4.9: one on each way, however many forks it goes through; none elsewhere, and none that leaves or is counted."""
    builder = PipelineBuilder().branch(PassthroughStage(name="in"), PassthroughStage(name="a"), kind("b"))
    builder.branch("b", PassthroughStage(name="c"), kind("d"))
    pipeline = builder.merge(PassthroughStage(name="out"), "a", "c", "d").build()
    turn = [TurnStart(), TextElement("x"), TurnEnd()]
    with EdgeLedger() as ledger:
        *got, end = [element async for element in pipeline.execute(turn * 2)]
    ledger.check(ended=True)
    count = {name: sum(isinstance(one, Marker) for one in edge.sent) for name, edge in ledger.edges.items()}
    assert (count.pop("source → in"), count.pop("out → consumer")) == (0, 0)
    assert set(count.values()) == {markers}
    assert isinstance(end, EndOfStream)
    assert end.totals.elements == len(got) == 2 * (2 + 3)

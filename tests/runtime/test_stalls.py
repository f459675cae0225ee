"""`stall_report_s`: an edge that stands still while the run goes on elsewhere. Of whole runs: `test_deadlocks.py`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import anyio
import pytest

from streamflow import Event, MapStage, PassthroughStage, PipelineBuilder, PipelineConfig, SinkStage, TextElement
from streamflow.observe import EdgeStalled, RunStalled


async def slowly(element: TextElement) -> TextElement:
    await anyio.sleep(30)
    return element


async def ticking(seconds: int) -> AsyncIterator[TextElement]:
    for number in range(seconds):
        await anyio.sleep(1)
        yield TextElement(str(number))


async def heard(builder: PipelineBuilder, seconds: int) -> list[EdgeStalled]:
    events: list[Event] = []
    async with builder.on_event(events.append).build().execute(ticking(seconds)) as run:
        with anyio.move_on_after(seconds):
            async for _element in run:
                pass
    assert not any(isinstance(one, RunStalled) for one in events)
    return [one for one in events if isinstance(one, EdgeStalled)]


def beside(*stages: PassthroughStage | MapStage) -> PipelineBuilder:
    """A run that goes on, and a branch that nobody waits for."""
    config = PipelineConfig(buffer_size=1, stall_report_s=8, fuse=False)
    end = SinkStage(lambda _element: None, name="end")
    return PipelineBuilder(config).chain(PassthroughStage("a")).chain(*stages, end).tap("a", stages[0].name, buffer=4)


async def test_a_full_edge_is_told_with_the_way_to_who_holds_it_up(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 24.9: of all that stand still, the edge nearest to the culprit; once, and again when it has moved."""
    builder = beside(PassthroughStage("b"), PassthroughStage("c"), MapStage(slowly, name="slow"))
    with caplog.at_level(logging.WARNING, logger="streamflow.observe"):
        told = await heard(builder, 100)
    assert [(one.edge, one.state, one.chain, one.culprit) for one in told] == [
        ("c → slow", "full", ("c", "slow"), "slow")
    ] * len(told)
    assert 3 <= len(told) <= 4  # an element leaves it every 30 s
    assert [8 <= one.stalled_s <= 12 for one in told] == [True] * len(told)
    assert "edge 'c → slow' has been full for" in caplog.text
    assert f"c waits for slow, slow waits outside its edges, at {__file__}" in caplog.text
    assert told[0].to_dict()["chain"] == ["c", "slow"]


async def test_an_empty_edge_is_told_while_there_is_work_for_who_writes_it() -> None:
    """semantics 24.9: and not because nothing has come."""
    told = await heard(beside(MapStage(slowly, name="slow")), 60)
    assert [(one.edge, one.state, one.chain) for one in told] == [("slow → end", "empty", ("end", "slow"))] * len(told)
    assert told

    config = PipelineConfig(stall_report_s=2)
    events: list[Event] = []
    builder = PipelineBuilder(config).chain(PassthroughStage("a"), PassthroughStage("b")).on_event(events.append)
    async with builder.build().execute(ticking(20)) as run:
        async for _element in run:
            pass
    assert not any(isinstance(one, (EdgeStalled, RunStalled)) for one in events)

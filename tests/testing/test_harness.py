"""What is told of stages that have not stopped."""

from __future__ import annotations

import re

import anyio
import pytest

from streamflow import MapStage, PipelineBuilder, PipelineConfig, stage
from streamflow.testing import SourceProbe, assert_all_stages_stopped


async def wait_for_ever(element):
    await anyio.sleep_forever()
    return element


async def test_who_waits_for_what_at_which_edge_since_when_is_told() -> None:
    """testing.assert_all_stages_stopped: stages, the source, the consumer; since when, where edges are measured."""
    config = PipelineConfig(buffer_size=1, metrics=True)

    @stage
    async def first(stream):
        async for element in stream:
            yield element

    stuck = MapStage(wait_for_ever, name="stuck")
    pipeline = PipelineBuilder(config).chain(first, stuck).build()
    async with pipeline.execute(source := SourceProbe()):
        await source.send("a", "b", "c", "d")
        await anyio.sleep(12)
        with pytest.raises(AssertionError) as caught:
            await assert_all_stages_stopped()
    told = re.sub(r"run-\S+:", "run:", str(caught.value)).splitlines()
    assert told[:2] == [
        "stages have not stopped:",
        "run: alive are source, first, stuck; begun 12 s ago",
    ]
    assert "  first waits to send on 'first → stuck' (full, 1 of 1) until stuck takes from it, for 12 s" in told
    assert any(re.fullmatch(r"  stuck waits outside its edges, at .*test_harness.py:\d+", line) for line in told)
    assert any(line.startswith("  consumer is in its own code") for line in told)
    assert "  edge source → first: open, 1/1" in told
    await assert_all_stages_stopped()

"""The event loop's lag: who keeps it for itself, seen from another thread while it lasts. No clock is asserted: it is ours."""

from __future__ import annotations

import logging
import threading
from typing import Any

import anyio
import pytest

from streamflow import (
    Event,
    MapStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    SendEnd,
    TextElement,
    stage,
)
from streamflow.errors import ConfigError
from streamflow.observe import LoopBlocked
from streamflow.runtime import LoopLag, LoopMonitor

pytestmark = pytest.mark.real_clock


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_block_is_told_once_with_its_stack_while_it_lasts() -> None:
    """semantics 24.9: and only a block: a loop that beats is left alone."""
    told: list[LoopLag] = []
    clock = Clock()

    def block_the_loop() -> None:
        clock.now_s = 7.0
        while not told:  # only another thread can end this
            pass

    async with LoopMonitor(0.004, report=told.append, clock=clock):
        await anyio.sleep(0.01)
        assert told == []
        block_the_loop()
        await anyio.sleep(0.01)
    (lag,) = told
    assert lag.blocked_s == 7
    assert lag.stage is None
    assert "in test_a_block_is_told_once_with_its_stack_while_it_lasts.<locals>.block_the_loop" in lag.stack[-1]
    assert lag.place.startswith(__file__)
    assert str(lag) == f"the event loop has been blocked for 7 s, at {lag.place}"


async def test_a_stage_that_blocks_the_loop_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 24.9: in an event of the run, and in the log while the block lasts."""
    events: list[Event] = []
    records = caplog.handler.records  # not `caplog.text`, which takes a lock: a look would find the loop in there

    def greedy(element: TextElement) -> TextElement:
        while not any("by 'greedy'" in one.getMessage() for one in records):
            pass
        return element

    async def polite(element: TextElement) -> TextElement:
        await anyio.sleep(0.01)
        return element

    builder = PipelineBuilder(PipelineConfig(lag_warning_s=0.005))
    builder.chain(MapStage(polite, name="polite"), MapStage(greedy, name="greedy"), MapStage(polite, name="end"))
    with caplog.at_level(logging.WARNING, logger="streamflow.observe"):
        result = await builder.on_event(events.append).build().run(["x"])
    assert result.text == "x"
    told = [one for one in events if isinstance(one, LoopBlocked) and one.stage == "greedy"]
    assert told
    assert told[0].blocked_s >= 0.005
    assert any("greedy" in line for line in told[0].stack)
    assert "by 'greedy', at" in caplog.text


@pytest.mark.parametrize("metrics", [False, True])
async def test_each_stage_that_blocks_the_loop_is_told_once(metrics: bool) -> None:
    """semantics 24.9: whatever its form, and though a look before has found somebody else."""
    told: list[str | None] = []
    clock = Clock()
    monitor = LoopMonitor(1, report=lambda lag: told.append(lag.stage), clock=clock)
    clock.now_s = 7.0  # nothing beats

    def look() -> None:
        for _ in range(2):
            monitor.look(threading.get_ident())

    def function(element: TextElement) -> TextElement:
        look()
        return element

    @stage
    async def process(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for element in input:
            look()
            await output.send(element)

    look()
    await PipelineBuilder(PipelineConfig(metrics=metrics)).chain(function, process).build().run(["a", "b"])
    assert told == [None, "function", "process"]
    clock.now_s, monitor.beat_s = 20.0, 8.0
    look()
    assert told == [None, "function", "process", None]


@pytest.mark.parametrize("wrong", [0, -1, float("inf"), True, "soon"])
def test_wrong_limits_are_refused(wrong: Any) -> None:
    """semantics 11.2: at once, by name."""
    with pytest.raises(ConfigError, match="warn_after_s"):
        LoopMonitor(wrong)
    with pytest.raises(ConfigError, match="lag_warning_s"):
        PipelineConfig(lag_warning_s=wrong)

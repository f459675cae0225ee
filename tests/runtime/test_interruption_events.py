"""What an interruption tells: one event, a line in the log, figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from streamflow import MapStage, PassthroughStage, PipelineBuilder, PipelineConfig, TextElement
from streamflow.observe import ElementMoved, RunInterrupted

if TYPE_CHECKING:
    from streamflow import Event


async def test_an_interruption_is_one_event_and_is_counted() -> None:
    """semantics 5.11, 5.12: epoch, reason, what each edge has dropped, which stages were cancelled."""
    heard: list[Event] = []

    async def slowly(element: TextElement) -> TextElement:
        await anyio.sleep(1)
        return element

    pipeline = PipelineBuilder().chain(MapStage(slowly)).on_event(heard.append).build()
    async with pipeline.execute() as run:
        for text in "abc":
            await run.send(text)
        await anyio.wait_all_tasks_blocked()
        run.interrupt("barge-in")
        run.interrupt("again")
        assert run.stats().interruptions == run.epoch == 2
    told = [one for one in heard if isinstance(one, RunInterrupted)]
    assert [(one.epoch, one.reason, dict(one.dropped), one.cancelled) for one in told] == [
        (1, "barge-in", {"source → slowly": 2}, ("slowly",)),
        (2, "again", {}, ("slowly",)),
    ]
    assert told[0].to_dict()["dropped"] == {"source → slowly": 2}


async def test_tracing_times_what_an_interruption_leaves() -> None:
    """semantics 5.12: what was dropped leaves no trace, and does not confuse that of the others."""
    heard: list[ElementMoved] = []

    def note(event: Event) -> None:
        if isinstance(event, ElementMoved) and event.edge == "passthrough → consumer":
            heard.append(event)

    config = PipelineConfig(tracing=True)
    pipeline = PipelineBuilder(config=config).chain(PassthroughStage()).on_event(note).build()
    async with pipeline.execute() as run:
        for element in (TextElement("a"), TextElement("kept", interruptible=False), TextElement("b")):
            await run.send(element)
        await anyio.sleep(1)
        assert sum(run.interrupt().dropped.values()) == 2
        await run.send("new")
        await anyio.sleep(2)
        run.close_input()
        assert [text async for text in run.text()] == ["kept", "new"]
    assert [(one.ordinal, one.waited_s) for one in heard] == [(1, 3), (3, 2)]

"""`run.stats()`: what moved on every edge; and with `metrics`, how full it was and who waited for whom."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from streamflow import PassthroughStage, PipelineBuilder, PipelineConfig, TextElement, stage
from streamflow.errors import RunStateError


@stage
async def slowly(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        await anyio.sleep(1)
        yield element


async def test_a_run_says_what_moved_on_each_edge_and_through_each_stage() -> None:
    """semantics 2.5: counted always, also after the end."""
    pipeline = PipelineBuilder().chain(PassthroughStage("a")).branch("a", slowly, PassthroughStage("b")).build()
    async with pipeline.execute(["x", "y", "z"]) as run:
        await run.result()

    stats = run.stats()
    assert stats.run_id == run.run_id
    assert stats.duration_s == 3
    assert {name: edge.counts.received for name, edge in stats.edges.items()} == {
        "a → slowly": 3,
        "a → b": 3,
        "source → a": 3,
        "slowly → consumer": 3,
        "b → consumer": 3,
    }
    assert {name: (one.received, one.sent) for name, one in stats.stages.items()} == {
        "a": (3, 6),
        "slowly": (3, 3),
        "b": (3, 3),
    }


async def test_metrics_tell_how_full_an_edge_was_and_how_long_its_ends_waited() -> None:
    """semantics 2.5, parity R5: peak and time blocked, with `metrics` alone."""
    config = PipelineConfig(buffer_size=2, metrics=True)
    pipeline = PipelineBuilder(config).chain(PassthroughStage("a"), slowly, PassthroughStage("b")).build()
    async with pipeline.execute([str(number) for number in range(10)]) as run:
        await run.result()

    before, behind = run.stats().edges["a → slowly"], run.stats().edges["slowly → b"]
    assert (before.peak, behind.peak) == (2, 1)
    assert before.send_blocked_s == pytest.approx(7, abs=1)  # ten elements, three of them ahead, a second each
    assert before.receive_blocked_s == 0
    assert behind.send_blocked_s == 0
    assert behind.receive_blocked_s == 10


async def test_the_time_that_an_end_waits_now_counts_too() -> None:
    """parity R21: who looks while a run hangs must see it."""
    async with PipelineBuilder(PipelineConfig(metrics=True)).chain(PassthroughStage("a")).build().execute() as run:
        await run.send("x")
        await anyio.sleep(5)

        assert run.stats().edges["source → a"].receive_blocked_s == 5
        assert run.stats().duration_s == 5
        assert run.stats().edges["a → consumer"].counts.buffered == 1


async def test_without_metrics_nothing_is_measured() -> None:
    """goal: free when off."""
    async with PipelineBuilder().chain(PassthroughStage("a")).build().execute("x") as run:
        await run.result()

    edge = run.stats().edges["source → a"]
    assert (edge.peak, edge.send_blocked_s, edge.receive_blocked_s) == (None, None, None)


async def test_a_run_that_was_not_started_has_nothing_to_say() -> None:
    """how we work 5."""
    with pytest.raises(RunStateError, match="has not been started"):
        PipelineBuilder().chain(PassthroughStage("a")).build().execute("x").stats()

"""Interruptions where other features are at work: supervision, merges that hold elements, added branches, inner stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from streamflow import (
    EndOfStream,
    Message,
    MessageElement,
    PassthroughStage,
    PipelineBuilder,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.providers import ProviderStage, ScriptedProvider
from streamflow.stages import Supervision, TimeoutStage
from streamflow.testing import EdgeLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamflow import Run

KEPT = {"interruptible": False}


async def texts(run: Run) -> list[str]:
    """Read the rest of a run and return what it says."""
    return [one.text async for one in run if isinstance(one, TextElement)]


async def test_a_supervised_stage_is_entered_again_and_not_restarted() -> None:
    """semantics 5.11, 5.7: an interruption is no failure; one that comes between two frames drops what was to be tried again."""
    log: list[str] = []

    @stage
    async def works(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        log.append("begin")
        async for element in stream:
            if element.text == "bad":
                raise ValueError(element.text)
            await anyio.sleep(1)
            yield element

    supervision = Supervision("restart", in_hand="redeliver", attempts=9, min_backoff_s=10)
    pipeline = PipelineBuilder().chain(works).supervise("works", supervision).build()
    async with pipeline.execute() as run:
        await run.send("a")
        await anyio.sleep(0.5)
        done = run.interrupt()
        assert done.cancelled == ("works",)
        await done.settled()
        await anyio.wait_all_tasks_blocked()
        assert log == ["begin", "begin"]
        await run.send("bad")
        await anyio.sleep(0.5)
        run.interrupt()
        await run.send("b")
        run.close_input()
        assert await texts(run) == ["b"]
        assert run.stats().stages["works"].restarts == 1


@pytest.mark.parametrize("policy", ["ordered", "concat", "zip", "zip_latest", "barrier"])
async def test_merges_forget_what_they_hold(policy: str) -> None:
    """semantics 5.11, 4.5: what a merge has taken and not given is on its way too."""
    builder = PipelineBuilder().chain(PassthroughStage(name="a"))
    builder.branch("a", PassthroughStage(name="b"), PassthroughStage(name="c"))
    builder.merge(PassthroughStage(name="d"), "b", "c", policy=policy)  # type: ignore[arg-type]
    with EdgeLedger() as ledger:
        async with builder.build().execute() as run:
            for text in ("1", "2"):
                await run.send(text)
            await run.send(TurnEnd())
            await anyio.wait_all_tasks_blocked()
            run.interrupt()
            await run.send("new")
            run.close_input()
            got = [one async for one in run if not isinstance(one, EndOfStream)]
    assert TurnEnd() in got
    assert not any("1" in repr(one) or "2" in repr(one) for one in got)
    assert "new" in repr(got)
    ledger.check(ended=True)


async def test_a_branch_that_was_added_is_swept() -> None:
    """semantics 5.11: who subscribes hears nothing stale either."""
    builder = PipelineBuilder().chain(PassthroughStage(name="a"))
    builder.branch("a", PassthroughStage(name="b"), dynamic=True)
    async with builder.build().execute() as run, run.subscribe("a") as branch:
        await run.send("1")
        await run.send(TextElement("kept", **KEPT))
        await anyio.wait_all_tasks_blocked()
        run.interrupt()
        run.close_input()
        assert [one.text async for one in branch if isinstance(one, TextElement)] == ["kept"]
        assert await texts(run) == ["kept"]


async def test_a_model_inside_another_stage_leaves_its_cut_message() -> None:
    """semantics 5.11: a turn scope of a stage that runs inside another one is that one's."""
    model = ProviderStage(ScriptedProvider(default="one two three four", delay_s=1))
    async with PipelineBuilder().chain(TimeoutStage(model, total_s=60)).build().execute() as run:
        await run.send(MessageElement(Message("user", "count")))
        await run.send(TurnEnd())
        await anyio.sleep(2.5)
        await run.interrupt().settled()
        run.close_input()
        got = [one async for one in run if isinstance(one, (MessageElement, TextElement))]
    assert [(one.cut, one.message.text) for one in got if isinstance(one, MessageElement)] == [(True, "one two")]
    assert len(got) == 1

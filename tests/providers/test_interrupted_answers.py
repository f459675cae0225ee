"""A model's answer that is interrupted: its beginning is kept, as a cut whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from streamflow import (
    EndOfStream,
    Message,
    MessageElement,
    PipelineBuilder,
    StreamElement,
    TextElement,
    ThinkingElement,
    ToolCallElement,
    TurnEnd,
    TurnStart,
    UsageElement,
)
from streamflow.elements import TextPart, ThinkingPart, ToolCallPart, Usage
from streamflow.providers import ProviderStage, ScriptedProvider

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from streamflow import Run
    from streamflow.providers import ModelRequest


async def ask(run: Run, *texts: str) -> None:
    for text in texts:
        await run.send(MessageElement(Message("user", text)))
    await run.send(TurnEnd())


async def rest(run: Run) -> list[StreamElement]:
    return [one async for one in run if not isinstance(one, EndOfStream)]


async def test_an_interrupted_answer_leaves_its_beginning_as_a_cut_message() -> None:
    """semantics 5.11: one whole with `cut=True` and what had been sent; the next turn is asked as ever."""
    provider = ScriptedProvider(default="one two three four", delay_s=1)
    async with PipelineBuilder().chain(ProviderStage(provider)).build().execute() as run:
        await ask(run, "count")
        await anyio.sleep(2.5)
        done = run.interrupt()
        assert done.cancelled == ("model",)
        await done.settled()
        await ask(run, "again")
        run.close_input()
        start, cut, end, *others = await rest(run)
    assert isinstance(start, TurnStart)
    assert isinstance(cut, MessageElement)
    assert (cut.cut, cut.message.text, cut.message.stop_reason, cut.id) == (
        True,
        "one two",
        "interrupted",
        "scripted-1",
    )
    assert end == TurnEnd(index=0, stop_reason="interrupted")
    wholes = [one for one in others if isinstance(one, MessageElement)]
    assert [(one.cut, one.message.text) for one in wholes] == [(False, "one two three four")]
    assert others[-1] == TurnEnd(index=1)


async def test_an_answer_that_had_not_begun_leaves_no_message() -> None:
    """semantics 5.11: nothing was said, so nothing is to be remembered; the turn is bracketed all the same."""
    async with PipelineBuilder().chain(ProviderStage(ScriptedProvider(delay_s=1))).build().execute() as run:
        await ask(run, "count")
        await anyio.sleep(0.5)
        run.interrupt()
        run.close_input()
        assert await rest(run) == [TurnStart(), TurnEnd(stop_reason="interrupted")]


async def test_the_messages_of_the_next_turn_are_kept() -> None:
    """semantics 5.11: what it collects are wholes."""
    provider = ScriptedProvider()
    async with PipelineBuilder().chain(ProviderStage(provider)).build().execute() as run:
        await run.send(MessageElement(Message("system", "be brief")))
        await anyio.wait_all_tasks_blocked()
        run.interrupt()
        await ask(run, "hello")
        run.close_input()
        await rest(run)
    assert [message.text for message in provider.requests[0].messages] == ["be brief", "hello"]


class _Thoughtful:
    """Thinks, calls a tool, speaks, and takes its time."""

    name = "thoughtful"

    async def stream(self, _request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        yield ThinkingElement("hm", id="1")
        yield ThinkingElement("m", id="1")
        yield ToolCallElement("c1", "look", {"at": "it"}, '{"at": "it"}', id="1")
        yield ToolCallElement("c2", "look", error="no JSON", id="1")
        yield TextElement("I see", id="1")
        yield UsageElement(Usage(output_tokens=3), final=True)
        await anyio.sleep(60)


async def test_a_cut_message_has_the_thoughts_and_tool_calls_that_were_sent() -> None:
    """semantics 5.11: a call that is out has its place in the conversation, and usage that is known is told."""
    async with PipelineBuilder().chain(ProviderStage(_Thoughtful())).build().execute() as run:
        await ask(run, "look")
        await anyio.sleep(1)
        run.interrupt()
        run.close_input()
        got = await rest(run)
    assert [type(one) for one in got] == [
        *(TurnStart, ToolCallElement, ToolCallElement, MessageElement, UsageElement, TurnEnd)
    ]
    cut = got[3]
    assert isinstance(cut, MessageElement)
    assert cut.message.parts == (
        ThinkingPart("hmm"),
        ToolCallPart("c1", "look", {"at": "it"}, '{"at": "it"}'),
        TextPart("I see"),
    )

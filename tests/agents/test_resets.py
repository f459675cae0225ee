"""A model that begins an answer anew in the middle of a turn: what the turn has said before stays."""

from __future__ import annotations

import pytest

from streamflow import Message, MessageElement, PipelineBuilder, TextElement, TurnEnd, TurnReset
from streamflow.agents import AgentStage, agent_tool, tool
from streamflow.apps import ChatSession
from streamflow.elements import ThinkingPart
from streamflow.errors import StageError
from streamflow.providers import (
    ErrorStep,
    FallbackProvider,
    ScriptedProvider,
    ScriptTurn,
    TextStep,
    ThinkingStep,
    ToolCallStep,
    When,
)
from streamflow.stages import ExtractJsonStage
from streamflow.state import MemoryStore, StateStoreLoadStage, StateStoreSaveStage, check_history
from streamflow.testing import run_stage

ASK = MessageElement(Message("user", "How late is it?"))
BUSY = ErrorStep("overloaded", "busy", retryable=True)


@tool
async def clock() -> str:
    """Say what time it is."""
    return "noon"


def falling_back(*second) -> FallbackProvider:
    """Calls a tool, and breaks off in its second answer, which another model then gives."""
    turns = [
        ScriptTurn([TextStep("Let me look. "), ToolCallStep("clock", {})]),
        ScriptTurn([ThinkingStep("Hm."), TextStep("It is mid"), BUSY], when=When(tool_result="clock")),
    ]
    other = ScriptTurn([*second] or [TextStep("It is noon.")])
    return FallbackProvider(
        ScriptedProvider(turns=turns, name="one"), ScriptedProvider(turns=[other], name="two"), reset=True
    )


async def test_an_answer_that_begins_anew_takes_nothing_else_of_its_turn_back():
    """semantics 20.9: of a reset in a later round, the store, `Result.text` and `ChatSession` forget that one answer."""
    async with MemoryStore() as store:
        stages = StateStoreLoadStage(store), AgentStage(falling_back(), [clock]), StateStoreSaveStage(store)
        result = await PipelineBuilder().chain(*stages).build().run([ASK, TurnEnd()], deps={"conversation": "c"})
        stored = (await store.load("c")).messages
    session = ChatSession(PipelineBuilder().chain(AgentStage(falling_back(), [clock])).build())
    async with session.reply("How late is it?") as reply:
        answer = await reply.message()

    [reset] = [one for one in result.elements if isinstance(one, TurnReset)]
    assert reset.answer == next(one.id for one in result.elements if isinstance(one, TextElement) and one.text == "It")
    assert result.text == "Let me look. It is noon."
    assert [one.text for one in stored] == ["How late is it?", "Let me look. ", "", "It is noon."]
    check_history(stored)
    assert (answer.text, len(session.history)) == ("It is noon.", 4)


async def test_a_turn_that_fails_after_a_reset_keeps_what_counts():
    """semantics 19.11: cut in the answer that was begun anew, the turn has its earlier rounds, and nothing that was reset."""
    provider = falling_back(ThinkingStep("So."), TextStep("It is"), BUSY)
    async with MemoryStore() as store:
        stages = StateStoreLoadStage(store), AgentStage(provider, [clock]), StateStoreSaveStage(store)
        with pytest.raises(StageError):
            await PipelineBuilder().chain(*stages).build().run([ASK, TurnEnd()], deps={"conversation": "c"})
        turn = (await store.load("c")).turns[-1]

    assert (turn.status, [one.text for one in turn.messages]) == (
        "cut",
        ["How late is it?", "Let me look. ", "", "It is"],
    )
    assert turn.messages[-1].parts[0] == ThinkingPart("So.")


async def test_an_agent_inside_another_takes_back_its_own_answer_alone():
    """semantics 20.12: whoever looks on learns of it, and what the outer agent has said stays."""
    inner = AgentStage(falling_back(), [clock], name="inner")
    script = [
        ScriptTurn([TextStep("I ask. "), ToolCallStep("helper", {"task": "the time"})]),
        ScriptTurn([TextStep("It said: {result}")]),
    ]
    outer = AgentStage(ScriptedProvider(turns=script), [agent_tool("helper", inner, description="Knows the time.")])
    result = await PipelineBuilder().chain(outer).build().run([TurnEnd(), ASK, TurnEnd(index=7)])

    assert result.text == "I ask. Let me look. It is noon.It said: It is noon."
    assert [(one.index, one.metadata.get("agent")) for one in result.elements if isinstance(one, TurnReset)] == [
        (0, "helper")
    ]


async def test_a_reset_of_one_answer_forgets_its_document_alone():
    """semantics 17.7: of two texts that are read at a time, the one that begins anew is forgotten."""
    given = [TextElement('{"a": "x', id="1"), TextElement('{"a": "y', id="2"), TurnReset(answer="2")]
    given += [TextElement('"}', id="1"), TextElement('{"a": "z"}', id="2")]
    got = await run_stage(ExtractJsonStage(["a"]), given)

    assert [(one.id, one.text) for one in got if isinstance(one, TextElement)] == [("1", "x"), ("2", "y"), ("2", "z")]

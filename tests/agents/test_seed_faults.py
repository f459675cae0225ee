"""Faults of seed 004's chat service, each as a test that it is not so here."""

import threading

import anyio
import anyio.lowlevel
from agent_kit import ASK, calling, check, end, results, said, saying, script, within_a_stage

from streamflow.agents import AgentStage, Tools, tool
from streamflow.elements import MessageElement, ToolCallElement, ToolResultElement
from streamflow.providers import ScriptTurn, TextStep, ThinkingStep, ToolCallStep
from streamflow.testing import run_stage


@tool
async def look(key: str = "a") -> str:
    await anyio.sleep(0.1)
    return f"found {key}"


async def test_tools_do_not_run_in_the_event_loop():
    """semantics 20.2: seed 004: a blocking tool stopped every other conversation."""
    where = []

    @tool
    def block() -> None:
        where.append(threading.get_ident())

    await run_stage(AgentStage(script(calling(("block", {})), saying("x")), [block]), ASK)

    assert where != [threading.get_ident()]


async def test_calls_are_told_before_their_tools_run():
    """semantics 20.9: seed 004: `tool_call` events came together with the results, after the tools had run."""
    seen = []

    @tool
    async def tell() -> None:
        seen.append("ran")

    async def watch(element) -> None:
        await anyio.lowlevel.checkpoint()
        if isinstance(element, (ToolCallElement, ToolResultElement)):
            seen.append(type(element).__name__)

    agent = AgentStage(script(calling(("tell", {})), saying("x")), [tell])
    await within_a_stage(lambda: agent.answer([ASK[0].message], watch))

    assert seen == ["ToolCallElement", "ran", "ToolResultElement"]


async def test_calls_and_results_share_the_id_of_the_provider():
    """semantics 20.4: seed 004: `id_ref` was the provider's id in one place and a number of its own in another."""
    got = await run_stage(AgentStage(script(calling(("look", {}, "toolu_7")), saying("x")), [look]), ASK)
    ids = {one.call_id for one in got if isinstance(one, (ToolCallElement, ToolResultElement))}

    assert ids == {"toolu_7"}
    assert {part.call_id for one in said(got) for part in (*one.tool_calls, *one.tool_results)} == {"toolu_7"}


async def test_the_text_of_every_round_is_kept():
    """semantics 20.9: seed 004: only the text of the last iteration was saved."""
    provider = script(
        calling(("look", {}), text="First."), calling(("look", {"key": "b"}), text="Then."), saying("So.")
    )
    got = await run_stage(AgentStage(provider, [look]), ASK)

    assert [one.text for one in said(got) if one.role == "assistant"] == ["First.", "Then.", "So."]


async def test_parts_stay_in_the_order_in_which_they_were_shown():
    """semantics 20.9: seed 004: thoughts and text that alternate were merged, and saved in another order."""
    steps = [ThinkingStep("a"), TextStep("b"), ThinkingStep("c"), ToolCallStep("look", {})]
    got = await run_stage(AgentStage(script(ScriptTurn(steps), saying("x")), [look]), ASK)

    assert [type(part).__name__ for part in said(got)[0].parts] == [
        *["ThinkingPart", "TextPart", "ThinkingPart", "ToolCallPart"]
    ]


async def test_the_limit_is_no_error_and_says_itself():
    """semantics 20.10: seed 004: after 20 iterations an error came, and nothing that said why the answer was short."""
    got = await run_stage(AgentStage(script(calling(("look", {}), times=None)), Tools([look], max_repeats=99)), ASK)

    assert (end(got).metadata["rounds"], end(got).metadata["limit"]) == (20, "rounds")
    check(got)


async def test_the_same_call_is_not_repeated_for_ever():
    """semantics 20.6: seed 004: the loop stopped by its count alone."""
    got = await run_stage(AgentStage(script(calling(("look", {}), times=None)), [look]), ASK)

    assert [one[1] for one in results(got)] == ["ok"] * 3 + ["error"] * 17


async def test_the_text_of_an_exception_is_told_to_nobody():
    """semantics 20.5: seed 004: `str(e)` was sent to the client, secrets included."""

    @tool
    async def fail() -> None:
        raise ConnectionError("postgres://admin:hunter2@db")

    got = await run_stage(AgentStage(script(calling(("fail", {})), saying("x")), [fail]), ASK)

    assert "hunter2" not in repr(got)


async def test_no_arguments_are_lawful_arguments():
    """semantics 20.6: seed 004's ancestor: the empty text, normal for a tool without arguments, was invalid JSON."""
    provider = script(calling(ToolCallStep("look", raw="")), saying("x"))
    got = await run_stage(AgentStage(provider, [look]), ASK)

    assert results(got)[0][1:] == ("ok", "found a")


async def test_a_writing_tool_is_never_answered_from_memory():
    """semantics 20.4: seed 004's ancestor: a call that had been made before was answered from its history, writes included."""
    written = []

    @tool
    async def write(text: str) -> str:
        written.append(text)
        return "written"

    calls = [("write", {"text": "x"}), ("write", {"text": "x"})]
    await run_stage(AgentStage(script(calling(*calls), saying("x")), [write]), ASK)

    assert written == ["x", "x"]


async def test_what_was_said_cannot_be_changed_later():
    """semantics 20.9: seed 004: the list that the model was sent was the one that the executor changed."""
    provider = script(calling(("look", {})), saying("x"))
    await run_stage(AgentStage(provider, [look]), ASK)

    assert len(provider.requests[0].messages) == 1
    assert isinstance(provider.requests[0].messages, tuple)


async def test_ids_of_messages_are_those_that_were_sent():
    """semantics 20.9: seed 004: `done.message_id` was another id than that of the stored message."""
    got = await run_stage(AgentStage(script(calling(("look", {})), saying("x")), [look]), ASK)
    wholes = [one for one in got if isinstance(one, MessageElement)]

    assert all(one.id == one.message.id for one in wholes)
    assert len({one.id for one in wholes}) == len(wholes)

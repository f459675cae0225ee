"""`ChatSession`: the history holds whole turns only, whichever way a turn ends."""

from __future__ import annotations

import anyio
import pytest

from streamflow import (
    ElementError,
    EndOfStream,
    Message,
    MessageElement,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    RunTimeoutError,
    StageError,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.agents import AgentStage, agent_tool
from streamflow.apps import ChatSession, chat_pipeline
from streamflow.elements import ImagePart
from streamflow.errors import ProviderError, RunStateError
from streamflow.providers import ErrorStep, Rule, ScriptedProvider, ScriptTurn, TextStep, ToolCallStep
from streamflow.testing import assert_all_stages_stopped

FAILING = Rule(
    "fail", "This breaks off here", error=ProviderError("overloaded", "the model is busy", True), error_after=2
)


def provider(**options) -> ScriptedProvider:
    return ScriptedProvider([FAILING, Rule("one", "First."), Rule("two", "Second.")], **options)


def texts(session: ChatSession) -> list[tuple[str, str]]:
    return [(one.role, one.text) for one in session.history]


async def test_a_reply_streams_and_is_remembered() -> None:
    """The documented form; the next turn's model reads the turn before."""
    model = provider()
    session = ChatSession(chat_pipeline(model))

    got: list[str] = []
    for said in ("one", "two"):
        async with session.reply(said) as reply:
            got += [text async for text in reply.text()]

    assert got == ["First.", "Second."]
    assert texts(session) == [("user", "one"), ("assistant", "First."), ("user", "two"), ("assistant", "Second.")]
    assert [one.text for one in model.requests[1].messages[1:]] == ["one", "First.", "two"]
    await assert_all_stages_stopped()


async def test_a_turn_enters_the_history_in_one_step_when_it_ends() -> None:
    """Nobody sees a question without its answer, not even while the answer streams."""
    session = ChatSession(chat_pipeline(provider()))

    async with session.reply("one") as reply:
        async for element in reply:
            if isinstance(element, TurnEnd):
                break
            assert session.history == ()
        assert len(session.history) == 2
        async for element in reply:
            assert isinstance(element, EndOfStream)

    assert len(session.history) == 2


async def test_a_failed_turn_leaves_no_trace_and_can_be_asked_again() -> None:
    """A turn is kept whole or not at all: no question is left without its answer, and none doubled."""
    model = provider()
    session = ChatSession(chat_pipeline(model))
    await session.reply("one").message()

    for _ in range(2):
        got: list[str] = []
        with pytest.raises(StageError, match="the model is busy"):
            async with session.reply("fail") as reply:
                async for text in reply.text():
                    got.append(text)
        assert got == ["This", " breaks"]
    await session.reply("two").message()

    assert texts(session) == [("user", "one"), ("assistant", "First."), ("user", "two"), ("assistant", "Second.")]
    assert [one.text for one in model.requests[-1].messages[1:]] == ["one", "First.", "two"]
    await assert_all_stages_stopped()


async def test_a_cancelled_turn_leaves_no_trace() -> None:
    """Cancelled in the middle of its answer, by a scope of the caller."""
    session = ChatSession(chat_pipeline(provider(delay_s=1.0, split=list)))

    with anyio.move_on_after(2.5) as scope:
        async with session.reply("one") as reply:
            async for _ in reply:
                pass

    assert scope.cancelled_caught
    assert session.history == ()
    await assert_all_stages_stopped()


async def test_a_turn_that_times_out_leaves_no_trace() -> None:
    """The end of the stream says `timeout`; that is no whole turn."""
    pipeline = chat_pipeline(provider(delay_s=1.0, split=list), config=PipelineConfig(timeout_s=2.5))
    session = ChatSession(pipeline)

    with pytest.raises(RunTimeoutError):
        await session.reply("one").message()

    assert session.history == ()


async def test_a_turn_that_is_left_early_leaves_no_trace() -> None:
    """`break` in a bare loop ends the run at once, and the reply is not kept."""
    session = ChatSession(chat_pipeline(provider()))

    async for element in session.reply("one"):
        if isinstance(element, TextElement):
            break
    await anyio.wait_all_tasks_blocked()

    assert session.history == ()
    await assert_all_stages_stopped()


async def test_a_bare_loop_keeps_the_turn_too() -> None:
    """The other lawful form."""
    session = ChatSession(chat_pipeline(provider()))

    got = [element async for element in session.reply("one")]

    assert isinstance(got[-1], EndOfStream)
    assert texts(session) == [("user", "one"), ("assistant", "First.")]


async def test_a_pipeline_that_sends_no_turn_end_is_whole_at_the_end_of_its_run() -> None:
    """Args.pipeline: one of your own needs no more than a message of the assistant."""

    @stage
    async def parrot(element: MessageElement) -> MessageElement:
        return MessageElement(Message("assistant", element.message.text.upper()))

    session = ChatSession(PipelineBuilder().chain(parrot).build())
    async with session.reply("hi") as reply:
        async for element in reply:
            assert isinstance(element, EndOfStream) or session.history == ()

    assert texts(session) == [("user", "hi"), ("assistant", "HI")]


async def test_messages_that_a_pipeline_lets_through_are_not_taken_for_answers() -> None:
    """Only what the assistant and its tools say is an answer; without one, nothing is kept."""

    @stage
    async def through(element: MessageElement) -> MessageElement:
        return element

    session = ChatSession(PipelineBuilder().chain(through).build())

    with pytest.raises(RunStateError, match="no message of the assistant"):
        await session.reply("hi").message()

    assert session.history == ()


async def test_what_an_agent_says_that_is_a_tool_is_no_part_of_the_answer() -> None:
    """semantics 22.3: it streams past whoever iterates elements; the text is that of the answer which is kept, cut off or whole."""

    def pipeline(*answers: ScriptTurn) -> Pipeline:
        inner = AgentStage(ScriptedProvider(turns=[ScriptTurn([TextStep("It is two.")])]), name="inner")
        asks = ScriptTurn([ToolCallStep("maths", {"task": "1+1"})])
        maths = agent_tool("maths", inner, description="Adds.")
        return PipelineBuilder().chain(AgentStage(ScriptedProvider(turns=[asks, *answers]), [maths])).build()

    session = ChatSession(pipeline(ScriptTurn([TextStep("Two.")])))
    async with session.reply("1+1?") as reply:
        said = [text async for text in reply.text()]
    assert "".join(said) == "Two." == session.history[-1].text

    broken = ScriptTurn([TextStep("Two"), ErrorStep(ProviderError("overloaded", "busy", False))])
    async with ChatSession(pipeline(broken)).reply("1+1?") as reply:
        record = await reply.response(errors="record")
    assert (record.content, record.error) == ("Two", "LLM call failed: the model is busy")


async def test_replies_that_overlap_are_each_kept_whole() -> None:
    """Each sees what was whole when it was asked for, and is appended whole when its turn ends."""
    model = provider(delay_s=1.0, split=list)
    session = ChatSession(chat_pipeline(model))

    async with anyio.create_task_group() as group:
        group.start_soon(session.reply("two").message)
        group.start_soon(session.reply("one").message)

    assert texts(session) == [("user", "one"), ("assistant", "First."), ("user", "two"), ("assistant", "Second.")]
    assert all(len(request.messages) == 2 for request in model.requests)


async def test_a_session_goes_on_from_a_history_that_is_given() -> None:
    """Args.history: what was stored yesterday; the list that was given stays the caller's."""
    model = provider()
    before = [Message("user", "I am Ada."), Message("assistant", "Hello, Ada.")]
    session = ChatSession(chat_pipeline(model), history=before)

    answer = await session.reply(Message("user", "one", name="ada")).message()

    assert answer.text == "First."
    assert [one.text for one in model.requests[0].messages[1:]] == ["I am Ada.", "Hello, Ada.", "one"]
    assert len(before) == 2
    assert len(session.history) == 4
    assert session.history[2].name == "ada"


async def test_a_message_of_media_alone_is_something_to_say() -> None:
    """A picture needs no words."""
    session = ChatSession(chat_pipeline(provider(default="A cat.")))

    answer = await session.reply(Message("user", [ImagePart(url="https://example.org/cat.png")])).message()

    assert answer.text == "A cat."


@pytest.mark.parametrize(
    "said", ["", " \n", None, 7, Message("assistant", "hi"), Message("user", ""), Message("user", " ")]
)
def test_what_the_user_cannot_have_said_is_refused_at_once(said) -> None:
    """Raises: before a run begins."""
    with pytest.raises(ElementError, match="what the user says"):
        ChatSession(chat_pipeline(provider())).reply(said)


async def test_dependencies_reach_the_stages() -> None:
    """Args.deps: as for `execute()`; the run itself can be looked at."""

    @stage
    async def who(stream, run):
        async for _ in stream:
            yield MessageElement(Message("assistant", run.deps))

    reply = ChatSession(PipelineBuilder().chain(who).build()).reply("hi", deps="Ada")

    assert reply.run.run_id.startswith("run-")
    assert (await reply.message()).text == "Ada"

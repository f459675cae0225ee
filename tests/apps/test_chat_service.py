"""`ChatService`: conversations in a store, answered step by step, each turn stored once."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import Message, PipelineConfig
from streamflow.agents import Limits, Tools, tool
from streamflow.apps import (
    ChatDone,
    ChatError,
    ChatService,
    ChatSettings,
    ProcessStep,
    StepReset,
    StepShown,
)
from streamflow.apps._chat_records import messages_of
from streamflow.elements import ImagePart, Usage, check_history
from streamflow.errors import ConfigError, ElementError, RunStateError, StateConflictError, StateError
from streamflow.providers import (
    DelayStep,
    ErrorStep,
    FallbackProvider,
    ScriptedProvider,
    ScriptTurn,
    TextStep,
    ThinkingStep,
    ToolCallStep,
    UsageStep,
    split_chars,
)
from streamflow.state import MemoryStore
from streamflow.testing import assert_all_stages_stopped, cancel_sweep
from tests.support.agent_kit import calling, saying, script


@tool
async def look(key: str = "a") -> str:
    """Look something up."""
    return f"seen {key}"


@tool(approve="ask")
async def order(item: str) -> str:
    """Order something."""
    return f"ordered {item}"


@tool
async def hang() -> str:
    """Never end."""
    await anyio.sleep_forever()
    return ""


def replayed(events) -> list[ProcessStep]:
    """Return the steps that a client shows after these events."""
    shown: list[ProcessStep] = []
    for event in events:
        if isinstance(event, StepReset):
            del shown[event.index :]
        elif isinstance(event, StepShown):
            if event.step.index == len(shown):
                shown.append(event.step)
            else:
                before = shown[event.step.index]
                assert (before.id, before.type) == (event.step.id, event.step.type)
                content = before.content + event.step.content if event.delta else event.step.content
                shown[event.step.index] = ProcessStep(before.id, before.index, before.type, content)
    assert [one.index for one in shown] == list(range(len(shown)))
    assert [one.id for one in shown] == [f"step-{number}" for number in range(len(shown))]
    return shown


async def answered(service: ChatService, id: str, said: str = "go", **options) -> list:
    async with service.stream_response(id, said, **options) as response:
        return [event async for event in response]


# Conversations


async def test_conversations_are_made_listed_changed_and_forgotten() -> None:
    """semantics 22.10: with their settings; a page at a time; of two writers of settings one is told."""
    async with MemoryStore() as store:
        service = ChatService(store, ScriptedProvider())
        first = await service.create(ChatSettings(title="One", system="Be brief."), id="ann/1")
        await service.create(id="bob/1")
        await store.create("ann/2")  # something else's
        page = await service.conversations(prefix="ann/", limit=1)
        rest = await service.conversations(prefix="ann/", after=page.next)
        changed = await service.update("ann/1", first.settings.replace(title="Uno"), expected=1)
        with pytest.raises(StateConflictError):
            await service.update("ann/1", first.settings, expected=1)
        with pytest.raises(StateConflictError):
            await service.create(id="ann/1")
        found = await service.conversation("ann/1")
        was_there = [await service.delete("ann/1"), await service.delete("ann/1")]
        for forgotten in (service.conversation, service.messages):
            with pytest.raises(StateError, match="there is no conversation"):
                await forgotten("ann/1")
        again = await service.create(id="ann/1")

    assert [one.title for one in (*page.conversations, *rest.conversations)] == ["One", ""]
    assert (found.settings, found.title, changed.settings_revision) == (changed.settings, "Uno", 2)
    assert was_there == [True, False]
    assert again.settings == ChatSettings()


async def test_the_settings_of_a_conversation_reach_the_model() -> None:
    """semantics 22.10: system prompt, model, temperature, length, thinking, and the tools that were asked for."""
    provider = ScriptedProvider()
    settings = ChatSettings(system="Be brief.", model="m-1", temperature=0.5, max_tokens=99, thinking=True)
    async with MemoryStore() as store:
        service = ChatService(store, provider, tools=[look, order])
        chat = await service.create(settings)
        await answered(service, chat.id)
        await answered(service, chat.id, thinking=False)
        await answered(service, chat.id, tools=["look"])
        await service.update(chat.id, ChatSettings())
        await answered(service, chat.id, tools=[])

    first, second, third, last = provider.requests
    assert (first.model, first.temperature, first.max_tokens, first.effort) == ("m-1", 0.5, 99, "medium")
    assert [one.name for one in first.tools] == ["look", "order"]
    assert (second.effort, len(second.tools)) == (None, 2)
    assert (third.effort, [one.name for one in third.tools]) == ("medium", ["look"])
    assert [one.text for one in first.messages] == ["Be brief.", "go"]
    assert (last.model, last.tools, last.messages[0].role) == (None, (), "user")


async def test_the_model_reads_what_was_said_before_tools_included() -> None:
    """semantics 22.10: seed 004 told it neither of the calls nor of their results."""
    provider = script(calling(("look", {})), saying("It is a."), saying("As I said."))
    async with MemoryStore() as store:
        service = ChatService(store, provider, tools=[look])
        chat = await service.create()
        await answered(service, chat.id)
        await answered(service, chat.id, Message("user", [ImagePart(url="https://example.org/a.png")]))

    messages = provider.requests[2].messages
    assert [one.role for one in messages] == ["user", "assistant", "tool", "assistant", "user"]
    assert messages[2].tool_results[0].text == "seen a"
    check_history(messages)


async def test_each_conversation_may_have_its_own_provider() -> None:
    """semantics 22.10: seed 004: a conversation names its provider; the pipelines are shared by equal settings."""
    known = {"one": ScriptedProvider(default="I am one."), "two": ScriptedProvider(default="I am two.")}
    async with MemoryStore() as store:
        service = ChatService(store, lambda conversation: known[conversation.title])
        texts = []
        for title in ("one", "two", "one"):
            chat = await service.create(ChatSettings(title=title))
            texts.append("".join([text async for text in service.stream_response(chat.id, "who?").text()]))

    assert texts == ["I am one.", "I am two.", "I am one."]


# Steps


async def test_steps_are_numbered_and_say_what_they_are() -> None:
    """semantics 22.11: seed 004, 4.3-4.7: one counter, dense from 0; a call before its result, which refers to its step."""
    turns = [
        ScriptTurn(
            [ThinkingStep("Hm."), TextStep("I look."), ToolCallStep("look", {"key": "b"}), ToolCallStep("nope", {})]
        ),
        ScriptTurn([TextStep("Done.")]),
    ]
    async with MemoryStore() as store:
        service = ChatService(store, script(*turns), tools=[look])
        chat = await service.create()
        events = await answered(service, chat.id)

    thinking, text, call, unknown, result, failed, last = replayed(events)
    assert [one.type for one in (thinking, text, call, unknown, result, failed, last)] == [
        *["thinking", "text", "tool_call", "tool_call", "tool_result", "tool_result", "text"]
    ]
    assert (thinking.content, text.content, last.content) == ("Hm.", "I look.", "Done.")
    assert (call.id_ref, call.tool_call_id, call.name, call.arguments) == (
        "call-1-1",
        "call-1-1",
        "look",
        '{"key":"b"}',
    )
    assert (result.id_ref, result.tool_call_id, result.content) == (call.id, "call-1-1", "seen b")
    assert (result.status, result.success, failed.status, failed.success) == ("ok", True, "error", False)
    assert failed.id_ref == unknown.id


async def test_text_comes_by_pieces_or_as_in_the_seed_whole() -> None:
    """semantics 22.11: with snapshots each event has all of its step, and the same steps come of it."""
    async with MemoryStore() as store:
        service = ChatService(store, ScriptedProvider(default="abcd", split=split_chars()))
        chat = await service.create()
        pieces = await answered(service, chat.id)
        whole = await answered(service, chat.id, snapshots=True)

    assert [one.step.content for one in pieces if isinstance(one, StepShown)] == ["a", "b", "c", "d"]
    assert [one.step.content for one in whole if isinstance(one, StepShown)] == ["a", "ab", "abc", "abcd"]
    assert replayed(pieces) == replayed(whole)


KINDS = st.sampled_from(
    [TextStep("ab"), TextStep(" "), ThinkingStep("cd"), ToolCallStep("look", {}), ToolCallStep("none", {})]
)
ROUNDS = st.lists(st.lists(KINDS, min_size=1, max_size=4), min_size=1, max_size=3)


@pytest.mark.slow
@given(rounds=ROUNDS, breaks=st.integers(0, 2), buffer=st.integers(1, 3), stop_at=st.none() | st.integers(0, 12))
async def test_stored_steps_are_those_that_were_shown(rounds, breaks, buffer, stop_at) -> None:
    """semantics 22.12: whatever the model says, begins anew, or is stopped in: the store gives the same steps, densely numbered."""
    lost = ScriptTurn([TextStep("no"), ThinkingStep("!"), ErrorStep("overloaded", "x", retryable=True)])
    turns = [ScriptTurn([*steps, ToolCallStep("look", {"key": str(n)})]) for n, steps in enumerate(rounds)]
    provider = ScriptedProvider(turns=[*turns, ScriptTurn([TextStep("end")])], name="two", split=split_chars())
    asked = FallbackProvider(ScriptedProvider(turns=[lost] * breaks, name="one"), provider, reset=True)
    async with MemoryStore() as store:
        service = ChatService(
            store, asked, tools=Tools([look], max_repeats=2), config=PipelineConfig(buffer_size=buffer)
        )
        chat = await service.create()
        events = []
        async with service.stream_response(chat.id, "go") as response:
            async for event in response:
                events.append(event)
                if len(events) == stop_at:
                    response.stop()
        stored = (await service.messages(chat.id))[-1]
        check_history((await store.load(chat.id)).messages)

    assert isinstance(events[-1], ChatDone)
    assert not any(isinstance(one, ChatDone | ChatError) for one in events[:-1])
    assert (stored.id, stored.status) == (
        events[-1].message_id,
        "cut" if events[-1].stop_reason == "interrupted" else "whole",
    )
    assert list(stored.steps) == replayed(events)


# The end


async def test_done_comes_after_the_commit_with_the_id_that_is_stored() -> None:
    """semantics 22.13: seed 004 told an id of its own; usage is summed over the calls, and stored with the turn."""
    turns = [
        ScriptTurn([ToolCallStep("look", {}), UsageStep(Usage(input_tokens=10, output_tokens=3))]),
        ScriptTurn([TextStep("x"), UsageStep(Usage(input_tokens=20, output_tokens=4))]),
    ]
    async with MemoryStore() as store:
        service = ChatService(store, script(*turns), tools=[look])
        chat = await service.create()
        async for event in service.stream_response(chat.id, "go"):
            if isinstance(event, ChatDone):
                found = await store.find(chat.id, event.message_id)
                done = event
        asked, message = await service.messages(chat.id)

    assert found is not None
    assert (done.message_id, done.token_count, done.usage.total_tokens) == (message.id, 7, 37)
    assert (message.token_count, message.usage.total_tokens, asked.text) == (7, 37, "go")


async def test_after_twenty_rounds_it_ends_with_the_seed_s_error_and_keeps_the_work() -> None:
    """semantics 22.13: seed 004, 4.11; any other limit has a name of its own."""
    async with MemoryStore() as store:
        service = ChatService(store, script(calling(("look", {}), times=None)), tools=Tools([look], max_repeats=99))
        chat = await service.create()
        events = await answered(service, chat.id)
        strict = ChatService(store, script(calling(("look", {}))), tools=[look], limits=Limits(calls=1, tokens=1))
        other = await answered(strict, chat.id)
        kept = (await service.messages(chat.id))[1]

    assert events[-1] == ChatError("Exceeded maximum tool call iterations", "limit", kept.id)
    assert len([one for one in kept.steps if one.type == "tool_result"]) == 20
    assert (other[-1].code, other[-1].content) == ("limit_tokens", "Exceeded the limit of tokens")


async def test_a_failure_is_one_error_without_the_words_of_the_exception(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 22.13: seed 004 sent `str(e)`; what was done is kept as cut."""
    turns = [
        calling(("look", {}), text="First."),
        ScriptTurn([TextStep("Then"), ErrorStep("overloaded", "key sk-123 at 10.0.0.1", retryable=True)]),
    ]
    async with MemoryStore() as store:
        service = ChatService(store, script(*turns), tools=[look])
        chat = await service.create()
        events = await answered(service, chat.id)
        kept = (await service.messages(chat.id))[-1]

    assert events[-1] == ChatError("The model is busy. Try again later.", "overloaded")
    assert sum(isinstance(one, ChatDone | ChatError) for one in events) == 1
    assert "sk-123" not in repr(events) + caplog.text
    assert (kept.status, kept.text, list(kept.steps)) == ("cut", "First.\n\nThen", replayed(events))


async def test_a_store_that_fails_is_an_error_and_nothing_is_done() -> None:
    """semantics 22.13: seed 004, 4.13: `done` comes after the commit, or not at all."""
    async with MemoryStore() as store:
        service = ChatService(store, ScriptedProvider(delay_s=1))
        chat = await service.create()
        await answered(service, chat.id)
        async with service.stream_response(chat.id, "one two three") as response:
            events = [await anext(aiter(response))]
            await service.delete(chat.id)
            events += [event async for event in response]

    assert isinstance(events[-1], ChatError)
    assert (events[-1].code, sum(isinstance(one, ChatDone) for one in events)) == ("conflict", 0)


async def test_a_response_that_takes_too_long_says_so() -> None:
    """semantics 22.13: a limit of time is one `ChatError`, too."""
    async with MemoryStore() as store:
        service = ChatService(store, ScriptedProvider(delay_s=9), config=PipelineConfig(timeout_s=5))
        chat = await service.create()
        events = await answered(service, chat.id)

    assert [one.code for one in events] == ["timeout"]


# Who leaves, who stops, who else writes


@pytest.mark.parametrize("cut", ["store", "drop"])
@pytest.mark.parametrize("leave", ["block", "loop"])
async def test_a_client_that_leaves_ends_the_tools_and_leaves_a_whole_history(cut: str, leave: str) -> None:
    """semantics 22.14: stored as cut, each call with one result, or not at all; by `async with` and by a bare loop."""
    provider = script(calling(("look", {}), ("hang", {}), text="I try."), saying("x"))
    async with MemoryStore() as store:
        service = ChatService(store, provider, tools=[look, hang], cut=cut)
        chat = await service.create()
        if leave == "block":
            async with service.stream_response(chat.id, "go") as response:
                async for event in response:
                    if isinstance(event, StepShown) and event.step.type == "tool_result":
                        break
        else:
            async for event in service.stream_response(chat.id, "go"):
                if isinstance(event, StepShown) and event.step.type == "tool_result":
                    break
        await assert_all_stages_stopped()
        messages = await service.messages(chat.id)
        check_history((await store.load(chat.id)).messages)

    if cut == "drop":
        assert messages == ()
        return
    assert (messages[1].status, messages[1].text) == ("cut", "I try.")
    assert [(one.name, one.status) for one in messages[1].steps if one.type == "tool_result"] == [
        *[("look", "ok"), ("hang", "cancelled")]
    ]


async def test_a_response_cancelled_at_every_tick_leaves_a_whole_turn_or_none() -> None:
    """semantics 22.14: cancelled anywhere, a lawful history, one result for each call, no task, and what was shown at least."""
    seen = set()
    async with MemoryStore() as store:
        events: list = []

        async def talk() -> None:
            provider = script(calling(("look", {}), ("look", {"key": "b"}), text="So."), saying("ab"))
            events.clear()
            async with ChatService(store, provider, tools=[look]).stream_response("c", "go") as response:
                async for event in response:
                    events.append(event)

        async def check(_outcome) -> None:
            history = await store.load("c")
            check_history(history.messages)
            kept = messages_of(history.turns[0])[1] if history.turns else None
            seen.add("" if kept is None else kept.status)
            shown = replayed(events)
            assert kept is not None or not shown
            for before, after in zip(shown, kept.steps if kept is not None else (), strict=False):
                assert (before.id, before.type) == (after.id, after.type)
                assert before.type == "tool_result" or after.content.startswith(before.content)
            await store.delete("c")
            await store.create("c")

        await store.create("c")
        await cancel_sweep(talk, check=check)

    assert seen == {"", "cut", "whole"}


async def test_a_response_that_is_stopped_is_done_and_stored_as_far_as_it_came() -> None:
    """semantics 22.14: the one who stops learns under which id; the next turn goes on from there."""
    provider = script(ScriptTurn([TextStep("one two"), DelayStep()]), saying("Go on."))
    async with MemoryStore() as store:
        service = ChatService(store, provider)
        chat = await service.create()
        async with service.stream_response(chat.id, "count") as response:
            shown = 0
            events = []
            async for event in response:
                events.append(event)
                shown += isinstance(event, StepShown)
                if shown == 2:
                    response.stop()
            response.stop()  # it is over
        await answered(service, chat.id, "and?")
        kept = (await service.messages(chat.id))[1]

    assert (events[-1].stop_reason, events[-1].message_id) == ("interrupted", kept.id)
    assert (kept.status, kept.text) == ("cut", "one two")
    assert [one.text for one in provider.requests[1].messages] == ["count", "one two", "and?"]
    with pytest.raises(RunStateError, match="async with"):
        service.stream_response(chat.id, "x").stop()


async def test_who_stops_before_the_answer_has_begun_cancels() -> None:
    """semantics 22.14: there is one end all the same."""
    async with MemoryStore() as store:
        service = ChatService(store, ScriptedProvider(delay_s=5))
        chat = await service.create()
        async with service.stream_response(chat.id, "x") as response:
            response.stop()
            events = [event async for event in response]

    assert [one.code for one in events] == ["cancelled"]


async def test_of_two_responses_at_a_time_one_is_stored_and_the_other_is_told() -> None:
    """semantics 22.14: two writers: the second one's turn is not stored, and its client knows."""
    async with MemoryStore() as store:
        service = ChatService(store, ScriptedProvider(delay_s=1))
        chat = await service.create()
        ends = []

        async def ask(said: str) -> None:
            ends.append((said, (await answered(service, chat.id, said))[-1]))

        async with anyio.create_task_group() as group:
            group.start_soon(ask, "short")
            group.start_soon(ask, "a longer one")
        messages = await service.messages(chat.id)

    (first, done), (second, refused) = ends
    assert (first, second, refused.code) == ("short", "a longer one", "conflict")
    assert [one.id for one in messages if one.role == "assistant"] == [done.message_id]


async def test_a_call_that_waits_for_a_person_goes_on_where_it_was() -> None:
    """semantics 22.15: `done` names the calls; what has run does not run again, and the numbers of the steps go on."""
    provider = script(calling(("look", {}), ("order", {"item": "lamp"})), saying("Done."))
    async with MemoryStore() as store:
        service = ChatService(store, provider, tools=[look, order])
        chat = await service.create()
        first = await answered(service, chat.id)
        done = first[-1]
        async with service.resume(chat.id, dict.fromkeys(done.pending, True)) as response:
            second = [event async for event in response]
        stored = (await service.messages(chat.id))[-1]
        with pytest.raises(StateError, match="no call"):
            await anext(aiter(service.resume(chat.id, {"x": True})))

    assert (done.stop_reason, done.pending) == ("approval", ("call-1-2",))
    assert (second[-1].stop_reason, second[-1].message_id) == ("stop", done.message_id)
    assert list(stored.steps) == replayed([*first[:-1], *second])
    assert [one.content for one in stored.steps if one.type == "tool_result"] == ["seen a", "ordered lamp"]
    assert (stored.status, provider.calls) == ("whole", 2)


async def test_what_is_wrong_is_said_at_once() -> None:
    """semantics 22.10: by name, before anything runs."""
    async with MemoryStore() as store:
        service = ChatService(store, ScriptedProvider(), tools=[look])
        for said in ("", " \n", Message("assistant", "x")):
            with pytest.raises(ElementError, match="takes what the user says"):
                service.stream_response("c", said)
        with pytest.raises(ConfigError, match="no tool 'nope'; the tools are: look"):
            service.stream_response("c", "x", tools=["nope"])
        with pytest.raises(ConfigError, match="decisions"):
            service.resume("c", {})
        for response in (service.stream_response("nobody", "x"), service.resume("nobody", {"a": True})):
            with pytest.raises(StateError, match="there is no conversation 'nobody'"):
                await anext(aiter(response))
        with pytest.raises(ConfigError, match="cut"):
            ChatService(store, ScriptedProvider(), cut="keep")
        await store.create("c")
        await store.put("chat/c", {"title": 7})
        with pytest.raises(StateError, match="holds no settings"):
            await service.conversation("c")
    for wrong in ({"title": "x" * 201}, {"temperature": -1}, {"max_tokens": 0}):
        with pytest.raises(ConfigError):
            ChatSettings(**wrong)

"""Rows C1–C9: seed 000's chat, its own program through the adapter and ours natively, and what the original got wrong."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import stageflow.helpers  # noqa: F401 - the seed's stage imports it inside the event loop, which reads a file the first time

from streamflow import (
    ConfigError,
    DataElement,
    Event,
    Message,
    MessageElement,
    PipelineBuilder,
    StageError,
    TextElement,
    TurnEnd,
    TurnReset,
    wrap_middleware,
)
from streamflow.apps import DEFAULT_RULES, DEFAULT_SYSTEM, ChatSession, ChatTokenStage, LLMResponse, chat_pipeline
from streamflow.errors import ProviderError
from streamflow.providers import Rule, ScriptedProvider, ScriptTurn, ToolCallStep
from streamflow.stages import RouteRule, RouteStage
from streamflow.testing import assert_all_stages_stopped, run_stage

SEEDS = Path(__file__).parent / "seeds"
OUTPUT = (SEEDS / "000_output.txt").read_text(encoding="utf-8")
PROGRAM = (SEEDS / "000_chat_pipeline.py.txt").read_text(encoding="utf-8")
INPUTS = ("Hello, how are you?", "I need help with my account", "I want to buy a subscription")
SECRET = "sk-very-secret-0123456789"

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)


# Seed 000's complete example, run as it stands there.
SEED: dict[str, Any] = {"__name__": "seed_000"}
exec(compile(PROGRAM, "seed_000", "exec"), SEED)


@on_asyncio
@pytest.mark.filterwarnings("ignore::DeprecationWarning:stageflow", "ignore:.*:DeprecationWarning")
async def test_c8_and_c9_the_seeds_program_through_the_adapter_prints_what_it_prints_itself() -> None:
    """C8, C9: the stages of the seed, unchanged, in our pipeline: the seed's output byte for byte, and the original's."""
    graph = wrap_middleware("router", SEED["RouterStage"])
    llm = wrap_middleware("llm", SEED["LLMStage"], config={"llm_client": SEED["MockLLMClient"]()})
    pipeline = PipelineBuilder().chain(graph, llm).build()
    printed = ""
    for text in INPUTS:
        result = await pipeline.run(text)
        (data,) = [one for one in result.elements if isinstance(one, DataElement)]
        route = data.value["route"]  # type: ignore[index, call-overload]
        printed += f"Input: {text}\nRoute: {route}\nResponse: {result.response}\n\n"
    original = io.StringIO()
    with contextlib.redirect_stdout(original):
        await SEED["main"]()

    assert printed == original.getvalue() == OUTPUT + "\n"


async def test_c8_the_native_chat_with_the_seeds_client_says_what_the_seed_says() -> None:
    """C8: the same words from our own route, prompt and model, with the seed's client as it is."""
    system = {"support": "You are a support agent.", "sales": "You are a sales assistant.", "general": "You help."}
    rules = [RouteRule("support", ["help"]), RouteRule("sales", ["buy"])]
    client = MockLLMClient()
    printed = ""
    for text in INPUTS:
        result = await chat_pipeline(client, system=system, rules=rules, model="mock-model").run(text)
        route = next(name for name, words in system.items() if client.asked["messages"][0]["content"] == words)
        printed += f"Input: {text}\nRoute: {route}\nResponse: {result.response}\n\n"

    assert printed == OUTPUT + "\n"


def test_c8_the_example_prints_the_seeds_output() -> None:
    """C8: what example 35 prints first, as `tests/docs/test_examples.py` holds, is the seed's output byte for byte."""
    expected = SEEDS.parents[2] / "examples/expected/35_chat_pipeline.txt"

    assert expected.read_text(encoding="utf-8").startswith(OUTPUT + "\n")


class MockLLMClient:
    """Answers as seed 000's."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: dict[str, Any] = {}
        self.error = error

    async def chat(self, messages: list[dict[str, str]], model: str, temperature: float, max_tokens: int) -> str:
        self.asked = {"messages": messages, "model": model, "temperature": temperature, "max_tokens": max_tokens}
        await anyio.sleep(0.5)
        if self.error is not None:
            raise self.error
        return f"I received your message: '{messages[-1]['content']}'. How can I help you further?"


@pytest.mark.parametrize(
    ("text", "route", "confidence"),
    [
        ("an ISSUE: help, what is the price?", "support", 0.9),
        ("What is the PRICE?", "sales", 0.85),
        ("Hello", "general", 0.7),
    ],
)
async def test_c1_the_first_rule_wins_and_says_how_sure_it_is(text: str, route: str, confidence: float) -> None:
    """C1: rules in order, upper or lower case, confidence, default."""
    provider = ScriptedProvider()
    await chat_pipeline(provider).run(text)

    rule = RouteStage(DEFAULT_RULES).match(text)

    assert (rule.label, rule.confidence) == (route, confidence)
    assert provider.requests[0].messages[0].text == DEFAULT_SYSTEM[route]


async def test_c2_the_model_reads_the_last_ten_messages_and_then_the_users() -> None:
    """C2: system by route, the last 10 of the history, then what the user says; an unknown route has the general one."""
    history = [Message("user" if n % 2 == 0 else "assistant", f"m{n}") for n in range(14)]
    client = MockLLMClient()
    pipeline = chat_pipeline(client, rules=[RouteRule("elsewhere", ["more"])])

    result = await pipeline.run([*map(MessageElement, history), TextElement("Can you explain more?")])

    asked = client.asked["messages"]
    assert [one["role"] for one in asked] == ["system", *(["user", "assistant"] * 5), "user"]
    assert asked[0]["content"].startswith("You are a helpful AI assistant.")
    assert [one["content"] for one in asked[1:]] == [*(f"m{n}" for n in range(4, 14)), "Can you explain more?"]
    assert [one.role for one in result.messages] == ["assistant"]


async def test_c3_another_model_changes_nothing_else() -> None:
    """C3: the same pipeline around a client with `chat()`, one with `stream_chat()`, a provider, a name."""

    class Streaming:
        async def stream_chat(self, messages: list[dict[str, str]]) -> AsyncIterator[str]:
            for piece in ("one ", "two"):
                yield piece

    for model in (MockLLMClient(), Streaming(), ScriptedProvider(default="yes"), "mock"):
        result = await chat_pipeline(model).run("hi")
        assert result.response == result.text != ""


async def test_c4_whoever_asks_gets_the_record_of_the_response() -> None:
    """C4: content, provider, model, tokens, latency on the run's clock, finish reason; in the seed's words as a dict."""
    provider = ScriptedProvider(default="one two", delay_s=1, name="groq")
    session = ChatSession(chat_pipeline(provider, model="llama-3.1-8b-instant"))

    async with session.reply("hi") as reply:
        first = await anext(reply.text())
        response = await reply.response()

    assert first == "one"
    expected = {
        "content": "one two", "provider": "groq", "model": "llama-3.1-8b-instant", "output_tokens": 2,
        "latency_ms": 2000.0, "finish_reason": "stop", "tool_calls": [], "cached_tokens": None,
    }  # fmt: skip
    told = response.to_dict()
    assert {key: told[key] for key in expected} == expected
    assert told["total_tokens"] == response.input_tokens + 2
    assert response.ok
    assert LLMResponse(content="").total_tokens is None


async def test_c4_the_record_has_the_tool_calls_and_says_when_an_answer_was_cut_off() -> None:
    """C4: `tool_calls`, `finish_reason`."""
    provider = ScriptedProvider(turns=[ScriptTurn([ToolCallStep("weather", {"city": "Rome"}, call_id="c1")])])
    async with ChatSession(chat_pipeline(provider)).reply("hi") as reply:
        response = await reply.response()

    assert response.finish_reason == "tool_calls"
    assert response.to_dict()["tool_calls"] == [{"id": "c1", "name": "weather", "arguments": {"city": "Rome"}}]
    async with ChatSession(chat_pipeline(ScriptedProvider(default="a b c"), max_tokens=2)).reply("hi") as reply:
        assert (await reply.response()).finish_reason == "length"


@pytest.mark.parametrize("on_failure", ["error", "end_turn"])
async def test_c5_a_failure_is_data_where_that_is_asked_for(on_failure: Any) -> None:
    """C5: `LLM call failed: …` with the type of the error in the record, without the client's own words; nothing is remembered."""
    pipeline = chat_pipeline(MockLLMClient(PermissionError(SECRET)), on_failure=on_failure)
    session = ChatSession(pipeline)

    async with session.reply("hi") as reply:
        response = await reply.response(errors="record")

    assert response.error == "LLM call failed: client 'MockLLMClient' failed: PermissionError"
    assert (response.error_type, response.finish_reason, response.latency_ms) == ("PermissionError", "error", 500.0)
    assert not response.ok
    assert SECRET not in repr(response)
    assert session.history == ()
    assert response.to_dict()["error_type"] == "PermissionError"


async def test_c5_without_asking_a_failure_is_raised_and_what_was_said_before_it_stays() -> None:
    """C5: `on_failure="error"` is the default; the record has the text so far. The original lost partial results."""
    failing = Rule("", "Some words here", error=ProviderError("overloaded", "busy", True), error_after=2)
    session = ChatSession(chat_pipeline(ScriptedProvider([failing])))

    with pytest.raises(StageError):
        async with session.reply("hi") as reply:
            await reply.response()
    async with session.reply("hi") as reply:
        response = await reply.response(errors="record")

    assert (response.content, response.error) == ("Some words", "LLM call failed: busy")
    with pytest.raises(ConfigError, match="errors"):
        await session.reply("hi").response(errors="ignore")  # type: ignore[arg-type]


async def test_c5_a_failed_turn_among_others_is_an_element_and_the_rest_is_answered() -> None:
    """C5: in a run of several turns the failure is an `ErrorElement` in its place."""
    turns = [Rule("bad", "", error=ProviderError("auth", "no"), error_after=0), Rule("", "fine")]
    source = [TextElement("bad"), TurnEnd(), TextElement("good"), TurnEnd()]

    result = await chat_pipeline(ScriptedProvider(turns), on_failure="end_turn").run(source)

    (error,) = result.errors
    assert (error.code, error.message, error.fatal) == ("auth", "LLM call failed: no", False)
    assert result.text == "fine"


async def test_c7_each_token_is_an_event_with_the_text_so_far_on_request() -> None:
    """C7: `chat.token` in order, before the fragment goes on; `partial_response` only where it is asked for."""
    heard: list[Event] = []
    provider = ScriptedProvider(default="one two three")

    await chat_pipeline(provider, chat_events="token", listeners=[heard.append]).run("hi")
    await chat_pipeline(provider, chat_events="partial", listeners=[heard.append]).run("hi")
    told = [one.data for one in heard if one.name == "chat.token"]

    assert told[:3] == [{"token": "one"}, {"token": " two"}, {"token": " three"}]
    assert [one["partial_response"] for one in told[3:]] == ["one", "one two", "one two three"]
    assert dict(told[4]) == {"token": " two", "partial_response": "one two"}
    assert "partial" not in repr(told[0])
    heard.clear()
    await chat_pipeline(provider, listeners=[heard.append]).run("hi")
    assert not [one for one in heard if one.name == "chat.token"]


async def test_c7_the_text_so_far_costs_nothing_until_it_is_looked_at() -> None:
    """The original: 20 000 tokens made 800 MB of partial texts. Here an event holds its token and its place among all."""
    heard: list[Event] = []
    tokens = [TextElement("x" * 10, id="a") for _ in range(2000)]
    again = [TurnReset(), TextElement("new", id="a")]

    builder = PipelineBuilder().chain(ChatTokenStage(partial=True)).on_event(heard.append)
    await builder.build().run([*tokens, *again])
    told = [one.data for one in heard if one.name == "chat.token"]

    held = {id(one._said) for one in told[:2000]}  # type: ignore[attr-defined]
    assert len(held) == 1
    assert len(told[1999]["partial_response"]) == 20_000  # type: ignore[arg-type]
    assert told[2000]["partial_response"] == "new"


async def test_the_pipeline_is_shared_by_runs_that_fail_and_runs_that_do_not() -> None:
    """The original: one failing run cancelled a healthy one on the same graph."""
    failing = Rule("bad", "", error=ProviderError("auth", "no"), error_after=0)
    pipeline = chat_pipeline(ScriptedProvider([failing], delay_s=1))
    got: list[str] = []

    async def ask(text: str) -> None:
        try:
            got.append((await pipeline.run(text)).response)
        except StageError as error:
            got.append(str(error.__cause__))

    async with anyio.create_task_group() as group:
        for text in ("good", "bad", "fine"):
            group.start_soon(ask, text)

    assert sorted(got) == ["You said: fine", "You said: good", "no"]


async def test_cancelling_who_waits_cancels_the_models_call() -> None:
    """The original: its stages ran on after their caller was cancelled."""
    ended: list[str] = []

    class Slow:
        async def chat(self, **_: object) -> str:
            try:
                await anyio.sleep(3600)
            finally:
                ended.append("call")
            return ""

    with anyio.move_on_after(1):
        await chat_pipeline(Slow()).run("hi")  # type: ignore[arg-type]

    assert ended == ["call"]
    await assert_all_stages_stopped()


async def test_a_token_stage_forwards_what_it_tells() -> None:
    """`ChatTokenStage` changes nothing of the stream, at capacity 1 and for an empty input."""
    said = [TextElement("a"), TextElement("b")]
    assert await run_stage(ChatTokenStage(partial=True), said, capacity=1) == said
    assert await run_stage(ChatTokenStage(), []) == []


def test_a_wrong_choice_of_events_is_refused() -> None:
    """The field is named, where the pipeline is made."""
    with pytest.raises(ConfigError) as caught:
        chat_pipeline(ScriptedProvider(), chat_events="all")  # type: ignore[arg-type]

    assert caught.value.field == "chat_events"

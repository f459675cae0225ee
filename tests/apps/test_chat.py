"""`chat_pipeline()`: route → prompt → model."""

from __future__ import annotations

import anyio
import pytest

from streamflow import (
    ConfigError,
    EndOfStream,
    Message,
    MessageElement,
    PipelineConfig,
    RunTimeoutError,
    TextElement,
    TurnEnd,
    TurnStart,
    UsageElement,
)
from streamflow.apps import chat_pipeline
from streamflow.providers import Rule, ScriptedProvider
from streamflow.stages import RouteRule


@pytest.mark.parametrize(
    ("text", "system"),
    [
        ("Hello", "You are a helpful AI assistant. Be friendly and informative."),
        ("I need help", "You are a helpful support agent. Be empathetic and solution-focused."),
        ("What is the price?", "You are a friendly sales assistant. Be helpful but not pushy."),
    ],
)
async def test_the_model_reads_the_prompt_of_the_route_and_what_the_user_says(text: str, system: str) -> None:
    """Seed 000, the longer form: its routes and its system prompts are the defaults."""
    provider = ScriptedProvider()

    result = await chat_pipeline(provider).run(text)

    assert [(one.role, one.text) for one in provider.requests[0].messages] == [("system", system), ("user", text)]
    assert result.response == f"You said: {text}"


async def test_a_turn_comes_out_from_its_start_to_its_end() -> None:
    """Out: fragments while the model speaks, the whole once, the usage, the end of the turn."""
    result = await chat_pipeline(ScriptedProvider(default="one two")).run("hi")

    assert [type(one) for one in result.elements] == [
        TurnStart,
        TextElement,
        TextElement,
        MessageElement,
        UsageElement,
        TurnEnd,
    ]
    assert result.text == result.response == "one two"


async def test_tokens_arrive_while_the_model_is_still_speaking() -> None:
    """Semantics 5.3: each token leaves the pipeline before the next is made, a virtual second later."""
    began = anyio.current_time()
    async with chat_pipeline(ScriptedProvider(default="a b c", delay_s=1.0)).execute("hi") as run:
        arrivals = [anyio.current_time() - began async for _ in run.text()]

    assert arrivals == pytest.approx([1.0, 2.0, 3.0])


async def test_the_history_goes_along_as_far_as_it_is_allowed_to() -> None:
    """Args.history_limit: the latest messages of what was said before."""
    provider = ScriptedProvider()
    history = [MessageElement(Message(role, f"{role} {turn}")) for turn in range(3) for role in ("user", "assistant")]

    await chat_pipeline(provider, history_limit=2).run([*history, "now"])

    assert [one.text for one in provider.requests[0].messages[1:]] == ["user 2", "assistant 2", "now"]


async def test_the_options_reach_the_stages() -> None:
    """Args: rules and system texts of your own; what the model is asked with."""
    provider = ScriptedProvider()
    pipeline = chat_pipeline(
        provider,
        rules=[RouteRule("poem", ["rhyme"])],
        system={"poem": "You rhyme.", "general": "You do not."},
        model="m",
        temperature=0.5,
        max_tokens=9,
    )

    await pipeline.run("a rhyme")

    [request] = provider.requests
    assert request.messages[0].text == "You rhyme."
    assert (request.model, request.temperature, request.max_tokens) == ("m", 0.5, 9)


async def test_an_answer_that_takes_too_long_ends() -> None:
    """Args.config: `timeout_s` bounds one answer."""
    pipeline = chat_pipeline(ScriptedProvider(delay_s=10.0), config=PipelineConfig(timeout_s=3.0))

    with pytest.raises(RunTimeoutError):
        await pipeline.run("hi")

    assert anyio.current_time() == pytest.approx(3.0, abs=0.5)


async def test_one_pipeline_serves_many_chats_at_once() -> None:
    """Runs share nothing: twenty turns of one pipeline, each with its own answer."""
    pipeline = chat_pipeline(ScriptedProvider([Rule(r"number (\d+)", "It is {1}.")], delay_s=0.1))
    answers: dict[int, str] = {}

    async def ask(number: int) -> None:
        answers[number] = (await pipeline.run(f"number {number}")).response

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(ask, number)

    assert answers == {number: f"It is {number}." for number in range(20)}


async def test_a_live_session_of_several_turns_in_one_run() -> None:
    """In: `TurnEnd` ends a turn; without the history each turn stands alone."""
    provider = ScriptedProvider()
    with anyio.fail_after(5):
        async with chat_pipeline(provider).execute() as run:
            for text in ("one", "two"):
                await run.send(text)
                await run.send(TurnEnd())
                while not isinstance(await anext(run), TurnEnd):
                    pass
            run.close_input()
            assert isinstance(await anext(run), EndOfStream)

    assert [[one.text for one in request.messages[1:]] for request in provider.requests] == [["one"], ["two"]]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"system": {"sales": "x"}}, "default_route"),
        ({"rules": ["help"]}, "rules[0]"),
        ({"history_limit": -1}, "history_limit"),
        ({"temperature": -1}, "temperature"),
    ],
)
def test_a_bad_option_is_refused_before_anything_runs(options, field: str) -> None:
    """Raises: `ConfigError`, which names the field."""
    with pytest.raises(ConfigError) as caught:
        chat_pipeline(ScriptedProvider(), **options)

    assert caught.value.field == field

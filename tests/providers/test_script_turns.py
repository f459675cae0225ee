"""`ScriptedProvider` with turns: a script is played, faults included, and told of what it was not."""

from __future__ import annotations

import json
import math
import random
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.elements import (
    AudioElement,
    AudioPart,
    DataElement,
    DataPart,
    ImageElement,
    ImagePart,
    Message,
    MessageElement,
    TextElement,
    TextPart,
    ThinkingElement,
    ThinkingPart,
    ToolCallDelta,
    ToolCallElement,
    ToolResultPart,
    Usage,
    UsageElement,
)
from streamflow.errors import ConfigError, ProviderError
from streamflow.providers import (
    AudioStep,
    CitationStep,
    CutStep,
    DelayStep,
    ErrorStep,
    ImageStep,
    MalformedStep,
    ModelRequest,
    RefusalStep,
    Rule,
    ScriptedProvider,
    ScriptTurn,
    StopStep,
    TextStep,
    ThinkingStep,
    ToolCallStep,
    UsageStep,
    When,
    load_script,
    split_chars,
    split_randomly,
)

if TYPE_CHECKING:
    from pathlib import Path


def request(*messages, **options) -> ModelRequest:
    given = [Message("user", one) if isinstance(one, str) else one for one in messages]
    return ModelRequest(messages=tuple(given), **options)


def result(text: str, *, name: str = "weather", call_id: str = "call-1-1") -> Message:
    return Message("tool", [ToolResultPart(call_id, text, name=name)])


def play(*steps, **options) -> ScriptedProvider:
    return ScriptedProvider(turns=[ScriptTurn(list(steps))], **options)


async def answer(provider, asked) -> list:
    async with aclosing(provider.stream(asked)) as stream:
        return [element async for element in stream]


async def test_every_step_is_played_in_its_place_and_the_message_equals_them():
    """semantics 18.10: what streams, what comes whole, running usage, the final one, the message; one id."""
    provider = play(
        ThinkingStep("Let me see.", signature="proof"),
        TextStep("Look: "),
        ImageStep(b"png", "image/png"),
        CitationStep({"url": "https://example.org"}),
        UsageStep(Usage(input_tokens=5)),
        AudioStep(b"\0\0", text="la"),
        ToolCallStep("weather", {"city": "Rome"}),
        UsageStep(Usage(input_tokens=5, output_tokens=9)),
    )
    got = await answer(provider, request("hi", model="m"))

    kinds = [ThinkingElement] * 3 + [TextElement] * 2 + [ImageElement, DataElement, UsageElement, AudioElement]
    assert [type(one) for one in got] == [
        *kinds,
        *[ToolCallDelta, ToolCallElement, UsageElement, UsageElement, MessageElement],
    ]
    assert {one.id for one in got if not isinstance(one, UsageElement)} == {"scripted-1"}
    assert [one.signature for one in got[:3]] == [None, None, "proof"]
    assert [one.final for one in got if isinstance(one, UsageElement)] == [False, False, True]
    assert got[-2].usage == Usage(input_tokens=5, output_tokens=9, model="m", provider="scripted")
    message = got[-1].message
    assert message.stop_reason == "tool_calls"
    assert [type(part) for part in message.parts[:-1]] == [ThinkingPart, TextPart, ImagePart, DataPart, AudioPart]
    assert (message.tool_calls[0].raw, dict(message.tool_calls[0].args)) == ('{"city":"Rome"}', {"city": "Rome"})


async def test_a_tool_loop_is_played_with_the_tool_s_own_result():
    """semantics 18.10: a script uses what a tool gave; braces of users and tools are data."""
    provider = ScriptedProvider(
        turns=[
            ScriptTurn([ToolCallStep("weather", {"city": "{1}", "as": ["{text}"]})], when=r"weather in (\S+)"),
            ScriptTurn([TextStep("It is {result} in {nowhere}.")], when=When(tool_result="weather")),
            ScriptTurn([TextStep("{result.weather}, {result.time}")], when=When(tool_result=True)),
        ]
    )
    asked = Message("user", 'The weather in {text}" please')
    first = (await answer(provider, request(asked)))[-1].message

    assert dict(first.tool_calls[0].args) == {"city": '{text}"', "as": (asked.text,)}
    second = (await answer(provider, request(asked, first, result('{"t": {1}}'))))[-1].message
    assert second.text == 'It is {"t": {1}} in {nowhere}.'
    both = [result("rain"), result("noon", name="time", call_id="call-1-2")]
    assert (await answer(provider, request(asked, first, *both)))[-1].message.text == "rain, noon"
    provider.assert_consumed()


@pytest.mark.parametrize(
    ("when", "asked", "call", "applies"),
    [
        (None, request("x"), 1, True),
        (When(text="WEATHER"), request("the weather"), 1, True),
        (When(text="weather"), request("the time"), 1, False),
        (When(call=2), request("x"), 1, False),
        (When(call=2), request("x"), 2, True),
        (When(model="m"), request("x", model="m"), 1, True),
        (When(model="m"), request("x"), 1, False),
        (When(tool_result=False), request("x"), 1, True),
        (When(tool_result=False), request("x", result("1")), 1, False),
        (When(tool_result=True), request("x", result("1"), Message("assistant", "done"), "again"), 1, False),
        (When(tool_result="time"), request("x", result("1")), 1, False),
        (When(text="x", tool_result="weather"), request("x", result("1")), 1, True),
        (lambda one: len(one.messages) == 2, request("x", "y"), 1, True),
    ],
)
def test_a_turn_is_for_the_requests_that_it_names(when, asked, call, applies):
    """semantics 18.10: the last text of the user, tool results in hand, the number of the call, the model."""
    assert ScriptTurn([], when=when).matches(asked, call) == applies


async def test_turns_come_before_rules_and_each_as_often_as_it_says():
    """semantics 18.10: the first that is for the request and not used up; rules and the default behind them."""
    turns = [ScriptTurn([TextStep("one")], times=2), ScriptTurn([TextStep("two")], when="b")]
    provider = ScriptedProvider([Rule("c", "rule")], turns=turns, default="else")
    texts = [(await answer(provider, request(one)))[-1].message.text for one in "abbcbd"]

    assert texts == ["one", "one", "two", "rule", "else", "else"]
    for_ever = ScriptedProvider(turns=[ScriptTurn([TextStep("x")], times=None)])
    assert [(await answer(for_ever, request("a")))[-1].message.text for _ in range(3)] == ["x"] * 3
    for_ever.assert_consumed()


async def test_what_does_not_fit_the_script_is_told():
    """semantics 18.10: requests that nothing is for, turns that were not played, turns that were left in the middle."""
    provider = ScriptedProvider(
        turns=[
            ScriptTurn([TextStep("a b"), ToolCallStep("f")], when="a"),
            ScriptTurn([TextStep("x")], when="x"),
            ScriptTurn([ErrorStep()], when="y", times=3),
        ]
    )
    with pytest.raises(ProviderError, match="nothing for call 1") as caught:
        await answer(provider, request("secret question"))
    assert (caught.value.code, caught.value.retryable) == ("bad_request", False)
    assert "secret" not in str(caught.value)
    with pytest.raises(ProviderError):
        await answer(provider, request("y"))
    async with aclosing(provider.stream(request("a"))) as stream:
        async for _ in stream:
            break

    with pytest.raises(AssertionError) as told:
        provider.assert_consumed()
    for part in (
        "3 calls",
        "unexpected: call 1, 'secret question'",
        "turn 2 was not played: TextStep",
        "turn 3 was played 1 of 3 times",
        "turn 1 was left after 0 of 2 steps, before TextStep, ToolCallStep",
    ):
        assert part in str(told.value)
    assert "turn 3 was left" not in str(told.value)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (ErrorStep("rate_limited", "slow down", retry_after_s=2), ("rate_limited", "slow down", True, 2)),
        (ErrorStep("auth", "no"), ("auth", "no", False, None)),
        (ErrorStep("overloaded", "no", retryable=False), ("overloaded", "no", False, None)),
        (CutStep(), ("truncated", "the answer of 'scripted' was cut off: the connection broke", True, None)),
        (MalformedStep(), ("protocol", "'scripted' sent what is no event of its protocol", False, None)),
    ],
)
async def test_a_fault_comes_where_it_stands(step, told):
    """semantics 18.10: what was said before it is out; there is neither usage nor a message then."""
    got = []
    with pytest.raises(ProviderError) as caught:
        async for element in play(TextStep("a b"), step, TextStep("never")).stream(request("go")):
            got.append(element.text)

    assert got == ["a", " b"]
    assert caught.value.args == told


@pytest.mark.parametrize(
    ("raw", "error"), [('{"a": ', "no JSON"), ("[1]", "no JSON object"), ("", None), ('{"a": 1}', None)]
)
async def test_arguments_as_the_model_writes_them_may_be_wrong(raw, error):
    """semantics 1.3: the fragments join to what was written; a call whose arguments are no object says so."""
    got = await answer(play(ToolCallStep("f", raw=raw), split=split_chars(2)), request("go"))
    call = next(one for one in got if isinstance(one, ToolCallElement))

    assert "".join(one.args for one in got if isinstance(one, ToolCallDelta)) == raw == call.raw
    assert (call.error is None) == (error is None)
    assert error is None or error in call.error


async def test_refusals_limits_and_reasons_end_the_answer():
    """semantics 18.10: the stop reason says why, and nothing of the script comes behind a stop."""
    refused = await answer(play(RefusalStep("I can't.")), request("go"))
    stopped = await answer(play(TextStep("a"), StopStep("pause"), TextStep("b")), request("go"))
    limited = await answer(play(TextStep("a b"), TextStep(" c d"), ToolCallStep("f")), request("go", max_tokens=3))

    assert (refused[-1].message.stop_reason, refused[-1].message.text) == ("refusal", "I can't.")
    assert (stopped[-1].message.stop_reason, stopped[-1].message.text) == ("pause", "a")
    assert (limited[-1].message.stop_reason, limited[-1].message.text) == ("length", "a b c")


async def test_a_pause_is_virtual_and_without_a_duration_it_never_ends():
    """semantics 18.10: a slow first token, a server that hangs."""
    provider = play(DelayStep(3600), TextStep("late"), DelayStep())
    times = []
    with anyio.move_on_after(9999):
        async for _ in provider.stream(request("go")):
            times.append(anyio.current_time())

    assert times == [3600]
    assert anyio.current_time() == 9999


async def test_a_server_may_say_nothing_of_usage():
    """Unknown is not zero: there is no usage element then."""
    assert not [one for one in await answer(play(UsageStep()), request("go")) if isinstance(one, UsageElement)]


@given(text=st.text(), seed=st.integers(), size=st.integers(1, 9))
def test_splitters_lose_nothing_and_repeat_themselves(text, seed, size):
    """semantics 18.10: seeded splitting is the same for the same text."""
    randomly = split_randomly(seed, size)
    state = random.getstate()

    assert "".join(randomly(text)) == "".join(split_chars(size)(text)) == text
    assert randomly(text) == randomly(text)
    assert all(0 < len(piece) <= size for piece in randomly(text) + split_chars(size)(text))
    assert random.getstate() == state


async def test_calls_that_are_made_at_a_time_do_not_take_each_other_s_turns():
    """`Provider`: one object serves any number of concurrent calls."""
    turns = [ScriptTurn([DelayStep(1), TextStep(one)], when=one) for one in "abc"]
    provider, texts = ScriptedProvider(turns=turns), {}

    async def one(text: str) -> None:
        texts[text] = (await answer(provider, request(text)))[-1].message.text

    async with anyio.create_task_group() as tasks:
        for text in "cab":
            tasks.start_soon(one, text)

    assert texts == {"a": "a", "b": "b", "c": "c"}
    provider.assert_consumed()


SCRIPT = {
    "name": "demo",
    "split": {"chars": 2},
    "rules": [{"when": "hello", "answer": "Hi!"}],
    "turns": [
        {"when": "cat", "steps": [{"type": "text", "text": "A cat:"}, {"type": "image", "data": "cG5n"}]},
        {"when": {"call": 2}, "times": 0, "steps": [{"type": "error", "code": "rate_limited", "retry_after_s": 2}]},
    ],
}
TOML = """
name = "demo"
split = { chars = 2 }
rules = [{ when = "hello", answer = "Hi!" }]

[[turns]]
when = "cat"
steps = [{ type = "text", text = "A cat:" }, { type = "image", data = "cG5n" }]

[[turns]]
when = { call = 2 }
times = 0
steps = [{ type = "error", code = "rate_limited", retry_after_s = 2 }]
"""


@pytest.fixture(params=["script.json", "script.toml"])
def loaded(request, tmp_path: Path) -> ScriptedProvider:
    file = tmp_path / request.param
    file.write_text(json.dumps(SCRIPT) if request.param.endswith("json") else TOML)
    return load_script(file)


async def test_a_script_may_be_a_file(loaded):
    """semantics 18.10: the same in both formats."""
    provider = loaded
    *texts, image, _, _ = await answer(provider, request("a cat"))
    assert [one.text for one in texts] == ["A ", "ca", "t:"]
    assert (image.data, provider.name) == (b"png", "demo")
    with pytest.raises(ProviderError) as caught:
        await answer(provider, request("more"))
    assert caught.value.retry_after_s == 2
    assert (await answer(provider, request("hello")))[-1].message.text == "Hi!"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("gone.json", None, "cannot be read: No such file"),
        ("a.yaml", "", "neither a .json nor a .toml"),
        ("a.json", "{", "no script"),
        ("a.toml", "x = ", "no script"),
        ("a.json", '{"turns": [{"steps": [{"type": "code"}]}]}', r"Invalid value 'code'.*turns\[0\]\.steps\[0\]"),
        ("a.json", '{"turn": []}', "unknown field `turn`"),
        ("a.json", '{"rules": [{"when": "("}]}', "no regular expression"),
        ("a.json", '{"turns": [{"when": {"text": "("}, "steps": []}]}', "no regular expression"),
        ("a.json", '{"split": {"chars": 0}}', "1 or more"),
        ("a.json", '{"delay_s": -1}', "0 or more"),
        ("a.json", b"\xff", "no script"),
        ("a.json", "[" * 100_000, "no script"),
    ],
    ids=range(12),
)
def test_a_wrong_script_file_is_refused_with_its_place(tmp_path: Path, name, content, complaint):
    """Wrong input fails when it is loaded, by name: it is data, and nothing in it is run."""
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=complaint):
        load_script(tmp_path / name)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: When(text="("),
        lambda: When(call=0),
        lambda: ScriptTurn([], times=0),
        ImageStep,
        lambda: ImageStep(b"x", url="y"),
        lambda: DelayStep(-1),
        lambda: DelayStep(math.nan),
        lambda: split_chars(0),
        lambda: split_randomly(1, 0),
    ],
    ids=range(9),
)
def test_wrong_scripts_fail_where_they_are_written(wrong):
    """Wrong arguments fail in the constructor."""
    with pytest.raises(ConfigError):
        wrong()

"""The `openai` and `anthropic` SDKs and curl against the process of `streamflow fake-llm`: it speaks as real servers do."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import aclosing
from typing import Any

import anthropic
import openai
import pytest
from fake_server import KEY, TEXT, model, serving, told, told_later, warm_sdks

pytestmark = [pytest.mark.services, pytest.mark.real_clock]

warm_sdks()
HI: Any = [{"role": "user", "content": "hi"}]
WEATHER: Any = [{"role": "user", "content": "weather?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"name": "weather", "description": "tells it", "parameters": SCHEMA}
TOOL: Any = {"name": "weather", "description": "tells it", "input_schema": SCHEMA}


@pytest.fixture(scope="module")
def address():
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def open_ai(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_ai(address):
    with anthropic.Anthropic(base_url=address, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("faults", ["", "split=3", "ping"])
def test_openai_s_sdk_reads_chat_completions(open_ai, faults):
    """semantics 18.11: streamed and whole; the SDK's own accumulator comes to the same."""
    whole = open_ai.chat.completions.create(model=model(), messages=HI)
    options: Any = {"stream_options": {"include_usage": True}}
    with open_ai.chat.completions.stream(model=model(faults), messages=HI, **options) as stream:
        final = stream.get_final_completion()

    assert whole.choices[0].message.content == final.choices[0].message.content == TEXT
    assert final.choices[0].finish_reason == "stop"
    assert whole.usage.total_tokens == final.usage.total_tokens == 12


@pytest.mark.parametrize("faults", ["", "split=3", "ping"])
def test_openai_s_sdk_reads_responses(open_ai, faults):
    """semantics 18.11: streamed and whole; the SDK checks the order of the events."""
    whole = open_ai.responses.create(model=model(), input="hi")
    with open_ai.responses.stream(model=model(faults), input="hi") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()

    assert whole.output_text == final.output_text == text == TEXT
    assert (final.status, final.usage.total_tokens) == ("completed", 12)


@pytest.mark.parametrize("faults", ["", "split=3", "ping"])
def test_anthropic_s_sdk_reads_messages(anthropic_ai, faults):
    """semantics 18.11: streamed and whole, thoughts with their proof."""
    whole = anthropic_ai.messages.create(model=model(), max_tokens=99, messages=HI)
    with anthropic_ai.messages.stream(model=model(faults), max_tokens=99, messages=HI) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    with anthropic_ai.messages.stream(model="reasoning", max_tokens=99, messages=HI) as stream:
        thought = stream.get_final_message().content[0]

    assert whole.content[0].text == final.content[0].text == text == TEXT
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 7)
    assert (thought.type, thought.thinking, thought.signature) == ("thinking", "Let me think.", "proof")


def test_a_tool_loop_with_openai_s_chat(open_ai):
    """semantics 18.11: two calls, their results, the answer that uses them."""
    tools: Any = [{"type": "function", "function": FUNCTION}]
    with open_ai.chat.completions.stream(model="m", messages=WEATHER, tools=tools) as stream:
        first = stream.get_final_completion().choices[0].message
    calls = [
        {"id": one.id, "type": "function", "function": {"name": "weather", "arguments": one.function.arguments}}
        for one in first.tool_calls
    ]
    results = [{"role": "tool", "tool_call_id": one["id"], "content": "rain"} for one in calls]
    messages: Any = [*WEATHER, {"role": "assistant", "tool_calls": calls}, *results]
    second = open_ai.chat.completions.create(model="m", messages=messages, tools=tools)

    assert [json.loads(one["function"]["arguments"])["city"] for one in calls] == ['R"öm"', "Oslo"]
    assert second.choices[0].message.content == "It is rain."


def test_a_tool_loop_with_openai_s_responses(open_ai):
    """semantics 18.11: the output goes back as it came, with the results behind it."""
    tools: Any = [{"type": "function", **FUNCTION}]
    with open_ai.responses.stream(model="m", input="weather?", tools=tools) as stream:
        first = stream.get_final_response()
    calls: Any = [one.model_dump(exclude_none=True) for one in first.output]
    results: Any = [{"type": "function_call_output", "call_id": one["call_id"], "output": "rain"} for one in calls]
    second = open_ai.responses.create(model="m", input=[*WEATHER, *calls, *results], tools=tools)

    assert [json.loads(one["arguments"])["city"] for one in calls] == ['R"öm"', "Oslo"]
    assert second.output_text == "It is rain."


def test_a_tool_loop_with_anthropic_s_messages(anthropic_ai):
    """semantics 18.11: the content goes back as it came, with the results behind it."""
    with anthropic_ai.messages.stream(model="m", max_tokens=99, messages=WEATHER, tools=[TOOL]) as stream:
        first = stream.get_final_message()
    results = [{"type": "tool_result", "tool_use_id": one.id, "content": "rain"} for one in first.content]
    messages: Any = [*WEATHER, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    second = anthropic_ai.messages.create(model="m", max_tokens=99, messages=messages, tools=[TOOL])

    assert [one.input["city"] for one in first.content] == ['R"öm"', "Oslo"]
    assert (first.stop_reason, second.content[0].text) == ("tool_use", "It is rain.")


@pytest.mark.parametrize(
    ("status", "name"),
    [(400, "BadRequestError"), (401, "AuthenticationError"), (429, "RateLimitError"), (500, "InternalServerError")],
)
def test_statuses_are_the_errors_that_the_sdks_know(open_ai, anthropic_ai, status, name):
    """semantics 18.11: each SDK raises its class for the status."""
    with pytest.raises(getattr(openai, name)):
        open_ai.responses.create(model=model(f"status={status}"), input="hi")
    with pytest.raises(getattr(anthropic, name)):
        anthropic_ai.messages.create(model=model(f"status={status}"), max_tokens=9, messages=HI)


def test_the_sdks_retries_are_answered(address):
    """semantics 18.11: two refusals with `Retry-After`, then the answer."""
    with openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=2) as client:
        answer = client.responses.create(model=model("status=429&retry_after=0.01&times=2"), input="hi")

    assert answer.output_text == TEXT


def test_a_broken_connection_is_met_by_the_sdks(open_ai, anthropic_ai):
    """semantics 18.11: cut before the answer, and in the middle of it."""
    with pytest.raises(openai.APIConnectionError):
        open_ai.responses.create(model=model("cut=0"), input="hi")
    with (
        pytest.raises(Exception, match=r"peer closed|incomplete"),
        anthropic_ai.messages.stream(model=model("cut=4"), max_tokens=9, messages=HI) as stream,
    ):
        stream.get_final_message()


# On trio, what is left of the SDK's own generators is noticed; the connection is closed nevertheless, as the server tells.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_the_async_clients_read_all_three(address):
    """semantics 18.11: on both event loops; whoever leaves is noticed by the server."""
    texts = []
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0) as client:
        texts.append((await client.chat.completions.create(model=model(), messages=HI)).choices[0].message.content)
        texts.append((await client.responses.create(model=model(), input="hi")).output_text)
    async with anthropic.AsyncAnthropic(base_url=address, api_key=KEY, max_retries=0) as client:
        left = model("stall=4")
        async with client.messages.stream(model=model(), max_tokens=99, messages=HI) as stream:
            texts.append(await stream.get_final_text())
        stream = await client.messages.create(model=left, max_tokens=99, messages=HI, stream=True)
        async with stream, aclosing(aiter(stream)) as events:
            await anext(events)

    assert texts == [TEXT] * 3
    assert (await told_later(address, "ended", left))["how"] == "disconnected"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_gets_events_as_they_are_made(address):
    """semantics 18.11: any client will do; a stream that stalls has been sent as far as it came."""
    name = model("stall=3")
    body = json.dumps({"model": name, "stream": True, "messages": HI})
    command = ["curl", "-sN", "--noproxy", "*", f"{address}/v1/chat/completions", "-d", body]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
        lines = [curl.stdout.readline() for _ in range(6)]
        curl.terminate()

    assert [json.loads(line[6:])["choices"][0]["delta"] for line in lines[::2]] == [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo,"},
    ]
    assert told(address, "ended", name)["how"] == "disconnected"

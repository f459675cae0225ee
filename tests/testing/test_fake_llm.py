"""`FakeLLM`: three wires without a socket, and what goes wrong when it is asked for."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.elements import Usage
from streamflow.errors import ConfigError
from streamflow.providers import (
    CutStep,
    DelayStep,
    ErrorStep,
    MalformedStep,
    RefusalStep,
    Rule,
    ScriptedProvider,
    ScriptTurn,
    TextStep,
    ThinkingStep,
    ToolCallStep,
    UsageStep,
)
from streamflow.testing import FakeLLM, fake_client, json_values
from streamflow.wire import SSEParser

if TYPE_CHECKING:
    from streamflow.wire import SSEEvent

WIRES = ["chat/completions", "responses", "messages"]


def body(wire: str, text: str = "hi", **more) -> dict:
    given = {"model": "m", "stream": True, **more}
    if wire == "responses":
        return {"input": text, **given}
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 99, **given}


def play(*steps) -> FakeLLM:
    return FakeLLM(ScriptedProvider(turns=[ScriptTurn(list(steps), times=None)]))


async def post(fake: FakeLLM, wire: str, given: dict, **options) -> httpx2.Response:
    async with fake_client(fake) as client:
        return await client.post(f"http://fake/v1/{wire}", json=given, **options)


async def events(fake: FakeLLM, wire: str, given: dict) -> list[SSEEvent]:
    """Return the events of a streamed answer; those that came before the connection broke."""
    parser, found = SSEParser(), []
    async with fake_client(fake) as client, client.stream("POST", f"http://fake/v1/{wire}", json=given) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        try:
            async for chunk in response.aiter_raw():
                found += parser.feed(chunk)
        except httpx2.RemoteProtocolError:
            pass
    return found


async def kinds(fake: FakeLLM, wire: str, given: dict) -> list[str]:
    return [event.event for event in await events(fake, wire, given)]


SAID = [
    ThinkingStep("Hm", signature="proof"),
    TextStep("Hello"),
    ToolCallStep("f", {"x": 1}),
    UsageStep(Usage(input_tokens=9, output_tokens=3, cached_tokens=4)),
]


async def test_chat_completions_are_streamed_as_openai_does():
    """semantics 18.11: role, thoughts, text, calls (id and name once), the reason, the usage if wanted, `[DONE]`."""
    fake = play(*SAID)
    *chunks, done = [event.data for event in await events(fake, "chat/completions", body("chat"))]
    deltas = [json.loads(chunk)["choices"][0] for chunk in chunks]
    wanted = body("chat", stream_options={"include_usage": True})
    usage = json.loads((await events(fake, "chat/completions", wanted))[-2].data)

    assert done == "[DONE]"
    assert [one["delta"] for one in deltas] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm"},
        {"content": "Hello"},
        {"tool_calls": [_call]} if (_call := deltas[3]["delta"]["tool_calls"][0]) else {},
        {},
    ]
    assert _call["function"] == {"name": "f", "arguments": '{"x":1}'}
    assert (_call["index"], _call["id"]) == (0, "call-1-1")
    assert [one["finish_reason"] for one in deltas] == [None, None, None, None, "tool_calls"]
    assert usage["choices"] == []
    assert usage["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}


async def test_responses_are_streamed_as_openai_does():
    """semantics 18.11: added, deltas, done with the full value; a running number; the whole response at the end."""
    got = await events(play(*SAID), "responses", body("responses"))
    data = [json.loads(event.data) for event in got]

    assert [one["type"] for one in data] == [event.event for event in got]
    assert [one["sequence_number"] for one in data] == list(range(len(data)))
    names = [one["type"].removeprefix("response.") for one in data]
    assert names == [
        *[
            "created",
            "in_progress",
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
        ],
        *["reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"],
        *["output_item.added", "content_part.added", "output_text.delta"],
        *["output_text.done", "content_part.done", "output_item.done"],
        *["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"],
        "completed",
    ]
    response = data[-1]["response"]
    assert [item["type"] for item in response["output"]] == ["reasoning", "message", "function_call"]
    assert response["output"][0]["encrypted_content"] == "proof"
    assert response["usage"]["total_tokens"] == 12


async def test_messages_are_streamed_as_anthropic_does():
    """semantics 18.11: blocks begin and end, the reason and the usage come with `message_delta`."""
    got = await events(play(*SAID), "messages", body("messages"))
    data = [json.loads(event.data) for event in got]

    assert [event.event for event in got] == [
        *["message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"],
        *["content_block_start", "content_block_delta", "content_block_stop"],
        *["content_block_start", "content_block_delta", "content_block_stop"],
        *["message_delta", "message_stop"],
    ]
    assert [one["index"] for one in data if one["type"] == "content_block_start"] == [0, 1, 2]
    assert data[3]["delta"] == {"type": "signature_delta", "signature": "proof"}
    assert data[-2]["delta"]["stop_reason"] == "tool_use"
    assert (data[-2]["usage"]["input_tokens"], data[-2]["usage"]["cache_read_input_tokens"]) == (5, 4)


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_may_come_in_one_piece(wire):
    """semantics 18.11: without `stream` the same is one JSON object."""
    response = await post(play(*SAID), wire, body(wire, stream=False))
    told = json.dumps(response.json())

    assert response.status_code == 200
    assert all(part in told for part in ("Hello", '"f"', "x"))
    assert "usage" in response.json()


@pytest.mark.parametrize("wire", WIRES)
async def test_a_refusal_is_told_as_one(wire):
    """semantics 18.11: each wire has a place of its own for it."""
    told = "".join(event.data for event in await events(play(RefusalStep("No.")), wire, body(wire)))
    whole = (await post(play(RefusalStep("No.")), wire, body(wire, stream=False))).text

    assert '"refusal"' in told
    assert '"refusal"' in whole


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("code", "status"),
    [
        *[("auth", 401), ("rate_limited", 429), ("overloaded", 503), ("bad_request", 400), ("refused", 400)],
        ("strange", 500),
    ],
)
async def test_a_failure_before_anything_was_said_is_a_status(wire, code, status):
    """semantics 18.11: with the wait that the script asks for, in whole seconds."""
    fake = play(ErrorStep(code, "no luck", retry_after_s=1.2))
    response = await post(fake, wire, body(wire))

    assert response.status_code == (529 if (wire, code) == ("messages", "overloaded") else status)
    assert response.json()["error"]["message"] == "no luck"
    assert response.headers["retry-after"] == "2"
    assert [call.how for call in fake.calls] == ["refused"]


@pytest.mark.parametrize("wire", WIRES)
async def test_a_failure_in_the_middle_is_an_event(wire):
    """semantics 18.11: inside HTTP 200; the connection breaks where the script says so; no JSON where it says so."""
    told = (await events(play(TextStep("a"), ErrorStep()), wire, body(wire)))[-1]
    cut = play(TextStep("a"), CutStep())
    whole = await kinds(play(TextStep("a")), wire, body(wire))

    assert "the model is busy" in told.data
    assert len(await kinds(cut, wire, body(wire))) < len(whole)
    assert cut.calls[0].how == "cut"
    assert (await events(play(TextStep("a"), MalformedStep()), wire, body(wire)))[-1].data == "{not json"


@pytest.mark.parametrize("streams", [True, False])
async def test_a_connection_may_break_before_there_is_an_answer(streams):
    """semantics 18.11: the client meets a broken connection, not a status."""
    fake = play(CutStep())
    with pytest.raises(httpx2.RemoteProtocolError):
        await post(fake, "responses", body("responses", stream=streams))

    assert [call.how for call in fake.calls] == ["cut"]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("fault", "count", "how"),
    [
        *[("cut=2", 2, "cut"), ("end=2", 2, "finished"), ("malformed=2", 3, "finished"), ("error=2", 3, "finished")],
        ("cut=0", 0, "cut"),
    ],
)
async def test_a_request_can_ask_for_a_fault_by_its_model(wire, fault, count, how):
    """semantics 18.11: any client can say a model's name; the answer is that of the script, up to the fault."""
    fake = play(TextStep("a b c d"))
    got = await events(fake, wire, body(wire, model=f"any?{fault}&id=7"))

    assert len(got) == count
    assert fake.calls[0].how == how


async def test_statuses_by_the_header_and_only_the_first_times():
    """semantics 18.11: what a retry needs; a client that can send headers keeps its model's name."""
    fake = play(TextStep("a"))
    options = {"headers": {"x-fake-llm": "status=429&retry_after=2&times=2"}}
    got = [await post(fake, "responses", body("responses", stream=False), **options) for _ in range(3)]

    assert [one.status_code for one in got] == [429, 429, 200]
    assert got[0].headers["retry-after"] == "2"


async def test_time_that_faults_take_is_virtual():
    """semantics 18.11: seconds before the first event, and before each."""
    fake = play(TextStep("a"))
    await events(fake, "chat/completions", body("chat", model="m?first=10&slow=100"))

    assert anyio.current_time() == 10 + 4 * 100


async def test_a_stalled_answer_ends_when_its_client_goes():
    """semantics 18.11: the server tells what became of a call."""
    fake = play(TextStep("a b"))
    with anyio.move_on_after(60):
        await events(fake, "messages", body("messages", model="m?stall=3"))

    assert (await fake.ended("m?stall=3")).how == "disconnected"
    assert fake.calls[0].events == 3


async def test_a_client_that_goes_ends_the_provider_s_call():
    """semantics 18.11: a script that hangs is left, and is not played on."""
    provider = ScriptedProvider(turns=[ScriptTurn([TextStep("a"), DelayStep()])])
    fake = FakeLLM(provider)
    asked = body("responses")
    async with (
        fake_client(fake) as client,
        client.stream("POST", "http://fake/v1/responses", json=asked) as response,
        aclosing(response.aiter_raw()) as chunks,
    ):
        await anext(chunks)

    assert fake.calls[0].how == "disconnected"
    with pytest.raises(AssertionError, match="turn 1 was left"):
        provider.assert_consumed()


async def test_a_gated_call_waits_for_its_release():
    """semantics 18.11: a test can look at a fragment before the next is made."""
    fake, seen = play(TextStep("a b")), []

    async def ask() -> None:
        seen.extend(await events(fake, "messages", body("messages", model="g?gate=3")))

    async with fake_client(fake) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.sleep(1)
        assert fake.calls[0].how == ""
        released = await client.get("http://fake/fake/release", params={"model": "g?gate=3"})
        ended = await client.get("http://fake/fake/ended", params={"model": "g?gate=3"})

    assert released.json() == {"released": 1}
    assert (ended.json()["how"], len(seen)) == ("finished", 7)
    assert {"messages", 1} <= set(ended.json().values())


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize("wire", WIRES)
async def test_bytes_may_be_cut_anywhere(wire, seed):
    """semantics 18.11: inside characters, or inside escapes; what arrives is the same."""
    fake = play(TextStep('wörld — 你好 🌍 "q"'))
    whole, cut = [await events(fake, wire, body(wire, model=f"m{fault}")) for fault in ("", f"?split={seed}")]

    def told(got: list[SSEEvent]) -> list[object]:
        data = [one.data.replace(f"?split={seed}", "") for one in got]
        return [json.loads(one) if one.startswith("{") else one for one in data]

    def without_ids(value: object) -> object:
        if isinstance(value, dict):
            return {key: without_ids(item) for key, item in value.items() if not key.endswith("id")}
        return [without_ids(item) for item in value] if isinstance(value, list) else value

    assert without_ids(told(whole)) == without_ids(told(cut))


async def test_a_stream_can_be_kept_open_by_pings():
    """semantics 18.11: a comment, or the event that the wire has for it."""
    fake = play(TextStep("a"))
    async with fake_client(fake) as client:
        asked = body("chat", model="m?ping")
        assert ": ping\n\n" in (await client.post("http://fake/v1/chat/completions", json=asked)).text

    assert "ping" in await kinds(fake, "messages", body("messages", model="m?ping"))


async def test_a_silence_can_be_filled_with_pings():
    """semantics 18.11: a proxy's time limit is for silence, a caller's for the answer."""
    fake, seen = play(TextStep("a")), []
    asked = body("chat", model="m?first=1&keep_alive=0.25")
    async with fake_client(fake) as client:
        assert (await client.post("http://fake/v1/chat/completions", json=asked)).text.count(": ping\n\n") == 3
        asked = body("chat", model="m?stall=1&keep_alive=0.25")
        with anyio.move_on_after(1.1) as scope:
            async with (
                client.stream("POST", "http://fake/v1/chat/completions", json=asked) as answer,
                aclosing(answer.aiter_bytes()) as pieces,
            ):
                async for piece in pieces:
                    seen.append(piece)

    assert scope.cancelled_caught
    assert (seen[0][:5], seen[1:]) == (b"data:", [b": ping\n\n"] * 4)
    assert (fake.calls[-1].how, fake.calls[-1].events) == ("disconnected", 1)


async def test_usage_and_the_last_event_can_be_left_out():
    """semantics 18.11: many servers do."""
    fake = play(TextStep("a"))
    asked = body("chat", model="m?usage=0&done=0", stream_options={"include_usage": True})
    got = await events(fake, "chat/completions", asked)

    assert json.loads(got[-1].data)["choices"][0]["finish_reason"] == "stop"
    assert (await kinds(fake, "messages", body("messages", model="m?done=0")))[-1] == "message_delta"


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "told"),
    [
        ("POST", "/v1/nowhere", "{}", 404, "no /v1/nowhere here"),
        ("GET", "/v1/responses", "", 405, "GET"),
        ("GET", "/fake/nothing", "", 404, "no /fake/nothing here"),
        ("POST", "/v1/responses", "{", 400, "no JSON"),
        ("POST", "/v1/responses", "[]", 400, "no JSON object"),
        ("POST", "/v1/responses", "[" * 9999, 400, "no JSON"),
        ("POST", "/v1/responses", '{"input": []}', 400, "at least one"),
        ("POST", "/v1/chat/completions", '{"messages": [{"role": "x"}]}', 400, "role 'x' is none"),
        ("POST", "/v1/messages", '{"messages": [{"role": "user", "content": "x"}]}', 400, "max_tokens"),
        ("POST", "/v1/responses", '{"input": "x", "model": "m?explode=1"}', 400, "no such fault"),
        ("POST", "/v1/responses", '{"input": "x", "model": "m?cut=soon"}', 400, "no such fault"),
        ("POST", "/v1/responses", '{"input": "' + "x" * 20_000 + '"}', 413, "20000 bytes"),
    ],
    ids=range(12),
)
async def test_what_is_no_request_is_refused(method, path, content, status, told):
    """semantics 18.11: with the status that a real server gives, and one line that says why."""
    async with fake_client(FakeLLM(max_request_bytes=20_000)) as client:
        response = await client.request(method, f"http://fake{path}", content=content)

    assert response.status_code == status
    assert told in response.json()["error"]["message"]


async def test_a_call_that_was_no_json_is_told_of_too():
    """semantics 18.11: it tells what became of each call."""
    fake = FakeLLM()
    async with fake_client(fake) as client:
        await client.post("http://fake/v1/messages", content="{")

    assert [(call.path, call.how) for call in fake.calls] == [("messages", "refused")]


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([{"role": "tool", "tool_call_id": "c", "content": "7"}], "no call before it"),
        ([{"role": "assistant", "tool_calls": [CALL]}, {"role": "user", "content": "x"}], "have no result: c"),
        ([{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c", "content": "7"}], None),
    ],
    ids=["result", "call", "both"],
)
async def test_calls_and_results_must_belong_together(messages, told):
    """semantics 18.11: what makes a real server answer 400 for ever is found here."""
    response = await post(FakeLLM(), "chat/completions", {"messages": messages, "model": "m"})

    assert response.status_code == (200 if told is None else 400)
    assert told is None or told in response.text


async def test_each_wire_s_request_is_understood():
    """semantics 18.11: system text, parts, calls, results, tools, limits reach the script alike."""
    provider = ScriptedProvider([Rule("", "ok")])
    fake = FakeLLM(provider)
    schema = {"type": "object", "properties": {}}
    function = {"name": "f", "description": "d", "parameters": schema}
    chat = {
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "content": "7"},
        ],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "max_tokens": 5,
        "temperature": 0.5,
        "stop": "END",
        "model": "m",
    }
    responses = {
        "instructions": "be kind",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "7"},
        ],
        "tools": [{"type": "function", **function}],
        "tool_choice": {"type": "function", "name": "f"},
        "max_output_tokens": 5,
        "temperature": 0.5,
        "stop": ["END"],
        "model": "m",
    }
    messages = {
        "system": "be kind",
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "7"}]},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": schema}],
        "tool_choice": {"type": "tool", "name": "f"},
        "max_tokens": 5,
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "model": "m",
    }
    for wire, asked in zip(WIRES, (chat, responses, messages), strict=True):
        assert (await post(fake, wire, asked)).status_code == 200

    seen = [
        (
            [(one.text, one.tool_calls, one.tool_results) for one in asked.messages],
            (asked.tools, asked.tool_choice, asked.max_tokens, asked.temperature, asked.stop, asked.model),
        )
        for asked in provider.requests
    ]
    assert seen[0] == seen[1] == seen[2]
    assert provider.requests[0].messages[-1].tool_results[0].name == "f"


@given(wire=st.sampled_from(WIRES), given=json_values())
async def test_no_body_breaks_the_server(wire, given):
    """semantics 18.11: whatever JSON a client sends, it gets an answer or a refusal."""
    response = await post(FakeLLM(), wire, {**body(wire), **given} if isinstance(given, dict) else given)

    assert response.status_code in {200, 400}


KEYS = [
    "messages",
    "input",
    "tools",
    "tool_choice",
    "stop",
    "response_format",
    "text",
    "reasoning",
    "thinking",
    "system",
]


@given(
    wire=st.sampled_from(WIRES),
    key=st.sampled_from([*KEYS, "max_tokens", "model", "seed", "top_p"]),
    value=json_values(),
)
async def test_no_field_of_a_body_breaks_the_server(wire, key, value):
    """semantics 18.11: fields that are something else than they should be are refused, or not looked at."""
    response = await post(FakeLLM(), wire, {**body(wire), key: value})

    assert response.status_code in {200, 400}


async def test_nothing_of_a_request_is_kept_but_its_kind():
    """semantics 18.11: neither key nor text is in what the server tells of its calls."""
    fake = play(TextStep("a"))
    headers = {"authorization": "Bearer sk-planted-0123456789"}
    await post(fake, "responses", body("responses", "a private question"), headers=headers)
    async with fake_client(fake) as client:
        told = (await client.get("http://fake/fake/calls")).text
        models = (await client.get("http://fake/v1/models")).json()

    assert "planted" not in told
    assert "private" not in told
    assert json.loads(told)["calls"][0]["path"] == "responses"
    assert models["data"][0]["id"] == "fake"


async def test_it_lives_as_long_as_its_server():
    """semantics 18.11: an ASGI application; there are servers that wait until it says that it is ready."""
    said = []
    moments = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive():
        return {"type": next(moments)}

    async def send(event):
        said.append(event["type"])

    await FakeLLM()({"type": "lifespan"}, receive, send)
    await FakeLLM()({"type": "websocket"}, receive, send)

    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_limit_that_is_none_is_refused():
    """Wrong arguments fail in the constructor."""
    with pytest.raises(ConfigError, match="max_request_bytes"):
        FakeLLM(max_request_bytes=0)

"""`AgUiEncoder` and `read_ag_ui`: elements as AG-UI events, and the requests of its clients."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress

import pytest
from ag_ui.core import Event, RunAgentInput
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from wire_kit import A_TOOL_TURN, ENDS, STREAMS, coalesced, parsed, told

from streamflow.elements import (
    DataElement,
    ErrorElement,
    FilePart,
    ImagePart,
    Message,
    MessageElement,
    Metadata,
    RunTotals,
    TextElement,
    TextPart,
    ThinkingPart,
    ToolCallElement,
    ToolDecisionElement,
    TurnEnd,
    TurnReset,
    TurnStart,
    Usage,
    UsageElement,
)
from streamflow.errors import DecodeError
from streamflow.testing import json_values
from streamflow.transports import AgUiEncoder, RequestLimits, StreamEnd, read_ag_ui, read_vercel

EVENT = TypeAdapter(Event)
TERMINAL = {"RUN_FINISHED", "RUN_ERROR"}
OPENING = {
    "TEXT_MESSAGE_START": "TEXT_MESSAGE",
    "TOOL_CALL_START": "TOOL_CALL",
    "REASONING_START": "REASONING",
    "REASONING_MESSAGE_START": "REASONING_MESSAGE",
    "STEP_STARTED": "STEP",
}
GROWING = {
    "TEXT_MESSAGE_CONTENT": "TEXT_MESSAGE",
    "TOOL_CALL_ARGS": "TOOL_CALL",
    "REASONING_MESSAGE_CONTENT": "REASONING_MESSAGE",
}
CLOSING = {
    "TEXT_MESSAGE_END": "TEXT_MESSAGE",
    "TOOL_CALL_END": "TOOL_CALL",
    "REASONING_END": "REASONING",
    "REASONING_MESSAGE_END": "REASONING_MESSAGE",
    "STEP_FINISHED": "STEP",
}


def encoder(**options):
    return AgUiEncoder("thread", "run", **options)


def check_order(events):
    """Check a stream by the rules of the protocol's state machine."""
    types = [event["type"] for event in events]
    assert types[0] == "RUN_STARTED"
    assert types[-1] in TERMINAL
    assert sum(one in TERMINAL or one == "RUN_STARTED" for one in types) == 2
    is_open = set()
    for event in events:
        kind = event["type"]
        id = event.get("messageId", event.get("toolCallId", event.get("stepName")))
        if kind in OPENING:
            assert (OPENING[kind], id) not in is_open
            is_open.add((OPENING[kind], id))
        elif kind in GROWING:
            assert (GROWING[kind], id) in is_open
            assert event["delta"]
        elif kind in CLOSING:
            is_open.remove((CLOSING[kind], id))
    assert not is_open
    results = Counter(event["toolCallId"] for event in events if event["type"] == "TOOL_CALL_RESULT")
    assert all(count == 1 for count in results.values())


@pytest.mark.slow
@given(elements=STREAMS, end=ENDS)
def test_any_elements_make_a_lawful_stream(elements, end):
    """semantics 23.10: whatever comes in, the order of the protocol holds, and each event is one of its models."""
    events = parsed(told(encoder(), elements, end))

    check_order(events)
    for event in events:
        EVENT.validate_python(event)


def test_a_turn_with_thoughts_a_call_and_an_answer():
    """semantics 23.10: what each element is in this format."""
    events = parsed(told(encoder(), [*A_TOOL_TURN, UsageElement(Usage(3, 5, model="m"), final=True)]))

    assert [event["type"] for event in events] == [
        "RUN_STARTED",
        "STEP_STARTED",
        "REASONING_START",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "REASONING_ENCRYPTED_VALUE",
        "REASONING_END",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
        "TOOL_CALL_RESULT",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "STEP_FINISHED",
        "RUN_FINISHED",
    ]
    assert events[0] == {"type": "RUN_STARTED", "threadId": "thread", "runId": "run"}
    call = next(event for event in events if event["type"] == "TOOL_CALL_START")
    assert call == {
        "type": "TOOL_CALL_START",
        "toolCallId": "c1",
        "toolCallName": "weather",
        "parentMessageId": "m1",
    }
    assert events[-1]["outcome"] == {"type": "success"}
    assert events[-1]["usage"] == [{"model": "m", "inputTokens": 3, "outputTokens": 5, "totalTokens": 8}]


def test_deltas_that_a_slow_reader_gets_at_once_say_the_same():
    """semantics 23.10: joined neighbours lose nothing, and are lawful events."""
    events = told(encoder(), A_TOOL_TURN)
    fewer = parsed(coalesced(events))

    check_order(fewer)
    assert len(fewer) == len(events) - 3
    for field in ("TEXT_MESSAGE_CONTENT", "REASONING_MESSAGE_CONTENT", "TOOL_CALL_ARGS"):
        assert text_of(fewer, field) == text_of(parsed(events), field)


def text_of(events, kind):
    return "".join(event["delta"] for event in events if event["type"] == kind)


def test_what_is_taken_back_leaves_the_client_with_the_conversation():
    """semantics 23.10: a reset is a snapshot where the conversation is known, else an event of its own."""
    elements = [TextElement("Wro", id="m1"), TurnReset("failed over"), TextElement("Right", id="m2")]
    known = parsed(told(encoder(conversation=[Message("user", "Hi", id="u1")]), elements))
    unknown = parsed(told(encoder(), elements))

    snapshot = next(event for event in known if event["type"] == "MESSAGES_SNAPSHOT")
    assert snapshot["messages"] == [{"id": "u1", "role": "user", "content": "Hi"}]
    custom = next(event for event in unknown if event["type"] == "CUSTOM")
    assert custom["name"] == "turn_reset"
    assert custom["value"] == {"reason": "failed over", "messageIds": ["m1"], "toolCallIds": []}
    check_order(known)
    check_order(unknown)


@pytest.mark.parametrize(("answer", "left"), [("", ["u1"]), ("m2", ["u1", "m1", "c1-result"])])
def test_one_answer_or_all_of_the_turn_is_taken_back(answer, left):
    """semantics 23.10: `TurnReset.answer` says which; results go with the calls that are taken back."""
    elements = [*A_TOOL_TURN[:12], TextElement("Wro", id="m2"), TurnReset("failed over", answer=answer)]
    events = parsed(told(encoder(conversation=[Message("user", "Hi", id="u1")]), elements))

    snapshot = next(event for event in events if event["type"] == "MESSAGES_SNAPSHOT")
    assert [message["id"] for message in snapshot["messages"]] == left


def test_calls_that_wait_for_a_person_interrupt_the_run():
    """semantics 23.11: an interrupt for each; and calls that the client is to run are named."""
    call = [TurnStart(), ToolCallElement("c1", "send", {}, "{}", id="m1")]
    waits = parsed(told(encoder(), [*call, TurnEnd("approval", pending=("c1",))]))[-1]
    client = parsed(told(encoder(), [*call, TurnEnd()]))[-1]
    again = parsed(told(encoder(), [TurnStart(), TurnEnd("approval", pending=("c0",))]))[-1]

    assert waits["outcome"]["type"] == "interrupt"
    assert [(one["id"], one["toolCallId"], one["reason"]) for one in waits["outcome"]["interrupts"]] == [
        ("c1", "c1", "tool_call")
    ]
    assert again["outcome"]["interrupts"][0]["toolCallId"] == "c0"
    assert client["outcome"] == {"type": "success", "pendingToolCallIds": ["c1"]}


@pytest.mark.parametrize(
    ("end", "told_as"),
    [
        (StreamEnd("cancelled"), {"type": "RUN_FINISHED", "outcome": {"type": "cancelled"}}),
        (StreamEnd("limit"), {"type": "RUN_FINISHED", "result": {"reason": "limit"}}),
        (
            StreamEnd("timeout", ErrorElement("timeout", "It took too long.")),
            {"type": "RUN_ERROR", "message": "It took too long.", "code": "timeout"},
        ),
        (
            StreamEnd("done", totals=RunTotals(usage=Usage(1, 2))),
            {"usage": [{"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}]},
        ),
    ],
    ids=["cancelled", "limit", "timeout", "totals"],
)
def test_each_end_is_told_in_its_own_way(end, told_as):
    """semantics 23.10: one terminal event, which says how the run has ended."""
    last = parsed(told(encoder(), [TextElement("Half an ans", id="m1")], end))[-1]

    assert last.items() >= told_as.items()


def test_state_is_state_and_other_data_are_events_of_their_name():
    """semantics 23.10: a snapshot, a patch if it is one, else a custom event; media too."""
    patch = [{"op": "add", "path": "/a", "value": 1}]
    elements = [
        DataElement("state", {"a": 0}),
        DataElement("state_delta", patch),
        DataElement("state_delta", [{"op": "x"}]),
    ]
    events = parsed(told(encoder(), [*elements, DataElement("progress", 0.5)]))[1:-1]

    assert [(event["type"], event.get("name")) for event in events] == [
        ("STATE_SNAPSHOT", None),
        ("STATE_DELTA", None),
        ("CUSTOM", "state_delta"),
        ("CUSTOM", "progress"),
    ]
    assert events[1]["delta"] == patch


def test_what_an_inner_agent_says_is_told_as_its_own():
    """semantics 23.10: attributed, so that the client does not send it back as the agent's."""
    inner = TextElement("psst", id="i1", metadata=Metadata({"agent": "helper"}))
    start = parsed(told(encoder(), [inner]))[1]

    assert start["subagentRunId"] == "helper"


def body(**fields):
    return json.dumps({"threadId": "t", "runId": "r", "messages": [], **fields}).encode()


def test_a_request_becomes_messages_tools_and_decisions():
    """semantics 23.11: what the official model of the protocol can hold, in our types."""
    given = {
        "threadId": "t",
        "runId": "r",
        "messages": [
            {"id": "s", "role": "system", "content": "You are a pirate."},
            {
                "id": "u",
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look"},
                    {"type": "image", "source": {"type": "url", "value": "https://example.org/a.png"}},
                    {"type": "document", "source": {"type": "data", "value": "aGk=", "mimeType": "text/plain"}},
                ],
            },
            {"id": "r1", "role": "reasoning", "content": "Hm.", "encryptedValue": "proof"},
            {
                "id": "a",
                "role": "assistant",
                "content": "I see",
                "toolCalls": [
                    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}},
                    {"id": "c2", "type": "function", "function": {"name": "look", "arguments": "{"}},
                ],
            },
            {"id": "t1", "role": "tool", "toolCallId": "c1", "content": "a cat"},
            {"id": "t2", "role": "tool", "toolCallId": "c2", "content": "", "error": "bad"},
            {"id": "h", "role": "assistant", "content": "inner", "subagentRunId": "helper"},
        ],
        "tools": [{"name": "paint", "description": "Paints.", "parameters": {"type": "object"}}],
        "context": [{"description": "page", "value": "home"}],
        "state": {"n": 1},
        "resume": [
            {"interruptId": "c8", "status": "resolved", "payload": {"approved": True}},
            {"interruptId": "c9", "status": "cancelled"},
        ],
    }
    RunAgentInput.model_validate(given)
    request = read_ag_ui(json.dumps(given).encode())

    user, answer, results = request.messages
    assert user.parts == (
        TextPart("Look"),
        ImagePart(url="https://example.org/a.png", mime="image/*"),
        FilePart(b"hi", "text/plain"),
    )
    assert answer.parts[:2] == (ThinkingPart("Hm.", "proof"), TextPart("I see"))
    assert [(call.call_id, dict(call.args), call.raw) for call in answer.tool_calls] == [
        ("c1", {"at": 1}, '{"at":1}'),
        ("c2", {}, "{"),
    ]
    assert [(one.call_id, one.text, one.status) for one in results.tool_results] == [
        ("c1", "a cat", "ok"),
        ("c2", "bad", "error"),
    ]
    assert request.tools[0].name == "paint"
    assert request.context == (("page", "home"),)
    assert request.state == {"n": 1}
    assert request.decisions == (ToolDecisionElement("c8", allow=True), ToolDecisionElement("c9", allow=False))
    assert request.encoder().run_id == "r"
    assert read_ag_ui(json.dumps(given).encode(), keep_system=True).messages[0].role == "system"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (b"{", "$"),
        (b"[" * 100_000, "$"),
        (body(threadId=""), "$"),
        (body(messages=[{"role": "pope"}]), "$.messages[0].role"),
        (body(messages=[{"role": "user", "content": 1}]), "$.messages[0].content"),
        (body(messages=[{"role": "user", "content": "x" * 11}]), "$.messages[0]"),
        (body(messages=[{"role": "user"}] * 4), "$.messages"),
        (body(tools=[{"name": "a b"}]), "$.tools[0].name"),
        (body(tools=[{"name": "a", "parameters": []}]), "$.tools[0].parameters"),
        (body(resume=[{"interruptId": "c", "status": "resolved"}]), "$.resume[0].payload"),
        (
            body(
                messages=[
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": {"type": "url", "value": "file:///etc/passwd"}}],
                    }
                ]
            ),
            "$.messages[0].content[0]",
        ),
        (
            body(messages=[{"role": "user", "content": [{"type": "image", "source": {"type": "data", "value": "?"}}]}]),
            "$.messages[0].content[0]",
        ),
        (body(state="x" * 2000), "$"),
    ],
    ids=range(13),
)
def test_a_request_that_cannot_be_is_refused_with_its_place(given, path):
    """semantics 23.11: refused as a whole, with the path of what is wrong."""
    limits = RequestLimits(max_bytes=200_000 if given.startswith(b"[") else 1000, max_messages=3, max_text_chars=10)
    with pytest.raises(DecodeError) as refused:
        read_ag_ui(given, limits=limits)

    assert refused.value.path == path


@pytest.mark.slow
@given(data=st.data())
def test_whatever_is_sent_is_read_or_refused(data):
    """semantics 23.11 and 23.13: no body raises anything but `DecodeError`."""
    source = {"type": "data", "value": "aGk=", "mimeType": "image/png"}
    bodies = {
        read_ag_ui: {
            "threadId": "t",
            "runId": "r",
            "messages": [
                {
                    "id": "u",
                    "role": "user",
                    "content": [{"type": "image", "source": source}, {"type": "text", "text": "a"}],
                },
                {
                    "id": "a",
                    "role": "assistant",
                    "toolCalls": [{"id": "c", "function": {"name": "n", "arguments": "{}"}}],
                },
                {"id": "t", "role": "tool", "toolCallId": "c", "content": "x", "error": None},
            ],
            "tools": [{"name": "n", "parameters": {"type": "object"}}],
            "resume": [{"interruptId": "c", "status": "resolved", "payload": True}],
        },
        read_vercel: {
            "id": "c",
            "messages": [
                {
                    "id": "u",
                    "role": "user",
                    "parts": [{"type": "file", "url": "data:a/b;base64,aGk=", "mediaType": "a/b"}],
                },
                {
                    "id": "a",
                    "role": "assistant",
                    "parts": [{"type": "tool-n", "toolCallId": "c", "state": "output-available"}],
                },
            ],
        },
    }
    read, body = data.draw(st.sampled_from(list(bodies.items())))
    places = list(_places(body))
    for holder, key in data.draw(st.lists(st.sampled_from(places), max_size=3)):
        holder[key] = data.draw(json_values())
    with suppress(DecodeError):
        read(json.dumps(body).encode())


def _places(value):
    """Give each place of a JSON value that can hold another one."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def test_a_whole_without_fragments_is_told_and_one_with_them_is_not_told_again():
    """semantics 23.10: once, however it came."""
    whole = MessageElement(Message("assistant", "Hello", id="m1"), id="m1")
    alone = parsed(told(encoder(), [whole, whole]))
    after = parsed(told(encoder(), [TextElement("Hello", id="m1"), whole]))

    assert text_of(alone[:4], "TEXT_MESSAGE_CONTENT") == "Hello"
    assert text_of(after, "TEXT_MESSAGE_CONTENT") == "Hello"

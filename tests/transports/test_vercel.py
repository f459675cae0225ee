"""`VercelEncoder` and `read_vercel`: elements as a UI message stream, and the requests of its clients."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from wire_kit import A_TOOL_TURN, ENDS, STREAMS, coalesced, parsed, told

from streamflow.elements import (
    DataElement,
    DataPart,
    ErrorElement,
    FilePart,
    ImageElement,
    MessageElement,
    Metadata,
    TextElement,
    TextPart,
    ThinkingPart,
    ToolCallDelta,
    ToolCallElement,
    ToolDecisionElement,
    ToolResultElement,
    TurnEnd,
    TurnReset,
    Usage,
    UsageElement,
)
from streamflow.errors import DecodeError
from streamflow.transports import RequestLimits, StreamEnd, VercelEncoder, read_vercel

TERMINAL = {"finish", "error", "abort"}


def encoder():
    return VercelEncoder("answer")


class Reader:
    """The order of the protocol, as its own reader asks for it."""

    def __init__(self):
        self.parts = {}
        self.calls = {}
        self.step_calls = set()
        self.in_step = False
        self.ended = None

    def take(self, chunk):
        assert self.ended is None
        kind = chunk["type"]
        if kind.startswith("tool-"):
            self.take_call(chunk, self.calls.get(chunk["toolCallId"]))
        elif kind.startswith(("text-", "reasoning-")):
            self.take_part(chunk, *kind.split("-"))
        elif kind.endswith("-step"):
            self.take_step(kind)
        elif kind in TERMINAL:
            assert not self.in_step
            self.ended = kind
        else:
            assert kind.startswith("data-") or kind in {"file", "source-url", "message-metadata"}

    def take_step(self, kind):
        assert self.in_step == (kind != "start-step")
        if kind == "reset-step":
            self.parts.clear()
            for call in self.step_calls:
                del self.calls[call]
            self.step_calls.clear()
            return
        self.step_calls.clear()
        assert not self.parts
        assert "streaming" not in self.calls.values()
        self.in_step = kind == "start-step"

    def take_part(self, chunk, name, verb):
        if verb == "start":
            assert self.in_step
            assert chunk["id"] not in self.parts
            self.parts[chunk["id"]] = name
        assert self.parts[chunk["id"]] == name
        assert verb != "delta" or chunk["delta"]
        if verb == "end":
            del self.parts[chunk["id"]]

    def take_call(self, chunk, state):
        needed, then = {
            "tool-input-start": ({None, "failed"}, "streaming"),
            "tool-input-delta": ({"streaming"}, "streaming"),
            "tool-input-available": ({"streaming"}, "whole"),
            "tool-input-error": ({"streaming", "whole", "failed"}, "failed"),
            "tool-approval-request": ({"whole"}, "whole"),
            "tool-output-available": ({"whole", "failed"}, "whole" if chunk.get("preliminary") else "answered"),
            "tool-output-error": ({"whole", "failed"}, "answered"),
            "tool-output-denied": ({"whole", "failed"}, "answered"),
        }[chunk["type"]]
        assert state in needed
        assert self.in_step or state is not None
        if chunk["type"] == "tool-input-start":
            self.step_calls.add(chunk["toolCallId"])
        self.calls[chunk["toolCallId"]] = then


@pytest.mark.slow
@given(elements=STREAMS, end=ENDS)
def test_any_elements_make_a_lawful_stream(elements, end):
    """semantics 23.12: whatever comes in, the order of the protocol holds, with one terminal chunk and `[DONE]`."""
    events = told(encoder(), elements, end)
    first, *chunks = parsed(events)
    reader = Reader()
    for chunk in chunks:
        reader.take(chunk)

    assert first == {"type": "start", "messageId": "answer"}
    assert reader.ended is not None
    assert events[-1].data == "[DONE]"


def test_a_turn_with_thoughts_a_call_and_an_answer():
    """semantics 23.12: what each element is in this format; a step is an answer and the results of its calls."""
    events = parsed(told(encoder(), [*A_TOOL_TURN, UsageElement(Usage(3, 5), final=True)]))

    assert [event["type"] for event in events] == [
        "start",
        "start-step",
        "reasoning-start",
        "reasoning-delta",
        "reasoning-delta",
        "reasoning-end",
        "text-start",
        "text-delta",
        "text-delta",
        "text-end",
        "tool-input-start",
        "tool-input-delta",
        "tool-input-delta",
        "tool-input-available",
        "tool-output-available",
        "finish-step",
        "start-step",
        "text-start",
        "text-delta",
        "text-end",
        "finish-step",
        "finish",
    ]
    assert events[5]["providerMetadata"] == {"streamflow": {"signature": "proof"}}
    assert events[13]["input"] == {"city": "Oslo"}
    assert events[14]["output"] == "3 degrees"
    usage = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}
    assert events[-1] == {"type": "finish", "finishReason": "stop", "messageMetadata": {"usage": usage}}
    assert encoder().headers == {"x-vercel-ai-ui-message-stream": "v1"}


def test_deltas_that_a_slow_reader_gets_at_once_say_the_same():
    """semantics 23.12: joined neighbours lose nothing, and are lawful chunks."""
    events = told(encoder(), A_TOOL_TURN)
    fewer = parsed(coalesced(events))
    reader = Reader()
    for chunk in fewer[1:]:
        reader.take(chunk)

    assert len(fewer) == len(parsed(events)) - 3
    assert [event["inputTextDelta"] for event in fewer if "inputTextDelta" in event] == ['{"city":"Oslo"}']


def test_each_result_and_each_end_is_told_in_its_own_way():
    """semantics 23.12: denied, failed and preliminary results; error and abort; a call that never became whole."""
    call = ToolCallElement("c", "t", {}, "{}", id="m")
    ends = {
        "ok": ToolResultElement("c", "t", [DataPart("output", {"n": 1})]),
        "denied": ToolResultElement("c", "t", "", "denied"),
        "error": ToolResultElement("c", "t", "", "error"),
        "preliminary": ToolResultElement("c", "t", "half", preliminary=True),
    }
    chunks = {name: parsed(told(encoder(), [call, result]))[-3] for name, result in ends.items()}
    failed = parsed(told(encoder(), [TextElement("Half")], StreamEnd("error", ErrorElement("bad", "It broke."))))
    cut = parsed(told(encoder(), [ToolCallDelta("c", "t", "{", id="m")], StreamEnd("cancelled")))

    assert chunks["ok"] == {"type": "tool-output-available", "toolCallId": "c", "output": {"n": 1}}
    assert chunks["denied"] == {"type": "tool-output-denied", "toolCallId": "c"}
    assert chunks["error"] == {"type": "tool-output-error", "toolCallId": "c", "errorText": "The tool failed."}
    assert chunks["preliminary"]["preliminary"] is True
    assert [event["type"] for event in failed[-3:]] == ["text-end", "finish-step", "error"]
    assert failed[-1]["errorText"] == "It broke."
    assert [event["type"] for event in cut[-3:]] == ["tool-input-error", "finish-step", "abort"]


def test_what_is_taken_back_resets_its_step_alone():
    """semantics 23.12: what earlier answers have said stays."""
    chunks = parsed(told(encoder(), [*A_TOOL_TURN[:12], TextElement("Wro", id="m2"), TurnReset(), *A_TOOL_TURN[12:]]))
    kinds = [chunk["type"] for chunk in chunks]

    assert kinds.count("reset-step") == 1
    assert kinds.index("reset-step") > kinds.index("finish-step")
    assert kinds[kinds.index("reset-step") + 1 :] == ["text-start", "text-delta", "text-end", "finish-step", "finish"]


def test_calls_that_wait_for_a_person_are_asked_about():
    """semantics 23.13: a request for each call, inside its step."""
    call = ToolCallElement("c", "send", {}, "{}", id="m")
    chunks = parsed(told(encoder(), [call, TurnEnd("approval", pending=("c", "unknown"))]))

    assert chunks[-3] == {"type": "tool-approval-request", "approvalId": "c", "toolCallId": "c"}
    assert chunks[-1] == {"type": "finish", "finishReason": "tool-calls"}


def test_sources_pictures_data_and_inner_agents():
    """semantics 23.12: each has its chunk; an address that a browser would run is no source."""
    elements = [
        DataElement("citation", {"url": "https://example.org", "title": "Example"}, id="m"),
        DataElement("citation", {"url": "javascript:alert(1)"}, id="m"),
        ImageElement(b"png", "image/png"),
        ImageElement(url="javascript:alert(1)"),
        DataElement("progress", 0.5, id="p1"),
        DataElement("hint", None, transient=True),
        TextElement("psst", id="i", metadata=Metadata({"agent": "helper"})),
        ErrorElement("memory_failed", "Not remembered."),
    ]
    chunks = parsed(told(encoder(), [TextElement("Hi", id="m"), *elements]))[4:-3]

    assert [chunk["type"] for chunk in chunks] == [
        "source-url",
        "data-citation",
        "file",
        "data-progress",
        "data-hint",
        "data-agent",
        "data-error",
    ]
    assert chunks[0]["url"] == "https://example.org"
    assert "id" not in chunks[1]
    assert chunks[2] == {"type": "file", "url": "data:image/png;base64,cG5n", "mediaType": "image/png"}
    assert chunks[3]["id"] == "p1"
    assert chunks[5]["data"] == {"agent": "helper", "kind": "text", "id": "i", "text": "psst"}


def body(*messages, **fields):
    return json.dumps({"id": "chat", "messages": messages, "trigger": "submit-message", **fields}).encode()


def test_a_request_becomes_messages_and_decisions():
    """semantics 23.13: each step of an answer is a message, and its results another one behind it."""
    user = {
        "id": "u",
        "role": "user",
        "parts": [
            {"type": "text", "text": "Look"},
            {"type": "file", "mediaType": "text/plain", "url": "data:text/plain;base64,aGk=", "filename": "a.txt"},
        ],
    }
    asked = {"id": "c3", "approved": False, "reason": "no"}
    answer = {
        "id": "a",
        "role": "assistant",
        "parts": [
            {"type": "step-start"},
            {"type": "reasoning", "text": "Hm.", "providerMetadata": {"streamflow": {"signature": "proof"}}},
            {"type": "text", "text": "I see", "state": "done"},
            {
                "type": "tool-look",
                "toolCallId": "c1",
                "state": "output-available",
                "input": {"at": 1},
                "output": {"cat": True},
            },
            {"type": "dynamic-tool", "toolName": "x", "toolCallId": "c2", "state": "output-error", "errorText": "bad"},
            {"type": "step-start"},
            {"type": "text", "text": "A cat."},
            {"type": "tool-send", "toolCallId": "c3", "state": "approval-responded", "approval": asked, "input": {}},
            {"type": "data-anything", "data": 1},
        ],
    }
    system = {"id": "s", "role": "system", "parts": [{"type": "text", "text": "You are a pirate."}]}
    request = read_vercel(body(system, user, answer))

    said, first, results, second = request.messages
    assert said.parts == (TextPart("Look"), FilePart(b"hi", "text/plain", name="a.txt"))
    assert first.parts[:2] == (ThinkingPart("Hm.", "proof"), TextPart("I see"))
    assert [(call.call_id, call.name, dict(call.args)) for call in first.tool_calls] == [
        ("c1", "look", {"at": 1}),
        ("c2", "x", {}),
    ]
    assert [(one.call_id, one.content, one.status) for one in results.tool_results] == [
        ("c1", (DataPart("output", {"cat": True}),), "ok"),
        ("c2", "bad", "error"),
    ]
    assert second.text == "A cat."
    assert request.decisions == (ToolDecisionElement("c3", allow=False, reason="no"),)
    assert request.answer_id == request.encoder().message_id == "a"
    assert read_vercel(body(system, user), keep_system=True).messages[0].text == "You are a pirate."


def test_what_the_encoder_has_told_comes_back_as_it_was():
    """semantics 23.13: the thoughts keep their proof, the calls their results, in the steps in which they stood."""
    parts, texts = [], {}
    for chunk in parsed(told(encoder(), A_TOOL_TURN)):
        match chunk["type"]:
            case "start-step":
                parts.append({"type": "step-start"})
            case "text-start" | "reasoning-start":
                parts.append({"type": chunk["type"].removesuffix("-start"), "text": ""})
                texts[chunk["id"]] = parts[-1]
            case "text-delta" | "reasoning-delta":
                texts[chunk["id"]]["text"] += chunk["delta"]
            case "reasoning-end":
                texts[chunk["id"]]["providerMetadata"] = chunk["providerMetadata"]
            case "tool-input-available":
                parts.append({"type": "tool-weather", "toolCallId": chunk["toolCallId"], "input": chunk["input"]})
            case "tool-output-available":
                parts[-1] |= {"state": "output-available", "output": chunk["output"]}
    read = read_vercel(body({"id": "a", "role": "assistant", "parts": parts})).messages
    meant = [element.message for element in A_TOOL_TURN if isinstance(element, MessageElement)]

    assert [one.role for one in read] == [one.role for one in meant]
    assert [one.text for one in read] == [one.text for one in meant]
    assert read[0].parts[0] == meant[0].parts[0]
    assert [call.args for call in read[0].tool_calls] == [call.args for call in meant[0].tool_calls]
    assert read[1].tool_results[0].content == "3 degrees"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (b"null", "$"),
        (body(), "$.messages"),
        (body({"role": "user", "parts": []}, {"role": "user", "parts": []}), "$.messages"),
        (body({"role": "tool", "parts": []}), "$.messages[0].role"),
        (body({"role": "user", "parts": [{"type": "text", "text": "x" * 11}]}), "$.messages[0]"),
        (body({"role": "user", "parts": [{"type": "file", "url": "ftp://x"}]}), "$.messages[0].parts[0]"),
        (body({"role": "assistant", "parts": [{"type": "tool-x"}]}), "$.messages[0].parts[0]"),
        (body({"role": "user", "parts": []}, trigger="x" * 2000), "$"),
    ],
    ids=range(8),
)
def test_a_request_that_cannot_be_is_refused_with_its_place(given, path):
    """semantics 23.13: refused as a whole, with the path of what is wrong."""
    limits = RequestLimits(max_bytes=1000, max_messages=1, max_text_chars=10)
    with pytest.raises(DecodeError) as refused:
        read_vercel(given, limits=limits)

    assert refused.value.path == path

"""What each of three wires makes of a request: every field, every part of a message, compared whole; and what it refuses."""

import base64
import json
import struct
import traceback

import pytest
from model_memory import WIRES, Memory, failure_of, provider_of

from streamflow.elements import (
    AudioPart,
    DataPart,
    FilePart,
    ImagePart,
    Message,
    Metadata,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    VideoPart,
)
from streamflow.errors import ConfigError, ProviderError
from streamflow.providers import ModelRequest, NamedTool, OutputSchema, ToolSpec
from streamflow.providers._wires import AnthropicWire, ChatWire, ResponsesWire

MAKERS = {"chat": ChatWire("max_tokens"), "responses": ResponsesWire(), "anthropic": AnthropicWire(100)}
OURS = {
    "chat": {"stream": True, "stream_options": {"include_usage": True}},
    "responses": {"stream": True, "store": False, "include": ["reasoning.encrypted_content"]},
    "anthropic": {"stream": True, "max_tokens": 100},
}
HI = (Message("user", "Hi"),)
PNG = b"\x89PNG\r\n\x1a\n"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = ToolSpec("weather", "Tells the weather.", SCHEMA)
STRICT = ToolSpec("now", strict=True)


def body(wire: str, messages=HI, model: str | None = "m", **fields) -> dict:
    """Return the body of a request, through JSON, as a server sees it."""
    request = ModelRequest(messages=messages, **fields)
    return json.loads(json.dumps(MAKERS[wire].body(request, model)))


def more(wire: str, **fields) -> dict:
    """Return what fields of a request add to the body."""
    plain = body(wire)
    return {name: value for name, value in body(wire, **fields).items() if plain.get(name) != value}


def sent(wire: str, *messages: Message) -> list:
    """Return the messages of a request as a wire writes them."""
    return body(wire, messages)["input" if wire == "responses" else "messages"]


def refused(wire: str, messages=HI, **fields) -> str:
    """Return why a request is refused, with nothing of it around the error."""
    with pytest.raises(ProviderError) as caught:
        body(wire, messages, **fields)
    assert caught.value.code == "bad_request"
    assert not caught.value.retryable
    return str(caught.value)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("wire", WIRES)
def test_a_plain_request_is_no_more_than_it_says(wire):
    """semantics 18.1: what was not asked for is left to the server."""
    message = {"role": "user", "content": "Hi"}
    if wire == "anthropic":
        message["content"] = [{"type": "text", "text": "Hi"}]
    named = "input" if wire == "responses" else "messages"

    assert body(wire) == OURS[wire] | {"model": "m", named: [message]}
    assert body(wire, model=None) == OURS[wire] | {named: [message]}


CHAT_TOOLS = [
    {
        "type": "function",
        "function": {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA},
    },
    {
        "type": "function",
        "function": {"name": "now", "parameters": {"type": "object", "properties": {}}, "strict": True},
    },
]
RESPONSES_TOOLS = [
    {
        "type": "function",
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": SCHEMA,
        "strict": False,
    },
    {"type": "function", "name": "now", "parameters": {"type": "object", "properties": {}}, "strict": True},
]
ANTHROPIC_TOOLS = [
    {"name": "weather", "description": "Tells the weather.", "input_schema": SCHEMA},
    {"name": "now", "input_schema": {"type": "object", "properties": {}}, "strict": True},
]
OUTPUT = OutputSchema(SCHEMA, name="place", strict=True)


@pytest.mark.parametrize(
    ("fields", "chat", "responses", "anthropic"),
    [
        ({"temperature": 0.0}, {"temperature": 0.0}, {"temperature": 0.0}, {"temperature": 0.0}),
        ({"max_tokens": 7}, {"max_tokens": 7}, {"max_output_tokens": 7}, {"max_tokens": 7}),
        ({"top_p": 0.5}, {"top_p": 0.5}, {"top_p": 0.5}, {"top_p": 0.5}),
        ({"seed": 0}, {"seed": 0}, None, None),
        ({"stop": ("END", "\n")}, {"stop": ["END", "\n"]}, None, {"stop_sequences": ["END", "\n"]}),
        (
            {"effort": "low"},
            {"reasoning_effort": "low"},
            {"reasoning": {"effort": "low"}},
            {"output_config": {"effort": "low"}},
        ),
        ({"effort": "minimal"}, {"reasoning_effort": "minimal"}, {"reasoning": {"effort": "minimal"}}, None),
        (
            {"thinking_tokens": 0},
            {"reasoning_effort": "none"},
            {"reasoning": {"effort": "none"}},
            {"thinking": {"type": "disabled"}},
        ),
        (
            {"thinking_tokens": 2048},
            None,
            None,
            {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 2148},
        ),
        (
            {"tools": (WEATHER, STRICT)},
            {"tools": CHAT_TOOLS},
            {"tools": RESPONSES_TOOLS},
            {"tools": ANTHROPIC_TOOLS},
        ),
        (
            {"tools": (WEATHER, STRICT), "tool_choice": "required", "parallel_tools": False},
            {"tools": CHAT_TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
            {"tools": RESPONSES_TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
            {"tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        ),
        (
            {"tools": (WEATHER, STRICT), "tool_choice": "none", "parallel_tools": True},
            {"tools": CHAT_TOOLS, "tool_choice": "none", "parallel_tool_calls": True},
            {"tools": RESPONSES_TOOLS, "tool_choice": "none", "parallel_tool_calls": True},
            {"tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "none"}},
        ),
        (
            {"tools": (WEATHER, STRICT), "tool_choice": NamedTool("now")},
            {"tools": CHAT_TOOLS, "tool_choice": {"type": "function", "function": {"name": "now"}}},
            {"tools": RESPONSES_TOOLS, "tool_choice": {"type": "function", "name": "now"}},
            {"tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "tool", "name": "now"}},
        ),
        (
            {"tools": (WEATHER, STRICT), "parallel_tools": False},
            {"tools": CHAT_TOOLS, "parallel_tool_calls": False},
            {"tools": RESPONSES_TOOLS, "parallel_tool_calls": False},
            {"tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        ),
        ({"parallel_tools": False}, {}, {}, {}),
        (
            {"output": OUTPUT},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "place", "schema": SCHEMA, "strict": True},
                }
            },
            {"text": {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}}},
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        ),
        ({"extra": Metadata({"top_k": 5})}, {"top_k": 5}, {"top_k": 5}, {"top_k": 5}),
    ],
)
def test_each_field_is_carried_or_refused(fields, chat, responses, anthropic):
    """semantics 18.1: nothing of a request is left out in silence."""
    for wire, expected in zip(WIRES, (chat, responses, anthropic), strict=True):
        if expected is None:
            assert next(iter(fields)) in refused(wire, **fields)
        else:
            assert more(wire, **fields) == expected


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"tools": (ToolSpec("get weather"),)}, "'get weather' is no name of a tool"),
        ({"tools": (STRICT, STRICT)}, "two tools are called 'now'"),
        ({"tools": (STRICT,), "tool_choice": NamedTool("then")}, "no tool is called 'then'"),
        ({"tool_choice": "required"}, "a tool is required and none is given"),
        ({"max_tokens": 0}, "max_tokens: give 1 or more"),
        ({"thinking_tokens": -1}, "thinking_tokens: give 0 or more"),
        ({"extra": {"stream": False}}, "'stream' is already set"),
        ({"extra": {"model": "other"}}, "'model' is already set"),
        ({"temperature": 1.0, "extra": {"temperature": 2.0}}, "'temperature' is already set"),
    ],
)
@pytest.mark.parametrize("wire", WIRES)
def test_a_request_that_contradicts_itself_is_refused_before_it_is_sent(wire, fields, why):
    """semantics 18.1: bad input gets a clear error at once, by the name of the field."""
    assert why in refused(wire, **fields)


def test_what_wires_refuse_says_what_to_do():
    """semantics 18.1: the way out is part of the message."""
    assert "less than max_tokens, which is 2000; got 4000" in refused(
        "anthropic", thinking_tokens=4000, max_tokens=2000
    )
    assert "1024 or more" in refused("anthropic", thinking_tokens=5)
    assert "give one of both" in refused("chat", thinking_tokens=0, effort="low")
    assert "put those first of all" in refused("anthropic", (*HI, Message("system", "Be kind.")))


def test_further_fields_join_objects_and_replace_what_is_ours():
    """`ModelRequest.extra`: an object is joined with an object, and what the library sets by itself can be replaced."""
    options = {"stream_options": {"include_usage": False}}

    assert more("chat", extra=options) == options
    assert more("responses", extra={"store": True}) == {"store": True}
    assert more("responses", effort="low", extra={"reasoning": {"summary": "auto"}}) == {
        "reasoning": {"effort": "low", "summary": "auto"}
    }
    assert "'reasoning.effort' is already set" in refused(
        "responses", effort="low", extra={"reasoning": {"effort": "high"}}
    )


CALL = ToolCallPart("c1", "weather", {"city": "Rome"}, '{"city":  "Rome"}')
HISTORY = (
    Message("system", "Be kind."),
    Message("user", [TextPart("Hel"), TextPart("lo")], name="ada"),
    Message("assistant", [ThinkingPart("hm", "sig"), TextPart("I look."), CALL, ToolCallPart("c2", "now")]),
    Message(
        "tool",
        [ToolResultPart("c1", [DataPart("w", {"t": 20}), TextPart("!")]), ToolResultPart("c2", status="timeout")],
    ),
    Message("user", [ToolResultPart("c3", "late"), TextPart("And?")]),
    Message("assistant", "Sunny."),
    Message("assistant", ""),
)


def test_a_conversation_with_tools_is_written_as_chat_completions_write_it():
    """semantics 18.4: system, text, calls and results; thoughts have no place there."""
    assert sent("chat", *HISTORY) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "name": "ada", "content": "Hello"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":  "Rome"}'}},
                {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"t":20}!'},
        {"role": "tool", "tool_call_id": "c2", "content": "timeout"},
        {"role": "tool", "tool_call_id": "c3", "content": "late"},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "Sunny."},
        {"role": "assistant", "content": ""},
    ]
    assert sent("chat", Message("assistant", [CALL]))[0]["content"] is None


def test_a_conversation_with_tools_is_written_as_responses_write_it():
    """semantics 18.4: items in their order; thoughts go back only as the encrypted items that the server gave."""
    thought = ThinkingPart("hm", "rs_1", "gAAAA=")
    custom = ToolCallPart("c9", "shell", {"input": "ls"}, "ls")

    assert sent("responses", *HISTORY) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":  "Rome"}'},
        {"type": "function_call", "call_id": "c2", "name": "now", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": '{"t":20}!'},
        {"type": "function_call_output", "call_id": "c2", "output": "timeout"},
        {"type": "function_call_output", "call_id": "c3", "output": "late"},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "Sunny."},
    ]
    assert sent("responses", Message("assistant", [thought, TextPart("a"), DataPart("openai.x", {"type": "x"})])) == [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "gAAAA=",
        },
        {"role": "assistant", "content": "a"},
        {"type": "x"},
    ]
    assert sent("responses", Message("assistant", [custom]), Message("tool", [ToolResultPart("c9", "a b")])) == [
        {"type": "custom_tool_call", "call_id": "c9", "name": "shell", "input": "ls"},
        {"type": "custom_tool_call_output", "call_id": "c9", "output": "a b"},
    ]


def test_a_conversation_with_tools_is_written_as_anthropic_writes_it():
    """semantics 18.4: two speakers in turns, results before all else; thoughts go back with their proof, unchanged."""
    assert body("anthropic", HISTORY)["system"] == [{"type": "text", "text": "Be kind."}]
    assert sent("anthropic", *HISTORY) == [
        {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Rome"}},
                {"type": "tool_use", "id": "c2", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": '{"t":20}!'},
                {"type": "tool_result", "tool_use_id": "c2", "content": "timeout", "is_error": True},
                {"type": "tool_result", "tool_use_id": "c3", "content": "late"},
                {"type": "text", "text": "And?"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "Sunny."}]},
    ]
    mixed = Message("user", [TextPart("First"), ToolResultPart("c1", "r")])
    assert [one["type"] for one in sent("anthropic", mixed)[0]["content"]] == ["tool_result", "text"]
    block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    parts = [ThinkingPart(encrypted="Em"), ThinkingPart("", "s2"), DataPart("anthropic.server_tool_use", block)]
    assert sent("anthropic", *HI, Message("assistant", parts))[1]["content"] == [
        {"type": "redacted_thinking", "data": "Em"},
        {"type": "thinking", "thinking": "", "signature": "s2"},
        block,
    ]


def test_what_nobody_else_can_read_stays_out():
    """semantics 18.4: thoughts of another kind of server, thoughts without a proof, and citations."""
    parts = [ThinkingPart("hm"), ThinkingPart("", "rs", "gA"), TextPart("a"), DataPart("citation", {"url": "u"})]
    theirs = [ThinkingPart("hm"), ThinkingPart("hm", "sig"), ThinkingPart(encrypted="Em"), TextPart("a")]

    assert sent("anthropic", *HI, Message("assistant", parts))[1]["content"] == [{"type": "text", "text": "a"}]
    assert sent("responses", Message("assistant", theirs)) == [{"role": "assistant", "content": "a"}]
    assert sent("chat", Message("assistant", theirs)) == [{"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"messages": "secret"}, r"messages: of type str .* \(Message\('user', 'Hello'\),\)"),
        ({"messages": HI[0]}, "messages: of type Message"),
        ({"messages": (*HI, {"role": "user", "content": "secret"})}, "messages: one is a dict"),
        ({"messages": HI, "tools": [{"name": "secret"}]}, "tools: one is a dict; give each as a ToolSpec"),
    ],
    ids=range(4),
)
def test_what_is_no_request_is_refused_when_it_is_made(fields, told):
    """semantics 18.1: with the field, what was given, and what to give; not with its text."""
    with pytest.raises(ConfigError, match=told) as caught:
        ModelRequest(**fields)

    assert "secret" not in str(caught.value)


def test_a_server_that_wants_its_thoughts_back_gets_them_in_its_field():
    """semantics 18.4: in the field that was named, in plain words alone; what another server has signed stays out."""
    parts = [ThinkingPart("hm"), ThinkingPart("sealed", "sig"), ToolCallPart("c", "f", {}, "{}")]
    request = ModelRequest(messages=(*HI, Message("assistant", parts), Message("tool", [ToolResultPart("c", "ok")])))
    bodies = [ChatWire("max_tokens", field).body(request, "m")["messages"] for field in ("reasoning_content", None)]
    function = {"name": "f", "arguments": "{}"}
    said = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": function}]}

    assert bodies[0][-2] == said | {"reasoning_content": "hm"}
    assert bodies[1][-2] == said


MEDIA = (
    TextPart("See:"),
    ImagePart(PNG),
    ImagePart(b"RIFF1234WEBP"),
    ImagePart(b"x", "image/heic"),
    ImagePart(url="https://example.org/cat.png"),
    FilePart(b"%PDF", name="a.pdf"),
    FilePart(url="file-1"),
)


def test_media_are_written_as_each_wire_writes_them():
    """semantics 18.4: pictures, sound and documents, by their bytes, their address, or the id of an upload."""
    wav = b64(
        struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 40, b"WAVE", b"fmt ", 16, 1, 2, 8000, 32000, 4, 16, b"data", 4)
        + b"abcd"
    )
    sounds = (AudioPart(b"ID3", "mp3"), AudioPart(b"abcd", "pcm16", sample_rate=8000, channels=2))
    [chat] = sent("chat", Message("user", (*MEDIA, *sounds)))
    [responses] = sent("responses", Message("user", (*MEDIA, *sounds, FilePart(url="https://example.org/a.pdf"))))
    text = FilePart("ä".encode(), "text/markdown", name="a.md")
    [anthropic] = sent("anthropic", Message("user", (*MEDIA, text, ImagePart(url="file_2"))))

    assert chat["content"] == [
        {"type": "text", "text": "See:"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64(PNG)}"}},
        {"type": "image_url", "image_url": {"url": f"data:image/webp;base64,{b64(b'RIFF1234WEBP')}"}},
        {"type": "image_url", "image_url": {"url": f"data:image/heic;base64,{b64(b'x')}"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{b64(b'%PDF')}", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": b64(b"ID3"), "format": "mp3"}},
        {"type": "input_audio", "input_audio": {"data": wav, "format": "wav"}},
    ]
    assert responses["content"] == [
        {"type": "input_text", "text": "See:"},
        {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{b64(PNG)}"},
        {"type": "input_image", "detail": "auto", "image_url": f"data:image/webp;base64,{b64(b'RIFF1234WEBP')}"},
        {"type": "input_image", "detail": "auto", "image_url": f"data:image/heic;base64,{b64(b'x')}"},
        {"type": "input_image", "detail": "auto", "image_url": "https://example.org/cat.png"},
        {"type": "input_file", "file_data": f"data:application/pdf;base64,{b64(b'%PDF')}", "filename": "a.pdf"},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_audio", "input_audio": {"data": b64(b"ID3"), "format": "mp3"}},
        {"type": "input_audio", "input_audio": {"data": wav, "format": "wav"}},
        {"type": "input_file", "file_url": "https://example.org/a.pdf"},
    ]
    assert anthropic["content"] == [
        {"type": "text", "text": "See:"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": b64(PNG)}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": b64(b"RIFF1234WEBP")}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/heic", "data": b64(b"x")}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}},
        {
            "type": "document",
            "title": "a.pdf",
            "source": {"type": "base64", "media_type": "application/pdf", "data": b64(b"%PDF")},
        },
        {"type": "document", "source": {"type": "file", "file_id": "file-1"}},
        {"type": "document", "title": "a.md", "source": {"type": "text", "media_type": "text/plain", "data": "ä"}},
        {"type": "image", "source": {"type": "file", "file_id": "file_2"}},
    ]


def test_a_result_may_hold_a_picture_where_the_wire_has_a_place_for_it():
    """semantics 18.4: chat completions have none."""
    message = Message("tool", [ToolResultPart("c1", [TextPart("See:"), ImagePart(PNG), DataPart("n", 1)])])
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": b64(PNG)}}

    assert sent("anthropic", message)[0]["content"][0]["content"] == [
        {"type": "text", "text": "See:"},
        image,
        {"type": "text", "text": "1"},
    ]
    assert sent("responses", message)[0]["output"] == [
        {"type": "input_text", "text": "See:"},
        {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{b64(PNG)}"},
        {"type": "input_text", "text": "1"},
    ]
    assert "message 0 of role 'tool' holds an ImagePart" in refused("chat", (message,))


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (Message("user", [VideoPart(url="u:v")]), "a VideoPart"),
        (Message("user", [DataPart("n", 1)]), "a DataPart"),
        (Message("user", [ToolCallPart("c", "n")]), "a ToolCallPart"),
        (Message("user", [ThinkingPart("hm")]), "a ThinkingPart"),
        (Message("user", [AudioPart(b"x", "opus")]), "an AudioPart"),
        (Message("user", [AudioPart(url="u:a")]), "an AudioPart"),
        (Message("system", [ImagePart(PNG)]), "an ImagePart"),
        (Message("tool", "text"), "a TextPart"),
        (Message("assistant", [VideoPart(url="u:v")]), "a VideoPart"),
        (Message("assistant", [AudioPart(b"x")]), "an AudioPart"),
        (Message("assistant", [DataPart("other.item", {})]), "a DataPart"),
    ],
)
def test_what_a_wire_cannot_carry_is_refused_by_the_number_of_its_message(wire, message, kind):
    """semantics 18.4: leaving it out would be an answer to another question."""
    assert f"message 1 of role {message.role!r} holds {kind}" in refused(wire, (Message("system", "s"), message))


def test_sound_that_was_said_goes_back_as_its_words():
    """semantics 18.4: no wire takes the sound itself back."""
    said = Message("assistant", [AudioPart(b"x", transcript="Hello.")])

    assert sent("chat", said) == sent("responses", said) == [{"role": "assistant", "content": "Hello."}]
    assert sent("anthropic", *HI, said)[1]["content"] == [{"type": "text", "text": "Hello."}]


def test_a_picture_that_was_made_goes_back_where_it_came_from():
    """semantics 18.4: so that it can be spoken of in the next turn; the other wires refuse it and say what to do."""
    said = Message("assistant", [TextPart("Here:"), ImagePart(PNG)])
    images = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64(PNG)}"}}]

    assert sent("chat", said) == [{"role": "assistant", "content": "Here:", "images": images}]
    for wire in ("responses", "anthropic"):
        assert "message 1 of role 'assistant' holds an ImagePart" in refused(wire, (*HI, said))


@pytest.mark.parametrize(
    ("raw", "args", "told"),
    [
        ('{"a": 1', {}, "{}"),
        ("[1]", {}, "{}"),
        ("", {}, "{}"),
        ('{"a":1e2}', {"a": 100.0}, '{"a":1e2}'),
        ("", {"a": 1}, '{"a":1}'),
    ],
)
def test_broken_arguments_are_not_sent_back(raw, args, told):
    """semantics 18.4: there are servers that fail on them; what the model wrote is kept where it is JSON."""
    [message] = sent("chat", Message("assistant", [ToolCallPart("c", "n", args, raw)]))
    assert message["tool_calls"][0]["function"]["arguments"] == told


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    "part",
    [TextPart("planted text \ud800"), FilePart(b"planted \xff file", "text/plain")],
    ids=["surrogate", "not-utf8"],
)
async def test_a_text_that_is_none_is_refused_without_repeating_it(wire, part):
    """semantics 18.8: neither the error nor what is around it holds the text."""
    if isinstance(part, FilePart) and wire != "anthropic":
        return
    memory = Memory()
    error = await failure_of(provider_of(wire, memory), ModelRequest(messages=(Message("user", [part]),)))

    assert error.code == "bad_request"
    assert memory.requests == []
    assert "planted" not in "".join(traceback.format_exception(error))
    assert error.__context__ is None

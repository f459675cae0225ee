"""`ProcessStepEncoder`: what seed 004's clients are sent, and the faults of that seed that it has not."""

from __future__ import annotations

import json

import pytest

from streamflow import Message, MessageElement, Metadata, PipelineBuilder, TextElement, TurnEnd, TurnReset, TurnStart
from streamflow.agents import AgentStage, agent_tool, tool
from streamflow.elements import (
    DataPart,
    ErrorElement,
    ImagePart,
    TextPart,
    ThinkingElement,
    ThinkingPart,
    ToolCallPart,
    ToolResultElement,
    Usage,
    UsageElement,
)
from streamflow.providers import ScriptedProvider, ScriptTurn, TextStep, ThinkingStep, ToolCallStep, split_chars
from streamflow.transports import ProcessStepEncoder, ServerEvent, StreamEnd, may_merge, merge_events, steps_of

ASK = [MessageElement(Message("user", "go")), TurnEnd()]


def told(events) -> list[tuple[str | None, dict]]:
    return [(one.event, json.loads(one.data)) for one in events]


def encoded(*elements, end: StreamEnd | None = None, **options) -> list[ServerEvent]:
    encoder = ProcessStepEncoder(**options)
    events = [*encoder.start()]
    for element in elements:
        events += encoder.encode(element)
    return [*events, *encoder.finish(StreamEnd() if end is None else end)]


def steps(*elements, **options) -> list[dict]:
    return [data["step"] for event, data in told(encoded(*elements, **options)) if event == "process_step"]


def failed(code: str, message: str) -> StreamEnd:
    return StreamEnd("error", ErrorElement(code, message, fatal=True))


def whole(*parts, id: str = "m") -> MessageElement:
    return MessageElement(Message("assistant", [*parts], id=id), id=id)


def test_a_response_is_what_clients_of_the_seed_read() -> None:
    """semantics 22.16: names, fields and order of seed 004; with snapshots the very events."""
    elements = [
        TurnStart(),
        ThinkingElement("H", id="m"),
        ThinkingElement("m", id="m"),
        TextElement("Hi", id="m"),
        whole(ThinkingPart("Hm"), TextPart("Hi"), ToolCallPart("c-1", "look", {"a": 1}, '{"a": 1}')),
        UsageElement(Usage(input_tokens=5, output_tokens=2), final=True),
        ToolResultElement("c-1", "look", "ok"),
        TurnEnd(metadata=Metadata({"turn": "t-1"})),
    ]
    call = {"id": "step-2", "index": 2, "type": "tool_call", "id_ref": "c-1", "tool_call_id": "c-1", "name": "look"}
    result = {
        "id": "step-3",
        "index": 3,
        "type": "tool_result",
        "id_ref": "step-2",
        "tool_call_id": "c-1",
        "name": "look",
    }
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    last = [
        ("process_step", {"step": call | {"arguments": '{"a": 1}'}}),
        ("process_step", {"step": result | {"content": "ok", "status": "ok", "success": True}}),
        ("done", {"message_id": "t-1", "token_count": 2, "usage": usage, "stop_reason": "stop"}),
    ]
    thinking, text = {"id": "step-0", "index": 0, "type": "thinking"}, {"id": "step-1", "index": 1, "type": "text"}

    assert told(encoded(*elements)) == [
        ("process_step", {"step": thinking | {"delta": "H"}}),
        ("process_step", {"step": thinking | {"delta": "m"}}),
        ("process_step", {"step": text | {"delta": "Hi"}}),
        *last,
    ]
    assert told(encoded(*elements, snapshots=True)) == [
        ("process_step", {"step": thinking | {"content": "H"}}),
        ("process_step", {"step": thinking | {"content": "Hm"}}),
        ("process_step", {"step": text | {"content": "Hi"}}),
        *last,
    ]


def test_pieces_may_be_joined_for_a_slow_client() -> None:
    """semantics 22.16: two pieces of one step are one event; two snapshots are the later one; of two steps neither."""
    one, two, other, *_ = encoded(TextElement('a"', id="m"), TextElement("\nä", id="m"), ThinkingElement("x", id="m"))
    joined = merge_events([one, two])
    first, second, *_ = encoded(TextElement("a", id="m"), TextElement("b", id="m"), snapshots=True)

    assert may_merge(one, two)
    assert json.loads(joined.data) == {"step": {"id": "step-0", "index": 0, "type": "text", "delta": 'a"\nä'}}
    assert not may_merge(joined, other)
    assert may_merge(first, second)
    assert merge_events([first, second]) == second


@pytest.mark.parametrize(
    ("end", "event"),
    [
        (failed("auth", "key sk-1"), ("auth", "The model's server does not accept this service.")),
        (failed("stage_failed", "/root: KeyError"), ("stage_failed", "The answer failed.")),
        (StreamEnd("timeout", ErrorElement("timeout", "x", fatal=True)), ("timeout", "The answer took too long.")),
        (StreamEnd("cancelled"), ("cancelled", "The answer was cancelled.")),
    ],
)  # fmt: skip
def test_a_failure_is_the_last_event_and_says_nothing_of_its_own(end: StreamEnd, event: tuple[str, str]) -> None:
    """semantics 22.13: seed 004 sent `str(e)`; here each code has a sentence."""
    events = told(encoded(TextElement("x", id="m"), end=end))

    assert events[1:] == [("error", {"content": event[1], "code": event[0]})]


def test_without_a_store_done_names_the_last_message() -> None:
    """semantics 22.16: and a turn that waits for a person names the calls."""
    elements = [TextElement("x", id="m"), whole(TextPart("x")), TurnEnd("approval", pending=("c-1",))]
    _, done = told(encoded(*elements))

    assert (done[1]["message_id"], done[1]["stop_reason"], done[1]["pending"]) == ("m", "approval", ["c-1"])


def test_steps_follow_a_reset_and_their_numbers_are_given_again() -> None:
    """semantics 22.11: of one answer, or of the turn; of an answer of which nothing was shown, nothing is forgotten."""
    call = whole(TextPart("a"), ToolCallPart("c-1", "look"))
    elements = [
        TurnStart(),
        TextElement("a", id="m"),
        call,
        ToolResultElement("c-1", "look", "ok"),
        TurnReset(answer="n"),
    ]
    elements += [
        TextElement("b", id="n"),
        TurnReset(answer="another"),
        TurnReset(answer="n"),
        TextElement("c", id="o"),
        TurnReset(),
        TurnReset(),
    ]
    events = [data.get("index", data.get("step", {}).get("id")) for _, data in told(encoded(*elements))][:-1]

    assert events == ["step-0", "step-1", "step-2", "step-3", 3, "step-3", 0]


def test_a_message_tells_what_of_it_was_not_shown() -> None:
    """semantics 22.12: an interruption drops what is on its way; the steps are those of the message all the same."""
    message = whole(ThinkingPart("abc"), TextPart("de"))

    assert [one["delta"] for one in steps(message)] == ["abc", "de"]
    assert [one["delta"] for one in steps(ThinkingElement("a", id="m"), message)] == ["a", "bc", "de"]
    shown = encoded(TextElement("de", id="m"), message)
    assert [event for event, _ in told(shown)] == ["process_step", "reset", "process_step", "process_step", "done"]
    assert [one["id"] for one in steps(TextElement("de", id="m"), message)] == ["step-0", "step-0", "step-1"]


def test_results_are_shown_as_text_and_say_whether_they_are_a_success() -> None:
    """semantics 22.11: seed 004, 4.8: `success` is false in a JSON object that says so, and of a call that failed."""
    given = [
        ("plain", "ok"),
        ('{"success": false, "error": "no"}', "ok"),
        ('{"success": 0}', "ok"),
        ('{"success": false', "ok"),
        ("no", "timeout"),
        ([TextPart("a"), DataPart("n", {"b": 1}), ImagePart(url="https://example.org/a.png")], "ok"),
    ]
    results = [ToolResultElement(f"c-{n}", "look", content, status) for n, (content, status) in enumerate(given)]
    shown = steps(*results, ToolResultElement("c-9", "look", "50 %", preliminary=True))

    assert [one["success"] for one in shown] == [True, False, True, True, False, True]
    assert shown[-1]["content"] == 'a\n{"b":1}\n[image]'
    assert all(one["id_ref"] == "" for one in shown)


# Faults of the seed: each of these would fail on it.


@tool
async def look(key: str = "a") -> str:
    """Look something up."""
    return f"seen {key}"


async def events_of(provider, *tools) -> list[ServerEvent]:
    result = await PipelineBuilder().chain(AgentStage(provider, tools)).build().run(ASK)
    return encoded(*result.elements)


async def shown_by(provider, *tools) -> list[dict]:
    return [data["step"] for event, data in told(await events_of(provider, *tools)) if event == "process_step"]


async def test_indexes_are_dense_and_fit_to_the_ids() -> None:
    """Seed 004: a tool step had the number of the saved steps as its index, and so one that another step had."""
    turns = [
        ScriptTurn([TextStep("a"), ToolCallStep("look", {})]),
        ScriptTurn([TextStep("b"), ToolCallStep("look", {})]),
    ]
    provider = ScriptedProvider(turns=[*turns, ScriptTurn([TextStep("c")])])
    shown = await shown_by(provider, look)

    assert [(one["id"], one["index"]) for one in shown] == [(f"step-{n}", n) for n in range(7)]


async def test_thoughts_and_text_that_alternate_are_steps_of_their_own() -> None:
    """Seed 004: all text of a round was one step, all thoughts another, and what came between was put in front."""
    steps_ = [ThinkingStep("a"), TextStep("b"), ThinkingStep("c"), TextStep("d")]
    shown = await shown_by(ScriptedProvider(turns=[ScriptTurn(steps_)]))

    assert [(one["type"], one["delta"]) for one in shown] == [
        *[("thinking", "a"), ("text", "b"), ("thinking", "c"), ("text", "d")]
    ]


async def test_a_long_answer_costs_what_it_says() -> None:
    """Seed 004: each event had all of the text: 2000 pieces made two million characters; here they make no snapshot."""
    text = "x" * 2000
    elements = (
        await PipelineBuilder().chain(AgentStage(ScriptedProvider(default=text, split=split_chars()))).build().run(ASK)
    ).elements
    pieces, snapshots = (sum(len(one.data) for one in encoded(*elements, snapshots=yes)) for yes in (False, True))

    assert pieces < 2000 * 80
    assert snapshots > 2_000_000


async def test_usage_is_the_sum_over_the_rounds() -> None:
    """Seed 004: the usage of the last round took the place of the others, though it was called total."""
    provider = ScriptedProvider(
        turns=[ScriptTurn([TextStep("a b"), ToolCallStep("look", {})]), ScriptTurn([TextStep("c d e")])]
    )
    elements = (await PipelineBuilder().chain(AgentStage(provider, [look])).build().run(ASK)).elements
    calls = [one.usage for one in elements if isinstance(one, UsageElement)]
    done = told(encoded(*elements))[-1][1]

    assert len(calls) == 2
    assert done["usage"]["total_tokens"] == sum(one.total_tokens for one in calls)
    assert done["token_count"] == sum(one.output_tokens or 0 for one in calls)


async def test_what_another_agent_says_is_none_of_the_steps() -> None:
    """semantics 22.11: an agent inside a tool streams its text beside; the steps hold its result."""
    inner = AgentStage(ScriptedProvider(default="inside"), name="inner")
    provider = ScriptedProvider(turns=[ScriptTurn([ToolCallStep("ask", {"task": "x"})]), ScriptTurn([TextStep("so")])])
    events = await events_of(provider, agent_tool("ask", inner, description="Asks."))

    assert [data["step"]["type"] for event, data in told(events) if event == "process_step"] == [
        *["tool_call", "tool_result", "text"]
    ]


def test_steps_are_made_of_stored_messages() -> None:
    """semantics 22.12: those of the user are none; parts without text neither; a call without its text has its arguments."""
    messages = [
        Message("user", "go"),
        Message(
            "assistant", [ThinkingPart("", "sig"), TextPart("a"), TextPart("b"), ToolCallPart("c", "look", {"k": 1})]
        ),
        ToolResultElement("c", "look", "ok").part,
    ]
    made = steps_of([*messages[:2], Message("tool", [messages[2]])])

    assert [(one.type, one.content, one.arguments) for one in made] == [
        *[("text", "ab", ""), ("tool_call", "", '{"k":1}'), ("tool_result", "ok", "")]
    ]

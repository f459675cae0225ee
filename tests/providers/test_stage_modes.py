"""`ProviderStage`: what it sends of an answer, what it remembers, what it asks for."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    EndOfStream,
    Message,
    MessageElement,
    PipelineBuilder,
    PipelineConfig,
    TextElement,
    TurnEnd,
    UsageElement,
)
from streamflow.elements import (
    AudioPart,
    DataPart,
    ImagePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    TurnReset,
    Usage,
)
from streamflow.errors import ConfigError
from streamflow.providers import (
    AudioStep,
    CitationStep,
    DelayStep,
    ImageStep,
    ModelRequest,
    NamedTool,
    OutputSchema,
    ProviderStage,
    ScriptedProvider,
    ScriptTurn,
    TextStep,
    ThinkingStep,
    ToolCallStep,
    ToolSpec,
    UsageStep,
)

ALL_STEPS = [
    ThinkingStep("Hm.", signature="proof"),
    TextStep("a b"),
    UsageStep(Usage(input_tokens=1)),
    ImageStep(b"png"),
    CitationStep({"url": "u"}),
    AudioStep(b"\0\1", text="la"),
    AudioStep(b"\2\3"),
    ToolCallStep("f", {"x": 1}),
]


def user(text: str) -> MessageElement:
    return MessageElement(Message("user", text))


def build(provider, *, capacity: int = 16, **options):
    return PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(ProviderStage(provider, **options)).build()


def kinds(elements) -> list[str]:
    return [type(one).__name__.removesuffix("Element") for one in elements if not isinstance(one, EndOfStream)]


def texts(request: ModelRequest) -> list[str]:
    return [message.text for message in request.messages]


class FromList:
    """A provider that gives what it was told."""

    name = "listed"

    def __init__(self, *elements) -> None:
        self.elements = elements

    async def stream(self, request: ModelRequest):
        for element in self.elements:
            yield element


@pytest.mark.parametrize("capacity", [1, 16])
async def test_all_that_a_provider_can_send_passes_in_its_order(capacity):
    """semantics 18.12: fragments, calls, media, citations and running usage; the final usage behind the whole."""
    provider = ScriptedProvider(turns=[ScriptTurn(ALL_STEPS)])
    got = (await build(provider, capacity=capacity).run(user("go"))).elements

    between = ["Thinking", "Text", "Text", "Usage", "Image", "Data", "Audio", "Audio", "ToolCallDelta", "ToolCall"]
    assert kinds(got) == ["TurnStart", *between, "Message", "Usage", "TurnEnd"]
    assert got[-1].stop_reason == "tool_calls"


async def test_a_stage_may_send_the_whole_alone():
    """semantics 18.12: request and response: no fragment leaves, and nothing leaves before the answer is there."""
    provider = ScriptedProvider(turns=[ScriptTurn([*ALL_STEPS, DelayStep(5)])])
    pipeline = build(provider, mode="whole")
    async with pipeline.execute(user("go")) as run:
        timed = [(type(one).__name__, anyio.current_time()) async for one in run]

    assert [name for name, _ in timed] == ["TurnStart", "MessageElement", "UsageElement", "TurnEnd", "EndOfStream"]
    assert [time for _, time in timed][:2] == [0, 5]


async def test_a_fallback_s_reset_passes_with_the_number_of_its_turn():
    """semantics 18.12: who shows fragments forgets them; the whole mode has sent none."""
    elements = [TextElement("lost"), TurnReset("busy"), TextElement("a"), MessageElement(Message("assistant", "a"))]
    source = [user("x"), TurnEnd(), user("y"), TurnEnd()]
    streamed = (await build(FromList(*elements)).run(source)).elements
    whole = (await build(FromList(*elements), mode="whole").run(source)).elements

    assert [one.index for one in streamed if isinstance(one, TurnReset)] == [0, 1]
    assert kinds(streamed)[:6] == ["TurnStart", "Text", "TurnReset", "Text", "Message", "TurnEnd"]
    assert kinds(whole) == ["TurnStart", "Message", "TurnEnd"] * 2


async def test_what_was_said_before_a_reset_is_no_part_of_an_interrupted_answer():
    """semantics 15.5: the cut message is what the turn has said that still counts."""

    class Hanging(FromList):
        async def stream(self, request):
            for element in self.elements:
                yield element
            await anyio.sleep_forever()

    provider = Hanging(TextElement("lost", id="1"), TurnReset(), TextElement("kept", id="2"))
    async with build(provider).execute() as run:
        await run.send(user("go"))
        await run.send(TurnEnd())
        await anyio.wait_all_tasks_blocked()
        run.interrupt()
        run.close_input()
        got = [one async for one in run]

    message = next(one for one in got if isinstance(one, MessageElement))
    assert (message.message.text, message.id, message.cut) == ("kept", "2", True)


@pytest.mark.parametrize("mode", ["stream", "whole"])
async def test_an_interruption_keeps_all_that_was_said_and_used(mode):
    """semantics 15.5, 18.12: parts of every kind, and the last usage that was told, as an estimate."""
    provider = ScriptedProvider(turns=[ScriptTurn([*ALL_STEPS, DelayStep()])])
    async with build(provider, mode=mode).execute() as run:
        await run.send(user("go"))
        await run.send(TurnEnd())
        got = [await anext(run) for _ in range(11 if mode == "stream" else 1)]
        await anyio.wait_all_tasks_blocked()
        run.interrupt()
        run.close_input()
        got += [one async for one in run]

    message = next(one for one in got if isinstance(one, MessageElement)).message
    assert [type(part) for part in message.parts] == [
        *(ThinkingPart, TextPart, ImagePart, DataPart, AudioPart, ToolCallPart),
    ]
    assert message.parts[0] == ThinkingPart("Hm.", "proof")
    assert (message.parts[4].data, message.parts[4].transcript) == (b"\0\1\2\3", "la")
    final = [one.usage for one in got if isinstance(one, UsageElement) and one.final]
    assert [(one.input_tokens, one.estimated) for one in final] == [(1, True)]


async def test_a_stage_that_remembers_goes_on_with_the_conversation():
    """semantics 18.13: what was asked and answered goes before the next turn; without `history` nothing does."""
    source = [one for text in "abc" for one in (user(text), TurnEnd())]
    provider, forgetful = ScriptedProvider(default="{text}!"), ScriptedProvider()
    await build(provider, history=10).run(source)
    await build(forgetful).run(source)

    assert [texts(one) for one in provider.requests] == [["a"], ["a", "a!", "b"], ["a", "a!", "b", "b!", "c"]]
    assert [texts(one) for one in forgetful.requests] == [["a"], ["b"], ["c"]]


async def test_the_memory_of_a_run_is_not_another_s():
    """semantics 3.4: the state of a run lives in the run."""
    provider = ScriptedProvider()
    pipeline = build(provider, history=10)
    for _ in range(2):
        await pipeline.run([user("a"), TurnEnd(), user("b")])

    assert [len(one.messages) for one in provider.requests] == [1, 3, 1, 3]


async def test_system_messages_come_first_and_once():
    """semantics 18.13: servers want them first; the same one may come in with every turn."""
    system = MessageElement(Message("system", "be kind"))
    provider = ScriptedProvider(default="ok")
    await build(provider, history=2).run([one for text in "abc" for one in (system, user(text), TurnEnd())])

    assert texts(provider.requests[-1]) == ["be kind", "b", "ok", "c"]


async def test_a_message_that_comes_in_again_is_not_repeated():
    """semantics 18.13: who sends the whole history all the same, with ids, does no harm."""
    first = MessageElement(Message("user", "a", id="m1"))
    provider = ScriptedProvider(default="ok")
    await build(provider, history=9).run([first, TurnEnd(), first, user("b"), TurnEnd()])

    assert texts(provider.requests[-1]) == ["a", "ok", "b"]


async def test_an_interrupted_call_of_a_tool_is_remembered_with_a_result():
    """semantics 18.13: a call without a result makes every later request a bad one."""
    turns = [ScriptTurn([ToolCallStep("f"), DelayStep()]), ScriptTurn([TextStep("ok")])]
    provider = ScriptedProvider(turns=turns)
    async with build(provider, history=9).execute() as run:
        await run.send(user("a"))
        await run.send(TurnEnd())
        await anyio.wait_all_tasks_blocked()
        run.interrupt()
        await run.send(user("b"))
        await run.send(TurnEnd())
        run.close_input()
        async for _ in run:
            pass

    call, result = provider.requests[-1].messages[1:3]
    assert call.stop_reason == "interrupted"
    assert result.tool_results == (ToolResultPart("call-1-1", "The call was cancelled.", name="f", status="cancelled"),)
    assert texts(provider.requests[-1])[3:] == ["b"]


async def test_results_that_come_in_settle_the_calls_of_the_turn_before():
    """semantics 18.13: a tool loop around the stage: the call, then its result, then the answer."""
    provider = ScriptedProvider(turns=[ScriptTurn([ToolCallStep("f")]), ScriptTurn([TextStep("{result}")])])
    result = MessageElement(Message("tool", [ToolResultPart("call-1-1", "7", name="f")]))
    got = (await build(provider, history=9).run([user("a"), TurnEnd(), result, TurnEnd()])).elements

    assert [message.role for message in provider.requests[-1].messages] == ["user", "assistant", "tool"]
    assert [one.message.text for one in got if isinstance(one, MessageElement)] == ["", "7"]


@given(limit=st.integers(0, 6), turns=st.lists(st.sampled_from(["say", "call"]), max_size=12))
async def test_what_is_remembered_is_bounded_and_begins_with_a_question(limit, turns):
    """semantics 18.13: at most `history` messages; no answer without its question, no result without its call."""
    steps = {"say": [TextStep("x")], "call": [ToolCallStep("f")]}
    script = []
    source = []
    for number, turn in enumerate(turns, 1):
        script.append(ScriptTurn(steps[turn]))
        source += [user(f"q{number}"), TurnEnd()]
        if turn == "call":
            script.append(ScriptTurn([TextStep("done")]))
            result = Message("tool", [ToolResultPart(f"call-{len(script) - 1}-1", "r", name="f")])
            source += [MessageElement(result), TurnEnd()]
    provider = ScriptedProvider(turns=script, default="-")
    await build(provider, history=limit).run(source)

    for one in provider.requests:
        earlier = one.messages[:-1]
        assert len(earlier) <= limit
        assert not earlier or earlier[0].role == "user"


async def test_every_option_reaches_the_model():
    """`ProviderStage` — Args: what the stage is told is what the model is asked."""
    tool = ToolSpec("f", "does it")
    options = {
        "model": "m",
        "temperature": 0.5,
        "max_tokens": 9,
        "tools": (tool,),
        "tool_choice": NamedTool("f"),
        "parallel_tools": False,
        "output": OutputSchema({"type": "object"}),
        "effort": "low",
        "thinking_tokens": 0,
        "stop": ("END",),
        "top_p": 0.9,
        "seed": 7,
        "extra": {"user": "u"},
    }
    provider = ScriptedProvider()
    await build(provider, **options).run(user("go"))

    assert set(options) | {"messages"} == set(ModelRequest.__struct_fields__)
    assert provider.requests == (ModelRequest(messages=(Message("user", "go"),), **options),)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "both"},
        {"history": -1},
        {"top_p": 0},
        {"top_p": 1.5},
        {"thinking_tokens": -1},
        {"tools": [ToolSpec("f"), ToolSpec("f")]},
        {"tool_choice": NamedTool("g"), "tools": [ToolSpec("f")]},
        {"tool_choice": "required"},
    ],
    ids=range(8),
)
def test_options_that_no_server_could_serve_are_refused(options):
    """Wrong arguments fail in the constructor, by name."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        ProviderStage(ScriptedProvider(), **options)


def test_what_the_stage_may_hold_counts_what_it_remembers():
    """semantics 5.5: the bound of a run includes the memory of its stages."""
    forgetful, mindful = build(ScriptedProvider()), build(ScriptedProvider(), history=50)

    assert mindful.max_in_flight == forgetful.max_in_flight + 100

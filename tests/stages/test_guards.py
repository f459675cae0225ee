"""Guards: what is denied is never shown, however it is cut; what is allowed is not touched. Semantics 21."""

from __future__ import annotations

import re
from itertools import pairwise

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    ConfigError,
    DataElement,
    ElementError,
    Interrupt,
    Message,
    MessageElement,
    StageError,
    TextElement,
    TurnEnd,
    TurnReset,
    UsageElement,
)
from streamflow.elements import TextPart, ToolCallDelta, ToolCallElement, ToolCallPart, ToolResultPart, Usage
from streamflow.providers import ProviderStage, ScriptedProvider
from streamflow.runtime import PipelineBuilder
from streamflow.stages import (
    GuardDecision,
    GuardInputStage,
    GuardMessageStage,
    GuardStreamStage,
    JsonSchemaGuard,
    LengthGuard,
    RegexGuard,
    WordGuard,
)
from streamflow.testing import run_stage

NO = "No."


def cut(text, places):
    """Return the text in pieces, cut at the places."""
    at = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [TextElement(text[a:b], id="m") for a, b in pairwise(at) if a < b or not text]


def whole(text, **more):
    return MessageElement(Message("assistant", text, **more), id="m")


def shown(elements):
    return "".join(one.text for one in elements if isinstance(one, TextElement))


def decisions(elements):
    return [one.value for one in elements if isinstance(one, DataElement) and one.name == "guard"]


def message(elements):
    (found,) = (one for one in elements if isinstance(one, MessageElement))
    return found.message


texts = st.text(alphabet="ab xB.\n", max_size=40)
places = st.lists(st.integers(0, 100), max_size=8)


@pytest.mark.slow
@given(text=texts, places=places, capacity=st.integers(1, 3))
async def test_what_is_denied_is_never_shown_however_it_is_cut(text, places, capacity):
    """semantics 21.6: the text ends in front of the first forbidden word; the same for every way to divide it."""
    got = await run_stage(
        GuardStreamStage([WordGuard(["ab", "b x"], whole_words=False)], refusal=NO),
        [*cut(text, places), whole(text)],
        capacity=capacity,
    )
    found = re.search("ab|b x", text, re.IGNORECASE)

    assert shown(got) == (text if found is None else text[: found.start()] + NO)
    assert message(got).text == shown(got)
    assert len(decisions(got)) == (found is not None)


@pytest.mark.slow
@given(
    text=st.text(alphabet="aab b.", max_size=40),
    places=places,
    pattern=st.sampled_from([(r"\bab+\b", 45), ("ab{0,3}a?", 5), (r"(?<!b)[ab]{2}(?!a)", 2)]),
)
async def test_what_is_replaced_is_replaced_the_same_however_it_is_cut(text, places, pattern):
    """semantics 21.6: the rest is neither changed, lost nor reordered, and the whole equals its fragments."""
    guard = RegexGuard(pattern[0], action="replace", text="*", reach=pattern[1])
    got = await run_stage(GuardStreamStage([guard]), [*cut(text, places), whole(text)])

    assert shown(got) == re.sub(pattern[0], "*", text)
    assert message(got).text == shown(got)


@pytest.mark.slow
@given(text=texts, places=places, by=st.sampled_from(["characters", "sentences"]), max_chars=st.integers(1, 9))
async def test_what_no_guard_objects_to_is_not_touched(text, places, by, max_chars):
    """semantics 21.6: text, headers and other elements leave in their order, whatever is held back."""
    given_elements = [
        one
        for number, each in enumerate(cut(text, places))
        for one in (each, ToolCallDelta("c", "t", str(number)), UsageElement(Usage(input_tokens=number)))
    ]
    stage = GuardStreamStage([lambda _text: True, WordGuard(["zzz"])], by=by, max_chars=max_chars, hold_chars=4)
    got = await run_stage(stage, [*given_elements, whole(text), TurnEnd()])

    def spread(elements):
        """Return each character as an element, so that only the order is compared."""
        out = []
        for one in elements:
            out.extend(one.replace(text=char) for char in one.text) if isinstance(one, TextElement) else out.append(one)
        return out

    assert spread(got) == spread([*given_elements, whole(text), TurnEnd()])


@pytest.mark.slow
@given(text=texts, places=places)
async def test_two_guards_see_the_same_however_it_is_cut(text, places):
    """semantics 21.6: overlapping matches of several guards are settled by the text alone."""
    guards = [
        WordGuard(["b a", "xx"], action="replace", text="1", whole_words=False),
        WordGuard([" ab", "a x"], action="replace", text="2", whole_words=False),
        WordGuard(["bbb"], whole_words=False),
    ]
    assert shown(await run_stage(GuardStreamStage(guards), cut(text, places))) == shown(
        await run_stage(GuardStreamStage(guards), [TextElement(text)])
    )


async def test_text_is_shown_while_the_answer_still_comes():
    """semantics 21.6: only a window is held back, of as many characters as the guards need."""
    seen = []
    async with PipelineBuilder().chain(GuardStreamStage([WordGuard(["abc"])])).build().execute() as run:
        await run.send(TextElement("0123456789"))
        async for element in run:
            seen.append(element)
            if isinstance(element, TextElement):
                run.close_input()
                break
    assert seen[0].text == "0123456"


async def test_a_denied_answer_runs_no_tools():
    """semantics 21.7: calls end here, the whole has none, and no stop reason says that tools may run."""
    call = ToolCallElement("c", "rm", id="m")
    asked = MessageElement(
        Message("assistant", [TextPart("the secret"), ToolCallPart("c", "rm")], stop_reason="tool_calls"), id="m"
    )
    got = await run_stage(
        GuardStreamStage([WordGuard(["secret"])], refusal=NO),
        [
            TextElement("the secret", id="m"),
            TextElement(" is out", id="m"),
            call,
            asked,
            TurnEnd(stop_reason="tool_calls"),
        ],
    )
    assert shown(got) == "the No."
    assert not any(isinstance(one, ToolCallElement) for one in got)
    assert not message(got).tool_calls
    assert message(got).stop_reason == got[-1].stop_reason == "content_filter"


async def test_the_next_turn_begins_anew():
    """semantics 21.7: what was denied in one turn denies nothing in the next."""
    got = await run_stage(
        GuardStreamStage([WordGuard(["bad"])], refusal=NO),
        [TextElement("bad"), whole("bad"), TurnEnd(), TextElement("good"), whole("good"), TurnEnd()],
    )
    assert shown(got) == "No.good"
    assert [one.stop_reason for one in got if isinstance(one, TurnEnd)] == ["content_filter", "stop"]


async def test_a_reset_forgets_what_is_held():
    """semantics 21.6: fragments of an answer that does not count are no part of the next one."""
    got = await run_stage(
        GuardStreamStage([WordGuard(["ab"], whole_words=False)]), [TextElement("a"), TurnReset(), TextElement("b")]
    )
    assert shown(got) == "b"


async def test_an_abort_ends_the_call_of_the_model():
    """semantics 21.7: an interruption reaches the stage upstream; the run goes on with its next turn."""
    provider = ScriptedProvider(
        default=lambda request: "go " * 5 + "stop " + "more " * 500 if "one" in request.messages[-1].text else "fine",
        delay_s=1,
    )
    pipeline = (
        PipelineBuilder()
        .chain(ProviderStage(provider), GuardStreamStage([WordGuard(["stop"], action="abort")], refusal=NO))
        .build()
    )
    result = await pipeline.run(
        [MessageElement(Message("user", "one")), TurnEnd(), MessageElement(Message("user", "two")), TurnEnd(index=1)]
    )

    first, second = result.messages
    assert first.text == "go go go go go No."
    assert second.text == "fine"
    assert [one.stop_reason for one in result.elements if isinstance(one, TurnEnd)] == ["content_filter", "stop"]
    assert any(isinstance(one, Interrupt) for one in result.elements)
    assert result.timings.total_s < 300


async def test_a_whole_without_fragments_is_guarded_too():
    """semantics 21.6: no way around the guard."""
    got = await run_stage(GuardStreamStage([WordGuard(["bad"])], refusal=NO), [whole("so bad")])
    assert message(got).text == "so No."
    assert decisions(got)[0]["action"] == "deny"


@pytest.mark.parametrize("make", [GuardStreamStage, GuardInputStage, GuardMessageStage])
@pytest.mark.parametrize("kind", ["raises", "hangs", "nonsense"])
async def test_a_guard_that_fails_lets_nothing_through(make, kind):
    """semantics 21.8: closed by default, also when it takes too long; open only where that is said."""

    async def guard(_text):
        if kind == "raises":
            raise OSError("password=hunter2")
        if kind == "hangs":
            await anyio.sleep_forever()
        return "yes"

    role = "user" if make is GuardInputStage else "assistant"
    given_elements = [MessageElement(Message(role, "hello"))]
    got = await run_stage(make([guard], timeout_s=5), given_elements)
    assert "hello" not in repr([one for one in got if isinstance(one, MessageElement)])
    assert decisions(got)[0]["action"] == "deny"
    assert "hunter2" not in repr(got)
    assert await run_stage(make([guard], on_failure="allow", timeout_s=5), given_elements) == given_elements


async def test_a_denied_question_is_never_asked():
    """semantics 21.5: the guard runs first; the model is not called, also not with the history alone."""
    provider = ScriptedProvider()
    pipeline = (
        PipelineBuilder().chain(GuardInputStage([WordGuard(["bomb"])], refusal=NO), ProviderStage(provider)).build()
    )
    history = [MessageElement(Message("user", "hi")), whole("hello")]
    result = await pipeline.run([*history, MessageElement(Message("user", "a bomb")), TurnEnd()])

    assert not provider.requests
    assert decisions(result.elements) == [
        {"guard": "words", "action": "deny", "reason": "a forbidden word", "stage": "guard_input", "message": NO}
    ]
    assert result.elements[-1].stop_reason == "content_filter"


async def test_a_question_is_edited_before_it_is_asked():
    """semantics 21.5: a replacement is in the message, in its metadata and told; what was answered is not looked at again."""
    guard = WordGuard(["ada"], action="replace", text="[name]")
    old = [MessageElement(Message("user", "ada")), whole("hello")]
    result = MessageElement(Message("tool", [ToolResultPart("c", "ada lives"), ToolResultPart("d", "yes")]))
    got = await run_stage(GuardInputStage([guard], roles=("user", "tool")), [*old, result, TextElement("I am Ada!")])

    assert got[:2] == old
    assert [one.text for one in got[2].message.tool_results] == ["[name] lives", "yes"]
    assert got[4].message.text == "I am [name]!"
    assert got[4].metadata["guard"]["action"] == "replace"
    assert [one["action"] for one in decisions(got)] == ["replace", "replace"]


async def test_a_message_is_held_to_its_form():
    """semantics 21.9: a JSON schema guards wholes; the reason names the place and no value."""
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 1}}}
    stage = GuardMessageStage([JsonSchemaGuard(schema)], refusal="{}")
    good, bad = whole('{"n": 3}'), whole('{"n": -777}', stop_reason="tool_calls")
    assert await run_stage(stage, [good]) == [good]
    got = await run_stage(stage, [bad, TurnEnd()])
    assert message(got).text == "{}"
    assert decisions(got)[0]["reason"] == "$.n is out of its range"
    assert "777" not in repr(got)
    assert got[-1].stop_reason == "content_filter"


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string", "minLength": 2, "pattern": "^a"}, '"ab"', '"a"'),
        ({"type": "array", "items": {"type": "number"}, "maxItems": 2}, "[1, 2.5]", '[1, "x"]'),
        ({"enum": ["a", 1]}, "1", "true"),
        ({"const": None}, "null", "0"),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, '{"a": 1}', '{"b": 1}'),
        ({"type": "object", "additionalProperties": {"type": "boolean"}}, '{"b": true}', '{"b": 1}'),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, "2", '"2"'),
        ({"allOf": [{"minimum": 1}, {"exclusiveMaximum": 3}]}, "2", "3"),
        ({}, "1", "NaN"),
        ({}, "1", "[" * 100_000),
    ],
)
def test_a_schema_lets_through_what_it_describes(schema, good, bad):
    """semantics 21.9: each keyword counts."""
    from streamflow.stages import GuardView

    assert JsonSchemaGuard(schema).check(GuardView(good)) is None
    assert JsonSchemaGuard(schema).check(GuardView(bad)) is not None


async def test_a_length_guard_cuts_at_its_limit():
    """semantics 21.9: on a stream and on a whole alike."""
    pieces = [TextElement(char) for char in "abcdefgh"]
    assert shown(await run_stage(GuardStreamStage([LengthGuard(5)], refusal=NO), pieces)) == "abcdeNo."
    assert shown(await run_stage(GuardStreamStage([LengthGuard(5, action="replace", text="…")]), pieces)) == "abcde…"
    got = await run_stage(GuardMessageStage([LengthGuard(5, min_chars=3)], refusal=NO), [whole("ab")])
    assert message(got).text == NO


async def test_a_function_decides_about_places():
    """semantics 21.9: any function of a text is a guard; it may say where."""

    async def guard(text):
        at = text.find("red")
        return [GuardDecision("replace", text="blue", start=at, end=at + 3)] if at >= 0 else None

    assert (
        shown(await run_stage(GuardStreamStage([guard]), [TextElement("a r"), TextElement("ed car")])) == "a blue car"
    )


async def test_too_many_messages_are_refused():
    """semantics 21.5: what an input guard holds is bounded."""
    with pytest.raises((ElementError, StageError)) as caught:
        await run_stage(GuardInputStage([WordGuard(["x"])], max_messages=1), [TextElement("a"), TextElement("b")])
    assert isinstance(caught.value.__cause__ or caught.value, ElementError)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: GuardStreamStage([]), "guards"),
        (lambda: GuardStreamStage("bad"), "guards"),
        (lambda: GuardStreamStage([3]), "guards[0]"),
        (lambda: GuardStreamStage([JsonSchemaGuard({})]), "guards"),
        (lambda: GuardStreamStage([WordGuard(["long"])], hold_chars=2), "hold_chars"),
        (lambda: GuardStreamStage([bool], by="words"), "by"),
        (lambda: GuardStreamStage([bool], timeout_s=0), "timeout_s"),
        (lambda: GuardStreamStage([bool], on_failure="shrug"), "on_failure"),
        (lambda: GuardInputStage([bool], roles=("guest",)), "roles"),
        (lambda: WordGuard("bad"), "words"),
        (lambda: WordGuard([]), "words"),
        (lambda: WordGuard([" "]), "words"),
        (lambda: RegexGuard("("), "pattern"),
        (lambda: RegexGuard("a", action="allow"), "action"),
        (lambda: LengthGuard(0), "max_chars"),
        (lambda: JsonSchemaGuard({"not": {}}), "schema.not"),
        (lambda: JsonSchemaGuard({"type": "text"}), "schema.type"),
        (lambda: JsonSchemaGuard({"properties": {"a": 1}}), "schema.properties.a"),
        (lambda: JsonSchemaGuard({}, action="replace"), "action"),
    ],
    ids=map(str, range(19)),
)
def test_a_bad_argument_is_refused_at_once_and_by_name(make, field):
    """semantics 21.9: a rule that is passed over in silence guards nothing."""
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field


async def test_an_interruption_forgets_what_is_held_back():
    """semantics 15.2: nothing stale leaves; what comes behind it is a text of its own."""
    seen = []
    guard = GuardStreamStage([WordGuard(["zzzzzz"])])
    async with PipelineBuilder().chain(guard).build().execute() as run:
        await run.send(TextElement("0123456789"))
        async for element in run:
            seen.append(element)
            if element == TextElement("0123"):
                run.interrupt()
                await run.send(TextElement("new"))
                run.close_input()
    assert shown(seen) == "0123new"


async def test_a_flood_behind_held_text_is_bounded():
    """semantics 5.4: more than 1,000 elements do not wait for a text that nobody ends; none of them is lost."""
    flood = [ToolCallDelta("c", "t", str(number)) for number in range(1500)]
    stage = GuardStreamStage([WordGuard(["zzz"])])
    seen = []
    async with PipelineBuilder().chain(stage).build().execute() as run:
        await run.send(TextElement("ab"))
        for number, element in enumerate(flood):
            await run.send(element)
            if number > 1000:
                break
        async for element in run:
            seen.append(element)
            if len(seen) == 1001:
                run.close_input()
    assert [one for one in seen if isinstance(one, ToolCallDelta)] == flood[:1002]
    assert shown(seen) == "ab"


@pytest.mark.slow
@given(text=texts, places=places, capacity=st.integers(1, 2))
async def test_a_reader_who_leaves_ends_the_guard(text, places, capacity):
    """semantics 3.1: with text held back, at capacity 1, whenever it happens."""
    pipeline = PipelineBuilder().chain(GuardStreamStage([WordGuard(["zz"])])).build()
    async for _ in pipeline.execute([*cut(text, places), *cut(text, places)]):
        break

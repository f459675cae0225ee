"""The stage that sends text out of JSON while it arrives: what is sent, of which document, and what of it an error leaves."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    DataElement,
    ErrorElement,
    Message,
    MessageElement,
    Metadata,
    PipelineBuilder,
    TextElement,
    ToolCallDelta,
    ToolCallElement,
    TurnEnd,
    TurnReset,
)
from streamflow.errors import ConfigError
from streamflow.stages import ExtractJsonStage
from streamflow.testing import run_stage

CLASSIFIED = {
    "reasoning": "wants chips",
    "ask_slots": [
        {"message": 'Did you mean "crispy"?', "options": ["yes", "no"]},
        {"message": "Which one?", "options": []},
        {"message": "Which one?"},
    ],
    "simple_response": {"message": "Hi \U0001f600"},
}
SLOTS = ["ask_slots[*].message", "simple_response.message"]


def deltas(document, size=7, call_id="c1", name="classify"):
    text = document if isinstance(document, str) else json.dumps(document)
    return [ToolCallDelta(call_id, name, text[at : at + size], id="m") for at in range(0, len(text), size)]


def call(document, call_id="c1", name="classify"):
    return ToolCallElement(call_id, name, raw=document if isinstance(document, str) else json.dumps(document), id="m")


def texts(elements):
    """Return the text at each path, joined, in the order of their beginnings."""
    found = {}
    for one in elements:
        if isinstance(one, TextElement):
            found[one.id, one.path] = found.get((one.id, one.path), "") + one.text
    return found


@given(size=st.integers(1, 40))
async def test_the_strings_at_the_paths_of_a_tool_call_are_sent_as_they_arrive(size):
    """semantics 17.7: decoded, with path and call id, before the whole call, which goes on (seed 003)."""
    got = await run_stage(ExtractJsonStage(SLOTS, tool="classify"), [*deltas(CLASSIFIED, size), call(CLASSIFIED)])

    assert texts(got) == {
        ("c1", ("ask_slots", 0, "message")): 'Did you mean "crispy"?',
        ("c1", ("ask_slots", 1, "message")): "Which one?",
        ("c1", ("ask_slots", 2, "message")): "Which one?",
        ("c1", ("simple_response", "message")): "Hi 😀",
    }
    assert got[-1] == call(CLASSIFIED)
    assert {type(one) for one in got[:-1]} == {TextElement}


async def test_a_whole_call_without_fragments_is_read_too():
    """semantics 17.7: a provider that does not stream its calls is no special case."""
    got = await run_stage(ExtractJsonStage(["simple_response.message"], tool="*"), [call(CLASSIFIED)])

    assert [one.text for one in got if isinstance(one, TextElement)] == ["Hi 😀"]
    assert got[-1] == call(CLASSIFIED)


async def test_other_tools_and_other_elements_go_on():
    """semantics 17.7: in their places."""
    others = [*deltas({"simple_response": {"message": "no"}}, name="other"), TextElement("said")]
    first, *rest = deltas(CLASSIFIED, 20)
    got = await run_stage(
        ExtractJsonStage(["reasoning"], tool="classify"), [first, *others, *rest, call("{}", "c2", "other")]
    )

    assert [one for one in got if one in others] == others
    assert texts(got[1:])["c1", ("reasoning",)] == "wants chips"[len(got[0].text) :] if got[0] not in others else True
    assert got[-1] == call("{}", "c2", "other")


async def test_calls_that_are_interleaved_are_documents_of_their_own():
    """semantics 17.7: each has its reader, and its id on what is sent."""
    one, two = deltas({"a": "first"}, 3, "c1"), deltas({"a": "other"}, 3, "c2")
    mixed = [each for pair in zip(one, two, strict=True) for each in pair]

    assert texts(await run_stage(ExtractJsonStage(["a"], tool="*"), mixed)) == {
        ("c1", ("a",)): "first",
        ("c2", ("a",)): "other",
    }


async def test_text_is_a_document_per_message():
    """semantics 17.7: until the message, the turn or the input ends; what has a path already is none of it."""
    whole = MessageElement(Message("assistant", "…"), id="m1")
    said = TextElement("shown", ("x",), id="m1")
    got = await run_stage(
        ExtractJsonStage(["a"]),
        [
            TextElement('{"a":"one', id="m1"), said, TextElement('"}', id="m1"), whole,
            TextElement('{"a":"two"}', id="m2"), TurnEnd(), TextElement('{"a":"three"}'), TurnEnd(), TextElement('{"a":"four"}'),
        ],
    )  # fmt: skip

    assert [one.text for one in got if isinstance(one, TextElement)] == ["one", "shown", "two", "three", "four"]
    assert got[1] is said
    assert [type(one).__name__ for one in got if not isinstance(one, TextElement)] == [
        "MessageElement",
        "TurnEnd",
        "TurnEnd",
    ]


async def test_what_is_sent_has_the_header_of_what_it_came_in():
    """semantics 17.7: metadata, priority and the right to be dropped travel with the text."""
    header = {"metadata": Metadata({"lang": "de"}), "interruptible": False, "timestamp_s": 1.5}
    (text, data) = await run_stage(
        ExtractJsonStage(["a", "b"]), [TextElement('{"a": "x", "b": [1]}', id="m", **header)]
    )

    assert text == TextElement("x", ("a",), id="m", **header)
    assert data == DataElement("$.b", (1,), id="m", **header)


@pytest.mark.parametrize(
    ("document", "code"),
    [('{"a": "shown", "b', "json_truncated"), ('{"a": "shown"}}', "json_invalid"), ('{"a": "shown" 1', "json_invalid")],
)
async def test_a_broken_document_makes_one_error_and_keeps_what_was_sent(document, code):
    """semantics 17.7: cut off and malformed are told apart; the turn goes on."""
    stage = ExtractJsonStage(["a"], name="show")
    got = await run_stage(stage, [*deltas(document, 1), *deltas("more", 1)][: len(document) + 4], capacity=1)
    ended = await run_stage(
        ExtractJsonStage(["a"], tool="classify", name="show"), [*deltas(document, 1), call(document), TurnEnd()]
    )

    assert len(got) == len(document) + 4  # tool fragments are not for a stage that reads text
    assert "".join(one.text for one in ended if isinstance(one, TextElement)) == "shown"
    errors = [one for one in ended if isinstance(one, ErrorElement)]
    assert [(one.code, one.stage, one.fatal) for one in errors] == [(code, "show", False)]
    assert isinstance(ended[-1], TurnEnd)


async def test_the_end_of_the_turn_and_of_the_input_cut_a_document_off():
    """semantics 17.7: whoever was shown half a text is told."""
    for end in ([TurnEnd()], []):
        got = await run_stage(ExtractJsonStage(["a"]), [TextElement('{"a": "sh'), *end])
        assert [one.code for one in got if isinstance(one, ErrorElement)] == ["json_truncated"]


async def test_a_reset_turn_forgets_its_documents():
    """semantics 17.7: the turn is done again, and its text begins anew."""
    got = await run_stage(ExtractJsonStage(["a"]), [TextElement('{"a": "o'), TurnReset(), TextElement('{"a": "two"}')])

    assert [one.text for one in got if isinstance(one, TextElement)] == ["o", "two"]
    assert not [one for one in got if isinstance(one, ErrorElement)]


async def test_an_empty_document_is_none():
    """semantics 17.7: a tool without arguments, and an answer of blanks, are no errors."""
    got = await run_stage(
        ExtractJsonStage(["a"], tool="*"), [ToolCallDelta("c", "f"), call("", "c", "f"), call(" ", "d", "f")]
    )
    assert got == [call("", "c", "f"), call(" ", "d", "f")]
    assert await run_stage(ExtractJsonStage(["a"]), [TextElement(" "), TextElement("\n")]) == []


@pytest.mark.parametrize("size", [1, 7, 30, 1000])
async def test_whole_strings_wait_for_their_quote_and_short_ones_are_left_out(size):
    """semantics 17.7: seed 003's options, counted in decoded characters; equal texts once where values count."""
    source = [*deltas(CLASSIFIED, size), call(CLASSIFIED)]

    async def sent(**options):
        got = await run_stage(ExtractJsonStage(SLOTS, tool="classify", **options), source)
        return [one.text for one in got if isinstance(one, TextElement)]

    slots = ['Did you mean "crispy"?', "Which one?", "Which one?"]
    assert await sent(complete=True) == [*slots, "Hi 😀"]
    assert await sent(complete=True, min_chars=5) == slots
    assert await sent(complete=True, once_per="value") == [*slots[:2], "Hi 😀"]
    assert "".join(await sent(min_chars=5)) == "".join(slots)
    assert len((await sent(min_chars=5))[0]) >= 5
    short = await run_stage(ExtractJsonStage("*", min_chars=5), [TextElement('{"a": "Yes", "b": "Longer"}')])
    assert [one.text for one in short] == ["Longer"]


async def test_a_key_that_comes_again_is_told_and_not_sent():
    """semantics 17.7: text that was shown cannot be called back, so it is said to be void."""
    got = await run_stage(ExtractJsonStage(["a.b"]), [TextElement('{"a": {"b": "one"}, "a": {"b": "two"}}')])

    assert [one.text for one in got if isinstance(one, TextElement)] == ["one"]
    assert [(one.code, "$.a" in one.message) for one in got if isinstance(one, ErrorElement)] == [
        ("json_duplicate_key", True)
    ]


async def test_a_value_that_no_element_can_hold_is_an_error_of_the_document():
    """semantics 17.7: an integer beyond 64 bits is JSON, and yet no element."""
    got = await run_stage(ExtractJsonStage(["a"]), [TextElement('{"a": 100000000000000000000}')])

    assert [one.code for one in got if isinstance(one, ErrorElement)] == ["json_invalid"]


async def test_the_number_of_open_documents_and_their_size_are_bounded():
    """semantics 17.7: texts that nothing ends do not pile up, and a document has a largest size."""
    many = [TextElement('{"a": "', id=str(number)) for number in range(129)]
    first, *rest = await run_stage(ExtractJsonStage(["a"]), [*many, TurnReset()])
    assert (first.code, rest) == ("json_truncated", [TurnReset()])  # the others were open, and are forgotten

    (text, error) = await run_stage(ExtractJsonStage(["a"], max_chars=10), [TextElement('{"a": "12345"}')])
    assert (text.text, error.code) == ("123", "json_invalid")


async def test_an_interruption_forgets_what_may_be_dropped():
    """semantics 17.7: what follows a barge-in is a document of its own, and half a document before it is no error."""
    pipeline = PipelineBuilder().chain(ExtractJsonStage(["a"])).build()
    got = []
    async with pipeline.execute() as run:
        await run.send(TextElement('{"a": "o'))
        got.append(await anext(run))
        run.interrupt()
        await run.send(TextElement('{"a": "two"}'))
        run.close_input()
        got += [one async for one in run]

    assert [one.text for one in got if isinstance(one, TextElement)] == ["o", "two"]
    assert not [one for one in got if isinstance(one, ErrorElement)]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"select": []}, "select"),
        ({"select": ["a["]}, "select"),
        ({"min_chars": -1}, "min_chars"),
        ({"once_per": "text"}, "once_per"),
        ({"once_per": "value"}, "once_per"),
        ({"max_chars": 0}, "max_chars"),
        ({"max_depth": 0}, "max_depth"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused(options, field):
    """semantics 17.7: in the constructor, by its name."""
    with pytest.raises(ConfigError, match=field):
        ExtractJsonStage(**{"select": ["a"], **options})

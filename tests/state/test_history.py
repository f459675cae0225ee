"""`check_history` and `repair_history`: what a strict provider accepts, and how anything becomes that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import Message
from streamflow.elements import TextPart, ToolCallPart, ToolResultPart
from streamflow.errors import HistoryError
from streamflow.state import check_history, repair_history


def asks(*ids: str, text: str = "") -> Message:
    parts = [TextPart(text)] if text else []
    return Message("assistant", [*parts, *(ToolCallPart(id, "find") for id in ids)])


def gives(*ids: str, text: str = "found") -> Message:
    return Message("tool", [ToolResultPart(id, text) for id in ids])


HELLO = Message("user", "hello")
LAWFUL = (HELLO, asks("a", "b"), gives("b"), gives("a"), Message("assistant", "done"), HELLO, asks("a"), gives("a"))


def test_a_lawful_history_is_accepted_and_stays_the_same_objects():
    """semantics 19.13: repairing costs a lawful history nothing, and changes nothing in it."""
    check_history(LAWFUL)
    repaired = repair_history(LAWFUL)

    assert [id(one) for one in repaired] == [id(one) for one in LAWFUL]


@pytest.mark.parametrize(
    ("messages", "index", "word"),
    [
        ([HELLO, asks("a")], 1, "no result"),
        ([asks("a"), HELLO, gives("a")], 0, "no result"),
        ([asks("a", "b"), gives("a"), HELLO], 0, "'b' has no result"),
        ([HELLO, gives("a")], 1, "no call"),
        ([asks("a"), gives("a"), gives("a")], 2, "no call"),
        ([asks("a", "a"), gives("a")], 0, "twice"),
        ([asks("a"), Message("tool", [ToolResultPart("a"), TextPart("more")])], 0, "no result"),
        ([HELLO, Message("assistant", "")], 1, "empty"),
    ],
)
def test_an_unlawful_history_is_refused_with_its_message_and_the_way_out(messages, index, word):
    """semantics 19.13: the place and what is wrong with it; a strict provider would answer 400 and say less."""
    with pytest.raises(HistoryError, match=word) as caught:
        check_history(messages)

    assert caught.value.index == index
    assert "repair_history()" in str(caught.value)


def test_a_call_without_a_result_gets_a_cancelled_one():
    """agents' pain 7: a cancelled call must not leave a conversation that answers 400 for ever."""
    *_, result = repair_history([HELLO, asks("a", "b"), gives("b")])

    (part,) = result.tool_results
    assert (part.call_id, part.name, part.status) == ("a", "find", "cancelled")
    assert "cancelled" in part.text


def test_a_late_result_is_moved_to_its_call():
    """semantics 19.13: what a person has consented to later is the result, and not that it was cancelled."""
    repaired = repair_history([asks("a"), HELLO, gives("a", text="late")])

    assert [one.role for one in repaired] == ["assistant", "tool", "user"]
    assert repaired[1].tool_results[0].text == "late"


def test_a_result_of_a_later_call_with_the_same_id_is_not_taken():
    """semantics 19.13: some servers number their calls anew in each answer."""
    repaired = repair_history([asks("a"), HELLO, asks("a"), gives("a")])

    assert [one.tool_results[0].status for one in repaired if one.tool_results] == ["cancelled", "ok"]


parts = st.one_of(
    st.builds(TextPart, st.sampled_from(["", "x"])),
    st.builds(ToolCallPart, st.sampled_from("abc"), st.just("find")),
    st.builds(ToolResultPart, st.sampled_from("abc"), st.just("found")),
)
messages = st.lists(
    st.builds(
        Message,
        st.sampled_from(["user", "assistant", "tool", "system"]),
        st.one_of(st.sampled_from(["", "hello"]), st.lists(parts, max_size=4)),
    ),
    max_size=8,
)


@given(messages)
def test_whatever_was_stored_becomes_lawful_and_keeps_what_was_said(history):
    """semantics 19.13: no order of messages, calls and results is beyond repair; texts stay, in order; twice is as once."""
    repaired = repair_history(history)

    check_history(repaired)
    assert repair_history(repaired) == repaired
    said = [one.text for one in history if one.text]
    assert [one.text for one in repaired if one.text] == said
    calls = {(place, call.call_id) for place, one in enumerate(history) for call in one.tool_calls}
    assert sum(len(one.tool_calls) for one in repaired) == len(calls)


@given(messages, st.integers(0, 8))
def test_a_window_of_any_history_becomes_lawful(history, last):
    """semantics 19.13: the last n messages may begin between a call and its result."""
    check_history(repair_history(repair_history(history)[-last:] if last else ()))

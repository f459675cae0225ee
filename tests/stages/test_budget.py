"""What of a history a model reads: the latest, or what fits; never a call without its results. Semantics 21."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import ConfigError, DataElement, ImageElement, Message, MessageElement, StageError, TextElement, TurnEnd
from streamflow.elements import ImagePart, TextPart, ToolCallPart, ToolResultPart
from streamflow.errors import ContextLimitError
from streamflow.stages import HistoryWindowStage, TokenBudgetStage, estimate_tokens
from streamflow.testing import run_stage


def said(role, text):
    return MessageElement(Message(role, text))


def call(*ids):
    return MessageElement(Message("assistant", [ToolCallPart(one, "tool") for one in ids]))


def result(*ids):
    return MessageElement(Message("tool", [ToolResultPart(one, "done") for one in ids]))


@st.composite
def histories(draw):
    """Draw a history, in which results may be late, missing, or without a call."""
    elements = []
    for number, kind in enumerate(draw(st.lists(st.sampled_from("suatlox"), max_size=14))):
        name = f"c{number}"
        match kind:
            case "s":
                elements.append(said("system", f"rule {number}"))
            case "u" | "a":
                elements.append(
                    said("user" if kind == "u" else "assistant", f"{name} " + "word " * draw(st.integers(0, 9)))
                )
            case "t":
                elements += [call(name, name + "b"), result(name), result(name + "b")]
            case "l":
                elements += [call(name), said("user", "late"), result(name)]
            case "o":
                elements.append(result("nobody"))
            case _:
                elements.append(call(name))
    return elements


def words(message):
    return 1 + len(message.text.split())


def check_lawful(sent, given_elements):
    """Check that every result stands behind its call, all calls but the last have results, and the order is kept."""
    messages = [one for one in sent if isinstance(one, MessageElement)]
    open_calls = set()
    for element in messages:
        results = {one.call_id for one in element.message.tool_results}
        assert results <= open_calls
        if not results:
            assert not open_calls
        open_calls = (open_calls - results) | {one.call_id for one in element.message.tool_calls}
    rest = [one for one in messages if one.message.role != "system"]
    places = [next(at for at, one in enumerate(given_elements) if one is each) for each in rest]
    assert places == sorted(places)


@pytest.mark.slow
@given(history=histories(), limit=st.integers(1, 8), capacity=st.integers(1, 2))
async def test_a_window_is_lawful_and_within_its_limit(history, limit, capacity):
    """semantics 21.3: the latest messages; a call with its results is one, system messages stay."""
    got = await run_stage(HistoryWindowStage(limit), history, capacity=capacity)

    check_lawful(got, history)
    system = [one for one in history if one.message.role == "system"]
    assert got[: len(system)] == system
    rest = got[len(system) :]
    units = sum(not one.message.tool_results for one in rest)
    assert len(rest) <= limit or units == 1


@pytest.mark.slow
@given(history=histories(), limit=st.integers(1, 4))
async def test_a_window_of_turns_begins_with_what_a_person_says(history, limit):
    """semantics 21.3: the last turns, whole."""
    got = await run_stage(HistoryWindowStage(turns=limit), history)

    check_lawful(got, history)
    rest = [one for one in got if one.message.role != "system"]
    starts = [
        at
        for at, one in enumerate(rest)
        if one.message.role == "user" and (not at or rest[at - 1].message.role != "user")
    ]
    assert len(starts) <= limit


@pytest.mark.slow
@given(
    history=histories(),
    budget=st.integers(1, 40),
    strategy=st.sampled_from(["oldest", "relevance", "summarise"]),
    fails=st.booleans(),
)
async def test_a_budget_is_kept_or_told(history, budget, strategy, fails):
    """semantics 21.4: what leaves fits, is lawful and has all system messages, or the stage fails."""

    async def summarize(messages):
        if fails:
            raise OSError
        return f"{len(messages)} said"

    options = {"summarize": summarize, "summary_tokens": 5} if strategy == "summarise" else {}
    stage = TokenBudgetStage(budget, strategy=strategy, count=words, **options)
    try:
        got = await run_stage(stage, history)
    except (ContextLimitError, StageError) as error:
        cause = error if isinstance(error, ContextLimitError) else error.__cause__
        assert isinstance(cause, ContextLimitError)
        assert cause.needed > cause.limit == budget
        return
    sent = [one for one in got if isinstance(one, MessageElement)]
    assert sum(words(one.message) for one in sent) <= budget
    known = [one for one in sent if not one.message.text.startswith("[Summary")]
    check_lawful(known, history)
    assert [one for one in sent if one.message.role == "system"] == [
        one for one in history if one.message.role == "system"
    ]
    if history and history[-1].message.role == "user":
        assert sent[-1] is history[-1]


async def test_what_fits_is_not_touched():
    """semantics 21.4: ids, metadata and order; nothing is told."""
    history = [said("user", "hi").with_metadata(lang="en").replace(id="m1"), said("assistant", "yes"), TurnEnd()]
    assert await run_stage(TokenBudgetStage(1000), history) == history


async def test_what_was_left_out_is_told():
    """semantics 21.4: how much, and whether the numbers are estimates."""
    got = await run_stage(TokenBudgetStage(12), [said("user", "x" * 30), said("user", "now")])
    assert isinstance(got[0], DataElement)
    assert got[0].value["tokens_before"] == 19
    assert got[0].value["tokens"] == 5
    assert got[0].value["estimated"] is True


async def test_relevance_keeps_what_the_question_is_about():
    """semantics 21.4: not the newest, but the nearest; in the order in which it was said."""
    history = [
        said("user", "my cat is grey"),
        said("user", "rain falls today"),
        said("user", "which colour has my cat"),
    ]
    got = await run_stage(TokenBudgetStage(12, strategy="relevance", count=words), history)
    assert got[1:] == [history[0], history[2]]


async def test_a_summary_stands_for_what_gave_way():
    """semantics 21.4: as a message of the user, marked, so that what was said becomes no instruction."""
    history = [said("system", "be brief"), *(said("user", f"word {number} is long") for number in range(6))]

    async def summarize(messages):
        return f"{len(messages)} lines"

    got = await run_stage(
        TokenBudgetStage(28, strategy="summarise", count=words, summarize=summarize, summary_tokens=12), history
    )
    assert [one.message.role for one in got[1:3]] == ["system", "user"]
    assert got[2].message.text.endswith("4 lines")
    assert got[3:] == history[-2:]


async def test_fail_leaves_nothing_out():
    """semantics 21.4: an error instead."""
    with pytest.raises((StageError, ContextLimitError)) as caught:
        await run_stage(TokenBudgetStage(5, strategy="fail", count=words), [said("user", "a b c"), said("user", "d e")])
    assert "do not fit into 5" in str(caught.value.__cause__ or caught.value)


async def test_what_is_no_message_survives_a_budget():
    """promptkit 4.3: its builder lost audio and control where a budget was set; here each keeps its turn."""
    picture = ImageElement(url="https://example.org/cat.png")
    got = await run_stage(TokenBudgetStage(9), [said("user", "x" * 30), picture, said("user", "now"), TurnEnd()])
    assert picture in got
    assert got[-1] == TurnEnd()


async def test_a_text_is_a_message_of_the_user():
    """semantics 21.3: as for all stages of prompts."""
    assert await run_stage(HistoryWindowStage(1), [TextElement("a"), TextElement("b")]) == [said("user", "b")]


def test_parts_count():
    """promptkit 4.3: messages of parts alone counted as nothing."""
    parts = Message("user", [TextPart("abc"), ImagePart(url="https://example.org/cat.png")])
    assert estimate_tokens(parts) == 4 + 1000 + 1
    assert estimate_tokens(Message("tool", [ToolResultPart("c", "abcdef")])) == 4 + 2
    assert estimate_tokens(Message("assistant", [ToolCallPart("c", "abc", {}, raw="{}x")])) == 4 + 2


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (HistoryWindowStage, "messages"),
        (lambda: HistoryWindowStage(0), "messages"),
        (lambda: HistoryWindowStage(turns=0), "turns"),
        (lambda: TokenBudgetStage(0), "max_tokens"),
        (lambda: TokenBudgetStage(5, reserve=5), "reserve"),
        (lambda: TokenBudgetStage(5, strategy="newest"), "strategy"),
        (lambda: TokenBudgetStage(5, strategy="summarise"), "summarize"),
        (lambda: TokenBudgetStage(5, summarize=lambda _messages: ""), "summarize"),
        (lambda: TokenBudgetStage(5, max_messages=0), "max_messages"),
    ],
    ids=map(str, range(9)),
)
def test_a_bad_argument_is_refused_at_once_and_by_name(make, field):
    """semantics 21.4: the field that is wrong is named."""
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field

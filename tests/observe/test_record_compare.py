"""What counts as a difference between a recording and what comes when it is played again."""

from __future__ import annotations

import pytest

from streamflow import Message, MessageElement, Metadata, TextElement, TurnEnd, Usage, UsageElement
from streamflow.elements import ErrorElement, StreamElement, ThinkingElement, ToolCallElement, ToolResultElement
from streamflow.errors import ConfigError
from streamflow.observe import RULES, checked_rules, first_difference


def texts(*several: str, id: str = "") -> list[StreamElement]:
    return [TextElement(text, id=id) for text in several]


def test_the_first_difference_says_where_what_and_what_came_before() -> None:
    """semantics 24.26: place, field, both values, three elements of context."""
    found = first_difference("output", texts(*"abcde", "x"), texts(*"abcde", "y"))

    assert found is not None
    assert (found.point, found.index, found.path) == ("output", 5, "$.text")
    assert str(found).splitlines() == [
        "first difference at output, element #5, $.text",
        '      same: {"type":"text","text":"c"}',
        '      same: {"type":"text","text":"d"}',
        '      same: {"type":"text","text":"e"}',
        '  expected: {"type":"text","text":"x"}',
        '       got: {"type":"text","text":"y"}',
    ]


@pytest.mark.parametrize(
    ("expected", "got", "path"),
    [
        (texts("a"), [], "$"),
        ([], texts("a"), "$"),
        (texts("a"), [TurnEnd()], "$.type"),
        (texts("a"), [TextElement("a", interruptible=False)], "$.interruptible"),
        ([TextElement("a", path=("x", 1))], [TextElement("a", path=("x", 2))], "$.path[1]"),
        ([TextElement("a", path=("x",))], [TextElement("a", path=("x", 2))], "$.path[1]"),
        (
            [MessageElement(Message("user", "a"))],
            [MessageElement(Message("assistant", "a"))],
            "$.message.role",
        ),
    ],
)
def test_a_difference_names_its_field(expected: list[StreamElement], got: list[StreamElement], path: str) -> None:
    """semantics 24.26: also elements too few or too many, and what stands deep inside."""
    found = first_difference("output", expected, got)
    assert found is not None
    assert found.path == path


CASES: list[tuple[str, StreamElement, StreamElement]] = [
    ("ids", TextElement("a", id="x"), TextElement("a", id="y")),
    ("times", TextElement("a", timestamp_s=1.0), TextElement("a", timestamp_s=2.0)),
    ("usage", UsageElement(Usage(input_tokens=1)), UsageElement(Usage(input_tokens=2))),
    ("metadata", TextElement("a", metadata=Metadata({"k": 1})), TextElement("a")),
    ("signatures", ThinkingElement("a", "s"), ThinkingElement("a", "t")),
    ("messages", ErrorElement("c", "one"), ErrorElement("c", "two")),
]


@pytest.mark.parametrize(("rule", "one", "other"), CASES)
def test_each_rule_ignores_what_it_names_and_nothing_else(rule: str, one: StreamElement, other: StreamElement) -> None:
    """semantics 24.26: a rule set with names."""
    others = frozenset(RULES) - {rule, "order"}
    assert first_difference("output", [one], [other], ignore=frozenset({rule})) is None
    assert first_difference("output", [one], [other], ignore=others) is not None


def test_ids_may_change_and_what_belongs_together_must_not() -> None:
    """semantics 24.26: a result of another call is a difference, whatever calls are called."""

    def calls(first: str, second: str, answered: str) -> list[StreamElement]:
        return [ToolCallElement(first, "t"), ToolCallElement(second, "t"), ToolResultElement(answered, "t")]

    assert first_difference("output", calls("a", "b", "b"), calls("x", "y", "y")) is None
    found = first_difference("output", calls("a", "b", "b"), calls("x", "y", "x"))
    assert found is not None
    assert (found.index, found.path) == (2, "$.call_id")


def test_an_order_may_be_ignored_and_what_is_lacking_not() -> None:
    """semantics 24.26: `order`: as often, in whatever order."""
    rules = frozenset({"order", "ids"})
    assert first_difference("output", texts("a", "b", "a", id="x"), texts("a", "a", "b", id="y"), ignore=rules) is None
    found = first_difference("output", texts("a", "b", "a"), texts("a", "b", "b"), ignore=rules)
    assert found is not None
    assert found.expected == '{"type":"text","text":"a"}'


def test_texts_may_be_compared_however_they_were_cut() -> None:
    """semantics 24.26: `coalesce`: neighbours of one whole alone."""
    assert first_difference("output", texts("ab", "c"), texts("a", "bc")) is not None
    assert first_difference("output", texts("ab", "c"), texts("a", "bc"), coalesce=True) is None
    one = [*texts("a", id="x"), TurnEnd(), *texts("b", id="x")]
    other = [*texts("ab", id="x"), TurnEnd()]
    assert first_difference("output", one, other, coalesce=True) is not None
    thoughts = [ThinkingElement("a"), ThinkingElement("b", "s")]
    assert first_difference("output", thoughts, [ThinkingElement("ab", "s")], coalesce=True) is None


def test_of_a_recording_that_was_cut_the_beginning_is_compared() -> None:
    """semantics 24.26: more may come; less, or something else, may not."""
    assert first_difference("output", texts("a"), texts("a", "b"), is_cut=True) is None
    assert first_difference("output", texts("a", "b"), texts("a"), is_cut=True) is not None
    assert first_difference("output", texts("a", "b"), texts("ab", "c"), is_cut=True, coalesce=True) is None
    assert first_difference("output", texts("a", "x"), texts("ab", "c"), is_cut=True, coalesce=True) is not None


def test_what_is_not_in_the_recording_equals_anything() -> None:
    """semantics 24.26: but an element must be there."""
    assert first_difference("output", [None, *texts("b")], texts("a", "b")) is None
    assert first_difference("output", [*texts("a"), None], texts("a")) is not None
    assert first_difference("output", [None, *texts("b")], texts("b", "c"), ignore=frozenset({"order"})) is None


def test_numbers_that_are_none_equal_themselves() -> None:
    """semantics 24.26: NaN in the media time of two elements is no difference."""
    nan = [TextElement("a", timestamp_s=float("nan"))]
    assert first_difference("output", nan, nan, ignore=frozenset()) is None


@pytest.mark.parametrize("given", ["id", ["ids", "colour"], 3, [["ids"]]])
def test_a_rule_that_is_none_is_refused(given: object) -> None:
    """Bad input: names those that there are."""
    with pytest.raises(ConfigError, match="ignore: there are 'ids', 'times', 'usage'"):
        checked_rules(given)
    assert checked_rules("ids") == {"ids"}

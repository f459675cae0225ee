"""What formats are made of: events, and which of them can be made one."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.elements import Metadata
from streamflow.errors import ElementError
from streamflow.transports import ServerEvent, delta_event, json_event, may_merge, merge_events, snapshot_event


@given(texts=st.lists(st.text(max_size=6), min_size=2, max_size=6), cut=st.integers(1, 5))
def test_deltas_that_are_joined_say_what_they_said_apart(texts: list[str], cut: int) -> None:
    """semantics 23.6: lossless, whatever has to be escaped."""
    events = [delta_event('{"of":"\u00e4","d":"', text, '","n":1}', event="text") for text in texts]
    assert all(may_merge(first, second) for first, second in pairwise(events))
    merged = merge_events([merge_events(events[:cut]), *events[cut:]])

    assert json.loads(merged.data) == {"of": "\u00e4", "d": "".join(texts), "n": 1}
    assert merged.event == "text"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (delta_event('{"a":"', "x", '"}'), delta_event('{"b":"', "x", '"}')),
        (delta_event('{"a":"', "x", '"}'), delta_event('{"a":"', "x", '","n":1}')),
        (delta_event('{"a":"', "x", '"}'), delta_event('{"a":"', "x", '"}', event="other")),
        (delta_event('{"a":"', "x", '"}'), json_event({"a": "x"})),
        (json_event({"a": "x"}), delta_event('{"a":"', "x", '"}')),
        (json_event({"a": "x"}), json_event({"a": "x"})),
        (snapshot_event("a", {"n": 1}), snapshot_event("b", {"n": 1})),
        (snapshot_event("a", {"n": 1}), json_event({"n": 1})),
        (delta_event('"', "", '"'), snapshot_event("a", "")),
        (ServerEvent("[DONE]"), ServerEvent("[DONE]")),
    ],
)
def test_what_differs_in_more_than_its_text_stays_apart(first: ServerEvent, second: ServerEvent) -> None:
    """semantics 23.6: nothing else is joined."""
    assert not may_merge(first, second)


def test_the_later_of_two_snapshots_stands_for_both() -> None:
    """semantics 23.6: a snapshot is the whole state."""
    later = snapshot_event("step-1", {"content": "Hello"})

    earlier = snapshot_event("step-1", {"content": "Hel"})

    assert may_merge(earlier, later)
    assert merge_events([earlier, later]) is later


def test_read_only_values_of_elements_can_be_told() -> None:
    """`json_event()`: what elements hold needs no copy."""
    assert json_event({"a": Metadata({"b": [1, {"c": None}]})}).data == '{"a":{"b":[1,{"c":null}]}}'


@pytest.mark.parametrize("value", [object(), {"deep": {1, object()}}, "half \ud800"])
def test_what_cannot_be_json_is_an_error_of_ours(value: object) -> None:
    """`json_event()`: an encoder fails by an error that says what it was."""
    with pytest.raises(ElementError, match=f"{type(value).__name__} cannot be told as JSON"):
        json_event(value)

"""Elements as they are: each as its JSON, and what of it may be joined."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.elements import EndOfStream, ErrorElement, Metadata, StreamElement, TextElement, ThinkingElement, decode
from streamflow.testing import elements
from streamflow.transports import RawEncoder, StreamEnd, may_merge, merge_events

TEXTS = [
    TextElement("a"),
    TextElement("b"),
    TextElement("a", id="m"),
    TextElement("a", id="m\x00"),
    TextElement("a", path=("x", 0)),
    TextElement("a", metadata=Metadata({"k": "\x00"})),
    TextElement("a", timestamp_s=1.0),
    TextElement("a", interruptible=False),
    ThinkingElement("a"),
    ThinkingElement("b"),
    ThinkingElement("a", signature="s"),
]


@pytest.mark.slow
@given(given=st.lists(st.one_of(elements(), st.sampled_from(TEXTS)), max_size=8))
def test_what_is_sent_is_decoded_as_it_was(given: list[StreamElement]) -> None:
    """semantics 23.1: one event each, whatever the element before it was."""
    encoder = RawEncoder()

    assert [decode(event.data) for element in given for event in encoder.encode(element)] == given


@pytest.mark.parametrize("first", TEXTS)
def test_texts_are_joined_if_they_differ_in_their_text_alone(first: TextElement | ThinkingElement) -> None:
    """semantics 23.6: same kind, same id, path, metadata and all; a signature ends its thoughts."""
    for second in TEXTS:
        encoder = RawEncoder()
        (one,), (other,) = encoder.encode(first), encoder.encode(second)
        if may_merge(one, other):
            assert second == first.replace(text=second.text)
            assert decode(merge_events([one, other]).data) == first.replace(text=first.text + second.text)
        else:
            assert second.replace(text="") != first.replace(text="") or isinstance(first, ThinkingElement)


def test_the_end_is_what_went_wrong_and_the_end() -> None:
    """semantics 23.2: one terminal event, and the error before it."""
    error = ErrorElement("internal", "the answer failed", fatal=True)
    told = [decode(event.data) for event in RawEncoder().finish(StreamEnd("error", error))]

    assert told == [error, EndOfStream("error")]

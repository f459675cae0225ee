"""`ClassificationEncoder`: row T4, the events of seed 003, as its clients read them."""

from __future__ import annotations

import json

import pytest

from streamflow import ConfigError, DataElement, ErrorElement, Metadata, StreamElement, TextElement, TurnEnd, TurnStart
from streamflow.elements import TurnReset
from streamflow.transports import ClassificationEncoder, StreamEnd, may_merge, merge_events

FORM = {"route": "product", "ask_slots": [{"message": "What's your budget range for chips?"}]}
WHOLE = DataElement("classification", FORM)
ACK = ("ack", {"request_id": "r", "session_id": "s"})
STATUS = ("status", {"stage": "classification"})


def told(*elements: StreamElement, end: StreamEnd | None = None, **options: object) -> list[tuple[str | None, object]]:
    encoder = ClassificationEncoder(request_id="r", session_id="s", **options)  # type: ignore[arg-type]
    events = [*encoder.start()]
    for element in elements:
        events += encoder.encode(element)
    events += encoder.finish(StreamEnd() if end is None else end)
    return [(one.event, json.loads(one.data)) for one in events]


def asked(text: str, slot: int = 0) -> TextElement:
    return TextElement(text, ("ask_slots", slot, "message"))


def test_t4_a_product_query_has_the_events_of_the_seed_in_its_order() -> None:
    """T4: names, data and order as the seed lists them; a string elsewhere, or of no path, is not told."""
    elements = [
        TurnStart(),
        asked("What's your budget range for chips?"),
        TextElement("not shown", ("reasoning",)),
        TextElement("no path"),
        asked("How many people are you expecting?", 1),
        WHOLE,
        TurnEnd("tool_calls"),
    ]

    assert told(*elements) == [
        ACK,
        STATUS,
        ("classification_start", {}),
        ("ask_message_delta", {"text": "What's your budget range for chips?"}),
        ("ask_message_delta", {"text": "How many people are you expecting?"}),
        ("classification_complete", {}),
        ("final_answer.complete", FORM),
        ("end", {"ok": True}),
    ]


def test_t4_a_simple_response_has_its_own_event() -> None:
    """T4: by the path, not by the name. The original told one string as both."""
    simple = TextElement("Hi! I'm Flean, your shopping assistant.", ("simple_response", "message"))
    nested = TextElement("no answer of ours", ("simple_response", "extra", "message"))

    events = told(simple, nested)

    assert [one for one in events if (one[0] or "").endswith("_delta")] == [
        ("simple_response_delta", {"text": "Hi! I'm Flean, your shopping assistant."})
    ]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (StreamEnd("error", ErrorElement("transport", "The model cannot be reached.")), "The model cannot be reached."),
        (StreamEnd("timeout", ErrorElement("timeout", "Too slow.")), "Too slow."),
        (StreamEnd("cancelled"), "There is no answer. Please try again."),
        (StreamEnd("interrupt"), "There is no answer. Please try again."),
        (StreamEnd("done"), "There is no answer. Please try again."),
    ],
)
def test_t7_whatever_happens_the_end_is_told_once_and_last(end: StreamEnd, message: str) -> None:
    """T7: `error`, then `end` with `ok: false`. The original left its client without either after the start."""
    elements = [] if end.reason == "done" else [WHOLE]

    events = told(TurnStart(), *elements, end=end)

    assert events[-2:] == [("error", {"message": message}), ("end", {"ok": False})]
    assert [one[0] for one in events].count("end") == 1
    assert "final_answer.complete" not in [one[0] for one in events]


def test_t6_a_fallback_is_told_and_answers() -> None:
    """T6: no `classification_complete`, which is for a form that was whole; the answer is the fallback."""
    fallback = DataElement("classification", {"route": "general"}, metadata=Metadata({"fallback": True}))

    assert told(TurnStart(), asked("Some text so far"), fallback)[3:] == [
        ("ask_message_delta", {"text": "Some text so far"}),
        ("status", {"stage": "fallback"}),
        ("final_answer.complete", {"route": "general"}),
        ("end", {"ok": True}),
    ]


def test_t8_reasoning_and_progress_have_events_and_a_new_begin_is_told() -> None:
    """T8: the later phases; progress may be made one for a slow reader, whole strings may not."""
    events = {"classification_reasoning": "reasoning", "ask": "ask_slots[*].message"}
    progress = [DataElement("classification_progress", {"percent": n, "chars": n}) for n in (25, 50)]
    elements = [*progress, TextElement("because", ("reasoning",)), TurnReset(), asked("again")]

    assert told(*elements, events=events)[2:6] == [
        ("classification_progress", {"percent": 25, "chars": 25}),
        ("classification_progress", {"percent": 50, "chars": 50}),
        ("classification_reasoning", {"text": "because"}),
        ("status", {"stage": "restart"}),
    ]
    encoder = ClassificationEncoder(events=events)
    one, other = (encoder.encode(element)[0] for element in progress)
    assert may_merge(one, other)
    assert merge_events([one, other]) == other
    first, second = (encoder.encode(asked(text))[0] for text in ("one", "two"))
    assert not may_merge(first, second)


def test_pieces_of_one_string_may_be_joined_and_of_two_never() -> None:
    """`deltas=True`: the path is told, and lossless coalescing joins what is of one path alone."""
    encoder = ClassificationEncoder(deltas=True)
    one, two, other = (encoder.encode(asked(text, slot))[0] for text, slot in (("Wh\n", 0), ('at"', 0), ("Who", 1)))

    assert may_merge(one, two)
    assert json.loads(merge_events([one, two]).data) == {"path": "$.ask_slots[0].message", "text": 'Wh\nat"'}
    assert not may_merge(two, other)


def test_a_wrong_table_of_events_is_refused() -> None:
    """The encoder is made where the response is: a path that cannot be read, an event of the format's own."""
    for events in ({"ask": "a..b"}, {"end": "a"}):
        with pytest.raises(ConfigError):
            ClassificationEncoder(events=events)

"""The element types: header, defaults, equality, copies, memory, `repr`."""

import copy
import gc
import pickle
import sys

import msgspec
import pytest

from streamflow.elements import (
    EMPTY_METADATA,
    AudioElement,
    BatchElement,
    ControlElement,
    DataElement,
    DeadLetterElement,
    EndOfStream,
    ErrorElement,
    ImageElement,
    Interrupt,
    Message,
    MessageElement,
    Metadata,
    OpaqueElement,
    Priority,
    RunTotals,
    StreamElement,
    TextElement,
    TextPart,
    ThinkingElement,
    ToolCallDelta,
    ToolCallElement,
    ToolDecisionElement,
    ToolResultElement,
    ToolResultPart,
    TurnEnd,
    TurnReset,
    TurnStart,
    Usage,
    UsageElement,
    VideoElement,
    WholeElement,
    registered_elements,
)
from streamflow.errors import ElementError

DATA = [
    TextElement("hi"),
    ThinkingElement("hm"),
    AudioElement(b"\0\0"),
    ImageElement(b"png"),
    VideoElement(b"frame"),
    MessageElement(Message("user", "hi")),
    ToolCallDelta("1", "search"),
    ToolCallElement("1", "search"),
    ToolDecisionElement("1", True),
    ToolResultElement("1", "search"),
    DataElement("progress"),
    BatchElement([TextElement("hi"), TurnEnd()]),
    DeadLetterElement([TextElement("hi")], "parse"),
]
CONTROL = [
    UsageElement(Usage()),
    TurnStart(),
    TurnEnd(),
    TurnReset(),
    Interrupt(),
    ErrorElement("broken", "it broke"),
    EndOfStream(),
]
ALL = DATA + CONTROL


def name_of(value):
    return type(value).__name__


def test_these_are_all_the_types_and_their_tags_are_stable():
    """The tags are part of the encoding: a rename of a class must not change them."""
    tags = {
        tag: cls.__name__
        for tag, cls in registered_elements().items()
        if cls.__module__.startswith("streamflow.elements.")
    }

    assert tags == {
        "text": "TextElement",
        "thinking": "ThinkingElement",
        "audio": "AudioElement",
        "image": "ImageElement",
        "video": "VideoElement",
        "message": "MessageElement",
        "tool_call_delta": "ToolCallDelta",
        "tool_call": "ToolCallElement",
        "agents.tool_decision": "ToolDecisionElement",
        "tool_result": "ToolResultElement",
        "data": "DataElement",
        "batch": "BatchElement",
        "dead_letter": "DeadLetterElement",
        "usage": "UsageElement",
        "turn_start": "TurnStart",
        "turn_end": "TurnEnd",
        "turn_reset": "TurnReset",
        "interrupt": "Interrupt",
        "error": "ErrorElement",
        "end_of_stream": "EndOfStream",
    }
    assert set(tags.values()) == {name_of(element) for element in ALL}


@pytest.mark.parametrize("element", ALL, ids=name_of)
def test_the_header_defaults_are_those_of_the_type(element):
    """semantics 1.1: an element carries what its maker gave, and the defaults of its type."""
    played = isinstance(element, AudioElement | VideoElement)
    expected = Priority.CRITICAL if element in CONTROL else Priority.HIGH if played else Priority.NORMAL

    assert element.id == ""
    assert element.metadata is EMPTY_METADATA
    assert element.priority is expected
    assert element.interruptible is True
    assert element.timestamp_s is None


@pytest.mark.parametrize("element", ALL, ids=name_of)
def test_control_is_told_by_its_base(element):
    """semantics 1.4: data or control is a matter of type."""
    assert isinstance(element, ControlElement) == (element in CONTROL)


@pytest.mark.parametrize("element", ALL, ids=name_of)
def test_wholes_are_told_by_their_base(element):
    """semantics 1.3: fragment or whole is a type, not a flag."""
    whole = isinstance(element, MessageElement | ToolCallElement | ToolDecisionElement | ToolResultElement)

    assert isinstance(element, WholeElement) == whole


@pytest.mark.parametrize("element", ALL, ids=name_of)
def test_every_element_is_frozen_hashable_and_without_a_dict(element):
    """semantics 1.1: an element is a frozen value; it holds nothing but its fields."""
    with pytest.raises(AttributeError):
        element.id = "x"
    with pytest.raises(AttributeError):
        element.other = "x"

    assert not hasattr(element, "__dict__")
    assert hash(element) == hash(element.replace())
    assert element == element.replace()
    assert element != element.replace(id="other")


@pytest.mark.parametrize("element", ALL, ids=name_of)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_and_pickles_are_equal(element, copied):
    """Elements cross processes; metadata comes along."""
    element = element.with_metadata(trace=["a", {"b": 1}])

    assert copied(element) == element
    assert type(copied(element)) is type(element)


def test_a_text_element_is_small():
    """An element is its fields: eight bytes each and the object head, and nothing tracked by the collector."""
    assert sys.getsizeof(TextElement("x")) <= 16 + 8 * 7
    assert not any(gc.is_tracked(element) for element in (TextElement("x"), AudioElement(b""), ToolCallDelta("1", "x")))


def test_the_payload_goes_by_position_and_the_header_by_keyword():
    """api page: `TextElement("hi")`, `AudioElement(data, sample_rate=…)`."""
    audio = AudioElement(b"\0\0", sample_rate=8000, id="a", timestamp_s=1.5, interruptible=False)

    assert (audio.data, audio.sample_rate, audio.channels, audio.format) == (b"\0\0", 8000, 1, "pcm16")
    assert (audio.id, audio.timestamp_s, audio.interruptible) == ("a", 1.5, False)
    with pytest.raises(TypeError):
        TextElement("hi", (), "id")


def test_one_branch_cannot_corrupt_another_through_metadata():
    """semantics 1.2: two branches hold one element; what one derives, the other does not see."""
    shared = TextElement("hi", metadata=Metadata({"tags": ["a"]}))
    left = shared.with_metadata(tags=["b"], left=True)

    assert shared.metadata == {"tags": ["a"]}
    assert left.metadata == {"tags": ["b"], "left": True}
    assert left.text == "hi"


def test_one_branch_cannot_corrupt_another_through_a_json_payload():
    """semantics 1.1: payloads that are JSON are frozen like metadata, and independent of what was given."""
    args = {"query": ["a"]}
    call, data = ToolCallElement("1", "search", args), DataElement("state", args)
    args["query"].append("b")

    assert call.args == data.value == {"query": ["a"]}
    with pytest.raises(TypeError):
        call.args["query"] = []
    with pytest.raises(TypeError):
        data.value["query"] = []
    assert hash(call) != hash(data)


def test_a_json_payload_that_is_not_json_is_refused_with_its_path():
    """A wrong argument fails in the constructor."""
    with pytest.raises(ElementError, match=r"^DataElement\.value\.a\[0\]: object is no JSON value"):
        DataElement("x", {"a": [object()]})
    with pytest.raises(ElementError, match=r"^ToolCallElement\.args\.n: nan is no JSON number"):
        ToolCallElement("1", "x", {"n": float("nan")})


def test_a_batch_keeps_its_items_as_they_are_and_in_order():
    """`BatchElement`: a list becomes a tuple; headers of items and of the batch have nothing to do with each other."""
    items = [TextElement("a", id="1", priority=Priority.LOW), BatchElement(()), TurnEnd(interruptible=False)]
    batch = BatchElement(items)
    items.append(TextElement("b"))

    assert batch.items == (TextElement("a", id="1", priority=Priority.LOW), BatchElement(()), items[2])
    assert all(one is other for one, other in zip(batch.items, items, strict=False))
    assert (batch.id, batch.priority, batch.interruptible) == ("", Priority.NORMAL, True)
    assert repr(batch) == (
        "BatchElement(items=(TextElement(text='a', id='1', priority=<Priority.LOW: 0>), BatchElement(items=()), "
        "TurnEnd(interruptible=False)))"
    )


@pytest.mark.parametrize("given", [None, 5, "ab", TextElement("x"), {"a": TextElement("x")}, iter(())])
def test_a_batch_of_no_list_is_refused(given):
    """A wrong argument fails in the constructor."""
    with pytest.raises(ElementError, match=r"^BatchElement\.items is a \w+; give a list of elements$"):
        BatchElement(given)


@pytest.mark.parametrize("wrong", [None, "text", {"type": "text"}, Message("user", "hi"), TextElement])
def test_an_item_that_is_no_element_is_refused_with_its_place(wrong):
    """semantics 1.2: `None` is no element, nor is anything else; inside a batch neither."""
    with pytest.raises(ElementError, match=r"^BatchElement\.items\[1\] is a \w+, which is no element; wrap it in one$"):
        BatchElement([TextElement("x"), wrong])


def test_adding_metadata_that_is_not_json_names_the_key():
    """`with_metadata` checks what it is given."""
    with pytest.raises(ElementError, match=r"^metadata\.a: object is no JSON value"):
        TextElement("x").with_metadata(a=object())


def test_adding_to_a_plain_dict_given_as_metadata_is_an_error_that_says_what_to_do():
    """The constructor looks at nothing; the first use of a wrong metadata explains."""
    wrong = TextElement("x", metadata={"a": 1})

    with pytest.raises(ElementError, match=r"TextElement\.metadata is a dict; give Metadata"):
        wrong.with_metadata(b=2)


def test_replacing_an_unknown_field_is_an_error():
    """`replace` does not add fields."""
    with pytest.raises(TypeError):
        TextElement("x").replace(txt="y")


def test_a_copy_is_checked_as_what_is_made_new_and_is_what_the_standard_way_makes():
    """`replace` is the `__replace__` of `copy.replace`, and a type's own checks hold for the copy."""
    element = ImageElement(b"x", "image/png", id="1")

    with pytest.raises(ElementError, match="give either data or url, got both"):
        element.replace(url="https://example.org/cat.png")
    assert element.replace(data=None, url="a") == ImageElement(url="a", mime="image/png", id="1")
    assert element.__replace__(mime=None) == element.replace(mime=None)


@pytest.mark.parametrize("kind", [ImageElement, VideoElement])
def test_media_has_its_bytes_or_its_address(kind):
    """Bytes or url, never both and never neither."""
    assert kind(b"x").url is None
    assert kind(url="https://example.org/x").data is None
    with pytest.raises(ElementError, match="either data or url, got neither"):
        kind()
    with pytest.raises(ElementError, match="either data or url, got both"):
        kind(b"x", url="https://example.org/x")


@pytest.mark.parametrize(
    ("audio", "seconds"),
    [
        (AudioElement(bytes(640)), 0.02),
        (AudioElement(bytes(640), sample_rate=8000, channels=2), 0.02),
        (AudioElement(bytes(8), sample_rate=1, format="float32"), 2.0),
        (AudioElement(bytes(160), sample_rate=8000, format="mulaw"), 0.02),
        (AudioElement(bytes(640), format="opus"), None),
    ],
)
def test_raw_audio_knows_how_long_it_plays(audio, seconds):
    """`duration_s` counts frames of all channels; compressed formats do not say."""
    assert audio.duration_s == seconds


def test_a_tool_result_becomes_a_part_of_a_message():
    """A result goes back to the model as it was given."""
    result = ToolResultElement("1", "search", [TextPart("a"), TextPart("b")], "error")

    assert result.content == (TextPart("a"), TextPart("b"))
    assert result.text == "ab"
    assert result.part == ToolResultPart("1", [TextPart("a"), TextPart("b")], name="search", status="error")


def test_the_end_carries_the_reason_and_the_totals():
    """semantics 1.6: `EndOfStream` has the reason and totals."""
    end = EndOfStream("timeout", RunTotals(elements=3, usage=Usage(input_tokens=1)))

    assert (end.reason, end.totals.elements, end.totals.usage) == ("timeout", 3, Usage(input_tokens=1))
    assert EndOfStream().reason == "done"


def test_repr_shows_what_was_given_and_never_the_bytes():
    """A log line or a failed assertion stays readable with media and long texts in it."""
    assert repr(TextElement("hi")) == "TextElement(text='hi')"
    assert repr(TextElement("hi", id="1", metadata=Metadata({"a": 1}))) == (
        "TextElement(text='hi', id='1', metadata=Metadata({'a': 1}))"
    )
    assert repr(AudioElement(bytes(10**6), 8000)) == "AudioElement(data=<1000000 bytes>, sample_rate=8000)"
    assert repr(OpaqueElement("x", bytes(10**6))) == "OpaqueElement(tag='x', data=<1000000 bytes>)"
    assert repr(TextElement("x" * 1000)) == f"TextElement(text={'x' * 200!r}…<1000 characters>)"
    assert len(repr(DataElement("x", list(range(10**5))))) < 500


def test_a_subclass_of_a_subclass_keeps_its_header_and_gets_its_own_tag():
    """Users derive from any type; the tag follows the class that names it."""

    class Caption(TextElement, frozen=True):
        lang: str = "en"

    class LoudCaption(Caption, frozen=True, tag="acme.loud"):
        level_db: float = 0.0

    element = LoudCaption("hi", level_db=3.0, id="7")

    assert (element.text, element.lang, element.level_db, element.id) == ("hi", "en", 3.0, "7")
    assert Caption.__struct_config__.tag == "caption"
    assert LoudCaption.__struct_config__.tag == "acme.loud"
    assert isinstance(element, TextElement)
    assert element.replace(lang="de").lang == "de"


def test_a_control_type_of_a_user_is_critical():
    """A control type inherits the priority of control."""

    class Ping(ControlElement, frozen=True):
        number: int

    assert Ping(3).priority is Priority.CRITICAL
    assert isinstance(Ping(3), StreamElement)
    assert msgspec.structs.asdict(Ping(3))["number"] == 3

"""Properties of elements and their encodings."""

import copy
import json
import pickle

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streamflow.elements import (
    BatchElement,
    Metadata,
    OpaqueElement,
    TextElement,
    Usage,
    decode,
    decode_many,
    encode,
    encode_many,
    freeze,
    registered_elements,
    thaw,
)
from streamflow.errors import DecodeError
from streamflow.testing import (
    control_elements,
    data_elements,
    elements,
    json_objects,
    json_values,
    messages,
    metadata,
    text_elements,
    usages,
)


def damage_is_told(data, format, unknown):
    """Decode; any exception but `DecodeError` fails the test, and so does one without a path."""
    try:
        decode(data, format=format, unknown=unknown)
    except DecodeError as error:
        return error.path.startswith("$")
    return True


FORMATS = st.sampled_from(["json", "msgpack"])


@given(element=elements(), format=FORMATS)
def test_every_element_round_trips(element, format):
    """semantics 1.7: all elements round-trip through JSON and MessagePack, header and metadata included."""
    encoded = encode(element, format=format)
    decoded = decode(encoded, format=format)

    assert decoded == element
    assert type(decoded) is type(element)
    assert hash(decoded) == hash(element)
    assert decode(encode(decoded, format=format), format=format) == element


@given(element=elements())
def test_json_is_what_every_parser_reads_and_one_line(element):
    """An encoded element is plain JSON without line breaks, so it can be a line of a file or of an SSE event."""
    encoded = encode(element)
    value = json.loads(encoded)

    assert b"\n" not in encoded
    assert b"\r" not in encoded
    assert list(value)[:2] == ["v", "type"]
    assert registered_elements()[value["type"]] is type(element)


@given(many=st.lists(elements(), max_size=5), format=FORMATS)
def test_many_round_trip_in_order(many, format):
    """`encode_many` and `decode_many` lose nothing and keep the order."""
    assert decode_many(encode_many(many, format=format), format=format) == many


@given(element=elements(), format=FORMATS)
def test_who_does_not_know_a_type_passes_it_on_unchanged(element, format):
    """semantics 1.7: a relay that decodes with `unknown="opaque"` sends the same bytes and sees the same header."""
    codec = msgspec.json if format == "json" else msgspec.msgpack
    value = codec.decode(encode(element, format=format))
    sent = codec.encode({**value, "type": "acme.unknown"})
    relayed = decode(sent, format=format, unknown="opaque")

    assert isinstance(relayed, OpaqueElement)
    assert encode(relayed, format=format) == sent
    assert (relayed.id, relayed.metadata, relayed.timestamp_s) == (element.id, element.metadata, element.timestamp_s)


@given(items=st.lists(elements(), max_size=3), place=st.integers(0, 3), format=FORMATS)
def test_what_is_inside_a_batch_is_encoded_as_it_is_alone(items, place, format):
    """semantics 1.7: any type can stand in a batch, one that nobody knows too; a relay changes no byte of it."""
    codec = msgspec.json if format == "json" else msgspec.msgpack
    unknown = codec.encode({**codec.decode(encode(TextElement("x"), format=format)), "type": "acme.unknown"})
    stranger = decode(unknown, format=format, unknown="opaque")
    batch = BatchElement([*items[:place], stranger, *items[place:]])
    encoded = encode(batch, format=format)

    assert decode(encoded, format=format, unknown="opaque") == batch
    assert decode(encoded, format=format, unknown="skip") == BatchElement(items)
    assert unknown in encoded
    assert all(encode(item, format=format) in encoded for item in items)


@given(items=st.lists(elements(), min_size=1, max_size=3), place=st.integers(0, 2), format=FORMATS)
def test_damage_inside_a_batch_has_the_path_of_the_damage_alone(items, place, format):
    """semantics 1.7: `$.items[2]` and then what the path is without the batch."""
    codec = msgspec.json if format == "json" else msgspec.msgpack
    values = [codec.decode(encode(item, format=format)) for item in items]
    place %= len(items)
    values[place]["timestamp_s"] = "soon"

    def path_of(value):
        try:
            decode(codec.encode(value), format=format)
        except DecodeError as error:
            return error.path
        return None

    alone = path_of(values[place])
    assert alone == "$.timestamp_s"
    assert path_of({"type": "batch", "items": values}) == f"$.items[{place}].timestamp_s"


@given(data=st.binary(max_size=64), format=FORMATS, unknown=st.sampled_from(["error", "skip", "opaque"]))
def test_random_bytes_raise_nothing_but_decode_errors(data, format, unknown):
    """Input comes from the network: whatever it is, `DecodeError` is the only exception."""
    assert damage_is_told(data, format, unknown)


@given(element=elements(), cut=st.integers(0, 10**6), junk=st.binary(min_size=1, max_size=3), format=FORMATS)
def test_damaged_elements_raise_nothing_but_decode_errors(element, cut, junk, format):
    """A flipped or lost piece of an element is a `DecodeError`, or an element, and never another exception."""
    encoded = encode(element, format=format)
    place = cut % len(encoded)
    for damaged in (encoded[:place], encoded[:place] + junk + encoded[place + len(junk) :]):
        assert damage_is_told(damaged, format, "error")


@given(element=elements())
def test_copies_equal_their_original(element):
    """Pickle, copy and deepcopy keep every field."""
    assert pickle.loads(pickle.dumps(element)) == element
    assert copy.copy(element) == element
    assert copy.deepcopy(element) == element
    assert len(repr(element)) < 20_000


@given(element=data_elements() | control_elements(), added=json_objects())
def test_adding_metadata_changes_nothing_else(element, added):
    """semantics 1.2: what one branch adds, another does not see."""
    before = copy.deepcopy(element)
    tagged = element.replace(metadata=element.metadata.merged(added))

    assert element == before
    assert tagged.metadata == {**element.metadata, **added}
    assert tagged.replace(metadata=element.metadata) == element


@given(value=json_values())
def test_freezing_keeps_the_value(value):
    """`thaw(freeze(value))` is the value, and freezing twice is freezing once."""
    frozen = freeze(value)

    assert thaw(frozen) == value
    assert freeze(frozen) == frozen
    assert hash(freeze(copy.deepcopy(value))) == hash(frozen)


@given(one=metadata(), other=json_objects())
def test_metadata_merges_like_dicts(one, other):
    """`|` is the `|` of the plain dicts."""
    assert (one | other).to_dict() == one.to_dict() | other
    assert one | other == Metadata(one.to_dict() | other)
    assert (one == other) == (one.to_dict() == other)


@given(message=messages())
def test_the_text_of_a_message_does_not_depend_on_its_form(message):
    """`text` and `parts` agree, whichever form the content has."""
    assert message.text == "".join(
        part.text for part in message.parts if hasattr(part, "text") and type(part).__name__ == "TextPart"
    )
    assert pickle.loads(pickle.dumps(message)) == message


@given(fragments=st.lists(text_elements(plain=True), max_size=5))
def test_plain_text_elements_have_nothing_but_their_text(fragments):
    """The strategy for stages over text draws what a user types."""
    assert all(encode(one) == b'{"v":1,"type":"text","text":%s}' % msgspec.json.encode(one.text) for one in fragments)


@given(one=usages(), two=usages(), three=usages())
def test_usage_can_be_summed_in_any_order(one, two, three):
    """Totals do not depend on which call ended first. Calls of which a provider told nothing are not calls."""
    one, two, three = (
        usage + Usage(input_tokens=0, model=usage.model, provider=usage.provider) for usage in (one, two, three)
    )

    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + Usage() == Usage() + one == one

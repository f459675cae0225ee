"""`encode` and `decode`: versions, paths, unknown types, hostile input."""

import json
import re

import msgspec
import pytest

from streamflow.elements import (
    AudioElement,
    BatchElement,
    ControlElement,
    DataElement,
    ImagePart,
    Message,
    MessageElement,
    Metadata,
    OpaqueElement,
    Priority,
    StreamElement,
    TextElement,
    TextPart,
    TurnEnd,
    WholeElement,
    _registry,
    decode,
    decode_many,
    encode,
    encode_many,
    register_element,
    registered_elements,
)
from streamflow.errors import DecodeError, ElementError

FORMATS = ["json", "msgpack"]


@register_element
class Slide(StreamElement, frozen=True, tag="test.slide"):
    number: int
    notes: dict[str, list[int]] = msgspec.field(default_factory=dict)


@register_element
class LoudSlide(Slide, frozen=True, tag="test.loud_slide"):
    level: float = 0.0


@register_element
class Curve(StreamElement, frozen=True, tag="test.curve"):
    points: tuple[tuple[float, float], ...] = ()


class Unregistered(StreamElement, frozen=True, tag="test.unregistered"):
    number: int = 0


def raw(format, value):
    return json.dumps(value).encode() if format == "json" else msgspec.msgpack.encode(value)


def test_the_json_form_is_compact_and_has_version_and_type_first():
    """The encoding is a promise: version, tag, payload, and the header only where it is not the default."""
    assert encode(TextElement("hi")) == b'{"v":1,"type":"text","text":"hi"}'
    assert encode(AudioElement(b"\xff\x00", 8000)) == b'{"v":1,"type":"audio","data":"/wA=","sample_rate":8000}'
    assert encode(TurnEnd(index=2, id="t")) == b'{"v":1,"type":"turn_end","index":2,"id":"t"}'
    assert encode(TextElement("a\nb", metadata=Metadata({"k": [1, {"x": None}]}), priority=Priority.LOW)) == (
        b'{"v":1,"type":"text","text":"a\\nb","metadata":{"k":[1,{"x":null}]},"priority":0}'
    )


def test_the_msgpack_form_has_the_same_content_with_raw_bytes():
    """MessagePack carries bytes as they are."""
    assert msgspec.msgpack.decode(encode(AudioElement(b"\xff\x00"), format="msgpack")) == {
        "v": 1,
        "type": "audio",
        "data": b"\xff\x00",
    }


@pytest.mark.parametrize("fields", [13, 14, 15, 16, 40])
def test_msgpack_maps_of_every_size_get_their_version(fields):
    """The version is put into the head of the map, which grows at 16 entries."""
    kind = msgspec.defstruct(
        f"Wide{fields}",
        [(f"f{n}", int) for n in range(fields - 1)],
        bases=(StreamElement,),
        frozen=True,
        tag=f"test.wide{fields}",
        module=__name__,
    )
    register_element(kind)
    element = kind(*range(fields - 1))
    encoded = encode(element, format="msgpack")

    assert msgspec.msgpack.decode(encoded)["v"] == 1
    assert decode(encoded, format="msgpack") == element


@pytest.mark.parametrize("format", FORMATS)
def test_an_absent_version_is_the_first(format):
    """Bytes without a version are version 1."""
    assert decode(raw(format, {"type": "text", "text": "hi"}), format=format) == TextElement("hi")
    assert decode(raw(format, {"text": "hi", "v": 1, "type": "text"}), format=format) == TextElement("hi")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("unknown", ["error", "skip", "opaque"])
@pytest.mark.parametrize("tag", ["text", "nobody.knows"])
def test_a_newer_version_is_an_error_for_every_type(format, unknown, tag):
    """What a newer release wrote is never half understood."""
    with pytest.raises(DecodeError, match=r"version 2 .* is newer than 1; update streamflow \(at \$\.v\)"):
        decode(raw(format, {"v": 2, "type": tag, "text": "hi"}), format=format, unknown=unknown)


@pytest.mark.parametrize(("version", "path"), [(0, "$.v"), (-1, "$.v"), ("1", "$.v"), (None, "$.v"), (1.5, "$.v")])
def test_a_version_that_is_none_is_an_error(version, path):
    """The version is a positive integer."""
    with pytest.raises(DecodeError) as caught:
        decode(raw("json", {"v": version, "type": "text", "text": "hi"}))

    assert caught.value.path == path


def test_fields_that_a_type_does_not_have_are_ignored():
    """A later release can add an optional field without a new version."""
    assert decode('{"v":1,"type":"text","text":"hi","later":{"a":[1]}}') == TextElement("hi")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        ({"type": "text", "text": 1}, "$.text", "Expected `str`"),
        ({"type": "text"}, "$", "missing required field `text`"),
        ({"text": "hi"}, "$", "missing required field `type`"),
        ({"type": 5, "text": "hi"}, "$.type", "Expected `str`"),
        ({"type": "text", "text": "hi", "priority": 9}, "$.priority", "Invalid enum value 9"),
        ({"type": "text", "text": "hi", "path": ["a", None]}, "$.path[1]", "Expected `int | str`"),
        ({"type": "text", "text": "hi", "metadata": [1]}, "$.metadata", "Expected `object`"),
        ({"type": "text", "text": "hi", "metadata": None}, "$.metadata", "Expected `object`"),
        ({"type": "audio", "data": 5}, "$.data", "Expected `bytes`"),
        ({"type": "image"}, "$", "either data or url"),
        ({"type": "end_of_stream", "reason": "bored"}, "$.reason", "Invalid enum value 'bored'"),
        ({"type": "message", "message": {"role": "user", "content": 5}}, "$.message.content", "Expected `str | array`"),
        (
            {"type": "message", "message": {"role": "user", "content": [{"type": "text", "text": 1}]}},
            "$.message.content[0].text",
            "Expected `str`",
        ),
        (
            {"type": "message", "message": {"role": "user", "content": [{"type": "image"}]}},
            "$.message.content[0]",
            "either data or url",
        ),
        (
            {"type": "tool_result", "call_id": "1", "name": "x", "content": [{"type": "thinking"}]},
            "$.content[0].type",
            "Invalid value 'thinking'",
        ),
        ([], "$", "Expected `object`"),
        (None, "$", "Expected `object`"),
        ("text", "$", "Expected `object`"),
    ],
)
def test_a_malformed_element_is_an_error_with_its_path(format, value, path, message):
    """semantics 1.7: a malformed element is an error with its path."""
    with pytest.raises(DecodeError, match=r"at \$") as caught:
        decode(raw(format, value), format=format)

    assert caught.value.path == path
    assert message in caught.value.message


def test_what_is_wrong_with_text_is_told_alone():
    """semantics 1.7: how text is made bytes is no part of the traceback that a user reads."""
    with pytest.raises(DecodeError) as caught:
        decode('{"v":1,"type":"text","text":5}')

    assert caught.value.__cause__ is not None
    assert caught.value.__cause__.__context__ is None


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        (b"", "$", "truncated"),
        (b'{"type":"text","text":"hi"', "$", "truncated"),
        (b'{"type":"text","text":"hi"}{}', "$", "trailing characters"),
        (b"\xff\xfe", "$", "malformed"),
        (b'{"type":"text","text":"\xff"}', "$", "utf-8"),
        ("\ud800", "$", "not UTF-8"),
        (b'{"type":"audio","data":"*"}', "$.data", "base64"),
        (b'{"type":"data","name":"x","value":NaN}', "$", "malformed"),
        (b'{"type":"data","name":"x","value":1e999}', "$.value", "out of range"),
        (b'{"type":"data","name":"x","value":{"a":[99999999999999999999]}}', "$.value.a[0]", "beyond 64 bits"),
        (b'{"type":"text","text":"x","metadata":{"a":{"b":[99999999999999999999]}}}', "$.metadata.a.b[0]", "64 bits"),
        (
            b'{"type":"message","message":{"role":"user","content":[{"type":"data","name":"x","value":'
            b"[99999999999999999999]}]}}",
            "$.message.content[0].value[0]",
            "beyond 64 bits",
        ),
    ],
)
def test_malformed_json_is_an_error_with_its_path(data, path, message):
    """Nothing but `DecodeError` leaves `decode`, and its path reaches into values and metadata."""
    with pytest.raises(DecodeError, match=r"at \$") as caught:
        decode(data)

    assert caught.value.path == path
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        ({"type": "data", "name": "x", "value": b"raw"}, "$.value", "bytes is no JSON value"),
        ({"type": "data", "name": "x", "value": {"a": {1: 2}}}, "$.value.a", "the key 1 is no text"),
        ({"type": "data", "name": "x", "value": float("nan")}, "$.value", "nan is no JSON number"),
        ({"type": "text", "text": "x", "metadata": {"a": b"raw"}}, "$.metadata.a", "bytes is no JSON value"),
    ],
)
def test_msgpack_cannot_bring_in_what_json_does_not_have(value, path, message):
    """Values and metadata are JSON, whatever they came in."""
    with pytest.raises(DecodeError, match=r"at \$") as caught:
        decode(msgspec.msgpack.encode(value), format="msgpack")

    assert caught.value.path == path
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("format", "data"),
    [
        ("json", b'{"v":1,"type":"text","text":1,'),
        ("json", b'{"v":1,"type":"text","text":1,"x":' + b"[" * 200_000),
        ("json", b'{"v":1,"type":"text","text":1,"x":"\xff"}'),
        ("msgpack", b"\x80\xa1v\x01\xa4type\xa4text"),
        ("msgpack", b"\x84\xa1v\x01\xa4type\xa4text\xa4text\x01\xa1x" + b"\x91" * 200_000),
    ],
    ids=["cut", "deep", "no text", "trailing", "deep msgpack"],
)
@pytest.mark.parametrize("unknown", ["error", "skip", "opaque"])
def test_a_wrong_field_before_a_malformed_rest_is_a_decode_error(format, data, unknown):
    """Reading the type again after a first error meets the second one, and must not let it out."""
    with pytest.raises(DecodeError, match=r"Expected `str`|missing required field|truncated"):
        decode(data, format=format, unknown=unknown)


@pytest.mark.parametrize("depth", [101, 5_000, 200_000])
@pytest.mark.parametrize("field", ["value", "metadata", "ignored"])
@pytest.mark.parametrize("format", FORMATS)
def test_deep_nesting_is_a_decode_error_or_ignored_and_never_exhausts_the_stack(format, field, depth):
    """A peer cannot crash the process with brackets; a field that nobody reads may be as deep as it likes."""
    if format == "json":
        deep = b"[" * depth + b"]" * depth
        data = b'{"type":"data","name":"x","%s":{"a":%s}}' % (field.encode(), deep)
    else:
        name = bytes([0xA0 + len(field)]) + field.encode()
        data = b"\x83\xa4type\xa4data\xa4name\xa1x" + name + b"\x81\xa1a" + b"\x91" * depth + b"\x90"
    if field == "ignored" and depth < 200_000:
        # How deep a field may be that nobody reads depends on Python's own limit, which differs between its versions.
        try:
            assert decode(data, format=format) == DataElement("x")
        except DecodeError:
            assert depth > 101
        return

    with pytest.raises(DecodeError, match="nested"):
        decode(data, format=format)


def test_nesting_up_to_the_limit_round_trips():
    """The depth limit is 100, and what it allows works in both formats."""
    value = 1
    for _ in range(100):
        value = [value]
    element = DataElement("x", value)

    assert decode(encode(element)) == element
    assert decode(encode(element, format="msgpack"), format="msgpack") == element
    with pytest.raises(ElementError, match="nested deeper than 100"):
        DataElement("x", [value])


@pytest.mark.parametrize(
    "data",
    [b" " * 11, " " * 11, bytearray(11), memoryview(bytes(11)), "é" * 6],
    ids=["bytes", "ascii", "bytearray", "memoryview", "text"],
)
def test_input_larger_than_the_limit_is_refused_unread(data):
    """`max_bytes` counts bytes, whatever holds them."""
    with pytest.raises(DecodeError, match=r"1[12] bytes are more than max_bytes=10"):
        decode(data, max_bytes=10)
    with pytest.raises(DecodeError, match=r"1[12] bytes are more than max_bytes=10"):
        decode_many(data, max_bytes=10)


@pytest.mark.parametrize("as_type", [bytes, bytearray, memoryview, bytes.decode])
def test_every_buffer_and_text_can_be_decoded(as_type):
    """Transports give what they have."""
    assert decode(as_type(b'{"type":"text","text":"hi"}')) == TextElement("hi")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("value", [None, 5, "text", {"type": "text"}, Message("user", "hi"), TextElement])
def test_what_is_no_element_cannot_be_encoded(format, value):
    """semantics 1.2: `None` is no element, nor is anything else."""
    with pytest.raises(ElementError, match="is no element; encode"):
        encode(value, format=format)


@pytest.mark.parametrize("format", FORMATS)
def test_metadata_that_is_a_plain_dict_cannot_be_encoded(format):
    """A dict would be shared and could change: the error says what to give instead."""
    with pytest.raises(ElementError, match=r"TextElement\.metadata is a dict; give Metadata"):
        encode(TextElement("x", metadata={"a": 1}), format=format)


def test_numbers_that_are_not_finite_are_refused_in_json_and_carried_by_msgpack():
    """JSON has no such numbers, and a silent null would decode to something else."""
    for number in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(ElementError, match=r"TextElement\.timestamp_s is .*, which JSON does not have"):
            encode(TextElement("x", timestamp_s=number))
    with pytest.raises(ElementError, match=r"LoudSlide\.level is nan"):
        encode(LoudSlide(1, level=float("nan")))
    with pytest.raises(ElementError, match=r"Curve\.points\[1\]\[0\] is inf"):
        encode(Curve(((1.0, 2.0), (float("inf"), 2.0))))
    element = TextElement("x", timestamp_s=float("inf"))

    assert decode(encode(element, format="msgpack"), format="msgpack") == element
    assert decode(encode(TextElement("null"))) == TextElement("null")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "element",
    [TextElement("\ud800"), TextElement("x", metadata=Metadata({"a": "\udfff"})), Slide(1, {"a": [{1, object()}]})],
)
def test_what_the_format_cannot_carry_is_an_element_error(format, element):
    """Nothing but `ElementError` leaves `encode`."""
    with pytest.raises(ElementError, match=f"{type(element).__name__} cannot be encoded as {format}: "):
        encode(element, format=format)


def test_endless_nesting_in_a_users_field_is_an_element_error():
    """A cycle in a type of a user is no crash."""
    notes = {}
    notes["a"] = notes

    with pytest.raises(ElementError, match=r"Slide cannot be encoded as json: .*recursion"):
        encode(Slide(1, notes))


@pytest.mark.parametrize("format", FORMATS)
def test_an_element_is_checked_also_when_others_of_its_type_needed_no_check(format):
    """The short way of `encode` is for a type; what an element of it holds decides again each time."""
    assert decode(encode(TextElement("x"), format=format), format=format) == TextElement("x")

    for bad in (TextElement("x", metadata={"a": 1}), TextElement("\ud800")):
        with pytest.raises(ElementError):
            encode(bad, format=format)
    for good in (TextElement("x", timestamp_s=1.5), TextElement("x", metadata=Metadata({"a": None}))):
        assert decode(encode(good, format=format), format=format) == good
    with pytest.raises(ElementError, match=r"timestamp_s is nan, which JSON"):
        encode(TextElement("x", timestamp_s=float("nan")))


@pytest.mark.parametrize("version", ["1", "1 ", "10", "12", "1.0", "1e1", "2", "-1"])
def test_what_begins_almost_like_this_version_has_its_version_read(version):
    """Only version 1 is read, whatever its digits look like to a reader in a hurry."""
    data = b'{"v":%s,"type":"text","text":"hi"}' % version.encode()

    if version in {"1", "1 "}:
        assert decode(data) == TextElement("hi")
    else:
        with pytest.raises(DecodeError, match=r"at \$\.v"):
            decode(data)


@pytest.mark.parametrize(
    "rest",
    [
        b'"text":"hi"}',
        b'"text":"hi","metadata":{"a":[1]},"timestamp_s":1.5}',
        b'"metadata":{"a":[1]},"path":["a",0],"text":"hi","more":{}}',
        b'"type":"audio","data":""}',
        b'"text":1}',
        b'"metadata":1,"text":"hi"}',
        b'"priority":9,"text":"hi"}',
        b"}",
        b'"text":"\xff"}',
        b'"text":"hi"',
        b'"text":"hi"} x',
    ],
)
def test_a_text_is_read_quickly_or_slowly_by_the_same_rules(rest):
    """What begins as `encode` begins it has a reader of its own; a space in front of it, and it has not."""

    def read(data):
        try:
            return decode(data)
        except DecodeError as bad:
            return re.sub(r" \(byte \d+\)", "", str(bad))

    assert decode(encode(TextElement("hi"))) == TextElement("hi")  # all readers are made
    data = b'{"v":1,"type":"text",' + rest

    assert read(data) == read(b" " + data)


def test_a_format_is_believed_and_not_the_data():
    """JSON that is said to be MessagePack is malformed, though it could be read."""
    encoded = encode(TextElement("hi"))
    assert decode(encoded) == TextElement("hi")

    with pytest.raises(DecodeError):
        decode(encoded, format="msgpack")


def test_what_is_kept_undecoded_is_no_part_of_a_buffer_that_may_change():
    """A transport can use its buffer again as soon as `decode` has returned."""

    @register_element
    class Sealed(StreamElement, frozen=True, tag="test.sealed"):
        inside: msgspec.Raw

    assert decode(encode(TextElement("hi"))) == TextElement("hi")  # all readers are made
    buffer = bytearray(encode(Sealed(msgspec.Raw(b"[1,2]"))))
    element = decode(buffer)
    buffer[:] = b" " * 5

    assert bytes(element.inside) == b"[1,2]"


def test_an_unknown_format_is_an_error_that_names_the_known_ones():
    """A misspelt format is told at once."""
    with pytest.raises(ElementError, match="'yaml' is no format of elements; give 'json' or 'msgpack'"):
        encode(TextElement("x"), format="yaml")
    with pytest.raises(ElementError, match="'yaml' is no format"):
        decode(b"{}", format="yaml")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "element", [Slide(3, {"a": [1]}, id="s"), LoudSlide(4, level=1.5, metadata=Metadata({"k": 1}))]
)
def test_types_of_users_round_trip_as_themselves(format, element):
    """`register_element`: a type and its subclass are told apart by their tags."""
    decoded = decode(encode(element, format=format), format=format)

    assert decoded == element
    assert type(decoded) is type(element)


def test_a_type_registered_after_the_first_decode_is_known():
    """Decoders follow the registry."""
    data = b'{"type":"test.late","number":1}'
    with pytest.raises(DecodeError):
        decode(data)

    @register_element
    class Late(StreamElement, frozen=True, tag="test.late"):
        number: int

    assert decode(data) == Late(1)


def test_a_type_that_nobody_registered_cannot_be_encoded():
    """What could not be decoded again is told by the sender, not by the receiver."""
    with pytest.raises(
        ElementError, match=r"Unregistered could not be decoded again; register_element\(Unregistered\)"
    ):
        encode(Unregistered())


def test_a_tag_belongs_to_one_class():
    """Two types with one tag could not be told apart; the error names both."""
    taken = type("Impostor", (StreamElement,), {"__annotations__": {}, "__module__": __name__}, frozen=True, tag="text")

    with pytest.raises(ElementError, match=r"'text' of Impostor belongs to streamflow\.elements\._types\.TextElement"):
        register_element(taken)
    assert registered_elements()["text"] is TextElement


def test_defining_the_same_class_again_replaces_it():
    """A notebook cell that is run twice works; a second registration of the same object changes nothing."""

    def define():
        class Cell(StreamElement, frozen=True, tag="test.cell"):
            number: int = 0

        return register_element(Cell)

    first, second = define(), define()

    assert decode(encode(second())) == second()
    assert register_element(second) is second
    with pytest.raises(ElementError, match="Cell could not be decoded again"):
        encode(first())


@pytest.mark.parametrize("kind", [StreamElement, ControlElement, WholeElement, OpaqueElement])
def test_bases_and_the_opaque_type_cannot_be_registered(kind):
    """A base has no encoding of its own."""
    with pytest.raises(ElementError, match="is a base, or never on the wire"):
        register_element(kind)


@pytest.mark.parametrize("value", [int, "text", None, TextPart])
def test_what_is_no_element_type_cannot_be_registered(value):
    """The error says what to derive from."""
    with pytest.raises(ElementError, match="is no element type; derive it from StreamElement"):
        register_element(value)


@pytest.mark.parametrize(
    ("options", "fields", "error"),
    [
        ({"array_like": True, "frozen": True}, [], "must be encoded as an object"),
        ({"tag": 7, "frozen": True}, [], "must be encoded as an object"),
        ({"tag_field": "kind", "frozen": True}, [], "must be encoded as an object"),
        ({"frozen": False}, [], "is not frozen; branches would change"),
        ({"frozen": True}, [("v", int)], "the field name 'v' belongs to the encoding"),
        ({"frozen": True, "rename": {"a": "v"}}, [("a", int)], "the field name 'v' belongs to the encoding"),
    ],
)
def test_a_type_whose_encoding_would_break_the_rules_is_refused(options, fields, error):
    """A wrong type fails when it is registered, not when it is decoded."""
    kind = msgspec.defstruct("Odd", fields, bases=(StreamElement,), module=__name__, **options)

    with pytest.raises(ElementError, match=error):
        register_element(kind)


def test_a_type_that_cannot_be_decoded_is_named():
    """A field type that does not exist at run time is told with its class at the first use, not as a bare NameError."""
    before = _registry._by_tag
    register_element(
        msgspec.defstruct("Lost", [("a", "NoSuchType")], bases=(StreamElement,), frozen=True, module=__name__)
    )
    try:
        with pytest.raises(ElementError, match=r"\.Lost cannot be decoded: .*NoSuchType.*imported where"):
            decode(b'{"type":"text","text":"hi"}')
    finally:
        _registry._by_tag = before


def test_a_field_of_a_foreign_type_is_an_error_on_both_ways():
    """What msgspec does not know is refused by name."""

    class Money: ...

    kind = register_element(
        msgspec.defstruct(
            "Paid", [("sum", Money)], bases=(StreamElement,), frozen=True, tag="test.paid", module=__name__
        )
    )

    with pytest.raises(ElementError, match=r"Paid cannot be encoded as json: Money is neither JSON nor a type"):
        encode(kind(Money()))
    with pytest.raises(DecodeError, match=r"Money is a field type that cannot be decoded \(at \$\.sum\)"):
        decode(b'{"type":"test.paid","sum":5}')


def test_an_unknown_type_is_an_error_that_says_what_can_be_done():
    """`unknown="error"` is the default."""
    with pytest.raises(DecodeError, match=r"unknown element type 'acme\.x'; register_element.* \(at \$\.type\)"):
        decode('{"type":"acme.x"}')


def test_an_unknown_type_can_be_skipped():
    """`unknown="skip"` gives None; what is malformed is still an error."""
    assert decode('{"type":"acme.x","a":1}', unknown="skip") is None
    with pytest.raises(DecodeError):
        decode('{"type":"text","text":1}', unknown="skip")
    with pytest.raises(DecodeError):
        decode('{"a":1}', unknown="skip")


@pytest.mark.parametrize(
    ("format", "data"),
    [
        ("json", b' { "n" : 1e5, "type":"acme.x",\n "n": 2, "data":"/wA=", "id":"7", "priority":3 }'),
        (
            "msgpack",
            msgspec.msgpack.encode(
                {"type": "acme.x", "b": b"\xff", "e": msgspec.msgpack.Ext(5, b"x"), "id": "7", "priority": 3}
            ),
        ),
    ],
)
def test_an_opaque_element_is_encoded_again_byte_for_byte(format, data):
    """semantics 1.7: an opaque element re-encodes unchanged; its header is readable by edges and lanes."""
    element = decode(data, format=format, unknown="opaque")

    assert isinstance(element, OpaqueElement)
    assert (element.tag, element.id, element.priority) == ("acme.x", "7", Priority.CRITICAL)
    assert encode(element, format=format) == data
    assert hash(element) == hash(decode(data, format=format, unknown="opaque"))


def test_an_opaque_element_goes_into_the_other_format_by_value():
    """From MessagePack to JSON and back the values stay; bytes are base64 text as in every JSON element."""
    packed = msgspec.msgpack.encode({"v": 1, "type": "acme.x", "b": b"\xff\x00", "n": [1]})
    element = decode(packed, format="msgpack", unknown="opaque")

    assert encode(element) == b'{"v":1,"type":"acme.x","b":"/wA=","n":[1]}'
    from_json = decode(encode(element), unknown="opaque")
    assert msgspec.msgpack.decode(encode(from_json, format="msgpack")) == {
        "v": 1,
        "type": "acme.x",
        "b": "/wA=",
        "n": [1],
    }


def test_an_opaque_element_that_the_other_format_cannot_carry_is_an_error():
    """An extension type of MessagePack and a number that is not finite have no form in JSON."""
    for foreign in (msgspec.msgpack.Ext(5, b"x"), float("nan")):
        packed = msgspec.msgpack.encode({"type": "acme.x", "e": foreign})

        with pytest.raises(ElementError, match=r"the opaque 'acme\.x' element cannot be encoded as json"):
            encode(decode(packed, format="msgpack", unknown="opaque"))


def test_a_malformed_header_is_an_error_even_when_the_type_is_unknown():
    """A lane needs a priority that exists."""
    with pytest.raises(DecodeError) as caught:
        decode('{"type":"acme.x","priority":9}', unknown="opaque")

    assert caught.value.path == "$.priority"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("count", [0, 1, 3, 70_000])
def test_many_elements_are_one_array(format, count):
    """`encode_many` and `decode_many` are each other's reverse, at every size."""
    many = [TextElement(str(n)) for n in range(count)]

    assert decode_many(encode_many(many, format=format), format=format) == many


def test_an_error_among_many_names_the_place():
    """The path begins with the element's place in the array."""
    data = '[{"type":"text","text":"a"},{"type":"message","message":{"role":"user","content":[5]}}]'

    with pytest.raises(DecodeError) as caught:
        decode_many(data)
    assert caught.value.path == "$[1].message.content[0]"
    with pytest.raises(DecodeError, match="Expected `array`"):
        decode_many(b"{}")


def test_unknown_types_among_many_are_skipped_or_kept():
    """`unknown` holds for each element."""
    data = '[{"type":"acme.x"},{"type":"text","text":"a"}]'

    assert decode_many(data, unknown="skip") == [TextElement("a")]
    assert [type(element) for element in decode_many(data, unknown="opaque")] == [OpaqueElement, TextElement]


@register_element
class Album(BatchElement, frozen=True, tag="test.album"):
    title: str = ""


@register_element
class Pair(StreamElement, frozen=True, tag="test.pair"):
    left: tuple[StreamElement, ...]
    right: tuple[StreamElement, ...] = msgspec.field(default=(), name="r")

    def __post_init__(self):
        if len(self.left) != 1:
            raise ValueError("left is one element")


def test_the_wire_form_of_a_batch_is_the_wire_forms_of_its_items():
    """The encoding is a promise: each item is what it would be alone, its version included."""
    batch = BatchElement([TextElement("a"), BatchElement((), id="b")], id="c")

    assert encode(batch) == (
        b'{"v":1,"type":"batch","items":[{"v":1,"type":"text","text":"a"},{"v":1,"type":"batch","items":[],"id":"b"}],"id":"c"}'
    )
    assert msgspec.msgpack.decode(encode(batch, format="msgpack")) == msgspec.json.decode(encode(batch))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "element",
    [
        BatchElement([Slide(1), LoudSlide(2, level=0.5, id="x"), AudioElement(b"\xff"), TurnEnd()]),
        Album([Slide(1)], "holiday", metadata=Metadata({"k": 1})),
        Album([Album([Album((), "c")], "b")]),
        Pair((TextElement("a"),), (Slide(2), BatchElement([TextElement("b")]))),
        Pair((TextElement("a"),)),
    ],
)
def test_types_of_users_go_inside_others_and_hold_others(format, element):
    """`register_element`: any type can stand in a batch; a type with a field `tuple[StreamElement, ...]` is such a holder too."""
    decoded = decode(encode(element, format=format), format=format)

    assert decoded == element  # equal elements are of one type, inside too
    assert type(decoded) is type(element)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        ({"items": 5}, "$.items", "Expected `array`, got `int`"),
        ({}, "$", "missing required field `items`"),
        ({"items": [5]}, "$.items[0]", "Expected `object`, got `int`"),
        ({"items": [None]}, "$.items[0]", "Expected `object`, got `(null|None)`"),
        ({"items": [{"type": "text", "text": "a"}, {"type": "text", "text": 5}]}, "$.items[1].text", "Expected `str`"),
        ({"items": [{"type": "text", "text": "a", "v": 2}]}, "$.items[0].v", "version 2 .* is newer"),
        ({"items": [{"type": "acme.x"}]}, "$.items[0].type", "unknown element type 'acme.x'"),
        (
            {"items": [{"type": "batch", "items": [{"type": "data", "name": "x", "metadata": []}]}]},
            "$.items[0].items[0].metadata",
            "Expected `object`, got `list`",
        ),
        (
            {"items": [{"type": "message", "message": {"role": "user", "content": [5]}}]},
            "$.items[0].message.content[0]",
            "Expected `object`",
        ),
        ({"items": [{"type": "image"}]}, "$.items[0]", "give either data or url, got neither"),
        ({"items": [{"type": "test.pair", "left": []}]}, "$.items[0]", "left is one element"),
        ({"items": [{"type": "test.pair", "left": [], "r": [5]}]}, "$.items[0].r[0]", "Expected `object`, got `int`"),
    ],
)
def test_a_fault_inside_another_element_has_its_whole_path(format, value, path, message):
    """semantics 1.7: `$.items[1].text`, however deep."""
    with pytest.raises(DecodeError, match=message) as caught:
        decode(raw(format, {"type": "batch", **value}), format=format)

    assert caught.value.path == path


def test_an_unknown_type_inside_is_skipped_or_kept_byte_for_byte():
    """`unknown` holds at every depth; what is kept is encoded again as it came, white space included."""
    stranger = b'{"type":"acme.x" , "n":1e5}'
    data = b'{"type":"batch","items":[%s,{"type":"batch","items":[%s]}]}' % (stranger, stranger)

    assert decode(data, unknown="skip") == BatchElement([BatchElement(())])
    kept = decode(data, unknown="opaque")
    assert [type(one) for one in kept.items] == [OpaqueElement, BatchElement]
    assert encode(kept).count(stranger) == 2
    assert decode(encode(kept, format="msgpack"), format="msgpack", unknown="skip") == BatchElement([BatchElement(())])
    assert b'{"type":"acme.x","n":100000.0}' in encode(
        decode(encode(kept, format="msgpack"), format="msgpack", unknown="opaque")
    )


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Unregistered(), r"Unregistered could not be decoded again; register_element\(Unregistered\) first"),
        (TextElement("x", metadata={"a": 1}), r"TextElement\.metadata is a dict; give Metadata"),
        (TextElement("\ud800"), "TextElement cannot be encoded as"),
        (BatchElement([Unregistered()]), r"BatchElement\.items\[0\]: Unregistered could not"),
    ],
)
def test_an_item_that_cannot_be_encoded_is_named_with_its_place(format, item, message):
    """What holds for an element alone holds inside a batch."""
    with pytest.raises(ElementError, match=rf"^BatchElement\.items\[1\]: {message}"):
        encode(BatchElement([TextElement("a"), item]), format=format)


def test_numbers_that_are_not_finite_are_refused_inside_a_batch_too():
    """JSON has no such numbers; a null in one item does not accuse another."""
    for number in (float("nan"), float("inf")):
        with pytest.raises(ElementError, match=r"^BatchElement\.items\[1\]: TextElement\.timestamp_s is "):
            encode(BatchElement([DataElement("x"), TextElement("x", timestamp_s=number)]))
        with pytest.raises(ElementError, match=r"^BatchElement\.timestamp_s is "):
            encode(BatchElement([DataElement("x")], timestamp_s=number))
    batch = BatchElement([DataElement("x", {"a": None}), TextElement("x", timestamp_s=float("inf"))])

    assert decode(encode(batch, format="msgpack"), format="msgpack") == batch
    assert decode(encode(BatchElement(batch.items[:1]))) == BatchElement(batch.items[:1])


@pytest.mark.parametrize("format", FORMATS)
def test_batches_in_batches_have_a_limit_on_both_ways(format):
    """Nothing is encoded that could not be decoded, and a peer cannot make the reader scan its input again and again."""
    element = TextElement("x")
    for _ in range(16):
        element = BatchElement([element])

    assert decode(encode(element, format=format), format=format) == element
    with pytest.raises(ElementError, match="elements nested deeper than 16 levels"):
        encode(BatchElement([element]), format=format)

    value = {"type": "text", "text": "x"}
    for _ in range(17):
        value = {"type": "batch", "items": [value]}
    with pytest.raises(DecodeError, match="elements nested deeper than 16 levels") as caught:
        decode(raw(format, value), format=format)
    assert caught.value.path == "$" + ".items[0]" * 16


@pytest.mark.parametrize("unknown", ["error", "skip", "opaque"])
def test_batches_without_end_are_a_decode_error(unknown):
    """A peer cannot exhaust the stack with batches in batches."""
    for data in (b'{"type":"batch","items":[' * 100_000, b'{"type":"batch","items":[' * 500 + b"]}" * 500):
        with pytest.raises(DecodeError, match=r"nested|truncated"):
            decode(data, unknown=unknown)


def test_a_message_with_media_round_trips_in_both_formats():
    """Bytes inside a message become base64 in JSON and stay raw in MessagePack."""
    element = MessageElement(Message("user", [ImagePart(b"\x00\xff", "image/png")]), id="1")

    assert decode(encode(element)) == element
    assert b"\x00\xff" in encode(element, format="msgpack")

"""The JSON reader, against `json.loads`: the same values, the same refusals, and the same fields however the input is cut."""

import json
import math
import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamflow.errors import ConfigError, JsonStreamError, StreamflowError
from streamflow.wire import JsonField, JsonStream

cuts = st.lists(st.integers(0, 10_000), max_size=12)

keys = st.sampled_from(["a", "b", "message", 'q"uote', "ü", ""]) | st.text(max_size=4)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
trees = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=15,
)
documents = st.builds(
    lambda tree, ascii_only, indent: json.dumps(tree, ensure_ascii=ascii_only, indent=indent),
    trees, st.booleans(), st.sampled_from([None, 1]),
)  # fmt: skip
# What malformed documents are made of, in proportions that come close to right ones.
scraps = st.lists(
    st.sampled_from([
        "{", "}", "[", "]", ":", ",", '"', '"a"', '"a":', '"b":1', "1", "-", "0", "01", "1.",
        "1.5", "1e5", "1e999", "e", "true", "tru",
        "null", "NaN", "Infinity", "-Infinity", " ", "\n", "\t", "\x0b", "\xa0", "\\", "\\u", "\\ud83d", "\\ude00",
        "\\u00e9", "\\x", "\\n",
        "\x00", "é", "😀", "\ufeff", "//", "'a'",
    ]), max_size=10,
).map("".join)  # fmt: skip
paths = st.lists(
    st.sampled_from(["$", "*", "a", "b", "[*]", "[0]", "[1].a",
                     "a.b", "a[*]", "a[*].b", "*.*", "[*].*", "*[0]", '["q\\"uote"]', "a.*", "message"]),
    max_size=4,
)  # fmt: skip


def pieces(text, places):
    borders = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(borders)] or [text]


def read(chunks, select=(), **options):
    """Return the fields, joined where they are of one string, and the document or the error."""
    stream, fields = JsonStream(select, **options), []
    try:
        for chunk in chunks:
            fields += stream.feed(chunk)
        end = stream.finish()
    except JsonStreamError as error:
        end = (str(error), error.offset, error.truncated)
    return joined(fields), end


def joined(fields):
    """Return `(path, text, done, value, reset)` per value, after a look that no character is missing or doubled."""
    told, open_at, text = [], None, ""
    for field in fields:
        assert isinstance(field, JsonField)
        assert field.offset == len(text)
        assert open_at in {None, field.path}
        field.text.encode()
        if field.done and isinstance(field.value, str):
            assert text + field.text == field.value
        text += field.text
        open_at = field.path
        if field.done or field.reset:
            told.append((field.path, text, field.done, field.value, field.reset))
            open_at, text = None, ""
    if open_at is not None:
        told.append((open_at, text, False, None, False))
    return told


def plain(tree):
    """Return what `json.loads` gives as we give it: with U+FFFD for lone surrogates."""
    if isinstance(tree, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", tree)
    if isinstance(tree, list):
        return [plain(item) for item in tree]
    if isinstance(tree, dict):
        return {plain(key): plain(value) for key, value in tree.items()}
    return tree


def loads(text):
    """Return what `json.loads` makes of a document, None where it or an element refuses it."""

    def number(word):
        if math.isinf(float(word)):
            raise ValueError
        return float(word)

    def refused(word):
        raise ValueError(word)

    try:
        return (plain(json.loads(text, parse_float=number, parse_constant=refused)),)
    except ValueError:
        return None


def matches(path, place):
    """Say whether a place is what a path of the list above means; written without the code under test."""
    steps = re.findall(r'\["((?:[^"\\]|\\.)*)"\]|\[(\*|\d+)\]|([^.\[\]$]+)', path)
    if len(steps) != len(place):
        return False
    return all(
        (isinstance(at, str) and at == json.loads(f'"{quoted}"')) if quoted
        else (isinstance(at, int) and index in {"*", str(at)}) if index
        else (isinstance(at, str) and key in {"*", at})
        for (quoted, index, key), at in zip(steps, place, strict=True)
    )  # fmt: skip


def wanted(tree, select, place=()):
    """Return the values that the paths want, in the order in which they are complete."""
    found = []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += wanted(value, select, (*place, key))
    if any(matches(path, place) for path in select):
        found.append((place, tree if isinstance(tree, str) else "", True, tree, False))
    return found


@given(document=documents, places=cuts, select=paths)
def test_any_cut_of_a_document_tells_its_selected_values_once(document, places, select):
    """semantics 17.3: every character exactly once, in order, with its path; the document is what `json.loads` makes of it."""
    told, end = read(pieces(document, places), select)

    assert end == json.loads(document)
    assert told == (
        wanted(end, select) if isinstance(end, str | list | dict) else []
    )  # a number may grow until the end


@given(document=scraps | documents, places=cuts, select=paths)
@example(document='"\\ud83d\\u0041"', places=[7], select=["$"])
@example(document='["\\ud83d', places=[3], select=["[0]"])
@example(document="-", places=[], select=[])
@example(document="1e5 x", places=[1, 2, 4], select=["$"])
def test_what_is_refused_is_what_json_refuses_and_cuts_change_nothing(document, places, select):
    """semantics 17.4: the same documents as with `json.loads`, less NaN and infinities; the same error at the same place."""
    whole = read([document], select)
    expected = loads(document)

    assert read(pieces(document, places), select) == whole
    assert read(list(document), select) == whole
    if expected is None:
        assert isinstance(whole[1], tuple)
    else:
        assert whole[1] == expected[0]


@given(document=scraps | documents, places=cuts, select=paths)
def test_bytes_are_read_as_their_text_wherever_a_character_is_cut(document, places, select):
    """semantics 17.3: UTF-8 may be cut inside a character."""
    data = document.encode()
    told, end = read(pieces(data, places), select)

    document = document.removeprefix("\ufeff")
    assert (told, end) == read([document], select)


@given(data=st.binary(max_size=40), places=cuts, prefix=st.sampled_from([b"", b'["', b'{"a":"']))
def test_arbitrary_bytes_raise_nothing_but_our_error(data, places, prefix):
    """semantics 17.4: also bytes that are no UTF-8, and wherever they are cut."""
    data = prefix + data
    outcome = read(pieces(data, places), ["$", "*", "a"])

    assert outcome == read([data], ["$", "*", "a"])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        assert isinstance(outcome[1], tuple)
    else:
        assert outcome == read([text], ["$", "*", "a"])


@given(text=st.text(st.sampled_from('"\\ud83dude00[]\ud83d\ude00a'), max_size=14), places=cuts)
def test_no_lone_surrogate_comes_out(text, places):
    """semantics 17.3: halves of a pair are joined wherever they were cut, as escapes or as they are; a lone one is U+FFFD."""
    outcome = read(pieces(f'"{text}"', places), ["$"])

    assert outcome == read([f'"{text}"'], ["$"])
    str(outcome).encode()


@given(document=documents, places=cuts)
def test_the_value_so_far_grows_and_is_never_wrong(document, places):
    """semantics 17.3: what is in it stays, and the open string is a beginning of the whole one."""
    stream, whole = JsonStream(), json.loads(document)
    for chunk in pieces(document, places):
        stream.feed(chunk)
        kept = json.dumps(stream.value)
        assert grows_to(stream.growing(), whole)
        assert grows_to(stream.growing(), whole)
        assert json.dumps(stream.value) == kept
    assert stream.finish() == whole == stream.value == stream.growing()
    assert stream.is_complete


def grows_to(part, whole):
    if isinstance(whole, str):
        return part is None or whole.startswith(part)
    if isinstance(whole, list) and isinstance(part, list):
        return len(part) <= len(whole) and all(map(grows_to, part, whole[: len(part)]))
    if isinstance(whole, dict) and isinstance(part, dict):
        return list(whole)[: len(part)] == list(part) and all(grows_to(part[key], whole[key]) for key in part)
    return part is None or part == whole


def test_characters_are_told_as_they_arrive():
    """semantics 17.3: nothing waits for the closing quote, and an escape waits only for itself."""
    stream = JsonStream(["m"])
    told = [
        [field.text for field in stream.feed(chunk)]
        for chunk in ['{"m": "Did y', "ou\\", "n\\u00", "e9\\ud83d", '\\ude00!"']
    ]

    assert told == [["Did y"], ["ou"], ["\n"], ["é"], ["😀!"]]


def test_escapes_may_be_written_in_either_case_and_cut_anywhere():
    """semantics 17.3: the largest pair, and one whose halves are written differently; every cut, also a single character."""
    document = '"\\uDBFF\\udFfF\\uD83B\\u00E9\\uDe00"'
    expected = "\U0010ffff\ufffdé\ufffd"

    for chunks in [list(document), *([document[:at], document[at:]] for at in range(len(document)))]:
        assert read(chunks, ["$"]) == ([((), expected, True, expected, False)], expected)


def test_what_several_paths_say_of_one_place_is_told_once():
    """semantics 17.3: names and places beside wildcards; items of an array are told under their own places."""
    document = '{"a": {"b": "1", "c": "2"}, "d": [{"b": "3", "c": "4"}, {"c": "5"}, ["6"]]}'

    def told(*select):
        return [(path, value) for path, _, _, value, _ in read([document], select)[0]]

    assert told("a.b", "*.c") == [(("a", "b"), "1"), (("a", "c"), "2")]
    assert told("d[0].b", "d[*].c") == [(("d", 0, "b"), "3"), (("d", 0, "c"), "4"), (("d", 1, "c"), "5")]
    assert told("d[*]") == [(("d", 0), {"b": "3", "c": "4"}), (("d", 1), {"c": "5"}), (("d", 2), ["6"])]


def test_looking_at_the_growing_value_changes_nothing_of_what_is_told():
    """semantics 17.3: also in the middle of a selected string, in an object, in an array, and alone."""
    for document, path in (
        ('{"a": "one two"}', "a"),
        ('{"a": 1, "a": "one two"}', "a"),
        ('["one two"]', "[0]"),
        ('"one two"', "$"),
    ):
        stream, fields = JsonStream([path]), []
        for at in range(0, len(document), 2):
            fields += stream.feed(document[at : at + 2])
            stream.growing()
        assert [text for _, text, *_ in joined(fields)][-1] == "one two"
        assert stream.finish() == json.loads(document)


def test_a_path_is_the_structure_and_not_the_name():
    """semantics 17.3: a key of that name elsewhere, or in a string, is none of it; equal texts are two texts (seed 003)."""
    document = {
        "simple": {"options": {"message": "no"}, "message": 'say "message": "no"'},
        "ask_slots": [{"message": "Which one?"}, {"options": [{"message": "no"}], "message": "Which one?"}],
        "message": "no",
    }
    told, _ = read(json.dumps(document), ["simple.message", "ask_slots[*].message"])

    assert [(path, text) for path, text, *_ in told] == [
        (("simple", "message"), 'say "message": "no"'),
        (("ask_slots", 0, "message"), "Which one?"),
        (("ask_slots", 1, "message"), "Which one?"),
    ]


def test_a_number_is_told_when_it_cannot_grow():
    """semantics 17.3: the 1 of 12 is not shown; at the end of the document the end decides."""
    stream = JsonStream(["a", "b"])
    told = [stream.feed(chunk) for chunk in ['{"a": 1', "2", ', "b": tru', "e", "}"]]

    assert [[field.value for field in fields] for fields in told] == [[], [], [12], [], [True]]
    root = JsonStream(["$"])
    assert (root.feed("1"), root.feed("2"), root.value, root.finish()) == ([], [], None, 12)


def test_objects_and_arrays_are_told_whole():
    """semantics 17.3: when they close, behind what was told inside them."""
    told, _ = read(['{"a": [{"b": "x"}, 1]}'], ["a", "a[*].b", "a[1]"])

    assert told == [
        (("a", 0, "b"), "x", True, "x", False),
        (("a", 1), "", True, 1, False),
        (("a",), "", True, [{"b": "x"}, 1], False),
    ]


def test_a_key_that_comes_again_voids_what_was_told():
    """semantics 17.3: the last one counts, as with `json.loads`, and the reader of fields is told to forget; or it is an error."""
    document = '{"a": {"b": "one"}, "c": 1, "a": {"b": "two"}, "c": 2}'
    told, end = read([document], ["a.b"])

    assert end == {"a": {"b": "two"}, "c": 2}
    assert [(path, text, reset) for path, text, _, _, reset in told] == [
        (("a", "b"), "one", False), (("a",), "", True), (("a", "b"), "two", False),
    ]  # fmt: skip
    assert "already" in read([document], duplicate_keys="error")[1][0]


def test_cut_off_and_malformed_are_told_apart():
    """semantics 17.4: a model that ran out of tokens did not write bad JSON."""
    for document in (
        "",
        "{",
        '{"a',
        '{"a":',
        '{"a":1',
        '{"a":1,',
        '["\\u12',
        "[1.",
        "[tr",
        "-",
        '["\ud83d',
        b'["\xf0\x9f',
    ):
        assert read([document])[1][2], document
    for document in (
        "}",
        "{1",
        '{"a" 1',
        "[1,]",
        "[1.x",
        "[trux",
        "--",
        "[01",
        '["\x00',
        '["\\x',
        b'["\xff',
        "[1]]",
        "[NaN]",
    ):
        assert read([document])[1][2] is False, document


def test_an_error_says_where_and_what_was_certain_before_it_is_kept():
    """semantics 17.4: text that was shown stays; the error comes with the next call, and again with each."""
    stream = JsonStream(["a[*].b"])

    assert [field.text for field in stream.feed('{"a": [{"b": "x"}, {"b": "y\n"}]}')] == ["x", "y"]
    for use in (lambda: stream.feed(" "), stream.finish):
        with pytest.raises(JsonStreamError, match=r"control character '\\n'.*\$\.a\[1\]\.b, character 27") as caught:
            use()
    assert (caught.value.offset, caught.value.truncated, caught.value.path) == (27, False, "$.a[1].b")
    assert not stream.is_complete


def test_input_behind_the_end_is_refused():
    """semantics 17.4: garbage behind the document, and a piece behind `finish()`."""
    assert "behind the end" in read(["{} x"])[1][0]
    stream = JsonStream()
    stream.feed(" {} \n")
    assert stream.finish() == stream.finish() == {}
    with pytest.raises(JsonStreamError, match="finish"):
        stream.feed(" ")


def test_depth_and_size_are_limited():
    """semantics 17.4: a peer can fill neither the stack nor the memory; the limit is the document's, wherever it is cut."""
    assert read(["[[[]]]"], max_depth=3)[1] == [[[]]]
    assert "max_depth=2" in read(["[[[]]]"], max_depth=2)[1][0]
    assert "max_depth=100" in read(["[" * 100_000])[1][0]
    assert read(["[1, 2]"], max_chars=6)[1] == [1, 2]
    for chunks in (["[1, 22]"], list("[1, 22]"), ["[1, 2", "2]"]):
        assert read(chunks, max_chars=6)[1] == (
            "a document longer than max_chars=6; raise the limit (at $[1], character 6)",
            6,
            False,
        )
    assert "too large" in read(["1" * 5000])[1][0]


def test_text_and_bytes_are_not_mixed_inside_a_character():
    """semantics 17.4: half a character cannot be completed by the other kind."""
    assert read([b'["\xc3', '"]'])[1][2] is False
    assert read(['["\ud83d', b'"]'])[1][2] is False
    assert read([b'["\xc3\xa9', '"]'])[1] == ["é"]


@pytest.mark.parametrize(
    "path", ["", ".", "a.", "a..b", "a[", "a[x]", "a[-1]", "a b", '["x]', "[1", '["\\x"]', 3, "a[*]b"]
)
def test_a_path_that_cannot_be_read_is_refused(path):
    """semantics 17.3: at once, and with what to write instead."""
    with pytest.raises(ConfigError, match="select"):
        JsonStream([path])


@pytest.mark.parametrize(
    "options", [{"max_depth": 0}, {"max_chars": 0}, {"duplicate_keys": "first"}, {"select": ["a"] * 65}]
)
def test_a_wrong_setting_is_refused(options):
    """semantics 17.3: wrong arguments fail in the constructor."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        JsonStream(**options)


def test_paths_may_be_written_in_several_ways():
    """semantics 17.3: with or without `$`, quoted with either quote, and one path alone."""
    document = '{"a": {"odd.key": ["x", "y"]}}'
    for path in ('a["odd.key"][1]', "$.a['odd.key'][ 1 ]", '["a"]["odd.key"][1]', "$.*.*[1]", '*["odd.key"][1]'):
        assert [text for _, text, *_ in read([document], [path])[0]] == ["y"], path
    assert read([document], "a")[0] == read([document], ["a", "$.a"])[0]


def test_the_cost_is_that_of_the_document():
    """semantics 17.3: nothing is read twice; re-reading on each of these pieces would take minutes."""
    text = "x" * 60_000
    stream = JsonStream(["a"])
    fields = [field for chunk in ['{"a": "', *text, '"}'] for field in stream.feed(chunk)]

    assert "".join(field.text for field in fields) == text
    assert stream.finish() == {"a": text}


def test_errors_are_ours():
    """semantics 17.4: whoever catches `StreamflowError` is done."""
    with pytest.raises(StreamflowError):
        JsonStream().finish()

"""The accumulators of tool calls against what servers send, right and wrong."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.elements import Metadata, ToolCallDelta, ToolCallElement
from streamflow.errors import ConfigError, DecodeError, StreamflowError
from streamflow.wire import AnthropicToolCalls, ChatToolCalls, ResponsesToolCalls, parse_arguments


def entry(index=None, call_id=None, name=None, args=None):
    """Return one entry of `tool_calls`; what is None is left out."""
    function = {key: value for key, value in (("name", name), ("arguments", args)) if value is not None}
    said = {"index": index, "id": call_id, "function": function or None}
    return {key: value for key, value in said.items() if value is not None}


def chat(*deltas, truncated=False):
    """Return the fragments, and the whole calls, of deltas that are entries or lists of entries."""
    calls = ChatToolCalls(id="m")
    pieces = [p for delta in deltas for p in calls.take(delta if isinstance(delta, list) else [delta])]
    pieces += calls.finish(truncated=truncated)
    return sorted_out(pieces)


def sorted_out(pieces):
    """Return fragments and wholes, after a look that each whole is behind its fragments and equals them."""
    fragments = [piece for piece in pieces if isinstance(piece, ToolCallDelta)]
    wholes = [piece for piece in pieces if isinstance(piece, ToolCallElement)]
    assert len({whole.index for whole in wholes}) == len(wholes)
    for whole in wholes:
        before = pieces[: pieces.index(whole)]
        own = [one for one in fragments if one.index == whole.index]
        assert all(any(one is other for other in before) for one in own)
        assert {(one.call_id, one.name, one.id) for one in own} <= {(whole.call_id, whole.name, whole.id)}
        if own:
            assert "".join(one.args for one in own) == whole.raw
    return fragments, wholes


def told(wholes):
    return [(whole.call_id, whole.name, whole.raw) for whole in wholes]


AB = [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')]


# -- OpenAI chat completions -------------------------------------------------------------------------------------------


def test_chat_calls_arrive_in_fragments_and_then_whole():
    """semantics 17.5: fragments carry id and name, the whole comes once, after them, with its arguments."""
    fragments, wholes = chat(
        entry(0, "a", "f", ""),
        entry(0, args='{"x"'),
        entry(0, args=":1}"),
        entry(1, "b", "g", ""),
        entry(1, args='{"y":2}'),
    )

    assert [(one.call_id, one.name, one.args, one.index, one.id) for one in fragments] == [
        ("a", "f", '{"x"', 0, "m"),
        ("a", "f", ":1}", 0, "m"),
        ("b", "g", '{"y":2}', 1, "m"),
    ]
    assert told(wholes) == AB
    assert [dict(one.args) for one in wholes] == [{"x": 1}, {"y": 2}]
    assert [one.error for one in wholes] == [None, None]


QUIRKS = {
    "well-behaved": [entry(0, "a", "f", '{"x"'), entry(0, args=":1}"), entry(1, "b", "g", '{"y":2}')],
    "index missing": [entry(None, "a", "f", '{"x"'), entry(args=":1}"), entry(None, "b", "g", '{"y"'), entry(args=":2}")],
    "index constant 0": [entry(0, "a", "f", '{"x":1}'), entry(0, "b", "g", '{"y"'), entry(0, args=":2}")],
    "index from 1": [entry(1, "a", "f", '{"x"'), entry(1, args=":1}"), entry(2, "b", "g", '{"y":2}')],
    "indexes sparse": [entry(7, "a", "f", '{"x":1}'), entry(3, "b", "g", '{"y":2}')],
    "index null": [{"index": None, "id": "a", "function": {"name": "f", "arguments": '{"x":1}'}}, entry(1, "b", "g", '{"y":2}')],
    "name on every delta": [
        entry(0, "a", "f", '{"x"'), entry(0, None, "f", ":1"), entry(0, None, "f", "}"), entry(1, "b", "g", '{"y":2}'),
    ],
    "id on every delta": [entry(0, "a", "f", '{"x"'), entry(0, "a", None, ":1}"), entry(1, "b", "g", '{"y":2}')],
    "id and name on every delta, index constant": [
        entry(0, "a", "f", '{"x"'), entry(0, "a", "f", ":1}"), entry(0, "b", "g", '{"y"'), entry(0, "b", "g", ":2}"),
    ],
    "two whole calls under one index in one delta": [[entry(0, "a", "f", '{"x":1}'), entry(0, "b", "g", '{"y":2}')]],
    "id and name in different deltas": [
        entry(0, "a"), entry(0, None, "f"), entry(0, args='{"x":1}'), entry(1, None, "g"), entry(1, "b"), entry(1, args='{"y":2}'),
    ],
    "arguments before the name": [
        entry(0, "a", None, '{"x"'), entry(0, args=":1}"), entry(0, None, "f"), entry(1, "b", None, '{"y":2}'), entry(1, None, "g"),
    ],
    "interleaved by index": [
        entry(0, "a", "f", '{"x"'), entry(1, "b", "g", '{"y"'), entry(0, args=":1}"), entry(1, args=":2}"),
    ],
    "interleaved by id": [
        entry(0, "a", "f", '{"x"'), entry(0, "b", "g", '{"y"'), entry(0, "a", args=":1}"), entry(0, "b", args=":2}"),
    ],
    "name before the arguments": [entry(0, "a", "f"), entry(0, args='{"x":1}'), entry(1, "b", "g"), entry(1, args='{"y":2}')],
    "arguments as an object": [entry(0, "a", "f", {"x": 1}), entry(1, "b", "g", {"y": 2})],
    "all calls once more at the end": [
        entry(0, "a", "f", '{"x"'), entry(0, args=":1}"), entry(1, "b", "g", '{"y":2}'),
        [entry(0, "a", "f", '{"x":1}'), entry(1, "b", "g", '{"y":2}')],
    ],
    "empty entries between": [{}, entry(0), entry(0, "a", "f", '{"x":1}'), {"index": 1, "function": {}},
        entry(1, "b", "g", '{"y":2}')],
    "nulls and wrong types": [
        {"index": "0", "id": 5, "function": None}, None, [None, 3, "x", entry(0, "a", "f", '{"x":1}')],
        entry(1, "b", "g", '{"y":2}'),
    ],
}  # fmt: skip


@pytest.mark.parametrize("quirk", QUIRKS)
def test_a_quirk_of_a_chat_server_changes_nothing(quirk):
    """semantics 17.5: whatever a server leaves out, repeats or counts wrongly, two calls are two calls."""
    _, wholes = chat(*QUIRKS[quirk])

    assert told(wholes) == AB


def test_a_server_that_says_the_arguments_from_their_beginning_each_time_is_understood():
    """semantics 17.5: the last fragment is the whole; an object that holds itself once more is not taken for it."""
    cumulative = [entry(0, "a", "f", '{"x'), entry(0, args='{"x":'), entry(0, args='{"x":1}')]
    nested = [entry(0, "a", "f", '{"x":'), entry(0, args='{"x":'), entry(0, args="1}}")]
    calls = ChatToolCalls(id="m")
    pieces = [piece for one in cumulative for piece in calls.take([one])] + calls.finish()

    assert [(one.raw, dict(one.args), one.error) for one in pieces if isinstance(one, ToolCallElement)] == [
        ('{"x":1}', {"x": 1}, None)
    ]
    assert [(one.raw, one.error) for one in chat(*nested)[1]] == [('{"x":{"x":1}}', None)]
    assert chat(entry(0, "a", "f", '{"x'), entry(0, args='{"x'))[1][0].error is not None


def test_a_name_that_comes_in_pieces_or_longer_each_time_is_one_name():
    """semantics 17.5: until the arguments begin a name may grow, and a repetition adds nothing."""
    pieces = chat(entry(0, "a", "get_"), entry(0, None, "weather"), entry(0, args="{}"))[1]
    longer = chat(entry(0, "a", "get"), entry(0, "a", "get_weather"), entry(0, "a", "get_weather", "{}"))[1]

    assert [one.name for one in (*pieces, *longer)] == ["get_weather", "get_weather"]


def test_calls_without_ids_are_told_apart_by_name_and_completeness():
    """semantics 17.5: without an id another name, or the same name behind complete arguments, is another call."""
    same = chat(entry(0, None, "f", '{"a":1}'), entry(0, None, "f", '{"a":2}'))[1]
    other = chat(entry(None, None, "f"), entry(None, None, "g"))[1]
    cut = chat(entry(0, None, "f", '{"a":{}'), entry(0, None, "f", "}"))[1]
    listed = chat([entry(None, None, "f"), entry(None, None, "f")])[1]

    assert [one.raw for one in same] == ['{"a":1}', '{"a":2}']
    assert [one.name for one in other] == ["f", "g"]
    assert [one.raw for one in cut] == ['{"a":{}}']
    assert [one.name for one in listed] == ["f", "f"]


def test_a_new_id_on_a_used_index_begins_a_call_before_any_argument():
    """semantics 17.5: two calls of one tool without arguments are two calls; an id alone announces nothing."""
    wholes = chat(entry(0, "a", "f", ""), entry(0, "b", "f", ""), entry(1, "c"))[1]

    assert told(wholes) == [("a", "f", ""), ("b", "f", "")]


def test_arguments_before_the_name_are_told_with_it():
    """semantics 17.5: a fragment never lacks its name, and none is lost."""
    fragments, _ = chat(entry(0, "a", None, '{"x"'), entry(0, args=":"), entry(0, None, "f"), entry(0, args="1}"))

    assert [(one.name, one.args) for one in fragments] == [("f", '{"x":'), ("f", "1}")]


def test_a_call_without_an_id_gets_one_that_stands():
    """semantics 17.5: results can be paired with it, and an id that comes after the arguments began does not change it."""
    fragments, wholes = chat(entry(0, None, "f", '{"x"'), entry(0, "late", None, ":"), entry(5, "late", None, "1}"))

    assert {one.call_id for one in fragments} == {"m-0"}
    assert told(wholes) == [("m-0", "f", '{"x":1}')]


def test_a_call_without_a_name_is_whole_with_an_error():
    """semantics 17.6: nothing is lost silently, and nothing without a name is executed."""
    (whole,) = chat(entry(0, "a", None, "{}"))[1]

    assert whole.error == "the call names no tool"
    assert (whole.name, whole.call_id) == ("", "a")


# -- Anthropic -------------------------------------------------------------------------------------------------------------


def start(index, call_id="a", name="f", kind="tool_use", given=None):
    block = {"type": kind, "id": call_id, "name": name, "input": given or {}}
    return {"type": "content_block_start", "index": index, "content_block": block}


def partial(index, text):
    return {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": text}}


def stop(index):
    return {"type": "content_block_stop", "index": index}


def anthropic(*events, truncated=False):
    calls = AnthropicToolCalls(id="m")
    pieces = [piece for event in events for piece in calls.take(event)]
    return sorted_out([*pieces, *calls.finish(truncated=truncated)])


def test_anthropic_blocks_become_calls_by_their_index():
    """semantics 17.5: a block tells its name at once, blocks may be interleaved, and only tool_use blocks are calls."""
    fragments, wholes = anthropic(
        {"type": "message_start", "message": {}},
        start(0, kind="text"),
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hm"}},
        start(1),
        start(2, "b", "g"),
        start(3, "c", "web_search", kind="server_tool_use"),
        partial(1, ""),
        partial(1, '{"x"'),
        partial(2, '{"y":2}'),
        partial(3, '{"q":"?"}'),
        partial(1, ":1}"),
        stop(2),
        stop(1),
        stop(3),
        {"type": "message_stop"},
    )

    assert [(one.name, one.args) for one in fragments] == [
        ("f", ""), ("g", ""), ("f", '{"x"'), ("g", '{"y":2}'), ("f", ":1}"),
    ]  # fmt: skip
    assert told(wholes) == AB[::-1]
    assert [one.index for one in wholes] == [1, 0]


def test_an_anthropic_block_is_whole_at_its_stop():
    """semantics 17.5: a tool can be prepared while the answer goes on."""
    calls = AnthropicToolCalls(id="m")
    calls.take(start(1))
    assert calls.take(stop(1)) == [ToolCallElement("a", "f", {}, id="m")]
    assert calls.finish() == []


@pytest.mark.parametrize(
    "events", [[start(0), stop(0)], [start(0), partial(0, ""), stop(0)], [start(0), partial(0, " ")]]
)
def test_no_anthropic_arguments_are_empty_arguments(events):
    """semantics 17.6: a tool without parameters is called with nothing at all."""
    (whole,) = anthropic(*events)[1]

    assert (dict(whole.args), whole.error) == ({}, None)


def test_anthropic_arguments_may_come_with_the_start():
    """semantics 17.5: some servers send no deltas, and some repeat as deltas what the start held."""
    without = anthropic(start(0, given={"x": 1}), stop(0))[1]
    repeated = anthropic(start(0, given={"x": 1}), partial(0, '{"x":1}'), stop(0))[1]

    assert told([*without, *repeated]) == [AB[0], AB[0]]


def test_an_anthropic_block_that_is_never_stopped_ends_with_the_next_or_the_message():
    """semantics 17.5: a forgotten stop merges nothing."""
    _, wholes = anthropic(start(0), partial(0, '{"x":1}'), start(0, "b", "g"), partial(0, '{"y":2}'))

    assert told(wholes) == AB


# -- OpenAI Responses ------------------------------------------------------------------------------------------------------


def added(item="i1", output=0, call_id="a", name="f", kind="function_call", **more):
    return {
        "type": "response.output_item.added", "output_index": output,
        "item": {"type": kind, "id": item, "call_id": call_id, "name": name, **more},
    }  # fmt: skip


def delta(text, item="i1", output=0, kind="function_call_arguments"):
    return {"type": f"response.{kind}.delta", "item_id": item, "output_index": output, "delta": text}


def done(text, item="i1", output=0, **more):
    return {
        "type": "response.function_call_arguments.done", "item_id": item, "output_index": output, "arguments": text, **more,
    }  # fmt: skip


def item_done(text, item="i1", output=0, call_id="a", name="f"):
    return {**added(item, output, call_id, name, arguments=text), "type": "response.output_item.done"}


def responses(*events, truncated=False):
    calls = ResponsesToolCalls(id="m")
    pieces = [piece for event in events for piece in calls.take(event)]
    return sorted_out([*pieces, *calls.finish(truncated=truncated)])


RESPONSES = {
    "well-behaved": [
        added(), delta('{"x"'), delta(":1}"), done('{"x":1}'), item_done('{"x":1}'),
        added("i2", 1, "b", "g"), delta('{"y":2}', "i2", 1), done('{"y":2}', "i2", 1), item_done('{"y":2}', "i2", 1, "b", "g"),
    ],
    "interleaved": [
        added(), added("i2", 1, "b", "g"), delta('{"y"', "i2", 1), delta('{"x"'), delta(":2}", "i2", 1), delta(":1}"),
        done('{"x":1}'), done('{"y":2}', "i2", 1),
    ],
    "no done events": [added(), delta('{"x":1}'), added("i2", 1, "b", "g"), delta('{"y":2}', "i2", 1)],
    "no deltas": [added(), done('{"x":1}'), added("i2", 1, "b", "g"), done('{"y":2}', "i2", 1)],
    "a delta lost": [added(), delta('{"x"'), done('{"x":1}'), added("i2", 1, "b", "g"), item_done('{"y":2}', "i2", 1, "b", "g")],
    "only whole items": [item_done('{"x":1}'), item_done('{"y":2}', "i2", 1, "b", "g")],
    "another item id in each event": [
        added(), delta('{"x"', "q1"), delta(":1}", "q2"), done('{"x":1}', "q3"),
        added("q4", 1, "b", "g"), delta('{"y":2}', "q5", 1),
    ],
    "output index constant": [
        added(), delta('{"x":1}'), added("i2", 0, "b", "g"), delta('{"y":2}', "i2", 0), done('{"y":2}', "i2", 0), done('{"x":1}'),
    ],
    "another item id in each event and no output index": [
        added("q1", None), delta('{"x"', "q2", None), delta(":1}", "q3", None), done('{"x":1}', "q4", None),
        added("q5", None, "b", "g"), delta('{"y":2}', "q6", None), done('{"y":2}', "q7", None),
    ],
    "neither item id nor output index": [
        added(None, None), delta('{"x"', None, None), delta(":1}", None, None),
        added(None, None, "b", "g"), delta('{"y":2}', None, None),
    ],
    "name only at the end": [
        added(name="", call_id=""), delta('{"x":1}'), done('{"x":1}'), item_done('{"x":1}'),
        delta('{"y":2}', "i2", 1), done('{"y":2}', "i2", 1, name="g"), item_done('{"y":2}', "i2", 1, "b", "g"),
    ],
    "only in the whole response": [
        {"type": "response.completed", "response": {"output": [
            {"type": "message"}, added()["item"] | {"arguments": '{"x":1}'},
            added("i2", 1, "b", "g")["item"] | {"arguments": '{"y":2}'},
        ]}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("quirk", RESPONSES)
def test_calls_of_a_response_are_whole_however_they_are_told(quirk):
    """semantics 17.5: added, deltas, done; the full value at the end counts, and is taken once."""
    _, wholes = responses(*RESPONSES[quirk])

    assert told(sorted(wholes, key=lambda one: one.index)) == AB
    assert [one.error for one in wholes] == [None, None]


def test_a_custom_tool_of_a_response_is_given_free_text():
    """semantics 17.5: its input is no JSON, and becomes the one argument `input`."""
    kind = "custom_tool_call_input"
    end = {"type": f"response.{kind}.done", "item_id": "i1", "output_index": 0, "input": "SELECT {"}
    fragments, (whole,) = responses(
        added(kind="custom_tool_call", input=""), delta("SELECT", kind=kind), delta(" {", kind=kind), end
    )

    assert [one.args for one in fragments] == ["", "SELECT", " {"]
    assert (dict(whole.args), whole.raw, whole.error) == ({"input": "SELECT {"}, "SELECT {", None)


def test_the_full_value_of_a_response_wins_over_its_fragments():
    """semantics 17.5: where the end says another text than the fragments did, the end is right."""
    calls = ResponsesToolCalls(id="m")
    pieces = [p for event in (added(), delta('{"x": 1'), done('{"x":1}')) for p in calls.take(event)]

    assert pieces[-1] == ToolCallElement("a", "f", {"x": 1}, '{"x":1}', id="m")


# -- all three -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "args", "error"),
    [
        ("", {}, None),
        (" \n", {}, None),
        ('{"a": [1, null]}', {"a": (1, None)}, None),
        ('{"a": "x', {}, "cut off"),
        ('{"a": 1}}', {}, "invalid JSON"),
        ('{"a": 1}{"a": 1}', {}, "invalid JSON"),
        ('{"a": NaN}', {}, "invalid JSON"),
        ("[1]", {}, "no JSON object but an array"),
        ("null", {}, "no JSON object but null"),
        ('"a"', {}, "no JSON object but a string"),
        ('{"a": 100000000000000000000}', {}, "64 bits"),
        ("[" * 100_000, {}, "the arguments"),
    ],
)
def test_arguments_that_are_no_object_are_an_error_of_the_call(raw, args, error):
    """semantics 17.6: empty is no arguments; cut off, invalid and no object are three different errors; nothing is raised."""
    got, what = parse_arguments(raw)

    assert dict(got) == args
    assert what is None if error is None else error in what


@pytest.mark.parametrize(
    "calls",
    [
        lambda text: chat(
            *([entry(0, "a", "f"), entry(0, args=text)] if text else [entry(0, "a", "f")]), truncated=True
        ),
        lambda text: anthropic(start(0), partial(0, text), truncated=True),
        lambda text: responses(added(), delta(text), truncated=True),
    ],
    ids=["chat", "anthropic", "responses"],
)
def test_a_message_that_was_cut_off_says_so_in_its_open_calls(calls):
    """semantics 17.6: what ended too early is not called invalid, and not taken for a call without arguments."""
    assert "cut off" in calls("")[1][0].error
    assert "cut off" in calls('{"x":"')[1][0].error
    assert calls('{"x":1}')[1][0].error is None


FEEDS = {
    "chat": (ChatToolCalls, lambda calls, n, text: calls.take([entry(n, f"id{n}", "f", text)])),
    "anthropic": (
        AnthropicToolCalls,
        lambda calls, n, text: (calls.take(start(n, f"id{n}")), calls.take(partial(n, text))),
    ),
    "responses": (
        ResponsesToolCalls,
        lambda calls, n, text: (calls.take(added(f"i{n}", n, f"id{n}")), calls.take(delta(text, f"i{n}", n))),
    ),
}


def test_an_item_of_a_response_that_is_incomplete_is_cut_off():
    """semantics 17.6: nothing at all is then no call without arguments."""
    cut = item_done("")
    cut["item"]["status"] = "incomplete"

    assert "cut off" in responses(added(), cut)[1][0].error
    assert responses(added(), item_done(""))[1][0].error is None


@pytest.mark.parametrize("wire", FEEDS)
def test_limits_hold_on_every_wire(wire):
    """semantics 17.6: a peer can fill the memory neither with calls nor with arguments."""
    kind, feed = FEEDS[wire]
    calls = kind(id="m", max_calls=2, max_args_chars=5)
    feed(calls, 0, "12345")
    with pytest.raises(DecodeError, match="max_args_chars=5"):
        feed(calls, 1, "123456")
    with pytest.raises(DecodeError, match="max_calls=2"):
        feed(calls, 2, "1")
    for name in ("max_calls", "max_args_chars"):
        with pytest.raises(ConfigError, match=name):
            kind(id="m", **{name: 0})


def test_a_lone_surrogate_in_arguments_can_be_encoded():
    """semantics 17.6: halves of a pair are joined, a lone one becomes U+FFFD; an element never holds what cannot be sent."""
    (whole,) = chat(entry(0, "a", "f", '{"x":"\ud83d\ude00\ud800"}'))[1]

    assert whole.raw == '{"x":"😀\ufffd"}'


@given(places=st.lists(st.integers(0, 60), max_size=8))
def test_any_cut_of_the_arguments_gives_the_same_calls(places):
    """semantics 17.5: fragments say what the whole says, however a server cuts them, on every wire."""
    raw = '{"x": "a \\"b\\" \\ud83d\\ude00", "y": [1, {"z": null}]}'
    borders = sorted({0, len(raw), *(place % len(raw) for place in places)})
    cut = [raw[one:two] for one, two in pairwise(borders)]
    made = [
        chat(entry(0, "a", "f"), *[entry(0, None, "f", piece) for piece in cut])[1],
        anthropic(start(0), *[partial(0, piece) for piece in cut], stop(0))[1],
        responses(added(), *[delta(piece) for piece in cut], done(raw), item_done(raw))[1],
    ]

    for (whole,) in made:
        assert (whole.raw, whole.error, dict(whole.args)) == (
            raw,
            None,
            {"x": 'a "b" 😀', "y": (1, Metadata({"z": None}))},
        )


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.binary(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(["type", "index", "delta", "content_block", "partial_json", "id", "name", "input", "item", "item_id",
                        "output_index", "call_id", "arguments", "function", "response", "output"])  # fmt: skip
kinds = st.sampled_from(["content_block_start", "content_block_delta", "content_block_stop", "tool_use", "input_json_delta",
                         "function_call", "response.output_item.added", "response.output_item.done", "response.completed",
                         "response.function_call_arguments.delta", "response.function_call_arguments.done"])  # fmt: skip
objects = st.recursive(
    st.dictionaries(keys, kinds | values, max_size=5),
    lambda inner: st.dictionaries(keys, inner | st.lists(inner, max_size=3) | kinds | st.integers(0, 2), max_size=5),
    max_leaves=8,
)


@given(events=st.lists(objects, max_size=3))
def test_wrong_types_anywhere_raise_nothing_but_our_errors(events):
    """semantics 17.5: what a server should never send is put up with or refused, by an error of ours."""
    try:
        for event in events:
            chat(event, [event])
        anthropic(*events)
        calls = ResponsesToolCalls(id="m")
        for event in events:
            calls.take(event)
        calls.finish()
    except StreamflowError:
        pass

"""`Message`, its parts, and `Usage`."""

import copy
import pickle

import pytest

from streamflow.elements import (
    AudioPart,
    DataPart,
    FilePart,
    ImagePart,
    Message,
    MessageElement,
    Metadata,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
    VideoPart,
    thaw,
)
from streamflow.errors import ElementError

CALL = ToolCallPart("1", "search", {"q": ["a"]})
RESULT = ToolResultPart("1", [DataPart("result", {"n": 1}), TextPart("one")], name="search")


def test_text_and_parts_read_the_same_from_both_forms():
    """A reader need not know how the content was given."""
    plain, listed = Message("user", "hi"), Message("user", [TextPart("hi")])

    assert plain.text == listed.text == "hi"
    assert plain.parts == listed.parts == (TextPart("hi"),)
    assert Message("user", "").parts == ()


def test_a_role_that_there_is_not_and_a_message_that_is_none_are_refused():
    """semantics 11.2: a misspelt role is told where the message is made, and not by a server."""
    with pytest.raises(ElementError, match="'bot' is no role; there are 'system', 'user', 'assistant', 'tool'"):
        Message("bot", "hi")
    with pytest.raises(ElementError, match=r"MessageElement\.message is of type str; give a Message"):
        MessageElement("hi")


def test_the_text_of_a_message_is_its_text_parts_alone():
    """Thoughts are never shown as the answer, nor are tools."""
    message = Message("assistant", [ThinkingPart("hm"), TextPart("a"), CALL, TextPart("b"), RESULT])

    assert message.text == "ab"
    assert message.tool_calls == (CALL,)
    assert message.tool_results == (RESULT,)
    assert RESULT.text == "one"


def test_a_list_of_parts_is_kept_as_a_tuple_of_its_own():
    """A message is a value: it does not change with the list that it was made of."""
    given = [TextPart("a")]
    message = Message("user", given)
    given.append(TextPart("b"))

    assert message.content == (TextPart("a"),)
    assert hash(message) == hash(Message("user", (TextPart("a"),)))
    assert RESULT.content == (DataPart("result", {"n": 1}), TextPart("one"))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, r"Message\.content is a NoneType; give text, or a list of parts"),
        (TextPart("a"), r"Message\.content is a TextPart"),
        ([TextPart("a"), "b"], r"Message\.content\[1\] is a str; allowed are TextPart, "),
        ([{"type": "text", "text": "a"}], r"Message\.content\[0\] is a dict"),
    ],
)
def test_content_that_is_neither_text_nor_parts_is_refused(content, error):
    """A wrong argument fails in the constructor, and the error names the place."""
    with pytest.raises(ElementError, match=error):
        Message("user", content)


def test_a_tool_cannot_give_back_a_tool_call():
    """A tool's content is what can be shown; calls and thoughts belong to the model."""
    with pytest.raises(ElementError, match=r"ToolResultPart\.content\[0\] is a ToolCallPart"):
        ToolResultPart("1", [CALL])


def test_metadata_that_is_a_plain_dict_is_refused():
    """A message is stored and shared: a dict in it could change."""
    with pytest.raises(ElementError, match=r"Message\.metadata is a dict; give Metadata"):
        Message("user", "hi", metadata={"a": 1})


@pytest.mark.parametrize("kind", [ImagePart, AudioPart, VideoPart, FilePart])
def test_media_parts_have_their_bytes_or_their_address(kind):
    """Bytes or url, never both and never neither."""
    assert kind(b"x").url is None
    assert kind(url="https://example.org/x").data is None
    with pytest.raises(ElementError, match="got neither"):
        kind()
    with pytest.raises(ElementError, match="got both"):
        kind(b"x", url="https://example.org/x")


def test_json_in_parts_is_read_only():
    """Branches share messages: arguments and values are frozen, and `thaw` gives a copy to change."""
    with pytest.raises(TypeError):
        CALL.args["q"] = []
    plain = thaw(CALL.args)
    plain["q"].append("b")

    assert plain == {"q": ["a", "b"]}
    assert CALL.args == {"q": ["a"]}


def test_messages_survive_pickle_and_copies():
    """Stores and processes get the same value."""
    message = Message("assistant", [ThinkingPart("hm", "sig"), CALL, RESULT], id="7", metadata=Metadata({"a": [1]}))

    assert pickle.loads(pickle.dumps(message)) == message
    assert copy.deepcopy(message) == message


def test_repr_of_a_message_does_not_show_media():
    """A log line stays readable."""
    assert repr(Message("user", [ImagePart(bytes(10**6), "image/png")])) == (
        "Message(role='user', content=(ImagePart(data=<1000000 bytes>, mime='image/png'),))"
    )


def test_usage_adds_up_and_what_nobody_told_stays_unknown():
    """None is 'not said' and no zero; known numbers add."""
    total = Usage(input_tokens=10, cached_tokens=4, cost_usd=0.5) + Usage(input_tokens=1, output_tokens=2)

    assert total == Usage(input_tokens=11, output_tokens=2, cached_tokens=4, cost_usd=0.5)
    assert total.reasoning_tokens is None
    assert total.total_tokens == 13
    assert Usage().total_tokens == 0


def test_usage_keeps_the_model_only_where_all_agree():
    """A sum over two models belongs to neither; an estimate anywhere makes the sum one."""
    small = Usage(input_tokens=1, model="small", provider="here")
    large = Usage(input_tokens=1, model="large", provider="here", estimated=True)

    assert sum([small, small], Usage()) == Usage(input_tokens=2, model="small", provider="here")
    assert small + large == Usage(input_tokens=2, provider="here", estimated=True)
    assert small + Usage() == small

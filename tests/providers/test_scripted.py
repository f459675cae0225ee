"""`ScriptedProvider`: a model without a model."""

from contextlib import aclosing

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.agents import AgentStage
from streamflow.apps import ChatService, ChatSession
from streamflow.elements import Message, MessageElement, TextElement, ThinkingElement, ThinkingPart, UsageElement
from streamflow.errors import ConfigError, ProviderError
from streamflow.providers import (
    FallbackProvider,
    ModelRequest,
    ProviderStage,
    RetryProvider,
    Rule,
    ScriptedProvider,
    TimeoutProvider,
    split_words,
)
from streamflow.state import MemoryStore, StateStoreLoadStage, StateStoreSaveStage


def request(text: str, **options) -> ModelRequest:
    return ModelRequest(messages=(Message("user", text),), **options)


async def answer(provider, asked) -> list:
    async with aclosing(provider.stream(asked)) as stream:
        return [element async for element in stream]


async def test_an_answer_is_fragments_then_usage_then_the_whole():
    """`Provider.stream` — Out: one id, the usage before the whole, the whole equal to its fragments."""
    provider = ScriptedProvider([Rule("hello|hi", "Hello!  How are you?")], name="demo")
    *fragments, usage, whole = await answer(provider, request("Oh, HELLO there", model="m"))

    assert [fragment.text for fragment in fragments] == ["Hello!", "  How", " are", " you?"]
    assert {element.id for element in [*fragments, whole]} == {"demo-1"}
    assert whole == MessageElement(
        Message("assistant", "Hello!  How are you?", id="demo-1", stop_reason="stop"), id="demo-1"
    )
    assert usage.final
    assert usage.usage.estimated
    assert (usage.usage.input_tokens, usage.usage.output_tokens) == (3, 4)
    assert (usage.usage.model, usage.usage.provider) == ("m", "demo")


@given(text=st.text())
def test_words_join_to_the_text(text):
    """Nothing is lost between an answer and its tokens, white space least of all."""
    assert "".join(split_words(text)) == text
    assert all(split_words(text))


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        ("my name is Ada", "Nice to meet you, Ada, {you}!"),
        ("my name is {text}", 'You said: my name is {text} {"a": 1}'),  # a predicate was asked before
        ("add 3 to 4", "3 + 4"),
        ("anything?", 'You said: anything? {"a": 1}'),
    ],
)
async def test_the_first_rule_that_applies_answers_with_what_was_said(said, answered):
    """Placeholders that are known are filled once; braces of code, and those that users write, stay as they are."""
    rules = [
        Rule(lambda text: "{" in text, 'You said: {text} {"a": 1}'),
        Rule(r"my name is (?P<name>\w+)", "Nice to meet you, {name}, {you}!"),
        Rule(r"my name", "never"),
        Rule(r"add (\d+) to (\d+)", "{1} + {2}"),
    ]
    provider = ScriptedProvider(rules, default='You said: {text} {"a": 1}')

    assert (await answer(provider, request(said)))[-1].message.text == answered


async def test_an_answer_may_be_computed_from_the_whole_request():
    """A script can look at the conversation; the last text of the user is what rules look at, whatever came after."""
    provider = ScriptedProvider(default=lambda asked: f"{len(asked.messages)} messages")
    conversation = (Message("user", "one"), Message("assistant", "two"))

    assert (await answer(provider, ModelRequest(messages=conversation)))[-1].message.text == "2 messages"
    assert (await answer(ScriptedProvider(), ModelRequest(messages=conversation)))[-1].message.text == "You said: one"
    assert (await answer(ScriptedProvider(), ModelRequest(messages=())))[-1].message.text == "You said: "


async def test_thoughts_come_first_and_are_no_text():
    """semantics 1.3: thoughts are a type of their own, in fragments and in the whole."""
    *fragments, usage, whole = await answer(
        ScriptedProvider([Rule("", "Yes.", thinking="Is it so?")]), request("Is it?")
    )

    assert [type(fragment) for fragment in fragments] == [ThinkingElement] * 3 + [TextElement]
    assert whole.message.parts[0] == ThinkingPart("Is it so?")
    assert whole.message.text == "Yes."
    assert usage.usage.output_tokens == 4


async def test_the_limit_of_a_request_cuts_the_answer():
    """`max_tokens` means to a script what it means to a model."""
    got = await answer(ScriptedProvider(default="one two three"), request("go", max_tokens=2))

    assert [element.text for element in got[:2]] == ["one", " two"]
    assert got[-1].message.text == "one two"
    assert got[-1].message.stop_reason == "length"
    exactly = await answer(ScriptedProvider(default="one two"), request("go", max_tokens=2))
    assert exactly[-1].message.stop_reason == "stop"


async def test_the_stop_reason_is_the_rule_s():
    """A script can play a refusal."""
    got = await answer(ScriptedProvider([Rule("", "No.", stop_reason="refusal")]), request("please"))

    assert got[-1].message.stop_reason == "refusal"


@pytest.mark.parametrize(("after", "texts"), [(0, []), (2, ["one", " two"]), (9, ["one", " two", " three"])])
async def test_a_scripted_failure_comes_after_as_many_tokens_as_asked(after, texts):
    """`Provider.stream` — Raises: in the middle too, and then there is neither usage nor a whole."""
    error = ProviderError("overloaded", "busy", retryable=True)
    provider = ScriptedProvider([Rule("", "one two three", error=error, error_after=after)])
    for _ in range(2):
        got = []
        with pytest.raises(ProviderError) as caught:
            async with aclosing(provider.stream(request("go"))) as stream:
                async for element in stream:
                    got.append(element)

        assert [element.text for element in got] == texts
        assert caught.value.args == error.args
        assert caught.value is not error


async def test_a_delay_passes_before_each_token():
    """Tokens come one by one, in virtual time under a virtual clock."""
    times = []
    async for _ in ScriptedProvider(default="one two three", delay_s=10).stream(request("go")):
        times.append(anyio.current_time())

    assert times == [10, 20, 30, 30, 30]


async def test_requests_are_recorded_up_to_a_bound():
    """Tests look at them; a demonstration that runs for a week must not grow."""
    provider = ScriptedProvider(keep_requests=2)
    for text in ("a", "b", "c"):
        await answer(provider, request(text))

    assert provider.requests == (request("b"), request("c"))


async def test_the_same_requests_give_the_same_elements():
    """Deterministic: ids included, so that outputs can be compared as they are."""
    first, second = ScriptedProvider(), ScriptedProvider()
    asked = [request("a b"), request("c")]

    assert [await answer(first, one) for one in asked] == [await answer(second, one) for one in asked]


async def test_a_splitter_of_one_s_own_makes_the_tokens():
    """Some tests want characters."""
    got = await answer(ScriptedProvider(default="abc", split=list), request("go"))

    assert [element.text for element in got if isinstance(element, TextElement)] == ["a", "b", "c"]
    assert [element.usage.output_tokens for element in got if isinstance(element, UsageElement)] == [3]


WRONG = [
    (lambda: ScriptedProvider(["Hi!"]), "rules"),
    (lambda: ScriptedProvider(turns=["Hi!"]), "turns"),
    (lambda: ProviderStage("openai:gpt-5-mini"), "provider"),
    (lambda: ProviderStage(ScriptedProvider), "provider"),
    (lambda: AgentStage("openai:gpt-5-mini"), "provider"),
    (lambda: RetryProvider(object()), "provider"),
    (lambda: TimeoutProvider(object(), timeout_s=1), "provider"),
    (lambda: FallbackProvider(ScriptedProvider(), "sk-123"), "provider"),
    (lambda: ChatService(ScriptedProvider(), MemoryStore()), "store"),
    (lambda: ChatService(MemoryStore(), "openai:gpt-5-mini"), "provider"),
    (lambda: StateStoreLoadStage("chat.db"), "store"),
    (lambda: StateStoreSaveStage("redis://:sk-123@host"), "store"),
    (lambda: ChatSession("openai:gpt-5-mini"), "pipeline"),
]


def test_what_is_no_provider_no_rule_or_no_turn_is_refused_where_it_is_given():
    """semantics 11.2: bad input gets a clear error at once, and no secret that was put into the wrong place is repeated."""
    for make, field in WRONG:
        with pytest.raises(ConfigError) as raised:
            make()
        assert (raised.value.field, "sk-123" in str(raised.value)) == (field, False)


async def test_what_is_no_request_is_refused():
    """semantics 11.2: a text in the place of a request is told, with what to write instead."""
    with pytest.raises(ConfigError, match="give ModelRequest"):
        await anext(ScriptedProvider().stream("Hi!"))


@pytest.mark.parametrize("options", [{"delay_s": -1}, {"keep_requests": -1}])
def test_negative_numbers_are_refused(options):
    """Wrong arguments fail in the constructor."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        ScriptedProvider(**options)


def test_its_repr_tells_its_name_and_the_number_of_its_rules():
    """For logs and explanations; the default is no rule of the user's."""
    assert repr(ScriptedProvider([Rule("a", "b")], name="demo")) == "<ScriptedProvider 'demo', 1 rules>"

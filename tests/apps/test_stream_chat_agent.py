"""Rows K1–K8: seed 002's streaming chat agent, and what the original got wrong."""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow import ConfigError, ElementError, PipelineBuilder, RunTimeoutError, StageError, TextElement, TurnReset
from streamflow.apps import ChatConfig, ChatSession, StreamChatAgent, StreamingStrategy, WholeStrategy
from streamflow.elements import Message, MessageElement
from streamflow.errors import ProviderError, RunStateError, SyncInAsyncError
from streamflow.providers import ModelRequest, Rule, ScriptedProvider, ScriptTurn, TextStep
from streamflow.testing import assert_all_stages_stopped

SENTENCE = "This is a streaming response from the agent with multiple tokens."
ROOT = Path(__file__).resolve().parents[2]
DEMO = (Path(__file__).parent / "seeds" / "002_output.txt").read_text(encoding="utf-8")
MOCK = ChatConfig(llm_provider="mock")


def agent(**settings: object) -> StreamChatAgent:
    return StreamChatAgent(dataclasses.replace(MOCK, **settings))


def test_k1_the_configuration_has_the_names_and_defaults_of_the_seed() -> None:
    """K1: six names, six defaults."""
    names = ("llm_provider", "model", "temperature", "max_tokens", "streaming", "chunk_size")
    config = ChatConfig()

    assert [getattr(config, name) for name in names] == ["openai", "gpt-3.5-turbo", 0.7, 500, True, 1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("llm_provider", ""),
        ("model", None),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("max_tokens", 0),
        ("max_tokens", True),
        ("streaming", "yes"),
        ("chunk_size", 0),
        ("chunk_size", -1),
        ("chunk_size", 1.5),
        ("chunk_wait_s", 0),
        ("timeout_s", -1),
        ("system", None),
    ],
)
def test_k1_a_wrong_setting_is_told_where_it_is_made(field: str, value: object) -> None:
    """K1: the field is named. The original: chunk_size 0 was an obscure range() error, a negative one an empty stream."""
    with pytest.raises(ConfigError) as caught:
        ChatConfig(**{field: value})  # type: ignore[arg-type]

    assert caught.value.field == field


def test_k1_the_provider_of_the_configuration_is_asked_as_the_configuration_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """K1: a missing key is told by the constructor. The original failed on the first `chat()` with a ModuleNotFoundError."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        StreamChatAgent()
    with pytest.raises(ConfigError, match="provider"):
        StreamChatAgent(ChatConfig(llm_provider="nobody"))
    with pytest.raises(ConfigError, match="config"):
        StreamChatAgent({"model": "gpt"})  # type: ignore[arg-type]


async def test_k1_the_model_is_asked_with_the_settings() -> None:
    """K1: temperature, max_tokens, system; a client is asked for the configured model, a provider has its own."""
    asked: list[dict[str, object]] = []

    class Client:
        async def chat(self, **options: object) -> str:
            asked.append(options)
            return "yes"

    config = ChatConfig(model="my-model", temperature=0.1, max_tokens=7, system="Be brief.")
    await StreamChatAgent(config, provider=Client()).respond("hi")  # type: ignore[arg-type]
    provider = ScriptedProvider()
    await StreamChatAgent(config, provider=provider).respond("hi")

    assert (asked[0]["model"], asked[0]["temperature"], asked[0]["max_tokens"]) == ("my-model", 0.1, 7)
    assert asked[0]["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    request: ModelRequest = provider.requests[0]
    assert (request.model, request.temperature, request.max_tokens) == (None, 0.1, 7)


async def test_k2_the_stream_has_no_empty_string_and_joins_to_the_response() -> None:
    """K2: as it comes, a token a second of virtual time; the first one before the second is made."""
    provider = ScriptedProvider(turns=[ScriptTurn([TextStep("one two")], times=None)], delay_s=1)
    began = anyio.current_time()
    got = [
        (text, anyio.current_time() - began)
        async for text in StreamChatAgent(MOCK, provider=provider).stream_chat("hi")
    ]

    assert got == [("one", 1), (" two", 2)]


def test_k2_chat_is_synchronous_and_whole() -> None:
    """K2: with and without streaming, on either loop; whoever streams says the same."""
    for streaming in (True, False):
        assert agent(streaming=streaming).chat("What is Python?") == SENTENCE
    assert agent().chat("What is Python?", backend="trio") == SENTENCE
    with pytest.raises(ElementError, match="empty"):
        agent().chat("  ")


async def test_k2_chat_inside_a_loop_says_what_to_write_there() -> None:
    """K2: a clear error, no stopped loop."""
    with pytest.raises(SyncInAsyncError, match=r"chat\(\) .* use 'await agent\.respond"):
        agent().chat("hi")

    assert (await agent().respond("hi")).content == SENTENCE


@pytest.mark.parametrize(("size", "chunks"), [(1, 11), (2, 6), (5, 3), (10, 2), (11, 1), (20, 1)])
async def test_k3_chunks_have_so_many_tokens_and_the_last_one_has_the_rest(size: int, chunks: int) -> None:
    """K3: the numbers of the original; every chunk but the last ends with one space."""
    got = [chunk async for chunk in agent(chunk_size=size).stream_chat("hi")]

    assert len(got) == chunks
    assert "".join(got) == SENTENCE
    assert all(chunk.endswith(" ") and not chunk.endswith("  ") for chunk in got[:-1])


@settings(max_examples=12)
@given(tokens=st.lists(st.text(max_size=4), max_size=12), size=st.integers(1, 5))
async def test_k3_no_letter_is_changed(tokens: list[str], size: int) -> None:
    """K3: any text, cut anywhere. The original split and joined words, so line ends and double spaces were lost."""
    provider = ScriptedProvider(default=lambda _: "".join(tokens), split=lambda _: tokens)
    chatting = StreamChatAgent(dataclasses.replace(MOCK, chunk_size=size), provider=provider)
    said = [token for token in tokens if token]

    got = [chunk async for chunk in chatting.stream_chat("hi")]

    assert got == ["".join(said[at : at + size]) for at in range(0, len(said), size)]


async def test_k3_a_token_waits_no_longer_than_it_may() -> None:
    """K3: the time bound, in virtual time: tokens at 1, 2, 3 … s; a chunk of 10 is sent 2.5 s after its first token."""
    provider = ScriptedProvider(default="a b c d e", delay_s=1)
    chatting = StreamChatAgent(dataclasses.replace(MOCK, chunk_size=10, chunk_wait_s=2.5), provider=provider)
    began = anyio.current_time()

    got = [(chunk, anyio.current_time() - began) async for chunk in chatting.stream_chat("hi")]

    assert got == [("a b c", 3.5), (" d e", 5)]


async def test_k4_a_strategy_streams_and_executes() -> None:
    """K4: `response`, `chunks`, `streamed`; as many chunks as the stream has; any strategy for any agent, used by many."""
    one = agent()
    strategy = StreamingStrategy(chunk_size=5)

    got = [chunk async for chunk in strategy.stream(one, {"message": "Hello"})]

    assert await strategy.execute(one, {"message": "Hello"}) == {"response": SENTENCE, "chunks": 3, "streamed": True}
    assert len(got) == 3
    assert await one.strategy.execute(one, {"message": "Hello"}) == {
        "response": SENTENCE,
        "chunks": 11,
        "streamed": True,
    }
    assert await WholeStrategy().execute(one, {"message": "a"}) == {
        "response": SENTENCE,
        "chunks": 1,
        "streamed": False,
    }
    with pytest.raises(ConfigError, match="message"):
        await strategy.execute(one, {"question": "a"})


@pytest.mark.parametrize("message", ["", "  \n"])
async def test_k4_an_empty_message_is_an_error_in_the_result(message: str) -> None:
    """K4: execute() gives a dict, stream_chat() a clear error at once."""
    for one in (agent(), agent(streaming=False)):
        told = await one.strategy.execute(one, {"message": message})
        assert told["response"] == ""
        assert "empty" in str(told["error"])
    with pytest.raises(ElementError, match="empty"):
        agent().stream_chat(message)


def test_k4_a_strategy_of_your_own_may_give_no_response() -> None:
    """K4: `No response`, as the seed's agent says."""

    class Silent:
        async def execute(self, agent: object, inputs: object) -> dict[str, object]:
            return {}

    assert StreamChatAgent(MOCK, strategy=Silent()).chat("hi") == "No response"


def test_k5_without_streaming_the_seeds_error_is_raised() -> None:
    """K5: a ValueError with the seed's words."""
    with pytest.raises(ValueError, match=r"Streaming requires StreamingStrategy \(set streaming=True in config\)"):
        agent(streaming=False).stream_chat("hi")


async def test_k6_streams_one_after_the_other_and_fifty_at_a_time_are_independent() -> None:
    """K6: on one agent; each gets its own answer, in order, interleaved in time. The original's ignored the message."""
    provider = ScriptedProvider(default="{text} is a good question", delay_s=1)
    one = StreamChatAgent(dataclasses.replace(MOCK, chunk_size=2), provider=provider)
    assert [[chunk async for chunk in one.stream_chat(str(n))] for n in range(2)] == [
        [f"{n} is", " a good", " question"] for n in range(2)
    ]
    got: dict[int, str] = {}
    began = anyio.current_time()

    async def talk(number: int) -> None:
        got[number] = "".join([chunk async for chunk in one.stream_chat(str(number))])

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(talk, number)

    assert got == {number: f"{number} is a good question" for number in range(50)}
    assert anyio.current_time() - began == 5
    await assert_all_stages_stopped()


class Endless:
    """A client that never ends by itself."""

    def __init__(self) -> None:
        self.closed = 0

    async def stream_chat(self, messages: list[dict[str, str]]):
        try:
            while True:
                await anyio.sleep(1)
                yield "on "
        finally:
            self.closed += 1


@pytest.mark.parametrize("size", [1, 2])
async def test_k6_who_leaves_early_leaves_nothing_behind(size: int) -> None:
    """K6: a bare loop, `async with`, `anext` and `aclose`, and a cancelled loop: the model's stream is closed, no task is left."""
    client = Endless()
    one = StreamChatAgent(dataclasses.replace(MOCK, chunk_size=size), provider=client)  # type: ignore[arg-type]

    async for _ in one.stream_chat("hi"):
        break
    async with one.stream_chat("hi") as stream:
        async for _ in stream:
            break
    assert client.closed >= 1
    stream = one.stream_chat("hi")
    assert (await anext(stream)).startswith("on ")
    await stream.aclose()
    with anyio.move_on_after(5):
        async for _ in one.stream_chat("hi"):
            pass
    del stream
    gc.collect()
    await anyio.wait_all_tasks_blocked()

    assert client.closed == 4
    await assert_all_stages_stopped()


async def test_k6_an_answer_is_iterated_once() -> None:
    """K6: a stream is one answer; a second iteration is told what to do."""
    stream = agent().stream_chat("hi")
    assert [text async for text in stream] != []
    with pytest.raises(RunStateError, match="ask again"):
        aiter(stream)
    with pytest.raises(RunStateError, match="ask again"):
        await stream.__aenter__()


async def test_a_failure_arrives_behind_the_text_that_had_come() -> None:
    """The original had no error path: here `StageError` with the provider's own as cause, and `RunTimeoutError`."""
    failing = Rule("", "Some words here", error=ProviderError("overloaded", "busy", True), error_after=2)
    got: list[str] = []

    with pytest.raises(StageError) as caught:
        async for text in StreamChatAgent(MOCK, provider=ScriptedProvider([failing])).stream_chat("hi"):
            got.append(text)
    slow = StreamChatAgent(dataclasses.replace(MOCK, timeout_s=2), provider=ScriptedProvider(delay_s=5))
    with pytest.raises(RunTimeoutError):
        await slow.respond("hi")

    assert got == ["Some", " words"]
    assert isinstance(caught.value.__cause__, ProviderError)


async def test_text_that_was_handed_over_is_never_said_twice() -> None:
    """K2: a provider that begins anew cannot take strings back, so the stream fails; before the first text it goes on."""

    class Again:
        name = "again"

        def __init__(self, *before: str) -> None:
            self.before = before

        async def stream(self, request: ModelRequest):
            for text in self.before:
                yield TextElement(text, id="a")
            yield TurnReset()
            yield TextElement("whole", id="b")
            yield MessageElement(Message("assistant", "whole"), id="b")

    assert [one async for one in StreamChatAgent(MOCK, provider=Again()).stream_chat("hi")] == ["whole"]
    with pytest.raises(ProviderError, match="anew"):
        [one async for one in StreamChatAgent(MOCK, provider=Again("half")).stream_chat("hi")]
    assert (await StreamChatAgent(MOCK, provider=Again("half")).respond("hi")).content == "whole"


async def test_k7_the_agent_is_a_stage_and_its_pipeline_remembers_in_a_session() -> None:
    """K7: as a node of a workflow that gives results and a run id; as a pipeline inside a pipeline; with a memory."""
    one = agent()

    def shout(element: TextElement) -> TextElement:
        return TextElement(element.text.upper())

    result = await PipelineBuilder().chain(one.as_stage("first"), shout).build().run("hi")

    assert result.run_id
    assert result.text == SENTENCE.upper()
    provider = ScriptedProvider()
    session = ChatSession(StreamChatAgent(MOCK, provider=provider).pipeline)
    for said in ("a", "b"):
        async with session.reply(said) as reply:
            await reply.message()
    assert [one.text for one in provider.requests[1].messages] == ["a", "You said: a", "b"]


def test_k8_the_demo_prints_the_seeds_text() -> None:
    """K8: what example 36 prints, as `tests/docs/test_examples.py` holds, is the seed's text byte for byte."""
    assert (ROOT / "examples/expected/36_streaming_chat_agent.txt").read_text(encoding="utf-8") == DEMO


def test_an_agent_tells_no_secret() -> None:
    """`repr` names provider, model and strategy."""
    assert repr(agent(chunk_size=2)) == (
        "<StreamChatAgent mock:gpt-3.5-turbo StreamingStrategy(chunk_size=2, max_wait_s=None)>"
    )

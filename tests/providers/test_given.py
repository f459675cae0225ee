"""`as_provider()`: a name, an address, your own client or an SDK's is a provider; and a client with `chat()` keeps its contract."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import anyio
import openai
import pytest

from streamflow import (
    ConfigError,
    ErrorElement,
    Message,
    MessageElement,
    PipelineBuilder,
    TextElement,
    TurnEnd,
    UsageElement,
)
from streamflow.errors import ProviderError
from streamflow.providers import (
    AnthropicClientProvider,
    AnthropicProvider,
    ModelRequest,
    OpenAIClientProvider,
    OpenAIProvider,
    ProviderStage,
    ScriptedProvider,
    ToolSpec,
    as_provider,
)
from streamflow.testing import check_provider

KEY = "sk-secret-0123456789"
ASKED = ModelRequest(messages=(Message("system", "Be kind."), Message("user", "hi")))


class Whole:
    """As in seed 000."""

    def __init__(self) -> None:
        self.asked: dict[str, object] = {}

    async def chat(self, messages: list[dict[str, str]], model: str, temperature: float, max_tokens: int) -> str:
        self.asked = {"messages": messages, "model": model, "temperature": temperature, "max_tokens": max_tokens}
        await anyio.lowlevel.checkpoint()
        return "Hello you"


class Streaming:
    """As in seed 000, section Streaming: `stream_chat(messages)` alone."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.closed = 0

    async def stream_chat(self, messages: list[dict[str, str]]) -> AsyncIterator[str]:
        try:
            for piece in ("Hello", " ", "you"):
                await anyio.lowlevel.checkpoint()
                yield piece
            if self.error is not None:
                raise self.error
        finally:
            self.closed += 1


async def answers(provider: object, request: ModelRequest = ASKED) -> list[str]:
    return [one.text for one in [one async for one in provider.stream(request)] if isinstance(one, TextElement)]


@pytest.mark.parametrize("name", ["openai", "openai-responses", "groq", "openrouter", "ollama", "vllm", "anthropic"])
def test_a_name_is_a_provider(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """semantics 22.2: `name:model`; the model may hold colons, the key comes from the environment and is told nowhere."""
    variables = name.partition("-")[0].upper()
    monkeypatch.setenv(f"{variables}_API_KEY", KEY)
    monkeypatch.delenv(f"{variables}_BASE_URL", raising=False)

    made = as_provider(f"{name}:some:model")

    assert isinstance(made, AnthropicProvider if name == "anthropic" else OpenAIProvider)
    assert made.name == name.partition("-")[0]
    assert "some:model" in repr(made)
    assert KEY not in repr(made)


def test_clients_and_providers_are_taken_as_they_are() -> None:
    """semantics 22.2: by one argument: a provider, a client of an SDK, an address."""
    provider = ScriptedProvider()

    assert as_provider(provider) is provider
    assert isinstance(as_provider(openai.AsyncOpenAI(api_key=KEY), model="m"), OpenAIClientProvider)
    assert isinstance(as_provider(anthropic.AsyncAnthropic(api_key=KEY), model="m"), AnthropicClientProvider)
    assert isinstance(as_provider("http://localhost:8000/v1", model="m"), OpenAIProvider)


@pytest.mark.parametrize(
    ("address", "is_sent"),
    [
        ("http://model.test:8000/v1", False),
        ("https://api.openai.com.evil.test/v1", False),
        ("https://api.openai.com/v1", True),
        ("http://gateway.test/v1", True),
    ],
)
async def test_a_key_goes_to_no_address_that_it_is_not_meant_for(
    address: str, is_sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """semantics 22.2: naming an address sends it no key of OpenAI's, unless it is the one that the environment names."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://gateway.test/v1")

    made = as_provider(address, model="m")

    headers = repr(vars(made))
    assert (KEY in headers) is is_sent


class Blocking:
    def chat(self, **_: object) -> str:
        return "late"


@pytest.mark.parametrize(
    ("given", "options", "field"),
    [
        ("nowhere:gpt", {}, "provider"),
        (KEY, {}, "provider"),
        ("ollama:", {}, "provider"),
        ("ollama:a", {"model": "b"}, "model"),
        ("openai:gpt", {}, "OPENAI_API_KEY"),
        ("anthropic:claude", {}, "ANTHROPIC_API_KEY"),
        ("groq:llama", {}, "GROQ_API_KEY"),
        (object(), {}, "provider"),
        (Whole, {}, "provider"),
        (Blocking(), {}, "provider"),
        (ScriptedProvider(), {"model": "m"}, "model"),
        (openai.OpenAI(api_key=KEY), {}, "client"),
    ],
)
def test_what_is_none_is_told_at_once_without_a_key(
    given: object, options: dict[str, str], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """semantics 22.2: a clear error where it is made; what was given may be a key, and is not repeated."""
    for one in ("OPENAI", "ANTHROPIC", "GROQ"):
        monkeypatch.delenv(f"{one}_API_KEY", raising=False)
        monkeypatch.delenv(f"{one}_BASE_URL", raising=False)

    with pytest.raises(ConfigError) as caught:
        as_provider(given, **options)

    assert caught.value.field == field
    assert KEY not in str(caught.value)


async def test_a_client_with_chat_is_asked_as_the_seed_asks() -> None:
    """C3: messages with role and content, and the parameters of seed 000; the answer is one fragment and the whole."""
    client = Whole()

    got = [one async for one in as_provider(client, model="llama-3.1-8b-instant").stream(ASKED)]

    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}]
    expected = {"messages": messages, "model": "llama-3.1-8b-instant", "temperature": 0.7, "max_tokens": 1024}
    assert client.asked == expected
    assert [type(one) for one in got] == [TextElement, UsageElement, MessageElement]
    assert got[0].id == got[2].id == got[2].message.id != ""
    assert got[0].text == got[2].message.text == "Hello you"
    assert (got[1].usage.provider, got[1].usage.model) == ("Whole", "llama-3.1-8b-instant")


async def test_a_client_with_stream_chat_streams_and_is_closed_early() -> None:
    """C3: each piece leaves as it comes; who leaves in the middle closes the client's stream."""
    client = Streaming()

    assert await answers(as_provider(client)) == ["Hello", " ", "you"]
    stream = as_provider(client).stream(ASKED)
    await anext(stream)
    await stream.aclose()

    assert client.closed == 2


@pytest.mark.parametrize(
    ("error", "code", "retryable"), [(ValueError(KEY), "protocol", False), (ConnectionError(KEY), "transport", True)]
)
async def test_what_a_client_raises_is_named_and_not_repeated(error: Exception, code: str, retryable: bool) -> None:
    """C5, sanitised: the exception's class; its text, which may be a key, is in the cause alone."""
    with pytest.raises(ProviderError) as caught:
        await answers(as_provider(Streaming(error)))

    assert (caught.value.code, caught.value.retryable) == (code, retryable)
    assert type(error).__name__ in str(caught.value)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is error


async def test_what_a_client_cannot_be_told_is_refused_before_it_is_asked() -> None:
    """semantics 18.1: a request is carried whole, or refused."""
    client = Whole()

    with pytest.raises(ProviderError, match="takes no tools"):
        await answers(as_provider(client), ModelRequest(messages=ASKED.messages, tools=(ToolSpec("weather"),)))

    assert client.asked == {}


@pytest.mark.slow
def test_a_client_with_chat_keeps_the_rules_of_providers() -> None:
    """semantics 18.14: the adapter goes through the kit, too."""

    class Client:
        async def stream_chat(self, messages: list[dict[str, str]]) -> AsyncIterator[str]:
            for word in ("hello", " ", "you"):
                await anyio.sleep(0.01)
                yield word

    check_provider(lambda _: as_provider(Client()), scripted=False, turns=20, request=ASKED)


async def test_a_failed_call_ends_its_turn_and_the_next_one_is_answered() -> None:
    """C5: `on_failure="end_turn"`: `LLM call failed: …`, the error's class, a turn that ended with an error; then the next one."""
    tries = 0

    class Busy:
        async def chat(self, **_: object) -> str:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise PermissionError(KEY)
            return "yes"

    stage = ProviderStage(as_provider(Busy(), model="m"), on_failure="end_turn")
    source = [MessageElement(Message("user", "a")), TurnEnd(), MessageElement(Message("user", "b")), TurnEnd()]

    result = await PipelineBuilder().chain(stage).build().run(source)

    (error,) = result.errors
    assert isinstance(error, ErrorElement)
    assert error.message == "LLM call failed: client 'Busy' failed: PermissionError"
    assert error.metadata["error_type"] == "PermissionError"
    assert error.stage == "model"
    assert [one.stop_reason for one in result.elements if isinstance(one, TurnEnd)] == ["error", "stop"]
    assert result.response == "yes"
    assert KEY not in repr(result.elements)


def test_an_unknown_way_to_fail_is_refused() -> None:
    """The field is named."""
    with pytest.raises(ConfigError) as caught:
        ProviderStage(ScriptedProvider(), on_failure="ignore")  # type: ignore[arg-type]

    assert caught.value.field == "on_failure"

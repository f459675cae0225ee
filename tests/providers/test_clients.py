"""A user's own clients of two SDKs as providers: the same answers, the same errors, and the client stays the user's."""

import json
import sys

import anthropic
import httpx2
import openai
import pytest
from model_memory import ASKED, KEY, PROMPT, SENT, SILENCE, WIRES, Memory, answer_of, failure_of, provider_of

from streamflow.elements import Message, MessageElement, Metadata, ToolCallPart, ToolResultPart
from streamflow.errors import ConfigError, MissingExtraError
from streamflow.providers import AnthropicClientProvider, ModelRequest, OpenAIClientProvider, ToolSpec

REQUEST = ModelRequest(
    messages=(
        Message("system", "Be kind."),
        Message("user", PROMPT),
        Message("assistant", [ToolCallPart("c1", "weather", {"city": "Rome"})]),
        Message("tool", [ToolResultPart("c1", "20")]),
    ),
    model="m",
    temperature=0.5,
    tools=(ToolSpec("weather"),),
    extra=Metadata({"made_up": {"deep": [1]}}),
)


def client_of(wire: str, memory: Memory, **options):
    """Return the SDK's client of a wire, in front of a server in memory."""
    http = httpx2.AsyncClient(transport=memory, follow_redirects=True)
    if wire == "anthropic":
        return anthropic.AsyncAnthropic(
            api_key=KEY, base_url="http://model.test:8000", http_client=http, max_retries=0, **options
        )
    return openai.AsyncOpenAI(
        api_key=KEY, base_url="http://model.test:8000/v1", http_client=http, max_retries=0, **options
    )


def adapted(wire: str, memory: Memory, **options):
    """Return a provider with the SDK's client of a wire."""
    client = client_of(wire, memory)
    if wire == "anthropic":
        return AnthropicClientProvider(client, **options)
    return OpenAIClientProvider(client, api=wire, **options)


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in SENT
        if case.partition("/")[2] in {"text", "thinking_and_tools", "parallel_tools", "reasoning_and_tools"}
    ],
)
async def test_a_client_s_answer_is_the_same_as_ours(case):
    """semantics 18.7: one mapping for whoever opens the connection."""
    wire = case.partition("/")[0]
    ours = await answer_of(provider_of(wire, Memory([SENT[case]])))
    theirs = await answer_of(adapted(wire, Memory([SENT[case]])))

    def bare(elements):
        return [element.replace(id="") for element in elements if not isinstance(element, MessageElement)]

    assert bare(theirs) == bare(ours)
    assert theirs[-1].message.parts == ours[-1].message.parts


@pytest.mark.parametrize("wire", WIRES)
async def test_a_client_sends_the_same_body_and_its_own_key(wire):
    """semantics 18.7: nothing that the SDK does not know is lost on the way."""
    ours, theirs = Memory([SENT[f"{wire}/text"]]), Memory([SENT[f"{wire}/text"]])
    await answer_of(
        provider_of(wire, ours, **({} if wire == "anthropic" else {"max_tokens_field": "max_tokens"})), REQUEST
    )
    await answer_of(adapted(wire, theirs), REQUEST)
    [mine], [sent] = ours.requests, theirs.requests

    assert json.loads(sent.content) == json.loads(mine.content)
    assert sent.url == mine.url
    assert sent.headers["accept-encoding"] == "identity"
    assert KEY in (sent.headers.get("authorization") or sent.headers["x-api-key"])


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("server", "code", "retryable"),
    [
        pytest.param({"chunks": [b'{"error": {"message": "m"}}'], "status": 401}, "auth", False, id="401"),
        pytest.param({"status": 429, "headers": {"retry-after": "7"}}, "rate_limited", True, id="429"),
        pytest.param({"status": 529}, "overloaded", True, id="529"),
        pytest.param({"status": 400}, "bad_request", False, id="400"),
        pytest.param({"status": 307, "headers": {"location": "http://other.test/"}}, "protocol", False, id="307"),
        pytest.param({"error": httpx2.ConnectError("no")}, "transport", True, id="connect"),
        pytest.param({"error": httpx2.ReadTimeout("no")}, "transport", True, id="silent"),
        pytest.param({"chunks": [b"<html>"], "headers": {"content-type": "text/html"}}, "protocol", False, id="page"),
        pytest.param({"headers": {"content-type": "application/vnd.amazon.eventstream"}}, "protocol", False, id="aws"),
        pytest.param({"chunks": [b": hello\n\n", httpx2.ReadError("no")]}, "truncated", True, id="broken"),
        pytest.param({"chunks": [b": hello\n\n", httpx2.ReadTimeout("no")]}, "transport", True, id="stalled"),
    ],
)
async def test_a_client_s_failures_are_ours(wire, server, code, retryable):
    """semantics 18.5: one taxonomy, whoever noticed; redirects are not followed, whatever the client is set to."""
    memory = Memory(**server)
    error = await failure_of(adapted(wire, memory))

    assert (error.code, error.retryable) == (code, retryable)
    assert "model.test:8000" in str(error)
    assert error.retry_after_s == (7 if code == "rate_limited" else None)
    assert len(memory.requests) == 1


@pytest.mark.parametrize("wire", WIRES)
async def test_leaving_an_answer_closes_the_response_and_not_the_client(wire):
    """semantics 18.7: who opened it closes it."""
    memory = Memory([SENT[f"{wire}/text"][:-60], SILENCE])
    provider = adapted(wire, memory)
    stream = provider.stream(ASKED)
    await anext(stream)
    await stream.aclose()

    assert memory.body.closed
    assert not memory.closed
    memory.body = Memory([SENT[f"{wire}/text"]]).body
    assert (await answer_of(provider))[-1].message.text == "Hello, wörld 🌍"


def test_a_client_that_cannot_be_waited_for_is_refused():
    """Told in the constructor, by what it is."""
    with pytest.raises(ConfigError, match="client: OpenAI is given; give an asynchronous client of openai"):
        OpenAIClientProvider(openai.OpenAI(api_key=KEY))
    with pytest.raises(ConfigError, match="give an asynchronous client of anthropic"):
        AnthropicClientProvider(anthropic.Anthropic(api_key=KEY))


def test_without_the_sdk_the_error_names_the_extra(monkeypatch):
    """Told in the constructor, with the command that helps."""
    for name, kind in (("openai", OpenAIClientProvider), ("anthropic", AnthropicClientProvider)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtraError, match=name):
            kind(object())


def test_its_repr_tells_the_server_and_the_model():
    """semantics 18.8: and nothing of the client."""
    shown = repr(OpenAIClientProvider(client_of("chat", Memory()), model="m"))

    assert shown == "<OpenAIClientProvider 'openai' model.test:8000 model='m'>"

"""What providers over HTTP share: time limits, the words of failures, headers, connections; in front of a server in memory."""

import anyio
import httpx2
import pytest
from model_memory import (
    ASKED,
    KEY,
    SENT,
    SILENCE,
    WIRES,
    Memory,
    answer_of,
    delta,
    event,
    failure_of,
    provider_of,
)

from streamflow.elements import Message, TextElement, UsageElement
from streamflow.errors import ConfigError
from streamflow.providers import AnthropicProvider, ModelRequest, OpenAIProvider

BUSY = b'{"type": "error", "error": {"type": "%s", "message": "m"}}'


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_that_does_not_begin_in_time_is_given_up(wire):
    """semantics 18.6: what only keeps the connection alive is no beginning; the response is closed."""
    memory = Memory([b": ping\n\n", *[4.0, b": ping\n\n"] * 9])
    error = await failure_of(provider_of(wire, memory, first_token_timeout_s=10))

    assert (error.code, error.retryable) == ("transport", True)
    assert "began no answer within 10 s; raise first_token_timeout_s" in str(error)
    assert anyio.current_time() == pytest.approx(10, abs=0.5)
    assert memory.body.closed


class Slow(Memory):
    """A server that takes its time before the head of its response."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await anyio.sleep(60)
        return await super().handle_async_request(request)


async def test_the_head_of_the_response_counts_as_well():
    """semantics 18.6: the limit is from the call on."""
    error = await failure_of(provider_of("chat", Slow([SENT["chat/text"]]), first_token_timeout_s=10))

    assert "began no answer within 10 s" in str(error)


async def test_an_answer_that_has_begun_has_no_such_limit():
    """semantics 18.6: the limit is for the first element alone."""
    events = [part + b"\n\n" for part in SENT["chat/text"].split(b"\n\n") if part]
    memory = Memory([piece for part in events for piece in (part, 4.0)])

    assert (await answer_of(provider_of("chat", memory, first_token_timeout_s=5)))[-1].message.text == "Hello, wörld 🌍"


async def test_a_server_that_never_ends_its_stream_has_a_moment_for_its_usage():
    """semantics 18.3: no `[DONE]`, no end: the whole comes 5 seconds after the finish reason, with usage that came until then."""
    usage = event(usage={"prompt_tokens": 3})
    memory = Memory([event(delta("stop", content="a")), 1.0, usage, SILENCE])
    got = await answer_of(provider_of("chat", memory))

    assert [type(one) for one in got[:2]] == [TextElement, UsageElement]
    assert got[1].usage.input_tokens == 3
    assert anyio.current_time() == pytest.approx(6, abs=0.5)


@pytest.mark.parametrize(
    ("status", "word", "code", "retryable"),
    [
        (400, "invalid_request_error", "bad_request", False),
        (401, "authentication_error", "auth", False),
        (402, "billing_error", "rate_limited", False),
        (403, "permission_error", "auth", False),
        (404, "not_found_error", "bad_request", False),
        (413, "request_too_large", "bad_request", False),
        (429, "rate_limit_error", "rate_limited", True),
        (500, "api_error", "overloaded", True),
        (504, "timeout_error", "overloaded", True),
        (529, "overloaded_error", "overloaded", True),
        (400, "content_filter", "refused", False),
        (400, "insufficient_quota", "rate_limited", False),
    ],
)
async def test_each_wire_s_own_words_for_a_failure_are_understood(status, word, code, retryable):
    """semantics 18.5: by its status before the answer, by its word inside of it."""
    body = BUSY % word.encode()
    for wire in WIRES:
        before = await failure_of(provider_of(wire, Memory([body], status=status)))
        assert (before.code, before.retryable) == (code, retryable)
        inside = await failure_of(provider_of(wire, Memory([b"data: " + body + b"\n\n"])))
        assert (inside.code, inside.retryable) == (code, retryable)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "3"}, 3),
        ({"retry-after": "9" * 5000}, None),
    ],
    ids=["ms", "both", "absurd"],
)
async def test_a_wait_may_be_said_in_milliseconds(headers, seconds):
    """semantics 18.5: `retry-after-ms` is the more exact one; what is no number is none."""
    assert (await failure_of(provider_of("chat", Memory(status=429, headers=headers)))).retry_after_s == seconds


@pytest.mark.parametrize("wire", WIRES)
async def test_each_wire_has_its_address_and_its_headers(wire):
    """The key where the server looks for it, further headers as they were given."""
    memory = Memory([SENT[f"{wire}/text"]])
    await answer_of(provider_of(wire, memory, headers={"X-Gateway": " g "}))
    [sent] = memory.requests
    paths = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "anthropic": "/v1/messages"}

    assert sent.url.path == paths[wire]
    assert sent.headers["x-gateway"] == "g"
    if wire == "anthropic":
        assert (sent.headers["x-api-key"], sent.headers["anthropic-version"]) == (KEY, "2023-06-01")
        assert "authorization" not in sent.headers
    else:
        assert sent.headers["authorization"] == f"Bearer {KEY}"


async def test_a_header_can_replace_the_version_of_the_wire():
    """`AnthropicProvider(headers=)`: what is sent for everybody is no more than a default."""
    memory = Memory([SENT["anthropic/text"]])
    await answer_of(
        provider_of("anthropic", memory, headers={"Anthropic-Version": "2030-01-01", "anthropic-beta": "b"})
    )

    assert memory.requests[0].headers["anthropic-version"] == "2030-01-01"
    assert memory.requests[0].headers["anthropic-beta"] == "b"


@pytest.mark.parametrize("wire", WIRES)
async def test_leaving_an_answer_closes_the_response(wire):
    """`Provider.stream` — Cancellation: closing the generator and cancelling the task do the same."""
    memory = Memory([SENT[f"{wire}/text"][:-60], SILENCE])
    stream = provider_of(wire, memory).stream(ASKED)
    await anext(stream)
    await stream.aclose()
    assert memory.body.closed

    memory = Memory([SENT[f"{wire}/text"][:-60], SILENCE])
    with anyio.move_on_after(1) as scope:
        await answer_of(provider_of(wire, memory))
    assert scope.cancelled_caught
    assert memory.body.closed


def test_at_openai_s_own_address_the_limit_of_tokens_has_its_new_name():
    """`OpenAIProvider(max_tokens_field=)`: imitators know the old name alone, and OpenAI's newer models refuse it."""
    request = ModelRequest(messages=(Message("user", "Hi"),), max_tokens=7)
    official = OpenAIProvider("https://api.openai.com/v1")._wire.body(request, "m")
    told = OpenAIProvider("http://a.test", max_tokens_field="max_completion_tokens")._wire.body(request, "m")
    other = OpenAIProvider("http://a.test")._wire.body(request, "m")

    assert official["max_completion_tokens"] == told["max_completion_tokens"] == other["max_tokens"] == 7
    assert "max_tokens" not in {**official, **told}


@pytest.mark.parametrize(
    ("kind", "options", "field"),
    [
        (OpenAIProvider, {"api": "realtime"}, "api"),
        (OpenAIProvider, {"thoughts_field": "thoughts"}, "thoughts_field"),
        (OpenAIProvider, {"thoughts_field": "reasoning", "api": "responses"}, "thoughts_field"),
        (OpenAIProvider, {"first_token_timeout_s": 0}, "first_token_timeout_s"),
        (OpenAIProvider, {"headers": {"a b": "c"}}, "headers"),
        (AnthropicProvider, {"max_tokens": 0}, "max_tokens"),
        (AnthropicProvider, {"timeout_s": -1}, "timeout_s"),
        (AnthropicProvider, {"base_url": "ftp://a.test"}, "base_url"),
        (AnthropicProvider, {"api_key": "ü"}, "api_key"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_options_out_of_range_are_refused(kind, options, field):
    """Wrong arguments fail in the constructor, by name."""
    with pytest.raises(ConfigError, match=field):
        kind(**{"base_url": "http://model.test/v1"} | options)


def test_the_environment_says_whom_to_ask_on_anthropic_s_wire(monkeypatch):
    """`AnthropicProvider.from_env()`: the variables that the vendor's own tools know."""
    for name in ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_MODEL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"ANTHROPIC_API_KEY: is not set, nor is ANTHROPIC_BASE_URL"):
        AnthropicProvider.from_env()
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_MODEL", "m")
    assert repr(AnthropicProvider.from_env()) == "<AnthropicProvider 'anthropic' https://api.anthropic.com model='m'>"
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    assert "http://127.0.0.1:1" in repr(AnthropicProvider.from_env())

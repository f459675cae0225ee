"""Cassettes: what servers answered goes through the same parser again, and holds nothing secret."""

from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path

import httpx2
import pytest

from streamflow.elements import Message
from streamflow.errors import ConfigError, DecodeError, ProviderError
from streamflow.providers import (
    AnthropicProvider,
    CutStep,
    ErrorStep,
    ModelRequest,
    OpenAIProvider,
    ScriptedProvider,
    ScriptTurn,
    TextStep,
    ThinkingStep,
    ToolCallStep,
)
from streamflow.testing import FakeLLM, fake_transport, load_cassette, record_cassette, run_virtual

KEY = "sk-planted-0123456789"
ANSWER = [ThinkingStep("Hm.", "proof"), TextStep("Hello, wörld 🌍!"), ToolCallStep("f", {"x": 1})]


def transport(*turns) -> httpx2.AsyncBaseTransport:
    provider = ScriptedProvider(turns=[ScriptTurn(list(steps)) for steps in turns])
    return fake_transport(FakeLLM(provider))


def provider(wire: str, client):
    if wire == "anthropic":
        return AnthropicProvider("http://fake", api_key=KEY, client=client)
    return OpenAIProvider("http://fake/v1", api=wire, api_key=KEY, client=client)


async def ask(asked, model: str = "m") -> list:
    request = ModelRequest(messages=(Message("user", "a private question"),), model=model)
    async with aclosing(asked.stream(request)) as stream:
        return [element.replace(id="") for element in [one async for one in stream][:-1]]


def record(path: Path, *turns, wire: str = "chat", model: str = "m", **options) -> list:
    """Record an answer for each turn, and return what came of them."""

    async def main() -> list:
        came = []
        async with record_cassette(path, transport=transport(*turns), **options) as client:
            for _ in turns:
                try:
                    came.append(await ask(provider(wire, client), model))
                except ProviderError as error:
                    came.append(error.args)
        return came

    return run_virtual(main)


def replay(cassette, count: int, *, wire: str = "chat", backend: str = "asyncio") -> list:
    async def main() -> list:
        came = []
        async with cassette.client() as client:
            for _ in range(count):
                try:
                    came.append(await ask(provider(wire, client)))
                except ProviderError as error:
                    came.append(error.args)
        return came

    return run_virtual(main, backend=backend)


@pytest.mark.parametrize("model", ["m", "m?split=3"])
@pytest.mark.parametrize("wire", ["chat", "responses", "anthropic"])
def test_what_was_recorded_is_replayed_through_the_same_parser(tmp_path, wire, model):
    """semantics 18.15: the same elements, the same failures, however the bytes were cut."""
    turns = (ANSWER, [ErrorStep("rate_limited", "no", retry_after_s=7)], [TextStep("a"), CutStep()])
    recorded = record(tmp_path / "a.json", *turns, wire=wire, model=model)
    cassette = load_cassette(tmp_path / "a.json")

    assert replay(cassette, 3, wire=wire, backend="trio") == recorded
    assert recorded[1][0::3] == ("rate_limited", 7.0)
    assert recorded[2][0] == "truncated"
    cassette.assert_consumed()


def test_nothing_secret_is_on_a_cassette(tmp_path):
    """semantics 18.15: no header and no text of a request; a key that a server quotes is taken out, even cut in two."""
    quoted = [TextStep(f"your key is {KEY}")]
    record(tmp_path / "a.json", quoted, [ErrorStep("bad_request", f"bad key {KEY}")], model="m?split=4")
    content = (tmp_path / "a.json").read_text()

    assert KEY not in content
    assert "private" not in content
    assert "***" in json.dumps([one["chunks"] for one in json.loads(content)["answers"]])
    assert "authorization" not in content.lower()


def test_a_request_that_the_cassette_does_not_answer_is_told(tmp_path):
    """semantics 18.15: one too many, to another path; and answers that nobody asked for."""
    record(tmp_path / "a.json", [TextStep("a")])
    with pytest.raises(AssertionError, match="no answer to request 2"):
        replay(load_cassette(tmp_path / "a.json"), 2)
    with pytest.raises(AssertionError, match="goes to /v1/responses, but the cassette answers /v1/chat/completions"):
        replay(load_cassette(tmp_path / "a.json"), 1, wire="responses")
    with pytest.raises(AssertionError, match="1 answers of the cassette were not asked for"):
        load_cassette(tmp_path / "a.json").assert_consumed()

    assert len(replay(load_cassette(tmp_path / "a.json", repeat=True), 3)) == 3


def test_a_cassette_is_bounded_and_written_whole_or_not_at_all(tmp_path):
    """semantics 18.15: too much is an error, and what was there before stays."""
    record(tmp_path / "a.json", [TextStep("a")])
    before = (tmp_path / "a.json").read_bytes()
    with pytest.raises(DecodeError, match="larger than max_bytes=100"):
        record(tmp_path / "a.json", [TextStep("a")], max_bytes=100)

    assert (tmp_path / "a.json").read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(ConfigError, match="larger than max_bytes=10"):
        load_cassette(tmp_path / "a.json", max_bytes=10)
    with pytest.raises(ConfigError, match="1 or more"):
        record(tmp_path / "a.json", max_bytes=0)
    with pytest.raises(ConfigError, match="cannot be written"):
        record(tmp_path / "gone" / "a.json", [TextStep("a")])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read"),
        (b"{", "no cassette"),
        (b"[]", "no cassette"),
        (b"[" * 9999, "no cassette"),
        (b'{"version": 2, "answers": []}', "version 2, not 1; record it anew"),
        (b'{"version": 1, "answers": [{}]}', "no cassette.*path"),
    ],
    ids=range(6),
)
def test_what_is_no_cassette_is_refused(tmp_path, content, complaint):
    """Wrong input fails when it is loaded."""
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ConfigError, match=complaint):
        load_cassette(tmp_path / "a.json")

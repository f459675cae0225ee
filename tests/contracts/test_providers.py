"""Every provider that ships keeps the rules of providers; one that is not here fails."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import anthropic
import openai
import pytest
from fake_server import KEY, warm_sdks

import streamflow.providers
from streamflow.elements import Message
from streamflow.providers import (
    AnthropicClientProvider,
    AnthropicProvider,
    FallbackProvider,
    ModelRequest,
    OpenAIClientProvider,
    OpenAIProvider,
    Provider,
    RetryProvider,
    TimeoutProvider,
)
from streamflow.testing import FakeLLM, check_provider, fake_client, load_cassette

warm_sdks()
RECORDED = load_cassette(Path(__file__).parent / "answers.cassette.json", repeat=True)
OF_ANTHROPIC = ("thinking", "tools", "refusals", "citations")


class Case(NamedTuple):
    """A provider, how it is made, and what is known of it."""

    kind: type
    make: object
    options: dict


@asynccontextmanager
async def openai_sdk(fake: FakeLLM, api: str):
    async with fake_client(fake) as http:
        client = openai.AsyncOpenAI(base_url="http://fake/v1", api_key=KEY, http_client=http, max_retries=0)
        client._platform = (
            "Linux"  # or the first request would look it up in a thread, which virtual time knows nothing of
        )
        yield OpenAIClientProvider(client, api=api)


@asynccontextmanager
async def anthropic_sdk(fake: FakeLLM):
    async with fake_client(fake) as http:
        client = anthropic.AsyncAnthropic(base_url="http://fake", api_key=KEY, http_client=http, max_retries=0)
        client._platform = "Linux"
        yield AnthropicClientProvider(client)


def over_http(fake: FakeLLM, **options) -> OpenAIProvider:
    return OpenAIProvider("http://fake/v1", api_key=KEY, client=fake_client(fake), **options)


SECRET = {"secret": KEY, "turns": 20}
CASES = {
    "scripted": Case(streamflow.providers.ScriptedProvider, lambda fake: fake.provider, {}),
    "openai chat": Case(OpenAIProvider, over_http, SECRET),
    "openai responses": Case(OpenAIProvider, lambda fake: over_http(fake, api="responses"), SECRET),
    "anthropic": Case(
        AnthropicProvider,
        lambda fake: AnthropicProvider("http://fake", api_key=KEY, client=fake_client(fake)),
        {**SECRET, "features": OF_ANTHROPIC},
    ),
    "openai sdk chat": Case(OpenAIClientProvider, lambda fake: openai_sdk(fake, "chat"), SECRET),
    "openai sdk responses": Case(OpenAIClientProvider, lambda fake: openai_sdk(fake, "responses"), SECRET),
    "anthropic sdk": Case(AnthropicClientProvider, anthropic_sdk, {**SECRET, "features": OF_ANTHROPIC}),
    "retry": Case(RetryProvider, lambda fake: RetryProvider(fake.provider), {"turns": 200}),
    "fallback": Case(FallbackProvider, lambda fake: FallbackProvider(fake.provider, fake.provider), {"turns": 200}),
    "timeout": Case(
        TimeoutProvider,
        lambda fake: TimeoutProvider(fake.provider, first_token_timeout_s=99, idle_timeout_s=99, timeout_s=999),
        {"turns": 200},
    ),
    "cassette": Case(
        OpenAIProvider,
        lambda _: OpenAIProvider("http://recorded/v1", client=RECORDED.client()),
        {"scripted": False, "turns": 20, "request": ModelRequest(messages=(Message("user", "hi"),), model="m")},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_provider_keeps_the_rules(case):
    """semantics 18.14: all rules, on asyncio and trio, over scripted answers and failures."""
    check_provider(case.make, **case.options)


def test_every_public_provider_is_here():
    """semantics 18.14: whoever adds a provider proves it."""
    public = [getattr(streamflow.providers, name) for name in streamflow.providers.__all__]
    providers = {one for one in public if inspect.isclass(one) and hasattr(one, "stream") and one is not Provider}

    assert providers == {case.kind for case in CASES.values()}

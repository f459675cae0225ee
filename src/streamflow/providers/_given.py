"""A provider by one argument: a name, an address, a client that you have, or a provider.

Above: `apps`, `cli`, users. Below: the providers.
"""

from __future__ import annotations

import inspect
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from ..errors import ConfigError
from ._anthropic import AnthropicProvider
from ._chat_client import ChatClientProvider, is_chat_client
from ._clients import AnthropicClientProvider, OpenAIClientProvider
from ._openai import OpenAIProvider
from ._scripted import ScriptedProvider

if TYPE_CHECKING:
    from ._chat_client import ChatClient, StreamingChatClient
    from ._clients import SDKClient
    from ._openai import OpenAIAPI
    from ._protocol import Provider

__all__ = ["PROVIDER_NAMES", "ProviderLike", "as_provider"]

ProviderLike: TypeAlias = "str | Provider | ChatClient | StreamingChatClient | SDKClient"
"""What `as_provider()` takes: `name:model`, an address, a provider, a client with `chat(…)`, or a client of a vendor's SDK."""

_MOCK_ANSWER = "This is a streaming response from the agent with multiple tokens."


class _Server(NamedTuple):
    """A server that speaks a wire of OpenAI's."""

    base_url: str
    variables: str
    needs_key: bool = True


_SERVERS = {
    "openai": _Server("https://api.openai.com/v1", "OPENAI"),
    "openai-responses": _Server("https://api.openai.com/v1", "OPENAI"),
    "groq": _Server("https://api.groq.com/openai/v1", "GROQ"),
    "openrouter": _Server("https://openrouter.ai/api/v1", "OPENROUTER"),
    "ollama": _Server("http://127.0.0.1:11434/v1", "OLLAMA", needs_key=False),
    "vllm": _Server("http://127.0.0.1:8000/v1", "VLLM", needs_key=False),
}

PROVIDER_NAMES: tuple[str, ...] = (*_SERVERS, "anthropic", "scripted", "mock")
"""The names that `as_provider()` knows."""


def as_provider(given: ProviderLike, *, model: str | None = None) -> Provider:
    """Return the provider that is meant. It connects to nothing yet.

    ```python
    as_provider("openai:gpt-5-mini")            # the key is in OPENAI_API_KEY
    as_provider("ollama:llama3.2")              # behind the name, all is the model: also "ollama:qwen3:4b"
    as_provider("http://localhost:8000/v1")     # any server that speaks OpenAI's chat completions
    as_provider(openai.AsyncOpenAI(), model="gpt-5-mini")
    as_provider(MyClient())                     # async chat(messages, model, temperature, max_tokens), or stream_chat(messages)
    ```

    For a name, `<NAME>_API_KEY`, `<NAME>_BASE_URL` and `<NAME>_MODEL` of the environment say what is not given; keys come from
    there alone. An address is sent no key, unless it is OpenAI's or that of `OPENAI_BASE_URL`. `scripted` echoes what it is told,
    `mock` always says one sentence; both need no server.

    Args:
        given: A provider is returned as it is.
        model: Name of the model, where `given` does not say it.

    Raises:
        ConfigError: If it is none of these, a key is missing, or two models are named. No text of an error has a key.
        MissingExtraError: If a package that the provider needs is not installed.
    """
    if isinstance(given, str):
        return _named(given, model)
    if isinstance(given, type):
        raise ConfigError("provider", f"the class {cast('type', given).__name__} is given; give an object of it")
    kinds = {(one.__module__.partition(".")[0], one.__name__) for one in type(given).__mro__}
    if kinds & {("openai", "AsyncOpenAI"), ("openai", "OpenAI")}:
        return OpenAIClientProvider(cast("Any", given), model=model)
    if kinds & {("anthropic", "AsyncAnthropic"), ("anthropic", "Anthropic")}:
        return AnthropicClientProvider(cast("Any", given), model=model)
    if inspect.isroutine(getattr(given, "stream", None)) and isinstance(getattr(given, "name", None), str):
        if model is not None:
            raise ConfigError("model", "a provider has its own; name the model where the provider is made")
        return cast("Provider", given)
    if is_chat_client(given):
        return ChatClientProvider(given, model=model)
    known = "a name as in 'openai:gpt-5-mini', an address, a Provider, a client with async chat(), or one of an SDK"
    raise ConfigError("provider", f"{type(given).__name__} is none; give {known}")


def _named(given: str, model: str | None) -> Provider:
    if re.match(r"https?://", given):
        # A key goes where it was meant for, and to no other address that somebody names.
        key, address, _ = _environment("OPENAI")
        is_its_own = given == address or given.startswith("https://api.openai.com/")
        return OpenAIProvider(given, model=model, api_key=key if is_its_own else None)
    name, colon, named = given.partition(":")
    if name not in PROVIDER_NAMES:
        # What was given is not repeated: it may be a key that was put into the wrong place.
        known = ", ".join(PROVIDER_NAMES)
        raise ConfigError("provider", f"there is no provider of this name; give {known}, as in 'openai:gpt-5-mini'")
    if colon and (not named.strip() or named.strip() != named):
        raise ConfigError("provider", f"'{name}:' names no model; give '{name}' or '{name}:<model>'")
    if named and model is not None and named != model:
        raise ConfigError("model", "is named twice, and differently; name it once")
    chosen = named or model
    if name == "scripted":
        return ScriptedProvider()
    if name == "mock":
        return ScriptedProvider(default=lambda _: _MOCK_ANSWER, split=_split_behind, name="mock")
    if name == "anthropic":
        key, address, default = _environment("ANTHROPIC")
        _require(key, address, "ANTHROPIC")
        return AnthropicProvider(address or "https://api.anthropic.com", model=chosen or default, api_key=key)
    server = _SERVERS[name]
    key, address, default = _environment(server.variables)
    if server.needs_key:
        _require(key, address, server.variables)
    api: OpenAIAPI = "responses" if name == "openai-responses" else "chat"
    provider_name = "openai" if name == "openai-responses" else name
    return OpenAIProvider(address or server.base_url, model=chosen or default, api_key=key, api=api, name=provider_name)


def _environment(variables: str) -> tuple[str | None, str | None, str | None]:
    """Return key, address and model as the environment says; None for what it does not."""
    key, address, model = (os.environ.get(f"{variables}_{one}") or None for one in ("API_KEY", "BASE_URL", "MODEL"))
    return key, address, model


def _require(key: str | None, address: str | None, variables: str) -> None:
    if key is None and address is None:
        message = f"is not set, nor is {variables}_BASE_URL; set the key, or the address of a server that needs none"
        raise ConfigError(f"{variables}_API_KEY", message)


def _split_behind(text: str) -> list[str]:
    """Return the words of a text, each with the space behind it."""
    return re.findall(r"\s*\S+\s*", text)

"""Which model the chat talks to: the options first, then the environment, else the offline provider.

Keys come out of the environment alone: a command line is seen by every process of the machine.

Above: `_chat`. Below: `providers`.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ConfigError
from ..providers import AnthropicProvider, OpenAIProvider
from ._offline import offline_provider

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from ..providers import Provider
    from ._options import ModelOptions

__all__ = ["Connection", "connection_for"]

_OPENAI = "https://api.openai.com/v1"
_ANTHROPIC = "https://api.anthropic.com"
_KEY = "OPENAI_API_KEY"
_WORD_PAUSE_S = 0.03  # quick reading speed: fast enough not to bore, slow enough to be seen

_HOW_TO_CONNECT = """\
Offline: a scripted provider answers by rules. No model is asked, and nothing leaves this machine.
To talk to a real model, name any OpenAI-compatible server with these options:
  --base-url http://localhost:11434/v1 --model llama3.2
or set OPENAI_BASE_URL, OPENAI_MODEL and OPENAI_API_KEY; for Anthropic: --provider anthropic and ANTHROPIC_API_KEY."""


class Connection(NamedTuple):
    """The model, and what to tell the user about it."""

    provider: Provider
    """Who answers."""
    notice: str
    """What is said at the start; never a key."""
    opened: AbstractAsyncContextManager[object]
    """Entered for the time of the chat: keeps what is open between the calls."""
    is_offline: bool = False
    """Whether no model is asked."""


def connection_for(options: ModelOptions, *, is_watched: bool) -> Connection:
    """Return who answers. Connects to nothing yet, but takes long enough to be felt in an event loop.

    Args:
        options: What the user asked for.
        is_watched: Whether somebody sees the words come, so that the offline provider takes its time.

    Raises:
        ConfigError: If an option or variable is wrong, or does not suffice.
        MissingExtraError: If the HTTP client is not installed.
    """
    is_anthropic = options.provider == "anthropic"
    base_url, key = (_anthropic_server if is_anthropic else _server)(options, os.environ)
    if base_url is None:
        pause_s = _WORD_PAUSE_S if is_watched else 0.0
        provider = offline_provider(pause_s if options.delay_s is None else options.delay_s)
        return Connection(provider, _HOW_TO_CONNECT, nullcontext(), is_offline=True)
    model = options.model or os.environ.get("ANTHROPIC_MODEL" if is_anthropic else "OPENAI_MODEL") or None
    kind = AnthropicProvider if is_anthropic else OpenAIProvider
    server = kind(base_url, model=model, api_key=key, timeout_s=options.timeout_s)
    which = "the server's own choice of model" if model is None else f"model {model}"
    return Connection(server, f"Server: {base_url}, {which}, {'with' if key else 'without'} a key.", server)


def _server(options: ModelOptions, environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return address and key of the server; no address: offline."""
    if options.offline or options.provider == "scripted":
        return None, None
    key = _key(options, environment, _KEY)
    base_url = options.base_url or environment.get("OPENAI_BASE_URL") or (_OPENAI if key else None)
    if base_url is None and options.provider == "openai":
        raise ConfigError("--provider", f"needs a server: set {_KEY}, or give --base-url")
    if base_url is None and options.model is not None:
        raise ConfigError("--model", f"needs a server: give --base-url, or set OPENAI_BASE_URL or {_KEY}")
    return base_url, key


def _anthropic_server(options: ModelOptions, environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return address and key of a server that speaks Anthropic's wire."""
    if options.offline:
        return None, None
    key = _key(options, environment, "ANTHROPIC_API_KEY")
    base_url = options.base_url or environment.get("ANTHROPIC_BASE_URL") or (_ANTHROPIC if key else None)
    if base_url is None:
        raise ConfigError("--provider", "needs a server: set ANTHROPIC_API_KEY, or give --base-url")
    return base_url, key


def _key(options: ModelOptions, environment: Mapping[str, str], usual: str) -> str | None:
    key = environment.get(options.api_key_env or usual) or None
    if options.api_key_env is not None and key is None:
        raise ConfigError("--api-key-env", f"the environment variable {options.api_key_env} is not set, or empty")
    return key

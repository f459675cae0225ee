"""Models behind an Anthropic-compatible HTTP server: Anthropic, and the local servers that speak its wire too.

Above: users. Below: `_http`, `_wires`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar, Self

from ..errors import ConfigError
from ._call import Limits
from ._http import HTTPProvider, checked_key
from ._wires import AnthropicWire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._http import HTTPClient

__all__ = ["AnthropicProvider", "anthropic_wire"]

_ANTHROPIC = "https://api.anthropic.com"
_VERSION = "2023-06-01"


class AnthropicProvider(HTTPProvider):
    """A `Provider` for every server that speaks Anthropic's Messages, such as Anthropic, llama.cpp and Ollama.

    Redirects are not followed, certificates are verified, and neither errors nor `repr` nor log records hold the key or a message.
    What goes in and comes out is in the guide to models. Connections are kept as `OpenAIProvider` keeps them.

    ```python
    async with AnthropicProvider(api_key=key, model="claude-sonnet-5") as provider:
        pipeline = PipelineBuilder().chain(ProviderStage(provider)).build()
    ```

    Args:
        base_url: Address that `/v1/messages` is appended to.
        model: Name of the model for requests that name none; None: left to the server.
        api_key: Sent as `x-api-key`; None: no such header.
        max_tokens: Most tokens to answer with for requests that do not say, which this wire wants to know; tokens to think with
            come on top.
        timeout_s: Longest silence of the server, in seconds, before and between the pieces of an answer.
        first_token_timeout_s: Longest time from the call to the first element of the answer, in seconds; None: no such limit.
        connect_timeout_s: Longest time to connect, in seconds.
        max_event_bytes: Largest server-sent event.
        max_answer_chars: Longest answer: text, thoughts, arguments of tools.
        headers: Further headers, such as `anthropic-beta`; secret like the key.
        name: What it is called in errors and usage.
        client: Your own client, with your own proxies or certificates. It is used as it is, and closed by you.

    Raises:
        ConfigError: If `base_url` is no address, or holds credentials or a query; if the key or a header cannot be sent; if a
            number is out of its range.
        MissingExtraError: If `httpx2` is not installed.
    """

    _key_hint: ClassVar[str] = "api_key or ANTHROPIC_API_KEY"

    def __init__(
        self,
        base_url: str = _ANTHROPIC,
        *,
        model: str | None = None,
        api_key: str | None = None,
        max_tokens: int = 8192,
        timeout_s: float = 60.0,
        first_token_timeout_s: float | None = None,
        connect_timeout_s: float = 10.0,
        max_event_bytes: int = 1024 * 1024,
        max_answer_chars: int = 10_000_000,
        headers: Mapping[str, str] | None = None,
        name: str = "anthropic",
        client: HTTPClient | None = None,
    ) -> None:
        key = checked_key(api_key)
        super().__init__(
            anthropic_wire(max_tokens),
            base_url,
            auth={} if key is None else {"x-api-key": key},
            headers={"anthropic-version": _VERSION, **{name.lower(): value for name, value in (headers or {}).items()}},
            model=model,
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
            limits=Limits(first_token_timeout_s, max_event_bytes, max_answer_chars),
            name=name,
            client=client,
        )

    @classmethod
    def from_env(cls) -> Self:
        """Return a provider as `ANTHROPIC_BASE_URL`, `ANTHROPIC_API_KEY` and `ANTHROPIC_MODEL` say.

        Raises:
            ConfigError: If neither an address nor a key is set, or a value is wrong.
            MissingExtraError: If `httpx2` is not installed.
        """
        base_url, api_key = os.environ.get("ANTHROPIC_BASE_URL"), os.environ.get("ANTHROPIC_API_KEY")
        if not base_url and not api_key:
            message = "is not set, nor is ANTHROPIC_BASE_URL; set the key, or the address of a server that needs none"
            raise ConfigError("ANTHROPIC_API_KEY", message)
        model = os.environ.get("ANTHROPIC_MODEL") or None
        return cls(base_url or _ANTHROPIC, model=model, api_key=api_key or None)


def anthropic_wire(max_tokens: int) -> AnthropicWire:
    """Return the wire.

    Raises:
        ConfigError: If the limit is not positive.
    """
    if max_tokens < 1:
        raise ConfigError("max_tokens", f"{max_tokens} is out of range; give 1 or more")
    return AnthropicWire(max_tokens)

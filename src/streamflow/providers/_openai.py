"""Models behind an OpenAI-compatible HTTP server: OpenAI, vLLM, llama.cpp, Ollama and others.

Above: users. Below: `_http`, `_wires`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar, Literal, Self, TypeAlias

from ..errors import ConfigError
from ._call import Limits
from ._http import HTTPProvider, checked_key
from ._wires import ChatWire, ResponsesWire, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._http import HTTPClient

__all__ = ["OpenAIAPI", "OpenAIProvider", "openai_wire"]

OpenAIAPI: TypeAlias = Literal["chat", "responses"]
"""Which of OpenAI's wires: chat completions, which everybody speaks, or Responses."""

_OPENAI = "https://api.openai.com/v1"


class OpenAIProvider(HTTPProvider):
    """A `Provider` for every server that speaks a wire of OpenAI's, such as OpenAI, vLLM, llama.cpp and Ollama.

    Redirects are not followed, certificates are verified, and neither errors nor `repr` nor log records hold the key or a message.
    What goes in and comes out of each of the wires is in the guide to models.

    `async with provider:` keeps connections open between calls and closes them at the end. Without it every call opens its own
    connection and closes it, which works in any event loop and leaves nothing behind, but costs a handshake. Make the object before
    the event loop runs if you can: the constructor imports `httpx2` and reads certificates, which takes up to 0.3 s.

    ```python
    async with OpenAIProvider("http://127.0.0.1:11434/v1", model="qwen3") as provider:
        pipeline = PipelineBuilder().chain(ProviderStage(provider)).build()
    ```

    Args:
        base_url: Address that `/chat/completions` or `/responses` is appended to, as in `https://api.openai.com/v1`.
        model: Name of the model for requests that name none; None: left to the server.
        api_key: Sent as a bearer token; None: no such header.
        api: Which wire to speak.
        timeout_s: Longest silence of the server, in seconds, before and between the pieces of an answer.
        first_token_timeout_s: Longest time from the call to the first element of the answer, in seconds; None: no such limit.
        connect_timeout_s: Longest time to connect, in seconds.
        max_event_bytes: Largest server-sent event.
        max_answer_chars: Longest answer: text, thoughts, arguments of tools, media as they are encoded.
        max_tokens_field: What the server calls the limit of tokens in chat completions; None: `max_completion_tokens` at OpenAI's
            own address, `max_tokens` elsewhere.
        thoughts_field: Field of chat completions in which the server wants to have its thoughts back, such as `reasoning_content`
            of DeepSeek, which refuses a tool's result without them; None: they are not sent, because other servers refuse them.
        headers: Further headers, such as one that a gateway asks for; secret like the key.
        name: What it is called in errors and usage.
        client: Your own client, with your own proxies or certificates. It is used as it is, and closed by you.

    Raises:
        ConfigError: If `base_url` is no address, or holds credentials or a query; if the key or a header cannot be sent; if a
            number is out of its range.
        MissingExtraError: If `httpx2` is not installed.
    """

    _key_hint: ClassVar[str] = "api_key or OPENAI_API_KEY"

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        api: OpenAIAPI = "chat",
        timeout_s: float = 60.0,
        first_token_timeout_s: float | None = None,
        connect_timeout_s: float = 10.0,
        max_event_bytes: int = 1024 * 1024,
        max_answer_chars: int = 10_000_000,
        max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None,
        thoughts_field: Literal["reasoning_content", "reasoning"] | None = None,
        headers: Mapping[str, str] | None = None,
        name: str = "openai",
        client: HTTPClient | None = None,
    ) -> None:
        key = checked_key(api_key)
        super().__init__(
            openai_wire(api, max_tokens_field, base_url, thoughts_field),
            base_url,
            auth={} if key is None else {"authorization": f"Bearer {key}"},
            headers=headers,
            model=model,
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
            limits=Limits(first_token_timeout_s, max_event_bytes, max_answer_chars),
            name=name,
            client=client,
        )

    @classmethod
    def from_env(cls, *, api: OpenAIAPI = "chat") -> Self:
        """Return a provider as `OPENAI_BASE_URL`, `OPENAI_API_KEY` and `OPENAI_MODEL` say; without an address it is OpenAI's.

        Args:
            api: Which wire to speak.

        Raises:
            ConfigError: If neither an address nor a key is set, or a value is wrong.
            MissingExtraError: If `httpx2` is not installed.
        """
        base_url, api_key = os.environ.get("OPENAI_BASE_URL"), os.environ.get("OPENAI_API_KEY")
        if not base_url and not api_key:
            message = "is not set, nor is OPENAI_BASE_URL; set the key, or the address of a server that needs none"
            raise ConfigError("OPENAI_API_KEY", message)
        model = os.environ.get("OPENAI_MODEL") or None
        return cls(base_url or _OPENAI, model=model, api_key=api_key or None, api=api)


def openai_wire(api: OpenAIAPI, max_tokens_field: str | None, base_url: str, thoughts_field: str | None = None) -> Wire:
    """Return the wire of that name.

    Raises:
        ConfigError: If there is none, or it has no such field for thoughts.
    """
    if thoughts_field not in {None, "reasoning_content", "reasoning"}:
        message = f"{thoughts_field!r:.40} is no field that servers have; give 'reasoning_content' or 'reasoning'"
        raise ConfigError("thoughts_field", message)
    if api == "responses":
        if thoughts_field is not None:
            raise ConfigError(
                "thoughts_field", "is for chat completions; Responses take their own thoughts back anyway"
            )
        return ResponsesWire()
    if api != "chat":
        raise ConfigError("api", f"{api!r:.40} is no wire; give 'chat' or 'responses'")
    is_openai = base_url.startswith("https://api.openai.com/")
    return ChatWire(max_tokens_field or ("max_completion_tokens" if is_openai else "max_tokens"), thoughts_field)

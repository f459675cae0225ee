"""Models behind a user's own client of a vendor's SDK: its keys, its address, its retries, our elements.

Above: users. Below: `_call`, `_connection`, `_http`, and the optional `openai` and `anthropic`, which only this module
imports.
The SDK sends the request and judges the status. Its answer is read here, as bytes: so all wires have one mapping and one set of
limits, and nothing of it is built twice. Exceptions of the SDK quote requests and answers, so none is a cause of ours.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from ..errors import ConfigError, MissingExtraError
from ._anthropic import anthropic_wire
from ._call import Limits, call_model
from ._connection import Connection, reason_of
from ._encoding import encode_body
from ._failures import Failures
from ._http import import_httpx2
from ._openai import OpenAIAPI, openai_wire
from ._secrets import Secrets
from ._spans import by_sdk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from types import ModuleType

    import anthropic
    import openai

    from ..elements import StreamElement
    from ._protocol import ModelRequest
    from ._wires import Wire

__all__ = ["AnthropicClientProvider", "ClientProvider", "OpenAIClientProvider", "SDKClient"]

SDKClient: TypeAlias = "openai.AsyncOpenAI | anthropic.AsyncAnthropic"
"""A client of a vendor's SDK that can be waited for."""

_HEADERS = {"accept": "text/event-stream", "accept-encoding": "identity"}


class ClientProvider:
    """What both providers with a client of an SDK share.

    Args:
        sdk: The SDK's module.
        wire: How the server is asked, and how it answers.
        client: The client, which is used as it is and not closed.
        model: Name of the model for requests that name none.
        limits: What a call may take.
        name: What it is called in errors and usage.
    """

    def __init__(
        self, sdk: ModuleType, wire: Wire, client: Any, *, model: str | None, limits: Limits, name: str
    ) -> None:
        self.name: str = name
        """What it is called in errors and usage."""
        self._sdk: Any = sdk
        self._wire = wire
        self._client = client
        self._model = model
        self._limits = limits
        parts = urlsplit(str(client.base_url))
        self._server = f"{parts.hostname or 'the server'}:{parts.port or (80 if parts.scheme == 'http' else 443)}"

    def stream(self, request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        """Call the model and give its answer as it arrives.

        Out: as `Provider.stream` says.

        Cancellation: closing the generator, or cancelling the task that iterates it, ends the request at the server's socket.

        Raises:
            ProviderError: If the call fails, also in the middle; a stream that ends before it is complete is `truncated`.
        """
        secrets = Secrets(self._secrets, request)
        return call_model(
            self._wire,
            request,
            self._open,
            provider=self.name,
            model=request.model or self._model,
            limits=self._limits,
            failures=Failures(self._server, secrets, "the client's api_key", self._wire.path),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self._server} model={self._model!r}>"

    def _secrets(self) -> Iterator[str]:
        for field in ("api_key", "auth_token"):
            key = getattr(self._client, field, None)
            if isinstance(key, str):
                yield key
        parts = urlsplit(str(self._client.base_url))
        yield from (one for one in (parts.username, parts.password) if one)
        for value in self._client.default_headers.values():
            if isinstance(value, str):  # there are marks for what is left out
                yield value
                yield value.partition(" ")[2]

    async def _open(self, body: dict[str, object], failures: Failures) -> Connection:
        """Send the request; return when the server has begun a success."""
        # As the SDK would take it from JSON: it has ways of its own with types that it does not know.
        plain = msgspec.json.decode(encode_body(body))
        response = await self._post(plain, failures)
        connection = Connection(response, failures, None)
        try:
            await connection.check()
        except BaseException:
            await connection.aclose()
            raise
        return connection

    async def _post(self, body: object, failures: Failures) -> Any:
        try:
            with by_sdk(self._client):
                return await self._client.post(
                    self._wire.path,
                    cast_to=import_httpx2().Response,
                    body=body,
                    options={"headers": _HEADERS, "follow_redirects": False},
                    stream=True,
                )
        except self._sdk.APIStatusError as error:
            failure = failures.of_status(error.status_code, error.response.content, error.response.headers)
        except self._sdk.APITimeoutError:
            failure = failures.silent(None)
        except self._sdk.APIConnectionError as error:
            failure = failures.unreachable(reason_of(error))
        except self._base_error() as error:
            failure = failures.not_sent(type(error).__name__)
        try:
            raise failure
        finally:
            del failure  # its traceback holds this frame

    def _base_error(self) -> type[Exception]:
        error: type[Exception] = getattr(self._sdk, "OpenAIError", None) or self._sdk.AnthropicError
        return error


class OpenAIClientProvider(ClientProvider):
    """A `Provider` that asks through your own `openai.AsyncOpenAI`, or a subclass such as Azure's.

    Keys, address, headers, timeouts, proxies and retries are the client's; it is not closed. Redirects are not followed. What goes
    in and comes out is as with `OpenAIProvider`.

    ```python
    provider = OpenAIClientProvider(openai.AsyncOpenAI(), model="gpt-5-mini", api="responses")
    ```

    Args:
        client: The client.
        model: Name of the model for requests that name none.
        api: Which wire to speak.
        first_token_timeout_s: Longest time from the call to the first element of the answer, in seconds, the client's own retries
            included; None: no such limit.
        max_event_bytes: Largest server-sent event.
        max_answer_chars: Longest answer: text, thoughts, arguments of tools, media as they are encoded.
        max_tokens_field: What the server calls the limit of tokens in chat completions; None: `max_completion_tokens` at OpenAI's
            own address, `max_tokens` elsewhere.
        thoughts_field: Field of chat completions in which the server wants to have its thoughts back, such as `reasoning_content`
            of DeepSeek, which refuses a tool's result without them; None: they are not sent, because other servers refuse them.
        name: What it is called in errors and usage.

    Raises:
        ConfigError: If the client is none that can be waited for, or a number is out of its range.
        MissingExtraError: If `openai` is not installed.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        *,
        model: str | None = None,
        api: OpenAIAPI = "chat",
        first_token_timeout_s: float | None = None,
        max_event_bytes: int = 1024 * 1024,
        max_answer_chars: int = 10_000_000,
        max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None,
        thoughts_field: Literal["reasoning_content", "reasoning"] | None = None,
        name: str = "openai",
    ) -> None:
        sdk = _sdk("openai", client)
        super().__init__(
            sdk,
            openai_wire(api, max_tokens_field, str(client.base_url), thoughts_field),
            client,
            model=model,
            limits=Limits(first_token_timeout_s, max_event_bytes, max_answer_chars),
            name=name,
        )


class AnthropicClientProvider(ClientProvider):
    """A `Provider` that asks through your own `anthropic.AsyncAnthropic`.

    Keys, address, headers, timeouts, proxies and retries are the client's; it is not closed. Redirects are not followed. What goes
    in and comes out is as with `AnthropicProvider`. Amazon Bedrock's client answers in another format than server-sent events: that
    is told as an error.

    ```python
    provider = AnthropicClientProvider(anthropic.AsyncAnthropic(), model="claude-sonnet-5")
    ```

    Args:
        client: The client.
        model: Name of the model for requests that name none.
        max_tokens: Most tokens to answer with for requests that do not say, which this wire wants to know; tokens to think with
            come on top.
        first_token_timeout_s: Longest time from the call to the first element of the answer, in seconds, the client's own retries
            included; None: no such limit.
        max_event_bytes: Largest server-sent event.
        max_answer_chars: Longest answer: text, thoughts, arguments of tools.
        name: What it is called in errors and usage.

    Raises:
        ConfigError: If the client is none that can be waited for, or a number is out of its range.
        MissingExtraError: If `anthropic` is not installed.
    """

    def __init__(
        self,
        client: anthropic.AsyncAnthropic,
        *,
        model: str | None = None,
        max_tokens: int = 8192,
        first_token_timeout_s: float | None = None,
        max_event_bytes: int = 1024 * 1024,
        max_answer_chars: int = 10_000_000,
        name: str = "anthropic",
    ) -> None:
        sdk = _sdk("anthropic", client)
        super().__init__(
            sdk,
            anthropic_wire(max_tokens),
            client,
            model=model,
            limits=Limits(first_token_timeout_s, max_event_bytes, max_answer_chars),
            name=name,
        )


def _sdk(name: str, client: object) -> ModuleType:
    """Return the SDK's module, after a look at the client.

    Raises:
        ConfigError: If the client is no asynchronous one of this SDK.
        MissingExtraError: If the SDK is not installed.
    """
    try:
        sdk = importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(name, name) from error
    if not inspect.iscoroutinefunction(getattr(client, "post", None)):
        raise ConfigError("client", f"{type(client).__name__} is given; give an asynchronous client of {name}")
    return sdk

"""Models behind an OpenAI-compatible HTTP server: OpenAI, vLLM, llama.cpp, Ollama and others.

Above: users. Below: `_openai_chat`, `_failures`, `wire`, and the optional `httpx2`, which only this module imports.
"""

from __future__ import annotations

import math
import os
import ssl
import uuid
from typing import TYPE_CHECKING, Self, cast
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel

from ..errors import ConfigError, DecodeError, MissingExtraError
from ..wire import SSEParser
from ._failures import Failures
from ._openai_chat import ChatAssembler, encode_request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import ModuleType, TracebackType

    import httpx2

    from ..elements import StreamElement
    from ._protocol import ModelRequest

__all__ = ["OpenAIProvider"]

_OPENAI = "https://api.openai.com/v1"
_MAX_ERROR_BYTES = 64 * 1024  # of the body of a response that is no success
_READ_OUT_S = 0.2  # a server that is going to end the stream does so together with its last event


class OpenAIProvider:
    """A `Provider` for every server that speaks OpenAI's chat completions, such as OpenAI, vLLM, llama.cpp and Ollama.

    Sends text messages and streams text and thoughts; thoughts are not sent back. Redirects are not followed, certificates are
    verified, and neither errors nor `repr` nor log records hold the key or a message.

    `async with provider:` keeps connections open between calls and closes them at the end. Without it every call opens its own
    connection and closes it, which works in any event loop and leaves nothing behind, but costs a handshake. Make the object before
    the event loop runs if you can: the constructor imports `httpx2` and reads certificates, which takes up to 0.3 s.

    ```python
    async with OpenAIProvider("http://127.0.0.1:11434/v1", model="qwen3") as provider:
        pipeline = PipelineBuilder().chain(ProviderStage(provider)).build()
    ```

    Args:
        base_url: Address that `/chat/completions` is appended to, as in `https://api.openai.com/v1`.
        model: Name of the model for requests that name none; None: left to the server.
        api_key: Sent as a bearer token; None: no such header.
        timeout_s: Longest silence of the server, in seconds, before and between the pieces of an answer.
        connect_timeout_s: Longest time to connect, in seconds.
        max_event_bytes: Largest server-sent event.
        max_answer_chars: Longest answer, its thoughts included.
        name: What it is called in errors and usage.
        client: Your own client, with your own proxies or certificates. It is used as it is, and closed by you.

    Raises:
        ConfigError: If `base_url` is no address, or holds credentials or a query; if the key cannot be sent in a header; if a
            number is out of its range.
        MissingExtraError: If `httpx2` is not installed.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 10.0,
        max_event_bytes: int = 1024 * 1024,
        max_answer_chars: int = 10_000_000,
        name: str = "openai",
        client: httpx2.AsyncClient | None = None,
    ) -> None:
        limits = {
            "timeout_s": timeout_s,
            "connect_timeout_s": connect_timeout_s,
            "max_event_bytes": max_event_bytes,
            "max_answer_chars": max_answer_chars,
        }
        for field, value in limits.items():
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(field, f"{value} is out of range; give a number above 0")
        self.name = name
        """What it is called in errors and usage."""
        self._base_url, self._server = _checked_url(base_url)
        self._model = model
        self._api_key = _checked_key(api_key)
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._max_event_bytes = max_event_bytes
        self._max_answer_chars = max_answer_chars
        self._given = client
        # Here and not at the first call: these take long enough to be felt in a running event loop.
        self._http = _import_httpx2()
        # Where no TLS is spoken, a context that trusts nobody costs nothing and lets nothing through.
        plain = client is not None or self._base_url.startswith("http:")
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else self._http.create_ssl_context()
        if client is None:
            self._new_client()  # never used: the first one of a process imports the rest of httpx2
        self._kept: httpx2.AsyncClient | None = None
        self._kept_in: object = None

    @classmethod
    def from_env(cls) -> Self:
        """Return a provider as `OPENAI_BASE_URL`, `OPENAI_API_KEY` and `OPENAI_MODEL` say; without an address it is OpenAI's.

        Raises:
            ConfigError: If neither an address nor a key is set, or a value is wrong.
            MissingExtraError: If `httpx2` is not installed.
        """
        base_url, api_key = os.environ.get("OPENAI_BASE_URL"), os.environ.get("OPENAI_API_KEY")
        if not base_url and not api_key:
            message = "is not set, nor is OPENAI_BASE_URL; set the key, or the address of a server that needs none"
            raise ConfigError("OPENAI_API_KEY", message)
        return cls(base_url or _OPENAI, model=os.environ.get("OPENAI_MODEL") or None, api_key=api_key or None)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        """Call the model and give its answer as it arrives.

        Out: `ThinkingElement` and `TextElement` fragments, the final `UsageElement` if the server says it, the `MessageElement`.

        Cancellation: closing the generator, or cancelling the task that iterates it, closes the connection of this call.

        Raises:
            ProviderError: If the call fails, also in the middle; a stream that ends before it is complete is `truncated`.
        """
        failures = Failures(self._server, self._api_key, request)
        model = request.model or self._model
        body = encode_request(request, model)
        answer = ChatAssembler(
            id=f"msg-{uuid.uuid4().hex}",
            provider=self.name,
            model=model,
            max_answer_chars=self._max_answer_chars,
            failures=failures,
        )
        client, is_own = self._client()
        try:
            response = await self._send(client, body, failures)
            chunks = response.aiter_raw()
            try:
                await self._check(response, chunks, failures)
                parser = SSEParser(max_event_bytes=self._max_event_bytes)
                async for chunk in chunks:
                    for event in parser.feed(chunk):
                        for fragment in answer.take(event.data):
                            yield fragment
                    if answer.done:
                        if not is_own:  # only a connection that was read to its end can be used again
                            await self._read_out(chunks)
                        break
            except DecodeError as error:
                what = f"an event of more than {self._max_event_bytes} bytes"
                raise failures.too_large(what, "max_event_bytes") from error
            except self._http.TransportError as error:
                # Some servers never end the stream properly. What came after the finish reason is not worth an error.
                if not answer.complete:
                    raise self._cut_off(error, failures) from error
            finally:
                await response.aclose()
                # Closing `chunks` would leave a generator inside it to the garbage collector, of which trio complains
                # (https://github.com/pydantic/httpx2/pull/1212). Reading on in the closed connection ends them all.
                await self._read_out(chunks)
        finally:
            if is_own:
                await client.aclose()
        usage, message = answer.finish()
        if usage is not None:
            yield usage
        yield message

    async def aclose(self) -> None:
        """Close the connections that `async with` keeps. Idempotent; the provider can be used on.

        Cancellation: a checkpoint; the connections are closed even when this raises.
        """
        kept, self._kept, self._kept_in = self._kept, None, None
        if kept is not None:
            await kept.aclose()
        await anyio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        await anyio.lowlevel.checkpoint()
        here = anyio.lowlevel.current_token()
        if self._given is None and (self._kept is None or self._kept_in != here):
            self._kept, self._kept_in = self._new_client(), here
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<OpenAIProvider {self.name!r} {self._base_url} model={self._model!r}>"

    def _client(self) -> tuple[httpx2.AsyncClient, bool]:
        """Return the client for one call, and whether the call is to close it."""
        if self._given is not None:
            return self._given, False
        # Kept connections belong to the event loop in which they were opened.
        if self._kept is not None and self._kept_in == anyio.lowlevel.current_token():
            return self._kept, False
        return self._new_client(), True

    def _new_client(self) -> httpx2.AsyncClient:
        # No limit of connections: a call that waits for another one's connection would look like a server that is down.
        limits = self._http.Limits(max_connections=None, max_keepalive_connections=20)
        client: httpx2.AsyncClient = self._http.AsyncClient(verify=self._tls, limits=limits)
        return client

    async def _send(self, client: httpx2.AsyncClient, body: bytes, failures: Failures) -> httpx2.Response:
        """Send the request, and return when the head of the response is there."""
        headers = {
            "accept": "text/event-stream",
            "accept-encoding": "identity",  # nothing to unpack, so that sizes are what they seem
            "content-type": "application/json",
        }
        if self._api_key is not None:
            headers["authorization"] = f"Bearer {self._api_key}"
        timeout = self._http.Timeout(self._timeout_s, connect=self._connect_timeout_s, pool=self._connect_timeout_s)
        request = client.build_request(
            "POST", f"{self._base_url}/chat/completions", content=body, headers=headers, timeout=timeout
        )
        try:
            return await client.send(request, stream=True, follow_redirects=False)
        except (self._http.ConnectTimeout, self._http.PoolTimeout) as error:
            raise failures.unreachable(f"no connection within {self._connect_timeout_s:g} s") from error
        except self._http.TimeoutException as error:
            raise failures.silent(self._timeout_s) from error
        except self._http.TransportError as error:
            raise failures.unreachable(_reason(error)) from error

    async def _check(self, response: httpx2.Response, chunks: AsyncGenerator[bytes, None], failures: Failures) -> None:
        """Raise unless the response is a stream of events."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        coding = response.headers.get("content-encoding", "identity").strip().lower()
        if response.status_code == 200 and coding != "identity":
            raise failures.malformed(f"the answer is packed as {coding!r:.20}, which was not asked for")
        if response.status_code == 200 and not ("json" in kind or "html" in kind):
            return
        body = bytearray()
        try:
            async for chunk in chunks:
                body += chunk
                if len(body) >= _MAX_ERROR_BYTES:
                    break
        except self._http.TransportError:
            if not body and response.status_code == 200:
                raise
        if response.status_code != 200:
            retry_after = response.headers.get("retry-after")
            raise failures.of_status(response.status_code, bytes(body[:_MAX_ERROR_BYTES]), retry_after)
        raise failures.of_body(kind, bytes(body[:_MAX_ERROR_BYTES]))

    async def _read_out(self, chunks: AsyncGenerator[bytes, None]) -> None:
        """Read what is left of a stream whose end is at hand, and drop it."""
        with anyio.move_on_after(_READ_OUT_S):
            try:
                async for _ in chunks:
                    pass
            except (self._http.TransportError, self._http.StreamError):
                pass

    def _cut_off(self, error: httpx2.TransportError, failures: Failures) -> Exception:
        if isinstance(error, self._http.TimeoutException):
            return failures.silent(self._timeout_s)
        return failures.truncated("the connection broke")


def _import_httpx2() -> ModuleType:
    try:
        import httpx2
    except ImportError as error:
        raise MissingExtraError("httpx2", "http") from error
    return httpx2


def _checked_url(base_url: str) -> tuple[str, str]:
    """Return the address without a slash at its end, and what to call its server. Errors do not repeat it: it may hold a secret."""
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or not base_url.isprintable() or " " in base_url:
        raise ConfigError("base_url", "is no address; give one such as 'http://127.0.0.1:8000/v1'")
    if parts.username is not None or parts.password is not None:
        raise ConfigError("base_url", f"holds credentials for {host}; give the key as api_key=")
    if parts.query or parts.fragment:
        raise ConfigError("base_url", f"has a query or a fragment behind the path of {host}; leave it out")
    shown = f"[{host}]" if ":" in host else host
    return base_url.rstrip("/"), f"{shown}:{port or (443 if parts.scheme == 'https' else 80)}"


def _checked_key(api_key: str | None) -> str | None:
    """Return the key without the white space that files leave around it.

    Raises:
        ConfigError: If no header can hold it. The HTTP client would say so too, and quote the key.
    """
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError("api_key", "holds a character that no HTTP header can carry; check where it was read from")
    return key or None


def _reason(error: BaseException) -> str:
    """Return why a connection did not come about, in the words of TLS or of the operating system where they have any."""
    causes = [error]
    for seen in causes:  # grows while it is read
        if isinstance(seen, ssl.SSLError):
            return str(seen)
        if isinstance(seen, OSError) and seen.errno:
            # The event loops have words of their own for the same number; name resolution has its own, negative numbers.
            return os.strerror(seen.errno) if seen.errno > 0 else seen.strerror or "unknown host"
        if isinstance(seen, BaseExceptionGroup):
            causes += cast("BaseExceptionGroup[BaseException]", seen).exceptions
        causes += [one for one in (seen.__cause__, seen.__context__) if one is not None and one not in causes]
    return "the connection broke"

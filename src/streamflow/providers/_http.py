"""A model server behind an address: what is checked of it, the HTTP client and its connections, one request.

Above: `_openai`, `_anthropic`. Below: `_call`, `_connection`, `_direct`, and the optional `httpx2`, which only this module imports.
Rules: certificates are verified, redirects are not followed, nothing is unpacked. Addresses and headers are not repeated in errors.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, ClassVar, Self, TypeAlias
from urllib.parse import urlsplit

import anyio.lowlevel

from ..errors import ConfigError, MissingExtraError
from ..observe import trace_headers
from ._call import Limits, call_model, check_positive
from ._connection import Connection, cause_of, reason_of
from ._direct import Address, DirectClient, DirectResponse, needs_proxy
from ._encoding import encode_body
from ._failures import Failures
from ._secrets import Secrets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping
    from types import ModuleType, TracebackType

    import httpx2

    from ..elements import StreamElement
    from ._protocol import ModelRequest
    from ._wires import Wire

    HTTPClient: TypeAlias = httpx2.AsyncClient
    """A client of `httpx2`."""

__all__ = ["HTTPProvider", "checked_key", "import_httpx2"]

_OURS = frozenset({"accept", "accept-encoding", "content-type", "content-length", "host", "transfer-encoding"})


class HTTPProvider:
    """What all providers that speak HTTP share.

    Args:
        wire: How the server is asked, and how it answers.
        base_url: Address that the wire's path is appended to.
        auth: Headers that hold the key.
        headers: Further headers.
        model: Name of the model for requests that name none; None: left to the server.
        timeout_s: Longest silence of the server, in seconds.
        connect_timeout_s: Longest time to connect, in seconds.
        limits: What a call may take.
        name: What it is called in errors and usage.
        client: A client of the user's own.

    Raises:
        ConfigError: If an argument cannot be used.
        MissingExtraError: If `httpx2` is not installed.
    """

    _key_hint: ClassVar[str]
    """What to check when the server does not accept the key."""

    def __init__(
        self,
        wire: Wire,
        base_url: str,
        *,
        auth: Mapping[str, str],
        headers: Mapping[str, str] | None,
        model: str | None,
        timeout_s: float,
        connect_timeout_s: float,
        limits: Limits,
        name: str,
        client: HTTPClient | None,
    ) -> None:
        check_positive("timeout_s", timeout_s)
        check_positive("connect_timeout_s", connect_timeout_s)
        self.name: str = name
        """What it is called in errors and usage."""
        self._wire = wire
        self._base_url, self._server = _checked_url(base_url)
        self._model = model
        self._headers = {**_checked_headers(headers or {}), **auth}
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._limits = limits
        self._given = client
        # Here and not at the first call: these take long enough to be felt in a running event loop.
        self._http = import_httpx2()
        # Where no TLS is spoken, a context that trusts nobody costs nothing and lets nothing through.
        plain = client is not None or self._base_url.startswith("http:")
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else self._http.create_ssl_context()
        self._url = f"{self._base_url}{wire.path}"
        self._address = self._addressed(self._url)
        if client is None:
            self._new_client()  # never used: the first one of a process imports the rest of httpx2, if a proxy needs it
        self._kept: httpx2.AsyncClient | DirectClient | None = None
        self._kept_in: object = None

    def stream(self, request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        """Call the model and give its answer as it arrives.

        Out: as `Provider.stream` says.

        Cancellation: closing the generator, or cancelling the task that iterates it, closes the connection of this call.

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
            failures=Failures(self._server, secrets, self._key_hint, self._wire.path),
        )

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
        return f"<{type(self).__name__} {self.name!r} {self._base_url} model={self._model!r}>"

    def _secrets(self) -> Iterator[str]:
        for value in self._headers.values():
            yield value
            yield value.partition(" ")[2]  # what follows `Bearer`

    def _client(self) -> tuple[httpx2.AsyncClient | DirectClient, bool]:
        """Return the client for one call, and whether the call is to close it."""
        if self._given is not None:
            return self._given, False
        # Kept connections belong to the event loop in which they were opened.
        if self._kept is not None and self._kept_in == anyio.lowlevel.current_token():
            return self._kept, False
        return self._new_client(), True

    def _new_client(self) -> httpx2.AsyncClient | DirectClient:
        if not needs_proxy(self._address):
            tls = self._tls if self._address.scheme == "https" else None
            return DirectClient(self._http, self._address, tls, connect_timeout_s=self._connect_timeout_s)
        # No limit of connections: a call that waits for another one's connection would look like a server that is down.
        limits = self._http.Limits(max_connections=None, max_keepalive_connections=20)
        client: httpx2.AsyncClient = self._http.AsyncClient(verify=self._tls, limits=limits)
        return client

    def _addressed(self, url: str) -> Address:
        """Return an address in parts; names are made ASCII, and paths quoted, as by the HTTP client."""
        parts: httpx2.URL = self._http.URL(url)
        return Address(
            parts.scheme,
            parts.raw_host.decode("ascii"),
            parts.port or (443 if parts.scheme == "https" else 80),
            parts.netloc.decode("ascii"),
            parts.raw_path.decode("ascii"),
        )

    async def _open(self, body: dict[str, object], failures: Failures) -> Connection:
        """Send the request; return when the server has begun a success."""
        content = encode_body(body)
        client, is_own = self._client()
        connection: _OwnConnection | None = None
        try:
            response = await self._send(client, content, failures)
            connection = _OwnConnection(response, failures, self._timeout_s, client if is_own else None)
            await connection.check()
        except BaseException:
            # Not shielded: closing drops the socket before it waits for anything.
            if connection is not None:
                await connection.aclose()
            elif is_own:
                await client.aclose()
            raise
        return connection

    async def _send(
        self, client: httpx2.AsyncClient | DirectClient, body: bytes, failures: Failures
    ) -> httpx2.Response | DirectResponse:
        """Send the request, and return when the head of the response is there."""
        headers = {
            "user-agent": "streamflow",  # there are gateways that refuse a request without one
            **self._headers,
            "accept": "text/event-stream",
            "accept-encoding": "identity",  # nothing to unpack, so that sizes are what they seem
            "content-type": "application/json",
            **trace_headers(urlsplit(self._base_url).hostname or ""),
        }
        try:
            if isinstance(client, DirectClient):
                return await client.post(body, headers, self._timeout_s)
            timeout = self._http.Timeout(self._timeout_s, connect=self._connect_timeout_s, pool=self._connect_timeout_s)
            request = client.build_request("POST", self._url, content=body, headers=headers, timeout=timeout)
            return await client.send(request, stream=True, follow_redirects=False)
        except (self._http.ConnectTimeout, self._http.PoolTimeout) as error:
            failure, cause = (
                failures.unreachable(f"no connection within {self._connect_timeout_s:g} s"),
                cause_of(error),
            )
        except self._http.TimeoutException as error:
            failure, cause = failures.silent(self._timeout_s), cause_of(error)
        except self._http.LocalProtocolError as error:
            failure, cause = failures.not_sent(type(error).__name__), None
        except self._http.TransportError as error:
            failure, cause = failures.unreachable(reason_of(error)), cause_of(error)
        raise failure from cause


class _OwnConnection(Connection):
    """A connection with a client that was opened for it, or none."""

    def __init__(
        self,
        response: httpx2.Response | DirectResponse,
        failures: Failures,
        timeout_s: float,
        client: httpx2.AsyncClient | DirectClient | None,
    ) -> None:
        super().__init__(response, failures, timeout_s)
        self._direct = response if isinstance(response, DirectResponse) else None
        self._client = client

    async def read_out(self) -> None:
        """Read what is left, if the connection is to be used again."""
        if self._client is None and not (self._direct is not None and self._direct.is_read):
            await super().read_out()

    async def aclose(self) -> None:
        """Close the response, and the client that was opened for it."""
        try:
            if self._direct is None:
                await super().aclose()
            else:
                await self._direct.aclose()
        finally:
            if self._client is not None:
                await self._client.aclose()


def import_httpx2() -> ModuleType:
    """Return the HTTP client's module.

    Raises:
        MissingExtraError: If it is not installed.
    """
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


def checked_key(api_key: str | None) -> str | None:
    """Return the key without the white space that files leave around it.

    Raises:
        ConfigError: If no header can hold it. The HTTP client would say so too, and quote the key.
    """
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError("api_key", "holds a character that no HTTP header can carry; check where it was read from")
    return key or None


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with lower-case names. Errors name a header, and do not repeat what is in it."""
    checked: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if not (name.isascii() and name.replace("-", "").replace("_", "").isalnum()):
            raise ConfigError("headers", "holds a name that is none; use letters, digits and hyphens")
        if lower in _OURS:
            raise ConfigError("headers", f"{lower!r} is set for each request; leave it out")
        if not (value.isascii() and value.isprintable()):
            message = f"{lower!r} holds a character that no HTTP header can carry; check where it was read from"
            raise ConfigError("headers", message)
        checked[lower] = value.strip()
    return checked

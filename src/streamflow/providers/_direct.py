"""A client of HTTP/1.1 for one address, that does what a call of a model needs and no more: one `POST`, an answer that streams.

Above: `_http`. Below: `wire`, anyio.

A general client looks at every connection it has for each request, builds a dozen objects around it, and parses each chunk of the
answer in several layers; where hundreds of answers stream at a time that is most of what a server does. Here a request is one
buffer, and a connection is found in one step. It fails with the exceptions of `httpx2`, so whoever reads an answer need not know
which of the two it came from. Proxies are left to `httpx2`.

Rules: a connection is kept only behind an answer that was read to its end, and used again only while it is open and silent. Nothing
is sent twice. Whatever ends otherwise closes the connection.
"""

from __future__ import annotations

import logging
import select
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import getproxies, proxy_bypass

import anyio
from anyio.abc import SocketAttribute

from ..errors import DecodeError
from ..wire import HTTPResponseReader

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Mapping
    from types import ModuleType

    from anyio.abc import ByteStream

__all__ = ["Address", "DirectClient", "DirectResponse", "needs_proxy"]

_log = logging.getLogger("streamflow.providers")
_IDLE_S = 5.0  # how long a connection is kept: what httpx2 keeps one for, and servers rarely less
_MAX_IDLE = 1000
_READ_BYTES = 64 * 1024


class Address(NamedTuple):
    """What is asked, in the parts that a request is made of: names in ASCII, a path that is quoted."""

    scheme: str
    """`http` or `https`."""
    host: str
    """Who is connected to."""
    port: int
    """Where."""
    authority: str
    """What the server is told that it was asked for: the host, and the port if it is not the scheme's own."""
    path: str
    """What it is asked for."""


def needs_proxy(address: Address) -> bool:
    """Say whether the environment wants a proxy for an address."""
    given = getproxies()
    return bool(given.keys() & {address.scheme, "all"}) and not proxy_bypass(address.host)


class DirectClient:
    """Connections to one server.

    Args:
        http: The module `httpx2`, for its exceptions.
        address: What is asked.
        tls: How the server is known; None: no TLS is spoken.
        connect_timeout_s: Longest time to connect, in seconds.
    """

    def __init__(
        self, http: ModuleType, address: Address, tls: ssl.SSLContext | None, *, connect_timeout_s: float
    ) -> None:
        self.http: Any = http
        """The module `httpx2`."""
        self._host, self._port = address.host, address.port
        self._tls = tls
        self._connect_timeout_s = connect_timeout_s
        self._start = f"POST {address.path} HTTP/1.1\r\nhost: {address.authority}\r\n".encode("ascii")
        self._idle: deque[tuple[ByteStream, float]] = deque()
        self._is_closed = False

    async def post(self, body: bytes, headers: Mapping[str, str], timeout_s: float) -> DirectResponse:
        """Send a request, and return the response when its head is there.

        Args:
            body: The body.
            headers: Checked fields, without those that say where the body goes and ends.
            timeout_s: Longest silence of the server.

        Cancellation: closes the connection.

        Raises:
            httpx2.TransportError: If there is no connection, or it breaks or falls silent.
        """
        stream = self._kept() or await self._connected()
        response = DirectResponse(self, stream, timeout_s)
        try:
            fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
            await response.begin(b"%s%scontent-length: %d\r\n\r\n%s" % (self._start, fields.encode(), len(body), body))
        except BaseException as error:
            _log.debug("POST to %s:%d failed: %s", self._host, self._port, type(error).__name__)
            await response.aclose()
            raise
        _log.debug("POST to %s:%d: %d", self._host, self._port, response.status_code)
        return response

    def keep(self, stream: ByteStream) -> bool:
        """Keep a connection for the next call, and say whether it is kept."""
        if self._is_closed or len(self._idle) >= _MAX_IDLE:
            return False
        self._idle.append((stream, anyio.current_time()))
        return True

    async def aclose(self) -> None:
        """Close what is kept; what is under way is closed when it ends. Idempotent.

        Cancellation: a checkpoint where there is something to close; all is closed even then.
        """
        self._is_closed = True
        await self._drop(float("inf"))

    def _kept(self) -> ByteStream | None:
        """Return a connection that can be used again, the newest of all."""
        if self._idle and _is_silent(self._idle[-1][0]):
            stream, since_s = self._idle.pop()
            if anyio.current_time() < since_s + _IDLE_S:
                return stream
            self._idle.append((stream, since_s))
        return None

    async def _drop(self, before_s: float) -> None:
        """Close the connections that nobody has used for so long."""
        while self._idle and self._idle[0][1] < before_s:
            await _close(self._idle.popleft()[0])

    async def _connected(self) -> ByteStream:
        """Open a connection."""
        # What is too old, and what the server has closed: the newest is tried first, so behind it none is better.
        while self._idle and not _is_silent(self._idle[-1][0]):
            await _close(self._idle.pop()[0])
        await self._drop(anyio.current_time() - _IDLE_S)
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + self._connect_timeout_s):
                return await self._connect()
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            raise self.http.ConnectError("the connection failed") from error
        raise self.http.ConnectTimeout("no connection in time")

    async def _connect(self) -> ByteStream:
        stream: ByteStream
        if self._tls is None:
            stream = await anyio.connect_tcp(self._host, self._port)
        else:
            stream = await anyio.connect_tcp(
                self._host, self._port, ssl_context=self._tls, tls_standard_compatible=False
            )
        return stream


class DirectResponse:
    """A response that is arriving; what is read of `httpx2.Response` has its name here too.

    Args:
        client: Whose connection it is.
        stream: The connection.
        timeout_s: Longest silence of the server.
    """

    def __init__(self, client: DirectClient, stream: ByteStream, timeout_s: float) -> None:
        self.status_code: int = 0
        """The status."""
        self.headers: Mapping[str, str] = {}
        """The fields of the head, by their names in lower case."""
        self._client = client
        self._http = client.http
        self._stream: ByteStream | None = stream
        self._timeout_s = timeout_s
        self._reader = HTTPResponseReader()
        self._pieces: deque[bytes] = deque()

    @property
    def is_read(self) -> bool:
        """Whether there is nothing more to read."""
        return self._reader.is_done and not self._pieces

    async def begin(self, request: bytes) -> None:
        """Send the request, and read the head of the response. Cancellation: the caller has to close it.

        Raises:
            httpx2.TransportError: If the connection breaks or falls silent.
        """
        assert self._stream is not None
        with anyio.CancelScope(deadline=anyio.current_time() + self._timeout_s) as scope:
            with suppress(anyio.BrokenResourceError, OSError):  # a server may answer, and close, before it has read all
                await self._stream.send(request)
        if scope.cancelled_caught:
            raise self._http.WriteTimeout("the server took nothing")
        while self._reader.head is None:
            await self._receive()
        self.status_code, self.headers = self._reader.head.status, self._reader.head.headers

    def aiter_raw(self) -> DirectResponse:
        """Return the pieces of the body, as they come."""
        return self

    def __aiter__(self) -> DirectResponse:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._reader.is_done or self._stream is None:
                raise StopAsyncIteration
            await self._receive()
        return self._pieces.popleft()

    async def aclose(self) -> None:
        """Keep the connection if it can be used again, else close it. Idempotent.

        Cancellation: the connection is closed even when this raises.
        """
        stream, self._stream = self._stream, None
        if stream is None or (self._reader.is_done and self._reader.may_reuse and self._client.keep(stream)):
            return
        await _close(stream)

    async def _receive(self) -> None:
        """Read what there is."""
        assert self._stream is not None
        data = b""
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + self._timeout_s) as scope:
                data = await self._stream.receive(_READ_BYTES)
            if scope.cancelled_caught:
                raise self._http.ReadTimeout("the server said nothing")
            self._pieces += self._reader.feed(data)
        except anyio.EndOfStream:
            self._ended()
        except DecodeError as error:
            raise self._http.RemoteProtocolError(error.message) from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            raise self._http.ReadError("the connection broke") from error

    def _ended(self) -> None:
        try:
            self._reader.end()
        except DecodeError as error:
            raise self._http.RemoteProtocolError(error.message) from error


async def _close(stream: ByteStream) -> None:
    """Close a connection. Not shielded: the socket is dropped before anything is waited for."""
    with suppress(anyio.BrokenResourceError, OSError):
        await stream.aclose()


def _is_silent(stream: ByteStream) -> bool:
    """Say whether a connection is open and nothing has come on it: what comes before a request is no answer to it."""
    raw: socket.socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - no Django here
    number = raw.fileno()
    if number < 0:
        return False
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return not poll.poll(0)

"""A response of an HTTP client as a connection that a call reads: checks, errors, the end.

Above: `_http`, `_clients`. Below: `_failures`.
The client is `httpx2`, or whatever a user's own client uses instead with the same names. Its exceptions are told in our own words:
they may quote what was sent. They are causes only where they say no more than that a connection broke.
"""

from __future__ import annotations

import os
import ssl
import sys
from typing import TYPE_CHECKING, Any, cast

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..errors import ProviderError
    from ._failures import Failures

__all__ = ["Connection", "cause_of", "http_module_of", "reason_of"]

_MAX_ERROR_BYTES = 64 * 1024  # of the body of a response that is no success
_READ_OUT_S = 0.2  # a server that is going to end the stream does so together with its last event


class Connection:
    """An answer that is arriving.

    Args:
        response: The response of the HTTP client, whose body has not been read.
        failures: Makes the errors.
        timeout_s: Longest silence, as the client was told; None if it has one of its own.
    """

    def __init__(self, response: Any, failures: Failures, timeout_s: float | None) -> None:
        self._response = response
        self._http = http_module_of(response)
        self._failures = failures
        self._timeout_s = timeout_s
        self._chunks: AsyncGenerator[bytes, None] = response.aiter_raw()

    async def check(self) -> None:
        """Raise unless the response is a stream of events.

        Raises:
            ProviderError: If the status is no success, or the body no stream of events.
        """
        response = self._response
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        coding = response.headers.get("content-encoding", "identity").strip().lower()
        if response.status_code == 200 and coding != "identity":
            raise self._failures.malformed(f"the answer is packed as {coding!r:.20}, which was not asked for")
        if response.status_code == 200 and not ("json" in kind or "html" in kind or "eventstream" in kind):
            return
        body = await self._read_body()
        if response.status_code != 200:
            raise self._failures.of_status(response.status_code, body, response.headers)
        raise self._failures.of_body(kind, body)

    async def read(self) -> bytes | None:
        """Return the next bytes, None at the end.

        Raises:
            ProviderError: If the connection breaks or falls silent.
        """
        try:
            return await anext(self._chunks, None)
        except self._http.TransportError as error:
            failure, cause = self._cut_off(error), cause_of(error)
        raise failure from cause

    async def read_out(self) -> None:
        """Read what is left of a stream whose end is at hand, and drop it, so that the connection can be used again."""
        await self._drain()

    async def aclose(self) -> None:
        """Close the response. What else belongs to the connection is for subclasses to close."""
        await self._response.aclose()
        # Closing `chunks` would leave a generator inside it to the garbage collector, of which trio complains
        # (https://github.com/pydantic/httpx2/pull/1212). Reading on in the closed connection ends them all.
        await self._drain()

    async def _drain(self) -> None:
        with anyio.move_on_after(_READ_OUT_S):
            try:
                async for _ in self._chunks:
                    pass
            except (self._http.TransportError, self._http.StreamError):
                pass

    async def _read_body(self) -> bytes:
        body = bytearray()
        try:
            async for chunk in self._chunks:
                body += chunk
                if len(body) >= _MAX_ERROR_BYTES:
                    break
        except self._http.TransportError as error:
            if body or self._response.status_code != 200:
                return bytes(body)
            failure, cause = self._cut_off(error), cause_of(error)
        else:
            return bytes(body[:_MAX_ERROR_BYTES])
        raise failure from cause

    def _cut_off(self, error: Exception) -> ProviderError:
        if isinstance(error, self._http.TimeoutException):
            return self._failures.silent(self._timeout_s)
        return self._failures.truncated("the connection broke")


def http_module_of(response: object) -> Any:
    """Return the HTTP client's module, which has its exceptions."""
    for base in type(response).__mro__:
        name = base.__module__.partition(".")[0]
        if name in {"httpx2", "httpx"}:
            return sys.modules[name]
    return sys.modules["httpx2"]


def cause_of(error: Exception) -> Exception | None:
    """Return the error if its text holds nothing of what was sent or received."""
    return None if "ProtocolError" in type(error).__name__ else error


def reason_of(error: BaseException) -> str:
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

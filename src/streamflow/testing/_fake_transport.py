"""A fake model server without a socket: an HTTP client of httpx2 whose requests end in it.

Above: tests. Below: `_fake_llm`, `_fake_reply`, and the optional httpx2. httpx2's own transport for ASGI gives the body when it is
complete, so nothing that streams can be tested with it; this one gives every piece as it is made, in the task of whoever reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2

from ._fake_reply import BrokenConnection

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from ._fake_llm import FakeLLM

__all__ = ["fake_client", "fake_transport"]


class _Pieces(httpx2.AsyncByteStream):
    def __init__(self, pieces: AsyncGenerator[bytes, None], request: httpx2.Request) -> None:
        self._pieces = pieces
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._pieces:
                yield piece
        except BrokenConnection as error:
            raise httpx2.RemoteProtocolError("the fake server broke the connection", request=self._request) from error

    async def aclose(self) -> None:
        await self._pieces.aclose()


class _Transport(httpx2.AsyncBaseTransport):
    def __init__(self, app: FakeLLM) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        headers = {name.lower(): value for name, value in request.headers.items()}
        query = request.url.query.decode("latin-1")
        try:
            reply = await self._app.reply(request.method, request.url.path, headers, body, query=query, peer="memory")
        except BrokenConnection as error:
            raise httpx2.RemoteProtocolError("the fake server broke the connection", request=request) from error
        return httpx2.Response(
            reply.status, headers=reply.headers, stream=_Pieces(reply.body, request), request=request
        )


def fake_transport(app: FakeLLM) -> httpx2.AsyncBaseTransport:
    """Return what carries requests to `app`: for `record_cassette()`, or a client of your own.

    Args:
        app: The fake server.
    """
    return _Transport(app)


def fake_client(app: FakeLLM) -> httpx2.AsyncClient:
    """Return an HTTP client whose every request goes to `app`, whatever its address: without a socket, on virtual time.

    For `client=` of the providers and `http_client=` of the SDKs. Close it as any client.

    Args:
        app: The fake server.
    """
    return httpx2.AsyncClient(transport=_Transport(app))

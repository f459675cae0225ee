"""A fake model server on ASGI: requests in, pieces of responses out, and notice of clients that hang up.

Above: `_fake_llm`. Below: `_fake_reply`, and nothing but ASGI.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol, cast

import anyio

from ._fake_reply import BrokenConnection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping

    from ..transports import Receive, Scope, Send
    from ._fake_reply import FakeReply

__all__ = ["serve"]


class Replier(Protocol):
    """Who makes replies of requests."""

    max_request_bytes: int
    """Largest body of a request."""

    async def reply(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, query: str = "", peer: str = ""
    ) -> FakeReply:
        """Return the response to a request."""
        ...


async def serve(app: Replier, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one ASGI connection, or live as long as the server does; what is neither is left alone.

    Cancellation: ends the reply that is under way.
    """
    if scope["type"] == "lifespan":
        await _live(receive, send)
    if scope["type"] != "http":
        return
    body = await _body(receive, app.max_request_bytes)
    if body is None:
        return
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        await _respond(app, scope, body, send)
        tasks.cancel_scope.cancel()


async def _live(receive: Receive, send: Send) -> None:
    """Say that it is ready when the server begins, and that it is done when the server ends."""
    for moment in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{moment}.complete"})


async def _respond(app: Replier, scope: Scope, body: bytes, send: Send) -> None:
    pairs = cast("Iterable[tuple[bytes, bytes]]", scope["headers"])
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}
    query = cast("bytes", scope.get("query_string", b"")).decode("latin-1")
    host, port = cast("tuple[str, int]", scope.get("client") or ("", 0))
    head: MutableMapping[str, object] = {"type": "http.response.start", "status": 200, "headers": []}
    try:
        method, path = cast("str", scope["method"]), cast("str", scope["path"])
        reply = await app.reply(method, path, headers, body, query=query, peer=f"{host}:{port}")
    except BrokenConnection:
        await send(head)  # a response that never ends: the server then breaks the connection
        return
    head["status"] = reply.status
    head["headers"] = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
    async with aclosing(reply.body) as pieces:
        await send(head)
        try:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except BrokenConnection:
            return
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _body(receive: Receive, limit: int) -> bytes | None:
    """Return the body of a request, one byte more than allowed of one that is too large; None if the client has gone."""
    body = bytearray()
    while True:
        part = await receive()
        if part["type"] == "http.disconnect":
            return None
        body += cast("bytes", part.get("body", b""))
        if not part.get("more_body") or len(body) > limit:
            return bytes(body[: limit + 1])

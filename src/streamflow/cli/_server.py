"""What commands share that serve on this machine: the address, the server, its end by Ctrl-C.

Above: `_fake_llm`, `_serve_chat`. Below: the optional uvicorn, which only this module imports.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import logging
import socket
from typing import TYPE_CHECKING, Literal

from ..errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from types import ModuleType
    from typing import TypeAlias

    Message: TypeAlias = MutableMapping[str, object]
    Receive: TypeAlias = Callable[[], Awaitable[Message]]
    Send: TypeAlias = Callable[[Message], Awaitable[None]]
    Application: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

__all__ = ["address_of", "import_uvicorn", "is_loopback", "listen", "port", "serve"]

_NO_NEWS = ("without completing response", "graceful shutdown exceeded", "Application startup failed")
_STOP_S = 1  # an answer that is under way when the server ends gets this long


def import_uvicorn() -> ModuleType:
    """Return uvicorn.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtraError("uvicorn", "web") from error
    return uvicorn


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; names of hosts are looked up.

    Raises:
        OSError: If the address is not this machine's, or taken.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)  # from here on clients can connect, so the address may be told
    except BaseException:
        listener.close()
        raise
    return listener


def address_of(listener: socket.socket) -> str:
    """Return host and port as they stand in a URL."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(listener: socket.socket) -> bool:
    """Say whether only this machine can connect."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def serve(
    app: Application,
    listener: socket.socket,
    *,
    lifespan: Literal["on", "off"],
    ready: Callable[[], None] | None = None,
) -> str | None:
    """Serve an ASGI application until Ctrl-C; returns then, and says nothing of it.

    Args:
        app: The application.
        listener: Where it listens.
        lifespan: Whether the application is told of its beginning and end.
        ready: Called once the application has begun, where it is told of that.

    Returns:
        Why the application could not begin; None: it has.

    Raises:
        MissingExtraError: If uvicorn is not installed.
    """
    uvicorn = import_uvicorn()
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    failures: list[str] = []

    async def watched(scope: Message, receive: Receive, send: Send) -> None:
        async def watching(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                failures.append(str(message.get("message") or "the application could not begin"))
                message = {"type": "lifespan.startup.failed"}
            await send(message)
            if message["type"] == "lifespan.startup.complete" and ready is not None:
                ready()

        await app(scope, receive, watching if scope["type"] == "lifespan" else send)

    config = uvicorn.Config(
        watched,
        lifespan=lifespan,
        log_config=None,
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=_STOP_S,
        ws="none",
    )
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        uvicorn.Server(config).run(sockets=[listener])
    return failures[0] if failures else None


def port(text: str) -> int:
    """Return the port that an option names.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether uvicorn has found an error: it takes for one what a fault asked for, and what Ctrl-C has cut short."""
    if record.exc_info and not isinstance(record.exc_info[1], Exception):
        return False  # a cancellation
    said = record.getMessage()
    return not any(one in said for one in _NO_NEWS)

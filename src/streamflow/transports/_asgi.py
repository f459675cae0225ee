"""What a response needs of ASGI: its types, what a request says, and short answers.

Above: `_response`, `_hub`. Below: `_log`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..elements import ErrorElement

__all__ = [
    "ASGIReply",
    "Connection",
    "Receive",
    "Scope",
    "Send",
    "bytes_of",
    "headers_of",
    "refuse",
    "refuse_with",
    "until_gone",
]

Scope: TypeAlias = MutableMapping[str, object]
"""What ASGI says about a connection."""
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, object]]]
"""How ASGI gives the parts of a request."""
Send: TypeAlias = Callable[[MutableMapping[str, object]], Awaitable[None]]
"""How ASGI takes the parts of a response."""


class Connection(NamedTuple):
    """What ASGI gives for one request."""

    scope: Scope
    receive: Receive
    send: Send


_STATUS = {"busy": 503, "timeout": 504}


class ASGIReply:
    """A short answer, as an ASGI application.

    Args:
        status: Status of the response.
        value: What its body says, as JSON; None: no body.
        headers: Further headers.
    """

    def __init__(self, status: int, value: object = None, headers: Mapping[str, str] | None = None) -> None:
        self.status: int = status
        """Status of the response."""
        self._body = b"" if value is None else msgspec.json.encode(value)
        self._headers = {"cache-control": "no-store", **(headers or {})}
        if value is not None:
            self._headers |= {"content-type": "application/json", "content-length": str(len(self._body))}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer. Cancellation: leaves it half sent."""
        await send({"type": "http.response.start", "status": self.status, "headers": bytes_of(self._headers)})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})


def refuse(status: int, code: str, message: str, *, retry_after_s: int | None = None) -> ASGIReply:
    """Return an answer that says what is wrong."""
    headers = None if retry_after_s is None else {"retry-after": str(retry_after_s)}
    return ASGIReply(status, {"error": {"code": code, "message": message}}, headers)


def refuse_with(error: ErrorElement) -> ASGIReply:
    """Return the answer to a request whose stream could not be opened."""
    status = _STATUS.get(error.code, 502 if error.retryable else 500)
    return refuse(status, error.code, error.message, retry_after_s=1 if error.retryable else None)


def headers_of(scope: Scope, name: bytes) -> list[str]:
    """Return the values of a header, by its name in lower case."""
    pairs = cast("Iterable[tuple[bytes, bytes]]", scope.get("headers") or ())
    return [value.decode("latin-1") for key, value in pairs if key.lower() == name]


def bytes_of(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers as ASGI wants them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


async def until_gone(receive: Receive) -> None:
    """Wait until the client has gone; what is left of the request is passed over. Cancellation: changes nothing."""
    while (await receive())["type"] != "http.disconnect":
        pass

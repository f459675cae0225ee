"""Who may ask a server in a browser's reach: hosts, origins, bodies.

Above: `_web_chat`. Below: `transports`.

A server on this machine is in reach of every page that its browser shows. Three things keep such pages out. A page elsewhere that
lets its own name point here (DNS rebinding) is told by the `Host` it asks for. A page that sends a request across sites is told by
its `Origin`, or by `Sec-Fetch-Site`. A form, which sends neither everywhere, cannot send JSON.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

import anyio

from ..errors import ConfigError
from ..transports import ASGIReply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..transports import Receive, Scope

__all__ = ["BODY_S", "LOOPBACK_HOSTS", "Guard", "headers_of", "read_body", "refusal"]

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""The names under which this machine knows itself."""

BODY_S = 30.0
"""How long a client may take to send its request, in seconds."""

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?", re.ASCII)
_ORIGIN = re.compile(r"https?://(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?", re.ASCII)


def refusal(status: int, code: str, message: str) -> ASGIReply:
    """Return an answer that says what is wrong."""
    return ASGIReply(status, {"error": {"code": code, "message": message}})


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the headers of a request, names in lower case; of one that is there twice the last one."""
    pairs = cast("Iterable[tuple[bytes, bytes]]", scope.get("headers") or ())
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}


async def read_body(receive: Receive, limit: int) -> bytes | ASGIReply | None:
    """Return the body of a request; an answer, if it is larger than allowed or takes too long; None, if the client has gone."""
    body = bytearray()
    with anyio.move_on_after(BODY_S):
        while True:
            part = await receive()
            if part["type"] == "http.disconnect":
                return None
            body += cast("bytes", part.get("body", b""))
            if len(body) > limit:
                return refusal(413, "too_large", f"the request is larger than {limit} bytes")
            if not part.get("more_body"):
                return bytes(body)
    return refusal(408, "too_slow", f"the request was not there after {BODY_S:g} seconds")


class Guard:
    """Looks at who asks.

    Args:
        hosts: Names under which the server may be asked for, without a port; `*` for any.
        origins: Pages of other servers that may ask, as in `http://localhost:3000`.

    Raises:
        ConfigError: If one of them is no name of a host, or no origin.
    """

    def __init__(self, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.lower() for origin in origins)
        for host in self._hosts:
            if host != "*" and not ((found := _HOST.fullmatch(host)) and found["name"] == host):
                raise ConfigError("hosts", f"{host!r:.80} is no name of a host; give it as in 'chat.example.org'")
        if not self._hosts:
            raise ConfigError("hosts", "there are none, so nobody could ask; give the names of this server")
        for origin in self._origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigError("origins", f"{origin!r:.80} is no origin; give it as in 'http://localhost:3000'")

    def check(self, method: str, headers: Mapping[str, str]) -> ASGIReply | None:
        """Return why a request is refused; None if it is not."""
        host = _HOST.fullmatch(headers.get("host", "").lower())
        if host is None or not ("*" in self._hosts or host["name"] in self._hosts):
            return refusal(421, "wrong_host", "this server is not known by that name")
        origin = headers.get("origin", "").lower()
        is_own = origin in {f"http://{host[0]}", f"https://{host[0]}"}
        if origin and not (is_own or origin in self._origins):
            return refusal(403, "wrong_origin", "pages of other sites may not ask this server")
        site = headers.get("sec-fetch-site", "none")
        if not origin and method != "GET" and site not in {"none", "same-origin"}:
            return refusal(403, "wrong_origin", "pages of other sites may not ask this server")
        if method == "POST" and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return refusal(415, "wrong_type", "send JSON, with the content type application/json")
        return None

    def sharing(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers by which a browser lets a page of an allowed origin read the answer."""
        origin = headers.get("origin", "")
        if origin.lower() not in self._origins:
            return {"vary": "Origin"}
        return {
            "vary": "Origin",
            "access-control-allow-origin": origin,
            "access-control-allow-methods": "GET, POST",
            "access-control-allow-headers": "content-type, last-event-id, accept, user-agent",
            "access-control-expose-headers": "x-vercel-ai-ui-message-stream",
            "access-control-max-age": "600",
        }

"""The page of a chat application, and what a browser may do for it.

Above: `_web_chat`. Below: the file `_chat_page.html`, which holds its one style and its one script.
"""

from __future__ import annotations

import base64
import hashlib
import html
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..transports import Receive, Scope, Send

__all__ = ["Page", "read_page"]


class Page:
    """The page, and what the browser may do for it: run its own script, and ask its own server."""

    def __init__(self, body: bytes, policy: str) -> None:
        self._body = body
        self._headers = {
            "content-type": "text/html; charset=utf-8",
            "content-length": str(len(body)),
            "content-security-policy": policy,
            "referrer-policy": "no-referrer",
            "cache-control": "no-cache",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the page. Cancellation: leaves it half sent."""
        headers = [(name.encode(), value.encode()) for name, value in self._headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})


def read_page(title: str) -> Page:
    """Return the page with its title. Reads a file."""
    text = (
        files(__package__ or "").joinpath("_chat_page.html").read_text("utf-8").replace("{{title}}", html.escape(title))
    )
    own = {tag: _hash_of(text, tag) for tag in ("script", "style")}
    policy = (
        f"default-src 'none'; script-src {own['script']}; style-src {own['style']}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(text.encode(), policy)


def _hash_of(page: str, tag: str) -> str:
    """Return what lets a browser run the one script, or use the one style, of the page, and no other."""
    _, _, rest = page.partition(f"<{tag}>")
    inner, _, _ = rest.partition(f"</{tag}>")
    return f"'sha256-{base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()}'"

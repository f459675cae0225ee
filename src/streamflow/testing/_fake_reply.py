"""What a fake model server makes of a request: the reply, and the account of the call.

Above: `_fake_llm`, `_fake_asgi`, `_fake_transport`. Below: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["BrokenConnection", "FakeCall", "FakeReply"]


class BrokenConnection(Exception):  # noqa: N818 - it is no error of ours: whoever speaks to the client breaks off
    """Raised out of the body of a reply: the connection is to be broken."""


class FakeReply(NamedTuple):
    """A response, before it goes to whoever asked."""

    status: int
    """The HTTP status."""
    headers: dict[str, str]
    """Its headers."""
    body: AsyncGenerator[bytes, None]
    """Its body, piece by piece; close it to hang up."""


class FakeCall:
    """One request for an answer, and what became of it."""

    def __init__(self, number: int, path: str, model: str, *, streams: bool, peer: str) -> None:
        self.number: int = number
        """Counts the calls from 1."""
        self.path: str = path
        """What was asked, as in `chat/completions`."""
        self.model: str = model
        """The model's name, faults included."""
        self.streams: bool = streams
        """Whether the answer is streamed."""
        self.peer: str = peer
        """Names the connection that it came over."""
        self.events: int = 0
        """How many events have been sent."""
        self.how: str = ""
        """How it ended: `finished`, `refused` (a status that is no success), `cut`, `disconnected`; empty before."""
        self.gate: anyio.Event = anyio.Event()
        """Lets a call with the fault `gate` go on."""
        self.ended: anyio.Event = anyio.Event()
        """Set when it has ended."""

    def report(self) -> dict[str, object]:
        """Return what is known of it."""
        names = ("number", "path", "model", "streams", "peer", "events", "how")
        return {name: getattr(self, name) for name in names}

    def end(self, how: str) -> None:
        """Note how it has ended, once."""
        self.how = self.how or how
        self.ended.set()

"""Faults that a client can ask a fake model server for, one request at a time.

Above: `_fake_llm`. Below: nothing. Waits for nothing.
They stand in the name of the model, as in `any?status=429&retry_after=2`, which every client can send, or in the header
`x-fake-llm: status=429&retry_after=2`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import msgspec

from ..errors import ProviderError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Faults", "faults_of", "split_badly"]


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes wrong with one request. Numbers of events count those of the answer, from its first."""

    status: int | None = None
    """Answer with this HTTP status."""
    retry_after: str | None = None
    """With this `Retry-After` header: seconds, or a date."""
    location: str | None = None
    """With this `Location` header."""
    quote: bool = False
    """With an error that quotes the request's key and last message."""
    whole: bool = False
    """Answer in one piece, though a stream was asked for."""
    page: bool = False
    """Answer with a page of HTML."""
    times: int | None = None
    """Only the first n requests with this very model have these faults; None: all."""
    first: float = 0.0
    """Seconds before the first event, after the head of the response."""
    slow: float = 0.0
    """Seconds before each event."""
    cut: int | None = None
    """Break the connection after n events."""
    stall: int | None = None
    """Fall silent after n events."""
    gate: int | None = None
    """Wait after n events until the call is released."""
    malformed: int | None = None
    """Send what is no JSON after n events, and nothing more."""
    error: int | None = None
    """Send an error inside the stream after n events, and nothing more."""
    end: int | None = None
    """End the stream properly after n events."""
    huge: int | None = None
    """Send a first event of n characters."""
    usage: bool = True
    """Whether to tell the usage."""
    done: bool = True
    """Whether to send the wire's last event (`[DONE]`, `message_stop`)."""
    ping: bool = False
    """Send something to keep the stream open before each event."""
    keep_alive: float | None = None
    """Send it also after each n seconds of `first`, `slow` and `stall`."""
    split: int | None = None
    """Send few bytes at a time, cut inside characters and escapes; the number makes other cuts."""

    def pauses(self, seconds: float) -> Iterator[float]:
        """Yield how long to wait, in parts: between two of them something keeps the stream open."""
        part = self.keep_alive or seconds
        while seconds > part:
            yield part
            seconds -= part
        yield seconds


_NOTHING: Final = Faults()
_MAX_CHARS: Final = 1000


def faults_of(model: str | None, header: str | None) -> Faults:
    """Return what is to go wrong.

    Args:
        model: Name of the model; the faults stand behind a `?`.
        header: The header `x-fake-llm`.

    Raises:
        ProviderError: If a fault is unknown, or has a wrong value; `bad_request`.
    """
    asked = "&".join(one for one in ((model or "").partition("?")[2], header or "") if one)
    if not asked:
        return _NOTHING
    try:
        named = dict(parse_qsl(asked[:_MAX_CHARS], keep_blank_values=True))
        named.pop("id", None)  # stands for nothing: by it one call can be told from another
        return msgspec.convert({key: value or "1" for key, value in named.items()}, Faults, strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        known = ", ".join(Faults.__struct_fields__)
        raise ProviderError("bad_request", f"no such fault: {error}; there are {known}") from error


def split_badly(data: bytes, seed: int) -> Iterator[bytes]:
    """Yield the bytes in pieces of one to six, so that characters, escapes and line ends are cut."""
    draw = random.Random(seed)  # noqa: S311 - nothing secret hangs on it
    at = 0
    while at < len(data):
        size = draw.randint(1, 6)
        yield data[at : at + size]
        at += size

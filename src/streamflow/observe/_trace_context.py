"""W3C trace context: the two headers by which a trace goes from one process to the next, read strictly, and written.

Above: `_tracing`, `_trace_spans`, users. Below: `errors`.
Source: W3C Recommendation "Trace Context", level 1. What is malformed is refused whole; a peer's header never raises in a run.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Final, cast

import msgspec

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

__all__ = ["TraceContext", "new_span_id", "new_trace_id"]

_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?", re.ASCII)
_KEY: Final = r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_MEMBER: Final = re.compile(rf"({_KEY})=([ -+\--<>-~]{{0,255}}[!-+\--<>-~])", re.ASCII)
_MOST_MEMBERS: Final = 32
_MOST_CHARS: Final = 512
_SAMPLED: Final = 1

_random = random.Random()  # noqa: S311 - ids are not secret, and the module's own generator may have been seeded by the user


def new_trace_id() -> int:
    """Return a new trace id, as a number of 128 bits that is not 0."""
    return _random.getrandbits(128) or 1


def new_span_id() -> str:
    """Return a new span id, as 16 hexadecimal digits."""
    return f"{_random.getrandbits(64) or 1:016x}"


class TraceContext(msgspec.Struct, frozen=True):
    """Where a trace goes on: the trace, the span that called, and whether it is recorded.

    Raises:
        ConfigError: If an id is no such id, or `state` is no `tracestate`.

    Source: W3C Trace Context.
    """

    trace_id: str
    """32 hexadecimal digits in lower case, not all 0."""
    span_id: str
    """The span that called: 16 hexadecimal digits in lower case, not all 0."""
    sampled: bool = True
    """Whether who called records the trace."""
    state: str = ""
    """What vendors have written along the way, as in the `tracestate` header."""

    def __post_init__(self) -> None:
        for field, digits in (("trace_id", 32), ("span_id", 16)):
            value: object = getattr(self, field)
            if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value) or not value.strip("0"):
                message = f"{digits} hexadecimal digits in lower case were expected, not all 0, got {value!r:.80}"
                raise ConfigError(field, message)
        if self.state and _read_state(self.state) != self.state:
            raise ConfigError("state", f"no tracestate: {self.state!r:.80}; give a list such as 'vendor=value,other=1'")

    @classmethod
    def parse(cls, traceparent: str, tracestate: str = "") -> Self:
        """Return what two headers say. A `tracestate` that is malformed is left out, as the standard asks.

        Args:
            traceparent: As `00-<trace id>-<span id>-<flags>`; of a later version, what is known of it.
            tracestate: The vendors' list; several headers joined by commas.

        Raises:
            ConfigError: If `traceparent` is malformed.
        """
        given = cast("object", traceparent)
        found = _PARENT.fullmatch(given) if isinstance(given, str) else None
        if found is None or found[1] == "ff" or (found[1] == "00" and found[5]) or not found[2].strip("0"):
            found = None
        if found is None or not found[3].strip("0"):
            message = f"no traceparent: {traceparent!r:.80}; it looks like 00-<32 digits>-<16 digits>-01"
            raise ConfigError("traceparent", message)
        return cls(found[2], found[3], bool(int(found[4], 16) & _SAMPLED), _read_state(tracestate))

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Self | None:
        """Return what a request's headers say; None if they say nothing that is well formed. Never raises: a peer wrote them.

        Args:
            headers: By name; upper and lower case are the same.
        """
        given = {
            name.lower(): value for name, value in headers.items() if name.lower() in ("traceparent", "tracestate")
        }
        try:
            return cls.parse(given["traceparent"].strip(" \t"), given.get("tracestate", ""))
        except (KeyError, ConfigError):
            return None

    @property
    def traceparent(self) -> str:
        """The header of that name."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def headers(self, *, state: bool = False) -> dict[str, str]:
        """Return the headers to send.

        Args:
            state: Whether to pass on what vendors have written: it may say more than a stranger should know.
        """
        told = {"traceparent": self.traceparent}
        if state and self.state:
            told["tracestate"] = self.state
        return told


def _read_state(text: object) -> str:
    """Return a `tracestate` that is well formed, as it is written; of any other nothing."""
    if not isinstance(text, str) or len(text) > _MOST_CHARS:
        return ""
    members = [one.strip(" \t") for one in text.split(",")]
    found = [_MEMBER.fullmatch(one) for one in members if one]
    keys = [one[1] for one in found if one is not None]
    if len(keys) != len(found) or len(keys) > _MOST_MEMBERS or len(set(keys)) != len(keys):
        return ""
    return ",".join(one for one in members if one)

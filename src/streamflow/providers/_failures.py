"""What a model server's failures are called: status codes and error objects to `ProviderError`.

Above: `_call`, the connections, the wires. Below: `_secrets`.
Rule: nothing secret leaves. The keys and the texts of the request are taken out of whatever a server says, and what it says is cut
to one printable line.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import msgspec

from ..errors import ProviderError
from ._json import object_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._secrets import Secrets

__all__ = ["Failures"]

_MAX_SHOWN = 300  # characters of a server's own words in an error
_MAX_DIGITS = 18  # of a number in a header; int() refuses more than 4300

# Substrings of `type` and `code` in the error objects of OpenAI, Anthropic, vLLM, llama.cpp, Ollama and others, first match wins.
_WORDS = (
    ("insufficient_quota", "rate_limited", False),
    ("billing", "rate_limited", False),
    ("rate_limit", "rate_limited", True),
    ("ratelimit", "rate_limited", True),
    ("auth", "auth", False),
    ("api_key", "auth", False),
    ("permission", "auth", False),
    ("overloaded", "overloaded", True),
    ("unavailable", "overloaded", True),
    ("timeout", "overloaded", True),
    ("server", "overloaded", True),  # server_error, InternalServerError
    ("api_error", "overloaded", True),  # what Anthropic calls an internal error
    ("content_filter", "refused", False),
    ("content_policy", "refused", False),
    ("invalid_prompt", "refused", False),
    ("invalid", "bad_request", False),
    ("badrequest", "bad_request", False),
    ("context_length", "bad_request", False),
    ("not_found", "bad_request", False),
    ("too_large", "bad_request", False),
)


class Failures:
    """Makes the errors of one call to one model server.

    Args:
        server: What to call the server, as in `api.example.org:443`.
        secrets: What is taken out of all texts.
        key_hint: What to check when the server does not accept the key.
        path: What was appended to the address.
    """

    def __init__(self, server: str, secrets: Secrets, key_hint: str, path: str) -> None:
        self.server = server
        """What the server is called."""
        self._secrets = secrets
        self._key_hint = key_hint
        self._path = path

    def of_status(self, status: int, body: bytes, headers: Mapping[str, str]) -> ProviderError:
        """Return the error for a response that is no success.

        Args:
            status: The HTTP status.
            body: The beginning of the response body.
            headers: Its headers, of which `retry-after` and `retry-after-ms` are read.
        """
        where = f"{self.server} answered HTTP {status}"
        if status == 401:  # what servers say here likes to quote a part of the key
            return ProviderError("auth", f"{where}: it does not accept the API key; check {self._key_hint}")
        error = _error_object(body)
        said = self._said(error if error is not None else body.decode("utf-8", "replace"))
        if 300 <= status < 400:
            return ProviderError("protocol", f"{where}, a redirect, which is not followed; set base_url to its target")
        code, retryable = _of_status(status)
        words = _of_words(error)
        if status == 429 and words == ("rate_limited", False):
            retryable = False
        elif status == 400 and words is not None and words[0] in {"refused", "rate_limited"}:
            code, retryable = words  # servers that have one status for all they do not like
        hint = {
            "auth": "; check what the API key may do",
            "rate_limited": "; send less, or retry later" if retryable else "; check the plan and its quota",
            "overloaded": "; retry later",
        }.get(
            code,
            f"; check base_url, which {self._path} is appended to, and the model's name"
            if status in {404, 405}
            else "",
        )
        wait_s = _wait_of(headers) if retryable else None
        return ProviderError(code, f"{where}{f': {said}' if said else ''}{hint}", retryable, wait_s)

    def of_error(self, error: object) -> ProviderError:
        """Return the error for an error object inside a successful response."""
        status = object_of(error).get("code")
        if isinstance(status, str) and len(status) == 3 and status.isascii() and status.isdigit():
            status = int(status)
        words = _of_words(error)
        if isinstance(status, int) and 400 <= status < 600:
            code, retryable = words if words is not None and words[0] == "refused" else _of_status(status)
        else:
            code, retryable = words or ("protocol", False)
        return ProviderError(
            code, f"{self.server} broke off with an error: {self._said(error) or 'no reason given'}", retryable
        )

    def of_body(self, kind: str, body: bytes) -> ProviderError:
        """Return the error for a successful response that is no stream of events.

        Args:
            kind: Its media type.
            body: The beginning of its body.
        """
        error = _error_object(body)
        if {"choices", "content", "output"} & object_of(error).keys():
            return self.malformed("it answered in one piece, so it seems not to stream")
        return self.malformed(f"it sent {kind!r:.40} instead of events") if error is None else self.of_error(error)

    def unreachable(self, reason: str) -> ProviderError:
        """Return the error for a connection that did not come about."""
        return ProviderError(
            "transport",
            f"cannot reach {self.server} ({reason}); check base_url, the network, and that the server runs",
            True,
        )

    def silent(self, limit_s: float | None) -> ProviderError:
        """Return the error for a server that sends nothing, for `limit_s` seconds where that is known."""
        since = "for too long" if limit_s is None else f"for {limit_s:g} s"
        return ProviderError(
            "transport", f"{self.server} sent nothing {since}; raise timeout_s or check the server", True
        )

    def late(self, limit_s: float) -> ProviderError:
        """Return the error for a server whose answer does not begin."""
        message = f"{self.server} began no answer within {limit_s:g} s; raise first_token_timeout_s or check the server"
        return ProviderError("transport", message, True)

    def not_sent(self, reason: str) -> ProviderError:
        """Return the error for a request that the client could not send as it is."""
        message = f"the client could not send the request to {self.server} ({reason}); check how it is configured"
        return ProviderError("bad_request", message, False)

    def truncated(self, reason: str) -> ProviderError:
        """Return the error for an answer that stopped before it was complete."""
        return ProviderError("truncated", f"the answer of {self.server} was cut off: {reason}", True)

    def malformed(self, reason: str) -> ProviderError:
        """Return the error for a response that is not what it should be."""
        told = self._secrets.taken_out_of(reason)  # it may quote a header
        return ProviderError("protocol", f"{self.server} does not speak this protocol: {told}; check base_url", False)

    def too_large(self, what: str, setting: str) -> ProviderError:
        """Return the error for an answer that is beyond a limit."""
        return ProviderError("protocol", f"{self.server} sent {what}; if that is wanted, raise {setting}", False)

    def _said(self, error: object) -> str:
        """Return a server's own words: one printable line, bounded, without secrets."""
        text = self._secrets.taken_out_of(_message(error))
        line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return line if len(line) <= _MAX_SHOWN else f"{line[:_MAX_SHOWN]}…"


def _of_status(status: int) -> tuple[str, bool]:
    if status in {401, 403}:
        return "auth", False
    if status == 429:
        return "rate_limited", True
    if status == 402:
        return "rate_limited", False
    if status >= 500 or status == 408:
        return "overloaded", True
    return "bad_request", False


def _wait_of(headers: Mapping[str, str]) -> float | None:
    """Return how long the server asks to wait, in seconds; None if it does not say."""
    exact = headers.get("retry-after-ms", "").strip()
    if exact.isdecimal() and len(exact) <= _MAX_DIGITS:
        return float(exact) / 1000
    return _seconds_of(headers.get("retry-after"))


def _seconds_of(retry_after: str | None) -> float | None:
    """Return what a `Retry-After` header asks for, in seconds from now; None if it says nothing (RFC 9110, 10.2.3)."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal() and len(retry_after) <= _MAX_DIGITS:
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _of_words(error: object) -> tuple[str, bool] | None:
    fields = object_of(error)
    words = f"{fields.get('type')} {fields.get('code')}".lower()
    return next(((code, retryable) for word, code, retryable in _WORDS if word in words), None)


def _error_object(body: bytes) -> object:
    """Return what a JSON body says about the error, None if it is no JSON object."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):  # RecursionError: nested deeper than msgspec reads
        return None
    fields = object_of(decoded)
    return fields.get("error") or fields or None


def _message(error: object) -> str:
    if isinstance(error, str):
        return "" if "<" in error[:200] else error  # a proxy's HTML page says nothing in a line
    fields = object_of(error)
    return next((said for key in ("message", "detail", "error") if isinstance(said := fields.get(key), str)), "")

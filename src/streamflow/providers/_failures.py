"""What a model server's failures are called: status codes and error objects to `ProviderError`.

Above: the providers that speak HTTP. Below: `_protocol`.
Rule: nothing secret leaves. The API key and the texts of the request are taken out of whatever a server says, and what it says is
cut to one printable line.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, cast

import msgspec

from ..errors import ProviderError

if TYPE_CHECKING:
    from ._protocol import ModelRequest

__all__ = ["Failures"]

_MAX_SHOWN = 300  # characters of a server's own words in an error
_MIN_SECRET = 8  # a shorter text is a dummy key or small talk, and taking it out would garble other words

# Substrings of `type` and `code` in the error objects of OpenAI, vLLM, llama.cpp, Ollama and OpenRouter, first match wins.
_WORDS = (
    ("insufficient_quota", "rate_limited", False),
    ("rate_limit", "rate_limited", True),
    ("ratelimit", "rate_limited", True),
    ("auth", "auth", False),
    ("api_key", "auth", False),
    ("permission", "auth", False),
    ("overloaded", "overloaded", True),
    ("unavailable", "overloaded", True),
    ("timeout", "overloaded", True),
    ("server", "overloaded", True),  # server_error, InternalServerError
    ("content_filter", "refused", False),
    ("content_policy", "refused", False),
    ("invalid", "bad_request", False),
    ("badrequest", "bad_request", False),
    ("context_length", "bad_request", False),
    ("not_found", "bad_request", False),
)


class Failures:
    """Makes the errors of one call to one model server.

    Args:
        server: What to call the server, as in `api.example.org:443`.
        api_key: Taken out of all texts.
        request: Whose texts are taken out of all texts.
    """

    def __init__(self, server: str, api_key: str | None, request: ModelRequest) -> None:
        self.server = server
        """What the server is called."""
        self._api_key = api_key
        self._request = request

    def of_status(self, status: int, body: bytes, retry_after: str | None = None) -> ProviderError:
        """Return the error for a response that is no success.

        Args:
            status: The HTTP status.
            body: The beginning of the response body.
            retry_after: Its `Retry-After` header, None if there is none.
        """
        where = f"{self.server} answered HTTP {status}"
        if status == 401:  # what servers say here likes to quote a part of the key
            return ProviderError("auth", f"{where}: it does not accept the API key; check api_key or OPENAI_API_KEY")
        error = _error_object(body)
        said = self._said(error if error is not None else body.decode("utf-8", "replace"))
        if 300 <= status < 400:
            return ProviderError("protocol", f"{where}, a redirect, which is not followed; set base_url to its target")
        code, retryable = _of_status(status)
        if status == 429 and _of_words(error) == ("rate_limited", False):
            retryable = False
        hint = {
            "auth": "; check what the API key may do",
            "rate_limited": "; send less, or retry later" if retryable else "; check the plan and its quota",
            "overloaded": "; retry later",
        }.get(code, "; check base_url and the model's name" if status in {404, 405} else "")
        wait_s = _seconds_of(retry_after) if retryable else None
        return ProviderError(code, f"{where}{f': {said}' if said else ''}{hint}", retryable, wait_s)

    def of_error(self, error: object) -> ProviderError:
        """Return the error for an error object inside a successful response."""
        status = _fields(error).get("code")
        if isinstance(status, str) and len(status) == 3 and status.isascii() and status.isdigit():
            status = int(status)
        if isinstance(status, int) and 400 <= status < 600:
            code, retryable = _of_status(status)
        else:
            code, retryable = _of_words(error) or ("protocol", False)
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
        if "choices" in _fields(error):
            return self.malformed("it answered in one piece, so it seems not to stream")
        return self.malformed(f"it sent {kind!r:.40} instead of events") if error is None else self.of_error(error)

    def unreachable(self, reason: str) -> ProviderError:
        """Return the error for a connection that did not come about."""
        return ProviderError(
            "transport",
            f"cannot reach {self.server} ({reason}); check base_url, the network, and that the server runs",
            True,
        )

    def silent(self, limit_s: float) -> ProviderError:
        """Return the error for a server that sends nothing."""
        return ProviderError(
            "transport", f"{self.server} sent nothing for {limit_s:g} s; raise timeout_s or check the server", True
        )

    def truncated(self, reason: str) -> ProviderError:
        """Return the error for an answer that stopped before it was complete."""
        return ProviderError("truncated", f"the answer of {self.server} was cut off: {reason}", True)

    def malformed(self, reason: str) -> ProviderError:
        """Return the error for a response that is not what it should be."""
        return ProviderError("protocol", f"{self.server} does not speak this protocol: {reason}; check base_url", False)

    def too_large(self, what: str, setting: str) -> ProviderError:
        """Return the error for an answer that is beyond a limit."""
        return ProviderError("protocol", f"{self.server} sent {what}; if that is wanted, raise {setting}", False)

    def _said(self, error: object) -> str:
        """Return a server's own words: one printable line, bounded, without secrets."""
        text = _message(error)
        for secret in (self._api_key or "", *(message.text for message in self._request.messages)):
            if len(secret) >= _MIN_SECRET:
                text = text.replace(secret, "***")
        line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return line if len(line) <= _MAX_SHOWN else f"{line[:_MAX_SHOWN]}…"


def _of_status(status: int) -> tuple[str, bool]:
    if status in {401, 403}:
        return "auth", False
    if status == 429:
        return "rate_limited", True
    if status >= 500 or status == 408:
        return "overloaded", True
    return "bad_request", False


def _seconds_of(retry_after: str | None) -> float | None:
    """Return what a `Retry-After` header asks for, in seconds from now; None if it says nothing (RFC 9110, 10.2.3)."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _of_words(error: object) -> tuple[str, bool] | None:
    fields = _fields(error)
    words = f"{fields.get('type')} {fields.get('code')}".lower()
    return next(((code, retryable) for word, code, retryable in _WORDS if word in words), None)


def _error_object(body: bytes) -> object:
    """Return what a JSON body says about the error, None if it is no JSON object."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):  # RecursionError: nested deeper than msgspec reads
        return None
    fields = _fields(decoded)
    return fields.get("error") or fields or None


def _message(error: object) -> str:
    if isinstance(error, str):
        return "" if "<" in error[:200] else error  # a proxy's HTML page says nothing in a line
    fields = _fields(error)
    return next((said for key in ("message", "detail", "error") if isinstance(said := fields.get(key), str)), "")


def _fields(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}

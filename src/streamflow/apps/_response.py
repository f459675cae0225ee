"""The record of one answer: what was said, by whom, what it cost, how long it took, or why there is none.

Above: `_session`, `_agent`, users. Below: `elements`, `errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..elements import (
    ErrorElement,
    MessageElement,
    StopReason,
    TextElement,
    ToolCallPart,
    TurnEnd,
    TurnReset,
    Usage,
    UsageElement,
    thaw,
)
from ..errors import ProviderError, StageError, StreamflowError

if TYPE_CHECKING:
    from ..elements import StreamElement

__all__ = ["LLMResponse", "ResponseNotes"]


class LLMResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one answer. A number that nobody has told is None, which is not zero.

    Source: seed 000 (LLMResponse).
    """

    content: str
    """The text of the answer; of a failed one, what had been said."""
    provider: str | None = None
    """Who answered."""
    model: str | None = None
    """The model."""
    input_tokens: int | None = None
    """Tokens read."""
    output_tokens: int | None = None
    """Tokens written."""
    cached_tokens: int | None = None
    """Part of `input_tokens` that came from the provider's cache."""
    latency_ms: float | None = None
    """From the start of the run to the whole answer, or to the failure, in milliseconds of the event loop's clock."""
    finish_reason: StopReason | None = None
    """Why the model stopped; `error` for a failed call."""
    tool_calls: tuple[ToolCallPart, ...] = ()
    """The tools that it wants to be called."""
    error: str | None = None
    """What went wrong, safe to show, as in `LLM call failed: …`; None: nothing."""
    error_type: str | None = None
    """Name of the exception's class."""

    @property
    def total_tokens(self) -> int | None:
        """Tokens read and written; None where neither is known."""
        if self.input_tokens is None and self.output_tokens is None:
            return None
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong."""
        return self.error is None

    def to_dict(self) -> dict[str, object]:
        """Return the record as values that JSON can hold; the error only where there is one."""
        told: dict[str, object] = {
            "content": self.content,
            "provider": self.provider,
            "model": self.model,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "latency_ms": self.latency_ms,
            "finish_reason": self.finish_reason,
            "tool_calls": [
                {"id": one.call_id, "name": one.name, "arguments": thaw(one.args)} for one in self.tool_calls
            ],
            "cached_tokens": self.cached_tokens,
        }
        if self.error is not None:
            told |= {"error": self.error, "error_type": self.error_type}
        return told


class ResponseNotes:
    """Notes what the elements of one turn say, and makes the record of it."""

    def __init__(self) -> None:
        self._texts: list[TextElement] = []
        self._content: str | None = None
        self._usage = Usage()
        self._stop_reason: StopReason | None = None
        self._tool_calls: tuple[ToolCallPart, ...] = ()
        self._error: tuple[str, str] | None = None
        self._latency_ms: float | None = None

    def see(self, element: StreamElement, elapsed_s: float) -> None:
        """Note an element.

        Args:
            element: The element.
            elapsed_s: Seconds since the run began.
        """
        match element:
            case TextElement():
                if not element.path and "agent" not in element.metadata:
                    self._texts.append(element)
            case TurnReset(answer=answer):
                self._texts = [one for one in self._texts if answer and one.id != answer]
            case MessageElement() if element.message.role == "assistant":
                self._texts.clear()
                self._content = element.message.text
                self._stop_reason = element.message.stop_reason
                self._tool_calls = element.message.tool_calls
                self._latency_ms = elapsed_s * 1000
            case UsageElement() if element.final:
                self._usage = self._usage + element.usage
            case TurnEnd() if self._stop_reason is None or element.stop_reason == "error":
                self._stop_reason = element.stop_reason
            case ErrorElement() if element.fatal or element.metadata.get("error_type") is not None:
                self._fail(element.message, str(element.metadata.get("error_type", element.code)), elapsed_s)
            case _:
                pass

    def fail(self, error: StreamflowError, elapsed_s: float) -> None:
        """Note what the run has raised. Only texts that were made to be shown are told."""
        cause = error.__cause__ if isinstance(error, StageError) else None
        if cause is None:
            self._fail(str(error), type(error).__name__, elapsed_s)
            return
        if isinstance(cause, ProviderError):
            self._fail(f"LLM call failed: {cause}", type(cause.__cause__ or cause).__name__, elapsed_s)
            return
        stage = error.stage if isinstance(error, StageError) else None
        self._fail(f"stage {stage!r} failed: {type(cause).__name__}", type(cause).__name__, elapsed_s)

    def _fail(self, message: str, kind: str, elapsed_s: float) -> None:
        self._error = (message, kind)
        self._stop_reason = "error"
        self._latency_ms = elapsed_s * 1000

    def made(self) -> LLMResponse:
        """Return the record of what was seen."""
        message, kind = self._error if self._error is not None else (None, None)
        said = "".join(one.text for one in self._texts)
        # Behind a message that only called tools, an answer may have been cut off by the failure.
        was_cut = self._error is not None and said != ""
        return LLMResponse(
            content=said if was_cut or self._content is None else self._content,
            provider=self._usage.provider,
            model=self._usage.model,
            input_tokens=self._usage.input_tokens,
            output_tokens=self._usage.output_tokens,
            cached_tokens=self._usage.cached_tokens,
            latency_ms=self._latency_ms,
            finish_reason=self._stop_reason,
            tool_calls=self._tool_calls,
            error=message,
            error_type=kind,
        )

"""The wire of Anthropic's messages, as a fake model server speaks it.

Above: `_fake_llm`. Below: `_fake_wire`, `_fake_requests`. Waits for nothing.
This wire has no pictures and no sound from the model: they are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..elements import (
    DataElement,
    MessageElement,
    TextElement,
    TextPart,
    ThinkingElement,
    ThinkingPart,
    ToolCallDelta,
    ToolCallElement,
    ToolCallPart,
    Usage,
    UsageElement,
    thaw,
)
from ._fake_requests import Json, messages_request
from ._fake_wire import Event

if TYPE_CHECKING:
    from ..elements import StopReason, StreamElement
    from ..errors import ProviderError
    from ..providers import ModelRequest

__all__ = ["MessagesWire"]

_REASONS: Final[dict[StopReason, str]] = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "approval": "tool_use",
    "refusal": "refusal",
    "content_filter": "refusal",
    "pause": "pause_turn",
}
_TYPES: Final = {
    "auth": "authentication_error",
    "rate_limited": "rate_limit_error",
    "overloaded": "overloaded_error",
    "bad_request": "invalid_request_error",
    "refused": "invalid_request_error",
}


class MessagesWire:
    """`/v1/messages`."""

    def __init__(self, body: Json, call: int) -> None:
        self.request: ModelRequest = messages_request(body)
        """What was asked."""
        self.wants_usage: bool = True
        """Whether the client wants to know the usage: it always gets it."""
        self._id = f"msg_{call}"
        self._model = self.request.model or "fake"
        self._usage: Usage | None = None
        self._index = -1
        self._open: str | None = None
        self._open_call = ""

    def begin(self) -> list[Event]:
        """Return what opens a stream."""
        message: Json = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return [_event("message_start", message=message)]

    def take(self, element: StreamElement) -> list[Event]:
        """Return the events of one element."""
        match element:
            case TextElement():
                delta: Json = {"type": "text_delta", "text": element.text}
                return [*self._in_block("text", {"type": "text", "text": ""}), self._delta(delta)]
            case ThinkingElement():
                return self._think(element)
            case ToolCallDelta():
                return self._call(element)
            case ToolCallElement():
                return self._close()
            case DataElement(name="citation"):
                delta = {"type": "citations_delta", "citation": thaw(element.value)}
                return [*self._in_block("text", {"type": "text", "text": ""}), self._delta(delta)]
            case UsageElement():
                self._usage = element.usage
                return []
            case MessageElement():
                reason = _REASONS.get(element.message.stop_reason or "stop", "end_turn")
                delta = {"stop_reason": reason, "stop_sequence": None}
                usage = _messages_usage(self._usage)
                return [*self._close(), _event("message_delta", delta=delta, usage=usage), _event("message_stop")]
            case _:
                return []

    def failure(self, error: ProviderError) -> list[Event]:
        """Return how a stream tells of an error."""
        return [Event(self.error_body(error), "error")]

    def ping(self) -> Event | None:
        """Return the event that this wire has for it."""
        return _event("ping")

    def whole(self, message: MessageElement, usage: Usage | None) -> Json:
        """Return the body of an answer that is not streamed."""
        content: list[Json] = []
        for part in message.message.parts:
            match part:
                case TextPart():
                    content.append({"type": "text", "text": part.text})
                case ThinkingPart():
                    content.append({"type": "thinking", "thinking": part.text, "signature": part.signature or ""})
                case ToolCallPart():
                    args = thaw(part.args)
                    content.append({"type": "tool_use", "id": part.call_id, "name": part.name, "input": args})
                case _:
                    pass
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": _REASONS.get(message.message.stop_reason or "stop", "end_turn"),
            "stop_sequence": None,
            "usage": _messages_usage(usage),
        }

    def error_body(self, error: ProviderError) -> Json:
        """Return the body of a response that is no success."""
        return {
            "type": "error",
            "error": {"type": _TYPES.get(error.code, "api_error"), "message": error.message},
            "request_id": f"req_{self._id}",
        }

    def _think(self, element: ThinkingElement) -> list[Event]:
        events = self._in_block("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        if element.text:
            events.append(self._delta({"type": "thinking_delta", "thinking": element.text}))
        if element.signature is not None:
            events.append(self._delta({"type": "signature_delta", "signature": element.signature}))
            events += self._close()
        return events

    def _call(self, delta: ToolCallDelta) -> list[Event]:
        block: Json = {"type": "tool_use", "id": delta.call_id, "name": delta.name, "input": {}}
        events: list[Event] = []
        if self._open != "tool_use" or self._open_call != delta.call_id:
            events = [*self._close(), *self._in_block("tool_use", block)]
            self._open_call = delta.call_id
        return [*events, self._delta({"type": "input_json_delta", "partial_json": delta.args})]

    def _in_block(self, kind: str, block: Json) -> list[Event]:
        """Return what it takes to be in a block of this kind."""
        if self._open == kind:
            return []
        events = self._close()
        self._open = kind
        self._index += 1
        return [*events, _event("content_block_start", index=self._index, content_block=block)]

    def _close(self) -> list[Event]:
        if self._open is None:
            return []
        self._open = None
        return [_event("content_block_stop", index=self._index)]

    def _delta(self, delta: Json) -> Event:
        return _event("content_block_delta", index=self._index, delta=delta)


def _event(name: str, **fields: object) -> Event:
    return Event({"type": name, **fields}, name)


def _messages_usage(usage: Usage | None) -> Json:
    """Return the usage; this wire counts the tokens of its cache apart."""
    told = usage or Usage()
    cached, stored = told.cached_tokens or 0, told.cache_write_tokens or 0
    return {
        "input_tokens": max(0, (told.input_tokens or 0) - cached - stored),
        "output_tokens": told.output_tokens or 0,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": stored,
    }

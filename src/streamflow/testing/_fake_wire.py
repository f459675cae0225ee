"""What the three wires of a fake model server have in common, and the first of them: OpenAI's chat completions.

Above: `_fake_llm`. Below: `_fake_requests`, `elements`. Waits for nothing.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

from ..elements import (
    AudioElement,
    DataElement,
    ImageElement,
    MessageElement,
    TextElement,
    ThinkingElement,
    ToolCallDelta,
    Usage,
    UsageElement,
    thaw,
)
from ._fake_requests import Json, chat_request, fields_of

if TYPE_CHECKING:
    from ..elements import StopReason, StreamElement
    from ..errors import ProviderError
    from ..providers import ModelRequest

__all__ = ["ChatWire", "Event", "Wire", "base64_of", "data_url", "is_refusal", "openai_error", "status_of"]


class Event(NamedTuple):
    """One server-sent event of a wire."""

    data: Json | str
    """What it says: an object, or a text such as `[DONE]`."""
    name: str | None = None
    """Its type; None: this wire has none."""


class Wire(Protocol):
    """One answer in the words of one wire."""

    request: ModelRequest
    """What was asked."""
    wants_usage: bool
    """Whether the client wants to know the usage, or always gets it."""

    def begin(self) -> list[Event]:
        """Return what opens a stream."""
        ...

    def take(self, element: StreamElement) -> list[Event]:
        """Return the events of one element of the answer; the `MessageElement` ends it."""
        ...

    def failure(self, error: ProviderError) -> list[Event]:
        """Return how a stream tells of an error."""
        ...

    def ping(self) -> Event | None:
        """Return what keeps a silent stream open; None: a comment."""
        ...

    def whole(self, message: MessageElement, usage: Usage | None) -> Json:
        """Return the body of an answer that is not streamed."""
        ...

    def error_body(self, error: ProviderError) -> Json:
        """Return the body of a response that is no success."""
        ...


_STATUS: Final = {"auth": 401, "rate_limited": 429, "overloaded": 503, "bad_request": 400, "refused": 400}
_TYPES: Final = {
    "auth": ("authentication_error", "invalid_api_key"),
    "rate_limited": ("rate_limit_error", "rate_limit_exceeded"),
    "overloaded": ("server_error", "server_overloaded"),
    "bad_request": ("invalid_request_error", None),
    "refused": ("invalid_request_error", "content_policy_violation"),
}
_FINISH: Final[dict[StopReason, str]] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "approval": "tool_calls",
    "content_filter": "content_filter",
}
_AT_S: Final = 1_700_000_000  # when everything was made: a fake is the same every time


def status_of(error: ProviderError) -> int:
    """Return the HTTP status for an error."""
    return _STATUS.get(error.code, 500)


def openai_error(error: ProviderError) -> Json:
    """Return an error object as OpenAI words it."""
    kind, code = _TYPES.get(error.code, ("server_error", None))
    return {"message": error.message, "type": kind, "param": None, "code": code}


def base64_of(data: bytes) -> str:
    """Return bytes as text."""
    return base64.b64encode(data).decode()


def data_url(image: ImageElement) -> str:
    """Return the address of a picture, which may hold all of it."""
    return image.url or f"data:{image.mime or 'image/png'};base64,{base64_of(image.data or b'')}"


def is_refusal(element: TextElement) -> bool:
    """Return whether a text is a refusal's."""
    return element.metadata.get("refusal") is True


class ChatWire:
    """`/v1/chat/completions`."""

    def __init__(self, body: Json, call: int) -> None:
        self.request: ModelRequest = chat_request(body)
        """What was asked."""
        options = body.get("stream_options")
        self.wants_usage: bool = not body.get("stream") or (
            isinstance(options, dict)
            and fields_of(cast("object", options), "stream_options").get("include_usage") is True
        )
        """Whether the client wants to know the usage."""
        self._id = f"chatcmpl-{call}"
        self._model = self.request.model or "fake"
        self._usage: Usage | None = None
        self._called: set[str] = set()

    def begin(self) -> list[Event]:
        """Return what opens a stream."""
        return [self._chunk({"role": "assistant", "content": ""})]

    def take(self, element: StreamElement) -> list[Event]:
        """Return the events of one element."""
        match element:
            case TextElement():
                return [self._chunk({"refusal" if is_refusal(element) else "content": element.text})]
            case ThinkingElement():
                return [self._chunk({"reasoning_content": element.text})]
            case ToolCallDelta():
                return [self._chunk({"tool_calls": [self._call_delta(element)]})]
            case ImageElement():
                image = {"type": "image_url", "index": 0, "image_url": {"url": data_url(element)}}
                return [self._chunk({"images": [image]})]
            case AudioElement():
                audio = {"id": f"audio-{self._id}", "data": base64_of(element.data), "transcript": element.text or ""}
                return [self._chunk({"audio": audio})]
            case DataElement():
                return [self._chunk({"annotations": [thaw(element.value)]})]
            case UsageElement():
                self._usage = element.usage
                return []
            case MessageElement():
                return self._end(element.message.stop_reason or "stop")
            case _:
                return []

    def failure(self, error: ProviderError) -> list[Event]:
        """Return how a stream tells of an error."""
        return [Event({"error": openai_error(error)})]

    def ping(self) -> Event | None:
        """Return None: a comment."""
        return None

    def whole(self, message: MessageElement, usage: Usage | None) -> Json:
        """Return the body of an answer that is not streamed."""
        said = message.message
        refused = said.stop_reason == "refusal"
        calls = [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.raw}}
            for call in said.tool_calls
        ]
        told: Json = {"role": "assistant", "content": None if refused else said.text or None, "refusal": None}
        told |= {"refusal": said.text} if refused else {}
        told |= {"tool_calls": calls} if calls else {}
        finish = _FINISH.get(said.stop_reason or "stop", "stop")
        body: Json = {
            "id": self._id,
            "object": "chat.completion",
            "created": _AT_S,
            "model": self._model,
            "choices": [{"index": 0, "message": told, "logprobs": None, "finish_reason": finish}],
        }
        return body if usage is None else {**body, "usage": _chat_usage(usage)}

    def error_body(self, error: ProviderError) -> Json:
        """Return the body of a response that is no success."""
        return {"error": openai_error(error)}

    def _call_delta(self, delta: ToolCallDelta) -> Json:
        if delta.call_id in self._called:
            return {"index": delta.index, "function": {"arguments": delta.args}}
        self._called.add(delta.call_id)
        function = {"name": delta.name, "arguments": delta.args}
        return {"index": delta.index, "id": delta.call_id, "type": "function", "function": function}

    def _chunk(self, delta: Json, finish: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return Event(self._body([choice]))

    def _body(self, choices: list[object]) -> Json:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": _AT_S,
            "model": self._model,
            "choices": choices,
        }

    def _end(self, reason: StopReason) -> list[Event]:
        events = [self._chunk({}, _FINISH.get(reason, "stop"))]
        if self.wants_usage and self._usage is not None:
            events.append(Event({**self._body([]), "usage": _chat_usage(self._usage)}))
        return [*events, Event("[DONE]")]


def _chat_usage(usage: Usage) -> Json:
    read, written = usage.input_tokens or 0, usage.output_tokens or 0
    told: Json = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    if usage.cached_tokens is not None:
        told["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens is not None:
        told["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return told

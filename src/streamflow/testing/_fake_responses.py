"""The wire of OpenAI's responses, as a fake model server speaks it.

Above: `_fake_llm`. Below: `_fake_wire`, `_fake_requests`. Waits for nothing.
Rule: each thing is added, grows by deltas, and is done with its full value; all events have a running number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..elements import (
    AudioElement,
    DataElement,
    ImageElement,
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
from ._fake_requests import Json, responses_request
from ._fake_wire import Event, base64_of, is_refusal, openai_error

if TYPE_CHECKING:
    from ..elements import Message, StopReason, StreamElement
    from ..errors import ProviderError
    from ..providers import ModelRequest

__all__ = ["ResponsesWire"]

_INCOMPLETE: Final[dict[StopReason, str]] = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponsesWire:
    """`/v1/responses`."""

    def __init__(self, body: Json, call: int) -> None:
        self.request: ModelRequest = responses_request(body)
        """What was asked."""
        self.wants_usage: bool = True
        """Whether the client wants to know the usage: it always gets it."""
        self._call = call
        self._model = self.request.model or "fake"
        self._number = -1
        self._output: list[Json] = []
        self._item: Json | None = None
        self._key: object = None
        self._texts: list[str] = []
        self._citations: list[object] = []
        self._usage: Usage | None = None

    def begin(self) -> list[Event]:
        """Return what opens a stream."""
        opened = self._response("in_progress", None)
        return [self._event("response.created", response=opened), self._event("response.in_progress", response=opened)]

    def take(self, element: StreamElement) -> list[Event]:
        """Return the events of one element."""
        match element:
            case TextElement():
                return self._say(element)
            case ThinkingElement():
                return self._think(element)
            case ToolCallDelta():
                return self._ask(element)
            case ToolCallElement():
                return self._close()
            case ImageElement() if element.data is not None:
                item: Json = {"type": "image_generation_call", "status": "completed", "result": base64_of(element.data)}
                return [*self._open("image", item), *self._close()]
            case AudioElement():
                events = [self._event("response.audio.delta", delta=base64_of(element.data))]
                if element.text:
                    events.append(self._event("response.audio.transcript.delta", delta=element.text))
                return events
            case DataElement(name="citation"):
                return self._cite(element)
            case UsageElement():
                self._usage = element.usage
                return []
            case MessageElement():
                return self._end(element.message)
            case _:
                return []

    def failure(self, error: ProviderError) -> list[Event]:
        """Return how a stream tells of an error."""
        told = openai_error(error)
        response = {
            **self._response("failed", None),
            "error": {"code": told["code"] or told["type"], "message": error.message},
        }
        return [self._event("response.failed", response=response)]

    def ping(self) -> Event | None:
        """Return None: a comment."""
        return None

    def whole(self, message: MessageElement, usage: Usage | None) -> Json:
        """Return the body of an answer that is not streamed."""
        self._usage = usage
        said = message.message
        for part in said.parts:
            match part:
                case TextPart():
                    self.take(TextElement(part.text).with_metadata(refusal=said.stop_reason == "refusal"))
                case ThinkingPart():
                    self.take(ThinkingElement(part.text, signature=part.signature))
                case ToolCallPart():
                    self.take(ToolCallDelta(part.call_id, part.name, part.raw))
                    self._close()
                case _:
                    pass
        self._close()
        return self._response(_status(said), said)

    def error_body(self, error: ProviderError) -> Json:
        """Return the body of a response that is no success."""
        return {"error": openai_error(error)}

    def _say(self, element: TextElement) -> list[Event]:
        refused = is_refusal(element)
        part: Json = (
            {"type": "refusal", "refusal": ""} if refused else {"type": "output_text", "text": "", "annotations": []}
        )
        events = self._in_message("refusal" if refused else "text", part)
        self._texts.append(element.text)
        name = "response.refusal.delta" if refused else "response.output_text.delta"
        more: Json = {} if refused else {"logprobs": []}
        return [*events, self._item_event(name, content_index=0, delta=element.text, **more)]

    def _in_message(self, key: str, part: Json) -> list[Event]:
        if self._key == key:
            return []
        events = self._open(key, {"type": "message", "role": "assistant", "status": "in_progress", "content": []})
        return [*events, self._item_event("response.content_part.added", content_index=0, part=part)]

    def _cite(self, element: DataElement) -> list[Event]:
        events = self._in_message("text", {"type": "output_text", "text": "", "annotations": []})
        value = thaw(element.value)
        self._citations.append(value)
        place = len(self._citations) - 1
        name = "response.output_text.annotation.added"
        return [*events, self._item_event(name, content_index=0, annotation_index=place, annotation=value)]

    def _think(self, element: ThinkingElement) -> list[Event]:
        events: list[Event] = []
        if self._key != "thinking":
            events = self._open("thinking", {"type": "reasoning", "summary": []})
            part = {"type": "summary_text", "text": ""}
            events.append(self._item_event("response.reasoning_summary_part.added", summary_index=0, part=part))
        if element.text:
            self._texts.append(element.text)
            name = "response.reasoning_summary_text.delta"
            events.append(self._item_event(name, summary_index=0, delta=element.text))
        if element.signature is not None and self._item is not None:
            self._item["encrypted_content"] = element.signature
            events += self._close()
        return events

    def _ask(self, delta: ToolCallDelta) -> list[Event]:
        events: list[Event] = []
        if self._key != delta.call_id:
            item: Json = {
                "type": "function_call",
                "call_id": delta.call_id,
                "name": delta.name,
                "status": "in_progress",
            }
            events = self._open(delta.call_id, {**item, "arguments": ""})
        self._texts.append(delta.args)
        return [*events, self._item_event("response.function_call_arguments.delta", delta=delta.args)]

    def _open(self, key: str, item: Json) -> list[Event]:
        """Add an item to the output; what was open is done."""
        events = self._close()
        self._item = {"id": f"item_{self._call}_{len(self._output)}", **item}
        self._key = key
        self._texts, self._citations = [], []
        added = dict(self._item)
        return [*events, self._event("response.output_item.added", output_index=len(self._output), item=added)]

    def _close(self) -> list[Event]:
        """Return what says that the open item is done."""
        if self._item is None:
            return []
        item, key, text = self._item, self._key, "".join(self._texts)
        events: list[Event] = []
        if key == "text":
            part: Json = {"type": "output_text", "text": text, "annotations": list(self._citations), "logprobs": []}
            events.append(self._item_event("response.output_text.done", content_index=0, text=text, logprobs=[]))
            events.append(self._item_event("response.content_part.done", content_index=0, part=part))
            item |= {"content": [part], "status": "completed"}
        elif key == "refusal":
            part = {"type": "refusal", "refusal": text}
            events.append(self._item_event("response.refusal.done", content_index=0, refusal=text))
            events.append(self._item_event("response.content_part.done", content_index=0, part=part))
            item |= {"content": [part], "status": "completed"}
        elif key == "thinking":
            summary = {"type": "summary_text", "text": text}
            events.append(self._item_event("response.reasoning_summary_text.done", summary_index=0, text=text))
            events.append(self._item_event("response.reasoning_summary_part.done", summary_index=0, part=summary))
            item |= {"summary": [summary]}
        elif item["type"] == "function_call":
            name = "response.function_call_arguments.done"
            events.append(self._item_event(name, name=item["name"], arguments=text))
            item |= {"arguments": text, "status": "completed"}
        events.append(self._event("response.output_item.done", output_index=len(self._output), item=item))
        self._output.append(item)
        self._item = self._key = None
        return events

    def _end(self, message: Message) -> list[Event]:
        events = self._close()
        status = _status(message)
        return [*events, self._event(f"response.{status}", response=self._response(status, message))]

    def _response(self, status: str, message: Message | None) -> Json:
        reason = None if message is None else _INCOMPLETE.get(message.stop_reason or "stop")
        return {
            "id": f"resp_{self._call}",
            "object": "response",
            "created_at": 1_700_000_000,
            "status": status,
            "model": self._model,
            "output": list(self._output),
            "error": None,
            "incomplete_details": None if reason is None else {"reason": reason},
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "temperature": self.request.temperature,
            "tool_choice": "auto",
            "tools": [],
            "top_p": self.request.top_p,
            "usage": None if message is None or self._usage is None else _responses_usage(self._usage),
        }

    def _item_event(self, name: str, /, **fields: object) -> Event:
        assert self._item is not None
        return self._event(name, item_id=self._item["id"], output_index=len(self._output), **fields)

    def _event(self, event_name: str, /, **fields: object) -> Event:
        self._number += 1
        return Event({"type": event_name, "sequence_number": self._number, **fields}, event_name)


def _status(message: Message) -> str:
    return "incomplete" if message.stop_reason in _INCOMPLETE else "completed"


def _responses_usage(usage: Usage) -> Json:
    read, written = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens or 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": read + written,
    }

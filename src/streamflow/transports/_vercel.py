"""The UI message stream of the Vercel AI SDK: what a run says, for `useChat` and its kin.

Above: users, `apps`. Below: `_encoder`, `_lifecycle`, `_content`.
Source: the UI message stream protocol, v1 (https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol). Its order: `start` first; parts and
calls between their start and their end; a step is one answer of the model with the results of its calls; one of `finish`, `error`
and `abort`, and `[DONE]` behind it.
"""

from __future__ import annotations

import base64
import uuid
from types import MappingProxyType
from typing import TYPE_CHECKING, assert_never

import msgspec

from ..elements import (
    AudioElement,
    BatchElement,
    DataElement,
    ErrorElement,
    ImageElement,
    Interrupt,
    MessageElement,
    Metadata,
    TurnEnd,
    Usage,
    UsageElement,
    VideoElement,
    thaw,
)
from ..providers import CITATION
from ._content import is_web_address, media_for_client, output_for_client
from ._encoder import EventEncoder, ServerEvent, delta_event, json_event
from ._lifecycle import (
    CUT_CALL,
    CallAnswered,
    CallClosed,
    CallGrew,
    CallOpened,
    Lifecycle,
    PartClosed,
    PartGrew,
    PartOpened,
    TakenBack,
    TextKey,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..elements import StopReason, StreamElement, ToolResultElement
    from ._encoder import StreamEnd
    from ._lifecycle import Step

__all__ = ["VercelEncoder"]

_HEADERS: Mapping[str, str] = MappingProxyType({"x-vercel-ai-ui-message-stream": "v1"})
_DONE = ServerEvent("[DONE]")

_FINISH_REASONS: Mapping[StopReason, str] = MappingProxyType(
    {
        "stop": "stop",
        "length": "length",
        "tool_calls": "tool-calls",
        "approval": "tool-calls",
        "content_filter": "content-filter",
        "refusal": "content-filter",
        "pause": "other",
        "interrupted": "other",
        "error": "error",
    }
)

_FAILED = {
    "error": "The tool failed.",
    "timeout": "The tool took too long.",
    "cancelled": "The call was cancelled.",
}
"""What a client is told of a failed call whose result says nothing."""


class VercelEncoder(EventEncoder):
    """Tell a run as a UI message stream, v1: one message of the assistant, in steps.

    A step is one answer of the model and the results of its calls. Text, thoughts and calls are parts; pictures are `file` parts,
    web addresses that a model cites `source-url` parts, `DataElement`s `data-NAME` parts, sound and film transient data parts.
    Errors that are not fatal are transient `data-error` parts; what an agent within the agent says is a transient `data-agent`
    part, and no text of the message, which the client would send back as the agent's own. Calls that wait for a person are
    `tool-approval-request`s. A `TurnReset` is a `reset-step`. Usage is in the metadata of `finish`. Dead letters, and types of
    your own, are not told.

    Any sequence of elements gives a lawful stream: what is open is closed, what comes twice is told once.

    Args:
        message_id: Of the assistant's message; None: one is made up.

    Source: Vercel AI SDK 7, UI message stream v1.
    """

    def __init__(self, message_id: str | None = None) -> None:
        self.message_id: str = message_id or f"message-{uuid.uuid4().hex}"
        """Of the message that the client makes of the stream."""
        self._parts = Lifecycle(self.message_id)
        self._open: dict[TextKey, str] = {}
        self._open_calls: set[str] = set()
        self._step_calls: set[str] = set()
        self._step_messages: set[str] = set()
        self._ids = 0
        self._in_step = False
        self._answer_is_whole = False
        self._message_ids: set[str] = set()
        self._stop_reason: StopReason | None = None
        self._usage: Usage | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """The header by which clients know the protocol."""
        return _HEADERS

    def start(self) -> Sequence[ServerEvent]:
        """Return `start`."""
        return [_chunk("start", messageId=self.message_id)]

    def encode(self, element: StreamElement) -> Sequence[ServerEvent]:
        """Return the chunks of one element."""
        return list(self._encode(element))

    def finish(self, end: StreamEnd) -> Sequence[ServerEvent]:
        """Close what is open, and return it with `finish`, `error` or `abort`, and `[DONE]`."""
        events = [event for step in self._parts.end() for event in self._tell(step)]
        events += self._end_step()
        usage = self._usage if self._usage is not None else end.totals.usage
        metadata = None if usage is None else {"usage": _usage(usage)}
        if end.error is None and end.reason != "cancelled":
            reason = "length" if end.reason == "limit" else _FINISH_REASONS[self._stop_reason or "stop"]
            events.append(_chunk("finish", finishReason=reason, messageMetadata=metadata))
        else:
            if metadata is not None:
                events.append(_chunk("message-metadata", messageMetadata=metadata))
            events.append(_chunk("abort") if end.error is None else _chunk("error", errorText=end.error.message))
        return [*events, _DONE]

    def _encode(self, element: StreamElement) -> Iterator[ServerEvent]:
        if isinstance(element, BatchElement):
            for item in element.items:
                yield from self._encode(item)
            return
        for step in self._parts.steps(element):
            yield from self._tell(step)
        match element:
            case MessageElement(message=message) if message.role == "assistant":
                self._answer_is_whole = self._in_step
                self._message_ids.add(element.id)
            case TurnEnd():
                self._stop_reason = element.stop_reason
                yield from self._ask(element.pending)
                yield from self._end_step()
            case UsageElement(usage=usage, final=True):
                self._usage = usage if self._usage is None else self._usage + usage
            case DataElement():
                yield from self._data(element)
            case ErrorElement():
                told = {"code": element.code, "message": element.message, "retryable": element.retryable}
                yield _chunk("data-error", data=told, transient=True)
            case Interrupt():
                yield _chunk("data-interrupt", data={"reason": element.reason}, transient=True)
            case ImageElement():
                yield from self._picture(element)
            case AudioElement() | VideoElement():
                name, value = media_for_client(element)
                yield _chunk(f"data-{name}", data=value, transient=True)
            case _:
                pass

    def _tell(self, step: Step) -> Iterator[ServerEvent]:
        match step:
            case PartOpened() | PartGrew() | PartClosed():
                yield from self._tell_part(step)
            case CallOpened() | CallGrew() | CallClosed():
                yield from self._tell_call(step)
            case CallAnswered(result):
                if result.status == "ok" or not result.preliminary:  # the protocol has no failure that is preliminary
                    yield _result(result)
            case TakenBack():
                yield from self._take_back(step)
            case _:
                assert_never(step)

    def _tell_part(self, step: PartOpened | PartGrew | PartClosed) -> Iterator[ServerEvent]:
        key = step.key
        if isinstance(step, PartGrew):
            yield self._delta(key, step.text)
        elif key.agent:
            return
        elif isinstance(step, PartOpened):
            yield from self._begin_step()
            self._add_message(key.message_id)
            self._ids += 1
            self._open[key] = id = f"{key.kind}-{self._ids}"
            yield _chunk("text-start" if key.kind == "text" else "reasoning-start", id=id)
        else:
            metadata = {"streamflow": {"signature": step.signature}} if step.signature else None
            kind = "text-end" if key.kind == "text" else "reasoning-end"
            yield _chunk(kind, id=self._open.pop(key), providerMetadata=metadata)

    def _tell_call(self, step: CallOpened | CallGrew | CallClosed) -> Iterator[ServerEvent]:
        match step:
            case CallOpened(call_id, name, message_id):
                yield from self._begin_step()
                self._add_message(message_id)
                self._open_calls.add(call_id)
                self._step_calls.add(call_id)
                yield _chunk("tool-input-start", toolCallId=call_id, toolName=name)
            case CallGrew(call_id, args):
                yield _delta("tool-input-delta", "toolCallId", call_id, "inputTextDelta", args)
            case CallClosed(call_id, name, args, error):
                self._open_calls.discard(call_id)
                kind = "tool-input-available" if error is None else "tool-input-error"
                yield _chunk(kind, toolCallId=call_id, toolName=name, input=args, errorText=error)
            case _:
                assert_never(step)

    def _take_back(self, gone: TakenBack) -> Iterator[ServerEvent]:
        """Reset the step, if all of it is taken back: streams that were merged can have put a whole answer into it."""
        is_reset = self._in_step and not self._answer_is_whole and self._step_messages.issubset(gone.message_ids)
        for key in gone.parts:
            if (id := self._open.pop(key, None)) is not None and not is_reset:
                yield _chunk("text-end" if key.kind == "text" else "reasoning-end", id=id)
        for call_id, name in gone.calls.items():
            self._open_calls.discard(call_id)
            if not is_reset or call_id not in self._step_calls:
                yield _chunk("tool-input-error", toolCallId=call_id, toolName=name, input={}, errorText=CUT_CALL)
        if is_reset:
            self._step_calls.clear()
            self._step_messages.clear()
            yield _chunk("reset-step")

    def _begin_step(self) -> Iterator[ServerEvent]:
        """Begin the step of a new answer. One that is told among others stays in their step."""
        if self._in_step and not (self._answer_is_whole and not self._open and not self._open_calls):
            return
        yield from self._end_step()
        self._in_step = True
        yield _chunk("start-step")

    def _add_message(self, id: str) -> None:
        self._message_ids.add(id)
        self._step_messages.add(id)

    def _end_step(self) -> Iterator[ServerEvent]:
        if self._in_step:
            yield _chunk("finish-step")
        self._in_step = self._answer_is_whole = False
        self._step_calls.clear()
        self._step_messages.clear()

    def _delta(self, key: TextKey, text: str) -> ServerEvent:
        if key.agent:
            told = f'"agent":{_json(key.agent)},"kind":"{key.kind}","id":{_json(key.message_id)}'
            return delta_event(f'{{"type":"data-agent","transient":true,"data":{{{told},"text":"', text, '"}}')
        kind = "text-delta" if key.kind == "text" else "reasoning-delta"
        return _delta(kind, "id", self._open[key], "delta", text)

    def _ask(self, pending: Sequence[str]) -> Iterator[ServerEvent]:
        """Ask for the consent that calls wait for."""
        open_ids = self._parts.unanswered()
        for call_id in pending:
            if call_id in open_ids:
                yield _chunk("tool-approval-request", approvalId=call_id, toolCallId=call_id)

    def _picture(self, element: ImageElement) -> Iterator[ServerEvent]:
        mime = element.mime or "image/png"
        if element.data is not None:
            url = f"data:{mime};base64,{base64.b64encode(element.data).decode()}"
        elif element.url is not None and is_web_address(element.url):
            url = element.url
        else:
            return
        yield _chunk("file", url=url, mediaType=mime)

    def _data(self, element: DataElement) -> Iterator[ServerEvent]:
        value = element.value
        if element.name == CITATION and isinstance(value, Metadata):
            url, title = value.get("url"), value.get("title")
            if isinstance(url, str) and is_web_address(url):
                self._ids += 1
                shown = title if isinstance(title, str) else None
                yield _chunk("source-url", sourceId=f"source-{self._ids}", url=url, title=shown)
                return
        # A part with an id replaces the one before it: what a model says has the id of its message, and replaces nothing.
        id = element.id if element.id not in self._message_ids else ""
        data = {"type": f"data-{element.name}", "data": value}
        yield json_event(data | ({"id": id} if id else {}) | ({"transient": True} if element.transient else {}))


_encode_json = msgspec.json.Encoder(enc_hook=thaw).encode


def _json(value: object) -> str:
    return _encode_json(value).decode()


def _chunk(type: str, **fields: object) -> ServerEvent:
    return json_event({"type": type, **{name: value for name, value in fields.items() if value is not None}})


def _delta(type: str, id_field: str, id: str, text_field: str, text: str) -> ServerEvent:
    return delta_event(f'{{"type":"{type}","{id_field}":{_json(id)},"{text_field}":"', text, '"}')


def _result(result: ToolResultElement) -> ServerEvent:
    if result.status == "denied":
        return _chunk("tool-output-denied", toolCallId=result.call_id)
    if result.status != "ok":
        return _chunk("tool-output-error", toolCallId=result.call_id, errorText=result.text or _FAILED[result.status])
    told = {"type": "tool-output-available", "toolCallId": result.call_id, "output": output_for_client(result.content)}
    return json_event(told | ({"preliminary": True} if result.preliminary else {}))


def _usage(usage: Usage) -> Mapping[str, object]:
    told = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "reasoningTokens": usage.reasoning_tokens,
        "cachedInputTokens": usage.cached_tokens,
    }
    return {name: value for name, value in told.items() if value is not None}

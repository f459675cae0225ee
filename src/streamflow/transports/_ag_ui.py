"""The events of AG-UI: what a run says, for clients such as CopilotKit.

Above: users, `apps`. Below: `_encoder`, `_lifecycle`, `_content`.
Source: the AG-UI protocol, version 1.0 (https://docs.ag-ui.com/concepts/events). Its order is a state machine: `RUN_STARTED` first;
content only between the start and the end with the same id; nothing open at `RUN_FINISHED`; nothing behind the terminal event.
"""

from __future__ import annotations

import uuid
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
    TurnEnd,
    TurnReset,
    TurnStart,
    Usage,
    UsageElement,
    VideoElement,
    thaw,
)
from ._content import content_for_client, is_patch, media_for_client, message_for_client
from ._encoder import EventEncoder, delta_event, json_event
from ._lifecycle import (
    CallAnswered,
    CallClosed,
    CallGrew,
    CallOpened,
    Lifecycle,
    PartClosed,
    PartGrew,
    PartOpened,
    TakenBack,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..elements import Message, StreamElement
    from ._encoder import ServerEvent, StreamEnd
    from ._lifecycle import Step, TextKey

__all__ = ["AgUiEncoder"]

_APPROVAL = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["approved"],
}
"""What a client is to answer when a call waits for a person."""


class AgUiEncoder(EventEncoder):
    """Tell a run in the events of AG-UI, one JSON object per server event.

    Text is `TEXT_MESSAGE_*` under the id of its message, thoughts are `REASONING_*` under an id of their own, tool calls are
    `TOOL_CALL_*`, turns are steps. A `DataElement` named `state` is a `STATE_SNAPSHOT`, one named `state_delta` with a JSON patch
    a `STATE_DELTA`; any other, media and errors that are not fatal are `CUSTOM` events. Calls that wait for a person end the run
    with the outcome `interrupt`; calls that nobody has answered are named in `pendingToolCallIds`. What was said before a
    `TurnReset` is taken back by a `MESSAGES_SNAPSHOT` if `conversation` is known, else by a `CUSTOM` event `turn_reset`. Dead
    letters, and types of your own, are not told.

    Any sequence of elements gives a lawful stream: what is open is closed, what comes twice is told once.

    Args:
        thread_id: Of the conversation, as the client calls it; None: one is made up.
        run_id: Of this run, as the client calls it; None: one is made up.
        parent_run_id: The run that this one goes on from.
        conversation: What was said before, oldest first, so that all of it can be told anew after a `TurnReset`.

    Source: AG-UI protocol 1.0.
    """

    def __init__(
        self,
        thread_id: str | None = None,
        run_id: str | None = None,
        *,
        parent_run_id: str | None = None,
        conversation: Iterable[Message] | None = None,
    ) -> None:
        self.thread_id: str = thread_id or f"thread-{uuid.uuid4().hex}"
        """Of the conversation."""
        self.run_id: str = run_id or f"run-{uuid.uuid4().hex}"
        """Of this run."""
        self._parent = parent_run_id
        self._parts = Lifecycle(f"{self.run_id}-message")
        self._messages = None if conversation is None else list(conversation)
        self._thoughts: dict[TextKey, str] = {}
        self._thought = 0
        self._step: str | None = None
        self._pending: dict[str, None] = {}
        self._usage: dict[tuple[str | None, str | None], Usage] = {}

    def start(self) -> Sequence[ServerEvent]:
        """Return `RUN_STARTED`."""
        return [self._event("RUN_STARTED", threadId=self.thread_id, runId=self.run_id, parentRunId=self._parent)]

    def encode(self, element: StreamElement) -> Sequence[ServerEvent]:
        """Return the events of one element."""
        return list(self._encode(element))

    def finish(self, end: StreamEnd) -> Sequence[ServerEvent]:
        """Close what is open, and return it with `RUN_FINISHED` or `RUN_ERROR`."""
        events = [event for step in self._parts.end() for event in self._tell(step)]
        events += self._end_step(None)
        if end.error is not None:
            events.append(
                self._event("RUN_ERROR", message=end.error.message, code=end.error.code, usage=self._usages(end))
            )
        else:
            events.append(
                self._event(
                    "RUN_FINISHED",
                    threadId=self.thread_id,
                    runId=self.run_id,
                    outcome=self._outcome(end),
                    result={"reason": end.reason} if end.reason == "limit" else None,
                    usage=self._usages(end),
                )
            )
        return events

    def _encode(self, element: StreamElement) -> Iterator[ServerEvent]:
        if isinstance(element, BatchElement):
            for item in element.items:
                yield from self._encode(item)
            return
        if isinstance(element, TurnStart):
            yield from self._end_step(None)
            self._step = f"turn-{element.index}"
            yield self._event("STEP_STARTED", stepName=self._step)
        reason = element.reason if isinstance(element, TurnReset) else ""
        for step in self._parts.steps(element):
            yield from self._tell(step, reason)
        match element:
            case MessageElement(message=message) if self._messages is not None and message.role in {
                "assistant",
                "tool",
            }:
                self._messages.append(message)
            case TurnEnd():
                self._pending.update(dict.fromkeys(element.pending))
                yield from self._end_step(element)
            case UsageElement(usage=usage, final=True):
                of = (usage.provider, usage.model)
                self._usage[of] = self._usage.get(of, Usage()) + usage
            case DataElement():
                yield self._data(element)
            case ErrorElement():
                told = {"code": element.code, "message": element.message, "retryable": element.retryable}
                yield self._custom("error", told)
            case Interrupt():
                yield self._custom("interrupt", {"reason": element.reason})
            case ImageElement() | AudioElement() | VideoElement():
                yield self._custom(*media_for_client(element))
            case _:
                pass

    def _tell(self, step: Step, reason: str = "") -> Iterator[ServerEvent]:
        match step:
            case PartOpened(key):
                yield from self._open_part(key)
            case PartGrew(key, text):
                kind = "TEXT_MESSAGE_CONTENT" if key.kind == "text" else "REASONING_MESSAGE_CONTENT"
                yield _delta(kind, "messageId", self._id_of(key), text)
            case PartClosed(key, signature):
                yield from self._close_part(key, signature)
            case CallOpened(call_id, name, message_id):
                yield self._event("TOOL_CALL_START", toolCallId=call_id, toolCallName=name, parentMessageId=message_id)
            case CallGrew(call_id, args):
                yield _delta("TOOL_CALL_ARGS", "toolCallId", call_id, args)
            case CallClosed(call_id):
                yield self._event("TOOL_CALL_END", toolCallId=call_id)
            case CallAnswered(result):
                if result.preliminary:
                    yield self._custom("tool_progress", {"toolCallId": result.call_id, "content": result.text})
                    return
                yield self._event(
                    "TOOL_CALL_RESULT",
                    messageId=_result_id(result.call_id),
                    toolCallId=result.call_id,
                    content=content_for_client(result.content),
                    role="tool",
                    metadata=None if result.status == "ok" else {"status": result.status},
                )
            case TakenBack():
                yield from self._take_back(step, reason)
            case _:
                assert_never(step)

    def _open_part(self, key: TextKey) -> Iterator[ServerEvent]:
        agent = key.agent or None
        if key.kind == "text":
            yield self._event(
                "TEXT_MESSAGE_START", messageId=self._id_of(key), role="assistant", name=agent, subagentRunId=agent
            )
            return
        self._thought += 1
        self._thoughts[key] = id = f"{key.message_id}-reasoning-{self._thought}"
        yield self._event("REASONING_START", messageId=id, subagentRunId=agent)
        yield self._event("REASONING_MESSAGE_START", messageId=id, role="reasoning", subagentRunId=agent)

    def _close_part(self, key: TextKey, signature: str | None = None) -> Iterator[ServerEvent]:
        id = self._id_of(key)
        if key.kind == "text":
            yield self._event("TEXT_MESSAGE_END", messageId=id)
            return
        del self._thoughts[key]
        yield self._event("REASONING_MESSAGE_END", messageId=id)
        if signature:
            yield self._event("REASONING_ENCRYPTED_VALUE", subtype="message", entityId=id, encryptedValue=signature)
        yield self._event("REASONING_END", messageId=id)

    def _id_of(self, key: TextKey) -> str:
        if key.kind == "thinking":
            return self._thoughts[key]
        own = f"{key.agent}/{key.message_id}" if key.agent else key.message_id
        return ":".join([own, *map(str, key.path)])

    def _take_back(self, gone: TakenBack, reason: str) -> Iterator[ServerEvent]:
        for key in gone.parts:
            yield from self._close_part(key)
        for call_id in sorted(gone.open_calls):
            yield self._event("TOOL_CALL_END", toolCallId=call_id)
        if self._messages is None:
            told = {"reason": reason, "messageIds": gone.message_ids, "toolCallIds": list(gone.calls)}
            yield self._custom("turn_reset", told)
            return
        self._messages = _without(self._messages, gone.message_ids)
        messages = [told for place, one in enumerate(self._messages) for told in message_for_client(one, place)]
        yield self._event("MESSAGES_SNAPSHOT", messages=messages)

    def _end_step(self, end: TurnEnd | None) -> Iterator[ServerEvent]:
        if self._step is not None:
            metadata = None if end is None else {"stopReason": end.stop_reason}
            yield self._event("STEP_FINISHED", stepName=self._step, metadata=metadata)
            self._step = None

    def _data(self, element: DataElement) -> ServerEvent:
        if element.name == "state":
            return json_event({"type": "STATE_SNAPSHOT", "snapshot": element.value})
        if element.name == "state_delta" and is_patch(element.value):
            return json_event({"type": "STATE_DELTA", "delta": element.value})
        return self._custom(element.name, element.value)

    def _outcome(self, end: StreamEnd) -> Mapping[str, object]:
        if end.reason == "cancelled":
            return {"type": "cancelled"}
        open_ids = self._parts.unanswered()
        interrupts = [
            {
                "id": call_id,
                "reason": "tool_call",
                "message": "This call waits for your consent.",
                "toolCallId": call_id,
                "responseSchema": _APPROVAL,
            }
            for call_id in self._pending
            if call_id in open_ids or not self._parts.knows_call(call_id)
        ]
        if interrupts:
            return {"type": "interrupt", "interrupts": interrupts}
        return {"type": "success", "pendingToolCallIds": open_ids} if open_ids else {"type": "success"}

    def _usages(self, end: StreamEnd) -> list[Mapping[str, object]] | None:
        known = list(self._usage.values()) or ([end.totals.usage] if end.totals.usage is not None else [])
        return [_usage(one) for one in known] or None

    def _custom(self, name: str, value: object) -> ServerEvent:
        return json_event({"type": "CUSTOM", "name": name, "value": value})

    @staticmethod
    def _event(type: str, **fields: object) -> ServerEvent:
        return json_event({"type": type, **{name: value for name, value in fields.items() if value is not None}})


_encode_json = msgspec.json.Encoder(enc_hook=thaw).encode


def _delta(type: str, id_field: str, id: str, text: str) -> ServerEvent:
    return delta_event(f'{{"type":"{type}","{id_field}":{_encode_json(id).decode()},"delta":"', text, '"}')


def _without(messages: Sequence[Message], gone: Sequence[str]) -> list[Message]:
    """Return messages without some, and without the results of their calls."""
    calls = {call.call_id for one in messages if one.id in gone for call in one.tool_calls}
    return [
        one
        for one in messages
        if not ((one.id and one.id in gone) or any(result.call_id in calls for result in one.tool_results))
    ]


def _result_id(call_id: str) -> str:
    return f"{call_id}-result"


def _usage(usage: Usage) -> Mapping[str, object]:
    told = {
        "provider": usage.provider,
        "model": usage.model,
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "reasoningTokens": usage.reasoning_tokens,
        "cachedInputTokens": usage.cached_tokens,
        "cacheWriteInputTokens": usage.cache_write_tokens,
    }
    return {name: value for name, value in told.items() if value is not None}

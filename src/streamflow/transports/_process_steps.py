"""The format of chat services: `process_step` events, then one `done` or one `error`.

Above: `apps`, users. Below: `_steps`, `_encoder`, `elements`.

What a client is told of a failure is one of the sentences below, chosen by the code of the error: the texts of exceptions, which
may repeat keys, addresses or what others have said, are for the log.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from ..elements import EMPTY_METADATA, MessageElement, StopReason, TurnEnd, Usage, UsageElement
from ._encoder import EventEncoder, ServerEvent, delta_event, json_event, snapshot_event
from ._steps import StepReader, StepReset, StepShown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..elements import Message, Metadata, StreamElement
    from ._encoder import StreamEnd

__all__ = ["ChatDone", "ChatError", "ChatServiceEvent", "ChatServiceReader", "ProcessStepEncoder", "usage_of"]

_TOO_MANY_ROUNDS = "Exceeded maximum tool call iterations"
_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "auth": "The model's server does not accept this service.",
        "bad_request": "The model does not accept the request.",
        "cancelled": "The answer was cancelled.",
        "conflict": "The conversation has changed meanwhile. Load it again, and decide anew.",
        "corrupt": "The conversation cannot be read.",
        "limit": "The conversation is too large to be stored.",
        "overloaded": "The model is busy. Try again later.",
        "protocol": "The model gave an answer that cannot be read.",
        "rate_limited": "The model has too many requests. Try again later.",
        "refused": "The model does not answer this.",
        "timeout": "The answer took too long.",
        "transport": "The model cannot be reached. Try again later.",
        "truncated": "The answer broke off. Try again.",
        "unavailable": "The conversation cannot be stored at the moment. Try again later.",
    }
)
_FAILED = "The answer failed."


class ChatDone(msgspec.Struct, frozen=True):
    """The turn is over and stored: the last event of a response that went well."""

    message_id: str
    """Id under which it is stored: that of the turn; without a store, of the last message."""
    token_count: int = 0
    """Tokens that the model has written in this response."""
    usage: Usage = Usage()
    """What the response's model calls have used, summed."""
    stop_reason: StopReason = "stop"
    """Why it ended: `interrupted` if it was stopped, `approval` if calls wait for a person."""
    pending: tuple[str, ...] = ()
    """Ids of the calls that wait."""


class ChatError(msgspec.Struct, frozen=True):
    """The response failed: its last event. The content is safe to show."""

    content: str
    """One sentence for a person."""
    code: str = "failed"
    """What kind of failure, for programs."""
    message_id: str = ""
    """Id under which what was done is stored; empty if that is not known."""


ChatServiceEvent: TypeAlias = StepShown | StepReset | ChatDone | ChatError
"""What a chat service tells its client."""


class ChatServiceReader:
    """Makes the events of a chat service of the elements of a response: its steps, and one end.

    Args:
        snapshots: Whether a step of text is told whole each time that it grows, as in the seed; else piece by piece.
        after: Messages of the same turn whose steps another response has shown: the numbers go on.
    """

    def __init__(self, *, snapshots: bool = False, after: Iterable[Message] = ()) -> None:
        self._steps = StepReader(snapshots=snapshots, after=after)
        self._usage = Usage()
        self._message = ""
        self._end: TurnEnd | None = None

    def take(self, element: StreamElement) -> Sequence[ChatServiceEvent]:
        """Return what one element tells."""
        if isinstance(element, UsageElement) and element.final:
            self._usage += element.usage
        elif isinstance(element, TurnEnd):
            self._end = element
        elif isinstance(element, MessageElement) and element.message.role == "assistant":
            self._message = element.message.id
        return tuple(self._steps.take(element))

    def finish(self, end: StreamEnd) -> ChatDone | ChatError:
        """Return the last event, of a stream that has ended."""
        told: Metadata = EMPTY_METADATA if self._end is None else self._end.metadata
        stored = told.get("turn")
        stored = stored if isinstance(stored, str) else ""
        if end.error is not None or end.reason not in {"done", "limit", "interrupt"}:
            code = end.error.code if end.error is not None else end.reason
            return ChatError(_TEXTS.get(code, _FAILED), code, stored)
        limit = told.get("limit")
        if isinstance(limit, str):
            text = _TOO_MANY_ROUNDS if limit == "rounds" else f"Exceeded the limit of {limit}"
            return ChatError(text, "limit" if limit == "rounds" else f"limit_{limit}", stored)
        return ChatDone(
            stored or self._message,
            self._usage.output_tokens or 0,
            self._usage,
            "stop" if self._end is None else self._end.stop_reason,
            () if self._end is None else self._end.pending,
        )


class ProcessStepEncoder(EventEncoder):
    """`process_step` for each step or piece of one; `reset` if steps are to be forgotten; last one `done` or one `error`.

    The data is JSON. `process_step`: `{"step": {"id": "step-0", "index": 0, "type": …}}`, and more, as the type says:

    - `thinking`, `text`: `delta`, the new piece; with `snapshots` instead `content`, all of the step so far.
    - `tool_call`: `id_ref` (the provider's id), `tool_call_id` (the same), `name`, `arguments`.
    - `tool_result`: `id_ref` (the step of the call), `tool_call_id`, `name`, `content`, `status`, `success`.

    `reset`: `{"index": n}`: steps from there on never were. `done`: `message_id`, `token_count`, `usage` with `prompt_tokens`,
    `completion_tokens` and `total_tokens`, `stop_reason`, and `pending` if calls wait for a person. `error`: `content`, `code`, and
    `message_id` of what was stored.

    Args:
        snapshots: Whether text is told whole each time, which makes a response of n pieces as long as their square.
        after: Messages of the same turn whose steps another response has shown.

    Source: seed 004.
    """

    def __init__(self, *, snapshots: bool = False, after: Iterable[Message] = ()) -> None:
        self._reader = ChatServiceReader(snapshots=snapshots, after=after)

    def encode(self, element: StreamElement) -> Sequence[ServerEvent]:
        """Return the events of one element.

        Raises:
            ElementError: If a text is no Unicode.
        """
        return [_server_event(one) for one in self._reader.take(element)]

    def finish(self, end: StreamEnd) -> Sequence[ServerEvent]:
        """Return `done`, or `error`."""
        return (_server_event(self._reader.finish(end)),)


def usage_of(usage: Usage) -> dict[str, int]:
    """Return a usage by the names of the seed; what is not known is 0."""
    return {
        "prompt_tokens": usage.input_tokens or 0,
        "completion_tokens": usage.output_tokens or 0,
        "total_tokens": usage.total_tokens,
    }


def _server_event(event: ChatServiceEvent) -> ServerEvent:
    match event:
        case StepShown(step=step, delta=True):
            before = f'{{"step":{{"id":"{step.id}","index":{step.index},"type":"{step.type}","delta":"'
            return delta_event(before, step.content, '"}}', event="process_step")
        case StepShown(step=step):
            return snapshot_event(step.id, {"step": step.to_dict()}, event="process_step")
        case StepReset(index=index):
            return json_event({"index": index}, event="reset")
        case ChatDone():
            told: dict[str, object] = {"message_id": event.message_id, "token_count": event.token_count}
            told |= {"usage": usage_of(event.usage), "stop_reason": event.stop_reason}
            return json_event(told | ({"pending": event.pending} if event.pending else {}), event="done")
        case ChatError():
            stored = {"message_id": event.message_id} if event.message_id else {}
            return json_event({"content": event.content, "code": event.code} | stored, event="error")

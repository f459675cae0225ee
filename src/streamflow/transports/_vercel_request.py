"""What a client of the Vercel AI SDK asks for: the body of its request as messages and decisions.

Above: users, `apps`. Below: `_request`, `_vercel`.
Source: `UIMessage` and `DefaultChatTransport` of the Vercel AI SDK 7. One message of the assistant holds all steps of a turn, calls
with their results; ours are a message for each answer and one for the results behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from ..elements import (
    DataPart,
    JsonValue,
    Message,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolDecisionElement,
    ToolResultPart,
    freeze,
)
from ._request import RequestLimits, decode_body, media_part, refuse
from ._vercel import VercelEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..elements import ContentPart, Part, ToolStatus

__all__ = ["VercelRequest", "read_vercel"]

_TOOL = "tool-"
_STATES: Mapping[str, ToolStatus] = {"output-available": "ok", "output-error": "error", "output-denied": "denied"}
"""States of a call that has its result."""


class VercelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for."""

    chat_id: str
    """Of the conversation."""
    messages: tuple[Message, ...]
    """The conversation as the client has it, oldest first. A client can put anything into it, also into answers and results."""
    decisions: tuple[ToolDecisionElement, ...] = ()
    """What a person has decided about calls that wait."""
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    """Whether something new was said, or the last answer is to be given anew."""
    message_id: str | None = None
    """The message that the trigger is about."""
    answer_id: str | None = None
    """The assistant's message that the answer goes on with, if the client's last one is of the assistant."""

    def encoder(self) -> VercelEncoder:
        """Return a new encoder for the answer."""
        return VercelEncoder(self.answer_id)


def read_vercel(body: bytes, *, limits: RequestLimits | None = None, keep_system: bool = False) -> VercelRequest:
    """Read the body of a request, as `DefaultChatTransport` sends it.

    Args:
        body: The body.
        limits: How much it may hold.
        keep_system: Whether messages of the role `system` count, by which a client changes what the agent is told to be. They are
            left out otherwise.

    Raises:
        DecodeError: If it is too large, or not what the protocol says; the path says where.
    """
    limits = limits if limits is not None else RequestLimits()
    given = decode_body(body, _Body, limits)
    if not given.messages:
        refuse("there are no messages", "$.messages")
    if len(given.messages) > limits.max_messages:
        refuse(f"there are {len(given.messages)} messages; {limits.max_messages} are allowed", "$.messages")
    messages: list[Message] = []
    decisions: list[ToolDecisionElement] = []
    for place, one in enumerate(given.messages):
        path = f"$.messages[{place}]"
        _check(one, limits, path)
        if one.role == "assistant":
            messages += _answers(one, path, decisions)
        elif one.role == "user" or keep_system:
            messages.append(Message(one.role, _content(one.parts, path), id=one.id))
    last = given.messages[-1]
    return VercelRequest(
        chat_id=given.id,
        messages=tuple(messages),
        decisions=tuple(decisions),
        trigger=given.trigger,
        message_id=given.message_id,
        answer_id=last.id if last.role == "assistant" and last.id else None,
    )


class _Approval(msgspec.Struct, rename="camel"):
    id: str
    approved: bool | None = None
    reason: str | None = None


class _Part(msgspec.Struct, rename="camel"):
    """Any part: which fields count, its type says."""

    type: str
    text: str = ""
    url: str | None = None
    media_type: str | None = None
    filename: str | None = None
    tool_call_id: str = ""
    tool_name: str = ""
    state: str = ""
    input: JsonValue = None
    output: JsonValue = None
    error_text: str = ""
    approval: _Approval | None = None
    data: JsonValue = None
    provider_metadata: dict[str, JsonValue] | None = None


class _Message(msgspec.Struct, rename="camel"):
    role: Literal["user", "assistant", "system"]
    parts: list[_Part]
    id: str = ""


class _Body(msgspec.Struct, rename="camel"):
    """What the transport sends; what it has beyond this is the application's."""

    id: str
    messages: list[_Message]
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: str | None = None


def _check(one: _Message, limits: RequestLimits, path: str) -> None:
    if len(one.parts) > limits.max_parts:
        refuse(f"there are {len(one.parts)} parts; {limits.max_parts} are allowed", f"{path}.parts")
    size = sum(len(part.text) for part in one.parts)
    if size > limits.max_text_chars:
        refuse(f"the text has {size} characters; {limits.max_text_chars} are allowed", path)


def _content(given: Sequence[_Part], path: str) -> str | list[ContentPart]:
    """Return what a person has said."""
    parts: list[ContentPart] = []
    for place, part in enumerate(given):
        if part.type == "text":
            parts.append(TextPart(part.text))
        elif part.type == "file":
            where = f"{path}.parts[{place}]"
            parts.append(media_part(None, part.url, part.media_type, where, name=part.filename))
        elif part.type.startswith("data-"):
            parts.append(DataPart(part.type.removeprefix("data-"), freeze(part.data, f"{path}.parts[{place}].data")))
    if all(isinstance(part, TextPart) for part in parts):
        return "".join(part.text for part in parts if isinstance(part, TextPart))
    return parts


def _answers(one: _Message, path: str, decisions: list[ToolDecisionElement]) -> list[Message]:
    """Return what an assistant's message stands for: an answer for each step, and the results of its calls behind it."""
    messages: list[Message] = []
    said: list[Part] = []
    results: list[ToolResultPart] = []

    def end_step() -> None:
        if said:
            # The first keeps the id: it is what the client knows.
            messages.append(Message("assistant", list(said), id=one.id if not messages else ""))
        if results:
            messages.append(Message("tool", list(results)))
        said.clear()
        results.clear()

    for place, part in enumerate(one.parts):
        where = f"{path}.parts[{place}]"
        if part.type == "step-start":
            end_step()
        elif part.type == "text" and part.text:
            said.append(TextPart(part.text))
        elif part.type == "reasoning" and part.text:
            said.append(ThinkingPart(part.text, _signature(part)))
        elif part.type.startswith(_TOOL) or part.type == "dynamic-tool":
            call = _call(part, where)
            said.append(call)
            if (result := _result(part, call, where)) is not None:
                results.append(result)
            if part.state == "approval-responded" and part.approval is not None and part.approval.approved is not None:
                approval = part.approval
                decisions.append(ToolDecisionElement(call.call_id, approval.approved is True, approval.reason or ""))
    end_step()
    return messages


def _call(part: _Part, path: str) -> ToolCallPart:
    name = part.tool_name if part.type == "dynamic-tool" else part.type.removeprefix(_TOOL)
    if not part.tool_call_id or not name:
        refuse("a call needs its toolCallId and the name of its tool", path)
    args = freeze(part.input, f"{path}.input")
    return ToolCallPart(part.tool_call_id, name, args if isinstance(args, Mapping) else {})


def _result(part: _Part, call: ToolCallPart, path: str) -> ToolResultPart | None:
    status = _STATES.get(part.state)
    if status is None:
        return None
    content: str | list[ContentPart]
    if status == "ok":
        output = freeze(part.output, f"{path}.output")
        content = output if isinstance(output, str) else [DataPart("output", output)]
    else:
        content = part.error_text or "The call was not allowed."
    return ToolResultPart(call.call_id, content, name=call.name, status=status)


def _signature(part: _Part) -> str | None:
    """Return the proof of thoughts that `VercelEncoder` has sent along."""
    ours = (part.provider_metadata or {}).get("streamflow")
    signature = ours.get("signature") if isinstance(ours, Mapping) else None
    return signature if isinstance(signature, str) else None

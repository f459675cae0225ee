"""What a client of AG-UI asks for: the body of its request as messages, tools and decisions.

Above: users, `apps`. Below: `_request`, `_ag_ui`.
Source: `RunAgentInput` of the AG-UI protocol 1.0; the `binary` part of older clients is read as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from ..elements import (
    FilePart,
    JsonValue,
    Message,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolDecisionElement,
    ToolResultPart,
    freeze,
)
from ..providers import ToolSpec
from ._ag_ui import AgUiEncoder
from ._request import RequestLimits, arguments_of, decode_body, media_part, refuse

if TYPE_CHECKING:
    from ..elements import ContentPart, Part

__all__ = ["AgUiRequest", "read_ag_ui"]

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_MAX_ID = 512


class AgUiRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for."""

    thread_id: str
    """Of the conversation."""
    run_id: str
    """Of the run that is asked for."""
    parent_run_id: str | None = None
    """The run that it goes on from."""
    messages: tuple[Message, ...] = ()
    """The conversation as the client has it, oldest first. A client can put anything into it, also into answers and results."""
    tools: tuple[ToolSpec, ...] = ()
    """Tools that the client itself runs."""
    decisions: tuple[ToolDecisionElement, ...] = ()
    """What a person has decided about calls that wait."""
    context: tuple[tuple[str, str], ...] = ()
    """Descriptions and values of what the user sees."""
    state: JsonValue = None
    """The state that client and agent share, read-only."""
    forwarded: JsonValue = None
    """What the client passes on, read-only (`forwardedProps`)."""

    def encoder(self) -> AgUiEncoder:
        """Return a new encoder for the answer."""
        return AgUiEncoder(self.thread_id, self.run_id, parent_run_id=self.parent_run_id, conversation=self.messages)


def read_ag_ui(body: bytes, *, limits: RequestLimits | None = None, keep_system: bool = False) -> AgUiRequest:
    """Read the body of a request, a `RunAgentInput`.

    What an inner agent has said, and what stands for an activity, is for the client alone and is left out.

    Args:
        body: The body.
        limits: How much it may hold.
        keep_system: Whether messages of the roles `system` and `developer` count, by which a client changes what the agent is told
            to be. They are left out otherwise.

    Raises:
        DecodeError: If it is too large, or not what the protocol says; the path says where.
    """
    limits = limits if limits is not None else RequestLimits()
    given = decode_body(body, _Input, limits)
    tools = given.tools or []
    if len(given.messages) > limits.max_messages:
        refuse(f"there are {len(given.messages)} messages; {limits.max_messages} are allowed", "$.messages")
    if len(tools) > limits.max_tools:
        refuse(f"there are {len(tools)} tools; {limits.max_tools} are allowed", "$.tools")
    return AgUiRequest(
        thread_id=given.thread_id,
        run_id=given.run_id,
        parent_run_id=given.parent_run_id,
        messages=_messages(given.messages, limits, keep_system=keep_system),
        tools=tuple(_tool(one, f"$.tools[{place}]") for place, one in enumerate(tools)),
        decisions=tuple(_decision(one, f"$.resume[{place}]") for place, one in enumerate(given.resume or [])),
        context=tuple((one.description, one.value) for one in given.context or []),
        state=freeze(given.state, "$.state"),
        forwarded=freeze(given.forwarded_props, "$.forwardedProps"),
    )


class _Source(msgspec.Struct, tag_field="type", rename="camel"):
    value: str
    mime_type: str | None = None


class _DataSource(_Source, tag="data", rename="camel"):
    pass


class _UrlSource(_Source, tag="url", rename="camel"):
    pass


class _FileSource(_Source, tag="file", rename="camel"):
    pass


class _Text(msgspec.Struct, tag_field="type", tag="text", rename="camel"):
    text: str


class _Media(msgspec.Struct, tag_field="type", rename="camel"):
    source: _DataSource | _UrlSource | _FileSource
    mime: ClassVar[str | None] = None
    """What it is where the client does not say."""


class _Image(_Media, tag="image", rename="camel"):
    mime: ClassVar[str | None] = "image/*"


class _Audio(_Media, tag="audio", rename="camel"):
    mime: ClassVar[str | None] = "audio/wav"


class _Video(_Media, tag="video", rename="camel"):
    mime: ClassVar[str | None] = "video/*"


class _Document(_Media, tag="document", rename="camel"):
    pass


class _Binary(msgspec.Struct, tag_field="type", tag="binary", rename="camel"):
    mime_type: str
    data: str | None = None
    url: str | None = None
    filename: str | None = None


_Part = _Text | _Image | _Audio | _Video | _Document | _Binary


class _Function(msgspec.Struct, rename="camel"):
    name: str
    arguments: str = ""


class _ToolCall(msgspec.Struct, rename="camel"):
    id: str
    function: _Function


class _Message(msgspec.Struct, tag_field="role", rename="camel"):
    id: str = ""
    subagent_run_id: str | None = None


class _System(_Message, tag="system", rename="camel"):
    content: str = ""


class _Developer(_Message, tag="developer", rename="camel"):
    content: str = ""


class _Activity(_Message, tag="activity", rename="camel"):
    pass


class _User(_Message, tag="user", rename="camel"):
    content: str | list[_Part] = ""
    name: str | None = None


class _Assistant(_Message, tag="assistant", rename="camel"):
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Reasoning(_Message, tag="reasoning", rename="camel"):
    content: str = ""
    encrypted_value: str | None = None


class _Tool(_Message, tag="tool", rename="camel"):
    tool_call_id: str = ""
    content: str | list[_Part] = ""
    error: str | None = None


_AnyMessage = _System | _Developer | _Activity | _User | _Assistant | _Reasoning | _Tool


class _ToolSpec(msgspec.Struct, rename="camel"):
    name: str
    description: str = ""
    parameters: JsonValue = None


class _Context(msgspec.Struct, rename="camel"):
    description: str
    value: str


class _Resume(msgspec.Struct, rename="camel"):
    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: JsonValue = None


class _Input(msgspec.Struct, rename="camel"):
    """`RunAgentInput`; what it has beyond this is left alone, as the protocol asks for."""

    thread_id: str
    run_id: str
    messages: list[_AnyMessage]
    parent_run_id: str | None = None
    tools: list[_ToolSpec] | None = None
    context: list[_Context] | None = None
    resume: list[_Resume] | None = None
    state: JsonValue = None
    forwarded_props: JsonValue = None

    def __post_init__(self) -> None:
        for id in (self.thread_id, self.run_id, self.parent_run_id):
            if id is not None and not 0 < len(id) <= _MAX_ID:
                raise ValueError(f"threadId, runId and parentRunId have 1 to {_MAX_ID} characters")


def _messages(given: Sequence[_AnyMessage], limits: RequestLimits, *, keep_system: bool) -> tuple[Message, ...]:
    kept: list[Message] = []
    thoughts: list[Part] = []
    for place, one in enumerate(given):
        path = f"$.messages[{place}]"
        if one.subagent_run_id is not None:
            continue
        match one:
            case _System() | _Developer():
                if keep_system and _checked(one.content, limits, path):
                    kept.append(Message("system", one.content, id=one.id))
            case _Reasoning():
                thoughts.append(ThinkingPart(_checked(one.content, limits, path), one.encrypted_value))
            case _User():
                kept.append(Message("user", _content(one.content, limits, path), id=one.id, name=one.name))
                thoughts.clear()
            case _Assistant():
                if (answer := _assistant(one, thoughts, limits, path)) is not None:
                    kept.append(answer)
                thoughts.clear()
            case _Tool():
                _add_result(kept, one, limits, path)
            case _Activity():
                pass
    return tuple(kept)


def _assistant(one: _Assistant, thoughts: Sequence[Part], limits: RequestLimits, path: str) -> Message | None:
    calls = one.tool_calls or []
    if len(calls) > limits.max_parts:
        refuse(f"there are {len(calls)} calls; {limits.max_parts} are allowed", f"{path}.toolCalls")
    parts: list[Part] = list(thoughts)
    if text := _checked(one.content or "", limits, path):
        parts.append(TextPart(text))
    for call in calls:
        raw = call.function.arguments
        parts.append(ToolCallPart(call.id, call.function.name, arguments_of(raw), raw))
    return Message("assistant", parts, id=one.id) if parts else None


def _add_result(kept: list[Message], one: _Tool, limits: RequestLimits, path: str) -> None:
    """Put a result into the message of the results before it, or into a new one."""
    content = _content(one.content, limits, path)
    part = ToolResultPart(
        one.tool_call_id,
        content or (one.error or ""),
        status="ok" if one.error is None else "error",
    )
    if kept and kept[-1].role == "tool":
        kept[-1] = Message("tool", [*kept[-1].parts, part], id=kept[-1].id)
    else:
        kept.append(Message("tool", [part], id=one.id))


def _content(content: str | Sequence[_Part], limits: RequestLimits, path: str) -> str | list[ContentPart]:
    if isinstance(content, str):
        return _checked(content, limits, path)
    if len(content) > limits.max_parts:
        refuse(f"there are {len(content)} parts; {limits.max_parts} are allowed", f"{path}.content")
    parts = [_part(part, f"{path}.content[{place}]") for place, part in enumerate(content)]
    _checked("".join(part.text for part in parts if isinstance(part, TextPart)), limits, path)
    return parts


def _part(part: _Part, path: str) -> ContentPart:
    match part:
        case _Text(text):
            return TextPart(text)
        case _Binary():
            return media_part(part.data, part.url, part.mime_type, path, name=part.filename)
        case _Image() | _Audio() | _Video() | _Document():
            source = part.source
            if isinstance(source, _FileSource):
                return FilePart(url=source.value, mime=source.mime_type)
            mime = source.mime_type or part.mime
            if isinstance(source, _DataSource):
                return media_part(source.value, None, mime, path)
            return media_part(None, source.value, mime, path)


def _checked(text: str, limits: RequestLimits, path: str) -> str:
    if len(text) > limits.max_text_chars:
        refuse(f"the text has {len(text)} characters; {limits.max_text_chars} are allowed", path)
    return text


def _tool(given: _ToolSpec, path: str) -> ToolSpec:
    if not _TOOL_NAME.fullmatch(given.name):
        refuse("the name must have 1 to 64 letters, digits, '_' or '-'", f"{path}.name")
    if given.parameters is None:
        return ToolSpec(given.name, given.description)
    parameters = freeze(given.parameters, f"{path}.parameters")
    if not isinstance(parameters, Mapping):
        refuse("the parameters must be a JSON schema, an object", f"{path}.parameters")
    return ToolSpec(given.name, given.description, parameters)


def _decision(given: _Resume, path: str) -> ToolDecisionElement:
    if given.status == "cancelled":
        return ToolDecisionElement(given.interrupt_id, allow=False)
    payload = freeze(given.payload, f"{path}.payload")
    allow = payload.get("approved") if isinstance(payload, Mapping) else payload
    if not isinstance(allow, bool):
        refuse("say whether the call may run: true or false, or {'approved': …}", f"{path}.payload")
    reason = payload.get("reason") if isinstance(payload, Mapping) else None
    return ToolDecisionElement(given.interrupt_id, allow=allow, reason=reason if isinstance(reason, str) else "")

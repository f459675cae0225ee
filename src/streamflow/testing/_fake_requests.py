"""What the clients of a fake model server ask for: bodies of three wires to `ModelRequest`.

Above: `_fake_wire`, `_fake_responses`, `_fake_messages`. Below: `providers`.
Rule: what a real server refuses with 400 is refused here too, above all a tool result without its call, and a call without
a result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

import msgspec

from ..elements import (
    ImagePart,
    Message,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from ..errors import ProviderError
from ..providers import ModelRequest, NamedTool, OutputSchema, ToolSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..elements import JsonValue, Part, Role
    from ..providers import ToolChoice

__all__ = ["Json", "chat_request", "fields_of", "messages_request", "responses_request"]

Json: TypeAlias = "dict[str, object]"
"""A JSON object."""


def fields_of(value: object, where: str = "the body") -> Json:
    """Return a JSON object.

    Raises:
        ProviderError: If it is none; `bad_request`.
    """
    if not isinstance(value, dict):
        raise _bad(f"{where} is no JSON object")
    return cast("Json", value)


def chat_request(body: Json) -> ModelRequest:
    """Return what a body of `/v1/chat/completions` asks for.

    Raises:
        ProviderError: If it is none; `bad_request`.
    """
    messages = [_chat_message(fields_of(one, "messages[]")) for one in _list(body, "messages", needed=True)]
    form = fields_of(body.get("response_format") or {}, "response_format")
    schema = fields_of(form.get("json_schema") or {}, "json_schema") if form.get("type") == "json_schema" else None
    tools = [fields_of(fields_of(one, "tools[]").get("function"), "tools[].function") for one in _list(body, "tools")]
    choice = body.get("tool_choice")
    named = choice
    if isinstance(choice, dict):
        named = _text(
            fields_of(fields_of(cast("object", choice), "tool_choice").get("function"), "tool_choice.function"), "name"
        )
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    specs, effort = _tools(tools, "parameters"), body.get("reasoning_effort")
    return _request(body, messages, tools=specs, choice=named, schema=schema, limit=limit, effort=effort)


def responses_request(body: Json) -> ModelRequest:
    """Return what a body of `/v1/responses` asks for.

    Raises:
        ProviderError: If it is none; `bad_request`.
    """
    given = body.get("input")
    items: list[object] = (
        [{"role": "user", "content": given}] if isinstance(given, str) else _list(body, "input", needed=True)
    )
    messages = [Message("system", instructions)] if isinstance(instructions := body.get("instructions"), str) else []
    messages += [message for item in items if (message := _responses_item(fields_of(item, "input[]"))) is not None]
    form = fields_of(fields_of(body.get("text") or {}, "text").get("format") or {}, "text.format")
    choice = body.get("tool_choice")
    named = fields_of(cast("object", choice), "tool_choice").get("name") if isinstance(choice, dict) else choice
    effort = fields_of(body.get("reasoning") or {}, "reasoning").get("effort")
    tools = [fields_of(one, "tools[]") for one in _list(body, "tools")]
    functions = [tool for tool in tools if tool.get("type", "function") == "function"]
    schema = form if form.get("type") == "json_schema" else None
    specs, limit = _tools(functions, "parameters"), body.get("max_output_tokens")
    return _request(body, messages, tools=specs, choice=named, schema=schema, limit=limit, effort=effort)


def messages_request(body: Json) -> ModelRequest:
    """Return what a body of `/v1/messages` asks for.

    Raises:
        ProviderError: If it is none; `bad_request`.
    """
    if not isinstance(body.get("max_tokens"), int):
        raise _bad("max_tokens: Field required")
    system = body.get("system")
    messages = [Message("system", _parts(system))] if system else []
    for one in _list(body, "messages", needed=True):
        fields = fields_of(one, "messages[]")
        messages.append(Message(_role(fields, "user", "assistant", "system"), _parts(fields.get("content"))))
    tools = [fields_of(one, "tools[]") for one in _list(body, "tools")]
    choice = fields_of(body.get("tool_choice") or {}, "tool_choice")
    kind = choice.get("type")
    named = {"any": "required"}.get(str(kind), choice.get("name") if kind == "tool" else kind)
    budget = fields_of(body.get("thinking") or {}, "thinking").get("budget_tokens")
    specs = _tools(tools, "input_schema")
    request = _request(body, messages, tools=specs, choice=named, schema=None, limit=body["max_tokens"], effort=None)
    return msgspec.structs.replace(request, thinking_tokens=budget if isinstance(budget, int) else None)


def _request(
    body: Json,
    messages: list[Message],
    *,
    tools: tuple[ToolSpec, ...],
    choice: object,
    schema: Json | None,
    limit: object,
    effort: object,
) -> ModelRequest:
    _check_pairs(messages)
    if limit is not None and not (isinstance(limit, int) and limit > 0):
        raise _bad("the limit of tokens is no number above 0")
    if choice is not None and not isinstance(choice, str):
        raise _bad("tool_choice is neither a text nor an object")
    if choice not in {None, "auto", "none", "required"}:
        if all(tool.name != choice for tool in tools):
            raise _bad(f"tool_choice names {choice!r:.80}, which is not among the tools")
        tool_choice: ToolChoice = NamedTool(str(choice))
    else:
        tool_choice = cast("ToolChoice", choice or "auto")
    stop = body.get("stop")
    stops = [stop] if isinstance(stop, str) else _list(body, "stop" if stop else "stop_sequences")
    output = None
    if schema is not None:
        output = OutputSchema(cast("dict[str, JsonValue]", fields_of(schema.get("schema"), "schema")))
    return ModelRequest(
        messages=tuple(messages),
        model=_named(body, "model"),
        temperature=_number(body, "temperature"),
        max_tokens=limit,
        tools=tools,
        tool_choice=tool_choice,
        parallel_tools=parallel if isinstance(parallel := body.get("parallel_tool_calls"), bool) else None,
        output=output,
        effort=effort if effort in ("minimal", "low", "medium", "high") else None,
        stop=tuple(map(str, stops)),
        top_p=_number(body, "top_p"),
        seed=seed if isinstance(seed := body.get("seed"), int) else None,
    )


def _chat_message(fields: Json) -> Message:
    role = _role(fields, "system", "developer", "user", "assistant", "tool")
    parts: list[Part] = []
    if isinstance(thought := fields.get("reasoning_content"), str):
        parts.append(ThinkingPart(thought))
    if role == "tool":
        parts.append(ToolResultPart(_text(fields, "tool_call_id"), Message("user", _parts(fields.get("content"))).text))
    else:
        parts += _parts(fields.get("content"))
    for call in _list(fields, "tool_calls"):
        function = fields_of(fields_of(call, "tool_calls[]").get("function"), "tool_calls[].function")
        raw = _text(function, "arguments")
        parts.append(ToolCallPart(_text(fields_of(call), "id"), _text(function, "name"), _args(raw), raw))
    return Message(role, parts)


def _responses_item(fields: Json) -> Message | None:
    match fields.get("type", "message"):
        case "message":
            return Message(_role(fields, "system", "developer", "user", "assistant"), _parts(fields.get("content")))
        case "function_call":
            raw = _text(fields, "arguments")
            return Message(
                "assistant", [ToolCallPart(_text(fields, "call_id"), _text(fields, "name"), _args(raw), raw)]
            )
        case "function_call_output":
            text = Message("user", _parts(fields.get("output"))).text
            return Message("tool", [ToolResultPart(_text(fields, "call_id"), text)])
        case "reasoning":
            said = [str(fields_of(one).get("text", "")) for one in _list(fields, "summary")]
            sealed = fields.get("encrypted_content")
            return Message("assistant", [ThinkingPart("".join(said), encrypted=cast("str | None", sealed))])
        case _:
            return None


def _parts(content: object) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [TextPart(content)] if content else []
    if not isinstance(content, list):
        raise _bad("content is neither a text nor a list")
    return [part for one in cast("list[object]", content) if (part := _part(fields_of(one, "content[]"))) is not None]


def _part(fields: Json) -> Part | None:
    match fields.get("type"):
        case "text" | "input_text" | "output_text" | "refusal":
            return TextPart(_text(fields, "refusal" if fields["type"] == "refusal" else "text"))
        case "image_url":
            return ImagePart(url=_text(fields_of(fields.get("image_url"), "image_url"), "url"))
        case "input_image":
            return ImagePart(url=_text(fields, "image_url"))
        case "image":
            source = fields_of(fields.get("source"), "source")
            if "data" in source:
                return ImagePart(url=f"data:{source.get('media_type')};base64,{_text(source, 'data')}")
            return ImagePart(url=_text(source, "url"))
        case "thinking":
            return ThinkingPart(_text(fields, "thinking"), cast("str | None", fields.get("signature")))
        case "redacted_thinking":
            return ThinkingPart(encrypted=_text(fields, "data"))
        case "tool_use":
            args = fields_of(fields.get("input"), "input")
            raw = msgspec.json.encode(args).decode()
            return ToolCallPart(_text(fields, "id"), _text(fields, "name"), cast("dict[str, JsonValue]", args), raw)
        case "tool_result":
            text = Message("user", _parts(fields.get("content"))).text
            return ToolResultPart(
                _text(fields, "tool_use_id"), text, status="error" if fields.get("is_error") else "ok"
            )
        case str():
            return None  # sound, files: taken, and not looked at
        case _:
            raise _bad("a part of the content has no type")


def _check_pairs(messages: list[Message]) -> None:
    """Give each result the name of its tool, and refuse results without calls, and calls without results."""
    names: dict[str, str] = {}
    waiting: set[str] = set()
    for place, message in enumerate(messages):
        if message.role == "user" and not message.tool_results and waiting:
            break
        for part in message.parts:
            if isinstance(part, ToolCallPart):
                names[part.call_id] = part.name
                waiting.add(part.call_id)
            elif isinstance(part, ToolResultPart) and part.call_id not in waiting:
                raise _bad(f"a tool result has the id {part.call_id!r:.80}, but no call before it has")
            elif isinstance(part, ToolResultPart):
                waiting.discard(part.call_id)
        if message.tool_results:
            parts = [
                msgspec.structs.replace(part, name=names[part.call_id]) if isinstance(part, ToolResultPart) else part
                for part in message.parts
            ]
            messages[place] = msgspec.structs.replace(message, content=parts)
    if waiting:
        raise _bad(f"tool calls have no result: {', '.join(sorted(waiting)):.200}")


def _tools(tools: Iterable[Json], schema: str) -> tuple[ToolSpec, ...]:
    return tuple(
        ToolSpec(
            _text(tool, "name"),
            str(tool.get("description") or ""),
            cast("dict[str, JsonValue]", fields_of(tool.get(schema) or {}, schema)),
            strict=tool.get("strict") is True,
        )
        for tool in tools
    )


def _args(raw: str) -> dict[str, JsonValue]:
    try:
        decoded: object = msgspec.json.decode(raw or "{}")
    except (msgspec.DecodeError, RecursionError):
        return {}
    return cast("dict[str, JsonValue]", decoded) if isinstance(decoded, dict) else {}


def _role(fields: Json, *allowed: str) -> Role:
    role = fields.get("role")
    if role not in allowed:
        raise _bad(f"role {role!r:.40} is none of {', '.join(allowed)}")
    return "system" if role == "developer" else cast("Role", role)


def _list(fields: Json, name: str, *, needed: bool = False) -> list[object]:
    value = fields.get(name)
    if value is None and not needed:
        return []
    if not isinstance(value, list) or (needed and not value):
        raise _bad(f"{name} is no list of at least one" if needed else f"{name} is no list")
    return cast("list[object]", value)


def _text(fields: Json, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise _bad(f"{name} is no text")
    return value


def _named(fields: Json, name: str) -> str | None:
    return None if fields.get(name) is None else _text(fields, name)


def _number(fields: Json, name: str) -> float | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, int | float):
        raise _bad(f"{name} is no number")
    return value


def _bad(message: str) -> ProviderError:
    return ProviderError("bad_request", message)

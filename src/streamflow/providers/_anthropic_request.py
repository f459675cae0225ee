"""A request as Anthropic's Messages write it. Waits for nothing.

Above: `_wires`. Below: `_encoding`.
On this wire two speakers take turns: what tools gave back is said by the user, and messages of one speaker that follow each other
are joined. Thoughts go back with their signature, or as the text that only the server can read. Blocks of the server's own
tools go back as they came, from the `DataPart`s that `_anthropic_answer` made of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from ..elements import (
    AudioPart,
    DataPart,
    FilePart,
    ImagePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from ..errors import ProviderError
from ._encoding import (
    Refuser,
    arguments_of,
    check_request,
    image_mime,
    is_citation,
    is_file_id,
    plain,
    refuse_field,
    result_text,
    to_base64,
    with_extra,
)
from ._protocol import NamedTool

if TYPE_CHECKING:
    from ..elements import Message, MessagePart
    from ._protocol import ModelRequest, ToolSpec

__all__ = ["ANTHROPIC_BLOCK", "anthropic_body"]

ANTHROPIC_BLOCK = "anthropic."
"""What the names of blocks begin with that only this wire knows; the type of the block follows."""

_MIN_THINKING = 1024  # what the server asks for at least
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def anthropic_body(request: ModelRequest, model: str | None, max_tokens: int) -> dict[str, object]:
    """Return the body of a request.

    Args:
        request: What is asked.
        model: Name of the model; None: left to the server.
        max_tokens: Most tokens to answer with, besides those to think with, for requests that do not say.

    Raises:
        ProviderError: If this wire cannot carry something of it; `bad_request`.
    """
    check_request(request)
    if request.seed is not None:
        raise refuse_field("seed", "this kind of server has no such setting; leave it out")
    system, messages = _conversation(request)
    most = request.max_tokens if request.max_tokens is not None else max_tokens + (request.thinking_tokens or 0)
    body: dict[str, object] = {"messages": messages, "stream": True, "max_tokens": most}
    options = {
        "model": model,
        "system": system or None,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop_sequences": list(request.stop) or None,
        "thinking": _thinking(request, most),
        "output_config": _output(request) or None,
    }
    if request.tools:
        options["tools"] = [_tool(tool) for tool in request.tools]
        options["tool_choice"] = _choice(request)
    body |= {name: value for name, value in options.items() if value is not None}
    return with_extra(body, request)


def _thinking(request: ModelRequest, most: int) -> object:
    budget = request.thinking_tokens
    if budget is None:
        return None
    if budget == 0:
        return {"type": "disabled"}
    if budget < _MIN_THINKING or budget >= most:
        raise refuse_field(
            "thinking_tokens", f"give {_MIN_THINKING} or more and less than max_tokens, which is {most}; got {budget}"
        )
    return {"type": "enabled", "budget_tokens": budget}


def _output(request: ModelRequest) -> dict[str, object]:
    config: dict[str, object] = {}
    if request.effort == "minimal":
        raise refuse_field(
            "effort", "the least that this kind of server knows is 'low'; give that, or thinking_tokens=0"
        )
    if request.effort is not None:
        config["effort"] = request.effort
    if request.output is not None:
        config["format"] = {"type": "json_schema", "schema": plain(request.output.schema)}
    return config


def _tool(tool: ToolSpec) -> dict[str, object]:
    spec: dict[str, object] = {"name": tool.name, "input_schema": plain(tool.parameters)}
    if tool.description:
        spec["description"] = tool.description
    if tool.strict:
        spec["strict"] = True
    return spec


def _choice(request: ModelRequest) -> object:
    choice: dict[str, object]
    if isinstance(request.tool_choice, NamedTool):
        choice = {"type": "tool", "name": request.tool_choice.name}
    else:
        choice = {"type": _CHOICES[request.tool_choice]}
    if request.parallel_tools is not None and request.tool_choice != "none":
        choice["disable_parallel_tool_use"] = not request.parallel_tools
    return None if choice == {"type": "auto"} else choice


def _conversation(request: ModelRequest) -> tuple[list[object], list[object]]:
    """Return the blocks of the system messages, and the messages in turns."""
    system: list[object] = []
    turns: list[dict[str, object]] = []
    for index, message in enumerate(request.messages):
        refuse = Refuser(index, message.role)
        blocks = [block for part in message.parts for block in _blocks(part, message, refuse)]
        if message.role == "system":
            if turns:
                raise refuse_field("messages", f"message {index} is a system message; put those first of all")
            system += blocks
            continue
        if not blocks:
            continue  # nothing was said, and the server refuses a message without content
        role = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1]["role"] == role:
            cast("list[object]", turns[-1]["content"]).extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
    for turn in turns:  # the server wants results before anything else that the user says
        cast("list[dict[str, object]]", turn["content"]).sort(key=lambda block: block["type"] != "tool_result")
    return system, list(turns)


def _blocks(part: MessagePart, message: Message, refuse: Refuser) -> list[object]:
    if isinstance(part, TextPart) and message.role != "tool":
        return [{"type": "text", "text": part.text}] if part.text else []
    if message.role == "system":
        raise refuse(part, "but a system message is text")
    if message.role == "assistant":
        return _said(part, refuse)
    if isinstance(part, ToolResultPart):
        return [_result(part, refuse)]
    if message.role == "tool":
        raise refuse(part, "but a message of a tool holds results only; put it into a message of the user")
    return [_shown(part, refuse)]


def _said(part: MessagePart, refuse: Refuser) -> list[object]:
    """Return the blocks of one part of what the assistant has said."""
    if isinstance(part, ThinkingPart):
        if part.signature and not part.encrypted:
            return [{"type": "thinking", "thinking": part.text, "signature": part.signature}]
        is_ours = part.encrypted and not part.signature and not part.text
        return [{"type": "redacted_thinking", "data": part.encrypted}] if is_ours else []
    if isinstance(part, ToolCallPart):
        args = msgspec.json.decode(arguments_of(part))
        return [{"type": "tool_use", "id": part.call_id, "name": part.name, "input": args}]
    if isinstance(part, AudioPart) and part.transcript is not None:
        return [{"type": "text", "text": part.transcript}] if part.transcript else []
    if is_citation(part):
        return []
    if isinstance(part, DataPart) and part.name.startswith(ANTHROPIC_BLOCK):
        return [plain(part.value)]
    raise refuse(part, "which this wire cannot carry in what the assistant has said; leave it out of the history")


def _shown(part: MessagePart, refuse: Refuser) -> dict[str, object]:
    if isinstance(part, ImagePart):
        return {"type": "image", "source": _source(part.data, part.url, image_mime(part))}
    if isinstance(part, FilePart):
        document: dict[str, object] = {"type": "document", "source": _document(part, refuse)}
        return {**document, "title": part.name} if part.name else document
    raise refuse(part, "which this wire cannot carry; turn it into text, a picture or a PDF, or leave it out")


def _document(part: FilePart, refuse: Refuser) -> dict[str, object]:
    mime = part.mime or "application/pdf"
    if part.data is None or mime == "application/pdf":
        return _source(part.data, part.url, mime)
    if not mime.startswith("text/"):
        raise refuse(part, f"of type {mime!r:.40}, which this wire cannot carry; give a PDF or text")
    try:
        return {"type": "text", "media_type": "text/plain", "data": part.data.decode()}
    except UnicodeDecodeError:
        failure = "the request's messages: a FilePart says that it is text, and is not in UTF-8; convert it"
    raise ProviderError("bad_request", failure)  # out here it has no context: that error holds the file


def _source(data: bytes | None, url: str | None, mime: str) -> dict[str, object]:
    if data is not None:
        return {"type": "base64", "media_type": mime, "data": to_base64(data)}
    if url is not None and is_file_id(url):
        return {"type": "file", "file_id": url}
    return {"type": "url", "url": url}


def _result(result: ToolResultPart, refuse: Refuser) -> dict[str, object]:
    sent: dict[str, object] = {"type": "tool_result", "tool_use_id": result.call_id}
    if isinstance(result.content, str) or all(isinstance(part, (TextPart, DataPart)) for part in result.content):
        sent["content"] = result_text(result, refuse)
    else:
        sent["content"] = [
            {"type": "text", "text": result_text(ToolResultPart("", [part]), refuse)}
            if isinstance(part, (TextPart, DataPart))
            else _shown(part, refuse)
            for part in result.content
        ]
    return sent if result.status == "ok" else {**sent, "is_error": True}

"""A request as OpenAI's Responses write it. Waits for nothing.

Above: `_wires`. Below: `_encoding`.
The server keeps nothing (`store: false`): the whole conversation is sent each time, thoughts as the encrypted items that the server
gave. Items of the server's own tools go back as they came, from the `DataPart`s that `_responses_answer` made of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from ._chat_request import effort_of
from ._encoding import (
    Refuser,
    arguments_of,
    check_request,
    data_url,
    file_name,
    image_mime,
    is_citation,
    is_file_id,
    is_free_text,
    plain,
    refuse_field,
    result_text,
    sound_of,
    with_extra,
)
from ._protocol import NamedTool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..elements import Message, MessagePart
    from ._protocol import ModelRequest, ToolSpec

__all__ = ["OPENAI_ITEM", "responses_body"]

OPENAI_ITEM = "openai."
"""What the names of items begin with that only this wire knows; the type of the item follows."""

_OWN = frozenset({"store", "include"})


def responses_body(request: ModelRequest, model: str | None) -> dict[str, object]:
    """Return the body of a request.

    Args:
        request: What is asked.
        model: Name of the model; None: left to the server.

    Raises:
        ProviderError: If this wire cannot carry something of it; `bad_request`.
    """
    check_request(request)
    if request.stop:
        raise refuse_field("stop", "the Responses API has no such setting; leave it out, or use chat completions")
    if request.seed is not None:
        raise refuse_field("seed", "the Responses API has no such setting; leave it out, or use chat completions")
    free = {call.call_id for message in request.messages for call in message.tool_calls if is_free_text(call)}
    body: dict[str, object] = {
        "input": [item for index, message in enumerate(request.messages) for item in _items(index, message, free)],
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    effort = effort_of(request)
    options = {
        "model": model,
        "temperature": request.temperature,
        "max_output_tokens": request.max_tokens,
        "top_p": request.top_p,
        "reasoning": None if effort is None else {"effort": effort},
        "text": _format(request),
    }
    if request.tools:
        options["tools"] = [_tool(tool) for tool in request.tools]
        options["tool_choice"] = _choice(request)
        options["parallel_tool_calls"] = request.parallel_tools
    body |= {name: value for name, value in options.items() if value is not None}
    return with_extra(body, request, _OWN)


def _tool(tool: ToolSpec) -> dict[str, object]:
    # Said even when it is not wanted: on this wire strict is the default.
    spec = {"type": "function", "name": tool.name, "parameters": plain(tool.parameters), "strict": tool.strict}
    return {**spec, "description": tool.description} if tool.description else spec


def _choice(request: ModelRequest) -> object:
    if isinstance(request.tool_choice, NamedTool):
        return {"type": "function", "name": request.tool_choice.name}
    return None if request.tool_choice == "auto" else request.tool_choice


def _format(request: ModelRequest) -> object:
    if request.output is None:
        return None
    name, schema, strict = request.output.name, plain(request.output.schema), request.output.strict
    return {"format": {"type": "json_schema", "name": name, "schema": schema, "strict": strict}}


def _items(index: int, message: Message, free: set[str]) -> Iterator[object]:
    """Return one message as the items that this wire makes of it; `free` are calls of tools that take any text."""
    refuse = Refuser(index, message.role)
    if message.role == "assistant":
        yield from _said(message, refuse)
        return
    rest: list[MessagePart] = []
    for part in message.parts:
        if isinstance(part, ToolResultPart) and message.role != "system":
            kind = "custom_tool_call_output" if part.call_id in free else "function_call_output"
            yield {"type": kind, "call_id": part.call_id, "output": _result(part, refuse)}
        elif message.role == "tool":
            raise refuse(part, "but a message of a tool holds results only; put it into a message of the user")
        else:
            rest.append(part)
    if rest or not message.parts:
        yield {"role": message.role, "content": _content(rest, refuse, texts_only=message.role == "system")}


def _content(parts: Sequence[MessagePart], refuse: Refuser, *, texts_only: bool) -> object:
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    if len(texts) == len(parts):
        return "".join(texts)
    if texts_only:
        raise refuse(next(part for part in parts if not isinstance(part, TextPart)), "but a system message is text")
    return [_shown(part, refuse) for part in parts]


def _shown(part: MessagePart, refuse: Refuser) -> dict[str, object]:
    if isinstance(part, TextPart):
        return {"type": "input_text", "text": part.text}
    if isinstance(part, ImagePart):
        if part.url is not None and is_file_id(part.url):
            return {"type": "input_image", "detail": "auto", "file_id": part.url}
        url = part.url if part.data is None else data_url(part.data, image_mime(part))
        return {"type": "input_image", "detail": "auto", "image_url": url}
    if isinstance(part, AudioPart):
        data, format = sound_of(part, refuse)
        return {"type": "input_audio", "input_audio": {"data": data, "format": format}}
    if isinstance(part, FilePart):
        if part.data is not None:
            data = data_url(part.data, part.mime or "application/pdf")
            return {"type": "input_file", "file_data": data, "filename": file_name(part)}
        field = "file_id" if part.url is not None and is_file_id(part.url) else "file_url"
        return {"type": "input_file", field: part.url}
    raise refuse(part, "which this wire cannot carry; turn it into text or a picture, or leave it out")


def _result(result: ToolResultPart, refuse: Refuser) -> object:
    if isinstance(result.content, str) or all(isinstance(part, (TextPart, DataPart)) for part in result.content):
        return result_text(result, refuse)
    return [
        {"type": "input_text", "text": result_text(ToolResultPart("", [part]), refuse)}
        if isinstance(part, DataPart)
        else _shown(part, refuse)
        for part in result.content
    ]


def _said(message: Message, refuse: Refuser) -> Iterator[object]:
    """Return the items of what the assistant has said, in their order."""
    texts: list[str] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            texts.append(part.text)
            continue
        if isinstance(part, AudioPart) and part.transcript is not None:
            texts.append(part.transcript)
            continue
        if is_citation(part) or (isinstance(part, ThinkingPart) and not (part.signature and part.encrypted)):
            continue
        if texts:
            yield {"role": "assistant", "content": "".join(texts)}
            texts.clear()
        yield _item(part, refuse)
    if texts:
        yield {"role": "assistant", "content": "".join(texts)}


def _item(part: MessagePart, refuse: Refuser) -> object:
    if isinstance(part, ThinkingPart):
        summary = [{"type": "summary_text", "text": part.text}] if part.text else []
        return {"type": "reasoning", "id": part.signature, "summary": summary, "encrypted_content": part.encrypted}
    if isinstance(part, ToolCallPart) and is_free_text(part):
        return {"type": "custom_tool_call", "call_id": part.call_id, "name": part.name, "input": part.raw}
    if isinstance(part, ToolCallPart):
        return {"type": "function_call", "call_id": part.call_id, "name": part.name, "arguments": arguments_of(part)}
    if isinstance(part, DataPart) and part.name.startswith(OPENAI_ITEM):
        return plain(part.value)
    raise refuse(part, "which this wire cannot carry in what the assistant has said; leave it out of the history")

"""A request as OpenAI's chat completions write it. Waits for nothing.

Above: `_wires`. Below: `_encoding`.
This wire has no place of its own for thoughts, nor for media in what the assistant has said. Thoughts are left out, unless the
server is known to have a field for them; sound goes back as its transcript; pictures go back in the field in which servers that
make them send them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elements import (
    AudioPart,
    FilePart,
    ImagePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from ._encoding import (
    Refuser,
    arguments_of,
    check_request,
    data_url,
    file_name,
    image_mime,
    is_citation,
    is_file_id,
    plain,
    refuse_field,
    result_text,
    sound_of,
    with_extra,
)
from ._protocol import NamedTool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..elements import Message, Part
    from ._protocol import ModelRequest, ToolSpec

__all__ = ["chat_body"]

_OWN = frozenset({"stream_options"})


def chat_body(
    request: ModelRequest, model: str | None, max_tokens_field: str, thoughts_field: str | None = None
) -> dict[str, object]:
    """Return the body of a request.

    Args:
        request: What is asked.
        model: Name of the model; None: left to the server.
        max_tokens_field: What the server calls the most tokens to answer with.
        thoughts_field: What the server calls thoughts in what the assistant has said; None: they are left out.

    Raises:
        ProviderError: If this wire cannot carry something of it; `bad_request`.
    """
    check_request(request)
    body: dict[str, object] = {
        "messages": [
            sent for index, message in enumerate(request.messages) for sent in _messages(index, message, thoughts_field)
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    options = {
        "model": model,
        "temperature": request.temperature,
        max_tokens_field: request.max_tokens,
        "top_p": request.top_p,
        "seed": request.seed,
        "stop": list(request.stop) or None,
        "reasoning_effort": effort_of(request),
        "response_format": _format(request),
    }
    if request.tools:
        options["tools"] = [_tool(tool) for tool in request.tools]
        options["tool_choice"] = _choice(request)
        options["parallel_tool_calls"] = request.parallel_tools
    body |= {name: value for name, value in options.items() if value is not None}
    return with_extra(body, request, _OWN)


def effort_of(request: ModelRequest) -> str | None:
    """Return how long to think, in OpenAI's word."""
    if request.thinking_tokens is None:
        return request.effort
    if request.thinking_tokens:
        raise refuse_field("thinking_tokens", "this kind of server does not count them; give effort instead")
    if request.effort is not None:
        raise refuse_field("thinking_tokens", "0 means not to think, and effort says how long; give one of both")
    return "none"


def _tool(tool: ToolSpec) -> dict[str, object]:
    function: dict[str, object] = {"name": tool.name, "parameters": plain(tool.parameters)}
    if tool.description:
        function["description"] = tool.description
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(request: ModelRequest) -> object:
    if isinstance(request.tool_choice, NamedTool):
        return {"type": "function", "function": {"name": request.tool_choice.name}}
    return None if request.tool_choice == "auto" else request.tool_choice


def _format(request: ModelRequest) -> object:
    if request.output is None:
        return None
    schema = {"name": request.output.name, "schema": plain(request.output.schema), "strict": request.output.strict}
    return {"type": "json_schema", "json_schema": schema}


def _messages(index: int, message: Message, thoughts_field: str | None) -> Iterator[dict[str, object]]:
    """Return one message as this wire writes it: results of tools are messages of their own."""
    refuse = Refuser(index, message.role)
    named: dict[str, object] = {"role": message.role}
    if message.name is not None:
        named["name"] = message.name
    if message.role == "assistant":
        yield {**named, **_said(message, refuse, thoughts_field)}
        return
    rest: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolResultPart) and message.role != "system":
            yield {"role": "tool", "tool_call_id": part.call_id, "content": result_text(part, refuse)}
        elif message.role == "tool":
            raise refuse(part, "but a message of a tool holds results only; put it into a message of the user")
        else:
            rest.append(part)
    if rest or not message.parts:
        yield {**named, "content": _content(rest, refuse, texts_only=message.role == "system")}


def _content(parts: Sequence[Part], refuse: Refuser, *, texts_only: bool) -> object:
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    if len(texts) == len(parts):
        return "".join(texts)
    if texts_only:
        raise refuse(next(part for part in parts if not isinstance(part, TextPart)), "but a system message is text")
    return [_shown(part, refuse) for part in parts]


def _shown(part: Part, refuse: Refuser) -> dict[str, object]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImagePart):
        url = part.url if part.data is None else data_url(part.data, image_mime(part))
        return {"type": "image_url", "image_url": {"url": url}}
    if isinstance(part, AudioPart):
        data, format = sound_of(part, refuse)
        return {"type": "input_audio", "input_audio": {"data": data, "format": format}}
    if isinstance(part, FilePart):
        if part.data is not None:
            data = data_url(part.data, part.mime or "application/pdf")
            return {"type": "file", "file": {"file_data": data, "filename": file_name(part)}}
        if part.url is not None and is_file_id(part.url):
            return {"type": "file", "file": {"file_id": part.url}}
        raise refuse(
            part, "given by its address, which this wire cannot carry; give its bytes, or the id of an uploaded file"
        )
    raise refuse(part, "which this wire cannot carry; turn it into text or a picture, or leave it out")


def _said(message: Message, refuse: Refuser, thoughts_field: str | None) -> dict[str, object]:
    """Return what the assistant has said."""
    texts: list[str] = []
    calls: list[object] = []
    images: list[object] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            texts.append(part.text)
        elif isinstance(part, ImagePart):
            images.append(_shown(part, refuse))
        elif isinstance(part, ToolCallPart):
            function = {"name": part.name, "arguments": arguments_of(part)}
            calls.append({"id": part.call_id, "type": "function", "function": function})
        elif isinstance(part, AudioPart) and part.transcript is not None:
            texts.append(part.transcript)
        elif not (isinstance(part, ThinkingPart) or is_citation(part)):
            raise refuse(
                part, "which this wire cannot carry in what the assistant has said; leave it out of the history"
            )
    said: dict[str, object] = {"content": "".join(texts) or (None if calls else "")}
    if thoughts_field is not None and (thoughts := _thoughts(message)):
        said[thoughts_field] = thoughts
    if images:
        said["images"] = images
    return {**said, "tool_calls": calls} if calls else said


def _thoughts(message: Message) -> str:
    """Return what the assistant thought in plain words; what another kind of server has signed or sealed is for that one alone."""
    thoughts = [part for part in message.parts if isinstance(part, ThinkingPart)]
    return "".join(one.text for one in thoughts if one.signature is None and one.encrypted is None)

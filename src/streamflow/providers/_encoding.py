"""What all wires share when they write a request: checks, media as text, arguments, further fields.

Above: `_chat_request`, `_responses_request`, `_anthropic_request`. Below: `_protocol`, `elements`.
Rules: what a wire cannot carry is refused with the number of the message and its role, never left out in silence. Two things are
left out, because nobody but who made them can read them, and answers do not hang on them: thoughts without the proof that this kind
of server gives, and citations. No error repeats a text of the request.
"""

from __future__ import annotations

import base64
import re
import struct
from typing import TYPE_CHECKING, Final, cast

import msgspec

from ..elements import DataPart, JsonValue, TextPart, thaw
from ..errors import ProviderError
from ._protocol import CITATION, NamedTool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..elements import AudioPart, FilePart, ImagePart, MessagePart, ToolCallPart, ToolResultPart
    from ._protocol import ModelRequest

__all__ = [
    "Refuser",
    "arguments_of",
    "check_request",
    "data_url",
    "encode_body",
    "file_name",
    "image_mime",
    "is_citation",
    "is_file_id",
    "is_free_text",
    "plain",
    "refuse_field",
    "result_text",
    "sound_of",
    "to_base64",
    "with_extra",
]

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAGIC: Final = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


class Refuser:
    """Says which message cannot be sent, and why."""

    def __init__(self, index: int, role: str) -> None:
        self._where = f"message {index} of role {role!r}"

    def __call__(self, part: MessagePart, why: str) -> ProviderError:
        """Return the error for a part; `bad_request`."""
        kind = type(part).__name__
        article = "an" if kind[0] in "AEIOU" else "a"
        return ProviderError("bad_request", f"{self._where} holds {article} {kind}, {why}")


def check_request(request: ModelRequest) -> None:
    """Check what no server has to be asked for.

    Raises:
        ProviderError: If tools have no names or the same, or one is to be called that is not there; `bad_request`.
    """
    names: set[str] = set()
    for tool in request.tools:
        if not _TOOL_NAME.fullmatch(tool.name):
            raise refuse_field(
                "tools", f"{tool.name!r:.80} is no name of a tool; use letters, digits, _ and -, at most 64"
            )
        if tool.name in names:
            raise refuse_field("tools", f"two tools are called {tool.name!r}; give each its own name")
        names.add(tool.name)
    choice = request.tool_choice
    if isinstance(choice, NamedTool) and choice.name not in names:
        raise refuse_field("tool_choice", f"no tool is called {choice.name!r:.80}; add it to tools")
    if choice == "required" and not names:
        raise refuse_field("tool_choice", "a tool is required and none is given; add one to tools")
    if request.max_tokens is not None and request.max_tokens < 1:
        raise refuse_field("max_tokens", "give 1 or more")
    if request.thinking_tokens is not None and request.thinking_tokens < 0:
        raise refuse_field("thinking_tokens", "give 0 or more")


def refuse_field(field: str, why: str) -> ProviderError:
    """Return the error for a field of the request; `bad_request`."""
    return ProviderError("bad_request", f"the request's {field}: {why}")


def plain(value: JsonValue | Mapping[str, JsonValue]) -> object:
    """Return a value as dicts and lists, which any encoder knows."""
    return thaw(value)


def with_extra(body: dict[str, object], request: ModelRequest, own: frozenset[str] = frozenset()) -> dict[str, object]:
    """Return the body with the further fields of the request.

    Args:
        body: The fields so far.
        request: Whose `extra` is laid over them; an object is joined with an object.
        own: Fields that this library has set by itself, and that may be replaced.

    Raises:
        ProviderError: If it says something else than another field of the request; `bad_request`.
    """
    for name, value in request.extra.items():
        given, there = plain(value), body.get(name)
        if name in own or name not in body:
            body[name] = given
        elif isinstance(there, dict) and isinstance(given, dict):
            fields, more = cast("dict[str, object]", there), cast("dict[str, object]", given)
            if twice := sorted(fields.keys() & more.keys()):
                raise refuse_field("extra", f"'{name}.{twice[0]}' is already set by another field; say it in one place")
            body[name] = {**fields, **more}
        else:
            raise refuse_field(
                "extra", f"{name!r:.80} is already set by another field, or by streamflow; say it in one place"
            )
    return body


def encode_body(body: Mapping[str, object]) -> bytes:
    """Return a body as JSON.

    Raises:
        ProviderError: If a text is no Unicode; `bad_request`.
    """
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        failure = "a message holds a lone surrogate, which is no Unicode text; clean the text before the model"
    raise ProviderError("bad_request", failure)  # out here it has no context: that error would quote the prompt


def is_free_text(call: ToolCallPart) -> bool:
    """Return whether the arguments of a call are no JSON, but a text that was made the one argument `input`."""
    return bool(call.raw) and dict(call.args) == {"input": call.raw}


def arguments_of(call: ToolCallPart) -> str:
    """Return the arguments of a call as JSON: as the model wrote them, where that is what they are."""
    if not call.raw or is_free_text(call):
        return msgspec.json.encode(plain(call.args)).decode()
    if call.args:
        return call.raw
    try:  # what is broken is not sent back: there are servers that fail on it
        return call.raw if isinstance(msgspec.json.decode(call.raw), dict) else "{}"
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return "{}"


def is_citation(part: MessagePart) -> bool:
    """Return whether a part says where a text is from."""
    return isinstance(part, DataPart) and part.name == CITATION


def result_text(result: ToolResultPart, refuse: Refuser) -> str:
    """Return the content of a tool's result as one text; values become JSON."""
    if isinstance(result.content, str):
        return result.content or ("" if result.status == "ok" else result.status)
    texts: list[str] = []
    for part in result.content:
        if isinstance(part, TextPart):
            texts.append(part.text)
        elif isinstance(part, DataPart):
            texts.append(msgspec.json.encode(plain(part.value)).decode())
        else:
            raise refuse(
                part, "which this wire cannot carry in a tool's result; give it to the model in a message of the user"
            )
    return "".join(texts)


def to_base64(data: bytes) -> str:
    """Return bytes as text."""
    return base64.b64encode(data).decode()


def data_url(data: bytes, mime: str) -> str:
    """Return bytes as an address that holds them."""
    return f"data:{mime};base64,{to_base64(data)}"


def image_mime(part: ImagePart) -> str:
    """Return the media type of a picture; unsaid, it is what its first bytes say, else PNG."""
    if part.mime is not None:
        return part.mime
    data = part.data or b""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for magic, mime in _MAGIC if data.startswith(magic)), "image/png")


def is_file_id(url: str) -> bool:
    """Return whether what stands for an address is the id of an uploaded file."""
    return ":" not in url and "/" not in url


def file_name(part: FilePart) -> str:
    """Return the name of a file, which some servers ask for."""
    return part.name or ("document.pdf" if part.mime in {None, "application/pdf"} else "document")


def sound_of(part: AudioPart, refuse: Refuser) -> tuple[str, str]:
    """Return sound in base64, and its format, `wav` or `mp3`; raw samples become WAV."""
    if part.data is None:
        raise refuse(part, "given by its address, which this wire cannot carry; give its bytes")
    if part.format in {"wav", "mp3"}:
        return to_base64(part.data), part.format
    if part.format != "pcm16":
        raise refuse(part, f"in the format {part.format!r}, which this wire cannot carry; give wav, mp3 or pcm16")
    rate, channels = part.sample_rate or 16000, part.channels or 1
    size = len(part.data)
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, channels, rate, rate * channels * 2,
                       channels * 2, 16)  # fmt: skip
    return to_base64(head + struct.pack("<4sI", b"data", size) + part.data), "wav"

"""Messages of a conversation, their parts, and what a model call used.

Above: `_types`, providers, agents and stores. Below: `_base`.
Rules: a message is a value that can be stored as it is; parts have a stable `type` tag like elements. Names are those
of no provider in particular: each provider maps its own wire to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, TypeVar, cast, get_args

import msgspec

from ..errors import ElementError
from ._base import checked_metadata, freeze_field, require_one_source
from ._metadata import EMPTY_METADATA, JsonValue, Metadata
from ._show import show

Role = Literal["system", "user", "assistant", "tool"]
"""Who speaks."""

_ROLES = frozenset(get_args(Role))

StopReason = Literal[
    "stop", "length", "tool_calls", "content_filter", "refusal", "pause", "approval", "interrupted", "error"
]
"""Why a model turn ended. `pause`: send the messages back unchanged; `approval`: tool calls wait for a consent."""

ToolStatus = Literal["ok", "error", "timeout", "denied", "cancelled"]
"""How a tool call ended."""

AudioFormat = Literal["pcm16", "float32", "mulaw", "alaw", "opus", "mp3", "aac", "flac", "wav"]
"""Encoding of audio bytes; `pcm16` and `float32` are raw, little-endian, channels interleaved."""


class MessagePart(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type"):
    """Base of the parts of a message."""

    __repr__ = show


class TextPart(MessagePart, frozen=True, tag="text"):
    """Text, said or read."""

    text: str
    """The text."""


class ThinkingPart(MessagePart, frozen=True, tag="thinking"):
    """What a model thought before it answered. Never shown or spoken as its answer."""

    text: str = ""
    """The thoughts, or their summary."""
    signature: str | None = None
    """The provider's proof, to be sent back unchanged."""
    encrypted: str | None = None
    """Thoughts that only the provider can read, to be sent back unchanged."""


class ImagePart(MessagePart, frozen=True, tag="image"):
    """A picture: its bytes or its address."""

    data: bytes | None = None
    """The encoded picture."""
    mime: str | None = None
    """Media type, as in `image/png`; None when unknown."""
    url: str | None = None
    """Address of the picture."""

    def __post_init__(self) -> None:
        require_one_source(self, self.data, self.url)


class AudioPart(MessagePart, frozen=True, tag="audio"):
    """A piece of sound: its bytes or its address."""

    data: bytes | None = None
    """The sound, encoded as `format` says."""
    format: AudioFormat = "wav"
    """Encoding of the bytes."""
    url: str | None = None
    """Address of the sound."""
    sample_rate: int | None = None
    """Samples per second; None when the bytes say so themselves."""
    channels: int | None = None
    """Number of channels; None when the bytes say so themselves."""
    transcript: str | None = None
    """What is said in it."""

    def __post_init__(self) -> None:
        require_one_source(self, self.data, self.url)


class VideoPart(MessagePart, frozen=True, tag="video"):
    """A film: its bytes or its address."""

    data: bytes | None = None
    """The encoded film."""
    mime: str | None = None
    """Media type, as in `video/mp4`; None when unknown."""
    url: str | None = None
    """Address of the film."""

    def __post_init__(self) -> None:
        require_one_source(self, self.data, self.url)


class FilePart(MessagePart, frozen=True, tag="file"):
    """A document: its bytes or its address."""

    data: bytes | None = None
    """The document."""
    mime: str | None = None
    """Media type, as in `application/pdf`; None when unknown."""
    url: str | None = None
    """Address of the document, or the provider's id of an uploaded one."""
    name: str | None = None
    """File name."""

    def __post_init__(self) -> None:
        require_one_source(self, self.data, self.url)


class DataPart(MessagePart, frozen=True, tag="data"):
    """A named JSON value."""

    name: str
    """What it is, as in `citation`."""
    value: JsonValue
    """The value, read-only; `thaw()` gives a plain copy."""

    def __post_init__(self) -> None:
        freeze_field(self, "value")


class ToolCallPart(MessagePart, frozen=True, tag="tool_call"):
    """A tool that the assistant wants to be called."""

    call_id: str
    """Joins the call and its result."""
    name: str
    """Name of the tool."""
    args: Mapping[str, JsonValue] = EMPTY_METADATA
    """Arguments, read-only; `thaw()` gives a plain copy."""
    raw: str = ""
    """The arguments as the model wrote them, to be sent back unchanged; empty when nobody kept them."""

    def __post_init__(self) -> None:
        freeze_field(self, "args")


ContentPart: TypeAlias = TextPart | ImagePart | AudioPart | VideoPart | FilePart | DataPart
"""What a person, a tool or a model can show."""


class ToolResultPart(MessagePart, frozen=True, tag="tool_result"):
    """What a tool gave back."""

    call_id: str
    """Joins the call and its result."""
    content: str | Sequence[ContentPart] = ""
    """Text, or parts; a `DataPart` carries a JSON value. A list that is given is kept as a tuple."""
    name: str = ""
    """Name of the tool."""
    status: ToolStatus = "ok"
    """How the call ended."""

    def __post_init__(self) -> None:
        freeze_content(self, self.content)

    @property
    def text(self) -> str:
        """The texts of the content, joined."""
        return text_of(self.content)


Part: TypeAlias = ContentPart | ThinkingPart | ToolCallPart | ToolResultPart
"""One part of a message."""

_CONTENT: tuple[type[MessagePart], ...] = (TextPart, ImagePart, AudioPart, VideoPart, FilePart, DataPart)
_ALL: tuple[type[MessagePart], ...] = (*_CONTENT, ThinkingPart, ToolCallPart, ToolResultPart)


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a conversation.

    `content` is kept as it was given, a list as a tuple; `text` and `parts` read the same from both forms.

    ```python
    Message("user", "What is in this picture?")
    Message("user", [TextPart("What is this?"), ImagePart(url="https://example.org/cat.png")])
    ```

    Raises:
        ElementError: If nobody speaks in this role, the content is neither text nor a list or tuple of parts, or the metadata is a
            plain dict.
    """

    role: Role
    """Who speaks."""
    content: str | Sequence[Part]
    """Text, or parts in order."""
    id: str = ""
    """Names the message in a conversation; empty when nobody gave one."""
    name: str | None = None
    """Name of the speaker, where several share a role."""
    stop_reason: StopReason | None = None
    """Why the model stopped; None for messages that no model made."""
    metadata: Metadata = EMPTY_METADATA
    """What is stored with the message, read-only."""

    __repr__ = show

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ElementError(f"{self.role!r:.80} is no role; there are {', '.join(map(repr, get_args(Role)))}")
        freeze_parts(self, self.content, _ALL)
        checked_metadata(self, self.metadata)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts; plain text is one `TextPart`, empty text is none."""
        if isinstance(self.content, str):
            return (TextPart(self.content),) if self.content else ()
        return tuple(self.content)

    @property
    def text(self) -> str:
        """The texts of the content, joined; thoughts, tool calls and media are left out."""
        return text_of(self.content)

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        """The tools that the message wants to be called, in order."""
        return tuple(part for part in self.parts if isinstance(part, ToolCallPart))

    @property
    def tool_results(self) -> tuple[ToolResultPart, ...]:
        """The tool results that the message carries, in order."""
        return tuple(part for part in self.parts if isinstance(part, ToolResultPart))


_N = TypeVar("_N", int, float)


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What model calls used. None means that the provider did not say, which is not zero.

    Within one model call providers report running totals: the last one counts. Over several calls, add them:
    `first + second`, or `sum(usages, Usage())`. The sum keeps `model` and `provider` where all agree.
    """

    input_tokens: int | None = None
    """Tokens read, those from a cache included."""
    output_tokens: int | None = None
    """Tokens written, those of reasoning included."""
    cached_tokens: int | None = None
    """Part of `input_tokens` that came from the provider's cache."""
    cache_write_tokens: int | None = None
    """Part of `input_tokens` that was written to the provider's cache."""
    reasoning_tokens: int | None = None
    """Part of `output_tokens` that was spent on reasoning."""
    cost_usd: float | None = None
    """Price, in US dollars."""
    model: str | None = None
    """The model."""
    provider: str | None = None
    """The provider."""
    estimated: bool = False
    """Whether a number was counted here and not by the provider."""

    __repr__ = show

    @property
    def total_tokens(self) -> int:
        """Tokens read and written, as far as known."""
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    def __add__(self, other: Usage) -> Usage:
        if self == _NO_USAGE:  # the neutral element, so that `sum(usages, Usage())` keeps a common model
            return other
        if other == _NO_USAGE:
            return self
        return Usage(
            input_tokens=_add(self.input_tokens, other.input_tokens),
            output_tokens=_add(self.output_tokens, other.output_tokens),
            cached_tokens=_add(self.cached_tokens, other.cached_tokens),
            cache_write_tokens=_add(self.cache_write_tokens, other.cache_write_tokens),
            reasoning_tokens=_add(self.reasoning_tokens, other.reasoning_tokens),
            cost_usd=_add(self.cost_usd, other.cost_usd),
            model=self.model if self.model == other.model else None,
            provider=self.provider if self.provider == other.provider else None,
            estimated=self.estimated or other.estimated,
        )


_NO_USAGE = Usage()


def _add(left: _N | None, right: _N | None) -> _N | None:
    if left is None or right is None:
        return left if right is None else right
    return left + right


def text_of(content: str | Sequence[MessagePart]) -> str:
    """Return the texts of a content, joined."""
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content if isinstance(part, TextPart))


def freeze_content(struct: msgspec.Struct, content: object) -> None:
    """Replace the content of a tool result under construction by a tuple, unless it is text.

    Raises:
        ElementError: If it is neither text nor a list or tuple of parts that a tool can give.
    """
    freeze_parts(struct, content, _CONTENT)


def freeze_parts(struct: msgspec.Struct, content: object, allowed: tuple[type[MessagePart], ...]) -> None:
    """Replace the content of a struct under construction by a tuple, unless it is text.

    Raises:
        ElementError: If it is neither text nor a list or tuple of allowed parts.
    """
    if isinstance(content, str):
        return
    owner = type(struct).__name__
    if not isinstance(content, list | tuple):
        raise ElementError(f"{owner}.content is a {type(content).__name__}; give text, or a list of parts")
    parts = tuple(cast("Sequence[object]", content))
    for place, part in enumerate(parts):
        if not isinstance(part, allowed):
            names = ", ".join(kind.__name__ for kind in allowed)
            raise ElementError(f"{owner}.content[{place}] is a {type(part).__name__}; allowed are {names}")
    msgspec.structs.force_setattr(struct, "content", parts)

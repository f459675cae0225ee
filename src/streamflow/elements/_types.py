"""The element types that streamflow knows, data first, then control.

Above: everything that makes or reads elements. Below: `_base` and `_messages`.
Rules: payload by position, header by keyword. Fragments stream and share an `id` with their whole; the whole is sent
once. Tags and defaults are part of the encoding: a change of either is a new version of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import msgspec

from ..errors import ElementError
from ._base import ControlElement, Priority, StreamElement, WholeElement, freeze_field, freeze_items, require_one_source
from ._messages import (
    AudioFormat,
    ContentPart,
    Message,
    StopReason,
    ToolResultPart,
    ToolStatus,
    Usage,
    freeze_content,
    text_of,
)
from ._metadata import EMPTY_METADATA, JsonValue

EndReason = Literal["done", "limit", "interrupt", "cancelled", "timeout", "error"]
"""Why a run ended."""

Format = Literal["json", "msgpack"]
"""An encoding of elements."""

_BYTES_PER_SAMPLE = {"pcm16": 2, "float32": 4, "mulaw": 1, "alaw": 1}


class TextElement(StreamElement, frozen=True, gc=False):
    """A fragment of text."""

    text: str
    """The fragment alone, not the text so far."""
    path: tuple[str | int, ...] = ()
    """Where the text stands in the JSON that it was taken from, as in `("slots", 0, "message")`."""


class ThinkingElement(StreamElement, frozen=True, gc=False):
    """A fragment of what a model thinks. Its own type, so that no stage for text can show or speak it."""

    text: str
    """The fragment alone."""
    signature: str | None = None
    """The provider's proof of the thoughts with this `id`; comes with the last fragment."""


class _PlayedElement(StreamElement, frozen=True, kw_only=True):
    """Header of media that is played as it comes."""

    priority: Priority = Priority.HIGH
    """How urgent, on edges with priority lanes."""


class AudioElement(_PlayedElement, frozen=True, gc=False):
    """A frame or a longer piece of sound."""

    data: bytes
    """The sound, encoded as `format` says; raw formats are little-endian with interleaved channels."""
    sample_rate: int = 16000
    """Samples per second and channel."""
    channels: int = 1
    """Number of channels."""
    format: AudioFormat = "pcm16"
    """Encoding of `data`."""
    text: str | None = None
    """What is said in it, where who made it knows."""

    @property
    def duration_s(self) -> float | None:
        """How long it plays, in seconds; None for compressed formats."""
        width = _BYTES_PER_SAMPLE.get(self.format)
        return len(self.data) / (width * self.channels * self.sample_rate) if width else None


class ImageElement(StreamElement, frozen=True, gc=False):
    """A picture: its bytes or its address.

    Raises:
        ElementError: If both or neither of `data` and `url` are given.
    """

    data: bytes | None = None
    """The encoded picture."""
    mime: str | None = None
    """Media type, as in `image/png`; None when unknown."""
    url: str | None = None
    """Address of the picture."""
    width: int | None = None
    """Width in pixels."""
    height: int | None = None
    """Height in pixels."""

    def __post_init__(self) -> None:
        require_one_source(self, self.data, self.url)


class VideoElement(_PlayedElement, frozen=True, gc=False):
    """A frame or a piece of film: its bytes or its address.

    Raises:
        ElementError: If both or neither of `data` and `url` are given.
    """

    data: bytes | None = None
    """The encoded frame or piece."""
    mime: str | None = None
    """Media type, as in `video/mp4`, or `image/jpeg` for single frames; None when unknown."""
    url: str | None = None
    """Address of the film."""
    width: int | None = None
    """Width in pixels."""
    height: int | None = None
    """Height in pixels."""
    key_frame: bool = True
    """Whether it can be decoded without what came before."""

    def __post_init__(self) -> None:
        require_one_source(self, self.data, self.url)


class MessageElement(WholeElement, frozen=True):
    """A whole message: sent once, after its fragments, with their `id`.

    Raises:
        ElementError: If it is none, such as a text.
    """

    message: Message
    """The message."""
    cut: bool = False
    """Whether an interruption cut it short; the message is then what had been said."""

    def __post_init__(self) -> None:
        given = cast("object", self.message)
        if not isinstance(given, Message):
            what = f"MessageElement.message is of type {type(given).__name__}"
            raise ElementError(f"{what}; give a Message, as MessageElement(Message('user', …))")


class ToolCallDelta(StreamElement, frozen=True, gc=False):
    """A fragment of a tool call's arguments."""

    call_id: str
    """Joins the fragments, the call and its result."""
    name: str
    """Name of the tool, known from the first fragment on."""
    args: str = ""
    """The next characters of the arguments' JSON."""
    index: int = 0
    """Which of the calls of one message."""


class ToolCallElement(WholeElement, frozen=True):
    """A whole tool call, after its fragments. One with an `error` is never executed."""

    call_id: str
    """Joins the fragments, the call and its result."""
    name: str
    """Name of the tool."""
    args: Mapping[str, JsonValue] = EMPTY_METADATA
    """Arguments, read-only; `thaw()` gives a plain copy."""
    raw: str = ""
    """The arguments as the model wrote them."""
    error: str | None = None
    """What is wrong with the arguments, when they are no JSON object or were cut off."""
    index: int = 0
    """Which of the calls of one message."""

    def __post_init__(self) -> None:
        freeze_field(self, "args")


class ToolResultElement(WholeElement, frozen=True):
    """What a tool gave back: exactly one that is not preliminary per call."""

    call_id: str
    """Joins the call and its result."""
    name: str
    """Name of the tool."""
    content: str | Sequence[ContentPart] = ""
    """Text, or parts; a `DataPart` carries a JSON value. A list that is given is kept as a tuple."""
    status: ToolStatus = "ok"
    """How the call ended."""
    preliminary: bool = False
    """Whether a later result of the same call replaces it."""

    def __post_init__(self) -> None:
        freeze_content(self, self.content)

    @property
    def text(self) -> str:
        """The texts of the content, joined."""
        return text_of(self.content)

    @property
    def part(self) -> ToolResultPart:
        """The result as a part of a message."""
        return ToolResultPart(self.call_id, self.content, name=self.name, status=self.status)


class DataElement(StreamElement, frozen=True):
    """A named JSON value: generic parts, state, progress."""

    name: str
    """What it is, as in `progress`."""
    value: JsonValue = None
    """The value, read-only: objects are a `Mapping` and no `dict`, arrays are tuples. `thaw()` gives a plain copy."""
    transient: bool = False
    """Whether it is for whoever watches now, and not to be stored."""

    def __post_init__(self) -> None:
        freeze_field(self, "value")


class BatchElement(StreamElement, frozen=True):
    """Several elements as one: a batch, or a window over a stream. Its header is its own; its items keep theirs.

    A type of yours can hold elements too: a field `tuple[StreamElement, ...]` takes those of every registered type.

    Raises:
        ElementError: If an item is no element; the text names its place.
    """

    items: tuple[StreamElement, ...]
    """The elements, in order. A list that is given is kept as a tuple."""

    def __post_init__(self) -> None:
        freeze_items(self, self.items)


class DeadLetterElement(StreamElement, frozen=True):
    """Elements that a stage has failed on, and what is known of the failure: for a person, or a program that tries again.

    Made by the runtime for a supervised stage, not interruptible, and sent to the stage that was declared for dead letters alone.

    Raises:
        ElementError: If an item is no element; the text names its place.
    """

    items: tuple[StreamElement, ...]
    """What the stage had in hand: one element, or one of each of its named inputs."""
    stage: str
    """The stage that failed."""
    error: str = ""
    """Name of the exception's class."""
    message: str = ""
    """Text of the exception, which may repeat what users wrote: show it to those who may read the items."""
    index: int | None = None
    """Ordinal (from 0) of the element on the stage's input; None with several inputs, or several calls at a time."""
    attempts: int = 1
    """How often the stage has tried."""

    def __post_init__(self) -> None:
        freeze_items(self, self.items)


def batch_of(*items: StreamElement) -> BatchElement:
    """Return several elements as one, as urgent as the most urgent of them, and interruptible only if all may be dropped."""
    may_be_dropped = all(one.interruptible and not isinstance(one, WholeElement) for one in items)
    return BatchElement(items, priority=max(one.priority for one in items), interruptible=may_be_dropped)


class OpaqueElement(StreamElement, frozen=True, gc=False):
    """An element of a type that this program does not know; it is encoded again byte for byte.

    The header is a copy of what the element said, for edges and lanes; what is encoded is `data` alone. In the other
    format it is encoded by value: bytes become base64 text in JSON, and such text stays text in MessagePack.
    """

    tag: str
    """The `type` that it had."""
    data: bytes
    """The encoded element, with its version."""
    format: Format = "json"
    """Encoding of `data`."""


class UsageElement(ControlElement, frozen=True):
    """What a model call has used so far."""

    usage: Usage
    """Running total of this model call: it replaces the one before."""
    final: bool = False
    """Whether it is the last of its call; the total of a run is the sum of the final ones."""


class TurnStart(ControlElement, frozen=True, gc=False):
    """A turn begins."""

    index: int = 0
    """Which turn, from 0."""


class TurnEnd(ControlElement, frozen=True, gc=False):
    """A turn is complete: accumulators flush on it."""

    stop_reason: StopReason = "stop"
    """Why it ended."""
    index: int = 0
    """Which turn, from 0."""
    pending: tuple[str, ...] = ()
    """Ids of the tool calls that wait for a person's consent."""


class TurnReset(ControlElement, frozen=True, gc=False):
    """Forget what this turn has said, or one answer of it: it is done again, after a retry or by another model."""

    reason: str = ""
    """Why, for a person to read."""
    index: int = 0
    """Which turn, from 0."""
    answer: str = ""
    """The `id` of the one answer that is forgotten, while others of the turn stay; empty: all that the turn has said."""


class Interrupt(ControlElement, frozen=True, gc=False):
    """The user interrupts (barge-in): what is on its way and interruptible is dropped."""

    reason: str = ""
    """Why, for a person to read."""


class ErrorElement(ControlElement, frozen=True, gc=False):
    """Something went wrong. It keeps its place, and stops nothing by itself."""

    code: str
    """What kind of failure, for programs, as in `rate_limited`."""
    message: str
    """One line for a person."""
    stage: str | None = None
    """The stage that failed, None when it is about no stage."""
    retryable: bool = False
    """Whether the same request may succeed later."""
    fatal: bool = False
    """Whether the run ends with it."""


class RunTotals(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run did, in numbers."""

    elements: int = 0
    """Elements that left the run, its end not included."""
    errors: int = 0
    """Error elements among them."""
    usage: Usage | None = None
    """What all model calls used, None when none was reported."""
    duration_s: float | None = None
    """How long the run took, in seconds, on its own clock."""


class EndOfStream(ControlElement, frozen=True):
    """The last element of a run's output, made by the runtime alone."""

    reason: EndReason = "done"
    """Why the run ended."""
    totals: RunTotals = RunTotals()
    """What the run did, in numbers."""

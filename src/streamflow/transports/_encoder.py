"""What a format has to say: how elements become server events, and which of these may be made one for a slow reader.

Above: the encoders, `_frames`, the responses. Below: `elements`, `errors`.

An encoder is a state machine that waits for nothing and knows no connection. One is made per stream, and asked in this order:
`start()` once, `encode()` for each element, `finish()` once. It sees neither `EndOfStream` nor the fatal `ErrorElement` of a run:
both come as the `StreamEnd` of `finish()`, so each format tells the end exactly once, whatever the elements were.

Which events may be made one is data in the events, not a question to the encoder. Several readers of one stream can then each make
one what they are behind with, and it can be undone for none of them:

- Two deltas, made by `delta_event()`, are joined if they differ in their text alone: `{"delta":"Hel"}` and `{"delta":"lo"}` are
  `{"delta":"Hello"}`. The text is escaped JSON, and what is escaped apart and joined is what is escaped as one.
- Two snapshots, made by `snapshot_event()`, are the later one if they are of the same thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, TypeAlias

import msgspec

from ..elements import EndReason, ErrorElement, Metadata, RunTotals, StreamElement
from ..errors import ElementError

__all__ = [
    "EncoderFactory",
    "EventEncoder",
    "ServerEvent",
    "StreamEnd",
    "delta_event",
    "json_event",
    "may_merge",
    "merge_events",
    "snapshot_event",
]

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class ServerEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of a response, without its id, which is the stream's to give.

    Made by `json_event()`, `delta_event()` and `snapshot_event()`; by itself where the data is no JSON: `ServerEvent("[DONE]")`.
    """

    data: str
    """The data; line ends in it arrive as line feeds."""
    event: str | None = None
    """Its type, None for the default one (`message`)."""
    delta: tuple[int, int] | None = None
    """From where to where in `data` the escaped text stands that may be joined with that of a neighbour."""
    snapshot: str | None = None
    """What this is the whole state of, so that a later event of the same name can stand for it."""


class StreamEnd(msgspec.Struct, frozen=True):
    """How a stream ended."""

    reason: EndReason = "done"
    """Why: `done`, `limit`, `interrupt`, `cancelled`, `timeout` or `error`."""
    error: ErrorElement | None = None
    """What went wrong, safe to show; given exactly where the reason is `error` or `timeout`."""
    totals: RunTotals = RunTotals()
    """What the run did, in numbers, as far as it said."""


class EventEncoder(Protocol):
    """A format: elements in, server events out. Derive from it; `encode()` and `finish()` are required."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the response that the format asks for, beside those of every event stream."""
        return _NO_HEADERS

    def start(self) -> Sequence[ServerEvent]:
        """Return what comes before the first element."""
        return ()

    def encode(self, element: StreamElement) -> Sequence[ServerEvent]:
        """Return what one element says in this format; nothing, if it says nothing.

        Raises:
            ElementError: If the element cannot be told; the stream then ends with an error.
        """
        ...

    def finish(self, end: StreamEnd) -> Sequence[ServerEvent]:
        """Return what comes at the end: whatever is still open is closed, and the last event is the terminal one."""
        ...


EncoderFactory: TypeAlias = Callable[[], EventEncoder]
"""What makes the encoder of one stream: a class, or a function without arguments."""


def json_event(value: object, *, event: str | None = None) -> ServerEvent:
    """Return an event whose data is a JSON value.

    Args:
        value: What msgspec encodes (dicts, lists, structs, text, numbers), and the read-only values of elements.
        event: Type of the event; None: `message`.

    Raises:
        ElementError: If it cannot be JSON.
    """
    return ServerEvent(_json(value), event)


def delta_event(before: str, text: str, after: str, *, event: str | None = None) -> ServerEvent:
    """Return an event with a piece of text, which may be joined with neighbours that differ in the text alone.

    `delta_event('{"delta":"', text, '"}')` has the data `{"delta":"…"}`.

    Args:
        before: The JSON up to and including the quotation mark that opens the text.
        text: The piece, not escaped.
        after: The JSON from the quotation mark that closes the text.
        event: Type of the event; None: `message`.

    Raises:
        ElementError: If the text holds half a surrogate pair.
    """
    escaped = _json(text)[1:-1]
    start = len(before)
    return ServerEvent(before + escaped + after, event, (start, start + len(escaped)))


def snapshot_event(of: str, value: object, *, event: str | None = None) -> ServerEvent:
    """Return an event with the whole state of something: a later one of the same, directly behind it, can stand for both.

    Args:
        of: What it is the state of.
        value: The state, as for `json_event()`.
        event: Type of the event; None: `message`.

    Raises:
        ElementError: If it cannot be JSON.
    """
    return ServerEvent(_json(value), event, None, of)


def may_merge(first: ServerEvent, second: ServerEvent) -> bool:
    """Say whether one event can say what two neighbours say."""
    if first.event != second.event:
        return False
    if first.delta is None or second.delta is None:
        return first.snapshot is not None and first.snapshot == second.snapshot
    start, end = first.delta
    other_start, other_end = second.delta
    one, other = first.data, second.data
    return start == other_start and other.startswith(one[:start]) and one[end:] == other[other_end:]


def merge_events(events: Sequence[ServerEvent]) -> ServerEvent:
    """Return one event that says what these neighbours say.

    Args:
        events: One or more, each of which may be merged with the one before it.
    """
    last = events[-1]
    if len(events) == 1 or last.delta is None:
        return last
    texts = [one.data[one.delta[0] : one.delta[1]] for one in events if one.delta is not None]
    start, end = last.delta
    text = "".join(texts)
    return ServerEvent(last.data[:start] + text + last.data[end:], last.event, (start, start + len(text)))


def _plain(value: object) -> object:
    if isinstance(value, Metadata):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no type that can be JSON")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


def _json(value: object) -> str:
    try:
        return _encode(value).decode()
    except (ValueError, TypeError, OverflowError, RecursionError) as bad:
        raise ElementError(f"a {type(value).__name__} cannot be told as JSON: {bad}") from bad

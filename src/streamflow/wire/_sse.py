"""Server-sent events: bytes to events, and events to bytes. Waits for nothing and knows no connection.

Above: providers and transports. Below: `errors`.

The parser follows the WHATWG standard (https://html.spec.whatwg.org/multipage/server-sent-events.html, 9.2.6). A line ends with
CR, LF or CRLF, and an empty line ends an event. Input may be cut anywhere, inside a CRLF or a character too: lines are cut as bytes
and decoded when they are complete. What the standard does not know is the size limit, without which a peer fills the memory.
"""

from __future__ import annotations

import re
from typing import NoReturn

import msgspec

from ..errors import ConfigError, DecodeError, ElementError

__all__ = ["SSEEvent", "SSEParser", "encode_comment", "encode_event"]

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\r|\n")
_TEXT_LINE_END = re.compile(r"\r\n|\r|\n")  # not str.splitlines(): that cuts at U+2028 and others too
_MAX_RETRY_DIGITS = 18  # what fits into 64 bits; int() refuses more than 4300


class SSEEvent(msgspec.Struct, frozen=True):
    """One event, as it is dispatched to whoever listens."""

    data: str
    """The data lines, joined by line feeds."""
    event: str = "message"
    """The type."""
    id: str = ""
    """The last event id of the stream so far, which need not have come with this event; empty when there is none."""
    retry_ms: int | None = None
    """How long to wait before a reconnection, in milliseconds, where this event said so."""


class SSEParser:
    """Cut a stream of bytes into server-sent events.

    ```python
    parser = SSEParser()
    for chunk in chunks:
        for event in parser.feed(chunk):
            print(event.data)
    parser.close()
    ```

    Args:
        max_event_bytes: Largest event: its data, and the line that is being read.

    Raises:
        ConfigError: If the limit is not positive.
    """

    def __init__(self, *, max_event_bytes: int = 1024 * 1024) -> None:
        if max_event_bytes < 1:
            raise ConfigError("max_event_bytes", f"{max_event_bytes} is no size; give 1 or more")
        self._max = max_event_bytes
        self.last_event_id: str = ""
        """The id to send as `Last-Event-ID` when reconnecting; empty when there was none."""
        self.retry_ms: int | None = None
        """How long to wait before a reconnection, in milliseconds; None when the peer did not say."""
        self._failed = False
        self._after_cr = False
        self._start_stream()

    def feed(self, chunk: bytes) -> list[SSEEvent]:
        """Take the next bytes, and return the events that they complete.

        Raises:
            DecodeError: If an event is larger than `max_event_bytes`. Events that were complete before it are returned first; the
                error then comes from the next call. The parser is of no use after it.
        """
        if self._failed:
            self._fail()
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        lines = chunk.split(b"\n") if b"\r" not in chunk else self._split_at_any_end(chunk)
        rest = lines.pop()
        events: list[SSEEvent] = []
        if lines:
            if self._partial:
                # Joined once per line: a line that comes byte by byte costs no more than one that comes whole.
                lines[0] = b"".join((*self._partial, lines[0]))
                self._partial.clear()
                self._partial_bytes = 0
            for line in lines:
                if self._data_bytes + len(line) > self._max:
                    return self._fail_after(events)
                if line:
                    self._take_line(line)
                elif (event := self._dispatch()) is not None:
                    events.append(event)
        if rest:
            self._partial.append(rest)
            self._partial_bytes += len(rest)
            if self._data_bytes + self._partial_bytes > self._max:
                return self._fail_after(events)
        return events

    def close(self) -> None:
        """End the stream. An event that its empty line has not completed is dropped, as the standard says.

        The parser can then read the next stream of a reconnection; `last_event_id` and `retry_ms` stay.

        Raises:
            DecodeError: If an event was larger than `max_event_bytes`.
        """
        if self._failed:
            self._fail()
        self._start_stream()

    def _start_stream(self) -> None:
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._after_cr = False
        self._first_line = True
        self._start_event()

    def _start_event(self) -> None:
        self._data: list[str] = []
        self._data_bytes = 0
        self._event = ""
        self._retry_ms: int | None = None

    def _split_at_any_end(self, chunk: bytes) -> list[bytes]:
        # The line feed of a CRLF that is cut in two must not end another line.
        self._after_cr = chunk.endswith(b"\r")
        return _LINE_END.split(chunk)

    def _take_line(self, line: bytes) -> None:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(_BOM)
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value.decode("utf-8", "replace"))
            self._data_bytes += len(value) + 1
        elif field == b"event":
            self._event = value.decode("utf-8", "replace")
        elif field == b"id":
            if b"\0" not in value:
                self.last_event_id = value.decode("utf-8", "replace")
        elif field == b"retry" and value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
            self.retry_ms = self._retry_ms = int(value)
        # All else is a comment, or a field that the standard says to ignore.

    def _dispatch(self) -> SSEEvent | None:
        self._first_line = False
        event = None
        if self._data:
            event = SSEEvent("\n".join(self._data), self._event or "message", self.last_event_id, self._retry_ms)
        self._start_event()
        return event

    def _fail_after(self, events: list[SSEEvent]) -> list[SSEEvent]:
        self._failed = True
        self._partial.clear()
        self._data.clear()
        if not events:
            self._fail()
        return events

    def _fail(self) -> NoReturn:
        raise DecodeError(f"a server-sent event is larger than max_event_bytes={self._max}; raise the limit")


def encode_event(data: str, *, event: str | None = None, id: str | None = None, retry_ms: int | None = None) -> bytes:
    """Return one event as bytes, its empty line included.

    Args:
        data: Any text; its line ends arrive as line feeds.
        event: Type of the event; None: `message`.
        id: Id that the reader is to remember; an empty one makes it forget.
        retry_ms: How long to wait before a reconnection, in milliseconds.

    Raises:
        ElementError: If the type or the id holds a line end, the id a NUL, the delay is negative, or a text is no Unicode.
    """
    lines: list[str] = []
    if event is not None:
        if _TEXT_LINE_END.search(event):
            raise ElementError(f"the event type {event!r:.80} holds a line end; use one line")
        lines.append(f"event: {event}")
    if id is not None:
        if "\0" in id or _TEXT_LINE_END.search(id):
            raise ElementError(f"the event id {id!r:.80} holds a line end or a NUL, which readers ignore; use one line")
        lines.append(f"id: {id}")
    if retry_ms is not None:
        if retry_ms < 0:
            raise ElementError(f"retry_ms={retry_ms} is negative; give 0 or more milliseconds")
        lines.append(f"retry: {retry_ms}")
    # Always with a space: readers take off one, so a text that begins with a space keeps its own.
    lines += [f"data: {line}" for line in _TEXT_LINE_END.split(data)]
    try:
        return ("\n".join(lines) + "\n\n").encode()
    except UnicodeEncodeError as error:
        raise ElementError(
            f"the event holds {error.object[error.start : error.end]!r}, which is no Unicode text"
        ) from error


def encode_comment(text: str = "") -> bytes:
    """Return a comment as bytes: readers pass it over, and proxies see that the connection is alive.

    Args:
        text: Any text; each of its lines is a comment.

    Raises:
        ElementError: If the text is no Unicode.
    """
    try:
        return "".join(f": {line}\n" for line in _TEXT_LINE_END.split(text)).encode() + b"\n"
    except UnicodeEncodeError as error:
        raise ElementError(
            f"the comment holds {error.object[error.start : error.end]!r}, which is no Unicode text"
        ) from error

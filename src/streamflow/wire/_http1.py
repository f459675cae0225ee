"""An HTTP/1.1 response: bytes to its head and the pieces of its body. Waits for nothing and knows no connection.

Above: `providers`. Below: `errors`.

RFC 9110 and 9112, read strictly: what two readers could understand in two ways is refused, because a connection that is used again
would give one call the answer to another. So no line is folded, no length is given twice with two values, no transfer coding but
`chunked` is known, and chunks end as they must. Input may be cut anywhere. What the standard leaves open is how long a head or a
line may be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from ..errors import DecodeError

__all__ = ["HTTPHead", "HTTPResponseReader"]

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\x00\r]*)?")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r]*?)[ \t]*")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
_LENGTH = re.compile(r"[0-9]{1,15}")
_MAX_LINE_BYTES = 4096  # of a chunk's size and what may stand behind it
_NO_BODY = (204, 304)


class HTTPHead(msgspec.Struct, frozen=True):
    """The beginning of a response."""

    status: int
    """Its status."""
    headers: Mapping[str, str]
    """The fields by their names in lower case; of one that came twice, both values with a comma between them."""


class HTTPResponseReader:
    """Cut the bytes of one response to a `POST` into its head and the pieces of its body.

    ```python
    reader = HTTPResponseReader()
    for data in received:
        for piece in reader.feed(data):
            print(reader.head.status, piece)
    ```

    Args:
        max_head_bytes: Largest head, those of interim responses before it included; also the most that trailers may take.
    """

    def __init__(self, *, max_head_bytes: int = 64 * 1024) -> None:
        self.head: HTTPHead | None = None
        """The head, once it is whole. Interim responses (1xx) are passed over."""
        self.is_done: bool = False
        """Whether the response is whole."""
        self.may_reuse: bool = False
        """Whether another request may follow on the connection, once the response is whole."""
        self._max_head = self._head_left = max_head_bytes
        self._held = b""
        self._framing: Literal["chunks", "length", "close"] = "close"
        self._left = 0  # bytes of a body of known length, or of the chunk that is being read
        self._part: Literal["size", "data end", "trailer"] = "size"

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes, and return the pieces of the body in them.

        Raises:
            DecodeError: If they are no such response, or a limit is reached. The reader is of no use after it.
        """
        if self._held:
            data, self._held = self._held + data, b""
        while self.head is None:
            end = _HEAD_END.search(data)
            size = len(data) if end is None else end.end()
            if size > self._head_left:
                raise DecodeError(f"the head of an HTTP response is larger than {self._max_head} bytes")
            if end is None:
                self._held = data
                return []
            self._head_left -= size
            self._take_head(data[: end.start()])
            data = data[size:]
        if self.is_done:
            self._end_with(data)
            return []
        if not data:
            return []
        if self._framing == "chunks":
            return self._take_chunks(data)
        if self._framing == "length":
            return self._take_length(data)
        return [data]

    def end(self) -> None:
        """Say that the connection has ended.

        Raises:
            DecodeError: If the response is not whole.
        """
        if self.head is not None and self._framing == "close":
            self.is_done = True
        if not self.is_done:
            raise DecodeError("the connection ended before the HTTP response was whole")

    def _take_head(self, data: bytes) -> None:
        """Take a head; an interim one changes nothing."""
        first, *lines = data.decode("latin-1").split("\n")
        found = _STATUS_LINE.fullmatch(first.removesuffix("\r"))
        if found is None:
            raise DecodeError("an HTTP response has no status line of HTTP/1")
        status = int(found[2])
        headers: dict[str, str] = {}
        for line in lines:
            field = _FIELD.fullmatch(line.removesuffix("\r"))
            if field is None:
                raise DecodeError("a line in the head of an HTTP response is no field")
            name = field[1].lower()
            headers[name] = f"{headers[name]}, {field[2]}" if name in headers else field[2]
        if status == 101:
            raise DecodeError("an HTTP server has changed the protocol, which it was not asked to")
        if status >= 200:
            self.head = HTTPHead(status, headers)
            self._set_framing(status, headers, is_old=found[1] == "0")

    def _set_framing(self, status: int, headers: dict[str, str], *, is_old: bool) -> None:
        """Find where the body ends (RFC 9112, 6.3)."""
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        self.may_reuse = not is_old and "close" not in _tokens(headers.get("connection", ""))
        if status in _NO_BODY:
            self.is_done = True
        elif coding is not None:
            if coding.lower() != "chunked" or is_old:
                raise DecodeError("an HTTP response has a transfer coding other than chunked")
            if (
                length is not None
            ):  # two answers to one question: the first holds, and the connection is not trusted again
                self.may_reuse = False
            self._framing = "chunks"
        elif length is not None:
            values = _tokens(length)
            if len(values) != 1 or not _LENGTH.fullmatch(value := values.pop()):
                raise DecodeError("an HTTP response has no length that can be read")
            self._framing, self._left = "length", int(value)
            self.is_done = not self._left
        else:
            self.may_reuse = False

    def _take_length(self, data: bytes) -> list[bytes]:
        piece = data[: self._left]
        self._left -= len(piece)
        if not self._left:
            self.is_done = True
            self._end_with(data[len(piece) :])
        return [piece]

    def _take_chunks(self, data: bytes) -> list[bytes]:
        pieces: list[bytes] = []
        at, size = 0, len(data)
        while at < size:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                continue
            end = data.find(b"\r\n", at)
            if (size if end < 0 else end) - at > _MAX_LINE_BYTES:
                raise DecodeError(
                    f"a line between the chunks of an HTTP response is longer than {_MAX_LINE_BYTES} bytes"
                )
            if end < 0:
                self._held = data[at:]
                break
            line, at = data[at:end], end + 2
            self._take_line(line)
            if self.is_done:
                self._end_with(data[at:])
                break
        return pieces

    def _take_line(self, line: bytes) -> None:
        """Take a line from between the chunks."""
        if self._part == "size":
            found = _SIZE_LINE.fullmatch(line)
            if found is None:
                raise DecodeError("a chunk of an HTTP response has no size")
            self._left = int(found[1], 16)
            self._part = "data end" if self._left else "trailer"
        elif self._part == "data end":
            if line:
                raise DecodeError("a chunk of an HTTP response is longer than its size")
            self._part = "size"
        elif line:
            self._head_left -= len(line)
            if self._head_left < 0:
                raise DecodeError(f"the trailers of an HTTP response are larger than {self._max_head} bytes")
        else:
            self.is_done = True

    def _end_with(self, surplus: bytes) -> None:
        """Know that bytes came which nobody has asked for."""
        if surplus:
            self.may_reuse = False


def _tokens(value: str) -> set[str]:
    return {one.strip().lower() for one in value.split(",")}

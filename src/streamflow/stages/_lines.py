"""Lines out of bytes that come in pieces: what the sources of lines have in common.

Above: `_line_origins`. Below: `errors`.
Rules: a line ends with a line feed, or with a carriage return and a line feed; nothing else ends one. Its bytes are bounded before
they are decoded, so input without line ends cannot fill the memory. One decoder decodes the lines one after the other, because an
encoding may have a state (a byte order mark, a shift).
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError, LineError
from ._checks import checked_count

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_LINE_BYTES", "LineError", "LineFormat", "Lines"]

MAX_LINE_BYTES: Final = 1024 * 1024
"""Longest line by default: room for a large JSON object."""


class LineFormat:
    """How bytes are read as lines: parameters, checked.

    Args:
        encoding: Of the text.
        errors: What to do with bytes that are none in it, as for `bytes.decode`.
        max_line_bytes: Most bytes of a line, its end not counted.
        keep_ends: Whether the texts keep their line ends.
        stage: Name of the stage that it is for.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    def __init__(self, encoding: str, errors: str, max_line_bytes: int, *, keep_ends: bool, stage: str) -> None:
        try:
            ends_as_ascii = "a\n".encode(encoding).endswith(b"a\n")
        except (LookupError, TypeError, UnicodeError):
            message = f"stage {stage!r}: {encoding!r:.80} is no encoding of text; give a name as in 'utf-8'"
            raise ConfigError("encoding", message) from None
        if not ends_as_ascii:
            message = (
                f"stage {stage!r}: in {encoding!r} a line does not end with the byte 0x0A; convert the text to 'utf-8'"
            )
            raise ConfigError("encoding", message)
        try:
            codecs.lookup_error(errors)
        except (LookupError, TypeError):
            message = (
                f"stage {stage!r}: {errors!r:.80} is no way to handle errors; give 'strict', 'replace' or 'ignore'"
            )
            raise ConfigError("errors", message) from None
        self.encoding = encoding
        self.errors = errors
        self.max_line_bytes: int = checked_count(max_line_bytes, "max_line_bytes", stage)
        self.keep_ends = keep_ends

    def lines_of(self, origin: str) -> Lines:
        """Return what makes lines out of the bytes of one file or program."""
        return Lines(self, origin)


class Lines:
    """Makes lines out of bytes that come in pieces.

    Args:
        format: How to read them.
        origin: The file or program that they are from, for errors.
    """

    def __init__(self, format: LineFormat, origin: str) -> None:
        self._format = format
        self._origin = origin
        self._decoder = codecs.getincrementaldecoder(format.encoding)(format.errors)
        self._begun = bytearray()  # a line whose end has not come
        self._count = 0

    def feed(self, data: bytes) -> Iterator[str]:
        """Take the next bytes, and return the lines that end in them, one by one.

        Raises:
            LineError: If a line is too long, ended or not, or cannot be decoded. The lines before it come first.
        """
        start = 0
        while (end := data.find(b"\n", start) + 1) > 0:
            self._begun += data[start:end]
            yield self._decoded(final=False)
            start = end
        self._begun += data[start:]
        self._check_length(len(self._begun) - self._begun.endswith(b"\r"))

    def finish(self) -> Iterator[str]:
        """Return the last line, if there is one that has no end.

        Raises:
            LineError: If it cannot be decoded.
        """
        if self._begun:
            yield self._decoded(final=True)

    def _decoded(self, *, final: bool) -> str:
        raw = bytes(self._begun)
        self._begun.clear()
        bare = raw.removesuffix(b"\n").removesuffix(b"\r") if raw.endswith(b"\n") else raw
        self._check_length(len(bare))
        self._count += 1
        try:
            text = self._decoder.decode(raw, final)
        except UnicodeError as bad:
            message = f"cannot be decoded: {bad}; give its encoding=, or errors='replace'"
            raise LineError(self._origin, self._count, message) from bad
        if self._format.keep_ends or not raw.endswith(b"\n"):
            return text
        return text.removesuffix("\n").removesuffix("\r")

    def _check_length(self, length: int) -> None:
        if length > self._format.max_line_bytes:
            message = f"is longer than max_line_bytes={self._format.max_line_bytes}; raise it, or end lines more often"
            raise LineError(self._origin, self._count + 1, message)

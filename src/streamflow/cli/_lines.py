"""Lines of text from a file descriptor: a terminal, a pipe, a file, without ever blocking the event loop.

Above: `_chat`. Below: the operating system.
"""

from __future__ import annotations

import codecs
import os
from collections import deque
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from ..errors import SourceError

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["MAX_LINE", "LineReader", "descriptor_of"]

MAX_LINE = 1_000_000
"""Longest line that is read, in characters: a stream without line ends must not fill the memory."""


def descriptor_of(stream: TextIO | None) -> int | None:
    """Return the file descriptor of standard input; None when it is closed or has none."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None


class LineReader:
    """Read lines of UTF-8 text; what is not UTF-8 is replaced, the last line needs no line end.

    Args:
        descriptor: What to read. It stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lines: deque[str] = deque()
        self._open_line = ""
        self._is_at_end = False

    async def next_line(self) -> str | None:
        """Return the next line without its line end; None at the end.

        Cancellation: while nothing has arrived, nothing is lost. No thread is left blocked.

        Raises:
            SourceError: If the input cannot be read, or a line is longer than `MAX_LINE`.
        """
        while not self._lines and not self._is_at_end:
            self._take(await self._read())
        return self._lines.popleft() if self._lines else None

    def _take(self, data: bytes) -> None:
        text = self._decoder.decode(data, final=not data)
        *whole, self._open_line = (self._open_line + text).split("\n")
        self._lines.extend(line.removesuffix("\r") for line in whole)
        if len(self._open_line) > MAX_LINE:
            raise SourceError(f"a line on standard input is longer than {MAX_LINE} characters; send shorter messages")
        if not data:
            self._is_at_end = True
            if self._open_line:
                self._lines.append(self._open_line)

    async def _read(self) -> bytes:
        try:
            await self._wait()
            # In a thread all the same: whoever shares the terminal may have been quicker, and then the read would block.
            return await anyio.to_thread.run_sync(os.read, self._descriptor, 65536, abandon_on_cancel=True)
        except OSError as error:
            raise SourceError(f"standard input cannot be read: {error.strerror or error}") from error

    async def _wait(self) -> None:
        try:
            await anyio.wait_readable(self._descriptor)
        except PermissionError:
            await anyio.lowlevel.checkpoint()  # a file or /dev/null, which no event loop can watch: it never blocks

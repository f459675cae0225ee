"""What the user says: typed at a terminal, piped on standard input, or the bundled conversation.

Above: `_chat`. Below: `_lines`, `_screen`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal

import anyio

from ._lines import LineReader, descriptor_of
from ._offline import BUNDLED

if TYPE_CHECKING:
    from typing import TextIO

    from ._screen import Screen

__all__ = ["Messages"]

_PROMPT = "you> "


class Messages:
    """The messages of the user, one by one, however they come.

    Args:
        stdin: Standard input; None when it is closed.
        screen: Where the prompt is shown, and what was not typed is echoed.
        echo: Whether to show messages that were not typed.
    """

    def __init__(self, stdin: TextIO | None, screen: Screen, *, echo: bool) -> None:
        descriptor = descriptor_of(stdin)
        self._reader = None if descriptor is None else LineReader(descriptor)
        self._screen = screen
        self._echo = echo
        self._ahead: deque[str] = deque()
        self.come_from: Literal["terminal", "pipe", "bundle"] = "pipe"
        """Where the messages come from; known once `open()` has returned."""
        if stdin is None or descriptor is None:
            self.come_from = "bundle"
        elif stdin.isatty():
            self.come_from = "terminal"

    async def open(self, wait_s: float) -> None:
        """Find out whether anybody says anything, waiting `wait_s` seconds at most where nobody types.

        Raises:
            SourceError: If standard input cannot be read.
        """
        if self.come_from == "pipe":
            first: str | None = None
            with anyio.move_on_after(wait_s):
                first = await self._next_text()
            if first is not None:
                self._ahead.append(first)
                return
            self.come_from = "bundle"
        if self.come_from == "bundle":
            self._reader = None
            self._ahead.extend(BUNDLED)

    async def next_message(self) -> str | None:
        """Return the next message, waiting for it; None at the end, or when the user has asked to end.

        Raises:
            SourceError: If standard input cannot be read.
        """
        text = self._ahead.popleft() if self._ahead else await self._next_text()
        if text is None or text in {"/quit", "/exit"}:
            return None
        if self.come_from != "terminal" and self._echo:
            self._screen.line(f"{_PROMPT}{text}")
        return text

    async def consents(self, question: str) -> bool:
        """Ask a question at the terminal, and return whether the answer is yes; where nobody types, it is no.

        Raises:
            SourceError: If standard input cannot be read.
        """
        if self._reader is None or self.come_from != "terminal":
            return False
        self._screen.write(f"{question} [y/N] ")
        line = await self._reader.next_line()
        self._screen.entered()
        return line is not None and line.strip().lower() in {"y", "yes"}

    async def _next_text(self) -> str | None:
        """Return the next line that is not blank."""
        while self._reader is not None:
            if self.come_from == "terminal":
                self._screen.write(_PROMPT)
            line = await self._reader.next_line()
            if line is None:
                return None
            if self.come_from == "terminal":
                self._screen.entered()
            if line.strip():
                return line.strip()
        return None

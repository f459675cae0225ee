"""What the commands tell, in one place: text as it arrives, whole lines, errors of one line, and exit codes.

Above: the commands. Below: nothing.
"""

from __future__ import annotations

import contextlib
import io
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["DONE", "FAILED", "INTERRUPTED", "MISUSED", "Screen"]

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: ended by the user or the input; it could not go on; a wrong option; Ctrl-C."""

# What a model or a pipe says must not steer the terminal: only new lines and tabs are let through.
_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


class Screen:
    """Standard output and standard error. Never raises: once the output is gone, `is_gone` says so and writing does nothing.

    Args:
        out: Where answers go; None when there is no standard output.
        err: Where errors go; None when there is no standard error.
    """

    def __init__(self, out: TextIO | None, err: TextIO | None) -> None:
        self._out = out
        self._err = err
        self._is_line_open = False
        is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
        self._has_colours = self.is_terminal and not is_plain
        self.is_gone = False
        """Whether the output can no longer be written: a closed pipe, a full disk."""
        for stream in (out, err):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # an answer may hold what the terminal's encoding cannot

    @property
    def is_terminal(self) -> bool:
        """Whether a person can watch the output grow."""
        return self._out is not None and self._out.isatty()

    def write(self, text: str) -> None:
        """Show `text` at once, on the line that is open; control characters are left out."""
        shown = text.translate(_CONTROLS)
        if shown:
            self._is_line_open = not shown.endswith("\n")
            self._put(self._out, shown)

    def line(self, text: str = "") -> None:
        """Show a line of its own."""
        self.end_line()
        self.write(f"{text}\n")

    def note(self, text: str) -> None:
        """Show a line of its own that is no answer: in grey where a person looks on, and wants colours."""
        shown = " ".join(text.split()).translate(_CONTROLS)
        self.end_line()
        self._put(self._out, f"\x1b[2m{shown}\x1b[22m\n" if self._has_colours else f"{shown}\n")

    def end_line(self) -> None:
        """End the line that is open, if one is."""
        if self._is_line_open:
            self.write("\n")

    def entered(self) -> None:
        """Note that the user has ended the open line with Enter."""
        self._is_line_open = False

    def error(self, text: str) -> None:
        """Show what went wrong, as one line on standard error."""
        self.end_line()
        self._put(self._err, f"streamflow: {' '.join(text.split()).translate(_CONTROLS)}\n")

    def abandon(self) -> None:
        """Stop the interpreter from flushing, at its end, what could not be written, and complaining about it."""
        if self._out is not None:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())

    def _put(self, stream: TextIO | None, text: str) -> None:
        if stream is None or (stream is self._out and self.is_gone):
            return
        try:
            stream.write(text)
            stream.flush()
        except BrokenPipeError:  # whoever read has enough: nothing to complain about
            self.is_gone = self.is_gone or stream is self._out
        except (OSError, ValueError) as error:  # a full disk; a closed file
            if stream is self._out:
                self.is_gone = True
                self.error(f"the output cannot be written: {getattr(error, 'strerror', None) or error}")

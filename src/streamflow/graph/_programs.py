"""Other programs: run to their end, with a bound on their time and on what they write.

Above: `_drawing`. Below: `errors`.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
from typing import IO, TYPE_CHECKING, cast

from ..errors import ConfigError, MissingProgramError, ProgramError
from ._words import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["output_of"]

_MAX_MESSAGE = 300  # bytes of what a program says before it fails
_LOOK_EVERY_S = 0.05  # at how much it has written


def output_of(program: str, *arguments: str, given: bytes, timeout_s: float, max_bytes: int, hint: str) -> bytes:
    """Run a program to its end, blocking, and return what it wrote to its standard output.

    Its standard streams are files: no program, nor any that it starts, can hold up the caller by keeping a pipe open.

    Args:
        program: Its name, looked up on `PATH`.
        arguments: What it is called with; no shell sees it.
        given: Its standard input.
        timeout_s: Longest time, in seconds; then it is killed, with all that it started where the system can do that.
        max_bytes: Most bytes that it may write.
        hint: What to do where there is no such program.

    Raises:
        ConfigError: If `timeout_s` is no number above 0.
        MissingProgramError: If there is no such program.
        ProgramError: If it cannot be run, fails, takes too long or writes too much.
    """
    limit = cast("object", timeout_s)
    if not isinstance(limit, (int, float)) or isinstance(limit, bool) or not 0 < limit < math.inf:
        raise ConfigError("timeout_s", f"a limit is a positive number of seconds, got {limit!r:.80}")
    path = shutil.which(program)
    if path is None:
        raise MissingProgramError(program, f"there is no such program on PATH; {hint}")
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write(given)
        stdin.seek(0)
        command = [path, *arguments]
        try:
            process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)  # noqa: S603 - no shell
        except OSError as error:
            raise ProgramError(program, f"{path} cannot be run: {error.strerror}") from error
        try:
            _wait(process, program, timeout_s, (stdout, stderr), max_bytes)
        finally:
            _kill(process)
        if process.returncode != 0:
            stderr.seek(0)
            told = stderr.read(_MAX_MESSAGE).decode(errors="replace").strip().partition("\n")[0]
            status = f"it failed with exit status {process.returncode}"
            raise ProgramError(program, f"{status}: {printable(told)}" if told else status)
        stdout.seek(0)
        return stdout.read()


def _wait(
    process: subprocess.Popen[bytes], program: str, timeout_s: float, files: Iterable[IO[bytes]], max_bytes: int
) -> None:
    """Wait for the end of a program.

    Raises:
        ProgramError: If it takes too long or writes too much.
    """
    deadline = time.monotonic() + timeout_s
    while process.returncode is None:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise ProgramError(
                program, f"it did not finish within {timeout_s:g} s; raise timeout_s, or give it less to do"
            )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(left_s, _LOOK_EVERY_S))
        if any(os.fstat(file.fileno()).st_size > max_bytes for file in files):
            raise ProgramError(program, f"it wrote more than {max_bytes} bytes; give it less to do")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a program, if it has not ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()

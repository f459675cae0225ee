"""Sources of lines: files and programs.

Above: users. Below: `_origins`, `_lines`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import anyio
import anyio.to_thread

from ..elements import StreamElement, TextElement
from ..errors import ConfigError, ProcessError
from ._deadlines import checked_seconds
from ._lines import MAX_LINE_BYTES, LineFormat
from ._origins import Origin

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from anyio.abc import Process

    from ._admission import Accepts

__all__ = ["FileLinesSource", "ProcessSource"]

_PIECE: Final = 64 * 1024
"""Bytes that are read at a time."""

_TAIL: Final = 4 * 1024
"""Bytes of a program's standard error that are kept."""


_PATIENCE_S: Final = 1.0
"""How long to wait, in seconds, for what is left in the pipes of a program that has ended: its children may hold them open."""


class _LineOrigin(Origin):
    """What the sources of lines share."""

    emits: Accepts | None = TextElement

    def __init__(self, name: str, encoding: str, errors: str, max_line_bytes: int, *, keep_ends: bool) -> None:
        super().__init__(name)
        self._format = LineFormat(encoding, errors, max_line_bytes, keep_ends=keep_ends, stage=self.name)


class FileLinesSource(_LineOrigin):
    """Send the lines of a file, as `TextElement`s.

    The file is opened and read in a worker thread, in pieces of 64 KiB; several lines of a piece leave at a time.

    Flow:
        emits: each line, without its end; the last one also if it has no end.
        backpressures: while the output is full; holds a piece of the file.
        completes: at the end of the file; with `follow` never.
        fails: `OSError` if it cannot be opened or read; `LineError` if a line is too long or cannot be decoded.
        cancels: at once; the file is closed, by the thread if it is just reading.

    Args:
        path: The file.
        encoding: Of its text; one in which a line ends with the byte 0x0A, as in almost all.
        errors: What to do with bytes that are none in `encoding`, as for `bytes.decode`.
        max_line_bytes: Most bytes of a line.
        keep_ends: Keep the line ends, so that the texts joined are the file.
        follow: At the end of the file wait for more, without end. A line is sent when its own end has been written. That a file was
            cut short or replaced is not noticed: for a log that is rotated use `ProcessSource(["tail", "-F", path])`.
        poll_s: With `follow`, how often, in seconds, to look for more.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    max_held: int | None = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        encoding: str = "utf-8",
        errors: str = "strict",
        max_line_bytes: int = MAX_LINE_BYTES,
        keep_ends: bool = False,
        follow: bool = False,
        poll_s: float = 0.25,
        name: str = "file_lines",
    ) -> None:
        super().__init__(name, encoding, errors, max_line_bytes, keep_ends=keep_ends)
        if not isinstance(cast("object", path), (str, os.PathLike)) or not os.fspath(path):
            raise ConfigError("path", f"stage {self.name!r}: give the path of a file, got {path!r:.80}")
        self._path = os.fspath(path)
        self._follow = follow
        self._poll_s = checked_seconds(poll_s, "poll_s", self.name)

    async def process(self) -> AsyncGenerator[StreamElement, None]:
        """Generate the elements of one run."""
        file, lines = _File(self._path), self._format.lines_of(self._path)
        limiter = anyio.CapacityLimiter(1)
        try:
            while True:
                piece = await anyio.to_thread.run_sync(file.read, abandon_on_cancel=True, limiter=limiter)
                if not piece and not self._follow:
                    break
                for line in lines.feed(piece):
                    yield TextElement(line)
                if not piece:
                    await anyio.sleep(self._poll_s)
            for line in lines.finish():
                yield TextElement(line)
        finally:
            file.close()


class _File:
    """A file that one thread reads while another may close it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._closed = False
        self._lock = threading.Lock()

    def read(self) -> bytes:
        """Return the next piece, empty at the end; opens the file when called first. Blocks."""
        with self._lock:
            piece = b"" if self._closed else self._read()
        if self._closed:
            self.close()  # which found the lock taken
        return piece

    def close(self) -> None:
        """Close the file, or let it be closed by the thread that is reading. Never waits; idempotent."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                if self._file is not None:
                    self._file.close()
            finally:
                self._lock.release()

    def _read(self) -> bytes:
        if self._file is None:
            self._file = open(self._path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        return self._file.read(_PIECE)


class ProcessSource(_LineOrigin):
    """Run a program and send the lines of its standard output, as `TextElement`s.

    The program is started directly, without a shell, in a session of its own, with an empty standard input. What it writes to its
    standard error is read and thrown away, but for the last 4 KiB, which are in the error if it fails.

    ```python
    ProcessSource(["journalctl", "--follow", "--output=cat"])
    ```

    Flow:
        emits: each line, without its end; the last one also if it has no end.
        backpressures: while the output is full; the program then waits when its pipe is full.
        completes: when the program has closed its output and ended.
        fails: `ProcessError` if it ends with another status than 0, behind its last line; `OSError` if it cannot be started;
            `LineError` if a line is too long or cannot be decoded.
        cancels: kills the program and all that it has started in its session, and waits for its end. The same when the run ends
            early for any other reason.

    Args:
        args: The program and its arguments, each a string of its own.
        cwd: Where it runs; default here.
        env: Its environment; default this one.
        encoding: Of what it writes; one in which a line ends with the byte 0x0A.
        errors: What to do with bytes that are none in `encoding`, as for `bytes.decode`.
        max_line_bytes: Most bytes of a line.
        keep_ends: Keep the line ends, so that the texts joined are the output.
        check: Whether an exit status other than 0 is a failure.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    max_held: int | None = None

    def __init__(
        self,
        args: Sequence[str | os.PathLike[str]],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        encoding: str = "utf-8",
        errors: str = "strict",
        max_line_bytes: int = MAX_LINE_BYTES,
        keep_ends: bool = False,
        check: bool = True,
        name: str = "process",
    ) -> None:
        super().__init__(name, encoding, errors, max_line_bytes, keep_ends=keep_ends)
        self._args = self._checked_args(args)
        self._cwd = cwd
        self._env = None if env is None else dict(env)
        self._check = check

    async def process(self) -> AsyncGenerator[StreamElement, None]:
        """Generate the elements of one run."""
        program = self._args[0]
        lines, tail = self._format.lines_of(program), _Tail()
        child: Process | None = None
        try:
            child = await self._start(tail)
            output = child.stdout
            assert output is not None
            while True:
                try:
                    piece = await output.receive(_PIECE)
                except anyio.EndOfStream:
                    break
                for line in lines.feed(piece):
                    yield TextElement(line)
            for line in lines.finish():
                yield TextElement(line)
            status = await child.wait()
        finally:
            if child is not None:
                await _to_the_end(partial(_end, child))
        if status and self._check:
            raise ProcessError(program, status, await tail.text())

    def _checked_args(self, args: object) -> tuple[str, ...]:
        hint = "give a list of the program and its arguments, as in ['ls', '-l']; no shell reads it"
        if not isinstance(args, (list, tuple)) or not args:
            raise ConfigError("args", f"stage {self.name!r}: {hint}; got {args!r:.80}")
        given = cast("Sequence[object]", args)
        for place, one in enumerate(given):
            if not isinstance(one, (str, os.PathLike)):
                raise ConfigError(f"args[{place}]", f"stage {self.name!r}: give a string, got {one!r:.80}")
        return tuple(os.fspath(one) for one in cast("Sequence[str | os.PathLike[str]]", args))

    async def _start(self, tail: _Tail) -> Process:
        stderr = tail.open()
        try:
            return await anyio.open_process(
                self._args,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=self._cwd,
                env=self._env,
                start_new_session=True,
            )
        finally:
            os.close(stderr)  # the program has its own; the tail ends when that one is closed


class _Tail:
    """The last that a program writes to its standard error.

    Read by a thread of its own, so that the program never waits for it: a generator can hold no task, and the other pipe is read
    only when somebody asks for a line.
    """

    def __init__(self) -> None:
        self._kept = bytearray()
        self._thread: threading.Thread | None = None

    def open(self) -> int:
        """Return what the program is to write to, a file descriptor that you close."""
        read_end, write_end = os.pipe()
        self._thread = threading.Thread(target=self._read, args=(read_end,), name="streamflow stderr", daemon=True)
        self._thread.start()
        return write_end

    async def text(self) -> str:
        """Return what was kept. Waits for the end of it, but not longer than for a moment."""
        if self._thread is not None:
            await anyio.to_thread.run_sync(self._thread.join, _PATIENCE_S, abandon_on_cancel=True)
        return self._kept.decode("utf-8", "replace").strip()

    def _read(self, read_end: int) -> None:
        try:
            while piece := os.read(read_end, _PIECE):
                self._kept += piece
                del self._kept[:-_TAIL]
        finally:
            os.close(read_end)


async def _end(child: Process) -> None:
    """Kill a program that runs, and wait until nothing is left of it. Idempotent."""
    if child.returncode is None:
        with suppress(ProcessLookupError, PermissionError):  # ended just now; macOS refuses where others find nothing
            os.killpg(child.pid, signal.SIGKILL)
    await child.wait()
    output = child.stdout
    # Asyncio forgets a pipe only when it has seen its end, and looks only while somebody reads.
    with anyio.move_on_after(_PATIENCE_S), suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        while output is not None:
            try:
                await output.receive(_PIECE)
            except anyio.EndOfStream:
                break
    await child.aclose()


async def _to_the_end(clean_up: Callable[[], Awaitable[None]]) -> None:
    """Await clean-up that is idempotent and has an end, whatever is cancelled meanwhile; a cancellation is raised behind it."""
    cancellation: BaseException | None = None
    done = False
    while not done:
        # A run's tasks are cancelled natively on asyncio, which gets through a shield, each time anew.
        try:
            with anyio.CancelScope(shield=True):
                await clean_up()
            done = True
        except anyio.get_cancelled_exc_class() as error:
            cancellation = error
    try:
        if cancellation is not None:
            raise cancellation
    finally:
        del cancellation  # its traceback holds this frame

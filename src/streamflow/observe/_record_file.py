"""The file that runs are recorded in: opened once for all runs of this process that share it, bounded, renamed when it is full.

Above: `runtime`, from worker threads. Below: `_record_frames`, `_record_encoding`, the operating system.

Rules:

1. Everything here blocks, and may be called from any thread.
2. A frame is written behind the pieces that it refers to, so a frame that is there is complete.
3. What is in a file is never changed. One that ends inside a frame, because its process was killed, is put aside, and not
   continued.
4. A file that is no recording is not touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from typing import TYPE_CHECKING, Final

import msgspec

from ..errors import DecodeError, RecordingError
from ._record_encoding import Entry
from ._record_frames import MAGIC, EndFrame, RunFrame, bodies_of, frame_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from ._record_settings import Recording

__all__ = ["RecordFile", "media_folder", "open_record_file", "rotated_name"]

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700

_open_files: dict[str, RecordFile] = {}
_registry = threading.Lock()


def rotated_name(path: str, number: int) -> str:
    """Return the name of the file that is so many files old; 0: the newest."""
    return f"{path}.{number}" if number else path


def media_folder(path: str) -> str:
    """Return the folder of the media files that belong to a file."""
    return f"{path}.media"


def open_record_file(path: str, settings: Recording) -> RecordFile:
    """Return the file of this name, for one more run.

    Raises:
        RecordingError: If it cannot be written, or is no recording.
    """
    place = os.path.realpath(os.path.dirname(path) or ".") + os.sep + os.path.basename(path)
    with _registry:
        file = _open_files.get(place)
        if file is None:
            file = RecordFile(place, settings.max_bytes, settings.files)
            _open_files[place] = file
        file.users += 1
        return file


class RecordFile:
    """A file that runs of this process are recorded in.

    Args:
        path: The file.
        max_bytes: Largest size, media files included.
        files: Most files that are kept.

    Raises:
        RecordingError: If it cannot be written, or is no recording.
    """

    def __init__(self, path: str, max_bytes: int, files: int) -> None:
        self.path: str = path
        """The file."""
        self.users: int = 0
        """Runs that are recorded in it."""
        self._max_bytes = max_bytes
        self._files = files
        self._lock = threading.Lock()
        self._live: dict[int, RunFrame] = {}
        self._file = -1
        self._size = 0
        self._smallest = 0  # size of a file in which nothing stands but what begins it
        with self._told():
            self._open()

    def begin(self, run: RunFrame) -> None:
        """Write that a run begins.

        Raises:
            RecordingError: If the file cannot be written.
        """
        with self._lock, self._told():
            self._write_entries([Entry(frame_of(run))])
            self._live[run.key] = run

    def write(self, entries: Iterable[Entry]) -> None:
        """Write what came out of a run.

        Raises:
            RecordingError: If the file cannot be written.
        """
        with self._lock, self._told():
            self._write_entries(entries)

    def end(self, run: EndFrame) -> None:
        """Write that a run has ended.

        Raises:
            RecordingError: If the file cannot be written.
        """
        with self._lock, self._told():
            self._write_entries([Entry(frame_of(run))])
            self._live.pop(run.key, None)

    def leave(self, key: int) -> None:
        """Know that a run is recorded here no longer; the last one closes the file."""
        with _registry, self._lock:
            self._live.pop(key, None)
            self.users -= 1
            if not self.users:
                _open_files.pop(self.path, None)
                self._close()

    def _write_entries(self, entries: Iterable[Entry]) -> None:
        block = bytearray()
        for entry in entries:
            size = len(entry.frame) + (sum(map(len, entry.pieces.values())) if entry.pieces else 0)
            if self._size + size > self._max_bytes and self._size > self._smallest:
                self._append(block)
                block.clear()
                self._rotate()
            if entry.pieces:
                self._write_pieces(entry.pieces)
            block += entry.frame
            self._size += len(entry.frame)
        self._append(block)

    def _append(self, block: bytearray) -> None:
        before = os.fstat(self._file).st_size
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            # Half a frame would hide all that other runs write behind it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, before)
            raise

    def _write_pieces(self, pieces: dict[str, bytes]) -> None:
        folder = media_folder(self.path)
        for name, piece in pieces.items():
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, _FOLDER_MODE)
            place = os.path.join(folder, name)
            if os.path.exists(place):
                continue
            partial = f"{place}.{os.getpid()}.part"
            with os.fdopen(
                os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _MODE), "wb"
            ) as file:
                file.write(piece)
            os.replace(partial, place)  # whole, or not there under its name
            self._size += len(piece)

    def _open(self) -> None:
        self._file = os.open(self.path, _FLAGS, _MODE)
        facts = os.fstat(self._file)
        if not stat.S_ISREG(facts.st_mode):
            self._close()
            raise RecordingError(self.path, "is no ordinary file; give another name")
        if facts.st_size and not self._can_go_on():
            self._close()
            self._put_aside()
            self._open()
            return
        if stat.S_IMODE(facts.st_mode) != _MODE:
            os.fchmod(self._file, _MODE)
        self._size = facts.st_size + _size_of_folder(media_folder(self.path))
        if not facts.st_size:
            self._append(bytearray(MAGIC))
            self._size += len(MAGIC)
        self._smallest = len(MAGIC)

    def _can_go_on(self) -> bool:
        """Say whether more can be written behind what is there.

        Raises:
            RecordingError: If it is no recording.
        """
        with open(self.path, "rb") as file:
            start = file.read(len(MAGIC))
            if not MAGIC.startswith(start):
                self._close()
                raise RecordingError(self.path, "is there and is no recording; it stays as it is, give another name")
            file.seek(0)
            try:
                for _ in bodies_of(file):
                    pass
            except DecodeError:
                return False
        return True

    def _rotate(self) -> None:
        self._close()
        self._put_aside()
        self._open()
        self._size = len(MAGIC)
        block = bytearray()
        for run in self._live.values():
            block += frame_of(msgspec.structs.replace(run, continued=True))
        self._append(block)
        self._size += len(block)
        self._smallest = self._size

    def _put_aside(self) -> None:
        """Rename the file and those that are older; delete the oldest, if there are as many as may be."""
        oldest = rotated_name(self.path, self._files - 1)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(oldest)
        _remove_folder(media_folder(oldest))
        for number in range(self._files - 2, -1, -1):
            old, new = rotated_name(self.path, number), rotated_name(self.path, number + 1)
            for before, after in ((old, new), (media_folder(old), media_folder(new))):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(before, after)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @contextlib.contextmanager
    def _told(self) -> Generator[None]:
        """Tell what the operating system refuses in the words of a recording."""
        try:
            yield
        except OSError as error:
            why = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror or type(error).__name__
            raise RecordingError(self.path, f"cannot be written: {why}") from error


def _remove_folder(folder: str) -> None:
    """Delete a folder of media files; what is in it besides stays."""
    with contextlib.suppress(OSError):
        with os.scandir(folder) as files:
            for one in files:
                os.unlink(one.path)
        os.rmdir(folder)


def _size_of_folder(folder: str) -> int:
    try:
        with os.scandir(folder) as files:
            return sum(one.stat(follow_symlinks=False).st_size for one in files)
    except OSError:
        return 0

"""Recordings, read: which runs there are, and what was seen at their points. Lazily, and executing nothing.

Above: users, `runtime` (replay), `cli`. Below: `_record_frames`, `_record_media`, `_record_file` (names), `elements`.

Rules: what is read is data and is checked; every size is bounded. Reading ends where a file is cut or damaged, and `damage` says
where. An element
that cannot be had is told as missing, with the reason; one of a type that nobody registered is an `OpaqueElement`. Reading
blocks: in an event loop, do it in a worker thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from functools import cached_property, partial
from typing import IO, TYPE_CHECKING, Final

from ..elements import StreamElement, decode
from ..errors import DecodeError, RecordingError
from ._record_file import media_folder, rotated_name
from ._record_frames import MAGIC, ElementFrame, EndFrame, GapFrame, RunFrame, bodies_of, frame_in
from ._record_media import is_media_name, put_back
from ._record_settings import INPUT, OUTPUT

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from ._record_frames import Frame

__all__ = ["RecordedElement", "RecordedFile", "RecordedRun", "read_recording"]

_MOST_FILES: Final = 10_000
_MOST_ELEMENT_BYTES: Final = 64 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class RecordedElement:
    """One element, as it was seen at one point of a run; or a gap."""

    run_id: str
    """The run."""
    point: str
    """Where it was seen: `input`, `output`, an edge."""
    ordinal: int
    """Number of the element at this point, from 0; -1 for a gap."""
    order: int
    """Number among all that was recorded of the run, from 0."""
    at_s: float
    """When it was seen, in seconds since the run began."""
    type: str
    """Tag of its type; empty for a gap."""
    element: StreamElement | None
    """The element; None if it is not in the recording."""
    missing: str = ""
    """Why it is not; empty if it is."""


@dataclasses.dataclass(frozen=True)
class RecordedRun:
    """One run in a recording. Iterating it reads what was seen, in order."""

    file: RecordedFile
    """Where it stands."""
    key: int
    """Tells it from all others, also in other files."""
    run_id: str
    """What it was called in its process."""
    fingerprint: str
    """Of its pipeline: the same for the same graph, with the same names."""
    version: str
    """Of streamflow, by which it was recorded."""
    at_unix_s: float
    """When it began, in seconds since 1970."""
    points: tuple[str, ...]
    """Where it was recorded."""
    is_headless: bool = False
    """Whether its beginning was in a file that is gone."""
    reason: str | None = None
    """Why it ended; None: the recording does not say, because the process was killed, or the file is cut."""
    code: str = ""
    """What kind of failure ended it."""
    stage: str = ""
    """The stage that failed."""
    duration_s: float | None = None
    """How long it took."""
    lost: int = 0
    """How many elements were not recorded, because they came faster than they could be written."""

    def __iter__(self) -> Iterator[RecordedElement]:
        return (one for key, one in self.file.keyed() if key == self.key)

    def seen_at(self, point: str) -> Iterator[RecordedElement]:
        """Read what was seen at one point, in order.

        Raises:
            RecordingError: If the run was not recorded there.
        """
        if point not in self.points:
            there = ", ".join(map(repr, self.points))
            raise RecordingError(self.file.path, f"{self.run_id} was not recorded at {point!r:.80}; it was at {there}")
        return (one for one in self if one.point == point)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The points where it was fed: `input`, or one for each head, as `input:ears`."""
        return tuple(one for one in self.points if one == INPUT or one.startswith(f"{INPUT}:"))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The points where it was read: `output`, and one for each output that was taken alone, as `output:speech`."""
        return tuple(one for one in self.points if one == OUTPUT or one.startswith(f"{OUTPUT}:"))


class RecordedFile:
    """A recording: what is in one file, or in it and the older ones beside it.

    Iterating it reads what was seen, of all runs, in the order in which it was written; each time from the beginning. Made by
    `read_recording()`.
    """

    def __init__(self, path: str, *, rotated: bool) -> None:
        self.path: str = path
        """The file."""
        self.damage: str | None = None
        """Where reading has ended before the end, the last time, and why; None: the files were whole."""
        self._rotated = rotated

    def __iter__(self) -> Iterator[RecordedElement]:
        return (one for _, one in self.keyed())

    @cached_property
    def runs(self) -> tuple[RecordedRun, ...]:
        """The runs, in the order in which they began."""
        found: dict[int, RecordedRun] = {}
        for _, frame in self._frames():
            match frame:
                case RunFrame():
                    if frame.key not in found:
                        found[frame.key] = RecordedRun(
                            self,
                            frame.key,
                            frame.run_id,
                            frame.fingerprint,
                            frame.version,
                            frame.at_unix_s,
                            frame.points,
                            frame.continued,
                        )
                case EndFrame() if frame.key in found:
                    found[frame.key] = dataclasses.replace(
                        found[frame.key],
                        reason=frame.reason,
                        code=frame.code,
                        stage=frame.stage,
                        duration_s=frame.at_us / 1e6,
                        lost=frame.lost,
                    )
                case _:
                    pass
        return tuple(found.values())

    def run(self, run_id: str | None = None) -> RecordedRun:
        """Return the newest run, or the newest one of this id.

        Raises:
            RecordingError: If there is none.
        """
        found = next((one for one in reversed(self.runs) if run_id in (None, one.run_id)), None)
        if found is None:
            there = ", ".join(dict.fromkeys(one.run_id for one in self.runs)) or "no run"
            what = "no run is in it" if run_id is None else f"there is no run {run_id!r:.80}; it has {there:.500}"
            raise RecordingError(self.path, what)
        return found

    def keyed(self) -> Iterator[tuple[int, RecordedElement]]:
        """Read what was seen, each with the key of its run."""
        runs: dict[int, RunFrame] = {}
        for path, frame in self._frames():
            if isinstance(frame, RunFrame):
                runs[frame.key] = frame
            elif isinstance(frame, ElementFrame | GapFrame) and frame.key in runs:
                yield frame.key, _seen(frame, runs[frame.key], path)

    def _frames(self) -> Iterator[tuple[str, Frame]]:
        """Read all frames, each with its file, as far as the files are whole."""
        self.damage = None
        for path in self._paths():
            try:
                with _opened(path, self.path) as file:
                    for body in bodies_of(file):
                        yield path, frame_in(body)
            except DecodeError as bad:
                self.damage = f"{path}: {bad.message}"

    def _paths(self) -> list[str]:
        older: list[str] = []
        while self._rotated and len(older) < _MOST_FILES and os.path.exists(rotated_name(self.path, len(older) + 1)):
            older.append(rotated_name(self.path, len(older) + 1))
        return [*reversed(older), self.path]

    def __repr__(self) -> str:
        return f"<RecordedFile {self.path!r}>"


def read_recording(path: str | os.PathLike[str], *, rotated: bool = True) -> RecordedFile:
    """Return what was recorded in a file; it is read when you iterate it, or one of its `runs`.

    Args:
        path: The file.
        rotated: Whether the older ones beside it (`path.1`, `path.2`, …) belong to it.

    Raises:
        RecordingError: If it cannot be read, or is no recording.
    """
    place = os.fspath(path)
    with _opened(place, place) as file:
        start = file.read(len(MAGIC))
    if not MAGIC.startswith(start):
        raise RecordingError(place, "is no recording of a version that this release reads")
    return RecordedFile(place, rotated=rotated)


@contextlib.contextmanager
def _opened(path: str, whole: str) -> Generator[IO[bytes]]:
    """Open an ordinary file for reading.

    Raises:
        RecordingError: If there is none, or it cannot be read.
    """
    try:
        # A pipe would make open() wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RecordingError(whole, "is no ordinary file; give a recording")
            yield file
    except OSError as error:
        raise RecordingError(path, f"cannot be read: {error.strerror or type(error).__name__}") from error


def _seen(frame: ElementFrame | GapFrame, run: RunFrame, path: str) -> RecordedElement:
    point = run.points[frame.point] if 0 <= frame.point < len(run.points) else "?"
    at_s = frame.at_us / 1e6
    if isinstance(frame, GapFrame):
        return RecordedElement(
            run.run_id, point, -1, frame.order, at_s, "", None, f"{frame.count} elements were not recorded"
        )
    element, missing = None, frame.missing
    if not missing:
        try:
            data = put_back(frame.data, partial(_media, media_folder(path))) if frame.outside else frame.data
            element = decode(data, format="msgpack", unknown="opaque", max_bytes=_MOST_ELEMENT_BYTES)
        except DecodeError as bad:
            missing = f"malformed: {bad}"
    return RecordedElement(run.run_id, point, frame.ordinal, frame.order, at_s, frame.kind, element, missing)


def _media(folder: str, name: str) -> bytes:
    """Return what is in a media file.

    Raises:
        DecodeError: If it is not there, or too large.
    """
    if not is_media_name(name):
        raise DecodeError("a media file of another name")
    try:
        with _opened(os.path.join(folder, name), folder) as file:
            piece = file.read(_MOST_ELEMENT_BYTES + 1)
    except RecordingError as error:
        raise DecodeError(f"the media file {name} {error.message}") from error
    if len(piece) > _MOST_ELEMENT_BYTES:
        raise DecodeError(f"the media file {name} is larger than {_MOST_ELEMENT_BYTES} bytes")
    return piece

"""What is to be recorded of a run, and where: data, checked when it is given.

Above: users, `runtime`. Below: `errors`.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..elements import StreamElement

__all__ = ["EDGES", "INPUT", "OUTPUT", "Media", "Recording", "Redact", "checked_recording"]

INPUT = "input"
"""The point where a run is fed."""
OUTPUT = "output"
"""The point where the consumer takes."""
EDGES = "edges"
"""All points: input, output, and every edge."""

Media: TypeAlias = Literal["inline", "omit", "files"]
"""What becomes of long pieces of bytes: kept with their element, left out, or kept in files of their own."""

Redact: TypeAlias = "Callable[[StreamElement], StreamElement | None]"
"""Returns what is to be recorded instead of an element; None: nothing, but that it was there."""

_SMALLEST = 4096
_LONGEST_PATH = 4096  # characters: what Linux takes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Where and how a run is recorded, for `record=` of `Pipeline.execute()` and the like; a path alone means the defaults.

    ```python
    run = pipeline.execute(source, record=Recording(path="call.rec", at=["input", "output", "model"]))
    ```

    The file is made readable by its owner alone. One that is there is continued, if it is a recording; several runs of one process
    may share it.

    Raises:
        ConfigError: If a value is wrong; names it.
    """

    path: str | os.PathLike[str]
    """The file. `{run_id}` in it stands for the run's id, so that each run has a file of its own."""
    at: tuple[str, ...] | list[str] = (INPUT, OUTPUT)
    """What is recorded: `input`, `output`, a stage by its name (all edges into it and out of it), an edge (`a → b`, or `a ->
    b`), or `edges`: all of these."""
    max_bytes: int = 64 * 1024 * 1024
    """Largest file, in bytes, media files included; then it is renamed to `path.1`, older ones to `path.2` and so on."""
    files: int = 5
    """Most files that are kept, the newest included; what is older is deleted."""
    redact: Redact | None = None
    """Called with each element, in a worker thread, before anything of it is written. What it raises, or returns that is no
    element, is recorded as missing, and never written as it was."""
    media: Media = "inline"
    """What becomes of pieces of bytes longer than `media_bytes`: sound, pictures, files."""
    media_bytes: int = 64 * 1024
    """Longest piece of bytes that stays with its element where `media` is not `inline`."""
    buffer_bytes: int = 4 * 1024 * 1024
    """How much may wait to be written, in bytes, roughly; then the run waits. What cannot be made to wait is dropped and counted at
    four times as much."""
    flush_s: float = 0.1
    """Longest time, in seconds, that an element waits to be written; shared by all that come in the meantime."""

    def __post_init__(self) -> None:
        path = cast("object", self.path)
        written: object = os.fspath(cast("str", path)) if isinstance(path, str | os.PathLike) else None
        if not isinstance(written, str) or not 0 < len(written) <= _LONGEST_PATH or "\0" in written:
            raise ConfigError("record", f"the path of a file was expected, as text, got {path!r:.80}")
        object.__setattr__(self, "at", _checked_points(self.at))
        for field, least in (
            ("max_bytes", _SMALLEST),
            ("files", 1),
            ("media_bytes", 0),
            ("buffer_bytes", _SMALLEST),
        ):
            value: object = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(field, f"a whole number from {least} up was expected, got {value!r:.80}")
        if self.media not in ("inline", "omit", "files"):
            raise ConfigError("media", f"'inline', 'omit' or 'files' was expected, got {self.media!r:.80}")
        if self.redact is not None and not callable(cast("object", self.redact)):
            raise ConfigError("redact", f"a function of one element was expected, got {self.redact!r:.80}")
        flush = cast("object", self.flush_s)
        if not isinstance(flush, int | float) or isinstance(flush, bool) or not 0 <= flush <= 60:
            raise ConfigError("flush_s", f"a number of seconds from 0 to 60 was expected, got {flush!r:.80}")


def checked_recording(given: object, field: str = "record") -> Recording | None:
    """Return the settings that were given, as they are or as a path; None for None.

    Raises:
        ConfigError: If they are neither.
    """
    if given is None or isinstance(given, Recording):
        return given
    if isinstance(given, str | os.PathLike):
        return Recording(path=cast("str | os.PathLike[str]", given))
    raise ConfigError(field, f"a path or a Recording was expected, got {given!r:.80}")


def _checked_points(given: object) -> tuple[str, ...]:
    if not isinstance(given, tuple | list) or not given:
        raise ConfigError("at", f"a list of points was expected, as in ['input', 'output'], got {given!r:.80}")
    points = tuple(cast("list[object]", given))
    wrong = next((one for one in points if not isinstance(one, str) or not one), None)
    if wrong is not None:
        raise ConfigError("at", f"a point is a text, as in 'input' or 'a → b', got {wrong!r:.80}")
    return tuple(dict.fromkeys(cast("tuple[str, ...]", points)))

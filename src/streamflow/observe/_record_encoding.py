"""What is written of an element: redacted, encoded, without long pieces of bytes; or why it is missing. Runs in worker threads.

Above: `runtime`. Below: `_record_frames`, `_record_media`, `elements`.
Rule: nothing of an element is encoded before its redaction has succeeded.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, cast

from ..elements import OpaqueElement, StreamElement, encode
from ..errors import ElementError
from ._record_frames import MAX_FRAME_BYTES, ElementFrame, frame_of
from ._record_media import take_out

if TYPE_CHECKING:
    from ._record_settings import Recording

__all__ = ["Entry", "Noted", "entry_of", "frame_of_noted", "tag_of"]

_LONGEST = MAX_FRAME_BYTES - 1024 * 1024  # the rest is for what a frame holds besides


@dataclasses.dataclass(slots=True)
class Noted:
    """An element that was seen at a point of a run."""

    point: int
    """Number of the point."""
    ordinal: int
    """Number of the element there."""
    order: int
    """Number of the frame in its run."""
    at_us: int
    """Since the run began, in microseconds."""
    element: StreamElement
    """The element."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """What is written together: a frame, and the pieces of bytes that it refers to."""

    frame: bytes
    """The frame, as it stands in the file."""
    pieces: dict[str, bytes] = dataclasses.field(default_factory=dict[str, bytes])
    """The pieces, by the names of their files."""

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return len(self.frame) + sum(map(len, self.pieces.values()))


def tag_of(element: StreamElement) -> str:
    """Return what the type of an element is called on the wire."""
    return element.tag if isinstance(element, OpaqueElement) else str(type(element).__struct_config__.tag)


def entry_of(key: int, noted: Noted, settings: Recording) -> Entry:
    """Return what is written of an element."""
    pieces: dict[str, bytes] = {}
    frame = frame_of_noted(key, noted, settings, pieces)
    return Entry(frame_of(frame), pieces)


def frame_of_noted(key: int, noted: Noted, settings: Recording, pieces: dict[str, bytes]) -> ElementFrame:
    """Return the frame of an element, and put the pieces that it refers to into `pieces`."""
    element, data, missing, outside = _data_of(noted.element, settings, pieces)
    limit = min(_LONGEST, settings.max_bytes // 2)
    if len(data) + sum(map(len, pieces.values())) > limit:
        pieces.clear()
        data, missing, outside = b"", f"larger than {limit} bytes", False
    return ElementFrame(
        key, noted.point, noted.ordinal, noted.order, noted.at_us, tag_of(element), data, missing, outside
    )


def _data_of(
    element: StreamElement, settings: Recording, pieces: dict[str, bytes]
) -> tuple[StreamElement, bytes, str, bool]:
    """Return what is left of the element, its bytes, why they are missing, and whether pieces of them are outside."""
    if settings.redact is not None:
        try:
            redacted = cast("object", settings.redact(element))
        except Exception as error:  # noqa: BLE001 - a user's function: whatever it raises, the element is not written
            # Its text may repeat what it was to take out.
            return element, b"", f"redaction failed: {type(error).__name__}", False
        if redacted is None:
            return element, b"", "redacted", False
        if not isinstance(redacted, StreamElement):
            return element, b"", f"redaction failed: it gave a {type(redacted).__name__}", False
        element = redacted
    try:
        data = encode(element, format="msgpack")
        without = None
        if settings.media != "inline" and len(data) > settings.media_bytes:
            without = take_out(data, settings.media_bytes, pieces if settings.media == "files" else None)
    except (ElementError, ValueError, RecursionError) as error:
        pieces.clear()
        return element, b"", f"cannot be encoded: {type(error).__name__}", False
    return (element, data, "", False) if without is None else (element, without, "", True)

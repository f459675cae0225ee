"""What is written of an element: redacted, encoded, without long pieces of bytes; or why it is missing. Runs in worker threads.

Above: `runtime`. Below: `_record_frames`, `_record_media`, `elements`.
Rule: nothing of an element is encoded before its redaction has succeeded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from ..elements import OpaqueElement, StreamElement, encode
from ..errors import ElementError
from ._record_frames import MAX_FRAME_BYTES, ElementFrame, frame_of
from ._record_media import take_out

if TYPE_CHECKING:
    from ._record_settings import Recording

__all__ = ["Entry", "Noted", "entry_of", "tag_of"]

_LONGEST = MAX_FRAME_BYTES - 1024 * 1024  # the rest is for what a frame holds besides


class Noted(msgspec.Struct, gc=False):
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


class Entry(msgspec.Struct, gc=False):
    """What is written together: a frame, and the pieces of bytes that it refers to."""

    frame: bytes
    """The frame, as it stands in the file."""
    pieces: dict[str, bytes] | None = None
    """The pieces, by the names of their files; None: there are none."""


def tag_of(element: StreamElement) -> str:
    """Return what the type of an element is called on the wire."""
    return element.tag if isinstance(element, OpaqueElement) else str(type(element).__struct_config__.tag)


def entry_of(key: int, noted: Noted, settings: Recording) -> Entry:
    """Return what is written of an element."""
    pieces: dict[str, bytes] | None = None
    if settings.redact is None and settings.media == "inline":  # the usual case, in few steps
        element, outside = noted.element, False
        data, missing = _encoded(element)
        size = len(data)
    else:
        pieces = {}
        element, data, missing, outside = _data_of(noted.element, settings, pieces)
        size = len(data) + sum(map(len, pieces.values()))
    limit = min(_LONGEST, settings.max_bytes // 2)
    if size > limit:
        pieces, data, missing, outside = None, b"", f"larger than {limit} bytes", False
    frame = ElementFrame(
        key, noted.point, noted.ordinal, noted.order, noted.at_us, tag_of(element), data, missing, outside
    )
    return Entry(frame_of(frame), pieces or None)


def _encoded(element: StreamElement) -> tuple[bytes, str]:
    """Return an element as bytes, and why there are none."""
    try:
        return encode(element, format="msgpack"), ""
    except (ElementError, ValueError, RecursionError) as error:
        return b"", f"cannot be encoded: {type(error).__name__}"


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
    data, missing = _encoded(element)
    if settings.media == "inline" or len(data) <= settings.media_bytes:
        return element, data, missing, False
    without = take_out(data, settings.media_bytes, pieces if settings.media == "files" else None)
    return (element, data, "", False) if without is None else (element, without, "", True)

"""The file format of recordings: frames of MessagePack behind a length and a checksum. Pure bytes, no file.

Above: `_record_file` writes frames, `_record_reading` reads them. Below: `msgspec`.

Rules of the format:

1. A file begins with `MAGIC`, whose last byte but two is the version. Then frames: the length of the body and its CRC-32, four
   bytes each, the most significant first, and the body.
2. A body is one MessagePack array whose first item says what it is. Fields are only ever added at the end, so older readers go on.
3. Each frame belongs to a run, by a key that is drawn at random: so runs can share a file, and a run can go on in another one.
4. A frame is whole or it is not there: where the length, the checksum or the body is wrong, reading ends, and says so.
"""

from __future__ import annotations

import struct
import zlib
from typing import IO, TYPE_CHECKING, Final, TypeAlias

import msgspec

from ..errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "MAGIC",
    "MAX_FRAME_BYTES",
    "ElementFrame",
    "EndFrame",
    "Frame",
    "GapFrame",
    "RunFrame",
    "bodies_of",
    "frame_in",
    "frame_of",
]

MAGIC: Final = b"\x89SFREC\x01\r\n"
"""The first bytes of each file. No text begins so, and a file that was changed as if it were text does not either."""

_HEAD_BYTES: Final = 8
"""Bytes of a frame before its body."""

MAX_FRAME_BYTES: Final = 33 * 1024 * 1024
"""Largest body: room for the largest element that is decoded."""


class _Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of the frames."""

    key: int
    """Tells the run."""


class RunFrame(_Frame, frozen=True, tag=1):
    """A run begins; or goes on, after another file."""

    run_id: str
    """What it was called in its process."""
    fingerprint: str
    """Tells pipelines apart: graph and names of stages."""
    version: str
    """Of streamflow."""
    at_unix_s: float
    """When it began, in seconds since 1970."""
    points: tuple[str, ...]
    """Where it is recorded; other frames name them by number."""
    continued: bool = False
    """Whether its beginning is in an older file."""


class ElementFrame(_Frame, frozen=True, tag=2):
    """An element at one point of a run."""

    point: int
    """Number of the point."""
    ordinal: int
    """Number of the element at this point, from 0."""
    order: int
    """Number of the frame in its run, from 0."""
    at_us: int
    """Since the run began, in microseconds."""
    kind: str
    """Tag of the type of the element."""
    data: bytes
    """The element in MessagePack; empty if it is not here."""
    missing: str = ""
    """Why it is not here; empty if it is."""
    outside: bool = False
    """Whether long pieces of bytes were left out, or are in files of their own."""


class GapFrame(_Frame, frozen=True, tag=3):
    """Elements that were not recorded."""

    point: int
    """Number of the point."""
    order: int
    """Number of the frame in its run."""
    at_us: int
    """Since the run began, in microseconds."""
    count: int
    """How many."""


class EndFrame(_Frame, frozen=True, tag=4):
    """A run has ended."""

    reason: str
    """Why, as its `EndOfStream` says it."""
    at_us: int
    """Since it began, in microseconds."""
    elements: int
    """How many the consumer has taken."""
    lost: int = 0
    """How many were not recorded."""
    code: str = ""
    """What kind of failure ended it; empty for none."""
    stage: str = ""
    """The stage that failed; empty for none."""


Frame: TypeAlias = RunFrame | ElementFrame | GapFrame | EndFrame

_head = struct.Struct(">II").pack
_encode = msgspec.msgpack.Encoder().encode
_decode: Callable[[bytes], Frame] = msgspec.msgpack.Decoder(Frame).decode


def frame_of(frame: Frame) -> bytes:
    """Return a frame as it stands in a file."""
    body = _encode(frame)
    return _head(len(body), zlib.crc32(body)) + body


def bodies_of(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the bodies of the frames in a file, from its beginning, as far as they are whole.

    Raises:
        DecodeError: Where the file does not go on as it should; says at which byte.
    """
    at = len(MAGIC)
    if file.read(at) != MAGIC:
        raise DecodeError("the first bytes are not those of a recording of this version")
    while head := file.read(_HEAD_BYTES):
        length = int.from_bytes(head[:4], "big")
        if len(head) == _HEAD_BYTES and not 0 < length <= MAX_FRAME_BYTES:
            raise DecodeError(f"a frame of {length} bytes, at byte {at}")
        body = file.read(length)
        if len(head) < _HEAD_BYTES or len(body) < length:
            raise DecodeError(f"the file ends inside a frame, which begins at byte {at}")
        if zlib.crc32(body) != int.from_bytes(head[4:], "big"):
            raise DecodeError(f"a frame with a wrong checksum, at byte {at}")
        yield body
        at += _HEAD_BYTES + length


def frame_in(body: bytes) -> Frame:
    """Return the frame of which this is the body.

    Raises:
        DecodeError: If it is none.
    """
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as bad:
        raise DecodeError(f"what is no frame: {bad!s:.200}") from None

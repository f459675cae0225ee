"""`LineReader`: lines from pipes, files and closed descriptors."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from streamflow.cli import _lines
from streamflow.cli._lines import LineReader, descriptor_of
from streamflow.errors import SourceError

pytestmark = pytest.mark.real_clock


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    yield reading, writing
    for end in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(end)


async def lines_of(reader: LineReader) -> list[str]:
    got: list[str] = []
    with anyio.fail_after(5):
        while (line := await reader.next_line()) is not None:
            got.append(line)
    return got


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"one", ["one"]),
        (b"one\n", ["one"]),
        (b"one\r\n\ntwo", ["one", "", "two"]),
        ("wörld 你好\n".encode(), ["wörld 你好"]),
        (b"b\xffd\xc3", ["b\ufffdd\ufffd"]),
        (b"x" * 3000 + b"\n", ["x" * 3000]),
    ],
)
async def test_lines_come_without_their_ends(pipe: tuple[int, int], data: bytes, expected: list[str]) -> None:
    """Both line ends, a last line without one, bytes that are no UTF-8."""
    reading, writing = pipe
    os.write(writing, data)
    os.close(writing)

    assert await lines_of(LineReader(reading)) == expected


async def test_a_line_is_there_as_soon_as_it_is_whole(pipe: tuple[int, int]) -> None:
    """A pipe that stays open is a conversation: no waiting for its end. A letter may come in two pieces."""
    reading, writing = pipe
    reader = LineReader(reading)

    with anyio.fail_after(5):
        os.write(writing, b"one\nt\xc3")
        assert await reader.next_line() == "one"
        os.write(writing, b"\xa4g\n")
        assert await reader.next_line() == "täg"


async def test_a_wait_that_is_cut_short_loses_nothing(pipe: tuple[int, int]) -> None:
    """Cancellation: while nothing has arrived, nothing is lost, and no thread is left that would take it."""
    reading, writing = pipe
    reader = LineReader(reading)

    with anyio.move_on_after(0.01) as scope:
        await reader.next_line()
    assert scope.cancelled_caught
    os.write(writing, b"later\n")

    with anyio.fail_after(5):
        assert await reader.next_line() == "later"


@pytest.fixture
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    path = tmp_path / "said.txt"
    path.write_bytes(request.param)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(("file", "expected"), [(b"", []), (b"one\ntwo", ["one", "two"])], indirect=["file"])
async def test_a_file_can_be_read_too(file: int, expected: list[str]) -> None:
    """No event loop can watch a file, nor /dev/null; they never block."""
    assert await lines_of(LineReader(file)) == expected


async def test_a_line_without_end_does_not_fill_the_memory(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raises: beyond `MAX_LINE` characters, with the way out."""
    monkeypatch.setattr(_lines, "MAX_LINE", 100)
    reading, writing = pipe
    os.write(writing, b"x" * 101)

    with pytest.raises(SourceError, match="longer than 100 characters"), anyio.fail_after(5):
        await LineReader(reading).next_line()


async def test_what_cannot_be_read_is_an_error_of_one_line(tmp_path: Path) -> None:
    """Raises: the operating system's words."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(SourceError, match="standard input cannot be read: Is a directory"):
            await LineReader(descriptor).next_line()
    finally:
        os.close(descriptor)


def test_a_stream_that_is_closed_has_no_descriptor(tmp_path: Path) -> None:
    """Closed before the start, closed since, or none of the operating system's."""
    with (tmp_path / "x").open("w+") as file:
        assert descriptor_of(file) == file.fileno()

    assert descriptor_of(None) is None
    assert descriptor_of(file) is None
    assert isinstance(descriptor_of(sys.__stderr__), int)

"""The file that runs are recorded in: whole frames or none, bounded, for its owner alone, and harmless to read."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow import DataElement, ImageElement, Message, MessageElement, Metadata, TextElement
from streamflow.elements import AudioElement, ImagePart, StreamElement
from streamflow.errors import ConfigError, RecordingError
from streamflow.observe import (
    EndFrame,
    Entry,
    GapFrame,
    Noted,
    RecordedElement,
    Recording,
    RunFrame,
    entry_of,
    frame_of,
    open_record_file,
    read_recording,
)
from streamflow.observe._record_frames import MAGIC
from streamflow.testing import elements

RUN = RunFrame(7, "run-1", "abc", "1.0", 1e9, ("input", "output"))


def write(
    settings: Recording, several: list[StreamElement], run: RunFrame = RUN, *, end: bool = True, point: int = 0
) -> None:
    """Record elements as a run does, without one."""
    file = open_record_file(os.fspath(settings.path), settings)
    file.begin(run)
    for number, one in enumerate(several):
        file.write([entry_of(run.key, Noted(point, number, number, number * 1000, one), settings)])
    if end:
        file.end(EndFrame(run.key, "done", 5_000_000, len(several)))
    file.leave(run.key)


def texts(*several: str) -> list[StreamElement]:
    return [TextElement(text) for text in several]


def elements_in(path: Path, *, rotated: bool = True) -> list[StreamElement | None]:
    return [one.element for one in read_recording(path, rotated=rotated)]


def test_what_was_written_is_read_with_its_place_order_and_time(tmp_path: Path) -> None:
    """semantics 24.20: point, ordinal, order, time; of the run its id, pipeline, version and end."""
    path = tmp_path / "a.rec"
    write(Recording(path=path), texts("a", "b"))

    file = read_recording(path)
    assert list(file) == [
        RecordedElement("run-1", "input", 0, 0, 0.0, "text", TextElement("a")),
        RecordedElement("run-1", "input", 1, 1, 0.001, "text", TextElement("b")),
    ]
    run = file.run()
    assert (run.run_id, run.fingerprint, run.version, run.at_unix_s) == ("run-1", "abc", "1.0", 1e9)
    assert (run.points, run.inputs, run.outputs) == (("input", "output"), ("input",), ("output",))
    assert (run.reason, run.duration_s, run.lost, file.damage) == ("done", 5.0, 0, None)
    with pytest.raises(RecordingError, match="run-1 was not recorded at 'b'; it was at 'input', 'output'"):
        run.seen_at("b")
    with pytest.raises(RecordingError, match="there is no run 'x'; it has run-1"):
        file.run("x")


@settings(max_examples=8)
@given(several=st.lists(elements(), max_size=4))
def test_every_element_comes_back_as_it_was(several: list[StreamElement], tmp_path_factory: pytest.TempPathFactory):
    """semantics 24.20: all types, all headers."""
    path = tmp_path_factory.mktemp("rec") / "a.rec"
    write(Recording(path=path), several)

    assert elements_in(path) == several


def test_a_file_cut_anywhere_is_read_up_to_the_cut(tmp_path: Path) -> None:
    """semantics 24.21: at every byte; what is whole is read, and where it ends is told."""
    path = tmp_path / "a.rec"
    several = [*texts("a", "bc"), MessageElement(Message("user", "hello")), AudioElement(bytes(40)), TextElement("z")]
    write(Recording(path=path), several)
    whole = path.read_bytes()
    frames = list(frame_ends(whole))

    for cut in range(len(whole), -1, -1):
        os.truncate(path, cut)
        file = read_recording(path)
        complete = sum(end <= cut for end in frames)
        assert [one.element for one in file] == several[: max(0, complete - 1)], cut
        assert (file.damage is None) == (cut in {len(MAGIC), *frames}), cut
        assert [one.reason for one in file.runs] == ([] if not complete else ["done" if cut == len(whole) else None])


def frame_ends(whole: bytes) -> Iterator[int]:
    at = len(MAGIC)
    while at < len(whole):
        at += 8 + int.from_bytes(whole[at : at + 4], "big")
        yield at


def test_a_file_that_ends_inside_a_frame_is_put_aside_and_not_continued(tmp_path: Path) -> None:
    """semantics 24.21: a frame behind half a frame could not be read; what was there is still there."""
    path = tmp_path / "a.rec"
    write(Recording(path=path), texts("old", "half"))
    os.truncate(path, path.stat().st_size - 60)
    write(Recording(path=path), texts("new"), RunFrame(8, "run-2", "", "", 0.0, ("input",)))

    assert elements_in(path, rotated=False) == texts("new")
    assert elements_in(path) == texts("old", "new")
    write(Recording(path=path), texts("third"), RunFrame(9, "run-3", "", "", 0.0, ("input",)))
    assert elements_in(path, rotated=False) == texts("new", "third")


@given(place=st.integers(0, 400), damage=st.binary(min_size=1, max_size=20), inserts=st.booleans())
def test_whatever_is_in_a_file_reading_it_ends_and_raises_nothing_else(
    place: int, damage: bytes, inserts: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """semantics 24.25: a hostile file is data: no exception of another kind, no element that was not written."""
    path = tmp_path_factory.mktemp("rec") / "a.rec"
    several = [*texts("a", "b"), DataElement("n", {"x": [1, 2]}), MessageElement(Message("user", "hello"))]
    write(Recording(path=path), several)
    whole = path.read_bytes()
    place %= len(whole)
    path.write_bytes(whole[:place] + damage + whole[place if inserts else place + len(damage) :])

    try:
        file = read_recording(path)
    except RecordingError:
        return
    found = [one.element for one in file]
    assert found == several[: len(found)]


def raw_frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b"\xff\xff\xff\xff" + bytes(100), "a frame of 4294967295 bytes"),
        (bytes(100), "a frame of 0 bytes"),
        (raw_frame(b"\x91\x09"), "what is no frame"),
        (raw_frame(b"\x91" * 100_000), "what is no frame"),
        (raw_frame(b"\xdd\xff\xff\xff\xff"), "what is no frame"),
        (frame_of(RUN)[:-1], "the file ends inside a frame"),
        (frame_of(RUN)[:-1] + b"?", "a wrong checksum"),
    ],
)
def test_a_frame_that_is_none_ends_the_reading_and_is_told(frame: bytes, why: str, tmp_path: Path) -> None:
    """semantics 24.25: lengths are checked before anything is read, and nesting does not exhaust the stack."""
    path = tmp_path / "a.rec"
    path.write_bytes(MAGIC + frame_of(RUN) + frame)

    file = read_recording(path)
    assert list(file) == []
    assert why in str(file.damage)


def test_an_element_that_cannot_be_read_is_told_as_missing(tmp_path: Path) -> None:
    """semantics 24.25: malformed, of another point, of a run that is not there, media by a name that leads elsewhere."""
    path, settings = tmp_path / "a.rec", Recording(path=tmp_path / "a.rec", media="files", media_bytes=10)
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    good = entry_of(7, Noted(0, 0, 0, 0, ImageElement(bytes(50))), settings)
    far = entry_of(7, Noted(9, 1, 1, 0, TextElement("far")), settings)
    lost = entry_of(99, Noted(0, 2, 2, 0, TextElement("lost")), settings)
    frames = [frame_of(RUN), good.frame, far.frame, lost.frame, frame_of(GapFrame(7, 1, 3, 0, 12))]
    path.write_bytes(MAGIC + b"".join(frames))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.rec.media").mkdir()
    (tmp_path / "a.rec.media" / next(iter(good.pieces))).symlink_to(secret)

    image, other, gap = read_recording(path)
    assert image.element is None
    assert image.missing.startswith("malformed: the media file") or "holds something else" in image.missing
    assert (other.point, other.element) == ("?", TextElement("far"))
    assert (gap.ordinal, gap.element, gap.missing) == (-1, None, "12 elements were not recorded")
    with pytest.raises(RecordingError, match="is no ordinary file"):
        read_recording(tmp_path / "pipe")
    with pytest.raises(RecordingError, match="is no recording"):
        read_recording(secret)
    with pytest.raises(RecordingError, match="cannot be read: No such file"):
        read_recording(tmp_path / "none")


def test_a_file_is_for_its_owner_alone_and_others_are_not_touched(tmp_path: Path) -> None:
    """semantics 24.22: mode 0600, also of one that was wider; no link is followed, and nothing but a recording is written to."""
    path = tmp_path / "a.rec"
    path.touch(mode=0o644)
    write(Recording(path=path, media="files", media_bytes=8), [ImageElement(bytes(100))])
    folder = tmp_path / "a.rec.media"
    media = next(folder.iterdir())
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path, folder, media)] == [0o600, 0o700, 0o600]

    link, text, pipe = tmp_path / "link", tmp_path / "text", tmp_path / "pipe"
    link.symlink_to(path)
    text.write_text("my notes")
    os.mkfifo(pipe)
    for place, why in ((link, "symbolic link"), (text, "is no recording; it stays as it is"), (tmp_path, "director")):
        with pytest.raises(RecordingError, match=why):
            open_record_file(os.fspath(place), Recording(path=place))
    with pytest.raises(RecordingError):
        open_record_file(os.fspath(pipe), Recording(path=pipe))
    assert text.read_text() == "my notes"


def test_a_full_file_makes_way_and_the_oldest_goes(tmp_path: Path) -> None:
    """semantics 24.22: no file larger than its bound, no more files than wanted; the newest elements are there, in order."""
    path = tmp_path / "a.rec"
    several = texts(*(f"{number:04} {'x' * 90}" for number in range(300)))
    write(Recording(path=path, max_bytes=4096, files=3), several)

    files = sorted(tmp_path.iterdir())
    assert [one.name for one in files] == ["a.rec", "a.rec.1", "a.rec.2"]
    assert all(one.stat().st_size <= 4096 for one in files)
    kept = elements_in(path)
    assert 50 < len(kept) < 100
    assert kept == several[-len(kept) :]
    run = read_recording(path).run()
    assert (run.is_headless, run.reason) == (True, "done")


def test_media_count_and_go_with_their_file(tmp_path: Path) -> None:
    """semantics 24.22, 24.24: a bound that media do not count to would be none."""
    path = tmp_path / "a.rec"
    frames = [AudioElement(bytes([number]) * 1000) for number in range(40)]
    write(Recording(path=path, max_bytes=8192, files=2, media="files", media_bytes=100), frames)

    sizes = [sum(one.stat().st_size for one in tmp_path.rglob(f"a.rec{end}/*")) for end in (".media", ".1.media")]
    assert all(0 < size <= 8192 for size in sizes)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.rec", "a.rec.1", "a.rec.1.media", "a.rec.media"]
    kept = elements_in(path)
    assert kept == frames[-len(kept) :]


@pytest.mark.parametrize("media", ["inline", "omit", "files"])
def test_long_media_are_kept_left_out_or_put_into_files(media, tmp_path: Path) -> None:
    """semantics 24.24: in any element, wherever it stands; short pieces stay."""
    path = tmp_path / "a.rec"
    long, short = b"x" * 5000, b"y" * 10
    message = Message("user", [ImagePart(long, "image/png"), ImagePart(short)])
    several = [AudioElement(long, text="hi"), ImageElement(short), MessageElement(message)]
    write(Recording(path=path, media=media, media_bytes=100), several)

    found = elements_in(path)
    if media == "omit":
        assert found[0] == AudioElement(b"", text="hi")
        assert found[2] == MessageElement(Message("user", [ImagePart(b"", "image/png"), ImagePart(short)]))
    else:
        assert found == several
    assert found[1] == several[1]
    assert (path.stat().st_size > 10_000) == (media == "inline")
    pieces = list(tmp_path.glob("a.rec.media/*"))
    assert len(pieces) == (1 if media == "files" else 0), "the same piece twice is one file"


def redact_cards(element: StreamElement) -> StreamElement | None:
    match element:
        case TextElement(text="card"):
            return element.replace(text="****")
        case TextElement(text="gone"):
            return None
        case TextElement(text="wrong"):
            return "wrong"  # type: ignore[return-value] - what a user may do
        case TextElement(text="SECRET"):
            raise ValueError("SECRET")
        case _:
            return element


def test_what_is_redacted_is_never_written(tmp_path: Path) -> None:
    """semantics 24.23: neither when the function fails, nor in the reason that is told."""
    path = tmp_path / "a.rec"
    write(Recording(path=path, redact=redact_cards), texts("a", "card", "gone", "wrong", "SECRET", "z"))

    found = list(read_recording(path))
    assert [one.element for one in found] == [*texts("a", "****"), None, None, None, TextElement("z")]
    assert [one.missing for one in found[2:5]] == [
        "redacted",
        "redaction failed: it gave a str",
        "redaction failed: ValueError",
    ]
    assert not any(word in path.read_bytes() for word in (b"card", b"gone", b"wrong", b"SECRET"))


class Unregistered(StreamElement, frozen=True, tag="unregistered"):
    """A type that nobody registered."""


def test_what_cannot_be_written_is_told_as_missing(tmp_path: Path) -> None:
    """semantics 24.20: one element does not spoil the others: of a type that nobody registered, or larger than the file."""
    path = tmp_path / "a.rec"
    write(Recording(path=path, max_bytes=4096), [Unregistered(), TextElement("x" * 3000), TextElement("a")])

    found = list(read_recording(path))
    assert [one.missing for one in found] == ["cannot be encoded: ElementError", "larger than 2048 bytes", ""]
    assert [one.type for one in found] == ["unregistered", "text", "text"]


def test_runs_share_a_file_and_are_told_apart(tmp_path: Path) -> None:
    """semantics 24.22: those of one process, at the same time; and one after the other."""
    path = tmp_path / "a.rec"
    settings = Recording(path=path)
    second = RunFrame(8, "run-2", "", "", 0.0, ("input",))
    first_file, second_file = (open_record_file(os.fspath(path), settings) for _ in range(2))
    assert first_file is second_file
    first_file.begin(RUN)
    second_file.begin(second)
    for number in range(3):
        for run in (RUN, second):
            note = Noted(0, number, number, 0, TextElement(f"{run.run_id} {number}"))
            first_file.write([entry_of(run.key, note, settings)])
    for run in (RUN, second):
        first_file.leave(run.key)
    write(settings, texts("later"), RunFrame(9, "run-3", "", "", 0.0, ("input",)))

    runs = read_recording(path).runs
    assert [[one.element for one in run] for run in runs] == [
        texts("run-1 0", "run-1 1", "run-1 2"),
        texts("run-2 0", "run-2 1", "run-2 2"),
        texts("later"),
    ]


def test_half_a_frame_of_a_full_disk_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """semantics 24.21: other runs go on writing behind it."""
    path = tmp_path / "a.rec"
    file = open_record_file(os.fspath(path), Recording(path=path))
    file.begin(RUN)
    write_really: Callable[[int, bytes], int] = os.write

    def full(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", nothing_more)
        return write_really(descriptor, data[:10])

    def nothing_more(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RecordingError, match="cannot be written: No space left on device"):
        file.write([Entry(frame_of(GapFrame(7, 0, 0, 0, 1)))])
    monkeypatch.undo()
    file.write([Entry(frame_of(GapFrame(7, 0, 0, 0, 2)))])
    file.leave(7)

    recording = read_recording(path)
    assert [one.missing for one in recording] == ["2 elements were not recorded"]
    assert recording.damage is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", ""),
        ("path", 3),
        ("path", "a\0b"),
        ("path", "x" * 5000),
        ("at", []),
        ("at", "input"),
        ("at", [1]),
        ("max_bytes", 100),
        ("files", 0),
        ("files", True),
        ("media", "some"),
        ("media_bytes", -1),
        ("buffer_bytes", 1.5),
        ("flush_s", float("nan")),
        ("redact", "password"),
    ],
)
def test_wrong_settings_are_refused_at_once(field: str, value: object) -> None:
    """Bad input: names the field."""
    with pytest.raises(ConfigError) as caught:
        Recording(**{"path": "a.rec", field: value})
    assert caught.value.field == ("record" if field == "path" else field)
    assert len(str(caught.value)) < 300


def test_metadata_are_recorded_too(tmp_path: Path) -> None:
    """semantics 24.20: an element is recorded whole."""
    path = tmp_path / "a.rec"
    element = TextElement("a", id="i", metadata=Metadata({"k": [1, None]}), timestamp_s=1.5)
    write(Recording(path=path), [element])

    assert elements_in(path) == [element]

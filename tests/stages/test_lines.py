"""Lines out of bytes that come in pieces, as files and programs give them."""

from __future__ import annotations

import pickle
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import ConfigError, StreamflowError
from streamflow.errors import LineError
from streamflow.stages._lines import LineFormat


def read(pieces: list[bytes], *, encoding="utf-8", errors="strict", max_line_bytes=1000, keep_ends=False) -> list[str]:
    lines = LineFormat(encoding, errors, max_line_bytes, keep_ends=keep_ends, stage="s").lines_of("there")
    return [line for piece in pieces for line in lines.feed(piece)] + list(lines.finish())


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes into pieces, some of them empty."""
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


texts = st.text(st.sampled_from("aä€😀 \t\v\u2028\ufeff\x00") | st.characters(codec="utf-8", exclude_characters="\r\n"))
places = st.lists(st.integers(0, 200), max_size=8)


@given(
    lines=st.lists(texts, min_size=1, max_size=6),
    end=st.sampled_from(["\n", "\r\n"]),
    ended=st.booleans(),
    places=places,
)
def test_lines_are_the_same_however_the_bytes_are_divided(
    lines: list[str], end: str, ended: bool, places: list[int]
) -> None:
    """A piece may end inside a character or a line's end; nothing but a line feed ends a line."""
    text = end.join(lines) + end * ended
    expected = lines if ended or lines[-1] else lines[:-1]

    assert read(cut(text.encode(), places)) == expected
    assert "".join(read(cut(text.encode(), places), keep_ends=True)) == text


@given(data=st.binary(max_size=60), places=places, encoding=st.sampled_from(["utf-8", "latin-1", "ascii", "shift_jis"]))
def test_any_bytes_are_lines_or_one_clear_error(data: bytes, places: list[int], encoding: str) -> None:
    """What is not in the encoding is a `LineError`, and never another exception; with `replace` it is text."""
    replaced = read(cut(data, places), encoding=encoding, errors="replace")
    assert len(replaced) == data.count(b"\n") + bool(data.rpartition(b"\n")[2])
    strict: list[str] | None = None
    with suppress(LineError):
        strict = read(cut(data, places), encoding=encoding)
    assert strict == replaced or any("\ufffd" in line for line in replaced)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "iso2022_jp", "gb18030", "cp1252", "utf-7"])
def test_encodings_with_a_state_are_read_from_the_beginning_to_the_end(encoding: str) -> None:
    """A byte order mark is one at the beginning alone; shifts are undone."""
    text = {"cp1252": "a€\nb", "utf-8-sig": "a\n\ufeffb"}.get(encoding, "aあ\nいb\n\nc")

    assert read([text.encode(encoding)], encoding=encoding) == text.split("\n")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"12345\n", None),
        (b"12345\r\n12345", None),
        (b"123456", 1),
        (b"123456\n", 1),
        (b"1\n12\n123456", 3),
        (b"1\n12\n123456\n1", 3),
        (b"12345\r", None),
        (b"12345\r6\n", 1),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 100])
def test_a_line_that_is_too_long_is_refused_with_its_number(data: bytes, line: int | None, step: int) -> None:
    """`max_line_bytes`: its end is not counted; the lines before it come first; input without an end is not kept."""
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    lines = LineFormat("utf-8", "strict", 5, keep_ends=False, stage="s").lines_of("there")
    told = 0
    if line is None:
        read(pieces, max_line_bytes=5 + data.endswith(b"\r"))
        return
    with pytest.raises(
        LineError, match=rf"^line {line} of 'there' is longer than max_line_bytes=5; raise it"
    ) as caught:
        for piece in pieces:
            for _ in lines.feed(piece):
                told += 1

    assert caught.value.line == line == told + 1


def test_a_line_that_cannot_be_decoded_is_named() -> None:
    """`LineError`: where it is, what is wrong, what to do."""
    with pytest.raises(
        LineError, match=r"^line 2 of 'there' cannot be decoded: .*0xff.*; give its encoding=, or errors="
    ):
        read([b"a\n\xff\n"])
    with pytest.raises(LineError, match=r"^line 1 .*unexpected end of data"):
        read(["€".encode()[:2]])


def test_a_line_error_survives_pickle_and_is_one_of_ours() -> None:
    """styleguide 3: errors cross process borders, and `StreamflowError` catches them all."""
    error = LineError("there", 3, "is longer")
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), vars(copy), str(copy)) == (LineError, vars(error), "line 3 of 'there' is longer")
    assert isinstance(error, StreamflowError)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"encoding": "utf-16"}, "encoding"),
        ({"encoding": "utf-32-le"}, "encoding"),
        ({"encoding": "cp500"}, "encoding"),
        ({"encoding": "no-such"}, "encoding"),
        ({"encoding": "rot13"}, "encoding"),
        ({"encoding": None}, "encoding"),
        ({"errors": "loudly"}, "errors"),
        ({"errors": None}, "errors"),
        ({"max_line_bytes": 0}, "max_line_bytes"),
        ({"max_line_bytes": 1.5}, "max_line_bytes"),
    ],
    ids=str,
)
def test_a_wrong_format_is_named_at_once(options, field: str) -> None:
    """styleguide 3: wrong arguments fail in the constructor; an encoding whose line ends are no single byte is refused."""
    with pytest.raises(ConfigError, match="stage 's': ") as caught:
        read([], **options)

    assert caught.value.field == field

"""`Screen`: what is shown, and what is kept from the terminal."""

from __future__ import annotations

import io
import os

import pytest

from streamflow.cli._screen import Screen


class Broken(io.StringIO):
    """An output that fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


def test_text_is_shown_at_once_and_lines_are_ended_once() -> None:
    """`end_line()` ends a line that is open and no other."""
    out = io.StringIO()
    screen = Screen(out, io.StringIO())

    screen.end_line()
    screen.write("bot> ")
    screen.write("Hel")
    screen.write("lo")
    screen.end_line()
    screen.end_line()
    screen.line("a line")
    screen.line()

    assert out.getvalue() == "bot> Hello\na line\n\n"


def test_enter_ends_the_line_on_the_terminal() -> None:
    """The terminal has shown the new line itself."""
    out = io.StringIO()
    screen = Screen(out, None)

    screen.write("you> ")
    screen.entered()
    screen.line("next")

    assert out.getvalue() == "you> next\n"


def test_an_error_is_one_line_of_its_own() -> None:
    """On standard error, whatever it holds, behind the end of the line that is open."""
    out, err = io.StringIO(), io.StringIO()
    screen = Screen(out, err)

    screen.write("bot> half")
    screen.error("went\nwrong  \x1b[31mbadly")

    assert out.getvalue() == "bot> half\n"
    assert err.getvalue() == "streamflow: went wrong [31mbadly\n"


def test_a_model_cannot_steer_the_terminal() -> None:
    """Escape sequences, carriage returns and C1 controls are left out; new lines, tabs and all scripts stay."""
    out = io.StringIO()

    Screen(out, None).write("a\x1b]0;title\x07\tb\r\n\x9b2J\x7fwörld 你好 🌍\x00")

    assert out.getvalue() == "a]0;title\tb\n2Jwörld 你好 🌍"


def test_what_the_encoding_cannot_hold_is_replaced() -> None:
    """An answer in another script does not end a chat in an ASCII terminal."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")

    Screen(stream, None).write("→ \udc80 ok")

    assert raw.getvalue() == b"? ? ok"


def test_a_closed_pipe_is_silence() -> None:
    """`… | head -1` is no error."""
    err = io.StringIO()
    screen = Screen(Broken(BrokenPipeError()), err)

    screen.line("a")
    screen.line("b")

    assert screen.is_gone
    assert err.getvalue() == ""


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("I/O operation on closed file")])
def test_an_output_that_cannot_be_written_is_told_once(error: Exception) -> None:
    """A full disk, a closed file: one line, and from then on nothing."""
    err = io.StringIO()
    screen = Screen(Broken(error), err)

    screen.line("a")
    screen.line("b")

    assert screen.is_gone
    assert err.getvalue().count("\n") == 1
    assert (getattr(error, "strerror", None) or str(error)) in err.getvalue()


def test_no_output_at_all_is_no_error() -> None:
    """Started with its streams closed: nothing is shown, nothing fails."""
    screen = Screen(None, None)

    screen.line("a")
    screen.error("b")
    screen.abandon()

    assert not screen.is_gone
    assert not screen.is_terminal


def test_an_error_output_that_fails_does_not_end_the_output() -> None:
    """Answers still go out."""
    out = io.StringIO()
    screen = Screen(out, Broken(BrokenPipeError()))

    screen.error("lost")
    screen.line("still here")

    assert not screen.is_gone
    assert out.getvalue() == "still here\n"


def test_an_abandoned_output_is_flushed_to_nowhere() -> None:
    """The interpreter's last flush must not fail again."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as stream:
        screen = Screen(stream, None)
        screen.line("x")
        assert screen.is_gone
        screen.abandon()
        stream.flush()

"""`streamflow chat` as users meet it: a process with a terminal, a pipe, or neither."""

from __future__ import annotations

import os
import signal
import socket
import subprocess

import pytest

from streamflow.cli._offline import BUNDLED

pytestmark = pytest.mark.slow

WITHIN_S = 20
GREETING = "Hello! I answer by rules, without a model. Ask me what I am, or what backpressure is."
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def end_of(process: subprocess.Popen[str], said: str | None = None) -> tuple[int, str, str]:
    """Wait for the end, and return the exit code and what was printed."""
    out, err = process.communicate(said, timeout=WITHIN_S)
    return process.returncode, out, err


@BACKENDS
def test_the_bundled_conversation_is_shown_when_nobody_says_anything(start, backend: str) -> None:
    """No terminal and nothing piped: every message is answered, and the offline provider says that it is one."""
    code, out, err = end_of(start("chat", "--backend", backend))

    assert (code, err) == (0, "")
    assert "Offline: a scripted provider answers by rules." in out
    assert "bundled conversation" in out
    turns = out.split("you> ")[1:]
    assert [turn.splitlines()[0] for turn in turns] == list(BUNDLED)
    assert all(turn.splitlines()[1].startswith("bot> ") and len(turn) > 40 for turn in turns)
    assert f"you> Hello!\nbot> {GREETING}\n\n" in out
    assert 'you began with: "Hello!"' in out
    assert '[calculator {"expression":"12 * (3 + 4)"}]\n[calculator → 84]\nThe calculator says: 84\n' in out


@BACKENDS
def test_a_piped_conversation_is_echoed_and_answered_in_order(start, backend: str) -> None:
    """One message per line; blank lines are none; the history goes along; the end of the pipe ends the chat."""
    process = start("chat", "--backend", backend, stdin=subprocess.PIPE)

    code, out, err = end_of(process, "Hello\n\n  My name is Ada  \r\nWhat did I say first?")

    assert (code, err) == (0, "")
    assert "bundled" not in out
    assert out.endswith(
        f"you> Hello\nbot> {GREETING}\n\n"
        "you> My name is Ada\nbot> Nice to meet you, Ada.\n\n"
        'you> What did I say first?\nbot> As far as I can see back, you began with: "Hello"\n\n'
    )


def test_quiet_prints_the_answers_alone(start) -> None:
    """For scripts: `--quiet`; and `/quit` ends a piped chat as well."""
    process = start("chat", "--quiet", stdin=subprocess.PIPE)

    assert end_of(process, "Hello\nthanks\n/quit\nnot asked\n") == (0, f"{GREETING}\nYou are welcome.\n", "")


def test_an_input_that_cannot_be_read_is_one_clear_line(start) -> None:
    """Exit code 1: a million characters without a line end are no message."""
    code, out, err = end_of(start("chat", "--quiet", stdin=subprocess.PIPE), "Hello\n" + "x" * 1_100_000)

    assert (code, out) == (1, f"{GREETING}\n")
    assert err.startswith("streamflow: a line on standard input is longer than")
    assert err.count("\n") == 1


@BACKENDS
def test_an_open_pipe_on_which_nothing_comes_does_not_hang(start, backend: str) -> None:
    """After `--wait-s` it counts as nobody."""
    process = start("chat", "--quiet", "--wait-s", "0.2", "--backend", backend, stdin=subprocess.PIPE)

    assert process.wait(WITHIN_S) == 0
    assert process.stdout.read().startswith(GREETING)


def test_a_pipe_that_stays_open_is_answered_line_by_line(start) -> None:
    """Another program can hold the chat: each answer comes before the next message is sent."""
    process = start("chat", "--quiet", stdin=subprocess.PIPE)

    for said, answer in (("Hello", GREETING), ("thanks", "You are welcome.")):
        process.stdin.write(f"{said}\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{answer}\n"

    assert end_of(process) == (0, "", "")


def test_a_closed_standard_input_is_nobody(start) -> None:
    """As `streamflow chat <&-`, the way some process managers start their children."""
    process = start("chat", "--quiet", stdin=None, preexec_fn=lambda: os.close(0))

    code, out, err = end_of(process)

    assert (code, err) == (0, "")
    assert out.startswith(GREETING)


def test_an_output_that_nobody_reads_ends_the_chat_silently(start) -> None:
    """As `streamflow chat | head -1`: no traceback, neither at once nor from the interpreter's last flush."""
    reading, writing = os.pipe()
    os.close(reading)
    process = start("chat", stdout=writing)
    os.close(writing)

    assert process.wait(WITHIN_S) == 1
    assert process.stderr.read() == ""


@BACKENDS
def test_a_server_that_is_not_there_is_one_clear_line(start, backend: str) -> None:
    """Exit code 1 where nobody can type again."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        address = f"127.0.0.1:{unused.getsockname()[1]}"

        code, _, err = end_of(start("chat", "--base-url", f"http://{address}/v1", "--backend", backend))

    assert code == 1
    assert err.startswith(f"streamflow: cannot reach {address}")
    assert err.count("\n") == 1


@BACKENDS
def test_ctrl_c_during_an_answer_ends_a_chat_without_a_terminal(start, backend: str) -> None:
    """Exit code 130 and one line; the answer stops in the middle."""
    process = start("chat", "--quiet", "--delay-s", "0.2", "--backend", backend)
    assert process.stdout.read(len("Hello! I")) == "Hello! I"

    process.send_signal(signal.SIGINT)
    code, out, err = end_of(process)

    assert (code, err) == (130, "streamflow: interrupted\n")
    assert len(out) < len(GREETING)


@BACKENDS
def test_ctrl_c_ends_a_chat_that_waits_for_a_pipe(start, backend: str) -> None:
    """Waiting is no reason to hang on."""
    process = start("chat", "--wait-s", "60", "--backend", backend, stdin=subprocess.PIPE)
    assert process.stdout.readline().startswith("streamflow ")

    process.send_signal(signal.SIGINT)

    assert process.wait(WITHIN_S) == 130
    assert process.stderr.read() == "streamflow: interrupted\n"


@BACKENDS
def test_a_chat_in_a_terminal(terminal, backend: str) -> None:
    """A prompt, what is typed, the answer word by word, the prompt again; Ctrl-D ends with 0."""
    chat = terminal("--backend", backend)
    assert "Ctrl-C stops an answer" in chat.read_until("you> ")

    chat.type("Hello\n")
    assert chat.read_until("you> ") == f"Hello\nbot> {GREETING}\n\n"
    chat.type("\n")
    assert chat.read_until("you> ") == "\n"
    chat.type("\x04")

    assert chat.end() == (0, "\n")


@BACKENDS
def test_ctrl_c_in_a_terminal_stops_the_answer_first_and_then_ends_the_chat(terminal, backend: str) -> None:
    """What was said of a stopped answer is kept with its question; at the prompt Ctrl-C ends with 130 and one line."""
    chat = terminal("--backend", backend, "--delay-s", "0.1")
    chat.read_until("you> ")

    chat.type("What is backpressure?\n")
    chat.read_until("bot> Backpressure is")
    chat.process.send_signal(signal.SIGINT)
    assert chat.read_until("you> ").endswith("\n(stopped)\n\n")
    chat.type("What did I say first?\n")
    assert 'you began with: "What is backpressure?"' in chat.read_until("you> ")
    chat.process.send_signal(signal.SIGINT)

    assert chat.end() == (130, "\nstreamflow: interrupted\n")


def test_a_chat_in_a_terminal_goes_on_after_a_failed_answer(terminal) -> None:
    """The server may be back at the next message; `/quit` ends with 0."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        chat = terminal("--quiet", "--base-url", f"http://127.0.0.1:{unused.getsockname()[1]}/v1")

        for _ in range(2):
            chat.read_until("you> ")
            chat.type("Hello\n")
            told = chat.read_until("\n") + chat.read_until("\n")
            assert told.startswith("Hellostreamflow: cannot reach 127.0.0.1")
        chat.read_until("you> ")
        chat.type("/quit\n")

        assert chat.end() == (0, "/quit\n")

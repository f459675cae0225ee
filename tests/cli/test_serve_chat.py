"""`streamflow serve-chat`: what it says, what it refuses, and how it begins and ends."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import urllib.request

import pytest

from streamflow.cli import main

WITHIN_S = 20


def test_a_missing_extra_is_one_line_that_says_what_to_install(monkeypatch, capsys):
    """`docs/architecture.md`: the absence of an optional dependency is an error that names the extra."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    assert main(["serve-chat"]) == 1
    assert "streamflow-runtime[web]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--port", "x"], "no port"),
        (["--host", "0.0.0.0", "--port", "0"], "--public"),
        (["--allow-host", "http://x", "--port", "0"], "hosts"),
        (["--allow-origin", "x", "--port", "0"], "origins"),
        (["--model", "m", "--port", "0"], "--model"),
        (["--timeout-s", "0", "--port", "0"], "timeout_s"),
        (["--delay-s", "-1", "--port", "0"], "delay_s"),
    ],
    ids=range(7),
)
def test_a_wrong_option_is_refused(monkeypatch, capsys, arguments, told):
    """semantics 23.18: exit code 2, and one line that says what is wrong; other machines only where that is asked for."""
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    assert main(["serve-chat", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_port_that_is_taken_is_one_line(capsys):
    """Exit code 1: it cannot listen."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve-chat", "--offline", "--port", str(port)]) == 1

    assert capsys.readouterr().err == f"streamflow: cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.services
def test_a_file_that_cannot_be_opened_is_one_line(start, tmp_path):
    """semantics 23.18: exit code 1, and no address is told."""
    process = start("serve-chat", "--offline", "--port", "0", "--history", str(tmp_path / "lost" / "chats.db"))
    out, err = process.communicate(timeout=WITHIN_S)

    assert (process.returncode, out) == (1, "")
    assert re.fullmatch(r"streamflow: the store 'chats.db' cannot be opened: .*\n", err)


@pytest.mark.services
def test_it_works_at_once_keeps_the_chats_and_ends_with_ctrl_c(start, tmp_path):
    """semantics 23.18: offline, on this machine alone; Ctrl-C ends it with exit code 0, an answer that is under way included."""
    history = str(tmp_path / "chats.db")

    def served(delay_s):
        process = start("serve-chat", "--port", "0", "--offline", "--delay-s", delay_s, "--history", history)
        told = ""
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", told := process.stdout.readline())):
            assert told
        return process, found[0]

    def say(address, text):
        asked = urllib.request.Request(f"{address}/api/chats/c/messages", json.dumps({"text": text}).encode())
        asked.add_header("content-type", "application/json")
        return urllib.request.urlopen(asked, timeout=WITHIN_S)

    def end(process):
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_S) == 0
        assert process.stderr.read() == ""

    process, address = served("0")
    with urllib.request.urlopen(address, timeout=WITHIN_S) as page, say(address, "hello") as answer:
        assert "<title>streamflow chat</title>" in page.read().decode()
        assert "event: done" in answer.read().decode()
    end(process)

    process, address = served("60")
    with urllib.request.urlopen(f"{address}/api/chats/c", timeout=WITHIN_S) as shown:
        assert json.load(shown)["messages"][0]["text"] == "hello"
    with say(address, "a private question"):
        end(process)

"""The command line as a process of its own, with an environment that knows no server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the command sees of the environment: nothing that connects it anywhere."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "ANTHROPIC_")) or name in {
            "NO_COLOR",
            "PYTHONIOENCODING",
            "PYTHONUNBUFFERED",
            "PYTHONUTF8",
        }:
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("PYTHONUTF8", "1")
    return dict(os.environ)


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """Start `python -m streamflow` with arguments; what is left of it when the test ends is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, env: dict[str, str] | None = None, **options) -> subprocess.Popen[str]:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        process = subprocess.Popen(
            [sys.executable, "-m", "streamflow", *arguments],
            env=environment | (env or {}),
            text=True,
            encoding="utf-8",
            **streams,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


class Terminal:
    """A pseudo-terminal with a chat in it."""

    def __init__(self, start: Start, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.ours, theirs = os.openpty()
        self.process = start(
            "chat", *arguments, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.seen = ""

    def read_until(self, text: str) -> str:
        """Return what has come since the last call, up to `text`; fail if the terminal is closed before."""
        while text not in self.seen:
            try:
                data = os.read(self.ours, 4096)
            except OSError:  # Linux says so when the other side has closed the terminal
                data = b""
            assert data, f"{text!r} did not come: {self.seen!r}"
            self.seen += data.decode(errors="replace").replace("\r\n", "\n")
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def end(self) -> tuple[int, str]:
        """Wait for the end, and return the exit code and what else was shown."""
        rest = self.seen
        try:
            while data := os.read(self.ours, 4096):
                rest += data.decode(errors="replace").replace("\r\n", "\n")
        except OSError:
            pass
        return self.process.wait(20), rest


@pytest.fixture
def terminal(start) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_terminal(*arguments: str, env: dict[str, str] | None = None) -> Terminal:
        opened.append(Terminal(start, *arguments, env=env))
        return opened[-1]

    yield open_terminal
    for one in opened:
        os.close(one.ours)

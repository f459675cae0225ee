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
        if name.startswith("OPENAI_") or name in {"PYTHONIOENCODING", "PYTHONUNBUFFERED", "PYTHONUTF8"}:
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

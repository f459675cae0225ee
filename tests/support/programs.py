"""Programs of pages and examples, each run in a process of its own as a reader runs it, without the time to start Python.

Starting Python and importing the package takes many times what these programs do. So one process, started with `python -W error`
and no variable that changes Python, imports the package once and forks for each program (`program_server.py`).
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

TIMEOUT_S = 30
"""Real seconds that a program may take."""

_HIDDEN = ("OPENAI_", "ANTHROPIC_", "PYTHON", "PYTEST", "COVERAGE")


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int
    out: str
    err: str


def run_program(file: Path, *, cwd: Path | None = None, on_trio: bool = False, is_test: bool = False) -> Ended:
    """Run a program to its end, with asyncio or trio behind `anyio.run`, or with pytest if it defines tests."""
    with tempfile.TemporaryDirectory() as folder:
        job = {
            "argv": [str(file)],
            "cwd": str(cwd or Path.cwd()),
            "on_trio": on_trio,
            "is_test": is_test,
            "out": f"{folder}/out",
            "err": f"{folder}/err",
        }
        code = _ask(job)
        return Ended(code, *((Path(folder) / name).read_text(encoding="utf-8") for name in ("out", "err")))


def _ask(job: dict[str, object]) -> int:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(job) + "\n")
    server.stdin.flush()
    answered, _, _ = select.select([server.stdout], [], [], TIMEOUT_S)
    if not answered:
        _end(server)
        raise TimeoutError(f"{job['argv']} did not end within {TIMEOUT_S} s")
    return int(server.stdout.readline())


@functools.cache
def _server() -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_HIDDEN)}
    server = subprocess.Popen(
        [sys.executable, "-W", "error", str(Path(__file__).with_name("program_server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env={**environment, "PYTHONUTF8": "1"},
        start_new_session=True,
    )
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[str]) -> None:
    """Kill the server and the program that it runs."""
    _server.cache_clear()
    os.killpg(server.pid, signal.SIGKILL)
    server.communicate()

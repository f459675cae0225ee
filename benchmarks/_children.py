"""The processes that measure: one for each question, and for each peer of another environment; it forks itself for each case.

Above: `_harness`. Below: `_child`, which is what is started; `_environment`, which says with what Python.

Importing costs a process more than most cases take. So one process imports what a question needs and is forked for each case: every
case begins in the same fresh state, and none sees what another left behind. Peers of another environment, which take long to import
and are not to meet each other, have such a process each, for all questions. Where a process cannot fork, one is started each time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ._environment import environment_python

__all__ = ["ROOT", "Children"]

ROOT = Path(__file__).resolve().parent.parent

TIMEOUT_S = 600
CAN_FORK = hasattr(os, "fork") and sys.platform != "darwin"


class Children:
    """Measures cases, each in a process of its own; leaving the `with` ends them."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str, str], subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for key in list(self._running):
            self._end(key)

    def done(self, question: str) -> None:
        """End the process of a question; those of peers are kept for the next one."""
        if (question, "", "") in self._running:
            self._end((question, "", ""))

    def measure(self, question: str, case: dict[str, Any], environment: str) -> dict[str, Any]:
        """Return the sample of a case.

        Raises:
            RuntimeError: If it failed; carries what it wrote.
        """
        key = ("", environment, case["peer"]) if environment else (question, "", "")
        child = self._running.get(key) or self._start(*key)
        assert child.stdin is not None
        assert child.stdout is not None
        clock = threading.Timer(TIMEOUT_S, child.kill)
        clock.start()
        try:
            child.stdin.write(json.dumps([question, case]) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            clock.cancel()
        answer: dict[str, Any] = json.loads(line or '{"failed": "the process ended, or took too long"}')
        if not line or not CAN_FORK:
            self._end(key)
        if "failed" in answer:
            message = f"{question}, case {case['label']!r}: the measuring process failed\n{answer['failed']}"
            raise RuntimeError(message)
        sample: dict[str, Any] = answer["sample"]
        return sample

    def _start(self, question: str, environment: str, peer: str) -> subprocess.Popen[str]:
        self._running[question, environment, peer] = child = subprocess.Popen(
            [environment_python(environment), "-m", "benchmarks._child", question, peer],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "LOGURU_LEVEL": "ERROR"},
        )
        return child

    def _end(self, key: tuple[str, str, str]) -> None:
        child = self._running.pop(key)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.close()
        child.stdout.close()
        child.wait()

"""The processes that measure: one for each question, and for each peer of another environment; it forks itself for each case.

Above: `_harness`. Below: `_child`, which is what is started; `_environment`, which says with what Python; `_harness`.

Importing costs a process more than most cases take. So one process imports what a question needs and is forked for each case: every
case begins in the same fresh state, and none sees what another left behind. Peers of another environment, which take long to import
and are not to meet each other, have such a process each, for all questions. Where a process cannot fork, one is started each time.

Each such process leads a group of its own: Ctrl-C is for the parent alone, which ends them with all that they have started.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ._environment import environment_python
from ._harness import CaseFailedError

__all__ = ["ROOT", "Children"]

ROOT = Path(__file__).resolve().parent.parent

TIMEOUT_S = 300
CAN_FORK = hasattr(os, "fork") and sys.platform != "darwin"


class Children:
    """Measures cases, each in a process of its own; leaving the `with` ends them."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str, str], subprocess.Popen[str]] = {}
        self.cpu_s = 0.0
        """CPU time that all cases have taken so far, with their warming up."""

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
            CaseFailedError: If it failed, or took more than five minutes.
        """
        key = ("", environment, case["peer"]) if environment else (question, "", "")
        child = self._running.get(key) or self._start(*key)
        assert child.stdin is not None
        assert child.stdout is not None
        clock = threading.Timer(TIMEOUT_S, _kill, [child])
        clock.start()
        line = ""
        try:
            child.stdin.write(json.dumps([question, case]) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
        except BrokenPipeError:
            pass  # it has ended, as an empty line says too
        except KeyboardInterrupt:
            self._end(key)
            raise
        finally:
            clock.cancel()
        if not line or not CAN_FORK:
            self._end(key)
        if not line:
            reason = f"its process ended by itself, or took more than {TIMEOUT_S} s"
            raise CaseFailedError(reason)
        answer: dict[str, Any] = json.loads(line)
        self.cpu_s += answer["cpu_s"]
        if "failed" in answer:
            raise CaseFailedError(answer["failed"])
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
            start_new_session=True,
        )
        return child

    def _end(self, key: tuple[str, str, str]) -> None:
        child = self._running.pop(key)
        _kill(child)  # it waits for the next case, or is at one that nobody waits for any more
        child.communicate()


def _kill(child: subprocess.Popen[str]) -> None:
    """Kill a process and all that it has started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()

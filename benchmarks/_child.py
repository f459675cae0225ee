"""The process that measures: it takes a question and a case a line, as JSON, and answers each with a sample.

`python -m benchmarks._child <question> <peer>`: what these import is imported before the first case; either name may be empty.

Above: `_children`. Below: the questions.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import traceback
from typing import Any

from ._children import CAN_FORK
from ._harness import Case, Question

__all__: list[str] = []


def _question(name: str) -> Question:
    found: Question = importlib.import_module(f"benchmarks.bench_{name}")  # type: ignore[assignment]
    return found


def _answer(line: str) -> dict[str, Any]:
    before = _cpu_s()
    try:
        question, case = json.loads(line)
        answer = {"sample": _question(question).measure(Case(**case))}
    except BaseException:  # noqa: BLE001 - what kills a peer is what the parent wants to tell
        answer = {"failed": traceback.format_exc()}
    return {**answer, "cpu_s": _cpu_s() - before}


def _cpu_s() -> float:
    """Return the CPU time of this process, and of those that it has started and that have ended."""
    return sum(os.times()[:4])


def _forked(line: str, output: int) -> None:
    """Answer in a copy of this process, whose state nobody sees again."""
    if (child := os.fork()) == 0:
        text = json.dumps(_answer(line)) + "\n"
        with os.fdopen(output, "w", encoding="utf-8") as stream:
            stream.write(text)
        sys.stderr.flush()
        os._exit(0)  # no handler at exit, no destructor: they belong to the parent
    _, status = os.waitpid(child, 0)
    if status != 0:
        told = {"failed": f"its process ended with code {os.waitstatus_to_exitcode(status)}", "cpu_s": 0.0}
        os.write(output, (json.dumps(told) + "\n").encode())


def _main() -> None:
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a peer prints is no answer
    question, peer_name = sys.argv[1:]
    if question:
        _question(question)
    if peer_name:
        from .peers import Shape, find_peer

        peer = find_peer(peer_name)
        if peer.program is None:
            peer.prepare(Shape(), None)
    gc.collect()
    gc.freeze()  # a forked process would copy every page that its collector looks at
    for line in sys.stdin:
        if CAN_FORK:
            _forked(line, output)
        else:
            os.write(output, (json.dumps(_answer(line)) + "\n").encode())


if __name__ == "__main__":
    _main()

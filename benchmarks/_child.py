"""The process that measures: `python -m benchmarks._child <question> <peer>` takes a case a line as JSON and answers with a sample.

What the peer imports is imported before the first case; without a name there is nothing to import.

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


def _answer(question: Question, line: str) -> dict[str, Any]:
    try:
        return {"sample": question.measure(Case(**json.loads(line)))}
    except BaseException:  # noqa: BLE001 - what kills a peer is what the parent wants to tell
        return {"failed": traceback.format_exc()}


def _forked(question: Question, line: str, output: int) -> None:
    """Answer in a copy of this process, whose state nobody sees again."""
    if (child := os.fork()) == 0:
        text = json.dumps(_answer(question, line)) + "\n"
        with os.fdopen(output, "w", encoding="utf-8") as stream:
            stream.write(text)
        sys.stderr.flush()
        os._exit(0)  # no handler at exit, no destructor: they belong to the parent
    os.waitpid(child, 0)


def _main() -> None:
    question: Question = importlib.import_module(f"benchmarks.bench_{sys.argv[1]}")  # type: ignore[assignment]
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a peer prints is no answer
    if sys.argv[2]:
        from .peers import Shape, find_peer

        peer = find_peer(sys.argv[2])
        if peer.program is None:
            peer.prepare(Shape(), None)
    gc.collect()
    gc.freeze()  # a forked process would copy every page that its collector looks at
    for line in sys.stdin:
        if CAN_FORK:
            _forked(question, line, output)
        else:
            os.write(output, (json.dumps(_answer(question, line)) + "\n").encode())


if __name__ == "__main__":
    _main()

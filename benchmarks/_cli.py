"""`python -m benchmarks [question …] [--quick]`: ask, measure, print, write.

Above: `__main__`, and each question when it is run alone. Below: `_harness`, `_report`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import benchmarks

from ._harness import Question, Results, Scale, run_rounds
from ._report import Report, machine, versions
from .peers import all_peers, installed

__all__ = ["find_question", "main", "print_machine", "question_names"]

_PREFIX = "bench_"


def question_names() -> list[str]:
    """Return what can be asked: the files `bench_<question>.py`."""
    found = sorted(one.name for one in pkgutil.iter_modules(benchmarks.__path__))
    return [name.removeprefix(_PREFIX) for name in found if name.startswith(_PREFIX)]


def find_question(name: str) -> Question:
    """Return the module of a question."""
    return cast("Question", importlib.import_module(f"benchmarks.{_PREFIX}{name}"))


def _first_line(question: Question) -> str:
    return (question.__doc__ or "").splitlines()[0]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = question_names()
    lines = [f"  {name:14} {_first_line(find_question(name))}" for name in names]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure streamflow beside its peers, in interleaved rounds.",
        epilog="questions:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("questions", nargs="*", metavar="question", help="default: all of them")
    parser.add_argument("--quick", action="store_true", help="small numbers, few rounds, the nearest peers")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each question")
    parser.add_argument("--elements", type=int, metavar="N", help="size of each case, whatever it counts")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write samples, tables and goals there")
    given = parser.parse_args(argv)
    for name in given.questions:
        if name not in names:
            parser.error(f"no question {name!r}; there are {', '.join(names)}")
    given.questions = given.questions or names
    return given


def print_machine() -> tuple[dict[str, Any], dict[str, str]]:
    """Print what the figures depend on besides the code; return it, and the versions."""
    peers = all_peers()
    facts = machine()
    found = versions(["streamflow-runtime", "trio", "uvloop", *(one for peer in peers for one in peer.packages)])
    print(f"{facts['date']}  {facts['processor']}, {facts['cores']} cores, {facts['system']}")
    print(f"{facts['python']}, " + ", ".join(f"{name} {version}" for name, version in found.items()))
    if facts["load"] is not None:
        busy = facts["load"] > facts["cores"] / 2
        print(f"load {facts['load']:.2f}" + (": the machine is busy, trust the ratios alone" if busy else ""))
    missing = [peer.name for peer in peers if not installed(peer)]
    if missing:
        print(f"not installed, left out: {', '.join(missing)}")
    return facts, found


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _as_dict(results: Results, report: Report) -> dict[str, Any]:
    cases = [
        {
            "label": label,
            "peer": case.peer,
            "backend": case.backend,
            "options": case.options,
            "samples": results.samples[label],
        }
        for label, case in results.cases.items()
    ]
    return {"cases": cases, **report.to_dict()}


def main(argv: Sequence[str] | None = None) -> int:
    """Answer the questions; return 0, whatever the answers are."""
    given = _arguments(argv)
    scale = Scale(quick=given.quick, elements=given.elements)
    facts, found = print_machine()
    answers: dict[str, Any] = {}
    for name in given.questions:
        question = find_question(name)
        rounds = given.rounds or question.ROUNDS[given.quick]
        began = time.monotonic()
        results = run_rounds(name, question.cases(scale), rounds, progress=_progress)
        report = question.report(results)
        print(
            f"\n== {name}: {_first_line(question)} ({rounds} × interleaved, {time.monotonic() - began:.0f} s)\n\n{report}"
        )
        answers[name] = {"rounds": rounds, **_as_dict(results, report)}
    if given.json is not None:
        document = {"machine": facts, "versions": found, "quick": given.quick, "questions": answers}
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0

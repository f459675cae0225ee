"""`python -m benchmarks [question …] [--quick]`: ask, measure, print, write.

Above: `__main__`, and each question when it is run alone. Below: `_harness`, `_report`, `_plot`, `_environment`.

Without names, everything is asked; in a quick run, what the table of goals asks and the nearest peers can tell. A full run sets up
the environment of the peers first.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import pkgutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import benchmarks

from ._children import Children
from ._environment import PEERS_ENVIRONMENT, packages_beside, packages_of, set_up
from ._goals import SUBJECTS, TARGETS
from ._harness import Case, Question, Results, Sample, Scale, run_rounds
from ._plot import draw
from ._report import Goal, Report, Table, machine, versions
from .peers import all_peers, installed

__all__ = ["find_question", "main", "print_machine", "question_names", "summary"]

_PREFIX = "bench_"
_QUICK = (
    "throughput",
    "fusion",
    "latency",
    "startup",
    "execute_sync",
    "scale",
    "slow_consumer",
    "growth",
    "fan",
    "fairness",
    "overlap",
    "elements",
    "features_cost",
    "import",
)
"""What a quick run asks, in this order; a full run asks these first."""


def question_names() -> list[str]:
    """Return what can be asked: the files `bench_<question>.py`."""
    found = sorted(one.name for one in pkgutil.iter_modules(benchmarks.__path__))
    names = [name.removeprefix(_PREFIX) for name in found if name.startswith(_PREFIX)]
    return [*_QUICK, *(name for name in names if name not in _QUICK)]


def find_question(name: str) -> Question:
    """Return the module of a question."""
    return cast("Question", importlib.import_module(f"benchmarks.{_PREFIX}{name}"))


def _first_line(name: str) -> str:
    """Return what a question asks. Read, not imported: the help names all of them, and a run may need but one."""
    source = (Path(__file__).parent / f"{_PREFIX}{name}.py").read_text(encoding="utf-8")
    return source.removeprefix('"""').partition("\n")[0]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = question_names()
    lines = [f"  {name:14} {_first_line(name)}" for name in names]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure streamflow beside its peers, in interleaved rounds.",
        epilog="questions:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("questions", nargs="*", metavar="question", help="default: all of them, or the quick ones")
    parser.add_argument("--quick", action="store_true", help="small numbers, few rounds, the nearest peers")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each question")
    parser.add_argument("--elements", type=int, metavar="N", help="size of each case, whatever it counts")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write samples, tables and goals there")
    parser.add_argument(
        "--plot", type=Path, metavar="PATH", help="draw the costs of the peers and the goals there, as SVG"
    )
    given = parser.parse_args(argv)
    for name in given.questions:
        if name not in names:
            parser.error(f"no question {name!r}; there are {', '.join(names)}")
    given.questions = given.questions or (list(_QUICK) if given.quick else names)
    return given


def print_machine() -> tuple[dict[str, Any], dict[str, str]]:
    """Print what the figures depend on besides the code; return it, and the versions."""
    peers = all_peers()
    facts = machine()
    here = [one for peer in peers if not peer.environment for one in peer.packages]
    found = versions(["streamflow-runtime", "trio", *packages_beside(), *here])
    theirs = packages_of(PEERS_ENVIRONMENT)
    found |= {one: theirs[one] for peer in peers if peer.environment for one in peer.packages if one in theirs}
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
    return {"cases": cases, "failed": results.failed, **report.to_dict()}


def summary(goals: Sequence[Goal], *, whole: bool) -> Table:
    """Return one table of all goals in the order of their numbers; `whole` lists those too that were not measured."""
    rows: list[tuple[str, ...]] = []
    measured = {(goal.number, goal.what): goal for goal in goals}
    for target in TARGETS:
        goal = measured.pop((target.number, target.figure), None)
        stretch = "–" if target.stretch is None else f"{target.stretch:g}{target.unit}"
        limit = f"{'≤' if target.sense == 'at most' else '≥'} {target.limit:g}{target.unit}"
        name = f"{target.number:2} {SUBJECTS[target.number]}: {target.figure}"
        if goal is not None:
            rows.append((name, goal.figure, limit, stretch, goal.verdict))
        elif whole:
            rows.append((name, "–", limit, stretch, "not measured"))
    for goal in measured.values():
        limit = f"{'≤' if goal.sense == 'at most' else '≥'} {goal.limit:.3g}{goal.unit}"
        rows.append((f"   {goal.what}", goal.figure, limit, "–", goal.verdict))
    missed = sum(not goal.met for goal in goals)
    title = f"All goals: {len(goals) - missed} of {len(goals)} reached, {missed} missed"
    return Table(title, ("goal", "measured", "limit", "stretch", "verdict"), rows)


@dataclasses.dataclass(frozen=True)
class _Answer:
    """What a question came to."""

    name: str
    results: Results
    report: Report
    seconds: float
    cpu_s: float

    def __str__(self) -> str:
        rounds = f"{self.results.rounds} × interleaved"
        cost = f"{self.seconds:.0f} s by the clock, {self.cpu_s:.0f} s of CPU"
        head = f"== {self.name}: {_first_line(self.name)} ({rounds}, {cost})"
        return "\n\n".join(filter(None, ["\n" + head, str(self.report), "\n".join(_left_out(self))]))

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        spent = {"seconds": self.seconds, "cpu_s": self.cpu_s}
        return {"rounds": self.results.rounds, **spent, **_as_dict(self.results, self.report)}


def _left_out(answer: _Answer) -> list[str]:
    """Return a line for each case that failed; all of what it said is in the JSON."""
    failed = answer.results.failed.items()
    return [f"left out: {answer.name}, {label}: {reason.strip().splitlines()[-1]}" for label, reason in failed]


def _ask(children: Children, name: str, scale: Scale, rounds: int) -> _Answer:
    question, began, before = find_question(name), time.monotonic(), children.cpu_s

    def measure(name: str, case: Case) -> Sample:
        return children.measure(name, dataclasses.asdict(case), case.environment)

    results = run_rounds(name, question.cases(scale), rounds, measure=measure, progress=_progress)
    children.done(name)
    report = question.report(results) if results.cases else Report(notes=["nothing was measured"])
    return _Answer(name, results, report, time.monotonic() - began, children.cpu_s - before)


def _ask_all(given: argparse.Namespace, scale: Scale) -> list[_Answer]:
    """Ask and print one question after the other, until Ctrl-C."""
    answers: list[_Answer] = []
    try:
        with Children() as children:
            for name in given.questions:
                answer = _ask(children, name, scale, given.rounds or find_question(name).ROUNDS[given.quick])
                answers.append(answer)
                print(answer, flush=True)
                if answer.results.interrupted:
                    break
    except KeyboardInterrupt:
        pass  # between two questions
    return answers


def main(argv: Sequence[str] | None = None) -> int:
    """Answer the questions; return 0, whatever the answers are."""
    given = _arguments(argv)
    scale = Scale(quick=given.quick, elements=given.elements)
    failed = [] if given.quick or given.elements is not None else set_up()
    facts, found = print_machine()
    for one in failed:
        print(f"left out: {one}")
    began = time.monotonic()
    answers = _ask_all(given, scale)
    spent, cpu = time.monotonic() - began, _cpu_of_children()
    goals = [goal for answer in answers for goal in answer.report.goals]
    if len(answers) > 1:
        print(f"\n{summary(goals, whole=len(answers) >= len(_QUICK))}")
        print("\n".join(["", *(line for answer in answers for line in _left_out(answer))]))
    if len(answers) < len(given.questions) or any(answer.results.interrupted for answer in answers):
        print("interrupted: this is what was measured until then")
    print(f"{spent:.0f} s by the clock, {cpu:.0f} s of CPU")
    if given.json is not None:
        questions = {answer.name: answer.to_dict() for answer in answers}
        document = {"machine": facts, "versions": found, "quick": given.quick, "questions": questions}
        _write(given.json, json.dumps(document, indent=1) + "\n")
    if given.plot is not None:
        caption = f"{facts['date'][:10]}, {facts['processor']}, {facts['cores']} cores, {facts['python']}"
        ordered = sorted(goals, key=lambda goal: goal.number or len(TARGETS))
        _write(given.plot, draw([answer.report for answer in answers], ordered, caption))
    return 0


def _cpu_of_children() -> float:
    """Return the CPU time of the processes that measured: where it is far below the clock, others were at work, or it waited."""
    times = os.times()
    return times.children_user + times.children_system


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"written: {path}")

"""The benchmarks measure what they say: every case of every question runs, answers have their shape. No time is asserted."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The harness; the package stands beside `src` and is never installed."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks._harness")


QUESTIONS = sorted(path.stem.removeprefix("bench_") for path in (ROOT / "benchmarks").glob("bench_*.py"))

# In one process of its own, because a measurement reads files from inside an event loop, which tests forbid.
ASK = """
import importlib, json, sys
from benchmarks._harness import Scale, run_rounds
module = importlib.import_module(f"benchmarks.bench_{sys.argv[1]}")
cases = module.cases(Scale(quick=True, elements=2))
results = run_rounds(sys.argv[1], cases, 2, measure=lambda question, case: module.measure(case))
print(json.dumps({"cases": len(cases), "samples": results.samples, **module.report(results).to_dict()}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS)
def test_every_case_of_a_question_can_be_measured_and_reported(question: str) -> None:
    """A peer that loses an element, a case without a row, a warning: found before anybody quotes a figure."""
    command = [sys.executable, "-W", "error", "-c", ASK, question]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert len(answer["samples"]) == answer["cases"] > 1
    assert all(len(samples) == 2 for samples in answer["samples"].values())
    assert answer["goals"]
    assert all(table["rows"] for table in answer["tables"])
    assert all(len(row) == len(table["header"]) for table in answer["tables"] for row in table["rows"])


@pytest.mark.slow
def test_the_command_line_prints_the_goals_and_writes_what_it_measured(tmp_path: Path) -> None:
    """`python -m benchmarks … --json PATH`: machine, versions, every sample, tables, goals; each case in its own process."""
    path = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", "slow_consumer", "--quick", "--rounds", "1", "--elements", "30"]

    done = subprocess.run([*command, "--json", str(path)], cwd=ROOT, capture_output=True, text=True, check=True)

    written = json.loads(path.read_text(encoding="utf-8"))
    answer = written["questions"]["slow_consumer"]
    ours = next(case for case in answer["cases"] if case["label"] == "streamflow / asyncio")
    assert written["machine"].keys() >= {"date", "processor", "cores", "python", "load"}
    assert written["versions"].keys() >= {"anyio", "msgspec"}
    assert [set(sample) for sample in ours["samples"]] == [{"ahead", "bound"}]
    assert all(goal["met"] for goal in answer["goals"]), "a bound is no matter of speed"
    assert "met     streamflow on asyncio: source ahead by" in done.stdout


PROFILE = """
import functools, json, sys
from benchmarks import profile_hop
from benchmarks._harness import run_on
parts = run_on(sys.argv[1], functools.partial(profile_hop.part_table, sys.argv[1], 200, 1))
calls = run_on(sys.argv[1], functools.partial(profile_hop.call_table, sys.argv[1], 200))
print(json.dumps([parts.rows, calls.rows]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_parts_of_a_hop_add_up_and_its_calls_are_counted(backend: str) -> None:
    """The table that says where the time goes leaves nothing out; a hop takes each element from a channel once."""
    command = [sys.executable, "-W", "error", "-c", PROFILE, backend]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    parts, calls = json.loads(done.stdout)
    *shares, whole = [float(us.replace(",", "")) for _, us, _ in parts]
    assert sum(shares) == pytest.approx(whole, abs=0.001 * len(parts))
    taken = {name: float(times) for name, times in calls}
    assert taken["<method 'popleft' of 'collections.deque' objects>"] >= 0.9


def test_an_unknown_question_is_refused_with_the_known_ones(
    bench: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typing mistake must not look like an answer."""
    cli = importlib.import_module("benchmarks._cli")

    with pytest.raises(SystemExit, match="2"):
        cli.main(["thruput"])

    message = capsys.readouterr().err
    assert [question for question in QUESTIONS if question not in message] == []


def test_a_ratio_is_the_median_of_pairs_and_not_the_ratio_of_medians(bench: ModuleType) -> None:
    """A machine that is ten times slower in one round changes no ratio of that round."""
    results = bench.Results([bench.Case("a"), bench.Case("b")])
    results.samples["a"] = [{"us": 1.0}, {"us": 20.0}, {"us": 3.0}]
    results.samples["b"] = [{"us": 2.0}, {"us": 40.0}, {"us": 4.0}]

    assert results.ratio("a", "b", "us") == 0.5
    assert results.best("a", "us") == 1.0
    assert results.median("a", "us") == 3.0
    assert results.ratio("a", "not measured", "us") is None


def test_rounds_are_interleaved(bench: ModuleType) -> None:
    """A B A B, never A A B B: a slow minute must meet every case."""
    seen: list[str] = []

    def measure(_question: str, case: object) -> dict[str, object]:
        seen.append(case.label)  # type: ignore[attr-defined]
        return {}

    bench.run_rounds("any", [bench.Case("a"), bench.Case("b")], 2, measure=measure)

    assert seen == ["a", "b", "a", "b"]


def test_a_case_that_fails_says_what_it_wrote(bench: ModuleType) -> None:
    """A peer that crashes must not vanish from a table."""
    with pytest.raises(RuntimeError, match=r"(?s)'lost'.*StopIteration"):
        bench.measure_in_process(
            "startup", bench.Case("lost", "no such peer", "asyncio", {"runs": 1, "stages": 1, "capacity": 1})
        )


@pytest.mark.parametrize(
    ("value", "sense", "met"), [(0.8, "at most", True), (0.81, "at most", False), (13.9, "at least", False)]
)
def test_a_goal_says_whether_it_is_met(value: float, sense: str, met: bool, bench: ModuleType) -> None:
    """The limit itself is met; a miss is written in capitals."""
    report = importlib.import_module("benchmarks._report")
    goal = report.Goal("figure", value, 0.8 if sense == "at most" else 14, sense)

    assert goal.met is met
    assert str(goal).startswith("met " if met else "MISSED ")

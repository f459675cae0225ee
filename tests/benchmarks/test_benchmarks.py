"""The benchmarks measure what they say: every case of every question runs, answers have their shape. No time is asserted."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

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
from benchmarks._harness import Results, Scale, run_rounds
module = importlib.import_module(f"benchmarks.bench_{sys.argv[1]}")
cases = [case for case in module.cases(Scale(quick=True, elements=2)) if not case.environment]
results = run_rounds(sys.argv[1], cases, 1, measure=lambda question, case: module.measure(case))
print(json.dumps({"cases": len(cases), "samples": results.samples, **module.report(results).to_dict()}))
for lost in [*([case] for case in cases), *(cases[place:] for place in range(1, len(cases)))]:
    less = Results([case for case in cases if case not in lost])
    less.samples = {label: results.samples[label] for label in less.cases}
    str(module.report(less))
"""


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS)
def test_every_case_of_a_question_can_be_measured_and_reported(question: str) -> None:
    """A peer that loses an element, a case without a row, a warning: found before anybody quotes a figure.

    What is left when any case has failed, or after Ctrl-C in the first round, is an answer too.
    """
    command = [sys.executable, "-W", "error", "-c", ASK, question]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert len(answer["samples"]) == answer["cases"] > 1
    assert all(len(samples) == 1 for samples in answer["samples"].values())
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
    ours = next(case for case in answer["cases"] if case["label"] == "ahead / streamflow / asyncio / 30")
    assert written["machine"].keys() >= {"date", "processor", "cores", "python", "load"}
    assert written["versions"].keys() >= {"anyio", "msgspec"}
    assert [set(sample) for sample in ours["samples"]] == [{"ahead", "bound"}]
    assert answer["goals"][0]["met"], "a bound is no matter of speed"
    assert answer["cpu_s"] > 0
    assert "met      source ahead of a slow consumer ÷ max_in_flight" in done.stdout


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
    assert math.isnan(results.ratio("a", "not measured", "us"))
    assert math.isnan(results.best("not measured", "us"))


def test_rounds_are_interleaved(bench: ModuleType) -> None:
    """A B A B, never A A B B: a slow minute must meet every case."""
    seen: list[str] = []

    def measure(_question: str, case: object) -> dict[str, object]:
        seen.append(case.label)  # type: ignore[attr-defined]
        return {}

    bench.run_rounds("any", [bench.Case("a"), bench.Case("b")], 2, measure=measure)

    assert seen == ["a", "b", "a", "b"]


def test_a_case_that_fails_is_left_out_and_the_others_go_on(bench: ModuleType) -> None:
    """benchmarks/README: a peer that crashes is a line, never the end of the run; its whole rounds are gone, not half of them."""

    def measure(_question: str, case: object) -> dict[str, object]:
        seen.append(case.label)  # type: ignore[attr-defined]
        if seen == ["a", "b", "a"]:
            raise bench.CaseFailedError("Traceback …\nOSError: it broke")
        return {"us": 1.0}

    seen: list[str] = []
    results = bench.run_rounds("any", [bench.Case("a"), bench.Case("b")], 3, measure=measure)

    assert seen == ["a", "b", "a", "b", "b"]
    assert list(results.cases) == list(results.samples) == ["b"]
    assert results.failed == {"a": "Traceback …\nOSError: it broke"}
    assert results.rounds == 3
    assert math.isnan(results.ratio("a", "b", "us"))


@pytest.mark.parametrize(
    ("until", "left"), [(2, {"a": 1, "b": 1}), (4, {"a": 1, "b": 1, "c": 1}), (6, dict.fromkeys("abc", 2))]
)
def test_what_was_measured_before_ctrl_c_is_kept(until: int, left: dict[str, int], bench: ModuleType) -> None:
    """benchmarks/README: rounds that are whole count; of the first one, the cases that are there."""
    measured = 0

    def measure(_question: str, _case: object) -> dict[str, object]:
        nonlocal measured
        measured += 1
        if measured > until:
            raise KeyboardInterrupt
        return {}

    results = bench.run_rounds("any", [bench.Case(one) for one in "abc"], 3, measure=measure)

    assert results.interrupted
    assert {label: len(samples) for label, samples in results.samples.items()} == left
    assert set(results.cases) == set(left)


def test_a_process_that_dies_or_raises_says_why_and_takes_no_other_with_it(bench: ModuleType) -> None:
    """The reason is what the process wrote; the next case is measured by the same process, or by a new one."""
    shape = {"runs": 1, "stages": 1, "capacity": 1}
    lost = bench.Case("lost", "no such peer", "asyncio", shape)
    found = bench.Case("found", "bare generators", "asyncio", shape)
    children = importlib.import_module("benchmarks._children")

    with children.Children() as running:
        with pytest.raises(bench.CaseFailedError, match=r"(?s)Traceback.*StopIteration"):
            running.measure("startup", dataclasses.asdict(lost), "")
        (child,) = running._running.values()
        child.kill()
        with pytest.raises(bench.CaseFailedError, match="its process ended by itself, or took more than 300 s"):
            running.measure("startup", dataclasses.asdict(found), "")
        sample = running.measure("startup", dataclasses.asdict(found), "")

    assert set(sample) == {"cpu_us", "wall_us"}
    assert running.cpu_s > 0


def test_a_peer_that_cannot_be_installed_is_left_out_by_name(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """benchmarks/README: one package that pip refuses takes no other with it, and is not tried again at each run."""
    environment = importlib.import_module("benchmarks._environment")
    tried: list[list[str]] = []

    def install(requirements: list[str]) -> bool:
        tried.append(requirements)
        return not any(one.startswith("streamz") for one in requirements)

    monkeypatch.setattr(environment, "_FOLDER", tmp_path)
    monkeypatch.setattr(environment, "_STAMP", tmp_path / "installed.json")
    monkeypatch.setattr(environment, "_install", install)
    monkeypatch.setattr(environment.subprocess, "run", lambda *_args, **_options: None)

    first, second = environment.set_up(), environment.set_up()

    assert [one.partition("==")[0] for one in first] == ["streamz"]
    assert second == first
    assert len(tried) == 1 + len(tried[0])
    assert "installing the peers" in capsys.readouterr().err


def test_every_goal_of_the_issue_has_a_question_that_measures_it(bench: ModuleType) -> None:
    """Fifteen subjects, each with goals; each goal's question exists, and a figure that no goal knows is a mistake."""
    goals = importlib.import_module("benchmarks._goals")

    assert {one.number for one in goals.TARGETS} == set(range(1, 16)) == set(goals.SUBJECTS)
    assert {one.question for one in goals.TARGETS} <= set(QUESTIONS)
    assert all(one.stretch is None or one.sense == "at least" or one.stretch < one.limit for one in goals.TARGETS)
    with pytest.raises(KeyError):
        goals.judged("latency", {"p5: generators ÷ asyncio.Queue": 1.0})


def test_the_table_of_goals_lists_what_was_not_measured(bench: ModuleType) -> None:
    """A goal that nobody measured must not look like one that nobody set; what is missed says so in capitals."""
    cli, goals = (importlib.import_module(f"benchmarks.{name}") for name in ("_cli", "_goals"))
    measured = goals.judged("overlap", {"3 waiting stages ÷ 1": 1.2})

    rows = cli.summary(measured, whole=True).rows

    assert len(rows) == len(goals.TARGETS)
    assert [row[-1] for row in rows if row[0].startswith("12 ")] == ["MISSED"]
    assert {row[-1] for row in rows} == {"MISSED", "not measured"}


def test_a_figure_that_rounds_to_its_limit_shows_on_which_side_it_is(bench: ModuleType) -> None:
    """`12× MISSED, goal at least 12×` would look like a mistake of ours."""
    report = importlib.import_module("benchmarks._report")

    assert report.Goal("a", 11.96, 12, "at least").figure == "11.96×"
    assert report.Goal("a", 0.7001, 0.7).figure == "0.7001×"
    assert report.Goal("a", 0.69, 0.7).figure == "0.69×"
    assert report.Report(goals=[report.Goal("a", math.nan, 1)]).goals == [], "nothing was measured"


def test_the_plot_is_well_formed_and_shows_every_bar_and_goal(bench: ModuleType) -> None:
    """Names of peers and goals come from anywhere: `<` in one must not break the picture, nor a figure of zero."""
    plot, report = (importlib.import_module(f"benchmarks.{name}") for name in ("_plot", "_report"))
    bars = [report.Bar("a <peer>", 0.5, ratio=1.0), report.Bar("ours", 31.0, ours=True, ratio=62.0)]
    goals = [
        report.Goal("ratio & more", 0.0, 1.0),
        report.Goal("other", 12.0, 10.0, "at least"),
        report.Goal("far", 9.0, 1.0),
    ]
    reports = [report.Report(bars=bars, bars_of="CPU μs"), report.Report()]

    root = ElementTree.fromstring(plot.draw(reports, goals, "today"))

    svg = "{http://www.w3.org/2000/svg}"
    words = [one.text or "" for one in root.iter(f"{svg}text")]
    assert {"a <peer>", "ours", "62×", "ratio & more", "other", "far", "today"} <= set(words)
    legend = 3
    assert len(list(root.iter(f"{svg}circle"))) + len(list(root.iter(f"{svg}polygon"))) == 2 + 3 + legend
    assert ElementTree.fromstring(plot.draw([], [], "nothing was measured")) is not None


@pytest.mark.parametrize(
    ("value", "sense", "met"), [(0.8, "at most", True), (0.81, "at most", False), (13.9, "at least", False)]
)
def test_a_goal_says_whether_it_is_met(value: float, sense: str, met: bool, bench: ModuleType) -> None:
    """The limit itself is met; a miss is written in capitals."""
    report = importlib.import_module("benchmarks._report")
    goal = report.Goal("figure", value, 0.8 if sense == "at most" else 14, sense)
    better = report.Goal("figure", value, 0.9 if sense == "at most" else 13, sense, stretch=0.8)

    assert goal.met is met
    assert (better.verdict == "stretch") is (value != 0.81)
    assert str(goal).startswith("met " if met else "MISSED ")


def test_figures_are_put_where_a_page_wants_them_and_what_was_not_asked_stays(bench: ModuleType) -> None:
    """benchmarks/README, adding: no figure is copied by hand; a run of one question leaves all others as they were."""
    figures = importlib.import_module("benchmarks.figures")
    page = (
        "<!-- figures: fans -->\n<!-- end of figures -->\nand\n<!-- figures: edges -->\nold\n<!-- end of figures -->\n"
    )
    labels = {label for row in figures.FANS for label in (row.label, row.base)}
    cases = [
        {"label": label, "peer": "", "backend": "", "options": {}, "samples": [{"cpu_us": 2.0}, {"cpu_us": 4.0}]}
        for label in sorted(labels)
    ]
    machine = {"processor": "chip", "cores": 2, "load": 0.5, "python": "CPython 3.11", "date": "2026-11-21T20:00:00"}
    document = {"machine": machine, "versions": {}, "quick": False, "questions": {"fan": {"cases": cases, "goals": []}}}

    lines = figures.filled(page, document).splitlines()

    assert "| a copy to each of 8 | 3.00 | 1.00× |" in lines
    assert "Chip, 2 cores, CPython 3.11, 2026-11-21, medians of 2 paired rounds." in lines
    assert lines[-4:] == ["and", "<!-- figures: edges -->", "old", "<!-- end of figures -->"]
    assert figures.filled("\n".join(lines), document).splitlines() == lines


def test_every_figure_that_a_page_wants_is_one_that_a_full_run_measures(bench: ModuleType) -> None:
    """A row of `figures` names cases by their labels: a case that is renamed would leave a dash in a page."""
    cli, figures = (importlib.import_module(f"benchmarks.{name}") for name in ("_cli", "figures"))
    wanted = [re.findall(r"<!-- figures: (\w+) -->", page.read_text(encoding="utf-8")) for page in figures.PAGES]

    rows = [*figures.STAGES, *figures.RUNS, *figures.FANS, *figures.TOKENS, *figures.FEATURES]
    measured = {
        name: {case.label for case in cli.find_question(name).cases(bench.Scale())}
        for name in {row.question for row in rows}
    }

    assert {name for names in wanted for name in names} == set(figures.BLOCKS)
    lost = [row for row in rows if not {row.label, row.base} <= measured[row.question]]
    assert [row for row in lost if "uvloop" not in row.label or bench.has_backend("uvloop")] == []


@pytest.mark.slow
def test_a_copy_of_the_package_that_has_lost_nothing_is_an_error(bench: ModuleType) -> None:
    """Issue 10, goal 14: what a feature costs that is off is only known beside code that does not ask for it."""
    without = importlib.import_module("benchmarks._without")
    before = {name: one for name, one in sys.modules.items() if name.startswith("streamflow")}

    with pytest.raises(without.LostHookError, match="no such line"):
        without.Copy((without.Hook("channels._pump", "no such line"),))

    assert {name: one for name, one in sys.modules.items() if name.startswith("streamflow")} == before

"""What does `import streamflow` cost, and what does it bring in?

CPU time of a whole Python process that imports, less that of one that does nothing; from compiled files, as after the first import.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale
from ._report import Goal, Report, Table, number

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (5, 2)

BARE, OURS = "nothing", "streamflow"
IMPORTS = {
    BARE: "",
    "asyncio": "import asyncio",
    "anyio": "import anyio",
    "msgspec": "import msgspec",
    "anyio and msgspec": "import anyio, msgspec",
    OURS: "import streamflow",
}
KERNEL = {"_faces", "_records", "channels", "elements", "errors", "graph", "observe", "runtime", "stages"}
"""Rooms of the kernel; every other one is a feature and must wait until it is asked for."""
UNWANTED = ("trio", "pydantic", "httpx2", "uvloop")

_TELL = """
import json, runpy, sys
names = sorted(sys.modules)
print(json.dumps([runpy.run_path(sys.argv[1])["peak_kib"](), names]))
"""
_MEMORY = str(Path(__file__).with_name("_memory.py"))
_TIMED = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


def cases(scale: Scale) -> list[Case]:
    """Return what is imported."""
    options = {"processes": scale.size(3, 3)}
    return [Case(label, label, "", options) for label in IMPORTS]


def measure(case: Case) -> Sample:
    """Start Python several times; return the least CPU time, and what was loaded."""
    statement = IMPORTS[case.label]
    told = _python("-c", statement + _TELL, _MEMORY).stdout  # compiles what is not compiled yet
    peak, names = json.loads(told)
    spent: list[float] = []
    for _ in range(case.options["processes"]):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _python("-c", statement)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    rooms = {name.split(".")[1] for name in names if name.startswith("streamflow.")}
    return {
        "cpu_ms": min(spent) * 1e3,
        "peak_kib": peak,
        "modules": len(names),
        "unwanted": [one for one in UNWANTED if one in names] + [f"streamflow.{one}" for one in sorted(rooms - KERNEL)],
        "self_ms": _self_times(statement) if case.label == OURS else {},
    }


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    # -I: whatever the user's environment would add is not counted.
    return subprocess.run([sys.executable, "-I", *arguments], capture_output=True, text=True, check=True)


def _self_times(statement: str) -> dict[str, float]:
    """Return the milliseconds that the modules of each package took by themselves."""
    packages: Counter[str] = Counter()
    for spent, name in _TIMED.findall(_python("-X", "importtime", "-c", statement).stderr):
        packages[name.partition(".")[0]] += int(spent)
    return {name: spent / 1e3 for name, spent in packages.most_common(10)}


def report(results: Results) -> Report:
    """Take off what Python itself costs, round by round."""
    bare = results.values(BARE, "cpu_ms")
    over = {
        label: min(one - other for one, other in zip(results.values(label, "cpu_ms"), bare, strict=True))
        for label in results.cases
    }
    rows = [
        (
            label,
            number(results.best(label, "cpu_ms"), 1),
            number(over[label], 1),
            number(results.best(label, "peak_kib") / 1024, 1),
            str(results.facts(label)["modules"]),
        )
        for label in results.cases
    ]
    table = Table("A process that imports", ("import", "CPU ms", "over bare", "MiB", "modules"), rows)
    if OURS not in results:
        return Report([table])
    facts = results.facts(OURS)
    inside = Table(
        f"Where `import {OURS}` goes (one run, wall, with the import timer on)",
        ("package", "ms"),
        [(name, number(spent, 1)) for name, spent in facts["self_ms"].items()],
    )
    loaded: list[str] = facts["unwanted"]
    figures = {
        f"CPU of import {OURS} over bare Python": over[OURS],
        "memory of a process that imports it": results.best(OURS, "peak_kib") / 1024,
    }
    goals = [
        *judged("import", figures),
        Goal("modules that it should not load", len(loaded), 0, unit=""),
    ]
    return Report([table, inside], goals, [f"loaded too early: {', '.join(loaded) or 'nothing'}"])


if __name__ == "__main__":
    sys.exit(main(["import", *sys.argv[1:]]))

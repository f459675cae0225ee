"""What is printed and written: the machine, tables, goals, JSON.

Above: the questions, `__main__`. Below: nothing.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import os
import platform
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

__all__ = ["Bar", "Goal", "Report", "Table", "machine", "number", "times", "versions"]


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first column is words, the others are numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]

        def laid_out(line: Sequence[str]) -> str:
            first, *others = line
            cells = [
                first.ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)),
            ]
            return "  ".join(cells).rstrip()

        rule = "  ".join("-" * width for width in widths)
        return "\n".join([self.title, laid_out(self.header), rule, *map(laid_out, self.rows)])


@dataclasses.dataclass(frozen=True)
class Goal:
    """A figure and what it should be."""

    what: str
    value: float
    limit: float
    sense: Literal["at most", "at least"] = "at most"
    unit: str = "×"
    stretch: float | None = None
    """What is wanted beyond the limit."""
    number: int = 0
    """Its place in the table of goals; 0: a goal of the question alone."""

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self._reaches(self.value, self.limit)

    @property
    def verdict(self) -> str:
        """The same in a word: `met`, `MISSED`, or `stretch`, which is more than was asked."""
        if not self.met:
            return "MISSED"
        return "stretch" if self.stretch is not None and self._reaches(self.value, self.stretch) else "met"

    def _reaches(self, value: float, limit: float) -> bool:
        return value <= limit if self.sense == "at most" else value >= limit

    @property
    def figure(self) -> str:
        """The value and its unit, with as many digits as show on which side of the limit it is."""
        texts = [f"{self.value:.{digits}g}" for digits in (3, 4, 5)]
        clear = (one for one in texts if self._reaches(float(one), self.limit) is self.met)
        return f"{next(clear, self.value)}{self.unit}"

    def __str__(self) -> str:
        goal = f"{self.sense} {self.limit:g}{self.unit}"
        return f"{self.verdict:7}  {self.what}: {self.figure}, goal {goal}"


@dataclasses.dataclass(frozen=True)
class Bar:
    """A figure in the plot."""

    what: str
    value: float
    ours: bool = False
    ratio: float = math.nan
    """How many times the one that all are compared with, whose own is 1; NaN: nothing is compared."""


@dataclasses.dataclass(frozen=True)
class Report:
    """The answer to one question."""

    tables: Sequence[Table] = ()
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = ()
    bars: Sequence[Bar] = ()
    """What the plot shows of it, if anything."""
    bars_of: str = ""
    """What they say, and in what unit."""

    def __post_init__(self) -> None:
        # A figure is NaN when a case that it compares was not measured.
        object.__setattr__(self, "goals", [goal for goal in self.goals if not math.isnan(goal.value)])

    def __str__(self) -> str:
        parts = [str(table) for table in self.tables]
        if self.notes:
            parts.append("\n".join(self.notes))
        if self.goals:
            parts.append("\n".join(str(goal) for goal in self.goals))
        return "\n\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "tables": [dataclasses.asdict(table) for table in self.tables],
            "goals": [{**dataclasses.asdict(goal), "met": goal.met, "verdict": goal.verdict} for goal in self.goals],
            "notes": list(self.notes),
        }


def number(value: float, digits: int = 2) -> str:
    """Return a number for a table cell; NaN, what was not measured, is a dash."""
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def times(value: float) -> str:
    """Return a ratio for a table cell."""
    return "–" if math.isnan(value) else f"{value:.2f}×"


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": load,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of distributions, without those that are not installed."""
    found: dict[str, str] = {}
    for package in sorted(set(packages)):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")  # Linux alone; platform.processor() is empty there
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

"""How a question is measured: cases in interleaved rounds, each in a process of its own, and what is computed from the samples.

Above: `_cli`, the questions. Below: `_report`.

Rules:

1. A round measures every case once, in order: A B C, A B C, … A machine that is slow for a while is slow for all of them, so
   ratios are taken inside a round, and their median is the figure.
2. The figure is CPU time (user and system) of the timed region alone. Wall time is kept beside it: on a quiet machine they agree.
3. A child warms up before it measures, collects garbage once, and leaves the collector on, as a user's program would.
4. A case that fails is left out from then on, with what it had measured before: half of its rounds would be paired with others.
   What was not measured is NaN wherever it is asked for, so every answer can be given without it.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib.util
import math
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, TypeVar

import anyio

from ._report import Report

__all__ = [
    "Case",
    "CaseFailedError",
    "Question",
    "Results",
    "Sample",
    "Scale",
    "Stopwatch",
    "has_backend",
    "run_on",
    "run_rounds",
    "share_of",
]

T = TypeVar("T")

Sample: TypeAlias = dict[str, Any]
"""What one child measured: names and numbers."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing to measure. What a child needs travels in it as JSON."""

    label: str
    """Its name in tables, unique in its question."""
    peer: str = ""
    backend: str = "asyncio"
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    environment: str = ""
    """Where its packages are: here, or in the environment of that name."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large the numbers are."""

    quick: bool = False
    elements: int | None = None
    """Wins over both sizes, for tests."""

    def size(self, full: int, quick: int) -> int:
        """Return the size to use."""
        if self.elements is not None:
            return self.elements
        return quick if self.quick else full


class Question(Protocol):
    """A module `bench_<question>`."""

    __doc__: str | None
    ROUNDS: tuple[int, int]
    """Rounds of a full and of a quick run."""

    def cases(self, scale: Scale) -> list[Case]:
        """Return what is measured, in order."""
        ...

    def measure(self, case: Case) -> Sample:
        """Measure one case, in a process of its own."""
        ...

    def report(self, results: Results) -> Report:
        """Make tables and goals of the samples."""
        ...


class CaseFailedError(Exception):
    """A case could not be measured; the text is what its process said, and ends with a line that says why."""


class Results:
    """The samples of one question: one for each case and round. What was not measured is NaN."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = {case.label: case for case in cases}
        """What was measured, or still is to be."""
        self.samples: dict[str, list[Sample]] = {case.label: [] for case in cases}
        self.failed: dict[str, str] = {}
        """What each case said that failed."""
        self.interrupted = False
        """Whether the user had enough before all rounds were measured."""

    def __contains__(self, label: str) -> bool:
        return label in self.cases

    @property
    def rounds(self) -> int:
        """How many samples each case has."""
        return max(map(len, self.samples.values()), default=0)

    def leave_out(self, label: str, reason: str | None = None) -> None:
        """Forget a case: it failed, for that `reason`, or nobody waited for it."""
        del self.cases[label], self.samples[label]
        if reason is not None:
            self.failed[label] = reason

    def interrupt(self) -> None:
        """Keep the rounds that are whole; in the first round, the cases that are there."""
        self.interrupted = True
        whole = min(map(len, self.samples.values()), default=0)
        for label in [label for label, samples in self.samples.items() if not samples]:
            self.leave_out(label)
        for samples in self.samples.values():
            del samples[max(whole, 1) :]

    def values(self, label: str, metric: str) -> list[float]:
        """Return one number of each round."""
        if label not in self:
            return [math.nan] * max(self.rounds, 1)
        return [float(sample[metric]) for sample in self.samples[label]]

    def best(self, label: str, metric: str) -> float:
        """Return the smallest: what the program costs when nothing disturbs it."""
        return min(self.values(label, metric))

    def median(self, label: str, metric: str) -> float:
        """Return the middle one: what it cost on this machine today."""
        return statistics.median(self.values(label, metric))

    def ratio(self, label: str, base: str, metric: str) -> float:
        """Return how many times `base` a case costs, the median of the rounds."""
        pairs = zip(self.values(label, metric), self.values(base, metric), strict=True)
        return statistics.median(one / other for one, other in pairs)

    def facts(self, label: str) -> Sample:
        """Return the last sample whole, for what does not vary between rounds."""
        return self.samples[label][-1]


class Stopwatch:
    """Times the body of a `with`: `cpu_s` of this process, and `wall_s`."""

    def __init__(self) -> None:
        self.cpu_s = self.wall_s = 0.0

    def __enter__(self) -> Self:
        gc.collect()
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cpu_s, self.wall_s = time.process_time() - self._cpu, time.perf_counter() - self._wall

    def per(self, count: int) -> Sample:
        """Return both in microseconds for one of `count`."""
        return {"cpu_us": self.cpu_s / count * 1e6, "wall_us": self.wall_s / count * 1e6}


def has_backend(backend: str) -> bool:
    """Say whether an event loop is installed: `asyncio`, `trio` or `uvloop`."""
    return importlib.util.find_spec(backend) is not None


def run_on(backend: str, func: Callable[[], Awaitable[T]]) -> T:
    """Run `func` on a new event loop."""
    if backend == "uvloop":
        return anyio.run(func, backend="asyncio", backend_options={"use_uvloop": True})
    return anyio.run(func, backend=backend)


def share_of(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of all lies."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def run_rounds(
    question: str,
    cases: Sequence[Case],
    rounds: int,
    *,
    measure: Callable[[str, Case], Sample],
    progress: Callable[[str], None] = lambda _text: None,
) -> Results:
    """Measure every case once per round, the rounds one after the other; Ctrl-C ends it, and what was measured stays."""
    results = Results(cases)
    try:
        for number in range(1, rounds + 1):
            for case in tuple(results.cases.values()):
                progress(f"{question}: round {number} of {rounds}, {case.label}")
                try:
                    results.samples[case.label].append(measure(question, case))
                except CaseFailedError as failure:
                    results.leave_out(case.label, str(failure))
    except KeyboardInterrupt:
        results.interrupt()
    progress("")
    return results

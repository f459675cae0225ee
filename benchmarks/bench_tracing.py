"""What does it cost to follow elements, beside the same chain that is not traced?

Three stages, edges of 16, text. Stages of your own are async generators; those of the library are maps that are not fused, because
followed ones are not. The plain chain is measured twice in each round, so that the noise of the machine is seen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from streamflow import MapStage, Pipeline, PipelineBuilder, PipelineConfig
from streamflow.observe import TraceList, Tracing

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale
from ._moving import loops, measure_moving, passing_generator
from ._report import Goal, Report, Table, number, times

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (3, 3)

OFF, AGAIN, ALL = "off", "off, again", "every element"
KINDS: dict[str, Callable[[], bool | Tracing]] = {
    OFF: lambda: False,
    AGAIN: lambda: False,
    ALL: lambda: True,
    "one in a hundred": lambda: Tracing(elements=0.01),
    "spans alone": lambda: Tracing(elements="never"),
    "every element, to a sink": lambda: Tracing(sinks=(TraceList(),)),
}
FORMS = ("generators", "maps, not fused")


def cases(scale: Scale) -> list[Case]:
    """Return every kind of tracing of both forms of stages, and on trio the dearest."""
    count = scale.size(30_000, 20_000)
    return [
        Case(f"{kind} / {form} / {one}", kind, one, {"elements": count, "form": form})
        for one in loops(scale)
        for form in FORMS
        for kind in (KINDS if one == "asyncio" else (OFF, ALL))
    ]


def _chain(form: str, tracing: bool | Tracing) -> Pipeline:
    make = passing_generator if form == FORMS[0] else _map
    return PipelineBuilder(PipelineConfig(fuse=False, tracing=tracing)).chain(*map(make, "abc")).build()


def _map(name: str) -> Any:
    return MapStage(lambda element: element, name=name)


def measure(case: Case) -> Sample:
    """Move all elements once."""
    return measure_moving(case, _chain(case.options["form"], KINDS[case.peer]()))


def report(results: Results) -> Report:
    """Compare each kind of tracing with none on the same loop, round by round."""
    rows: list[tuple[str, ...]] = []
    goals: list[Goal] = []
    figures: dict[str, float] = {}
    for label, case in results.cases.items():
        form = case.options["form"]
        ratio = results.ratio(label, f"{OFF} / {form} / {case.backend}", "cpu_us")
        best, median = results.best(label, "cpu_us"), results.median(label, "cpu_us")
        rows.append((case.peer, form, case.backend, number(best), number(median), times(ratio)))
        if case.peer == AGAIN and ratio is not None:
            goals.append(Goal(f"{form}, off on {case.backend} ÷ the same again", max(ratio, 1 / ratio), 1.03))
        if case.peer == ALL and case.backend == "asyncio":
            figures[f"{form}: every element ÷ off"] = ratio
    header = ("tracing", "stages", "loop", "CPU min", "median", f"÷ {OFF}, same loop")
    return Report(
        [Table("3 stages, 4 edges of 16, μs per element", header, rows)], [*judged("tracing", figures), *goals]
    )


if __name__ == "__main__":
    sys.exit(main(["tracing", *sys.argv[1:]]))

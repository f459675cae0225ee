"""What do priority lanes and bounds by weight cost an element, beside the same chain without them?

Three stages that change nothing, and four edges that are all alike. Plain edges are measured twice in each round, so that the noise
of the machine is seen. Elements are all of one priority; or all four priorities take turns, and so overtake all the time.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from streamflow import CONSUMER, SOURCE, PassthroughStage, Pipeline, PipelineBuilder, Priority, TextElement, Weight

from ._cli import main
from ._harness import Case, Results, Sample, Scale
from ._moving import loops, measure_moving
from ._report import Goal, Report, Table, number, times
from .peers import text_elements

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (3, 3)

OFF, AGAIN, LANES, MIXED = "off", "off, again", "lanes", "lanes, mixed priorities"
KINDS: dict[str, dict[str, Any]] = {
    OFF: {},
    AGAIN: {},
    LANES: {"priority": True},
    MIXED: {"priority": True},
    "weight in bytes": {"weight": Weight.bytes(1_000_000)},
}
STAGES = 3


def cases(scale: Scale) -> list[Case]:
    """Return every kind of edge on each event loop."""
    options = {"elements": scale.size(30_000, 20_000)}
    return [Case(f"{kind} / {one}", kind, one, options) for one in loops(scale) for kind in KINDS]


def _chain(options: dict[str, Any]) -> Pipeline:
    names = [f"stage {number}" for number in range(STAGES)]
    builder = PipelineBuilder().add(*map(PassthroughStage, names))
    builder.connect(SOURCE, names[0], **options).connect(names[-1], CONSUMER, **options)
    for source, target in itertools.pairwise(names):
        builder.connect(source, target, **options)
    return builder.build()


def _elements(kind: str, count: int) -> Iterator[TextElement]:
    if kind != MIXED:
        return text_elements(count)
    return (TextElement("x", priority=one) for one in itertools.islice(itertools.cycle(Priority), count))


def measure(case: Case) -> Sample:
    """Move all elements once."""
    return measure_moving(case, _chain(KINDS[case.peer]), partial(_elements, case.peer))


def report(results: Results) -> Report:
    """Compare each kind of edge with plain ones on the same loop, round by round."""
    rows: list[tuple[str, ...]] = []
    goals: list[Goal] = []
    for label, case in results.cases.items():
        plain = f"{OFF} / {case.backend}"
        ratio = results.ratio(label, plain, "cpu_us")
        best, median = results.best(label, "cpu_us"), results.median(label, "cpu_us")
        rows.append((case.peer, case.backend, number(best), number(median), times(ratio)))
        if case.peer == AGAIN and ratio is not None:
            goals.append(Goal(f"off on {case.backend} ÷ the same again", max(ratio, 1 / ratio), 1.03))
        if case.peer == LANES and ratio is not None:
            goals.append(Goal(f"lanes on {case.backend} ÷ off", ratio, 2))
    header = ("edges", "loop", "CPU min", "median", f"÷ {OFF}, same loop")
    return Report([Table(f"{STAGES} stages, {STAGES + 1} edges, μs per element", header, rows)], goals)


if __name__ == "__main__":
    sys.exit(main(["priority", *sys.argv[1:]]))

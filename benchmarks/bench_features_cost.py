"""What do events, metrics and priority lanes cost an element, beside the same pipeline without them?

Three stages, none of them fused, capacity 16. The plain pipeline is measured twice in each round, so that the noise of the machine
is seen. What tracing costs is asked by `tracing`, what recording costs by `recording`.
"""

from __future__ import annotations

import sys
from typing import Any

from streamflow import Event, MapStage, Pipeline, PipelineBuilder, PipelineConfig, TextElement

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale
from ._moving import loops, measure_moving, passing_generator
from ._report import Report, Table, number, times

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (5, 3)

PLAIN, AGAIN, EVENTS, METRICS, BOTH, PRIORITY = "plain", "plain, again", "events", "metrics", "both", "priority"
FEATURES: dict[str, dict[str, Any]] = {
    PLAIN: {},
    AGAIN: {},
    EVENTS: {},
    METRICS: {"metrics": True},
    BOTH: {"metrics": True},
    PRIORITY: {"priority": True},
}
JUDGED = {BOTH: "events and metrics", PRIORITY: "priority"}
"""What has a goal, and its name there."""
FORMS = ("generators", "functions")
STAGES = 3


def _label(form: str, feature: str, backend: str) -> str:
    return f"{form} / {feature} / {backend}"


def cases(scale: Scale) -> list[Case]:
    """Return each feature, with stages of each form, on each event loop."""
    elements = scale.size(100_000, 20_000)
    return [
        Case(_label(form, feature, one), feature, one, {"form": form, "elements": elements})
        for one in loops(scale)
        for form in FORMS
        for feature in FEATURES
    ]


def _same(element: TextElement) -> TextElement:
    return element


def _ignore(_event: Event) -> None:
    return None


def _pipeline(form: str, feature: str) -> Pipeline:
    config = PipelineConfig(buffer_size=16, fuse=False).replace(**FEATURES[feature])
    names = [f"s{number}" for number in range(STAGES)]
    stages = [passing_generator(name) if form == "generators" else MapStage(_same, name=name) for name in names]
    builder = PipelineBuilder(config).chain(*stages)
    if feature in (EVENTS, BOTH):
        builder.on_event(_ignore)
    return builder.build()


def measure(case: Case) -> Sample:
    """Move all elements once."""
    return measure_moving(case, _pipeline(case.options["form"], case.peer))


def report(results: Results) -> Report:
    """Compare each feature with the plain pipeline on the same loop, round by round."""
    rows: list[tuple[str, ...]] = []
    figures: dict[str, float] = {}
    for label, case in results.cases.items():
        form: str = case.options["form"]
        ratio = results.ratio(label, _label(form, PLAIN, case.backend), "cpu_us")
        best, median = results.best(label, "cpu_us"), results.median(label, "cpu_us")
        rows.append((form, case.peer, case.backend, number(best), number(median), times(ratio)))
        if case.peer in JUDGED and case.backend == "asyncio":
            figures[f"{form}: {JUDGED[case.peer]} on ÷ plain"] = ratio
    header = ("stages", "feature", "loop", "CPU min", "median", f"÷ {PLAIN}, same loop")
    return Report(
        [Table(f"{STAGES} stages, capacity 16, μs per element", header, rows)], judged("features_cost", figures)
    )


if __name__ == "__main__":
    sys.exit(main(["features_cost", *sys.argv[1:]]))

"""What do events, metrics, lanes and tracing cost an element, beside the same pipeline without them? And what, while they are off?

Three stages, none of them fused, capacity 16. The plain pipeline is measured twice in each round, so that the noise of the machine
is seen. With lanes all elements are of one priority; or all four priorities take turns, and so overtake all the time. A bound by
weight is asked beside them. What recording costs is asked by `recording`.

A feature that is off costs what its questions cost ("is it on?"). So the plain pipeline is run beside the same one in a copy of the
package from which these lines were taken (`_without.py`): both in one process, in turns, so that they meet the same machine.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

from streamflow import (
    CONSUMER,
    SOURCE,
    Event,
    MapStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    Priority,
    TextElement,
    Weight,
)
from streamflow.observe import TraceList, Tracing

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale, run_on
from ._moving import loops, measure_moving, passing_generator
from ._report import Report, Table, number, times
from ._without import HOOKS, Copy
from .peers import text_elements

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (5, 2)

PLAIN, AGAIN, EVENTS, METRICS, BOTH, PRIORITY = "plain", "plain, again", "events", "metrics", "both", "priority"
MIXED, WEIGHT, TRACING = "priorities, mixed", "weight in bytes", "tracing"
FEATURES: dict[str, dict[str, Any]] = {
    PLAIN: {},
    AGAIN: {},
    EVENTS: {},
    METRICS: {"metrics": True},
    BOTH: {"metrics": True},
    PRIORITY: {"priority": True},
    MIXED: {"priority": True},
    WEIGHT: {},
    TRACING: {"tracing": True},
    "one in a hundred traced": {"tracing": Tracing(elements=0.01)},
    "spans alone": {"tracing": Tracing(elements="never")},
    "traced, to a sink": {"tracing": Tracing(sinks=(TraceList(),))},
}
JUDGED = {BOTH: "events and metrics", PRIORITY: "priority", TRACING: "element tracing"}
"""What has a goal, and its name there."""
OFF = "off"
FORMS = ("generators", "functions")
STAGES = 3
OFF_ROUNDS = 16
"""How often each copy of the package takes its turn, in one process."""


def _label(form: str, feature: str, backend: str) -> str:
    return f"{form} / {feature} / {backend}"


def cases(scale: Scale) -> list[Case]:
    """Return each feature, with stages of each form, on each event loop."""
    elements = scale.size(50_000, 20_000)
    copied = FORMS if scale.elements is None else FORMS[:1]  # one will do for a trial: copies take long to load
    return [
        Case(_label(form, feature, one), feature, one, {"form": form, "elements": elements})
        for one in loops(scale)
        for form in FORMS
        for feature in (FEATURES if one == "asyncio" and not scale.quick else (PLAIN, AGAIN, *JUDGED))
    ] + [Case(_label(form, OFF, "asyncio"), OFF, options={"form": form, "elements": elements // 10}) for form in copied]


def _same(element: TextElement) -> TextElement:
    return element


def _ignore(_event: Event) -> None:
    return None


def _pipeline(form: str, feature: str) -> Pipeline:
    config = PipelineConfig(buffer_size=16, fuse=False).replace(**FEATURES[feature])
    names = [f"s{number}" for number in range(STAGES)]
    stages = [passing_generator(name) if form == "generators" else MapStage(_same, name=name) for name in names]
    builder = PipelineBuilder(config)
    if feature == WEIGHT:
        bound = Weight.bytes(1_000_000)
        builder.add(*stages).connect(SOURCE, names[0], weight=bound).connect(names[-1], CONSUMER, weight=bound)
        for source, target in itertools.pairwise(names):
            builder.connect(source, target, weight=bound)
    else:
        builder.chain(*stages)
    if feature in (EVENTS, BOTH):
        builder.on_event(_ignore)
    return builder.build()


def _mixed(count: int) -> Iterator[TextElement]:
    return (TextElement("x", priority=one) for one in itertools.islice(itertools.cycle(Priority), count))


def measure(case: Case) -> Sample:
    """Move all elements once; where a feature is off, in turns with a copy that does not know it."""
    if case.peer == OFF:
        return _measure_off(case)
    made = _mixed if case.peer == MIXED else text_elements
    return measure_moving(case, _pipeline(case.options["form"], case.peer), made)


def _measure_off(case: Case) -> Sample:
    # Which one is loaded first matters, so there are two of each; and which one runs first, so each turn begins with the next one.
    known = [(), *HOOKS.values()]
    copies = [Copy(hooks) for hooks in [*known, *reversed(known)]]
    count = max(case.options["elements"], 1)

    async def move(package: Any, pipeline: Any) -> float:
        began = time.process_time()
        async with pipeline.execute(package.TextElement("x") for _ in range(count)) as run:
            arrived = sum([1 async for element in run if isinstance(element, package.TextElement)])
        if arrived != count:
            message = f"{case.label}: {arrived} of {count} elements arrived"
            raise RuntimeError(message)
        return (time.process_time() - began) / count * 1e6

    async def whole() -> Sample:
        pipelines = []
        for copy in copies:
            with copy.here() as package:
                pipelines.append(_plain(package, case.options["form"]))
                await move(package, pipelines[-1])
        took: list[list[float]] = [[] for _ in copies]
        for turn in range(OFF_ROUNDS):
            for step in range(len(copies)):
                place = (turn + step) % len(copies)
                with copies[place].here() as package:
                    took[place].append(await move(package, pipelines[place]))
        found: Sample = {"cpu_us": min(took[0] + took[-1])}
        for place, feature in enumerate(HOOKS, start=1):
            pairs = [*zip(took[0], took[place], strict=True), *zip(took[-1], took[-1 - place], strict=True)]
            found[f"without {feature}"] = min(took[place] + took[-1 - place])
            found[f"÷ without {feature}"] = statistics.median(one / other if other else 1.0 for one, other in pairs)
        return found

    return run_on("asyncio", whole)


def _plain(package: Any, form: str) -> Any:
    """Return the plain pipeline, of a copy of the package."""

    def passing(name: str) -> Any:
        @package.stage(name=name)
        async def generator(stream: Any) -> Any:
            async for element in stream:
                yield element

        return generator if form == "generators" else package.MapStage(lambda element: element, name=name)

    config = package.PipelineConfig(buffer_size=16, fuse=False)
    return package.PipelineBuilder(config).chain(*(passing(f"s{number}") for number in range(STAGES))).build()


def report(results: Results) -> Report:
    """Compare each feature with the plain pipeline on the same loop, round by round."""
    rows: list[tuple[str, ...]] = []
    figures: dict[str, float] = {}
    off: list[tuple[str, ...]] = []
    for label, case in results.cases.items():
        form: str = case.options["form"]
        if case.peer == OFF:
            for without in HOOKS:
                ratio = results.median(label, f"÷ without {without}")
                best = results.best(label, "cpu_us"), results.best(label, f"without {without}")
                off.append((form, without, *map(number, best), times(ratio)))
                figures[f"{form}: {without} off ÷ without its questions"] = ratio
            continue
        ratio = results.ratio(label, _label(form, PLAIN, case.backend), "cpu_us")
        best, median = results.best(label, "cpu_us"), results.median(label, "cpu_us")
        rows.append((form, case.peer, case.backend, number(best), number(median), times(ratio)))
        if case.peer in JUDGED and case.backend == "asyncio":
            figures[f"{form}: {JUDGED[case.peer]} on ÷ plain"] = ratio
    header = ("stages", "feature", "loop", "CPU min", "median", f"÷ {PLAIN}, same loop")
    tables = [Table(f"{STAGES} stages, capacity 16, μs per element", header, rows)]
    header = ("stages", "feature", "off", "not there", "median of pairs")
    tables.append(Table("Off, and not there at all: μs per element on asyncio", header, off))
    return Report([one for one in tables if one.rows], judged("features_cost", figures))


if __name__ == "__main__":
    sys.exit(main(["features_cost", *sys.argv[1:]]))

"""What do synchronous stages cost that share one task, beside the same stages with a task each, and beside asyncio.Queue?

Every stage is a `MapStage` of a function that returns what it is given; capacity 16. asyncio.Queue's stages call no function.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from streamflow import MapStage, Pipeline, PipelineBuilder, PipelineConfig, TextElement

from ._cli import main
from ._harness import Case, Results, Sample, Scale, Stopwatch, has_backend, run_on
from ._report import Goal, Report, Table, number, times
from .peers import Program, Shape, find_peer, text_elements

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (7, 3)

LENGTHS = (1, 2, 3, 10)
GOALS = {3: 0.32, 10: 0.17}
"""At most so much of what asyncio.Queue costs, by number of stages."""
FUSED, UNFUSED, QUEUE = "fused", "unfused", "asyncio.Queue"


def _label(peer: str, backend: str, stages: int) -> str:
    return f"{peer} / {backend} / {stages}"


def cases(scale: Scale) -> list[Case]:
    """Return each way to run the stages, at each number of stages, on each event loop."""
    elements = scale.size(100_000, 30_000)
    return [
        Case(_label(peer, backend, stages), peer, backend, {"stages": stages, "elements": elements})
        for backend in ("asyncio", "trio")
        if has_backend(backend)
        for stages in LENGTHS
        for peer in (FUSED, UNFUSED, QUEUE)
        if peer != QUEUE or backend == "asyncio"
    ]


def _same(element: TextElement) -> TextElement:
    return element


def _pipeline(stages: int, *, fuse: bool) -> Pipeline:
    config = PipelineConfig(buffer_size=16, fuse=fuse)
    return PipelineBuilder(config).chain(*[MapStage(_same, name=f"s{number}") for number in range(stages)]).build()


def _program(peer: str, stages: int) -> Program:
    if peer == QUEUE:
        return find_peer(QUEUE).prepare(Shape(stages, 16), None)
    pipeline = _pipeline(stages, fuse=peer == FUSED)

    async def program(source: Iterable[TextElement]) -> int:
        count = 0
        async with pipeline.execute(source) as run:
            async for _element in run:
                count += 1
        return count - 1  # the last one is EndOfStream

    return program


def measure(case: Case) -> Sample:
    """Move all elements once, after a twentieth of them to warm up."""
    elements: int = case.options["elements"]
    program = _program(case.peer, case.options["stages"])

    async def run() -> Sample:
        await program(text_elements(max(elements // 20, 1)))
        with Stopwatch() as watch:
            arrived = await program(text_elements(elements))
        if arrived != elements:
            message = f"{case.label}: {arrived} of {elements} elements arrived"
            raise RuntimeError(message)
        return watch.per(elements)

    return run_on(case.backend, run)


def report(results: Results) -> Report:
    """Compare round by round."""
    rows = [
        (
            case.peer,
            case.backend,
            str(case.options["stages"]),
            number(results.best(label, "cpu_us")),
            number(results.median(label, "cpu_us")),
            number(1000 / results.best(label, "cpu_us"), 0),
            times(results.ratio(label, _label(QUEUE, "asyncio", case.options["stages"]), "cpu_us")),
            times(results.ratio(label, _label(UNFUSED, case.backend, case.options["stages"]), "cpu_us")),
        )
        for label, case in results.cases.items()
    ]
    title = "Map stages, μs per element (ratios of CPU time: median over paired rounds)"
    head = ("peer", "loop", "stages", "CPU min", "median", "k el/s", f"÷ {QUEUE}", f"÷ {UNFUSED}")
    goals: list[Goal] = []
    for stages, most in GOALS.items():
        ratio = results.ratio(_label(FUSED, "asyncio", stages), _label(QUEUE, "asyncio", stages), "cpu_us")
        if ratio is not None:
            goals.append(Goal(f"{stages} {FUSED} stages ÷ {QUEUE} on asyncio", ratio, most))
    return Report([Table(title, head, rows)], goals)


if __name__ == "__main__":
    sys.exit(main(["fusion", *sys.argv[1:]]))

"""What does a recording cost: of the output, of input and output, of every edge; beside the same run without one?

Three pass-through stages, capacity 16, text elements. The file is written to a temporary folder. A recorded edge is watched, and
so off the fast path; encoding and writing are done by a worker thread, whose CPU time counts here.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from streamflow import PassthroughStage, PipelineBuilder, PipelineConfig
from streamflow.observe import Recording

from ._cli import main
from ._harness import Case, Results, Sample, Scale, Stopwatch, has_backend, run_on
from ._report import Goal, Report, Table, number, times
from .peers import text_elements

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (3, 3)

STAGES = 3
POINTS = {"output": ["output"], "input, output": ["input", "output"], "edges": ["edges"]}
PLAIN = "not recorded"
MOST = 8.0
"""Recording the output may cost so many times what the run alone costs, on asyncio."""


def _label(peer: str, backend: str) -> str:
    return f"{peer} / {backend}"


def cases(scale: Scale) -> list[Case]:
    """Return each way to record, on each event loop."""
    elements = scale.size(15_000, 10_000)
    return [
        Case(_label(peer, backend), peer, backend, {"elements": elements})
        for backend in ("asyncio", "trio")
        if has_backend(backend)
        for peer in (PLAIN, *POINTS)
    ]


def measure(case: Case) -> Sample:
    """Move all elements once, after a twentieth of them to warm up."""
    elements: int = case.options["elements"]
    stages = [PassthroughStage(f"s{number}") for number in range(STAGES)]
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=16, fuse=False)).chain(*stages).build()

    async def program(count: int, record: Recording | None) -> int:
        arrived = 0
        async with pipeline.execute(text_elements(count), record=record) as run:
            async for _element in run:
                arrived += 1
        if run.recording is not None and (run.recording.lost or run.recording.error):
            message = f"{case.label}: {run.recording}"
            raise RuntimeError(message)
        return arrived - 1  # the last one is EndOfStream

    async def run() -> Sample:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.rec"
            record = None if case.peer == PLAIN else Recording(path=path, at=POINTS[case.peer])
            await program(max(elements // 20, 1), record)
            with Stopwatch() as watch:
                arrived = await program(elements, record)
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
            number(results.best(label, "cpu_us")),
            number(results.median(label, "cpu_us")),
            number(results.median(label, "wall_us")),
            times(results.ratio(label, _label(PLAIN, case.backend), "cpu_us")),
        )
        for label, case in results.cases.items()
    ]
    title = f"{STAGES} stages, μs per element (ratios of CPU time: median over paired rounds)"
    head = ("recorded", "loop", "CPU min", "median", "wall", f"÷ {PLAIN}")
    ratio = results.ratio(_label("output", "asyncio"), _label(PLAIN, "asyncio"), "cpu_us")
    return Report([Table(title, head, rows)], [Goal("recording the output ÷ none, on asyncio", ratio, MOST)])


if __name__ == "__main__":
    sys.exit(main(["recording", *sys.argv[1:]]))

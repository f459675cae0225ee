"""What does one element cost in a run of its own, on a chain of three stages that is already built?

Set-up and tear-down of the run included: tasks and edges are made, the element passes, everything ends. The event loop is running.
"""

from __future__ import annotations

import sys

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale, Stopwatch, run_on
from ._report import Report, Table, number, times
from .peers import Shape, chosen, find_peer, text_elements

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (5, 3)

QUEUE, ANYIO = "asyncio.Queue", "anyio streams"


def cases(scale: Scale) -> list[Case]:
    """Return every peer on each of its event loops."""
    return [
        Case(
            f"{peer.name} / {backend}",
            peer.name,
            backend,
            {"runs": max(int(scale.size(1_000, 500) * max(min(peer.share, 1), 0.05)), 2), "stages": 3, "capacity": 16},
            peer.environment,
        )
        for peer, backend in chosen(scale)
    ]


def measure(case: Case) -> Sample:
    """Run one element through, many times, one run after the other."""
    runs: int = case.options["runs"]
    program = find_peer(case.peer).prepare(Shape(case.options["stages"], case.options["capacity"]), None)

    async def main() -> Sample:
        for _ in range(max(runs // 10, 1)):
            await program(text_elements(1))
        with Stopwatch() as watch:
            for _ in range(runs):
                await program(text_elements(1))
        return watch.per(runs)

    return run_on(case.backend, main)


def report(results: Results) -> Report:
    """Compare with asyncio.Queue and with anyio streams on the same loop."""
    queue = f"{QUEUE} / asyncio"
    rows = [
        (
            case.peer,
            case.backend,
            number(results.best(label, "cpu_us"), 1),
            number(results.median(label, "cpu_us"), 1),
            number(results.median(label, "wall_us"), 1),
            times(results.ratio(label, queue, "cpu_us")),
            times(results.ratio(label, f"{ANYIO} / {case.backend}", "cpu_us")),
        )
        for label, case in results.cases.items()
    ]
    header = ("peer", "loop", "CPU min", "median", "wall median", f"÷ {QUEUE}", f"÷ {ANYIO}, same loop")
    figures = {
        f"one element: generators ÷ {peer}": results.ratio("streamflow / asyncio", f"{peer} / asyncio", "cpu_us")
        for peer in (QUEUE, ANYIO)
    }
    return Report([Table("One run of one element, 3 stages, μs", header, rows)], judged("startup", figures))


if __name__ == "__main__":
    sys.exit(main(["startup", *sys.argv[1:]]))

"""What does one element cost in a run of its own, on a chain of three stages that is already built?

Set-up and tear-down of the run included: tasks and edges are made, the element passes, everything ends. The event loop is running.
"""

from __future__ import annotations

import sys

from ._cli import main
from ._harness import Case, Results, Sample, Scale, Stopwatch, has_backend, run_on
from ._report import Goal, Report, Table, number, times
from .peers import Shape, all_peers, find_peer, installed, text_elements

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (7, 3)

QUEUE, ANYIO = "asyncio.Queue", "anyio streams"


def cases(scale: Scale) -> list[Case]:
    """Return every peer on each of its event loops."""
    options = {"runs": scale.size(2_000, 400), "stages": 3, "capacity": 16}
    return [
        Case(f"{peer.name} / {backend}", peer.name, backend, options)
        for peer in all_peers()
        for backend in peer.backends
        if installed(peer) and has_backend(backend) and (not scale.quick or (peer.quick and backend != "uvloop"))
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
    goals: list[Goal] = []
    to_queue = results.ratio("streamflow / asyncio", queue, "cpu_us")
    to_anyio = results.ratio("streamflow / asyncio", f"{ANYIO} / asyncio", "cpu_us")
    if to_queue is not None:
        goals.append(Goal(f"one element: streamflow ÷ {QUEUE}", to_queue, 2))
    if to_anyio is not None:
        goals.append(Goal(f"one element: streamflow ÷ {ANYIO}", to_anyio, 0.35))
    return Report([Table("One run of one element, 3 stages, μs", header, rows)], goals)


if __name__ == "__main__":
    sys.exit(main(["startup", *sys.argv[1:]]))

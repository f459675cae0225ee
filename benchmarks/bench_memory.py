"""Does memory stay flat over a long stream?

Resident memory while text elements pass through three stages of capacity 16. It is read by the source, fifty times along the way;
what it is after the warm-up is the start. A mebibyte more counts as flat: the allocator's, a fiftieth of what 10⁶ kept elements
would take.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from streamflow import TextElement

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale, has_backend, run_on
from ._memory import resident_kib
from ._report import Report, Table, number
from .peers import Shape, find_peer, text_elements

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (1, 1)

READINGS = 50


def cases(scale: Scale) -> list[Case]:
    """Return streamflow on both loops, and asyncio.Queue beside it."""
    options = {"elements": scale.size(1_000_000, 100_000), "stages": 3, "capacity": 16}
    chosen = [("streamflow", "asyncio"), ("streamflow", "trio"), ("asyncio.Queue", "asyncio")]
    return [Case(f"{peer} / {backend}", peer, backend, options) for peer, backend in chosen if has_backend(backend)]


def measure(case: Case) -> Sample:
    """Move all elements once; return what was read."""
    options = case.options
    program = find_peer(case.peer).prepare(Shape(options["stages"], options["capacity"]), None)
    elements: int = options["elements"]
    every = max(elements // READINGS, 1)
    readings: list[int] = []

    def source() -> Iterator[TextElement]:
        for position in range(elements):
            if position % every == 0:
                readings.append(resident_kib())
            yield TextElement("x")

    async def main() -> None:
        await program(text_elements(max(elements // 20, 1)))
        readings.append(resident_kib())
        await program(source())
        readings.append(resident_kib())

    run_on(case.backend, main)
    start, peak = readings[0], max(readings)
    return {"start_kib": start, "peak_kib": peak, "end_kib": readings[-1], "growth_kib": peak - start}


def report(results: Results) -> Report:
    """Say how much it grew."""
    rows = [
        (
            case.peer,
            case.backend,
            f"{case.options['elements']:,}",
            *(
                number(results.median(label, metric), 0)
                for metric in ("start_kib", "peak_kib", "end_kib", "growth_kib")
            ),
        )
        for label, case in results.cases.items()
    ]
    table = Table("Resident memory, KiB", ("peer", "loop", "elements", "start", "peak", "end", "peak − start"), rows)
    grown = [results.median(label, "growth_kib") for label, case in results.cases.items() if case.peer == "streamflow"]
    return Report([table], judged("memory", {"growth over the stream, most of both loops": max(grown)}))


if __name__ == "__main__":
    sys.exit(main(["memory", *sys.argv[1:]]))

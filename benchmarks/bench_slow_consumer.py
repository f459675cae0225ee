"""How far does the source run ahead of a consumer that is slow, and does memory stay flat over a long stream?

The consumer pauses 2 ms after each of its first fifty elements, then takes the rest as fast as it can. Counted at every element:
what the source has made, less what the consumer has taken. With bounded edges that depends on their sizes, not on the stream's, so
streamflow is asked with a stream of a tenth, too.

Resident memory is read by the source of a stream of 10⁶ elements, fifty times along the way; what it is after the warm-up is the
start. A mebibyte more counts as flat: the allocator's, a fiftieth of what 10⁶ kept elements would take.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import anyio

from streamflow import TextElement

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale, has_backend, run_on
from ._memory import resident_kib
from ._report import Report, Table, number
from .peers import Shape, chosen, find_peer, text_elements

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (1, 1)

OURS, QUEUE = "streamflow", "asyncio.Queue"
AHEAD, MEMORY = "ahead", "memory"
PAUSES, PAUSE_S = 50, 0.002
READINGS = 50


def _case(kind: str, peer: str, backend: str, elements: int, environment: str = "") -> Case:
    options = {"kind": kind, "elements": elements, "stages": 3, "capacity": 16}
    return Case(f"{kind} / {peer} / {backend} / {elements}", peer, backend, options, environment)


def cases(scale: Scale) -> list[Case]:
    """Return every peer on each of its event loops, and of the nearest the memory."""
    many, most = scale.size(50_000, 20_000), scale.size(1_000_000, 100_000)
    taking_part = [(peer, backend) for peer, backend in chosen(scale) if backend != "uvloop"]
    found = [
        _case(AHEAD, peer.name, backend, max(int(many * min(peer.share, 1)), 2), peer.environment)
        for peer, backend in taking_part
    ]
    found += [
        _case(AHEAD, peer.name, backend, max(many // 10, 1)) for peer, backend in taking_part if peer.name == OURS
    ]
    watched = [(OURS, "asyncio"), (OURS, "trio"), (QUEUE, "asyncio")]
    found += [_case(MEMORY, peer, backend, most) for peer, backend in watched if has_backend(backend)]
    return found


def measure(case: Case) -> Sample:
    """Move all elements once; return how far apart both ends came, or what memory was read."""
    return _measure_ahead(case) if case.options["kind"] == AHEAD else _measure_memory(case)


def _measure_ahead(case: Case) -> Sample:
    options = case.options
    shape = Shape(options["stages"], options["capacity"])
    peer = find_peer(case.peer)
    made = taken = ahead = 0

    def source() -> Iterator[TextElement]:
        nonlocal made
        for _ in range(options["elements"]):
            made += 1
            yield TextElement("x")

    async def each() -> None:
        nonlocal taken, ahead
        taken += 1
        if taken <= PAUSES:
            await anyio.sleep(PAUSE_S)
        ahead = max(ahead, made - taken)

    program = peer.prepare(shape, each)
    run_on(case.backend, lambda: program(source()))
    return {"ahead": ahead, "bound": None if peer.bound is None else peer.bound(shape)}


def _measure_memory(case: Case) -> Sample:
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
    """Compare with what the peer promises; say how much memory grew."""
    ahead, share = _ahead(results)
    memory, growth = _memory(results)
    figures = {
        "source ahead of a slow consumer ÷ max_in_flight, most of both loops": share,
        "growth over the stream, most of both loops": growth,
    }
    return Report([table for table in (ahead, memory) if table.rows], judged("slow_consumer", figures))


def _ahead(results: Results) -> tuple[Table, float]:
    rows: list[tuple[str, ...]] = []
    shares: list[float] = []
    for label, case in results.cases.items():
        if case.options["kind"] == AHEAD:
            ahead, bound = max(results.values(label, "ahead")), results.facts(label)["bound"]
            promise = "–" if bound is None else str(bound)
            rows.append((case.peer, case.backend, f"{case.options['elements']:,}", f"{ahead:.0f}", promise))
            if bound is not None:
                shares.append(ahead / bound)
    header = ("peer", "loop", "elements", "ahead by at most", "max_in_flight")
    title = "Elements made and not yet taken, 3 stages of capacity 16"
    return Table(title, header, rows), max(shares, default=math.nan)


def _memory(results: Results) -> tuple[Table, float]:
    metrics = ("start_kib", "peak_kib", "end_kib", "growth_kib")
    watched = {label: case for label, case in results.cases.items() if case.options["kind"] == MEMORY}
    rows = [
        (
            case.peer,
            case.backend,
            f"{case.options['elements']:,}",
            *(number(results.median(label, metric), 0) for metric in metrics),
        )
        for label, case in watched.items()
    ]
    grown = [results.median(label, "growth_kib") for label, case in watched.items() if case.peer == OURS]
    header = ("peer", "loop", "elements", "start", "peak", "end", "peak − start")
    return Table("Resident memory, KiB", header, rows), max(grown, default=math.nan)


if __name__ == "__main__":
    sys.exit(main(["slow_consumer", *sys.argv[1:]]))

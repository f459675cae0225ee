"""What does an element cost in longer streams, in longer chains, and on wider edges?

Short streams are run so often that all lengths move about as many elements, so what a run costs to start is in the figure of those.
"""

from __future__ import annotations

import math
import statistics
import sys

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale, Stopwatch, run_on
from ._report import Report, Table, number, times
from .peers import Program, Shape, find_peer, text_elements
from .peers.ours import as_map, build, program_of

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (5, 2)

OURS, QUEUE = "streamflow", "asyncio.Queue"
LENGTHS = (1_000, 10_000, 100_000, 1_000_000)
CHAINS = (3, 10, 30, 100)
CAPACITIES = (1, 4, 16, 64, 256, 1_000)
LENGTH, CHAIN, CAPACITY = "length", "chain", "capacity"
MAPS = "maps"


def _label(kind: str, peer: str, size: int) -> str:
    return f"{kind} / {peer} / {size}"


def cases(scale: Scale) -> list[Case]:
    """Return every length of stream, every length of chain, and every width of edge."""
    most = scale.size(1_000_000, 100_000)
    lengths = sorted({min(one, most) for one in LENGTHS})
    short = scale.size(10_000, 4_000)
    found: list[Case] = []
    for length in lengths:
        options = {"elements": length, "runs": max(min(most, 100_000) // length, 1), "stages": 3, "beside": lengths}
        found.append(Case(_label(LENGTH, OURS, length), OURS, options=options))
    for stages in CHAINS:
        for peer in (OURS, QUEUE):
            options = {"elements": short, "runs": max(30 // stages, 1), "stages": stages}
            found.append(Case(_label(CHAIN, peer, stages), peer, options=options))
    options = {"elements": scale.size(15_000, 4_000), "runs": 1, "stages": 3}
    found += [
        Case(_label(CAPACITY, peer, capacity), peer, options={**options, "capacity": capacity})
        for capacity in CAPACITIES
        for peer in (OURS, MAPS, QUEUE)
    ]
    return found


def _program(peer: str, shape: Shape) -> Program:
    return program_of(build(as_map, shape)) if peer == MAPS else find_peer(peer).prepare(shape, None)


def measure(case: Case) -> Sample:
    """Move all elements as often as asked, after a few to warm up."""
    elements, runs = case.options["elements"], case.options["runs"]
    program = _program(case.peer, Shape(case.options["stages"], case.options.get("capacity", 16)))

    async def run() -> Sample:
        await program(text_elements(min(elements, 1_000)))
        with Stopwatch() as watch:
            arrived = sum([await program(text_elements(elements)) for _ in range(runs)])
        if arrived != elements * runs:
            message = f"{case.label}: {arrived} of {elements * runs} elements arrived"
            raise RuntimeError(message)
        return watch.per(elements * runs)

    return run_on(case.backend, run)


def _one_more(results: Results, peer: str, many: int, few: int) -> list[float]:
    pair = (results.values(_label(CHAIN, peer, stages), "cpu_us") for stages in (many, few))
    return [(one - other) / (many - few) for one, other in zip(*pair, strict=True)]


def report(results: Results) -> Report:
    """Compare lengths, slopes, and widths."""
    lengths = [label for label in results.cases if label.startswith(LENGTH)]
    rows = [
        (
            f"{results.cases[label].options['elements']:,}",
            number(results.best(label, "cpu_us")),
            number(results.median(label, "cpu_us")),
            times(results.ratio(label, lengths[0], "cpu_us")),
        )
        for label in lengths
    ]
    streams = Table("A stream, 3 stages, CPU μs per element", ("elements", "min", "median", "÷ shortest"), rows)
    chains = [
        (
            str(stages),
            *(number(results.best(_label(CHAIN, peer, stages), "cpu_us"), 2) for peer in (OURS, QUEUE)),
            times(results.ratio(_label(CHAIN, OURS, stages), _label(CHAIN, QUEUE, stages), "cpu_us")),
        )
        for stages in CHAINS
    ]
    header = ("stages", "streamflow, min", "asyncio.Queue, min", f"÷ {QUEUE}")
    costs = [results.values(label, "cpu_us") for label in lengths]
    asked = results.cases[lengths[0]].options["beside"] if lengths else []
    all_there = lengths and len(lengths) == len(asked)
    spread = [max(one) / min(one) for one in zip(*costs, strict=True)] if all_there else [math.nan]
    steeper = [
        one / other
        for one, other in zip(_one_more(results, OURS, 100, 10), _one_more(results, OURS, 10, 3), strict=True)
    ]
    figures = {
        "cost of an element: dearest ÷ cheapest length of stream": statistics.median(spread),
        "one more stage: 10 to 100 ÷ 3 to 10": statistics.median(steeper),
    }
    tables = [streams, Table("A chain, CPU μs per element", header, chains), _capacities(results)]
    return Report(tables, judged("growth", figures))


def _capacities(results: Results) -> Table:
    peers = (OURS, MAPS, QUEUE)
    rows = [
        (
            str(capacity),
            *(number(results.best(_label(CAPACITY, peer, capacity), "cpu_us")) for peer in peers),
            *(
                times(results.ratio(_label(CAPACITY, peer, capacity), _label(CAPACITY, peer, 16), "cpu_us"))
                for peer in peers
            ),
        )
        for capacity in CAPACITIES
    ]
    header = ("capacity", "generators", MAPS, QUEUE, *(f"{one} ÷ at 16" for one in ("generators", MAPS, QUEUE)))
    return Table("Wider edges, 3 stages with a task each, CPU μs per element, min", header, rows)


if __name__ == "__main__":
    sys.exit(main(["growth", *sys.argv[1:]]))

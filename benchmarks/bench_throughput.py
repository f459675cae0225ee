"""What does an element cost that passes through three stages, and what does one more stage cost?

Every peer moves the same text elements from an iterable, through stages that change nothing, to a consumer that counts them;
capacity 16 wherever the peer has a buffer. The cost is everything divided by the elements: making them, source, stages, consumer.
"""

from __future__ import annotations

import sys

from ._cli import main
from ._harness import Case, Results, Sample, Scale, Stopwatch, has_backend, run_on
from ._report import Goal, Report, Table, number, times
from .peers import Shape, all_peers, find_peer, installed, text_elements

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (7, 3)

FEW, MANY = 3, 10
OURS, QUEUE, ANYIO, FLOOR = "streamflow", "asyncio.Queue", "anyio streams", "bare generators"


def _label(peer: str, backend: str, stages: int) -> str:
    return f"{peer} / {backend} / {stages}"


def cases(scale: Scale) -> list[Case]:
    """Return every peer on each of its event loops; the fast ones with few and with many stages."""
    found: list[Case] = []
    for peer in all_peers():
        if not installed(peer) or (scale.quick and not peer.quick):
            continue
        elements = scale.size(100_000, 6_000 if peer.slow else 30_000)
        for backend in peer.backends:
            if not has_backend(backend) or (scale.quick and backend == "uvloop"):
                continue
            for stages in (FEW,) if peer.slow or (scale.quick and backend != "asyncio") else (FEW, MANY):
                options = {"stages": stages, "capacity": 16, "elements": elements}
                found.append(Case(_label(peer.name, backend, stages), peer.name, backend, options))
    return found


def measure(case: Case) -> Sample:
    """Move all elements once, after a twentieth of them to warm up."""
    options = case.options
    program = find_peer(case.peer).prepare(Shape(options["stages"], options["capacity"]), None)
    elements: int = options["elements"]

    async def main() -> Sample:
        await program(text_elements(max(elements // 20, 1)))
        with Stopwatch() as watch:
            arrived = await program(text_elements(elements))
        if arrived != elements:
            message = f"{case.label}: {arrived} of {elements} elements arrived"
            raise RuntimeError(message)
        return watch.per(elements)

    return run_on(case.backend, main)


def report(results: Results) -> Report:
    """Compare with the floor and with asyncio.Queue, round by round."""
    floor, queue = _label(FLOOR, "asyncio", FEW), _label(QUEUE, "asyncio", FEW)
    rows = [
        (
            case.peer,
            case.backend,
            number(results.best(label, "cpu_us")),
            number(results.median(label, "cpu_us")),
            number(results.median(label, "wall_us")),
            number(1000 / results.best(label, "cpu_us"), 0),
            times(results.ratio(label, queue, "cpu_us")),
            times(results.ratio(label, floor, "cpu_us")),
        )
        for label, case in sorted(results.cases.items(), key=lambda item: results.best(item[0], "cpu_us"))
        if case.options["stages"] == FEW
    ]
    whole = Table(
        f"{FEW} stages, μs per element (ratios of CPU time: median over paired rounds)",
        ("peer", "loop", "CPU min", "median", "wall median", "k el/s", f"÷ {QUEUE}", "÷ floor"),
        rows,
    )
    return Report([whole, _slopes(results)], _goals(results))


def _slope(results: Results, peer: str, backend: str) -> list[float]:
    many, few = (results.values(_label(peer, backend, stages), "cpu_us") for stages in (MANY, FEW))
    return [(one - other) / (MANY - FEW) for one, other in zip(many, few, strict=True)]


def _slopes(results: Results) -> Table:
    """One more stage: the cleanest figure, because source, consumer and start-up cancel out."""
    slopes = Results([case for case in results.cases.values() if case.options["stages"] == MANY])
    for label, case in slopes.cases.items():
        slopes.samples[label] = [{"cpu_us": one} for one in _slope(results, case.peer, case.backend)]
    queue = _label(QUEUE, "asyncio", MANY)
    rows = [
        (
            case.peer,
            case.backend,
            number(slopes.best(label, "cpu_us"), 3),
            number(slopes.median(label, "cpu_us"), 3),
            times(slopes.ratio(label, queue, "cpu_us")),
        )
        for label, case in slopes.cases.items()
    ]
    title = f"One more stage, CPU μs per element: ({MANY} stages − {FEW} stages) ÷ {MANY - FEW}"
    return Table(title, ("peer", "loop", "min", "median", f"÷ {QUEUE}"), rows)


def _goals(results: Results) -> list[Goal]:
    goals: list[Goal] = []
    for peer in (OURS, "streamflow process"):
        for backend in ("asyncio", "trio"):
            ours = _label(peer, backend, FEW)
            to_queue = results.ratio(ours, _label(QUEUE, "asyncio", FEW), "cpu_us")
            from_anyio = results.ratio(_label(ANYIO, backend, FEW), ours, "cpu_us")
            if to_queue is not None:
                goals.append(Goal(f"{peer} on {backend} ÷ {QUEUE} on asyncio", to_queue, 0.80))
            if from_anyio is not None:
                goals.append(Goal(f"{ANYIO} on {backend} ÷ {peer} on {backend}", from_anyio, 14, "at least"))
    return goals


if __name__ == "__main__":
    sys.exit(main(["throughput", *sys.argv[1:]]))

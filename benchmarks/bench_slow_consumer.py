"""How far does the source run ahead of a consumer that is slow?

The consumer pauses 2 ms after each of its first fifty elements, then takes the rest as fast as it can. Counted at every element:
what the source has made, less what the consumer has taken. With bounded edges that depends on their sizes, not on the stream's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import anyio

from streamflow import TextElement

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale, run_on
from ._report import Report, Table
from .peers import Shape, chosen, find_peer

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (1, 1)

PAUSES, PAUSE_S = 50, 0.002


def cases(scale: Scale) -> list[Case]:
    """Return every peer on each of its event loops."""
    options = {"stages": 3, "capacity": 16}
    return [
        Case(
            f"{peer.name} / {backend}",
            peer.name,
            backend,
            {**options, "elements": max(int(scale.size(100_000, 20_000) * min(peer.share, 1)), 2)},
            peer.environment,
        )
        for peer, backend in chosen(scale)
        if backend != "uvloop"
    ]


def measure(case: Case) -> Sample:
    """Move all elements once; return how far apart both ends came."""
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


def report(results: Results) -> Report:
    """Compare with what the peer promises."""
    rows: list[tuple[str, ...]] = []
    shares: list[float] = []
    for label, case in results.cases.items():
        ahead, bound = max(results.values(label, "ahead")), results.facts(label)["bound"]
        promise = "–" if bound is None else str(bound)
        rows.append((case.peer, case.backend, f"{case.options['elements']:,}", f"{ahead:.0f}", promise))
        if bound is not None:
            shares.append(ahead / bound)
    header = ("peer", "loop", "elements", "ahead by at most", "max_in_flight")
    table = Table("Elements made and not yet taken, 3 stages of capacity 16", header, rows)
    figures = {"source ahead of a slow consumer ÷ max_in_flight, most of both loops": max(shares)}
    return Report([table], judged("slow_consumer", figures))


if __name__ == "__main__":
    sys.exit(main(["slow_consumer", *sys.argv[1:]]))

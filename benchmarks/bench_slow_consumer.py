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
from ._harness import Case, Results, Sample, Scale, has_backend, run_on
from ._report import Goal, Report, Table
from .peers import Shape, all_peers, find_peer, installed

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
            {**options, "elements": scale.size(100_000, 2_000 if peer.slow else 20_000)},
        )
        for peer in all_peers()
        for backend in peer.backends
        if installed(peer) and has_backend(backend) and backend != "uvloop" and (peer.quick or not scale.quick)
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
    goals: list[Goal] = []
    for label, case in results.cases.items():
        ahead, bound = max(results.values(label, "ahead")), results.facts(label)["bound"]
        promise = "–" if bound is None else str(bound)
        rows.append((case.peer, case.backend, f"{case.options['elements']:,}", f"{ahead:.0f}", promise))
        if bound is not None:
            goals.append(Goal(f"{case.peer} on {case.backend}: source ahead by", ahead, bound, unit=""))
    header = ("peer", "loop", "elements", "ahead by at most", "max_in_flight")
    return Report([Table("Elements made and not yet taken, 3 stages of capacity 16", header, rows)], goals)


if __name__ == "__main__":
    sys.exit(main(["slow_consumer", *sys.argv[1:]]))

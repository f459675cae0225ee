"""What does a delta of 10 characters cost when the JSON that it belongs to is followed while it arrives?

Two documents: one long string, and an array of small objects, as models write the arguments of tools. Cost per delta at four sizes
shows whether a way to follow them is linear. The goal in microseconds is for a machine on which `json.loads` of the objects of 1 MB
takes 5 ms; on a slower one it is scaled by what that takes in the same run.
"""

from __future__ import annotations

import gc
import math
import sys
import time

from ._cli import main
from ._harness import Case, Results, Sample, Scale
from ._json_peers import PEERS, PIECE, Peer, document, is_installed, quietly
from ._report import Goal, Report, Table, number, times

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (1, 1)

KINDS = ("long", "objects")
SIZES = [1_000, 10_000, 100_000, 1_000_000]
FLOOR, READER, PATH, ANTHROPIC = (
    "json.loads, once at the end",
    "streamflow reader",
    "streamflow, event to element",
    "Anthropic SDK",
)
LOADS_MS = 5.0  # `json.loads` of 1 MB of objects on the machine that the goal was set for
SAMPLES = 12
REPEATS, ENOUGH_S = 50, 0.05  # a document is read again, until this much CPU has been measured


def cases(scale: Scale) -> list[Case]:
    """Return every way to follow each document; a quick run leaves out the slowest."""
    sizes = SIZES[:-1] if scale.quick else SIZES
    if scale.elements is not None:
        sizes = [scale.elements * PIECE, scale.elements * PIECE * 10]
    asked = [name for name, peer in PEERS.items() if is_installed(peer) and (peer.nearest or not scale.quick)]
    return [Case(f"{name} / {kind}", name, "", {"kind": kind, "sizes": sizes}) for kind in KINDS for name in asked]


def measure(case: Case) -> Sample:
    """Return CPU microseconds per delta at each size, by its name."""
    peer = PEERS[case.peer]
    sizes = [size for size in case.options["sizes"] if size <= peer.largest]
    return {f"us_{size}": _cost(peer, case.options["kind"], size) * 1e6 for size in sizes}


def _cost(peer: Peer, kind: str, size: int) -> float:
    text, paths = document(kind, size)
    pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
    count = len(pieces)
    if peer.cost == "whole":
        numbers, share = [0], count
    elif peer.cost == "sampled":
        numbers, share = list(range(0, count, max(count // SAMPLES, 1))), 1
    else:
        numbers, share = list(range(count)), 1
    if peer.cost != "whole":
        quietly(peer.start, pieces[:1], paths)(0)  # imports, and whatever is made once
    gc.collect()
    spent, best = 0.0, float("inf")
    for _ in range(REPEATS if size >= SIZES[0] else 2):  # below, somebody tries out whether it runs
        take = quietly(peer.start, pieces, paths)
        begin = time.process_time()
        for one in numbers:
            take(one)
        once = time.process_time() - begin
        spent, best = spent + once, min(best, once / (len(numbers) * share))
        if spent > ENOUGH_S:
            break
    return best


def report(results: Results) -> Report:
    """Compare with the floor, with parsing anew, and with the accumulators; goals in the same run's own measure."""
    labels = list(results.cases)
    sizes = results.cases[labels[0]].options["sizes"]
    tables = [_table(results, kind, sizes) for kind in KINDS]
    last = sizes[-1]
    loads_ms = results.best(f"{FLOOR} / objects", f"us_{last}") * (last / PIECE) / 1e3 * (1_000_000 / last)
    scale = max(loads_ms / LOADS_MS, 1.0) if last == SIZES[-1] else 1.0
    goals: list[Goal] = []
    for kind in KINDS:
        worst = max(results.best(f"{READER} / {kind}", f"us_{size}") for size in sizes)
        growth = results.median(f"{READER} / {kind}", f"us_{last}") / results.median(
            f"{READER} / {kind}", f"us_{sizes[0]}"
        )
        goals.append(Goal(f"{kind}: μs per delta at its dearest size, scaled", worst / scale, 3, unit=" μs"))
        goals.append(Goal(f"{kind}: growth from {sizes[0]:,} to {last:,} characters", growth, 1.5))
    for kind, size, limit in (("long", 10_000, 10), ("objects", 10_000, 10), ("objects", 100_000, 80)):
        ratio = _ratio(results, f"{ANTHROPIC} / {kind}", f"{PATH} / {kind}", size)
        goals.append(Goal(f"{kind}: {ANTHROPIC} ÷ streamflow at {size:,}", ratio, limit, "at least"))
    note = f"json.loads of 1 MB of objects: {loads_ms:.1f} ms in this run; the goal in μs is scaled by {scale:.2f}"
    return Report(tables, goals, [note])


def _ratio(results: Results, label: str, base: str, size: int) -> float:
    asked = label in results and size in results.cases[label].options["sizes"]
    return results.ratio(label, base, f"us_{size}") if asked else math.nan


def _table(results: Results, kind: str, sizes: list[int]) -> Table:
    rows: list[tuple[str, ...]] = []
    for label, case in results.cases.items():
        if case.options["kind"] != kind:
            continue
        known = [size for size in sizes if size <= PEERS[case.peer].largest]
        cells = [number(results.best(label, f"us_{size}") if size in known else math.nan) for size in sizes]
        ratio = results.ratio(label, f"{READER} / {kind}", f"us_{known[-1]}")
        rows.append((case.peer, *cells, times(ratio)))
    header = (kind, *(f"{size:,}" for size in sizes), f"÷ {READER}, at its largest")
    return Table(f"{kind}: CPU μs per delta of {PIECE} characters, by characters of the document", header, rows)


if __name__ == "__main__":
    sys.exit(main(["json_stream", *sys.argv[1:]]))

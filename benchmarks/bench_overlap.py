"""Do stages that wait overlap?

Every stage waits a millisecond for each element, as one that asks a server would. Where stages overlap, three of them take no
longer than one; in a chain that pulls, three times as long.
"""

from __future__ import annotations

import math
import sys
import time

import anyio

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale, run_on
from ._report import Bar, Report, Table, number, times
from .peers import Shape, chosen, find_peer, text_elements

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (5, 3)

PAUSE_S = 0.001
ONE, THREE = 1, 3


def _label(peer: str, backend: str, stages: int) -> str:
    return f"{peer} / {backend} / {stages}"


def cases(scale: Scale) -> list[Case]:
    """Return every peer whose stages can wait, with one stage and with three."""
    return [
        Case(
            _label(peer.name, backend, stages),
            peer.name,
            backend,
            {"stages": stages, "elements": scale.size(50, 25) if peer.pulls else scale.size(200, 100)},
            peer.environment,
        )
        for peer, backend in chosen(scale)
        for stages in (ONE, THREE)
        if peer.works and backend != "uvloop"
    ]


def measure(case: Case) -> Sample:
    """Move all elements once; the time is by the clock, because nearly all of it is waiting."""
    elements: int = case.options["elements"]
    program = find_peer(case.peer).prepare(Shape(case.options["stages"], work=lambda: anyio.sleep(PAUSE_S)), None)

    async def run() -> Sample:
        await program(text_elements(2))
        began = time.perf_counter()
        arrived = await program(text_elements(elements))
        spent = time.perf_counter() - began
        if arrived != elements:
            message = f"{case.label}: {arrived} of {elements} elements arrived"
            raise RuntimeError(message)
        return {"wall_ms": spent / elements * 1e3}

    return run_on(case.backend, run)


def report(results: Results) -> Report:
    """Compare three stages with one, round by round."""
    rows: list[tuple[str, ...]] = []
    bars: list[Bar] = []
    for label, case in results.cases.items():
        if case.options["stages"] == THREE:
            one = _label(case.peer, case.backend, ONE)
            times_taken = (number(results.median(which, "wall_ms")) for which in (one, label))
            ratio = results.ratio(label, one, "wall_ms")
            rows.append((case.peer, case.backend, *times_taken, times(ratio)))
            if not math.isnan(ratio):
                bars.append(Bar(f"{case.peer}, {case.backend}", ratio, case.peer == "streamflow"))
    title = "Stages that wait 1 ms for each element: ms by the clock for each, median"
    table = Table(title, ("peer", "loop", "1 stage", "3 stages", "3 ÷ 1"), rows)
    ours = results.ratio(*(_label("streamflow", "asyncio", stages) for stages in (THREE, ONE)), "wall_ms")
    says = "3 stages that wait ÷ 1 of them, by the clock: 1 if they overlap"
    return Report([table], judged("overlap", {"3 waiting stages ÷ 1": ours}), bars=bars, bars_of=says)


if __name__ == "__main__":
    sys.exit(main(["overlap", *sys.argv[1:]]))

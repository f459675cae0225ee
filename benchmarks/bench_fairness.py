"""How long does another task wait for its turn beside a pipeline that has always something to do?

A ticker yields to the event loop again and again, and looks at the clock each time; beside it, elements pass through three stages
as fast as they can. The gaps between two ticks are what a heartbeat, or another request, would have to wait. Nothing sleeps here,
so the clock is the thread's CPU time: on an idle machine it is the time of day, and what else runs on a busy one is not in it.
"""

from __future__ import annotations

import sys
import time

import anyio
import anyio.lowlevel

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale, has_backend, run_on, share_of
from ._report import Report, Table, number, times
from .peers import Shape, find_peer, text_elements

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (5, 3)

OURS, PROCESS, QUEUE, ANYIO = "streamflow", "streamflow process", "asyncio.Queue", "anyio streams"
NARROW, WIDE = 16, 1_000_000


def _label(peer: str, backend: str, capacity: int) -> str:
    return f"{peer} / {backend} / {capacity}"


def cases(scale: Scale) -> list[Case]:
    """Return the nearest peers at both capacities."""
    elements = scale.size(40_000, 20_000)
    wanted = [(peer, "asyncio", capacity) for capacity in (NARROW, WIDE) for peer in (OURS, PROCESS, QUEUE, ANYIO)]
    if has_backend("trio"):
        wanted += [(peer, "trio", capacity) for capacity in (NARROW, WIDE) for peer in (OURS, ANYIO)]
    return [
        Case(
            _label(peer, backend, capacity),
            peer,
            backend,
            {"capacity": capacity, "elements": max(int(elements * find_peer(peer).share), 2)},
        )
        for peer, backend, capacity in wanted
    ]


def measure(case: Case) -> Sample:
    """Tick while all elements pass; return the gaps in milliseconds."""
    elements: int = case.options["elements"]
    program = find_peer(case.peer).prepare(Shape(3, case.options["capacity"]), None)
    gaps: list[float] = []

    async def tick() -> None:
        before = time.thread_time()
        while True:
            await anyio.lowlevel.checkpoint()
            now = time.thread_time()
            gaps.append(now - before)
            before = now

    async def run() -> None:
        await program(text_elements(max(elements // 20, 1)))
        async with anyio.create_task_group() as group:
            group.start_soon(tick)
            await anyio.lowlevel.checkpoint()
            arrived = await program(text_elements(elements))
            group.cancel_scope.cancel()
        if arrived != elements:
            message = f"{case.label}: {arrived} of {elements} elements arrived"
            raise RuntimeError(message)

    run_on(case.backend, run)
    milliseconds = [gap * 1e3 for gap in gaps] or [0.0]
    return {
        "p50_ms": share_of(milliseconds, 0.5),
        "p99_ms": share_of(milliseconds, 0.99),
        "max_ms": max(milliseconds),
    }


def report(results: Results) -> Report:
    """Compare with anyio streams, which yield at every element."""
    rows = [
        (
            case.peer,
            case.backend,
            f"{case.options['capacity']:,}",
            *(number(results.best(label, metric), 3) for metric in ("p50_ms", "p99_ms", "max_ms")),
            times(results.ratio(label, _label(ANYIO, case.backend, NARROW), "p99_ms")),
        )
        for label, case in results.cases.items()
    ]
    header = ("peer", "loop", "capacity", "p50 ms, min", "p99 ms, min", "longest ms, min", f"p99 ÷ {ANYIO} at {NARROW}")
    figures = {
        f"ticker gap p99 at {NARROW}: {OURS} ÷ {ANYIO}": results.ratio(
            _label(OURS, "asyncio", NARROW), _label(ANYIO, "asyncio", NARROW), "p99_ms"
        ),
        f"ticker gap p99 at {WIDE:,}": results.median(_label(OURS, "asyncio", WIDE), "p99_ms"),
    }
    return Report([Table("Gaps between two turns of another task", header, rows)], judged("fairness", figures))


if __name__ == "__main__":
    sys.exit(main(["fairness", *sys.argv[1:]]))

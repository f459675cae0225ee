"""How long is one element on its way through three stages, when no other is in flight?

The source makes an element when the one before it has arrived. Measured is the time from its making to the consumer; how the source
is woken again is not part of it. Nothing sleeps here, so the clock is the thread's CPU time: on an idle machine it is the time of
day, and what else runs on a busy one is not in it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator

import anyio

from streamflow import TextElement

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale, run_on, share_of
from ._report import Bar, Report, Table, number, times
from .peers import Shape, chosen, find_peer

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (5, 5)

OURS, QUEUE, ANYIO, PIPECAT = "streamflow", "asyncio.Queue", "anyio streams", "Pipecat lean"


def cases(scale: Scale) -> list[Case]:
    """Return every peer on each of its event loops."""
    return [
        Case(
            f"{peer.name} / {backend}",
            peer.name,
            backend,
            {"elements": max(int(scale.size(5_000, 2_000) * max(peer.share, 0.05)), 2), "stages": 3, "capacity": 16},
            peer.environment,
        )
        for peer, backend in chosen(scale)
    ]


def measure(case: Case) -> Sample:
    """Send one after the other, the first tenth to warm up; return the times in microseconds."""
    count: int = case.options["elements"]
    taken: list[float] = []
    begun = 0.0
    arrived = anyio.Event()

    async def one_by_one() -> AsyncIterator[TextElement]:
        nonlocal arrived, begun
        for _ in range(count + count // 10):
            arrived = anyio.Event()
            begun = time.thread_time()
            yield TextElement("x")
            await arrived.wait()

    async def each() -> None:
        taken.append(time.thread_time() - begun)
        arrived.set()

    program = find_peer(case.peer).prepare(Shape(case.options["stages"], case.options["capacity"]), each)

    async def main() -> None:
        await program(one_by_one())

    run_on(case.backend, main)
    measured = [one * 1e6 for one in taken[count // 10 :]]
    assert len(measured) == count
    return {"p50_us": share_of(measured, 0.5), "p99_us": share_of(measured, 0.99)}


def report(results: Results) -> Report:
    """Compare with asyncio.Queue, round by round."""
    queue, ours = f"{QUEUE} / asyncio", f"{OURS} / asyncio"
    ordered = sorted(results.cases.items(), key=lambda item: results.best(item[0], "p50_us"))
    rows = [
        (
            case.peer,
            case.backend,
            number(results.best(label, "p50_us"), 1),
            number(results.median(label, "p50_us"), 1),
            number(results.best(label, "p99_us"), 1),
            times(results.ratio(label, queue, "p50_us")),
            times(results.ratio(label, queue, "p99_us")),
        )
        for label, case in ordered
    ]
    header = ("peer", "loop", "p50 min", "p50 median", "p99 min", f"p50 ÷ {QUEUE}", f"p99 ÷ {QUEUE}")
    figures = {
        **{
            f"p50: generators ÷ {peer}": results.ratio(ours, f"{peer} / asyncio", "p50_us")
            for peer in (QUEUE, ANYIO, PIPECAT)
        },
        f"p99: generators ÷ {QUEUE}": results.ratio(ours, queue, "p99_us"),
    }
    bars = [
        Bar(
            f"{case.peer}, {case.backend}",
            results.median(label, "p50_us"),
            case.peer.startswith(OURS),
            results.ratio(label, queue, "p50_us"),
        )
        for label, case in ordered
    ]
    table = Table("One element in flight, 3 stages, μs", header, rows)
    return Report([table], judged("latency", figures), bars=bars, bars_of="One element alone on its way, p50, CPU μs")


if __name__ == "__main__":
    sys.exit(main(["latency", *sys.argv[1:]]))

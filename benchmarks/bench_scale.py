"""What do many pipelines cost that are alive at once, in time and in memory?

Pipelines of three stages are started and wait for their first element; then each gets fifty. The cost is everything, divided by the
pipelines. Memory is what is resident while all wait, less what was before.

What starts a pipeline is a bare task of the event loop: one of an anyio task group would add 2.9 KiB and its own start to
everybody's figures, and is no part of a pipeline. What is left, with the source and its wait, is in all figures: `bare generators`
show how little that is, with three generators.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

import anyio

from streamflow import TextElement

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale, Stopwatch, run_on
from ._memory import resident_kib
from ._report import Report, Table, number, times
from .peers import Program, Shape, chosen, find_peer, text_elements
from .peers.ours import fused

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (3, 2)

ELEMENTS = 50
OURS, FUSED, QUEUE = "streamflow", "streamflow fused", "asyncio.Queue"


def _label(peer: str, backend: str, pipelines: int) -> str:
    return f"{peer} / {backend} / {pipelines}"


def cases(scale: Scale) -> list[Case]:
    """Return every peer with a thousand pipelines, dear ones with fewer; and ours with ten thousand, unless it is quick."""
    many, most = scale.size(1_000, 400), scale.size(10_000, 400)
    found = [
        (peer.name, backend, max(int(many * min(peer.share, 1)), 2), peer.environment)
        for peer, backend in chosen(scale)
    ]
    found.append((FUSED, "asyncio", many, ""))
    if most != many:
        found.append((OURS, "asyncio", most, ""))
    return [
        Case(_label(peer, backend, pipelines), peer, backend, {"pipelines": pipelines}, environment)
        for peer, backend, pipelines, environment in found
    ]


def _program(peer: str) -> Program:
    return fused(Shape(), None) if peer == FUSED else find_peer(peer).prepare(Shape(), None)


@contextlib.asynccontextmanager
async def _task_group(backend: str) -> AsyncGenerator[Callable[[Callable[[], Coroutine[Any, Any, None]]], object]]:
    """Open a task group of the event loop's own, and give what starts a task in it; leaving it waits for all."""
    if backend == "trio":
        import trio

        async with trio.open_nursery() as nursery:
            yield nursery.start_soon
    else:
        async with asyncio.TaskGroup() as group:
            yield lambda func: group.create_task(func())


def measure(case: Case) -> Sample:
    """Start all, read the memory, let them go."""
    pipelines: int = case.options["pipelines"]
    program = _program(case.peer)
    ready = 0
    gate = anyio.Event()
    all_ready = anyio.Event()

    async def gated() -> AsyncIterator[TextElement]:
        nonlocal ready
        ready += 1
        if ready == pipelines:
            all_ready.set()
        await gate.wait()
        for element in text_elements(ELEMENTS):
            yield element

    async def one() -> None:
        arrived = await program(gated())
        if arrived != ELEMENTS:
            message = f"{case.label}: {arrived} of {ELEMENTS} elements arrived"
            raise RuntimeError(message)

    async def main() -> Sample:
        await program(text_elements(ELEMENTS))
        gc.collect()
        before = resident_kib()
        with Stopwatch() as watch:
            async with _task_group(case.backend) as start:
                for _ in range(pipelines):
                    start(one)
                await all_ready.wait()
                kib = (resident_kib() - before) / pipelines
                gate.set()
        return {**watch.per(pipelines), "kib": kib}

    return run_on(case.backend, main)


def report(results: Results) -> Report:
    """Compare with asyncio.Queue at the same number, round by round."""
    rows = [
        (
            case.peer,
            case.backend,
            f"{case.options['pipelines']:,}",
            number(results.best(label, "cpu_us"), 0),
            number(results.median(label, "cpu_us"), 0),
            times(results.ratio(label, _label(QUEUE, "asyncio", case.options["pipelines"]), "cpu_us")),
            number(results.median(label, "kib"), 1),
        )
        for label, case in results.cases.items()
    ]
    header = ("peer", "loop", "pipelines", "CPU μs each, min", "median", f"÷ {QUEUE}", "KiB each")
    sizes = [case.options["pipelines"] for case in results.cases.values() if case.peer in (OURS, FUSED)]
    many, most = min(sizes, default=0), max(sizes, default=0)
    ours = _label(OURS, "asyncio", many)
    figures = {
        f"CPU of many: generators ÷ {QUEUE}": results.ratio(ours, _label(QUEUE, "asyncio", many), "cpu_us"),
        "KiB per live pipeline": results.median(ours, "kib"),
        "KiB per live pipeline, fused": results.median(_label(FUSED, "asyncio", many), "kib"),
        "CPU per pipeline: 10,000 ÷ 1,000": (
            results.ratio(_label(OURS, "asyncio", most), ours, "cpu_us") if most > many else math.nan
        ),
    }
    title = f"Pipelines of 3 stages alive together, {ELEMENTS} elements each"
    return Report([Table(title, header, rows)], judged("scale", figures))


if __name__ == "__main__":
    sys.exit(main(["scale", *sys.argv[1:]]))

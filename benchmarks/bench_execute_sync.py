"""What does a blocking call cost, beside starting an event loop for nothing?

`execute_sync` of one element on a chain of three stages that is already built; each call starts and ends an event loop. In a
session the loop is kept from call to call.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
from collections.abc import Callable
from typing import Literal

import anyio

from streamflow import TextElement

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale, Stopwatch, has_backend
from ._report import Report, Table, number, times
from .peers import Shape
from .peers.ours import as_generator, build

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (5, 3)

BASE = "asyncio.run(nothing)"


async def _nothing() -> None:
    return


def _calls(case: Case, until: contextlib.ExitStack) -> Callable[[], object]:
    if case.peer == "anyio":
        return functools.partial(anyio.run, _nothing, backend=case.backend)
    if case.peer == "asyncio":
        return lambda: asyncio.run(_nothing())
    pipeline = build(as_generator, Shape(case.options["stages"]))
    backend: Literal["asyncio", "trio"] = "trio" if case.backend == "trio" else "asyncio"
    if case.peer == "session":
        return functools.partial(until.enter_context(pipeline.sync_session(backend=backend)).execute, TextElement("x"))
    return functools.partial(pipeline.execute_sync, TextElement("x"), backend=backend)


def cases(scale: Scale) -> list[Case]:
    """Return the blocking call and the empty loops that it stands on."""
    options = {"calls": scale.size(1_000, 200), "stages": 3}
    found = [Case(BASE, "asyncio", "asyncio", options)]
    for backend in filter(has_backend, ("asyncio", "trio")):
        found.append(Case(f"anyio.run(nothing) / {backend}", "anyio", backend, options))
        found.append(Case(f"execute_sync / {backend}", "streamflow", backend, options))
        found.append(Case(f"in a session / {backend}", "session", backend, options))
    return found


def measure(case: Case) -> Sample:
    """Call it many times."""
    count = case.options["calls"]
    with contextlib.ExitStack() as until:
        call = _calls(case, until)
        for _ in range(max(count // 10, 1)):
            call()
        with Stopwatch() as watch:
            for _ in range(count):
                call()
    return watch.per(count)


def report(results: Results) -> Report:
    """Compare with an event loop that does nothing."""
    rows = [
        (
            label,
            number(results.best(label, "cpu_us"), 1),
            number(results.median(label, "cpu_us"), 1),
            number(results.median(label, "wall_us"), 1),
            times(results.ratio(label, BASE, "cpu_us")),
        )
        for label in results.cases
    ]
    table = Table("One blocking call, μs", ("call", "CPU min", "median", "wall median", f"÷ {BASE}"), rows)
    figures = {
        f"{way} ÷ {BASE}": results.ratio(f"{way} / asyncio", BASE, "cpu_us") for way in ("execute_sync", "in a session")
    }
    return Report([table], judged("execute_sync", figures))


if __name__ == "__main__":
    sys.exit(main(["execute_sync", *sys.argv[1:]]))

"""How long does it take until twenty busy stages have let go of their work?

Each stage passes an element on and then takes a minute over it, while more elements wait in front of it. Measured for each
barge-in: until `run.interrupt()` has returned, when nothing stale can leave any more; and until all stages have unwound, when
nothing of the old work is left. Pipecat runs beside it, in the environment of the peers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio

from streamflow import PipelineBuilder, TextElement, stage

from ._cli import main
from ._environment import PEERS_ENVIRONMENT, environment_python, packages_of
from ._harness import Case, Results, Sample, Scale, has_backend, run_on, share_of
from ._report import Goal, Report, Table

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (3, 1)

STAGES, QUEUED = 20, 10
OURS, PIPECAT = "streamflow", "pipecat"
LIMIT_MS = 5.0

_PROGRAM = Path(__file__).with_name("_pipecat_program.py")


def cases(scale: Scale) -> list[Case]:
    """Return both event loops, and pipecat if it is there."""
    options = {"interruptions": scale.size(200, 30)}
    found = [Case(f"{OURS} / {one}", OURS, one, options) for one in ("asyncio", "trio") if has_backend(one)]
    if not scale.quick and "pipecat-ai" in packages_of(PEERS_ENVIRONMENT):
        found.append(Case(f"{PIPECAT} / asyncio", PIPECAT, "asyncio", options))
    return found


def measure(case: Case) -> Sample:
    """Interrupt again and again; return how long each took, in milliseconds."""
    count = case.options["interruptions"]
    if case.peer == PIPECAT:
        program = [environment_python(PEERS_ENVIRONMENT), str(_PROGRAM), str(STAGES), str(count), str(QUEUED)]
        told = subprocess.run(program, check=True, capture_output=True, text=True, timeout=300).stdout
        return {"returned": [], "unwound": json.loads(told.splitlines()[-1])}
    returned: list[float] = []
    unwound: list[float] = []
    run_on(case.backend, lambda: _interrupt(count, returned, unwound))
    return {"returned": returned, "unwound": unwound}


async def _interrupt(count: int, returned: list[float], unwound: list[float]) -> None:
    busy: set[str] = set()
    all_busy = anyio.Event()

    def make(name: str) -> object:
        @stage(name=name)
        async def works(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
            async for element in stream:
                yield element
                busy.add(name)
                if len(busy) == STAGES:
                    all_busy.set()
                try:
                    await anyio.sleep(60)
                finally:
                    busy.discard(name)

        return works

    builder = PipelineBuilder().chain(*(make(f"s{number}") for number in range(STAGES)))  # type: ignore[arg-type]
    async with builder.build().execute() as run:
        for _ in range(count):
            all_busy = anyio.Event()
            for number in range(1 + QUEUED):
                await run.send(TextElement(str(number)))
            await all_busy.wait()
            begun = time.perf_counter()
            done = run.interrupt()
            returned.append((time.perf_counter() - begun) * 1000)
            await done.settled()
            unwound.append((time.perf_counter() - begun) * 1000)
            assert not busy
            assert len(done.cancelled) == STAGES
            await anyio.sleep(0.005)


def report(results: Results) -> Report:
    """Show the middle, the tail and the worst of all rounds together."""
    rows: list[tuple[str, ...]] = []
    goals: list[Goal] = []
    for label, samples in results.samples.items():
        for metric in ("returned", "unwound"):
            values: list[float] = [one for sample in samples for one in sample[metric]]
            if values:
                figures = (share_of(values, 0.5), share_of(values, 0.99), max(values))
                rows.append((f"{label}: {metric}", str(len(values)), *(f"{one:.2f}" for one in figures)))
            if metric == "unwound" and label.startswith(OURS):
                goals.append(Goal(f"{label}: unwound, 99th percentile", share_of(values, 0.99), LIMIT_MS, unit=" ms"))
    if not any(label.startswith(PIPECAT) for label in results.samples):
        rows.append(("pipecat is left out: a full run asks it, if it can be installed", "–", "–", "–", "–"))
    header = (f"{STAGES} busy stages, {QUEUED} elements queued ahead", "barge-ins", "p50 ms", "p99 ms", "max ms")
    return Report([Table("Time until a barge-in is done", header, rows)], goals)


if __name__ == "__main__":
    sys.exit(main(["interrupt", *sys.argv[1:]]))

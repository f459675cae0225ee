"""How long does it take until twenty busy stages have let go of their work?

Each stage passes an element on and then takes a minute over it, while more elements wait in front of it. Measured for each
barge-in: until `run.interrupt()` has returned, when nothing stale can leave any more; and until all stages have unwound, when
nothing of the old work is left. Pipecat runs beside it in an environment of its own, which a full run sets up once in
`benchmarks/.venv`.
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
from ._harness import Case, Results, Sample, Scale, has_backend, run_on
from ._report import Goal, Report, Table

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (5, 1)

STAGES, QUEUED = 20, 10
OURS, PIPECAT = "streamflow", "pipecat"
LIMIT_MS = 5.0

_HERE = Path(__file__).resolve().parent
_PIPECAT = _HERE / ".venv" / "bin" / "python"


def cases(scale: Scale) -> list[Case]:
    """Return both event loops, and pipecat if it is there."""
    options = {"interruptions": scale.size(200, 30)}
    found = [Case(f"{OURS} / {one}", OURS, one, options) for one in ("asyncio", "trio") if has_backend(one)]
    if _has_pipecat(may_install=not scale.quick and scale.elements is None):
        found.append(Case(f"{PIPECAT} / asyncio", PIPECAT, "asyncio", options))
    return found


def _has_pipecat(*, may_install: bool) -> bool:
    """Say whether there is an environment with pipecat; make one, if it may be made and can."""
    if not _PIPECAT.exists() and may_install:
        try:
            subprocess.run([sys.executable, "-m", "venv", str(_HERE / ".venv")], check=True, capture_output=True)
            install = [str(_PIPECAT), "-m", "pip", "install", "--quiet", "pipecat-ai>=1,<2"]
            subprocess.run(install, check=True, capture_output=True, timeout=600)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"pipecat is left out: it cannot be installed here ({type(error).__name__})", file=sys.stderr)
    if not _PIPECAT.exists():
        return False
    found = subprocess.run([str(_PIPECAT), "-m", "pip", "show", "pipecat-ai"], check=False, capture_output=True)
    return found.returncode == 0


def measure(case: Case) -> Sample:
    """Interrupt again and again; return how long each took, in milliseconds."""
    count = case.options["interruptions"]
    if case.peer == PIPECAT:
        program = [str(_PIPECAT), str(_HERE / "_pipecat_program.py"), str(STAGES), str(count), str(QUEUED)]
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


def _share(values: list[float], share: float) -> float:
    """Return the value below which this share of all lies."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def report(results: Results) -> Report:
    """Show the middle, the tail and the worst of all rounds together."""
    rows: list[tuple[str, ...]] = []
    goals: list[Goal] = []
    for label, samples in results.samples.items():
        for metric in ("returned", "unwound"):
            values: list[float] = [one for sample in samples for one in sample[metric]]
            if values:
                figures = (_share(values, 0.5), _share(values, 0.99), max(values))
                rows.append((f"{label}: {metric}", str(len(values)), *(f"{one:.2f}" for one in figures)))
            if metric == "unwound" and label.startswith(OURS):
                goals.append(Goal(f"{label}: unwound, 99th percentile", _share(values, 0.99), LIMIT_MS, unit=" ms"))
    if not any(label.startswith(PIPECAT) for label in results.samples):
        rows.append(("pipecat is not installed in benchmarks/.venv; a full run tries to", "–", "–", "–", "–"))
    header = (f"{STAGES} busy stages, {QUEUED} elements queued ahead", "barge-ins", "p50 ms", "p99 ms", "max ms")
    return Report([Table("Time until a barge-in is done", header, rows)], goals)


if __name__ == "__main__":
    sys.exit(main(["interrupt", *sys.argv[1:]]))

"""What do stages cost that are plain functions: a task each and batched, or all in one task, beside asyncio.Queue?

Every stage is a `MapStage` of a function that returns what it is given. asyncio.Queue's stages call no function. A source is an
async generator, which has a task of its own, or an iterable, which the task of the fused stages pulls in bursts. Go stands beside
them, for the scale of things: a goroutine for each stage.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable

from streamflow import TextElement

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale, Stopwatch, has_backend, run_on
from ._report import Report, Table, number, times
from .peers import Peer, Program, Shape, all_peers, find_peer, installed, text_elements
from .peers.ours import as_map, build, program_of

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (5, 3)

FEW, MANY, NARROW, WIDE = 3, 10, 16, 64
MAPS, FUSED, QUEUE, FLOOR = "maps", "fused", "asyncio.Queue", "bare generators"
ASYNC, BURSTS = "async", "iterable"


def _label(peer: str, backend: str, stages: int, capacity: int = NARROW, source: str = BURSTS) -> str:
    return f"{peer} / {backend} / {stages} / {capacity} / {source}"


def _case(scale: Scale, peer: str, backend: str, stages: int, *, capacity: int = NARROW, source: str = BURSTS) -> Case:
    options = {"stages": stages, "capacity": capacity, "source": source, "elements": scale.size(100_000, 20_000)}
    return Case(_label(peer, backend, stages, capacity, source), peer, backend, options)


def _foreign(scale: Scale, peer: Peer, stages: int) -> Case:
    (backend,) = peer.backends
    elements = max(int(scale.size(100_000, 20_000) * peer.share), 2)
    options = {"stages": stages, "capacity": NARROW, "source": "its own", "elements": elements}
    return Case(_label(peer.name, backend, stages), peer.name, backend, options, peer.environment)


def cases(scale: Scale) -> list[Case]:
    """Return what the goals compare; the same on trio; in a full run also on uvloop, and Go."""
    found = [
        *(_case(scale, QUEUE, "asyncio", stages) for stages in (FEW, MANY)),
        *(_case(scale, MAPS, "asyncio", stages) for stages in (FEW, MANY)),
        *(_case(scale, peer, "asyncio", stages, capacity=WIDE) for peer in (MAPS, FLOOR) for stages in (FEW, MANY)),
        *(
            _case(scale, FUSED, "asyncio", stages, source=source)
            for source in (ASYNC, BURSTS)
            for stages in (FEW, MANY)
        ),
    ]
    for backend in ("trio",) if scale.quick else ("trio", "uvloop"):
        if has_backend(backend):
            found += [_case(scale, MAPS, backend, FEW), _case(scale, FUSED, backend, FEW, source=ASYNC)]
    if not scale.quick:
        found += [
            _foreign(scale, peer, stages)
            for peer in all_peers()
            if peer.program is not None and installed(peer)
            for stages in (FEW, MANY)
        ]
    return found


def _program(peer: str, shape: Shape) -> Program:
    if peer in (QUEUE, FLOOR):
        return find_peer(peer).prepare(shape, None)
    return program_of(build(as_map, shape, fuse=peer == FUSED))


async def _awaited(elements: Iterable[TextElement]) -> AsyncIterator[TextElement]:
    for element in elements:
        yield element


def measure(case: Case) -> Sample:
    """Move all elements once, after a twentieth of them to warm up."""
    options, elements = case.options, case.options["elements"]
    shape = Shape(options["stages"], options["capacity"])
    if case.environment:
        foreign = find_peer(case.peer).program
        assert foreign is not None
        return foreign(shape, elements)
    program = _program(case.peer, shape)

    async def move(count: int) -> int:
        made = text_elements(count)
        return await program(_awaited(made) if options["source"] == ASYNC else made)

    async def run() -> Sample:
        await move(max(elements // 20, 1))
        with Stopwatch() as watch:
            arrived = await move(elements)
        if arrived != elements:
            message = f"{case.label}: {arrived} of {elements} elements arrived"
            raise RuntimeError(message)
        return watch.per(elements)

    return run_on(case.backend, run)


def _one_more(results: Results, peer: str, capacity: int) -> list[float]:
    few, many = (results.values(_label(peer, "asyncio", stages, capacity), "cpu_us") for stages in (FEW, MANY))
    return [(one - other) / (MANY - FEW) for one, other in zip(many, few, strict=True)]


def report(results: Results) -> Report:
    """Compare round by round."""
    rows = [
        (
            case.peer,
            case.backend,
            *(str(case.options[one]) for one in ("stages", "capacity", "source")),
            number(results.best(label, "cpu_us")),
            number(results.median(label, "cpu_us")),
            number(1000 / results.best(label, "cpu_us"), 0),
            times(results.ratio(label, _label(QUEUE, "asyncio", case.options["stages"]), "cpu_us")),
        )
        for label, case in results.cases.items()
    ]
    title = "Functions as stages, μs per element (ratios of CPU time: median over paired rounds)"
    head = ("peer", "loop", "stages", "capacity", "source", "CPU min", "median", "k el/s", f"÷ {QUEUE}")
    queue = _label(QUEUE, "asyncio", FEW)
    waited = _label(FUSED, "asyncio", FEW, source=ASYNC)
    steeper = Results([Case(MAPS), Case(FLOOR)])
    for peer in (MAPS, FLOOR):
        steeper.samples[peer] = [{"us": one} for one in _one_more(results, peer, WIDE)]
    figures = {
        f"maps ÷ {QUEUE}": results.ratio(_label(MAPS, "asyncio", FEW), queue, "cpu_us"),
        f"one more at capacity {WIDE}: maps ÷ bare generators": steeper.ratio(MAPS, FLOOR, "us"),
        "maps, trio ÷ asyncio": results.ratio(_label(MAPS, "trio", FEW), _label(MAPS, "asyncio", FEW), "cpu_us"),
        f"3 fused, async source ÷ {QUEUE}": results.ratio(waited, queue, "cpu_us"),
        f"10 fused, async source ÷ {QUEUE}": results.ratio(
            _label(FUSED, "asyncio", MANY, source=ASYNC), _label(QUEUE, "asyncio", MANY), "cpu_us"
        ),
        f"3 fused, source in bursts ÷ {QUEUE}": results.ratio(_label(FUSED, "asyncio", FEW), queue, "cpu_us"),
        "fused elements per second, best round": 1 / results.best(waited, "cpu_us"),
        "3 fused, trio ÷ asyncio": results.ratio(_label(FUSED, "trio", FEW, source=ASYNC), waited, "cpu_us"),
    }
    return Report([Table(title, head, rows)], judged("fusion", figures))


if __name__ == "__main__":
    sys.exit(main(["fusion", *sys.argv[1:]]))

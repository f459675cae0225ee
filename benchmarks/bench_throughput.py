"""What does an element cost that passes through three stages, and what does one more stage cost?

Every peer moves the same text elements from an iterable, through stages that change nothing, to a consumer that counts them;
capacity 16 wherever the peer has a buffer. The cost is everything divided by the elements: making them, source, stages, consumer.
An iterable needs no task of its own with streamflow, an async source does: the nearest are asked with such a source too.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

from streamflow import TextElement

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale, Stopwatch, run_on
from ._report import Bar, Report, Table, number, times
from .peers import Peer, Shape, all_peers, chosen, find_peer, installed, text_elements

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (5, 3)

FEW, MANY = 3, 10
OURS, PROCESS = "streamflow", "streamflow process"
QUEUE, ANYIO, FLOOR = "asyncio.Queue", "anyio streams", "bare generators"
RIVALS = ("Pipecat lean", "Pipecat stock", "genai Processor", "LCEL", "aiostream")
FORMS = {OURS: "generators", PROCESS: "async for and send"}
AWAITED = ", async source"


def _label(peer: str, backend: str, stages: int) -> str:
    return f"{peer} / {backend} / {stages}"


def _takes_many(peer: Peer, backend: str, *, quick: bool) -> bool:
    """Say whether it is asked what one more stage costs: the nearest, and in a quick run only on asyncio."""
    return peer.quick and peer.share >= 1 and (backend == "asyncio" or not quick)


def cases(scale: Scale) -> list[Case]:
    """Return every peer on each of its event loops; the fast ones with few and with many stages."""
    taking_part = chosen(scale)
    if not scale.quick:
        taking_part += [(peer, peer.backends[0]) for peer in all_peers() if peer.program and installed(peer)]
    found: list[Case] = []
    for peer, backend in taking_part:
        elements = max(int(scale.size(100_000, 20_000) * peer.share), 2)
        options: dict[str, Any] = {"stages": FEW, "capacity": 16, "elements": elements}
        found.append(Case(_label(peer.name, backend, FEW), peer.name, backend, options, peer.environment))
        if _takes_many(peer, backend, quick=scale.quick):
            found.append(Case(_label(peer.name, backend, MANY), peer.name, backend, {**options, "stages": MANY}))
        if peer.name in (OURS, QUEUE) and backend == "asyncio" and not scale.quick:
            found.append(
                Case(_label(peer.name + AWAITED, backend, FEW), peer.name, backend, {**options, "waits": True})
            )
    return found


async def _awaited(count: int) -> AsyncIterator[TextElement]:
    for element in text_elements(count):
        yield element


def measure(case: Case) -> Sample:
    """Move all elements once, after a twentieth of them to warm up."""
    options, peer = case.options, find_peer(case.peer)
    elements, shape = options["elements"], Shape(options["stages"], options["capacity"])
    if peer.program is not None:
        return peer.program(shape, elements)
    program = peer.prepare(shape, None)
    source = _awaited if options.get("waits") else text_elements

    async def main() -> Sample:
        await program(source(max(elements // 20, 1)))
        with Stopwatch() as watch:
            arrived = await program(source(elements))
        if arrived != elements:
            message = f"{case.label}: {arrived} of {elements} elements arrived"
            raise RuntimeError(message)
        return watch.per(elements)

    return run_on(case.backend, main)


def _who(case: Case) -> str:
    return case.label.partition(" / ")[0]


def report(results: Results) -> Report:
    """Compare with the floor and with asyncio.Queue, round by round."""
    floor, queue = _label(FLOOR, "asyncio", FEW), _label(QUEUE, "asyncio", FEW)
    ordered = sorted(results.cases.items(), key=lambda item: results.best(item[0], "cpu_us"))
    few = [(label, case) for label, case in ordered if case.options["stages"] == FEW]
    rows = [
        (
            _who(case),
            case.backend,
            number(results.best(label, "cpu_us")),
            number(results.median(label, "cpu_us")),
            number(results.median(label, "wall_us")),
            number(1000 / results.best(label, "cpu_us"), 0),
            times(results.ratio(label, queue, "cpu_us")),
            times(results.ratio(label, floor, "cpu_us")),
        )
        for label, case in few
    ]
    whole = Table(
        f"{FEW} stages, μs per element (ratios of CPU time: median over paired rounds)",
        ("peer", "loop", "CPU min", "median", "wall median", "k el/s", f"÷ {QUEUE}", "÷ floor"),
        rows,
    )
    bars = [
        Bar(
            f"{_who(case)}, {case.backend}",
            results.median(label, "cpu_us"),
            case.peer.startswith(OURS),
            results.ratio(label, queue, "cpu_us"),
        )
        for label, case in few
    ]
    says = f"An element through {FEW} stages, CPU μs"
    return Report([whole, _slopes(results)], judged("throughput", _figures(results)), bars=bars, bars_of=says)


def _with_slopes(results: Results) -> Results:
    """Return what one more stage costs, the cleanest figure, because source, consumer and start-up cancel out."""
    slopes = Results([case for case in results.cases.values() if case.options["stages"] == MANY])
    for label, case in slopes.cases.items():
        few = results.values(_label(case.peer, case.backend, FEW), "cpu_us")
        pairs = zip(results.values(label, "cpu_us"), few, strict=True)
        slopes.samples[label] = [{"cpu_us": (one - other) / (MANY - FEW)} for one, other in pairs]
    return slopes


def _slopes(results: Results) -> Table:
    slopes = _with_slopes(results)
    queue = _label(QUEUE, "asyncio", MANY)
    rows = [
        (
            case.peer,
            case.backend,
            number(slopes.best(label, "cpu_us"), 3),
            number(slopes.median(label, "cpu_us"), 3),
            times(slopes.ratio(label, queue, "cpu_us")),
        )
        for label, case in slopes.cases.items()
    ]
    title = f"One more stage, CPU μs per element: ({MANY} stages − {FEW} stages) ÷ {MANY - FEW}"
    return Table(title, ("peer", "loop", "min", "median", f"÷ {QUEUE}"), rows)


def _figures(results: Results) -> dict[str, float]:
    def ratio(of: Results, one: tuple[str, str], other: tuple[str, str], stages: int) -> float:
        return of.ratio(_label(*one, stages), _label(*other, stages), "cpu_us")

    slopes, queue = _with_slopes(results), (QUEUE, "asyncio")
    ours, ours_on_trio = (OURS, "asyncio"), (OURS, "trio")
    return {
        **{f"{form} ÷ {QUEUE}": ratio(results, (peer, "asyncio"), queue, FEW) for peer, form in FORMS.items()},
        f"{ANYIO} ÷ generators": ratio(results, (ANYIO, "asyncio"), ours, FEW),
        f"{ANYIO} ÷ generators, trio": ratio(results, (ANYIO, "trio"), ours_on_trio, FEW),
        **{f"{rival} ÷ generators": ratio(results, (rival, "asyncio"), ours, FEW) for rival in RIVALS},
        **{
            f"{form}, trio ÷ asyncio": ratio(results, (peer, "trio"), (peer, "asyncio"), FEW)
            for peer, form in FORMS.items()
        },
        **{
            f"one more: {form} ÷ {QUEUE}": ratio(slopes, (peer, "asyncio"), queue, MANY) for peer, form in FORMS.items()
        },
        "one more: generators, trio ÷ asyncio": ratio(slopes, ours_on_trio, ours, MANY),
    }


if __name__ == "__main__":
    sys.exit(main(["throughput", *sys.argv[1:]]))

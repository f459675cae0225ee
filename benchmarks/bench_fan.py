"""What does it cost to give an element to many branches, and to take elements from many producers?

Tee: one stage, and a copy for each branch, whose consumer counts. Merge: so many producers, whose elements one consumer takes as
they come. asyncio.Queue has a queue for each branch, and one for all producers; anyio streams likewise. An edge for each producer
has room for more elements than one queue of the same capacity; so a queue with as much room is asked, too.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import anyio

from streamflow import PipelineBuilder, PipelineConfig, ReceiveEnd, SendEnd, StageKind, TextElement, stage

from ._cli import main
from ._goals import judged
from ._harness import Case, Results, Sample, Scale, Stopwatch, has_backend, run_on
from ._report import Report, Table, number, times
from .peers import text_elements
from .peers.ours import as_generator

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (5, 3)

OURS, QUEUE, ROOMY, ANYIO = "streamflow", "asyncio.Queue", "asyncio.Queue, as much room", "anyio streams"
TEE, MERGE = "tee", "merge"
WIDTHS = (2, 8, 32, 64)
CAPACITY = 16

Fan: TypeAlias = Callable[[int], Awaitable[int]]
"""Moves so many elements from the source, or from each producer; returns how many arrived."""

_END = object()


def _label(kind: str, peer: str, width: int, backend: str = "asyncio") -> str:
    return f"{kind} / {peer} / {backend} / {width}"


def cases(scale: Scale) -> list[Case]:
    """Return both kinds at every width, for each peer."""
    elements = scale.size(100_000, 40_000)
    peers = [
        (OURS, "asyncio"),
        (QUEUE, "asyncio"),
        *([(OURS, "trio")] if has_backend("trio") and not scale.quick else []),
    ]
    found = [(kind, *peer, width, elements) for kind in (TEE, MERGE) for width in WIDTHS for peer in peers]
    found += [(MERGE, ROOMY, "asyncio", width, elements) for width in (8, 64)]
    found += [(kind, ANYIO, "asyncio", 8, elements // 5) for kind in (TEE, MERGE)]
    return [
        Case(
            _label(kind, peer, width, backend),
            peer,
            backend,
            {"kind": kind, "width": width, "each": max(count // width, 2)},
        )
        for kind, peer, backend, width, count in found
    ]


def _our_tee(width: int) -> Fan:
    arrived = 0

    def consumer(number: int) -> Any:
        async def count(input: ReceiveEnd[TextElement], _output: SendEnd[TextElement]) -> None:
            nonlocal arrived
            async for _element in input:
                arrived += 1

        return stage(name=f"c{number}", kind=StageKind.SINK)(count)

    head = as_generator(0)
    builder = PipelineBuilder(PipelineConfig(buffer_size=CAPACITY)).chain(head)
    pipeline = builder.branch(head, *map(consumer, range(width))).build()

    async def run(count: int) -> int:
        nonlocal arrived
        arrived = 0
        async with pipeline.execute(text_elements(count)) as run:
            async for _element in run:
                pass
        return arrived

    return run


def _our_merge(width: int) -> Fan:
    count = 0

    def producer(number: int) -> Any:
        async def make() -> AsyncIterator[TextElement]:
            for element in text_elements(count):
                yield element

        return stage(name=f"p{number}")(make)

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=CAPACITY)).add(*map(producer, range(width))).build()

    async def run(each: int) -> int:
        nonlocal count
        count, arrived = each, 0
        async with pipeline.execute() as run:
            async for _element in run:
                arrived += 1
        return arrived - 1  # the last one is EndOfStream

    return run


async def _queue_source(output: asyncio.Queue[Any], count: int) -> None:
    for element in text_elements(count):
        await output.put(element)
    await output.put(_END)


async def _queue_consumer(input: asyncio.Queue[Any]) -> int:
    arrived = 0
    while await input.get() is not _END:
        arrived += 1
    return arrived


def _queue_tee(width: int) -> Fan:
    async def tee(input: asyncio.Queue[Any], outputs: list[asyncio.Queue[Any]]) -> None:
        element = None
        while element is not _END:
            element = await input.get()
            for output in outputs:
                await output.put(element)

    async def run(count: int) -> int:
        first: asyncio.Queue[Any] = asyncio.Queue(CAPACITY)
        branches: list[asyncio.Queue[Any]] = [asyncio.Queue(CAPACITY) for _ in range(width)]
        async with asyncio.TaskGroup() as group:
            group.create_task(_queue_source(first, count))
            group.create_task(tee(first, branches))
            consumers = [group.create_task(_queue_consumer(one)) for one in branches]
        return sum(one.result() for one in consumers)

    return run


def _queue_merge(width: int, capacity: int = CAPACITY) -> Fan:
    async def run(each: int) -> int:
        shared: asyncio.Queue[Any] = asyncio.Queue(capacity)
        arrived, left = 0, width
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(_queue_source(shared, each))
            while left:
                if await shared.get() is _END:
                    left -= 1
                else:
                    arrived += 1
        return arrived

    return run


async def _anyio_source(output: Any, count: int) -> None:
    async with output:
        for element in text_elements(count):
            await output.send(element)


def _anyio_tee(width: int) -> Fan:
    async def run(count: int) -> int:
        arrived = 0
        first = anyio.create_memory_object_stream[Any](CAPACITY)
        branches = [anyio.create_memory_object_stream[Any](CAPACITY) for _ in range(width)]

        async def tee() -> None:
            async with first[1]:
                async for element in first[1]:
                    for output, _ in branches:
                        await output.send(element)
            for output, _ in branches:
                output.close()

        async def consume(input: Any) -> None:
            nonlocal arrived
            async with input:
                async for _element in input:
                    arrived += 1

        async with anyio.create_task_group() as group:
            group.start_soon(_anyio_source, first[0], count)
            group.start_soon(tee)
            for _, input in branches:
                group.start_soon(consume, input)
        return arrived

    return run


def _anyio_merge(width: int) -> Fan:
    async def run(each: int) -> int:
        arrived = 0
        send, receive = anyio.create_memory_object_stream[Any](CAPACITY)
        async with anyio.create_task_group() as group, receive:
            for _ in range(width):
                group.start_soon(_anyio_source, send.clone(), each)
            send.close()
            async for _element in receive:
                arrived += 1
        return arrived

    return run


_FANS: dict[tuple[str, str], Callable[[int], Fan]] = {
    (TEE, OURS): _our_tee,
    (MERGE, OURS): _our_merge,
    (TEE, QUEUE): _queue_tee,
    (MERGE, QUEUE): _queue_merge,
    (MERGE, ROOMY): lambda width: _queue_merge(width, width * CAPACITY),
    (TEE, ANYIO): _anyio_tee,
    (MERGE, ANYIO): _anyio_merge,
}


def measure(case: Case) -> Sample:
    """Move all elements once, after a few to warm up."""
    kind, width, each = (case.options[one] for one in ("kind", "width", "each"))
    fan = _FANS[kind, case.peer](width)

    async def run() -> Sample:
        await fan(max(each // 20, 1))
        with Stopwatch() as watch:
            arrived = await fan(each)
        if arrived != each * width:
            message = f"{case.label}: {arrived} of {each * width} elements arrived"
            raise RuntimeError(message)
        return watch.per(each * width)

    return run_on(case.backend, run)


def report(results: Results) -> Report:
    """Compare with asyncio.Queue at the same width, round by round."""
    rows = [
        (
            case.options["kind"],
            str(case.options["width"]),
            case.peer,
            case.backend,
            number(results.best(label, "cpu_us")),
            number(results.median(label, "cpu_us")),
            times(results.ratio(label, _label(case.options["kind"], QUEUE, case.options["width"]), "cpu_us")),
        )
        for label, case in results.cases.items()
    ]
    header = ("fan", "width", "peer", "loop", "CPU min", "median", f"÷ {QUEUE}")

    def beside(kind: str, width: int) -> float:
        return results.ratio(_label(kind, OURS, width), _label(kind, QUEUE, width), "cpu_us")

    figures = {
        **{f"tee to {width}: {OURS} ÷ {QUEUE}": beside(TEE, width) for width in (8, 32, 64)},
        f"merge of 64: {OURS} ÷ {QUEUE}": beside(MERGE, 64),
        "merge of 64 ÷ merge of 2": results.ratio(_label(MERGE, OURS, 64), _label(MERGE, OURS, 2), "cpu_us"),
    }
    title = f"Capacity {CAPACITY}, μs per element that a branch gets, or that comes out of a merge"
    return Report([Table(title, header, rows)], judged("fan", figures))


if __name__ == "__main__":
    sys.exit(main(["fan", *sys.argv[1:]]))

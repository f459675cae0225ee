"""Where does the time of one hop go?

`python -m benchmarks.profile_hop [asyncio|trio]`. A hop is one more stage: what 10 stages cost more than 3, for each stage and
element. Its parts are measured by themselves, because a profiler in the hot path costs more than the path:

- *the stage's own frame*: what one more bare async generator costs;
- *receive* and *send*: our fast paths, over a channel that has elements, or room, so that nobody waits;
- *waiting*: how often a task is suspended for each element and stage (counted), times what one suspension costs. That is taken from
  capacities 8 and 32, which differ in nothing else. Of it, *the loop's share* is what waking a task costs without a channel.

What the parts leave over is printed as such. Below it, what a hop calls, and how often: counted by cProfile, whose counts are exact
and whose times, which are not, are left out.
"""

from __future__ import annotations

import cProfile
import functools
import pstats
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import anyio

from streamflow import ReceiveEnd, SendEnd, TextElement, open_channel
from streamflow.channels._wait import Waiter, open_round, waiter_factory

from ._cli import print_machine
from ._harness import Stopwatch, run_on
from ._report import Table, number
from .peers import Shape, find_peer, text_elements

__all__ = ["call_table", "main", "part_table"]

FEW, MANY = 3, 10
CAPACITY, NARROW, WIDE = 16, 8, 32
BATCH = 64  # the widest channel without checkpoints of its own
OURS, FLOOR = "streamflow", "bare generators"


async def _run(peer: str, stages: int, capacity: int, elements: int) -> None:
    await find_peer(peer).prepare(Shape(stages, capacity), None)(text_elements(elements))


async def _hop_us(peer: str, capacity: int, elements: int, repeats: int) -> float:
    """Return what one more stage costs: the least of several tries, few and many stages in turn."""
    spent: dict[int, list[float]] = {FEW: [], MANY: []}
    for _ in range(repeats):
        for stages, found in spent.items():
            with Stopwatch() as watch:
                await _run(peer, stages, capacity, elements)
            found.append(watch.cpu_s / elements * 1e6)
    return (min(spent[MANY]) - min(spent[FEW])) / (MANY - FEW)


async def _elements(count: int) -> AsyncIterator[TextElement]:
    element = TextElement("x")
    for _ in range(count):
        yield element


async def _fast_paths_us(repeats: int) -> tuple[float, float]:
    """Return what `async for` over a channel costs, and what `send_all` costs beyond iterating what it sends."""
    empty, sending, receiving = [], [], []
    for _ in range(repeats):
        send: SendEnd[TextElement]
        receive: ReceiveEnd[TextElement]
        send, receive = open_channel(BATCH)
        await send.send(TextElement("x"))  # the first of its type goes the long way
        await receive.receive()
        moments = [time.perf_counter()]
        async for _element in _elements(BATCH):
            pass
        moments.append(time.perf_counter())
        await send.send_all(_elements(BATCH))
        moments.append(time.perf_counter())
        send.close()
        moments.append(time.perf_counter())
        async for _element in receive:
            pass
        moments.append(time.perf_counter())
        empty.append(moments[1] - moments[0])
        sending.append(moments[2] - moments[1])
        receiving.append(moments[4] - moments[3])
    return min(receiving) / BATCH * 1e6, (min(sending) - min(empty)) / BATCH * 1e6


class _AsyncioWaits:
    """Counts the futures that are made, one for each wait."""

    def __init__(self) -> None:
        self.count = 0
        self._round: Any = open_round()  # that of all runs of this loop, for as long as somebody holds it
        self._make = self._round.make_waiter

    def __enter__(self) -> Self:
        self._round.make_waiter = self._counted
        return self

    def __exit__(self, *_: object) -> None:
        self._round.make_waiter = self._make

    def _counted(self) -> Waiter:
        self.count += 1
        return self._make()


class _TrioWaits:
    """Counts the steps of tasks, one for each wait."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        sys.modules["trio"].lowlevel.add_instrument(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.modules["trio"].lowlevel.remove_instrument(self)

    def before_task_step(self, _task: object) -> None:
        """Called by trio."""
        self.count += 1


async def _waits(backend: str, capacity: int, elements: int) -> float:
    """Return how often one more stage makes a task wait, per element."""
    counts: list[int] = []
    for stages in (FEW, MANY):
        with _TrioWaits() if backend == "trio" else _AsyncioWaits() as counted:
            await _run(OURS, stages, capacity, elements)
        counts.append(counted.count)
    return (counts[1] - counts[0]) / (MANY - FEW) / elements


class _Pair:
    """Two tasks that wake each other in turn."""

    def __init__(self, steps: int) -> None:
        self._left = {0: steps, 1: steps}
        self._waiting: dict[int, Any] = {}
        self._make = waiter_factory()

    async def run(self, side: int) -> None:
        while self._left[side]:
            self._left[side] -= 1
            self._wake_other(side)
            if self._left[1 - side]:
                self._waiting[side] = self._make()
                await self._waiting[side]
        self._wake_other(side)

    def _wake_other(self, side: int) -> None:
        waiter = self._waiting.get(1 - side)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


async def _bare_wait_us(elements: int, repeats: int) -> float:
    """Return what one wait costs without a channel, five of ten tasks ready in each turn of the loop, as in a chain of three."""
    steps = max(elements // 10, 1)
    spent: list[float] = []
    for _ in range(repeats):
        pairs = [_Pair(steps) for _ in range(5)]
        with Stopwatch() as watch:
            async with anyio.create_task_group() as group:
                for pair in pairs:
                    group.start_soon(pair.run, 0)
                    group.start_soon(pair.run, 1)
        spent.append(watch.cpu_s)
    return min(spent) / (10 * steps) * 1e6


async def part_table(backend: str, elements: int = 20_000, repeats: int = 7) -> Table:
    """Return the parts of a hop."""
    hop = await _hop_us(OURS, CAPACITY, elements, repeats)
    frame = await _hop_us(FLOOR, CAPACITY, elements, repeats)
    receive, send = await _fast_paths_us(repeats * 100)
    narrow, wide = [await _hop_us(OURS, capacity, elements, repeats) for capacity in (NARROW, WIDE)]
    waits = {capacity: await _waits(backend, capacity, elements) for capacity in (NARROW, CAPACITY, WIDE)}
    one_wait = (narrow - wide) / (waits[NARROW] - waits[WIDE])
    bare_wait = await _bare_wait_us(elements, repeats)
    waiting, looping = waits[CAPACITY] * one_wait, waits[CAPACITY] * bare_wait
    parts = [
        ("the stage's own frame", frame),
        ("receive, fast path", receive),
        ("send, fast path", send),
        ("waiting: the loop's share", looping),
        ("waiting: the channel's share", waiting - looping),
        ("left over", hop - frame - receive - send - waiting),
        ("one hop, measured", hop),
    ]
    title = (
        f"One hop on {backend}, capacity {CAPACITY}: CPU μs per element. A task waits {waits[CAPACITY]:.3f} times per element and "
        f"stage;\none wait costs {one_wait:.2f} μs with its channel, {bare_wait:.2f} μs without."
    )
    return Table(title, ("part", "μs", "share"), [(name, number(us, 3), f"{us / hop:.0%}") for name, us in parts])


async def _calls(stages: int, elements: int) -> dict[str, int]:
    profile = cProfile.Profile()
    profile.enable()
    try:
        await _run(OURS, stages, CAPACITY, elements)
    finally:
        profile.disable()
    found: dict[str, int] = {}
    for (file, _line, function), (_primitive, calls, *_) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        name = function if file == "~" else f"{Path(file).parent.name}/{Path(file).name} {function}"
        found[name] = found.get(name, 0) + calls
    return found


async def call_table(backend: str, elements: int = 5_000) -> Table:
    """Return what a hop calls, and how often; what is called less than once in ten elements is left out."""
    few, many = await _calls(FEW, elements), await _calls(MANY, elements)
    per_hop = {name: (calls - few.get(name, 0)) / (MANY - FEW) / elements for name, calls in many.items()}
    rows = [
        (name, number(calls, 3)) for name, calls in sorted(per_hop.items(), key=lambda item: -item[1]) if calls > 0.01
    ]
    return Table(
        f"What one hop calls on {backend}, times per element (resuming counts as a call)", ("function", "calls"), rows
    )


def main(backends: list[str]) -> None:
    """Print both tables for each event loop."""
    print_machine()
    tables: list[Callable[[str], Awaitable[Table]]] = [part_table, call_table]
    for backend in backends or ["asyncio", "trio"]:
        for table in tables:
            print(f"\n{run_on(backend, functools.partial(table, backend))}")


if __name__ == "__main__":
    main(sys.argv[1:])

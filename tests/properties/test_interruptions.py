"""Interruptions at any moment, on chains of all forms of stages: nothing stale leaves, nothing that must arrive is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import anyio
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    EndOfStream,
    FilterStage,
    FlatMapStage,
    MapAsyncStage,
    MapStage,
    Message,
    MessageElement,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    StreamElement,
    TextElement,
    TurnEnd,
    stage,
    turn_scope,
)
from streamflow.elements import survives_interruption
from streamflow.stages import DelayStage
from streamflow.testing import EdgeLedger

if TYPE_CHECKING:
    from streamflow import ReceiveEnd, Run, SendEnd


async def _later(element: StreamElement) -> StreamElement:
    await anyio.sleep(0.3)
    return element


async def _true_later(element: StreamElement) -> bool:
    await anyio.sleep(0.2)
    return element is not None


async def _each_later(element: StreamElement) -> AsyncIterator[StreamElement]:
    await anyio.sleep(0.1)
    yield element


async def _fenced(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
    async for element in stream:
        await anyio.sleep(0.3)
        yield element


async def _scoped(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
    async for element in input:
        async with turn_scope(element):
            await anyio.sleep(0.3)
            await output.send(element)


async def _waits(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
    async for element in stream:
        yield element


FORMS: dict[str, Any] = {
    "passes": lambda name: PassthroughStage(name=name),
    "map": lambda name: MapStage(lambda element: element, name=name),
    "async map": lambda name: MapStage(_later, name=name),
    "async filter": lambda name: FilterStage(_true_later, name=name),
    "async flat map": lambda name: FlatMapStage(_each_later, name=name),
    "concurrent map": lambda name: MapAsyncStage(_later, concurrency=3, name=name),
    "fenced": lambda name: stage(name=name, on_interrupt="fence")(_fenced),
    "scoped": lambda name: stage(name=name, on_interrupt="fence")(_scoped),
    "re-entered": lambda name: stage(name=name)(_waits),
    "delay": lambda name: DelayStage(0.4, max_held=3, name=name),
}


def _element(number: int, kind: str) -> StreamElement:
    if kind == "whole":
        return MessageElement(Message("user", str(number)), id=str(number))
    if kind == "control":
        return TurnEnd(index=number, id=str(number))
    return TextElement(str(number), id=str(number), interruptible=kind == "fragment")


@dataclasses.dataclass(frozen=True)
class Plan:
    """One schedule."""

    forms: list[str]
    """The stages."""
    kinds: list[str]
    """The elements that are sent."""
    gaps: list[float]
    """Pauses between them, again and again."""
    pauses: list[float]
    """Pauses of the consumer, again and again."""
    times: list[float]
    """Pauses before the interruptions."""
    capacity: int
    lanes: bool


PLANS = st.builds(
    Plan,
    forms=st.lists(st.sampled_from(sorted(FORMS)), min_size=1, max_size=4),
    kinds=st.lists(st.sampled_from(["fragment", "fragment", "kept", "whole", "control"]), min_size=1, max_size=14),
    gaps=st.lists(st.sampled_from([0.0, 0.0, 0.1, 0.35]), min_size=1, max_size=3),
    pauses=st.lists(st.sampled_from([0.0, 0.0, 0.25, 1.0]), min_size=1, max_size=3),
    times=st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.3, 0.45, 1.0]), min_size=1, max_size=5),
    capacity=st.integers(1, 4),
    lanes=st.booleans(),
)


class _Session:
    """Feeds a run, interrupts it and reads it, each in a task of its own, and keeps the account."""

    def __init__(self, run: Run, plan: Plan) -> None:
        self._run = run
        self._plan = plan
        self.offered: list[StreamElement] = []
        self.stale: set[int] = set()
        self.got: list[StreamElement] = []
        self.wrong: list[StreamElement] = []

    async def feed(self) -> None:
        gaps = self._plan.gaps
        for number, kind in enumerate(self._plan.kinds):
            element = _element(number, kind)
            self.offered.append(element)
            await self._run.send(element)
            if gaps[number % len(gaps)]:
                await anyio.sleep(gaps[number % len(gaps)])
        self._run.close_input()

    async def interrupt(self) -> None:
        for pause in self._plan.times:
            await anyio.sleep(pause)
            self.stale = {int(one.id) for one in self.offered if not survives_interruption(one)}
            done = self._run.interrupt()
            await done.settled()
            assert not done.unwinding

    async def read(self) -> None:
        pauses = self._plan.pauses
        async for element in self._run:
            if isinstance(element, EndOfStream):
                break
            self.got.append(element)
            if not survives_interruption(element) and int(element.id) in self.stale:
                self.wrong.append(element)
            if pauses[len(self.got) % len(pauses)]:
                await anyio.sleep(pauses[len(self.got) % len(pauses)])


async def check(plan: Plan) -> None:
    """Run one schedule."""
    stages = [FORMS[form](f"s{number}") for number, form in enumerate(plan.forms)]
    config = PipelineConfig(buffer_size=plan.capacity, priority=plan.capacity >= 4 and plan.lanes)
    pipeline = PipelineBuilder(config=config).chain(*stages).build()
    with EdgeLedger() as ledger:
        async with pipeline.execute() as run:
            session = _Session(run, plan)
            with anyio.fail_after(1000):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(session.feed)
                    tasks.start_soon(session.interrupt)
                    tasks.start_soon(session.read)
            assert run.epoch == run.stats().interruptions <= len(plan.times)
    if not config.priority:  # the ledger knows no lanes
        ledger.check(ended=True)
    assert not session.wrong
    must = [one.id for one in session.offered if survives_interruption(one)]
    got = [one.id for one in session.got if survives_interruption(one)]
    assert got == must
    ids = [int(one.id) for one in session.got]
    assert ids == sorted(set(ids))


@given(plan=PLANS)
async def test_nothing_stale_leaves_and_all_that_must_arrive_does(plan: Plan) -> None:
    """semantics 5.11: nothing stale leaves after an interruption, the rest arrives once and in order; the books balance.

    In the profile `thorough` 2,000 schedules on each event loop.
    """
    await check(plan)

"""Rules of demand: a stage streams, waits for its reader, keeps its bound, and leaves other tasks their turns.

Above: `check_stage`, which loads them. Below: `_stage_case`. Source: Reactive Streams (1.1, 3.3), Pekko's tests, engines' practice.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import anyio
from anyio.lowlevel import checkpoint

from ..elements import EndOfStream, StreamElement, TurnEnd
from ..errors import ChannelBusyError
from ..stages import StageKind, as_stage
from ._conformance import rule
from ._ledger import EdgeLedger
from ._stage_case import (
    CountingSource,
    StageTrial,
    agree,
    collected,
    expected,
    given,
    lengths,
    need_input,
    need_output,
    pipeline_of,
    reference,
    running,
    take,
    unfinished,
)
from ._tasks import tasks_alive

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..runtime import Run

__all__: list[str] = []

_TURN: Final = 64
"""Most elements that a task may move before others have their turn."""
_REST_S: Final = 100.0
"""Time without an element after which none comes any more. No longer: a stage that looks around meanwhile does that often."""
_RESTS: Final = 10
"""How many of these all edges may take to fill."""
_STEADY: Final = 10
"""Elements after which a stage has started all tasks that it needs."""


@rule(
    "SF-12",
    "Behind a reader that has stopped, the stage stops too, and so does its source.",
    holds="5.5",
    subject="stage",
)
async def _reader_stops(trial: StageTrial) -> None:
    need_input(trial)
    need_output(trial)
    items = lengths(trial, 3)[-1]
    source = CountingSource(await _round(trial, items), forever=True)
    with EdgeLedger() as ledger:
        pipeline = pipeline_of(trial)
        async with running(trial, pipeline, source) as run:
            for taken in (0, 1):
                given(trial, items, f"over and over; the reader takes {taken} and stops")
                await take(run, taken)
                moved = -1
                for _ in range(_RESTS):  # until the calls in hand have ended, those in threads too, and edges are full
                    before = len(source.given)
                    await trial.rest(_REST_S)
                    moved = len(source.given) - before
                    if not moved:
                        break
                trial.require(
                    not moved, f"the source gave {moved} more elements in the last {_REST_S:g} seconds, and nobody read"
                )
    ledger.check()


async def _round(trial: StageTrial, items: list[StreamElement]) -> list[StreamElement]:
    """Return what an endless source gives over and over.

    What accumulates gets the end of a turn to flush on; and what drops all that it has seen before, which stops nobody, gets it for
    something to come out.
    """
    again = len(await reference(trial, items * 3)) > len(await reference(trial, items * 2))
    return items if again and trial.subject.kind is not StageKind.ACCUMULATE else [*items, TurnEnd()]


@rule(
    "SF-13",
    "A slow reader gets everything, and no edge holds more than its capacity meanwhile.",
    holds="2.1",
    subject="stage",
)
async def _slow_reader(trial: StageTrial) -> None:
    need_output(trial)
    _need_untimed(trial)
    for items in lengths(trial, 1, 3, 20):
        wanted = await expected(trial, items)
        for how, pause_s in _paces(trial):
            given(trial, items, f"read {how}")
            got: list[StreamElement] = []
            with EdgeLedger() as ledger:
                async with running(trial, pipeline_of(trial), CountingSource(items)) as run:
                    async for element in run:
                        await trial.rest(pause_s())
                        got.append(element)
            agree(trial, [one for one in got if not isinstance(one, EndOfStream)], wanted)
            ledger.check(ended=True)


def _paces(trial: StageTrial) -> list[tuple[str, Callable[[], float]]]:
    chance = random.Random(0)  # noqa: S311 - no secret: the same in every variant
    return [("at one element per second", lambda: 1.0), *[("at a random pace", chance.random)] * trial.effort]


@rule("SF-14", "Streaming is real: what elements give leaves before the next ones come.", holds="5.4", subject="stage")
async def _streaming(trial: StageTrial) -> None:
    need_input(trial)
    need_output(trial)
    items = await unfinished(trial, lengths(trial, 3)[-1])
    await _one_at_a_time(trial, items)
    given(trial, items, "over and over, and the input stays open")
    async with running(trial, pipeline_of(trial), CountingSource(await _round(trial, items), forever=True)) as run:
        first = await take(run, 1)
    trial.require(first and not isinstance(first[0], EndOfStream), "nothing came out while the input was open")


async def _one_at_a_time(trial: StageTrial, items: list[StreamElement]) -> None:
    """Feed a stage that holds nothing back by hand, and look after each element whether all that it gives has come."""
    case = trial.subject
    if case.kind is not StageKind.TRANSFORM or as_stage(case.make()).holds_back or case.timed:
        return
    pipeline = pipeline_of(trial)
    got: list[StreamElement] = []
    async with pipeline.execute(deps=case.deps) as run, anyio.create_task_group() as tasks:

        async def read() -> None:
            async for element in run:
                got.append(element)  # noqa: PERF401 - looked at meanwhile

        tasks.start_soon(read)
        for count, item in enumerate(items, 1):
            given(trial, items[:count], "one by one, a minute between them")
            await run.send(item)
            await trial.rest(60)
            wanted = len(await reference(trial, items[:count]))
            trial.require(
                not case.deterministic or len(got) >= wanted,
                f"a minute after element #{count - 1} only {len(got)} of {wanted} elements had come out",
            )
        run.close_input()


@rule("SF-16", "A long stream needs no more tasks than a short one.", holds="5.5", subject="stage", heavy=True)
async def _long_stream(trial: StageTrial) -> None:
    need_input(trial)
    long = lengths(trial, 300 * trial.effort)[-1]
    given(trial, long)
    before, most = len(tasks_alive()), [0, 0]
    source = CountingSource(long)

    def look() -> float:
        late = len(source.given) > _STEADY
        most[late] = max(most[late], len(tasks_alive()) - before)
        return 0.0

    source.pause_s = look
    await collected(trial, pipeline_of(trial), source)
    allowed = max(most[0], 1) * 2 + _allowed_calls(trial)
    trial.require(most[1] <= allowed, f"{most[1]} tasks were alive in the middle, {most[0]} after {_STEADY} elements")


def _allowed_calls(trial: StageTrial) -> int:
    held = as_stage(trial.subject.make()).max_held
    return 16 if held is None else held


@rule(
    "SF-17",
    "A second task that asks a run for its next element is refused at once, and the first one loses nothing.",
    holds="2.1",
    subject="stage",
    level="stochastic",
)
async def _two_readers(trial: StageTrial) -> None:
    need_output(trial)
    items = lengths(trial, 3)[-1]
    given(trial, items, "two tasks read")
    got: list[StreamElement] = []

    async def read(run: Run) -> None:
        while True:
            try:
                element = await anext(run)
            except StopAsyncIteration:
                return
            except ChannelBusyError:
                await trial.rest(0.25)
                continue
            if not isinstance(element, EndOfStream):
                got.append(element)

    async with running(trial, pipeline_of(trial), items) as run, anyio.create_task_group() as tasks:
        tasks.start_soon(read, run)
        tasks.start_soon(read, run)
    agree(trial, got, await expected(trial, items), "the two got")


@rule(
    "SF-18",
    "A busy stage leaves other tasks their turns, at least every 64 elements.",
    holds="2.4",
    subject="stage",
    heavy=True,
)
async def _fairness(trial: StageTrial) -> None:
    need_input(trial)
    items = lengths(trial, 300)[-1]
    given(trial, items, "beside a task that only counts its turns")
    source, longest, at_last_turn = CountingSource(items), 0, 0

    async def count_turns() -> None:
        nonlocal longest, at_last_turn
        while True:
            moved, at_last_turn = len(source.given) - at_last_turn, len(source.given)
            longest = max(longest, moved)
            if moved:
                await checkpoint()
            else:
                await anyio.sleep(0.25)  # so that virtual time goes on

    async with running(trial, pipeline_of(trial), source) as run, anyio.create_task_group() as tasks:
        tasks.start_soon(count_turns)
        async for _ in run:
            pass
        tasks.cancel_scope.cancel()
    trial.require(longest <= _TURN, f"{longest} elements went in between two turns of another task")


def _need_untimed(trial: StageTrial) -> None:
    if trial.subject.timed:
        trial.skip("what the stage sends depends on when elements come")

"""Rules of cancellation: whoever ends a run, in whichever way and at whatever moment, nothing of the stage is left behind.

Above: `check_stage`, which loads them. Below: `_stage_case`, `_sweep`. Source: Reactive Streams (3.5, 3.7, 3.13, 3.15), trio.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import warnings
import weakref
from collections.abc import AsyncIterator  # noqa: TC003 - the runtime reads the annotations of stages
from typing import TYPE_CHECKING, Final

import anyio
from anyio.lowlevel import checkpoint

from ..elements import StreamElement  # noqa: TC001 - the same
from ..stages import ThreadStage
from ._conformance import rule
from ._stage_case import (
    CountingSource,
    StageTrial,
    agree,
    collected,
    data_of,
    expected,
    given,
    lengths,
    need_input,
    need_output,
    nothing_left,
    pipeline_of,
    reference,
    resource_tasks,
    running,
    take,
)
from ._sweep import call_next_turn, cancel_sweep, injector
from ._tasks import tasks_alive

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ..runtime import Run
    from ._sweep import CancelMode, Outcome

__all__: list[str] = []

_MOST_TICKS: Final = 2000
_SOON: Final = 20
"""Tenths of a second within which a run ends that nobody waits for."""


class _BodyError(Exception):
    """What the body of a consumer raises."""


class _Deps:
    """What the stages of a run find as `run.deps`."""


@rule(
    "SF-20",
    "Cancelled by a scope at any moment, a run loses, repeats and reorders nothing, and leaves no task and no open source.",
    holds="7.1",
    subject="stage",
    heavy=True,
)
async def _cancelled_by_scope(trial: StageTrial) -> None:
    await _swept(trial, "scope")


@rule(
    "SF-21",
    "The same holds for `asyncio.Task.cancel()` and `asyncio.timeout()`, which cancel once and not until they are heard.",
    holds="7.1",
    subject="stage",
    heavy=True,
)
async def _cancelled_natively(trial: StageTrial) -> None:
    if trial.variant.backend != "asyncio":
        trial.skip("such cancellation exists on asyncio only")
    await _swept(trial, "native")
    await _swept(trial, "timeout")


async def _swept(trial: StageTrial, how: CancelMode) -> None:
    items = lengths(trial, 3)[-1]
    wanted = await reference(trial, items)
    pipeline = pipeline_of(trial)
    got: list[StreamElement] = []
    source = CountingSource(items)

    async def scenario() -> None:
        nonlocal source, got
        got, source = [], CountingSource(items)
        async with running(trial, pipeline, source) as run:
            async for element in run:
                got.append(element)

    def check(outcome: Outcome[None]) -> None:
        given(trial, items, f"cancelled by {how} at tick {outcome.tick}")
        trial.require(source.closed == source.begun, "the source was not closed")
        agree(
            trial,
            data_of(got),
            wanted[: len(data_of(got))] if outcome.cancelled and trial.subject.ordered else _same(got, wanted, outcome),
        )

    given(trial, items)
    await collected(trial, pipeline, items)  # what runs share is open from now on
    given(trial, items, f"cancelled by {how}")
    await cancel_sweep(scenario, how=how, check=check)
    given(trial, items, f"in the run after those that were cancelled by {how}")
    agree(trial, await collected(trial, pipeline, items), wanted)


def _same(got: list[StreamElement], wanted: list[StreamElement], outcome: Outcome[None]) -> list[StreamElement]:
    return data_of(got) if outcome.cancelled else wanted


@rule(
    "SF-22",
    "Cancelled twice, the second time while it cleans up, a run ends as if it were cancelled once.",
    holds="7.8",
    subject="stage",
    heavy=True,
)
async def _cancelled_twice(trial: StageTrial) -> None:
    await _cancel_everywhere(trial, times=2, check=lambda run: run.cancel())


@rule(
    "SF-27",
    "A cancelled stage ends: it does not swallow the cancellation, and nothing is logged as wrong.",
    holds="7.7",
    subject="stage",
    heavy=True,
)
async def _does_not_swallow(trial: StageTrial) -> None:
    with _logged() as records:

        def check(run: Run) -> None:
            trial.require(not run.zombies, f"it did not end although it was cancelled: {', '.join(run.zombies)}")
            trial.require(not records, f"it was logged: {'; '.join(record.getMessage() for record in records)}")

        await _cancel_everywhere(trial, times=1, check=check)


async def _cancel_everywhere(trial: StageTrial, times: int, check: Callable[[Run], None]) -> None:
    """Cancel runs by `Run.cancel()`, each at another tick of its life, until one ends before that; look at each when it is over."""
    items = lengths(trial, 3)[-1]
    pipeline = pipeline_of(trial)
    for tick in range(1, _MOST_TICKS):
        given(trial, items, f"cancelled at tick {tick}" + (f", and again at tick {tick + 1}" if times > 1 else ""))
        before, source = tasks_alive(), CountingSource(items)
        run = running(trial, pipeline, source)

        async def consume(one: Run = run) -> None:
            async with one:
                async for _ in one:
                    pass

        def end(one: Run = run) -> None:
            one.cancel()
            if times > 1:
                call_next_turn(one.cancel)

        first = injector(tick, end)
        await first.drive(consume)
        await nothing_left(before)
        trial.require(source.closed == source.begun, "the source was not closed")
        check(run)
        if not first.fired:
            return
    trial.require(False, f"the run still goes on after {_MOST_TICKS} ticks")


@contextlib.contextmanager
def _logged() -> Generator[list[logging.LogRecord]]:
    """Collect what streamflow logs as a warning, or as worse."""
    records: list[logging.LogRecord] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler, logger = Collect(logging.WARNING), logging.getLogger("streamflow")
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)


@rule(
    "SF-23",
    "A run that is cancelled before it has begun starts nothing; after its end, cancelling changes nothing.",
    holds="7.8",
    subject="stage",
)
async def _cancelled_before_and_after(trial: StageTrial) -> None:
    items = lengths(trial, 2)[-1]
    before, source = tasks_alive(), CountingSource(items)
    given(trial, items, "cancelled before it has begun")
    run = running(trial, pipeline_of(trial), source)
    run.cancel()
    await run.aclose()
    trial.require(not source.begun, "the source was begun")
    given(trial, items, "cancelled after its end")
    async with running(trial, pipeline_of(trial), items) as run:
        got = await take(run, len(await reference(trial, items)) + 1)
        run.cancel()
        run.cancel()
    agree(trial, data_of(got), await expected(trial, items))
    await nothing_left(before)


@rule(
    "SF-24",
    "A consumer that leaves after any number of elements ends the stage and its source at once.",
    holds="5.1",
    subject="stage",
)
async def _consumer_leaves(trial: StageTrial) -> None:
    items = lengths(trial, 3)[-1]
    pipeline = pipeline_of(trial)
    for wanted in range(min(len(await reference(trial, items)) + 2, 12)):
        given(trial, items, f"the consumer leaves after {wanted}")
        before, source = tasks_alive(), CountingSource(items)
        async with running(trial, pipeline, source) as run:
            await take(run, wanted)
        trial.require(source.closed == source.begun, "the source was not closed when the block was left")
        await nothing_left(before)
        trial.require(not run.zombies, f"it did not end: {', '.join(run.zombies)}")


@rule(
    "SF-25",
    "What the body of the consumer raises leaves as it is, and the stage is stopped.",
    holds="6.3",
    subject="stage",
)
async def _consumer_raises(trial: StageTrial) -> None:
    items = lengths(trial, 3)[-1]
    for wanted in (0, 1):
        given(trial, items, f"the consumer raises after {wanted}")
        before, source, raised, caught = tasks_alive(), CountingSource(items), _BodyError(), None
        try:
            async with running(trial, pipeline_of(trial), source) as run:
                await take(run, wanted)
                raise raised
        except BaseException as error:  # noqa: BLE001 - what came out is what is looked at
            caught = error
        trial.require(caught is raised, f"{caught!r:.200} came out")
        trial.require(source.closed == source.begun, "the source was not closed")
        await nothing_left(before)


@rule(
    "SF-26",
    "A loop that is let go of, without a block around it, ends its run soon, without the garbage collector.",
    holds="5.1",
    subject="stage",
)
async def _loop_is_lost(trial: StageTrial) -> None:
    need_output(trial)
    items = lengths(trial, 3)[-1]
    pipeline = pipeline_of(trial)
    for wanted in (0, 1):
        given(trial, items, f"over and over; the iterator is lost after {wanted}")
        before, source = tasks_alive(), CountingSource(items, forever=True)
        with _no_garbage_collection(), warnings.catch_warnings():
            warnings.simplefilter("error")
            iterator = aiter(running(trial, pipeline, source))
            with anyio.move_on_after(_patience_s(trial)):
                for _ in range(wanted):
                    await anext(iterator, None)
            del iterator
            for _ in range(_soon(trial)):
                if not tasks_alive() - before - resource_tasks():
                    break
                await trial.rest(0.1)  # in which threads end what they do
            await nothing_left(before)
        trial.require(source.closed == source.begun, "the source was not closed")


def _soon(trial: StageTrial) -> int:
    """Return how many rests to wait; where time is real, what is waited for depends on how busy the machine is."""
    return 10 * _SOON if trial.real_time else _SOON


def _patience_s(trial: StageTrial) -> float:
    """Return how long to wait for what a stage may have nothing to say to."""
    return 1.0 if trial.real_time else 100.0


@contextlib.contextmanager
def _no_garbage_collection() -> Generator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@rule(
    "SF-28",
    "Cancelled while threads work for it, a stage of blocking calls ends within the time that a run has for that.",
    holds="3.5",
    subject="stage",
    level="optional",
    heavy=True,
)
async def _cancelled_in_a_thread(trial: StageTrial) -> None:
    if not isinstance(trial.subject.make(), ThreadStage):
        trial.skip("the stage is no ThreadStage")
    began = anyio.current_time()

    def check(run: Run) -> None:
        trial.require(not run.zombies, f"it did not end although it was cancelled: {', '.join(run.zombies)}")
        trial.require(anyio.current_time() - began <= pipeline_of(trial).config.shutdown_timeout_s, "it took longer")

    await _cancel_everywhere(trial, times=1, check=check)


@rule(
    "SF-29",
    "Clean-up that waits, of what is before the stage, comes to its end when the run is cancelled.",
    holds="7.1",
    subject="stage",
)
async def _clean_up_ends(trial: StageTrial) -> None:
    need_input(trial)
    items = lengths(trial, 3)[-1]
    cleaned: list[str] = []

    async def neighbour(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
        try:
            async for element in stream:
                yield element
        finally:
            with anyio.CancelScope(shield=True):
                await trial.rest(1)
            cleaned.append("done")

    for wanted in (0, 1):
        given(trial, items, f"behind a stage whose clean-up takes a second; cancelled after {wanted}")
        cleaned.clear()
        async with running(trial, pipeline_of(trial, before=[neighbour]), CountingSource(items, forever=True)) as run:
            await checkpoint()
            if trial.subject.sends:
                with anyio.move_on_after(_patience_s(trial)):
                    await take(run, wanted)
            else:
                await trial.rest(wanted)
            run.cancel()
        trial.require(
            cleaned in ([], ["done"]) and not run.zombies, f"the clean-up did not end: {cleaned}, {run.zombies}"
        )


@rule(
    "SF-30",
    "Cancelling and closing may be repeated, by anyone, at any time, and never raise.",
    holds="7.8",
    subject="stage",
)
async def _closing_is_idempotent(trial: StageTrial) -> None:
    items = lengths(trial, 3)[-1]
    given(trial, items, "cancelled and closed by two tasks at once")
    before = tasks_alive()
    run = running(trial, pipeline_of(trial), CountingSource(items, forever=True))

    async def end() -> None:
        run.cancel()
        await run.aclose()
        run.cancel()
        await run.aclose()

    async with run:
        await checkpoint()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end)
            tasks.start_soon(end)
    await nothing_left(before)


@rule(
    "SF-31",
    "When a run has ended, nothing of it is kept alive: neither its source nor what its stages were given.",
    holds="5.1",
    subject="stage",
)
async def _nothing_is_kept(trial: StageTrial) -> None:
    items = lengths(trial, 3)[-1]
    pipeline = pipeline_of(trial)
    endings: dict[str, Callable[[Run], object]] = {
        "read to its end": lambda _: None,
        "cancelled": lambda run: run.cancel(),
    }
    for how, end in endings.items():
        given(trial, items, how)
        with _no_garbage_collection():
            source, deps = CountingSource(items), _Deps()
            own = trial.subject.deps
            run = pipeline.execute(
                source.stream() if pipeline.takes_source else None, deps=deps if own is None else own
            )
            left: dict[str, weakref.ref[object]] = {
                "source": weakref.ref(source),
                "run": weakref.ref(run),
                "deps": weakref.ref(deps),
            }
            async with run:
                if how == "cancelled":
                    await take(run, 1)
                else:
                    async for _ in run:
                        pass
                end(run)
            del source, run, deps
            for _ in range(_soon(trial)):
                if not any(one() for one in left.values()):
                    break
                await trial.rest(0.1)
            kept = [name for name, one in left.items() if one() is not None]
            trial.require(not kept, f"still alive without the garbage collector: the {' and the '.join(kept)}")

"""The rules of a pipeline about how its runs end: cut short in every way there is, they leave nothing behind.

Above: `_check_pipeline`. Below: `_graph_case`, `_conformance`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from ..elements import EndOfStream
from ..errors import PipelineDeadlockError, RunAbortedError, RunTimeoutError, StageError, SyncInAsyncError
from ..runtime import KillSwitch
from ._conformance import Trial, rule
from ._graph_case import Counting, PipelineCase, collected, config_of, require_same, settled
from ._graph_rules import started
from ._ledger import EdgeLedger
from ._sweep import cancel_sweep
from ._tasks import is_on_trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..elements import StreamElement
    from ._sweep import CancelMode

__all__: list[str] = []

_LONG_S = 1800.0


@rule(
    "SF-20",
    "Cancelled at any tick, a run leaves no task, and the accounts of its edges add up.",
    holds="7.1",
    subject="graph",
    heavy=True,
)
async def cancelled_at_any_tick(trial: Trial[PipelineCase]) -> None:
    await _sweep(trial, "scope")


@rule("SF-21", "The same where `asyncio.Task.cancel()` ends it.", holds="7.1", subject="graph", heavy=True)
async def cancelled_natively(trial: Trial[PipelineCase]) -> None:
    if is_on_trio():
        trial.skip("only asyncio has a second way to cancel")
    await _sweep(trial, "native")


async def _endless(trial: Trial[PipelineCase]) -> AsyncIterator[StreamElement]:
    """Give the elements of the trial, and then nothing more, for ever."""
    for element in trial.subject.elements:
        yield element
    await anyio.sleep_forever()


async def _sweep(trial: Trial[PipelineCase], how: CancelMode) -> None:
    pipeline = trial.subject.pipeline(config_of(trial))
    few = list(trial.subject.elements[:3])
    trial.given(f"{len(few)} elements, cancelled ({how})")
    ledger = EdgeLedger()

    async def scenario() -> None:
        nonlocal ledger
        with EdgeLedger() as ledger:
            async with started(trial, pipeline, few) as run:
                async for _ in run:
                    pass

    async def check(_outcome: object) -> None:
        await settled(trial, ledger)

    await cancel_sweep(scenario, how=how, check=check)


@rule(
    "SF-24", "A consumer that leaves early ends the run, and its source is closed once.", holds="5.1", subject="graph"
)
async def leaving_ends_it(trial: Trial[PipelineCase]) -> None:
    pipeline = trial.subject.pipeline(config_of(trial))
    for taken in (0, 1, 3):
        for how in ("async with", "bare loop"):
            trial.given(f"{how}, left after {taken} elements")
            source = Counting(trial.subject.elements)
            run = pipeline.execute(source() if pipeline.takes_source else None)
            left = taken
            if how == "async with":
                async with run:
                    async for _ in run:
                        left -= 1
                        if left < 0:
                            break
                await settled(trial)
            else:
                iterator = aiter(run)
                del run
                while left >= 0 and await anext(iterator, None) is not None:
                    left -= 1
                del iterator
                await anyio.wait_all_tasks_blocked()
                await settled(trial)
            trial.require(source.closed == (source.asked > 0), f"the source was closed {source.closed} times")


@rule("SF-25", "What the consumer raises leaves the block as it is.", holds="5.1", subject="graph")
async def the_consumers_error_is_its_own(trial: Trial[PipelineCase]) -> None:
    trial.given("a consumer that raises at its first element")
    mine = RuntimeError("the consumer's own")
    caught: Exception | None = None
    try:
        async with started(trial, trial.subject.pipeline(config_of(trial))) as run:
            async for _ in run:
                raise mine
    except Exception as error:  # noqa: BLE001 - it is the question which one it is
        caught = error
    trial.require(caught is mine, f"it became {caught!r}")
    await settled(trial)


@rule(
    "SF-38",
    "A source that fails ends the run behind what it gave, with one error; it is closed once.",
    holds="6.1",
    subject="graph",
)
async def a_source_that_fails_ends_it(trial: Trial[PipelineCase]) -> None:
    pipeline = trial.subject.pipeline(config_of(trial))
    if not pipeline.takes_source:
        trial.skip("it takes no source")
    for count in (0, 1, len(trial.subject.elements)):
        trial.given(f"a source that fails behind {count} elements")
        cause = RuntimeError("the source failed")
        source = Counting(trial.subject.elements[:count], cause)
        run = pipeline.execute(source())
        got, end, error = await collected(run)
        if error is None and source.closed and end is not None and end.reason == "done":
            continue  # a stage that takes a few and returns did not come so far
        trial.require(isinstance(error, StageError), f"it raised {error!r}, and ended with {end!r} behind {len(got)}")
        trial.require(error is not None and error.__cause__ is cause, "the source's own error is not the cause")
        trial.require(end is not None and end.reason == "error", f"its end is {end!r}")
        trial.require(source.closed == 1, f"the source was closed {source.closed} times")
        await settled(trial)


@rule(
    "SF-56",
    "A long input ends too: with all its output, or with the report of who waits for whom; never in silence.",
    holds="14.1",
    subject="graph",
)
async def a_long_input_ends(trial: Trial[PipelineCase]) -> None:
    pipeline = trial.subject.pipeline(config_of(trial))
    if not pipeline.takes_source:
        trial.skip("it takes no source")
    trial.given(f"{20 * len(trial.subject.elements)} elements")
    with anyio.move_on_after(_LONG_S) as limit:
        _, end, error = await collected(started(trial, pipeline, [*trial.subject.elements] * 20))
        if isinstance(error, PipelineDeadlockError):
            trial.require(error.graph.waits, "the report names nobody")
        else:
            trial.require(end is not None and end.reason == "done", f"it ended with {end!r} and raised {error!r}")
    trial.require(not limit.cancelled_caught, f"it has not ended within {_LONG_S:g} s")
    await settled(trial)


@rule("SF-65", "A drain lets everything inside arrive, and stops the source.", holds="7.4", subject="graph")
async def a_drain_lets_all_arrive(trial: Trial[PipelineCase]) -> None:
    pipeline = trial.subject.pipeline(config_of(trial))
    if not pipeline.takes_source:
        trial.skip("it takes no source")
    trial.given("drained while the source waits behind its last element")

    got: list[StreamElement] = []
    end: EndOfStream | None = None

    async def drain() -> None:
        await anyio.sleep(1)
        await run.drain(100)

    async with anyio.create_task_group() as tasks, pipeline.execute(_endless(trial)) as run:
        tasks.start_soon(drain)
        async for element in run:
            if isinstance(element, EndOfStream):
                end = element
            else:
                got.append(element)
    trial.require(end is not None and end.reason == "done", f"its end is {end!r}")
    require_same(trial, got, "the drained run")
    await settled(trial)


@rule(
    "SF-66",
    "A kill switch ends the run, by its first call; a later run with it ends at once.",
    holds="7.6",
    subject="graph",
)
async def a_kill_switch_ends_it(trial: Trial[PipelineCase]) -> None:
    pipeline = trial.subject.pipeline(config_of(trial))
    if not pipeline.takes_source:
        trial.skip("it takes no source that could keep it waiting")
    for is_abort in (False, True):
        trial.given("abort()" if is_abort else "shutdown()")
        switch = KillSwitch()
        fire = switch.abort if is_abort else switch.shutdown
        first = await collected(pipeline.execute(_endless(trial), kill_switch=switch), fire)
        switch.shutdown()
        for _, end, error in (first, await collected(pipeline.execute(_endless(trial), kill_switch=switch))):
            ended = isinstance(error, RunAbortedError) if is_abort else error is None
            trial.require(ended, f"it ended with {end!r} and raised {error!r}")
    await settled(trial)


@rule("SF-67", "A limit of the whole run strikes at its very time, and says what it was.", holds="8.1", subject="graph")
async def a_limit_strikes_in_time(trial: Trial[PipelineCase]) -> None:
    pipeline = trial.subject.pipeline(config_of(trial).replace(timeout_s=7.0))
    if not pipeline.takes_source:
        trial.skip("it takes no source that could keep it waiting")
    trial.given("a limit of 7 s, and a source that waits for ever")

    async def waiting() -> AsyncIterator[StreamElement]:
        await anyio.sleep_forever()
        yield trial.subject.elements[0]

    begun = anyio.current_time()
    _, end, error = await collected(pipeline.execute(waiting()))
    took = anyio.current_time() - begun
    trial.require(isinstance(error, RunTimeoutError), f"it raised {error!r}")
    trial.require(end is not None and end.reason == "timeout", f"its end is {end!r}")
    trial.require(abs(took - 7.0) < 1e-6, f"it took {took} s")
    await settled(trial)


@rule(
    "SF-70",
    "The blocking form refuses to run inside an event loop, and says what to do instead.",
    holds="9.1",
    subject="graph",
)
async def blocking_is_refused_here(trial: Trial[PipelineCase]) -> None:
    trial.given("execute_sync() inside the running event loop")
    pipeline = trial.subject.pipeline(config_of(trial))
    try:
        pipeline.execute_sync(list(trial.subject.elements) if pipeline.takes_source else None)
    except SyncInAsyncError:
        return
    trial.require(holds=False, otherwise="it ran")

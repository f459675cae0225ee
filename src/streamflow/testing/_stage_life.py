"""Rules of a stage's life: what goes in comes out as its model says, it ends, and its runs have nothing in common.

Above: `check_stage`, which loads them. Below: `_stage_case`. Source: the Reactive Streams kit, Pekko's tests.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator  # noqa: TC003 - the runtime reads the annotations of stages
from typing import TYPE_CHECKING, Final, cast

from ..elements import ControlElement, EndOfStream, StreamElement, TurnEnd
from ..errors import RunStateError
from ..runtime import PipelineBuilder
from ..stages import BaseStage, StageKind
from ._conformance import rule
from ._ledger import EdgeLedger
from ._stage_case import (
    STAGE_VARIANTS,
    CountingSource,
    Ends,
    StageTrial,
    agree,
    collected,
    expected,
    given,
    lengths,
    need_input,
    need_output,
    nothing_left,
    pipeline_of,
    reference,
    running,
    take,
)
from ._tasks import tasks_alive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..runtime import Pipeline
    from ..stages import StageLike

__all__: list[str] = []

_CONCURRENT: Final = 3
"""How many runs of one pipeline go on at the same time."""


@rule("SF-01", "An empty input ends the stage, and the run is a success.", holds="3.1", subject="stage")
async def _empty_input(trial: StageTrial) -> None:
    need_input(trial)
    given(trial, [])
    async with running(trial, pipeline_of(trial)) as run:
        result = await run.result()
    trial.require(result.reason == "done", f"the run ended with {result.reason!r}")
    trial.require(not result.errors, f"there were error elements: {result.errors}")
    agree(trial, result.elements, await expected(trial, []))


@rule(
    "SF-02",
    "Any number of elements gives what the model says, and every edge accounts for each.",
    holds="2.5",
    subject="stage",
)
async def _any_number(trial: StageTrial) -> None:
    for items in [*lengths(trial, 0, 1, 2, 3, trial.subject.max_elements), *_random_inputs(trial)]:
        given(trial, items)
        with EdgeLedger() as ledger:
            got = await collected(trial, pipeline_of(trial), items)
        agree(trial, got, await expected(trial, items))
        ledger.check(ended=True)


def _random_inputs(trial: StageTrial) -> list[list[StreamElement]]:
    """Return inputs of elements in any order, from short to long, the same ones in every variant."""
    longest = lengths(trial, trial.subject.max_elements)[-1]
    if not longest:
        return []
    chance = random.Random(0)  # noqa: S311 - no secret: the same in every variant
    count = trial.subject.examples * trial.effort
    some = [chance.choices(longest, k=chance.randint(1, min(8, len(longest)))) for _ in range(count)]
    return sorted(some, key=len)


@rule(
    "SF-03",
    "The end needs nobody who reads: a stage whose results find room ends behind an idle reader.",
    holds="2.2",
    subject="stage",
)
async def _end_without_demand(trial: StageTrial) -> None:
    capacity = max(4, int(str(trial.variant["capacity"])))
    for items in lengths(trial, 0, 1, 2):
        given(trial, items, "nobody reads")
        if len(await reference(trial, items)) > capacity:
            continue
        ends = Ends(trial)
        async with running(trial, pipeline_of(trial, capacity=capacity, listener=ends), items):
            for _ in range(100):
                if "stage.completed" in ends.names:
                    break
                await trial.rest(10)
            trial.require("stage.completed" in ends.names, "1000 seconds after the end of its input it had not ended")


@rule(
    "SF-04",
    "The end of the stream comes last and once; who asks again is told the same, for ever.",
    holds="5.6",
    subject="stage",
)
async def _end_is_last(trial: StageTrial) -> None:
    items = lengths(trial, 3)[-1]
    given(trial, items)
    async with running(trial, pipeline_of(trial), items) as run:
        got = [element async for element in run]
        again = await take(run, 2)
    ends = [place for place, element in enumerate(got) if isinstance(element, EndOfStream)]
    trial.require(ends == [len(got) - 1], f"EndOfStream came at {ends} of {len(got)} elements")
    trial.require(not again, f"after the end there came {again!r:.200}")


@rule(
    "SF-05",
    "The runtime closes what a stage leaves open: the stage behind it sees the end of its input.",
    holds="3.1",
    subject="stage",
)
async def _output_is_closed(trial: StageTrial) -> None:
    need_output(trial)
    saw_end = False

    async def behind(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
        nonlocal saw_end
        async for element in stream:
            yield element
        saw_end = True

    for items in lengths(trial, 0, 3):
        given(trial, items)
        await collected(trial, pipeline_of(trial, behind=[behind]), items)
        trial.require(saw_end, "the stage behind it was never told that its input is over")
        saw_end = False


@rule(
    "SF-06",
    "When the reader behind it needs no more, the stage ends, its source is closed, and the run is a success.",
    holds="3.1",
    subject="stage",
)
async def _reader_leaves_early(trial: StageTrial) -> None:
    need_output(trial)
    await _early_end(trial, (1, 3))


@rule(
    "SF-07",
    "A reader that returns without reading ends the stage and its source, and the run is a success.",
    holds="3.1",
    subject="stage",
)
async def _reader_never_reads(trial: StageTrial) -> None:
    need_output(trial)
    await _early_end(trial, (0,))


async def _early_end(trial: StageTrial, counts: Sequence[int]) -> None:
    items = lengths(trial, 3)[-1]
    if any(counts) and not await reference(trial, items):
        trial.skip("the stage says nothing to its input, so that nobody behind it can have enough")
    # What accumulates says something at the end of a turn.
    over_and_over = [*items, TurnEnd()] if trial.subject.kind is StageKind.ACCUMULATE else items
    for count in counts:

        async def some(stream: AsyncIterator[StreamElement], most: int = count) -> AsyncIterator[StreamElement]:
            left = most
            while left:
                left -= 1
                try:
                    yield await anext(stream)
                except StopAsyncIteration:
                    return

        given(trial, items, f"over and over; the reader leaves after {count}")
        before, source = tasks_alive(), CountingSource(over_and_over, forever=True)
        pipeline = pipeline_of(trial, behind=[some])
        async with running(trial, pipeline, source) as run:
            result = await run.result()
        trial.require(result.reason == "done", f"the run ended with {result.reason!r}")
        trial.require(source.closed == source.begun, "the source was not closed")
        data = [one for one in result.elements if not isinstance(one, ControlElement)]
        trial.require(len(data) <= count, f"{len(data)} elements came past a reader that takes {count}")
        await nothing_left(before)


@rule("SF-08", "A pipeline that only takes, or only gives, completes and says so.", holds="5.6", subject="stage")
async def _sink_or_source_alone(trial: StageTrial) -> None:
    case = trial.subject
    if case.kind not in {StageKind.SINK, StageKind.GENERATE}:
        trial.skip("the stage has an input and an output")
    items = lengths(trial, 3)[-1]
    given(trial, items)
    pipeline = pipeline_of(trial)
    async with running(trial, pipeline, items) as run:
        result = await run.result()
    trial.require(result.reason == "done", f"the run ended with {result.reason!r}")
    if case.sends:
        agree(trial, result.elements, await expected(trial, items))
    else:
        trial.require(not result.elements, f"a sink sent {result.elements!r:.200}")


@rule(
    "SF-09",
    "Runs of one pipeline share nothing, one after the other and at the same time.",
    holds="3.4",
    subject="stage",
)
async def _runs_share_nothing(trial: StageTrial) -> None:
    items = lengths(trial, 3)[-1]
    given(trial, items)
    wanted = await expected(trial, items)
    pipeline = pipeline_of(trial)
    for count in (1, 2):
        given(trial, items, f"run {count} of one pipeline")
        agree(trial, await collected(trial, pipeline, items), wanted)
    given(trial, items, f"{_CONCURRENT} runs of one pipeline at the same time, an element of each in turn")
    for got in await _in_turns(trial, pipeline, items):
        agree(trial, got, wanted)


async def _in_turns(trial: StageTrial, pipeline: Pipeline, items: Sequence[StreamElement]) -> list[list[StreamElement]]:
    first, second, third = (running(trial, pipeline, items) for _ in range(_CONCURRENT))
    async with first, second, third:
        runs = [first, second, third]
        seen: list[list[StreamElement]] = [[] for _ in runs]
        going = list(zip(runs, seen, strict=True))
        while going:
            for run, elements in list(going):
                if got := await take(run, 1):
                    elements.extend(one for one in got if not isinstance(one, EndOfStream))
                else:
                    going.remove((run, elements))
    return seen


@rule("SF-10", "One stage object runs in one event loop after another, of either kind.", holds="3.4", subject="stage")
async def _any_loop(trial: StageTrial) -> None:
    if trial.subject.has_resources:
        trial.skip("its runs share what a pipeline opens for them: one pipeline, one shutdown")
    items = lengths(trial, 3)[-1]
    given(trial, items, "by one pipeline that has run in other event loops before")
    got = await collected(trial, trial.subject.shared_pipeline(trial), items)
    agree(trial, got, await expected(trial, items))


@rule("SF-15", "What a stage sends is an element, and of the types that it says.", holds="1.1", subject="stage")
async def _types(trial: StageTrial) -> None:
    need_output(trial)
    types = trial.subject.emits
    if types is None:
        trial.skip("the stage does not say what it emits")
    for items in lengths(trial, 1, 3, 10):
        given(trial, items)
        for element in await collected(trial, pipeline_of(trial), items):
            is_passed_by = any(element is one for one in items)
            trial.require(
                is_passed_by or isinstance(element, types), f"it sent {element!r:.200}, and says that it emits {types}"
            )


@rule("SF-77", "A stage object is frozen once it is part of a pipeline.", holds="3.4", subject="stage")
async def _frozen(trial: StageTrial) -> None:
    made: object = trial.subject.make()
    if not isinstance(made, BaseStage):
        trial.skip("the stage is no object with attributes of its own, or no BaseStage")
    trial.given("an assignment to its name after build()")
    if trial.variant not in STAGE_VARIANTS[:1]:
        trial.skip("it has nothing to do with loops and capacities: one variant is enough")
    PipelineBuilder().chain(cast("StageLike", made)).build()
    try:
        made.name = "other"
    except RunStateError:
        return
    trial.require(False, "its name could be changed")

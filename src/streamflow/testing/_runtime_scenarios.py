"""The rules of runs that need a scenario: ends from outside, supervision, deadlocks, what is told.

Above: `_check_runtime`. Below: `_runtime_parts`, `runtime`, `_conformance`.
"""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from typing import TYPE_CHECKING

import anyio

from ..channels import ReceiveEnd, SendEnd  # noqa: TC001 - `@stage` reads annotations
from ..elements import EndOfStream, StreamElement, TextElement, TurnEnd
from ..errors import PipelineDeadlockError, RunAbortedError, StageError
from ..observe import StageCancelled, StageCompleted, StageFailed, StageStarted
from ..runtime import KillSwitch, PipelineBuilder, PipelineConfig
from ..stages import FilterStage, MapStage, PassthroughStage, StageKind, Supervision, TakeStage, stage
from ._conformance import rule
from ._harness import assert_all_stages_stopped
from ._runtime_parts import CAPACITIES, LONG_S, Endless, copying, never, outcome_of, texts, words_of

if TYPE_CHECKING:
    from ..observe import Event
    from ..stages import StageLike
    from ._conformance import Trial
    from ._runtime_graphs import RuntimeCase

__all__: list[str] = []


@rule("RT-10", "A reader that has enough ends its source, and the run succeeds.", holds="3.1", subject="runtime")
async def _enough(trial: Trial[RuntimeCase]) -> None:
    for capacity in CAPACITIES:
        trial.given(f"take 3 of an endless source, capacity {capacity}")
        source = Endless()
        builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(PassthroughStage(), TakeStage(3))
        got = await outcome_of(builder.build(), source.elements())
        trial.require(words_of(got) == ["0", "1", "2"], f"{words_of(got)} came")
        trial.require(source.is_closed, "the source was not closed")
        trial.require(source.given <= 3 + 2 * (capacity + 2), f"the source has given {source.given}")


@rule("RT-11", "The first element is out before the source has made the second.", holds="5.4", subject="runtime")
async def _streams(trial: Trial[RuntimeCase]) -> None:
    for capacity in CAPACITIES:
        trial.given(f"a source that makes one element a second, capacity {capacity}")
        source = Endless(1.0)
        builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(
            PassthroughStage("a"), PassthroughStage("b")
        )
        with anyio.fail_after(LONG_S):
            async for _ in builder.build().execute(source.elements()):
                break
        trial.require(source.given == 1, f"{source.given} were made before the first was out")
        await assert_all_stages_stopped()


@rule(
    "RT-12",
    "What is in flight is bounded: a consumer that stops reading stops the source.",
    holds="5.5",
    subject="runtime",
)
async def _bounded(trial: Trial[RuntimeCase]) -> None:
    for capacity in CAPACITIES:
        trial.given(f"a consumer that reads one element and stops, two stages, capacity {capacity}")
        source = Endless()
        config = PipelineConfig(buffer_size=capacity)
        pipeline = PipelineBuilder(config).chain(copying("a"), copying("b")).build()
        async with pipeline.execute(source.elements()) as run:
            async for _ in run:
                break
            await anyio.sleep(LONG_S)
            # Three edges, a hand at each end, and the one that was read.
            most = 3 * capacity + 4
            trial.require(source.given <= most, f"the source has given {source.given}, of {most} that may be in flight")
            trial.require(
                source.given >= 3 * capacity, f"the source has given only {source.given}: an edge is too small"
            )
        await assert_all_stages_stopped()


@rule(
    "RT-13",
    "A stage that is restarted is given the element again that it had in hand, and nothing is lost or doubled.",
    holds="6.5",
    subject="runtime",
)
async def _restarted(trial: Trial[RuntimeCase]) -> None:
    for capacity, failing in itertools.product((1, 3), (0, 2, 4)):
        trial.given(f"a stage that fails once, on element {failing} of 5, and is restarted; capacity {capacity}")
        left = [1]

        @stage(name="fragile")
        async def fragile(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            async for element in input:
                if element.text == str(failing) and left:  # noqa: B023 - called in this round
                    left.pop()  # noqa: B023
                    raise ValueError(element.text)
                await output.send(element)

        builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(fragile)
        supervision = Supervision("restart", in_hand="redeliver", attempts=3)
        got = await outcome_of(builder.supervise("fragile", supervision).build(), texts(5))
        trial.require(words_of(got) == [*"01234"], f"{words_of(got)} came")


@rule(
    "RT-14",
    "A drain lets all arrive that is inside, what a stage gathers too, and takes nothing new.",
    holds="7.4",
    subject="runtime",
)
async def _drained(trial: Trial[RuntimeCase]) -> None:
    for capacity, after_s in itertools.product(CAPACITIES, (0.5, 3.5)):
        trial.given(f"a stage that gathers, drained after {after_s} s; capacity {capacity}")

        @stage(name="gather", accepts=(TextElement, TurnEnd), kind=StageKind.ACCUMULATE)
        async def gather(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
            kept: list[str] = [one.text async for one in input if isinstance(one, TextElement)]
            await output.send(TextElement("+".join(kept)))

        source = Endless(1.0)
        pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(PassthroughStage(), gather).build()
        got: list[StreamElement] = []
        async with pipeline.execute(source.elements()) as run, anyio.create_task_group() as tasks:

            async def drain() -> None:
                await anyio.sleep(after_s)  # noqa: B023 - awaited in this round
                await run.drain(100)

            tasks.start_soon(drain)
            got = [element async for element in run]
        wanted = "+".join(str(number) for number in range(source.given))
        trial.require(words_of(got) == [wanted], f"{words_of(got)} came, of {source.given} that were given")
        end = got[-1]
        trial.require(isinstance(end, EndOfStream) and end.reason == "done", f"the last element is {end!r}")
        trial.require(not run.undelivered, f"undelivered: {run.undelivered}")
        await assert_all_stages_stopped()


@rule(
    "RT-15",
    "What a cancelled run did not deliver is accounted for: each element that entered is out, or in the account.",
    holds="7.5",
    subject="runtime",
)
async def _accounted(trial: Trial[RuntimeCase]) -> None:
    for capacity, taken in itertools.product(CAPACITIES, (1, 4)):
        trial.given(f"a run that is cancelled after {taken} elements, when all stand still; capacity {capacity}")
        pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(copying("a"), copying("b")).build()
        got: list[StreamElement] = []
        async with pipeline.execute(texts(100)) as run:
            async for element in run:
                got.append(element)
                if len(got) == taken:
                    break
            await anyio.sleep(1)
            run.cancel()
        entered = run.stats().edges["source → a"].counts.sent
        lost = sum(run.undelivered.values())
        trial.require(entered == len(got) + lost, f"{entered} entered, {len(got)} came, {lost} are told of")
        await assert_all_stages_stopped()


@rule(
    "RT-16",
    "A kill switch ends all runs that have it: shutdown completes them, abort fails them, and the first call wins.",
    holds="7.6",
    subject="runtime",
)
async def _killed(trial: Trial[RuntimeCase]) -> None:
    pipeline = PipelineBuilder().chain(copying("a")).build()
    for how in ("shutdown", "abort"):
        for late in (False, True):
            trial.given(f"{how}(), {'before the run starts' if late else 'while it runs'}")
            switch = KillSwitch()
            source = Endless(1.0)
            error: Exception | None = None
            if late:
                getattr(switch, how)()
            end: StreamElement | None = None
            with anyio.move_on_after(LONG_S) as limit:
                try:
                    async with pipeline.execute(source.elements(), kill_switch=switch) as run:
                        async for element in run:
                            end = element
                            if not late:
                                getattr(switch, how)()
                except RunAbortedError as caught:
                    error = caught
            trial.require(not limit.cancelled_caught, f"the run went on; {source.given} elements were given")
            trial.require(isinstance(end, EndOfStream), f"the last element was {end!r}")
            trial.require((error is not None) == (how == "abort"), f"it raised {error!r}")
            await assert_all_stages_stopped()


@rule(
    "RT-17",
    "A run that waits for itself ends at once with the report; one whose consumer is slow does not.",
    holds="14.1",
    subject="runtime",
)
async def _deadlocked(trial: Trial[RuntimeCase]) -> None:
    for capacity in (1, 2):
        trial.given(f"a fork, a branch that drops all, a concatenation; capacity {capacity}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            builder = PipelineBuilder(PipelineConfig(buffer_size=capacity))
            builder.add(PassthroughStage("in"), FilterStage(never, name="none"), PassthroughStage("all"))
            builder.branch("in", "none", "all").merge(PassthroughStage("out"), "none", "all", policy="concat")
            pipeline = builder.build()
        began_s = anyio.current_time()
        error: Exception | None = None
        with anyio.move_on_after(LONG_S) as limit:
            try:
                await pipeline.run(texts(50))
            except PipelineDeadlockError as caught:
                error = caught
        trial.require(not limit.cancelled_caught, "the run hangs, and nobody says so")
        trial.require(error is not None, "it came to its end, through edges that cannot hold it")
        trial.require(anyio.current_time() == began_s, f"it was found after {anyio.current_time() - began_s:g} s")
        trial.given(f"a consumer that takes an element a second; capacity {capacity}")
        slow = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(copying("a"), copying("b")).build()
        count = 0
        async with slow.execute(texts(20)) as run:
            async for _ in run:
                count += 1
                await anyio.sleep(1)
        trial.require(count == 21, f"{count} elements came")
        await assert_all_stages_stopped()


@rule(
    "RT-18",
    "The beginning and the end of each stage are told once, the end behind the beginning.",
    holds="10.2",
    subject="runtime",
)
async def _told(trial: Trial[RuntimeCase]) -> None:
    def fail(element: TextElement) -> TextElement:
        raise ValueError(element.text)

    cases: dict[str, list[StageLike]] = {
        "a run that completes": [copying("a"), copying("b")],
        "a run whose second stage fails": [copying("a"), MapStage(fail, name="b")],
        "a run whose second stage has enough": [copying("a"), TakeStage(1, name="b")],
    }
    for what, stages in cases.items():
        trial.given(what)
        heard: list[Event] = []
        pipeline = PipelineBuilder().chain(*stages).on_event(heard.append).build()
        with anyio.fail_after(LONG_S):
            try:
                await pipeline.run(texts(30))
            except Exception as error:  # noqa: BLE001 - it is about the events
                trial.require("fails" in what, f"it raised {error!r}")
        for name in "ab":
            own = [one for one in heard if getattr(one, "stage", None) == name]
            begins = [type(one) for one in own if isinstance(one, StageStarted)]
            ends = [type(one) for one in own if isinstance(one, (StageCompleted, StageFailed, StageCancelled))]
            trial.require(
                len(begins) == 1 and len(ends) == 1, f"of {name} were told {[type(one).__name__ for one in own]}"
            )
            trial.require(isinstance(own[0], StageStarted), f"{name} ended before it began")
        runs = Counter(one.name.partition(".")[0] for one in heard if one.name.startswith("pipeline"))
        trial.require(runs.total() == 2, f"of the run was told {[one.name for one in heard]}")


@rule(
    "RT-35",
    "A failure names the stage that failed, also where several stages share a task.",
    holds="6.2",
    subject="runtime",
)
async def _named(trial: Trial[RuntimeCase]) -> None:
    def fail(element: TextElement) -> TextElement:
        if element.text == "3":
            raise ValueError(element.text)
        return element

    def plain(element: TextElement) -> TextElement:
        return element

    for place in range(4):
        names = [*"abcd"]
        trial.given(f"four functions of one element in a chain, of which {names[place]!r} fails on one of 6")
        stages = [MapStage(fail if name == names[place] else plain, name=name) for name in names]
        heard: list[Event] = []
        error: StageError | None = None
        try:
            await PipelineBuilder().chain(*stages).on_event(heard.append).build().run(texts(6))
        except StageError as caught:
            error = caught
        trial.require(error is not None, "it came to its end")
        if error is not None:
            trial.require(error.stage == names[place], f"{error.stage!r} was named")
        told = [one.stage for one in heard if isinstance(one, StageFailed)]
        trial.require(told == [names[place]], f"of {told} it was told that they failed")
        await assert_all_stages_stopped()

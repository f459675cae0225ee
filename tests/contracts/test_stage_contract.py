"""What every stage keeps: each public stage class and each form runs the same contract.

A new public stage class belongs into `CONTRACT_STAGES`; a test below fails until it is there.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path

import anyio
import pytest
import threads

import streamflow
from streamflow import (
    AudioElement,
    BaseStage,
    BatchElement,
    CollectStage,
    EndOfStream,
    ErrorElement,
    FilterStage,
    FlatMapStage,
    MapAsyncStage,
    MapStage,
    MapUnorderedStage,
    Message,
    MessageElement,
    MiddlewareAdapter,
    PassthroughStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    Resource,
    RunContext,
    SendEnd,
    SinkStage,
    StageError,
    StageKind,
    StreamElement,
    TextElement,
    ThreadStage,
    TurnEnd,
    TurnReset,
    current_run,
    stage,
)
from streamflow.errors import RunStateError
from streamflow.providers import ProviderStage, ScriptedProvider
from streamflow.stages import (
    BatchStage,
    BufferStage,
    CacheStage,
    ChunkTextStage,
    CircuitBreakerStage,
    CoalesceStage,
    DebounceStage,
    DedupeStage,
    DelayStage,
    ExtractJsonStage,
    FallbackStage,
    FileLinesSource,
    FunctionStage,
    IntervalSource,
    ProcessSource,
    PromptStage,
    QueueSource,
    RateLimitStage,
    RetryStage,
    RouteRule,
    RouteStage,
    SkipStage,
    StageLike,
    TakeStage,
    TeeStage,
    ThrottleStage,
    TimeoutStage,
    UnbatchStage,
    WindowStage,
    as_stage,
)
from streamflow.state import MemoryStore, StateStoreLoadStage, StateStoreSaveStage
from streamflow.testing import (
    CancelMode,
    EdgeLedger,
    Outcome,
    assert_all_stages_stopped,
    assert_no_tasks_left,
    cancel_sweep,
    run_stage,
    tasks_alive,
)

CAPACITIES = (1, 2, 16, 100)

TEXTS = tuple(TextElement(text) for text in ("hello", "how", "today"))
SOUND, BAD = AudioElement(b""), ErrorElement("code", "message", "elsewhere")
MESSAGES = tuple(MessageElement(Message("user", text)) for text in ("hello", "and again"))


@dataclasses.dataclass(frozen=True)
class Entry:
    """A stage under contract."""

    make: Callable[[], StageLike]
    items: tuple[StreamElement, ...] = TEXTS
    """An input that it has something to say to."""
    takes_all: bool = False
    """Whether it accepts all data, so that none of it passes by."""
    real_clock: bool = False
    """Whether it waits for files or processes, which know nothing of virtual time."""


def shout(element: TextElement) -> TextElement:
    return TextElement(element.text.upper())


async def shout_later(element: TextElement) -> TextElement:
    await anyio.lowlevel.checkpoint()
    return shout(element)


async def shout_in_time(element: TextElement) -> TextElement:
    await anyio.sleep(len(element.text))
    return shout(element)


def letters(element: TextElement) -> Iterator[TextElement]:
    for letter in element.text:
        yield TextElement(letter)


async def letters_later(element: TextElement) -> AsyncIterator[TextElement]:
    for letter in element.text:
        await anyio.lowlevel.checkpoint()
        yield TextElement(letter)


async def streaming(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield shout(element)


async def streaming_with_run(stream: AsyncIterator[TextElement], run: RunContext[object]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield TextElement(f"{run.stage}: {element.text}")


async def generating() -> AsyncIterator[TextElement]:
    for element in TEXTS:
        yield element


async def processing(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
    async for element in input:
        await output.send(shout(element))


class Shout(BaseStage):
    def __init__(self) -> None:
        super().__init__()
        self.mark = "!"

    async def process(
        self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]
    ) -> None:
        async for element in input:
            await output.send(TextElement(element.text + self.mark))


class Counting:
    """A plain class that counts in its instance."""

    def __init__(self) -> None:
        self.count = 0

    async def process(self, stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            self.count += 1
            yield TextElement(f"{self.count} {element.text}")


class Opening(BaseStage):
    def open(self, run: RunContext[object]) -> Counting:
        return Counting()

    async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        raise AssertionError("open(run) says what runs")


class Helped(BaseStage):
    """Sends from a helper task."""

    async def process(
        self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]
    ) -> None:
        async def work() -> None:
            async for element in input:
                await output.send(shout(element))

        run.start_soon(work)


@stage(kind=StageKind.ACCUMULATE)
async def joining(input: ReceiveEnd[TextElement | TurnEnd], output: SendEnd[TextElement | TurnEnd]) -> None:
    held = ""
    async for element in input:
        if isinstance(element, TextElement):
            held += element.text
            continue
        await output.send(TextElement(held))
        await output.send(element)
        held = ""
    await output.send(TextElement(held))


@stage(kind=StageKind.ACCUMULATE)
async def failing_early(input: ReceiveEnd[TextElement | TurnEnd], output: SendEnd[TextElement | TurnEnd]) -> None:
    async for _ in input:
        raise OSError


async def answering(context: MessageElement) -> str:
    await anyio.lowlevel.checkpoint()
    return "an answer"


class QueuePerRun:
    """A queue that gives each run the same items; of one that all share, two runs could not both get everything."""

    def __init__(self, *items: object) -> None:
        self.items = items
        self.left: dict[str, Iterator[object]] = {}

    async def get(self) -> object:
        await anyio.lowlevel.checkpoint()
        return next(self.left.setdefault(current_run().run_id, iter(self.items)))


LINES = Path(__file__).with_name("lines.txt")
TURNS = (*TEXTS[:1], TurnEnd(index=0), *TEXTS[1:])
JSON = (TextElement('{"a": "how'), TextElement('", "b": 1}'), TurnEnd(index=0), TextElement('{"a": "today"}'))
CHAT = (MESSAGES[0], TurnEnd(index=0), MESSAGES[1])

CONTRACT_STAGES: dict[str, Entry] = {
    # The public classes, each under its own name
    "BatchStage": Entry(lambda: BatchStage(2, max_wait_s=5), items=TURNS, takes_all=True),
    "BufferStage": Entry(lambda: BufferStage(2), takes_all=True),
    "CacheStage": Entry(lambda: CacheStage(FlatMapStage(letters_later)), items=(*TEXTS, *TEXTS)),
    "ChunkTextStage": Entry(lambda: ChunkTextStage(4, max_wait_s=5), items=TURNS),
    "CircuitBreakerStage": Entry(lambda: CircuitBreakerStage(streaming)),
    "CoalesceStage": Entry(lambda: CoalesceStage(1)),
    "CollectStage": Entry(lambda: CollectStage([]), takes_all=True),
    "DebounceStage": Entry(lambda: DebounceStage(5), items=TURNS, takes_all=True),
    "DedupeStage": Entry(lambda: DedupeStage(lambda one: one.text, accepts=TextElement), items=(*TEXTS, *TEXTS)),
    "DelayStage": Entry(lambda: DelayStage(5, max_held=2), takes_all=True),
    "ExtractJsonStage": Entry(lambda: ExtractJsonStage(["a", "b"]), items=JSON),
    "FallbackStage": Entry(lambda: FallbackStage(failing_early, joining), items=TURNS),
    "FileLinesSource": Entry(lambda: FileLinesSource(LINES), items=(), real_clock=True),
    "FilterStage": Entry(lambda: FilterStage(lambda element: len(element.text) > 3, name="long", accepts=TextElement)),
    "FlatMapStage": Entry(lambda: FlatMapStage(letters)),
    "FunctionStage": Entry(lambda: FunctionStage(streaming)),
    "IntervalSource": Entry(lambda: IntervalSource(5, count=3), items=()),
    "MapAsyncStage": Entry(lambda: MapAsyncStage(shout_later, concurrency=2)),
    "MapStage": Entry(lambda: MapStage(shout)),
    "MapUnorderedStage": Entry(lambda: MapUnorderedStage(shout_in_time, concurrency=2), items=TEXTS[:2]),
    "MiddlewareAdapter": Entry(lambda: MiddlewareAdapter(answering), items=CHAT),
    "PassthroughStage": Entry(PassthroughStage, takes_all=True),
    "ProcessSource": Entry(lambda: ProcessSource(["cat", LINES]), items=(), real_clock=True),
    "PromptStage": Entry(lambda: PromptStage("Be brief."), items=CHAT),
    "ProviderStage": Entry(lambda: ProviderStage(ScriptedProvider()), items=CHAT),
    "QueueSource": Entry(lambda: QueueSource(QueuePerRun(*TEXTS, None)), items=()),
    "RateLimitStage": Entry(lambda: RateLimitStage(2, 5), takes_all=True),
    "RetryStage": Entry(lambda: RetryStage(MapAsyncStage(shout_later, concurrency=2))),
    "RouteStage": Entry(lambda: RouteStage([RouteRule("greeting", ["hello"])]), items=MESSAGES),
    "SinkStage": Entry(lambda: SinkStage(lambda _element: None, name="sink", accepts=TextElement)),
    "SkipStage": Entry(lambda: SkipStage(1, accepts=TextElement)),
    "StateStoreLoadStage": Entry(
        lambda: StateStoreLoadStage(Resource(MemoryStore), conversation="c", announces=False), items=CHAT
    ),
    "StateStoreSaveStage": Entry(
        lambda: StateStoreSaveStage(Resource(MemoryStore), conversation="c", marks=False), items=CHAT
    ),
    "TakeStage": Entry(lambda: TakeStage(5, accepts=TextElement)),
    "TeeStage": Entry(lambda: TeeStage(repr), takes_all=True),
    "ThreadStage": Entry(lambda: ThreadStage(shout, concurrency=2)),
    "ThrottleStage": Entry(lambda: ThrottleStage(2, 5), takes_all=True),
    "TimeoutStage": Entry(lambda: TimeoutStage(shout_in_time, first_s=20)),
    "UnbatchStage": Entry(UnbatchStage, items=(BatchElement(TEXTS[:2]), BatchElement(TEXTS[2:]))),
    "WindowStage": Entry(lambda: WindowStage(2), items=TURNS, takes_all=True),
    # The forms
    "bare async generator": Entry(lambda: streaming),
    "async generator with run": Entry(lambda: streaming_with_run),
    "generating": Entry(lambda: generating, items=()),
    "process function": Entry(lambda: processing),
    "@stage process function": Entry(lambda: stage(name="decorated")(processing)),
    "function": Entry(lambda: shout),
    "async function": Entry(lambda: shout_later),
    "generator function": Entry(lambda: letters),
    "async generator of one element": Entry(lambda: FlatMapStage(letters_later)),
    "sink function": Entry(lambda: stage(kind=StageKind.SINK)(shout)),
    "class": Entry(lambda: Shout),
    "object": Entry(Shout),
    "plain class": Entry(lambda: Counting),
    "object with open": Entry(Opening),
    "object with a helper": Entry(Helped),
    "accumulator": Entry(lambda: joining, items=TURNS),
    "accumulator inside": Entry(lambda: TimeoutStage(joining, total_s=5), items=TURNS),
    "stages inside stages": Entry(
        lambda: RetryStage(CircuitBreakerStage(TimeoutStage(ProviderStage(ScriptedProvider()), first_s=5))),
        items=CHAT,
    ),
    "spec": Entry(lambda: as_stage(streaming)),
}

KINDS = {name: as_stage(entry.make()).kind for name, entry in CONTRACT_STAGES.items()}


@pytest.fixture(autouse=True)
def _clock_waits_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    threads.hold_the_clock(monkeypatch)


def stages_that(*, read: bool = False, send: bool = False) -> pytest.MarkDecorator:
    """Parametrise a test with the stages under contract, or with those of them that have an input, or an output."""
    names = [
        name
        for name, kind in KINDS.items()
        if not (read and kind is StageKind.GENERATE) and not (send and kind is StageKind.SINK)
    ]
    entries = [(name, CONTRACT_STAGES[name]) for name in names]
    real = pytest.mark.real_clock
    return pytest.mark.parametrize(
        "entry", [pytest.param(entry, marks=[real] * entry.real_clock, id=name) for name, entry in entries]
    )


every_stage = stages_that()


def pipeline_of(entry: Entry, capacity: int = 16) -> Pipeline:
    return PipelineBuilder(PipelineConfig(buffer_size=capacity, timeout_s=60)).chain(entry.make()).build()


def is_sink(entry: Entry) -> bool:
    return as_stage(entry.make()).kind is StageKind.SINK


def told(elements: Iterable[StreamElement]) -> list[str]:
    """Return what elements say, without the ids that a provider counts up from call to call."""
    return [re.sub(r"scripted-\d+", "scripted", repr(one)) for one in data_of(elements)]


def data_of(elements: Iterable[StreamElement]) -> list[StreamElement]:
    return [one for one in elements if not isinstance(one, EndOfStream)]


class Source:
    """An async generator that says whether it was closed."""

    def __init__(self, items: tuple[StreamElement, ...], *, forever: bool = False) -> None:
        self.items, self.forever = items, forever
        self.begun = self.closed = 0

    async def stream(self) -> AsyncIterator[StreamElement]:
        self.begun += 1
        try:
            for item in self.items:
                yield item
            while self.forever:
                await anyio.lowlevel.checkpoint()
                for item in self.items:
                    yield item
        finally:
            self.closed += 1


def stage_classes() -> dict[str, type[BaseStage]]:
    """Return every class of a stage that the package offers."""
    found: dict[str, type[BaseStage]] = {}
    for info in pkgutil.walk_packages(streamflow.__path__, "streamflow."):
        if "._" in info.name or info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) and issubclass(value, BaseStage) and value is not BaseStage:
                found[name] = value
    return found


def test_every_public_stage_class_is_under_contract() -> None:
    """styleguide 7: every stage is in `CONTRACT_STAGES`, so that no new one can be forgotten."""
    assert set(stage_classes()) <= set(CONTRACT_STAGES)


@pytest.mark.parametrize("name", sorted(set(stage_classes()) - {"FunctionStage"}))
def test_every_public_stage_class_explains_how_it_flows(name: str) -> None:
    """styleguide 2: when it emits is what a caller cannot guess; a `Flow` block says so."""
    text = inspect.getdoc(stage_classes()[name]) or ""

    assert "\nFlow:\n    emits: " in text


@every_stage
async def test_its_results_are_the_same_at_every_capacity(entry: Entry) -> None:
    """semantics, opening: everything holds at every capacity from 1 up; no edge loses, repeats or reorders anything."""
    results = []
    for capacity in CAPACITIES:
        with EdgeLedger() as ledger:
            results.append(await run_stage(entry.make(), entry.items, capacity=capacity))
        ledger.check(ended=True)

    assert all(result == results[0] for result in results)
    assert bool(results[0]) != is_sink(entry)
    await assert_all_stages_stopped()


@every_stage
async def test_an_empty_input_ends_it(entry: Entry) -> None:
    """semantics 3.1: nothing in, and it returns; a run without elements is a success."""
    for capacity in CAPACITIES:
        result = await pipeline_of(entry, capacity).run()
        assert result.reason == "done"
        assert result.errors == ()


@stages_that(read=True)
async def test_what_it_does_not_accept_keeps_its_place_and_is_untouched(entry: Entry) -> None:
    """semantics 1.4, 1.5, 3.3: error elements and other control pass every stage, before, between and behind its results."""
    aside: list[StreamElement] = [BAD, TurnReset(), BAD] if entry.takes_all else [BAD, SOUND, TurnReset(), BAD]
    for capacity in CAPACITIES:
        alone = await run_stage(entry.make(), entry.items, capacity=capacity)
        before = await run_stage(entry.make(), [*aside, *entry.items], capacity=capacity)
        assert before == ([] if is_sink(entry) else [*aside, *alone])
        assert all(one is other for one, other in zip(before, aside, strict=False))
    behind = await run_stage(entry.make(), [*entry.items, *aside], capacity=CAPACITIES[-1])
    assert behind == ([] if is_sink(entry) else [*alone, *aside])


@stages_that(read=True, send=True)
async def test_an_input_of_nothing_for_it_passes_whole(entry: Entry) -> None:
    """semantics 3.3: what it does not accept neither stops nor is stopped, however much there is."""
    items = [BAD, TurnReset()] * 10
    for capacity in CAPACITIES:
        got = await run_stage(entry.make(), items, capacity=capacity)
        assert [one for one in got if type(one) in {ErrorElement, TurnReset}] == items


@every_stage
async def test_runs_at_the_same_time_share_nothing(entry: Entry) -> None:
    """semantics 3.4: one blueprint, many runs: each gives what it gives alone."""
    pipeline = pipeline_of(entry, 1)
    source = entry.items if pipeline.takes_source else None
    alone = told((await pipeline.run(source)).elements)

    async with pipeline.execute(source) as first, pipeline.execute(source) as second:
        seen: dict[object, list[StreamElement]] = {first: [], second: []}
        open_runs = [first, second]
        while open_runs:
            for run in list(open_runs):
                try:
                    seen[run].append(await anext(run))
                except StopAsyncIteration:
                    open_runs.remove(run)

    assert [told(one) for one in seen.values()] == [alone, alone]


@every_stage
async def test_a_consumer_that_leaves_ends_it_and_its_source(entry: Entry) -> None:
    """semantics 5.5: break leaves no task and no open source behind, wherever the stage is in its work."""
    pipeline = pipeline_of(entry, 2)
    rounds = len(data_of((await pipeline.run(entry.items if pipeline.takes_source else None)).elements)) + 1
    for wanted in range(rounds):
        before, source = tasks_alive(), Source(entry.items)
        async with pipeline.execute(source.stream() if pipeline.takes_source else None) as run:
            for _ in range(wanted):
                await anext(run)
        await assert_no_tasks_left(before)
        assert source.closed == source.begun
        assert run.zombies == ()


@stages_that(read=True, send=True)
async def test_a_consumer_that_stops_reading_stops_it(entry: Entry) -> None:
    """semantics 5.4: behind a consumer that has stopped, the source stops too, within the bound that is told."""
    pipeline = pipeline_of(entry, 2)
    given = 0

    def endless() -> Iterator[StreamElement]:
        nonlocal given
        while True:
            for item in entry.items:
                given += 1
                yield item
            yield TurnEnd()

    async with pipeline.execute(endless()):
        await anyio.sleep(20)  # until its calls have ended, those in threads too
        at_rest = given
        await anyio.sleep(20)
        assert given == at_rest


@every_stage
async def test_it_can_be_cancelled_at_any_moment(entry: Entry, anyio_backend_name: str) -> None:
    """semantics 5.5, 2.3: at every tick of its life: no task left, no open source, and the next run is as good as new."""
    modes: tuple[CancelMode, ...] = ("scope",) if anyio_backend_name == "trio" else ("scope", "native", "timeout")
    pipeline = pipeline_of(entry, 2)
    takes_source = pipeline.takes_source
    expected = told((await pipeline.run(entry.items if takes_source else None)).elements)
    sources: list[Source] = []

    async def scenario() -> list[str]:
        sources.append(Source(entry.items))
        async with pipeline.execute(sources[-1].stream() if takes_source else None) as run:
            return told([element async for element in run])

    def check(outcome: Outcome[list[str]]) -> None:
        assert sources[-1].closed == sources[-1].begun
        if not outcome.cancelled:
            assert outcome.value == expected

    for how in modes:
        report = await cancel_sweep(scenario, how=how, check=check)
        assert report.completed
        assert report.ticks > 2


@stages_that(read=True)
async def test_a_source_that_fails_fails_the_run_and_not_the_stage(entry: Entry) -> None:
    """semantics 5.6: the failure has the name of the source; the stage ends by itself, and what it made still comes out."""

    async def failing() -> AsyncIterator[StreamElement]:
        for item in entry.items:
            yield item
        raise ZeroDivisionError

    pipeline = pipeline_of(entry)
    expected = told((await pipeline.run(entry.items)).elements)
    seen: list[StreamElement] = []
    async with pipeline.execute(failing()) as run:
        with pytest.raises(StageError, match="stage 'source' failed") as caught:
            async for element in run:
                seen.append(element)

    assert caught.value.stage == "source"
    assert told(one for one in seen if not isinstance(one, ErrorElement)) == expected


@stages_that(read=True, send=True)
async def test_streaming_is_real(entry: Entry) -> None:
    """semantics 5.3: the first result leaves while the input is still open; what accumulates gets its turn's end for that."""
    pipeline = pipeline_of(entry, 1)
    async with pipeline.execute(Source(entry.items, forever=True).stream()) as run:
        first = await anext(run)

    assert not isinstance(first, EndOfStream)


@every_stage
async def test_it_is_frozen_once_it_is_part_of_a_pipeline(entry: Entry) -> None:
    """semantics 3.4: parameters only, and nobody changes them behind the back of a run."""
    given = entry.make()
    pipeline = PipelineBuilder().chain(given).build()
    if isinstance(given, BaseStage):
        with pytest.raises(RunStateError, match="is part of a pipeline"):
            given.name = "other"
    if pipeline.takes_source:
        once, again = await pipeline.run(entry.items), await pipeline.run(entry.items)
    else:
        once, again = await pipeline.run(), await pipeline.run()

    assert told(once.elements) == told(again.elements)


def test_an_entry_has_something_to_say() -> None:
    """The registry: an example without data would let every check above pass in silence."""
    for name, entry in CONTRACT_STAGES.items():
        assert bool(entry.items) == (KINDS[name] is not StageKind.GENERATE), name

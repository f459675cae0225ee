"""All forms of one element, held to one behaviour: the ready-made stages and the forms in which a stage can be written.

`test_forms.py` shows that forms of whole streams are alike, `tests/contracts` what every public class keeps. Here is what stages
share that send one element for each that they take, be it one by one, several at a time, or in threads.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

import anyio.lowlevel
import pytest
import threads
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow import (
    AudioElement,
    BaseStage,
    EndOfStream,
    ErrorElement,
    FilterStage,
    FlatMapStage,
    MapAsyncStage,
    MapStage,
    MapUnorderedStage,
    PassthroughStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    RunContext,
    SendEnd,
    StageError,
    StreamElement,
    TextElement,
    ThreadStage,
    TurnEnd,
    TurnReset,
    stage,
)
from streamflow.stages import DedupeStage, SkipStage, StageLike, TakeStage, TeeStage, as_stage
from streamflow.testing import CancelMode, EdgeLedger, Outcome, assert_all_stages_stopped, cancel_sweep

Step = Callable[[TextElement], TextElement]

CAPACITIES = (1, 2, 16)

SOUND, END, BAD = AudioElement(b""), TurnEnd(), ErrorElement("code", "message", "elsewhere")
ASIDE = (SOUND, END, BAD, TurnReset())


class BoomError(Exception):
    """What a step of these tests raises."""


@dataclasses.dataclass(frozen=True)
class Form:
    """A way to do something to each element."""

    make: Callable[[Step], StageLike]
    """Returns the stage that calls the step once for each text, and may send what it returns."""
    ordered: bool = True
    """Whether results come in the order of their elements."""
    tells_index: bool = True
    """Whether a failure tells which element it was about."""
    can_fail: bool = True
    """Whether it calls the step at all."""
    takes_all: bool = False
    """Whether data of every type is its own, so that none passes by."""


def later(step: Step) -> Callable[[TextElement], Awaitable[TextElement]]:
    async def subject(element: TextElement) -> TextElement:
        await anyio.lowlevel.checkpoint()
        return step(element)

    return subject


def yielding(step: Step) -> Callable[[TextElement], Iterator[TextElement]]:
    def subject(element: TextElement) -> Iterator[TextElement]:
        yield step(element)

    return subject


def streaming(step: Step) -> Callable[[TextElement], AsyncIterator[TextElement]]:
    async def subject(element: TextElement) -> AsyncIterator[TextElement]:
        await anyio.lowlevel.checkpoint()
        yield step(element)

    return subject


def is_kept(step: Step) -> Callable[[TextElement], bool]:
    return lambda element: bool(step(element).text)


def text_of(step: Step) -> Callable[[TextElement], str]:
    return lambda element: step(element).text


def generator(step: Step) -> StageLike:
    @stage
    async def subject(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield step(element)

    return subject


def process_function(step: Step) -> StageLike:
    @stage
    async def subject(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for element in input:
            await output.send(step(element))

    return subject


def process_class(step: Step) -> type[BaseStage]:
    class SubjectStage(BaseStage):
        async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            async for element in input:
                await output.send(step(element))

    return SubjectStage


def helped(step: Step) -> StageLike:
    @stage
    async def subject(
        input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object] | None = None
    ) -> None:
        async def work() -> None:
            async for element in input:
                await output.send(step(element))

        assert run is not None
        run.start_soon(work)

    return subject


def options(name: str = "subject") -> dict[str, object]:
    return {"name": name, "accepts": TextElement}


FORMS = {
    "map": Form(lambda step: MapStage(step, **options())),
    "async map": Form(lambda step: MapStage(later(step), **options())),
    "filter": Form(lambda step: FilterStage(is_kept(step), **options())),
    "flat map to list": Form(lambda step: FlatMapStage(lambda one: [step(one)], **options())),
    "flat map to generator": Form(lambda step: FlatMapStage(yielding(step), **options())),
    "flat map to async generator": Form(lambda step: FlatMapStage(streaming(step), **options())),
    "passthrough": Form(lambda _step: PassthroughStage("subject"), can_fail=False, takes_all=True),
    "map async 1": Form(lambda step: MapAsyncStage(later(step), concurrency=1, **options())),
    "map async 2": Form(lambda step: MapAsyncStage(later(step), concurrency=2, **options()), tells_index=False),
    "map async 4": Form(lambda step: MapAsyncStage(later(step), concurrency=4, **options()), tells_index=False),
    "map unordered 1": Form(lambda step: MapUnorderedStage(later(step), concurrency=1, **options())),
    "map unordered 4": Form(
        lambda step: MapUnorderedStage(later(step), concurrency=4, **options()), ordered=False, tells_index=False
    ),
    "thread 1": Form(lambda step: ThreadStage(step, **options())),
    "thread 4": Form(lambda step: ThreadStage(step, concurrency=4, **options()), tells_index=False),
    "thread abandoned": Form(lambda step: ThreadStage(step, abandon_on_cancel=True, **options())),
    "@stage generator": Form(generator),
    "@stage function": Form(stage(**options())),
    "@stage async function": Form(lambda step: stage(**options())(later(step))),
    "@stage generator function": Form(lambda step: stage(**options())(yielding(step))),
    "process function": Form(process_function),
    "process class": Form(process_class),
    "process object": Form(lambda step: process_class(step)()),
    "helper task": Form(helped, tells_index=False),
    "tee": Form(lambda step: TeeStage(step, **options())),
    "async tee": Form(lambda step: TeeStage(later(step), **options())),
    "dedupe": Form(lambda step: DedupeStage(text_of(step), **options())),
    "take": Form(lambda _step: TakeStage(10**6, **options()), can_fail=False),
    "skip": Form(lambda _step: SkipStage(0, **options()), can_fail=False),
}

every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
every_form_that_can_fail = pytest.mark.parametrize(
    "form", [one for one in FORMS.values() if one.can_fail], ids=[name for name in FORMS if FORMS[name].can_fail]
)


@pytest.fixture(autouse=True)
def _clock_waits_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    threads.hold_the_clock(monkeypatch)


class Steps:
    """The step of a form: notes for which elements it was called, and fails at one of them."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.error = BoomError()
        self.called: list[str] = []

    def __call__(self, element: TextElement) -> TextElement:
        self.called.append(element.text)
        if element.text == str(self.fails_at):
            raise self.error
        return element


class Source:
    """A source that notes how far it was read, and whether it was closed."""

    def __init__(self, items: Iterable[StreamElement]) -> None:
        self.items = items
        self.given = self.begun = self.closed = 0

    async def stream(self) -> AsyncIterator[StreamElement]:
        self.begun += 1
        try:
            for item in self.items:
                self.given += 1
                yield item
        finally:
            self.closed += 1


class Numbers(Source):
    """A source that counts."""

    def __init__(self, count: int | None = None) -> None:
        super().__init__(TextElement(str(number)) for number in (itertools.count() if count is None else range(count)))


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def texts(elements: list[StreamElement]) -> list[str]:
    return [one.text for one in elements if isinstance(one, TextElement)]


def pipeline_of(*chain: StageLike, capacity: int) -> Pipeline:
    return PipelineBuilder(PipelineConfig(buffer_size=capacity, timeout_s=600)).chain(*chain).build()


async def seen_of(pipeline: Pipeline, source: object) -> tuple[list[StreamElement], StageError | None]:
    """Run a pipeline; return all that its consumer saw, and what it raised. No edge may have lost or doubled anything."""
    seen: list[StreamElement] = []
    error: StageError | None = None
    with EdgeLedger() as ledger:
        async with pipeline.execute(source) as run:
            try:
                async for element in run:
                    seen.append(element)
            except StageError as failure:
                error = failure
    await assert_all_stages_stopped()
    ledger.check(ended=True)
    return seen, error


@every_form
async def test_as_many_come_out_as_went_in(form: Form) -> None:
    """semantics 3.2: each element once, in order where that is promised, at every capacity, and nothing for nothing."""
    for capacity in CAPACITIES:
        for count in (0, 1, 2, 30):
            steps = Steps()
            seen, error = await seen_of(pipeline_of(form.make(steps), capacity=capacity), Numbers(count).stream())
            assert error is None
            end = seen.pop()
            assert isinstance(end, EndOfStream)
            assert end.reason == "done"
            assert (texts(seen) if form.ordered else sorted(texts(seen), key=int)) == numbers(count)
            assert sorted(steps.called, key=int) == numbers(count * form.can_fail)


def stretches(elements: list[StreamElement], form: Form) -> list[object]:
    """Return what must be the same on both sides of a stage: texts by stretches between others, where it promises no order."""
    found: list[object] = [Counter[str]()]
    for element in elements:
        last = found[-1]
        if isinstance(element, TextElement) and not form.ordered and isinstance(last, Counter):
            last[element.text] += 1
        elif isinstance(element, TextElement):
            found.append(element)
        else:
            found += [element, Counter[str]()]
    return found


@every_form
@settings(max_examples=8)
@given(
    items=st.lists(
        st.one_of(st.integers(0, 10**9).map(lambda number: TextElement(str(number))), st.sampled_from(ASIDE)),
        max_size=12,
        unique_by=lambda one: one.text if isinstance(one, TextElement) else object(),
    ),
    capacity=st.sampled_from(CAPACITIES),
)
async def test_what_is_not_for_it_keeps_its_place(form: Form, items: list[StreamElement], capacity: int) -> None:
    """semantics 1.4, 3.3: control and data that is not accepted stay behind all that was before them, ahead of all that comes."""
    with pytest.MonkeyPatch.context() as monkeypatch:  # the fixture is gone when Hypothesis runs its examples
        threads.hold_the_clock(monkeypatch)
        seen, error = await seen_of(pipeline_of(form.make(Steps()), capacity=capacity), items)

    assert error is None
    assert isinstance(seen.pop(), EndOfStream)
    assert stretches(seen, form) == stretches(items, form)
    others = [one for one in seen if not isinstance(one, TextElement)]
    assert all(one is other for one, other in zip(others, (x for x in items if x in others), strict=True))


@every_form_that_can_fail
async def test_a_failure_is_told_behind_the_results_before_it(form: Form) -> None:
    """semantics 5.6: those before it come out, then the error element; the cause is the very exception, the index the element's."""
    for capacity in CAPACITIES:
        for fails_at in (0, 1, 7):
            steps, source = Steps(fails_at), Numbers(50)
            given = form.make(steps)
            seen, error = await seen_of(pipeline_of(given, capacity=capacity), source.stream())
            assert error is not None
            assert error.__cause__ is steps.error
            assert error.stage == as_stage(given).name == "subject"
            assert error.index == (fails_at if form.tells_index else None)
            assert error.suppressed == ()
            notice, end = seen[-2:]
            assert isinstance(notice, ErrorElement)
            assert isinstance(end, EndOfStream)
            assert end.reason == "error"
            got = texts(seen)
            if form.ordered:
                assert got == numbers(fails_at)
            else:
                assert len(got) == len(set(got))
                assert set(got) <= set(steps.called) - {str(fails_at)}
            assert source.closed == 1
            assert len(steps.called) <= fails_at + 4  # those that ran beside it, and no more


@every_form
async def test_it_stops_when_its_reader_has_enough(form: Form) -> None:
    """semantics 3.1, 5.5: an endless source is read no further than the edges reach, and closed."""
    for capacity in CAPACITIES:
        source = Numbers()
        pipeline = pipeline_of(form.make(Steps()), TakeStage(3, name="three"), capacity=capacity)
        seen, error = await seen_of(pipeline, source.stream())
        assert error is None
        assert len(set(texts(seen))) == 3
        if form.ordered:
            assert texts(seen) == numbers(3)
        assert source.closed == 1
        if pipeline.max_in_flight is not None:
            assert source.given <= 3 + pipeline.max_in_flight


@every_form
async def test_a_consumer_that_leaves_ends_it(form: Form) -> None:
    """semantics 5.5: after any number of elements, with the source in the middle of an endless stream."""
    for taken in (0, 1, 5):
        source = Numbers()
        with EdgeLedger() as ledger:
            async with pipeline_of(form.make(Steps()), capacity=2).execute(source.stream()) as run:
                for _ in range(taken):
                    await anext(run)
        await assert_all_stages_stopped()
        ledger.check(ended=True)
        assert source.closed == source.begun
        assert run.zombies == ()


@every_form
@pytest.mark.slow
async def test_wherever_it_is_cancelled_nothing_is_lost_or_doubled(form: Form, anyio_backend_name: str) -> None:
    """semantics 2.3, 5.5: at every tick: what came out is a part of the model, every edge accounts for all, no task is left."""
    modes: tuple[CancelMode, ...] = ("scope",) if anyio_backend_name == "trio" else ("scope", "native", "timeout")
    items = [TextElement("0"), TextElement("1"), SOUND, TextElement("2"), END, TextElement("3")]
    model = stretches(items, form)
    ledger, seen, source = EdgeLedger(), list[StreamElement](), Source(items)

    async def scenario() -> None:
        nonlocal ledger, seen, source
        ledger, seen, source = EdgeLedger(), [], Source(items)
        with ledger:
            async with pipeline_of(form.make(Steps()), capacity=2).execute(source.stream()) as run:
                async for element in run:
                    seen.append(element)

    def check(outcome: Outcome[None]) -> None:
        ledger.check(ended=True)
        assert source.closed == source.begun
        if outcome.cancelled:
            *whole, last = stretches(seen, form)
            assert whole == model[: len(whole)]
            assert last == model[len(whole)] or last <= model[len(whole)]
        else:
            assert stretches(seen[:-1], form) == model

    for how in modes:
        report = await cancel_sweep(scenario, how=how, check=check)
        assert report.completed
        assert report.ticks > 5


@every_form
async def test_two_runs_share_nothing(form: Form) -> None:
    """semantics 3.4: side by side, element by element, each run of one pipeline gives what it gives alone."""
    pipeline = pipeline_of(form.make(Steps()), capacity=1)
    got: list[list[StreamElement]] = [[], []]
    async with pipeline.execute(Numbers(9).stream()) as first, pipeline.execute(Numbers(9).stream()) as second:
        for _ in range(10):
            got[0].append(await anext(first))
            got[1].append(await anext(second))

    for seen in got:
        assert isinstance(seen.pop(), EndOfStream)
        assert (texts(seen) if form.ordered else sorted(texts(seen), key=int)) == numbers(9)

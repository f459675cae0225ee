"""Several calls at a time: order, bounds, failures, threads. What all forms share is in `test_all_forms.py`."""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Self

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import threads
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    AudioElement,
    BuildError,
    ConfigError,
    EndOfStream,
    ErrorElement,
    MapAsyncStage,
    MapUnorderedStage,
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
    current_run,
    stage,
)
from streamflow.channels import EDGE_WATCH
from streamflow.errors import ElementError, OutputClosedError
from streamflow.stages import TakeStage, as_stage
from streamflow.testing import EdgeLedger, assert_all_stages_stopped, assert_no_tasks_left, run_stage, tasks_alive

Work = Callable[[TextElement], Awaitable[TextElement]]

SOUND, END, BAD = AudioElement(b""), TurnEnd(), ErrorElement("code", "message", "elsewhere")

CONCURRENT = [MapAsyncStage, MapUnorderedStage]

both = pytest.mark.parametrize("kind", CONCURRENT)


class BoomError(Exception):
    """What a function of these tests raises."""


@pytest.fixture(autouse=True)
def _clock_waits_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    threads.hold_the_clock(monkeypatch)


def texts(elements: list[StreamElement]) -> list[str]:
    return [one.text for one in elements if isinstance(one, TextElement)]


def pipeline_of(*chain: object, capacity: int = 16, timeout_s: float | None = 3600) -> Pipeline:
    return PipelineBuilder(PipelineConfig(buffer_size=capacity, timeout_s=timeout_s)).chain(*chain).build()


class Calls:
    """A function that takes as many seconds as its element says, and notes which calls run."""

    def __init__(self) -> None:
        self.running = self.peak = 0
        self.begun: list[str] = []
        self.ended: list[tuple[float, str]] = []

    async def __call__(self, element: TextElement) -> TextElement:
        self.begun.append(element.text)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await anyio.sleep(float(element.text))
        finally:
            self.running -= 1
            self.ended.append((anyio.current_time(), element.text))
        return element


class Held:
    """Counts what the one stage of a run holds: taken out of its input and not yet in its output."""

    def __init__(self) -> None:
        self.now = self.peak = 0

    def __enter__(self) -> Self:
        self._token = EDGE_WATCH.set(self.watch)
        return self

    def __exit__(self, *_error: object) -> None:
        EDGE_WATCH.reset(self._token)

    def watch(self, edge: str, _bound: object) -> Held.Watch:
        return self.Watch(self, reads=edge.startswith("source"))

    class Watch:
        hears_sends = True

        def __init__(self, held: Held, *, reads: bool) -> None:
            self.held, self.reads = held, reads

        def on_sent(self, item: object) -> None:
            self.held.now -= not self.reads

        def on_received(self, item: object) -> None:
            self.held.now += self.reads
            self.held.peak = max(self.held.peak, self.held.now)

        def on_discarded(self, items: object, reason: str) -> None: ...

        def on_refused(self, item: object, reason: str) -> None: ...

        def on_blocked(self, end: str, *, blocked: bool) -> None: ...


# Order, and how much is held


def between_fences(elements: list[StreamElement]) -> list[Counter[str] | StreamElement]:
    """Return elements with each stretch of texts as a multiset."""
    found: list[Counter[str] | StreamElement] = []
    for element in elements:
        if not isinstance(element, TextElement):
            found.append(element)
        elif found and isinstance(found[-1], Counter):
            found[-1][element.text] += 1
        else:
            found.append(Counter([element.text]))
    return found


inputs = st.lists(
    st.one_of(st.integers(0, 5).map(lambda seconds: TextElement(str(seconds))), st.sampled_from([SOUND, END, BAD])),
    max_size=14,
)


@given(
    items=inputs,
    concurrency=st.sampled_from([1, 2, 3, 4, 8]),
    capacity=st.sampled_from([1, 2, 16]),
    slow=st.booleans(),
    kind=st.sampled_from(CONCURRENT),
)
async def test_order_and_bound_hold_for_every_stream(
    items: list[StreamElement], concurrency: int, capacity: int, slow: bool, kind: type[MapAsyncStage]
) -> None:
    """semantics 3.2, 3.3, 5.4: order, or order between what passes by; never more calls, nor more elements held, than allowed."""
    calls = Calls()
    subject = kind(calls, concurrency=concurrency, name="subject", accepts=TextElement)
    got: list[StreamElement] = []
    with Held() as held:
        async with pipeline_of(subject, capacity=capacity).execute(items) as run:
            async for element in run:
                got.append(element)
                if slow:
                    await anyio.sleep(2)
    assert isinstance(got.pop(), EndOfStream)

    assert calls.peak <= concurrency
    assert held.peak <= concurrency == as_stage(subject).max_held
    assert held.now == 0
    if kind is MapAsyncStage or concurrency == 1:
        assert got == items
    assert between_fences(got) == between_fences(items)


@both
@pytest.mark.parametrize("capacity", [1, 16])
@pytest.mark.parametrize("concurrency", [1, 2, 5, 100])
async def test_as_many_calls_run_as_are_allowed(kind: type[MapAsyncStage], concurrency: int, capacity: int) -> None:
    """`MapAsyncStage`: ten calls of an hour take ten hours one by one, one hour ten at a time; the bound of edges is no matter."""
    calls = Calls()

    await run_stage(
        kind(calls, concurrency=concurrency, accepts=TextElement, name="subject"),
        ["3600"] * 10,
        capacity=capacity,
        timeout_s=None,
    )

    assert calls.peak == min(concurrency, 10)
    assert anyio.current_time() == 3600 * -(-10 // concurrency)


@both
async def test_a_full_stage_does_not_pull(kind: type[MapAsyncStage]) -> None:
    """semantics 5.4: behind a consumer that has stopped it takes `concurrency` elements and no more, and so does the bound say."""
    given = 0

    async def endless() -> AsyncIterator[str]:
        nonlocal given
        while True:
            given += 1
            yield "0"

    calls = Calls()
    pipeline = pipeline_of(kind(calls, concurrency=3, name="subject", accepts=TextElement), capacity=2)
    async with pipeline.execute(endless()):
        await anyio.sleep(100)

        assert len(calls.begun) == 2 + 3
        assert given == pipeline.max_in_flight == 2 + 3 + 2 + 1


async def test_a_result_waits_for_those_before_it() -> None:
    """`MapAsyncStage` — Flow.emits: once its call and all before it have ended."""
    seen: list[tuple[float, str]] = []

    async with pipeline_of(MapAsyncStage(Calls(), concurrency=3, accepts=TextElement, name="subject")).execute(
        ["5", "1", "9"]
    ) as run:
        async for text in run.text():
            seen.append((anyio.current_time(), text))

    assert seen == [(5, "5"), (5, "1"), (9, "9")]


@pytest.mark.parametrize("concurrency", [2, 3, 4])
async def test_unordered_results_do_not_wait_for_a_slow_one(concurrency: int) -> None:
    """`MapUnorderedStage` — Flow.emits: once its call has ended; the calls beside a slow one go on being refilled."""
    seen: list[tuple[float, str]] = []
    subject = MapUnorderedStage(Calls(), concurrency=concurrency, accepts=TextElement, name="subject")

    async with pipeline_of(subject).execute(["60", *["1"] * 12]) as run:
        async for text in run.text():
            seen.append((anyio.current_time(), text))

    beside = concurrency - 1
    assert seen == [*((1 + number // beside, "1") for number in range(12)), (60, "60")]


async def test_what_passes_by_is_a_fence_for_unordered_results() -> None:
    """`MapUnorderedStage`, semantics 3.3: behind all results of what was before it, ahead of all later ones, ready or not."""
    seen: list[tuple[float, object]] = []
    subject = MapUnorderedStage(Calls(), concurrency=6, accepts=TextElement, name="subject")

    async with pipeline_of(subject).execute(["4", "2", END, "3", SOUND, "1"]) as run:
        async for element in run:
            seen.append((anyio.current_time(), element.text if isinstance(element, TextElement) else element))

    assert seen[:-1] == [(2, "2"), (4, "4"), (4, END), (4, "3"), (4, SOUND), (4, "1")]


@both
async def test_what_passes_by_waits_for_nothing_where_nothing_is_held(kind: type[MapAsyncStage]) -> None:
    """semantics 3.3, 5.3: it goes on at once, while the input stays open and idle, and also behind the last element."""

    async def source() -> AsyncIterator[StreamElement]:
        yield END
        await anyio.sleep(5)
        yield TextElement("1")
        yield SOUND
        await anyio.sleep(100)
        yield END

    seen: list[tuple[float, type]] = []
    async with pipeline_of(kind(Calls(), concurrency=4, accepts=TextElement, name="subject")).execute(source()) as run:
        async for element in run:
            seen.append((anyio.current_time(), type(element)))

    assert seen == [(0, TurnEnd), (6, TextElement), (6, AudioElement), (105, TurnEnd), (105, EndOfStream)]


@both
async def test_more_calls_than_an_edge_is_wide_at_most(kind: type[MapAsyncStage]) -> None:
    """`MapAsyncStage`: the bound may be large; nothing is lost or held back by the channel in which places stand."""
    items = [TextElement(str(number)) if number % 3 else SOUND for number in range(300)]
    calls = Calls()
    calls_all = kind(calls, concurrency=150, accepts=TextElement, name="subject")

    got = await run_stage(calls_all, items, timeout_s=None)

    assert calls.peak == 100
    assert between_fences(got) == between_fences(items)


# Failures


def boom(element: TextElement) -> TextElement:
    raise BoomError(element.text)


def failing(at: str, calls: Calls, error: Exception) -> Work:
    """Return a function that fails `at` one element, as soon as its call has lasted as long as it says."""

    async def subject(element: TextElement) -> TextElement:
        await calls(element)
        if element.text == at:
            raise error
        return element

    return subject


async def outcome(pipeline: Pipeline, source: object) -> tuple[list[tuple[float, str]], StageError]:
    """Run what fails; return the texts that came before, with their times, and the error."""
    seen: list[tuple[float, str]] = []
    with pytest.raises(StageError) as caught:
        async with pipeline.execute(source) as run:
            async for element in run:
                if isinstance(element, TextElement):
                    seen.append((anyio.current_time(), element.text))
    await assert_all_stages_stopped()
    return seen, caught.value


async def test_a_failure_comes_behind_the_results_before_it() -> None:
    """`MapAsyncStage` — Flow.fails: those before it are sent first, those behind it are not, and nothing more is begun."""
    calls, error = Calls(), BoomError()
    subject = MapAsyncStage(failing("2", calls, error), concurrency=4)

    seen, failure = await outcome(pipeline_of(subject), ["5", "3", "2", "100", "1", "1"])

    assert seen == [(5, "5"), (5, "3")]
    assert anyio.current_time() == 5
    assert (failure.stage, failure.index) == ("subject", None)
    assert failure.__cause__ is error
    assert sorted(calls.begun) == ["100", "2", "3", "5"]
    assert calls.running == 0


@both
async def test_once_a_call_has_failed_nothing_more_is_begun(kind: type[MapAsyncStage]) -> None:
    """`MapAsyncStage`: also while the failure waits for results before it, and there would be room."""

    async def source() -> AsyncIterator[StreamElement]:
        for text in ("9", "2"):
            yield TextElement(text)
        await anyio.sleep(3)
        yield TextElement("1")

    calls, error = Calls(), BoomError()
    seen, failure = await outcome(pipeline_of(kind(failing("2", calls, error), concurrency=4)), source())

    assert seen == ([(9, "9")] if kind is MapAsyncStage else [])
    assert failure.__cause__ is error
    assert sorted(calls.begun) == ["2", "9"]


async def test_an_unordered_failure_comes_behind_the_results_that_came_before_it() -> None:
    """`MapUnorderedStage` — Flow.fails: what is ready has been sent; what is not, is not waited for."""
    calls, error = Calls(), BoomError()
    subject = MapUnorderedStage(failing("2", calls, error), concurrency=4)

    seen, failure = await outcome(pipeline_of(subject), ["5", "1", "2", "100", "7", "7"])

    assert seen == [(1, "1")]
    assert anyio.current_time() == 2
    assert failure.__cause__ is error
    assert sorted(calls.begun) == ["1", "100", "2", "5", "7"]
    assert calls.running == 0


async def test_of_two_failures_the_first_in_order_is_told() -> None:
    """`MapAsyncStage`: order holds for failures too, whichever is sooner."""

    async def subject(element: TextElement) -> TextElement:
        await anyio.sleep(float(element.text))
        raise BoomError(element.text)

    for kind, first in [(MapAsyncStage, "5"), (MapUnorderedStage, "1")]:
        seen, failure = await outcome(pipeline_of(kind(subject, concurrency=2)), ["5", "1"])
        assert seen == []
        assert str(failure.__cause__) == first
        assert failure.suppressed == ()


@both
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_traceback_ends_in_the_users_line(kind: type[MapAsyncStage], concurrency: int) -> None:
    """semantics 5.6: the cause is the user's exception itself, no group of it; our frames are not in it."""

    async def subject(element: TextElement) -> TextElement:
        await anyio.sleep(1)
        return boom(element)

    _, failure = await outcome(pipeline_of(kind(subject, concurrency=concurrency)), ["a"])

    assert type(failure.__cause__) is BoomError
    assert [frame.name for frame in traceback.extract_tb(failure.__cause__.__traceback__)] == ["subject", "boom"]
    assert failure.index == (0 if concurrency == 1 else None)


@both
@pytest.mark.parametrize("foreign", [OutputClosedError("x → y", "no_more_needed"), anyio.ClosedResourceError()])
async def test_what_looks_like_the_end_of_a_stream_is_a_failure(kind: type[MapAsyncStage], foreign: Exception) -> None:
    """semantics 3.1: only the stage's own output says that nobody needs more; what a call raises is a failure, whatever it is."""
    _, failure = await outcome(pipeline_of(kind(failing("1", Calls(), foreign), concurrency=2)), ["0", "1"])

    assert failure.__cause__ is foreign


@both
@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("result", [None, "text", EndOfStream("done")])
async def test_a_result_that_is_no_element_fails_the_stage(
    kind: type[MapAsyncStage], concurrency: int, result: object
) -> None:
    """`MapAsyncStage` — Flow.fails: `ElementError` if it returns no element."""

    async def subject(element: TextElement) -> object:
        return result

    pipeline = pipeline_of(kind(subject, concurrency=concurrency, name="wrong", accepts=TextElement, emits=TextElement))
    _, failure = await outcome(pipeline, ["a"])

    assert failure.stage == "wrong"
    assert isinstance(failure.__cause__, ElementError)


@both
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_function_that_is_not_async_is_told_where_it_belongs(
    kind: type[MapAsyncStage], concurrency: int
) -> None:
    """`MapAsyncStage` — Flow.fails: nothing to await would mean no concurrency, in silence."""
    _, failure = await outcome(pipeline_of(kind(lambda one: one, concurrency=concurrency, name="wrong")), ["a"])

    assert "stage 'wrong': its function returned TextElement" in str(failure.__cause__)
    assert "or use MapStage, or ThreadStage if it blocks" in str(failure.__cause__)


async def test_a_function_that_returns_a_coroutine_is_as_good_as_an_async_one() -> None:
    """`MapAsyncStage`: what a function returns counts, not how it was written."""
    calls = Calls()
    subject = MapAsyncStage(lambda element: calls(element), concurrency=2, name="subject", accepts=TextElement)  # noqa: PLW0108

    assert texts(await run_stage(subject, ["2", "1"])) == ["2", "1"]
    assert calls.peak == 2


# Ends


@both
async def test_calls_are_cancelled_with_the_run(kind: type[MapAsyncStage]) -> None:
    """`MapAsyncStage` — Flow.cancels: calls that run are cancelled, and have unwound when the run has been left."""
    calls, before = Calls(), tasks_alive()

    async with pipeline_of(kind(calls, concurrency=3, name="subject", accepts=TextElement)).execute(
        ["0", *["99"] * 5]
    ) as run:
        assert await anext(run) == TextElement("0")
        await anyio.wait_all_tasks_blocked()
        assert calls.running == 3

    assert calls.running == 0
    await assert_no_tasks_left(before)


async def idle() -> AsyncIterator[StreamElement]:
    for text in ("1", "2", "500"):
        yield TextElement(text)
    await anyio.sleep(1000)


@both
@pytest.mark.parametrize(
    "source",
    [idle, lambda: ["1", "2", "500"], lambda: ["1", "2", *["500"] * 99], lambda: ["1", "2", "500", *[SOUND] * 99]],
    ids=["idle", "ended", "full of calls", "full of what passes by"],
)
async def test_it_ends_as_soon_as_nobody_needs_more(kind: type[MapAsyncStage], source: Callable[[], object]) -> None:
    """semantics 3.1: whatever its own task waits for meanwhile; calls that run are cancelled."""
    ended: list[float] = []

    class Subject(kind):
        async def process(
            self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
        ) -> None:
            try:
                await super().process(input, output, run)
            finally:
                ended.append(anyio.current_time())

    @stage
    async def slow_to_end(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element
        await anyio.sleep(60)

    calls = Calls()
    subject = Subject(calls, concurrency=4, name="subject", accepts=TextElement)
    result = await pipeline_of(subject, TakeStage(1), slow_to_end).run(source())

    assert texts(list(result.elements)) == ["1"]
    assert ended == [2]  # when it tries to send its second result
    assert calls.ended[:2] == [(1, "1"), (2, "2")]
    assert set(calls.ended[2:]) == {(2, "500")}


@both
async def test_a_reader_that_leaves_frees_a_stage_that_is_full(kind: type[MapAsyncStage]) -> None:
    """semantics 3.1: wherever the stage waits: for a place, or for something that passes by to have one."""
    for items in (["0"] * 50, ["0", *[SOUND] * 50], ["0", SOUND, "0", SOUND] * 20):
        with EdgeLedger() as ledger:
            pipeline = pipeline_of(
                kind(Calls(), concurrency=2, name="subject", accepts=TextElement),
                TakeStage(1, accepts=TextElement),
                capacity=1,
            )
            result = await pipeline.run(items)
        ledger.check(ended=True)
        assert texts(list(result.elements)) == ["0"]
        assert anyio.current_time() == 0


# What a call sees

setting: ContextVar[str] = ContextVar("setting", default="unset")


@both
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_call_sees_its_run_and_the_callers_context(kind: type[MapAsyncStage], concurrency: int) -> None:
    """semantics 5.1: context variables of the `execute()` call, and `current_run()`, reach every call."""
    seen: list[tuple[str, str]] = []

    async def subject(element: TextElement) -> TextElement:
        seen.append((setting.get(), current_run().stage))
        return element

    setting.set("mine")
    await run_stage(kind(subject, concurrency=concurrency), ["a", "b"])

    assert seen == [("mine", "subject")] * 2


# Threads


class Blocking:
    """A function that blocks until it is let go, and notes what runs."""

    def __init__(self) -> None:
        self.go_on, self.begun = threading.Event(), threading.Semaphore(0)
        self.names: list[str] = []
        self.returned: list[str] = []

    def __call__(self, element: TextElement) -> TextElement:
        self.names.append(threading.current_thread().name)
        self.begun.release()
        assert self.go_on.wait(20)
        self.returned.append(element.text)
        return element

    async def wait_begun(self, count: int = 1) -> None:
        for _ in range(count):
            assert await anyio.to_thread.run_sync(lambda: self.begun.acquire(timeout=20), abandon_on_cancel=True)

    def let_go_soon(self) -> None:
        threading.Timer(0.03, self.go_on.set).start()


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_blocking_function_runs_in_threads_and_keeps_order(concurrency: int) -> None:
    """`ThreadStage`: up to `concurrency` threads, never the event loop's own; order is kept."""
    work = Blocking()
    pipeline = pipeline_of(ThreadStage(work, concurrency=concurrency, name="subject", accepts=TextElement))
    async with pipeline.execute(["a", "b", "c", "d"]) as run:
        await work.wait_begun(concurrency)
        assert len(work.names) == concurrency
        work.go_on.set()
        got = [text async for text in run.text()]

    assert got == ["a", "b", "c", "d"]
    assert threading.main_thread().name not in work.names


async def test_threads_of_others_do_not_hold_it_up() -> None:
    """`ThreadStage`: it has a limit of its own, so it works while all of anyio's common threads are taken."""
    common = anyio.to_thread.current_default_thread_limiter()
    for number in range(int(common.total_tokens)):
        common.acquire_on_behalf_of_nowait(number)

    assert texts(await run_stage(ThreadStage(shout, concurrency=2), ["a", "b"])) == ["A", "B"]


def shout(element: TextElement) -> TextElement:
    return TextElement(element.text.upper())


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_thread_sees_its_run_and_may_call_back(concurrency: int) -> None:
    """`ThreadStage`: context variables as in every call, and `anyio.from_thread`."""

    def subject(element: TextElement) -> TextElement:
        anyio.from_thread.run(anyio.lowlevel.checkpoint)
        return TextElement(f"{element.text} {setting.get()} {current_run().stage}")

    setting.set("mine")
    assert texts(await run_stage(ThreadStage(subject, concurrency=concurrency), ["a"])) == ["a mine subject"]


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_an_exception_in_a_thread_is_the_cause(concurrency: int) -> None:
    """semantics 5.6, `ThreadStage` — Flow.fails: the exception itself, which ends in the user's line; results before it first."""
    error = BoomError()

    def subject(element: TextElement) -> TextElement:
        if element.text == "c":
            raise error
        return element

    seen, failure = await outcome(pipeline_of(ThreadStage(subject, concurrency=concurrency)), ["a", "b", "c", "d"])

    assert [text for _, text in seen] == ["a", "b"]
    assert failure.__cause__ is error
    assert traceback.extract_tb(error.__traceback__)[-1].name == "subject"
    assert failure.index == (2 if concurrency == 1 else None)


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_cancelled_stage_waits_for_its_threads(concurrency: int) -> None:
    """`ThreadStage` — Flow.cancels: leaving the run waits for the calls that run; their results are dropped, no call follows."""
    work = Blocking()
    pipeline = pipeline_of(ThreadStage(work, concurrency=concurrency, name="subject", accepts=TextElement))
    async with pipeline.execute(["x"] * 10) as run:
        await work.wait_begun(concurrency)
        work.let_go_soon()

    assert len(work.returned) == len(work.names) == concurrency
    assert run.zombies == ()
    await assert_all_stages_stopped()


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_an_abandoned_thread_is_not_waited_for(concurrency: int) -> None:
    """`ThreadStage(abandon_on_cancel=True)`: the run is left at once, the calls go on unseen."""
    work = Blocking()
    subject = ThreadStage(work, concurrency=concurrency, abandon_on_cancel=True, name="subject", accepts=TextElement)
    async with pipeline_of(subject).execute(["x"] * 10) as run:
        await work.wait_begun(concurrency)

    assert work.returned == []
    assert run.zombies == ()
    await assert_all_stages_stopped()
    work.go_on.set()


@pytest.mark.real_clock
async def test_a_thread_that_does_not_return_is_named() -> None:
    """semantics 5.5: what could not be stopped within the deadline is named in `run.zombies`."""
    work = Blocking()
    config = PipelineConfig(shutdown_timeout_s=0.05)
    pipeline = PipelineBuilder(config).chain(ThreadStage(work, name="subject", accepts=TextElement)).build()
    async with pipeline.execute(["x"]) as run:
        await anyio.to_thread.run_sync(lambda: work.begun.acquire(timeout=20))
        late = threading.Timer(0.15, work.go_on.set)
        late.start()
    await anyio.to_thread.run_sync(late.join)

    assert run.zombies == ("subject",)


# What is refused at once


@pytest.mark.parametrize("kind", [*CONCURRENT, ThreadStage])
@pytest.mark.parametrize("concurrency", [0, -1, True, 2.0, "2", None])
def test_a_wrong_concurrency_is_refused(kind: type[MapAsyncStage], concurrency: object) -> None:
    """`MapAsyncStage` — Raises: the field and the stage are named."""
    with pytest.raises(
        ConfigError, match=r"^concurrency: stage 'subject': give a whole number from 1 up, got "
    ) as caught:
        kind(shout, concurrency=concurrency, name="subject")

    assert caught.value.field == "concurrency"


async def several(element: TextElement) -> AsyncIterator[TextElement]:
    yield element


def some(element: TextElement) -> Iterator[TextElement]:
    yield element


async def two(element: TextElement, other: TextElement) -> TextElement:
    return element


async def calling(element: TextElement) -> TextElement:
    return element


@pytest.mark.parametrize(
    ("kind", "func", "said"),
    [
        *((kind, func, "FlatMapStage") for kind in (*CONCURRENT, ThreadStage) for func in (several, some)),
        *((kind, two, "must be given 2 arguments") for kind in (*CONCURRENT, ThreadStage)),
        *((kind, "text", "is no function") for kind in (*CONCURRENT, ThreadStage)),
        *((kind, lambda one: one, "needs a name") for kind in (*CONCURRENT, ThreadStage)),
        (ThreadStage, calling, "give it to MapAsyncStage"),
    ],
)
def test_a_wrong_function_is_refused(kind: type[MapAsyncStage], func: object, said: str) -> None:
    """styleguide 3: in the constructor, with a way out."""
    with pytest.raises(BuildError, match=said):
        kind(func, concurrency=2)


@pytest.mark.parametrize("kind", [*CONCURRENT, ThreadStage])
def test_types_come_from_the_functions_annotations(kind: type[MapAsyncStage]) -> None:
    """semantics 3.3: by annotation or keyword, as for every form."""
    func = shout if kind is ThreadStage else calling
    told = as_stage(kind(func, concurrency=2))
    said = as_stage(kind(func, concurrency=2, accepts=(TextElement, TurnEnd), emits=(TextElement, AudioElement)))

    assert (told.name, told.accepts, told.emits, told.max_held) == (func.__name__, (TextElement,), (TextElement,), 2)
    assert (said.accepts, said.emits) == ((TextElement, TurnEnd), (TextElement, AudioElement))


@both
async def test_control_that_is_named_is_given_to_the_function(kind: type[MapAsyncStage]) -> None:
    """semantics 1.4: control reaches those who name it, here as everywhere, and is then an element like another."""

    async def subject(element: TextElement | TurnEnd) -> TextElement:
        return element if isinstance(element, TextElement) else TextElement("end")

    assert texts(await run_stage(kind(subject, concurrency=1), ["a", END, "b"])) == ["a", "end", "b"]
    assert sorted(texts(await run_stage(kind(subject, concurrency=3), ["a", END, "b"]))) == ["a", "b", "end"]

"""What becomes of a run when a supervised stage fails: semantics 5.7, and all that is promised beside it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator

import anyio
import pytest
from failing import RefusalError, counting, one_by_one, supervised

from streamflow import (
    AudioElement,
    BaseStage,
    CollectStage,
    DeadLetterElement,
    ErrorElement,
    FilterStage,
    FlatMapStage,
    MapAsyncStage,
    MapStage,
    MapUnorderedStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    RunContext,
    RunTimeoutError,
    SendEnd,
    SinkStage,
    StageError,
    StageKind,
    StreamElement,
    Supervision,
    TextElement,
    ThreadStage,
    TurnEnd,
    current_run,
    stage,
)
from streamflow.observe import ElementDeadLettered, ElementDropped, ElementRetried, StageRestarted
from streamflow.testing import assert_all_stages_stopped, cancel_sweep

TEXTS = ["a", "b", "c", "d", "e"]
every_capacity = pytest.mark.parametrize("capacity", [1, 2, 16, 65])


# Directives


@every_capacity
@pytest.mark.parametrize(
    ("in_hand", "texts"),
    [
        ("drop", ["a/1", "b/2", "d/1", "e/2"]),
        ("redeliver", ["a/1", "b/2", "c/1", "d/2", "e/3"]),
        ("dead_letter", ["a/1", "b/2", "d/1", "e/2"]),
    ],
)
async def test_a_restarted_stage_begins_anew_and_loses_at_most_what_it_had_in_hand(in_hand, texts, capacity):
    """5.7: a new frame on the same edges; what they hold survives, the element in hand has the fate that was declared."""
    how = Supervision("restart", in_hand=in_hand)
    told = await supervised(counting({"c": 1}), how, TEXTS, capacity=capacity, letters=in_hand == "dead_letter")

    assert told.texts == texts
    assert told.error is None
    assert told.elements[-1].reason == "done"
    assert (told.stats.restarts, told.stats.received) == (1, 5)
    assert told.stats.dropped == ({"supervision": 1} if in_hand == "drop" else {})
    assert [one.items for one in told.letters] == ([(TextElement("c"),)] if in_hand == "dead_letter" else [])


async def test_without_supervision_and_with_stop_the_run_fails():
    """5.7: stop is the default."""
    told = await supervised(counting({"c": 1}), Supervision(), TEXTS)

    assert told.texts == ["a/1", "b/2"]
    assert isinstance(told.error, StageError)
    assert (told.error.stage, told.error.index, told.error.attempts) == ("count", 2, 1)
    assert isinstance(told.error.__cause__, RefusalError)


@every_capacity
@pytest.mark.parametrize("make", [lambda fn: MapStage(fn, name="one"), stage(name="one")], ids=["MapStage", "function"])
async def test_resume_drops_the_element_and_goes_on(make, capacity):
    """5.7: where one element is one call."""
    told = await supervised(make(one_by_one({"b": 1, "d": 9})), Supervision("resume"), TEXTS, capacity=capacity)

    assert told.texts == ["A", "C", "E"]
    assert (told.stats.dropped, told.stats.restarts, told.took_s) == ({"supervision": 2}, 0, 0)
    assert told.names("element.dropped") == ["element.dropped"] * 2


async def test_resume_keeps_the_state_of_what_is_called():
    """5.7: resume keeps state; there is none in the frame of a stage of one function, all of it is the function's own."""
    seen: list[str] = []

    def work(element: TextElement) -> TextElement:
        seen.append(element.text)
        if element.text == "b":
            raise RefusalError
        return TextElement(f"{element.text}{len(seen)}")

    told = await supervised(MapStage(work, name="one"), Supervision("resume"), TEXTS)
    assert told.texts == ["a1", "c3", "d4", "e5"]


@pytest.mark.parametrize("form", [FilterStage, FlatMapStage, SinkStage, MapAsyncStage, ThreadStage])
async def test_every_stage_of_one_function_can_retry_and_resume(form):
    """5.7: function forms and step classes."""
    work, out = one_by_one({"b": 2, "d": 99}), []

    def kept(element: TextElement) -> object:
        result = work(element)
        out.append(result.text)
        return [result] if form is FlatMapStage else True if form is FilterStage else result

    async def kept_async(element: TextElement) -> TextElement:
        return kept(element)

    options = {"concurrency": 1} if form in {MapAsyncStage, ThreadStage} else {}
    one = form(kept_async if form is MapAsyncStage else kept, name="one", **options)
    told = await supervised(one, Supervision("retry", attempts=3, then="drop"), TEXTS)

    assert told.error is None
    assert out == ["A", "B", "C", "E"]
    assert (told.stats.retries, told.stats.dropped) == (4, {"supervision": 1})


async def test_a_retry_tries_the_same_element_until_it_succeeds_or_its_attempts_are_used_up():
    """5.7 and `StageError.attempts`: the error of the element that failed in the end says how often it was tried."""
    how = Supervision("retry", attempts=3, jitter=0)
    told = await supervised(MapStage(one_by_one({"b": 2, "d": 3}), name="one"), how, TEXTS)

    assert told.texts == ["A", "B", "C"]
    assert isinstance(told.error, StageError)
    assert (told.error.index, told.error.attempts) == (3, 3)
    assert "failed after 3 attempts on element #3" in str(told.error)
    assert told.stats.retries == 4
    assert told.took_s == pytest.approx(0.1 + 0.2 + 0.1 + 0.2)


@every_capacity
async def test_dead_letters_go_to_their_stage_and_nowhere_else(capacity):
    """5.7: the element with the facts of the failure; the stream goes on."""
    how = Supervision("dead_letter")
    one = MapStage(one_by_one({"b": 1, "d": 1}), name="one")
    told = await supervised(one, how, TEXTS, capacity=capacity, letters=True, behind=[PassthroughStage("behind")])

    assert told.texts == ["A", "C", "E"]
    assert told.letters == [
        DeadLetterElement((TextElement(text),), "one", "RefusalError", text, index, interruptible=False)
        for text, index in (("b", 1), ("d", 3))
    ]
    assert (told.stats.dead_lettered, told.stats.dropped, told.stats.sent) == (2, {}, 3)


async def test_a_sink_can_be_supervised_too():
    """5.7: it has letters though it has no output, and the run waits for both."""
    kept: list[str] = []

    def keep(element: TextElement) -> None:
        if element.text == "b":
            raise RefusalError(element.text)
        kept.append(element.text)

    told = await supervised(SinkStage(keep, name="one"), Supervision("dead_letter"), [*TEXTS, TurnEnd()], letters=True)
    assert kept == ["a", "c", "d", "e"]
    assert [one.items[0].text for one in told.letters] == ["b"]
    assert told.error is None


async def test_a_letter_box_that_has_enough_does_not_hold_the_stage_up():
    """5.7: letters that nobody takes any more are dropped, and counted as that."""

    @stage
    async def first_only(stream: AsyncIterator[DeadLetterElement]) -> AsyncIterator[TextElement]:
        async for letter in stream:
            yield TextElement(f"could not do {letter.items[0].text}")
            return

    async def source() -> AsyncIterator[str]:
        for text in TEXTS:
            yield text
            await anyio.sleep(1)

    one = MapStage(one_by_one({"a": 1, "c": 1, "e": 1}), name="one")
    builder = PipelineBuilder().chain(one).supervise("one", Supervision("dead_letter"), dead_letters=first_only)
    async with builder.build().execute(source()) as run:
        texts = sorted([text async for text in run.text()])
        stats = run.stats().stages["one"]

    assert texts == ["B", "D", "could not do a"]
    assert (stats.dead_lettered, stats.dropped) == (1, {"supervision": 2})


async def test_letters_that_meet_the_stream_again_do_not_hold_up_a_turn():
    """4.9: no boundary is waited for on the way of the letters, where none can come."""

    @stage
    async def excuse(stream: AsyncIterator[DeadLetterElement]) -> AsyncIterator[TextElement]:
        async for letter in stream:
            yield TextElement(f"sorry for {letter.items[0].text}")

    one, other = MapStage(one_by_one({"b": 1}), name="one"), PassthroughStage("other")
    builder = PipelineBuilder().branch(PassthroughStage("fork"), one, other)
    builder.supervise("one", Supervision("dead_letter"), dead_letters=excuse)
    builder.merge(PassthroughStage("join"), "one", "other", "excuse")
    got: list[str] = []
    async with builder.build().execute() as run:
        for text in "ab":
            await run.send(text)
        await run.send(TurnEnd())
        async for element in run:
            if isinstance(element, TurnEnd):
                break
            got.append(element.text)

    assert sorted(got) in (["A", "a", "b"], ["A", "a", "b", "sorry for b"])


# Deciding


async def test_the_decider_is_asked_once_for_each_failure():
    """5.7: it returns what to do, None for what was declared."""
    asked: list[str] = []

    def decide(error: Exception):
        asked.append(str(error))
        return {"a": "resume", "b": "retry", "c": None}[str(error)]

    how = Supervision("dead_letter", decide=decide)
    one = MapStage(one_by_one({"a": 1, "b": 1, "c": 1}), name="one")
    told = await supervised(one, how, TEXTS, letters=True)

    assert asked == ["a", "b", "c"]
    assert told.texts == ["B", "D", "E"]
    assert [one.items[0].text for one in told.letters] == ["c"]


@pytest.mark.parametrize(
    ("decide", "note"),
    [
        (lambda error: 1 / 0, "its decide= failed too: ZeroDivisionError"),
        (lambda error: "explode", "its decide= returned 'explode', which is no directive"),
        (lambda error: "resume", "'resume' was not possible any more, or not lawful"),
        (lambda error: ["stop"], "which is no directive"),
    ],
)
async def test_a_decider_that_fails_or_says_what_cannot_be_done_is_a_stop(decide, note):
    """5.7: an exception in the decider stops; the stage's own exception is what is told."""
    told = await supervised(counting({"b": 1}), Supervision("restart", decide=decide), TEXTS)

    assert told.texts == ["a/1"]
    assert isinstance(told.error, StageError)
    assert isinstance(told.error.__cause__, RefusalError)
    assert note in "\n".join(told.error.__cause__.__notes__)


async def test_only_the_exceptions_that_it_is_about_are_supervised():
    """5.7: `on=`; all others stop."""

    def work(element: TextElement) -> TextElement:
        raise {"a": RefusalError("a"), "b": LookupError("b")}.get(element.text, KeyError("c"))

    told = await supervised(
        MapStage(work, name="one"), Supervision("resume", on=(RefusalError, LookupError)), ["a", "b", "c"]
    )
    assert told.error is None

    told = await supervised(MapStage(work, name="one"), Supervision("resume", on=RefusalError), ["a", "b", "c"])
    assert isinstance(told.error, StageError)
    assert told.error.index == 1


@pytest.mark.parametrize("error", [MemoryError(), ExceptionGroup("both", [ValueError(), MemoryError()])])
async def test_what_no_stage_can_go_on_after_is_never_supervised(error: Exception):
    """5.7: not even where everything is to be supervised."""
    asked: list[Exception] = []

    def work(element: TextElement) -> TextElement:
        raise error

    told = await supervised(MapStage(work, name="one"), Supervision("resume", decide=asked.append), TEXTS)

    assert isinstance(told.error, StageError)
    assert told.error.__cause__ is error
    assert asked == []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_interrupts_leave_as_they_are(kind: type[BaseException]):
    """5.7 and 6.3: never supervised."""

    def work(element: TextElement) -> TextElement:
        raise kind

    pipeline = PipelineBuilder().chain(MapStage(work, name="one")).supervise("one", Supervision("resume")).build()
    with pytest.raises(kind):
        await pipeline.run(TEXTS)


async def test_a_reader_that_has_gone_is_the_end_and_no_failure():
    """5.7: the end of the stage's own output is no failure, and nobody starts a stage anew for whom nobody reads."""
    frames: list[int] = []

    @stage
    async def endless(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        frames.append(1)
        try:
            async for element in stream:
                yield element
        finally:
            raise RefusalError

    @stage
    async def one_only(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element
            return

    told = await supervised(endless, Supervision("restart"), TEXTS, capacity=1, behind=[one_only])
    assert told.texts == ["a"]
    assert told.error is None
    assert frames == [1]
    assert told.names("stage.restarted", "element.dropped") == []


# Waits and the budget


async def test_waits_grow_and_are_forgotten_after_a_healthy_window():
    """5.7: exponential, at most `max_backoff_s`; virtual time makes the sequence exact."""
    how = Supervision("restart", min_backoff_s=1, max_backoff_s=3, jitter=0, window_s=10, max_restarts=None)

    async def source() -> AsyncIterator[str]:
        for text in "abcd":
            yield text
        await anyio.sleep(30)
        yield "e"

    told = await supervised(counting(dict.fromkeys("abcde", 1)), how, source())

    restarts = [event for event in told.events if isinstance(event, StageRestarted)]
    assert [(one.attempt, one.delay_s) for one in restarts] == [(1, 1), (2, 2), (3, 3), (4, 3), (1, 1)]
    assert [one.at_s - restarts[0].at_s for one in restarts] == [0, 1, 3, 6, 30]
    assert {one.failed for one in restarts} == {"count"}
    assert told.stats.restarts == 5


async def test_the_budget_is_a_bound_within_a_window():
    """5.7: one failure more than may be restarted stops, and the error says how many attempts there were."""
    how = Supervision("restart", in_hand="redeliver", attempts=99, max_restarts=3, jitter=0)
    told = await supervised(counting({"c": 99}), how, TEXTS)

    assert told.texts == ["a/1", "b/2"]
    assert isinstance(told.error, StageError)
    assert (told.error.attempts, told.error.index, told.stats.restarts) == (4, 2, 3)
    assert told.took_s == pytest.approx(0.1 + 0.2 + 0.4)


async def test_an_element_is_redelivered_so_often_and_no_more():
    """5.7: `attempts` and `then` keep one element from stopping everything."""
    how = Supervision("restart", in_hand="redeliver", attempts=2, then="dead_letter")
    told = await supervised(counting({"b": 99, "d": 1}), how, TEXTS, letters=True)

    assert told.error is None
    assert told.texts == ["a/1", "c/1", "d/1", "e/2"]
    assert [(one.items[0].text, one.attempts) for one in told.letters] == [("b", 2)]


async def test_jitter_is_the_same_for_the_same_seed_and_only_shortens():
    """5.7: by chance, but not in a test."""

    async def waits(seed: int | None) -> list[float]:
        how = Supervision("restart", min_backoff_s=1, factor=1, jitter=0.5, seed=seed, max_restarts=None)
        told = await supervised(counting(dict.fromkeys("abcde", 1)), how, TEXTS)
        return [event.delay_s for event in told.events if isinstance(event, StageRestarted)]

    assert await waits(7) == await waits(7)
    assert await waits(7) != await waits(8)
    assert await waits(None) != await waits(None)
    assert all(0.5 < wait <= 1 for wait in await waits(9))


async def test_a_wait_is_neither_busy_nor_idle():
    """8.2: the limits of the run and of the stage do not strike while it waits, and strike again behind it."""
    config = PipelineConfig(idle_timeout_s=2, buffer_size=2)

    def patient(name: str):
        left = [1]

        @stage(name=name, timeout_s=3)
        async def one(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
            async for element in stream:
                if left.pop():
                    left.append(0)
                    raise RefusalError
                await anyio.sleep_forever()
                yield element

        return one

    how = Supervision("restart", min_backoff_s=20, jitter=0, in_hand="redeliver")
    told = await supervised(patient("one"), how, TEXTS, config=config)
    assert isinstance(told.error, RunTimeoutError)
    assert (told.error.kind, told.took_s) == ("idle", 22)

    told = await supervised(patient("one"), how, TEXTS, config=config.replace(idle_timeout_s=None))
    assert isinstance(told.error, RunTimeoutError)
    assert (told.error.kind, told.took_s) == ("stage", 23)


async def test_back_pressure_holds_during_a_wait():
    """5.7: nothing is taken meanwhile, so the source is stopped by the bound."""
    given: list[str] = []

    async def source() -> AsyncIterator[str]:
        for text in map(str, range(100)):
            given.append(text)
            yield text

    one = counting({"0": 1})
    how = Supervision("restart", min_backoff_s=28, jitter=0)
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=4)).chain(one).supervise("count", how).build()
    async with pipeline.execute(source()):
        await anyio.sleep(25)
        assert len(given) <= 1 + 4 + 1  # in hand, on the edge, in the hand of the source


async def test_a_shutdown_ends_a_wait_at_once_and_what_is_inside_arrives():
    """5.7: the wait ends, the stage deals with what is left, and no failure makes it wait again."""
    how = Supervision("restart", min_backoff_s=1000, max_backoff_s=1000, in_hand="redeliver", max_restarts=None)
    pipeline = PipelineBuilder().chain(counting({"a": 1, "c": 2})).supervise("count", how).build()
    got: list[str] = []
    async with pipeline.execute() as run:
        for text in "abc":
            await run.send(text)
        await anyio.sleep(1)
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pipeline.shutdown)
            got = [text async for text in run.text()]
        assert anyio.current_time() == began
    assert got == ["a/1", "b/2", "c/1"]


async def test_a_stage_that_cannot_begin_does_not_hold_up_a_shutdown():
    """5.7: with nothing in hand there is nothing that has to arrive."""

    @stage
    async def never(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        raise RefusalError
        yield

    how = Supervision("restart", min_backoff_s=5, max_restarts=None)
    pipeline = PipelineBuilder().chain(never).supervise("never", how).build()
    async with pipeline.execute() as run:
        await anyio.sleep(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pipeline.shutdown)
            with pytest.raises(StageError):
                [_ async for _ in run]
        assert anyio.current_time() < 60


async def test_the_end_of_the_run_ends_a_wait():
    """5.7: when nobody needs the stage any more its wait is over, and it has not failed."""

    @stage
    async def until_b(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element
            await anyio.sleep(5)
            return

    how = Supervision("restart", min_backoff_s=1000, max_backoff_s=1000)
    told = await supervised(counting({"b": 1}), how, TEXTS, behind=[until_b])
    assert (told.texts, told.error, told.took_s) == (["a/1"], None, 5)
    assert told.names("stage.failed") == []


async def test_a_wait_ends_when_the_reader_has_gone_though_the_run_goes_on():
    """5.7: at once, and not when the wait would have been over."""
    ended: dict[str | None, float] = {}

    @stage
    async def until_5(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element
            await anyio.sleep(5)
            return

    @stage
    async def until_20(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element
        await anyio.sleep(20)

    how = Supervision("restart", min_backoff_s=1000, max_backoff_s=1000)
    builder = PipelineBuilder().branch(PassthroughStage("fork"), counting({"b": 1}), until_20).chain("count", until_5)
    builder.supervise("count", how)
    builder.on_event(lambda event: ended.update({event.stage: event.at_s}) if event.name == "stage.completed" else None)
    began = anyio.current_time()
    await builder.build().run(TEXTS)
    assert {name: at_s - began for name, at_s in ended.items()} == {"fork": 0, "until_5": 5, "count": 5, "until_20": 20}


async def test_cancelling_and_failing_elsewhere_end_a_wait():
    """5.7: a wait holds up neither a cancelled run nor a failing one."""
    how = Supervision("restart", min_backoff_s=1000, max_backoff_s=1000)
    pipeline = PipelineBuilder().chain(counting({"a": 1})).supervise("count", how).build()
    async with pipeline.execute(TEXTS) as run:
        await anyio.sleep(3)
        run.cancel()
        assert [one async for one in run] == []
    assert run.zombies == ()

    async def failing() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        await anyio.sleep(3)
        raise OSError

    began = anyio.current_time()
    told = await supervised(counting({"a": 1}), how, failing())
    assert anyio.current_time() - began == 3
    assert told.texts == ["b/1"]
    assert isinstance(told.error, StageError)
    assert told.error.stage == "source"
    await assert_all_stages_stopped()


@pytest.mark.parametrize("how", ["scope", "native", "timeout"])
@pytest.mark.parametrize("concurrency", [None, 3])
async def test_a_supervised_run_can_be_cancelled_at_every_moment(how, concurrency):
    """7.1: in a frame, between two frames, in a wait, in a letter."""

    async def work(element: TextElement) -> TextElement:
        await anyio.sleep(1)
        if element.text in "bd":
            raise RefusalError
        return element

    async def scenario() -> None:
        one = counting({"b": 1, "d": 1}) if concurrency is None else MapAsyncStage(work, concurrency=3, name="count")
        rule = (
            Supervision("restart", in_hand="redeliver")
            if concurrency is None
            else Supervision("retry", attempts=2, then="dead_letter")
        )
        letters = None if concurrency is None else CollectStage([])
        builder = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(one)
        await builder.supervise("count", rule, dead_letters=letters).build().run(TEXTS)

    report = await cancel_sweep(scenario, how=how)
    assert report.skipped or report.ticks > 10


# Frames


async def test_a_restart_makes_everything_anew_that_belongs_to_a_run():
    """3.4: locals, what `open(run)` returns, an instance of a class; and the old frame was cleaned up before."""
    log: list[str] = []

    class Numbered(BaseStage):
        def __init__(self) -> None:
            super().__init__("numbered")
            self.seen: list[str] = []

        async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            log.append("begins")
            try:
                async for element in input:
                    self.seen.append(element.text)
                    if len(self.seen) == 2 and element.text == "b":
                        raise RefusalError
                    await output.send(TextElement("".join(self.seen)))
            finally:
                log.append("is cleaned up")

    class Opened(Numbered):
        def open(self, run: RunContext[object]) -> Numbered:
            return Numbered()

    for one in (Numbered, Opened()):
        log.clear()
        pipeline = PipelineBuilder().chain(one).supervise("numbered", Supervision("restart")).build()
        result = await pipeline.run(TEXTS)
        assert [element.text for element in result.elements] == ["a", "c", "cd", "cde"]
        assert log == ["begins", "is cleaned up"] * 2


async def test_a_stage_that_cannot_begin_is_tried_again():
    """5.7: a failure in `open()` is one like another; nothing is in hand."""
    left = [RefusalError("first"), RefusalError("second")]

    class Connected(BaseStage):
        def open(self, run: RunContext[object]) -> Connected:
            if left:
                raise left.pop()
            return self

        async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            async for element in input:
                await output.send(element)

    told = await supervised(Connected("connected"), Supervision("restart", jitter=0), TEXTS)
    assert (told.texts, told.stats.restarts, told.stats.dropped) == (TEXTS, 2, {})
    assert told.took_s == pytest.approx(0.3)


async def test_a_failure_in_the_last_flush_is_supervised_and_holds_nothing():
    """5.7: the new frame meets the end of the input at once."""
    left = [1]

    @stage
    async def flushing(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        texts = [element.text async for element in stream]
        if left:
            left.pop()
            raise RefusalError
        yield TextElement(f"{len(texts)} in the end")

    told = await supervised(flushing, Supervision("restart", in_hand="redeliver"), TEXTS)
    assert (told.texts, told.error) == (["0 in the end"], None)

    left.append(1)
    told = await supervised(flushing, Supervision("dead_letter"), TEXTS, letters=True)
    assert isinstance(told.error, StageError), "no element is in hand that could be a letter"


async def test_helpers_end_with_their_frame_and_their_failures_are_its_failures():
    """5.7 and 3.4: a helper that raises fails its stage, which is then restarted with none of the old helpers."""
    alive: list[str] = []

    async def helper(name: str, fails: bool) -> None:
        alive.append(name)
        try:
            await anyio.sleep(1)
            if fails:
                raise RefusalError(name)
            await anyio.sleep_forever()
        finally:
            alive.remove(name)

    frames: list[int] = []

    @stage
    async def helped(input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]) -> None:
        frames.append(len(alive))
        run.start_soon(helper, "quiet", False)
        run.start_soon(helper, "loud", len(frames) == 1)
        async for element in input:
            await output.send(element)
            await anyio.sleep(10)
        raise anyio.EndOfStream

    told = await supervised(helped, Supervision("restart", in_hand="redeliver", min_backoff_s=0), ["a", "b"])
    assert told.texts == ["a", "a", "b"], "at least once: it had sent what it had in hand"
    assert frames == [0, 0]
    assert alive == []


async def test_a_stage_with_named_ports_gets_again_what_it_had_of_each():
    """5.7: each input has its own element in hand."""
    left = [1]

    @stage(inputs={"left": TextElement, "right": TextElement}, outputs={"out": TextElement})
    async def pairs(inputs, outputs) -> None:
        while True:
            one, other = await inputs["left"].receive(), await inputs["right"].receive()
            if one.text == "b" and left:
                left.pop()
                raise RefusalError
            await outputs["out"].send(TextElement(one.text + other.text))

    for in_hand, texts in (("redeliver", ["a1", "b2", "c3"]), ("drop", ["a1", "c3"])):
        left[:] = [1]
        how = Supervision("restart", in_hand=in_hand)
        pipeline = PipelineBuilder().chain(pairs).supervise("pairs", how).build()
        result = await pipeline.run({"pairs:left": ["a", "b", "c"], "pairs:right": ["1", "2", "3"]})
        assert [element.text for element in result.elements] == texts


async def test_control_is_never_dropped_with_what_failed():
    """1.4: a stage that fails on a control element loses its own work, and the element passes it by."""
    left = [1, 1]

    @stage(accepts=(TextElement, TurnEnd))
    async def flush(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
        async for element in stream:
            if isinstance(element, TurnEnd) and left:
                left.pop()
                raise RefusalError
            yield element

    source = [TextElement("a"), TurnEnd(index=0), TextElement("b"), TurnEnd(index=1)]
    told = await supervised(flush, Supervision("restart"), source)
    assert told.elements[:-1] == source
    assert told.stats.dropped == {}


async def test_what_passes_by_keeps_its_place_across_a_restart():
    """3.3: what the stage does not accept leaves behind the results of what was taken before it, a redelivered element too."""
    error = ErrorElement("hiccup", "passes by")
    source = [TextElement("a"), TextElement("b"), error, TextElement("c"), AudioElement(b"\0\0")]
    left = {"b": 1}

    @stage
    async def picky(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            if left.pop(element.text, 0):
                raise RefusalError
            yield element

    told = await supervised(picky, Supervision("restart", in_hand="redeliver"), source, capacity=1)
    assert told.elements[:-1] == source


async def test_an_accumulator_restarts_with_nothing_held_and_the_turn_ends():
    """5.7 and 3.3: what it had gathered is its state and is lost; what waits beside it still leaves with the end of the turn."""
    left = [1]

    class Gather(BaseStage):
        kind = StageKind.ACCUMULATE
        accepts = (TextElement, TurnEnd)

        async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
            held: list[str] = []
            async for element in input:
                if isinstance(element, TextElement):
                    held.append(element.text)
                    continue
                if left:
                    left.pop()
                    raise RefusalError
                await output.send(TextElement("".join(held)))
                held.clear()
                await output.send(element)

    sound = AudioElement(b"\0\0")
    source = [TextElement("a"), sound, TextElement("b"), TurnEnd(), TextElement("c"), TurnEnd(index=1)]
    told = await supervised(Gather("gather"), Supervision("restart", in_hand="redeliver"), source, books=False)
    assert told.elements[:-1] == [TextElement(""), sound, TurnEnd(), TextElement("c"), TurnEnd(index=1)]


@pytest.mark.parametrize("priority", [False, True])
async def test_priorities_merges_and_wide_edges_do_not_matter(priority: bool):
    """5.7: what is in hand is given again before anything else, whatever kind of edge it came by."""
    config = PipelineConfig(buffer_size=200, priority=priority)
    builder = PipelineBuilder(config).merge(counting({"a3": 1, "b5": 2}), PassthroughStage("a"), PassthroughStage("b"))
    builder.supervise("count", Supervision("restart", in_hand="redeliver", max_restarts=None))
    async with builder.build().execute({one: [f"{one}{number}" for number in range(80)] for one in "ab"}) as run:
        texts = [text.partition("/")[0] async for text in run.text()]
        assert run.stats().stages["count"].restarts == 3
    for one in "ab":
        assert [text for text in texts if text[0] == one] == [f"{one}{number}" for number in range(80)]


async def test_a_generator_without_input_begins_again():
    """5.7: it has nothing in hand; what it had sent it sends again."""
    left = [1]

    @stage
    async def ticks() -> AsyncIterator[TextElement]:
        for text in "abc":
            yield TextElement(text)
            if text == "b" and left:
                left.pop()
                raise RefusalError

    pipeline = PipelineBuilder().chain(ticks).supervise("ticks", Supervision("restart")).build()
    assert (await pipeline.run()).text == "ababc"


# Several calls at a time


@pytest.mark.parametrize("concurrency", [2, 3, 8])
@pytest.mark.parametrize("form", [MapAsyncStage, MapUnorderedStage])
async def test_a_call_among_several_is_tried_again_in_its_place(form, concurrency):
    """5.7 and 3.5: the other calls go on, and results keep their order."""
    work = one_by_one({"b": 2, "c": 99, "e": 1})

    async def slow(element: TextElement) -> TextElement:
        await anyio.sleep(1)
        return work(element)

    how = Supervision("retry", attempts=3, then="dead_letter", jitter=0)
    told = await supervised(form(slow, concurrency=concurrency, name="one"), how, TEXTS, letters=True)

    assert told.error is None
    assert (told.texts if form is MapAsyncStage else sorted(told.texts)) == ["A", "B", "D", "E"]
    assert [(one.items[0].text, one.index, one.attempts) for one in told.letters] == [("c", None, 3)]
    assert told.stats.retries == 2 + 2 + 1
    if concurrency == 8:
        assert told.took_s == pytest.approx(3 + 0.1 + 0.2)


async def test_several_calls_can_be_given_up_and_the_last_failure_is_told():
    """5.7: `resume` leaves no gap; a retry that fails in the end is the stage's failure, behind the results before it."""
    told = await supervised(
        ThreadStage(one_by_one({"a": 1, "c": 1, "e": 1}), concurrency=2, name="one"), Supervision("resume"), TEXTS
    )
    assert told.texts == ["B", "D"]

    async def call(element: TextElement) -> TextElement:
        return one_by_one({"c": 1})(element)

    one = MapAsyncStage(call, concurrency=4, name="one")
    told = await supervised(one, Supervision("retry", attempts=2), TEXTS)
    assert told.texts == ["A", "B"]
    assert isinstance(told.error, StageError)
    assert (told.error.attempts, told.error.index) == (2, None)


async def test_a_call_that_returns_no_element_is_supervised_too():
    """5.7: it has failed like one that raises."""

    async def call(element: TextElement) -> TextElement:
        return element if element.text != "b" else None  # type: ignore[return-value]

    for concurrency in (1, 2):
        told = await supervised(MapAsyncStage(call, concurrency=concurrency), Supervision("resume"), TEXTS)
        assert told.texts == ["a", "c", "d", "e"]


# Several stages together


def chained(between: str, failing_at: int = 2):
    """Three stages; the first one fails once, on its third element."""
    first, second, third = counting({"c": 1}, "first"), counting({}, "second"), counting({}, "third")
    how = Supervision("restart", rest_for_one=True, between=between, in_hand="redeliver", min_backoff_s=1)
    return PipelineBuilder(PipelineConfig(buffer_size=4)).chain(first, second, third).supervise("first", how)


async def test_rest_for_one_restarts_all_stages_behind_the_one_that_failed():
    """5.7 (OTP): each of them with new state; the reader goes on, and nothing that was kept is lost."""
    events: list[StageRestarted] = []
    builder = chained("keep").on_event(lambda event: events.append(event) if event.name == "stage.restarted" else None)

    async def source() -> AsyncIterator[str]:
        for text in TEXTS:
            yield text
            await anyio.sleep(5)

    result = await builder.build().run(source())

    assert [one.text for one in result.elements] == ["a/1/1/1", "b/2/2/2", "c/1/1/1", "d/2/2/2", "e/3/3/3"]
    assert sorted((one.stage, one.failed, one.delay_s > 0) for one in events) == [
        ("first", "first", True),
        ("second", "first", False),
        ("third", "first", False),
    ]


@pytest.mark.parametrize("between", ["keep", "drop"])
async def test_what_is_between_stages_that_restart_together_is_kept_or_dropped(between: str):
    """5.7: as declared; dropped elements are counted where they were to go, and control is kept."""
    gate = anyio.Event()

    @stage(name="second")
    async def second(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            await gate.wait()
            yield element

    how = Supervision("restart", rest_for_one=True, between=between, min_backoff_s=1)
    builder = PipelineBuilder(PipelineConfig(buffer_size=4)).chain(counting({"d": 1}, "first"), second)
    async with builder.supervise("first", how).build().execute() as run:
        for one in ("a", "b", TurnEnd(), "c", "d"):
            await run.send(one)
        await anyio.sleep(0.5)
        gate.set()
        await anyio.sleep(1)
        await run.send("e")
        run.close_input()
        got = [one.text if isinstance(one, TextElement) else one async for one in run][:-1]
        stats = run.stats().stages

    kept = ["a/1", "b/2", TurnEnd(), "c/3", "e/1"]
    assert got == (kept if between == "keep" else [TurnEnd(), "e/1"])
    assert stats["second"].dropped == ({} if between == "keep" else {"supervision": 3})
    assert (stats["first"].restarts, stats["second"].restarts) == (1, 1)


async def test_a_stage_behind_that_fails_by_itself_restarts_nobody_before_it():
    """5.7 (OTP): crashes go down, never up."""
    first, second = counting({}, "first"), counting({"c/3": 1}, "second")
    how = Supervision("restart", rest_for_one=True)
    builder = PipelineBuilder().chain(first, second).supervise("first", how).supervise("second", Supervision("restart"))
    async with builder.build().execute(TEXTS) as run:
        texts = [text async for text in run.text()]
        stats = run.stats().stages

    assert texts == ["a/1/1", "b/2/2", "d/4/1", "e/5/2"]
    assert (stats["first"].restarts, stats["second"].restarts) == (0, 1)


async def test_what_was_kept_for_a_new_frame_is_not_lost_when_that_cannot_begin():
    """5.7: a failure before an element was given again is not about the element."""
    begun: list[int] = []

    class Second(BaseStage):
        def open(self, run: RunContext[object]) -> Second:
            begun.append(1)
            if len(begun) == 2:
                raise RefusalError("cannot begin")
            return self

        async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            async for element in input:
                await anyio.sleep(10)
                await output.send(element)

    builder = PipelineBuilder().chain(counting({"b": 1}, "first"), Second())
    builder.supervise("first", Supervision("restart", rest_for_one=True, in_hand="redeliver"))
    builder.supervise("second", Supervision("restart", in_hand="drop"))

    async def source() -> AsyncIterator[str]:
        yield "a"
        await anyio.sleep(5)
        yield "b"

    result = await builder.build().run(source())
    assert [one.text for one in result.elements] == ["a/1", "b/1"]
    assert len(begun) == 3


async def test_a_stage_that_is_restarted_with_others_still_fails_the_run_when_it_fails():
    """5.7: being restarted with another one is no supervision of its own."""
    first, second = counting({"b": 1}, "first"), counting({"d/2": 1}, "second")
    how = Supervision("restart", rest_for_one=True)
    with pytest.raises(StageError) as caught:
        await PipelineBuilder().chain(first, second).supervise("first", how).build().run(TEXTS)
    assert (caught.value.stage, caught.value.attempts) == ("second", 1)


@pytest.mark.parametrize("how", ["scope", "native", "timeout"])
async def test_stages_that_restart_together_can_be_cancelled_at_every_moment(how):
    """7.1: while one frame ends and the next one begins, in each of them."""

    async def scenario() -> None:
        await chained("drop").build().run(TEXTS)

    report = await cancel_sweep(scenario, how=how)
    assert report.skipped or report.ticks > 5


# What is told


async def test_each_failure_is_told_with_its_place_and_nothing_of_the_element():
    """10.2 and 10.4: an event for what becomes of each element, and for each restart; the stage still begins and ends once."""
    how = Supervision("retry", attempts=2, then="dead_letter", jitter=0)
    told = await supervised(MapStage(one_by_one({"b": 9, "d": 1}), name="one"), how, TEXTS, letters=True)

    element = [event for event in told.events if event.name.startswith("element.")]
    assert [(type(one), one.stage, one.index, one.attempts, one.error_type) for one in element] == [
        (ElementRetried, "one", 1, 1, "RefusalError"),
        (ElementDeadLettered, "one", 1, 2, "RefusalError"),
        (ElementRetried, "one", 3, 1, "RefusalError"),
    ]
    assert told.names("stage.started", "stage.completed", "stage.failed").count("stage.started") == 2
    assert "stage.failed" not in told.names("stage.failed")

    told = await supervised(counting({"b": 1}), Supervision("restart"), TEXTS)
    dropped = [event for event in told.events if isinstance(event, ElementDropped)]
    assert [(one.index, one.attempts) for one in dropped] == [(1, 1)]


async def test_runs_of_one_pipeline_are_supervised_apart():
    """3.4: the budget of one run is not that of another."""
    how = Supervision("restart", max_restarts=1)
    pipeline = PipelineBuilder().chain(counting({"b": 4})).supervise("count", how).build()
    for _ in range(4):
        assert len((await pipeline.run(TEXTS)).elements) == 4


@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("fails", [1, 99])
async def test_nothing_of_a_supervised_run_waits_for_the_garbage_collector(fails: int):
    """7.1: a failure that was recovered from, and one that was not, leave no cycle."""
    seen: list[weakref.ref[Exception]] = []

    class NotedError(Exception):
        pass

    left = [fails]

    @stage
    async def one(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            if element.text == "c" and left[0]:
                left[0] -= 1
                error = NotedError()
                seen.append(weakref.ref(error))
                try:
                    raise error
                finally:
                    del error
            yield element

    pipeline = PipelineBuilder().chain(one).supervise("one", Supervision("restart", in_hand="redeliver")).build()
    try:
        await pipeline.run(TEXTS)
    except StageError as failure:
        del failure
    await anyio.sleep(1)
    assert seen
    assert [one() for one in seen] == [None] * len(seen)
    run = pipeline.execute([])
    await run.result()
    held = weakref.ref(run._engine.reporter)
    await run.aclose()
    del run
    await anyio.sleep(1)
    assert held() is None
    assert not gc.isenabled()


async def test_a_stage_knows_its_run_in_every_frame():
    """3.4: the context is that of the stage, not of a frame."""
    names: list[str] = []

    @stage(name="known")
    async def known(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        names.append(current_run().stage)
        async for element in stream:
            if element.text == "a":
                raise RefusalError
            yield element

    await supervised(known, Supervision("restart"), TEXTS)
    assert names == ["known", "known"]

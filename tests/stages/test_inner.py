"""A stage inside a stage: it behaves as it does alone, and leaves nothing behind. What all stages keep is in `tests/contracts`."""

from __future__ import annotations

import gc
import traceback
import weakref
from collections.abc import AsyncIterator, Callable, Iterator

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    AudioElement,
    BaseStage,
    BuildError,
    ConfigError,
    EndOfStream,
    ErrorElement,
    Event,
    FilterStage,
    FlatMapStage,
    MapAsyncStage,
    MapStage,
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
    TurnEnd,
    TurnStart,
    current_run,
    stage,
)
from streamflow.errors import OutputClosedError, RunStateError
from streamflow.stages import (
    BatchStage,
    CacheStage,
    ChunkTextStage,
    CircuitBreaker,
    CircuitBreakerStage,
    FallbackStage,
    RetryStage,
    StageLike,
    TakeStage,
    TimeoutStage,
    WindowStage,
)
from streamflow.testing import assert_all_stages_stopped, assert_no_tasks_left, run_stage, tasks_alive

SOUND, END, BAD = AudioElement(b""), TurnEnd(), ErrorElement("code", "message", "elsewhere")


class BoomError(Exception):
    """What an inner stage of these tests raises."""


def limited(inner: StageLike) -> TimeoutStage:
    return TimeoutStage(inner, total_s=1e6)


AROUND: dict[str, Callable[[StageLike], BaseStage]] = {
    "timeout": limited,
    "breaker": CircuitBreakerStage,
    "retry": RetryStage,
    "cache": lambda inner: CacheStage(inner, key=lambda _: None),
    "fallback": lambda inner: FallbackStage(inner, inner),
    "two deep": lambda inner: limited(CircuitBreakerStage(inner)),
}

around = pytest.mark.parametrize("wrap", AROUND.values(), ids=AROUND)


def pipeline_of(*chain: StageLike, capacity: int = 16) -> Pipeline:
    return PipelineBuilder(PipelineConfig(buffer_size=capacity, timeout_s=3600)).chain(*chain).build()


async def shout(element: TextElement) -> TextElement:
    await anyio.lowlevel.checkpoint()
    return TextElement(element.text.upper())


def letters(element: TextElement) -> Iterator[TextElement]:
    for letter in element.text:
        yield TextElement(letter)


async def numbered(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    """Number the elements, and say something behind the last."""
    count = 0
    async for element in stream:
        count += 1
        yield TextElement(f"{count} {element.text}")
    yield TextElement("last")


async def helped(input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]) -> None:
    async def work() -> None:
        async for element in input:
            await output.send(TextElement(element.text + "!"))

    run.start_soon(work)


async def received(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
    """Call `receive()` until that raises."""
    while True:
        await output.send(await input.receive())


@stage(accepts=(TextElement, TurnEnd))
async def counting_turns(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
    """Name control without accumulating: each element is a unit, ends of turns too."""
    async for element in input:
        await output.send(element if isinstance(element, TurnEnd) else TextElement("text"))


INNER: dict[str, Callable[[], StageLike]] = {
    "function": lambda: shout,
    "generator function": lambda: letters,
    "stream with state": lambda: numbered,
    "helper": lambda: helped,
    "names control": lambda: counting_turns,
    "drops all": lambda: FilterStage(lambda _: False, name="none", accepts=TextElement),
    "all data": lambda: PassthroughStage("same"),
    "takes two": lambda: TakeStage(2, accepts=TextElement),
    "several calls": lambda: MapAsyncStage(shout, concurrency=3),
}

ACCUMULATING: dict[str, Callable[[], StageLike]] = {
    "batch": lambda: BatchStage(2),
    "early batch": lambda: BatchStage(2, accepts=TextElement, bypass="early"),
    "window": lambda: WindowStage(2, accepts=TextElement),
    "chunks": lambda: ChunkTextStage(3),
}

PASSING = [SOUND, BAD]
"""What the stages above let pass by, or some of them. Past an accumulator it goes when the whole turn has been handed over."""

every_kind = st.one_of(
    st.tuples(
        st.sampled_from(list(INNER.values())),
        st.lists(st.sampled_from([TextElement("a"), TextElement("bcd"), END, *PASSING]), max_size=8),
    ),
    st.tuples(
        st.sampled_from(list(ACCUMULATING.values())),
        st.lists(st.sampled_from([TextElement("a"), TextElement("bcd"), END]), max_size=8),
    ),
)


@around
async def test_a_stage_inside_gives_what_it_gives_alone(wrap: Callable[[StageLike], BaseStage]) -> None:
    """semantics 3.8: the same elements in the same order, control and what passes by too, and nothing of nothing."""
    texts = [TextElement("a"), TextElement("bcd"), END, TextElement("e"), END, END, TextElement("f")]
    for name, make in (INNER | ACCUMULATING).items():
        items = texts if name in ACCUMULATING else [*texts[:1], *PASSING, *texts[1:4], *PASSING, *texts[4:]]
        alone = await run_stage(make(), items)
        assert await run_stage(wrap(make()), items, capacity=2) == alone, name
    await assert_all_stages_stopped()


@given(wrap=st.sampled_from(list(AROUND.values())), what=every_kind, capacity=st.sampled_from([1, 2, 16]))
async def test_it_does_so_for_every_stream_at_every_capacity(
    wrap: Callable[[StageLike], BaseStage], what: tuple[Callable[[], StageLike], list[StreamElement]], capacity: int
) -> None:
    """semantics 3.8 and opening: whatever comes in whichever order, and however little fits into an edge."""
    make, items = what
    # What passes by at the very end may leave ahead of what a stage says behind its last element, or behind it.
    items = [*items, TextElement("end")]

    assert await run_stage(wrap(make()), items, capacity=capacity) == await run_stage(make(), items)


@around
async def test_one_that_receives_until_that_raises_has_ended_well(wrap: Callable[[StageLike], BaseStage]) -> None:
    """semantics 3.8, 3.1: leaving with the end of its input is completion; what passes by behind it is not lost."""
    items = [TextElement("a"), BAD, TextElement("b"), BAD]

    assert await run_stage(wrap(received), items) == items


@around
async def test_what_is_said_before_the_first_element_comes_with_it(wrap: Callable[[StageLike], BaseStage]) -> None:
    """semantics 3.8: an inner stage begins with its first unit; of an empty input it still makes what it makes of nothing."""

    async def titled(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        yield TextElement("title")
        async for element in stream:
            yield element

    assert await run_stage(wrap(titled), [SOUND, TextElement("a")]) == [SOUND, *map(TextElement, ("title", "a"))]
    assert await run_stage(wrap(titled), []) == [TextElement("title")]


async def test_an_inner_stage_knows_its_run_under_a_name_of_its_own() -> None:
    """semantics 3.8: `outer/inner`; dependencies, deadline, events and resources are those of the run; its helpers see it too."""
    shared: Resource[list[str]] = Resource(lambda: _Opened(["resource"]), name="shared")
    seen: list[tuple[str, object, bool]] = []
    told: list[tuple[str, str | None]] = []

    class Asking(BaseStage):
        resources = (shared,)

        async def process(
            self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[str]
        ) -> None:
            async def help_out() -> None:
                seen.append((current_run().stage, await run.resource(shared), current_run().run_id == run.run_id))

            run.start_soon(help_out)
            run.emit("asking", {"stage": run.stage})
            seen.append((run.stage, run.deps, run.deadline_s is not None and current_run() is run))
            async for element in input:
                await output.send(element)

    def note(event: Event) -> None:
        if event.name == "asking":
            told.append((event.stage or "", event.run_id and str(event.data["stage"])))

    pipeline = PipelineBuilder(PipelineConfig(timeout_s=60)).chain(limited(Asking())).on_event(note).build()
    async with pipeline:
        await pipeline.run("a", deps="deps")

    assert sorted(seen, key=repr) == [("timeout/asking", "deps", True), ("timeout/asking", ["resource"], True)]
    assert told == [("timeout/asking", "timeout/asking")]


class _Opened:
    def __init__(self, value: list[str]) -> None:
        self.value = value

    def __enter__(self) -> list[str]:
        return self.value

    def __exit__(self, *_: object) -> None:
        return None


@around
async def test_what_it_raises_comes_behind_what_it_sent_and_is_the_cause(
    wrap: Callable[[StageLike], BaseStage],
) -> None:
    """semantics 3.8, 5.6: the error has the outer stage's name, its traceback ends where the inner stage raised."""

    def fail(element: TextElement) -> TextElement:
        if element.text == "c":
            raise BoomError
        return element

    seen: list[StreamElement] = []
    async with pipeline_of(wrap(MapStage(fail))).execute(["a", "b", "c", "d"]) as run:
        with pytest.raises(StageError) as caught:
            async for element in run:
                seen.append(element)

    assert [one.text for one in seen if isinstance(one, TextElement)] == ["a", "b"]
    cause = caught.value.__cause__
    while cause is not None and not isinstance(cause, BoomError):
        cause = cause.__cause__
    assert cause is not None
    assert traceback.extract_tb(cause.__traceback__)[-1].name == "fail"


@around
async def test_a_helper_of_an_inner_stage_that_raises_fails_it(wrap: Callable[[StageLike], BaseStage]) -> None:
    """semantics 3.8: as in a stage of its own; its other tasks are cancelled."""
    unwound: list[str] = []

    async def failing(input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]) -> None:
        async def boom() -> None:
            await anyio.sleep(1)
            raise BoomError

        run.start_soon(boom)
        try:
            await anyio.sleep(100)
        finally:
            unwound.append("process")

    begun = anyio.current_time()
    with pytest.raises(StageError):
        await run_stage(wrap(failing), ["a"])

    assert unwound[:1] == ["process"]
    assert anyio.current_time() - begun < 100


async def test_what_is_no_exception_ends_the_run_as_it_is() -> None:
    """semantics 5.7: `KeyboardInterrupt` is nobody's to handle: neither tried again nor handed over."""

    def interrupted(element: TextElement) -> TextElement:
        raise KeyboardInterrupt

    for outer in (FallbackStage(interrupted, shout), RetryStage(interrupted, on=Exception)):
        with pytest.raises(KeyboardInterrupt):
            await run_stage(outer, ["a"])


@around
async def test_a_stage_inside_keeps_its_state_from_unit_to_unit(wrap: Callable[[StageLike], BaseStage]) -> None:
    """semantics 3.8: it is one stage in one run, made once, and runs do not share it."""

    class Counting:
        made = 0

        def __init__(self) -> None:
            self.count = 0
            Counting.made += 1

        async def process(self, stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
            async for element in stream:
                self.count += 1
                yield TextElement(f"{element.text}{self.count}")

    outer = wrap(Counting)
    made = Counting.made
    for _ in range(2):
        assert await run_stage(outer, ["a", "b", "c"]) == [TextElement("a1"), TextElement("b2"), TextElement("c3")]
    assert Counting.made == made + 2


@around
async def test_a_stage_that_returns_early_ends_the_one_around_it(wrap: Callable[[StageLike], BaseStage]) -> None:
    """semantics 3.8, 3.1: it has enough; what is before it learns that no more is needed."""
    closed: list[str] = []

    async def endless() -> AsyncIterator[StreamElement]:
        try:
            while True:
                yield TextElement("x")
                await anyio.lowlevel.checkpoint()
        finally:
            closed.append("source")

    before = tasks_alive()
    assert len(await run_stage(wrap(TakeStage(3)), endless(), capacity=2)) == 3
    await assert_no_tasks_left(before)
    assert closed == ["source"]


async def test_a_stage_that_closes_its_input_is_waited_for() -> None:
    """semantics 3.8: closing the input says that it wants no more, not that it is done."""

    async def one_is_enough(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        element = await input.receive()
        input.close()
        await anyio.sleep(5)
        await output.send(element)

    assert await run_stage(limited(one_is_enough), ["a", "b"]) == [TextElement("a")]


async def test_the_end_of_a_consumer_is_the_end_of_an_inner_stage_wherever_it_is() -> None:
    """semantics 5.5: while it works, while it waits for room, while it unwinds."""
    unwound: list[str] = []

    async def busy(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        try:
            async for element in stream:
                while True:
                    yield element
                    await anyio.sleep(1)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3)
            unwound.append("inner")

    for wanted in (1, 3):
        before = tasks_alive()
        async with pipeline_of(limited(busy), capacity=1).execute(["a", "b"]) as run:
            for _ in range(wanted):
                await anext(run)
            await anyio.sleep(100)
        assert run.zombies == ()
        await assert_no_tasks_left(before)
    assert unwound == ["inner", "inner"]


async def test_who_catches_the_end_of_its_results_is_not_asked_again() -> None:
    """semantics 3.8: a cancelled incarnation meets `OutputClosedError` if it sends; that is how it learns, and no failure."""
    learned: list[str] = []

    async def stubborn(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for element in input:
            try:
                await anyio.sleep(10)
            finally:
                try:
                    output.send_nowait(element)
                except OutputClosedError:
                    learned.append(element.text)

    got = await run_stage(TimeoutStage(stubborn, first_s=1, on_timeout="end_turn"), ["a", "b"])

    assert [type(one) for one in got] == [ErrorElement, ErrorElement]
    assert learned == ["a", "b"]


async def test_what_it_holds_is_within_what_it_declares() -> None:
    """semantics 5.4: unit, inner stage, inner edge and hand are in `max_held`, so the published bound holds."""
    for capacity, inner in ((1, MapStage(shout)), (16, MapStage(shout)), (2, FallbackStage(shout, shout))):
        pipeline = pipeline_of(limited(inner), capacity=capacity)
        pulled = 0

        def endless() -> Iterator[TextElement]:
            nonlocal pulled
            while True:
                pulled += 1
                yield TextElement("x")

        async with pipeline.execute(endless()):
            await anyio.sleep(100)
            assert pipeline.max_in_flight is not None
            assert pulled <= pipeline.max_in_flight
    assert pipeline_of(limited(joining)).max_in_flight is None


@stage(kind=StageKind.ACCUMULATE)
async def joining(stream: AsyncIterator[TextElement | TurnEnd]) -> AsyncIterator[TextElement | TurnEnd]:
    held = ""
    async for element in stream:
        if isinstance(element, TextElement):
            held += element.text
        else:
            yield TextElement(held)
            yield element
            held = ""
    if held:
        yield TextElement(held)


async def test_an_accumulator_is_given_a_turn_when_it_is_complete() -> None:
    """semantics 3.8: a unit is a turn there; what does not fit into one is a clear error."""
    begun: list[float] = []

    @stage(kind=StageKind.ACCUMULATE, max_held=9)
    async def noting(stream: AsyncIterator[TextElement | TurnEnd]) -> AsyncIterator[TextElement | TurnEnd]:
        async for element in stream:
            begun.append(anyio.current_time())
            yield element

    async def slowly() -> AsyncIterator[StreamElement]:
        for element in (TextElement("a"), TextElement("b"), END):
            yield element
            await anyio.sleep(1)

    now = anyio.current_time()
    await run_stage(TimeoutStage(noting, total_s=1), slowly())
    assert begun == [now + 2] * 3

    with pytest.raises(StageError, match="more than 2 elements in one turn; send TurnEnd in time, or raise max_turn"):
        await run_stage(TimeoutStage(joining, total_s=1, max_turn=2), ["a", "b", "c"])
    fits = [*map(TextElement, "ab"), END, *map(TextElement, "cd")]
    joined = [TextElement("ab"), END, TextElement("cd")]
    assert await run_stage(TimeoutStage(joining, total_s=1, max_turn=2), fits) == joined


async def test_turns_are_numbered_through_however_often_a_stage_is_made_anew() -> None:
    """semantics 3.8: an incarnation counts its turns from 0, a run has one count; numbers that came in stay as they are."""

    @stage(kind=StageKind.ACCUMULATE)
    async def answering(stream: AsyncIterator[TextElement | TurnEnd]) -> AsyncIterator[StreamElement]:
        count = 0
        async for element in stream:
            if isinstance(element, TextElement):
                yield TurnStart(index=count)
                if element.text == "fail":
                    raise BoomError
            else:
                yield element.replace(index=count)
                count += 1

    items: list[StreamElement] = []
    for text in ("a", "fail", "b"):
        items += [TextElement(text), END]
    got = await run_stage(CircuitBreakerStage(answering, on_open="end_turn"), items)

    assert [(type(one), one.index) for one in got if isinstance(one, (TurnStart, TurnEnd))] == [
        (kind, index) for index in range(3) for kind in (TurnStart, TurnEnd)
    ]

    passing = BatchStage(9, accepts=(TextElement, TurnStart))
    numbered = [TurnStart(index=7), TurnEnd(index=7)]
    assert (await run_stage(limited(passing), numbered))[-1] == numbered[-1]


@around
async def test_an_inner_stage_is_frozen_with_the_one_around_it(wrap: Callable[[StageLike], BaseStage]) -> None:
    """semantics 3.4: parameters only, and nobody changes them behind the back of a run."""
    inner = TakeStage(1)
    pipeline_of(wrap(inner))

    with pytest.raises(RunStateError, match="is part of a pipeline"):
        inner.name = "other"


@stage(timeout_s=3)
async def hasty(element: TextElement) -> TextElement:
    return element


@stage(outputs={"left": None})
async def forked(input: ReceiveEnd[TextElement], outputs: dict[str, SendEnd[TextElement]]) -> None:
    raise NotImplementedError


async def generating() -> AsyncIterator[TextElement]:
    yield TextElement("")


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (
            SinkStage(print, name="sink"),
            "inner stage 'sink' of 'timeout' is of the kind 'sink'.* give one that transforms",
        ),
        (generating, "is of the kind 'generate'"),
        (forked, "inner stage 'forked' of 'timeout' has named ports; give one with one input"),
        (hasty, "'hasty' of 'timeout' has timeout_s.* put TimeoutStage"),
        (42, "the inner stage of 'timeout': a stage was expected, got 42"),
    ],
)
def test_what_cannot_be_run_inside_is_refused_at_once(given: StageLike, complaint: str) -> None:
    """semantics 3.8: in the constructor, naming both stages, with a way out."""
    with pytest.raises(BuildError, match=complaint):
        limited(given)


def test_wrong_options_of_all_that_have_a_stage_inside_are_named() -> None:
    """styleguide 3: a wrong argument fails in the constructor, by the name of its field."""
    for make, field in (
        (lambda: TimeoutStage(joining, total_s=1, max_turn=0), "max_turn"),
        (lambda: TimeoutStage(joining, total_s=1, on_timeout="stop"), "on_timeout"),  # type: ignore[arg-type]
        (lambda: CircuitBreakerStage(joining, on_open="stop"), "on_open"),  # type: ignore[arg-type]
        (lambda: RetryStage(joining, on_failure="stop"), "on_failure"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError) as caught:
            make()
        assert caught.value.field == field


@pytest.mark.usefixtures("no_gc")
async def test_nothing_waits_for_the_garbage_collector() -> None:
    """An inner stage, its run and its error refer to each other nowhere: with the run they are gone."""
    gone: list[weakref.ref[object]] = []

    class Failing(BaseStage):
        def open(self, run: RunContext[object]) -> Failing:
            other = Failing()
            gone.append(weakref.ref(other))
            return other

        async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            async for _ in input:
                raise BoomError

    async def use() -> None:
        await run_stage(FallbackStage(Failing(), RetryStage(MapStage(shout))), ["a", "b"])
        await run_stage(CircuitBreakerStage(Failing(), on_open="end_turn"), ["a"])

    class GoneError(Exception):
        def __init__(self) -> None:
            gone.append(weakref.ref(self))

    def fail(element: TextElement) -> TextElement:
        raise GoneError

    async def never(element: TextElement) -> TextElement:
        await anyio.sleep(100)
        raise GoneError

    async def fail_all() -> None:
        open_one = CircuitBreaker(failures=1)
        call = open_one.enter()
        assert call is not None
        call.failed()
        for outer in (
            *(wrap(fail) for wrap in AROUND.values()),
            RetryStage(fail, on=GoneError, min_backoff_s=1),
            FallbackStage(limited(fail), CircuitBreakerStage(fail)),
            TimeoutStage(never, first_s=1),
            CircuitBreakerStage(fail, open_one),
        ):
            try:
                await run_stage(outer, ["a"])
            except StageError as error:
                gone.append(weakref.ref(error.__cause__ or error))

    await use()
    await fail_all()
    await assert_all_stages_stopped()
    await anyio.sleep(1)
    assert len(gone) >= 20
    assert [one() for one in gone if one() is not None] == []
    gc.collect()


@pytest.mark.parametrize("priority", [False, True])
async def test_it_stands_wherever_a_stage_can_stand(priority: bool) -> None:
    """semantics 3.8: on priority lanes, below a fork, above a join, in a nested pipeline, and fed live until its input closes."""

    def tell(element: TextElement) -> TextElement:
        return TextElement(f"{element.text}!")

    nested = PipelineBuilder().chain(RetryStage(tell, name="again"), CircuitBreakerStage(tell)).build()
    config = PipelineConfig(buffer_size=4, priority=priority, timeout_s=60)
    builder = PipelineBuilder(config).chain(limited(tell))
    builder.branch("timeout", FallbackStage(tell, tell, name="left"), nested.as_stage("right"))
    builder.merge(CacheStage(tell, name="join"), "left", "right/circuit_breaker")
    pipeline = builder.build()
    items = [TextElement("a"), TurnStart(), TextElement("b"), END, BAD]
    async with pipeline.execute() as run:
        for item in items:
            await run.send(item)
        run.close_input()
        got = [one async for one in run]

    said = [one for one in got if isinstance(one, TextElement)]
    assert sorted(one.text for one in said) == ["a!!!", "a!!!!", "b!!!", "b!!!!"]
    assert [one for one in got[:-1] if not isinstance(one, TextElement)] == [TurnStart(), END, BAD]
    assert {one.text[0] for one in got[: got.index(TurnStart())]} == {"a"}  # type: ignore[attr-defined]


async def test_several_elements_of_one_unit_leave_as_they_are_made() -> None:
    """semantics 5.3, 3.8: streaming is real inside too: the first result leaves before the second is made."""

    async def slowly(element: TextElement) -> AsyncIterator[TextElement]:
        for letter in element.text:
            await anyio.sleep(1)
            yield TextElement(letter)

    begun = anyio.current_time()
    times: list[float] = []
    for outer in (limited, CircuitBreakerStage, RetryStage, CacheStage):
        async with pipeline_of(outer(FlatMapStage(slowly))).execute("abc") as run:
            async for element in run:
                if not isinstance(element, EndOfStream):
                    times.append(anyio.current_time() - begun)
        begun = anyio.current_time()
    assert times == [1, 2, 3] * 4

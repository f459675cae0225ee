"""Interruption (barge-in): what a sweep drops and leaves, what it does to each form of stage, and what it tells."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from streamflow import (
    DataElement,
    EndOfStream,
    ErrorElement,
    FlatMapStage,
    Interrupt,
    MapAsyncStage,
    MapStage,
    MapUnorderedStage,
    Message,
    MessageElement,
    PassthroughStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    SinkStage,
    StageKind,
    StreamElement,
    TextElement,
    ThreadStage,
    TurnEnd,
    stage,
    turn_scope,
)
from streamflow.errors import RunStateError, StageError
from streamflow.observe import RunInterrupted
from streamflow.stages import (
    BaseStage,
    BatchStage,
    ChunkTextStage,
    DebounceStage,
    DelayStage,
    ThrottleStage,
    WindowStage,
)
from streamflow.testing import EdgeLedger

if TYPE_CHECKING:
    from streamflow import ReceiveEnd, Run, SendEnd
    from streamflow.stages import RunContext

KEPT = {"interruptible": False}


def chain(*stages: object, **settings: object) -> Pipeline:
    """Return a pipeline of these stages."""
    return PipelineBuilder(config=PipelineConfig(**settings)).chain(*stages).build()  # type: ignore[arg-type]


async def slowly(element: TextElement) -> TextElement:
    """Take a second."""
    await anyio.sleep(1)
    return element


async def texts(run: Run) -> list[str]:
    """Read the rest of a run and return what it says: texts, and the names of the types of all else but the end."""
    return [
        one.text if isinstance(one, TextElement) else type(one).__name__
        async for one in run
        if not isinstance(one, EndOfStream)
    ]


async def feed(run: Run, *elements: StreamElement | str) -> None:
    """Send these, and let all that can move come to rest."""
    for element in elements:
        await run.send(element)
    await anyio.wait_all_tasks_blocked()


async def test_what_may_be_dropped_is_dropped_on_every_edge_and_counted() -> None:
    """semantics 5.11: fragments go, control, wholes and what is not interruptible stay in order; `stale` counts."""
    with EdgeLedger() as ledger:
        async with chain(PassthroughStage(), MapStage(slowly), PassthroughStage(name="last")).execute() as run:
            whole = MessageElement(Message("user", "w"))
            await feed(run, "in hand", "a", whole, TurnEnd(), "b", TextElement("kept", **KEPT))
            done = run.interrupt("barge-in")
            assert (done.epoch, done.reason, run.epoch) == (1, "barge-in", 1)
            assert dict(done.dropped) == {"passthrough → slowly": 2}
            assert done.cancelled == ("slowly",)
            await feed(run, "new")
            run.close_input()
            assert await texts(run) == ["MessageElement", "TurnEnd", "kept", "new"]
            stats = run.stats()
    assert stats.interruptions == 1
    assert stats.edges["passthrough → slowly"].counts.discarded == {"stale": 2}
    ledger.check(ended=True)


async def test_the_acknowledgement_names_who_is_still_unwinding() -> None:
    """semantics 5.11: acknowledged at once whatever stages do; `unwinding` names those that hold on, `settled()` waits for them."""

    @stage
    async def stubborn(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            try:
                await anyio.sleep(60)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(5)
            yield element

    async with chain(MapStage(slowly), stubborn).execute() as run:
        await feed(run, "a")
        await anyio.sleep(1.5)
        await feed(run, "b")
        begun = anyio.current_time()
        done = run.interrupt()
        assert done.unwinding == done.cancelled == ("slowly", "stubborn")
        again = run.interrupt()  # a second sweep while the first unwinds
        assert again.epoch == 2
        await anyio.wait_all_tasks_blocked()
        assert done.unwinding == again.unwinding == ("stubborn",)
        assert "unwinding: stubborn" in repr(done)
        await done.settled()
        assert done.unwinding == again.unwinding == ()
        assert anyio.current_time() - begun == pytest.approx(5)


async def test_a_generator_is_called_again_in_the_same_task() -> None:
    """semantics 5.11: `reenter`: the body is cancelled and called again on the same channels, with fresh locals."""
    log: list[object] = []

    @stage
    async def body(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        log.append(anyio.get_current_task().id)
        seen = 0
        async for element in stream:
            seen += 1
            if element.text == "slow":
                await anyio.sleep(60)
            yield TextElement(f"{element.text}{seen}")

    async with chain(body).execute() as run:
        await feed(run, "a")
        run.interrupt()  # it waits, and has nothing in hand
        await feed(run, "b", "slow")
        run.interrupt()
        await feed(run, "c")
        run.close_input()
        assert await texts(run) == ["c1"]
    assert len(log) == 2
    assert log[0] == log[1]


async def test_a_stage_with_a_fence_goes_on_and_says_nothing_stale() -> None:
    """semantics 5.11: `fence`: what it sends is dropped until it takes its next element, but what must arrive passes."""

    @stage(on_interrupt="fence")
    async def goes_on(stream: AsyncIterator[TextElement]) -> AsyncIterator[StreamElement]:
        async for element in stream:
            yield TextElement(f"{element.text}1")
            await anyio.sleep(1)
            yield TextElement(f"{element.text}2")
            yield MessageElement(Message("assistant", element.text))
            yield TextElement(f"{element.text}3", **KEPT)

    with EdgeLedger() as ledger:
        async with chain(goes_on).execute() as run:
            await feed(run, "a")
            done = run.interrupt()
            assert (done.cancelled, done.unwinding) == ((), ())
            await feed(run, "b")
            run.close_input()
            assert await texts(run) == ["MessageElement", "a3", "b1", "b2", "MessageElement", "b3"]
            assert run.stats().edges["goes_on → consumer"].counts.discarded == {"stale": 2}
    ledger.check(ended=True)


async def test_a_turn_scope_cancels_what_runs_inside_alone() -> None:
    """semantics 5.11: `turn_scope()`: the stage keeps its state, learns that it was interrupted, and sends its whole."""

    @stage(on_interrupt="fence")
    async def replies(input: ReceiveEnd[TextElement], output: SendEnd[StreamElement]) -> None:
        said: list[str] = []
        async for question in input:
            async with turn_scope() as turn:
                for number in range(3):
                    await output.send(TextElement(f"{question.text}{number}"))
                    said.append(f"{question.text}{number}")
                    await anyio.sleep(1)
            if turn.interrupted:
                await output.send(TextElement("dropped: the fence is up"))
                await output.send(MessageElement(Message("assistant", " ".join(said)), cut=True))

    async with chain(replies).execute() as run:
        got = aiter(run)
        await feed(run, "a")
        await anyio.sleep(1.5)
        done = run.interrupt()
        assert done.dropped == {"replies → consumer": 2}
        await done.settled()
        cut = await anext(got)
        assert isinstance(cut, MessageElement)
        assert (cut.message.text, cut.cut) == ("a0 a1", True)
        await feed(run, "b")
        run.close_input()
        assert await texts(run) == ["b0", "b1", "b2"]


async def test_work_for_what_must_arrive_is_not_cancelled() -> None:
    """semantics 5.11: a call, or a scope, whose element a sweep would leave goes on, and so does what it sends."""

    @stage(on_interrupt="fence")
    async def scoped(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for element in input:
            async with turn_scope(element) as turn:
                await anyio.sleep(1)
                await output.send(TextElement(element.text.upper()))
            assert not turn.interrupted

    async with chain(MapStage(slowly), scoped).execute() as run:
        await feed(run, TextElement("a", **KEPT))
        assert run.interrupt().cancelled == ()
        await anyio.sleep(1.5)
        assert run.interrupt().cancelled == ()
        run.close_input()
        assert await texts(run) == ["A"]


@pytest.mark.parametrize("make", [MapAsyncStage, MapUnorderedStage], ids=lambda one: one.__name__)
async def test_concurrent_calls_are_cancelled_one_by_one(make: type[MapAsyncStage]) -> None:
    """semantics 5.11: calls for elements that are dropped end, results that wait are dropped, the others arrive."""
    ended: list[str] = []

    async def call(element: TextElement) -> TextElement:
        try:
            await anyio.sleep(float(element.text))
        finally:
            ended.append(element.text)
        return element

    async with chain(make(call, concurrency=3)).execute() as run:
        await feed(run, TextElement("3", **KEPT), TextElement("1"), TextElement("9"))
        await anyio.sleep(2)
        done = run.interrupt()
        assert done.cancelled == ("call",)
        await done.settled()
        assert sorted(ended) == ["1", "9"]
        await feed(run, "0.5", Interrupt("again"), "0.25")
        run.close_input()
        got = await texts(run)
        expected = ["3", "Interrupt", "0.25"]
        assert got == expected


@pytest.mark.real_clock
async def test_the_result_of_a_thread_is_dropped() -> None:
    """semantics 5.11: nothing stops a thread; its stage unwinds until the call returns, and drops what it gives."""
    begun, go_on = threading.Event(), threading.Event()

    def blocks(element: TextElement) -> TextElement:
        if element.text == "a":
            begun.set()
            go_on.wait(10)
        return element

    async with chain(ThreadStage(blocks)).execute() as run:
        await run.send("a")
        await anyio.to_thread.run_sync(begun.wait)
        done = run.interrupt()
        await checkpoint()
        assert done.unwinding == ("blocks",)
        go_on.set()
        await done.settled()
        await run.send("b")
        run.close_input()
        assert await texts(run) == ["b"]


async def test_a_sender_that_waits_for_room_is_let_go() -> None:
    """semantics 5.11: what waits for room is on its way too: the same is dropped at every capacity."""

    async def same(element: TextElement) -> TextElement:
        return element

    async with chain(MapStage(same), buffer_size=1).execute() as run, anyio.create_task_group() as tasks:
        for text in "abc":
            await run.send(text)
        tasks.start_soon(run.send, "waits")
        await anyio.wait_all_tasks_blocked()
        run.interrupt()
        await anyio.wait_all_tasks_blocked()
        await run.send("new")
        run.close_input()
        assert await texts(run) == ["new"]
        stats = run.stats()
        assert sum(one.counts.discarded.get("stale", 0) for one in stats.edges.values()) == 4


async def test_what_must_arrive_and_waits_for_room_is_sent_before_its_stage_is_cancelled() -> None:
    """semantics 5.11: a stage that waits with a whole is cancelled once that has entered, and not before."""
    log: list[str] = []

    @stage
    async def replies(input: ReceiveEnd[TextElement], output: SendEnd[StreamElement]) -> None:
        async for element in input:
            await output.send(MessageElement(Message("assistant", "1")))
            await output.send(MessageElement(Message("assistant", "2")))
            log.append("sent")
            await anyio.sleep(60)
            await output.send(TextElement(f"too late {element.text}"))

    async with chain(replies, buffer_size=1).execute() as run:
        await feed(run, "a")
        done = run.interrupt()
        await anyio.wait_all_tasks_blocked()
        assert (done.unwinding, log) == (("replies",), [])
        got = aiter(run)
        assert [type(await anext(got)).__name__ for _ in range(2)] == ["MessageElement"] * 2
        await done.settled()
        assert log == ["sent"]
        run.close_input()
        assert await texts(run) == []


async def test_an_interrupt_that_is_sent_sweeps_at_once_and_travels_on() -> None:
    """semantics 5.11: in-band it does the same before it waits for room, and reaches each output once."""
    events: list[object] = []
    pipeline = chain(MapStage(slowly), PassthroughStage(), buffer_size=1)
    async with pipeline.execute() as run:
        run_events = run.events()
        await feed(run, "a", "b")
        interrupt = Interrupt("now")
        for _ in range(2):  # the same object twice: two interruptions
            await run.send(interrupt)
            await anyio.wait_all_tasks_blocked()
        assert run.epoch == 2
        run.close_input()
        assert await texts(run) == ["Interrupt", "Interrupt"]
        events = [one async for one in run_events if isinstance(one, RunInterrupted)]
    assert [(one.epoch, one.reason, one.cancelled) for one in events] == [(1, "now", ("slowly",)), (2, "now", ())]
    assert dict(events[0].dropped) == {"source → slowly": 1}


async def test_a_stage_that_sends_on_an_interrupt_makes_no_new_one() -> None:
    """semantics 5.11: who accepts `Interrupt` and sends it on is no origin; who makes its own is, and is left alone."""
    seen: list[str] = []

    @stage
    async def watches(stream: AsyncIterator[TextElement | Interrupt]) -> AsyncIterator[TextElement | Interrupt]:
        async for element in stream:
            if isinstance(element, Interrupt):
                seen.append(element.reason)
            yield element

    @stage
    async def decides(input: ReceiveEnd[TextElement], output: SendEnd[StreamElement]) -> None:
        count = 0
        async for element in input:
            count += 1
            if element.text == "stop":
                await output.send(TextElement("before"))
                await output.send(Interrupt("heard"))
                await checkpoint()
            await output.send(TextElement(f"{element.text}{count}"))

    async with chain(decides, watches, MapStage(slowly)).execute() as run:
        await feed(run, "a", "b", "stop")
        assert run.epoch == 1
        assert seen == ["heard"]
        run.close_input()
        assert await texts(run) == ["Interrupt", "stop3"]


async def test_branches_are_swept_and_their_interrupt_leaves_once() -> None:
    """semantics 5.11, 4.5: forks and merges are swept with their place, and join the copies of an `Interrupt`."""
    builder = PipelineBuilder(config=PipelineConfig(buffer_size=2)).chain(PassthroughStage(name="a"))
    for name in ("b", "c"):
        builder.branch("a", MapStage(slowly, name=name))
    builder.merge(PassthroughStage(name="d"), "b", "c")
    with EdgeLedger() as ledger:
        async with builder.build().execute() as run, anyio.create_task_group() as tasks:
            tasks.start_soon(feed, run, "1", "2", TurnEnd(), "3", TextElement("kept", **KEPT))
            await anyio.sleep(0.5)
            done = run.interrupt()
            assert done.cancelled == ("b", "c")
            await done.settled()
            await anyio.sleep(0.1)
            await run.send(Interrupt())
            await run.send("new")
            run.close_input()
            got = await texts(run)
    assert [one for one in got if one not in {"new", "kept"}] == ["TurnEnd", "Interrupt"]
    assert (got.count("kept"), got.count("new")) == (2, 2)
    assert run.epoch == 2
    ledger.check(ended=True)


async def test_priority_lanes_are_swept_from_the_middle() -> None:
    """semantics 5.11, 2.7: lanes know what was taken out of their middle, and go on."""
    from streamflow import Priority

    async with chain(MapStage(slowly), priority=True, buffer_size=8).execute() as run:
        await feed(run, "hand")
        for number, priority in enumerate([Priority.LOW, Priority.HIGH, Priority.LOW, Priority.NORMAL]):
            await run.send(TextElement(f"{priority.name}{number}", priority=priority, interruptible=number % 2 == 0))
        await run.send(TextElement("x", priority=Priority.HIGH))
        run.interrupt()
        for priority in (Priority.LOW, Priority.CRITICAL, Priority.NORMAL):
            await run.send(TextElement(priority.name, priority=priority))
        run.close_input()
        assert await texts(run) == ["CRITICAL", "HIGH1", "NORMAL3", "NORMAL", "LOW"]


async def test_an_accumulator_forgets_its_turn_and_the_end_of_it_goes_on() -> None:
    """semantics 5.11: re-entered also while it waits; the `TurnEnd` in its hand, and what was kept aside for it, are not lost."""

    @stage(kind=StageKind.ACCUMULATE, accepts=(TextElement, TurnEnd))
    async def joins(input: ReceiveEnd[TextElement | TurnEnd], output: SendEnd[TextElement | TurnEnd]) -> None:
        held: list[str] = []
        async for element in input:
            if isinstance(element, TextElement):
                held.append(element.text)
                continue
            await anyio.sleep(1)
            await output.send(TextElement("+".join(held)))
            await output.send(element)
            held.clear()

    async with chain(joins).execute() as run:
        await feed(run, "a", DataElement("aside", interruptible=False), DataElement("stale"))
        run.interrupt()
        await feed(run, "b", "c", TurnEnd(index=1))
        run.interrupt()
        await feed(run, "d", TurnEnd(index=2))
        run.close_input()
        assert await texts(run) == ["DataElement", "TurnEnd", "d", "TurnEnd"]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (BatchStage(4), [["kept", "new"]]),
        (WindowStage(4), [["kept", "new"]]),
        (ChunkTextStage(100), ["kept", "new"]),
        (DebounceStage(5), ["new"]),
        (DelayStage(5), ["kept", "new"]),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
async def test_stages_that_keep_elements_forget_the_stale_ones(held: BaseStage, expected: list[object]) -> None:
    """semantics 5.11: what a stage of the library keeps and may be dropped is forgotten, the rest leaves as ever."""
    async with chain(held).execute() as run:
        await feed(run, TextElement("kept", **KEPT), "stale")
        run.interrupt()
        await feed(run, "new")
        run.close_input()
        got = [one async for one in run if not isinstance(one, EndOfStream)]
    assert [[item.text for item in one.items] if hasattr(one, "items") else one.text for one in got] == expected  # type: ignore[union-attr]


async def test_a_throttle_drops_what_waits_and_keeps_its_count() -> None:
    """semantics 5.11: the element that waits for its time is dropped; the limit holds across an interruption."""
    async with chain(ThrottleStage(1, 10)).execute() as run:
        got = aiter(run)
        await feed(run, "a", "b")
        assert (await anext(got)).text == "a"  # type: ignore[attr-defined]
        await run.interrupt().settled()
        await feed(run, "c")
        run.close_input()
        assert await texts(run) == ["c"]
        assert anyio.current_time() >= 10


async def test_helpers_of_a_stage_end_before_it_is_called_again() -> None:
    """semantics 5.11, 3.4: helpers of the old body are cancelled, and waited for."""
    log: list[str] = []

    async def helper() -> None:
        log.append("helper")
        try:
            await anyio.sleep(60)
        finally:
            log.append("helper ended")

    @stage
    async def helped(input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]) -> None:
        log.append("body")
        async for element in input:
            run.start_soon(helper)
            await anyio.sleep(5)
            await output.send(element)

    async with chain(helped).execute() as run:
        await feed(run, "a")
        done = run.interrupt()
        assert done.cancelled == ("helped",)
        await done.settled()
        await anyio.wait_all_tasks_blocked()
        assert log == ["body", "helper", "helper ended", "body"]


async def test_a_generating_stage_goes_on_like_a_source() -> None:
    """semantics 5.11: a stage without input has no next element; it goes on, unless it says `reenter`."""

    def counter(**options: object) -> object:
        @stage(**options)  # type: ignore[call-overload]
        async def counts() -> AsyncIterator[TextElement]:
            for number in range(3):
                yield TextElement(str(number))
                await anyio.sleep(1)

        return counts

    for options, expected in (({}, ["1", "2"]), ({"on_interrupt": "reenter"}, ["0", "1", "2"])):
        async with chain(counter(**options)).execute() as run:
            await anyio.sleep(0.5)
            run.interrupt()
            assert await texts(run) == expected


async def test_a_sink_is_cancelled_in_its_call() -> None:
    """semantics 5.11: what plays an element stops."""
    played: list[str] = []

    async def play(element: TextElement) -> None:
        await anyio.sleep(1)
        played.append(element.text)

    async with chain(SinkStage(play)).execute() as run:
        await feed(run, "a")
        done = run.interrupt()
        assert done.cancelled == ("play",)
        await feed(run, "b")
        run.close_input()
        assert await texts(run) == []
    assert played == ["b"]


async def test_named_outputs_are_fenced_each() -> None:
    """semantics 5.11, 3.5: a stage with ports is fenced at all of them."""

    @stage(outputs={"left": TextElement, "right": TextElement}, on_interrupt="fence")
    async def splits(input: ReceiveEnd[TextElement], outputs: dict[str, SendEnd[TextElement]]) -> None:
        async for element in input:
            await anyio.sleep(1)
            for end in outputs.values():
                await end.send(element)

    builder = PipelineBuilder().chain(splits)
    for port in ("left", "right"):
        builder.connect(f"splits:{port}", PassthroughStage(name=port))
    async with builder.build().execute() as run:
        await feed(run, "a")
        run.interrupt()
        await feed(run, "b")
        run.close_input()
        assert await texts(run) == ["b", "b"]


async def test_an_interruption_without_anything_to_interrupt_does_nothing() -> None:
    """semantics 5.11: before the start and after the end there is no error, and no epoch."""
    run = chain(PassthroughStage()).execute(["a"])
    assert (run.interrupt().epoch, run.epoch) == (0, 0)
    async with run:
        assert await texts(run) == ["a"]
        done = run.interrupt()
        assert (done.epoch, done.dropped, done.cancelled) == (0, {}, ())
        await done.settled()


async def test_an_interruption_while_a_run_drains_drops_the_rest() -> None:
    """semantics 5.11: also when all stages have ended and the consumer has not read."""
    async with chain(PassthroughStage()).execute(["a", TextElement("kept", **KEPT), "b"]) as run:
        await anyio.wait_all_tasks_blocked()
        assert sum(run.interrupt().dropped.values()) == 2
        assert await texts(run) == ["kept"]


@pytest.mark.real_clock
async def test_another_thread_is_told_how_to_interrupt() -> None:
    """semantics 5.11: a run is interrupted in its own event loop."""
    async with chain(PassthroughStage()).execute() as run:
        await run.send("a")

        def elsewhere() -> None:
            with pytest.raises(RunStateError, match="call_soon_threadsafe"):
                run.interrupt()
            anyio.from_thread.run_sync(run.interrupt)

        await anyio.to_thread.run_sync(elsewhere)
        assert run.epoch == 1


async def test_a_failure_while_unwinding_fails_the_stage() -> None:
    """semantics 5.11, 5.6: only the cancellation itself is taken back."""

    @stage
    async def breaks(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            try:
                await anyio.sleep(60)
            finally:
                raise ValueError("unwinding failed")
            yield element

    with pytest.raises(StageError, match="breaks"):
        async with chain(breaks).execute() as run:
            await feed(run, "a")
            done = run.interrupt()
            await done.settled()
            await texts(run)


async def test_a_run_that_is_cancelled_while_it_unwinds_ends() -> None:
    """semantics 5.5, 5.11: cancelling comes through, and settles the acknowledgement."""

    @stage
    async def holds_on(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            try:
                await anyio.sleep(60)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(2)
            yield element

    async with chain(holds_on).execute() as run:
        await feed(run, "a")
        done = run.interrupt()
        await anyio.wait_all_tasks_blocked()
        run.cancel()
    assert done.unwinding == ()
    assert run.zombies == ()


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_body_that_swallows_its_cancellation_is_fenced_and_settles_with_its_next_element() -> None:
    """semantics 5.11: on asyncio a cancellation can be swallowed; what the body still says is dropped all the same."""

    @stage
    async def swallows(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            if element.text == "a":
                with suppress(BaseException):
                    await anyio.sleep(60)
                await anyio.sleep(1)
            yield element

    async with chain(swallows).execute() as run:
        await feed(run, "a")
        done = run.interrupt()
        await feed(run, "b")
        await done.settled()
        run.close_input()
        assert await texts(run) == ["b"]


async def test_a_stage_may_interrupt_its_own_run() -> None:
    """semantics 5.11: the stage in whose task the call is made is left alone."""

    @stage
    async def asks(stream: AsyncIterator[TextElement], run: RunContext[list[Run]]) -> AsyncIterator[TextElement]:
        async for element in stream:
            if element.text == "stop":
                assert "asks" not in run.deps[0].interrupt("me").cancelled
                await checkpoint()
            yield element

    deps: list[Run] = []
    async with chain(asks, MapStage(slowly)).execute(deps=deps) as run:
        deps.append(run)
        await feed(run, "a", "b", "stop")
        run.close_input()
        assert await texts(run) == ["stop"]


async def test_a_flat_map_says_nothing_more_of_what_was_dropped() -> None:
    """semantics 5.11: the rest of an element's results goes with it."""

    async def each(element: TextElement) -> AsyncIterator[TextElement]:
        for number in range(9):
            yield TextElement(f"{element.text}{number}", interruptible=element.interruptible)

    async with chain(FlatMapStage(each), buffer_size=1).execute() as run:
        await feed(run, "a")
        run.interrupt()
        await feed(run, TextElement("k", **KEPT))
        run.interrupt()
        run.close_input()
        assert await texts(run) == [f"k{number}" for number in range(9)]


async def test_what_says_neither_is_refused() -> None:
    """semantics 3.3: `on_interrupt` is checked when the stage is defined."""
    from streamflow.errors import BuildError

    with pytest.raises(BuildError, match="neither 'reenter' nor 'fence'"):
        stage(on_interrupt="cancel")(slowly)  # type: ignore[call-overload]
    with pytest.raises(RunStateError, match="outside a stage"):
        async with turn_scope():
            pass


async def test_a_body_that_has_left_its_work_to_helpers_is_called_again() -> None:
    """semantics 15.2: its helpers are cancelled, and what comes next is worked on as before."""

    @stage
    async def helped(input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]) -> None:
        async def work() -> None:
            async for element in input:
                await output.send(element)

        run.start_soon(work)

    async with chain(helped, buffer_size=1).execute() as run:
        await feed(run, "a")
        await anyio.sleep(1)
        run.interrupt()
        await anyio.sleep(1)
        await feed(run, "b")
        run.close_input()
        assert await texts(run) == ["b"]


async def test_an_interruption_strikes_no_stage_that_only_has_control_to_pass_on() -> None:
    """semantics 15.1: control that waits for room behind the last element of a stage arrives."""
    notices = [ErrorElement("code", str(number)) for number in range(4)]
    later = MapStage(slowly, name="later")
    async with chain(slowly, later, buffer_size=1).execute(["a", *notices]) as run:
        await anyio.sleep(100)
        for _ in range(3):
            run.interrupt()
            await anyio.sleep(1)
        assert [element async for element in run if isinstance(element, ErrorElement)] == notices

"""Policies, weights and lanes of edges in whole runs: who is slowed, what arrives, what is counted. Semantics 2.7 to 2.9."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    CONSUMER,
    SOURCE,
    AudioElement,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    Priority,
    SinkStage,
    StageError,
    TextElement,
    TurnEnd,
    Weight,
    stage,
)
from streamflow.elements import ControlElement, EndOfStream, ErrorElement
from streamflow.errors import EdgeOverflowError
from streamflow.observe import ElementMoved
from streamflow.testing import EdgeLedger, assert_all_stages_stopped


@stage
async def slow(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    """A second for each."""
    async for element in stream:
        await anyio.sleep(1)
        yield element


async def every(seconds: float, count: int) -> AsyncIterator[TextElement]:
    for number in range(count):
        yield TextElement(str(number))
        await anyio.sleep(seconds)


def texts(elements):
    return [one.text for one in elements if isinstance(one, TextElement)]


@pytest.mark.parametrize(
    ("overflow", "arrives"),
    [
        ("drop_oldest", ["0", "8", "9", "10", "18", "19"]),
        ("drop_newest", ["0", "1", "2", "10", "11", "12"]),
        ("latest", ["0", "9", "10", "19"]),
    ],
)
async def test_a_live_source_is_not_held_up_by_a_slow_stage(overflow, arrives) -> None:
    """semantics 2.7: `connect(SOURCE, …)`: a microphone cannot wait; what is dropped is in the statistics."""
    pipeline = PipelineBuilder().add(slow).connect(SOURCE, "slow", buffer=2, overflow=overflow).build()
    began = ended = anyio.current_time()

    async def source():
        nonlocal ended
        async for element in every(0.1, 10):
            yield element
        await anyio.sleep(5)
        async for element in every(0.1, 10):
            yield TextElement(str(int(element.text) + 10))
        ended = anyio.current_time()

    async with pipeline.execute(source()) as run:
        got = [element async for element in run]
    assert ended - began == pytest.approx(7)
    assert texts(got) == arrives
    counts = run.stats().edges["source → slow"].counts
    assert (counts.sent, counts.received, counts.discarded) == (20, len(arrives), {"overflow": 20 - len(arrives)})


async def test_a_slow_consumer_sees_the_newest_and_slows_nobody() -> None:
    """semantics 2.7: `connect(…, CONSUMER, overflow="latest")`: a display, and not a log; the end is never dropped."""
    pipeline = PipelineBuilder().add(PassthroughStage("show")).connect("show", CONSUMER, overflow="latest").build()
    seen = []
    async with pipeline.execute(every(0.25, 10)) as run:
        async for element in run:
            seen.append(element)
            await anyio.sleep(1)

    assert texts(seen)[0] == "0"
    assert texts(seen)[-1] == "9"
    assert 3 <= len(texts(seen)) <= 5
    assert isinstance(seen[-1], EndOfStream)
    assert run.stats().edges["show → consumer"].counts.discarded == {"overflow": 10 - len(texts(seen))}


async def test_an_edge_that_may_not_overflow_fails_the_stage_that_writes_it() -> None:
    """semantics 2.7, 5.6: one error that names the stage; its cause names the edge, its fill and the way out."""
    pipeline = PipelineBuilder().connect(PassthroughStage("fast"), slow, buffer=2, overflow="error").build()
    got = []
    with pytest.raises(StageError) as caught:
        async for element in pipeline.execute(every(0, 10)):
            got.append(element)
    await assert_all_stages_stopped()

    assert caught.value.stage == "fast"
    assert str(caught.value.__cause__).startswith(
        "edge fast → slow is full, it holds 2 of 2 elements; let the sender wait"
    )
    assert texts(got) == ["0", "1", "2"]
    assert [type(one) for one in got[-2:]] == [ErrorElement, EndOfStream]


async def test_a_live_input_that_may_not_overflow_tells_who_sends() -> None:
    """semantics 2.7, 5.2: `run.send()` raises, and the run goes on."""
    pipeline = PipelineBuilder().add(slow).connect(SOURCE, "slow", buffer=1, overflow="error").build()
    async with pipeline.execute() as run:
        await run.send(TextElement("1"))
        await anyio.sleep(0.1)
        await run.send(TextElement("2"))
        with pytest.raises(EdgeOverflowError, match="source → slow"):
            await run.send(TextElement("3"))
        run.close_input()
        assert [text async for text in run.text()] == ["1", "2"]


async def test_a_branch_that_drops_does_not_slow_the_others() -> None:
    """semantics 4.6, 2.7: the monitor of a call sees what it can; the call misses nothing and waits for nobody."""
    watched = []

    async def monitor(element: TextElement) -> None:
        await anyio.sleep(10)
        watched.append(element.text)

    builder = PipelineBuilder().add(
        PassthroughStage("call"), PassthroughStage("main"), SinkStage(monitor, name="monitor")
    )
    builder.connect("call", "monitor", overflow="latest").branch("call", "main", "monitor")
    began = anyio.current_time()
    async with builder.build().execute(every(1, 20)) as run:
        times = {}
        async for element in run:
            if isinstance(element, TextElement):
                times[element.text] = anyio.current_time() - began

    assert list(times.values()) == pytest.approx(list(range(20)))
    assert watched[0] == "0"
    assert watched[-1] == "19"
    assert len(watched) < 6


async def test_metrics_tracing_and_limits_understand_what_is_dropped() -> None:
    """semantics 2.7, 5.9: depth, peak and time inside are right; an edge that drops is not stuck, and its writer not idle."""
    config = PipelineConfig(buffer_size=2, metrics=True, tracing=True, idle_timeout_s=2, backpressure_timeout_s=0.5)
    for overflow in ("drop_oldest", "drop_newest", "latest"):
        told = []

        def listen(event, told=told):
            if isinstance(event, ElementMoved) and event.edge == "source → slow":
                told.append(event)

        builder = PipelineBuilder(config).add(slow).connect(SOURCE, "slow", overflow=overflow).on_event(listen)
        async with builder.build().execute(every(0.25, 20)) as run:
            result = await run.result()
        stats = run.stats().edges["source → slow"]
        assert len(told) == len(texts(result.elements)) == stats.counts.received
        assert [str(event.ordinal) for event in told] == texts(result.elements)
        assert all(0 <= event.waited_s <= 2 for event in told)
        assert stats.peak == (1 if overflow == "latest" else 2)


async def test_what_is_on_its_way_is_bounded_with_every_policy() -> None:
    """semantics 5.4, 2.7: `max_in_flight` counts a room for data and one for control; an independent account agrees."""
    for overflow, most in {"block": 9, "drop_oldest": 13, "drop_newest": 13, "latest": 11}.items():
        builder = PipelineBuilder(PipelineConfig(buffer_size=2)).chain(PassthroughStage("a"))
        pipeline = builder.connect("a", slow, overflow=overflow).connect(SOURCE, "a", overflow=overflow).build()
        source = [TurnEnd() if number % 3 == 0 else TextElement(str(number)) for number in range(30)]
        with EdgeLedger(capacity=2) as ledger:
            result = await pipeline.run(source)
        ledger.check(ended=True)
        assert sum(isinstance(one, TurnEnd) for one in result.elements) == 10
        dropped = sum(record.discarded["overflow"] for record in ledger.edges.values())
        assert len(texts(result.elements)) == 20 - dropped
        assert pipeline.max_in_flight == most


async def test_a_source_runs_no_further_ahead_than_the_weight_lets_it() -> None:
    """semantics 2.8: speech is made half a second ahead of what is played, however long its pieces are."""
    ahead = []
    clock = {"made": 0.0, "played": 0.0}

    @stage
    async def speak(stream: AsyncIterator[TextElement]) -> AsyncIterator[AudioElement]:
        async for element in stream:
            sound = AudioElement(bytes(32 * int(element.text)), sample_rate=16000)  # that many milliseconds
            yield sound
            clock["made"] += (sound.duration_s or 0) * 1000
            ahead.append(clock["made"] - clock["played"])

    play = SinkStage(_played(clock), name="play")
    builder = PipelineBuilder().connect(speak, play, weight=Weight.audio_ms(500))
    await builder.build().run([str(ms) for ms in (200, 100, 300, 20, 20, 900, 40, 60, 400, 500)])

    assert clock["made"] == clock["played"] == 2540
    assert max(ahead) <= 500 + 900  # what is in the edge, and what is being played


def _played(clock):
    async def play(element: AudioElement) -> None:
        await anyio.sleep(element.duration_s or 0)
        clock["played"] += (element.duration_s or 0) * 1000

    return play


# Priority lanes, end to end


HOPS = 4


def chained(config=None, *, priority=None):
    builder = PipelineBuilder(config).add(*(PassthroughStage(f"hop {number}") for number in range(HOPS)))
    builder.connect(SOURCE, "hop 0", priority=priority).connect(f"hop {HOPS - 1}", CONSUMER, priority=priority)
    for number in range(HOPS - 1):
        builder.connect(f"hop {number}", f"hop {number + 1}", priority=priority)
    return builder.build()


async def fill_and_send(pipeline, urgent):
    """Let normal elements fill every edge while nobody reads, then send one more and read; return what is read."""
    async with pipeline.execute() as run:
        async with anyio.create_task_group() as tasks:

            async def fill():
                for number in range(400):
                    await run.send(TextElement(str(number)))

            tasks.start_soon(fill)
            await anyio.sleep(1)
            tasks.cancel_scope.cancel()
        got = []
        async with anyio.create_task_group() as tasks:

            async def end():
                await run.send(urgent)  # which waits, where all is full and nothing passes
                run.close_input()

            tasks.start_soon(end)
            async for element in run:
                got.append(element)
                await anyio.sleep(0.01)
        return got[:-1]


@pytest.mark.parametrize("how", ["config", "edges"])
async def test_a_critical_element_overtakes_on_every_hop(how) -> None:
    """semantics 2.9, 2.6: behind a full pipeline it passes all that waits on edges; what stages hold goes first."""
    urgent = TextElement("urgent", priority=Priority.CRITICAL)
    pipeline = chained(PipelineConfig(priority=True)) if how == "config" else chained(priority=True)
    with EdgeLedger() as ledger:
        got = texts(await fill_and_send(pipeline, urgent))

    ledger.check(ended=True)
    for record in ledger.edges.values():
        before = record.sent[: record.sent.index(urgent)]
        overtaken = [one for one in before if record.received.index(one) > record.received.index(urgent)]
        assert len(overtaken) >= 5, record
    assert got.index("urgent") < len(got) / 2
    assert [one for one in got if one != "urgent"] == sorted((one for one in got if one != "urgent"), key=int)
    assert len(got) > (HOPS + 1) * 10
    off = chained(PipelineConfig(priority=how == "config"), priority=False if how == "config" else None)
    assert texts(await fill_and_send(off, urgent))[-1] == "urgent"


async def test_control_is_a_fence_on_every_hop() -> None:
    """semantics 2.9: a turn does not lose its urgent elements to the turn before."""
    pipeline = chained(PipelineConfig(priority=True))
    turns = 6
    async with pipeline.execute() as run, anyio.create_task_group() as tasks:

        async def fill():
            for turn in range(turns):
                for number in range(6):
                    await run.send(TextElement(f"{turn}", priority=list(Priority)[number % 4]))
                await run.send(TurnEnd(index=turn))
            run.close_input()

        tasks.start_soon(fill)
        await anyio.sleep(1)
        got = [element async for element in run]
    now = 0
    for element in got:
        if isinstance(element, TurnEnd):
            assert element.index == now
            now += 1
        elif isinstance(element, TextElement):
            assert element.text == str(now)
    assert now == turns


@given(
    st.lists(st.sampled_from([*Priority, None]), max_size=60),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.sampled_from([4, 5, 16]),
)
async def test_nothing_is_lost_and_nobody_waits_for_ever_where_some_edges_have_lanes(drawn, lanes, capacity) -> None:
    """semantics 2.9, 2.5: the account of every edge, by the rules of the edge: bypass is bounded on each."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).add(PassthroughStage("a"), PassthroughStage("b"))
    builder.connect(SOURCE, "a", priority=lanes[0]).connect("a", "b", priority=lanes[1])
    pipeline = builder.connect("b", CONSUMER, priority=lanes[2]).build()
    source = [
        TurnEnd(id=str(number)) if priority is None else TextElement(str(number), priority=priority)
        for number, priority in enumerate(drawn)
    ]
    with EdgeLedger(capacity=capacity) as ledger:
        result = await pipeline.run(source)
    ledger.check(ended=True)

    got = [one for one in result.elements if not isinstance(one, EndOfStream)]
    assert sorted(map(id, got)) == sorted(map(id, source))
    assert [one for one in got if isinstance(one, ControlElement)] == [
        one for one in source if isinstance(one, ControlElement)
    ]
    if not any(lanes):
        assert got == source


async def test_every_policy_ends_with_the_input_and_with_the_consumer() -> None:
    """semantics 5.5, 2.7: `close_input()` lets all arrive that was not dropped; a break, a cancellation leave nothing behind."""
    for overflow in ("drop_oldest", "drop_newest", "latest", "error"):
        builder = PipelineBuilder().connect(PassthroughStage("a"), slow, overflow=overflow)
        pipeline = builder.connect(SOURCE, "a", overflow=overflow, weight=Weight.bytes(100)).build()
        async with pipeline.execute() as run:
            await run.send(TextElement("x"))
            await run.send(TurnEnd())
            run.close_input()
            assert [type(one) for one in (await run.result()).elements] == [TextElement, TurnEnd]
        async for _ in pipeline.execute(every(0.5, 1000)):
            break
        with anyio.move_on_after(3):
            await pipeline.run(every(1, 1000))
        await assert_all_stages_stopped()

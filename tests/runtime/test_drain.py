"""The orderly end of one run: no more input, what is inside arrives, and what does not is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    EndOfStream,
    FlatMapStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    Run,
    RunContext,
    SendEnd,
    SinkStage,
    StageError,
    StageKind,
    Supervision,
    TextElement,
    TurnEnd,
    open_channel,
    stage,
)
from streamflow.errors import ConfigError, RunStateError, ShutdownTimeoutError
from streamflow.stages import BatchStage, DelayStage, ThrottleStage
from streamflow.testing import EdgeLedger, Outcome, assert_all_stages_stopped, cancel_sweep


def pipeline_of(*stages, **settings) -> Pipeline:
    return PipelineBuilder(PipelineConfig(**settings)).chain(*stages).build()


@stage
async def slowly(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        await anyio.sleep(1)
        yield element


@stage
async def passing(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield element


class Endless:
    """A source that never ends by itself; gives one text a second, or as many as there is room for."""

    def __init__(self, pause_s: float = 1) -> None:
        self.pause_s = pause_s
        self.closed = 0

    async def __call__(self) -> AsyncIterator[TextElement]:
        number = 0
        try:
            while True:
                yield TextElement(str(number))
                number += 1
                if self.pause_s:
                    await anyio.sleep(self.pause_s)
        finally:
            self.closed += 1


def texts(elements: list[object]) -> list[str]:
    return [one.text for one in elements if isinstance(one, TextElement)]


def reason(elements: list[object]) -> str:
    assert isinstance(elements[-1], EndOfStream)
    return elements[-1].reason


async def rest_of(run: Run) -> list[object]:
    return [element async for element in run]


# Who drains, and who reads


@pytest.mark.parametrize("who", ["beside", "the consumer in its loop", "the consumer before it reads"])
@pytest.mark.parametrize("capacity", [1, 16])
async def test_what_is_inside_arrives_whoever_drains(who: str, capacity: int) -> None:
    """semantics 5.8 (7.4): beside a loop, inside it, or before it; the consumer need not read for the drain to end."""
    source, got = Endless(), []
    async with pipeline_of(slowly, buffer_size=capacity).execute(source()) as run:
        if who == "the consumer before it reads":
            await anyio.sleep(3.5)
            await run.drain(60)
        async with anyio.create_task_group() as tasks:
            if who == "beside":

                async def drain() -> None:
                    await anyio.sleep(3.5)
                    await run.drain(60)

                tasks.start_soon(drain)
            async for element in run:
                got.append(element)
                if who == "the consumer in its loop" and texts(got)[-1:] == ["2"]:
                    await run.drain(60)

    # The source gives a text each second, from 0 on, and the stage needs one for each: "3" is inside when the drain begins,
    # unless nobody has read until then and there is no room.
    is_stuck = capacity == 1 and who == "the consumer before it reads"
    assert texts(got) == ["0", "1", "2", "3"][: 3 if is_stuck else 4]
    assert reason(got) == "done"
    assert source.closed == 1
    assert run.undelivered == ({"source → slowly": 1} if is_stuck else {})
    await assert_all_stages_stopped()


async def test_more_than_the_edges_hold_arrives_without_a_reader() -> None:
    """semantics 5.8 (7.4): stages that make much of little need no reader either, and the edges keep their account."""
    many = FlatMapStage(lambda element: [TextElement(f"{element.text}.{n}") for n in range(500)], name="many")
    with EdgeLedger() as ledger:
        async with pipeline_of(passing, many, buffer_size=1).execute() as run:
            for name in ("a", "b"):
                await run.send(name)
            await run.drain(5)
            got = await rest_of(run)

    assert texts(got) == [f"{name}.{n}" for name in "ab" for n in range(500)]
    assert all(not record.buffered and not record.discarded for record in ledger.edges.values())


@pytest.mark.parametrize("priority", [False, True])
async def test_all_ends_of_a_graph_take_what_comes(priority: bool) -> None:
    """semantics 5.8 (7.4): merged leaves, one that is read alone, sinks, and edges with lanes."""
    kept: list[TextElement] = []
    builder = PipelineBuilder(PipelineConfig(buffer_size=4, priority=priority))
    builder.add(stage(name="head")(_copy), stage(name="left")(_copy), stage(name="right")(_copy))
    builder.add(stage(name="alone")(_copy), SinkStage(kept.append, name="kept"))
    builder.branch("head", "left", "right", "alone", "kept")
    async with builder.build().execute() as run:
        alone = run.output("alone")
        for number in range(4):
            await run.send(str(number))
        await run.drain(5)
        got = await rest_of(run)
        mine = [element async for element in alone]

    assert Counter(texts(got)) == Counter({str(number): 2 for number in range(4)})
    assert texts(mine) == texts(kept) == ["0", "1", "2", "3"]


async def test_a_subscriber_that_reads_later_holds_no_drain_up() -> None:
    """semantics 5.8 (7.4): a branch that was added has a consumer too; what came out waits for it."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=1)).add(stage(name="head")(_copy), stage(name="left")(_copy))
    builder.branch("head", "left", dynamic=True)
    async with builder.build().execute() as run:
        branch = run.subscribe("head")
        await run.send("0")
        await run.send("1")
        await run.drain(5)
        assert texts([element async for element in branch]) == texts(await rest_of(run)) == ["0", "1"]
    assert anyio.current_time() == 0


async def _copy(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield element


# What is stopped, and what is not


async def test_accumulators_flush_and_waits_take_their_time() -> None:
    """semantics 5.8 (7.4): a drain ends the input and hurries nothing: a throttle and a delay keep their times."""
    chain = (ThrottleStage(1, 2), DelayStage(5), BatchStage(4))
    async with pipeline_of(*chain).execute() as run:
        for name in "abcdef":
            await run.send(name)
        began = anyio.current_time()
        await run.drain(60)
        assert anyio.current_time() - began == 5 * 2 + 5
        got = await rest_of(run)

    assert [len(one.items) for one in got[:-1]] == [4, 2]


async def test_a_drain_ends_the_pause_of_a_supervised_stage() -> None:
    """semantics 5.7, 5.8 (7.4): the next try is made at once, also if the stage fails for the first time while it drains."""
    fails = [True, True]

    @stage(name="shaky")
    async def shaky(element: TextElement) -> TextElement:
        if fails:
            fails.pop()
            raise ValueError(element.text)
        return element

    supervision = Supervision("retry", attempts=5, min_backoff_s=1000, max_backoff_s=1000)
    async with PipelineBuilder().chain(shaky).supervise("shaky", supervision).build().execute() as run:
        await run.send("x")
        await anyio.sleep(1)
        await run.drain(100)
        assert anyio.current_time() == 1
        assert texts(await rest_of(run)) == ["x"]


async def test_stages_that_generate_are_cancelled_and_what_they_sent_arrives() -> None:
    """semantics 5.8 (7.4): a stage without input has no other way to hear of it; its clean-up may still send."""

    @stage(kind=StageKind.GENERATE)
    async def ticks(_input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        number = 0
        try:
            while True:
                await output.send(TextElement(str(number)))
                number += 1
                await anyio.sleep(1)
        finally:
            output.send_nowait(TextElement("last"))

    async with pipeline_of(ticks, slowly).execute() as run:
        await anyio.sleep(2.5)
        await run.drain()
        got = await rest_of(run)

    assert texts(got) == ["0", "1", "2", "last"]
    assert reason(got) == "done"


async def test_what_a_source_has_in_its_hand_is_accounted_for() -> None:
    """semantics 5.8 (7.5): given by the source, and no room for it: not admitted, and not forgotten."""
    send, receive = open_channel(8)
    for name in "abcd":
        await send.send(TextElement(name))

    async with pipeline_of(slowly, buffer_size=1).execute(receive) as run:
        await anyio.sleep(0.5)
        await run.drain(60)
        got = await rest_of(run)

    # "a" is in the stage's hand, "b" in the edge, "c" in the source's.
    assert texts(got) == ["a", "b"]
    assert run.undelivered == run.stats().undelivered == {"source → slowly": 1}
    assert receive.statistics().state == "cancelled"


async def test_a_run_that_is_fed_by_hand_refuses_more() -> None:
    """semantics 5.8 (7.4): a clear error for who sends later, and for who waits for room; nothing of it was sent."""
    refused: list[RunStateError] = []
    async with pipeline_of(slowly, buffer_size=1).execute() as run:

        async def feed() -> None:
            try:
                for name in "abcd":
                    await run.send(name)
            except RunStateError as error:
                refused.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed)
            await anyio.sleep(0.5)
            await run.drain()
        with pytest.raises(RunStateError, match="is draining and takes no more"):
            await run.send("e")
        run.close_input()
        got = await rest_of(run)

    assert texts(got) == ["a", "b"]
    assert len(refused) == 1
    assert run.undelivered == {}


# The deadlines


async def test_at_the_deadline_the_rest_is_cancelled_and_accounted_for() -> None:
    """semantics 5.8 (7.5): what was on its way out arrives, the rest is named by edge and by stage."""
    async with pipeline_of(passing, slowly, buffer_size=4).execute() as run:
        for number in range(8):
            await run.send(str(number))
        began = anyio.current_time()
        await run.drain(2.5)
        assert anyio.current_time() - began == 2.5
        got = await rest_of(run)

    assert texts(got) == ["0", "1"]
    assert reason(got) == "cancelled"
    assert sum(run.undelivered.values()) == 6
    assert run.undelivered["slowly"] == 1
    await assert_all_stages_stopped()


async def test_what_does_not_end_is_named_with_what_was_not_delivered() -> None:
    """semantics 5.8 (7.5): the second deadline; the caller is released."""
    gate = anyio.Event()

    @stage
    async def stubborn(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for _element in stream:
            while not gate.is_set():
                try:
                    await gate.wait()
                except anyio.get_cancelled_exc_class():
                    continue

    async with pipeline_of(stubborn, shutdown_timeout_s=2).execute() as run:
        for name in "abc":
            await run.send(name)
        began = anyio.current_time()
        with pytest.raises(ShutdownTimeoutError, match=r"'stubborn' did not end.*2 of source → stubborn") as caught:
            await run.drain(1)
        assert anyio.current_time() - began == 3
        assert caught.value.stages == run.zombies == ("stubborn",)
        assert caught.value.undelivered == {"stubborn": 1, "source → stubborn": 2}
        gate.set()
    await anyio.sleep(2)
    await assert_all_stages_stopped()


@pytest.mark.parametrize("times", range(6))  # who runs first is chance on trio
async def test_who_was_being_woken_at_the_deadline_is_not_counted_with_what_it_still_sent(times: int) -> None:
    """semantics 7.5: the consumer makes room in the tick in which the deadline strikes; each element is told once."""
    source, got = Endless(0), []
    pipeline = pipeline_of(*steps_of([("ticks", 0)]), buffer_size=1)
    async with pipeline.execute(source()) as run, anyio.create_task_group() as tasks:

        async def drain() -> None:
            await anyio.sleep(1 + times)
            await run.drain(0)

        tasks.start_soon(drain)
        async for element in run:
            got.append(element)
            await anyio.sleep(0.5)

    first = run.stats().edges["source → ticks0"].counts
    lost = dict(run.undelivered)
    assert lost.pop("source → ticks0") == 1 + sum(first.discarded.values()) + first.buffered  # one in the source's hand
    assert len(texts(got)) + sum(lost.values()) == first.received


@pytest.mark.parametrize("given", [-1, True, float("nan"), "soon"])
async def test_a_deadline_that_is_none_is_refused(given) -> None:
    """how we work 5: names the argument; and nothing has been stopped."""
    async with pipeline_of(passing).execute() as run:
        with pytest.raises(ConfigError, match="timeout_s"):
            await run.drain(given)
        await run.send("x")


async def test_a_drain_that_is_cancelled_leaves_the_run_draining() -> None:
    """semantics 5.8 (7.4): cancelling the wait is not cancelling the run."""
    async with pipeline_of(slowly).execute() as run:
        for name in "abc":
            await run.send(name)
        with anyio.move_on_after(1.5):
            await run.drain()
        assert texts(await rest_of(run)) == ["a", "b", "c"]


# In every state


async def test_a_run_that_was_drained_before_it_began_ends_at_once() -> None:
    """semantics 5.8 (7.4): it takes nothing; a channel that it was given is closed."""
    send, receive = open_channel(4)
    await send.send(TextElement("x"))
    run = pipeline_of(passing).execute(receive)
    await run.drain()
    async with run:
        got = await rest_of(run)

    assert (texts(got), reason(got)) == ([], "done")
    assert receive.statistics().state == "cancelled"


async def test_draining_twice_and_after_the_end_changes_nothing() -> None:
    """semantics 5.8 (7.4): idempotent; the earlier deadline holds."""
    async with pipeline_of(slowly).execute() as run:
        for name in "abc":
            await run.send(name)
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.drain, 60)
            tasks.start_soon(run.drain, 2.5)
        assert anyio.current_time() - began == 2.5
        got = await rest_of(run)
        await run.drain()
    await run.drain()

    assert (texts(got), reason(got)) == (["a", "b"], "cancelled")


async def test_a_cancelled_run_ends_its_drain() -> None:
    """semantics 5.8 (7.4): drain, then cancel: nothing more comes out, and who waits is let go."""
    async with pipeline_of(slowly).execute() as run:
        for name in "abc":
            await run.send(name)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.drain, 60)
            await anyio.sleep(1.5)
            run.cancel()
        assert anyio.current_time() == 1.5
        assert await rest_of(run) == []
    assert run.undelivered == {"source → slowly": 1, "slowly": 1, "slowly → consumer": 1}


async def test_a_failure_while_draining_is_told_to_the_consumer() -> None:
    """semantics 5.8 (7.4): the drain waits for what still arrives, and leaves the failure to who reads."""

    @stage
    async def fails(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            await anyio.sleep(1)
            if element.text == "b":
                raise ValueError("broken")
            yield element

    with pytest.raises(StageError, match="broken"):
        async with pipeline_of(passing, fails, slowly).execute() as run:
            for name in "abc":
                await run.send(name)
            await run.drain(60)
            got: list[object] = []
            async for element in run:
                got.append(element)
    assert (texts(got), reason(got)) == (["a"], "error")
    assert run.undelivered == {"passing → fails": 1, "fails": 1}


async def test_a_stage_cannot_drain_its_own_run() -> None:
    """semantics 5.8 (7.4): it would wait for itself."""
    runs: list[Run] = []

    @stage
    async def ends_it(stream: AsyncIterator[TextElement], run: RunContext[object]) -> AsyncIterator[TextElement]:
        async for element in stream:
            with pytest.raises(RunStateError, match=r"stage 'ends_it' would wait for its own end"):
                await runs[0].drain()
            yield element

    async with pipeline_of(ends_it).execute("x") as run:
        runs.append(run)
        assert texts(await rest_of(run)) == ["x"]


async def test_a_run_without_readers_is_told_as_completed() -> None:
    """semantics 5.12: a run of sinks that was drained has not been cancelled, though nobody met its end."""
    told: list[str] = []
    kept: list[TextElement] = []
    builder = PipelineBuilder().chain(passing, SinkStage(kept.append, name="kept"))
    builder.on_event(lambda event: told.append(event.name))
    async with builder.build().execute() as run:
        await run.send("x")
        await run.drain()

    assert texts(kept) == ["x"]
    assert told[-1] == "pipeline.completed"


# Nothing is lost


@pytest.mark.parametrize("capacity", [1, 16])
async def test_a_drain_cancelled_at_every_tick_leaves_nothing_and_loses_nothing(capacity: int) -> None:
    """SF-20, L3: whenever the caller is cancelled; undisturbed, all that was admitted has come out."""
    runs: list[Run] = []

    async def scenario() -> list[object]:
        runs.clear()
        async with pipeline_of(passing, passing_too, buffer_size=capacity).execute() as run:
            runs.append(run)
            for number in range(3):
                await run.send(str(number))
            await run.drain()
            return await rest_of(run)

    async def check(outcome: Outcome[list[object]]) -> None:
        await assert_all_stages_stopped()
        if not outcome.cancelled:
            assert outcome.value is not None
            assert texts(outcome.value) == ["0", "1", "2"]
            assert runs[0].undelivered == {}

    report = await cancel_sweep(scenario, check=check)
    assert report.ticks > 5


@stage
async def passing_too(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        await checkpoint()
        yield element


def steps_of(kinds: list[tuple[str, int]]) -> list[object]:
    """Return stages that hold one element at most, each with its pauses."""

    def step(number: int, kind: str, pause: int) -> object:
        @stage(name=f"{kind}{number}", accepts=(TextElement, TurnEnd))
        async def work(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            async for element in stream:
                if kind == "ticks":
                    for _ in range(pause):
                        await checkpoint()
                else:
                    await anyio.sleep(pause)
                await output.send(element)

        return work

    return [step(number, kind, pause) for number, (kind, pause) in enumerate(kinds)]


@given(
    kinds=st.lists(st.tuples(st.sampled_from(["ticks", "sleeps"]), st.integers(0, 3)), min_size=1, max_size=4),
    capacity=st.sampled_from([1, 2, 16]),
    wide=st.booleans(),
    begins_s=st.integers(0, 12),
    limit_s=st.sampled_from([0, 1, 4, 1000]),
    pause_s=st.sampled_from([0, 1]),
)
async def test_everything_admitted_arrives_or_is_accounted_for(  # noqa: PLR0917 - what is drawn
    kinds: list[tuple[str, int]], capacity: int, wide: bool, begins_s: int, limit_s: int, pause_s: int
) -> None:
    """L3: drained at any moment, cut at any moment: each element that entered comes out, or is in the account."""
    sunk: list[TextElement] = []
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(*steps_of(kinds))
    last = f"{kinds[-1][0]}{len(kinds) - 1}"
    if wide:
        builder.add(SinkStage(sunk.append, name="sunk"), stage(name="side")(_copy))
        builder.branch(last, "sunk", "side")
    got: list[object] = []
    async with builder.build().execute(Endless(pause_s)()) as run, anyio.create_task_group() as tasks:

        async def drain() -> None:
            await anyio.sleep(begins_s)
            await run.drain(limit_s)

        tasks.start_soon(drain)
        async for element in run:
            got.append(element)
            if not pause_s:
                await anyio.sleep(0.5)  # else it reads for ever: no time passes

    admitted = run.stats().edges[f"source → {kinds[0][0]}0"].counts.sent
    lost = dict(run.undelivered)
    hand = lost.pop(f"source → {kinds[0][0]}0", 0)
    arrived = len(texts(got))
    assert texts(got) == [str(number) for number in range(arrived)]
    if limit_s == 1000:
        assert arrived == admitted
        assert lost == {}
        assert hand <= 1
    elif not wide:
        assert admitted <= arrived + sum(lost.values()) + hand
        assert arrived + sum(lost.values()) <= admitted
    if reason(got) == "done":
        assert arrived == admitted
    if wide and reason(got) == "done":
        assert texts(sunk) == texts(got)
    await assert_all_stages_stopped()

"""Runs that wait for themselves are found, and nothing else is taken for one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import random
from collections.abc import AsyncIterator, Mapping

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamflow import (
    EndOfStream,
    ErrorElement,
    MapAsyncStage,
    PassthroughStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    RunContext,
    SendEnd,
    StageKind,
    StreamElement,
    TextElement,
    ThreadStage,
    TurnEnd,
    stage,
)
from streamflow.errors import ConfigError, PipelineDeadlockError, Wait, WaitGraph
from streamflow.graph import PolicyName
from streamflow.observe import EdgeGrown, Event, RunStalled
from streamflow.stages import BatchStage

Ends = Mapping[str, ReceiveEnd[StreamElement]]

LONG_S = 3600.0

pytestmark = pytest.mark.filterwarnings("ignore::streamflow.BuildWarning")  # that these graphs may stop is the point


def texts(count: int) -> list[TextElement]:
    return [TextElement(str(number)) for number in range(count)]


@stage(inputs={"first": StreamElement, "second": StreamElement})
async def concat(inputs: Ends, output: SendEnd[StreamElement]) -> None:
    for one in inputs.values():
        async for element in one:
            await output.send(element)


@stage(kind=StageKind.ACCUMULATE, accepts=(TextElement, TurnEnd), max_held=1000)
async def collect(stream: AsyncIterator[TextElement | TurnEnd]) -> AsyncIterator[StreamElement]:
    held: list[StreamElement] = [element async for element in stream]
    for element in held:
        yield element


def diamond(*between: object, capacity: int = 1, **settings: object) -> PipelineBuilder:
    """A fork, one branch that holds everything back, one that does not, and a join that waits for the first one."""
    config = PipelineConfig(buffer_size=capacity).replace(**settings)
    stages = between or (PassthroughStage("direct"),)
    builder = PipelineBuilder(config).chain(PassthroughStage("fork"), collect).chain("fork", *stages)  # type: ignore[arg-type]
    names = [one.name for one in stages]  # type: ignore[attr-defined]
    return (
        builder.branch("fork", "collect", names[0])
        .add(concat)
        .connect("collect", "concat:first")
        .connect(names[-1], "concat:second")
    )


async def outcome(pipeline: Pipeline, source: object) -> list[str] | PipelineDeadlockError:
    """Return what comes out, or how it died; whatever else happens within an hour is an error."""
    got: list[str] = []
    try:
        with anyio.fail_after(LONG_S):
            async with pipeline.execute(source) as run:  # type: ignore[arg-type]
                async for element in run:
                    if isinstance(element, TextElement):
                        got.append(element.text)
    except PipelineDeadlockError as error:
        return error
    return got


# What is one


@pytest.mark.parametrize("capacity", [1, 2, 16])
async def test_a_join_that_waits_for_what_the_other_branch_stops_is_a_deadlock(capacity: int) -> None:
    """14.1: found as soon as nothing can go on, with who waits for whom."""
    error = await outcome(diamond(capacity=capacity).build(), texts(100))

    assert isinstance(error, PipelineDeadlockError)
    assert set(error.graph.cycle) == {"fork", "direct", "concat", "collect"}
    fork = next(one for one in error.graph.waits if one.who == "fork")
    assert (fork.kind, fork.edge, fork.buffered, fork.capacity, fork.on) == (
        "send",
        "fork → direct",
        capacity,
        capacity,
        ("direct",),
    )
    join = next(one for one in error.graph.waits if one.who == "concat")
    assert (join.kind, join.edge, join.buffered, join.on) == ("receive", "collect → concat:first", 0, ("collect",))


@pytest.mark.parametrize("policy", ["concat", "zip", "ordered"])
async def test_every_merge_that_waits_for_an_input_can_be_one(policy: PolicyName) -> None:
    """14.1, 14.2: with the names of the edges that a merge reads; and it ends well where there is room."""

    def merging(capacity: int) -> Pipeline:
        builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(PassthroughStage("fork"), collect)
        builder.branch("fork", "collect", PassthroughStage("direct"))
        return builder.merge(PassthroughStage("end"), "collect", "direct", policy=policy).build()

    error = await outcome(merging(1), texts(9))
    assert isinstance(error, PipelineDeadlockError)
    assert {"fork", "direct", "collect", "end"} == set(error.graph.cycle)
    assert not isinstance(await outcome(merging(16), texts(9)), PipelineDeadlockError)


async def test_the_output_ends_as_after_any_failure() -> None:
    """14.1: an error element, the end, then the error; nothing is left behind."""
    elements: list[StreamElement] = []
    async with diamond().build().execute(texts(9)) as run:
        with pytest.raises(PipelineDeadlockError, match="waits to receive on 'collect → concat:first'"):
            async for element in run:
                elements.append(element)
        assert [type(one) for one in elements] == [ErrorElement, EndOfStream]
        assert isinstance(elements[0], ErrorElement)
        assert elements[0].code == "deadlock"
        assert isinstance(elements[1], EndOfStream)
        assert elements[1].reason == "error"
        with pytest.raises(StopAsyncIteration):
            await anext(run)
        assert run.zombies == ()


@given(count=st.integers(0, 12), capacity=st.integers(1, 3), slow=st.booleans())
async def test_a_diamond_gives_all_it_has_or_dies(count: int, capacity: int, slow: bool) -> None:
    """14.1: with room for everything it ends well, else it is found dead; it never hangs."""

    async def source() -> AsyncIterator[TextElement]:
        for element in texts(count):
            if slow:
                await anyio.sleep(1)
            yield element

    got = await outcome(diamond(capacity=capacity).build(), source())
    names = [str(number) for number in range(count)]
    room = 2 * capacity + 1  # two edges, and what the stage between them has in hand; then the fork itself is stopped
    if count <= room:
        assert got == [*names, *names]
    else:
        assert isinstance(got, PipelineDeadlockError)


async def test_it_is_found_while_the_consumer_is_busy_elsewhere() -> None:
    """14.1: where its reading could not help, nobody waits for the consumer; it learns of it when it asks."""
    async with diamond().build().execute(texts(9)) as run:
        await anyio.sleep(LONG_S)
        assert isinstance(await anext(run), ErrorElement)
        with pytest.raises(PipelineDeadlockError):
            await run.result()


async def test_stages_of_several_calls_and_helpers_of_the_run_are_looked_through() -> None:
    """14.2: tasks of a stage that wait for each other wait for what the stage waits for."""

    async def same(element: TextElement) -> TextElement:
        return element

    @stage
    async def relaying(
        input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        async def relay() -> None:
            async for element in input:
                await output.send(element)

        run.start_soon(relay)

    error = await outcome(diamond(MapAsyncStage(same, concurrency=3), relaying).build(), texts(30))
    assert isinstance(error, PipelineDeadlockError)
    waits = {one.who: one for one in error.graph.waits}
    assert waits["relaying"] == Wait("relaying", "inside", on=("relaying/relay",))
    assert waits["same/sender"].kind == "send"
    assert waits["same"].kind == "inside"


async def test_a_user_who_waits_to_send_is_part_of_it() -> None:
    """14.1: a live run is dead when nobody asks for what its user could still send."""
    async with diamond().build().execute() as run, anyio.create_task_group() as tasks:

        async def feed() -> None:
            with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                for element in texts(9):
                    await run.send(element)

        tasks.start_soon(feed)
        with pytest.raises(PipelineDeadlockError), anyio.fail_after(LONG_S):
            await run.result()


async def test_the_error_survives_pickling_and_draws_the_cycle() -> None:
    """14.1: it is read by people: each line says who waits, where, how full that is, and for whom."""
    error = await outcome(diamond().build(), texts(9))
    assert isinstance(error, PipelineDeadlockError)
    copy = pickle.loads(pickle.dumps(error))
    assert copy.graph == error.graph
    assert str(copy) == str(error)
    assert "fork waits to send on 'fork → direct' (full, 1 of 1) until direct takes from it" in str(error)
    assert "ways out:" in str(error)


def test_a_wait_says_what_it_is() -> None:
    """14.3: outside its edges with the place, in its own code without."""
    assert str(Wait("a", "outside", place="app.py:3")) == "a waits outside its edges, at app.py:3"
    assert str(Wait("a", "outside")) == "a waits outside its edges"
    assert str(Wait("consumer", "runs")) == "consumer is in its own code"
    assert str(Wait("a", "inside", on=("a/call",))) == "a waits for other tasks of its own stage: a/call"
    assert "held" in str(Wait("a", "receive", "merge → a", 1, 2))
    assert str(WaitGraph((Wait("a", "outside"),))) == "  a waits outside its edges"


# What is none


def straight(*stages: object, capacity: int = 1) -> Pipeline:
    return PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(*stages).build()  # type: ignore[arg-type]


async def test_a_slow_consumer_is_none() -> None:
    """14.2: edges that are full because the consumer takes its time are back-pressure."""
    got: list[StreamElement] = []
    async with straight(PassthroughStage("a"), PassthroughStage("b")).execute(texts(9)) as run:
        async for element in run:
            await anyio.sleep(LONG_S)
            got.append(element)
    assert len(got) == 10


async def test_outputs_that_nobody_reads_are_none() -> None:
    """14.2: an output that was taken and is not read holds up what feeds it, and may be read later."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(PassthroughStage("a"))
    pipeline = builder.branch("a", PassthroughStage("x"), PassthroughStage("y")).build()
    async with pipeline.execute(texts(9)) as run, anyio.create_task_group() as tasks:
        later = run.output("y")

        async def read() -> None:
            await anyio.sleep(LONG_S)
            assert len([one async for one in later]) == 9

        tasks.start_soon(read)
        assert len([one async for one in run]) == 10


async def test_a_source_that_sleeps_is_none() -> None:
    """14.2: a source waits for what it likes."""

    async def source() -> AsyncIterator[TextElement]:
        for element in texts(3):
            await anyio.sleep(LONG_S / 9)
            yield element

    assert await outcome(straight(PassthroughStage("a")), source()) == ["0", "1", "2"]


async def test_a_live_run_that_waits_for_its_user_is_none() -> None:
    """14.2: who may still send can go on."""
    async with straight(PassthroughStage("a")).execute() as run, anyio.create_task_group() as tasks:

        async def feed() -> None:
            await anyio.sleep(LONG_S)
            await run.send("late")
            await anyio.sleep(LONG_S)
            run.close_input()

        tasks.start_soon(feed)
        assert (await run.result()).text == "late"


def _in_thread(element: TextElement) -> TextElement:
    return element


@stage
async def sleeping(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        await anyio.sleep(LONG_S / 99)
        yield element


@stage
async def with_own_tasks(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
    async def late(element: TextElement) -> None:
        await anyio.sleep(LONG_S / 99)
        await output.send(element)

    async with anyio.create_task_group() as tasks:
        async for element in input:
            tasks.start_soon(late, element)


@stage
async def with_helper(input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]) -> None:
    async def late(element: TextElement) -> None:
        await anyio.sleep(LONG_S / 99)
        await output.send(element)

    async for element in input:
        run.start_soon(late, element)


async def _later(element: TextElement) -> TextElement:
    await anyio.sleep(LONG_S / 99)
    return element


@stage
async def with_limit(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
    while True:
        with anyio.move_on_after(LONG_S / 99), contextlib.suppress(anyio.EndOfStream):
            await output.send(await input.receive())
            continue
        return


@stage
async def with_hidden_limit(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(anyio.move_on_after(LONG_S / 99))
        async for element in input:
            await output.send(element)


@stage
async def with_another_run(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
    async with straight(sleeping).execute(input) as run:
        async for element in run:
            if not isinstance(element, EndOfStream):
                await output.send(element)


@pytest.mark.parametrize(
    "between",
    [
        sleeping,
        with_own_tasks,
        with_helper,
        with_limit,
        with_hidden_limit,
        with_another_run,
        MapAsyncStage(_later, concurrency=2),
        BatchStage(size=3, max_wait_s=1.0),
    ],
    ids=lambda one: one.name,
)
async def test_who_waits_for_something_else_too_is_none(between: object) -> None:
    """14.2: I/O, timers, threads, tasks of a stage's own, other runs, limits of time: whatever may end by itself."""

    async def source() -> AsyncIterator[TextElement]:
        for element in texts(4):
            yield element
            await anyio.sleep(LONG_S / 999)

    assert not isinstance(await outcome(straight(PassthroughStage("a"), between), source()), PipelineDeadlockError)


@pytest.mark.real_clock
async def test_a_stage_that_works_in_threads_is_none() -> None:
    """14.2: a thread that works will say so."""
    assert await outcome(straight(ThreadStage(_in_thread, concurrency=2)), texts(9)) == [str(n) for n in range(9)]


async def test_what_may_end_a_wait_keeps_a_run_from_being_called_dead() -> None:
    """14.2: even where everything else is a deadlock; that is what time limits and stall reports are for."""

    @stage
    async def patient(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, LONG_S * 2)
            async for element in input:
                await output.send(element)

    with pytest.raises(TimeoutError):
        await outcome(diamond(patient).build(), texts(30))


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_task_that_a_stage_has_started_by_itself_is_seen() -> None:
    """14.2: a task of asyncio's that no task group holds, and a limit of asyncio's."""

    @stage
    async def own(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        async def tick() -> None:
            await anyio.sleep(LONG_S / 9)
            await output.send(TextElement("tick"))

        task = asyncio.create_task(tick())
        async for element in input:
            await output.send(element)
        await task

    @stage
    async def limited(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONG_S / 9):
                async for element in input:
                    await output.send(element)

    async def source() -> AsyncIterator[TextElement]:
        yield TextElement("first")
        await anyio.sleep(LONG_S / 3)

    assert await outcome(straight(own), source()) == ["first", "tick"]

    got = await outcome(diamond(limited).build(), texts(9))
    assert isinstance(got, list)  # it was ended by its limit


async def test_a_stage_that_says_it_has_helpers_is_left_alone() -> None:
    """14.2: threads, callbacks and timers cannot be seen; `helpers=True` tells of them."""

    @stage(helpers=True)
    async def declared(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        async for element in input:
            await output.send(element)

    with pytest.raises(TimeoutError):
        await outcome(diamond(declared).build(), texts(9))


async def test_two_runs_that_feed_each_other_are_none() -> None:
    """14.2: each waits for something that is not its own."""
    there, back = straight(PassthroughStage("there")), straight(PassthroughStage("back"))
    async with there.execute() as first, back.execute(_data_of(first)) as second:
        await first.send("ping")
        with anyio.move_on_after(LONG_S):
            async for element in second:
                assert element == TextElement("ping")
        first.close_input()
        assert [type(one) async for one in second] == [EndOfStream]


async def _data_of(run: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
    async for element in run:
        if not isinstance(element, EndOfStream):
            yield element


# Growing


async def test_edges_grow_until_the_run_goes_on() -> None:
    """14.4: Parks' rule, told and counted; no element is lost or moved."""
    events: list[Event] = []
    pipeline = diamond(on_deadlock="grow").on_event(events.append).build()
    got: list[StreamElement] = []
    async with pipeline.execute(texts(200)) as run:
        async for element in run:
            got.append(element)
        stats = run.stats()
    names = [str(number) for number in range(200)]
    assert [one.text for one in got if isinstance(one, TextElement)] == [*names, *names]
    grown = [one for one in events if isinstance(one, EdgeGrown)]
    assert grown
    assert all(one.capacity == 2 * one.before for one in grown)
    assert {one.edge for one in grown} <= {"fork → direct", "direct → concat:second"}
    for name, edge in stats.edges.items():
        assert edge.grown == sum(one.capacity - one.before for one in grown if one.edge == name)
        assert edge.counts.capacity == 1 + edge.grown


@given(seed=st.integers(0, 2**16))
@example(seed=119)  # its consumer is woken so often that it counted as never waiting
async def test_edges_grow_as_often_as_the_run_waits_for_itself_again(seed: int) -> None:
    """semantics 14.4: also where the consumer was busy between, and waits for what cannot come."""
    chance = random.Random(seed)

    def copying(name: str, times: int) -> object:
        @stage(name=name)
        async def copies(stream):
            async for element in stream:
                for _ in range(times):
                    if takes_time:
                        await anyio.sleep(chance.choice([0, 0, 0.1, 0.5]))
                    yield element

        return copies

    items = [chance.choice([TextElement("x"), TextElement("y"), TurnEnd()]) for _ in range(chance.randint(1, 12))]
    capacity, inputs = chance.choice([1, 2]), chance.choice([("one", "two"), ("two", "one")])
    takes_time = chance.random() < 0.5
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity, on_deadlock="grow", timeout_s=1000))
    for name, times in {"one": 2, "two": 2, "last": 1, "both": 1}.items():
        builder.add(copying(name, times))
    builder.branch("one", "two", "both").branch("two", "last", "both").merge("both", *inputs, policy="concat")
    async with builder.build().execute(items) as run:
        got = [element async for element in run]
    assert sum(isinstance(one, TextElement) for one in got) == 10 * sum(isinstance(one, TextElement) for one in items)


async def test_edges_grow_with_priorities_and_past_the_widest_that_needs_no_checkpoints() -> None:
    """14.4: the edge keeps its rules, whichever it has."""
    pipeline = diamond(on_deadlock="grow", priority=True, capacity=4).build()
    got = await outcome(pipeline, texts(300))
    assert isinstance(got, list)
    assert len(got) == 600


async def test_an_edge_that_may_not_grow_further_is_a_deadlock() -> None:
    """14.4: the bound is kept, and the error comes then."""
    events: list[Event] = []
    pipeline = diamond(on_deadlock="grow", deadlock_grow_limit=4).on_event(events.append).build()
    error = await outcome(pipeline, texts(100))
    assert isinstance(error, PipelineDeadlockError)
    assert max(one.capacity for one in events if isinstance(one, EdgeGrown)) == 4
    assert max(one.capacity for one in error.graph.waits) == 4


# Stalls


async def test_a_run_in_which_nothing_moves_says_so_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """14.3: who waits for what, with the line of what waits outside."""
    events: list[Event] = []

    @stage
    async def stuck(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
        async for element in stream:
            await anyio.sleep(100)
            yield element

    config = PipelineConfig(stall_report_s=10)
    pipeline = PipelineBuilder(config).chain(PassthroughStage("a"), stuck).on_event(events.append).build()
    with caplog.at_level(logging.WARNING, logger="streamflow.observe"):
        assert await outcome(pipeline, texts(2)) == ["0", "1"]
    told = [one for one in events if isinstance(one, RunStalled)]
    assert len(told) == 2
    waits = {one.who: one for one in told[0].graph.waits}
    assert waits["stuck"].kind == "outside"
    assert __file__ in (waits["stuck"].place or "")
    assert waits["consumer"].kind == "receive"
    assert "nothing has moved for 10 s" in caplog.text


async def test_a_stall_report_says_that_the_consumer_is_busy() -> None:
    """14.3: then it is the consumer who holds everything up."""
    events: list[Event] = []
    config = PipelineConfig(stall_report_s=8, buffer_size=1)
    pipeline = PipelineBuilder(config).chain(PassthroughStage("a")).on_event(events.append).build()
    async with pipeline.execute(texts(9)) as run:
        await anext(run)
        await anyio.sleep(20)
    (told,) = [one for one in events if isinstance(one, RunStalled)]
    assert told.graph.waits[-1] == Wait("consumer", "runs")
    assert told.to_dict()["stalled_s"] == 8


# Settings


@pytest.mark.parametrize(
    ("field", "value"),
    [("on_deadlock", "wait"), ("deadlock_grow_limit", 0), ("stall_report_s", 0), ("stall_report_s", "soon")],
)
def test_wrong_settings_are_refused(field: str, value: object) -> None:
    """11.2: at once, by name."""
    with pytest.raises(ConfigError, match=field):
        PipelineConfig().replace(**{field: value})

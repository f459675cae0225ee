"""Stages that share a task: which do, and what stays as it is. Held: semantics 16."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import anyio
import pytest
from anyio.lowlevel import checkpoint

from streamflow import (
    FilterStage,
    FlatMapStage,
    KillSwitch,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    SinkStage,
    StageError,
    StreamElement,
    Supervision,
    TextElement,
    Weight,
)
from streamflow.errors import RunAbortedError
from streamflow.observe import Event, RunStalled
from streamflow.testing import EdgeLedger, assert_all_stages_stopped


def same(name: str) -> MapStage:
    return MapStage(lambda element: element, name=name)


def texts(count: int) -> list[TextElement]:
    return [TextElement(str(number)) for number in range(count)]


async def slow(element: TextElement) -> TextElement:
    await checkpoint()
    return element


def disguised(element: TextElement):
    return slow(element)


def fused_by(pipeline) -> list[str]:
    told = pipeline.explain().split("tasks: ")[-1].splitlines()
    return [line.split(maxsplit=1)[1] for line in told if line.startswith("    fused")]


def reason_of(pipeline, edge: str) -> str:
    lines = " ".join(pipeline.explain().split("tasks: ")[-1].split())
    return next(one.partition(": ")[2] for one in lines.split(" apart ") if edge in one.partition(": ")[0])


# Which stages share a task --------------------------------------------------------------------------------------------


async def test_neighbours_that_are_synchronous_functions_share_a_task():
    """16.1: one task for all of them, and none for each."""
    tasks: dict[str, int] = {}

    def note(name: str) -> Callable[[TextElement], TextElement]:
        def noting(element: TextElement) -> TextElement:
            tasks[name] = anyio.get_current_task().id
            return element

        return noting

    stages = [MapStage(note(name), name=name) for name in "abc"]
    fused, unfused = (PipelineBuilder(PipelineConfig(fuse=on)).chain(*stages).build() for on in (True, False))
    await fused.run("x")
    assert len(set(tasks.values())) == 1
    await unfused.run("x")
    assert len(set(tasks.values())) == 3
    assert fused_by(fused) == ["a + b + c"]
    assert fused_by(unfused) == []
    assert reason_of(unfused, "a → b").startswith("fusion is off")


def two(connect: Callable[[PipelineBuilder], object], **config):
    builder = PipelineBuilder(PipelineConfig(**config)).add(same("a"), same("b"))
    connect(builder)
    return builder.build()


@pytest.mark.parametrize(
    ("connect", "config", "reason"),
    [
        (lambda one: one.connect("a", "b", buffer=16), {}, "it has its own size"),
        (lambda one: one.connect("a", "b", overflow="latest"), {}, "it has a policy"),
        (lambda one: one.connect("a", "b", weight=Weight.bytes(9)), {}, "it has a policy"),
        (lambda one: one.connect("a", "b", priority=True), {}, "it has priority lanes"),
        (lambda one: one.connect("a", "b"), {"priority": True}, "it has priority lanes"),
        (lambda one: one.connect("a", "b"), {"backpressure_timeout_s": 9.0}, "it is watched"),
        (lambda one: one.connect("a", "b"), {"tracing": True}, "it is watched"),
        (lambda one: one.connect("a", "b").supervise("b", Supervision("resume")), {}, "'b' is supervised"),
        (lambda one: one.add(same("c")).branch("a", "b", "c"), {}, "'a' has several branches"),
        (lambda one: one.add(same("c")).merge("b", "a", "c"), {}, "'b' has several inputs"),
    ],
)
def test_what_needs_a_task_at_both_ends_is_not_fused(connect, config: dict[str, object], reason: str):
    """16.1: what was said of an edge or a stage holds as it is."""
    pipeline = two(connect, **config)
    assert fused_by(pipeline) == []
    assert reason_of(pipeline, "a → b").startswith(reason)


@pytest.mark.parametrize(
    "other",
    [
        slow,
        MapStage(slow, name="other"),
        SinkStage(print, name="other"),
        PassthroughStage,
    ],
    ids=["async function", "async map", "sink", "class"],
)
def test_what_is_not_one_synchronous_function_is_not_fused(other):
    """16.1: nothing that waits is, nor what has state of its own in each run."""
    pipeline = PipelineBuilder().chain(same("a"), other).build()
    assert fused_by(pipeline) == []
    assert "is not one synchronous function of one element" in " ".join(pipeline.explain().split())


def test_a_process_of_ones_own_is_not_fused():
    """16.1: what a subclass does in its own process() is not known."""

    class Own(MapStage):
        async def process(self, input, output) -> None:
            async for element in input:
                await output.send(element)

    pipeline = PipelineBuilder().chain(same("a"), Own(lambda element: element, name="own")).build()
    assert fused_by(pipeline) == []


def test_branches_that_meet_again_are_not_fused():
    """16.1: how much each of them holds matters where they meet; behind that, and before, it does not."""
    builder = PipelineBuilder().add(*map(same, ("a", "b", "l1", "l2", "r", "c", "d", "e")))
    builder.connect("a", "b").branch("b", "l1", "r").connect("l1", "l2").merge("c", "l2", "r").connect("c", "d")
    builder.connect("d", "e")
    pipeline = builder.build()
    assert fused_by(pipeline) == ["a + b", "d + e"]
    assert reason_of(pipeline, "l1 → l2").startswith("branches of 'b' meet again behind it")


def test_loops_are_not_fused():
    """16.1: nor are stages from which elements come back to themselves."""
    builder = PipelineBuilder().add(*map(same, ("a", "b", "c")))
    builder.connect("a", "b").connect("b", "c").feedback("b", "a", buffer=4)
    assert reason_of(builder.build(), "a → b").startswith("it is part of a loop")


# What stays as it is --------------------------------------------------------------------------------------------------


async def test_what_must_be_awaited_takes_a_chain_apart():
    """16.2: a plain function that returns a coroutine is an async stage: it does not hold up those before and behind it."""
    order: list[str] = []

    def call(name: str):
        async def wait(element: TextElement) -> TextElement:
            await anyio.sleep(1)
            order.append(f"{name}{element.text}")
            return element

        def begin(element: TextElement):
            return wait(element)

        return begin

    stages = [same("a"), *(MapStage(call(name), name=name) for name in "bc"), same("d")]
    pipeline = PipelineBuilder().chain(*stages).build()
    assert fused_by(pipeline) == ["a + b + c + d"]
    begun = anyio.current_time()
    with EdgeLedger() as ledger:
        result = await pipeline.run(texts(5))
    ledger.check()
    assert result.elements == tuple(texts(5))
    assert anyio.current_time() - begun == pytest.approx(6)  # two at a time, not one


async def test_what_must_be_awaited_behind_a_generator_leaves_that_its_place():
    """16.2: a stage in the middle of one element's results goes on with them."""

    def several(element: TextElement) -> Iterator[TextElement]:
        for number in range(5):
            yield TextElement(f"{element.text}{number}")

    stages = [FlatMapStage(several, name="several"), MapStage(disguised, name="wait"), same("end")]
    for capacity in (1, 2, 16):
        pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(*stages).build()
        result = await pipeline.run(texts(3))
        assert [one.text for one in result.elements if isinstance(one, TextElement)] == [
            f"{one}{other}" for one in range(3) for other in range(5)
        ]


async def test_one_element_that_becomes_very_many_lets_others_have_their_turn():
    """16.4: a checkpoint at least every 64 results, also where all of them are dropped."""
    turns = 0

    def explode(_element: TextElement) -> Iterator[TextElement]:
        for _ in range(6400):
            yield TextElement("x")

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    stages = [FlatMapStage(explode, name="explode"), FilterStage(lambda _element: False, name="drop")]
    async with anyio.create_task_group() as group:
        group.start_soon(count_turns)
        await PipelineBuilder().chain(*stages).build().run("x")
        group.cancel_scope.cancel()
    assert turns >= 100


async def test_a_generator_is_closed_when_a_stage_behind_it_fails():
    """16.3: those before it end, and what they have opened is closed."""
    closed: list[str] = []

    def several(element: TextElement) -> Iterator[TextElement]:
        try:
            for _ in range(10):
                yield element
        finally:
            closed.append(element.text)

    def fail(_element: StreamElement) -> StreamElement:
        raise ValueError("no")

    events: list[Event] = []
    stages = [same("a"), FlatMapStage(several, name="several"), MapStage(fail, name="fail"), same("z")]
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(*stages).on_event(events.append).build()
    with EdgeLedger() as ledger, pytest.raises(StageError) as caught:
        await pipeline.run(texts(3))
    ledger.check()
    assert (caught.value.stage, caught.value.index, closed) == ("fail", 0, ["0"])
    ends = {event.stage: event.name for event in events if event.stage and event.name != "stage.started"}
    assert ends["fail"] == "stage.failed"
    assert ends["several"] == "stage.cancelled"
    assert ends["z"] == "stage.completed"


@pytest.mark.parametrize("end", ["cancel", "abort"])
async def test_a_step_may_end_its_own_run(end: str):
    """16.4: every stage ends once, nothing more comes out, the ledger adds up."""
    switch = KillSwitch()
    events: list[Event] = []
    runs = []

    def stop(element: TextElement) -> TextElement:
        if element.text == "3":
            runs[0].cancel() if end == "cancel" else switch.abort()
        return element

    stages = [same("a"), MapStage(stop, name="stop"), same("c")]
    pipeline = PipelineBuilder().chain(*stages).on_event(events.append).build()
    with EdgeLedger() as ledger:
        try:
            async with pipeline.execute(texts(9), kill_switch=switch) as run:
                runs.append(run)
                async for _element in run:
                    pass
        except RunAbortedError:
            assert end == "abort"
    await assert_all_stages_stopped()
    ledger.check()
    assert len([one for one in events if one.name.startswith("stage.") and one.name != "stage.started"]) == 3


async def test_an_interruption_drops_what_is_inside_a_chain():
    """16.4: what waits inside, and what its last stage waits with, is dropped and counted; what comes later arrives."""
    stages = [same("a"), FlatMapStage(lambda element: [element] * 3, name="many"), same("c")]
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=2)).chain(*stages).build()
    with EdgeLedger() as ledger:
        async with pipeline.execute() as run:
            for element in texts(3):
                await run.send(element)
            await anyio.sleep(1)
            run.interrupt()
            await run.send(TextElement("new"))
            run.close_input()
            got = [one.text async for one in run if isinstance(one, TextElement)]
    ledger.check()
    assert got == ["new"] * 3


async def test_a_drain_lets_what_is_inside_a_chain_arrive():
    """16.4: all that was admitted comes out."""
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=2)).chain(same("a"), same("b"), same("c")).build()
    async with pipeline.execute() as run:
        for element in texts(4):
            await run.send(element)
        await run.drain(10)
        assert [one.text async for one in run if isinstance(one, TextElement)] == ["0", "1", "2", "3"]
    assert run.undelivered == {}


async def test_a_report_names_the_stages_of_a_chain_and_not_their_task():
    """16.2: each waits for the one that is nearer to where the task waits."""
    events: list[Event] = []
    config = PipelineConfig(buffer_size=1, stall_report_s=10)
    pipeline = PipelineBuilder(config).chain(same("a"), same("b"), same("c")).on_event(events.append).build()
    async with pipeline.execute(texts(9)):
        await anyio.sleep(30)
    told = str(next(one.graph for one in events if isinstance(one, RunStalled)))
    assert "a waits to send on 'a → b' (empty, 0 of 1) until b takes from it" in told
    assert "c waits to send on 'c → consumer' (full, 1 of 1) until consumer takes from it" in told


async def test_figures_of_a_fused_run_are_those_of_its_stages():
    """16.2: `run.stats()` tells the same of each stage and each edge."""
    stages = [same("a"), FilterStage(lambda element: element.text != "1", name="b", accepts=TextElement), same("c")]
    told = []
    for fuse in (True, False):
        pipeline = PipelineBuilder(PipelineConfig(fuse=fuse)).chain(*stages).build()
        async with pipeline.execute(texts(20)) as run:
            async for _element in run:
                pass
        stats = run.stats()
        told.append((stats.stages, {name: (one.counts.sent, one.counts.received) for name, one in stats.edges.items()}))
    assert told[0] == told[1]

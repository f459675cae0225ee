"""Branches at run time: who gets what, who waits for whom, and what the end of one branch means to the others."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from streamflow import (
    AudioElement,
    ControlElement,
    DataElement,
    EndOfStream,
    ErrorElement,
    FilterStage,
    MapStage,
    PassthroughStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    SendEnd,
    SinkStage,
    StageError,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
    TurnStart,
    Usage,
    UsageElement,
    stage,
)
from streamflow.graph import Zip
from streamflow.stages import MapAsyncStage
from streamflow.testing import EdgeLedger, assert_all_stages_stopped

every_capacity = pytest.mark.parametrize("capacity", [1, 2, 16, 100])

SOUND = AudioElement(b"\0\0")


def texts(*words: str) -> list[TextElement]:
    return [TextElement(word) for word in words]


def upper(element: TextElement) -> TextElement:
    return TextElement(element.text.upper())


def louder(element: AudioElement) -> AudioElement:
    return AudioElement(element.data * 2)


def passing(name: str) -> PassthroughStage:
    return PassthroughStage(name)


def tagged(name: str) -> MapStage:
    return MapStage(lambda element: TextElement(f"{element.text}{name}"), name=name, accepts=TextElement)


def by_type(elements, kind) -> list:
    return [one for one in elements if isinstance(one, kind)]


def text_and_audio(capacity: int = 16) -> Pipeline:
    """Seed 001's branching example: text elements go to the one branch, audio elements to the other."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(passing("input"), passing("processor"))
    return builder.add(upper, louder).branch("processor", "upper", "louder").build()


@every_capacity
async def test_text_goes_to_the_text_branch_and_audio_to_the_audio_branch(capacity: int) -> None:
    """semantics 4.4, seed 001: each branch gets what its first stage accepts, in order."""
    source = [element for number in range(40) for element in (TextElement(f"t{number}"), SOUND)]

    result = await text_and_audio(capacity).run(source)

    assert by_type(result.elements, TextElement) == texts(*(f"T{number}" for number in range(40)))
    assert by_type(result.elements, AudioElement) == [AudioElement(b"\0\0\0\0")] * 40
    assert len(result.elements) == 80


@every_capacity
async def test_an_element_that_two_branches_accept_is_copied_to_both(capacity: int) -> None:
    """semantics 4.4, 4.5: a branch copies; data is never joined again."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(passing("a"))
    pipeline = builder.branch("a", tagged("x"), tagged("y")).build()

    result = await pipeline.run(texts("1", "2", "3"))

    words = [one.text for one in by_type(result.elements, TextElement)]
    assert [one for one in words if one.endswith("x")] == ["1x", "2x", "3x"]
    assert [one for one in words if one.endswith("y")] == ["1y", "2y", "3y"]
    assert len(words) == 6


@every_capacity
async def test_control_goes_through_every_branch_and_leaves_once_where_they_meet(capacity: int) -> None:
    """semantics 4.5: boundaries leave once, after what came before them in every branch; usage and errors at their first copy."""
    config = PipelineConfig(buffer_size=capacity)
    builder = PipelineBuilder(config).chain(passing("a")).branch("a", tagged("x"), tagged("y"), passing("z"))
    pipeline = builder.merge(passing("end"), "x", "y", "z").build()
    usage, error = UsageElement(Usage(input_tokens=1), final=True), ErrorElement("code", "message")
    boundary = TurnEnd()  # a constant, sent again and again

    result = await pipeline.run([TurnStart(), *texts("1"), boundary, usage, *texts("2"), error, boundary])

    control = by_type(result.elements, ControlElement)
    assert sorted(map(repr, control)) == sorted(map(repr, [TurnStart(), boundary, usage, error, boundary]))
    assert result.usage.input_tokens == 1
    first, second = (number for number, one in enumerate(result.elements) if one == boundary)
    assert {one.text for one in result.elements[:first] if isinstance(one, TextElement)} == {"1x", "1y", "1"}
    assert {one.text for one in by_type(result.elements[first:second], TextElement)} == {"2x", "2y", "2"}


@every_capacity
async def test_forks_inside_branches_join_the_control_that_came_from_above_once(capacity: int) -> None:
    """semantics 4.5: boundaries of one origin leave once, however often they were copied on the way."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(passing("a"))
    builder.branch("a", tagged("x"), passing("b")).branch("b", tagged("y"), tagged("z"))

    result = await builder.build().run([*texts("1"), TurnEnd(), *texts("2"), TurnEnd()])

    turns = " ".join("|" if isinstance(one, TurnEnd) else one.text for one in result.elements).split("|")
    assert [sorted(turn.split()) for turn in turns] == [["1x", "1y", "1z"], ["2x", "2y", "2z"], []]


async def test_data_that_no_branch_accepts_goes_to_otherwise() -> None:
    """semantics 4.4: `otherwise` gets the data that is left, and control like any branch."""
    rest = MapStage(lambda element: DataElement("rest", type(element).__name__), name="rest", accepts=StreamElement)
    pipeline = PipelineBuilder().chain(passing("a")).branch("a", upper, otherwise=rest).build()

    result = await pipeline.run([*texts("x"), SOUND, TurnEnd()])

    assert result.elements[-1] == TurnEnd()
    assert set(map(repr, result.elements)) == set(
        map(repr, [TextElement("X"), DataElement("rest", "AudioElement"), TurnEnd()])
    )


async def test_data_that_no_branch_accepts_is_dropped_and_counted_where_there_is_no_otherwise() -> None:
    """semantics 4.4: it is a drop, and the rest goes on."""
    pipeline = PipelineBuilder().chain(passing("a")).branch("a", upper, louder).build()

    async with pipeline.execute([DataElement("d"), *texts("x"), DataElement("d"), SOUND]) as run:
        result = await run.result()

    assert len(result.elements) == 2
    assert run.stats().stages["a"].dropped == {"unrouted": 2}
    assert run.stats().stages["upper"].dropped == {}


async def test_a_slow_branch_slows_the_fork_and_nothing_is_held_beyond_the_bound() -> None:
    """semantics 4.4, 5.4: a broadcast waits for room on all branches."""
    gate = anyio.Event()
    made = 0

    @stage
    async def slow(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        await gate.wait()
        async for element in stream:
            await output.send(element)

    async def source():
        nonlocal made
        for number in range(100):
            made += 1
            yield TextElement(str(number))

    builder = PipelineBuilder(PipelineConfig(buffer_size=2)).chain(passing("a")).branch("a", slow, passing("fast"))
    pipeline = builder.build()
    async with pipeline.execute(source()) as run:
        fast = run.output("fast")
        got = [await anext(fast), await anext(fast)]
        await anyio.sleep(1000)

        assert got == texts("0", "1")
        assert pipeline.max_in_flight is not None
        assert made <= pipeline.max_in_flight
        assert run.stats().edges["a → fast"].counts.sent == 2  # what `slow` has no room for, nobody gets
        gate.set()
        async with anyio.create_task_group() as readers:
            readers.start_soon(run.result)
            assert [one.text async for one in fast if isinstance(one, TextElement)] == [str(n) for n in range(2, 100)]


async def test_a_branch_that_has_enough_is_left_out_and_the_others_go_on() -> None:
    """semantics 3.1, 4.4: the end of one branch is no end of the others; the source ends when all have enough."""

    @stage
    async def first(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        await output.send(await stream.receive())

    builder = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(passing("a")).branch("a", first, tagged("y"))

    result = await builder.build().run(texts(*map(str, range(30))))

    assert sorted(one.text for one in by_type(result.elements, TextElement) if not one.text.endswith("y")) == ["0"]
    assert [one.text for one in by_type(result.elements, TextElement) if one.text.endswith("y")] == [
        f"{number}y" for number in range(30)
    ]


async def test_when_every_branch_has_enough_the_source_is_closed() -> None:
    """semantics 3.1, 5.5: a source without end ends when nobody needs more of it."""
    closed = False

    async def source():
        nonlocal closed
        try:
            while True:
                yield TextElement("x")
        finally:
            closed = True

    def taking(name: str, count: int):
        @stage(name=name)
        async def take(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            for _ in range(count):
                await output.send(await stream.receive())

        return take

    pipeline = PipelineBuilder().chain(passing("a")).branch("a", taking("x", 1), taking("y", 50)).build()

    result = await pipeline.run(source())

    assert len(result.elements) == 51
    assert result.reason == "done"
    assert closed


@every_capacity
async def test_a_failure_in_one_branch_ends_the_run_with_what_was_sent(capacity: int) -> None:
    """semantics 5.6: what is upstream and beside is cancelled, what is behind drains; one notice, one end, one error."""

    def fragile(element: TextElement) -> TextElement:
        if element.text == "5":
            raise ValueError(element.text)
        return element

    builder = (
        PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(passing("a")).branch("a", fragile, tagged("y"))
    )
    pipeline = builder.merge(passing("end"), "fragile", "y").build()
    got: list[StreamElement] = []

    with pytest.raises(StageError) as caught:
        async with pipeline.execute(texts(*map(str, range(100)))) as run:
            async for element in run:
                got.append(element)

    assert caught.value.stage == "fragile"
    assert caught.value.index == 5
    assert isinstance(caught.value.__cause__, ValueError)
    assert [one.text for one in by_type(got, TextElement) if not one.text.endswith("y")] == ["0", "1", "2", "3", "4"]
    assert [one.fatal for one in by_type(got, ErrorElement)] == [True]
    assert isinstance(got[-1], EndOfStream)
    assert got[-1].reason == "error"
    await assert_all_stages_stopped()


async def test_a_failing_sink_in_a_branch_is_told_on_the_output() -> None:
    """semantics 5.6: the consumer learns of a failure that is on no way to it, and the other branch is not waited for."""

    @stage(kind=StageKind.SINK)
    async def save(element: TextElement) -> None:
        raise OSError(28, "disk full")

    pipeline = PipelineBuilder().chain(passing("a")).branch("a", save, passing("out")).build()
    got: list[StreamElement] = []

    with pytest.raises(StageError, match="disk full"):
        async with pipeline.execute() as run:
            await run.send("x")
            async for element in run:
                got.append(element)

    assert [type(one) for one in got[-2:]] == [ErrorElement, EndOfStream]


async def test_a_run_is_over_when_its_sinks_have_finished() -> None:
    """semantics 5.6: what a sink took is dealt with before the output ends, also when it is slower than everything else."""
    saved: list[str] = []

    @stage(kind=StageKind.SINK)
    async def save(element: TextElement) -> None:
        await anyio.sleep(10)
        saved.append(element.text)

    pipeline = PipelineBuilder().chain(passing("a")).branch("a", save, passing("out")).build()

    result = await pipeline.run(texts("1", "2", "3"))

    assert saved == ["1", "2", "3"]
    assert result.elements == tuple(texts("1", "2", "3"))


async def test_a_branch_of_a_branch_and_a_pass_through_change_nothing() -> None:
    """semantics 4.4: what does not fit to a stage in the middle of a branch passes it by, in order."""
    builder = PipelineBuilder().chain(passing("a")).branch("a", passing("all"), louder)
    builder.chain("all", FilterStage(lambda element: element.text != "2", name="no_two", accepts=TextElement))

    with anyio.fail_after(5):
        result = await builder.build().run([*texts("1", "2"), SOUND, *texts("3"), TurnEnd()])

    assert by_type(result.elements, TextElement) == texts("1", "3")
    assert by_type(result.elements, AudioElement).count(SOUND) == 1
    assert by_type(result.elements, AudioElement).count(AudioElement(b"\0\0\0\0")) == 1
    assert by_type(result.elements, TurnEnd) == [TurnEnd()]


async def test_a_boundary_made_on_one_of_two_ways_does_not_stand_for_the_copy_on_the_other() -> None:
    """semantics 4.9: what comes behind a join may be the work of one of its inputs; the copy itself is still to come."""

    @stage(name="slow", accepts=(TextElement, TurnEnd))
    async def slow(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        async for element in input:
            await anyio.sleep(1)
            await output.send(element)

    @stage(name="own", accepts=(TextElement, TurnEnd))
    async def own(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        async for element in input:
            if isinstance(element, TurnEnd):
                await output.send(TurnEnd(id="own"))

    builder = PipelineBuilder().add(passing("head"), slow, own, tagged("join"), passing("side"))
    pipeline = builder.branch("head", "slow", "own", "side").merge("join", "slow", "own").build()
    result = await pipeline.run([TextElement("a"), TurnEnd(id="1"), TextElement("b"), TurnEnd(id="2")])

    kept = [one for one in result.elements if not (isinstance(one, TurnEnd) and one.id == "own")]
    first = next(number for number, one in enumerate(kept) if isinstance(one, TurnEnd))
    assert sorted(one.text for one in by_type(kept[:first], TextElement)) == ["a", "ajoin"]
    assert [one.id for one in by_type(kept, TurnEnd)] == ["1", "2"]


@pytest.mark.parametrize("capacity", [1, 2])
async def test_what_several_calls_still_hold_is_not_overtaken_by_a_boundary(capacity: int) -> None:
    """semantics 4.9: a stage with calls at work keeps what it has taken in a channel of its own; it is on the way all the same."""

    async def call(element: TextElement) -> TextElement:
        await anyio.sleep(1)
        return element

    def pair(one: TextElement, other: TextElement) -> TextElement:
        return TextElement(one.text + other.text)

    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity))
    builder.add(passing("head"), passing("inner"), passing("left"), MapAsyncStage(call, concurrency=3, name="calls"))
    builder.add(passing("pairs"), passing("side")).branch("head", "inner", "side").branch("inner", "left", "calls")
    builder.merge("pairs", "left", "calls", policy=Zip(pair))
    result = await builder.build().run([*texts("a", "b", "c"), TurnEnd(id="1"), *texts("d"), TurnEnd(id="2")])

    first = next(number for number, one in enumerate(result.elements) if isinstance(one, TurnEnd))
    assert sorted(one.text for one in by_type(result.elements[:first], TextElement)) == [
        "a",
        "aa",
        "b",
        "bb",
        "c",
        "cc",
    ]


async def test_an_accumulator_in_one_branch_keeps_the_turn_together() -> None:
    """semantics 3.3, 4.5: the boundary waits for the results of the accumulator before it leaves."""

    @stage(kind=StageKind.ACCUMULATE, accepts=(TextElement, TurnEnd))
    async def whole(stream: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        kept: list[str] = []
        async for element in stream:
            if isinstance(element, TextElement):
                kept.append(element.text)
            else:
                await output.send(DataElement("whole", "".join(kept)))
                kept.clear()
                await output.send(element)

    builder = PipelineBuilder(PipelineConfig(buffer_size=2)).chain(passing("a")).branch("a", whole, upper)

    result = await builder.build().run([*texts("a", "b", "c"), TurnEnd(), *texts("d"), TurnEnd()])

    ends = [number for number, one in enumerate(result.elements) if isinstance(one, TurnEnd)]
    assert len(ends) == 2
    assert DataElement("whole", "abc") in result.elements[: ends[0]]
    assert result.elements[: ends[0]].count(TextElement("C")) == 1
    assert DataElement("whole", "d") in result.elements[ends[0] : ends[1]]


@every_capacity
async def test_the_books_of_every_edge_balance_whether_it_forks_or_joins(capacity: int) -> None:
    """semantics 2.5: what was sent was received, is there, or was discarded, on every edge."""
    ledger = EdgeLedger()
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(passing("a")).branch("a", upper, louder)
    pipeline = builder.merge(passing("end"), "upper", "louder").build()

    with ledger:
        async with pipeline.execute([one for _ in range(30) for one in (TextElement("x"), SOUND, TurnEnd())]) as run:
            taken = 0
            async for _ in run:
                taken += 1
                if taken == 25:
                    break

    ledger.check()


async def test_an_element_leaves_a_forking_stage_before_that_waits_for_anything() -> None:
    """semantics 2.3, 5.3: for its input, for a timer, and for what a helper of it does."""
    seen: list[str] = []

    @stage
    async def forking(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element.replace(text=element.text + "1")
            await anyio.sleep(1)
            yield element.replace(text=element.text + "2")

    def sink(name: str) -> SinkStage:
        return SinkStage(
            lambda element: seen.append(f"{name}{element.text} {anyio.current_time() - began:g}"), name=name
        )

    async def source() -> AsyncIterator[TextElement]:
        for text in "ab":
            yield TextElement(text)
            await anyio.sleep(10)

    builder = PipelineBuilder().chain(forking)
    pipeline = builder.branch(forking, sink("x"), sink("y")).build()
    began = anyio.current_time()
    async with pipeline.execute(source()) as run:
        async for _ in run:
            pass
    assert sorted(seen) == sorted(f"{name}{text}" for name in "xy" for text in ("a1 0", "a2 1", "b1 10", "b2 11"))

"""`PipelineConfig(metrics=True)`: what stages do with their time, how full edges were, and what limits a run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    Event,
    MapAsyncStage,
    MapStage,
    MapUnorderedStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    RunContext,
    SendEnd,
    StageError,
    StageKind,
    Supervision,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.errors import RunStateError
from streamflow.observe import StageEnded
from streamflow.runtime import Bottleneck, RunStats


def slow(name: str, seconds: float) -> Any:
    async def work(element: TextElement) -> TextElement:
        await anyio.sleep(seconds)
        return element

    return MapStage(work, name=name)


def slow_generator(name: str, seconds: float) -> Any:
    @stage(name=name)
    async def work(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            await anyio.sleep(seconds)
            yield element

    return work


def slow_process(name: str, seconds: float) -> Any:
    @stage(name=name)
    async def work(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for element in input:
            await anyio.sleep(seconds)
            await output.send(element)

    return work


def slow_helpers(name: str, seconds: float) -> Any:
    @stage(name=name)
    async def work(input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[Any]) -> None:
        async def answer(element: TextElement) -> None:
            await anyio.sleep(seconds)
            await output.send(element)

        async for element in input:
            run.start_soon(lambda element=element: answer(element), name="answer")

    return work


def slow_turns(name: str, seconds: float) -> Any:
    @stage(name=name, kind=StageKind.ACCUMULATE, max_held=100)
    async def work(
        stream: AsyncIterator[TextElement | TurnEnd],
    ) -> AsyncIterator[TextElement | TurnEnd]:
        held: list[TextElement] = []
        async for element in stream:
            if isinstance(element, TextElement):
                held.append(element)
                continue
            await anyio.sleep(seconds)
            for one in held:
                yield one
            held.clear()
            yield element
        for one in held:
            yield one

    return work


FORMS: dict[str, Callable[[str, float], Any]] = {
    "function": slow,
    "generator": slow_generator,
    "process": slow_process,
    "helpers": slow_helpers,
    "accumulator": slow_turns,
    "several calls": lambda name, seconds: MapAsyncStage(slow(name, seconds)._func, name=name, concurrency=2),
    "several calls, unordered": lambda name, seconds: MapUnorderedStage(
        slow(name, seconds)._func, name=name, concurrency=2
    ),
    "synchronous": lambda name, _seconds: MapStage(lambda element: element, name=name),
}


async def source(items: list[float], turns: bool = False) -> AsyncIterator[Any]:
    for number, pause in enumerate(items):
        await anyio.sleep(pause)
        yield TextElement(str(number))
        if turns:
            yield TurnEnd()


async def measured(builder: PipelineBuilder, feed: Any, take_s: float = 0.0) -> tuple[RunStats, dict[str, float]]:
    """Run to the end, and return what was measured and how long each stage has lived by its events."""
    lives: dict[str, float] = {}

    def hear(event: Event) -> None:
        if isinstance(event, StageEnded):
            lives[event.stage] = event.duration_s

    async with builder.on_event(hear).build().execute(feed) as run:
        async for _element in run:
            await anyio.sleep(take_s)
    return run.stats(), lives


def config(**settings: Any) -> PipelineConfig:
    return PipelineConfig(**{"metrics": True, **settings})


# Time -----------------------------------------------------------------------------------------------------------------

pauses = st.sampled_from([0.0, 0.5, 1.0, 3.0])


@given(
    forms=st.lists(st.sampled_from(sorted(FORMS)), min_size=1, max_size=4),
    work=st.lists(pauses, min_size=4, max_size=4),
    feed=st.lists(pauses, max_size=6),
    take=pauses,
    capacity=st.integers(1, 4),
    fan=st.booleans(),
)
async def test_busy_blocked_and_idle_are_the_life_of_a_stage(
    forms: list[str], work: list[float], feed: list[float], *, take: float, capacity: int, fan: bool
) -> None:
    """semantics 24.1: whatever its form, fused or not, below a fork and above a merge; nothing is counted twice."""
    stages = [FORMS[form](f"s{place}", work[place]) for place, form in enumerate(forms)]
    builder = PipelineBuilder(config(buffer_size=capacity)).chain(*stages)
    if fan:
        builder.branch("s0", slow("left", 1.0), slow("right", 2.0)).merge(PassthroughStage("end"), "left", "right")
    stats, lives = await measured(builder, source(feed, turns=True), take)

    for name, one in stats.stages.items():
        assert one.times is not None
        assert one.times.life_s == pytest.approx(max(lives[each] for each in (name, *one.measured_with)))
        assert min(one.times.busy_s, one.times.blocked_s, one.times.idle_s) >= 0
    for times in stats.sources.values():
        assert times.life_s <= stats.duration_s + 1e-6
    assert sum(feed) == pytest.approx(stats.sources["s0"].busy_s)
    for edge in stats.edges.values():
        if edge.wait is not None:
            assert edge.wait.count == edge.counts.received
            assert edge.peak is not None
            most = capacity + fan  # below a fork a boundary may have its marker behind it, beyond the bound
            assert edge.peak <= most


async def test_each_state_is_told_as_long_as_it_lasts() -> None:
    """semantics 24.1: exact on virtual time: who works, who waits for room, who waits for elements."""
    builder = PipelineBuilder(config(buffer_size=1)).chain(slow("a", 1), slow("b", 3))
    stats, _lives = await measured(builder, ["x"] * 4)

    a, b = stats.stages["a"].times, stats.stages["b"].times
    assert a is not None
    assert b is not None
    assert (a.busy_s, a.blocked_s, a.idle_s) == (4, 3, 0)  # its third result waits from 3 to 4, its fourth from 5 to 7
    assert (b.busy_s, b.blocked_s, b.idle_s) == (12, 0, 1)
    assert stats.duration_s == 13
    assert stats.consumer_waited_s == 13
    assert stats.first_element_s == 4
    assert stats.stages["a"].first_s == 1


@pytest.mark.parametrize("form", ["function", "generator", "process", "several calls"])
async def test_service_is_what_each_element_took_and_wait_is_how_long_it_was_queued(form: str) -> None:
    """semantics 24.2: a duration for each element; waiting on edges is no service."""
    builder = PipelineBuilder(config(buffer_size=2)).chain(FORMS[form]("a", 2))
    stats, _lives = await measured(builder, source([0.0] * 4), 5)

    service, wait = stats.stages["a"].service, stats.edges["source → a"].wait
    assert service is not None
    assert wait is not None
    if form != "several calls":
        assert service.count == 4
        assert service.total_s == pytest.approx(8)
        assert service.quantile_s(0.5) == pytest.approx(2.097152)
        assert wait.total_s == pytest.approx(0 + 2 + 4 + 4)  # two have been inside since 0, one since 0 or 2
    assert wait.count == 4


async def test_a_stage_that_leaves_its_chain_keeps_what_it_has_done() -> None:
    """semantics 24.1: a function may turn out to be asynchronous while the run goes on."""

    async def later(element: TextElement) -> TextElement:
        await anyio.sleep(2)
        return element

    def perhaps(element: TextElement) -> Any:
        return later(element) if element.text == "2" else element

    stages = [MapStage(lambda one: one, name="a"), MapStage(perhaps, name="b"), MapStage(lambda one: one, name="c")]
    builder = PipelineBuilder(config()).chain(*stages)
    assert "a + b + c, measured as one" in builder.build().explain()
    stats, lives = await measured(builder, source([1.0] * 4))

    for name, one in stats.stages.items():
        assert one.times is not None
        assert one.times.life_s == pytest.approx(max(lives[each] for each in (name, *one.measured_with)))
    assert stats.stages["b"].times is not None
    assert stats.stages["b"].times.busy_s == 2


# Counts ---------------------------------------------------------------------------------------------------------------


async def test_failures_are_counted_whatever_becomes_of_them() -> None:
    """semantics 24.1: tried again, dropped, or the end of the run."""

    def fail(element: TextElement) -> TextElement:
        if element.text == "bad":
            raise ValueError
        return element

    builder = PipelineBuilder(config()).chain(MapStage(fail, name="a"), MapStage(fail, name="b"))
    builder.supervise("a", Supervision("resume"))
    stats, _lives = await measured(builder, ["bad", "good", "bad"])
    assert stats.stages["a"].errors == 2
    assert stats.stages["b"].errors == 0

    async with PipelineBuilder(config()).chain(MapStage(fail, name="a")).build().execute("bad") as run:
        with pytest.raises(StageError):
            await run.result()
    assert run.stats().stages["a"].errors == 1


async def test_answers_are_timed_by_turn() -> None:
    """semantics 24.3: from the end of the user's turn to the first element, and to the end, of the answer."""

    @stage
    async def answer(
        stream: AsyncIterator[TextElement | TurnEnd],
    ) -> AsyncIterator[TextElement | TurnEnd]:
        async for element in stream:
            if isinstance(element, TurnEnd):
                await anyio.sleep(2)
                yield TextElement("one")
                await anyio.sleep(3)
                yield TextElement("two")
                yield element

    async with PipelineBuilder(config()).chain(answer).build().execute() as run:
        async for element in run_turns(run, 2):
            assert element
    turns = run.stats().turns
    assert turns is not None
    assert (turns.latency.count, turns.latency.total_s) == (2, 4)
    assert (turns.duration.count, turns.duration.total_s) == (2, 10)


async def run_turns(run: Any, count: int) -> AsyncIterator[Any]:
    for _ in range(count):
        await anyio.sleep(7)
        await run.send("hello")
        await run.send(TurnEnd())
        while not isinstance(element := await anext(run), TurnEnd):
            yield element
    run.close_input()
    async for element in run:
        yield element


async def test_figures_are_data_also_after_the_run() -> None:
    """semantics 24.4: JSON by one call; in the `Result`; nothing of it without `metrics`."""
    result = await PipelineBuilder(config()).chain(slow("a", 1)).build().run(["x", "y"])
    assert result.stats is not None
    told = json.loads(json.dumps(result.stats.to_dict()))
    assert told["stages"]["a"]["times"]["busy_s"] == 2
    assert told["edges"]["source → a"]["wait"]["count"] == 2
    assert told["edges"]["source → a"]["counts"]["sent"] == 2
    assert told["bottleneck"]["name"] == "a"

    async with PipelineBuilder().chain(slow("a", 1)).build().execute("x") as run:
        assert (await run.result()).stats is None
        stats = run.stats()
        assert (stats.bottleneck, stats.turns, stats.stages["a"].times) == (None, None, None)
        with pytest.raises(RunStateError, match=r"not measured.*metrics=True"):
            run.bottleneck()


@pytest.mark.parametrize("metrics", [False, True])
async def test_measuring_changes_nothing_when_a_run_is_cut_short(metrics: bool) -> None:
    """semantics 24.1: cancelled in the middle, left early, or failing: the same elements, and no task left."""
    builder = PipelineBuilder(config(buffer_size=1, metrics=metrics)).chain(slow("a", 1), slow_helpers("b", 1))
    got: list[str] = []
    async with builder.build().execute(source([0.5] * 20)) as run:
        with anyio.move_on_after(6.25):
            async for element in run:
                got.append(getattr(element, "text", ""))
        run.interrupt()
        async for element in run:
            got.append(getattr(element, "text", ""))
            break
    assert got == ["0", "1", "2", "3", "8"]
    assert not run.zombies


# What limits a run ----------------------------------------------------------------------------------------------------


def limits(*stages: Any, **settings: Any) -> PipelineBuilder:
    return PipelineBuilder(config(**{"buffer_size": 2, **settings})).chain(*stages)


def fan_out() -> PipelineBuilder:
    return limits(slow("a", 0.1)).branch("a", slow("b", 1), slow("c", 0.2))


def fan_in() -> PipelineBuilder:
    builder = limits(PassthroughStage("a")).branch("a", slow("b", 0.1), slow("c", 0.2))
    return builder.merge(slow("d", 1), "b", "c")


CASES: dict[str, tuple[Callable[[], PipelineBuilder], Any, float, tuple[str, str]]] = {
    "first": (lambda: limits(slow("a", 1), slow("b", 0.1), slow("c", 0.2)), 20, 0, ("stage", "a")),
    "middle": (lambda: limits(slow("a", 0.1), slow("b", 1), slow("c", 0.2)), 20, 0, ("stage", "b")),
    "last": (lambda: limits(slow("a", 0.1), slow("b", 0.2), slow("c", 1)), 20, 0, ("stage", "c")),
    "one element": (lambda: limits(slow("a", 0.1), slow("b", 1)), 1, 0, ("stage", "b")),
    "consumer": (lambda: limits(slow("a", 0.1), slow("b", 0.2)), 20, 1, ("consumer", "consumer")),
    "source": (lambda: limits(slow("a", 0.1), slow("b", 0.2)), [1.0] * 20, 0, ("source", "a")),
    "fan-out": (fan_out, 20, 0, ("stage", "b")),
    "fan-in": (fan_in, 20, 0, ("stage", "d")),
    "several calls": (lambda: limits(FORMS["several calls"]("a", 1), slow("b", 0.1)), 20, 0, ("stage", "a")),
    "several calls that suffice": (lambda: limits(FORMS["several calls"]("a", 1)), [0.8] * 20, 0, ("source", "a")),
    "fast": (lambda: limits(FORMS["synchronous"]("a", 0), PassthroughStage("b")), 20, 0, ("none", "")),
    "edge": (
        lambda: limits(slow("a", 0.01), slow("b", 1), buffer_size=1),
        ([0.0] * 9 + [10.0]) * 3,
        0,
        ("edge", "a → b"),
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_limits_a_run_is_named(case: str) -> None:
    """semantics 24.5: exact where it is known, with a reason."""
    make, feed, take, expected = CASES[case]
    stats, _lives = await measured(make(), ["x"] * feed if isinstance(feed, int) else source(feed), take)
    found = stats.bottleneck
    assert isinstance(found, Bottleneck)
    assert (found.kind, found.name) == expected, str(found)
    assert str(found) == found.why
    assert expected[1] in found.why or expected[0] in found.why


async def test_a_live_run_is_limited_by_its_user_or_not() -> None:
    """semantics 24.5: who feeds a run is no part of it, and may still be what all others wait for."""
    async with limits(slow("a", 0.1)).build().execute() as run:
        for _ in range(5):
            await anyio.sleep(1)
            await run.send("x")
            await anext(run)
        assert run.bottleneck().kind == "source"
        assert "the source is at work for" in str(run.bottleneck())


async def test_a_stage_that_swallows_its_cancellation_is_cancelled_again_when_it_is_measured() -> None:
    """semantics 24.1: nothing of a cancellation is kept by what measures, so it is seen that it was swallowed."""
    swallowed = 0

    @stage
    async def stubborn(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        nonlocal swallowed
        async for element in stream:
            yield element
            while swallowed < 5:
                try:
                    await anyio.sleep(1000)
                except anyio.get_cancelled_exc_class():
                    swallowed += 1

    async with PipelineBuilder(config()).chain(stubborn).build().execute("x") as run:
        await anext(run)
    assert swallowed == 5
    assert not run.zombies

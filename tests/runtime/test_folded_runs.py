"""A run of nothing but chains has no stages before something comes for them, and nobody can tell: `runtime/_folded`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    EndOfStream,
    ErrorElement,
    FilterStage,
    Interrupt,
    MapStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    TextElement,
)
from streamflow.errors import StageError
from streamflow.runtime import KillSwitch, Run, live_runs
from streamflow.stages import current_run

LONG_S = 3600.0


def _chain(**settings: object) -> Pipeline:
    functions = [MapStage(lambda element: element, name=f"s{number}") for number in range(3)]
    return PipelineBuilder(PipelineConfig(fuse=True).replace(**settings)).chain(*functions).build()


def _is_folded(run: Run) -> bool:
    return run._engine._folded is not None


async def _words(*words: str, after_s: float = 0.0) -> AsyncIterator[str]:
    await anyio.sleep(after_s)
    for word in words:
        yield word


async def _texts(run: Run) -> list[str]:
    return [element.text async for element in run if isinstance(element, TextElement)]


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("capacity", [1, 16])
async def test_the_first_element_finds_all_stages(capacity: int, *, fuse: bool) -> None:
    """Semantics 16.9: what was not there before is there when something comes, at a source and in a live run."""
    pipeline = _chain(fuse=fuse, buffer_size=capacity)
    async with pipeline.execute(_words(*"abc", after_s=1)) as run:
        assert _is_folded(run)
        assert await _texts(run) == ["a", "b", "c"]
        assert not _is_folded(run)
    async with pipeline.execute() as live:
        assert _is_folded(live)
        await live.send("a")
        assert not _is_folded(live)
        live.close_input()
        assert await _texts(live) == ["a"]


async def test_an_input_that_ends_without_an_element_ends_the_run() -> None:
    """Semantics 16.9: the end of the first edge wakes what stands for the stages, as an element does."""
    assert (await _chain().run(_words(after_s=1))).text == ""
    async with _chain().execute() as run:
        run.close_input()
        assert [type(one) async for one in run] == [EndOfStream]


async def test_who_looks_finds_all_stages_and_edges() -> None:
    """Semantics 16.9: statistics, reports and interruptions show a folded run as if nothing were missing."""
    async with _chain().execute() as run:
        assert list(run.stats().edges) == ["s0 → s1", "s1 → s2", "source → s0", "s2 → consumer"]
        await anyio.wait_all_tasks_blocked()
        (report,) = live_runs()
        assert all(f"s{number} waits to receive" in report for number in range(3))
    async with _chain().execute() as run:
        run.interrupt("barge-in")
        await run.send("a")
        run.close_input()
        assert await _texts(run) == ["a"]
        assert run.epoch == 1


async def test_an_interrupt_that_comes_first_goes_through() -> None:
    """Semantics 5.11: it is announced before it enters the edge, which is what makes the stages."""
    async with _chain().execute() as run:
        await run.send(Interrupt("first"))
        await run.send("a")
        run.close_input()
        assert [type(one) async for one in run] == [Interrupt, TextElement, EndOfStream]


@pytest.mark.parametrize("way", ["cancel", "leave", "drain", "kill switch", "lose"])
async def test_a_folded_run_can_be_ended(way: str) -> None:
    """Semantics 5.1: whatever ends a run ends one whose stages are not there, and nothing of it is left alive."""
    switch = KillSwitch()
    run = _chain().execute(_words("late", after_s=LONG_S), kill_switch=switch)
    with anyio.fail_after(LONG_S / 2):
        if way == "lose":
            iteration = aiter(run)
            del run, iteration
            await anyio.wait_all_tasks_blocked()
        elif way == "kill switch":
            with pytest.raises(Exception, match="abort"):
                async with run:
                    switch.abort()
                    await _texts(run)
        else:
            async with run:
                if way == "cancel":
                    run.cancel()
                    assert await _texts(run) == []
                if way == "drain":
                    await run.drain()
                    assert await _texts(run) == []
    assert live_runs() == []


async def test_a_source_that_fails_before_its_first_element_fails_the_run() -> None:
    """Semantics 6.1: the error comes out at the end of the stages, which are made for it."""

    async def broken() -> AsyncIterator[str]:
        await anyio.sleep(1)
        raise ValueError("no source")
        yield ""

    got: list[object] = []
    with pytest.raises(StageError, match="no source"):
        async with _chain().execute(broken()) as run:
            async for element in run:
                got.append(element)
    assert [type(one) for one in got] == [ErrorElement, EndOfStream]


async def test_a_stage_sees_its_run_though_it_was_made_late() -> None:
    """Semantics 5.2: each function of a chain has a context of its own, made of the caller's."""
    seen: list[str] = []

    def note(element: TextElement) -> TextElement:
        seen.append(current_run().stage)
        return element

    stages = [MapStage(note, name="a"), FilterStage(lambda _: True, name="b"), MapStage(note, name="c")]
    pipeline = PipelineBuilder(PipelineConfig(fuse=True)).chain(*stages).build()
    async with pipeline.execute(_words("x", after_s=1)) as run:
        assert _is_folded(run)
        assert await _texts(run) == ["x"]
    assert seen == ["a", "c"]


async def test_what_is_looked_at_from_another_thread_is_whole() -> None:
    """Semantics 16.9: the stages are made wherever somebody looks, their task is started where the run is."""
    async with _chain().execute() as run:
        stats = await anyio.to_thread.run_sync(run.stats)
        assert len(stats.edges) == 4
        await run.send("a")
        run.close_input()
        assert await _texts(run) == ["a"]


async def test_a_run_that_is_listened_to_or_has_its_input_is_not_folded() -> None:
    """`runtime/_folded` rule 3: what somebody looks at is there from the start."""
    listened = Pipeline(_chain().graph, _chain().config, (lambda _event: None,))
    for run in (
        listened.execute(),
        _chain().execute("x"),
        _chain(metrics=True).execute(),
        _chain(timeout_s=9).execute(),
    ):
        async with run:
            assert not _is_folded(run)


@pytest.mark.slow
@given(sizes=st.lists(st.integers(0, 4), max_size=5), capacity=st.integers(1, 3), fuse=st.booleans())
async def test_it_gives_what_a_run_gives_that_was_never_folded(sizes: list[int], capacity: int, *, fuse: bool) -> None:
    """Semantics 16.9: bursts with pauses between lose nothing and keep their order, at any capacity."""
    sent = [str(number) for number in range(sum(sizes))]

    async def source() -> AsyncIterator[str]:
        waiting = iter(sent)
        for size in sizes:
            await anyio.sleep(1)
            for _ in range(size):
                yield next(waiting)

    assert [
        one.text
        for one in (await _chain(buffer_size=capacity, fuse=fuse).run(source())).elements
        if isinstance(one, TextElement)
    ] == sent

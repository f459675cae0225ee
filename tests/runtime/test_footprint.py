"""What a live run holds: many runs are alive at once, and each object of theirs is looked at by every collection of garbage."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextvars import Context, copy_context
from typing import Any

import pytest
from anyio import Event, wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from streamflow import (
    MapStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    RunContext,
    SendEnd,
    TextElement,
    current_run,
    stage,
)
from streamflow.channels._late import NO_BUFFER
from streamflow.errors import RunStateError

RUNS = 20


@stage
async def passing(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield element


def _of_generators() -> Pipeline:
    return PipelineBuilder().chain(*[stage(passing.func, name=f"s{number}") for number in range(3)]).build()


def _of_functions() -> Pipeline:
    functions = [MapStage(lambda element: element, name=f"s{number}") for number in range(3)]
    return PipelineBuilder(PipelineConfig(fuse=True)).chain(*functions).build()


@pytest.mark.parametrize(
    ("pipeline", "most"), [(_of_generators(), 122), (_of_functions(), 62)], ids=["generators", "fused"]
)
def test_a_run_that_waits_for_its_input_holds_few_objects(pipeline: Pipeline, most: int) -> None:
    """Issue 10, goal 8: what few runs need is made when it is needed, and what all runs share is shared."""

    async def held_by_each() -> float:
        gate = asyncio.Event()

        async def gated() -> AsyncIterator[TextElement]:
            await gate.wait()
            yield TextElement("x")

        async def one() -> None:
            assert (await pipeline.run(gated())).text == "x"

        async with asyncio.TaskGroup() as group:
            before = len(gc.get_objects())
            for _ in range(RUNS):
                group.create_task(one())
            for _ in range(5):
                await checkpoint()
            found = len(gc.get_objects()) - before
            gate.set()
        return found / RUNS

    gc.collect()
    gc.disable()  # what was collected meanwhile would be missing
    try:
        with asyncio.Runner(debug=False) as runner:
            assert 0 < runner.run(held_by_each()) <= most
    finally:
        gc.enable()


async def test_an_edge_has_no_buffer_before_its_first_element_and_none_inside_a_chain() -> None:
    """`channels/_late`: an empty deque is the largest thing that an edge has."""
    pipeline = _of_functions()
    await pipeline.run("x")  # from now on it knows the type
    async with pipeline.execute() as run:
        edges = run._engine.edges
        assert all(edge.backlog is NO_BUFFER for edge in edges)

        await run.send("x")
        run.close_input()

        assert [element.text async for element in run if isinstance(element, TextElement)] == ["x"]
        assert {edge.name for edge in edges if edge.backlog is NO_BUFFER} == {"s0 → s1", "s1 → s2"}


async def test_edges_of_a_run_whose_source_gives_at_once_have_their_buffers_from_the_start() -> None:
    """`channels/_late`: what does not wait for its input gains nothing by buffers that come late, and loses time."""
    pipeline = _of_generators()
    async with pipeline.execute(["x", "y"]) as run:
        assert all(edge.backlog is not NO_BUFFER for edge in run._engine.edges)
        assert [element.text async for element in run if isinstance(element, TextElement)] == ["x", "y"]
    async with pipeline.execute() as run:
        assert all(edge.backlog is NO_BUFFER for edge in run._engine.edges)


async def test_between_a_task_and_the_body_of_its_stage_is_no_further_coroutine() -> None:
    """Issue 10, goals 5 and 6: whatever stands there is made for each run, and passed through whenever the task goes on."""
    gate = Event()

    async def body(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        await gate.wait()

    async with PipelineBuilder().chain(stage(body)).build().execute("x") as run:
        await wait_all_tasks_blocked()
        (one,) = run._engine.stages
        view = one.job.look(run._engine.jobs.backend)
        assert view is not None
        chain: Any = view.coroutine
        while chain.cr_code.co_name != "_run":  # on trio the task begins with one that has the cancel scope
            chain = chain.cr_await
        assert chain.cr_await.cr_code is body.__code__
        gate.set()


class _Deps:
    """Given to a run."""


@pytest.mark.parametrize("pipeline", [_of_generators(), _of_functions()], ids=["generators", "fused"])
@pytest.mark.parametrize("is_left", [False, True], ids=["read to its end", "left early"])
async def test_a_run_that_has_ended_is_gone_without_the_garbage_collector(pipeline: Pipeline, *, is_left: bool) -> None:
    """Semantics 5.1: what knows a run and is known by it is let go of when its tasks end, of a run that is cut short too."""

    async def words() -> AsyncIterator[str]:
        for _ in range(1000 if is_left else 3):
            yield "x"
            await checkpoint()

    deps = _Deps()
    link = weakref.ref(deps)
    gc.collect()
    gc.disable()
    try:
        async with pipeline.execute(words(), deps=deps) as run:
            async for _element in run:
                if is_left:
                    break
        del deps, run
        for _ in range(5):
            await checkpoint()

        assert link() is None
    finally:
        gc.enable()


async def test_what_a_stage_may_ask_of_its_run_is_made_when_it_is_asked_and_is_the_same_each_time() -> None:
    """Issue 10, goals 6 and 8: most stages take nothing but their ends; whoever asks is told, after the end too."""
    asked: list[RunContext[object]] = []
    kept: list[Context] = []

    async def curious(input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]) -> None:
        kept.append(copy_context())
        asked.extend((run, current_run(), copy_context().run(current_run)))
        async for element in input:
            await output.send(element)

    pipeline = PipelineBuilder().chain(stage(curious), passing).build()
    async with pipeline.execute(deps="given") as run:
        await wait_all_tasks_blocked()
        assert [one._asked is None for one in run._engine.stages] == [False, True]
        run.close_input()
        async for _element in run:
            pass
    assert all(one is asked[0] for one in asked)
    late = kept[0].run(current_run)
    assert (late.run_id, late.stage, late.deps) == (run.run_id, "curious", "given")
    with pytest.raises(RunStateError, match="has ended and cannot start"):
        late.start_soon(checkpoint)

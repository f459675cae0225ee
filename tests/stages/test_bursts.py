"""Stages of one function that have a task of their own: all that is there in one go, and nobody can tell. Semantics 16.6."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    FilterStage,
    FlatMapStage,
    MapStage,
    PipelineBuilder,
    PipelineConfig,
    Priority,
    Run,
    StageError,
    StreamElement,
    TextElement,
    TurnEnd,
)
from streamflow.stages import StageLike, TeeStage

UNFUSED = PipelineConfig(fuse=False, buffer_size=16)


_KEEPING: dict[str, StageLike] = {
    "map": MapStage(lambda one: one, name="middle"),
    "filter": FilterStage(lambda _: True, name="middle"),
    "flat map": FlatMapStage(lambda one: [one, one], name="middle"),
    "tee": TeeStage(lambda _: None, name="middle"),
}


def texts(elements: list[StreamElement]) -> list[str]:
    return [one.text for one in elements if isinstance(one, TextElement)]


def shout(element: TextElement) -> TextElement | TurnEnd:
    return TurnEnd() if element.text == "7" else TextElement(element.text.upper())


def is_short(element: TextElement) -> bool:
    return len(element.text) < 2


def twice(element: TextElement) -> list[TextElement]:
    return [element, element] if element.text != "5" else []


KINDS: dict[str, StageLike] = {
    "map": MapStage(shout),
    "filter": FilterStage(is_short),
    "flat map": FlatMapStage(twice),
    "tee": TeeStage(lambda _: None),
}


@pytest.mark.slow
@given(
    given=st.lists(st.integers(0, 12), max_size=40),
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3, unique=True),
    capacity=st.integers(1, 20),
)
async def test_a_burst_gives_what_one_after_the_other_gives(given: list[int], kinds: list[str], capacity: int) -> None:
    """semantics 16.6: where an edge is watched, there are no bursts; the output is the same, control in its place."""
    outputs: list[list[StreamElement]] = []
    for metrics in (False, True):
        config = PipelineConfig(fuse=False, buffer_size=capacity, metrics=metrics)
        pipeline = PipelineBuilder(config).chain(*[KINDS[kind] for kind in kinds]).build()
        outputs.append(list((await pipeline.run([str(number) for number in given])).elements))

    assert [repr(one) for one in outputs[0][:-1]] == [repr(one) for one in outputs[1][:-1]]


@pytest.mark.parametrize("how", ["cancel", "interrupt"])
async def test_a_function_in_a_burst_may_end_its_run(how: str) -> None:
    """semantics 16.6: it is called for nothing more, though more was there."""
    run: Run
    called: list[str] = []

    def act(element: TextElement) -> TextElement:
        called.append(element.text)
        if element.text == "2":
            run.cancel() if how == "cancel" else run.interrupt()
        return element

    async with PipelineBuilder(UNFUSED).chain(MapStage(act, name="act")).build().execute(list("123456")) as run:
        got = texts([element async for element in run])

    assert called == ["1", "2"]
    assert got in ([], ["2"])  # the stage that interrupts keeps what it has in hand


async def test_what_came_before_a_failure_in_a_burst_is_delivered() -> None:
    """semantics 16.6, 5.6: and the failure names its element."""

    def act(element: TextElement) -> TextElement:
        if element.text == "c":
            raise ValueError(element.text)
        return element

    got: list[StreamElement] = []
    with pytest.raises(StageError, match=r"element #2") as caught:
        async with PipelineBuilder(UNFUSED).chain(MapStage(act, name="act")).build().execute(list("abcd")) as run:
            async for element in run:
                got.append(element)

    assert texts(got) == ["a", "b"]
    assert caught.value.index == 2


async def test_an_async_function_sends_each_result_when_it_is_ready() -> None:
    """semantics 16.6: a burst delays nothing, so what has to be awaited is none; also where only the call tells."""

    async def slow(element: TextElement) -> TextElement:
        await anyio.sleep(1)
        return element

    def call(func: Callable[[TextElement], Awaitable[TextElement]], element: TextElement) -> Awaitable[TextElement]:
        return func(element)

    async def source() -> AsyncIterator[str]:
        for text in "abc":
            yield text

    for stage in (MapStage(slow), MapStage(functools.partial(call, slow), name="slow")):
        began, at = anyio.current_time(), []
        async with PipelineBuilder(UNFUSED).chain(stage).build().execute(source()) as run:
            async for element in run:
                if isinstance(element, TextElement):
                    at.append(round(anyio.current_time() - began))
        assert at == [1, 2, 3]


@given(st.lists(st.sampled_from(Priority), max_size=60), st.sampled_from(sorted(KINDS)), st.integers(4, 9))
async def test_bursts_over_edges_with_lanes_lose_nothing_and_keep_the_order_of_each_lane(
    drawn: list[Priority], kind: str, size: int
) -> None:
    """semantics 2.6, 16.6: a burst goes on while it is of the one lane in use; the rest goes element by element."""
    elements = [TextElement(str(number), priority=one) for number, one in enumerate(drawn)]
    config = PipelineConfig(fuse=False, buffer_size=size, priority=True)
    stages = [MapStage(lambda one: one, name="first"), _KEEPING[kind], MapStage(lambda one: one, name="last")]
    async with PipelineBuilder(config).chain(*stages).build().execute(elements) as run:
        got = [one async for one in run if isinstance(one, TextElement)]

    copies = 2 if kind == "flat map" else 1
    for lane in Priority:
        assert [one.text for one in got if one.priority is lane] == [
            one.text for one in elements if one.priority is lane for _ in range(copies)
        ]

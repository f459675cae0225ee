"""Async sources in front of functions: who calls what, and when others have their turn. Held: semantics 16.8."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from streamflow import FilterStage, MapStage, PipelineBuilder, PipelineConfig, ReceiveEnd, SendEnd, TextElement, TurnEnd
from streamflow.channels import open_channel
from streamflow.channels._wait import Round
from streamflow.elements import StreamElement
from streamflow.errors import StageError
from streamflow.testing import assert_all_stages_stopped


def same(name: str) -> MapStage:
    return MapStage(lambda element: element, name=name)


def told(element: StreamElement) -> str:
    return element.text if isinstance(element, TextElement) else type(element).__name__


STEPS = st.lists(st.sampled_from(["text", "text", "text", "many", "turn", "yield", "sleep"]), max_size=30)


async def played(steps: list[str], end: str) -> AsyncIterator[StreamElement]:
    number = 0
    for step in steps:
        if step == "yield":
            await checkpoint()
        elif step == "sleep":
            await anyio.sleep(1)
        elif step == "turn":
            yield TurnEnd(index=number)
        else:
            for _ in range(40 if step == "many" else 1):
                yield TextElement(str(number))
                number += 1
    if end == "fail":
        raise ValueError("the source")


@pytest.mark.slow
@given(
    STEPS, st.sampled_from([1, 2, 16]), st.lists(st.booleans(), max_size=8), st.sampled_from(["end", "fail", "break"])
)
async def test_an_async_source_gives_the_same_fused_and_unfused(
    steps: list[str], capacity: int, pauses: list[bool], end: str
) -> None:
    """semantics 16.8: whatever it waits for between elements, whatever else it gives, however slow the reader, however it ends."""

    async def read(config: PipelineConfig) -> list[str]:
        wanted = FilterStage(lambda element: int(element.text) % 3 != 1, name="b")
        got: list[str] = []
        async with (
            PipelineBuilder(config).chain(same("a"), wanted, same("c")).build().execute(played(steps, end)) as run
        ):
            try:
                async for element in run:
                    got.append(told(element))
                    if len(got) < len(pauses) and pauses[len(got)]:
                        await anyio.sleep(0.5)
                    if end == "break" and len(got) == 20:
                        return got
            except StageError as error:
                got.append(f"{error.stage} {error.__cause__}")
        return got

    with anyio.fail_after(1000):
        fused = await read(PipelineConfig(buffer_size=capacity))
        apart = await read(
            PipelineConfig(buffer_size=max(capacity, 4), priority=True)
        )  # each stage has a task of its own
    await assert_all_stages_stopped()

    assert fused == apart


async def test_functions_are_called_in_the_task_of_the_source_before_it_waits() -> None:
    """semantics 16.8: on asyncio; so what it has given is out before it waits. On trio it is the chain's own task."""
    tasks: list[str] = []

    def look(element: TextElement) -> TextElement:
        tasks.append(name())
        return element

    def name() -> str:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return "trio"
        return "" if task is None else task.get_name()

    async def source() -> AsyncIterator[TextElement]:
        for number in range(100):
            yield TextElement(str(number))
            if number > 60:
                await anyio.sleep(1)

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=4)).chain(MapStage(look, name="a"), same("b")).build()
    async with pipeline.execute(source()) as run:
        got = [told(element) async for element in run]

    assert got[:-1] == [str(number) for number in range(100)]
    assert set(tasks[62:]) == {"trio"} or set(tasks[62:]) == {"source"}


@pytest.mark.parametrize("drops", [True, False])
@pytest.mark.parametrize("capacity", [1, 16])
async def test_others_have_their_turn_beside_a_source_that_never_waits(capacity: int, drops: bool) -> None:
    """semantics 16.8: at least every 64 elements, and what the edges hold; also where nothing more that it gives arrives."""
    turns = given_so_far = 0
    longest = 0

    async def tick() -> None:
        nonlocal turns, given_so_far, longest
        while True:
            await checkpoint()
            longest, given_so_far = max(longest, given_so_far), 0
            turns += 1

    async def source() -> AsyncIterator[TextElement]:
        nonlocal given_so_far
        for number in range(400):
            given_so_far += 1
            yield TextElement(str(number))

    wanted = FilterStage(lambda element: not drops or int(element.text) < 50, name="a")  # once the chain is full
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(wanted, same("b")).build()
    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        got = await pipeline.run(source())
        group.cancel_scope.cancel()

    assert len(got.elements) == (50 if drops else 400)
    assert 0 < longest <= 64 + 2 * capacity + 1


async def test_a_source_and_its_consumer_share_turns(monkeypatch: pytest.MonkeyPatch, anyio_backend_name: str) -> None:
    """semantics 2.4: on asyncio, where nobody has to wait for anything else, one turn of the event loop serves 64 elements."""
    turns = 0
    run_round = Round._run

    def counted(self: Round) -> None:
        nonlocal turns
        turns += 1
        run_round(self)

    async def source() -> AsyncIterator[TextElement]:
        for number in range(640):
            yield TextElement(str(number))

    monkeypatch.setattr(Round, "_run", counted)
    got = await PipelineBuilder().chain(same("a"), same("b")).build().run(source())

    assert len(got.elements) == 640
    assert turns <= (640 // 64 + 3 if anyio_backend_name == "asyncio" else 0)


async def test_a_function_may_wake_the_source_that_it_is_called_by() -> None:
    """semantics 16.8: what feeds the source from inside the pipeline finds it about to wait, or waiting."""
    send: SendEnd[TextElement]
    receive: ReceiveEnd[TextElement]
    send, receive = open_channel(64)

    def again(element: TextElement) -> TextElement:
        if len(element.text) < 50:
            send.send_nowait(TextElement(element.text + "x"))
        else:
            send.close()
        return element

    pipeline = PipelineBuilder().chain(MapStage(again, name="a"), same("b")).build()
    send.send_nowait(TextElement("x"))
    with anyio.fail_after(10):
        async with pipeline.execute(receive) as run:
            got = [told(element) async for element in run]

    assert got[:-1] == ["x" * (number + 1) for number in range(50)]


@pytest.mark.slow
@given(st.integers(0, 20), st.integers(1, 30), st.integers(1, 4))
async def test_what_comes_behind_much_that_is_dropped_is_out_before_the_source_waits(
    kept: int, dropped: int, capacity: int
) -> None:
    """semantics 5.3, 16.8: also where a burst is cut by the room behind it, and nothing is left of it."""

    async def source() -> AsyncIterator[TextElement]:
        for texts in (["k"] * kept, [*["d"] * dropped, "last"]):
            for text in texts:
                yield TextElement(text)
            await anyio.sleep(1)

    async def behind(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element

    builder = PipelineBuilder().add(FilterStage(lambda element: element.text != "d", name="keep")).add(behind)
    pipeline = builder.connect("keep", "behind", buffer=capacity).build()
    began = anyio.current_time()
    async with pipeline.execute(source()) as run:
        came = [(told(element), anyio.current_time() - began) async for element in run]
    assert came == [("k", 0)] * kept + [("last", 1), ("EndOfStream", 2)]


@pytest.mark.parametrize("how", ["cancel", "drain", "interrupt", "break"])
async def test_a_run_may_end_while_its_source_waits(how: str) -> None:
    """semantics 16.8: the chain, which waits for the source to have it go on, is told."""

    async def source() -> AsyncIterator[TextElement]:
        for number in range(70):
            yield TextElement(str(number))
        await anyio.sleep(1000 if how != "interrupt" else 1)

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=4)).chain(same("a"), same("b")).build()
    got: list[str] = []
    with anyio.fail_after(100):
        async with pipeline.execute(source()) as run, anyio.create_task_group() as group:
            async for element in run:
                got.append(told(element))
                if len(got) == 70:
                    if how == "break":
                        break
                    if how == "drain":
                        group.start_soon(run.drain)
                    elif how == "cancel":
                        run.cancel()
                    else:
                        run.interrupt()
    await assert_all_stages_stopped()

    assert got == [*map(str, range(70)), *["EndOfStream"] * (how in ("drain", "interrupt"))]

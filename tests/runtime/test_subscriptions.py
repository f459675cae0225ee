"""Branches that join and leave a live run. Semantics 4.19."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import pytest
from anyio import wait_all_tasks_blocked
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    ConfigError,
    ErrorElement,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    StageError,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.errors import RunStateError
from streamflow.testing import assert_all_stages_stopped, cancel_sweep


def live(buffer_size=4, **config):
    """A pipeline of one stage to whose output one can subscribe."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=buffer_size, **config))
    return builder.branch(PassthroughStage("a"), dynamic=True).build()


def texts(elements):
    return [one.text for one in elements if isinstance(one, TextElement)]


async def collect(subscription, into):
    async for element in subscription:
        into.append(element)


@pytest.mark.parametrize("priority", [False, True], ids=["plain", "lanes"])
async def test_who_joins_reads_on_from_there_and_leaves_when_it_likes(priority) -> None:
    """semantics 4.19: data and control; nobody else notices; it ends with the run."""
    async with live(priority=priority).execute() as run:
        await run.send("0")
        assert await anext(run) == TextElement("0")
        async with run.subscribe("a") as first:
            assert first.name == "a → subscriber 1"
            for element in (TextElement("1"), TurnEnd()):
                await run.send(element)
            assert [await anext(run), await anext(run)] == [TextElement("1"), TurnEnd()]
            assert [await anext(first), await anext(first)] == [TextElement("1"), TurnEnd()]
            assert first.received == 2
        with pytest.raises(StopAsyncIteration):
            await anext(first)
        second, got = run.subscribe("a"), []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect, second, got)
            await run.send("2")
            run.close_input()
            assert texts([element async for element in run]) == ["2"]
        assert got == [TextElement("2")]


async def test_who_subscribes_before_the_run_is_iterated_misses_nothing() -> None:
    """semantics 4.19: subscribing starts the run."""
    run = live(16).execute(["1", "2"])
    branch = run.subscribe("a")
    assert repr(branch) == "<Subscription a → subscriber 1>"
    assert texts([element async for element in run]) == ["1", "2"]
    assert texts([element async for element in branch]) == ["1", "2"]


@pytest.mark.parametrize("overflow", ["block", "drop_newest"])
async def test_a_full_branch_is_waited_for_unless_it_drops(overflow) -> None:
    """semantics 4.19: what it dropped is counted."""
    pipeline = live(4)
    async with pipeline.execute([str(number) for number in range(50)]) as run:
        branch = run.subscribe("a", buffer=2, overflow=overflow)
        got = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect, run, got)
            await wait_all_tasks_blocked()
            assert len(texts(got)) == (2 if overflow == "block" else 50)
            assert branch.dropped == (0 if overflow == "block" else 48)
            assert texts([element async for element in branch]) == [
                str(n) for n in range(50 if overflow == "block" else 2)
            ]
    assert len(texts(got)) == 50


async def test_another_pipeline_may_run_over_it() -> None:
    """semantics 4.19, 5.3: a subscription is a source; when that run ends early, the branch is gone and this run goes on."""

    async def shout(element: TextElement) -> TextElement:
        return TextElement(element.text.upper())

    other = PipelineBuilder().chain(shout).build()
    async with live(2).execute(list("abcdefgh")) as run:
        branch, heard, got = run.subscribe("a"), [], []
        early = run.subscribe("a")

        async def listen():
            heard.extend(texts((await other.run(branch)).elements))

        async def leave_early():
            async with other.execute(early) as second:
                assert await anext(second) == TextElement("A")
            early.close()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            tasks.start_soon(leave_early)
            tasks.start_soon(collect, run, got)
    assert heard == list("ABCDEFGH")
    assert texts(got) == list("abcdefgh")


async def test_a_failure_upstream_is_its_last_element() -> None:
    """semantics 4.19, 6.1: a fatal error element; the failure itself is raised by the run."""

    def fail(element: TextElement) -> TextElement:
        if element.text == "2":
            raise ValueError
        return element

    pipeline = PipelineBuilder().chain(fail, PassthroughStage("a")).branch("a", dynamic=True).build()
    with pytest.raises(StageError):
        async with pipeline.execute(["1", "2"]) as run:
            branch = run.subscribe("a")
            got = [element async for element in branch]
    assert texts(got) == ["1"]
    assert isinstance(got[-1], ErrorElement)
    assert got[-1].fatal


@pytest.mark.parametrize("how", ["cancel", "leave", "lost"])
async def test_the_end_of_the_run_is_the_end_of_the_branch(how) -> None:
    """semantics 4.19, 7.1: whichever way it ends; who subscribes does not keep a run alive."""
    got = []
    async with anyio.create_task_group() as tasks:
        run = live().execute()
        branch = run.subscribe("a")
        tasks.start_soon(collect, branch, got)
        await run.send("1")
        await wait_all_tasks_blocked()
        if how == "cancel":
            run.cancel()
            await run.aclose()
        elif how == "leave":
            await run.aclose()
        else:
            with pytest.warns(ResourceWarning):
                del run
    assert texts(got) == ["1"]
    await assert_all_stages_stopped()


async def test_a_stage_that_cannot_be_stopped_does_not_hold_its_subscribers() -> None:
    """semantics 7.3, 4.19: they are told when the run gives up."""
    release = anyio.Event()

    @stage(name="a")
    async def stubborn(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        try:
            async for element in stream:
                yield element
        finally:
            with anyio.CancelScope(shield=True):
                await release.wait()

    config = PipelineConfig(shutdown_timeout_s=1)
    run = PipelineBuilder(config).branch(stubborn, dynamic=True).build().execute()
    branch = run.subscribe("a")
    await wait_all_tasks_blocked()
    await run.aclose()
    assert run.zombies == ("a",)
    with anyio.fail_after(1):
        assert [element async for element in branch] == []
    release.set()
    await assert_all_stages_stopped()


async def test_a_subscription_that_is_lost_holds_nobody_up() -> None:
    """semantics 4.19: letting go of it is leaving, without the garbage collector."""
    gc.disable()
    try:
        async with live(1).execute([str(number) for number in range(9)]) as run:
            branch = run.subscribe("a")
            await wait_all_tasks_blocked()
            del branch
            with anyio.fail_after(1):
                assert len(texts([element async for element in run])) == 9
    finally:
        gc.enable()


async def test_what_cannot_be_subscribed_to_is_refused_with_what_can() -> None:
    """semantics 4.19: another output, a wrong option, a run that is over."""
    run = live().execute(["1"])
    with pytest.raises(RunStateError, match=r"'b' do not come and go: .* has 'a'; say branch"):
        run.subscribe("b")
    with pytest.raises(ConfigError, match="overflow"):
        run.subscribe("a", overflow="latest")
    with pytest.raises(ConfigError, match="buffer"):
        run.subscribe("a", buffer=0)
    assert texts([element async for element in run]) == ["1"]
    with pytest.raises(RunStateError, match="has ended"):
        run.subscribe("a")


async def test_who_joins_an_output_that_has_ended_gets_its_end() -> None:
    """semantics 4.19: while other stages of the run still work."""
    pipeline = PipelineBuilder().chain(PassthroughStage("a"), PassthroughStage("b")).branch("a", dynamic=True).build()
    async with pipeline.execute(["1", "2"]) as run:
        await wait_all_tasks_blocked()
        assert [element async for element in run.subscribe("a")] == []
        assert texts([element async for element in run]) == ["1", "2"]


async def test_the_output_of_a_port_and_of_a_nested_stage_can_be_subscribed_to() -> None:
    """semantics 4.12, 4.13: by the name that it has in the graph; what passes the stage by comes too."""

    @stage(outputs={"x": TextElement, "y": TextElement})
    async def sort(input, outputs):
        async for element in input:
            await outputs["x" if element.text < "5" else "y"].send(element)

    inner = PipelineBuilder().add(sort).branch("sort:x", dynamic=True).build()
    pipeline = PipelineBuilder().merge(PassthroughStage("out"), inner.as_stage("n")).build()
    run = pipeline.execute([*map(TextElement, "1827"), TurnEnd()])
    branch, got = run.subscribe("n/sort:x"), []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(collect, branch, got)
        assert sorted(texts([element async for element in run])) == list("1278")
    assert got == [TextElement("1"), TextElement("2"), TurnEnd()]


async def test_a_subscription_can_be_cancelled_at_any_moment() -> None:
    """semantics 2.3, 4.19: nothing is lost but what nobody asks for any more; the run goes on."""
    pipeline = live(1)

    async def scenario():
        async with pipeline.execute(list("abc")) as run, anyio.create_task_group() as tasks:
            tasks.start_soon(collect, run.subscribe("a"), [])
            tasks.start_soon(collect, run, [])
            async with run.subscribe("a") as late:
                async for _ in late:
                    await anyio.lowlevel.checkpoint()

    async def check(_):
        await assert_all_stages_stopped()

    await cancel_sweep(scenario, check=check)


@given(
    count=st.integers(0, 30),
    guests=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4), st.none() | st.integers(1, 9)), max_size=4),
    capacity=st.sampled_from([1, 3]),
)
async def test_each_subscriber_reads_a_contiguous_part(count, guests, capacity) -> None:
    """semantics 4.19: whoever joins and leaves when, the consumer reads everything, and each of them a part of it, whole."""
    source = [TurnEnd(index=n) if n % 4 == 3 else TextElement(str(n)) for n in range(count)]
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity))
    builder.chain(MapStage(lambda one: one, name="a"), PassthroughStage("b"))
    pipeline = builder.branch("a", PassthroughStage("c"), dynamic=True).build()
    parts: list[list[object]] = [[] for _ in guests]

    async def join(run, number):
        after, buffer, most = guests[number]
        for _ in range(after):
            await anyio.lowlevel.checkpoint()
        async with run.subscribe("a", buffer=buffer) as branch:
            async for element in branch:
                parts[number].append(element)
                if len(parts[number]) == most:
                    return

    async with pipeline.execute(source) as run, anyio.create_task_group() as tasks:
        main, other = run.output("b"), run.output("c")
        got: list[object] = []
        tasks.start_soon(collect, main, got)
        tasks.start_soon(collect, other, [])
        for number in range(len(guests)):
            tasks.start_soon(join, run, number)

    assert got == source
    for (_, _, most), part in zip(guests, parts, strict=True):
        begin = source.index(part[0]) if part else count
        assert part == source[begin : None if most is None else begin + most]

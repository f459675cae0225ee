"""The probes: manual demand on both sides, of a run, of a stage's function, and at the end of a branch."""

from __future__ import annotations

import anyio
import pytest

from streamflow import EndOfStream, MapStage, PipelineBuilder, PipelineConfig, StageError, TextElement, stage
from streamflow.testing import ProbeError, SinkProbe, SourceProbe, assert_all_stages_stopped, probed


def shout(element: TextElement) -> TextElement:
    if element.text == "bad":
        raise ValueError(element.text)
    return TextElement(element.text.upper())


async def test_a_stage_answers_each_element_when_it_comes() -> None:
    """semantics 5.4: the answer to the first is there before the second is given; then the end."""
    async with probed(shout) as (source, sink):
        sink.request(2)
        await source.send("a")
        await sink.expect_next("A")
        await sink.expect_no_element()
        await source.send("b")
        await sink.expect_next("B")
        source.complete()
        await sink.expect_complete()
        assert sink.end is not None
        assert sink.end.reason == "done"
    assert anyio.current_time() == 1
    await assert_all_stages_stopped()


async def test_a_source_is_asked_for_no_more_than_fits() -> None:
    """semantics 5.5: one on each edge, one in hand of the stage, one in hand of the source."""

    @stage
    async def loud(stream):
        async for element in stream:
            yield shout(element)

    async with probed(loud) as (source, sink):
        await source.send("a", "b", "c", "d")
        await source.expect_no_request()
        assert source.requests == 4
        await sink.request_next("A")
        await source.expect_request()


async def test_why_a_source_is_stopped_is_told() -> None:
    """semantics 3.1: a stage that ends early, and a consumer that leaves."""

    @stage
    async def first(stream):
        async for element in stream:
            yield element
            return

    async with probed(first) as (source, sink):
        await source.send("a")
        await sink.request_next("a")
        assert await source.expect_cancelled() in ("no_more_needed", "cancelled")
        await sink.expect_complete()
        with pytest.raises(ProbeError, match="the word to stop"):
            await source.send("c")
    async with probed(shout) as (source, sink):
        await source.send("a")
        sink.cancel()
        assert await source.expect_cancelled("cancelled") == "cancelled"
        with pytest.raises(ProbeError, match=r"told to stop \(failure\)\n  came: the reason 'cancelled'"):
            await source.expect_cancelled("failure")


async def test_a_failure_reaches_the_sink_behind_the_data() -> None:
    """semantics 6.1: of a stage, and of the source."""
    async with probed(shout) as (source, sink):
        await source.send("a", "bad")
        await sink.request_next("A")
        error = await sink.expect_error(StageError)
        assert isinstance(error.__cause__, ValueError)
        assert sink.notice is not None
    async with probed(shout) as (source, sink):
        source.fail(OSError("no more"))
        assert isinstance((await sink.expect_error()).__cause__, OSError)


async def test_what_is_not_expected_is_told_with_what_came_and_what_edges_hold() -> None:
    """testing.ProbeError: enough to see what went wrong."""
    async with probed(shout) as (source, sink):
        await source.send("a")
        with pytest.raises(ProbeError) as caught:
            await sink.request_next("B")
        lines = str(caught.value).splitlines()
        assert lines[0] == "sink: expected next TextElement(text='B')"
        assert lines[1] == "  came: TextElement(text='A')"
        assert any("edge source → shout: open" in line for line in lines)
        with pytest.raises(ProbeError, match=r"call request\(\) first"):
            await sink.expect_next()
        with pytest.raises(ProbeError, match=r"call request\(\) first"):
            await sink.expect_no_element()
        sink.request()
        with pytest.raises(ProbeError, match="nothing within 60 s"):
            await sink.expect_next()
        await source.send("b")
        with pytest.raises(ProbeError, match=r"came: TextElement\(text='B'\)"):
            await sink.expect_complete()
        await sink.expect_next("B")
        await source.expect_request()
        with pytest.raises(ProbeError, match="expected no request for 1 s"):
            await source.expect_no_request()
        source.complete()
        with pytest.raises(ProbeError, match="came: the end"):
            await sink.expect_error()
        with pytest.raises(ProbeError, match="came: the end"):
            await sink.request_next()


async def test_a_failure_nobody_expected_leaves_the_block_unwrapped() -> None:
    """testing.probed: neither the stage's failure nor the test's own is put into a group."""
    with pytest.raises(StageError):
        async with probed(shout) as (source, _):
            await source.send("bad")
            await source.expect_cancelled()
    with pytest.raises(KeyError):
        async with probed(shout):
            raise KeyError


async def test_probes_are_the_ends_of_a_bare_function() -> None:
    """testing.SinkProbe, SourceProbe: anyio streams, so a stage's function runs between them without a pipeline."""

    async def double(input, output):
        async for element in input:
            await output.send(element)
            await output.send(element)

    source, sink = SourceProbe(), SinkProbe()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(double, source, sink)
        await source.send("a")
        await source.expect_no_request()
        await sink.request_next("a")
        await source.expect_no_request()
        await sink.request_next("a")
        await source.expect_request()
        source.complete()


async def test_a_sink_stands_at_the_end_of_a_branch() -> None:
    """semantics 4.6: one branch that asks for nothing holds the other one up, until it goes."""
    left, right, source = SinkProbe("left"), SinkProbe("right"), SourceProbe()
    builder = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(MapStage(shout, name="loud"))
    async with builder.branch("loud", left.stage(), right.stage()).build().execute(source):
        left.request(9)
        await source.send("a", "b")
        await left.expect_next("A")
        await source.send("c", "d")
        await source.expect_no_request()
        await left.expect_no_element()
        right.cancel()
        await left.expect_next("B", "C", "D")
        source.complete()
        await left.expect_complete()


async def test_a_cancelled_pull_loses_nothing() -> None:
    """semantics 7.2: of both probes; what was not taken is there for the next one."""
    source, sink = SourceProbe(), SinkProbe()
    with anyio.move_on_after(1):
        await source.receive()
    assert source.requests == 0
    with anyio.move_on_after(1):
        await sink.send(TextElement("a"))
    sink.request()
    await sink.expect_no_element()
    assert sink.end is None
    assert not isinstance(sink.end, EndOfStream)

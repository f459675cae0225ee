"""Stages that keep elements between pulls: what passes them by leaves behind their results. Semantics 3.3."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from streamflow import (
    DataElement,
    ErrorElement,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    SendEnd,
    StageError,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
    TurnStart,
    stage,
)
from streamflow.errors import StageDefinitionError


def joiner(bypass: str = "late"):
    @stage(kind=StageKind.ACCUMULATE, accepts=(TextElement, TurnEnd), bypass=bypass)  # type: ignore[arg-type]
    async def join(stream: AsyncIterator[TextElement | TurnEnd]) -> AsyncIterator[TextElement | TurnEnd]:
        held = ""
        async for element in stream:
            if isinstance(element, TextElement):
                held += element.text
                continue
            if held:
                yield TextElement(held)
            held = ""
            yield element
        if held:
            yield TextElement(held)

    return join


def text(value: str) -> TextElement:
    return TextElement(value)


def other(number: int) -> DataElement:
    return DataElement("other", number)


end = TurnEnd()
trouble = ErrorElement("hiccup", "goes on")


@pytest.mark.parametrize("capacity", [1, 2, 16])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([text("a"), other(1), text("b")], [text("ab"), other(1)]),
        ([text("a"), other(1), other(2), trouble], [text("a"), other(1), other(2), trouble]),
        ([other(1), text("a"), end], [other(1), text("a"), end]),
        ([text("a"), other(1), text("b"), end, other(2)], [text("ab"), other(1), end, other(2)]),
        (
            [text("a"), other(1), end, other(2), text("b"), trouble, text("c"), end, other(3)],
            [text("a"), other(1), end, other(2), text("bc"), trouble, end, other(3)],
        ),
        ([end, other(1), end], [end, other(1), end]),
        ([text("a"), other(1), end, other(2), end], [text("a"), other(1), end, other(2), end]),
    ],
)
async def test_what_passes_an_accumulator_by_leaves_behind_its_results(
    given: list[StreamElement], expected: list[StreamElement], capacity: int
):
    """3.3: behind the results of everything that the stage took before it, and still in its own turn."""
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(joiner()).build()
    assert list((await pipeline.run(given)).elements) == expected


async def test_an_accumulator_may_let_others_go_by_early():
    """3.3: data goes past an accumulator early only where it says so."""
    given = [text("a"), other(1), text("b"), end]
    result = await PipelineBuilder().chain(joiner("early")).build().run(given)
    assert list(result.elements) == [other(1), text("ab"), end]


async def test_what_is_kept_aside_is_bounded():
    """5.4: a turn that never ends is a clear error, not memory without end."""

    def endless():
        yield text("a")
        for number in range(10**6):
            yield other(number)

    with pytest.raises(StageError, match=r"1000 elements wait.*bypass='early'"):
        await PipelineBuilder().chain(joiner()).build().run(endless())


async def test_an_unknown_bypass_is_refused():
    """Bad input: `bypass=`."""
    with pytest.raises(StageDefinitionError, match="bypass='sideways' is neither 'late' nor 'early'"):
        joiner("sideways")


async def test_a_process_stage_that_tries_to_send_pays_its_debts_first():
    """3.3 for all ways to send: the end of the turn never overtakes what was kept aside."""

    @stage(kind=StageKind.ACCUMULATE, accepts=(TextElement, TurnEnd))
    async def tries(stream: ReceiveEnd[TextElement | TurnEnd], output: SendEnd[TextElement | TurnEnd]) -> None:
        async for element in stream:
            if not isinstance(element, TurnEnd):
                continue
            await output.send(text("flushed"))
            assert not output.try_send(element)
            with pytest.raises(anyio.WouldBlock):
                output.send_nowait(element)
            await output.send(element)

    result = await PipelineBuilder().chain(tries).build().run([text("a"), other(1), end, other(2)])
    assert list(result.elements) == [text("flushed"), other(1), end, other(2)]


async def test_control_that_the_stage_took_holds_nothing_up():
    """3.3: what passes it by waits for results, and a control element has none."""

    @stage(kind=StageKind.ACCUMULATE, accepts=(TextElement, TurnStart, TurnEnd))
    async def join(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
        async for element in stream:
            if not isinstance(element, TextElement):
                yield element

    async with PipelineBuilder().chain(join).build().execute() as run:
        await run.send(TurnStart())
        await run.send(trouble)
        with anyio.fail_after(5):
            assert [await anext(run), await anext(run)] == [TurnStart(), trouble]


@pytest.mark.parametrize("how", ["receive", "receive_nowait"])
async def test_what_passes_by_waits_however_the_stage_receives(how: str):
    """3.3: also for a stage that takes without waiting; and `pass_aside()` lets it go once the results are out."""

    @stage(kind=StageKind.ACCUMULATE, accepts=(TextElement, TurnEnd))
    async def join(stream: ReceiveEnd[TextElement], output: SendEnd[StreamElement]) -> None:
        first = stream.receive_nowait() if how == "receive_nowait" else await stream.receive()
        second = await stream.receive()
        await output.send(text(first.text + second.text))
        await stream.pass_aside()
        await output.send(text("after"))

    async with PipelineBuilder().chain(join).build().execute() as run:
        for element in (text("a"), other(1), text("b"), other(2)):
            await run.send(element)
        run.close_input()
        got = [element async for element in run]

    assert got[:3] == [text("ab"), other(1), text("after")]

"""What a stage meets when its reader leaves, and stages that generate: what the shared table of forms cannot show."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import anyio
import pytest

from streamflow import (
    BaseStage,
    FlatMapStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    RunContext,
    SendEnd,
    StageKind,
    StreamElement,
    TextElement,
    stage,
)
from streamflow.errors import OutputClosedError, SourceError
from streamflow.stages import StageLike
from streamflow.testing import assert_all_stages_stopped

CAPACITIES = (1, 2, 16)


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


async def run(*chain: StageLike, source: list[str] | None, capacity: int = 2) -> list[str]:
    """Run a chain and return the texts that come out."""
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity, timeout_s=600)).chain(*chain).build()
    result = await pipeline.run(source)
    await assert_all_stages_stopped()
    assert result.reason == "done"
    return [one.text for one in result.elements if isinstance(one, TextElement)]


def leaver(count: int) -> StageLike:
    async def leaver(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        for _ in range(count):
            await output.send(await input.receive())

    return leaver


async def slow_to_end(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
    """Keep the run alive when those before have ended: a run ends with its last stage."""
    async for element in stream:
        yield element
    await anyio.sleep(60)


async def test_a_process_meets_the_end_of_its_reader_and_may_let_it_pass() -> None:
    """semantics 3.1: upstream meets `OutputClosedError(no_more_needed)` at its next send; leaving with it is completion."""
    met: list[OutputClosedError] = []

    async def subject(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        try:
            async for element in input:
                await output.send(element)
        except OutputClosedError as error:
            met.append(error)
            raise

    got = await run(subject, leaver(2), slow_to_end, source=numbers(1000))

    assert [(one.reason, one.edge) for one in met] == [("no_more_needed", "subject → leaver")]
    assert got == ["0", "1"]


async def test_a_process_may_go_on_after_the_end_of_its_reader() -> None:
    """semantics 3.1: `OutputClosedError` is told, not forced: a stage may read on, for what it does besides sending."""
    read: list[str] = []

    async def subject(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for element in input:
            read.append(element.text)
            with contextlib.suppress(OutputClosedError):
                await output.send(element)

    got = await run(subject, leaver(1), slow_to_end, source=numbers(9))

    assert got == ["0"]
    assert read == numbers(9)


async def bare_generating() -> AsyncIterator[TextElement]:
    for number in range(30):
        yield TextElement(str(number))


@stage(kind=StageKind.GENERATE)
async def generating_with_run(run: RunContext[object]) -> AsyncIterator[TextElement]:
    assert run.stage == "generating_with_run"
    for number in range(30):
        yield TextElement(str(number))


class GeneratingStage(BaseStage):
    kind = StageKind.GENERATE

    async def process(self) -> AsyncIterator[TextElement]:
        for number in range(30):
            yield TextElement(str(number))


class GeneratingWithRun:
    kind = StageKind.GENERATE

    async def process(self, run: RunContext[object]) -> AsyncIterator[TextElement]:
        assert run.stage == "generating_with_run"
        for number in range(30):
            yield TextElement(str(number))


class GeneratingProcess(BaseStage):
    kind = StageKind.GENERATE

    async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[TextElement]) -> None:
        assert [element async for element in input] == []
        for number in range(30):
            await output.send(TextElement(str(number)))


GENERATING = [bare_generating, stage(bare_generating), generating_with_run, GeneratingStage, GeneratingStage()]
GENERATING += [GeneratingWithRun, GeneratingProcess()]


@pytest.mark.parametrize("given", GENERATING, ids=lambda given: getattr(given, "__name__", repr(given)))
async def test_a_stage_that_generates_takes_no_input(given: StageLike) -> None:
    """semantics 3.5: it stands at the head, in every form; it is closed when nobody needs more, and takes no source."""
    for capacity in CAPACITIES:
        assert await run(given, source=None, capacity=capacity) == numbers(30)
        assert await run(given, leaver(2), source=None, capacity=capacity) == numbers(2)

    with pytest.raises(SourceError, match="generates and takes no source"):
        PipelineBuilder().chain(given).build().execute("x")


@pytest.mark.parametrize("form", ["generator", "async generator"])
@pytest.mark.parametrize("capacity", CAPACITIES)
async def test_a_generator_of_several_elements_is_closed_when_the_reader_leaves(form: str, capacity: int) -> None:
    """semantics 3.1: a generator is closed; its `finally` runs while the run still lives, not when it is collected."""
    closed: list[str] = []

    def several(element: StreamElement) -> Iterator[StreamElement]:
        try:
            for _ in range(100):
                yield element
        finally:
            closed.append("closed")

    async def several_async(element: StreamElement) -> AsyncIterator[StreamElement]:
        try:
            for _ in range(100):
                yield element
        finally:
            closed.append("closed")

    given = FlatMapStage(several if form == "generator" else several_async)
    got = await run(given, leaver(3), slow_to_end, source=numbers(5), capacity=capacity)

    assert got == ["0", "0", "0"]
    assert closed == ["closed"]

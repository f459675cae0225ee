"""streamflow itself: each stage a task, each edge a channel; or stages that are functions, batched, and fused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

from streamflow import MapStage, Pipeline, PipelineBuilder, PipelineConfig, ReceiveEnd, SendEnd, TextElement, stage
from streamflow.stages import FunctionStage

from . import Each, Peer, Program, Shape, Source, Work

__all__ = ["PEERS", "Form", "as_generator", "as_map", "as_process", "build", "fused", "program_of"]

OneStage: TypeAlias = FunctionStage[..., object] | MapStage
Form: TypeAlias = Callable[[int, Work | None], OneStage]


def as_generator(index: int, work: Work | None = None) -> OneStage:
    """Return a stage written as an async generator."""

    async def body(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element

    async def working(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        assert work is not None
        async for element in stream:
            await work()
            yield element

    return stage(name=f"s{index}")(body if work is None else working)


def as_process(index: int, _work: Work | None = None) -> OneStage:
    """Return a stage written as `async for` and `send`."""

    async def body(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for element in input:
            await output.send(element)

    return stage(name=f"s{index}")(body)


def _same(element: TextElement) -> TextElement:
    return element


def as_map(index: int, _work: Work | None = None) -> OneStage:
    """Return a stage that calls a function, which returns what it is given."""
    return MapStage(_same, name=f"s{index}")


def build(form: Form, shape: Shape, *, fuse: bool = False) -> Pipeline:
    """Return a chain of stages of that form."""
    config = PipelineConfig(buffer_size=shape.capacity, fuse=fuse)
    return PipelineBuilder(config).chain(*[form(index, shape.work) for index in range(shape.stages)]).build()


def fused(shape: Shape, each: Each | None) -> Program:
    """Return the program of map stages in one task."""
    return program_of(build(as_map, shape, fuse=True), each)


def program_of(pipeline: Pipeline, each: Each | None = None) -> Program:
    """Return what runs the pipeline once for each source."""

    async def run_fast(source: Source) -> int:
        count = 0
        async with pipeline.execute(source) as run:
            async for _element in run:
                count += 1
        return count - 1  # the last one is EndOfStream

    async def run_slow(source: Source) -> int:
        assert each is not None
        count = 0
        async with pipeline.execute(source) as run:
            async for element in run:
                if isinstance(element, TextElement):
                    count += 1
                    await each()
        return count

    return run_fast if each is None else run_slow


def _preparer(form: Form) -> Callable[[Shape, Each | None], Program]:
    return lambda shape, each: program_of(build(form, shape), each)


def _max_in_flight(shape: Shape) -> int | None:
    return build(as_generator, shape).max_in_flight


PEERS = [
    Peer(
        "streamflow",
        _preparer(as_generator),
        backends=("asyncio", "trio", "uvloop"),
        packages=("anyio", "msgspec"),
        quick=True,
        works=True,
        bound=_max_in_flight,
    ),
    Peer("streamflow process", _preparer(as_process), quick=True, bound=_max_in_flight),
]

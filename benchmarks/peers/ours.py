"""streamflow itself: each stage a task, each edge a channel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

from streamflow import Pipeline, PipelineBuilder, PipelineConfig, ReceiveEnd, SendEnd, TextElement, stage
from streamflow.stages import FunctionStage

from . import Each, Peer, Program, Shape

__all__ = ["PEERS", "as_generator", "as_process", "build"]


def as_generator(index: int) -> FunctionStage[..., object]:
    """Return a stage written as an async generator."""

    async def body(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element

    return stage(name=f"s{index}")(body)


def as_process(index: int) -> FunctionStage[..., object]:
    """Return a stage written as `async for` and `send`."""

    async def body(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for element in input:
            await output.send(element)

    return stage(name=f"s{index}")(body)


def build(form: Callable[[int], FunctionStage[..., object]], shape: Shape) -> Pipeline:
    """Return a chain of stages of that form."""
    config = PipelineConfig(buffer_size=shape.capacity)
    return PipelineBuilder(config).chain(*[form(index) for index in range(shape.stages)]).build()


def _preparer(form: Callable[[int], FunctionStage[..., object]]) -> Callable[[Shape, Each | None], Program]:
    def prepare(shape: Shape, each: Each | None) -> Program:
        pipeline = build(form, shape)

        async def run_fast(source: Iterable[TextElement]) -> int:
            count = 0
            async with pipeline.execute(source) as run:
                async for _element in run:
                    count += 1
            return count - 1  # the last one is EndOfStream

        async def run_slow(source: Iterable[TextElement]) -> int:
            assert each is not None
            count = 0
            async with pipeline.execute(source) as run:
                async for _element in run:
                    count += 1
                    await each()
            return count - 1

        return run_fast if each is None else run_slow

    return prepare


def _max_in_flight(shape: Shape) -> int | None:
    return build(as_generator, shape).max_in_flight


PEERS = [
    Peer(
        "streamflow",
        _preparer(as_generator),
        backends=("asyncio", "trio", "uvloop"),
        packages=("streamflow-runtime", "anyio", "msgspec"),
        quick=True,
        bound=_max_in_flight,
    ),
    Peer("streamflow process", _preparer(as_process), quick=True, bound=_max_in_flight),
]

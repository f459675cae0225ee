"""What questions about a pipeline of the same stages share: the loops, a stage that changes nothing, moving all elements once.

Above: the questions. Below: `_harness`, `peers`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from streamflow import Pipeline, TextElement, stage

from ._harness import Case, Sample, Scale, Stopwatch, has_backend, run_on
from .peers import text_elements

__all__ = ["loops", "measure_moving", "passing_generator"]


def loops(scale: Scale) -> list[str]:
    """Return the event loops that are asked: asyncio, and trio where it is installed and there is time."""
    return [one for one in ("asyncio", "trio") if has_backend(one) and (one == "asyncio" or not scale.quick)]


def passing_generator(name: str) -> Any:
    """Return a stage of a user's own, an async generator that changes nothing."""

    @stage(name=name)
    async def passing(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element

    return passing


def measure_moving(
    case: Case, pipeline: Pipeline, made: Callable[[int], Iterable[TextElement]] = text_elements
) -> Sample:
    """Move as many elements as the case says once, after a twentieth of them to warm up."""
    count: int = case.options["elements"]

    async def move(count: int) -> int:
        arrived = 0
        async with pipeline.execute(made(count)) as run:
            async for element in run:
                arrived += isinstance(element, TextElement)
        return arrived

    async def whole() -> Sample:
        await move(max(count // 20, 1))
        with Stopwatch() as watch:
            arrived = await move(count)
        if arrived != count:
            message = f"{case.label}: {arrived} of {count} elements arrived"
            raise RuntimeError(message)
        return watch.per(count)

    return run_on(case.backend, whole)

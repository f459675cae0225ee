"""Haystack: a pipeline that is run for each element; it has no stream of elements between its components."""

from __future__ import annotations

import os
from typing import Any

from .._environment import PEERS_ENVIRONMENT
from . import Each, Peer, Program, Shape, Source, each_of

__all__ = ["PEERS"]


def _prepare(shape: Shape, each: Each | None) -> Program:
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
    from haystack import Pipeline, component

    @component
    class Stage:
        @component.output_types(element=object)
        def run(self, element: object) -> dict[str, Any]:
            return {"element": element}

        @component.output_types(element=object)
        async def run_async(self, element: object) -> dict[str, Any]:
            return {"element": element}

    pipeline = Pipeline()
    for number in range(shape.stages):
        pipeline.add_component(f"s{number}", Stage())
    for number in range(1, shape.stages):
        pipeline.connect(f"s{number - 1}.element", f"s{number}.element")

    async def run(source: Source) -> int:
        count = 0
        async for element in each_of(source):
            told = await pipeline.run_async({"s0": {"element": element}})
            count += len(told)
            if each is not None:
                await each()
        return count

    return run


PEERS = [
    Peer(
        "Haystack",
        _prepare,
        backends=("asyncio",),
        packages=("haystack-ai",),
        environment=PEERS_ENVIRONMENT,
        share=0.005,
    )
]

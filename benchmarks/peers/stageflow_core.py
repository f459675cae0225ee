"""stageflow-core: a graph of stages that is run for each element; its stages exchange results, not streams."""

from __future__ import annotations

import logging
from typing import Any

from .._environment import PEERS_ENVIRONMENT
from . import Each, Peer, Program, Shape, Source, each_of

__all__ = ["PEERS"]


def _prepare(shape: Shape, each: Each | None) -> Program:
    from stageflow.api import Pipeline, StageContext, StageKind, stage, stage_metadata

    logging.disable(logging.CRITICAL)

    def one(name: str) -> type:
        class Stage:
            async def execute(self, ctx: StageContext) -> dict[str, Any]:
                return {"text": ctx.snapshot.input_text}

        marked: type = stage_metadata(name=name, kind=StageKind.TRANSFORM)(Stage)
        return marked

    names = [f"s{number}" for number in range(shape.stages)]
    specs: list[Any] = [
        stage(name, one(name), **({"after": names[number - 1]} if number else {})) for number, name in enumerate(names)
    ]
    graph: Any = Pipeline.from_stages(*specs)

    async def run(source: Source) -> int:
        count = 0
        async for element in each_of(source):
            results = await graph.run(input_text=element.text, topology="chain", execution_mode="default")
            assert results.data(names[-1])["text"] == element.text
            count += 1
            if each is not None:
                await each()
        return count

    return run


PEERS = [
    Peer(
        "stageflow-core",
        _prepare,
        backends=("asyncio",),
        packages=("stageflow-core",),
        environment=PEERS_ENVIRONMENT,
        share=0.005,
    )
]

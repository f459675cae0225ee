"""Pipecat: a `Pipeline` of frame processors in a worker; lean, in direct mode, and as it is by default.

*lean* is its best case with queues: turn tracking, RTVI, the idle timeout and the search for dangling tasks are off. *direct* is
lean without queues and tasks. A worker runs once, so every run builds its own. Its queues are unbounded: nothing holds the source
back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .._environment import PEERS_ENVIRONMENT
from . import Each, Peer, Program, Shape, Source, each_of

__all__ = ["PEERS"]

_LEAN: dict[str, Any] = {
    "enable_rtvi": False,
    "enable_turn_tracking": False,
    "idle_timeout_secs": None,
    "cancel_on_idle_timeout": False,
    "check_dangling_tasks": False,
}


def _preparer(options: dict[str, Any], *, direct: bool) -> Callable[[Shape, Each | None], Program]:
    def prepare(shape: Shape, each: Each | None) -> Program:
        from loguru import logger
        from pipecat.frames.frames import EndFrame, TextFrame
        from pipecat.pipeline.pipeline import Pipeline
        from pipecat.pipeline.worker import PipelineWorker
        from pipecat.processors.frame_processor import FrameProcessor
        from pipecat.workers.runner import WorkerRunner

        logger.remove()

        class Stage(FrameProcessor):  # type: ignore[misc, unused-ignore]
            async def process_frame(self, frame: Any, direction: Any) -> None:
                await super().process_frame(frame, direction)
                if shape.work is not None and isinstance(frame, TextFrame):
                    await shape.work()
                await self.push_frame(frame, direction)

        class Consumer(FrameProcessor):  # type: ignore[misc, unused-ignore]
            count = 0

            async def process_frame(self, frame: Any, direction: Any) -> None:
                await super().process_frame(frame, direction)
                if isinstance(frame, TextFrame):
                    self.count += 1
                    if each is not None:
                        await each()
                else:
                    await self.push_frame(frame, direction)

        async def run(source: Source) -> int:
            consumer = Consumer(enable_direct_mode=direct)
            stages = [Stage(enable_direct_mode=direct) for _ in range(shape.stages)]
            worker = PipelineWorker(Pipeline([*stages, consumer]), **options)
            started = asyncio.Event()

            @worker.event_handler("on_pipeline_started")
            async def _on_started(_worker: object, _frame: object) -> None:
                started.set()

            async def feed() -> None:
                await started.wait()
                async for element in each_of(source):
                    await worker.queue_frame(TextFrame(element.text))
                await worker.queue_frame(EndFrame())

            runner = WorkerRunner(handle_sigint=False)
            feeding = asyncio.create_task(feed())
            await runner.add_workers(worker)
            await runner.run()
            await feeding
            return consumer.count

        return run

    return prepare


def _peer(name: str, options: dict[str, Any], share: float, *, direct: bool = False) -> Peer:
    return Peer(
        name,
        _preparer(options, direct=direct),
        backends=("asyncio",),
        packages=("pipecat-ai",),
        environment=PEERS_ENVIRONMENT,
        share=share,
        works=True,
    )


PEERS = [
    _peer("Pipecat lean", _LEAN, 0.05),
    _peer("Pipecat direct", _LEAN, 0.05, direct=True),
    _peer("Pipecat stock", {}, 0.03),
]

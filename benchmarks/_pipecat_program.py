"""Pipecat's part of `bench_interrupt`: a program for the Python that has pipecat-ai. Imports nothing of ours; prints JSON.

Processors push each frame on and then take long over it, while more frames wait. Measured: from the `InterruptionFrame` until the
work of the last processor has been cancelled.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

__all__ = ["run"]


async def run(stages: int, rounds: int, queued: int) -> list[float]:
    """Interrupt `rounds` times; return the milliseconds that each took."""
    from loguru import logger  # type: ignore[import-not-found, unused-ignore]
    from pipecat.frames.frames import (  # type: ignore[import-not-found, unused-ignore]
        InterruptionFrame,
        StartFrame,
        TextFrame,
    )
    from pipecat.pipeline.pipeline import Pipeline as Pipecat  # type: ignore[import-not-found, unused-ignore]
    from pipecat.pipeline.worker import PipelineWorker  # type: ignore[import-not-found, unused-ignore]
    from pipecat.processors.frame_processor import FrameProcessor  # type: ignore[import-not-found, unused-ignore]
    from pipecat.workers.runner import WorkerRunner  # type: ignore[import-not-found, unused-ignore]

    logger.remove()
    busy: set[int] = set()
    changed = asyncio.Event()

    class Busy(FrameProcessor):  # type: ignore[misc, unused-ignore]
        def __init__(self, number: int) -> None:
            super().__init__()
            self._place = number

        async def process_frame(self, frame: object, direction: object) -> None:
            await super().process_frame(frame, direction)
            await self.push_frame(frame, direction)
            if isinstance(frame, TextFrame):
                busy.add(self._place)
                changed.set()
                try:
                    await asyncio.sleep(60)
                finally:
                    busy.discard(self._place)
                    changed.set()

    async def until(count: int) -> None:
        while len(busy) != count:
            changed.clear()
            await changed.wait()

    worker = PipelineWorker(
        Pipecat([Busy(number) for number in range(stages)]),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
        cancel_on_idle_timeout=False,
    )
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def _on_started(_worker: object, _frame: StartFrame) -> None:
        started.set()

    taken: list[float] = []

    async def drive() -> None:
        await started.wait()
        for _ in range(rounds):
            for number in range(1 + queued):
                await worker.queue_frame(TextFrame(str(number)))
            await until(stages)
            begun = time.perf_counter()
            await worker.queue_frame(InterruptionFrame())
            await until(0)
            taken.append((time.perf_counter() - begun) * 1000)
            await asyncio.sleep(0.005)
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    driver = asyncio.create_task(drive())
    await runner.add_workers(worker)
    await runner.run()
    await driver
    return taken


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(*map(int, sys.argv[1:4])))))

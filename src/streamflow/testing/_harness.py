"""Run one stage as its pipeline would, and check that no run was left behind.

Above: tests. Below: `runtime`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio.lowlevel import cancel_shielded_checkpoint

from ..elements import EndOfStream
from ..runtime import PipelineBuilder, PipelineConfig, live_runs

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable

    from ..elements import StreamElement
    from ..stages import StageLike

__all__ = ["assert_all_stages_stopped", "run_stage"]


async def run_stage(
    stage: StageLike,
    elements: Iterable[StreamElement | str] | AsyncIterable[StreamElement | str] = (),
    *,
    capacity: int = 16,
    deps: object = None,
    timeout_s: float | None = 60.0,
) -> list[StreamElement]:
    """Run `stage` alone on `elements` and return what it sends, with what passed it by, without the `EndOfStream`.

    Args:
        stage: In any form that `chain()` takes; one that generates gets no elements.
        elements: Its input; strings become `TextElement`.
        capacity: Of the edge before it and of the edge behind it.
        deps: What it finds as `run.deps`.
        timeout_s: Limit of the run, in seconds of the event loop's clock; under virtual time it costs nothing.

    Raises:
        StageError: If the stage, or the source, failed.
        RunTimeoutError: If it did not end in time.
    """
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity, timeout_s=timeout_s)).chain(stage).build()
    async with pipeline.execute(elements if pipeline.takes_source else None, deps=deps) as run:
        return [element async for element in run if not isinstance(element, EndOfStream)]


async def assert_all_stages_stopped(*, rounds: int = 20) -> None:
    """Check that every run has ended; give those that are just ending `rounds` turns of the event loop.

    The clock is not moved. Cancellation: waits for the end of the check.

    Raises:
        AssertionError: Stages are alive; the message says which, what each waits for and at which edge, and how full the edges
            are; also since when, where `PipelineConfig(metrics=True)` measures that.
    """
    for _ in range(rounds):
        if not live_runs():
            return
        await cancel_shielded_checkpoint()
    left = live_runs()
    if left:
        raise AssertionError("stages have not stopped:\n" + "\n".join(left))

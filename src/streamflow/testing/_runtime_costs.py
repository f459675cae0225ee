"""The rules of what a run costs and bears: long streams, stages that do not end, tasks that others cancel, the program's end.

Above: `_check_runtime`. Below: `_runtime_parts`, `runtime`, `_sweep`, `_conformance`.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import AsyncIterator  # noqa: TC003 - the runtime reads the annotations of stages
from typing import TYPE_CHECKING, Final

import anyio

from ..elements import EndOfStream, StreamElement, TextElement
from ..errors import StageError
from ..runtime import PipelineBuilder, PipelineConfig
from ..stages import MapStage, stage
from ._conformance import rule
from ._harness import assert_all_stages_stopped
from ._runtime_parts import CAPACITIES, LONG_S, copying, texts
from ._sweep import injector
from ._tasks import is_on_trio, name_of, tasks_of_loop

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from ._conformance import Trial
    from ._runtime_graphs import RuntimeCase

__all__: list[str] = []

_STAGES: Final = 10
_LENGTH: Final = 2_000
_MOST_TICKS: Final = 500
_SHUTDOWN_S: Final = 10.0
_MOST_CANCELLATIONS: Final = 25
"""Of a stage that swallows each, within `_SHUTDOWN_S`: so few cost nothing."""


class _Costs:
    """What there is at one moment of a long stream."""

    def __init__(self) -> None:
        self.tasks: int = len(tasks_of_loop())
        """Tasks of the event loop."""
        self.frames: int = 0
        """Calls of which the source is the last one."""
        self.blocks: int = getattr(sys, "getallocatedblocks", int)()
        """Blocks of memory, where the interpreter can tell."""
        frame: FrameType | None = sys._getframe()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - cheap, as `inspect` is not
        while frame is not None:
            self.frames, frame = self.frames + 1, frame.f_back


@rule(
    "SF-16",
    "A long stream through many stages needs no more tasks, calls or memory than a short one.",
    holds="5.5",
    subject="runtime",
)
async def _long_stream(trial: Trial[RuntimeCase]) -> None:
    count = _LENGTH * trial.effort**2
    for kind, fuse in (("fused functions", True), ("functions", False), ("bodies that loop", True)):
        trial.given(f"{count} elements through {_STAGES} {kind}")
        costs: list[_Costs] = []

        async def source(costs: list[_Costs] = costs) -> AsyncIterator[StreamElement]:
            for number in range(count):
                if number in {count // 4, count - 1}:
                    costs.append(_Costs())
                yield TextElement(str(number))

        names = [f"stage {place}" for place in range(_STAGES)]
        stages = [copying(one) if kind == "bodies that loop" else MapStage(_itself, name=one) for one in names]
        pipeline = PipelineBuilder(PipelineConfig(fuse=fuse)).chain(*stages).build()
        came = 0
        async with pipeline.execute(source()) as run:
            async for _ in run:
                came += 1
        early, late = costs
        trial.require(came == count + 1, f"{came} elements came")
        trial.require(late.tasks <= early.tasks, f"{early.tasks} tasks early and {late.tasks} at the end")
        trial.require(late.frames <= early.frames + 5, f"{early.frames} calls deep early and {late.frames} at the end")
        grown = late.blocks - early.blocks
        trial.require(grown < count // 4, f"{grown} more blocks of memory at the end, {3 * count // 4} elements later")
        await assert_all_stages_stopped()


def _itself(element: TextElement) -> TextElement:
    return element


@rule(
    "SF-22",
    "A stage whose task somebody else cancels, at any moment, does not end its run as a success that lacks something.",
    holds="5.6",
    subject="runtime",
    heavy=True,
)
async def _one_task_cancelled(trial: Trial[RuntimeCase]) -> None:
    if is_on_trio():
        trial.skip("only on asyncio can a task be cancelled by anybody")
    for capacity in CAPACITIES[:2]:
        pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(*map(copying, "abc")).build()
        for name in "abc":
            for tick in range(1, _MOST_TICKS):
                trial.given(f"3 elements, the task of {name!r} is cancelled at tick {tick}; capacity {capacity}")
                got: list[StreamElement] = []
                error: Exception | None = None

                async def consume(got: list[StreamElement] = got) -> None:
                    async with pipeline.execute(texts(3)) as run:  # noqa: B023 - called in this round
                        async for element in run:
                            got.append(element)  # noqa: PERF401 - kept when the run fails

                blow = injector(tick, lambda: _cancel(name))  # noqa: B023 - the same
                try:
                    await blow.drive(consume)
                except StageError as caught:
                    error = caught
                data = [one for one in got if isinstance(one, TextElement)]
                trial.require(error is not None or data == texts(3), f"it was a success, and only {data} came")
                trial.require(data == texts(3)[: len(data)], f"{data} came")
                if isinstance(error, StageError):
                    trial.require(error.stage == name, f"{error.stage!r} was named")
                await assert_all_stages_stopped()
                if not blow.fired:
                    break


def _cancel(name: str) -> None:
    for task in tasks_of_loop():
        if name_of(task) == name:
            getattr(task, "cancel")()  # noqa: B009 - only a task of asyncio has it


@rule(
    "SF-27",
    "A stage that swallows each cancellation holds nobody longer than it may, burns nothing, and is named.",
    holds="7.7",
    subject="runtime",
)
async def _swallows_for_ever(trial: Trial[RuntimeCase]) -> None:
    trial.given(f"a stage that swallows each cancellation; {_SHUTDOWN_S:g} s to end")
    swallowed, lets_pass = 0, False

    @stage(name="stubborn")
    async def stubborn(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        nonlocal swallowed
        async for element in stream:
            yield element
            while True:
                try:
                    await anyio.sleep(LONG_S)
                except anyio.get_cancelled_exc_class():
                    swallowed += 1
                    if lets_pass:
                        raise

    pipeline = PipelineBuilder(PipelineConfig(shutdown_timeout_s=_SHUTDOWN_S)).chain(stubborn).build()
    with _without_log("streamflow.runtime"):
        began_s = anyio.current_time()
        async with pipeline.execute(texts(1)) as run:
            await anext(run)
        took_s, cancellations = anyio.current_time() - began_s, swallowed
        lets_pass = True
        await anyio.sleep(2)
    trial.require(abs(took_s - _SHUTDOWN_S) < 1e-6, f"its caller was released after {took_s:g} s")
    trial.require(run.zombies == ("stubborn",), f"{run.zombies} were named")
    trial.require(1 <= cancellations <= _MOST_CANCELLATIONS, f"it was cancelled {cancellations} times meanwhile")
    await assert_all_stages_stopped()


@contextlib.contextmanager
def _without_log(name: str) -> Generator[None]:
    log = logging.getLogger(name)
    was_disabled, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = was_disabled


@rule(
    "SF-41",
    "What ends the program leaves a run as it is, behind the clean-up: `KeyboardInterrupt` and `SystemExit`.",
    holds="6.3",
    subject="runtime",
)
async def _program_ends(trial: Trial[RuntimeCase]) -> None:
    for kind in (KeyboardInterrupt, SystemExit):
        for fuse in (True, False):
            trial.given(f"a function that raises {kind.__name__}, {'fused' if fuse else 'unfused'}")
            is_clean = False
            ending = kind()

            async def source() -> AsyncIterator[StreamElement]:
                nonlocal is_clean
                try:
                    yield TextElement("0")
                    await anyio.sleep(LONG_S)
                finally:
                    is_clean = True

            def end(_element: TextElement, ending: BaseException = ending) -> TextElement:
                raise ending

            stages = [MapStage(_itself, name="before"), MapStage(end, name="end"), MapStage(_itself, name="behind")]
            pipeline = PipelineBuilder(PipelineConfig(fuse=fuse)).chain(*stages).build()
            left: BaseException | None = None
            ends: list[EndOfStream] = []
            try:
                async with pipeline.execute(source()) as run:
                    async for element in run:
                        ends += [element] if isinstance(element, EndOfStream) else []
            except (Exception, KeyboardInterrupt, SystemExit) as caught:  # noqa: BLE001 - what came out is what is looked at
                left = caught
            trial.require(left is ending, f"{left!r} came out")
            trial.require(is_clean, "the source was not closed")
            trial.require([one.reason for one in ends] in ([], ["error"]), f"the run ended with {ends}")
            await assert_all_stages_stopped()

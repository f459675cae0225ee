"""One run: opens the edges, starts the stages, decides how it ends.

Above: `_run`, what the caller holds. Below: `_jobs` (tasks), `_watchdog` (limits), `channels`, `stages`, `graph`.

How a run ends, in the words of the code:

1. A stage that *returns* has completed: what is left for it to pass by is passed on, its output is closed, its input is
   closed with `no_more_needed`. So has one that leaves with `OutputClosedError` of its own output.
2. A stage that *raises* has failed. The first failure is recorded before anything is closed, so that no consequence of it
   can be taken for the cause. Everything before the stage is cancelled; its output is closed with one fatal `ErrorElement`
   behind what was sent; everything behind it drains that and ends by itself.
3. When the last stage has ended, whatever still runs has nobody to work for. The source is cancelled; stages that wait for room
   learn that their reader has gone; those that wait for anything else are cancelled too, once the consumer waits for them.
4. The consumer meets the end of the outlet, waits for the tasks that are left, and only then learns the reason.

The tasks hold this object and never the caller's, so that losing the caller's object ends the run.
"""

from __future__ import annotations

import contextvars
import itertools
import logging
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from ..elements import EndReason, ErrorElement, StreamElement
from ..errors import (
    OutputClosedError,
    ProviderError,
    RunStateError,
    RunTimeoutError,
    StageError,
)
from ..observe import Event
from ..stages import CURRENT_RUN, RunContext, StageKind, close_source, feed
from ._backend import current_backend
from ._jobs import Job, JobGroup, is_made_of
from ._tracebacks import trimmed
from ._watchdog import RunClock, watch_limits
from ._wiring import StageRun, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping

    from ..channels import ReceiveEnd, SendEnd
    from ..graph import Node
    from ..observe import EventBus
    from ._config import PipelineConfig
    from ._watchdog import Limit

__all__ = ["Engine", "live_runs"]

_log = logging.getLogger("streamflow.runtime")

_LIVE: weakref.WeakSet[Engine] = weakref.WeakSet()

_numbers = itertools.count(1)


class Engine:
    """Everything of one run that its tasks need.

    Args:
        nodes: The stages, from head to tail.
        config: Sizes and limits.
        source: What feeds the first edge; None for a live run, which is fed by `inlet`.
        deps: What stages find as `run.deps`.
        bus: Who hears of events.
    """

    def __init__(
        self,
        nodes: tuple[Node, ...],
        config: PipelineConfig,
        source: Iterable[StreamElement | str] | AsyncIterable[StreamElement | str] | None,
        deps: object,
        bus: EventBus,
    ) -> None:
        self.run_id: str = f"run-{next(_numbers)}"
        self.config: PipelineConfig = config
        self.started: bool = False
        self.cancelled: bool = False  # by the caller
        self.failure: BaseException | None = None
        self.notice: ErrorElement | None = None
        self.reason: EndReason = "done"
        self.zombies: tuple[str, ...] = ()
        self.inlet: SendEnd[StreamElement]
        self.outlet: ReceiveEnd[StreamElement]
        self.jobs: JobGroup
        self._nodes = nodes
        self._source = source
        self._deps = deps
        self._bus = bus
        self._context = contextvars.copy_context()
        self._stages: list[StageRun] = []
        self._feeder: Job | None = None
        self._watchdog: Job | None = None
        self._suppressed: list[StageError] = []

    # Starting

    def start(self) -> None:
        """Open the edges and start the tasks, on the event loop that is running."""
        self.jobs = JobGroup(current_backend())
        self.started = True
        _LIVE.add(self)
        clock = RunClock(anyio.current_time)
        self._stages = [StageRun(node, index) for index, node in enumerate(self._nodes)]
        wiring = wire(self._stages, self.config, clock, self._context)
        self.inlet, self.outlet = wiring.inlet, wiring.outlet
        deadline = None if self.config.timeout_s is None else clock.started + self.config.timeout_s
        source, self._source = self._source, None
        if self._nodes[0].stage.kind is StageKind.GENERATE:
            self.inlet.close()
        elif source is not None:
            self._feeder = self._job("source", partial(feed, source, self.inlet), self._feeder_ended)
            self._feeder.instead = partial(close_source, source)
        for stage in self._stages:
            work = partial(self._work, stage, deadline)
            stage.job = self._job(stage.name, work, partial(self._stage_ended, stage))
        if wiring.limits:
            work = partial(self._watch, wiring.limits, clock)
            self._watchdog = self._job("watchdog", work, self._watchdog_ended)
        first = [one for one in (self._feeder, self._watchdog) if one is not None]
        self.jobs.start(*first, *(stage.job for stage in self._stages))

    def _job(
        self, name: str, work: Callable[[], Awaitable[object]], ended: Callable[[Job, BaseException | None], None]
    ) -> Job:
        # A copy for each task: it sees what the caller of execute() had set, and what it sets itself nobody else sees.
        return Job(name, work, ended, self._context.copy())

    # The work of the tasks

    async def _work(self, stage: StageRun, deadline: float | None) -> None:
        run: RunContext[Any] = RunContext(
            run_id=self.run_id,
            stage=stage.name,
            deps=self._deps,
            deadline_s=deadline,
            emit=self._emit,
            start_soon=partial(self._start_helper, stage),
        )
        CURRENT_RUN.set(run)
        await stage.node.stage.start(run)(stage.input, stage.writes, run)
        while stage.helpers:
            stage.helpers_ended = anyio.Event()
            await stage.helpers_ended.wait()
        if stage.input.end_was_told:
            await stage.input.pass_rest()
        else:
            await stage.input.pass_aside()

    def _start_helper(self, stage: StageRun, work: Callable[[], Awaitable[object]], name: str) -> None:
        if stage.job not in self.jobs.alive or stage.job.cancel_requested:
            message = f"stage {stage.name!r} has ended and cannot start the helper {name!r}"
            raise RunStateError(message)
        # The helper sees what the stage has set so far.
        context = contextvars.copy_context()
        helper = Job(f"{stage.name}/{name}", work, partial(self._helper_ended, stage), context)
        stage.helpers[helper] = None
        self.jobs.start(helper)

    def _emit(self, stage: str, name: str, data: Mapping[str, object]) -> None:
        self._bus.publish(Event(name=name, run_id=self.run_id, stage=stage, data=data))

    # The ends of the tasks. Each of these is one step: nothing else runs in between.

    def _stage_ended(self, stage: StageRun, job: Job, error: BaseException | None) -> None:
        self.jobs.remove(job)
        for helper in stage.helpers:
            helper.cancel()
        if stage.clock is not None:
            stage.clock.busy_since = None
        if error is not None and not stage.is_expected(job, error, anyio.get_cancelled_exc_class()):
            self._fail(_stage_error(stage.name, stage.node.where, stage.in_hand(), error), stage)
        stage.output.close()
        stage.input.close("failure" if self.notice is not None else "no_more_needed")
        if stage is self._stages[-1] and self._feeder is not None:
            self._feeder.cancel()
        self._settle()

    def _helper_ended(self, stage: StageRun, job: Job, error: BaseException | None) -> None:
        self.jobs.remove(job)
        stage.helpers.pop(job)
        if error is not None and not stage.is_expected(job, error, anyio.get_cancelled_exc_class()):
            self._fail(_stage_error(stage.name, stage.node.where, None, error), stage)
        if not stage.helpers and stage.helpers_ended is not None:
            stage.helpers_ended.set()
        self._settle()

    def _feeder_ended(self, job: Job, error: BaseException | None) -> None:
        self.jobs.remove(job)
        expected = (anyio.get_cancelled_exc_class(), OutputClosedError) if job.cancel_requested else OutputClosedError
        if error is not None and not is_made_of(error, expected):
            self._fail(_stage_error("source", None, None, error), None)
        self.inlet.close()
        self._settle()

    def _watchdog_ended(self, job: Job, error: BaseException | None) -> None:
        self.jobs.remove(job)
        if error is not None and not job.cancel_requested:
            self._fail(_stage_error("watchdog", None, None, error), self._stages[-1])
        self._settle()

    def _settle(self) -> None:
        alive = self.jobs.alive
        if len(alive) == 1 and self._watchdog in alive:
            self._watchdog.cancel()
        if not alive:
            _LIVE.discard(self)
            self._stages = []
            self._feeder = self._watchdog = None

    # Ending early

    def _fail(self, error: BaseException, stage: StageRun | None, reason: EndReason = "error") -> None:
        """Record a failure of `stage`, or of the source, and stop it and everything before it."""
        notice = None
        if self.notice is None:
            self.failure, self.reason = error, reason
            self.notice = notice = _notice(error, stage.name if stage is not None else "source")
        elif isinstance(error, StageError):
            self._suppressed.append(error)
        output = self.inlet if stage is None else stage.output
        if notice is not None:
            output.close_with(notice)
        if self._feeder is not None:
            self._feeder.cancel()
        for one in self._stages[: 0 if stage is None else stage.index + 1]:
            one.cancel()
            one.input.close("failure")
        output.close()

    def cancel(self) -> None:
        """End the run because the caller wants no more: everything is cancelled, nothing more comes out. Idempotent."""
        if not self.cancelled and self.started:
            self.cancelled = True
            if self.notice is None:
                self.reason = "cancelled"
            self.jobs.cancel()
            self.outlet.close()

    async def finish(self, *, shield: bool) -> None:
        """Let tasks end that are just ending, cancel the others, and wait for them, `shutdown_timeout_s` at most.

        What is left then is named in `zombies`.

        Cancellation: leaves the tasks cancelled and unwaited for, unless shielded.
        """
        if not self.jobs.alive or self.zombies:  # zombies were waited for once
            return
        await self.jobs.unwind(shield=shield)
        self.jobs.cancel()
        if not await self.jobs.wait(self.config.shutdown_timeout_s, shield=shield):
            self.zombies = tuple(job.name for job in self.jobs.alive)
            _log.warning(
                "%s: %s did not end within %g s of being cancelled; a stage must let cancellation pass",
                self.run_id,
                ", ".join(self.zombies),
                self.config.shutdown_timeout_s,
            )

    def take_failure(self) -> BaseException | None:
        """Return what the caller must be told, once."""
        error, self.failure = self.failure, None
        if isinstance(error, (StageError, RunTimeoutError)):
            error.suppressed = tuple(self._suppressed)
            self._suppressed = []
        return error

    def describe(self) -> str:
        """Return who is alive and how full the edges are, a line each."""
        lines = [f"{self.run_id}: alive are {', '.join(job.name for job in self.jobs.alive)}"]
        edges = [self.inlet, *(stage.output for stage in self._stages)]
        lines += [f"  edge {edge.statistics()}" for edge in edges]
        return "\n".join(lines)

    async def _watch(self, limits: list[Limit], clock: RunClock) -> None:
        passed = await watch_limits(limits, clock.now)
        if passed.kind == "backpressure":
            # Edges fill up from the stage that is stuck back to the source: follow the full ones to it.
            edges = [one for one in limits if one.kind == "backpressure"]
            passed = list(itertools.takewhile(lambda one: one.since() is not None, edges[edges.index(passed) :]))[-1]
        self._fail(RunTimeoutError(passed.kind, passed.seconds, passed.where), self._stages[passed.position], "timeout")


def live_runs() -> list[str]:
    """Return a report on each run that has tasks which have not ended: who is alive, and how full its edges are."""
    return sorted(engine.describe() for engine in _LIVE)


def _stage_error(stage: str, where: str | None, index: int | None, cause: BaseException) -> BaseException:
    if isinstance(cause, (KeyboardInterrupt, SystemExit)):
        return cause  # they reach the caller as they are
    error = StageError(stage, index, where)
    error.__cause__ = cause.with_traceback(trimmed(cause.__traceback__))
    return error


def _notice(error: BaseException, stage: str) -> ErrorElement:
    """Return what the output says of a failure. It may reach a client, so it repeats no text that a stage's exception carries."""
    if isinstance(error, RunTimeoutError):
        return ErrorElement(code="timeout", message=str(error), stage=stage, fatal=True)
    cause = error.__cause__ or error
    if isinstance(cause, ProviderError):
        return ErrorElement(cause.code, cause.message, stage, retryable=cause.retryable, fatal=True)
    return ErrorElement("stage_failed", f"stage {stage!r} failed: {type(cause).__name__}", stage, fatal=True)

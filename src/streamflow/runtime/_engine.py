"""One run: opens the edges, starts the stages, decides how it ends.

Above: `_run`, what the caller holds. Below: `_drain` (its other part), `_jobs` (tasks), `_watchdog`, `channels`, `stages`, `graph`.

How a run ends, in the words of the code:

1. A stage that *returns* has completed: what is left for it to pass by is passed on, its outputs are closed, its inputs are
   closed with `no_more_needed`. So has one that leaves with `OutputClosedError` of an output of its own.
2. A stage that *raises* has failed. The first failure is recorded before anything is closed, so that no consequence of it
   can be taken for the cause. Everything before the stage and beside it is cancelled; its outputs are closed with one fatal
   `ErrorElement` behind what was sent; everything behind it drains that and ends by itself.
3. The *last* stages are those that feed the consumer, and the sinks. When all have ended that a source leads to, it has nobody to
   work for and is cancelled; stages that wait for room learn that their reader has gone; those that wait for anything else are
   cancelled too, once the consumer waits for them.
4. The consumer meets the end of the outlet, waits for the last stages and then for the tasks that are left, and only then learns
   the reason.

The tasks hold this object and never the caller's, so that losing the caller's object ends the run.
"""

from __future__ import annotations

import contextvars
import logging
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anyio

from ..channels import Pulse, level_of, written_edges
from ..errors import (
    ChannelClosedError,
    OutputClosedError,
    PipelineDeadlockError,
    RunAbortedError,
    RunTimeoutError,
    StageError,
)
from ..stages import is_async
from ._backend import current_backend
from ._deadlock import DeadlockWatch, let_grow, wait_graph
from ._drain import begin_drain
from ._dump import forget, remember
from ._edge_watches import edge_watches, watchdogs_of
from ._failures import notice_of, stage_error
from ._feeding import feeder_of
from ._folded import Folded, join_chains, make_stages, may_fold, wire_folded
from ._interruption import end_stage
from ._jobs import Job, JobGroup, is_made_of
from ._quiescence import LoopWatch, watch_loops
from ._stage_run import StageRun
from ._view import RunView
from ._watchdog import RunClock
from ._wiring import wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence

    from ..channels import ReceiveEnd, SendEnd
    from ..elements import EndReason, ErrorElement, StreamElement
    from ._config import PipelineConfig
    from ._edge_watches import EdgeWatches
    from ._lifetime import Lifetime
    from ._plan import Plan
    from ._reporting import Reporter
    from ._supervision import Supervisor
    from ._tracing import RunTracer

__all__ = ["Engine"]

_log = logging.getLogger("streamflow.runtime")
_NOTHING: Mapping[str, Iterable[StreamElement | str]] = {}


class Engine(RunView):
    """Everything of one run that its tasks need.

    Args:
        plan: The stages and edges.
        config: Sizes and limits.
        sources: What feeds each head, by its name; nothing for a live run, which is fed by `inlets`.
        deps: What stages find as `run.deps`.
        reporter: Who tells the listeners.
        lifetime: What it has in common with the other runs of its pipeline.
    """

    # What changes late, or never, is told by the class: many runs may be alive at once.
    started: bool = False
    cancelled: bool = False  # by the caller
    draining: bool = False
    failure: BaseException | None = None
    notice: ErrorElement | None = None
    reason: EndReason = "done"
    zombies: tuple[str, ...] = ()
    tolerated: tuple[StageError, ...] = ()
    _suppressed: tuple[StageError, ...] = ()
    _loops: Sequence[LoopWatch] = ()
    _last_stages: frozenset[int]
    _no_more_waiting: anyio.Event | None = None
    _supervisors: Mapping[str, Supervisor] = MappingProxyType({})

    def __init__(  # noqa: PLR0917 - by position: once for each run
        self,
        plan: Plan,
        config: PipelineConfig,
        sources: Mapping[str, Iterable[StreamElement | str] | AsyncIterable[StreamElement | str]],
        deps: object,
        reporter: Reporter,
        lifetime: Lifetime,
    ) -> None:
        super().__init__(reporter.run_id, plan)
        self.config = config
        self.reporter: Reporter = reporter
        if reporter.tracer is not None:
            self.tracer: RunTracer | None = reporter.tracer
        self._sources = sources
        self._deps = deps
        self._lifetime = lifetime
        self._context = contextvars.copy_context()

    # Starting

    def start(self) -> None:
        """Open the edges and start the tasks, on the event loop that is running.

        Raises:
            PipelineBusyError: If there are as many runs as there may be.
            RunStateError: If the pipeline has been shut down.
        """
        self.jobs: JobGroup = JobGroup(current_backend())
        self._lifetime.enter(self)
        self.started = True
        self._here = remember(self)
        self._clock = clock = RunClock(self.jobs.backend.clock())
        self.began_s: float = clock.started
        watches = edge_watches(self, clock)
        self.pulse: Pulse = Pulse(0, self._here)
        is_live = not self._sources
        if watches is None and may_fold(self, self._sources):
            wiring = wire_folded(self.plan, self._here, self.pulse, is_live=is_live)
            self._folded = Folded(self, wiring)
        else:
            # Inside a chain elements go past the edges.
            is_late = is_live or bool(self.plan.chains) or any(map(is_async, self._sources.values()))
            self._stages = stages = make_stages(self, self._context)
            wiring = wire(self.plan, stages, watches, self._here, self.pulse, is_live=is_live, is_late=is_late)
            self._edges = wiring.edges
        self.inlets: Mapping[str, SendEnd[StreamElement]] = wiring.inlets
        self.outlet: ReceiveEnd[StreamElement] = wiring.outlet
        if wiring.hubs:
            self._hubs = wiring.hubs
        if self.plan.loops:
            self._loops = watch_loops(self, wiring.sends)
        if not self.plan.is_chain:
            self._find_joints()
        if self.plan.supervises:
            from ._supervision import supervisors  # noqa: PLC0415 - most stages are not supervised

            self._supervisors = supervisors(self._stages, self.plan.stages, clock, self.reporter)
            self._tallies = {name: one.tally for name, one in self._supervisors.items()}
        self._last_stages = self.plan.last_stages
        if self.config.metrics:
            self.measure_sources(self._sources)
        for head, source in self._sources.items():
            self._feeders[head] = self._feeder(head, source)
        self._sources = _NOTHING
        tasks = join_chains(self, self._context)
        if self.plan.has_watchdogs or self.config.metrics or self.reporter.recorder is not None:
            self._begin_watching(watches)
        self.reporter.run_started(self._stages, self.jobs.backend, clock.started)
        jobs = [one for one in self._feeders.values() if one.weight]  # those that have tasks
        self.pulse.runnable = len(jobs) + tasks
        jobs += self._watchdogs
        jobs += [stage.job for stage in self._stages] if self.plan.chains else self._stages
        if self._folded is not None:
            jobs.append(self._folded)
        self.jobs.start(*jobs)
        if self.draining:
            begin_drain(self)

    def _begin_watching(self, watches: EdgeWatches | None) -> None:
        """Make what looks on, once all else has been made and before anything has begun."""
        if self.plan.has_watchdogs:
            self._watchdogs = tuple(watchdogs_of(self, watches, self._clock))
        if self.config.metrics:
            self.measure()
        if self.reporter.recorder is not None:
            self.reporter.recorder.begin(self)

    def _feeder(self, head: str, source: Iterable[StreamElement | str] | AsyncIterable[StreamElement | str]) -> Job:
        inlet = self.inlets[head]
        (edge,) = written_edges(inlet)
        return feeder_of(
            source,
            (inlet, edge),
            self.source_name(head),
            head,
            self._feeder_ended,
            self._context.copy(),
            may_be_pulled=head in self.plan.pulled and self.reporter.recorder is None,
            may_be_driven=head in self.plan.driven,
        )

    # The work of the tasks

    def start_helper(self, stage: StageRun, work: Callable[[], Awaitable[object]], name: str) -> Callable[[], None]:
        """Start a helper task of a stage that has not ended, and return what cancels it."""
        seen = contextvars.copy_context()  # what the stage has set so far
        helper = Job(f"{stage.name}/{name}", work, partial(self._helper_ended, stage), seen)
        stage.helpers = stage.helpers or {}
        stage.helpers[helper] = None
        helper.level = level_of(stage.output)
        if stage.job.meter is not None:
            stage.job.meter.adopt(helper)
        self.pulse.runnable += 1
        self.jobs.start(helper)
        return helper.cancel

    # The ends of the tasks. Each of these is one step: nothing else runs in between.

    def stage_ended(self, stage: StageRun, job: Job, error: BaseException | None) -> None:
        self.jobs.remove(job)
        if stage.helpers:
            for helper in stage.helpers:
                helper.cancel()
        if stage.clock is not None:
            stage.clock.busy_since = None
        if error is not None and not stage.is_expected(job, error, anyio.get_cancelled_exc_class()):
            self._stage_failed(stage, stage.in_hand(), error)
        stage.has_ended = True
        if self.reporter.is_heard or stage.failure is not None:
            was_cancelled = job.cancel_requested and not (stage.has_begun and error is None)
            self.reporter.stage_ended(stage, was_cancelled=was_cancelled)
        stage.close_outputs()
        stage.close_inputs("failure" if self.notice is not None else "no_more_needed")
        if stage.plan.index in self._last_stages:
            self._last_stages -= {stage.plan.index}
        end_stage(stage)
        if stage.supervisor is not None:
            stage.supervisor = None  # which knows it in turn
        if self.plan.supervises:
            for one in self._supervisors.values():
                one.look()
        if self._feeders:
            self._end_unneeded_sources()
        self._settle(job.weight)

    def _end_unneeded_sources(self) -> None:
        for head, feeder in tuple(self._feeders.items()):
            if self._last_stages.isdisjoint(self.plan.served[head]) or not (feeder.weight or self.inlets[head].is_open):
                feeder.cancel()

    def _helper_ended(self, stage: StageRun, job: Job, error: BaseException | None) -> None:
        self.jobs.remove(job)
        stage.helpers.pop(job)
        if stage.unwinding is not None:
            stage.unwinding.end(job)
        is_failure = error is not None and not stage.is_expected(job, error, anyio.get_cancelled_exc_class())
        if error is not None and is_failure and not (stage.supervisor is not None and stage.supervisor.takes(error)):
            self._stage_failed(stage, None, error)
        if not stage.helpers and stage.helpers_ended is not None:
            stage.helpers_ended.set()
        self._settle()

    def _feeder_ended(self, head: str, job: Job, error: BaseException | None) -> None:
        self.jobs.remove(job)
        del self._feeders[head]
        expected: tuple[type[BaseException], ...] = (OutputClosedError,)
        if error is not None and job.cancel_requested:  # then its edge may have been closed under it, too
            expected = (OutputClosedError, ChannelClosedError)
            if job.weight:  # one that is pulled may end where no task is, and is not cancelled as a task is
                expected += (anyio.get_cancelled_exc_class(),)
        if error is not None and not is_made_of(error, expected):
            failure = stage_error(self.source_name(head), None, None, error)
            if head in self.plan.isolated_heads and self._tolerates(failure):
                self.inlets[head].close_with(notice_of(failure, "source", is_fatal=False))
            else:
                self._fail(failure, head)
        self.inlets[head].close()
        if job.weight:
            self._settle()

    def _watchdog_ended(self, job: Job, error: BaseException | None) -> None:
        self.jobs.remove(job)
        if error is not None and not job.cancel_requested:
            self._fail(stage_error(job.name, None, None, error), None)
        self._settle(0)

    def _settle(self, runnable: int = 1) -> None:
        """Do what is to be done when a task has ended, and so many tasks fewer can go on."""
        alive, pulse = self.jobs.alive, self.pulse
        pulse.runnable -= runnable
        if pulse.runnable <= 0 and alive:
            pulse.suspect()
        if self.plan.loops:
            for loop in self._loops:
                loop.look()
        if self.plan.has_watchdogs and not self.working_jobs():
            for watchdog in self._watchdogs:
                watchdog.cancel()
        if not self._last_stages and self._no_more_waiting is not None:
            self._no_more_waiting.set()
        if not alive:
            forget(self._here)
            self._stages = []
            self._supervisors = {}
            self._watchdogs = self._loops = ()
            self._ended_s = self._clock.now()
            self._lifetime.leave(self)
            if self.cancelled or (self.draining and not self.has_output()):
                self.tell_end()

    def tell_end(self) -> None:
        """Tell the listeners that the run is over: its tasks have ended, and its consumer has met the end, or left."""
        if self.reporter.is_over:
            return
        elements = self.outlet.received
        if self._taken:
            elements += sum(self.leaves[name].received for name in self._taken)
        self.reporter.run_ended(self.reason, elements, self.zombies, self._stages)

    def _stage_failed(self, stage: StageRun, index: int | None, error: BaseException) -> None:
        """Let a failure end the run, or only the stage, if it is isolated."""
        self.failed_stages: frozenset[str] = self.failed_stages | {stage.name}
        attempts = 1 if stage.supervisor is None else stage.supervisor.attempts(error)
        failure = stage_error(stage.name, stage.node.where, index, error, attempts)
        if not stage.is_isolated or not self._tolerates(failure):
            self._fail(failure, stage)
            return
        stage.failure = failure
        if not stage.is_sink:
            stage.output.close_with(notice_of(failure, stage.name, is_fatal=False))
        stage.cancel()  # what is left of it: of its tasks, one has failed
        stage.close_inputs("no_more_needed")

    def _tolerates(self, failure: BaseException) -> bool:
        """Record a failure that is not the run's; False once the run itself ends, and for what no run can go on after."""
        if not isinstance(failure, StageError) or self.notice is not None or self.cancelled:
            return False
        self.tolerated += (failure,)
        return True

    def _fail(self, error: BaseException, culprit: StageRun | str | None, reason: EndReason = "error") -> None:
        """Record a failure, and stop everything that is not behind it.

        Args:
            error: What the caller is told.
            culprit: The stage that failed; or the head whose source did; None: the whole run, behind which there is nothing.
            reason: Why the run ends.
        """
        notice = None
        if isinstance(culprit, StageRun):
            culprit.failure = error
        if self.notice is None:
            self.open_account(culprit)
            self.failure, self.reason = error, reason
            self.reporter.failed(error)
            stage = culprit.name if isinstance(culprit, StageRun) else None if culprit is None else "source"
            self.notice = notice = notice_of(error, stage)
        elif isinstance(error, StageError):
            self._suppressed += (error,)
        output: SendEnd[Any] | None = None
        behind: frozenset[int] = frozenset()
        if isinstance(culprit, StageRun):
            output, behind = culprit.output, culprit.downstream
        elif culprit is not None:
            output, behind = self.inlets[culprit], self.plan.fed[culprit]
        if output is not None and notice is not None and not (isinstance(culprit, StageRun) and culprit.is_sink):
            output.close_with(notice)
        self.stop_sources()
        for one in self.stages:
            if one.index not in behind:
                one.cancel()
                one.close_inputs("failure")
        if output is not None:
            output.close()
        if self._no_more_waiting is not None:
            self._no_more_waiting.set()

    def stop_sources(self) -> None:
        """End all input: the sources are cancelled and closed, and nothing can be sent. What is inside goes on. Idempotent."""
        self._cancel_sources()
        for inlet in self.inlets.values():
            inlet.close()
        for supervisor in self._supervisors.values():
            supervisor.hurry()

    def _cancel_sources(self) -> None:
        for feeder in tuple(self._feeders.values()):
            feeder.cancel()

    def cancel(self) -> None:
        """End the run because the caller wants no more: everything is cancelled, nothing more comes out. Idempotent."""
        if not self.cancelled and self.started:
            self.cancelled = True
            if self.notice is None:
                self.reason = "cancelled"
            self.open_account()
            self._cancel_sources()
            self.jobs.cancel()
            for outlet in (self.outlet, *self.leaves.values()):
                outlet.close()
            if self._no_more_waiting is not None:
                self._no_more_waiting.set()
            if not self.jobs.alive:
                self.tell_end()

    async def finish_last_stages(self) -> None:
        """Wait until all sinks have ended, and all stages that feed the consumer; or until the run fails.

        Cancellation: changes nothing.
        """
        if self.has_last_stages:
            self._no_more_waiting = self._no_more_waiting or anyio.Event()
            await self._no_more_waiting.wait()

    @property
    def has_last_stages(self) -> bool:
        """Whether there are sinks, or stages that feed the consumer, that have not ended and will end by themselves."""
        return bool(self._last_stages) and self.notice is None and not self.cancelled

    async def finish(self, *, shield: bool) -> None:
        """End the tasks, and tell the listeners that the run is over. Cancellation: as `end_tasks()`."""
        if self.jobs.alive:
            await self.end_tasks(shield=shield)
        self.tell_end()
        if self.reporter.has_tasks():
            await self.reporter.finish(self.config.shutdown_timeout_s, shield=shield)

    async def end_tasks(self, *, shield: bool) -> None:
        """Let tasks end that are just ending, cancel the others, wait `shutdown_timeout_s` at most; `zombies` names what is left.

        Cancellation: leaves the tasks cancelled and unwaited for, unless shielded.
        """
        if self.jobs.alive and not self.zombies:  # zombies were waited for once
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
                self._ended_s = self._clock.now()
                self._lifetime.leave(self)
                for hub in self._hubs.values():
                    hub.close()

    def take_failure(self) -> BaseException | None:
        """Return what the caller must be told, once."""
        if self.failure is None:
            return None
        error, self.failure = self.failure, None
        if isinstance(error, (StageError, RunTimeoutError, RunAbortedError, PipelineDeadlockError)):
            error.suppressed, self._suppressed = self._suppressed, ()
        return error

    def suspect(self) -> None:
        """Hear that perhaps nothing can go on."""
        self._deadlocks = self._deadlocks or DeadlockWatch(self._here)
        self._deadlocks.suspect()

    def end_loops(self) -> bool:
        """End the loops that have come to rest, and say whether there was one."""
        return sum(loop.end_if_at_rest() for loop in self._loops) > 0

    def found_dead(self) -> None:
        """Hear that all tasks of the run wait for each other."""
        graph = wait_graph(self)
        grown = let_grow(graph, self.edges, self.config)
        if grown is None:
            self._fail(PipelineDeadlockError(graph), None)
        else:
            self.reporter.edge_grown(*grown)

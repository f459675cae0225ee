"""What a run tells its listeners about itself: its own beginning and end, and those of its stages.

Above: `_engine` tells, `_run` opens a queue for `run.events()`. Below: `observe`, `_event_queue`, `_jobs`, `_record_points`.

Rules: a run begins before its stages and ends after them; each stage begins once and ends once, one way. No event is made when
nobody listens. Functions are called inline. Async functions read a bounded queue each, in a task of their own, which ends when it
has been given the last event; the run waits for them at its end, `shutdown_timeout_s` at most.
"""

from __future__ import annotations

import contextvars
import itertools
import logging
from functools import partial
from typing import TYPE_CHECKING, Literal

from .. import observe
from ._event_queue import EventQueue, deliver
from ._jobs import Job, JobGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..elements import EndReason
    from ..errors import WaitGraph
    from ..observe import AsyncListener, Event, Listener
    from ._backend import Backend
    from ._interruption import Interruption
    from ._lag import LoopLag
    from ._record_points import PointWatcher
    from ._stage_run import StageRun
    from ._tracing import RunTracer

__all__ = ["Reporter"]

_log = logging.getLogger("streamflow.observe")

_numbers = itertools.count(1)


class Reporter:
    """Tells the listeners of one run what happens in it.

    Args:
        listeners: Functions, which are called inline, and async functions, in the order in which they hear.
        buffer: Bound of each queue, in events.
    """

    is_over: bool = False
    """Whether the end of the run has been told."""
    # What changes late, or never, is told by the class: many runs may be alive at once.
    _listens: bool = False
    _bus: observe.EventBus | None = None  # made when somebody listens
    _backend: Backend | None = None
    _error: BaseException | None = None
    _started_s: float = 0.0
    _async_listeners: Sequence[AsyncListener] = ()
    _queues: tuple[EventQueue, ...] = ()

    def __init__(self, listeners: Sequence[Listener | AsyncListener], buffer: int) -> None:
        self.run_id: str = f"run-{next(_numbers)}"
        """Identity of the run."""
        self.tracer: RunTracer | None = None
        """Follows the run, which is traced; None: it is not."""
        self.recorder: PointWatcher | None = None
        """Records the run; None: it is not recorded."""
        self._tasks: JobGroup | None = None
        self.is_heard: bool = bool(listeners)
        """Whether anybody listens."""
        self._buffer = buffer
        if listeners:
            self._async_listeners = [one for one in listeners if observe.is_async_listener(one)]
            self._bus = observe.EventBus([one for one in listeners if not observe.is_async_listener(one)])
            self._listens = True

    def has_tasks(self) -> bool:
        """Say whether async listeners are at work, or the recording is."""
        return (self._tasks is not None and bool(self._tasks.alive)) or (
            self.recorder is not None and self.recorder.is_at_work
        )

    @property
    def has_listeners(self) -> bool:
        """Whether anybody listens but the tracer."""
        return self._listens

    def trace(self, tracer: RunTracer | None) -> None:
        """Let the run be followed; None: it is not."""
        self.tracer = tracer
        if tracer is not None:
            self._hearing().add(tracer.hear)

    def open_queue(self) -> EventQueue:
        """Return a queue of all events from now on; it ends with the run."""
        queue = EventQueue(self._buffer)
        self._queues += (queue,)
        self._listens = True
        self._hearing().add(queue.publish)
        return queue

    def _hearing(self) -> observe.EventBus:
        """Return the bus; from now on there is one."""
        self._bus = self._bus or observe.EventBus()
        self.is_heard = True
        return self._bus

    def emit(self, stage: str, name: str, data: Mapping[str, object]) -> None:
        """Tell what a stage itself has to say."""
        backend, bus = self._backend, self._bus
        if backend is not None and bus is not None:
            event = observe.Event(name=name, run_id=self.run_id, stage=stage, at_s=backend.now(), data=data)
            backend.call(partial(bus.publish, event))  # a stage may work in a thread

    def moved(self, edge: str, ordinal: int, element: str, waited_s: float) -> None:
        """Tell that an element has left an edge."""
        if self._bus is not None:
            self._bus.publish(
                observe.ElementMoved(
                    run_id=self.run_id, at_s=self._now(), edge=edge, ordinal=ordinal, element=element, waited_s=waited_s
                )
            )

    def tell(self, event: Callable[..., Event], stage: str, facts: Mapping[str, object]) -> None:
        """Tell of something that was done about a failure of a stage."""
        if self._bus is not None:
            self._bus.publish(event(run_id=self.run_id, stage=stage, at_s=self._now(), **facts))

    def stalled(self, seconds: float, graph: WaitGraph) -> None:
        """Tell that nothing has moved for a while."""
        _log.warning("%s: nothing has moved for %g s\n%s", self.run_id, seconds, graph)
        if self._bus is not None:
            self._bus.publish(observe.RunStalled(run_id=self.run_id, at_s=self._now(), stalled_s=seconds, graph=graph))

    def edge_stalled(
        self, edge: str, state: Literal["full", "empty"], seconds: float, chain: tuple[str, ...], graph: WaitGraph
    ) -> None:
        """Tell that somebody has waited at an edge for a while."""
        at_s = self._now()
        event = observe.EdgeStalled(
            run_id=self.run_id, at_s=at_s, edge=edge, state=state, stalled_s=seconds, chain=chain, graph=graph
        )
        _log.warning("%s: %s", self.run_id, event)
        if self._bus is not None:
            self._bus.publish(event)

    def loop_blocked(self, lag: LoopLag) -> None:
        """Tell that something keeps the event loop for itself, or has done so until now."""
        if self._bus is not None and not self.is_over:
            self._bus.publish(
                observe.LoopBlocked(
                    run_id=self.run_id,
                    stage=lag.stage,
                    at_s=self._now(),
                    blocked_s=lag.blocked_s,
                    place=lag.place,
                    stack=lag.stack,
                )
            )

    def edge_grown(self, edge: str, before: int, capacity: int) -> None:
        """Tell that an edge holds more than before."""
        if self._bus is not None:
            self._bus.publish(
                observe.EdgeGrown(run_id=self.run_id, at_s=self._now(), edge=edge, before=before, capacity=capacity)
            )

    def run_started(self, stages: Sequence[StageRun], backend: Backend, now: float) -> None:
        """Start the tasks of async listeners, and tell that the run and its stages begin."""
        self._backend = backend
        if self._async_listeners:
            self._tasks = JobGroup(backend)
            for listener in self._async_listeners:
                work = partial(deliver, self.open_queue(), listener, self._hearing().complain)
                self._tasks.start(Job("event listener", work, self._task_ended, contextvars.copy_context()))
        self._started_s = now
        if self._bus is not None:
            names = tuple(stage.name for stage in stages)
            self._bus.publish(observe.PipelineStarted(run_id=self.run_id, at_s=now, stages=names))
            for stage in stages:
                kind = stage.node.stage.kind.value
                self._bus.publish(observe.StageStarted(run_id=self.run_id, at_s=now, stage=stage.name, kind=kind))

    def interrupted(self, done: Interruption) -> None:
        """Tell that the run was interrupted, and what that did."""
        if self._bus is not None:
            self._bus.publish(
                observe.RunInterrupted(
                    run_id=self.run_id,
                    at_s=self._now(),
                    epoch=done.epoch,
                    reason=done.reason,
                    dropped=done.dropped,
                    cancelled=done.cancelled,
                )
            )

    def failed(self, error: BaseException) -> None:
        """Remember why the run ends."""
        self._error = error

    def stage_ended(self, stage: StageRun, *, was_cancelled: bool) -> None:
        """Tell how a stage has ended; nothing, if it has not when the run is over, which tells of it."""
        if not self.is_over:
            self._tell_end_of(stage, was_cancelled=was_cancelled)

    def _tell_end_of(self, stage: StageRun, *, was_cancelled: bool) -> None:
        failure, stage.failure = stage.failure, None
        if self._bus is None:
            return
        now = self._now()
        make: Callable[..., Event] = observe.StageCancelled if was_cancelled else observe.StageCompleted
        if failure is not None:
            make = partial(observe.StageFailed, error=failure)
        self._bus.publish(
            make(
                run_id=self.run_id,
                stage=stage.name,
                at_s=now,
                kind=stage.node.stage.kind.value,
                duration_s=now - self._started_s,
                received=sum(one.received for one in stage.inputs),
                sent=stage.output.statistics().sent,
            )
        )

    def run_ended(
        self, reason: EndReason, elements: int, zombies: tuple[str, ...], stages: Sequence[StageRun] = ()
    ) -> None:
        """Tell how the run has ended, and of stages that have not, that they were cancelled; end all queues. Idempotent."""
        if self.is_over:
            return
        self.is_over = True
        for stage in stages:
            if not stage.has_ended:
                self._tell_end_of(stage, was_cancelled=True)
        error, self._error = self._error, None
        if self._bus is not None:
            now = self._now()
            make: Callable[..., Event] = (
                observe.PipelineCancelled if reason == "cancelled" else observe.PipelineCompleted
            )
            if error is not None and reason != "cancelled":
                make = partial(observe.PipelineFailed, error=error)
            self._bus.publish(
                make(
                    run_id=self.run_id,
                    at_s=now,
                    duration_s=now - self._started_s,
                    elements=elements,
                    reason=reason,
                    zombies=zombies,
                )
            )
        for queue in self._queues:
            queue.close()
        if self.recorder is not None:
            self.recorder.end(reason, elements)

    async def finish(self, timeout_s: float, *, shield: bool) -> None:
        """Wait until async listeners have dealt with the last event, and cancel those that have not when time is up.

        Also until the recording has been written.

        Cancellation: leaves them at work, unless shielded.
        """
        if self._tasks is not None and not await self._tasks.wait(timeout_s, shield=shield):
            _log.warning("%s: an event listener did not come to its end within %g s", self.run_id, timeout_s)
            self._tasks.cancel()
            await self._tasks.wait(timeout_s, shield=shield)
        if self.recorder is not None:
            await self.recorder.finish(timeout_s, shield=shield)

    def _now(self) -> float:
        assert self._backend is not None, "it has been started"
        return self._backend.now()

    def _task_ended(self, job: Job, _error: BaseException | None) -> None:
        assert self._tasks is not None
        self._tasks.remove(job)

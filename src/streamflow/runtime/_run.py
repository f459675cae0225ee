"""What the caller of `execute()` holds: one run, to iterate, to feed, to cancel.

Above: users, `_pipeline`. Below: `_engine`, which the run's tasks hold instead, so that losing this object ends the run.

Ownership: whoever is last to hold the run ends it. In a bare `async for element in pipeline.execute(…)` the `Run` is gone as
soon as the iteration has begun, so the iteration owns the run and ends it silently when the loop lets go of it. A `Run` that
was stored owns itself, and says so when it is lost without having been ended.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal

from ..elements import (
    EndOfStream,
    StreamElement,
    TextElement,
)
from ..errors import ChannelClosedError, ConfigError, OutputClosedError, RunStateError
from ..graph import checked_buffer, describe_place
from ._consuming import Iteration, LeafIteration, Outcome, TextIteration, abandon, forbid_elsewhere, iterate
from ._drain import checked_deadline, drain
from ._interruptible_run import InterruptibleRun
from ._result import Result, Timings, result_of
from ._subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import CodeType, TracebackType
    from typing import Self

    from ..channels import SendEnd
    from ..errors import StageError
    from ..observe import ElementTrace, Event, TraceContext
    from ._bottleneck import Bottleneck
    from ._engine import Engine
    from ._kill_switch import KillSwitch
    from ._record_points import RecordingState
    from ._stats import RunStats

__all__ = ["Run"]


class Run(InterruptibleRun):
    """One execution of a pipeline.

    ```python
    async with pipeline.execute("hello") as run:  # leaving the block ends the run, whichever way
        async for element in run:
            ...
    ```

    A bare `async for element in pipeline.execute("hello")` is as safe while the run is not stored: leaving the loop ends it at
    once. Made by `Pipeline.execute()`; nothing starts before the block or the loop is entered.

    The output ends with one `EndOfStream`. After a failure an `ErrorElement` comes before it, and the pull after it raises
    `StageError` or `RunTimeoutError`. The body of the loop is never cancelled by a failure.
    """

    def __init__(
        self, engine: Engine, where: tuple[CodeType, int], *, live: bool, kill_switch: KillSwitch | None = None
    ) -> None:
        self._engine = engine
        self._kill_switch = kill_switch
        self._where = where
        self._live = live
        self._outcome = Outcome(engine)
        self._own: Iteration | None = None

    # Iterating

    def __aiter__(self) -> AsyncIterator[StreamElement]:
        return self._iterate()

    def _iterate(self) -> Iteration:
        if self._outcome.over:
            message = f"{self._engine.run_id} has ended and gives nothing more; call execute() again"
            raise RunStateError(message)
        self._start()
        return iterate(self._outcome)

    async def __anext__(self) -> StreamElement:
        """Return the next element of the output.

        Cancellation: nothing is lost; the run goes on.

        Raises:
            StageError: After the `EndOfStream`, if a stage failed.
            RunTimeoutError: After the `EndOfStream`, if the run, a stage or an edge took too long.
            StopAsyncIteration: After that, for ever.
        """
        if self._own is None:
            self._start()
            self._own = iterate(self._outcome)
        return await self._own.__anext__()

    def text(self) -> AsyncIterator[str]:
        """Iterate the text fragments alone, as strings; in all else as iterating the run."""
        return TextIteration(self._iterate())

    def output(self, name: str) -> AsyncIterator[StreamElement]:
        """Iterate what one leaf gives, alone: a last stage, by name (`stage:port` for a port).

        What it gives is no part of the run's own output from then on, so take it before you iterate the run. Each output has
        copies of the control elements; after a failure upstream a fatal `ErrorElement` is its last one. The failure itself is
        raised by the run: when it is iterated to its end, or when its `async with` is left. An output that nobody reads holds up
        what feeds it; letting go of it ends that branch alone.

        Raises:
            RunStateError: If there is no such output, or it was taken before.
        """
        if self._outcome.over:
            message = f"{self._engine.run_id} has ended and gives nothing more; call execute() again"
            raise RunStateError(message)
        self._start()
        return LeafIteration(self, self._engine.take_leaf(name), self._engine)

    def subscribe(
        self, name: str, *, buffer: int | None = None, overflow: Literal["block", "drop_newest"] = "block"
    ) -> Subscription:
        """Add a branch to an output that was built with `branch(name, …, dynamic=True)`, while the run goes on.

        It gets all data and control that is sent there from now on, and is waited for while it is full, like any branch. When the
        run ends, it ends. Called before the run is iterated, it starts the run and misses nothing.

        Args:
            name: The stage whose output it is (`stage:port` for a port).
            buffer: Capacity of the branch, in elements; None: what the pipeline's configuration says. It is not part of
                `max_in_flight`.
            overflow: What happens while it is full: `block` waits for it; `drop_newest` drops data for it, and counts that.

        Raises:
            RunStateError: If there is no such output, or the run has ended.
            ConfigError: If `buffer` is no size, or there is no such policy.
        """
        if overflow not in ("block", "drop_newest"):
            raise ConfigError("overflow", f"there are 'block' and 'drop_newest', got {overflow!r:.80}")
        if self._outcome.over:
            message = f"{self._engine.run_id} has ended and gives nothing more; call execute() again"
            raise RunStateError(message)
        size = checked_buffer(buffer)
        self._start()
        forbid_elsewhere(self._engine)
        end = self._engine.subscribe(name, size, waits=overflow == "block")
        return Subscription(end, self._engine.jobs.backend)

    async def result(self) -> Result:
        """Iterate what is left and return it.

        Cancellation: what was collected is lost; the run goes on.

        Raises:
            StageError: If a stage failed.
            RunTimeoutError: If the run, a stage or an edge took too long.
        """
        elements: list[StreamElement] = []
        first_s: float | None = None
        async for element in self:
            if first_s is None:
                first_s = self._engine.jobs.backend.now() - self._engine.began_s
            elements.append(element)
        if len(elements) == 1 and isinstance(elements[0], EndOfStream):
            first_s = None
        total_s = self._engine.jobs.backend.now() - self._engine.began_s
        stats = self._engine.stats() if self._engine.meter is not None else None
        reason = self._engine.reason if self._outcome.end_told else "cancelled"
        return result_of(elements, self._engine.run_id, Timings(total_s, first_s), self.failures, stats, reason=reason)

    # Feeding a live run

    async def send(self, element: StreamElement | str, *, to: str | None = None) -> None:
        """Feed one element into a run that was started without a source, waiting while its first edge is full.

        Args:
            element: An element; a string becomes a `TextElement`.
            to: The stage that it is for (`stage:port` for a port), where the source feeds several.

        Cancellation: when it raises, the element was not sent.

        Raises:
            RunStateError: If the run has a source, has not been started, or is draining; or if it does not say for which stage
                it is.
            OutputClosedError: If the run needs no more input, or has ended.
            ChannelClosedError: If `close_input()` was called.
            ElementError: If it is no element.
        """
        self._require_live("send()")
        inlet = self._inlet("send()", to)
        try:
            await inlet.send(TextElement(element) if isinstance(element, str) else element)
        except ChannelClosedError:
            if self._engine.notice is not None or self._engine.cancelled:  # it was not the caller who closed this end
                has_failed = self._engine.notice is not None
                raise OutputClosedError(inlet.name, "failure" if has_failed else "no_more_needed") from None
            if not self._engine.draining:
                raise
            raise RunStateError(f"send(): {self.run_id} is draining and takes no more; this was not sent") from None
        if self._engine.meter is not None:
            self._engine.meter.user_wrote(inlet)

    def close_input(self, to: str | None = None) -> None:
        """Say that nothing more will be sent, to one stage or to all; the run then ends by itself. Idempotent.

        Raises:
            RunStateError: If the run has a source, or has not been started; or if the source does not feed that stage.
        """
        self._require_live("close_input()")
        for inlet in self._engine.inlets.values() if to is None else (self._inlet("close_input()", to),):
            inlet.close()

    # Ending

    async def drain(self, timeout_s: float | None = None) -> None:
        """End the input, wait until all that is inside has arrived, and cancel what has not when time is up. Idempotent.

        Sources are stopped and closed, stages that generate are cancelled, `send()` is refused. What has entered an edge goes on to
        the sinks and the output, where it waits for the consumer, who may be the one that calls this. The reason is `done`; or
        `cancelled`, and `undelivered` says what was lost. A run not yet started ends at once when it is.

        Args:
            timeout_s: How long it may take, in seconds; None: `shutdown_timeout_s`.

        Cancellation: the input stays ended, and the run goes on draining.

        Raises:
            ConfigError: If `timeout_s` is no number from 0 up.
            RunStateError: If called by a stage of this run, which would wait for itself, or in another event loop.
            ShutdownTimeoutError: If stages did not end even though they were cancelled; says what was not delivered.
        """
        limit = checked_deadline(timeout_s, self._engine.config.shutdown_timeout_s)
        if self._outcome.over or not self._engine.started:
            self._engine.draining = True
            return
        forbid_elsewhere(self._engine)
        await drain(self._engine, limit)

    def cancel(self) -> None:
        """End the run: its stages are cancelled and nothing more comes out. Does not wait; idempotent, never raises.

        From another thread, soon. A failure from before, not told yet, is still raised when the block of the run is left.
        """
        self._outcome.over = self._outcome.over or not self._engine.started
        if self._engine.started:
            self._engine.jobs.backend.call(self._engine.cancel)

    async def aclose(self) -> None:
        """End the run, if it has not ended, and wait for its tasks, `shutdown_timeout_s` at most.

        Cancellation: does not cut the waiting short, except a native one; the tasks are cancelled in any case.
        """
        self._outcome.over = True
        engine = self._engine
        if engine.started and (engine.has_output() or not engine.is_done()):
            engine.cancel()
            await engine.finish(shield=True)
        self._own = None

    async def __aenter__(self) -> Self:
        if self._outcome.over:
            message = f"{self._engine.run_id} has ended and cannot be entered again; call execute() again"
            raise RunStateError(message)
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        await self.aclose()
        failure = self._engine.take_failure()
        if failure is None:
            return False
        if error is None:
            try:
                raise failure
            finally:
                del failure
        error.add_note(f"while leaving, the run had failed too: {failure}")
        return False

    # Facts

    @property
    def run_id(self) -> str:
        """Identity of the run, unique in this process."""
        return self._engine.run_id

    @property
    def position(self) -> int:
        """How many elements the consumer has taken; the ordinal of the next one."""
        return self._engine.outlet.received if self._engine.started else 0

    @property
    def zombies(self) -> tuple[str, ...]:
        """Stages that had not ended when the run gave up waiting for them; empty for a clean end."""
        return self._engine.zombies

    @property
    def undelivered(self) -> Mapping[str, int]:
        """How much did not arrive because the run was cut short: by a failure, a limit, a cancellation, the deadline of a drain.

        By edge (`a → b`): what was inside, and what a source had given and there was no room for when a drain began. By stage: 1
        for one that was at work on something, however much. Complete once the run is over.
        """
        return self._engine.undelivered()

    @property
    def failures(self) -> tuple[StageError, ...]:
        """Failures so far that do not end the run, oldest first: of stages in isolated inputs, and in optional branches."""
        return self._engine.tolerated

    @property
    def recording(self) -> RecordingState | None:
        """How far the recording of this run has come, and whether it has failed; None: it is not recorded."""
        recorder = self._engine.reporter.recorder
        return None if recorder is None else recorder.state

    def events(self) -> AsyncIterator[Event]:
        """Iterate what happens in this run from now on, until it has ended: to be read in a task of its own, beside the output.

        At most `event_buffer` events wait to be read; those that do not fit are told as one `EventGap` in their place. Call it
        before the run is entered to hear of everything.

        Cancellation: loses nothing.

        Raises:
            RunStateError: If the run has ended.
        """
        if self._outcome.over:
            message = f"{self._engine.run_id} has ended and tells nothing more; call events() before you iterate it"
            raise RunStateError(message)
        return self._engine.reporter.open_queue()

    def traces(self) -> tuple[ElementTrace, ...]:
        """Return the ways of the elements that have ended so far, oldest first: the newest 100, or `Tracing.keep`.

        Empty when the run is not traced.
        """
        tracer = self._engine.reporter.tracer
        return () if tracer is None else tracer.traces()

    @property
    def trace_context(self) -> TraceContext | None:
        """The span of the run, for whoever goes on in its trace; None when the run is not traced."""
        tracer = self._engine.reporter.tracer
        return None if tracer is None else tracer.context

    def stats(self) -> RunStats:
        """Return what the run has done so far: what moved on each edge, and how full it was if `metrics` is on.

        Raises:
            RunStateError: If the run has not been started.
        """
        if not self._engine.started:
            message = f"stats(): {self._engine.run_id} has not been started; enter it with 'async with' first"
            raise RunStateError(message)
        return self._engine.stats()

    @property
    def source_length(self) -> int | None:
        """How many elements its sources give in all, where they have a `len()` and the run is measured; else None."""
        return self._engine.source_length

    def bottleneck(self) -> Bottleneck:
        """Return what limits the run so far: the stage, source, consumer or edge that the rest waits for, and why.

        Raises:
            RunStateError: If the run has not been started, or is not measured.
        """
        found = self.stats().bottleneck
        if found is None:
            message = (
                f"bottleneck(): {self._engine.run_id} is not measured; switch it on with PipelineConfig(metrics=True)"
            )
            raise RunStateError(message)
        return found

    def __repr__(self) -> str:
        state = "over" if self._outcome.over else "running" if self._engine.started else "not started"
        return f"<Run {self._engine.run_id} {state}>"

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is None:
            return
        self._outcome.run_is_lost = True
        if not engine.started or self._outcome.over:
            return
        if self._outcome.iterations > (self._own is not None):
            return  # a bare loop: the iteration is the owner now
        where = describe_place(self._where)
        message = f"{engine.run_id}, made at {where}, was lost before it had ended; use 'async with', or aclose() it"
        warnings.warn(message, ResourceWarning, stacklevel=1, source=self)
        abandon(engine)

    def _start(self) -> None:
        if not self._engine.started:
            self._engine.start()
            if self._kill_switch is not None:
                self._kill_switch.attach(self._engine)

    def _inlet(self, call: str, to: str | None) -> SendEnd[StreamElement]:
        inlets = self._engine.inlets
        name = next(iter(inlets)) if to is None and len(inlets) == 1 else to
        if name is not None and name in inlets:
            return inlets[name]
        heads = ", ".join(map(repr, inlets))
        problem = f"there is no input {to!r}" if to is not None else f"{self._engine.run_id} has several inputs"
        message = f"{call}: {problem}; say for which stage it is: to= one of {heads}"
        raise RunStateError(message)

    def _require_live(self, call: str) -> None:
        if not self._live:
            message = (
                f"{call}: {self._engine.run_id} has a source of its own; call execute() without one to feed it yourself"
            )
            raise RunStateError(message)
        if not self._engine.started:
            message = f"{call}: {self._engine.run_id} has not been started; enter it with 'async with' first"
            raise RunStateError(message)

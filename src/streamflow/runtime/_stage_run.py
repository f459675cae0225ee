"""One stage in one run: what it reads and writes, what it may ask, and its task, from the first step to the last.

Above: `_engine`, `_wiring`, `_chain`. Below: `_jobs`, `_interruption`.

It is all of that as one object, and the task is one coroutine: each further object, and each coroutine that awaits another one, is
made for each run, and a coroutine is passed through whenever the task goes on. What a body may ask (`RunContext`) is made when
somebody asks: most bodies take nothing but their ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import anyio

from .._records import Record
from ..channels import SendEnd
from ..errors import ChannelClosedError, OutputClosedError, RunStateError
from ..stages import CURRENT_RUN, RunContext
from ._interruption import finish_body, pass_rest, reenter, was_swept
from ._jobs import NO_CONTEXT, Job, is_made_of, leaf_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextvars import Context

    from ..channels import Fence, ReceiveEnd
    from ..errors import CloseReason
    from ..graph import Node
    from ..stages import StageBody
    from ._chain import Part, Rest
    from ._engine import Engine
    from ._interruption import Unwinding
    from ._lifetime import Lifetime
    from ._plan import StagePlan
    from ._reporting import Reporter
    from ._supervision import Supervisor
    from ._watchdog import StageClock

__all__ = ["RunFacts", "StageRun"]

_NOBODY: dict[Job, None] = {}  # never changed: a stage that starts a helper has a dictionary of its own


class RunFacts(Record, frozen=True):
    """What all stages of a run are told of it, if they ask."""

    run_id: str
    """Its identity."""
    deps: object
    """What the caller gave."""
    deadline_s: float | None
    """When it will time out; None: it will not."""
    reporter: Reporter
    """Tells the listeners."""
    lifetime: Lifetime
    """Opens what runs share."""


class StageRun(Job):
    """One stage in one run, and its task; where it shares one with others, a `Part` stands for that."""

    # What changes late, or never, is told by the class: many runs may be alive at once.
    part: Part | None = None
    """Stands for its task; None: it has one of its own, which is this."""
    frame: anyio.CancelScope | None = None
    """Around its body, if it is supervised; None: while there is none, or it has its task for itself."""
    waits_for_helpers: bool = False
    """Whether its own work is done, and it waits until that of its helpers is."""
    helpers_ended: anyio.Event | None = None
    """Set when the last helper has ended, once somebody waits for it."""
    fence: Fence | None = None
    """Stands around it since an interruption; None: nothing is fenced."""
    unwinding: Unwinding | None = None
    """What interruptions have cancelled of it; None: none has cancelled anything yet."""
    helpers: dict[Job, None] = _NOBODY
    """Its helper tasks that are alive."""
    clock: StageClock | None = None
    """Since when it is busy, if it has a limit."""
    failure: BaseException | None = None
    """What it failed with, or was made to fail with when it took too long."""
    letters: SendEnd[Any] | None = None
    """Where its dead letters go."""
    supervisor: Supervisor | None = None
    """Keeps it going when it fails; None once it has ended."""
    has_begun: bool = False
    """Whether its work has begun; a stage may be cancelled before."""
    has_ended: bool = False
    """Whether its task has."""
    rest: Rest | None = None
    """What is to be done before its body is called, where its task was another's before."""
    inputs: tuple[ReceiveEnd[Any], ...] = ()
    """What it reads."""
    _asked: RunContext[Any] | None = None

    output: SendEnd[Any]
    """All that it writes, as one."""
    reads: ReceiveEnd[Any] | Mapping[str, ReceiveEnd[Any]]
    """What it is given as input: an end, or ends by port; one that has ended, for a stage that generates."""
    writes: SendEnd[Any] | Mapping[str, SendEnd[Any]]
    """What it is given as output: an end, or ends by port; for a sink one that refuses everything."""

    def __init__(self, plan: StagePlan, host: Engine, facts: RunFacts, context: Context) -> None:
        # Not by way of `Job`, whose work somebody else gives.
        self.plan: StagePlan = plan
        """What is the same for all runs."""
        self.host: Engine | None = host
        """The run; None once it has ended: the run may know it then, and nothing is left waiting for the garbage collector."""
        self.name: str = plan.node.name
        """Name of the stage."""
        self._facts = facts
        self._context = context

    @property
    def node(self) -> Node:
        """The stage in its graph."""
        return self.plan.node

    @property
    def index(self) -> int:
        """Its number in the plan."""
        return self.plan.index

    @property
    def variables(self) -> Context:
        """The context variables that its work sees."""
        return self._context

    @property
    def job(self) -> Job:
        """Its task, or what stands for it."""
        return self if self.part is None else self.part

    @property
    def context(self) -> RunContext[Any]:
        """What it may ask of the run: the same each time, until it has ended."""
        if self._asked is not None:
            return self._asked
        facts, supervisor = self._facts, self.supervisor
        run: RunContext[Any] = RunContext(
            facts.run_id,
            self.name,
            facts.deps,
            facts.deadline_s,
            facts.reporter,
            self,
            facts.lifetime,
            None if supervisor is None else supervisor.guard_of_calls,
        )
        if self.host is not None:
            self._asked = run
        return run

    def begin(self) -> None:
        """Know that its work begins. To be called in the stage's own context."""
        self.has_begun = True
        CURRENT_RUN.set(self)
        host = self.host
        if host is not None and host.tracer is not None:
            host.tracer.enter(self.context)

    async def _run(self) -> BaseException | None:  # noqa: C901, PLR0912 - without calls, see above
        error: BaseException | None = None
        try:
            self._begun = True  # what follows is `_begins()`
            if self._task is not None and self._backend is not None:
                self._backend.has_begun(self._task, self._struck)
            if not (self.cancel_requested or self._is_struck):
                if not self.has_begun:
                    self.begin()
                try:
                    if self.supervisor is not None:
                        await self.supervisor.work(self.context)
                    else:
                        spec = self.plan.node.stage
                        plain: Any = spec.plain
                        body: Any = plain or spec.start(self.context)
                        while True:
                            try:
                                if self.rest is not None:
                                    rest, self.rest = self.rest, None
                                    await rest()
                                if plain is not None:
                                    await body(self.reads, self.writes)
                                else:
                                    await body(self.reads, self.writes, self.context)
                                if self.fence is not None or self.helpers:
                                    await finish_body(self)
                                break
                            except BaseException as caught:
                                if not was_swept(self, caught):
                                    raise
                            await reenter(self)
                except anyio.EndOfStream:
                    if not self.has_met_end():
                        raise
                if self.has_rest():
                    await pass_rest(self)
            elif self.instead is not None:
                await self.instead(self, self.rest)
            if self._is_struck:
                raise anyio.get_cancelled_exc_class()
        except BaseException as caught:  # noqa: BLE001 - handed to the run, which decides who raises it
            error = caught
        try:
            if self.meter is not None:
                return error
            self._end(error)
        finally:
            del error  # its traceback holds this frame
        return None

    def _end(self, error: BaseException | None) -> None:
        """Know that its last step is being taken, and tell the run."""
        host = self.host
        assert host is not None, "it ends once"
        self._let_go()
        try:
            host.stage_ended(self, self, error)
        finally:
            del error

    def forget(self) -> None:
        """Know nothing any more of what knows this in turn: nothing of that may be left waiting for the garbage collector."""
        self._context = NO_CONTEXT
        self._asked = self.host = None

    @property
    def downstream(self) -> frozenset[int]:
        """The stages that its elements can reach."""
        return self.plan.downstream

    @property
    def is_sink(self) -> bool:
        """Whether it has no output."""
        return not self.plan.outputs

    @property
    def is_isolated(self) -> bool:
        """Whether it may fail without failing the run."""
        return self.plan.is_isolated

    def call(self, body: StageBody, run: RunContext[Any]) -> Awaitable[None]:
        """Call what its stage has given as its body for this run."""
        return body(cast("Any", self.reads), cast("Any", self.writes), run)

    def start_helper(self, work: Callable[[], Awaitable[object]], name: str) -> Callable[[], None]:
        """Start a helper task, and return what cancels it; what `RunContext.start_soon()` calls.

        Raises:
            RunStateError: If the stage has ended, or is being cancelled.
        """
        if self.host is None or self.job not in self.host.jobs.alive or self.job.cancel_requested:
            message = f"stage {self.name!r} has ended and cannot start the helper {name!r}"
            raise RunStateError(message)
        return self.host.start_helper(self, work, name)

    async def helped(self) -> None:
        """Wait until its helpers have ended. Cancellation: leaves them alone."""
        assert self.host is not None, "it has not ended"
        pulse = self.host.pulse
        while self.helpers:
            self.helpers_ended = anyio.Event()
            self.waits_for_helpers = True
            pulse.begin_wait()
            try:
                await self.helpers_ended.wait()
            finally:
                pulse.runnable += 1
                self.waits_for_helpers = False

    def has_rest(self) -> bool:
        """Say whether something may be left to pass it by."""
        for one in self.inputs:  # noqa: SIM110 - most stages have one input, and any() costs a generator
            if one.has_rest():
                return True
        return False

    def cancel(self) -> None:
        """Ask its tasks to end. Idempotent."""
        if self.part is None:
            super().cancel()
        else:
            self.part.cancel()
        for helper in self.helpers:
            helper.cancel()

    @property
    def is_holding(self) -> bool:
        """Whether it is at work on something that it has taken, as far as that can be seen: it does not wait for more."""
        if self.failure is not None:
            return self.in_hand() is not None
        return (
            self.job.is_at_work and self._has_taken() and (self.plan.node.stage.max_held != 1 or not self._has_asked())
        )

    @property
    def was_holding(self) -> bool:
        """Whether it is holding, or was when it ended: for a stage that holds one element at most."""
        has_met_end = any(one.end_was_told for one in self.inputs)
        return self.job.had_work and self._has_taken() and not self._has_asked() and not has_met_end

    def _has_taken(self) -> bool:
        return any(one.position for one in self.inputs)

    def _has_asked(self) -> bool:
        """Say whether it has asked for more since it took an element, and had to wait for it."""
        return any(one.asked_at == one.position for one in self.inputs)

    @property
    def moved(self) -> tuple[int, int]:
        """How many elements it has taken, and how many it has sent."""
        return sum(one.position for one in self.inputs), self.output.statistics().sent

    def close_outputs(self) -> None:
        """Tell all that read what it gives that nothing more comes."""
        self.output.close()
        if self.letters is not None:
            self.letters.close()

    def close_inputs(self, reason: CloseReason) -> None:
        """Tell all that feed it that it takes no more."""
        for one in self.inputs:
            if one.state == "open" or one.has_rest():  # most have ended, and been read to the end
                one.close(reason)

    def has_met_end(self) -> bool:
        """Say whether it has been told that an input has ended: `receive()` raises that, and a body may end by it."""
        return any(one.end_was_told for one in self.inputs)

    async def pass_rest(self) -> None:
        """Pass on what is left to pass it by. Cancellation: what was not passed on stays where it is."""
        for one in self.inputs:
            await (one.pass_rest() if one.end_was_told else one.pass_aside())

    def is_expected(self, job: Job, error: BaseException, cancelled: type[BaseException]) -> bool:
        """Say whether `error` is how this stage learned that its reader has gone, or that the run has stopped it."""
        if job.cancel_requested:
            # What starts a helper before it hears of its cancellation is refused: that is no failure of its own.
            return is_made_of(error, (cancelled, OutputClosedError, ChannelClosedError, RunStateError))
        if isinstance(error, anyio.EndOfStream) and any(one.end_was_told for one in self.inputs):
            return True  # it called receive() until there was nothing more
        leaf = leaf_of(error)
        return (
            is_made_of(error, OutputClosedError)
            and isinstance(leaf, OutputClosedError)
            and leaf.edge in self._own_edges()
        )

    def in_hand(self) -> int | None:
        """Return the ordinal of the element that it took last and is working on, None when there is none."""
        if len(self.inputs) != 1:
            return None
        one = self.inputs[0]
        return None if one.end_was_told or not one.position else one.position - 1

    def _own_edges(self) -> set[str]:
        ports = [] if isinstance(self.writes, SendEnd) else list(self.writes.values())
        return {one.name for one in (self.output, *ports)}

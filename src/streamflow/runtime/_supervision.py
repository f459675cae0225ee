"""Supervision: keeps a stage going that has failed, as its `Supervision` says.

Above: `_engine`, which calls it for supervised stages only. Below: `_wiring` (the stage of the run), `channels` (the hand).

1. A *frame* is one call of the stage's body, with the helper tasks that it starts. A failure ends the frame; a new one begins with
   what `StageSpec.start()` makes, in the same task, on the same edges.
2. What was taken and not yet followed by the wish for more is *in hand* (`Hand`). It was received once, whatever becomes of it: it
   is given again without passing the edge again, or is counted as dropped, or leaves as a dead letter. Control passes the stage by.
3. Where several calls run at a time, each is judged alone: the body asks for `guard()`, and no frame ends.
4. A wait before the next try ends at once when the input of the run is ended from outside (drain, shutdown, failure elsewhere),
   when nobody reads the stage's output any more, or with the stage's task. While it lasts the stage is neither busy nor idle.
5. A stage that has failed and has no reader any more has completed.
"""

from __future__ import annotations

import dataclasses
import random
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import anyio
import anyio.lowlevel

from .. import observe
from ..channels import Hand, drop_backlog
from ..elements import ControlElement, DeadLetterElement, StreamElement
from ..errors import ElementError, OutputClosedError
from ..stages import NOTHING, Between, Directive, Supervision
from ._interruption import call_supervised

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from ..channels import SendEnd
    from ..stages import InHand, RunContext
    from ._plan import StagePlan
    from ._reporting import Reporter
    from ._stage_run import StageRun
    from ._watchdog import RunClock

__all__ = ["Supervisor", "Tally", "supervisors"]

_DIRECTIVES: tuple[Directive, ...] = get_args(Directive)


@dataclasses.dataclass(slots=True)
class Tally:
    """What supervision has done for one stage in one run."""

    restarts: int = 0
    """How often it was started anew."""
    retries: int = 0
    """How often an element was tried again without that."""
    dropped: int = 0
    """Elements that it failed on and that went nowhere."""
    dead_lettered: int = 0
    """Elements that it failed on and that became dead letters."""
    failures: int = 0
    """How often it failed, whatever became of that."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Verdict:
    """What to do about one failure."""

    element: InHand
    """What becomes of what is in hand."""
    does: Literal["go_on", "retry", "restart"] = "go_on"
    """How the stage goes on: at once; after a wait that the element's tries are the measure of; or the stage's restarts."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Order:
    """Says that a stage is to be restarted because another one was."""

    stage: str
    error: Exception
    between: Between


class Supervisor:
    """Keeps one stage of one run going.

    Args:
        stage: The stage.
        plan: What is said of it.
        clock: The run's.
        reporter: Who tells the listeners.
    """

    def __init__(self, stage: StageRun, plan: StagePlan, clock: RunClock, reporter: Reporter) -> None:
        self.tally: Tally = Tally()
        """What it has done so far."""
        self.rest: Sequence[Supervisor] = ()
        """Those of the stages that are restarted with this one."""
        self._stage = stage
        self._supervision = plan.supervision or Supervision()
        self._calls = plan.node.stage.calls
        self._clock = clock
        self._reporter = reporter
        self._hands: list[Hand] = []
        self._scope: anyio.CancelScope | None = None  # of the frame, while there is one
        self._helper_failure: Exception | None = None
        self._order: _Order | None = None
        self._attempts: dict[
            int, int
        ] = {}  # of failures for good, by identity: several calls may fail before one is told
        self._count = 0  # of restarts since the last healthy window
        self._began_s = clock.started
        self._random: random.Random | None = None
        self._bell = anyio.Event()
        self._is_hurried = False
        if self._calls != "several":
            for one in stage.inputs:
                self._hands.append(Hand())
                one.keep_hand(self._hands[-1])

    # What the engine calls

    async def work(self, run: RunContext[Any]) -> None:
        """Do the stage's work, in as many frames as it takes.

        Raises:
            Exception: What it fails with in the end.
        """
        if self._calls == "several":
            await self._stage.call(self._stage.node.stage.start(run), run)
            await self._stage.helped()
            return
        while True:
            await self._obey()
            self._began_s = self._clock.now()
            error = await self._frame(run)
            try:
                if error is not None:
                    if not await self._recovers(error):
                        return
                elif self._order is None:
                    return
            finally:
                del error  # its traceback knows this frame in turn, where it is raised

    def guard(self, call: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
        """Return what to call instead of `call`, where several calls run at a time; see `stages.Guard`."""
        return partial(self._guarded, call)

    @property
    def guard_of_calls(self) -> Callable[[Callable[[Any], Awaitable[Any]]], Callable[[Any], Awaitable[Any]]] | None:
        """`guard`, if the stage needs one."""
        return self.guard if self._calls == "several" else None

    def takes(self, error: BaseException) -> bool:
        """Take the failure of a helper task as one of the frame, which it ends; False where there is none that can be ended."""
        if self._scope is None or not isinstance(error, Exception) or self._helper_failure is not None:
            return False
        self._helper_failure = error
        self._scope.cancel()
        return True

    def attempts(self, error: BaseException) -> int:
        """Return how often the stage had tried when it failed for good with this."""
        return self._attempts.get(id(error), 1)

    def hurry(self) -> None:
        """Wait no more: the run takes no more input, and what is inside is to arrive."""
        self._is_hurried = True
        self._ring()

    def look(self) -> None:
        """Look whether somebody still reads the output."""
        if not self._has_reader():
            self._ring()

    def forgets_what_is_due(self, stays: Callable[[object], bool]) -> bool:
        """If an interruption comes between two frames, drop what is to be given again and does not stay; say whether one has."""
        if self._scope is not None:
            return False
        for one in self._hands:
            if one.is_due and not stays(one.item):
                one.clear()
                self.tally.dropped += 1
        return self._calls != "several"

    def restart(self, order: _Order) -> None:
        """End the frame, and begin a new one. If there is none, the next one is it."""
        self._order = order
        if self._scope is not None:
            self._scope.cancel()

    # Frames

    async def _frame(self, run: RunContext[Any]) -> Exception | None:
        """Run one frame to its end. Returns what it failed with, if that may be supervised; None if it did not."""
        stage, failure = self._stage, None
        with anyio.CancelScope() as self._scope:
            try:
                await call_supervised(stage, run)
                await stage.helped()
            except Exception as error:
                cancelled = anyio.get_cancelled_exc_class()
                if stage.job.cancel_requested or stage.is_expected(stage.job, error, cancelled):
                    raise
                failure = error
        was_ended, self._scope = self._scope.cancelled_caught, None
        try:
            failure, self._helper_failure = failure or self._helper_failure, None
            if failure is None and not was_ended:
                self._order = None  # it was done before it was told to begin anew
                return None
            await self._end_helpers()
            if stage.job.cancel_requested:
                # On asyncio a native cancellation may have met the one of the scope, which took it for its own.
                await anyio.lowlevel.checkpoint()
                raise anyio.get_cancelled_exc_class()
            return failure
        finally:
            del failure

    async def _end_helpers(self) -> None:
        stage = self._stage
        for helper in stage.helpers:
            helper.cancel()
        await stage.helped()

    async def _recovers(self, error: Exception) -> bool:
        """Do what is to be done about a failed frame. False: nothing more is to be done, as nobody reads the results.

        Raises:
            Exception: The failure, if it is to stop the stage.
        """
        # What is due has not been given to this frame, so the failure is not about it.
        held = [one for one in self._hands if one.item is not None and not one.is_due]
        tries = max((one.times for one in held), default=1)
        verdict = self._judge(error, tries, has_element=bool(held))
        if verdict is None:
            self._attempts[id(error)] = max(tries, self._count + 1)
            try:
                raise error
            finally:
                del error
        if not self._has_reader():
            return False
        if verdict.element == "redeliver":
            for one in held:
                one.is_due = True
        elif held:
            await self._put_away([one.item for one in held], error, tries, as_letter=verdict.element == "dead_letter")
            for one in held:
                one.clear()
        await self._before_next(verdict, error, tries)
        return self._has_reader()

    async def _before_next(self, verdict: _Verdict, error: Exception, tries: int) -> None:
        """Count what follows a failure, tell it, and wait as long as is to be waited."""
        if verdict.does == "restart":
            self._count += 1
            delay_s = self._delay_s(self._count)
            self._tell_restart(self._stage.name, error, self._count, delay_s)
            order = _Order(self._stage.name, error, self._supervision.between)
            for one in self.rest:
                one.restart(order)
            await self._pause(delay_s)
        elif verdict.does == "retry":
            await self._before_retry(error, tries, self._stage.in_hand())

    async def _before_retry(self, error: Exception, tries: int, index: int | None) -> None:
        delay_s = self._delay_s(tries)
        self.tally.retries += 1
        self._tell(observe.ElementRetried, index=index, attempts=tries, error=error, delay_s=delay_s)
        await self._pause(delay_s)

    async def _obey(self) -> None:
        """If another stage has been restarted and this one with it, deal with what it has and what waits at its inputs."""
        order, self._order = self._order, None
        if order is None:
            return
        held = [one for one in self._hands if one.item is not None]
        if order.between == "keep":
            for one in held:
                one.is_due = True
        else:
            items = [one.item for one in held]
            for one in held:
                one.clear()
            await self._put_away(items, order.error, 1, as_letter=False)
            for edge in self._stage.inputs:
                self.tally.dropped += await drop_backlog(edge)
        self._tell_restart(order.stage, order.error, self.tally.restarts + 1, 0.0)

    # Several calls at a time

    async def _guarded(self, call: Callable[[Any], Awaitable[Any]], element: StreamElement) -> object:
        tries = 0
        while True:
            tries += 1
            try:
                result = await call(element)
                if isinstance(result, StreamElement):
                    return result
                message = f"stage {self._stage.name!r}: its function returned {result!r:.80}, which is no element"
                raise ElementError(f"{message}; return one")
            except Exception as error:
                verdict = None if self._stage.job.cancel_requested else self._judge(error, tries, has_element=True)
                if verdict is None:
                    self._attempts[id(error)] = tries
                    raise
                if verdict.element != "redeliver":
                    return await self._given_up(element, error, tries, as_letter=verdict.element == "dead_letter")
                await self._before_retry(error, tries, None)
                if not self._has_reader():
                    return NOTHING

    async def _given_up(self, element: StreamElement, error: Exception, tries: int, *, as_letter: bool) -> object:
        if isinstance(element, ControlElement):
            return element
        await self._put_away([element], error, tries, as_letter=as_letter)
        return NOTHING

    # Judging

    def _judge(self, error: Exception, tries: int, *, has_element: bool) -> _Verdict | None:
        """Return what to do about a failure; None: stop."""
        own = self._supervision
        self.tally.failures += 1
        again = "redeliver" if tries < own.attempts else own.then
        directive = self._directive(error)
        element: InHand | Literal["stop"] = "stop"
        does: Literal["go_on", "retry", "restart"] = "go_on"
        if directive == "restart" and self._calls != "several" and self._may_restart(has_element=has_element):
            does = "restart"
            element = again if own.in_hand == "redeliver" and has_element else own.in_hand
        elif directive == "retry" and self._calls != "none" and has_element:
            element = again
            does = "retry" if again == "redeliver" else "go_on"
        elif directive == "resume" and self._calls != "none" and has_element:
            element = "drop"
        elif directive == "dead_letter" and has_element:
            element = "dead_letter"
        elif directive != "stop":
            error.add_note(
                f"supervision of {self._stage.name!r}: {directive!r} was not possible any more, or not lawful"
            )
        if element == "stop" or (element == "dead_letter" and has_element and self._stage.letters is None):
            return None
        return _Verdict(element, does)

    def _directive(self, error: Exception) -> Directive:
        """Ask the decider, if there is one; once."""
        own = self._supervision
        if not own.covers(error):
            return "stop"
        if own.decide is None:
            return own.directive
        try:
            told: object = own.decide(error)
        except Exception as failure:  # noqa: BLE001 - what fails is told by the note, and the stage stops
            error.add_note(f"supervision of {self._stage.name!r}: its decide= failed too: {failure!r:.200}")
            return "stop"
        if told is None:
            return own.directive
        for one in _DIRECTIVES:
            if one == told:
                return one
        error.add_note(f"supervision of {self._stage.name!r}: its decide= returned {told!r:.80}, which is no directive")
        return "stop"

    def _may_restart(self, *, has_element: bool) -> bool:
        own = self._supervision
        if self._is_hurried and not has_element:
            return False  # else a stage that cannot even begin would hold up the end of the run
        if self._clock.now() - self._began_s >= own.window_s:
            self._count = 0
        return own.max_restarts is None or self._count < own.max_restarts

    # Elements

    async def _put_away(self, items: Sequence[object], error: Exception, tries: int, *, as_letter: bool) -> None:
        """Let control pass by, and drop the data or send it as a dead letter."""
        stage = self._stage
        data: list[StreamElement] = []
        for one in items:
            if isinstance(one, ControlElement):
                if not stage.is_sink:
                    await stage.output.send(one)
            elif isinstance(one, StreamElement):
                data.append(one)
        if not data:
            return
        index = stage.in_hand() if self._calls != "several" else None
        if (
            as_letter
            and stage.letters is not None
            and await self._send_letter(stage.letters, data, error, tries, index)
        ):
            self.tally.dead_lettered += len(data)
            self._tell(observe.ElementDeadLettered, index=index, attempts=tries, error=error)
        else:
            self.tally.dropped += len(data)
            self._tell(observe.ElementDropped, index=index, attempts=tries, error=error)

    async def _send_letter(
        self, letters: SendEnd[Any], data: Sequence[StreamElement], error: Exception, tries: int, index: int | None
    ) -> bool:
        """Send a dead letter, and say whether there is somebody to take it."""
        letter = DeadLetterElement(
            tuple(data),
            stage=self._stage.name,
            error=type(error).__name__,
            message=str(error),
            index=index,
            attempts=tries,
            interruptible=False,
        )
        try:
            await letters.send(letter)
        except OutputClosedError:
            return False
        return True

    # Waiting

    def _delay_s(self, number: int) -> float:
        own = self._supervision
        if self._random is None:
            self._random = random.Random(None if own.seed is None else f"{own.seed}/{self._stage.name}")  # noqa: S311
        return own.backoff_s(number, self._random.random())

    async def _pause(self, delay_s: float) -> None:
        """Wait, unless there is no use in it any more. Cancellation: ends it."""
        clock, own = self._clock, self._stage.clock
        until = clock.now() + delay_s
        clock.pauses += 1
        if own is not None:
            own.busy_since = None
        try:
            await anyio.lowlevel.checkpoint()
            while clock.now() < until and not self._is_hurried and self._has_reader():
                with anyio.CancelScope(deadline=until):
                    await self._bell.wait()
        finally:
            clock.pauses -= 1
            clock.moved = now = clock.now()
            if own is not None:
                own.busy_since = now

    def _ring(self) -> None:
        self._bell.set()
        self._bell = anyio.Event()

    def _has_reader(self) -> bool:
        return self._stage.is_sink or self._stage.output.is_open

    # Telling

    def _tell_restart(self, because: str, error: Exception, attempt: int, delay_s: float) -> None:
        self.tally.restarts += 1
        kind = self._stage.node.stage.kind.value
        self._tell(observe.StageRestarted, kind=kind, failed=because, attempt=attempt, delay_s=delay_s, error=error)

    def _tell(self, event: type[Any], **facts: object) -> None:
        self._reporter.tell(event, self._stage.name, facts)


def supervisors(
    stages: Sequence[StageRun], plans: Sequence[StagePlan], clock: RunClock, reporter: Reporter
) -> Mapping[str, Supervisor]:
    """Give a supervisor to each stage that has one, and return them by the names of the stages."""
    made: dict[int, Supervisor] = {}
    for stage, plan in zip(stages, plans, strict=True):
        if plan.supervision is not None or plan.is_restartable:
            stage.supervisor = made[plan.index] = Supervisor(stage, plan, clock, reporter)
    for plan in plans:
        if plan.restarted_with:
            made[plan.index].rest = [made[index] for index in sorted(plan.restarted_with)]
    return {stages[index].name: one for index, one in made.items()}

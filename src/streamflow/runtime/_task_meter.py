"""What a task of a run does with its time: measured whenever it gets and gives up its turn, so that elements cost nothing.

Above: `_jobs`, which runs a task through `metered()`; `_run_meter`, which makes meters. Below: `channels`, `_edge_meter`.

Rules:

1. *At any moment a unit is in one of three states*: `blocked`, one of its tasks waits for room; else `idle`, its reader waits for
   an element and none of its helpers is at work; else `busy`. What it waits for elsewhere (a model, a timer) is its work.
2. *A state lasts until the task really goes on*, not until it is woken: who waits for its turn because another one computes has not
   become busy by that.
3. A unit is one stage, a source, or the stages of a chain, which share a task and therefore all these times.
4. *An element moves in a turn of who sends it or takes it*, and what a turn has put into an edge stands there when it ends. So
   who writes glances at its edges after each turn, at the cost of a comparison or two; who reads need not.
5. *Service time* is how long a unit was busy between taking one element and being done with it, which is when it takes, or asks
   for, the next one. Elements that it deals with in one turn share that turn evenly.
"""

# ruff: noqa: SLF001 - the state of an edge, looked at where a call would be felt
# pyright: reportPrivateUsage=false
from __future__ import annotations

import types
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from ..channels import has_waiting_sender, stands_at, waits_on
from ..observe import Tally
from ._edge_meter import MOMENT_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

    from ..channels import Pulse, ReceiveEnd
    from ._backend import Backend
    from ._edge_meter import EdgeMeter
    from ._jobs import Job

_T = TypeVar("_T")

__all__ = ["BLOCKED", "BUSY", "IDLE", "UnitMeter", "as_coroutine", "metered"]

BUSY: Final = 0
BLOCKED: Final = 1
IDLE: Final = 2

_END: Final = object()
_MANY: Final = 64
_LONG_S: Final = 4e-3
"""How long there is no look at elements that follow each other in a dense stream, of so many or more: they are spread evenly."""
_TRIFLE_S: Final = 1e-5
"""What an element has taken more than its neighbours, and nobody wants to know."""


class UnitMeter:
    """Measures one unit.

    Args:
        backend: The event loop, whose clock it reads.
        began_s: When the unit began.
        reads: The ends that it reads.
        inputs: The meters of the edges into it.
        outputs: The meters of the edges out of it.
        pulse: Knows of waits inside stages.
        here: In it, whichever unit has its turn.
    """

    __slots__ = (
        "_backend",
        "_first",
        "_had_hand",
        "_heard",
        "_inputs",
        "_is_fork",
        "_looked_s",
        "_mark_s",
        "_pause_s",
        "_pulled_s",
        "_pulse",
        "_ran_from_s",
        "_reads",
        "_received",
        "_writes",
        "began_s",
        "blocked_on",
        "computed_s",
        "ended_s",
        "helpers",
        "here",
        "now",
        "outputs",
        "service",
        "since",
        "state",
        "times",
    )

    def __init__(
        self,
        backend: Backend,
        began_s: float,
        *,
        reads: Sequence[ReceiveEnd[Any]],
        inputs: Sequence[EdgeMeter],
        outputs: Sequence[EdgeMeter],
        pulse: Pulse,
        here: list[UnitMeter | None],
    ) -> None:
        self.here: list[UnitMeter | None] = here
        """In it, whichever unit has its turn."""
        self.times: list[float] = [0.0, 0.0, 0.0]
        """How long it was blocked and idle, by the state, until it entered the present one; the rest of its life it was busy."""
        self.state: int = IDLE if reads else BUSY
        """The present one."""
        self.since: float = began_s
        """When it entered that."""
        self.began_s: float = began_s
        """When the unit began."""
        self.ended_s: float | None = None
        """When it ended."""
        self.computed_s: float = 0.0
        """How long it has computed, and nobody else on this event loop."""
        self.service: Tally = Tally()
        """How long it was busy with each element."""
        self.helpers: dict[Job, bool] = {}
        """Its helper tasks that are alive, and whether each is at work."""
        self.blocked_on: list[EdgeMeter] = []
        """Where it waits for room, if it writes several edges."""
        self._had_hand = False  # whether it had something in hand when it gave up its turn
        self._mark_s = 0.0  # how long it had been busy when it began with that
        self._received = sum(one.end.received for one in inputs)
        self._pulled_s = 0.0  # of its present turn
        self._looked_s = began_s
        self._pause_s = MOMENT_S  # until the next look
        self._ran_from_s = 0.0  # how long it had computed when its service was noted last
        self._backend = backend
        self.now: Callable[[], float] = backend.clock()
        """The event loop's clock."""
        self._pulse = pulse
        self._reads = tuple(reads)
        self._writes = tuple(one.end for one in outputs)
        self._inputs = tuple(inputs)
        self._is_fork = len(outputs) > 1
        self._heard = tuple(one for one in outputs if one.hears is not None)
        if outputs:
            self._first = outputs[0]
        self.outputs: tuple[EdgeMeter, ...] = tuple(outputs)
        """The meters of the edges out of it."""

    def read(self, until: float) -> tuple[float, float, float]:
        """Return for how long it was busy, blocked and idle, in seconds, until it ended, or until that moment."""
        times = list(self.times)
        if self.ended_s is not None:
            until = self.ended_s
        elif self.state:
            times[self.state] += until - self.since
        return until - self.began_s - times[BLOCKED] - times[IDLE], times[BLOCKED], times[IDLE]

    def adopt(self, helper: Job) -> None:
        """Measure a helper task, too, which is about to begin."""
        helper.meter = self
        self.helpers[helper] = True

    def gave(self, reader: UnitMeter, since: float) -> None:
        """Know that it, a source that has no task of its own, was at work. When it is not asked it is held up.

        Args:
            reader: In whose turn it was, which has waited for an element meanwhile.
            since: When it began.
        """
        now = self.now()
        spent = now - since
        reader._pulled_s += spent
        reader.times[IDLE] += spent
        self.times[BLOCKED] += since - self.since
        self.computed_s += spent
        self.since = now
        edge = self._first
        if now - edge.looked_s < self._pause_s and edge.end.attention <= edge.usual:
            edge.glance(now)
        else:
            before = edge.taken
            edge.was_written(since, now)
            self._pause_s = _LONG_S if edge.taken - before > _MANY else MOMENT_S

    def lend(self, work: Callable[[], _T]) -> _T:
        """Have its functions called in the turn of another unit, or of the run's user: meanwhile that one waits for an element."""
        here, began = self.here, self.now()
        caller, here[0] = here[0], self
        if self.state:
            self.times[self.state] += began - self.since
            self.state = BUSY
        try:
            return work()
        finally:
            now, here[0] = self.now(), caller
            spent = now - began
            if caller is not None:
                caller._pulled_s += spent
                caller.times[IDLE] += spent
            if self._pulled_s:
                spent -= self._pulled_s
                self._pulled_s = 0.0
            self.computed_s += spent
            end = self._reads[0]
            self.state = BLOCKED if end._buffer or end._turns or end._is_refilled else IDLE
            self.since = now
            edge = self._first  # a chain writes one
            is_quiet = edge.hears is None or edge.end.attention <= edge.usual + edge.end._receiving
            if is_quiet and now - self._looked_s < self._pause_s:
                edge.glance(now)
            else:
                self._look(self.state, began, now, None)

    def go_on(self, job: Job, now: float) -> None:
        """Know that a task of it has got its turn. Not asked where it is busy, and has no helpers: that changes nothing."""
        if not self.helpers:
            if self.blocked_on:
                self._spend(now)
            else:
                self.times[self.state] += now - self.since
                self.since = now
            self.state = BUSY
            return
        if job in self.helpers:
            self.helpers[job] = True
        self._enter(self._state(), now)

    def give_up(self, job: Job, asked: object, began: float) -> None:
        """Know that a task of it has given up the turn that it got then, and waits for what it has asked for; `_END`: it ends.

        Once for each turn of each task, so calls are spared here.
        """
        now = self.now()
        self.computed_s += now - began - self._pulled_s
        self._pulled_s = 0.0
        state = BUSY
        if self.helpers:
            if job in self.helpers:
                self.helpers[job] = not self._is_at_rest(job, asked)
            state = self._state()
        else:
            for end in self._reads:
                if end._waiter is not None:
                    state = IDLE
            for end in self._writes:
                if end._turns:
                    state = BLOCKED
            if (
                now - self._looked_s < self._pause_s
                and (state or asked is None)
                and (not self._heard or self._may_glance())
            ):
                for edge in self.outputs:
                    edge.glance(now)
                if state == BLOCKED and self._is_fork:
                    self._enter(state, now)
                elif state:  # busy until now, which needs no noting
                    self.state, self.since = state, now
                return
        self._look(state, began, now, asked)
        if state != self.state:
            self._enter(state, now)

    def _may_glance(self) -> bool:
        """Say whether nothing has entered that somebody wants to know of, one by one."""
        for edge in self._heard:
            end = edge.end
            if end.attention > edge.usual + end._receiving:
                return False
        return True

    def _look(self, state: int, began: float, now: float, asked: object) -> None:
        """Look at what has moved since the last look, until the end of a turn.

        What who is at the other end of an edge has looked at a moment ago needs no second look.
        """
        self._looked_s = now
        is_passing, is_end = (state or asked is None) and self._may_glance(), asked is _END
        for edge in self.outputs:
            if is_passing and now - edge.looked_s < self._pause_s:
                edge.glance(now)
            else:
                edge.was_written(began, now)
        received = 0
        for edge in self._inputs:
            if is_passing and now - edge.looked_s < self._pause_s:
                received += edge.end.received
            else:
                received += edge.was_read(began, now)
        taken, self._received = received - self._received, received
        self._pause_s = _LONG_S if taken > _MANY else MOMENT_S
        has_hand = state != IDLE and not is_end and (taken > 0 or self._had_hand)
        done = taken + self._had_hand - has_hand
        if done > 0 or not has_hand:
            busy, ran_s = self.read(now)[BUSY], self.computed_s - self._ran_from_s
            if done > 0:
                before = busy - self._mark_s - ran_s
                each = ran_s / done
                if before > _TRIFLE_S:
                    self.service.add(before + each)
                    done -= 1
                if done:
                    self.service.add(each, done)
            self._mark_s = busy
            self._ran_from_s = self.computed_s
        self._had_hand = has_hand

    def end(self, job: Job) -> None:
        """Know that one of its tasks has ended; with that of the stage itself it ends."""
        now = self.now()
        if self.ended_s is not None:
            self.helpers.pop(job, None)
        elif self.helpers.pop(job, None) is None:
            self._spend(now)
            self.ended_s = now
        else:
            self._enter(self._state(), now)

    def _state(self) -> int:
        where = stands_at(self._reads, self._writes)
        if where is None:
            return BUSY
        if where == "send":
            return BLOCKED
        return BUSY if self.helpers and any(self.helpers.values()) else IDLE

    def _is_at_rest(self, job: Job, asked: object) -> bool:
        """Say whether a helper waits at an end of its stage, or for another task of it."""
        view = job.look(self._backend)
        task = None if view is None else view.key
        return any(key is asked or key is task for key in waits_on((*self._reads, *self._writes), self._pulse))

    def _enter(self, state: int, now: float) -> None:
        if state != self.state:
            self._spend(now)
            self.state = state
            if state == BLOCKED and self._is_fork:
                self.blocked_on = [one for one in self.outputs if has_waiting_sender(one.end)]

    def _spend(self, now: float) -> None:
        spent = now - self.since
        if self.state:
            self.times[self.state] += spent
        self.since = now
        if self.blocked_on:
            for edge in self.blocked_on:
                edge.blocked_s += spent
            self.blocked_on = []


def as_coroutine(work: Awaitable[object]) -> Coroutine[Any, Any, object]:
    """Return `work` as what can be driven step by step."""
    return cast("Coroutine[Any, Any, object]", work) if isinstance(work, Coroutine) else _awaiting(work)


async def _awaiting(work: Awaitable[object]) -> object:
    return await work


@types.coroutine
def metered(meter: UnitMeter, job: Job, work: Coroutine[Any, Any, _T]) -> Generator[Any, Any, _T]:
    """Run a task, and have its unit measured. Cancellation, what is raised and what is returned pass through."""
    give_up, send, here = meter.give_up, work.send, meter.here
    # What is thrown, and what is asked for, stays in no variable: an error in a frame that it passes is a cycle, and a future that
    # was cancelled holds what it was cancelled with.
    thrown: list[BaseException] = []
    hand: list[Any] = []
    given: Any = None
    try:
        while True:
            began, here[0] = meter.now(), meter
            if meter.state or meter.helpers:
                meter.go_on(job, began)
            try:
                asked = work.throw(thrown.pop()) if thrown else send(given)
            except BaseException as end:
                here[0] = None
                given = None
                give_up(job, _END, began)
                if isinstance(end, StopIteration):
                    result: _T = end.value
                    return result
                raise
            here[0] = None
            give_up(job, asked, began)
            hand.append(asked)
            del asked
            try:
                given = yield hand.pop()
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:  # noqa: BLE001 - handed to the task, which decides what becomes of it
                given = None
                thrown.append(error)
    finally:
        meter.end(job)

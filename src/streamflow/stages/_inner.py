"""A stage inside a stage: run on channels of its own, fed unit by unit, begun anew after a failure.

Above: `_around`, and the stages of resilience on it. Below: `_forms`, `_context`, `channels`.

Rules:

1. *A unit is what is handed over at a time*: one element, or one turn where the inner stage accumulates. Its results end where a
   marker comes out that was sent in behind it: a stage does not accept it, so it leaves behind the results of all before it.
2. *An incarnation lives on from unit to unit*, as a stage does, and keeps its state. One that has failed or was cancelled is never
   used again; the next unit begins a new one, with a fresh frame on fresh channels.
3. *Its tasks are helpers of the outer stage*, each in a scope, so that they end with that stage and can be cancelled before. What
   it raises is caught and waits for who reads its results: behind all that it sent.
4. *Cancelling does not wait.* The channels are closed at once, so nothing comes out any more, however long it unwinds.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Never

import anyio
import anyio.lowlevel

from .._records import Record
from ..channels import count_waits_between, open_channel
from ..elements import ControlElement, Marker, TurnEnd, TurnReset, TurnStart
from ..errors import OutputClosedError
from ._admission import EVERYTHING, admission
from ._context import CURRENT_RUN
from ._deadlines import next_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from ..channels import ReceiveEnd, SendEnd
    from ..elements import StreamElement
    from ._context import RunContext
    from ._contract import StageSpec

__all__ = ["RESULTS", "InnerRun", "TurnCount", "Unit", "inner_part"]

RESULTS = 16
"""Most results that wait inside, between an inner stage and its outer one: as on any edge."""


class Unit(Record, frozen=True):
    """What an inner stage is given at a time."""

    elements: tuple[StreamElement, ...]
    """One element, or those of a turn, its `TurnEnd` included. Empty: the input has ended behind the unit before it."""
    turns: TurnCount
    """Gives the turns of its results their numbers."""
    is_last: bool = False
    """Whether the input has ended behind it."""


class TurnCount:
    """Numbers the turns that inner stages begin: an incarnation counts from 0, and a run has several of them."""

    def __init__(self) -> None:
        self._count = 0
        self._is_ours = False  # the turn in hand was begun inside
        self._may_begin = True

    def begin(self, elements: Sequence[StreamElement]) -> None:
        """Begin a unit. One that brings the beginning of its turn along keeps the number that it has."""
        self._count += self._is_ours
        self._is_ours = False
        self._may_begin = not any(isinstance(element, TurnStart) for element in elements)

    def numbered(self, element: StreamElement) -> StreamElement:
        """Return a result with the number of its turn in this run."""
        if not isinstance(element, ControlElement):
            return element
        self._is_ours = self._is_ours or (self._may_begin and isinstance(element, TurnStart))
        if self._is_ours and isinstance(element, (TurnStart, TurnEnd, TurnReset)) and element.index != self._count:
            return element.replace(index=self._count)
        return element


class _UnitEnd(Marker, frozen=True, gc=False):
    """Where the results of a unit end."""


class InnerRun:
    """An inner stage in one run of its outer stage.

    Args:
        spec: The inner stage.
        run: The context of the outer one.
        most: Most elements of a unit.
        output: What the outer stage writes; tells its run when the inner one waits.
    """

    def __init__(self, spec: StageSpec, run: RunContext[Any], most: int, output: SendEnd[Never]) -> None:
        self.name: str = spec.name
        """Name of the inner stage."""
        self.has_returned: bool = False
        """Whether it returned before its input had ended: it has enough."""
        self.is_late: bool = False
        """Whether `next()` ended because time was up."""
        self._spec = spec
        self._run = run
        self._most = most
        self._output = output
        self._current: _Incarnation | None = None
        self._end: _UnitEnd | None = None
        self._turns = TurnCount()
        self._failure: Exception | None = None

    @property
    def is_alive(self) -> bool:
        """Whether there is an incarnation whose end has not been read."""
        return self._current is not None

    async def begin(self, unit: Unit) -> None:
        """Hand a unit over; its results are for `next()`.

        Cancellation: a checkpoint, before anything is begun.
        """
        # Once the run has been cancelled no helper can be started; trio tells a task so no sooner than it asks.
        await anyio.lowlevel.checkpoint_if_cancelled()
        self.is_late, self._failure = False, None
        if self._current is None:
            self._current = _Incarnation(self._spec, self._run, self._most + 1, self._output)  # and the marker
        self._end, self._turns = None if unit.is_last else _UnitEnd(), unit.turns
        self._current.feed(unit, self._end)

    async def next(self, deadline_s: float | None = None) -> StreamElement | None:
        """Return the next result; None at the end of the unit's results, or of the inner stage, or when time is up.

        Args:
            deadline_s: When it is too late, on the event loop's clock; then the inner stage is cancelled. None: never.

        Cancellation: no result was taken.
        """
        current = self._current
        if current is None:
            return None
        try:
            # What is there needs no scope; without a look at the clock, one that is always ahead would never be too late.
            is_early = deadline_s is None or anyio.current_time() < deadline_s
            element = current.results.try_receive() if is_early else None
            if element is None:
                element = await next_until(current.results, deadline_s)
        except anyio.EndOfStream:
            self._current = None
            self._failure = current.take_failure()
            self.has_returned = self._failure is None and self._end is not None
            return None
        if element is None:
            self.is_late = True
            self.cancel()
        if element is None or element is self._end:
            return None
        return self._turns.numbered(element)

    def take_failure(self) -> Exception | None:
        """Return what the inner stage has failed with, once; None if it has not."""
        failure, self._failure = self._failure, None
        return failure

    def cancel(self) -> None:
        """End what is alive: nothing comes out any more. Does not wait until it has unwound. Idempotent."""
        current, self._current = self._current, None
        if current is not None:
            current.cancel()


class _Incarnation:
    """An inner stage from its beginning to its end."""

    def __init__(self, spec: StageSpec, run: RunContext[Any], room: int, output: SendEnd[Never]) -> None:
        name = f"{run.stage}/{spec.name}"
        into, out = f"{run.stage} → {name}", f"{name} → {run.stage}"
        self._entrance: SendEnd[Any]
        self._reads: ReceiveEnd[Any]
        self._writes: SendEnd[Any]
        self.results: ReceiveEnd[StreamElement]
        """What it sends, and the markers that pass it by."""
        self._entrance, self._reads = open_channel(room, name=into, admit=admission(spec.accepts, producer=run.stage))
        self._writes, self.results = open_channel(RESULTS, name=out, admit=partial(_admit, name))
        for channel in (self._reads, self.results):
            count_waits_between(output, channel)
        self._reads.forward_to(self._writes)
        self._run = run
        self._name = spec.name
        self._scopes: dict[anyio.CancelScope, None] = {}  # of its tasks that are alive
        self._helpers = 0
        self._helpers_ended: anyio.Event | None = None
        self._failure: Exception | None = None
        self._is_over = False
        self._start(partial(self._live, spec, run.for_inner(spec.name, self)), spec.name)

    def feed(self, unit: Unit, end: _UnitEnd | None) -> None:
        """Put a unit on its way in, and its end behind it; None: the input ends. Never waits: there is room."""
        if self._is_over:
            return
        with suppress(OutputClosedError):  # it has closed its input, and says nothing of that before it returns
            for element in unit.elements:
                self._entrance.send_nowait(element)
            if end is not None:
                self._entrance.send_nowait(end)
        if end is None:
            self._entrance.close()

    def take_failure(self) -> Exception | None:
        """Return what it failed with, once."""
        failure, self._failure = self._failure, None
        return failure

    def cancel(self) -> None:
        """End it; what it still does is not seen by anyone."""
        self.results.close()  # first: whoever still sends learns that its reader has gone
        self._finish(None)
        self._failure = None

    async def _live(self, spec: StageSpec, context: RunContext[Any]) -> None:
        """Do what the runtime does for a stage."""
        CURRENT_RUN.set(context)
        await spec.start(context)(self._reads, self._writes, context)
        while self._helpers:
            self._helpers_ended = anyio.Event()
            await self._helpers_ended.wait()
        await (self._reads.pass_rest() if self._reads.end_was_told else self._reads.pass_aside())

    def start_helper(self, work: Callable[[], Awaitable[object]], name: str) -> Callable[[], None]:
        """Start a helper task of the inner stage, and return what cancels it."""
        return self._start(work, f"{self._name}/{name}", is_helper=True)

    def _start(
        self, work: Callable[[], Awaitable[object]], name: str, *, is_helper: bool = False
    ) -> Callable[[], None]:
        scope = anyio.CancelScope()
        if self._is_over:
            scope.cancel()  # as a task of a stage that is being cancelled
        self._scopes[scope] = None
        self._helpers += is_helper
        self._run.start_soon(self._work, work, scope, is_helper, name=name)
        return scope.cancel

    async def _work(self, work: Callable[[], Awaitable[object]], scope: anyio.CancelScope, is_helper: bool) -> None:
        failure: Exception | None = None
        is_done = False
        try:
            if not scope.cancel_called:
                with scope:
                    await work()
                    is_done = not is_helper
        except Exception as error:  # noqa: BLE001 - raised or handed on by who reads the results
            failure, is_done = (None, not is_helper) if self._is_expected(error) else (error, True)
        finally:
            del self._scopes[scope]
            self._helpers -= is_helper
        if is_done:
            self._finish(failure)
        if not self._helpers and self._helpers_ended is not None:
            self._helpers_ended.set()
        del self, work, failure  # an error knows this frame: it must not be known in turn

    def _is_expected(self, error: Exception) -> bool:
        """Say whether `error` is how it learned that its input has ended, or that its results are wanted no more."""
        if isinstance(error, anyio.EndOfStream):
            return self._reads.end_was_told
        return isinstance(error, OutputClosedError) and error.edge == self._writes.name

    def _finish(self, failure: Exception | None) -> None:
        """End what is left of it; the first one says how."""
        if self._is_over:
            return
        self._is_over, self._failure = True, failure
        for scope in tuple(self._scopes):
            scope.cancel()
        if self.results.state == "open":
            self._writes.close()
        self._reads.close("no_more_needed" if failure is None else "failure")


_WORK = _Incarnation._work.__code__  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - its own module
"""The frame behind which all is inside."""


def inner_part(traceback: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that is inside an inner stage; None if there is none."""
    while traceback is not None and traceback.tb_frame.f_code is not _WORK:
        traceback = traceback.tb_next
    return traceback


def _admit(name: str, item: object) -> bool:
    """Let results pass, and the markers that the reader looks for."""
    admission(EVERYTHING, producer=name)(item)
    return True

"""How a run's output is taken: by one iteration of it, of its text, or of one leaf; and what the consumer has been told.

Above: `_run`. Below: `_engine`.

Whoever is last to hold the run ends it: see `_run`.
"""

# ruff: noqa: SLF001 - an iteration reads its edge as the edge does itself
# pyright: reportPrivateUsage=false
from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..channels import WIDE, ArrivalEnd, is_quick_edge
from ..elements import EndOfStream, ErrorElement, RunTotals, StreamElement, TextElement, Usage, UsageElement
from ..errors import ChannelClosedError, RunStateError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Self

    from ..channels import ReceiveEnd
    from ._engine import Engine
    from ._run import Run

__all__ = ["Iteration", "LeafIteration", "Outcome", "TextIteration", "abandon", "forbid_elsewhere", "iterate"]

_log = logging.getLogger("streamflow.runtime")


class Outcome:
    """How far the consumer has come, and what it has been told."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.iterations = 0  # that the caller holds, or the run itself
        self.run_is_lost = False  # by the caller
        self.over = False
        self.end_told = False
        self.notice_told = False
        self.errors = 0
        self.usage: Usage | None = None

    def see(self, element: StreamElement) -> StreamElement:
        """Note what a control element says, and return it."""
        if isinstance(element, UsageElement) and element.final:
            self.usage = element.usage if self.usage is None else self.usage + element.usage
        elif isinstance(element, ErrorElement):
            self.errors += 1
            self.notice_told = self.notice_told or element is self.engine.notice
        return element

    async def next_of_the_end(self) -> StreamElement:
        """Return what comes after the last data: the notice of a failure, then the end; then raise the failure, then stop."""
        engine = self.engine
        if not (self.end_told or self.over):
            forbid_elsewhere(engine)
            if engine.has_tasks():
                await engine.finish_last_stages()
                await engine.finish(shield=False)
            else:
                engine.tell_end()
            if not engine.cancelled and not self.over:
                if engine.notice is not None and not self.notice_told:
                    return self.see(engine.notice)
                self.end_told = True
                duration_s = engine.jobs.backend.now() - engine.began_s
                totals = RunTotals(engine.outlet.received, self.errors, self.usage, duration_s)
                return EndOfStream(engine.reason, totals)
        self.over = True
        error = None if engine.cancelled else engine.take_failure()
        if error is None:
            raise StopAsyncIteration
        try:
            raise error
        finally:
            del error  # the error's traceback holds this frame: nothing may be left waiting for the garbage collector


class Iteration:
    """One iteration of a run.

    Its methods hand out coroutines that do not hold it: a traceback holds the frames of coroutines, and an exception that is kept
    (by a task, by who caught it) must not keep the run alive.
    """

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        outcome.iterations += 1
        self._outlet = outcome.engine.outlet

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[None, None, StreamElement]:
        outlet = self._outlet
        if outlet.backlog and not outlet.attention:
            return outlet.__anext__()  # the next element is there, and is plain data
        return _pull(self._outlet, self._outcome)

    def next_text(self) -> Coroutine[None, None, str]:
        """Return the next text fragment."""
        return _pull_text(self._outlet, self._outcome)

    def __del__(self) -> None:
        self._outcome.iterations -= 1
        if self._outcome.run_is_lost:
            abandon(self._outcome.engine)


class _PlainIteration(Iteration):
    """One iteration of a run whose output is a plain edge, or has lanes besides: the fast path of that, without the call."""

    async def __anext__(self) -> StreamElement:
        outlet = self._outlet
        if outlet._buffer and not outlet.attention:
            outlet.received += 1
            element = outlet._buffer.popleft()
            if outlet._turns and len(outlet._buffer) <= outlet._low:
                outlet._wake_sender()
            return element
        outcome = self._outcome
        del self  # see `Iteration`
        if outlet.state == "completed" and not (outlet.attention or outlet._buffer):
            return await outcome.next_of_the_end()  # without asking the edge, which would raise its end
        return await _pull(outlet, outcome)


class _MergedIteration(Iteration):
    """One iteration of a run whose output is a merge of edges that no fork above them feeds."""

    def __init__(self, outcome: Outcome, merge: ArrivalEnd[StreamElement]) -> None:
        super().__init__(outcome)
        self._merge = merge

    async def __anext__(self) -> StreamElement:
        merge = self._merge
        if merge._buffer and not merge.attention:
            merge.received += 1
            return merge._buffer.popleft()
        outcome = self._outcome
        del self  # see `Iteration`
        return await (merge.__anext__() if merge.shows_plain else _pull(merge, outcome))


def iterate(outcome: Outcome) -> Iteration:
    """Begin one iteration of a run."""
    outlet = outcome.engine.outlet
    if isinstance(outlet, ArrivalEnd):
        return _MergedIteration(outcome, outlet)
    is_quick = is_quick_edge(outlet) and outlet.capacity <= WIDE  # a wider one counts its elements
    return (_PlainIteration if is_quick else Iteration)(outcome)


class TextIteration:
    """One iteration of a run's text. No generator: one that is left early would be closed late, by whoever collects garbage."""

    def __init__(self, iteration: Iteration) -> None:
        self._iteration = iteration

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[None, None, str]:
        return self._iteration.next_text()


class LeafIteration:
    """One iteration of one leaf. It holds the run, which lives as long as somebody reads it."""

    def __init__(self, run: Run, leaf: ReceiveEnd[StreamElement], engine: Engine) -> None:
        self._run = run
        self._leaf = leaf
        self._engine = engine

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamElement:
        forbid_elsewhere(self._engine)
        try:
            return await self._leaf.__anext__()
        except StopAsyncIteration:
            await self._leaf.pass_rest()  # markers, which were for the other leaves
            raise
        except ChannelClosedError:
            raise StopAsyncIteration from None

    def __del__(self) -> None:
        self._engine.jobs.backend.call(self._leaf.close)


def forbid_elsewhere(engine: Engine) -> None:
    if not engine.jobs.backend.is_here():
        message = f"{engine.run_id} was started in another event loop; iterate it there, or call execute() again here"
        raise RunStateError(message)


async def _pull(outlet: ReceiveEnd[StreamElement], outcome: Outcome) -> StreamElement:
    if not outcome.end_told:
        forbid_elsewhere(outcome.engine)
        try:
            return outcome.see(await outlet.__anext__())
        except (StopAsyncIteration, ChannelClosedError):
            pass
    return await outcome.next_of_the_end()


async def _pull_text(outlet: ReceiveEnd[StreamElement], outcome: Outcome) -> str:
    while True:
        element = await _pull(outlet, outcome)
        if isinstance(element, TextElement):
            return element.text


def abandon(engine: Engine) -> None:
    """End a run whose owner is gone, from wherever the owner went."""
    if engine.started and (engine.jobs.alive or not engine.reporter.is_over):
        engine.jobs.backend.call(engine.cancel)
    failure = engine.take_failure()
    if failure is not None:
        _log.error("%s was left before its failure was seen: %s", engine.run_id, failure)

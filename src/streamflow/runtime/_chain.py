"""Stages of one synchronous function each that share one task: a chain.

Above: `_engine`. Below: `_jobs`, `_wiring` (a run's stages), `channels` (edges inside a chain), `stages` (steps).

Rules:

1. *Each stage is still one*: it has its edges, its context, its events, its place in reports; its `Part` stands for its task.
2. *Elements go as far as they can.* The first stage takes what is there; those behind it deal with all that comes of it before the
   task waits for more. So the task waits at two places: for an element at the first edge, for room at the last.
3. *What ends, ends from the front.* When the first stage has ended, the next one is the first, and reads what is left on the edge
   between. A stage that fails takes those before it with it, and those behind it go on, as if each had a task.
4. *What has to be awaited after all takes the chain apart*: a plain function may return a coroutine. Then each stage gets a task
   of its own and goes on where it was, but for those which are in the middle of sending the results of one element: they keep
   this one.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import inspect
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.lowlevel

from ..channels import (
    NOTHING,
    ChainedSendEnd,
    Line,
    LineCall,
    has_plain,
    is_quick_edge,
    level_of,
    line_of,
    pass_head,
    pump_each,
)
from ..errors import ChannelClosedError, OutputClosedError
from ._interruption import finish_body
from ._jobs import NO_CONTEXT, Job, is_made_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextvars import Context

    from ..channels import ReceiveEnd, SendEnd, Unusual
    from ..stages import Step
    from ._backend import Backend, TaskView
    from ._engine import Engine
    from ._stage_run import StageRun

__all__ = ["Chain", "Part", "Rest"]

_CHECKPOINT = 64
"""Results of one element after which other tasks have their turn."""

_END = object()


class Part(Job):
    """What stands for the task of one stage that shares it with others."""

    weight: int = 0
    is_shared: bool = True

    def __init__(self, stage: StageRun) -> None:
        # Nothing runs in its context, which would keep the run alive: the stage's own is the chain's to keep and to forget.
        super().__init__(stage.name, _nothing, _ignored, NO_CONTEXT)
        self.chain: Chain | None = None
        self.place: int = 0
        self.was_at_work: bool = False  # when its task ended

    @property
    def is_at_work(self) -> bool:
        """Whether the stage has an element in hand, as far as that can be seen."""
        return self.chain is not None and self.chain.is_at_work(self.place)

    @property
    def had_work(self) -> bool:
        """Whether the stage has, or had when its task ended, an element in hand, as far as that can be seen."""
        return self.was_at_work or self.is_at_work

    def cancel(self) -> None:
        """Ask the stage to end; the task ends when all its stages are to."""
        if not self.cancel_requested:
            self.cancel_requested = True
            if self.chain is not None:
                self.chain.cancel_if_unwanted()

    def look(self, backend: Backend) -> TaskView | None:
        """Return what there is to see of the task."""
        return None if self.chain is None else self.chain.carrier.look(backend)

    def start(self, backend: Backend) -> None:
        """Start the task, with the first of its stages."""
        if self.chain is not None and self.place == 0:
            self.chain.carrier.start(backend)


class _Member:
    """One stage of a chain."""

    __slots__ = ("_is_plain", "context", "failure", "is_in_line", "part", "source", "stage", "step", "target")

    def __init__(self, stage: StageRun, step: Step, part: Part) -> None:
        self.stage: StageRun = stage
        self.step: Step = step
        self.part: Part = part
        self.context: Context = stage.variables
        self.source: ReceiveEnd[Any] = stage.inputs[0]
        self.target: SendEnd[Any] = stage.output
        self.failure: BaseException | None = None  # with which it has left when another one ended it
        self._is_plain = is_quick_edge(self.source) and is_quick_edge(self.target)
        self.is_in_line: bool = self._is_plain and step.sends is not NOTHING
        """Whether elements can go through it, and through its neighbours, one by one and without a stop."""

    def burst(self) -> Unusual:
        """Move what is there, as far as there is room, in the stage's own context."""
        run, step = self.context.run, self.step
        if self._is_plain:
            return run(step.pump, step.func, self.source, self.target)
        return run(pump_each, step.func, step.pick, self.source, self.target)

    @property
    def call(self) -> LineCall:
        """What it does with one element in a line."""
        run, step = cast("Any", self.context.run), self.step
        return LineCall(self.part.place, run, step.func, step.sends, self.source, self.target)

    def cut_off(self) -> None:
        """Leave it to the next stage when it reads what this one sends."""
        if isinstance(self.target, ChainedSendEnd):
            self.target.go_on = None


class Chain:
    """The task of several stages, and what each of them is about.

    Args:
        engine: The run.
        stages: The stages, in the order in which elements pass them.
        context: What the task sees, outside of its stages.
    """

    def __init__(self, engine: Engine, stages: Sequence[StageRun], context: Context) -> None:
        self._engine: Engine | None = engine
        self._members: list[_Member] = []
        for place, stage in enumerate(stages):
            step = stage.node.stage.step
            assert step is not None, "only steps are fused"
            part = Part(stage)
            part.chain, part.place, stage.part = self, place, part
            self._members.append(_Member(stage, step, part))
        self._first = 0
        self._end = len(self._members)
        self._at = 0  # the stage whose turn it is
        self._line: Line | None = None  # from the first stage to the last
        self._is_idle = False  # it waits for room, with nothing in hand
        self._sending: list[int] = []  # those before it that wait until there is room for the next result
        self._ending = False
        name = " + ".join(stage.name for stage in stages)
        self.carrier: Job = Job(name, Chain._work, Chain._carrier_ended, context, (self,))
        """The task."""
        self.carrier.level = level_of(stages[-1].output)
        self.carrier.instead = Chain._end_unbegun
        for place, member in enumerate(self._members[:-1], start=1):
            if isinstance(member.target, ChainedSendEnd):
                member.target.go_on = _GoOn(self, place)

    def is_at_work(self, place: int) -> bool:
        """Say whether a stage has an element in hand."""
        line = self._line
        if line is not None:
            line.settle()
        if line is not None and (self._is_idle or line.has_in_hand):
            return line.has_in_hand and place == line.at
        return self.carrier.is_at_work and (place == self._at or place in self._sending)

    def cancel_if_unwanted(self) -> None:
        """Cancel the task if all its stages are to end."""
        if not self._ending and self._is_unwanted():
            self.carrier.cancel()

    def _is_unwanted(self) -> bool:
        alive = self._alive()
        return bool(alive) and all(member.part.cancel_requested for member in alive)

    def _alive(self) -> list[_Member]:
        return self._members[self._first : self._end]

    # The work

    async def _work(self) -> None:
        engine = self._engine
        assert engine is not None
        for member in self._members:
            member.context.run(member.stage.begin)
        while self._first < self._end:
            error: BaseException | None = None
            self._at = self._first
            try:
                await self._serve(self._first)
            except _Apart:
                return
            except BaseException as caught:  # noqa: BLE001 - handed to the run, which decides who raises it
                error = caught
            try:
                for member in self._alive():
                    member.part.was_at_work = member.part.is_at_work
                self._sending.clear()
                if error is not None and self._is_unwanted() and is_made_of(error, anyio.get_cancelled_exc_class()):
                    self._end_all(error)
                else:
                    self._end_with(self._at, error)
            finally:
                del error  # its traceback holds this frame

    async def _end_unbegun(self) -> None:
        self._end_all(None)

    async def _serve(self, first: int) -> None:
        """Be the task of the first stage until its input has ended."""
        member = self._members[first]
        source = member.source
        self._is_idle = False
        # Only for the first stage of all: of what is behind one that has ended, no more comes than is there.
        self._line = line_of([one.call for one in self._alive()]) if first == 0 and self._has_line() else None
        while True:
            self._at = first
            if self._line is not None:
                await self._move(self._line)
            elif has_plain(source):
                await self._pass_through(first)
                if not source.backlog:
                    continue
                self._at = first
            try:
                element = await source.__anext__()
            except StopAsyncIteration:
                break
            await self._send(first, element, member.context.run(member.step.func, element))
            if not source.backlog:  # else more is taken first, as long as there is room behind
                await self.go_on(first + 1)
        if member.stage.fence is not None or member.stage.helpers:
            await finish_body(member.stage)
        await member.stage.pass_rest()

    def _has_line(self) -> bool:
        return all(member.is_in_line for member in self._alive())

    async def _move(self, line: Line) -> None:
        """Have elements go through all stages in one go, until there is something unusual to be dealt with."""
        first = self._first
        if self.carrier.meter is not None:
            line.measure = self.carrier.meter.lend
        while True:
            self._at = first
            if line.is_held_up:
                self._at, self._is_idle = self._end - 1, True
                await line.room()
                self._is_idle = False
                if not line.has_left():
                    continue
            elif not line.source.backlog:
                await line.arrival()
            if not line.has_left() and not line.is_clear():
                return
            try:
                unusual = line.kept() if line.has_left() else line.move()
            except BaseException:
                self._at = line.at
                raise
            if unusual is not None:
                await self._send(line.at, *unusual)
            if line.is_settled:
                line.is_settled = False
                await self.go_on(max(line.at, first + 1))
                if self._line is None:
                    return

    async def _pass_through(self, first: int) -> None:
        """Move what is there from edge to edge, to the end: one burst of each stage, if nothing is unusual on its way."""
        is_left = False
        for place in range(first, self._end):
            self._at = place
            member = self._members[place]
            unusual = member.burst()
            if unusual is not None:
                await self._send(place, *unusual)
                is_left = True
                break
            is_left = place > first and bool(member.source.backlog)
            if is_left:
                break
        if is_left:
            await self.go_on(first + 1)

    async def _pump(self, member: _Member) -> None:
        unusual = member.burst()
        if unusual is not None:
            await self._send(member.part.place, *unusual)

    async def go_on(self, first: int) -> None:
        """Have the stages from one on deal with all that is inside. Cancellation: what was not dealt with stays where it is."""
        for place in range(first, self._end):
            member = self._members[place]
            source = member.source
            while source.backlog and place < self._end:
                self._at = place
                if has_plain(source):
                    await self._pump(member)
                    if not source.backlog or place >= self._end:
                        break
                self._at = place
                if not await pass_head(source):
                    element = source.receive_nowait()
                    await self._send(place, element, member.context.run(member.step.func, element))

    async def _send(self, place: int, element: Any, outcome: Any) -> None:
        """Send what has come of an element."""
        member = self._members[place]
        if member.step.must_be_awaited(outcome):
            await self._come_apart(place, element, outcome)
            return
        results = member.context.run(member.step.results, outcome, element)
        if isinstance(results, tuple):
            for result in results:
                if not member.target.try_send(result):
                    await member.target.send(result)
        else:
            await self._send_each(member, iter(results))

    async def _send_each(self, member: _Member, results: Iterator[Any]) -> None:
        sent = 0
        run, target = member.context.run, member.target
        try:
            while (result := run(next, results, _END)) is not _END:
                self._at = member.part.place
                if not target.try_send(result):
                    await target.send(result)
                sent += 1
                if sent % _CHECKPOINT == 0:
                    await anyio.lowlevel.checkpoint()
        finally:
            if isinstance(results, Generator):
                self._close(member, results)  # pyright: ignore[reportUnknownArgumentType]

    def _close(self, member: _Member, results: Generator[Any, None, None]) -> None:
        try:
            member.context.run(results.close)
        except BaseException as error:
            if self._at == member.part.place:
                raise
            member.failure = error  # another stage has failed before

    async def wait_for_room(self, place: int) -> None:
        """Have the stages from one on make room for the one before it, which is sending."""
        self._sending.append(place - 1)
        await self.go_on(place)
        # Not in a `finally`: when a stage fails, it is the one whose turn it is, and those that are sending go with it.
        self._sending.pop()
        self._at = place - 1

    async def _come_apart(self, place: int, element: Any, outcome: Any) -> None:
        engine = self._engine
        assert engine is not None
        rest = Rest(self._members[place], element, outcome)
        if any(member.part.cancel_requested for member in self._alive()):
            rest.close()
            await anyio.lowlevel.checkpoint()  # it is being cancelled
        staying = self._sending[-1] + 1 if self._sending else self._first
        leaving = self._members[staying : self._end]
        self._end = staying
        self._line = None
        for member in self._members[max(staying - 1, 0) :]:
            member.cut_off()
        for member in leaving:
            member.part.chain = None
            self._hand_over(engine, member, rest if member.part.place == place else None)
        if self._first == self._end:
            self._forget()
            engine.pulse.runnable -= 1
            raise _Apart

    @staticmethod
    def _hand_over(engine: Engine, member: _Member, rest: Rest | None) -> None:
        """Give a stage a task of its own, in which it does the rest of something before it goes on."""
        stage = member.stage
        stage.part, stage.rest, stage.instead = None, rest, _give_up
        stage.level = level_of(stage.output)
        if engine.meter is not None:
            engine.meter.take_over(stage)
        engine.pulse.runnable += 1
        engine.jobs.start(stage)
        engine.jobs.remove(member.part)

    # Its ends. Each of these is one step: nothing else runs in between.

    def _end_with(self, place: int, error: BaseException | None) -> None:
        """End one stage, and those before it, which have nobody to work for any more."""
        self._ending = True
        ended = self._members[self._first : place + 1]
        self._first = place + 1
        while ended:
            member = ended.pop()
            self._finish(member, error, is_last=not ended and self._first >= self._end)
            if ended:
                error = ended[-1].failure or OutputClosedError(ended[-1].target.name, member.source.reason)
        self._ending = False
        self.cancel_if_unwanted()

    def _end_all(self, error: BaseException | None) -> None:
        self._ending = True
        ended = self._alive()
        self._first = self._end
        for member in ended:
            self._finish(member, error, is_last=member is ended[-1])

    def _finish(self, member: _Member, error: BaseException | None, *, is_last: bool) -> None:
        engine = self._engine
        assert engine is not None
        member.part.weight = int(is_last)
        member.part.chain = None
        if is_last:
            self._forget()
        member.context.run(engine.stage_ended, member.stage, member.part, error)

    def _forget(self) -> None:
        """Know nothing any more of what knows this in turn: nothing is left waiting for the garbage collector."""
        for member in self._members:
            member.cut_off()
        self._engine = self._line = None

    def _carrier_ended(self, _job: Job, error: BaseException | None) -> None:
        if self._engine is not None and self._first < self._end:
            self._end_all(error)
        self._members = []


class _Apart(Exception):  # noqa: N818 - no error
    """All stages of the chain have tasks of their own."""


class _GoOn:
    """Has the stages behind an edge go on."""

    __slots__ = ("_chain", "_place")

    def __init__(self, chain: Chain, place: int) -> None:
        self._chain = chain
        self._place = place

    async def __call__(self) -> None:
        await self._chain.wait_for_room(self._place)


class Rest:
    """What a stage does first when it gets a task of its own: the rest of what it has begun."""

    def __init__(self, member: _Member, element: Any, outcome: Any) -> None:
        self._member = member
        self._element = element
        self._outcome = outcome

    async def __call__(self) -> None:
        member = self._member
        await member.step.resume(self._outcome, self._element, member.source, member.target)

    def close(self) -> None:
        """Give it up: it is not awaited any more."""
        if inspect.iscoroutine(self._outcome):
            self._outcome.close()


async def _give_up(stage: StageRun, rest: Rest | None) -> None:
    """Leave what a stage was about, which is cancelled before it goes on in a task of its own."""
    if rest is not None:
        rest.close()
    raise ChannelClosedError(stage.inputs[0].name)


async def _nothing() -> None:
    return None


def _ignored(_job: Job, _error: BaseException | None) -> None:
    return None

"""Rules of those who steer a run: drain, kill switch, limits of time, interruption, context, neighbours that misbehave.

Above: `check_stage`, which loads them. Below: `_stage_case`. Source: Pekko's kill switch and timers, Broadway's shutdown.
"""

from __future__ import annotations

from collections.abc import AsyncIterator  # noqa: TC003 - the runtime reads the annotations of stages
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Final

import anyio

from ..channels import ReceiveEnd, SendEnd  # noqa: TC001 - the same
from ..elements import ControlElement, EndOfStream, ErrorElement, MessageElement, StreamElement, TurnEnd
from ..errors import ChannelClosedError, RunAbortedError, RunTimeoutError
from ..middleware import MiddlewareAdapter
from ..runtime import KillSwitch
from ..stages import RunContext, stage
from ._conformance import rule
from ._stage_case import (
    CountingSource,
    StageTrial,
    agree,
    collected,
    data_of,
    expected,
    given,
    lengths,
    need_input,
    need_output,
    nothing_left,
    pipeline_of,
    reference,
    running,
    take,
    unfinished,
)
from ._sweep import injector
from ._tasks import tasks_alive

if TYPE_CHECKING:
    from ..runtime import Run

__all__: list[str] = []

_WHO: ContextVar[str] = ContextVar("streamflow_conformance_who", default="nobody")
_LIMIT_S: Final = 7.25
_MOST_TICKS: Final = 2000


class _SwitchedOffError(Exception):
    """What the kill switch is given."""


@rule(
    "SF-65",
    "A drain lets everything arrive that was inside, flushes, closes the source, and may be repeated.",
    holds="7.4",
    subject="stage",
)
async def _drain(trial: StageTrial) -> None:
    need_input(trial)
    items = lengths(trial, 3)[-1]
    for taken in (0, 2):
        given(trial, items, f"over and over; drained after {taken}")
        before, source = tasks_alive(), CountingSource(items, forever=True)
        async with running(trial, pipeline_of(trial), source) as run:
            got: list[StreamElement] = []
            with anyio.move_on_after(
                1 if trial.real_time else 100
            ):  # it may have nothing to say to this before its end
                while trial.subject.sends and len(got) < taken:
                    got += await take(run, 1)
            await trial.rest(100)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run.drain, 10_000)
                tasks.start_soon(run.drain, 10_000)
                got += [element async for element in run]
            lost = sum(run.undelivered.values())
        ends = [one.reason for one in got if isinstance(one, EndOfStream)]
        trial.require(ends == ["done"], f"the run ended with {ends}")
        trial.require(source.closed == source.begun, "the source was not closed")
        entered = source.given[: len(source.given) - lost]
        if not trial.subject.timed:
            agree(trial, data_of(got), await reference(trial, entered))
        await nothing_left(before)


@rule(
    "SF-66",
    "A kill switch completes or fails the run; its first call wins, and a later run ends at once.",
    holds="7.6",
    subject="stage",
)
async def _kill_switch(trial: StageTrial) -> None:
    items = lengths(trial, 3)[-1]
    given(trial, items, "over and over; shut down by a kill switch")
    pipeline, switch, before = pipeline_of(trial), KillSwitch(), tasks_alive()
    source = CountingSource(items, forever=True)
    async with running(trial, pipeline, source, kill_switch=switch) as run:
        await trial.rest(1)
        switch.shutdown()
        switch.abort(_SwitchedOffError())
        ends = [one.reason async for one in run if isinstance(one, EndOfStream)]
    trial.require(ends == ["done"], f"the run ended with {ends}")
    given(trial, items, "started after the switch was used")
    async with running(trial, pipeline, CountingSource(items, forever=True), kill_switch=switch) as run:
        ends = [one.reason async for one in run if isinstance(one, EndOfStream)]
    trial.require(ends == ["done"], f"a later run ended with {ends}")
    given(trial, items, "over and over; aborted by a kill switch")
    switch, failure = KillSwitch(), None
    try:
        async with running(trial, pipeline, CountingSource(items, forever=True), kill_switch=switch) as run:
            await trial.rest(1)
            switch.abort(_SwitchedOffError())
            async for _ in run:
                pass
    except RunAbortedError as error:
        failure = error
    is_endless = trial.subject.reads and await trial.subject.wanted(trial, items) == len(items)
    trial.require(failure is not None or not is_endless, "the run was not aborted")
    await nothing_left(before)


@rule(
    "SF-67",
    "A limit of time ends the run at exactly that time, once, and says which one it was.",
    holds="8.1",
    subject="stage",
)
async def _limits(trial: StageTrial) -> None:
    need_input(trial)
    items = lengths(trial, 1)[-1]
    for kind, field in (("run", "timeout_s"), ("idle", "idle_timeout_s")):
        given(trial, [], f"the source never gives anything; {field}={_LIMIT_S}")
        source = CountingSource(items, pause_s=lambda: 100_000.0)
        began, failure = anyio.current_time(), None
        try:
            async with running(trial, pipeline_of(trial, limits={field: _LIMIT_S}), source) as run:
                async for _ in run:
                    pass
        except RunTimeoutError as error:
            failure = error
        took_s = anyio.current_time() - began
        trial.require(failure is not None and failure.kind == kind, f"it ended with {failure!r}")
        trial.require(abs(took_s - _LIMIT_S) < 1e-6, f"it ended after {took_s} seconds")
        trial.require(source.closed == source.begun, "the source was not closed")


@rule(
    "SF-69",
    "Context variables go one way: a stage sees the caller's, and nobody else sees its own.",
    holds="5.2",
    subject="stage",
)
async def _context(trial: StageTrial) -> None:
    items = lengths(trial, 3)[-1]
    given(trial, items, "the caller and both neighbours set the same variable")
    seen: list[str] = []

    async def before(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
        seen.append(_WHO.get())
        _WHO.set("before")
        async for element in stream:
            yield element

    async def behind(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
        seen.append(_WHO.get())
        async for element in stream:
            yield element
        seen.append(_WHO.get())

    token = _WHO.set("caller")
    try:
        mine = dict(copy_context())
        await collected(trial, pipeline_of(trial, before=[before], behind=[behind]), items)
        changed = [one.name for one, value in copy_context().items() if one not in mine or mine[one] is not value]
    finally:
        _WHO.reset(token)
    trial.require(set(seen) <= {"caller"}, f"neighbours saw {seen}")
    trial.require(not changed, f"the caller's context has changed: {changed}")


@rule(
    "SF-73",
    "Wrapped middleware answers each turn once, and the turn ends behind its answer.",
    holds="13.2",
    subject="stage",
    level="optional",
)
async def _middleware(trial: StageTrial) -> None:
    if not isinstance(trial.subject.make(), MiddlewareAdapter):
        trial.skip("the stage wraps no middleware")
    items = [one for one in lengths(trial, 3)[-1] if not isinstance(one, TurnEnd)][:1]
    given(trial, [*items, TurnEnd()])
    got = await collected(trial, pipeline_of(trial), [*items, TurnEnd()])
    answers = [one for one in got if isinstance(one, MessageElement)]
    trial.require(len(answers) == 1, f"one turn was answered {len(answers)} times")
    trial.require(got and isinstance(got[-1], TurnEnd), "the end of the turn is not the last element")


@rule(
    "SF-74",
    "Neighbours that close twice, read twice, or send when all is over, change nothing.",
    holds="3.1",
    subject="stage",
)
async def _misbehaving_neighbours(trial: StageTrial) -> None:
    items = await unfinished(trial, lengths(trial, 3)[-1])
    refused: list[str] = []

    async def before(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]) -> None:
        async def send_all() -> None:
            async for element in input:
                await output.send(element)
            output.close()
            output.close()
            try:
                await output.send(ErrorElement("late", "sent after its own end"))
            except ChannelClosedError:
                refused.append("before")

        run.start_soon(send_all)

    async def behind(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        for _ in range(2):
            async for element in input:
                await output.send(element)
        input.close()
        input.close()

    given(trial, items, "between neighbours that misbehave")
    # They take control, too: what passes a stage by is lost with the ends that it closes itself.
    everything = (StreamElement, ControlElement)
    pipeline = pipeline_of(
        trial, before=[stage(accepts=everything)(before)], behind=[stage(accepts=everything)(behind)]
    )
    wanted = await expected(trial, items)
    for _ in range(2):
        agree(trial, await collected(trial, pipeline, items), wanted)
    trial.require(not trial.subject.reads or refused == ["before"] * 2, "what was sent after the end was not refused")


@rule(
    "SF-78",
    "Interrupted at any moment, the run goes on to its end, and control that was on its way arrives.",
    holds="15.1",
    subject="stage",
    heavy=True,
)
async def _interrupted(trial: StageTrial) -> None:
    need_input(trial)
    need_output(trial)
    items = await unfinished(trial, lengths(trial, 3)[-1])
    notice = ErrorElement("planted", "from elsewhere", "elsewhere")
    pipeline = pipeline_of(trial)
    for tick in range(1, _MOST_TICKS):
        given(trial, [*items, notice], f"interrupted at tick {tick}")
        before = tasks_alive()
        run = running(trial, pipeline, [*items, notice])
        got: list[StreamElement] = []

        async def consume(one: Run = run, into: list[StreamElement] = got) -> None:
            async with one:
                async for element in one:
                    into.append(element)  # noqa: PERF401 - kept when the run fails

        one = injector(tick, lambda: run.interrupt() if not run.zombies else None)  # noqa: B023 - called before the next round
        await one.drive(consume)
        ends = [end.reason for end in got if isinstance(end, EndOfStream)]
        trial.require(ends == ["done"], f"the run ended with {ends}")
        notices = sum(element is notice for element in got)
        trial.require(notices == 1, f"a control element came out {notices} times")
        await nothing_left(before)
        if not one.fired:
            return
    trial.require(False, f"the run still goes on after {_MOST_TICKS} ticks")

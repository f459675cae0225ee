"""Blocking middleware: it stops neither the loop nor its own neighbours, and leaves nothing behind when nobody waits any more."""

# ruff: noqa: A002, BLE001 - written as legacy code is
from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.from_thread
import pytest

from streamflow import Event, PipelineBuilder, PipelineConfig, Result, StageError, TextElement, TurnEnd, current_run
from streamflow.middleware import wrap_middleware
from streamflow.testing import (
    CancelMode,
    Outcome,
    assert_all_stages_stopped,
    assert_no_tasks_left,
    cancel_sweep,
    tasks_alive,
)

VARIABLE: ContextVar[str] = ContextVar("variable", default="unset")


async def echo(ctx: Any) -> str:
    return f"echo {ctx.input_text}"


def passing(ctx: Any, next: Any) -> None:
    next()


async def run(*chain: object, source: Any = "hi", **options: Any) -> Result:
    return await PipelineBuilder().chain(wrap_middleware("it", *chain, **options)).build().run(source)


async def test_blocking_middleware_does_not_stop_the_loop():
    """seed 001: sync middleware runs in a worker thread; others go on meanwhile."""
    go_on = threading.Event()
    began = anyio.Event()

    def blocking(ctx: Any, next: Any) -> None:
        anyio.from_thread.run_sync(began.set)
        assert go_on.wait(20), "the loop stands still"
        next()

    async def other() -> None:
        await began.wait()
        go_on.set()

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        result = await run(blocking, handler=echo)

    assert result.response == "echo hi"


@pytest.mark.slow
async def test_many_nested_blocking_calls_do_not_wait_for_each_others_threads():
    """`_threads`: an outer call holds a thread while an inner one needs one; a common limit of 40 would be a deadlock."""
    runs = 45
    inside = 0
    all_inside = anyio.Event()

    async def meeting(ctx: Any, next: Any) -> None:
        nonlocal inside
        inside += 1
        if inside == runs:
            all_inside.set()
        await all_inside.wait()
        await next()

    pipeline = PipelineBuilder().chain(wrap_middleware("it", passing, meeting, passing, handler=echo)).build()
    answers: list[str] = []

    async def one(number: int) -> None:
        answers.append((await pipeline.run(str(number))).response)

    async with anyio.create_task_group() as group:
        for number in range(runs):
            group.start_soon(one, number)

    assert sorted(answers) == sorted(f"echo {number}" for number in range(runs))


async def test_a_thread_sees_the_context_variables_of_its_run_and_so_does_the_rest():
    """semantics 5.2: those of the `execute()` call; the rest of the chain sees what the middleware around it has set."""
    seen: list[object] = []

    def blocking(ctx: Any, next: Any) -> None:
        seen.append((VARIABLE.get(), current_run().stage))
        VARIABLE.set("inner")
        next()

    async def handler(ctx: Any) -> str:
        seen.append((VARIABLE.get(), current_run().stage))
        return "x"

    VARIABLE.set("outer")
    await run(blocking, handler=handler)

    assert seen == [("outer", "it"), ("inner", "it")]
    assert VARIABLE.get() == "outer"


async def test_the_context_can_be_used_from_the_thread():
    """`MiddlewareContext`: events reach listeners on the loop's own thread; time, ids and inputs are there."""
    heard: list[tuple[str, int]] = []
    seen: list[object] = []

    def listener(event: Event) -> None:
        if event.name.startswith("my."):
            heard.append((event.name, threading.get_ident()))

    def blocking(ctx: Any) -> str:
        assert threading.get_ident() != home
        ctx.emit_event("my.event", {})
        ctx.event_sink.try_emit(type="my.other", data={})
        ctx.record_stage_event("x", "done")
        seen.extend([ctx.timer.elapsed_ms(), ctx.is_cancelled, ctx.inputs.get("x"), ctx.snapshot.input_text])
        ctx.raise_if_cancelled()
        return "x"

    home = threading.get_ident()
    await PipelineBuilder().chain(wrap_middleware("it", blocking)).on_event(listener).build().run("hi")

    assert heard == [("my.event", home), ("my.other", home)]
    assert seen == [0, False, None, "hi"]


async def test_what_a_thread_raises_is_the_cause_and_passes_through_every_layer():
    """seed 001: an exception goes from the handler through threads and tasks as it is."""
    notes: list[str] = []

    def noting(ctx: Any, next: Any) -> None:
        try:
            next()
        except ZeroDivisionError:
            notes.append("seen")
            raise

    def failing(ctx: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(StageError) as caught:
        await run(noting, noting, handler=failing)

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert notes == ["seen", "seen"]


@pytest.mark.real_clock  # threads take real time; a virtual clock would run ahead of them
async def test_a_reader_that_leaves_cancels_what_a_thread_waits_for():
    """semantics 5.5, early disconnect: the handler inside `next()` is cancelled, which no `except Exception` catches."""
    notes: list[str] = []
    began = anyio.Event()

    async def handler(ctx: Any) -> str:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            notes.append("handler cancelled")
        return "never"

    def outer(ctx: Any, next: Any) -> None:
        try:
            next()
        except Exception as error:
            notes.append(f"taken for a failure: {error!r}")
        finally:
            notes.append(f"outer left, cancelled: {ctx.is_cancelled}")

    def stubborn(ctx: Any, next: Any) -> None:
        try:
            next()
        except BaseException:
            notes.append("tries again")
            next()

    before = tasks_alive()
    async with (
        PipelineBuilder().chain(wrap_middleware("it", outer, stubborn, handler=handler)).build().execute("hi") as run_
    ):
        await began.wait()

    assert notes == ["handler cancelled", "tries again", "outer left, cancelled: True"]
    assert run_.zombies == ()
    await assert_no_tasks_left(before)
    await assert_all_stages_stopped()


async def test_a_run_waits_for_blocking_middleware_which_nothing_stops():
    """semantics 5.5: the block is left when the thread has returned; it can ask whether anybody still waits."""
    go_on = threading.Event()
    began = anyio.Event()
    notes: list[str] = []

    def blocking(ctx: Any) -> str:
        anyio.from_thread.run_sync(began.set)
        assert go_on.wait(20)
        while not ctx.is_cancelled:
            threading.Event().wait(0.001)
        notes.append("returned")
        return "nobody reads this"

    async with PipelineBuilder().chain(wrap_middleware("it", blocking)).build().execute("hi") as run_:
        await began.wait()
        threading.Timer(0.02, go_on.set).start()

    assert notes == ["returned"]
    assert run_.zombies == ()
    await assert_all_stages_stopped()


@pytest.mark.real_clock
async def test_blocking_middleware_that_takes_too_long_is_named():
    """semantics 5.5: what could not be stopped within `shutdown_timeout_s` is in `run.zombies`."""
    go_on = threading.Event()
    began = anyio.Event()

    def blocking(ctx: Any) -> None:
        anyio.from_thread.run_sync(began.set)
        go_on.wait(20)

    pipeline = PipelineBuilder(PipelineConfig(shutdown_timeout_s=0.02)).chain(wrap_middleware("it", blocking)).build()
    async with pipeline.execute("hi") as run_:
        await began.wait()
    assert run_.zombies == ("it",)

    go_on.set()
    await assert_all_stages_stopped(rounds=100_000)


async def test_a_limit_of_time_cancels_what_a_thread_waits_for():
    """`_threads`: a cancel scope of the middleware around it counts for the rest, through the thread between them."""
    notes: list[str] = []

    async def handler(ctx: Any) -> None:
        try:
            # Not a sleep: the clock of these tests stands still while a thread works.
            scope.cancel()
            await anyio.sleep_forever()
        finally:
            notes.append("handler cancelled")

    async def cancelling(ctx: Any, next: Any) -> str:
        nonlocal scope
        with anyio.CancelScope() as scope:
            await next()
            return "in time"
        return "too late"

    scope = anyio.CancelScope()
    result = await run(cancelling, passing, handler=handler)

    assert notes == ["handler cancelled"]
    assert result.response == "too late"


async def test_a_thread_whose_limit_has_passed_is_refused_whatever_it_asks_then():
    """`_threads`: what begins on the loop in a scope that was cancelled before would never be told of it, and hang."""
    notes: list[str] = []

    async def limiting(ctx: Any, next: Any) -> str:
        with anyio.CancelScope() as scope:
            ctx.data["scope"] = scope
            await next()
        return "too late"

    def late(ctx: Any, next: Any) -> None:
        anyio.from_thread.run_sync(ctx.data["scope"].cancel)
        try:
            next()
        finally:
            notes.append("left")

    async def handler(ctx: Any) -> None:
        notes.append("called")
        await anyio.sleep_forever()

    result = await run(limiting, late, handler=handler)

    assert result.response == "too late"
    assert notes == ["left"]


@pytest.mark.slow
async def test_blocking_middleware_can_be_cancelled_at_any_moment(anyio_backend_name: str):
    """semantics 5.5, 2.3: at every tick: no task left, no open handler, and the next run is as good as new."""
    opened: list[str] = []

    async def handler(ctx: Any) -> AsyncIterator[str]:
        opened.append("handler")
        try:
            yield "a"
            await anyio.lowlevel.checkpoint()
            yield "b"
        finally:
            opened.remove("handler")

    pipeline = PipelineBuilder().chain(wrap_middleware("it", passing, passing, handler=handler)).build()

    async def scenario() -> str:
        async with pipeline.execute([TextElement("hi"), TurnEnd(), TextElement("again")]) as run_:
            return "".join([element.text async for element in run_ if isinstance(element, TextElement)])

    def check(outcome: Outcome[str]) -> None:
        assert opened == []
        if not outcome.cancelled:
            assert outcome.value == "abab"

    modes: tuple[CancelMode, ...] = ("scope",) if anyio_backend_name == "trio" else ("scope", "native", "timeout")
    for how in modes:
        report = await cancel_sweep(scenario, how=how, check=check)
        assert report.completed
    await assert_all_stages_stopped()

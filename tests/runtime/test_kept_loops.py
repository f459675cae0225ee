"""The event loop of a blocking call: what is left on it is ended, and Ctrl-C is heard. Semantics 9.1."""

from __future__ import annotations

import asyncio
import contextvars
import selectors
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, NoReturn

import anyio.lowlevel
import pytest

from streamflow import PipelineBuilder, TextElement, stage
from streamflow.runtime._backend import keep_loop, run_once

SEEN: contextvars.ContextVar[str] = contextvars.ContextVar("SEEN", default="nothing")


@stage
async def passes(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield element


@pytest.fixture(autouse=True)
def usual_handler() -> Iterator[None]:
    """Begin with Python's own handler, and leave what was there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_tasks_generators_and_threads_that_are_left_end_with_the_call():
    """semantics 9.1: a blocking call leaves nothing at work behind it, as `asyncio.run()` leaves nothing."""
    ended: list[str] = []

    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("task")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            ended.append("generator")

    kept: list[object] = []

    async def work() -> str:
        kept.append(asyncio.create_task(for_ever()))
        generator = numbers()
        kept.append(generator)
        await anext(generator)
        return await asyncio.get_running_loop().run_in_executor(None, lambda: "result")

    assert run_once(work, "asyncio") == "result"
    assert ended == ["task", "generator"]


def test_a_task_that_fails_when_the_call_is_over_is_told(caplog: pytest.LogCaptureFixture):
    """semantics 9.1: what a task that was left raises in its clean-up is not lost in silence."""
    kept: list[object] = []

    async def fails() -> NoReturn:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("in its clean-up")

    async def work() -> None:
        kept.append(asyncio.create_task(fails()))
        await anyio.lowlevel.checkpoint()

    run_once(work, "asyncio")

    assert "a task that was left at the end of a blocking call has failed" in caplog.text


def test_a_kept_loop_ends_what_its_calls_have_left_once_it_is_closed():
    """semantics 9.2: between the calls of a session nothing is ended; with the session all is."""
    ended: list[str] = []
    kept: list[asyncio.Task[None]] = []

    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("task")

    async def work() -> None:
        kept.append(asyncio.create_task(for_ever()))
        await anyio.lowlevel.checkpoint()

    loop = keep_loop("asyncio")
    loop.run(work)
    assert ended == []
    loop.close()
    loop.close()
    assert ended == ["task"]


def test_the_first_ctrl_c_cancels_the_call_and_the_handler_is_put_back():
    """semantics 9.1: Ctrl-C lets the work clean up, then `KeyboardInterrupt` leaves."""
    ended: list[str] = []

    async def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        run_once(work, "asyncio")
    assert ended == ["cleaned up"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait_for_the_clean_up():
    """semantics 9.1: work that does not end when it is cancelled can still be left."""
    after: list[str] = []

    async def work() -> None:
        signal.raise_signal(signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            signal.raise_signal(signal.SIGINT)
            after.append("never")

    with pytest.raises(KeyboardInterrupt):
        run_once(work, "asyncio")
    assert after == []


def test_a_second_ctrl_c_while_the_loop_waits_ends_what_is_left():
    """semantics 9.1: work that was not at work when the second one came is cancelled once more, and cleans up."""
    ended: list[str] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            loop.call_soon(signal.raise_signal, signal.SIGINT)
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        run_once(work, "asyncio")
    assert ended == ["cleaned up"]


def test_a_cancellation_that_is_no_ctrl_c_stays_one():
    """semantics 9.1: a call that is cancelled from inside raises what it raised."""

    async def work() -> NoReturn:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run_once(work, "asyncio")


def test_the_programs_own_handler_of_ctrl_c_is_left_alone():
    """semantics 9.1: who handles the signal already goes on doing so, during a blocking call and after it."""
    heard: list[int] = []

    def own(number: int, _frame: object) -> None:
        heard.append(number)

    async def work() -> str:
        signal.raise_signal(signal.SIGINT)
        return "result"

    signal.signal(signal.SIGINT, own)
    assert run_once(work, "asyncio") == "result"
    assert heard == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is own


def test_a_handler_that_the_work_has_set_stays():
    """semantics 9.1: only what the blocking call itself has set is taken back."""

    def own(_number: int, _frame: object) -> None:
        return

    async def work() -> None:
        signal.signal(signal.SIGINT, own)

    run_once(work, "asyncio")
    assert signal.getsignal(signal.SIGINT) is own


def test_each_run_of_a_session_sees_what_is_set_when_it_is_called():
    """semantics 5.2: stages see the context variables of the call, also in a session that was opened before."""
    seen: list[str] = []

    @stage
    async def looks(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            seen.append(SEEN.get())
            yield element

    with PipelineBuilder().chain(looks).build().sync_session() as session:
        session.execute("x")
        token = SEEN.set("set")
        session.execute("x")
        SEEN.reset(token)
    assert seen == ["nothing", "set"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_call_that_was_left_in_the_middle_ends_no_later_one() -> None:
    """semantics 9.2: each blocking call ends with its own work, also where that of another one goes on beside it."""
    loop = keep_loop("asyncio")
    left = asyncio.Event()

    async def never_mind() -> None:
        asyncio.get_running_loop().call_soon(_interrupt_the_program)
        await left.wait()  # its end would stop the loop

    async def second() -> str:
        left.set()
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        return "its own end"

    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run(never_mind)
        assert loop.run(second) == "its own end"
    finally:
        loop.close()


def _interrupt_the_program() -> NoReturn:
    raise KeyboardInterrupt  # as a further Ctrl-C does, wherever the program is


def test_a_call_that_is_cancelled_before_its_first_step_ends() -> None:
    """semantics 9.1: of such a task no line runs, so its end is told by another one."""
    loop = keep_loop("asyncio")
    kept: list[asyncio.Task[None]] = []

    async def cancels_what_comes() -> None:
        me = asyncio.current_task()

        async def waits() -> None:
            while True:
                for task in asyncio.all_tasks() - {me, asyncio.current_task()}:
                    task.cancel()
                await anyio.lowlevel.checkpoint()

        kept.append(asyncio.create_task(waits()))
        await anyio.lowlevel.checkpoint()

    async def never_begins() -> None:
        raise AssertionError

    try:
        loop.run(cancels_what_comes)
        with pytest.raises(asyncio.CancelledError):
            loop.run(never_begins)
        kept.pop().cancel()
    finally:
        loop.close()


def test_a_call_that_waits_for_nothing_opens_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """semantics 9.1: the sockets by which a loop is woken are made when it waits, so a call that does not wait needs none."""

    def refuse() -> NoReturn:
        raise OSError("too many open files")

    pipeline = PipelineBuilder().chain(passes).build()
    monkeypatch.setattr(socket, "socketpair", refuse)
    assert pipeline.execute_sync("x").text == "x"
    with pytest.raises(OSError, match="too many open files"):
        run_once(lambda: asyncio.Event().wait(), "asyncio")
    monkeypatch.undo()
    assert pipeline.execute_sync("x").text == "x"


def test_a_loop_that_begins_to_wait_does_not_miss_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """semantics 9.1: what another thread calls while the loop makes its sockets is called, though there was none to wake it by."""
    make = selectors.DefaultSelector
    done: list[asyncio.Event] = []

    def call_meanwhile() -> selectors.BaseSelector:
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(done[0].set,))
        thread.start()
        thread.join()
        return make()

    async def work() -> str:
        done.append(asyncio.Event())
        await done[0].wait()
        return "result"

    monkeypatch.setattr(selectors, "DefaultSelector", call_meanwhile)
    assert run_once(work, "asyncio") == "result"


@pytest.mark.real_clock
def test_signals_files_timers_and_threads_reach_a_blocking_call() -> None:
    """semantics 9.1: the loop of a blocking call is the usual one for all that a stage may wait for."""

    async def work() -> list[str]:
        loop = asyncio.get_running_loop()
        heard: list[str] = []
        signalled = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, signalled.set)
        loop.call_soon(signal.raise_signal, signal.SIGUSR1)
        await signalled.wait()
        heard.append("signal")
        here, there = socket.socketpair()
        with here, there:
            here.setblocking(False)
            there.setblocking(False)
            loop.call_soon(there.send, b"file")
            heard.append((await loop.sock_recv(here, 10)).decode())
        due = asyncio.Event()
        loop.call_at(loop.time(), due.set)
        await due.wait()
        heard.extend(("timer", await asyncio.to_thread(lambda: "thread")))
        return heard

    assert run_once(work, "asyncio") == ["signal", "file", "timer", "thread"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_blocking_call_runs_on_the_loop_of_the_programs_policy() -> None:
    """semantics 9.1: who has chosen another event loop, as uvloop's users do, gets that."""

    class OwnLoop(asyncio.SelectorEventLoop):
        pass

    class OwnPolicy(asyncio.DefaultEventLoopPolicy):
        _loop_factory = OwnLoop

    async def work() -> type:
        return type(asyncio.get_running_loop())

    known: Any = asyncio  # policies are deprecated in Python 3.14
    known.set_event_loop_policy(OwnPolicy())
    try:
        assert run_once(work, "asyncio") is OwnLoop
    finally:
        known.set_event_loop_policy(None)

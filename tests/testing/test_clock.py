"""`virtual_time`: an hour costs milliseconds, times are exact, and threads and sockets still work."""

import asyncio
import concurrent.futures
import gc
import subprocess
import sys
import threading
from types import FrameType

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import blockbuster
import pytest
from anyio._backends._asyncio import WorkerThread
from hypothesis import given
from hypothesis import strategies as st

from streamflow import PassthroughStage, PipelineBuilder, PipelineConfig, TextElement, ThreadStage
from streamflow.errors import MissingExtraError
from streamflow.testing import run_virtual, virtual_time


async def now_s() -> float:
    return anyio.current_time()


async def test_an_hour_passes_without_waiting_for_it() -> None:
    """`virtual_time`: the clock starts at 0 and a sleep ends at exactly its time; a real hour would hit the timeout."""
    assert anyio.current_time() == 0.0

    await anyio.sleep(3600)

    assert anyio.current_time() == 3600.0


@given(delays_s=st.lists(st.integers(0, 10**9), min_size=1, max_size=8))
async def test_every_example_starts_at_zero_and_timers_fire_in_order(delays_s: list[int]) -> None:
    """`virtual_time`: every run has a fresh clock, and each task sees exactly the time that it asked for."""
    assert anyio.current_time() == 0.0
    woken: list[tuple[int, float]] = []

    async def sleeper(delay_s: int) -> None:
        await anyio.sleep(delay_s)
        woken.append((delay_s, anyio.current_time()))

    async with anyio.create_task_group() as tasks:
        for delay_s in delays_s:
            tasks.start_soon(sleeper, delay_s)

    assert [delay_s for delay_s, _ in woken] == sorted(delays_s)
    assert all(at_s == delay_s for delay_s, at_s in woken)


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_timers_closer_than_the_real_resolution_fire_one_by_one() -> None:
    """The real loop fires all timers within a nanosecond together; on virtual time every timer sees its own time."""
    loop = asyncio.get_running_loop()
    seen: list[float] = []
    for when in (1.0, 1.0 + 2**-40, 10.0**8, 10.0**8 + 2**-20):
        loop.call_at(when, lambda: seen.append(loop.time()))

    await asyncio.sleep(10.0**9)

    assert seen == [1.0, 1.0 + 2**-40, 10.0**8, 10.0**8 + 2**-20]


async def test_a_timeout_ends_a_wait_at_exactly_its_time() -> None:
    """`virtual_time`: deadlines of cancel scopes are on the same clock."""
    with anyio.move_on_after(90) as scope:
        await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert anyio.current_time() == 90.0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_run_virtual_gives_each_run_its_own_clock(backend: str) -> None:
    """`run_virtual` runs with arguments, returns the result, and always starts at 0."""

    async def nap(seconds: float) -> float:
        await anyio.sleep(seconds)
        return anyio.current_time()

    assert run_virtual(nap, 7200.0, backend=backend) == 7200.0
    assert run_virtual(now_s, backend=backend) == 0.0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_options_can_be_used_for_several_runs(backend: str) -> None:
    """`virtual_time`: one set of options gives every run a fresh clock, as Hypothesis needs for its examples."""
    options = virtual_time(backend)

    anyio.run(anyio.sleep, 50, backend=backend, backend_options=options)

    assert anyio.run(now_s, backend=backend, backend_options=options) == 0.0


async def test_worker_threads_deliver_their_results() -> None:
    """`virtual_time`: `anyio.to_thread` works, and threads may call back into the loop."""

    def work() -> str:
        return anyio.from_thread.run(echo, "from a thread")

    async def echo(text: str) -> str:
        await anyio.sleep(10)
        return text

    assert await anyio.to_thread.run_sync(work) == "from a thread"
    assert anyio.current_time() == 10.0


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize("way", ["anyio", "asyncio.to_thread", "executor"])
async def test_the_clock_stands_still_while_a_thread_works(way: str) -> None:
    """`virtual_time` on asyncio: a timeout cannot overtake a thread that a task waits for."""
    go_on = threading.Event()
    pool = concurrent.futures.ThreadPoolExecutor()

    def work() -> str:
        assert go_on.wait(30)
        return "done"

    ways = {
        "anyio": lambda: anyio.to_thread.run_sync(work),
        "asyncio.to_thread": lambda: asyncio.to_thread(work),
        "executor": lambda: asyncio.get_running_loop().run_in_executor(pool, work),
    }
    # The work ends only after the loop has been idle for many of its looks at the thread.
    helper = threading.Timer(0.05, go_on.set)
    helper.start()
    with anyio.fail_after(1):
        assert await ways[way]() == "done"
    await anyio.to_thread.run_sync(helper.join)
    pool.shutdown(wait=False)

    assert anyio.current_time() == 0.0


@pytest.mark.parametrize("metrics", [False, True])
@pytest.mark.parametrize("forks", [False, True])
async def test_the_clock_stands_still_while_a_thread_of_a_stage_works(metrics: bool, forks: bool) -> None:
    """`virtual_time`: also where the task of the stage is measured, or writes a fork, and so drives its body by hand."""
    go_on = threading.Event()

    def work(element: TextElement) -> TextElement:
        assert go_on.wait(30)
        return element

    builder = PipelineBuilder(PipelineConfig(metrics=metrics)).chain(ThreadStage(work, name="work"))
    if forks:
        builder.branch("work", PassthroughStage("a"), PassthroughStage("b"))
    helper = threading.Timer(0.02, go_on.set)
    helper.start()
    with anyio.fail_after(1):
        await builder.build().run("x")
    await anyio.to_thread.run_sync(helper.join)

    assert anyio.current_time() == 0.0


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_an_executor_thread_that_waits_for_the_loop_does_not_hold_the_clock() -> None:
    """`virtual_time` on asyncio: a thread that waits for a timer of the loop would wait for ever."""
    loop = asyncio.get_running_loop()

    def work() -> str:
        return asyncio.run_coroutine_threadsafe(asyncio.sleep(20, "slept"), loop).result()

    assert await asyncio.to_thread(work) == "slept"
    assert loop.time() == 20.0


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_an_abandoned_thread_does_not_hold_the_clock() -> None:
    """`virtual_time` on asyncio: nobody waits for a thread abandoned on cancellation."""
    started, go_on = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        go_on.wait(30)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: anyio.to_thread.run_sync(work, abandon_on_cancel=True))
        while not started.is_set():
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    await anyio.sleep(60)
    go_on.set()

    assert anyio.current_time() == 60.0


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_job_that_waits_for_an_abandoned_thread_holds_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """`virtual_time` on asyncio: a worker is idle for anyio a moment before it has left its last job; the next one counts."""
    started, go_on, leave = threading.Event(), threading.Event(), threading.Event()
    workers: list[WorkerThread] = []
    looks: list[WorkerThread] = []
    loop = asyncio.get_running_loop()
    look = loop.is_work_in_threads

    def abandoned() -> None:
        worker = threading.current_thread()
        workers.append(worker)
        task_done = worker.queue.task_done

        def late() -> None:
            leave.wait(30)
            task_done()

        worker.queue.task_done = late
        started.set()
        go_on.wait(30)

    def looked() -> bool:
        found = look()
        looks.extend(workers if workers and workers[0].queue.qsize() else ())
        if len(looks) > 1:  # the first one decided whether the clock may jump
            leave.set()
        return found

    monkeypatch.setattr(loop, "is_work_in_threads", looked)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: anyio.to_thread.run_sync(abandoned, abandon_on_cancel=True))
        while not started.is_set():
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    go_on.set()
    while not workers[0].idle_workers:
        await anyio.lowlevel.checkpoint()
    with anyio.fail_after(60):
        assert await anyio.to_thread.run_sync(threading.current_thread) is workers[0]
    assert anyio.current_time() == 0.0


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_thread_that_has_its_answer_from_the_loop_holds_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """`virtual_time` on asyncio: it waits for the loop until the answer is there, and works again from then on."""
    leaving, leave = threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    look = loop.is_work_in_threads

    def looked() -> bool:
        found = look()
        if leaving.is_set():
            leave.set()
        return found

    def trace(frame: FrameType, event: str, _: object) -> object:
        if frame.f_code is not concurrent.futures.Future.result.__code__:
            return None
        if event == "return":
            leaving.set()
            leave.wait(30)
        return trace

    def work() -> None:
        sys.settrace(trace)
        try:
            anyio.from_thread.run(anyio.lowlevel.checkpoint)
        finally:
            sys.settrace(None)

    monkeypatch.setattr(loop, "is_work_in_threads", looked)
    with anyio.fail_after(60):
        await anyio.to_thread.run_sync(work)
    assert anyio.current_time() == 0.0


async def test_a_thread_started_by_hand_can_wake_the_loop() -> None:
    """`virtual_time`: no deadlock is reported while an unknown thread may still call in."""
    woken = anyio.Event()
    token = anyio.lowlevel.current_token()
    thread = threading.Timer(0.02, lambda: anyio.from_thread.run_sync(woken.set, token=token))
    thread.start()

    await woken.wait()

    await anyio.to_thread.run_sync(thread.join)
    assert anyio.current_time() == 0.0


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_thread_started_by_hand_gets_a_moment_before_a_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    """`virtual_time` on asyncio: what arrives within the grace, here made long, comes before the timer."""
    monkeypatch.setattr("streamflow.testing._virtual_loop._GRACE_S", 30)
    woken = anyio.Event()
    token = anyio.lowlevel.current_token()
    thread = threading.Timer(0.02, lambda: anyio.from_thread.run_sync(woken.set, token=token))
    thread.start()

    with anyio.fail_after(1):
        await woken.wait()

    await anyio.to_thread.run_sync(thread.join)


def test_the_end_of_a_run_waits_for_abandoned_executor_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`virtual_time` on asyncio: joining the executor's threads is no deadlock, however long they take."""
    monkeypatch.setattr("streamflow.testing._virtual_loop._DEADLOCK_GRACE_S", 0)
    go_on = threading.Event()

    async def abandon() -> None:
        task = asyncio.create_task(asyncio.to_thread(go_on.wait, 30))
        await anyio.lowlevel.checkpoint()
        threading.Timer(0.02, go_on.set).start()
        task.cancel()
        await asyncio.wait([task])

    run_virtual(abandon)

    assert go_on.is_set()


def test_a_deadlock_is_an_error_that_lists_the_waiting_tasks() -> None:
    """`virtual_time` on asyncio: what would hang says which tasks wait, and where; idle worker threads play no part."""

    async def stuck() -> None:
        await anyio.to_thread.run_sync(threading.get_ident)
        await asyncio.to_thread(threading.get_ident)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever, name="reader of nothing")
            await anyio.Event().wait()

    with pytest.raises(AssertionError, match="deadlock: every task waits and no timer is set") as caught:
        run_virtual(stuck)

    assert "task 'reader of nothing'" in str(caught.value)
    assert "threads" not in str(caught.value)
    assert f"{__file__}:{stuck.__code__.co_firstlineno + 5} in " in str(caught.value)


def test_a_deadlock_while_a_silent_thread_lives_names_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """`virtual_time` on asyncio: a thread that never calls in delays the report but does not prevent it."""
    monkeypatch.setattr("streamflow.testing._virtual_loop._DEADLOCK_GRACE_S", 0.01)
    go_on = threading.Event()

    async def stuck() -> None:
        threading.Thread(target=go_on.wait, args=(30,), name="silent one").start()
        await anyio.sleep_forever()

    try:
        with pytest.raises(AssertionError, match="silent one"):
            run_virtual(stuck)
    finally:
        go_on.set()


def test_a_loop_in_a_thread_waits_for_its_maker() -> None:
    """`virtual_time` on asyncio: a blocking portal with nothing to do is no deadlock."""
    with anyio.from_thread.start_blocking_portal("asyncio", virtual_time("asyncio")) as portal:
        assert portal.call(anyio.sleep, 5) is None
        threading.Event().wait(0.05)  # lets the loop find that it has nothing to do; too short can only hide a fault
        assert portal.call(now_s) == 5.0


async def test_sockets_work_on_virtual_time() -> None:
    """`virtual_time`: real loopback traffic flows, and time passes between the messages only."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)

    async def echo(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            async for chunk in stream:
                await stream.send(chunk.upper())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        async with await anyio.connect_tcp("127.0.0.1", port) as client:
            for text in (b"one", b"two"):
                await client.send(text)
                assert await client.receive() == text.upper()
                await anyio.sleep(100)
        tasks.cancel_scope.cancel()
    await listener.aclose()

    assert anyio.current_time() == 200.0


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_asyncio_runs_in_debug_mode() -> None:
    """`virtual_time` and the `anyio_backend` fixture turn asyncio's debug mode on: what finds mistakes, not what is slow."""
    loop = asyncio.get_running_loop()

    def call() -> None:
        loop.call_soon(print)

    with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
        await anyio.to_thread.run_sync(call)
    with pytest.raises(TypeError, match="coroutines cannot be used"):
        loop.call_soon(test_asyncio_runs_in_debug_mode)
    assert getattr(loop.create_future(), "_source_traceback", None) is None


@pytest.mark.real_clock
async def test_the_real_clock_mark_gives_the_ordinary_clock() -> None:
    """`tests/conftest.py`: a marked test runs where no clock jumps."""
    before_s = anyio.current_time()

    await anyio.sleep(0.001)

    assert 0 < anyio.current_time() - before_s != 0.001


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_blocking_call_in_the_loop_fails() -> None:
    """`tests/conftest.py`: blocking the event loop is an error in every asyncio test."""
    with pytest.raises(blockbuster.BlockingError):
        threading.Event().wait(0.001)


def test_the_garbage_collector_is_off_on_demand(no_gc: None) -> None:
    """`tests/conftest.py`: `no_gc` switches the collector off for one test."""
    assert not gc.isenabled()


def test_trio_is_not_imported_for_asyncio() -> None:
    """`virtual_time`: whoever uses asyncio does not pay for trio."""
    code = (
        "import sys, anyio\n"
        "from streamflow.testing import cancel_sweep, run_virtual\n"
        "run_virtual(cancel_sweep, anyio.lowlevel.checkpoint)\n"
        "assert 'trio' not in sys.modules\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_trio_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """README, "Test your own stages": who has not installed trio is told how, and by no traceback of an import."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(MissingExtraError, match=r"streamflow-runtime\[trio\]"):
        virtual_time("trio")

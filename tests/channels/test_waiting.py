"""Waiting on the loop that runs, and what a channel leaves behind: no garbage, no import of trio."""

import contextlib
import gc
import subprocess
import sys
import weakref

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from streamflow.channels import open_channel, running_trio
from streamflow.channels._wait import waiter_factory
from streamflow.errors import ChannelFailedError, OutputClosedError, RunStateError


def step(coroutine):
    """Run a coroutine without an event loop up to its first wait."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


@pytest.mark.parametrize("trio_known", [False, True])
def test_waiting_without_an_event_loop_is_a_clear_error_and_does_no_harm(trio_known, monkeypatch) -> None:
    """A channel used outside asyncio and trio says so; nothing is left half done."""
    if trio_known:
        import trio

        assert sys.modules["trio"] is trio
    else:
        monkeypatch.delitem(sys.modules, "trio", raising=False)
    send, receive = open_channel(1)
    for _ in range(2):
        with pytest.raises(RunStateError, match="without a running event loop"):
            step(receive.receive())
    assert not receive.statistics().waiting_receiver
    assert step(send.send(1)) is None
    for _ in range(2):
        with pytest.raises(RunStateError):
            step(send.send(2))
    assert send.statistics().waiting_senders == 0
    assert step(receive.receive()) == 1
    assert send.try_send(3)
    assert receive.try_receive() == 3
    assert not running_trio()


async def test_the_running_loop_is_recognised(anyio_backend_name) -> None:
    """The one question on which the two loops differ."""
    assert running_trio() == (anyio_backend_name == "trio")
    assert not await anyio.to_thread.run_sync(running_trio)
    waiter = waiter_factory()()
    assert not waiter.done()
    waiter.set_result(None)
    assert waiter.done()
    with anyio.fail_after(1):
        await waiter


async def test_a_cancelled_waiter_is_done() -> None:
    """Nobody wakes a task that was cancelled: who wakes looks at `done()`."""
    waiter = waiter_factory()()

    with anyio.move_on_after(1) as scope:
        await waiter

    assert scope.cancelled_caught
    assert waiter.done()


SCRIPT = """
import asyncio, sys
from anyio.lowlevel import checkpoint
from streamflow.channels import open_channel

async def main():
    send, receive = open_channel(1)
    async with asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(receive.receive())
        for number in range(4):
            await send.send(number)
            await checkpoint()
            if number:
                await receive.receive()
    assert reader.result() == 0

asyncio.run(main())
print("trio" in sys.modules)
"""


def test_trio_is_not_imported_under_asyncio() -> None:
    """architecture: trio is optional, and imported only when it runs."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=30, check=False)

    assert (done.stdout.strip(), done.stderr) == ("False", "")


async def use_and_finish(finish, *, watched):
    """Use a channel with waits on both ends, end it, and return weak references to its ends."""
    from streamflow.testing import EdgeLedger

    send, receive = open_channel(2, watch=EdgeLedger().watch("edge") if watched else None)
    output, drain = open_channel(2)
    receive.forward_to(output)

    async def write():
        for number in range(9):
            await send.send(number)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        await wait_all_tasks_blocked()
        for number in range(9):
            assert await receive.receive() == number
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive.receive)
        await wait_all_tasks_blocked()
        await send.send("last")
    finish(send, receive)
    output.close()
    return [weakref.ref(end) for end in (send, receive, output, drain)]


def fail(send, receive):
    send.fail(ValueError("broke"))


def fail_and_read(send, receive):
    send.fail(ValueError("broke"))
    with pytest.raises(ChannelFailedError):
        receive.receive_nowait()


def read_to_the_end(send, receive):
    send.send_nowait(1)
    send.close()
    assert receive.receive_nowait() == 1
    with pytest.raises(anyio.EndOfStream):
        receive.receive_nowait()


def cancel_and_send(send, receive):
    send.send_nowait(1)
    receive.close()
    with pytest.raises(OutputClosedError):
        send.send_nowait(2)


FINISHES = [
    lambda send, _: send.close(),
    lambda _, receive: receive.close(),
    fail,
    fail_and_read,
    read_to_the_end,
    cancel_and_send,
]


@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("watched", [False, True], ids=["bare", "watched"])
@pytest.mark.parametrize("finish", FINISHES, ids=["close", "cancel", "fail", "fail read", "read", "refused"])
async def test_a_finished_channel_is_freed_without_the_garbage_collector(finish, watched) -> None:
    """A run leaves no cycles: thousands of runs must not wait for a collection."""
    assert not gc.isenabled()

    left = await use_and_finish(finish, watched=watched)

    assert [reference() for reference in left] == [None] * 4


@pytest.mark.usefixtures("no_gc")
async def test_the_end_of_a_channel_leaves_no_cycle_behind() -> None:
    """The exception that says that the channel has ended is in no frame that it refers to."""
    send, receive = open_channel(1)
    left = [weakref.ref(send), weakref.ref(receive)]
    send.close()
    for ask, end in ((receive.receive, anyio.EndOfStream), (receive.__anext__, StopAsyncIteration)):
        with contextlib.suppress(end):
            await ask()
    del send, receive, ask

    assert [reference() for reference in left] == [None, None]

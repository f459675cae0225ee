"""Every state of a channel and what each operation does in it, waiting tasks included."""

from contextlib import aclosing

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from edges import Caught, every_capacity, fill, open_edge, watched_or_not

from streamflow.channels import open_channel
from streamflow.errors import (
    ChannelBusyError,
    ChannelClosedError,
    ChannelFailedError,
    ConfigError,
    ElementError,
    OutputClosedError,
)

ENDS = {
    "own close": (lambda send, _: send.close(), ChannelClosedError, None),
    "own fail": (lambda send, _: send.fail(ValueError()), ChannelClosedError, None),
    "reader has all": (lambda _, receive: receive.close(), OutputClosedError, "no_more_needed"),
    "reader fails": (lambda _, receive: receive.close("failure"), OutputClosedError, "failure"),
}


@every_capacity
@watched_or_not
@pytest.mark.parametrize("end", ENDS)
async def test_a_send_after_the_end_says_who_ended_it(capacity, watched, end) -> None:
    """semantics 2.2: "you closed it" and "the reader has gone" are two errors, the second with its reason."""
    finish, expected, reason = ENDS[end]
    send, receive = open_edge(capacity, watched)
    await send.send(1)
    finish(send, receive)

    with pytest.raises(expected) as by_send:
        await send.send(2)
    with pytest.raises(expected) as by_nowait:
        send.send_nowait(2)
    assert not send.try_send(2)
    assert [getattr(caught.value, "reason", None) for caught in (by_send, by_nowait)] == [reason, reason]
    assert by_send.value.edge == "a → b"
    assert not send.is_open


@every_capacity
@watched_or_not
@pytest.mark.parametrize("end", ENDS)
async def test_all_senders_that_wait_are_woken_by_every_end(capacity, watched, end) -> None:
    """semantics 2.2: close, fail and cancel wake who waits, from another task, the whole queue, and nothing is enqueued."""
    finish, expected, reason = ENDS[end]
    send, receive = open_edge(capacity, watched)
    count = fill(send)
    senders = [Caught(send.send, -number) for number in range(1, 4)]

    async with anyio.create_task_group() as tasks:
        for sender in senders:
            tasks.start_soon(sender)
        await wait_all_tasks_blocked()
        assert send.statistics().waiting_senders == 3
        finish(send, receive)
        await wait_all_tasks_blocked()
        assert all(sender.done for sender in senders)

    assert [type(sender.error) for sender in senders] == [expected] * 3
    assert {getattr(sender.error, "reason", None) for sender in senders} == {reason}
    assert send.statistics().sent == count
    assert send.statistics().waiting_senders == 0


READER_ENDS = {
    "writer closes": (lambda send, _: send.close(), anyio.EndOfStream, StopAsyncIteration),
    "writer fails": (lambda send, _: send.fail(ValueError("broke")), ChannelFailedError, ChannelFailedError),
    "reader closes": (lambda _, receive: receive.close(), ChannelClosedError, ChannelClosedError),
}


@every_capacity
@watched_or_not
@pytest.mark.parametrize("end", READER_ENDS)
async def test_a_reader_that_waits_is_woken_by_every_end(capacity, watched, end) -> None:
    """semantics 2.2: the reader learns of the end at once, by the error of the form that it called."""
    finish, by_receive, by_next = READER_ENDS[end]
    for method, expected in (("receive", by_receive), ("__anext__", by_next)):
        send, receive = open_edge(capacity, watched)
        reader = Caught(getattr(receive, method))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader)
            await wait_all_tasks_blocked()
            assert receive.statistics().waiting_receiver
            finish(send, receive)
            await wait_all_tasks_blocked()
            assert reader.done

        assert type(reader.error) is expected
        assert not receive.statistics().waiting_receiver


@every_capacity
@watched_or_not
async def test_buffered_elements_come_before_a_failure_and_each_error_is_a_new_one(capacity, watched) -> None:
    """semantics 2.2: FAILED(cause) is met after the buffer, chained to the cause, however often one asks."""
    send, receive = open_edge(capacity, watched)
    count = fill(send)
    cause = ValueError("broke")
    send.fail(cause)

    assert [await anext(receive) for _ in range(count)] == list(range(count))
    errors = []
    for ask in (receive.receive, receive.__anext__, receive.receive):
        with pytest.raises(ChannelFailedError, match="a → b") as caught:
            await ask()
        errors.append(caught.value)
    with pytest.raises(ChannelFailedError) as caught:
        receive.receive_nowait()
    errors.append(caught.value)
    assert len({id(error) for error in errors}) == 4
    assert all(error.__cause__ is cause for error in errors)
    assert receive.statistics().state == "failed"


@every_capacity
@watched_or_not
async def test_buffered_elements_come_before_the_end(capacity, watched) -> None:
    """semantics 2.2: a clean end loses nothing, and stays the end."""
    send, receive = open_edge(capacity, watched)
    count = fill(send)
    send.close()

    assert [item async for item in receive] == list(range(count))
    assert [item async for item in receive] == []
    with pytest.raises(anyio.EndOfStream):
        await receive.receive()
    with pytest.raises(anyio.EndOfStream):
        receive.receive_nowait()
    assert receive.try_receive() is None


@pytest.mark.parametrize("first", ["close", "fail", "close_with", "reader close"])
async def test_the_first_end_wins_and_none_raises(first) -> None:
    """semantics 2.2: terminal states absorb; ends are idempotent, synchronous and never raise."""
    ends = {
        "close": lambda send, _: send.close(),
        "fail": lambda send, _: send.fail(ValueError()),
        "close_with": lambda send, _: send.close_with("late"),
        "reader close": lambda _, receive: receive.close(),
    }
    send, receive = open_edge()
    send.send_nowait(1)
    ends[first](send, receive)
    state = send.statistics().state

    for end in [*ends.values(), *ends.values()]:
        end(send, receive)

    assert send.statistics().state == state
    expected = {"close": "completed", "fail": "failed", "close_with": "completed", "reader close": "cancelled"}
    assert state == expected[first]
    assert send.statistics().sent == (2 if first == "close_with" else 1)
    assert send.statistics().discarded == {"no_more_needed": send.statistics().sent}


@pytest.mark.parametrize("end", ["close", "fail"])
async def test_a_reader_that_closed_is_told_so_also_after_the_writer_ended(end) -> None:
    """A close that threw elements away must not look like a clean end to whoever reads on."""
    send, receive = open_edge()
    send.send_nowait(1)
    send.close() if end == "close" else send.fail(ValueError())
    receive.close()

    with pytest.raises(ChannelClosedError):
        await anext(receive)
    with pytest.raises(ChannelClosedError):
        receive.receive_nowait()
    assert receive.statistics().discarded == {"no_more_needed": 1}


@every_capacity
async def test_a_last_notice_enters_a_full_edge_before_all_who_wait(capacity) -> None:
    """`close_with`: the error that ends a run cannot wait, and cannot be lost."""
    send, receive = open_edge(capacity)
    count = fill(send)
    waiting = Caught(send.send, "waits")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting)
        await wait_all_tasks_blocked()
        send.close_with("notice")

    assert isinstance(waiting.error, ChannelClosedError)
    assert [item async for item in receive] == [*range(count), "notice"]


async def test_a_last_notice_that_is_no_element_is_refused_and_ends_nothing() -> None:
    """`close_with(None)` is a mistake of the caller, not an end."""
    send, _ = open_edge()

    with pytest.raises(ElementError):
        send.close_with(None)

    assert send.is_open


@every_capacity
@watched_or_not
async def test_a_second_reader_is_refused_at_once_and_the_first_is_undisturbed(capacity, watched) -> None:
    """semantics 2.1: one task reads an edge."""
    send, receive = open_edge(capacity, watched)
    first = Caught(receive.receive)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await wait_all_tasks_blocked()
        for ask in (receive.receive, receive.__anext__, receive.pass_rest):
            with pytest.raises(ChannelBusyError, match="a → b"):
                await ask()
        with pytest.raises(ChannelBusyError):
            receive.receive_nowait()
        assert receive.try_receive() is None
        send.send_nowait("for the first")
        # Woken, but not yet run: the element is still the first one's.
        assert receive.try_receive() is None
        with pytest.raises(ChannelBusyError):
            receive.receive_nowait()
        with pytest.raises(ChannelBusyError):
            await receive.receive()

    assert first.value == "for the first"


@watched_or_not
async def test_a_second_reader_is_refused_while_the_first_takes_its_checkpoint(watched) -> None:
    """semantics 2.1 on a wide edge: the checkpoint between elements is no gap for another reader."""
    send, receive = open_edge(200, watched)
    fill(send)
    got, refused = [], []

    async def read():
        try:
            while len(got) < 100:
                item = await receive.receive()
                got.append(item)
        except ChannelBusyError as error:
            refused.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(read)

    assert got == list(range(100))
    assert len(refused) == 1
    assert await receive.receive() == 100


@every_capacity
@watched_or_not
async def test_none_is_refused_in_every_state(capacity, watched) -> None:
    """semantics 1.2: None is no element, however full or closed the edge is."""
    send, receive = open_edge(capacity, watched)
    for prepare in (lambda: None, lambda: fill(send), send.close, receive.close):
        prepare()
        with pytest.raises(ElementError, match="None is no element"):
            await send.send(None)
        for refuse in (send.send_nowait, send.try_send):
            with pytest.raises(ElementError, match="None is no element"):
                refuse(None)

    async def generate():
        yield 1
        yield None

    send, receive = open_edge(max(capacity, 2), watched)
    async with aclosing(generate()) as items:
        with pytest.raises(ElementError):
            await send.send_all(items)
    assert receive.statistics().sent == 1


@pytest.mark.parametrize("bad", [0, -1, True, False, 1.5, 16.0, "16", None])
def test_a_capacity_that_holds_nothing_is_refused(bad) -> None:
    """An edge holds at least one element; True is not one."""
    with pytest.raises(ConfigError, match="capacity") as caught:
        open_channel(bad)

    assert caught.value.field == "capacity"


@every_capacity
@watched_or_not
async def test_a_sender_whose_channel_ends_after_the_wake_up_is_refused(capacity, watched) -> None:
    """A wake-up is no permission: between it and the run of the sender the reader may close."""
    send, receive = open_edge(capacity, watched)
    fill(send)
    waiting = Caught(send.send, "late")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting)
        await wait_all_tasks_blocked()
        while receive.statistics().buffered:
            receive.receive_nowait()
        receive.close()

    assert isinstance(waiting.error, OutputClosedError)
    assert receive.statistics().discarded == {}


@every_capacity
async def test_nobody_overtakes_a_sender_that_waits(capacity) -> None:
    """semantics 2.1: while one waits, neither `send`, `try_send` nor `send_nowait` of another task goes before it."""
    send, receive = open_edge(capacity)
    count = fill(send)
    first, second = Caught(send.send, "first"), Caught(send.send, "second")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await wait_all_tasks_blocked()
        for _ in range(count):
            receive.receive_nowait()
        assert not send.try_send("overtakes")
        with pytest.raises(anyio.WouldBlock):
            send.send_nowait("overtakes")
        tasks.start_soon(second)
        await checkpoint()
        await wait_all_tasks_blocked()
        assert [await receive.receive(), await receive.receive()] == ["first", "second"]
        assert send.try_send("open again")

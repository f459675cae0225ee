"""The ends as streams: anyio's interfaces, every form of sending, iteration that goes on."""

from contextlib import aclosing

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from edges import Caught, every_capacity, fill, open_edge, watched_or_not

from streamflow.elements import TurnEnd
from streamflow.errors import (
    OutputClosedError,
)


@every_capacity
async def test_elements_keep_their_order_through_every_form_of_sending(capacity) -> None:
    """`send`, `send_all`, data and control share one queue."""
    items = [number if number % 5 else TurnEnd(index=number) for number in range(4 * capacity)]
    send, receive = open_edge(capacity)

    async def generate():
        for item in items[capacity:]:
            yield item

    async def write():
        async with send:
            for item in items[:capacity]:
                await send.send(item)
            await send.send_all(generate())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        got = [item async for item in receive]

    assert got == items


@every_capacity
@watched_or_not
async def test_what_is_sent_in_bulk_is_converted_where_its_type_is_unknown(capacity, watched) -> None:
    """`send_all` and `send_each` give a source's own types to `convert`, and keep the order."""
    send, receive = open_edge(capacity, watched)
    asked = []

    def convert(item):
        asked.append(item)
        return item if isinstance(item, tuple) else (item,)

    async def generate():
        for number in range(capacity):
            yield number
            yield (-number,)

    async def write():
        async with send:
            await send.send_each([0, (1,), 2, (3,)], convert)
            await send.send_all(generate(), convert)
            await send.send_each(iter([("plain",)] * 3))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        got = [item async for item in receive]

    numbers = [sign * number for number in range(capacity) for sign in (1, -1)]
    assert got == [*((number,) for number in (0, 1, 2, 3, *numbers)), *[("plain",)] * 3]
    assert asked[0] == 0
    assert {item for item in asked if isinstance(item, int)} == {0, 2, *range(capacity)}


async def test_send_all_leaves_with_the_error_and_does_not_close_what_it_read() -> None:
    """`send_all` is the loop of a generator stage: its owner closes the generator."""
    send, receive = open_edge(2)
    receive.close()

    async def generate():
        yield 1
        yield 2

    async with aclosing(generate()) as items:
        with pytest.raises(OutputClosedError):
            await send.send_all(items)
        assert await anext(items) == 2


async def test_the_ends_are_anyio_streams() -> None:
    """semantics 2.1: `async with`, `aclose`, `receive` to `EndOfStream`, as code written for anyio expects."""
    send, receive = open_edge()
    assert isinstance(send, ObjectSendStream)
    assert isinstance(receive, ObjectReceiveStream)

    async with receive:
        async with send:
            await send.send(1)
        assert await receive.receive() == 1
        with pytest.raises(anyio.EndOfStream) as caught:
            await receive.receive()
        assert caught.value.__suppress_context__
    with pytest.raises(anyio.ClosedResourceError):
        await receive.receive()
    with pytest.raises(anyio.ClosedResourceError):
        await send.send(1)
    send, receive = open_edge()
    await receive.aclose()
    await receive.aclose()
    with pytest.raises(anyio.BrokenResourceError):
        await send.send(1)


async def test_aclose_closes_also_when_it_is_cancelled() -> None:
    """anyio promises that `aclose` closes even when cancelled."""
    for index in (0, 1):
        ends = open_edge()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ends[index].aclose()
        assert scope.cancelled_caught
        assert not ends[0].is_open


@every_capacity
async def test_a_reader_goes_on_after_a_cancelled_wait(capacity) -> None:
    """`async for` is an iterator, not a generator: `move_on_after` around a pull does no harm."""
    send, receive = open_edge(capacity)
    iterator = aiter(receive)

    for number in range(3):
        with anyio.move_on_after(1) as scope:
            await anext(iterator)
        assert scope.cancelled_caught
        await send.send(number)
        with anyio.move_on_after(1) as scope:
            assert await anext(iterator) == number
        assert not scope.cancelled_caught


async def test_a_loop_that_was_left_can_be_entered_again() -> None:
    """Leaving `async for` takes nothing and closes nothing."""
    send, receive = open_edge()
    for number in range(6):
        send.send_nowait(number)
    send.close()

    async for item in receive:
        if item == 2:
            break

    assert [item async for item in receive] == [3, 4, 5]


async def send_each(send, item):
    await send.send_each([item])


async def send_all(send, item):
    async def generate():
        yield item

    async with aclosing(generate()) as items:
        await send.send_all(items)


async def send_one(send, item):
    await send.send(item)


async def try_send(send, item):
    assert send.try_send(item)


@every_capacity
@watched_or_not
@pytest.mark.parametrize("write", [send_one, send_all, send_each, try_send])
async def test_a_reader_that_waits_is_woken_by_every_form_of_sending(capacity, watched, write) -> None:
    """The first element of a type goes the long way, the second one the short way; both wake the reader."""
    send, receive = open_edge(capacity, watched)

    for number in range(2):
        reader = Caught(receive.receive)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader)
            await wait_all_tasks_blocked()
            await write(send, number)
            await wait_all_tasks_blocked()
            assert reader.value == number


@pytest.mark.parametrize("capacity", [1, 2, 3, 16, 64])
async def test_try_receive_wakes_a_sender_that_waits(capacity) -> None:
    """The short way of the reader makes room like any other."""
    send, receive = open_edge(capacity)
    fill(send)
    waiting = Caught(send.send, "waited")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting)
        await wait_all_tasks_blocked()
        while receive.statistics().buffered > capacity // 2:
            assert receive.try_receive() is not None
        await wait_all_tasks_blocked()
        assert waiting.done

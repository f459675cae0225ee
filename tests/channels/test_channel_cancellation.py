"""A cancellation at every tick: nothing lost, nothing twice, nothing out of order, and the channel still works."""

import asyncio

import anyio
import pytest
from anyio.lowlevel import checkpoint
from sweeping import every_mode, sweep

from streamflow.channels import open_channel
from streamflow.testing import EdgeLedger

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
SIZES = [(1, 4), (2, 6), (3, 8), (16, 20), (64, 67), (65, 68), (200, 40)]
EDGES = pytest.mark.parametrize(
    ("capacity", "total", "watched"),
    [(*size, False) for size in SIZES] + [(2, 6, True), (65, 68, True)],
)


class Edge:
    """One channel of one run, and how far its tasks have come: what a retry needs to know."""

    def __init__(self, capacity, total, watched):
        self.ledger, self.total = EdgeLedger(), total
        record = self.ledger.watch("edge") if watched else None
        self.send, self.receive = open_channel(capacity, watch=record)
        if record is not None:
            record.attach(self.receive)
        self.sent = 0
        self.got = []

    async def write(self):
        while self.sent < self.total:
            await self.send.send(self.sent)
            self.sent += 1
        self.send.close()

    async def read(self):
        async for item in self.receive:
            self.got.append(item)
            if item % 3 == 0:
                await checkpoint()

    def check(self):
        assert self.got == list(range(self.total))
        assert self.receive.statistics().sent == self.total
        self.ledger.check(ended=True)


@EDGES
@every_mode
async def test_a_cancelled_sender_sent_nothing_and_can_send_again(capacity, total, watched, how) -> None:
    """semantics 2.3: a `send()` that raises enqueued nothing; retried, all arrives once and in order."""
    edge = None

    async def scenario(reader):
        nonlocal edge
        edge = Edge(capacity, total, watched)
        reader.begin(edge)
        await edge.write()

    async def check(reader):
        await edge.write()
        await reader.idle.wait()
        edge.check()

    await sweep(scenario, how, check, Edge.read)


@EDGES
@every_mode
async def test_a_cancelled_reader_took_nothing_and_can_read_on(capacity, total, watched, how) -> None:
    """semantics 2.3: a `receive()` that raises took nothing; what it did not take the next pull gives."""
    edge = None

    async def scenario(writer):
        nonlocal edge
        edge = Edge(capacity, total, watched)
        writer.begin(edge)
        await edge.read()

    async def check(writer):
        await edge.read()
        await writer.idle.wait()
        edge.check()

    await sweep(scenario, how, check, Edge.write)


@EDGES
@every_mode
async def test_both_ends_cancelled_together_can_go_on(capacity, total, watched, how) -> None:
    """semantics 2.3: a run's sender and reader cancelled in one step leave a channel that works."""
    edge = None

    async def both():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(edge.write)
            tasks.start_soon(edge.read)

    async def scenario():
        nonlocal edge
        edge = Edge(capacity, total, watched)
        await both()

    async def check():
        await both()
        edge.check()

    await sweep(scenario, how, check)


@on_asyncio
@EDGES
@pytest.mark.parametrize("how", ["native", "timeout"])
async def test_both_ends_cancelled_natively_can_go_on(capacity, total, watched, how) -> None:
    """semantics 2.3: the same where `asyncio.gather` cancels both tasks by `Task.cancel()`."""
    edge = None

    async def scenario():
        nonlocal edge
        edge = Edge(capacity, total, watched)
        await asyncio.gather(edge.write(), edge.read())

    async def check():
        await asyncio.gather(edge.write(), edge.read())
        edge.check()

    await sweep(scenario, how, check)


@pytest.mark.parametrize(("capacity", "total"), [(1, 4), (2, 5), (16, 18), (65, 34)])
@every_mode
async def test_one_of_several_waiting_senders_cancelled_holds_nobody_up(capacity, total, how) -> None:
    """semantics 2.1, 2.3: whichever place in the queue the cancelled one has, the others get through, each in order."""
    edge = got = None
    sent = 0

    async def read(receive, got):
        async for item in receive:
            got.append(item)
            await checkpoint()

    async def write(send, name):
        for number in range(total):
            await send.send((name, number))

    async def write_own():
        nonlocal sent
        while sent < total:
            await edge[0].send(("own", sent))
            sent += 1

    async def scenario(reader, left, right):
        nonlocal edge, got, sent
        edge, got, sent = open_channel(capacity), [], 0
        reader.begin(edge[1], got)
        left.begin(edge[0], "left")
        right.begin(edge[0], "right")
        await write_own()

    async def check(reader, left, right):
        await write_own()
        await left.idle.wait()
        await right.idle.wait()
        edge[0].close()
        await reader.idle.wait()
        for name in ("own", "left", "right"):
            assert [number for who, number in got if who == name] == list(range(total))
        assert len(got) == 3 * total

    await sweep(scenario, how, check, read, write, write)


class Passing:
    """A stage between two channels that takes numbers and lets strings pass; every second element is a string."""

    def __init__(self, capacity, total, watched):
        self.ledger = EdgeLedger()
        records = [self.ledger.watch(name) if watched else None for name in ("in", "out")]

        def takes_numbers(item):
            return isinstance(item, int)

        self.feed, self.input = open_channel(capacity, admit=takes_numbers, watch=records[0])
        self.output, self.drain = open_channel(capacity, watch=records[1])
        self.input.forward_to(self.output)
        for record, end in zip(records, (self.input, self.drain), strict=True):
            if record is not None:
                record.attach(end)
        self.items = [number if number % 2 == 0 else f"pass {number}" for number in range(total)]
        self.in_hand = None
        self.got = []

    async def write(self):
        async with self.feed:
            for item in self.items:
                await self.feed.send(item)

    async def read(self):
        async for item in self.drain:
            self.got.append(item)
            await checkpoint()

    async def process(self):
        while True:
            if self.in_hand is not None:
                await self.output.send(self.in_hand)
                self.in_hand = None
            try:
                self.in_hand = await anext(self.input)
            except StopAsyncIteration:
                break
        await self.input.pass_rest()
        self.output.close()


@EDGES
@every_mode
async def test_a_reader_cancelled_while_elements_pass_it_by_loses_none(capacity, total, watched, how) -> None:
    """semantics 2.3, 3.3: an element that passes by is in one edge or in the other, never in neither, never in both."""
    stage = None

    async def scenario(writer, reader):
        nonlocal stage
        stage = Passing(capacity, total, watched)
        writer.begin(stage)
        reader.begin(stage)
        await stage.process()

    async def check(writer, reader):
        await stage.process()
        await writer.idle.wait()
        await reader.idle.wait()
        assert stage.got == stage.items
        stage.ledger.check(ended=True)

    await sweep(scenario, how, check, Passing.write, Passing.read)


@on_asyncio
async def test_the_sweep_would_find_a_channel_that_hands_elements_to_waiting_tasks() -> None:
    """The known-bad control: anyio's own stream loses an element when a waiting reader is cancelled natively."""
    lost = []
    state = None

    async def write(send):
        async with send:
            for number in range(4):
                await send.send(number)

    async def read(receive, got):
        async for item in receive:
            got.append(item)

    async def scenario(writer):
        nonlocal state
        send, receive = anyio.create_memory_object_stream(1)  # noqa: TID251
        state = receive, []
        writer.begin(send)
        await read(*state)

    async def check(writer):
        receive, got = state
        await read(receive, got)
        await writer.idle.wait()
        receive.close()
        lost.append([number for number in range(4) if number not in got])

    await sweep(scenario, "native", check, write)

    assert any(lost)

"""Several tasks on one channel: exactly once, in order, nobody forgotten, nobody too early."""

import itertools
import random

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from streamflow.channels import WIDE, Fence, open_channel, sweep_edge
from streamflow.elements import TextElement, TurnEnd
from streamflow.testing import EdgeLedger

CAPACITIES = st.sampled_from([1, 2, 3, 16, 64, 65, 200])
every_capacity = pytest.mark.parametrize("capacity", [1, 2, 3, 16, 64, 65, 200])


def open_edge(ledger, capacity, watched):
    """Open a channel, with an account of it or without."""
    record = ledger.watch("edge") if watched else None
    ends = open_channel(capacity, watch=record)
    if record is not None:
        record.attach(ends[1])
    return ends


@given(
    capacity=CAPACITIES,
    watched=st.booleans(),
    counts=st.lists(st.integers(0, 70), min_size=1, max_size=4),
    rates=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 2**32),
)
async def test_every_element_arrives_once_and_each_sender_keeps_its_order(
    capacity, watched, counts, rates, seed
) -> None:
    """semantics 2.1, 2.5: several senders, one reader, checkpoints anywhere: exactly once, in order, within the bound."""
    ledger, pauses = EdgeLedger(), random.Random(seed)
    send, receive = open_edge(ledger, capacity, watched)
    left = len(counts)
    got = []

    async def write(sender, count):
        nonlocal left
        for number in range(count):
            while pauses.random() < rates[0] / 2:
                await checkpoint()
            item = (sender, number) if number % 7 else TurnEnd(index=number, id=str(sender))
            if number % 3 or not send.try_send(item):
                await send.send(item)
        left -= 1
        if not left:
            send.close()

    async with anyio.create_task_group() as tasks:
        for sender, count in enumerate(counts):
            tasks.start_soon(write, sender, count)
        async for item in receive:
            assert receive.statistics().buffered <= capacity
            got.append((int(item.id), item.index) if isinstance(item, TurnEnd) else item)
            while pauses.random() < rates[1] / 2:
                await checkpoint()

    for sender, count in enumerate(counts):
        assert [number for who, number in got if who == sender] == list(range(count))
    assert len(got) == sum(counts)
    ledger.check(ended=True)


@given(
    capacity=CAPACITIES,
    watched=st.booleans(),
    leaving=st.sets(st.integers(0, 5)),
    room=st.integers(0, 200),
)
async def test_waiting_senders_are_served_in_the_order_of_their_arrival(capacity, watched, leaving, room) -> None:
    """semantics 2.1: the queue keeps its order, whoever is cancelled in it and whenever room is made."""
    ledger = EdgeLedger()
    send, receive = open_edge(ledger, capacity, watched)
    for _ in range(capacity):
        send.send_nowait("filler")
    scopes = [anyio.CancelScope() for _ in range(6)]

    async def wait(number):
        with scopes[number]:
            await send.send(number)
            accepted.append(number)

    accepted, got = [], []
    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(wait, number)
            await wait_all_tasks_blocked()
        for _ in range(min(room, capacity)):
            receive.receive_nowait()
        for number in leaving:
            scopes[number].cancel()
        await wait_all_tasks_blocked()
        while receive.statistics().buffered:
            got.append(receive.receive_nowait())
            await wait_all_tasks_blocked()

    served = [item for item in got if item != "filler"]
    # A sender that was woken before it was cancelled may still send.
    assert served == sorted(accepted)
    assert set(served) >= set(range(6)) - leaving
    ledger.check(ended=True)


@every_capacity
@pytest.mark.parametrize("watched", [False, True], ids=["bare", "watched"])
async def test_a_waiting_sender_goes_on_when_the_buffer_has_drained_to_half(capacity, watched) -> None:
    """Rule 5 of the channel: one wake-up for half a buffer, not one per element; and it does come."""
    ledger = EdgeLedger()
    send, receive = open_edge(ledger, capacity, watched)
    for number in range(capacity):
        send.send_nowait(number)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send.send, "waited")
        await wait_all_tasks_blocked()
        for left in range(capacity - 1, capacity // 2, -1):
            await receive.receive()
            assert receive.statistics().buffered == left
            await wait_all_tasks_blocked()
            assert send.statistics().waiting_senders == 1
        await receive.receive()
        await wait_all_tasks_blocked()
        assert send.statistics().waiting_senders == 0

    assert receive.statistics().buffered == capacity // 2 + 1


SCHEDULES = list(itertools.product([0, 1, 2], [0, 1], [0, 1, 2], [0, 1], [0, 1, 2], [0, 1]))
"""How many times each of six steps is put off: two of each writer, two of the reader."""


@pytest.mark.parametrize("reader_first", [False, True], ids=["writers first", "reader first"])
async def test_no_interleaving_at_capacity_one_loses_a_wake_up(reader_first) -> None:
    """Capacity 1 is where a wake-up gets lost: pauses before each of six steps, in all placements."""
    for before in SCHEDULES:
        send, receive = open_channel(1)
        got = []

        async def write(*pauses, send=send):
            for number in pauses:
                for _ in range(number):
                    await checkpoint()
                await send.send(number)

        async def read(*pauses, receive=receive, got=got):
            for number in (*pauses, 0, 0):
                for _ in range(number):
                    await checkpoint()
                got.append(await receive.receive())

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                jobs = [(write, before[:2]), (write, before[2:4]), (read, before[4:])]
                for job, pauses in reversed(jobs) if reader_first else jobs:
                    tasks.start_soon(job, *pauses)

        assert sorted(got) == sorted(before[:4])
        assert receive.statistics().buffered == 0


@pytest.mark.parametrize("capacity", [1, 2, 3, 16, 64])
async def test_the_fast_path_does_not_suspend(capacity) -> None:
    """semantics 2.4: while there is room, and while there is something, no other task runs in between."""
    send, receive = open_channel(capacity)
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await checkpoint()

    async def generate():
        for number in range(capacity):
            yield number

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await checkpoint()
        before = ticks
        for _ in range(3):
            for number in range(capacity):
                await send.send(number)
            assert [await anext(receive) for _ in range(capacity)] == list(range(capacity))
            await send.send_all(generate())
            assert [await receive.receive() for _ in range(capacity)] == list(range(capacity))
            await send.send(TurnEnd())
            assert isinstance(await anext(receive), TurnEnd)
        assert ticks == before
        for _ in range(3):  # trio shuffles: after one the ticker need not have run
            await checkpoint()
        assert ticks > before
        tasks.cancel_scope.cancel()


class Gaps:
    """Counts how many elements each end moves between two runs of a ticker task."""

    def __init__(self, backend):
        # trio shuffles the tasks of a batch: one may run last in a batch and first in the next, twice between two ticks.
        self.allowed = WIDE if backend == "asyncio" else 2 * WIDE
        self.worst = {"sent": 0, "received": 0}
        self.moved = {"sent": 0, "received": 0}
        self.ticks = 0

    def note(self, end):
        self.moved[end] += 1
        self.worst[end] = max(self.worst[end], self.moved[end])

    async def tick(self):
        while True:
            self.ticks += 1
            self.moved = {"sent": 0, "received": 0}
            await checkpoint()


WIDE_ONES = pytest.mark.parametrize("capacity", [65, 200, 10**6])
TOTAL = 600


def fill_and_close(send, total):
    for number in range(total):
        send.send_nowait(number)
    send.close()


@WIDE_ONES
@pytest.mark.parametrize("watched", [False, True], ids=["bare", "watched"])
@pytest.mark.parametrize(
    "pace",
    ["both", "late", "late, pausing writer", "late, pausing writer, nowait", "mixed", "writer alone", "reader alone"],
)
async def test_a_wide_edge_lets_others_run_every_64_elements(capacity, watched, pace, anyio_backend_name) -> None:
    """semantics 2.4: edges wider than 64 take a checkpoint at least every 64 elements, in both directions."""
    ledger, gaps = EdgeLedger(), Gaps(anyio_backend_name)
    send, receive = open_edge(ledger, capacity, watched)
    total = min(TOTAL, capacity) if pace.endswith("alone") else TOTAL
    tasks_of = {"reader alone": ["read"], "writer alone": ["write"]}.get(pace, ["write", "read"])
    got = []

    async def write():
        for number in range(total):
            # Long enough for the reader to be somewhere in the middle of what it found.
            while "pausing" in pace and number == 300 and len(got) < 150:
                await checkpoint()
            await send.send(number)
            gaps.note("sent")
        send.close()

    async def read():
        for _ in range(20 if "late" in pace else 0):
            await checkpoint()
        async for item in receive:
            gaps.note("received")
            got.append(item)
            if "nowait" in pace:
                await checkpoint()
                while receive.statistics().buffered:
                    got.append(receive.receive_nowait())
            elif pace == "mixed" and receive.statistics().buffered:
                got.append(receive.receive_nowait())
                gaps.note("received")

    if pace == "reader alone":
        fill_and_close(send, total)
    async with anyio.create_task_group() as ticker:
        ticker.start_soon(gaps.tick)
        async with anyio.create_task_group() as tasks:
            for task in tasks_of:
                tasks.start_soon({"write": write, "read": read}[task])
        ticker.cancel_scope.cancel()

    assert got == (list(range(total)) if "read" in tasks_of else [])
    assert max(gaps.worst.values()) <= gaps.allowed
    assert gaps.ticks >= total // gaps.allowed
    ledger.check()


@pytest.mark.parametrize("watched", [False, True], ids=["bare", "watched"])
async def test_dropping_on_a_wide_edge_lets_others_run_too(watched, anyio_backend_name) -> None:
    """semantics 2.4: a reader that accepts nothing of a thousand elements is a loop like any other."""
    gaps, ledger = Gaps(anyio_backend_name), EdgeLedger()

    def admit(item):
        return isinstance(item, str)

    send, receive = open_channel(10**6, admit=admit, watch=ledger.watch("edge") if watched else None)
    for number in range(1000):
        send.send_nowait(number)
    send.send_nowait("wanted")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gaps.tick)
        await checkpoint()
        before = gaps.ticks
        assert await anext(receive) == "wanted"
        tasks.cancel_scope.cancel()

    assert gaps.ticks - before >= 1000 // gaps.allowed


@every_capacity
async def test_who_waits_through_an_interruption_with_what_it_leaves_alone_still_waits_for_room(capacity) -> None:
    """semantics 2.1, 5.11: around the stage stands a fence meanwhile, which lets it through, not above the bound."""
    send, receive = open_channel(capacity)
    kept = [TextElement(str(number), interruptible=False) for number in range(capacity + 1)]
    for one in kept[:-1]:
        await send.send(one)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send.send, kept[-1])
        await wait_all_tasks_blocked()
        fence = Fence([], [send])
        sweep_edge(receive)
        await wait_all_tasks_blocked()
        assert [*receive.backlog] == kept[:-1]
        assert await receive.receive() == kept[0]
        fence.lift()
        assert [await receive.receive() for _ in kept[1:]] == kept[1:]
    assert send.try_send(kept[0])

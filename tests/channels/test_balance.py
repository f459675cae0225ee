"""The writing end of a balance: each element to whichever branch is free, and to none that has gone. Semantics 4.16."""

from __future__ import annotations

from collections import Counter

import anyio
import anyio.lowlevel
import pytest
from anyio import wait_all_tasks_blocked
from edges import Caught, every_capacity
from hypothesis import given
from hypothesis import strategies as st
from sweeping import every_mode, sweep

from streamflow import AudioElement, DataElement, TextElement, TurnEnd
from streamflow.channels import BalanceEnd, open_channel
from streamflow.errors import ElementError, OutputClosedError
from streamflow.stages import EVERYTHING, admission
from streamflow.testing import EdgeLedger

SOUND = AudioElement(b"\0\0")


class Balance:
    """A balance over branches of these capacities; `accepts` of each, all by default."""

    def __init__(self, *capacities, accepts=None, rest=False, watched=False, lanes=False):
        self.ledger = EdgeLedger()
        ends = []
        for number, capacity in enumerate((*capacities, 4) if rest else capacities):
            gate = EVERYTHING if accepts is None or number >= len(accepts) else accepts[number]
            record = self.ledger.watch(str(number)) if watched else None
            made = open_channel(
                capacity, name=f"a → {number}", admit=admission(gate, producer="a"), watch=record, lanes=lanes
            )
            if record is not None:
                record.attach(made[1])
            ends.append(made)
        self.reads = [read for _, read in ends]
        sends = [send for send, _ in ends]
        self.send = BalanceEnd("a → (…)", sends, otherwise=sends[-1] if rest else None)

    def fill(self):
        count = 0
        while self.send.try_send(TextElement(f"f{count}")):
            count += 1
        return count

    def lengths(self):
        return [len(end.backlog) for end in self.reads]


def texts(*several):
    return [TextElement(one) for one in several]


@pytest.mark.parametrize("lanes", [False, True], ids=["plain", "lanes"])
@pytest.mark.parametrize("watched", [False, True], ids=["bare", "watched"])
async def test_equally_free_branches_take_turns_and_control_goes_to_all(lanes, watched) -> None:
    """semantics 4.16: each element once; ties rotate."""
    balance = Balance(8, 8, 8, watched=watched, lanes=lanes)
    await balance.send.send_each([*texts(*"abcd"), TurnEnd()])
    there = [["/" if isinstance(one, TurnEnd) else one.text for one in end.backlog] for end in balance.reads]
    assert there == [["a", "d", "/"], ["b", "/"], ["c", "/"]]
    idle, ways = Balance(8, 8, 8, watched=watched, lanes=lanes), []
    for element in texts(*"abcd"):
        await idle.send.send(element)
        ways += [number for number, end in enumerate(idle.reads) if end.backlog]
        await idle.reads[ways[-1]].receive()
    assert ways == [0, 1, 2, 0]
    balance.ledger.check()


async def test_the_one_with_the_fewest_waiting_gets_it() -> None:
    """semantics 4.16: not the one with the widest edge."""
    balance = Balance(64, 4)
    await balance.send.send_each(texts(*"abcdef"))
    assert balance.lengths() == [3, 3]
    await balance.reads[1].receive()
    await balance.reads[1].receive()
    await balance.send.send_each(texts("g", "h"))
    assert balance.lengths() == [3, 3]


async def test_a_worker_that_waits_is_freer_than_one_that_works() -> None:
    """semantics 4.16: what is in a worker's hand counts; nothing waits behind a busy one while another is idle."""
    balance = Balance(4, 4)
    idle = Caught(balance.reads[1].receive)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(idle)
        await wait_all_tasks_blocked()
        await balance.send.send(TextElement("a"))  # nobody reads the other one: its worker works
    assert idle.value == TextElement("a")


async def test_a_sender_is_never_stuck_behind_a_full_branch_while_another_has_room() -> None:
    """semantics 4.16: it waits only when all are full, and then takes whichever has room first."""
    balance = Balance(1, 3)
    assert balance.fill() == 4
    with pytest.raises(anyio.WouldBlock):
        balance.send.send_nowait(TextElement("x"))
    async with anyio.create_task_group() as tasks:
        for text in "xy":
            tasks.start_soon(balance.send.send, TextElement(text))
            await wait_all_tasks_blocked()
        assert balance.send.statistics().waiting_senders == 2
        await balance.reads[0].receive()
        await wait_all_tasks_blocked()
        assert [one.text for one in balance.reads[0].backlog] == ["x"]  # who came first goes first
        for _ in range(3):
            await balance.reads[1].receive()
        await wait_all_tasks_blocked()
        assert [one.text for one in balance.reads[1].backlog] == ["y"]
    assert balance.send.statistics().waiting_senders == 0


async def test_control_waits_for_room_on_all_and_data_that_comes_later_waits_behind_it() -> None:
    """semantics 4.6, 4.16: what is before a boundary stays before it on every branch."""
    balance = Balance(1, 1)
    await balance.send.send(TextElement("a"))
    async with anyio.create_task_group() as tasks:
        for element in (TurnEnd(), TextElement("b")):
            tasks.start_soon(balance.send.send, element)
            await wait_all_tasks_blocked()
        assert balance.lengths() == [1, 0]
        balance.reads[0]._take()
        await wait_all_tasks_blocked()
        assert [type(end.backlog[0]) for end in balance.reads] == [TurnEnd, TurnEnd]
        balance.reads[1]._take()


async def test_a_worker_that_goes_leaves_the_rest_to_the_others() -> None:
    """semantics 4.16: also for a sender that waits; the balance ends when all have gone."""
    balance = Balance(1, 1, 1)
    assert balance.fill() == 3
    task = Caught(balance.send.send, TextElement("x"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(task)
        await wait_all_tasks_blocked()
        balance.reads[0].close()
        await wait_all_tasks_blocked()
        assert not task.done
        await balance.reads[1].receive()
    assert task.error is None
    assert balance.lengths() == [0, 1, 1]
    await balance.reads[2].receive()
    await balance.send.send(TextElement("y"))
    assert balance.lengths() == [0, 1, 1]
    last = Caught(balance.send.send, TextElement("z"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(last)
        await wait_all_tasks_blocked()
        for read in balance.reads:
            read.close()
    assert isinstance(last.error, OutputClosedError)


async def test_a_worker_gets_what_it_accepts_and_the_rest_goes_to_otherwise() -> None:
    """semantics 4.16: as branches do; what nobody accepts, or only one that has gone, is dropped and counted."""
    balance = Balance(8, 8, accepts=[(TextElement,), (TextElement, AudioElement)], rest=True)
    await balance.send.send_each([SOUND, SOUND, DataElement("x"), *texts("a", "b")])
    assert [[type(one).__name__[0] for one in end.backlog] for end in balance.reads] == [["T", "T"], ["A", "A"], ["D"]]
    strict = Balance(8, 8, accepts=[(TextElement,), (AudioElement,)])
    strict.reads[1].close()
    await strict.send.send_each([SOUND, DataElement("x"), *texts("a")])
    assert strict.send.dropped == {"no_more_needed": 1, "unrouted": 1}
    with pytest.raises(ElementError):
        await strict.send.send(None)


@every_mode
@every_capacity
async def test_a_cancelled_sender_has_sent_to_no_branch_and_holds_nobody_up(how, capacity) -> None:
    """semantics 2.3, 4.16: at every tick; the element is sent once or not at all."""
    made = {}

    async def scenario(*services):
        balance = made["balance"] = Balance(capacity, 1)
        made["filled"] = balance.fill()
        services[0].begin(balance)
        await balance.send.send(TextElement("x"))

    async def read(balance):
        await anyio.lowlevel.checkpoint()
        await balance.reads[1].receive()

    async def check(*services):
        balance = made["balance"]
        with anyio.fail_after(5):
            await services[0].idle.wait() if services[0].current else None
        statistics = balance.send.statistics()
        assert statistics.waiting_senders == 0
        there = sum(one.text == "x" for end in balance.reads for one in end.backlog)
        assert there == statistics.sent - made["filled"] <= 1

    await sweep(scenario, how, check, read)


@given(
    count=st.integers(0, 40),
    capacities=st.lists(st.sampled_from([1, 2, 3, 70]), min_size=2, max_size=4),
    senders=st.integers(1, 3),
    leavers=st.lists(st.none() | st.integers(0, 4), min_size=4, max_size=4),
    boundary=st.none() | st.integers(1, 5),
)
async def test_every_element_is_worked_on_once_whoever_works_and_leaves(
    count, capacities, senders, leavers, boundary
) -> None:
    """semantics 4.16: nothing twice, nothing lost but what a worker that went had taken; each worker sees each sender's order."""
    balance = Balance(*capacities, watched=True)
    leavers[0] = None
    got: list[list[object]] = [[] for _ in capacities]

    async def work(number):
        async for element in balance.reads[number]:
            got[number].append(element)
            await anyio.sleep(number)
            if leavers[number] is not None and len(got[number]) > leavers[number]:
                balance.reads[number].close()
                return

    sent = [[TextElement(f"{one}:{number}") for number in range(count)] for one in range(senders)]
    if boundary is not None:
        sent[0] = [element for one in sent[0] for element in (one, *([TurnEnd()] if len(one.text) % boundary else []))]
    async with anyio.create_task_group() as workers:
        for number in range(len(capacities)):
            workers.start_soon(work, number)
        async with anyio.create_task_group() as writers:
            for one in sent:
                writers.start_soon(balance.send.send_each, one)
        balance.send.close()

    data = Counter(id(one) for several in sent for one in several if isinstance(one, TextElement))
    done = Counter(id(one) for several in got for one in several if isinstance(one, TextElement))
    lost = sum(end.statistics().discarded.get("no_more_needed", 0) for end in balance.reads)
    assert done <= data
    assert data.total() - done.total() <= lost
    for several in got:
        for one in sent:
            own = [id(element) for element in one]
            there = [own.index(id(element)) for element in several if id(element) in own]
            assert there == sorted(there)
    balance.ledger.check(ended=True)

"""Priority lanes between tasks: who waits for whom, what a cancellation leaves, and where lanes meet forks and merges."""

import asyncio
import random

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from streamflow.channels import WIDE, ForkEnd, MergeEnd, open_channel
from streamflow.elements import AudioElement, Interrupt, Priority, TextElement, TurnEnd, TurnStart
from streamflow.errors import ElementError, OutputClosedError
from streamflow.testing import cancel_sweep
from tests.support.lanes import CRITICAL, HIGH, LOW, NORMAL, LaneRecord, check_order, is_fence, names, text

CAPACITIES = st.sampled_from([4, 5, 16, 64, 65, 200])
every_mode = pytest.mark.parametrize("how", ["scope", "native", "timeout"])


def open_lanes(capacity=16, watched=False, admit=None):
    record = LaneRecord() if watched else None
    ends = open_channel(capacity, name="a → b", admit=admit, watch=record, lanes=True)
    if record is not None:
        record.attach(ends[0])
    return *ends, record


def takes_text(item):
    return isinstance(item, TextElement)


def audio(name, priority=HIGH):
    return AudioElement(str(name).encode(), sample_rate=16000, priority=priority)


def fill_lane(send, priority):
    while send.try_send(text("filler", priority)):
        pass


def drain(receive):
    got = []
    while receive.statistics().buffered:
        got.append(receive.receive_nowait())
    return got


@given(
    capacity=CAPACITIES,
    watched=st.booleans(),
    counts=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    weights=st.tuples(*[st.integers(0, 5)] * 4).filter(any),
    fences=st.floats(0, 0.2),
    rates=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 2**32),
)
async def test_several_senders_and_one_reader_keep_every_promise(
    capacity, watched, counts, weights, fences, rates, seed
) -> None:
    """semantics 2.1, 2.5, 2.7: exactly once, within the bound, order in each lane, fences kept, nobody passed without end."""
    send, receive, record = open_lanes(capacity, watched)
    chance = random.Random(seed)
    left = len(counts)
    sent, got = [[] for _ in counts], []

    async def write(own, count):
        nonlocal left
        for number in range(count):
            while chance.random() < rates[0] / 2:
                await checkpoint()
            priority = chance.choices(Priority, weights)[0]
            kind = TurnEnd if chance.random() < fences else Interrupt if chance.random() < 0.1 else TextElement
            item = text(number, priority) if kind is TextElement else kind(id=str(number), priority=priority)
            if number % 3 or not send.try_send(item):
                await send.send(item)
            own.append(item)
        left -= 1
        if not left:
            send.close()

    async with anyio.create_task_group() as tasks:
        for own, count in zip(sent, counts, strict=True):
            tasks.start_soon(write, own, count)
        async for item in receive:
            assert receive.statistics().buffered <= capacity
            got.append(item)
            while chance.random() < rates[1] / 2:
                await checkpoint()

    assert len(got) == sum(counts)
    for own in sent:
        check_order(own, [item for item in got if any(item is one for one in own)])
    if watched:
        assert record.findings(ended=True) == []


async def test_a_waiting_low_sender_does_not_hold_up_a_critical_one() -> None:
    """semantics 2.7: a full lane stops its own senders, nobody else's; `send`, `try_send` and `send_nowait` alike."""
    send, receive, _ = open_lanes(8)
    fill_lane(send, LOW)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send.send, text("waits", LOW))
        await wait_all_tasks_blocked()
        assert send.statistics().waiting_senders == 1

        with anyio.fail_after(1):
            await send.send(text("sent", CRITICAL))
        assert send.try_send(text("tried", HIGH))
        send.send_nowait(text("at once", NORMAL))
        assert not send.try_send(text("waits too", LOW))
        with pytest.raises(anyio.WouldBlock):
            send.send_nowait(text("waits too", LOW))

        assert names([await receive.receive() for _ in range(3)]) == ["sent", "tried", "at once"]
        assert send.statistics().waiting_senders == 1
        rest = names([await receive.receive() for _ in range(6)])
    assert rest == ["filler"] * 5 + ["waits"]


@pytest.mark.parametrize("capacity", [4, 16, 65])
async def test_a_place_of_its_own_lane_lets_a_sender_go_on_at_once(capacity) -> None:
    """semantics 2.7: a critical sender does not wait until what is low has drained."""
    send, receive, _ = open_lanes(capacity)
    fill_lane(send, LOW) if capacity <= WIDE else [send.send_nowait(text("filler", LOW)) for _ in range(capacity - 3)]
    send.send_nowait(text("first", CRITICAL))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send.send, text("second", CRITICAL))
        tasks.start_soon(send.send, text("filler", LOW))
        await wait_all_tasks_blocked()
        assert names([await receive.receive()]) == ["first"]
        await wait_all_tasks_blocked()
        assert names([await receive.receive()]) == ["second"]
        assert send.statistics().waiting_senders == 1
        tasks.cancel_scope.cancel()


async def test_waiting_senders_of_one_lane_keep_their_order_whoever_is_cancelled() -> None:
    """semantics 2.1, 2.7: in each lane as in a queue of its own."""
    for leaving in range(8):
        send, receive, _ = open_lanes(4)
        for priority in (LOW, HIGH):
            send.send_nowait(text("filler", priority))
        scopes = [anyio.CancelScope() for _ in range(8)]

        async def wait(number, send=send, scopes=scopes):
            with scopes[number]:
                await send.send(text(number, (LOW, HIGH)[number % 2]))

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(wait, number)
                await wait_all_tasks_blocked()
            scopes[leaving].cancel()
            got = []
            while send.statistics().buffered:
                await wait_all_tasks_blocked()
                got.append(receive.receive_nowait())
                await wait_all_tasks_blocked()

        stay = [number for number in range(8) if number != leaving]
        assert [int(one) for one in names(got) if one != "filler" and int(one) % 2 == 0] == stay[::1][0:0] + [
            number for number in stay if number % 2 == 0
        ]
        assert [int(one) for one in names(got) if one != "filler" and int(one) % 2] == [
            number for number in stay if number % 2
        ]


async def test_a_fence_waits_behind_all_that_wait_and_stops_all_that_come() -> None:
    """semantics 2.7: nothing passes control in either direction, also while it waits for its place in the edge."""
    send, receive, _ = open_lanes(4)
    send.send_nowait(text("filler", LOW))
    got = []
    async with anyio.create_task_group() as tasks:
        for item in (text("before", LOW), TurnEnd(), text("behind", CRITICAL), Interrupt()):
            tasks.start_soon(send.send, item)
            await wait_all_tasks_blocked()
        assert send.statistics().waiting_senders == 4
        assert not send.try_send(text("behind too", HIGH))
        for _ in range(5):
            got += [receive.receive_nowait()]
            await wait_all_tasks_blocked()

    assert names(got) == ["filler", "before", "TurnEnd", "behind", "Interrupt"]


async def test_a_cancelled_fence_lets_those_behind_it_go_on() -> None:
    """semantics 2.3, 2.7: whoever leaves the queue wakes those whom it stopped."""
    send, receive, _ = open_lanes(4)
    send.send_nowait(text("filler", LOW))
    scope = anyio.CancelScope()

    async def end_turn():
        with scope:
            await send.send(TurnEnd())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send.send, text("before", LOW))
        await wait_all_tasks_blocked()
        tasks.start_soon(end_turn)
        await wait_all_tasks_blocked()
        tasks.start_soon(send.send, text("behind", CRITICAL))
        await wait_all_tasks_blocked()
        assert send.statistics().waiting_senders == 3
        scope.cancel()
        await wait_all_tasks_blocked()
        assert send.statistics().waiting_senders == 1
        assert names([await receive.receive() for _ in range(3)]) == ["behind", "filler", "before"]


async def test_who_waits_is_woken_when_the_edge_ends() -> None:
    """semantics 2.2: senders of every lane meet the end, and so does who sends then."""
    send, receive, _ = open_lanes(4)
    for priority in Priority:
        fill_lane(send, priority)
    refused = []

    async def wait(item):
        with pytest.raises(OutputClosedError):
            await send.send(item)
        refused.append(item)

    async with anyio.create_task_group() as tasks:
        for item in (*(text("waits", priority) for priority in Priority), TurnEnd()):
            tasks.start_soon(wait, item)
        await wait_all_tasks_blocked()
        receive.close()
    assert len(refused) == 5
    await wait(text("late"))
    assert not send.try_send(text("late"))
    assert receive.statistics().waiting_senders == 0


async def test_what_is_being_passed_on_is_not_overtaken_meanwhile() -> None:
    """semantics 2.3, 2.7: the head that the reader waits with stays the head, and leaves as itself."""
    send, receive, _ = open_lanes(admit=takes_text)
    output, drained = open_channel(1, name="b → c")
    receive.forward_to(output)
    output.send_nowait(text("full"))
    for number in range(3):
        send.send_nowait(audio(number, LOW))
    async with anyio.create_task_group() as tasks:
        got = []

        async def read():
            async for item in receive:
                got.append(item)

        tasks.start_soon(read)
        await wait_all_tasks_blocked()
        send.send_nowait(text("urgent", CRITICAL))
        send.send_nowait(text("less", HIGH))
        assert [type(item) for item in receive.backlog] == [AudioElement, TextElement, TextElement, *[AudioElement] * 2]
        await wait_all_tasks_blocked()
        assert got == []
        assert await drained.receive() == text("full")
        await wait_all_tasks_blocked()
        assert names(got) == ["urgent", "less"]
        assert [(await drained.receive()).data for _ in range(3)] == [b"0", b"1", b"2"]
        send.close()


async def test_a_head_that_is_alone_is_not_overtaken_either() -> None:
    """The same where the head has no neighbours of its lane."""
    send, receive, _ = open_lanes(admit=takes_text)
    output, drained = open_channel(1)
    receive.forward_to(output)
    output.send_nowait(text("full"))
    send.send_nowait(audio(0, LOW))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive.receive)
        await wait_all_tasks_blocked()
        send.send_nowait(text("urgent", CRITICAL))
        assert [type(item) for item in receive.backlog] == [AudioElement, TextElement]
        await drained.receive()
        await wait_all_tasks_blocked()
    send.send_nowait(text("low", LOW))
    send.send_nowait(text("urgent", CRITICAL))
    assert names(drain(receive)) == ["urgent", "low"]


async def test_a_reader_that_waits_gets_the_most_urgent_of_what_comes_before_it_runs() -> None:
    """Nothing is handed to a waiting task, so what comes first need not leave first."""
    send, receive, _ = open_lanes()
    got = []

    async def read():
        got.append(await receive.receive())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await wait_all_tasks_blocked()
        send.send_nowait(text("low", LOW))
        send.send_nowait(text("urgent", CRITICAL))
    assert names(got) == ["urgent"]


@pytest.mark.parametrize("backlog", [0, 3])
async def test_streams_are_sent_whole_from_iterables_of_both_kinds(backlog) -> None:
    """`send_all` and `send_each` keep the rules of `send`."""
    send, receive, record = open_lanes(5, watched=bool(backlog))
    items = [text(number, Priority(number * 7 % 4)) for number in range(40)]

    async def generate():
        for item in items[:20]:
            yield item

    async def write():
        await send.send_all(generate())
        await send.send_each(items[20:])
        send.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        await wait_all_tasks_blocked()
        got = [item async for item in receive]
    check_order(items, got)
    assert record is None or record.findings(ended=True) == []

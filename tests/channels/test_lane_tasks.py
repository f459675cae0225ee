"""Priority lanes between tasks: who waits for whom, what a cancellation leaves, and where lanes meet forks and merges."""

import random

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from streamflow.channels import WIDE, MergeEnd, open_channel, open_fork
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
    mix=st.tuples(st.tuples(*[st.integers(0, 5)] * 4).filter(any), st.floats(0, 0.2)),
    pace=st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32)),
)
async def test_several_senders_and_one_reader_keep_every_promise(capacity, watched, counts, mix, pace) -> None:
    """semantics 2.1, 2.5, 2.7: exactly once, within the bound, order in each lane, fences kept, nobody passed without end."""
    send, receive, record = open_lanes(capacity, watched)
    (weights, fences), (*rates, seed) = mix, pace
    chance = random.Random(seed)
    left = len(counts)
    sent, got = [[] for _ in counts], []

    async def write(own, count):
        nonlocal left
        for number in range(count):
            while chance.random() < rates[0] / 2:
                await checkpoint()
            priority = chance.choices(list(Priority), weights)[0]
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
        mine = {id(item) for item in own}
        check_order(own, [item for item in got if id(item) in mine])
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


async def test_who_waits_for_its_lane_is_woken_whatever_others_send_meanwhile() -> None:
    """The same where something else enters between the leaving of what is low and the leaving of what is critical."""
    send, receive, _ = open_lanes()
    for item in (text("a", LOW), TurnStart(priority=LOW), text("first", CRITICAL)):
        send.send_nowait(item)
    fill_lane(send, LOW)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send.send, text("second", CRITICAL))
        await wait_all_tasks_blocked()
        assert names([await receive.receive()]) == ["a"]
        send.send_nowait(text("other", HIGH))
        send.send_nowait(text("other", NORMAL))
        assert await receive.receive() == TurnStart(priority=LOW)
        assert names([await receive.receive()]) == ["first"]
        await wait_all_tasks_blocked()
        assert names([await receive.receive()]) == ["second"]


@pytest.mark.parametrize(
    ("held", "woken_at"),
    [
        ([NORMAL] * 13, 8),  # the edge has drained to half
        ([NORMAL] * 8 + [LOW] * 6, 8),  # the same, though none of its own lane has left
        ([HIGH] * 6 + [LOW] * 8, 11),  # its lane has drained to half
        ([CRITICAL] + [LOW] * 13, 13),
    ],
)
async def test_a_waiting_sender_goes_on_when_the_edge_or_its_lane_has_drained_to_half(held, woken_at) -> None:
    """Rule 5 of the channel: one wake-up for many elements, not one each; and it does come."""
    send, receive, _ = open_lanes()
    waits = held[-1] if LOW in held and NORMAL in held else held[0]
    for _ in range(2):  # an edge on which somebody has waited before is no different
        for number, priority in enumerate(held):
            send.send_nowait(text(number, priority))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send.send, text("waited", waits))
            await wait_all_tasks_blocked()
            for left in range(len(held) - 1, woken_at - 1, -1):
                assert send.statistics().waiting_senders == 1
                await receive.receive()
                assert receive.statistics().buffered == left
                await wait_all_tasks_blocked()
            assert send.statistics().waiting_senders == 0
        drain(receive)


async def test_nobody_enters_before_a_sender_of_the_lane_that_is_about_to_run() -> None:
    """semantics 2.1: there is room, and who waited for it has only not run yet."""
    send, receive, _ = open_lanes(8)
    fill_lane(send, LOW)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send.send, text("waits", LOW))
        await wait_all_tasks_blocked()
        drain(receive)
        assert not send.try_send(text("later", LOW))
        assert send.try_send(text("urgent", HIGH))
        await wait_all_tasks_blocked()
    assert names(drain(receive)) == ["urgent", "waits"]


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

        served = [int(name) for name in names(got) if name != "filler"]
        for lane in (0, 1):
            wanted = [number for number in range(lane, 8, 2) if number != leaving]
            assert [number for number in served if number % 2 == lane] == wanted


async def test_a_fence_waits_behind_all_that_wait_and_stops_all_that_come() -> None:
    """semantics 2.7: nothing passes control in either direction, also while it waits for its place in the edge."""
    send, receive, _ = open_lanes(4)
    send.send_nowait(text("filler", LOW))
    got = []
    async with anyio.create_task_group() as tasks:
        for item in (text("before", LOW), TurnEnd(), text("behind", CRITICAL), Interrupt(), text("last", NORMAL)):
            tasks.start_soon(send.send, item)
            await wait_all_tasks_blocked()
        assert send.statistics().waiting_senders == 5
        assert not send.try_send(text("behind too", HIGH))
        for _ in range(6):
            got += [receive.receive_nowait()]
            await wait_all_tasks_blocked()

    assert names(got) == ["filler", "before", "TurnEnd", "behind", "Interrupt", "last"]


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


@pytest.mark.parametrize("capacity", [65, 200, 10**5])
@pytest.mark.parametrize("watched", [False, True], ids=["bare", "watched"])
async def test_a_wide_edge_with_lanes_lets_others_run_every_64_elements(capacity, watched, anyio_backend_name) -> None:
    """semantics 2.4: whatever lanes the elements are of, and also for a sender that finds another one waiting."""
    send, receive, record = open_lanes(capacity, watched)
    # trio shuffles the tasks of a batch: one may run last in a batch and first in the next, twice between two ticks.
    allowed = WIDE if anyio_backend_name == "asyncio" else 2 * WIDE
    moved, worst = {"sent": 0, "received": 0}, 0

    def note(end):
        nonlocal worst
        moved[end] += 1
        worst = max(worst, moved[end])

    async def tick():
        while True:
            moved.update(sent=0, received=0)
            await checkpoint()

    async def write(priorities, count):
        for number in range(count):
            await send.send(text(number, priorities[number % len(priorities)]))
            note("sent")

    async def read():
        for number in range(600):
            await receive.receive()
            note("received")
            if number % 100 == 0:
                await checkpoint()

    async with anyio.create_task_group() as ticker:
        ticker.start_soon(tick)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write, [NORMAL], 300)
            tasks.start_soon(write, [LOW, LOW, HIGH, CRITICAL, NORMAL], 300)
            tasks.start_soon(read)
        ticker.cancel_scope.cancel()

    assert worst <= allowed
    assert record is None or record.findings(ended=True) == []


class Service:
    """A task that outlives the runs of a sweep and does the other end's work in each of them."""

    def __init__(self, work):
        self.work = work
        self.orders, self.idle = anyio.Event(), anyio.Event()
        self.current = ()

    def begin(self, *current):
        self.current, self.idle = current, anyio.Event()
        self.orders.set()

    async def __call__(self):
        while True:
            await self.orders.wait()
            self.orders = anyio.Event()
            await self.work(*self.current)
            self.idle.set()


async def sweep(scenario, how, check, *works):
    """Sweep while each of `works` is done by a service of its own; give the services to the scenario."""
    services = [Service(work) for work in works]
    async with anyio.create_task_group() as tasks:
        for service in services:
            tasks.start_soon(service)
        report = await cancel_sweep(lambda: scenario(*services), how=how, check=lambda _: check(*services))
        tasks.cancel_scope.cancel()
    if report.completed:
        assert report.ticks > 1


class Mixed:
    """An edge with lanes, what two senders send over it, and how far they and the reader have come."""

    def __init__(self, capacity, watched):
        self.send, self.receive, self.record = open_lanes(capacity, watched)
        self.items = {who: [self.make(who, number) for number in range(capacity + 6)] for who in ("own", "other")}
        self.sent = {"own": 0, "other": 0}
        self.got = []

    @staticmethod
    def make(who, number):
        name, priority = f"{who} {number}", Priority((number * 3 + len(who)) % 4)
        return TurnEnd(id=name) if number % 5 == 4 else text(name, priority)

    async def write(self, who):
        while self.sent[who] < len(self.items[who]):
            await self.send.send(self.items[who][self.sent[who]])
            self.sent[who] += 1
        if all(self.sent[one] == len(self.items[one]) for one in self.items):
            self.send.close()

    async def read(self):
        async for item in self.receive:
            self.got.append(item)
            if len(self.got) % 3 == 0:
                await checkpoint()

    def check(self):
        assert len(self.got) == sum(self.sent.values()) == sum(len(one) for one in self.items.values())
        for one in self.items.values():
            mine = {id(item) for item in one}
            check_order(one, [item for item in self.got if id(item) in mine])
        if self.record is not None:
            assert self.record.findings(ended=True) == []


EDGES = pytest.mark.parametrize(
    ("capacity", "watched"),
    [(4, False), (5, False), (16, False), (4, True), (16, True), pytest.param(65, False, marks=pytest.mark.slow)],
)


@EDGES
@every_mode
async def test_a_cancelled_sender_sent_nothing_and_those_of_all_lanes_go_on(capacity, watched, how) -> None:
    """semantics 2.3: a `send()` that raises enqueued nothing; retried, all arrives once and as lanes promise."""
    edge = None

    async def scenario(reader, other):
        nonlocal edge
        edge = Mixed(capacity, watched)
        reader.begin(edge)
        other.begin(edge, "other")
        await edge.write("own")

    async def check(reader, other):
        await edge.write("own")
        await other.idle.wait()
        await reader.idle.wait()
        edge.check()

    await sweep(scenario, how, check, Mixed.read, Mixed.write)


@EDGES
@every_mode
async def test_a_cancelled_reader_took_nothing_of_any_lane(capacity, watched, how) -> None:
    """semantics 2.3: a `receive()` that raises took nothing; what it did not take the next pull gives."""
    edge = None

    async def scenario(own, other):
        nonlocal edge
        edge = Mixed(capacity, watched)
        own.begin(edge, "own")
        other.begin(edge, "other")
        await edge.read()

    async def check(own, other):
        await edge.read()
        await own.idle.wait()
        await other.idle.wait()
        edge.check()

    await sweep(scenario, how, check, Mixed.write, Mixed.write)


class Passing:
    """A stage that takes text and lets sound pass, between two edges with lanes."""

    def __init__(self):
        self.records = LaneRecord("in"), LaneRecord("out")
        self.feed, self.input = open_channel(5, admit=takes_text, watch=self.records[0], lanes=True)
        self.output, self.drain = open_channel(4, watch=self.records[1], lanes=True)
        for record, end in zip(self.records, (self.feed, self.output), strict=True):
            record.attach(end)
        self.input.forward_to(self.output)
        self.items = [
            text(number, Priority(number % 4)) if number % 3 else audio(number, Priority(number % 4))
            for number in range(16)
        ]
        self.in_hand, self.got = None, []

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


@every_mode
async def test_a_reader_cancelled_while_elements_pass_it_by_loses_none_of_any_lane(how) -> None:
    """semantics 2.3, 3.3: an element that passes by is in one edge or in the other, never in neither, never in both."""
    stage = None

    async def scenario(writer, reader):
        nonlocal stage
        stage = Passing()
        writer.begin(stage)
        reader.begin(stage)
        await stage.process()

    async def check(writer, reader):
        await stage.process()
        await writer.idle.wait()
        await reader.idle.wait()
        assert sorted(map(id, stage.got)) == sorted(map(id, stage.items))
        for record in stage.records:
            assert record.findings(ended=True) == []

    await sweep(scenario, how, check, Passing.write, Passing.read)


class Forked:
    """A fork whose branches have lanes, or not."""

    def __init__(self, *capacities, lanes=(True, True), admits=(None, None)):
        self.records = [LaneRecord(f"{number}") for number, _ in enumerate(capacities)]
        ends = [
            open_channel(capacity, name=f"a → {number}", admit=admit, watch=record, lanes=has_lanes)
            for number, (capacity, record, has_lanes, admit) in enumerate(
                zip(capacities, self.records, lanes, admits, strict=True)
            )
        ]
        for record, (send, _) in zip(self.records, ends, strict=True):
            record.attach(send)
        self.branches = [send for send, _ in ends]
        self.readers = [receive for _, receive in ends]
        self.fork = open_fork("a → (0, 1)", self.branches)


async def test_a_fork_asks_each_branch_for_room_in_the_lane_of_the_element() -> None:
    """semantics 4.4, 2.7: a full low lane stops no critical element, with or without waiting senders."""
    forked = Forked(5, 8)
    fork = forked.fork
    fill_lane(fork, LOW)
    assert [len(reader.backlog) for reader in forked.readers] == [2, 2]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fork.send, text("waits", LOW))
        await wait_all_tasks_blocked()
        assert fork.try_send(text("tried", CRITICAL))
        fork.send_nowait(text("at once", HIGH))
        assert not fork.try_send(text("waits too", LOW))
        with pytest.raises(anyio.WouldBlock):
            fork.send_nowait(text("waits too", HIGH))
        for reader in forked.readers:
            assert names([await reader.receive() for _ in range(2)]) == ["tried", "at once"]
            assert names([await reader.receive() for _ in range(2)]) == ["filler", "filler"]
    for reader in forked.readers:
        assert names(drain(reader)) == ["waits"]


@pytest.mark.parametrize("urgent", [HIGH, CRITICAL], ids=str)
async def test_a_fork_that_waits_for_another_branch_holds_up_no_other_lane(urgent) -> None:
    """semantics 2.7: a sender that has its turn here and waits elsewhere must not be the only one that is ever woken."""
    forked = Forked(4, 1, lanes=(True, False))
    here, there = forked.branches
    there.send_nowait(text("full"))
    here.send_nowait(text("filler", LOW))
    here.send_nowait(text("filler", urgent))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(forked.fork.send, text("waits", LOW))
        await wait_all_tasks_blocked()
        tasks.start_soon(here.send, text("waits", urgent))
        await wait_all_tasks_blocked()
        reader = forked.readers[0]
        assert names([await reader.receive(), await reader.receive()]) == ["filler", "filler"]
        await wait_all_tasks_blocked()
        assert names([await reader.receive()]) == ["waits"]
        assert here.statistics().waiting_senders == 1
        assert forked.readers[1].receive_nowait() == text("full")
        assert names([await reader.receive()]) == ["waits"]


@pytest.mark.parametrize("lanes", [(True, True), (True, False), (False, True)])
@every_mode
async def test_a_cancelled_fork_put_an_element_into_all_branches_or_none(lanes, how) -> None:
    """semantics 2.3, 4.4: reserve, then commit, with lanes in some branches."""
    forked = got = items = None
    sent = 0

    async def read(reader, into):
        async for item in reader:
            into.append(item)
            await checkpoint()

    async def write_own():
        nonlocal sent
        while sent < len(items):
            await forked.fork.send(items[sent])
            sent += 1

    async def write_other(fork, others):
        for item in others:
            await fork.send(item)

    others = []

    async def scenario(left, right, other):
        nonlocal forked, got, items, sent
        forked, got, sent = Forked(4, 5, lanes=lanes), ([], []), 0
        items = [Mixed.make("own", number) for number in range(8)]
        others[:] = [Mixed.make("other", number) for number in range(8)]
        left.begin(forked.readers[0], got[0])
        right.begin(forked.readers[1], got[1])
        other.begin(forked.fork, others)
        await write_own()

    async def check(left, right, other):
        await write_own()
        await other.idle.wait()
        forked.fork.close()
        await left.idle.wait()
        await right.idle.wait()
        for into, has_lanes, record in zip(got, lanes, forked.records, strict=True):
            assert sorted(map(id, into)) == sorted(map(id, items + others))
            assert record.findings(ended=True) == []
            if not has_lanes:
                mine = {id(item) for item in items}
                assert [item for item in into if id(item) in mine] == items
        # Control is a fence everywhere, so all branches agree on its order.
        assert len({tuple(map(id, filter(is_fence, record.sent))) for record in forked.records}) == 1

    await sweep(scenario, how, check, read, read, write_other)


@pytest.mark.parametrize("forks", [False, True], ids=["edge", "fork"])
async def test_what_was_kept_aside_leaves_in_its_lanes_whoever_of_two_tasks_sends_it(forks) -> None:
    """semantics 2.3, 3.3: two tasks end a turn at a full output; each queues in the lane of what it moves."""
    for cancelled in (None, 0, 1):
        feed, receive, _ = open_lanes(admit=lambda item: isinstance(item, TextElement | TurnEnd))
        forked = Forked(4, 64)
        output, result, record = forked.fork if forks else forked.branches[0], forked.readers[0], forked.records[0]
        receive.forward_to(output)
        receive.keep_aside()
        aside = [audio(number, priority) for number, priority in enumerate([LOW, LOW, NORMAL, LOW, HIGH])]
        # Fences keep the order on the way in.
        for item in [text("a"), *(one for passing in aside for one in (passing, TurnStart()))]:
            await feed.send(item)
        await feed.send(text("b"))
        got = [await anext(receive), await anext(receive)]
        assert names(got) == ["a", "b"]
        output.send_nowait(text("full", LOW))
        scopes = [anyio.CancelScope() for _ in range(2)]
        ends = [TurnEnd(id="0"), TurnEnd(id="1")]

        async def end_turn(number, scopes=scopes, output=output, ends=ends):
            with scopes[number]:
                await output.send(ends[number])

        seen = []
        async with anyio.create_task_group() as tasks:
            for number in range(2):
                tasks.start_soon(end_turn, number)
                await wait_all_tasks_blocked()
            if cancelled is not None:
                scopes[cancelled].cancel()
            while True:
                await wait_all_tasks_blocked()
                if not result.statistics().buffered:
                    break
                seen.append(result.receive_nowait())
        passed = [item for item in seen if isinstance(item, AudioElement)]
        assert passed == aside
        left = [end for number, end in enumerate(ends) if number != cancelled]
        assert [item for item in seen if isinstance(item, TurnEnd)] == left
        assert seen[-len(left) :] == left
        assert record.findings() == []


async def test_a_fork_refuses_what_has_no_lane_before_any_branch_has_it() -> None:
    """semantics 2.3, 4.4: all branches or none, and nobody is left in a queue."""
    forked = Forked(4, 4, lanes=(False, True))
    bad = TextElement("bad", priority="high")
    for send in (forked.fork.try_send, forked.fork.send_nowait):
        with pytest.raises(ElementError, match="must be a Priority"):
            send(bad)
    with pytest.raises(ElementError, match="must be a Priority"):
        await forked.fork.send(bad)
    assert [reader.statistics().sent for reader in forked.readers] == [0, 0]
    await forked.fork.send(text("good"))
    assert [names(drain(reader)) for reader in forked.readers] == [["good"], ["good"]]


async def test_what_has_no_lane_is_not_lost_when_it_is_passed_on() -> None:
    """semantics 2.3: the output refuses it before it is taken."""
    feed, receive = open_channel(4, admit=takes_text)
    output, _, _ = open_lanes()
    receive.forward_to(output)
    feed.send_nowait(audio("bad", "high"))
    feed.send_nowait(text("good"))
    with pytest.raises(ElementError, match="must be a Priority"):
        await receive.receive()
    assert receive.statistics().buffered == 2
    assert output.statistics().sent == 0


async def test_a_merge_takes_from_each_input_what_is_urgent_there() -> None:
    """semantics 2.7, 4.5: lanes order what waits in one edge; between inputs the merge stays fair."""
    edges = [open_channel(8, name=f"{name} → d", lanes=True) for name in "bc"]
    merge = MergeEnd("merge → d", [receive for _, receive in edges], lambda _: True)
    for name, (send, _) in zip("bc", edges, strict=True):
        for priority in (LOW, CRITICAL, NORMAL):
            send.send_nowait(text(f"{name} {priority.name}", priority))
        send.close()

    got = names([item async for item in merge])

    assert got == [f"{name} {lane}" for lane in ("CRITICAL", "NORMAL", "LOW") for name in "bc"]


async def test_a_merge_makes_room_for_the_senders_of_every_lane() -> None:
    """semantics 2.7: who waits at an input goes on, though a merge and not a stage reads it."""
    send, receive, record = open_lanes(4, watched=True)
    merge = MergeEnd("merge → d", [receive], lambda _: True)
    items = {priority: [text(number, priority) for number in range(9)] for priority in Priority}

    async def write(priority):
        for item in items[priority]:
            await send.send(item)

    got = []
    async with anyio.create_task_group() as tasks:
        for priority in Priority:
            tasks.start_soon(write, priority)
        for _ in range(36):
            got.append(await merge.receive())
            await checkpoint()

    for priority in Priority:
        assert [item for item in got if item.priority is priority] == items[priority]
    assert record.findings(ended=True) == []


async def test_both_ends_are_freed_without_the_garbage_collector(no_gc) -> None:
    """SF-31: the ends of a finished edge do not keep each other alive."""
    import weakref

    send, receive, _ = open_lanes()
    send.send_nowait(text("a"))
    send.close()
    assert [item async for item in receive] == [text("a")]
    ends = [weakref.ref(one) for one in (send, receive)]
    del send, receive
    assert [one() for one in ends] == [None, None]

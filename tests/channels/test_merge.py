"""The reading end of a merge: fair, in order, nothing lost, one end for all. Semantics 2.1–2.5, 4.5."""

from __future__ import annotations

import gc
import random
import weakref
from collections import Counter, deque

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from edges import Caught, every_capacity, taken_now, watched_or_not
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sweeping import every_mode, sweep

from streamflow import AudioElement, DataElement, StreamElement, TextElement, TurnEnd, TurnStart, Usage, UsageElement
from streamflow.channels import WIDE, ArrivalEnd, MergeEnd, ReceiveEnd, SendEnd, open_channel
from streamflow.errors import ChannelBusyError, ChannelClosedError, ChannelFailedError, OutputClosedError
from streamflow.stages import EVERYTHING, admission
from streamflow.testing import EdgeLedger

SOUND = AudioElement(b"\0\0")
ACCEPTED = (TextElement, TurnEnd)


class Merge:
    """A merge, the edges that it reads, and an account of each."""

    def __init__(
        self,
        *capacities: int,
        accepts: tuple[type[StreamElement], ...] = EVERYTHING,
        watched: bool = False,
        forward: int | None = None,
        in_turns: bool = False,
    ) -> None:
        self.ledger = EdgeLedger()
        gate = admission(accepts, producer="writer")
        self.sends: list[SendEnd[StreamElement]] = []
        self.edges: list[ReceiveEnd[StreamElement]] = []
        for number, capacity in enumerate(capacities):
            record = self.ledger.watch(f"input {number}") if watched else None
            send, receive = open_channel(capacity, name=f"input {number}", admit=gate, watch=record)
            if record is not None:
                record.attach(receive)
            self.sends.append(send)
            self.edges.append(receive)
        record = self.ledger.watch("merge") if watched else None
        # The merge that a run has where nobody watches, and the one for everybody.
        self.end: MergeEnd[StreamElement] = (
            MergeEnd("merge", self.edges, gate, record)
            if record is not None or in_turns
            else ArrivalEnd("merge", self.edges, gate)
        )
        if record is not None:
            record.attach(self.end)
        if forward is not None:
            self.output, self.passed = open_channel(forward, name="output")
            self.end.forward_to(self.output)

    def out(self) -> list[StreamElement]:
        """Return what the reader gets without waiting."""
        return taken_now(self.end)

    def close(self) -> None:
        for send in self.sends:
            send.close()


def text(number: int, of: int) -> TextElement:
    return TextElement(str(number), id=str(of))


# Order and fairness


@every_capacity
@watched_or_not
@pytest.mark.parametrize("count", [1, 2, 5])
async def test_inputs_that_all_have_something_take_turns(capacity, watched, count) -> None:
    """semantics 4.5: fair; none waits for more than one element of each other, and each keeps its order."""
    merge = Merge(*[capacity] * count, watched=watched)
    for of, send in enumerate(merge.sends):
        for number in range(capacity):
            send.send_nowait(text(number, of))
    assert [(one.text, one.id) for one in merge.out()] == [
        (str(number), str(of)) for number in range(capacity) for of in range(count)
    ]
    merge.ledger.check(ended=True)


async def test_an_input_that_was_silent_is_next_when_it_speaks() -> None:
    """semantics 4.5: what arrives is in the order of arrival, as far as fairness goes."""
    merge = Merge(16, 16, 16)
    for number in range(4):
        merge.sends[1].send_nowait(text(number, 1))
    assert await merge.end.receive() == text(0, 1)
    merge.sends[0].send_nowait(text(0, 0))
    merge.sends[2].send_nowait(text(0, 2))
    got = [await merge.end.receive() for _ in range(3)]
    assert [one.id for one in got] == ["2", "0", "1"]


class MergeMachine(RuleBasedStateMachine):
    """Everything that can be done with a merge without waiting, against a model of lists and one place."""

    KINDS = st.sampled_from([TextElement, AudioElement, TurnEnd, UsageElement])

    def __init__(self):
        super().__init__()
        self.count = 0
        self.place = deque()
        self.turn = 0
        self.closed = False
        self.taken = Counter()
        self.failures: set[BaseException] = set()

    @initialize(
        capacities=st.lists(st.sampled_from([1, 2, 3, 16, 64, 65, 200]), min_size=1, max_size=4),
        watched=st.booleans(),
        forwards=st.booleans(),
    )
    def open(self, capacities, watched, forwards):
        forward = 1 if forwards else None
        # The model knows whose turn it is; of the other kind that is not promised: see `test_arrival`.
        self.merge = Merge(*capacities, accepts=ACCEPTED, watched=watched, forward=forward, in_turns=True)
        self.forwards = forwards
        self.model = {number: deque() for number in range(len(capacities))}
        self.open_ones = set(self.model)
        self.detached: set[int] = set()

    def left(self):
        """Return all that is still there."""
        return [*self.place, *(one for waiting in self.model.values() for one in waiting)]

    def ready(self):
        """Return the input whose turn it is."""
        numbers = [number for number, waiting in self.model.items() if waiting]
        return next((number for number in numbers if number >= self.turn), numbers[0] if numbers else None)

    @rule(number=st.integers(0, 3), kind=KINDS, count=st.integers(1, 70))
    def send(self, number, kind, count):
        if number not in self.model or number in self.detached:
            return
        for _ in range(count):
            self.count += 1
            item = UsageElement(Usage()) if kind is UsageElement else kind() if kind is TurnEnd else None
            item = item or (TextElement(str(self.count)) if kind is TextElement else SOUND.replace(id=str(self.count)))
            try:
                self.merge.sends[number].send_nowait(item)
            except anyio.WouldBlock:
                assert len(self.model[number]) == self.merge.edges[number].capacity
                return
            except (OutputClosedError, ChannelClosedError):
                assert number not in self.open_ones
                return
            self.model[number].append(item)

    def step(self):
        """Return what `receive_nowait()` must give, or raise."""
        if self.closed:
            return ChannelClosedError
        while True:
            if not self.place:
                number = self.ready()
                if number is not None:
                    self.turn = number + 1
                    self.place.append(self.model[number].popleft())
                    self.taken[number] += 1
            if self.place and isinstance(self.place[0], ACCEPTED):
                return self.place.popleft()
            if not self.open_ones - self.detached and not any(isinstance(one, ACCEPTED) for one in self.left()):
                return ChannelFailedError if self.failures else anyio.EndOfStream
            if not self.place or self.forwards:
                return anyio.WouldBlock
            self.place.popleft()

    @rule(count=st.integers(1, 70))
    def receive_nowait(self, count):
        """The head of the input whose turn it is; who passes by is dropped, or stays for the output."""
        for _ in range(count):
            expected = self.step()
            if isinstance(expected, type):
                with pytest.raises(expected) as caught:
                    self.merge.end.receive_nowait()
                if expected is ChannelFailedError:
                    assert caught.value.__cause__ in self.failures
                return
            assert self.merge.end.receive_nowait() is expected

    @precondition(lambda self: self.count > 3)
    @rule(number=st.integers(0, 3), how=st.sampled_from(["close", "fail", "close_with"]))
    def an_input_ends(self, number, how):
        """The others go on."""
        if number not in self.model or number in self.detached:
            return
        send = self.merge.sends[number]
        if how == "fail":
            cause = ValueError(number)
            send.fail(cause)
            if number in self.open_ones:
                self.failures.add(cause)
        elif how == "close_with":
            item = UsageElement(Usage())
            send.close_with(item)
            if number in self.open_ones:
                self.model[number].append(item)
        else:
            send.close()
        self.open_ones.discard(number)

    @precondition(lambda self: self.count > 30)
    @rule(number=st.integers(0, 3))
    def detach(self, number):
        """What it has is another reader's from now on."""
        if number in self.open_ones and not self.closed:
            self.merge.end.detach(self.merge.edges[number])
            self.detached.add(number)
            self.model[number] = deque()

    @precondition(lambda self: self.count > 30)
    @rule(reason=st.sampled_from(["no_more_needed", "failure"]))
    def reader_closes(self, reason):
        """All inputs are closed for that reason, and what is there is discarded."""
        was_open = {number for number in self.open_ones if number not in self.detached}
        self.merge.end.close(reason)
        for number in was_open if not self.closed else ():
            assert self.merge.edges[number].state == "cancelled"
            assert self.merge.edges[number].reason == reason
        self.closed = True
        self.place.clear()
        self.open_ones &= self.detached
        for number in self.model:
            self.model[number].clear()

    @invariant()
    def the_books_agree(self):
        """Each edge's account is right, and the merge's own."""
        if not hasattr(self, "merge"):
            return
        for number, expected in self.model.items():
            if number not in self.detached:
                assert list(self.merge.edges[number].backlog) == list(expected)
                assert self.merge.edges[number].received == self.taken[number]
        assert list(self.merge.end.backlog) == list(self.place)
        told = self.merge.end.statistics()
        assert told.sent == told.received + told.buffered + sum(told.discarded.values())
        self.merge.ledger.check()


class TestMerge(MergeMachine.TestCase):
    """semantics 2.2, 2.5, 4.5: turns, order, ends, failures, detached inputs, accounts; watched and not."""


# Waiting


CAPACITIES = st.sampled_from([1, 2, 3, 16, 64, 65, 200])


@given(
    inputs=st.lists(st.tuples(CAPACITIES, st.integers(0, 70)), min_size=1, max_size=4),
    watched=st.booleans(),
    rates=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 2**32),
)
async def test_every_element_of_every_input_arrives_once_and_in_its_order(inputs, watched, rates, seed) -> None:
    """semantics 2.1, 2.5, 4.5: whoever pauses where; no wake-up is lost, and the end comes after the last one."""
    pauses = random.Random(seed)
    merge = Merge(*(capacity for capacity, _ in inputs), watched=watched)
    got: list[TextElement] = []

    async def write(of: int, count: int) -> None:
        for number in range(count):
            while pauses.random() < rates[0] / 2:
                await checkpoint()
            await merge.sends[of].send(text(number, of))
        merge.sends[of].close()

    with anyio.fail_after(1000):
        async with anyio.create_task_group() as tasks:
            for of, (_, count) in enumerate(inputs):
                tasks.start_soon(write, of, count)
            async for element in merge.end:
                got.append(element)
                while pauses.random() < rates[1] / 2:
                    await checkpoint()

    for of, (_, count) in enumerate(inputs):
        assert [one.text for one in got if one.id == str(of)] == [str(number) for number in range(count)]
    assert len(got) == sum(count for _, count in inputs)
    assert merge.end.statistics().state == "completed"
    merge.ledger.check(ended=True)


class Reading:
    """A merge of two edges and a task that reads it; what a retry needs to know."""

    def __init__(self, capacity: int, total: int, *, watched: bool) -> None:
        self.merge = Merge(capacity, capacity, accepts=ACCEPTED, watched=watched, forward=capacity)
        self.total = total
        self.got: list[StreamElement] = []
        self.passed: list[StreamElement] = []

    async def write(self, of: int) -> None:
        for number in range(self.total):
            await self.merge.sends[of].send(text(number, of) if number % 2 == of else SOUND.replace(id=f"{of}{number}"))
        self.merge.sends[of].close()

    async def drain(self) -> None:
        async for element in self.merge.passed:
            self.passed.append(element)
            await checkpoint()

    async def read(self) -> None:
        async for element in self.merge.end:
            self.got.append(element)
            if len(self.got) % 2:
                await checkpoint()
        await self.merge.end.pass_rest()
        self.merge.output.close()

    def check(self) -> None:
        for of in (0, 1):
            numbers = [number for number in range(self.total) if number % 2 == of]
            assert [one.text for one in self.got if one.id == str(of)] == list(map(str, numbers))
            others = [f"{of}{number}" for number in range(self.total) if number % 2 != of]
            assert [one.id for one in self.passed if one.id.startswith(str(of))] == others
        assert len(self.got) + len(self.passed) == 2 * self.total
        self.merge.ledger.check(ended=True)


@pytest.mark.parametrize(
    ("capacity", "total", "watched"), [(1, 4, False), (2, 5, True), (3, 6, False), (16, 18, False), (65, 35, False)]
)
@every_mode
async def test_a_cancelled_reader_took_nothing_and_can_read_on(capacity, total, watched, how) -> None:
    """semantics 2.3, 3.3: also of what passes it by; an element is in an input, with the reader or in the output."""
    state = None

    async def scenario(left, right, drain):
        nonlocal state
        state = Reading(capacity, total, watched=watched)
        left.begin(state, 0)
        right.begin(state, 1)
        drain.begin(state)
        await state.read()

    async def check(left, right, drain):
        await state.read()
        for service in (left, right, drain):
            await service.idle.wait()
        state.check()

    await sweep(scenario, how, check, Reading.write, Reading.write, Reading.drain)


async def test_one_task_reads_a_merge() -> None:
    """semantics 2.1: a second one gets an error at once, and the first one is not disturbed."""
    merge = Merge(2, 2)
    first = Caught(merge.end.receive)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await wait_all_tasks_blocked()
        with pytest.raises(ChannelBusyError):
            await merge.end.receive()
        with pytest.raises(ChannelBusyError):
            merge.end.receive_nowait()
        merge.sends[1].send_nowait(text(0, 1))
    assert first.value == text(0, 1)


@watched_or_not
async def test_the_room_that_a_merge_makes_wakes_the_senders_of_its_inputs(watched) -> None:
    """Rule 5 of the channel: each input's own senders, when that input has drained to half."""
    merge = Merge(2, 2, watched=watched)
    done = []

    async def send(of: int) -> None:
        for number in range(3):
            await merge.sends[of].send(text(number, of))
        done.append(of)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, 0)
        tasks.start_soon(send, 1)
        await wait_all_tasks_blocked()
        assert done == []
        assert await merge.end.receive() == text(0, 0)
        await wait_all_tasks_blocked()
        assert done == [0]
        assert await merge.end.receive() == text(0, 1)
        await wait_all_tasks_blocked()
        assert done == [0, 1]


# Ends


async def test_it_ends_when_all_inputs_have_ended_and_not_before() -> None:
    """semantics 2.2, 4.5: one input's end is none of the others'."""
    merge = Merge(2, 2, 2)
    merge.sends[0].send_nowait(text(0, 0))
    merge.sends[0].close()
    assert await merge.end.receive() == text(0, 0)
    reader = Caught(merge.end.receive)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)
        await wait_all_tasks_blocked()
        merge.sends[1].close()
        await wait_all_tasks_blocked()
        assert not reader.done
        merge.sends[2].close()
    assert isinstance(reader.error, anyio.EndOfStream)
    assert merge.end.state == "completed"
    assert merge.end.end_was_told


@watched_or_not
@pytest.mark.parametrize("waits", [False, True])
async def test_a_failed_input_fails_the_merge_after_everything_else(watched, waits) -> None:
    """semantics 4.5, 2.2: what was sent comes first, on every input; the cause is the writer's."""
    merge, cause = Merge(4, 4, watched=watched), ValueError("broken")
    merge.sends[0].send_nowait(text(0, 0))
    got: list[StreamElement] = []

    async def read() -> None:
        async for element in merge.end:
            got.append(element)

    reader = Caught(read)
    async with anyio.create_task_group() as tasks:
        if waits:
            tasks.start_soon(reader)
            await wait_all_tasks_blocked()
        merge.sends[0].fail(cause)
        if not waits:
            tasks.start_soon(reader)
        await wait_all_tasks_blocked()
        assert not reader.done
        merge.sends[1].send_nowait(text(0, 1))
        await wait_all_tasks_blocked()
        merge.sends[1].send_nowait(text(1, 1))
        merge.sends[1].close()
    assert got == [text(0, 0), text(0, 1), text(1, 1)]
    assert isinstance(reader.error, ChannelFailedError)
    assert reader.error.__cause__ is cause
    assert reader.error.edge == "merge"
    for _ in range(2):
        with pytest.raises(ChannelFailedError):
            merge.end.receive_nowait()


@pytest.mark.parametrize("fails", [0, 1, None])
@pytest.mark.parametrize("nowait", [False, True])
async def test_the_reader_meets_the_end_before_what_it_does_not_accept(fails, nowait) -> None:
    """semantics 3.3, 2.2: a failed input is told then, too; the rest is passed on behind the reader's last result."""
    merge = Merge(4, 4, accepts=ACCEPTED, forward=8)
    for of, send in enumerate(merge.sends):
        send.send_nowait(text(0, of))
        send.send_nowait(SOUND.replace(id=str(of)))
        if fails == of:
            send.fail(ValueError())
        else:
            send.close()
    assert [merge.end.receive_nowait(), merge.end.receive_nowait()] == [text(0, 0), text(0, 1)]
    assert merge.end.at_end
    with pytest.raises(anyio.EndOfStream if fails is None else ChannelFailedError):
        merge.end.receive_nowait() if nowait else await merge.end.receive()
    assert merge.end.end_was_told
    await merge.output.send(TextElement("result"))
    await merge.end.pass_rest()
    passed = [merge.passed.receive_nowait() for _ in range(3)]
    assert [one.id for one in passed] == ["", "0", "1"]
    assert all(edge.statistics().buffered == 0 for edge in merge.edges)


@pytest.mark.parametrize("reason", ["no_more_needed", "failure"])
async def test_closing_it_closes_all_inputs_for_its_reason(reason) -> None:
    """semantics 2.2, 3.1: who sends learns why; what is there is discarded and counted once."""
    merge = Merge(2, 2, watched=True)
    tasks_of = [
        Caught(send.send_each, [text(number, of) for number in range(4)]) for of, send in enumerate(merge.sends)
    ]
    async with anyio.create_task_group() as tasks:
        for task in tasks_of:
            tasks.start_soon(task)
        await wait_all_tasks_blocked()
        assert await merge.end.receive() == text(0, 0)
        merge.end.close(reason)
        merge.end.close("failure")
    assert [task.error.reason for task in tasks_of] == [reason, reason]
    with pytest.raises(ChannelClosedError):
        await merge.end.receive()
    assert [edge.statistics().discarded for edge in merge.edges] == [{reason: 1}, {reason: 2}]
    merge.ledger.check(ended=True)


async def test_closing_it_wakes_who_reads_it() -> None:
    """semantics 2.2: a task of the loop may close it while another one waits."""
    merge = Merge(2, 2)
    reader = Caught(merge.end.receive)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)
        await wait_all_tasks_blocked()
        merge.end.close()
    assert isinstance(reader.error, ChannelClosedError)


# An input that somebody else reads


async def test_a_detached_input_is_read_alone_and_the_others_go_on() -> None:
    """semantics 4.3: `run.output(name)` iterates one leaf alone."""
    merge = Merge(4, 4)
    reader, alone = Caught(merge.end.receive), Caught(merge.edges[1].receive)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)
        await wait_all_tasks_blocked()
        merge.end.detach(merge.edges[1])
        tasks.start_soon(alone)
        await wait_all_tasks_blocked()
        assert not reader.done
        merge.sends[1].send_nowait(text(0, 1))
        await wait_all_tasks_blocked()
        assert alone.value == text(0, 1)
        assert not reader.done
        merge.sends[0].send_nowait(text(0, 0))
    assert reader.value == text(0, 0)
    merge.sends[0].close()
    with pytest.raises(anyio.EndOfStream):
        await merge.end.receive()
    merge.sends[1].send_nowait(text(1, 1))
    assert await merge.edges[1].receive() == text(1, 1)


async def test_when_the_last_input_is_detached_the_merge_has_ended() -> None:
    """semantics 4.3: who waits for what others read learns that there is nothing to wait for."""
    merge = Merge(4, 4)
    merge.sends[0].send_nowait(text(0, 0))
    merge.sends[0].close()
    merge.end.detach(merge.edges[0])
    reader = Caught(merge.end.receive)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)
        await wait_all_tasks_blocked()
        merge.end.detach(merge.edges[1])
    assert isinstance(reader.error, anyio.EndOfStream)
    assert merge.edges[0].statistics().buffered == 1
    assert merge.edges[1].state == "open"


# What passes the reader by


@every_capacity
@watched_or_not
async def test_what_the_reader_does_not_accept_keeps_its_place_on_its_input(capacity, watched) -> None:
    """semantics 3.3: it leaves behind the results of all that the reader took before it."""
    merge = Merge(capacity, capacity, accepts=ACCEPTED, watched=watched, forward=capacity)
    got: list[StreamElement] = []

    async def stage() -> None:
        async for element in merge.end:
            await merge.output.send(element)
        await merge.end.pass_rest()
        merge.output.close()

    async def write(of: int) -> None:
        for number in range(60):
            kinds = [text(number, of), SOUND.replace(id=str(of)), UsageElement(Usage(input_tokens=number), id=str(of))]
            await merge.sends[of].send(kinds[number * (of + 1) % 3])
        merge.sends[of].close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stage)
        tasks.start_soon(write, 0)
        tasks.start_soon(write, 1)
        async for element in merge.passed:
            got.append(element)

    for of in (0, 1):
        mine = [type(one) for one in got if one.id == str(of)]
        assert mine == [[TextElement, AudioElement, UsageElement][number * (of + 1) % 3] for number in range(60)]
    assert len(got) == 120
    merge.ledger.check(ended=True)


async def test_an_accumulator_behind_a_merge_keeps_aside_what_it_does_not_accept() -> None:
    """semantics 2.5, 3.3: in the order in which the merge gave it, counted, and ahead of the end of the turn."""
    merge = Merge(8, 8, accepts=ACCEPTED, watched=True, forward=8)
    merge.end.keep_aside()
    others = [SOUND, TurnStart(), DataElement("d"), UsageElement(Usage())]
    for element in (text(0, 0), others[0], others[2], text(1, 0)):
        merge.sends[0].send_nowait(element)
    for element in (text(0, 1), others[1], others[3], text(1, 1)):
        merge.sends[1].send_nowait(element)
    assert [(await anext(merge.end)).id for _ in range(4)] == ["0", "1", "0", "1"]
    told = merge.end.statistics()
    assert (told.sent, told.received, told.buffered) == (8, 4, 4)
    await merge.output.send(TurnEnd())
    assert list(merge.passed.backlog) == [*others, TurnEnd()]
    told = merge.end.statistics()
    assert (told.sent, told.received, told.buffered) == (8, 8, 0)


# Taking turns


@pytest.mark.parametrize("capacities", [(1, 1), (16, 16), (32, 32)])
async def test_reading_does_not_suspend_while_something_is_there(capacities) -> None:
    """semantics 2.4: a merge of narrow edges is no reason to let others run."""
    merge, ticks = Merge(*capacities), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await checkpoint()

    for of, send in enumerate(merge.sends):
        for number in range(capacities[of]):
            send.send_nowait(text(number, of))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await checkpoint()
        before = ticks
        for _ in range(sum(capacities)):
            await merge.end.receive()
        assert ticks == before
        tasks.cancel_scope.cancel()


@watched_or_not
@pytest.mark.parametrize(
    "capacities",
    [(65,), (33, 33), (200, 1), (16,) * 8, (10**6, 10**6)],
    ids=lambda value: "+".join(map(str, value[:3])),
)
@pytest.mark.parametrize("accepted", [True, False], ids=["taken", "dropped"])
async def test_others_run_every_64_elements_however_wide_the_inputs_are(
    capacities, accepted, watched, anyio_backend_name
) -> None:
    """semantics 2.4: together wider than 64, they take checkpoints, in both directions, also where all is dropped."""
    merge = Merge(*capacities, accepts=ACCEPTED, watched=watched)
    worst, moved, total = Counter[str](), Counter[str](), 600

    async def tick() -> None:
        while True:
            moved.clear()
            await checkpoint()

    async def write(of: int) -> None:
        for number in range(total // len(capacities)):
            await merge.sends[of].send(text(number, of) if accepted else SOUND)
            moved[str(of)] += 1
            worst["sent"] = max(worst["sent"], moved[str(of)])
        merge.sends[of].close()

    async def read() -> None:
        taken = 0
        while True:
            taken = merge.end.received
            try:
                await merge.end.receive()
            except anyio.EndOfStream:
                return
            moved["received"] += merge.end.received - taken
            worst["received"] = max(worst["received"], moved["received"])

    async with anyio.create_task_group() as ticker:
        ticker.start_soon(tick)
        async with anyio.create_task_group() as tasks:
            for of in range(len(capacities)):
                tasks.start_soon(write, of)
            tasks.start_soon(read)
        ticker.cancel_scope.cancel()

    # trio shuffles the tasks of a batch: one may run last in a batch and first in the next.
    allowed = WIDE if anyio_backend_name == "asyncio" else 2 * WIDE
    assert worst["sent"] <= allowed
    assert worst["received"] <= allowed


async def test_dropping_from_wide_inputs_lets_others_run_too(anyio_backend_name) -> None:
    """semantics 2.4: a reader that accepts nothing of a thousand elements is a loop like any other."""
    merge, ticks = Merge(10**6, 10**6, accepts=ACCEPTED), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await checkpoint()

    for send in merge.sends:
        for _ in range(500):
            send.send_nowait(SOUND)
    merge.sends[0].send_nowait(text(0, 0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await checkpoint()
        before = ticks
        assert await merge.end.receive() == text(0, 0)
        tasks.cancel_scope.cancel()

    assert ticks - before >= 1000 // (WIDE if anyio_backend_name == "asyncio" else 2 * WIDE)


# What is left behind


@pytest.mark.parametrize("how", ["ended", "closed", "waited", "failed"])
async def test_a_merge_and_its_edges_are_freed_without_the_garbage_collector(how, no_gc: None) -> None:
    """SF-31: inputs know their merge by a weak link only; a failure keeps nothing alive once it is handled."""
    merge = Merge(4, 4, forward=4)
    merge.sends[0].send_nowait(text(0, 0))
    if how == "waited":
        await merge.end.receive()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(merge.end.receive)
            await wait_all_tasks_blocked()
            merge.sends[1].send_nowait(text(0, 1))
        del tasks
    if how == "failed":
        merge.sends[1].fail(ValueError())
    merge.close()
    if how == "closed":
        merge.end.close()
    else:
        try:
            while True:
                await merge.end.receive()
        except (anyio.EndOfStream, ChannelFailedError):
            pass
    merge.output.close()
    known = [weakref.ref(one) for one in (merge.end, *merge.edges, *merge.sends)]
    del merge
    assert [one() for one in known] == [None] * len(known)
    gc.collect()

"""The writing end of a fork: who gets what, all or nobody, and what one branch means to the others. Semantics 2.1–2.5, 4.4."""

from __future__ import annotations

import gc
import itertools
import random
import weakref
from collections import Counter, deque

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from edges import Caught, every_capacity, watched_or_not
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sweeping import every_mode, sweep

from streamflow import (
    AudioElement,
    DataElement,
    EndOfStream,
    StreamElement,
    TextElement,
    TurnEnd,
    TurnStart,
    Usage,
    UsageElement,
)
from streamflow.channels import WIDE, ControlJoin, ForkEnd, ReceiveEnd, SendEnd, open_channel, open_fork
from streamflow.errors import ChannelClosedError, ChannelFailedError, ElementError, OutputClosedError
from streamflow.stages import EVERYTHING, admission
from streamflow.testing import EdgeLedger

SOUND = AudioElement(b"\0\0")
OTHER = DataElement("other")

GATES = {
    "text": (TextElement, TurnEnd),
    "sound": (AudioElement,),
    "both": (TextElement, AudioElement),
    "all": EVERYTHING,
}


class Fork:
    """A fork, the edges that it writes, and an account of each."""

    def __init__(self, capacity: int = 16, *names: str, rest: bool = False, watched: bool = False) -> None:
        self.ledger = EdgeLedger()
        self.reads: dict[str, ReceiveEnd[StreamElement]] = {}
        branches: list[SendEnd[StreamElement]] = []
        for name in names or ("text", "sound"):
            send = self._open(name, capacity, watched=watched, gate=GATES[name])
            branches.append(send)
        otherwise = self._open("rest", capacity, watched=watched, gate=EVERYTHING) if rest else None
        branches += [otherwise] if otherwise is not None else []
        self.send: ForkEnd[StreamElement] = open_fork("a → (…)", branches, otherwise=otherwise)

    def _open(self, name: str, capacity: int, *, watched: bool, gate: tuple[type[StreamElement], ...]):
        record = self.ledger.watch(name) if watched else None
        send, receive = open_channel(capacity, name=name, admit=admission(gate, producer="a"), watch=record)
        if record is not None:
            record.attach(receive)
        self.reads[name] = receive
        return send

    def there(self) -> dict[str, list[StreamElement]]:
        return {name: list(end.backlog) for name, end in self.reads.items()}

    def fill(self, name: str) -> None:
        """Fill one branch up with what only that branch takes."""
        element = {"text": TextElement("full"), "sound": SOUND, "rest": OTHER}[name]
        with pytest.raises(anyio.WouldBlock):
            while True:
                self.send.send_nowait(element)

    async def take(self, name: str) -> list[StreamElement]:
        """Take all that is in one branch, also what its reader would not."""
        found = []
        while self.reads[name].backlog:
            found.append(self.reads[name]._take())
            await wait_all_tasks_blocked()
        return found


# Who gets what


@every_capacity
@watched_or_not
@pytest.mark.parametrize("rest", [False, True], ids=["dropped", "otherwise"])
async def test_each_branch_gets_what_it_accepts_and_all_get_control(capacity, watched, rest) -> None:
    """semantics 1.4, 4.4: by type, in order; what nobody accepts goes to `otherwise`, or is dropped and counted."""
    fork = Fork(capacity, "text", "sound", "both", rest=rest, watched=watched)
    usage = UsageElement(Usage(input_tokens=1))
    source = [TextElement("1"), SOUND, OTHER, TurnEnd(), SOUND, TextElement("2"), usage, OTHER] * 25
    got: dict[str, list[StreamElement]] = {name: [] for name in fork.reads}

    async def read(name: str) -> None:
        end = fork.reads[name]
        while end.state == "open" or end.backlog:
            if end.backlog:
                got[name].append(end._take())
            else:
                await checkpoint()

    async with anyio.create_task_group() as tasks:
        for name in fork.reads:
            tasks.start_soon(read, name)
        for element in source:
            await fork.send.send(element)
        fork.send.close()

    control = (TurnEnd, UsageElement)
    assert got["text"] == [one for one in source if isinstance(one, (TextElement, *control))]
    assert got["sound"] == [one for one in source if isinstance(one, (AudioElement, *control))]
    assert got["both"] == [one for one in source if not isinstance(one, DataElement)]
    assert fork.send.dropped == ({} if rest else {"unrouted": 50})
    if rest:
        assert got["rest"] == [one for one in source if isinstance(one, (DataElement, *control))]
    fork.ledger.check(ended=True)


@watched_or_not
@pytest.mark.parametrize("bad", [None, "text", 3, EndOfStream()], ids=repr)
async def test_what_is_no_element_is_refused_and_enters_no_branch(watched, bad) -> None:
    """semantics 1.6, 2.1: refused at once, in every form, also where a branch is full."""
    fork = Fork(1, rest=True, watched=watched)
    for is_full in (False, True):
        if is_full:
            fork.fill("sound")
        before = fork.there()
        for call in (fork.send.send_nowait, fork.send.try_send):
            with pytest.raises(ElementError):
                call(bad)
        with pytest.raises(ElementError):
            await fork.send.send(bad)
        with pytest.raises(ElementError):
            await fork.send.send_each([bad])
        assert fork.there() == before


async def test_a_copy_is_the_very_same_object() -> None:
    """semantics 1.1, 4.4: nothing is written into an element, so nothing needs to be copied."""
    fork = Fork(4, "text", "both")
    element, boundary = TextElement("x"), TurnEnd()
    await fork.send.send(element)
    await fork.send.send(boundary)
    assert [[id(one) for one in end.backlog] for end in fork.reads.values()] == [[id(element), id(boundary)]] * 2


class ForkMachine(RuleBasedStateMachine):
    """Everything that can be done with a fork without waiting, against a model of lists."""

    KINDS = st.sampled_from([TextElement, AudioElement, DataElement, TurnEnd, UsageElement])
    NAMES = st.sampled_from(["text", "sound", "both", "rest"])

    def __init__(self):
        super().__init__()
        self.count = 0
        self.dropped: Counter[str] = Counter()

    @initialize(
        capacities=st.lists(st.sampled_from([1, 2, 3, 16, 64, 65, 200]), min_size=4, max_size=4),
        watched=st.booleans(),
        rest=st.booleans(),
    )
    def open(self, capacities, watched, rest):
        self.fork = Fork(1, "text", "sound", "both", rest=rest, watched=watched)
        for (name, end), capacity in zip(self.fork.reads.items(), capacities, strict=False):
            self.fork.reads[name] = end
            self._widen(name, capacity, watched=watched)
        branches = self.sends
        self.fork.send = open_fork("fork", list(branches.values()), otherwise=branches.get("rest"))
        self.model = {name: deque() for name in branches}
        self.open_ones = set(branches)
        self.reasons = {}
        self.own_closed = False

    def _widen(self, name, capacity, *, watched):
        if not hasattr(self, "sends"):
            self.sends, self.fork.ledger = {}, EdgeLedger()
        gate = GATES.get(name, EVERYTHING)
        self.sends[name] = self.fork._open(name, capacity, watched=watched, gate=gate)

    def make(self, kind):
        self.count += 1
        match kind.__name__:
            case "TextElement":
                return TextElement(str(self.count))
            case "AudioElement":
                return AudioElement(str(self.count).encode())
            case "DataElement":
                return DataElement(str(self.count))
            case "TurnEnd":
                return TurnEnd(index=self.count)
            case _:
                return UsageElement(Usage(input_tokens=self.count))

    def route(self, item):
        """Return the names of the branches that an element goes to."""
        if isinstance(item, (TurnEnd, UsageElement)):
            return list(self.model)
        takers = [name for name in self.model if name != "rest" and isinstance(item, GATES[name])]
        return takers or (["rest"] if "rest" in self.model else [])

    def refusal(self):
        if self.own_closed:
            return ChannelClosedError
        return None if self.open_ones else OutputClosedError

    def enter(self, item):
        route = self.route(item)
        to = [name for name in route if name in self.open_ones]
        for name in to:
            self.model[name].append(item)
        if not to:
            self.dropped["no_more_needed" if route else "unrouted"] += 1

    def is_full(self, name):
        return name in self.open_ones and len(self.model[name]) >= self.fork.reads[name].capacity

    @rule(kind=KINDS, count=st.integers(1, 70))
    def send_nowait(self, kind, count):
        """Up to the bound of the fullest branch that it goes to; the right refusal afterwards."""
        for _ in range(count):
            item = self.make(kind)
            if self.refusal() is not None:
                with pytest.raises(self.refusal()) as caught:
                    self.fork.send.send_nowait(item)
                if self.refusal() is OutputClosedError:
                    assert caught.value.reason == max(self.reasons.values(), key=lambda one: one == "failure")
                return
            if any(self.is_full(name) for name in self.route(item)):
                with pytest.raises(anyio.WouldBlock):
                    self.fork.send.send_nowait(item)
                return
            self.fork.send.send_nowait(item)
            self.enter(item)

    @rule(kind=KINDS, count=st.integers(1, 70))
    def try_send(self, kind, count):
        """True exactly when all branches have room; False too where a checkpoint is due."""
        for _ in range(count):
            item = self.make(kind)
            sent = self.fork.send.try_send(item)
            route = self.route(item)
            if sent:
                assert self.refusal() is None
                assert not any(self.is_full(name) for name in route)
                self.enter(item)
                continue
            to = [name for name in route if name in self.open_ones]
            may_pause = any(self.fork.reads[name].capacity > WIDE for name in to) or self.dropped.total() >= WIDE
            assert self.refusal() or may_pause or any(self.is_full(name) for name in to)
            return

    @rule(name=NAMES, count=st.integers(1, 70))
    def take(self, name, count):
        """In order, whatever the other branches do."""
        for _ in range(count):
            if self.model.get(name):
                assert self.fork.reads[name]._take() is self.model[name].popleft()

    @precondition(lambda self: self.count > 5)
    @rule(name=NAMES, reason=st.sampled_from(["no_more_needed", "failure"]))
    def reader_closes(self, name, reason):
        """One branch goes; the others do not notice."""
        if name not in self.model:
            return
        if name in self.open_ones and not self.own_closed:
            self.reasons[name] = reason
        self.fork.reads[name].close(reason)
        self.model[name].clear()
        self.open_ones.discard(name)

    @precondition(lambda self: self.count > 30)
    @rule(how=st.sampled_from(["close", "fail", "close_with"]))
    def writer_ends(self, how):
        """Each branch that is open ends; a last notice enters those, full or not."""
        if how == "fail":
            self.fork.send.fail(ValueError())
        elif how == "close_with":
            item = self.make(UsageElement)
            self.fork.send.close_with(item)
            for name in self.open_ones:
                self.model[name].append(item)
        else:
            self.fork.send.close()
        self.own_closed = True
        self.open_ones.clear()

    @invariant()
    def the_books_agree(self):
        """Each branch has what the model says, and each edge's own account is right."""
        if not hasattr(self, "fork"):
            return
        for name, expected in self.model.items():
            assert list(self.fork.reads[name].backlog) == list(expected)
        assert self.fork.send.dropped == self.dropped
        assert self.fork.send.is_open == bool(self.open_ones)
        told = self.fork.send.statistics()
        assert told.buffered == sum(map(len, self.model.values()))
        assert told.sent == told.received + told.buffered + sum(told.discarded.values())
        self.fork.ledger.check()


class TestFork(ForkMachine.TestCase):
    """semantics 2.1, 2.2, 2.5, 4.4: routes, the bound, closed branches, refusals, accounts; watched and not."""


# All or nobody


async def test_a_fork_waits_for_room_on_all_branches_and_then_sends_to_all() -> None:
    """semantics 4.4: while one branch has no room, the others do not get it either."""
    fork = Fork(2)
    fork.fill("text")
    task = Caught(fork.send.send, TurnEnd())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(task)
        await wait_all_tasks_blocked()
        assert not task.done
        assert fork.there()["sound"] == []
        assert fork.send.statistics().waiting_senders == 1
        assert await fork.take("text") == [TextElement("full")] * 2 + [TurnEnd()]
        assert fork.there()["sound"] == [TurnEnd()]


async def test_waiting_senders_queue_in_order_on_every_branch_that_they_want() -> None:
    """semantics 2.1, 4.4: nobody overtakes on a branch, and who wants another branch is not held up."""
    fork = Fork(1)
    fork.fill("text")
    done = []

    async def send(element: StreamElement) -> None:
        await fork.send.send(element)
        done.append(element)

    late = AudioElement(b"late")
    async with anyio.create_task_group() as tasks:
        for element in (TextElement("first"), SOUND, TurnEnd(), late):
            tasks.start_soon(send, element)
            await wait_all_tasks_blocked()
        assert done == [SOUND]
        assert not fork.send.try_send(SOUND)
        assert await fork.take("sound") == [SOUND]
        assert done == [SOUND]  # there is room for `late`, behind the boundary that waits for the other branch
        assert await fork.take("text") == [TextElement("full"), TextElement("first"), TurnEnd()]
        assert await fork.take("sound") == [TurnEnd(), late]
    assert done == [SOUND, TextElement("first"), TurnEnd(), late]


CAPACITIES = st.sampled_from([1, 2, 3, 16, 64, 65, 200])


@given(
    capacities=st.tuples(CAPACITIES, CAPACITIES, CAPACITIES),
    watched=st.booleans(),
    plans=st.lists(st.lists(st.sampled_from("tsoc"), max_size=40), min_size=1, max_size=4),
    rates=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    closing=st.none() | st.tuples(st.integers(0, 2), st.integers(0, 40)),
    seed=st.integers(0, 2**32),
)
async def test_all_branches_agree_on_the_order_of_what_they_share(  # noqa: C901, PLR0915, PLR0917 - a model in one place
    capacities, watched, plans, rates, closing, seed
) -> None:
    """semantics 2.1, 4.4: several senders, a branch that goes: exactly once, each sender's order, one order for all branches."""
    ledger, pauses = EdgeLedger(), random.Random(seed)
    ends = []
    for (name, gate), capacity in zip(list(GATES.items())[:3], capacities, strict=True):
        record = ledger.watch(name) if watched else None
        ends.append(open_channel(capacity, name=name, admit=admission(gate, producer="a"), watch=record))
        if record is not None:
            record.attach(ends[-1][1])
    fork = open_fork("fork", [send for send, _ in ends])
    got: list[list[StreamElement]] = [[], [], []]
    made: list[list[StreamElement]] = []
    gone: set[int] = set()
    left = len(plans)

    def make(sender: int, number: int, kind: str) -> StreamElement:
        name = f"{sender}.{number}"
        match kind:
            case "t":
                return TextElement(name)
            case "s":
                return AudioElement(b"", id=name)
            case "o":
                return DataElement(name)
            case _:
                return TurnEnd(id=name)

    async def write(elements: list[StreamElement]) -> None:
        nonlocal left
        for element in elements:
            while pauses.random() < rates[0] / 2:
                await checkpoint()
            if pauses.random() < 0.5 or not fork.try_send(element):
                try:
                    await fork.send(element)
                except OutputClosedError:
                    break
        left -= 1
        if not left:
            fork.close()

    async def read(branch: int) -> None:
        end = ends[branch][1]
        while end.state == "open" or end.backlog:
            if closing is not None and closing == (branch, len(got[branch])):
                end.close()
                gone.add(branch)
            elif end.backlog:
                got[branch].append(end._take())
            else:
                await checkpoint()
            while pauses.random() < rates[1] / 2:
                await checkpoint()

    with anyio.fail_after(1000):
        async with anyio.create_task_group() as tasks:
            for branch in range(3):
                tasks.start_soon(read, branch)
            for sender, kinds in enumerate(plans):
                made.append([make(sender, number, kind) for number, kind in enumerate(kinds)])
                tasks.start_soon(write, made[-1])

    for branch, gate in enumerate(list(GATES.values())[:3]):
        assert len(set(map(id, got[branch]))) == len(got[branch])
        for elements in made:
            wanted = [one for one in elements if isinstance(one, (*gate, TurnEnd))]
            mine = {id(one) for one in elements}
            arrived = [one for one in got[branch] if id(one) in mine]
            assert arrived == wanted[: len(arrived)] if branch in gone else arrived == wanted
    for one, other in itertools.combinations(got, 2):
        # One order for all: as far as both have come, what they share stands in the same order.
        shared = {id(element) for element in one} & {id(element) for element in other}
        assert [id(element) for element in one if id(element) in shared] == [
            id(element) for element in other if id(element) in shared
        ]
    ledger.check(ended=True)


class Sending:
    """A fork of three branches and three senders; how far the one that is cancelled has come, a retry needs to know."""

    def __init__(self, capacity: int, total: int, *, watched: bool) -> None:
        self.fork = Fork(capacity, "text", "sound", "both", watched=watched)
        self.total = total
        self.sent = 0
        for _ in range(capacity - 2):  # so that few elements are enough to fill it
            self.fork.send.send_nowait(TurnEnd(id="before"))
        self.got: dict[str, list[StreamElement]] = {name: [] for name in self.fork.reads}

    def make(self, sender: str, number: int) -> StreamElement:
        kinds = [TextElement("x", id=f"{sender}{number}"), TurnEnd(id=f"{sender}{number}"), SOUND]
        return kinds[number % 3].replace(id=f"{sender} {number}")

    async def write(self, sender: str) -> None:
        for number in range(self.total):
            await self.fork.send.send(self.make(sender, number))

    async def write_own(self) -> None:
        while self.sent < self.total:
            await self.fork.send.send(self.make("own", self.sent))
            self.sent += 1

    async def read(self) -> None:
        """Read all branches, each at its own pace, until they have ended."""
        ends = self.fork.reads
        while any(one.state == "open" or one.backlog for one in ends.values()):
            for pace, (name, end) in enumerate(ends.items(), 1):
                for _ in range(-(-len(end.backlog) // pace)):
                    self.got[name].append(end._take())
            await checkpoint()

    def check(self, *senders: str) -> None:
        for name, gate in list(GATES.items())[:3]:
            for sender in senders:
                wanted = [self.make(sender, number) for number in range(self.total)]
                arrived = [one for one in self.got[name] if one.id.split()[0] == sender]
                assert arrived == [one for one in wanted if isinstance(one, (*gate, TurnEnd))]
        orders = [[one.id for one in got if isinstance(one, TurnEnd)] for got in self.got.values()]
        assert orders[0] == orders[1] == orders[2]
        self.fork.ledger.check(ended=True)


SIZES = pytest.mark.parametrize(
    ("capacity", "total", "watched"), [(1, 3, False), (2, 4, False), (3, 4, True), (16, 4, False), (65, 4, False)]
)


@SIZES
@every_mode
async def test_a_cancelled_sender_has_sent_to_no_branch_and_can_send_again(capacity, total, watched, how) -> None:
    """semantics 2.3, 4.4: whichever tick it is cancelled at, with others in the queue: all branches or none, and once."""
    state = None

    async def scenario(reader, left, right):
        nonlocal state
        state = Sending(capacity, total, watched=watched)
        reader.begin(state)
        left.begin(state, "left")
        right.begin(state, "right")
        await state.write_own()

    async def check(reader, left, right):
        await state.write_own()
        await left.idle.wait()
        await right.idle.wait()
        state.fork.send.close()
        await reader.idle.wait()
        state.check("own", "left", "right")

    await sweep(scenario, how, check, Sending.read, Sending.write, Sending.write)


@SIZES
@every_mode
async def test_all_senders_cancelled_at_once_leave_the_branches_alike(capacity, total, watched, how) -> None:
    """semantics 2.3, 4.4: a run that is cancelled leaves no branch with an element that another one lacks."""
    state = None

    async def scenario(reader):
        nonlocal state
        state = Sending(capacity, total, watched=watched)
        reader.begin(state)
        async with anyio.create_task_group() as tasks:
            for sender in ("left", "right", "third"):
                tasks.start_soon(state.write, sender)

    async def check(reader):
        state.fork.send.close()
        await reader.idle.wait()
        orders = [[one.id for one in got if isinstance(one, TurnEnd)] for got in state.got.values()]
        assert orders[0] == orders[1] == orders[2]
        shared = [[one.id for one in state.got[name] if isinstance(one, TextElement)] for name in ("text", "both")]
        assert shared[0] == shared[1]
        state.fork.ledger.check(ended=True)

    await sweep(scenario, how, check, Sending.read)


# Branches that end


@every_capacity
@watched_or_not
@pytest.mark.parametrize("closed", ["text", "sound"])
async def test_a_sender_that_waits_goes_on_when_a_branch_is_closed(capacity, watched, closed) -> None:
    """semantics 3.1, 4.4: at once where it waited for that branch, else when the other one has room."""
    fork = Fork(capacity, watched=watched)
    fork.fill("text")
    task = Caught(fork.send.send, TurnEnd())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(task)
        await wait_all_tasks_blocked()
        assert not task.done
        fork.reads[closed].close()
        await wait_all_tasks_blocked()
        assert task.done == (closed == "text")
        other = "sound" if closed == "text" else "text"
        assert (await fork.take(other))[-1] == TurnEnd()
    assert task.error is None
    assert fork.there()[closed] == []
    assert fork.send.is_open
    fork.ledger.check(ended=True)


async def test_data_for_a_branch_that_has_gone_is_dropped_and_counted() -> None:
    """semantics 1.4, 4.4: it is for nobody else; control still goes to the others."""
    fork = Fork(4, rest=True)
    fork.reads["text"].close()
    for element in (TextElement("x"), SOUND, TurnEnd(), TextElement("y")):
        await fork.send.send(element)
    assert fork.send.dropped == {"no_more_needed": 2}
    assert fork.there() == {"text": [], "sound": [SOUND, TurnEnd()], "rest": [TurnEnd()]}


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (("no_more_needed", "no_more_needed"), "no_more_needed"),
        (("no_more_needed", "failure"), "failure"),
        (("failure", "no_more_needed"), "failure"),
    ],
)
@pytest.mark.parametrize("element", [TextElement("x"), OTHER, TurnEnd()], ids=["data", "unrouted", "control"])
async def test_when_all_branches_have_gone_sending_fails_and_says_why(reasons, told, element) -> None:
    """semantics 2.2, 3.1: with the reason, in every form, for who waits as well."""
    fork = Fork(1)
    fork.fill("text")
    fork.fill("sound")
    waiting = Caught(fork.send.send, TurnEnd())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting)
        await wait_all_tasks_blocked()
        for end, reason in zip(fork.reads.values(), reasons, strict=True):
            end.close(reason)
    with pytest.raises(OutputClosedError) as caught:
        await fork.send.send(element)
    with pytest.raises(OutputClosedError):
        fork.send.send_nowait(element)
    assert not fork.send.try_send(element)
    assert not fork.send.is_open
    assert isinstance(waiting.error, OutputClosedError)
    assert (waiting.error.reason, waiting.error.edge) == (caught.value.reason, caught.value.edge) == (told, "a → (…)")


async def test_closing_ends_every_branch_behind_what_was_sent() -> None:
    """semantics 2.2: idempotent, and wakes who waits."""
    fork = Fork(1)
    fork.fill("text")
    await fork.send.send(SOUND)
    waiting = Caught(fork.send.send, TurnEnd())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting)
        await wait_all_tasks_blocked()
        fork.send.close()
        fork.send.close()
    assert isinstance(waiting.error, ChannelClosedError)
    assert [one async for one in fork.reads["text"]] == [TextElement("full")]
    assert [one async for one in fork.reads["sound"]] == [SOUND]
    with pytest.raises(ChannelClosedError, match=r"a → \(…\)"):
        await fork.send.send(SOUND)


async def test_failing_tells_every_reader_the_cause_behind_what_was_sent() -> None:
    """semantics 2.2: FAILED(cause), on each branch."""
    fork, cause = Fork(2, "text", "both"), ValueError("broken")
    await fork.send.send(TextElement("x"))
    fork.send.fail(cause)
    for end in fork.reads.values():
        assert await end.receive() == TextElement("x")
        with pytest.raises(ChannelFailedError) as caught:
            await end.receive()
        assert caught.value.__cause__ is cause


async def test_a_last_notice_enters_every_open_branch_beyond_the_bound_and_only_once() -> None:
    """semantics 5.6: the notice of a failure cannot wait, and must not be lost on any branch."""
    fork = Fork(1, "text", "sound", "all")
    await fork.send.send(TurnEnd())
    fork.reads["sound"].close()
    notice = UsageElement(Usage())
    fork.send.close_with(notice)
    fork.send.close_with(notice)
    assert fork.there() == {"text": [TurnEnd(), notice], "sound": [], "all": [TurnEnd(), notice]}
    assert {end.state for end in fork.reads.values()} == {"completed", "cancelled"}


# What passes a reader by, into a fork


@every_capacity
@watched_or_not
async def test_what_passes_a_stage_by_goes_to_the_branches_that_accept_it(capacity, watched) -> None:
    """semantics 3.3, 4.4: an element that passes by takes the same way as one that is sent, and keeps its place."""
    fork = Fork(capacity, "text", "sound", watched=watched)
    feed, input = open_channel(16, admit=admission((TextElement,), producer="w"))
    input.forward_to(fork.send)
    source = [TextElement("1"), SOUND, TurnEnd(), OTHER, TextElement("2"), SOUND]
    got: dict[str, list[StreamElement]] = {"text": [], "sound": []}

    async def stage() -> None:
        async for element in input:
            await fork.send.send(element)
        await input.pass_rest()
        fork.send.close()

    async def read(name: str) -> None:
        end = fork.reads[name]
        while end.state == "open" or end.backlog:
            if end.backlog:
                got[name].append(end._take())
            await checkpoint()

    async with anyio.create_task_group() as tasks:
        for name in got:
            tasks.start_soon(read, name)
        tasks.start_soon(stage)
        for element in source * 10:
            await feed.send(element)
        feed.close()

    assert got["text"] == [TextElement("1"), TurnEnd(), TextElement("2")] * 10
    assert got["sound"] == [SOUND, TurnEnd(), SOUND] * 10
    assert fork.send.dropped == {"unrouted": 10}
    fork.ledger.check(ended=True)


class Accumulator:
    """What an accumulating stage reads and writes: what it does not accept is kept aside until it ends a turn."""

    def __init__(self, fork: Fork, *elements: StreamElement) -> None:
        self.feed, self.input = open_channel(32, admit=admission((TextElement, TurnEnd), producer="w"))
        self.input.forward_to(fork.send)
        self.input.keep_aside()
        for element in (TextElement("begin"), *elements, TextElement("end")):
            self.feed.send_nowait(element)

    async def take_all(self) -> None:
        assert [await anext(self.input), await anext(self.input)] == [TextElement("begin"), TextElement("end")]


async def test_what_was_kept_aside_leaves_into_its_branches_before_the_end_of_the_turn() -> None:
    """semantics 3.3, 4.4: routed like anything else, and the boundary behind it on every branch."""
    fork = Fork(8)
    bench = Accumulator(fork, SOUND, OTHER, TurnStart(), SOUND)
    await bench.take_all()
    await fork.send.send(TextElement("result"))
    await fork.send.send(TurnEnd())
    assert fork.there() == {
        "text": [TextElement("result"), TurnStart(), TurnEnd()],
        "sound": [SOUND, TurnStart(), SOUND, TurnEnd()],
    }
    assert fork.send.dropped == {"unrouted": 1}


async def test_two_tasks_that_end_a_turn_send_what_was_kept_aside_to_the_right_branches() -> None:
    """semantics 3.3, 4.4: who finds another element next, because a second task was faster, asks anew where that goes."""
    fork = Fork(2)
    bench = Accumulator(fork, UsageElement(Usage()), SOUND)
    await bench.take_all()
    fork.fill("text")
    fork.fill("sound")
    got: dict[str, list[StreamElement]] = {"text": [], "sound": []}
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(fork.send.send, TurnEnd())
            await wait_all_tasks_blocked()
        fork.reads["sound"]._take()
        for name in ("text", "sound") * 3:
            got[name] += await fork.take(name)
    assert got["text"][2:] == [UsageElement(Usage()), TurnEnd(), TurnEnd()]
    assert got["sound"][1:] == [UsageElement(Usage()), SOUND, TurnEnd(), TurnEnd()]


@given(
    aside=st.lists(st.sampled_from([SOUND, OTHER, TurnStart(), UsageElement(Usage())]), max_size=5),
    capacity=st.integers(1, 3),
    steps=st.lists(st.sampled_from(["text", "sound", "cancel", "send"]), max_size=20),
)
async def test_tasks_that_end_a_turn_together_lose_and_misroute_nothing(aside, capacity, steps) -> None:
    """semantics 2.3, 3.3, 4.4: whatever order rooms come free in, and whoever is cancelled meanwhile."""
    fork = Fork(capacity)
    bench = Accumulator(fork, *aside)
    await bench.take_all()
    fork.fill("text")
    fork.fill("sound")
    got: dict[str, list[StreamElement]] = {"text": [], "sound": []}
    scopes: list[anyio.CancelScope] = []

    async def send() -> None:
        scopes.append(anyio.CancelScope())
        with scopes[-1]:
            await fork.send.send(TurnEnd())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        for step in steps:
            if step == "send":
                tasks.start_soon(send)
            elif step == "cancel" and len(scopes) > 1:
                scopes.pop(0).cancel()
            elif step in got and fork.reads[step].backlog:
                got[step].append(fork.reads[step]._take())
            await wait_all_tasks_blocked()
        while any(end.backlog for end in fork.reads.values()):
            for name in got:
                got[name] += await fork.take(name)

    control = [one for one in aside if not isinstance(one, (AudioElement, DataElement))]
    ends = got["text"].count(TurnEnd())
    assert ends
    assert got["text"][capacity:] == control + [TurnEnd()] * ends
    assert got["sound"][capacity:] == [one for one in aside if one != OTHER] + [TurnEnd()] * ends
    assert fork.send.dropped == ({"unrouted": aside.count(OTHER)} if OTHER in aside else {})
    assert bench.input.statistics().buffered == 0


# Taking turns


@pytest.mark.parametrize("capacity", [1, 2, 3, 16, 64])
async def test_sending_does_not_suspend_while_all_branches_have_room(capacity) -> None:
    """semantics 2.4: a fork of narrow edges is no reason to let others run."""
    fork, ticks = Fork(capacity, "text", "both"), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await checkpoint()
        before = ticks
        for _ in range(capacity):
            await fork.send.send(TextElement("x"))
        assert ticks == before
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("watched", [False, True], ids=["bare", "watched"])
@pytest.mark.parametrize("what", ["wide", "wide, one of two", "unrouted", "gone"])
@pytest.mark.parametrize("form", ["send", "send_all", "send_each"])
async def test_others_run_every_64_elements_where_no_edge_stops_the_sender(
    what, form, watched, anyio_backend_name
) -> None:
    """semantics 2.4: wide branches, data that nobody accepts, data for a branch that has gone: a checkpoint every 64."""
    fork = Fork(10**6 if "wide" in what else 4, "text", "sound", watched=watched)
    element = {"unrouted": OTHER, "wide": TurnEnd()}.get(what, TextElement("x"))
    if what == "gone":
        fork.reads["text"].close()
    total, moved, worst = 600, 0, 0

    def counted():
        nonlocal moved, worst
        for _ in range(total):
            moved += 1
            worst = max(worst, moved)
            yield element

    async def counted_async():
        for one in counted():
            yield one

    async def tick() -> None:
        nonlocal moved
        while True:
            moved = 0
            await checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await checkpoint()
        if form == "send":
            for one in counted():
                await fork.send.send(one)
        elif form == "send_all":
            await fork.send.send_all(counted_async())
        else:
            await fork.send.send_each(counted())
        tasks.cancel_scope.cancel()

    # trio shuffles the tasks of a batch: one may run last in a batch and first in the next.
    assert worst <= (WIDE if anyio_backend_name == "asyncio" else 2 * WIDE) + 1


# What the merges below are told


def joined(fork_reads: int = 2) -> tuple[ControlJoin, ForkEnd[StreamElement], list[ReceiveEnd[StreamElement]]]:
    join = ControlJoin(fork_reads, {0: frozenset(range(fork_reads))})
    ends = [open_channel(8) for _ in range(fork_reads)]
    return join, open_fork("fork", [send for send, _ in ends], joins=[(join, 0)]), [read for _, read in ends]


async def test_an_object_that_is_sent_again_is_an_equal_one_while_copies_are_on_their_way() -> None:
    """semantics 4.5: a constant is a lawful element; the merges below can tell its occurrences apart, branches alike."""
    join, fork, reads = joined()
    boundary = TurnEnd(index=3, metadata={"a": 1})
    for _ in range(3):
        await fork.send(boundary)
    first, second = (list(end.backlog) for end in reads)
    assert first == second == [boundary] * 3
    assert list(map(id, first)) == list(map(id, second))
    assert len(set(map(id, first))) == 3
    assert first[0] is boundary
    for element in first:
        for number in (0, 1):
            join.announce(number, element)
            join.arrive(number, element)
        assert join.release() is element
    for end in reads:
        while end.backlog:
            end._take()
    await fork.send(boundary)
    assert [list(end.backlog) for end in reads] == [[boundary], [boundary]]
    assert all(end.backlog[0] is boundary for end in reads)


async def test_what_was_not_sent_the_merges_below_do_not_wait_for() -> None:
    """semantics 2.3, 4.5: neither what was refused, nor what was cancelled, nor what came after the end."""
    join, fork, reads = joined()
    for _ in range(8):
        await fork.send(TextElement("x"))
    waiting, late = TurnEnd(), TurnEnd()
    assert not fork.try_send(waiting)
    with anyio.move_on_after(1):
        await fork.send(waiting)
    with pytest.raises(anyio.WouldBlock):
        fork.send_nowait(waiting)
    fork.close()
    fork.close_with(late)
    assert not join.is_on_its_way(waiting, 0)
    assert not join.is_on_its_way(late, 0)
    assert [end.backlog[-1] for end in reads] == [TextElement("x")] * 2


# What is left behind


async def test_a_fork_and_its_edges_are_freed_without_the_garbage_collector(no_gc: None) -> None:
    """SF-31: also where a reader that accumulates keeps elements aside for it, and merges below know it."""
    join, fork, reads = joined()
    feed, input = open_channel(4, admit=admission((TextElement, TurnEnd), producer="w"))
    input.forward_to(fork)
    input.keep_aside()
    for element in (TextElement("x"), TurnStart()):
        await feed.send(element)
    await anext(input)
    feed.close()
    await fork.send(TurnEnd())
    await input.pass_rest()
    fork.close()
    input.close()
    for end in reads:
        end.close()
    known = [weakref.ref(one) for one in (join, fork, feed, input, *reads)]
    del join, fork, feed, input, reads, end
    assert [one() for one in known] == [None] * len(known)
    gc.collect()

"""Merges by a policy: each against a reference that is a formula over what was sent, and the rules of every reading end."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from edges import Caught, taken_now, watched_or_not
from hypothesis import given
from hypothesis import strategies as st
from sweeping import every_mode, sweep

from streamflow import BatchElement, ControlElement, ErrorElement, StreamElement, TextElement, TurnEnd, TurnStart
from streamflow.channels import (
    TURNS,
    BarrierEnd,
    ConcatEnd,
    ControlJoin,
    MergeEnd,
    OrderedEnd,
    Ordering,
    PriorityEnd,
    RaceEnd,
    ReceiveEnd,
    SendEnd,
    SortedEnd,
    ZipEnd,
    ZipLatestEnd,
    open_channel,
    open_fork,
)
from streamflow.elements import batch_of
from streamflow.errors import ChannelClosedError, ChannelFailedError, ElementError, OutputClosedError
from streamflow.stages import EVERYTHING, admission
from streamflow.testing import EdgeLedger


def key_of(element: TextElement) -> str:
    return element.text


POLICIES: dict[str, Callable[..., MergeEnd[StreamElement]]] = {
    "arrival": MergeEnd,
    "concat": ConcatEnd,
    "race": RaceEnd,
    "priority": PriorityEnd,
    "weights": lambda *args: PriorityEnd(*args, weights=[3, 1, 2, 5][: len(args[1])]),
    "zip": lambda *args: ZipEnd(*args, combine=batch_of),
    "zip_latest": lambda *args: ZipLatestEnd(*args, combine=batch_of),
    "barrier": lambda *args: BarrierEnd(*args, max_held=1000),
    "sorted": lambda *args: SortedEnd(*args, key=key_of),
    "ordered": OrderedEnd,
}

every_policy = pytest.mark.parametrize("policy", [*POLICIES])


class Bench:
    """A merge by a policy, and the edges that it reads."""

    def __init__(
        self,
        policy: str | Callable[..., MergeEnd[StreamElement]],
        inputs: int = 2,
        capacity: int = 64,
        *,
        watched: bool = False,
        join: ControlJoin | None = None,
    ) -> None:
        self.ledger = EdgeLedger()
        gate = admission(EVERYTHING, producer="writer")
        self.sends: list[SendEnd[StreamElement]] = []
        self.edges: list[ReceiveEnd[StreamElement]] = []
        for number in range(inputs):
            record = self.ledger.watch(f"input {number}") if watched else None
            send, receive = open_channel(capacity, name=f"input {number}", admit=gate, watch=record)
            if record is not None:
                record.attach(receive)
            self.sends.append(send)
            self.edges.append(receive)
        record = self.ledger.watch("merge") if watched else None
        make = POLICIES[policy] if isinstance(policy, str) else policy
        self.end = make("merge", self.edges, gate, record, join)
        if record is not None:
            record.attach(self.end)

    def out(self) -> list[StreamElement]:
        """Return what the reader gets without waiting."""
        return taken_now(self.end)

    def has_ended(self) -> bool:
        try:
            self.end.receive_nowait()
        except anyio.EndOfStream:
            return True
        except anyio.WouldBlock:
            return False
        raise AssertionError


def text(word: object) -> TextElement:
    return TextElement(str(word))


def words(elements: Sequence[StreamElement]) -> list[object]:
    """Return elements as they are easily read: texts, tuples of them, and the first letter of a control element's type."""
    return [
        tuple(words(one.items))
        if isinstance(one, BatchElement)
        else one.text
        if isinstance(one, TextElement)
        else type(one).__name__
        for one in elements
    ]


# References: what must have left, of what was sent on each input and which inputs have been closed; and what has ended

Sent = list[list[str]]


def concat(sent: Sent, closed: set[int]) -> tuple[list[object], bool]:
    found: list[object] = []
    for number, one in enumerate(sent):
        found += one
        if number not in closed:
            return found, False
    return found, True


def zipped(sent: Sent, closed: set[int]) -> tuple[list[object], bool]:
    pairs: list[object] = list(zip(*sent, strict=False))
    return pairs, any(len(sent[number]) == len(pairs) for number in closed)


def in_turns(sent: Sent, closed: set[int]) -> tuple[list[object], bool]:
    turns = [[turn.split() for turn in " ".join(one).split("|")] for one in sent]
    found: list[object] = []
    for place in range(max(map(len, turns))):
        has_come = [len(one) > place + 1 for one in turns]
        if not all(come or number in closed for number, come in enumerate(has_come)):
            return found, False
        for one in turns:
            found += one[place] if place < len(one) else []
        found += ["TurnEnd"] * sum(has_come)
    return found, len(closed) == len(sent)


def merged(sent: Sent, closed: set[int]) -> tuple[list[object], bool]:
    left = [list(one) for one in sent]
    found: list[object] = []
    while all(one or number in closed for number, one in enumerate(left)) and any(left):
        number = min((one for one in range(len(left)) if left[one]), key=lambda one: left[one][0])
        found.append(left[number].pop(0))
    assert len(closed) < len(sent) or found == list(heapq.merge(*sent))
    return found, len(closed) == len(sent) and not any(left)


REFERENCES = {"concat": concat, "zip": zipped, "barrier": in_turns, "sorted": merged}


@st.composite
def schedules(draw: st.DrawFn, letters: str) -> tuple[int, list[tuple[int, str]]]:
    inputs = draw(st.integers(1, 4))
    steps = draw(st.lists(st.tuples(st.integers(0, inputs - 1), st.sampled_from(letters)), max_size=40))
    return inputs, [*steps, *((number, "x") for number in range(inputs))]


@pytest.mark.slow
@pytest.mark.parametrize("policy", [*REFERENCES])
@given(data=st.data(), watched=st.booleans())
async def test_what_leaves_is_what_the_reference_says_at_every_moment(policy, data, watched) -> None:
    """semantics 4.21-4.23: as much as can leave has left, in that order, and it ends when it must."""
    letters = "dddx" if policy != "barrier" else "ddd|||x"
    inputs, steps = data.draw(schedules(letters))
    bench = Bench(policy, inputs, watched=watched)
    sent: Sent = [[] for _ in range(inputs)]
    closed: set[int] = set()
    got: list[object] = []
    count = itertools.count(100)
    for number, letter in steps:
        if number in closed:
            continue
        if letter == "x":
            bench.sends[number].close()
            closed.add(number)
        else:
            word = str(next(count) + (data.draw(st.integers(0, 3)) * 1000 if policy == "sorted" else 0))
            if policy == "sorted" and sent[number] and word < sent[number][-1]:
                word = sent[number][-1]
            try:
                bench.sends[number].send_nowait(TurnEnd() if letter == "|" else text(word))
            except OutputClosedError:
                assert bench.end.state != "open"
                continue
            sent[number].append("|" if letter == "|" else word)
        got += words(bench.out())
        expected, has_ended = REFERENCES[policy](sent, closed)
        assert got == expected
        assert (bench.end.state != "open") == has_ended
    assert bench.has_ended()
    bench.ledger.check(ended=True)


@pytest.mark.slow
@given(drawn=schedules("ddx"), watched=st.booleans())
async def test_each_new_element_leaves_with_the_latest_of_the_others(drawn, watched) -> None:
    """semantics 4.22: `combineLatest`; what is replaced before all have given one is counted."""
    inputs, steps = drawn
    bench = Bench("zip_latest", inputs, watched=watched)
    latest: dict[int, str] = {}
    closed: set[int] = set()
    unpaired = 0
    for place, (number, letter) in enumerate(steps):
        hopeless = any(one not in latest for one in closed)
        if number in closed or hopeless:
            continue
        if letter == "x":
            bench.sends[number].close()
            closed.add(number)
            assert bench.out() == []
            unpaired += len(latest) if number not in latest else 0
            continue
        bench.sends[number].send_nowait(text(place))
        unpaired += number in latest and len(latest) < inputs
        latest[number] = str(place)
        expected = [tuple(latest[one] for one in range(inputs))] if len(latest) == inputs else []
        assert words(bench.out()) == expected
    assert bench.has_ended()
    assert bench.end.statistics().discarded.get("unpaired", 0) == unpaired
    bench.ledger.check(ended=True)


@given(
    weights=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    sends=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=30),
)
async def test_with_weights_none_waits_for_more_than_its_share(weights, sends) -> None:
    """semantics 4.23: bounded: at most `weight + 1` elements of each other input go before one that waits."""
    bench = Bench(lambda *args: PriorityEnd(*args, weights=weights), len(weights), 1000)
    waited: dict[int, dict[int, int]] = {}
    for number, reads in sends:
        if number < len(weights):
            for _ in range(5):
                bench.sends[number].send_nowait(TextElement("x", id=str(number)))
            waited.setdefault(number, {})
        for _ in range(reads):
            try:
                given_by = int(bench.end.receive_nowait().id)
            except anyio.WouldBlock:
                break
            waited.pop(given_by)
            for passed in waited.values():
                passed[given_by] = passed.get(given_by, 0) + 1
                assert passed[given_by] <= weights[given_by] + 1
            if bench.edges[given_by].backlog:
                waited[given_by] = {}


async def test_weights_are_the_shares_of_inputs_that_are_always_full() -> None:
    """semantics 4.23: deterministic, and exact over a round."""
    bench = Bench(lambda *args: PriorityEnd(*args, weights=[3, 1]), 2)
    for _ in range(24):
        for number in (0, 1):
            bench.sends[number].send_nowait(text(number))
    assert "".join(words(bench.out())[:24]) == "010" + "0" + "0100" * 5


async def test_a_preferred_input_goes_first_however_long_others_wait() -> None:
    """semantics 4.23: `MergePreferred`: strict, in the order given; others when it has nothing."""
    bench = Bench("priority", 3)
    for word in "abc":
        bench.sends[2].send_nowait(text(word))
    bench.sends[1].send_nowait(text("b1"))
    assert words([bench.end.receive_nowait()]) == ["b1"]
    bench.sends[0].send_nowait(text("a1"))
    assert words(bench.out()) == ["a1", "a", "b", "c"]


async def test_the_first_input_that_gives_data_wins_and_the_others_are_closed_at_once() -> None:
    """semantics 4.23: control does not decide; losers are told that no more is needed."""
    bench = Bench("race", 3)
    bench.sends[0].send_nowait(TurnStart())
    assert words(bench.out()) == ["TurnStart"]
    bench.sends[2].send_nowait(text("c"))
    bench.sends[1].send_nowait(text("b"))
    assert words([bench.end.receive_nowait()]) == ["b"]
    assert [one.state for one in bench.edges] == ["cancelled", "open", "cancelled"]
    assert {one.reason for one in bench.edges} == {"no_more_needed"}
    assert bench.edges[2].statistics().discarded == {"no_more_needed": 1}
    bench.sends[1].send_nowait(text("d"))
    bench.sends[1].close()
    assert words(bench.out()) == ["d"]
    assert bench.has_ended()


async def test_a_race_that_nobody_runs_ends() -> None:
    """semantics 4.23: when all have ended without data."""
    bench = Bench("race", 2)
    bench.sends[1].send_nowait(TurnEnd())
    for send in bench.sends:
        send.close()
    assert words(bench.out()) == ["TurnEnd"]
    assert bench.has_ended()


# Turns: what a fork above has copied


def joined(policy: str, inputs: int = 2, **more: object) -> tuple[Bench, Callable[..., ControlElement]]:
    """Return a bench below a fork, and what sends a copy to some inputs."""
    aligned = () if policy in ("concat", "race", "barrier") else TURNS
    join = ControlJoin(inputs, {0: frozenset(range(inputs))}, aligned=aligned)
    bench = Bench(policy, inputs, join=join, **more)  # type: ignore[arg-type]

    def copy(element: ControlElement, *numbers: int) -> ControlElement:
        join.expect(element, 0)
        for number in numbers:
            bench.sends[number].send_nowait(element)
        return element

    return bench, copy


@watched_or_not
async def test_pairs_do_not_cross_the_end_of_a_turn(watched) -> None:
    """semantics 4.22: what is left over is discarded and counted, so the boundary leaves and nothing waits for ever."""
    bench, copy = joined("zip", watched=watched)
    for word in "abc":
        bench.sends[0].send_nowait(text(word))
    bench.sends[1].send_nowait(text("x"))
    copy(TurnEnd(), 0, 1)
    bench.sends[0].send_nowait(text("d"))
    bench.sends[1].send_nowait(text("y"))
    assert words(bench.out()) == [("a", "x"), "TurnEnd", ("d", "y")]
    assert bench.end.statistics().discarded == {"unpaired": 2}
    bench.ledger.check()


async def test_a_zip_tells_the_end_of_a_turn_that_one_input_ended_in() -> None:
    """semantics 4.22: it ends behind the boundary that the ended input has shown, not before."""
    bench, copy = joined("zip")
    end = TurnEnd()
    copy(end, 0)
    bench.sends[0].close()
    bench.sends[1].send_nowait(text("x"))
    assert bench.out() == []
    assert bench.end.state == "open"
    bench.sends[1].send_nowait(end)
    assert bench.out() == [end]
    assert bench.has_ended()
    assert bench.edges[1].state == "cancelled"


async def test_a_barrier_gives_a_turn_input_by_input_once_all_have_come_to_its_end() -> None:
    """semantics 4.23: data and other control in the order of the inputs, the end of the turn once behind all."""
    bench, copy = joined("barrier")
    start, first, second = TurnStart(), TurnEnd(index=1), TurnEnd(index=2)
    copy(start, 1, 0)
    for number in (1, 0):
        bench.sends[number].send_nowait(text(number))
    copy(first, 1)
    bench.sends[1].send_nowait(text("next"))
    assert bench.out() == []
    bench.sends[0].send_nowait(first)
    assert bench.out() == [start, text(0), text(1), first]
    copy(second, 0, 1)
    assert bench.out() == [text("next"), second]


async def test_a_barrier_does_not_wait_where_a_turn_was_passed_over() -> None:
    """semantics 4.23: an input that shows the end of a later turn gives nothing more to this one."""
    bench, copy = joined("barrier")
    first, second = TurnEnd(index=1), TurnEnd(index=2)
    bench.sends[0].send_nowait(text("a"))
    copy(first, 0)
    bench.sends[0].send_nowait(text("b"))
    copy(second, 0, 1)
    assert bench.out() == [text("a"), first, text("b"), second]


async def test_a_stages_own_end_of_a_turn_stands_for_the_one_that_comes_late() -> None:
    """semantics 4.23: both leave once, and the turns stay together."""
    bench, copy = joined("barrier")
    first, own, second = TurnEnd(index=1), TurnEnd(index=9), TurnEnd(index=2)
    copy(first, 0)
    bench.sends[1].send_nowait(own)
    assert bench.out() == [first, own]
    bench.sends[1].send_nowait(first)
    for number in (0, 1):
        bench.sends[number].send_nowait(text(number))
    copy(second, 0, 1)
    assert bench.out() == [text(0), text(1), second]


async def test_a_barrier_holds_no_more_than_it_may() -> None:
    """semantics 4.23: a clear error, and nothing is taken; within the limit none."""
    bench = Bench(lambda *args: BarrierEnd(*args, max_held=3), 2)
    for number in range(4):
        bench.sends[0].send_nowait(text(number))
    with pytest.raises(ElementError, match=r"3 elements wait .* barrier\(max_held=…\)"):
        bench.out()
    assert len(bench.edges[0].backlog) == 1


async def test_a_sorted_merge_sorts_within_turns() -> None:
    """semantics 4.20: an input that has come to a common boundary is not waited for."""
    bench, copy = joined("sorted")
    end = TurnEnd()
    bench.sends[0].send_nowait(text("b"))
    bench.sends[1].send_nowait(text("a"))
    copy(end, 0)
    assert words(bench.out()) == ["a"]
    bench.sends[1].send_nowait(text("c"))
    bench.sends[1].send_nowait(end)
    assert words(bench.out()) == ["b", "c", "TurnEnd"]


async def test_a_concatenation_gives_control_at_its_first_copy() -> None:
    """semantics 4.21: it does not read the inputs that wait, so it cannot wait for theirs."""
    bench, copy = joined("concat")
    end = copy(TurnEnd(), 0, 1)
    bench.sends[1].send_nowait(text("x"))
    assert bench.out() == [end]
    bench.sends[0].close()
    assert words(bench.out()) == ["x"]


# The order of a fork


class Ordered:
    """A fork that marks, branches that are pumped by hand, and the merge that restores its order."""

    def __init__(self, branches: int, capacity: int) -> None:
        reach = frozenset(range(branches))
        gate = admission(EVERYTHING, producer="writer")
        self.join = ControlJoin(branches, {0: reach})
        into = [open_channel(capacity, name=f"fork → {number}", admit=gate) for number in range(branches)]
        out = [open_channel(capacity, name=f"{number} → merge", admit=gate) for number in range(branches)]
        self.reads, self.writes = [one[1] for one in into], [one[0] for one in out]
        marks = Ordering(0, {one[0]: [(self.join, frozenset({number}))] for number, one in enumerate(into)})
        self.fork = open_fork("fork", [one[0] for one in into], joins=[(self.join, 0)], ordering=marks)
        self.end = OrderedEnd("merge", [one[1] for one in out], gate, None, self.join, forks=[0])
        for read, write in zip(self.reads, self.writes, strict=True):
            read.forward_to(write)


@pytest.mark.slow
@given(
    counts=st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), max_size=12),
    capacity=st.sampled_from([1, 2, 3, 16, 65]),
    pauses=st.lists(st.integers(0, 3), min_size=3, max_size=3),
    turns=st.sets(st.integers(0, 11)),
)
async def test_what_comes_of_one_element_leaves_before_what_comes_of_the_next(counts, capacity, pauses, turns) -> None:
    """semantics 4.20: whatever branches make of an element, none or many, and however far one is behind."""
    bench = Ordered(2, capacity)
    got: list[StreamElement] = []

    async def write() -> None:
        for place in range(len(counts)):
            for _ in range(pauses[2]):
                await anyio.lowlevel.checkpoint()
            await bench.fork.send(text(place))
            if place in turns:
                await bench.fork.send(TurnEnd(index=place))
        bench.fork.close()

    async def work(number: int) -> None:
        async for element in bench.reads[number]:
            if isinstance(element, TurnEnd):
                await bench.writes[number].send(element)
                continue
            for copy in range(counts[int(element.text)][number]):
                for _ in range(pauses[number]):
                    await anyio.lowlevel.checkpoint()
                await bench.writes[number].send(text(f"{element.text}.{number}.{copy}"))
        await bench.reads[number].pass_rest()
        bench.writes[number].close()

    with anyio.fail_after(100):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            tasks.start_soon(work, 0)
            tasks.start_soon(work, 1)
            async for element in bench.end:
                got.append(element)
    expected: list[object] = []
    for place, count in enumerate(counts):
        expected += [f"{place}.{number}.{copy}" for number in (0, 1) for copy in range(count[number])]
        expected += ["TurnEnd"] if place in turns else []
    assert words(got) == expected
    assert not bench.join._copied


async def test_an_order_is_not_held_up_by_a_branch_that_has_ended() -> None:
    """semantics 4.20: what a stage had not taken when it ended does not come."""
    bench = Ordered(2, 16)
    got: list[StreamElement] = []

    async def work() -> None:
        async for element in bench.reads[1]:
            await bench.writes[1].send(text(f"{element.text}'"))

    async def take_one() -> None:
        await bench.writes[0].send(await bench.reads[0].receive())
        bench.reads[0].close()
        bench.writes[0].close()

    async def read() -> None:
        async for element in bench.end:
            got.append(element)

    async with anyio.create_task_group() as tasks:
        for place in range(3):
            bench.fork.send_nowait(text(place))
        for task in (take_one, work, read):
            tasks.start_soon(task)
        await wait_all_tasks_blocked()
        assert words(got) == ["0", "0'", "1'", "2'"]
        tasks.cancel_scope.cancel()


# What holds for every reading end


@every_policy
@watched_or_not
@pytest.mark.parametrize("reason", ["no_more_needed", "failure"])
async def test_closing_it_closes_all_inputs_and_counts_what_is_there(policy, watched, reason) -> None:
    """semantics 2.2, 2.5: whatever it holds back; senders learn why."""
    bench = Bench(policy, 3, watched=watched)
    for number in (1, 2):
        for word in "ab":
            bench.sends[number].send_nowait(text(word))
    if policy != "race":
        bench.out()
    bench.end.close(reason)
    for send in bench.sends:
        with pytest.raises(OutputClosedError) as raised:
            await send.send(text("late"))
        assert raised.value.reason == reason
    with pytest.raises(ChannelClosedError):
        await bench.end.receive()
    bench.ledger.check(ended=True)


@every_policy
@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("late", [False, True])
async def test_an_input_that_fails_fails_the_merge_behind_what_was_sent(policy, failing, late) -> None:
    """semantics 4.8, 4.20-4.23: the others end as they would, and then the cause is told; a loser of a race fails nothing."""
    bench = Bench(policy, 2, watched=True)
    cause = ValueError("why")
    for send in bench.sends if late else ():
        send.send_nowait(text("a"))
    bench.sends[failing].fail(cause)
    bench.sends[1 - failing].close()
    got: list[StreamElement] = []
    error = None
    try:
        async for element in bench.end:
            got.append(element)
    except ChannelFailedError as raised:
        error = raised
    lost = policy == "race" and late and failing == 1
    assert (None if error is None else error.__cause__) is (None if lost else cause)
    assert len(got) == late * {"zip": 1, "zip_latest": 1, "race": 1}.get(policy, 2)
    bench.ledger.check(ended=True)


@every_policy
async def test_a_reader_that_waits_is_woken_by_each_of_its_inputs(policy) -> None:
    """semantics 2.1: no wake-up is lost, whatever is waited for."""
    bench = Bench(policy, 2, 1)
    reads = Caught(bench.end.receive)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reads)
        await wait_all_tasks_blocked()
        for number in (1, 0):
            if bench.edges[number].state == "open":  # a loser is closed
                bench.sends[number].send_nowait(text(number))
            bench.sends[number].close()
            await wait_all_tasks_blocked()
    assert reads.done
    assert reads.error is None


@pytest.mark.parametrize("policy", ["zip", "zip_latest"])
@pytest.mark.parametrize("made", [None, "text", TurnEnd()])
async def test_what_combine_makes_must_be_data(policy, made) -> None:
    """semantics 4.22: an error that says so; nothing is taken, so it can be tried again."""
    make = {"zip": ZipEnd, "zip_latest": ZipLatestEnd}[policy]
    bench = Bench(lambda *args: make(*args, combine=lambda *_: made), 2)
    for send in bench.sends:
        send.send_nowait(text("a"))
    for _ in range(2):
        with pytest.raises(ElementError):
            bench.out()
    assert sum(len(edge.backlog) for edge in bench.edges) >= 1


async def test_a_failing_key_takes_nothing() -> None:
    """semantics 4.20: the error reaches who reads."""
    bench = Bench(lambda *args: SortedEnd(*args, key=lambda one: one.nothing), 2)
    for send in bench.sends:
        send.send_nowait(text("a"))
    with pytest.raises(AttributeError):
        bench.out()
    assert [len(edge.backlog) for edge in bench.edges] == [1, 1]


class Reading:
    """A merge by a policy, read by a task that may be cancelled at any moment; what a retry needs to know."""

    def __init__(self, policy: str) -> None:
        self.bench = Bench(policy, 2, 1, watched=True)
        self.policy = policy
        self.got: list[StreamElement] = []

    async def write(self, of: int) -> None:
        send = self.bench.sends[of]
        try:
            for number in range(3):
                await send.send(text(f"{number}{of}"))
                if number == 1:
                    await send.send(ErrorElement("code", str(of)))
        except OutputClosedError:
            assert self.policy == "race"
        send.close()

    async def read(self) -> None:
        async for element in self.bench.end:
            self.got.append(element)

    def check(self) -> None:
        got = [one for one in words(self.got) if one != "ErrorElement"]
        if self.policy == "zip":
            assert got == [("00", "01"), ("10", "11"), ("20", "21")]
        elif self.policy == "zip_latest":
            assert got[-1] == ("20", "21")
        elif self.policy == "race":
            assert got in (["00", "10", "20"], ["01", "11", "21"])
        else:
            assert [one for one in got if one[1] == "0"] == ["00", "10", "20"]
            assert [one for one in got if one[1] == "1"] == ["01", "11", "21"]
        if self.policy in ("concat", "barrier"):
            assert got == ["00", "10", "20", "01", "11", "21"]
        if self.policy == "sorted":
            assert got == ["00", "01", "10", "11", "20", "21"]
        self.bench.ledger.check(ended=True)


@pytest.mark.parametrize("policy", [one for one in POLICIES if one not in ("arrival", "weights", "ordered")])
@every_mode
async def test_a_cancelled_reader_took_nothing_and_can_read_on(policy, how) -> None:
    """semantics 2.3: by every policy, an element is in an input, held by the merge, or with the reader."""
    state = None

    async def scenario(left, right):
        nonlocal state
        state = Reading(policy)
        left.begin(state, 0)
        right.begin(state, 1)
        await state.read()

    async def check(left, right):
        await state.read()
        for service in (left, right):
            await service.idle.wait()
        state.check()

    await sweep(scenario, how, check, Reading.write, Reading.write)

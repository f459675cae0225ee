"""Edges that drop, fail or are bounded by weight, between tasks: who waits, who has a turn. Semantics 2.7, 2.8."""

import random

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from streamflow.channels import EdgeBound, MergeEnd, Weight, open_channel, open_fork, sweep_edge
from streamflow.elements import AudioElement, Interrupt, Priority, TextElement, TurnEnd, TurnStart
from streamflow.errors import ConfigError, EdgeOverflowError, ElementError, OutputClosedError
from streamflow.testing import EdgeLedger
from tests.support.sweeping import every_mode, sweep

LOSSY = ["drop_oldest", "drop_newest", "latest"]
every_lossy_policy = pytest.mark.parametrize("overflow", LOSSY)
every_loss_free_order = pytest.mark.parametrize("capacity", [1, 2, 16, 64, 65, 200])


def text(name, priority=Priority.NORMAL):
    return TextElement(str(name), priority=priority)


def names(items):
    return [getattr(item, "text", "") or type(item).__name__ for item in items]


def takes_text(item):
    return isinstance(item, TextElement)


def letters(limit):
    return Weight(limit, "letters", lambda element: len(getattr(element, "text", "") or ""))


def drain(receive):
    got = []
    while receive.statistics().buffered:
        got.append(receive.receive_nowait())
    return got


# Who goes, who waits


@pytest.mark.parametrize(
    ("overflow", "left"),
    [
        ("drop_oldest", ["3", "TurnEnd", "4", "5"]),
        ("drop_newest", ["1", "2", "TurnEnd", "3"]),
        ("latest", ["TurnEnd", "5"]),
    ],
)
async def test_a_policy_says_which_data_goes_and_the_sender_does_not_wait(overflow, left) -> None:
    """semantics 2.7: data alone is dropped, each drop is counted, and control keeps its place."""
    send, receive = open_channel(3, overflow=overflow)
    with anyio.fail_after(5):
        for item in (text(1), text(2), text(3) if overflow == "drop_oldest" else TurnEnd()):
            await send.send(item)
        for item in (TurnEnd() if overflow == "drop_oldest" else text(3), text(4), text(5)):
            await send.send(item)

    told = receive.statistics()
    assert names(drain(receive)) == left
    assert (told.sent, told.discarded) == (6, {"overflow": 6 - len(left)})


async def test_an_edge_that_fails_names_itself_its_fill_and_the_way_out() -> None:
    """semantics 2.7: `error` fails the sender, and nothing is lost of what is inside."""
    send, receive = open_channel(2, name="a → b", overflow="error", weight=letters(5))
    for item in (text("ab"), TurnEnd(), text("cde")):
        await send.send(item)

    with pytest.raises(EdgeOverflowError) as caught:
        await send.send(text("f"))
    with pytest.raises(EdgeOverflowError):
        send.send_nowait(text("f"))
    assert not send.try_send(text("f"))
    assert str(caught.value).startswith(
        "edge a → b is full, it holds 2 of 2 elements, 5 of 5 letters; let the sender wait"
    )
    assert names(drain(receive)) == ["ab", "TurnEnd", "cde"]
    assert receive.statistics().discarded == {}
    await send.send(text("f"))


@pytest.mark.parametrize("overflow", [*LOSSY, "error"])
async def test_control_waits_for_room_of_its_own_and_is_never_dropped(overflow) -> None:
    """semantics 2.7, 1.4: `capacity` control elements beside the data; the next waits, and data of others need not."""
    send, receive = open_channel(2, overflow=overflow)
    for item in (text(1), TurnStart(), Interrupt()):
        await send.send(item)
    assert not send.try_send(TurnEnd())
    with pytest.raises(anyio.WouldBlock):
        send.send_nowait(TurnEnd())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send.send, TurnEnd(index=1))
        await wait_all_tasks_blocked()
        tasks.start_soon(send.send, TurnEnd(index=2))
        await wait_all_tasks_blocked()
        with anyio.fail_after(5):
            if overflow != "error":
                await send.send(text(2))
                await send.send(text(3))
        got = [await receive.receive() for _ in range(4)]
        await wait_all_tasks_blocked()
    got += drain(receive)
    assert [one.index for one in got if isinstance(one, TurnEnd)] == [1, 2]
    assert {TurnStart, Interrupt} <= {type(one) for one in got}


@every_loss_free_order
@pytest.mark.parametrize("overflow", [*LOSSY, "error"])
async def test_a_reader_that_keeps_up_loses_nothing_to_a_sender_that_never_waits(overflow, capacity) -> None:
    """semantics 2.7: a reader that was woken has its turn before anything is dropped."""
    send, receive = open_channel(capacity, overflow=overflow)
    items = [text(number) for number in range(300)]
    got = []

    async def read():
        async for item in receive:
            got.append(item)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await wait_all_tasks_blocked()
        for item in items:
            await send.send(item)
        send.close()
    assert got == items
    assert receive.statistics().discarded == {}


@every_lossy_policy
@pytest.mark.parametrize("capacity", [1, 16, 200])
async def test_a_sender_that_drops_lets_others_run_at_least_every_64_elements(overflow, capacity) -> None:
    """semantics 2.4, 2.7: nothing else stops it, also where it forks."""
    send, _unread = open_channel(capacity, overflow=overflow)
    other, _unread_too = open_channel(capacity, overflow=overflow)
    fork = open_fork("fork", [send, other])
    ran = 0

    async def run():
        nonlocal ran
        while True:
            ran += 1
            await checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        for end in (send, fork):
            before = ran
            for number in range(640):
                await end.send(text(number))
            assert ran - before >= 10
        tasks.cancel_scope.cancel()


async def test_an_end_wakes_who_waits_and_a_last_notice_drops_nothing() -> None:
    """semantics 2.2, 2.7: control that waits learns of the end; a last notice enters beyond the bound."""
    send, receive = open_channel(1, overflow="drop_newest")
    send.send_nowait(text(1))
    send.send_nowait(TurnStart())

    async with anyio.create_task_group() as tasks:

        async def refused():
            with pytest.raises(OutputClosedError):
                await send.send(TurnEnd())

        tasks.start_soon(refused)
        await wait_all_tasks_blocked()
        receive.close()
    assert receive.statistics().discarded == {"no_more_needed": 2}

    send, receive = open_channel(1, overflow="drop_newest")
    send.send_nowait(text(1))
    send.close_with(text(2))
    assert names([item async for item in receive]) == ["1", "2"]


# By weight


async def test_weight_bounds_an_edge_beside_the_number_of_elements() -> None:
    """semantics 2.8: a sender waits while there is too much; what weighs nothing does not."""
    send, receive = open_channel(16, weight=letters(6))
    for item in (text("abc"), text("de"), TurnEnd(), AudioElement(b"xy"), text("f")):
        await send.send(item)
    assert receive.statistics().weight == 6
    assert not send.try_send(text("g"))
    assert send.try_send(TurnEnd())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send.send, text("gh"))
        await wait_all_tasks_blocked()
        assert names([await receive.receive()]) == ["abc"]
        await wait_all_tasks_blocked()
        assert receive.statistics().weight == 5
    assert names(drain(receive)) == ["de", "TurnEnd", "AudioElement", "f", "TurnEnd", "gh"]
    assert receive.statistics().weight == 0


async def test_what_is_heavier_than_the_whole_bound_goes_alone() -> None:
    """semantics 2.8: it is no error; it waits until nothing else that weighs is inside, and then others wait for it."""
    send, receive = open_channel(16, weight=letters(2))
    got = []

    async def write():
        for item in (text("a"), text("heavy"), text("b"), text("c")):
            await send.send(item)
        send.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        await wait_all_tasks_blocked()
        for expected in (1, 5, 2):
            assert receive.statistics().weight == expected
            got.append(await receive.receive())
            await wait_all_tasks_blocked()
        got += [item async for item in receive]
    assert names(got) == ["a", "heavy", "b", "c"]


async def test_sums_of_fractions_never_hold_up_an_empty_edge() -> None:
    """semantics 2.8: 0.1 + 0.2 - 0.2 - 0.1 is not 0 in floating point, and the edge knows that it is empty all the same."""
    weights = iter([0.1, 0.2, 9.0])
    send, receive = open_channel(4, weight=Weight(1, "units", lambda _: next(weights)))
    send.send_nowait(text(1))
    send.send_nowait(text(2))
    drain(receive)

    assert receive.statistics().weight == 0
    send.send_nowait(text("heavy"))


async def test_a_heavy_lane_does_not_hold_up_an_empty_one() -> None:
    """semantics 2.6, 2.8: with lanes, each lane that is empty lets one in whatever it weighs."""
    send, receive = open_channel(4, weight=letters(4), lanes=True)
    send.send_nowait(text("heavy", Priority.LOW))
    with pytest.raises(anyio.WouldBlock):
        send.send_nowait(text("x", Priority.LOW))
    send.send_nowait(text("urgent", Priority.CRITICAL))

    assert names(drain(receive)) == ["urgent", "heavy"]


@pytest.mark.parametrize(
    ("weigh", "told"),
    [
        (lambda _: -1, "no number from 0 up but -1"),
        (lambda _: "much", "no number from 0 up but 'much'"),
        (lambda _: float("nan"), "no number from 0 up but nan"),
        (lambda element: element.missing, "not to be had: AttributeError"),
    ],
)
async def test_a_weight_that_is_none_is_refused_with_its_unit(weigh, told) -> None:
    """semantics 2.8: the stage that sends fails, and a fork gives the element to no branch."""
    send, receive = open_channel(4, weight=Weight(9, "pounds", weigh))
    other, rest = open_channel(4)
    with pytest.raises(ElementError, match=f"in pounds is {told}"):
        await send.send(text(1))
    with pytest.raises(ElementError, match="in pounds"):
        await open_fork("fork", [other, send]).send(text(1))

    assert receive.statistics().sent == rest.statistics().sent == 0


def test_known_units_weigh_what_they_say() -> None:
    """semantics 2.8: bytes of payload; milliseconds of raw audio."""
    sound = AudioElement(b"x" * 3200, sample_rate=16000)
    assert Weight.audio_ms(500).weigh(sound) == 100
    assert Weight.audio_ms(500).weigh(text("abc")) == 0
    assert (Weight.bytes(9).weigh(sound), Weight.bytes(9).weigh(text("déjà"))) == (3200, 6)
    assert Weight.bytes(9).weigh(TurnEnd(id="x" * 50)) > 50
    with pytest.raises(ElementError, match=r"'mp3'.*Weight\.bytes"):
        Weight.audio_ms(500).weigh(AudioElement(b"x", format="mp3"))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Weight.bytes(0), "positive number of units, got 0"),
        (lambda: Weight.bytes(float("inf")), "positive number"),
        (lambda: Weight.bytes(True), "units, got True"),
        (lambda: Weight(3, "", len), "a unit is a name"),
        (lambda: Weight(3, "x" * 31, len), "at most 30 characters"),
        (lambda: Weight(3, "tokens", 3), "a function of one element"),
        (lambda: Weight(3, "bytes", len), r"write Weight\.bytes\(3\)"),
        (lambda: open_channel(4, weight=3), "a Weight was expected"),
        (
            lambda: open_channel(4, overflow="drop"),
            "there are block, drop_oldest, drop_newest, latest, error; got 'drop'",
        ),
        (lambda: open_channel(3, overflow="latest", lanes=True), "a place for each of the 4 priorities, got 3"),
    ],
)
def test_a_bound_that_is_none_is_refused_at_once(make, told) -> None:
    """semantics 2.7, 2.8: named, with what would be right."""
    with pytest.raises(ConfigError, match=told):
        make()


# With lanes


def test_the_least_urgent_is_dropped_first() -> None:
    """semantics 2.7: what a less urgent lane has beyond its own place goes; data never makes way for what is less urgent."""
    send, receive = open_channel(5, overflow="drop_oldest", lanes=True)
    for name, priority in (
        ("l1", Priority.LOW),
        ("l2", Priority.LOW),
        ("c1", Priority.CRITICAL),
        ("c2", Priority.CRITICAL),
    ):
        send.send_nowait(text(name, priority))
    assert names(receive.backlog) == ["c1", "c2", "l2"]
    send.send_nowait(text("c3", Priority.CRITICAL))
    assert names(receive.backlog) == ["c2", "c3", "l2"]
    send.send_nowait(text("l3", Priority.LOW))
    assert names(receive.backlog) == ["c2", "c3", "l3"]
    send.send_nowait(text("n1"))
    assert names(receive.backlog) == ["c2", "c3", "n1", "l3"]
    assert receive.statistics().discarded == {"overflow": 3}


def test_the_latest_of_each_lane_is_kept() -> None:
    """semantics 2.7: a status of low priority does not replace a critical one, nor the other way round."""
    send, receive = open_channel(4, overflow="latest", lanes=True)
    for number in range(3):
        for priority in (Priority.LOW, Priority.CRITICAL):
            send.send_nowait(text(f"{priority.name} {number}", priority))

    assert names(drain(receive)) == ["CRITICAL 2", "LOW 2"]


# Forks, merges, what passes by


async def test_a_fork_does_not_wait_for_a_branch_that_drops() -> None:
    """semantics 4.6, 2.7: it waits for the other one, which misses nothing."""
    strict, all_of_it = open_channel(1)
    lossy, some_of_it = open_channel(1, overflow="drop_newest")
    fork = open_fork("fork", [lossy, strict])
    items = [text(number) for number in range(200)]
    got = []

    async def read():
        async for item in all_of_it:
            got.append(item)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        with anyio.fail_after(60):
            for item in items:
                await fork.send(item)
        fork.close()
    assert got == items
    assert drain(some_of_it) == items[:1]
    assert some_of_it.statistics().discarded == {"overflow": 199}


async def test_a_branch_that_fails_fails_the_fork_before_any_branch_has_the_element() -> None:
    """semantics 4.6, 2.7: reserve, then commit, also where reserving fails."""
    strict, all_of_it = open_channel(9)
    failing, full = open_channel(1, name="a → full", overflow="error")
    fork = open_fork("fork", [strict, failing])
    await fork.send(text(1))
    with pytest.raises(EdgeOverflowError, match="edge a → full is full"):
        await fork.send(text(2))
    with pytest.raises(EdgeOverflowError):
        fork.send_nowait(text(2))

    assert names(drain(all_of_it)) == names(drain(full)) == ["1"]


async def test_a_cancelled_fork_has_dropped_nothing() -> None:
    """semantics 2.3, 4.6: what a branch drops for an element that never comes would be lost for nothing."""
    strict, _unread = open_channel(1)
    lossy, kept = open_channel(1, overflow="drop_oldest")
    fork = open_fork("fork", [lossy, strict])
    await fork.send(text(1))
    with anyio.move_on_after(1):
        await fork.send(text(2))

    assert names(drain(kept)) == ["1"]
    assert kept.statistics().discarded == {}


async def test_what_is_being_passed_on_can_be_dropped_and_then_nothing_is_passed_on() -> None:
    """semantics 2.7, 3.3: what comes behind it is accepted, and so must not be passed on in its place."""
    feed, receive = open_channel(1, admit=takes_text, overflow="drop_oldest")
    output, result = open_channel(1)
    receive.forward_to(output)
    output.send_nowait(text("fills it"))
    got = []

    async def read():
        got.append(await receive.receive())

    async with anyio.create_task_group() as tasks:
        feed.send_nowait(AudioElement(b"passes"))
        tasks.start_soon(read)
        await wait_all_tasks_blocked()
        feed.send_nowait(text("accepted"))
    assert names(got) == ["accepted"]
    assert names(drain(result)) == ["fills it"]
    assert receive.statistics().discarded == {"overflow": 1}


@every_lossy_policy
async def test_what_passes_by_enters_an_edge_that_drops_like_any_data(overflow) -> None:
    """semantics 2.7, 3.3: the stage that it passes does not wait for room either."""
    feed, receive = open_channel(16, admit=takes_text)
    output, result = open_channel(1, overflow=overflow)
    receive.forward_to(output)
    for number in range(8):
        feed.send_nowait(AudioElement(str(number).encode()))
    feed.send_nowait(text("taken"))

    with anyio.fail_after(5):
        assert names([await receive.receive()]) == ["taken"]
    assert [item.data for item in drain(result)] == [b"0" if overflow == "drop_newest" else b"7"]


async def test_what_is_kept_aside_is_not_dropped() -> None:
    """semantics 2.7, 3.3: it has left the edge, and waits for the results of a stage that accumulates."""
    feed, receive = open_channel(2, admit=lambda item: isinstance(item, TextElement | TurnEnd), overflow="drop_oldest")
    output, result = open_channel(16)
    receive.forward_to(output)
    receive.keep_aside()
    feed.send_nowait(text("taken"))
    assert names([await receive.receive()]) == ["taken"]
    for number in (1, 2):
        feed.send_nowait(AudioElement(str(number).encode()))
    with anyio.move_on_after(1):
        await receive.receive()
    for number in (3, 4, 5):
        feed.send_nowait(AudioElement(str(number).encode()))
    feed.send_nowait(TurnEnd())
    await output.send(await receive.receive())

    assert [getattr(item, "data", None) for item in drain(result)] == [b"1", b"2", b"4", b"5", None]
    assert receive.statistics().discarded == {"overflow": 1}


async def test_a_merge_of_edges_that_drop_gives_what_is_left_and_all_control() -> None:
    """semantics 4.8, 2.7: each input by its own policy."""
    sends, inputs = zip(*[open_channel(2, overflow=overflow) for overflow in ("drop_oldest", "latest")], strict=True)
    merge = MergeEnd("merge", inputs, lambda _: True)
    for send in sends:
        for item in (text(1), text(2), text(3), TurnEnd()):
            await send.send(item)
        send.close()

    assert names([item async for item in merge]) == ["2", "3", "3", "TurnEnd", "TurnEnd"]


# Whatever the order of steps


@st.composite
def bounds(draw):
    overflow = draw(st.sampled_from(["block", *LOSSY]))
    limit = draw(st.sampled_from([None, 1, 6]))
    lanes = draw(st.booleans())
    capacity = draw(st.sampled_from([4, 5, 65] if lanes else [1, 2, 5, 65]))
    return EdgeBound(capacity, overflow, limit and letters(limit), lanes)


def opened(bound, name, ledger, admit=None):
    record = ledger.watch(name, bound)
    kind = {"lanes": bound.lanes, "overflow": bound.overflow, "weight": bound.weight}
    ends = open_channel(bound.capacity, name=name, admit=admit, watch=record, **kind)
    record.attach(ends[0])
    return ends


@given(st.lists(bounds(), min_size=2, max_size=3), st.integers(0, 2**32))
async def test_every_element_is_received_or_counted_whatever_the_order_of_steps(several, seed) -> None:
    """semantics 2.5, 2.7, 2.8, 4.6: two tasks send over a fork; all control arrives in order, data too or is counted."""
    rng, ledger = random.Random(seed), EdgeLedger()
    edges = [opened(bound, f"a → {number}", ledger) for number, bound in enumerate(several)]
    fork = open_fork("fork", [send for send, _ in edges])
    got = [[] for _ in edges]
    sent = {who: [] for who in range(2)}

    async def write(who):
        for number in range(16):
            name = f"{who} {number}" + "x" * rng.randrange(5)
            item = TurnEnd(id=name) if rng.random() < 0.2 else text(name, rng.choice(list(Priority)))
            sent[who].append(item)
            await fork.send(item)
            if rng.random() < 0.3:
                await checkpoint()

    async def read(receive, into, pace):
        async for item in receive:
            into.append(item)
            while rng.random() < pace:
                await checkpoint()

    async with anyio.create_task_group() as readers:
        for (_, receive), into in zip(edges, got, strict=True):
            readers.start_soon(read, receive, into, rng.choice([0, 0.5, 0.9]))
        async with anyio.create_task_group() as writers:
            for who in sent:
                writers.start_soon(write, who)
        fork.close()

    ledger.check(ended=True)
    for bound, record, into in zip(several, ledger.edges.values(), got, strict=True):
        assert record.discarded.total() == 32 - len(into)
        assert bound.overflow != "block" or len(into) == 32
        arrived = {id(item) for item in into}
        for items in sent.values():
            control = [item for item in items if isinstance(item, TurnEnd)]
            assert [item for item in into if isinstance(item, TurnEnd) and item in control] == control
            if not bound.lanes:
                mine = {id(item) for item in items}
                assert [id(one) for one in into if id(one) in mine] == [id(one) for one in items if id(one) in arrived]


@pytest.mark.parametrize(
    "bound", [EdgeBound(1, "drop_oldest"), EdgeBound(4, "latest", lanes=True), EdgeBound(4, "block", letters(3))]
)
@every_mode
async def test_a_cancelled_sender_sent_nothing_and_can_send_again(bound, how) -> None:
    """semantics 2.3: whether it waits for room for control, for weight, or lets the reader have its turn."""
    edge = {}

    async def read():
        async for item in edge["receive"]:
            edge["got"].append(item)
            await checkpoint()

    async def write():
        while edge["items"]:
            await edge["send"].send(edge["items"][0])
            edge["items"].pop(0)
        edge["send"].close()

    async def scenario(reader):
        ledger = EdgeLedger()
        send, receive = opened(bound, "a → b", ledger)
        items = [TurnEnd(id=f"{number}") if number % 3 == 2 else text("ab") for number in range(20)]
        edge.update(send=send, receive=receive, items=items, all=list(items), got=[], ledger=ledger)
        reader.begin()
        await write()

    async def check(reader):
        await write()
        await reader.idle.wait()
        edge["ledger"].check(ended=True)
        wanted = [item for item in edge["all"] if isinstance(item, TurnEnd)]
        assert [item for item in edge["got"] if isinstance(item, TurnEnd)] == wanted
        told = edge["receive"].statistics()
        assert (told.sent, told.received + told.discarded.get("overflow", 0)) == (20, 20)

    await sweep(scenario, how, check, read)


async def test_what_an_interruption_drops_of_a_fork_overflows_nothing() -> None:
    """semantics 2.7, 15.1: an element that will not enter needs no room, so `error` has nothing to refuse."""
    full, read = open_channel(1, name="full")
    strict, _ = open_channel(1, name="strict", overflow="error")
    fork = open_fork("fork", [full, strict])
    await full.send(text("before"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fork.send, text("stale"))
        await wait_all_tasks_blocked()
        await strict.send(text("other"))
        sweep_edge(read)
    assert fork.dropped == {"stale": 1}

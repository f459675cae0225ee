"""`EdgeLedger`: silent about a channel that keeps the rules, and able to find each way of breaking one."""

from collections import deque

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import PipelineBuilder, TextElement
from streamflow.channels import EDGE_WATCH, EdgeBound, open_channel
from streamflow.elements import TurnEnd, TurnReset
from streamflow.stages import stage
from streamflow.testing import EdgeLedger


@stage
async def shout(stream):
    async for element in stream:
        yield TextElement(element.text.upper())


@stage
async def first_only(stream):
    async for element in stream:
        yield element
        return


def texts(*words):
    return [TextElement(word) for word in words]


async def test_every_edge_of_a_run_has_an_account() -> None:
    """The runs started inside the block are watched: identity and order per edge, under the edge's name."""
    source = texts("a", "b", "c")
    with EdgeLedger(capacity=16) as ledger:
        await PipelineBuilder().chain(shout).build().run(source)

    ledger.check(ended=True)
    assert list(ledger.edges) == ["source → shout", "shout → consumer"]
    first, last = ledger.edges.values()
    assert [id(item) for item in first.sent] == [id(item) for item in source]
    assert [id(item) for item in first.received] == [id(item) for item in source]
    assert [item.text for item in last.received] == ["A", "B", "C"]
    assert 1 <= first.peak <= 16
    assert "source → shout: sent 3, received 3, discarded 0, buffered 0, peak" in ledger.report()
    assert "!" not in ledger.report(ended=True)


async def test_runs_outside_of_the_block_are_not_watched() -> None:
    """The block ends what it began; a second run of one pipeline has accounts of its own."""
    pipeline = PipelineBuilder().chain(shout).build()
    with EdgeLedger() as ledger:
        await pipeline.run("a")
        await pipeline.run("b")
    await pipeline.run("c")

    assert EDGE_WATCH.get(None) is None
    assert list(ledger.edges)[2:] == ["source → shout (2)", "shout → consumer (2)"]
    assert [item.text for item in ledger.edges["source → shout (2)"].sent] == ["b"]
    ledger.check(ended=True)


async def test_a_run_that_ends_early_has_discards_and_no_losses() -> None:
    """What a reader that returned early left behind is discarded, with its reason, and the account is even."""
    with EdgeLedger(capacity=16) as ledger:
        await PipelineBuilder().chain(first_only).build().run(texts(*"abcdefgh"))

    ledger.check(ended=True)
    edge = ledger.edges["source → first_only"]
    assert len(edge.received) == 1
    assert len(edge.sent) == 1 + edge.discarded["no_more_needed"]


async def test_a_channel_of_your_own_is_compared_with_its_statistics() -> None:
    """`watch` and `attach`: the account and the edge's own numbers are two independent counts."""
    ledger = EdgeLedger()
    record = ledger.watch("mine")
    send, receive = open_channel(2, watch=record)
    record.attach(receive)
    await send.send(1)
    await send.send(2)
    assert await receive.receive() == 1
    ledger.check()
    with pytest.raises(AssertionError, match="lost 1"):
        ledger.check(ended=True)
    send.close_with(3)
    receive.close("failure")

    ledger.check(ended=True)
    assert str(record) == "mine: sent 3, received 1, discarded 2 failure, buffered 0, peak 2/2"


async def test_one_last_notice_may_go_beyond_the_bound() -> None:
    """`close_with` is lawful at a full edge; a second element beyond the bound is not."""
    ledger = EdgeLedger(capacity=1)
    send, _ = open_channel(1, watch=ledger.watch("edge"))
    await send.send(1)
    send.close_with(2)
    ledger.check()

    ledger.edges["edge"].on_sent(3)
    with pytest.raises(AssertionError, match="held 3 with a capacity of 1"):
        ledger.check()


class BrokenChannel:
    """A double that breaks one rule, and tells its watch what it really does."""

    def __init__(self, watch, fault):
        self.watch, self.fault = watch, fault
        self.buffer = deque()
        self.taken = 0

    def send(self, item):
        self.buffer.append(item)
        self.watch.on_sent(item)

    def receive(self):
        self.taken += 1
        if self.taken == 2 and self.fault == "loses":
            self.buffer.popleft()
        if self.taken == 2 and self.fault == "swaps":
            self.buffer.rotate(-1)
        item = self.buffer.popleft()
        self.watch.on_received(item)
        if self.taken == 2 and self.fault == "repeats":
            self.buffer.appendleft(item)
        if self.taken == 2 and self.fault == "invents":
            self.buffer.appendleft(object())


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("loses", "lost or overtaken"),
        ("swaps", "lost or overtaken"),
        ("repeats", "a second time"),
        ("invents", "that was never sent"),
    ],
)
def test_a_broken_channel_is_found(fault, told) -> None:
    """The ledger can fail: each broken rule is reported under the name of the edge; the same channel whole is not."""
    for planted in (None, fault):
        ledger = EdgeLedger()
        ledger.watch("sound")
        channel = BrokenChannel(ledger.watch("a → b"), planted)
        for number in range(5):
            channel.send(f"item {number}")
        while channel.buffer:
            channel.receive()
        if planted is None:
            ledger.check(ended=True)
            continue
        with pytest.raises(AssertionError, match=told) as caught:
            ledger.check(ended=True)
        lines = str(caught.value).splitlines()
        assert lines[1].startswith("sound: sent 0")
        assert lines[2].startswith("a → b: sent 5")
        assert all(line.startswith("    ! ") for line in lines[3:])


def test_a_loss_at_the_end_shows_once_the_run_is_over() -> None:
    """Nothing overtakes the last element, so only the end tells that it is missing."""
    ledger = EdgeLedger()
    record = ledger.watch("edge")
    record.on_sent("kept")
    record.on_sent("lost")
    record.on_received("kept")

    ledger.check()
    with pytest.raises(AssertionError, match=r"lost 1: .*first 'lost'"):
        ledger.check(ended=True)


def test_what_is_discarded_is_missing_and_nothing_else_is() -> None:
    """semantics 2.5: an edge tells which elements it threw away; any other that is missing was lost."""
    ledger = EdgeLedger()
    record = ledger.watch("edge")
    items = texts(*"abcdef")
    refused = TextElement("g")
    for item in items:
        record.on_sent(item)
    record.on_discarded([items[0], items[2]], "oldest")
    record.on_refused(refused, "newest")
    assert (record.buffered, record.dropped) == (4, [items[0], items[2], refused])
    for place in (1, 3, 4, 5):
        record.on_received(items[place])
    ledger.check(ended=True)

    record.on_discarded([items[0]], "oldest")
    with pytest.raises(AssertionError, match=r"discarded TextElement\(text='a'\) \(oldest\), which is not in the edge"):
        ledger.check()

    record = EdgeLedger().watch("edge")
    for item in items:
        record.on_sent(item)
    record.on_discarded([items[1]], "oldest")
    record.on_received(items[2])
    assert "before TextElement(text='a')" in record.findings()[0]


def test_control_that_an_overflow_drops_is_found() -> None:
    """semantics 2.7: no policy drops control."""
    ledger = EdgeLedger()
    ledger.watch("edge").on_refused(TurnEnd(), "overflow")

    with pytest.raises(AssertionError, match="control is never dropped because of an overflow"):
        ledger.check()


@pytest.mark.parametrize(
    ("overflow", "inside"),
    [
        ("drop_oldest", [TextElement("1"), TextElement("2"), TextElement("3")]),
        ("drop_oldest", [TurnEnd(), TurnEnd(), TurnEnd()]),
        ("latest", [TextElement("1"), TextElement("2")]),
    ],
)
def test_data_and_control_beyond_their_own_bounds_are_found(overflow, inside) -> None:
    """semantics 2.7: where data can be dropped, `capacity` of each; of data one alone where the latest is kept."""
    record = EdgeLedger(capacity=2).watch("edge", EdgeBound(2, overflow))
    for item in (*inside[:-1], TurnReset() if isinstance(inside[0], TextElement) else TextElement("")):
        record.on_sent(item)
    assert record.findings() == []
    record.on_sent(inside[-1])
    record.on_sent(TextElement("behind it"))

    assert "with a capacity of 2" in record.findings()[0]


def test_numbers_that_the_edge_itself_tells_otherwise_are_found() -> None:
    """`attach`: an edge that moves an element without telling is found by the comparison."""
    ledger = EdgeLedger()
    record = ledger.watch("edge")
    send, receive = open_channel(3, watch=record)
    record.attach(send)
    send.send_nowait("a")
    send.send_nowait("b")
    receive._buffer.pop()

    with pytest.raises(AssertionError, match="buffered: 2 by this account, 1 by the edge's own") as caught:
        ledger.check()
    assert "sent: 2 by this account, 1 by the edge's own" in str(caught.value)


async def test_waits_that_never_end_and_two_readers_are_found() -> None:
    """Who waits is part of the account: a wait is counted, and must have ended with the run."""
    ledger = EdgeLedger()
    record = ledger.watch("edge")
    _, receive = open_channel(1, watch=record)
    with anyio.move_on_after(1):
        await receive.receive()
    assert (record.blocked, record.waiting["receive"]) == ({"receive": 1}, 0)
    ledger.check(ended=True)

    record.on_blocked("send", blocked=True)
    ledger.check()
    with pytest.raises(AssertionError, match="1 tasks still wait to send"):
        ledger.check(ended=True)
    for _ in range(2):
        record.on_blocked("receive", blocked=True)
    with pytest.raises(AssertionError, match="2 tasks wait to receive"):
        ledger.check()


@given(st.lists(st.sampled_from(["send", "receive", "discard"]), max_size=40), st.booleans())
def test_a_channel_that_keeps_the_rules_is_never_accused(steps, repeats) -> None:
    """No false alarm, also where one object is sent again and again."""
    ledger, edge = EdgeLedger(), deque()
    record = ledger.watch("edge")
    for number, step in enumerate(steps):
        if step == "send":
            edge.append(number % 2 if repeats else object())
            record.on_sent(edge[-1])
        elif edge and step == "receive":
            record.on_received(edge.popleft())
        elif edge and step == "discard":
            record.on_discarded([edge.popleft()], "oldest")
        ledger.check(ended=not edge)
        assert record.buffered == len(edge)

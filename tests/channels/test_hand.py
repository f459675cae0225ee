"""What a reader has in hand, and how it gets it again."""

from __future__ import annotations

import anyio
import pytest
from edges import Caught, every_capacity

from streamflow import AudioElement, Priority, TextElement, TurnEnd
from streamflow.channels import Hand, MergeEnd, drop_backlog, open_channel
from streamflow.stages import admission
from streamflow.testing import EdgeLedger


def opened(capacity: int = 16, **options):
    send, receive = open_channel(capacity, name="a → b", **options)
    hand = Hand()
    receive.keep_hand(hand)
    return send, receive, hand


@every_capacity
async def test_what_is_in_hand_is_what_was_taken_until_more_is_asked_for(capacity: int):
    """semantics 5.7: to ask for the next element is to acknowledge the one before."""
    send, receive, hand = opened(capacity)
    assert hand.item is None
    await send.send("x")
    assert await receive.receive() == "x"
    assert (hand.item, hand.times) == ("x", 1)
    async with anyio.create_task_group() as tasks:
        asking = Caught(receive.receive)
        tasks.start_soon(asking)
        await anyio.wait_all_tasks_blocked()
        assert hand.item is None, "it asks, and waits"
        await send.send("y")
    assert (hand.item, asking.value) == ("y", "y")
    send.close()
    assert isinstance((await ended(receive)), anyio.EndOfStream)
    assert hand.item is None


async def ended(receive):
    caught = Caught(receive.receive)
    await caught()
    return caught.error


@every_capacity
@pytest.mark.parametrize("asks", ["iterate", "receive", "nowait"])
async def test_it_is_given_again_before_anything_else_and_counted_once(capacity: int, asks: str):
    """semantics 5.7 and 2.5: the edge counts it as received once, and its books agree."""
    ledger = EdgeLedger()
    record = ledger.watch("a → b")
    send, receive, hand = opened(capacity, watch=record)
    record.attach(receive)
    await send.send("x")
    first = await receive.receive()
    if capacity > 1:
        await send.send("y")
    send.close()
    for times in (2, 3):
        hand.is_due = True
        assert not receive.at_end
        again = {
            "iterate": receive.__anext__,
            "receive": receive.receive,
        }
        got = receive.receive_nowait() if asks == "nowait" else await again[asks]()
        assert got is first
        assert (hand.times, receive.received, receive.position) == (times, 1, 1)
    rest = [one async for one in receive]
    assert rest == (["y"] if capacity > 1 else [])
    ledger.check(ended=True)


async def test_what_passes_by_is_never_in_hand():
    """semantics 3.3: it has left by itself, and nobody worked on it."""
    send, receive, hand = opened(admit=admission((TextElement,), producer="a"))
    output, after = open_channel(16, name="b → c")
    receive.forward_to(output)
    await send.send(TextElement("x"))
    await send.send(AudioElement(b"\0\0"))
    await receive.receive()
    with anyio.move_on_after(1):
        await receive.receive()
    assert hand.item is None
    assert after.backlog[0] == AudioElement(b"\0\0")


async def test_a_cancelled_wait_holds_nothing_and_what_is_due_stays_due():
    """semantics 2.3: a receive that raises took nothing."""
    send, receive, hand = opened()
    await send.send("x")
    await receive.receive()
    hand.is_due = True
    with anyio.CancelScope() as scope:
        scope.cancel()
        assert await receive.receive() == "x", "it does not suspend"
        hand.is_due = True
    assert hand.is_due
    hand.clear()
    with anyio.move_on_after(1):
        await receive.receive()
    assert hand.item is None


async def test_a_merge_and_lanes_have_hands_too():
    """semantics 5.7: whatever kind of edge a stage reads."""
    ends = [open_channel(4, name=f"{name} → c", lanes=True) for name in "ab"]
    merge, hand = MergeEnd("merge → c", [receive for _, receive in ends], lambda _: True), Hand()
    merge.keep_hand(hand)
    await ends[0][0].send(TextElement("low", priority=Priority.LOW))
    await ends[0][0].send(TextElement("high", priority=Priority.HIGH))
    first = await merge.receive()
    hand.is_due = True
    assert await merge.receive() is first
    assert not merge.at_end
    assert first.text == "high"
    assert (await merge.receive()).text == "low"


@every_capacity
async def test_the_backlog_is_dropped_and_control_goes_on(capacity: int):
    """semantics 1.4 and 5.7: data is taken and counted, control is passed on, also what the reader would accept."""
    send, receive, _ = opened(capacity, admit=admission((TextElement, TurnEnd), producer="a"))
    output, after = open_channel(16, name="b → c")
    receive.forward_to(output)
    given = [TextElement("x"), TurnEnd(), TextElement("y"), AudioElement(b"\0\0")][:capacity]
    for one in given:
        await send.send(one)

    assert await drop_backlog(receive) == sum(not isinstance(one, TurnEnd) for one in given)
    assert list(after.backlog) == [one for one in given if isinstance(one, TurnEnd)]
    statistics = receive.statistics()
    assert (statistics.received, statistics.buffered) == (len(given), 0)
    assert await drop_backlog(receive) == 0
    await send.send(TextElement("z"))
    assert await receive.receive() == TextElement("z")


async def test_the_backlog_of_a_merge_is_that_of_its_inputs():
    """semantics 5.7: what waits before the merge, and no more than is there when it begins."""
    ends = [open_channel(4, name=f"{name} → c") for name in "ab"]
    merge = MergeEnd("merge → c", [receive for _, receive in ends], lambda _: True)
    for send, _ in ends:
        await send.send("x")
        await send.send("y")
    assert await drop_backlog(merge) == 4
    await ends[1][0].send("z")
    assert await merge.receive() == "z"

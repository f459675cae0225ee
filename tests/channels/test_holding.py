"""Holding an edge: whoever sends waits, of whatever kind the edge is, and goes on in order when it is let go."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint

from streamflow import Priority, TextElement
from streamflow.channels import Pulse, ReceiveEnd, SendEnd, Weight, hold_edges, open_channel
from streamflow.errors import ChannelClosedError, OutputClosedError

KINDS: dict[str, Callable[[], tuple[SendEnd[TextElement], ReceiveEnd[TextElement]]]] = {
    "plain": partial(open_channel, 4),
    "wide": partial(open_channel, 200),
    "lanes": partial(open_channel, 8, lanes=True),
    "weight": partial(open_channel, 8, weight=Weight.bytes(1000)),
}


def never() -> None:
    """Stand for a look at a deadlock that must not come."""
    pytest.fail("taken for a deadlock")


async def waited() -> None:
    for _ in range(20):
        await checkpoint()


@pytest.mark.parametrize("kind", KINDS)
async def test_senders_wait_and_go_on_in_order(kind: str) -> None:
    """semantics 24.22: what was inside can be read meanwhile; urgent elements wait, too."""
    send, receive = KINDS[kind]()
    pulse = Pulse(1, never)
    await send.send(TextElement("0"))
    let_go = hold_edges([receive], pulse)
    assert not send.try_send(TextElement("x"))

    async def feed(name: str) -> None:
        await send.send(TextElement(name, priority=Priority.CRITICAL if name == "2" else Priority.NORMAL))

    async with anyio.create_task_group() as tasks:
        for name in ("1", "2"):
            tasks.start_soon(feed, name)
            await waited()
        assert (await receive.receive()).text == "0"
        await waited()
        assert receive.statistics().buffered == 0
        assert pulse.runnable == 2
        let_go()
        got = [(await receive.receive()).text for _ in range(2)]

    assert sorted(got) == ["1", "2"]
    assert got == ["1", "2"] or kind == "lanes"
    assert pulse.runnable == 1
    assert send.try_send(TextElement("3"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["send", "receive"])
async def test_an_edge_that_ends_while_it_is_held_ends(kind: str, end: str) -> None:
    """semantics 24.22: who waits learns it, and letting go of an edge that has ended does nothing."""
    send, receive = KINDS[kind]()
    let_go = hold_edges([receive], Pulse(9, never))
    told: list[type[Exception]] = []

    async def feed() -> None:
        try:
            await send.send(TextElement("1"))
        except (OutputClosedError, ChannelClosedError) as error:
            told.append(type(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed)
        await waited()
        (send if end == "send" else receive).close()
    let_go()

    assert told == [ChannelClosedError if end == "send" else OutputClosedError]
    hold_edges([receive], Pulse(9, never))()  # it has ended: it is left alone


async def test_a_sender_that_is_cancelled_while_it_is_held_has_sent_nothing() -> None:
    """semantics 2.3: the others go on."""
    send, receive = KINDS["plain"]()
    let_go = hold_edges([receive], Pulse(9, never))
    with anyio.move_on_after(1):
        await send.send(TextElement("1"))
    let_go()
    await send.send(TextElement("2"))

    assert (await receive.receive()).text == "2"

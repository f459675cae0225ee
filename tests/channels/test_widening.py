"""An edge that is widened while it is in use: who waits goes on, nothing is lost, order and turns are kept."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from streamflow import TextElement, open_channel
from streamflow.channels import MergeEnd, widen


@pytest.mark.parametrize("lanes", [False, True])
@pytest.mark.parametrize("capacity", [4, 64, 100])
async def test_who_waits_for_room_goes_on_when_an_edge_is_widened(capacity: int, lanes: bool) -> None:
    """semantics 5.8 (7.4): several senders, each in its order; an account that agrees; no reader needed."""
    send, receive = open_channel(capacity, lanes=lanes)

    async def feed(name: str) -> None:
        for number in range(200):
            await send.send(TextElement(f"{name}{number}"))

    async with anyio.create_task_group() as tasks:
        for name in "ab":
            tasks.start_soon(feed, name)
        await anyio.sleep(1)
        assert receive.statistics().waiting_senders == 2
        widen(receive, 1000)
        widen(receive, 2)  # less than before: nothing
    send.close()

    counts = receive.statistics()
    assert (counts.capacity, counts.buffered, counts.sent) == (1000, 400, 400)
    got = [element.text async for element in receive]
    assert [text for text in got if text[0] == "a"] == [f"a{number}" for number in range(200)]
    assert [text for text in got if text[0] == "b"] == [f"b{number}" for number in range(200)]


async def test_a_reader_that_finds_much_lets_others_run() -> None:
    """semantics 2.4: a widened edge takes turns like a wide one; also behind a merge."""
    for merged in (False, True):
        send, receive = open_channel(4)
        end = MergeEnd("merge → x", [receive], lambda _item: True) if merged else receive
        widen(end, 10_000)
        for number in range(1000):
            await send.send(TextElement(str(number)))
        send.close()
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            assert len([element async for element in end]) == 1000
            tasks.cancel_scope.cancel()
        assert turns > 10

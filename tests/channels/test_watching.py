"""What a watch of an edge hears, and what an edge tells about itself."""

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from streamflow.channels import EDGE_WATCH, open_channel
from streamflow.elements import TextElement, TurnEnd
from streamflow.errors import ChannelClosedError, OutputClosedError

every_capacity = pytest.mark.parametrize("capacity", [1, 2, 3, 16, 64, 65, 200])


class Diary:
    """A `ChannelWatch` that writes down all it hears."""

    def __init__(self, *, hears_sends=True):
        self.heard = []
        self.hears_sends = hears_sends

    def on_sent(self, item):
        self.heard.append(("sent", item))

    def on_received(self, item):
        self.heard.append(("received", item))

    def on_discarded(self, items, reason):
        self.heard.append(("discarded", len(items), reason))

    def on_refused(self, item, reason):
        self.heard.append(("refused", item, reason))

    def on_blocked(self, end, *, blocked):
        self.heard.append(("blocked" if blocked else "unblocked", end))

    def take(self):
        heard, self.heard = self.heard, []
        return heard


@every_capacity
async def test_a_watch_hears_of_every_element_once_and_in_order(capacity) -> None:
    """semantics 2.5: every form of sending and receiving is told, at the moment at which it happens."""
    diary = Diary()
    send, receive = open_channel(max(capacity, 5), watch=diary)

    async def generate():
        yield 4

    await send.send(1)
    send.send_nowait(2)
    assert send.try_send(3)
    await send.send_all(generate())
    send.close_with(5)
    assert diary.take() == [("sent", number) for number in range(1, 6)]
    assert receive.try_receive() is None
    assert [await anext(receive), await receive.receive(), receive.receive_nowait()] == [1, 2, 3]
    assert diary.take() == [("received", number) for number in range(1, 4)]
    receive.close("failure")
    receive.close()
    assert diary.take() == [("discarded", 2, "failure")]


@pytest.mark.parametrize("kind", [{}, {"lanes": True}, {"overflow": "drop_oldest"}], ids=str)
@pytest.mark.parametrize("capacity", [4, 16, 200])
async def test_a_watch_that_hears_no_sends_hears_of_every_element_that_is_taken(capacity, kind) -> None:
    """semantics 2.5, 24.20: elements enter as they do where nobody watches, and are told one by one when they leave."""
    diary = Diary(hears_sends=False)
    send, receive = open_channel(capacity, watch=diary, **kind)
    taken, sends = [], []

    async def read():
        async for element in receive:
            taken.append(element)
            told = [entry[:2] for entry in diary.take()]
            assert [item for what, item in told if what == "received"] == [element]
            sends.extend(item for what, item in told if what == "sent")

    async def texts():
        for number in range(3 * capacity):
            yield TextElement(text=str(number))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await send.send_all(texts())
        await send.send(TurnEnd())
        send.close()
    assert isinstance(taken[-1], TurnEnd)
    assert receive.statistics().sent == 3 * capacity + 1 == len(taken) + sum(receive.statistics().discarded.values())
    assert (
        kind or len(sends) < len(taken) // 2 + 2
    )  # of what is looked at anyway: a type's first element, control, one that waits
    assert "overflow" in kind or [element.text for element in taken[:-1]] == [
        str(number) for number in range(3 * capacity)
    ]


@every_capacity
async def test_a_watch_hears_when_a_sender_begins_and_ends_to_wait(capacity) -> None:
    """semantics 5.9: limits on back-pressure need to know who waits; a cancelled wait has ended too."""
    diary = Diary()
    send, receive = open_channel(capacity, watch=diary)
    for number in range(capacity):
        send.send_nowait(number)
    diary.take()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send.send, "waits")
        await wait_all_tasks_blocked()
        assert diary.take() == [("blocked", "send")]
        while receive.statistics().buffered > capacity // 2:
            receive.receive_nowait()
        diary.take()
    assert diary.take() == [("unblocked", "send"), ("sent", "waits")]
    while receive.statistics().buffered < capacity:
        send.send_nowait("more")
    diary.take()

    with anyio.move_on_after(1):
        await send.send("never")
    assert diary.take() == [("blocked", "send"), ("unblocked", "send")]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(refused, send.send, "late")
        await wait_all_tasks_blocked()
        receive.close()
    assert diary.take() == [("blocked", "send"), ("discarded", capacity, "no_more_needed"), ("unblocked", "send")]


async def refused(operation, *args):
    with pytest.raises((OutputClosedError, ChannelClosedError, StopAsyncIteration)):
        await operation(*args)


@every_capacity
async def test_a_watch_hears_when_the_reader_begins_and_ends_to_wait(capacity) -> None:
    """semantics 5.9, 5.10: who waits for an element is known, and no longer known once the wait has ended."""
    diary = Diary()
    send, receive = open_channel(capacity, watch=diary)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive.receive)
        await wait_all_tasks_blocked()
        assert diary.take() == [("blocked", "receive")]
        send.send_nowait(1)
        assert diary.take() == [("sent", 1)]
    assert diary.take() == [("unblocked", "receive"), ("received", 1)]
    with anyio.move_on_after(1):
        await receive.receive()
    assert diary.take() == [("blocked", "receive"), ("unblocked", "receive")]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(refused, receive.__anext__)
        await wait_all_tasks_blocked()
        send.close()
    assert diary.take() == [("blocked", "receive"), ("unblocked", "receive")]


async def test_what_passes_by_is_told_on_both_edges() -> None:
    """semantics 3.3: it leaves one edge and enters the next; waiting for room there is the output's wait."""
    before, behind = Diary(), Diary()
    feed, receive = open_channel(4, admit=lambda item: isinstance(item, int), watch=before)
    output, drain = open_channel(1, watch=behind)
    receive.forward_to(output)
    for item in ("passes", "waits", 1):
        feed.send_nowait(item)
    before.take()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive.receive)
        await wait_all_tasks_blocked()
        assert before.take() == [("received", "passes")]
        assert behind.take() == [("sent", "passes"), ("blocked", "send")]
        drain.receive_nowait()
    assert before.take() == [("received", "waits"), ("received", 1)]
    assert behind.take() == [("received", "passes"), ("unblocked", "send"), ("sent", "waits")]


@pytest.mark.parametrize("end", ["send", "receive"])
async def test_a_watch_may_end_the_edge_when_it_hears_of_a_wait(end) -> None:
    """semantics 2.2: a close is lawful at any moment, so also between the decision to wait and the wait."""

    class Closes(Diary):
        def on_blocked(self, end, *, blocked):
            super().on_blocked(end, blocked=blocked)
            receive.close()

    diary = Closes()
    send, receive = open_channel(1, watch=diary)
    if end == "send":
        send.send_nowait(1)
        with anyio.fail_after(5), pytest.raises(OutputClosedError):
            await send.send(2)
    else:
        with anyio.fail_after(5), pytest.raises(ChannelClosedError):
            await receive.receive()
    assert [entry for entry in diary.heard if entry[0].endswith("blocked")] == [("blocked", end), ("unblocked", end)]


async def test_statistics_say_who_waits() -> None:
    """What an edge says of itself in one line is what a report of a stalled run shows."""
    send, receive = open_channel(1, name="a → b")
    send.send_nowait(1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send.send, 2)
        await wait_all_tasks_blocked()
        assert str(send.statistics()) == "a → b: open, 1/1, a sender waits"
        assert [await receive.receive(), await receive.receive()] == [1, 2]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive.receive)
        await wait_all_tasks_blocked()
        assert str(send.statistics()) == "a → b: open, 0/1, the reader waits"
        assert repr(receive) == "<ReceiveEnd a → b open 0/1>"
        send.close_with(3)
    assert str(send.statistics()) == "a → b: completed, 0/1"
    assert repr(send) == "<SendEnd a → b completed 0/1>"


def test_no_edge_is_watched_by_default() -> None:
    """An unset variable costs a run nothing."""
    assert EDGE_WATCH.get(None) is None

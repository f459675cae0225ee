"""Elements that a reader does not accept: behind the results of what was taken before, and never lost."""

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from hypothesis import given
from hypothesis import strategies as st

from streamflow.channels import open_channel
from streamflow.elements import AudioElement, ControlElement, Interrupt, StreamElement, TextElement, TurnEnd
from streamflow.errors import (
    ChannelBusyError,
    ChannelClosedError,
    ChannelFailedError,
    ElementError,
    OutputClosedError,
)
from streamflow.testing import EdgeLedger

ACCEPTED = (TextElement, TurnEnd)
every_capacity = pytest.mark.parametrize("capacity", [1, 2, 3, 16, 64, 65, 200])


def admit(item):
    if not isinstance(item, StreamElement):
        raise ElementError("no element")
    return isinstance(item, ACCEPTED)


def text(name):
    return TextElement(str(name))


def audio(name):
    return AudioElement(str(name).encode(), sample_rate=16000)


def names(items):
    return [item.text if isinstance(item, TextElement) else item.data.decode() for item in items]


def open_pair(capacity=16, room=16, watched=False):
    """Open an input that accepts text and turn ends, and the output that the rest goes to."""
    ledger = EdgeLedger()
    watches = [ledger.watch(name) if watched else None for name in ("in", "out")]
    feed, receive = open_channel(capacity, name="in", admit=admit, watch=watches[0])
    output, drain = open_channel(room, name="out", watch=watches[1])
    receive.forward_to(output)
    return feed, receive, output, drain, ledger


def drained(end):
    got = []
    while end.statistics().buffered:
        got.append(end.receive_nowait())
    return got


@given(
    capacity=st.sampled_from([1, 2, 3, 16, 64, 65, 200]),
    room=st.sampled_from([1, 2, 16, 65]),
    watched=st.booleans(),
    kinds=st.lists(st.sampled_from(["text", "audio", "turn", "interrupt"]), max_size=90),
)
async def test_what_passes_by_leaves_behind_the_results_of_what_was_taken_before(
    capacity, room, watched, kinds
) -> None:
    """semantics 3.3, 1.4: the order of the input is the order of the output; control reaches who names it; none is dropped."""
    makers = {
        "text": text,
        "audio": audio,
        "turn": lambda n: TurnEnd(index=n),
        "interrupt": lambda n: Interrupt(id=str(n)),
    }
    items = [makers[kind](number) for number, kind in enumerate(kinds)]
    feed, receive, output, drain, ledger = open_pair(capacity, room, watched)
    taken = []

    async def write():
        async with feed:
            for item in items:
                await feed.send(item)

    async def process():
        async with output:
            async for item in receive:
                taken.append(item)
                await output.send(item)
            assert receive.at_end
            await receive.pass_rest()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        tasks.start_soon(process)
        got = [item async for item in drain]

    assert got == items
    assert taken == [item for item in items if isinstance(item, ACCEPTED)]
    assert receive.statistics().received == len(items)
    assert receive.statistics().discarded == drain.statistics().discarded == {}
    ledger.check(ended=True)


async def test_passing_by_happens_when_the_reader_asks_for_more_and_not_before() -> None:
    """semantics 3.3: what stands behind an element must not leave before that element's results."""
    feed, receive, output, drain, _ = open_pair()
    for item in (text(1), audio(2), text(3)):
        feed.send_nowait(item)

    assert names([await anext(receive)]) == ["1"]
    assert drained(drain) == []
    await output.send(text("result of 1"))
    assert names([await anext(receive)]) == ["3"]
    assert names(drained(drain)) == ["result of 1", "2"]


@every_capacity
async def test_trailing_elements_stay_for_pass_rest(capacity) -> None:
    """semantics 3.3: behind the last accepted element nothing passes by until the stage has sent its results."""
    feed, receive, output, drain, _ = open_pair(max(capacity, 3))
    for item in (text(1), audio(2), audio(3)):
        feed.send_nowait(item)
    feed.close()

    assert not receive.at_end
    await anext(receive)
    assert receive.at_end
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(receive)
        with pytest.raises(anyio.EndOfStream):
            receive.receive_nowait()
    assert drained(drain) == []
    await output.send(text("result"))
    await receive.pass_rest()
    assert names(drained(drain)) == ["result", "2", "3"]
    await receive.pass_rest()


async def test_an_input_that_failed_tells_so_before_its_rest_is_passed_on() -> None:
    """semantics 2.2: the failure is met after the last accepted element; the rest is still there."""
    feed, receive, _, drain, _ = open_pair()
    feed.send_nowait(audio(1))
    cause = ValueError()
    feed.fail(cause)

    with pytest.raises(ChannelFailedError) as caught:
        await anext(receive)
    assert caught.value.__cause__ is cause
    with pytest.raises(ChannelFailedError):
        receive.receive_nowait()
    await receive.pass_rest()
    assert names(drained(drain)) == ["1"]


@pytest.mark.parametrize("nowait", [False, True])
async def test_a_reader_without_an_output_drops_what_it_does_not_accept(nowait) -> None:
    """A sink is not passed by: its edge delivers what it accepts and goes on."""
    feed, receive = open_channel(16, admit=admit)
    for item in (audio(1), text(2), Interrupt(), TurnEnd(), audio(3)):
        feed.send_nowait(item)

    got = (
        [receive.receive_nowait(), receive.receive_nowait()] if nowait else [await anext(receive), await anext(receive)]
    )
    assert [type(item) for item in got] == [TextElement, TurnEnd]
    with pytest.raises(anyio.WouldBlock):
        receive.receive_nowait()
    feed.send_nowait(audio(4))
    feed.close()
    with pytest.raises(StopAsyncIteration):
        await anext(receive)
    await receive.pass_rest()
    assert receive.statistics().received == 6
    assert receive.statistics().buffered == 0


async def test_receive_nowait_does_not_pass_by_an_output_that_may_be_full() -> None:
    """`receive_nowait` never waits, so it leaves passing by to who may wait."""
    feed, receive, _, drain, _ = open_pair()
    feed.send_nowait(audio(1))
    feed.send_nowait(text(2))

    with pytest.raises(anyio.WouldBlock):
        receive.receive_nowait()
    assert names([await receive.receive()]) == ["2"]
    assert names(drained(drain)) == ["1"]


class Reader:
    """Pulls once in a task and keeps what came of it."""

    def __init__(self, pull):
        self.pull = pull
        self.value = self.error = None

    async def __call__(self):
        try:
            self.value = await self.pull()
        except (ChannelClosedError, OutputClosedError) as error:
            self.error = error


@every_capacity
@pytest.mark.parametrize("watched", [False, True], ids=["bare", "watched"])
async def test_passing_by_waits_its_turn_at_a_full_output(capacity, watched) -> None:
    """semantics 3.3: helper tasks of the stage that wait to send were first, and go first."""
    feed, receive, output, drain, ledger = open_pair(16, capacity, watched)
    for number in range(capacity):
        output.send_nowait(text(number))
    feed.send_nowait(audio("passes"))
    feed.send_nowait(text("taken"))
    reader = Reader(receive.receive)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(output.send, text("helper"))
        await wait_all_tasks_blocked()
        tasks.start_soon(reader)
        await wait_all_tasks_blocked()
        assert (receive.statistics().buffered, receive.statistics().waiting_receiver) == (2, True)
        for ask in (receive.receive, receive.pass_rest):
            with pytest.raises(ChannelBusyError):
                await ask()
        assert receive.try_receive() is None
        got = [await anext(drain) for _ in range(capacity + 2)]

    assert names(got)[capacity:] == ["helper", "passes"]
    assert names([reader.value]) == ["taken"]
    ledger.check()


@every_capacity
async def test_a_closed_output_keeps_what_could_not_pass(capacity) -> None:
    """semantics 3.1: the reader of the output has gone: the stage learns it by its pull, and nothing is taken."""
    feed, receive, _, drain, _ = open_pair(16, capacity)
    feed.send_nowait(audio(1))
    feed.send_nowait(text(2))
    drain.close("failure")

    for _ in range(2):
        with pytest.raises(OutputClosedError, match="out") as caught:
            await anext(receive)
        assert caught.value.reason == "failure"
    feed.close()
    with pytest.raises(OutputClosedError):
        await receive.pass_rest()
    assert (receive.statistics().received, receive.statistics().buffered) == (0, 2)


@every_capacity
async def test_a_reader_that_waits_at_a_full_output_is_woken_when_that_closes(capacity) -> None:
    """semantics 2.2: a close wakes who waits, also for an element that passes by."""
    feed, receive, output, drain, _ = open_pair(16, capacity)
    for number in range(capacity):
        output.send_nowait(text(number))
    feed.send_nowait(audio("passes"))
    reader = Reader(receive.receive)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)
        await wait_all_tasks_blocked()
        drain.close()

    assert isinstance(reader.error, OutputClosedError)
    assert receive.statistics().buffered == 1


@every_capacity
@pytest.mark.parametrize("pull", ["receive", "pass_rest"])
async def test_a_reader_that_waits_at_a_full_output_is_woken_when_its_own_end_closes(capacity, pull) -> None:
    """semantics 2.2: its own close, from another task, wakes it too; a helper that waits there is undisturbed."""
    feed, receive, output, drain, _ = open_pair(16, capacity)
    for number in range(capacity):
        output.send_nowait(text(number))
    feed.send_nowait(audio("passes"))
    if pull == "pass_rest":
        feed.close()
    reader = Reader(getattr(receive, pull))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(output.send, text("helper"))
        await wait_all_tasks_blocked()
        tasks.start_soon(reader)
        await wait_all_tasks_blocked()
        receive.close()
        await wait_all_tasks_blocked()
        assert isinstance(reader.error, ChannelClosedError)
        assert output.statistics().waiting_senders == 1
        got = [await anext(drain) for _ in range(capacity + 1)]

    assert names(got)[-1] == "helper"
    assert receive.statistics().discarded == {"no_more_needed": 1}
    assert drain.statistics().buffered == 0


async def test_an_element_that_the_output_refuses_is_not_taken() -> None:
    """semantics 2.3: a pull that raises took nothing, also when it is the output that says no."""

    def refuse(_item):
        raise ElementError("nothing enters here")

    feed, receive = open_channel(16, admit=admit)
    output, drain = open_channel(16, admit=refuse)
    receive.forward_to(output)
    feed.send_nowait(audio(1))
    feed.send_nowait(text(2))

    with pytest.raises(ElementError, match="nothing enters here"):
        await anext(receive)

    assert (receive.statistics().received, receive.statistics().buffered) == (0, 2)
    assert drain.statistics().sent == 0


async def test_the_gatekeeper_is_asked_once_per_type_of_plain_data() -> None:
    """The fast path does not ask: one question per type, unless it is control or passes by."""
    asked = []

    def curious(item):
        asked.append(type(item))
        return not isinstance(item, AudioElement)

    feed, receive = open_channel(16, admit=curious)
    for number in range(5):
        await feed.send(text(number))
        await anext(receive)

    assert asked == [TextElement]
    await feed.send(TurnEnd())
    assert isinstance(await anext(receive), ControlElement)


async def test_one_look_finds_the_end_of_a_wide_edge() -> None:
    """`at_end` in a loop over n elements asks the gatekeeper about n elements, not about n squared."""
    asked = 0

    def count(item):
        nonlocal asked
        asked += 1
        return isinstance(item, str)

    feed, receive = open_channel(10**6, admit=count)
    for number in range(1000):
        feed.send_nowait(number)
    feed.send_nowait("last")
    for number in range(1000):
        feed.send_nowait(number)
    feed.close()
    asked = 0

    assert [item async for item in receive] == ["last"]
    assert asked < 5000
    assert receive.at_end
    assert receive.statistics().buffered == 1000

"""A fork whose branches come and go, and the outputs of a stage that has several, as one. Semantics 4.13, 4.19."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from anyio import wait_all_tasks_blocked
from edges import every_capacity
from hypothesis import given
from hypothesis import strategies as st

from streamflow import AudioElement, DataElement, TextElement, TurnEnd
from streamflow.channels import BalanceEnd, ControlJoin, HubEnd, RouteEnd, WholeEnd, open_channel
from streamflow.elements import Marker
from streamflow.errors import ChannelClosedError, ElementError, OutputClosedError
from streamflow.stages import EVERYTHING, admission

GATE = admission(EVERYTHING, producer="a")


def edge(name, capacity=4, accepts=EVERYTHING):
    return open_channel(capacity, name=name, admit=admission(accepts, producer="a"))


def hub_of(*capacities, accepts=()):
    gates = [*accepts, *[EVERYTHING] * len(capacities)]
    ends = [edge(f"a → {number}", one, gates[number]) for number, one in enumerate(capacities)]
    return HubEnd("a → (…)", [send for send, _ in ends]), [read for _, read in ends]


async def test_who_joins_gets_everything_from_then_on_and_nothing_from_before() -> None:
    """semantics 4.19: data and control, in the order of the others; leaving changes nothing for them."""
    hub, (main,) = hub_of(16)
    sent = [TextElement("0"), TurnEnd(), AudioElement(b"\0\0"), TextElement("3"), TextElement("4")]
    await hub.send(sent[0])
    first = hub.attach(16, name="first", admit=GATE)
    await hub.send(sent[1])
    second = hub.attach(16, name="second", admit=GATE)
    await hub.send(sent[2])
    await hub.send(sent[3])
    assert [list(end.backlog) for end in (main, first, second)] == [sent[:4], sent[1:4], sent[2:4]]
    first.close()
    await hub.send(sent[4])
    assert [list(end.backlog) for end in (main, first, second)] == [sent, [], sent[2:]]
    hub.close()
    assert [end.state for end in (main, first, second)] == ["completed", "cancelled", "completed"]


@every_capacity
async def test_a_branch_that_joined_is_waited_for_and_one_that_drops_is_not(capacity) -> None:
    """semantics 4.19: the bound of each holds; what finds no room on one that drops is counted."""
    hub, (main,) = hub_of(500)
    slow = hub.attach(capacity, name="slow", admit=GATE)
    lossy = hub.attach(1, name="lossy", admit=GATE, waits=False)
    with anyio.move_on_after(1):
        while True:
            await hub.send(TextElement("x"))
    assert len(main.backlog) == len(slow.backlog) == capacity
    assert lossy.statistics().discarded == ({"overflow": capacity - 1} if capacity > 1 else {})
    slow.close()
    await hub.send(TextElement("y"))
    assert len(main.backlog) == capacity + 1


async def test_senders_that_wait_when_a_branch_joins_send_to_it_in_their_order() -> None:
    """semantics 4.19: also those that wait on different branches: nothing that leaves behind the joining is missing."""
    hub, (text, sound) = hub_of(1, 1, accepts=[(TextElement,), (AudioElement,)])
    await hub.send(TextElement("0"))
    await hub.send(AudioElement(b"0"))
    async with anyio.create_task_group() as tasks:
        for element in (TextElement("1"), AudioElement(b"1"), TextElement("2")):
            tasks.start_soon(hub.send, element)
            await wait_all_tasks_blocked()
        late = hub.attach(1, name="late", admit=GATE)
        tasks.start_soon(hub.send, AudioElement(b"2"))
        got = []
        await wait_all_tasks_blocked()
        await sound.receive()  # the second one could go, but must not before the first
        await wait_all_tasks_blocked()
        assert not late.backlog
        for end in (text, sound, text, sound):
            await wait_all_tasks_blocked()
            if late.backlog:
                got.append(await late.receive())
            if end.backlog:
                await end.receive()
        while len(got) < 4:
            got.append(await late.receive())
            await wait_all_tasks_blocked()
            for end in (text, sound):
                if end.backlog:
                    await end.receive()
    assert got == [TextElement("1"), AudioElement(b"1"), TextElement("2"), AudioElement(b"2")]


async def test_who_joins_after_the_end_gets_the_end() -> None:
    """semantics 4.19: closed by its writer, or because nobody is left to write to."""
    for how in ("writer", "readers"):
        hub, (main,) = hub_of(1)
        if how == "writer":
            hub.close()
        else:
            main.close()
        late = hub.attach(1, name="late", admit=GATE)
        assert [element async for element in late] == []
    with pytest.raises(OutputClosedError):
        await hub.send(TextElement("x"))


async def test_the_hub_goes_on_while_anybody_listens() -> None:
    """semantics 4.7, 4.19: a branch that joined is a branch like any other."""
    hub, (main,) = hub_of(4)
    late = hub.attach(4, name="late", admit=GATE)
    main.close()
    await hub.send(TextElement("x"))
    assert len(late.backlog) == 1
    late.close()
    with pytest.raises(OutputClosedError):
        await hub.send(TextElement("y"))


async def test_branches_that_have_gone_are_forgotten() -> None:
    """semantics 4.19: a hub that thousands join and leave does not grow."""
    hub, (main,) = hub_of(4)
    for waits in (True, False) * 100:
        hub.attach(1, name="guest", admit=GATE, waits=waits).close()
        await hub.send(TextElement("x"))
        await main.receive()
    assert len(hub._branches) + len(hub._taps) <= 4
    assert hub._edges == (main,)


async def test_who_joins_sees_no_marker_and_is_no_concern_of_a_join() -> None:
    """semantics 4.9, 4.19: a boundary leaves the join below when the branches that lead there have shown it."""
    ends = [edge(f"a → {number}") for number in range(2)]
    join = ControlJoin(2, {0: frozenset({0, 1})})
    hub = HubEnd("a", [send for send, _ in ends], joins=[(join, 0)])
    late = hub.attach(4, name="late", admit=GATE)
    for element in (Marker(), TurnEnd(), TextElement("x")):
        await hub.send(element)
    hub.close()
    assert [type(one) async for one in late] == [TurnEnd, TextElement]
    assert len(join._copied) == 2


@given(
    count=st.integers(0, 40),
    senders=st.integers(1, 3),
    capacity=st.sampled_from([1, 2, 5, 70]),
    guests=st.lists(
        st.tuples(st.integers(0, 20), st.sampled_from([1, 3, 70]), st.none() | st.integers(1, 9)), max_size=5
    ),
    cancelled=st.none() | st.integers(0, 9),
)
async def test_every_guest_reads_a_contiguous_part_of_what_the_main_branch_reads(  # noqa: C901 - tasks of four kinds
    count, senders, capacity, guests, cancelled
) -> None:
    """semantics 4.19: whoever joins and leaves when, beside several senders that wait, one of which is cancelled now and then."""
    hub, (main, other) = hub_of(capacity, capacity, accepts=[EVERYTHING, (AudioElement, TurnEnd)])
    kinds = [TextElement, lambda n: AudioElement(n.encode()), lambda n: TurnEnd(id=n)]
    sent = [[kinds[number % 3](f"{one}:{number}") for number in range(count)] for one in range(senders)]
    got: list[list[object]] = [[] for _ in guests]
    every: list[object] = []

    async def listen(number):
        after, size, most = guests[number]
        for _ in range(after):
            await anyio.lowlevel.checkpoint()
        end = hub.attach(size, name="guest", admit=GATE)
        async for element in end:
            got[number].append(element)
            if most is not None and len(got[number]) >= most:
                end.close()
                return

    async def read(end, into):
        async for element in end:
            into.append(element)
            await anyio.lowlevel.checkpoint()

    async def write(elements):
        for number, element in enumerate(elements):
            if cancelled is not None and number % 10 == cancelled:
                with anyio.move_on_after(0):
                    await hub.send(element)
                continue
            await hub.send(element)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, main, every)
        tasks.start_soon(read, other, [])
        for number in range(len(guests)):
            tasks.start_soon(listen, number)
        async with anyio.create_task_group() as writers:
            for one in sent:
                writers.start_soon(write, one)
        hub.close()

    order = [id(one) for one in every]
    for (_, _, most), part in zip(guests, got, strict=True):
        begin = order.index(id(part[0])) if part else len(order)
        until = len(order) if most is None or len(part) < most else begin + most
        assert [id(one) for one in part] == order[begin:until]
    assert not hub.claims


# All outputs of a stage as one


def whole():
    """Return two outputs, one that routes and one that balances, a hub, and a plain one, with what reads each edge."""
    ends = [edge(f"a → {number}", 2) for number in range(6)]
    sends, reads = [send for send, _ in ends], [read for _, read in ends]
    asked: list[object] = []
    route = RouteEnd("r", sends[:2], choices=sends[:2], choose=lambda element, _: asked.append(element) or 1)
    parts = [route, BalanceEnd("b", sends[2:4]), HubEnd("h", [sends[4]]), sends[5]]
    return WholeEnd("a", parts, sends), parts, reads, asked


async def test_what_passes_by_goes_on_each_output_where_that_sends_it() -> None:
    """semantics 4.13: one branch of a route and of a balance, each guest of a hub; control to all; asked once."""
    end, parts, reads, asked = whole()
    guest = parts[2].attach(4, name="guest", admit=GATE)
    element = TextElement("x")
    await end.send(element)
    await end.send(TurnEnd())
    assert [len(one.backlog) for one in (*reads, guest)] == [1, 2, 2, 1, 2, 2, 2]
    assert not end.try_send(element)
    with anyio.move_on_after(1):
        await end.send(element)
    assert asked == [element, element]
    with pytest.raises(ElementError):
        await end.send(None)


async def test_a_guest_that_joins_while_the_whole_waits_is_served() -> None:
    """semantics 4.13, 4.19: a contiguous part, also of what passes by."""
    end, parts, reads, _ = whole()
    for name in "12":
        await parts[3].send(DataElement(name))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end.send, TextElement("x"))
        await wait_all_tasks_blocked()
        guest = parts[2].attach(4, name="guest", admit=GATE)
        await reads[5].receive()
        await reads[5].receive()
    assert list(guest.backlog) == [TextElement("x")]


@pytest.mark.parametrize("how", ["close", "fail", "close_with"])
async def test_the_end_of_the_whole_is_the_end_of_every_output(how) -> None:
    """semantics 4.13, 4.19: guests are told, too."""
    end, parts, reads, _ = whole()
    guest = parts[2].attach(4, name="guest", admit=GATE)
    assert end.is_open
    getattr(end, how)(*{"close": [], "fail": [ValueError()], "close_with": [TurnEnd()]}[how])
    assert {one.state for one in (*reads, guest)} == {"failed" if how == "fail" else "completed"}
    assert {len(one.backlog) for one in (*reads, guest)} == {how == "close_with"}
    assert not end.is_open
    with pytest.raises(ChannelClosedError):
        await end.send(TextElement("x"))

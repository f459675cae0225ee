"""The writing end of a route: one branch for each element, one question for each element, and branches that go. Semantics 4.15."""

from __future__ import annotations

from collections import Counter, defaultdict

import anyio
import anyio.lowlevel
import pytest
from anyio import wait_all_tasks_blocked
from edges import Caught, every_capacity
from hypothesis import given
from hypothesis import strategies as st
from sweeping import every_mode, sweep

from streamflow import AudioElement, DataElement, StreamElement, TextElement, TurnEnd
from streamflow.channels import RouteEnd, open_channel
from streamflow.errors import ChannelClosedError, ElementError, OutputClosedError, RoutingError
from streamflow.stages import EVERYTHING, admission

TEXT, ALL = (TextElement,), EVERYTHING


class Route:
    """A route whose rule reads the number of the branch from the text, and notes what it was asked about."""

    def __init__(self, *, count=2, capacity=4, accepts=ALL, rest=False, gone="drop", lanes=False):
        self.asked = []
        ends = [self._open(f"a → {number}", capacity, accepts, lanes) for number in range(count)]
        otherwise = self._open("a → rest", capacity, ALL, lanes) if rest else None
        self.reads = [read for _, read in ends] + ([otherwise[1]] if rest else [])
        sends = [send for send, _ in ends]
        self.send = RouteEnd(
            "a → (0, 1)",
            sends + ([otherwise[0]] if rest else []),
            choices=sends,
            choose=self.choose,
            otherwise=otherwise[0] if rest else None,
            gone=gone,
        )

    @staticmethod
    def _open(name, capacity, accepts, lanes):
        return open_channel(capacity, name=name, admit=admission(accepts, producer="a"), lanes=lanes)

    def choose(self, element, _gone):
        self.asked.append(element)
        text = getattr(element, "text", "0")
        return int(text[0]) if text[0].isdigit() else None

    def there(self):
        return [
            ["/" if isinstance(one, TurnEnd) else getattr(one, "text", "?") for one in end.backlog]
            for end in self.reads
        ]


def texts(*several):
    return [TextElement(one) for one in several]


@pytest.mark.parametrize("lanes", [False, True], ids=["plain", "lanes"])
async def test_data_goes_to_one_branch_and_control_to_all(lanes) -> None:
    """semantics 4.15: each element once, in order on each branch; what no rule applies to goes to the default."""
    route = Route(rest=True, capacity=8, lanes=lanes)
    for element in [*texts("0a", "1a", "x"), TurnEnd(), *texts("1b")]:
        await route.send.send(element)
    assert route.there() == [["0a", "/"], ["1a", "/", "1b"], ["x", "/"]]


async def test_without_a_default_what_no_rule_applies_to_is_dropped_and_counted() -> None:
    """semantics 4.15: a declared drop, which lets others run."""
    route = Route()
    await route.send.send_each(texts(*"xyz", "0"))
    assert route.there() == [["0"], []]
    assert route.send.dropped == {"unrouted": 3}


async def test_a_sender_waits_for_the_chosen_branch_alone() -> None:
    """semantics 4.15: a full branch stops what is for it, and what comes behind that from the same sender."""
    route = Route(capacity=1)
    await route.send.send_each(texts("0a"))
    task = Caught(route.send.send_each, texts("0b", "1a"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(task)
        await wait_all_tasks_blocked()
        assert route.there() == [["0a"], []]
        await route.send.send(TextElement("1b"))  # another sender is not held up
        assert route.there() == [["0a"], ["1b"]]
        await route.reads[0].receive()
        await route.reads[1].receive()
        await wait_all_tasks_blocked()
        assert route.there() == [["0b"], ["1a"]]


async def test_a_rule_is_asked_once_for_each_element_however_often_its_sender_looks() -> None:
    """semantics 4.15: refused without waiting, cancelled while waiting, woken for nothing: the answer stays."""
    route = Route(capacity=1)
    first, second = texts("0a", "0b")
    await route.send.send(first)
    assert not route.send.try_send(second)
    with pytest.raises(anyio.WouldBlock):
        route.send.send_nowait(second)
    with anyio.move_on_after(1):
        await route.send.send(second)
    assert route.asked == [first, second]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(route.send.send, second)
        await wait_all_tasks_blocked()
        route.send._wake_waiting()
        await wait_all_tasks_blocked()
        await route.reads[0].receive()
    assert route.asked == [first, second]
    await route.reads[0].receive()
    await route.send.send(second)
    assert route.asked == [first, second, second]  # sent again: another element


async def test_the_same_object_of_two_senders_is_asked_about_twice() -> None:
    """semantics 4.15: an answer belongs to one sending, and not to the object."""
    route, same = Route(capacity=2), TextElement("0")
    await route.send.send_each([same, same])
    assert route.asked == [same, same]
    route = Route(capacity=1)
    await route.send.send(TextElement("0"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(route.send.send, same)
        tasks.start_soon(route.send.send, same)
        await wait_all_tasks_blocked()
        assert len(route.asked) == 3
        for _ in range(3):
            await route.reads[0].receive()


async def test_answers_for_elements_that_never_come_again_are_forgotten() -> None:
    """semantics 4.15: what is remembered is bounded."""
    route = Route(capacity=1)
    await route.send.send(TextElement("0"))
    for number in range(200):
        assert not route.send.try_send(TextElement(f"0{number}"))
    assert len(route.send._chosen) <= 64


async def test_what_passes_its_sender_by_is_asked_about_once() -> None:
    """semantics 4.15, 3.3: also where it waits for room, and where its reader is cancelled meanwhile."""
    route = Route(capacity=1)
    await route.send.send(TextElement("1full"))
    write, read = open_channel(4, name="in", admit=admission((AudioElement,), producer="x"))
    read.forward_to(route.send)
    await write.send(TextElement("1a"))
    await write.send(AudioElement(b"\0\0"))
    with anyio.move_on_after(1):
        await read.receive()
    assert [one.text for one in route.asked] == ["1full", "1a"]
    assert route.there() == [[], ["1full"]]
    async with anyio.create_task_group() as tasks:
        task = Caught(read.receive)
        tasks.start_soon(task)
        await wait_all_tasks_blocked()
        await route.reads[1].receive()
    assert task.value == AudioElement(b"\0\0")
    assert [one.text for one in route.asked] == ["1full", "1a"]


@every_capacity
async def test_elements_for_a_branch_that_has_gone_are_dropped_and_counted(capacity) -> None:
    """semantics 4.15: by default, as Pekko's Partition does; the others go on until all have gone."""
    route = Route(capacity=capacity)
    route.reads[0].close()
    for element in texts("0a", "1a"):
        await route.send.send(element)
    assert route.there()[1] == ["1a"]
    assert route.send.dropped == {"no_more_needed": 1}
    route.reads[1].close()
    with pytest.raises(OutputClosedError):
        await route.send.send(TextElement("0b"))


async def test_elements_for_a_branch_that_has_gone_are_an_error_or_go_to_the_default_where_that_is_said() -> None:
    """semantics 4.15: `unroutable`."""
    strict, kind = Route(gone="error"), Route(gone="default", rest=True)
    for route in (strict, kind):
        route.reads[0].close()
    with pytest.raises(RoutingError, match="'0', which takes no more"):
        await strict.send.send(TextElement("0"))
    await strict.send.send(TextElement("1"))
    await kind.send.send(TextElement("0"))
    assert kind.there() == [[], [], ["0"]]
    kind.reads[2].close()
    await kind.send.send(TextElement("0"))
    assert kind.send.dropped == {"no_more_needed": 1}
    strict.send.close()
    with pytest.raises(ChannelClosedError):
        await strict.send.send(TextElement("0"))


@pytest.mark.parametrize(("gone", "there"), [("drop", []), ("default", ["0b"]), ("error", [])])
async def test_a_branch_that_goes_while_a_sender_waits_for_it(gone, there) -> None:
    """semantics 4.15: the same as if it had gone before; and whoever waits behind goes on."""
    route = Route(capacity=1, rest=True, gone=gone)
    await route.send.send(TextElement("0a"))
    task = Caught(route.send.send, TextElement("0b"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(task)
        await wait_all_tasks_blocked()
        route.reads[0].close()
    assert isinstance(task.error, RoutingError) is (gone == "error")
    assert route.there()[2] == there
    assert [one.text for one in route.asked] == ["0a", "0b"]
    await route.send.send(TextElement("1"))


async def test_who_waits_for_the_default_instead_waits_for_room_there() -> None:
    """semantics 4.15, 2.1: the bound of the default holds."""
    route = Route(capacity=1, rest=True, gone="default")
    for text in ("0a", "x"):
        await route.send.send(TextElement(text))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(route.send.send, TextElement("0b"))
        await wait_all_tasks_blocked()
        route.reads[0].close()
        await wait_all_tasks_blocked()
        assert route.there()[2] == ["x"]
        await route.reads[2].receive()
    assert route.there()[2] == ["0b"]


async def test_where_all_branches_are_alike_another_takes_the_place_of_one_that_goes() -> None:
    """semantics 4.15: also for an element whose sender waits already."""
    ends = [open_channel(1, name=f"a → {number}", admit=admission(ALL, producer="a")) for number in range(3)]
    sends = [send for send, _ in ends]
    route = RouteEnd(
        "a", sends, choices=sends, spreads=True, choose=lambda _, gone: next(one for one in range(3) if one not in gone)
    )
    await route.send(TextElement("a"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(route.send, TextElement("b"))
        await wait_all_tasks_blocked()
        ends[0][1].close()
        await wait_all_tasks_blocked()
        assert [one.text for one in ends[1][1].backlog] == ["b"]
        task = Caught(route.send, TextElement("c"))
        tasks.start_soon(task)
        await wait_all_tasks_blocked()
        for _, read in ends:
            read.close()
    assert isinstance(task.error, OutputClosedError)
    with pytest.raises(OutputClosedError):
        await route.send(TextElement("d"))


async def test_a_branch_that_does_not_accept_what_is_chosen_for_it_is_an_error() -> None:
    """semantics 4.15: and nothing is lost: the element is where it was."""
    route = Route(accepts=TEXT)
    for call in (route.send.send_nowait, route.send.try_send):
        with pytest.raises(RoutingError, match=r"type DataElement was sent to '0', which does not accept it"):
            call(DataElement("x"))
    with pytest.raises(ElementError):
        await route.send.send(None)
    write, read = open_channel(4, name="in", admit=admission((AudioElement,), producer="x"))
    read.forward_to(route.send)
    await write.send(DataElement("x"))
    with pytest.raises(RoutingError):
        await read.receive()
    assert len(read.backlog) == 1


async def test_what_a_rule_raises_leaves_from_the_sending() -> None:
    """semantics 4.15: and the next element is asked about."""
    route = Route()
    route.send._choose = lambda element, _: 1 // len(element.text)
    with pytest.raises(ZeroDivisionError):
        await route.send.send(TextElement(""))
    await route.send.send(TextElement("x"))
    assert route.there() == [[], ["x"]]


@every_mode
async def test_a_cancelled_sender_has_sent_to_no_branch_and_is_not_asked_again(how) -> None:
    """semantics 2.3, 4.15: at every tick; whoever sends the element again, sends it once."""
    made = {}

    async def scenario(*services):
        route = made["route"] = Route(capacity=1)
        element = made["element"] = TextElement("0b")
        await route.send.send(TextElement("0a"))
        services[0].begin(route)
        await route.send.send(element)

    async def read(route):
        await anyio.lowlevel.checkpoint()
        await route.reads[0].receive()

    async def check(*services):
        route = made["route"]
        with anyio.fail_after(5):
            await services[0].idle.wait() if services[0].current else None
        if made["element"] not in route.reads[0].backlog:
            route.send.send_nowait(made["element"])
        assert route.there() == [["0b"], []]
        assert len(route.asked) <= 2

    await sweep(scenario, how, check, read)


@given(
    plan=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("dcd")), max_size=40),
    capacity=st.sampled_from([1, 2, 65]),
    senders=st.integers(1, 3),
    leaves_after=st.none() | st.integers(0, 5),
)
async def test_each_element_is_on_its_branch_once_and_in_order(plan, capacity, senders, leaves_after) -> None:
    """semantics 4.15: whatever the rule, the tasks that send and the capacities; a branch that goes takes nothing of the others."""
    route = Route(count=3, capacity=capacity, rest=True)
    got = defaultdict(list)
    sent = [
        [
            TurnEnd(index=number) if kind == "c" else TextElement(f"{'x' if to == 3 else to}:{one}:{number}")
            for number, (to, kind) in enumerate(plan)
        ]
        for one in range(senders)
    ]

    async def read(number, end):
        async for element in end:
            got[number].append(element)
            if number == 0 and leaves_after is not None and len(got[0]) > leaves_after:
                end.close()
                return

    async with anyio.create_task_group() as readers:
        for number, end in enumerate(route.reads):
            readers.start_soon(read, number, end)
        async with anyio.create_task_group() as writers:
            for one in sent:
                writers.start_soon(route.send.send_each, one)
        route.send.close()

    every: list[StreamElement] = [one for several in sent for one in several]
    assert Counter(map(id, route.asked)) == Counter(id(one) for one in every if isinstance(one, TextElement))
    for number in range(4):
        mine = [one for one in every if isinstance(one, TurnEnd) or one.text[0] == "012x"[number]]
        if number == 0 and leaves_after is not None and len(got[0]) > leaves_after:
            continue
        assert Counter(map(id, got[number])) == Counter(map(id, mine))
        for several in sent:
            own = {id(one) for one in several}
            assert [one for one in got[number] if id(one) in own] == [one for one in mine if id(one) in own]

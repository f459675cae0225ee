"""The merge that does not search: all that the other one promises but the exact order of turns. Semantics 4.5."""

from __future__ import annotations

import random
from collections import deque
from functools import partial
from itertools import pairwise
from operator import is_not

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from streamflow import DataElement, Priority, StreamElement, TextElement, TurnStart
from streamflow.channels import (
    WIDE,
    ArrivalEnd,
    Pulse,
    ReceiveEnd,
    SendEnd,
    _arrival,
    drop_backlog,
    open_channel,
    sweep_edge,
    waits_on,
)
from streamflow.stages import EVERYTHING, admission

WHAT = ["send"] * 3 + ["fill"] * 4 + ["take"] * 3 + ["receive"] * 2 + ["look", "count", "sweep"]


@given(seed=st.integers(0, 2**32), capacity=st.integers(1, 20), least=st.sampled_from([2, 2, WIDE]))
async def test_nothing_is_lost_and_none_waits_for_more_than_one_of_each_other(
    seed: int, capacity: int, least: int
) -> None:
    """semantics 4.5: in order within each input, in turns between them, whichever way the elements are taken, also in bursts."""
    choose = random.Random(seed)
    steps = [(choose.choice(WHAT), choose.randrange(4), choose.random() < 0.98) for _ in range(60)]
    steps[30:30] = [("close", choose.randrange(4), True)] * choose.randrange(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_arrival, "_LEAST", least)
        await _go_through(steps, capacity)


async def _go_through(  # noqa: C901, PLR0912 - a model in one place
    steps: list[tuple[str, int, bool]], capacity: int
) -> None:
    gate = admission(EVERYTHING, producer="writer")
    sends: list[SendEnd[StreamElement]] = []
    edges: list[ReceiveEnd[StreamElement]] = []
    for number in range(4):
        send, receive = open_channel(capacity, name=str(number), admit=gate)
        sends.append(send)
        edges.append(receive)
    merge: ArrivalEnd[StreamElement] = ArrivalEnd("merge", edges, gate)
    there: list[deque[StreamElement]] = [deque() for _ in sends]
    overtaken = [[0] * 4 for _ in sends]  # how many each other has given while this one had something

    def given_by(element: StreamElement) -> None:
        by = next(number for number, rest in enumerate(there) if rest and rest[0] is element)
        there[by].popleft()
        overtaken[by] = [0] * 4
        for number, rest in enumerate(there):
            if rest and number != by:
                overtaken[number][by] += 1
                assert overtaken[number][by] <= 1

    for what, number, is_data in steps:
        if what in ("send", "fill") and sends[number].is_open:
            for one in range(4) if what == "fill" else [number]:
                if len(there[one]) == capacity:
                    assert not sends[one].try_send(TextElement("no room"))
                elif sends[one].is_open:
                    element = TextElement("x") if is_data else TurnStart()
                    if not there[one]:
                        overtaken[one] = [0] * 4
                    there[one].append(element)
                    if what == "fill":
                        assert sends[one].try_send(element)
                    else:
                        sends[one].send_nowait(element)
        elif what == "look":
            assert [edge.statistics().buffered for edge in edges] == [len(one) for one in there]
        elif what == "count":
            assert merge.statistics().received == sum(edge.statistics().received for edge in edges)
        elif what == "sweep" and there[number]:
            gone = there[number].pop()
            assert sweep_edge(edges[number], partial(is_not, gone)) == 1
        elif what == "close":
            sends[number].close()
        elif what in ("receive", "take"):
            for _ in range(min(sum(map(len, there)), number * 3 + 1)):
                given_by(await merge.receive() if what == "receive" else merge.receive_nowait())

    for send in sends:
        send.close()
    async for element in merge:
        given_by(element)
    assert not any(there)
    assert [edge.statistics().buffered for edge in edges] == [0] * 4
    assert [edge.attention for edge in (*edges, merge)] == [0] * 5


# Bursts


@pytest.fixture
def short_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a merge take turns in one go where all inputs have something."""
    monkeypatch.setattr(_arrival, "_LEAST", 2)


class Merged:
    """A merge of texts that are in its inputs."""

    def __init__(
        self, capacity: int, *texts: str, lanes: bool = False, gate: tuple[type[StreamElement], ...] = EVERYTHING
    ) -> None:
        admit = admission(gate, producer="writer")
        ends: list[tuple[SendEnd[StreamElement], ReceiveEnd[StreamElement]]]
        ends = [open_channel(capacity, name=str(place), lanes=lanes) for place in range(len(texts))]
        self.sends = [send for send, _ in ends]
        self.edges = [edge for _, edge in ends]
        self.merge: ArrivalEnd[StreamElement] = ArrivalEnd("merge", self.edges, admit)
        for send, text in zip(self.sends, texts, strict=True):
            for letter in text:
                assert send.try_send(TextElement(letter))

    def take(self, count: int) -> str:
        return "".join(getattr(self.merge.receive_nowait(), "text", "?") for _ in range(count))


@pytest.mark.usefixtures("short_bursts")
def test_an_input_that_had_nothing_waits_for_no_more_than_one_of_each_other() -> None:
    """semantics 4.5: so turns are certain only where all inputs have something."""
    merged = Merged(8, "aaaaa", "bbbbb", "")
    assert merged.take(2) == "ab"
    merged.sends[2].send_nowait(TextElement("c"))
    assert "c" in merged.take(3)


@pytest.mark.usefixtures("short_bursts")
def test_what_is_urgent_passes_what_can_wait_also_where_turns_are_certain() -> None:
    """semantics 2.7: an edge with lanes does not say before what comes next."""
    merged = Merged(8, "aaa", "bbb", lanes=True)
    assert merged.take(3) == "aba"
    merged.sends[0].send_nowait(TextElement("A", priority=Priority.CRITICAL))
    assert merged.take(4) == "bAba"


@pytest.mark.usefixtures("short_bursts")
def test_what_the_reader_does_not_accept_is_not_shown_to_it() -> None:
    """semantics 3.3: though the edges carry it, and it is no control."""
    merged = Merged(8, "aa", "bb", gate=(TextElement,))
    assert merged.take(2) == "ab"
    for send in merged.sends:
        send.send_nowait(DataElement("data"))
        send.send_nowait(TextElement("c"))
    assert merged.take(4) == "abcc"


@pytest.mark.usefixtures("short_bursts")
async def test_backlog_that_is_dropped_is_what_is_there() -> None:
    """semantics 5.7: neither what has left, nor what comes while it is dropped."""
    merged = Merged(8, "aaaa", "bbbb")
    assert merged.take(3) == "aba"
    assert await drop_backlog(merged.merge) == 5
    assert [edge.statistics().received for edge in merged.edges] == [4, 4]


@pytest.mark.usefixtures("short_bursts")
async def test_who_waits_for_room_that_there_is_is_not_waiting() -> None:
    """semantics 5.10: nobody takes that for a deadlock, and who looks lets the sender go on."""
    merged = Merged(4, "aaaa", "bbbb")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(merged.sends[0].send, TextElement("c"))
        await wait_all_tasks_blocked()
        assert merged.take(5) == "ababa"
        assert waits_on([*merged.edges, merged.merge], Pulse(1, lambda: None)) == {}
    assert merged.take(4) == "babc"


async def test_many_producers_go_on_and_others_run_every_64_elements(anyio_backend_name: str) -> None:
    """semantics 2.4, 2.5: a merge of inputs that are always full, as many at a time as all of them can hold."""
    merged, got, gaps = Merged(16, *(["x"] * 8)), 0, [0]

    async def send(end: SendEnd[StreamElement]) -> None:
        await end.send_each(TextElement("y") for _ in range(99))
        end.close()

    async def run() -> None:
        while merged.merge.state == "open":
            gaps.append(got)
            await checkpoint()

    async with anyio.create_task_group() as tasks:
        for end in merged.sends:
            tasks.start_soon(send, end)
        tasks.start_soon(run)
        with anyio.fail_after(10):
            async for _ in merged.merge:
                got += 1
    assert got == 800
    rounds = 1 if anyio_backend_name == "asyncio" else 2  # trio may let the reader run twice before the other task
    assert max(later - before for before, later in pairwise(gaps)) <= rounds * WIDE

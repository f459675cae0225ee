"""The merge that does not search: all that the other one promises but the exact order of turns. Semantics 4.5."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from streamflow import StreamElement, TextElement, TurnStart
from streamflow.channels import ArrivalEnd, ReceiveEnd, SendEnd, open_channel
from streamflow.stages import EVERYTHING, admission

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 3), st.booleans()),
        st.tuples(st.sampled_from(["receive", "take", "close"]), st.integers(0, 3), st.just(True)),
    ),
    max_size=120,
)


@given(steps=STEPS, capacity=st.integers(1, 40))
async def test_nothing_is_lost_and_none_waits_for_more_than_one_of_each_other(
    steps: list[tuple[str, int, bool]], capacity: int
) -> None:
    """semantics 4.5: in order within each input, in turns between them, whichever way the elements are taken."""
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
        if what == "send" and sends[number].is_open and len(there[number]) < capacity:
            element = TextElement("x") if is_data else TurnStart()
            if not there[number]:
                overtaken[number] = [0] * 4
            there[number].append(element)
            sends[number].send_nowait(element)
        elif what == "close":
            sends[number].close()
        elif what in ("receive", "take") and any(there):
            given_by(await merge.receive() if what == "receive" else merge.receive_nowait())

    for send in sends:
        send.close()
    async for element in merge:
        given_by(element)
    assert not any(there)
    assert [edge.statistics().buffered for edge in edges] == [0] * 4

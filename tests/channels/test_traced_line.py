"""Bursts in runs that are traced: the way and the times of each element."""

from __future__ import annotations

import contextvars
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.channels import (
    OUTCOME,
    Hop,
    LineCall,
    ReceiveEnd,
    SendEnd,
    StagePlace,
    TracedBuffer,
    entry_of,
    line_of,
    open_channel,
    trace_edge,
)
from streamflow.elements import TextElement


class _Traced:
    """One function between two edges that are traced, on a clock that only the function moves."""

    def __init__(self, func: Callable[[Any], object], sends: object, capacity: int = 64) -> None:
        self.now = 0.0
        roots = itertools.count()
        writer, stage, reader = StagePlace(roots.__next__), StagePlace(lambda: None), StagePlace(lambda: None)
        self.reader = reader
        self.send: SendEnd[TextElement]
        source: ReceiveEnd[TextElement]
        target: SendEnd[TextElement]
        self.receive: ReceiveEnd[TextElement]
        self.send, source = open_channel(capacity)
        target, self.receive = open_channel(capacity)
        self.discarded: list[object] = []
        for number, (ends, places) in enumerate(
            (((self.send, source), (writer, stage)), ((target, self.receive), (stage, reader)))
        ):
            buffer = TracedBuffer(number, places, lambda: self.now, lambda item, _hop: self.discarded.append(item))
            trace_edge(ends[0], ends[1], buffer)
        target.try_send(TextElement("first"))  # a type's first element takes the long way
        self.receive.receive_nowait()
        line = line_of([LineCall(0, contextvars.copy_context().run, func, sends, source, target)])
        assert line is not None
        self.line = line

    def ways(self) -> list[tuple[int, float, float, float]]:
        """Take all that has come; return of each where it began, when it was taken, gone on, and taken here."""
        found: list[tuple[int, float, float, float]] = []
        while self.receive.try_receive() is not None:
            hop = self.reader.hop
            assert isinstance(hop, tuple)
            before, _, entered_s = entry_of(hop)
            assert isinstance(before, tuple)
            found.append((_root(before), before[1], entered_s, hop[1]))
        return found


def _root(hop: Hop) -> int:
    origin, _, _ = entry_of(hop)
    assert isinstance(origin, int)
    return origin


@given(verdicts=st.lists(st.booleans(), max_size=40))
def test_what_a_filter_lets_through_has_its_own_way_though_all_are_the_same_object(verdicts: list[bool]) -> None:
    """semantics 24.10: the way is told by the place in the burst."""
    coming = iter(verdicts)
    traced = _Traced(lambda _element: next(coming), sends=True)
    for _ in verdicts:
        traced.send.try_send(_SAME)
    if verdicts:
        assert traced.line.move() is None
    assert [way[0] for way in traced.ways()] == [place for place, verdict in enumerate(verdicts) if verdict]
    assert traced.discarded == []


def test_a_burst_shares_its_times_while_that_is_quick_and_a_slow_function_has_one_element_at_a_time() -> None:
    """semantics 24.11: each stay begins when the one before has ended, and none is long by what others took."""

    def work(element: TextElement) -> TextElement:
        traced.now += 1.0 if element.text == "slow" else 1e-6
        return element

    traced = _Traced(work, sends=OUTCOME)
    for number in range(40):
        traced.send.try_send(TextElement("slow" if number >= 31 else "quick"))
    assert traced.line.move() is None
    ways = traced.ways()
    assert [way[0] for way in ways] == list(range(40))
    lasted = [round(gone - taken, 3) for _, taken, gone, _ in ways]
    assert lasted[:31] == [0.0] * 31
    assert lasted[31:] == [9.0] * 9  # it was quick before, so these were taken together
    for _ in range(5):
        traced.send.try_send(TextElement("slow"))
    assert traced.line.move() is None
    assert [round(gone - taken, 3) for _, taken, gone, _ in traced.ways()] == [1.0] * 5


@pytest.mark.parametrize("sends", [OUTCOME, True, None])
def test_what_fails_in_a_burst_leaves_every_way_where_its_element_is(sends: object) -> None:
    """semantics 16.7, 24.10: what came before it has gone on, what comes after it is still there, with the records of both."""

    def fail(element: TextElement) -> object:
        if element.text == "3":
            raise ValueError("the fourth")
        return element if sends is OUTCOME else sends

    traced = _Traced(fail, sends)
    for number in range(6):
        traced.send.try_send(TextElement(str(number)))
    with pytest.raises(ValueError, match="the fourth"):
        traced.line.move()
    assert [way[0] for way in traced.ways()] == [0, 1, 2]
    source: Any = traced.line.source.backlog
    assert [one.text for one in source] == ["4", "5"]
    assert [record[0] for record in source.records] == [4, 5]


_SAME = TextElement("x")

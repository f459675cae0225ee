"""Chains of functions whose edges have lanes: bursts go through them as long as one lane is in use."""

from __future__ import annotations

from typing import Any

import pytest
from anyio import wait_all_tasks_blocked
from hypothesis import given
from hypothesis import strategies as st

from streamflow import MapStage, Pipeline, PipelineBuilder, PipelineConfig, Priority, TextElement, TurnEnd
from streamflow.channels import Line


def _chain(*functions: Any, capacity: int = 16) -> Pipeline:
    config = PipelineConfig(priority=True, buffer_size=capacity)
    stages = [MapStage(function, name=f"s{number}") for number, function in enumerate(functions)]
    return PipelineBuilder(config).chain(*stages).build()


def _same(element: TextElement) -> TextElement:
    return element


@given(
    urgency=st.lists(st.sampled_from(Priority), max_size=60),
    changes=st.dictionaries(st.integers(0, 59), st.sampled_from(Priority), max_size=6),
    capacity=st.sampled_from((4, 5, 16)),
    pauses=st.sets(st.integers(0, 59), max_size=8),
)
async def test_nothing_is_lost_and_lanes_keep_their_order(
    urgency: list[Priority], changes: dict[int, Priority], capacity: int, pauses: set[int]
) -> None:
    """semantics 2.6, 16.7: whatever is urgent when, and whatever functions make of it; each lane leaves in its order."""

    def change(element: TextElement) -> TextElement:
        new = changes.get(int(element.text))
        return element if new is None else TextElement(element.text, priority=new)

    elements = [TextElement(str(number), priority=one) for number, one in enumerate(urgency)]
    got: list[TextElement] = []
    async with _chain(_same, change, _same, capacity=capacity).execute(elements) as run:
        async for element in run:
            if isinstance(element, TextElement):
                got.append(element)
                if len(got) in pauses:
                    await wait_all_tasks_blocked()
    assert sorted(int(one.text) for one in got) == list(range(len(elements)))
    for lane in Priority:
        unchanged = [int(one.text) for one in got if one.priority is lane and int(one.text) not in changes]
        assert unchanged == sorted(unchanged)


async def test_what_is_urgent_passes_what_waits_though_nobody_reads() -> None:
    """semantics 2.9: a chain that waits for room behind lets it through at once, past all that waits on each edge."""
    async with _chain(_same, _same, _same).execute() as run:
        for number in range(45):
            await run.send(TextElement(str(number)))
        await wait_all_tasks_blocked()
        await run.send(TextElement("stop!", priority=Priority.CRITICAL))
        await wait_all_tasks_blocked()
        run.close_input()
        texts = [one.text async for one in run if isinstance(one, TextElement)]
    assert texts == ["stop!", *map(str, range(45))]


async def test_what_a_function_sends_in_a_burst_finds_its_place() -> None:
    """semantics 2.6, 16.6: it passes what waits, and nothing that the burst has in hand."""
    made: list[str] = []
    texts: list[str] = []

    def interject(element: TextElement) -> TextElement:
        made.append(element.text)
        if element.text == "3":
            with pytest.raises(StopIteration):  # it has not waited
                run.send(TextElement("stop!", priority=Priority.CRITICAL)).send(None)
        return element

    async with _chain(interject).execute() as run:
        for number in range(10):
            await run.send(TextElement(str(number)))
        async for one in run:
            if isinstance(one, TextElement):
                texts.append(one.text)
            if len(texts) == 11:
                run.close_input()
    assert made == ["0", "1", "2", "3", "stop!", *map(str, range(4, 10))]
    assert sorted(texts) == sorted(made)


async def test_control_is_a_fence_for_bursts_too() -> None:
    """semantics 2.6: what is urgent does not pass the end of a turn, however much of the turn a chain has in hand."""
    elements = [
        *(TextElement(str(number)) for number in range(5)),
        TurnEnd(),
        TextElement("!", priority=Priority.CRITICAL),
    ]
    got = [one async for one in _chain(_same, _same).execute(elements)]
    texts = [one.text if isinstance(one, TextElement) else type(one).__name__ for one in got]
    assert texts == [*map(str, range(5)), "TurnEnd", "!", "EndOfStream"]


async def test_a_source_that_is_pulled_gives_what_has_a_place_of_its_own() -> None:
    """semantics 2.6, 16.5: a lane that is full holds up no element of another, as if the source had a task."""
    elements = [*(TextElement(str(number)) for number in range(13)), TextElement("!", priority=Priority.CRITICAL)]
    got = [
        one.text async for one in _chain(_same).execute([*elements, TextElement("13")]) if isinstance(one, TextElement)
    ]
    assert got == ["!", *map(str, range(14))]


async def test_bursts_go_on_when_one_lane_is_in_use_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """semantics 16.7: what was urgent once costs nothing for ever."""
    moved = 0
    original = Line.move

    def move(line: Line) -> Any:
        nonlocal moved
        moved += 1
        return original(line)

    elements = [TextElement(str(number)) for number in range(200)]
    elements[20] = TextElement("!", priority=Priority.HIGH)
    monkeypatch.setattr(Line, "move", move)
    got = [one async for one in _chain(_same, _same).execute(elements) if isinstance(one, TextElement)]
    assert len(got) == 200
    assert moved < 2 * 200 / 4

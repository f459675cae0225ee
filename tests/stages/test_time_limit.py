"""`TimeoutStage`: what is too late, to the moment, and who was slow. What all stages keep is in `tests/contracts`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timed import timed

from streamflow import (
    ConfigError,
    ErrorElement,
    Event,
    FlatMapStage,
    PipelineBuilder,
    PipelineConfig,
    StageError,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
    TurnStart,
    stage,
)
from streamflow.errors import StageTimeLimitError
from streamflow.stages import TimeoutStage
from streamflow.testing import run_stage

END = TurnEnd()


async def after(element: TextElement) -> AsyncIterator[TextElement]:
    """Send a result after each of the waits that the text lists."""
    for wait in element.text.split():
        await anyio.sleep(float(wait))
        yield TextElement(wait)


def waits(name: str = "slow") -> FlatMapStage:
    return FlatMapStage(after, name=name)


async def failure_of(limits: dict[str, float], text: str) -> tuple[StageTimeLimitError, float]:
    begun = anyio.current_time()
    with pytest.raises(StageError) as caught:
        await run_stage(TimeoutStage(waits(), **limits), [text])
    assert isinstance(caught.value.__cause__, StageTimeLimitError)
    return caught.value.__cause__, anyio.current_time() - begun


@pytest.mark.parametrize(
    ("limits", "text", "kind", "at"),
    [
        ({"first_s": 2}, "3", "first", 2),
        ({"between_s": 2}, "9 1 3", "between", 12),
        ({"total_s": 4}, "1 1 1 1.5", "total", 4),
        ({"first_s": 2, "between_s": 3, "total_s": 4}, "1 2 2", "total", 4),
        ({"first_s": 2, "total_s": 2}, "3", "first", 2),
    ],
)
async def test_each_limit_is_kept_to_the_moment_and_named(
    limits: dict[str, float], text: str, kind: str, at: float
) -> None:
    """semantics 3.8: at its exact time and not a tick earlier, with the stage, the limit and which one it was."""
    error, ended = await failure_of(limits, text)

    assert (error.stage, error.kind, error.limit_s) == ("timeout/slow", kind, limits[f"{kind}_s"])
    assert ended == at


async def test_what_is_in_time_goes_through_and_each_unit_has_its_own_time() -> None:
    """semantics 3.8: from absolute time of each unit: what one took is not taken from the next; waiting for input is free."""
    stage = TimeoutStage(waits(), first_s=2, between_s=3, total_s=5)

    got = await timed(stage, [(0, "1.5 2.5"), (10, "1.5 2.5"), (100, "1")])

    assert [at for at, _ in got] == [1.5, 4, 11.5, 14, 101]


@given(
    st.lists(st.sampled_from([0.5, 1.5, 2.5]), max_size=6),
    st.sampled_from([None, 1, 2]),
    st.sampled_from([None, 1, 2, 3, 4]),
)
async def test_it_fires_exactly_when_a_wait_is_longer_than_it_may_be(
    gaps: list[float], between: float | None, total: float | None
) -> None:
    """semantics 3.8: an independent reckoning of which limit is passed first, and when; everything before it is sent."""
    now, expected, late = 0.0, [], None
    for number, gap in enumerate(gaps):
        limits = [now + (between if number and between else 1e9), total or 1e9]
        if now + gap >= min(limits):
            late = min(limits)
            break
        now += gap
        expected.append(now)
    stage = TimeoutStage(waits(), between_s=between, total_s=total or 1e9, on_timeout="end_turn")

    got = await timed(stage, [(0, " ".join(map(str, gaps)) or " ")])

    assert [at for at, one in got if isinstance(one, TextElement)] == expected
    assert [at for at, one in got if isinstance(one, ErrorElement)] == ([] if late is None else [late])


async def test_a_slow_reader_is_not_the_stages_fault() -> None:
    """semantics 3.8: while the output is full the clock stands still."""
    stage = TimeoutStage(waits(), first_s=2, between_s=2, total_s=6)

    got = await timed(stage, [(0, "1 1 1 1 1")], capacity=1, slow_s=50)

    assert [one.text for _, one in got if isinstance(one, TextElement)] == ["1"] * 5


@stage(kind=StageKind.ACCUMULATE, name="model")
async def model(stream: AsyncIterator[TextElement | TurnEnd]) -> AsyncIterator[StreamElement]:
    """Begin a turn at once, then take a second for each text of it."""
    held: list[TextElement] = []
    async for element in stream:
        if isinstance(element, TextElement):
            held.append(element)
            continue
        yield TurnStart()
        for one in held:
            await anyio.sleep(float(one.text))
            yield one
        held.clear()
        yield element


async def test_control_is_no_first_element() -> None:
    """semantics 3.8: a model stage that says `TurnStart` at once has said nothing yet."""
    with pytest.raises(StageError, match="'timeout/model' gave no element of data within 2 s; raise first_s"):
        await run_stage(TimeoutStage(model, first_s=2), ["3", TextElement("1"), END])


async def test_a_turn_can_end_with_its_timeout_and_the_next_one_go_on() -> None:
    """semantics 3.8: `end_turn`: what was sent stays, an error element and the turn's end stand for the rest; events tell of it."""
    told: list[dict[str, object]] = []

    def note(event: Event) -> None:
        if event.name == "timeout.exceeded":
            told.append(dict(event.data))

    builder = PipelineBuilder(PipelineConfig(timeout_s=60)).on_event(note)
    pipeline = builder.chain(TimeoutStage(model, between_s=2, on_timeout="end_turn", name="limit")).build()
    items = [*map(TextElement, ("1", "1", "5", "1")), END, TextElement("1"), END]

    got = (await pipeline.run(items)).elements

    assert [type(one).__name__ for one in got] == [
        *("TurnStart", "TextElement", "TextElement", "ErrorElement", "TurnEnd"),
        *("TurnStart", "TextElement", "TurnEnd"),
    ]
    error, end, last = got[3], got[4], got[-1]
    assert isinstance(error, ErrorElement)
    assert (error.code, error.stage, error.retryable, error.fatal) == ("timeout", "limit", True, False)
    assert isinstance(end, TurnEnd)
    assert (end.stop_reason, end.index) == ("error", 0)
    assert isinstance(last, TurnEnd)
    assert (last.stop_reason, last.index) == ("stop", 1)
    assert told == [{"stage": "limit/model", "kind": "between", "limit_s": 2}]


async def test_it_does_not_wait_for_one_that_unwinds_slowly() -> None:
    """semantics 3.8: the error comes at its time; the run ends once the stage has unwound."""
    unwound: list[float] = []

    async def slow_to_leave(element: TextElement) -> TextElement:
        try:
            await anyio.sleep(100)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(7)
            unwound.append(anyio.current_time())
        return element

    begun = anyio.current_time()
    got = await timed(TimeoutStage(slow_to_leave, total_s=2, on_timeout="end_turn"), [(0, "a")])

    assert [(at, type(one)) for at, one in got] == [(2, ErrorElement)]
    assert unwound == [begun + 9]


async def test_the_end_of_the_input_has_limits_too() -> None:
    """semantics 3.8: what a stage still says behind the last element is a unit of its own."""

    async def late_words(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for _ in stream:
            pass
        await anyio.sleep(3)
        yield TextElement("last")

    assert await run_stage(TimeoutStage(late_words, total_s=4), ["a"]) == [TextElement("last")]
    with pytest.raises(StageError, match="'timeout/late_words' was not done within 2 s"):
        await run_stage(TimeoutStage(late_words, total_s=2), ["a"])


def test_it_needs_a_limit_and_right_ones() -> None:
    """styleguide 3: a wrong argument fails in the constructor, by the name of its field."""
    for limits, field in (
        ({}, "first_s"),
        ({"first_s": 0}, "first_s"),
        ({"total_s": -1}, "total_s"),
        ({"between_s": "1"}, "between_s"),
    ):
        with pytest.raises(ConfigError) as caught:
            TimeoutStage(model, **limits)  # type: ignore[arg-type]
        assert caught.value.field == field

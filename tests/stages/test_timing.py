"""Stages that make elements wait, or leave them out, by the clock. What all stages keep is in `tests/contracts`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from timed import at_their_times, timed

from streamflow import (
    AudioElement,
    ConfigError,
    ErrorElement,
    Event,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    StreamElement,
    TextElement,
    TurnEnd,
)
from streamflow.channels import open_channel
from streamflow.stages import DebounceStage, DelayStage, ThrottleStage
from streamflow.stages._deadlines import next_until
from streamflow.testing import CancelMode, EdgeLedger, Outcome, assert_all_stages_stopped, cancel_sweep, run_stage

SOUND, END, BAD = AudioElement(b""), TurnEnd(), ErrorElement("code", "message", "elsewhere")

capacities = st.sampled_from([1, 2, 16])
gaps = st.lists(st.integers(0, 4), max_size=12)


def numbered(gaps: Iterable[int]) -> list[tuple[float, StreamElement | str]]:
    """Return a timetable of texts that say their number."""
    now = 0
    schedule: list[tuple[float, StreamElement | str]] = []
    for number, gap in enumerate(gaps):
        now += gap
        schedule.append((now, str(number)))
    return schedule


def said(left: Iterable[tuple[float, StreamElement]]) -> list[tuple[float, object]]:
    return [(at, one.text if isinstance(one, TextElement) else one) for at, one in left]


# Waiting for an element no longer than it takes


async def test_an_element_that_is_there_too_late_stays_where_it_is() -> None:
    """`next_until`: behind a source that is always ahead no wait ever begins, so the clock alone decides."""
    send, receive = open_channel()
    await send.send("a")
    now = anyio.current_time()

    assert await next_until(receive, now) is None
    assert receive.statistics().buffered == 1
    assert await next_until(receive, now + 1) == "a"


async def test_a_wait_ends_at_its_time_and_takes_nothing() -> None:
    """`next_until`: at the exact time; what comes later is there for the next call, and so is the end."""
    send, receive = open_channel()
    begun = anyio.current_time()

    assert await next_until(receive, begun + 2.5) is None
    assert anyio.current_time() == begun + 2.5
    await send.send("a")
    assert await next_until(receive, None) == "a"
    send.close()
    for deadline in (None, begun + 99):
        with pytest.raises(anyio.EndOfStream):
            await next_until(receive, deadline)


# Debounce


async def test_only_the_last_of_a_burst_leaves_when_it_is_quiet() -> None:
    """`DebounceStage` — Flow.emits: `quiet_s` after the last one, on `TurnEnd`, and at the end without waiting."""
    schedule = [(0, "a"), (2, "b"), (4, "c"), (10, "d"), (13.5, "e"), (14, END), (20, END), (21, "f"), (22, "g")]

    got = await timed(DebounceStage(3), schedule)

    assert said(got) == [(7, "c"), (13, "d"), (14, "e"), (14, END), (20, END), (22, "g")]


@given(gaps=gaps, quiet_s=st.sampled_from([0.5, 1.5, 2.5, 3.5]), capacity=capacities)
async def test_debounce_sends_what_is_followed_by_quiet_and_nothing_else(
    gaps: list[int], quiet_s: float, capacity: int
) -> None:
    """`DebounceStage`: an element leaves if nothing follows it for `quiet_s`, at that time; the last one always."""
    schedule = numbered(gaps)
    later = [at for at, _ in schedule[1:]]

    got = await timed(DebounceStage(quiet_s), schedule, capacity=capacity)

    expected = [(at + quiet_s, one) for (at, one), after in zip(schedule, later, strict=False) if at + quiet_s < after]
    assert said(got) == expected + schedule[-1:]


@pytest.mark.parametrize("capacity", [1, 2, 16])
@pytest.mark.parametrize(
    ("bypass", "expected"),
    [
        ("late", [(0, BAD), (5, "b"), (5, SOUND), (5, BAD), (9, END)]),
        ("early", [(0, BAD), (1.5, SOUND), (3, BAD), (5, "b"), (9, END)]),
    ],
)
async def test_other_elements_leave_behind_the_one_that_was_held(bypass, expected, capacity: int) -> None:
    """`DebounceStage` — Args.bypass: late, as soon as nothing is held that came before; early, at once."""
    schedule = [(0, BAD), (1, "a"), (1.5, SOUND), (2, "b"), (3, BAD), (9, END)]

    got = await timed(DebounceStage(3, accepts=TextElement, bypass=bypass), schedule, capacity=capacity)

    assert said(got) == expected


# Throttle


@given(gaps=gaps, count=st.integers(1, 4), per_s=st.sampled_from([1, 2.5, 6]), capacity=capacities)
@example(gaps=[0] * 9, count=3, per_s=1, capacity=16)
async def test_a_throttle_that_waits_loses_nothing_and_lets_each_leave_as_soon_as_it_may(
    gaps: list[int], count: int, per_s: float, capacity: int
) -> None:
    """`ThrottleStage`: at most `count` in any `per_s`, in order, and not a moment later than that needs."""
    schedule = numbered(gaps)

    got = await timed(ThrottleStage(count, per_s), schedule, capacity=capacity)
    times = [at for at, _ in got]

    assert [one.text for _, one in got] == [text for _, text in schedule]
    for number, (came, _) in enumerate(schedule):
        may = times[number - count] + per_s if number >= count else 0
        before = times[number - 1] if number else 0
        assert times[number] == max(came, may, before)


@given(gaps=gaps, count=st.integers(1, 4), per_s=st.sampled_from([1, 2.5, 6]), capacity=capacities)
async def test_a_throttle_that_drops_never_waits_and_tells_what_it_dropped(
    gaps: list[int], count: int, per_s: float, capacity: int
) -> None:
    """`ThrottleStage` — Args.mode: what is over the limit is dropped, and every drop is in exactly one event."""
    schedule = numbered(gaps)
    kept: list[tuple[float, str]] = []
    for at, text in schedule:
        if len(kept) < count or at >= kept[-count][0] + per_s:
            kept.append((at, text))
    events: list[Event] = []
    pipeline = (
        PipelineBuilder(PipelineConfig(buffer_size=capacity))
        .chain(ThrottleStage(count, per_s, mode="drop"))
        .on_event(events.append)
        .build()
    )

    result = await pipeline.run(at_their_times(schedule))

    assert [one.text for one in result.elements] == [text for _, text in kept]
    told = [event.data for event in events if event.name == "throttle.dropped"]
    assert sum(one["count"] for one in told) == len(schedule) - len(kept)
    assert [one["total"] for one in told] == [sum(each["count"] for each in told[: n + 1]) for n in range(len(told))]
    assert all(one["count"] > 0 for one in told)


async def test_a_row_of_drops_is_one_event_at_its_end() -> None:
    """`ThrottleStage` — Args.mode: a flood of drops is no flood of events; the last row is told however the run ends."""
    events: list[tuple[float, object]] = []

    def note(event: Event) -> None:
        if event.name == "throttle.dropped":
            events.append((anyio.current_time() - begun, dict(event.data)))

    pipeline = PipelineBuilder().chain(ThrottleStage(1, 5, mode="drop")).on_event(note).build()
    schedule = [(0, "a"), (1, "b"), (2, "c"), (6, "d"), (7, "e"), (100, "f")]
    begun = anyio.current_time()
    async with pipeline.execute(at_their_times(schedule)) as run:
        assert (await anext(run)).text == "a"
        assert (await anext(run)).text == "d"
        await anyio.sleep(2)

    assert events == [(6, {"count": 2, "total": 2}), (8, {"count": 1, "total": 3})]


async def test_what_is_not_counted_passes_a_throttle_in_order() -> None:
    """semantics 3.3: control and other data are not limited, and do not overtake what waits."""
    schedule = [(0, "a"), (1, "b"), (1, BAD), (2, SOUND), (2, "c"), (3, END)]

    got = await timed(ThrottleStage(1, 10, accepts=TextElement), schedule)

    assert said(got) == [(0, "a"), (10, "b"), (10, BAD), (10, SOUND), (20, "c"), (20, END)]


async def test_a_throttle_counts_when_elements_leave_and_not_when_they_come() -> None:
    """`ThrottleStage`: the span of an element that had to wait for room begins when the edge has taken it, so no burst follows."""
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(ThrottleStage(1, 3)).build()
    begun, got = anyio.current_time(), []
    async with pipeline.execute(at_their_times([(0, letter) for letter in "abcde"])) as run:
        async for element in run:
            if isinstance(element, TextElement):
                got.append((anyio.current_time() - begun, element.text))
            if len(got) == 1:
                await anyio.sleep(20)

    assert got == [(0, "a"), (20, "b"), (20, "c"), (23, "d"), (26, "e")]  # "b" was in the edge, "c" waited for room


async def test_a_throttle_that_waits_slows_its_source() -> None:
    """`ThrottleStage` — Flow.backpressures: it holds one element, whatever there is."""
    given = 0

    def endless() -> Iterator[str]:
        nonlocal given
        while True:
            given += 1
            yield "x"

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=2)).chain(ThrottleStage(2, 10)).build()
    async with pipeline.execute(endless()) as run:
        for _ in range(6):
            await anext(run)
        assert given <= 6 + pipeline.max_in_flight


# Delay


@given(gaps=gaps, delay_s=st.sampled_from([0.5, 2, 7.5]), capacity=capacities)
async def test_each_element_leaves_at_its_own_time(gaps: list[int], delay_s: float, capacity: int) -> None:
    """`DelayStage`: order is kept, nothing is lost, and the time between elements is what it was."""
    schedule = numbered(gaps)

    got = await timed(DelayStage(delay_s), schedule, capacity=capacity)

    assert said(got) == [(at + delay_s, text) for at, text in schedule]


async def test_control_is_delayed_with_the_rest() -> None:
    """`DelayStage`: ends of turns and errors keep their place, and their distance."""
    schedule = [(0, "a"), (1, BAD), (2, END), (2, SOUND), (3, "b")]

    got = await timed(DelayStage(10), schedule)

    assert said(got) == [(10, "a"), (11, BAD), (12, END), (12, SOUND), (13, "b")]


async def test_a_delay_holds_no_more_than_it_says() -> None:
    """`DelayStage` — Flow.backpressures: with `max_held` elements inside, nothing more is taken until one has left."""
    given: list[float] = []

    async def source() -> AsyncIterator[str]:
        for number in range(6):
            given.append(anyio.current_time() - begun)
            yield str(number)

    begun = anyio.current_time()
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(DelayStage(10, max_held=2)).build()
    left = []
    async with pipeline.execute(source()) as run:
        async for _ in run:
            left.append(anyio.current_time() - begun)

    assert left == [10, 10, 20, 20, 30, 30, 30]  # the last is the end
    assert given == [0, 0, 0, 0, 10, 10]  # two inside, one in the edge, one in the source's hand
    assert pipeline.max_in_flight == 1 + 2 + 1 + 1


async def test_behind_a_slow_consumer_the_time_of_an_element_begins_when_there_is_room_for_it() -> None:
    """`DelayStage`: what comes while others are due is taken before they are sent, so that nobody waits for its time twice."""
    got = await timed(DelayStage(20, max_held=4), [(0, str(n)) for n in range(8)], capacity=1, slow_s=3)

    # Four at 0. "4" and "5" come in at 20, when "0" and "1" leave; then the consumer sets the pace.
    assert [at for at, _ in got] == [20, 23, 26, 29, 40, 43, 46, 49]


# All of them


@pytest.mark.parametrize(
    ("make", "args", "options", "field"),
    [
        (DebounceStage, (0,), {}, "quiet_s"),
        (DebounceStage, ("1",), {}, "quiet_s"),
        (ThrottleStage, (0, 1), {}, "count"),
        (ThrottleStage, (1, 0), {}, "per_s"),
        (ThrottleStage, (1, 1), {"mode": "queue"}, "mode"),
        (DelayStage, (float("inf"),), {}, "delay_s"),
        (DelayStage, (True,), {}, "delay_s"),
        (DelayStage, (1,), {"max_held": 0}, "max_held"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_named_at_once(make: Callable[..., object], args, options, field: str) -> None:
    """styleguide 3: wrong arguments fail in the constructor, with the stage and a way out."""
    with pytest.raises(ConfigError, match=r"stage '\w+': give ") as caught:
        make(*args, **options)

    assert caught.value.field == field


async def test_none_waits_for_the_clock_when_there_is_nothing() -> None:
    """Flow.completes: an empty input ends at once."""
    begun = anyio.current_time()
    for stage in (DebounceStage(5), ThrottleStage(1, 5), DelayStage(5)):
        assert await run_stage(stage) == []

    assert anyio.current_time() == begun


@pytest.mark.parametrize("how", ["scope", "native", "timeout"])
async def test_a_cancelled_run_with_timers_leaves_nothing_behind(how: CancelMode) -> None:
    """semantics 2.3, 5.5: at every tick, where a timer is set or just ringing; what came out by then is the beginning of all."""
    schedule = [(0, "a"), (1, "b"), (1, "c"), (5, "d"), (6, "e")]
    expected = ["a", "c", "d", "e"]
    seen: list[str] = []

    async def scenario() -> list[str]:
        seen.clear()
        with EdgeLedger() as ledger:
            pipeline = (
                PipelineBuilder(PipelineConfig(buffer_size=1))
                .chain(DelayStage(1, max_held=2), DebounceStage(0.75), ThrottleStage(1, 2), PassthroughStage())
                .build()
            )
            async with pipeline.execute(at_their_times(schedule)) as run:
                async for element in run:
                    if isinstance(element, TextElement):
                        seen.append(element.text)
        ledger.check()
        return seen

    def check(outcome: Outcome[list[str]]) -> None:
        assert seen == expected[: len(seen)]
        assert outcome.cancelled or seen == expected

    report = await cancel_sweep(scenario, how=how, check=check)
    assert report.skipped or (report.completed and report.ticks > 20)
    await assert_all_stages_stopped()

"""`RateLimitStage`: a token bucket, to the moment. What all stages keep is in `tests/contracts`."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timed import timed

from streamflow import (
    AudioElement,
    ConfigError,
    ErrorElement,
    Event,
    PipelineBuilder,
    PipelineConfig,
    StageError,
    TextElement,
    TurnEnd,
)
from streamflow.stages import RateLimitStage
from streamflow.testing import run_stage

SOUND, END = AudioElement(b""), TurnEnd()


def first_letter(element: TextElement) -> str:
    return element.text[:1]


async def test_a_burst_leaves_at_once_and_the_rest_at_the_rate() -> None:
    """semantics 3.12: a full bucket first, then a token every `per_s / rate`; order is kept, control waits in its place."""
    got = await timed(RateLimitStage(2, 10, burst=3), [(0, str(number)) for number in range(5)] + [(0, END)])

    assert [at for at, _ in got] == [0, 0, 0, 5, 10, 10]
    assert [one.text for _, one in got[:-1] if isinstance(one, TextElement)] == list("01234")


async def test_the_bucket_fills_while_nothing_comes_and_never_above_its_size() -> None:
    """semantics 3.12: after a rest there is a burst again, and not a larger one."""
    schedule: list[tuple[float, str]] = [*[(0, "a")] * 2, *[(100, "b")] * 3]

    got = await timed(RateLimitStage(1, 4, burst=2), schedule)

    assert [at for at, _ in got] == [0, 0, 100, 100, 104]


async def test_what_has_no_token_can_be_refused() -> None:
    """semantics 3.12: an error element takes its place, and says when to try again; it takes no token."""
    told: list[object] = []

    def note(event: Event) -> None:
        if event.name == "rate_limit.rejected":
            told.append(event.data["retry_after_s"])

    outer = RateLimitStage(1, 10, mode="reject")
    pipeline = PipelineBuilder(PipelineConfig(timeout_s=60)).on_event(note).chain(outer).build()

    first, refused, again = (await pipeline.run(["a", "b", "c"])).elements
    assert first == TextElement("a")
    assert isinstance(refused, ErrorElement)
    assert (refused.code, refused.retryable, refused.fatal) == ("rate_limited", True, False)
    assert isinstance(again, ErrorElement)
    assert told == [10, 10]
    await anyio.sleep(10)
    assert (await pipeline.run("d")).text == "d"


async def test_each_key_has_a_bucket_of_its_own() -> None:
    """semantics 3.12: by a function, sync or async, and its annotation says what is limited at all."""

    async def later(element: TextElement) -> str:
        await anyio.lowlevel.checkpoint()
        return first_letter(element)

    for key in (first_letter, later):
        got = await timed(RateLimitStage(1, 10, key=key), [(0, "a1"), (0, "b1"), (0, SOUND), (0, "a2"), (0, "b2")])
        assert [at for at, _ in got] == [0, 0, 0, 10, 10]


async def test_all_runs_of_a_stage_share_its_buckets() -> None:
    """semantics 3.12: a rate is what a service allows, not a run; what was taken by one that is cancelled is given back."""
    outer = RateLimitStage(1, 10)
    begun = anyio.current_time()
    await run_stage(outer, ["a"])
    with anyio.move_on_after(3):
        await run_stage(outer, ["b"])
    await run_stage(outer, ["c"])
    assert anyio.current_time() - begun == 10


async def test_buckets_that_are_full_are_forgotten() -> None:
    """semantics 3.12, 5.4: memory is bounded by `max_keys`; forgetting a full bucket changes nothing."""
    outer = RateLimitStage(1, 1, key=first_letter, max_keys=2)
    got = await timed(outer, [(0, "a"), (0, "b"), (2, "c"), (2, "a"), (2, "c")])
    assert [at for at, _ in got] == [0, 0, 2, 2, 3]
    assert len(outer._buckets._full_s) <= 2

    crowded = RateLimitStage(1, 10, key=first_letter, max_keys=2)
    got = await timed(crowded, [(0, "a"), (1, "b"), (2, "c"), (3, "a"), (3, "c")])
    assert [at for at, _ in got] == [0, 1, 2, 3, 12]


async def test_what_is_no_key_is_a_clear_error() -> None:
    """semantics 3.12: it names the stage and says a way out."""
    outer = RateLimitStage(1, key=lambda element: [element], accepts=TextElement)  # type: ignore[arg-type, return-value]
    with pytest.raises(
        StageError, match=r"'rate_limit'.*cannot be hashed, and so is not a key; let key= return a text"
    ):
        await run_stage(outer, ["a"])


@given(
    st.lists(st.integers(0, 3), max_size=12),
    st.sampled_from([0.5, 1, 2]),
    st.integers(1, 4),
    st.sampled_from([1, 16]),
)
async def test_no_span_of_time_lets_more_through_than_the_bucket_holds(
    gaps: list[int], rate: float, burst: int, capacity: int
) -> None:
    """semantics 3.12: in any span at most `burst + rate * span` leave; and nobody waits longer than that needs."""
    now, schedule = 0, []
    for gap in gaps:
        now += gap
        schedule.append((now, str(len(schedule))))
    got = await timed(RateLimitStage(rate, burst=burst), schedule, capacity=capacity)

    times = [at for at, _ in got]
    assert [one.text for _, one in got if isinstance(one, TextElement)] == [text for _, text in schedule]
    for first, begun in enumerate(times):
        for last in range(first, len(times)):
            assert last - first + 1 <= burst + rate * (times[last] - begun) + 1e-6
    tokens, at = float(burst), 0.0
    for (came, _), left in zip(schedule, times, strict=True):
        ready = max(float(came), at)
        tokens = min(burst, tokens + (ready - at) * rate)
        wait = max(0.0, (1 - tokens) / rate)
        tokens, at = max(tokens, 1) - 1, ready + wait
        assert left == pytest.approx(at)


def test_wrong_options_are_named() -> None:
    """styleguide 3: a wrong argument fails in the constructor, by the name of its field."""
    for options, field in (
        ({"rate": 0}, "rate"),
        ({"rate": "1"}, "rate"),
        ({"rate": 1, "per_s": 0}, "per_s"),
        ({"rate": 1, "burst": 0}, "burst"),
        ({"rate": 1, "mode": "drop"}, "mode"),
        ({"rate": 1, "max_keys": 0}, "max_keys"),
    ):
        with pytest.raises(ConfigError) as caught:
            RateLimitStage(**options)  # type: ignore[arg-type]
        assert caught.value.field == field

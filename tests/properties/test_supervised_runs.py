"""Random failures at random elements under every directive, against a model: what comes out, when, and what is counted."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import AsyncIterator

import anyio
from failing import RefusalError, supervised
from hypothesis import given
from hypothesis import strategies as st

from streamflow import MapAsyncStage, MapUnorderedStage, StageError, Supervision, TextElement, stage

ELEMENTS = 6

failures = st.lists(st.sampled_from([0, 0, 0, 1, 2, 5]), min_size=0, max_size=ELEMENTS)
budgets = st.fixed_dictionaries(
    {
        "attempts": st.integers(1, 4),
        "then": st.sampled_from(["stop", "drop", "dead_letter"]),
        "max_restarts": st.sampled_from([None, 1, 2, 4]),
        "window_s": st.sampled_from([0, 1, 60]),
        "min_backoff_s": st.sampled_from([0, 0.5, 1]),
        "max_backoff_s": st.sampled_from([1, 2, 8]),
        "jitter": st.just(0),
    }
)
in_hand = st.sampled_from(["drop", "redeliver", "dead_letter"])
of_streams = st.builds(
    lambda directive, fate, options: Supervision(
        directive, **{**options, "in_hand": fate if directive == "restart" else "drop"}
    ),
    st.sampled_from(["stop", "restart", "restart", "dead_letter"]),
    in_hand,
    budgets,
)
of_calls = st.builds(
    lambda directive, options: Supervision(directive, **options),
    st.sampled_from(["stop", "resume", "retry", "dead_letter"]),
    budgets,
)


@dataclasses.dataclass
class Expected:
    """What a run must come to."""

    texts: list[str] = dataclasses.field(default_factory=list)
    letters: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    dropped: int = 0
    restarts: int = 0
    retries: int = 0
    asked: int = 0
    failed_at: int | None = None
    attempts: int = 1
    took_s: float = 0.0

    def put_away(self, fate: str, text: str, tries: int) -> None:
        if fate == "dead_letter":
            self.letters.append((text, tries))
        else:
            self.dropped += 1


def model(fails: list[int], how: Supervision, pace_s: float, *, keeps_state: bool) -> Expected:
    """Say what a stage comes to that takes `pace_s` for each try, and numbers the elements that it has sent since it began."""
    told, number, count, began_s = Expected(), 0, 0, 0.0
    for place, times in enumerate(fails):
        tries, text = 0, str(place)
        while True:
            tries += 1
            told.took_s += pace_s
            if tries > times:
                number += 1
                told.texts.append(f"{text}/{number}")
                break
            told.asked += 1
            again = "redeliver" if tries < how.attempts else how.then
            if told.took_s - began_s >= how.window_s:
                count = 0 if how.directive == "restart" else count
            fate = {
                "stop": "stop",
                "restart": again if how.in_hand == "redeliver" else how.in_hand,
                "resume": "drop",
                "retry": again,
                "dead_letter": "dead_letter",
            }[how.directive]
            if how.directive == "restart" and how.max_restarts is not None and count >= how.max_restarts:
                fate = "stop"
            if fate == "stop":
                told.failed_at, told.attempts = place, max(tries, count + 1)
                return told
            if fate != "redeliver":
                told.put_away(fate, text, tries)
            if how.directive == "restart":
                count += 1
                told.restarts += 1
                told.took_s += how.backoff_s(count, 0)
            elif fate == "redeliver":
                told.retries += 1
                told.took_s += how.backoff_s(tries, 0)
            began_s = told.took_s
            number = number if keeps_state else 0
            if fate != "redeliver":
                break
    return told


async def compare(
    one, how: Supervision, expected: Expected, asked: list[Exception], *, count: int, capacity: int
) -> None:
    told = await supervised(one, how, [str(place) for place in range(count)], capacity=capacity, letters=True)

    assert told.texts == expected.texts
    assert [(letter.items[0].text, letter.attempts) for letter in told.letters] == expected.letters
    assert (told.stats.dropped.get("supervision", 0), told.stats.dead_lettered) == (
        expected.dropped,
        len(expected.letters),
    )
    assert (told.stats.restarts, told.stats.retries) == (expected.restarts, expected.retries)
    assert len(asked) == expected.asked
    assert told.took_s == expected.took_s
    if expected.failed_at is None:
        assert told.error is None
    else:
        assert isinstance(told.error, StageError)
        assert (told.error.index, told.error.attempts) == (expected.failed_at, expected.attempts)


def failing_calls(fails: list[int], pace_s: float):
    left = Counter({str(place): times for place, times in enumerate(fails)})

    async def call(element: TextElement) -> None:
        await anyio.sleep(pace_s)
        if left[element.text] > 0:
            left[element.text] -= 1
            raise RefusalError(element.text)

    return call


def asking(how: Supervision) -> tuple[Supervision, list[Exception]]:
    """Return the same with a decider that changes nothing, and what it was asked."""
    asked: list[Exception] = []
    return dataclasses.replace(how, decide=asked.append), asked


@given(fails=failures, how=of_streams, pace_s=st.sampled_from([0, 0.25, 2]), capacity=st.sampled_from([1, 2, 16, 70]))
async def test_a_stage_of_whole_streams_does_what_its_supervision_says(fails, how, pace_s, capacity):
    """semantics 5.7: exact survivors, order, counts, decider calls and waits; a new frame numbers anew."""
    call = failing_calls(fails, pace_s)

    @stage
    async def numbering(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        number = 0
        async for element in stream:
            await call(element)
            number += 1
            yield TextElement(f"{element.text}/{number}")

    watched, asked = asking(how)
    expected = model(fails, how, pace_s, keeps_state=False)
    await compare(numbering, watched, expected, asked, count=len(fails), capacity=capacity)


@given(fails=failures, how=of_calls, pace_s=st.sampled_from([0, 0.25, 2]), capacity=st.sampled_from([1, 2, 16, 70]))
async def test_a_stage_of_single_calls_does_what_its_supervision_says(fails, how, pace_s, capacity):
    """semantics 5.7: what the function has gathered stays, whatever becomes of an element."""
    call, sent = failing_calls(fails, pace_s), [0]

    @stage
    async def numbering(element: TextElement) -> TextElement:
        await call(element)
        sent[0] += 1
        return TextElement(f"{element.text}/{sent[0]}")

    watched, asked = asking(how)
    expected = model(fails, how, pace_s, keeps_state=True)
    await compare(numbering, watched, expected, asked, count=len(fails), capacity=capacity)


@given(
    fails=failures,
    how=of_calls,
    concurrency=st.integers(2, 5),
    capacity=st.sampled_from([1, 3, 16]),
    form=st.sampled_from([MapAsyncStage, MapUnorderedStage]),
)
async def test_several_calls_at_a_time_lose_nothing_that_is_not_said(fails, how, concurrency, capacity, form):
    """semantics 3.5 and 5.7: in order, or with all results where order was not asked for; and all before the failure that stops."""
    call = failing_calls(fails, 1)

    async def numbering(element: TextElement) -> TextElement:
        await call(element)
        return element

    expected = model(fails, how, 1, keeps_state=True)
    one = form(numbering, concurrency=concurrency)
    source = [str(place) for place in range(len(fails))]
    told = await supervised(one, how, source, capacity=capacity, letters=how.may_dead_letter)

    texts = [text.partition("/")[0] for text in expected.texts]
    if expected.failed_at is None:
        assert told.error is None
        assert (told.texts if form is MapAsyncStage else sorted(told.texts)) == texts
        assert sorted(letter.items[0].text for letter in told.letters) == [text for text, _ in expected.letters]
        assert told.stats.retries == expected.retries
        assert told.stats.dropped.get("supervision", 0) == expected.dropped
    else:
        assert isinstance(told.error, StageError)
        if form is MapAsyncStage:
            assert told.texts == texts
            assert told.error.attempts == expected.attempts

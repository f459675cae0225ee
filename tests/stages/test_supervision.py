"""What can be said about failures, and what is refused at once."""

from __future__ import annotations

import dataclasses

import pytest

from streamflow import BaseStage, ConfigError, MapStage, PassthroughStage, Supervision, TextElement, stage
from streamflow.stages import MapAsyncStage, MapUnorderedStage, ThreadStage, as_stage


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"directive": "explode"}, "directive"),
        ({"directive": None}, "directive"),
        ({"directive": ["restart"]}, "directive"),
        ({"in_hand": "keep"}, "in_hand"),
        ({"then": "restart"}, "then"),
        ({"between": "lose"}, "between"),
        ({"on": ValueError("x")}, "on"),
        ({"on": ()}, "on"),
        ({"on": (OSError, KeyboardInterrupt)}, "on"),
        ({"decide": "stop"}, "decide"),
        ({"attempts": 0}, "attempts"),
        ({"attempts": True}, "attempts"),
        ({"max_restarts": 0}, "max_restarts"),
        ({"max_restarts": 1.5}, "max_restarts"),
        ({"window_s": -1}, "window_s"),
        ({"window_s": float("inf")}, "window_s"),
        ({"window_s": float("nan")}, "window_s"),
        ({"min_backoff_s": "1"}, "min_backoff_s"),
        ({"min_backoff_s": 40}, "max_backoff_s"),
        ({"factor": 0.5}, "factor"),
        ({"jitter": 1.5}, "jitter"),
        ({"jitter": -0.1}, "jitter"),
        ({"seed": "x"}, "seed"),
        ({"rest_for_one": 1}, "rest_for_one"),
        ({"between": "drop"}, "between"),
        ({"directive": "resume", "in_hand": "redeliver"}, "in_hand"),
        ({"directive": "retry", "rest_for_one": True}, "rest_for_one"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(options, field) -> None:
    """semantics 11.2: bad parameters fail at construction, each with its field."""
    with pytest.raises(ConfigError) as caught:
        Supervision(**{"directive": "restart", **options})
    assert caught.value.field == field


def test_an_async_decider_is_refused() -> None:
    """`Supervision(decide=)`: it is asked where nothing can be awaited."""

    async def decide(error: Exception) -> None:
        raise AssertionError

    with pytest.raises(ConfigError, match="write 'def'"):
        Supervision(decide=decide)


def test_it_is_a_value_that_cannot_change() -> None:
    """`Supervision`: runs share it."""
    how = Supervision("restart", max_restarts=3)

    assert how == Supervision("restart", max_restarts=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        how.attempts = 4


def test_waits_grow_up_to_their_bound_and_chance_only_shortens_them() -> None:
    """semantics 5.7: `min * factor ** (n - 1)`, at most `max`; a huge number is no error."""
    how = Supervision("restart", min_backoff_s=0.5, max_backoff_s=5, factor=3, jitter=0.5)

    assert [how.backoff_s(number, 0) for number in (1, 2, 3, 4, 10_000)] == [0.5, 1.5, 4.5, 5, 5]
    assert how.backoff_s(2, 0.5) == pytest.approx(1.5 * 0.75)
    assert Supervision("restart", min_backoff_s=0).backoff_s(10_000, 0) == 0


@pytest.mark.parametrize(
    ("how", "may"),
    [
        (Supervision("dead_letter"), True),
        (Supervision("restart", in_hand="dead_letter"), True),
        (Supervision("restart", in_hand="redeliver", then="dead_letter"), True),
        (Supervision("retry", then="dead_letter"), True),
        (Supervision("restart", then="dead_letter"), False),
        (Supervision("resume"), False),
        (Supervision(), False),
    ],
)
def test_it_knows_whether_it_makes_dead_letters(how: Supervision, may: bool) -> None:
    """`build()` asks for somebody who takes them then."""
    assert how.may_dead_letter is may


def test_what_is_written_down_is_what_differs() -> None:
    """`to_dict()`: code is no data."""
    how = Supervision("restart", on=OSError, max_restarts=None, seed=3)

    assert how.to_dict() == {"directive": "restart", "max_restarts": None, "seed": 3}
    assert how.has_code
    assert not Supervision("restart").has_code


def work(element: TextElement) -> TextElement:
    return element


async def call(element: TextElement) -> TextElement:
    return element


class Own(MapStage):
    async def process(self, input, output) -> None:
        raise AssertionError


class Plain(BaseStage):
    async def process(self, input, output) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("one", "calls"),
    [
        (work, "one"),
        (stage(call), "one"),
        (MapStage(work), "one"),
        (MapAsyncStage(call, concurrency=1), "one"),
        (MapAsyncStage(call, concurrency=2), "several"),
        (MapUnorderedStage(call, concurrency=2), "several"),
        (ThreadStage(work), "one"),
        (ThreadStage(work, concurrency=2), "several"),
        (Own(work), "none"),
        (Plain, "none"),
        (PassthroughStage("p"), "one"),
    ],
    ids=[
        "function",
        "async function",
        "map",
        "map_async",
        "map_async 2",
        "unordered 2",
        "thread",
        "thread 2",
        "own",
        "plain",
        "pass",
    ],
)
def test_a_stage_says_whether_one_element_is_one_call(one, calls) -> None:
    """semantics 5.7: known of what this library runs itself, and of nothing else."""
    assert as_stage(one).calls == calls

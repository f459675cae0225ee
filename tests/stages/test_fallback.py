"""`FallbackStage` and `RetryStage`: who answers in whose place, how often, and that nothing is ever said twice."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Iterable

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    BaseStage,
    BuildError,
    ConfigError,
    ErrorElement,
    Event,
    Message,
    MessageElement,
    PipelineBuilder,
    PipelineConfig,
    StageError,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
    TurnReset,
    TurnStart,
    UsageElement,
    stage,
)
from streamflow.elements import Usage
from streamflow.errors import FallbackExhaustedError, ProviderError
from streamflow.providers import ProviderStage, Rule, ScriptedProvider
from streamflow.stages import FallbackStage, RetryStage, StageLike, TimeoutStage, as_stage
from streamflow.testing import run_stage

END = TurnEnd()
BUSY = ProviderError("overloaded", "the model is busy", retryable=True)


class BoomError(Exception):
    """What an inner stage of these tests raises."""


class Answering:
    """An inner stage that does what its script says, a step for each turn: a number of texts, then success or failure."""

    def __init__(self, name: str, script: Iterable[tuple[int, Exception | None]]) -> None:
        self.name = name
        self.script = iter(script)
        self.asked: list[list[str]] = []

    def as_stage(self) -> StageLike:
        @stage(kind=StageKind.ACCUMULATE, name=self.name, max_held=9)
        async def answer(stream: AsyncIterator[TextElement | TurnEnd]) -> AsyncIterator[StreamElement]:
            texts: list[str] = []
            async for element in stream:
                if isinstance(element, TextElement):
                    texts.append(element.text)
                    continue
                self.asked.append(texts)
                texts = []
                count, failure = next(self.script, (1, None))
                yield TurnStart()
                for number in range(count):
                    yield TextElement(f"{self.name}{number}")
                if failure is not None:
                    raise failure
                yield UsageElement(Usage(model=self.name), final=True)
                yield element

        return answer


def kinds(elements: Iterable[StreamElement]) -> list[str]:
    return [one.text if isinstance(one, TextElement) else type(one).__name__ for one in elements]


def turns(*texts: str) -> list[StreamElement]:
    return [one for text in texts for one in (TextElement(text), END)]


async def events_of(outer: BaseStage, source: list[StreamElement]) -> list[tuple[str, dict[str, object]]]:
    told: list[tuple[str, dict[str, object]]] = []

    def note(event: Event) -> None:
        if event.name.startswith(("fallback.", "retry.")):
            told.append((event.name, dict(event.data)))

    builder = PipelineBuilder(PipelineConfig(timeout_s=600)).on_event(note)
    await builder.chain(outer).build().run(source)
    return told


# Fallback


async def test_the_next_one_answers_the_same_question_and_no_trace_is_left() -> None:
    """semantics 3.10: it gets the very same unit; control of the try that failed before any data is dropped with it."""
    first, second = Answering("a", [(0, BoomError())]), Answering("b", [(2, None)])
    outer = FallbackStage(first.as_stage(), second.as_stage())

    got = await run_stage(outer, [TextElement("x"), TextElement("y"), END])

    assert kinds(got) == ["TurnStart", "b0", "b1", "UsageElement", "TurnEnd"]
    assert first.asked == second.asked == [["x", "y"]]


async def test_once_data_has_left_a_failure_is_one() -> None:
    """semantics 3.10: `before_first`: nothing is ever said twice, so what was begun cannot be handed over."""
    second = Answering("b", [])
    outer = FallbackStage(Answering("a", [(1, BoomError())]).as_stage(), second.as_stage())
    seen: list[StreamElement] = []
    async with PipelineBuilder().chain(outer).build().execute(turns("x")) as run:
        with pytest.raises(StageError) as caught:
            async for element in run:
                seen.append(element)

    assert isinstance(caught.value.__cause__, BoomError)
    assert kinds(seen)[:2] == ["TurnStart", "a0"]
    assert second.asked == []


async def test_with_resume_always_consumers_are_told_to_forget() -> None:
    """semantics 3.10: a `TurnReset`, and then the whole answer of the next one; the turn begins once."""
    outer = FallbackStage(
        Answering("a", [(0, None), (2, BoomError())]).as_stage(),
        Answering("b", [(1, BoomError())]).as_stage(),
        Answering("c", [(1, None)]).as_stage(),
        resume="always",
    )
    got = await run_stage(outer, turns("x", "y"))

    assert kinds(got)[:3] == ["TurnStart", "UsageElement", "TurnEnd"]
    assert kinds(got)[3:] == ["TurnStart", "a0", "a1", "TurnReset", "b0", "TurnReset", "c0", "UsageElement", "TurnEnd"]
    assert [one.index for one in got[3:] if isinstance(one, (TurnStart, TurnReset, TurnEnd))] == [1, 1, 1, 1]


async def test_when_all_have_failed_there_is_one_error_with_all_causes() -> None:
    """semantics 3.10: failures inside stay inside until nobody is left; the error lists them in order."""
    outer = FallbackStage(
        Answering("a", [(0, BoomError("1"))]).as_stage(), Answering("b", [(0, OSError("2"))]).as_stage()
    )
    with pytest.raises(StageError) as caught:
        await run_stage(outer, turns("x"))

    cause = caught.value.__cause__
    assert isinstance(cause, FallbackExhaustedError)
    assert cause.failed == (("a", "BoomError"), ("b", "OSError"))
    assert [str(one) for one in cause.causes] == ["1", "2"]
    assert cause.__cause__ is cause.causes[-1]
    assert cause.retryable
    copy = pickle.loads(pickle.dumps(cause))
    assert (str(copy), copy.causes) == (str(cause), ())


async def test_a_turn_for_which_nobody_is_left_can_end_and_the_next_go_on() -> None:
    """semantics 3.10: `on_failure="end_turn"`: an error element with a text that is safe to show, and the turn's end."""
    scripts = [(0, BoomError("secret"))]
    outer = FallbackStage(Answering("a", scripts).as_stage(), Answering("b", scripts).as_stage(), on_failure="end_turn")
    got = await run_stage(outer, turns("x", "y"))

    assert kinds(got) == ["ErrorElement", "TurnEnd", "TurnStart", "a0", "UsageElement", "TurnEnd"]
    assert isinstance(got[0], ErrorElement)
    assert got[0].code == "fallback_exhausted"
    assert "secret" not in got[0].message


async def test_one_that_failed_is_passed_over_and_then_probed() -> None:
    """semantics 3.10: for `recover_s`, in all runs of the stage; then the next unit returns to it; events tell of both."""
    first, second = Answering("a", [(0, BoomError()), (0, BoomError()), (1, None)]), Answering("b", [])
    outer = FallbackStage(first.as_stage(), second.as_stage(), recover_s=30)
    switched = ("fallback.switched", {"failed": "a", "to": "b", "error": "BoomError"})

    assert await events_of(outer, turns("1", "2")) == [switched]
    await anyio.sleep(29)
    assert await events_of(outer, turns("3")) == []
    await anyio.sleep(1)
    assert await events_of(outer, turns("4", "5")) == [switched]
    await anyio.sleep(30)
    assert await events_of(outer, turns("6", "7")) == [("fallback.recovered", {"stage": "a"})]
    assert [texts for asked in first.asked for texts in asked] == ["1", "4", "6", "7"]
    assert [texts for asked in second.asked for texts in asked] == ["1", "2", "3", "4", "5"]


async def test_when_all_have_failed_lately_all_are_tried() -> None:
    """semantics 3.10: being passed over is no reason to answer nobody."""
    first, second = Answering("a", [(0, BoomError())]), Answering("b", [(0, BoomError())])
    outer = FallbackStage(first.as_stage(), second.as_stage(), on_failure="end_turn")

    assert kinds(await run_stage(outer, turns("x", "y")))[2:4] == ["TurnStart", "a0"]


async def test_without_recovery_time_each_unit_tries_all_in_order() -> None:
    """semantics 3.10: `recover_s=None`."""
    first, second = Answering("a", [(0, BoomError())] * 2), Answering("b", [])
    await run_stage(FallbackStage(first.as_stage(), second.as_stage(), recover_s=None), turns("x", "y", "z"))

    assert first.asked == [["x"], ["y"], ["z"]]
    assert second.asked == [["x"], ["y"]]


async def test_only_the_failures_that_are_meant_are_handed_over() -> None:
    """semantics 3.10: a bad request would be as bad elsewhere."""
    for on in (OSError, lambda error: isinstance(error, OSError)):
        second = Answering("b", [])
        outer = FallbackStage(Answering("a", [(0, BoomError())]).as_stage(), second.as_stage(), on=on)
        with pytest.raises(StageError, match="BoomError"):
            await run_stage(outer, turns("x"))
        assert second.asked == []


async def test_providers_stand_in_for_each_other() -> None:
    """B15, semantics 3.10: the use that it is made for: a slow or failing model, and another one."""
    down = ScriptedProvider([Rule("", "never", error=BUSY)])
    slow = ScriptedProvider(delay_s=60, name="slow")
    well = ScriptedProvider(default="I am well.", name="well")
    outer = FallbackStage(
        ProviderStage(down),
        TimeoutStage(ProviderStage(slow), first_s=3),
        ProviderStage(well),
    )
    pipeline = PipelineBuilder(PipelineConfig(timeout_s=60)).chain(outer).build()
    result = await pipeline.run([MessageElement(Message("user", "How are you?"))])

    assert result.text == "I am well."
    assert result.usage is not None
    assert result.usage.model == "well"
    assert [type(one).__name__ for one in result.elements].count("TurnStart") == 1


scripts = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([None, BoomError()])), max_size=4)


@given(st.lists(scripts, min_size=2, max_size=3), st.integers(0, 4), st.booleans(), st.sampled_from([1, 16]))
async def test_whatever_fails_each_turn_is_said_once(
    given_scripts: list[list[tuple[int, Exception | None]]], count: int, always: bool, capacity: int
) -> None:
    """semantics 3.10: what is left after every `TurnReset` is the answer of one inner stage, whole, or an error."""
    inner = [Answering(name, script) for name, script in zip("abc", given_scripts, strict=False)]
    outer = FallbackStage(
        *(one.as_stage() for one in inner), resume="always" if always else "before_first", on_failure="end_turn"
    )
    got = await run_stage(outer, turns(*map(str, range(count))), capacity=capacity)

    assert kinds(got).count("TurnEnd") == count
    left: list[StreamElement] = []
    was_reset = False
    for element in got:
        if isinstance(element, TurnReset):
            assert always
            was_reset = True
            left = [one for one in left if isinstance(one, TurnStart)]
        else:
            left.append(element)
        if isinstance(element, TurnEnd):
            said = [one.text for one in left if isinstance(one, TextElement)]
            assert said == [f"{said[0][0]}{number}" for number in range(len(said))] if said else True
            ended_well = isinstance(left[-2], UsageElement)
            assert ended_well != isinstance(left[-2], ErrorElement)
            assert kinds(left).count("TurnStart") == (ended_well or bool(said) or was_reset)
            left, was_reset = [], False


def test_stages_that_cannot_stand_in_for_each_other_are_refused() -> None:
    """semantics 3.10: in the constructor, with both names."""

    async def of_text(element: TextElement) -> TextElement:
        return element

    async def of_messages(element: MessageElement) -> TextElement:
        return TextElement("")

    with pytest.raises(BuildError, match=r"'of_text' and 'of_messages' of 'fallback'.*does not accept TextElement"):
        FallbackStage(of_text, of_messages)
    with pytest.raises(BuildError, match="one takes a turn at a time, the other one element"):
        FallbackStage(of_text, Answering("a", []).as_stage())
    with pytest.raises(ConfigError, match="others: stage 'fallback' has nothing to fall back on"):
        FallbackStage(of_text)
    for options in ({"resume": "never"}, {"recover_s": 0}, {"on": 3}, {"on_failure": "x"}):
        with pytest.raises(ConfigError) as caught:
            FallbackStage(of_text, of_text, **options)  # type: ignore[arg-type]
        assert [caught.value.field] == list(options)


def test_it_says_what_its_inner_stages_say_of_themselves() -> None:
    """semantics 4.1: kinds and types are checked at the outer stage as they would be at the inner ones."""

    async def of_text(element: TextElement) -> MessageElement:
        return MessageElement(Message("user", element.text))

    spec = as_stage(FallbackStage(of_text, of_text))
    assert spec.accepts == (TextElement,)
    assert spec.emits == (MessageElement, ErrorElement, TurnReset)
    assert as_stage(FallbackStage(of_text, untyped)).emits is None


@stage(accepts=TextElement)
async def untyped(element):
    return element


# Retry


async def test_a_failed_try_is_made_again_after_a_wait_that_grows() -> None:
    """semantics 3.10: twice as long each time up to the longest; each try is told before it."""
    inner = Answering("a", [(0, BUSY)] * 4)
    outer = RetryStage(inner.as_stage(), attempts=9, min_backoff_s=1, max_backoff_s=3, jitter=0)
    begun = anyio.current_time()

    told = await events_of(outer, turns("x"))

    assert told == [
        ("retry.waiting", {"attempt": number + 2, "wait_s": wait, "error": "ProviderError"})
        for number, wait in enumerate([1, 2, 3, 3])
    ]
    assert anyio.current_time() - begun == 9
    assert inner.asked == [["x"]] * 5


async def test_after_the_last_attempt_the_failure_is_one() -> None:
    """semantics 3.10: the failure of the last try, as it is."""
    inner = Answering("a", [(0, BUSY)] * 9)
    with pytest.raises(StageError) as caught:
        await run_stage(RetryStage(inner.as_stage(), attempts=3), turns("x"))

    assert isinstance(caught.value.__cause__, ProviderError)
    assert len(inner.asked) == 3


async def test_a_failure_says_how_long_to_wait() -> None:
    """semantics 3.10: `retry_after_s` is a least wait; one that is beyond the longest is not waited for."""
    for asked, waited in ((20.0, [20.0]), (31.0, [])):
        inner = Answering("a", [(0, ProviderError("rate_limited", "slow down", True, asked))])
        outer = RetryStage(inner.as_stage(), min_backoff_s=1, max_backoff_s=30, on_failure="end_turn")
        told = await events_of(outer, turns("x"))
        assert [data["wait_s"] for _, data in told] == waited


async def test_nobody_tries_beyond_the_lifetime() -> None:
    """semantics 3.10: a wait that would end too late is not begun."""
    inner = Answering("a", [(0, BUSY)] * 9)
    outer = RetryStage(inner.as_stage(), attempts=9, min_backoff_s=1, lifetime_s=7, jitter=0, on_failure="end_turn")
    begun = anyio.current_time()

    assert kinds(await run_stage(outer, turns("x"))) == ["ErrorElement", "TurnEnd"]
    assert anyio.current_time() - begun == 3
    assert len(inner.asked) == 3


async def test_waits_are_drawn_so_that_nobody_comes_back_together() -> None:
    """semantics 3.10: full jitter: anywhere between nothing and the longest."""
    waits: list[float] = []
    for _ in range(20):
        inner = Answering("a", [(0, BUSY)])
        waits += [
            float(str(data["wait_s"]))
            for _, data in await events_of(RetryStage(inner.as_stage(), min_backoff_s=8), turns("x"))
        ]

    assert all(0 <= wait <= 8 for wait in waits)
    assert len(set(waits)) == 20


async def test_only_what_may_help_is_tried_again() -> None:
    """semantics 3.10: by default what says `retryable`, lost connections and time-outs; else what the user says."""
    refused = ProviderError("auth", "no", retryable=False)
    for failure, options, again in (
        (BUSY, {}, True),
        (refused, {}, False),
        (ConnectionResetError(), {}, True),
        (TimeoutError(), {}, True),
        (BoomError(), {}, False),
        (BoomError(), {"on": BoomError}, True),
        (BUSY, {"on": lambda error: error.code == "auth"}, False),
    ):
        inner = Answering("a", [(0, failure)])
        outer = RetryStage(inner.as_stage(), on_failure="end_turn", **options)  # type: ignore[arg-type]
        await run_stage(outer, turns("x"))
        assert len(inner.asked) == 1 + again, failure


async def test_data_that_has_left_is_said_again_only_where_that_is_wanted() -> None:
    """semantics 3.10: as for a fallback; between the tries stands a `TurnReset`."""
    script = [(1, BUSY), (2, None)]
    with pytest.raises(StageError):
        await run_stage(RetryStage(Answering("a", script).as_stage()), turns("x"))

    got = await run_stage(RetryStage(Answering("a", script).as_stage(), resume="always"), turns("x"))

    assert kinds(got) == ["TurnStart", "a0", "TurnReset", "a0", "a1", "UsageElement", "TurnEnd"]


async def test_the_next_unit_has_all_its_tries() -> None:
    """semantics 3.10: attempts are counted for each unit."""
    inner = Answering("a", [(0, BUSY), (0, BUSY), (1, None)] * 2)
    got = await run_stage(RetryStage(inner.as_stage(), attempts=3), turns("x", "y"))

    assert kinds(got).count("TurnEnd") == 2
    assert inner.asked == [["x"]] * 3 + [["y"]] * 3


async def test_a_wait_ends_with_the_run() -> None:
    """semantics 5.5: a long wait holds nobody up."""
    outer = RetryStage(Answering("a", [(0, BUSY)] * 9).as_stage(), min_backoff_s=1000, max_backoff_s=1000, jitter=0)
    begun = anyio.current_time()
    with anyio.move_on_after(5):
        await run_stage(outer, turns("x"), timeout_s=None)

    assert anyio.current_time() - begun == 5


async def test_more_control_than_can_be_held_back_leaves() -> None:
    """`Tries`: what is held back is bounded; after that a try has begun to speak."""

    async def chatty(element: TextElement) -> AsyncIterator[StreamElement]:
        for number in range(100):
            yield UsageElement(Usage(input_tokens=number))
        raise BUSY

    @stage(name="chatty")
    async def inner(stream: AsyncIterator[TextElement]) -> AsyncIterator[StreamElement]:
        async for element in stream:
            async for one in chatty(element):
                yield one

    got = await run_stage(RetryStage(inner, on_failure="end_turn"), ["x"])

    assert kinds(got) == ["UsageElement"] * 100 + ["ErrorElement"]


def test_wrong_options_of_a_retry_are_named() -> None:
    """styleguide 3: a wrong argument fails in the constructor, by the name of its field."""
    inner = Answering("a", []).as_stage()
    for options in (
        {"attempts": 0},
        {"min_backoff_s": 0},
        {"max_backoff_s": 0.1},
        {"lifetime_s": 0},
        {"jitter": 1.5},
        {"on": "x"},
        {"resume": "x"},
    ):
        with pytest.raises(ConfigError) as caught:
            RetryStage(inner, **options)  # type: ignore[arg-type]
        assert [caught.value.field] == list(options)

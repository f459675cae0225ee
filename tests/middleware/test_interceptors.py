"""Interceptors: hooks before, after and on errors, by priority, around whatever they stand around."""

from __future__ import annotations

import datetime
import enum
import types
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from streamflow import PipelineBuilder, Result, StageError, TextElement, TurnReset
from streamflow.errors import MiddlewareError
from streamflow.middleware import wrap_middleware


class Action(enum.Enum):
    RETRY = enum.auto()
    FALLBACK = enum.auto()
    FAIL = enum.auto()


class Noting:
    """An interceptor that notes its calls; async, or blocking."""

    def __init__(self, notes: list[str], name: str, priority: float = 100) -> None:
        self.notes = notes
        self.name = name
        self.priority = priority

    async def before(self, stage_name: str, ctx: Any) -> object:
        self.notes.append(f"{self.name} before {stage_name}")
        return None

    async def after(self, stage_name: str, result: Any, ctx: Any) -> None:
        self.notes.append(f"{self.name} after {stage_name} {result.status}")

    async def on_error(self, stage_name: str, error: Exception, ctx: Any) -> object:
        self.notes.append(f"{self.name} error {stage_name} {error!r}")
        return Action.FAIL


class NotingBlocking:
    def __init__(self, notes: list[str], name: str, priority: float = 100) -> None:
        self.notes, self.name, self.priority = notes, name, priority

    def before(self, stage_name: str, ctx: Any) -> None:
        self.notes.append(f"{self.name} before {stage_name}")

    def after(self, stage_name: str, result: Any, ctx: Any) -> None:
        self.notes.append(f"{self.name} after {stage_name} {result.status}")


class Answering:
    """An interceptor that answers errors as it is told."""

    def __init__(self, *answers: object, fallback: object = None) -> None:
        self.answers = list(answers)
        self.errors: list[Exception] = []
        self.results: list[Any] = []
        self.fallback = fallback

    async def after(self, stage_name: str, result: Any, ctx: Any) -> None:
        self.results.append(result)

    async def on_error(self, stage_name: str, error: Exception, ctx: Any) -> object:
        self.errors.append(error)
        if self.fallback is not None:
            ctx.response = self.fallback
        return self.answers.pop(0) if self.answers else Action.FAIL


async def echo(ctx: Any) -> str:
    return f"echo {ctx.input_text}"


class Failing:
    def __init__(self, failures: int) -> None:
        self.failures, self.tries = failures, 0

    async def execute(self, ctx: Any) -> str:
        self.tries += 1
        if self.tries <= self.failures:
            message = f"failure {self.tries}"
            raise ConnectionError(message)
        return f"answer {self.tries}"


async def run(*chain: object, **options: Any) -> Result:
    return await PipelineBuilder().chain(wrap_middleware("it", *chain, **options)).build().run("hi")


async def cause_of(*chain: object, **options: Any) -> Any:
    with pytest.raises(StageError) as caught:
        await run(*chain, **options)
    return caught.value.__cause__


async def test_they_stand_around_the_call_by_priority():
    """stageflow: a low number is outermost, in whatever order they were given; `after` runs the other way round."""
    notes: list[str] = []

    result = await run(Noting(notes, "50", 50), NotingBlocking(notes, "5", 5), Noting(notes, "20.5", 20.5), echo)

    assert notes == [
        "5 before it",
        "20.5 before it",
        "50 before it",
        "50 after it completed",
        "20.5 after it completed",
        "5 after it completed",
    ]
    assert result.response == "echo hi"


async def test_those_of_one_priority_keep_their_order_and_others_keep_their_place():
    """stageflow: only interceptors that stand next to each other are sorted."""
    notes: list[str] = []

    async def middleware(ctx: Any, next_: Any) -> None:
        notes.append("middleware")
        await next_()

    await run(Noting(notes, "b", 2), middleware, Noting(notes, "c", 1), Noting(notes, "d", 1), handler=echo)

    assert [note.removesuffix(" before it") for note in notes if "after" not in note] == ["b", "middleware", "c", "d"]


async def test_what_they_are_told_of_the_call():
    """stageflow, `StageResult`: name, status, begin and end, data, error."""
    seen = Answering()

    async def call(ctx: Any) -> dict[str, object]:
        await anyio.sleep(2)
        return {"response": "x", "n": 1}

    await run(seen, call)
    await cause_of(seen, Failing(1))

    good, bad = seen.results
    assert (good.name, good.status, good.error, good.data) == ("it", "completed", None, {"response": "x", "n": 1})
    assert good.ended_at - good.started_at == datetime.timedelta(seconds=2)
    assert (bad.status, bad.error, bad.data) == ("failed", "failure 1", {})


async def test_a_failure_is_told_to_each_and_leaves_as_it_is():
    """stageflow: `on_error`, then `after` with the status `failed`, from the innermost out."""
    notes: list[str] = []

    error = await cause_of(Noting(notes, "outer"), Noting(notes, "inner"), Failing(1))

    assert isinstance(error, ConnectionError)
    assert notes[2:] == [
        "inner error it ConnectionError('failure 1')",
        "inner after it failed",
        "outer error it ConnectionError('failure 1')",
        "outer after it failed",
    ]


@pytest.mark.parametrize(
    "retry", [Action.RETRY, "retry", "RETRY", types.SimpleNamespace(name="Retry"), types.SimpleNamespace(value="retry")]
)
async def test_retry_runs_the_rest_again(retry: object):
    """The original: stageflow's engine tried once more whatever was asked; here as often as it asks, up to `max_attempts`."""
    call, answering = Failing(2), Answering(retry, retry)

    result = await run(answering, call)

    assert result.response == "answer 3"
    assert [str(error) for error in answering.errors] == ["failure 1", "failure 2"]
    assert [one.status for one in answering.results] == ["completed"]


async def test_retry_without_end_is_an_error():
    """`retries_exhausted`: an interceptor that always asks again cannot keep the call for ever; what failed is the cause."""
    call = Failing(99)

    error = await cause_of(Answering(*[Action.RETRY] * 99), call, max_attempts=4)

    assert call.tries == 4
    assert (error.code, str(error.__cause__)) == ("retries_exhausted", "failure 4")
    assert "max_attempts" in str(error)


async def test_retry_after_fragments_were_sent_tells_to_forget_them():
    """semantics 1.3, `TurnReset`."""
    tries = 0

    async def streaming(ctx: Any) -> AsyncIterator[str]:
        nonlocal tries
        tries += 1
        yield f"a{tries}"
        if tries == 1:
            raise ConnectionError

    result = await run(Answering(Action.RETRY), streaming)

    assert [type(one) for one in result.elements][:3] == [TextElement, TurnReset, TextElement]
    assert result.response == "a2"


async def test_fallback_takes_the_answer_that_the_interceptor_has_set():
    """stageflow, FALLBACK: the failure ends here, with another answer."""
    answering = Answering(Action.FALLBACK, fallback="sorry")

    assert (await run(answering, Failing(1))).response == "sorry"
    assert [one.status for one in answering.results] == ["failed"]


async def test_fallback_without_an_answer_is_an_error():
    """`no_fallback`: nothing is no answer; what failed is the cause."""
    error = await cause_of(Answering(Action.FALLBACK), Failing(1))

    assert (error.code, str(error.__cause__)) == ("no_fallback", "failure 1")


@pytest.mark.parametrize("answer", [Action.FAIL, None, "fail"])
async def test_fail_and_no_answer_let_the_failure_pass(answer: object):
    """stageflow, FAIL is the default."""
    assert isinstance(await cause_of(Answering(answer), Failing(1)), ConnectionError)


async def test_an_unknown_answer_to_an_error_is_an_error():
    """`bad_result`: and not a silent FAIL."""
    error = await cause_of(Answering("later"), Failing(1))

    assert (error.code, type(error.__cause__)) == ("bad_result", ConnectionError)


class Short:
    """An interceptor that takes the place of what it stands around."""

    priority = 50

    def __init__(self, result: object = None, error: str | None = None) -> None:
        self.verdict = types.SimpleNamespace(stage_ran=False, result=result, error=error)
        self.afters = 0

    async def before(self, stage_name: str, ctx: Any) -> object:
        return self.verdict

    async def after(self, stage_name: str, result: Any, ctx: Any) -> None:
        self.afters += 1


@pytest.mark.parametrize(
    "result", ["cached", {"response": "cached"}, types.SimpleNamespace(status="completed", data={"response": "cached"})]
)
async def test_a_short_circuit_answers_in_place_of_the_call(result: object):
    """stageflow, `InterceptorResult(stage_ran=False)`: outer interceptors see a completed call, its own `after` is not called."""
    notes: list[str] = []
    call, short = Failing(0), Short(result)

    answer = await run(Noting(notes, "outer", 1), short, Noting(notes, "inner", 99), call)

    assert answer.response == "cached"
    assert notes == ["outer before it", "outer after it completed"]
    assert (call.tries, short.afters) == (0, 0)


async def test_a_short_circuit_with_an_error_fails_the_call():
    """The original: stageflow counted an open circuit breaker as a success and ran what depended on it."""
    notes: list[str] = []
    call = Failing(0)

    error = await cause_of(Noting(notes, "outer", 1), Short(error="Circuit breaker open for it"), call)

    assert isinstance(error, MiddlewareError)
    assert (error.code, str(error.__cause__)) == ("refused", "Circuit breaker open for it")
    assert "Circuit" not in str(error)
    assert call.tries == 0
    assert notes[-1] == "outer after it failed"


async def test_a_short_circuit_with_nothing_skips_the_call():
    """stageflow: the stage did not run, and the request goes on."""
    call = Failing(0)

    (element,) = (await run(Short(), call)).elements

    assert call.tries == 0
    assert element.metadata["skipped"] is True
    assert element.metadata["reason"] == "Short skipped it"


async def test_a_verdict_that_the_call_may_run_changes_nothing():
    """stageflow: `stage_ran=True` is the default of the result object."""
    short = Short()
    short.verdict.stage_ran = True

    assert (await run(short, echo)).response == "echo hi"
    assert short.afters == 1


@pytest.mark.parametrize("hook", ["before", "after", "on_error"])
async def test_an_interceptor_that_raises_fails_the_call(hook: str):
    """Never swallow: stageflow logged it and went on, so a check that broke let everything through."""

    async def breaking(*_: object) -> None:
        raise PermissionError

    call = Failing(hook == "on_error")

    error = await cause_of(types.SimpleNamespace(**{hook: breaking}), call)

    assert isinstance(error, PermissionError)
    assert call.tries == (hook != "before")


async def test_they_share_notes_that_go_nowhere_else():
    """stageflow: `ctx.data` is for interceptors; a call does not make metadata of it."""

    class First(Noting):
        async def before(self, stage_name: str, ctx: Any) -> None:
            ctx.data["key"] = object()

        async def after(self, stage_name: str, result: Any, ctx: Any) -> None:
            self.notes.append(str("key" in ctx.data))

    notes: list[str] = []
    result = await run(First(notes, "first", 1), Noting([], "second", 2), echo)

    assert notes == ["True"]
    assert result.elements[-1].metadata == {}


async def test_a_limit_of_time_that_one_leaves_in_the_notes_is_kept():
    """stageflow: its timeout interceptor asks whoever runs the call to keep a limit."""

    class Limit:
        priority = 5

        async def before(self, stage_name: str, ctx: Any) -> None:
            ctx.data[f"_timeout.{stage_name}"] = 1500

    async def slow(ctx: Any) -> str:
        await anyio.sleep(2 if ctx.input_text == "hi" else 1)
        return "x"

    start = anyio.current_time()
    answering = Answering()
    error = await cause_of(Limit(), answering, slow)

    assert isinstance(error, TimeoutError)
    assert anyio.current_time() - start == 1.5


async def test_one_alone_lets_the_request_through():
    """`MiddlewareAdapter`: around nothing."""
    notes: list[str] = []

    assert (await run(Noting(notes, "it"))).elements == (TextElement("hi"),)
    assert len(notes) == 2

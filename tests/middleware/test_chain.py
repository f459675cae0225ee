"""Middleware that calls `next`: the rest of the chain really runs inside it, once, and again only after a failure."""

# ruff: noqa: A002, A006, RUF012, SIM105 - written as legacy code is
from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest

from streamflow import (
    DataElement,
    Event,
    Message,
    MessageElement,
    PipelineBuilder,
    PipelineConfig,
    Result,
    StageError,
    StreamElement,
    TextElement,
    TurnEnd,
    TurnReset,
)
from streamflow.errors import MiddlewareError, RunStateError
from streamflow.middleware import wrap_middleware
from streamflow.testing import run_stage

Answer = Callable[[Any], Awaitable[object]]


def said(elements: list[StreamElement] | tuple[StreamElement, ...]) -> list[str]:
    return [one.message.text for one in elements if isinstance(one, MessageElement)]


async def run(*chain: object, source: Any = "hi", **options: Any) -> Result:
    stage = wrap_middleware("it", *chain, **options)
    return await PipelineBuilder().chain(stage).build().run(source)


async def cause_of(*chain: object, **options: Any) -> BaseException | None:
    with pytest.raises(StageError) as caught:
        await run(*chain, **options)
    return caught.value.__cause__


async def echo(ctx: Any) -> str:
    return f"echo {ctx.input_text}"


class Noting:
    """Middleware that notes when it is before and after the rest; async, or blocking."""

    def __init__(self, notes: list[str], name: str) -> None:
        self.notes = notes
        self.name = name

    async def process(self, ctx: Any, next: Any) -> None:
        self.notes.append(f"{self.name} before")
        await next()
        self.notes.append(f"{self.name} after")


class NotingBlocking(Noting):
    def process(self, ctx: Any, next: Any) -> None:  # type: ignore[override]
        self.notes.append(f"{self.name} before")
        next(ctx)
        self.notes.append(f"{self.name} after")


@pytest.mark.parametrize("kinds", ["aaa", "bbb", "aba", "bab"], ids=lambda kinds: kinds)
@pytest.mark.parametrize("form", ["arguments", "list"])
async def test_what_is_written_after_next_runs_after_the_rest_of_the_chain(kinds: str, form: str):
    """seed 001: `process(ctx, next)`, async and blocking in any mix; the original's `next` did nothing."""
    notes: list[str] = []
    chain: list[object] = [
        (Noting if kind == "a" else NotingBlocking)(notes, f"{place}") for place, kind in enumerate(kinds)
    ]

    async def handler(ctx: Any) -> str:
        notes.append("handler")
        return "answer"

    result = await (run(*chain, handler=handler) if form == "arguments" else run(chain, handler=handler))

    assert notes == ["0 before", "1 before", "2 before", "handler", "2 after", "1 after", "0 after"]
    assert said(result.elements) == ["answer"]


async def test_next_gives_the_answer_and_what_is_returned_replaces_it():
    """`next()` returns the answer so far; middleware may return another, or change the context."""

    async def shouting(ctx: Any, next: Any) -> str:
        return str(await next()).upper()

    async def thanking(ctx: Any, call_next: Any) -> object:
        answer = await call_next(ctx)
        ctx.response = f"{answer}, thanks"
        return answer

    result = await run(shouting, thanking, handler=echo)

    assert said(result.elements) == ["ECHO HI, THANKS"]


@pytest.mark.parametrize(
    "middleware",
    [
        lambda ctx, next: next(),
        lambda ctx, next: next(ctx),
        type("Object", (), {"process": lambda self, ctx, next: next()})(),
        type("Class", (), {"process": lambda self, ctx, next: next()}),
        type("Callable", (), {"__call__": lambda self, ctx, next: next()})(),
        type("Positional", (), {"process": lambda self, a, b: b()})(),
    ],
    ids=["next()", "next(ctx)", "object", "class", "callable object", "other names"],
)
async def test_every_form_of_middleware_runs_the_rest(middleware: object):
    """seed 001: zero changes to the middleware, however it is written."""
    assert said((await run(middleware, handler=echo)).elements) == ["echo hi"]


async def test_without_a_handler_the_innermost_next_sets_nothing_and_the_request_goes_on():
    """`handler=None`: the last middleware's `next` does nothing, and the next stage gets the request."""
    notes: list[str] = []

    result = await run(Noting(notes, "it"))

    assert notes == ["it before", "it after"]
    assert result.elements == (TextElement("hi"),)


async def test_middleware_that_answers_by_itself_keeps_the_rest_from_running():
    """seed 001, short circuit: an answer without `next`, as a cache gives it."""
    notes: list[str] = []

    async def cached(ctx: Any, next: Any) -> None:
        ctx.response = "from the cache"

    result = await run(Noting(notes, "outer"), cached, Noting(notes, "inner"), handler=echo)

    assert notes == ["outer before", "outer after"]
    assert said(result.elements) == ["from the cache"]


@pytest.mark.parametrize("answer", [None, "stopped"])
async def test_the_flag_stops_everything_further_down(answer: str | None):
    """seed 001: `ctx.short_circuit`; `next` then runs nothing. Without an answer the request ends here, and listeners hear it."""
    heard: list[Event] = []
    notes: list[str] = []

    async def stopping(ctx: Any, next: Any) -> None:
        ctx.short_circuit = True
        ctx.response = answer
        await next()

    stage = wrap_middleware("it", stopping, Noting(notes, "inner"), handler=echo)
    result = await PipelineBuilder().chain(stage).on_event(heard.append).build().run([TextElement("hi"), TurnEnd()])

    assert notes == []
    assert said(result.elements) == ([] if answer is None else [answer])
    assert [one.text for one in result.elements if isinstance(one, TextElement)] == said(result.elements)
    assert isinstance(result.elements[-1], TurnEnd)
    assert ("middleware.stopped" in [one.name for one in heard]) == (answer is None)


@pytest.mark.parametrize("handler", [None, echo])
async def test_middleware_that_never_calls_next_keeps_the_request_back(handler: Answer | None):
    """seed 001: a check that does not call `next` refuses; its request reaches neither the handler nor the next stage."""
    reached: list[str] = []

    async def refusing(ctx: Any, next: Any) -> None:
        return None

    async def behind(ctx: Any) -> None:
        reached.append(ctx.input_text)

    first, second = wrap_middleware("first", refusing, handler=handler), wrap_middleware("second", behind)
    result = await PipelineBuilder().chain(first, second).build().run([TextElement("hi"), TurnEnd()])

    assert result.elements == (TurnEnd(),)
    assert reached == []


@pytest.mark.parametrize("blocking", [False, True])
async def test_next_again_after_a_success_is_an_error(blocking: bool):
    """`next_twice`: the handler would be asked twice for one request; the message says when it may be called again."""
    asked = 0

    async def handler(ctx: Any) -> str:
        nonlocal asked
        asked += 1
        return "answer"

    async def twice(ctx: Any, next: Any) -> None:
        await next()
        await next()

    def twice_blocking(ctx: Any, next: Any) -> None:
        next()
        next()

    error = await cause_of(twice_blocking if blocking else twice, handler=handler)

    assert asked == 1
    assert isinstance(error, MiddlewareError)
    assert error.code == "next_twice"
    assert "after its first call had succeeded; call it again only when it has raised" in str(error)


async def test_next_again_while_it_runs_is_an_error():
    """`next_twice`: two calls at a time would share one context."""

    async def hedging(ctx: Any, next: Any) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(next)
            group.start_soon(next)

    async def slow(ctx: Any) -> str:
        await anyio.sleep(1)
        return "answer"

    error = await cause_of(hedging, handler=slow)

    assert isinstance(error, ExceptionGroup)
    assert [getattr(one, "code", one) for one in error.exceptions] == ["next_twice"]


async def test_next_with_another_context_is_an_error():
    """`wrong_context`: the rest would answer to a context that nobody looks at."""

    async def replacing(ctx: Any, next: Any) -> None:
        await next({"messages": []})

    error = await cause_of(replacing, handler=echo)

    assert isinstance(error, MiddlewareError)
    assert error.code == "wrong_context"


class Failing:
    """A handler that fails some times before it answers."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.tries = 0

    async def execute(self, ctx: Any) -> str:
        self.tries += 1
        ctx.messages.append({"role": "assistant", "content": f"try {self.tries}"})
        ctx.metadata["tries"] = self.tries
        if self.tries <= self.failures:
            message = f"failure {self.tries}"
            raise ConnectionError(message)
        return f"answer {self.tries}"


async def retrying(ctx: Any, next: Any) -> None:
    for _ in range(2):
        try:
            return await next()
        except ConnectionError:
            await anyio.sleep(1)
    return await next()


def retrying_blocking(ctx: Any, next: Any) -> None:
    for _ in range(2):
        try:
            return next()
        except ConnectionError:
            continue
    return next()


@pytest.mark.parametrize("middleware", [retrying, retrying_blocking])
async def test_next_may_be_called_again_after_a_failure(middleware: object):
    """seed 001: retry middleware works; what the failed tries have left behind is taken back."""
    handler = Failing(2)

    result = await run(middleware, handler=handler)

    assert handler.tries == 3
    assert said(result.elements) == ["try 3", "answer 3"]


@pytest.mark.parametrize("middleware", [retrying, retrying_blocking])
async def test_a_failure_of_the_last_try_leaves_as_it_is(middleware: object):
    """seed 001: what the handler raised is the cause, through every layer and thread."""
    error = await cause_of(middleware, handler=Failing(9))

    assert isinstance(error, ConnectionError)
    assert str(error) == "failure 3"


async def test_nothing_of_a_failed_try_goes_out():
    """seed 001: elements, artifacts, outcomes and flags of the try that failed are taken back, too."""
    tries = 0

    class Data:
        status = "ok"
        data = {"n": 1}
        artifacts = [{"type": "note", "payload": "x"}]

    async def giving(ctx: Any) -> object:
        ctx.artifacts.append({"type": "other", "payload": "y"})
        return Data()

    async def making(ctx: Any) -> list[object]:
        return [DataElement("made", 1)]

    async def failing(ctx: Any) -> AsyncIterator[str]:
        nonlocal tries
        tries += 1
        yield "a"
        if tries == 1:
            ctx.interrupt_stream("no")
            ctx.short_circuit = True
            raise ConnectionError

    result = await run(retrying, giving, making, failing)

    names = [one.name for one in result.elements if isinstance(one, DataElement)]
    assert names == ["note", "other", "giving", "made"]
    assert result.response == "a"


async def test_what_is_changed_between_two_tries_stays():
    """seed 001: a retry with a shorter history, say, is not undone by the clean-up after the failed try."""

    async def shortening(ctx: Any, next: Any) -> None:
        try:
            await next()
        except ConnectionError:
            ctx.messages = ctx.messages[-2:-1]
            await next()

    seen: list[list[str]] = []

    async def handler(ctx: Any) -> str:
        seen.append([one["content"] for one in ctx.messages])
        ctx.messages.append({"role": "assistant", "content": "leftover"})
        if len(seen) == 1:
            raise ConnectionError
        return "answer"

    result = await run(shortening, handler=handler, source=["a", "b"])

    assert seen == [["a", "b"], ["b"]]
    assert said(result.elements) == ["leftover", "answer"]


@pytest.mark.parametrize("blocking", [False, True])
async def test_middleware_may_answer_for_a_rest_that_failed(blocking: bool):
    """seed 001: a fallback; the error is in `ctx.error` for who looks there."""
    errors: list[object] = []

    async def falling_back(ctx: Any, next: Any) -> object:
        try:
            await next()
        except ConnectionError:
            errors.append(ctx.error)
            return "sorry"
        return None

    def falling_back_blocking(ctx: Any, next: Any) -> None:
        try:
            next()
        except ConnectionError:
            errors.append(ctx.error)
            ctx.response = "sorry"

    result = await run(falling_back_blocking if blocking else falling_back, handler=Failing(1))

    assert said(result.elements)[-1] == "sorry"
    assert [type(one) for one in errors] == [ConnectionError]


async def test_a_failure_that_is_returned_reaches_middleware_as_an_exception():
    """statuses, fail: whoever reports it in whatever form, middleware around it can catch it."""

    class Failed:
        status = "fail"
        data = {"error_type": "RateLimit"}
        error = "slow down"

    async def failing(ctx: Any) -> object:
        return Failed()

    caught: list[MiddlewareError] = []

    async def catching(ctx: Any, next: Any) -> str:
        try:
            await next()
        except MiddlewareError as error:
            caught.append(error)
        return "sorry"

    result = await run(catching, handler=failing)

    assert said(result.elements) == ["sorry"]
    assert [(one.code, str(one.__cause__)) for one in caught] == [("failed", "slow down")]


async def test_an_error_after_the_output_began_keeps_what_was_sent():
    """early disconnect: fragments that have left stay; the run then fails with what was raised."""

    async def breaking(ctx: Any) -> AsyncIterator[str]:
        yield "half"
        raise ConnectionError

    seen: list[StreamElement] = []
    pipeline = PipelineBuilder().chain(wrap_middleware("it", breaking)).build()
    with pytest.raises(StageError) as caught:
        async with pipeline.execute("hi") as run_:
            async for element in run_:
                seen.append(element)

    assert isinstance(caught.value.__cause__, ConnectionError)
    assert [type(one).__name__ for one in seen] == ["TextElement", "ErrorElement", "EndOfStream"]


@pytest.mark.parametrize("middleware", [retrying, retrying_blocking])
async def test_a_retry_after_the_output_began_tells_to_forget_it(middleware: object):
    """semantics 1.3, `TurnReset`: the whole equals the fragments behind the last reset."""
    tries = 0

    async def breaking(ctx: Any) -> AsyncIterator[str]:
        nonlocal tries
        tries += 1
        yield f"a{tries}"
        if tries < 3:
            raise ConnectionError
        yield "b"

    result = await run(middleware, handler=breaking, source=[TextElement("x"), TurnEnd(), TextElement("hi")])

    assert list(result.elements) == [
        TextElement("a1", id="it-0"),
        TurnReset("another try"),
        TextElement("a2", id="it-0-1"),
        TurnReset("another try"),
        TextElement("a3", id="it-0-2"),
        TextElement("b", id="it-0-2"),
        MessageElement(Message("assistant", "a3b"), id="it-0-2"),
        TurnEnd(),
        TextElement("a4", id="it-1"),
        TextElement("b", id="it-1"),
        MessageElement(Message("assistant", "a4b"), id="it-1"),
    ]


async def test_an_answer_that_is_another_than_the_streamed_one_takes_its_place():
    """semantics 1.3: what was shown is taken back, and the other answer is shown and stored once."""

    async def streaming(ctx: Any) -> AsyncIterator[str]:
        yield "bad "
        yield "word"

    async def censoring(ctx: Any, next: Any) -> None:
        answer = await next()
        ctx.response = answer.content.replace("bad", "good")

    assert list((await run(censoring, handler=streaming)).elements) == [
        TextElement("bad ", id="it-0"),
        TextElement("word", id="it-0"),
        TurnReset("the answer is another one"),
        TextElement("good word", id="it-0-1"),
        MessageElement(Message("assistant", "good word"), id="it-0-1"),
    ]


async def test_a_swallowed_error_after_the_output_began_leaves_a_cut_whole():
    """semantics 1.3: what was said is stored as what it is, a message that was cut short."""

    async def breaking(ctx: Any) -> AsyncIterator[str]:
        yield "half"
        raise ConnectionError

    async def swallowing(ctx: Any, next: Any) -> None:
        try:
            await next()
        except ConnectionError:
            pass

    text, whole = (await run(swallowing, handler=breaking)).elements

    assert text == TextElement("half", id="it-0")
    assert whole == MessageElement(Message("assistant", "half", stop_reason="error"), id="it-0", cut=True)


async def test_calls_in_a_chain_run_one_after_the_other_and_see_what_came_before():
    """stageflow: `ctx.inputs` over the outputs of earlier stages; a call that has answered is followed by those behind it."""
    notes: list[object] = []

    async def route(ctx: Any) -> dict[str, object]:
        return {"route": "sales", "confidence": 0.9}

    async def model(ctx: Any) -> dict[str, object]:
        notes.append(ctx.inputs.get("route"))
        return {"response": f"{ctx.inputs.get_from('route', 'route')} answer", "model": "m"}

    async def remember(ctx: Any) -> None:
        notes.append((ctx.inputs.get_from("model", "response"), ctx.inputs.has_output("other"), ctx.response))

    data, text, whole = (await run(route, model, remember)).elements

    assert notes == ["sales", ("sales answer", False, "sales answer")]
    assert data == DataElement("route", {"route": "sales", "confidence": 0.9})
    assert text == TextElement("sales answer", id="it-0")
    assert whole.metadata["route"] == "sales"
    assert whole.metadata["model"] == "m"


async def test_a_stream_behind_an_answer_takes_its_place():
    """`MiddlewareAdapter`: the last call of a chain has the last word, streamed or not."""

    async def streaming(ctx: Any) -> AsyncIterator[str]:
        yield f"better than {ctx.response}"

    result = await run(echo, streaming)

    assert said(result.elements) == ["better than echo hi"]
    assert result.text == "better than echo hi"


async def test_an_early_end_inside_the_chain_lets_what_is_around_it_finish():
    """statuses, cancel: code after `next()` runs; nothing further down does."""
    notes: list[str] = []

    class Cancelled:
        status = "cancel"
        data = {"cancel_reason": "enough"}

    async def cancelling(ctx: Any) -> object:
        return Cancelled()

    result = await run(Noting(notes, "outer"), cancelling, Noting(notes, "inner"), handler=echo)

    assert notes == ["outer before", "outer after"]
    assert result.elements == ()
    assert result.reason == "done"


async def test_what_was_streamed_before_an_early_end_gets_its_whole():
    """semantics 1.3: no fragments without a whole, cut as it is."""

    async def streaming(ctx: Any) -> AsyncIterator[str]:
        yield "so far"
        ctx.mark_canceled()
        ctx.raise_if_cancelled()

    text, whole = (await run(streaming)).elements

    assert text == TextElement("so far", id="it-0")
    assert whole == MessageElement(Message("assistant", "so far", stop_reason="interrupted"), id="it-0", cut=True)


@pytest.mark.parametrize("shape", ["after next", "instead of next"])
async def test_a_status_that_middleware_returns_counts_as_that_of_a_call(shape: str):
    """statuses: skip lets the request through, also from code that wraps others."""

    class Skipped:
        status = "skip"
        data = {"reason": "closed"}

    async def middleware(ctx: Any, next: Any) -> object:
        if shape == "after next":
            await next()
        return Skipped()

    (element,) = (await run(middleware)).elements

    assert (element.metadata["skipped"], element.metadata["reason"]) == (True, "closed")


async def test_forty_nested_links_are_one_call():
    """seed 001: a chain is as deep as it is; async links take no thread and no task of their own."""
    notes: list[str] = []

    result = await run([Noting(notes, str(number)) for number in range(40)], handler=echo)

    assert len(notes) == 80
    assert said(result.elements) == ["echo hi"]


async def test_turns_and_runs_share_no_state():
    """semantics 3.4: one adapter, many turns and runs, each with a context of its own."""

    async def noting(ctx: Any, next: Any) -> None:
        assert not ctx.data
        ctx.data["mine"] = ctx.input_text
        await anyio.sleep(1)
        await next()
        assert ctx.data == {"mine": ctx.input_text}

    pipeline = PipelineBuilder().chain(wrap_middleware("it", noting, handler=echo)).build()
    results: list[list[str]] = []

    async def one(number: int) -> None:
        source = [TextElement(f"{number}a"), TurnEnd(), TextElement(f"{number}b")]
        results.append(said((await pipeline.run(source)).elements))

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(one, number)

    assert sorted(results) == [[f"echo {number}a", f"echo {number}b"] for number in range(5)]


async def test_the_adapter_leaves_middleware_untouched():
    """seed 001, zero changes: the object that was given is called, and nothing is set on it."""

    class Slotted:
        __slots__ = ()

        async def process(self, ctx: Any, next: Any) -> None:
            await next()

    assert said(await run_stage(wrap_middleware("it", Slotted(), handler=echo), ["hi"])) == ["echo hi"]


class Held:
    """Something of the user's that a call holds."""


@pytest.mark.parametrize("how", ["answer", "failure", "caught", "reader has gone"])
async def test_nothing_of_a_call_waits_for_the_garbage_collector(how: str, no_gc: None):
    """semantics 5.1: what a call held is let go of with it, also when an exception has gone through the chain."""
    held: list[weakref.ref[Any]] = []

    async def handler(ctx: Any) -> AsyncIterator[str]:
        mine = Held()
        held.append(weakref.ref(mine))
        yield "a"
        yield "b"
        if how in {"failure", "caught"}:
            raise ConnectionError
        del mine

    async def around(ctx: Any, next: Any) -> None:
        held.append(weakref.ref(ctx))
        try:
            await next()
        except ConnectionError:
            if how == "failure":
                raise

    async def first(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element
            return

    chain = [wrap_middleware("it", around, handler=handler), *([first] if how == "reader has gone" else [])]
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(*chain).build()
    try:
        await pipeline.run("hi")
    except StageError:
        assert how == "failure"
    for _ in range(3):
        await anyio.lowlevel.checkpoint()

    assert [one() for one in held] == [None, None]


async def test_a_fragment_after_the_call_is_refused():
    """`emit_stream_chunk()`: what middleware has left running cannot write into a later turn."""
    contexts: list[Any] = []

    async def keeping(ctx: Any) -> str:
        contexts.append(ctx)
        return "answer"

    await run(keeping)

    with pytest.raises(RunStateError, match="has ended"):
        contexts[0].emit_stream_chunk("late")

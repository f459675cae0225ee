"""Streamed answers: the chunk hooks of all middleware, interruption, and a reader that leaves early."""

# ruff: noqa: A002, BLE001 - written as legacy code is
from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    Event,
    Message,
    MessageElement,
    PipelineBuilder,
    PipelineConfig,
    Result,
    StageError,
    StreamElement,
    TextElement,
    ThinkingElement,
    TurnEnd,
    stage,
)
from streamflow.errors import MiddlewareError
from streamflow.middleware import wrap_middleware
from streamflow.testing import assert_all_stages_stopped, run_stage


def texts(elements: list[StreamElement] | tuple[StreamElement, ...]) -> list[str]:
    return [one.text for one in elements if isinstance(one, TextElement)]


async def letters(ctx: Any) -> AsyncIterator[str]:
    for letter in ctx.input_text:
        yield letter


async def passing(ctx: Any, next: Any) -> None:
    await next()


async def run(*chain: object, source: Any = "abc", **options: Any) -> Result:
    return await PipelineBuilder().chain(wrap_middleware("it", *chain, **options)).build().run(source)


class Hooked:
    """Middleware with a hook of each kind, async or blocking."""

    def __init__(self, hook: str, function: Any, *, blocking: bool = False) -> None:
        async def see(ctx: Any, chunk: Any) -> object:
            return function(ctx, chunk)

        setattr(self, hook, function if blocking else see)

    async def process(self, ctx: Any, next: Any) -> None:
        await next()


def kinds(hook: str) -> list[Any]:
    return [
        pytest.param(hook, blocking, id=f"{hook}-{'blocking' if blocking else 'async'}") for blocking in (False, True)
    ]


on_chunk = pytest.mark.parametrize(("hook", "blocking"), kinds("on_chunk"))
both_hooks = pytest.mark.parametrize(("hook", "blocking"), [*kinds("on_chunk"), *kinds("stream_chunk")])


@on_chunk
async def test_a_hook_returns_what_goes_on(hook: str, blocking: bool):
    """seed 001: `on_chunk` alters a fragment, or drops it with None; the whole is what was sent."""
    middleware = Hooked(hook, lambda ctx, text: None if text == "b" else text.upper(), blocking=blocking)

    result = await run(middleware, handler=letters)

    assert texts(result.elements) == ["A", "C"]
    assert result.response == "AC"


@pytest.mark.parametrize(("hook", "blocking"), kinds("stream_chunk"))
async def test_a_hook_of_the_original_changes_the_fragment_in_place(hook: str, blocking: bool):
    """PromptKit: `StreamChunk(ctx, chunk)` changes the chunk and returns nothing, or an error; nothing returned drops nothing."""
    seen: list[str] = []

    def change(ctx: Any, fragment: Any) -> None:
        seen.append(fragment.content)
        if fragment.delta == "b":
            fragment.drop()
        fragment.delta = fragment.text.upper()

    result = await run(Hooked(hook, change, blocking=blocking), handler=letters)

    assert texts(result.elements) == ["A", "C"]
    assert seen == ["a", "Ab", "Ac"]


@both_hooks
async def test_every_hook_sees_every_fragment_outermost_first(hook: str, blocking: bool):
    """seed 001: through every middleware's hook, in the order of the chain; of a call and of the handler too."""
    seen: list[str] = []

    def noting(name: str) -> Hooked:
        def note(ctx: Any, fragment: Any) -> object:
            seen.append(f"{name}{fragment}")
            return fragment

        return Hooked(hook, note, blocking=blocking)

    class Handler:
        def on_chunk(self, ctx: Any, text: str) -> str:
            seen.append(f"handler {text}")
            return text

        async def execute(self, ctx: Any) -> AsyncIterator[str]:
            return letters(ctx)

    await run(noting("1"), passing, noting("2"), handler=Handler(), source="ab")

    assert seen == ["1a", "2a", "handler a", "1b", "2b", "handler b"]


async def test_a_fragment_that_was_dropped_is_seen_by_no_further_hook():
    """seed 001: dropped is gone."""
    seen: list[str] = []
    dropping = Hooked("on_chunk", lambda ctx, text: None)

    result = await run(dropping, Hooked("on_chunk", lambda ctx, text: seen.append(text)), handler=letters)

    assert seen == []
    assert result.elements == (MessageElement(Message("assistant", ""), id="it-0"),)


@both_hooks
async def test_a_hook_may_interrupt_the_stream(hook: str, blocking: bool):
    """PromptKit, `InterruptStream(reason)`: the fragment in hand is not sent, the handler is closed, the whole is cut."""
    closed: list[str] = []
    heard: list[Event] = []

    async def handler(ctx: Any) -> AsyncIterator[str]:
        try:
            for letter in "abcdef":
                yield letter
        finally:
            closed.append("handler")

    def check(ctx: Any, fragment: Any) -> object:
        if str(fragment) == "c":
            ctx.interrupt_stream("no c here")
        return fragment

    after: list[object] = []

    async def outer(ctx: Any, next: Any) -> None:
        await next()
        after.append((ctx.stream_interrupted, ctx.interrupt_reason, ctx.response.content))

    adapter = wrap_middleware("it", outer, Hooked(hook, check, blocking=blocking), handler=handler)
    result = await PipelineBuilder().chain(adapter).on_event(heard.append).build().run([TextElement("x"), TurnEnd()])

    assert list(result.elements) == [
        TextElement("a", id="it-0"),
        TextElement("b", id="it-0"),
        MessageElement(Message("assistant", "ab", stop_reason="interrupted"), id="it-0", cut=True),
        TurnEnd(),
    ]
    assert closed == ["handler"]
    assert after == [(True, "no c here", "ab")]
    assert [one.data for one in heard if one.name == "middleware.interrupted"] == [{"reason": "no c here"}]


async def test_an_interrupted_answer_may_be_replaced():
    """What was shown is taken back, and the other answer is whole, not cut."""

    async def replacing(ctx: Any, next: Any) -> None:
        await next()
        if ctx.stream_interrupted:
            ctx.response = "I cannot say that."

    checking = Hooked("on_chunk", lambda ctx, text: ctx.interrupt_stream("no") if text == "b" else text)
    first, reset, second, whole = (await run(replacing, checking, handler=letters)).elements

    assert first == TextElement("a", id="it-0")
    assert type(reset).__name__ == "TurnReset"
    assert second == TextElement("I cannot say that.", id="it-0-1")
    assert whole == MessageElement(Message("assistant", "I cannot say that."), id="it-0-1")


@pytest.mark.parametrize("how", ["raised", "returned"])
async def test_an_error_of_a_hook_fails_the_call(how: str):
    """PromptKit: a hook reports an error; the fragment is not sent, and middleware around may catch it."""

    def failing(ctx: Any, fragment: Any) -> object:
        if how == "returned":
            return ValueError("bad chunk")
        message = "bad chunk"
        raise ValueError(message)

    with pytest.raises(StageError, match="ValueError: bad chunk"):
        await run(Hooked("stream_chunk", failing), handler=letters)


async def test_fragments_leave_while_the_handler_works():
    """semantics 5.3: streaming is real: each fragment is out before the next is made."""
    made: list[str] = []

    async def handler(ctx: Any) -> AsyncIterator[str]:
        for letter in "abc":
            made.append(letter)
            yield letter
            await anyio.sleep(1)

    hook = Hooked("on_chunk", lambda ctx, text: text, blocking=False)
    pipeline = PipelineBuilder().chain(wrap_middleware("it", hook, handler=handler)).build()
    seen: list[int] = []
    async with pipeline.execute("x") as run_:
        async for element in run_:
            if isinstance(element, TextElement):
                seen.append(len(made))

    assert seen == [1, 2, 3]


async def test_a_reader_that_stops_stops_the_handler():
    """semantics 5.4: back-pressure reaches the handler's stream."""
    made = 0

    async def handler(ctx: Any) -> AsyncIterator[str]:
        nonlocal made
        while True:
            made += 1
            yield "x"

    pipeline = (
        PipelineBuilder(PipelineConfig(buffer_size=2)).chain(wrap_middleware("it", passing, handler=handler)).build()
    )
    async with pipeline.execute("x"):
        await anyio.wait_all_tasks_blocked()
        at_rest = made
        await anyio.sleep(60)
        assert made == at_rest <= 4


@pytest.mark.parametrize("blocking", [False, True])
async def test_when_the_next_stage_has_enough_the_handler_is_closed_and_nobody_tries_again(blocking: bool):
    """early disconnect: a reader that leaves is a cancellation to middleware, no failure to be retried."""
    notes: list[str] = []

    async def handler(ctx: Any) -> AsyncIterator[str]:
        notes.append("begun")
        try:
            while True:
                yield "x"
        finally:
            notes.append("closed")

    async def retrying(ctx: Any, next: Any) -> None:
        try:
            await next()
        except Exception:
            notes.append("taken for a failure")
            await next()
        finally:
            notes.append("left")

    def retrying_blocking(ctx: Any, next: Any) -> None:
        try:
            next()
        except Exception:
            notes.append("taken for a failure")
            next()
        finally:
            notes.append("left")

    @stage
    async def first_three(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        count = 0
        async for element in stream:
            yield element
            count += 1
            if count == 3:
                return

    adapter = wrap_middleware("it", retrying_blocking if blocking else retrying, handler=handler)
    result = await PipelineBuilder(PipelineConfig(buffer_size=1)).chain(adapter, first_three).build().run("go")

    assert texts(result.elements) == ["x"] * 3
    assert result.reason == "done"
    assert notes == ["begun", "closed", "left"]
    await assert_all_stages_stopped()


async def test_a_reader_that_leaves_before_the_answer_ends_the_stage():
    """early disconnect: also where nothing was streamed: the first element that cannot be sent ends it, as a completion."""

    @stage
    async def nothing(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        return
        yield

    called: list[str] = []

    async def handler(ctx: Any) -> str:
        called.append(ctx.input_text)
        await anyio.sleep(1)
        return "answer"

    result = await PipelineBuilder().chain(wrap_middleware("it", handler), nothing).build().run("go")

    assert result.elements == ()
    assert result.reason == "done"


@dataclasses.dataclass
class Chunk:
    """A fragment as clients of models give it."""

    delta: str | None
    finish_reason: str | None = None


@pytest.mark.parametrize(
    "items",
    [
        ["a", "b"],
        [Chunk("a"), Chunk("b"), Chunk(None, "stop")],
        [{"content": "a"}, {"usage": 3}, {"content": "b"}],
        [TextElement("a"), TextElement("b")],
        ["a", "", "b"],
    ],
    ids=["texts", "objects", "dicts", "elements", "with an empty one"],
)
async def test_fragments_in_any_form_are_text(items: list[object]):
    """`Fragment`: what tells of something else than text, as of usage, sends nothing."""

    async def handler(ctx: Any) -> AsyncIterator[object]:
        for item in items:
            yield item

    assert list((await run(handler)).elements) == [
        TextElement("a", id="it-0"),
        TextElement("b", id="it-0"),
        MessageElement(Message("assistant", "ab"), id="it-0"),
    ]


async def test_other_elements_of_a_stream_go_on_as_they_are():
    """`MiddlewareAdapter`: a handler that knows our elements may send thoughts, and name its whole."""

    async def handler(ctx: Any) -> AsyncIterator[object]:
        yield ThinkingElement("hm")
        yield TextElement("so", path=("x",))
        yield Message("assistant", "so", stop_reason="length")

    assert list((await run(handler)).elements) == [
        ThinkingElement("hm"),
        TextElement("so", id="it-0"),
        MessageElement(Message("assistant", "so", stop_reason="length"), id="it-0"),
    ]


async def test_what_is_no_fragment_fails_the_call():
    """`bad_result`: a number in a stream of text is lost otherwise."""

    async def handler(ctx: Any) -> AsyncIterator[object]:
        yield 42

    with pytest.raises(StageError, match="a int was streamed") as caught:
        await run(handler)

    assert isinstance(caught.value.__cause__, MiddlewareError)


@pytest.mark.parametrize("blocking", [False, True])
async def test_middleware_may_send_fragments_by_itself(blocking: bool):
    """PromptKit, `EmitStreamChunk`: through the hooks of all; false once the stream was interrupted."""
    given: list[bool] = []

    async def sending(ctx: Any) -> None:
        for letter in "abcd":
            given.append(await ctx.emit_stream_chunk(letter))

    def sending_blocking(ctx: Any) -> None:
        for letter in "abcd":
            given.append(ctx.emit_stream_chunk(letter))

    hook = Hooked("on_chunk", lambda ctx, text: ctx.interrupt_stream("c") if text == "c" else text.upper())
    result = await run(hook, sending_blocking if blocking else sending)

    assert given == [True, True, False, False]
    assert texts(result.elements) == ["A", "B"]
    assert result.response == "AB"


async def test_the_context_says_whether_the_answer_is_streamed():
    """PromptKit, `StreamMode`: known before the handler runs, where it is an async generator."""
    modes: list[bool] = []

    async def noting(ctx: Any, next: Any) -> None:
        modes.append(ctx.is_streaming())
        await next()

    async def plain(ctx: Any) -> str:
        return "x"

    await run(noting, handler=letters)
    await run(noting, handler=plain)

    assert modes == [True, False]


async def test_hooks_are_not_asked_about_an_answer_that_is_not_streamed():
    """PromptKit: chunk hooks are for streams; the whole is for the code after `next()`."""
    seen: list[str] = []

    async def plain(ctx: Any) -> str:
        return "whole"

    result = await run(Hooked("on_chunk", lambda ctx, text: seen.append(text)), handler=plain)

    assert seen == []
    assert result.response == "whole"


@pytest.mark.slow
@given(
    fragments=st.lists(st.text(max_size=3), max_size=6),
    dropped=st.sets(st.integers(0, 5)),
    capacity=st.integers(1, 3),
)
async def test_the_whole_equals_its_fragments(fragments: list[str], dropped: set[int], capacity: int):
    """semantics 1.3: whatever is streamed and whatever hooks make of it."""
    count = -1

    async def handler(ctx: Any) -> AsyncIterator[str]:
        for fragment in fragments:
            yield fragment

    def hook(ctx: Any, text: str) -> str | None:
        nonlocal count
        count += 1
        return None if count in dropped else text * 2

    adapter = wrap_middleware("it", Hooked("on_chunk", hook), handler=handler)
    got = await run_stage(adapter, ["x"], capacity=capacity)

    wholes = [one for one in got if isinstance(one, MessageElement)]
    assert "".join(texts(got)) == "".join(one.message.text for one in wholes if one.message.role == "assistant")

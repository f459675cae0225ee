"""Legacy code that takes a request and answers: its shapes, what it may return, and how each status is mapped."""

# ruff: noqa: A006, PLW0108 - written as legacy code is
from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import types
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest

from streamflow import (
    DataElement,
    ErrorElement,
    Event,
    Message,
    MessageElement,
    Metadata,
    PipelineBuilder,
    StageError,
    StreamElement,
    TextElement,
    ThinkingElement,
    TurnEnd,
)
from streamflow.elements import ImagePart, TextPart, ToolCallPart, ToolResultPart
from streamflow.errors import ConfigError, MiddlewareError, StageDefinitionError
from streamflow.middleware import MiddlewareAdapter, wrap_middleware
from streamflow.testing import run_stage


class Word(enum.Enum):
    OK = "ok"
    SKIP = "skip"
    CANCEL = "cancel"
    FAIL = "fail"
    RETRY = "retry"


@dataclasses.dataclass
class Output:
    """What a stage of the legacy kind returns."""

    status: object = Word.OK
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    artifacts: list[Any] = dataclasses.field(default_factory=list)
    events: list[Any] = dataclasses.field(default_factory=list)
    error: str | None = None


def answered(text: str, name: str = "it", turn: int = 0) -> list[StreamElement]:
    """Return the elements of a plain answer."""
    return [
        TextElement(text, id=f"{name}-{turn}"),
        MessageElement(Message("assistant", text), id=f"{name}-{turn}"),
    ]


async def answers_of(legacy: object, elements: Any = ("hi",), **options: Any) -> list[StreamElement]:
    return await run_stage(wrap_middleware("it", legacy, **options), elements)


def gives(value: object) -> Callable[[Any], Awaitable[object]]:
    """Return a call that answers with `value`."""

    async def legacy(ctx: Any) -> object:
        return value

    return legacy


# Shapes


class Executes:
    async def execute(self, ctx: Any) -> str:
        return f"executed {ctx.input_text}"


class ExecutesBlocking:
    def execute(self, ctx: Any) -> str:
        return f"executed {ctx.input_text}"


class Runs:
    async def run(self, ctx: Any) -> str:
        return f"ran {ctx.input_text}"


class Agent:
    async def run(self, input_text: str, *, stage_context: object = None) -> str:
        return f"ran {input_text}"


class Invoked:
    async def invoke(self, anything: object) -> str:
        return f"invoked {anything}"


class Processes:
    async def process(self, ctx: Any) -> str:
        return f"processed {ctx.input_text}"


class Called:
    async def __call__(self, ctx: Any) -> str:
        return f"called {ctx.input_text}"


async def asked(ctx: Any) -> str:
    return f"asked {ctx.input_text}"


def asked_blocking(ctx: Any) -> str:
    return f"asked {ctx.input_text}"


async def told(text: str) -> str:
    return f"told {text}"


async def streamed(ctx: Any) -> AsyncIterator[str]:
    for word in ("streamed", " ", ctx.input_text):
        yield word


SHAPES: dict[str, tuple[object, str]] = {
    "object with execute": (Executes(), "executed hi"),
    "class with execute": (Executes, "executed hi"),
    "blocking execute": (ExecutesBlocking(), "executed hi"),
    "object with run": (Runs(), "ran hi"),
    "class with run": (Runs, "ran hi"),
    "agent that takes a text": (Agent(), "ran hi"),
    "object with invoke": (Invoked(), "invoked hi"),
    "object with process of one": (Processes(), "processed hi"),
    "callable object": (Called(), "called hi"),
    "class of callable objects": (Called, "called hi"),
    "async function": (asked, "asked hi"),
    "blocking function": (asked_blocking, "asked hi"),
    "function of a text": (told, "told hi"),
    "lambda that returns an awaitable": (lambda ctx: asked(ctx), "asked hi"),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_each_shape_is_called_with_the_request_and_its_answer_goes_out_once(shape: str):
    """`MiddlewareAdapter`: what answers is known by its methods, and runs unchanged."""
    legacy, text = SHAPES[shape]

    assert await answers_of(legacy) == answered(text)


async def test_an_async_generator_streams_its_answer():
    """`MiddlewareAdapter`: fragments as they come, then their whole, with one id."""
    assert await answers_of(streamed) == [
        *(TextElement(text, id="it-0") for text in ("streamed", " ", "hi")),
        MessageElement(Message("assistant", "streamed hi"), id="it-0"),
    ]


async def test_a_class_is_made_anew_for_each_call_with_its_config():
    """stageflow: class runners are instantiated per execution with config kwargs; so nothing leaks from turn to turn."""

    class Counts:
        def __init__(self, step: int) -> None:
            self.count = 0
            self.step = step

        async def execute(self, ctx: Any) -> str:
            self.count += self.step
            return str(self.count)

    elements = await answers_of(Counts, ["a", TurnEnd(), "b"], config={"step": 5})

    assert [one.text for one in elements if isinstance(one, TextElement)] == ["5", "5"]


@pytest.mark.parametrize(
    ("legacy", "options", "told"),
    [
        (object(), {}, "none of the shapes"),
        ([], {}, "nothing to wrap"),
        (42, {}, "42 (int) has none"),
        (
            type("Tool", (), {"execute": lambda self, given, ctx: None}),
            {},
            "Tool.execute does not take the context alone",
        ),
        (
            type("Odd", (), {"before": lambda self, ctx: None})(),
            {},
            "before does not take the stage's name, the context",
        ),
        (type("Odd", (), {"process": lambda self, a, b, c: None})(), {}, "process does not take the context, or"),
        (type("Odd", (), {"run": lambda self, a, b: None})(), {}, "run does not take the context alone"),
        (type("Odd", (), {"execute": lambda s, c: 0, "on_chunk": lambda s, c: 0})(), {}, "on_chunk does not take"),
        (lambda: None, {}, "does not take the context"),
        (type("Needs", (Executes,), {"__init__": lambda self, client: None}), {}, "cannot be made with config={}"),
        (type("Stage", (), {"process": lambda self, input, output: None})(), {}, "is a stage already"),
        (wrap_middleware("x", asked), {}, "is a stage already"),
        (asked, {"handler": lambda ctx, next: None}, "is no handler, but middleware"),
    ],
)
def test_what_has_no_known_shape_is_refused_at_once_with_a_way_out(legacy: object, options: Any, told: str):
    """wrong arguments fail in the constructor, and the message says how to mend it."""
    with pytest.raises(StageDefinitionError, match="stage 'it'") as caught:
        wrap_middleware("it", legacy, **options)

    assert told in str(caught.value)
    assert "give " in str(caught.value)


def test_a_coroutine_is_refused_without_a_warning():
    """the function itself was meant; Python's own warning would come on top."""
    with pytest.raises(StageDefinitionError, match="without calling it"):
        MiddlewareAdapter(asked(None))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_attempts", 0),
        ("max_attempts", True),
        ("max_held", 0),
        ("backoff_s", -1),
        ("backoff_s", float("inf")),
        ("response_key", ""),
        ("config", {"a": 1}),
    ],
)
def test_a_wrong_option_names_its_field(field: str, value: object):
    """a wrong value is refused at once, by the name of its field."""
    with pytest.raises(ConfigError) as caught:
        MiddlewareAdapter(asked, **{field: value})  # type: ignore[arg-type]

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("legacy", "name"),
    [(asked, "asked"), (Executes(), "Executes"), (Executes, "Executes"), ([lambda ctx: 0, asked], "asked")],
)
def test_the_name_is_that_of_what_is_wrapped(legacy: object, name: str):
    """`MiddlewareAdapter(legacy)`: default the name of what is wrapped."""
    assert MiddlewareAdapter(legacy).name == name
    assert MiddlewareAdapter(legacy, name="other").name == "other"
    assert MiddlewareAdapter(lambda ctx: 0).name == "middleware"
    assert MiddlewareAdapter(types.SimpleNamespace(name="router", execute=asked)).name == "router"
    assert MiddlewareAdapter(functools.partial(asked)).name == "asked"


# What may be returned


class Completion:
    """A record of a model's answer."""

    content = "hello"

    def to_dict(self) -> dict[str, object]:
        return {"model": "m", "tokens": 3}


@pytest.mark.parametrize(
    "value",
    [
        "hello",
        {"response": "hello"},
        {"role": "assistant", "content": "hello"},
        Message("assistant", "hello"),
        types.SimpleNamespace(role="ai", content="hello"),
        types.SimpleNamespace(response="hello"),
        [{"role": "assistant", "content": "hello"}],
        Output(data={"response": {"role": "assistant", "content": [{"type": "text", "text": "hello"}]}}),
        Output("completed", {"response": types.SimpleNamespace(content="hello")}),
    ],
    ids=repr,
)
async def test_an_answer_in_any_of_its_forms_is_text_and_message_once(value: object):
    """semantics 1.3: the whole appears exactly once and equals its fragments, in whatever form it was given."""
    text, whole = await answers_of(gives(value))

    assert text == TextElement("hello", id="it-0")
    assert isinstance(whole, MessageElement)
    assert (whole.id, whole.message.role, whole.message.text) == ("it-0", "assistant", "hello")


async def test_a_record_of_an_answer_keeps_what_it_says_of_itself():
    """statuses: data is kept in the metadata of the answer."""
    _, whole = await answers_of(gives(Completion()))

    assert whole.metadata["model"] == "m"
    assert whole.metadata["tokens"] == 3


async def test_elements_that_it_makes_itself_go_out_as_they_are():
    """`MiddlewareAdapter`: code that knows our elements need not hide them."""
    made = [ThinkingElement("hm"), TextElement("so"), DataElement("x", 1)]

    assert await answers_of(gives(made)) == made
    assert await answers_of(gives(made[1])) == made[1:2]


async def test_a_conversation_with_tools_goes_out_message_by_message():
    """`MiddlewareAdapter`: calls and results of tools are parts of messages, not text."""
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}

    async def loop(ctx: Any) -> str:
        ctx.messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        ctx.messages.append({"role": "tool", "tool_call_id": "c1", "name": "add", "content": "2"})
        return "it is 2"

    *said, text, whole = await answers_of(loop)

    assert [one.message for one in said if isinstance(one, MessageElement)] == [
        Message("assistant", [ToolCallPart("c1", "add", Metadata({"a": 1}), '{"a": 1}')]),
        Message("tool", [ToolResultPart("c1", "2", name="add")]),
    ]
    assert [text, whole] == [
        TextElement("it is 2", id="it-0-2"),
        MessageElement(Message("assistant", "it is 2"), id="it-0-2"),
    ]


@pytest.mark.parametrize("value", [42, b"bytes", object(), ["hello", 42], Output("strange"), True])
async def test_what_is_no_answer_fails_with_what_would_be_one(value: object):
    """`MiddlewareError`: `bad_result`, and the message tells what may be returned, not what was."""
    with pytest.raises(StageError) as caught:
        await answers_of(gives(value))

    assert isinstance(caught.value.__cause__, MiddlewareError)
    assert caught.value.__cause__.code == "bad_result"
    assert "return " in str(caught.value)


async def test_an_exception_that_is_returned_is_raised():
    """Code from a language that returns its errors: an error is no answer."""
    with pytest.raises(StageError) as caught:
        await answers_of(gives(ZeroDivisionError("no")))

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("left", [42, {"role": "critic", "content": "x"}, {"role": "user"}])
async def test_what_is_left_as_a_message_and_is_none_fails(left: object):
    """`MiddlewareError`: `bad_result`; an answer that nobody can read must not be lost in silence."""

    async def legacy(ctx: Any) -> None:
        ctx.messages.append(left)

    async def other(ctx: Any) -> None:
        ctx.response = left

    for one in (legacy, other):
        with pytest.raises(StageError, match="which is no message; give a text") as caught:
            await answers_of(one)
        assert isinstance(caught.value.__cause__, MiddlewareError)


CALL = ToolCallPart("c1", "add", Metadata({"a": 1}))


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (CALL, CALL),
        ({"call_id": "c1", "name": "add", "args": {"a": 1}}, CALL),
        (types.SimpleNamespace(id="c1", function=types.SimpleNamespace(name="add", arguments={"a": 1})), CALL),
        ({"id": "c1", "name": "add", "args": "{broken"}, ToolCallPart("c1", "add", raw="{broken")),
        ({"id": "c1", "name": "add"}, ToolCallPart("c1", "add")),
    ],
    ids=["ours", "flat", "object", "broken", "no arguments"],
)
async def test_calls_of_tools_are_read_in_any_form(call: object, expected: ToolCallPart):
    """`MiddlewareAdapter`: the OpenAI form, a flat one, or ours; arguments that are no JSON stay as the model wrote them."""
    (whole,) = await answers_of(gives({"role": "assistant", "content": None, "tool_calls": [call, {"odd": 1}]}))

    assert isinstance(whole, MessageElement)
    assert whole.message.tool_calls == (expected,)


async def test_content_in_parts_is_read():
    """`MiddlewareAdapter`: our own parts, and texts of the OpenAI form."""
    picture = ImagePart(url="https://x/y.png")
    _, whole = await answers_of(gives({"role": "assistant", "content": [{"type": "text", "text": "see"}, picture]}))

    assert isinstance(whole, MessageElement)
    assert whole.message == Message("assistant", [TextPart("see"), picture])
    with pytest.raises(StageError, match="which is no answer"):
        await answers_of(gives({"role": "assistant", "content": [{"type": "image_url"}]}))


# Statuses


@pytest.mark.parametrize("status", ["ok", "completed", "SUCCESS", Word.OK, types.SimpleNamespace(name="OK", value=1)])
async def test_data_with_an_answer_is_an_answer_with_metadata(status: object):
    """statuses, ok: the answer from `response_key`, and the data in its metadata, by key and by who gave it."""
    text, whole = await answers_of(gives(Output(status, {"response": "hello", "route": "sales"})))

    assert text == TextElement("hello", id="it-0")
    assert whole.metadata == {"route": "sales", "stage_outputs": {"it": {"status": "ok", "data": {"route": "sales"}}}}


async def test_the_answer_is_found_under_another_key():
    """`response_key`: where the answer stands in returned data."""
    elements = await answers_of(gives({"reply": "hello", "response": "no"}), response_key="reply")

    assert elements[0] == TextElement("hello", id="it-0")


async def test_data_without_an_answer_is_an_element_and_the_request_goes_on_with_it():
    """statuses, ok: the whole data as one element; the next stage finds it in the metadata of the newest message."""
    history = MessageElement(Message("assistant", "before"))
    data, first, newest = await answers_of(gives(Output(data={"route": "sales"})), [history, "hi"])

    assert data == DataElement("it", {"route": "sales"})
    assert first is history
    assert newest.replace(metadata=Metadata()) == TextElement("hi")
    assert newest.metadata["route"] == "sales"


async def test_nothing_returned_lets_the_request_through_untouched():
    """`MiddlewareAdapter`: without an answer the request goes on, as the very elements that came."""
    given = [MessageElement(Message("user", "a")), TextElement("b"), TurnEnd(index=0)]

    got = await answers_of(gives(None), given)

    assert len(got) == len(given)
    assert all(one is other for one, other in zip(got, given, strict=True))


async def test_skip_lets_the_request_through_and_says_so():
    """statuses, skip: the input passes with `skipped` and the reason in its metadata."""
    (element,) = await answers_of(gives(Output(Word.SKIP, {"reason": "nothing to do"})))

    assert isinstance(element, TextElement)
    assert element.text == "hi"
    assert element.metadata["skipped"] is True
    assert element.metadata["reason"] == "nothing to do"


async def test_that_one_stage_was_skipped_is_not_said_of_the_next():
    """statuses, skip: it is about one adapter; the next one's answer is no skipped one."""
    first = wrap_middleware("first", gives(Output(Word.SKIP, {"reason": "nothing to do"})))
    second = wrap_middleware("second", asked)

    result = await PipelineBuilder().chain(first, second).build().run("hi")

    (whole,) = [one for one in result.elements if isinstance(one, MessageElement)]
    assert "skipped" not in whole.metadata
    assert whole.metadata["stage_outputs"] == {"first": {"status": "skip", "data": {"reason": "nothing to do"}}}


@pytest.mark.parametrize(
    "how", ["status", "ctx.raise_if_cancelled()", "StageCancellationRequested", "UnifiedPipelineCancelled"]
)
async def test_cancel_ends_the_stage_early_without_an_error(how: str):
    """statuses, cancel: downstream drains what was sent, the run is a success, and listeners hear the reason."""
    heard: list[Event] = []
    closed: list[str] = []

    async def legacy(ctx: Any) -> object:
        if ctx.input_text == "a":
            return "first"
        if how == "status":
            return Output(Word.CANCEL, {"cancel_reason": "enough"})
        if how == "ctx.raise_if_cancelled()":
            ctx.mark_canceled("enough")
            await ctx.cancellation_checkpoint()
        error = type(how, (Exception,), {"reason": "enough"})
        raise error("some text")

    async def source() -> AsyncIterator[StreamElement]:
        try:
            for text in "abc":
                yield TextElement(text)
                yield TurnEnd()
            await anyio.sleep_forever()
        finally:
            closed.append("source")

    pipeline = PipelineBuilder().chain(wrap_middleware("it", legacy)).on_event(heard.append).build()
    result = await pipeline.run(source())

    assert result.reason == "done"
    assert list(result.elements) == [*answered("first"), TurnEnd()]
    assert closed == ["source"]
    assert [(one.name, one.stage, one.data) for one in heard if one.name.startswith("middleware")] == [
        ("middleware.cancelled", "it", {"reason": "enough"})
    ]


async def test_fail_fails_the_stage_and_shows_nothing_that_may_be_secret():
    """statuses, fail: a clear error; the legacy words are its cause, and stand in no message that may reach a client."""
    legacy = wrap_middleware("it", gives(Output(Word.FAIL, {"error_type": "AuthError"}, error="bad key sk-123")))
    seen: list[StreamElement] = []

    with pytest.raises(StageError) as caught:
        async with PipelineBuilder().chain(legacy).build().execute("hi") as run:
            async for element in run:
                seen.append(element)

    error = caught.value.__cause__
    assert isinstance(error, MiddlewareError)
    assert error.code == "failed"
    assert (
        str(error)
        == "stage 'it': its middleware 'it' reported a failure (AuthError); what it said is the cause of this error"
    )
    assert str(error.__cause__) == "bad key sk-123"
    assert "sk-123" not in str(caught.value)
    assert isinstance(seen[0], ErrorElement)
    assert "sk-123" not in seen[0].message


async def test_what_is_raised_is_the_cause_as_it_is():
    """the traceback ends in the user's code; nothing is wrapped around it."""

    async def legacy(ctx: Any) -> None:
        raise KeyError("x")

    with pytest.raises(StageError, match="KeyError") as caught:
        await answers_of(legacy)

    assert type(caught.value.__cause__) is KeyError


async def test_retry_is_tried_again_with_growing_waits_until_it_answers():
    """statuses, retry: stageflow itself never retried; here each wait doubles, on the loop's clock."""
    tries: list[float] = []
    heard: list[Event] = []

    async def legacy(ctx: Any) -> object:
        tries.append(anyio.current_time())
        ctx.messages.append({"role": "assistant", "content": "half an answer"})
        return Output(Word.RETRY, error="busy") if len(tries) < 4 else "at last"

    stage = wrap_middleware("it", legacy, max_attempts=4, backoff_s=0.5)
    start = anyio.current_time()
    result = await PipelineBuilder().chain(stage).on_event(heard.append).build().run("hi")

    assert [round(when - start, 6) for when in tries] == [0, 0.5, 1.5, 3.5]
    assert [one.text for one in result.messages] == ["half an answer", "at last"]
    assert [(one.data["attempt"], one.data["delay_s"]) for one in heard if one.name == "middleware.retry"] == [
        (1, 0.5),
        (2, 1.0),
        (3, 2.0),
    ]


async def test_retry_without_end_is_an_error():
    """statuses, retry: exhausted is a failure, with the last words as its cause."""
    tries = 0

    async def legacy(ctx: Any) -> object:
        nonlocal tries
        tries += 1
        return Output("retry", error="busy")

    with pytest.raises(StageError) as caught:
        await answers_of(legacy, max_attempts=2, backoff_s=0)

    error = caught.value.__cause__
    assert tries == 2
    assert isinstance(error, MiddlewareError)
    assert error.code == "retries_exhausted"
    assert "max_attempts" in str(error)
    assert str(error.__cause__) == "busy"


async def test_one_stage_of_a_graph_that_failed_fails_the_graph():
    """statuses: the results of a graph are its stages'; one of them that failed is not counted as done."""
    results = {"first": Output(data={"response": "x"}), "second": Output("fail", error="broken")}

    with pytest.raises(StageError) as caught:
        await answers_of(gives(results))

    assert isinstance(caught.value.__cause__, MiddlewareError)
    assert str(caught.value.__cause__.__cause__) == "broken"


async def test_one_stage_of_a_graph_that_was_cancelled_ends_the_stage_early():
    """statuses, cancel: also where the graph returns its results, and raises nothing."""
    results = {"first": Output(data={"response": "x"}), "second": Output("cancel", {"cancel_reason": "enough"})}

    assert await answers_of(gives(results), ["a", TurnEnd(), "b"]) == []


async def test_one_stage_of_a_graph_that_asks_for_a_retry_runs_the_graph_again():
    """statuses, retry: the original counted it as completed, and what depended on it ran."""
    tries = 0

    async def graph(ctx: Any) -> object:
        nonlocal tries
        tries += 1
        return {
            "first": Output(data={"n": tries}),
            "second": Output("ok" if tries == 3 else "retry", {"response": "x"}),
        }

    data, *answer = await answers_of(graph)

    assert tries == 3
    assert data == DataElement("first", {"n": 3})
    assert [one.text for one in answer if isinstance(one, TextElement)] == ["x"]


# What else comes of it


async def test_artifacts_are_elements_and_events_go_to_the_listeners():
    """statuses: artifacts as own elements, events to the event bus; both of the outcome and of the context."""
    heard: list[Event] = []

    async def legacy(ctx: Any) -> object:
        ctx.emit_event("chat.token", {"token": "a"})
        ctx.event_sink.try_emit(type="chat.other", data={"n": 1})
        await ctx.event_sink.emit(type="chat.more", data=None)
        ctx.event_emitter.emit("chat.last")  # not awaited, and no warning
        ctx.artifacts.append(types.SimpleNamespace(type="note", payload="written"))
        artifact = types.SimpleNamespace(type="transcript", payload={"text": "hi"})
        event = types.SimpleNamespace(type="progress", data={"done": 1})
        return Output(Word.OK, {"response": "hello"}, [artifact], [event])

    pipeline = PipelineBuilder().chain(wrap_middleware("it", legacy)).on_event(heard.append).build()
    result = await pipeline.run("hi")

    assert [one for one in result.elements if isinstance(one, DataElement)] == [
        DataElement("transcript", {"text": "hi"}, metadata=Metadata({"stage": "it"})),
        DataElement("note", "written", metadata=Metadata({"stage": "it"})),
    ]
    told = [(one.name, one.data) for one in heard if one.name.startswith(("chat", "progress"))]
    assert told == [
        ("chat.token", {"token": "a"}),
        ("chat.other", {"n": 1}),
        ("chat.more", {}),
        ("chat.last", {}),
        ("progress", {"done": 1}),
    ]


async def test_events_carry_the_ids_that_came_with_the_request():
    """stageflow: events are enriched with the ids that correlate them; those that did not come are not made up."""
    heard: list[Event] = []

    async def legacy(ctx: Any) -> None:
        ctx.try_emit_event("seen", {"n": 1})

    source = TextElement("hi", metadata=Metadata({"request_id": "r1", "execution_mode": "test"}))
    await PipelineBuilder().chain(wrap_middleware("it", legacy)).on_event(heard.append).build().run(source)

    assert [one.data for one in heard if one.name == "seen"] == [{"request_id": "r1", "execution_mode": "test", "n": 1}]


async def test_data_becomes_json_and_what_cannot_is_told():
    """semantics 1.2: metadata is JSON; what is lost of the data is not lost in silence."""
    heard: list[Event] = []
    day, number = datetime.date(2024, 5, 1), uuid.UUID(int=7)
    data = {
        "response": "x",
        "day": day,
        "id": number,
        "word": Word.OK,
        "odd": object(),
        "nan": float("nan"),
        "c": Completion(),
    }

    stage = wrap_middleware("it", gives(Output(Word.OK, data)))
    result = await PipelineBuilder().chain(stage).on_event(heard.append).build().run("hi")

    metadata = result.elements[-1].metadata
    assert (metadata["day"], metadata["id"], metadata["word"]) == ("2024-05-01", str(number), "ok")
    assert metadata["c"] == {"model": "m", "tokens": 3}
    assert "odd" not in metadata
    assert [one.data for one in heard if one.name == "middleware.not_json"] == [{"keys": ["odd", "nan"]}]


def numbers(ctx: Any) -> Iterator[str]:
    yield "one"
    yield "two"


async def test_a_blocking_generator_streams_too():
    """`MiddlewareAdapter`: a blocking iterator goes on as it comes, a step at a time in a thread."""
    assert await answers_of(numbers) == [
        TextElement("one", id="it-0"),
        TextElement("two", id="it-0"),
        MessageElement(Message("assistant", "onetwo"), id="it-0"),
    ]

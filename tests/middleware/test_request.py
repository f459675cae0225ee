"""The boundary of a request: what one turn becomes, what goes out again, and what does not."""

# ruff: noqa: A002 - written as legacy code is
from __future__ import annotations

import copy
import datetime
import json
import uuid
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    AudioElement,
    DataElement,
    ErrorElement,
    ImageElement,
    Message,
    MessageElement,
    Metadata,
    PipelineBuilder,
    StageError,
    StreamElement,
    TextElement,
    TurnEnd,
)
from streamflow.elements import ImagePart, TextPart, ToolCallPart, ToolResultPart
from streamflow.errors import ElementError
from streamflow.middleware import wrap_middleware
from streamflow.providers import ProviderStage, ScriptedProvider
from streamflow.stages import PromptStage, RouteRule, RouteStage
from streamflow.testing import run_stage


class Recorder:
    """A call that keeps each context it was given, and answers if it was told to."""

    def __init__(self, answer: object = None) -> None:
        self.contexts: list[Any] = []
        self.seen: list[list[tuple[str, str]]] = []
        self.answer = answer

    async def execute(self, ctx: Any) -> object:
        self.contexts.append(ctx)
        self.seen.append([(one["role"], one["content"]) for one in ctx.messages])
        return self.answer


def whole(role: Any, text: str, **metadata: Any) -> MessageElement:
    return MessageElement(Message(role, text), metadata=Metadata(metadata))


HISTORY = (whole("user", "before"), whole("assistant", "history"))


def told(elements: list[StreamElement] | tuple[StreamElement, ...]) -> list[tuple[str, str]]:
    return [(one.message.role, one.message.text) for one in elements if isinstance(one, MessageElement)]


# What comes in


async def test_one_turn_is_one_call_with_all_that_came():
    """semantics 3.3: it accumulates until `TurnEnd`, or the end; text is a message of the user."""
    recorder = Recorder()

    await run_stage(wrap_middleware("it", recorder), [*HISTORY, "hi", TurnEnd(), TurnEnd(index=1), "again"])

    assert recorder.seen == [[("user", "before"), ("assistant", "history"), ("user", "hi")], [("user", "again")]]


@pytest.mark.parametrize("empty", [TextElement(""), whole("user", ""), MessageElement(Message("user", []))])
async def test_a_turn_without_content_calls_nothing_and_passes(empty: StreamElement):
    """`MiddlewareAdapter`: there is nothing to ask; what came goes on."""
    recorder = Recorder("answer")

    got = await run_stage(wrap_middleware("it", recorder), [empty, TurnEnd()])

    assert recorder.contexts == []
    assert got == [empty, TurnEnd()]


async def test_fragments_of_one_whole_are_one_message_whether_it_came_or_not():
    """semantics 1.3: fragments and whole share an id; read twice, the model would hear everything twice."""
    recorder = Recorder()
    source = [
        *(TextElement(text, id="a") for text in ("streamed ", "answer")),
        MessageElement(Message("assistant", "streamed answer"), id="a"),
        *(TextElement(text, id="b") for text in ("spoken ", "words")),
        TextElement("typed"),
        TextElement("more"),
    ]

    got = await run_stage(wrap_middleware("it", recorder), source)

    assert recorder.seen == [
        [("assistant", "streamed answer"), ("user", "spoken words"), ("user", "typed"), ("user", "more")]
    ]
    assert got == source


async def test_a_whole_ends_its_fragments():
    """semantics 1.3: a whole comes last; what has its id after it is another message, and neither is lost."""
    recorder = Recorder()
    source = [TextElement("a", id="x"), MessageElement(Message("assistant", "a"), id="x"), TextElement("b", id="x")]

    await run_stage(wrap_middleware("it", recorder), source)

    assert recorder.seen == [[("assistant", "a"), ("user", "b")]]


async def test_the_metadata_of_all_elements_is_that_of_the_request():
    """seed 001: later ones laid over earlier ones; the special keys have fields of their own."""
    recorder = Recorder()
    source = [
        whole("user", "a", system_prompt="Be brief.", route="general", session_id="s"),
        whole("user", "b", variables={"name": "Ann"}, allowed_tools=["add", "mul"], route="sales"),
    ]

    await run_stage(wrap_middleware("it", recorder), source)

    (ctx,) = recorder.contexts
    assert ctx.system_prompt == "Be brief."
    assert ctx.variables == {"name": "Ann"}
    assert ctx.allowed_tools == ["add", "mul"]
    assert ctx.metadata == {"route": "sales", "session_id": "s"}


async def test_a_special_key_of_a_wrong_type_is_ignored():
    """seed 001: what another stage has put there by chance breaks nothing."""
    recorder = Recorder()

    source = whole("user", "a", system_prompt=1, variables="x", allowed_tools={"a": 1}, stage_outputs={"x": 1})
    await run_stage(wrap_middleware("it", recorder), [source])

    (ctx,) = recorder.contexts
    assert (ctx.system_prompt, ctx.variables, ctx.allowed_tools) == ("", {}, [])
    assert ctx.inputs.get_output("x").data == {}


async def test_what_it_does_not_accept_passes_behind_its_results():
    """semantics 3.3: audio, data and errors are nobody's request."""
    sound, data, error = AudioElement(b""), DataElement("x", 1), ErrorElement("code", "message")

    got = await run_stage(wrap_middleware("it", Recorder("answer")), [sound, "hi", data, error, TurnEnd()])

    assert got[0] == sound
    assert [type(one).__name__ for one in got[1:]] == [
        "TextElement",
        "MessageElement",
        "DataElement",
        "ErrorElement",
        "TurnEnd",
    ]


async def test_what_one_turn_may_hold_is_bounded():
    """semantics 5.4: more than `max_held` elements are an error that says what to do."""
    stage = wrap_middleware("it", Recorder(), max_held=2)

    assert await run_stage(stage, ["a", "b", TurnEnd(), "c", "d"])
    with pytest.raises(StageError, match="send TurnEnd in time, or raise max_held") as caught:
        await run_stage(wrap_middleware("it", Recorder(), max_held=2), ["a", "b", "c"])

    assert isinstance(caught.value.__cause__, ElementError)
    assert (
        PipelineBuilder().chain(wrap_middleware("it", Recorder(), max_held=5)).build().max_in_flight == 16 + 16 + 5 + 1
    )


# What goes out


async def test_history_is_not_sent_again():
    """seed 001: the original sent the history again at every adapter, and stores got it twice; only what is new leaves."""
    got = await run_stage(wrap_middleware("it", Recorder("answer")), [*HISTORY, "hi", TurnEnd()])

    assert told(got) == [("assistant", "answer")]
    assert [one.text for one in got if isinstance(one, TextElement)] == ["answer"]


async def test_a_chain_of_adapters_sees_each_message_once_and_gives_the_answer_once():
    """seed 001: `wrap(prompt) → wrap(provider)` runs as before: the request goes on until somebody answers it."""
    provider = Recorder("answer")

    async def prompt(ctx: Any, next: Any) -> None:
        ctx.system_prompt = "Be brief."
        ctx.variables["name"] = "Ann"
        await next()

    chain = (
        wrap_middleware("prompt", prompt),
        wrap_middleware("noop", Recorder()),
        wrap_middleware("provider", provider),
    )
    result = await PipelineBuilder().chain(*chain).build().run([*HISTORY, TextElement("hi"), TurnEnd()])

    assert provider.seen == [[("user", "before"), ("assistant", "history"), ("user", "hi")]]
    assert (provider.contexts[0].system_prompt, provider.contexts[0].variables) == ("Be brief.", {"name": "Ann"})
    assert told(result.elements) == [("assistant", "answer")]
    assert result.text == result.response == "answer"


@pytest.mark.parametrize("how", ["append", "new list", "deep copy", "plain dicts"])
async def test_only_new_messages_are_new_however_the_list_is_rebuilt(how: str):
    """seed 001: legacy code copies and rebuilds its messages; a copy that says the same is the same message."""

    async def answering(ctx: Any) -> None:
        answer = {"role": "assistant", "content": "history"}  # the same words again are new words
        if how == "append":
            ctx.messages.append(answer)
        elif how == "new list":
            ctx.messages = [*ctx.messages, answer]
        elif how == "deep copy":
            ctx.messages = [*copy.deepcopy(ctx.messages), answer]
        else:
            ctx.messages = [*({"role": one["role"], "content": one["content"]} for one in ctx.messages), answer]

    assert told(await run_stage(wrap_middleware("it", answering), [*HISTORY, "hi"])) == [("assistant", "history")]


@pytest.mark.parametrize("dropped", [0, 1])
async def test_a_history_that_was_written_anew_is_no_answer(dropped: int):
    """seed 001: middleware that masks or shortens the history makes new messages of it; they are the model's business."""

    async def masking(ctx: Any, next: Any) -> None:
        ctx.messages = [{"role": one.role, "content": "***"} for one in ctx.messages[dropped:]]
        await next()

    got = await run_stage(wrap_middleware("it", masking, handler=Recorder("answer")), [*HISTORY, "hi"])

    assert told(got) == [("assistant", "answer")]


async def test_a_message_that_is_also_the_response_is_sent_once():
    """seed 001: the original compared, too: middleware appends its answer and sets it as the response."""

    async def answering(ctx: Any) -> None:
        ctx.messages.append({"role": "assistant", "content": "answer"})
        ctx.response = "answer"

    assert told(await run_stage(wrap_middleware("it", answering), ["hi"])) == [("assistant", "answer")]


async def test_what_belongs_to_the_request_does_not_go_out_with_the_answer():
    """seed 001: a system message or a rewritten question is for the model, and no part of the answer."""

    async def rewriting(ctx: Any, next: Any) -> None:
        ctx.messages.insert(0, {"role": "system", "content": "Be brief."})
        ctx.messages[-1] = {"role": "user", "content": "rewritten"}
        await next()

    handler = Recorder("answer")
    got = await run_stage(wrap_middleware("it", rewriting, handler=handler), ["hi"])

    (ctx,) = handler.contexts
    assert [one["content"] for one in ctx.messages] == ["Be brief.", "rewritten"]
    assert (ctx.input_text, [one.role for one in ctx.snapshot.messages]) == ("rewritten", ["system"])
    assert told(got) == [("assistant", "answer")]


async def test_an_unanswered_request_goes_on_as_middleware_left_it():
    """seed 001: added, changed and dropped messages; what was left alone is the element that came, with its parts and header."""
    picture = MessageElement(Message("user", [TextPart("what is this?"), ImagePart(url="https://x/y.png")]), id="p")
    source = [*HISTORY, picture, whole("user", "secret", tag=1)]

    async def editing(ctx: Any, next: Any) -> None:
        ctx.messages.insert(0, {"role": "system", "content": "Be brief."})
        del ctx.messages[1]
        ctx.messages[-1].content = "[removed]"
        await next()

    got = await run_stage(wrap_middleware("it", editing), source)

    assert told(got) == [
        ("system", "Be brief."),
        ("assistant", "history"),
        ("user", "what is this?"),
        ("user", "[removed]"),
    ]
    assert got[1] is HISTORY[1]
    assert got[2] is picture
    assert got[3].metadata == {"tag": 1}


async def test_a_changed_text_keeps_what_was_beside_it():
    """seed 001: legacy code sees the text alone; the picture must not be lost with it."""
    picture = MessageElement(Message("user", [TextPart("what is this?"), ImagePart(url="https://x/y.png")]))

    async def editing(ctx: Any, next: Any) -> None:
        ctx.messages[0]["content"] = "what?"
        await next()

    (got,) = await run_stage(wrap_middleware("it", editing), [picture])

    assert isinstance(got, MessageElement)
    assert got.message == Message("user", [TextPart("what?"), ImagePart(url="https://x/y.png")])


async def test_what_middleware_finds_out_travels_in_the_metadata_and_nothing_else():
    """seed 001: only what is new or changed is laid over the newest element."""

    async def finding(ctx: Any, next: Any) -> None:
        ctx.metadata["lang"] = "de"
        ctx.system_prompt = "Be brief."
        await next()

    first, last = await run_stage(wrap_middleware("it", finding), [whole("user", "a"), whole("user", "b", route="x")])

    assert first == whole("user", "a")
    assert last.metadata == {"route": "x", "lang": "de", "system_prompt": "Be brief."}


async def test_the_answer_carries_on_what_is_known_of_the_request():
    """`MiddlewareAdapter`: a later stage needs the session, and the cost; what was for the model's prompt ends here."""

    async def answering(ctx: Any) -> str:
        ctx.cost_info["total"] = 0.1
        ctx.trace.llm_calls.append({"n": 1})
        ctx.pending_tool_calls.append({"id": "c"})
        return "answer"

    source = whole("user", "a", session_id="s", system_prompt="Be brief.")
    text, answer = await run_stage(wrap_middleware("it", answering), [source])

    assert text.metadata == {}
    assert answer.metadata == {
        "session_id": "s",
        "cost_info": {"total": 0.1},
        "trace": [{"n": 1}],
        "pending_tool_calls": [{"id": "c"}],
    }


async def test_outputs_reach_the_next_adapter_by_stage_and_by_key():
    """stageflow: `ctx.inputs` works across adapters too; what two stages gave under one key is told apart."""
    router, model = Recorder({"route": "sales", "x": 1}), Recorder({"response": "answer", "x": 2})
    last = Recorder()

    chain = [wrap_middleware(name, one) for name, one in (("router", router), ("model", model), ("last", last))]
    await PipelineBuilder().chain(*chain).build().run("hi")

    inputs = last.contexts[0].inputs
    assert (inputs.get_from("router", "x"), inputs.get_from("model", "x"), inputs.get("x")) == (1, 2, 2)
    assert inputs.get_from("model", "response") == inputs.get("response") == "answer"
    assert list(inputs.prior_outputs) == ["router", "model"]
    assert inputs.get_output("model").status == "ok"
    assert model.contexts[0].inputs.get("route") == "sales"


async def test_the_latest_output_counts_also_when_a_name_comes_again():
    """stageflow: who gave a key last is who is heard, also a stage that had given something before."""
    source = whole(
        "user", "hi", stage_outputs={"a": {"status": "ok", "data": {"x": 1}}, "b": {"status": "ok", "data": {"x": 2}}}
    )
    last = Recorder()

    chain = wrap_middleware("a", Recorder({"x": 3})), wrap_middleware("last", last)
    await PipelineBuilder().chain(*chain).build().run(source)

    inputs = last.contexts[0].inputs
    assert inputs.get("x") == 3
    assert list(inputs.prior_outputs) == ["b", "a"]


async def test_outputs_of_others_alone_change_no_element():
    """`MiddlewareAdapter`: who finds out nothing lets the very element through, whatever it carries."""
    source = whole("user", "hi", stage_outputs={"a": {"status": "ok", "data": {"x": 1}}})

    (got,) = await run_stage(wrap_middleware("it", Recorder()), [source])

    assert got is source


async def test_it_stands_among_our_own_stages():
    """`MiddlewareAdapter`: routes of ours reach legacy code, its system messages and messages reach our prompt and model."""
    seen = Recorder()
    route = RouteStage([RouteRule("sales", ["buy"])])
    provider = ScriptedProvider()
    pipeline = (
        PipelineBuilder()
        .chain(
            route, wrap_middleware("seen", seen), PromptStage({"general": "G", "sales": "S"}), ProviderStage(provider)
        )
        .build()
    )

    result = await pipeline.run([*HISTORY, TextElement("I buy it"), TurnEnd()])

    assert seen.contexts[0].metadata["route"] == "sales"
    assert seen.contexts[0].inputs.get("route") == "sales"
    assert len(result.messages) == 1


# What the context has


async def test_the_snapshot_is_the_request_as_stages_of_the_legacy_kind_read_it():
    """stageflow: `ContextSnapshot`: the newest text apart from the history, ids as UUIDs, whatever else came."""
    recorder = Recorder()
    session = uuid.UUID(int=5)
    source = [
        *HISTORY,
        whole("user", "hi", session_id=str(session), user_id="ann", topology="chat", execution_mode="test"),
    ]

    await run_stage(wrap_middleware("it", recorder), source)

    snapshot = recorder.contexts[0].snapshot
    assert snapshot.input_text == "hi"
    assert [(one.role, one.content, one.timestamp, one.metadata) for one in snapshot.messages] == [
        ("user", "before", None, {}),
        ("assistant", "history", None, {}),
    ]
    assert (snapshot.session_id, snapshot.user_id, snapshot.org_id) == (session, "ann", None)
    assert (snapshot.topology, snapshot.execution_mode, snapshot.enrichments) == ("chat", "test", None)
    assert isinstance(snapshot.pipeline_run_id, uuid.UUID)
    assert snapshot.run_id.pipeline_run_id == snapshot.pipeline_run_id
    assert [one.content for one in snapshot.conversation.messages] == ["before", "history"]
    assert (snapshot.profile, snapshot.memory, snapshot.documents, snapshot.web_results) == (None, None, [], [])
    told = json.loads(json.dumps(snapshot.to_dict()))
    assert told["session_id"] == str(session)
    assert told["messages"][0] == {"role": "user", "content": "before", "timestamp": None, "metadata": {}}


async def test_the_context_has_what_both_worlds_ask_of_it():
    """stageflow and PromptKit: the fields and methods by which legacy code knows its context."""
    recorder = Recorder()

    await run_stage(wrap_middleware("it", recorder), [whole("user", "hi", conversation_id="c")], deps={"db": 1})

    (ctx,) = recorder.contexts
    assert (ctx.stage_name, ctx.input_text, ctx.conversation_id, ctx.request_id) == ("it", "hi", "c", None)
    assert ctx.deps == ctx.inputs.ports == {"db": 1}
    assert ctx.run_id.startswith("run-")
    assert isinstance(ctx.pipeline_run_id, uuid.UUID)
    assert (ctx.prompt, ctx.tools, ctx.tool_results, ctx.raw_response, ctx.error) == ("", [], [], None, None)
    assert (ctx.is_streaming(), ctx.stream_interrupted, ctx.interrupt_reason) == (False, False, "")
    assert (ctx.is_cancelled, ctx.is_canceled, ctx.cancellation_reason, ctx.is_child_run) == (False, False, None, False)
    assert ctx.as_pipeline_context(data={"a": 1}) is ctx
    assert ctx.data == {"a": 1}
    assert ctx.to_dict()["stage_name"] == "it"
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = ctx.no_such_thing


async def test_inputs_are_as_strict_about_keys_as_the_original():
    """stageflow: None is a TypeError, an empty key a ValueError, what is required and not there a KeyError that says what is."""
    recorder = Recorder()

    await run_stage(wrap_middleware("it", recorder), ["hi"])

    inputs = recorder.contexts[0].inputs
    assert inputs.get("x", 1) == 1
    assert inputs.get_from("a", "x", 2) == 2
    assert inputs.get_output("a") is None
    for bad, error in ((None, TypeError), ("", ValueError)):
        with pytest.raises(error):
            inputs.get(bad)
    with pytest.raises(KeyError, match="'a' has given nothing here"):
        inputs.require_from("a", "x")


async def test_time_is_that_of_the_loop_and_never_goes_back():
    """seed 000: one timer per run, in milliseconds; here monotonic, and virtual in tests."""
    times: list[int] = []
    dates: list[datetime.datetime] = []

    async def waiting(ctx: Any) -> None:
        times.append(ctx.timer.elapsed_ms())
        dates.append(ctx.now())
        await anyio.sleep(90)
        times.append(ctx.timer.elapsed_ms())
        dates.append(ctx.now())
        assert ctx.timer.now_ms() == ctx.timer.pipeline_start_ms + 90_000
        assert ctx.started_at == ctx.timer.started_at

    await run_stage(wrap_middleware("it", waiting), ["hi"], timeout_s=None)

    assert times == [0, 90_000]
    assert dates[1] - dates[0] == datetime.timedelta(seconds=90)
    assert dates[0].tzinfo is datetime.UTC


async def test_messages_are_plain_dicts_in_the_chat_format():
    """`LegacyMessage`: a client of a model can be given the messages as they are, calls and results of tools too."""
    recorder = Recorder()
    call = Message("assistant", [ToolCallPart("c1", "add", Metadata({"a": 1}))], name="bot")
    result = Message("tool", [ToolResultPart("c1", "2", name="add")])

    await run_stage(wrap_middleware("it", recorder), [MessageElement(call), MessageElement(result), "hi"])

    assert json.loads(json.dumps(recorder.contexts[0].messages)) == [
        {
            "role": "assistant",
            "content": "",
            "name": "bot",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
        },
        {"role": "tool", "content": "2", "tool_call_id": "c1"},
        {"role": "user", "content": "hi"},
    ]


# Properties

MESSAGES = st.builds(whole, st.sampled_from(["system", "user", "assistant"]), st.text(min_size=1, max_size=3))
FRAGMENTS = st.builds(TextElement, st.text(min_size=1, max_size=3), id=st.sampled_from(["", "a", "b"]))
OTHERS = st.sampled_from(
    [AudioElement(b""), DataElement("x", 1), ImageElement(url="u"), TurnEnd(), ErrorElement("c", "m")]
)


@pytest.mark.slow
@given(source=st.lists(MESSAGES | FRAGMENTS | OTHERS, max_size=12), capacity=st.integers(1, 3))
async def test_middleware_that_does_nothing_loses_doubles_and_changes_nothing(
    source: list[StreamElement], capacity: int
):
    """semantics 2.1: whatever comes, each element leaves once, as it came, what was taken in the order in which it was taken."""

    async def nothing(ctx: Any, next: Any) -> None:
        ctx.messages = copy.deepcopy(ctx.messages)
        await next()

    got = await run_stage(wrap_middleware("it", nothing), source, capacity=capacity)

    taken = (TextElement, MessageElement, TurnEnd)
    assert [id(one) for one in got if isinstance(one, taken)] == [id(one) for one in source if isinstance(one, taken)]
    assert sorted(map(id, got)) == sorted(map(id, source))


@pytest.mark.slow
@given(source=st.lists(MESSAGES | FRAGMENTS | OTHERS, max_size=12), capacity=st.integers(1, 3))
async def test_each_turn_with_content_is_answered_once(source: list[StreamElement], capacity: int):
    """`MiddlewareAdapter`: one call per turn with content, and nothing of what came in goes out with the answer."""
    recorder = Recorder("answer")

    got = await run_stage(wrap_middleware("it", recorder), source, capacity=capacity)

    turns: list[list[StreamElement]] = [[]]
    for element in source:
        if isinstance(element, TurnEnd):
            turns.append([])
        elif isinstance(element, (TextElement, MessageElement)):
            turns[-1].append(element)
    asked = sum(map(bool, turns))
    assert len(recorder.contexts) == asked
    assert told(got) == [("assistant", "answer")] * asked
    assert len([one for one in got if isinstance(one, TextElement)]) == asked

"""Rows T4–T6 and T8: seed 003's classification, from the model to the store, and what the original got wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow import ConfigError, DataElement, ElementError, Message, PipelineConfig, StageError, TextElement, TurnEnd
from streamflow.apps import ClassificationStream, save_to
from streamflow.elements import StopReason
from streamflow.errors import ProviderError, StateError
from streamflow.providers import (
    CutStep,
    DelayStep,
    ErrorStep,
    NamedTool,
    ScriptedProvider,
    ScriptTurn,
    Step,
    StopStep,
    TextStep,
    ToolCallStep,
    ToolSpec,
    split_chars,
    split_randomly,
)
from streamflow.state import MemoryStore
from streamflow.testing import assert_all_stages_stopped
from streamflow.transports import sse_response
from tests.support.asgi import ask, asking

BUDGET = 'What\'s your "crispy" budget range, in \u20b9 or \U0001f600?\nSay it.'
PEOPLE = "How many people are you expecting?"
FORM = {
    "reasoning": "The user wants chips for a party.",
    "route": "product",
    "ask_slots": [
        {"message": BUDGET, "slot_name": "budget", "options": ["a]", "b}", '"message": "not a question at all"']},
        {"message": PEOPLE, "slot_name": "people", "options": []},
        {"message": "Short?"},
    ],
    "simple_response": {"extra": {"message": "This is not the answer."}, "message": "Hi! I'm your shopping assistant."},
}
SEEN = [
    ("ask_message_delta", BUDGET),
    ("ask_message_delta", PEOPLE),
    ("simple_response_delta", "Hi! I'm your shopping assistant."),
]
FALLBACK = {"route": "general", "simple_response": {"message": "I'm having trouble understanding."}}
SECRET = "sk-secret-0123456789"
TOOL = ToolSpec("classify_and_assess", parameters={"type": "object", "required": ["route"]})


class Saved:
    """A store that counts."""

    def __init__(self, *, takes_s: float = 0.0, error: Exception | None = None) -> None:
        self.forms: list[Any] = []
        self.began = 0
        self.takes_s, self.error = takes_s, error

    async def __call__(self, form: Any, run: Any) -> None:
        self.began += 1
        await anyio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        self.forms.append(form)


def call(form: object = FORM, *, raw: str | None = None, tool: str = TOOL.name) -> ToolCallStep:
    return ToolCallStep(tool, raw=json.dumps(form) if raw is None else raw)


def model(*steps: Step, **options: Any) -> ScriptedProvider:
    return ScriptedProvider(turns=[ScriptTurn([*steps], times=None)], **{"split": split_chars(7), **options})


def stream(*steps: Step, **options: Any) -> ClassificationStream:
    return ClassificationStream(model(*steps), TOOL, **options)


async def events_of(classify: ClassificationStream, text: str = "chips") -> list[tuple[str, Any]]:
    events: list[tuple[str, Any]] = []
    await classify.classify(text, emit=lambda name, data: events.append((name, data)))
    return events


async def test_t4_the_events_come_in_the_order_of_the_seed() -> None:
    """T4: start, the strings in the order of the document, complete behind them; short ones and look-alikes are not told."""
    events = await events_of(stream(call()))

    expected = [(name, {"text": text}) for name, text in SEEN]
    assert events == [("classification_start", {}), *expected, ("classification_complete", {})]


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), longest=st.integers(1, 400))
async def test_t4_the_events_do_not_depend_on_how_the_form_is_cut(seed: int, longest: int) -> None:
    """T2, T4: escapes, surrogate pairs and keys cut anywhere. The original told one event per fragment, and raw escapes."""
    provider = model(call(), split=split_randomly(seed, longest))

    events = await events_of(ClassificationStream(provider, TOOL))

    assert [(name, data["text"]) for name, data in events[1:-1]] == SEEN


async def test_t4_a_string_is_seen_when_it_closes_and_the_start_before_the_model_answers() -> None:
    """T4: live, a fragment a second. The original collected everything and sent it when the model had ended."""
    provider = model(call({"route": "a", "ask_slots": [{"message": "A question?"}], "rest": "x" * 70}), delay_s=1)
    began = anyio.current_time()
    at: dict[str, float] = {}

    await ClassificationStream(provider, TOOL).classify(
        "hi", emit=lambda name, _: at.update({name: anyio.current_time() - began})
    )

    assert at["classification_start"] == 0
    assert 0 < at["ask_message_delta"] < at["classification_complete"] - 5


async def test_t4_the_model_is_forced_to_the_tool_and_reads_the_history() -> None:
    """T4: `tool_choice`; system, history, message; watching and waiting are one path, so one call and one form."""
    provider = model(call())
    classify = ClassificationStream(provider, TOOL, system="Classify.")

    watched = [one async for one in classify.stream("chips", history=[Message("user", "hi")])]
    waited = await classify.classify("chips")

    request = provider.requests[0]
    assert (request.tools, request.tool_choice) == ((TOOL,), NamedTool(TOOL.name))
    assert [one.text for one in request.messages] == ["Classify.", "hi", "chips"]
    (form,) = [one for one in watched if isinstance(one, DataElement)]
    assert waited.form == json.loads(json.dumps(FORM))
    assert form.value == waited.form
    assert provider.calls == 2


async def test_t5_a_whole_form_is_saved_once_behind_the_strings_and_before_it_is_told() -> None:
    """T5: exactly once; the end of the turn and `classification` come after the commit."""
    saved = Saved(takes_s=3)
    order: list[str] = []

    async with stream(call(), save=saved).stream("chips") as run:
        async for element in run:
            if isinstance(element, TextElement):
                assert len(saved.forms) == 0
                order.append("text")
            elif isinstance(element, DataElement):
                assert len(saved.forms) == 1
                order.append("form")
            elif isinstance(element, TurnEnd):
                order.append("end")

    assert order == ["text", "text", "text", "form", "end"]
    assert saved.forms == [FORM]


BAD: dict[str, tuple[list[Step], str]] = {
    "malformed": ([call(raw='{"route": "a", "ask_slots": [}')], "protocol"),
    "truncated": ([call(raw='{"route": "a", "ask_slots": [{"message": "What is')], "protocol"),
    "no object": ([call(raw='["route"]')], "protocol"),
    "empty": ([call(raw="")], "protocol"),
    "a required member is missing": ([call({"ask_slots": []})], "protocol"),
    "out of tokens": ([call(), StopStep("length")], "truncated"),
    "refused": ([call(), StopStep("refusal")], "refused"),
    "broken in the middle": ([call(), CutStep()], "truncated"),
    "cannot open": ([ErrorStep("transport", "no route to the server")], "transport"),
    "no call": ([TextStep("I would rather talk.")], "protocol"),
    "another tool": ([call(tool="other")], "protocol"),
}


@pytest.mark.parametrize("case", BAD)
async def test_t5_and_t6_of_anything_else_nothing_is_saved_and_the_fallback_answers(case: str) -> None:
    """T5, T6: nothing is written; the fallback says why. The original was 'complete' with {} after malformed JSON."""
    steps, code = BAD[case]
    saved = Saved()

    got = await stream(*steps, save=saved, fallback=FALLBACK).classify("chips")
    elements = [one async for one in stream(*steps, save=saved, fallback=FALLBACK).stream("chips")]

    assert saved.began == 0
    assert (got.form, got.fallback, got.reason) == (FALLBACK, True, code)
    assert code in [one.code for one in elements if hasattr(one, "code")]
    assert elements[-1].reason == "done"  # type: ignore[union-attr]


@pytest.mark.parametrize("case", BAD)
async def test_t6_without_a_fallback_the_run_fails(case: str) -> None:
    """T6: the fallback is the user's choice; nothing is written either way."""
    steps, code = BAD[case]
    saved = Saved()

    with pytest.raises(StageError) as caught:
        await stream(*steps, save=saved).classify("chips")

    assert isinstance(caught.value.__cause__, ProviderError)
    assert caught.value.__cause__.code == code
    assert saved.began == 0


async def test_t5_two_calls_side_by_side_are_not_mixed_up() -> None:
    """T5: the first one counts, by its id. The original joined the fragments of both, and lost them."""
    saved = Saved()

    got = await stream(call({"route": "first"}), call({"route": "second"}), save=saved).classify("chips")

    assert got.form == {"route": "first"}
    assert saved.forms == [{"route": "first"}]


async def test_t5_who_leaves_before_the_form_is_whole_saves_nothing() -> None:
    """T5: cancelled in the middle of the form; in the middle of the saving, that is cancelled too, and nothing is left."""
    early, late = Saved(), Saved(takes_s=3)
    slow = model(DelayStep(1), call(), DelayStep(10))

    with anyio.move_on_after(5):
        await ClassificationStream(slow, TOOL, save=early).classify("chips")
    with anyio.move_on_after(1):
        await stream(call(), save=late).classify("chips")
    await assert_all_stages_stopped()

    assert early.began == 0
    assert (late.began, late.forms) == (1, [])


async def test_t5_a_store_that_fails_or_hangs_fails_the_run_and_nothing_is_told() -> None:
    """T5: a form that could not be saved is not told as one, and the fallback is not for that."""
    for saved in (Saved(error=StateError("unavailable", "gone", retryable=True)), Saved(takes_s=9999)):
        elements = []
        with pytest.raises(StageError) as caught:
            async with stream(call(), save=saved, fallback=FALLBACK).stream("chips") as run:
                async for element in run:
                    elements.append(element)
        assert isinstance(caught.value.__cause__, StateError)
        assert not [one for one in elements if isinstance(one, DataElement)]


async def test_t5_a_form_is_a_document_of_a_store_under_its_session() -> None:
    """T5: `save_to()` with a store of ours; a missing session is told."""
    async with MemoryStore() as store:
        classify = stream(call(), save=save_to(store))
        await classify.classify("chips", session="s-1")
        found = await store.get("classification/s-1")
        with pytest.raises(StageError) as caught:
            await classify.classify("chips")

    assert found is not None
    assert (found.value, found.revision) == (FORM, 1)
    assert isinstance(caught.value.__cause__, ConfigError)


async def test_t5_a_check_may_change_a_form_or_refuse_it() -> None:
    """T5: counts are the application's: options cut to one; what the check raises is named and not repeated."""

    def cut(form: dict[str, Any]) -> dict[str, Any]:
        slots = [{**slot, "options": slot.get("options", [])[:1]} for slot in form["ask_slots"]]
        return {**form, "ask_slots": slots}

    async def refuse(form: dict[str, Any]) -> None:
        raise ValueError(SECRET)

    saved = Saved()
    got = await stream(call(), validate=cut, save=saved).classify("chips")
    assert [len(slot["options"]) for slot in got.form["ask_slots"]] == [1, 0, 0]  # type: ignore[union-attr, index]
    assert saved.forms == [got.form]
    elements = [one async for one in stream(call(), validate=refuse, save=saved, fallback=FALLBACK).stream("chips")]
    assert SECRET not in repr(elements)
    assert "ValueError" in repr(elements)
    assert len(saved.forms) == 1


@pytest.mark.parametrize("is_async", [False, True])
async def test_t6_a_failing_listener_changes_nothing(is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    """T6: isolated, counted, logged once by its class. In the original it made the whole result the fallback."""
    told: list[str] = []

    def emit(name: str, data: object) -> object:
        told.append(name)
        if is_async:
            return later()
        raise ValueError(SECRET)

    async def later() -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError(SECRET)

    with caplog.at_level(logging.DEBUG):
        got = await stream(call()).classify(SECRET + " chips", emit=emit)

    assert (got.fallback, got.listener_errors, len(told)) == (False, 5, 5)
    assert len([one for one in caplog.records if one.name == "streamflow.apps"]) == 1
    assert SECRET not in caplog.text
    assert "budget" not in caplog.text  # the original logged previews of what users say, at INFO


async def test_t6_a_model_that_takes_too_long_has_the_fallback_too() -> None:
    """T6: `timeout_s`, in virtual time."""
    slow = model(DelayStep(9999), call())
    began = anyio.current_time()

    got = await ClassificationStream(slow, TOOL, timeout_s=5, fallback=FALLBACK).classify("chips")

    assert (got.fallback, anyio.current_time() - began) == (True, 5)


def seen(elements: Iterable[object]) -> list[str]:
    return [one.text for one in elements if isinstance(one, TextElement)]


async def test_t2_and_t4_length_and_duplicates_are_counted_on_what_is_read() -> None:
    """T4: the minimum is of decoded characters; shorter ones are in the form alone; duplicates by path, or by value."""
    texts = ["123456789", "1234567890", "\u20b9" * 9, "\u20b9" * 10, "1234567890"]
    form = {"route": "a", "ask_slots": [{"message": one} for one in texts]}

    by_path = await stream(call(form)).pipeline.run("chips")
    by_value = await stream(call(form), once_per="value").pipeline.run("chips")
    every = await stream(call(form), min_chars=0).pipeline.run("chips")

    assert seen(by_path.elements) == ["1234567890", "\u20b9" * 10, "1234567890"]
    assert seen(by_value.elements) == ["1234567890", "\u20b9" * 10]
    assert seen(every.elements) == texts


async def test_t4_characters_may_be_seen_as_they_arrive() -> None:
    """T2, T4: `complete=False`; the pieces join to the strings, with their paths."""
    classify = stream(call(), complete=False, events={"ask": "ask_slots[*].message"}, min_chars=0)

    result = await classify.pipeline.run("chips")
    pieces: dict[tuple[str | int, ...], str] = {}
    for one in result.elements:
        if isinstance(one, TextElement):
            pieces[one.path] = pieces.get(one.path, "") + one.text

    assert len(seen(result.elements)) > 10
    assert [pieces["ask_slots", n, "message"] for n in range(3)] == [BUDGET, PEOPLE, "Short?"]


async def test_t8_reasoning_and_progress_are_told_where_they_are_asked_for() -> None:
    """T8: `classification_reasoning` by one more path; progress by size, rising, at 100 for the whole alone."""
    size = len(json.dumps(FORM))
    events = {"classification_reasoning": "reasoning", "ask_message_delta": "ask_slots[*].message"}

    told = await events_of(stream(call(), events=events, expected_chars=size))
    short = await events_of(stream(call(), expected_chars=size // 4))
    truncated = await events_of(stream(call(), StopStep("length"), CutStep(), expected_chars=10, fallback=FALLBACK))

    assert told[1] in [(name, data) for name, data in told if name.startswith("classification_")]
    assert ("classification_reasoning", {"text": FORM["reasoning"]}) in told
    assert [data["percent"] for name, data in told if name == "classification_progress"] == [25, 50, 75, 100]
    percents = [data["percent"] for name, data in short if name == "classification_progress"]
    assert percents == sorted(set(percents))
    assert percents[-2:] == [75, 100]
    assert truncated[-1] == ("status", {"stage": "fallback"})


async def test_a_tool_without_arguments_and_several_turns_are_forms_too() -> None:
    """The original never completed a tool with an empty input; a pipeline may classify turn after turn."""
    saved = Saved()
    plain = ToolSpec("classify")
    provider = ScriptedProvider(turns=[ScriptTurn([ToolCallStep("classify")], times=None)])
    classify = ClassificationStream(provider, plain, save=saved, config=PipelineConfig(buffer_size=1))

    result = await classify.pipeline.run([TextElement("a"), TurnEnd(), TextElement("b"), TurnEnd()])

    assert saved.forms == [{}, {}]
    assert len([one for one in result.elements if isinstance(one, DataElement)]) == 2


@pytest.mark.parametrize("reason", ["length", "content_filter", "pause"])
async def test_a_form_counts_only_if_the_turn_has_ended_well(reason: StopReason) -> None:
    """semantics 20.6 for forms: a whole call whose turn was cut is no form."""
    saved = Saved()
    got = await stream(call(), StopStep(reason), save=saved, fallback=FALLBACK).classify("chips")

    assert got.fallback
    assert saved.began == 0


def served(classify: ClassificationStream) -> Any:
    """Return the seed's endpoint."""
    return sse_response(classify.stream("chips"), encoder=lambda: classify.encoder(request_id="r", session_id="s"))


async def test_t4_and_t7_the_endpoint_of_the_seed_sends_each_event_when_it_is_there() -> None:
    """T4, T7: through a response, in the order of the seed; the question leaves seconds before the model has ended."""
    form = {"route": "a", "ask_slots": [{"message": "What is your budget?"}], "rest": "x" * 140}
    exchange = await ask(served(ClassificationStream(model(call(form), delay_s=1), TOOL)))

    names = [one.event for one in exchange.events if one.data]
    at_s = {
        name: at_s
        for piece, at_s in zip(exchange.pieces, exchange.times_s, strict=True)
        for name in names
        if f"event: {name}\n".encode() in piece
    }
    assert names == [
        "ack",
        "status",
        "classification_start",
        "ask_message_delta",
        "classification_complete",
        "final_answer.complete",
        "end",
    ]
    assert at_s["ask_message_delta"] < at_s["end"] - 10
    assert json.loads(exchange.events[-2].data) == form
    assert exchange.headers["content-type"].startswith("text/event-stream")


async def test_t7_a_failed_response_ends_with_an_error_without_secrets() -> None:
    """T7: `error`, `end` with `ok: false`, and no word of what was raised."""

    class Raising:
        name = "raising"

        async def stream(self, request: object) -> Any:
            raise PermissionError(SECRET)
            yield ""

    exchange = await ask(served(ClassificationStream(Raising(), TOOL)))

    assert [one.event for one in exchange.events][-2:] == ["error", "end"]
    assert exchange.events[-1].data == '{"ok":false}'
    assert SECRET.encode() not in exchange.body


async def test_t7_a_client_that_hangs_up_ends_the_models_call_and_saves_nothing() -> None:
    """T7: without a hub a response is its client's. The original went on asking the model for nobody."""
    saved = Saved()
    slow = model(DelayStep(1), call({"route": "a", "ask_slots": [{"message": "What is your budget?"}]}), delay_s=1)

    async with asking(served(ClassificationStream(slow, TOOL, save=saved))) as exchange:
        await exchange.until(4)
    await assert_all_stages_stopped()

    assert "ask_message_delta" in [one.event for one in exchange.events]
    assert saved.began == 0


def test_what_is_wrong_is_told_where_the_stream_is_made() -> None:
    """The field is named, before a model is asked."""
    wrong: dict[str, dict[str, Any]] = {
        "tool": {"tool": {"name": "classify"}},
        "fallback": {"fallback": "general"},
        "validate": {"validate": 1},
        "save": {"save": MemoryStore()},
        "select": {"events": {"ask": "a..b"}},
        "events": {"events": {"end": "a"}},
        "expected_chars": {"expected_chars": 0},
        "min_chars": {"min_chars": -1},
    }
    for field, options in wrong.items():
        with pytest.raises(ConfigError) as caught:
            ClassificationStream(model(call()), **{"tool": TOOL, **options})
        assert caught.value.field == field
    with pytest.raises(ElementError, match="empty"):
        stream(call()).stream(" ")

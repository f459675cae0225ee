"""Answers of three wires, as their servers write them, and the elements that are made of them; `corpus/` has both."""

import json
from itertools import pairwise

import httpx2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_memory import ASKED, CORPUS, SENT, WIRES, Memory, answer_of, failure_of, provider_of

from streamflow.elements import MessageElement, StreamElement, TextElement, UsageElement, encode
from streamflow.errors import ProviderError
from streamflow.providers import ModelRequest
from streamflow.providers._assembly import Assembly
from streamflow.providers._failures import Failures
from streamflow.providers._secrets import Secrets
from streamflow.providers._wires import AnthropicWire, ChatWire, ResponsesWire
from streamflow.wire import SSEParser

EXPECTED = {case: (CORPUS / f"{case}.expected").read_text().splitlines() for case in SENT}
WHOLE = {wire: SENT[f"{wire}/text"] for wire in WIRES}
MAKERS = {"chat": ChatWire("max_tokens"), "responses": ResponsesWire(), "anthropic": AnthropicWire(100)}


def lines_of(got: list[StreamElement], failed: ProviderError | None) -> list[str]:
    """Return elements as lines of JSON, and how the answer failed, with `ID` for the id of the message."""
    lines = [encode(element).decode() for element in got]
    for id in {element.id for element in got if element.id}:
        lines = [line.replace(id, "ID") for line in lines]
    if failed is not None:
        says = {"error": failed.code, "retryable": failed.retryable, "says": str(failed).replace(":8000", ":80")}
        lines.append(msgspec.json.encode(says).decode())
    return lines


def made_of(wire: str, chunks: list[bytes]) -> list[str]:
    """Return what is made of an answer, without a connection around it."""
    failures = Failures("model.test:80", Secrets(tuple, ASKED), "api_key", "/messages")
    name = "anthropic" if wire == "anthropic" else "openai"
    assembly = Assembly(id="id-of-it", provider=name, model="m", max_answer_chars=10_000, failures=failures)
    answer, parser = MAKERS[wire].answer(assembly, ASKED), SSEParser()
    got: list[StreamElement] = []
    try:
        for chunk in chunks:
            for event in parser.feed(chunk):
                if not answer.done:
                    got += answer.take(event.data)
        got += answer.finish()
    except ProviderError as error:
        return lines_of(got, error)
    return lines_of(got, None)


@pytest.mark.parametrize("case", SENT)
async def test_an_answer_becomes_the_elements_that_are_written_down(case):
    """semantics 18.2 and 18.3: fragments, wholes, usage, stop reasons, and failures in the middle, whole for whole."""
    got: list[StreamElement] = []
    failed = None
    try:
        async for element in provider_of(case.partition("/")[0], Memory([SENT[case]])).stream(ASKED):
            got.append(element)
    except ProviderError as error:
        failed = error

    assert lines_of(got, failed) == EXPECTED[case]


@settings(max_examples=100)
@given(case=st.sampled_from(sorted(SENT)), places=st.lists(st.integers(0, 4000), max_size=12), has_crlf=st.booleans())
def test_any_cut_of_the_bytes_gives_the_same_elements(case, places, has_crlf):
    """semantics 18.2: where the network cuts a stream changes nothing, inside a character or a CRLF neither."""
    sent = SENT[case].replace(b"\n", b"\r\n") if has_crlf else SENT[case]
    borders = [0, *sorted(min(place, len(sent)) for place in places), len(sent)]
    chunks = [sent[start:end] for start, end in pairwise(borders)]

    assert made_of(case.partition("/")[0], chunks) == EXPECTED[case]


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_that_breaks_off_is_truncated_wherever_that_is(wire):
    """semantics 18.3: never a silent end, whatever the last thing was that came."""
    events = [event + b"\n\n" for event in WHOLE[wire].split(b"\n\n") if event]
    last = next(n for n, event in enumerate(events) if b'"stop"' in event or b"_stop" in event or b"completed" in event)
    if wire != "chat":
        last = len(events) - 1
    for n in range(last + 1):
        ends = await failure_of(provider_of(wire, Memory(events[:n])))
        breaks = await failure_of(provider_of(wire, Memory([*events[:n], httpx2.ReadError("reset")])))

        assert (ends.code, ends.retryable) == (breaks.code, breaks.retryable) == ("truncated", True)


@pytest.mark.parametrize("wire", WIRES)
@given(junk=st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([b"{", b"[]", b"null", b"1e999"])), max_size=6))
def test_no_bytes_raise_anything_but_our_error(wire, junk):
    """semantics 18.3: a server can send what it likes; it ends in one taxonomy."""
    *got, failed = made_of(wire, [b"data: " + piece.replace(b"\n", b" ") + b"\n\n" for piece in junk])

    assert got == []
    assert json.loads(failed)["error"] in {"protocol", "truncated"}


ODD = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 9), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=4,
)


@st.composite
def mangled(draw):
    """A recorded answer in which one value somewhere is something else."""
    case = draw(st.sampled_from(sorted(SENT)))
    events = [json.loads(line[6:]) for line in SENT[case].decode().splitlines() if line.startswith("data: {")]
    place: dict = draw(st.sampled_from(events))
    while True:
        key = draw(st.sampled_from(sorted(place)))
        if not (isinstance(place[key], dict) and place[key] and draw(st.booleans())):
            break
        place = place[key]
    place[key] = draw(ODD)
    return case.partition("/")[0], [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]


def test_a_type_that_is_no_text_is_passed_over():
    """semantics 18.3: found by the test below; what cannot be looked up is not known."""
    item = b'data: {"type": "response.output_item.%s", "output_index": 0, "item": {"type": []}}\n\n'

    assert made_of("responses", [item % b"added", item % b"done", SENT["responses/text"]]) == EXPECTED["responses/text"]


@pytest.mark.slow
@settings(max_examples=150)
@given(sent=mangled())
def test_a_value_of_another_type_is_passed_over_or_refused(sent):
    """semantics 18.3: what a server sends need not be of the type that it should be of."""
    assert made_of(*sent)


@pytest.mark.parametrize("wire", WIRES)
async def test_the_whole_equals_its_fragments_and_ids_are_never_shared(wire):
    """`Provider.stream` — Out: one id that no other answer has; the usage before the whole."""
    first, second = [await answer_of(provider_of(wire, Memory([WHOLE[wire]]))) for _ in range(2)]
    texts = [element for element in first if isinstance(element, TextElement)]

    assert "".join(element.text for element in texts) == first[-1].message.text == "Hello, wörld 🌍"
    assert {element.id for element in texts} == {first[-1].id}
    assert first[-1].id != second[-1].id
    assert [type(element) for element in first[-2:]] == [UsageElement, MessageElement]


@pytest.mark.parametrize("wire", WIRES)
async def test_each_fragment_leaves_before_the_next_chunk_is_read(wire):
    """semantics 5.4: streaming is real, nothing is read ahead."""
    memory = Memory([event + b"\n\n" for event in WHOLE[wire].split(b"\n\n") if event])
    made = []
    async for element in provider_of(wire, memory).stream(ASKED):
        if isinstance(element, TextElement):
            made.append(memory.body.made)

    assert made[1] == made[0] + 1


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_has_a_limit_whatever_it_consists_of(wire):
    """semantics 18.8: text, thoughts, arguments, media and items count into one number, so a server cannot fill the memory."""
    heads = {
        "chat": '{"choices": [{"delta": {"%s": "xxxxxxxxxx"}}]}',
        "responses": '{"type": "response.%s.delta", "item_id": "a", "delta": "xxxxxxxxxx"}',
        "anthropic": '{"type": "content_block_delta", "index": 0, "delta": {"type": "%s", "%s": "xxxxxxxxxx"}}',
    }
    kinds = {
        "chat": ["content", "refusal", "reasoning"],
        "responses": ["output_text", "reasoning_text", "function_call_arguments", "audio.transcript", "refusal"],
        "anthropic": [("text_delta", "text"), ("thinking_delta", "thinking"), ("signature_delta", "signature")],
    }
    for kind in kinds[wire]:
        chunk = b"data: " + (heads[wire] % kind).encode() + b"\n\n"
        memory = Memory([chunk] * 100)
        error = await failure_of(provider_of(wire, memory, max_answer_chars=100))

        assert "raise max_answer_chars" in str(error)
        assert memory.body.made < 15


@pytest.mark.parametrize(
    ("wire", "item"),
    [
        ("anthropic", b'{"type": "content_block_start", "index": %d, "content_block": {"type": "x"}}'),
        ("responses", b'{"type": "response.output_item.done", "output_index": %d, "item": {"type": "x"}}'),
        ("responses", b'{"type": "response.output_text.delta", "output_index": %d, "delta": ""}'),
        ("chat", b'{"choices": [{"delta": {"annotations": [{"n": %d}]}}]}'),
    ],
)
async def test_an_answer_of_many_small_things_has_the_same_limit(wire, item):
    """semantics 18.8: what is kept is counted, also where it holds no text."""
    memory = Memory([b"data: " + item % n + b"\n\n" for n in range(300)])
    error = await failure_of(provider_of(wire, memory, max_answer_chars=200))

    assert "raise max_answer_chars" in str(error)
    assert memory.body.made < 250


async def test_a_server_that_repeats_nothing_is_not_asked_for_the_model():
    """`ModelRequest.model`: without a name none is sent, and the usage names none."""
    memory = Memory([b'data: {"choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}\n\n'])
    [usage, _] = await answer_of(provider_of("chat", memory), ModelRequest(messages=()))

    assert usage.usage.model is None
    assert "model" not in json.loads(memory.requests[0].content)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("sent", "text"), [(r"\ud83d", "\ufffd"), (r"\ude00x", "\ufffdx"), (r"\ud83d\ude00", "😀"), (r"\\ud83d", r"\ud83d")]
)
async def test_half_a_character_does_not_end_an_answer(wire, sent, text):
    """semantics 18.3: servers that cut text between the halves of a surrogate pair."""
    data = WHOLE[wire].decode().replace("Hel", sent).replace("Hello", f"{sent}lo")

    assert (await answer_of(provider_of(wire, Memory([data.encode()]))))[-1].message.text == f"{text}lo, wörld 🌍"

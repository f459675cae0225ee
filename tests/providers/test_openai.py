"""`OpenAIProvider` against a server in memory: what it sends, what it makes of answers, what it says of failures."""

import json
import logging
import traceback
from contextlib import aclosing
from itertools import pairwise

import anyio
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_memory import ASKED, DONE, KEY, PROMPT, SILENCE, STOP, Memory, answer_of, delta, event, failure_of

from streamflow.elements import (
    Message,
    MessageElement,
    TextElement,
    TextPart,
    ThinkingElement,
    ThinkingPart,
    Usage,
    UsageElement,
    VideoPart,
)
from streamflow.errors import ProviderError
from streamflow.providers import ModelRequest, OpenAIProvider

BASE = "http://model.test:8000/v1"


def provider(memory: Memory, **options) -> OpenAIProvider:
    return OpenAIProvider(BASE, **{"api_key": KEY} | options, client=httpx2.AsyncClient(transport=memory))


async def ask(memory: Memory, request: ModelRequest = ASKED, **options) -> list:
    return await answer_of(provider(memory, **options), request)


async def failure(memory: Memory, request: ModelRequest = ASKED, **options) -> ProviderError:
    return await failure_of(provider(memory, **options), request)


async def test_an_answer_is_fragments_then_usage_then_the_whole():
    """`Provider.stream` — Out: one id that no other answer has, the usage before the whole, the whole equal to its fragments."""
    chunks = [event(delta(role="assistant", content="")), event(delta(content="Hel")), event(delta(content="lo")), STOP]
    usage = event(
        usage={
            "prompt_tokens": 9,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
        model="m-2026",
    )
    first, second = [await ask(Memory([*chunks, usage, DONE]), name="lab") for _ in range(2)]
    id = first[0].id

    assert first == [
        TextElement("Hel", id=id),
        TextElement("lo", id=id),
        UsageElement(Usage(9, 5, 4, None, 3, model="m-2026", provider="lab"), final=True),
        MessageElement(Message("assistant", "Hello", id=id, stop_reason="stop"), id=id),
    ]
    assert id
    assert id != second[0].id


async def test_each_fragment_leaves_before_the_next_chunk_is_read():
    """semantics 5.3: streaming is real, nothing is read ahead."""
    memory = Memory([event(delta(content=char)) for char in "abc"] + [STOP, DONE])
    made = []
    async with aclosing(provider(memory).stream(ASKED)) as stream:
        async for element in stream:
            if isinstance(element, TextElement):
                made.append(memory.body.made)

    assert made == [1, 2, 3]


async def test_the_request_is_what_the_wire_asks_for():
    """The body and the headers of a streaming chat completion; thoughts are not sent back, options only where given."""
    memory = Memory([STOP, DONE])
    messages = (
        Message("system", "Be kind."),
        Message("user", [TextPart("Hel"), TextPart("lo")], name="ada"),
        Message("assistant", [ThinkingPart("hm"), TextPart("Hi.")]),
    )
    await ask(memory, ModelRequest(messages=messages, temperature=0.5, max_tokens=7), model="default")
    await ask(other := Memory([STOP, DONE]), ModelRequest(messages=()), api_key=None)
    [sent], [bare] = memory.requests, other.requests

    assert (sent.method, str(sent.url)) == ("POST", f"{BASE}/chat/completions")
    assert json.loads(sent.content) == {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hello", "name": "ada"},
            {"role": "assistant", "content": "Hi."},
        ],
        "model": "default",
        "temperature": 0.5,
        "max_tokens": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["accept-encoding"] == "identity"
    assert json.loads(bare.content) == {"messages": [], "stream": True, "stream_options": {"include_usage": True}}
    assert "authorization" not in bare.headers


@pytest.mark.parametrize(
    ("chunks", "text", "thoughts"),
    [
        ([event(delta(content="a")), STOP], "a", ""),  # no [DONE]
        ([event(delta("stop", content="a")), DONE], "a", ""),  # the end together with the last text
        ([b'data: {"choices": null}\n\n', event(delta(content="a")), STOP, DONE], "a", ""),
        ([event({"delta": {"content": "a"}}), event({"finish_reason": "stop"}), DONE], "a", ""),  # no index, no delta
        ([event(delta(content="a")), event(delta(content="no", index=1)), STOP, DONE], "a", ""),  # another choice
        ([b": ping\n\ndata:\n\n", event(delta(content="a"), error=None), STOP, DONE], "a", ""),
        ([event(delta(content=None, reasoning_content="t")), event(delta(content="a")), STOP], "a", "t"),
        ([event(delta(reasoning="t", content="a")), STOP], "a", "t"),
        ([event(delta(reasoning="t", reasoning_content="t", content="a")), STOP], "a", "t"),  # said twice
        ([event(delta(reasoning={"summary": "t"}, content="a")), STOP], "a", ""),
        ([event(delta(content="a")), STOP, httpx2.RemoteProtocolError("cut")], "a", ""),
        ([event(delta(content="a")), STOP, httpx2.ReadTimeout("never ends")], "a", ""),
        ([event(delta(content="a")), STOP, DONE, b"data: rubbish\n\n"], "a", ""),
        ([STOP, DONE], "", ""),
    ],
)
async def test_what_servers_do_differently_is_put_up_with(chunks, text, thoughts):
    """The dialects of OpenAI's imitators, each seen in the wild."""
    *fragments, whole = await ask(Memory(chunks))

    assert "".join(one.text for one in fragments if isinstance(one, TextElement)) == text == whole.message.text
    assert "".join(one.text for one in fragments if isinstance(one, ThinkingElement)) == thoughts
    assert whole.message.stop_reason == "stop"
    assert whole.message.parts == tuple(part for part in (ThinkingPart(thoughts), TextPart(text)) if part.text)


async def test_usage_is_the_last_that_was_said():
    """Some servers say the running total in every chunk; a missing number is unknown, not zero."""
    chunks = [event(delta(content="a"), usage={"completion_tokens": n}) for n in (1, 2)]
    [usage] = [one for one in await ask(Memory([*chunks, event(usage=None), STOP])) if isinstance(one, UsageElement)]

    assert usage.usage == Usage(output_tokens=2, model="m", provider="openai")


@pytest.mark.parametrize(
    ("finish", "stop_reason"),
    [
        *[("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("tool_calls", "tool_calls")],
        *[("function_call", "tool_calls"), ("error", "error"), ("eos_token", "stop")],
    ],
)
async def test_finish_reasons_become_stop_reasons(finish, stop_reason):
    """What this library does not know is a plain stop, because the server did finish."""
    assert (await ask(Memory([event(delta(finish))])))[-1].message.stop_reason == stop_reason


async def test_a_refusal_is_text_and_a_stop_reason():
    """The user is to read it, and programs are to know."""
    fragment, whole = await ask(Memory([event(delta(refusal="I cannot.")), STOP]))

    assert fragment.text == whole.message.text == "I cannot."
    assert whole.message.stop_reason == "refusal"


WIRE = b"".join([
    b"\xef\xbb\xbf: hello\r\n\r\n",
    event(delta(reasoning_content="hm ü")).replace(b"\\u00fc", "ü".encode()),
    *[event(delta(content=text)) for text in ("Hel", "lo", "\n\n", "🌍", "\u2028 data: x")],
    STOP,
    event(usage={"prompt_tokens": 1, "completion_tokens": 2}),
    DONE,
])  # fmt: skip


@settings(max_examples=30)
@given(places=st.lists(st.integers(0, len(WIRE)), max_size=10))
async def test_any_cut_of_the_bytes_gives_the_same_elements(places):
    """Where the network cuts a stream changes nothing."""
    borders = [0, *sorted(places), len(WIRE)]
    chunks = [WIRE[start:end] for start, end in pairwise(borders)]
    got = await ask(Memory(chunks))

    assert [one.text for one in got[:-2]] == ["hm ü", "Hel", "lo", "\n\n", "🌍", "\u2028 data: x"]
    assert got[-1].message.text == "Hello\n\n🌍\u2028 data: x"
    assert got[-2].usage.output_tokens == 2


@pytest.mark.parametrize(
    ("chunks", "code", "retryable", "complaint"),
    [
        ([event(delta(content="a"))], "truncated", True, "without a finish reason"),
        ([event(delta(content="a")), DONE], "truncated", True, "without a finish reason"),
        ([], "truncated", True, "without a finish reason"),
        ([event(delta("stop"))[:-1]], "truncated", True, "without a finish reason"),  # its empty line did not come
        ([event(delta(content="a")), httpx2.RemoteProtocolError("cut")], "truncated", True, "the connection broke"),
        ([event(delta(content="a")), httpx2.ReadError("reset")], "truncated", True, "the connection broke"),
        ([event(delta(content="a")), httpx2.ReadTimeout("")], "transport", True, "sent nothing for 60 s"),
        ([b"data: {]\n\n"], "protocol", False, "no chat completion"),
        ([b"data: 7\n\n"], "protocol", False, "no chat completion"),
        ([b'data: {"choices": [{"delta": {"content": 7}}]}\n\n'], "protocol", False, "content"),
        ([b'data: {"error": ' + b"[" * 100_000 + b"\n\n"], "protocol", False, "no chat completion"),
        ([b"data: " + b"x" * 2_000_000], "protocol", False, "raise max_event_bytes"),
        (
            [event(delta(content="x" * 600)), event(delta(content="x" * 600))],
            "protocol",
            False,
            "raise max_answer_chars",
        ),
        ([event(error={"message": "slow down", "type": "rate_limit_error"})], "rate_limited", True, "slow down"),
        ([event(error={"message": "pay", "code": "insufficient_quota"})], "rate_limited", False, "pay"),
        ([event(error={"message": "oops", "type": "server_error"})], "overloaded", True, "oops"),
        ([event(error={"message": "oops", "type": "BadRequestError", "code": 400})], "bad_request", False, "oops"),
        ([event(error={"message": "oops", "code": "502"})], "overloaded", True, "oops"),
        ([event(error={"message": "long", "code": "context_length_exceeded"})], "bad_request", False, "long"),
        ([event(error="just a text")], "protocol", False, "just a text"),
        ([event(error={"code": 7})], "protocol", False, "no reason given"),
        (
            [b"event: error\n" + event(error={"message": "busy", "type": "overloaded_error"})],
            "overloaded",
            True,
            "busy",
        ),
    ],
)
async def test_a_stream_that_goes_wrong_is_told_by_its_code(chunks, code, retryable, complaint):
    """`Provider.stream` — Raises: one taxonomy; a stream that ends before it is complete is never a silent end."""
    memory = Memory(chunks)
    error = await failure(memory, max_answer_chars=1000)

    assert (error.code, error.retryable) == (code, retryable)
    assert complaint in str(error)
    assert "model.test:8000" in str(error)
    assert memory.body.closed


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable", "complaint"),
    [
        (401, b'{"error": {"message": "Incorrect key sk-pl***789"}}', "auth", False, "check api_key or OPENAI_API_KEY"),
        (403, b'{"error": {"message": "no access"}}', "auth", False, "no access; check what the API key may do"),
        (429, b'{"error": {"message": "slow down"}}', "rate_limited", True, "slow down; send less, or retry later"),
        (429, b'{"error": {"message": "x", "code": "insufficient_quota"}}', "rate_limited", False, "check the plan"),
        (500, b"", "overloaded", True, "HTTP 500; retry later"),
        (503, b"<html><b>bad gateway</b></html>", "overloaded", True, "HTTP 503; retry later"),
        (400, b'{"error": "a text"}', "bad_request", False, "HTTP 400: a text"),
        (
            404,
            b'{"detail": "no such model"}',
            "bad_request",
            False,
            "no such model; check base_url, which /chat/completions is appended to, and the model's name",
        ),
        (422, b'{"detail": [{"msg": "no"}]}', "bad_request", False, "HTTP 422"),
        (400, b"plain\r\nwords\x1b[2J", "bad_request", False, "HTTP 400: plain words [2J"),
        (400, b"[" * 100_000, "bad_request", False, "HTTP 400: [[["),
        (308, b"", "protocol", False, "a redirect, which is not followed"),
        (204, b"", "bad_request", False, "HTTP 204"),
    ],
)
async def test_a_refused_request_is_told_by_its_status(status, body, code, retryable, complaint):
    """One line that names the server, what it said, and what to check."""
    memory = Memory([body], status=status, headers={"location": "http://elsewhere.test/"})
    error = await failure(memory)

    assert (error.code, error.retryable) == (code, retryable)
    assert complaint in str(error)
    assert str(error).startswith("model.test:8000 answered HTTP")
    assert "\n" not in str(error)
    assert str(error).isprintable()
    assert "sk-" not in str(error)
    assert len(str(error)) < 500
    assert len(memory.requests) == 1
    assert memory.body.closed


async def test_of_an_error_body_no_more_is_read_than_is_told():
    """A server cannot fill the memory with its excuses."""
    memory = Memory([b"x" * 1000] * 1000, status=400)
    await failure(memory)

    assert memory.body.made < 100


@pytest.mark.parametrize(
    ("kind", "body", "code", "complaint"),
    [
        ("text/html; charset=utf-8", b"<html>Hi</html>", "protocol", "it sent 'text/html' instead of events"),
        ("application/json", b'{"choices": []}', "protocol", "it answered in one piece"),
        ("application/json", b'{"error": {"message": "busy", "type": "overloaded_error"}}', "overloaded", "busy"),
        ("application/x-ndjson", b'{"a": 1}\n{"a": 2}', "protocol", "instead of events"),
    ],
)
async def test_a_success_without_events_is_an_error(kind, body, code, complaint):
    """A wrong base_url often ends at a web page that answers 200."""
    error = await failure(Memory([body], headers={"content-type": kind}))

    assert error.code == code
    assert complaint in str(error)


async def test_a_packed_answer_is_refused():
    """Nothing is unpacked, so that sizes are what they seem."""
    assert "packed as 'gzip'" in str(await failure(Memory([b"x"], headers={"content-encoding": "gzip"})))


@pytest.mark.parametrize(
    ("raised", "complaint"),
    [
        (httpx2.ConnectError("all failed"), "cannot reach model.test:8000 (the connection broke); check base_url"),
        (httpx2.ConnectTimeout(""), "cannot reach model.test:8000 (no connection within 10 s)"),
        (httpx2.RemoteProtocolError("no response"), "cannot reach model.test:8000"),
        (httpx2.ReadTimeout(""), "model.test:8000 sent nothing for 60 s; raise timeout_s"),
    ],
)
async def test_a_connection_that_fails_is_one_clear_line(raised, complaint):
    """Names the server and what to check, and may be tried again."""
    error = await failure(Memory(error=raised))

    assert (error.code, error.retryable) == ("transport", True)
    assert complaint in str(error)
    assert error.__cause__ is (None if isinstance(raised, httpx2.ProtocolError) else raised)


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (Message("user", [VideoPart(url="http://x.test/cat.mp4")]), "message 0 of role 'user' holds a VideoPart"),
        (Message("user", f"{PROMPT} \ud800"), "lone surrogate"),
    ],
)
async def test_a_message_that_cannot_be_sent_is_refused_and_not_cut(message, complaint):
    """Leaving parts out in silence would be an answer to another question."""
    memory = Memory([STOP])
    error = await failure(memory, ModelRequest(messages=(message,)))

    assert error.code == "bad_request"
    assert complaint in str(error)
    assert PROMPT not in "".join(traceback.format_exception(error))
    assert memory.requests == []


async def test_closing_the_generator_closes_the_response():
    """`OpenAIProvider.stream` — Cancellation: whoever stops listening ends the request."""
    memory = Memory([event(delta(content="a"))] * 100)
    async with aclosing(provider(memory).stream(ASKED)) as stream:
        await anext(stream)

    assert memory.body.closed
    assert memory.body.made == 1


@pytest.mark.parametrize("ending", [[DONE, SILENCE], [DONE, *[b": ping\n\n"] * 9, SILENCE]])
async def test_a_server_that_keeps_the_stream_open_holds_up_nobody(ending):
    """After `[DONE]` the whole comes, although a connection is only used again when its stream was read to the end."""
    assert (await ask(Memory([event(delta("stop", content="a")), *ending])))[-1].message.text == "a"
    assert anyio.current_time() < 1


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [
        (429, "20", 20),
        (503, "0", 0),
        (429, "Wed, 21 Oct 2015 07:28:00 GMT", 0),
        (429, "Wed, 21 Oct 2015 07:28:00 -0000", 0),
        (429, "soon", None),
        (429, None, None),
        (400, "20", None),
    ],
)
async def test_a_server_may_say_when_to_try_again(status, header, seconds):
    """`Retry-After` in seconds or as a date, where trying again may help; RFC 9110, 10.2.3."""
    error = await failure(Memory([b""], status=status, headers={} if header is None else {"retry-after": header}))

    assert error.retry_after_s == seconds


async def test_a_server_may_name_a_moment_that_is_to_come():
    """A date is turned into seconds from now."""
    error = await failure(Memory([b""], status=503, headers={"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}))

    assert error.retry_after_s > 1e9


async def test_a_failure_is_told_even_if_its_body_breaks_off():
    """The status says enough; without one, the answer was cut off."""
    refused = await failure(Memory([b'{"error": "x"', httpx2.ReadError("no")], status=429))
    cut_off = await failure(Memory([httpx2.ReadError("no")], headers={"content-type": "application/json"}))

    assert refused.code == "rate_limited"
    assert cut_off.code == "truncated"


async def test_a_client_of_one_s_own_is_used_and_left_open():
    """Who opened it closes it."""
    memory = Memory([STOP])
    client = httpx2.AsyncClient(transport=memory)
    async with OpenAIProvider(BASE, client=client) as lent, aclosing(lent.stream(ASKED)) as stream:
        assert [type(element) async for element in stream] == [MessageElement]

    assert not memory.closed
    await client.aclose()
    assert memory.closed


async def test_a_secret_that_a_server_repeats_goes_no_further(caplog):
    """The key and the prompt are in no error, no traceback, no log record and no repr, even if a server quotes them."""
    caplog.set_level(logging.DEBUG)
    said = json.dumps({"error": {"message": f"key {KEY}, prompt {PROMPT!r}: bad"}}).encode()
    memories = [
        *[Memory([said], status=status) for status in (302, 400, 401, 403, 404, 422, 429, 500)],
        Memory([said], headers={"content-type": "application/json"}),
        Memory([b"data: " + said + b"\n\n"]),
        Memory([f"data: {KEY} {PROMPT}\n\n".encode()]),
        Memory(error=httpx2.ConnectError("no")),
        Memory([event(delta(content="a")), httpx2.ReadError("no")]),
    ]
    for memory in memories:
        error = await failure(memory)
        told = "".join(traceback.format_exception(error)) + repr(error) + caplog.text + repr(provider(memory))

        assert KEY not in told
        assert PROMPT not in told
        assert memory.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_white_space_around_a_key_is_left_out():
    """Keys come from files, and files end with a line feed."""
    memory = Memory([STOP])
    await ask(memory, api_key=f" {KEY}\n")

    assert memory.requests[0].headers["authorization"] == f"Bearer {KEY}"

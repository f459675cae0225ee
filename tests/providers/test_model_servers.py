"""Our providers over real sockets, against the process of `streamflow fake-llm`."""

import logging
import os
import socket
import traceback
from contextlib import aclosing

import anthropic
import anyio
import anyio.to_thread
import openai
import pytest
from fake_server import KEY, TEXT, model, serving, told_later, warm_sdks

from streamflow import Message, MessageElement, PipelineBuilder, StageError, TextElement
from streamflow.elements import ThinkingElement, ToolResultPart, UsageElement
from streamflow.errors import ProviderError
from streamflow.providers import (
    AnthropicClientProvider,
    AnthropicProvider,
    ModelRequest,
    OpenAIClientProvider,
    OpenAIProvider,
    ProviderStage,
    RetryProvider,
    ToolSpec,
)

pytestmark = [pytest.mark.services, pytest.mark.real_clock]

PROMPT = "a prompt that is nobody's business"
warm_sdks()
WIRES = ["chat", "responses", "anthropic"]
OpenAIProvider("http://127.0.0.1/v1")  # the first one of a process imports its HTTP client: not inside an event loop


@pytest.fixture(scope="module")
def address():
    """Where the server process listens, as `http://127.0.0.1:port`."""
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Whoever runs the tests behind a proxy still reaches the server on this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def of(wire: str, address: str, **options):
    if wire == "anthropic":
        return AnthropicProvider(address, api_key=KEY, **options)
    return OpenAIProvider(f"{address}/v1", api=wire, api_key=KEY, **options)


@pytest.fixture(params=WIRES)
def provider(request, address):
    return of(request.param, address)


@pytest.fixture
def chat(address):
    return of("chat", address)


def call(faults: str = "", text: str = PROMPT) -> ModelRequest:
    """Return a request with a name of its own, so that the server can be asked what became of it."""
    return ModelRequest(messages=(Message("user", text),), model=model(faults))


async def ask(provider, request) -> list:
    async with aclosing(provider.stream(request)) as stream:
        return [element async for element in stream]


@pytest.mark.parametrize("faults", ["", "split=3", "split=4", "ping"])
async def test_an_answer_arrives_whole(provider, faults):
    """`Provider.stream` — Out: fragments, usage, whole; bytes cut inside characters and escapes change nothing."""
    *fragments, whole = await ask(provider, call(faults))
    usage = fragments[-1].usage

    assert "".join(one.text for one in fragments if isinstance(one, TextElement)) == TEXT == whole.message.text
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (5, 7, 2)


@pytest.mark.parametrize(("faults", "has_usage"), [("done=0", True), ("usage=0", False), ("usage=0&done=0", False)])
async def test_what_chat_servers_leave_out_is_put_up_with(chat, faults, has_usage):
    """`OpenAIProvider`: no `[DONE]`, no usage."""
    *fragments, whole = await ask(chat, call(faults))

    assert whole.message.text == TEXT
    assert isinstance(fragments[-1], UsageElement) == has_usage


async def test_thoughts_come_over_every_wire(provider):
    """semantics 1.3: a type of their own."""
    *fragments, whole = await ask(provider, ModelRequest(messages=(Message("user", "hi"),), model="reasoning"))

    assert "".join(one.text for one in fragments if isinstance(one, ThinkingElement)) == "Let me think."
    assert whole.message.text == "So be it."


async def test_a_tool_loop_goes_over_every_wire(provider):
    """semantics 18.11: two calls at a time, their results, the answer that uses them; the server checks that they fit."""
    tools = (ToolSpec("weather", "Tell the weather", {"type": "object", "properties": {"city": {"type": "string"}}}),)
    question = Message("user", "What is the weather?")
    first = (await ask(provider, ModelRequest(messages=(question,), model=model(), tools=tools)))[-1].message
    results = Message("tool", [ToolResultPart(one.call_id, "rain", name=one.name) for one in first.tool_calls])
    asked = ModelRequest(messages=(question, first, results), model=model(), tools=tools)
    answer = (await ask(provider, asked))[-1].message

    assert [dict(one.args) for one in first.tool_calls] == [{"city": 'R"öm"'}, {"city": "Oslo"}]
    assert first.stop_reason == "tool_calls"
    assert (answer.text, answer.stop_reason) == ("It is rain.", "stop")


FAILURES = [
    ("cut=4", ("truncated", True)),
    ("error=4", ("overloaded", True)),
    ("malformed=4", ("protocol", False)),
    ("status=401", ("auth", False)),
    ("status=429&retry_after=7", ("rate_limited", True)),
    ("status=500", ("overloaded", True)),
    ("status=400&quote=1", ("bad_request", False)),
]
OF_CHAT = [
    ("end=2", ("truncated", True)),
    ("cut=0", ("transport", True)),
    ("huge=2000000", ("protocol", False)),
    ("status=403", ("auth", False)),
    ("status=404", ("bad_request", False)),
    ("status=307&location=/elsewhere", ("protocol", False)),
    ("page", ("protocol", False)),
    ("whole", ("protocol", False)),
]


@pytest.mark.parametrize(
    ("wire", "faults", "expected"),
    [*((wire, *one) for wire in WIRES for one in FAILURES), *(("chat", *one) for one in OF_CHAT)],
)
async def test_a_failure_is_told_by_its_code_and_without_secrets(address, caplog, wire, faults, expected):
    """`Provider.stream` — Raises, after the fragments that came; neither key nor prompt is in what is told or logged."""
    caplog.set_level(logging.DEBUG)
    provider, got = of(wire, address), []
    with pytest.raises(ProviderError) as caught:
        async with aclosing(provider.stream(call(faults))) as stream:
            async for element in stream:
                got.append(element)
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(provider)

    told = (caught.value.code, caught.value.retryable)
    assert told == expected or (faults == "cut=0" and told == ("truncated", True))
    assert not any(isinstance(one, MessageElement) for one in got)
    assert caught.value.retry_after_s == (7 if "retry_after" in faults else None)
    assert caplog.records
    assert KEY not in shown
    assert PROMPT not in shown


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_whoever_stops_listening_ends_the_request_at_the_server(address, provider, how):
    """`Provider.stream` — Cancellation: the server's socket is closed, and the provider serves on."""
    request = call("stall=6")
    async with provider:
        with anyio.CancelScope() as scope:
            async with aclosing(provider.stream(request)) as stream:
                async for element in stream:
                    if isinstance(element, TextElement):
                        if how == "close":
                            break
                        scope.cancel()

        assert scope.cancelled_caught == (how == "cancel")
        assert (await told_later(address, "ended", request.model))["how"] == "disconnected"
        assert (await ask(provider, call()))[-1].message.text == TEXT


@pytest.mark.parametrize("how", ["leave", "interrupt"])
async def test_a_run_that_is_left_or_interrupted_ends_the_request_at_the_server(address, provider, how):
    """semantics 5.5, 15.5: leaving the loop, or interrupting the answer, closes what is open, down to the socket."""
    request = call("stall=6")
    pipeline = PipelineBuilder().chain(ProviderStage(provider, model=request.model)).build()
    async with pipeline.execute(MessageElement(request.messages[0])) as run:
        async for element in run:
            if isinstance(element, TextElement):
                if how == "leave":
                    break
                run.interrupt()
            if isinstance(element, MessageElement):
                assert element.cut

    assert (await told_later(address, "ended", request.model))["how"] == "disconnected"


@pytest.mark.parametrize("sdk", ["chat", "responses", "anthropic"])
async def test_the_clients_of_sdks_end_their_requests_too(address, sdk):
    """`Provider.stream` — Cancellation; semantics 15.5: left or interrupted, through a user's own client, on each wire."""
    if sdk == "anthropic":
        client = anthropic.AsyncAnthropic(base_url=address, api_key=KEY, max_retries=0)
        provider = AnthropicClientProvider(client)
    else:
        client = openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0)
        provider = OpenAIClientProvider(client, api=sdk)
    left, interrupted = call("stall=6"), call("stall=6")
    async with client:
        async with aclosing(provider.stream(left)) as stream:
            async for element in stream:
                if isinstance(element, TextElement):
                    break
        pipeline = PipelineBuilder().chain(ProviderStage(provider, model=interrupted.model)).build()
        async with pipeline.execute(MessageElement(interrupted.messages[0])) as run:
            async for element in run:
                if isinstance(element, TextElement):
                    run.interrupt()

        for request in (left, interrupted):
            assert (await told_later(address, "ended", request.model))["how"] == "disconnected"
        assert (await ask(provider, call("split=3")))[-1].message.text == TEXT


async def test_a_retry_waits_as_the_server_says(address, chat):
    """`RetryProvider`: two refusals, then the answer; the server counts them."""
    provider = RetryProvider(chat, attempts=3, min_backoff_s=0.001)

    assert (await ask(provider, call("status=429&retry_after=0&times=2")))[-1].message.text == TEXT


async def test_a_fragment_leaves_the_pipeline_before_the_model_has_made_the_next(address, chat):
    """semantics 5.3: streaming is real, from the socket to the consumer."""
    request = call("gate=2")
    pipeline = PipelineBuilder().chain(ProviderStage(chat, model=request.model)).build()
    texts = []
    async with pipeline.execute(MessageElement(request.messages[0])) as run:
        async for element in run:
            if isinstance(element, TextElement):
                texts.append(element.text)
                if texts == ["Hel"]:
                    await told_later(address, "release", request.model)

    assert "".join(texts) == TEXT


async def test_a_server_that_falls_silent_is_an_error(address):
    """`timeout_s` bounds the time between the pieces of an answer."""
    request = call("stall=2")
    with pytest.raises(ProviderError, match=r"sent nothing for 0\.05 s; raise timeout_s") as caught:
        await ask(of("chat", address, timeout_s=0.05), request)

    assert caught.value.code == "transport"
    assert (await told_later(address, "ended", request.model))["how"] == "disconnected"


async def test_connections_are_kept_inside_async_with_and_only_there(address, chat):
    """`OpenAIProvider`: one handshake for many calls, or nothing left behind."""

    async def connection() -> str:
        request = call()
        await ask(chat, request)
        return (await told_later(address, "ended", request.model))["peer"]

    async with chat:
        kept = {await connection() for _ in range(3)}
    await chat.aclose()
    single = {await connection() for _ in range(3)}

    assert len(kept) == 1
    assert len(single) == 3


@pytest.mark.parametrize("is_kept", [False, True])
async def test_one_provider_serves_many_calls_at_a_time(chat, is_kept):
    """`Provider`: one object serves any number of concurrent calls."""
    answers = []

    async def one() -> None:
        answers.append((await ask(chat, call()))[-1].message.text)

    if is_kept:
        await chat.__aenter__()
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(one)
    await chat.aclose()

    assert answers == [TEXT] * 20


def test_one_provider_serves_one_event_loop_after_the_other(chat):
    """Every `execute_sync()` has its own event loop; nothing of the first is left for the second."""
    pipeline = PipelineBuilder().chain(ProviderStage(chat, model="echo")).build()

    assert [pipeline.execute_sync(MessageElement(Message("user", text))).response for text in "ab"] == ["a", "b"]


async def test_connections_that_another_event_loop_keeps_are_not_touched(address, chat):
    """A kept connection belongs to its event loop; calls from elsewhere open their own."""
    request = call()

    def elsewhere() -> list:
        return anyio.run(ask, chat, request)

    async with chat:
        mine = call()
        await ask(chat, mine)
        assert (await anyio.to_thread.run_sync(elsewhere))[-1].message.text == TEXT

    connections = [(await told_later(address, "ended", one.model))["peer"] for one in (mine, request)]
    assert len(set(connections)) == 2


async def test_a_server_that_is_not_there_is_one_line_that_says_what_to_check():
    """The stage's error names the host and not the prompt."""
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port, and connecting is refused
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        nobody = OpenAIProvider(f"http://127.0.0.1:{port}/v1", api_key=KEY)
        pipeline = PipelineBuilder().chain(ProviderStage(nobody)).build()
        with pytest.raises(StageError) as caught:
            await pipeline.run(MessageElement(Message("user", PROMPT)))

    assert f"cannot reach 127.0.0.1:{port} ({os.strerror(111)}); check base_url" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert PROMPT not in "".join(traceback.format_exception(caught.value))


async def test_a_server_without_tls_is_refused_where_tls_was_asked_for(address):
    """`https` never falls back to plain text; no request, and so no key, is sent."""
    secure = await anyio.to_thread.run_sync(lambda: of("chat", address.replace("http", "https")))
    with pytest.raises(ProviderError, match=r"cannot reach 127\.0\.0\.1.*SSL") as caught:
        await ask(secure, call())

    assert caught.value.code == "transport"


async def test_a_wrong_path_is_told_with_what_the_server_says(address):
    """The commonest mistake: an address without `/v1`."""
    with pytest.raises(
        ProviderError,
        match=r"HTTP 404: no /chat/completions here, .*; check base_url, which /chat/completions is appended to",
    ):
        await ask(OpenAIProvider(address), call())

"""`OpenAIProvider` over real sockets, against the process of `tests/servers/openai_server.py`."""

import json
import logging
import socket
import subprocess
import sys
import traceback
import urllib.request
from contextlib import aclosing
from itertools import count
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from streamflow import Message, MessageElement, PipelineBuilder, StageError, TextElement
from streamflow.elements import ThinkingElement, UsageElement
from streamflow.errors import ProviderError
from streamflow.providers import ModelRequest, OpenAIProvider, ProviderStage

pytestmark = [pytest.mark.services, pytest.mark.real_clock]

SCRIPT = Path(__file__).parents[1] / "servers" / "openai_server.py"
TEXT = "Hello, wörld — 你好 🌍!"
KEY = "sk-planted-0123456789"
PROMPT = "a prompt that is nobody's business"
numbers = count()
OpenAIProvider("http://127.0.0.1/v1")  # the first one of a process imports its HTTP client: not inside an event loop


@pytest.fixture(scope="module")
def address():
    """Where the server process listens, as `http://127.0.0.1:port`."""
    with subprocess.Popen([sys.executable, str(SCRIPT)], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().split()[1]}"
        finally:
            process.terminate()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Whoever runs the tests behind a proxy still reaches the server on this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def provider(address):
    return OpenAIProvider(f"{address}/v1", api_key=KEY)


def call(behaviour: str) -> ModelRequest:
    """Return a request with a name of its own, so that the server can be asked what became of it."""
    return ModelRequest(messages=(Message("user", PROMPT),), model=f"{behaviour}:{next(numbers)}")


async def ask(provider, request) -> list:
    async with aclosing(provider.stream(request)) as stream:
        return [element async for element in stream]


async def side(address: str, what: str, name: str) -> dict:
    """Ask the server's side door, by another client than the one that is tested."""

    def get() -> dict:
        with urllib.request.urlopen(f"{address}/{what}/{name}", timeout=10) as response:
            return json.load(response)

    return await anyio.to_thread.run_sync(get)


@pytest.mark.parametrize(
    ("behaviour", "has_usage"),
    [
        *[("normal", True), ("split", True), ("no-done", True), ("reasoning", True)],
        *[("no-usage", False), ("cut-after-finish", False)],
    ],
)
async def test_an_answer_arrives_whole(provider, behaviour, has_usage):
    """`Provider.stream` — Out: fragments, usage, whole; bytes cut inside characters, and dialects, change nothing."""
    *fragments, whole = await ask(provider, call(behaviour))
    thoughts = "".join(one.text for one in fragments if isinstance(one, ThinkingElement))

    assert "".join(one.text for one in fragments if isinstance(one, TextElement)) == TEXT == whole.message.text
    assert thoughts == ("Let me think." if behaviour == "reasoning" else "")
    assert isinstance(fragments[-1], UsageElement) == has_usage
    if has_usage:
        usage = fragments[-1].usage
        assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.model) == (5, 7, 2, "served")


@pytest.mark.parametrize(
    ("behaviour", "told", "texts"),
    [
        ("cut", ("truncated", True), ["Hel"]),
        ("unfinished", ("truncated", True), ["Hel"]),
        ("error-chunk", ("rate_limited", True), ["Hel"]),
        ("huge", ("protocol", False), []),
        ("status-401", ("auth", False), []),
        ("status-403", ("auth", False), []),
        ("status-429", ("rate_limited", True), []),
        ("quota", ("rate_limited", False), []),
        ("status-500", ("overloaded", True), []),
        ("status-404", ("bad_request", False), []),
        ("status-307", ("protocol", False), []),
        ("leak", ("bad_request", False), []),
        ("page", ("protocol", False), []),
        ("whole", ("protocol", False), []),
        ("error-body", ("overloaded", True), []),
    ],
)
async def test_a_failure_is_told_by_its_code_and_without_secrets(provider, caplog, behaviour, told, texts):
    """`Provider.stream` — Raises, after the fragments that came; neither key nor prompt is in what is told or logged."""
    caplog.set_level(logging.DEBUG)
    request, got = call(behaviour), []
    with pytest.raises(ProviderError) as caught:
        async with aclosing(provider.stream(request)) as stream:
            async for element in stream:
                got.append(element)
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(provider)

    assert (caught.value.code, caught.value.retryable) == told
    assert [element.text for element in got] == texts
    assert caplog.records
    assert KEY not in shown
    assert PROMPT not in shown


@pytest.mark.parametrize("is_kept", [False, True])
@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_whoever_stops_listening_ends_the_request_at_the_server(address, provider, how, is_kept):
    """`OpenAIProvider.stream` — Cancellation: the server's socket is closed, and a kept provider serves on."""
    request = call("slow")
    if is_kept:
        await provider.__aenter__()
    with anyio.CancelScope() as scope:
        async with aclosing(provider.stream(request)) as stream:
            async for element in stream:
                assert element.text == "Hel"
                if how == "close":
                    break
                scope.cancel()

    assert scope.cancelled_caught == (how == "cancel")
    assert (await side(address, "ended", request.model))["how"] == "disconnected"
    assert (await ask(provider, call("normal")))[-1].message.text == TEXT
    await provider.aclose()


async def test_a_run_that_is_left_ends_the_request_at_the_server(address, provider):
    """semantics 5.5: leaving the consumer's loop closes what every stage has open, down to the socket."""
    request = call("slow")
    pipeline = PipelineBuilder().chain(ProviderStage(provider, model=request.model)).build()
    async with pipeline.execute(MessageElement(request.messages[0])) as run:
        async for element in run:
            if isinstance(element, TextElement):
                break

    assert (await side(address, "ended", request.model))["how"] == "disconnected"


async def test_a_fragment_leaves_the_pipeline_before_the_model_has_made_the_next(address, provider):
    """semantics 5.3: streaming is real, from the socket to the consumer."""
    request = call("gated")
    pipeline = PipelineBuilder().chain(ProviderStage(provider, model=request.model)).build()
    texts = []
    async with pipeline.execute(MessageElement(request.messages[0])) as run:
        async for element in run:
            if isinstance(element, TextElement):
                texts.append(element.text)
                if texts == ["Hel"]:
                    await side(address, "release", request.model)

    assert texts == ["Hel", "lo"]


async def test_a_server_that_falls_silent_is_an_error(address):
    """`timeout_s` bounds the time between the pieces of an answer."""
    request = call("slow")
    with pytest.raises(ProviderError, match=r"sent nothing for 0\.05 s; raise timeout_s") as caught:
        await ask(OpenAIProvider(f"{address}/v1", timeout_s=0.05), request)

    assert caught.value.code == "transport"
    assert (await side(address, "ended", request.model))["how"] == "disconnected"


async def test_connections_are_kept_inside_async_with_and_only_there(address, provider):
    """`OpenAIProvider`: one handshake for many calls, or nothing left behind."""

    async def connection() -> int:
        request = call("normal")
        await ask(provider, request)
        return (await side(address, "ended", request.model))["connection"]

    async with provider:
        kept = {await connection() for _ in range(3)}
    await provider.aclose()
    single = {await connection() for _ in range(3)}

    assert len(kept) == 1
    assert len(single) == 3


@pytest.mark.parametrize("is_kept", [False, True])
async def test_one_provider_serves_many_calls_at_a_time(provider, is_kept):
    """`Provider`: one object serves any number of concurrent calls."""
    answers = []

    async def one() -> None:
        answers.append((await ask(provider, call("normal")))[-1].message.text)

    if is_kept:
        await provider.__aenter__()
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(one)
    await provider.aclose()

    assert answers == [TEXT] * 20


def test_one_provider_serves_one_event_loop_after_the_other(provider):
    """Every `execute_sync()` has its own event loop; nothing of the first is left for the second."""
    pipeline = PipelineBuilder().chain(ProviderStage(provider, model="echo")).build()

    assert [pipeline.execute_sync(MessageElement(Message("user", text))).response for text in "ab"] == ["a", "b"]


async def test_connections_that_another_event_loop_keeps_are_not_touched(address, provider):
    """A kept connection belongs to its event loop; calls from elsewhere open their own."""
    request = call("normal")

    def elsewhere() -> list:
        return anyio.run(ask, provider, request)

    async with provider:
        mine = call("normal")
        await ask(provider, mine)
        assert (await anyio.to_thread.run_sync(elsewhere))[-1].message.text == TEXT

    connections = [(await side(address, "ended", one.model))["connection"] for one in (mine, request)]
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

    assert f"cannot reach 127.0.0.1:{port} (Connection refused); check base_url" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert PROMPT not in "".join(traceback.format_exception(caught.value))


async def test_a_server_without_tls_is_refused_where_tls_was_asked_for(address):
    """`https` never falls back to plain text; no request, and so no key, is sent."""
    secure = await anyio.to_thread.run_sync(lambda: OpenAIProvider(address.replace("http", "https"), api_key=KEY))
    with pytest.raises(ProviderError, match=r"cannot reach 127\.0\.0\.1.*SSL") as caught:
        await ask(secure, call("normal"))

    assert caught.value.code == "transport"


async def test_a_wrong_path_is_told_with_what_the_server_says(address):
    """The commonest mistake: an address without `/v1`."""
    with pytest.raises(ProviderError, match=r"HTTP 404: no /chat/completions here; check base_url"):
        await ask(OpenAIProvider(address), call("normal"))

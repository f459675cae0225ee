"""Nothing secret leaves: keys, prompts, addresses with credentials, planted everywhere and looked for everywhere."""

import io
import json
import logging
import socket
import ssl
import threading
import traceback
from pathlib import Path

import anthropic
import anyio.to_thread
import httpx2
import openai
import pytest
from model_memory import DONE, KEY, STOP, WIRES, Memory, answer_of, event, failure_of, provider_of

from streamflow import MessageElement, PipelineBuilder, StageError, TextElement
from streamflow.elements import (
    ImagePart,
    Message,
    Metadata,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    encode,
)
from streamflow.errors import ConfigError, ProviderError
from streamflow.providers import (
    AnthropicClientProvider,
    AnthropicProvider,
    FallbackProvider,
    ModelRequest,
    OpenAIClientProvider,
    OpenAIProvider,
    ProviderStage,
    RetryProvider,
    TimeoutProvider,
    ToolSpec,
)

HEADER = "gateway-secret-4711-0815"
PASSWORD = "hunter2-in-the-address"
PLANTED = {
    "prompt": "a prompt that is nobody's business",
    "system": "rules that the rivals would like to read",
    "thought": "what the model thought of the customer",
    "argument": "an account number 1234567890",
    "result": "the balance of the account is 17",
    "tool": "a tool that nobody should know about",
    "address": f"https://user:{PASSWORD}@files.test/private.png?token=abcdef",
    "extra": "a field that only the gateway knows",
}
REQUEST = ModelRequest(
    messages=(
        Message("system", PLANTED["system"]),
        Message("user", [TextPart(PLANTED["prompt"]), ImagePart(url=PLANTED["address"])]),
        Message(
            "assistant",
            [ThinkingPart(PLANTED["thought"], "sig"), ToolCallPart("c", "t", {"number": PLANTED["argument"]})],
        ),
        Message("tool", [ToolResultPart("c", PLANTED["result"])]),
    ),
    model="m",
    tools=(ToolSpec("t", PLANTED["tool"]),),
    extra=Metadata({"gateway": [PLANTED["extra"]]}),
)
SECRETS = {"key": KEY, "header": HEADER, "password": PASSWORD} | PLANTED
SAID = " | ".join(SECRETS.values())
ECHO = json.dumps({"error": {"message": SAID, "type": SAID, "param": SAID}}).encode()

FAULTS = {
    **{f"status {status}": {"chunks": [ECHO], "status": status} for status in (302, 400, 401, 403, 404, 422, 429, 500)},
    "text body": {"chunks": [SAID.encode()], "status": 400},
    "header": {"chunks": [ECHO], "status": 429, "headers": {"retry-after": "1", "x-echo": SAID.replace("'", "")}},
    "redirect": {"chunks": [], "status": 307, "headers": {"location": f"http://other.test/?{KEY}"}},
    "json": {"chunks": [ECHO], "headers": {"content-type": "application/json"}},
    "kind": {"chunks": [ECHO], "headers": {"content-type": f"text/html; {KEY}"}},
    "coding": {"chunks": [ECHO], "headers": {"content-encoding": KEY}},
    "error event": {"chunks": [b"event: error\ndata: " + ECHO + b"\n\n"]},
    "anthropic error": {"chunks": [b'data: {"type": "error", ' + ECHO[1:] + b"\n\n"]},
    "rubbish": {"chunks": [f"data: {SAID}\n\n".encode()]},
    "wrong types": {
        "chunks": [json.dumps({"type": SAID, "choices": SAID, "usage": [SAID]}).join(("data: ", "\n\n")).encode()]
    },
    "cut": {"chunks": [b": hello\n\n", httpx2.ReadError(SAID[:0] + "reset")]},
    "connect": {"error": httpx2.ConnectError("all failed")},
    "local protocol": {"error": httpx2.LocalProtocolError(f"Illegal header value {SAID!r}")},
    "remote protocol": {"error": httpx2.RemoteProtocolError(f"illegal header line {SAID!r}")},
    "remote protocol later": {"chunks": [b": hello\n\n", httpx2.RemoteProtocolError(f"bad chunk {SAID!r}")]},
    "huge": {"chunks": [b"data: " + SAID.encode() * 40_000]},
}


KINDS = [*WIRES, "openai-sdk", "anthropic-sdk"]


def provider_with_secrets(kind: str, memory: Memory):
    """Return our provider of a wire, or one with the client of an SDK."""
    if kind in WIRES:
        return provider_of(kind, memory, headers={"X-Gateway": HEADER})
    options = {
        "api_key": KEY,
        "base_url": f"http://user:{PASSWORD}@model.test:8000",
        "http_client": httpx2.AsyncClient(transport=memory),
        "max_retries": 0,
        "default_headers": {"x-gateway": HEADER},
    }
    if kind == "anthropic-sdk":
        return AnthropicClientProvider(anthropic.AsyncAnthropic(**options))
    return OpenAIClientProvider(openai.AsyncOpenAI(**options))


def shown(error: BaseException) -> str:
    """Return all that a log, a reporter or a debugger without locals would show of an error, causes and contexts included."""
    seen, texts = [error], []
    for one in seen:
        texts += ["".join(traceback.format_exception(one)), repr(one), str(one), repr(one.args)]
        texts += [repr(getattr(one, "__notes__", "")), repr(one.__dict__.get("message", ""))]
        seen += [more for more in (one.__cause__, one.__context__) if more is not None and more not in seen]
    return "\n".join(texts)


def assert_nothing_planted_in(text: str, where: str, secrets=SECRETS) -> None:
    for name, secret in secrets.items():
        assert secret not in text, f"{name} in {where}"
        assert secret[4:-2] not in text, f"most of {name} in {where}"
    assert KEY[:12] not in text, f"half of the key in {where}"


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_server_repeats_goes_no_further(kind, caplog):
    """semantics 18.8: errors, causes, contexts, tracebacks, records and reprs; ours, and with the SDKs' clients."""
    caplog.set_level(logging.DEBUG)
    for fault, options in FAULTS.items():
        memory = Memory(**{"chunks": []} | options)
        provider = provider_with_secrets(kind, memory)
        error = await failure_of(TimeoutProvider(FallbackProvider(provider, provider), timeout_s=5), REQUEST)
        # What an SDK itself writes into its own debug log is its affair.
        records = [record.getMessage() for record in caplog.records if kind in WIRES or "streamflow" in record.name]
        assert_nothing_planted_in("\n".join([shown(error), repr(provider), *records]), fault)
        assert json.loads(memory.requests[0].content), "the secrets were really sent"
        assert memory.requests[0].headers["x-gateway"] == HEADER


async def test_a_run_tells_nothing_of_it_either(caplog):
    """semantics 18.8: the error of the run, its events, its numbers and its log records."""
    caplog.set_level(logging.DEBUG)
    for options in (FAULTS["status 400"], FAULTS["local protocol"], FAULTS["error event"]):
        seen: list[str] = []
        provider = RetryProvider(provider_with_secrets("chat", Memory(**{"chunks": []} | options)))
        builder = PipelineBuilder().chain(ProviderStage(provider, name="llm"))
        builder.on_event(lambda event, seen=seen: seen.append(f"{event!r} {event.data!r}"))
        run = builder.build().execute([MessageElement(message) for message in REQUEST.messages])
        with pytest.raises(StageError) as caught:
            async with run:
                async for _ in run:
                    pass

        assert isinstance(caught.value.__cause__, ProviderError)
        records = [record.getMessage() for record in caplog.records]
        sent = {name: secret for name, secret in SECRETS.items() if name not in {"tool", "extra"}}
        told = [shown(caught.value), repr(run), repr(run.stats()), str(run.stats()), *seen, *records]
        assert_nothing_planted_in("\n".join(told), "run", sent)


def test_what_is_kept_of_a_provider_shows_no_secret():
    """semantics 18.8: reprs, also of providers around providers."""
    inner = [
        OpenAIProvider("http://model.test/v1", api_key=KEY, headers={"X-Gateway": HEADER}),
        AnthropicProvider("http://model.test", api_key=KEY, headers={"X-Gateway": HEADER}),
    ]
    outer = TimeoutProvider(RetryProvider(FallbackProvider(*inner)), timeout_s=1)

    assert_nothing_planted_in(repr(outer), "repr")


@pytest.mark.parametrize("kind", [OpenAIProvider, AnthropicProvider])
@pytest.mark.parametrize(
    "options",
    [
        {"base_url": f"https://user:{PASSWORD}@model.test/v1"},
        {"api_key": f"{KEY}\nX-Other: 1"},
        {"headers": {"X-Gateway": f"{HEADER}\r\nX-Other: 1"}},
        {"headers": {f"{HEADER}: x": "y"}},
        {"headers": {"Content-Length": HEADER}},
    ],
    ids=["address", "key", "header", "name", "ours"],
)
def test_what_cannot_be_used_is_refused_without_repeating_it(kind, options):
    """semantics 18.8: the HTTP client would refuse it too, and quote it."""
    with pytest.raises(ConfigError) as caught:
        kind(**{"base_url": "http://model.test/v1"} | options)

    assert_nothing_planted_in(shown(caught.value), "error")


async def test_the_server_s_words_are_told_where_they_are_no_secret():
    """semantics 18.8: taking out everything would help nobody."""
    body = json.dumps({"error": {"message": f"model 'm' is too small for <{PLANTED['prompt']}>, see docs"}}).encode()
    error = await failure_of(provider_of("chat", Memory([body], status=400)), REQUEST)

    assert "model 'm' is too small for <***>, see docs" in str(error)


class Peer:
    """A server on a socket of this machine: takes connections one by one in a thread, and keeps what it is sent."""

    def __init__(self, answer: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.received = io.BytesIO()
        self.connections = 0
        self._answer, self._tls = answer, tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            try:
                with connection, self._wrapped(connection) as stream:
                    self.received.write(stream.recv(65536))
                    stream.sendall(self._answer)
            except OSError:
                pass

    def _wrapped(self, connection: socket.socket) -> socket.socket:
        return connection if self._tls is None else self._tls.wrap_socket(connection, server_side=True)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture
def peer():
    """Make peers, and close them at the end."""
    made: list[Peer] = []

    def make(*args) -> Peer:
        made.append(Peer(*args))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.services
@pytest.mark.real_clock
async def test_a_certificate_that_nobody_vouches_for_ends_the_call_before_the_key_is_sent(peer, monkeypatch):
    """semantics 18.8: TLS verification is on, and there is no switch to turn it off."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).parents[1] / "servers" / "self_signed.pem")
    server = await anyio.to_thread.run_sync(peer, b"", context)
    for kind in (OpenAIProvider, AnthropicProvider):
        make = lambda kind=kind: kind(f"https://127.0.0.1:{server.port}", api_key=KEY)  # noqa: E731 - it reads certificates
        error = await failure_of(await anyio.to_thread.run_sync(make), REQUEST)

        assert error.code == "transport"
        assert "CERTIFICATE_VERIFY_FAILED" in str(error)
    assert server.received.getvalue() == b""
    assert server.connections == 2


@pytest.mark.services
@pytest.mark.real_clock
async def test_a_certificate_that_is_vouched_for_lets_the_call_through(peer, monkeypatch):
    """semantics 18.8: an answer comes over TLS where the environment says whom to trust."""
    certificate = Path(__file__).parents[1] / "servers" / "self_signed.pem"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    body = b'data: {"choices":[{"delta":{"content":"safe"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body)
    server = await anyio.to_thread.run_sync(peer, head + body, context)
    make = lambda: OpenAIProvider(f"https://127.0.0.1:{server.port}", api_key=KEY)  # noqa: E731 - it reads certificates
    provider = await anyio.to_thread.run_sync(make)
    said = [element.text async for element in provider.stream(REQUEST) if isinstance(element, TextElement)]

    assert said == ["safe"]
    assert KEY.encode() in server.received.getvalue()


@pytest.mark.services
@pytest.mark.real_clock
async def test_a_redirect_is_not_followed_with_the_key(peer, monkeypatch):
    """semantics 18.8: neither by ours nor through a client that is set to follow them."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    other = await anyio.to_thread.run_sync(peer, b"")
    head = f"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:{other.port}/v1\r\ncontent-length: 0\r\n\r\n"
    first = await anyio.to_thread.run_sync(peer, head.encode())
    base = f"http://127.0.0.1:{first.port}"
    sdk = openai.AsyncOpenAI(api_key=KEY, base_url=base, max_retries=0)
    try:
        for provider in (
            OpenAIProvider(base, api_key=KEY),
            AnthropicProvider(base, api_key=KEY),
            OpenAIClientProvider(sdk),
        ):
            error = await failure_of(provider, REQUEST)
            assert error.code == "protocol"
            assert "a redirect, which is not followed" in str(error)
    finally:
        await sdk.close()

    assert KEY.encode() in first.received.getvalue()
    assert other.connections == 0


@pytest.mark.services
@pytest.mark.real_clock
async def test_a_head_that_does_not_end_is_not_kept(peer, monkeypatch):
    """semantics 18.8: the size of headers and of lines is bounded too."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = await anyio.to_thread.run_sync(peer, b"HTTP/1.1 200 OK\r\nx-filler: " + b"x" * 3_000_000)
    error = await failure_of(OpenAIProvider(f"http://127.0.0.1:{server.port}", api_key=KEY), REQUEST)

    assert error.code == "transport"


async def test_elements_hold_what_a_model_said_and_nothing_of_the_request():
    """semantics 18.8: the answer has no copy of what was sent."""
    memory = Memory([event({"delta": {"content": "Hi"}}), STOP, DONE])
    got = await answer_of(provider_of("chat", memory, headers={"X-Gateway": HEADER}), REQUEST)

    assert_nothing_planted_in("".join(encode(element).decode() for element in got), "elements")

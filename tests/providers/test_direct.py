"""The client of HTTP/1.1: which connection a call gets, and what becomes of it. The network is a list of pieces."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import ByteStream, SocketAttribute

from streamflow.elements import Message, MessageElement, TextElement
from streamflow.errors import ProviderError
from streamflow.providers import ModelRequest, OpenAIProvider
from streamflow.providers._direct import DirectClient

REQUEST = ModelRequest(messages=(Message("user", "Hi"),))
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
TEXT = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
STOP = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


WHOLE = [HEAD + chunk(TEXT), chunk(STOP) + b"0\r\n\r\n"]


class Line(ByteStream):
    """One connection: for each request, the pieces that answer it; `None` is a server that says nothing more."""

    def __init__(self, answers: list[list[bytes | Exception | None]]) -> None:
        self.sent: list[bytes] = []
        self.closed = False
        self.refuses = False
        self._answers = list(answers)
        self._pieces: list[bytes | Exception | None] = []
        self._socket, self.far_end = socket.socketpair()
        self.far_end.setblocking(False)

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self.sent.append(item)
        self._pieces = list(self._answers.pop(0))
        if self.refuses:
            raise anyio.BrokenResourceError

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.lowlevel.checkpoint()
        piece = self._pieces.pop(0) if self._pieces else anyio.EndOfStream()
        if piece is None:
            await anyio.sleep_forever()
        if isinstance(piece, Exception):
            raise piece
        assert piece is not None
        return piece

    async def send_eof(self) -> None:
        raise AssertionError

    async def aclose(self) -> None:
        self.closed = True
        self._socket.close()
        self.far_end.close()
        await anyio.lowlevel.checkpoint()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {SocketAttribute.raw_socket: lambda: self._socket}


class Net:
    """All connections that were opened."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.plan: list[Any] = []

    async def connect(self, host: str, port: int, **_options: object) -> Line:
        await anyio.lowlevel.checkpoint()
        assert (host, port) == ("model.test", 80)
        given = self.plan.pop(0) if self.plan else [WHOLE] * 9
        if given is None:
            await anyio.sleep_forever()
        if isinstance(given, Exception):
            raise given
        self.lines.append(given if isinstance(given, Line) else Line(given))
        return self.lines[-1]


@pytest.fixture
async def net(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Net]:
    """A network in memory, without a proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    made = Net()
    monkeypatch.setattr(anyio, "connect_tcp", made.connect)
    yield made
    for line in made.lines:
        await line.aclose()


def provider(**options: Any) -> OpenAIProvider:
    return OpenAIProvider("http://model.test/v1", api_key="k", **options)


async def ask(of: OpenAIProvider) -> str:
    """Ask once, and return what was said."""
    async with aclosing(of.stream(REQUEST)) as stream:
        return "".join([one.text async for one in stream if isinstance(one, TextElement)])


async def failure(of: OpenAIProvider) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await ask(of)
    return caught.value


async def test_calls_one_after_the_other_share_a_connection_and_calls_at_a_time_do_not(net: Net) -> None:
    """semantics 18.16: `async with` keeps a connection behind an answer that was read to its end, and closes it."""
    of = provider()
    async with of:
        assert [await ask(of) for _ in range(3)] == ["Hi"] * 3
        assert len(net.lines) == 1
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask, of)
        assert len(net.lines) == 3
        assert not any(line.closed for line in net.lines)
    assert all(line.closed for line in net.lines)

    request = net.lines[0].sent[0]
    assert request.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: model.test\r\nuser-agent: streamflow\r\n")
    head, _, body = request.partition(b"\r\n\r\n")
    assert b"\r\nauthorization: Bearer k\r\n" in head
    assert head.endswith(b"\r\ncontent-length: %d" % len(body))


async def test_without_async_with_a_call_leaves_no_connection_behind(net: Net) -> None:
    """`OpenAIProvider`: every call opens its own connection and closes it."""
    assert [await ask(provider()), len(net.lines), net.lines[0].closed] == ["Hi", 1, True]


@pytest.mark.parametrize("why", ["closed by the server", "something came on it", "too old", "said close"])
async def test_a_connection_that_cannot_be_trusted_is_not_used_again(net: Net, why: str) -> None:
    """semantics 18.16: what comes before a request is no answer to it, and a server closes what is idle for long."""
    if why == "said close":
        net.plan = [[[WHOLE[0].replace(b"content-type", b"connection: close\r\ncontent-type"), WHOLE[1]]]]
    async with provider() as of:
        await ask(of)
        first = net.lines[0]
        if why == "closed by the server":
            first.far_end.close()
        elif why == "something came on it":
            first.far_end.send(b"HTTP/1.1 200 OK\r\n\r\n")
        elif why == "too old":
            await anyio.sleep(6)
        assert await ask(of) == "Hi"

        assert (len(net.lines), first.closed, len(first.sent)) == (2, True, 1)


async def test_an_answer_that_is_left_or_cancelled_closes_its_connection(net: Net) -> None:
    """`Provider.stream` — Cancellation: the rest of one answer is never the beginning of the next."""
    net.plan = [[[HEAD + chunk(TEXT), None]], [[HEAD + chunk(TEXT), None]], [[None]]]
    async with provider() as of:
        async with aclosing(of.stream(REQUEST)) as stream:
            async for element in stream:
                if isinstance(element, TextElement):
                    break
        for _ in range(2):
            with anyio.move_on_after(1):
                await ask(of)
        assert [line.closed for line in net.lines] == [True] * 3
        assert await ask(of) == "Hi"


async def test_an_answer_that_outlives_the_provider_is_whole_and_its_connection_closed(net: Net) -> None:
    """`HTTPProvider.aclose`: what is under way goes on; nothing is kept any more."""
    of = provider()
    await of.__aenter__()
    async with aclosing(of.stream(REQUEST)) as stream:
        async for element in stream:
            if isinstance(element, TextElement):
                await of.aclose()
            last = element
    assert isinstance(last, MessageElement)
    assert net.lines[0].closed


@pytest.mark.parametrize(
    ("plan", "code", "says"),
    [
        (None, "transport", "no connection within 10 s"),
        (OSError(111, "x"), "transport", "Connection refused"),
        ([[None]], "transport", "sent nothing for 60 s"),
        ([[HEAD + chunk(TEXT), None]], "transport", "sent nothing for 60 s"),
        ([[]], "transport", "cannot reach"),
        ([[HEAD + chunk(TEXT)]], "truncated", "the connection broke"),
        ([[HEAD + chunk(TEXT), anyio.BrokenResourceError()]], "truncated", "the connection broke"),
        ([[HEAD + chunk(TEXT), b"zz\r\n"]], "truncated", "the connection broke"),
        ([[b"SSH-2.0-OpenSSH\r\n\r\n"]], "transport", "cannot reach"),
        ([[b"HTTP/1.1 429 No\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\n{}"]], "rate_limited", ""),
    ],
)
async def test_what_goes_wrong_is_told_as_over_any_other_client(net: Net, plan: Any, code: str, says: str) -> None:
    """`Provider.stream` — Raises: by its code, in words of our own; and nothing of the connection is left."""
    net.plan = [plan]
    async with provider() as of:
        error = await failure(of)

    assert (error.code, says in str(error)) == (code, True), str(error)
    assert error.retry_after_s == (7 if code == "rate_limited" else None)
    assert all(line.closed for line in net.lines)


async def test_a_server_that_answers_before_it_has_read_all_is_heard(net: Net) -> None:
    """A refusal of a large request comes while it is still being sent."""
    line = Line([[b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"]])
    line.refuses = True
    net.plan = [line]

    assert "413" in str(await failure(provider()))


async def test_only_so_many_idle_connections_are_kept(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """semantics 18.16: a burst of calls leaves no more connections behind than it may, and none for longer than it may."""
    monkeypatch.setattr("streamflow.providers._direct._MAX_IDLE", 2)
    async with provider() as of:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask, of)
        assert sum(not line.closed for line in net.lines) == 2
        await anyio.sleep(6)
        await ask(of)
        assert sum(not line.closed for line in net.lines) == 1


def test_a_proxy_of_the_environment_is_left_to_httpx2(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OpenAIProvider`: proxies are as the environment says, for the hosts that it says."""
    monkeypatch.setenv("http_proxy", "http://proxy.test:3128")
    monkeypatch.setenv("no_proxy", "near.test")

    assert isinstance(provider()._new_client(), httpx2.AsyncClient)
    assert isinstance(OpenAIProvider("http://near.test/v1")._new_client(), DirectClient)
    assert isinstance(OpenAIProvider("https://model.test/v1")._new_client(), DirectClient)

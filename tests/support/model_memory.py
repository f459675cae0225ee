"""A model server in memory: what `httpx2` clients talk to in tests. It streams; nothing is collected on the way."""

import json
from contextlib import aclosing
from pathlib import Path

import anyio
import httpx2
import pytest

from streamflow.elements import Message
from streamflow.errors import ProviderError
from streamflow.providers import AnthropicProvider, ModelRequest, OpenAIProvider

KEY = "sk-planted-0123456789"
PROMPT = "a prompt that is nobody's business"
ASKED = ModelRequest(messages=(Message("user", PROMPT),), model="m")
SILENCE = b"nothing, for ever"
DONE = b"data: [DONE]\n\n"
WIRES = ("chat", "responses", "anthropic")
CORPUS = Path(__file__).parents[1] / "providers" / "corpus"
SENT = {f"{path.parent.name}/{path.stem}": path.read_bytes() for path in sorted(CORPUS.glob("*/*.sse"))}


class Body(httpx2.AsyncByteStream):
    """A response body that is made chunk by chunk, as it is read."""

    def __init__(self, chunks) -> None:
        self.chunks = iter(chunks)
        self.made = 0
        self.closed = False

    async def __aiter__(self):
        for chunk in self.chunks:
            if self.closed:
                raise httpx2.ReadError("closed")
            if isinstance(chunk, Exception):
                raise chunk
            if chunk is SILENCE:
                await anyio.sleep_forever()
            if isinstance(chunk, float):
                await anyio.sleep(chunk)
                continue
            self.made += 1
            yield chunk

    async def aclose(self) -> None:
        self.closed = True


class Memory(httpx2.AsyncBaseTransport):
    """A server in memory."""

    def __init__(self, chunks=(), *, status: int = 200, headers=None, error: Exception | None = None) -> None:
        self.status, self.error = status, error
        self.headers = {"content-type": "text/event-stream"} | (headers or {})
        self.body = Body(chunks)
        self.requests: list[httpx2.Request] = []
        self.closed = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        await request.aread()
        if self.error is not None:
            raise self.error
        return httpx2.Response(self.status, headers=self.headers, stream=self.body, request=request)

    async def aclose(self) -> None:
        self.closed = True


def provider_of(wire: str, memory: httpx2.AsyncBaseTransport, **options):
    """Return our provider of a wire, in front of a server in memory."""
    client = httpx2.AsyncClient(transport=memory)
    if wire == "anthropic":
        return AnthropicProvider("http://model.test:8000", **{"api_key": KEY} | options, client=client)
    return OpenAIProvider("http://model.test:8000/v1", **{"api_key": KEY, "api": wire} | options, client=client)


async def answer_of(provider, request: ModelRequest = ASKED) -> list:
    """Return the elements of an answer."""
    async with aclosing(provider.stream(request)) as stream:
        return [element async for element in stream]


async def failure_of(provider, request: ModelRequest = ASKED) -> ProviderError:
    """Return how a call fails."""
    with pytest.raises(ProviderError) as caught:
        await answer_of(provider, request)
    return caught.value


def event(*choices, **more) -> bytes:
    """Return a chunk of a chat completion."""
    return b"data: " + json.dumps({"choices": list(choices), **more}).encode() + b"\n\n"


def delta(finish: str | None = None, index: int = 0, **fields) -> dict:
    """Return a choice of a chunk."""
    return {"index": index, "delta": fields, "finish_reason": finish}


STOP = event(delta("stop"))

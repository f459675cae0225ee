"""Cassettes: what a real model server answered, kept in a file, and given again to the same provider.

Above: tests. Below: the optional httpx2. The seam is where bytes come in: a client of httpx2 that records or replays, for `client=`
of the providers and `http_client=` of the SDKs. So what is replayed goes through the very parser that read the server.
Rules: nothing of a request is kept but its path; of a response its status, its media type, what it says of a retry, and its body,
from which the values of the request's headers, and so its keys, are taken out. Both are bounded.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio.lowlevel
import anyio.to_thread
import httpx2
import msgspec

from ..errors import ConfigError, DecodeError

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

__all__ = ["Cassette", "load_cassette", "record_cassette"]

_VERSION: Final = 1
_KEPT: Final = ("content-type", "retry-after", "retry-after-ms")
_MIN_SECRET: Final = 8  # a shorter value is a media type or the like, and taking it out would garble the answer
_PLAIN: Final = frozenset(
    {"host", "accept", "accept-encoding", "content-type", "content-length", "connection", "user-agent"}
)


class _Raw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    base64: bytes


class _Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str
    status: int
    headers: dict[str, str]
    chunks: list[str | _Raw]  # as they arrived: a text, or base64 where a chunk ends inside a character
    cut: bool = False  # whether the connection broke


class _Tape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    answers: list[_Answer]


class Cassette:
    """What servers answered, to be given again.

    Answers are given in the order in which they were recorded, whatever is asked; a request to another path than the recorded one
    fails, and so does one too many.

    ```python
    cassette = load_cassette("answers.json")
    provider = OpenAIProvider("http://recorded/v1", client=cassette.client())
    ```
    """

    def __init__(self, tape: _Tape, *, repeat: bool = False) -> None:
        self._answers = tape.answers
        self._repeat = repeat
        self._next = 0

    def client(self) -> httpx2.AsyncClient:
        """Return an HTTP client that is answered by this cassette, for `client=` of a provider."""
        return httpx2.AsyncClient(transport=_Player(self))

    @property
    def left(self) -> int:
        """How many answers have not been given."""
        return len(self._answers) - self._next

    def assert_consumed(self) -> None:
        """Check that every answer was asked for.

        Raises:
            AssertionError: If some are left; says how many, and the path of the next.
        """
        if self.left > 0:
            raise AssertionError(
                f"{self.left} answers of the cassette were not asked for; next is {self._answers[self._next].path}"
            )

    def take(self, path: str) -> _Answer:
        """Return the next answer.

        Raises:
            AssertionError: If there is none, or it answers another path.
        """
        if self._repeat and self._next == len(self._answers):
            self._next = 0
        if self._next == len(self._answers):
            raise AssertionError(f"the cassette has no answer to request {self._next + 1}, to {path}; record it anew")
        answer = self._answers[self._next]
        if answer.path != path:
            raise AssertionError(
                f"request {self._next + 1} goes to {path}, but the cassette answers {answer.path}; record it anew"
            )
        self._next += 1
        return answer


class _Replaying(httpx2.AsyncByteStream):
    def __init__(self, answer: _Answer, request: httpx2.Request) -> None:
        self._answer = answer
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._answer.chunks:
            await anyio.lowlevel.checkpoint()
            yield chunk.encode() if isinstance(chunk, str) else chunk.base64
        if self._answer.cut:
            raise httpx2.RemoteProtocolError("the connection broke when this was recorded", request=self._request)


class _Player(httpx2.AsyncBaseTransport):
    def __init__(self, cassette: Cassette) -> None:
        self._cassette = cassette

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        answer = self._cassette.take(request.url.path)
        return httpx2.Response(
            answer.status, headers=answer.headers, stream=_Replaying(answer, request), request=request
        )


class _Recording(httpx2.AsyncByteStream):
    """A body that is passed on and kept."""

    def __init__(self, stream: httpx2.AsyncByteStream, recorder: _Recorder, kept: _Kept) -> None:
        self._stream = stream
        self._recorder = recorder
        self._kept = kept

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                self._recorder.count(len(chunk))
                self._kept.chunks.append(chunk)
                yield chunk
        except httpx2.TransportError:
            self._kept.cut = True
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Kept:
    """What is kept of one answer while it arrives."""

    def __init__(self, path: str, response: httpx2.Response, secrets: list[bytes]) -> None:
        self.path = path
        self.status = response.status_code
        self.headers = {name: response.headers[name] for name in _KEPT if name in response.headers}
        self.chunks: list[bytes] = []
        self.cut = False
        self.secrets = secrets

    def answer(self) -> _Answer:
        chunks = self.chunks
        body = b"".join(chunks)
        if any(secret in body for secret in self.secrets):
            for secret in self.secrets:
                body = body.replace(secret, b"***")
            chunks = [body]  # a secret may have been cut in two
        return _Answer(self.path, self.status, self.headers, [_shown(chunk) for chunk in chunks if chunk], self.cut)


class _Recorder(httpx2.AsyncBaseTransport):
    def __init__(self, inner: httpx2.AsyncBaseTransport, max_bytes: int) -> None:
        self._inner = inner
        self._left = max_bytes
        self._max = max_bytes
        self.kept: list[_Kept] = []

    def count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise DecodeError(f"the answers are larger than max_bytes={self._max}; record fewer, or raise the limit")

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        kept = _Kept(request.url.path, response, _secrets_of(request.headers))
        self.kept.append(kept)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Recording(response.stream, self, kept)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def record_cassette(
    path: str | os.PathLike[str],
    *,
    transport: httpx2.AsyncBaseTransport | None = None,
    max_bytes: int = 10 * 1024 * 1024,
) -> AsyncGenerator[httpx2.AsyncClient]:
    """Give an HTTP client, and write what servers answered to it into a file at the end.

    ```python
    async with record_cassette("answers.json") as client:
        provider = OpenAIProvider.from_env(client=client)
    ```

    Cancellation: nothing is written then, and neither is anything if the block fails.

    Args:
        path: The file; an old one is replaced, in one step.
        transport: How the client reaches servers; None: over the network.
        max_bytes: Most bytes of all bodies.

    Raises:
        ConfigError: If the limit is not positive, or the file cannot be written.
        DecodeError: Inside the block, if the answers are larger than the limit.
    """
    if max_bytes < 1:
        raise ConfigError("max_bytes", f"{max_bytes} is no size; give 1 or more")
    recorder = _Recorder(transport if transport is not None else httpx2.AsyncHTTPTransport(), max_bytes)
    async with httpx2.AsyncClient(transport=recorder) as client:
        yield client
    tape = _Tape(_VERSION, [kept.answer() for kept in recorder.kept])
    await anyio.to_thread.run_sync(_write, Path(path), msgspec.json.format(msgspec.json.encode(tape), indent=1))


def load_cassette(path: str | os.PathLike[str], *, repeat: bool = False, max_bytes: int = 20 * 1024 * 1024) -> Cassette:
    """Return the cassette in a file. Reads the file: not inside an event loop.

    Args:
        path: The file.
        repeat: Whether to begin anew behind the last answer.
        max_bytes: Largest file.

    Raises:
        ConfigError: If it cannot be read, or is no cassette of this version.
    """
    file = Path(path)
    try:
        with file.open("rb") as opened:
            content = opened.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError("cassette", f"{file} cannot be read: {error.strerror or error}") from error
    if len(content) > max_bytes:
        raise ConfigError("cassette", f"{file} is larger than max_bytes={max_bytes}")
    try:
        version = msgspec.json.decode(content, type=dict[str, object]).get("version")
        if version != _VERSION:
            raise ConfigError("cassette", f"{file} has version {version!r:.20}, not {_VERSION}; record it anew")
        tape = msgspec.json.decode(content, type=_Tape)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError("cassette", f"{file} is no cassette: {error}") from error
    return Cassette(tape, repeat=repeat)


def _shown(chunk: bytes) -> str | _Raw:
    """Return a chunk in the form in which a person can read it best."""
    try:
        return chunk.decode()
    except UnicodeDecodeError:
        return _Raw(chunk)


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise ConfigError("cassette", f"{path} cannot be written: {error.strerror or error}") from error


def _secrets_of(headers: Mapping[str, str]) -> list[bytes]:
    """Return what must not be on the cassette: values of headers that hold more than what every client says."""
    values = [value for name, value in headers.items() if name.lower() not in _PLAIN]
    values += [value.partition(" ")[2] for value in values]
    return sorted({value.encode() for value in values if len(value) >= _MIN_SECRET}, key=len, reverse=True)

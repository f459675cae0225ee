"""One ASGI request without a network: what was sent, a client that reads as slowly as a test wants, and hangs up."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from streamflow.wire import SSEParser

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from streamflow.wire import SSEEvent


class Exchange:
    """What a client has of one response.

    Args:
        reads: Whether the client takes what comes; otherwise each piece waits for `take()`.
    """

    def __init__(self, *, reads: bool = True) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.times_s: list[float] = []
        self.is_whole = False
        self.permits = None if reads else 0
        self._gone = anyio.Event()
        self._news = anyio.Event()
        self._asked = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def events(self) -> list[SSEEvent]:
        parser = SSEParser()
        return parser.feed(self.body)

    @property
    def data(self) -> list[str]:
        return [one.data for one in self.events]

    def hang_up(self) -> None:
        self._gone.set()
        self._ring()

    async def take(self) -> None:
        """Let one piece through, and wait for it."""
        count, self.permits = len(self.pieces), 1
        self._ring()
        while len(self.pieces) == count:
            await self._news.wait()

    def read_all(self) -> None:
        self.permits = None
        self._ring()

    async def until_whole(self) -> None:
        while not self.is_whole:
            await self._news.wait()

    async def until(self, count: int) -> None:
        """Wait for so many events."""
        with anyio.fail_after(3600):
            while len(self.events) < count:
                await self._news.wait()

    async def receive(self) -> dict[str, object]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            assert self.status is None
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        assert not self.is_whole
        await anyio.lowlevel.checkpoint()
        while self.permits == 0 and not self._gone.is_set():
            await self._news.wait()
        if self._gone.is_set():
            return  # as servers do
        if self.permits is not None:
            self.permits -= 1
        self.pieces.append(message["body"])
        self.times_s.append(anyio.current_time())
        self.is_whole = not message["more_body"]
        self._ring()

    def _ring(self) -> None:
        self._news.set()
        self._news = anyio.Event()


def scope_of(headers: Iterable[tuple[str, str]] = (), path: str = "/") -> dict[str, object]:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }


async def ask(app, headers: Iterable[tuple[str, str]] = ()) -> Exchange:
    """Return the whole response."""
    exchange = Exchange()
    with anyio.fail_after(100_000):
        await app(scope_of(headers), exchange.receive, exchange.send)
    return exchange


@asynccontextmanager
async def asking(app, headers: Iterable[tuple[str, str]] = (), *, reads: bool = True) -> AsyncGenerator[Exchange]:
    """Yield the exchange while the response goes on; leaving hangs up and waits for its end."""
    exchange = Exchange(reads=reads)
    async with anyio.create_task_group() as tasks:

        async def call() -> None:
            with anyio.fail_after(100_000):
                await app(scope_of(headers), exchange.receive, exchange.send)

        tasks.start_soon(call)
        yield exchange
        exchange.hang_up()

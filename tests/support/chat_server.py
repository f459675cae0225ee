"""A chat application on a real server, in a thread of its own, and a model that says what a test has it say."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

import anyio
import anyio.from_thread
import uvicorn
from anyio.lowlevel import EventLoopToken, current_token

from streamflow.elements import Message, MessageElement, StreamElement, TextElement, Usage, UsageElement
from streamflow.providers import ModelRequest

START_S = 15.0


class GatedModel:
    """A model whose answers come when a test says so: `say()`, `say()`, `end()`."""

    name = "gated"

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.ended = threading.Event()
        self.was_cancelled = False
        self.requests: list[ModelRequest] = []
        self._token: EventLoopToken | None = None
        self._pieces: deque[str | None] = deque()
        self._bell = anyio.Event()

    async def stream(self, request: ModelRequest) -> AsyncIterator[StreamElement]:
        self.requests.append(request)
        id = f"answer-{len(self.requests)}"
        self._token, self._bell = current_token(), anyio.Event()
        self.ended.clear()
        self.asked.set()
        said = []
        try:
            while (piece := await self._next()) is not None:
                said.append(piece)
                yield TextElement(piece, id=id)
            yield MessageElement(Message("assistant", "".join(said), id=id, stop_reason="stop"), id=id)
            yield UsageElement(Usage(1, len(said)), final=True)
        except BaseException:
            self.was_cancelled = True
            raise
        finally:
            self.ended.set()

    async def _next(self) -> str | None:
        while not self._pieces:
            await self._bell.wait()
            self._bell = anyio.Event()
        return self._pieces.popleft()

    def say(self, text: str | None) -> None:
        """Have the model say something; None: have it end its answer."""
        assert self.asked.wait(START_S), "nobody has asked the model"
        assert self._token is not None
        self._pieces.append(text)
        anyio.from_thread.run_sync(lambda: self._bell.set(), token=self._token)  # noqa: PLW0108 - the bell of that moment

    def end(self) -> None:
        """Have the model end its answer."""
        self.say(None)
        assert self.ended.wait(START_S)
        self.asked.clear()


class ChatServer:
    """An application on uvicorn; use it with `with`. Its socket listens from the beginning: a client waits until it is answered."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, lifespan="on", log_config=None, log_level="error", timeout_graceful_shutdown=1, ws="none"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(START_S)
        assert not self._thread.is_alive(), "the server did not end"

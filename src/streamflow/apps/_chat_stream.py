"""One response of a chat service: its events, or its elements.

Above: `_chat_service`, users. Below: `runtime`, `transports`.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Literal

from ..elements import EndOfStream, ErrorElement, TextElement, TurnStart
from ..errors import RunStateError, RunTimeoutError, StreamflowError
from ..transports import StreamEnd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import TracebackType
    from typing import Self, TypeAlias

    from ..elements import StreamElement
    from ..runtime import Run
    from ..transports import ChatServiceEvent, ChatServiceReader

    Begin: TypeAlias = Callable[[], Awaitable[tuple[Run, ChatServiceReader]]]

__all__ = ["ChatStream"]

_log = logging.getLogger("streamflow.chat")


class ChatStream:
    """A response, made by `ChatService.stream_response()`: iterate its events as they come.

    ```python
    async with service.stream_response(conversation, "Hello!") as response:
        async for event in response:
            ...
    ```

    The events are steps, and last, exactly once, `ChatDone` or `ChatError`: a failure of the response is an event, and nothing is
    raised for it. A bare `async for` is as safe while the response is not stored. Whoever leaves before the last event ends the
    response: the model and the tools are cancelled, and what was said is stored as cut, or not at all, as the service says.

    Raises, when it is entered:
        StateError: `not_found` if there is no such conversation; any other if the store cannot be read.
    """

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._run: Run | None = None
        self._elements: _Elements | None = None
        self._reader: ChatServiceReader | None = None

    def __aiter__(self) -> AsyncIterator[ChatServiceEvent]:
        return _Events(self._take())

    def elements(self) -> AsyncIterator[StreamElement]:
        """Iterate the elements instead, for an encoder of any format; a failure is raised at the end, as a `Run` does."""
        return self._take()

    def text(self) -> AsyncIterator[str]:
        """Iterate the pieces of text alone; a failure is raised at the end."""
        return _Text(self._take())

    @property
    def failure(self) -> StreamflowError | None:
        """What it has failed with, once its `ChatError` has come, if it was entered with `async with`.

        For whoever runs the service, and not for its clients: it may say more than they should see.
        """
        return None if self._elements is None else self._elements.failure

    def stop(self) -> None:
        """Have the model stop: what was said is stored as cut, and `ChatDone` tells so with the stop reason `interrupted`.

        Before the answer has begun there is nothing to keep: then the response is cancelled. Does nothing once it is over.

        Raises:
            RunStateError: If the response was not entered with `async with`.
        """
        if self._run is None:
            raise RunStateError("stop() needs the response to be entered: async with service.stream_response(…) as it")
        if self._elements is not None and self._elements.has_begun:
            self._run.interrupt("stopped")
        else:
            self._run.cancel()

    def _take(self) -> _Elements:
        if self._elements is None:
            return _Elements(self._begin)
        return self._elements

    async def __aenter__(self) -> Self:
        run, reader = await self._begin()
        await run.__aenter__()
        self._run, self._elements = run, _Elements(self._begin, (run, reader))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        if self._run is None:
            return False
        try:
            await self._run.__aexit__(kind, error, traceback)
        except StreamflowError as bad:
            if bad is error:
                raise
            _tell(bad)  # it has failed, and whoever left did not want to know more
        return False


class _Elements:
    """One iteration of a response. It begins with the first element, and does not hold the run, which it would keep alive."""

    def __init__(self, begin: Begin, begun: tuple[Run, ChatServiceReader] | None = None) -> None:
        self._begin = begin
        self._iterator: AsyncIterator[StreamElement] | None = None
        self.reader: ChatServiceReader | None = None
        self.has_begun = False
        """Whether the turn has begun, as far as it was taken."""
        self.failure: StreamflowError | None = None
        """What it has failed with."""
        if begun is not None:
            self._iterator, self.reader = aiter(begun[0]), begun[1]

    def __aiter__(self) -> Self:
        return self

    async def begin(self) -> ChatServiceReader:
        """Begin, unless that was done, and return the reader of the events."""
        if self.reader is None:
            run, self.reader = await self._begin()
            self._iterator = aiter(run)
        return self.reader

    async def __anext__(self) -> StreamElement:
        await self.begin()
        if self._iterator is None:
            raise StopAsyncIteration
        element = await anext(self._iterator)
        self.has_begun = self.has_begun or isinstance(element, TurnStart)
        return element


class _Text:
    """One iteration of a response's text."""

    def __init__(self, elements: _Elements) -> None:
        self._elements = elements

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while True:
            element = await anext(self._elements)
            if isinstance(element, TextElement) and "agent" not in element.metadata:
                return element.text


class _Events:
    """One iteration of a response's events."""

    def __init__(self, elements: _Elements) -> None:
        self._elements = elements
        self._ready: deque[ChatServiceEvent] = deque()
        self._failure: ErrorElement | None = None
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatServiceEvent:
        reader = await self._elements.begin()
        while not self._ready:
            if self._is_over:
                raise StopAsyncIteration
            end = await self._pull(reader)
            if end is not None:
                self._is_over = True
                self._ready.append(reader.finish(end))
        return self._ready.popleft()

    async def _pull(self, reader: ChatServiceReader) -> StreamEnd | None:
        """Take an element; returns how the stream has ended, if it has."""
        try:
            element = await anext(self._elements)
            match element:
                case EndOfStream(reason=reason, totals=totals):
                    await self._finish()
                    return StreamEnd(reason, self._failure, totals)
                case ErrorElement(fatal=True):
                    self._failure = element
                case _:
                    self._ready.extend(reader.take(element))
        except StopAsyncIteration:
            return StreamEnd("cancelled")
        except StreamflowError as error:
            self._note(error)
            code = "timeout" if isinstance(error, RunTimeoutError) else "failed"
            return StreamEnd("error", self._failure or ErrorElement(code, "", fatal=True))
        return None

    async def _finish(self) -> None:
        """Take what comes behind the end: what the run has failed with is told to the log."""
        try:
            await anext(self._elements, None)
        except StreamflowError as error:
            self._note(error)

    def _note(self, error: StreamflowError) -> None:
        self._elements.failure = error
        _tell(error)


def _tell(error: StreamflowError) -> None:
    # Without its text, which may repeat what was said, or where the store is.
    cause = error.__cause__ or error
    _log.warning("a response failed: %s", getattr(cause, "code", "") or type(cause).__name__)

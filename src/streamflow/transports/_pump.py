"""From a stream of elements to the log of its events: reads, encodes, and tells the end exactly once.

Above: `_response`, `_hub`. Below: `_encoder`, `_log`.

What can be given as a stream is opened and closed here, in one task, since a context manager must be left by the task that entered
it. The end is told after the stream is closed: what fails at its closing is part of it.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias, cast

import anyio
import anyio.lowlevel

from ..elements import ControlElement, EndOfStream, ErrorElement, RunTotals, StreamElement
from ..errors import ConfigError, ElementError, MiddlewareError, PipelineBusyError, ProviderError
from ._encoder import StreamEnd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..elements import EndReason
    from ._encoder import EncoderFactory, EventEncoder, ServerEvent
    from ._log import EventLog

__all__ = ["Elements", "ErrorTeller", "Pump", "checked_elements", "told_error"]

Stream: TypeAlias = AsyncIterable[StreamElement] | AbstractAsyncContextManager[AsyncIterable[StreamElement]]
"""Elements, or what has to be entered to get them. A run is both."""

Elements: TypeAlias = Stream | Callable[[], Stream | Awaitable[Stream]]
"""What a response is made of: a stream, or a function that makes one when the response begins."""

ErrorTeller: TypeAlias = Callable[[Exception], ErrorElement | None]
"""What a client is told of an exception; None: what it would be told anyhow."""

_log = logging.getLogger("streamflow.transports")
_MAX_MESSAGE = 500
_TURNS = 64  # a stream that never waits lets others run at least so often


def checked_elements(elements: Elements) -> Elements:
    """Return what can be a stream.

    Raises:
        ConfigError: If it cannot.
    """
    kind = type(elements).__name__
    if callable(getattr(elements, "execute", None)):  # a context manager, too, and that of no stream
        raise ConfigError("elements", f"a {kind} is no stream; give a run of it: pipeline.execute(…)")
    if hasattr(elements, "__aiter__") or hasattr(elements, "__aenter__") or callable(elements):
        return elements
    raise ConfigError("elements", f"a {kind} is no stream; give a run, an async iterable, or a function that makes one")


@asynccontextmanager
async def opened(elements: Elements) -> AsyncGenerator[AsyncIterable[StreamElement]]:
    """Open what was given as a stream, and close it behind."""
    given: object = elements
    if not (hasattr(given, "__aiter__") or hasattr(given, "__aenter__")) and callable(given):
        given = given()
        if inspect.isawaitable(given):
            given = await given
        if not (hasattr(given, "__aiter__") or hasattr(given, "__aenter__")):
            raise ConfigError("elements", f"the function made a {type(given).__name__}, which is no stream of elements")
    if hasattr(given, "__aenter__"):
        async with cast("AbstractAsyncContextManager[AsyncIterable[StreamElement]]", given) as stream:
            yield stream
    elif hasattr(given, "aclose"):
        async with aclosing(cast("AsyncGenerator[StreamElement]", given)) as stream:
            yield stream
    else:
        yield cast("AsyncIterable[StreamElement]", given)


def told_error(error: Exception) -> ErrorElement:
    """Return what a client is told of an exception: nothing of its text, unless its class promises that it is safe."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    if isinstance(cause, ProviderError):
        return one_line(ErrorElement(cause.code, cause.message, retryable=cause.retryable, fatal=True))
    if isinstance(cause, MiddlewareError):
        return one_line(ErrorElement(cause.code, cause.message, fatal=True))
    if isinstance(error, PipelineBusyError):
        return ErrorElement("busy", "there is too much to do; try again later", retryable=True, fatal=True)
    if isinstance(error, TimeoutError):
        return ErrorElement("timeout", "the answer took too long", retryable=True, fatal=True)
    return ErrorElement("internal", "the answer failed", fatal=True)


def one_line(error: ErrorElement) -> ErrorElement:
    """Return an error whose message is one line of bounded length."""
    text = " ".join(error.message.split())[:_MAX_MESSAGE]
    return error if text == error.message else error.replace(message=text)


class Pump:
    """Reads one stream into a log.

    Args:
        elements: The stream.
        encoder: Makes the encoder of its format.
        log: Where its events go.
        max_event_bytes: Largest event, in characters of its data.
        on_error: What a client is told of an exception.
    """

    def __init__(
        self,
        elements: Elements,
        encoder: EncoderFactory,
        log: EventLog,
        *,
        max_event_bytes: int,
        on_error: ErrorTeller | None = None,
    ) -> None:
        self.encoder: EventEncoder = encoder()
        """The format."""
        self.log: EventLog = log
        """Where the events go."""
        self.settled: anyio.Event = anyio.Event()
        """Set once the stream is open, or could not be opened."""
        self.refusal: Exception | None = None
        """Why it could not be opened."""
        self._elements = elements
        self._max = max_event_bytes
        self._tell = on_error
        self._is_open = False
        self._notice: ErrorElement | None = None
        self._last: EndOfStream | None = None

    async def run(self) -> None:
        """Read the stream to its end and tell it. Raises nothing of the stream's.

        Cancellation: closes the stream; no end is told, see `finish()`.
        """
        error: Exception | None = None
        reason: EndReason = "done"
        try:
            async with opened(self._elements) as stream:
                self._open()
                await self._read(stream)
                # A run always says how it ended, except when somebody has cancelled it.
                reason = "cancelled" if self._last is None and hasattr(stream, "run_id") else "done"
        except Exception as wrong:  # noqa: BLE001 - told to the client, as what is safe of it
            error = wrong
        if not self._is_open:
            _log.warning("a stream could not be opened: %s", type(error).__name__)
            self.refusal = error
            self.log.close()
            self.settled.set()
            return
        self.finish(self._end(error, reason))

    def finish(self, end: StreamEnd) -> None:
        """Tell the end, unless it has been told, and close the log. Never waits."""
        if self.log.closed:
            return
        try:
            self._open()
            self._append(self.encoder.finish(end))
        except Exception as wrong:  # noqa: BLE001 - a format that fails must not keep the log open
            _log.error("the end of a stream cannot be told: %s", type(wrong).__name__)
        finally:
            self.log.close()

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            try:
                self._append(self.encoder.start())
            finally:
                self.settled.set()

    async def _read(self, stream: AsyncIterable[StreamElement]) -> None:
        log, encode, turns = self.log, self.encoder.encode, 0
        async for element in stream:
            if isinstance(element, ControlElement) and self._notes(element):
                continue
            events = encode(one_line(element) if isinstance(element, ErrorElement) else element)
            if events and not self._append(events):
                await log.wait_for_room()
                turns = 0
            turns += 1
            if turns >= _TURNS:
                turns = 0
                await anyio.lowlevel.checkpoint()

    def _notes(self, element: ControlElement) -> bool:
        """Note what is told at the end alone, and say whether it is that."""
        if isinstance(element, EndOfStream):
            self._last = element
            return True
        if isinstance(element, ErrorElement) and element.fatal:
            self._notice = element
            return True
        return False

    def _append(self, events: Sequence[ServerEvent]) -> bool:
        for event in events:
            data, name = event.data, event.event
            if len(data) > self._max:
                raise ElementError(f"an event has {len(data)} characters; max_event_bytes={self._max}, raise the limit")
            if not data.isascii():
                data.encode()  # half a surrogate pair is refused here, where it can still be told
            if name is not None and not name.isprintable():
                raise ElementError(f"the event type {name!r:.80} has characters that no line can have")
        return self.log.append(events)

    def _end(self, error: Exception | None, reason: EndReason) -> StreamEnd:
        """Return how the stream ended, of all that was heard of it."""
        last, notice = self._last, self._notice
        totals = RunTotals() if last is None else last.totals
        if last is not None:
            reason = last.reason
        if error is not None:
            _log.warning("a stream failed: %s", type(error).__name__)
            # What a run says of its failure is made to be shown, and says more than can be made of the exception alone.
            notice = self.said_of(error) or notice or told_error(error)
        if notice is None and reason in ("error", "timeout"):
            notice = ErrorElement("internal", "the answer failed", fatal=True)
        if notice is not None and reason not in ("error", "timeout"):
            reason = "timeout" if notice.code == "timeout" else "error"
        return StreamEnd(reason, None if notice is None else one_line(notice), totals)

    def said_of(self, error: Exception) -> ErrorElement | None:
        """Return what the user wants a client to be told of an exception."""
        if self._tell is None:
            return None
        try:
            return self._tell(error)
        except Exception as wrong:  # noqa: BLE001 - the stream has to end in any case
            _log.error("on_error failed: %s", type(wrong).__name__)
            return None

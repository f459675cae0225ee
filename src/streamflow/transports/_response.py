"""A response of server-sent events, for any ASGI application.

Above: users. Below: `_hub`, `_pump`, `_writer`.

Three tasks make a response: one reads the stream (`_pump`), one writes to the client (`_writer`, in the task of the request), one
waits for the client to hang up. With a hub the first of them is the hub's, and survives the others.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import anyio

from ..errors import ConfigError
from ._asgi import ASGIReply, Connection, headers_of, refuse, refuse_with, until_gone
from ._log import EventLog, parse_event_id
from ._pump import Pump, checked_elements, told_error
from ._raw import RawEncoder
from ._writer import ClientGoneError, Pace, Writer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ._asgi import Receive, Scope, Send
    from ._encoder import EncoderFactory
    from ._hub import HubStream, StreamHub
    from ._log import LogReader
    from ._pump import Elements, ErrorTeller

__all__ = ["OnDisconnect", "SSEResponse", "sse_response"]

OnDisconnect = Literal["cancel", "detach"]
"""What becomes of a stream when nobody reads it any more: `cancel` ends it at once, `detach` lets it go on in a hub."""

_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
}
_BEHIND_EVENTS, _BEHIND_BYTES = 256, 64 * 1024  # how far a client may be behind a stream that nobody can come back to


class _Place(NamedTuple):
    """Where a stream is kept."""

    hub: StreamHub
    id: str
    on_disconnect: OnDisconnect


class SSEResponse:
    """A response, as an ASGI application: `await response(scope, receive, send)`. Made by `sse_response()`."""

    def __init__(self, make_pump: Callable[[EventLog], Pump] | None, pace: Pace, headers: Mapping[str, str]) -> None:
        self._make_pump = make_pump
        self._pace = pace
        self._headers = headers
        self._place: _Place | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request.

        Cancellation: ends the response; and the stream, unless it is detached.

        Raises:
            ConfigError: If it is no HTTP request.
            RunStateError: If the hub is not open.
        """
        call = Connection(scope, receive, send)
        if scope["type"] != "http":
            raise ConfigError("scope", f"events answer HTTP requests, not {scope['type']!r:.40}")
        if scope.get("method") == "HEAD":  # which Starlette lets through to whatever answers GET
            await ASGIReply(200, headers={**_HEADERS, **self._headers})(*call)
            return
        given = headers_of(scope, b"last-event-id")
        last = parse_event_id(given[0]) if len(given) == 1 else None
        if given and last is None:
            await refuse(400, "bad_event_id", "Last-Event-ID is no id of this server")(*call)
        elif self._place is not None:
            await self._answer_from(self._place, last, call)
        elif self._make_pump is None or last is not None:
            await refuse(410, "gone", "this stream cannot be come back to")(*call)
        else:
            pump = self._make_pump(EventLog(max_events=_BEHIND_EVENTS, max_bytes=_BEHIND_BYTES, replay=False))
            reader = pump.log.open_reader()
            await self._write(pump, reader, reader.close, call, reads=True)

    def kept_in(self, hub: StreamHub, stream_id: str, on_disconnect: OnDisconnect) -> SSEResponse:
        """Return this response, to a stream that a hub keeps."""
        self._place = _Place(hub, stream_id, on_disconnect)
        return self

    async def _answer_from(self, place: _Place, last: tuple[str, int] | None, call: Connection) -> None:
        stream = self._stream_at(place, last)
        if isinstance(stream, ASGIReply):
            await stream(*call)
            return
        reader = stream.enter(0 if last is None else last[1])

        def leave() -> None:
            stream.leave(reader)

        try:
            await self._write(stream.pump, reader, leave, call)
        finally:
            leave()

    def _stream_at(self, place: _Place, last: tuple[str, int] | None) -> HubStream | ASGIReply:
        """Return the stream that is asked for, started if it is not there; or an answer, if it cannot be read from that place."""
        stream = place.hub.find(place.id)
        if isinstance(stream, ASGIReply):
            return stream
        if stream is None and last is None:
            if self._make_pump is None:
                return refuse(404, "not_found", "there is no such stream")
            return place.hub.start(place.id, self._make_pump(place.hub.open_log()), place.on_disconnect)
        epoch, after = last or ("", 0)
        if stream is None or (last is not None and epoch != stream.log.epoch) or not stream.log.has_all_after(after):
            return refuse(410, "gone", "what comes behind this event is not kept any more")
        if last is not None and stream.log.closed and after == stream.log.last:
            return ASGIReply(204)  # tells an EventSource to come back no more
        return stream

    async def _write(
        self, pump: Pump, reader: LogReader, leave: Callable[[], None], call: Connection, *, reads: bool = False
    ) -> None:
        writer = Writer(call.send, pump.log, reader, self._pace)
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:

            async def end_after(wait: Callable[[], Awaitable[None]]) -> None:
                await wait()
                leave()  # in the same step as the hang-up, so that whoever reads alone is cancelled at once
                tasks.cancel_scope.cancel()

            tasks.start_soon(end_after, lambda: until_gone(call.receive))
            if reads:
                tasks.start_soon(pump.run)
            try:
                await pump.settled.wait()
                if pump.refusal is None:
                    tasks.start_soon(end_after, writer.keep_time)
                    await writer.run({**_HEADERS, **pump.encoder.headers, **self._headers})
                else:
                    error = pump.said_of(pump.refusal) or told_error(pump.refusal)
                    await refuse_with(error)(*call)
            except ClientGoneError:
                pass
            except Exception as error:  # noqa: BLE001 - raised below as it is, and not in a group
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure


def sse_response(
    elements: Elements | None = None,
    *,
    encoder: EncoderFactory = RawEncoder,
    heartbeat_s: float | None = 15.0,
    retry_ms: int | None = 3000,
    write_timeout_s: float | None = 120.0,
    coalesce: bool = True,
    max_event_bytes: int = 1024 * 1024,
    headers: Mapping[str, str] | None = None,
    on_error: ErrorTeller | None = None,
    hub: StreamHub | None = None,
    stream_id: str | None = None,
    on_disconnect: OnDisconnect | None = None,
) -> SSEResponse:
    """Return a stream as a response of server-sent events, which any ASGI application can give or call.

    ```python
    async def chat(request):  # an endpoint of Starlette
        return sse_response(pipeline.execute(request.query_params["q"]))
    ```

    The stream is opened, read and closed inside the response. An error before it is open becomes a status, one after it an event.
    The headers are sent once it is open, and something follows every `heartbeat_s` seconds, also before the first element. Every
    event has an id, `epoch:seq`.

    With a hub the stream is the hub's, under `stream_id`. A request without `Last-Event-ID` starts it, or reads it from its
    beginning if it is there; one with `Last-Event-ID` goes on behind that event, without a gap or a duplicate. Where that cannot
    be, the status says why: 410, what comes there is not kept any more (of a stream without a hub, nothing is); 204, nothing comes
    there; 400, the id is malformed; 404, there is no such stream, and none was given; 503, there is no room for it.

    Args:
        elements: A run, or anything else that is iterated for elements; it may be a context manager that gives it. Or a function
            without arguments, async or not, that makes one when it is needed. None, with a hub: only what is there is read.
        encoder: Makes the encoder of the format.
        heartbeat_s: After how much silence a comment is sent, in seconds; None: never.
        retry_ms: How long the client is to wait before it comes back, in milliseconds; None: as it likes.
        write_timeout_s: How long the client may take nothing, in seconds, before it is dropped; None: for ever. A server takes what
            fits into its buffer (64 KiB, often), so a slow client needs as long as that takes it.
        coalesce: Whether what a client is behind with is made fewer events, where nothing is lost by it.
        max_event_bytes: Largest event, in characters of its data; a larger one ends the stream with an error.
        headers: Further headers.
        on_error: Given an exception, returns what the client is told of it, or None for what it would be told anyhow: nothing of
            its text.
        hub: Who owns the stream, open.
        stream_id: Its name there.
        on_disconnect: What becomes of the stream when nobody reads it any more. Without a hub it ends at once (`cancel`); with one
            it goes on (`detach`), unless `cancel` is asked for.

    Raises:
        ConfigError: If an argument is wrong, or does not go with another; the field is named.
    """
    pace = Pace(heartbeat_s=heartbeat_s, retry_ms=retry_ms, write_timeout_s=write_timeout_s, coalesce=coalesce)
    if max_event_bytes < 1:
        raise ConfigError("max_event_bytes", f"{max_event_bytes} is no size; give 1 or more")
    if not callable(encoder):
        raise ConfigError(
            "encoder", f"give a class, or a function that makes an encoder, not a {type(encoder).__name__}"
        )
    if on_disconnect not in (None, "cancel", "detach"):
        raise ConfigError("on_disconnect", f"there are 'cancel' and 'detach', got {on_disconnect!r:.80}")

    make_pump = None
    if elements is not None:
        make_pump = partial(
            Pump, checked_elements(elements), encoder, max_event_bytes=max_event_bytes, on_error=on_error
        )
    response = SSEResponse(make_pump, pace, _checked_headers(headers or {}))
    if hub is not None and stream_id is not None:
        return response.kept_in(hub, stream_id, on_disconnect or "detach")
    if hub is not None:
        raise ConfigError("stream_id", "a hub keeps streams by name; give one")
    if stream_id is not None or elements is None or on_disconnect == "detach":
        field = "stream_id" if stream_id is not None else "elements" if elements is None else "on_disconnect"
        raise ConfigError(field, "this needs a hub, which owns the stream; give hub=")
    return response


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not (name.isascii() and name.isprintable() and value.isprintable()):
            raise ConfigError(
                "headers", f"{name!r:.80} is no header that can be sent; use one line of plain characters"
            )
    return {name.lower(): value for name, value in headers.items()}

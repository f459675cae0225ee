"""From the log to the client: frames, heartbeats, and the end of one who takes nothing.

Above: `_response`. Below: `_log`, `wire`, `channels`.

There is no timer for each event. One task per response sleeps until the next moment at which something may be due: a heartbeat, or
the end of a client for whom a `send()` has waited too long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import msgspec

from ..channels import running_clock
from ..errors import ConfigError
from ..wire import encode_event
from ._asgi import bytes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._asgi import Send
    from ._log import EventLog, LoggedEvent, LogReader

__all__ = ["ClientGoneError", "Pace", "Writer"]

_HEARTBEAT = b": heartbeat\n\n"


class ClientGoneError(Exception):
    """The client takes nothing more. Raised and caught in this room alone."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """When something is sent to a client, and as how many events.

    Raises:
        ConfigError: If a number is wrong; the field is named.
    """

    heartbeat_s: float | None = 15.0
    """After how much silence a comment is sent, in seconds."""
    retry_ms: int | None = 3000
    """How long a client is to wait before it comes back, in milliseconds."""
    write_timeout_s: float | None = 120.0
    """How long a client may take nothing, in seconds."""
    coalesce: bool = True
    """Whether what a client is behind with is made fewer events, where nothing is lost by it."""

    def __post_init__(self) -> None:
        for name in ("heartbeat_s", "write_timeout_s"):
            value: float | None = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(name, f"{value} is no time; give more than 0 seconds, or None for never")
        if self.retry_ms is not None and not 0 <= self.retry_ms <= 86_400_000:
            raise ConfigError("retry_ms", f"give 0 to a day in milliseconds, or None, got {self.retry_ms}")


class Writer:
    """Writes one response.

    Args:
        send: How ASGI takes it.
        log: What is written.
        reader: Who reads it.
        pace: When and how much.
    """

    def __init__(self, send: Send, log: EventLog, reader: LogReader, pace: Pace) -> None:
        self._asgi_send = send
        self._prefix = f"id: {log.epoch}:"
        self._reader = reader
        self._pace = pace
        self._sending_since_s: float | None = None
        self._wrote_at_s = 0.0
        self._is_beat_due = False
        self._now_s: Callable[[], float] = anyio.current_time

    async def run(self, headers: Mapping[str, str]) -> None:
        """Write headers and events until the log is at its end.

        Cancellation: leaves the response half sent.

        Raises:
            ClientGoneError: If the server says that the client has gone.
        """
        reader, pace = self._reader, self._pace
        self._now_s = running_clock()
        self._sending_since_s = self._now_s()
        await self._asgi_send({"type": "http.response.start", "status": 200, "headers": bytes_of(headers)})
        # Something at once: some servers send no header before the first piece of the body, and some proxies pass none on.
        await self._send(b": stream\n\n" if pace.retry_ms is None else f"retry: {pace.retry_ms}\n\n".encode())
        while True:
            if reader.has_more:
                frames = self._frames(reader.take(merge=pace.coalesce))
                is_last = reader.is_done
                await self._send(frames, more=not is_last)
                if is_last:
                    return
            elif reader.is_closed:
                raise ClientGoneError
            elif reader.is_done:
                break
            elif self._is_beat_due:
                await self._send(_HEARTBEAT)
            else:
                await reader.wait()
        await self._send(b"", more=False)

    async def keep_time(self) -> None:
        """Have heartbeats sent, and return when the client has taken nothing for too long. Cancellation: changes nothing."""
        pace = self._pace
        beat_s, limit_s = pace.heartbeat_s or float("inf"), pace.write_timeout_s or float("inf")
        self._wrote_at_s = anyio.current_time()
        while True:
            now_s = anyio.current_time()
            beat_at_s, since_s = self._wrote_at_s + beat_s, self._sending_since_s
            if since_s is not None and now_s >= since_s + limit_s:
                return
            if now_s >= beat_at_s:
                # Nothing can be said while something is being sent, and then nothing need be.
                self._is_beat_due = since_s is None
                self._wrote_at_s, beat_at_s = now_s, now_s + beat_s
                self._reader.ring()
            await anyio.sleep_until(min(beat_at_s, (now_s if since_s is None else since_s) + limit_s))

    async def _send(self, body: bytes, *, more: bool = True) -> None:
        self._is_beat_due = False
        self._sending_since_s = self._wrote_at_s = self._now_s()
        try:
            await self._asgi_send({"type": "http.response.body", "body": body, "more_body": more})
        except OSError as gone:  # what ASGI has servers raise
            raise ClientGoneError from gone
        self._sending_since_s = None

    def _frames(self, taken: list[LoggedEvent]) -> bytes:
        prefix = self._prefix
        if len(taken) == 1:
            return _frame(taken[0], prefix)
        return b"".join([_frame(one, prefix) for one in taken])


def _frame(one: LoggedEvent, prefix: str) -> bytes:
    event, data = one.event.event, one.event.data
    if "\n" in data or "\r" in data:
        return encode_event(data, event=event, id=f"{prefix[4:]}{one.seq}")
    if event is None:
        return f"{prefix}{one.seq}\ndata: {data}\n\n".encode()
    return f"event: {event}\n{prefix}{one.seq}\ndata: {data}\n\n".encode()

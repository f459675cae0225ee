"""Streams that outlive their connections: runs that go on while nobody reads, logs to come back to, and a way to stop them.

Above: users, `_response`. Below: `_pump`, `_log`.

Each stream has one task of the hub: it reads the stream to its end, and then keeps its log until that is too old. So there is
nothing to sweep, and leaving the hub ends all there is. Between the moments at which a task waits nothing else runs, so who comes
and who goes is decided without a lock.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import msgspec

from ..errors import ConfigError, RunStateError
from ._asgi import ASGIReply, refuse
from ._encoder import StreamEnd
from ._log import EventLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Literal, Self

    from anyio.abc import TaskGroup
    from anyio.lowlevel import EventLoopToken

    from ._log import LogReader
    from ._pump import Pump

__all__ = ["HubStream", "StreamHub", "StreamInfo"]

_logger = logging.getLogger("streamflow.transports")
_MAX_ID = 256


class StreamInfo(msgspec.Struct, frozen=True):
    """What a hub knows of one stream."""

    id: str
    """The name that it was given."""
    is_running: bool
    """Whether more will come."""
    readers: int
    """How many are connected."""
    events: int
    """How many events there were so far."""
    kept_bytes: int
    """How much memory the events take that are kept, about."""


class HubStream:
    """One stream of a hub. Made and kept by the hub.

    Args:
        id: Its name.
        pump: What reads it.
        ends_alone: Whether it ends when nobody reads it.
        max_detached_s: How long it may go on while nobody reads it, in seconds.
        keep_s: How long its log is kept behind its end, in seconds.
    """

    def __init__(self, id: str, pump: Pump, *, ends_alone: bool, max_detached_s: float, keep_s: float) -> None:
        self.id: str = id
        """Its name."""
        self.pump: Pump = pump
        """What reads it."""
        self.log: EventLog = pump.log
        """Its events."""
        self._ends_alone = ends_alone
        self._max_detached_s = max_detached_s
        self._keep_s = keep_s
        self._reading = anyio.CancelScope()
        self._keeping = anyio.CancelScope()
        self._changed = anyio.Event()

    async def run(self, ended: Callable[[HubStream], None]) -> None:
        """Read the stream, say that it has ended, then keep its log. Cancellation: ends both; the readers are told."""
        try:
            with self._reading:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._end_when_alone)
                    await self.pump.run()
                    tasks.cancel_scope.cancel()
        finally:
            self.pump.finish(StreamEnd("cancelled"))
        if self.pump.refusal is None:
            ended(self)
            with self._keeping:
                await anyio.sleep(self._keep_s)

    def stop(self) -> None:
        """End the stream: what it reads is cancelled, and all readers are told. Idempotent."""
        self._reading.cancel()

    def forget(self) -> None:
        """Keep the log no longer; those who read it may go on. Idempotent."""
        self._keeping.cancel()

    def enter(self, after: int) -> LogReader:
        """Return a reader of what comes behind an event."""
        reader = self.log.open_reader(after)
        self._ring()
        return reader

    def leave(self, reader: LogReader) -> None:
        """Count a reader no longer; the last one may end the stream. Idempotent."""
        reader.close()
        if not self.log.readers and self._ends_alone:
            self.stop()
        self._ring()

    def _ring(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _end_when_alone(self) -> None:
        while True:
            limit_s = float("inf") if self.log.readers else self._max_detached_s
            with anyio.move_on_after(limit_s) as waited:
                await self._changed.wait()
            if waited.cancelled_caught and not self.log.readers:
                break
        _logger.warning("a stream was stopped: nobody has read it for %g s", self._max_detached_s)
        self.stop()


class StreamHub:
    """Owns the streams of responses that can be come back to. Open it where the server lives, as in an ASGI lifespan.

    ```python
    async with StreamHub() as hub:
        response = sse_response(lambda: pipeline.execute(question), hub=hub, stream_id="chat-42")
    ```

    A stream's id is no secret by itself: whoever may ask for a stream by its id can read and stop it, so look at who asks first.

    Args:
        max_streams: How many streams there are at most, running or kept. When there are more, the one that ended first is
            forgotten; when all are running, a new one is refused with the status 503.
        max_readers: How many may read one stream at a time.
        max_events: How many events of a stream are kept.
        max_bytes: How much memory the events of a stream may take, about, in bytes.
        max_age_s: How long events are kept, and whole streams behind their end, in seconds.
        max_detached_s: How long a stream may go on while nobody reads it, in seconds.

    Raises:
        ConfigError: If a limit is not positive.
    """

    def __init__(
        self,
        *,
        max_streams: int = 256,
        max_readers: int = 16,
        max_events: int = 10_000,
        max_bytes: int = 2 * 1024 * 1024,
        max_age_s: float = 300.0,
        max_detached_s: float = 600.0,
    ) -> None:
        for name, count in (("max_streams", max_streams), ("max_readers", max_readers)):
            if count < 1:
                raise ConfigError(name, f"{count} is no number; give 1 or more")
        if not 0 < max_detached_s < float("inf"):
            raise ConfigError("max_detached_s", f"{max_detached_s} is no time; give more than 0 seconds")
        EventLog(max_events=max_events, max_bytes=max_bytes, max_age_s=max_age_s)  # looks at the other limits
        self._max_streams = max_streams
        self._max_readers = max_readers
        self._max_events, self._max_bytes, self._max_age_s = max_events, max_bytes, max_age_s
        self._max_detached_s = max_detached_s
        self._streams: dict[str, HubStream] = {}
        self._ended: dict[str, None] = {}
        self._tasks: TaskGroup | None = None
        self._loop: EventLoopToken | None = None

    async def __aenter__(self) -> Self:
        """Open the hub."""
        if self._tasks is not None:
            raise RunStateError("the hub is open already; open it once, and share the object")
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        self._tasks, self._loop = tasks, anyio.lowlevel.current_token()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Stop all streams, and wait until they have ended."""
        tasks, self._tasks = self._tasks, None
        if tasks is None:
            return None
        for stream in self._streams.values():
            stream.stop()
            stream.forget()
        return await tasks.__aexit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"<StreamHub {'closed' if self._tasks is None else 'open'}, {len(self._streams)} streams>"

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """What there is, oldest first."""
        return tuple(
            StreamInfo(one.id, not one.log.closed, one.log.readers, one.log.last, one.log.bytes)
            for one in self._streams.values()
        )

    def stop(self, stream_id: str) -> bool:
        """End a stream: its run is cancelled, and who reads it is told. Does not wait.

        Returns:
            Whether it was running.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.log.closed:
            return False
        stream.stop()
        return True

    def stop_response(self, stream_id: str) -> ASGIReply:
        """Stop a stream, and return the answer for whoever asked for it: 202, or 404 if there is none that runs."""
        if self.stop(stream_id):
            return ASGIReply(202, {"stopped": stream_id})
        return refuse(404, "not_found", "there is no such stream that runs")

    def open_log(self) -> EventLog:
        """Return a new log within the limits of the hub."""
        return EventLog(max_events=self._max_events, max_bytes=self._max_bytes, max_age_s=self._max_age_s)

    def find(self, stream_id: str) -> HubStream | ASGIReply | None:
        """Return a stream; None if there is none; an answer, if nobody may read it now.

        Raises:
            RunStateError: If the hub is not open, or open in another event loop.
        """
        self._opened()
        if not stream_id or len(stream_id) > _MAX_ID:
            return refuse(400, "bad_stream_id", f"the id of a stream has 1 to {_MAX_ID} characters")
        stream = self._streams.get(stream_id)
        if stream is not None and stream.log.readers >= self._max_readers:
            return refuse(503, "busy", "too many read this stream; try again later", retry_after_s=5)
        return stream

    def start(self, stream_id: str, pump: Pump, on_disconnect: Literal["cancel", "detach"]) -> HubStream | ASGIReply:
        """Start a stream under a name that is free; an answer, if there is no room for it.

        Raises:
            RunStateError: If the hub is not open, or open in another event loop.
        """
        tasks = self._opened()
        while len(self._streams) >= self._max_streams:
            if not self._ended:
                return refuse(503, "busy", "there are too many streams; try again later", retry_after_s=5)
            self._remove(self._streams[next(iter(self._ended))])
        stream = HubStream(
            stream_id,
            pump,
            ends_alone=on_disconnect == "cancel",
            max_detached_s=self._max_detached_s,
            keep_s=self._max_age_s,
        )
        self._streams[stream_id] = stream
        tasks.start_soon(self._own, stream)
        return stream

    def _opened(self) -> TaskGroup:
        if self._tasks is None:
            raise RunStateError("the hub is not open; use it inside 'async with StreamHub() as hub'")
        if anyio.lowlevel.current_token() != self._loop:
            raise RunStateError("the hub was opened in another event loop; open one in each")
        return self._tasks

    async def _own(self, stream: HubStream) -> None:
        try:
            await stream.run(self._note_end)
        finally:
            self._remove(stream)

    def _note_end(self, stream: HubStream) -> None:
        if self._streams.get(stream.id) is stream:
            self._ended[stream.id] = None

    def _remove(self, stream: HubStream) -> None:
        if self._streams.get(stream.id) is stream:
            del self._streams[stream.id]
            self._ended.pop(stream.id, None)
        stream.forget()

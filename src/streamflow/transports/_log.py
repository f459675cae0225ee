"""The events of one stream: numbered, bounded, read by several at once.

Above: `_pump` writes it, `_writer` reads it. Below: `_encoder`, `channels`.

The newest events by their numbers, and a cursor for each reader. So what was lost is told by comparing two numbers, and a reader
that comes back stands exactly where it stood. Two rules:

- An event that somebody who is connected has not read is never dropped: whoever writes waits for room (`wait_for_room()`).
- An event that all have read is dropped once there are too many, or too old; at once, where nobody can come back (`replay=False`).
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

import anyio
import msgspec

from ..channels import running_clock, waiter_factory
from ..errors import ConfigError
from ._encoder import ServerEvent, may_merge, merge_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..channels import Waiter

__all__ = ["EventLog", "LogReader", "LoggedEvent", "parse_event_id"]

_OVERHEAD_BYTES = 300  # what an event takes beside its data: the objects, and its place
_ID = re.compile(r"([A-Za-z0-9_-]{1,64}):([0-9]{1,15})")
_MAX_ID = 80


class LoggedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event and its number."""

    seq: int
    """Its number, from 1; of an event that stands for several, that of the last one."""
    event: ServerEvent
    """The event."""


class EventLog:
    """The newest events of one stream.

    ```python
    log = EventLog()
    log.append([json_event("a"), json_event("b")])
    reader = log.open_reader(after=1)
    print(reader.take())  # the second one
    ```

    Args:
        max_events: How many events are kept.
        max_bytes: How much memory they may take, about, in bytes.
        max_age_s: How long an event is kept, in seconds; None: as long as there is room. Looked at when the next one comes.
        replay: Whether events are kept that all who are connected have read.

    Raises:
        ConfigError: If a limit is not positive.
    """

    def __init__(
        self,
        *,
        max_events: int = 10_000,
        max_bytes: int = 2 * 1024 * 1024,
        max_age_s: float | None = None,
        replay: bool = True,
    ) -> None:
        if max_events < 1:
            raise ConfigError("max_events", f"{max_events} is no number of events; give 1 or more")
        if max_bytes < 1:
            raise ConfigError("max_bytes", f"{max_bytes} is no size; give 1 or more")
        if max_age_s is not None and not max_age_s > 0:
            raise ConfigError("max_age_s", f"{max_age_s} is no time; give more than 0 seconds, or None")
        self.epoch: str = secrets.token_hex(6)
        """Tells this log from all others, of any process: the first half of its ids."""
        self.closed: bool = False
        """Whether nothing more will come."""
        self.bytes: int = 0
        """How much memory the events take, about."""
        self._max_events, self._max_bytes, self._max_age_s = max_events, max_bytes, max_age_s
        self._clock: Callable[[], float] | None = None
        self._now_s = 0.0
        self._replay = replay
        # A dict by number: found in one step, and dropped from its beginning.
        self._events: dict[int, tuple[ServerEvent, int, float]] = {}
        self._first = self._next = 1
        self._readers: set[LogReader] = set()
        self._room: anyio.Event | None = None

    def __len__(self) -> int:
        return len(self._events)

    def __repr__(self) -> str:
        return f"<EventLog {self.epoch} {self._first}–{self.last}{' closed' if self.closed else ''}>"

    @property
    def last(self) -> int:
        """Number of the newest event; 0 when there was none."""
        return self._next - 1

    @property
    def readers(self) -> int:
        """How many are reading."""
        return len(self._readers)

    @property
    def has_room(self) -> bool:
        """Whether nobody who is connected is too far behind."""
        return len(self._events) <= self._max_events and self.bytes <= self._max_bytes

    def has_all_after(self, seq: int) -> bool:
        """Say whether a reader that has read up to this number can go on without a gap."""
        return self._first - 1 <= seq < self._next

    def append(self, events: Iterable[ServerEvent]) -> bool:
        """Add events, wake who reads, and say whether there is room for more: see `wait_for_room()`."""
        if self._max_age_s is not None:
            self._clock = self._clock or running_clock()
            self._now_s = self._clock()
        for event in events:
            size = event.data.__sizeof__() + _OVERHEAD_BYTES
            self._events[self._next] = (event, size, self._now_s)
            self._next += 1
            self.bytes += size
        has_room = self.has_room
        if not self._readers or not has_room:
            self.make_room()
            has_room = self.has_room
        for reader in self._readers:
            reader.ring()
        return has_room

    async def wait_for_room(self) -> None:
        """Wait until everybody who is connected has read enough. Cancellation: changes nothing."""
        while not self.has_room:
            self._room = anyio.Event()
            await self._room.wait()

    def close(self) -> None:
        """Say that nothing more will come. Idempotent."""
        self.closed = True
        for reader in self._readers:
            reader.ring()

    def open_reader(self, after: int = 0) -> LogReader:
        """Return a reader of all that comes after the event of this number; close it when it is no longer needed.

        Raises:
            ConfigError: If there would be a gap, or there was no such event.
        """
        if not self.has_all_after(after):
            raise ConfigError("after", f"the log has {self._first} to {self.last}, so nothing can go on behind {after}")
        reader = LogReader(self, after + 1)
        self._readers.add(reader)
        return reader

    def event(self, seq: int) -> ServerEvent:
        """Return the event of a number that is kept."""
        return self._events[seq][0]

    def forget(self, reader: LogReader) -> None:
        """Wait for a reader no longer. Idempotent."""
        self._readers.discard(reader)
        self.make_room()

    def make_room(self) -> None:
        """Drop what need not be kept, and wake who waits for room."""
        unread = self._next
        for reader in self._readers:
            unread = min(reader.seq, unread)
        oldest_s = float("-inf") if self._max_age_s is None else self._now_s - self._max_age_s
        while self._first < unread:
            _, size, at_s = self._events[self._first]
            if self._replay and self.has_room and at_s >= oldest_s:
                break
            del self._events[self._first]
            self._first += 1
            self.bytes -= size
        if self._room is not None and self.has_room:
            self._room.set()
            self._room = None


class LogReader:
    """One who reads a log, from where it stands. Made by `EventLog.open_reader()`.

    Args:
        log: What is read.
        seq: Number of the event that it reads next.
    """

    def __init__(self, log: EventLog, seq: int) -> None:
        self._log = log
        self.seq: int = seq
        """Number of the event that it reads next."""
        self._bell: Waiter | None = None
        self._make_bell: Callable[[], Waiter] | None = None
        self.is_closed: bool = False
        """Whether it was closed, and so has nothing more."""

    @property
    def is_done(self) -> bool:
        """Whether it has read all there is and will be."""
        return self._log.closed and not self.has_more

    @property
    def has_more(self) -> bool:
        """Whether there is something to take."""
        return self.seq <= self._log.last and not self.is_closed

    def take(self, max_bytes: int = 16 * 1024, *, merge: bool = True) -> list[LoggedEvent]:
        """Return what there is, without waiting: nothing, or at least one event; nothing once the reader is closed.

        Args:
            max_bytes: How much data to return, in characters; a larger event comes alone.
            merge: Whether neighbours become one where nothing is lost by it.
        """
        log, first = self._log, self.seq
        if first == log.last and not self.is_closed:  # nearly always, while the reader keeps up
            self.seq += 1
            event = log.event(first)
            log.make_room()
            return [LoggedEvent(first, event)]
        taken: list[LoggedEvent] = []
        alike: list[ServerEvent] = []
        size = 0
        while self.seq <= log.last and not self.is_closed:
            event = log.event(self.seq)
            size += len(event.data)
            if size > max_bytes and self.seq > first:
                break
            if alike and not (merge and may_merge(alike[-1], event)):
                taken.append(LoggedEvent(self.seq - 1, merge_events(alike)))
                alike.clear()
            alike.append(event)
            self.seq += 1
        if alike:
            taken.append(LoggedEvent(self.seq - 1, merge_events(alike)))
            log.make_room()
        return taken

    async def wait(self) -> None:
        """Wait until there is something to take, nothing more will come, or somebody rings.

        Not a checkpoint where that is so already. Cancellation: loses nothing.
        """
        if not self.is_closed and self.seq > self._log.last and not self._log.closed:
            make = self._make_bell = self._make_bell or waiter_factory()
            self._bell = make()
            await self._bell

    def ring(self) -> None:
        """Wake who waits."""
        bell, self._bell = self._bell, None
        if bell is not None and not bell.done():
            bell.set_result(None)

    def close(self) -> None:
        """Read no more. Idempotent."""
        self.is_closed = True
        self.ring()
        self._log.forget(self)


def parse_event_id(text: str) -> tuple[str, int] | None:
    """Return epoch and number of an event's id, `epoch:seq`; None if it is none."""
    found = _ID.fullmatch(text) if len(text) <= _MAX_ID else None
    return None if found is None else (found[1], int(found[2]))

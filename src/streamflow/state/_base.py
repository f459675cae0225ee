"""What all stores of this library share: checks, encoding, limits, and being open or not.

Above: the stores. Below: `_protocol`, `_records`.

A store gives the methods that begin with an underscore. They get arguments that are checked and turns that are encoded, and each of
them is one step of the database: it happens whole or not at all, whenever it is cancelled.
"""

from __future__ import annotations

import abc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.lowlevel

from ..errors import ConfigError, StateError, StateLimitError
from ._checks import checked_expected, checked_id, checked_limits, checked_ttl, checked_whole
from ._protocol import Conversation, ConversationPage, Document, History, StoreLimits, Turn
from ._records import decoded_turn, decoded_value, encoded_turn, encoded_value

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from types import TracebackType
    from typing import Self

    from anyio.lowlevel import EventLoopToken

    from ..elements import JsonValue
    from ._records import Head, Record

__all__ = ["BaseStore", "load_window"]

_CLOSE_S = 10.0
"""How long a closing waits for what is being written, in seconds."""

T = TypeVar("T")


class BaseStore(abc.ABC):
    """A store whose arguments are checked and whose life is guarded.

    Args:
        name: What errors call it.
        limits: How large things may be.
        ttl_s: How long after its last commit something is forgotten, where nobody says otherwise, in seconds; None: never.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    def __init__(self, name: str, *, limits: StoreLimits | None, ttl_s: float | None) -> None:
        self._name = name
        self._limits = checked_limits(StoreLimits() if limits is None else limits)
        self._ttl_s = checked_ttl(ttl_s, "ttl_s")
        self._is_open = False
        self._loop: EventLoopToken | None = None
        self._busy = 0
        self._idle: anyio.Event | None = None

    @property
    def limits(self) -> StoreLimits:
        """How large things may be."""
        return self._limits

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'open' if self._is_open else 'closed'}>"

    async def __aenter__(self) -> Self:
        """Open the store."""
        if self._is_open:
            raise StateError("open", f"{self._name} is open already; open it once, and share the object")
        await self._open()
        self._is_open, self._loop = True, anyio.lowlevel.current_token()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the store, after what is being written."""
        if not self._is_open:
            return
        self._is_open = False
        with anyio.move_on_after(_CLOSE_S, shield=True):
            while self._busy:
                self._idle = anyio.Event()
                await self._idle.wait()
        await self._close()  # in no scope: a client may have to leave one of its own that is around this

    async def ping(self) -> None:
        """Return when the store has answered."""
        async with self._use():
            await self._ping()

    async def create(
        self, conversation: str, *, metadata: Mapping[str, JsonValue] | None = None, ttl_s: float | None = None
    ) -> Conversation:
        """Make an empty conversation, and return what is known of it; see `StateStore.create`."""
        id = self._id(conversation)
        told = encoded_value(metadata or {}, "metadata", self._limits)
        ttl_s = self._ttl_s if ttl_s is None else checked_ttl(ttl_s, "ttl_s")
        async with self._use():
            return (await self._create(id, told, ttl_s)).told(id)

    async def info(self, conversation: str) -> Conversation | None:
        """Return what is known of a conversation; see `StateStore.info`."""
        id = self._id(conversation)
        async with self._use():
            head = await self._info(id)
        return None if head is None else head.told(id)

    async def load(self, conversation: str, *, last: int | None = None, since: int = 0) -> History:
        """Return turns of a conversation; see `StateStore.load`."""
        id = self._id(conversation)
        most = None if last is None else checked_whole(last, "last")
        checked_whole(since, "since")
        async with self._use():
            head, records = await self._load(id, most, since)
        if head is None:
            return History(id)
        return History(id, head.revision, tuple(decoded_turn(record, id) for record in records))

    async def find(self, conversation: str, turn: str) -> Turn | None:
        """Return one turn by its id; see `StateStore.find`."""
        id, wanted = self._id(conversation), checked_id(turn, "turn", self._limits)
        async with self._use():
            record = await self._find(id, wanted)
        return None if record is None else decoded_turn(record, id)

    async def append(self, conversation: str, turn: Turn, *, expected: int | None = None) -> int:
        """Store a turn as a unit; see `StateStore.append`."""
        id = self._id(conversation)
        record = encoded_turn(turn, self._limits)
        checked_expected(expected)
        async with self._use():
            return await self._append(id, record, expected)

    async def replace(self, conversation: str, turns: tuple[Turn, ...], *, expected: int | None = None) -> int:
        """Store turns in the place of all that there are; see `StateStore.replace`."""
        id = self._id(conversation)
        records = [encoded_turn(turn, self._limits) for turn in turns]
        if len({record.id for record in records}) < len(records):
            raise ConfigError("turns", "two of them have the same id; give each an id of its own")
        checked_expected(expected)
        async with self._use():
            return await self._replace(id, records, expected)

    async def fork(self, source: str, target: str, *, at: int | None = None) -> Conversation:
        """Make a new conversation of the turns of another one; see `StateStore.fork`."""
        origin, made = checked_id(source, "source", self._limits), checked_id(target, "target", self._limits)
        until = None if at is None else checked_whole(at, "at")
        async with self._use():
            head = await self._fork(origin, made, until)
        if head is None:
            raise StateError("not_found", f"there is no conversation {origin!r} to fork; append to it first")
        return head.told(made)

    async def expire(self, conversation: str, ttl_s: float | None) -> bool:
        """Have a conversation forgotten later; see `StateStore.expire`."""
        id, ttl_s = self._id(conversation), checked_ttl(ttl_s, "ttl_s")
        async with self._use():
            return await self._expire(id, ttl_s)

    async def delete(self, conversation: str, *, expected: int | None = None) -> bool:
        """Forget a conversation; see `StateStore.delete`."""
        id = self._id(conversation)
        checked_expected(expected)
        async with self._use():
            return await self._delete(id, expected)

    async def conversations(self, *, prefix: str = "", after: str | None = None, limit: int = 100) -> ConversationPage:
        """Return a page of the list of conversations; see `StateStore.conversations`."""
        if prefix:
            checked_id(prefix, "prefix", self._limits)
        if after is not None:
            checked_id(after, "after", self._limits)
        if not 1 <= checked_whole(limit, "limit") <= self._limits.max_page:
            raise ConfigError("limit", f"give 1 to {self._limits.max_page}, got {limit}")
        async with self._use():
            found = await self._page(prefix, after, limit + 1)
        told = tuple(head.told(id) for id, head in found[:limit])
        return ConversationPage(told, told[-1].id if len(found) > limit else None)

    async def get(self, key: str) -> Document | None:
        """Return the document under a key; see `StateStore.get`."""
        name = checked_id(key, "key", self._limits)
        async with self._use():
            found = await self._get(name)
        return None if found is None else Document(name, decoded_value(found[0], name), found[1])

    async def put(self, key: str, value: JsonValue, *, expected: int | None = None, ttl_s: float | None = None) -> int:
        """Write a document; see `StateStore.put`."""
        name = checked_id(key, "key", self._limits)
        data = encoded_value(value, "value", self._limits)
        checked_expected(expected)
        ttl_s = self._ttl_s if ttl_s is None else checked_ttl(ttl_s, "ttl_s")
        async with self._use():
            return await self._put(name, data, expected, ttl_s)

    async def remove(self, key: str, *, expected: int | None = None) -> bool:
        """Forget a document; see `StateStore.remove`."""
        name = checked_id(key, "key", self._limits)
        checked_expected(expected)
        async with self._use():
            return await self._remove(name, expected)

    @asynccontextmanager
    async def _use(self) -> AsyncGenerator[None]:
        """Keep the store open while a method is at work."""
        if not self._is_open:
            raise StateError("closed", f"{self._name} is not open; use it inside 'async with'")
        if anyio.lowlevel.current_token() != self._loop:
            message = (
                f"{self._name} was opened in another event loop; give the stages a Resource that opens one in each"
            )
            raise StateError("closed", message)
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            if not self._busy and self._idle is not None:
                self._idle.set()

    def _id(self, conversation: str) -> str:
        return checked_id(conversation, "conversation", self._limits)

    @abc.abstractmethod
    async def _open(self) -> None: ...
    @abc.abstractmethod
    async def _close(self) -> None: ...
    @abc.abstractmethod
    async def _ping(self) -> None: ...
    @abc.abstractmethod
    async def _create(self, id: str, metadata: bytes, ttl_s: float | None) -> Head: ...
    @abc.abstractmethod
    async def _info(self, id: str) -> Head | None: ...
    @abc.abstractmethod
    async def _load(self, id: str, last: int | None, since: int) -> tuple[Head | None, list[Record]]: ...
    @abc.abstractmethod
    async def _find(self, id: str, turn: str) -> Record | None: ...
    @abc.abstractmethod
    async def _append(self, id: str, given: Record, expected: int | None) -> int: ...
    @abc.abstractmethod
    async def _replace(self, id: str, given: list[Record], expected: int | None) -> int: ...
    @abc.abstractmethod
    async def _fork(self, source: str, target: str, at: int | None) -> Head | None: ...
    @abc.abstractmethod
    async def _expire(self, id: str, ttl_s: float | None) -> bool: ...
    @abc.abstractmethod
    async def _delete(self, id: str, expected: int | None) -> bool: ...
    @abc.abstractmethod
    async def _page(self, prefix: str, after: str | None, limit: int) -> list[tuple[str, Head]]: ...
    @abc.abstractmethod
    async def _get(self, key: str) -> tuple[bytes, int] | None: ...
    @abc.abstractmethod
    async def _put(self, key: str, data: bytes, expected: int | None, ttl_s: float | None) -> int: ...
    @abc.abstractmethod
    async def _remove(self, key: str, expected: int | None) -> bool: ...


def load_window(conversation: str, sizes: list[tuple[int, int]], last: int | None, limits: StoreLimits) -> int:
    """Return how many of the newest turns are to be loaded.

    Args:
        conversation: Whose turns they are.
        sizes: Messages and bytes of each turn, newest first.
        last: How many messages are wanted; None: all.
        limits: How much may be loaded.

    Raises:
        StateLimitError: If that is more than may be loaded.
    """
    messages = size = turns = 0
    for count, length in sizes:
        if last is not None and messages >= last:
            break
        messages, size, turns = messages + count, size + length, turns + 1
        if messages > limits.max_load_messages or size > limits.max_load_bytes:
            is_long = messages > limits.max_load_messages
            name = "max_load_messages" if is_long else "max_load_bytes"
            raise StateLimitError(
                name,
                f"{conversation!r} has more than {name}={getattr(limits, name)} to load; ask for less with last= or "
                "since=, or raise the limit",
            )
    return turns

"""Where results are kept that may be wanted again: the protocol of a cache, and one in memory.

Above: `_cache`, and caches of users. Below: `elements`, `_shared_clock`.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import TYPE_CHECKING, Protocol

from ..elements import encode
from ..errors import ElementError
from ._checks import checked_count
from ._deadlines import checked_seconds
from ._shared_clock import SharedClock

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ..elements import StreamElement

__all__ = ["Cache", "MemoryCache"]


class Cache(Protocol):
    """What a `CacheStage` needs of a cache. `MemoryCache` is one; an object of yours may ask a server instead."""

    async def get(self, key: Hashable, /) -> tuple[StreamElement, ...] | None:
        """Return what was put under `key`, None if there is nothing, or it is too old."""
        ...

    async def put(self, key: Hashable, elements: tuple[StreamElement, ...], /) -> None:
        """Keep `elements` under `key`, in the place of what was there; or leave it, if it does not fit."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    elements: tuple[StreamElement, ...]
    size: int
    until_s: float


class MemoryCache:
    """A cache in memory, bounded in entries and in bytes; the one that was used longest ago goes first (LRU).

    Share one among the stages that are to find each other's results. For one thread at a time: the event loops that use it one
    after another, as in blocking calls, share what it knows.

    Args:
        max_entries: Most entries, from 1 up.
        max_bytes: Most bytes of all entries together, as elements are in MessagePack; an entry beyond that alone is not kept.
        ttl_s: For how long an entry is good, in seconds from when it was put; None: for ever.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    def __init__(
        self, *, max_entries: int = 1000, max_bytes: int = 64 * 1024 * 1024, ttl_s: float | None = None
    ) -> None:
        self._max_entries = checked_count(max_entries, "max_entries", "cache")
        self._max_bytes = checked_count(max_bytes, "max_bytes", "cache")
        self._ttl_s = math.inf if ttl_s is None else checked_seconds(ttl_s, "ttl_s", "cache")
        self._clock = SharedClock()
        self._entries: dict[Hashable, _Entry] = {}  # the one that was used longest ago first
        self._bytes = 0

    async def get(self, key: Hashable, /) -> tuple[StreamElement, ...] | None:
        """Return what was put under `key`, None if there is nothing, or it is too old. Never waits."""
        entry = self._take(key)
        if entry is None or self._clock.now() >= entry.until_s:
            return None
        self._keep(key, entry)
        return entry.elements

    async def put(self, key: Hashable, elements: tuple[StreamElement, ...], /) -> None:
        """Keep `elements` under `key`, in the place of what was there. Never waits."""
        self._take(key)
        size = sum(map(_size_of, elements))
        if size > self._max_bytes:
            return
        self._keep(key, _Entry(elements, size, self._clock.now() + self._ttl_s))
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._take(next(iter(self._entries)))

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """How many bytes its entries have together."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<MemoryCache {len(self._entries)}/{self._max_entries} entries, {self._bytes}/{self._max_bytes} bytes>"

    def _take(self, key: Hashable) -> _Entry | None:
        entry = self._entries.pop(key, None)
        self._bytes -= 0 if entry is None else entry.size
        return entry

    def _keep(self, key: Hashable, entry: _Entry) -> None:
        self._entries[key] = entry
        self._bytes += entry.size


def _size_of(element: StreamElement) -> int:
    try:
        return len(encode(element, format="msgpack"))
    except ElementError:  # of a type that nobody registered
        return sys.getsizeof(element)

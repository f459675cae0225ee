"""A store in memory: for tests, for one process, and for what may be forgotten.

Above: users. Below: `_base`, `_records`.
"""

from __future__ import annotations

import bisect
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

import anyio.lowlevel

from ..errors import ConfigError, StateConflictError, StateLimitError
from ._base import BaseStore, load_window
from ._checks import checked_whole
from ._records import check_revision, fate_of, new_head

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._protocol import StoreLimits
    from ._records import Head, Record

__all__ = ["MemoryStore"]

_OVERHEAD = 512
"""What a conversation or a document counts beside its content, in bytes."""


class _Talk(NamedTuple):
    """A conversation."""

    head: Head
    records: tuple[Record, ...]

    @property
    def newest(self) -> str:
        return self.records[-1].id if self.records else ""


class _Paper(NamedTuple):
    """A document."""

    data: bytes
    revision: int
    expires_s: float | None


class MemoryStore(BaseStore):
    """Keep conversations and documents in memory, bounded in number and in bytes.

    ```python
    async with MemoryStore() as store:
        await store.append("chat-7", Turn("turn-1", (Message("user", "Hello!"),)))
    ```

    What it keeps outlives its closing: the same object can be opened again, also in another event loop. For one thread at a time.

    Args:
        max_conversations: Most conversations, from 1 up.
        max_bytes: Most bytes of everything, as it would be stored elsewhere.
        when_full: What becomes of a write for which there is no room. `error`: it is refused with `StateLimitError`. `forget`: the
            conversations that were used longest ago are forgotten, then the documents (LRU).
        ttl_s: How long after its last commit something is forgotten, in seconds; None: never.
        limits: How large things may be.
        clock: Tells the time in seconds, by which things are dated and forgotten; `anyio.current_time` is that of the event loop,
            virtual in tests.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    def __init__(
        self,
        *,
        max_conversations: int = 10_000,
        max_bytes: int = 256 * 1024 * 1024,
        when_full: Literal["error", "forget"] = "error",
        ttl_s: float | None = None,
        limits: StoreLimits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__("the memory store", limits=limits, ttl_s=ttl_s)
        if when_full not in {"error", "forget"}:
            raise ConfigError("when_full", f"give 'error' or 'forget', got {when_full!r:.80}")
        self._max_conversations = checked_whole(max_conversations, "max_conversations", least=1)
        self._max_bytes = checked_whole(max_bytes, "max_bytes", least=1)
        self._forgets = when_full == "forget"
        self._clock = clock
        self._talks: dict[str, _Talk] = {}  # the one that was used longest ago first
        self._papers: dict[str, _Paper] = {}
        self._bytes = 0

    @property
    def size_bytes(self) -> int:
        """How many bytes everything has together."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._talks)

    async def _open(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def _close(self) -> None:
        pass

    # Each method takes its checkpoint first: what follows is one step, in which no other task runs.

    async def _ping(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def _create(self, id: str, metadata: bytes, ttl_s: float | None) -> Head:
        await anyio.lowlevel.checkpoint()
        found = self._talk(id)
        if found is not None:
            raise StateConflictError(id, 0, found.head.revision, found.newest)
        return self._keep(id, _Talk(new_head(self._clock(), ttl_s, metadata), ())).head

    async def _info(self, id: str) -> Head | None:
        await anyio.lowlevel.checkpoint()
        found = self._talk(id)
        return None if found is None else found.head

    async def _load(self, id: str, last: int | None, since: int) -> tuple[Head | None, list[Record]]:
        await anyio.lowlevel.checkpoint()
        found = self._talk(id)
        if found is None:
            return None, []
        self._talks[id] = self._talks.pop(id)  # used now
        later = [record for record in found.records if record.revision > since]
        sizes = [(record.messages, len(record.body)) for record in reversed(later)]
        return found.head, later[len(later) - load_window(id, sizes, last, self._limits) :]

    async def _find(self, id: str, turn: str) -> Record | None:
        await anyio.lowlevel.checkpoint()
        found = self._talk(id)
        return None if found is None else next((one for one in found.records if one.id == turn), None)

    async def _append(self, id: str, given: Record, expected: int | None) -> int:
        await anyio.lowlevel.checkpoint()
        now = self._clock()
        found = self._talk(id) or _Talk(new_head(now, self._ttl_s), ())
        stored = next((one for one in found.records if one.id == given.id), None)
        fate = fate_of(id, given, stored, found.head, found.newest)
        if fate == "there" and stored is not None:
            return stored.revision
        check_revision(id, expected, found.head.revision, found.newest)
        before = found.records[:-1] if fate == "continues" else found.records
        return self._commit(id, found.head, (*before, given), now, (given.id,))

    async def _replace(self, id: str, given: list[Record], expected: int | None) -> int:
        await anyio.lowlevel.checkpoint()
        now = self._clock()
        found = self._talk(id) or _Talk(new_head(now, self._ttl_s), ())
        check_revision(id, expected, found.head.revision, found.newest)
        return self._commit(id, found.head, tuple(given), now, tuple(one.id for one in given))

    async def _fork(self, source: str, target: str, at: int | None) -> Head | None:
        await anyio.lowlevel.checkpoint()
        origin, found = self._talk(source), self._talk(target)
        if found is not None:
            raise StateConflictError(target, 0, found.head.revision, found.newest)
        if origin is None:
            return None
        taken = tuple(one for one in origin.records if at is None or one.revision <= at)
        head = new_head(self._clock(), self._ttl_s, origin.head.metadata)._replace(
            revision=origin.head.revision if at is None else min(at, origin.head.revision),
            turns=len(taken),
            messages=sum(one.messages for one in taken),
            size=sum(len(one.body) for one in taken),
        )
        return self._keep(target, _Talk(head, taken)).head

    async def _expire(self, id: str, ttl_s: float | None) -> bool:
        await anyio.lowlevel.checkpoint()
        found = self._talk(id)
        if found is None:
            return False
        until = None if ttl_s is None else self._clock() + ttl_s
        self._talks[id] = found._replace(head=found.head._replace(ttl_s=ttl_s, expires_s=until))
        return True

    async def _delete(self, id: str, expected: int | None) -> bool:
        await anyio.lowlevel.checkpoint()
        found = self._talk(id)
        check_revision(id, expected, 0 if found is None else found.head.revision, "" if found is None else found.newest)
        if found is not None:
            self._drop_talk(id)
        return found is not None

    async def _page(self, prefix: str, after: str | None, limit: int) -> list[tuple[str, Head]]:
        await anyio.lowlevel.checkpoint()
        ids = sorted(self._talks)
        start = bisect.bisect_left(ids, prefix)
        if after is not None:
            start = max(start, bisect.bisect_right(ids, after))
        page: list[tuple[str, Head]] = []
        for id in ids[start:]:
            if len(page) == limit or not id.startswith(prefix):
                break
            found = self._talk(id)
            if found is not None:
                page.append((id, found.head))
        return page

    async def _get(self, key: str) -> tuple[bytes, int] | None:
        await anyio.lowlevel.checkpoint()
        found = self._paper(key)
        return None if found is None else (found.data, found.revision)

    async def _put(self, key: str, data: bytes, expected: int | None, ttl_s: float | None) -> int:
        await anyio.lowlevel.checkpoint()
        found = self._paper(key)
        revision = 0 if found is None else found.revision
        check_revision(key, expected, revision)
        before = 0 if found is None else len(found.data) + _OVERHEAD
        self._make_room(key, len(data) + _OVERHEAD - before)
        self._drop_paper(key)
        until = None if ttl_s is None else self._clock() + ttl_s
        self._papers[key] = _Paper(data, revision + 1, until)
        self._bytes += len(data) + _OVERHEAD
        return revision + 1

    async def _remove(self, key: str, expected: int | None) -> bool:
        await anyio.lowlevel.checkpoint()
        found = self._paper(key)
        check_revision(key, expected, 0 if found is None else found.revision)
        self._drop_paper(key)
        return found is not None

    def _commit(self, id: str, head: Head, records: tuple[Record, ...], now: float, fresh: tuple[str, ...]) -> int:
        """Keep the turns of a conversation, of which the `fresh` ones are committed now."""
        head = head.committed(
            now,
            turns=len(records),
            messages=sum(one.messages for one in records),
            size=sum(len(one.body) for one in records),
        )
        dated = tuple(one._replace(revision=head.revision, at_s=now) if one.id in fresh else one for one in records)
        return self._keep(id, _Talk(head, dated)).head.revision

    def _talk(self, id: str) -> _Talk | None:
        found = self._talks.get(id)
        if found is None or found.head.expires_s is None or self._clock() < found.head.expires_s:
            return found
        self._drop_talk(id)
        return None

    def _paper(self, key: str) -> _Paper | None:
        found = self._papers.get(key)
        if found is None or found.expires_s is None or self._clock() < found.expires_s:
            return found
        self._drop_paper(key)
        return None

    def _keep(self, id: str, talk: _Talk) -> _Talk:
        """Put a conversation into the place of what was there, if there is room for it."""
        before = self._talks.get(id)
        self._make_room(id, _weight(talk.head) - (0 if before is None else _weight(before.head)))
        if before is None and len(self._talks) >= self._max_conversations:
            self._make_place(id)
        if id in self._talks:
            self._drop_talk(id)
        self._talks[id] = talk
        self._bytes += _weight(talk.head)
        return talk

    def _make_place(self, id: str) -> None:
        self._forget_expired()
        if len(self._talks) < self._max_conversations:
            return
        if not self._forgets:
            raise StateLimitError(
                "max_conversations",
                f"no room for {id!r}: the memory store holds max_conversations={self._max_conversations}; delete some, "
                "give a ttl_s, raise the limit, or say when_full='forget'",
            )
        self._drop_talk(next(iter(self._talks)))

    def _make_room(self, id: str, more: int) -> None:
        """See that there is room for so many bytes more.

        Raises:
            StateLimitError: If there is none, and nothing may be forgotten.
        """
        if self._bytes + more <= self._max_bytes:
            return
        self._forget_expired()
        if self._forgets:
            for other in [one for one in self._talks if one != id]:
                if self._bytes + more <= self._max_bytes:
                    return
                self._drop_talk(other)
            for other in [one for one in self._papers if one != id]:
                if self._bytes + more <= self._max_bytes:
                    return
                self._drop_paper(other)
        if self._bytes + more > self._max_bytes:
            raise StateLimitError(
                "max_bytes",
                f"no room for {id!r}: the memory store holds {self._bytes} of max_bytes={self._max_bytes}; delete some, "
                "give a ttl_s, raise the limit, or say when_full='forget'",
            )

    def _forget_expired(self) -> None:
        for id in list(self._talks):
            self._talk(id)
        for key in list(self._papers):
            self._paper(key)

    def _drop_talk(self, id: str) -> None:
        self._bytes -= _weight(self._talks.pop(id).head)

    def _drop_paper(self, key: str) -> None:
        found = self._papers.pop(key, None)
        self._bytes -= 0 if found is None else len(found.data) + _OVERHEAD


def _weight(head: Head) -> int:
    return head.size + len(head.metadata) + _OVERHEAD

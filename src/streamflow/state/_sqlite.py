"""A store in one file: SQLite, in a worker thread of its own. The embedded default.

Above: users. Below: `_sql_store`; the standard library's `sqlite3`.

One connection, used by one thread at a time. A call that has begun is not cancelled: its caller waits for it (at most
`busy_timeout_s`, while another process writes) and gets its result. Where asyncio cancels the caller nevertheless, the thread goes
on, and the next call waits for it. Readers see a snapshot (WAL).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import anyio
import anyio.to_thread

from ..errors import ConfigError, StateError
from . import _sql
from ._checks import checked_seconds
from ._sql_store import SqlStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._protocol import StoreLimits
    from ._sql import Transaction

__all__ = ["SQLiteStore"]

T = TypeVar("T")

_RETRYABLE = {"SQLITE_BUSY", "SQLITE_LOCKED"}
_DENIED = {"SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH", "SQLITE_CANTOPEN"}
_CORRUPT = {"SQLITE_CORRUPT", "SQLITE_NOTADB"}


class SQLiteStore(SqlStore):
    """Keep conversations and documents in one file.

    ```python
    async with SQLiteStore("chat.db") as store:
        history = await store.load("chat-7", last=20)
    ```

    The file is made if it does not exist, and then can be read by its owner alone (mode 0600). Several processes may use it at a
    time. An older schema is brought up to date when the store is opened.

    Cancellation: a call that has begun is finished, and its result is returned.

    Args:
        path: The file. Its folder must exist; for a store in memory there is `MemoryStore`.
        synchronous: `full`: a commit survives a loss of power. `normal`: it survives the end of the process, and the last ones may
            be lost with the power; several times faster.
        busy_timeout_s: How long to wait while another process writes, in seconds.
        ttl_s: How long after its last commit something is forgotten, in seconds; None: never.
        limits: How large things may be.
        clock: Tells the time in seconds since 1970, by which things are dated and forgotten.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Literal["full", "normal"] = "full",
        busy_timeout_s: float = 5.0,
        ttl_s: float | None = None,
        limits: StoreLimits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = _checked_path(path)
        super().__init__(f"the store {self._path.name!r}", limits=limits, ttl_s=ttl_s)
        if synchronous not in {"full", "normal"}:
            raise ConfigError("synchronous", f"give 'full' or 'normal', got {synchronous!r:.80}")
        self._synchronous = synchronous
        self._busy_timeout_s = checked_seconds(busy_timeout_s, "busy_timeout_s")
        self._clock = clock
        self._limiter: anyio.CapacityLimiter | None = None
        self._connection: sqlite3.Connection | None = None
        self._lock = (
            threading.Lock()
        )  # a cancelled caller gives its place in the limiter away while its thread still works

    async def _open(self) -> None:
        self._limiter = anyio.CapacityLimiter(1)
        deadline = anyio.current_time() + self._busy_timeout_s
        try:
            while True:
                try:
                    await self._in_thread(partial(self._connect, self._clock()))
                    return
                except StateError as bad:
                    # SQLite does not wait by itself while others switch the same file to WAL.
                    if not bad.retryable or anyio.current_time() >= deadline:
                        raise
                await anyio.sleep(0.02)
        except BaseException:
            await self._close()
            raise

    async def _close(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._in_thread(self._disconnect)

    def _connect(self, now: float) -> None:
        """Open the file and bring its schema up to date. In the worker thread."""
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        with self._lock:
            if self._connection is None:
                self._connection = sqlite3.connect(
                    self._path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
                )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(f"PRAGMA synchronous = {self._synchronous.upper()}")
        self._transact("IMMEDIATE", now, lambda tx: _sql.migrate(tx, self._name))

    def _disconnect(self) -> None:
        """Close the connection. In the worker thread."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        """Call something in the worker thread, and turn what SQLite raises into our errors."""
        try:
            return await anyio.to_thread.run_sync(call, limiter=self._limiter)
        except sqlite3.Error as bad:
            raise self._told(bad) from bad
        except OSError as bad:
            message = (
                f"{self._name} cannot be opened: {os.strerror(bad.errno or 0)}; its folder must exist and be writable"
            )
            raise StateError("denied" if isinstance(bad, PermissionError) else "unavailable", message) from bad

    def _told(self, bad: sqlite3.Error) -> StateError:
        name: str = getattr(bad, "sqlite_errorname", "")
        kind = "_".join(name.split("_")[:2])  # extended codes say more behind
        if kind in _RETRYABLE:
            message = (
                f"{self._name} was busy for {self._busy_timeout_s:g} s; raise busy_timeout_s, or write less at a time"
            )
            return StateError("timeout", message, retryable=True)
        if kind in _CORRUPT:
            return StateError("corrupt", f"{self._name} is no SQLite database, or a damaged one")
        code = "denied" if kind in _DENIED else "unavailable"
        return StateError(code, f"{self._name} failed: {name or type(bad).__name__}; see the cause")

    async def _read(self, work: Callable[[Transaction], T]) -> T:
        return await self._in_thread(partial(self._transact, "DEFERRED", self._clock(), work))

    async def _write(self, work: Callable[[Transaction], T], *, again: bool = False) -> T:
        del again  # a commit is known to have succeeded or failed
        return await self._in_thread(partial(self._transact, "IMMEDIATE", self._clock(), work))

    def _transact(self, how: str, now: float, work: Callable[[Transaction], T]) -> T:
        """Do some work in one transaction. In the worker thread."""
        with self._lock:
            connection = self._connection
            if connection is None:
                raise StateError("closed", f"{self._name} is closed")
            connection.execute(f"BEGIN {how}")
            try:
                done = work(_Transaction(connection, now))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return done


class _Transaction:
    """An open transaction. `BEGIN IMMEDIATE` has locked the file, so there is no lock of its own to take."""

    key_type: str = "text"
    blob_type: str = "blob"

    def __init__(self, connection: sqlite3.Connection, now: float) -> None:
        self._connection = connection
        self._now = now

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute one statement, and return its rows."""
        return self._connection.execute(statement, values).fetchall()

    def lock(self, key: str) -> float:
        """Return the time: the whole file is locked."""
        del key
        return self._now

    def now(self) -> float:
        """Return the time, in seconds since 1970."""
        return self._now

    def has_table(self, name: str) -> bool:
        """Say whether there is a table of this name."""
        return bool(self.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", name))


def _checked_path(path: object) -> Path:
    given = os.fspath(cast("os.PathLike[str]", path)) if isinstance(path, os.PathLike) else path
    if not isinstance(given, str) or not given:
        raise ConfigError("path", f"give the path of a file, got {path!r:.80}")
    if given.startswith((":memory:", "file:")):
        raise ConfigError("path", "give the path of a file; for a store in memory there is MemoryStore")
    return Path(given)

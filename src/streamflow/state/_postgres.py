"""A store in a PostgreSQL database, by `psycopg` in worker threads: one code path on both event loops.

Above: users. Below: `_sql_store`. Needs the extra `postgres`.

A call that has begun is finished, cancelled or not. The server ends a statement after `timeout_s`; a server that does not even say
so is left by shutting the socket, which wakes the thread. A transaction that failed before its commit has done nothing, so it is
tried once more on a new connection when it was the old one that had gone; after the commit was sent, only an append is, which
knows itself.
"""

from __future__ import annotations

import math
import os
import socket
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread

from ..errors import ConfigError, MissingExtraError, StateError
from . import _sql
from ._checks import checked_seconds, checked_whole
from ._sql_store import SqlStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._protocol import StoreLimits
    from ._sql import Transaction

__all__ = ["PostgresStore"]

T = TypeVar("T")

_LOCK_CLASS = 7283_0519
"""What makes the advisory locks of stores differ from those of others in the same database."""

_REFUSALS = (
    "authentication failed",
    "no pg_hba.conf entry",
    "does not exist",
    "no password supplied",
    "permission denied",
)

_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED"


class PostgresStore(SqlStore):
    """Keep conversations and documents in a PostgreSQL database.

    ```python
    async with PostgresStore("postgresql://app@localhost/chats") as store:
        history = await store.load("chat-7", last=20)
    ```

    The tables `streamflow_…` are made in the first schema of the search path; an older version of them is brought up to date when
    the store is opened. A restart of the server is met by a new connection.

    Cancellation: a call that has begun is finished, and its result is returned.

    Args:
        dsn: Where the database is, as libpq takes it: a URL or `key=value` pairs. No error and no log repeats it.
        timeout_s: How long a connection, and each statement, may take, in seconds.
        max_connections: Most connections, and worker threads, at a time; who needs one more waits.
        ttl_s: How long after its last commit something is forgotten, in seconds; None: never.
        limits: How large things may be.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
        MissingExtraError: If `psycopg` is not installed.
    """

    def __init__(
        self,
        dsn: str,
        *,
        timeout_s: float = 5.0,
        max_connections: int = 4,
        ttl_s: float | None = None,
        limits: StoreLimits | None = None,
    ) -> None:
        super().__init__("the PostgreSQL store", limits=limits, ttl_s=ttl_s)
        self._psycopg = _psycopg()
        self._timeout_s = checked_seconds(timeout_s, "timeout_s")
        self._max_connections = checked_whole(max_connections, "max_connections", least=1)
        self._dsn = self._checked_dsn(dsn)
        self._options: str = self._psycopg.conninfo.conninfo_to_dict(self._dsn).get("options") or ""
        self._spare: deque[Any] = deque()  # threads take from it and give back; each step of a deque is one
        self._takes_back = False
        self._limiter: anyio.CapacityLimiter | None = None

    async def _open(self) -> None:
        self._takes_back = True
        self._limiter = anyio.CapacityLimiter(self._max_connections)
        try:
            await self._write(lambda tx: _migrate(tx, self._name), again=True)
        except BaseException:
            await self._close()
            raise

    async def _close(self) -> None:
        self._takes_back = False
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._close_spare)

    def _close_spare(self) -> None:
        while self._spare:
            self._spare.pop().close()

    async def _read(self, work: Callable[[Transaction], T]) -> T:
        return await self._transact(_READ, work, again=True)

    async def _write(self, work: Callable[[Transaction], T], *, again: bool = False) -> T:
        return await self._transact(_WRITE, work, again=again)

    async def _transact(self, begin: str, work: Callable[[Transaction], T], *, again: bool) -> T:
        """Do some work in one transaction, in a worker thread.

        Args:
            begin: How the transaction begins.
            work: What to do; may be called twice.
            again: Whether it may be done again although its commit may have succeeded.
        """
        for attempt in (1, 2):
            lease = _Lease()
            try:
                return await self._in_thread(partial(self._work, lease, begin, work), lease)
            except self._psycopg.Error as bad:
                told = self._told(bad)
            may_repeat = again or not lease.is_committing
            if attempt == 2 or told.code != "unavailable" or not told.retryable or not may_repeat or lease.is_new:
                raise told from None
        raise AssertionError  # the second attempt has returned or raised

    async def _in_thread(self, call: Callable[[], T], lease: _Lease) -> T:
        # The server ends each statement after timeout_s, and libpq each connecting. This is for a server that has stopped.
        most_s = 3 * self._timeout_s + 2.0
        with anyio.CancelScope(shield=True), anyio.move_on_after(most_s):
            return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)
        lease.cut()
        raise self._too_late()

    def _work(self, lease: _Lease, begin: str, work: Callable[[Transaction], T]) -> T:
        """Do the work on an idle connection, or a new one. In a worker thread."""
        connection = self._spare.pop() if self._spare else None
        lease.is_new = connection is None
        if connection is None:
            connection = self._connect()
        lease.connection = connection
        try:
            connection.execute(begin)
            done = work(_Transaction(connection))
            lease.is_committing = True
            connection.execute("COMMIT")
        except self._psycopg.Error:
            connection.close()
            if not lease.is_new:
                self._close_spare()  # what was opened as long ago has gone as well
            raise
        except BaseException:
            connection.execute("ROLLBACK")
            self._give_back(connection)
            raise
        self._give_back(connection)
        return done

    def _connect(self) -> Any:
        wait_ms = math.ceil(self._timeout_s * 1000)
        return self._psycopg.connect(
            self._dsn,
            autocommit=True,
            prepare_threshold=None,  # a pooler between may give each transaction another connection
            connect_timeout=max(2, math.ceil(self._timeout_s)),
            tcp_user_timeout=wait_ms,
            application_name="streamflow",
            options=self._options
            + "".join(f" -c {name}_timeout={wait_ms}" for name in ("statement", "lock", "idle_in_transaction_session")),
        )

    def _give_back(self, connection: Any) -> None:
        if self._takes_back:
            self._spare.append(connection)
        else:
            connection.close()

    def _too_late(self) -> StateError:
        message = f"{self._name} did not answer within {self._timeout_s:g} s; raise timeout_s, or look at the server"
        return StateError("timeout", message, retryable=True)

    def _told(self, bad: Any) -> StateError:
        """Return what psycopg raised in our tree. Its text may repeat values or the DSN, so it is not repeated."""
        state: str = getattr(bad, "sqlstate", None) or ""
        if state in {"57014", "55P03", "25P03"}:
            return self._too_late()
        # Of a refused connection libpq gives no state, but the server's text.
        is_refused = not state and any(sign in str(bad) for sign in _REFUSALS)
        if is_refused or state.startswith("28") or state == "42501":
            message = (
                f"{self._name}: the server refused user, password, database or right; correct the dsn, or grant it"
            )
            return StateError("denied", message)
        if isinstance(bad, (self._psycopg.errors.ConnectionTimeout, TimeoutError)):
            return self._too_late()
        if state.startswith(("08", "57P", "40", "53")) or (
            not state and isinstance(bad, (self._psycopg.OperationalError, self._psycopg.InterfaceError))
        ):
            message = (
                f"{self._name} cannot be reached{f' ({state})' if state else ''}; see whether the server runs and where"
            )
            return StateError("unavailable", message, retryable=True)
        return StateError("unavailable", f"{self._name}: the server refused the call ({type(bad).__name__} {state})")

    def _checked_dsn(self, dsn: object) -> str:
        if isinstance(dsn, str) and dsn:
            try:
                self._psycopg.conninfo.conninfo_to_dict(dsn)
            except self._psycopg.Error:
                pass  # its text repeats the DSN
            else:
                return dsn
        raise ConfigError(
            "dsn", "give a connection string of libpq: postgresql://user@host/database, or key=value pairs"
        )


class _Lease:
    """What is known of a transaction while a thread is at it."""

    def __init__(self) -> None:
        self.connection: Any = None
        self.is_new = False
        self.is_committing = False

    def cut(self) -> None:
        """Shut the connection's socket, so that who waits for it wakes."""
        if self.connection is None or self.connection.closed:
            return
        with socket.socket(fileno=os.dup(self.connection.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)


class _Transaction:
    """An open transaction."""

    key_type: str = 'text COLLATE "C"'
    blob_type: str = "bytea"

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._now: float | None = None

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute one statement, and return its rows."""
        cursor = self._connection.execute(statement.replace("?", "%s"), values)
        return cursor.fetchall() if cursor.description else []

    def lock(self, key: str) -> float:
        """Let no other store change what is under `key` until the end, and return the time."""
        rows = self.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(?, ?)), extract(epoch FROM clock_timestamp())::float8",
            key,
            _LOCK_CLASS,
        )
        self._now = float(rows[0][1])
        return self._now

    def now(self) -> float:
        """Return the time, in seconds since 1970."""
        if self._now is None:
            self._now = float(self.execute("SELECT extract(epoch FROM clock_timestamp())::float8")[0][0])
        return self._now

    def has_table(self, name: str) -> bool:
        """Say whether there is a table of this name."""
        return bool(self.execute("SELECT to_regclass(?) IS NOT NULL", name)[0][0])


def _migrate(tx: Transaction, store: str) -> None:
    tx.execute("SELECT pg_advisory_xact_lock(?)", _LOCK_CLASS)
    _sql.migrate(tx, store)


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise MissingExtraError("psycopg", "postgres") from error
    return psycopg

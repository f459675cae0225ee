"""The operations of a store in SQL that SQLite and PostgreSQL both speak, and the schema with its migrations.

Above: `_sql_store`, and the stores on it, for the migrations. Below: `_records`. Rules:

- Each function is called inside one transaction and is all that happens in it. It may be called again after a rollback.
- A function that writes takes the lock of its conversation or key first, so what it has read stays true until the commit.
- What has expired is not there: a read leaves it out, a write to the same key removes it, and an opening removes it all.
- Statements are constants; values are parameters, each a `?`.
"""

# ruff: noqa: S608 - statements are put together of constants alone
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..errors import StateConflictError, StateError
from ._base import load_window
from ._records import Head, Record, check_revision, fate_of, new_head, past_prefix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._protocol import StoreLimits

__all__ = [
    "SCHEMA_VERSION",
    "Transaction",
    "append",
    "create",
    "delete",
    "expire",
    "find",
    "fork",
    "get",
    "info",
    "load",
    "migrate",
    "page",
    "put",
    "remove",
    "replace",
]


class Transaction(Protocol):
    """What the operations need of an open transaction."""

    key_type: str
    """The type of a text that is compared by its code points."""
    blob_type: str
    """The type of bytes."""

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute one statement, and return its rows."""
        ...

    def lock(self, key: str) -> float:
        """Let no other transaction change what is under `key` until the end, and return the time, in seconds since 1970."""
        ...

    def now(self) -> float:
        """Return the time, in seconds since 1970."""
        ...

    def has_table(self, name: str) -> bool:
        """Say whether there is a table of this name."""
        ...


_MIGRATIONS = (
    # 1: conversations and their turns.
    (
        "CREATE TABLE streamflow_conversations (id {key} PRIMARY KEY, revision bigint NOT NULL, turns bigint NOT NULL, "
        "messages bigint NOT NULL, bytes bigint NOT NULL, created_s double precision NOT NULL, "
        "updated_s double precision NOT NULL, metadata {blob} NOT NULL)",
        "CREATE TABLE streamflow_turns (conversation {key} NOT NULL, seq bigint NOT NULL, id {key} NOT NULL, "
        "revision bigint NOT NULL, status text NOT NULL, messages bigint NOT NULL, bytes bigint NOT NULL, "
        "at_s double precision NOT NULL, fingerprint text NOT NULL, body {blob} NOT NULL, "
        "PRIMARY KEY (conversation, seq), UNIQUE (conversation, id))",
    ),
    # 2: expiry, and documents.
    (
        "ALTER TABLE streamflow_conversations ADD COLUMN ttl_s double precision",
        "ALTER TABLE streamflow_conversations ADD COLUMN expires_s double precision",
        "CREATE TABLE streamflow_documents (id {key} PRIMARY KEY, revision bigint NOT NULL, value {blob} NOT NULL, "
        "expires_s double precision)",
        "CREATE INDEX streamflow_conversations_expiry ON streamflow_conversations (expires_s)",
        "CREATE INDEX streamflow_documents_expiry ON streamflow_documents (expires_s)",
    ),
)

SCHEMA_VERSION = len(_MIGRATIONS)
"""Version of the schema that this release writes, and the newest that it reads."""

_HEAD = "revision, turns, messages, bytes, created_s, updated_s, ttl_s, expires_s, metadata"
_RECORD = "id, status, messages, fingerprint, body, revision, at_s"


def migrate(tx: Transaction, store: str) -> None:
    """Bring the schema up to date, and remove what has expired. Nobody else may do that meanwhile.

    Args:
        tx: The transaction.
        store: What errors call the store.

    Raises:
        StateError: `schema`, if a newer release has written it.
    """
    version = 0
    if tx.has_table("streamflow_schema"):
        version = int(tx.execute("SELECT version FROM streamflow_schema")[0][0])
    else:
        tx.execute("CREATE TABLE streamflow_schema (version bigint NOT NULL)")
        tx.execute("INSERT INTO streamflow_schema (version) VALUES (0)")
    if version > SCHEMA_VERSION:
        raise StateError(
            "schema",
            f"{store} has schema version {version}, newer than {SCHEMA_VERSION}, which this release writes; update "
            "streamflow-runtime, or give another database",
        )
    for statements in _MIGRATIONS[version:]:
        for statement in statements:
            tx.execute(statement.format(key=tx.key_type, blob=tx.blob_type))
    if version < SCHEMA_VERSION:
        tx.execute("UPDATE streamflow_schema SET version = ?", SCHEMA_VERSION)
    now = tx.now()
    tx.execute(
        "DELETE FROM streamflow_turns WHERE conversation IN "
        "(SELECT id FROM streamflow_conversations WHERE expires_s <= ?)",
        now,
    )
    tx.execute("DELETE FROM streamflow_conversations WHERE expires_s <= ?", now)
    tx.execute("DELETE FROM streamflow_documents WHERE expires_s <= ?", now)


def create(tx: Transaction, id: str, metadata: bytes, ttl_s: float | None) -> Head:
    """Make an empty conversation."""
    now = tx.lock(id)
    found = _head_for_write(tx, id, now)
    if found is not None:
        raise StateConflictError(id, 0, found.revision, _newest(tx, id))
    return _write_head(tx, id, new_head(now, ttl_s, metadata), is_new=True)


def info(tx: Transaction, id: str) -> Head | None:
    """Return what is known of a conversation."""
    return _head(tx, id, tx.now())


def load(
    tx: Transaction, id: str, last: int | None, since: int, limits: StoreLimits
) -> tuple[Head | None, list[Record]]:
    """Return the newest turns of a conversation, oldest first."""
    head = _head(tx, id, tx.now())
    if head is None or last == 0:
        return head, []
    # A turn has one message or more, so these are enough to have `last` messages, and one more than may be loaded to notice it.
    most = limits.max_load_messages + 1 if last is None else min(last, limits.max_load_messages + 1)
    sizes = tx.execute(
        "SELECT messages, bytes, seq FROM streamflow_turns WHERE conversation = ? AND revision > ? "
        "ORDER BY seq DESC LIMIT ?",
        id,
        since,
        most,
    )
    taken = load_window(id, [(int(count), int(size)) for count, size, _ in sizes], last, limits)
    if not taken:
        return head, []
    rows = tx.execute(
        f"SELECT {_RECORD} FROM streamflow_turns WHERE conversation = ? AND revision > ? AND seq >= ? ORDER BY seq",
        id,
        since,
        int(sizes[taken - 1][2]),
    )
    return head, [_record(row) for row in rows]


def find(tx: Transaction, id: str, turn: str) -> Record | None:
    """Return one turn by its id."""
    if _head(tx, id, tx.now()) is None:
        return None
    rows = tx.execute(f"SELECT {_RECORD} FROM streamflow_turns WHERE conversation = ? AND id = ?", id, turn)
    return _record(rows[0]) if rows else None


def append(tx: Transaction, id: str, given: Record, expected: int | None, ttl_s: float | None) -> int:
    """Store a turn; returns the revision that it has."""
    now = tx.lock(id)
    found = _head_for_write(tx, id, now)
    head = new_head(now, ttl_s) if found is None else found
    rows = tx.execute(
        "SELECT seq, status, fingerprint, revision, messages, bytes FROM streamflow_turns "
        "WHERE conversation = ? AND id = ?",
        id,
        given.id,
    )
    seq, messages, size = head.turns, head.messages + given.messages, head.size + len(given.body)
    stored = None
    if rows:
        seq, status, fingerprint, revision, count, length = rows[0]
        stored = Record(given.id, status, count, fingerprint, b"", revision)
        messages, size = messages - count, size - length
    newest = _newest(tx, id) if stored is not None or (expected is not None and expected != head.revision) else ""
    if fate_of(id, given, stored, head, newest) == "there" and stored is not None:
        return stored.revision
    check_revision(id, expected, head.revision, newest)
    turns = head.turns if stored is not None else head.turns + 1
    head = head.committed(now, turns=turns, messages=messages, size=size)
    _write_head(tx, id, head, is_new=found is None)
    if stored is not None:
        tx.execute("DELETE FROM streamflow_turns WHERE conversation = ? AND seq = ?", id, seq)
    _write_turn(tx, id, seq, given._replace(revision=head.revision, at_s=now))
    return head.revision


def replace(tx: Transaction, id: str, given: Sequence[Record], expected: int | None, ttl_s: float | None) -> int:
    """Store turns in the place of all that there are; returns the new revision."""
    now = tx.lock(id)
    found = _head_for_write(tx, id, now)
    head = new_head(now, ttl_s) if found is None else found
    check_revision(id, expected, head.revision, _newest(tx, id))
    head = head.committed(
        now,
        turns=len(given),
        messages=sum(one.messages for one in given),
        size=sum(len(one.body) for one in given),
    )
    _write_head(tx, id, head, is_new=found is None)
    tx.execute("DELETE FROM streamflow_turns WHERE conversation = ?", id)
    for seq, record in enumerate(given):
        _write_turn(tx, id, seq, record._replace(revision=head.revision, at_s=now))
    return head.revision


def fork(tx: Transaction, source: str, target: str, at: int | None, ttl_s: float | None) -> Head | None:
    """Copy the turns of a conversation into a new one; None: there is no such conversation."""
    now = max(map(tx.lock, sorted({source, target})))  # in one order, so that two forks cannot wait for each other
    taken = _head_for_write(tx, target, now)
    if taken is not None:
        raise StateConflictError(target, 0, taken.revision, _newest(tx, target))
    origin = _head(tx, source, now)
    if origin is None:
        return None
    revision = origin.revision if at is None else min(at, origin.revision)
    tx.execute(
        "INSERT INTO streamflow_turns (conversation, seq, id, revision, status, messages, bytes, at_s, fingerprint, body) "
        "SELECT ?, seq, id, revision, status, messages, bytes, at_s, fingerprint, body "
        "FROM streamflow_turns WHERE conversation = ? AND revision <= ?",
        target,
        source,
        revision,
    )
    turns, messages, size = tx.execute(
        "SELECT count(*), coalesce(sum(messages), 0), coalesce(sum(bytes), 0) FROM streamflow_turns "
        "WHERE conversation = ?",
        target,
    )[0]
    head = new_head(now, ttl_s, origin.metadata)._replace(
        revision=revision, turns=int(turns), messages=int(messages), size=int(size)
    )
    return _write_head(tx, target, head, is_new=True)


def expire(tx: Transaction, id: str, ttl_s: float | None) -> bool:
    """Have a conversation forgotten later; says whether there is one."""
    now = tx.lock(id)
    head = _head_for_write(tx, id, now)
    if head is None:
        return False
    until = None if ttl_s is None else now + ttl_s
    _write_head(tx, id, head._replace(ttl_s=ttl_s, expires_s=until), is_new=False)
    return True


def delete(tx: Transaction, id: str, expected: int | None) -> bool:
    """Forget a conversation; says whether there was one."""
    head = _head_for_write(tx, id, tx.lock(id))
    check_revision(id, expected, 0 if head is None else head.revision, _newest(tx, id))
    if head is not None:
        _erase(tx, id)
    return head is not None


def page(tx: Transaction, prefix: str, after: str | None, limit: int) -> list[tuple[str, Head]]:
    """Return conversations in the order of their ids."""
    conditions, values = ["(expires_s IS NULL OR expires_s > ?)", "id >= ?"], [tx.now(), prefix]
    past = past_prefix(prefix)
    if past is not None:
        conditions.append("id < ?")
        values.append(past)
    if after is not None:
        conditions.append("id > ?")
        values.append(after)
    rows = tx.execute(
        f"SELECT {_HEAD}, id FROM streamflow_conversations WHERE {' AND '.join(conditions)} ORDER BY id LIMIT ?",
        *values,
        limit,
    )
    return [(row[-1], _told(row[:-1])) for row in rows]


def get(tx: Transaction, key: str) -> tuple[bytes, int] | None:
    """Return a document and its revision."""
    rows = tx.execute("SELECT value, revision, expires_s FROM streamflow_documents WHERE id = ?", key)
    if not rows or (rows[0][2] is not None and rows[0][2] <= tx.now()):
        return None
    return bytes(rows[0][0]), int(rows[0][1])


def put(tx: Transaction, key: str, data: bytes, expected: int | None, ttl_s: float | None) -> int:
    """Write a document; returns its new revision."""
    now = tx.lock(key)
    found = get(tx, key)
    revision = 0 if found is None else found[1]
    check_revision(key, expected, revision)
    tx.execute("DELETE FROM streamflow_documents WHERE id = ?", key)
    until = None if ttl_s is None else now + ttl_s
    tx.execute(
        "INSERT INTO streamflow_documents (id, revision, value, expires_s) VALUES (?, ?, ?, ?)",
        key,
        revision + 1,
        data,
        until,
    )
    return revision + 1


def remove(tx: Transaction, key: str, expected: int | None) -> bool:
    """Forget a document; says whether there was one."""
    tx.lock(key)
    found = get(tx, key)
    check_revision(key, expected, 0 if found is None else found[1])
    tx.execute("DELETE FROM streamflow_documents WHERE id = ?", key)
    return found is not None


def _head(tx: Transaction, id: str, now: float) -> Head | None:
    rows = tx.execute(f"SELECT {_HEAD} FROM streamflow_conversations WHERE id = ?", id)
    if not rows:
        return None
    head = _told(rows[0])
    return None if head.expires_s is not None and head.expires_s <= now else head


def _head_for_write(tx: Transaction, id: str, now: float) -> Head | None:
    """Return what there is, and remove what has expired."""
    head = _head(tx, id, now)
    if head is None:
        _erase(tx, id)
    return head


def _erase(tx: Transaction, id: str) -> None:
    tx.execute("DELETE FROM streamflow_turns WHERE conversation = ?", id)
    tx.execute("DELETE FROM streamflow_conversations WHERE id = ?", id)


def _write_head(tx: Transaction, id: str, head: Head, *, is_new: bool) -> Head:
    if is_new:
        tx.execute(
            f"INSERT INTO streamflow_conversations ({_HEAD}, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", *head, id
        )
    else:
        tx.execute(
            "UPDATE streamflow_conversations SET revision = ?, turns = ?, messages = ?, bytes = ?, created_s = ?, "
            "updated_s = ?, ttl_s = ?, expires_s = ?, metadata = ? WHERE id = ?",
            *head,
            id,
        )
    return head


def _write_turn(tx: Transaction, id: str, seq: int, record: Record) -> None:
    tx.execute(
        f"INSERT INTO streamflow_turns ({_RECORD}, conversation, seq, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *record,
        id,
        seq,
        len(record.body),
    )


def _newest(tx: Transaction, id: str) -> str:
    rows = tx.execute("SELECT id FROM streamflow_turns WHERE conversation = ? ORDER BY seq DESC LIMIT 1", id)
    return str(rows[0][0]) if rows else ""


def _record(row: tuple[Any, ...]) -> Record:
    id, status, messages, fingerprint, body, revision, at_s = row
    return Record(id, status, int(messages), fingerprint, bytes(body), int(revision), float(at_s))


def _told(row: tuple[Any, ...]) -> Head:
    revision, turns, messages, size, created_s, updated_s, ttl_s, expires_s, metadata = row
    return Head(
        int(revision), int(turns), int(messages), int(size), created_s, updated_s, ttl_s, expires_s, bytes(metadata)
    )

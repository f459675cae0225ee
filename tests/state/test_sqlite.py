"""`SQLiteStore`: its file, its schema, and other processes. On the real clock: its thread knows no other."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.to_thread import run_sync as in_thread

from streamflow import Message
from streamflow.errors import ConfigError, StateConflictError, StateError
from streamflow.state import SQLiteStore, Turn, _sql

pytestmark = pytest.mark.real_clock

FIRST_SCHEMA = """
CREATE TABLE streamflow_schema (version bigint NOT NULL);
INSERT INTO streamflow_schema VALUES (1);
CREATE TABLE streamflow_conversations (id text PRIMARY KEY, revision bigint NOT NULL, turns bigint NOT NULL,
  messages bigint NOT NULL, bytes bigint NOT NULL, created_s double precision NOT NULL,
  updated_s double precision NOT NULL, metadata blob NOT NULL);
CREATE TABLE streamflow_turns (conversation text NOT NULL, seq bigint NOT NULL, id text NOT NULL,
  revision bigint NOT NULL, status text NOT NULL, messages bigint NOT NULL, bytes bigint NOT NULL,
  at_s double precision NOT NULL, fingerprint text NOT NULL, body blob NOT NULL,
  PRIMARY KEY (conversation, seq), UNIQUE (conversation, id));
INSERT INTO streamflow_conversations VALUES ('old', 1, 1, 1, 70, 5.0, 5.0, X'7B7D');
INSERT INTO streamflow_turns VALUES ('old', 0, 't1', 1, 'whole', 1, 70, 5.0, '00',
  CAST('[{"type":"message","message":{"role":"user","content":"from long ago"}}]' AS BLOB));
"""
"""A database as the first version of the schema had it, made by hand."""


def turn(id: str = "t1", text: str = "hello") -> Turn:
    return Turn(id, (Message("user", text),))


async def in_database(path: Path, script: str) -> list:
    """Do something to the file behind the store's back, and return what it gives."""

    def work() -> list:
        with sqlite3.connect(path) as connection:
            if script.startswith("SELECT"):
                return connection.execute(script).fetchall()
            connection.executescript(script)
            return []

    return await in_thread(work)


async def test_an_old_database_is_brought_up_to_date(tmp_path):
    """19.10: what is in it stays, and everything of this release works on it."""
    path = tmp_path / "chat.db"
    await in_database(path, FIRST_SCHEMA)
    async with SQLiteStore(path) as store:
        (old,) = (await store.load("old")).turns
        assert (old.id, old.revision, old.messages[0].text) == ("t1", 1, "from long ago")
        assert await store.append("old", turn("t2"), expected=1) == 2
        assert await store.expire("old", 60)
        await store.put("key", 1)

    assert await in_database(path, "SELECT version FROM streamflow_schema") == [(2,)]


async def test_a_newer_database_is_refused_and_not_touched(tmp_path):
    """19.10: an old release must not write what it does not understand."""
    path = tmp_path / "chat.db"
    await in_database(path, FIRST_SCHEMA + "UPDATE streamflow_schema SET version = 99;")
    with pytest.raises(StateError, match=r"schema version 99, newer than 2.*update streamflow-runtime") as caught:
        async with SQLiteStore(path):
            pass

    assert caught.value.code == "schema"
    assert await in_database(path, "SELECT version FROM streamflow_schema") == [(99,)]


async def test_a_migration_that_fails_leaves_the_old_database(tmp_path):
    """19.10: all of it, or nothing."""
    path = tmp_path / "chat.db"
    await in_database(path, FIRST_SCHEMA + "CREATE TABLE streamflow_documents (mine text);")
    with pytest.raises(StateError):
        async with SQLiteStore(path):
            pass

    assert await in_database(path, "SELECT version FROM streamflow_schema") == [(1,)]
    columns = await in_database(path, "SELECT name FROM pragma_table_info('streamflow_conversations')")
    assert ("ttl_s",) not in columns


async def test_its_file_can_be_read_by_its_owner_alone(tmp_path):
    """19.14: conversations are nobody else's business, in the side files of WAL neither."""
    async with SQLiteStore(tmp_path / "chat.db") as store:
        await store.append("c", turn())
        modes = await in_thread(lambda: [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()])
        assert modes == [0o600] * 3


async def test_what_cannot_be_opened_is_a_clear_error(tmp_path):
    """19.14: which store, why, and what to do; the path of the folder is not told."""
    with pytest.raises(StateError, match=r"'chat\.db' cannot be opened.*folder must exist") as caught:
        await SQLiteStore(tmp_path / "nowhere" / "chat.db").__aenter__()
    assert str(tmp_path) not in str(caught.value)
    await in_thread((tmp_path / "text.db").write_text, "this is a letter, and not a database" * 100)
    with pytest.raises(StateError, match="no SQLite database") as caught:
        await SQLiteStore(tmp_path / "text.db").__aenter__()
    assert caught.value.code == "corrupt"


async def test_a_damaged_turn_is_told_without_what_was_said(tmp_path):
    """19.14: `corrupt` names the turn; the other conversations can be read."""
    path = tmp_path / "chat.db"
    async with SQLiteStore(path) as store:
        await store.append("bad", turn(text="a secret"))
        await store.append("good", turn())
        await in_database(
            path, "UPDATE streamflow_turns SET body = CAST('[{\"a secret\":' AS BLOB) WHERE conversation = 'bad';"
        )
        with pytest.raises(StateError, match="turn 't1' of 'bad' cannot be read") as caught:
            await store.load("bad")
        assert caught.value.code == "corrupt"
        assert "secret" not in str(caught.value)
        assert len((await store.load("good")).turns) == 1


async def test_a_store_that_another_process_keeps_busy_says_so(tmp_path):
    """19.2: after `busy_timeout_s`, and what is written then is told as not written."""
    path = tmp_path / "chat.db"
    async with SQLiteStore(path, busy_timeout_s=0.05) as store:
        other = await in_thread(lambda: sqlite3.connect(path, isolation_level=None, check_same_thread=False))
        try:
            await in_thread(other.execute, "BEGIN IMMEDIATE")
            with pytest.raises(StateError, match=r"busy for 0\.05 s") as caught:
                await store.append("c", turn())
            assert (caught.value.code, caught.value.retryable) == ("timeout", True)
            assert (await store.load("c")).turns == ()  # a reader does not wait
            await in_thread(other.execute, "ROLLBACK")
        finally:
            await in_thread(other.close)
        assert await store.append("c", turn()) == 1


async def test_many_stores_open_a_new_file_at_the_same_time(tmp_path):
    """19.10: one of them makes the schema, the others find it."""
    path = tmp_path / "chat.db"

    async def write(number: int) -> None:
        async with SQLiteStore(path, synchronous="normal") as store:
            await store.append("c", turn(f"t{number}"))

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(write, number)
    async with SQLiteStore(path) as store:
        assert len((await store.load("c")).turns) == 6


async def test_natively_cancelled_calls_leave_the_connection_whole(tmp_path, anyio_backend_name):
    """19.4: asyncio gives the caller's place away while its thread still works; the next call waits for that."""
    if anyio_backend_name != "asyncio":
        return
    async with SQLiteStore(tmp_path / "chat.db", synchronous="normal") as store:
        for number in range(20):
            calls = [asyncio.ensure_future(store.append("c", turn(f"t{number}-{one}"))) for one in range(3)]
            for _ in range(number % 5):
                await anyio.lowlevel.checkpoint()
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            await store.append("c", turn(f"t{number}"))
        turns = (await store.load("c")).turns
        assert [one.revision for one in turns] == list(range(1, len(turns) + 1))
        assert {f"t{number}" for number in range(20)} <= {one.id for one in turns}


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Holds the first append inside its transaction, in its thread, until it is set."""
    event, held, append = threading.Event(), [], _sql.append

    def slow(*arguments):
        if not held:
            held.append(True)
            assert event.wait(5)
        return append(*arguments)

    monkeypatch.setattr(_sql, "append", slow)
    return event


async def test_a_cancelled_call_returns_when_it_is_done(tmp_path, gate):
    """19.4: a commit that has begun is finished, and its caller learns its result."""
    async with SQLiteStore(tmp_path / "chat.db") as store:
        revision = None
        async with anyio.create_task_group() as group:

            async def write() -> None:
                nonlocal revision
                revision = await store.append("c", turn())

            group.start_soon(write)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
            gate.set()
        assert revision == 1
        with pytest.raises(StateConflictError):
            await store.append("c", turn("t2"), expected=0)


async def test_a_call_waits_for_the_thread_of_one_that_asyncio_has_cancelled(tmp_path, gate, anyio_backend_name):
    """19.4: two threads in one transaction would commit for each other."""
    if anyio_backend_name != "asyncio":
        return
    async with SQLiteStore(tmp_path / "chat.db") as store:
        first = asyncio.ensure_future(store.append("c", turn("t1")))
        await anyio.sleep(0.05)
        first.cancel()
        await asyncio.wait([first])
        second = asyncio.ensure_future(store.append("c", turn("t2")))
        await anyio.sleep(0.05)
        gate.set()
        assert await second == 2
        assert [one.id for one in (await store.load("c")).turns] == ["t1", "t2"]


WRONG = [
    ({"path": ""}, "path"),
    ({"path": 7}, "path"),
    ({"path": ":memory:"}, "path"),
    ({"path": "x.db", "synchronous": "off"}, "synchronous"),
    ({"path": "x.db", "busy_timeout_s": 0}, "busy_timeout_s"),
]


@pytest.mark.parametrize(("options", "field"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_option_is_refused_by_its_name(options, field):
    """The style: in the constructor."""
    with pytest.raises(ConfigError) as caught:
        SQLiteStore(**options)

    assert caught.value.field == field

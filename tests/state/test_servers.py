"""`RedisStore` and `PostgresStore` against real servers that restart, hang, refuse, and are older or newer."""

from __future__ import annotations

import gc
import random
import traceback
from collections.abc import Iterator
from functools import partial

import anyio
import anyio.to_thread
import pytest
from store_servers import (
    Server,
    free_port,
    postgres_server,
    postgres_url,
    redis_server,
    redis_url,
)

from streamflow import Message
from streamflow.errors import ConfigError, StateConflictError, StateError
from streamflow.state import PostgresStore, RedisStore, StateStore, Turn

pytestmark = [
    pytest.mark.services,
    pytest.mark.real_clock,
    # coredis leaves the memory streams of a connection open that could not be made, or was lost.
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Have those warnings here, and not in a test that knows nothing of them."""
    yield
    gc.collect()


in_thread = anyio.to_thread.run_sync


def turn(id: str = "t1") -> Turn:
    return Turn(id, (Message("user", "q"), Message("assistant", "a")))


@pytest.fixture(params=["redis", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def server(kind: str) -> Server:
    return redis_server() if kind == "redis" else postgres_server()


@pytest.fixture
def make(kind: str, server: Server) -> partial[StateStore]:
    if kind == "redis":
        return partial(RedisStore, redis_url(server), timeout_s=1.0)
    return partial(PostgresStore, postgres_url(server), timeout_s=1.0)


def talk() -> str:
    return f"talk-{random.randrange(2**64)}"


async def test_a_restart_of_the_server_is_met_by_a_new_connection(make, server):
    """19.8: connections that have died meanwhile are nobody's concern, and what was committed is there."""
    async with make() as store:
        name = talk()
        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(store.append, f"{name}-{number}", turn())
        await in_thread(server.restart)
        for number in range(6):
            assert await store.append(f"{name}-{number}", turn("t2"), expected=1) == 2
        await in_thread(server.restart)
        assert await store.put(name, 1, expected=0) == 1


async def test_a_server_that_is_killed_while_turns_are_written_loses_and_doubles_none(make, server):
    """19.3, 19.9: the writer asks again under the turn's id until it has an answer."""
    name, count = talk(), 60
    async with make() as store:

        async def write() -> None:
            for number in range(count):
                while True:
                    try:
                        assert await store.append(name, turn(f"t{number}"), expected=number) == number + 1
                        break
                    except StateError as bad:
                        if not bad.retryable:
                            raise
                        await anyio.sleep(0.02)

        async with anyio.create_task_group() as group:
            group.start_soon(write)
            for _ in range(3):
                await anyio.sleep(random.random() * 0.15)
                await in_thread(server.restart)

        turns = (await store.load(name)).turns
        assert [one.id for one in turns] == [f"t{number}" for number in range(count)]
        assert {len(one.messages) for one in turns} == {2}


async def test_a_server_that_hangs_is_left_in_time(make, server):
    """19.4: `timeout`, retryable; when it goes on, the same call mends what is unknown."""
    async with make() as store:
        name = talk()
        await store.append(name, turn("t0"))
        await in_thread(server.freeze)
        try:
            with anyio.fail_after(10):
                with pytest.raises(StateError) as caught:
                    await store.append(name, turn("t1"), expected=1)
        finally:
            await in_thread(server.thaw)
        assert caught.value.retryable
        assert caught.value.code == "timeout"
        with anyio.fail_after(10):
            while True:
                try:
                    assert await store.append(name, turn("t1"), expected=1) == 2
                    break
                except StateError as bad:
                    if not bad.retryable:
                        raise
        assert [one.id for one in (await store.load(name)).turns] == ["t0", "t1"]


async def test_a_server_that_is_not_there_is_told_as_unavailable(kind):
    """19.14: retryable, with the way out, and without the address, which may hold a password."""
    port = free_port()
    store = (
        RedisStore(f"redis://:the-secret@127.0.0.1:{port}", timeout_s=1)
        if kind == "redis"
        else PostgresStore(f"postgresql://app:the-secret@127.0.0.1:{port}/x", timeout_s=1)
    )
    with pytest.raises(StateError, match="cannot be reached") as caught:
        await store.__aenter__()
    assert (caught.value.code, caught.value.retryable) == ("unavailable", True)
    assert "the-secret" not in "".join(traceback.format_exception(caught.value)) + repr(store)
    with pytest.raises(StateError, match="not open"):
        await store.ping()


@pytest.fixture
def guarded(kind: str) -> Server:
    return redis_server("the-secret") if kind == "redis" else postgres_server()


async def test_a_wrong_password_is_denied_and_not_repeated(kind, guarded):
    """19.14: not retryable; neither the text nor the chain of causes shows it."""
    if kind == "redis":
        store: StateStore = RedisStore(f"redis://:the-wrong-one@127.0.0.1:{guarded.port}")
    else:
        store = PostgresStore(f"postgresql://app:the-wrong-one@127.0.0.1:{guarded.port}/postgres")
    with pytest.raises(StateError, match="refused user") as caught:
        await store.__aenter__()
    assert (caught.value.code, caught.value.retryable) == ("denied", False)
    assert "the-wrong-one" not in "".join(traceback.format_exception(caught.value))


async def test_cancelled_calls_leave_no_connection_with_an_answer_that_nobody_reads(make):
    """19.4: after calls that were cancelled at any moment each call gets its own answer."""
    async with make() as store:
        name = talk()
        for number in range(30):
            with anyio.move_on_after(random.random() * 0.003):
                await store.append(name, turn(f"t{number}"))
            found = await store.find(name, f"t{number}")
            assert found is None or found.id == f"t{number}"
            await store.append(name, turn(f"t{number}"))
        assert len((await store.load(name)).turns) == 30


async def on_postgres(statement: str, database: str = "postgres") -> list:
    import psycopg

    def work() -> list:
        with psycopg.connect(postgres_url(postgres_server(), database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    return await in_thread(work)


@pytest.fixture
async def database() -> str:
    name = f"chat_{random.randrange(2**64)}"
    await on_postgres(f"CREATE DATABASE {name}")
    return name


async def test_an_old_postgres_database_is_brought_up_to_date_and_a_newer_one_refused(database):
    """19.10: under a lock, in one transaction."""
    for statement in (
        "CREATE TABLE streamflow_schema (version bigint NOT NULL)",
        "INSERT INTO streamflow_schema VALUES (1)",
        'CREATE TABLE streamflow_conversations (id text COLLATE "C" PRIMARY KEY, revision bigint NOT NULL, turns bigint NOT NULL, '
        "messages bigint NOT NULL, bytes bigint NOT NULL, created_s double precision NOT NULL, "
        "updated_s double precision NOT NULL, metadata bytea NOT NULL)",
        'CREATE TABLE streamflow_turns (conversation text COLLATE "C" NOT NULL, seq bigint NOT NULL, id text COLLATE "C" NOT NULL, '
        "revision bigint NOT NULL, status text NOT NULL, messages bigint NOT NULL, bytes bigint NOT NULL, "
        "at_s double precision NOT NULL, fingerprint text NOT NULL, body bytea NOT NULL, "
        "PRIMARY KEY (conversation, seq), UNIQUE (conversation, id))",
        "INSERT INTO streamflow_conversations VALUES ('old', 0, 0, 0, 0, 5.0, 5.0, '{}')",
    ):
        await on_postgres(statement, database)
    dsn = postgres_url(postgres_server(), database)
    async with PostgresStore(dsn) as store:
        assert await store.append("old", turn(), expected=0) == 1
        assert await store.expire("old", 60)
    assert await on_postgres("SELECT version FROM streamflow_schema", database) == [(2,)]
    await on_postgres("UPDATE streamflow_schema SET version = 99", database)
    with pytest.raises(StateError, match="newer than 2") as caught:
        await PostgresStore(dsn).__aenter__()
    assert caught.value.code == "schema"


async def test_many_stores_make_the_schema_at_the_same_time(database):
    """19.10: one of them makes it, the others find it."""

    async def write(number: int) -> None:
        async with PostgresStore(postgres_url(postgres_server(), database)) as store:
            await store.append("c", turn(f"t{number}"))

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(write, number)
    async with PostgresStore(postgres_url(postgres_server(), database)) as store:
        assert len((await store.load("c")).turns) == 6


async def test_values_are_never_part_of_a_statement(make):
    """19.14: what looks like SQL, a script or a pattern is an id, a text, a prefix."""
    async with make() as store:
        for nasty in ("'; DROP TABLE streamflow_turns; --", "%s %(x)s ? {0}", "*[a-z]?", "a:b:{c}", "\\", '"'):
            name = f"{nasty}{talk()}"
            await store.append(name, Turn(nasty, (Message("user", nasty),)))
            assert (await store.find(name, nasty)) is not None
            assert [one.id for one in (await store.conversations(prefix=name)).conversations] == [name]
            with pytest.raises(StateConflictError):
                await store.append(name, turn("t2"), expected=5)


WRONG = [
    (RedisStore, {"url": "http://localhost"}, "url"),
    (RedisStore, {"url": "redis://localhost", "prefix": ""}, "prefix"),
    (RedisStore, {"url": "redis://localhost", "max_connections": 0}, "max_connections"),
    (PostgresStore, {"dsn": "the-secret is no dsn"}, "dsn"),
    (PostgresStore, {"dsn": "postgresql://localhost", "timeout_s": 0}, "timeout_s"),
]


@pytest.mark.parametrize(("store", "options", "field"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_option_is_refused_by_its_name(store, options, field):
    """The style: in the constructor; and 19.14: a connection string is not repeated."""
    with pytest.raises(ConfigError) as caught:
        store(**options)

    assert caught.value.field == field
    assert "the-secret" not in "".join(traceback.format_exception(caught.value))

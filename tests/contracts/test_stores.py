"""Every store keeps the rules of `check_store()`; and the rules find stores that do not."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import pytest
from store_servers import postgres_server, postgres_url, redis_server, redis_url

from streamflow.state import MemoryStore, PostgresStore, RedisStore, SQLiteStore, StateStore
from streamflow.testing import ConformanceError, check_store, rules_of


def in_memory(kind: type[MemoryStore] = MemoryStore):
    """Return a factory that gives one object for each kind of store that it is asked for."""
    made: dict[str, StateStore] = {}

    def factory(**given) -> StateStore:
        return made.setdefault(repr(given), kind(clock=anyio.current_time, **given))

    return factory


def test_the_memory_store_keeps_the_rules():
    """semantics 19: all rules, but that of what outlives the object."""
    report = check_store(in_memory(), durable=False)

    assert {one.rule.id for one in report.skipped} == {"ST-16"}
    assert len(report.passed) == 2 * (len(rules_of("store")) - 1)


@pytest.mark.slow
def test_the_sqlite_store_keeps_the_rules(tmp_path: Path):
    """semantics 19: all rules, in a file."""
    report = check_store(lambda **given: SQLiteStore(tmp_path / "chat.db", synchronous="normal", **given), clock="real")

    assert not report.skipped


@pytest.mark.services
def test_the_redis_store_keeps_the_rules():
    """semantics 19: all rules, on a real server."""
    url = redis_url(redis_server())

    assert not check_store(lambda **given: RedisStore(url, **given), clock="real").skipped


@pytest.mark.services
def test_the_postgres_store_keeps_the_rules():
    """semantics 19: all rules, on a real server."""
    dsn = postgres_url(postgres_server())

    assert not check_store(lambda **given: PostgresStore(dsn, **given), clock="real").skipped


class Careless(MemoryStore):
    """Does not look at the revision."""

    async def _append(self, id, given, expected):
        return await super()._append(id, given, None)


class Racing(MemoryStore):
    """Looks at the revision, and writes a moment later."""

    async def _append(self, id, given, expected):
        head = await self._info(id)
        if expected is not None and head is not None:
            await super()._append(id, given, expected)
        await anyio.lowlevel.checkpoint()
        return await super()._append(id, given, None)


class Forgetful(MemoryStore):
    """Does not know a turn again."""

    async def _append(self, id, given, expected):
        talk = self._talks.get(id)
        if talk is not None:
            self._talks[id] = talk._replace(records=tuple(one._replace(id=one.id + " ") for one in talk.records))
        return await super()._append(id, given, expected)


class Half(MemoryStore):
    """Stores a turn in two steps."""

    async def append(self, conversation, turn, *, expected=None):
        await super().append(conversation, msgspec.structs.replace(turn, messages=turn.messages[:1], status="cut"))
        return await super().append(conversation, turn)


class Blind(MemoryStore):
    """Finds no turn by its id."""

    async def _find(self, id, turn):
        return None


class Unsorted(MemoryStore):
    """Lists in the order of making."""

    async def _page(self, prefix, after, limit):
        return [(id, talk.head) for id, talk in self._talks.items() if id.startswith(prefix)][:limit]


class Immortal(MemoryStore):
    """Forgets nothing."""

    def _talk(self, id):
        return self._talks.get(id)


class Open(MemoryStore):
    """Answers when it is closed."""

    async def __aexit__(self, *error):
        pass


BROKEN = {
    Careless: "ST-03",
    Racing: "ST-04",
    Forgetful: "ST-05",
    Half: "ST-07",
    Blind: "ST-05",
    Unsorted: "ST-12",
    Immortal: "ST-14",
    Open: "ST-15",
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_store_that_breaks_a_rule_is_found(kind: type[MemoryStore]):
    """`check_store`: the error names the rule, what it promises, and what shows it."""
    with pytest.raises(ConformanceError) as caught:
        check_store(in_memory(kind), durable=False, rules=[BROKEN[kind]])

    assert re.search(rf"{BROKEN[kind]} \(required, semantics 19\.\d\): ", str(caught.value))
    assert "found: " in str(caught.value)

"""How many turns a second does a store commit, and load again, beside the same rows in a bare `sqlite3` loop?

A turn is a question of 250 letters and an answer of 2,000. Each commit says the revision that it has seen. Then the last 20
messages are loaded, as often. Redis and PostgreSQL are measured where `STREAMFLOW_REDIS` and `STREAMFLOW_POSTGRES` say where
there is a server.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from streamflow import Message
from streamflow.state import MemoryStore, PostgresStore, RedisStore, SQLiteStore, StateStore, Turn

from ._cli import main
from ._harness import Case, Results, Sample, Scale, has_backend, run_on
from ._report import Goal, Report, Table

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (3, 1)

QUESTION, ANSWER = "q" * 250, "a" * 2_000
RAW = "sqlite3, no store"
STORES: dict[str, Callable[[Path], StateStore]] = {
    "MemoryStore": lambda folder: MemoryStore(),
    "SQLiteStore, full": lambda folder: SQLiteStore(folder / "chat.db"),
    "SQLiteStore, normal": lambda folder: SQLiteStore(folder / "chat.db", synchronous="normal"),
    "RedisStore": lambda folder: RedisStore(os.environ["STREAMFLOW_REDIS"]),
    "PostgresStore": lambda folder: PostgresStore(os.environ["STREAMFLOW_POSTGRES"]),
}
NEEDS = {"RedisStore": "STREAMFLOW_REDIS", "PostgresStore": "STREAMFLOW_POSTGRES"}


def cases(scale: Scale) -> list[Case]:
    """Return every store on each event loop, and the bare loop in both ways of writing."""
    options = {"turns": scale.size(500, 100)}
    return [
        *(Case(f"{RAW}, {how}", RAW, "none", {**options, "how": how}) for how in ("full", "normal")),
        *(
            Case(f"{name} / {backend}", name, backend, options)
            for name in STORES
            for backend in ("asyncio", "trio")
            if has_backend(backend) and (name not in NEEDS or NEEDS[name] in os.environ)
        ),
    ]


def measure(case: Case) -> Sample:
    """Commit and load; return how many of both there were in a second."""
    turns = case.options["turns"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if case.peer == RAW:
            return bare(folder, turns, case.options["how"])
        sample: Sample = {}

        async def work() -> None:
            talk = uuid.uuid4().hex
            async with STORES[case.peer](folder) as store:
                began = time.perf_counter()
                for number in range(turns):
                    messages = (Message("user", QUESTION), Message("assistant", ANSWER))
                    await store.append(talk, Turn(f"t{number}", messages), expected=number)
                between = time.perf_counter()
                for _ in range(turns):
                    await store.load(talk, last=20)
                ended = time.perf_counter()
                sample.update(commits=turns / (between - began), loads=turns / (ended - between))
                await store.delete(talk)

        run_on(case.backend, work)
        return sample


def bare(folder: Path, turns: int, how: str) -> Sample:
    """Do what a store does for each turn, with nothing around it: one row, one transaction, JSON."""
    connection = sqlite3.connect(folder / "chat.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {how}")
    connection.execute("CREATE TABLE turns (seq INTEGER PRIMARY KEY, body BLOB)")
    began = time.perf_counter()
    for number in range(turns):
        body = json.dumps([{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}])
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO turns VALUES (?, ?)", (number, body.encode()))
        connection.execute("COMMIT")
    between = time.perf_counter()
    for _ in range(turns):
        for (body,) in connection.execute("SELECT body FROM turns ORDER BY seq DESC LIMIT 10").fetchall():
            json.loads(body)
    ended = time.perf_counter()
    connection.close()
    return {"commits": turns / (between - began), "loads": turns / (ended - between)}


def report(results: Results) -> Report:
    """One line for each store."""
    rows: list[tuple[str, ...]] = []
    goals: list[Goal] = []
    for label, case in results.cases.items():
        name = label if case.peer == RAW else case.peer
        rates = (f"{results.median(label, metric):,.0f}" for metric in ("commits", "loads"))
        rows.append((name, case.backend, *rates))
        slower = results.ratio(f"{RAW}, full", label, "commits")
        if case.peer == "SQLiteStore, full":
            goals.append(Goal(f"a commit on {case.backend}: SQLiteStore ÷ sqlite3", slower, 3))
    header = ("store", "loop", "commits per second", "loads of 20 messages per second")
    return Report([Table("Turns of 2,250 letters, one after the other", header, rows)], goals)


if __name__ == "__main__":
    sys.exit(main(["state", *sys.argv[1:]]))

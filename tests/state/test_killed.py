"""Nothing that was committed is lost, and nothing is half there, when the process that writes is killed."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import pytest
from store_servers import postgres_server, postgres_url, redis_server, redis_url

from streamflow.state import PostgresStore, RedisStore, SQLiteStore, StateStore, Turn, check_history

pytestmark = pytest.mark.services

WRITER = Path(__file__).parents[1] / "servers" / "turn_writer.py"
TURNS = 200
KINDS = {"sqlite": SQLiteStore, "redis": RedisStore, "postgres": PostgresStore}


def place_of(kind: str, folder: Path) -> str:
    if kind == "sqlite":
        return str(folder / "chat.db")
    return redis_url(redis_server()) + "/3" if kind == "redis" else postgres_url(postgres_server())


def write_until_killed(kind: str, place: str, chance: random.Random) -> list[int]:
    """Let a process write, kill it at a moment that nobody knows, and return the turns whose commit it has told."""
    command = [sys.executable, str(WRITER), kind, place, str(TURNS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = []
        for _ in range(chance.randrange(60)):
            line = writer.stdout.readline()
            if not line:
                break
            told.append(int(line))
        with suppress(subprocess.TimeoutExpired):
            writer.wait(chance.random() * 0.004)
        writer.kill()
        told += [int(line) for line in writer.stdout.read().splitlines()]
    return told


async def turns_of(make: partial[StateStore]) -> tuple[Turn, ...]:
    async with make() as store:
        return (await store.load("c")).turns


async def forget(make: partial[StateStore]) -> None:
    async with make() as store:
        await store.delete("c")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(120)
def test_a_writer_that_is_killed_has_lost_no_committed_turn_and_left_no_half_one(kind: str, tmp_path: Path):
    """19.9: SIGKILL at random moments of 200 turns; what was told as committed is there, whole, in order, once."""
    place, seed = place_of(kind, tmp_path), random.randrange(2**32)
    make, chance = partial(KINDS[kind], place), random.Random(seed)
    anyio.run(forget, make)
    committed = kills = 0
    while committed < TURNS:
        told = write_until_killed(kind, place, chance)
        kills += 1
        turns = anyio.run(turns_of, make)

        whole = [turn for turn in turns if turn.status == "whole"]
        assert [turn.id for turn in turns] == [f"t{number}" for number in range(len(turns))], f"seed {seed}"
        assert turns[: len(whole)] == tuple(whole), f"seed {seed}: only the newest turn can be cut"
        assert [len(turn.messages) for turn in turns] == [3] * len(whole) + [1] * (len(turns) - len(whole)), (
            f"seed {seed}"
        )
        assert told == list(range(committed, committed + len(told))), f"seed {seed}"
        # The last commit may have been made and not told.
        assert len(told) <= len(whole) - committed <= len(told) + 1, f"seed {seed}: a committed turn is lost"
        for turn in turns:
            check_history(turn.messages)
        committed = len(whole)
    assert kills > 3

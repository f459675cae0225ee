"""Writes turns into a store until it has so many, and says which are committed: `python turn_writer.py sqlite chat.db 200`.

It goes on behind what is there. Each turn is stored twice, as a saving stage in log mode does: cut, with its first message, and
then whole, with three. After the second commit it prints the turn's number. Made to be killed at any moment.
"""

from __future__ import annotations

import sys

import anyio

from streamflow import Message
from streamflow.state import PostgresStore, RedisStore, SQLiteStore, Turn

STORES = {"sqlite": SQLiteStore, "redis": RedisStore, "postgres": PostgresStore}


def turn(number: int, messages: int) -> Turn:
    said = tuple(Message("user" if place == 0 else "assistant", f"{number}/{place} " * 50) for place in range(messages))
    return Turn(f"t{number}", said, "whole" if messages == 3 else "cut")


async def main(kind: str, place: str, count: int) -> None:
    async with STORES[kind](place) as store:
        revision = (await store.load("c", last=1)).revision
        turns = (await store.load("c")).turns
        number = sum(one.status == "whole" for one in turns)
        while number < count:
            revision = await store.append("c", turn(number, 1), expected=revision)
            revision = await store.append("c", turn(number, 3), expected=revision)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            number += 1


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))

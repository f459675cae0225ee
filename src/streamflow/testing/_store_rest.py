"""Rules of what else a store keeps: documents, lists, copies, times to live, and its own life.

Above: `_check_store`, which loads them. Below: `_store_case`.
"""

from __future__ import annotations

from typing import Final

import anyio

from ..elements import JsonValue, thaw
from ..errors import StateConflictError, StateError
from ._conformance import rule
from ._store_case import StoreTrial, fresh, opened, turn_of

__all__: list[str] = []

_VALUES: Final[tuple[JsonValue, ...]] = (
    None,
    True,
    -(2**63),
    0.1,
    "ü \x00 🌍",
    [],
    {"a": [1, {"b": None}], "": "empty key"},
)


@rule("ST-11", "A document comes back as it was, and is compared and set.", holds="19.6", subject="store")
async def _documents(trial: StoreTrial) -> None:
    async with opened(trial) as store:
        for value in _VALUES:
            trial.given(f"{value!r:.60}")
            key = fresh("paper")
            await store.put(key, value, expected=0)
            found = await store.get(key)
            trial.require(found is not None and thaw(found.value) == value, f"came back as {found!r:.200}")
        key = fresh("paper")
        trial.given("two writers that have both seen nothing")
        trial.require(await store.put(key, 1, expected=0) == 1, "the first one's revision is not 1")
        for expected in (0, 2):
            try:
                await store.put(key, 2, expected=expected)
            except StateConflictError as error:
                trial.require(error.actual == 1, f"was told revision {error.actual}")
            else:
                trial.require(False, f"wrote over revision 1, though it had seen {expected}")
        trial.require(await store.put(key, 3, expected=1) == 2, "the second revision is not 2")
        trial.require(await store.put(key, 4) == 3, "who does not care was not let write")
        trial.given("a removal")
        try:
            await store.remove(key, expected=1)
        except StateConflictError:
            pass
        else:
            trial.require(False, "a removal that had seen an older revision was made")
        removed = (await store.remove(key, expected=3), await store.get(key), await store.remove(key))
        trial.require(removed == (True, None, False), f"it gave {removed}")


@rule("ST-12", "A list has each conversation once, by id, page by page.", holds="19.7", subject="store")
async def _pages(trial: StoreTrial) -> None:
    async with opened(trial) as store:
        prefix = fresh("user") + "/"
        ids = sorted(prefix + rest for rest in ("a", "A", "b", "ä", "z", "Z", "10", "9", "🌍", "\uffee", "ab"))
        for id in reversed(ids):
            await store.create(id, metadata={"name": id})
        await store.append(prefix[:-1] + "0", turn_of("t"))  # not below the prefix, and behind it
        for limit in (1, 3, len(ids), 100):
            trial.given(f"{len(ids)} conversations in pages of {limit}")
            found: list[str] = []
            after: str | None = None
            while True:
                page = await store.conversations(prefix=prefix, after=after, limit=limit)
                found += [one.id for one in page.conversations]
                trial.require(len(page.conversations) <= limit, f"a page had {len(page.conversations)}")
                trial.require(all(one.metadata["name"] == one.id for one in page.conversations), "wrong metadata")
                after = page.next
                if after is None or len(found) > len(ids):
                    break
            trial.require(found == ids, f"there came {found}, not {ids}")
        trial.given("a prefix that nothing has")
        trial.require((await store.conversations(prefix=fresh())).conversations == (), "something came")


@rule(
    "ST-13",
    "A conversation can be made, forked and deleted, and begins anew after that.",
    holds="19.7",
    subject="store",
)
async def _conversations(trial: StoreTrial) -> None:
    async with opened(trial) as store:
        talk, copy = fresh(), fresh()
        trial.given("a conversation that is made twice")
        made = await store.create(talk, metadata={"a": 1})
        trial.require((made.revision, made.turns, dict(made.metadata)) == (0, 0, {"a": 1}), f"it was made as {made}")
        try:
            await store.create(talk)
        except StateConflictError:
            pass
        else:
            trial.require(False, "it was made again")
        for number in range(1, 4):
            await store.append(talk, turn_of(f"t{number}", "q", "a"), expected=number - 1)
        trial.given("a fork at revision 2 of 3")
        forked = await store.fork(talk, copy, at=2)
        trial.require((forked.revision, forked.turns, forked.messages) == (2, 2, 4), f"it is {forked}")
        await store.append(copy, turn_of("other"), expected=2)
        ids = [turn.id for turn in (await store.load(copy)).turns]
        trial.require(ids == ["t1", "t2", "other"], f"it has {ids}")
        trial.require((await store.load(talk)).revision == 3, "the fork changed its source")
        trial.given("a fork of what is not there, and one onto what is there")
        try:
            await store.fork(fresh(), fresh())
        except StateError as error:
            trial.require(error.code == "not_found", f"the code was {error.code}")
        else:
            trial.require(False, "nothing was forked")
        try:
            await store.fork(talk, copy)
        except StateConflictError:
            pass
        else:
            trial.require(False, "a conversation was forked onto another one")
        trial.given("a deletion")
        try:
            await store.delete(talk, expected=1)
        except StateConflictError:
            pass
        else:
            trial.require(False, "a deletion that had seen an older revision was made")
        gone = (
            await store.delete(talk),
            await store.delete(talk),
            await store.info(talk),
            (await store.load(talk)).turns,
        )
        trial.require(gone == (True, False, None, ()), f"it gave {gone}")
        trial.require(await store.append(talk, turn_of("t1"), expected=0) == 1, "it did not begin anew")


@rule("ST-14", "What has expired is gone, everywhere, and what is used lives on.", holds="19.7", subject="store")
async def _expiry(trial: StoreTrial) -> None:
    ttl_s = trial.subject.expiry_s
    try:
        store = trial.subject.factory(ttl_s=ttl_s)
    except TypeError:
        trial.skip("the factory takes no ttl_s=")
    async with store:
        prefix = fresh() + "/"
        gone, used, kept, key = prefix + "gone", prefix + "used", prefix + "kept", fresh("paper")
        trial.given(f"a time to live of {ttl_s:g} s")
        for talk in (gone, used, kept):
            await store.append(talk, turn_of("t1"))
        await store.put(key, 1)
        trial.require(await store.expire(kept, None), "expire() did not find it")
        trial.require(not await store.expire(prefix + "none", 1.0), "expire() found what is not there")
        await anyio.sleep(ttl_s * 0.6)
        await store.append(used, turn_of("t2"))
        await anyio.sleep(ttl_s * 0.6)
        alive = [one.id for one in (await store.conversations(prefix=prefix)).conversations]
        trial.require(alive == [kept, used], f"alive are {alive}")
        left = (
            await store.info(gone),
            (await store.load(gone)).turns,
            await store.find(gone, "t1"),
            await store.get(key),
        )
        trial.require(left == (None, (), None, None), f"of what has expired there is {left}")
        trial.require(await store.append(gone, turn_of("t1", "new"), expected=0) == 1, "it did not begin anew")
        trial.require(await store.put(key, 2, expected=0) == 1, "the document did not begin anew")


@rule("ST-15", "A store is used between its opening and its end, and nowhere else.", holds="19.8", subject="store")
async def _life(trial: StoreTrial) -> None:
    store = trial.subject.factory()
    talk = fresh()
    trial.given("a call before the opening")
    await _closed(trial, store.load(talk))
    async with store:
        await store.ping()
        await store.append(talk, turn_of("t1"))
        trial.given("a second opening")
        try:
            await store.__aenter__()
        except StateError:
            pass
        else:
            trial.require(False, "an open store was opened again")
    trial.given("a call after the end")
    await _closed(trial, store.append(talk, turn_of("t2")))
    await _closed(trial, store.ping())
    trial.given("a second end, and a second opening of the same object")
    await store.__aexit__(None, None, None)
    async with store:
        ids = [turn.id for turn in (await store.load(talk)).turns]
        trial.require(ids == ["t1"], f"there are {ids}")


@rule("ST-16", "What was committed is there when the data is opened again.", holds="19.8", subject="store")
async def _durable(trial: StoreTrial) -> None:
    if not trial.subject.durable:
        trial.skip("it keeps nothing beyond its object")
    talk, key = fresh(), fresh("paper")
    async with opened(trial) as store:
        await store.append(talk, turn_of("t1", "q", "a"))
        await store.put(key, {"a": 1})
        before = (await store.load(talk), await store.info(talk), await store.get(key))
    trial.given("another object over the same data")
    async with opened(trial) as store:
        after = (await store.load(talk), await store.info(talk), await store.get(key))
        trial.require(after == before, f"there is {after!r:.300}, there was {before!r:.300}")
        async with opened(trial) as other:
            trial.given("two objects over the same data at a time")
            await store.append(talk, turn_of("t2"), expected=1)
            try:
                await other.append(talk, turn_of("t3"), expected=1)
            except StateConflictError as error:
                trial.require(error.winner == "t2", f"was told that {error.winner!r} won")
            else:
                trial.require(False, "the second one wrote over the first one")


async def _closed(trial: StoreTrial, call: object) -> None:
    try:
        await call  # type: ignore[misc]
    except StateError as error:
        trial.require(error.code == "closed", f"the code was {error.code}")
        return
    trial.require(False, "it was not refused")

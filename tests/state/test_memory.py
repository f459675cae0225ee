"""`MemoryStore`: its bounds, and what becomes of what does not fit."""

from __future__ import annotations

import anyio
import pytest

from streamflow import Message
from streamflow.errors import ConfigError, StateError, StateLimitError
from streamflow.state import MemoryStore, StoreLimits, Turn


def turn(id: str, size: int = 10) -> Turn:
    return Turn(id, (Message("user", "x" * size),))


async def test_a_full_store_refuses_what_is_new_and_takes_it_when_there_is_room():
    """19.5: nothing is forgotten silently; the error names the limit and three ways out."""
    async with MemoryStore(max_conversations=2) as store:
        await store.append("a", turn("t"))
        await store.append("b", turn("t"))
        with pytest.raises(StateLimitError, match="max_conversations=2; delete some") as caught:
            await store.append("c", turn("t"))
        assert caught.value.limit == "max_conversations"
        assert (await store.info("c"), len(store)) == (None, 2)
        await store.append("a", turn("u"))
        await store.delete("b")
        await store.append("c", turn("t"))


async def test_a_store_that_forgets_forgets_what_was_used_longest_ago():
    """19.5: declared as `when_full='forget'`; to load is to use."""
    async with MemoryStore(max_conversations=2, when_full="forget") as store:
        await store.append("a", turn("t"))
        await store.append("b", turn("t"))
        await store.load("a")
        await store.append("c", turn("t"))

        found = [one.id for one in (await store.conversations()).conversations]
        assert found == ["a", "c"]


@pytest.mark.parametrize("when_full", ["error", "forget"])
async def test_the_bytes_of_all_are_bounded(when_full):
    """19.5: what is there never weighs more than `max_bytes`, and one thing that alone is heavier is refused."""
    async with MemoryStore(max_bytes=5_000, when_full=when_full) as store:
        refused = 0
        for number in range(30):
            try:
                await store.append(f"c{number % 7}", turn(f"t{number}", 300))
                await store.put(f"p{number}", "x" * 100)
            except StateLimitError:
                refused += 1
            assert 0 < store.size_bytes <= 5_000
        assert (refused > 0) == (when_full == "error")
        with pytest.raises(StateLimitError, match="max_bytes"):
            await store.put("huge", "x" * 6_000)
        for page in (await store.conversations()).conversations:
            await store.delete(page.id)
        for number in range(30):
            await store.remove(f"p{number}")
        assert store.size_bytes == 0


async def test_what_has_expired_makes_room():
    """19.7: a full store looks for what may go before it refuses."""
    async with MemoryStore(max_conversations=1, ttl_s=60, clock=anyio.current_time) as store:
        await store.append("a", turn("t"))
        await anyio.sleep(61)
        await store.append("b", turn("t"))
        assert len(store) == 1


def test_a_store_is_used_in_the_event_loop_that_has_opened_it():
    """19.8: elsewhere its locks and threads would wait for nothing; the error says what to give the stages instead."""
    store = MemoryStore()
    anyio.run(store.__aenter__)
    with pytest.raises(StateError, match="another event loop; give the stages a Resource"):
        anyio.run(store.ping)


WRONG = [
    ({"max_conversations": 0}, "max_conversations"),
    ({"max_bytes": 1.5}, "max_bytes"),
    ({"when_full": "drop"}, "when_full"),
    ({"ttl_s": -1}, "ttl_s"),
    ({"limits": StoreLimits(max_page=0)}, "limits.max_page"),
]


@pytest.mark.parametrize(("options", "field"), WRONG, ids=[field for _, field in WRONG])
def test_a_wrong_option_is_refused_by_its_name(options, field):
    """The style: in the constructor."""
    with pytest.raises(ConfigError) as caught:
        MemoryStore(**options)

    assert caught.value.field == field

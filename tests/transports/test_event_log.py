"""The log of a stream's events: bounds, cursors, and what coming back finds."""

from __future__ import annotations

import sys
from itertools import islice

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.errors import ConfigError
from streamflow.transports import EventLog, ServerEvent, delta_event, json_event
from streamflow.transports._log import parse_event_id


def texts(*given: str) -> list[ServerEvent]:
    return [delta_event('"', text, '"') for text in given]


async def test_it_keeps_the_newest_within_its_bounds() -> None:
    """semantics 23.7: memory is bounded by events and by bytes, and by age when the next event comes."""
    few, small, young = EventLog(max_events=3), EventLog(max_bytes=1100), EventLog(max_age_s=10)
    for log in (few, small, young):
        log.append(texts("a", "b", "c"))
        await anyio.sleep(6)
        log.append(texts("d", "e"))
    await anyio.sleep(6)
    young.append(texts("f"))

    assert repr(few).endswith(" 3–5>")
    assert [log.last - len(log) for log in (few, small, young)] == [2, 2, 3]
    assert [few.has_all_after(seq) for seq in (0, 1, 2, 5, 6)] == [False, False, True, True, False]


async def test_what_it_says_it_takes_is_what_it_takes() -> None:
    """semantics 23.7: `max_bytes` is memory, not letters."""
    log = EventLog(max_events=100_000, max_bytes=1 << 30)
    log.append(json_event({"number": number}) for number in range(5000))
    kept = sum(
        sys.getsizeof(one) + sum(map(sys.getsizeof, (one[0], one[0].data, one[1], one[2])))
        for one in log._events.values()
    )

    assert kept + sys.getsizeof(log._events) < log.bytes


async def test_nothing_is_dropped_that_somebody_connected_has_not_read() -> None:
    """semantics 23.7: who writes waits for the slowest reader, until it has read or gone."""
    log = EventLog(max_events=2)
    fast, slow = log.open_reader(), log.open_reader()
    log.append(texts("a", "b", "c"))
    assert len(fast.take(merge=False)) == 3
    assert not log.has_room

    async def later() -> None:
        await anyio.sleep(5)
        slow.take(1)
        await anyio.sleep(5)
        slow.close()
        slow.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later)
        await log.wait_for_room()
        assert anyio.current_time() == 5
        log.append(texts("d"))
        await log.wait_for_room()
        assert anyio.current_time() == 10
    assert log.has_all_after(2)
    assert not log.has_all_after(1)


async def test_without_replay_nothing_is_kept_that_was_read() -> None:
    """semantics 23.5: who cannot come back needs no past."""
    log = EventLog(replay=False)
    reader = log.open_reader()
    log.append(texts("a", "b"))
    assert len(log) == 2
    reader.take()

    assert (len(log), log.bytes, log.last) == (0, 0, 2)


@given(
    given=st.lists(st.sampled_from(["a", "bb", "|"]), max_size=30),
    steps=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 20), st.booleans()), max_size=20),
)
async def test_readers_that_come_and_go_read_every_event_once(
    given: list[str], steps: list[tuple[int, int, bool]]
) -> None:
    """semantics 23.7: from wherever a reader goes on, merged or not, it has all that comes behind, once."""
    log, last, heard = EventLog(), 0, ""
    events = iter(ServerEvent("|") if text == "|" else delta_event("<", text, ">") for text in given)
    reader = log.open_reader()
    for count, size, comes_back in [*steps, *[(30, 1000, False)] * 2]:
        log.append(islice(events, count))
        taken = reader.take(size)
        for one in taken:
            assert one.seq > last
            last, heard = one.seq, heard + one.event.data.strip("<>")
        if comes_back:
            reader.close()
            reader = log.open_reader(after=last)
        elif taken:
            again = log.open_reader(after=taken[0].seq)  # another one, that stands elsewhere
            assert [one.seq for one in again.take(size, merge=False)][:1] in ([], [taken[0].seq + 1])
            again.close()

    reader.close()
    log.append(texts("late"))
    assert reader.take() == []
    assert heard == "".join(given)
    assert last == len(given)


async def test_a_reader_waits_for_the_next_event_or_the_end() -> None:
    """`LogReader.wait()`: neither is missed."""
    log = EventLog()
    reader = log.open_reader()

    async def write() -> None:
        for _ in range(2):
            await anyio.sleep(5)
            log.append(texts("a"))
        await anyio.sleep(5)
        log.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        times = []
        while not reader.is_done:
            reader.take()
            await reader.wait()
            times.append(anyio.current_time())
    assert times == [5, 10, 15]


async def test_a_place_that_is_not_there_is_refused() -> None:
    """`EventLog.open_reader()`: never a gap."""
    log = EventLog(max_events=1)
    log.append(texts("a", "b", "c"))
    for after in (-1, 0, 1, 4):
        with pytest.raises(ConfigError, match="after"):
            log.open_reader(after)


def test_a_limit_must_be_positive() -> None:
    """`EventLog`: at once and by name."""
    for limit in ("max_events", "max_bytes", "max_age_s"):
        with pytest.raises(ConfigError) as caught:
            EventLog(**{limit: 0})
        assert caught.value.field == limit


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ab_-9:12", ("ab_-9", 12)),
        ("a:0", ("a", 0)),
        ("a:\u0662", None),
        ("a:1\n", None),
        (":", None),
        ("a:-1", None),
        ("", None),
    ],
)
def test_an_id_is_read_only_as_it_was_written(text: str, said: tuple[str, int] | None) -> None:
    """semantics 23.8: digits and letters of ASCII, bounded."""
    assert parse_event_id(text) == said

"""The queue between a run that never waits and a listener that may: bounded, in order, and honest about what is missing."""

from __future__ import annotations

import logging
from typing import get_args

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from hypothesis import example, given
from hypothesis import strategies as st

from streamflow.errors import ChannelBusyError, ConfigError
from streamflow.observe import Event, EventBus, EventGap, PipelineCompleted
from streamflow.runtime._event_queue import EventQueue, deliver
from streamflow.testing import CancelMode, cancel_sweep


def event(number: int) -> Event:
    return Event(name=str(number), run_id="run-1", at_s=float(number))


def shown(one: Event) -> str:
    return f"gap of {one.missed}" if isinstance(one, EventGap) else one.name


def covered(read: list[Event]) -> int:
    """Return how many events were read or told missing, having checked that each stands in its place and no gap beside another."""
    place, after_gap = 0, False
    for one in read:
        assert one.at_s == place, read
        assert not (after_gap and isinstance(one, EventGap)), read
        after_gap = isinstance(one, EventGap)
        place += one.missed if isinstance(one, EventGap) else 1
    return place


async def rest_of(queue: EventQueue) -> list[str]:
    with anyio.fail_after(5):
        return [shown(one) async for one in queue]


async def test_events_arrive_in_order_and_then_the_end() -> None:
    """semantics 5.12: closing ends the queue after what is in it; again and again."""
    queue = EventQueue(3)
    for number in range(3):
        queue.publish(event(number))
    queue.close()
    queue.close()

    assert await rest_of(queue) == ["0", "1", "2"]
    assert await rest_of(queue) == []


async def test_an_empty_queue_ends_at_once_when_it_is_closed() -> None:
    """semantics 5.12: also for a reader that was there first."""
    queue, ended = EventQueue(1), anyio.Event()

    async def read() -> None:
        assert await rest_of(queue) == []
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await wait_all_tasks_blocked()
        assert not ended.is_set()
        queue.close()
    assert ended.is_set()


async def test_what_is_published_after_the_end_is_nothing() -> None:
    """`EventQueue.publish`: never raises, and what comes too late is no gap."""
    queue = EventQueue(1)
    queue.publish(event(0))
    queue.close()
    queue.publish(event(1))

    assert await rest_of(queue) == ["0"]


async def test_what_finds_no_room_is_one_gap_in_its_place() -> None:
    """semantics 5.12: overflow is one counted gap; it says when the first event was missed, and of which run."""
    queue = EventQueue(2)
    for number in range(5):
        queue.publish(event(number))
    read = [await anext(queue)]
    queue.publish(event(5))
    queue.close()
    read += [one async for one in queue]

    assert [shown(one) for one in read] == ["0", "1", "gap of 3", "5"]
    assert (read[2].run_id, read[2].at_s, read[2].stage) == ("run-1", 2.0, None)


async def test_a_gap_is_told_as_soon_as_its_place_is_reached() -> None:
    """semantics 5.12: a reader that has caught up does not have to wait for another event to learn of it."""
    queue = EventQueue(1)
    for number in range(4):
        queue.publish(event(number))

    with anyio.fail_after(5):
        assert [shown(await anext(queue)), shown(await anext(queue))] == ["0", "gap of 3"]
    queue.publish(event(4))
    queue.publish(event(5))
    queue.close()
    assert await rest_of(queue) == ["4", "gap of 1"]


async def test_a_queue_of_one_event_tells_of_more_than_gaps() -> None:
    """`EventQueue`: a gap takes no place, so the narrowest queue still gives every other event."""
    queue = EventQueue(1)
    read: list[str] = []
    for number in range(6):
        queue.publish(event(number))
        if number % 2:
            read.append(shown(await anext(queue)))
    queue.close()

    assert read == ["0", "gap of 1", "2"]
    assert await rest_of(queue) == ["gap of 1", "4", "gap of 1"]


@pytest.mark.parametrize("capacity", [1, 2, 100])
async def test_how_the_run_ended_is_never_missed(capacity: int) -> None:
    """semantics 5.12: the last event finds room in a full queue, behind the gap, and ends it."""
    queue = EventQueue(capacity)
    for number in range(capacity + 3):
        queue.publish(event(number))
    queue.publish(PipelineCompleted(run_id="run-1", duration_s=1.0, elements=3, reason="done"))
    queue.publish(event(9))

    assert await rest_of(queue) == [*map(str, range(capacity)), "gap of 3", "pipeline.completed"]


@pytest.mark.parametrize("capacity", [64, 65, 1000])
async def test_a_wide_queue_takes_as_much_as_it_says(capacity: int) -> None:
    """`EventQueue`: wide channels take turns with their reader; a publisher that does not wait still has all the room."""
    queue = EventQueue(capacity)
    for number in range(capacity + 2):
        queue.publish(event(number))
    queue.close()

    assert await rest_of(queue) == [*map(str, range(capacity)), "gap of 2"]


@pytest.mark.slow
@given(capacity=st.integers(1, 4), steps=st.lists(st.integers(1, 7) | st.just("read"), max_size=30))
@example(capacity=1, steps=[2, "read", 1, "read", 1, "read", 3])
async def test_what_is_read_and_what_is_missing_make_up_everything(capacity: int, steps: list[object]) -> None:
    """semantics 5.12: nothing twice, nothing out of order, each gap of exactly the size and in exactly the place."""
    queue, published, read = EventQueue(capacity), 0, list[Event]()
    for step in steps:
        if isinstance(step, int):
            for _ in range(step):
                queue.publish(event(published))
                published += 1
        else:
            with anyio.move_on_after(1):
                read.append(await anext(queue))
    queue.close()
    left = [one async for one in queue]

    assert covered([*read, *left]) == published
    assert sum(not isinstance(one, EventGap) for one in left) <= capacity + 1


async def test_a_second_reader_is_refused() -> None:
    """`EventQueue`: two readers would each see half of what happened."""
    queue = EventQueue(1)

    async with anyio.create_task_group() as group:
        group.start_soon(rest_of, queue)
        await wait_all_tasks_blocked()
        with pytest.raises(ChannelBusyError, match="edge events: another task is already receiving"):
            await anext(queue)
        queue.close()


@pytest.mark.parametrize("capacity", [0, -1, 1.5, True, None])
def test_a_queue_holds_at_least_one_event(capacity: int) -> None:
    """Bad input: a bound that is none."""
    with pytest.raises(ConfigError, match="capacity"):
        EventQueue(capacity)


@pytest.mark.parametrize("capacity", [1, 2, 100])
@pytest.mark.parametrize("how", get_args(CancelMode))
async def test_a_cancelled_reader_has_taken_nothing(how: CancelMode, capacity: int) -> None:
    """`EventQueue`: reading goes on after a cancelled wait where it stopped, with the gaps in their places."""

    async def scenario() -> None:
        queue, published, read = EventQueue(capacity), 0, list[Event]()

        async def publish() -> None:
            nonlocal published
            for _ in range(7):
                queue.publish(event(published))
                published += 1
                if published % 3 == 0:
                    await checkpoint()
            queue.close()

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(publish)
                async for one in queue:
                    read.append(one)
                    await checkpoint()
        finally:
            queue.close()
            with anyio.CancelScope(shield=True):
                read += [one async for one in queue]
            assert covered(read) == published

    report = await cancel_sweep(scenario, how=how)

    assert report.skipped or report.ticks > 3


# Feeding a listener ---------------------------------------------------------------------------------------------------


async def test_an_async_listener_is_given_one_event_after_the_other() -> None:
    """semantics 5.12: it may wait; what happens meanwhile it hears afterwards, in order."""
    queue, heard = EventQueue(10), list[str]()

    async def listen(one: Event) -> None:
        heard.append(f"begin {one.name}")
        await anyio.sleep(60)
        heard.append(f"end {one.name}")

    for number in range(2):
        queue.publish(event(number))
    queue.close()
    await deliver(queue, listen, EventBus().complain)

    assert heard == ["begin 0", "end 0", "begin 1", "end 1"]


async def test_a_slow_listener_is_told_what_it_missed() -> None:
    """semantics 5.12: the publisher never waits for it."""
    queue, heard = EventQueue(1), list[str]()

    async def listen(one: Event) -> None:
        heard.append(shown(one))
        await anyio.sleep(60)

    async with anyio.create_task_group() as group:
        group.start_soon(deliver, queue, listen, EventBus().complain)
        await wait_all_tasks_blocked()
        for number in range(5):
            queue.publish(event(number))
        await wait_all_tasks_blocked()
        queue.publish(event(5))
        queue.close()

    assert heard == ["0", "gap of 4", "5"]


async def test_a_listener_that_raises_is_told_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 5.12: async listeners are treated as inline ones are."""
    queue, heard = EventQueue(10), list[str]()

    async def broken(one: Event) -> None:
        heard.append(one.name)
        await checkpoint()
        raise ZeroDivisionError(one.name)

    for number in range(3):
        queue.publish(event(number))
    queue.close()
    with caplog.at_level(logging.ERROR, "streamflow"):
        await deliver(queue, broken, EventBus().complain)

    assert heard == ["0", "1", "2"]
    assert [one.getMessage().partition(" failed ")[2] for one in caplog.records] == ["on '0'; told once"]
    assert caplog.records[0].exc_info[0] is ZeroDivisionError


async def test_a_cancelled_delivery_ends_and_complains_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """semantics 5.12: cancellation is not a listener's failure, neither while it waits nor while it works."""

    async def scenario() -> None:
        queue = EventQueue(2)

        async def listen(_one: Event) -> None:
            await checkpoint()

        for number in range(4):
            queue.publish(event(number))
        queue.close()
        await deliver(queue, listen, EventBus().complain)

    await cancel_sweep(scenario)

    assert caplog.records == []


async def test_the_wish_to_stop_the_program_passes_a_listener() -> None:
    """semantics 5.7: `KeyboardInterrupt` is nobody's to swallow."""
    queue = EventQueue(1)
    queue.publish(event(0))

    async def interrupted(_one: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await deliver(queue, interrupted, EventBus().complain)

"""Tasks of one run that were woken go on together: an element that is alone is through in one turn, and nobody is left behind."""

import asyncio

import anyio
import anyio.lowlevel
import pytest

from streamflow import PassthroughStage, PipelineBuilder, PipelineConfig, TextElement
from streamflow.channels import _wait
from streamflow.channels._wait import Round, open_round


async def test_an_element_that_is_alone_is_through_all_stages_in_one_turn(monkeypatch, anyio_backend_name) -> None:
    """Rule 6 of `_bounded`: on asyncio all whom it wakes go on in one callback of the event loop; trio has none."""
    turns = 0
    run_round = Round._run

    def counted(self: Round) -> None:
        nonlocal turns
        turns += 1
        run_round(self)

    monkeypatch.setattr(Round, "_run", counted)
    taken: list[int] = []

    async def source():
        for _ in range(3):
            await anyio.sleep(1)
            taken.append(turns)
            yield TextElement("x")

    stages = [PassthroughStage(name) for name in "abc"]
    pipeline = PipelineBuilder(PipelineConfig(fuse=False)).chain(*stages).build()
    seen: list[int] = []
    async with pipeline.execute(source()) as run:
        async for element in run:
            if isinstance(element, TextElement):
                seen.append(turns)

    assert [after - before for before, after in zip(taken, seen, strict=True)] == [anyio_backend_name == "asyncio"] * 3


async def test_who_is_cancelled_after_the_wake_up_is_cancelled_and_the_next_one_goes_on() -> None:
    """Semantics 2.3: a wake-up only says "look again", so a cancellation that comes behind it is not lost."""
    together = open_round()
    if together is None:  # on trio
        return
    loop = asyncio.get_running_loop()
    waiters = [loop.create_future() for _ in range(3)]

    async def wait(number: int) -> int:
        await waiters[number]
        return number

    tasks = [asyncio.create_task(wait(number)) for number in (0, 1)]
    await anyio.lowlevel.checkpoint()
    for waiter in waiters:
        together.wake(waiter, ())
    assert all(waiter.done() for waiter in waiters)
    tasks[0].cancel()
    await asyncio.wait(tasks)
    assert tasks[0].cancelled()
    assert tasks[1].result() == 1
    assert await wait(2) == 2  # woken before it came to wait


def test_a_task_that_ends_the_program_leaves_the_others_woken() -> None:
    """Whoever catches that in the program, and runs the loop again, finds all of them going on."""
    loop = asyncio.new_event_loop()
    together = Round(loop)
    waiters = [loop.create_future() for _ in range(2)]
    gone_on: list[int] = []

    async def wait(number: int) -> None:
        await waiters[number]
        gone_on.append(number)
        if number == 0:
            raise SystemExit

    async def main() -> None:
        for waiter in waiters:
            together.wake(waiter, ())
        await anyio.lowlevel.checkpoint()

    try:
        tasks = [loop.create_task(wait(number)) for number in (0, 1)]
        loop.run_until_complete(anyio.lowlevel.checkpoint())
        with pytest.raises(SystemExit):
            loop.run_until_complete(main())
        loop.run_until_complete(tasks[1])
        assert isinstance(tasks[0].exception(), SystemExit)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(anyio.lowlevel.checkpoint())
        loop.close()
    assert gone_on == [0, 1]


async def test_little_is_what_one_task_may_do_in_one_go() -> None:
    """Rule 6 of `_bounded`: nobody else waits longer for a turn than for one task on an edge of the usual width."""
    together = open_round()
    if together is None:
        return
    loop = asyncio.get_running_loop()
    steps: list[int] = []
    waiters: dict[int, asyncio.Future[None]] = {}

    async def wake_next(number: int) -> None:
        waiters[number] = loop.create_future()
        await waiters[number]
        steps.append(number)
        if number:
            together.wake(waiters[number - 1], "xxxx")

    tasks = [asyncio.create_task(wake_next(number)) for number in range(10)]
    await anyio.lowlevel.checkpoint()
    together.wake(waiters[9], "xxxx")
    counts: list[int] = []
    while len(steps) < 10:
        await anyio.lowlevel.checkpoint()
        counts.append(len(steps))
    await asyncio.gather(*tasks)
    assert _wait.LITTLE == 16
    assert max(after - before for before, after in zip([0, *counts], counts, strict=False)) == 4


@pytest.mark.parametrize(
    ("readers", "load", "shares"),
    [(8, 16, True), (7, 16, False), (8, 0, False)],
    ids=["an eighth", "more", "a reader"],
)
async def test_who_has_waited_for_room_makes_a_turn_an_eighth_longer_at_most(
    *, readers: int, load: int, shares: bool
) -> None:
    """Semantics 2.4: what it may do is known, it fills the room; what a reader sets off is not."""
    together = open_round()
    if together is None:
        return
    loop = asyncio.get_running_loop()
    waiters = [loop.create_future() for _ in range(readers + 1)]
    steps: list[int] = []

    async def wait(number: int) -> None:
        await waiters[number]
        steps.append(number)
        if number == 0:
            together.wake(waiters[readers], "x" * 16, load)

    tasks = [asyncio.create_task(wait(number)) for number in range(readers + 1)]
    await anyio.lowlevel.checkpoint()
    for waiter in waiters[:readers]:
        together.wake(waiter, "x" * 16)
    in_turn = loop.create_future()
    loop.call_soon(in_turn.set_result, None)  # behind the turn of the readers, before any other
    loop.call_soon(lambda: steps.append(-1))
    await in_turn
    await asyncio.gather(*tasks)
    assert steps == [*range(readers), *([readers, -1] if shares else [-1, readers])]

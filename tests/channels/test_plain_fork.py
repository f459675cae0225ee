"""A fork of plain edges looks at them once for many elements: what ends that look, and who waits at one edge. Semantics 2, 4.4.

That it does what any fork does is tested where forks are: `test_fork`, whose forks are of this kind where their edges are plain.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from edges import Caught
from hypothesis import given
from hypothesis import strategies as st

from streamflow import StreamElement, TextElement, TurnEnd
from streamflow.channels import (
    ArrivalEnd,
    Fence,
    ForkEnd,
    PlainForkEnd,
    ReceiveEnd,
    SendEnd,
    in_bursts,
    level_of,
    open_channel,
    open_fork,
    sweep_edge,
)
from streamflow.errors import ChannelClosedError, OutputClosedError
from streamflow.stages import EVERYTHING, admission

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

GATE = admission(EVERYTHING, producer="a")


class Tee:
    """A fork, its branches, and elements by number."""

    def __init__(self, *capacities: int, is_plain: bool = True) -> None:
        ends: list[tuple[SendEnd[StreamElement], ReceiveEnd[StreamElement]]]
        ends = [open_channel(one, name=f"a → {place}", admit=GATE) for place, one in enumerate(capacities)]
        self.fork: ForkEnd[StreamElement] = open_fork("a", [send for send, _ in ends], is_shared=not is_plain)
        self.branches = [receive for _, receive in ends]
        assert type(self.fork) is (PlainForkEnd if is_plain else ForkEnd)

    def put(self, *texts: str) -> list[bool]:
        return [self.fork.try_send(TextElement(one)) for one in texts]

    def texts(self) -> list[list[str]]:
        return [[getattr(one, "text", "end") for one in branch.backlog] for branch in self.branches]


async def test_a_reader_that_begins_to_wait_while_others_have_room_is_woken_by_the_next_element() -> None:
    """semantics 2.3, 5.3: each element leaves before the next is made, whichever branch is behind."""
    tee, got = Tee(16, 16), []

    async def read() -> None:
        async for element in tee.branches[0]:
            got.append(element)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        for count in range(1, 9):
            await tee.fork.send(TextElement(str(count)))
            await wait_all_tasks_blocked()
            assert len(got) == count
        tee.fork.close()


async def test_a_merge_that_waits_at_a_branch_is_woken_by_the_next_element() -> None:
    """semantics 4.5: it has no task at the edge that could say that it begins to wait."""
    tee = Tee(16, 16)
    merge: ArrivalEnd[StreamElement] = ArrivalEnd("merge", tee.branches[:1], GATE)
    got = []

    async def read() -> None:
        async for element in merge:
            got.append(element)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        for count in range(1, 9):
            await tee.fork.send(TextElement(str(count)))
            await wait_all_tasks_blocked()
            assert len(got) == count
        tee.fork.close()


def test_the_bound_holds_where_control_comes_between() -> None:
    """semantics 2.1: control takes room like any element, and what is sent by another way does."""
    tee = Tee(5, 9)
    assert tee.put("1", "2") == [True, True]
    assert tee.fork.try_send(TurnEnd())
    assert tee.put("3", "4", "5") == [True, True, False]
    for branch in tee.branches:
        branch.receive_nowait()
        branch.receive_nowait()
    assert tee.put("6") == [True]
    tee.fork.send_nowait(TextElement("7"))
    assert tee.put("8") == [False]
    assert tee.texts() == [["end", "3", "4", "6", "7"]] * 2


def test_a_branch_that_goes_gets_nothing_more_and_the_others_everything() -> None:
    """semantics 4.4: also where the fork knew that there was room."""
    tee = Tee(8, 8)
    assert tee.put("1", "2", "3") == [True] * 3
    tee.branches[0].close()
    assert tee.put("4", "5", "6") == [True] * 3
    assert tee.texts() == [[], ["1", "2", "3", "4", "5", "6"]]
    assert tee.branches[0].statistics().sent == 3
    tee.branches[1].close()
    assert tee.put("7") == [False]


async def test_what_a_fence_stops_enters_no_branch() -> None:
    """semantics 5.11: also where the fork knew that there was room, and again once the fence is lifted."""
    tee = Tee(8, 8)
    assert tee.put("1", "2", "3") == [True] * 3
    fence = Fence([], [tee.fork])
    await tee.fork.send(TextElement("stale"))
    fence.lift()
    assert tee.put("4", "5") == [True, True]
    assert tee.texts() == [["1", "2", "3", "4", "5"]] * 2
    assert tee.fork.statistics().discarded == {"stale": 1}


async def test_who_waited_alone_goes_before_who_came_later_on_every_branch() -> None:
    """semantics 2.1, 4.4: waiting senders queue in order, also at an edge where the first one does not wait yet."""
    tee = Tee(2, 2)
    tee.put("1", "2")
    async with anyio.create_task_group() as tasks:
        for text in ("first", "second"):
            tasks.start_soon(tee.fork.send, TextElement(text))
            await wait_all_tasks_blocked()
        for place in (0, 0, 1, 1):
            await tee.branches[place].receive()
            await wait_all_tasks_blocked()
            assert max(len(branch.backlog) for branch in tee.branches) == 2
    assert tee.texts() == [["first", "second"]] * 2


@pytest.mark.parametrize("by_writer", [True, False])
async def test_who_waits_alone_goes_on_when_what_it_waits_for_is_closed(*, by_writer: bool) -> None:
    """semantics 2.2: the fork is closed by another task, or the branch by its reader."""
    tee = Tee(2, 4)
    tee.put("1", "2")
    task = Caught(tee.fork.send, TextElement("3"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(task)
        await wait_all_tasks_blocked()
        assert not task.done
        if by_writer:
            tee.fork.close()
        else:
            tee.branches[0].close()
    assert isinstance(task.error, ChannelClosedError) if by_writer else task.error is None
    assert tee.texts()[1] == ["1", "2", *([] if by_writer else ["3"])]


@pytest.mark.parametrize("moved", [False, True])
async def test_who_waits_alone_and_is_cancelled_or_swept_has_sent_nothing_and_leaves_no_trace(*, moved: bool) -> None:
    """semantics 2.3, 5.11: at the first edge that was full, and at the next."""
    tee = Tee(2, 2)
    tee.put("1", "2")
    for way in ("cancelled", "swept"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tee.fork.send, TextElement("lost"))
            await wait_all_tasks_blocked()
            if moved and way == "cancelled":
                for _ in range(2):
                    await tee.branches[0].receive()
                await wait_all_tasks_blocked()
            if way == "cancelled":
                tasks.cancel_scope.cancel()
            else:
                for branch in tee.branches:
                    sweep_edge(branch, lambda item: item != TextElement("lost"))
        assert "lost" not in str(tee.texts())
        assert tee.fork.statistics().waiting_senders == 0
    for branch in tee.branches:
        while branch.backlog:
            branch.receive_nowait()
    assert tee.put("3", "4", "5") == [True, True, False]


# What one step of the writer's task sends


@types.coroutine
def _pause() -> Generator[None, None, None]:
    yield


def _in_steps(tee: Tee, work: Coroutine[object, object, object]) -> Generator[object, object, object]:
    level = level_of(tee.fork)
    assert level is not None
    return in_bursts(work, level)


def test_what_a_step_sends_is_in_all_branches_when_the_step_ends() -> None:
    """semantics 4.4: and before, for whoever looks from inside the step."""
    tee = Tee(4, 4)

    async def work() -> str:
        tee.put("1")  # the first of its type is looked at
        await _pause()
        assert tee.put("2", "3") == [True, True]
        await _pause()
        assert tee.put("4", "5") == [True, False]
        assert [branch.statistics().buffered for branch in tee.branches] == [4, 4]
        return "done"

    steps = _in_steps(tee, work())
    next(steps)
    next(steps)
    assert tee.texts() == [["1", "2", "3"]] * 2
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == "done"
    assert tee.texts() == [["1", "2", "3", "4"]] * 2


@pytest.mark.parametrize("error", [ValueError(), GeneratorExit()], ids=["failure", "cancellation"])
def test_what_was_sent_before_a_step_failed_was_sent(error: BaseException) -> None:
    """semantics 2.3: a send that has returned has sent; also by a step that begins with an error, and sends while that passes."""
    tee = Tee(8, 8)

    async def work() -> None:
        try:
            tee.put("1")
            await _pause()
        finally:
            tee.put("2", "3")

    steps = _in_steps(tee, work())
    next(steps)
    with pytest.raises(type(error)):
        steps.throw(error)
    assert tee.texts() == [["1", "2", "3"]] * 2


def test_what_a_step_has_sent_can_be_swept_and_what_a_fence_stops_then_enters_no_branch() -> None:
    """semantics 5.11: by an interruption that comes from inside the step."""
    tee = Tee(8, 8)

    async def work() -> None:
        tee.put("1")
        await _pause()
        tee.put("2", "3")
        assert [sweep_edge(branch) for branch in tee.branches] == [3, 3]
        fence = Fence([], [tee.fork])
        assert tee.put("stale") == [False]
        fence.lift()
        tee.put("4")

    assert [*_in_steps(tee, work())] == [None]
    assert tee.texts() == [["4"]] * 2
    assert tee.branches[0].statistics().discarded == {"stale": 3}


_END = TurnEnd()
_STEPS = st.lists(
    st.sampled_from(
        ["text", "text", "text", "turn", "wait", "wait", "look", "nowait", "read 0", "read 1", "close 0", "close 1"]
    )
)


def _send_nowait(tee: Tee, text: str) -> str:
    try:
        tee.fork.send_nowait(TextElement(text))
    except (anyio.WouldBlock, OutputClosedError) as error:
        return type(error).__name__
    return "sent"


def _read(tee: Tee, place: int) -> object:
    return tee.branches[place].receive_nowait() if tee.branches[place].backlog else None


def _statistics(tee: Tee) -> object:
    return [branch.statistics() for branch in tee.branches]


def _do(step: str, text: str) -> Callable[[Tee], object]:
    what, _, place = step.partition(" ")
    calls: dict[str, Callable[[Tee], object]] = {
        "text": lambda tee: tee.put(text),
        "turn": lambda tee: tee.fork.try_send(_END),
        "nowait": lambda tee: _send_nowait(tee, text),
        "look": _statistics,
        "wait": Tee.texts,
        "read": lambda tee: _read(tee, int(place)),
        "close": lambda tee: tee.branches[int(place)].close(),
    }
    return calls[what]


@given(_STEPS, st.integers(1, 6), st.integers(1, 6))
def test_a_fork_with_bursts_does_what_one_without_does(steps: list[str], first: int, second: int) -> None:
    """semantics 4.4: whatever comes between, what enters, where and in which order is the same."""
    burst, plain = Tee(first, second), Tee(first, second, is_plain=False)

    def both(call: Callable[[Tee], object]) -> None:
        assert call(burst) == call(plain)

    async def work() -> None:
        for number, step in enumerate(steps):
            if step.startswith(("wait", "read")):  # whoever reads does so between two steps
                await _pause()
                both(Tee.texts)
            both(_do(step, str(number)))

    for _ in _in_steps(burst, work()):
        pass
    both(Tee.texts)
    both(_statistics)

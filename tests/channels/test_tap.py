"""Edges beside a fork that nobody waits for, and branches without which a fork ends. Semantics 4.17, 4.18."""

from __future__ import annotations

import gc
import weakref

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from edges import Caught, every_capacity

from streamflow import AudioElement, TextElement, TurnEnd
from streamflow.channels import BalanceEnd, ForkEnd, HubEnd, RouteEnd, open_channel
from streamflow.errors import OutputClosedError
from streamflow.stages import EVERYTHING, admission


def edge(name, capacity=4, accepts=EVERYTHING, lanes=False):
    return open_channel(capacity, name=name, admit=admission(accepts, producer="a"), lanes=lanes)


def fork_of(kind, main, taps):
    options = {"choices": main, "choose": lambda *_: 0} if kind is RouteEnd else {}
    return kind("a → (…)", main, taps=taps, **options)


@pytest.mark.parametrize("kind", [ForkEnd, HubEnd, RouteEnd, BalanceEnd])
@pytest.mark.parametrize("lanes", [False, True], ids=["plain", "lanes"])
async def test_a_tap_sees_what_it_accepts_and_slows_nobody(kind, lanes) -> None:
    """semantics 4.17: when it is full, data is dropped, the newest first, and counted on its edge; the main path has everything."""
    (main, read), (tap, look) = edge("a → b", 200), edge("a → t", 4, (TextElement, TurnEnd), lanes)
    fork = fork_of(kind, [main], [tap])
    sent = [TextElement(str(number)) for number in range(30)]
    for element in [AudioElement(b"\0\0"), *sent]:
        with anyio.fail_after(1):
            await fork.send(element)
    assert len(read.backlog) == 31
    assert list(look.backlog) == sent[: 1 if lanes else 4]
    assert look.statistics().discarded == {"overflow": 29 if lanes else 26}
    assert look.statistics().sent == 30
    await look.receive()
    await fork.send(sent[-1])
    assert look.backlog[-1] is sent[-1]


@every_capacity
async def test_control_finds_room_on_a_full_tap_but_not_without_end(capacity) -> None:
    """semantics 4.17, 1.4: as many control elements as the capacity, beyond it; and no more."""
    (main, _), (tap, look) = edge("a → b", 1000), edge("a → t", capacity)
    fork = ForkEnd("a", [main], taps=[tap])
    for _ in range(capacity + 3):
        await fork.send(TextElement("x"))
    for number in range(capacity + 2):
        await fork.send(TurnEnd(index=number))
    assert [type(one).__name__ for one in look.backlog] == ["TextElement"] * capacity + ["TurnEnd"] * capacity
    assert look.statistics().discarded == {"overflow": 5}


async def test_the_end_of_a_tap_is_ignored_and_it_ends_with_the_main_path() -> None:
    """semantics 4.17: neither does a tap that has gone end anything, nor does one that is there keep it going."""
    for leaves_first in (True, False):
        (main, read), (tap, look) = edge("a → b", 8), edge("a → t", 8)
        fork = ForkEnd("a", [main], taps=[tap])
        if leaves_first:
            look.close()
            await fork.send(TextElement("x"))
            assert len(read.backlog) == 1
        else:
            read.close()
            assert not fork.is_open
            with pytest.raises(OutputClosedError):
                await fork.send(TextElement("x"))
            fork.close()
            assert look.state == "completed"


async def test_the_last_notice_and_a_failure_reach_a_tap() -> None:
    """semantics 4.17, 6.1: what is behind a failure hears of it."""
    (main, _), (tap, look) = edge("a → b", 8), edge("a → t", 1)
    fork = ForkEnd("a", [main], taps=[tap])
    await fork.send(TextElement("x"))
    fork.close_with(TurnEnd())
    assert [type(one) for one in look.backlog] == [TextElement, TurnEnd]
    (main, _), (tap, look) = edge("a → b", 8), edge("a → t", 1)
    ForkEnd("a", [main], taps=[tap]).fail(ValueError())
    assert look.state == "failed"


@pytest.mark.parametrize("kind", [ForkEnd, HubEnd])
async def test_with_an_essential_branch_the_fork_ends(kind) -> None:
    """semantics 4.18: the others get what they were sent, then their end; a sender that waits hears of it, too."""
    ends = [edge(f"a → {number}", 1) for number in range(3)]
    sends, reads = [send for send, _ in ends], [read for _, read in ends]
    fork = kind("a", sends, essential=[sends[1]])
    await fork.send(TextElement("x"))
    task = Caught(fork.send, TextElement("y"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(task)
        await wait_all_tasks_blocked()
        reads[1].close()
    assert isinstance(task.error, OutputClosedError)
    assert task.error.reason == "no_more_needed"
    assert [read.state for read in reads] == ["completed", "cancelled", "completed"]
    assert [element async for element in reads[0]] == [TextElement("x")]


async def test_any_other_end_of_an_essential_branch_is_no_loss() -> None:
    """semantics 4.18: a branch that is not essential may go; a fork that ends by itself ends as ever."""
    ends = [edge(f"a → {number}", 1) for number in range(3)]
    sends, reads = [send for send, _ in ends], [read for _, read in ends]
    fork = ForkEnd("a", sends, essential=[sends[1]])
    reads[0].close()
    await fork.send(TextElement("x"))
    fork.fail(ValueError())
    assert [read.state for read in reads] == ["cancelled", "failed", "failed"]


async def test_a_fork_with_an_essential_branch_needs_no_garbage_collector() -> None:
    """semantics 5.1: nothing holds it but its sender."""
    ends = [edge(f"a → {number}", 1) for number in range(2)]
    gc.disable()
    try:
        fork = ForkEnd("a", [send for send, _ in ends], essential=[ends[0][0]])
        gone = weakref.ref(fork)
        del fork
        assert gone() is None
        ends[0][1].close()
        assert ends[1][1].state == "open"
    finally:
        gc.enable()

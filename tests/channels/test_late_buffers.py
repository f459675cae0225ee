"""Edges that have a buffer when their first element comes: to both ends they are edges like any other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeAlias

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import PassthroughStage, PipelineBuilder, TextElement, TurnEnd, TurnStart, stage
from streamflow.channels import ReceiveEnd, SendEnd, open_plain
from streamflow.channels._late import NO_BUFFER

Way: TypeAlias = Callable[[SendEnd[str], str], Awaitable[object]]


def open_late(capacity: int = 2) -> tuple[SendEnd[str], ReceiveEnd[str]]:
    return open_plain(capacity, "a → b", lambda _: True, watch=None, pulse=None, plain={str}, is_late=True)


async def _one(item: str) -> AsyncIterator[str]:
    yield item


async def _try(send: SendEnd[str], item: str) -> None:
    assert send.try_send(item)


async def _nowait(send: SendEnd[str], item: str) -> None:
    send.send_nowait(item)


async def _close_with(send: SendEnd[str], item: str) -> None:
    send.close_with(item)


WAYS: dict[str, Way] = {
    "send": lambda send, item: send.send(item),
    "try_send": _try,
    "send_nowait": _nowait,
    "send_all": lambda send, item: send.send_all(_one(item)),
    "send_each": lambda send, item: send.send_each([item]),
    "pass_on": lambda send, item: send.pass_on(item),
    "close_with": _close_with,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_the_first_element_arrives_by_every_way_of_sending(way: Way) -> None:
    """`_late`: the long way looks for a buffer, so nothing is put where there is none."""
    send, receive = open_late()
    assert not receive.backlog

    await way(send, "x")

    assert list(receive.backlog) == ["x"]
    assert await receive.receive() == "x"


@pytest.mark.parametrize("way", ["send_all", "send_each"])
async def test_an_element_that_passes_by_first_may_give_the_edge_its_buffer(way: str) -> None:
    """`_late`: who waits for something to send has no buffer at hand that the edge does not have any more."""
    send, receive = open_late()

    def several() -> Iterator[str]:
        send.send_nowait("by")
        yield "x"

    async def waiting() -> AsyncIterator[str]:
        for item in several():
            yield item

    await (send.send_all(waiting()) if way == "send_all" else send.send_each(several()))

    assert list(receive.backlog) == ["by", "x"]


async def test_a_turn_may_begin_with_its_boundary_in_every_run() -> None:
    """semantics 1.4: it passes a generator by before that has sent anything, of types that are known from the run before."""

    @stage
    async def speak(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element

    pipeline = PipelineBuilder().chain(speak, PassthroughStage("next")).build()
    for _ in range(3):
        given = [TurnStart(), TextElement("a"), TurnEnd(), TextElement("b")]
        assert list((await pipeline.run(given)).elements) == given


@given(capacity=st.integers(1, 4), count=st.integers(0, 12))
async def test_all_arrive_in_order_and_the_bound_holds(capacity: int, count: int) -> None:
    """Rules 2 and 4 of `_bounded` hold from the first element on."""
    send, receive = open_late(capacity)
    got: list[str] = []

    async def write() -> None:
        for number in range(count):
            await send.send(str(number))
            assert len(receive.backlog) <= capacity
        send.close()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(write)
            async for item in receive:
                got.append(item)

    assert got == [str(number) for number in range(count)]


async def test_an_edge_that_ends_without_an_element_never_has_a_buffer() -> None:
    """`_late`: most edges inside a fused chain; what looks at them sees an empty edge."""
    send, receive = open_late()

    send.close()

    with pytest.raises(anyio.EndOfStream):
        await receive.receive()
    assert receive.backlog is NO_BUFFER
    assert receive.statistics().sent == 0


def test_what_forgets_to_look_gets_an_error() -> None:
    """`_late`: the one empty buffer of all edges takes nothing, so no element is lost in it."""
    with pytest.raises(AssertionError, match="no buffer yet"):
        NO_BUFFER.append("x")
    with pytest.raises(AssertionError, match="no buffer yet"):
        NO_BUFFER.extend(["x"])
    assert not NO_BUFFER

"""What a reader that accumulates does not accept waits beside the edge, in order and counted. Semantics 2.5, 3.3."""

from __future__ import annotations

import gc
import weakref

import anyio
import pytest

from streamflow import DataElement, StreamElement, TextElement, TurnEnd
from streamflow.channels import ReceiveEnd, SendEnd, open_channel
from streamflow.errors import ElementError
from streamflow.stages import admission
from streamflow.testing import EdgeLedger, cancel_sweep

end = TurnEnd()


def other(number: int) -> DataElement:
    return DataElement("other", number)


class Bench:
    """An accumulator's two edges: what it reads, and what it writes."""

    def __init__(self, capacity: int = 16, ledger: EdgeLedger | None = None) -> None:
        gate = admission((TextElement, TurnEnd), producer="writer")
        watch = ledger.watch("input") if ledger is not None else None
        self.feed: SendEnd[StreamElement]
        self.input: ReceiveEnd[StreamElement]
        self.output: SendEnd[StreamElement]
        self.result: ReceiveEnd[StreamElement]
        self.feed, self.input = open_channel(16, name="input", admit=gate, watch=watch)
        self.output, self.result = open_channel(capacity, name="output")
        self.input.forward_to(self.output)
        self.input.keep_aside()

    async def take_in(self, *elements: StreamElement) -> None:
        for element in elements:
            await self.feed.send(element)

    def out(self) -> list[StreamElement]:
        found = []
        while True:
            try:
                found.append(self.result.receive_nowait())
            except (anyio.WouldBlock, anyio.EndOfStream):
                return found


async def test_nothing_is_kept_aside_while_the_reader_holds_nothing():
    """3.3: what comes before anything was taken passes by at once."""
    bench = Bench()
    await bench.take_in(other(1), TextElement("a"))
    assert await anext(bench.input) == TextElement("a")
    assert bench.out() == [other(1)]


async def test_what_is_kept_aside_counts_as_buffered_and_later_as_received():
    """2.5: sent = received + buffered + discarded, at every moment."""
    with EdgeLedger() as ledger:
        bench = Bench(ledger=ledger)
        await bench.take_in(TextElement("a"), other(1), other(2), TextElement("b"))
        assert [await anext(bench.input), await anext(bench.input)] == [TextElement("a"), TextElement("b")]
        statistics = bench.input.statistics()
        assert (statistics.sent, statistics.received, statistics.buffered) == (4, 2, 2)
        assert bench.input.position == 4
        await bench.output.send(end)
        statistics = bench.input.statistics()
        assert (statistics.sent, statistics.received, statistics.buffered) == (4, 4, 0)
        assert bench.out() == [other(1), other(2), end]
        assert ledger.edges["input"].buffered == 0


async def test_what_is_kept_aside_is_discarded_and_counted_when_the_reader_closes():
    """2.5: nothing is lost silently."""
    with EdgeLedger() as ledger:
        bench = Bench(ledger=ledger)
        await bench.take_in(TextElement("a"), other(1), TextElement("b"), other(2))
        await anext(bench.input)
        await anext(bench.input)
        bench.input.close("failure")
        statistics = bench.input.statistics()
        assert (statistics.sent, statistics.received, statistics.buffered) == (4, 2, 0)
        assert statistics.discarded == {"failure": 2}
        assert ledger.edges["input"].buffered == 0


async def test_a_reader_that_returns_early_passes_on_what_was_kept_aside_and_nothing_else():
    """3.3: it came before what the reader did not want any more."""
    bench = Bench()
    await bench.take_in(TextElement("a"), other(1), TextElement("b"), other(2))
    await anext(bench.input)
    await anext(bench.input)
    await bench.input.pass_aside()
    assert bench.out() == [other(1)]


async def test_two_tasks_that_end_a_turn_at_a_full_output_keep_the_order():
    """2.3, 3.3: whichever of them is cancelled, at every moment: in order, nothing twice, nothing lost."""
    seen: list[StreamElement] = []

    async def scenario() -> None:
        seen.clear()
        bench = Bench(capacity=1)
        await bench.take_in(TextElement("a"), other(1), other(2), TextElement("b"))
        await anext(bench.input)
        await anext(bench.input)
        await bench.output.send(TextElement("full"))
        first = anyio.CancelScope()

        async def end_turn(scope: anyio.CancelScope) -> None:
            with scope:
                await bench.output.send(end)

        async with anyio.create_task_group() as group:
            group.start_soon(end_turn, first)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(end_turn, anyio.CancelScope())
            await anyio.wait_all_tasks_blocked()
            first.cancel()
            seen.append(await bench.result.receive())
            seen.append(await bench.result.receive())
            seen.append(await bench.result.receive())
            seen.append(await bench.result.receive())
        assert seen == [TextElement("full"), other(1), other(2), end]

    await scenario()
    await cancel_sweep(scenario)


async def test_paying_wakes_up_when_the_input_is_closed_meanwhile():
    """5.5: a task that waits to pass on what is gone does not wait for ever."""
    bench = Bench(capacity=1)
    await bench.take_in(TextElement("a"), other(1), TextElement("b"))
    await anext(bench.input)
    await anext(bench.input)
    await bench.output.send(TextElement("full"))
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(bench.output.send, end)
            await anyio.wait_all_tasks_blocked()
            bench.input.close("failure")
            assert await bench.result.receive() == TextElement("full")
    assert bench.out() == [end]


async def test_the_edges_of_an_accumulator_are_freed_without_the_garbage_collector(no_gc: None):
    """SF-31: the ends of finished edges do not keep each other alive."""
    bench = Bench()
    await bench.take_in(TextElement("a"), other(1))
    await anext(bench.input)
    bench.feed.close()
    await bench.input.pass_rest()
    bench.output.close()
    ends = [weakref.ref(one) for one in (bench.feed, bench.input, bench.output, bench.result)]
    del bench
    assert [one() for one in ends] == [None] * 4
    gc.collect()


async def test_the_bound_of_what_is_kept_aside_is_told():
    """5.4: with the way out."""
    bench = Bench()
    await bench.take_in(TextElement("a"))
    await anext(bench.input)

    async def feed() -> None:
        for number in range(1200):
            await bench.feed.send(other(number))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(feed)
            with pytest.raises(ElementError, match="1000 elements wait"):
                await anext(bench.input)
            group.cancel_scope.cancel()

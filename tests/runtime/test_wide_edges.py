"""Edges that hold more than 64 elements: who stops for others, and how often. Held: semantics 2.4, 16.7."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from streamflow import FilterStage, FlatMapStage, MapStage, PipelineBuilder, PipelineConfig, TextElement, stage
from streamflow.channels import ReceiveEnd, SendEnd, open_channel
from streamflow.stages import StageLike

WIDE = 1000


def texts(count: int) -> Iterator[TextElement]:
    return (TextElement(str(number)) for number in range(count))


async def slow_texts(count: int) -> AsyncIterator[TextElement]:
    for one in texts(count):
        yield one


def same(name: str) -> MapStage:
    return MapStage(lambda element: element, name=name)


def generator(name: str) -> StageLike:
    async def body(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield element

    return stage(name=name)(body)


def first(count: int) -> StageLike:
    return FilterStage(lambda element: int(element.text) < count, name="first")


CHAINS: dict[str, Callable[[], list[StageLike]]] = {
    "fused": lambda: [same("a"), same("b")],
    "fused, drops": lambda: [first(10), same("b")],
    "generators": lambda: [generator("a"), generator("b")],
    "mixed": lambda: [same("a"), generator("b"), same("c"), same("d")],
    "mixed, drops": lambda: [generator("a"), first(10), generator("c")],
}


class Gaps:
    """How much is done between two turns of another task."""

    def __init__(self) -> None:
        self.longest = self.now = 0

    async def watch(self) -> None:
        while True:
            await checkpoint()
            self.longest, self.now = max(self.longest, self.now), 0


@pytest.mark.parametrize("source", [texts, slow_texts])
@pytest.mark.parametrize("kind", CHAINS)
async def test_others_have_their_turn_beside_any_stages_between_wide_edges(
    kind: str, source: Callable[[int], Iterator[TextElement] | AsyncIterator[TextElement]], anyio_backend_name: str
) -> None:
    """semantics 2.4, 16.7: at least every 64 elements, whatever takes them, and where nothing more arrives too."""
    gaps = Gaps()

    def count(element: TextElement) -> TextElement:
        gaps.now += 1
        return element

    pipeline = (
        PipelineBuilder(PipelineConfig(buffer_size=WIDE)).chain(MapStage(count, name="count"), *CHAINS[kind]()).build()
    )
    async with anyio.create_task_group() as group:
        group.start_soon(gaps.watch)
        result = await pipeline.run(source(600))
        group.cancel_scope.cancel()

    assert len(result.elements) == (10 if "drops" in kind else 600)
    assert 0 < gaps.longest <= 64 * (1 if anyio_backend_name == "asyncio" else 2)  # trio shuffles the tasks of a turn


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("several", [True, False])
async def test_others_have_their_turn_while_stages_drop_what_has_piled_up(
    several: bool, fuse: bool, anyio_backend_name: str
) -> None:
    """semantics 2.4, 16.7: when the consumer, which was slow, reads on, nothing stops them but the count."""
    gaps = Gaps()

    def wanted(element: TextElement) -> bool:
        gaps.now += 1
        return int(element.text) < WIDE + 100

    drops = (
        FlatMapStage(lambda one: [one] if wanted(one) else [], name="b") if several else FilterStage(wanted, name="b")
    )
    config = PipelineConfig(buffer_size=WIDE, fuse=fuse)
    pipeline = PipelineBuilder(config).chain(generator("g"), same("a"), drops).build()
    taken = 0
    async with pipeline.execute(texts(2 * WIDE)) as run:
        await anyio.sleep(1)
        gaps.now = 0
        async with anyio.create_task_group() as group:
            group.start_soon(gaps.watch)
            await checkpoint()
            async for _element in run:
                taken += 1
            group.cancel_scope.cancel()

    assert taken == WIDE + 100 + 1
    assert 0 < gaps.longest <= 64 * (1 if anyio_backend_name == "asyncio" else 2)


@pytest.mark.slow
@given(
    st.sampled_from(sorted(CHAINS)),
    st.integers(0, 200),
    st.sampled_from([65, 100, WIDE]),
    st.lists(st.integers(0, 199)),
)
async def test_a_wide_edge_gives_what_a_narrow_one_gives(
    kind: str, count: int, capacity: int, pauses: list[int]
) -> None:
    """semantics 2.1: the same elements in the same order, however the reader pauses."""

    async def read(size: int) -> list[str]:
        got: list[str] = []
        pipeline = PipelineBuilder(PipelineConfig(buffer_size=size)).chain(*CHAINS[kind]()).build()
        async with pipeline.execute(slow_texts(count)) as run:
            async for element in run:
                got.append(element.text if isinstance(element, TextElement) else type(element).__name__)
                if len(got) in pauses:
                    await anyio.sleep(1)
        return got

    assert await read(capacity) == await read(16)


async def test_a_stage_between_two_wide_edges_stops_once_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 3 of `_wide`: having stopped for its input it need not stop for its output."""
    waits = 0
    wait = SendEnd._queue_up

    def counted(self: SendEnd[TextElement], item: object) -> object:
        nonlocal waits
        waits += 1
        return wait(self, item)

    source_send: SendEnd[TextElement]
    source: ReceiveEnd[TextElement]
    send: SendEnd[TextElement]
    receive: ReceiveEnd[TextElement]
    source_send, source = open_channel(WIDE)
    send, receive = open_channel(WIDE)
    source.forward_to(send)
    for one in texts(600):
        source_send.send_nowait(one)
    source_send.close()
    monkeypatch.setattr(SendEnd, "_queue_up", counted)
    async for element in source:
        await send.send(element)
    assert waits == 0
    assert receive.statistics().buffered == 600

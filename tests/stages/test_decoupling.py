"""`BufferStage` and `CoalesceStage`: they take while they send, keep the order, and lose nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timed import timed

from streamflow import (
    AudioElement,
    BaseStage,
    ConfigError,
    ErrorElement,
    Metadata,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    StreamElement,
    TextElement,
    TurnEnd,
)
from streamflow.stages import BufferStage, CoalesceStage, TakeStage
from streamflow.testing import EdgeLedger, cancel_sweep, run_stage

SOUND, END, BAD = AudioElement(b""), TurnEnd(), ErrorElement("code", "message", "elsewhere")

BOTH: list[Callable[[], BaseStage]] = [lambda: BufferStage(3), lambda: CoalesceStage(max_held=3)]

both = pytest.mark.parametrize("make", BOTH, ids=["buffer", "coalesce"])


def pipeline_of(*chain: BaseStage, capacity: int = 1) -> Pipeline:
    return PipelineBuilder(PipelineConfig(buffer_size=capacity, timeout_s=3600)).chain(*chain).build()


@both
async def test_a_slow_reader_does_not_hold_up_the_source_before_it_is_full(make: Callable[[], BaseStage]) -> None:
    """semantics 3.12: it takes as many as it says beside those on its edges, then back-pressure goes on upstream."""
    pipeline = pipeline_of(make())
    pulled = 0

    async def endless() -> AsyncIterator[StreamElement]:
        nonlocal pulled
        while True:
            pulled += 1
            yield SOUND

    async with pipeline.execute(endless()) as run:
        await anext(run)
        await anyio.sleep(10)
        assert pipeline.max_in_flight == 2 + 5 + 1
        assert pipeline.max_in_flight - 1 <= pulled - 1 <= pipeline.max_in_flight


@both
async def test_a_reader_that_leaves_ends_it_wherever_it_is(make: Callable[[], BaseStage]) -> None:
    """semantics 3.1: leaving is completion, whether it waits for input or for room, and its source is closed."""
    closed: list[str] = []

    async def source(pause_s: float) -> AsyncIterator[StreamElement]:
        try:
            while True:
                yield TextElement("x")
                await anyio.sleep(pause_s)
        finally:
            closed.append("source")

    for pause_s in (0, 1, 100):
        result = await pipeline_of(make(), TakeStage(2)).run(source(pause_s))
        assert result.reason == "done"
        assert len(result.text) >= 2
    assert closed == ["source"] * 3


elements = st.sampled_from([SOUND, END, BAD, *map(TextElement, ("", "a", "bc")), TextElement("d", id="1")])


def joined(items: list[StreamElement]) -> list[StreamElement]:
    """Return what a reader may never tell apart: neighbours of text with one header as one."""
    whole: list[StreamElement] = []
    for item in items:
        last = whole[-1] if whole else None
        if isinstance(item, TextElement) and isinstance(last, TextElement) and item.id == last.id:
            whole[-1] = last.replace(text=last.text + item.text)
        else:
            whole.append(item)
    return whole


@both
@given(
    items=st.lists(elements, max_size=12),
    capacity=st.sampled_from([1, 2, 16]),
    slow_s=st.sampled_from([0, 1]),
    gap_s=st.sampled_from([0, 0.5]),
)
async def test_nothing_is_lost_and_the_order_is_kept(
    make: Callable[[], BaseStage], items: list[StreamElement], capacity: int, slow_s: float, gap_s: float
) -> None:
    """semantics 3.12: at every pace of both sides; texts may be joined and nothing else."""
    schedule = [(number * gap_s, item) for number, item in enumerate(items)]
    with EdgeLedger() as ledger:
        got = [one for _, one in await timed(make(), schedule, capacity=capacity, slow_s=slow_s)]
    ledger.check(ended=True)

    assert joined(got) == joined(items)
    if isinstance(make(), BufferStage):
        assert got == items


@both
async def test_it_can_be_cancelled_at_any_moment_behind_a_slow_reader(make: Callable[[], BaseStage]) -> None:
    """semantics 5.5: while it waits for input, for room, or for both."""
    pipeline = pipeline_of(make())

    async def scenario() -> int:
        count = 0
        async with pipeline.execute([TextElement("a"), SOUND, *map(TextElement, "bcdef"), END]) as run:
            async for _ in run:
                count += 1
                await anyio.sleep(1)
        return count

    assert (await cancel_sweep(scenario)).completed


# Coalescing


async def test_texts_that_wait_are_joined_and_a_reader_that_keeps_up_sees_each() -> None:
    """B15, semantics 3.12: nothing is added and nothing is copied for a reader that keeps up."""
    texts = [TextElement(letter) for letter in "abcdefgh"]
    kept_up = await timed(CoalesceStage(), [(number, one) for number, one in enumerate(texts)])
    assert all(one is other for (_, one), other in zip(kept_up, texts, strict=True))

    slow = await timed(CoalesceStage(), [(number, one) for number, one in enumerate(texts)], capacity=1, slow_s=4)
    said = [one.text for _, one in slow if isinstance(one, TextElement)]
    assert "".join(said) == "abcdefgh"
    assert len(said) < 6
    assert max(map(len, said)) >= 3


async def through(*items: StreamElement, **options: int) -> list[StreamElement]:
    """Return what leaves a stage whose reader begins to read when all has come; the first three are already on their way."""
    pipeline = pipeline_of(CoalesceStage(**options))
    async with pipeline.execute([SOUND, SOUND, SOUND, *items]) as run:
        await anyio.sleep(1)
        return [one async for one in run][3:-1]


async def test_only_what_is_alike_is_joined() -> None:
    """semantics 3.12: one id, equal metadata, priority, mark and path; the joined one has the time of its first."""
    first = TextElement("a", id="1", metadata=Metadata({"k": 1}), timestamp_s=1.5)
    alike = first.replace(text="b", timestamp_s=2.5)
    assert await through(first, alike) == [first.replace(text="ab")]
    for change in (
        {"id": "2"},
        {"metadata": Metadata({"k": 2})},
        {"interruptible": False},
        {"path": ("slot",)},
        {"priority": 0},
    ):
        other = alike.replace(**change)
        assert await through(first, other) == [first, other]


async def test_nothing_is_joined_across_anything_else() -> None:
    """semantics 3.12: control and other data keep their place, and end what was being joined."""
    for between in (SOUND, END, BAD):
        items = [*map(TextElement, "ab"), between, *map(TextElement, "cd")]
        assert await through(*items) == [TextElement("ab"), between, TextElement("cd")]


async def test_a_joined_fragment_is_no_longer_than_it_may_be() -> None:
    """semantics 3.12: `max_chars`; one that was longer by itself stays as it is."""
    got = await through(*map(TextElement, ("ab", "cd", "e", "long one", "f", "g")), max_chars=4)
    assert got == [*map(TextElement, ("abcd", "e", "long one", "fg"))]


class WordElement(TextElement, frozen=True, tag="test_decoupling.word"):
    """A text of another kind."""


async def test_another_kind_of_text_is_not_joined_to_it() -> None:
    """semantics 3.12: a subclass means something else."""
    items = [TextElement("a"), WordElement("b"), WordElement("c")]
    assert await through(*items) == [items[0], WordElement("bc")]


def test_wrong_options_are_named() -> None:
    """styleguide 3: a wrong argument fails in the constructor, by the name of its field."""
    for make, field in (
        (lambda: BufferStage(0), "size"),
        (lambda: CoalesceStage(0), "max_chars"),
        (lambda: CoalesceStage(max_held=0), "max_held"),
    ):
        with pytest.raises(ConfigError) as caught:
            make()
        assert caught.value.field == field


async def test_an_empty_input_is_nothing() -> None:
    """semantics 3.1: and elements of other kinds alone go through."""
    assert await run_stage(CoalesceStage()) == []
    assert await run_stage(BufferStage(1, accepts=TextElement), [SOUND, BAD]) == [SOUND, BAD]

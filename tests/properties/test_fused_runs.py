"""Random chains, fused and not: nothing but time tells them apart. Held: semantics 16.1, 16.2, 16.4."""

from __future__ import annotations

import contextvars
import dataclasses
import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    DataElement,
    FilterStage,
    FlatMapStage,
    MapStage,
    PassthroughStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    StageError,
    StreamElement,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.observe import Event
from streamflow.stages import TeeStage, current_run
from streamflow.testing import EdgeLedger, assert_all_stages_stopped, cancel_sweep

SEEN: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nobody")


@dataclasses.dataclass(frozen=True)
class Link:
    """One stage of a random chain; it fails when it is called for the `fail_at`-th time."""

    kind: str
    fail_at: int | None = None

    def build(self, name: str):
        calls = itertools.count()

        def look() -> None:
            """Set a variable that no other stage may see, and see none of theirs."""
            assert SEEN.get() in {"nobody", name}
            SEEN.set(name)
            assert current_run().stage == name
            if next(calls) == self.fail_at:
                raise ValueError(name)

        def marked(element: TextElement) -> TextElement:
            look()
            return TextElement(f"{element.text}{name[1:]}")

        async def slowly(element: TextElement) -> TextElement:
            await checkpoint()
            return marked(element)

        def sometimes(element: TextElement):
            return slowly(element) if len(element.text) % 3 == 2 else marked(element)

        def is_wanted(element: TextElement) -> bool:
            look()
            return len(element.text) % 2 == 0

        def twice(element: TextElement) -> list[TextElement]:
            return [marked(element)] * 2

        def several(element: TextElement) -> Iterator[TextElement]:
            for _ in range(len(element.text) % 4):
                yield marked(element)

        def told(_element: TextElement) -> None:
            look()

        made = {
            "map": lambda: MapStage(marked, name=name),
            "function": lambda: stage(name=name)(marked),
            "filter": lambda: FilterStage(is_wanted, name=name),
            "list": lambda: FlatMapStage(twice, name=name),
            "generator": lambda: FlatMapStage(several, name=name),
            "tee": lambda: TeeStage(told, name=name),
            "pass": lambda: PassthroughStage(name),
            "async": lambda: MapStage(slowly, name=name),
            "disguised": lambda: MapStage(sometimes, name=name, accepts=TextElement),
        }
        return made[self.kind]()


KINDS = ["map", "function", "filter", "list", "generator", "tee", "pass", "async", "disguised"]

links = st.sampled_from(KINDS).map(Link)
items: st.SearchStrategy[StreamElement] = st.one_of(
    st.text("abc", max_size=4).map(TextElement), st.just(TurnEnd()), st.just(DataElement("other", 1))
)


@dataclasses.dataclass
class Told:
    """What there is to see of one run."""

    elements: list[StreamElement]
    error: tuple[str | None, int | None, str] | None
    ends: dict[str, tuple[str, object, object]]
    """Of each stage: how it ended, what it received and sent."""


def built(chain: list[Link], capacity: int, events: list[Event], *, fuse: bool) -> Pipeline:
    config = PipelineConfig(buffer_size=capacity, fuse=fuse, timeout_s=1000)
    stages = [link.build(f"s{number}") for number, link in enumerate(chain)]
    return PipelineBuilder(config).chain(*stages).on_event(events.append).build()


def watching(*, watched: bool) -> AbstractContextManager[EdgeLedger | None]:
    """Keep a ledger, or leave the edges plain: only those have elements go through a chain, or a stage, in bursts."""
    return EdgeLedger() if watched else nullcontext()


async def told(
    chain: list[Link], given_items: list[StreamElement], capacity: int, *, fuse: bool, watched: bool = True
) -> Told:
    events: list[Event] = []
    got: list[StreamElement] = []
    error = None
    with watching(watched=watched) as ledger:
        try:
            async for element in built(chain, capacity, events, fuse=fuse).execute(given_items):
                got.append(element)
        except StageError as caught:
            error = (caught.stage, caught.index, repr(caught.__cause__))
    await assert_all_stages_stopped()
    if ledger is not None:
        ledger.check()
    assert SEEN.get() == "nobody"
    got.pop()  # the end of the stream, which tells the time
    return Told(got, error, ends_of(events, len(chain)))


def ends_of(events: list[Event], count: int) -> dict[str, tuple[str, object, object]]:
    """Check that each stage began and ended once, in causal order, and return how it ended."""
    names = [event.name for event in events]
    assert names[0] == "pipeline.started"
    assert names[1 : count + 1] == ["stage.started"] * count
    assert names[-1].startswith("pipeline.")
    ended = [event for event in events if event.name.startswith("stage.") and event.name != "stage.started"]
    assert len(ended) == len({event.stage for event in ended}) == count
    return {str(one.stage): (one.name, getattr(one, "received", 0), getattr(one, "sent", 0)) for one in ended}


@given(
    chain=st.lists(links, min_size=1, max_size=6),
    given_items=st.lists(items, max_size=12),
    times=st.sampled_from([1, 5]),
    capacity=st.sampled_from([1, 2, 3, 16, 100]),
    watched=st.booleans(),
)
async def test_a_fused_chain_does_what_it_does_unfused(
    chain: list[Link], given_items: list[StreamElement], times: int, capacity: int, watched: bool
):
    """16.1, 16.2: the same output in the same order, the same counters, the same ends; variables stay in their stage."""
    given_items *= times
    one = await told(chain, given_items, capacity, fuse=True, watched=watched)
    assert one == await told(chain, given_items, capacity, fuse=False)


@given(
    chain=st.lists(links, min_size=2, max_size=6),
    culprit=st.tuples(st.integers(0, 5), st.integers(0, 9)),
    given_items=st.lists(items, max_size=12),
    capacity=st.sampled_from([1, 2, 16]),
    watched=st.booleans(),
)
async def test_a_failure_in_a_fused_chain_is_that_of_its_stage(
    chain: list[Link], culprit: tuple[int, int], given_items: list[StreamElement], capacity: int, watched: bool
):
    """16.3: what was before it arrives, the error names the stage and the element, what is behind it ends as it does unfused."""
    place = culprit[0] % len(chain)
    chain = [*chain]
    chain[place] = Link(chain[place].kind, fail_at=culprit[1])
    one = await told(chain, given_items, capacity, fuse=True, watched=watched)
    other = await told(chain, given_items, capacity, fuse=False)
    assert one.elements == other.elements
    assert one.error == other.error
    # How far those before it had come is a matter of time.
    behind = [f"s{number}" for number in range(place, len(chain))]
    assert [one.ends[name] for name in behind] == [other.ends[name] for name in behind]


@given(
    chain=st.lists(links, min_size=2, max_size=5),
    given_items=st.lists(items, min_size=1, max_size=12),
    capacity=st.integers(1, 3),
    taken=st.integers(0, 6),
    watched=st.booleans(),
)
async def test_a_fused_chain_whose_consumer_leaves_leaves_nothing(
    chain: list[Link], given_items: list[StreamElement], capacity: int, taken: int, watched: bool
):
    """16.4: every stage ends once, the ledger adds up, and what the consumer got is how the whole begins."""
    whole = await told(chain, given_items, capacity, fuse=False)
    events: list[Event] = []
    got: list[StreamElement] = []
    with watching(watched=watched) as ledger:
        async for element in built(chain, capacity, events, fuse=True).execute(given_items):
            got.append(element)
            if len(got) > taken:
                break
    await assert_all_stages_stopped()
    if ledger is not None:
        ledger.check()
    ends_of(events, len(chain))
    assert got[: len(whole.elements)] == whole.elements[: len(got)]


SWEPT = [
    ["map", "list", "filter", "map"],
    ["generator", "generator", "tee"],
    ["map", "disguised", "list", "map"],
]


PLAIN = ["map", "filter", "disguised", "tee"]


@pytest.mark.parametrize("kinds", [*SWEPT, PLAIN], ids=" ".join)
@pytest.mark.parametrize("how", ["scope", "native"])
async def test_a_fused_chain_can_be_cancelled_at_every_tick(kinds: list[str], how):
    """16.4: whenever it is cancelled, every stage ends once and the ledger adds up; nothing is watched in the last one."""
    chain = [Link(kind) for kind in kinds]
    given_items: list[StreamElement] = [TextElement("abcdefg"[:number]) for number in range(7)]
    ledgers: list[EdgeLedger | None] = []
    events: list[Event] = []

    async def scenario() -> int:
        events.clear()
        count = 0
        with watching(watched=kinds is not PLAIN) as ledger:
            ledgers.append(ledger)
            async with built(chain, 2, events, fuse=True).execute(given_items) as run:
                async for _ in run:
                    count += 1
                    await checkpoint()
        return count

    def check(_outcome: object) -> None:
        ledger = ledgers[-1]
        if ledger is not None:
            ledger.check()
        if events:
            ends_of(events, len(chain))

    report = await cancel_sweep(scenario, how=how, check=check)
    assert report.skipped or report.ticks > 5

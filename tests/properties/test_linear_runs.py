"""Random chains against a reference that needs no tasks: same output, same order, same failure, at every capacity.

Held: semantics 3.2 (forms behave the same), 3.3 (pass-by in order, foreign data too), 5.4–5.6. What may change nothing, and what an
abandoned run leaves, is tried on graphs of all kinds: `tests/testing/test_check_runtime.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable

from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    DataElement,
    EndOfStream,
    ErrorElement,
    FilterStage,
    FlatMapStage,
    MapStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    SendEnd,
    StageError,
    StreamElement,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.testing import EdgeLedger, assert_all_stages_stopped


@dataclasses.dataclass(frozen=True)
class Step:
    """One stage of a random chain, and what it means."""

    kind: str
    fail_at: int | None = None

    def build(self, number: int):
        return BUILDERS[self.kind](f"s{number}", self.fail_at)


def mark(name: str) -> Callable[[TextElement], TextElement]:
    return lambda element: TextElement(f"{element.text}{name[1:]}")


def failing(fail_at: int | None):
    """Return a function that raises when it is called for the `fail_at`-th time; a fresh one per stage and run."""
    seen = 0

    def count() -> None:
        nonlocal seen
        if seen == fail_at:
            raise ValueError(seen)
        seen += 1

    return count


def a_generator(name: str, fail_at: int | None):
    @stage(name=name)
    async def generator(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        count = failing(fail_at)
        async for element in stream:
            count()
            yield mark(name)(element)

    return generator


def a_process(name: str, fail_at: int | None):
    @stage(name=name)
    async def process(stream: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        count = failing(fail_at)
        async for element in stream:
            count()
            await checkpoint()
            await output.send(mark(name)(element))

    return process


def a_map(name: str, fail_at: int | None):
    count = failing(fail_at)

    def function(element: TextElement) -> TextElement:
        count()
        return mark(name)(element)

    return MapStage(function, name=name)


def an_async_map(name: str, fail_at: int | None):
    count = failing(fail_at)

    async def function(element: TextElement) -> TextElement:
        count()
        await checkpoint()
        return mark(name)(element)

    return MapStage(function, name=name)


def a_filter(name: str, fail_at: int | None):
    count = failing(fail_at)

    def function(element: TextElement) -> bool:
        count()
        return len(element.text) % 2 == 0

    return FilterStage(function, name=name)


def a_doubler(name: str, fail_at: int | None):
    count = failing(fail_at)

    def function(element: TextElement) -> list[TextElement]:
        count()
        return [element, mark(name)(element)]

    return FlatMapStage(function, name=name, emits=TextElement)


def a_batcher(name: str, fail_at: int | None):
    @stage(name=name)
    async def batcher(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        count = failing(fail_at)
        held: list[str] = []
        async for element in stream:
            count()
            held.append(element.text)
            if len(held) == 2:
                yield TextElement("+".join(held))
                held.clear()
        if held:
            yield TextElement("+".join(held))

    return batcher


BUILDERS = {
    "generator": a_generator,
    "process": a_process,
    "map": a_map,
    "async map": an_async_map,
    "filter": a_filter,
    "doubler": a_doubler,
    "batcher": a_batcher,
}

steps = st.builds(Step, st.sampled_from(sorted(BUILDERS)), st.none() | st.none() | st.integers(0, 6))
items: st.SearchStrategy[StreamElement] = st.one_of(
    st.text("abc", max_size=3).map(TextElement),
    st.just(TurnEnd()),
    st.just(DataElement("other", 1)),
    st.just(ErrorElement("hiccup", "goes on")),
)


def reference(chain: list[Step], given: list[StreamElement]) -> tuple[list[StreamElement], str | None]:
    """What must come out, and which stage fails first: computed stage by stage, without tasks."""
    stream, failed = list(given), None
    for number, step in enumerate(chain):
        name, out, held, seen, dead = f"s{number}", [], [], 0, False
        for element in stream:
            if not isinstance(element, TextElement):
                out.append(element)
                continue
            if seen == step.fail_at:
                dead, failed = True, name
                break
            seen += 1
            if step.kind == "filter":
                out += [element] if len(element.text) % 2 == 0 else []
            elif step.kind == "doubler":
                out += [element, mark(name)(element)]
            elif step.kind == "batcher":
                held.append(element.text)
                if len(held) == 2:
                    out.append(TextElement("+".join(held)))
                    held = []
            else:
                out.append(mark(name)(element))
        if held and not dead:
            out.append(TextElement("+".join(held)))
        stream = out
    return stream, failed


def texts(elements: list[StreamElement]) -> list[StreamElement]:
    return [one for one in elements if isinstance(one, TextElement)]


@given(
    chain=st.lists(steps, min_size=1, max_size=5), given_items=st.lists(items, max_size=12), capacity=st.integers(1, 4)
)
async def test_a_random_chain_does_what_its_reference_says(
    chain: list[Step], given_items: list[StreamElement], capacity: int
):
    """Without a failure: the same output. With one: a prefix of it, the failure of one of the failing stages, and nothing left."""
    pipeline = (
        PipelineBuilder(PipelineConfig(buffer_size=capacity, timeout_s=1000))
        .chain(*(step.build(number) for number, step in enumerate(chain)))
        .build()
    )
    expected, failed = reference(chain, given_items)
    whole, _ = reference([Step(step.kind) for step in chain], given_items)
    got: list[StreamElement] = []
    error: StageError | None = None
    with EdgeLedger() as ledger:
        try:
            async for element in pipeline.execute(given_items):
                got.append(element)
        except StageError as caught:
            error = caught
    await assert_all_stages_stopped()
    ledger.check()

    end = got.pop()
    assert isinstance(end, EndOfStream)
    if failed is None:
        assert error is None
        assert end.reason == "done"
        assert_same_order(got, expected, chain)
        return
    assert error is not None
    assert end.reason == "error"
    notice = got.pop()
    assert isinstance(notice, ErrorElement)
    assert notice.fatal
    assert error.stage in {f"s{number}" for number, step in enumerate(chain) if step.fail_at is not None}
    if not any(step.kind == "batcher" for step in chain):
        # What a batcher flushes of a cut stream is its own; all other output is what would have come without the failure.
        assert texts(got) == texts(whole)[: len(texts(got))]


def assert_same_order(got: list[StreamElement], expected: list[StreamElement], chain: list[Step]) -> None:
    assert texts(got) == texts(expected)
    assert [one for one in got if not isinstance(one, TextElement)] == [
        one for one in expected if not isinstance(one, TextElement)
    ]
    if not any(step.kind == "batcher" for step in chain):
        # A stage that holds elements without saying so is passed by on the way; all others keep the order of everything.
        assert got == expected

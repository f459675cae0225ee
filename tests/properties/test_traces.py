"""Random graphs, traced: each element says itself where it was, and its trace must say the same.

Held: semantics 24.10 (exact ways), 24.11 (times). What a stage makes carries, as its text, the way that it came; so what arrives is
its own reference, and nothing is assumed of the order in which tasks run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from zlib import crc32

import anyio
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    FilterStage,
    FlatMapStage,
    MapAsyncStage,
    MapStage,
    MapUnorderedStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    Router,
    SendEnd,
    StreamElement,
    TextElement,
    TurnEnd,
)
from streamflow.observe import ElementTrace, TraceList, Tracing
from streamflow.stages import BufferStage, TimeoutStage

Form = Callable[[str, float], object]


def on(element: TextElement, name: str) -> TextElement:
    return TextElement(f"{element.text}>{name}")


def mapped(name: str, _pause_s: float) -> object:
    return MapStage(lambda element: on(element, name), name=name, accepts=TextElement)


def generated(name: str, pause_s: float) -> object:
    async def generate(input: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in input:
            await anyio.sleep(pause_s)
            yield on(element, name)
            yield on(element, name)

    return named(generate, name)


def written(name: str, pause_s: float) -> object:
    async def process(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for element in input:
            await output.send(on(element, name))
            await anyio.sleep(pause_s)

    return named(process, name)


def waiting(name: str, pause_s: float) -> Callable[[TextElement], object]:
    async def call(element: TextElement) -> TextElement:
        await anyio.sleep(pause_s * (crc32(element.text.encode()) % 3))
        return on(element, name)

    return call


def named(func: Callable[..., object], name: str) -> object:
    func.__name__ = name
    return func


FORMS: dict[str, Form] = {
    "map": mapped,
    "generator": generated,
    "process": written,
    "flat": lambda name, _: FlatMapStage(lambda one: [on(one, name)] * 2, name=name, accepts=TextElement),
    "filter": lambda name, _: FilterStage(
        lambda one: crc32(one.text.encode()) % 4 != 0, name=name, accepts=TextElement
    ),
    "pass": lambda name, _: PassthroughStage(name=name),
    "async": lambda name, s: MapAsyncStage(waiting(name, s), concurrency=3, name=name, accepts=TextElement),
    "unordered": lambda name, s: MapUnorderedStage(waiting(name, s), concurrency=3, name=name, accepts=TextElement),
    "buffer": lambda name, _: BufferStage(2, name=name),
    "inner": lambda name, s: TimeoutStage(MapAsyncStage(waiting(name, s), concurrency=2), total_s=1000, name=name),
}
SILENT = {"filter", "pass", "buffer"}
"""Those that send what they got, so that it does not say that it was there."""


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A row of blocks: a stage, or a fork into two stages whose outputs are merged."""

    blocks: tuple[tuple[str, ...], ...]
    pause_s: float
    capacity: int
    policy: str
    options: dict[str, bool]

    def build(self, tracing: Tracing) -> tuple[PipelineBuilder, set[str]]:
        builder = PipelineBuilder(
            PipelineConfig(
                buffer_size=max(self.capacity, 4 if "priority" in self.options else 1), tracing=tracing, **self.options
            )
        )
        silent: set[str] = set()
        before: str | None = None
        for number, forms in enumerate(self.blocks):
            names = [f"s{number}{letter}" for letter, _ in zip("ab", forms, strict=False)]
            builder.add(*(FORMS[form](name, self.pause_s) for name, form in zip(names, forms, strict=True)))
            silent |= {name for name, form in zip(names, forms, strict=True) if form in SILENT}
            if len(names) == 1:
                if before is not None:
                    builder.connect(before, names[0])
                before = names[0]
                continue
            if before is None:
                builder.add(PassthroughStage(name="first"))
                silent.add("first")
                before = "first"
            if self.policy == "route":
                builder.route(before, Router.round_robin(*names))
            else:
                builder.branch(before, *names)
            joined = f"j{number}"
            builder.add(mapped(joined, 0))
            builder.merge(joined, *names)
            before = joined
        return builder, silent


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    form = st.sampled_from(sorted(FORMS))
    block = st.tuples(form) | st.tuples(form) | st.tuples(form, form)
    return Drawn(
        tuple(draw(st.lists(block, min_size=1, max_size=4))),
        draw(st.sampled_from([0, 0.5])),
        draw(st.sampled_from([1, 2, 16])),
        draw(st.sampled_from(["branch", "route"])),
        draw(st.sampled_from([{}, {}, {"metrics": True}, {"priority": True}])),
    )


def said(text: str) -> list[str]:
    return text.split(">")[1:]


def assert_times(trace: ElementTrace) -> None:
    for before, after in zip(trace.visits, trace.visits[1:], strict=False):
        assert before.left_s == after.entered_s
        assert before.kind != after.kind
    assert all(one.duration_s >= 0 for one in trace.visits)
    assert abs(sum(one.duration_s for one in trace.visits) - trace.duration_s) < 1e-9


@given(drawn())
async def test_the_trace_of_each_element_names_exactly_the_way_that_it_came(drawn: Drawn) -> None:
    """semantics 24.10: through every form of stage, forks, routes and merges, whatever waits where."""
    sink = TraceList()
    builder, silent = drawn.build(Tracing(sinks=(sink,)))
    source: list[StreamElement] = [TextElement(str(number)) for number in range(5)]
    source.insert(2, TurnEnd())

    arrived: list[tuple[str, ElementTrace]] = []
    async with builder.build().execute(source) as run:
        async for element in run:
            if isinstance(element, TextElement):
                arrived.append((element.text, [one for one in sink.elements if one.end == "delivered"][-1]))

    assert {trace.element for _, trace in arrived} <= {"TextElement"}
    ids: dict[str, str] = {}
    for text, trace in arrived:
        assert [one for one in trace.path if one not in silent] == said(text)
        assert trace.links == ()
        assert ids.setdefault(text.partition(">")[0], trace.trace_id) == trace.trace_id
        assert_times(trace)
    assert len(set(ids.values())) == len(ids)
    assert sum(one.element == "TurnEnd" and one.end == "delivered" for one in sink.elements) == 1


FUNCTIONS = st.lists(st.sampled_from(["map", "filter", "pass", "flat", "process"]), min_size=1, max_size=4)


@given(FUNCTIONS, st.integers(0, 24), st.sampled_from([1, 3, 16]), st.sets(st.integers(0, 24)), st.booleans())
async def test_bursts_leave_each_element_its_own_way(
    forms: list[str], count: int, capacity: int, pauses: set[int], is_async: bool
) -> None:
    """semantics 24.10: where functions are called for many elements at a time, and some of them stop, drop or multiply them."""
    names = [f"{form}{number}" for number, form in enumerate(forms)]
    silent = {name for name, form in zip(names, forms, strict=True) if form in SILENT}
    config = PipelineConfig(buffer_size=capacity, tracing=Tracing(keep=10_000))
    stages = [FORMS[form](name, 0) for name, form in zip(names, forms, strict=True)]
    elements = [TurnEnd() if number % 9 == 8 else TextElement(str(number)) for number in range(count)]

    async def given_slowly() -> AsyncIterator[StreamElement]:
        for number, element in enumerate(elements):
            if number in pauses:
                await anyio.sleep(1)
            yield element

    arrived: list[StreamElement] = []
    async with PipelineBuilder(config).chain(*stages).build().execute(given_slowly() if is_async else elements) as run:
        async for element in run:
            arrived.append(element)
            if len(arrived) in pauses:
                await anyio.sleep(1)
    traces = [one for one in run.traces() if one.end == "delivered"]
    assert [type(one).__name__ for one in arrived[:-1]] == [one.element for one in traces]  # behind the last is the end
    ids: dict[str, str] = {}
    for element, trace in zip(arrived, traces, strict=False):
        assert_times(trace)
        if isinstance(element, TextElement):
            assert [one for one in trace.path if one not in silent] == said(element.text)
            assert ids.setdefault(element.text.partition(">")[0], trace.trace_id) == trace.trace_id
    assert len(set(ids.values())) == len(ids)

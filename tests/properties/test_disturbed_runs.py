"""Runs of one pipeline, disturbed in every way that a consumer has; then undisturbed ones: they are as if nothing had been.

Held: semantics 1.4, 3.1, 3.3 (control behind the last element), 3.4, 5.1, 5.6, 7.1, 7.4; SF-59. Edges are not watched, so this is
the fast path of each; sources, forms, capacities, fusion, traces and metrics are drawn.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import event, given
from hypothesis import strategies as st

from streamflow import (
    EndOfStream,
    FilterStage,
    FlatMapStage,
    MapAsyncStage,
    MapStage,
    PassthroughStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    Run,
    SendEnd,
    StageError,
    StreamElement,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.stages import BufferStage
from streamflow.testing import assert_all_stages_stopped, assert_no_tasks_left, tasks_alive

Made = list[str]
Fails = Callable[[], None]


class Memory:
    """What the stages of one example have opened and closed, and whether they fail."""

    def __init__(self, fails_at: int) -> None:
        self.opened = self.closed = 0
        self.left = fails_at
        self.is_armed = fails_at >= 0

    def fail(self) -> None:
        if self.is_armed:
            self.left -= 1
            if self.left < 0:
                raise ValueError("drawn")

    @contextlib.contextmanager
    def body(self) -> Iterator[None]:
        self.opened += 1
        try:
            yield
        finally:
            self.closed += 1


def function(name: str, _memory: Memory, fails: Fails) -> object:
    def work(element: TextElement) -> TextElement:
        fails()
        return TextElement(f"{element.text}.")

    return MapStage(work, name=name)


def waiting(name: str, memory: Memory, fails: Fails) -> object:
    async def work(element: TextElement) -> TextElement:
        with memory.body():
            await checkpoint()
            fails()
        return TextElement(f"{element.text}.")

    return MapAsyncStage(work, concurrency=2, name=name)


def generator(name: str, memory: Memory, fails: Fails) -> object:
    @stage(name=name)
    async def work(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        memory.opened += 1
        try:
            async for element in stream:
                fails()
                yield TextElement(f"{element.text}.")
        finally:
            memory.closed += 1

    return work


def process(name: str, memory: Memory, fails: Fails) -> object:
    @stage(name=name)
    async def work(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        with memory.body():
            async with input:
                async for element in input:
                    fails()
                    await output.send(TextElement(f"{element.text}."))

    return work


def running(name: str, memory: Memory, fails: Fails) -> object:
    inner = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(PassthroughStage("inner")).build()

    @stage(name=name)
    async def work(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        with memory.body():
            async for element in input:
                fails()
                for one in (await inner.run(element)).elements:
                    assert isinstance(one, TextElement)
                    await output.send(TextElement(f"{one.text}."))

    return work


FORMS: Mapping[str, tuple[Callable[[str, Memory, Fails], object], Callable[[Made], Made]]] = {
    "function": (function, lambda given: [f"{one}." for one in given]),
    "waiting": (waiting, lambda given: [f"{one}." for one in given]),
    "generator": (generator, lambda given: [f"{one}." for one in given]),
    "process": (process, lambda given: [f"{one}." for one in given]),
    "running": (running, lambda given: [f"{one}." for one in given]),
    "filter": (
        lambda name, *_: FilterStage(lambda one: len(one.text) % 3 > 0, name=name, accepts=TextElement),
        lambda given: [one for one in given if len(one) % 3],
    ),
    "flat": (
        lambda name, *_: FlatMapStage(
            lambda one: [TextElement(f"{one.text}{letter}") for letter in "ab"], name=name, accepts=TextElement
        ),
        lambda given: [f"{one}{letter}" for one in given for letter in "ab"],
    ),
    "buffer": (lambda name, *_: BufferStage(3, name=name), lambda given: given),
    "pass": (lambda name, *_: PassthroughStage(name), lambda given: given),
}


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A chain, behind one source or two that are merged; and how runs of it are disturbed."""

    forms: tuple[str, ...]
    fails: tuple[int, int]
    """Which stage fails, if it can, and when; less than 0: never."""
    turns: tuple[int, ...]
    """How many texts each turn has; the end of a turn comes first."""
    sources: int
    kind: str
    capacity: int
    options: Mapping[str, bool]
    ways: tuple[tuple[str, int], ...]
    """How each run ends, and after how many elements or checkpoints."""

    def build(self, memory: Memory) -> Pipeline:
        builder = PipelineBuilder(PipelineConfig(buffer_size=self.capacity, **self.options))
        names = [f"{form}{number}" for number, form in enumerate(self.forms)]
        failing, _ = self.fails
        for number, (name, form) in enumerate(zip(names, self.forms, strict=True)):
            builder.add(FORMS[form][0](name, memory, memory.fail if number == failing else lambda: None))
        builder.merge("join", *self.heads).chain("join", *names) if self.sources > 1 else builder.chain("head0", *names)
        return builder.add(*map(PassthroughStage, {*self.heads, "join"} if self.sources > 1 else self.heads)).build()

    @property
    def heads(self) -> list[str]:
        return [f"head{number}" for number in range(self.sources)]

    def given(self, head: int) -> list[StreamElement]:
        made: list[StreamElement] = []
        for turn, count in enumerate(self.turns):
            made += [TurnEnd(index=turn), *(TextElement(f"{head}:{turn}:{place}:") for place in range(count))]
        return [*made, TurnEnd(index=len(self.turns))]

    def source(self, memory: Memory) -> object:
        if self.sources == 1:
            return self._fed(self.given(0), memory)
        return {name: self._fed(self.given(head), memory) for head, name in enumerate(self.heads)}

    def _fed(self, elements: Iterable[StreamElement], memory: Memory) -> object:
        async def waits() -> AsyncIterator[StreamElement]:
            memory.opened += 1
            try:
                for number, element in enumerate(elements):
                    if number % 3 == 1:
                        await checkpoint()
                    yield element
            finally:
                memory.closed += 1

        return [*elements] if self.kind == "list" else waits()

    def wanted(self, head: int) -> tuple[Made, list[int]]:
        texts = [one.text for one in self.given(head) if isinstance(one, TextElement)]
        for form in self.forms:
            texts = FORMS[form][1](texts)
        return texts, [*range(len(self.turns) + 1)]


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    forms = tuple(draw(st.lists(st.sampled_from(sorted(FORMS)), min_size=1, max_size=4)))
    way = st.tuples(
        st.sampled_from(["break", "bare", "cancel", "drain", "scope", "shielded", "raise", "all"]), st.integers(0, 12)
    )
    return Drawn(
        forms,
        draw(st.tuples(st.integers(0, len(forms) - 1), st.integers(-1, 6))),
        tuple(draw(st.lists(st.integers(0, 4), max_size=4))),
        draw(st.sampled_from([1, 1, 2])),
        draw(st.sampled_from(["list", "waits"])),
        draw(st.sampled_from([1, 2, 16, 100])),
        draw(st.sampled_from([{}, {}, {"fuse": False}, {"tracing": True}, {"metrics": True}])),
        tuple(draw(st.lists(way, min_size=1, max_size=3))),
    )


async def consume(run: Run, how: str, count: int, got: list[StreamElement]) -> None:
    """Take what comes, and do so many elements later what was drawn."""
    async for element in run:
        got.append(element)
        if len(got) == count and how == "drain":
            await run.drain(100)
        elif len(got) == count and how == "cancel":
            run.cancel()
        elif len(got) > count and how in ("break", "raise"):
            if how == "raise":
                raise KeyError("drawn")
            return


async def cancel_later(scope: anyio.CancelScope, turns: int) -> None:
    for _ in range(turns):
        await checkpoint()
    scope.cancel()


async def disturbed(make: Callable[[], Run], how: str, count: int, got: list[StreamElement]) -> None:
    """Consume a run, and leave it as it was drawn; what its edges tell then must add up."""
    if how == "bare":
        async for element in make():
            got.append(element)
            if len(got) > count:
                return
        return
    run = make()
    if how in ("scope", "shielded"):
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                tasks.start_soon(cancel_later, scope, 3 * count)
                async with run:
                    with anyio.CancelScope(shield=how == "shielded"):
                        await consume(run, how, count, got)
    else:
        with contextlib.suppress(KeyError):
            async with run:
                await consume(run, how, count, got)
    for counts in (edge.counts for edge in run.stats().edges.values()):
        assert counts.sent == counts.received + counts.buffered + sum(counts.discarded.values())


def assert_is_beginning(got: list[StreamElement], drawn: Drawn, *, whole: bool) -> None:
    for head in range(drawn.sources):
        texts, ends = drawn.wanted(head)
        came = [one.text for one in got if isinstance(one, TextElement) and one.text.startswith(f"{head}:")]
        assert came == (texts if whole else texts[: len(came)])
        if drawn.sources == 1:
            turns = [one.index for one in got if isinstance(one, TurnEnd)]
            assert turns == (ends if whole else ends[: len(turns)])
    if whole:
        assert sum(isinstance(one, TurnEnd) for one in got) == drawn.sources * len(ends)
        assert isinstance(got[-1], EndOfStream)
        assert got[-1].reason == "done"


@pytest.mark.slow
@given(drawn())
async def test_after_any_disturbance_the_next_run_is_as_if_nothing_had_been(drawn: Drawn) -> None:
    """semantics 3.4, 7.1: nothing is left, what came is a beginning in order, an error names its stage, accounts add up."""
    memory = Memory(drawn.fails[1])
    pipeline, before = drawn.build(memory), tasks_alive()
    failing = f"{drawn.forms[drawn.fails[0]]}{drawn.fails[0]}"
    with anyio.fail_after(1000):
        for how, count in drawn.ways:
            got: list[StreamElement] = []
            memory.left = drawn.fails[1]
            failed: list[str] = []
            try:
                await disturbed(lambda: pipeline.execute(drawn.source(memory)), how, count, got)
            except* StageError as group:
                failed = [one.stage for one in group.exceptions if isinstance(one, StageError)]
            assert failed in ([], [failing] if memory.is_armed else [])
            event(f"{how}, {'failed' if failed else 'as it was'}")
            whole = how == "all" and not memory.is_armed
            assert_is_beginning(got, drawn, whole=whole)
            await assert_all_stages_stopped()
            await assert_no_tasks_left(before)
            assert memory.opened == memory.closed
        memory.is_armed = False
        for _ in range(2):
            assert_is_beginning(await undisturbed(pipeline, drawn, memory), drawn, whole=True)
    await assert_no_tasks_left(before)
    assert memory.opened == memory.closed


async def undisturbed(pipeline: Pipeline, drawn: Drawn, memory: Memory) -> list[StreamElement]:
    async with pipeline.execute(drawn.source(memory)) as run:
        return [element async for element in run]

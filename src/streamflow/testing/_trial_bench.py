"""The pipeline of a drawn graph, and what feeds it.

Above: `_trial`. Below: `_trial_graphs`, `_trial_reference` (what each stage makes), `runtime`.
"""

from __future__ import annotations

import random
import warnings
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint

from ..channels import ReceiveEnd, SendEnd, Weight
from ..elements import Priority, StreamElement, TextElement, TurnEnd, Usage, UsageElement
from ..graph import DROP, Router, Zip, ZipLatest
from ..observe import EdgeGrown
from ..runtime import PipelineBuilder, PipelineConfig
from ..stages import (
    CollectStage,
    FilterStage,
    FlatMapStage,
    MapAsyncStage,
    MapStage,
    PassthroughStage,
    StageKind,
    stage,
)
from ._trial_graphs import Fan, Loop, Nest, Step
from ._trial_reference import is_kept, key_of, made_by, mark_of, wants_more

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from ..graph import MergePolicy
    from ..observe import Event
    from ..runtime import Pipeline
    from ..stages import StageLike
    from ._trial_graphs import Block, Blocks, TrialGraph

__all__ = ["InjectedError", "TrialBench"]

_LOOP_ROOM = 200
"""Elements that an edge which leads back holds: more than ever go around at a time."""


class InjectedError(Exception):
    """What a stage raises that is to fail; its text is the name of the stage."""


class TrialBench:
    """A pipeline made of a drawn graph, its source, and what its taps saw.

    Args:
        drawn: The graph.
        settings: Of its configuration, besides what the graph says.
    """

    def __init__(self, drawn: TrialGraph, settings: Mapping[str, object]) -> None:
        self.drawn: TrialGraph = drawn
        """The graph."""
        self.tapped: dict[str, list[StreamElement]] = {}
        """What each tap saw."""
        self.source_closed: int = 0
        """How often its source was closed, or had ended."""
        self.given: int = 0
        """How many elements its source has given."""
        self.grown: set[str] = set()
        """Edges that were given more room."""
        self._random = random.Random(drawn.seed)  # noqa: S311 - chance that can be repeated
        config = PipelineConfig(buffer_size=drawn.capacity, priority=drawn.lanes, on_deadlock="grow")
        builder = PipelineBuilder(config.replace(**settings))
        self._say(builder, drawn.blocks)
        builder.on_event(self._hear)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of paths that may stop each other: edges grow
            self.pipeline: Pipeline = builder.build()
            """The pipeline."""

    def _hear(self, event: Event) -> None:
        if isinstance(event, EdgeGrown):
            self.grown.add(event.edge)

    def elements(self) -> list[StreamElement]:
        """Return what the source gives."""
        made: list[StreamElement] = []
        last = len(self.drawn.turns) - 1
        priorities = random.Random(self.drawn.seed)  # noqa: S311 - chance that can be repeated
        number = 0
        for turn, count in enumerate(self.drawn.turns):
            for _ in range(count):
                priority = priorities.choice(tuple(Priority)) if self.drawn.lanes else Priority.NORMAL
                made.append(TextElement(str(number), priority=priority))
                number += 1
            if turn % 2:
                made.append(UsageElement(Usage(), id=str(turn)))
            if turn < last or self.drawn.ends_last:
                made.append(TurnEnd(index=turn))
        return made

    async def source(self) -> AsyncIterator[StreamElement]:
        """Give the elements, with pauses."""
        try:
            for element in self.elements():
                await self._pause(1)
                self.given += 1
                yield element
        finally:
            self.source_closed += 1

    async def _pause(self, times: int) -> None:
        for _ in range(times):
            chance = self._random.random()
            if chance < 0.4:
                await checkpoint()
            elif chance < 0.5:
                await anyio.sleep(self._random.random())

    # Building

    def _say(self, builder: PipelineBuilder, blocks: Blocks) -> tuple[str, str]:
        """Add blocks, one behind the other; return the names of the first stage and of the last one."""
        ends: list[tuple[str, str]] = []
        for one in blocks:
            ends.append(self._say_block(builder, one))
            if len(ends) > 1:
                self._connect(builder, ends[-2][1], ends[-1][0])
        return ends[0][0], ends[-1][1]

    def _say_block(self, builder: PipelineBuilder, one: Block) -> tuple[str, str]:
        if isinstance(one, Step):
            builder.add(self._stage(one))
            return one.name, one.name
        if isinstance(one, Nest):
            inner = PipelineBuilder()
            self._say(inner, one.body)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                builder.add(inner.build().as_stage(one.name))
            return one.name, one.name
        if isinstance(one, Loop):
            return self._say_loop(builder, one)
        return self._say_fan(builder, one)

    def _connect(self, builder: PipelineBuilder, source: str, target: str) -> None:
        """Make an edge, of a size of its own, or bounded by weight, if chance says so."""
        chance = random.Random(f"{self.drawn.seed}/{source}/{target}").random()  # noqa: S311 - can be repeated
        if chance < 0.15 and not self.drawn.lanes:
            builder.connect(source, target, buffer=1 + int(chance * 20))
        elif chance < 0.3 and not self.drawn.lanes:
            builder.connect(source, target, weight=Weight(3, "letters", _letters))
        else:
            builder.connect(source, target)

    def _say_fan(self, builder: PipelineBuilder, fan: Fan) -> tuple[str, str]:
        begin, end = f"{fan.name}.in", f"{fan.name}.out"
        if fan.how == "tap":
            self.tapped[begin] = seen = list[StreamElement]()
            builder.add(PassthroughStage(begin), CollectStage(seen, name=f"{fan.name}.tap"))
            builder.tap(begin, f"{fan.name}.tap")
            return begin, begin
        builder.add(PassthroughStage(begin), PassthroughStage(end))
        arms = [self._say(builder, arm) for arm in fan.arms]
        for first, last in arms:
            if fan.how != "route":  # which makes its edges itself
                self._connect(builder, begin, first)
            self._connect(builder, last, end)
        heads = [first for first, _ in arms]
        if fan.how == "copy":
            builder.branch(begin, *heads)
        elif fan.how == "balance":
            builder.balance(begin, *heads)
        else:
            builder.route(begin, Router.by_function(partial(_choose, heads), *heads), default=DROP)
        tails = [last for _, last in arms]
        pairing: dict[str, MergePolicy] = {"zip": Zip(_paired), "zip_latest": ZipLatest(_paired)}
        policy = pairing.get(fan.policy) or fan.policy
        builder.merge(end, *tails, policy=policy)
        return begin, end

    def _say_loop(self, builder: PipelineBuilder, loop: Loop) -> tuple[str, str]:
        begin, end = f"{loop.name}.in", f"{loop.name}.end"

        @stage(name=end, outputs={"again": TextElement, "done": TextElement})
        async def decide(input: ReceiveEnd[TextElement], outputs: Mapping[str, SendEnd[TextElement]]) -> None:
            async for element in input:
                if wants_more(element.text, loop.name):
                    await outputs["again"].send(element.replace(text=f"{element.text}~{loop.name}"))
                else:
                    await outputs["done"].send(element)

        builder.add(PassthroughStage(begin), decide)
        if loop.body:
            first, last = self._say(builder, loop.body)
            self._connect(builder, begin, first)
            self._connect(builder, last, end)
        else:
            self._connect(builder, begin, end)
        builder.feedback(f"{end}:again", begin, buffer=_LOOP_ROOM, max_rounds=2)
        return begin, f"{end}:done"

    # The stages

    def _stage(self, step: Step) -> StageLike:
        make = partial(_work, step, _failing(step))
        match step.kind:
            case "process":
                return self._process(step)
            case "generator":
                return self._generator(step)
            case "async":
                return MapStage(partial(self._later, step, make), name=step.name)
            case "concurrent":
                return MapAsyncStage(partial(self._later, step, make), concurrency=3, name=step.name)
            case "pass":
                return PassthroughStage(step.name)
            case "filter":
                return FilterStage(_lets_through, name=step.name)
            case "double":
                return FlatMapStage(partial(_doubled, step), name=step.name)
            case "gather":
                return self._gather(step)
            case _:
                return MapStage(make, name=step.name)

    async def _later(self, step: Step, make: partial[TextElement], element: TextElement) -> TextElement:
        made = make(element)
        await self._pause(step.pause)
        return made

    def _process(self, step: Step) -> StageLike:
        @stage(name=step.name)
        async def process(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            fails = _failing(step)
            async for element in input:
                await self._pause(step.pause)
                await output.send(_work(step, fails, element))

        return process

    def _generator(self, step: Step) -> StageLike:
        @stage(name=step.name)
        async def generator(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
            fails = _failing(step)
            async for element in stream:
                await self._pause(step.pause)
                yield _work(step, fails, element)

        return generator

    def _gather(self, step: Step) -> StageLike:
        @stage(name=step.name, accepts=(TextElement, TurnEnd), kind=StageKind.ACCUMULATE)
        async def gather(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
            kept: list[str] = []
            async for element in input:
                await self._pause(step.pause)
                if isinstance(element, TextElement):
                    kept.append(element.text)
                    continue
                if kept:
                    await output.send(TextElement(f"[{'+'.join(sorted(kept))}]"))
                    kept.clear()
                await output.send(element)
            if kept:
                await output.send(TextElement(f"[{'+'.join(sorted(kept))}]"))

        return gather


def _failing(step: Step) -> list[int]:
    """Return the counter of a stage that fails at one element."""
    return [-1 if step.fails_at is None else step.fails_at]


def _work(step: Step, fails: list[int], element: TextElement) -> TextElement:
    fails[0] -= 1
    if fails[0] == -1 and step.fails_at is not None:
        raise InjectedError(step.name)
    (made,) = made_by(step, element.text)
    return element.replace(text=made)


def _doubled(step: Step, element: TextElement) -> Sequence[TextElement]:
    return [element.replace(text=mark_of(element.text, f"{step.name}{which}")) for which in "ab"]


def _lets_through(element: TextElement) -> bool:
    return is_kept(element.text)


def _choose(heads: Sequence[str], element: TextElement) -> str:
    return heads[key_of(element.text) % len(heads)]


def _paired(*elements: TextElement) -> TextElement:
    return TextElement(f"({'|'.join(one.text for one in elements)})")


def _letters(element: StreamElement) -> float:
    return len(element.text) if isinstance(element, TextElement) else 1

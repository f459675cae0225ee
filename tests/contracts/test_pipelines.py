"""Pipelines of every shape through the kit: each rule of graphs and runs, on both loops, at several capacities."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from streamflow import (
    CollectStage,
    DataElement,
    MapAsyncStage,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    Router,
    StreamElement,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.testing import ConformanceError, check_pipeline, misbehaving, rules_of

HEARD: list[StreamElement] = []


def shout(name="shout"):
    return MapStage(lambda element: TextElement(element.text.upper()), name=name, accepts=TextElement)


def whisper(name="whisper"):
    return MapStage(lambda element: TextElement(element.text.lower()), name=name, accepts=TextElement)


async def later(element: TextElement) -> TextElement:
    return TextElement(f"{element.text} later")


@stage
async def count() -> AsyncIterator[TextElement]:
    for number in range(5):
        yield TextElement(str(number))


def again(element: TextElement) -> DataElement | TextElement:
    return TextElement(f"{element.text}!") if element.text.count("!") < 2 else DataElement("done", element.text)


def linear(config):
    return PipelineBuilder(config).chain(PassthroughStage(name="p"), shout(), MapAsyncStage(later, concurrency=2))


def diamond(config):
    builder = PipelineBuilder(config).branch(PassthroughStage(name="p"), shout(), whisper())
    return builder.merge(PassthroughStage(name="join"), "shout", "whisper")


def several_leaves(config):
    return PipelineBuilder(config).branch(PassthroughStage(name="p"), shout(), whisper())


def ordered(config):
    return diamond(config).merge("join", policy="ordered")


def zipped(config):
    return diamond(config).merge("join", policy="zip")


def routed(config):
    builder = PipelineBuilder(config).chain(PassthroughStage(name="p"))
    builder.route("p", Router.round_robin(shout(), whisper()))
    return builder.merge(PassthroughStage(name="join"), "shout", "whisper")


def balanced(config):
    builder = PipelineBuilder(config).balance(PassthroughStage(name="p"), shout("a"), shout("b"))
    return builder.merge(PassthroughStage(name="join"), "a", "b")


def tapped(config):
    return PipelineBuilder(config).chain(PassthroughStage(name="p"), shout()).tap("p", CollectStage(HEARD, name="tap"))


def turns(config):
    return PipelineBuilder(config).chain(misbehaving.sends_at_the_end_of_a_turn("gather"), shout())


def looped(config):
    builder = PipelineBuilder(config).chain(MapStage(lambda one: one, name="in", accepts=TextElement), again)
    return builder.chain("again", MapStage(lambda one: one, name="out", accepts=DataElement)).feedback(
        "again", "in", buffer=32
    )


def generated(config):
    return PipelineBuilder(config).chain(count, shout())


def sunk(config):
    return PipelineBuilder(config).chain(shout(), CollectStage(HEARD, name="sink"))


def nested(config):
    return PipelineBuilder(config).chain(diamond(config).build().as_stage("inner"), shout("last"))


def urgent(config):
    return linear(config.replace(priority=True, buffer_size=max(4, config.buffer_size)))


LOUD = [f"ELEMENT {number}" for number in range(6)]
UNORDERED = {"ordered": False}
PIPELINES = {
    "linear": (linear, {"expected": [f"{one} later" for one in LOUD]}),
    "diamond": (diamond, {"expected": [*LOUD, *map(str.lower, LOUD)], **UNORDERED}),
    "several leaves": (several_leaves, {"expected": [*LOUD, *map(str.lower, LOUD)], **UNORDERED}),
    "ordered": (ordered, {"expected": [one for loud in LOUD for one in (loud, loud.lower())]}),
    "zip": (zipped, {}),
    "route": (routed, UNORDERED),
    "balance": (balanced, {"expected": LOUD, **UNORDERED}),
    "tap": (tapped, {"expected": LOUD}),
    "turns": (turns, {"elements": [TextElement("a"), TextElement("b"), TurnEnd(), TextElement("c")]}),
    "loop": (looped, UNORDERED),
    "generated": (generated, {"expected": list("01234")}),
    "sink": (sunk, {"expected": []}),
    "nested": (nested, {"expected": [*LOUD, *LOUD], **UNORDERED}),
    "priority": (urgent, {"expected": [f"{one} later" for one in LOUD]}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PIPELINES)
def test_every_shape_of_pipeline_keeps_the_rules(name) -> None:
    """conformance, graphs: what runs promise holds for chains, forks, joins, routes, loops and what is nested."""
    factory, options = PIPELINES[name]
    report = check_pipeline(factory, name=name, capacities=(1, 16), **options)
    assert report.ok
    assert {one.rule.id for one in report.verdicts} == {one.id for one in rules_of("graph")}


@pytest.mark.parametrize(
    ("beast", "rule"),
    [
        ("loses_the_last", "SF-02"),
        ("shares_state", "SF-09"),
        ("reads_everything_first", "SF-12"),
        ("mutates", "SF-51"),
        ("drops_for_want_of_room", "SF-13"),
        ("leaks_a_task", "SF-20"),
        ("never_ends", "SF-65"),
    ],
)
def test_a_misbehaving_stage_is_found_by_its_rule(beast, rule) -> None:
    """conformance, power: the zoo is not all of it, but none of these gets through."""

    def factory(config: PipelineConfig) -> PipelineBuilder:
        return PipelineBuilder(config).chain(getattr(misbehaving, beast)(), PassthroughStage(name="behind"))

    given = [TextElement(str(number)) for number in range(6)]
    with pytest.raises(ConformanceError) as caught:
        check_pipeline(factory, elements=given, expected=given, capacities=(1,), rules=[rule])
    assert rule in str(caught.value)

"""A pipeline as text, picture and data; and what its builder carries along."""

from __future__ import annotations

import json

import pytest

from streamflow import (
    Event,
    MapStage,
    PassthroughStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    TextElement,
)
from streamflow.errors import BuildError, ConfigError, DecodeError


def upper(element: TextElement) -> TextElement:
    return TextElement(element.text.upper())


STAGES = {"first": PassthroughStage("first"), "upper": upper, "rest": PassthroughStage("rest")}


def built(**settings) -> Pipeline:
    builder = PipelineBuilder(PipelineConfig(**settings)).chain(STAGES["first"])
    return builder.branch("first", upper, otherwise=STAGES["rest"]).build()


async def test_a_pipeline_from_data_does_what_the_one_did_that_was_written_down() -> None:
    """semantics 4.7: `to_dict()/from_dict()`, through JSON, with the settings."""
    pipeline = built(buffer_size=3, timeout_s=5)

    again = Pipeline.from_dict(json.loads(json.dumps(pipeline.to_dict())), STAGES)

    assert again.config == pipeline.config
    assert again.to_dict() == pipeline.to_dict()
    assert again.explain() == pipeline.explain()
    assert (await again.run("x")).text == "X"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"graph": 5}, DecodeError, r"an object with fields was expected, got int \(at \$\.graph\)"),
        ({"graph": {"v": 1, "stages": 5, "edges": []}}, DecodeError, r"at \$\.graph\.stages"),
        ({"config": []}, DecodeError, r"at \$\.config"),
        ({"config": {"buffer_size": "many"}}, ConfigError, "buffer_size"),
        ({"config": {"bufer_size": 3}}, ConfigError, "bufer_size"),
        ({"stages": {}}, DecodeError, "'graph' and 'config', got 'stages'"),
    ],
)
def test_malformed_data_is_refused_with_its_place(change, error, message: str) -> None:
    """rule of the code: limits and clear errors for what comes from outside."""
    with pytest.raises(error, match=message):
        Pipeline.from_dict(built().to_dict() | change, STAGES)


@pytest.mark.parametrize("given", [None, [], {}, {1: 2}])
def test_what_is_no_pipeline_is_refused(given) -> None:
    """how we work 5."""
    with pytest.raises(DecodeError):
        Pipeline.from_dict(given, STAGES)


def test_a_stage_that_is_not_given_is_named() -> None:
    """semantics 4.7: stages are code."""
    with pytest.raises(BuildError, match="rest"):
        Pipeline.from_dict(built().to_dict(), {name: one for name, one in STAGES.items() if name != "rest"})


def test_a_pipeline_draws_itself() -> None:
    """semantics 4.7: text, Mermaid and DOT show its stages."""
    pipeline = built(buffer_size=7)

    assert "(7)" in pipeline.explain()
    assert pipeline.to_mermaid().startswith("flowchart")
    assert pipeline.to_dot().startswith("digraph")
    for text in (pipeline.explain(), pipeline.to_mermaid(), pipeline.to_dot()):
        assert all(name in text for name in STAGES)
    assert repr(pipeline) == "<Pipeline first, upper, rest>"


def test_the_bound_that_is_explained_is_the_bound() -> None:
    """semantics 5.4: one sum."""
    pipeline = built(buffer_size=7)

    assert f"at most {pipeline.max_in_flight} elements" in pipeline.explain()
    assert pipeline.max_in_flight == 5 * 7 + 3 + 1 + 1


async def test_a_clone_carries_settings_and_listeners_along_and_goes_its_own_way() -> None:
    """semantics 4.1: `clone()` forks a builder."""
    events: list[Event] = []
    builder = PipelineBuilder(PipelineConfig(buffer_size=2)).on_event(events.append).chain(STAGES["first"])
    other = builder.clone().chain("first", upper).on_event(lambda _event: None)

    assert (await builder.build().run("x")).text == "x"
    assert (await other.build().run("x")).text == "X"
    assert other.build().config.buffer_size == 2
    assert {one.stage for one in events} == {None, "first", "upper"}


async def test_a_prefixed_view_builds_the_same_pipeline() -> None:
    """semantics 4.1: name prefixes; the view shares everything with its builder."""

    def add_cleaning(builder: PipelineBuilder) -> None:
        builder.chain(MapStage(lambda e: TextElement(e.text.strip()), name="strip", accepts=TextElement), upper)

    builder = PipelineBuilder()
    add_cleaning(builder.prefixed("left"))
    add_cleaning(builder.prefixed("right"))
    pipeline = builder.connect("left", "right").build()

    assert repr(pipeline) == "<Pipeline left/strip → left/upper → right/strip → right/upper>"
    assert (await pipeline.run(" x ")).text == "X"


@pytest.mark.parametrize("priority", [False, True])
def test_an_edge_that_is_too_narrow_for_lanes_is_refused_when_the_pipeline_is_built(priority: bool) -> None:
    """semantics 2.7: a lane for each priority, each with a place; the edge is named."""
    builder = PipelineBuilder(PipelineConfig(priority=priority)).add(upper, STAGES["rest"])
    builder.connect("upper", "rest", buffer=3)

    if not priority:
        assert builder.build().explain()
        return
    with pytest.raises(ConfigError, match="upper → rest has 3; give connect"):
        builder.build()

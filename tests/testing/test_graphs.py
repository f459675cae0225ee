"""The strategy for graphs: what it draws is lawful, and says what the pipeline that is made of it is."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from streamflow import CollectStage, PassthroughStage
from streamflow.testing import DrawnGraph, DrawnStage, graphs


def stand_in(one: DrawnStage) -> object:
    return CollectStage([], name=one.name) if one.is_sink else PassthroughStage(name=one.name)


@pytest.mark.slow
@given(st.integers(1, 3).flatmap(lambda heads: graphs(kinds=("map", "filter"), heads=heads)))
def test_every_graph_drawn_can_be_built(drawn: DrawnGraph) -> None:
    """testing.graphs: validation accepts it, and the pipeline has its stages, heads, leaves and taps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = drawn.builder(stand_in).build()
    event(f"{len(drawn.stages)} stages")
    told = pipeline.to_dict()["graph"]
    assert [one["name"] for one in told["stages"]] == [one.name for one in drawn.stages]
    assert len(told["edges"]) == sum(len(one.inputs) for one in drawn.stages)
    assert all(set(one.inputs) <= drawn.above(one.name) for one in drawn.stages)
    assert bool(drawn.heads)
    assert set(drawn.leaves).isdisjoint(one.name for one in drawn.stages if one.is_sink)


def test_a_drawn_graph_tells_itself_in_a_line_per_stage() -> None:
    """testing.DrawnGraph: what a failing example prints can be read."""
    drawn = DrawnGraph(
        (
            DrawnStage("map0", "map", fan="route"),
            DrawnStage("map1", "map", ("map0",)),
            DrawnStage("map2", "map", ("map0", "map1"), policy="zip"),
        ),
        capacity=2,
        buffers=(("map0", "map1", 1),),
    )
    assert str(drawn).splitlines() == [
        "map0: source → map → route",
        "map1: map0 → map → copy",
        "map2: map0, map1 by zip → map → copy",
        "edges of 2",
        "map0 → map1: 1",
    ]
    assert (drawn.heads, drawn.leaves, drawn.fed_by("map0")) == (("map0",), ("map2",), ("map1", "map2"))

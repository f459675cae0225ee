"""Which stages may fail without failing the run."""

from __future__ import annotations

import pytest

from streamflow import CollectStage, ConfigError, PassthroughStage, TextElement, stage
from streamflow.graph import GraphBuilder, isolated_stages


def named(name: str) -> PassthroughStage:
    return PassthroughStage(name)


def sink(name: str) -> CollectStage:
    return CollectStage([], name=name)


def isolated(builder: GraphBuilder) -> str:
    return "".join(sorted(isolated_stages(builder.build_graph())))


def test_without_a_word_every_failure_is_the_runs() -> None:
    """4.5: a plain merge and a plain branch isolate nothing."""
    builder = GraphBuilder().branch(named("a"), named("b"), named("c")).merge(named("d"), "b", "c")
    assert isolated(builder) == ""


def test_all_ways_of_a_stage_must_lead_into_a_merge_that_isolates() -> None:
    """4.5: who reaches the output another way too would be missed there."""
    builder = GraphBuilder().chain(named("a"), named("b")).merge(named("z"), "b", named("c"), isolate=True)
    assert isolated(builder) == "abc"
    builder.chain("z", named("y"))
    assert isolated(builder) == "abc"
    assert isolated(builder.clone().branch("a", sink("s"))) == "bc"
    assert isolated(builder.clone().branch("b", sink("s"))) == "c"
    assert isolated(builder.clone().branch("b", "z", named("e")).merge("z", "e")) == "abce"


def test_a_fork_above_two_isolated_inputs_is_isolated_itself() -> None:
    """4.5: when it fails each input ends, and the merge goes on without them, to its end."""
    builder = GraphBuilder().branch(named("a"), named("b"), named("c")).merge(named("z"), "b", "c", isolate=True)
    assert isolated(builder) == "abc"


def test_what_only_optional_branches_reach_is_isolated_to_its_ends() -> None:
    """4.5: sinks among them, and what they join among themselves."""
    builder = GraphBuilder().branch(named("a"), named("b"), optional=[named("c"), named("d")])
    builder.chain("c", sink("s"))
    assert isolated(builder) == "cds"
    builder.branch("d", named("e"), named("f")).merge(named("g"), "e", "f")
    assert isolated(builder) == "cdefgs"
    builder.merge("g", "b")
    assert isolated(builder) == "cdefs"


def test_every_port_counts() -> None:
    """4.13: a stage that is fed from elsewhere too, or gives to elsewhere too, is not isolated."""

    @stage(inputs={"in": TextElement, "other": TextElement}, outputs={"out": TextElement, "rest": TextElement})
    async def ports(inputs, outputs) -> None:
        raise AssertionError

    builder = GraphBuilder().branch(named("a"), named("b"), optional=["ports:in"]).add(ports)
    assert isolated(builder.clone().chain("ports:out", sink("s"))) == ""
    merged = GraphBuilder().add(ports).merge(named("z"), "ports:out", named("b"), isolate=True)
    assert isolated(merged) == "b"
    assert isolated(merged.merge("z", "ports:rest")) == "bports"


def test_said_in_a_nested_pipeline_it_comes_along() -> None:
    """4.12: forks and joins come along as they are."""
    from streamflow import PipelineBuilder

    inner = PipelineBuilder().branch(named("a"), named("b"), optional=[named("c")])
    inner.merge(named("z"), "b", "c", isolate=True)
    outer = PipelineBuilder().chain(named("x"), inner.build().as_stage("in"), named("y"))
    assert isolated_stages(outer.build_graph()) == {"x", "in/a", "in/b", "in/c"}


def test_wrong_arguments_are_refused_at_once() -> None:
    """11.2: named, with what is right."""
    with pytest.raises(ConfigError, match="isolate"):
        GraphBuilder().merge(named("a"), named("b"), named("c"), isolate="yes")
    with pytest.raises(ConfigError, match="optional"):
        GraphBuilder().branch(named("a"), named("b"), optional="b")

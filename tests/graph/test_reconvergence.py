"""Graphs that may stop for ever: paths that part and meet again where the meeting waits."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest
from graphs import graph, node

from streamflow import BuildWarning, FilterStage, PassthroughStage, PipelineBuilder, SendEnd, StreamElement, stage
from streamflow.graph._reconvergence import reconvergent
from streamflow.stages import BatchStage, SkipStage, TakeStage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamflow import ReceiveEnd


@stage(inputs={"left": StreamElement, "right": StreamElement})
async def join(inputs: Mapping[str, ReceiveEnd[StreamElement]], output: SendEnd[StreamElement]) -> None:
    for one in inputs.values():
        async for element in one:
            await output.send(element)


def some(element: StreamElement) -> bool:
    return bool(element.id)


def diamond(between: object) -> PipelineBuilder:
    builder = (
        PipelineBuilder().chain(PassthroughStage("fork"), between).branch("fork", between, PassthroughStage("direct"))
    )  # type: ignore[arg-type]
    return builder.add(join).connect(between, "join:left").connect("direct", "join:right")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "between", [BatchStage(size=3), FilterStage(some), SkipStage(3), TakeStage(3)], ids=lambda one: one.name
)
def test_a_stage_that_holds_back_below_a_fork_and_above_a_join_that_waits_is_warned_about(between: object) -> None:
    """14.3: at the line of the join, naming the fork, the join and the stage, with ways out."""
    with pytest.warns(BuildWarning, match="'join' may wait for one of its inputs while 'fork' above") as told:
        diamond(between).build()
    (only,) = told
    assert f"{between.name!r} between them holds elements back" in str(only.message)  # type: ignore[attr-defined]
    assert "merge the inputs" in str(only.message)
    assert only.filename == __file__


def test_what_cannot_stop_is_not_warned_about() -> None:
    """14.3: paths that hold nothing back, a merge instead of a join that waits, and inputs without a fork above."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        diamond(PassthroughStage("other")).build()
        builder = PipelineBuilder().chain(PassthroughStage("fork"), BatchStage(size=3))
        builder.branch("fork", "batch", PassthroughStage("direct")).merge(
            PassthroughStage("end"), "batch", "direct"
        ).build()
        PipelineBuilder().chain(BatchStage(size=3)).add(PassthroughStage("direct"), join).connect(
            "batch", "join:left"
        ).connect("direct", "join:right").build()


def test_the_nearest_fork_and_the_first_stage_that_holds_back_are_named() -> None:
    """14.3: one warning for each join, about what is nearest to it."""
    ports = {"x": (StreamElement,), "y": (StreamElement,)}
    made = graph(
        [
            node("a"),
            node("b"),
            node("c", holds_back=True),
            node("d", holds_back=True),
            node("e"),
            node("j", input_ports=ports),
        ],
        ["a → b", "a → e", "b → c", "b → d", "c → j:x", "d → j:y", "e → j:y"],
        ["a", "b"],
        ["j:y"],
    )
    (found,) = reconvergent(made)
    assert found.stage == "j"
    assert "while 'b' above" in found.message
    assert "'c' between them" in found.message

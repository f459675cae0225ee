"""Which stages are a chain by themselves: their function may be called by who reads what they give, as that of a chain may be.

Above: `_plan`. Below: `channels`.

Each keeps its edges, which hold what they held. What is gained is that a burst passes many of them without a task switch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..channels import NOTHING, WIDE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ._plan import EdgePlan, StagePlan

__all__ = ["lone_chains"]

_NESTED: Final = 16
"""Of so many stages in a row, one calls its function in its own task: calls do not nest deeper, and other tasks have their turn."""


def lone_chains(
    stages: Sequence[StagePlan], edges: Sequence[EdgePlan], fused: Collection[int]
) -> Iterator[tuple[int, ...]]:
    """Yield the places of such stages, each alone.

    Args:
        stages: All stages of a graph in which nothing forks and nothing merges, and no edge is watched.
        edges: Its edges.
        fused: The places of those that share their task with others.
    """
    for one in stages:
        step = one.node.stage.step
        if step is None or step.sends is NOTHING or one.index in fused or (one.index + 1) % _NESTED == 0:
            continue
        if one.supervision is not None or one.is_restartable or one.node.stage.timeout_s is not None:
            continue
        into = [edges[place] for end in one.inputs for place in end.edges]
        out = [edges[place] for end in one.outputs for place in end.edges]
        if into and out and all(edge.is_quick and edge.bound.capacity <= WIDE for edge in (*into, *out)):
            yield (one.index,)

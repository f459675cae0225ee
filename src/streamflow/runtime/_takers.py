"""Which boundaries of turns stages may take in on the ways between a fork and a merge. Found out once, with the plan.

Above: `_plan`. Below: `channels`, `graph`.

Where one may, the fork has a marker follow each of these boundaries: see `channels._control`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from .._records import Record
from ..channels import TURNS
from ..elements import ControlElement

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ..graph import Endpoint, Node
    from ._plan import EdgePlan

__all__ = ["Boundaries", "Taker", "find_takers", "taken_between"]


Boundaries: TypeAlias = tuple[type[ControlElement], ...]
"""Types of boundaries."""


class Taker(Record, frozen=True):
    """A stage that takes boundaries in."""

    edges: frozenset[int]
    """The edges that it reads."""
    downstream: frozenset[int]
    """The stages that what it sends can reach, and itself."""
    taken: Boundaries
    """The boundaries."""


def find_takers(
    nodes: Sequence[Node], into: Mapping[Endpoint, Collection[int]], downstream: Sequence[frozenset[int]]
) -> list[Taker]:
    """Return the stages that take boundaries in.

    Args:
        nodes: The stages, by number.
        into: The edges that lead to each input.
        downstream: For each stage, those that what it sends can reach.
    """
    found: list[Taker] = []
    for number, node in enumerate(nodes):
        control = [one for accepts in node.inputs.values() for one in accepts if issubclass(one, ControlElement)]
        taken = tuple(turn for turn in TURNS if any(issubclass(turn, one) or issubclass(one, turn) for one in control))
        if taken:
            edges = frozenset(edge for one in node.inputs for edge in into[one])
            found.append(Taker(edges, downstream[number] | {number}, taken))
    return found


def taken_between(
    reached: Mapping[int, Collection[int]],
    reach: Mapping[int, Collection[int]],
    inputs: Sequence[EdgePlan],
    takers: Collection[Taker],
) -> dict[int, Boundaries]:
    """Return for each fork above a merge which boundaries may be taken in on a way between; forks without any are left out.

    Args:
        reached: For each fork, the edges that a copy made there can come to.
        reach: For each fork above the merge, the positions of the inputs that it comes to there.
        inputs: The edges into the merge.
        takers: The stages that take boundaries in.
    """
    found: dict[int, Boundaries] = {}
    for fork, positions in reach.items() if takers else ():
        writers = {inputs[one].source for one in positions}
        between = [
            one.taken
            for one in takers
            if not (one.edges.isdisjoint(reached[fork]) or one.downstream.isdisjoint(writers))
        ]
        if between:
            found[fork] = tuple(turn for turn in TURNS if any(turn in several for several in between))
    return found

"""What is the same for all runs of a pipeline: who is fed by whom, over which edges. Made once, at `build()`.

Above: `_pipeline` makes it, `_wiring` opens its edges for each run. Below: `graph`, `stages`.

Stages are numbered in topological order, edges as they were added, behind them those from the source and to the consumer.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ..graph import Endpoint
from ..stages import EVERYTHING, admission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..graph import Graph, Node

__all__ = ["EdgePlan", "InputPlan", "OutputPlan", "Plan", "StagePlan", "make_plan"]


@dataclasses.dataclass(frozen=True, slots=True)
class EdgePlan:
    """One edge."""

    name: str
    """As `a → b`."""
    source: int | None
    """The stage that writes; None: the source."""
    target: int | None
    """The stage that reads; None: the consumer."""
    capacity: int
    """The bound, in elements."""
    gate: Callable[[object], bool]
    """Says what its reader accepts."""


@dataclasses.dataclass(frozen=True, slots=True)
class InputPlan:
    """One input of a stage, or the consumer's."""

    port: str
    """Name of the port; empty for the only one."""
    edges: tuple[int, ...]
    """The edges into it: several are merged."""
    gate: Callable[[object], bool]
    """Says what it accepts."""
    name: str
    """What the merge is called."""
    reach: Mapping[int, frozenset[int]] = dataclasses.field(default_factory=dict[int, frozenset[int]])
    """For each fork above that leads to several of its edges, the positions of those."""


@dataclasses.dataclass(frozen=True, slots=True)
class OutputPlan:
    """One output of a stage."""

    port: str
    """Name of the port; empty for the only one."""
    edges: tuple[int, ...]
    """The edges out of it: several are branches."""
    otherwise: int | None
    """Among them the one for data that no other branch accepts."""
    fork: int
    """The number by which merges know it, if it forks."""


@dataclasses.dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage."""

    node: Node
    """The stage in its graph."""
    index: int
    """Its number."""
    inputs: tuple[InputPlan, ...]
    """What it reads; nothing, for one that generates."""
    outputs: tuple[OutputPlan, ...]
    """What it writes; nothing, for a sink."""
    fork: int
    """The number by which merges know all its outputs together; -1 for a sink."""
    downstream: frozenset[int]
    """The stages that its elements can reach."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """All that runs of one pipeline share."""

    stages: tuple[StagePlan, ...]
    """The stages, each behind all that feed it."""
    edges: tuple[EdgePlan, ...]
    """The edges."""
    heads: Mapping[str, int]
    """The edge from the source into each head, by the name of its endpoint."""
    leaves: Mapping[str, int]
    """The edge from each leaf to the consumer, by the name of its endpoint."""
    outlet: InputPlan
    """What the consumer reads."""
    last_stages: frozenset[int]
    """The stages that feed the consumer, and the sinks: the run is over when they have ended."""
    fed: Mapping[str, frozenset[int]]
    """For each head, the stages that what its source gives can reach."""
    served: Mapping[str, frozenset[int]]
    """For each head, the last stages among those."""

    @property
    def max_in_flight(self) -> int | None:
        """Most elements that are inside a run at any moment; None when a stage cannot say how many it holds."""
        held = [one.node.stage.max_held for one in self.stages]
        inputs = [self.outlet, *(one for stage in self.stages for one in stage.inputs)]
        merges = sum(len(one.edges) > 1 for one in inputs)
        total = sum(edge.capacity for edge in self.edges) + merges + max(len(self.heads), 1)
        for one in held:
            if one is None:
                return None
            total += one
        return total


def make_plan(graph: Graph, buffer_size: int) -> Plan:
    """Return the plan of a graph that validation has accepted.

    Args:
        graph: The stages and edges.
        buffer_size: Capacity of edges that have none of their own.
    """
    nodes = graph.order()
    index = {node.name: number for number, node in enumerate(nodes)}
    edges: list[EdgePlan] = []
    into: dict[Endpoint, list[int]] = {one: [] for node in nodes for one in node.inputs}
    out_of: dict[Endpoint, list[int]] = {one: [] for node in nodes for one in node.outputs}
    accepted = {one: accepts for node in nodes for one, accepts in node.inputs.items()}

    def add(source: Endpoint | None, target: Endpoint | None, buffer: int | None) -> int:
        writer = "source" if source is None else source.stage
        name = f"{'source' if source is None else source} → {'consumer' if target is None else target}"
        gate = admission(EVERYTHING if target is None else accepted[target], producer=writer)
        capacity = buffer_size if buffer is None else buffer
        ends = (None if one is None else index[one.stage] for one in (source, target))
        edges.append(EdgePlan(name, *ends, capacity, gate))
        if source is not None:
            out_of[source].append(len(edges) - 1)
        if target is not None:
            into[target].append(len(edges) - 1)
        return len(edges) - 1

    for edge in graph.edges:
        add(edge.source, edge.target, edge.buffer)
    heads = {str(one): add(None, one, None) for one in graph.heads}
    leaves = {str(one): add(one, None, None) for one in graph.leaves}
    downstream = {node.name: frozenset(index[one] for one in graph.downstream(node.name)) for node in nodes}
    otherwise = {fork.source: fork.otherwise for fork in graph.forks if fork.otherwise is not None}
    catching = {
        source: next(one for one in out_of[source] if edges[one].name == f"{source} → {target}")
        for source, target in otherwise.items()
    }
    forks: dict[int, tuple[int, ...]] = {}

    def number_fork(branches: Iterable[int]) -> int:
        forks[len(forks)] = tuple(branches)
        return len(forks) - 1

    outputs = {
        node.name: tuple(
            OutputPlan(one.port, tuple(out_of[one]), catching.get(one), number_fork(out_of[one]))
            for one in node.outputs
        )
        for node in nodes
    }
    whole = {
        name: number_fork(edge for one in plans for edge in one.edges)
        if len(plans) > 1
        else plans[0].fork
        if plans
        else -1
        for name, plans in outputs.items()
    }
    reach = _reach_of_forks(forks, edges, [downstream[node.name] for node in nodes])

    def entrance(target: Endpoint | None, incoming: Iterable[int]) -> InputPlan:
        numbers = tuple(incoming)
        gate = admission(EVERYTHING if target is None else accepted[target], producer="merge")
        name = f"merge → {'consumer' if target is None else target}"
        above = {
            fork: frozenset(position for position, edge in enumerate(numbers) if edge in reached)
            for fork, reached in reach.items()
        }
        joined = {fork: positions for fork, positions in above.items() if len(positions) > 1}
        return InputPlan("" if target is None else target.port, numbers, gate, name, joined)

    stages = tuple(
        StagePlan(
            node=node,
            index=number,
            inputs=tuple(entrance(one, into[one]) for one in node.inputs),
            outputs=outputs[node.name],
            fork=whole[node.name],
            downstream=downstream[node.name],
        )
        for number, node in enumerate(nodes)
    )
    last = frozenset(one.index for one in stages if not one.outputs) | {edges[one].source for one in leaves.values()}
    fed = {str(one): downstream[one.stage] | {index[one.stage]} for one in graph.heads}
    return Plan(
        stages=stages,
        edges=tuple(edges),
        heads=heads,
        leaves=leaves,
        outlet=entrance(None, leaves.values()),
        last_stages=last,
        fed=fed,
        served={name: reached & last for name, reached in fed.items()},
    )


def _reach_of_forks(
    forks: Mapping[int, tuple[int, ...]], edges: list[EdgePlan], downstream: list[frozenset[int]]
) -> dict[int, frozenset[int]]:
    """Return, for each endpoint that forks, the edges that a copy made there can come to."""
    reach: dict[int, frozenset[int]] = {}
    for fork, branches in forks.items():
        if len(branches) > 1:
            firsts = {edges[one].target for one in branches} - {None}
            stages = firsts.union(*(downstream[one] for one in firsts if one is not None))
            reach[fork] = frozenset(
                number for number, edge in enumerate(edges) if number in branches or edge.source in stages
            )
    return reach

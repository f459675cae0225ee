"""What is the same for all runs of a pipeline: who is fed by whom, over which edges. Made once, at `build()`.

Above: `_pipeline` makes it, `_wiring` opens its edges for each run. Below: `graph`, `stages`.

Stages are numbered in topological order, edges as they were added, behind them those from the source and to the consumer.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from .._records import Record
from ..channels import ASIDE, REMEMBERED, EdgeBound, Rounds
from ..elements import Priority
from ..errors import ConfigError
from ..graph import DEAD_LETTERS, Arrival, Endpoint, bounds_of, fusion_of, isolated_stages, loops, ordering_forks
from ..stages import ALL_DATA, EVERYTHING, StageKind, admission
from ._edge_watches import has_limits, times_all, watches_all
from ._fans import fan_of
from ._lone_chains import lone_chains
from ._orderings import forks_above, plan_orderings
from ._straight import is_in_chain, is_straight
from ._takers import Boundaries, Taker, find_takers, taken_between

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ..graph import FeedbackSpec, Fusion, Graph, MergePolicy, Node
    from ..stages import Supervision
    from ._config import PipelineConfig
    from ._fans import FanPlan
    from ._orderings import JoinKey, OrderingPlan

__all__ = ["EdgePlan", "InputPlan", "LoopPlan", "OutputPlan", "Plan", "StagePlan", "fused", "make_plan"]


_ARRIVAL = Arrival()


class EdgePlan(Record, frozen=True):
    """One edge."""

    name: str
    """As `a → b`."""
    source: int | None
    """The stage that writes; None: the source."""
    target: int | None
    """The stage that reads; None: the consumer."""
    bound: EdgeBound
    """What it may hold."""
    gate: Callable[[object], bool]
    """Says what its reader accepts."""
    rounds: Rounds | None = None
    """How often an element may go around, if it leads back."""
    is_chained: bool = False
    """Whether the stages at its ends share a task."""
    is_plain: bool = False
    """Whether it leads forward from task to task, and has neither lanes nor a policy nor a weight."""
    plain: set[type] = msgspec.field(default_factory=set[type])
    """The types that the gate has let through to the reader so far, in any run."""

    @property
    def capacity(self) -> int:
        """The bound, in elements."""
        return self.bound.capacity

    @property
    def is_quick(self) -> bool:
        """Whether it is plain, or would be without its lanes."""
        has_lanes_alone = self.rounds is None and self.bound == EdgeBound(self.capacity, lanes=True)
        return self.is_plain or has_lanes_alone


class LoopPlan(Record, frozen=True):
    """One loop: stages from which elements come back to themselves."""

    stages: frozenset[int]
    """The stages."""
    back: tuple[int, ...]
    """The edges that lead back."""
    inside: tuple[int, ...]
    """The edges between its stages, those that lead back among them."""
    entering: tuple[int, ...]
    """The edges by which something new comes."""
    leaving: tuple[int, ...]
    """The edges by which something leaves."""


class InputPlan(Record, frozen=True):
    """One input of a stage, or the consumer's."""

    port: str
    """Name of the port; empty for the only one."""
    edges: tuple[int, ...]
    """The edges into it: several are merged."""
    gate: Callable[[object], bool]
    """Says what it accepts."""
    name: str
    """What the merge is called."""
    reach: Mapping[int, frozenset[int]] = msgspec.field(default_factory=dict[int, frozenset[int]])
    """For each fork above that leads to several of its edges, the positions of those."""
    taken: Mapping[int, Boundaries] = msgspec.field(default_factory=dict[int, Boundaries])
    """For each of these forks, the boundaries that a stage on a way from there may take in, if any."""
    policy: MergePolicy = _ARRIVAL
    """How its edges are merged."""


class OutputPlan(Record, frozen=True):
    """One output of a stage."""

    port: str
    """Name of the port; empty for the only one."""
    edges: tuple[int, ...]
    """The edges out of it: several are branches."""
    otherwise: int | None
    """Among them the one for data that no other branch accepts."""
    fork: int
    """The number by which merges know it, if it forks."""
    fan: FanPlan | None = None
    """How it divides its elements, if not by copying them; or whether it has taps."""


class StagePlan(Record, frozen=True):
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
    keeps_aside: bool
    """Whether what it does not accept waits for its results."""
    ports: Mapping[int, frozenset[int]]
    """For each fork above that leads to several of its inputs, the positions of those."""
    letters: OutputPlan | None = None
    """Where its dead letters go."""
    supervision: Supervision | None = None
    """What to do when it fails."""
    restarted_with: frozenset[int] = frozenset()
    """The stages that are restarted with it."""
    is_restartable: bool = False
    """Whether it is restarted with others."""
    is_isolated: bool = False
    """Whether it may fail without failing the run."""

    @property
    def join_key(self) -> JoinKey:
        """What stands for all its inputs, where they join control."""
        return tuple(edge for one in self.inputs for edge in one.edges)


class Plan(Record, frozen=True):
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
    limits_stages: bool
    """Whether a stage has a limit."""
    orderings: Mapping[int, OrderingPlan]
    """For each fork that marks what it sends, by number, what merges below restore its order."""
    above: Mapping[int, frozenset[int]]
    """For each fork, those from which an element may come to it."""
    remembered: int
    """Most control elements that merges remember of those whose copies may still come."""
    supervises: bool = False
    """Whether something is to be done when a stage fails."""
    isolated_heads: frozenset[str] = frozenset()
    """The heads whose source may fail without failing the run."""
    loops: tuple[LoopPlan, ...] = ()
    """The loops."""
    is_chain: bool = False
    """Whether nothing forks and nothing merges."""
    ways: tuple[tuple[int, int], ...] = ()
    """If, besides, all is as plain as can be, edges from task to task: the one that each stage reads, and the one it writes."""
    row: tuple[tuple[str, int, Callable[[object], bool], set[type]], ...] = ()
    """If so, what `open_row()` is given: of each edge its name, capacity, gate, and the types that this has let through."""
    pulled: frozenset[str] = frozenset()
    """The heads whose source needs no task, if it is not async: one stage reads that edge alone, a quick one, and nobody measures
    who waits."""
    driven: frozenset[str] = frozenset()
    """Of these, the heads which are the first stages of chains: a source that is async has the chain go on before it waits."""
    chains: tuple[tuple[int, ...], ...] = ()
    """The stages of each task that several share, in the order in which elements pass them."""
    is_watched: bool = False
    """Whether the settings, or the limit of a stage, ask for a watch on edges."""
    has_watchdogs: bool = False
    """Whether a task watches the limits of a run, its stalls, or its event loop."""


def make_plan(graph: Graph, config: PipelineConfig) -> Plan:
    """Return the plan of a graph that validation has accepted.

    Args:
        graph: The stages and edges.
        config: Has the capacity of edges that have none of their own.

    Raises:
        ConfigError: If an edge is too narrow for priority lanes.
    """
    plan = _Planner(graph, config).plan()
    narrow = next((one for one in plan.edges if one.bound.lanes and one.capacity < len(Priority)), None)
    if narrow is not None:
        message = (
            f"an edge with priority lanes has a place for each of {len(Priority)} priorities, but {narrow.name} has"
        )
        raise ConfigError(
            "buffer", f"{message} {narrow.capacity}; give connect(…, buffer={len(Priority)}) or more, or priority=False"
        )
    return plan


def fused(graph: Graph, config: PipelineConfig) -> Fusion:
    """Return which stages of a graph share tasks with these settings."""
    return fusion_of(
        graph,
        wanted=config.fuse,
        priority=config.priority,
        is_watched=watches_all(config),
    )


class _Planner:
    """Numbers the stages, edges and forks of one graph."""

    def __init__(self, graph: Graph, config: PipelineConfig) -> None:
        self._graph = graph
        self._config = config
        self._nodes = graph.order()
        self._policies = graph.policies
        self._index = {node.name: number for number, node in enumerate(self._nodes)}
        self._accepts = {one: accepts for node in self._nodes for one, accepts in node.inputs.items()}
        self._downstream = [frozenset(self._index[one] for one in graph.downstream(node.name)) for node in self._nodes]
        self._without_letters = graph.without_letters()
        self._edges: list[EdgePlan] = []
        self._into: dict[Endpoint, list[int]] = {one: [] for one in self._accepts}
        self._out_of: dict[Endpoint, list[int]] = {one: [] for node in self._nodes for one in node.outputs}
        self._forks: list[tuple[int, ...]] = []
        self._chains = tuple(tuple(map(self._index.__getitem__, one)) for one in fused(graph, config).chains)
        self._chained = {pair for one in self._chains for pair in pairwise(one)}
        self._reach: dict[int, frozenset[int]] = {}
        self._takers: list[Taker] = []

    def plan(self) -> Plan:
        bounds = bounds_of(self._graph, buffer_size=self._config.buffer_size, priority=self._config.priority)
        for edge in self._graph.edges:
            self._add_edge(edge.source, edge.target, next(bounds), edge.feedback)
        heads = {str(one): self._add_edge(None, one, next(bounds)) for one in self._graph.heads}
        leaves = {str(one): self._add_edge(one, None, next(bounds)) for one in self._graph.leaves}
        outputs = [self._outputs_of(node) for node in self._nodes]
        whole = [self._fork_of_all(plans) for plans in outputs]
        self._reach = {number: self._reached_by(fork) for number, fork in enumerate(self._forks) if len(fork) > 1}
        self._takers = find_takers(self._nodes, self._into, self._downstream)
        isolated = isolated_stages(self._graph)
        together = [self._restarted_with(node) for node in self._nodes]
        stages = tuple(
            StagePlan(
                node=node,
                index=number,
                inputs=tuple(self._input(one, self._into[one]) for one in node.inputs),
                outputs=outputs[number],
                fork=whole[number],
                downstream=self._downstream[number],
                keeps_aside=node.stage.kind is StageKind.ACCUMULATE and node.stage.bypass == "late",
                letters=self._letters(node),
                supervision=None if node.supervision is None else node.supervision.supervision,
                restarted_with=together[number],
                is_restartable=any(number in several for several in together),
                is_isolated=node.name in isolated,
                ports=self._ports(node),
            )
            for number, node in enumerate(self._nodes)
        )
        orderings = self._orderings(stages)
        feeding = {self._index[one.stage] for one in self._graph.leaves}
        last = frozenset(one.index for one in stages if not one.outputs or one.index in feeding)
        looking_on = self._looking_on()
        numbers = {str(one): self._index[one.stage] for one in self._graph.heads}
        limits_stages = any(node.stage.timeout_s is not None for node in self._nodes)
        fed = {name: self._downstream[number] | {number} for name, number in numbers.items()}
        is_chain = len(leaves) <= 1 and all(map(is_in_chain, stages))
        chains = (*self._chains, *self._alone(stages)) if is_chain else self._chains
        pulled = self._pulled(heads, stages)
        return Plan(
            stages=stages,
            edges=tuple(self._edges),
            heads=heads,
            leaves=leaves,
            outlet=self._input(None, leaves.values()),
            last_stages=last,
            fed=fed,
            served={name: (reached & last) - looking_on for name, reached in fed.items()},
            loops=tuple(self._loop(one) for one in loops(self._graph)),
            is_chain=is_chain,
            ways=(ways := self._ways(stages)),
            row=tuple((one.name, one.capacity, one.gate, one.plain) for one in self._edges) if ways else (),
            pulled=pulled,
            driven=frozenset(
                name
                for name in pulled
                if numbers[name] in {places[0] for places in chains} and self._edges[heads[name]].is_plain
            ),
            chains=chains,
            orderings=orderings,
            above=forks_above(self._forks, self._reach),
            remembered=self._remembered() if orderings else REMEMBERED,
            limits_stages=limits_stages,
            is_watched=limits_stages or watches_all(self._config),
            has_watchdogs=limits_stages or has_limits(self._config),
            supervises=any(node.supervision is not None for node in self._nodes),
            isolated_heads=frozenset(str(one) for one in self._graph.heads if one.stage in isolated),
        )

    def _ways(self, stages: Sequence[StagePlan]) -> tuple[tuple[int, int], ...]:
        if not (all(map(is_straight, stages)) and all(one.is_plain for one in self._edges)):
            return ()
        return tuple((one.inputs[0].edges[0], one.outputs[0].edges[0]) for one in stages)

    def _alone(self, stages: Sequence[StagePlan]) -> Iterator[tuple[int, ...]]:
        fused = {place for places in self._chains for place in places}
        return iter(()) if times_all(self._config) else lone_chains(stages, self._edges, fused)

    def _pulled(self, heads: Mapping[str, int], stages: Sequence[StagePlan]) -> frozenset[str]:
        if times_all(self._config) or any(node.stage.timeout_s is not None for node in self._nodes):
            return frozenset()
        alone = {one.inputs[0].edges for one in stages if len(one.inputs) == 1}
        return frozenset(name for name, edge in heads.items() if (edge,) in alone and self._edges[edge].is_quick)

    def _loop(self, names: frozenset[str]) -> LoopPlan:
        stages = frozenset(self._index[name] for name in names)
        into = [number for number, edge in enumerate(self._edges) if edge.target in stages]
        inside = [number for number in into if self._edges[number].source in stages]
        return LoopPlan(
            stages,
            back=tuple(number for number in inside if self._edges[number].rounds is not None),
            inside=tuple(inside),
            entering=tuple(number for number in into if number not in inside),
            leaving=tuple(
                number for number, edge in enumerate(self._edges) if edge.source in stages and edge.target not in stages
            ),
        )

    def _add_edge(
        self,
        source: Endpoint | None,
        target: Endpoint | None,
        bound: EdgeBound,
        feedback: FeedbackSpec | None = None,
    ) -> int:
        number = len(self._edges)
        if feedback is not None:
            bound = EdgeBound(bound.capacity)  # where it enters, what comes back goes first whatever its priority
        edge = EdgePlan(
            name=f"{'source' if source is None else source} → {'consumer' if target is None else target}",
            source=None if source is None else self._index[source.stage],
            target=None if target is None else self._index[target.stage],
            bound=bound,
            gate=self._edge_gate(target, "source" if source is None else source.stage),
            rounds=None if feedback is None else Rounds(str(target), feedback.max_rounds, feedback.on_limit),
        )
        if (edge.source, edge.target) in self._chained:
            edge = edge.replace(is_chained=True)
        elif feedback is None and bound == EdgeBound(bound.capacity):
            edge = edge.replace(is_plain=True)
        self._edges.append(edge)
        if source is not None:
            self._out_of[source].append(number)
        if target is not None:
            self._into[target].append(number)
        return number

    def _gate(self, target: Endpoint | None, producer: str) -> Callable[[object], bool]:
        return admission(EVERYTHING if target is None else self._accepts[target], producer=producer)

    def _edge_gate(self, target: Endpoint | None, producer: str) -> Callable[[object], bool]:
        policy = None if target is None else self._policies.get(target)
        # What a merge makes elements of, its reader does not see.
        makes = policy is not None and policy.makes
        return admission(ALL_DATA, producer=producer) if makes else self._gate(target, producer)

    def _looking_on(self) -> frozenset[int]:
        """Return the stages that elements come to by taps alone: nothing goes on for them."""
        following = {number: set[int]() for number in range(len(self._nodes))}
        ways = [edge for edge in self._graph.edges if not edge.is_tap]
        if len(ways) == len(self._graph.edges):
            return frozenset()
        for edge in ways:
            following[self._index[edge.source.stage]].add(self._index[edge.target.stage])
        heads = {self._index[one.stage] for one in self._graph.heads}
        found = heads.union(number for number, node in enumerate(self._nodes) if not node.inputs)
        waiting = list(found)
        while waiting:
            new = following[waiting.pop()] - found
            found |= new
            waiting += new
        return frozenset(following.keys() - found)

    def _outputs_of(self, node: Node) -> tuple[OutputPlan, ...]:
        otherwise = {fork.source: f"{fork.source} → {fork.otherwise}" for fork in self._graph.forks if fork.otherwise}
        forks = {fork.source: fork for fork in reversed(self._graph.forks)}
        plans: list[OutputPlan] = []
        for one in node.outputs:
            if one == node.letters:
                continue
            edges = tuple(self._out_of[one])
            catching = next((edge for edge in edges if self._edges[edge].name == otherwise.get(one)), None)
            specs = [self._graph.edges[edge] if edge < len(self._graph.edges) else None for edge in edges]
            taps = frozenset(place for place, edge in enumerate(specs) if edge is not None and edge.is_tap)
            fan = fan_of(forks.get(one), [None if edge is None else edge.target for edge in specs], taps)
            plans.append(OutputPlan(one.port, edges, catching, self._number_fork(edges), fan))
        return tuple(plans)

    def _letters(self, node: Node) -> OutputPlan | None:
        """Return where a stage's dead letters go: an output for them alone, which no join needs to know."""
        edges = () if node.letters is None else tuple(self._out_of[node.letters])
        return OutputPlan(DEAD_LETTERS, edges, None, -1) if edges else None

    def _restarted_with(self, node: Node) -> frozenset[int]:
        if node.supervision is None or not node.supervision.supervision.rest_for_one:
            return frozenset()
        return frozenset(self._index[one] for one in self._without_letters.downstream(node.name))

    def _number_fork(self, branches: tuple[int, ...]) -> int:
        self._forks.append(branches)
        return len(self._forks) - 1

    def _fork_of_all(self, outputs: tuple[OutputPlan, ...]) -> int:
        if len(outputs) == 1:
            return outputs[0].fork
        return self._number_fork(tuple(edge for one in outputs for edge in one.edges))

    def _reached_by(self, branches: tuple[int, ...]) -> frozenset[int]:
        """Return the edges that a copy made here can come to."""
        branches = tuple(one for one in branches if self._edges[one].rounds is None)  # control is not led back
        first = {self._edges[one].target for one in branches}
        names = [self._nodes[one].name for one in first if one is not None]
        stages = first.union(self._index[one] for one in self._without_letters.downstream(*names)) - {None}
        letters = {number for node in self._nodes if node.letters for number in self._out_of[node.letters]}
        behind = {n for n, edge in enumerate(self._edges) if edge.source in stages and edge.rounds is None} - letters
        return frozenset(behind.union(branches))

    def _input(self, target: Endpoint | None, incoming: Iterable[int]) -> InputPlan:
        edges = tuple(incoming)
        above = {
            fork: frozenset(position for position, edge in enumerate(edges) if edge in reached)
            for fork, reached in self._reach.items()
        }
        return InputPlan(
            port="" if target is None else target.port,
            edges=edges,
            gate=self._gate(target, "merge"),
            name=f"merge → {'consumer' if target is None else target}",
            reach=(reach := {fork: positions for fork, positions in above.items() if len(positions) > 1}),
            taken=taken_between(self._reach, reach, [self._edges[one] for one in edges], self._takers),
            policy=_ARRIVAL if target is None else self._policies.get(target, _ARRIVAL),
        )

    def _ports(self, node: Node) -> dict[int, frozenset[int]]:
        edges = [self._into[one] for one in node.inputs]
        above = {
            fork: frozenset(place for place, several in enumerate(edges) if not reached.isdisjoint(several))
            for fork, reached in self._reach.items()
        }
        return {fork: places for fork, places in above.items() if len(places) > 1}

    def _orderings(self, stages: Sequence[StagePlan]) -> dict[int, OrderingPlan]:
        forks = ordering_forks(self._graph)
        if not forks:
            return {}
        numbers = {Endpoint(one.node.name, output.port): output.fork for one in stages for output in one.outputs}
        needed = {tuple(self._into[end]): {numbers[one] for one in several} for end, several in forks.items()}
        return plan_orderings(stages, self._edges, dict(enumerate(self._forks)), needed)

    def _remembered(self) -> int:
        """Return how many markers, and other control, can be on their way: an edge holds as many again beyond its bound."""
        return REMEMBERED + 2 * sum(edge.capacity for edge in self._edges) + ASIDE * len(self._nodes)

"""The graph as data: stages, the edges between them, and where edges fork and join. Immutable; nothing here runs.

Above: `_builder`, `_validation`, `_drawing`, `runtime`. Below: `_policies`, `stages`.

An *endpoint* is where an edge begins or ends: a stage, or one named port of it. An input endpoint without an edge is a *head*: the
source feeds it. An output endpoint without an edge is a *leaf*: it feeds the consumer; a tap takes nothing away, so it is no such
edge. A stage that generates has no input endpoint, a sink has no output endpoint.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from .._records import Record
from ..elements import DeadLetterElement
from ._policies import Arrival

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..channels import Overflow, Unroutable, Weight
    from ..stages import ElementTypes, StageSpec, Supervision
    from ._policies import MergePolicy
    from ._router import Router

__all__ = [
    "CONSUMER",
    "DEAD_LETTERS",
    "OUTSIDE",
    "SOURCE",
    "EdgeSpec",
    "Endpoint",
    "FeedbackSpec",
    "ForkMode",
    "ForkSpec",
    "Graph",
    "JoinSpec",
    "NestSpec",
    "Node",
    "Outside",
    "RouteSpec",
    "SupervisionSpec",
]

DEAD_LETTERS = "dead_letters"
"""Name of the output that a supervised stage's dead letters leave by."""

ForkMode: TypeAlias = Literal["branch", "route", "balance"]
"""How a fork chooses: each branch that accepts an element gets a copy; the one that a rule chooses; the one that is free."""


class Outside(enum.Enum):
    """What stands at the ends of a graph."""

    SOURCE = "source"
    CONSUMER = "consumer"

    def __repr__(self) -> str:
        return self.name


SOURCE: Final = Outside.SOURCE
"""Stands for the source in `connect(SOURCE, head, …)`, which says what bounds the edge from there."""
CONSUMER: Final = Outside.CONSUMER
"""Stands for the consumer in `connect(leaf, CONSUMER, …)`, which says what bounds the edge to there."""


class Endpoint(Record, frozen=True, order=True):
    """Where an edge begins or ends."""

    stage: str
    """Name of the stage in the graph."""
    port: str = ""
    """Name of its port; empty for a stage without named ports."""

    def __str__(self) -> str:
        return f"{self.stage}:{self.port}" if self.port else self.stage


OUTSIDE: Final = Endpoint("")
"""The source or the consumer: where an edge begins or ends that no stage writes, or reads."""


class SupervisionSpec(Record, frozen=True):
    """Says what to do when a stage fails."""

    supervision: Supervision
    """What to do."""
    where: str
    """`file:line` of the call that said it."""
    has_letters: bool = False
    """Whether a stage takes its dead letters."""
    other: str | None = None
    """`file:line` of another call that says something of the same stage."""


class Node(Record, frozen=True):
    """One stage in its graph."""

    name: str
    """Name in the graph: the stage's own, behind the prefixes of the pipelines that it is nested in."""
    stage: StageSpec
    """What it is."""
    where: str
    """`file:line` of the call that added it."""
    supervision: SupervisionSpec | None = None
    """What to do when it fails; None: the run fails."""

    @property
    def inputs(self) -> dict[Endpoint, ElementTypes]:
        """The input endpoints, with the types that each accepts."""
        return {Endpoint(self.name, port): accepts for port, accepts in self.stage.inputs.items()}

    @property
    def outputs(self) -> dict[Endpoint, ElementTypes | None]:
        """The output endpoints, with the types that each emits; None when unknown. That of dead letters is among them."""
        ends = {Endpoint(self.name, port): emits for port, emits in self.stage.outputs.items()}
        return ends if self.letters is None else {**ends, self.letters: (DeadLetterElement,)}

    @property
    def letters(self) -> Endpoint | None:
        """The output endpoint that its dead letters leave by; None where nothing takes them."""
        takes = self.supervision is not None and self.supervision.has_letters
        return Endpoint(self.name, DEAD_LETTERS) if takes else None


class FeedbackSpec(Record, frozen=True):
    """Says that an edge leads back, and how often an element may go around."""

    max_rounds: int | None = None
    """How often an element may be sent back; None: no limit."""
    on_limit: Literal["error", "drop"] = "error"
    """What happens to one that would be sent back more often."""


class EdgeSpec(Record, frozen=True):
    """One edge between two stages."""

    source: Endpoint
    """What writes."""
    target: Endpoint
    """What reads."""
    where: str
    """`file:line` of the call that made it."""
    buffer: int | None = None
    """Capacity, in elements; None: what the pipeline's configuration says."""
    overflow: Overflow = "block"
    """What becomes of data for which there is no room."""
    weight: Weight | None = None
    """A bound by weight; None: there is none."""
    priority: bool | None = None
    """Whether it has priority lanes; None: what the pipeline's configuration says."""
    is_tap: bool = False
    """Whether it is a tap: it gets what there is room for, and nobody waits for it."""
    feedback: FeedbackSpec | None = None
    """How it leads back; None: it leads forward."""

    def __str__(self) -> str:
        return f"{self.source} → {self.target}"


class RouteSpec(Record, frozen=True):
    """The rule of a route, and what it chooses among."""

    router: Router
    """The rule."""
    choices: tuple[Endpoint, ...]
    """The branch of each of the router's choices."""
    names: tuple[str, ...]
    """How each was called where the route was made, without what the pipeline is nested in."""
    unroutable: Unroutable = "drop"
    """What becomes of elements whose branch has gone."""

    def reasons(self, target: Endpoint) -> list[str]:
        """Return in words when elements go to a branch."""
        labels = (label for label, one in zip(self.router.labels, self.choices, strict=True) if one == target)
        return list(dict.fromkeys(labels))


class ForkSpec(Record, frozen=True):
    """Says that the edges out of one endpoint are branches, and how elements are divided among them. Taps are none of them."""

    source: Endpoint
    """What writes."""
    where: str
    """`file:line` of the call that made it."""
    otherwise: Endpoint | None = None
    """The branch for data that no other branch accepts, or no rule applies to; None: such data is dropped and counted."""
    optional: tuple[Endpoint, ...] = ()
    """The branches that may fail without failing the run."""
    mode: ForkMode = "branch"
    """How it chooses."""
    route: RouteSpec | None = None
    """The rule, of a route."""
    essential: tuple[Endpoint, ...] = ()
    """The branches without which the fork ends."""
    is_dynamic: bool = False
    """Whether branches may come and go during a run: see `Run.subscribe()`."""


class JoinSpec(Record, frozen=True):
    """Says that the edges into one endpoint are merged."""

    target: Endpoint
    """What reads."""
    where: str
    """`file:line` of the call that made it."""
    policy: MergePolicy = msgspec.field(default_factory=Arrival)
    """How; the inputs are the edges into `target`, in their order."""
    isolates: bool = False
    """Whether an input that fails ends that input alone."""

    @property
    def waits_for_inputs(self) -> bool:
        """Whether it may wait for a particular input while others have something."""
        return self.policy.waits_for_inputs


class NestSpec(Record, frozen=True):
    """Says that a pipeline was nested here; the names of its stages begin with its own and a slash."""

    name: str
    """What it is called in the graph."""
    where: str
    """`file:line` of the call that added it."""


class Graph(Record, frozen=True):
    """Stages, edges, forks and joins, in the order in which they were added."""

    nodes: tuple[Node, ...]
    """The stages."""
    edges: tuple[EdgeSpec, ...] = ()
    """The edges between them."""
    forks: tuple[ForkSpec, ...] = ()
    """Where edges fork."""
    joins: tuple[JoinSpec, ...] = ()
    """Where edges join."""
    nested: tuple[NestSpec, ...] = ()
    """The pipelines that were nested into it."""
    outer: tuple[EdgeSpec, ...] = ()
    """What was said of edges from the source, whose source is `OUTSIDE`, and to the consumer, whose target is."""

    @property
    def heads(self) -> tuple[Endpoint, ...]:
        """Input endpoints that the source feeds; an edge that leads back does not stand in for it."""
        fed = {edge.target for edge in self.forward_edges}
        return tuple(one for node in self.nodes for one in node.inputs if one not in fed)

    @property
    def leaves(self) -> tuple[Endpoint, ...]:
        """Output endpoints that feed the consumer."""
        taken = {edge.source for edge in self.edges if not edge.is_tap}
        return tuple(one for node in self.nodes for one in node.outputs if one not in taken)

    @property
    def forward_edges(self) -> tuple[EdgeSpec, ...]:
        """The edges without those that lead back."""
        return tuple(edge for edge in self.edges if edge.feedback is None)

    @property
    def policies(self) -> dict[Endpoint, MergePolicy]:
        """How the edges into each input are merged that several feed."""
        return {join.target: join.policy for join in reversed(self.joins)}

    def edges_into(self, target: Endpoint) -> tuple[EdgeSpec, ...]:
        """Return the edges that end at `target`."""
        return tuple(edge for edge in self.edges if edge.target == target)

    def edges_out_of(self, source: Endpoint) -> tuple[EdgeSpec, ...]:
        """Return the edges that begin at `source`."""
        return tuple(edge for edge in self.edges if edge.source == source)

    def order(self) -> tuple[Node, ...]:
        """Return the stages so that each comes behind all that feed it, else as they were added; what leads back does not count.

        Raises:
            graphlib.CycleError: If there is a cycle, which validation has refused before.
        """
        into: dict[str, set[str]] = {node.name: set() for node in self.nodes}
        for edge in self.forward_edges:
            into[edge.target.stage].add(edge.source.stage)
        named = {node.name: (number, node) for number, node in enumerate(self.nodes)}
        sorter = TopologicalSorter(into)
        sorter.prepare()
        ordered: list[Node] = []
        while sorter.is_active():
            ready = sorted(named[name] for name in sorter.get_ready())
            ordered += [node for _, node in ready]
            sorter.done(*(node.name for _, node in ready))
        return tuple(ordered)

    def without_letters(self) -> Graph:
        """Return the graph without the edges that dead letters go by."""
        letters = {node.letters for node in self.nodes if node.letters is not None}
        return self.replace(edges=tuple(edge for edge in self.edges if edge.source not in letters))

    def downstream(self, *names: str) -> frozenset[str]:
        """Return the names of all stages that elements from these stages can reach without being led back."""
        following: defaultdict[str, list[str]] = defaultdict(list)
        for edge in self.forward_edges:
            following[edge.source.stage].append(edge.target.stage)
        return _reachable(names, following)


def _reachable(names: Iterable[str], following: defaultdict[str, list[str]]) -> frozenset[str]:
    found: set[str] = set()
    waiting = [one for name in names for one in following[name]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += following[name]
    return frozenset(found)

"""A graph in words, for a terminal: every stage, who feeds whom, and how many elements can be on their way.

Above: `runtime`. Below: `_words`, `_spec`, `stages`.

One block for the source, for each stage in topological order, and for the consumer, with one line for each edge: so an edge is told
twice, where it begins and where it ends, there with its capacity. The first word of a line says what it is about.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from ..elements import StreamElement
from ..stages import ALL_DATA, StageKind
from ._bounding import bounds_of, most_held, outer_edge, told
from ._policies import Barrier, Ordered, Prioritized
from ._words import columns, cut, groups_of, supervision_words, type_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..stages import ElementTypes
    from ._fusion import Fusion
    from ._policies import MergePolicy
    from ._spec import EdgeSpec, Endpoint, ForkSpec, Graph, Node

__all__ = ["InFlight", "explain", "in_flight"]

_COLUMNS = 100
_INDENT = 4
_TEXT = 13  # the column where the text of a line begins, behind its first word
_NAME = 36  # columns of the longest name: two of them, a stage and its port, fit on a line

_SOURCE, _CONSUMER = "source", "consumer"
_TAKER = {"branch": "branch", "balance": "worker"}
_WORD = re.compile(r"[\w./+#@-]+")
_NO_BREAK = "\N{NO-BREAK SPACE}"  # in a name; none has one of its own, because that is not printable


@dataclasses.dataclass(frozen=True, slots=True)
class InFlight:
    """Most elements that are inside a run at any moment, by what holds them."""

    edges: int
    """What fits on the edges, those of the source and the consumer among them."""
    stages: int
    """What those stages hold that can say it."""
    merges: int
    """One for each merge, which has taken it and not handed it on, and what its policy lets it hold."""
    sources: int
    """One for each source, which has made it and not sent it."""
    unbounded: tuple[str, ...]
    """The stages that cannot say how many elements they hold."""

    @property
    def known(self) -> int:
        """The sum, without what the unbounded stages hold."""
        return self.edges + self.stages + self.merges + self.sources

    @property
    def total(self) -> int | None:
        """The sum; None when a stage cannot say how many elements it holds."""
        return None if self.unbounded else self.known


def in_flight(graph: Graph, *, buffer_size: int, priority: bool = False) -> InFlight:
    """Return how many elements can be inside a run of a graph that validation has accepted.

    Args:
        graph: The stages and edges.
        buffer_size: Capacity of edges that have none of their own.
        priority: Whether edges of which nothing else was said have priority lanes.
    """
    heads, leaves = graph.heads, graph.leaves
    bounds = list(bounds_of(graph, buffer_size=buffer_size, priority=priority))
    of_taps = sum(  # see `channels/_tap`
        one.capacity for edge, one in zip(graph.edges, bounds, strict=False) if edge.is_tap and edge.overflow == "block"
    )
    fed: defaultdict[Endpoint, int] = defaultdict(int)
    for edge in graph.edges:
        fed[edge.target] += 1
    held = [node.stage.max_held for node in graph.nodes]
    return InFlight(
        edges=sum(map(most_held, bounds)) + of_taps,
        stages=sum(one for one in held if one is not None),
        merges=sum(1 + _held(graph, end, count) for end, count in fed.items() if count + (end in heads) > 1)
        + (len(leaves) > 1),
        sources=max(len(heads), 1),
        unbounded=tuple(node.name for node in graph.nodes if node.stage.max_held is None),
    )


def explain(
    graph: Graph,
    *,
    buffer_size: int,
    priority: bool = False,
    fusion: Fusion | None = None,
    is_measured: bool = False,
) -> str:
    """Return what a graph does, as text for a terminal: stages, edges and their capacities, forks, joins, and the bound.

    At most 100 columns wide, without colours or a line break at the end; the same graph gives the same text.

    Args:
        graph: One that validation has accepted.
        buffer_size: Capacity of edges that have none of their own.
        priority: Whether edges of which nothing else was said have priority lanes.
        fusion: Which stages share tasks; None: nothing is said of that.
        is_measured: Whether runs are measured.
    """
    teller = _Teller(graph, buffer_size, fusion, has_lanes=priority, is_measured=is_measured)
    blocks = ("\n".join(block) for block in teller.blocks())
    return "\n\n".join(block for block in blocks if block)


def _held(graph: Graph, end: Endpoint, inputs: int) -> int:
    policy = graph.policies.get(end)
    return 0 if policy is None else policy.held(inputs)


class _Teller:
    """Puts one graph into words."""

    def __init__(
        self, graph: Graph, buffer_size: int, fusion: Fusion | None, *, has_lanes: bool, is_measured: bool
    ) -> None:
        self._graph = graph
        self._is_measured = is_measured
        self._fusion = fusion
        self._buffer_size = buffer_size
        self._has_lanes = has_lanes
        self._nodes = graph.order()
        self._heads, self._leaves = graph.heads, graph.leaves
        self._policies = graph.policies
        self._accepts = {end: accepts for node in graph.nodes for end, accepts in node.inputs.items()}
        self._accepts |= {end: ALL_DATA for end, policy in self._policies.items() if policy.makes}
        self._forks = {fork.source: fork for fork in graph.forks}
        self._optional = {(fork.source, one) for fork in graph.forks for one in fork.optional}
        self._isolating = {join.target for join in graph.joins if join.isolates}
        self._into: defaultdict[Endpoint, list[EdgeSpec]] = defaultdict(list)
        self._out_of: defaultdict[Endpoint, list[EdgeSpec]] = defaultdict(list)
        for edge in graph.edges:
            self._into[edge.target].append(edge)
            self._out_of[edge.source].append(edge)

    def blocks(self) -> Iterator[Iterator[str]]:
        """Yield the lines of each block."""
        yield self._heading()
        yield self._map()
        yield self._source()
        yield from (self._stage(node) for node in self._nodes)
        yield self._consumer()
        yield self._sinks()
        yield self._groups()
        yield self._tasks()
        yield self._bound()

    def _heading(self) -> Iterator[str]:
        own = any(edge.buffer is not None for edge in (*self._graph.edges, *self._graph.outer))
        sizes = f"in brackets what an edge holds: {_elements(self._buffer_size)}{', unless it has its own size' * own}"
        yield from _wrapped(f"{_counted(len(self._nodes), 'stage')}; {sizes}.", 0)
        if self._has_lanes:
            yield "Edges have a lane for each priority, unless something else is said there."
        yield "What a stage does not accept passes it by, in order."

    def _map(self) -> Iterator[str]:
        """Yield the way through, if there is only one."""
        names = [node.name for node in self._nodes]
        steps = [(edge.source.stage, edge.target.stage) for edge in self._graph.edges]
        has_more = any(node.letters is not None for node in self._nodes) or any(
            edge.is_tap for edge in self._graph.edges
        )
        is_one = len(self._heads) <= 1 and len(self._leaves) <= 1 and not has_more
        if is_one and sorted(steps) == sorted(pairwise(names)):
            ends = [_SOURCE] * len(self._heads), [_CONSUMER] * len(self._leaves)
            yield from _wrapped(" → ".join([*ends[0], *map(_name, names), *ends[1]]), _INDENT)

    def _source(self) -> Iterator[str]:
        if not self._heads:
            yield f"{_SOURCE}: none, as all that flows is generated"
            return
        yield _SOURCE if len(self._heads) == 1 else f"{_SOURCE}: one for each of these, by name"
        for one in self._heads:
            yield from _line("to", _end(one))

    def _consumer(self) -> Iterator[str]:
        if not self._leaves:
            yield f"{_CONSUMER}: gets no data, as all of it ends in sinks"
            return
        yield _CONSUMER
        for one in self._leaves:
            bound = self._bound_of(outer_edge(self._graph, one, is_head=False))
            yield from _line("from" if len(self._leaves) == 1 else "merge", f"{_end(one)} {bound}")

    def _sinks(self) -> Iterator[str]:
        sinks = [_name(node.name) for node in self._nodes if not node.stage.outputs]
        if sinks:
            yield from _wrapped(f"sinks: {', '.join(sinks)}", _INDENT)

    def _stage(self, node: Node) -> Iterator[str]:
        spec = node.stage
        title = f"{_name(node.name)} ({spec.kind.value})"
        has_ports = bool(spec.input_ports or spec.output_ports)
        if not has_ports:
            given = _types(spec.emits) if spec.outputs else "nothing"
            title += f": {_types(spec.accepts) if spec.inputs else 'nothing'} → {given}"
        yield from _wrapped(title, _INDENT)
        for end, accepts in node.inputs.items():
            if has_ports:
                yield from _line("accepts", _at_port(end, accepts))
            yield from self._feeders(end)
        if not node.inputs:
            yield from _line("from", "nothing, it generates")
        yield from self._facts(node)
        yield from self._outputs(node, has_ports=has_ports)

    @staticmethod
    def _facts(node: Node) -> Iterator[str]:
        spec = node.stage
        if spec.max_held is None:
            yield from _line("holds", "unknown, max_held= says it")
        elif spec.max_held > 1:
            yield from _line("holds", f"up to {_elements(spec.max_held)}")
        if spec.kind is StageKind.ACCUMULATE and spec.bypass == "early":
            yield from _line("bypass", "early, before the results of what it holds")
        yield from (
            _line("fenced", "by an interruption, it goes on") if spec.on_interrupt == "fence" and node.inputs else ()
        )
        if spec.timeout_s is not None:
            yield from _line("timeout", f"{spec.timeout_s:g} s")
        if node.supervision is not None:
            yield from _line("fails", supervision_words(node.supervision.supervision))

    def _outputs(self, node: Node, *, has_ports: bool) -> Iterator[str]:
        for end, emits in node.outputs.items():
            if end == node.letters:
                continue
            if has_ports:
                yield from _line("emits", _at_port(end, emits))
            yield from self._readers(end)
        if not node.stage.outputs:
            yield from _line("to", "nothing, it is a sink")
        if node.letters is not None:
            targets = ", ".join(_end(edge.target) for edge in self._out_of[node.letters])
            yield from _line("letters", f"{targets}, for elements that it failed on")

    def _feeders(self, end: Endpoint) -> Iterator[str]:
        edges = self._into[end]
        back = [edge for edge in edges if edge.feedback is not None]
        edges = [edge for edge in edges if edge.feedback is None]
        if back and not edges:
            yield from _line("merge", f"{_SOURCE} ({self._buffer_size})")
        for edge in back:
            assert edge.feedback is not None
            most = edge.feedback.max_rounds
            rounds = "" if most is None else f", at most {_counted(most, 'round')}"
            yield from _line("back", f"{_end(edge.source)} {self._bound_of(edge)}, goes first{rounds}")
        for edge in edges:
            about = ", may fail alone" if end in self._isolating else ""
            about += ", a tap: what does not fit is dropped, and counted" * edge.is_tap
            is_one = len(edges) == 1 and not back
            yield from _line("from" if is_one else "merge", f"{_end(edge.source)} {self._bound_of(edge)}{about}")
        policy = self._policies.get(end)
        if len(edges) > 1 and policy is not None and policy.name != "arrival":
            yield from _line("policy", f"{policy.name}, {_policy(policy)}")
        if not edges and not back:
            yield from _line("from", f"{_SOURCE} {self._bound_of(outer_edge(self._graph, end, is_head=True))}")

    def _bound_of(self, edge: EdgeSpec) -> str:
        size = [str(self._buffer_size)] if edge.buffer is None else [str(edge.buffer), "its own size"]
        return f"({', '.join([*size, *told(edge)])})"

    def _readers(self, end: Endpoint) -> Iterator[str]:
        edges, fork = self._out_of[end], self._forks.get(end)
        targets = [edge.target for edge in edges if not edge.is_tap]
        if len(targets) < 2 and (fork is None or fork.mode != "route"):
            yield from _line("to", _end(targets[0]) if targets else _CONSUMER)
        else:
            yield from self._branches(targets, fork)
        for edge in edges:
            if edge.is_tap:
                yield from _line("tap", f"{_end(edge.target)}, for {_types(self._accepts[edge.target])}")
        if fork is not None and fork.is_dynamic:
            yield from _line("hub", "who subscribes during a run gets everything from then on")

    def _branches(self, targets: Sequence[Endpoint], fork: ForkSpec | None) -> Iterator[str]:
        mode, rest = ("branch", None) if fork is None else (fork.mode, fork.otherwise)
        for one in targets:
            if one != rest:
                mark = ", essential" * (fork is not None and one in fork.essential)
                mark += ", may fail alone" * (fork is not None and one in fork.optional)
                yield from _line(mode, f"{_end(one)}, {self._reason(one, fork)}{mark}")
        what = "that no rule applies to" if mode == "route" else f"that no {_TAKER[mode]} accepts"
        if rest is not None:
            yield from _line("else", f"{_end(rest)}, for data {what}")
        elif fork is not None and fork.route is not None:
            if fork.route.router.may_miss:
                yield from _line("else", f"data {what} is dropped, and counted")
        elif not any(StreamElement in self._accepts[one] for one in targets):
            yield from _line("else", f"data {what} is dropped, and counted")

    def _reason(self, target: Endpoint, fork: ForkSpec | None) -> str:
        """Return when an element goes to a branch."""
        if fork is None or fork.route is None:
            return f"for {_types(self._accepts[target])}"
        return ", ".join(fork.route.reasons(target))

    def _groups(self) -> Iterator[str]:
        inside: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for node in self._nodes:
            groups = groups_of(node.name)
            for group, member in zip(groups, [*(f"{one}/" for one in groups[1:]), node.name], strict=False):
                inside[group][member.removeprefix(f"{group}/")] = None
        for group, members in inside.items():
            yield from _wrapped(f"{_name(f'{group}/')} contains {', '.join(map(_name, members))}", _INDENT)

    def _tasks(self) -> Iterator[str]:
        """Yield which stages share a task, and why others do not."""
        if self._fusion is None or not self._graph.edges:
            return
        reasons: defaultdict[str, list[str]] = defaultdict(list)
        for (source, target), reason in self._fusion.reasons.items():
            reasons[reason].append(f"{_name(source)} → {_name(target)}")
        yield f"tasks: one for each stage{', but for those that are fused' * bool(self._fusion.chains)}"
        for chain in self._fusion.chains:
            told = ", measured as one: counts are of each, times of all together" * self._is_measured
            yield from _line("fused", " + ".join(map(_name, chain)) + told)
        for reason, edges in reasons.items():
            yield from _line("apart", f"{', '.join(edges)}: {reason}")

    def _bound(self) -> Iterator[str]:
        bound = in_flight(self._graph, buffer_size=self._buffer_size, priority=self._has_lanes)
        count = len(self._graph.edges) + len(self._heads) + len(self._leaves)
        parts = [f"{bound.edges} on {_counted(count, 'edge')}"]
        parts += [f"{bound.stages} in stages"] * (bound.stages > 0)
        parts += [f"{bound.merges} in merges"] * (bound.merges > 0)
        parts.append(f"{bound.sources} at the {'source' if bound.sources == 1 else 'sources'}")
        total = f"at most {_elements(bound.known)} = {' + '.join(parts)}"
        if bound.unbounded:
            do = "does" if len(bound.unbounded) == 1 else "do"
            culprits = " and ".join(map(_name, bound.unbounded))
            total = f"no bound, as {culprits} {do} not say how much is held (max_held=); all else {total}"
        yield from _wrapped(f"in flight: {total}", _INDENT)


def _policy(policy: MergePolicy) -> str:
    match policy:
        case Prioritized(weights=weights) if weights:
            return f"with weights {', '.join(map(str, weights))}"
        case Ordered(key=key) if key is not None:
            return "the smallest key first"
        case Barrier(max_held=count):
            return f"{policy.says}, of at most {_elements(count)}"
        case _:
            return policy.says


def _line(word: str, text: str) -> Iterator[str]:
    return _wrapped(text, _TEXT, f"{' ' * _INDENT}{word}".ljust(_TEXT))


def _wrapped(text: str, indent: int, head: str = "") -> Iterator[str]:
    """Yield the lines of a text, broken at its spaces: the first one behind `head`, the others indented."""
    line, between = head, ""
    for word in text.split(" "):
        if between and columns(line) + columns(word) >= _COLUMNS:
            yield line.replace(_NO_BREAK, " ")
            line, between = " " * indent, ""
        line, between = f"{line}{between}{word}", " "
    yield line.replace(_NO_BREAK, " ")


def _name(name: str) -> str:
    """Return a name as it is, if it is one word and can be taken for nothing else, or else in quotes."""
    is_word = _WORD.fullmatch(name) is not None and name not in (_SOURCE, _CONSUMER)
    return cut(name if is_word else repr(name).replace(" ", _NO_BREAK), _NAME)


def _end(end: Endpoint) -> str:
    return f"{_name(end.stage)}:{_name(end.port)}" if end.port else _name(end.stage)


def _at_port(end: Endpoint, types: ElementTypes | None) -> str:
    return f"{_name(end.port)}: {_types(types)}" if end.port else _types(types)


def _types(types: ElementTypes | None) -> str:
    return ", ".join(cut(one, _NAME) for one in type_names(types))


def _elements(count: int) -> str:
    return _counted(count, "element")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"

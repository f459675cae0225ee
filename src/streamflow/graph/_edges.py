"""What is wrong with the edges of a graph: repeated, not declared as fork or join, missing, leading back.

Above: `_validation`. Below: `_names`, `_spec`, `stages`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ..errors import Finding
from ..stages import StageKind
from ._fans import fan_findings
from ._feedback import wrong_feedback
from ._nesting import outer_names
from ._orders import ordering_forks
from ._policies import Prioritized, Zip, ZipLatest
from ._spec import OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from ._names import Names
    from ._spec import EdgeSpec, Endpoint, ForkSpec, Graph, JoinSpec

__all__ = ["connections", "cycles"]


def connections(graph: Graph, names: Names, closing: Collection[EdgeSpec]) -> list[Finding]:
    """Return a finding for each edge that is one too many, each fork and join that is not told, and each stage without an edge.

    Args:
        graph: The stages and edges.
        names: Which of its names are known.
        closing: Edges that close a cycle: they have a finding already, and are to go.
    """
    into: defaultdict[Endpoint, dict[Endpoint, EdgeSpec]] = defaultdict(dict)
    out_of: defaultdict[Endpoint, dict[Endpoint, EdgeSpec]] = defaultdict(dict)
    found: list[Finding] = []
    back = {edge.source for edge in graph.edges if edge.feedback is not None}
    for edge in graph.edges:
        if edge.feedback is not None:
            out_of[edge.source].setdefault(edge.target, edge)
            continue  # it enters by a merge of its own, which was told by feedback()
        before = into[edge.target].setdefault(edge.source, edge)
        if not edge.is_tap:
            out_of[edge.source].setdefault(edge.target, edge)
        if before is not edge and names.has_both(edge):
            both = f"{str(edge.source)!r} and {str(edge.target)!r}"
            message = f"{both} are connected twice, the other edge was made at {before.where}"
            hint = "leave one of them out; only branch() and merge() may name an edge that is there"
            found.append(Finding("duplicate-edge", edge.source.stage, message, hint, edge.where))
    forks = {fork.source: fork for fork in reversed(graph.forks)}
    joins = {join.target: join.where for join in reversed(graph.joins)}
    found += [
        one for end in names.outputs if end not in back for one in _fan_out(end, out_of[end], forks.get(end), closing)
    ]
    found += [one for end in names.inputs for one in _fan_in(end, into[end], joins.get(end), closing)]
    found += [*_outer(graph, names), *_lossy_orders(graph), *_rests(graph, names), *fan_findings(graph, names)]
    found += _policies(graph, names, into)
    return [*found, *_unconnected(graph, names), *wrong_feedback(graph, names)]


def cycles(graph: Graph) -> tuple[dict[tuple[str, str], Finding], set[EdgeSpec]]:
    """Return a finding for each two stages between which an edge closes a cycle, and all edges that are part of one.

    Without the edges that close a cycle there is none; so there are never more findings than edges.
    """
    following: dict[str, dict[str, EdgeSpec]] = {node.name: {} for node in graph.nodes}
    for edge in graph.forward_edges:
        following[edge.source.stage].setdefault(edge.target.stage, edge)
    found: dict[tuple[str, str], Finding] = {}
    begun: dict[str, int] = {}  # when each stage was come to
    knots: dict[str, str] = {}  # each stage that is done with, and the first of those that all lead to each other
    for node in graph.nodes:
        if node.name in begun:
            continue
        # Depth first, and not by recursion: a chain may be longer than Python's stack. Knots: Gabow's algorithm.
        path = {node.name: iter(following[node.name].items())}
        begun[node.name] = len(begun)
        open_stages, firsts = [node.name], [node.name]
        while path:
            for name, edge in path[next(reversed(path))]:
                if name in path:
                    found[edge.source.stage, name] = _cycle(list(path), name, edge)
                if name not in begun:
                    begun[name] = len(begun)
                    path[name] = iter(following[name].items())
                    open_stages.append(name)
                    firsts.append(name)
                    break
                while name not in knots and begun[firsts[-1]] > begun[name]:
                    firsts.pop()
            else:
                done, _ = path.popitem()
                if firsts[-1] == done:
                    firsts.pop()
                    while done not in knots:
                        knots[open_stages.pop()] = done
    return found, {edge for edge in graph.forward_edges if knots[edge.source.stage] == knots[edge.target.stage]}


def _cycle(path: list[str], name: str, edge: EdgeSpec) -> Finding:
    around = [*path[path.index(name) :], name]
    message = f"the stages {' → '.join(around)} form a cycle"
    last = f"such as the last one, {around[-2]} → {name}"
    hint = f"take one of these connections away, {last}, or use feedback(…, buffer=…)"
    return Finding("cycle", name, message, hint, edge.where)


def _fan_out(
    source: Endpoint, edges: Mapping[Endpoint, EdgeSpec], fork: ForkSpec | None, closing: Collection[EdgeSpec]
) -> Iterator[Finding]:
    name = repr(str(source))
    further = [edge for edge in edges.values() if edge not in closing][1:]
    if fork is None and further:
        message = f"{name} feeds {_listed(edges, ' and ')}, without saying that these are branches"
        hint = f"add branch({name}, {_listed(edges)}): each gets what its stage accepts"
        yield Finding("fan-out", source.stage, message, hint, further[0].where)
    elif fork is not None and len(edges) < 2 and fork.mode != "route" and not fork.is_dynamic:
        message = f"{fork.mode}({name}, …) has {_count(len(edges), 'branch', 'branches')}, it takes two"
        hint = f", or chain({name}, {_listed(edges)}) without {fork.mode}()" if edges else ""
        yield Finding("fan-out", source.stage, message, f"name what else it feeds{hint}", fork.where)


def _fan_in(
    target: Endpoint, edges: Mapping[Endpoint, EdgeSpec], joined_at: str | None, closing: Collection[EdgeSpec]
) -> Iterator[Finding]:
    name = repr(str(target))
    further = [edge for edge in edges.values() if edge not in closing][1:]
    if joined_at is None and further:
        message = f"{name} is fed by {_listed(edges, ' and ')}, without saying that these are merged"
        hint = f"add merge({name}, {_listed(edges)}): it gets elements in the order of arrival"
        yield Finding("fan-in", target.stage, message, hint, further[0].where)
    elif joined_at is not None and len(edges) < 2:
        message = f"merge({name}, …) has {_count(len(edges), 'source', 'sources')}, it takes two"
        hint = "name what else feeds it" + (f", or chain({_listed(edges)}, {name}) without merge()" if edges else "")
        yield Finding("fan-in", target.stage, message, hint, joined_at)


def _listed(ends: Iterable[Endpoint], between: str = ", ") -> str:
    return between.join(repr(str(one)) for one in ends)


def _count(number: int, one: str, several: str) -> str:
    return f"one {one}" if number == 1 else f"no {several}"


def _outer(graph: Graph, names: Names) -> Iterator[Finding]:
    """Yield a finding for each edge from the source, or to the consumer, that is none, or of which something was said before."""
    first: dict[Endpoint, EdgeSpec] = {}
    heads, leaves = set(graph.heads), set(graph.leaves)
    for edge in graph.outer:
        is_head = edge.source == OUTSIDE
        end = edge.target if is_head else edge.source
        if end not in (names.inputs if is_head else names.outputs):
            continue
        if end not in (heads if is_head else leaves):
            told, other = ("fed by", "the source feeds only") if is_head else ("read by", "the consumer reads only")
            stages = [one.source if is_head else one.target for one in graph.edges if end in (one.source, one.target)]
            message = (
                f"{str(end)!r} is {told} {_listed(dict.fromkeys(stages), ' and ')}, and {other} what no stage does"
            )
            hint = "give the options to connect() of those two stages"
            yield Finding("not-an-outer-edge", end.stage, message, hint, edge.where)
        elif first.setdefault(end, edge) is not edge:
            what = f"connect(SOURCE, {str(end)!r})" if is_head else f"connect({str(end)!r}, CONSUMER)"
            message = f"{what} was called twice, before at {first[end].where}"
            yield Finding("duplicate-edge", end.stage, message, "leave one of them out", edge.where)


def _lossy_orders(graph: Graph) -> Iterator[Finding]:
    """Yield a finding for each branch that drops below a fork whose order a merge restores.

    The fork marks every element there, also what is dropped; marks are control, and would pile up without a bound.
    """
    for target, forks in ordering_forks(graph).items():
        for edge in (one for fork in forks for one in graph.edges_out_of(fork)):
            leads_there = target.stage in {edge.target.stage, *graph.downstream(edge.target.stage)}
            if leads_there and edge.overflow not in {"block", "error"}:
                message = f"{str(target)!r} restores the order of {str(edge.source)!r}, whose branch {edge} may drop"
                hint = "let the branch block; or drop before the fork; or merge in the order of arrival"
                yield Finding("merge-policy", target.stage, message, hint, edge.where)


def _rests(graph: Graph, names: Names) -> Iterator[Finding]:
    """Yield a finding for each `otherwise` of a fork that has another one."""
    first: dict[Endpoint, Endpoint] = {}
    for fork in graph.forks:
        if fork.otherwise is None or fork.mode == "route" or fork.source not in names.outputs:
            continue
        before = first.setdefault(fork.source, fork.otherwise)
        if before != fork.otherwise:
            both = f"{str(before)!r} and {str(fork.otherwise)!r}"
            message = f"what no branch of {str(fork.source)!r} accepts cannot go to both {both}"
            yield Finding("two-otherwise", fork.source.stage, message, "give otherwise= once for each fork", fork.where)


def _policies(graph: Graph, names: Names, into: Mapping[Endpoint, Mapping[Endpoint, EdgeSpec]]) -> Iterator[Finding]:
    """Yield a finding for each merge that was told two policies, or one that does not fit its inputs."""
    forks = ordering_forks(graph)
    first: dict[Endpoint, JoinSpec] = {}
    for join in graph.joins:
        target, policy = str(join.target), join.policy
        count = len(into.get(join.target, ()))
        before = first.setdefault(join.target, join)
        if join.target not in names.inputs or count < 2:
            continue
        if before.policy != policy:
            message = f"what feeds {target!r} cannot be merged by both {before.policy.name!r} and {policy.name!r}"
            yield Finding("two-policies", join.target.stage, message, "give policy= once for each merge", join.where)
        elif isinstance(policy, Prioritized) and policy.weights and len(policy.weights) != count:
            message = f"merge({target!r}, …) has {count} inputs, but {len(policy.weights)} weights"
            hint = "give one weight for each input, in the order in which they are named"
            yield Finding("merge-policy", join.target.stage, message, hint, join.where)
        elif isinstance(policy, (Zip, ZipLatest)) and (fault := policy.fault(count)) is not None:
            hint = f"give a function of {count} elements, or leave combine= out to get a BatchElement"
            yield Finding("merge-policy", join.target.stage, f"merge({target!r}, …): {fault}", hint, join.where)
        elif not forks.get(join.target, True):
            message = f"merge({target!r}, …, policy='ordered') has no order to restore: no fork leads to all its inputs"
            hint = "branch() from one stage to all of them; or sort by a key, Ordered(key=…); or policy='concat'"
            yield Finding("merge-policy", join.target.stage, message, hint, join.where)


def _unconnected(graph: Graph, names: Names) -> Iterator[Finding]:
    """Yield a finding for each stage without an edge, unless it is the only one, or makes its own elements for the output."""
    touched = {end.stage for edge in graph.edges for end in (edge.source, edge.target)}
    for node in names.unique if len(graph.nodes) > 1 else ():
        if touched.isdisjoint([node.name, *outer_names(node.name)]) and node.stage.kind is not StageKind.GENERATE:
            message = f"stage {node.name!r} is connected to no other stage"
            hint = f"connect it, as in chain({node.name!r}, …), or build a pipeline of its own"
            yield Finding("unconnected-stage", node.name, message, hint, node.where)

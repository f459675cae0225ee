"""Pictures of a graph: as Mermaid and DOT text, and as SVG where Graphviz is installed.

Above: `runtime`. Below: `_words`, `_programs`, `_spec`, `stages`.

The source and the consumer are nodes like the stages, whose shapes say their kinds. What stands in a name never becomes part of the
picture's own language: identifiers are ours, and names stand in quoted labels, in which everything special is escaped.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

from ..errors import ProgramError
from ..stages import ALL_DATA, StageKind
from ._programs import output_of
from ._words import cut, groups_of, printable, type_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..stages import ElementTypes
    from ._spec import EdgeSpec, Endpoint, ForkSpec, Graph

__all__ = ["to_dot", "to_mermaid", "to_svg"]

_NAME = 48  # columns of the longest name
_TYPES = 3  # most types on the label of a branch
_MAX_BYTES = 16 * 1024 * 1024  # of an SVG
_INDENT = "    "
_SOURCE, _CONSUMER = "source", "consumer"  # identifiers, and what stands in their nodes

_MERMAID_SHAPES: Final[Mapping[StageKind | None, tuple[str, str]]] = {
    None: ("([", "])"),
    StageKind.TRANSFORM: ("[", "]"),
    StageKind.ACCUMULATE: ("[(", ")]"),
    StageKind.GENERATE: (">", "]"),
    StageKind.SINK: ("[[", "]]"),
    StageKind.BIDIRECTIONAL: ("{{", "}}"),
}
_DOT_SHAPES: Final[Mapping[StageKind | None, str]] = {
    None: "ellipse",
    StageKind.TRANSFORM: "box",
    StageKind.ACCUMULATE: "cylinder",
    StageKind.GENERATE: 'cds, margin="0.2,0.1"',
    StageKind.SINK: "box, peripheries=2",
    StageKind.BIDIRECTIONAL: "hexagon",
}

# All that could be Markdown, HTML, an entity or a directive; `-`, `_` and `/` cannot between letters. To Mermaid, a line that has
# `direction TB` anywhere is a directive, also where that stands in quotes.
_UNSAFE_IN_MERMAID = re.compile(r"[^\w ,/-]|(?<![^\W_])[-_/]|[-_/](?![^\W_])|(?<=(?i:direction)) ")


def to_mermaid(graph: Graph) -> str:
    """Return a graph as a Mermaid flowchart, which GitHub and many editors show as a picture.

    Args:
        graph: One that validation has accepted.
    """
    return "\n".join(["flowchart LR", *_body(graph, _Mermaid())]) + "\n"


def to_dot(graph: Graph) -> str:
    """Return a graph in DOT, the language of Graphviz; to be saved as UTF-8.

    Args:
        graph: One that validation has accepted.
    """
    settings = [
        'graph [rankdir=LR, fontname="sans-serif"];',
        'node [fontname="sans-serif"];',
        'edge [fontname="sans-serif", fontsize=10];',
    ]
    lines = [*(_INDENT + one for one in settings), *_body(graph, _Dot())]
    return "\n".join(["digraph pipeline {", *lines, "}"]) + "\n"


def to_svg(graph: Graph, *, timeout_s: float = 30.0) -> str:
    """Return a graph as an SVG picture, drawn by the program `dot` of Graphviz.

    Blocks until it is drawn: in an event loop, call it in a worker thread.

    Args:
        graph: One that validation has accepted.
        timeout_s: Longest time that `dot` may take, in seconds; then it is killed.

    Raises:
        ConfigError: If `timeout_s` is no number above 0.
        MissingProgramError: If `dot` is not installed.
        ProgramError: If it fails, takes too long, or writes something else than a picture of at most 16 MiB.
    """
    hint = "install Graphviz, or draw what to_dot() or to_mermaid() return elsewhere"
    written = output_of(
        "dot", "-Tsvg", given=to_dot(graph).encode(), timeout_s=timeout_s, max_bytes=_MAX_BYTES, hint=hint
    )
    picture = written.decode(errors="replace")
    if "<svg" not in picture or not picture.rstrip().endswith("</svg>"):
        raise ProgramError("dot", f"it wrote {len(written)} bytes that are no SVG; is it the one of Graphviz?")
    return picture


class _Pen(Protocol):
    """Writes the parts of a picture in one language."""

    def node(self, key: str, lines: Sequence[str], kind: StageKind | None) -> str:
        """Return a stage; of no kind, the source or the consumer."""
        ...

    def group(self, key: str, name: str) -> str:
        """Return the beginning of a group."""
        ...

    def end_of_group(self) -> str:
        """Return its end."""
        ...

    def arrow(self, source: str, target: str, lines: Sequence[str], *, is_dashed: bool = False) -> str:
        """Return an edge."""
        ...


class _Mermaid:
    """Writes Mermaid."""

    def node(self, key: str, lines: Sequence[str], kind: StageKind | None) -> str:
        left, right = _MERMAID_SHAPES[kind]
        return f"{key}{left}{_in_mermaid(lines)}{right}"

    def group(self, key: str, name: str) -> str:
        return f"subgraph {key}[{_in_mermaid([name])}]"

    def end_of_group(self) -> str:
        return "end"

    def arrow(self, source: str, target: str, lines: Sequence[str], *, is_dashed: bool = False) -> str:
        label = f"|{_in_mermaid(lines)}|" if lines else ""
        return f"{source} {'-.->' if is_dashed else '-->'}{label} {target}"


class _Dot:
    """Writes DOT."""

    def node(self, key: str, lines: Sequence[str], kind: StageKind | None) -> str:
        return f"{key} [label={_in_dot(lines)}, shape={_DOT_SHAPES[kind]}];"

    def group(self, key: str, name: str) -> str:
        return f"subgraph cluster_{key} {{ label={_in_dot([name])}; style=rounded;"

    def end_of_group(self) -> str:
        return "}"

    def arrow(self, source: str, target: str, lines: Sequence[str], *, is_dashed: bool = False) -> str:
        told = ", ".join([f"label={_in_dot(lines)}"] * bool(lines) + ["style=dashed"] * is_dashed)
        return f"{source} -> {target}{f' [{told}]' * bool(told)};"


def _in_mermaid(lines: Sequence[str]) -> str:
    escaped = (_UNSAFE_IN_MERMAID.sub(lambda found: f"#{ord(found[0])};", one) for one in lines)
    return f'"{"<br/>".join(escaped)}"'


def _in_dot(lines: Sequence[str]) -> str:
    # In a label, `\N` and the like stand for something, and so do HTML's entities.
    escaped = (one.replace("\\", r"\\").replace('"', r"\"").replace("&", "&amp;") for one in lines)
    return '"' + r"\n".join(escaped) + '"'


def _body(graph: Graph, pen: _Pen) -> Iterator[str]:
    """Yield the lines of a picture: nodes in their groups, then edges."""
    keys = {node.name: f"n{number}" for number, node in enumerate(graph.nodes)}
    heads, leaves = graph.heads, graph.leaves
    if heads:
        yield _INDENT + pen.node(_SOURCE, [_SOURCE], None)
    yield from _nodes(graph, keys, pen)
    if leaves:
        yield _INDENT + pen.node(_CONSUMER, [_CONSUMER], None)
    for one in heads:
        yield _INDENT + pen.arrow(_SOURCE, keys[one.stage], _ports("", one.port))
    accepts = {end: types for node in graph.nodes for end, types in node.inputs.items()}
    policies = {end: one for end, one in graph.policies.items() if one.name != "arrival"}
    accepts |= {end: ALL_DATA for end, one in policies.items() if one.makes}
    places: Counter[Endpoint] = Counter()
    branches = Counter(edge.source for edge in graph.edges if not edge.is_tap)
    rests = {(fork.source, fork.otherwise) for fork in graph.forks}
    forks = {fork.source: fork for fork in graph.forks}
    optional = {(fork.source, one) for fork in graph.forks for one in fork.optional}
    isolating = {join.target for join in graph.joins if join.isolates}
    letters = {node.letters for node in graph.nodes}
    for edge in graph.edges:
        is_rest = (edge.source, edge.target) in rests
        lines = _ports(edge.source.port, edge.target.port)
        if branches[edge.source] > 1 or edge.is_tap or edge.source in forks:
            lines += _reasons(edge, forks.get(edge.source), accepts[edge.target])
        if edge.target in policies:
            places[edge.target] += 1
            lines.append(f"{policies[edge.target].name} {places[edge.target]}")
        if edge.feedback is not None:
            most = edge.feedback.max_rounds
            lines.append("back" if most is None else f"back, {most} times at most")
        if edge.buffer is not None:
            lines.append(f"holds {edge.buffer}")
        if (edge.source, edge.target) in optional or edge.target in isolating:
            lines.append("may fail alone")
        is_dashed = is_rest or edge.is_tap or edge.source in letters or edge.feedback is not None
        yield _INDENT + pen.arrow(keys[edge.source.stage], keys[edge.target.stage], lines, is_dashed=is_dashed)
    for one in leaves:
        yield _INDENT + pen.arrow(keys[one.stage], _CONSUMER, _ports(one.port, ""))
    for number, fork in enumerate(one for one in graph.forks if one.is_dynamic):
        yield _INDENT + pen.node(f"h{number}", ["subscribers", "of a run"], None)
        yield _INDENT + pen.arrow(keys[fork.source.stage], f"h{number}", _ports(fork.source.port, ""), is_dashed=True)


def _reasons(edge: EdgeSpec, fork: ForkSpec | None, accepts: ElementTypes) -> list[str]:
    """Return what goes along an edge of a fork."""
    if edge.is_tap:
        return ["tap", _types(accepts)]
    if fork is None:
        return [_types(accepts)]
    if edge.target == fork.otherwise:
        return ["otherwise"]
    if fork.route is not None:
        return [_shown(one) for one in _first(fork.route.reasons(edge.target))]
    return [_types(accepts)] + ["balanced"] * (fork.mode == "balance") + ["essential"] * (edge.target in fork.essential)


def _nodes(graph: Graph, keys: Mapping[str, str], pen: _Pen) -> Iterator[str]:
    """Yield the stages; those of one group together, where its first one was added."""
    inside = {node.name: groups_of(node.name) for node in graph.nodes}
    first: dict[str, int] = {}
    for place, groups in enumerate(inside.values()):
        for group in groups:
            first.setdefault(group, place)
    places = {name: [*(first[group] for group in groups), place] for place, (name, groups) in enumerate(inside.items())}
    group_keys = {group: f"g{number}" for number, group in enumerate(first)}
    around: tuple[str, ...] = ()
    for node in sorted(graph.nodes, key=lambda one: places[one.name]):
        groups = inside[node.name]
        shared = len(set(groups).intersection(around))
        yield from _ends(around[shared:], shared, pen)
        for depth, group in enumerate(groups[shared:], shared + 1):
            yield _INDENT * depth + pen.group(group_keys[group], _shown(group.rpartition("/")[2]))
        around = groups
        lines = [_shown(node.name.removeprefix(f"{groups[-1]}/") if groups else node.name)]
        if node.stage.kind is not StageKind.TRANSFORM:
            lines.append(node.stage.kind.value)
        if node.supervision is not None:
            lines.append(f"on failure {node.supervision.supervision.directive.replace('_', ' ')}")
        yield _INDENT * (len(groups) + 1) + pen.node(keys[node.name], lines, node.stage.kind)
    yield from _ends(around, 0, pen)


def _ends(groups: Sequence[str], shared: int, pen: _Pen) -> Iterator[str]:
    for depth in range(shared + len(groups), shared, -1):
        yield _INDENT * depth + pen.end_of_group()


def _ports(source: str, target: str) -> list[str]:
    """Return what an edge says about its ends; nothing where neither has a name."""
    return [f"{_shown(source)} → {_shown(target)}".strip()] if source or target else []


def _types(types: ElementTypes) -> str:
    return ", ".join(_first([cut(one, _NAME) for one in type_names(types)]))


def _first(names: Sequence[str]) -> list[str]:
    """Return the first ones, and how many more there are."""
    more = len(names) - _TYPES
    return [*names[: _TYPES - 1], f"{names[_TYPES - 1]} and {more} more"] if more > 0 else list(names)


def _shown(name: str) -> str:
    return cut(printable(name), _NAME)

"""Pictures of a graph: as Mermaid and DOT text, and as SVG where Graphviz is installed.

Above: `runtime`. Below: `_words`, `_spec`, `stages`.

The source and the consumer are nodes like the stages, whose shapes say their kinds. What stands in a name never becomes part of the
picture's own language: identifiers are ours, and names stand in quoted labels, in which everything special is escaped.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Final

from ..errors import MissingProgramError, ProgramError
from ..stages import StageKind
from ._words import groups_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._spec import Graph

__all__ = ["to_dot", "to_mermaid", "to_svg"]

_NAME = 48  # columns of the longest name
_TYPES = 3  # most types on the label of a branch
_SOURCE, _CONSUMER = "source", "consumer"  # identifiers, and what stands in their nodes

_MERMAID_SHAPES: Final[Mapping[StageKind, tuple[str, str]]] = {
    StageKind.TRANSFORM: ("[", "]"),
    StageKind.ACCUMULATE: ("[(", ")]"),
    StageKind.GENERATE: ("[/", "/]"),
    StageKind.SINK: ("[/", "\\]"),
    StageKind.BIDIRECTIONAL: ("{{", "}}"),
}
_DOT_SHAPES: Final[Mapping[StageKind, str]] = {
    StageKind.TRANSFORM: "box",
    StageKind.ACCUMULATE: "cylinder",
    StageKind.GENERATE: "parallelogram",
    StageKind.SINK: "trapezium",
    StageKind.BIDIRECTIONAL: "hexagon",
}

# What could be Markdown, HTML, an entity or a directive. `-`, `_` and `/` are none of these between letters. Mermaid itself writes
# `&`, `#` and `;` as sequences of letters, of which ß is one, while it works.
_UNSAFE_IN_MERMAID = re.compile(r"[^\w ,/-]|ß|(?<![^\W_])[-_/]|[-_/](?![^\W_])")


class _Pen(Protocol):
    """Writes the parts of a picture in one language."""

    def node(self, name: str, lines: Sequence[str], kind: StageKind | None) -> str:
        """Return a stage; with None as its kind, the source or the consumer."""

    def group(self, name: str, label: str) -> str:
        """Return the beginning of a group."""

    def end_of_group(self) -> str:
        """Return its end."""

    def arrow(self, source: str, target: str, lines: Sequence[str], *, is_rest: bool) -> str:
        """Return an edge."""


def to_mermaid(graph: Graph) -> str:
    """Return a graph as a Mermaid flowchart, which GitHub and many editors show as a picture.

    Args:
        graph: The stages and edges.
    """
    return "\n".join(["flowchart LR", *_body(graph, _Mermaid())]) + "\n"


def to_dot(graph: Graph) -> str:
    """Return a graph in the DOT language of Graphviz, in UTF-8.

    Args:
        graph: The stages and edges.
    """
    settings = [
        "    rankdir=LR;",
        '    node [fontname="sans-serif"];',
        '    edge [fontname="sans-serif", fontsize=10];',
    ]
    return "\n".join(["digraph pipeline {", *settings, *_body(graph, _Dot()), "}"]) + "\n"


def to_svg(graph: Graph, *, timeout_s: float = 30.0) -> str:
    """Return a graph as an SVG picture, drawn by the program `dot` of Graphviz.

    Blocks until it is drawn: in an event loop, call it in a worker thread.

    Args:
        graph: The stages and edges.
        timeout_s: Longest time that `dot` may take, in seconds; then it is killed.

    Raises:
        ConfigError: If `timeout_s` is no number above 0.
        MissingProgramError: If `dot` is not installed.
        ProgramError: If it fails, takes too long, or writes something else than a picture of at most 16 MiB.
    """
    given = cast("object", timeout_s)
    if not isinstance(given, (int, float)) or isinstance(given, bool) or not 0 < given < math.inf:
        raise ConfigError("timeout_s", f"a limit is a positive number of seconds, got {given!r:.80}")
    program = shutil.which("dot")
    if program is None:
        hint = "install Graphviz, or take to_mermaid() or to_dot() elsewhere"
        raise MissingProgramError("dot", f"it is not installed, or not on PATH; {hint}")
    written = _output_of([program, "-Tsvg"], to_dot(graph).encode(), timeout_s)
    try:
        picture = written.decode()
    except UnicodeDecodeError:
        picture = ""
    if "<svg" not in picture or not picture.rstrip().endswith("</svg>"):
        raise ProgramError("dot", f"it wrote {len(written)} bytes that are no SVG; is {program!r} the one of Graphviz?")
    return picture


class _Mermaid:
    """Writes Mermaid."""

    def node(self, name: str, lines: Sequence[str], kind: StageKind | None) -> str:
        left, right = ("([", "])") if kind is None else _MERMAID_SHAPES[kind]
        return f"{name}{left}{self._label(lines)}{right}"

    def group(self, name: str, label: str) -> str:
        return f"subgraph {name}[{self._label([label])}]"

    def end_of_group(self) -> str:
        return "end"

    def arrow(self, source: str, target: str, lines: Sequence[str], *, is_rest: bool) -> str:
        label = f"|{self._label(lines)}|" if lines else ""
        return f"{source} {'-.->' if is_rest else '-->'}{label} {target}"

    def _label(self, lines: Sequence[str]) -> str:
        return '"{}"'.format(
            "<br/>".join(_UNSAFE_IN_MERMAID.sub(lambda one: f"#{ord(one[0])};", line) for line in lines)
        )


class _Dot:
    """Writes DOT."""

    def node(self, name: str, lines: Sequence[str], kind: StageKind | None) -> str:
        return f"{name} [{self._label(lines)}, shape={'ellipse' if kind is None else _DOT_SHAPES[kind]}];"

    def group(self, name: str, label: str) -> str:
        return f"subgraph cluster_{name} {{ {self._label([label])}; style=rounded;"

    def end_of_group(self) -> str:
        return "}"

    def arrow(self, source: str, target: str, lines: Sequence[str], *, is_rest: bool) -> str:
        told = [self._label(lines)] * bool(lines) + ["style=dashed"] * is_rest
        return f"{source} -> {target}{f' [{", ".join(told)}]' if told else ''};"

    def _label(self, lines: Sequence[str]) -> str:
        # In a label, `\N` and the like stand for something, and so do HTML's entities.
        escaped = (one.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for one in lines)
        return 'label="{}"'.format("\\n".join(escaped))


def _body(graph: Graph, pen: _Pen) -> Iterator[str]:
    """Yield the lines of a picture: nodes in their groups, then edges."""
    numbers = {node.name: f"n{number}" for number, node in enumerate(graph.nodes)}
    if graph.heads:
        yield "    " + pen.node(_SOURCE, [_SOURCE], None)
    yield from _nodes(graph, numbers, pen)
    if graph.leaves:
        yield "    " + pen.node(_CONSUMER, [_CONSUMER], None)
    for one in graph.heads:
        yield "    " + pen.arrow(_SOURCE, numbers[one.stage], _ports("", one.port), is_rest=False)
    yield from _arrows(graph, numbers, pen)
    for one in graph.leaves:
        yield "    " + pen.arrow(numbers[one.stage], _CONSUMER, _ports(one.port, ""), is_rest=False)


def _nodes(graph: Graph, numbers: Mapping[str, str], pen: _Pen) -> Iterator[str]:
    """Yield the stages, those of one group together: where its first one was added."""
    first: dict[str, int] = {}
    for node in graph.nodes:
        for group in groups_of(node.name):
            first.setdefault(group, len(first))

"""Pictures of a graph: as Mermaid and DOT text, and as SVG where Graphviz is installed.

Above: `runtime`. Below: `_words`, `_spec`, `stages`.

The source and the consumer are nodes like the stages, whose shapes say their kinds. What stands in a name never becomes part of the
picture's own language: identifiers are ours, and names stand in quoted labels, in which everything special is escaped.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import defaultdict
from typing import IO, TYPE_CHECKING, Final

from ..errors import MissingProgramError, ProgramError
from ..stages import StageKind
from ._words import cut, groups_of, printable, type_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ._spec import EdgeSpec, Endpoint, Graph, Node

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

# Letters stand for themselves, also with one of `-_/` between two of them: elsewhere these can be Markdown. The last four are what
# Mermaid itself writes for `&#`, `&` and `;` while it works.
_SAFE_IN_MERMAID = re.compile(r"(?:(?![ßﬂ])[^\W_]|(?<=[^\W_])[-_/](?=[^\W_])|[ ,])+")


@dataclasses.dataclass(frozen=True, slots=True)
class _Arrow:
    """One edge of the picture."""

    source: str
    target: str
    lines: tuple[str, ...] = ()
    is_rest: bool = False


def to_mermaid(graph: Graph) -> str:
    """Return a graph as a Mermaid flowchart, which GitHub and many editors show as a picture.

    Args:
        graph: The stages and edges.
    """
    return "\n".join(["flowchart LR", *_body(graph, _MermaidPen())]) + "\n"


def to_dot(graph: Graph) -> str:
    """Return a graph in the DOT language of Graphviz, in UTF-8.

    Args:
        graph: The stages and edges.
    """
    settings = ["    rankdir=LR;", '    node [fontname="sans-serif"];', '    edge [fontname="sans-serif", fontsize=10];']
    return "\n".join(["digraph pipeline {", *settings, *_body(graph, _DotPen()), "}"]) + "\n"

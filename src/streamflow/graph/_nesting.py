"""A graph inside another one: what a pipeline is when it is given as a stage, and which ends it shows outside.

Above: `_plan`, `_validation`, `runtime.Pipeline.as_stage`. Below: `_spec`.

A nested graph is dissolved: its stages become stages of the outer graph, with its name and a slash before their own. The name
alone stands for all of them: an edge to it goes to its one input that nothing inside feeds, edges from it come from each of its
outputs that nothing inside takes. The same holds for every prefix of names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..errors import ConfigError
from ..stages import checked_name, definition_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..stages import StageLike
    from ._spec import Endpoint, Graph, Node

__all__ = ["GraphStage", "Nestable", "SubGraph", "checked_buffer", "nestable", "outer_ends", "outer_names"]


class SubGraph:
    """A graph to nest into another; what `Pipeline.as_stage(name)` returns.

    Args:
        name: What it is called there; its stages are called `name/stage`.
        graph: Its stages and edges.
        buffer: Capacity of its edges that have none of their own; None: what the outer pipeline's configuration says.

    Raises:
        StageDefinitionError: If the name cannot be one, or there is no stage.
        ConfigError: If the buffer is no size.
    """

    def __init__(self, name: str, graph: Graph, buffer: int | None = None) -> None:
        self.name: str = checked_name(graph, name, "a nested pipeline")
        """What it is called."""
        self.graph: Graph = graph
        """Its stages and edges."""
        self.buffer: int | None = checked_buffer(buffer)
        """Capacity of its edges that have none of their own."""
        if not graph.nodes:
            raise definition_error(name, f"the nested pipeline {name!r} has no stage", "add stages to it first")

    def __repr__(self) -> str:
        return f"<SubGraph {self.name!r} of {len(self.graph.nodes)} stages>"


class Nestable(Protocol):
    """What can be given as a stage because it can be nested: a `Pipeline`."""

    def as_stage(self, name: str, /) -> SubGraph:
        """Return it as something to nest, under this name."""
        ...


GraphStage: TypeAlias = "StageLike | SubGraph | Nestable"
"""What can be given as a stage of a graph: a stage in any of its forms, or a pipeline."""


def nestable(given: object) -> SubGraph | None:
    """Return `given` as what to nest, None if it is a stage of its own.

    Raises:
        StageDefinitionError: If it says that it can be nested, and gives something else.
    """
    if isinstance(given, SubGraph):
        return given
    make: object = getattr(given, "as_stage", None)
    if isinstance(given, type) or not callable(make) or hasattr(given, "process"):
        return None
    made = make("pipeline")
    if isinstance(made, SubGraph):
        return made
    message = f"a pipeline was expected, but as_stage() of {given!r:.80} returned {made!r:.80}"
    raise definition_error(None, message, "give what Pipeline.as_stage(name) returns")


def checked_buffer(buffer: object) -> int | None:
    """Return `buffer`, if it is a capacity, or None.

    Raises:
        ConfigError: If it is not.
    """
    if buffer is None or (isinstance(buffer, int) and not isinstance(buffer, bool) and buffer > 0):
        return buffer
    message = f"an edge holds at least 1 element, got {buffer!r:.80}; None means what the configuration says"
    raise ConfigError("buffer", message)


def outer_names(name: str) -> list[str]:
    """Return what a name is inside of, from the outside: `a` and `a/b` for `a/b/c`."""
    return [name[:place] for place, sign in enumerate(name) if sign == "/"]


def outer_ends(
    inside: Iterable[Node], edges: Iterable[tuple[Endpoint | None, Endpoint | None]]
) -> tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]:
    """Return the inputs of stages that none of the edges between them feeds, and the outputs that none takes.

    Args:
        inside: The stages.
        edges: What each edge takes and feeds; None: it is a tap, which takes nothing away, or leads back, which feeds nothing new.
    """
    own = list(edges)
    taken, fed = {source for source, _ in own}, {target for _, target in own}
    nodes = list(inside)
    heads = (one for node in nodes for one in node.inputs if one not in fed)
    leaves = (one for node in nodes for one in node.outputs if one not in taken)
    return tuple(dict.fromkeys(heads)), tuple(dict.fromkeys(leaves))

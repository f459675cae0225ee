"""The builder: collects stages and edges, checks them, hands out an immutable graph. Starts nothing.

Above: `runtime.PipelineBuilder`, which makes a pipeline of the graph. Below: `_spec`, `_validation`.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import os
from typing import TYPE_CHECKING

from ..errors import Finding, StageDefinitionError, UnknownStageError
from ..stages import as_stage
from ._spec import EdgeSpec, Endpoint, Graph, Node
from ._validation import check

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from ..stages import StageLike

__all__ = ["GraphBuilder", "caller_of_package"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class GraphBuilder:
    """Collect stages and the edges between them. Every method returns the builder."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._edges: list[EdgeSpec] = []

    def add(self, *stages: StageLike) -> Self:
        """Add stages without connecting them; all of them, or none where it raises.

        Raises:
            StageDefinitionError: If one of them is no stage, or has no name.
        """
        self._add_all(stages, caller_of_package())
        return self

    def chain(self, *stages: StageLike | str) -> Self:
        """Add stages and connect each to the next; all of them, or none where it raises.

        Args:
            stages: Objects, functions, classes; a string names a stage that was added before, as to continue a chain behind it.

        Raises:
            StageDefinitionError: If one of them is no stage, or has no name.
            UnknownStageError: If a name was not added before.
        """
        where = caller_of_package()
        names = self._add_all(stages, where)
        self._edges += [EdgeSpec(Endpoint(source), Endpoint(target), where) for source, target in itertools.pairwise(names)]
        return self

    def build_graph(self) -> Graph:
        """Check everything and return the graph; its stages are frozen from now on.

        Raises:
            BuildError: With every finding.
        """
        graph = Graph(tuple(self._nodes), tuple(self._edges))
        check(graph)
        for node in graph.nodes:
            if node.stage.freeze is not None:
                node.stage.freeze()
        return graph

    def _add_all(self, stages: Iterable[StageLike | str], where: str) -> list[str]:
        """Add what is no name, and return the names of all."""
        count = len(self._nodes)
        try:
            return [self._known(one, where) if isinstance(one, str) else self._add(one, where) for one in stages]
        except BaseException:
            del self._nodes[count:]
            raise

    def _add(self, stage: StageLike, where: str) -> str:
        try:
            spec = as_stage(stage)
        except StageDefinitionError as error:
            found = [dataclasses.replace(one, where=where) for one in error.findings]
            raise StageDefinitionError(found) from error.__cause__
        self._nodes.append(Node(spec.name, spec, where))
        return spec.name

    def _known(self, name: str, where: str) -> str:
        if any(node.name == name for node in self._nodes):
            return name
        known = ", ".join(repr(node.name) for node in self._nodes) or "none yet"
        hint = f"a string names a stage that was added before ({known}); give the stage itself to add it"
        raise UnknownStageError(
            [Finding(kind="unknown-stage", stage=name, message=f"there is no stage {name!r}", hint=hint, where=where)]
        )


def caller_of_package() -> str:
    """Return `file:line` of the nearest frame outside this package."""
    frame = inspect.currentframe()  # not inspect.stack(), which reads every source file
    assert frame is not None, "CPython and PyPy have frames"
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"

"""What is wrong with a graph.

Above: `graph`, `stages`. Below: `_base`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._records import Record
from ._base import StreamflowError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BuildError",
    "BuildWarning",
    "CycleError",
    "DuplicateStageError",
    "Finding",
    "StageDefinitionError",
    "StagePlacementError",
    "TypeMismatchError",
    "UnknownStageError",
]


class Finding(Record, frozen=True):
    """One thing that is wrong with a graph."""

    kind: str
    """Short name of the rule, as in `duplicate-name`."""
    stage: str | None
    """The stage it is about, None when it is about the whole graph."""
    message: str
    """What is wrong."""
    hint: str
    """A way out."""
    where: str | None = None
    """`file:line` of the call that added the stage, or the connection that is wrong."""

    def __str__(self) -> str:
        place = f" (added at {self.where})" if self.where else ""
        return f"{self.message}{place}; {self.hint}"


class BuildError(StreamflowError, ValueError):
    """A graph cannot run. Every finding is listed, not just the first.

    Args:
        findings: What is wrong, in the order of the stages; at least one.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__(findings)
        self.findings: tuple[Finding, ...] = tuple(findings)
        """All that is wrong, each with its stage, its place in your code and a way out."""

    def __str__(self) -> str:
        if len(self.findings) == 1:
            return str(self.findings[0])
        lines = "\n".join(f"  {number}. {finding}" for number, finding in enumerate(self.findings, 1))
        return f"{len(self.findings)} findings:\n{lines}"


class BuildWarning(UserWarning):
    """A graph can run, but some of what flows in it is lost. Shown at your line that said so; hide it with `warnings`."""


class StageDefinitionError(BuildError, TypeError):
    """What was given is no stage, or a stage that lacks a name or a method."""


class CycleError(BuildError):
    """Edges lead from a stage back to itself; the message shows the way."""


class UnknownStageError(BuildError):
    """A stage was named that was not added, or a port that the stage does not have."""


class DuplicateStageError(BuildError):
    """Two stages have one name."""


class StagePlacementError(BuildError):
    """A stage stands where it cannot, or its edges do not fit: a sink before other stages, an undeclared fork."""


class TypeMismatchError(BuildError):
    """None of the element types that can arrive at a stage is accepted by it."""

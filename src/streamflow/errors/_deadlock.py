"""A run that waits for itself: who waits for whom, and the error that says so.

Above: `runtime`, `observe`. Below: `_base`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .._records import Record
from ._base import StreamflowError

if TYPE_CHECKING:
    from ._runs import StageError

__all__ = ["PipelineDeadlockError", "Wait", "WaitGraph", "WaitKind"]

WaitKind = Literal["send", "receive", "inside", "outside", "runs"]
"""What a task is doing: it waits for room on an edge, for an element, for another task of its own stage, for something that is no
edge of the run, or it runs."""


class Wait(Record, frozen=True):
    """What one task of a run waits for."""

    who: str
    """The stage, or the task of it as `stage/helper`; `source`, `consumer`."""
    kind: WaitKind
    """What it is doing."""
    edge: str | None = None
    """The edge, as `a → b`, where it waits to send or to receive; a merge as `merge → b`."""
    buffered: int = 0
    """How many elements are in that edge; in all edges of the merge."""
    capacity: int = 0
    """How many fit."""
    on: tuple[str, ...] = ()
    """Who could end the wait: whoever reads the edge, or writes it."""
    place: str | None = None
    """`file:line` of the code that waits outside, where that is known."""

    def __str__(self) -> str:
        others = " or ".join(self.on) or "nobody"
        fill = "full" if self.buffered >= self.capacity else "empty" if not self.buffered else "held"
        match self.kind:
            case "send":
                return (
                    f"{self.who} waits to send on '{self.edge}' "
                    f"({fill}, {self.buffered} of {self.capacity}) until {others} takes from it"
                )
            case "receive":
                return (
                    f"{self.who} waits to receive on '{self.edge}' "
                    f"({fill}, {self.buffered} of {self.capacity}) until {others} sends"
                )
            case "inside":
                return f"{self.who} waits for other tasks of its own stage" + (f": {others}" if self.on else "")
            case "outside":
                return f"{self.who} waits outside its edges" + (f", at {self.place}" if self.place else "")
            case "runs":
                return f"{self.who} is in its own code" + (f", at {self.place}" if self.place else "")


class WaitGraph(Record, frozen=True):
    """Who waits for whom in a run, at one moment."""

    waits: tuple[Wait, ...]
    """What each task waits for, in the order of the graph; the consumer last."""
    cycle: tuple[str, ...] = ()
    """Those that wait for each other, each for the next and the last for the first, by `who`; empty if there is no cycle."""

    @property
    def on_cycle(self) -> tuple[Wait, ...]:
        """The waits of those that wait for each other, each for the next and the last for the first."""
        named = {one.who: one for one in self.waits}
        return tuple(named[who] for who in self.cycle)

    def __str__(self) -> str:
        around = [f"  {one}" for one in self.on_cycle]
        if around:
            around.append(f"  … and so back to {self.cycle[0]}")
        rest = [f"  {one}" for one in self.waits if one.who not in self.cycle]
        between = ["beside them:"] if around and rest else []
        return "\n".join([*around, *between, *rest])


class PipelineDeadlockError(StreamflowError):
    """Everything in a run waits for each other: nothing can go on, however long one waits.

    Args:
        graph: Who waits for whom.
    """

    def __init__(self, graph: WaitGraph) -> None:
        super().__init__(graph)
        self.graph = graph
        """Who waits for whom: stages, edges, and how full these are."""
        self.suppressed: tuple[StageError, ...] = ()
        """Failures of stages while the run was being stopped."""

    def __str__(self) -> str:
        full = [one.edge for one in self.graph.on_cycle if one.kind == "send" and one.edge]
        larger = f"a larger buffer= for {' or '.join(map(repr, full))}" if full else "a larger buffer="
        return (
            f"the run waits for itself, and nothing in it can go on:\n{self.graph}\n"
            f"ways out: merge() inputs whose order does not matter, instead of waiting for one of them; {larger}, "
            "if what one path holds back has a bound; or PipelineConfig(on_deadlock='grow')"
        )

"""What limits a run: the one that is always at work while the others wait for it.

Above: `_stats`. Below: `_plan`.

Whoever limits a run is busy nearly all the time: what is before it is held up by it, and what is behind it waits for it. So it is
the busiest of sources, stages and consumer. Of several that are about as busy it is the one that holds up most what is before it;
where nothing is held up, the first of them. Where nobody is busy nearly all the time, but an edge is now full and now empty, the
edge is too narrow for how unevenly its ends work.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._plan import Plan
    from ._stats import RunStats

__all__ = ["Bottleneck", "find_bottleneck"]

_MOST: Final = 0.5
"""Who is busy for a smaller share of the time limits nothing."""
_SURELY: Final = 0.75
"""Who is busy for a larger one limits the run whatever else there is."""
_AS_BUSY: Final = 0.9
"""Who is busy for so much of what the busiest one is, is as busy."""
_SWINGS: Final = 0.25
"""Share of the time, at least, in which an edge is full, and in which it is empty, that is too narrow."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bottleneck:
    """What limits a run."""

    kind: Literal["source", "stage", "consumer", "edge", "none"]
    """What it is: a stage, what feeds the run, what reads it, an edge that is too narrow; or nothing in particular."""
    name: str
    """The stage, or the edge as `a → b`; of a source the stage that it feeds; `consumer`; empty for nothing."""
    share: float
    """For how much of the time it is at work, from 0 to 1; of an edge, for how much it was full or empty."""
    why: str
    """Why, in one sentence."""

    def __str__(self) -> str:
        return self.why


@dataclasses.dataclass(frozen=True, slots=True)
class _Candidate:
    kind: Literal["source", "stage", "consumer"]
    name: str
    busy_s: float
    holds_up_s: float  # how long those before it have waited for it

    @property
    def told(self) -> str:
        return {"source": "the source", "stage": f"stage {self.name!r}", "consumer": "the consumer"}[self.kind]


def find_bottleneck(stats: RunStats, plan: Plan) -> Bottleneck:
    """Return what limits a run that was measured."""
    duration = stats.duration_s
    candidates = list(_candidates(stats, plan)) if duration > 0 else []
    busiest = max((one.busy_s for one in candidates), default=0.0)
    edge = _narrow_edge(stats, plan) if busiest < _SURELY * duration else None
    if edge is not None:
        return edge
    if busiest >= _MOST * duration and busiest > 0:
        first = max((one for one in candidates if one.busy_s >= _AS_BUSY * busiest), key=lambda one: one.holds_up_s)
        return Bottleneck(first.kind, first.name, min(first.busy_s / duration, 1.0), _why(first, duration))
    if not busiest:
        return Bottleneck("none", "", 0.0, "nothing has taken any time so far")
    why = f"nothing limits this run: none of its parts is at work for more than {busiest / duration:.0%} of the time"
    return Bottleneck("none", "", busiest / duration, why)


def _candidates(stats: RunStats, plan: Plan) -> Iterator[_Candidate]:
    """Yield all that may limit a run, in the order in which elements meet it."""
    for head, edge in plan.heads.items():
        times = stats.sources.get(head)
        # Who feeds a live run is no part of it: it is at work while its reader waits for it.
        busy = stats.edges[plan.edges[edge].name].receive_blocked_s if times is None else times.busy_s
        yield _Candidate("source", head, busy or 0.0, 0.0)
    for stage in plan.stages:
        its = stats.stages[stage.node.name]
        into = [plan.edges[edge].name for one in stage.inputs for edge in one.edges]
        assert its.times is not None
        if not its.measured_with or plan.stages[0].node.name == its.name or _leads(stage.index, plan):
            yield _Candidate("stage", its.name, its.times.busy_s, _held_up(stats, into))
    if stats.consumer_waited_s is not None:
        into = [plan.edges[edge].name for edge in plan.leaves.values()]
        held_up = _held_up(stats, into)
        # It may have left before the end, or not have begun: it limits only where somebody waits for it.
        yield _Candidate("consumer", "consumer", min(stats.duration_s - stats.consumer_waited_s, held_up), held_up)


def _leads(stage: int, plan: Plan) -> bool:
    """Say whether a stage is not behind another one in its chain."""
    return not any(stage in places[1:] for places in plan.chains)


def _held_up(stats: RunStats, edges: list[str]) -> float:
    return max((stats.edges[one].send_blocked_s or 0.0 for one in edges), default=0.0)


def _why(one: _Candidate, duration: float) -> str:
    why = f"{one.told} is at work for {min(one.busy_s / duration, 1.0):.0%} of the time"
    if one.holds_up_s > 0:
        return f"{why}, and what is before it waits for it for {min(one.holds_up_s / duration, 1.0):.0%}"
    return f"{why}, and the others wait for it"


def _narrow_edge(stats: RunStats, plan: Plan) -> Bottleneck | None:
    # Where several edges are merged, one may be full while their reader waits for another one.
    alone = [one.edges[0] for stage in plan.stages for one in stage.inputs if len(one.edges) == 1]
    names = [plan.edges[edge].name for edge in alone]

    def swing(name: str) -> float:
        edge = stats.edges[name]
        return min(edge.send_blocked_s or 0.0, edge.receive_blocked_s or 0.0)

    name = max(names, key=swing, default=None)
    if name is None or stats.duration_s <= 0 or swing(name) < _SWINGS * stats.duration_s:
        return None
    edge, duration = stats.edges[name], stats.duration_s
    full, empty = (edge.send_blocked_s or 0.0) / duration, (edge.receive_blocked_s or 0.0) / duration
    why = f"edge {name!r} holds too little for how unevenly its ends work: full for {full:.0%} of the time, empty for {empty:.0%}"
    return Bottleneck("edge", name, min(full + empty, 1.0), why)

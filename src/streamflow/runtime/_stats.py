"""What a run has done so far, as data.

Above: `_run`. Below: `_plan`, `_supervision`, `channels`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..channels import ChannelStatistics, ForkEnd, MergeEnd
    from ..elements import StreamElement
    from ._metering import EdgeMeter
    from ._plan import Plan
    from ._supervision import Tally

__all__ = ["EdgeStats", "RunStats", "StageStats", "stats_of"]


@dataclasses.dataclass(frozen=True, slots=True)
class EdgeStats:
    """What one edge of a run has done so far."""

    counts: ChannelStatistics
    """Its name, state, capacity, and what was sent, received, buffered and discarded."""
    peak: int | None = None
    """Most elements that were inside at a time; None without `metrics`."""
    send_blocked_s: float | None = None
    """How long senders have waited for room, in seconds; None without `metrics`."""
    receive_blocked_s: float | None = None
    """How long the reader has waited for an element, in seconds; None without `metrics`."""
    grown: int = 0
    """How many elements more it holds than it was made for, because the run waited for itself; see `on_deadlock`."""


@dataclasses.dataclass(frozen=True, slots=True)
class StageStats:
    """What one stage of a run has done so far."""

    name: str
    """Name of the stage."""
    received: int
    """Elements that left the edges into it, those that passed it by among them."""
    sent: int
    """Elements that entered the edges out of it; each copy counts."""
    dropped: Mapping[str, int]
    """Data that none of its branches took, by reason: `unrouted` (none accepts it), `no_more_needed` (those that do have gone);
    that it failed on and that went nowhere: `supervision`; and that an interruption stopped before it was sent: `stale`."""
    discarded: Mapping[str, int] = dataclasses.field(default_factory=dict[str, int])
    """What the merges in front of it threw away, by reason: `unpaired` (data that found no partner), or why it was closed."""
    restarts: int = 0
    """How often it was started anew after a failure."""
    retries: int = 0
    """How often an element was tried again without that."""
    dead_lettered: int = 0
    """Elements that it failed on and that became dead letters."""


@dataclasses.dataclass(frozen=True, slots=True)
class RunStats:
    """What a run has done so far."""

    run_id: str
    """Identity of the run."""
    duration_s: float
    """Since its start, in seconds on the loop's clock; until its end, once it has ended."""
    stages: Mapping[str, StageStats]
    """The stages, by name."""
    edges: Mapping[str, EdgeStats]
    """The edges, by name, as `a → b`."""
    undelivered: Mapping[str, int] = dataclasses.field(default_factory=dict[str, int])
    """What did not arrive because the run was cut short, as in `Run.undelivered`."""
    interruptions: int = 0
    """How many times it was interrupted; what that has dropped is among what edges `discarded` and stages `dropped`, as `stale`."""


def stats_of(
    run_id: str,
    duration_s: float,
    plan: Plan,
    counts: Sequence[ChannelStatistics],
    *,
    meters: Sequence[EdgeMeter | None],
    forks: Mapping[str, ForkEnd[StreamElement]],
    undelivered: Mapping[str, int],
    tallies: Mapping[str, Tally],
    merges: Mapping[str, Sequence[MergeEnd[StreamElement]]],
    interruptions: int,
) -> RunStats:
    """Return the statistics of a run from those of its edges, which are in the order of the plan, its forks and its merges."""
    edges = {
        one.name: EdgeStats(one, grown=one.capacity - its.capacity)
        if meter is None
        else EdgeStats(
            one, meter.peak, meter.blocked_s("send"), meter.blocked_s("receive"), one.capacity - its.capacity
        )
        for one, meter, its in zip(counts, meters, plan.edges, strict=True)
    }
    stages: dict[str, StageStats] = {}
    for stage in plan.stages:
        name = stage.node.name
        tally = tallies.get(name)
        stages[name] = StageStats(
            name,
            received=sum(counts[edge].received for one in stage.inputs for edge in one.edges),
            sent=sum(counts[edge].sent for one in stage.outputs for edge in one.edges),
            dropped={
                **(forks[name].dropped if name in forks else {}),
                **({"supervision": tally.dropped} if tally is not None and tally.dropped else {}),
            },
            restarts=0 if tally is None else tally.restarts,
            retries=0 if tally is None else tally.retries,
            dead_lettered=0 if tally is None else tally.dead_lettered,
            discarded=_discarded(merges.get(name, ())),
        )
    return RunStats(run_id, duration_s, stages, edges, undelivered=undelivered, interruptions=interruptions)


def _discarded(merges: Iterable[MergeEnd[StreamElement]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for one in merges:
        counts.update(one.statistics().discarded)
    return dict(counts)

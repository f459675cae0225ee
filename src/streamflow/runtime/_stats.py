"""What a run has done so far, as data.

Above: `_run`. Below: `_plan`, `_supervision`, `_run_meter`, `channels`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, cast

from ..observe import Histogram
from ._bottleneck import Bottleneck, find_bottleneck

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ..channels import ChannelStatistics, ForkEnd, MergeEnd
    from ..elements import StreamElement
    from ._plan import EdgePlan, Plan
    from ._run_meter import RunMeter
    from ._supervision import Tally

__all__ = ["EdgeStats", "RunStats", "StageStats", "StageTimes", "TurnStats", "stats_of"]


@dataclasses.dataclass(frozen=True, slots=True)
class StageTimes:
    """What a stage, or a source, has done with its time: three states, of which it is in one at any moment."""

    busy_s: float
    """At work, or waiting for something that is no edge of the run: a model, a timer, a thread. In seconds."""
    blocked_s: float
    """Waiting for room in an edge behind it: held up by who reads that (back-pressured). In seconds."""
    idle_s: float
    """Waiting for an element, with nothing at work. In seconds."""
    computed_s: float
    """How long it kept the event loop for itself; part of `busy_s`, but for what waiting itself costs. In seconds."""

    @property
    def life_s(self) -> float:
        """All three together: from its beginning to its end, or to now. In seconds."""
        return self.busy_s + self.blocked_s + self.idle_s


@dataclasses.dataclass(frozen=True, slots=True)
class TurnStats:
    """How long answers took, by turn: from the `TurnEnd` that enters the run; 0 where the answer was ahead of that."""

    latency: Histogram
    """Until the first element of the answer left."""
    duration: Histogram
    """Until the `TurnEnd` of the answer left."""


@dataclasses.dataclass(frozen=True, slots=True)
class EdgeStats:
    """What one edge of a run has done so far."""

    counts: ChannelStatistics
    """Its name, state, capacity, and what was sent, received, buffered and discarded."""
    peak: int | None = None
    """Most elements that were inside at a time; None without `metrics`, and between stages that share a task."""
    send_blocked_s: float | None = None
    """How long senders have waited for room, in seconds; None without `metrics`."""
    receive_blocked_s: float | None = None
    """How long the reader has waited for an element, in seconds; where it merges several edges, from any of them. None without
    `metrics`."""
    grown: int = 0
    """How many elements more it holds than it was made for, because the run waited for itself; see `on_deadlock`."""
    wait: Histogram | None = None
    """How long elements were inside (queue wait); None without `metrics`, and between stages that share a task."""


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
    errors: int = 0
    """How often it failed, whatever became of that."""
    times: StageTimes | None = None
    """What it has done with its time; None without `metrics`."""
    service: Histogram | None = None
    """How long it was busy with each element that it took, without the waiting on edges; None without `metrics`."""
    first_s: float | None = None
    """From the start of the run until it sent its first element, in seconds; None without `metrics`, and before."""
    measured_with: tuple[str, ...] = ()
    """The stages that share a task with it, and therefore `times`, `service` and `first_s`."""


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
    sources: Mapping[str, StageTimes] = dataclasses.field(default_factory=dict[str, StageTimes])
    """What each source has done with its time, by the stage that it feeds; nothing without `metrics`."""
    consumer_waited_s: float | None = None
    """How long the consumer has waited for an element, in seconds; None without `metrics`."""
    first_element_s: float | None = None
    """From its start until the first element was there for the consumer, in seconds; None without `metrics`, and before."""
    turns: TurnStats | None = None
    """How long answers took; None without `metrics`."""
    bottleneck: Bottleneck | None = None
    """What limits it; None without `metrics`."""

    def to_dict(self) -> dict[str, object]:
        """Return all of it as values that JSON can hold: objects by field, histograms with `counts`, `total_s` and `count`."""
        return cast("dict[str, object]", _plain(self))


def _plain(value: object) -> object:
    if isinstance(value, Histogram):
        return {"counts": list(value.counts), "total_s": value.total_s, "count": value.count}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in cast("dict[str, object]", value).items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in cast("tuple[object, ...]", value)]
    return value


def stats_of(
    run_id: str,
    duration_s: float,
    plan: Plan,
    counts: Sequence[ChannelStatistics],
    *,
    until: float,
    meter: RunMeter | None,
    failed: Collection[str],
    forks: Mapping[str, ForkEnd[StreamElement]],
    undelivered: Mapping[str, int],
    tallies: Mapping[str, Tally],
    merges: Mapping[str, Sequence[MergeEnd[StreamElement]]],
    interruptions: int,
) -> RunStats:
    """Return the statistics of a run from those of its edges, which are in the order of the plan, its forks and its merges."""
    if meter is not None:
        meter.settle_here(until)
    edges = {
        one.name: _edge(number, one, its, meter, until)
        for number, (one, its) in enumerate(zip(counts, plan.edges, strict=True))
    }
    stages: dict[str, StageStats] = {}
    for stage in plan.stages:
        name = stage.node.name
        tally = tallies.get(name)
        plain = StageStats(
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
            errors=int(name in failed) if tally is None else tally.failures,
        )
        stages[name] = plain if meter is None else _measured(plain, meter, plan, until)
    stats = RunStats(run_id, duration_s, stages, edges, undelivered=undelivered, interruptions=interruptions)
    return stats if meter is None else _of_run(stats, meter, plan, until)


def _discarded(merges: Iterable[MergeEnd[StreamElement]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for one in merges:
        counts.update(one.statistics().discarded)
    return dict(counts)


def _edge(number: int, counts: ChannelStatistics, plan: EdgePlan, meter: RunMeter | None, until: float) -> EdgeStats:
    grown = counts.capacity - plan.capacity
    if meter is None:
        return EdgeStats(counts, grown=grown)
    its, is_seen = meter.edges[number], number not in meter.chained
    return EdgeStats(
        counts,
        its.peak if is_seen else None,
        meter.blocked_s(number, until),
        meter.idle_s(number, until),
        grown,
        its.wait.read() if is_seen else None,
    )


def _measured(stats: StageStats, meter: RunMeter, plan: Plan, until: float) -> StageStats:
    unit = meter.units[stats.name]
    first = min((one.first_s for one in unit.outputs if one.first_s is not None), default=None)
    chain = next((one for one in plan.chains if stats.name in [plan.stages[place].node.name for place in one]), ())
    return dataclasses.replace(
        stats,
        times=StageTimes(*meter.times(stats.name, until), unit.computed_s),
        service=unit.service.read(),
        first_s=None if first is None else first - meter.began_s,
        measured_with=tuple(
            name
            for place in chain
            if (name := plan.stages[place].node.name) != stats.name and meter.units[name] is unit
        ),
    )


def _of_run(stats: RunStats, meter: RunMeter, plan: Plan, until: float) -> RunStats:
    seen = [meter.edges[edge].first_s for edge in plan.leaves.values()]
    first = min((one for one in seen if one is not None), default=None)
    measured = dataclasses.replace(
        stats,
        sources={name: StageTimes(*one.read(until), one.computed_s) for name, one in meter.sources.items()},
        consumer_waited_s=meter.consumer.read(until) if plan.leaves else None,
        first_element_s=None if first is None else first - meter.began_s,
        turns=TurnStats(meter.turns.latency.read(), meter.turns.duration.read()),
    )
    return dataclasses.replace(measured, bottleneck=find_bottleneck(measured, plan))

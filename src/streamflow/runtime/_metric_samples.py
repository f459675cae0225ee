"""The figures of runs as samples: what there is to tell, and how that of several runs of one pipeline is put together.

Above: `_registry`. Below: `_stats`, `observe` (families).

The labels are the pipeline's name and the names of its stages and edges, so there are as many series as the graphs have parts,
however many runs there are. A run's id is no label.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from ..observe import Histogram, MetricFamily, MetricSample, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..elements import EndReason
    from ..observe import Labels
    from ._stats import EdgeStats, RunStats, StageStats

__all__ = ["Totals", "families_of"]


@dataclasses.dataclass(frozen=True, slots=True)
class _Kind:
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    unit: str = ""
    merge: Literal["sum", "max", "now"] = "sum"  # `now`: of runs that go on alone


_KINDS: Final[dict[str, _Kind]] = {
    "runs": _Kind("counter", "Runs that have ended, by reason."),
    "runs_active": _Kind("gauge", "Runs that go on.", merge="now"),
    "run_duration": _Kind("histogram", "How long runs took.", "seconds"),
    "first_element": _Kind("histogram", "From the start of a run to its first output.", "seconds"),
    "turn_latency": _Kind("histogram", "From the end of a user's turn to the first element of the answer.", "seconds"),
    "turn_duration": _Kind("histogram", "From the end of a user's turn to the end of the answer.", "seconds"),
    "stage_received": _Kind("counter", "Elements that came to a stage."),
    "stage_sent": _Kind("counter", "Elements that a stage has sent; each copy counts."),
    "stage_errors": _Kind("counter", "How often a stage failed, whatever became of that."),
    "stage_restarts": _Kind("counter", "How often a stage was started anew after a failure."),
    "stage_retries": _Kind("counter", "How often an element was tried again."),
    "stage_dead_lettered": _Kind("counter", "Elements that became dead letters."),
    "stage_dropped": _Kind("counter", "Data that went nowhere, by reason."),
    "stage_state": _Kind("counter", "What stages do with their time: busy, blocked (back-pressured), idle.", "seconds"),
    "stage_service": _Kind("histogram", "How long a stage was busy with each element.", "seconds"),
    "edge_sent": _Kind("counter", "Elements that entered an edge."),
    "edge_received": _Kind("counter", "Elements that were taken from an edge."),
    "edge_discarded": _Kind("counter", "Elements that were thrown away in an edge, by reason."),
    "edge_depth": _Kind("gauge", "Elements that are in an edge now.", merge="now"),
    "edge_depth_peak": _Kind("gauge", "Most elements that were in an edge at a time.", merge="max"),
    "edge_capacity": _Kind("gauge", "Most elements that an edge may hold, in all runs that go on.", merge="now"),
    "edge_wait": _Kind("histogram", "How long elements were in an edge.", "seconds"),
}

_Value: TypeAlias = "float | Histogram"
_Key: TypeAlias = "tuple[str, Labels]"
_Reported: TypeAlias = "Iterator[tuple[str, Labels, _Value]]"


class Totals:
    """The figures of several runs together."""

    def __init__(self) -> None:
        self._values: dict[_Key, _Value] = {}

    def copy(self) -> Totals:
        """Return figures that begin with these and go their own way."""
        made = Totals()
        made._values.update(self._values)
        return made

    def add(self, pipeline: str, stats: RunStats, reason: EndReason | None) -> None:
        """Put the figures of a run to those that there are.

        Args:
            pipeline: The name of its pipeline.
            stats: What it has done.
            reason: Why it has ended; None while it goes on.
        """
        for name, labels, told in _samples(pipeline, stats, reason):
            merge = _KINDS[name].merge
            # 0 for what has ended, so that a series does not vanish between two runs.
            value = 0.0 if merge == "now" and reason is not None else told
            key = name, labels
            before = self._values.get(key)
            if before is None:
                self._values[key] = value
            elif isinstance(before, Histogram):
                self._values[key] = before + cast("Histogram", value)
            elif merge == "max":
                self._values[key] = max(before, cast("float", value))
            else:
                self._values[key] = before + cast("float", value)

    def items(self) -> Iterator[tuple[str, Labels, _Value]]:
        """Yield the figures: of what, about what, how much."""
        for (name, labels), value in self._values.items():
            yield name, labels, value


def families_of(totals: Iterable[Totals]) -> list[MetricFamily]:
    """Return all families, those without samples among them, of pipelines that differ by name."""
    samples: dict[str, list[MetricSample]] = {name: [] for name in _KINDS}
    for one in totals:
        for name, labels, value in one.items():
            samples[name].append(MetricSample(labels, value))
    return [
        MetricFamily(f"streamflow_{name}", its.kind, its.help, its.unit, tuple(samples[name]))
        for name, its in _KINDS.items()
    ]


def _samples(pipeline: str, stats: RunStats, reason: EndReason | None) -> _Reported:
    of_run = (("pipeline", pipeline),)
    yield "runs_active", of_run, float(reason is None)
    if reason is not None:
        yield "runs", (*of_run, ("reason", reason)), 1
        yield "run_duration", of_run, _once(stats.duration_s)
        if stats.first_element_s is not None:
            yield "first_element", of_run, _once(stats.first_element_s)
    if stats.turns is not None:
        yield "turn_latency", of_run, stats.turns.latency
        yield "turn_duration", of_run, stats.turns.duration
    for stage in stats.stages.values():
        yield from _of_stage((*of_run, ("stage", stage.name)), stage)
    for name, edge in stats.edges.items():
        yield from _of_edge((*of_run, ("edge", name)), edge)


def _once(seconds: float) -> Histogram:
    tally = Tally()
    tally.add(seconds)
    return tally.read()


def _of_stage(labels: Labels, stats: StageStats) -> _Reported:
    yield "stage_received", labels, stats.received
    yield "stage_sent", labels, stats.sent
    yield "stage_errors", labels, stats.errors
    yield "stage_restarts", labels, stats.restarts
    yield "stage_retries", labels, stats.retries
    yield "stage_dead_lettered", labels, stats.dead_lettered
    yield from _by_reason("stage_dropped", labels, {**stats.discarded, **stats.dropped})
    if stats.times is not None:
        for state in ("busy", "blocked", "idle"):
            yield "stage_state", (*labels, ("state", state)), getattr(stats.times, f"{state}_s")
    if stats.service is not None:
        yield "stage_service", labels, stats.service


def _of_edge(labels: Labels, stats: EdgeStats) -> _Reported:
    yield "edge_sent", labels, stats.counts.sent
    yield "edge_received", labels, stats.counts.received
    yield from _by_reason("edge_discarded", labels, stats.counts.discarded)
    yield "edge_depth", labels, stats.counts.buffered
    yield "edge_capacity", labels, stats.counts.capacity
    if stats.peak is not None:
        yield "edge_depth_peak", labels, stats.peak
    if stats.wait is not None:
        yield "edge_wait", labels, stats.wait


def _by_reason(name: str, labels: Labels, counts: Mapping[str, int]) -> _Reported:
    for reason, count in counts.items():
        yield name, (*labels, ("reason", reason)), count

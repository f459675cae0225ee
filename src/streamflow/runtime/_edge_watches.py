"""The watches of a run's edges, and the limits that they serve: made where a limit, tracing or a test asks for them.

Above: `_engine` makes one of it for a run, `_wiring` asks it for each edge. Below: `_watchdog`, `_metering`.
"""

# ruff: noqa: SLF001 - what a limit ends, the engine ends
# pyright: reportPrivateUsage=false
from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from ..channels import EDGE_WATCH
from ..errors import RunTimeoutError
from ..observe import Tracing
from ._jobs import Job
from ._metering import EdgeTracer, Watches
from ._watchdog import EdgeClock, Limit, StageClock, watch_limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from ..channels import ChannelWatch, EdgeBound, ReceiveEnd
    from ._config import PipelineConfig
    from ._engine import Engine
    from ._plan import EdgePlan, Plan
    from ._stage_run import StageRun
    from ._tracing import RunTracer
    from ._watchdog import RunClock

__all__ = ["EdgeWatches", "Tell", "edge_watches", "has_limits", "times_all", "watchdogs_of", "watches_all"]

Tell: TypeAlias = "Callable[[str, int, str, float], None]"
"""Called with an edge's name, an element's ordinal there, the name of its type, and the seconds that it was inside."""


def watches_all(config: PipelineConfig) -> bool:
    """Say whether the settings ask for a watch on every edge."""
    return _follows(config) or times_all(config)


def times_all(config: PipelineConfig) -> bool:
    """Say whether the settings ask for a limit of time on every edge, for which each element is looked at."""
    return config.idle_timeout_s is not None or config.backpressure_timeout_s is not None


def has_limits(config: PipelineConfig) -> bool:
    """Say whether the settings ask for a task that watches a run."""
    limits = (
        *(config.timeout_s, config.first_element_timeout_s, config.idle_timeout_s, config.backpressure_timeout_s),
        *(config.stall_report_s, config.lag_warning_s),
    )
    return any(one is not None for one in limits)


def _follows(config: PipelineConfig) -> bool:
    """Say whether elements are followed."""
    return config.tracing.follows if isinstance(config.tracing, Tracing) else config.tracing


def edge_watches(engine: Engine, clock: RunClock) -> EdgeWatches | None:
    """Return what makes the watches of a run's edges, None where nobody asks for one: no limit, no tracer, no recorder, no test."""
    config, reporter = engine.config, engine.reporter
    further: Callable[[str, EdgeBound | None], ChannelWatch | None] | None = engine._context.get(EDGE_WATCH)
    if reporter.recorder is not None:
        further = reporter.recorder.watching(further)
    if not (engine.plan.is_watched or further is not None):
        return None
    tell = reporter.moved if reporter.has_listeners else None
    moves = config.idle_timeout_s is not None or config.backpressure_timeout_s is not None
    return EdgeWatches(config, clock, further, tell, tracer=engine.tracer, is_limited=moves)


def watchdogs_of(engine: Engine, watches: EdgeWatches | None, clock: RunClock) -> Iterator[Job]:
    """Yield what watches the limits of a run, and what reports its stalls, if it has any."""
    limits = list(run_limits(engine.config, clock, engine.leaves.values()))
    if watches is not None:
        limits += watches.limits(engine.plan)
    if limits:
        yield _watch(engine, "watchdog", partial(watch_run, engine, limits, clock))
    if engine.config.stall_report_s is not None:
        from ._stalls import watch_stalls  # noqa: PLC0415 - as most runs have no such limit

        work = partial(watch_stalls, engine, engine.config.stall_report_s)
        yield _watch(engine, "stall watch", work)
    if engine.config.lag_warning_s is not None:
        from ._lag import watch_lag  # noqa: PLC0415

        yield _watch(engine, "lag watch", partial(watch_lag, engine, engine.config.lag_warning_s))


def _watch(engine: Engine, name: str, work: Callable[[], Awaitable[object]]) -> Job:
    # A copy for each task: it sees what the caller of execute() had set, and what it sets itself nobody else sees.
    return Job(name, work, engine._watchdog_ended, engine._context.copy())


class EdgeWatches:
    """Makes the watches of one run's edges."""

    def __init__(
        self,
        config: PipelineConfig,
        clock: RunClock,
        further: Callable[[str, EdgeBound | None], ChannelWatch | None] | None,
        tell: Tell | None,
        *,
        tracer: RunTracer | None,
        is_limited: bool,
    ) -> None:
        self._config = config
        self._clock = clock
        self._further = further
        self._tell = tell if _follows(config) else None
        self.tracer: RunTracer | None = tracer
        """Follows the elements; None: nobody does."""
        self._is_limited = is_limited
        self._stages: Sequence[StageRun] = ()
        self._clocks: list[EdgeClock] = []  # of all edges, where the run has a limit that is about them

    def begin(self, plan: Plan, stages: Sequence[StageRun]) -> None:
        """Give a clock to the stages that have a limit."""
        self._stages = stages
        if self.tracer is not None:
            self.tracer.begin(plan)
        for stage in stages:
            if stage.node.stage.timeout_s is not None:
                stage.clock = StageClock(self._clock.started)

    def of_edge(self, edge: EdgePlan) -> ChannelWatch | None:
        """Return the watch of the next edge, if it has one."""
        writer = None if edge.source is None else self._stages[edge.source].clock
        reader = None if edge.target is None else self._stages[edge.target].clock
        watches: list[ChannelWatch] = []
        if self._is_limited or writer or reader:
            clock = EdgeClock(edge.name, self._clock, writer=writer, reader=reader)
            self._clocks.append(clock)
            watches.append(clock)
        if self._tell is not None:
            watches.append(EdgeTracer(self._clock.now, partial(self._tell, edge.name)))
        return self._as_one(edge.name, edge.bound, watches)

    def of_merge(self, name: str, reader: StageClock | None) -> ChannelWatch | None:
        """Return the watch of a merge, if it has one: its edges are measured, not it itself."""
        is_timed = self._is_limited or reader is not None
        return self._as_one(name, None, [EdgeClock(name, self._clock, writer=None, reader=reader)] if is_timed else [])

    def limits(self, plan: Plan) -> Iterator[Limit]:
        """Return the limits of stages and edges, once all watches are made."""
        for stage in self._stages:
            if stage.clock is not None and stage.node.stage.timeout_s is not None:
                since = partial(_busy_since, stage.clock)
                yield Limit("stage", stage.node.stage.timeout_s, f"stage {stage.name!r}", since, stage.index)
        seconds = self._config.backpressure_timeout_s
        if seconds is not None:
            # A full edge is its reader's doing, so the reader is what fails: draining through one that is stuck would never end.
            for one, edge in zip(self._clocks, plan.edges, strict=True):
                yield Limit("backpressure", seconds, f"edge {edge.name}", partial(_full_since, one), edge.target)

    def _as_one(self, name: str, bound: EdgeBound | None, watches: list[ChannelWatch]) -> ChannelWatch | None:
        further = None if self._further is None else self._further(name, bound)
        if further is not None:
            watches.append(further)
        return watches[0] if len(watches) == 1 else Watches(*watches) if watches else None


def run_limits(config: PipelineConfig, clock: RunClock, leaves: Iterable[ReceiveEnd[Any]]) -> Iterator[Limit]:
    """Return the limits of the whole run."""
    if config.timeout_s is not None:
        yield Limit("run", config.timeout_s, "the run", lambda: clock.started)
    if config.first_element_timeout_s is not None:

        def waiting_since() -> float | None:
            return None if any(one.statistics().sent for one in leaves) else clock.started

        yield Limit("first_element", config.first_element_timeout_s, "the run", waiting_since)
    if config.idle_timeout_s is not None:
        yield Limit("idle", config.idle_timeout_s, "the run", lambda: None if clock.pauses else clock.moved)


def stuck_at(passed: Limit, limits: Iterable[Limit], plan: Plan) -> Limit:
    """Return the limit of the edge whose reader is stuck, where one edge was full for too long.

    Edges fill up from the stage that is stuck back to the source: the full ones are followed to it.
    """
    edges = [one for one in limits if one.kind == "backpressure"]
    following: Limit | None = passed
    while following is not None and following.stage is not None:
        passed = following
        full = (one for one, edge in zip(edges, plan.edges, strict=True) if edge.source == passed.stage)
        following = next((one for one in full if one.since() is not None), None)
    return following or passed


async def watch_run(engine: Engine, limits: list[Limit], clock: RunClock) -> None:
    """Fail what passes its limit, until that is the run. Cancellation: leaves nothing behind."""
    over: set[int | None] = set()  # stages that were too slow, and isolated
    while True:
        passed = await watch_limits([one for one in limits if one.stage not in over], clock.now)
        if passed.kind == "backpressure":
            passed = stuck_at(passed, limits, engine.plan)
        culprit = None if passed.stage is None else engine.stages[passed.stage]
        error = RunTimeoutError(passed.kind, passed.seconds, passed.where)
        if culprit is None or not culprit.is_isolated:
            engine._fail(error, culprit, "timeout")
            return
        over.add(culprit.index)
        engine._stage_failed(culprit, None, error)


_full_since: Callable[[EdgeClock], float | None] = attrgetter("full_since")
_busy_since: Callable[[StageClock], float | None] = attrgetter("busy_since")

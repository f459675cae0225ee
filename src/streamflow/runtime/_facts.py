"""What can be asked of a run: the part of the engine that answers, and changes nothing.

Above: `_engine`, which is one. Below: `_stats`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._stats import RunStats, stats_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..channels import ForkEnd, MergeEnd, ReceiveEnd
    from ..elements import StreamElement
    from ._jobs import JobGroup
    from ._metering import EdgeMeter
    from ._plan import Plan
    from ._supervision import Tally
    from ._watchdog import RunClock

__all__ = ["RunFacts"]


class RunFacts:
    """A run as those see it who ask about it. All its state is the engine's."""

    run_id: str
    plan: Plan
    jobs: JobGroup
    _edges: Sequence[ReceiveEnd[Any]]
    _meters: Sequence[EdgeMeter | None]
    _forks: Mapping[str, ForkEnd[StreamElement]]
    _merges: Mapping[str, Sequence[MergeEnd[StreamElement]]]
    _tallies: Mapping[str, Tally]
    _clock: RunClock
    _ended_s: float | None

    @property
    def epoch(self) -> int:
        """How many times the run has been interrupted."""
        raise NotImplementedError

    def stats(self) -> RunStats:
        """Return what the run has done so far."""
        until = self._clock.now() if self._ended_s is None else self._ended_s
        counts = [edge.statistics() for edge in self._edges]
        return stats_of(
            self.run_id,
            until - self._clock.started,
            self.plan,
            counts,
            meters=self._meters or [None] * len(counts),
            forks=self._forks,
            merges=self._merges,
            tallies=self._tallies,
            interruptions=self.epoch,
        )

    def describe(self) -> str:
        """Return who is alive and how full the edges are, a line each."""
        alive = ", ".join(job.name for job in self.jobs.alive)
        return "\n".join([f"{self.run_id}: alive are {alive}", *(f"  edge {one.statistics()}" for one in self._edges)])

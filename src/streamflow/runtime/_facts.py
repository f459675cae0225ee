"""What is known of a run at any time: its figures, and who is alive.

Above: `_run`, `_engine`, whose state it reads. Below: `_stats`, `_drain`.
"""

# ruff: noqa: SLF001 - the engine is one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING

from ._drain import undelivered
from ._stats import RunStats, stats_of

if TYPE_CHECKING:
    from ._engine import Engine

__all__ = ["describe", "stats"]


def stats(engine: Engine) -> RunStats:
    """Return what the run has done so far."""
    until = engine._clock.now() if engine._ended_s is None else engine._ended_s
    counts = [edge.statistics() for edge in engine._edges]
    return stats_of(
        engine.run_id,
        until - engine._clock.started,
        engine.plan,
        counts,
        meters=engine._meters or [None] * len(counts),
        forks=engine._forks,
        merges=engine._merges,
        tallies=engine._tallies,
        undelivered=undelivered(engine),
    )


def describe(engine: Engine) -> str:
    """Return who is alive and how full the edges are, a line each."""
    lines = [f"{engine.run_id}: alive are {', '.join(job.name for job in engine.jobs.alive)}"]
    lines += [f"  edge {edge.statistics()}" for edge in engine._edges]
    return "\n".join(lines)

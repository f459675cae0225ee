"""A report on one run, for whoever wonders why it has not ended: who is alive, who waits for what, what edges hold.

Above: `_engine`. Below: `_deadlock` (who waits for whom).
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from ._deadlock import wait_graph

if TYPE_CHECKING:
    from ..errors import Wait
    from ._engine import Engine

__all__ = ["describe_run", "forget", "live_runs", "remember"]

_LIVE: dict[weakref.ref[Engine], None] = {}  # no WeakSet, whose care costs more than a short run has to spare


def describe_run(engine: Engine) -> str:
    """Return who is alive in a run, what each of them waits for, and how full its edges are, a line each.

    Since when somebody waits is known where edges are measured (`PipelineConfig(metrics=True)`).
    """
    now = engine.jobs.backend.now()
    names = ", ".join(job.name for job in engine.jobs.alive)
    lines = [f"{engine.run_id}: alive are {names}; begun {now - engine.began_s:g} s ago"]
    lines += [f"  {_told(engine, wait, now)}" for wait in wait_graph(engine).waits]
    lines += [f"  edge {edge.statistics()}" for edge in engine.edges]
    return "\n".join(lines)


def _told(engine: Engine, wait: Wait, now: float) -> str:
    since = None if wait.edge is None else engine.waits_since(wait.edge, wait.kind)
    return str(wait) if since is None else f"{wait}, for {now - since:g} s"


def remember(engine: Engine) -> weakref.ref[Engine]:
    """Know that a run has tasks, and return a weak link to it."""
    link = weakref.ref(engine, forget)
    _LIVE[link] = None
    return link


def forget(link: weakref.ref[Engine]) -> None:
    """Know that the last task of a run has ended, by the link to it."""
    _LIVE.pop(link, None)


def live_runs() -> list[str]:
    """Return a report on each run that has tasks which have not ended: who is alive, who waits for what, what edges hold."""
    engines = (link() for link in tuple(_LIVE))
    return sorted(describe_run(engine) for engine in engines if engine is not None)

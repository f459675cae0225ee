"""A report on one run, for whoever wonders why it has not ended: who is alive, who waits for what, what edges hold.

Above: `_engine`. Below: `_deadlock` (who waits for whom).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._deadlock import wait_graph

if TYPE_CHECKING:
    from ..errors import Wait
    from ._engine import Engine

__all__ = ["describe_run"]


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

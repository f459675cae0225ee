"""When a loop has come to rest: nothing new can come into it, nothing is inside it, and all who are in it wait for more.

Above: `_engine`. Below: `channels` (who waits), `_deadlock` (what a wait is), `_await_chain`.

Looked at when a stage of a loop begins to wait for an element, and when a task of the run has ended; then, when all are at rest,
it is made sure of in the way of `_deadlock`: a stage that waits for anything else, or under a limit of time, or has tasks of its
own, may still send something. The edges that lead back are ended then, and the loop drains in its order, like any graph whose
source has ended.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from ..channels import end_loop, oversee, waits_on
from ._await_chain import has_time_limit
from ._deadlock import stages_with_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..channels import SendEnd
    from ._engine import Engine
    from ._plan import LoopPlan

__all__ = ["LoopWatch", "watch_loops"]


def watch_loops(engine: Engine, sends: Sequence[SendEnd[Any]]) -> list[LoopWatch]:
    """Return what ends the loops of a run, told from now on of what its stages wait for.

    Args:
        engine: The run.
        sends: The writing ends of all edges of the run.
    """
    watches = [LoopWatch(engine, one, sends) for one in engine.plan.loops]
    for watch, loop in zip(watches, engine.plan.loops, strict=True):
        for reader in (one for number in loop.stages for one in engine.stages[number].inputs):
            oversee(reader, watch)
    return watches


class LoopWatch:
    """Ends one loop of one run once it has come to rest.

    Args:
        engine: The run. It holds this, so this does not hold it.
        plan: The stages and edges of the loop.
        sends: The writing ends of all edges of the run.
    """

    def __init__(self, engine: Engine, plan: LoopPlan, sends: Sequence[SendEnd[Any]]) -> None:
        self._engine = weakref.ref(engine)
        self._plan = plan
        self._back = [sends[one] for one in plan.back]
        self._is_due = False

    def look(self) -> None:
        """Hear that a stage waits, or that a task has ended."""
        engine = self._engine()
        if not self._is_due and engine is not None and self._back and self._is_empty(engine):
            self._is_due = True
            engine.jobs.backend.call_soon(
                self._end_if_at_rest
            )  # the task that brought this about has not begun to wait

    def end_if_at_rest(self) -> bool:
        """End the loop if it has come to rest, and say whether it has."""
        engine = self._engine()
        if engine is None or not self._back or not self._is_empty(engine) or not self._all_wait(engine):
            return False
        ending, self._back = self._back, []
        for one in ending:
            end_loop(one)
        return True

    def _end_if_at_rest(self) -> None:
        self._is_due = False
        self.end_if_at_rest()

    def _is_empty(self, engine: Engine) -> bool:
        edges = engine.edges
        if not edges or engine.notice is not None or engine.cancelled:
            return False
        return not any(edges[one].backlog for one in (*self._plan.entering, *self._plan.inside)) and all(
            edges[one].state != "open" for one in self._plan.entering
        )

    def _all_wait(self, engine: Engine) -> bool:
        stages = [one for one in engine.stages if one.index in self._plan.stages]
        readers = [one for stage in stages for one in stage.inputs]
        waits = waits_on([*readers, *engine.edges], engine.pulse)
        own = {id(one) for one in readers}
        jobs = [job for stage in stages for job in (stage.job, *stage.helpers) if job in engine.jobs.alive]
        for job in jobs:
            view = job.look(engine.jobs.backend)
            wait = None if view is None else waits.get(view.key)
            if wait is None and any(one.job is job and one.waits_for_helpers for one in stages):
                continue
            if view is None or wait is None or wait.kind == "send" or job.cancel_requested:
                return False
            if (wait.kind == "receive" and id(wait.end) not in own) or has_time_limit(view.coroutine):
                return False
        names = {stage.name for stage in stages}
        return names.isdisjoint(stages_with_tasks(engine, engine.working_jobs(), among=names))

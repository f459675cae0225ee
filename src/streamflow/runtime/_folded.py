"""A run of nothing but chains, before anything has come for it: of its stages there is nothing yet but the first edge and the last.

Above: `_engine`, which makes the rest when it is needed. Below: `_wiring`, `_jobs`, `channels`.

Sessions wait for their first element by the thousands, and none of the functions of a chain can do anything before that. Rules:

1. *Who asks for the stages or the edges of a run, gets them*: they are made then, as they are when the first edge has an element
   or ends, and when the run is cancelled. So nobody can tell by what he sees that they were not there before.
2. *It stands for a task that waits at the first edge*, and counts as one: the edge wakes it as it wakes any reader.
3. *Only what nobody looks at is folded*: without listeners, metrics, limits, a recording; and only behind a source that waits.
"""

# ruff: noqa: SLF001 - a part of the engine
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, cast

from ..channels import level_of, open_row, stand_in, tell_loop, tell_waits, wake_reader
from ._chain import Chain
from ._jobs import NO_CONTEXT, Job
from ._stage_run import RunFacts, StageRun
from ._straight import Wiring
from ._wiring import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Context

    from ..channels import Herald, Pulse, Waiter
    from ._engine import Engine
    from ._plan import Plan

__all__ = ["Folded", "join_chains", "make_stages", "may_fold", "wire_folded"]


class Folded(Job):
    """What stands for the tasks of chains that are not there yet, and for the wait of the first one.

    Args:
        engine: The run.
        wiring: What was opened of it.
    """

    weight: int = 0

    def __init__(self, engine: Engine, wiring: Wiring) -> None:
        super().__init__("chain", _nothing, _ignored, NO_CONTEXT)
        self._engine: Engine | None = engine
        self._is_done = False
        self._first, _ = wiring.edges
        _, self._last = wiring.sends
        stand_in(self._first, cast("Waiter", self))  # which nobody awaits

    def unfold(self) -> None:
        """Have the stages made, and their tasks started."""
        wake_reader(self._first)

    def done(self) -> bool:
        """Say whether that was done."""
        return self._is_done

    def set_result(self, result: None, /) -> None:
        """Hear that there is something at the edge, or that somebody asks for the rest."""
        engine = self._engine
        if engine is None or self._is_done:
            return
        self._is_done, engine._folded = True, None
        plan, backend = engine.plan, engine.jobs.backend
        is_here = backend.is_here()
        ((head, first),) = plan.heads.items()
        (last,) = plan.leaves.values()
        opened = {first: (engine.inlets[head], self._first), last: (self._last, engine.outlet)}
        engine._stages = stages = make_stages(engine, engine._context)
        wiring = wire(plan, stages, None, engine._here, engine.pulse, is_live=False, opened=opened)
        engine._edges = wiring.edges
        engine.pulse.runnable += join_chains(engine, engine._context) - 1  # whoever has woken this has counted one
        if is_here:
            tell_loop(wiring.edges)
            self._start()
        else:
            backend.call_soon(self._start)

    def _start(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.jobs.start(*[stage.job for stage in engine.stages])
            engine.jobs.remove(self)

    def cancel(self) -> None:
        """Ask the stages to end."""
        self.cancel_requested = True
        if self._engine is not None:
            for stage in self._engine.stages:
                stage.cancel()

    def start(self, backend: object) -> None:
        """Do nothing: there is no task."""


def may_fold(engine: Engine, sources: Mapping[str, object]) -> bool:
    """Say whether a run may do without its stages for now: all are chains, with one edge into them and one out of them."""
    plan, reporter = engine.plan, engine.reporter
    if (
        not plan.driven
        or sum(map(len, plan.chains)) != len(plan.stages)
        or not len(plan.heads) == len(plan.leaves) == 1
    ):
        return False
    if plan.supervises or plan.has_watchdogs or engine.config.metrics or reporter.is_heard or reporter.recorder:
        return False
    ends = (*plan.heads.values(), *plan.leaves.values())
    # A source that is not async has something at once.
    return all(plan.edges[one].is_plain for one in ends) and all(
        isinstance(one, AsyncIterable) for one in sources.values()
    )


def wire_folded(plan: Plan, herald: Callable[[], Herald | None], pulse: Pulse, *, is_live: bool) -> Wiring:
    """Open the first edge of such a run, and the last."""
    ((head, first),) = plan.heads.items()
    ends = [plan.edges[number] for number in (first, *plan.leaves.values())]
    sends, receives = open_row(
        [(one.name, one.capacity, one.gate, one.plain) for one in ends], (), pulse, herald, is_late=True
    )
    inlet, outlet = receives
    tell_waits(None, written=(inlet,) if is_live else (), read=(outlet,))  # the user is no task of the run
    return Wiring({head: sends[0]}, outlet, receives, sends, {})


def make_stages(engine: Engine, context: Context) -> list[StageRun]:
    """Make the stages of a run.

    Args:
        engine: The run.
        context: What each of them sees a copy of.
    """
    timeout_s = engine.config.timeout_s
    deadline_s = None if timeout_s is None else engine.began_s + timeout_s
    facts = RunFacts(engine.run_id, engine._deps, deadline_s, engine.reporter, engine._lifetime)
    return [StageRun(one, engine, facts, context.copy()) for one in engine.plan.stages]


def join_chains(engine: Engine, context: Context) -> int:
    """Give stages their parts in tasks that several share, and return how many tasks there are.

    Args:
        engine: The run, which has its stages and edges.
        context: What the tasks see a copy of.
    """
    stages, shared = engine._stages, 0
    for places in engine.plan.chains if stages else ():
        Chain(engine, [stages[one] for one in places], context.copy())
        shared += len(places) - 1
    if not engine.plan.is_chain:
        for stage in stages:
            stage.job.level = level_of(stage.output)
    return len(stages) - shared


async def _nothing() -> None:
    return None


def _ignored(_job: Job, _error: BaseException | None) -> None:
    return None

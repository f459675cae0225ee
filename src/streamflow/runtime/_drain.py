"""The orderly end of runs: no more input, what is inside arrives, what does not in time is cancelled and accounted for.

Above: `_run` (one run), `_lifetime` (all runs of a pipeline). Below: `_jobs`, `channels`.
The other part of `_engine`, whose state it works on: how a run is ended from outside.

Rules:

1. *What has entered an edge is admitted.* It reaches a sink or the consumer, or is in the account of what was not delivered.
2. *The consumer is not waited for.* The edges to it take what comes, up to `DRAIN_ROOM`, so who drains may be the one who reads.
3. *Nothing is hurried.* Waits of stages (a throttle, a delay) take their time; only sources and stages that generate are cancelled.
4. *At the deadline* the rest is cancelled; what has not ended `shutdown_timeout_s` later is named in `ShutdownTimeoutError`.
"""

# ruff: noqa: SLF001 - the engine is one object in two parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, cast

import anyio

from ..channels import widen
from ..errors import ConfigError, RunAbortedError, RunStateError, ShutdownTimeoutError
from ..stages import run_here

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._engine import Engine

__all__ = [
    "DRAIN_ROOM",
    "abort",
    "arrive",
    "begin",
    "begin_drain",
    "checked_deadline",
    "cut",
    "drain",
    "report",
]

DRAIN_ROOM = 100_000
"""Elements that an edge to the consumer holds while its run drains: more than is inside, unless stages make very much of little."""

_LOOK_AGAIN_S = 0.02
"""How often one event loop looks whether a run of another one has ended, in seconds."""


def checked_deadline(timeout_s: float | None, default: float) -> float:
    """Return how long to wait, in seconds.

    Raises:
        ConfigError: If `timeout_s` is no number from 0 up.
    """
    given = cast("object", default if timeout_s is None else timeout_s)
    if not isinstance(given, (int, float)) or isinstance(given, bool) or not given >= 0:
        raise ConfigError("timeout_s", f"a shutdown's deadline is a number of seconds from 0 up, got {timeout_s!r}")
    return given


def begin_drain(engine: Engine) -> None:
    """End all input, of stages that generate too, and let the consumer's edges take what is inside. Idempotent."""
    engine.draining = True
    if engine.started and engine.jobs.alive:
        for head in engine._feeders:
            inlet = engine.inlets[head]
            if inlet.is_open:
                engine.account.turn_away(inlet.name, inlet.statistics().waiting_senders)
        engine.stop_sources()
        for one in engine.stages:
            if not one.inputs:
                one.cancel()
        for outlet in (engine.outlet, *engine.leaves.values()):
            widen(outlet, DRAIN_ROOM)
        for hub in engine._hubs.values():
            hub.widen_added(DRAIN_ROOM)


def cut_short(engine: Engine) -> None:
    """Cancel what still runs; the consumer gets what is on its way to it, and the reason `cancelled`. Idempotent."""
    if engine.jobs.alive:
        if engine.notice is None:
            engine.reason = "cancelled"
        engine.open_account()
        engine.jobs.cancel()


def abort(engine: Engine, cause: BaseException | None) -> None:
    """Cancel everything and fail, because a kill switch says so; nothing, if the run is ending already."""
    if engine.jobs.alive and engine.notice is None and not engine.cancelled:
        error = RunAbortedError(engine.run_id)
        error.__cause__ = cause
        engine._fail(error, None)


async def drain(engine: Engine, timeout_s: float) -> None:
    """Drain one run; see `Run.drain()`."""
    here = run_here()
    if here is not None and here.run_id == engine.run_id:
        message = f"drain(): stage {here.stage!r} would wait for its own end; call KillSwitch.shutdown(), and return"
        raise RunStateError(message)
    begin((engine,))
    await arrive((engine,), timeout_s)
    await cut((engine,))
    report((engine,), timeout_s)


def begin(runs: Iterable[Engine]) -> None:
    """Drain runs, each on its own event loop. Does not wait."""
    for run in runs:
        run.jobs.backend.call(partial(begin_drain, run))


async def arrive(runs: Iterable[Engine], timeout_s: float) -> None:
    """Wait until all have ended by themselves, `timeout_s` at most.

    Cancellation: the runs go on draining.
    """
    with anyio.move_on_after(timeout_s):
        for run in runs:
            if run.jobs.backend.is_here():
                await _arrive(run)
            while run.jobs.alive:  # noqa: ASYNC110 - its events belong to another event loop
                await anyio.sleep(_LOOK_AGAIN_S)


async def _arrive(engine: Engine) -> None:
    await engine.finish_last_stages()
    if engine.notice is None:
        await engine.jobs.unwind(shield=False)
        engine.jobs.cancel()
    await engine.jobs.wait(shield=False)


async def cut(runs: Iterable[Engine]) -> None:
    """Cancel those that have not ended, and wait for the tasks of those that are here."""
    rest = [run for run in runs if run.jobs.alive]
    for run in rest:
        run.jobs.backend.call(partial(cut_short, run))
    for run in rest:
        if run.jobs.backend.is_here():
            await run.end_tasks(shield=True)


def report(runs: Iterable[Engine], timeout_s: float) -> None:
    """Raise `ShutdownTimeoutError` if tasks are left."""
    left = tuple(name for run in runs for name in run.zombies)
    if left:
        lost: Counter[str] = Counter()
        for run in runs:
            lost.update(run.undelivered())
        raise ShutdownTimeoutError(timeout_s, left, lost)

"""The orderly end of runs: no more input, what is inside arrives, what does not in time is cancelled and accounted for.

Above: `_run` (one run), `_lifetime` (all runs of a pipeline). Below: `_jobs`, `channels`.
The other part of `_engine`, whose state it works on: how a run is ended from outside, and what is known of it then.

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
from typing import TYPE_CHECKING, Any, cast

import anyio

from ..channels import MergeEnd, widen
from ..errors import ConfigError, RunAbortedError, RunStateError, ShutdownTimeoutError
from ..stages import CURRENT_RUN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..channels import ReceiveEnd
    from ._engine import Engine
    from ._wiring import StageRun

__all__ = [
    "DRAIN_ROOM",
    "Account",
    "abort",
    "arrive",
    "begin",
    "begin_drain",
    "checked_deadline",
    "cut",
    "drain",
    "has_output",
    "open_account",
    "report",
    "undelivered",
]

DRAIN_ROOM = 100_000
"""Elements that an edge to the consumer holds while its run drains: more than is inside, unless stages make very much of little."""

_LOOK_AGAIN_S = 0.02
"""How often one event loop looks whether a run of another one has ended, in seconds."""


class Account:
    """What was under way when a run was cut short: by a failure, a limit, a cancellation, or the deadline of a drain."""

    def __init__(self) -> None:
        self._turned_away: Counter[str] = Counter()
        self._before: dict[str, int] | None = None
        self._at_work: list[str] = []
        self._waiting: list[tuple[StageRun, tuple[int, int]]] = []  # with what each had taken and sent

    def turn_away(self, edge: str, count: int) -> None:
        """Note what a source has given and there was no room for when its run began to drain."""
        self._turned_away[edge] += count

    def open(self, ends: Iterable[ReceiveEnd[Any]], stages: Iterable[StageRun]) -> None:
        """Note what was lost before, on purpose: what a stage that returned early had no need of. The first call counts."""
        if self._before is None:
            self._before = {end.name: _lost(end) for end in ends}
            for stage in stages:
                if stage.is_holding:
                    self._at_work.append(stage.name)
                else:
                    self._waiting.append((stage, stage.moved))

    def read(self, ends: Iterable[ReceiveEnd[Any]], *, is_over: bool) -> dict[str, int]:
        """Return how much did not arrive, by edge and stage; what is still inside counts once the run is over."""
        found = Counter(self._turned_away)
        if self._before is not None:
            found.update(self._at_work)
            # One that was just being woken has taken something after all; unless it was sent on, it is gone.
            late = ((stage.name, stage.moved, before) for stage, before in self._waiting)
            found.update(name for name, now, before in late if now[0] > before[0] and now[1] == before[1])
            for end in ends:
                found[end.name] += _lost(end) - self._before[end.name]
                if is_over:
                    found[end.name] += end.statistics().buffered
        return {place: count for place, count in found.items() if count > 0}


def _lost(end: ReceiveEnd[Any]) -> int:
    return sum(end.statistics().discarded.values())


def checked_deadline(timeout_s: float | None, default: float) -> float:
    """Return how long to wait, in seconds.

    Raises:
        ConfigError: If `timeout_s` is no number from 0 up.
    """
    given = cast("object", default if timeout_s is None else timeout_s)
    if not isinstance(given, (int, float)) or isinstance(given, bool) or not given >= 0:
        raise ConfigError("timeout_s", f"a shutdown's deadline is a number of seconds from 0 up, got {timeout_s!r}")
    return given


def open_account(engine: Engine, culprit: StageRun | str | None = None) -> None:
    """Begin to account for what does not arrive, if anything is left that might.

    What is behind the `culprit` of a failure goes on, and is not at work in vain.
    """
    if not engine.jobs.alive and not has_output(engine):
        return
    spared: frozenset[int] = frozenset()
    if isinstance(culprit, str):
        spared = engine.plan.fed[culprit]
    elif culprit is not None:
        spared = culprit.downstream
    engine.account.open(_ends(engine), [one for one in engine._stages if one.index not in spared])


def undelivered(engine: Engine) -> dict[str, int]:
    """Return how much did not arrive because the run was cut short, by edge and stage."""
    return engine.account.read(_ends(engine), is_over=engine._ended_s is not None)


def has_output(engine: Engine) -> bool:
    """Say whether something is there for the consumer."""
    return any(leaf.backlog for leaf in engine.leaves.values())


def _ends(engine: Engine) -> Iterator[ReceiveEnd[Any]]:
    yield from engine._edges
    for merges in engine._merges.values():
        yield from merges
    if engine.started and isinstance(engine.outlet, MergeEnd):
        yield engine.outlet


def begin_drain(engine: Engine) -> None:
    """End all input, of stages that generate too, and let the consumer's edges take what is inside. Idempotent."""
    engine.draining = True
    if engine.started and engine.jobs.alive:
        for head in engine._feeders:
            inlet = engine.inlets[head]
            if inlet.is_open:
                engine.account.turn_away(inlet.name, inlet.statistics().waiting_senders)
        engine.stop_sources()
        for one in engine._stages:
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
        open_account(engine)
        engine.jobs.cancel()


def abort(engine: Engine, cause: BaseException | None) -> None:
    """Cancel everything and fail, because a kill switch says so; nothing, if the run is ending already."""
    if engine.jobs.alive and engine.notice is None and not engine.cancelled:
        error = RunAbortedError(engine.run_id)
        error.__cause__ = cause
        engine._fail(error, None)


async def drain(engine: Engine, timeout_s: float) -> None:
    """Drain one run; see `Run.drain()`."""
    here = CURRENT_RUN.get(None)
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
            lost.update(undelivered(run))
        raise ShutdownTimeoutError(timeout_s, left, lost)

"""The orderly end of runs: no more input, what is inside arrives, what does not in time is cancelled and accounted for.

Above: `_run` (one run), `_lifetime` (all runs of a pipeline). Below: `_engine`, by the protocol `Drainable`.

Rules:

1. *What has entered an edge is admitted.* It reaches a sink or the consumer, or is in the account of what was not delivered.
2. *The consumer is not waited for.* The edges to it take what comes, up to `DRAIN_ROOM`, so who drains may be the one who reads.
3. *Nothing is hurried.* Waits of stages (a throttle, a delay) take their time; only sources and stages that generate are cancelled.
4. *At the deadline* the rest is cancelled; what has not ended `shutdown_timeout_s` later is named in `ShutdownTimeoutError`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol, cast

import anyio

from ..errors import ConfigError, ShutdownTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..channels import ReceiveEnd
    from ._jobs import JobGroup
    from ._wiring import StageRun

__all__ = ["DRAIN_ROOM", "Account", "Drainable", "arrive", "begin", "checked_deadline", "cut", "drain", "report"]

DRAIN_ROOM = 100_000
"""Elements that an edge to the consumer holds while its run drains: more than is inside, unless stages make very much of little."""

_LOOK_AGAIN_S = 0.02
"""How often one event loop looks whether a run of another one has ended, in seconds."""


class Drainable(Protocol):
    """What is asked of a run that has been started."""

    jobs: JobGroup
    """Its tasks."""

    @property
    def zombies(self) -> tuple[str, ...]:
        """Tasks that could not be stopped."""
        ...

    def begin_drain(self) -> None:
        """End its input."""
        ...

    async def arrive(self) -> None:
        """Wait until it has ended by itself."""
        ...

    def cut_short(self) -> None:
        """Cancel its tasks; its consumer is told."""
        ...

    async def end_tasks(self, *, shield: bool) -> None:
        """Wait for its tasks, under a deadline."""
        ...

    def undelivered(self) -> Mapping[str, int]:
        """Return what did not arrive."""
        ...


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


async def drain(run: Drainable, timeout_s: float) -> None:
    """Drain one run; see `Run.drain()`."""
    begin((run,))
    await arrive((run,), timeout_s)
    await cut((run,))
    report((run,), timeout_s)


def begin(runs: Iterable[Drainable]) -> None:
    """End the input of runs, each on its own event loop."""
    for run in runs:
        run.jobs.backend.call(run.begin_drain)


async def arrive(runs: Iterable[Drainable], timeout_s: float) -> None:
    """Wait until all have ended by themselves, `timeout_s` at most.

    Cancellation: the runs go on draining.
    """
    with anyio.move_on_after(timeout_s):
        for run in runs:
            if run.jobs.backend.is_here():
                await run.arrive()
            while run.jobs.alive:  # noqa: ASYNC110 - its events belong to another event loop
                await anyio.sleep(_LOOK_AGAIN_S)


async def cut(runs: Iterable[Drainable]) -> None:
    """Cancel those that have not ended, and wait for the tasks of those that are here."""
    rest = [run for run in runs if run.jobs.alive]
    for run in rest:
        run.jobs.backend.call(run.cut_short)
    for run in rest:
        if run.jobs.backend.is_here():
            await run.end_tasks(shield=True)


def report(runs: Sequence[Drainable], timeout_s: float) -> None:
    """Raise `ShutdownTimeoutError` if tasks are left."""
    left = tuple(name for run in runs for name in run.zombies)
    if left:
        undelivered: Counter[str] = Counter()
        for run in runs:
            undelivered.update(run.undelivered())
        raise ShutdownTimeoutError(timeout_s, left, undelivered)

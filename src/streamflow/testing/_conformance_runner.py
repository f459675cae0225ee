"""Runs the checks of a subject in each of its variants, many in one event loop, and none longer than it may.

Above: `check_stage` and its siblings, the pytest plugin. Below: `_conformance`, `_conformance_report`, `_clock`. Rules:

- Checks of one backend share an event loop until one fails: what a failure leaves behind must not reach the next.
- A check that waits for ever is a failure with the waiting tasks, not a hang: time is virtual, so its limit costs nothing. Where
  even cancelling it does not end it, asyncio's virtual loop finds out; on trio only a limit of the test's own helps.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final, Literal

import anyio

from ..errors import ConfigError
from ..runtime._jobs import leaf_of
from ._clock import virtual_time
from ._conformance import BACKENDS, NotApplicable, Rule, Trial, check_of, rules_of
from ._conformance_report import ConformanceError, Report, Verdict
from ._tasks import describe_tasks, tasks_of_loop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ._clock import BackendName
    from ._conformance import Subject, Variant

__all__ = ["Clock", "conform", "run_checks"]

Clock = Literal["virtual", "real"]
"""Whether time jumps when every task waits, or goes by as it does."""

_LIMIT_S: Final = {"virtual": 3600.0, "real": 30.0}
"""Longest time that one check may take, in seconds of its clock."""


def conform(report: Report) -> Report:
    """Return a report in which no rule is broken.

    Raises:
        ConformanceError: If one is.
    """
    if report.failed:
        raise ConformanceError(report)
    return report


def run_checks(
    about: Subject,
    subject: object,
    variants: Sequence[Variant],
    *,
    name: str,
    rules: Iterable[str] | None = None,
    skip: Mapping[str, str] | None = None,
    clock: Clock = "virtual",
    limit_s: float | None = None,
    effort: int = 1,
    heavy_variants: Sequence[Variant] | None = None,
) -> Report:
    """Run the checks of all rules about a kind of subject, each in every variant, and return what they found.

    Blocks until done, in event loops of its own. The shortest variants come first.

    Args:
        about: The kind of subject.
        subject: What the checks find as `trial.subject`.
        variants: The circumstances.
        name: What the report calls the subject.
        rules: Ids of the rules to check; None: all.
        skip: Reasons for leaving out rules, by id; they are part of the report.
        clock: `real` where real servers or processes are waited for.
        limit_s: Longest time for one check, in seconds of that clock; default an hour when virtual, half a minute when real.
        effort: How many times the usual number of random examples to try.
        heavy_variants: The circumstances for costly rules; default all.

    Raises:
        ConfigError: If an id is unknown, or `effort` is no whole number from 1 up.
    """
    if not _is_count(effort):
        raise ConfigError("effort", f"a whole number from 1 up was expected, got {effort!r:.80}")
    wanted, left_out = rules_of(about, rules), dict(skip or {})
    rules_of(about, left_out)
    heavy = variants if heavy_variants is None else heavy_variants
    trials = [
        (one, Trial(subject, variant, effort=effort, real_time=clock == "real"))
        for one in wanted
        for variant in (heavy if one.heavy else variants)
    ]
    found: dict[tuple[str, Variant], Verdict] = {
        (one.id, trial.variant): Verdict(one, trial.variant, "skipped", left_out[one.id])
        for one, trial in trials
        if one.id in left_out
    }
    for backend in BACKENDS:
        todo = [(one, trial) for one, trial in trials if trial.variant.backend == backend and one.id not in left_out]
        while todo:
            court = _Court(todo, limit_s if limit_s is not None else _LIMIT_S[clock])
            court.sit(backend, clock)
            for verdict in court.verdicts:
                found[verdict.rule.id, verdict.variant] = verdict
            todo = todo[len(court.verdicts) :]
    return Report(name, tuple(found[one.id, trial.variant] for one, trial in trials))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


@dataclasses.dataclass
class _Court:
    """Hears trials in one event loop, up to the first failure."""

    todo: list[tuple[Rule, Trial[object]]]
    limit_s: float
    verdicts: list[Verdict] = dataclasses.field(default_factory=list[Verdict])

    def sit(self, backend: BackendName, clock: Clock) -> None:
        options = virtual_time(backend, debug=False) if clock == "virtual" else {}
        try:
            anyio.run(self._hear_all, backend=backend, backend_options=options)
        except Exception as error:
            # The loop itself failed: every task waits and none can be woken, or what a failed check left does not end.
            if not self.verdicts or self.verdicts[-1].outcome != "failed":
                if len(self.verdicts) == len(self.todo):
                    raise
                rule, trial = self.todo[len(self.verdicts)]
                self.verdicts.append(_failed(rule, trial, error))

    async def _hear_all(self) -> None:
        for rule, trial in self.todo:
            verdict = await self._hear(rule, trial)
            self.verdicts.append(verdict)
            if verdict.outcome == "failed":
                return

    async def _hear(self, rule: Rule, trial: Trial[object]) -> Verdict:
        error: Exception | None = None
        stuck: str | None = None

        async def watch() -> None:
            nonlocal stuck
            await anyio.sleep(self.limit_s)
            waiting = [
                task for task in tasks_of_loop() if task not in others and id(task) != anyio.get_current_task().id
            ]
            stuck = f"still waits after {self.limit_s:g} seconds\n{describe_tasks(waiting)}"
            group.cancel_scope.cancel()

        here = anyio.get_current_task().id
        others = {task for task in tasks_of_loop() if id(task) != here}
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            try:
                await check_of(rule)(trial)
            except Exception as caught:  # noqa: BLE001 - whatever it is, it is the finding
                error = caught
            while trial.deferred:
                await trial.deferred.pop()()
            group.cancel_scope.cancel()
        if stuck is not None:
            return Verdict(rule, trial.variant, "failed", stuck, trial.shown_by)
        if isinstance(error, NotApplicable):
            return Verdict(rule, trial.variant, "skipped", f"not applicable because {error}")
        if error is not None:
            return _failed(rule, trial, error)
        return Verdict(rule, trial.variant, "passed")


def _failed(rule: Rule, trial: Trial[object], error: BaseException) -> Verdict:
    error = leaf_of(error)  # of a check that has several tasks: what failed first says most
    text = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
    cause = error.__cause__
    while cause is not None:
        text, cause = f"{text}\nbecause of {type(cause).__name__}: {cause}", cause.__cause__
    notes: list[str] = getattr(error, "__notes__", [])
    return Verdict(rule, trial.variant, "failed", text, "\n".join((*filter(None, [trial.shown_by]), *notes)))

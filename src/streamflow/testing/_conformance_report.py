"""What came out of a trial: one verdict per rule and variant, as a report and as an error.

Above: `_conformance_runner`, whoever reads a report. Below: `_conformance`.
"""

from __future__ import annotations

import dataclasses
import textwrap
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._conformance import Rule, Variant

__all__ = ["ConformanceError", "Report", "Verdict"]


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """How one rule fared in one variant."""

    rule: Rule
    """The rule."""
    variant: Variant
    """The circumstances."""
    outcome: Literal["passed", "failed", "skipped"]
    """How it fared."""
    why: str = ""
    """What is wrong, or why it was skipped."""
    shown_by: str = ""
    """The shortest input or schedule that shows what is wrong."""

    def __str__(self) -> str:
        why = f": {self.why.splitlines()[0]}" if self.why else ""
        return f"{self.rule.id} [{self.variant}] {self.outcome}{why}"


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What a trial found; `str()` is for people."""

    subject: str
    """What was on trial, in words."""
    verdicts: tuple[Verdict, ...]
    """One per rule and variant, in the order of the rules."""

    @property
    def passed(self) -> tuple[Verdict, ...]:
        """Where rules are kept."""
        return tuple(one for one in self.verdicts if one.outcome == "passed")

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """Where rules are broken."""
        return tuple(one for one in self.verdicts if one.outcome == "failed")

    @property
    def skipped(self) -> tuple[Verdict, ...]:
        """Where rules say nothing, or were left out on purpose."""
        return tuple(one for one in self.verdicts if one.outcome == "skipped")

    @property
    def ok(self) -> bool:
        """Whether no rule is broken."""
        return not self.failed

    def lines(self) -> list[str]:
        """Return one line per rule and variant."""
        return [str(one) for one in self.verdicts]

    def __str__(self) -> str:
        rules = _by_rule(self.verdicts)
        broken = len(_by_rule(self.failed))
        head = f"{self.subject}: {len(rules) - broken} of {len(rules)} rules kept or not applicable"
        return "\n".join((head, *(_line(verdicts) for verdicts in rules)))


class ConformanceError(AssertionError):
    """Rules are broken; the text says which, what each promises, and the shortest input or schedule that shows it.

    Args:
        report: What the trial found.
    """

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.report: Report = report
        """What the trial found, rule by rule."""

    def __str__(self) -> str:
        tried = _by_rule(self.report.verdicts)
        broken = [verdicts for verdicts in tried if any(one.outcome == "failed" for one in verdicts)]
        head = f"{self.report.subject} breaks {len(broken)} {'rule' if len(broken) == 1 else 'rules'}"
        return "\n".join((head, *(_explained(verdicts) for verdicts in broken)))


def _by_rule(verdicts: Iterable[Verdict]) -> list[list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for one in verdicts:
        found.setdefault(one.rule.id, []).append(one)
    return list(found.values())


def _line(verdicts: list[Verdict]) -> str:
    rule = verdicts[0].rule
    counts = {outcome: sum(one.outcome == outcome for one in verdicts) for outcome in ("failed", "passed", "skipped")}
    told = ", ".join(f"{outcome} {count}" for outcome, count in counts.items() if count)
    reasons = dict.fromkeys(one.why.splitlines()[0] for one in verdicts if one.why)
    why = f" ({'; '.join(reasons)})" if reasons else ""
    return f"  {rule.id} {told}: {rule.promise}{why}"


def _explained(verdicts: list[Verdict]) -> str:
    failed = [one for one in verdicts if one.outcome == "failed"]
    # Inputs and schedules are tried from short to long in each variant; the shortest of all variants says most.
    worst = min(failed, key=lambda one: (len(one.shown_by), len(one.why)))
    rule, others = worst.rule, [str(one.variant) for one in failed if one is not worst]
    more = ""
    if others:
        is_everywhere = not any(one.outcome == "passed" for one in verdicts)
        more = " (and all others)" if is_everywhere else f" (and {'; '.join(others)})"
    lines = [
        f"\n{rule.id} ({rule.level}, semantics {rule.holds}): {rule.promise}",
        f"  variant:  {worst.variant}{more}",
    ]
    if worst.shown_by:
        lines.append(f"  shown by: {_indented(worst.shown_by)}")
    lines.append(f"  found:    {_indented(worst.why)}")
    return "\n".join(lines)


def _indented(text: str) -> str:
    return textwrap.indent(text, " " * 12).lstrip()

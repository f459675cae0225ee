"""`check_runtime()`: the runtime itself on trial, by the rules of `_runtime_graphs` and its siblings.

Above: tests. Below: `_conformance_runner`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _runtime_costs, _runtime_edges, _runtime_graphs, _runtime_scenarios
from ._conformance import BACKENDS, Variant
from ._conformance_runner import conform, run_checks
from ._runtime_graphs import RuntimeCase

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ._clock import BackendName
    from ._conformance_report import Report

__all__ = ["check_runtime"]

_RULES = (_runtime_graphs, _runtime_scenarios, _runtime_edges, _runtime_costs)  # imported for their rules


def check_runtime(
    *,
    rules: Iterable[str] | None = None,
    seed: int = 0,
    examples: int = 25,
    effort: int = 1,
    backends: Sequence[BackendName] = BACKENDS,
) -> Report:
    """Run random graphs and scenarios through the runtime, on each event loop, and return the report.

    For whoever changes the runtime, replaces a part of it, or runs it where nobody did before: a new interpreter, another event
    loop. Blocks until done, in event loops of its own, on virtual time.

    Args:
        rules: Ids of the rules to check; None: all.
        seed: Where random examples begin.
        examples: How many a rule tries on each event loop.
        effort: How many times as many.
        backends: The event loops.

    Raises:
        ConformanceError: A rule is broken; the text says which, and shows the smallest graph.
        ConfigError: There is no such rule.
    """
    variants = [Variant(one) for one in backends]
    case = RuntimeCase(seed, examples)
    return conform(run_checks("runtime", case, variants, name="the runtime", rules=rules, effort=effort))

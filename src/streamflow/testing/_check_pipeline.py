"""Whether a pipeline keeps the rules of graphs and runs: one function that tries them all.

Above: tests. Below: `_graph_rules`, `_graph_endings`, `_conformance_runner`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elements import TextElement
from ..runtime import PipelineConfig
from . import _graph_endings, _graph_rules
from ._conformance import BACKENDS, Variant
from ._conformance_runner import conform, run_checks
from ._graph_case import PipelineCase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..elements import StreamElement
    from ._conformance_report import Report
    from ._graph_case import Make

__all__ = ["check_pipeline"]

_ = _graph_endings, _graph_rules  # imported for the rules that they register

_USUAL = 6


def check_pipeline(
    factory: Make,
    *,
    elements: Sequence[StreamElement | str] | None = None,
    expected: Sequence[StreamElement | str] | None = None,
    ordered: bool = True,
    name: str = "pipeline",
    capacities: Sequence[int] = (1, 2, 16),
    keeps_unread: bool = False,
    rules: Iterable[str] | None = None,
    skip: Mapping[str, str] | None = None,
    effort: int = 1,
) -> Report:
    """Check that a pipeline keeps the rules of graphs and runs: on both loops, at each capacity, fused or not. Blocks until done.

    ```python
    def shouting(config: PipelineConfig) -> PipelineBuilder:
        return PipelineBuilder(config).chain(shout, translate)


    print(check_pipeline(shouting, elements=["a", "b"], expected=["A", "B"]))
    ```

    Args:
        factory: Returns a new builder of the graph, with the settings that it is given.
        elements: What its source gives; strings become `TextElement`. None: six of them.
        expected: What it makes of that, without the end; None: whatever its first run gives, which all others must give too.
        ordered: Whether its output is always in the same order; False where a merge lets whoever comes first go first.
        name: What the report calls it.
        capacities: Of the edges that have no bound of their own. Costly rules are tried with the first one
            only, and stages that are not fused with the last one only.
        keeps_unread: Whether a stage in it keeps what it does not accept until the end of a turn: the order of leaving is then
            not that of the edge, and the accounts of edges are not looked at.
        rules: Ids of the rules to check; None: all.
        skip: Reasons for leaving out rules, by id.
        effort: How many times the usual number of random examples to try.

    Raises:
        ConformanceError: If it breaks a rule; says which, and what shows it.
        ConfigError: If an id is unknown.
        BuildError: If it cannot be built.
    """
    given = [f"element {number}" for number in range(_USUAL)] if elements is None else elements
    case = PipelineCase(
        factory, _as_elements(given), None if expected is None else _as_elements(expected), ordered, keeps_unread
    )
    case.pipeline(PipelineConfig(buffer_size=capacities[0]))  # what cannot be built is told here, once
    wide = capacities[-1]
    variants = [
        Variant(backend, (("capacity", size), ("stages", how)))
        for backend in BACKENDS
        for size, how in (*((size, "fused") for size in capacities), (wide, "unfused"))
    ]
    return conform(
        run_checks(
            "graph",
            case,
            variants,
            name=name,
            rules=rules,
            skip=skip,
            effort=effort,
            heavy_variants=[one for one in variants if one["capacity"] == capacities[0] and one["stages"] == "fused"],
        )
    )


def _as_elements(given: Sequence[StreamElement | str]) -> list[StreamElement]:
    return [TextElement(one) if isinstance(one, str) else one for one in given]

"""Hypothesis strategy for graphs: any way in which stages may fork, join and look on.

Above: your tests, through `_on_demand`. Below: `_graphs`.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from ..errors import BuildError
from ..stages import CollectStage, PassthroughStage
from ._graphs import DrawnGraph, DrawnStage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import SearchStrategy

    from ..graph import PolicyName
    from ..stages import StageLike
    from ._graphs import Fan

__all__ = ["graphs"]

_FANS: Final[tuple[Fan, ...]] = ("copy", "route", "balance")
_POLICIES: Final[tuple[PolicyName, ...]] = (
    "arrival",
    "ordered",
    "concat",
    "zip",
    "zip_latest",
    "barrier",
    "priority",
    "race",
)


def graphs(
    *,
    kinds: Sequence[str] = ("map",),
    sinks: Sequence[str] = ("sink",),
    max_stages: int = 12,
    heads: int = 1,
    fans: Sequence[Fan] = _FANS,
    policies: Sequence[PolicyName] = _POLICIES,
    taps: bool = True,
    capacities: Sequence[int] = (1, 2, 3, 16),
) -> SearchStrategy[DrawnGraph]:
    """Draw graphs that validation accepts where every stage takes and sends every element.

    Args:
        kinds: What stages may be; the simplest first.
        sinks: What stages that send nothing may be; none: there are no such.
        max_stages: Most stages of one graph.
        heads: Most stages that a source feeds.
        fans: How stages may feed several others.
        policies: How inputs may be merged. `ordered` is drawn only below a fork whose order can be restored.
        taps: Whether stages may tap others; those are of the kinds in `sinks`.
        capacities: What may bound the edges.
    """
    return _graphs(
        _Wanted(tuple(kinds), tuple(sinks), max_stages, heads, tuple(fans), tuple(policies), taps, tuple(capacities))
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Wanted:
    """What `graphs()` was given."""

    kinds: tuple[str, ...]
    sinks: tuple[str, ...]
    max_stages: int
    heads: int
    fans: tuple[Fan, ...]
    policies: tuple[PolicyName, ...]
    taps: bool
    capacities: tuple[int, ...]


@st.composite
def _graphs(draw: st.DrawFn, wanted: _Wanted) -> DrawnGraph:
    stages: list[DrawnStage] = []
    for number in range(draw(st.integers(1, wanted.max_stages))):
        stages.append(draw(_stage(wanted, number, [one.name for one in stages if not one.is_sink])))
    _connect_heads(stages)
    edges = [(source, one.name) for one in stages for source in one.inputs]
    bounded = draw(st.lists(st.sampled_from(edges), max_size=3, unique=True)) if edges else []
    bounds = st.sampled_from(wanted.capacities)
    buffers = tuple((source, target, draw(bounds)) for source, target in bounded)
    return _lawful(DrawnGraph(tuple(stages), draw(bounds), buffers))


@st.composite
def _stage(draw: st.DrawFn, wanted: _Wanted, number: int, before: Sequence[str]) -> DrawnStage:
    is_head = number < wanted.heads
    inputs = () if is_head else tuple(draw(st.lists(st.sampled_from(before), min_size=1, max_size=3, unique=True)))
    is_sink = bool(wanted.sinks) and not is_head and draw(st.integers(0, 5)) == 5
    kind = draw(st.sampled_from(wanted.sinks if is_sink else wanted.kinds))
    return DrawnStage(
        name=f"{kind}{number}",
        kind=kind,
        inputs=inputs,
        fan=draw(st.sampled_from(wanted.fans)),
        policy=draw(st.sampled_from(wanted.policies)) if len(inputs) > 1 else "arrival",
        is_tap=is_sink and wanted.taps and len(inputs) == 1 and draw(st.booleans()),
        is_sink=is_sink,
    )


def _connect_heads(stages: list[DrawnStage]) -> None:
    """Let each stage that the source feeds feed another one, if there are several stages."""
    fed = {name for one in stages for name in one.inputs}
    lonely = [one for one in stages if not one.inputs and one.name not in fed]
    if len(stages) == len(lonely):
        del stages[1:]
    elif lonely:
        last = stages[-1]
        stages[-1] = dataclasses.replace(last, inputs=(*last.inputs, *(one.name for one in lonely)), is_tap=False)


def _lawful(drawn: DrawnGraph) -> DrawnGraph:
    """Return the graph without an order that no fork above can give."""
    if all(one.policy != "ordered" for one in drawn.stages):
        return drawn
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            drawn.builder(_stand_in).build()
    except BuildError as refused:
        unlawful = {one.stage for one in refused.findings}
        stages = [
            dataclasses.replace(one, policy="arrival") if one.policy == "ordered" and one.name in unlawful else one
            for one in drawn.stages
        ]
        return dataclasses.replace(drawn, stages=tuple(stages))
    return drawn


def _stand_in(one: DrawnStage) -> StageLike:
    return CollectStage([], name=one.name) if one.is_sink else PassthroughStage(name=one.name)

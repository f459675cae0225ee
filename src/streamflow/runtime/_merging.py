"""What carries out the policy of each merge.

Above: `_wiring`, which opens the edges of a run. Below: `channels`, `graph`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..channels import (
    BOUNDARIES,
    TURNS,
    ArrivalEnd,
    BarrierEnd,
    ConcatEnd,
    MergeEnd,
    OrderedEnd,
    PriorityEnd,
    RaceEnd,
    SortedEnd,
    TurnMarker,
    ZipEnd,
    ZipLatestEnd,
)
from ..elements import batch_of
from ..graph import Arrival, Barrier, Concat, Ordered, Prioritized, Race, Zip, ZipLatest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..channels import ChannelWatch, ControlJoin, ReceiveEnd
    from ..elements import ControlElement
    from ..graph import MergePolicy
    from ._plan import InputPlan

__all__ = ["aligned_by", "open_merge"]


def aligned_by(policy: MergePolicy) -> tuple[type[ControlElement], ...]:
    """Return which control elements leave a merge when all its inputs have shown them; the others leave at their first copy."""
    match policy:
        case Arrival():
            return BOUNDARIES
        case Concat() | Race() | Barrier():
            return ()
        case Zip() | ZipLatest():
            return (*TURNS, TurnMarker)
        case Ordered(key=key) if key is not None:
            return (*TURNS, TurnMarker)
        case _:
            return BOUNDARIES


def open_merge(
    plan: InputPlan,
    inputs: Sequence[ReceiveEnd[Any]],
    watch: ChannelWatch | None,
    join: ControlJoin | None,
    forks: Collection[int],
    *,
    is_followed: bool = False,
) -> MergeEnd[Any]:
    """Return what reads several edges as one.

    Args:
        plan: The input that they lead to.
        inputs: What reads each of them.
        watch: Hears of every element that leaves them.
        join: Joins the control elements that were copied.
        forks: The forks whose markers end here.
        is_followed: Whether a trace notes what goes through it, and so nothing may go past it.
    """
    given = plan.name, inputs, plan.gate, watch, join
    match plan.policy:
        case Arrival():
            return MergeEnd(*given) if join or watch or is_followed else ArrivalEnd(plan.name, inputs, plan.gate)
        case Ordered(key=key) if key is not None:
            return SortedEnd(*given, key=key)
        case Ordered():
            return OrderedEnd(*given, forks=forks)
        case Concat():
            return ConcatEnd(*given)
        case Zip(combine=combine):
            return ZipEnd(*given, combine=combine or batch_of)
        case ZipLatest(combine=combine):
            return ZipLatestEnd(*given, combine=combine or batch_of)
        case Barrier(max_held=count):
            return BarrierEnd(*given, max_held=count)
        case Prioritized(weights=weights):
            return PriorityEnd(*given, weights=weights)
        case Race():
            return RaceEnd(*given)
        case _:
            message = f"{plan.policy!r} is no way to merge"
            raise AssertionError(message)

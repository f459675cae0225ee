"""The edges of a run whose stages are a straight line, opened in one go: without the looks that forks, merges and ports ask for.

Above: `_wiring`, which asks for it where the plan says so. Below: `channels`, `_plan`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..channels import open_channel, open_row, tell_waits
from ..stages import StageKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..channels import Herald, HubEnd, Pulse, ReceiveEnd, SendEnd
    from ..elements import StreamElement
    from ._plan import Plan, StagePlan
    from ._stage_run import StageRun

__all__ = ["Wiring", "ended_input", "is_in_chain", "is_straight", "wire_straight"]


class Wiring(NamedTuple):
    """What the engine needs of a run's edges."""

    inlets: dict[str, SendEnd[StreamElement]]
    """Writes the edge into each head, by its name."""
    outlet: ReceiveEnd[StreamElement]
    """Reads all leaves."""
    edges: Sequence[ReceiveEnd[Any]]
    """All edges, in the order of the plan."""
    sends: Sequence[SendEnd[Any]]
    """Their writing ends."""
    hubs: dict[str, HubEnd[StreamElement]]
    """Writes each output whose branches come and go, by its name."""


def is_in_chain(stage: StagePlan) -> bool:
    """Say whether a stage has at most one edge in, and one out."""
    outputs = stage.outputs
    return (
        (not stage.inputs or (len(stage.inputs) == 1 and len(stage.inputs[0].edges) == 1))
        and (not outputs or (len(outputs) == 1 and len(outputs[0].edges) == 1 and outputs[0].fan is None))
        and stage.letters is None
    )


def is_straight(stage: StagePlan) -> bool:
    """Say whether a stage reads one edge and writes one, without ports, and keeps nothing that is to pass it by."""
    return (
        is_in_chain(stage)
        and bool(stage.inputs and stage.outputs)
        and not (stage.inputs[0].port or stage.outputs[0].port)
        and stage.node.stage.kind is not StageKind.ACCUMULATE
    )


def wire_straight(
    plan: Plan,
    stages: Sequence[StageRun],
    herald: Callable[[], Herald | None],
    pulse: Pulse,
    *,
    is_live: bool,
    is_late: bool,
) -> Wiring:
    """Open the edges of a straight line of stages: as `wire()` would, which most runs are too short for."""
    sends, receives = open_row(plan.row, plan.ways, pulse, herald, is_late=is_late)
    for stage, (before, behind) in zip(stages, plan.ways):  # noqa: B905 - a look at their lengths costs as much as one turn
        stage.reads = reads = receives[before]
        stage.inputs = (reads,)
        stage.output = stage.writes = sends[behind]
    (last,) = plan.leaves.values()
    ((head, first),) = plan.heads.items()
    outlet = receives[last]
    # The user is no task of the run.
    tell_waits(None, read=(outlet,))
    if is_live:
        tell_waits(None, written=(receives[first],))
    return Wiring({head: sends[first]}, outlet, receives, sends, {})


def ended_input(reader: str) -> ReceiveEnd[Any]:
    """Return an input that has ended, for who has none."""
    send: SendEnd[Any]
    receive: ReceiveEnd[Any]
    send, receive = open_channel(1, name=f"nothing → {reader}")
    send.close()
    return receive

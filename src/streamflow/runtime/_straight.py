"""The edges of a straight line of stages, which most pipelines are: opened in one go, without a look at what else there may be.

Above: `_wiring`, which knows all that edges can be, and takes this way where `Plan.ways` says so. Below: `channels`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..channels import open_plain, tell_loop, tell_waits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..channels import Herald, HubEnd, Pulse, ReceiveEnd, SendEnd
    from ..elements import StreamElement
    from ._plan import Plan
    from ._wiring import StageRun

__all__ = ["Wiring", "wire_straight"]


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


def wire_straight(
    plan: Plan, stages: Sequence[StageRun], herald: Callable[[], Herald | None], pulse: Pulse, *, is_live: bool
) -> Wiring:
    """Open the edges of a straight line of stages: as `wire()` would, which most runs are too short for."""
    sends: list[SendEnd[Any]] = []
    receives: list[ReceiveEnd[Any]] = []
    send: SendEnd[Any]
    receive: ReceiveEnd[Any]
    for edge in plan.edges:
        send, receive = open_plain(
            edge.bound.capacity, edge.name, edge.gate, watch=None, pulse=pulse, plain=edge.plain, is_late=True
        )
        receive.herald = herald
        sends.append(send)
        receives.append(receive)
    for stage, (before, behind) in zip(stages, plan.ways, strict=True):
        stage.reads = reads = receives[before]
        stage.inputs = (reads,)
        stage.output = stage.writes = output = sends[behind]
        reads.forward_to(output, is_alone=True)
    (last,) = plan.leaves.values()
    ((head, first),) = plan.heads.items()
    outlet, inlet = receives[last], receives[first]
    tell_loop(receives)
    tell_waits(None, written=(inlet,) if is_live else (), read=(outlet,))  # the user is no task of the run
    return Wiring({head: sends[first]}, outlet, receives, sends, {})

"""A report on a run in which nothing has moved for a while: who waits for what. It never ends the run.

Above: `_engine`, which runs it as a task where `stall_report_s` is set. Below: `_deadlock`.

Edges are not watched for it: their counts are looked at now and then, so what flows pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio

from ._deadlock import wait_graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..channels import ReceiveEnd
    from ._engine import Engine

__all__ = ["watch_stalls"]

_LOOKS: Final = 4  # within the time that is given: so a stall is told a quarter of it late at most


async def watch_stalls(engine: Engine, seconds: float) -> None:
    """Tell when nothing has entered or left any edge of a run for so long; once, until something moves again.

    Args:
        engine: The run.
        seconds: How long that is.

    Cancellation: leaves nothing behind.
    """
    pause, looks, before = seconds / _LOOKS, 0, _moves(engine.edges)
    while True:
        await anyio.sleep(pause)
        now = _moves(engine.edges)
        looks = looks + 1 if now == before else 0
        before = now
        if looks == _LOOKS:
            engine.reporter.stalled(seconds, wait_graph(engine))


def _moves(edges: Sequence[ReceiveEnd[Any]]) -> int:
    counts = (edge.statistics() for edge in edges)
    return sum(one.sent + one.received for one in counts)

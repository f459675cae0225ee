"""A report on a run in which nothing has moved for a while: who waits for what. It never ends the run.

Above: `_engine`, which runs it as a task where `stall_report_s` is set. Below: `_jobs`, `observe`.

Edges are not watched for it: their counts are looked at now and then, so what flows pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..channels import ReceiveEnd

__all__ = ["watch_stalls"]

_LOOKS: Final = 4  # within the time that is given: so a stall is told a quarter of it late at most


async def watch_stalls(edges: Sequence[ReceiveEnd[Any]], seconds: float, tell: Callable[[float], None]) -> None:
    """Call `tell` when nothing has entered or left any edge for so long; once, until something moves again.

    Args:
        edges: The edges.
        seconds: How long that is.
        tell: Called with how long nothing has moved, in seconds.

    Cancellation: leaves nothing behind.
    """
    pause, looks, before = seconds / _LOOKS, 0, _moves(edges)
    while True:
        await anyio.sleep(pause)
        now = _moves(edges)
        looks = looks + 1 if now == before else 0
        before = now
        if looks == _LOOKS:
            tell(seconds)


def _moves(edges: Sequence[ReceiveEnd[Any]]) -> int:
    counts = (edge.statistics() for edge in edges)
    return sum(one.sent + one.received for one in counts)

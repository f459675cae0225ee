"""A report on a run in which something has stood still for a while: who waits for whom, and who holds them up. It ends nothing.

Above: `_engine`, which runs it as a task where `stall_report_s` is set. Below: `_deadlock`.

Edges are not watched for it: they are looked at now and then, so what flows pays nothing. Where nothing moves anywhere, the whole
run is told, once, until something moves. Where it goes on elsewhere, an edge is told: one that was full all the time, or one whose
reader waits while there is work for its writer. Of edges that stand still because of the same stage, that which is nearest to it is
told, once, until it moves or somebody else holds it up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import anyio

from ..channels import has_waiting_sender, is_awaited
from ._deadlock import wait_graph

if TYPE_CHECKING:
    from ..channels import ReceiveEnd
    from ..errors import WaitGraph
    from ._engine import Engine

__all__ = ["watch_stalls"]

_LOOKS: Final = 4  # within the time that is given: so a stall is told a quarter of it late at most

_State: TypeAlias = Literal["full", "empty"]


async def watch_stalls(engine: Engine, seconds: float) -> None:
    """Tell when nothing has entered or left any edge of a run for so long, or one that somebody waits at.

    Args:
        engine: The run.
        seconds: How long that is.

    Cancellation: leaves nothing behind.
    """
    looker = _Looker(engine, seconds)
    while True:
        await anyio.sleep(seconds / _LOOKS)
        looker.look()


class _Looker:
    """Looks at the edges of one run, and knows what it has seen and told."""

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._engine = engine
        self._seconds = seconds
        self._before = [_moves(edge) for edge in engine.edges]
        self._still = [0] * len(self._before)  # looks since each edge has moved
        self._waits: list[_State | None] = [None] * len(self._before)  # who has waited at it all that time
        self._all_still = 0
        self._told: dict[str, str] = {}  # who holds up, by the edge that was told

    def look(self) -> None:
        """Look once, and tell what is to be told."""
        engine = self._engine
        now = [_moves(edge) for edge in engine.edges]
        self._all_still = self._all_still + 1 if now == self._before else 0
        for number, edge in enumerate(engine.edges):
            state = self._state(number, edge)
            is_same = now[number] == self._before[number] and state == self._waits[number]
            self._still[number] = self._still[number] + 1 if is_same else 0
            self._waits[number] = state
        self._before = now
        if self._all_still == _LOOKS:
            engine.reporter.stalled(self._seconds, wait_graph(engine))
        elif self._all_still < _LOOKS:
            self._tell_edges()

    def _state(self, number: int, edge: ReceiveEnd[Any]) -> _State | None:
        if has_waiting_sender(edge):
            return "full"
        return "empty" if not edge.backlog and is_awaited(edge) and self._has_work(number) else None

    def _has_work(self, number: int) -> bool:
        """Say whether something waits for the stage that writes an edge."""
        source = self._engine.plan.edges[number].source
        if source is None:
            return False
        into = self._engine.plan.stages[source].inputs
        return any(self._engine.edges[edge].backlog for one in into for edge in one.edges)

    def _tell_edges(self) -> None:
        still = [number for number, looks in enumerate(self._still) if looks >= _LOOKS and self._waits[number]]
        names = [self._engine.edges[number].name for number in still]
        self._told = {edge: culprit for edge, culprit in self._told.items() if edge in names}
        if not still:
            return
        graph = wait_graph(self._engine)
        nearest: dict[str, tuple[int, tuple[str, ...]]] = {}  # the edge, and the way to who holds it up, by that
        for number in still:
            chain = self._chain(number, graph)
            known = nearest.get(chain[-1])
            if known is None or len(chain) < len(known[1]):
                nearest[chain[-1]] = number, chain
        for culprit, (number, chain) in nearest.items():
            edge, state = self._engine.edges[number].name, self._waits[number]
            if state is not None and self._told.get(edge) != culprit:
                self._told[edge] = culprit
                pause = self._seconds / _LOOKS
                self._engine.reporter.edge_stalled(edge, state, pause * self._still[number], chain, graph)

    def _chain(self, number: int, graph: WaitGraph) -> tuple[str, ...]:
        """Return who waits at an edge, for whom that waits, and so on to who does not wait for anybody."""
        plan = self._engine.plan.edges[number]
        waiting, other = plan.name.split(" → ", 1)
        if self._waits[number] == "empty":
            waiting, other = other, waiting
        waits = {one.who: one for one in graph.waits}
        chain = [waiting.partition(":")[0], other.partition(":")[0]]
        while (wait := waits.get(chain[-1])) is not None and wait.kind in {"send", "receive"} and wait.on:
            if wait.on[0] in chain:
                break
            chain.append(wait.on[0])
        return tuple(chain)


def _moves(edge: ReceiveEnd[Any]) -> int:
    counts = edge.statistics()
    return counts.sent + counts.received

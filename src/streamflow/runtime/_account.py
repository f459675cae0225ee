"""The account of a run that was cut short: what did not arrive.

Above: `_view`, which knows what there is to account for. Below: `channels`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..channels import ReceiveEnd
    from ._stage_run import StageRun

__all__ = ["Account"]


class Account:
    """What was under way when a run was cut short: by a failure, a limit, a cancellation, or the deadline of a drain."""

    def __init__(self) -> None:
        self._turned_away: dict[str, int] = {}
        self._before: dict[str, int] | None = None
        self._seen: list[
            tuple[StageRun, bool, tuple[int, int]]
        ] = []  # whether it held something, and what it had moved

    def turn_away(self, edge: str, count: int) -> None:
        """Note what a source has given and there was no room for when its run began to drain."""
        self._turned_away[edge] = self._turned_away.get(edge, 0) + count

    def open(self, ends: Iterable[ReceiveEnd[Any]], stages: Iterable[StageRun]) -> None:
        """Note what was lost before, on purpose: what a stage that returned early had no need of. The first call counts."""
        if self._before is None:
            self._before = {end.name: _lost(end) for end in ends}
            self._seen = [(stage, stage.is_holding, stage.moved) for stage in stages]

    def read(self, ends: Iterable[ReceiveEnd[Any]], *, is_over: bool) -> dict[str, int]:
        """Return how much did not arrive, by edge and stage; what is still inside counts once the run is over."""
        found = Counter(self._turned_away)
        if self._before is not None:
            found.update(stage.name for stage, held, before in self._seen if _has_kept(stage, before, was_holding=held))
            for end in ends:
                found[end.name] += _lost(end) - self._before[end.name]
                if is_over:
                    found[end.name] += end.statistics().buffered
        return {place: count for place, count in found.items() if count > 0}


def _has_kept(stage: StageRun, before: tuple[int, int], *, was_holding: bool) -> bool:
    """Say whether a stage has ended with something in hand, or has it still.

    A task that was just being woken when it was cancelled does what it had waited for all the same, and more, until it has to wait
    again, on some event loops: so what it held before says nothing, if it can be seen what it holds now.
    """
    taken, sent = stage.moved
    if stage.node.stage.max_held == 1 and stage.failure is None:
        return stage.was_holding
    return was_holding or (taken > before[0] and sent == before[1])


def _lost(end: ReceiveEnd[Any]) -> int:
    return sum(end.statistics().discarded.values())

"""The account of a run that was cut short: what did not arrive.

Above: `_view`, which knows what there is to account for. Below: `channels`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..channels import ReceiveEnd
    from ._wiring import StageRun

__all__ = ["Account"]


class Account:
    """What was under way when a run was cut short: by a failure, a limit, a cancellation, or the deadline of a drain."""

    def __init__(self) -> None:
        self._turned_away: Counter[str] = Counter()
        self._before: dict[str, int] | None = None
        self._at_work: list[str] = []
        self._waiting: list[tuple[StageRun, tuple[int, int]]] = []  # with what each had taken and sent

    def turn_away(self, edge: str, count: int) -> None:
        """Note what a source has given and there was no room for when its run began to drain."""
        self._turned_away[edge] += count

    def open(self, ends: Iterable[ReceiveEnd[Any]], stages: Iterable[StageRun]) -> None:
        """Note what was lost before, on purpose: what a stage that returned early had no need of. The first call counts."""
        if self._before is None:
            self._before = {end.name: _lost(end) for end in ends}
            for stage in stages:
                if stage.is_holding:
                    self._at_work.append(stage.name)
                else:
                    self._waiting.append((stage, stage.moved))

    def read(self, ends: Iterable[ReceiveEnd[Any]], *, is_over: bool) -> dict[str, int]:
        """Return how much did not arrive, by edge and stage; what is still inside counts once the run is over."""
        found = Counter(self._turned_away)
        if self._before is not None:
            found.update(self._at_work)
            # One that was just being woken has taken something after all; unless it was sent on, it is gone.
            late = ((stage.name, stage.moved, before) for stage, before in self._waiting)
            found.update(name for name, now, before in late if now[0] > before[0] and now[1] == before[1])
            for end in ends:
                found[end.name] += _lost(end) - self._before[end.name]
                if is_over:
                    found[end.name] += end.statistics().buffered
        return {place: count for place, count in found.items() if count > 0}


def _lost(end: ReceiveEnd[Any]) -> int:
    return sum(end.statistics().discarded.values())

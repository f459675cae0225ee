"""What a run tells its listeners about itself: its own beginning and end, and those of its stages.

Above: `_engine` (tells), `_run` (`run.events()`). Below: `observe`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeAlias

from ..observe import Event, EventBus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._engine import Engine
    from ._wiring import StageRun

__all__ = ["Listener", "Reporter"]

Listener: TypeAlias = "Callable[[Event], object]"
"""What is called with each event."""

_numbers = itertools.count(1)


class Reporter:
    """Tells the listeners of one run what happens in it. Makes no event when nobody listens."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.run_id: str = f"run-{next(_numbers)}"
        self._bus = EventBus(listeners)

    def emit(self, stage: str, name: str, data: Mapping[str, object]) -> None:
        """Tell what a stage itself has to say."""
        self._bus.publish(Event(name=name, run_id=self.run_id, stage=stage, data=data))

    def moved(self, edge: str, ordinal: int, element: str, waited_s: float) -> None: ...

    def run_started(self, stages: Sequence[StageRun]) -> None: ...

    def stage_ended(self, stage: StageRun, *, was_cancelled: bool) -> None: ...

    def run_ended(self, engine: Engine) -> None: ...

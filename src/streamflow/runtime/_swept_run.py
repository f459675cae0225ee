"""What of a run can be interrupted: the part of the engine that hears of interruptions, and sweeps.

Above: `_engine`, which is one. Below: `_interruption`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ._interruption import Interruption, Sweeper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..channels import ReceiveEnd
    from ..elements import Interrupt, StreamElement
    from ._jobs import JobGroup
    from ._plan import Plan
    from ._reporting import Reporter
    from ._stage_run import StageRun

__all__ = ["SweptRun"]


class SweptRun(ABC):
    """A run as interruptions see it; a `Herald`. Its state is the engine's, but for the sweeper, which is made when one comes."""

    run_id: str
    plan: Plan
    reporter: Reporter
    started: bool
    cancelled: bool
    outlet: ReceiveEnd[StreamElement]
    jobs: JobGroup
    _sweeper: Sweeper | None = None

    @property
    @abstractmethod
    def stages(self) -> Sequence[StageRun]:
        """The stages."""

    @property
    @abstractmethod
    def edges(self) -> Sequence[ReceiveEnd[Any]]:
        """All edges."""

    @property
    def epoch(self) -> int:
        """How many times the run has been interrupted."""
        return 0 if self._sweeper is None else self._sweeper.epoch

    def announce(self, edge: ReceiveEnd[Any], interrupt: Interrupt) -> None:
        """Hear of an `Interrupt` that is being sent; where it is a new one, it interrupts the run."""
        self._sweeper = self._sweeper or Sweeper(self.plan, self.edges)
        if self._sweeper.is_new(edge, interrupt):
            self.interrupt(interrupt.reason, self._sweeper.writer_of(edge))

    def interrupt(self, reason: str, sender: int | None = None) -> Interruption:
        """Drop what is on its way, and cancel the work in hand, but for what a stage has that asks for it by an `Interrupt`."""
        if not self.started or self.cancelled or self.reporter.is_over:
            return Interruption(self.epoch, reason)
        self._sweeper = self._sweeper or Sweeper(self.plan, self.edges)
        alive = [stage for stage in self.stages if stage.job in self.jobs.alive]
        done = self._sweeper.sweep(alive, self.outlet, reason=reason, run_id=self.run_id, sender=sender)
        self.reporter.interrupted(done)
        return done

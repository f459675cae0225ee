"""The part of `Run` that interrupts.

Above: `_run`. Below: `_engine`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import RunStateError

if TYPE_CHECKING:
    from ._engine import Engine
    from ._interruption import Interruption

__all__ = ["InterruptibleRun"]


class InterruptibleRun:
    """What a run offers about interruptions."""

    _engine: Engine

    def interrupt(self, reason: str = "") -> Interruption:
        """Interrupt the run (barge-in): drop what is on its way, and cancel the work in hand. The run goes on.

        One step of the event loop, whatever the stages are doing. Every edge drops the elements that it holds, and counts them as
        `stale`; control, wholes (`MessageElement`, tool calls and their results) and elements with `interruptible=False` stay, in
        order. A call for a single element is cancelled if its element would have been dropped; other stages do as they declare with
        `on_interrupt`, or say with `turn_scope()`. A stage that waits for its next element has nothing in hand, unless it
        accumulates. Sources go on, and so does the stage that makes this call, if one does.

        An `Interrupt` that a source, `send()` or a stage sends does the same, and goes on to the output.

        Args:
            reason: Why, for a person to read.

        Returns:
            What was dropped and cancelled, and who is still `unwinding`; `await` its `settled()` until nobody is. A run that has
            not begun, or is over, has nothing to interrupt, and no error.

        Raises:
            RunStateError: If it is called outside of the run's event loop.

        Source: semantics 5.11.
        """
        if self._engine.started and not self._engine.jobs.backend.is_here():
            message = (
                f"interrupt(): {self._engine.run_id} is interrupted in its own event loop; from another thread use "
                "loop.call_soon_threadsafe(run.interrupt), or anyio.from_thread.run_sync(run.interrupt)"
            )
            raise RunStateError(message)
        return self._engine.interrupt(reason)

    @property
    def epoch(self) -> int:
        """How many times the run has been interrupted."""
        return self._engine.epoch

"""How a run can fail, and how it can be misused.

Above: `runtime`, `stages`. Below: `_base`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ._base import StreamflowError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "PipelineBusyError",
    "RoundLimitError",
    "RunAbortedError",
    "RunStateError",
    "RunTimeoutError",
    "ShutdownTimeoutError",
    "SourceError",
    "StageError",
    "SyncInAsyncError",
    "TimeoutKind",
]

TimeoutKind = Literal["run", "first_element", "idle", "stage", "backpressure"]
"""Which clock ran out: the whole run, its first element, all edges, one stage, one full edge."""


class SourceError(StreamflowError, TypeError):
    """What was given to `execute()` is no source of elements.

    Args:
        message: What was given, and what is allowed.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        """What was given, and what is allowed."""

    def __str__(self) -> str:
        return self.message


class StageError(StreamflowError):
    """A stage raised; says where. The stage's own exception is `__cause__`, its traceback ends in your code.

    Args:
        stage: Name of the stage in the graph.
        index: Ordinal of the element in hand on the stage's input edge, None when it held none.
        where: `file:line` of the call that added the stage.
        attempts: How often it was tried.
    """

    def __init__(self, stage: str, index: int | None = None, where: str | None = None, attempts: int = 1) -> None:
        super().__init__(stage, index, where, attempts)
        self.stage = stage
        """Name of the stage in the graph; `source` for the source."""
        self.index = index
        """Ordinal (from 0) of the element in hand on the stage's input edge, None when it held none."""
        self.where = where
        """`file:line` of the call that added the stage, None when unknown."""
        self.attempts = attempts
        """How often the supervised stage has tried: this element, or to begin anew; 1 where nothing was tried again."""
        self.suppressed: tuple[StageError, ...] = ()
        """Failures of other stages, or of clean-up, after this one."""

    def __str__(self) -> str:
        text = f"stage {self.stage!r} failed"
        if self.attempts > 1:
            text += f" after {self.attempts} attempts"
        if self.index is not None:
            text += f" on element #{self.index}"
        if self.__cause__ is not None:
            text += f": {type(self.__cause__).__name__}" + (f": {self.__cause__}" if str(self.__cause__) else "")
        if self.where is not None:
            text += f" (stage added at {self.where})"
        return text


class RoundLimitError(StreamflowError):
    """An element would go around a loop more often than it may. A stage fails with it: it is the cause of a `StageError`.

    Args:
        edge: The edge that leads back, as `a → b`.
        max_rounds: How often an element may be sent back.
    """

    def __init__(self, edge: str, max_rounds: int) -> None:
        super().__init__(edge, max_rounds)
        self.edge = edge
        """The edge that leads back, as `a → b`."""
        self.max_rounds = max_rounds
        """How often an element may be sent back."""

    def __str__(self) -> str:
        return (
            f"an element came to '{self.edge}' after {self.max_rounds} rounds, the most that feedback(…, max_rounds=) allows; "
            "let the stage before it send on what is done, raise the limit, or drop what exceeds it: on_limit='drop'"
        )


class RunTimeoutError(StreamflowError, TimeoutError):
    """Something took longer than it was allowed to.

    Args:
        kind: Which clock ran out.
        limit_s: The limit, in seconds.
        where: The stage or edge (`a → b`) that was waited for; the run itself for `run`, `first_element`, `idle`.
    """

    def __init__(self, kind: TimeoutKind, limit_s: float, where: str) -> None:
        super().__init__(kind, limit_s, where)
        self.kind: TimeoutKind = kind
        """Which clock ran out."""
        self.limit_s = limit_s
        """The limit, in seconds."""
        self.where = where
        """The stage or edge that was waited for."""
        self.suppressed: tuple[StageError, ...] = ()
        """Failures of stages while the run was being stopped."""

    def __str__(self) -> str:
        told = {
            "run": "{w} did not finish within {s:g} s; raise timeout_s, or find the slow stage with stall_report_s",
            "first_element": "{w} gave no element within {s:g} s; raise first_element_timeout_s, or find the slow stage with "
            "stall_report_s",
            "idle": "{w}: no element moved on any edge for {s:g} s; raise idle_timeout_s, or find the stalled stage with "
            "stall_report_s",
            "stage": "{w} neither sent nor asked for an element for {s:g} s; raise its timeout_s or make it faster",
            "backpressure": "{w} stayed full for {s:g} s; raise backpressure_timeout_s or speed up the reader",
        }
        return told[self.kind].format(w=self.where, s=self.limit_s)


class RunStateError(StreamflowError, RuntimeError):
    """A run was used in a way that its state forbids.

    Args:
        message: What was tried, and what to do instead.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        """What was tried, and what to do instead."""

    def __str__(self) -> str:
        return self.message


class PipelineBusyError(StreamflowError, RuntimeError):
    """As many runs of a pipeline are going as its configuration allows.

    Args:
        limit: How many that is.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit
        """Most runs at a time."""

    def __str__(self) -> str:
        count = "1 run is" if self.limit == 1 else f"{self.limit} runs are"
        return f"{count} going, the most that max_concurrent_runs allows; wait for one to end, or raise the limit"


class ShutdownTimeoutError(StreamflowError, TimeoutError):
    """Tasks did not end although they were cancelled, when their run was drained or their pipeline shut down.

    Args:
        timeout_s: How long it waited before it cancelled, in seconds.
        stages: What did not end.
        undelivered: How much did not arrive, as in `Run.undelivered`.
    """

    def __init__(self, timeout_s: float, stages: tuple[str, ...], undelivered: Mapping[str, int] | None = None) -> None:
        super().__init__(timeout_s, stages, undelivered)
        self.timeout_s: float = timeout_s
        """How long it waited before it cancelled, in seconds."""
        self.stages: tuple[str, ...] = stages
        """What did not end."""
        self.undelivered: dict[str, int] = dict(undelivered or {})
        """How much did not arrive, by edge (`a → b`), and by stage that was at work; summed over the runs."""

    def __str__(self) -> str:
        names = ", ".join(map(repr, self.stages))
        lost = ", ".join(f"{count} of {place}" for place, count in self.undelivered.items())
        text = f"{names} did not end within the shutdown ({self.timeout_s:g} s); a stage must let cancellation pass"
        return f"{text}; not delivered: {lost}" if lost else text


class RunAbortedError(StreamflowError):
    """A kill switch has aborted the run. What was given to `KillSwitch.abort()` is `__cause__`.

    Args:
        run_id: Identity of the run.
    """

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id: str = run_id
        """Identity of the run."""
        self.suppressed: tuple[StageError, ...] = ()
        """Failures of stages while the run was being stopped."""

    def __str__(self) -> str:
        text = f"{self.run_id} was aborted by its kill switch"
        if self.__cause__ is None:
            return text
        return f"{text}: {type(self.__cause__).__name__}" + (f": {self.__cause__}" if str(self.__cause__) else "")


class SyncInAsyncError(StreamflowError, RuntimeError):
    """A blocking call was made inside a running event loop, which it would stop.

    Args:
        call: The method that was called.
        instead: What to write there.
    """

    def __init__(
        self, call: str, instead: str = "'await pipeline.run(…)' or 'async with pipeline.execute(…) as run'"
    ) -> None:
        super().__init__(call, instead)
        self.call = call
        """The method that was called."""
        self.instead: str = instead
        """What to write there."""

    def __str__(self) -> str:
        return f"{self.call}() was called inside a running event loop and would stop it; use {self.instead} there"

"""What stages that protect others say: too slow, not asked at all, all have failed.

Above: `stages`. Below: `_base`.
"""

from __future__ import annotations

from typing import Literal

from ._base import StreamflowError

__all__ = ["CircuitOpenError", "FallbackExhaustedError", "StageTimeLimitError", "TimeLimitKind"]

TimeLimitKind = Literal["first", "between", "total"]
"""Which limit was passed: for the first element of data, between two of them, for all results."""


class StageTimeLimitError(StreamflowError, TimeoutError):
    """A stage inside a `TimeoutStage` was too slow.

    Args:
        stage: The inner stage, as `outer/inner`.
        kind: Which limit was passed.
        limit_s: The limit, in seconds.
    """

    code: str = "timeout"
    """What kind of failure, as in `ErrorElement.code`."""
    retryable: bool = True
    """Whether the same may succeed later."""

    def __init__(self, stage: str, kind: TimeLimitKind, limit_s: float) -> None:
        super().__init__(stage, kind, limit_s)
        self.stage: str = stage
        """The inner stage, as `outer/inner`."""
        self.kind: TimeLimitKind = kind
        """Which limit was passed."""
        self.limit_s: float = limit_s
        """The limit, in seconds."""

    def __str__(self) -> str:
        what = {
            "first": "gave no element of data within",
            "between": "gave no further element within",
            "total": "was not done within",
        }[self.kind]
        return f"stage {self.stage!r} {what} {self.limit_s:g} s; raise {self.kind}_s, or find out why it is slow"


class CircuitOpenError(StreamflowError):
    """A circuit breaker is open: the stage behind it has failed too often, and is not asked for a while.

    Args:
        stage: The inner stage, as `outer/inner`.
        retry_after_s: In how many seconds it will be asked again.
    """

    code: str = "circuit_open"
    """What kind of failure, as in `ErrorElement.code`."""
    retryable: bool = True
    """Whether the same may succeed later."""

    def __init__(self, stage: str, retry_after_s: float) -> None:
        super().__init__(stage, retry_after_s)
        self.stage: str = stage
        """The inner stage, as `outer/inner`."""
        self.retry_after_s: float = retry_after_s
        """In how many seconds it will be asked again; 0 while others are asking."""

    def __str__(self) -> str:
        return f"stage {self.stage!r} has failed too often and is not asked; try again in {self.retry_after_s:.3g} s"


class FallbackExhaustedError(StreamflowError):
    """A stage has failed, and all that were to stand in for it.

    The last failure is `__cause__`; all of them are `causes`, which is empty in a copy made by `pickle`.

    Args:
        stage: The stage that owns them.
        failed: Those that failed, in the order in which they were tried, each with the class of its error.
    """

    code: str = "fallback_exhausted"
    """What kind of failure, as in `ErrorElement.code`."""

    def __init__(self, stage: str, failed: tuple[tuple[str, str], ...]) -> None:
        super().__init__(stage, failed)
        self.stage: str = stage
        """The stage that owns them."""
        self.failed: tuple[tuple[str, str], ...] = failed
        """Those that failed, in the order in which they were tried, each with the class of its error."""
        self.causes: tuple[Exception, ...] = ()
        """What each of them failed with, in the same order."""
        self.retryable: bool = True
        """Whether the same may succeed later: one of them said so, or did not say."""

    def __reduce__(self) -> tuple[type[FallbackExhaustedError], tuple[object, ...]]:
        return type(self), self.args  # the causes are whatever they are, and need not survive

    def __str__(self) -> str:
        told = ", ".join(f"{name!r} ({error})" for name, error in self.failed)
        return f"stage {self.stage!r}: all have failed: {told}; see the causes, or add one that cannot fail"

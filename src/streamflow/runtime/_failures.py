"""What is told of a failure: the error that the caller gets, and the element that stands in the output.

Above: `_engine`. Below: `_tracebacks`, `elements`, `errors`.
"""

from __future__ import annotations

from ..elements import ErrorElement
from ..errors import (
    CircuitOpenError,
    FallbackExhaustedError,
    MiddlewareError,
    PipelineDeadlockError,
    ProviderError,
    RunAbortedError,
    RunTimeoutError,
    StageError,
    StageTimeLimitError,
    StateError,
)
from ._tracebacks import trimmed

__all__ = ["notice_of", "stage_error"]


def stage_error(
    stage: str, where: str | None, index: int | None, cause: BaseException, attempts: int = 1
) -> BaseException:
    """Return what the caller is told when a stage has raised `cause`.

    Args:
        stage: The stage; or the source.
        where: `file:line` of the call that added it.
        index: Ordinal of the element in hand.
        cause: Its own exception.
        attempts: How often it has tried.
    """
    if isinstance(cause, (KeyboardInterrupt, SystemExit)):
        return cause  # they reach the caller as they are
    error = StageError(stage, index, where, attempts)
    error.__cause__ = cause.with_traceback(trimmed(cause))
    return error


def notice_of(error: BaseException, stage: str | None, *, is_fatal: bool = True) -> ErrorElement:
    """Return what the output says of a failure. It may reach a client, so it repeats no text that a stage's exception carries."""
    if isinstance(error, RunAbortedError):
        return ErrorElement(code="aborted", message="the run was aborted", fatal=True)
    if isinstance(error, RunTimeoutError):
        return ErrorElement(code="timeout", message=str(error), stage=stage, fatal=True)
    if isinstance(error, PipelineDeadlockError):
        return ErrorElement("deadlock", "the run waits for itself", stage, fatal=True)
    cause = error.__cause__ or error
    if isinstance(cause, (ProviderError, StageTimeLimitError, CircuitOpenError, FallbackExhaustedError)):
        return ErrorElement(cause.code, str(cause), stage, retryable=cause.retryable, fatal=is_fatal)
    if isinstance(cause, MiddlewareError):
        return ErrorElement(cause.code, cause.message, stage, fatal=is_fatal)
    code = cause.code if isinstance(cause, StateError) else "stage_failed"
    what = "the run" if stage is None else f"stage {stage!r}"
    return ErrorElement(code, f"{what} failed: {type(cause).__name__}", stage, fatal=is_fatal)

"""What is said of a failure: to the caller as an exception, to the output as an element.

Above: `_engine`. Below: `_tracebacks`, `errors`, `elements`.
"""

from __future__ import annotations

from ..elements import ErrorElement
from ..errors import MiddlewareError, PipelineDeadlockError, ProviderError, RunTimeoutError, StageError
from ._tracebacks import trimmed

__all__ = ["notice_of", "stage_error"]


def stage_error(stage: str, where: str | None, index: int | None, cause: BaseException) -> BaseException:
    """Return what the caller is told of an exception that a stage raised.

    Args:
        stage: Name of the stage.
        where: `file:line` of the call that added it.
        index: Ordinal of the element that it had in hand.
        cause: What it raised.
    """
    if isinstance(cause, (KeyboardInterrupt, SystemExit)):
        return cause  # they reach the caller as they are
    error = StageError(stage, index, where)
    error.__cause__ = cause.with_traceback(trimmed(cause.__traceback__))
    return error


def notice_of(error: BaseException, stage: str | None) -> ErrorElement:
    """Return what the output says of a failure. It may reach a client, so it repeats no text that a stage's exception carries."""
    if isinstance(error, RunTimeoutError):
        return ErrorElement(code="timeout", message=str(error), stage=stage, fatal=True)
    if isinstance(error, PipelineDeadlockError):
        return ErrorElement("deadlock", "the run waits for itself", stage, fatal=True)
    cause = error.__cause__ or error
    if isinstance(cause, ProviderError):
        return ErrorElement(cause.code, cause.message, stage, retryable=cause.retryable, fatal=True)
    if isinstance(cause, MiddlewareError):
        return ErrorElement(cause.code, cause.message, stage, fatal=True)
    what = "the run" if stage is None else f"stage {stage!r}"
    return ErrorElement("stage_failed", f"{what} failed: {type(cause).__name__}", stage, fatal=True)

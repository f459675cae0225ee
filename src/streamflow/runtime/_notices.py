"""How a failure is told: to the caller as an exception, on the output as an element.

Above: `_engine`. Below: `errors`, `elements`, `_tracebacks`.
"""

from __future__ import annotations

from ..elements import ErrorElement
from ..errors import MiddlewareError, ProviderError, RunAbortedError, RunTimeoutError, StageError
from ._tracebacks import trimmed

__all__ = ["notice_of", "stage_error"]


def stage_error(stage: str, where: str | None, index: int | None, cause: BaseException) -> BaseException:
    """Return what the caller is told of an exception that a stage has raised; what ends the program is told as it is."""
    if isinstance(cause, (KeyboardInterrupt, SystemExit)):
        return cause  # they reach the caller as they are
    error = StageError(stage, index, where)
    error.__cause__ = cause.with_traceback(trimmed(cause.__traceback__))
    return error


def notice_of(error: BaseException, stage: str | None) -> ErrorElement:
    """Return what the output says of a failure. It may reach a client, so it repeats no text that a stage's exception carries."""
    if isinstance(error, RunAbortedError):
        return ErrorElement(code="aborted", message="the run was aborted", fatal=True)
    if isinstance(error, RunTimeoutError):
        return ErrorElement(code="timeout", message=str(error), stage=stage, fatal=True)
    cause = error.__cause__ or error
    if isinstance(cause, ProviderError):
        return ErrorElement(cause.code, cause.message, stage, retryable=cause.retryable, fatal=True)
    if isinstance(cause, MiddlewareError):
        return ErrorElement(cause.code, cause.message, stage, fatal=True)
    what = "the run" if stage is None else f"stage {stage!r}"
    return ErrorElement("stage_failed", f"{what} failed: {type(cause).__name__}", stage, fatal=True)

"""Which failures count, said by type or by function; and what one says about trying again.

Above: `_breaker`, `_fallback`, `_retry`. Below: `errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Failures", "checked_failures", "is_transient", "retry_after_s"]

Failures: TypeAlias = "type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]"
"""Which failures are meant: a class of exceptions, several, or a function that says so of each."""


def checked_failures(given: object, field: str, stage: str) -> Callable[[Exception], bool]:
    """Return what says whether a failure is meant.

    Raises:
        ConfigError: If it is neither a class of exceptions, nor a tuple of those, nor a function.
    """
    kinds: tuple[object, ...] = cast("tuple[object, ...]", given) if isinstance(given, tuple) else (given,)
    if kinds and all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        wanted = cast("tuple[type[Exception], ...]", kinds)
        return lambda failure: isinstance(failure, wanted)
    if len(kinds) == 1 and callable(kinds[0]) and not isinstance(kinds[0], type):
        return cast("Callable[[Exception], bool]", kinds[0])
    message = f"stage {stage!r}: give a class of exceptions, a tuple of those, or a function of one"
    raise ConfigError(field, f"{message}, got {given!r:.80}")


def is_transient(failure: Exception) -> bool:
    """Say whether the same may succeed later: what its `retryable` says; without one, a lost connection or a time-out may."""
    retryable = getattr(failure, "retryable", None)
    return retryable if isinstance(retryable, bool) else isinstance(failure, (ConnectionError, TimeoutError))


def retry_after_s(failure: Exception) -> float:
    """Return how long a failure asks to wait before another try, in seconds; 0 if it does not say."""
    given: object = getattr(failure, "retry_after_s", None)
    return float(given) if isinstance(given, (int, float)) and given > 0 else 0.0

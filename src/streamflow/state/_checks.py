"""What stores and their stages are given: a wrong value is refused at once, by the name of its field.

Above: the stores and stages. Below: `_protocol`, `stages`, `errors`.
"""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..stages import Resource

if TYPE_CHECKING:
    from ._protocol import StoreLimits

__all__ = [
    "checked_expected",
    "checked_id",
    "checked_limits",
    "checked_seconds",
    "checked_store",
    "checked_ttl",
    "checked_whole",
]


def checked_id(value: object, what: str, limits: StoreLimits) -> str:
    """Return an id or a key, if it is one.

    Raises:
        ConfigError: If it is no text, empty, too long, or has control characters or half a surrogate pair.
    """
    if not isinstance(value, str):
        raise ConfigError(what, f"give a text, got a {type(value).__name__}")
    if not 1 <= len(value) <= limits.max_id_chars:
        raise ConfigError(what, f"give 1 to {limits.max_id_chars} characters, got {len(value)}")
    # A database cannot hold these in a text, and a log cannot show them.
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in value):
        raise ConfigError(what, f"{value!r:.80} has control characters; leave them out")
    return value


def checked_store(store: object, stage: str) -> None:
    """Check that a stage was given a store, or the resource that opens one.

    Raises:
        ConfigError: If it is neither; what was given is not repeated, since an address may have a password.
    """
    if not isinstance(store, Resource) and not callable(getattr(store, "append", None)):
        message = f"stage {stage!r}: a value of type {type(store).__name__} is no StateStore"
        raise ConfigError("store", f"{message}; give one, as SQLiteStore('chat.db'), or a Resource that opens it")


def checked_limits(limits: StoreLimits) -> StoreLimits:
    """Return limits, if all of them are whole numbers from 1 up.

    Raises:
        ConfigError: If it is anything else.
    """
    for name in limits.__struct_fields__:
        checked_whole(getattr(limits, name), f"limits.{name}", least=1)
    return limits


def checked_ttl(value: object, field: str) -> float | None:
    """Return a time to live in seconds, or None for ever.

    Raises:
        ConfigError: If it is anything else.
    """
    if value is None:
        return None
    return checked_seconds(value, field)


def checked_seconds(value: object, field: str) -> float:
    """Return a positive number of seconds.

    Raises:
        ConfigError: If it is anything else.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 and math.isfinite(value):
        return float(value)
    raise ConfigError(field, f"give a positive number of seconds, got {value!r:.80}")


def checked_whole(value: object, field: str, *, least: int = 0) -> int:
    """Return a whole number from `least` up.

    Raises:
        ConfigError: If it is anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise ConfigError(field, f"give a whole number from {least} up, got {value!r:.80}")


def checked_expected(value: object) -> None:
    """Do nothing if this can be a revision that a writer has seen, None included.

    Raises:
        ConfigError: If it is anything else.
    """
    if value is not None:
        checked_whole(value, "expected")

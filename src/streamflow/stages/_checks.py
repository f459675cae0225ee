"""Checks of what stages are given as options: a wrong value is refused in the constructor, by the name of its field.

Above: the ready-made stages. Below: `errors`.
"""

from __future__ import annotations

from ..errors import ConfigError

__all__ = ["checked_count"]


def checked_count(value: object, field: str, stage: str, *, least: int = 1) -> int:
    """Return `value`, if it is a whole number from `least` up.

    Args:
        value: What was given.
        field: Name of the option.
        stage: Name of the stage that it is for.
        least: The smallest number that is allowed.

    Raises:
        ConfigError: If it is anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise ConfigError(field, f"stage {stage!r}: give a whole number from {least} up, got {value!r:.80}")

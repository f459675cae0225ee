"""Checks of what stages are given: an option when it is made, by the name of its field, and a turn while it is read.

Above: the ready-made stages. Below: `errors`.
"""

from __future__ import annotations

from ..errors import ConfigError, ElementError

__all__ = ["check_turn_size", "checked_count"]


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


def check_turn_size(count: int, most: int | None, stage: str) -> None:
    """Refuse a turn of more messages than a stage holds.

    Args:
        count: Messages of the turn, with the one that has just come.
        most: How many are held; None: any number.
        stage: Name of the stage that holds them.

    Raises:
        ElementError: If there are more.
    """
    if most is not None and count > most:
        raise ElementError(
            f"stage {stage!r}: more than {most} messages in one turn; send TurnEnd in time, "
            "shorten the history before this stage, or raise max_messages"
        )

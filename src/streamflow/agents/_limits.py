"""How far an agent may go in one turn, and what its model calls cost.

Above: `_turn`, users. Below: `stages`, `elements`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Literal

import msgspec

from ..elements import Usage
from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..stages import ModelPrice

__all__ = ["Finish", "LimitKind", "Limits", "Spent", "priced"]

Finish = Literal["stop", "answer"]
"""How a turn ends at a limit: at once, or with one more answer of the model, without tools."""

LimitKind = Literal["rounds", "calls", "tokens", "cost", "time"]
"""Which limit has ended a turn."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far an agent may go in one turn. At a limit the turn ends, and all that was done is kept.

    Raises:
        ConfigError: If a number is out of its range.
    """

    rounds: int = 20
    """Most answers of the model."""
    calls: int | None = None
    """Most calls of tools; None: no limit."""
    tokens: int | None = None
    """Most tokens, read and written, looked at after each answer; None: no limit."""
    cost_usd: float | None = None
    """Most that the model calls may cost, in US dollars, looked at after each answer; None: no limit."""
    time_s: float | None = None
    """Longest time, in seconds; None: no limit."""
    finish: Finish = "stop"
    """How a turn ends at a limit; that of time always ends it at once."""

    def __post_init__(self) -> None:
        for field, least in (("rounds", 1), ("calls", 0), ("tokens", 1)):
            value = getattr(self, field)
            if value is not None and value < least:
                raise ConfigError(f"Limits.{field}", f"{value} is out of range; give {least} or more")
        for field, number in (("cost_usd", self.cost_usd), ("time_s", self.time_s)):
            if number is not None and not (number > 0 and math.isfinite(number)):
                raise ConfigError(f"Limits.{field}", f"{number} is out of range; give more than 0")
        if self.finish not in {"stop", "answer"}:
            raise ConfigError("Limits.finish", f"{self.finish!r} is none; give 'stop' or 'answer'")


def priced(usage: Usage, prices: Mapping[str, ModelPrice]) -> Usage:
    """Return a usage with its cost: what the provider says, else by these prices. What is not known is not guessed."""
    price = prices.get(usage.model or "")
    if usage.cost_usd is not None or price is None or usage.input_tokens is None or usage.output_tokens is None:
        return usage
    return msgspec.structs.replace(usage, cost_usd=price.cost_usd(usage))


class Spent:
    """What a turn has used, and which limit that exceeds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.rounds: int = 0
        """Answers of the model."""
        self.calls: int = 0
        """Calls of tools that were made."""
        self.usage: Usage = Usage()
        """What the model calls have used, summed."""
        self._is_cost_known = True

    def add(self, usage: Usage | None) -> None:
        """Count what a model call has used; None: nobody knows."""
        if usage is not None:
            self.usage += usage
        self._is_cost_known = self._is_cost_known and usage is not None and usage.cost_usd is not None

    @property
    def calls_left(self) -> int | None:
        """How many calls may still be made; None: any number."""
        return None if self._limits.calls is None else max(self._limits.calls - self.calls, 0)

    def exceeded(self) -> LimitKind | None:
        """Return the limit that is reached. A cost that nobody knows counts as reached: it cannot be kept."""
        limits = self._limits
        if self.rounds >= limits.rounds:
            return "rounds"
        if limits.calls is not None and self.calls > limits.calls:
            return "calls"
        if limits.tokens is not None and self.usage.total_tokens >= limits.tokens:
            return "tokens"
        cost = self.usage.cost_usd or 0.0
        if limits.cost_usd is not None and (not self._is_cost_known or cost >= limits.cost_usd):
            return "cost"
        return None

"""The settings of a chat agent.

Above: `_agent`, users. Below: `errors`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import cast

from ..errors import ConfigError

__all__ = ["ChatConfig"]


@dataclasses.dataclass(frozen=True, slots=True)
class ChatConfig:
    """How a `StreamChatAgent` answers. Immutable: `dataclasses.replace(config, chunk_size=5)` makes another.

    Raises:
        ConfigError: If a value is wrong; the field is named.

    Source: seed 002 (ChatConfig).
    """

    llm_provider: str = "openai"
    """Name of the provider, as `as_provider()` knows it; `mock` and `scripted` need no server."""
    model: str = "gpt-3.5-turbo"
    """Name of the model."""
    temperature: float = 0.7
    """How freely it samples, from 0."""
    max_tokens: int = 500
    """Most tokens of an answer."""
    streaming: bool = True
    """Whether `stream_chat()` may be used."""
    chunk_size: int = 1
    """Tokens of the provider in each chunk, from 1 up: few for a quick display, more for throughput."""
    chunk_wait_s: float | None = None
    """Longest time, in seconds, that a token waits for its chunk to become full; None: no limit."""
    system: str = ""
    """The system message; empty: none."""
    timeout_s: float | None = None
    """Longest time of one answer, in seconds; None: no limit."""

    def __post_init__(self) -> None:
        for field in ("llm_provider", "model"):
            value = getattr(self, field)
            if not isinstance(value, str) or not value.strip():
                raise ConfigError(field, f"give a name, got {value!r:.80}")
        if not isinstance(cast("object", self.system), str):
            raise ConfigError("system", f"give a text, got {self.system!r:.80}")
        if not isinstance(cast("object", self.streaming), bool):
            raise ConfigError("streaming", f"give True or False, got {self.streaming!r:.80}")
        for field in ("max_tokens", "chunk_size"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(field, f"give a whole number from 1 up, got {value!r:.80}")
        if not _is_number(self.temperature) or self.temperature < 0:
            raise ConfigError("temperature", f"give a number from 0 up, got {self.temperature!r:.80}")
        for field in ("chunk_wait_s", "timeout_s"):
            value = getattr(self, field)
            if value is not None and (not _is_number(value) or value <= 0):
                raise ConfigError(field, f"give a number of seconds above 0, or None, got {value!r:.80}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

"""How a pipeline runs: sizes and time limits, checked when they are given.

Above: `_pipeline`, `_engine`. Below: `errors`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import msgspec

from ..errors import ConfigError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["PipelineConfig"]


class PipelineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a pipeline. Immutable; `replace()` makes a changed copy.

    Raises:
        ConfigError: If a value is wrong; names the field.
    """

    buffer_size: int = 16
    """Capacity of every edge, in elements, from 1 up. Wider shares task switches among more elements and delays back-pressure."""
    timeout_s: float | None = None
    """Longest duration of a run, in seconds; None: no limit."""
    first_element_timeout_s: float | None = None
    """Longest time, in seconds, until a run's first output; None: no limit."""
    idle_timeout_s: float | None = None
    """Longest time, in seconds, in which no element moves on any edge; None: no limit. Edges are watched when set."""
    backpressure_timeout_s: float | None = None
    """Longest time, in seconds, that a sender may wait on a full edge; None: no limit. Edges are watched when set."""
    shutdown_timeout_s: float = 10.0
    """Longest time, in seconds, that cancelled stages may take to end; then they are named in `run.zombies` and left behind."""

    def __post_init__(self) -> None:
        size = cast("object", self.buffer_size)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ConfigError("buffer_size", f"an edge holds at least 1 element, got {size!r}; the default is 16")
        for field in ("timeout_s", "first_element_timeout_s", "idle_timeout_s", "backpressure_timeout_s"):
            value: object = getattr(self, field)
            if value is not None and not _is_duration(value):
                raise ConfigError(field, f"a limit is a positive number of seconds, or None for none, got {value!r}")
        if not _is_duration(self.shutdown_timeout_s):
            message = f"a shutdown needs a deadline: a positive number of seconds, got {self.shutdown_timeout_s!r}"
            raise ConfigError("shutdown_timeout_s", message)

    def replace(self, **changes: object) -> Self:
        """Return a copy with some fields changed.

        Raises:
            ConfigError: If a field does not exist, or its value is wrong.
        """
        for field in changes:
            if field not in self.__struct_fields__:
                raise ConfigError(field, f"no such setting; there are {', '.join(self.__struct_fields__)}")
        return msgspec.structs.replace(self, **changes)


def _is_duration(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 and math.isfinite(value)

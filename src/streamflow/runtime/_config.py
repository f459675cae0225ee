"""How a pipeline runs: sizes, time limits and switches, checked when they are given.

Above: `_pipeline`, `_engine`. Below: `_loading` (environment and files), `errors`.
"""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from ..elements import Priority
from ..errors import ConfigError
from ..observe import Tracing

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from typing import Self

__all__ = ["PipelineConfig"]


class PipelineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a pipeline. Immutable; `replace()` makes a changed copy.

    Raises:
        ConfigError: If a value is wrong; names the field.
    """

    buffer_size: int = 16
    """Capacity of every edge, in elements, from 1 up. Wider shares task switches among more elements and delays back-pressure."""
    priority: bool = False
    """Whether edges have a lane for each `Priority`, so that urgent elements pass others. Needs a `buffer_size` of 4 or more."""
    fuse: bool = True
    """Whether neighbouring stages that are one synchronous function of one element each share a task; `Pipeline.explain()` tells
    which. Nothing but time and memory depends on it."""
    timeout_s: float | None = None
    """Longest duration of a run, in seconds; None: no limit."""
    first_element_timeout_s: float | None = None
    """Longest time, in seconds, until a run's first output; None: no limit."""
    idle_timeout_s: float | None = None
    """Longest time, in seconds, in which no element moves on any edge; None: no limit. Edges are watched when set."""
    backpressure_timeout_s: float | None = None
    """Longest time, in seconds, that a sender may wait on a full edge; None: no limit. Edges are watched when set."""
    stall_report_s: float | None = None
    """Time, in seconds, in which no element moves on any edge, after which a run says who waits for what, as a `RunStalled` event
    and a warning in the log. It goes on. None: no report."""
    lag_warning_s: float | None = None
    """Time, in seconds, for which a task may keep the event loop for itself; beyond it the run tells who does, with its stack, as a
    `LoopBlocked` event and a warning in the log. None: nobody looks. Set, there is one thread for each event loop that does."""
    on_deadlock: Literal["error", "grow"] = "error"
    """What to do with a run that waits for itself: end it with `PipelineDeadlockError`, or first let edges grow that are full."""
    deadlock_grow_limit: int = 1024
    """Most elements that an edge may hold once it has grown, with `on_deadlock="grow"`; then the run ends with the error."""
    shutdown_timeout_s: float = 10.0
    """Longest time, in seconds, that cancelled stages may take to end; then they are named in `run.zombies` and left behind."""
    max_concurrent_runs: int | None = None
    """Most runs of one pipeline at a time, from 1 up; one more gets `PipelineBusyError`. None: no limit."""
    metrics: bool = False
    """Whether runs measure what stages do with their time, how full edges were and what limits them: `run.stats()`,
    `run.bottleneck()`. Elements pay nothing for it, each turn of a task does."""
    tracing: bool | Tracing = False
    """Whether elements are followed and spans told; or how, as a `Tracing`. Listeners hear of each element that leaves an edge, as
    an `ElementMoved` event; edges are watched then."""
    record: str | None = None
    """File in which runs are recorded, input and output; `{run_id}` in it stands for the run's id. `record=` of `execute()` goes
    before it.
    None: they are not. Points are watched when set."""
    event_buffer: int = 1000
    """Most events that wait for one asynchronous listener, or for one reader of `run.events()`; more become a gap that is told."""

    def __post_init__(self) -> None:
        if not _is_count(self.buffer_size):
            message = f"an edge holds at least 1 element, got {self.buffer_size!r:.80}; the default is 16"
            raise ConfigError("buffer_size", message)
        if not _is_count(self.event_buffer):
            message = f"a listener's queue holds at least 1 event, got {self.event_buffer!r:.80}; the default is 1000"
            raise ConfigError("event_buffer", message)
        if self.max_concurrent_runs is not None and not _is_count(self.max_concurrent_runs):
            message = f"a limit is a whole number from 1 up, or None for none, got {self.max_concurrent_runs!r:.80}"
            raise ConfigError("max_concurrent_runs", message)
        if self.on_deadlock not in ("error", "grow"):
            raise ConfigError("on_deadlock", f"'error' or 'grow' was expected, got {self.on_deadlock!r:.80}")
        if not _is_count(self.deadlock_grow_limit):
            message = f"an edge that grows has a bound, from 1 element up, got {self.deadlock_grow_limit!r:.80}"
            raise ConfigError("deadlock_grow_limit", f"{message}; the default is 1024")
        if not _is_duration(self.shutdown_timeout_s):
            message = f"a shutdown needs a deadline: a positive number of seconds, got {self.shutdown_timeout_s!r:.80}"
            raise ConfigError("shutdown_timeout_s", message)
        for field in ("priority", "fuse", "metrics", "tracing"):
            switch: object = getattr(self, field)
            if not isinstance(switch, bool) and not (field == "tracing" and isinstance(switch, Tracing)):
                raise ConfigError(field, f"a switch is True or False, got {switch!r:.80}")
        record = cast("object", self.record)
        if record is not None and not (isinstance(record, str) and 0 < len(record) <= _LONGEST_PATH):
            raise ConfigError("record", f"the path of a file was expected, as text, got {record!r:.80}")
        _check_durations(self)
        if self.priority and self.buffer_size < len(Priority):
            message = (
                f"with priority an edge needs a place for each lane: {len(Priority)} or more, got {self.buffer_size}"
            )
            raise ConfigError("buffer_size", message)

    @classmethod
    def from_env(cls, prefix: str = "STREAMFLOW_", *, environ: Mapping[str, str] | None = None) -> Self:
        """Return settings from environment variables: `STREAMFLOW_BUFFER_SIZE=32`, `STREAMFLOW_TIMEOUT_S=none`.

        A variable's name is the prefix and a field's name in capitals. What has no variable has its default; `none` or nothing is
        None where None is allowed; switches are `true`, `false`, `yes`, `no`, `on`, `off`, `1` or `0`.

        Args:
            prefix: How the names begin. Every variable that begins so must be a setting, except `STREAMFLOW_DEBUG`, which keeps
                the runtime's own frames in tracebacks.
            environ: The variables; default those of this process.

        Raises:
            ConfigError: If a variable is no setting, or its value is wrong; names the variable.
        """
        from ._loading import load_environment  # noqa: PLC0415 - most settings are given by code

        return load_environment(cls, prefix, environ)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str], *, table: str = "streamflow") -> Self:
        """Return settings from a table of a TOML file; what is not in it has its default. Reads the file, blocking.

        ```toml
        [streamflow]
        buffer_size = 32
        timeout_s = 2.5
        idle_timeout_s = "none"
        ```

        Args:
            path: The file, in UTF-8, of a megabyte at most.
            table: The table, as in `streamflow` or `tool.streamflow`.

        Raises:
            ConfigError: If the file is no TOML or has no such table, a key is no setting, or its value is wrong; names the
                file and the key.
            OSError: If the file cannot be read.
        """
        from ._loading import load_toml  # noqa: PLC0415 - as above

        return load_toml(cls, path, table)

    def to_dict(self) -> dict[str, object]:
        """Return the settings that differ from their defaults, as values that JSON can hold; `replace(**…)` takes them.

        Of a `Tracing` it says that there is one: its sinks are objects of this process.
        """
        default = type(self)()
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        fields["tracing"] = bool(self.tracing)
        return {name: value for name, value in fields.items() if value != getattr(default, name)}

    def replace(self, **changes: object) -> Self:
        """Return a copy with some fields changed.

        Raises:
            ConfigError: If a field does not exist, or its value is wrong.
        """
        for field in changes:
            if field not in self.__struct_fields__:
                from ._loading import no_such_setting  # noqa: PLC0415 - only for a message

                raise ConfigError(field, no_such_setting(field, self.__struct_fields__))
        return msgspec.structs.replace(self, **changes)

    def with_channel_buffer_size(self, size: int) -> Self:
        """Return a copy with another `buffer_size`, in elements. Source: seed 001.

        Raises:
            ConfigError: If it is no whole number from 1 up.
        """
        return self.replace(buffer_size=size)

    def with_priority_queue(self, enabled: bool = True) -> Self:
        """Return a copy with `priority` on or off. Source: seed 001.

        Raises:
            ConfigError: If it is no bool, or edges are too narrow.
        """
        return self.replace(priority=enabled)

    def with_execution_timeout(self, timeout: float | datetime.timedelta | None) -> Self:
        """Return a copy with another `timeout_s`, in seconds or as a `timedelta`; None: no limit. Source: seed 001.

        Raises:
            ConfigError: If it is not positive.
        """
        return self.replace(timeout_s=timeout.total_seconds() if isinstance(timeout, datetime.timedelta) else timeout)

    def with_metrics(self, enabled: bool = True) -> Self:
        """Return a copy with `metrics` on or off. Source: seed 001.

        Raises:
            ConfigError: If it is no bool.
        """
        return self.replace(metrics=enabled)

    def with_tracing(self, enabled: bool | Tracing = True) -> Self:
        """Return a copy with `tracing` on or off, or as a `Tracing` says. Source: seed 001.

        Raises:
            ConfigError: If it is neither a bool nor a `Tracing`.
        """
        return self.replace(tracing=enabled)


_DURATIONS = (
    "timeout_s",
    "first_element_timeout_s",
    "idle_timeout_s",
    "backpressure_timeout_s",
    "stall_report_s",
    "lag_warning_s",
)


_LONGEST_PATH = 4096  # characters: what Linux takes


def _check_durations(config: PipelineConfig) -> None:
    for field in _DURATIONS:
        value: object = getattr(config, field)
        if value is not None and not _is_duration(value):
            message = f"a limit is a positive number of seconds, or None for none, got {value!r:.80}"
            raise ConfigError(field, message)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_duration(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 and math.isfinite(value)

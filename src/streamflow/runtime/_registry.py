"""The figures of several pipelines, all their runs together, for whoever collects them.

Above: users. Below: `_metric_samples`, `_lifetime` (tells of runs that have ended), `observe` (formats).

Rules: nothing is made while a run goes on; when it ends its figures are added to those of its pipeline, once, and forgotten.
Whoever asks gets the sum of that and of the runs that go on.
"""

# ruff: noqa: SLF001 - what the runs of a pipeline have in common is its own affair
# pyright: reportPrivateUsage=false
from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

from ..errors import ConfigError
from ..observe import observe_families, prometheus_text
from ._metric_samples import Totals, families_of
from ._pipeline import Pipeline

if TYPE_CHECKING:
    from ..observe import MetricFamily
    from ._engine import Engine
    from ._lifetime import Lifetime

__all__ = ["MetricsRegistry"]

_MOST_CHARS = 200


class _Watched:
    """One pipeline, and what its runs have done."""

    def __init__(self, name: str, lifetime: Lifetime, lock: threading.Lock) -> None:
        self._name = name
        self._lifetime = lifetime
        self._lock = lock
        self._ended = Totals()

    def add(self, run: Engine) -> None:
        """Add the figures of a run that has ended."""
        stats = run.stats()
        with self._lock:
            self._ended.add(self._name, stats, run.reason)

    def read(self) -> Totals:
        """Return the figures of all runs."""
        with self._lock:
            totals = self._ended.copy()
        for run in self._lifetime.runs:
            totals.add(self._name, run.stats(), None)
        return totals


class MetricsRegistry:
    """Collect the figures of pipelines, all their runs together, for Prometheus or OpenTelemetry.

    ```python
    registry = MetricsRegistry()
    registry.watch(pipeline, "chat")
    text = registry.prometheus()  # serve this at /metrics
    ```

    What is measured beyond counts depends on `PipelineConfig(metrics=True)`. There are as many series as the graphs have parts.

    Args:
        max_pipelines: Most pipelines that it watches, so that the number of series is bounded.

    Raises:
        ConfigError: If that is no whole number from 1 up.
    """

    def __init__(self, *, max_pipelines: int = 100) -> None:
        given = cast("object", max_pipelines)
        if not isinstance(given, int) or isinstance(given, bool) or given < 1:
            raise ConfigError("max_pipelines", f"a whole number from 1 up was expected, got {given!r:.80}")
        self._most = max_pipelines
        self._lock = threading.Lock()
        self._watched: dict[str, _Watched] = {}

    def watch(self, pipeline: Pipeline, name: str) -> None:
        """Collect the figures of a pipeline: of its runs that go on, and of those that end from now on.

        Args:
            pipeline: The pipeline.
            name: What it is called, as the label `pipeline`.

        Raises:
            ConfigError: If the name is taken or is none, or there are as many pipelines as there may be.
        """
        given = cast("object", pipeline)
        if not isinstance(given, Pipeline):
            raise ConfigError("pipeline", f"a Pipeline was expected, got {given!r:.80}")
        label = cast("object", name)
        if not isinstance(label, str) or not label or len(label) > _MOST_CHARS:
            raise ConfigError("name", f"a name of 1 to {_MOST_CHARS} characters was expected, got {label!r:.80}")
        if name in self._watched:
            raise ConfigError("name", f"{name!r} is watched already; each pipeline needs a name of its own")
        if len(self._watched) >= self._most:
            problem = f"there are {self._most} pipelines already, the most that this registry watches"
            raise ConfigError(
                "max_pipelines", f"{problem}; raise it, or watch pipelines that are built once and run often"
            )
        lifetime = pipeline._lifetime
        watched = self._watched[name] = _Watched(name, lifetime, self._lock)
        lifetime.on_leave.append(watched.add)

    def collect(self) -> list[MetricFamily]:
        """Return the figures up to now; from any thread."""
        return families_of([one.read() for one in tuple(self._watched.values())])

    def prometheus(self) -> str:
        """Return the figures up to now as the text that Prometheus scrapes."""
        return prometheus_text(self.collect())

    def to_opentelemetry(self, provider: object | None = None) -> None:
        """Have OpenTelemetry ask for the figures whenever it collects.

        Args:
            provider: An OpenTelemetry `MeterProvider`; None: the global one.

        Raises:
            MissingExtraError: If opentelemetry is not installed.
        """
        observe_families(self.collect, provider)

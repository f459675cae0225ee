"""Figures as OpenTelemetry takes them: instruments that are asked when somebody collects, and nothing in between.

Above: users, `runtime`. Below: `_metric_families`, `_tracing` (model calls are spans), opentelemetry.

OpenTelemetry has no histogram that can be asked. So of each of ours there are its sum and count as counters, and quantiles as
gauges. Model calls are so rare that each is recorded when it ends, in the histograms that the conventions for `gen_ai` name.
Source: https://github.com/open-telemetry/semantic-conventions-genai.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from ..errors import MissingExtraError
from ._histogram import Histogram
from ._tracing import TraceSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ._metric_families import MetricFamily
    from ._trace_spans import AttributeValue, Span

__all__ = ["GenAIMetrics", "observe_families"]

_SCOPE: Final = "streamflow"
_QUANTILES: Final = (0.5, 0.95, 0.99)
_DURATIONS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
_CALLS: Final = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
_KEPT: Final = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "server.address",
    "server.port",
    "error.type",
)


def observe_families(collect: Callable[[], Iterable[MetricFamily]], provider: object | None = None) -> None:
    """Have OpenTelemetry ask for figures whenever it collects.

    Args:
        collect: Gives the figures; called in whichever thread collects.
        provider: An OpenTelemetry `MeterProvider`; None: the global one.

    Raises:
        MissingExtraError: If opentelemetry is not installed.
    """
    meter = _meter(provider)
    for family in collect():
        name, unit = family.name.replace("_", "."), "s" if family.unit == "seconds" else "1"
        ask = partial(_ask, collect, family.name)
        if family.kind == "counter":
            meter.create_observable_counter(name, [partial(_plain, ask)], unit=unit, description=family.help)
        elif family.kind == "gauge":
            meter.create_observable_gauge(name, [partial(_plain, ask)], unit=unit, description=family.help)
        else:
            told = family.help
            meter.create_observable_counter(f"{name}.sum", [partial(_sums, ask)], unit="s", description=told)
            meter.create_observable_counter(f"{name}.count", [partial(_counts, ask)], unit="1", description=told)
            meter.create_observable_gauge(f"{name}.quantile", [partial(_quantiles, ask)], unit="s", description=told)


def _meter(provider: object | None) -> Any:
    try:
        from opentelemetry import metrics
    except ImportError as error:
        raise MissingExtraError("opentelemetry", "otel") from error
    its: Any = metrics.get_meter_provider() if provider is None else provider
    return its.get_meter(_SCOPE)


def _observation(value: float, labels: Mapping[str, object]) -> Any:
    from opentelemetry.metrics import Observation

    return Observation(value, cast("Any", labels))


def _ask(collect: Callable[[], Iterable[MetricFamily]], name: str) -> Iterator[tuple[dict[str, str], Any]]:
    for family in collect():
        if family.name == name:
            for one in family.samples:
                yield dict(one.labels), one.value


def _plain(ask: Callable[[], Iterator[tuple[dict[str, str], Any]]], _options: object) -> Iterator[Any]:
    for labels, value in ask():
        yield _observation(value, labels)


def _sums(ask: Callable[[], Iterator[tuple[dict[str, str], Any]]], _options: object) -> Iterator[Any]:
    for labels, value in ask():
        yield _observation(value.total_s, labels)


def _counts(ask: Callable[[], Iterator[tuple[dict[str, str], Any]]], _options: object) -> Iterator[Any]:
    for labels, value in ask():
        yield _observation(value.count, labels)


def _quantiles(ask: Callable[[], Iterator[tuple[dict[str, str], Any]]], _options: object) -> Iterator[Any]:
    for labels, value in ask():
        assert isinstance(value, Histogram)
        for share in _QUANTILES:
            found = value.quantile_s(share)
            if found is not None:
                yield _observation(found, {**labels, "quantile": str(share)})


class GenAIMetrics(TraceSink):
    """Record model calls in OpenTelemetry: `gen_ai.client.operation.duration` and `gen_ai.client.token.usage`.

    Give it to `Tracing(sinks=[…])`: calls are known by their spans. Nothing of what was said is in it.

    Args:
        provider: An OpenTelemetry `MeterProvider`; None: the global one.

    Raises:
        MissingExtraError: If opentelemetry is not installed.
    """

    def __init__(self, provider: object | None = None) -> None:
        meter = _meter(provider)
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="How long a model call took.",
            explicit_bucket_boundaries_advisory=_DURATIONS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="How many tokens a model call has read, and written.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )

    def span(self, span: Span) -> None:
        """Record a model call that has ended; other spans are left alone."""
        if span.attributes.get("gen_ai.operation.name") not in _CALLS:
            return
        kept: dict[str, AttributeValue] = {name: span.attributes[name] for name in _KEPT if name in span.attributes}
        if span.status == "error" and "error.type" not in kept:
            kept["error.type"] = span.error or "_OTHER"
        self._duration.record(span.duration_s, kept)
        for kind in ("input", "output"):
            count = span.attributes.get(f"gen_ai.usage.{kind}_tokens")
            if isinstance(count, int):
                self._tokens.record(count, {**kept, "gen_ai.token.type": kind})
